//! The thread that writes recordings.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender};
use std::time::{Duration, Instant};

use super::sheet::{Ending, Sheet};
use super::wav::{self, Format, HEADER};
use super::{Begin, Ended, Event, Item, Refusal, Shared, path_of};
use crate::time::Wall;
use crate::volume::{self, Log, Space, Volume};

/// While recordings run, the thread looks for blocks so often, and nobody wakes it: a wake costs the media thread some µs.
const TURN: Duration = Duration::from_millis(100);

/// How often it wakes when none runs.
const IDLE: Duration = Duration::from_secs(5);

/// Blocks are taken so many at a time, so that their buffers come back and headers are made right while there are more.
const BATCH: usize = 4_096;

/// Blocks of one recording are written together up to this.
const WRITE: usize = 64 << 10;

/// A header says at most so much less than its file holds.
const HEADER_EVERY: Duration = Duration::from_secs(1);

/// How often it is looked how much is free.
const SPACE_EVERY: Duration = Duration::from_secs(5);

/// Recordings that are refused are told of at most so often.
const SAY_EVERY: Duration = Duration::from_secs(60);

/// Recordings that run at once: each keeps a file open.
const MOST: usize = 20_000;

/// With less than this part of the floor, recordings that run end too.
const LAST: u64 = 4;

/// So much above the floor recordings begin again: an eighth of it.
const ABOVE: u64 = 8;

pub(super) struct Writer {
    folder: PathBuf,
    volume: Arc<dyn Volume>,
    items: Receiver<Item>,
    events: SyncSender<Event>,
    shared: Arc<Shared>,
    running: HashMap<u64, Track>,
    batch: Vec<Item>,
    together: Together,
    next_header: Instant,
    next_space: Instant,
    next_word: Instant,
    next_complaint: Instant,
    /// Recordings that were refused and not told of.
    untold: u64,
}

/// Blocks that follow each other in one recording, and the first one's frame.
struct Together {
    id: u64,
    at: u64,
    bytes: Vec<u8>,
}

/// A recording that runs.
struct Track {
    sheet: Sheet,
    format: Format,
    /// Its name once it is whole.
    path: PathBuf,
    file: Box<dyn Log>,
    /// How many frames the file holds, gaps included, and how many its header says.
    frames: u64,
    headed: u64,
}

impl Writer {
    pub fn new(
        folder: PathBuf,
        volume: Arc<dyn Volume>,
        items: Receiver<Item>,
        events: SyncSender<Event>,
        shared: Arc<Shared>,
    ) -> Writer {
        let now = Instant::now();
        let mut writer = Writer {
            folder,
            volume,
            items,
            events,
            shared,
            running: HashMap::new(),
            batch: Vec::with_capacity(BATCH),
            together: Together { id: 0, at: 0, bytes: Vec::with_capacity(WRITE) },
            next_header: now,
            next_space: now,
            next_word: now,
            next_complaint: now,
            untold: 0,
        };
        // Nobody is to begin before it is known that there is room.
        writer.look_after_space(now);
        writer
    }

    pub fn run(mut self) {
        loop {
            let closing = self.shared.closing.load(Ordering::Acquire);
            self.turn();
            if closing {
                let all: Vec<u64> = self.running.keys().copied().collect();
                all.into_iter().for_each(|id| self.finish(id, None, Ending::CutOff));
                self.publish();
                return;
            }
            std::thread::park_timeout(if self.running.is_empty() { IDLE } else { TURN });
        }
    }

    /// Writes what waits, and ends what has ended.
    pub(super) fn turn(&mut self) {
        // Whatever these recordings said is in the queue already.
        let ended = std::mem::take(&mut *self.shared.ended());
        let mut waited = 0;
        loop {
            let before = waited;
            self.batch.extend(self.items.try_iter().take(BATCH));
            waited += self.batch.len();
            self.write_batch();
            self.keep_up(Instant::now());
            // What comes while it writes is the next turn's.
            if waited - before < BATCH || waited >= super::QUEUE {
                break;
            }
        }
        metrics::gauge!("strowger_queue_depth", "queue" => "recordings").set(waited as f64);
        for Ended { id, frames, notice_said, is_kept } in ended {
            if !is_kept {
                if let Some(track) = self.running.remove(&id) {
                    track.discard();
                }
                continue;
            }
            if let Some(track) = self.running.get_mut(&id) {
                track.sheet.notice_said = notice_said.or(track.sheet.notice_said);
            }
            self.finish(id, Some(frames), Ending::Whole);
        }
        self.publish();
    }

