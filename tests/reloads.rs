//! What a reload, and its dry run, tell of what they change, and of what they cannot.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use common::wait_until;
use nix::sys::signal::Signal;
use node::Place;
use serde_json::Value;
use strowger::config;

#[expect(dead_code, reason = "shared with tests that ask for more")]
mod common;
#[expect(dead_code, reason = "shared with tests that ask for more")]
#[path = "common/node.rs"]
mod node;
#[path = "common/sound.rs"]
mod sound;

const ALL: &str = "config/routing/all.toml";

/// A second agent, and a number that alice is not rung for.
fn place() -> Place {
    let place = Place::new();
    place.changes(ALL, |text| {
        text.to_owned()
            + "[[agent]]\nname = \"bob\"\ncontact = \"sip:bob@127.0.0.1:9\"\n\
               [[number]]\ndid = \"+12015550102\"\nring = [\"bob\"]\n"
    });
    place
}

/// What is printed, and the warnings.
fn done(place: &Place, args: &[&str]) -> (String, String) {
    let (code, out, err) = place.strowger(args);
    assert_eq!(code, 0, "{args:?}: {out}{err}");
    (out, err)
}

fn write(place: &Place, name: &str, text: &str) {
    std::fs::write(place.folder.path().join("config/routing").join(name), text).unwrap();
}

#[test]
fn a_dry_run_a_reload_and_a_rollback_name_sections_as_they_are_written() {
    let place = place();
    let _node = place.serve();
    place.changes(ALL, |text| format!("{text}[dial]\nallow = [\"+44\"]\n"));
    write(&place, "shown.toml", "[[caller_id]]\nnumber = \"+12015550142\"\n");
    for (args, counts, changes) in [
        (
            &["reload", "--dry-run"][..],
            "1 added, 1 changed",
            "  changed: [dial]\n  added: caller_id +12015550142\n",
        ),
        (&["reload"], "1 added, 1 changed", "  changed: [dial]\n  added: caller_id +12015550142\n"),
        (&["rollback"], "1 changed, 1 removed", "  changed: [dial]\n  removed: caller_id +12015550142\n"),
    ] {
        let (out, _) = done(&place, args);
        assert!(out.contains(counts) && out.contains(changes), "{args:?}: {out}");
    }
    let (list, _) = done(&place, &["generations"]);
    assert!(list.contains("the files: 1 added, 1 changed, 0 removed"), "{list}");
}

#[test]
fn warnings_of_a_reload_are_printed_told_over_http_and_logged() {
    let place = place();
    let _node = place.serve();
    write(&place, "z.csv", "did,ring\n+12015550301,bob");
    let said = "config/routing/z.csv:2:1: the last row has no line break: the file may have been cut";
    // A table as it was is warned of again.
    for args in [&["reload", "--dry-run"][..], &["reload"], &["reload"]] {
        let (_, err) = done(&place, args);
        assert!(err.contains(said), "{args:?}: {err}");
    }
    let (out, _) = done(&place, &["reload", "--json"]);
    let told: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (&told["warnings"][0]["line"], &told["warnings"][0]["column"]),
        (&2.into(), &1.into()),
        "{told:#}"
    );
    let is_logged = |line: &&str| line.contains("\"WARN\"") && line.contains(said);
    // A dry run is not logged.
    wait_until(|| place.log().lines().filter(is_logged).count() == 3);
}

