//! How the files of a configuration are read, and how what is found in them is told.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::admin::operations::Finding;
use crate::config::{self, Loaded, Progress, Stamp};

/// How often files are read that change meanwhile: whoever writes them is done soon, or does so all the time.
const TRIES: usize = 3;

/// What a variable of the environment holds.
pub type Env = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// What paths are relative to that are set over HTTP: the folder of the files that they could stand in.
pub(super) fn routing_of(folder: &Path) -> PathBuf {
    folder.join("routing")
}

/// Says in the log how far the reading of large tables has come, now and then.
pub(super) fn says_how_far() -> impl FnMut(Progress) {
    const EVERY: Duration = Duration::from_secs(2);
    let mut next = Instant::now() + EVERY;
    move |Progress { numbers, all, read }| {
        if Instant::now() >= next {
            next = Instant::now() + EVERY;
            let percent = read * 100 / all.max(1);
            tracing::info!(numbers, percent, "the configuration is being read");
        }
    }
}

/// How files were before they were read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen(pub(super) Vec<(PathBuf, Option<Stamp>)>);

impl Seen {
    /// The files of a configuration, as they are.
    pub fn of(folder: &Path) -> Seen {
        let files = config::files(folder).into_iter();
        Seen(files.map(|path| (path.clone(), Stamp::at(&path))).collect())
    }

    /// The first that is another one since, came or went.
    pub(super) fn moved(&self, folder: &Path) -> Option<PathBuf> {
        let now = Seen::of(folder);
        let is_in = |one: &(PathBuf, Option<Stamp>), all: &Seen| all.0.contains(one);
        if *self == now {
            return None;
        }
        let gone = self.0.iter().find(|one| !is_in(one, &now));
        gone.or_else(|| now.0.iter().find(|one| !is_in(one, self))).map(|(path, _)| path.clone())
    }
}

/// What was read, and how the files were before.
pub(super) struct Steady {
    pub read: Result<Loaded, Vec<config::Finding>>,
    pub seen: Seen,
    /// A file that changed while it was read, each time.
    pub moved: Option<PathBuf>,
}

/// Reads files, again if they change meanwhile: half of what they were and half of what they are nobody meant.
pub(super) fn steadily(
    folder: &Path,
    mut read: impl FnMut() -> Result<Loaded, Vec<config::Finding>>,
) -> Steady {
    let mut tries = 1;
    loop {
        let seen = Seen::of(folder);
        let read = read();
        let moved = seen.moved(folder);
        if moved.is_none() || tries == TRIES {
            return Steady { read, seen, moved };
        }
        let file = moved.as_deref().unwrap_or(folder).display();
        tracing::info!(%file, tries, "a file changed while it was read: all are read again");
        tries += 1;
    }
}

/// That a file changed each time.
pub(super) fn is_moving(file: &Path) -> Finding {
    Finding {
        file: file.display().to_string(),
        line: 1,
        column: 1,
        message: format!("the file changed while it was read, {TRIES} times in a row"),
        remedy: "reload when whoever writes it is done".to_owned(),
    }
}

pub(super) fn findings(found: Vec<config::Finding>) -> Vec<Finding> {
    let convert = |config::Finding { file, line, column, message, remedy }| Finding {
        file,
        line,
        column,
        message,
        remedy,
    };
    found.into_iter().map(convert).collect()
}
