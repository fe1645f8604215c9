//! How recordings that a crash cut off are made whole.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use super::sheet::{Ending, Sheet};
use super::wav::{Format, HEADER, seal};
use crate::time::Wall;
use crate::volume;

/// No sheet that we wrote is longer; what is, is not read.
const LONGEST_SHEET: u64 = 1 << 20;

/// Recordings lie in `YYYY/MM/DD` under their folder: no deeper is looked for them.
const DEPTH: u32 = 3;

/// A recording that was found cut off and is whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whole {
    pub call: Box<str>,
    pub path: PathBuf,
    pub duration: Duration,
}

/// What `mend` found.
#[derive(Debug, Default)]
pub struct Mended {
    pub whole: Vec<Whole>,
    /// Those that held no sound yet, and are gone.
    pub empty: usize,
    /// Those that are left as they were, and why.
    pub failed: Vec<(PathBuf, io::Error)>,
}

/// Makes whole what a crash cut off, in the folder of the recordings; nobody writes there meanwhile. Reads the names of
/// all recordings that are kept, some µs each.
pub fn mend(folder: &Path) -> Mended {
    let mut mended = Mended::default();
    walk(folder, DEPTH, &mut mended);
    mended
}

fn walk(folder: &Path, depth: u32, mended: &mut Mended) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() && depth > 0 {
            walk(&path, depth - 1, mended);
        } else if kind.is_file()
            && let Some(call) = call_of(&path)
        {
            match mend_one(&call, &path) {
                Ok(Some(whole)) => mended.whole.push(whole),
                Ok(None) => mended.empty += 1,
                Err(error) => mended.failed.push((path, error)),
            }
        }
    }
}

/// The call whose unfinished recording has that name.
fn call_of(path: &Path) -> Option<Box<str>> {
    path.file_name()?.to_str()?.strip_suffix(".wav.part").map(Box::from)
}

fn mend_one(call: &str, part: &Path) -> io::Result<Option<Whole>> {
    let path = part.with_extension("");
    if path.exists() {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is a whole recording of that name"));
    }
    let sheet = path.with_extension("json");
    let file = File::options().read(true).write(true).open(part)?;
    let length = file.metadata()?.len();
    if length <= HEADER as u64 {
        fs::remove_file(part)?;
        fs::remove_file(volume::part_of(&sheet)).or_else(none_is_fine)?;
        volume::sync_folder_of(part)?;
        return Ok(None);
    }
    let mut header = [0; HEADER];
    file.read_exact_at(&mut header, 0)?;
    let not_ours = || io::Error::new(io::ErrorKind::InvalidData, "it does not begin as a recording of ours");
    let format = Format::read(&header).ok_or_else(not_ours)?;
    let frames = (length - HEADER as u64) / format.frame();
    if !sheet.exists() {
        let found = sheet_of(&volume::part_of(&sheet));
        let mut found = match found {
            Some(found) => found,
            None => Sheet::new(call, format, began(&file, format.lasts(frames))?),
        };
        found.cut(format, frames, Ending::CutOff);
        volume::replace(&sheet, &found.text())?;
    }
    seal(&file, part, format, frames)?;
    Ok(Some(Whole { call: call.into(), path, duration: format.lasts(frames) }))
}

/// When a recording began whose last sample was written when the file was changed last.
fn began(file: &File, duration: Duration) -> io::Result<Wall> {
    let since = file.metadata()?.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(Wall(u64::try_from(since.saturating_sub(duration).as_millis()).unwrap_or(u64::MAX)))
}

/// The sheet that was written when the recording began.
fn sheet_of(path: &Path) -> Option<Sheet> {
    let mut text = Vec::new();
    File::open(path).ok()?.take(LONGEST_SHEET).read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text).ok()
}

fn none_is_fine(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}
