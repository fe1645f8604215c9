//! The store: nothing acknowledged is lost, whatever tears, fails or dies.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::collections::{BTreeMap, HashMap};
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use common::{NOON, PATIENCE, cdr, entry, fast_folder, wait_until};
use strowger::call::cdr::{Cdr, Outcome};
use strowger::media::reel::{Kind, path_of};
use strowger::store::{Cursor, OpenError, ReadError, Recorder, Settings, Store};
use strowger::volume::{Disk, Log, Volume};

mod common;

const DAY: u64 = 86_400_000;

#[test]
fn a_record_is_a_line_in_the_file_of_the_day_of_its_end() {
    let folder = fast_folder();
    let store = open(folder.path());
    for (id, ended) in [("a", NOON), ("b", NOON + DAY), ("c", NOON + 1)] {
        store.recorder().call(id, ended);
    }
    assert!(store.flush(PATIENCE));
    assert_eq!(ids_in(&folder.path().join("cdr/2026-11-01.jsonl")), ["a", "c"]);
    assert_eq!(ids_in(&folder.path().join("cdr/2026-11-02.jsonl")), ["b"]);
    assert_eq!(store.recorder().slots().taken(), 0);
}

#[test]
fn folders_are_0750_files_0640_and_no_name_has_a_number_in_it() {
    use std::os::unix::fs::PermissionsExt;

    fn look(path: &Path, seen: &mut Vec<String>) {
        for entry in std::fs::read_dir(path).unwrap() {
            let entry = entry.unwrap();
            let meta = entry.metadata().unwrap();
            let mode = meta.permissions().mode() & 0o777;
            assert_eq!(mode, if meta.is_dir() { 0o750 } else { 0o640 }, "{:?}", entry.path());
            seen.push(entry.file_name().into_string().unwrap());
            if meta.is_dir() {
                look(&entry.path(), seen);
            }
        }
    }

    let folder = fast_folder();
    let data = folder.path().join("some/data");
    let store = open(&data);
    store.recorder().call("a", NOON);
    assert!(store.flush(PATIENCE));
    let mut seen = Vec::new();
    look(folder.path(), &mut seen);
    seen.sort();
    let expected = ["2026-11-01.jsonl", "calls.journal", "cdr", "data", "lock", "node.json", "some"];
    assert_eq!(seen, expected);
}

#[test]
fn a_second_node_on_the_folder_is_told_who_holds_it() {
    let folder = fast_folder();
    let first = open(folder.path());
    let refused = Store::open(folder.path(), Settings::new("edge-2", 0)).err().unwrap();
    assert!(matches!(refused, OpenError::Locked { .. }));
    let said = refused.to_string();
    assert!(said.contains(&format!("process {}", std::process::id())), "{said}");
    drop(first);
    assert!(Store::open(folder.path(), Settings::new("edge-2", 0)).is_ok());
}

#[test]
fn what_a_node_knows_of_itself_survives_it() {
    let folder = fast_folder();
    let store = open(folder.path());
    store.dir().update_node(|node| node.generation = 7).unwrap();
    drop(store);
    let again = open(folder.path());
    assert_eq!((again.dir().node().generation, &*again.dir().node().name), (7, "edge-1"));
}

#[test]
fn pages_follow_each_other_over_days_and_give_every_record_once() {
    let folder = fast_folder();
    let store = open(folder.path());
    let mut expected = Vec::new();
    for day in [0, 1, 3, 4] {
        for n in 0..7 {
            let id = format!("{day}-{n}");
            store.recorder().call(&id, NOON + day * DAY + n);
            expected.push(id);
        }
        assert!(store.flush(PATIENCE));
    }
    for limit in [1, 2, 5, 7, 100] {
        let mut cursor = Cursor::default();
        let mut seen = Vec::new();
        loop {
            let page = store.reader().page(cursor, limit).unwrap();
            assert!(page.lines.len() <= limit);
            if page.lines.is_empty() {
                break;
            }
            seen.extend(page.lines.iter().map(|line| id_of(line)));
            cursor = page.next.to_string().parse().unwrap();
        }
        assert_eq!(seen, expected, "limit {limit}");
        assert_eq!(cursor, store.reader().end());
    }
}

