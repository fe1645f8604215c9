//! The call's record, as the node left it in its `data_dir`.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::call::cdr::Cdr;

/// A record is on disk 50 ms after its call, unless the disk is slow.
const PATIENCE: Duration = Duration::from_secs(2);
const LOOK: Duration = Duration::from_millis(20);
/// How much of a file that grew during the call is read.
const MOST: u64 = 64 << 20;

/// How far the records went before the call.
pub(super) struct Records {
    folder: PathBuf,
    before: Vec<(PathBuf, u64)>,
}

impl Records {
    pub fn mark(data_dir: &Path) -> Records {
        let folder = data_dir.join("cdr");
        let before = files(&folder);
        Records { folder, before }
    }

    /// The record of the call whose first leg has this Call-ID. Waits for it a little, where there are records.
    pub fn wait_for(&self, call_id: &str) -> Option<Cdr> {
        let until = Instant::now() + PATIENCE;
        loop {
            let found = self.find(call_id);
            if found.is_some() || !self.folder.is_dir() || Instant::now() >= until {
                return found;
            }
            std::thread::sleep(LOOK);
        }
    }

    fn find(&self, call_id: &str) -> Option<Cdr> {
        files(&self.folder).into_iter().find_map(|(path, length)| {
            let from =
                self.before.iter().find(|(before, _)| *before == path).map_or(0, |(_, length)| *length);
            if from >= length {
                return None;
            }
            let mut file = File::open(&path).ok()?;
            file.seek(SeekFrom::Start(from)).ok()?;
            let mut text = String::new();
            file.take(MOST).read_to_string(&mut text).ok()?;
            let lines = text.lines().filter(|line| line.contains(call_id));
            lines.filter_map(|line| serde_json::from_str(line).ok()).find(|cdr: &Cdr| {
                cdr.legs.first().is_some_and(|leg| leg.sip_call_id.as_deref() == Some(call_id))
            })
        })
    }
}

/// The files of records and how long each is.
fn files(folder: &Path) -> Vec<(PathBuf, u64)> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let is_record = |path: &PathBuf| path.extension().is_some_and(|ext| ext == "jsonl");
    entries
        .filter_map(|entry| Some((entry.path(), entry.metadata().ok()?.len())))
        .filter(|(path, _)| is_record(path))
        .collect()
}
