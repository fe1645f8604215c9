//! Texts become prompts when a configuration is loaded, never in a call. This is no pure room: it reads files and runs the
//! synthesiser of `[speech] command`, at most four at once, each within 30 s, and none through a shell.
//!
//! A text is looked for in the sounds that ship with the configuration, then in those that were spoken before
//! (`data_dir/prompts`), and only then spoken. What was spoken is kept under a hash of the text and the command, written
//! whole or not at all.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use sha2::{Digest, Sha256};

use super::prompt::{FRAME_BYTES, Prompt, Standard};
use super::wav::{self, WavError};
use crate::sip::shown::Sentence;

/// Two minutes of speech: a greeting that is longer is not heard out. In characters.
pub const LONGEST_TEXT: usize = 2_000;
/// A synthesiser that needs longer for such a text hangs.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often it is looked after.
const LOOK: Duration = Duration::from_millis(5);
/// A node that takes calls while it reloads keeps the other cores for them.
const AT_ONCE: usize = 4;
/// What all prompts of a configuration may take in memory: twelve hours of speech in three codecs.
const MOST_BYTES: usize = 1 << 30;
/// Of what a program complains about, the end is kept: its last line says why it gave up.
const STDERR_KEPT: usize = 4 << 10;
/// `index.toml` of a thousand texts of usual length.
const LARGEST_INDEX: u64 = 256 << 10;
/// What another process has not made whole for so long, it never will.
const PART_LEFT: Duration = Duration::from_secs(600);
const PART: &str = ".part.wav";
static PARTS: AtomicUsize = AtomicUsize::new(0);

/// Readable for the node's group, for nobody else.
const FILE_MODE: u32 = 0o640;
const FOLDER_MODE: u32 = 0o750;

/// What a setting wants to be said: `whisper`, `record_notice`, `voicemail.greeting`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Words {
    Text(Arc<str>),
    /// A sound file, its path absolute or relative to the working directory.
    File(Arc<Path>),
}

/// Who speaks, and where what was spoken lies.
#[derive(Clone, Copy, Debug)]
pub struct Voice<'a> {
    /// `[speech] command`: a program and its arguments, with `{text}` and `{wav}` somewhere in them.
    pub command: &'a [Box<str>],
    /// The folder `prompts` of the configuration. It need not be there.
    pub shipped: &'a Path,
    /// The folder `prompts` of `data_dir`. Made when something is kept for the first time.
    pub kept: &'a Path,
}

/// Why something cannot be said: what is wrong, and what would be right.
#[derive(Debug, thiserror::Error)]
pub enum SpeechError {
    #[error("the text is empty; write what is to be said, or leave the key out")]
    NoText,
    #[error("the text has {0} characters; {LONGEST_TEXT} at most, record longer ones: {{ file = \"…\" }}")]
    LongText(usize),
    #[error(
        "[speech] command names no program; write [\"flite\", \"-voice\", \"slt\", \"-t\", \"{{text}}\", \"-o\", \"{{wav}}\"]"
    )]
    NoProgram,
    #[error("[speech] command has no {0} among its arguments; write it where the program expects it")]
    NoPlaceholder(&'static str),
    #[error("{} is not installed, which speaks it; {}, or record it: {{ file = \"…\" }}", shown(.0), remedy(.0))]
    NotInstalled(Box<str>),
    #[error("{} cannot be run: {error}; see [speech] command", shown(.program))]
    NotRun { program: Box<str>, error: io::Error },
    #[error("{} did not finish within {} s and was ended; see [speech] command", shown(.program), .patience.as_secs())]
    Slow { program: Box<str>, patience: Duration },
    #[error("{} wrote more than {} MiB and was ended; see [speech] command", shown(.program), wav::LARGEST >> 20)]
    Endless { program: Box<str> },
    #[error("{} failed ({status}): {}; see [speech] command", shown(.program), Sentence(.last_line))]
    Failed { program: Box<str>, status: ExitStatus, last_line: Box<str> },
    #[error("{} wrote no file at {{wav}}: {}; see [speech] command", shown(.program), Sentence(.last_line))]
    Nothing { program: Box<str>, last_line: Box<str> },
    #[error("what {} wrote is no sound: {error}", shown(.program))]
    NoSound { program: Box<str>, error: WavError },
    #[error("{}: {error}; the file must be there and readable", .path.display())]
    Unreadable { path: PathBuf, error: io::Error },
    #[error("{}: {error}", .path.display())]
    BadFile { path: PathBuf, error: WavError },
    #[error("{}: {what}; each line is a file and its text: \"notice.wav\" = \"This call may be recorded.\"", .path.display())]
    BadIndex { path: PathBuf, what: Box<str> },
    #[error("{}: {error}; it must be a folder that this user may write", .path.display())]
    NotKept { path: PathBuf, error: io::Error },
    #[error("all that is to be said takes more than {} MiB; say less, or the same more often", MOST_BYTES >> 20)]
    TooMuch,
}

