//! Generations on a whole node, as far as they cannot be seen from outside.

use std::cell::Cell;
use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use super::operations::Front;
use super::reading::{LOOK, Steady, Time, mistakes, steadily};
use super::{Env, Running};
use crate::admin::operations::{
    Condition, Finding, GenerationLine, NotPublished, Operations, Published, Versions, Wish,
};
use crate::config;
use crate::number::E164;

const ONE: &str = "+12015550001";
const TWO: &str = "+12015550002";

struct Node {
    running: Option<Running>,
    front: Option<Arc<Front>>,
    folder: tempfile::TempDir,
}

/// What happens whenever a file that asks for a password is read.
type Meanwhile = Arc<Mutex<Box<dyn FnMut(&Path) + Send>>>;

fn nothing() -> Meanwhile {
    Arc::new(Mutex::new(Box::new(|_| {})))
}

/// A number in a file that is read before one that asks for a password, and one in a file that is read after it.
fn node(meanwhile: &Meanwhile) -> Node {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("routing")).unwrap();
    let node = format!("[node]\ndata_dir = {:?}\n", folder.path().join("data"));
    let node = node + "[[listen]]\ntransport = \"udp\"\naddr = \"127.0.0.1:0\"\n";
    std::fs::write(folder.path().join("strowger.toml"), node).unwrap();
    writes(folder.path(), "first");
    let agent = "[[agent]]\nname = \"alice\"\npassword_env = \"ALICE\"\n";
    std::fs::write(folder.path().join("routing/b.toml"), agent).unwrap();
    let running = started(folder.path(), meanwhile);
    let front = Arc::clone(&running.front);
    Node { running: Some(running), front: Some(front), folder }
}

fn env(meanwhile: &Meanwhile, folder: &Path) -> Env {
    let (meanwhile, of) = (Arc::clone(meanwhile), folder.to_owned());
    Arc::new(move |name| {
        if name == "ALICE" {
            (meanwhile.lock().unwrap())(&of);
        }
        Some("swordfish".to_owned())
    })
}

fn started(folder: &Path, meanwhile: &Meanwhile) -> Running {
    Running::start(folder, env(meanwhile, folder)).unwrap()
}

/// Both files of numbers, which belong together.
fn writes(folder: &Path, label: &str) {
    for (file, did) in [("a", ONE), ("c", TWO)] {
        let text = format!("[[number]]\ndid = \"{did}\"\nlabel = \"{label}\"\n");
        std::fs::write(folder.join(format!("routing/{file}.toml")), text).unwrap();
    }
}

impl Node {
    fn front(&self) -> &Arc<Front> {
        self.front.as_ref().unwrap()
    }

    fn running(&self) -> &Running {
        self.running.as_ref().unwrap()
    }

    fn labels(&self) -> [String; 2] {
        let table = self.front().publisher.table();
        let label = |did| table.number(E164::parse_e164(did).unwrap()).unwrap().label().to_owned();
        [ONE, TWO].map(label)
    }

    fn sets(&self, did: &str, label: &str) {
        let any = self.front().number(did).ok().map(|_| Versions::Any);
        let condition = Condition { if_match: any, if_none_match: None };
        let wish = Wish::Put(format!("{{\"label\": \"{label}\"}}"));
        self.running().block_on(async { self.front().change(did, wish, condition, "me").await.unwrap() });
    }

    fn reload(&self) -> Result<Published, NotPublished> {
        self.running().block_on(async { self.front().reload(false, "me").await })
    }

    fn roll_back(&self, to: Option<u64>) -> Result<Published, NotPublished> {
        self.running().block_on(async { self.front().roll_back(to, false, "me").await })
    }

    fn remembers(&self, lines: u64) {
        self.front().publisher.state().ledger.remembers(lines, 16, 1_000_000);
    }

    /// The list, the latest first.
    fn lines(&self) -> Vec<GenerationLine> {
        self.front().generations(None, 10_000).unwrap()
    }

    fn served(&self) -> u64 {
        self.front().publisher.table().generation
    }

