//! What was served once is served again: of files that were changed, and of numbers that were set over HTTP.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use node::{Place, Serving};
use serde_json::Value;

#[expect(dead_code, reason = "shared with tests that ask for more")]
mod common;
#[expect(dead_code, reason = "shared with tests that ask for more")]
#[path = "common/node.rs"]
mod node;
#[path = "common/sound.rs"]
mod sound;

/// Two numbers in two files; who rings is written in one of them.
fn place() -> Place {
    let place = Place::new();
    place.changes("config/routing/all.toml", |text| {
        text.to_owned() + "[[agent]]\nname = \"bob\"\ncontact = \"sip:bob@127.0.0.1:9\"\n"
    });
    rings_in_file(&place, "alice");
    place
}

fn rings_in_file(place: &Place, who: &str) {
    let file = place.folder.path().join("config/routing/table.csv");
    std::fs::write(file, format!("did,ring\n+12015550102,{who}\n")).unwrap();
}

fn done(place: &Place, args: &[&str]) -> String {
    let (code, out, err) = place.strowger(args);
    assert_eq!(code, 0, "{args:?}: {out}{err}");
    out
}

/// Who rings for both numbers.
fn ring(place: &Place) -> [String; 2] {
    ["+12015550101", "+12015550102"].map(|did| {
        let (code, out, _) = place.strowger(&["route", did, "--json"]);
        if code != 0 {
            return String::new();
        }
        let told: Value = serde_json::from_str(&out).unwrap();
        told["plan"]["steps"][0]["targets"][0]["target"].as_str().unwrap().to_owned()
    })
}

/// The latest first: by whom, and what.
fn generations(place: &Place) -> Vec<(u64, String)> {
    let list: Value = serde_json::from_str(&done(place, &["generations", "--json"])).unwrap();
    let line =
        |line: &Value| (line["generation"].as_u64().unwrap(), line["what"].as_str().unwrap().to_owned());
    list["items"].as_array().unwrap().iter().map(line).collect()
}

fn killed(mut node: Serving) {
    node.child.kill().unwrap();
    node.ended();
}

#[test]
fn a_reload_is_taken_back_and_forth_and_the_files_stay_as_they_are() {
    let place = place();
    let _node = place.serve();
    rings_in_file(&place, "bob");
    done(&place, &["reload"]);
    assert_eq!(ring(&place), ["alice", "bob"]);
    let told = done(&place, &["rollback", "--dry-run"]);
    assert!(told.contains("1 changed"), "{told}");
    assert_eq!(ring(&place), ["alice", "bob"]);
    done(&place, &["rollback"]);
    assert_eq!(ring(&place), ["alice", "alice"]);
    let file = place.folder.path().join("config/routing/table.csv");
    assert!(std::fs::read_to_string(&file).unwrap().contains("bob"));
    // And the rollback too.
    done(&place, &["rollback"]);
    assert_eq!(ring(&place), ["alice", "bob"]);
    done(&place, &["rollback", "--to", "1"]);
    assert_eq!(ring(&place), ["alice", "alice"]);
    done(&place, &["reload"]);
    assert_eq!(ring(&place), ["alice", "bob"]);
    let said = generations(&place);
    let expected = [
        (6, "the files: 0 added, 1 changed, 0 removed"),
        (5, "back to generation 1: 0 added, 1 changed, 0 removed"),
        (4, "back to generation 2: 0 added, 1 changed, 0 removed"),
        (3, "back to generation 1: 0 added, 1 changed, 0 removed"),
        (2, "the files: 0 added, 1 changed, 0 removed"),
        (1, "the node started"),
    ];
    assert_eq!(said, expected.map(|(generation, what)| (generation, what.to_owned())));
    // Where something is written is told by the file's own name.
    rings_in_file(&place, "nobody");
    done(&place, &["rollback", "--to", "1"]);
    let told = done(&place, &["route", "+12015550102"]);
    assert!(told.contains("config/routing/table.csv:2:14: ring"), "{told}");
}

