//! The numbers of all tables (.csv), in the order of the files, whoever reads them: blocks of rows are dealt out to threads, and
//! what comes of them is put together in the order in which they stand. What is said is the same as if one had read them all.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::{Builder, Scope};
use std::time::SystemTime;

use super::Config;
use super::kept::{Kept, Stamp};
use super::number::Keys;
use super::numbers::{Numbers, Span};
use super::place::{MAX_FINDINGS, Place, Report};
use super::row::{self, Block, Blocks, End, MAX_ROW, Next, Rows, Table};

/// More threads would wait for the one that cuts blocks and puts numbers together.
const MOST_THREADS: usize = 8;
/// So many blocks a thread are under way: while one is read the next one waits. They bound the memory that this takes.
const AHEAD: usize = 2;
/// Tables of fewer bytes are read before threads have begun.
const FEW: u64 = 4 << 20;

/// Hears how many numbers there are, and how many more bytes were read, after each block.
pub(super) type Told<'t> = dyn FnMut(usize, usize) + 't;

/// What has been read of them.
pub(super) struct Tables<'s> {
    pub numbers: Numbers,
    /// What numbers say whose `did` cannot be read.
    pub nameless: Vec<Keys>,
    /// A file is not UTF-8.
    pub has_no_text: bool,
    pub read: usize,
    pub taken: usize,
    /// What is served: tables that are as they were are taken from it.
    served: Option<&'s Config>,
    now: SystemTime,
    opened: Vec<Opened>,
    threads: Threads,
    /// How many bytes all tables have, until room is made for them.
    all: Option<u64>,
    under_way: VecDeque<Receiver<Part>>,
}

/// A file of which rows may be under way.
struct Opened {
    path: PathBuf,
    table: Table,
    span: Option<Span>,
    /// None: it is not to be remembered.
    stamp: Option<Stamp>,
    /// Nothing behind is read.
    is_over: bool,
}

/// Some rows and where they go.
struct Job {
    /// By its place among those that were opened.
    of: usize,
    table: Table,
    block: Block,
    done: SyncSender<Part>,
}

/// What came of a job.
struct Part {
    of: usize,
    block: Block,
    numbers: Numbers,
    nameless: Vec<Keys>,
    report: Report,
    rows: Rows,
}

