//! The disk thread: beginnings to the journal, records to their files, in groups.
//!
//! Few syncs: at most one in 150 ms for the records and one for the journal, and none for a call
//! that began and ended within a group of the journal. When the disk fails, everything stays in memory (the
//! slots bound it) and is tried again with a growing pause.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::cdrs::{Reader, Writer};
use super::cursor::Day;
use super::inbox::{Appetite, Inbox, Item};
use super::journal::Journal;
use super::slots::Slots;
use crate::call::cdr::{Cdr, JournalEntry};
use crate::time::Wall;

/// Records are synced at most so often (R12: 50 ms or more). At 100 calls/s each sync costs as much as handling five
/// calls, and nobody reads a record in the moment after its call; as often as beginnings, so that both wake the thread
/// together.
const RECORDS_EVERY: Duration = STARTS_WITHIN;
/// A beginning, or the record that came before it was written, waits at most so long for its group; with the sync itself
/// it is on disk within 200 ms (R12).
const STARTS_WITHIN: Duration = Duration::from_millis(150);
/// The pause after a failure: the first, doubling up to the last.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// More bytes of records than these wait only when the disk fails; then no call is admitted.
const BACKLOG: usize = 64 << 20;
/// How often the journal is told that the node lives, while calls are in it.
const TOUCH_EVERY: Duration = Duration::from_secs(30);
/// How often old files are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(3600);
/// How often a failing disk is tried again when the store closes.
const LAST_TRIES: u32 = 3;