    fn restarts(&mut self, meanwhile: &Meanwhile) {
        drop(self.front.take());
        self.running.take().unwrap().stop();
        let running = started(self.folder.path(), meanwhile);
        self.front = Some(Arc::clone(&running.front));
        self.running = Some(running);
    }

    fn copies(&self) -> usize {
        std::fs::read_dir(self.folder.path().join("data/generations")).unwrap().count()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        drop(self.front.take());
        if let Some(running) = self.running.take() {
            running.stop();
        }
    }
}

fn two(label: &str) -> [String; 2] {
    [label, label].map(str::to_owned)
}

#[test]
fn a_reload_is_taken_back_however_many_numbers_were_set_since() {
    let node = node(&nothing());
    node.remembers(20);
    node.sets(ONE, "early");
    writes(node.folder.path(), "bad");
    assert_eq!(node.reload().unwrap().generation, 3);
    assert_eq!(node.labels(), ["early", "bad"].map(str::to_owned));
    (0..60).for_each(|n| node.sets(&format!("+1201555{:04}", 100 + n % 30), &n.to_string()));
    let dids = node.lines().iter().map(|line| line.generation).collect::<Vec<_>>();
    assert_eq!(dids[20..], [3, 1], "the newest twenty, and all that was read from files: {dids:?}");
    // What numbers were set to then is known exactly.
    let back = node.roll_back(Some(2)).unwrap();
    assert_eq!((back.removed, back.changed), (30, 1), "{back:?}");
    assert_eq!(node.labels(), ["early", "first"].map(str::to_owned));
    let back = node.roll_back(Some(1)).unwrap();
    assert_eq!((back.removed, back.changed), (0, 1), "{back:?}");
    assert_eq!(node.labels(), two("first"));
}

#[test]
fn a_generation_that_is_not_known_exactly_is_refused_with_those_that_are() {
    let node = node(&nothing());
    node.remembers(20);
    (0..60).for_each(|n| node.sets(&format!("+1201555{:04}", 100 + n % 30), &n.to_string()));
    assert_eq!(node.served(), 61);
    for (to, had) in [(2, false), (40, false), (41, true), (60, true), (61, false), (99, false), (0, false)] {
        match node.running().block_on(async { node.front().roll_back(Some(to), true, "me").await }) {
            Ok(_) => assert!(had, "{to}"),
            Err(NotPublished::NoSuch(why)) => {
                let said =
                    format!("generation {to} cannot be had; what can be rolled back to is 1, 41 to 60");
                assert!(!had && why.starts_with(&said), "{why}");
            }
            Err(why) => panic!("{why:?}"),
        }
    }
    let can = |line: &GenerationLine| line.can_roll_back;
    let lines = node.lines();
    assert!(!can(&lines[0]) && lines[1..].iter().all(can), "{lines:?}");
    // The last one alone is taken back without a number.
    let before = node.front().number("+12015550128").unwrap();
    node.sets("+12015550128", "other");
    node.roll_back(None).unwrap();
    assert_eq!(
        node.front().number("+12015550128").unwrap().json.contains("\"58\""),
        before.json.contains("\"58\"")
    );
    assert!(before.json.contains("\"58\""), "{}", before.json);
}

#[test]
fn the_generation_just_before_the_oldest_that_is_remembered_can_be_had_too() {
    let node = node(&nothing());
    for n in 0..20 {
        node.sets(&format!("+12015551{n:03}"), "set");
        writes(node.folder.path(), &n.to_string());
        node.reload().unwrap();
    }
    // Of 3, 5 … 41 the last sixteen, from 11 on, and what was set before it.
    let had = node.lines().into_iter().filter(|line| line.can_roll_back).map(|line| line.generation);
    assert_eq!(had.collect::<Vec<_>>(), (10..=40).rev().collect::<Vec<_>>());
    node.roll_back(Some(10)).unwrap();
    assert_eq!(node.labels(), two("3"));
    assert!(node.front().number("+12015551004").is_ok() && node.front().number("+12015551005").is_err());
}

