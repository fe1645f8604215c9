//! Two operators at the command line: each sees what they have replaced, and no number is another than was meant.

use super::*;

/// What was done, told on stderr.
fn told(place: &Place, args: &[&str]) -> String {
    let (code, out, err) = place.strowger(&[&["numbers"], args].concat());
    assert_eq!(code, 0, "{args:?}: {out}{err}");
    err
}

/// Their times.
fn timeless(text: &str) -> String {
    text.split(' ')
        .map(|word| if word.contains("Z\n") { "NOW\n" } else { word })
        .collect::<Vec<_>>()
        .join(" ")
}

#[test]
fn whoever_sets_a_key_sees_what_it_was_and_who_had_set_it() {
    let place = place();
    let node = place.serve();
    let headers = |etag: &str| [("If-Match", etag.to_owned()), ("Strowger-By", "bob".to_owned())];
    let as_bob = |method: &str, path: &str, body: &str| {
        let etag = get(&node, path).etag();
        let headers = headers(&etag);
        ask(&node, method, path, &headers.each_ref().map(|(name, value)| (*name, value.as_str())), body)
    };
    let err = told(&place, &["set", "+12015550101", "timeout=20", "label=Main"]);
    assert_eq!(
        err,
        "+12015550101 is changed; before, from the files\n  label: not written -> \"Main\"\n  timeout: not written -> 20\n"
    );
    // Another changes it between the look and the change.
    let (_, seen, _) = place.strowger(&["numbers", "get", "+12015550101"]);
    assert!(seen.contains("timeout = 20"), "{seen}");
    as_bob("PATCH", ONE, "{\"timeout\": 25}").is(200);
    let err = told(&place, &["set", "+12015550101", "timeout=15"]);
    assert_eq!(
        timeless(&err),
        "+12015550101 is changed; before, set over HTTP by bob, NOW\n  timeout: 25 -> 15\n"
    );
    // Who says which version they have seen is refused instead.
    let version =
        seen.lines().find_map(|line| line.strip_prefix("# version ")?.split_once(", for --if-match"));
    let version = version.unwrap_or_else(|| panic!("{seen}")).0;
    let (code, _, err) =
        place.strowger(&["numbers", "set", "+12015550101", "timeout=16", "--if-match", version]);
    assert!(code == 1 && err.contains("somebody has changed"), "{err}");
    // The stored object is all that is printed as JSON.
    let (code, out, err) = place.strowger(&["numbers", "set", "+12015550101", "label=null", "--json"]);
    assert_eq!((code, &serde_json::from_str::<Value>(&out).unwrap()["timeout"]), (0, &json!(15)));
    assert!(err.contains("  label: \"Main\" -> not written\n"), "{err}");
    let body = place.folder.path().join("body.json");
    std::fs::write(&body, "{\"ring\": [\"bob\"]}").unwrap();
    let version = get(&node, ONE).etag();
    let err = told(&place, &["set", "+12015550101", "--file", "body.json", "--if-match", &version]);
    assert!(err.ends_with("  ring: [\"alice\"] -> [\"bob\"]\n  timeout: 15 -> not written\n"), "{err}");

    as_bob("PATCH", ONE, "{\"timeout\": 33}").is(200);
    let err = told(&place, &["unset", "+12015550101"]);
    assert_eq!(
        timeless(&err),
        "+12015550101 is changed; before, set over HTTP by bob, NOW\n  ring: [\"bob\"] -> [\"alice\"]\n  timeout: 33 -> not written\n"
    );
    as_bob("PUT", ONE, "{\"ring\": [\"bob\"]}").is(200);
    let err = told(&place, &["unset", "--delete", "+12015550101"]);
    assert_eq!(
        timeless(&err),
        "+12015550101 is none of ours now; before, set over HTTP by bob, NOW\n  ring: [\"bob\"] -> not written\n"
    );
}