/// What can be said, by its words; or what cannot be, and why, in order.
pub type Said = Result<BTreeMap<Words, Arc<Prompt>>, Vec<(Words, SpeechError)>>;

/// Makes a prompt of everything that a configuration wants to be said, each of `words` once. All or nothing.
///
/// It blocks, for as long as the synthesiser takes for what was never spoken before: never more than 30 s for four texts.
pub fn speak(words: &[Words], voice: &Voice<'_>) -> Said {
    speak_within(words, voice, PATIENCE)
}

fn speak_within(words: &[Words], voice: &Voice<'_>, patience: Duration) -> Said {
    let wanted: Vec<&Words> = words.iter().collect::<BTreeSet<_>>().into_iter().collect();
    let speaker = Speaker { voice: *voice, index: Index::read(voice.shipped), patience };
    let (next, bytes) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let done = Mutex::new(Vec::new());
    let work = || {
        while let Some(words) = wanted.get(next.fetch_add(1, Ordering::Relaxed)) {
            let said = speaker.say(words).and_then(|prompt| {
                let own = prompt.frames() as usize * FRAME_BYTES * 3;
                let all = bytes.fetch_add(own, Ordering::Relaxed).saturating_add(own);
                if all > MOST_BYTES { Err(SpeechError::TooMuch) } else { Ok(prompt) }
            });
            done.lock().unwrap_or_else(PoisonError::into_inner).push(((*words).clone(), said));
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..AT_ONCE.min(wanted.len()) {
            // Where there is no further thread, there are fewer at once.
            std::thread::Builder::new().name("speech".to_owned()).spawn_scoped(scope, work).ok();
        }
        work();
    });
    let (mut prompts, mut errors) = (BTreeMap::new(), Vec::new());
    for (words, said) in done.into_inner().unwrap_or_else(PoisonError::into_inner) {
        match said {
            Ok(prompt) => drop(prompts.insert(words, prompt)),
            Err(error) => errors.push((words, error)),
        }
    }
    errors.sort_by(|(a, _), (b, _)| a.cmp(b));
    if errors.is_empty() { Ok(prompts) } else { Err(errors) }
}

struct Speaker<'a> {
    voice: Voice<'a>,
    index: Index,
    patience: Duration,
}

impl Speaker<'_> {
    fn say(&self, words: &Words) -> Result<Arc<Prompt>, SpeechError> {
        match words {
            Words::File(path) => read_sound(path).map(Arc::new),
            Words::Text(text) => self.say_text(text),
        }
    }

    fn say_text(&self, text: &str) -> Result<Arc<Prompt>, SpeechError> {
        if let Some(path) = self.index.file(text)? {
            return read_sound(path).map(Arc::new);
        }
        if let Some(standard) = Standard::ALL.into_iter().find(|one| one.text() == Some(text)) {
            return Ok(standard.prompt());
        }
        let text = Text::of(text)?;
        let (program, arguments) = self.command()?;
        let name = text.name(self.voice.command);
        let kept = self.voice.kept.join(format!("{name}.wav"));
        // One that cannot be read is spoken again.
        if let Ok(prompt) = read_sound(&kept) {
            return Ok(Arc::new(prompt));
        }
        self.make_room()?;
        // Another process may speak the same just now, and so may another thread: spaces make no other text.
        let number = PARTS.fetch_add(1, Ordering::Relaxed);
        let part = format!("{name}.{}-{number}{PART}", std::process::id());
        let part = Part(self.voice.kept.join(part));
        let filled = arguments.iter().map(|argument| fill(argument, &text.0, &part.0)).collect();
        run(program, filled, &part.0, self.patience)?;
        let prompt = keep(program, &part.0, &kept)?;
        Ok(Arc::new(prompt))
    }

    /// The program and its arguments, once they are found to have a place for what comes in and what goes out.
    fn command(&self) -> Result<(&str, &[Box<str>]), SpeechError> {
        let (program, arguments) = self.voice.command.split_first().ok_or(SpeechError::NoProgram)?;
        if program.is_empty() {
            return Err(SpeechError::NoProgram);
        }
        for placeholder in [TEXT, WAV] {
            if !arguments.iter().any(|argument| argument.contains(placeholder)) {
                return Err(SpeechError::NoPlaceholder(placeholder));
            }
        }
        Ok((program, arguments))
    }

    /// Makes the folder, and removes what a crash left unfinished in it.
    fn make_room(&self) -> Result<(), SpeechError> {
        let folder = self.voice.kept;
        let made = DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(folder);
        made.map_err(|error| SpeechError::NotKept { path: folder.to_owned(), error })?;
        let now = SystemTime::now();
        let is_left = |entry: &fs::DirEntry| {
            let changed = entry.metadata().and_then(|meta| meta.modified());
            let age = changed.ok().and_then(|changed| now.duration_since(changed).ok());
            entry.file_name().to_string_lossy().ends_with(PART) && age.is_some_and(|age| age > PART_LEFT)
        };
        for entry in fs::read_dir(folder).into_iter().flatten().flatten().filter(is_left) {
            // Another process may be doing the same.
            fs::remove_file(entry.path()).ok();
        }
        Ok(())
    }
}