#[test]
fn what_is_served_already_has_no_yes_and_a_refusal_says_what_can_be_had() {
    let node = node(&nothing());
    let had = || node.lines().into_iter().filter(|line| line.can_roll_back).map(|line| line.generation);
    for label in ["second", "third"] {
        writes(node.folder.path(), label);
        node.reload().unwrap();
    }
    node.roll_back(Some(2)).unwrap();
    assert_eq!(had().collect::<Vec<_>>(), [3, 1]);
    let refused = node.roll_back(Some(2));
    let Err(NotPublished::Nothing(why)) = refused else { panic!("{refused:?}") };
    assert!(why.contains("are those that are served") && why.contains("is 1, 3 ("), "{why}");
    // What is set to what it was is nothing that could be taken back.
    node.sets("+12015550100", "same");
    node.sets("+12015550100", "same");
    assert_eq!(had().collect::<Vec<_>>(), [4, 3, 2, 1]);
    node.roll_back(None).unwrap();
    assert!(node.front().number("+12015550100").is_err());
    // Set and taken back: it says so.
    let refused = node.roll_back(Some(4));
    let Err(NotPublished::Nothing(why)) = refused else { panic!("{refused:?}") };
    assert!(why.contains("are those that are served") && why.contains("is 1 to 3, 5 to 6 ("), "{why}");
}

#[test]
fn what_a_start_keeps_is_what_it_read_though_the_files_change_as_soon_as_it_has() {
    let (count, meanwhile) = (Arc::new(AtomicUsize::new(0)), nothing());
    let node = node(&meanwhile);
    let counts = Arc::clone(&count);
    // Once while a start reads: it reads again, and so has all of it.
    let begin: Box<dyn FnMut(&Path) + Send> = Box::new(move |folder| {
        if counts.fetch_add(1, SeqCst) == 0 {
            writes(folder, "second");
        }
    });
    *meanwhile.lock().unwrap() = begin;
    let mut node = node;
    node.restarts(&meanwhile);
    assert_eq!((node.labels(), count.load(SeqCst)), (two("second"), 2));
    writes(node.folder.path(), "third");
    node.reload().unwrap();
    node.roll_back(None).unwrap();
    assert_eq!(node.labels(), two("second"));
}

/// Each time: a start takes calls by what it read, but does not pretend to have kept it.
#[test]
fn a_start_whose_files_never_rest_serves_and_keeps_nothing() {
    let meanwhile = nothing();
    let mut node = node(&meanwhile);
    let mut nth = 0;
    let moving: Box<dyn FnMut(&Path) + Send> = Box::new(move |folder| {
        nth += 1;
        writes(folder, &format!("now {nth}"));
    });
    *meanwhile.lock().unwrap() = moving;
    node.restarts(&meanwhile);
    assert_eq!(node.labels(), ["now 2", "now 3"].map(str::to_owned));
    *meanwhile.lock().unwrap() = Box::new(|_| {});
    writes(node.folder.path(), "at rest");
    node.reload().unwrap();
    let refused = node.roll_back(Some(2));
    let Err(NotPublished::NoSuch(why)) = refused else { panic!("{refused:?}") };
    assert!(why.contains("were not kept; what can be rolled back to is 1 ("), "{why}");
    node.roll_back(Some(1)).unwrap();
    assert_eq!(node.labels(), two("first"));
}

#[test]
fn files_that_change_while_a_reload_reads_them_are_read_again_and_then_refused() {
    let meanwhile = nothing();
    let node = node(&meanwhile);
    writes(node.folder.path(), "second");
    let mut nth = 0;
    *meanwhile.lock().unwrap() = Box::new(move |folder: &Path| {
        nth += 1;
        if nth < 3 {
            writes(folder, &format!("now {nth}"));
        }
    });
    node.reload().unwrap();
    assert_eq!(node.labels(), two("now 2"));
    let mut nth = 10;
    *meanwhile.lock().unwrap() = Box::new(move |folder: &Path| {
        nth += 1;
        writes(folder, &format!("now {nth}"));
    });
    let refused = node.reload();
    let Err(NotPublished::Wrong(errors)) = refused else { panic!("{refused:?}") };
    let [Finding { file, message, .. }] = &errors[..] else { panic!("{errors:?}") };
    assert!(file.ends_with("routing/a.toml") && message.contains("changed while it was read"), "{errors:?}");
    assert_eq!((node.labels(), node.served()), (two("now 2"), 2));
}