/// The wall clock, for names of days and marks of life.
pub(super) fn wall() -> Wall {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Wall(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

pub(super) struct DiskThread {
    inbox: Arc<Inbox>,
    slots: Arc<Slots>,
    cdrs: Writer,
    reader: Reader,
    journal: Journal,
    /// How many days files of records are kept; 0 = for ever.
    cdr_days: u32,
    /// Answered calls that are not in the journal yet.
    starts: HashMap<Box<str>, Start>,
    /// When the first of `starts` came, be it while the thread slept.
    first_start: Option<Instant>,
    /// How many records wait.
    waiting: u32,
    /// When they may be synced.
    records_due: Option<Instant>,
    /// The calls among them that are in the journal.
    journalled: Vec<Box<str>>,
    last_sync: Option<Instant>,
    health: Health,
    last_touch: Instant,
    next_sweep: Instant,
}

/// The beginning of a call, and when it came.
struct Start {
    entry: Box<JournalEntry>,
    came: Instant,
}

/// How the disk is doing.
enum Health {
    Well,
    /// The last write failed; the next is tried at `again`.
    Failing {
        again: Instant,
        pause: Duration,
    },
}

impl DiskThread {
    pub fn new(
        inbox: Arc<Inbox>,
        slots: Arc<Slots>,
        (cdrs, reader): (Writer, Reader),
        journal: Journal,
        cdr_days: u32,
    ) -> DiskThread {
        let now = Instant::now();
        DiskThread {
            inbox,
            slots,
            cdrs,
            reader,
            journal,
            cdr_days,
            starts: HashMap::new(),
            first_start: None,
            waiting: 0,
            records_due: None,
            journalled: Vec::new(),
            last_sync: None,
            health: Health::Well,
            last_touch: now,
            next_sweep: now,
        }
    }

    /// Works until the store is closed and all is written, or the disk refused it too often.
    pub fn run(mut self) {
        let mut items = Vec::new();
        let mut last_tries = 0;
        loop {
            let (appetite, until) = self.sleep(Instant::now());
            let taken = self.inbox.take(appetite, Some(until), &mut items);
            let now = Instant::now();
            for item in items.drain(..) {
                self.receive(item, now);
            }
            let hurry = taken.closing || taken.flush.is_some();
            if matches!(self.health, Health::Failing { again, .. } if now < again) {
                if hurry {
                    std::thread::sleep(PAUSE.0);
                }
                if !taken.closing {
                    continue;
                }
            }
            self.turn(now, hurry);
            metrics::gauge!("strowger_queue_depth", "queue" => "store").set(f64::from(self.waiting));
            let all_written = self.waiting == 0 && self.starts.is_empty();
            if let Some(ticket) = taken.flush.filter(|_| all_written) {
                self.inbox.flush_done(ticket);
            }
            if taken.closing {
                last_tries += 1;
                if all_written {
                    self.journal_at_the_end();
                    return;
                }
                if last_tries == LAST_TRIES {
                    tracing::error!(
                        records = self.waiting,
                        "the disk failed to the end: call records are lost"
                    );
                    return;
                }
            }
        }
    }

    /// Leaves a short journal behind. A long one would do no harm.
    fn journal_at_the_end(&mut self) {
        if let Err(error) = self.journal.begin_anew(self.reader.end()) {
            tracing::warn!(%error, "the journal could not be shortened");
        }
    }

    fn receive(&mut self, item: Item, now: Instant) {
        match item {
            Item::Started(entry, came) => {
                self.first_start.get_or_insert(came);
                self.starts.insert(entry.id.clone(), Start { entry, came });
            }
            Item::Ended(cdr) => self.ended(&cdr, now),
        }
    }

    fn ended(&mut self, cdr: &Cdr, now: Instant) {
        let start = self.starts.remove(&cdr.id);
        if start.is_none() && self.journal.holds(&cdr.id) {
            self.journalled.push(cdr.id.clone());
        }
        if self.starts.is_empty() {
            self.first_start = None;
        }
        self.cdrs.add(cdr);
        self.waiting += 1;
        let due = due(now, self.last_sync, start.map(|start| start.came));
        self.records_due = Some(self.records_due.map_or(due, |before| before.min(due)));
        self.slots.clog(self.cdrs.waiting_bytes() > BACKLOG);
    }

    /// How long to sleep, and what for.
    fn sleep(&self, now: Instant) -> (Appetite, Instant) {
        let records = self.records_due;
        let starts = self.first_start.map(|first| first + STARTS_WITHIN);
        if let Health::Failing { again, .. } = self.health {
            return (Appetite::Nothing, again);
        }
        // Records that come before they may be synced need not wake anybody.
        let quiet = self.last_sync.map(|last| last + RECORDS_EVERY).filter(|end| *end > now);
        if let Some(end) = quiet {
            return (Appetite::Nothing, [records, starts].into_iter().flatten().fold(end, Instant::min));
        }
        let touch = (!self.journal.is_empty()).then_some(self.last_touch + TOUCH_EVERY);
        let until = [records, starts, touch].into_iter().flatten().fold(self.next_sweep, Instant::min);
        let appetite = match (records, starts) {
            (Some(_), _) => Appetite::Nothing,
            (None, Some(_)) => Appetite::Records,
            (None, None) => Appetite::Anything,
        };
        (appetite, until)
    }

    /// Does what is due; in a hurry, all that waits.
    fn turn(&mut self, now: Instant, hurry: bool) {
        let records = self.records_due.is_some_and(|due| hurry || due <= now);
        let starts = self.first_start.is_some_and(|first| hurry || first + STARTS_WITHIN <= now);
        let done = self.write(now, records, starts);
        match (done, &self.health) {
            (Ok(()), Health::Failing { .. }) => {
                tracing::info!("the disk takes call records again");
                self.health = Health::Well;
            }
            (Ok(()), Health::Well) => {}
            (Err(error), health) => self.health = self.failed(now, health, &error),
        }
        if now >= self.last_touch + TOUCH_EVERY && !self.journal.is_empty() {
            self.journal.touch();
            self.last_touch = now;
        }
        if now >= self.next_sweep {
            self.sweep();
            self.next_sweep = now + SWEEP_EVERY;
        }
    }

    fn write(&mut self, now: Instant, records: bool, starts: bool) -> io::Result<()> {
        if records {
            let bytes = self.cdrs.commit()?;
            self.last_sync = Some(now);
            self.journal.records_grew(bytes);
            self.journal.ended(self.journalled.iter().map(|id| &**id));
            self.journalled.clear();
            self.slots.clog(false);
            self.slots.release(self.waiting);
            self.waiting = 0;
            self.records_due = None;
        }
        if starts {
            self.journal.write(self.starts.values().map(|start| &*start.entry))?;
            self.starts.clear();
            self.first_start = None;
        }
        if self.journal.is_long() {
            self.journal.begin_anew(self.reader.end())?;
        }
        Ok(())
    }

    fn failed(&self, now: Instant, before: &Health, error: &io::Error) -> Health {
        metrics::counter!("strowger_store_errors_total").increment(1);
        let pause = match before {
            Health::Well => {
                tracing::error!(%error, "the disk takes no call records; they stay in memory until it does");
                PAUSE.0
            }
            Health::Failing { pause, .. } => (*pause * 2).min(PAUSE.1),
        };
        Health::Failing { again: now + pause, pause }
    }

    fn sweep(&mut self) {
        if self.cdr_days == 0 {
            return;
        }
        match self.cdrs.forget_before(Day::of(wall()).before(self.cdr_days)) {
            Ok(0) => {}
            Ok(files) => tracing::info!(files, "files of old call records were removed"),
            Err(error) => tracing::warn!(%error, "a file of old call records could not be removed"),
        }
    }
}

/// When a record that comes now is synced: with its group, but where it stands for a beginning that is not in the
/// journal, no later than that would have been (R12).
fn due(now: Instant, last_sync: Option<Instant>, began: Option<Instant>) -> Instant {
    let group = last_sync.map_or(now, |last| now.max(last + RECORDS_EVERY));
    began.map_or(group, |came| group.min(came + STARTS_WITHIN))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::cdr::Direction;
    use crate::volume::Disk;

    fn entry(id: &str) -> Box<JournalEntry> {
        Box::new(JournalEntry {
            id: id.into(),
            node: "edge-1".into(),
            generation: 1,
            account: "".into(),
            direction: Direction::Inbound,
            trunk: None,
            did: None,
            dialled: "+12015550101".into(),
            caller: None,
            withheld: false,
            presented: None,
            sip_call_id: None,
            peer: None,
            started: Wall(0),
            ringing: None,
            answered: Wall(0),
        })
    }

    /// The thread's work without the thread: moments are told, and the disk is a folder.
    struct Desk {
        disk: DiskThread,
        begun: Instant,
        _folder: tempfile::TempDir,
    }

    impl Desk {
        fn new() -> Desk {
            let folder = tempfile::tempdir().unwrap();
            let volume = Arc::new(Disk);
            let (cdrs, reader) = Writer::open(&folder.path().join("cdr"), volume.clone()).unwrap();
            let journal = Journal::begin(&folder.path().join("calls.journal"), volume, reader.end()).unwrap();
            let slots = Arc::new(Slots::new(64));
            let disk = DiskThread::new(Arc::default(), slots, (cdrs, reader), journal, 0);
            Desk { begun: disk.last_touch, disk, _folder: folder }
        }

        fn at(&self, ms: u64) -> Instant {
            self.begun + Duration::from_millis(ms)
        }

        fn started(&mut self, ms: u64, id: &str) {
            let at = self.at(ms);
            self.disk.receive(Item::Started(entry(id), at), at);
        }

        fn ended(&mut self, ms: u64, id: &str) {
            self.disk.receive(Item::Ended(Box::new(entry(id).lost(Wall(0)))), self.at(ms));
        }

        /// Sleeps as the thread would, and does what is due then. In ms: when it woke.
        fn wakes(&mut self, asleep_at: u64) -> u64 {
            let (_, until) = self.disk.sleep(self.at(asleep_at));
            self.disk.turn(until, false);
            u64::try_from(until.saturating_duration_since(self.begun).as_millis()).unwrap()
        }
    }

    #[test]
    fn r12_a_call_that_ends_before_its_start_is_journalled_is_on_disk_as_soon_as_the_start_would_be() {
        let mut desk = Desk::new();
        desk.started(0, "long");
        desk.started(40, "short");
        // A record of some other call is synced, and the next may be at 250 ms.
        desk.ended(100, "other");
        desk.disk.turn(desk.at(100), false);
        desk.ended(120, "short");
        assert_eq!(desk.wakes(120), 150, "the start of the long one");
        assert_eq!(desk.disk.waiting, 1);
        assert_eq!(desk.wakes(150), 190, "150 ms after the short one was answered");
        assert_eq!((desk.disk.waiting, desk.disk.starts.len()), (0, 0));
    }

    #[test]
    fn a_record_whose_start_is_journalled_or_young_waits_for_its_group() {
        let mut desk = Desk::new();
        desk.ended(0, "other");
        desk.disk.turn(desk.at(0), false);
        desk.started(10, "a");
        desk.ended(20, "a");
        desk.ended(30, "never answered");
        assert_eq!(desk.wakes(30), 150);
        assert_eq!(desk.disk.waiting, 0);
    }
}