/// Calls to it do not end in 404 from then on, which is what who removes a number reckons with.
#[test]
fn whoever_takes_a_number_away_that_a_block_serves_is_told_which() {
    let place = place();
    let node = place.serve();
    let first = |args: &[&str]| told(&place, args).split("; ").next().unwrap().to_owned();
    let number = ["+12025550177", "ring=alice"];
    let of_ours = |text: &str| format!("+12025550177 {text}");
    told(&place, &[&["set"], &number[..]].concat());
    let unset = ["unset", "+12025550177"];
    assert_eq!(first(&unset), of_ours("is none of ours now"));
    for block in ["+1202*", "+1202555*", "+12025550*"] {
        told(&place, &["set", block, "ring=bob"]);
    }
    told(&place, &[&["set"], &number[..]].concat());
    assert_eq!(first(&unset), of_ours("is served by the block +12025550* now"));
    assert_eq!(rings(&node, "12025550177").as_deref(), Some("bob"));
    told(&place, &[&["set"], &number[..]].concat());
    let delete = ["unset", "--delete", "+12025550177"];
    assert_eq!(first(&delete), of_ours("is served by the block +12025550* now"));
    // A block is served by a shorter one.
    assert_eq!(
        first(&["unset", "--delete", "+12025550*"]),
        "+12025550* is served by the block +1202555* now"
    );
    // The longest decides, also where that says that they are none of ours.
    told(&place, &["set", "+1202555*", "enabled=false"]);
    told(&place, &[&["set"], &number[..]].concat());
    assert_eq!(first(&delete), of_ours("is none of ours now"));
    told(&place, &["unset", "+1202555*"]);
    assert_eq!(first(&["unset", "+1202*"]), "+1202* is none of ours now");
}

/// Programs read the list by its schema, whatever is written of numbers.
#[test]
fn numbers_whose_keys_are_unset_are_listed_as_the_schema_says() {
    let place = place();
    let node = place.serve();
    let unset = [
        "forward_to=",
        "caller_id=",
        "profile=",
        "whisper=",
        "assigned_to=",
        "trunk=",
        "pool=",
        "record_notice=",
    ];
    told(&place, &[&["set", "+12015550102", "overflow=[{\"ring\": []}]"], &unset[..]].concat());
    let list = get(&node, "/v1/numbers?source=http").is(200).json();
    assert_eq!(list["items"][0]["forward_to"], "");
    let numbers = std::fs::read_to_string("config/schema/numbers.json").unwrap();
    let numbers = serde_json::from_str(&numbers).unwrap();
    assert_eq!(schema::violations(&numbers, &list), Vec::<String>::new());
}

#[test]
fn a_number_that_is_made_or_rings_nobody_is_said_to_be() {
    let place = place();
    let _node = place.serve();
    let err = told(&place, &["set", "+12015550102", "timeout=15"]);
    let nobody = "warning: it rings nobody: the caller gets 480; give it ring, forward_to, assigned_to or overflow, unless that is meant\n";
    assert_eq!(
        err,
        format!("+12015550102 is new; before, none of ours\n  timeout: not written -> 15\n{nobody}")
    );
    assert!(
        told(&place, &["set", "+12015550102", "ring=alice"])
            .ends_with("  ring: not written -> [\"alice\"]\n")
    );
    assert!(told(&place, &["set", "+12015550102", "ring="]).ends_with(nobody));
    // Nor does it where a step is there that rings nobody either.
    let file = place.folder.path().join("number.json");
    std::fs::write(&file, "{\"overflow\": [{\"ring\": []}]}").unwrap();
    assert!(told(&place, &["set", "+12015550103", "--file", file.to_str().unwrap()]).ends_with(nobody));
    assert!(!told(&place, &["set", "+12015550102", "enabled=false"]).contains("nobody"));
    // What wants a look in a file does here too.
    let err = told(&place, &["set", "+12015550102", "timeout=5", "label=a\u{202e}b"]);
    assert!(
        err.contains("warning: timeout = 5: few people answer so fast; write 10 seconds or more\n"),
        "{err}"
    );
    // And nothing that turns a terminal's letters comes there.
    let (_, out, _) = place.strowger(&["numbers", "get", "+12015550102"]);
    assert!(
        [&err, &out].iter().all(|text| text.contains("a\\u{202e}b") && !text.contains('\u{202e}')),
        "{out}"
    );
    // What is made of one that somebody has removed is not only new.
    told(&place, &["unset", "--delete", "+12015550101"]);
    let err = told(&place, &["set", "+12015550101", "ring=bob"]);
    assert!(err.starts_with("+12015550101 is new; before, +12015550101 was removed over HTTP by "), "{err}");
}