impl<'s> Tables<'s> {
    /// `now`: not later than the first of them is opened.
    pub fn new(served: Option<&'s Config>, now: SystemTime) -> Tables<'s> {
        Tables {
            numbers: Numbers::default(),
            nameless: Vec::new(),
            has_no_text: false,
            read: 0,
            taken: 0,
            served,
            now,
            opened: Vec::new(),
            threads: Threads::default(),
            all: None,
            under_way: VecDeque::new(),
        }
    }

    /// `bytes`: of all tables.
    pub fn read_by(&mut self, threads: Threads, bytes: u64) {
        (self.threads, self.all) = (threads, Some(bytes));
    }

    /// Reads a table; of its last rows it may be heard when the [next](Tables::settle) is read. The disk's error is for the
    /// caller to tell.
    pub fn read(
        &mut self,
        (file, path): (u16, &Path),
        opened: File,
        report: &Report,
        told: &mut Told<'_>,
    ) -> io::Result<()> {
        let stamp = Stamp::of(&opened);
        if self.take((file, path), stamp, report, told) {
            return Ok(());
        }
        self.read += 1;
        let of = self.opened.len();
        let folder = path.parent().unwrap_or(Path::new("")).into();
        let table = Table { file, folder, header: None, known: Arc::new(RwLock::default()) };
        let remembered = stamp.filter(|stamp| stamp.is_settled(self.now));
        self.opened.push(Opened { path: path.into(), table, span: None, stamp: remembered, is_over: false });
        let mut blocks = Blocks::of(&opened);
        let (mut is_first, mut is_empty) = (true, true);
        while !report.is_full() && !self.opened[of].is_over {
            match blocks.next() {
                Ok(Next::Rows(block)) => {
                    is_empty = is_empty && block.bytes.iter().all(|byte| matches!(byte, b'\r' | b'\n'));
                    if !is_first && self.opened[of].table.header.is_none() {
                        self.settle(report, told);
                    }
                    is_first = false;
                    self.deal(of, block, report, told);
                }
                Ok(Next::Endless(line)) => {
                    self.settle(report, told);
                    if !self.opened[of].is_over {
                        let what = format!("a row is longer than {} MiB", MAX_ROW >> 20);
                        self.stop(
                            of,
                            line,
                            report,
                            what,
                            "write a number a row, and end the row with a line break",
                        );
                    }
                }
                // What a disk that was full leaves of a table must not pass for one without numbers.
                Ok(Next::End) if is_empty => {
                    let what = "the table is empty: it has no header".to_owned();
                    self.stop(of, 1, report, what, "write a header, like did,forward_to, or remove the file");
                }
                Ok(Next::End) => break,
                Err(error) => {
                    self.settle(report, told);
                    let is_over = std::mem::replace(&mut self.opened[of].is_over, true);
                    self.opened[of].stamp = None;
                    return if is_over { Ok(()) } else { Err(error) };
                }
            }
        }
        if Stamp::of(&opened) != self.opened[of].stamp {
            self.opened[of].stamp = None;
        }
        Ok(())
    }

    /// Waits for all rows that are under way.
    pub fn settle(&mut self, report: &Report, told: &mut Told<'_>) {
        while let Some(part) = self.under_way.pop_front() {
            self.join(&part, report, told);
        }
    }

    /// All numbers, and which tables may be taken from there as they are. The threads end.
    pub fn finish(&mut self) -> (Numbers, Kept) {
        self.threads = Threads::default();
        let mut kept = Kept::default();
        for Opened { path, stamp, span, .. } in self.opened.drain(..) {
            if let (Some(stamp), Some(span)) = (stamp, span) {
                kept.remember(path, stamp, span);
            }
        }
        (std::mem::take(&mut self.numbers), kept)
    }

    /// Takes a file's numbers from what is served, if it is as it was and held nothing else.
    pub fn take(
        &mut self,
        (file, path): (u16, &Path),
        stamp: Option<Stamp>,
        report: &Report,
        told: &mut Told<'_>,
    ) -> bool {
        let Some((served, stamp)) = self.served.zip(stamp) else { return false };
        let Some(span) = served.kept.find(path, stamp).filter(|_| !report.is_full()) else { return false };
        self.settle(report, told);
        if report.is_full() || !self.numbers.has_room(stamp.length()) {
            return false;
        }
        let mut now = self.numbers.span();
        self.numbers.copy(&served.numbers, span, file);
        self.numbers.extend(&mut now);
        // The first of them has made room for all.
        self.all = None;
        self.taken += 1;
        self.opened.push(Opened::whole((file, path), now, Some(stamp)));
        told(self.numbers.len(), stamp.length());
        true
    }

    /// That a file which was read elsewhere holds these numbers and nothing else, none of which needs a word.
    pub fn remember(&mut self, file: (u16, &Path), stamp: Option<Stamp>, span: Span) {
        let stamp = stamp.filter(|stamp| stamp.is_settled(self.now));
        self.opened.push(Opened::whole(file, span, stamp));
    }

    /// Has a block read, by a thread if there is one.
    fn deal(&mut self, of: usize, block: Block, report: &Report, told: &mut Told<'_>) {
        while self.under_way.len() >= self.threads.count * AHEAD
            && let Some(part) = self.under_way.pop_front()
        {
            self.join(&part, report, told);
        }
        let (done, part) = sync_channel(1);
        let job = Job { of, table: self.opened[of].table.clone(), block, done };
        match self.threads.take(job) {
            None => self.under_way.push_back(part),
            Some(Job { block, .. }) => self.read_here(of, &block, report, told),
        }
    }

    /// Reads a block behind all that was read.
    fn read_here(&mut self, of: usize, block: &Block, report: &Report, told: &mut Told<'_>) {
        if !self.numbers.has_room(MAX_ROW) {
            let what = "there are more numbers, or longer labels in all, than a table can hold";
            let remedy = "write less: 1,000 million numbers and 4 GiB of labels";
            return self.stop(of, block.line, report, what.into(), remedy);
        }
        self.forget_before(of);
        let opened = &mut self.opened[of];
        let span = opened.span.get_or_insert_with(|| self.numbers.span());
        let noted = report.noted();
        let into = row::Into { numbers: &mut self.numbers, nameless: &mut self.nameless, report };
        let Rows { header, found, end } = row::read(&opened.table, block, into);
        self.numbers.extend(span);
        opened.table.known.write().unwrap_or_else(PoisonError::into_inner).extend(found);
        opened.goes_on(header, end, report.noted() > noted);
        self.has_no_text |= end == End::NoText;
        self.make_room(of, block.bytes.len());
        told(self.numbers.len(), block.bytes.len());
    }

    /// Makes room for all that tables say, when the first so many bytes of them have been read.
    fn make_room(&mut self, of: usize, read: usize) {
        let all = self.all.take().filter(|all| *all > read as u64);
        if let (Some(all), Some(span)) = (all, &self.opened[of].span) {
            self.numbers.reserve(span, all as f64 / read.max(1) as f64);
        }
    }

    /// Puts what a thread has read behind all that was read before.
    fn join(&mut self, part: &Receiver<Part>, report: &Report, told: &mut Told<'_>) {
        // A thread that ended by a bug takes the whole reading with it, where it is waited for.
        let Ok(part) = part.recv() else { return };
        let Part { of, block, numbers, mut nameless, report: own, rows: Rows { header, found, end } } = part;
        if report.is_full() || self.opened[of].is_over {
            return;
        }
        // Where the last mistake that is told, or the last number that there is room for, stands among these, nothing behind
        // it is read: so they are read up to there.
        let is_last = report.mistakes() + own.mistakes() >= MAX_FINDINGS;
        if is_last || !self.numbers.has_room(numbers.bytes() + MAX_ROW) {
            return self.read_here(of, &block, report, told);
        }
        self.forget_before(of);
        let opened = &mut self.opened[of];
        opened.span.get_or_insert_with(|| self.numbers.span());
        opened.goes_on(header, end, own.noted() > 0);
        self.has_no_text |= end == End::NoText;
        report.append(own);
        self.nameless.append(&mut nameless);
        // What is new of what these say; what an earlier block of the table said as well is kept with that.
        let mut said: Vec<_> = numbers.sets().map(|_| None).collect();
        for (text, known) in found {
            if let Some(place) = numbers.own_set(known.set).and_then(|set| said.get_mut(set)) {
                *place = Some((text, known));
            }
        }
        let mut known = opened.table.known.write().unwrap_or_else(PoisonError::into_inner);
        self.numbers.append(numbers, |set, next| {
            let (text, here) = said.get_mut(set)?.take()?;
            let kept = known.entry(text).or_insert(row::Known { set: next, ..here }).set;
            Some(kept).filter(|kept| *kept != next)
        });
        drop(known);
        if let Some(span) = &mut opened.span {
            self.numbers.extend(span);
        }
        self.make_room(of, block.bytes.len());
        told(self.numbers.len(), block.bytes.len());
    }

    /// What the rows of a table say is not needed for those of the next.
    fn forget_before(&mut self, of: usize) {
        if let Some(before) = of.checked_sub(1).and_then(|before| self.opened.get_mut(before)) {
            before.table.known = Arc::default();
        }
    }

    fn stop(&mut self, of: usize, line: u32, report: &Report, what: String, remedy: &str) {
        let opened = &mut self.opened[of];
        report.error(Place { file: opened.table.file, line, column: 1 }, what, remedy);
        (opened.is_over, opened.stamp) = (true, None);
    }
}

impl Opened {
    /// Of which no row is under way.
    fn whole((file, path): (u16, &Path), span: Span, stamp: Option<Stamp>) -> Opened {
        let folder = path.parent().unwrap_or(Path::new("")).into();
        let table = Table { file, folder, header: None, known: Arc::new(RwLock::default()) };
        Opened { path: path.into(), table, span: Some(span), stamp, is_over: true }
    }

