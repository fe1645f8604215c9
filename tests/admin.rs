//! `[admin]` over real HTTP, with a node that is made up here.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use common::{NOON, PATIENCE, cdr, entry};
use schema::violations;
use serde_json::{Value, json};
use served::{NUMBER, Served, misspelt, runtime, served, served_on, story_of};
use strowger::admin::operations::{
    Anew, Condition, NotChanged, NotPublished, Readiness, Removal, Versions, Wish,
};
use strowger::admin::{Admin, AgentList, BindError, TrunkList};
use strowger::call::cdr::Cdr;
use strowger::call::story::CallStory;
use strowger::time::Wall;

mod common;
#[path = "common/schema.rs"]
mod schema;
#[path = "common/served.rs"]
mod served;

#[test]
fn health_and_readiness() {
    let admin = served();
    assert_eq!(admin.get("/healthz").0, 200);
    for (readiness, status) in [
        (Readiness::Taking, 200),
        (Readiness::Starting, 503),
        (Readiness::Draining, 503),
        (Readiness::NoRoom, 503),
    ] {
        *admin.node.readiness.lock().unwrap() = readiness;
        let (got, body) = admin.get("/readyz");
        assert_eq!(got, status, "{body}");
    }
    assert_eq!(admin.get("/healthz").0, 200);
}

#[test]
fn metrics_are_prometheus_text_with_the_contract_s_prefix() {
    let admin = served();
    metrics::counter!("strowger_calls_total", "direction" => "inbound", "outcome" => "answered").increment(2);
    metrics::histogram!("strowger_setup_seconds").record(0.000_3);
    let (status, text) = admin.get("/metrics");
    assert_eq!(status, 200);
    assert!(text.contains("# HELP strowger_calls_total"), "{text}");
    assert!(text.contains("strowger_calls_total{direction=\"inbound\",outcome=\"answered\"} 2"), "{text}");
    assert!(text.contains("strowger_setup_seconds_bucket{le=\"0.0005\"} 1"), "{text}");
    assert!(text.contains("strowger_build_info{version="), "{text}");
    assert!(text.contains("strowger_trunk_calls_active{trunk=\"carrier\"} 3"), "{text}");
    assert!(text.contains("\nstrowger_trunk_up{trunk=\"carrier\",gateway=\"0\"} 1\n"), "{text}");
}

#[test]
fn calls_are_listed_in_pages_in_the_order_in_which_they_began() {
    let admin = served();
    let (_, list) = admin.get_json("/v1/calls");
    assert_eq!(ids(&list), ["c1", "c2", "c3"]);
    assert_eq!(list["next"], Value::Null);
    let (_, first) = admin.get_json("/v1/calls?limit=2");
    assert_eq!(ids(&first), ["c1", "c2"]);
    let (_, rest) = admin.get_json(&format!("/v1/calls?limit=2&after={}", first["next"].as_str().unwrap()));
    assert_eq!((ids(&rest), &rest["next"]), (vec!["c3"], &Value::Null));
}

