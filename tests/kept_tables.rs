//! Files of numbers that did not change since they were read are taken from what is served.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use strowger::config::{Config, Finding, Loaded, Progress, Reading};

const NODE: &str = "[[listen]]\ntransport = \"udp\"\naddr = \"127.0.0.1:5060\"\n";
const REST: &str = "[[agent]]\nname = \"alice\"\n";
const HEADER: &str = "label,did,ring,forward_to\n";

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("routing")).unwrap();
    fs::write(folder.path().join("strowger.toml"), NODE).unwrap();
    write(folder.path(), "agents.toml", REST);
    folder
}

fn write(folder: &Path, name: &str, text: &str) {
    fs::write(folder.join("routing").join(name), text).unwrap();
}

/// Long after all files were last changed.
fn later() -> SystemTime {
    SystemTime::now() + Duration::from_secs(60)
}

fn load(folder: &Path, after: Option<&Config>, now: SystemTime) -> Result<Loaded, Vec<Finding>> {
    let reading = Reading::of(folder, &|_| None).threads(2).now(now);
    match after {
        Some(served) => reading.after(served),
        None => reading,
    }
    .load(&mut |_| {})
}

/// How many tables were read and taken, and the numbers as they stand in the files.
fn seen(loaded: &Loaded) -> (usize, usize, Vec<String>) {
    let config = &loaded.config;
    let of = |place| config.files.at(place);
    let number = |number: strowger::config::Listed<'_>| {
        let written = number.written();
        let forward = written.keys.forward_to.map(|at| (of(at.place), at.value));
        let ring = written
            .keys
            .ring
            .map(|ring| (of(ring.place), ring.iter().map(|name| of(name.place)).collect::<Vec<_>>()));
        let label = written.keys.label.map(|label| (of(label.place), label.value));
        format!("{} {} {label:?} {forward:?} {ring:?}", of(written.did.place), written.did.value)
    };
    (loaded.read, loaded.taken, config.numbers.iter().map(number).collect())
}

fn rows(from: u32, count: u32) -> String {
    let row = |n: u32| format!("Label {n},+1201{n:07},alice,+1212{n:07}\n");
    (from..from + count).map(row).fold(HEADER.to_owned(), |all, row| all + &row)
}

#[test]
fn tables_that_did_not_change_are_not_read_again_whatever_else_does() {
    let folder = folder();
    write(folder.path(), "b.csv", &rows(100, 7));
    write(
        folder.path(),
        "d.csv",
        &(rows(200, 5) + "Own,+12015550177,alice,\n\"Quoted\",+12015550178,,+12125550178\n"),
    );
    let first = load(folder.path(), None, later()).unwrap();
    assert_eq!((first.read, first.taken), (2, 0));

    // Before, between and behind them; all of theirs gets another number.
    write(folder.path(), "a.csv", &rows(300, 3));
    write(folder.path(), "c.toml", "[[number]]\ndid = \"+12015550199\"\nring = [\"alice\"]\n");
    write(folder.path(), "e.csv", &rows(400, 2));
    let second = load(folder.path(), Some(&first.config), later()).unwrap();
    let anew = load(folder.path(), None, later()).unwrap();
    assert_eq!((second.read, second.taken), (2, 2));
    assert_eq!(seen(&second).2, seen(&anew).2);
    assert_eq!(second.config.numbers.sets().len(), anew.config.numbers.sets().len());

    // What was taken once is taken again, and from another place.
    fs::remove_file(folder.path().join("routing/a.csv")).unwrap();
    let third = load(folder.path(), Some(&second.config), later()).unwrap();
    let anew = load(folder.path(), None, later()).unwrap();
    assert_eq!((third.read, third.taken), (0, 4), "the numbers of c.toml too");
    assert_eq!(seen(&third).2, seen(&anew).2);
}

#[test]
fn a_table_of_another_content_is_read_though_its_length_and_time_are_set_back() {
    let folder = folder();
    let path = folder.path().join("routing/b.csv");
    fs::write(&path, rows(100, 7)).unwrap();
    let first = load(folder.path(), None, later()).unwrap();
    let was = fs::metadata(&path).unwrap();
    // The system counts by some milliseconds.
    while fs::metadata(&path).unwrap().ctime_nsec() == was.ctime_nsec() {
        fs::write(&path, rows(200, 7)).unwrap();
        File::options().write(true).open(&path).unwrap().set_modified(was.modified().unwrap()).unwrap();
    }
    let is = fs::metadata(&path).unwrap();
    assert_eq!((is.len(), is.modified().unwrap(), is.ino()), (was.len(), was.modified().unwrap(), was.ino()));
    let second = load(folder.path(), Some(&first.config), later()).unwrap();
    assert_eq!((second.read, second.taken), (1, 0));
    assert_eq!(seen(&second).2, seen(&load(folder.path(), None, later()).unwrap()).2);
}

#[test]
fn a_table_that_another_takes_the_place_of_is_read() {
    let folder = folder();
    let path = folder.path().join("routing/b.csv");
    fs::write(&path, rows(100, 7)).unwrap();
    let first = load(folder.path(), None, later()).unwrap();
    let was = fs::metadata(&path).unwrap();
    let other = folder.path().join("other");
    fs::write(&other, rows(200, 7)).unwrap();
    File::options().write(true).open(&other).unwrap().set_modified(was.modified().unwrap()).unwrap();
    fs::rename(&other, &path).unwrap();
    let second = load(folder.path(), Some(&first.config), later()).unwrap();
    assert_eq!((second.read, second.taken), (1, 0));
}