    fn goes_on(&mut self, header: Option<Arc<row::Header>>, end: End, has_findings: bool) {
        self.table.header = header;
        self.is_over = end != End::GoOn;
        if has_findings || self.is_over {
            self.stamp = None;
        }
    }
}

/// Those who read tables, but for whoever deals out.
#[derive(Default)]
pub(super) struct Threads {
    count: usize,
    jobs: Option<Sender<Job>>,
}

impl Threads {
    /// Starts so many; 0: as many as pay for tables of so many bytes. They end when this is dropped, and inherit whatever
    /// priority the caller has.
    pub fn start<'scope>(scope: &'scope Scope<'scope, '_>, wanted: usize, bytes: u64) -> Threads {
        let wanted = match wanted {
            0 if bytes < FEW => 1,
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            wanted => wanted,
        };
        if wanted <= 1 {
            return Threads::default();
        }
        let (jobs, waiting) = channel::<Job>();
        let waiting = Arc::new(Mutex::new(waiting));
        let start = |_: &usize| {
            let waiting = Arc::clone(&waiting);
            Builder::new().name("tables".to_owned()).spawn_scoped(scope, move || work(&waiting)).is_ok()
        };
        // With none at all whoever deals out reads them.
        let count = (0..wanted.min(MOST_THREADS)).filter(start).count();
        Threads { count, jobs: Some(jobs).filter(|_| count > 0) }
    }

    /// Gives a job to one of them, or back.
    fn take(&self, job: Job) -> Option<Job> {
        match &self.jobs {
            Some(jobs) => jobs.send(job).err().map(|refused| refused.0),
            None => Some(job),
        }
    }
}

/// A thread's life.
fn work(jobs: &Mutex<Receiver<Job>>) {
    loop {
        let next = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Job { of, table, block, done }) = next else { return };
        let (mut numbers, mut nameless, report) = (Numbers::part(), Vec::new(), Report::default());
        let into = row::Into { numbers: &mut numbers, nameless: &mut nameless, report: &report };
        let rows = row::read(&table, &block, into);
        // Nobody waits for it any more once the reading was given up.
        let _given_up = done.send(Part { of, block, numbers, nameless, report, rows });
    }
}