    fn write_batch(&mut self) {
        let mut batch = std::mem::take(&mut self.batch);
        // Those of one recording together, in their order.
        batch.sort_by_key(Item::id);
        for item in batch.drain(..) {
            match item {
                Item::Begin(begin) => self.begin(*begin),
                Item::Block { id, at, bytes } => {
                    self.add(id, at, &bytes);
                    self.shared.give_back(bytes);
                }
                Item::Notice { id, at } => {
                    if let Some(Err(error)) = self.running.get_mut(&id).map(|track| track.note_notice(at)) {
                        self.disk_failed(id, &error);
                    }
                }
            }
        }
        self.batch = batch;
        self.write_together();
    }

    fn begin(&mut self, Begin { id, sheet, format }: Begin) {
        let call = sheet.call.clone();
        if self.running.len() >= MOST {
            self.untold += 1;
            self.tell(Event::Refused { call, why: Refusal::TooMany });
            return;
        }
        let path = path_of(&self.folder, &sheet.call, sheet.started);
        match Track::begin(&*self.volume, path, sheet, format) {
            Ok(track) => {
                self.running.insert(id, track);
            }
            Err(error) => self.failed(call, error),
        }
    }

    /// Puts a block to those of the same recording before it.
    fn add(&mut self, id: u64, at: u64, bytes: &[u8]) {
        let goes_on = self.together.follows(id, at, &self.running);
        if !goes_on || self.together.bytes.len() + bytes.len() > WRITE {
            self.write_together();
            (self.together.id, self.together.at) = (id, at);
        }
        self.together.bytes.extend_from_slice(bytes);
    }

    fn write_together(&mut self) {
        let Together { id, at, .. } = self.together;
        let bytes = std::mem::take(&mut self.together.bytes);
        // What ended with the disk's failure may still be spoken to.
        let track = self.running.get_mut(&id).filter(|_| !bytes.is_empty());
        if let Some(Err(error)) = track.map(|track| track.write(at, &bytes)) {
            self.disk_failed(id, &error);
        }
        self.together.bytes = bytes;
        self.together.bytes.clear();
    }

    /// Does what is due by the clock.
    fn keep_up(&mut self, now: Instant) {
        if now >= self.next_header {
            self.next_header = now + HEADER_EVERY;
            let mut failed = Vec::new();
            for (id, track) in &mut self.running {
                if let Err(error) = track.head() {
                    failed.push((*id, error));
                }
            }
            failed.into_iter().for_each(|(id, error)| self.disk_failed(id, &error));
        }
        if now >= self.next_space {
            self.look_after_space(now);
        }
    }

    pub(super) fn look_after_space(&mut self, now: Instant) {
        self.next_space = now + SPACE_EVERY;
        let space = match self.volume.space(&self.folder) {
            Ok(space) => space,
            Err(error) => {
                tracing::warn!(%error, "it cannot be seen how much is free for recordings");
                return;
            }
        };
        let was_full = self.shared.is_full.load(Ordering::Relaxed);
        let is_full = is_full(space, was_full);
        self.shared.is_full.store(is_full, Ordering::Relaxed);
        let free_mb = space.free >> 20;
        match (was_full, is_full) {
            (false, true) => {
                tracing::error!(
                    free_mb,
                    "too little is free for recordings: none begins; calls go on without"
                );
            }
            (true, false) => tracing::info!(free_mb, "there is room for recordings again"),
            (true, true) | (false, false) => {}
        }
        if space.free < space.floor() / LAST && !self.running.is_empty() {
            tracing::error!(
                free_mb,
                recordings = self.running.len(),
                "recordings that run end: the disk is full"
            );
            let all: Vec<u64> = self.running.keys().copied().collect();
            all.into_iter().for_each(|id| self.finish(id, None, Ending::Disk));
        }
    }

    /// Ends a recording with what the disk has taken of it.
    fn disk_failed(&mut self, id: u64, error: &io::Error) {
        self.say(error);
        self.finish(id, None, Ending::Disk);
    }

    /// `frames`: how long it was to be; none: as long as it is.
    fn finish(&mut self, id: u64, frames: Option<u64>, end: Ending) {
        let Some(track) = self.running.remove(&id) else { return };
        let (call, path) = (track.sheet.call.clone(), track.path.clone());
        match track.finish(frames, end) {
            Ok(duration) => {
                let outcome = if end == Ending::Whole { "whole" } else { "cut" };
                metrics::counter!("strowger_recordings_total", "outcome" => outcome).increment(1);
                self.tell(Event::Ready { call, path, duration, end });
            }
            Err(error) => self.failed(call, error),
        }
    }

    fn failed(&mut self, call: Box<str>, error: io::Error) {
        self.say(&error);
        metrics::counter!("strowger_recordings_total", "outcome" => "failed").increment(1);
        self.tell(Event::Failed { call, error });
    }

    /// The disk failed: told at a bounded rate.
    fn say(&mut self, error: &io::Error) {
        let now = Instant::now();
        if now >= self.next_complaint {
            self.next_complaint = now + SAY_EVERY;
            tracing::error!(%error, "the disk fails recordings; calls go on without");
        }
    }

