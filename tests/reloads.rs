//! What a reload, and its dry run, tell of what they change, and of what they cannot.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::path::Path;

use common::wait_until;
use node::Place;
use serde_json::Value;

#[expect(dead_code, reason = "shared with tests that ask for more")]
mod common;
#[expect(dead_code, reason = "shared with tests that ask for more")]
#[path = "common/node.rs"]
mod node;

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

fn wav(file: &Path, amplitude: i16) {
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate: 8_000,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut writer = hound::WavWriter::create(file, spec).unwrap();
    (0..800i16).for_each(|n| writer.write_sample(n % 20 * amplitude).unwrap());
    writer.finalize().unwrap();
}

#[test]
fn a_sound_of_another_content_is_a_change_that_is_named() {
    let place = place();
    let sound = place.folder.path().join("config/routing/welcome.wav");
    wav(&sound, 100);
    place.changes("config/strowger.toml", |node| format!("{node}[media]\naddr = \"127.0.0.1\"\n"));
    place.changes(ALL, |text| format!("{text}whisper = {{ file = \"welcome.wav\" }}\n"));
    let _node = place.serve();
    let changes = |args: &[&str]| {
        let (out, _) = done(&place, args);
        out.lines().skip(1).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(changes(&["reload"]), [""; 0]);
    wav(&sound, 200);
    let said = ["  changed: sound config/routing/welcome.wav"];
    assert_eq!(changes(&["reload", "--dry-run"]), said);
    assert_eq!(changes(&["reload"]), said);
    assert_eq!(changes(&["reload"]), [""; 0]);
}
