//! What a configuration says to callers, made sound when it is loaded.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use crate::config::{self, Config, Dialled, Finding, Keys, MAX_FINDINGS, Overlay, Place, Voicemail};
use crate::media::speech::{Voice, Words, speak};
use crate::routing::{Prompt, Table, Voices};

/// The folder of sounds in the configuration's, and in `data_dir`.
const PROMPTS: &str = "prompts";

/// Makes sound of all that it says. Blocks: what was never spoken is spoken now. `folder`: the configuration's. Without
/// `[media]` nothing is ever said.
pub(crate) fn voices(config: &Config, overlay: &Overlay, folder: &Path) -> Result<Voices, Vec<Finding>> {
    all_voices(config, overlay, folder).map_err(Unsaid::findings)
}

/// The same for who can do without a number that was set over HTTP.
pub(super) fn all_voices(config: &Config, overlay: &Overlay, folder: &Path) -> Result<Voices, Unsaid> {
    let profiles = config.profiles.iter().map(|profile| &profile.keys);
    let keys = std::iter::once(&config.defaults).chain(profiles).chain(config.numbers.sets());
    let over_http = overlay.numbers().map(|(did, number)| (Some(did), &number.keys));
    sounds(config, folder, keys.map(|keys| (None, keys)).chain(over_http))
}

/// The same of what these say alone.
pub(crate) fn voices_of<'k>(
    config: &Config,
    folder: &Path,
    keys: impl Iterator<Item = &'k Keys>,
) -> Result<Voices, Vec<Finding>> {
    sounds(config, folder, keys.map(|keys| (None, keys))).map_err(Unsaid::findings)
}

/// What cannot be said, and why.
#[derive(Default)]
pub(super) struct Unsaid {
    /// In the files: the first [`MAX_FINDINGS`].
    pub in_files: Vec<Finding>,
    /// By numbers that were set over HTTP: one reason of each.
    pub over_http: BTreeMap<Dialled, Finding>,
}

impl Unsaid {
    /// Those of the files first.
    pub fn findings(self) -> Vec<Finding> {
        self.in_files.into_iter().chain(self.over_http.into_values()).take(MAX_FINDINGS).collect()
    }
}

/// Keys come with the number that they were set of over HTTP, which their place does not tell.
fn sounds<'k>(
    config: &Config,
    folder: &Path,
    keys: impl Iterator<Item = (Option<Dialled>, &'k Keys)>,
) -> Result<Voices, Unsaid> {
    if config.node.media.is_none() {
        return Ok(Voices::default());
    }
    let said = keys.flat_map(|(did, keys)| said(keys).map(move |(place, words)| (did, place, words)));
    let said: Vec<(Option<Dialled>, Place, Words)> = said.collect();
    if said.is_empty() {
        return Ok(Voices::default());
    }
    let words: Vec<Words> = said.iter().map(|(_, _, words)| words.clone()).collect();
    let kept = Path::new(&*config.node.node.data_dir).join(PROMPTS);
    let voice = Voice { command: &config.node.speech.command, shipped: &folder.join(PROMPTS), kept: &kept };
    let errors = match speak(&words, &voice) {
        Ok(prompts) => {
            let prompts = prompts.into_iter().map(|(words, prompt)| (prompt_of(words), prompt));
            return Ok(Arc::new(prompts.collect()));
        }
        Err(errors) => errors.into_iter().map(|(words, why)| (words, why.to_string())),
    };
    let why: BTreeMap<Words, String> = errors.collect();
    let mut unsaid = Unsaid::default();
    for (did, place, words) in &said {
        let Some(text) = why.get(words) else { continue };
        let (what, remedy) = text.split_once("; ").unwrap_or((text, ""));
        let finding = finding(config, *place, what.to_owned(), remedy.to_owned());
        match did {
            Some(did) => {
                let file = config::over_http(*did);
                unsaid.over_http.entry(*did).or_insert(Finding { file, ..finding });
            }
            None if unsaid.in_files.len() < MAX_FINDINGS => unsaid.in_files.push(finding),
            None => {}
        }
    }
    Err(unsaid)
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