#[test]
fn a_number_that_was_set_is_taken_back_and_what_is_set_later_stays() {
    let place = place();
    let node = place.serve();
    done(&place, &["numbers", "set", "+12015550101", "ring=bob"]);
    done(&place, &["rollback"]);
    assert_eq!(ring(&place), ["alice", "alice"]);
    done(&place, &["numbers", "set", "+12015550102", "ring=bob"]);
    done(&place, &["numbers", "set", "+12015550103", "ring=bob"]);
    done(&place, &["numbers", "unset", "--delete", "+12015550101"]);
    assert_eq!(ring(&place), ["", "bob"]);
    // To when the first had been set, three changes ago and more.
    done(&place, &["rollback", "--to", "2"]);
    assert_eq!(ring(&place), ["bob", "alice"]);
    assert_eq!(place.strowger(&["numbers", "get", "+12015550103"]).0, 1);
    killed(node);
    let _node = place.serve();
    assert_eq!(ring(&place), ["bob", "alice"]);
    done(&place, &["rollback", "--to", "6"]);
    assert_eq!(ring(&place), ["", "bob"]);
}

#[test]
fn what_was_rolled_back_to_outlives_a_restart_until_the_files_are_mended() {
    let place = place();
    let node = place.serve();
    rings_in_file(&place, "bob");
    done(&place, &["reload"]);
    done(&place, &["rollback"]);
    killed(node);
    let node = place.serve();
    assert_eq!(ring(&place), ["alice", "alice"]);
    killed(node);
    let node = place.serve();
    assert_eq!(ring(&place), ["alice", "alice"]);
    common::wait_until(|| place.log().contains("the files are those that were rolled back from"));
    killed(node);
    // What stands in strowger.toml waits for a restart in any case: that alone is no reason to serve the rest again.
    place.changes("config/strowger.toml", |text| format!("{text}# a remark\n"));
    let node = place.serve();
    assert_eq!(ring(&place), ["alice", "alice"]);
    killed(node);
    let file = place.folder.path().join("config/routing/table.csv");
    std::fs::write(file, "did,ring\n+12015550102,bob\n+12015550103,bob\n").unwrap();
    let _node = place.serve();
    assert_eq!(ring(&place), ["alice", "bob"]);
}

/// As somebody rolls back at night: the files cannot even be read.
#[test]
fn what_was_rolled_back_to_outlives_a_restart_over_files_with_mistakes_until_they_change() {
    let place = place();
    let node = place.serve();
    rings_in_file(&place, "bob");
    done(&place, &["reload"]);
    rings_in_file(&place, "nobody,who");
    assert_eq!(place.strowger(&["reload"]).0, 1);
    done(&place, &["rollback"]);
    assert_eq!(ring(&place), ["alice", "alice"]);
    killed(node);
    let node = place.serve();
    assert_eq!(ring(&place), ["alice", "alice"]);
    let is_told = |line: &&str| line.contains("of the files, which are not served");
    common::wait_until(|| place.log().lines().any(|line| is_told(&line)));
    let log = place.log();
    let told = log.lines().find(is_told).unwrap_or_default();
    assert!(told.contains("\"ERROR\"") && told.contains("table.csv:2:"), "{told}");
    // Nothing of them was kept or published.
    let list: Vec<String> = generations(&place).into_iter().map(|(_, what)| what).collect();
    assert_eq!(list.len(), 4, "{list:?}");
    killed(node);
    // Now they are others, and it is they that a start is to serve.
    rings_in_file(&place, "somebody,else");
    let (code, _, err) = place.strowger(&["serve"]);
    assert!(code == 1 && err.contains("table.csv:2:"), "{code}: {err}");
    rings_in_file(&place, "bob");
    let _node = place.serve();
    assert_eq!(ring(&place), ["alice", "bob"]);
}

/// What is taken back is a number alone: the files that are served stay so, and others lie in their place.
#[test]
fn a_number_that_was_taken_back_beside_files_with_mistakes_outlives_a_restart() {
    let place = place();
    let node = place.serve();
    done(&place, &["numbers", "set", "+12015550101", "ring=bob"]);
    rings_in_file(&place, "nobody,who");
    assert_eq!(place.strowger(&["reload"]).0, 1);
    done(&place, &["rollback"]);
    assert_eq!(ring(&place), ["alice", "alice"]);
    killed(node);
    let node = place.serve();
    assert_eq!(ring(&place), ["alice", "alice"]);
    // Done twice, it takes itself back.
    done(&place, &["rollback"]);
    assert_eq!(ring(&place), ["bob", "alice"]);
    killed(node);
    // Whoever begins to mend them has not done yet.
    rings_in_file(&place, "nobody");
    let node = place.serve();
    assert_eq!(ring(&place), ["bob", "alice"]);
    killed(node);
    rings_in_file(&place, "bob");
    let node = place.serve();
    assert_eq!(ring(&place), ["bob", "bob"]);
    // Files without mistakes are served by a start, whenever a number was taken back.
    done(&place, &["numbers", "set", "+12015550101", "ring=alice"]);
    rings_in_file(&place, "alice");
    done(&place, &["rollback"]);
    assert_eq!(ring(&place), ["bob", "bob"]);
    killed(node);
    let _node = place.serve();
    assert_eq!(ring(&place), ["bob", "alice"]);
}