#[test]
fn a_file_that_came_or_went_meanwhile_has_changed_too() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("routing")).unwrap();
    std::fs::write(folder.path().join("strowger.toml"), "").unwrap();
    let file = folder.path().join("routing/new.csv");
    let tried = |meanwhile: &dyn Fn(usize)| {
        let mut tries = 0;
        let time = Passing { began: SystemTime::now() + LATER, moments: Cell::new(0), pass: &|_| {} };
        let steady = steadily(folder.path(), &time, || {
            tries += 1;
            meanwhile(tries);
            config::load(folder.path(), &|_| None)
        });
        (tries, steady.moved)
    };
    assert_eq!(tried(&|_| {}), (1, None));
    assert_eq!(tried(&|tries| drop((tries == 1).then(|| std::fs::write(&file, "did\n")))), (2, None));
    let turns = |tries: usize| match tries % 2 {
        1 => std::fs::remove_file(&file).unwrap(),
        _ => std::fs::write(&file, "did\n").unwrap(),
    };
    assert_eq!(tried(&turns), (3, Some(file.clone())));
}

/// Time that passes as it is told to.
struct Passing<'p> {
    began: SystemTime,
    moments: Cell<u32>,
    pass: &'p dyn Fn(u32),
}

/// When all that was written rests.
const LATER: Duration = Duration::from_secs(60);

impl Time for Passing<'_> {
    fn now(&self) -> SystemTime {
        self.began + LOOK * self.moments.get()
    }

    fn a_moment(&self) {
        self.moments.set(self.moments.get() + 1);
        (self.pass)(self.moments.get());
    }
}

/// A table, and what is written into it whenever a moment passes, and each time that it was read: how often it was read, how
/// many moments passed, and what was read. It is first read so long after it was written.
fn read_while(after: Duration, writes: impl Fn(u32) -> Option<&'static str>) -> (usize, u32, Steady) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("routing")).unwrap();
    std::fs::write(folder.path().join("strowger.toml"), "").unwrap();
    let (reads, written) = (Cell::new(0), Cell::new(0));
    let begun = SystemTime::now();
    let write_at = |now: u32, at: SystemTime| {
        let Some(text) = writes(now) else { return };
        written.set(written.get() + 1);
        // Of another length each time: the clock of files may tick too slowly to tell two.
        let text = format!("{text}{}", "5".repeat(written.get() % 2));
        let path = folder.path().join("routing/table.csv");
        std::fs::write(&path, text).unwrap();
        File::options().append(true).open(path).unwrap().set_modified(at).unwrap();
    };
    write_at(0, begun);
    let write = |now: u32| write_at(now, begun + after + LOOK * now);
    let time = Passing { began: begun + after, moments: Cell::new(0), pass: &write };
    let steady = steadily(folder.path(), &time, || {
        reads.set(reads.get() + 1);
        let read = config::load(folder.path(), &|_| None);
        write(time.moments.get());
        read
    });
    (reads.get(), time.moments.get(), steady)
}

/// The beginning of a table, cut in its second row.
const CUT: &str = "did,timeout\n+12015550001,20\n+1201";

#[test]
fn a_start_waits_until_files_that_changed_while_it_read_have_come_to_rest() {
    // Completed in the eighth moment; five more of rest follow.
    let (reads, moments, steady) = read_while(LATER, |now| match now {
        0..=7 => Some(CUT),
        8 => Some("did,timeout\n+12015550001,20\n+12015550002,20\n+12015550003,1"),
        _ => None,
    });
    assert_eq!((reads, moments, steady.moved), (2, 13, None));
    assert_eq!(steady.read.unwrap().config.numbers.len(), 3);
    // What was at rest when it was read waits for nothing.
    let (reads, moments, _) = read_while(LATER, |now| (now > 0).then_some(CUT));
    assert_eq!((reads, moments), (1, 0));
}