    fn tell(&self, event: Event) {
        // Nobody listens, or not soon enough: the files are there.
        if self.events.try_send(event).is_err() {
            metrics::counter!("strowger_queue_full_total", "queue" => "recording_events").increment(1);
        }
    }

    /// Tells what the media threads only counted.
    fn publish(&mut self) {
        let left_out = self.shared.left_out.swap(0, Ordering::Relaxed);
        if left_out > 0 {
            metrics::counter!("strowger_queue_full_total", "queue" => "recordings").increment(left_out);
        }
        let refused = self.shared.refused.swap(0, Ordering::Relaxed);
        if refused > 0 {
            metrics::counter!("strowger_recordings_total", "outcome" => "refused").increment(refused);
        }
        self.untold += refused;
        let now = Instant::now();
        if self.untold > 0 && now >= self.next_word {
            self.next_word = now + SAY_EVERY;
            tracing::error!(recordings = self.untold, "recordings were refused; their calls went on");
            self.untold = 0;
        }
    }
}

impl Together {
    /// Whether a block is the next of the recording whose blocks wait.
    fn follows(&self, id: u64, at: u64, running: &HashMap<u64, Track>) -> bool {
        let frame = running.get(&id).map_or(1, |track| track.format.frame());
        self.id == id && !self.bytes.is_empty() && at == self.at + self.bytes.len() as u64 / frame
    }
}

impl Item {
    fn id(&self) -> u64 {
        match self {
            Item::Begin(begin) => begin.id,
            Item::Block { id, .. } | Item::Notice { id, .. } => *id,
        }
    }
}

impl Track {
    fn begin(volume: &dyn Volume, path: PathBuf, sheet: Sheet, format: Format) -> io::Result<Track> {
        if let Some(folder) = path.parent() {
            volume::make_folder(folder)?;
        }
        let part = volume::part_of(&path);
        if path.exists() || part.exists() {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "the call has a recording already"));
        }
        // Should the node die, it is known whose recording this was.
        let sheet_part = volume::part_of(&path.with_extension("json"));
        let open = || {
            io::Write::write_all(&mut volume::open_file(&sheet_part)?, &sheet.text())?;
            let mut file = volume.open(&part)?;
            file.write_at(0, &format.header(0))?;
            Ok(file)
        };
        match open() {
            Ok(file) => Ok(Track { sheet, format, path, file, frames: 0, headed: 0 }),
            Err(error) => {
                // What there is of them says nothing, and is not to be found at the next start.
                [sheet_part, part].iter().for_each(|path| drop(fs::remove_file(path)));
                Err(error)
            }
        }
    }

    /// Writes samples that begin with that frame; those before it that never came are silence.
    fn write(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_at(HEADER as u64 + at * self.format.frame(), bytes)?;
        self.skip_to(at);
        self.frames = at + bytes.len() as u64 / self.format.frame();
        Ok(())
    }

    /// A file reads as zeros where nothing was written, and takes no room there.
    fn skip_to(&mut self, frame: u64) {
        if frame > self.frames {
            metrics::counter!("strowger_recording_gaps_total").increment(1);
            self.sheet.misses(self.format, (self.frames, frame));
            self.frames = frame;
        }
    }

    /// Should the node die, it is known that the call was told so. The text grows, and is written in one call: there is
    /// the one or the other.
    fn note_notice(&mut self, at: Wall) -> io::Result<()> {
        self.sheet.notice_said = Some(at);
        let part = volume::part_of(&self.path.with_extension("json"));
        volume::open_file(&part)?.write_all_at(&self.sheet.text(), 0)
    }

    fn head(&mut self) -> io::Result<()> {
        if self.headed != self.frames {
            self.file.write_at(0, &self.format.header(self.frames))?;
            self.headed = self.frames;
        }
        Ok(())
    }

    /// Nothing of it is kept.
    fn discard(self) {
        for path in [self.path.with_extension("json"), self.path] {
            if let Err(error) = fs::remove_file(volume::part_of(&path)) {
                tracing::warn!(%error, "what was not to be kept could not be removed");
            }
        }
    }

    /// The sheet first: where there is a recording there is its sheet.
    fn finish(mut self, frames: Option<u64>, end: Ending) -> io::Result<Duration> {
        self.skip_to(frames.unwrap_or(0));
        self.sheet.cut(self.format, self.frames, end);
        let part = volume::part_of(&self.path);
        let file = File::options().write(true).open(&part)?;
        volume::replace(&self.path.with_extension("json"), &self.sheet.text())?;
        wav::seal(&file, &part, self.format, self.frames)?;
        Ok(self.format.lasts(self.frames))
    }
}

/// Whether less than the floor is free, too little for another recording, as it was or was not before.
pub(super) fn is_full(space: Space, was_full: bool) -> bool {
    let floor = space.floor();
    space.free < if was_full { floor + floor / ABOVE } else { floor }
}