#[test]
fn a_record_that_comes_late_for_its_day_is_not_missed_by_a_reader_who_went_on() {
    let folder = fast_folder();
    let store = open(folder.path());
    store.recorder().call("today", NOON);
    store.recorder().call("tomorrow", NOON + DAY);
    assert!(store.flush(PATIENCE));
    let page = store.reader().page(Cursor::default(), 10).unwrap();
    assert_eq!(page.lines.len(), 2);
    store.recorder().call("late", NOON + 2);
    store.recorder().call("clock set back", NOON - 9 * DAY);
    assert!(store.flush(PATIENCE));
    let more = store.reader().page(page.next, 10).unwrap();
    assert_eq!(more.lines.iter().map(|line| id_of(line)).collect::<Vec<_>>(), ["late", "clock set back"]);
    assert_eq!(ids_in(&folder.path().join("cdr/2026-11-01.jsonl")), ["today", "late", "clock set back"]);
}

#[test]
fn a_cursor_that_is_none_of_ours_is_refused() {
    let folder = fast_folder();
    let store = open(folder.path());
    store.recorder().call("a", NOON);
    assert!(store.flush(PATIENCE));
    let end = store.reader().end();
    for offset in [1, end.offset - 1, end.offset + 1, u64::MAX] {
        let refused = store.reader().page(Cursor { offset, ..end }, 10);
        assert!(matches!(refused, Err(ReadError::BadCursor(_))), "offset {offset}");
    }
}

#[test]
fn old_files_go_and_a_reader_who_stood_there_goes_on() {
    let folder = fast_folder();
    let cdrs = folder.path().join("cdr");
    let old = 1_577_880_000_000; // 2020-01-01T12:00:00Z
    let store = open(folder.path());
    for (id, ended) in [("old", old), ("1", NOON + DAY), ("2", NOON + 2 * DAY)] {
        store.recorder().call(id, ended);
    }
    assert!(store.flush(PATIENCE));
    let first = store.reader().page(Cursor::default(), 1).unwrap();
    drop(store);
    let store = Store::open(folder.path(), Settings::new("edge-1", 400)).unwrap();
    wait_until(|| !cdrs.join("2020-01-01.jsonl").exists());
    let rest = store.reader().page(first.next, 10).unwrap();
    assert_eq!(rest.lines.iter().map(|line| id_of(line)).collect::<Vec<_>>(), ["1", "2"]);
}

#[test]
fn r12_a_call_that_began_and_ended_at_once_costs_the_journal_nothing() {
    let folder = fast_folder();
    let volume = Arc::new(Weak::default());
    let store = open_on(folder.path(), volume.clone(), 64);
    let before = folder.path().join("calls.journal").metadata().unwrap().len();
    for n in 0..50 {
        let id = format!("{n}");
        assert!(store.recorder().reserve());
        store.recorder().started(Box::new(entry(&id)));
        store.recorder().ended(Box::new(cdr(&id, NOON)));
    }
    assert!(store.flush(PATIENCE));
    assert_eq!(folder.path().join("calls.journal").metadata().unwrap().len(), before);
    // One for the journal's head; the records came in few groups.
    let syncs = volume.syncs.load(Ordering::Relaxed);
    assert!(syncs <= 5, "{syncs}");
}

