//! Phones that register with a node in a process of its own: listed, rung, and known after a restart.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicU8, Ordering};

use certs::Ca;
use common::{PATIENCE, wait_until};
use nix::sys::signal::Signal;
use process::{Line, Place, Serving, answer, invite};
use serde_json::Value;
use strowger::sip::digest::{self, Challenge};

#[expect(dead_code, reason = "shared with tests that ask for more")]
#[path = "common/certs.rs"]
mod certs;
#[expect(dead_code, reason = "shared with tests that ask for more")]
mod common;
#[expect(dead_code, reason = "shared with tests that ask for more")]
#[path = "common/node.rs"]
mod process;

/// Carol has a password and no fixed phone, and the number is hers.
fn carols() -> Place {
    let place = Place::new();
    place.changes("config/strowger.toml", |node| {
        node.replace("127.0.0.1:0\"\n[admin]", &format!("{}\"\n[admin]", kept()))
    });
    place.changes("config/routing/all.toml", |text| {
        format!(
            "{}[[agent]]\nname = \"carol\"\npassword = \"swordfish\"\n",
            text.replace("[\"alice\"]", "[\"carol\"]")
        )
    });
    place
}

/// Where a node listens before and after its restart: the system chooses the port, at an address that nobody else
/// of these tests uses, so that nobody is given it in between.
fn kept() -> SocketAddr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let [.., high, low] = std::process::id().to_be_bytes();
    let host = [127, high | 0x80, low, NEXT.fetch_add(1, Ordering::Relaxed)];
    UdpSocket::bind((IpAddr::from(host), 0)).unwrap().local_addr().unwrap()
}

fn register(phone: &Line, cseq: u32, authorization: &str) -> String {
    let addr = phone.addr();
    format!(
        "REGISTER sip:strowger SIP/2.0\r\nVia: SIP/2.0/UDP {addr};branch=z9hG4bK-{cseq};rport\r\nMax-Forwards: 70\r\n\
         From: <sip:carol@strowger>;tag=1\r\nTo: <sip:carol@strowger>\r\nCall-ID: reg-{addr}\r\nCSeq: {cseq} REGISTER\r\n\
         Contact: <sip:carol@{addr}>\r\n{authorization}User-Agent: phone/1.0\r\nContent-Length: 0\r\n\r\n"
    )
}

/// Asks, is challenged, and answers; the final response.
fn registers(phone: &Line, node: &Serving, password: &str, cseq: u32) -> String {
    registers_so(phone, node, password, cseq, "")
}

/// Ends its binding.
fn leaves(phone: &Line, node: &Serving, cseq: u32) -> String {
    registers_so(phone, node, "swordfish", cseq, "Expires: 0\r\n")
}

fn registers_so(phone: &Line, node: &Serving, password: &str, cseq: u32, more: &str) -> String {
    phone.send(node.sip, &register(phone, cseq, more));
    let asked = phone.receive_final();
    assert!(asked.starts_with("SIP/2.0 401 "), "{asked}");
    let challenge = asked.lines().find_map(|line| line.strip_prefix("WWW-Authenticate: ")).unwrap();
    let challenge = Challenge::parse(challenge.as_bytes()).unwrap();
    let ha1 = challenge.algorithm.ha1(b"carol", challenge.realm, password.as_bytes());
    let mut credentials = b"Authorization: ".to_vec();
    digest::answer(&mut credentials, &challenge, b"carol", &ha1, ("REGISTER", b"sip:strowger"), (1, b"c"));
    let credentials = String::from_utf8(credentials).unwrap() + "\r\n" + more;
    phone.send(node.sip, &register(phone, cseq + 1, &credentials));
    phone.receive_final()
}

