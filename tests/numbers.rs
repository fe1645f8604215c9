//! Single numbers set over HTTP on a real node: effective, durable, judged as files are, and never overwritten unseen.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::io::{Read, Write};
use std::net::TcpStream;

use common::wait_until;
use node::{Line, Place, Serving, ack, answer, invite};
use serde_json::{Value, json};

#[expect(dead_code, reason = "shared with tests that ask for more")]
mod common;
#[expect(dead_code, reason = "shared with tests that ask for more")]
#[path = "common/node.rs"]
mod node;
#[path = "common/schema.rs"]
mod schema;
#[path = "common/sound.rs"]
mod sound;

#[path = "numbers/killed.rs"]
mod killed;
#[path = "numbers/operators.rs"]
mod operators;
#[path = "numbers/refused.rs"]
mod refused;

/// What was answered: status, headers, body.
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    fn etag(&self) -> String {
        self.header("etag").to_owned()
    }

    fn header(&self, name: &str) -> &str {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        let line = lines.find(|(known, _)| *known == name);
        line.unwrap_or_else(|| panic!("{}{}", self.head, self.body)).1
    }

    fn is(self, status: u16) -> Answer {
        assert_eq!(self.status, status, "{}{}", self.head, self.body);
        self
    }

    /// The mistakes that it names, each in a line.
    fn errors(&self) -> String {
        let errors = self.json()["errors"].as_array().cloned().unwrap_or_default();
        let line = |error: &Value| {
            let text = |key: &str| error[key].as_str().unwrap().to_owned();
            format!(
                "{}:{}:{}: {}; {}",
                text("file"),
                error["line"],
                error["column"],
                text("message"),
                text("remedy")
            )
        };
        errors.iter().map(line).collect::<Vec<_>>().join("\n")
    }
}

fn ask(node: &Serving, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    try_ask(&node.admin, method, path, headers, body).unwrap()
}