/// Whether those can be served is for a start to judge, by the strowger.toml of then and by what they are to say.
#[test]
fn a_number_that_was_taken_back_beside_other_files_is_served_by_a_start_with_those_as_far_as_they_can_be() {
    let place = with_sound();
    let sound = place.folder.path().join("config/routing/noise.wav");
    let node = place.serve();
    done(&place, &["numbers", "set", "+12015550101", "ring=bob"]);
    greets(&place, "noise.wav");
    std::fs::write(&sound, "noise").unwrap();
    assert_eq!(place.strowger(&["check"]).0, 1);
    done(&place, &["rollback"]);
    killed(node);
    let node = place.serve();
    assert_eq!(ring(&place), ["alice", "alice"]);
    common::wait_until(|| place.log().contains("noise.wav"));
    // What the strowger.toml that is served would refuse.
    sound::beep(&sound, 3_000);
    done(&place, &["numbers", "set", "+12015550101", "ring=bob"]);
    std::fs::write(
        place.folder.path().join("config/routing/table.csv"),
        "did,forward_to\n+12015550102,+442071234567\n",
    )
    .unwrap();
    assert_eq!(place.strowger(&["reload"]).0, 1);
    place.changes("config/strowger.toml", |text| format!("node.country = \"GB\"\n{text}"));
    done(&place, &["rollback"]);
    killed(node);
    let _node = place.serve();
    assert_eq!(ring(&place), ["alice", "+442071234567"]);
}

#[test]
fn a_number_that_is_taken_back_after_files_were_leaves_these_rolled_back_from() {
    let place = place();
    let node = place.serve();
    rings_in_file(&place, "bob");
    done(&place, &["reload"]);
    done(&place, &["rollback"]);
    done(&place, &["numbers", "set", "+12015550101", "ring=bob"]);
    let broken = place.folder.path().join("config/routing/c.toml");
    std::fs::write(&broken, "junk = \n").unwrap();
    done(&place, &["rollback"]);
    killed(node);
    let node = place.serve();
    assert_eq!(ring(&place), ["alice", "alice"]);
    killed(node);
    // Those that were rolled back from lie there again.
    std::fs::remove_file(broken).unwrap();
    let _node = place.serve();
    assert_eq!(ring(&place), ["alice", "alice"]);
}