/// Where carol's phones are, as operators see it.
fn contacts(place: &Place) -> Vec<String> {
    let (code, out, err) = place.strowger(&["agents", "--json"]);
    assert_eq!(code, 0, "{err}");
    let list: Value = serde_json::from_str(&out).unwrap();
    let carol = list["items"].as_array().unwrap().iter().find(|agent| agent["name"] == "carol").unwrap();
    carol["bindings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|phone| phone["contact"].as_str().unwrap().to_owned())
        .collect()
}

/// Why carol was refused last, as operators see it.
fn failure(place: &Place) -> Option<String> {
    let (_, out, _) = place.strowger(&["agents", "--json"]);
    let list: Value = serde_json::from_str(&out).unwrap();
    let carol = list["items"].as_array().unwrap().iter().find(|agent| agent["name"] == "carol").unwrap();
    carol["last_failure"]["what"].as_str().map(str::to_owned)
}

#[test]
fn a_refused_registration_is_a_line_in_the_log_and_seen_with_its_agent() {
    let place = carols();
    let node = place.serve();
    let phone = Line::new();
    assert!(registers(&phone, &node, "sharkfish", 1).starts_with("SIP/2.0 401 "));
    assert_eq!(failure(&place), None, "anybody may guess");
    let answer = registers_so(&phone, &node, "swordfish", 11, "Expires: 30\r\n");
    assert!(answer.starts_with("SIP/2.0 423 "), "{answer}");
    let why = "Expires is below our Min-Expires (RFC 3261 §10.3)";
    assert_eq!(failure(&place), Some(format!("423 to {}: {why}", phone.addr())));
    let (_, shown, _) = place.strowger(&["agents"]);
    assert!(shown.contains(why), "{shown}");
    assert!(registers(&phone, &node, "swordfish", 21).starts_with("SIP/2.0 200 "));
    assert!(failure(&place).is_some(), "another phone may be refused all the while");
    // The log is written by a thread of its own.
    wait_until(|| place.log().contains("agent registered"));
    let log = place.log();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("agent not registered")).collect();
    assert_eq!(lines.len(), 1, "{log}");
    let said = ["\"WARN\"", "carol", "127.0.0.…", "423", why];
    assert!(said.iter().all(|word| lines[0].contains(word)), "{lines:?}");
    assert!(!lines[0].contains(&phone.addr().to_string()), "{lines:?}");
}

fn is_rung(place: &Place, node: &Serving, phone: &Line, call_id: &str) {
    let carrier = Line::new();
    carrier.send(node.sip, &invite(&carrier, "+12015550101", call_id));
    let (offered, from) = phone.offered();
    assert!(offered.starts_with(&format!("INVITE sip:carol@{} ", phone.addr())), "{offered}");
    phone.send(from, &answer(&offered, "486 Busy Here", phone));
    assert!(carrier.receive_final().starts_with("SIP/2.0 486 "));
    wait_until(|| !place.records().is_empty());
}

#[test]
fn a_phone_that_has_registered_is_listed_and_rung_and_known_after_a_restart() {
    let place = carols();
    let mut node = place.serve();
    let phone = Line::new();
    let bound = registers(&phone, &node, "swordfish", 1);
    assert!(bound.starts_with("SIP/2.0 200 "), "{bound}");
    let contact = format!("sip:carol@{}", phone.addr());
    assert_eq!(contacts(&place), std::slice::from_ref(&contact));
    let (_, shown, _) = place.strowger(&["agents"]);
    assert!(shown.contains(&contact) && shown.contains("phone/1.0"), "{shown}");
    let (_, told, _) = place.strowger(&["route", "+12015550101"]);
    assert!(told.contains(&contact), "{told}");
    is_rung(&place, &node, &phone, "before");

    node.signal(Signal::SIGTERM);
    assert_eq!(node.ended(), Some(0));
    let mut node = place.serve();
    assert_eq!(contacts(&place), std::slice::from_ref(&contact), "after a stop");
    is_rung(&place, &node, &phone, "after");
    assert!(registers(&phone, &node, "swordfish", 11).starts_with("SIP/2.0 200 "));
    assert_eq!(contacts(&place), std::slice::from_ref(&contact), "it is the same phone");

    // What was written down a second ago outlives a crash too.
    let second = Line::new();
    assert!(registers(&second, &node, "swordfish", 1).starts_with("SIP/2.0 200 "));
    let stored = || {
        let folder = place.folder.path().join("data");
        let name = second.addr().to_string();
        let holds = |file: &str| {
            std::fs::read(folder.join(file))
                .is_ok_and(|bytes| memchr::memmem::find(&bytes, name.as_bytes()).is_some())
        };
        holds("store.sqlite") || holds("store.sqlite-wal")
    };
    wait_until(stored);
    node.signal(Signal::SIGKILL);
    assert_eq!(node.ended(), None);
    let _node = place.serve();
    assert_eq!(contacts(&place), [contact, format!("sip:carol@{}", second.addr())], "after a crash");
}