#[test]
fn a_number_without_its_plus_is_refused_with_what_it_may_have_been() {
    let place = place();
    let node = place.serve();
    let both = "\"2015550101\" has no +; write +12015550101, as it is dialled in the node's country (US), or +2015550101, as it is written\n";
    let one = "\"12015550101\" has no +; write +12015550101\n";
    for (did, said) in [
        ("2015550101", both),
        ("12015550101", one),
        ("1201555*", "\"1201555*\" has no +; a block is + and its first digits, like \"+1201555*\"\n"),
        ("alice", "\"alice\" has no +; write + and 7 to 15 digits, like \"+12015550101\"\n"),
    ] {
        let verbs: [&[&str]; 5] = [
            &["get", did],
            &["set", did, "timeout=10"],
            &["set", did, "--file", "body.json"],
            &["unset", "+12015550101", did],
            &["unset", "--delete", "+12015550101", did],
        ];
        for verb in verbs {
            let (code, _, err) = place.strowger(&[&["numbers"], verb].concat());
            assert_eq!((code, err.as_str()), (1, said), "{verb:?}");
        }
    }
    // Nothing was done of the ones before it either.
    assert_eq!(get(&node, ONE).is(200).json()["source"], "files");
    assert_eq!(get(&node, "/v1/numbers?source=http").json()["items"], json!([]));
}

/// What was removed has a version too, which GET tells, and only who knows it takes it back.
#[test]
fn a_removal_is_taken_back_by_who_knows_its_version() {
    let place = place();
    let node = place.serve();
    let to_files = &format!("{ONE}?to=files");
    let remove = || {
        let etag = get(&node, ONE).etag();
        ask(&node, "DELETE", ONE, &[("If-Match", &etag), ("Strowger-By", "bob")], "").is(204);
    };
    remove();
    let gone = get(&node, ONE).is(404);
    assert!(
        gone.json()["detail"].as_str().unwrap().contains("was removed over HTTP by bob, 2"),
        "{}",
        gone.body
    );
    assert_eq!(ask(&node, "DELETE", to_files, &[], "").is(428).etag(), gone.etag());
    let stale = ask(&node, "DELETE", to_files, &[("If-Match", "\"0123456789abcdef\"")], "").is(412);
    assert_eq!(stale.etag(), gone.etag());
    assert_eq!(get(&node, ONE).status, 404);
    ask(&node, "DELETE", ONE, &[("If-Match", &gone.etag())], "").is(404);
    ask(&node, "DELETE", to_files, &[("If-Match", &gone.etag())], "").is(200);
    assert_eq!(get(&node, ONE).is(200).json()["source"], "files");
    // Removed once more it is another version.
    remove();
    ask(&node, "DELETE", to_files, &[("If-Match", &gone.etag())], "").is(412);
    let (again, body) = (get(&node, ONE).is(404).etag(), "{\"ring\": [\"bob\"]}");
    ask(&node, "PUT", ONE, &[("If-Match", &gone.etag())], body).is(412);
    ask(&node, "PUT", ONE, &[("If-Match", &again)], body).is(201);
    remove();
    assert_eq!(place.strowger(&["numbers", "get", "+12015550101"]).0, 1);
    let err = told(&place, &["unset", "+12015550101"]);
    assert!(err.contains("is changed; before, +12015550101 was removed over HTTP by bob, 2"), "{err}");
    assert!(err.ends_with("Z\n  ring: not written -> [\"alice\"]\n"), "{err}");
    assert_eq!(get(&node, ONE).is(200).json()["source"], "files");
}

