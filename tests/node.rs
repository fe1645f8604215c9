//! The built program as a node: its sockets, files and signals, with a carrier and a phone that are made up here.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use common::{PATIENCE, wait_until};
use nix::sys::signal::Signal;
use process::{Line, Place, SDP, Serving, ack, answer, invite};
use serde_json::Value;
use strowger::call::cdr::{EndedBy, Outcome};

#[expect(dead_code, reason = "shared with tests that ask for more")]
mod common;
#[expect(dead_code, reason = "shared with tests that ask for more")]
#[path = "common/node.rs"]
mod process;

#[test]
fn a_node_serves_says_so_and_ends_when_told() {
    let place = Place::new();
    // By its path it comes first, and nobody would look there first.
    std::fs::write(place.folder.path().join("config/routing/a.csv"), "did,ring\n+12015550301,alice\n")
        .unwrap();
    let mut node = place.serve();
    assert!(node.ready.starts_with("ready: udp:127.0.0.1:"), "{}", node.ready);
    assert!(node.ready.contains("admin http://127.0.0.1:"), "{}", node.ready);
    assert_eq!(node.line(), "try it: strowger try +12015550101");

    let (code, out, _) = place.strowger(&["route", "+12015550101", "--from", "+12025550123"]);
    assert_eq!(code, 0);
    assert!(out.contains("alice") && out.contains("routing/all.toml:"), "{out}");
    assert_eq!(place.strowger(&["route", "2015550101", "--offline"]).0, 0);
    let (code, out, _) = place.strowger(&["route", "+12015559999"]);
    assert_eq!((code, out.as_str()), (1, ""));

    let (code, out, err) = place.strowger(&["serve"]);
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(err.contains(&format!("process {}", node.child.id())), "{err}");

    node.signal(Signal::SIGTERM);
    assert_eq!(node.ended(), Some(0));
    assert_eq!(place.strowger(&["calls"]).0, 3);
}

#[test]
fn a_call_to_a_number_that_is_none_of_ours_gets_404_and_a_record() {
    let place = Place::new();
    let node = place.serve();
    let carrier = Line::new();
    carrier.send(node.sip, &invite(&carrier, "+12015559999", "c404"));
    let refused = carrier.receive_final();
    assert!(refused.starts_with("SIP/2.0 404 "), "{refused}");
    carrier.send(node.sip, &ack(&refused, &carrier, "+12015559999", "c404"));
    wait_until(|| place.records().len() == 1);
    let record = &place.records()[0];
    assert_eq!((record.sip_code, record.outcome), (404, Outcome::Failed));
    assert_eq!((&*record.dialled, record.did.as_deref()), ("+12015559999", None));
    assert_eq!(record.legs.len(), 1);
    let stranger = UdpSocket::bind("127.0.0.2:0").unwrap();
    let text = invite(&Line { socket: stranger.try_clone().unwrap() }, "+12015550101", "c403");
    stranger.send_to(text.as_bytes(), node.sip).unwrap();
    let stranger = Line { socket: stranger };
    assert!(stranger.receive_final().starts_with("SIP/2.0 403 "));
    assert_eq!(place.records().len(), 1);
}

#[test]
fn r12_a_call_that_a_crash_cut_off_is_lost_and_nothing_else_is() {
    let place = Place::new();
    let mut node = place.serve();
    let carrier = Line::new();
    carrier.send(node.sip, &invite(&carrier, "+12015550101", "talks"));
    let (offered, from) = place.phone.receive();
    assert!(offered.starts_with("INVITE "), "{offered}");
    place.phone.send(from, &answer(&offered, "200 OK", &place.phone));
    let answered = carrier.receive_final();
    assert!(answered.starts_with("SIP/2.0 200 "), "{answered}");
    let (_, calls, _) = place.strowger(&["calls", "--json"]);
    let calls: Value = serde_json::from_str(&calls).unwrap();
    let id = calls["items"][0]["id"].as_str().unwrap().to_owned();
    let (code, shown, _) = place.strowger(&["call", &id]);
    assert!(code == 0 && shown.contains("200") && shown.contains("alice"), "{shown}");
    let journal = place.folder.path().join("data/calls.journal");
    wait_until(|| std::fs::read_to_string(&journal).unwrap().contains(&id));

    node.signal(Signal::SIGKILL);
    assert_eq!(node.ended(), None);
    assert!(place.records().is_empty());
    let node = place.serve();
    let records = place.records();
    assert_eq!(records.len(), 1);
    assert_eq!((&*records[0].id, records[0].outcome), (&*id, Outcome::Lost));
    assert_eq!((records[0].ended_by, records[0].legs.len()), (None, 1));
    drop(node);
}