#[test]
fn another_password_ends_the_bindings_at_the_reload_and_the_calls_go_on() {
    let place = carols();
    let node = place.serve();
    let phone = Line::new();
    assert!(registers(&phone, &node, "swordfish", 1).starts_with("SIP/2.0 200 "));
    let carrier = Line::new();
    carrier.send(node.sip, &invite(&carrier, "+12015550101", "on"));
    let (offered, from) = phone.offered();
    phone.send(from, &answer(&offered, "200 OK", &phone));
    assert!(carrier.receive_final().starts_with("SIP/2.0 200 "));
    place.changes("config/routing/all.toml", |text| text.replace("swordfish", "marlin"));
    assert_eq!(place.strowger(&["reload"]).0, 0);
    assert_eq!(contacts(&place), Vec::<String>::new());
    let (_, calls, _) = place.strowger(&["calls"]);
    assert!(calls.contains("+12015550101"), "{calls}");
    let refused = registers(&phone, &node, "swordfish", 3);
    assert!(refused.starts_with("SIP/2.0 401 "), "{refused}");
    wait_until(|| place.log().contains("wrong password"));
    assert!(registers(&phone, &node, "marlin", 5).starts_with("SIP/2.0 200 "));
    // The same password again ends nothing.
    place.changes("config/routing/all.toml", |text| format!("{text}dnd = true\n"));
    assert_eq!(place.strowger(&["reload"]).0, 0);
    assert_eq!(contacts(&place), [format!("sip:carol@{}", phone.addr())]);
}

#[test]
fn another_password_ends_the_bindings_though_it_was_written_while_the_node_was_down() {
    let place = carols();
    let mut node = place.serve();
    assert!(registers(&Line::new(), &node, "swordfish", 1).starts_with("SIP/2.0 200 "));
    node.signal(Signal::SIGTERM);
    assert_eq!(node.ended(), Some(0));
    place.changes("config/routing/all.toml", |text| text.replace("swordfish", "marlin"));
    let _node = place.serve();
    assert_eq!(contacts(&place), Vec::<String>::new());
}

#[test]
fn what_was_bound_or_ended_just_before_a_graceful_stop_is_as_it_was_after_it() {
    let place = carols();
    let mut node = place.serve();
    let phone = Line::new();
    assert!(registers(&phone, &node, "swordfish", 1).starts_with("SIP/2.0 200 "));
    node.signal(Signal::SIGTERM);
    assert_eq!(node.ended(), Some(0));
    let mut node = place.serve();
    assert_eq!(contacts(&place), [format!("sip:carol@{}", phone.addr())]);
    let ended = leaves(&phone, &node, 11);
    assert!(ended.starts_with("SIP/2.0 200 "), "{ended}");
    node.signal(Signal::SIGTERM);
    assert_eq!(node.ended(), Some(0));
    let _node = place.serve();
    assert_eq!(contacts(&place), Vec::<String>::new());
}

