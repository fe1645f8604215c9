//! What is refused, and where that is said to be: in what was sent, as it was sent.

use super::*;

const THREE: &str = "/v1/numbers/%2B12015550103";

#[test]
fn a_mistake_has_its_place_in_the_body_as_it_was_sent_by_put_and_by_patch() {
    let place = place();
    let node = place.serve();
    put(&node, TWO, "{\"ring\": [\"bob\"]}").is(201);
    let etag = put(&node, THREE, "{\"ring\": [\"bob\"]}").is(201).etag();
    for (body, said) in [
        // To itself, which shows only once it is ours, …
        (
            "{\"forward_to\":\"+12015550103\"}",
            "1:15: forward_to +12015550103 is a number of ours (/v1/numbers/+12015550103): the call would come back; ring its agents, or forward to a number that is not ours",
        ),
        // … to another that was set over HTTP, …
        (
            "{\n\n   \"forward_to\":\r\n \"+12015550102\"}",
            "4:2: forward_to +12015550102 is a number of ours (/v1/numbers/+12015550102): the call would come back; ring its agents, or forward to a number that is not ours",
        ),
        (
            "{\"label\": \"\u{e9}\", \"ring\":[\"alicia\"]}",
            "1:24: agent \"alicia\" does not exist; did you mean \"alice\"?",
        ),
        (
            "{\"ring\":[\"alice\"],\n\"timeout\": 0}",
            "2:12: timeout = 0 is out of range; write a whole number of seconds from 1 to 3600",
        ),
        (
            "{\"label\": \"a\\u0000b\"}",
            "1:11: label holds a line break or another control character; write it in one line",
        ),
        (
            "{\"label\": \"\u{e9}\", \"ring\": x}",
            "1:24: JSON: expected value; send an object like {\"ring\": [\"alice\"]}",
        ),
        (
            "{\"did\":\"+12015550104\"}",
            "1:8: did is +12015550104, and the path says +12015550103; leave it out, or write the number of the path",
        ),
    ] {
        for method in ["PUT", "PATCH"] {
            let told = ask(&node, method, THREE, &[("If-Match", &etag)], body).is(422).errors();
            assert_eq!(told, format!("/v1/numbers/+12015550103:{said}"), "{method} {body}");
        }
    }
    assert_eq!(get(&node, THREE).etag(), etag);
    // So that it has one, a block too.
    put(&node, "/v1/numbers/%2B1202556*", "{\"ring\": [\"bob\"]}").is(201);
    let told =
        ask(&node, "PATCH", THREE, &[("If-Match", &etag)], "{\"forward_to\":\"+12025560000\"}").is(422);
    assert!(
        told.errors().contains("is a number of ours (/v1/numbers/+1202556*): the call"),
        "{}",
        told.errors()
    );
}

/// Others lead to the number that is made: what is wrong is which number it is.
#[test]
fn a_mistake_of_the_path_is_said_to_be_the_paths() {
    let place = place();
    let node = place.serve();
    put(&node, TWO, "{\"forward_to\": \"+12025550199\", \"caller_id\": \"+12015550101\"}").is(201);
    let body = "{\n\"ring\": [\"alice\"]}";
    let said = "forward_to +12025550199 leads to it (/v1/numbers/+12015550102): the call would come back";
    for did in ["+12025550199", "+1202555*"] {
        let path = format!("/v1/numbers/{}", did.replace('+', "%2B"));
        let told = ask(&node, "PUT", &path, &[], body).is(422).errors();
        assert!(told.starts_with(&format!("/v1/numbers/{did}:1:1: the path says {did}: {said}; ")), "{told}");
        // Where the body says it too, it stands there.
        let told =
            ask(&node, "PUT", &path, &[], &format!("{{\"did\":\n\"{did}\", \"ring\": []}}")).is(422).errors();
        assert!(told.starts_with(&format!("/v1/numbers/{did}:2:1: {said}; ")), "{told}");
    }
    let told = ask(&node, "DELETE", ONE, &[("If-Match", "*")], "").is(422).errors();
    let said = "/v1/numbers/+12015550101:1:1: it is removed, and caller_id +12015550101 is not verified (/v1/numbers/+12015550102); ";
    assert!(told.starts_with(said), "{told}");
}

/// The files that it was set with are others meanwhile: who patches another key has not sent what is wrong.
#[test]
fn a_mistake_of_what_is_stored_is_told_as_such_to_who_patches_it() {
    let place = place();
    let mut node = place.serve();
    put(&node, ONE, "{\"label\": \"a\", \"ring\": [\"alice\", \"bob\"]}").is(200);
    place.changes("config/routing/all.toml", |text| text.replace("\"bob\"", "\"robert\""));
    node.child.kill().unwrap();
    node.ended();
    let node = place.serve();
    let patch = |body: &str| {
        let etag = get(&node, ONE).is(200).etag();
        ask(&node, "PATCH", ONE, &[("If-Match", &etag)], body)
    };
    let told = patch("{\n \"timeout\": 15,\n \"assigned_to\": \"alicia\"}").is(422).errors();
    assert_eq!(
        told.replace("/v1/numbers/+12015550101:", ""),
        "1:1: ring, as it is stored: agent \"bob\" does not exist; there is \"alice\" or \"robert\"\n\
         3:17: agent \"alicia\" does not exist; did you mean \"alice\"?"
    );
    let now = patch("{\"ring\": [\"robert\"]}").is(200).json();
    assert_eq!((&now["label"], &now["ring"]), (&json!("a"), &json!(["robert"])));
}