#[test]
fn a_second_signal_hangs_up_what_is_in_progress_and_ends() {
    let place = Place::new();
    let mut node = place.serve();
    let carrier = Line::new();
    carrier.send(node.sip, &invite(&carrier, "+12015550101", "drained"));
    let (offered, from) = place.phone.receive();
    place.phone.send(from, &answer(&offered, "200 OK", &place.phone));
    assert!(carrier.receive_final().starts_with("SIP/2.0 200 "));

    node.signal(Signal::SIGTERM);
    let admin = node.admin.clone();
    wait_until(|| get(&format!("{admin}/readyz")) == 503);
    assert_eq!(get(&format!("{admin}/healthz")), 200);
    carrier.send(node.sip, &invite(&carrier, "+12015550101", "too-late"));
    let refused = carrier.receive_final_of("too-late");
    assert!(refused.starts_with("SIP/2.0 503 ") && refused.contains("Retry-After"), "{refused}");

    node.signal(Signal::SIGTERM);
    assert_eq!(node.ended(), Some(0));
    let records = place.records();
    assert_eq!(records.len(), 1);
    assert_eq!(records[0].outcome, Outcome::Answered);
}

/// A call in progress; the phone's INVITE, and where the node called from.
fn talks(place: &Place, node: &Serving, carrier: &Line, call_id: &str) -> (String, SocketAddr) {
    carrier.send(node.sip, &invite(carrier, "+12015550101", call_id));
    let (offered, from) = place.phone.offered();
    place.phone.send(from, &answer(&offered, "200 OK", &place.phone));
    let answered = carrier.receive_final();
    assert!(answered.starts_with("SIP/2.0 200 "), "{answered}");
    carrier.send(node.sip, &ack_of_200(&answered, carrier).replace("/TCP", "/UDP"));
    wait_until(|| !place.strowger(&["calls", "--json"]).1.contains("awaits ACK"));
    (offered, from)
}

/// The next that begins so; repeats of other things are passed over.
fn gets(line: &Line, method: &str) -> (String, SocketAddr) {
    std::iter::repeat_with(|| line.receive()).find(|(text, _)| text.starts_with(method)).unwrap()
}

#[test]
fn r14_a_draining_node_takes_nothing_new_and_ends_when_its_last_call_has_ended() {
    let place = Place::new();
    let mut node = place.serve();
    let carrier = Line::new();
    let (offered, from) = talks(&place, &node, &carrier, "goes-on");
    node.signal(Signal::SIGTERM);
    let admin = node.admin.clone();
    wait_until(|| get(&format!("{admin}/readyz")) == 503);

    carrier.send(node.sip, &invite(&carrier, "+12015550101", "too-late"));
    let refused = carrier.receive_final_of("too-late");
    assert!(refused.starts_with("SIP/2.0 503 ") && refused.contains("Retry-After"), "{refused}");
    carrier.send(node.sip, &ack(&refused, &carrier, "+12015550101", "too-late"));
    let options = invite(&carrier, "ping", "asks").replace("INVITE", "OPTIONS").replace(SDP, "");
    let length = format!("Content-Length: {}", SDP.len());
    carrier.send(node.sip, &options.replace(&length, "Content-Length: 0"));
    let refused = carrier.receive_final_of("asks");
    assert!(refused.starts_with("SIP/2.0 503 "), "{refused}");

    // The call goes on, to its own end: then nothing holds the node any more.
    assert!(place.records().is_empty());
    assert_eq!(node.child.try_wait().unwrap(), None);
    place.phone.send(from, &bye_of_phone(&offered, &place.phone));
    assert!(gets(&place.phone, "SIP/2.0 ").0.starts_with("SIP/2.0 200 "));
    let (bye, from) = gets(&carrier, "BYE ");
    carrier.send(from, &answer(&bye, "200 OK", &carrier));
    assert_eq!(node.ended(), Some(0));
    let records = place.records();
    assert_eq!((records.len(), records[0].outcome), (1, Outcome::Answered));
    assert_eq!(records[0].ended_by, Some(EndedBy::Callee));
}