/// Carol's phone calls that number; the trunk's gateway has her INVITE.
#[test]
fn phones_behind_a_nat_hear_of_us_at_once_after_a_restart() {
    let place = carols();
    place.changes("config/routing/all.toml", |text| {
        let before = (0..5).map(|at| format!("[[agent]]\nname = \"desk{at}\"\npassword = \"swordfish\"\n"));
        before.collect::<String>() + text
    });
    let mut node = place.serve();
    let phone = Line::new();
    let bound = registers_so(&phone, &node, "swordfish", 1, "Contact: <sip:carol@192.168.1.7>\r\n");
    assert!(bound.starts_with("SIP/2.0 200 "), "{bound}");
    node.signal(Signal::SIGTERM);
    assert_eq!(node.ended(), Some(0));
    let _node = place.serve();
    let (asked, _) = phone.receive();
    assert!(asked.starts_with("OPTIONS sip:carol@192.168.1.7 SIP/2.0\r\n"), "{asked}");
}

#[test]
fn a_sips_contact_that_comes_without_tls_is_refused_though_a_listener_has_it() {
    let place = carols();
    place.listens_on_tcp_too();
    Ca::new("root").issue(&["127.0.0.1"]).write(&place.folder.path().join("config/tls"));
    let tls = "[[listen]]\ntransport = \"tls\"\naddr = \"127.0.0.1:0\"\ncert = \"tls/edge.pem\"\nkey = \"tls/edge.key\"\n";
    place.changes("config/strowger.toml", |node| format!("{node}{tls}"));
    let node = place.serve();
    let contact = |addr: SocketAddr| format!("Contact: <sips:carol@{addr}>\r\n");
    let phone = Line::new();
    let told = registers_so(&phone, &node, "swordfish", 1, &contact(phone.addr()));
    assert!(told.starts_with("SIP/2.0 400 "), "{told}");
    let mut flow = Flow::new(node.tcp());
    let addr = flow.0.local_addr().unwrap();
    let told = flow.registers(&contact(addr));
    assert!(told.starts_with("SIP/2.0 400 "), "{told}");
    assert_eq!(contacts(&place), <[String; 0]>::default());
}

fn calls_out(phone: &Line, node: &Serving, number: &str, gateway: &Line) -> (String, SocketAddr) {
    let uri = format!("sip:{number}@127.0.0.1");
    let call = |cseq: u32, credentials: &str| {
        invite(phone, number, "out")
            .replace("From: <sip:+12025550123@", "From: <sip:carol@")
            .replace("z9hG4bK-out", &format!("z9hG4bK-out{cseq}"))
            .replace("CSeq: 1 ", &format!("CSeq: {cseq} "))
            .replace("Max-Forwards: 70\r\n", &format!("Max-Forwards: 70\r\n{credentials}"))
    };
    phone.send(node.sip, &call(1, ""));
    let asked = phone.receive_final_of("out");
    assert!(asked.starts_with("SIP/2.0 407 "), "{asked}");
    let challenge = asked.lines().find_map(|line| line.strip_prefix("Proxy-Authenticate: ")).unwrap();
    let challenge = Challenge::parse(challenge.as_bytes()).unwrap();
    let ha1 = challenge.algorithm.ha1(b"carol", challenge.realm, b"swordfish");
    let mut credentials = b"Proxy-Authorization: ".to_vec();
    digest::answer(&mut credentials, &challenge, b"carol", &ha1, ("INVITE", uri.as_bytes()), (1, b"c"));
    phone.send(node.sip, &call(2, &(String::from_utf8(credentials).unwrap() + "\r\n")));
    gateway.offered()
}