/// None: the node ended before the headers of its answer were here. Its body may be cut short.
fn try_ask(admin: &str, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Option<Answer> {
    let mut stream = TcpStream::connect(admin.trim_start_matches("http://")).ok()?;
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n"
    );
    // An answer may come before all is sent; the end of a node that was killed shows when it is read.
    stream.write_all((head + body).as_bytes()).ok();
    let mut text = Vec::new();
    stream.read_to_end(&mut text).ok();
    let text = String::from_utf8(text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n")?;
    Some(Answer { status: head[9..12].parse().unwrap(), head: head.to_owned(), body: body.to_owned() })
}

const ONE: &str = "/v1/numbers/%2B12015550101";
const TWO: &str = "/v1/numbers/%2B12015550102";

fn get(node: &Serving, path: &str) -> Answer {
    ask(node, "GET", path, &[], "")
}

/// Says it of the version that is there, or makes it.
fn put(node: &Serving, path: &str, body: &str) -> Answer {
    match get(node, path) {
        there if there.status == 200 => ask(node, "PUT", path, &[("If-Match", &there.etag())], body),
        _ => ask(node, "PUT", path, &[("If-None-Match", "*")], body),
    }
}

fn rings(node: &Serving, number: &str) -> Option<String> {
    let route = get(node, &format!("/v1/numbers/{number}/route"));
    (route.status == 200)
        .then(|| route.json()["plan"]["steps"][0]["targets"][0]["target"].as_str().unwrap().to_owned())
}

/// A second agent, and a trunk that carries calls out.
fn place() -> Place {
    let place = Place::new();
    place.changes("config/routing/all.toml", |text| {
        let text = text.replace("name = \"carrier\"\n", "name = \"carrier\"\noutbound = true\n");
        text + "[[agent]]\nname = \"bob\"\ncontact = \"sip:bob@127.0.0.1:9\"\n"
    });
    place
}

/// A place with sound, and one for `+12015550102` to say.
fn with_sound() -> Place {
    let place = place();
    place.changes("config/strowger.toml", |text| {
        format!("[media]\naddr = \"127.0.0.1\"\nports = \"20400-20599\"\n{text}")
    });
    sound::beep(&sound(&place), 3_000);
    place
}

fn sound(place: &Place) -> std::path::PathBuf {
    place.folder.path().join("config/routing/greeting.wav")
}

#[test]
fn a_number_whose_sound_is_gone_is_set_aside_at_a_start_and_named() {
    let place = with_sound();
    let node = place.serve();
    let greeted = "{\"ring\": [\"alice\"], \"voicemail\": {\"greeting\": {\"file\": \"greeting.wav\"}}}";
    put(&node, TWO, greeted).is(201);
    put(&node, ONE, "{\"ring\": [\"bob\"]}").is(200);
    std::fs::remove_file(sound(&place)).unwrap();
    // Who reloads is told which number it is.
    let refused = ask(&node, "POST", "/v1/reload", &[], "").is(422);
    assert!(refused.errors().starts_with("/v1/numbers/+12015550102:"), "{}", refused.errors());
    assert!(refused.errors().contains("greeting.wav"), "{}", refused.errors());
    drop(node);
    let node = place.serve();
    assert_eq!(
        (rings(&node, "+12015550101").unwrap(), rings(&node, "+12015550102")),
        ("bob".to_owned(), None)
    );
    wait_until(|| {
        let is_told = |line: &str| line.contains("/v1/numbers/+12015550102") && line.contains("greeting.wav");
        place.log().lines().any(is_told)
    });
    let listed = get(&node, "/v1/numbers?source=http").is(200).body;
    assert!(listed.contains("greeting.wav: No such file"), "{listed}");
    // It keeps no reload from being served, and is tried again with each.
    let published = ask(&node, "POST", "/v1/reload", &[], "").is(200).json();
    let warned = published["warnings"].to_string();
    assert!(warned.contains("/v1/numbers/+12015550102"), "{warned}");
    assert_eq!(rings(&node, "+12015550102"), None);
    sound::beep(&sound(&place), 3_000);
    ask(&node, "POST", "/v1/reload", &[], "").is(200);
    assert_eq!(rings(&node, "+12015550102").unwrap(), "alice");
}

#[test]
fn a_number_that_is_set_serves_the_very_next_call_and_the_call_before_goes_on() {
    let place = place();
    let node = place.serve();
    let carrier = Line::new();
    carrier.send(node.sip, &invite(&carrier, "+12015550102", "before"));
    let refused = carrier.receive_final_of("before");
    assert!(refused.starts_with("SIP/2.0 404"), "{refused}");
    carrier.send(node.sip, &ack(&refused, &carrier, "+12015550102", "before"));

    let made =
        ask(&node, "PUT", TWO, &[("If-None-Match", "*")], "{\"ring\": [\"alice\"], \"label\": \"Second\"}")
            .is(201);
    assert!(made.head.contains("strowger-generation: 2"), "{}", made.head);
    assert_eq!(made.json()["source"], "http");
    carrier.send(node.sip, &invite(&carrier, "+12015550102", "after"));
    let (offer, from) = place.phone.offered();

    // While it rings the number is removed: the call has its own plan.
    ask(&node, "DELETE", TWO, &[("If-Match", &made.etag())], "").is(204);
    assert_eq!(get(&node, TWO).status, 404);
    place.phone.send(from, &answer(&offer, "200 OK", &place.phone));
    assert!(carrier.receive_final_of("after").starts_with("SIP/2.0 200"));
    carrier.send(node.sip, &invite(&carrier, "+12015550102", "gone"));
    assert!(carrier.receive_final_of("gone").starts_with("SIP/2.0 404"));
    drop(node);
    wait_until(|| !place.records().is_empty());
    let generations: Vec<u64> = place.records().iter().map(|record| record.generation).collect();
    assert!(generations.starts_with(&[1]), "{generations:?}");
}

#[test]
fn two_who_change_the_same_number_cannot_overwrite_each_other_unseen() {
    let place = place();
    let node = place.serve();
    let seen = get(&node, ONE).is(200);
    assert_eq!(seen.json(), json!({ "did": "+12015550101", "ring": ["alice"], "source": "files" }));
    let anew = "{\"ring\": [\"bob\"]}";
    let refused = ask(&node, "PUT", ONE, &[], anew).is(428);
    assert_eq!(refused.etag(), seen.etag());
    ask(&node, "PUT", ONE, &[("If-None-Match", "*")], anew).is(412);
    ask(&node, "PATCH", ONE, &[], "{\"timeout\": 15}").is(428);
    ask(&node, "DELETE", ONE, &[], "").is(428);
    let mine = ask(&node, "PUT", ONE, &[("If-Match", &seen.etag())], anew).is(200);
    for (method, body) in [("PUT", "{\"ring\": [\"alice\"]}"), ("PATCH", "{\"timeout\": 15}"), ("DELETE", "")]
    {
        let stale = ask(&node, method, ONE, &[("If-Match", &seen.etag())], body).is(412);
        assert_eq!(stale.etag(), mine.etag());
    }
    assert_eq!(rings(&node, "12015550101").as_deref(), Some("bob"));
    // The same once more is another version: who saw the first has not seen it.
    let again = ask(&node, "PUT", ONE, &[("If-Match", &mine.etag())], anew).is(200);
    assert_ne!(again.etag(), mine.etag());
    ask(&node, "PUT", TWO, &[("If-Match", "*")], anew).is(412);
    ask(&node, "PATCH", TWO, &[("If-Match", "*")], "{}").is(404);
    ask(&node, "GET", ONE, &[("If-None-Match", &again.etag())], "").is(304);
}

/// Of many who read the same version and write at once, one wins.
#[test]
fn of_many_who_change_a_number_at_once_one_does() {
    let place = place();
    let node = place.serve();
    let etag = get(&node, ONE).etag();
    let won: usize = std::thread::scope(|scope| {
        let one = |n: u32| {
            let (node, etag) = (&node, &etag);
            move || {
                ask(
                    node,
                    "PUT",
                    ONE,
                    &[("If-Match", etag)],
                    &format!("{{\"ring\": [\"bob\"], \"timeout\": {}}}", 10 + n),
                )
                .status
            }
        };
        let all: Vec<_> = (0..16).map(|n| scope.spawn(one(n))).collect();
        let all: Vec<u16> = all.into_iter().map(|one| one.join().unwrap()).collect();
        assert!(all.iter().all(|status| [200, 412].contains(status)), "{all:?}");
        all.into_iter().filter(|status| *status == 200).count()
    });
    assert_eq!(won, 1);
}

#[test]
fn a_merge_patch_changes_what_it_names_and_takes_out_what_is_null() {
    let place = place();
    let node = place.serve();
    put(
        &node,
        ONE,
        "{\"ring\": [\"alice\"], \"timeout\": 15, \"voicemail\": {\"max_seconds\": 60, \"min_seconds\": 3}}",
    )
    .is(200);
    let patch = |body: &str| {
        let etag = get(&node, ONE).etag();
        let headers = [("If-Match", etag.as_str()), ("Content-Type", "application/merge-patch+json")];
        ask(&node, "PATCH", ONE, &headers, body)
    };
    let now = patch("{\"timeout\": null, \"label\": \"First\", \"voicemail\": {\"max_seconds\": 90}}")
        .is(200)
        .json();
    assert_eq!(now["voicemail"], json!({ "max_seconds": 90, "min_seconds": 3 }));
    assert_eq!((now.get("timeout"), &now["label"], &now["ring"]), (None, &json!("First"), &json!(["alice"])));
    assert_eq!(now.get("source"), Some(&json!("http")));
    assert_eq!(
        patch("{\"timeout\": 0}").is(422).errors().split(": ").nth(1),
        Some("timeout = 0 is out of range; write a whole number of seconds from 1 to 3600")
    );
    assert_eq!(patch("[]").status, 422);
    patch("{\"timeout\"").is(422);
    let twice = patch("{\"timeout\": 15,\n \"timeout\": 16}").is(422).errors();
    assert_eq!(twice, "/v1/numbers/+12015550101:2:2: \"timeout\" is written twice; keep one of them");
    let told = patch("{\"timeout\": 45, \"forward_to\": \"+12025550199\"}").is(200);
    assert!(told.head.contains("strowger-warning: forward_to rings for 45 s"), "{}", told.head);
    patch("{\"timeout\": null, \"forward_to\": null}").is(200);
    // What was told comes back as it is.
    let told = get(&node, ONE);
    let back = ask(&node, "PUT", ONE, &[("If-Match", &told.etag())], &told.body).is(200).json();
    assert_eq!(back["voicemail"], now["voicemail"]);
}

#[test]
fn a_number_is_judged_as_in_a_file_and_every_mistake_is_told_with_its_place() {
    let place = place();
    let node = place.serve();
    let refused = |body: &str| {
        let refused = ask(&node, "PUT", TWO, &[], body).is(422).errors();
        assert_eq!(get(&node, TWO).status, 404);
        refused
    };
    let five = "{\n  \"rings\": [\"alice\"],\n  \"ring\": [\"alicia\", \"bob\"],\n  \"timeout\": \"15\",\n  \"forward_to\": \"555\",\n  \"assigned_to\": \"bobb\",\n  \"trunk\": \"carriers\",\n  \"record\": 1\n}";
    assert_eq!(
        refused(five).replace("/v1/numbers/+12015550102:", ""),
        "2:3: [[number]] has no key \"rings\"; did you mean \"ring\"?\n\
         3:12: agent \"alicia\" does not exist; did you mean \"alice\"?\n\
         4:14: timeout is the text \"15\"; write a whole number of seconds from 1 to 3600\n\
         5:17: \"555\" is no E.164 number (it does not begin with +); write + and 7 to 15 digits, like \"+12015550101\"\n\
         6:18: agent \"bobb\" does not exist; did you mean \"bob\"?\n\
         7:12: trunk \"carriers\" does not exist; did you mean \"carrier\"?\n\
         8:13: record is the number 1; write true or false"
    );
    assert_eq!(
        refused("{\"ring\": [\"alicia\"],\n\"assigned_to\": \"bobb\"}")
            .replace("/v1/numbers/+12015550102:", ""),
        "1:11: agent \"alicia\" does not exist; did you mean \"alice\"?\n\
         2:16: agent \"bobb\" does not exist; did you mean \"bob\"?"
    );
    for (body, said) in [
        ("{\"ring\": [\"alice\"], \"ring\": [\"bob\"]}", "\"ring\" is written twice"),
        ("{\"did\": \"+12015550103\"}", "the path says +12015550102"),
        ("{\"ring\": [\"alice\"", "JSON:"),
        ("[1]", "no object"),
        ("", "JSON:"),
        ("{\"timeout\": 15e1}", "timeout"),
        ("{\"label\": \"a\\u0007b\"}", "control character"),
        ("{\"forward_to\": \"+12015550102\"}", "a number of ours"),
        ("{\"forward_to\": \"+12015550101\"}", "a number of ours"),
        ("{\"forward_to\": \"+19005550101\"}", "forbidden by [dial]"),
        ("{\"caller_id\": \"+12025550199\"}", "not verified"),
        ("{\"profile\": \"realty\"}", "does not exist"),
    ] {
        let told = refused(body);
        assert!(told.contains(said) && told.contains("/v1/numbers/+12015550102:"), "{body}: {told}");
    }
    let deep = format!("{{\"ring\": {}{}}}", "[".repeat(100), "]".repeat(100));
    assert!(refused(&deep).contains("deeper"));
    for path in ["/v1/numbers/123", "/v1/numbers/%2B1234567890123456", "/v1/numbers/abc", "/v1/numbers/%2B*"]
    {
        for method in ["GET", "PUT"] {
            ask(&node, method, path, &[], "{}").is(400);
        }
    }
}

/// A number that others forward to becomes ours, or what verified another's caller ID goes: both are refused where they are
/// wished, not at the next reload.
#[test]
fn what_would_break_another_number_is_refused() {
    let place = place();
    place.changes("config/routing/all.toml", |text| {
        text.to_owned()
            + "[[number]]\ndid = \"+12015550103\"\nforward_to = \"+12025550199\"\ncaller_id = \"+12015550101\"\n"
    });
    let table = place.folder.path().join("config/routing/table.csv");
    std::fs::write(table, "did,forward_to\n+12015550104,+12025550177\n+12015550105,+12025550178\n").unwrap();
    let node = place.serve();
    for (path, at) in [
        ("/v1/numbers/12025550199", "all.toml:"),
        ("/v1/numbers/12025550178", "table.csv:3:14"),
        ("/v1/numbers/%2B1202555*", "table.csv:2:14"),
    ] {
        let told = ask(&node, "PUT", path, &[], "{\"ring\": [\"alice\"]}").is(422).errors();
        assert!(told.contains("leads to it") && told.contains(at), "{told}");
    }
    let told = ask(&node, "DELETE", ONE, &[("If-Match", "*")], "").is(422).errors();
    assert!(told.contains("caller_id +12015550101 is not verified"), "{told}");
    // Once nobody forwards there any more it may be made.
    put(&node, "/v1/numbers/12015550105", "{\"ring\": [\"bob\"]}").is(200);
    put(&node, "/v1/numbers/12025550178", "{\"ring\": [\"alice\"]}").is(201);
    // And then what the files say of the other would lead back.
    let etag = get(&node, "/v1/numbers/12015550105").etag();
    ask(&node, "DELETE", "/v1/numbers/12015550105?to=files", &[("If-Match", &etag)], "").is(422);
}

#[test]
fn what_was_set_wins_over_the_files_outlives_reloads_and_restarts_and_can_be_taken_back() {
    let place = place();
    let mut node = place.serve();
    put(&node, ONE, "{\"ring\": [\"bob\"]}").is(200);
    put(&node, TWO, "{\"ring\": [\"bob\"]}").is(201);
    put(&node, "/v1/numbers/%2B1201555*", "{\"ring\": [\"alice\"]}").is(201);
    place.changes("config/routing/all.toml", |text| {
        text.to_owned() + "[[number]]\ndid = \"+12015550103\"\nring = [\"bob\"]\n"
    });
    assert_eq!(place.strowger(&["reload"]).0, 0);
    let etag = get(&node, "/v1/numbers/12015550103").etag();
    ask(&node, "DELETE", "/v1/numbers/12015550103", &[("If-Match", &etag)], "").is(204);
    let all = |node: &Serving| {
        let served = ["12015550101", "12015550102", "12015550103", "12015550199", "12025550101"];
        served.map(|number| rings(node, number).unwrap_or_default())
    };
    let now = ["bob", "bob", "alice", "alice", ""];
    assert_eq!(all(&node), now);
    assert_eq!(place.strowger(&["reload"]).0, 0);
    assert_eq!(all(&node), now);
    let generation = |node: &Serving| {
        get(node, "/v1/generations?limit=1").json()["items"][0]["generation"].as_u64().unwrap()
    };
    let before = generation(&node);
    node.child.kill().unwrap();
    node.ended();
    let node = place.serve();
    assert_eq!(all(&node), now);
    assert_eq!(generation(&node), before + 1);
    let metrics = get(&node, "/metrics").body;
    assert!(metrics.contains("strowger_config_numbers 3\n"), "{metrics}");

    let (code, out, err) =
        place.strowger(&["numbers", "unset", "+12015550101", "+12015550102", "+12015550103", "+1201555*"]);
    assert_eq!(code, 0, "{out}{err}");
    assert_eq!(all(&node), ["alice", "", "bob", "", ""]);
    assert_eq!(get(&node, ONE).json()["source"], "files");
    ask(&node, "DELETE", &format!("{ONE}?to=files"), &[("If-Match", "*")], "").is(404);
}

#[test]
fn numbers_are_listed_in_pages_what_was_set_first_and_found_by_digits_label_or_account() {
    let place = place();
    place.changes("config/routing/all.toml", |text| {
        let more = (3..8).map(|n| {
            format!("[[number]]\ndid = \"+1201555010{n}\"\nring = [\"bob\"]\nlabel = \"Listing {n}\"\n")
        });
        text.to_owned() + &more.collect::<String>()
    });
    let node = place.serve();
    put(&node, "/v1/numbers/12015550105", "{\"ring\": [\"bob\"], \"account\": \"Realty\"}").is(200);
    put(&node, TWO, "{\"ring\": [\"bob\"]}").is(201);
    let etag = get(&node, "/v1/numbers/12015550107").etag();
    ask(&node, "DELETE", "/v1/numbers/12015550107", &[("If-Match", &etag)], "").is(204);
    let last = |list: &Value| -> String {
        let items = list["items"].as_array().unwrap();
        items.iter().map(|item| item["did"].as_str().unwrap()[11..].to_owned()).collect()
    };
    for limit in [1, 2, 3, 4, 5, 100] {
        let (mut seen, mut after) = (String::new(), String::new());
        loop {
            let page = get(&node, &format!("/v1/numbers?limit={limit}{after}")).is(200).json();
            seen += &last(&page);
            match page["next"].as_str() {
                Some(next) => after = format!("&after={}", next.replace('+', "%2B")),
                None => break,
            }
        }
        assert_eq!(seen, "251346", "{limit}");
    }
    let found = |q: &str| last(&get(&node, &format!("/v1/numbers?{q}")).is(200).json());
    assert_eq!(found("q=listing"), "346");
    assert_eq!(found("q=LISTING%204"), "4");
    assert_eq!(found("q=real"), "5");
    assert_eq!(found("q=50101"), "1");
    assert_eq!(found("q=nothing"), "");
    assert_eq!(found("source=http"), "257");
    get(&node, "/v1/numbers?after=files:%2B12015559999").is(400);
    get(&node, "/v1/numbers?after=x").is(400);
    let (_, out, _) = place.strowger(&["numbers", "list", "--set"]);
    assert!(out.contains("+12015550107") && out.contains("removed over HTTP"), "{out}");
}

/// A reload tells what becomes of calls, not what becomes of lines.
#[test]
fn a_dry_run_names_what_calls_would_notice_of_numbers_that_are_set_over_http_too() {
    let place = place();
    let more =
        "[[profile]]\nname = \"day\"\ntimeout = 15\n[[number]]\ndid = \"+12015550103\"\nring = [\"bob\"]\n";
    place.changes("config/routing/all.toml", |text| text.to_owned() + more);
    let node = place.serve();
    put(&node, ONE, "{\"ring\": [\"bob\"]}").is(200);
    put(&node, TWO, "{\"ring\": [\"bob\"], \"profile\": \"day\"}").is(201);
    let etag = get(&node, "/v1/numbers/12015550103").etag();
    ask(&node, "DELETE", "/v1/numbers/12015550103", &[("If-Match", &etag)], "").is(204);
    place.changes("config/routing/all.toml", |text| {
        let text = text.replace("ring = [\"alice\"]", "ring = [\"alice\", \"bob\"]");
        text.replace("timeout = 15", "timeout = 16")
            .replace("did = \"+12015550103\"", "did = \"+12015550104\"")
    });
    let (_, told, _) = place.strowger(&["reload", "--dry-run", "--json"]);
    let changes = serde_json::from_str::<Value>(&told).unwrap()["changes"].clone();
    let line =
        |line: &Value| format!("{} {}", line["name"].as_str().unwrap(), line["change"].as_str().unwrap());
    let told: Vec<String> = changes.as_array().unwrap().iter().map(line).collect();
    assert_eq!(told, ["+12015550104 added", "+12015550102 changed"]);
}

/// A sound beside the file that names it is the same once the number is set over HTTP.
#[test]
fn a_path_of_a_file_stays_what_it_was_when_another_key_is_set() {
    let place = place();
    let sub = place.folder.path().join("config/routing/sub");
    std::fs::create_dir(&sub).unwrap();
    let number = "[[number]]\ndid = \"+12015550102\"\nring = [\"bob\"]\nwhisper = { file = \"s.wav\" }\n";
    std::fs::write(sub.join("x.toml"), number).unwrap();
    let node = place.serve();
    assert_eq!(get(&node, TWO).json()["whisper"], json!({ "file": "sub/s.wav" }));
    let etag = get(&node, TWO).etag();
    let now = ask(&node, "PATCH", TWO, &[("If-Match", &etag)], "{\"timeout\": 15}").is(200).json();
    assert_eq!(now["whisper"], json!({ "file": "sub/s.wav" }));
}

/// Files that are mended by hand while the node is down must not keep it from starting.
#[test]
fn what_was_set_and_no_longer_checks_refuses_a_reload_and_is_set_aside_at_a_start() {
    let place = place();
    let mut node = place.serve();
    put(&node, ONE, "{\"ring\": [\"bob\"]}").is(200);
    put(&node, TWO, "{\"ring\": [\"bob\"]}").is(201);
    place.changes("config/routing/all.toml", |text| text.replace("\"bob\"", "\"robert\""));
    let (code, _, err) = place.strowger(&["reload"]);
    assert_eq!(code, 1);
    assert!(err.contains("/v1/numbers/+12015550101:4:5: agent \"bob\" does not exist"), "{err}");
    assert_eq!(rings(&node, "12015550101").as_deref(), Some("bob"));
    node.child.kill().unwrap();
    node.ended();
    let mut node = place.serve();
    assert_eq!(rings(&node, "12015550101").as_deref(), Some("alice"));
    assert_eq!(rings(&node, "12015550102"), None);
    let told = get(&node, ONE).is(200).json();
    assert!(told["aside"].as_str().unwrap().contains("agent \"bob\" does not exist"), "{told}");
    wait_until(|| place.log().contains("does not check with the files any more"));
    // Mended, it is as it was set: at a reload, …
    place.changes("config/routing/all.toml", |text| text.replace("\"robert\"", "\"bob\""));
    let (code, out, err) = place.strowger(&["reload"]);
    assert!(code == 0 && out.contains("changed: number +12015550101"), "{out}{err}");
    assert_eq!(rings(&node, "12015550101").as_deref(), Some("bob"));
    assert_eq!(get(&node, ONE).json().get("aside"), None);
    place.changes("config/routing/all.toml", |text| text.replace("\"bob\"", "\"robert\""));
    node.child.kill().unwrap();
    node.ended();
    let mut node = place.serve();
    assert_eq!(rings(&node, "12015550101").as_deref(), Some("alice"));
    // … and at a start.
    place.changes("config/routing/all.toml", |text| text.replace("\"robert\"", "\"bob\""));
    node.child.kill().unwrap();
    node.ended();
    let node = place.serve();
    assert_eq!(rings(&node, "12015550101").as_deref(), Some("bob"));
    assert_eq!(rings(&node, "12015550102").as_deref(), Some("bob"));
    drop(node);
}

#[test]
fn an_operator_sets_looks_at_and_exports_numbers_from_the_command_line() {
    let place = place();
    let node = place.serve();
    let (code, out, err) =
        place.strowger(&["numbers", "set", "+12015550102", "ring=alice|bob", "timeout=15", "label=Second"]);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("ring = [\"alice\", \"bob\"]\ntimeout = 15\n"), "{out}");
    assert_eq!(place.strowger(&["numbers", "set", "+12015550102", "timeout=null"]).0, 0);
    let (_, out, _) = place.strowger(&["numbers", "get", "+12015550102"]);
    assert!(out.contains("label = \"Second\"") && !out.contains("timeout"), "{out}");
    let (code, _, err) = place.strowger(&["numbers", "set", "+12015550102", "ring=alicia"]);
    assert!(code == 1 && err.contains("did you mean \"alice\"?"), "{err}");
    let (code, _, err) =
        place.strowger(&["numbers", "set", "+12015550102", "timeout=20", "--if-match", "0000"]);
    assert!(code == 1 && err.contains("somebody has changed"), "{err}");
    assert_eq!(place.strowger(&["numbers", "get", "+12015559999"]).0, 1);
    assert_eq!(place.strowger(&["numbers", "unset", "+12015550101"]).0, 1);
    let body = place.folder.path().join("body.json");
    std::fs::write(&body, "{\"ring\": [\"bob\"]}").unwrap();
    let from_file = || place.strowger(&["numbers", "set", "+12015550103", "--file", "body.json"]);
    assert_eq!(from_file().0, 0);
    // What names no version replaces none; what was looked at before somebody changed it neither.
    let (code, _, err) = from_file();
    assert!(code == 1 && err.contains("is there already"), "{err}");
    let (_, seen, _) = place.strowger(&["numbers", "get", "+12015550103", "--json"]);
    std::fs::write(&body, &seen).unwrap();
    assert_eq!(place.strowger(&["numbers", "set", "+12015550103", "timeout=33"]).0, 0);
    let (code, _, err) = from_file();
    assert!(code == 1 && err.contains("somebody has changed"), "{err}");
    let (_, seen, _) = place.strowger(&["numbers", "get", "+12015550103", "--json"]);
    std::fs::write(&body, &seen).unwrap();
    assert_eq!(from_file().0, 0);
    let (code, out, err) = place.strowger(&["numbers", "unset", "+12015550103", "+12015559999"]);
    assert!(code == 1 && err.contains("+12015550103 is as the files have it"), "{out}{err}");
    assert_eq!(place.strowger(&["numbers", "set", "+12015550103", "ring=bob"]).0, 0);
    let (code, _, err) = place.strowger(&["numbers", "set", "+12015550103", "record_notice=false"]);
    assert!(code == 1 && err.contains("record_notice is false"), "{err}");
    assert_eq!(place.strowger(&["numbers", "unset", "--delete", "+12015550101"]).0, 0);

    let (code, out, _) = place.strowger(&["numbers", "export", "--out", "config/routing/http.toml"]);
    assert!(code == 0 && out.starts_with("3 numbers in "), "{out}");
    place.changes("config/routing/all.toml", |text| {
        let at = text.find("[[number]]").unwrap();
        let end = text[at..].find("[[agent]]").map_or(text.len(), |end| at + end);
        format!("{}{}", &text[..at], &text[end..])
    });
    let (code, out, err) = place.strowger(&["check"]);
    assert_eq!(code, 0, "{out}{err}");
    assert!(place.strowger(&["route", "--offline", "+12015550103"]).1.contains("bob"));
    assert_eq!(place.strowger(&["reload"]).0, 0);
    let (_, out, _) = place.strowger(&["generations"]);
    assert!(out.contains("+12015550103 set") && out.contains("the node started"), "{out}");
    drop(node);
}