/// Nobody overwrites a removal that they have not seen.
#[test]
fn a_number_that_was_removed_is_made_anew_by_who_knows_that_it_is_not_there() {
    let place = place();
    let node = place.serve();
    let remove = || {
        let etag = get(&node, ONE).etag();
        ask(&node, "DELETE", ONE, &[("If-Match", &etag), ("Strowger-By", "bob")], "").is(204);
        get(&node, ONE).is(404).etag()
    };
    let (gone, body) = (remove(), "{\"ring\": [\"bob\"]}");
    let refused = |method: &str, path: &str, condition: &[(&str, &str)], status: u16, help: &str| {
        let answer = ask(&node, method, path, condition, if method == "PUT" { body } else { "" }).is(status);
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.starts_with("+12015550101 was removed over HTTP by bob, 2"), "{detail}");
        assert!(detail.contains(help), "{detail}");
        assert_eq!((answer.etag(), get(&node, ONE).status), (gone.clone(), 404));
    };
    refused(
        "PUT",
        ONE,
        &[],
        428,
        "; to make it anew, send If-None-Match: *, or the ETag of that in If-Match",
    );
    let to_files = &format!("{ONE}?to=files");
    refused("DELETE", to_files, &[], 428, "; to take that back, name its ETag with If-Match");
    // Of what is not there no version matches, nor any (RFC 9110 §13.1.1).
    for stale in ["*", "\"0123456789abcdef\""] {
        refused("PUT", ONE, &[("If-Match", stale)], 412, ", so no version of it is there to match; to make");
    }
    ask(&node, "PUT", ONE, &[("If-None-Match", "*")], body).is(201);
    ask(&node, "PUT", ONE, &[("If-None-Match", "*")], body).is(412);
    let gone = remove();
    ask(&node, "PUT", ONE, &[("If-Match", &gone)], body).is(201);
    // At the command line it is seen by whom.
    let gone = remove();
    let err = told(&place, &["set", "+12015550101", "ring=bob"]);
    assert!(
        err.starts_with("+12015550101 is new; before, +12015550101 was removed over HTTP by bob, 2"),
        "{err}"
    );
    let again = remove();
    let set = |version: &str| {
        place.strowger(&[
            "numbers",
            "set",
            "+12015550101",
            "ring=bob",
            "--if-match",
            version.trim_matches('"'),
        ])
    };
    let (code, _, err) = set(&gone);
    assert!(code == 1 && err.contains("was removed over HTTP by bob"), "{err}");
    assert_eq!(set(&again).0, 0);
}

/// An item of the list that says `removed`, sent back, is no number that rings nobody.
#[test]
fn what_was_removed_and_comes_back_as_it_was_told_is_refused() {
    let place = place();
    let node = place.serve();
    let etag = get(&node, ONE).etag();
    ask(&node, "DELETE", ONE, &[("If-Match", &etag)], "").is(204);
    let list = get(&node, "/v1/numbers?source=http").json();
    let anew = &[("If-None-Match", "*")];
    let told = ask(&node, "PUT", ONE, anew, &list["items"][0].to_string()).is(422).errors();
    assert!(told.contains("removed says that it is none of ours") && told.contains("DELETE it"), "{told}");
    assert_eq!(get(&node, ONE).status, 404);
    let patched = ask(&node, "PUT", ONE, anew, "{\"ring\": [\"alice\"], \"removed\": false}").is(201);
    assert_eq!(patched.json()["ring"], json!(["alice"]));
    let etag = patched.etag();
    ask(&node, "PATCH", ONE, &[("If-Match", &etag)], "{\"removed\": true}").is(422);
}
