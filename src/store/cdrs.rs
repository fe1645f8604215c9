//! `cdr/YYYY-MM-DD.jsonl`: one line for each call that has ended, in the file of the UTC day of its end.
//!
//! Only what is safely on disk is ever read. A record goes to the file of its day, but never further back
//! than the day before the newest file (a clock that was set back), so that a file stays as it is once two
//! later days have passed and a cursor misses nothing.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::cursor::{BadCursor, Cursor, Day};
use super::line::Json as _;
use crate::call::cdr::Cdr;
use crate::volume::{self, Log, Volume};

/// How much of a file's end is looked through for what a crash tore: more than a group's last record.
const TAIL: u64 = 1 << 20;
/// A page ends at this many bytes, whatever its limit says.
const PAGE_BYTES: usize = 4 << 20;
/// A group's buffer that grew larger than this, because the disk failed for a while, is given back.
const BUFFER_KEPT: usize = 1 << 20;

/// How long each file is, counting only what is safely on disk.
#[derive(Debug, Default)]
struct Index {
    lengths: Mutex<BTreeMap<Day, u64>>,
}

impl Index {
    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<Day, u64>> {
        self.lengths.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Records of a page, in the order of their files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Each a whole JSON object without its line end.
    pub lines: Vec<String>,
    /// Where the next page begins.
    pub next: Cursor,
}

#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error(transparent)]
    BadCursor(#[from] BadCursor),
    #[error("the records cannot be read: {0}")]
    Io(#[from] io::Error),
}

/// Reads what is on disk, beside the writer and never in its way.
#[derive(Clone)]
pub struct Reader {
    folder: PathBuf,
    index: Arc<Index>,
}

impl Reader {
    /// Up to `limit` records after `after`. Holds one page in memory, at most some 4 MB.
    pub fn page(&self, after: Cursor, limit: usize) -> Result<Page, ReadError> {
        let lengths = self.index.lock().clone();
        let mut filling = Filling { lines: Vec::new(), limit, bytes: 0 };
        let mut at = after;
        loop {
            if let Some(eve) = at.day.0.checked_sub(1).map(Day) {
                at.before = self.read(eve, at.before, &lengths, &mut filling)?;
            }
            at.offset = self.read(at.day, at.offset, &lengths, &mut filling)?;
            let later = lengths.range(Day(at.day.0.saturating_add(1))..).next();
            match later {
                Some((day, _)) if !filling.is_full() => {
                    let follows = day.before(1) == at.day;
                    at = Cursor { day: *day, offset: 0, before: if follows { at.offset } else { 0 } };
                }
                Some(_) | None => return Ok(Page { lines: filling.lines, next: at }),
            }
        }
    }

    /// Where a reader stands that has seen everything.
    pub fn end(&self) -> Cursor {
        let lengths = self.index.lock();
        let Some((day, offset)) = lengths.last_key_value() else { return Cursor::default() };
        let before = lengths.get(&day.before(1)).copied().unwrap_or(0);
        Cursor { day: *day, offset: *offset, before }
    }

    /// Reads on in one file and says how far it came.
    fn read(
        &self,
        day: Day,
        offset: u64,
        lengths: &BTreeMap<Day, u64>,
        filling: &mut Filling,
    ) -> Result<u64, ReadError> {
        let Some(length) = lengths.get(&day).copied() else { return Ok(offset) };
        if filling.is_full() || offset == length {
            return Ok(offset);
        }
        if offset > length {
            return Err(BadCursor.into());
        }
        let mut file = match std::fs::File::open(self.folder.join(day.file_name())) {
            Ok(file) => file,
            // Its days are over: retention removed it a moment ago.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(offset),
            Err(error) => return Err(error.into()),
        };
        if offset > 0 {
            let mut line_end = [0];
            file.seek(SeekFrom::Start(offset - 1))?;
            file.read_exact(&mut line_end)?;
            if line_end != *b"\n" {
                return Err(BadCursor.into());
            }
        }
        let mut rest = BufReader::new(file.take(length - offset));
        let mut at = offset;
        let mut line = Vec::new();
        while !filling.is_full() {
            line.clear();
            let read = rest.read_until(b'\n', &mut line)?;
            if read == 0 {
                break;
            }
            at += read as u64;
            filling.add(&line, day);
        }
        Ok(at)
    }
}

struct Filling {
    lines: Vec<String>,
    limit: usize,
    bytes: usize,
}

impl Filling {
    fn is_full(&self) -> bool {
        self.lines.len() >= self.limit || self.bytes >= PAGE_BYTES
    }

    /// A line that is no JSON was damaged on the disk: it is left out, so that the rest can be read.
    fn add(&mut self, line: &[u8], day: Day) {
        let whole = line.strip_suffix(b"\n").unwrap_or(line);
        match std::str::from_utf8(whole) {
            Ok(text) if is_object(whole) => {
                self.bytes += text.len();
                self.lines.push(text.to_owned());
            }
            Ok(_) | Err(_) => tracing::warn!(%day, "a damaged call record was left out"),
        }
    }
}

fn is_object(line: &[u8]) -> bool {
    line.first() == Some(&b'{') && serde_json::from_slice::<serde::de::IgnoredAny>(line).is_ok()
}

/// Appends groups of records. Owned by the disk thread.
pub(super) struct Writer {
    folder: PathBuf,
    volume: Arc<dyn Volume>,
    index: Arc<Index>,
    open: BTreeMap<Day, Box<dyn Log>>,
    /// The newest file that was begun, durable or not.
    newest: Day,
    /// Records that are not on disk yet.
    group: BTreeMap<Day, Vec<u8>>,
}

impl Writer {
    /// Opens the folder, makes it when it is not there, and cuts off what a crash tore.
    pub fn open(folder: &Path, volume: Arc<dyn Volume>) -> io::Result<(Writer, Reader)> {
        volume::make_folder(folder)?;
        let mut lengths = BTreeMap::new();
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            if let Some(day) = entry.file_name().to_str().and_then(Day::of_file) {
                lengths.insert(day, entry.metadata()?.len());
            }
        }
        // None but these two were being written.
        for (day, length) in lengths.iter_mut().rev().take(2) {
            *length = mend(&folder.join(day.file_name()))?;
        }
        let newest = lengths.last_key_value().map_or(Day::default(), |(day, _)| *day);
        let index = Arc::new(Index { lengths: Mutex::new(lengths) });
        let reader = Reader { folder: folder.to_owned(), index: index.clone() };
        let (open, group) = (BTreeMap::new(), BTreeMap::new());
        Ok((Writer { folder: folder.to_owned(), volume, index, open, newest, group }, reader))
    }

    /// Takes a record into the group. A few microseconds, no IO.
    pub fn add(&mut self, cdr: &Cdr) {
        let day = Day::of(cdr.ended).max(self.newest.before(1));
        self.newest = self.newest.max(day);
        let lines = self.group.entry(day).or_default();
        let from = lines.len();
        match cdr.write(lines) {
            Ok(()) => lines.push(b'\n'),
            Err(error) => {
                lines.truncate(from);
                tracing::error!(call = %cdr.id, %error, "a call record cannot be written as JSON");
            }
        }
    }

    /// The bytes that wait for the disk.
    pub fn waiting_bytes(&self) -> usize {
        self.group.values().map(Vec::len).sum()
    }

    /// Writes and syncs the group: one write and one sync for each file. On success the records can be read
    /// and the group is empty; on failure nothing is lost and nothing to be seen, and the next try writes
    /// all of it again.
    pub fn commit(&mut self) -> io::Result<u64> {
        let mut lengths = Vec::with_capacity(self.group.len());
        for (day, lines) in self.group.iter().filter(|(_, lines)| !lines.is_empty()) {
            let offset = self.index.lock().get(day).copied().unwrap_or(0);
            let log = match self.open.entry(*day) {
                std::collections::btree_map::Entry::Occupied(open) => open.into_mut(),
                std::collections::btree_map::Entry::Vacant(place) => {
                    place.insert(self.volume.open(&self.folder.join(day.file_name()))?)
                }
            };
            if let Err(error) = log.write_at(offset, lines).and_then(|()| log.sync()) {
                self.open.remove(day);
                return Err(error);
            }
            lengths.push((*day, offset + lines.len() as u64));
        }
        self.index.lock().extend(lengths);
        let written = self.waiting_bytes() as u64;
        let oldest = self.newest.before(1);
        self.open.retain(|day, _| *day >= oldest);
        self.group.retain(|day, lines| {
            lines.clear();
            *day >= oldest && lines.capacity() <= BUFFER_KEPT
        });
        Ok(written)
    }

    /// Removes the files of days before `first`, but never the two that may still grow.
    pub fn forget_before(&mut self, first: Day) -> io::Result<usize> {
        let first = first.min(self.newest.before(1));
        let gone: Vec<Day> = self.index.lock().range(..first).map(|(day, _)| *day).collect();
        for day in &gone {
            self.index.lock().remove(day);
            match std::fs::remove_file(self.folder.join(day.file_name())) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        Ok(gone.len())
    }
}

/// Cuts off the end of a file that no whole record stands in, syncs what stays, and gives its length.
fn mend(path: &Path) -> io::Result<u64> {
    let mut file = volume::open_file(path)?;
    let length = file.metadata()?.len();
    let mut from = length;
    let whole = loop {
        from = from.saturating_sub(TAIL);
        let mut tail = Vec::new();
        file.seek(SeekFrom::Start(from))?;
        file.read_to_end(&mut tail)?;
        match last_whole(&tail) {
            0 if from > 0 => continue,
            end => break from + end as u64,
        }
    };
    if whole < length {
        tracing::warn!(file = %path.display(), bytes = length - whole, "a torn call record was cut off");
        file.set_len(whole)?;
    }
    file.sync_all()?;
    Ok(whole)
}

/// Where the last whole record in a file's end is over; 0 when there is none.
///
/// A power cut can leave a block of zeros, or of an older file, where a record was being written. The first
/// line of `tail` may have begun before it, and counts only when the tail is the whole file's or it reads
/// as a record.
fn last_whole(tail: &[u8]) -> usize {
    let line_end = |of: &[u8]| of.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let mut end = line_end(tail);
    while end > 0 {
        let begin = line_end(&tail[..end - 1]);
        if is_object(&tail[begin..end - 1]) {
            break;
        }
        end = begin;
    }
    end
}
