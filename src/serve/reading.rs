//! How the files of a configuration are read, and how what is found in them is told.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crate::admin::operations::Finding;
use crate::config::{self, FilesAndFolders, Loaded, Progress, Stamp};

/// How often files are read that change meanwhile: whoever writes them is done soon, or does so all the time.
const TRIES: usize = 3;
/// Between two of these readings it is looked so often whether files still change.
pub(super) const LOOK: Duration = Duration::from_millis(100);
/// They have come to rest where so many looks in a row find no change: half a second, longer than whoever copies or renders
/// them pauses between two writes.
const AT_REST: u32 = 5;
/// So often it is looked at most, all pauses together, five seconds: whoever waits for calls, or for what a reload says, waits
/// as long.
const LOOKS: u32 = 50;

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
#[derive(Clone, Debug)]
pub struct Seen {
    pub(super) files: Vec<(PathBuf, Option<Stamp>)>,
    /// In which they lie, or could.
    folders: Vec<PathBuf>,
    /// What had been written so shortly before that more of it may be to come, and nobody could wait any longer.
    young: Option<PathBuf>,
}

impl Seen {
    /// The files of a configuration, as they are.
    pub fn of(folder: &Path) -> Seen {
        let FilesAndFolders { files, folders } = config::files(folder);
        let files = files.into_iter().map(|path| (path.clone(), Stamp::at(&path)));
        Seen { files: files.collect(), folders, young: None }
    }

    /// The first that was written less than so long ago, or the folder in which one came or went.
    fn young(&self, rest: Duration, now: SystemTime) -> Option<PathBuf> {
        let is_young = |stamp: &Option<Stamp>| stamp.is_some_and(|stamp| stamp.is_younger_than(rest, now));
        let file = self.files.iter().find(|(_, stamp)| is_young(stamp)).map(|(path, _)| path.clone());
        file.or_else(|| self.folders.iter().find(|path| is_young(&Stamp::at(path))).cloned())
    }

    /// The first that is another one since, came or went; or was none to be read yet.
    pub(super) fn moved(&self, folder: &Path) -> Option<PathBuf> {
        let now = Seen::of(folder);
        let is_in = |one: &(PathBuf, Option<Stamp>), all: &Seen| all.files.contains(one);
        let gone = self.files.iter().find(|one| !is_in(one, &now));
        let moved = gone.or_else(|| now.files.iter().find(|one| !is_in(one, self)));
        moved.map(|(path, _)| path.clone()).or_else(|| self.young.clone())
    }
}

/// What was read, and how the files were before.
pub(super) struct Steady {
    pub read: Result<Loaded, Vec<config::Finding>>,
    pub seen: Seen,
    /// A file that changed while it was read, or just before, each time.
    pub moved: Option<PathBuf>,
}

/// The time by which files are let come to rest.
pub(super) trait Time {
    /// The wall clock.
    fn now(&self) -> SystemTime;
    /// Lets the time of one look pass.
    fn a_moment(&self);
}

/// As it passes.
pub(super) struct RealTime;

impl Time for RealTime {
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }

    fn a_moment(&self) {
        std::thread::sleep(LOOK);
    }
}

/// Reads files when they rest, and again if they change meanwhile: half of what they were and half of what they are nobody
/// meant. Before they are read again they have a while to come to rest: a small configuration would otherwise be read three
/// times while one file is written.
pub(super) fn steadily(
    folder: &Path,
    time: &impl Time,
    mut read: impl FnMut() -> Result<Loaded, Vec<config::Finding>>,
) -> Steady {
    let mut tries = 1;
    let young = |seen: &Seen| seen.young(LOOK * AT_REST, time.now());
    // Whoever writes one just now may have paused. What comes and goes in a folder may be none of its files.
    let mut looks = come_to_rest(folder, LOOKS, time, |seen| young(seen).is_none());
    loop {
        let mut seen = Seen::of(folder);
        seen.young = (looks == 0).then(|| young(&seen)).flatten();
        let read = read();
        let moved = seen.moved(folder);
        if moved.is_none() || tries == TRIES || looks == 0 {
            return Steady { read, seen, moved };
        }
        let file = moved.as_deref().unwrap_or(folder).display();
        tracing::info!(%file, tries, "a file changed while it was read: all are read again when they rest");
        looks = come_to_rest(folder, looks, time, |_| false);
        tries += 1;
    }
}

/// Looks at files until they rest, as far as nothing shows that they have rested already, or until so many looks are used up. How
/// many are left.
fn come_to_rest(folder: &Path, mut looks: u32, time: &impl Time, has_rested: impl Fn(&Seen) -> bool) -> u32 {
    let (mut seen, mut still) = (Seen::of(folder), 0);
    while still < AT_REST && looks > 0 && !has_rested(&seen) {
        time.a_moment();
        let now = Seen::of(folder);
        still = if now.files == seen.files { still + 1 } else { 0 };
        (seen, looks) = (now, looks - 1);
    }
    looks
}

/// That a file changed each time is told before whatever else is wrong, which may be so for that alone. `then`: what to do when
/// whoever writes it is done.
pub(super) fn mistakes(
    moved: Option<&Path>,
    errors: Vec<config::Finding>,
    then: &str,
) -> Vec<config::Finding> {
    let moving = moved.map(|file| is_moving(file, then));
    moving.into_iter().chain(errors).take(config::MAX_FINDINGS).collect()
}

/// That a file changed each time. `then`: what to do when whoever writes it is done.
pub(super) fn is_moving(file: &Path, then: &str) -> config::Finding {
    config::Finding {
        file: file.display().to_string(),
        line: 1,
        column: 1,
        message: "it changed while it was read, or just before, and did not come to rest".to_owned(),
        remedy: format!("{then} when whoever writes it is done"),
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

/// While calls run half of the processors read tables: a message that comes in finds another that has nothing to do, and does
/// not wait for one to turn around.
pub(super) fn readers() -> usize {
    std::thread::available_parallelism().map_or(1, |all| all.get().div_ceil(2))
}