#[test]
fn a_call_of_an_agents_shows_its_trunk_and_a_reload_says_that_it_is_affected() {
    let place = carols();
    let (gateway, phone) = (Line::new(), Line::new());
    place.changes("config/routing/all.toml", |text| {
        let text = text
            .replace("127.0.0.1/32", "127.0.0.9/32")
            .replace(
                "sip:127.0.0.1:9\" }]\n",
                &format!("sip:{}\" }}]\noutbound = true\noptions_interval = 0\n", gateway.addr()),
            )
            .replace("\"swordfish\"\n", "\"swordfish\"\nnumber = \"+12015550101\"\n");
        format!("{text}[dial]\nallow = [\"+1\"]\n")
    });
    let node = place.serve();
    let (offered, from) = calls_out(&phone, &node, "+12125550188", &gateway);
    gateway.send(from, &answer(&offered, "180 Ringing", &gateway));
    let (_, shown, _) = place.strowger(&["calls"]);
    assert!(shown.lines().any(|line| line.contains("+12125550188") && line.ends_with("carrier")), "{shown}");
    let (_, told, _) = place.strowger(&["calls", "--json"]);
    let call = serde_json::from_str::<Value>(&told).unwrap()["items"][0].clone();
    assert_eq!((&call["agent"], &call["trunk"]), (&"carol".into(), &"carrier".into()), "{told}");

    let affected = || {
        let (code, told, err) = place.strowger(&["reload", "--json"]);
        assert_eq!(code, 0, "{err}");
        serde_json::from_str::<Value>(&told).unwrap()["affects_calls"].clone()
    };
    assert_eq!(affected(), serde_json::json!([]), "nothing has changed");
    place.changes("config/routing/all.toml", |text| {
        text.replace("options_interval = 0", "options_interval = 99")
    });
    assert_eq!(affected(), serde_json::json!([call["id"]]), "her trunk");
    place.changes("config/routing/all.toml", |text| text.replace("[\"carol\"]", "[\"alice\"]"));
    assert_eq!(
        affected(),
        serde_json::json!([]),
        "the number that she shows rings others, which is nothing to her call"
    );
    place.changes("config/routing/all.toml", |text| text.replace("name = \"carol\"", "name = \"caro\""));
    assert_eq!(affected(), serde_json::json!([call["id"]]), "she is gone");
}

/// A phone by TCP.
struct Flow(TcpStream);

impl Flow {
    fn new(to: SocketAddr) -> Flow {
        let stream = TcpStream::connect(to).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Flow(stream)
    }

    /// Sends a request; the final response to it.
    fn asks(&mut self, request: &str) -> String {
        self.0.write_all(request.as_bytes()).unwrap();
        loop {
            let mut text = Vec::new();
            while !text.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                self.0.read_exact(&mut byte).unwrap();
                text.extend_from_slice(&byte);
            }
            let text = String::from_utf8(text).unwrap();
            assert!(text.contains("Content-Length: 0\r\n"), "{text}");
            if !text.starts_with("SIP/2.0 1") {
                return text;
            }
        }
    }

    /// Carol registers with these header lines besides the usual ones.
    fn registers(&mut self, more: &str) -> String {
        self.registers_as("carol", more)
    }

    fn registers_as(&mut self, name: &str, more: &str) -> String {
        let addr = self.0.local_addr().unwrap();
        let request = |cseq: u32, more: &str| {
            format!(
                "REGISTER sip:strowger SIP/2.0\r\nVia: SIP/2.0/TCP {addr};branch=z9hG4bK-r{cseq}\r\n\
                 Max-Forwards: 70\r\nFrom: <sip:{name}@strowger>;tag=1\r\nTo: <sip:{name}@strowger>\r\n\
                 Call-ID: reg-{addr}\r\nCSeq: {cseq} REGISTER\r\nContact: <sip:{name}@{addr};transport=tcp>\r\n\
                 {more}Content-Length: 0\r\n\r\n"
            )
        };
        let asked = self.asks(&request(1, more));
        let challenge = asked.lines().find_map(|line| line.strip_prefix("WWW-Authenticate: ")).unwrap();
        let challenge = Challenge::parse(challenge.as_bytes()).unwrap();
        let ha1 = challenge.algorithm.ha1(name.as_bytes(), challenge.realm, b"swordfish");
        let mut credentials = b"Authorization: ".to_vec();
        let signed = ("REGISTER", &b"sip:strowger"[..]);
        digest::answer(&mut credentials, &challenge, name.as_bytes(), &ha1, signed, (1, b"c"));
        self.asks(&request(2, &format!("{}\r\n{more}", String::from_utf8(credentials).unwrap())))
    }

    /// Whether the node keeps the connection: a double CRLF is answered (RFC 5626 §4.4.1).
    fn is_kept(&mut self) -> bool {
        let mut pong = [0; 2];
        self.0.write_all(b"\r\n\r\n").is_ok() && self.0.read_exact(&mut pong).is_ok()
    }

    /// Calls as somebody whose name is no agent's.
    fn calls(&mut self) -> String {
        let addr = self.0.local_addr().unwrap();
        self.asks(&format!(
            "INVITE sip:+12015550101@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/TCP {addr};branch=z9hG4bK-i\r\n\
             Max-Forwards: 70\r\nFrom: <sip:somebody@strowger>;tag=1\r\nTo: <sip:+12015550101@127.0.0.1>\r\n\
             Call-ID: call-{addr}\r\nCSeq: 1 INVITE\r\nContact: <sip:{addr};transport=tcp>\r\n\
             Content-Length: 0\r\n\r\n"
        ))
    }
}