/// Whoever writes a table pauses while it is half there, for longer than a small one takes to be read.
#[test]
fn what_was_written_just_now_is_read_half_a_second_later() {
    let (half, whole) = ("did,timeout\n+12015550001,1", "did,timeout\n+12015550001,1\n+12015550002,1");
    let completed = |at: u32| move |now: u32| (now == 0).then_some(half).or((now == at).then_some(whole));
    let (reads, moments, steady) = read_while(Duration::ZERO, completed(4));
    assert_eq!((reads, moments, steady.read.unwrap().config.numbers.len()), (1, 9, 2));
    // That long is nobody waited for who did not say that there is more to come.
    let (reads, moments, steady) = read_while(Duration::ZERO, completed(6));
    assert_eq!((reads, moments, steady.read.unwrap().config.numbers.len()), (1, 5, 1));
    let (reads, moments, steady) = read_while(LOOK * 2, |now| (now == 0).then_some(whole));
    assert_eq!((reads, moments, steady.moved), (1, 3, None));
    // It is written all the time, and not once while it is read.
    let (_, moments, steady) = read_while(Duration::ZERO, |now| (now == 0 || now % 2 == 1).then_some(half));
    assert!(moments == 50 && steady.moved.unwrap().ends_with("routing/table.csv"));
}

/// Whoever writes it anew by removing it first has not done so yet.
#[test]
fn a_file_that_went_just_now_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("routing")).unwrap();
    std::fs::write(folder.path().join("strowger.toml"), "").unwrap();
    let back = |now: u32| {
        if now == 3 {
            std::fs::write(folder.path().join("routing/a.csv"), "did\n+12015550001\n").unwrap();
        }
    };
    let time = Passing { began: SystemTime::now(), moments: Cell::new(0), pass: &back };
    let steady = steadily(folder.path(), &time, || config::load(folder.path(), &|_| None));
    assert_eq!((steady.read.unwrap().config.numbers.len(), steady.moved), (1, None));
}

/// All of routing is moved away, and another into its place.
#[test]
fn a_start_waits_for_a_routing_that_is_away_for_a_moment() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("next")).unwrap();
    std::fs::write(folder.path().join("strowger.toml"), "").unwrap();
    std::fs::write(folder.path().join("next/a.csv"), "did\n+12015550001\n").unwrap();
    let began = SystemTime::now();
    for path in ["strowger.toml", "next/a.csv"] {
        File::options()
            .append(true)
            .open(folder.path().join(path))
            .unwrap()
            .set_modified(began - LATER)
            .unwrap();
    }
    let back = |now: u32| {
        if now == 3 {
            std::fs::rename(folder.path().join("next"), folder.path().join("routing")).unwrap();
        }
    };
    let time = Passing { began, moments: Cell::new(0), pass: &back };
    let steady = steadily(folder.path(), &time, || config::load(folder.path(), &|_| None));
    assert_eq!((steady.read.unwrap().config.numbers.len(), steady.moved), (1, None));
}

/// The only file of a folder is written anew by removing it first; and an editor's hidden file comes and goes all the time.
#[test]
fn a_folder_that_holds_no_file_just_now_is_waited_for_and_hidden_files_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let (sub, lock) = (folder.path().join("routing/a"), folder.path().join("routing/a/.lock"));
    std::fs::create_dir_all(&sub).unwrap();
    std::fs::write(folder.path().join("strowger.toml"), "").unwrap();
    // All that is above rests.
    let long_ago = SystemTime::now() - LATER;
    File::open(folder.path().join("routing")).unwrap().set_modified(long_ago).unwrap();
    File::open(folder.path().join("strowger.toml")).unwrap().set_modified(long_ago).unwrap();
    let began = SystemTime::now();
    let back = |now: u32| {
        match now {
            3 => std::fs::write(sub.join("a.csv"), "did\n+12015550001\n").unwrap(),
            4.. if now.is_multiple_of(2) => std::fs::write(&lock, "").unwrap(),
            5.. => std::fs::remove_file(&lock).unwrap(),
            _ => return,
        }
        File::open(&sub).unwrap().set_modified(began + LOOK * now).unwrap();
    };
    let time = Passing { began, moments: Cell::new(0), pass: &back };
    let steady = steadily(folder.path(), &time, || config::load(folder.path(), &|_| None));
    assert_eq!((steady.read.unwrap().config.numbers.len(), steady.moved), (1, None));
    // Five looks after the file came.
    assert_eq!(time.moments.get(), 8);
}