#[test]
fn sighup_reloads_while_a_node_drains_too() {
    let place = Place::new();
    let mut node = place.serve();
    let carrier = Line::new();
    talks(&place, &node, &carrier, "drains");
    node.signal(Signal::SIGTERM);
    wait_until(|| place.log().contains("draining"));
    node.signal(Signal::SIGHUP);
    wait_until(|| place.log().lines().any(|line| line.contains("published") && line.contains("SIGHUP")));
    node.signal(Signal::SIGTERM);
    assert_eq!(node.ended(), Some(0));
}

#[test]
fn r14_when_drain_seconds_are_over_a_draining_node_hangs_up_and_ends() {
    let place = Place::new();
    place.changes("config/strowger.toml", |node| format!("{node}[limits]\ndrain_seconds = 1\n"));
    let mut node = place.serve();
    let carrier = Line::new();
    talks(&place, &node, &carrier, "too-long");
    let began = Instant::now();
    node.signal(Signal::SIGTERM);
    for line in [&carrier, &place.phone] {
        let (bye, from) = gets(line, "BYE ");
        line.send(from, &answer(&bye, "200 OK", line));
    }
    assert!(began.elapsed() >= Duration::from_secs(1), "{:?}", began.elapsed());
    assert_eq!(node.ended(), Some(0));
    assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
    let records = place.records();
    assert_eq!((records.len(), records[0].outcome), (1, Outcome::Answered));
    assert_eq!(records[0].ended_by, Some(EndedBy::Us));
    assert!(place.log().contains("drain_seconds are over"), "{}", place.log());
}

#[test]
fn a_reload_is_all_or_nothing_and_generations_survive_a_restart() {
    let place = Place::new();
    let mut node = place.serve();
    let routing = place.folder.path().join("config/routing/all.toml");
    let good = std::fs::read_to_string(&routing).unwrap();
    std::fs::write(&routing, good.replace("\"alice\"]", "\"alicia\"]")).unwrap();
    let (code, _, err) = place.strowger(&["reload"]);
    assert_eq!(code, 1);
    assert!(err.contains("all.toml") && err.contains("did you mean \"alice\"?"), "{err}");
    assert_eq!(place.strowger(&["check"]).0, 1);
    assert_eq!(place.strowger(&["route", "+12015550101"]).0, 0);

    let more = "[[number]]\ndid = \"+12015550102\"\nring = [\"alice\"]\n";
    std::fs::write(&routing, good + more).unwrap();
    let (code, out, _) = place.strowger(&["reload", "--dry-run"]);
    assert!(code == 0 && out.contains("generation 1: 1 added"), "{out}");
    assert_eq!(place.strowger(&["route", "+12015550102"]).0, 1);
    node.signal(Signal::SIGHUP);
    wait_until(|| place.strowger(&["route", "+12015550102"]).0 == 0);
    let (_, out, _) = place.strowger(&["generations", "--json"]);
    let list: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&list["items"][0]["generation"], &list["items"][0]["numbers"]), (&2.into(), &2.into()));

    node.signal(Signal::SIGINT);
    assert_eq!(node.ended(), Some(0));
    let node = place.serve();
    let (_, out, _) = place.strowger(&["generations", "--json"]);
    assert_eq!(serde_json::from_str::<Value>(&out).unwrap()["items"][0]["generation"], 3);
    drop(node);
}

/// Those that are served no more wait, each with a thread, for whoever has them still.
#[test]
fn a_table_that_is_served_no_more_is_freed_whatever_a_shard_does() {
    let place = Place::new();
    place.changes("config/strowger.toml", |node| format!("node.shards = 2\n{node}"));
    let mut node = place.serve();
    for _ in 0..3 {
        assert_eq!(place.strowger(&["reload"]).0, 0);
    }
    wait_until(|| !node.threads().iter().any(|name| name == "retired"));
    node.signal(Signal::SIGINT);
    assert_eq!(node.ended(), Some(0));
}