#[test]
fn r12_every_journalled_call_without_a_record_gets_a_lost_one_once() {
    let folder = fast_folder();
    let store = open(folder.path());
    for id in ["ended", "cut-off"] {
        assert!(store.recorder().reserve());
        store.recorder().started(Box::new(entry(id)));
    }
    assert!(store.flush(PATIENCE));
    store.recorder().ended(Box::new(cdr("ended", NOON)));
    assert!(store.flush(PATIENCE));
    let crashed = fast_folder();
    copy(folder.path(), crashed.path());
    let recordings = crashed.path().join(Kind::Recording.folder());
    let cut_off = path_of(&recordings, "cut-off", entry("cut-off").started).with_extension("wav.part");
    std::fs::create_dir_all(cut_off.parent().unwrap()).unwrap();
    std::fs::write(cut_off, [0; 100]).unwrap();

    let again = open(crashed.path());
    assert_eq!(again.lost(), 1);
    let records = all(&again);
    assert_eq!(records["ended"].outcome, Outcome::Answered);
    let lost = &records["cut-off"];
    assert_eq!((lost.outcome, lost.ended_by, lost.sip_code), (Outcome::Lost, None, 200));
    assert_eq!(lost.talk_ms, lost.ended.0 - lost.answered.unwrap().0);
    assert_eq!((&*lost.dialled, lost.legs.len()), ("+12015550101", 1));
    assert_eq!((lost.recording.as_deref(), &lost.voicemail), (Some("cut-off"), &None));
    drop(again);
    assert_eq!(open(crashed.path()).lost(), 0);
}

#[test]
fn r12_a_start_and_a_record_reach_the_disk_soon_without_being_asked() {
    let folder = fast_folder();
    let store = open(folder.path());
    assert!(store.recorder().reserve());
    store.recorder().started(Box::new(entry("long")));
    let journal = folder.path().join("calls.journal");
    let handed = Instant::now();
    wait_until(|| std::fs::read_to_string(&journal).unwrap().contains("\"long\""));
    // Not asserted to the millisecond: the machine may be busy with something else.
    assert!(handed.elapsed() < Duration::from_secs(2), "{:?}", handed.elapsed());
    store.recorder().ended(Box::new(cdr("long", NOON)));
    wait_until(|| store.reader().end() != Cursor::default());
    wait_until(|| store.recorder().slots().taken() == 0);
}

#[test]
fn torn_files_lose_no_whole_record_and_no_journalled_call_wherever_they_tear() {
    let folder = fast_folder();
    let store = open(folder.path());
    for id in ["live 1", "live 2", "ended"] {
        assert!(store.recorder().reserve());
        store.recorder().started(Box::new(entry(id)));
        assert!(store.flush(PATIENCE));
    }
    store.recorder().call("short", NOON);
    store.recorder().ended(Box::new(cdr("ended", NOON)));
    assert!(store.flush(PATIENCE));
    let (journal, cdrs) = (PathBuf::from("calls.journal"), PathBuf::from("cdr/2026-11-01.jsonl"));

    for file in [&journal, &cdrs] {
        let bytes = std::fs::read(folder.path().join(file)).unwrap();
        for length in 0..bytes.len() {
            let torn = fast_folder();
            copy(folder.path(), torn.path());
            let mut left = bytes[..length].to_vec();
            // A power cut may leave zeros where the rest was to be.
            left.resize(length + length % 3 * 100, 0);
            std::fs::write(torn.path().join(file), &left).unwrap();
            let lines = bytes[..length].iter().filter(|byte| **byte == b'\n').count();
            let again = open(torn.path());
            let records = all(&again);
            let what = format!("{} cut at {length}", file.display());
            if file == &cdrs {
                assert!(["live 1", "live 2", "ended"].iter().all(|id| records.contains_key(*id)), "{what}");
                assert_eq!(records.contains_key("short"), lines > 0, "{what}");
                let kept = records["ended"].outcome == Outcome::Answered;
                assert_eq!(kept, lines > 1, "{what}");
            } else {
                assert_eq!(records["short"].outcome, Outcome::Answered, "{what}");
                assert_eq!(records["ended"].outcome, Outcome::Answered, "{what}");
                // A line that lacks nothing but its end is whole.
                let whole = |line| lines > line || bytes.get(length) == Some(&b'\n') && lines == line;
                if length % 3 == 0 {
                    assert_eq!(records.contains_key("live 1"), whole(1), "{what}");
                    assert_eq!(records.contains_key("live 2"), whole(2), "{what}");
                } else {
                    assert!(records.contains_key("live 1") || lines <= 1, "{what}");
                }
            }
            // What was mended takes records again.
            if length % 16 < 2 {
                again.recorder().call("after", NOON);
                assert!(again.flush(PATIENCE));
                assert!(all(&again).contains_key("after"), "{what}");
            }
        }
    }
}