#[test]
fn r01_b_who_calls_by_the_connection_of_a_phone_is_asked_and_another_connection_is_nobodys() {
    let place = carols();
    place.listens_on_tcp_too();
    place.changes("config/routing/all.toml", |text| text.replace("127.0.0.1/32", "127.0.0.9/32"));
    let node = place.serve();
    let mut phone = Flow::new(node.tcp());
    assert!(phone.calls().starts_with("SIP/2.0 403 "), "nobody has registered by it yet");
    let mut phone = Flow::new(node.tcp());
    assert!(phone.registers("").starts_with("SIP/2.0 200 "));
    assert!(phone.calls().starts_with("SIP/2.0 407 "));
    let mut other = Flow::new(node.tcp());
    assert!(other.calls().starts_with("SIP/2.0 403 "), "of the same host");
    // A proxy carries whom it likes by its connection.
    let mut proxy = Flow::new(node.tcp());
    let path =
        format!("Supported: path\r\nPath: <sip:{};transport=tcp;lr>\r\n", proxy.0.local_addr().unwrap());
    assert!(proxy.registers(&path).starts_with("SIP/2.0 200 "));
    assert!(proxy.calls().starts_with("SIP/2.0 403 "));
}

#[test]
fn a_phone_behind_a_proxy_by_tcp_is_rung_by_its_path_after_the_proxy_or_the_node_closed_the_connection() {
    let place = carols();
    place.listens_on_tcp_too();
    place.changes("config/strowger.toml", |node| {
        node.replacen("\"tcp\"\naddr = \"127.0.0.1:0\"", &format!("\"tcp\"\naddr = \"{}\"", kept()), 1)
    });
    let mut node = place.serve();
    let proxy = TcpListener::bind("127.0.0.1:0").unwrap();
    proxy.set_nonblocking(true).unwrap();
    let path = format!("<sip:{};transport=tcp;lr>", proxy.local_addr().unwrap());
    let mut flow = Flow::new(node.tcp());
    let bound = flow.registers(&format!("Supported: path\r\nPath: {path}\r\n"));
    assert!(bound.starts_with("SIP/2.0 200 "), "{bound}");
    let contact = format!("sip:carol@{};transport=tcp", flow.0.local_addr().unwrap());
    drop(flow);
    for call_id in ["closed", "restarted"] {
        let carrier = Line::new();
        carrier.send(node.sip, &invite(&carrier, "+12015550101", call_id));
        let opened = std::cell::OnceCell::new();
        wait_until(|| proxy.accept().is_ok_and(|(stream, _)| opened.set(stream).is_ok()));
        let stream = opened.into_inner().unwrap();
        stream.set_nonblocking(false).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut stream = BufReader::new(stream);
        let lines: Vec<String> =
            stream.by_ref().lines().map(Result::unwrap).take_while(|line| !line.is_empty()).collect();
        assert_eq!(lines[0], format!("INVITE {contact} SIP/2.0"));
        assert!(lines.contains(&format!("Route: {path}")), "{lines:?}");
        let refused = answer(&lines.join("\r\n"), "486 Busy Here", &carrier);
        stream.get_mut().write_all(refused.as_bytes()).unwrap();
        assert!(carrier.receive_final().starts_with("SIP/2.0 486 "), "{call_id}");
        assert_eq!(contacts(&place), std::slice::from_ref(&contact), "{call_id}");
        node.signal(Signal::SIGTERM);
        assert_eq!(node.ended(), Some(0));
        node = place.serve();
    }
}