#[test]
fn a_node_with_nothing_to_do_sleeps() {
    let place = Place::new();
    let node = place.serve();
    let carrier = Line::new();
    carrier.send(node.sip, &invite(&carrier, "+12015559999", "idle"));
    let refused = carrier.receive_final();
    carrier.send(node.sip, &ack(&refused, &carrier, "+12015559999", "idle"));
    wait_until(|| place.records().len() == 1);
    let before = node.cpu();
    // Time itself is what is measured here.
    std::thread::sleep(Duration::from_millis(250));
    let used = node.cpu() - before;
    assert!(used < Duration::from_millis(50), "{used:?} of 250 ms");
}

#[test]
fn a_node_takes_as_many_open_files_as_it_is_granted() {
    let place = Place::new();
    let node = place.serve_under("ulimit -Sn 100 && ulimit -Hn 700");
    assert_eq!(node.open_files(), ["700", "700"]);
    wait_until(|| place.log().contains("open files: the limit of this process"));
    assert!(!place.log().contains("too low"), "a node without streams holds no connections");
}

#[test]
fn a_node_of_streams_warns_where_that_is_too_few() {
    let place = Place::new();
    place.listens_on_tcp_too();
    let node = place.serve_under("ulimit -Sn 100 && ulimit -Hn 10255");
    assert_eq!(node.open_files(), ["10255", "10255"]);
    wait_until(|| place.log().contains("the limit of open files is too low"));
    drop(node);
    let node = place.serve_under("ulimit -Sn 100 && ulimit -Hn 10256");
    wait_until(|| place.log().contains("open files: the limit of this process"));
    drop(node);
}

/// RFC 3261 §18.1.1, and the contract's `transport`: requests above 1,300 bytes.
/// RFC 3261 §18.2.2: whichever shard the connection was on, the call's shard hears that it is gone.
#[test]
fn what_a_connection_that_is_gone_was_to_carry_goes_by_a_new_one() {
    for shards in [1, 3] {
        let place = Place::new();
        place.listens_on_tcp_too();
        place.changes("config/strowger.toml", |node| format!("node.shards = {shards}\n{node}"));
        place
            .changes("config/routing/all.toml", |all| all.replace("[[number]]", "max_calls = 0\n[[number]]"));
        let node = place.serve();
        for call in 0..6 {
            let (listener, carrier) = gateway("127.0.0.1");
            let mut stream = TcpStream::connect(node.tcp()).unwrap();
            let text = invite(&carrier, "+12015550101", &format!("gone-{call}"))
                .replace("SIP/2.0/UDP", "SIP/2.0/TCP");
            stream.write_all(text.as_bytes()).unwrap();
            let (offered, from) = place.phone.offered();
            drop(stream);
            place.phone.send(from, &answer(&offered, "200 OK", &place.phone));
            let mut back = BufReader::new(accepted(&listener));
            let answered = read(&mut back);
            assert!(answered.starts_with("SIP/2.0 200 "), "call {call} of {shards} shards: {answered}");

            // The same for a request within the dialog (RFC 3261 §18.4).
            back.get_mut().write_all(ack_of_200(&answered, &carrier).as_bytes()).unwrap();
            let ladder = || place.strowger(&["calls", "--json"]).1;
            wait_until(|| !ladder().contains("awaits ACK"));
            // Every other time both are there at once, and the BYE is written before the end is read.
            let halt = |signal| {
                if call % 2 == 0 {
                    node.signal(signal)
                }
            };
            halt(Signal::SIGSTOP);
            place.phone.send(from, &bye_of_phone(&offered, &place.phone));
            drop(back);
            halt(Signal::SIGCONT);
            let ended = read(&mut BufReader::new(accepted(&listener)));
            assert!(ended.starts_with("BYE "), "call {call} of {shards} shards: {ended}");
        }
    }
}

#[test]
fn r14_of_far_too_many_calls_by_a_stream_a_share_is_refused() {
    const CALLS: usize = 10_000;
    let place = Place::new();
    place.listens_on_tcp_too();
    let node = place.serve();
    let carrier = Line::new();
    let mut stream = TcpStream::connect(node.tcp()).unwrap();
    let mut answers = BufReader::new(stream.try_clone().unwrap());
    answers.get_ref().set_read_timeout(Some(PATIENCE)).unwrap();
    let calling = std::thread::spawn(move || {
        for call in 0..CALLS {
            let text = invite(&carrier, "+12015550999", &format!("many-{call}"));
            stream.write_all(text.replace("SIP/2.0/UDP", "SIP/2.0/TCP").as_bytes()).unwrap();
        }
        stream
    });
    let finals: Vec<String> = (0..CALLS).map(|_| read_final(&mut answers)).collect();
    let told = |status: &str| finals.iter().filter(|text| text.starts_with(status)).count();
    let (served, refused) = (told("SIP/2.0 404 "), told("SIP/2.0 503 "));
    assert_eq!(served + refused, CALLS);
    assert!(served > 0 && refused > CALLS / 10, "{served} served, {refused} refused");
    drop(calling.join().unwrap());
    drop(node);
}