/// It may change once more within what its time counts by.
#[test]
fn a_table_that_changed_just_before_it_was_read_is_read_again() {
    let folder = folder();
    let path = folder.path().join("routing/b.csv");
    fs::write(&path, rows(100, 7)).unwrap();
    let about = fs::metadata(&path).unwrap();
    let changed = SystemTime::UNIX_EPOCH
        + Duration::new(about.ctime().try_into().unwrap(), about.ctime_nsec().try_into().unwrap());
    let before = [Duration::ZERO, Duration::from_millis(1999)].map(|age| changed + age);
    // A clock that was set back tells nothing.
    for now in before.into_iter().chain([changed - Duration::from_secs(9)]) {
        let first = load(folder.path(), None, now).unwrap();
        let second = load(folder.path(), Some(&first.config), later()).unwrap();
        assert_eq!((second.read, second.taken), (1, 0));
    }
    let first = load(folder.path(), None, changed + Duration::from_secs(2)).unwrap();
    let second = load(folder.path(), Some(&first.config), later()).unwrap();
    assert_eq!((second.read, second.taken), (0, 1));
}

#[test]
fn a_table_that_changes_while_it_is_read_is_read_again() {
    let folder = folder();
    let path = folder.path().join("routing/b.csv");
    fs::write(&path, rows(0, 150_000)).unwrap();
    let mut is_changed = false;
    let mut told = |_: Progress| {
        if !std::mem::replace(&mut is_changed, true) {
            fs::write(&path, rows(0, 150_001)).unwrap();
        }
    };
    let first = Reading::of(folder.path(), &|_| None).threads(1).now(later()).load(&mut told).unwrap();
    let second = load(folder.path(), Some(&first.config), later()).unwrap();
    assert_eq!((is_changed, second.read, second.taken), (true, 1, 0));
    let third = load(folder.path(), Some(&second.config), later()).unwrap();
    assert_eq!((third.read, third.taken), (0, 1));
}

#[test]
fn a_table_of_which_something_was_said_is_read_again_and_the_same_is_said() {
    let folder = folder();
    write(folder.path(), "b.csv", "label,did,ring,pool\nOne,+12015550101,alice,website\n");
    write(folder.path(), "c.csv", &rows(100, 3));
    write(
        folder.path(),
        "c.toml",
        "[[pool]]\nname = \"website\"\nkey = \"pk\"\ndefault_number = \"+12015550101\"\n",
    );
    let first = load(folder.path(), None, later()).unwrap();
    assert!(first.warnings.iter().any(|warning| warning.file.ends_with("b.csv")), "{:?}", first.warnings);
    let second = load(folder.path(), Some(&first.config), later()).unwrap();
    assert_eq!((second.read, second.taken), (1, 1));
    assert_eq!(second.warnings, first.warnings);
}

#[test]
fn a_mistake_that_others_make_of_an_unchanged_table_is_told_at_its_place() {
    let folder = folder();
    write(folder.path(), "b.csv", &rows(100, 4));
    let first = load(folder.path(), None, later()).unwrap();
    write(folder.path(), "a.csv", &rows(102, 1));
    write(folder.path(), "agents.toml", "[[agent]]\nname = \"bob\"\n");
    let told = |after| load(folder.path(), after, later()).unwrap_err();
    let (taken, anew) = (told(Some(&first.config)), told(None));
    assert_eq!(taken, anew);
    let said = taken.iter().map(|error| (error.file.rsplit('/').next().unwrap(), error.line, error.column));
    let twice = ("b.csv", 4, 11);
    assert!(said.clone().any(|place| place == twice), "{taken:?}");
    let unknown: Vec<_> = said.filter(|place| *place != twice).collect();
    assert_eq!(
        unknown,
        [("a.csv", 2, 24), ("b.csv", 2, 24), ("b.csv", 3, 24), ("b.csv", 4, 24), ("b.csv", 5, 24)]
    );
}

#[test]
fn a_toml_file_of_numbers_alone_that_did_not_change_is_taken_and_any_other_is_read() {
    let number = |did: &str| {
        format!(
            "[[number]]\ndid = \"{did}\"\nlabel = \"Own\"\nring = [\"alice\"]\n\
             overflow = [{{ ring = [\"alice\"], timeout = 15 }}]\n"
        )
    };
    let folder = folder();
    write(folder.path(), "a.toml", &(number("+12015550101") + &number("+12015550102")));
    write(folder.path(), "b.toml", &(number("+12015550103") + "[defaults]\ntimeout = 31\n"));
    // Worth a word, which is to be heard again.
    write(folder.path(), "c.toml", "[[number]]\ndid = \"+12015550104\"\nforward_to = \"+12125550104\"\n");
    write(folder.path(), "d.toml", &number("+1201556*"));
    let first = load(folder.path(), None, later()).unwrap();
    assert_eq!((first.read, first.taken), (0, 0));

    fs::remove_file(folder.path().join("routing/agents.toml")).unwrap();
    write(folder.path(), "zz.toml", REST);
    let second = load(folder.path(), Some(&first.config), later()).unwrap();
    let anew = load(folder.path(), None, later()).unwrap();
    assert_eq!(second.taken, 3, "a, c and d");
    assert_eq!(seen(&second).2, seen(&anew).2);
    assert_eq!(second.config.defaults.timeout.map(|at| at.value), Some(31));
    assert_eq!(second.warnings, anew.warnings);

    // And where it is as it was but for one number.
    write(folder.path(), "a.toml", &(number("+12015550101") + &number("+12015550105")));
    let third = load(folder.path(), Some(&second.config), later()).unwrap();
    assert_eq!(third.taken, 2);
    let dids: Vec<String> =
        third.config.numbers.iter().map(|number| number.did().value.to_string()).collect();
    assert_eq!(dids, ["+12015550101", "+12015550105", "+12015550103", "+12015550104", "+1201556*"]);
}