/// What nobody can read of it any more is not lost to who patches the rest.
#[test]
fn what_is_set_aside_is_patched_as_it_is_stored_not_as_far_as_it_can_be_read() {
    let place = place();
    let mut node = place.serve();
    put(&node, ONE, "{\"label\": \"a\", \"ring\": [\"bob\"], \"timeout\": 15}").is(200);
    node.child.kill().unwrap();
    node.ended();
    let store = rusqlite::Connection::open(place.folder.path().join("data/store.sqlite")).unwrap();
    let done = store.execute("UPDATE number SET body = replace(body, ': 15', ': \"soon\"')", []).unwrap();
    assert_eq!(done, 1);
    drop(store);
    let node = place.serve();
    let patch = |body: &str| {
        let etag = get(&node, ONE).is(200).etag();
        ask(&node, "PATCH", ONE, &[("If-Match", &etag)], body)
    };
    assert!(get(&node, ONE).json()["aside"].is_string());
    let told = patch("{\"label\": \"b\"}").is(422).errors();
    let said = "/v1/numbers/+12015550101:1:1: timeout, as it is stored: timeout is the text \"soon\"; write a whole number of seconds from 1 to 3600";
    assert_eq!(told, said);
    let now = patch("{\"timeout\": 16}").is(200).json();
    assert_eq!((&now["label"], &now["ring"], &now["timeout"]), (&json!("a"), &json!(["bob"]), &json!(16)));
}

#[test]
fn what_no_number_can_say_is_refused_and_nothing_is_published() {
    let place = place();
    let node = place.serve();
    let etag = get(&node, ONE).etag();
    let generation = || get(&node, "/v1/generations?limit=1").json()["items"][0]["generation"].clone();
    let before = generation();
    let deep =
        |open: &str, close: &str| format!("{{\"ring\": {}1{}}}", open.repeat(20_000), close.repeat(20_000));
    for body in [
        r#"{"ring": ["alice", "al\ud800"], "forward_to": "+1202555\ud8000177"}"#.to_owned(),
        r#"{"ring": ["alice"], "overflow": [{"ring": ["bob"], "timeout": "\udfff"}]}"#.to_owned(),
        r#"{"ring": ["alice", null, "bob"]}"#.to_owned(),
        r#"{"ring": ["alice"], "overflow": [null]}"#.to_owned(),
        r#"{"ring": ["alice"], "rings": null}"#.to_owned(),
        r#"{"ring": ["alice"], "voicemail": {"max_seconds": 9, "max_seconds": 9}}"#.to_owned(),
        r#"{"ring": ["alice"], "timeout": 1e400}"#.to_owned(),
        format!("{{\"timeout\": {}}}", "9".repeat(200_000)),
        format!("{{\"label\": \"{}\"}}", "x".repeat(300_000)),
        deep("[", "]"),
        deep("{\"ring\":", "}"),
        "\u{feff}{}".to_owned(),
        "{} {}".to_owned(),
        "null".to_owned(),
    ] {
        let begins: String = body.chars().take(80).collect();
        for method in ["PUT", "PATCH"] {
            let answer = ask(&node, method, ONE, &[("If-Match", &etag)], &body);
            assert_eq!(answer.status, 422, "{method} {begins}: {}", answer.body);
            assert!(
                answer.errors().starts_with("/v1/numbers/+12015550101:1:"),
                "{begins}: {}",
                answer.errors()
            );
        }
    }
    assert_eq!((generation(), get(&node, ONE).etag()), (before, etag));
}

/// A path names a number in one way only, however it is escaped.
#[test]
fn a_path_is_unescaped_once_and_names_a_number_or_nothing() {
    let place = place();
    let node = place.serve();
    for path in ["+12015550101", "%2B12015550101", "12015550101", "%2b%31%32015550101"] {
        assert_eq!(
            get(&node, &format!("/v1/numbers/{path}")).is(200).json()["did"],
            "+12015550101",
            "{path}"
        );
    }
    for path in [
        "%252B12015550101",
        "%2B12015550101%00",
        "%2B1201%20555%200101",
        "%2B12015550101%2F",
        "%2B12015550101%0A",
        "%FF",
        "%2B%D9%A1%D9%A2015550101",
        "%2B%2B12015550101",
        "%2B12015550101**",
        "%2B1201*5",
        "%1b%5b2J",
    ] {
        for method in ["GET", "PUT", "PATCH", "DELETE"] {
            let answer = ask(&node, method, &format!("/v1/numbers/{path}"), &[("If-Match", "*")], "{}");
            assert_eq!(answer.status, 400, "{method} {path}: {}", answer.body);
            assert!(
                answer.json()["detail"].as_str().unwrap().chars().all(|letter| !letter.is_control()),
                "{path}"
            );
        }
    }
    assert_eq!(get(&node, "/v1/numbers/%2B12015550101/").status, 404);
    assert_eq!(get(&node, "/v1/numbers?source=http").json()["items"], json!([]));
}