/// RFC 3261 §12.2.1.1, RFC 3263 §4.1: whatever the INVITE came by.
#[test]
fn r11_requests_within_a_dialog_go_by_the_transport_that_the_contact_names() {
    let place = Place::new();
    place.listens_on_tcp_too();
    let node = place.serve();
    for (came, named) in [("UDP", "tcp"), ("TCP", "udp")] {
        let (listener, carrier) = gateway("127.0.0.1");
        let target = format!("Contact: <sip:{};transport={named}>", carrier.addr());
        let text = invite(&carrier, "+12015550101", named).replace("SIP/2.0/UDP", &format!("SIP/2.0/{came}"));
        let text = text.replace(&format!("Contact: <sip:{}>", carrier.addr()), &target);
        let mut stream = BufReader::new(TcpStream::connect(node.tcp()).unwrap());
        match came {
            "UDP" => carrier.send(node.sip, &text),
            _ => stream.get_mut().write_all(text.as_bytes()).unwrap(),
        }
        let (offered, from) = place.phone.offered();
        place.phone.send(from, &answer(&offered, "200 OK", &place.phone));
        let answered = if came == "UDP" { carrier.receive_final() } else { read_final(&mut stream) };
        assert!(answered.starts_with("SIP/2.0 200 "), "{answered}");
        stream.get_mut().write_all(ack_of_200(&answered, &carrier).as_bytes()).unwrap();
        wait_until(|| !place.strowger(&["calls", "--json"]).1.contains("awaits ACK"));
        place.phone.send(from, &bye_of_phone(&offered, &place.phone));
        let bye =
            if named == "udp" { carrier.receive().0 } else { read(&mut BufReader::new(accepted(&listener))) };
        assert!(bye.starts_with("BYE "), "{bye}");
        assert!(bye.contains(&format!("Via: SIP/2.0/{} ", named.to_uppercase())), "{bye}");
    }
}

/// The next final response of a stream.
fn read_final(stream: &mut BufReader<TcpStream>) -> String {
    std::iter::repeat_with(|| read(stream)).find(|text| !text.starts_with("SIP/2.0 1")).unwrap()
}

/// The next message of a stream.
fn read(stream: &mut BufReader<TcpStream>) -> String {
    let (mut text, mut length) = (String::new(), 0);
    while !text.ends_with("\r\n\r\n") {
        let from = text.len();
        assert!(stream.read_line(&mut text).unwrap() > 0, "it was closed after {text:?}");
        if let Some(value) = text[from..].strip_prefix("Content-Length:") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).unwrap();
    text + std::str::from_utf8(&body).unwrap()
}

/// The next connection, waited for with patience.
/// One port for UDP and TCP.
fn gateway(host: &str) -> (TcpListener, Line) {
    for _ in 0..100 {
        let tcp = TcpListener::bind((host, 0)).unwrap();
        // Somebody else's by UDP, it may be.
        if let Ok(socket) = UdpSocket::bind(tcp.local_addr().unwrap()) {
            return (tcp, Line { socket });
        }
    }
    panic!("no port of {host} is free for both");
}

fn accepted(listener: &TcpListener) -> TcpStream {
    listener.set_nonblocking(true).unwrap();
    let found = std::cell::RefCell::new(None);
    wait_until(|| {
        *found.borrow_mut() = listener.accept().ok();
        found.borrow().is_some()
    });
    let (stream, _) = found.into_inner().unwrap();
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// The value of a message's first header of that name.
fn value<'m>(message: &'m str, name: &str) -> &'m str {
    message.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).unwrap()
}