#[test]
fn a_number_whose_file_says_in_vain_what_http_wins_over_is_warned_of_at_its_place() {
    let place = place();
    let _node = place.serve();
    done(&place, &["numbers", "set", "+12015550102", "timeout=22"]);
    done(&place, &["numbers", "unset", "--delete", "+12015550101"]);
    let warned = |args: &[&str]| {
        let (_, err) = done(&place, args);
        err.lines().filter(|line| line.contains("over HTTP")).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(warned(&["reload"]), [""; 0], "the files are as they were");
    place.changes(ALL, |text| text.replace("ring = [\"alice\"]", "ring = [\"alice\", \"bob\"]"));
    place.changes(ALL, |text| text.replace("+12015550102\"\n", "+12015550102\"\ntimeout = 15\n"));
    let lines = std::fs::read_to_string(place.folder.path().join(ALL)).unwrap();
    let line = |did: &str| lines.lines().position(|line| line.contains(did)).unwrap() + 1;
    let removed = format!("all.toml:{}:7: +12015550101: removed over HTTP by ", line("+12015550101"));
    let set = format!("all.toml:{}:7: +12015550102: set over HTTP by ", line("+12015550102"));
    for args in [["reload", "--dry-run"], ["reload", "--json"]] {
        let told = warned(&args);
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told[0].contains(&removed) && told[1].contains(&set), "{told:?}");
        let wins =
            "which wins over what the file says now; `strowger numbers unset +12015550102` lets the file say";
        assert!(told[1].ends_with(wins), "{told:?}");
    }
    assert_eq!(warned(&["reload"]), [""; 0], "it was said");
    // What files say is what is set, and no file names the other any more.
    place.changes(ALL, |text| text.replace("timeout = 15", "timeout = 22"));
    assert_eq!(warned(&["reload"]), [""; 0]);
    place.changes(ALL, |text| text.split("[[number]]\ndid = \"+12015550102\"").take(1).collect());
    let told = warned(&["reload"]);
    assert!(told.len() == 1 && told[0].contains("/v1/numbers/+12015550102:1:1: "), "{told:?}");
    assert!(told[0].contains("no file names it any more; `strowger numbers unset"), "{told:?}");
}