#[test]
fn a_full_disk_keeps_the_records_in_memory_stops_admission_and_recovers() {
    let folder = fast_folder();
    let volume = Arc::new(Weak::default());
    let store = open_on(folder.path(), volume.clone(), 4);
    assert!(store.recorder().reserve());
    store.recorder().started(Box::new(entry("before")));
    assert!(store.flush(PATIENCE));

    volume.full.store(true, Ordering::SeqCst);
    for id in ["1", "2", "3"] {
        store.recorder().call(id, NOON);
    }
    store.recorder().ended(Box::new(cdr("before", NOON)));
    assert!(!store.flush(Duration::from_millis(50)));
    assert!(!store.recorder().reserve() && !store.is_ready());
    assert!(store.reader().page(Cursor::default(), 10).unwrap().lines.is_empty());

    volume.full.store(false, Ordering::SeqCst);
    assert!(store.flush(PATIENCE));
    assert!(store.is_ready());
    assert_eq!(all(&store).len(), 4);
    drop(store);
    let again = open(folder.path());
    assert_eq!((again.lost(), all(&again).len()), (0, 4));
}

#[test]
fn a_store_that_closes_writes_what_waits() {
    let folder = fast_folder();
    let store = open(folder.path());
    for n in 0..100 {
        store.recorder().call(&n.to_string(), NOON);
    }
    drop(store);
    assert_eq!(all(&open(folder.path())).len(), 100);
}

#[test]
fn the_journal_stays_short_and_keeps_the_calls_that_live() {
    let folder = fast_folder();
    let store = open(folder.path());
    let padded = |id: &str| {
        let mut entry = entry(id);
        entry.caller = Some("x".repeat(60_000).into());
        Box::new(entry)
    };
    for n in 0..400 {
        let id = n.to_string();
        assert!(store.recorder().reserve());
        store.recorder().started(padded(&id));
        if n % 10 == 9 {
            assert!(store.flush(PATIENCE));
        }
        if n >= 20 {
            store.recorder().ended(Box::new(cdr(&(n - 20).to_string(), NOON)));
        }
    }
    assert!(store.flush(PATIENCE));
    let length = folder.path().join("calls.journal").metadata().unwrap().len();
    assert!(length < 10 << 20, "{length} bytes");
    let crashed = fast_folder();
    copy(folder.path(), crashed.path());
    let again = open(crashed.path());
    let lost = all(&again).values().filter(|cdr| cdr.outcome == Outcome::Lost).count();
    assert_eq!((lost, again.lost()), (20, 20));
}

/// What the writer that will be killed is told its folder by.
const KILLED: &str = "STROWGER_TEST_STORE";

/// Not a test of its own: the process that `r12_a_killed_node_…` kills.
#[test]
fn the_writer_that_will_be_killed() {
    let Some(folder) = std::env::var_os(KILLED) else { return };
    let store = Store::open(Path::new(&folder), Settings::new("edge-1", 0)).unwrap();
    println!("@open {}", store.lost());
    let recorder = store.recorder();
    let me = std::process::id();
    let mut cursor = store.reader().end();
    for n in 0_u64.. {
        let id = format!("{me}-{n}");
        assert!(recorder.reserve());
        recorder.started(Box::new(entry(&id)));
        println!("@start {id}");
        // One in three ends at once, one a good while later, one never.
        if n % 3 == 0 {
            recorder.ended(Box::new(cdr(&id, NOON)));
        } else if n > 300 && n % 3 == 1 {
            recorder.ended(Box::new(cdr(&format!("{me}-{}", n - 300), NOON)));
        }
        let page = store.reader().page(cursor, 1000).unwrap();
        for line in &page.lines {
            println!("@record {}", id_of(line));
        }
        cursor = page.next;
        std::thread::park_timeout(Duration::from_millis(1));
    }
}