#[test]
fn what_was_rolled_back_to_outlives_a_restart_over_files_that_cannot_be_read() {
    let place = place();
    let node = place.serve();
    rings_in_file(&place, "bob");
    done(&place, &["reload"]);
    let routing = place.folder.path().join("config/routing");
    std::os::unix::fs::symlink("/nowhere/at/all.toml", routing.join("gone.toml")).unwrap();
    nix::unistd::mkfifo(&routing.join("pipe.csv"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert_eq!(place.strowger(&["reload"]).0, 1);
    done(&place, &["rollback"]);
    killed(node);
    let node = place.serve();
    assert_eq!(ring(&place), ["alice", "alice"]);
    killed(node);
    // One of them can be read now.
    std::fs::remove_file(routing.join("gone.toml")).unwrap();
    std::fs::write(routing.join("gone.toml"), "").unwrap();
    let (code, _, err) = place.strowger(&["serve"]);
    assert!(code == 1 && err.contains("pipe.csv:1:1:"), "{code}: {err}");
}

/// There is nothing that could be served, and nothing is left behind.
#[test]
fn a_first_start_on_files_with_mistakes_makes_no_data() {
    let place = place();
    rings_in_file(&place, "nobody,who");
    let (code, _, err) = place.strowger(&["serve"]);
    assert!(code == 1 && err.contains("table.csv:2:"), "{code}: {err}");
    assert!(!place.folder.path().join("data").exists());
}

#[test]
fn a_generation_that_is_not_known_or_not_kept_is_refused_and_nothing_changes() {
    let place = place();
    let _node = place.serve();
    for to in ["0", "1", "2", "99"] {
        let (code, _, err) = place.strowger(&["rollback", "--to", to]);
        assert!(code == 1 && err.contains("strowger generations"), "{err}");
    }
    assert_eq!(place.strowger(&["rollback"]).0, 1);
    rings_in_file(&place, "bob");
    done(&place, &["reload"]);
    let kept = place.folder.path().join("data/generations");
    for entry in std::fs::read_dir(&kept).unwrap() {
        let path = entry.unwrap().path();
        if std::fs::read_to_string(&path).unwrap().contains("+12015550102,alice") {
            std::fs::write(&path, "did,ring\n").unwrap();
        }
    }
    let (code, _, err) = place.strowger(&["rollback"]);
    assert!(code == 1 && err.contains("table.csv: its copy is damaged"), "{err}");
    assert_eq!(ring(&place), ["alice", "bob"]);
    std::fs::remove_dir_all(&kept).unwrap();
    let (code, _, err) = place.strowger(&["rollback"]);
    assert!(code == 1 && err.contains("no longer kept"), "{err}");
    // It keeps anew.
    rings_in_file(&place, "alice");
    done(&place, &["reload"]);
    rings_in_file(&place, "bob");
    done(&place, &["reload"]);
    done(&place, &["rollback"]);
    assert_eq!(ring(&place), ["alice", "alice"]);
}

/// A start changes nothing that could be taken back.
#[test]
fn what_is_taken_back_is_the_last_change_whatever_was_started_since() {
    let place = place();
    let node = place.serve();
    let (code, _, err) = place.strowger(&["rollback"]);
    assert!(code == 1 && err.contains("strowger generations"), "{err}");
    rings_in_file(&place, "bob");
    done(&place, &["reload"]);
    done(&place, &["reload"]);
    killed(node);
    // What stands in strowger.toml is none that could be taken back.
    place.changes("config/strowger.toml", |text| format!("{text}# a remark\n"));
    let _node = place.serve();
    let told = done(&place, &["rollback"]);
    assert!(told.contains("changed: number +12015550102"), "{told}");
    assert_eq!(ring(&place), ["alice", "alice"]);
}

/// A generation in which a number was set aside is served as it was: aside.
#[test]
fn what_was_set_aside_then_is_so_again() {
    let place = place();
    let node = place.serve();
    done(&place, &["numbers", "set", "+12015550101", "ring=bob"]);
    place.changes("config/routing/all.toml", |text| text.replace("\"bob\"", "\"robert\""));
    killed(node);
    let _node = place.serve();
    assert_eq!(ring(&place), ["alice", "alice"]);
    done(&place, &["numbers", "set", "+12015550101", "ring=robert"]);
    assert_eq!(ring(&place), ["robert", "alice"]);
    let (code, out, err) = place.strowger(&["rollback"]);
    assert!(code == 0 && err.contains("agent \"bob\" does not exist"), "{out}{err}");
    assert_eq!(ring(&place), ["alice", "alice"]);
}

/// A place with sound, and a greeting of one of its numbers.
fn with_sound() -> Place {
    let place = place();
    place.changes("config/strowger.toml", |text| {
        format!("[media]\naddr = \"127.0.0.1\"\nports = \"20200-20399\"\n{text}")
    });
    place
}

fn greets(place: &Place, file: &str) {
    sound::beep(&place.folder.path().join("config/routing").join(file), 3_000);
    place.changes("config/routing/all.toml", |text| {
        let number = "did = \"+12015550101\"\n";
        text.replace(number, &format!("{number}voicemail = {{ greeting = {{ file = {file:?} }} }}\n"))
    });
}

#[test]
fn files_that_were_rolled_back_to_and_cannot_be_served_any_more_give_way_to_those_that_lie_there() {
    let place = with_sound();
    let without = std::fs::read_to_string(place.folder.path().join("config/routing/all.toml")).unwrap();
    greets(&place, "greeting.wav");
    let node = place.serve();
    std::fs::write(place.folder.path().join("config/routing/all.toml"), &without).unwrap();
    rings_in_file(&place, "bob");
    done(&place, &["reload"]);
    done(&place, &["rollback"]);
    assert_eq!(ring(&place), ["alice", "alice"]);
    let sound = place.folder.path().join("config/routing/greeting.wav");
    let kept = std::fs::read(&sound).unwrap();
    std::fs::remove_file(&sound).unwrap();
    killed(node);
    let node = place.serve();
    assert_eq!(ring(&place), ["alice", "bob"]);
    common::wait_until(|| place.log().contains("cannot be served any more"));
    let log = place.log();
    let told = log.lines().find(|line| line.contains("cannot be served any more")).unwrap();
    let names = |what: &str| told.contains(what);
    assert!(names("\"ERROR\"") && names("\"generation\":3") && names("greeting.wav"), "{told}");
    killed(node);
    // Where those are bad as well, their own mistakes are told.
    std::fs::write(&sound, kept).unwrap();
    let node = place.serve();
    greets(&place, "other.wav");
    done(&place, &["reload"]);
    done(&place, &["rollback", "--to", "1"]);
    killed(node);
    for name in ["greeting.wav", "other.wav"] {
        std::fs::remove_file(place.folder.path().join("config/routing").join(name)).unwrap();
    }
    let (code, _, err) = place.strowger(&["serve"]);
    let refused = err.lines().find(|line| line.contains("all.toml:")).unwrap_or(&err);
    assert!(code == 1 && err.contains("routing/other.wav: No such file"), "{code} {err}");
    assert!(!refused.contains("greeting.wav") || refused.contains("cannot be served any more"), "{err}");
}

/// What is set aside is no part of a generation: it is set as it was.
#[test]
fn what_was_set_aside_and_is_served_again_is_no_change_that_is_taken_back() {
    let place = with_sound();
    let node = place.serve();
    let sound = place.folder.path().join("config/routing/v.wav");
    sound::beep(&sound, 3_000);
    done(&place, &["numbers", "set", "+12015550105", "ring=bob", "whisper={\"file\": \"v.wav\"}"]);
    killed(node);
    std::fs::remove_file(&sound).unwrap();
    let node = place.serve();
    assert_eq!(place.strowger(&["route", "+12015550105"]).0, 1);
    sound::beep(&sound, 3_000);
    let told = done(&place, &["reload"]);
    assert!(told.contains("added: number +12015550105"), "{told}");
    let can = |place: &Place| -> Vec<u64> {
        let list: Value = serde_json::from_str(&done(place, &["generations", "--json"])).unwrap();
        let lines = list["items"].as_array().unwrap().iter();
        let can = lines.filter(|line| line["can_roll_back"] == Value::Bool(true));
        can.map(|line| line["generation"].as_u64().unwrap()).collect()
    };
    assert_eq!(can(&place), [1]);
    for to in ["2", "3"] {
        let (code, _, err) = place.strowger(&["rollback", "--to", to]);
        let says = |what: &str| err.contains(what);
        assert!(code == 1 && says("what is set aside") && says("rolled back to is 1 ("), "{err}");
    }
    let (code, out, err) = place.strowger(&["rollback"]);
    assert!(code == 0 && out.contains("removed: number +12015550105"), "{out}{err}");
    assert!(err.contains("generations 3 to 4 are passed over"), "{err}");
    // And back, whatever is started since.
    done(&place, &["rollback"]);
    killed(node);
    let _node = place.serve();
    assert_eq!(place.strowger(&["route", "+12015550105"]).0, 0);
}

#[test]
fn a_rollback_that_is_refused_cites_the_copies_and_says_what_else_can_be_had() {
    let place = with_sound();
    let without = std::fs::read_to_string(place.folder.path().join("config/routing/all.toml")).unwrap();
    let _node = place.serve();
    greets(&place, "greeting.wav");
    done(&place, &["reload"]);
    std::fs::write(place.folder.path().join("config/routing/all.toml"), &without).unwrap();
    done(&place, &["reload"]);
    std::fs::remove_file(place.folder.path().join("config/routing/greeting.wav")).unwrap();
    for args in [&["rollback"][..], &["rollback", "--to", "2"]] {
        let (code, _, err) = place.strowger(args);
        let says = |what: &str| err.contains(what);
        assert!(code == 1 && says("as generation 2 had it: ") && says("greeting.wav"), "{err}");
        assert!(
            says("generation 2 cannot be served any more") && says("there is none to roll back to"),
            "{err}"
        );
    }
    rings_in_file(&place, "bob");
    done(&place, &["reload"]);
    let (code, _, err) = place.strowger(&["rollback", "--to", "2"]);
    assert!(code == 1 && err.contains("what can be rolled back to is 1, 3 ("), "{err}");
}

/// Its own strowger.toml is not served again, so that what goes with that one only is told.
#[test]
fn what_is_rolled_back_to_is_judged_by_the_strowger_toml_that_is_in_force() {
    let place = with_sound();
    let all = place.folder.path().join("config/routing/all.toml");
    let without = std::fs::read_to_string(&all).unwrap();
    std::fs::write(&all, without.replace("ring = [\"alice\"]", "ring = [\"alice\"]\nrecord = true")).unwrap();
    let node = place.serve();
    std::fs::write(&all, &without).unwrap();
    done(&place, &["reload"]);
    let (code, out, err) = place.strowger(&["rollback"]);
    assert!(code == 0 && !err.contains("warning"), "{out}{err}");
    killed(node);
    place.changes("config/strowger.toml", |text| {
        let (media, rest) = text.split_once("[[listen]]").unwrap();
        assert!(media.starts_with("[media]"), "{media}");
        format!("[[listen]]{rest}")
    });
    let _node = place.serve();
    let said = "record needs audio that comes through this node, and there is no [media]";
    common::wait_until(|| place.log().contains(said));
    let log = place.log();
    let told = log.lines().find(|line| line.contains(said)).unwrap();
    let names = |what: &str| told.contains(what);
    assert!(names("\"WARN\"") && names("\"generation\":3") && names("of what was rolled back to"), "{told}");
    done(&place, &["reload"]);
    let (code, out, err) = place.strowger(&["rollback", "--to", "3", "--json"]);
    let told: Value = serde_json::from_str(&out).unwrap_or_else(|_| panic!("{code} {out}{err}"));
    assert!(told["warnings"].to_string().contains(said), "{told}");
    // A restart does not bring the strowger.toml of then back.
    assert_eq!(told["restart_needed"], serde_json::json!([]), "{told}");
}

#[test]
fn what_does_not_check_with_the_strowger_toml_in_force_is_not_served_again() {
    let place = place();
    let there = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let all = place.folder.path().join("config/routing/all.toml");
    let without = std::fs::read_to_string(&all).unwrap();
    std::fs::write(&all, without.replace("sip:bob@127.0.0.1:9", &format!("sip:bob@{there}"))).unwrap();
    let node = place.serve();
    std::fs::write(&all, &without).unwrap();
    rings_in_file(&place, "bob");
    done(&place, &["reload"]);
    done(&place, &["rollback"]);
    assert_eq!(ring(&place), ["alice", "alice"]);
    killed(node);
    // Where that phone was, the node listens now.
    place.changes("config/strowger.toml", |text| {
        format!("{text}[[listen]]\ntransport = \"udp\"\naddr = \"{there}\"\n")
    });
    let _node = place.serve();
    assert_eq!(ring(&place), ["alice", "bob"]);
    common::wait_until(|| place.log().contains("cannot be served any more"));
    let log = place.log();
    let told = log.lines().find(|line| line.contains("cannot be served any more")).unwrap();
    let names = |what: &str| told.contains(what);
    assert!(names("\"ERROR\"") && names("\"generation\":3") && names("where we listen"), "{told}");
    let (code, out, err) = place.strowger(&["rollback", "--to", "1"]);
    assert!(code == 1 && err.contains("where we listen"), "{code} {out}{err}");
    assert_eq!(ring(&place), ["alice", "bob"]);
}

/// Each number once, whoever says what it does.
#[test]
fn what_a_rollback_changes_is_counted_and_named_once() {
    let place = place();
    let _node = place.serve();
    let published = |args: &[&str]| -> Value { serde_json::from_str(&done(&place, args)).unwrap() };
    let counts =
        |told: &Value| ["added", "changed", "removed", "unchanged"].map(|key| told[key].as_u64().unwrap());
    let there = published(&["reload", "--dry-run", "--json"])["unchanged"].as_u64().unwrap();
    rings_in_file(&place, "bob");
    done(&place, &["reload"]);
    done(&place, &["numbers", "set", "+12015550102", "timeout=22"]);
    let told = published(&["rollback", "--to", "1", "--dry-run", "--json"]);
    assert_eq!(
        (counts(&told), told["changes"].as_array().unwrap().len()),
        ([0, 1, 0, there - 1], 1),
        "{told}"
    );
    // Of the same files.
    let told = published(&["rollback", "--to", "2", "--dry-run", "--json"]);
    assert_eq!(
        (counts(&told), told["changes"].as_array().unwrap().len()),
        ([0, 1, 0, there - 1], 1),
        "{told}"
    );
    // What files change and what was set come to the same: nobody would hear a difference.
    done(&place, &["numbers", "set", "+12015550101", "ring=bob"]);
    place.changes("config/routing/all.toml", |text| {
        text.replace("ring = [\"alice\"]", "ring = [\"bob\"]\ntimeout = 33")
    });
    done(&place, &["reload"]);
    done(&place, &["numbers", "unset", "+12015550101"]);
    done(&place, &["numbers", "set", "+12015550103", "ring=bob"]);
    done(&place, &["numbers", "set", "+12015550101", "ring=bob", "timeout=20"]);
    let told = published(&["rollback", "--to", "4", "--dry-run", "--json"]);
    let named: Vec<String> = told["changes"].as_array().unwrap().iter().map(Value::to_string).collect();
    assert_eq!(counts(&told), [0, 1, 1, there - 1], "{named:?}");
    let mut once = named.clone();
    once.sort();
    once.dedup();
    assert_eq!(once.len(), named.len(), "{named:?}");
}

#[test]
fn a_rollback_with_nothing_to_undo_says_so_and_publishes_nothing() {
    let place = place();
    let node = place.serve();
    done(&place, &["reload"]);
    done(&place, &["reload"]);
    let nothing = |args: &[&str]| {
        let (code, out, err) = place.strowger(args);
        assert!(code == 1 && out.is_empty() && err.contains("undo"), "{args:?}: {code} {out}{err}");
    };
    nothing(&["rollback"]);
    nothing(&["rollback", "--dry-run"]);
    nothing(&["rollback", "--to", "1"]);
    assert_eq!(generations(&place).len(), 3);
    let mut stream = std::net::TcpStream::connect(node.admin.trim_start_matches("http://")).unwrap();
    let request =
        "POST /v1/rollback HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    std::io::Write::write_all(&mut stream, request.as_bytes()).unwrap();
    let mut answer = String::new();
    std::io::Read::read_to_string(&mut stream, &mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 422 ") && answer.contains("undo"), "{answer}");
    // What is set to what it is changes nothing either.
    done(&place, &["numbers", "set", "+12015550101", "timeout=15"]);
    done(&place, &["numbers", "set", "+12015550101", "timeout=15"]);
    nothing(&["rollback", "--to", "4"]);
    done(&place, &["rollback", "--to", "3"]);
}

/// A copy that nobody needs is cleared when a node starts: it was killed before the candidate was published.
#[test]
fn a_start_clears_what_was_copied_for_nothing() {
    let place = place();
    killed(place.serve());
    let kept = place.folder.path().join("data/generations");
    let count = || std::fs::read_dir(&kept).unwrap().count();
    let before = count();
    std::fs::write(kept.join("a".repeat(64)), "a table").unwrap();
    std::fs::write(kept.join("copy.part"), "half a ta").unwrap();
    let _node = place.serve();
    assert_eq!(count(), before);
}

/// Files of generations long gone are no burden for ever.
#[test]
fn copies_that_no_generation_needs_are_removed() {
    let place = place();
    let _node = place.serve();
    for n in 0..40 {
        rings_in_file(&place, if n % 2 == 0 { "bob" } else { "alice" });
        place.changes("config/routing/all.toml", |text| format!("{text}# {n}\n"));
        done(&place, &["reload"]);
    }
    let kept = std::fs::read_dir(place.folder.path().join("data/generations")).unwrap().count();
    // strowger.toml, two tables, and the last sixteen of the other and the one before them.
    assert_eq!(kept, 1 + 2 + 17);
}
