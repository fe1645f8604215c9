//! Recordings on disk: `recordings/YYYY/MM/DD/<call id>.wav` and, beside it, `.json`.
//!
//! One thread writes them all. Media threads hand it blocks through a bounded queue and never wait: what finds the queue
//! full is left out, counted, and silence of the same length on the disk, so that both sides stay where they are. A file is
//! named `.part` until it is whole; its header is made right every second, and one that a crash cut off is made whole
//! when the node starts. It knows no call and no RTP.

mod mend;
mod sheet;
mod shelf;
mod wav;
mod writer;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{JoinHandle, Thread};
use std::time::Duration;

pub use mend::{Mended, Whole, mend};
pub use sheet::{Ending, Gap, Sheet};
pub use shelf::{GivenUp, Shelf};
pub use wav::Format;

use crate::time::{Wall, rfc3339};
use crate::volume::{self, Volume};
use writer::Writer;

/// How many blocks may wait for the disk: of 64 ms in stereo at 8 kHz these are 64 MB, 20 s of a hundred calls or 2 s of a
/// thousand. A disk that is slower for longer leaves gaps.
const QUEUE: usize = 32_768;

/// How many events may wait to be read. Whoever reads them sleeps no longer than a thousand calls take to end.
const EVENTS: usize = 4_096;

/// Buffers that are kept for the next blocks: what a thousand calls fill in a turn of the thread, and twice that.
const SPARE: usize = 4_096;

/// A call's id, as a name of a file.
const LONGEST_NAME: usize = 64;

const DAY_MS: u64 = 86_400_000;

/// What is written down of a call, each kind in a folder of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Of those who talk (R7): stereo.
    Recording,
    /// Of a caller whom nobody answered (R10): mono.
    Message,
}

impl Kind {
    pub const ALL: [Kind; 2] = [Kind::Recording, Kind::Message];

    /// Its folder in `data_dir`.
    pub const fn folder(self) -> &'static str {
        match self {
            Kind::Recording => "recordings",
            Kind::Message => "voicemail",
        }
    }

    /// What one is called.
    pub const fn noun(self) -> &'static str {
        match self {
            Kind::Recording => "recording",
            Kind::Message => "message",
        }
    }
}

/// How recordings are opened.
pub struct Settings {
    pub volume: Arc<dyn Volume>,
    /// How many blocks may wait for the disk.
    pub queue: usize,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { volume: Arc::new(volume::Disk), queue: QUEUE }
    }
}

/// The thread that writes, and its door.
pub struct Reels {
    recorder: Recorder,
    mended: Mended,
    thread: Option<JoinHandle<()>>,
}

/// A media thread's end. Cheap to clone; nothing here waits for the disk.
#[derive(Clone)]
pub struct Recorder {
    items: SyncSender<Item>,
    shared: Arc<Shared>,
}

/// One recording that runs. Dropped, it ends.
pub struct Reel {
    id: u64,
    recorder: Recorder,
    /// How many frames were said, written or not.
    frames: u64,
    channels: u64,
    notice_said: Option<Wall>,
    is_kept: bool,
}

/// Why a recording does not begin. The call goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("too little is free where recordings are kept")]
    NoRoom,
    #[error("the disk is too slow: what waits for it is all that may")]
    Busy,
    #[error("the call's id is no name of a file: letters, digits, - and _, 64 of them at most")]
    Name,
    #[error("as many recordings run as may")]
    TooMany,
}

/// What became of a recording.
#[derive(Debug)]
pub enum Event {
    /// It is on disk, whole, and would survive a power cut.
    Ready { call: Box<str>, path: PathBuf, duration: Duration, end: Ending },
    /// It did not begin.
    Refused { call: Box<str>, why: Refusal },
    /// What there is of it lies under its name with `.part`, if anything does.
    Failed { call: Box<str>, error: io::Error },
}

/// From a media thread to the disk.
enum Item {
    Begin(Box<Begin>),
    /// Samples as they stand in the file, and the number of their first frame.
    Block {
        id: u64,
        at: u64,
        bytes: Vec<u8>,
    },
    /// The notice that the call is recorded began to be said then.
    Notice {
        id: u64,
        at: Wall,
    },
}

struct Begin {
    id: u64,
    sheet: Sheet,
    format: Format,
}

/// A recording has ended after so many frames. It has a way of its own, that is never full: as many can wait there as
/// recordings run.
struct Ended {
    id: u64,
    frames: u64,
    notice_said: Option<Wall>,
    is_kept: bool,
}

#[derive(Default)]
struct Shared {
    spare: Mutex<Vec<Vec<u8>>>,
    ended: Mutex<Vec<Ended>>,
    /// Whether too little is free for another recording.
    is_full: AtomicBool,
    closing: AtomicBool,
    next: AtomicU64,
    /// Recordings that were refused, and blocks that were left out, since the thread last looked.
    refused: AtomicU64,
    left_out: AtomicU64,
    thread: OnceLock<Thread>,
}