/// A text as a program is given it.
struct Text(String);

impl Text {
    /// Lines become one, and a text that begins with a dash gets a space before it: no program takes it for an option.
    fn of(written: &str) -> Result<Text, SpeechError> {
        let length = written.chars().count();
        if length > LONGEST_TEXT {
            return Err(SpeechError::LongText(length));
        }
        let plain: String = written.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let words = plain.split_whitespace().collect::<Vec<_>>().join(" ");
        match words.chars().next() {
            None => Err(SpeechError::NoText),
            Some('-') => Ok(Text(format!(" {words}"))),
            Some(_) => Ok(Text(words)),
        }
    }

    /// What it is kept under when this command speaks it. Lengths keep the parts apart.
    fn name(&self, command: &[Box<str>]) -> String {
        let mut hash = Sha256::new();
        for part in std::iter::once(self.0.as_str()).chain(command.iter().map(|part| &**part)) {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

const TEXT: &str = "{text}";
const WAV: &str = "{wav}";

/// An argument with its placeholders filled. What comes in is not looked through for further ones.
fn fill(argument: &str, text: &str, wav: &Path) -> OsString {
    let (mut filled, mut rest) = (OsString::new(), argument);
    loop {
        let places: [(Option<usize>, &str, &OsStr); 2] =
            [(rest.find(TEXT), TEXT, OsStr::new(text)), (rest.find(WAV), WAV, wav.as_os_str())];
        let first =
            places.into_iter().filter_map(|(at, name, value)| Some((at?, name, value))).min_by_key(|p| p.0);
        let Some((at, name, value)) = first else {
            filled.push(rest);
            return filled;
        };
        filled.push(&rest[..at]);
        filled.push(value);
        rest = &rest[at + name.len()..];
    }
}

/// Runs it to its end, or ends it: it and all that it started, by the group's id.
fn run(program: &str, arguments: Vec<OsString>, wav: &Path, patience: Duration) -> Result<(), SpeechError> {
    let named = || Box::<str>::from(program);
    let mut command = Command::new(program);
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0);
    let mut child = command.spawn().map_err(|error| {
        if error.kind() == io::ErrorKind::NotFound {
            SpeechError::NotInstalled(named())
        } else {
            SpeechError::NotRun { program: named(), error }
        }
    })?;
    let mut complaint = Complaint::of(child.stderr.take());
    let begun = Instant::now();
    let status = loop {
        complaint.hear();
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) => {}
            Err(error) => {
                end(&mut child);
                return Err(SpeechError::NotRun { program: named(), error });
            }
        }
        if fs::metadata(wav).is_ok_and(|meta| meta.len() > wav::LARGEST as u64) {
            end(&mut child);
            return Err(SpeechError::Endless { program: named() });
        }
        if begun.elapsed() > patience {
            end(&mut child);
            return Err(SpeechError::Slow { program: named(), patience });
        }
        std::thread::sleep(LOOK);
    };
    complaint.hear();
    match (status.success(), wav.is_file()) {
        (true, true) => Ok(()),
        (true, false) => Err(SpeechError::Nothing { program: named(), last_line: complaint.last_line() }),
        (false, _) => Err(SpeechError::Failed { program: named(), status, last_line: complaint.last_line() }),
    }
}

/// Ends a child of ours that has not been waited for, so that its id is still its own.
fn end(child: &mut Child) {
    if let Ok(group) = i32::try_from(child.id()) {
        killpg(Pid::from_raw(group), Signal::SIGKILL).ok();
    }
    child.kill().ok();
    child.wait().ok();
}