#[test]
fn r14_a_register_of_ten_thousand_contacts_is_told_that_it_is_too_long_and_counted() {
    let place = carols();
    place.listens_on_tcp_too();
    let node = place.serve();
    let contacts = (0..10_000).map(|at| format!("Contact: <sip:carol@127.0.0.1:{}>\r\n", 10_000 + at));
    let mut phone = Flow::new(node.tcp());
    let bound = phone.registers("");
    assert!(bound.starts_with("SIP/2.0 200 "), "{bound}");
    let told = phone.asks(&format!(
        "REGISTER sip:strowger SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.1;branch=z9hG4bK-long\r\nMax-Forwards: 70\r\n\
         From: <sip:carol@strowger>;tag=1\r\nTo: <sip:carol@strowger>\r\nCall-ID: long\r\nCSeq: 1 REGISTER\r\n\
         {}Content-Length: 0\r\n\r\n",
        contacts.collect::<String>()
    ));
    assert!(told.starts_with("SIP/2.0 513 ") && told.contains("branch=z9hG4bK-long"), "{told}");
    // What is no SIP is answered by nobody, and counted as well.
    let mut stranger = Flow::new(node.tcp());
    stranger.0.write_all(b"\x16\x03\x01").unwrap();
    assert_eq!(stranger.0.read(&mut [0; 16]).unwrap_or(0), 0, "closed");
    wait_until(|| {
        let told = ureq::get(format!("{}/metrics", node.admin)).call().unwrap().body_mut().read_to_string();
        told.unwrap().contains("strowger_rejected_total{reason=\"malformed\"} 2\n")
    });
}

#[test]
fn r01_d_a_phones_connection_from_a_trunks_address_is_the_trunks() {
    let place = carols();
    place.listens_on_tcp_too();
    place.changes("config/routing/all.toml", |text| text.replace("+12015550101", "+12015550109"));
    let node = place.serve();
    let mut phone = Flow::new(node.tcp());
    assert!(phone.registers("").starts_with("SIP/2.0 200 "));
    assert!(phone.calls().starts_with("SIP/2.0 404 "), "the number is not ours");
    wait_until(|| place.records().len() == 1);
    assert_eq!(place.records()[0].trunk.as_deref(), Some("carrier"));
}

#[test]
fn r14_an_office_behind_one_address_has_more_phones_by_tcp_than_a_stranger_has_connections() {
    let place = carols();
    place.listens_on_tcp_too();
    place.changes("config/routing/all.toml", |text| {
        let desks = (0..4).map(|at| format!("[[agent]]\nname = \"desk{at}\"\npassword = \"swordfish\"\n"));
        text.replace("127.0.0.1/32", "127.0.0.9/32").replace("sip:127.0.0.1:9", "sip:127.0.0.9:9")
            + &desks.collect::<String>()
    });
    let node = place.serve();
    // Ten phones of each.
    let phones: Vec<Flow> = (0..40)
        .map(|at| {
            let mut phone = Flow::new(node.tcp());
            let told = phone.registers_as(&format!("desk{}", at / 10), "");
            assert!(told.starts_with("SIP/2.0 200 "), "phone {at}: {told}");
            phone
        })
        .collect();
    let mut strangers: Vec<Flow> = (0..32).map(|_| Flow::new(node.tcp())).collect();
    assert!(strangers.iter_mut().all(Flow::is_kept));
    assert!(!Flow::new(node.tcp()).is_kept(), "of an unknown address");
    drop(phones);
}
