//! What outlives the process: `data_dir` with its lock, the call records, and the journal of answered calls.
//!
//! Shards hand over beginnings and records without waiting (`Recorder`); one plain thread writes them in
//! groups. What is read (`Store::cdrs`) is safely on disk. It knows no SIP and asks nobody anything.

mod cdrs;
mod cursor;
mod database;
mod dir;
mod disk;
mod inbox;
mod journal;
pub mod kept;
pub mod ledger;
mod line;
pub mod past;
pub mod phones;
mod runs;
mod slots;

use std::collections::HashSet;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use cdrs::{Page, ReadError, Reader};
pub use cursor::{BadCursor, Cursor, Day};
pub use database::{DatabaseError, has_database};
pub use dir::{DataDir, NodeFile, OpenError, read_node};
pub use slots::{CAPACITY, Slots};

use crate::call::cdr::{Cdr, JournalEntry};
use crate::media::reel::{Kind, Shelf};
use crate::time::Wall;
use crate::volume::{self, Volume};
use inbox::{Inbox, Item};

/// How a store is opened.
pub struct Settings {
    /// The node's name, for `node.json`.
    pub name: String,
    /// How many days records are kept; 0 = for ever.
    pub cdr_days: u32,
    /// How many calls may be between admission and durable record.
    pub slots: u32,
    pub volume: Arc<dyn Volume>,
}

impl Settings {
    pub fn new(name: &str, cdr_days: u32) -> Settings {
        Settings { name: name.to_owned(), cdr_days, slots: CAPACITY, volume: Arc::new(volume::Disk) }
    }
}

/// The node's storage. While it lives no other node can open the folder.
pub struct Store {
    dir: Arc<DataDir>,
    recorder: Recorder,
    reader: Reader,
    lost: usize,
    thread: Option<std::thread::JoinHandle<()>>,
}

/// A shard's end of the store. Cheap to clone; nothing here waits for the disk.
#[derive(Clone)]
pub struct Recorder {
    inbox: Arc<Inbox>,
    slots: Arc<Slots>,
}

impl Recorder {
    /// Takes the slot that a call's record will need. False: the call is to be refused with 503.
    pub fn reserve(&self) -> bool {
        let got = self.slots.reserve();
        if !got {
            metrics::counter!("strowger_queue_full_total", "queue" => "store").increment(1);
        }
        got
    }

    /// Takes a slot though none be free, for the few calls that no limit may keep out (R13).
    pub fn reserve_beyond(&self) {
        self.slots.reserve_beyond();
    }

    /// Gives back the slot of a call that came to nothing and writes no record.
    pub fn release(&self) {
        self.slots.release(1);
    }

    /// A call was answered: it reaches the journal within 200 ms, unless its record comes first.
    pub fn started(&self, entry: Box<JournalEntry>) {
        self.inbox.put(Item::Started(entry, Instant::now()));
    }

    /// A call has ended. Its slot is given back when the record is on disk.
    pub fn ended(&self, cdr: Box<Cdr>) {
        self.inbox.put(Item::Ended(cdr));
    }

    pub fn slots(&self) -> &Slots {
        &self.slots
    }
}

impl Store {
    /// Takes the folder's lock, writes the records of the calls that a crash cut off, and starts the disk
    /// thread.
    pub fn open(path: &Path, settings: Settings) -> Result<Store, OpenError> {
        let dir = Arc::new(DataDir::open(path)?);
        let unusable = || OpenError::unusable(path);
        let name = settings.name;
        dir.update_node(|node| {
            node.name = name;
            node.pid = Some(std::process::id());
            node.admin = None;
        })
        .map_err(unusable())?;
        let journal = path.join("calls.journal");
        let seen = last_seen(path);
        let (mut cdrs, reader) =
            cdrs::Writer::open(&path.join("cdr"), settings.volume.clone()).map_err(unusable())?;
        let lost = write_lost(&journal, &mut cdrs, &reader, seen).map_err(unusable())?;
        let journal = journal::Journal::begin(&journal, settings.volume, reader.end()).map_err(unusable())?;
        let (inbox, slots) = (Arc::new(Inbox::default()), Arc::new(Slots::new(settings.slots)));
        let disk = disk::DiskThread::new(
            inbox.clone(),
            slots.clone(),
            (cdrs, reader.clone()),
            journal,
            settings.cdr_days,
        );
        let thread = std::thread::Builder::new().name("disk".to_owned()).spawn(move || disk.run());
        let thread = Some(thread.map_err(unusable())?);
        Ok(Store { dir, recorder: Recorder { inbox, slots }, reader, lost, thread })
    }

