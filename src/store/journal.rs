//! `calls.journal`: the answered calls that have no record on disk yet.
//!
//! Only beginnings are written. That a call has ended is known from its record; the head of the journal
//! says how far the records had come when it was begun, so that a start reads only what came after. It is
//! begun anew, with the calls that live, before either of the two grows long.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::cursor::Cursor;
use super::line::Json as _;
use crate::call::cdr::JournalEntry;
use crate::volume::{self, Log, Volume};

/// The journal is begun anew when it is this long and twice as long as when it was begun.
const LONG: u64 = 4 << 20;
/// … or when so many bytes of records would have to be read at a start.
const RECORDS: u64 = 64 << 20;
/// No line of ours is longer (a SIP message has at most 64 KB, and JSON may write a byte as six); what is
/// was damaged.
const LINE: u64 = 1 << 20;
/// How much is copied in one write when the journal is begun anew.
const COPY: usize = 64 << 10;

/// The first line.
#[derive(Serialize)]
struct Head {
    /// Version of the format.
    journal: u8,
    /// How far the records had come when the journal was begun.
    records: String,
}

/// One line as it is read: the head, or the beginning of a call.
#[derive(Deserialize)]
struct Line {
    records: Option<String>,
    start: Option<JournalEntry>,
}

fn write_head(records: Cursor, out: &mut Vec<u8>) -> serde_json::Result<()> {
    serde_json::to_writer(&mut *out, &Head { journal: 1, records: records.to_string() })?;
    out.push(b'\n');
    Ok(())
}

fn write_start(entry: &JournalEntry, out: &mut Vec<u8>) -> serde_json::Result<()> {
    out.extend_from_slice(b"{\"start\":");
    entry.write(out)?;
    out.extend_from_slice(b"}\n");
    Ok(())
}

/// The call whose beginning `write_start` wrote. Ids are ours and have nothing to escape.
fn call_of(line: &[u8]) -> Option<&str> {
    let id = line.strip_prefix(br#"{"start":{"id":""#)?;
    let end = memchr::memchr(b'"', id)?;
    std::str::from_utf8(&id[..end]).ok()
}

/// What a journal that was left behind says.
#[derive(Default)]
pub(super) struct Found {
    /// Calls that began there have their records after this point.
    pub records: Cursor,
    pub starts: Vec<JournalEntry>,
}

/// Reads a journal that was left behind. Lines that a crash tore are left out.
pub(super) fn read(path: &Path) -> io::Result<Found> {
    let mut found = Found::default();
    each_line(path, |line| {
        match serde_json::from_slice::<Line>(line) {
            Ok(Line { start: Some(entry), .. }) => found.starts.push(entry),
            Ok(Line { records: Some(records), .. }) => found.records = records.parse().unwrap_or_default(),
            Ok(Line { start: None, records: None, .. }) => {}
            Err(_) => tracing::warn!("a torn line of the journal was left out"),
        }
        Ok(())
    })?;
    Ok(found)
}

fn each_line(path: &Path, mut take: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let mut lines = BufReader::new(file);
    let mut line = Vec::new();
    loop {
        line.clear();
        if lines.by_ref().take(LINE).read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        take(line.strip_suffix(b"\n").unwrap_or(&line))?;
    }
}

/// The journal that is being written. Owned by the disk thread.
pub(super) struct Journal {
    path: PathBuf,
    volume: Arc<dyn Volume>,
    log: Option<Box<dyn Log>>,
    length: u64,
    /// Its length when it was begun.
    begun: u64,
    /// Bytes of records since it was begun.
    records: u64,
    /// The calls in it that have no record yet.
    live: HashSet<Box<str>>,
    buffer: Vec<u8>,
}

impl Journal {
    /// Begins an empty journal in place of the one that was left behind.
    pub fn begin(path: &Path, volume: Arc<dyn Volume>, records: Cursor) -> io::Result<Journal> {
        let mut journal = Journal {
            path: path.to_owned(),
            volume,
            log: None,
            length: 0,
            begun: 0,
            records: 0,
            live: HashSet::new(),
            buffer: Vec::new(),
        };
        journal.begin_anew(records)?;
        Ok(journal)
    }

    /// Writes and syncs the beginnings of calls. On failure none of them counts as written.
    pub fn write<'a>(&mut self, starts: impl Iterator<Item = &'a JournalEntry> + Clone) -> io::Result<()> {
        self.buffer.clear();
        for entry in starts.clone() {
            write_start(entry, &mut self.buffer)?;
        }
        let log = match &mut self.log {
            Some(log) => log,
            None => self.log.insert(self.volume.open(&self.path)?),
        };
        if let Err(error) = log.write_at(self.length, &self.buffer).and_then(|()| log.sync()) {
            self.log = None;
            return Err(error);
        }
        self.length += self.buffer.len() as u64;
        self.live.extend(starts.map(|entry| entry.id.clone()));
        Ok(())
    }

    /// Whether this call is in the journal and has no record yet.
    pub fn holds(&self, call: &str) -> bool {
        self.live.contains(call)
    }

    /// These calls have their records on disk.
    pub fn ended<'a>(&mut self, calls: impl Iterator<Item = &'a str>) {
        for call in calls {
            self.live.remove(call);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.live.is_empty()
    }

    /// Notes that the node lives: a call that is lost later counts as ended about now.
    pub fn touch(&mut self) {
        if let Some(log) = &mut self.log {
            log.touch();
        }
    }

    /// Counts bytes of records that a start would have to read.
    pub fn records_grew(&mut self, bytes: u64) {
        self.records += bytes;
    }

    pub fn is_long(&self) -> bool {
        let worth = self.length > LONG.max(2 * self.begun);
        worth || self.records > RECORDS.max(4 * self.begun)
    }

    /// Begins the journal anew with the calls that live. `records`: how far the records are on disk.
    ///
    /// After a crash the old or the new one is there, whole. The live calls' lines are copied from the old
    /// file, so that no call costs memory beyond its id.
    pub fn begin_anew(&mut self, records: Cursor) -> io::Result<()> {
        let part = volume::part_of(&self.path);
        let live = &self.live;
        self.buffer.clear();
        write_head(records, &mut self.buffer)?;
        let mut length = 0;
        let mut log = {
            let file = volume::open_file(&part)?;
            file.set_len(0)?;
            self.volume.open(&part)?
        };
        let buffer = &mut self.buffer;
        if !live.is_empty() {
            each_line(&self.path, |line| {
                if call_of(line).is_some_and(|call| live.contains(call)) {
                    buffer.write_all(line)?;
                    buffer.push(b'\n');
                }
                if buffer.len() > COPY {
                    log.write_at(length, buffer)?;
                    length += buffer.len() as u64;
                    buffer.clear();
                }
                Ok(())
            })?;
        }
        log.write_at(length, buffer)?;
        length += buffer.len() as u64;
        log.sync()?;
        std::fs::rename(&part, &self.path)?;
        volume::sync_folder_of(&self.path)?;
        self.log = Some(log);
        (self.length, self.begun, self.records) = (length, length, 0);
        Ok(())
    }
}