#[test]
fn a_sound_of_another_content_is_a_change_that_is_named() {
    let place = place();
    let sound = place.folder.path().join("config/routing/welcome.wav");
    sound::beep(&sound, 100);
    place.changes("config/strowger.toml", |node| format!("{node}[media]\naddr = \"127.0.0.1\"\n"));
    place.changes(ALL, |text| format!("{text}whisper = {{ file = \"welcome.wav\" }}\n"));
    let _node = place.serve();
    let changes = |args: &[&str]| {
        let (out, _) = done(&place, args);
        out.lines().skip(1).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(changes(&["reload"]), [""; 0]);
    sound::beep(&sound, 200);
    let said = ["  changed: sound config/routing/welcome.wav"];
    assert_eq!(changes(&["reload", "--dry-run"]), said);
    assert_eq!(changes(&["reload"]), said);
    assert_eq!(changes(&["reload"]), [""; 0]);
}

#[test]
fn more_mistakes_and_warnings_than_are_told_are_said_to_be_there() {
    let place = place();
    let _node = place.serve();
    let rows = |ring: &str| {
        (0..150).fold("did,ring\n".to_owned(), |all, n| all + &format!("+1201556{n:04},{ring}\n"))
    };
    write(&place, "z.csv", &rows(""));
    let (_, err) = done(&place, &["reload"]);
    assert!(err.contains("\nthese are the first 100 warnings: there may be more\n"), "{err}");
    write(&place, "z.csv", &rows("bobb"));
    let (code, out, err) = place.strowger(&["reload"]);
    let said = "what was served before still is; these are the first 100 mistakes: there may be more";
    assert!(code == 1 && err.contains(said), "{out}{err}");
}

#[test]
fn a_reload_counts_what_changes_and_names_what_waits_for_a_restart() {
    let diff =
        |old: &config::Config, new: &config::Config| config::diff(old, new, &config::Overlay::default());
    let load = |text: &str| config::parse(text, &|_| None).unwrap().config;
    let agents = "[[agent]]\nname = \"alice\"\n[[agent]]\nname = \"bob\"\n";
    let number = |did: &str, more: &str| format!("[[number]]\ndid = \"{did}\"\nprofile = \"day\"\n{more}\n");
    let profile = |ring: &str| format!("[[profile]]\nname = \"day\"\nring = [\"{ring}\"]\n");
    let text = |profile: String, numbers: &[String]| format!("{agents}{profile}{}", numbers.concat());
    let (one, two) = (number("+12015550101", ""), number("+12015550102", "ring = [\"bob\"]"));
    let three = number("+12015550103", "");
    let old = load(&text(profile("alice"), &[one.clone(), two.clone()]));
    let same = diff(&old, &load(&format!("\n\n{}", text(profile("alice"), &[one.clone(), two.clone()]))));
    assert_eq!((same.numbers.unchanged, same.agents.unchanged), (2, 2));
    assert_eq!(same.total().added + same.total().changed + same.total().removed, 0);
    let new = diff(&old, &load(&text(profile("bob"), &[two, one, three.clone()])));
    assert_eq!((new.numbers.changed, new.numbers.unchanged, new.numbers.added), (1, 1, 1));
    let named = |diff: &config::Diff| {
        diff.named.iter().map(|one| format!("{} {} {}", one.kind, one.name, one.change)).collect::<Vec<_>>()
    };
    assert_eq!(named(&new), ["number +12015550101 changed", "number +12015550103 added"]);
    let gone = diff(&old, &load(&format!("[limits]\nmax_legs = 4\n{}", text(profile("alice"), &[three]))));
    assert_eq!((gone.numbers.removed, gone.numbers.added), (2, 1));
    assert_eq!(gone.restart, ["limits.max_legs"]);
    let three = ["number +12015550103 added", "number +12015550101 removed", "number +12015550102 removed"];
    assert_eq!(named(&gone), three);
    let none = diff(&old, &load(""));
    assert_eq!(named(&none)[..2], ["agent alice removed", "agent bob removed"]);
    let many = (0..1_000).map(|n| format!("[[number]]\ndid = \"+1201555{n:04}\"\n")).collect::<String>();
    let many = diff(&load(""), &load(&many));
    assert_eq!((many.numbers.added, many.named.len()), (1_000, config::MAX_NAMED));
}

#[test]
fn a_reload_names_what_changes_of_dial_emergency_caller_ids_and_pools() {
    const TEXT: &str = "[[trunk]]\nname = \"carrier\"\ngateways = [{ uri = \"sip:192.0.2.1\" }]\n\
        [dial]\nallow = [\"+1\"]\n[emergency]\nnumbers = [\"911\"]\n\
        [[caller_id]]\nnumber = \"+12015550142\"\n\
        [[pool]]\nname = \"website\"\nhold_seconds = 60\n";
    let load = |text: &str| config::parse(text, &|_| None).unwrap().config;
    let diff = |text: &str| config::diff(&load(TEXT), &load(text), &config::Overlay::default());
    let named = |from: &str, to: &str| {
        assert!(TEXT.contains(from), "{from}");
        let diff = diff(&TEXT.replace(from, to));
        let total = diff.total();
        assert_eq!(total.added + total.changed + total.removed, diff.named.len(), "all are counted");
        diff.named.iter().map(|one| format!("{} {} {}", one.change, one.kind, one.name)).collect::<Vec<_>>()
    };
    assert_eq!(named("[dial]", "\n# moved\n\n[dial]"), [""; 0]);
    assert_eq!(diff(TEXT).total().unchanged, 3, "the trunk, the caller ID, the pool");
    assert_eq!(named("allow = [\"+1\"]", "allow = [\"+44\"]\ndeny = [\"+1\"]"), ["changed section [dial]"]);
    // What is longest decides, wherever it is written.
    let two = |list: &str| load(&TEXT.replace("allow = [\"+1\"]", list));
    let one = two("allow = [\"+1\", \"+44\"]\ndeny = [\"+1900\", \"+881\"]");
    let other = two("allow = [\"+44\", \"+1\", \"+44\"]\ndeny = [\"+881\", \"+1900\"]");
    let nothing = config::Overlay::default();
    assert_eq!(config::diff(&one, &other, &nothing).named, []);
    let swapped = two("allow = [\"+1900\", \"+881\"]\ndeny = [\"+1\", \"+44\"]");
    assert_eq!(config::diff(&one, &swapped, &nothing).named.len(), 1);
    assert_eq!(named("[\"911\"]", "[\"911\"]\ntrunk = \"carrier\""), ["changed section [emergency]"]);
    let more = "[[caller_id]]\nnumber = \"+12015550143\"\n[[caller_id]]";
    assert_eq!(named("[[caller_id]]", more), ["added caller_id +12015550143"]);
    let verified = "0142\"\nverified = \"2026-11-01T10:00:00Z\"";
    assert_eq!(named("0142\"", verified), ["changed caller_id +12015550142"]);
    assert_eq!(named("[[caller_id]]\nnumber = \"+12015550142\"\n", ""), ["removed caller_id +12015550142"]);
    assert_eq!(named("hold_seconds = 60", "hold_seconds = 61"), ["changed pool website"]);
    assert_eq!(named("website", "shop"), ["added pool shop", "removed pool website"]);
}

#[test]
fn numbers_of_which_files_say_something_in_vain_are_a_hundred_warnings_and_how_many_more() {
    use strowger::config::{Entry, Overlay, Set};
    let load = |timeout: u32| {
        let number = |n: u32| format!("[[number]]\ndid = \"+1201555{n:04}\"\ntimeout = {timeout}\n");
        config::parse(&(0..150).map(number).collect::<String>(), &|_| None).unwrap().config
    };
    let (old, new) = (load(20), load(15));
    let overlay = |by: &str| {
        let mut overlay = Overlay::default();
        for number in old.numbers.iter() {
            let at = strowger::time::Wall(0);
            let entry = Entry { set: Set::Removed, at, by: by.into(), generation: 1 };
            overlay.put(number.did().value, Some(entry.into()));
        }
        overlay
    };
    let warned = |new: &config::Config, by: &str| config::diff(&old, new, &overlay(by)).warnings;
    let told = warned(&new, "bob");
    assert_eq!(told.len(), config::MAX_FINDINGS + 1);
    let first = "strowger.toml:2:7: +12015550000: removed over HTTP by bob, which wins over what the file says now; \
        `strowger numbers unset +12015550000` lets the file say";
    assert_eq!(told[0].to_string(), first);
    assert_eq!(told[100].message, "of 50 more numbers files say something else now, in vain");
    assert_eq!(warned(&load(20), "bob"), []);
    assert_eq!(warned(&new, ""), [], "what the same publication sets back");
}

/// The files may have been read already when it comes, and the node is not ready yet.
#[test]
fn sighup_while_a_node_starts_has_the_files_read_again() {
    let place = place();
    let node = place.start_while(place.command(&["serve", "--log", "json"]), |starting| {
        wait_until(|| starting.catches(Signal::SIGHUP));
        starting.signal(Signal::SIGHUP);
    });
    wait_until(|| place.log().lines().any(|line| line.contains("published") && line.contains("SIGHUP")));
    let (list, _) = done(&place, &["generations", "--json"]);
    let list: Value = serde_json::from_str(&list).unwrap();
    assert_eq!(list["items"][0]["generation"], 2, "{list:#}");
    drop(node);
}

/// It waits for files that are being written for up to five seconds.
#[test]
fn who_ends_a_node_that_reloads_does_not_wait_for_the_reload() {
    let place = &place();
    let mut node = place.serve();
    let before = node.threads().len();
    std::thread::scope(|scope| {
        let (over, is_over) = std::sync::mpsc::channel::<()>();
        let writes = move || {
            while is_over.recv_timeout(Duration::from_millis(50)) == Err(RecvTimeoutError::Timeout) {
                write(place, "z.csv", "did,ring\n+12015550301,bob\n");
            }
        };
        write(place, "z.csv", "did,ring\n+12015550301,bob\n");
        scope.spawn(writes);
        node.signal(Signal::SIGHUP);
        // The one that reads is one more.
        wait_until(|| node.threads().len() > before);
        node.signal(Signal::SIGTERM);
        assert_eq!(node.ended(), Some(0));
        drop(over);
    });
    let log = place.log();
    let told = log.matches("a reload that is still reading is given up: the node ends").count();
    assert!(
        log.contains("draining") && told == 1 && !log.contains("SIGHUP") && !log.contains("ERROR"),
        "{log}"
    );
}