#[test]
fn a_start_waits_for_files_that_never_rest_for_five_seconds_and_no_more() {
    let (reads, moments, steady) = read_while(LATER, |_| Some(CUT));
    assert_eq!((reads, LOOK * moments), (2, Duration::from_secs(5)));
    let moved = steady.moved.unwrap();
    let told = mistakes(Some(&moved), steady.read.unwrap_err(), "start again");
    let [moving, cut, ..] = &told[..] else { panic!("{told:?}") };
    assert_eq!(moving.message, "it changed while it was read, or just before, and did not come to rest");
    assert_eq!(moving.remedy, "start again when whoever writes it is done");
    assert!(moving.file.ends_with("routing/table.csv") && cut.message.contains("half written"), "{told:?}");
    let many = vec![cut.clone(); config::MAX_FINDINGS];
    assert_eq!(mistakes(Some(&moved), many, "reload").len(), config::MAX_FINDINGS);
}

/// What is wrong may be so for that alone.
#[test]
fn mistakes_in_files_that_change_are_told_with_that_they_change() {
    let meanwhile = nothing();
    let mut node = node(&meanwhile);
    let mut nth = 0;
    *meanwhile.lock().unwrap() = Box::new(move |folder: &Path| {
        nth += 1;
        writes(folder, &format!("now {nth}"));
        std::fs::write(folder.join("routing/d.csv"), format!("did,timeout\n+1201555{nth}")).unwrap();
    });
    let refused = node.reload();
    let Err(NotPublished::Wrong(errors)) = refused else { panic!("{refused:?}") };
    let told: Vec<String> = errors.iter().map(ToString::to_string).collect();
    let are_told = |told: &[String], then: &str| {
        told[0].contains("it changed while it was read, or just before, and did not come to rest")
            && told[0].ends_with(&format!("; {then} when whoever writes it is done"))
            && told[1..].iter().any(|line| line.contains("d.csv:2:") && line.contains("half written"))
    };
    assert!(are_told(&told, "reload"), "{told:?}");
    drop(node.front.take());
    node.running.take().unwrap().stop();
    let refused = Running::start(node.folder.path(), env(&meanwhile, node.folder.path())).err().unwrap();
    let told: Vec<String> = refused.to_string().lines().map(str::to_owned).collect();
    assert!(are_told(&told, "start again"), "{told:?}");
}

#[test]
fn copies_of_what_is_not_published_are_not_made_or_do_not_stay() {
    let node = node(&nothing());
    let before = node.copies();
    for n in 0..4 {
        writes(node.folder.path(), &format!("dry {n}"));
        node.running().block_on(async { node.front().reload(true, "me").await.unwrap() });
        assert_eq!(node.copies(), before);
    }
    // One that checks, and then cannot be written down.
    node.front().publisher.state().ledger.has_room(Some(0));
    let by = "x".repeat(2_000);
    let refused = (0..400).find_map(|n| {
        writes(node.folder.path(), &format!("full {n}"));
        let before = node.copies();
        let done = node.running().block_on(async { node.front().reload(false, &by).await });
        done.err().map(|why| (why, before))
    });
    let Some((NotPublished::Unwritten(_), before)) = refused else { panic!("{refused:?}") };
    assert_eq!(node.copies(), before);
    node.front().publisher.state().ledger.has_room(None);
}