#[test]
fn r12_a_killed_node_loses_no_record_it_showed_and_no_call_it_journalled() {
    let seed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64;
    println!("seed {seed}");
    let mut draw = seed | 1;
    let folder = tempfile::tempdir().unwrap();
    // Each by its id, and whether it was shown as a record.
    let mut told: HashMap<String, bool> = HashMap::new();
    for round in 0..4 {
        draw ^= draw << 13;
        draw ^= draw >> 7;
        draw ^= draw << 17;
        let life = Duration::from_millis(draw % 1_000);
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "the_writer_that_will_be_killed", "--nocapture"])
            .env(KILLED, folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let opened = lines.by_ref().map_while(Result::ok).find(|line| line.contains("@open"));
        assert!(opened.is_some(), "seed {seed}, round {round}: the writer did not open its store");
        let born = Instant::now();
        let reading = std::thread::spawn(move || {
            let split = |line: String| {
                let (what, id) = line[line.find('@')?..].split_once(' ')?;
                Some((what == "@record", id.to_owned(), Instant::now()))
            };
            lines.map_while(Result::ok).filter_map(split).collect::<Vec<_>>()
        });
        while born.elapsed() < life {
            std::thread::park_timeout(life.saturating_sub(born.elapsed()));
        }
        let killed = Instant::now();
        child.kill().unwrap();
        child.wait().unwrap();
        for (record, id, at) in reading.join().unwrap() {
            // Twice the rule's bound for a start: this machine may be busy.
            if record || at + Duration::from_millis(400) < killed {
                let shown = told.entry(id).or_default();
                *shown |= record;
            }
        }
    }
    let records = all(&open(folder.path()));
    for (id, shown) in &told {
        let record = records.get(id);
        assert!(record.is_some(), "seed {seed}: {id} is gone");
        let lost = record.is_some_and(|record| record.outcome == Outcome::Lost);
        assert!(!shown || !lost, "seed {seed}: {id} was shown as a record and is now lost");
    }
}

fn open(path: &Path) -> Store {
    Store::open(path, Settings::new("edge-1", 0)).unwrap()
}

fn open_on(path: &Path, volume: Arc<dyn Volume>, slots: u32) -> Store {
    Store::open(path, Settings { volume, slots, ..Settings::new("edge-1", 0) }).unwrap()
}

trait Calls {
    fn call(&self, id: &str, ended: u64);
}

impl Calls for Recorder {
    /// A call that is admitted, never answered, and ends.
    fn call(&self, id: &str, ended: u64) {
        assert!(self.reserve());
        self.ended(Box::new(cdr(id, ended)));
    }
}

/// Every record, by its id; each may be there once.
fn all(store: &Store) -> BTreeMap<String, Cdr> {
    let mut records = BTreeMap::new();
    let mut cursor = Cursor::default();
    loop {
        let page = store.reader().page(cursor, 100).unwrap();
        if page.lines.is_empty() {
            return records;
        }
        for line in &page.lines {
            let cdr: Cdr = serde_json::from_str(line).unwrap();
            let twice = records.insert(cdr.id.to_string(), cdr);
            assert!(twice.is_none(), "twice: {line}");
        }
        cursor = page.next;
    }
}

fn id_of(line: &str) -> String {
    serde_json::from_str::<Cdr>(line).unwrap().id.into()
}

fn ids_in(file: &Path) -> Vec<String> {
    std::fs::read_to_string(file).unwrap().lines().map(id_of).collect()
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.metadata().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// A disk that counts its syncs and can be full: half of a write gets through then.
#[derive(Default)]
struct Weak {
    full: Arc<AtomicBool>,
    syncs: Arc<AtomicU32>,
}

struct WeakLog {
    log: Box<dyn Log>,
    full: Arc<AtomicBool>,
    syncs: Arc<AtomicU32>,
}

impl Volume for Weak {
    fn open(&self, path: &Path) -> io::Result<Box<dyn Log>> {
        let log = Disk.open(path)?;
        Ok(Box::new(WeakLog { log, full: self.full.clone(), syncs: self.syncs.clone() }))
    }
}

impl Log for WeakLog {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if self.full.load(Ordering::SeqCst) {
            self.log.write_at(offset, &bytes[..bytes.len() / 2])?;
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.log.write_at(offset, bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.syncs.fetch_add(1, Ordering::Relaxed);
        self.log.sync()
    }
}