fn ack_of_200(answered: &str, carrier: &Line) -> String {
    let target = value(answered, "Contact").trim_matches(['<', '>']);
    format!(
        "ACK {target} SIP/2.0\r\nVia: SIP/2.0/TCP {};branch=z9hG4bK-ack\r\nMax-Forwards: 70\r\nFrom: {}\r\nTo: {}\r\n\
         Call-ID: {}\r\nCSeq: 1 ACK\r\nContent-Length: 0\r\n\r\n",
        carrier.addr(),
        value(answered, "From"),
        value(answered, "To"),
        value(answered, "Call-ID"),
    )
}

fn bye_of_phone(invite: &str, phone: &Line) -> String {
    let target = value(invite, "Contact").trim_matches(['<', '>']);
    format!(
        "BYE {target} SIP/2.0\r\nVia: SIP/2.0/UDP {};branch=z9hG4bK-{};rport\r\nMax-Forwards: 70\r\nFrom: {};tag=phone\r\n\
         To: {}\r\nCall-ID: {}\r\nCSeq: 1 BYE\r\nContent-Length: 0\r\n\r\n",
        phone.addr(),
        value(invite, "Call-ID"),
        value(invite, "To"),
        value(invite, "From"),
        value(invite, "Call-ID"),
    )
}

mod long_invites {
    use socket2::{Domain, Socket, Type};

    use super::*;

    /// A node with a TCP listener too, whose DID is forwarded to a gateway written so.
    fn forwards_to(transport: &str, uri: &str) -> Place {
        let place = Place::new();
        place.listens_on_tcp_too();
        let routing = format!(
            "[[trunk]]\nname = \"carrier\"\nfrom = [\"127.0.0.1/32\"]\n[[trunk]]\nname = \"mobile\"\noutbound = true\n\
             transport = \"{transport}\"\ngateways = [{{ uri = \"{uri}\" }}]\noptions_interval = 0\n\
             [[number]]\ndid = \"+12015550101\"\nforward_to = \"+13125550199\"\n"
        );
        std::fs::write(place.folder.path().join("config/routing/all.toml"), routing).unwrap();
        place
    }

    fn long(carrier: &Line, call_id: &str) -> String {
        let subject = format!("Subject: {}\r\nContact:", "long ".repeat(250));
        invite(carrier, "+12015550101", call_id).replace("Contact:", &subject)
    }

    /// The caller acknowledges the 200 and hangs up; the record is that of a call that was bridged.
    fn completes(place: &Place, node: &Serving, carrier: &Line, call_id: &str) {
        let answered = carrier.receive_final();
        assert!(answered.starts_with("SIP/2.0 200 "), "{answered}");
        let line = |name: &str| answered.lines().find_map(|line| line.strip_prefix(name)).unwrap().to_owned();
        let target = line("Contact: <").trim_end_matches('>').to_owned();
        for (cseq, method) in [(1, "ACK"), (2, "BYE")] {
            let text = format!(
                "{method} {target} SIP/2.0\r\nVia: SIP/2.0/UDP {};branch=z9hG4bK-{method};rport\r\nMax-Forwards: 70\r\n\
                 From:{}\r\nTo:{}\r\nCall-ID: {call_id}\r\nCSeq: {cseq} {method}\r\nContent-Length: 0\r\n\r\n",
                carrier.addr(),
                line("From:"),
                line("To:"),
            );
            carrier.send(node.sip, &text);
        }
        assert!(carrier.receive_final().starts_with("SIP/2.0 200 "));
        wait_until(|| place.records().len() == 1);
        assert_eq!(place.records()[0].outcome, Outcome::Answered);
    }

    #[test]
    fn r13_they_go_by_tcp_to_a_gateway_whose_transport_is_auto_or_tcp() {
        for (transport, host) in [("auto", "127.0.71.1"), ("tcp", "127.0.71.2")] {
            let (tcp, udp) = gateway(host);
            let place = forwards_to(transport, &format!("sip:{}", udp.addr()));
            let (node, carrier) = (place.serve(), Line::new());
            carrier.send(node.sip, &long(&carrier, transport));
            let mut stream = BufReader::new(tcp.accept().unwrap().0);
            stream.get_ref().set_read_timeout(Some(PATIENCE)).unwrap();
            let offered = read(&mut stream);
            assert!(offered.starts_with("INVITE sip:+13125550199@") && offered.len() > 1300, "{offered}");
            assert!(offered.contains("Via: SIP/2.0/TCP "), "{offered}");
            let contact = format!("<sip:{}>", udp.addr());
            let over_tcp = format!("<sip:{};transport=tcp>", udp.addr());
            let answered = answer(&offered, "200 OK", &udp).replace(&contact, &over_tcp);
            stream.get_mut().write_all(answered.as_bytes()).unwrap();
            assert!(read(&mut stream).starts_with("ACK "));
            completes(&place, &node, &carrier, transport);
            assert!(read(&mut stream).starts_with("BYE "));
            assert!(!place.log().contains("no TCP there"), "{}", place.log());
        }
    }