/// The end of what a program writes to its standard error. Nothing waits for it: a grandchild may keep it open.
struct Complaint {
    from: Option<ChildStderr>,
    end: Vec<u8>,
}

impl Complaint {
    fn of(from: Option<ChildStderr>) -> Complaint {
        let from = from.filter(|from| fcntl(from, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).is_ok());
        Complaint { from, end: Vec::new() }
    }

    /// Reads what is there, at most a pipe full.
    fn hear(&mut self) {
        let mut piece = [0; STDERR_KEPT];
        for _ in 0..16 {
            let Some(Ok(length @ 1..)) = self.from.as_mut().map(|from| from.read(&mut piece)) else { return };
            self.end.extend_from_slice(&piece[..length]);
            let surplus = self.end.len().saturating_sub(STDERR_KEPT);
            self.end.drain(..surplus);
        }
    }

    fn last_line(&self) -> Box<str> {
        let text = String::from_utf8_lossy(&self.end);
        text.lines().rev().map(str::trim).find(|line| !line.is_empty()).unwrap_or("it said nothing").into()
    }
}

/// A file that goes with the value, unless it was renamed.
struct Part(PathBuf);

impl Drop for Part {
    fn drop(&mut self) {
        fs::remove_file(&self.0).ok();
    }
}

/// What a program wrote becomes a prompt, and is kept whole.
fn keep(program: &str, part: &Path, kept: &Path) -> Result<Prompt, SpeechError> {
    let lost = |error| SpeechError::NotKept { path: kept.to_owned(), error };
    let bytes = read_file(part, wav::LARGEST as u64).map_err(lost)?;
    let no_sound = |error| SpeechError::NoSound { program: program.into(), error };
    let prompt = Prompt::of_wav(&bytes).map_err(no_sound)?;
    let rename = || {
        let file = File::open(part)?;
        file.set_permissions(Permissions::from_mode(FILE_MODE))?;
        file.sync_all()?;
        fs::rename(part, kept)?;
        kept.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
    };
    rename().map_err(lost)?;
    Ok(prompt)
}

/// Reads a sound file, no more of it than a sound file may have.
fn read_sound(path: &Path) -> Result<Prompt, SpeechError> {
    let bytes = read_file(path, wav::LARGEST as u64)
        .map_err(|error| SpeechError::Unreadable { path: path.to_owned(), error })?;
    Prompt::of_wav(&bytes).map_err(|error| SpeechError::BadFile { path: path.to_owned(), error })
}

/// At most one byte more than `most`, which says that there is more. A pipe or a device is no file: reading it may never
/// end.
fn read_file(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(most + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// `index.toml` of the sounds that ship with a configuration.
enum Index {
    Read(BTreeMap<String, PathBuf>),
    Bad { path: PathBuf, what: Box<str> },
}

impl Index {
    fn read(folder: &Path) -> Index {
        let path = folder.join("index.toml");
        let bytes = match read_file(&path, LARGEST_INDEX) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Index::Read(BTreeMap::new()),
            Err(error) => return Index::Bad { path, what: error.to_string().into() },
        };
        if bytes.len() as u64 > LARGEST_INDEX {
            let what = format!("it has more than {} KiB", LARGEST_INDEX >> 10);
            return Index::Bad { path, what: what.into() };
        }
        match toml::from_slice::<BTreeMap<String, String>>(&bytes) {
            Ok(texts) => {
                Index::Read(texts.into_iter().map(|(file, text)| (text, folder.join(file))).collect())
            }
            Err(error) => Index::Bad { path, what: error.message().into() },
        }
    }

    fn file(&self, text: &str) -> Result<Option<&Path>, SpeechError> {
        match self {
            Index::Read(files) => Ok(files.get(text).map(PathBuf::as_path)),
            Index::Bad { path, what } => {
                Err(SpeechError::BadIndex { path: path.clone(), what: what.clone() })
            }
        }
    }
}

fn shown(program: &str) -> String {
    crate::sip::shown::Word(program).to_string()
}

/// What to install, by the name of the program that is missing.
fn remedy(program: &str) -> String {
    const PACKAGES: [(&str, &str); 4] = [
        ("flite", "flite"),
        ("espeak-ng", "espeak-ng"),
        ("pico2wave", "libttspico-utils"),
        ("text2wave", "festival"),
    ];
    let name = Path::new(program).file_name().unwrap_or_default();
    match PACKAGES.iter().find(|(known, _)| name == *known) {
        Some((_, package)) => format!("install it (Debian: apt-get install {package})"),
        None => "install it, or flite (Debian: apt-get install flite) and name that in [speech] command"
            .to_owned(),
    }
}

#[cfg(test)]
mod tests;