#[test]
fn agents_are_listed_in_pages_with_where_their_phones_are() {
    let admin = served();
    let (status, list) = admin.get_json("/v1/agents");
    assert_eq!(status, 200);
    assert_eq!(
        violations(&serde_json::to_value(schemars::schema_for!(AgentList)).unwrap(), &list),
        Vec::<String>::new()
    );
    let names = |list: &Value| -> Vec<String> {
        list["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|agent| agent["name"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(names(&list), ["alice", "bob", "carol"]);
    let (_, first) = admin.get_json("/v1/agents?limit=2");
    assert_eq!(
        (names(&first), first["next"].as_str()),
        (vec!["alice".to_owned(), "bob".to_owned()], Some("bob"))
    );
    let (_, rest) = admin.get_json("/v1/agents?limit=2&after=bob");
    assert_eq!((names(&rest), &rest["next"]), (vec!["carol".to_owned()], &Value::Null));
}

#[test]
fn trunks_are_listed_in_pages_with_how_their_gateways_are() {
    let admin = served();
    let (status, list) = admin.get_json("/v1/trunks");
    assert_eq!(status, 200);
    let schema = serde_json::to_value(schemars::schema_for!(TrunkList)).unwrap();
    assert_eq!(violations(&schema, &list), Vec::<String>::new());
    assert_eq!(list["items"][0]["gateways"][0]["last_failure"]["what"], "no answer to OPTIONS");
    let (_, first) = admin.get_json("/v1/trunks?limit=1");
    assert_eq!((&first["items"][0]["name"], &first["next"]), (&"carrier".into(), &"carrier".into()));
    let (_, rest) = admin.get_json("/v1/trunks?limit=1&after=carrier");
    assert_eq!((&rest["items"][0]["name"], &rest["next"]), (&"mobile".into(), &Value::Null));
}

#[test]
fn a_call_is_shown_with_its_ladder_and_can_be_hung_up() {
    let admin = served();
    let (status, shown) = admin.get_json("/v1/calls/c1");
    assert_eq!(status, 200);
    assert_eq!(violations(&CallStory::json_schema(), &shown), Vec::<String>::new());
    let story: CallStory = serde_json::from_value(shown).unwrap();
    assert_eq!(story, story_of("c1"));
    assert_eq!(admin.ask("DELETE", "/v1/calls/c1", &[]).0, 204);
    assert_eq!(*admin.node.hung_up.lock().unwrap(), ["c1"]);
    for method in ["GET", "DELETE"] {
        let (status, body) = admin.ask(method, "/v1/calls/nobody", &[]);
        assert_problem(status, &body, 404, "no call nobody");
    }
}

#[test]
fn a_calls_messages_are_a_file_that_says_what_it_lacks() {
    let admin = served();
    let asked = |id: &str| {
        let path = format!("/v1/calls/{id}/pcap");
        admin.raw(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"))
    };
    let (head, body) = asked("c1");
    assert!(head.starts_with("HTTP/1.1 200") && body == "a file", "{head}");
    assert!(head.contains("content-type: application/vnd.tcpdump.pcap\r\n"), "{head}");
    assert_eq!(head.matches("content-type").count(), 1, "{head}");
    assert!(head.contains("strowger-messages: 14") && !head.contains("strowger-missing"), "{head}");
    let (head, _) = asked("c2");
    assert!(head.contains("strowger-missing: the first messages are no longer kept"), "{head}");
    for (id, status, said) in
        [("c3", 410, "no longer kept"), ("off", 409, "no [capture]"), ("nobody", 404, "no call nobody")]
    {
        let (got, body) = admin.get(&format!("/v1/calls/{id}/pcap"));
        assert_problem(got, &body, status, said);
    }
}

#[test]
fn records_are_paged_by_a_cursor_and_fit_their_schema() {
    let admin = served();
    for n in 0..5 {
        assert!(admin.store.recorder().reserve());
        admin.store.recorder().ended(Box::new(cdr(&format!("r{n}"), NOON + n)));
    }
    assert!(admin.store.flush(PATIENCE));
    let (mut seen, mut after) = (Vec::new(), String::new());
    loop {
        let (status, page) = admin.get_json(&format!("/v1/cdrs?limit=2{after}"));
        assert_eq!(status, 200);
        for item in page["items"].as_array().unwrap() {
            assert_eq!(violations(&Cdr::json_schema(), item), Vec::<String>::new());
        }
        seen.extend(ids(&page).into_iter().map(str::to_owned));
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    assert_eq!(seen, ["r0", "r1", "r2", "r3", "r4"]);
    // A reader who waits at the end sees what comes.
    assert!(admin.store.recorder().reserve());
    admin.store.recorder().ended(Box::new(cdr("r5", NOON + 5)));
    assert!(admin.store.flush(PATIENCE));
    assert_eq!(ids(&admin.get_json(&format!("/v1/cdrs?limit=2{after}")).1), ["r5"]);
}

#[test]
fn a_record_is_not_shown_before_it_is_on_disk() {
    let admin = served();
    assert!(admin.store.recorder().reserve());
    admin.store.recorder().started(Box::new(entry("live")));
    assert!(admin.store.flush(PATIENCE));
    assert_eq!(admin.get_json("/v1/cdrs").1, json!({ "items": [], "next": null }));
}

#[test]
fn reload_publishes_or_says_what_is_wrong() {
    let admin = served();
    let (status, published) = admin.post_json("/v1/reload");
    assert_eq!((status, &published["generation"]), (200, &json!(2)));
    let (status, dry) = admin.post_json("/v1/reload?dry_run=1");
    assert_eq!((status, &dry["generation"]), (200, &json!(1)));

    *admin.node.reloads.lock().unwrap() = Some(NotPublished::Wrong(vec![misspelt()]));
    let (status, body) = admin.ask("POST", "/v1/reload", &[]);
    assert_problem(status, &body, 422, "does not check");
    let errors = &serde_json::from_str::<Value>(&body).unwrap()["errors"];
    assert_eq!(errors[0]["line"], 14);
    assert_eq!(errors[0]["remedy"], "did you mean \"bob\"?");

    *admin.node.reloads.lock().unwrap() = Some(NotPublished::Busy);
    let (status, body) = admin.ask("POST", "/v1/reload", &[]);
    assert_problem(status, &body, 409, "another reload");
    *admin.node.reloads.lock().unwrap() = Some(NotPublished::Unwritten("the disk is full".to_owned()));
    let (status, body) = admin.ask("POST", "/v1/reload", &[("Strowger-By", "alice")]);
    assert_problem(status, &body, 507, "disk is full");
    assert_eq!(*admin.node.by.lock().unwrap(), "alice");
}

#[test]
fn generations_are_listed_in_pages_the_latest_first() {
    let admin = served();
    let of = |list: &Value| -> Vec<u64> {
        list["items"].as_array().unwrap().iter().map(|line| line["generation"].as_u64().unwrap()).collect()
    };
    let (_, first) = admin.get_json("/v1/generations?limit=2");
    assert_eq!((of(&first), &first["next"]), (vec![3, 2], &json!("2")));
    assert_eq!(
        (&first["items"][0]["by"], &first["items"][0]["what"]),
        (&json!("alice"), &json!("the node started"))
    );
    let (_, rest) = admin.get_json("/v1/generations?limit=2&after=2");
    assert_eq!((of(&rest), &rest["next"]), (vec![1], &Value::Null));
}

#[test]
fn a_number_is_told_with_its_version_and_changed_by_who_knows_it() {
    let admin = served();
    let ask =
        |request: &str| admin.raw(&format!("{request}\r\nHost: localhost\r\nConnection: close\r\n\r\n"));
    let (head, body) = ask("GET /v1/numbers/%2B12015550101 HTTP/1.1");
    assert!(head.starts_with("HTTP/1.1 200") && head.contains("etag: \"v1\""), "{head}");
    assert_eq!(body.trim_end(), NUMBER);
    let (head, _) = ask("GET /v1/numbers/12015550101 HTTP/1.1\r\nIf-None-Match: \"v0\", \"v1\"");
    assert!(head.starts_with("HTTP/1.1 304") && head.contains("etag: \"v1\""), "{head}");
    let (status, list) = admin.get_json("/v1/numbers?q=main&source=http&limit=1");
    assert_eq!((status, &list["next"]), (200, &json!("files:+12015550101")));
    assert_eq!(list["items"][0]["did"], "+12015550101");

    let put = |headers: &str, body: &str| {
        let length = body.len();
        let (head, body) = admin.raw(&format!(
            "PUT /v1/numbers/%2B12015550101 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}Content-Length: \
             {length}\r\n\r\n{body}"
        ));
        (head[9..12].parse::<u16>().unwrap(), head, body)
    };
    let (status, head, _) = put("If-Match: \"v1\"\r\nStrowger-By: alice\r\n", "{}");
    assert!(status == 200 && head.contains("strowger-generation: 7"), "{head}");
    assert!(
        head.contains("strowger-warning: agent \"bobb\" does not exist; did you mean \"bob\"?"),
        "{head}"
    );
    assert_eq!(*admin.node.by.lock().unwrap(), "alice");
    put("If-Match: \"v1\"\r\nIf-Match: \"v2\", W/\"v3\"\r\n", "{}");
    put("If-None-Match: *\r\nContent-Type: application/json; charset=utf-8\r\n", "{}");
    // Commas in quotes are a version's own, and what is empty between others counts for nothing (RFC 9110 §5.6.1).
    put("If-Match: ,\"a,b\" ,, \"v1\",\r\n", "{}");
    // A weak one is no version to change, and the same as another to whoever asks for any but it (§8.8.3.2).
    put("If-Match: W/\"v1\"\r\n", "{}");
    put("If-None-Match: W/\"v1\"\r\n", "{}");
    let these =
        |versions: &[&str]| Some(Versions::These(versions.iter().map(|one| (*one).to_owned()).collect()));
    let wishes: Vec<Condition> =
        admin.node.wishes.lock().unwrap().iter().map(|(_, condition)| condition.clone()).collect();
    assert_eq!(
        wishes,
        [
            Condition { if_match: these(&["v1"]), if_none_match: None },
            Condition { if_match: these(&["v1", "v2"]), if_none_match: None },
            Condition { if_match: None, if_none_match: Some(Versions::Any) },
            Condition { if_match: these(&["a,b", "v1"]), if_none_match: None },
            Condition { if_match: these(&[]), if_none_match: None },
            Condition { if_match: None, if_none_match: these(&["v1"]) },
        ]
    );
    for (headers, body, status, said) in [
        ("If-Match: v1\r\n", "{}", 400, "in its quotes"),
        ("If-Match: \r\n", "{}", 400, "in its quotes"),
        ("If-Match: ,\r\n", "{}", 400, "in its quotes"),
        ("If-Match: \"v1\" \"v2\"\r\n", "{}", 400, "in its quotes"),
        ("If-Match: \"v0\", *\r\n", "{}", 400, "in its quotes"),
        ("If-Match: *\r\nIf-Match: *\r\n", "{}", 400, "in its quotes"),
        ("If-Match: W/v1\r\n", "{}", 400, "in its quotes"),
        ("If-None-Match: W/\"v1\r\n", "{}", 400, "in its quotes"),
        ("If-None-Match: \"\u{e9}\"\r\n", "{}", 400, "in its quotes"),
        ("Content-Type: text/plain\r\n", "{}", 415, "Content-Type: application/json"),
    ] {
        let (got, _, body) = put(headers, body);
        assert_problem(got, &body, status, said);
    }
}

#[test]
fn why_a_number_was_not_changed_is_a_problem_that_says_what_would_be_right() {
    let admin = served();
    let v2 = || "v2".to_owned();
    let removal = || Removal { etag: v2(), by: "bob".to_owned(), at: Wall(0) };
    for (why, status, said, etag) in [
        (NotChanged::Unconditional(v2()), 428, "If-Match", true),
        (NotChanged::Stale(Some(v2())), 412, "somebody has changed", true),
        (NotChanged::Stale(None), 412, "no version to match", false),
        (NotChanged::Exists(v2()), 412, "is there already", true),
        (NotChanged::Unknown, 404, "none of our numbers", false),
        (
            NotChanged::Removed(removal()),
            404,
            "was removed over HTTP by bob, 1970-01-01T00:00:00.000Z; `strowger numbers unset`, or DELETE with ?to=files",
            true,
        ),
        (
            NotChanged::Unaware(removal(), Anew::Made),
            428,
            "was removed over HTTP by bob, 1970-01-01T00:00:00.000Z; to make it anew, send If-None-Match: *",
            true,
        ),
        (
            NotChanged::Unaware(removal(), Anew::FromFiles),
            428,
            "was removed over HTTP by bob, 1970-01-01T00:00:00.000Z; to take that back, name its ETag",
            true,
        ),
        (NotChanged::Gone(removal()), 412, "so no version of it is there to match", true),
        (NotChanged::NotSet, 404, "nothing was set", false),
        (NotChanged::BadNumber("a number is + and 7 to 15 digits".to_owned()), 400, "7 to 15 digits", false),
        (NotChanged::Wrong(vec![misspelt()]), 422, "does not check", false),
        (NotChanged::Full(3), 507, "export", false),
        (NotChanged::Unwritten("disk full".to_owned()), 507, "disk full", false),
        (NotChanged::Busy, 503, "try again", false),
    ] {
        *admin.node.changes.lock().unwrap() = Some(why);
        for method in ["PUT", "PATCH", "DELETE"] {
            let (head, body) = admin.raw(&format!(
                "{method} /v1/numbers/+12015550101 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{{}}"
            ));
            assert_problem(head[9..12].parse().unwrap(), &body, status, said);
            assert_eq!(head.contains("etag: \"v2\""), etag, "{head}");
        }
    }
    *admin.node.changes.lock().unwrap() = None;
    let (status, body) = admin.ask("DELETE", "/v1/numbers/12015550101?to=nowhere", &[]);
    assert_problem(status, &body, 400, "`to` is files");
    assert_eq!(admin.ask("DELETE", "/v1/numbers/12015550101?to=files", &[]).0, 200);
    assert_eq!(admin.node.wishes.lock().unwrap().last().unwrap().0, Wish::ToFiles);
    let (status, body) = admin.get("/v1/numbers?source=files");
    assert_problem(status, &body, 400, "`source` is http");
    let (status, body) = admin.get("/v1/numbers?after=nowhere");
    assert_problem(status, &body, 400, "`after` is the `next`");
}

#[test]
fn a_route_is_asked_by_plus_or_by_bare_digits() {
    let admin = served();
    for path in ["%2B12015550101", "12015550101", "+12015550101"] {
        let (status, told) = admin.get_json(&format!("/v1/numbers/{path}/route?from=%2B12025550123"));
        assert_eq!(status, 200, "{path}");
        assert_eq!(told["text"], "+12015550101 from +12025550123 rings alice");
    }
    let (status, body) = admin.get("/v1/numbers/12015559999/route");
    assert_problem(status, &body, 404, "none of our numbers");
    let (status, body) = admin.get("/v1/numbers/abc/route");
    assert_problem(status, &body, 400, "a number is");
}

#[test]
fn every_error_is_a_problem() {
    let admin = served();
    for (method, path, status, said) in [
        ("GET", "/nothing", 404, "/openapi.json"),
        ("POST", "/v1/calls", 405, "Allow"),
        ("GET", "/v1/reload", 405, "Allow"),
        ("GET", "/v1/calls?limit=0", 400, "1 to 10000"),
        ("GET", "/v1/calls?limit=many", 400, "limit"),
        ("GET", "/v1/calls?limits=1", 400, "limits"),
        ("GET", "/v1/calls?after=x", 400, "cursor"),
        ("GET", "/v1/cdrs?after=x", 400, "cursor"),
        ("GET", "/v1/cdrs?after=1-2-3&limit=1001", 400, "1 to 1000"),
        ("POST", "/v1/reload?dry_run=perhaps", 400, "dry_run"),
    ] {
        let (got, body) = admin.ask(method, path, &[]);
        assert_problem(got, &body, status, said);
    }
    let (head, _) = admin.raw("POST /v1/calls HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    assert!(head.to_lowercase().contains("allow: get"), "{head}");
    assert!(head.contains("application/problem+json"), "{head}");
    let (head, body) = admin.raw(
        "POST /v1/reload HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 9999999\r\n\r\n",
    );
    assert!(head.starts_with("HTTP/1.1 413"), "{head}");
    assert_problem(413, &body, 413, "too large");
}

#[test]
fn other_sites_pages_and_rebound_names_are_refused() {
    let admin = served();
    for (headers, status) in [
        (&[("Host", "localhost:8060")][..], 200),
        (&[("Host", "evil.example")], 421),
        (&[("Host", "127.0.0.1"), ("Origin", "https://evil.example")], 403),
        (&[("Host", "127.0.0.1"), ("Origin", "null")], 403),
        (&[("Host", "127.0.0.1"), ("Origin", "http://localhost:3000")], 200),
    ] {
        let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let (head, _) = admin.raw(&format!("GET /v1/calls HTTP/1.1\r\n{headers}Connection: close\r\n\r\n"));
        assert!(head.starts_with(&format!("HTTP/1.1 {status}")), "{headers}{head}");
    }
}

#[test]
fn beyond_loopback_a_token_is_required_and_checked() {
    let runtime = runtime();
    let anywhere: SocketAddr = "0.0.0.0:0".parse().unwrap();
    let refused = runtime.block_on(Admin::bind(anywhere, None)).err().unwrap();
    assert!(matches!(refused, BindError::TokenMissing(_)));
    let empty = runtime.block_on(Admin::bind(anywhere, Some(String::new())));
    assert!(matches!(empty, Err(BindError::TokenMissing(_))));
    drop(runtime);

    let admin = served_on("0.0.0.0:0", Some("open sesame"));
    assert_eq!(admin.get("/healthz").0, 200);
    for headers in [&[][..], &[("Authorization", "Bearer open")], &[("Authorization", "Basic open sesame")]] {
        let (status, body) = admin.ask("GET", "/v1/calls", headers);
        assert_problem(status, &body, 401, "token_env");
    }
    // Of two neither counts: who is before us may have believed the other.
    let right = ("Authorization", "Bearer open sesame");
    for headers in [
        &[right, right][..],
        &[right, ("Authorization", "Bearer other")],
        &[("Authorization", "Bearer other"), right],
        &[("Authorization", "Bearer open sesame, Bearer other")],
    ] {
        let (status, body) = admin.ask("GET", "/v1/calls", headers);
        assert_problem(status, &body, 401, "one token");
    }
    assert_eq!(admin.ask("GET", "/v1/calls", &[("Authorization", "Bearer open sesame")]).0, 200);
    assert_eq!(admin.ask("GET", "/metrics", &[("Authorization", "bearer open sesame")]).0, 200);
}

#[test]
fn the_openapi_description_names_every_path_and_every_schema_it_refers_to() {
    let admin = served();
    let (_, description) = admin.get_json("/openapi.json");
    let mut paths: Vec<&String> = description["paths"].as_object().unwrap().keys().collect();
    paths.sort();
    let expected = [
        "/healthz",
        "/metrics",
        "/openapi.json",
        "/readyz",
        "/v1/agents",
        "/v1/calls",
        "/v1/calls/{id}",
        "/v1/calls/{id}/pcap",
        "/v1/cdrs",
        "/v1/generations",
        "/v1/numbers",
        "/v1/numbers/{did}",
        "/v1/numbers/{did}/route",
        "/v1/recordings/{id}",
        "/v1/reload",
        "/v1/rollback",
        "/v1/trunks",
        "/v1/voicemails/{id}",
    ];
    assert_eq!(paths, expected);
    for kept in ["/v1/recordings/{id}", "/v1/voicemails/{id}"] {
        let methods: Vec<&String> = description["paths"][kept].as_object().unwrap().keys().collect();
        assert_eq!(methods, ["delete", "get", "head"]);
    }
    let text = description.to_string();
    let referred: Vec<&str> =
        text.split("\"$ref\":\"#").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
    assert!(referred.len() > 10);
    for target in referred {
        assert!(description.pointer(target).is_some(), "{target} is referred to and not there");
    }
}

#[test]
fn connections_beyond_the_bound_wait_and_are_served_when_one_ends() {
    let admin = served();
    let mut idle: Vec<TcpStream> = (0..64).map(|_| TcpStream::connect(admin.addr).unwrap()).collect();
    // Each is surely accepted before the next comes when it has been answered once.
    for stream in &mut idle {
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let mut byte = [0; 1];
        stream.read_exact(&mut byte).unwrap();
    }
    let mut late = TcpStream::connect(admin.addr).unwrap();
    late.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    late.set_read_timeout(Some(std::time::Duration::from_millis(100))).unwrap();
    assert!(late.read(&mut [0; 1]).is_err());
    idle.pop();
    late.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut answer = String::new();
    late.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

trait Asks {
    fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> (u16, String);
    fn get(&self, path: &str) -> (u16, String);
    fn get_json(&self, path: &str) -> (u16, Value);
    fn post_json(&self, path: &str) -> (u16, Value);
    fn raw(&self, request: &str) -> (String, String);
}

impl Asks for Served {
    fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> (u16, String) {
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let mut request =
            ureq::http::Request::builder().method(method).uri(format!("http://{}{path}", self.addr));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut response = agent.run(request.body(()).unwrap()).unwrap();
        (response.status().as_u16(), response.body_mut().read_to_string().unwrap())
    }

    fn get(&self, path: &str) -> (u16, String) {
        self.ask("GET", path, &[])
    }

    fn get_json(&self, path: &str) -> (u16, Value) {
        let (status, body) = self.get(path);
        (status, serde_json::from_str(&body).unwrap())
    }

    fn post_json(&self, path: &str) -> (u16, Value) {
        let (status, body) = self.ask("POST", path, &[]);
        (status, serde_json::from_str(&body).unwrap())
    }

    fn raw(&self, request: &str) -> (String, String) {
        let mut stream = TcpStream::connect(self.addr).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.to_owned(), body.to_owned())
    }
}

fn assert_problem(status: u16, body: &str, expected: u16, said: &str) {
    assert_eq!(status, expected, "{body}");
    let problem: Value = serde_json::from_str(body).unwrap();
    assert_eq!(problem["type"], "about:blank");
    assert_eq!(problem["status"], expected);
    assert!(!problem["title"].as_str().unwrap().is_empty());
    assert!(problem["detail"].as_str().unwrap_or_default().contains(said), "{body}");
}

fn ids(list: &Value) -> Vec<&str> {
    list["items"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap()).collect()
}