    #[test]
    fn r13_where_nobody_takes_tcp_they_go_by_udp_after_all_and_the_log_says_so() {
        let (tcp, udp) = gateway("127.0.71.3");
        // Nobody else binds to that address: the connection will be refused.
        drop(tcp);
        let place = forwards_to("auto", &format!("sip:{}", udp.addr()));
        let (node, carrier) = (place.serve(), Line::new());
        carrier.send(node.sip, &long(&carrier, "falls-back"));
        let (offered, from) = udp.receive();
        assert!(offered.starts_with("INVITE ") && offered.len() > 1300, "{offered}");
        assert!(offered.contains("Via: SIP/2.0/UDP "), "{offered}");
        udp.send(from, &answer(&offered, "200 OK", &udp));
        completes(&place, &node, &carrier, "falls-back");
        let records = place.records();
        assert_eq!(records[0].legs.len(), 2, "the same leg, not another");
        wait_until(|| place.log().contains("a long INVITE went by UDP: no TCP there"));
    }

    /// RFC 3261 §18.2.2: who rings may answer by a new connection, and §18.1.1 has it called once.
    #[test]
    fn r14_a_gateway_whose_connection_ends_while_it_rings_is_neither_left_nor_called_twice() {
        for (transport, host) in [("auto", "127.0.71.9"), ("tcp", "127.0.71.10")] {
            let (tcp, udp) = gateway(host);
            let place = forwards_to(transport, &format!("sip:{}", udp.addr()));
            let (node, carrier) = (place.serve(), Line::new());
            carrier.send(node.sip, &long(&carrier, transport));
            let mut stream = BufReader::new(accepted(&tcp));
            let offered = read(&mut stream);
            stream.get_mut().write_all(answer(&offered, "180 Ringing", &udp).as_bytes()).unwrap();
            stream.get_ref().shutdown(Shutdown::Write).unwrap();
            // It has heard of the end once it closes its own.
            assert_eq!(stream.read(&mut [0; 16]).unwrap(), 0);
            let contact = format!("<sip:{}>", udp.addr());
            let over_tcp = format!("<sip:{};transport=tcp>", udp.addr());
            let answered = answer(&offered, "200 OK", &udp).replace(&contact, &over_tcp);
            let mut next = TcpStream::connect(node.tcp()).unwrap();
            next.write_all(answered.as_bytes()).unwrap();
            completes(&place, &node, &carrier, transport);
            udp.socket.set_nonblocking(true).unwrap();
            assert_eq!(udp.socket.recv(&mut [0; 16]).unwrap_err().kind(), ErrorKind::WouldBlock);
            assert!(!place.log().contains("no TCP there"), "{}", place.log());
        }
    }

    #[test]
    fn r14_where_tcp_is_taken_and_nothing_is_read_one_call_waits_and_the_next_go_by_udp() {
        let (_silent, first) = gateway("127.0.71.11");
        let (refuses, second) = gateway("127.0.71.12");
        drop(refuses);
        let both = format!(
            "sip:{}\", priority = 1 }}, {{ priority = 2, uri = \"sip:{}",
            first.addr(),
            second.addr()
        );
        let place = forwards_to("auto", &both);
        place.changes("config/routing/all.toml", |all| {
            all.replace("outbound = true", "outbound = true\ntry_timeout = 1")
        });
        let node = place.serve();
        for (call_id, gateway) in [("waits", &second), ("goes-at-once", &first)] {
            let carrier = Line::new();
            carrier.send(node.sip, &long(&carrier, call_id));
            let (offered, from) = gateway.receive();
            assert!(offered.starts_with("INVITE ") && offered.len() > 1300, "{offered}");
            gateway.send(from, &answer(&offered, "200 OK", gateway));
            let answered = carrier.receive_final();
            assert!(answered.starts_with("SIP/2.0 200 "), "{answered}");
        }
    }