    pub fn recorder(&self) -> Recorder {
        self.recorder.clone()
    }

    /// The durable records, for `/v1/cdrs`. Its reads block: not for a shard.
    pub fn reader(&self) -> Reader {
        self.reader.clone()
    }

    /// Whether calls can be admitted (`/readyz`).
    pub fn is_ready(&self) -> bool {
        self.recorder.slots.any_free()
    }

    /// How many calls were found at the start that had been cut off, and got a `lost` record.
    pub fn lost(&self) -> usize {
        self.lost
    }

    /// The folder, for those who keep what they know of the node in it. Its lock is held until the last of
    /// them lets go.
    pub fn dir(&self) -> Arc<DataDir> {
        Arc::clone(&self.dir)
    }

    /// Waits until all that was handed over so far is on disk. False: it was not within `patience`.
    pub fn flush(&self, patience: Duration) -> bool {
        self.recorder.inbox.flush(patience)
    }
}

impl Drop for Store {
    /// Writes what waits, and lets go of the folder.
    fn drop(&mut self) {
        self.recorder.inbox.close();
        if let Some(thread) = self.thread.take() {
            // A panic there was reported by its own thread.
            thread.join().ok();
        }
        // The next node finds nobody where this one served; a stale address does no harm.
        self.dir.update_node(|node| (node.admin, node.pid) = (None, None)).ok();
    }
}

/// When the node that ran on this folder was last known to live.
fn last_seen(path: &Path) -> Wall {
    let changed = |path: std::path::PathBuf| path.metadata().and_then(|meta| meta.modified()).ok();
    let newest = std::fs::read_dir(path.join("cdr"))
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.file_name().to_str().and_then(Day::of_file).is_some())
        .filter_map(|entry| changed(entry.path()))
        .max();
    let seen = newest.max(changed(path.join("calls.journal")));
    let since = seen.and_then(|seen| seen.duration_since(std::time::UNIX_EPOCH).ok()).unwrap_or_default();
    Wall(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// Every journalled call without a record gets one with the outcome `lost` (R12).
fn write_lost(path: &Path, cdrs: &mut cdrs::Writer, reader: &Reader, seen: Wall) -> io::Result<usize> {
    /// Records are looked through so many at a time.
    const PAGE: usize = 1_000;

    #[derive(serde::Deserialize)]
    struct Named<'a> {
        #[serde(borrow)]
        id: std::borrow::Cow<'a, str>,
    }

    let found = journal::read(path)?;
    let mut cut: HashSet<&str> = found.starts.iter().map(|entry| &*entry.id).collect();
    let mut after = found.records;
    while !cut.is_empty() {
        let page = match reader.page(after, PAGE) {
            Ok(page) => page,
            // The journal's place is beyond what a power cut left: then all that is there counts.
            Err(ReadError::BadCursor(_)) if after != Cursor::default() => {
                after = Cursor::default();
                continue;
            }
            Err(error) => return Err(io::Error::other(error)),
        };
        for line in &page.lines {
            if let Ok(Named { id }) = serde_json::from_str(line) {
                cut.remove(&*id);
            }
        }
        if page.lines.is_empty() && page.next == after {
            break;
        }
        after = page.next;
    }
    let data_dir = path.parent().unwrap_or(Path::new(""));
    let [recordings, messages] = Kind::ALL.map(|kind| Shelf::new(data_dir, kind));
    let mut cut: HashSet<Box<str>> = cut.into_iter().map(Box::from).collect();
    let mut lost = 0;
    for entry in found.starts {
        // The journal may name a call twice, when a write to it failed half way.
        if cut.remove(&entry.id) {
            tracing::warn!(call = %entry.id, "a call was cut off when the node stopped");
            let cdr = entry.lost(seen);
            // What was written down of it is made whole when its writers begin.
            let of = |shelf: &Shelf| shelf.has_of(&cdr.id, cdr.started).then(|| cdr.id.clone());
            let (recording, voicemail) = (of(&recordings), of(&messages));
            cdrs.add(&Cdr { recording, voicemail, ..cdr });
            lost += 1;
        }
    }
    cdrs.commit()?;
    Ok(lost)
}
