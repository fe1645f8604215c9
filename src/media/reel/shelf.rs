//! Recordings that are whole: found by the id of their call, removed, and given up when they are too old.
//!
//! All of it blocks, a look into a folder some µs each: not for a shard, nor for a media thread.

use std::fs::{self, DirEntry, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use super::wav::HEADER;
use super::{DAY_MS, Kind, is_name, path_of};
use crate::time::{Wall, rfc3339};
use crate::volume;

/// A folder of recordings, `YYYY/MM/DD` below it.
#[derive(Clone, Debug)]
pub struct Shelf {
    folder: PathBuf,
}

/// What a step of [`Shelf::give_up`] has done.
#[derive(Debug, Default)]
pub struct GivenUp {
    /// Recordings, and what was left of others.
    pub removed: usize,
    /// Files that could not be removed, and why the first of them could not.
    pub failed: usize,
    pub error: Option<io::Error>,
}

impl Shelf {
    pub fn new(data_dir: &Path, kind: Kind) -> Shelf {
        Shelf { folder: data_dir.join(kind.folder()) }
    }

    /// A call's recording, once it is whole. Looks into the folder of each day, the latest first.
    pub fn find(&self, call: &str) -> Option<PathBuf> {
        // What is no name of ours leads out of the folder, or to what is not whole.
        if !is_name(call) {
            return None;
        }
        self.days().map(|(_, day)| day.join(format!("{call}.wav"))).find(|path| path.is_file())
    }

    /// Whether something of a call was written down that began on that day or the next: whole, or cut off and soon whole.
    pub fn has_of(&self, call: &str, since: Wall) -> bool {
        let holds_sound = |path: &Path| path.metadata().is_ok_and(|meta| meta.len() > HEADER as u64);
        is_name(call)
            && [since, Wall(since.0 + DAY_MS)].into_iter().any(|day| {
                let path = path_of(&self.folder, call, day);
                holds_sound(&path) || holds_sound(&volume::part_of(&path))
            })
    }

    /// Removes a call's recording and what stands beside it. False: there is none. On return neither comes back after
    /// a power cut.
    pub fn remove(&self, call: &str) -> io::Result<bool> {
        let Some(path) = self.find(call) else { return Ok(false) };
        remove_one(&path)?;
        volume::sync_folder_of(&path)?;
        Ok(true)
    }

    /// Removes at most so many recordings of days that are over by more than `days`, the oldest first. Nothing removed:
    /// there are no more of them. What is being written stays, and so does whatever is not ours.
    pub fn give_up(&self, now: Wall, days: u32, most: usize) -> GivenUp {
        let mut done = GivenUp::default();
        let Some(before) = (now.0 / DAY_MS).checked_sub(u64::from(days)) else { return done };
        let mut old: Vec<(Date, PathBuf)> =
            self.days().filter(|(date, _)| *date < Date::of(before)).collect();
        old.reverse();
        for (date, day) in old {
            done.empty(&day, Wall(before * DAY_MS), most);
            if done.removed >= most {
                break;
            }
            self.clear_away(&day, date, Date::of(now.0 / DAY_MS));
        }
        done
    }

    /// The folders of days, the latest first.
    fn days(&self) -> impl Iterator<Item = (Date, PathBuf)> + use<> {
        numbered(&self.folder).flat_map(|(year, path)| {
            numbered(&path).flat_map(move |(month, path)| {
                numbered(&path).map(move |(day, path)| (Date { year, month, day }, path))
            })
        })
    }

    /// Takes a day's folder away if it is empty, and those above it. Not this month's: a recording may just begin there.
    fn clear_away(&self, day: &Path, date: Date, today: Date) {
        let month = day.parent();
        let is_over = (date.year, date.month) < (today.year, today.month);
        let year = month.and_then(Path::parent).filter(|_| date.year < today.year);
        // What holds something stays.
        let _ = fs::remove_dir(day).is_ok()
            && month.filter(|_| is_over).is_some_and(|month| fs::remove_dir(month).is_ok())
            && year.is_some_and(|year| fs::remove_dir(year).is_ok());
    }
}

impl GivenUp {
    /// Removes what was written down on a day, up to `most` in all.
    fn empty(&mut self, day: &Path, before: Wall, most: usize) {
        let already = self.removed;
        for entry in fs::read_dir(day).into_iter().flatten().flatten() {
            if self.removed >= most {
                break;
            }
            match remove_old(&entry, before) {
                Ok(true) => self.removed += 1,
                Ok(false) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => self.fails(error),
            }
        }
        if self.removed > already
            && let Err(error) = volume::sync_folder_of(&day.join("any"))
        {
            self.fails(error);
        }
    }

    fn fails(&mut self, error: io::Error) {
        self.failed += 1;
        self.error.get_or_insert(error);
    }
}

/// A day as the folders name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Date {
    year: u64,
    month: u64,
    day: u64,
}