impl Reels {
    /// Makes whole what a crash cut off in that folder, and starts the thread. The events are to be read.
    pub fn open(folder: PathBuf, settings: Settings) -> io::Result<(Reels, Receiver<Event>)> {
        volume::make_folder(&folder)?;
        let mended = mend(&folder);
        for (path, error) in &mended.failed {
            tracing::warn!(path = %path.display(), %error, "a recording that was cut off could not be made whole");
        }
        let (items, queue) = sync_channel(settings.queue);
        let (events, told) = sync_channel(EVENTS);
        let shared = Arc::new(Shared::default());
        let writer = Writer::new(folder, settings.volume, queue, events, Arc::clone(&shared));
        let thread = std::thread::Builder::new().name("recordings".to_owned()).spawn(move || writer.run())?;
        shared.thread.get_or_init(|| thread.thread().clone());
        Ok((Reels { recorder: Recorder { items, shared }, mended, thread: Some(thread) }, told))
    }

    pub fn recorder(&self) -> Recorder {
        self.recorder.clone()
    }

    /// What was found at the start.
    pub fn mended(&self) -> &Mended {
        &self.mended
    }
}

impl Drop for Reels {
    /// Writes what waits, and ends every recording.
    fn drop(&mut self) {
        self.recorder.shared.closing.store(true, Ordering::Release);
        self.recorder.shared.wake();
        if let Some(thread) = self.thread.take() {
            // A panic there was reported by its own thread.
            thread.join().ok();
        }
    }
}

impl Recorder {
    /// Whether the disk has room for one more.
    pub fn has_room(&self) -> bool {
        !self.shared.is_full.load(Ordering::Relaxed)
    }

    /// A recording begins.
    pub fn start(&self, sheet: Sheet, format: Format) -> Result<Reel, Refusal> {
        let refused = |why| {
            self.shared.refused.fetch_add(1, Ordering::Relaxed);
            Err(why)
        };
        if !is_name(&sheet.call) {
            return refused(Refusal::Name);
        }
        if !self.has_room() {
            return refused(Refusal::NoRoom);
        }
        let id = self.shared.next.fetch_add(1, Ordering::Relaxed);
        let channels = u64::from(format.channels);
        if self.items.try_send(Item::Begin(Box::new(Begin { id, sheet, format }))).is_err() {
            return refused(Refusal::Busy);
        }
        self.shared.wake();
        Ok(Reel { id, recorder: self.clone(), frames: 0, channels, notice_said: None, is_kept: true })
    }
}

impl Reel {
    /// 1 or 2.
    pub const fn channels(&self) -> u64 {
        self.channels
    }

    /// The next samples, interleaved. Some 0.5 µs for each 2 KB: they are copied into a buffer that was used before.
    pub fn write(&mut self, samples: &[i16]) {
        let shared = &self.recorder.shared;
        let mut bytes = shared.buffer();
        bytes.resize(size_of_val(samples), 0);
        for (pair, sample) in bytes.as_chunks_mut().0.iter_mut().zip(samples) {
            *pair = sample.to_le_bytes();
        }
        let at = self.frames;
        self.frames += samples.len() as u64 / self.channels;
        if let Err(full) = self.recorder.items.try_send(Item::Block { id: self.id, at, bytes }) {
            shared.left_out.fetch_add(1, Ordering::Relaxed);
            use std::sync::mpsc::TrySendError::{Disconnected, Full};
            let (Full(item) | Disconnected(item)) = full;
            if let Item::Block { bytes, .. } = item {
                shared.give_back(bytes);
            }
        }
    }

    /// The notice that the call is recorded begins to be said, to the first of those who hear it or to another.
    pub fn notice_said(&mut self, at: Wall) {
        if self.notice_said.is_none() {
            self.notice_said = Some(at);
            // Where there is no room it is told with the end.
            let _told = self.recorder.items.try_send(Item::Notice { id: self.id, at });
        }
    }

    /// It ends, and nothing of it is kept.
    pub fn discard(mut self) {
        self.is_kept = false;
    }
}

impl Drop for Reel {
    fn drop(&mut self) {
        let Reel { id, frames, notice_said, is_kept, .. } = *self;
        let ended = Ended { id, frames, notice_said, is_kept };
        self.recorder.shared.ended().push(ended);
    }
}

impl Shared {
    fn wake(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    /// An empty buffer. While somebody else holds the spare ones, a new one: nobody waits.
    fn buffer(&self) -> Vec<u8> {
        self.spare.try_lock().ok().and_then(|mut spare| spare.pop()).unwrap_or_default()
    }

    fn give_back(&self, mut bytes: Vec<u8>) {
        if let Ok(mut spare) = self.spare.try_lock()
            && spare.len() < SPARE
        {
            bytes.clear();
            spare.push(bytes);
        }
    }

    /// Held for a push, or to take the list away.
    fn ended(&self) -> MutexGuard<'_, Vec<Ended>> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a call's id can be a file's name as it is, and leads nowhere else.
fn is_name(call: &str) -> bool {
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (1..=LONGEST_NAME).contains(&call.len()) && call.bytes().all(fine)
}

/// Where a call's recording lies once it is whole.
pub fn path_of(folder: &Path, call: &str, started: Wall) -> PathBuf {
    let (year, month, day) = rfc3339::civil(started.0 / DAY_MS);
    folder.join(format!("{year:04}/{month:02}/{day:02}/{call}.wav"))
}

#[cfg(test)]
mod tests;