    /// The same, but whoever knocks by TCP hears nothing: nobody accepts, and there is no more room in the queue. As long
    /// as the sockets live.
    fn gateway_that_drops_tcp(host: &str) -> (Vec<Socket>, Line) {
        let tcp = || Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let listener = tcp();
        listener.bind(&SocketAddr::new(host.parse().unwrap(), 0).into()).unwrap();
        listener.listen(0).unwrap();
        let at = listener.local_addr().unwrap();
        let mut sockets = vec![listener];
        for _ in 0..3 {
            let caller = tcp();
            caller.set_nonblocking(true).unwrap();
            // Under way, or not: it takes up room.
            caller.connect(&at).ok();
            sockets.push(caller);
        }
        let socket = UdpSocket::bind(at.as_socket().unwrap()).unwrap();
        (sockets, Line { socket })
    }

    #[test]
    fn r14_where_tcp_is_dropped_they_go_by_udp_before_the_gateway_is_left_and_the_next_at_once() {
        let (_first, first) = gateway_that_drops_tcp("127.0.71.7");
        let (_second, second) = gateway_that_drops_tcp("127.0.71.8");
        let both = format!(
            "sip:{}\", priority = 1 }}, {{ priority = 2, uri = \"sip:{}",
            first.addr(),
            second.addr()
        );
        let place = forwards_to("auto", &both);
        let node = place.serve();
        for call in 1..=2 {
            let (carrier, call_id) = (Line::new(), format!("dropped-{call}"));
            carrier.send(node.sip, &long(&carrier, &call_id));
            let (offered, from) = first.receive();
            assert!(offered.starts_with("INVITE ") && offered.len() > 1300, "{offered}");
            assert!(offered.contains("Via: SIP/2.0/UDP "), "{offered}");
            // The first call's is the second INVITE of its leg, after the one by TCP.
            assert!(
                offered.contains(if call == 1 { "CSeq: 2 INVITE" } else { "CSeq: 1 INVITE" }),
                "{offered}"
            );
            first.send(from, &answer(&offered, "200 OK", &first));
            let answered = carrier.receive_final();
            assert!(answered.starts_with("SIP/2.0 200 "), "{answered}");
            assert!(std::iter::repeat_with(|| first.receive().0).any(|text| text.starts_with("ACK ")));
        }
        second.socket.set_nonblocking(true).unwrap();
        assert_eq!(second.socket.recv(&mut [0; 16]).unwrap_err().kind(), ErrorKind::WouldBlock);
        wait_until(|| place.log().contains("a long INVITE went by UDP: no TCP there"));
    }

    #[test]
    fn r13_a_gateway_of_udp_never_gets_tcp() {
        for (transport, parameter, host) in
            [("udp", "", "127.0.71.4"), ("auto", ";transport=udp", "127.0.71.5")]
        {
            let (tcp, udp) = gateway(host);
            let place = forwards_to(transport, &format!("sip:{}{parameter}", udp.addr()));
            let (node, carrier) = (place.serve(), Line::new());
            carrier.send(node.sip, &long(&carrier, transport));
            let (offered, from) = udp.receive();
            assert!(offered.starts_with("INVITE ") && offered.len() > 1300, "{offered}");
            udp.send(from, &answer(&offered, "200 OK", &udp));
            completes(&place, &node, &carrier, transport);
            tcp.set_nonblocking(true).unwrap();
            assert_eq!(tcp.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
        }
    }

    #[test]
    fn r13_what_fits_into_a_datagram_goes_in_one() {
        let (tcp, udp) = gateway("127.0.71.6");
        let place = forwards_to("auto", &format!("sip:{}", udp.addr()));
        let (node, carrier) = (place.serve(), Line::new());
        carrier.send(node.sip, &invite(&carrier, "+12015550101", "short"));
        let (offered, from) = udp.receive();
        assert!(offered.len() <= 1300, "{offered}");
        udp.send(from, &answer(&offered, "200 OK", &udp));
        completes(&place, &node, &carrier, "short");
        tcp.set_nonblocking(true).unwrap();
        assert_eq!(tcp.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
    }
}

fn get(url: &str) -> u16 {
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    agent.get(url).call().unwrap().status().as_u16()
}