impl Date {
    fn of(days: u64) -> Date {
        let (year, month, day) = rfc3339::civil(days);
        Date { year, month, day }
    }
}

/// The folders in a folder whose names are numbers, the highest first.
fn numbered(folder: &Path) -> impl Iterator<Item = (u64, PathBuf)> + use<> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let number = |entry: DirEntry| {
        let name = entry.file_name();
        let digits = name.to_str().filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()))?;
        Some((digits.parse().ok()?, entry.path()))
    };
    let mut found: Vec<(u64, PathBuf)> = entries.filter_map(number).collect();
    found.sort_by(|one, other| other.cmp(one));
    found.into_iter()
}

/// Removes what a file of an old day holds, if it is ours and nobody writes it. What belongs to it goes with it.
fn remove_old(entry: &DirEntry, before: Wall) -> io::Result<bool> {
    let (path, name) = (entry.path(), entry.file_name());
    let Some((call, ending)) = name.to_str().and_then(|name| name.split_once('.')) else { return Ok(false) };
    let meta = entry.metadata()?;
    if !is_name(call) || !meta.is_file() {
        return Ok(false);
    }
    let sibling = |ending: &str| path.with_file_name(format!("{call}.{ending}"));
    match ending {
        "wav" => remove_one(&path)?,
        // Without its recording: that went before a power cut, or is about to.
        "json" if !sibling("wav").exists() && !sibling("wav.part").exists() => fs::remove_file(&path)?,
        // A call may go on for longer than recordings are kept, and changes its file all the time.
        "wav.part" if is_older(&meta, before) => fs::remove_file(&path)?,
        "json.part" if !sibling("wav.part").exists() && is_older(&meta, before) => fs::remove_file(&path)?,
        _ => return Ok(false),
    }
    Ok(true)
}

