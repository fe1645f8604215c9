//! What a configuration says to callers, made sound when it is loaded.

use std::path::Path;
use std::sync::Arc;

use crate::config::{self, Config, Finding, Keys, MAX_FINDINGS, Overlay, Place, Voicemail};
use crate::media::speech::{Voice, Words, speak};
use crate::routing::{Prompt, Table, Voices};

/// The folder of sounds in the configuration's, and in `data_dir`.
const PROMPTS: &str = "prompts";

/// Makes sound of all that it says. Blocks: what was never spoken is spoken now. `folder`: the configuration's. Without
/// `[media]` nothing is ever said.
pub(crate) fn voices(config: &Config, overlay: &Overlay, folder: &Path) -> Result<Voices, Vec<Finding>> {
    let profiles = config.profiles.iter().map(|profile| &profile.keys);
    let keys = std::iter::once(&config.defaults).chain(profiles).chain(config.numbers.sets());
    let keys = keys.chain(overlay.numbers().map(|(_, number)| &number.keys));
    voices_of(config, folder, keys)
}

/// The same of what these say alone.
pub(crate) fn voices_of<'k>(
    config: &Config,
    folder: &Path,
    keys: impl Iterator<Item = &'k Keys>,
) -> Result<Voices, Vec<Finding>> {
    if config.node.media.is_none() {
        return Ok(Voices::default());
    }
    let said: Vec<(Place, Words)> = keys.flat_map(said).collect();
    if said.is_empty() {
        return Ok(Voices::default());
    }
    let words: Vec<Words> = said.iter().map(|(_, words)| words.clone()).collect();
    let kept = Path::new(&*config.node.node.data_dir).join(PROMPTS);
    let voice = Voice { command: &config.node.speech.command, shipped: &folder.join(PROMPTS), kept: &kept };
    match speak(&words, &voice) {
        Ok(prompts) => {
            let prompts = prompts.into_iter().map(|(words, prompt)| (prompt_of(words), prompt));
            Ok(Arc::new(prompts.collect()))
        }
        Err(unsaid) => {
            let findings = unsaid.iter().flat_map(|(words, why)| {
                let text = why.to_string();
                let (what, remedy) = text.split_once("; ").unwrap_or((&text, ""));
                let (what, remedy) = (what.to_owned(), remedy.to_owned());
                let places = said.iter().filter(move |(_, said)| said == words).map(|(place, _)| *place);
                places.map(move |place| finding(config, place, what.clone(), remedy.clone()))
            });
            Err(findings.take(MAX_FINDINGS).collect())
        }
    }
}

/// The sound files of another content than was read of them before, as they are named.
pub(super) fn changed_sounds(was: &Table, is: &Voices) -> Vec<String> {
    let changed = |(prompt, sound): (&Prompt, &_)| match prompt {
        Prompt::File(path) if was.voice(prompt).is_some_and(|was| was != *sound) => {
            Some(path.display().to_string())
        }
        Prompt::File(_) | Prompt::Text(_) => None,
    };
    let mut names: Vec<String> = is.iter().filter_map(changed).collect();
    names.sort();
    names
}

fn finding(config: &Config, place: Place, what: String, remedy: String) -> Finding {
    let file = config.files.name(place).display().to_string();
    Finding { file, line: place.line, column: place.column, message: what, remedy }
}

/// What keys say, and where that is written.
fn said(keys: &Keys) -> impl Iterator<Item = (Place, Words)> + '_ {
    let whisper = keys.whisper.iter().filter_map(|at| Some((at.place, at.value.as_ref()?)));
    let notice = keys.record_notice.iter().filter_map(|at| Some((at.place, at.value.as_ref()?)));
    let greeting = keys.voicemail.iter().filter_map(|at| match &at.value {
        Voicemail::On { greeting, .. } => Some((at.place, greeting.as_ref()?)),
        Voicemail::Off => None,
    });
    whisper.chain(notice).chain(greeting).map(|(place, prompt)| (place, words(prompt)))
}

/// The prompts that keys name.
pub(crate) fn prompts(keys: &Keys) -> impl Iterator<Item = Prompt> + '_ {
    said(keys).map(|(_, words)| prompt_of(words))
}

fn words(prompt: &config::Prompt) -> Words {
    match prompt {
        config::Prompt::Text(text) => Words::Text((&**text).into()),
        config::Prompt::File { path, .. } => Words::File(path.as_path().into()),
    }
}

fn prompt_of(words: Words) -> Prompt {
    match words {
        Words::Text(text) => Prompt::Text(text),
        Words::File(path) => Prompt::File(path),
    }
}
