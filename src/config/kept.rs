//! Which files of nothing but numbers were read and how they were then, so that what did not change need not be read again.

use std::fs::{File, Metadata};
use std::hash::RandomState;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hashbrown::HashMap;

use super::numbers::Span;

/// A file that changed shorter ago than this may change once more and show the same time: the coarsest file systems count by two
/// seconds.
const SETTLED: Duration = Duration::from_secs(2);

/// What tells whether a file is the one that was read. Whoever sets `mtime` back cannot set `ctime`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    device: u64,
    inode: u64,
    length: u64,
    /// Seconds and nanoseconds.
    mtime: (i64, i64),
    ctime: (i64, i64),
}

impl Stamp {
    pub fn of(file: &File) -> Option<Stamp> {
        file.metadata().ok().map(|about| Stamp::from(&about))
    }

    /// The same of the file at a path. None: there is none.
    pub fn at(path: &Path) -> Option<Stamp> {
        std::fs::metadata(path).ok().map(|about| Stamp::from(&about))
    }

    /// Whether it had been left alone for long enough by then that any later change shows.
    pub fn is_settled(&self, now: SystemTime) -> bool {
        time_of(self.ctime)
            .and_then(|changed| now.duration_since(changed).ok())
            .is_some_and(|age| age >= SETTLED)
    }

    /// Whether it was written less than so long ago, by a clock that may be as much behind.
    pub fn is_younger_than(&self, rest: Duration, now: SystemTime) -> bool {
        time_of(self.mtime).is_some_and(|written| match now.duration_since(written) {
            Ok(age) => age < rest,
            Err(ahead) => ahead.duration() < rest,
        })
    }

    pub fn length(&self) -> usize {
        usize::try_from(self.length).unwrap_or(usize::MAX)
    }
}

fn time_of((seconds, nanos): (i64, i64)) -> Option<SystemTime> {
    let since = Duration::new(u64::try_from(seconds).ok()?, u32::try_from(nanos).ok()?);
    UNIX_EPOCH.checked_add(since)
}

impl From<&Metadata> for Stamp {
    fn from(about: &Metadata) -> Stamp {
        Stamp {
            device: about.dev(),
            inode: about.ino(),
            length: about.size(),
            mtime: (about.mtime(), about.mtime_nsec()),
            ctime: (about.ctime(), about.ctime_nsec()),
        }
    }
}

/// The files of a configuration that hold numbers alone and of which there is nothing to say, as long as they are as they were.
#[derive(Debug, Default)]
pub(crate) struct Kept(HashMap<PathBuf, (Stamp, Span), RandomState>);

impl Kept {
    pub(super) fn remember(&mut self, path: PathBuf, stamp: Stamp, span: Span) {
        self.0.insert(path, (stamp, span));
    }

    /// Where its numbers are, if it is as it was.
    pub(super) fn find(&self, path: &Path, now: Stamp) -> Option<&Span> {
        self.0.get(path).filter(|(stamp, _)| *stamp == now).map(|(_, span)| span)
    }
}