/// The recording first: a sheet that a crash leaves alone is removed with the others of its day.
fn remove_one(path: &Path) -> io::Result<()> {
    fs::remove_file(path)?;
    match fs::remove_file(path.with_extension("json")) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn is_older(meta: &Metadata, before: Wall) -> bool {
    let changed = meta.modified().ok().and_then(|changed| changed.duration_since(UNIX_EPOCH).ok());
    changed.is_some_and(|changed| changed < Duration::from_millis(before.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    /// 2026-11-29T10:00:00Z.
    const NOW: Wall = Wall(1_795_946_400_000);

    fn shelf() -> (tempfile::TempDir, Shelf) {
        let folder = tempfile::tempdir().unwrap();
        let shelf = Shelf::new(folder.path(), Kind::Recording);
        (folder, shelf)
    }

    fn put(shelf: &Shelf, file: &str) -> PathBuf {
        let path = shelf.folder.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, b"sound").unwrap();
        path
    }

    fn files(folder: &Path) -> Vec<String> {
        let mut found = Vec::new();
        let mut left = vec![folder.to_owned()];
        while let Some(path) = left.pop() {
            for entry in fs::read_dir(path).unwrap().flatten() {
                let path = entry.path();
                let name = path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
                if path.is_dir() {
                    found.push(format!("{name}/"));
                    left.push(path);
                } else {
                    found.push(name);
                }
            }
        }
        found.sort();
        found
    }

    #[test]
    fn a_recording_is_found_by_its_call_on_whatever_day_and_by_no_path() {
        let (_folder, shelf) = shelf();
        let old = put(&shelf, "2025/12/31/c-1.wav");
        let new = put(&shelf, "2026/11/29/c-2.wav");
        put(&shelf, "2026/11/29/c-3.wav.part");
        put(&shelf, "secret.wav");
        assert_eq!((shelf.find("c-1"), shelf.find("c-2")), (Some(old), Some(new)));
        let long = "c".repeat(65);
        for call in ["c-3", "c-4", "", "c-3.wav.part", "../../../secret", "secret", "29/c-2", "c-2\0", &long]
        {
            assert_eq!(shelf.find(call), None, "{call:?}");
        }
    }

    #[test]
    fn what_a_crash_cut_off_is_there_if_there_is_sound_in_it() {
        let (_folder, shelf) = shelf();
        let sound = [0; HEADER + 2];
        for (file, bytes) in [
            ("2026/11/29/today.wav.part", &sound[..]),
            ("2026/11/30/after-midnight.wav.part", &sound),
            ("2026/11/29/whole.wav", &sound),
            ("2026/11/29/empty.wav.part", &sound[..HEADER]),
            ("2026/11/28/another.wav.part", &sound),
        ] {
            fs::write(put(&shelf, file), bytes).unwrap();
        }
        let calls = ["today", "after-midnight", "whole", "empty", "another", "nobody", "../29/today"];
        let has = calls.map(|call| shelf.has_of(call, NOW));
        assert_eq!(has, [true, true, true, false, false, false, false]);
    }

    #[test]
    fn what_is_removed_is_gone_with_what_stands_beside_it() {
        let (_folder, shelf) = shelf();
        for file in ["2026/11/29/c-1.wav", "2026/11/29/c-1.json", "2026/11/29/c-2.wav"] {
            put(&shelf, file);
        }
        assert!(shelf.remove("c-1").unwrap());
        assert!(!shelf.remove("c-1").unwrap());
        assert!(shelf.remove("c-2").unwrap(), "without a sheet");
        assert_eq!(files(&shelf.folder), ["2026/", "2026/11/", "2026/11/29/"]);
    }

    #[test]
    fn old_ones_are_given_up_in_small_steps_and_what_is_written_or_not_ours_stays() {
        let (_folder, shelf) = shelf();
        for file in [
            "2025/10/01/a.wav",
            "2025/10/01/a.json",
            "2025/10/01/alone.json",
            "2026/08/30/b.wav",
            "2026/08/30/b.json",
            "2026/08/30/goes-on.wav.part",
            "2026/08/30/goes-on.json.part",
            "2026/08/30/notes.txt",
            "2026/08/30/left.wav.part",
            "2026/08/31/young.wav",
            "2026/11/29/c.wav",
        ] {
            put(&shelf, file);
        }
        let long_ago = UNIX_EPOCH + Duration::from_millis(NOW.0 - 200 * DAY_MS);
        for file in ["2026/08/30/goes-on.json.part", "2026/08/30/left.wav.part"] {
            File::options()
                .write(true)
                .open(shelf.folder.join(file))
                .unwrap()
                .set_modified(long_ago)
                .unwrap();
        }
        let now = UNIX_EPOCH + Duration::from_millis(NOW.0);
        let goes_on = File::options().write(true).open(shelf.folder.join("2026/08/30/goes-on.wav.part"));
        goes_on.unwrap().set_modified(now).unwrap();
        let mut steps = Vec::new();
        loop {
            let step = shelf.give_up(NOW, 90, 2);
            assert_eq!(step.failed, 0, "{step:?}");
            if step.removed == 0 {
                break;
            }
            steps.push(step.removed);
        }
        assert!(steps.iter().all(|removed| *removed <= 2) && steps.len() >= 2, "{steps:?}");
        assert_eq!(
            files(&shelf.folder),
            [
                "2026/",
                "2026/08/",
                "2026/08/30/",
                "2026/08/30/goes-on.json.part",
                "2026/08/30/goes-on.wav.part",
                "2026/08/30/notes.txt",
                "2026/08/31/",
                "2026/08/31/young.wav",
                "2026/11/",
                "2026/11/29/",
                "2026/11/29/c.wav"
            ]
        );
    }

    #[test]
    fn more_days_than_there_were_and_no_folder_at_all_are_nothing_to_do() {
        let (_folder, shelf) = shelf();
        assert_eq!(shelf.give_up(NOW, 1, 10).removed, 0);
        put(&shelf, "1999/01/01/a.wav");
        assert_eq!(shelf.give_up(NOW, 36_500, 10).removed, 0);
        assert_eq!(shelf.give_up(NOW, 9_000, 10).removed, 1);
    }
}
