//! Capture: what a collector gets and what `call <id> --pcap` writes, read by programs that are not ours: sngrep has
//! another implementation of HEP3, tshark one of everything else.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read as _, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use common::{PATIENCE, wait_until};
use node::{Line, Place, Serving, ack, answer, invite};
use process::Program;
use proptest::prelude::*;
use serde_json::Value;
use strowger::engine::capture::Hop;
use strowger::engine::capture::hep::{MAX_NAME, MAX_PACKET, Packet};
use strowger::engine::capture::pcap;

#[expect(dead_code, reason = "shared with tests that ask for more")]
mod common;
#[expect(dead_code, reason = "shared with tests that ask for more")]
#[path = "common/node.rs"]
mod node;
#[expect(dead_code, reason = "shared with tests that ask for more")]
#[path = "support/process.rs"]
mod process;

/// One packet as the specification says that it is read; chunks that it does not name are passed over.
#[derive(Debug, Default, PartialEq)]
struct Read3 {
    family: u8,
    protocol: u8,
    addresses: Vec<IpAddr>,
    ports: Vec<u16>,
    seconds: u32,
    micros: u32,
    kind: u8,
    agent: u32,
    node: String,
    correlation: Vec<u8>,
    payload: Vec<u8>,
}

impl Read3 {
    fn of(packet: &[u8]) -> Read3 {
        assert_eq!(&packet[..4], b"HEP3");
        let two = |at: usize| u16::from_be_bytes([packet[at], packet[at + 1]]);
        let four = |at: usize| u32::from(two(at)) << 16 | u32::from(two(at + 2));
        assert_eq!(usize::from(two(4)), packet.len(), "the length of all");
        let (mut read, mut at) = (Read3::default(), 6);
        while at < packet.len() {
            let (vendor, kind, length) = (two(at), two(at + 2), usize::from(two(at + 4)));
            assert!(vendor == 0 && length >= 6 && at + length <= packet.len(), "chunk {kind} of {length}");
            let value = &packet[at + 6..at + length];
            match (kind, value.len()) {
                (1, 1) => read.family = value[0],
                (2, 1) => read.protocol = value[0],
                (3 | 4, 4) => read.addresses.push(<[u8; 4]>::try_from(value).unwrap().into()),
                (5 | 6, 16) => read.addresses.push(<[u8; 16]>::try_from(value).unwrap().into()),
                (7 | 8, 2) => read.ports.push(two(at + 6)),
                (9, 4) => read.seconds = four(at + 6),
                (10, 4) => read.micros = four(at + 6),
                (11, 1) => read.kind = value[0],
                (12, 4) => read.agent = four(at + 6),
                (15, _) => read.payload = value.to_vec(),
                (17, _) => read.correlation = value.to_vec(),
                (19, _) => read.node = String::from_utf8(value.to_vec()).unwrap(),
                (kind, length) => panic!("chunk {kind} of {length}"),
            }
            at += length;
        }
        assert_eq!(at, packet.len());
        read
    }

    fn source(&self) -> SocketAddr {
        SocketAddr::new(self.addresses[0], self.ports[0])
    }

    fn destination(&self) -> SocketAddr {
        SocketAddr::new(self.addresses[1], self.ports[1])
    }

    /// Its method or code.
    fn what(&self) -> String {
        let text = String::from_utf8_lossy(&self.payload);
        let mut words = text.split(' ');
        let first = words.next().unwrap_or_default();
        if first == "SIP/2.0" { words.next().unwrap_or_default().to_owned() } else { first.to_owned() }
    }

    fn call_id(&self) -> String {
        let text = String::from_utf8_lossy(&self.payload);
        text.lines().find_map(|line| line.strip_prefix("Call-ID: ")).unwrap_or_default().to_owned()
    }
}

fn address() -> impl Strategy<Value = SocketAddr> {
    prop_oneof![
        any::<([u8; 4], u16)>().prop_map(SocketAddr::from),
        any::<([u8; 16], u16)>().prop_map(SocketAddr::from)
    ]
}

/// As it is told in a packet of both families.
fn mapped(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().into(),
        IpAddr::V6(_) => ip,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_as_hep3_is_read_as_it_was(
        source in address(),
        destination in address(),
        stream in any::<bool>(),
        at in 0..u64::from(u32::MAX) * 1_000_000,
        agent in any::<u32>(),
        node in "[a-z0-9é-]{0,20}",
        correlation in prop::collection::vec(any::<u8>(), 0..300),
        payload in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..2_000),
            (65_200_usize..65_536).prop_map(|length| vec![b'x'; length]),
        ],
    ) {
        let hop = Hop { at, stream, source, destination };
        let mut packet = vec![];
        Packet { hop, agent, node: &node, correlation: &correlation, payload: &payload }.write(&mut packet);
        prop_assert!(packet.len() <= MAX_PACKET);
        let read = Read3::of(&packet);
        let both_v4 = source.is_ipv4() && destination.is_ipv4();
        let ips = [source.ip(), destination.ip()];
        let ips = if both_v4 { ips } else { ips.map(mapped) };
        let kept = payload.len().min(read.payload.len());
        prop_assert!(kept == payload.len() || packet.len() == MAX_PACKET, "cut only where it must be");
        let expected = Read3 {
            family: if both_v4 { 2 } else { 10 },
            protocol: if stream { 6 } else { 17 },
            addresses: ips.to_vec(),
            ports: vec![source.port(), destination.port()],
            seconds: (at / 1_000_000) as u32,
            micros: (at % 1_000_000) as u32,
            kind: 1,
            agent,
            node,
            correlation: correlation[..correlation.len().min(MAX_NAME)].to_vec(),
            payload: payload[..kept].to_vec(),
        };
        prop_assert_eq!(read, expected);
    }
}

/// A call by UDP from end to end, as the collector got it and as the file has it.
#[test]
fn a_collector_gets_every_message_with_our_call_id_and_so_does_the_file() {
    let collector = UdpSocket::bind("127.0.0.1:0").unwrap();
    let place = captures(&format!("hep = \"{}\"", collector.local_addr().unwrap()));
    let node = place.serve();
    let carrier = Line::new();
    let id = a_call(&place, &node, &carrier);
    let packets = heard(&collector, CALL.len());
    let read: Vec<Read3> = packets.iter().map(|packet| Read3::of(packet)).collect();
    let seen = read.iter().map(|message| (message.source(), message.destination(), message.what()));
    assert_eq!(told(seen, &place, &node, &carrier), CALL);
    for message in &read {
        assert_eq!(String::from_utf8_lossy(&message.correlation), id);
        assert_eq!((message.family, message.protocol, message.kind), (2, 17, 1));
        assert_eq!((&*message.node, message.agent), ("edge-1", read[0].agent));
    }
    let times = read.iter().map(|message| (message.seconds, message.micros)).collect::<Vec<_>>();
    assert!(times.is_sorted(), "{times:?}");
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
    assert!(now - u64::from(times[0].0) < 60, "{times:?}");

    let heard = place.folder.path().join("heard.pcap");
    sngrep_hears(&packets, &heard);
    let file = place.folder.path().join("call.pcap");
    let (code, out, err) = place.strowger(&["call", &id, "--pcap", file.to_str().unwrap()]);
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(out.starts_with(&format!("{} messages in ", CALL.len())), "{out}");
    for (file, checked) in [(&heard, &[][..]), (&file, &CHECKSUMS)] {
        let frames = frames(file, checked);
        let seen = frames.iter().map(|frame| (frame.source, frame.destination, frame.what.clone()));
        assert_eq!(told(seen, &place, &node, &carrier), CALL, "{}", file.display());
        let bodies: Vec<&str> = frames.iter().map(|frame| &*frame.body).collect();
        let has_sdp = |message: &Read3| String::from_utf8_lossy(&message.payload).contains("m=audio");
        assert_eq!(
            bodies.iter().map(|body| *body == "audio 9 RTP/AVP 0").collect::<Vec<_>>(),
            read.iter().map(has_sdp).collect::<Vec<_>>()
        );
        let times: Vec<String> = frames.iter().map(|frame| frame.time.clone()).collect();
        let sent = |message: &Read3| format!("{}.{:06}", message.seconds, message.micros);
        assert_eq!(times, read.iter().map(sent).collect::<Vec<_>>());
    }
}

/// Streams, IPv6, and a message longer than a segment.
#[test]
fn the_file_has_streams_and_ipv6_as_they_would_have_been() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("made.pcap");
    let message = |number: usize, body: usize| {
        let head =
            format!("CSeq: {number} MESSAGE\r\nContent-Type: text/plain\r\nContent-Length: {body}\r\n\r\n");
        let names =
            "Via: SIP/2.0/TCP a;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:c@d>\r\nCall-ID: x\r\n";
        format!("MESSAGE sip:c@d SIP/2.0\r\n{names}{head}{}", "x".repeat(body))
    };
    let [udp6, sip, sips] = [
        ("[2001:db8::1]:5060", "[2001:db8::2]:5062"),
        ("192.0.2.1:40000", "192.0.2.2:5060"),
        ("192.0.2.1:40001", "192.0.2.2:5061"),
    ]
    .map(|(from, to)| (from.parse::<SocketAddr>().unwrap(), to.parse::<SocketAddr>().unwrap()));
    let back = |(from, to)| (to, from);
    let ways = [
        (false, udp6, 10),
        (false, back(udp6), 11),
        (true, sip, 100),
        (true, sips, 100),
        (true, back(sip), 100),
        (true, sip, 60_000),
        (true, back(sips), 100),
        (true, sips, 100),
        (true, sip, 100),
    ];
    let hops = ways.iter().zip(1_u64..).map(|((stream, (source, destination), _), at)| Hop {
        at,
        stream: *stream,
        source: *source,
        destination: *destination,
    });
    let messages: Vec<String> =
        ways.iter().zip(1..).map(|((.., body), number)| message(number, *body)).collect();
    let written = pcap::file(hops.zip(messages.iter().map(String::as_bytes)));
    std::fs::write(&file, written).unwrap();
    let frames = frames(&file, &CHECKSUMS);
    let read: Vec<String> = frames
        .iter()
        .filter(|frame| !frame.what.is_empty())
        .map(|frame| format!("{} {}", frame.source, frame.destination))
        .collect();
    let expected: Vec<String> = ways.iter().map(|(_, (from, to), _)| format!("{from} {to}")).collect();
    assert_eq!(read, expected);
}

/// Where we listen on all our addresses, a message has the one that it came to or left from.
#[test]
fn a_wildcard_is_no_address_of_a_message() {
    let place = captures("hep = \"\"");
    place.changes("config/strowger.toml", |node| {
        node.replacen("addr = \"127.0.0.1:0\"", "addr = \"0.0.0.0:0\"", 1)
    });
    let mut node = place.serve();
    node.sip.set_ip([127, 0, 0, 9].into());
    let carrier = Line::new();
    let id = a_call(&place, &node, &carrier);
    let file = place.folder.path().join("call.pcap");
    assert_eq!(place.strowger(&["call", &id, "--pcap", file.to_str().unwrap()]).0, 0);
    let (towards_carrier, towards_phone) = (node.sip, SocketAddr::from(([127, 0, 0, 1], node.sip.port())));
    let frames = frames(&file, &CHECKSUMS);
    assert_eq!(frames.len(), CALL.len());
    for frame in frames {
        let ends = BTreeSet::from([frame.source, frame.destination]);
        let own = if ends.contains(&carrier.addr()) { towards_carrier } else { towards_phone };
        assert!(ends.contains(&own), "{ends:?}");
    }
}

/// The owner of a call, by whatever socket and shard its messages come and go, knows whose they are.
#[test]
fn with_three_shards_and_a_caller_by_tcp_every_message_has_its_call() {
    let collector = UdpSocket::bind("127.0.0.1:0").unwrap();
    let place = captures(&format!("hep = \"{}\"", collector.local_addr().unwrap()));
    place.changes("config/strowger.toml", |node| node.replace("[node]\n", "[node]\nshards = 3\n"));
    place.listens_on_tcp_too();
    let node = place.serve();
    const CALLS: usize = 12;
    for number in 0..CALLS {
        let mut carrier = BufReader::new(TcpStream::connect(node.tcp()).unwrap());
        let own = carrier.get_ref().local_addr().unwrap();
        let offer = invite(&Line::new(), "+12015550101", &format!("by-tcp-{number}"));
        carrier.get_ref().write_all(offer.replace("SIP/2.0/UDP", "SIP/2.0/TCP").as_bytes()).unwrap();
        let (offered, from) = place.phone.offered();
        place.phone.send(from, &answer(&offered, "200 OK", &place.phone));
        let accepted = read_final(&mut carrier);
        let ack = within(&accepted, "ACK", 1, "TCP", own);
        carrier.get_ref().write_all(ack.as_bytes()).unwrap();
        assert!(place.phone.receive().0.starts_with("ACK "));
        let bye = within(&accepted, "BYE", 2, "TCP", own);
        carrier.get_ref().write_all(bye.as_bytes()).unwrap();
        let (bye, from) = place.phone.receive();
        place.phone.send(from, &answer(&bye, "200 OK", &place.phone));
        assert!(read_final(&mut carrier).contains("CSeq: 2 BYE"));
    }
    wait_until(|| place.records().len() == CALLS);
    let mut of_calls: BTreeMap<Vec<u8>, Vec<Read3>> = BTreeMap::new();
    for packet in heard(&collector, CALLS * CALL.len()) {
        let read = Read3::of(&packet);
        of_calls.entry(read.correlation.clone()).or_default().push(read);
    }
    let ids: Vec<Vec<u8>> = place.records().iter().map(|record| record.id.as_bytes().to_vec()).collect();
    let nobodys: Vec<String> = of_calls
        .iter()
        .filter(|(call, _)| !ids.contains(call))
        .flat_map(|(_, messages)| {
            messages.iter().map(|message| String::from_utf8_lossy(&message.payload).into_owned())
        })
        .collect();
    assert!(nobodys.is_empty() && of_calls.len() == ids.len(), "{nobodys:#?}");
    for messages in of_calls.values() {
        let by_tcp = messages.iter().filter(|message| message.protocol == 6).count();
        assert_eq!((messages.len(), by_tcp), (CALL.len(), 6));
    }
    let file = place.folder.path().join("one.pcap");
    let (code, ..) = place.strowger(&["call", &place.records()[0].id, "--pcap", file.to_str().unwrap()]);
    assert_eq!((code, frames(&file, &CHECKSUMS).len()), (0, CALL.len()));
}

#[test]
fn a_message_of_no_call_goes_by_its_call_id_and_a_refused_call_has_its_file() {
    let collector = UdpSocket::bind("127.0.0.1:0").unwrap();
    let place = captures(&format!("hep = \"{}\"", collector.local_addr().unwrap()));
    let node = place.serve();
    let carrier = Line::new();
    carrier.send(node.sip, &invite(&carrier, "+12015550101", "asked").replace("INVITE", "OPTIONS"));
    carrier.receive_final();
    for packet in heard(&collector, 2) {
        assert_eq!(Read3::of(&packet).correlation, b"asked");
    }
    carrier.send(node.sip, &invite(&carrier, "+12015559999", "none-of-ours"));
    let refused = carrier.receive_final();
    carrier.send(node.sip, &ack(&refused, &carrier, "+12015559999", "none-of-ours"));
    let id = recorded(&place);
    for packet in heard(&collector, 4) {
        assert_eq!(String::from_utf8(Read3::of(&packet).correlation).unwrap(), id);
    }
    let file = place.folder.path().join("refused.pcap");
    assert_eq!(place.strowger(&["call", &id, "--pcap", file.to_str().unwrap()]).0, 0);
    let what: Vec<String> = frames(&file, &CHECKSUMS).into_iter().map(|frame| frame.what).collect();
    assert_eq!(what, ["INVITE", "100", "404", "ACK"]);
    let (code, _, err) = place.strowger(&["call", "nobody", "--pcap", "x"]);
    assert!(code == 1 && err.contains("no call nobody"), "{err}");
}

#[test]
fn without_a_collector_messages_are_kept_and_one_that_is_not_there_costs_no_call() {
    let nobody = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for (keys, lost) in [
        ("hep = \"\"".to_owned(), false),
        ("hep = \"nobody.invalid:9060\"".to_owned(), true),
        (format!("hep = \"{nobody}\""), true),
    ] {
        let place = captures(&keys);
        let node = place.serve();
        let id = a_call(&place, &node, &Line::new());
        let file = place.folder.path().join("call.pcap");
        let (code, out, _) = place.strowger(&["--json", "call", &id, "--pcap", file.to_str().unwrap()]);
        let told: Value = serde_json::from_str(&out).unwrap();
        assert_eq!((code, &told["messages"], &told["missing"]), (0, &CALL.len().into(), &Value::Null));
        assert_eq!(frames(&file, &CHECKSUMS).len(), CALL.len());
        let metrics =
            ureq::get(format!("{}/metrics", node.admin)).call().unwrap().body_mut().read_to_string();
        let metrics = metrics.unwrap();
        let count = metrics.lines().find_map(|line| line.strip_prefix("strowger_capture_lost_total "));
        assert_eq!(count.is_some_and(|count| count != "0"), lost, "{keys}: {count:?}");
    }
}

#[test]
fn a_collector_is_found_by_its_name() {
    let collector = UdpSocket::bind("127.0.0.1:0").unwrap();
    collector.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let place = captures(&format!("hep = \"localhost:{}\"", collector.local_addr().unwrap().port()));
    let node = place.serve();
    let carrier = Line::new();
    let options = invite(&carrier, "+12015550101", "asked").replace("INVITE", "OPTIONS");
    wait_until(|| {
        carrier.send(node.sip, &options);
        collector.peek(&mut [0; 16]).is_ok()
    });
    assert_eq!(Read3::of(&heard(&collector, 1)[0]).correlation, b"asked");
}

#[test]
fn without_capture_no_messages_are_kept_and_who_asks_is_told_why() {
    let place = Place::new();
    let node = place.serve();
    let id = a_call(&place, &node, &Line::new());
    let (code, out, err) = place.strowger(&["call", &id, "--pcap", "x"]);
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(err.contains("strowger.toml has no [capture]"), "{err}");
}

/// The messages of [`a_call`]: which end, which way, what.
const CALL: [&str; 11] = [
    "carrier → us: INVITE",
    "us → carrier: 100",
    "us → phone: INVITE",
    "phone → us: 200",
    "us → phone: ACK",
    "us → carrier: 200",
    "carrier → us: ACK",
    "carrier → us: BYE",
    "us → carrier: 200",
    "us → phone: BYE",
    "phone → us: 200",
];

/// A node that captures.
fn captures(keys: &str) -> Place {
    let place = Place::new();
    place.changes("config/strowger.toml", |node| {
        format!("[node]\nname = \"edge-1\"\n{node}[capture]\n{keys}\n")
    });
    // Nobody asks whether a gateway lives: what is captured is of the test alone.
    place.changes("config/routing/all.toml", |all| {
        all.replacen("[[trunk]]\n", "[[trunk]]\noptions_interval = 0\n", 1)
    });
    place
}

/// A call from the carrier to the phone, answered and hung up; its id.
fn a_call(place: &Place, node: &Serving, carrier: &Line) -> String {
    let number = "+12015550101";
    carrier.send(node.sip, &invite(carrier, number, "captured"));
    let (offered, from) = place.phone.offered();
    place.phone.send(from, &answer(&offered, "200 OK", &place.phone));
    let accepted = carrier.receive_final();
    assert!(place.phone.receive().0.starts_with("ACK "));
    carrier.send(node.sip, &within(&accepted, "ACK", 1, "UDP", carrier.addr()));
    carrier.send(node.sip, &within(&accepted, "BYE", 2, "UDP", carrier.addr()));
    let (bye, from) = place.phone.receive();
    assert!(bye.starts_with("BYE "), "{bye}");
    place.phone.send(from, &answer(&bye, "200 OK", &place.phone));
    assert!(carrier.receive_final().contains("CSeq: 2 BYE"));
    recorded(place)
}

/// The id of the only call, once its record is written.
fn recorded(place: &Place) -> String {
    wait_until(|| place.records().len() == 1);
    place.records()[0].id.to_string()
}

/// A request of the caller's within the dialog that a 200 made.
fn within(accepted: &str, method: &str, cseq: u32, via: &str, from: SocketAddr) -> String {
    let line = |name: &str| accepted.lines().find(|line| line.starts_with(name)).unwrap();
    let contact = line("Contact:").split(['<', '>']).nth(1).unwrap();
    format!(
        "{method} {contact} SIP/2.0\r\nVia: SIP/2.0/{via} {from};branch=z9hG4bK-{method};rport\r\nMax-Forwards: 70\r\n\
         {}\r\n{}\r\n{}\r\nCSeq: {cseq} {method}\r\nContent-Length: 0\r\n\r\n",
        line("From:"),
        line("To:"),
        line("Call-ID:")
    )
}

/// The next final response of a stream.
fn read_final(stream: &mut BufReader<TcpStream>) -> String {
    stream.get_ref().set_read_timeout(Some(PATIENCE)).unwrap();
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(stream.read_line(&mut head).unwrap() > 0, "closed after {head}");
        }
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).unwrap();
        stream.read_exact(&mut vec![0; length.parse().unwrap()]).unwrap();
        if !head.starts_with("SIP/2.0 1") {
            return head;
        }
    }
}

/// So many packets of a collector's.
fn heard(collector: &UdpSocket, count: usize) -> Vec<Vec<u8>> {
    collector.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut buffer = [0; 65_536];
    let mut next = || {
        let length = collector.recv(&mut buffer).unwrap();
        buffer[..length].to_vec()
    };
    (0..count).map(|_| next()).collect()
}

/// Who said what to us, or we to whom: `carrier → INVITE`.
fn told(
    seen: impl Iterator<Item = (SocketAddr, SocketAddr, String)>,
    place: &Place,
    node: &Serving,
    carrier: &Line,
) -> Vec<String> {
    let name = |addr: SocketAddr| {
        let known = [(carrier.addr(), "carrier"), (place.phone.addr(), "phone"), (node.sip, "us")];
        known.iter().find(|(of, _)| *of == addr).unwrap_or_else(|| panic!("{addr} is nobody")).1
    };
    seen.map(|(from, to, what)| format!("{} → {}: {what}", name(from), name(to))).collect()
}

/// Has sngrep hear packets, and write down what it understood.
fn sngrep_hears(packets: &[Vec<u8>], file: &Path) {
    let folder = file.parent().unwrap();
    let [port] = process::free_ports([127, 0, 0, 1].into()).unwrap();
    let mut sngrep = Command::new("sngrep");
    sngrep.args(["-F", "-N", "-L", &format!("udp:127.0.0.1:{port}"), "-O"]).arg(file).env("TERM", "xterm");
    let mut sngrep = Program::start("sngrep", &mut sngrep, folder).unwrap();
    let line = format!(":{port:04X} ");
    wait_until(|| std::fs::read_to_string("/proc/net/udp").unwrap().contains(&line));
    let ours = UdpSocket::bind("127.0.0.1:0").unwrap();
    for packet in packets {
        ours.send_to(packet, ("127.0.0.1", port)).unwrap();
    }
    let dialogs: BTreeSet<String> = packets.iter().map(|packet| Read3::of(packet).call_id()).collect();
    let all = format!("Dialog count: {}", dialogs.len());
    sngrep.wait_until(PATIENCE, |printed| printed.contains(&all)).unwrap();
    // What it has read last is on the disk when it has ended.
    sngrep.end();
}

/// Checksums are looked at; sngrep writes none that are right.
const CHECKSUMS: [&str; 6] =
    ["-o", "udp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE", "-o", "tcp.check_checksum:TRUE"];

/// A frame of a capture file, as tshark understands it.
struct Frame {
    source: SocketAddr,
    destination: SocketAddr,
    /// Seconds since 1970, with micros.
    time: String,
    what: String,
    body: String,
}

/// Every frame of a file; one with something wrong fails.
fn frames(file: &Path, more: &[&str]) -> Vec<Frame> {
    let fields = [
        "ip.src",
        "ipv6.src",
        "udp.srcport",
        "tcp.srcport",
        "ip.dst",
        "ipv6.dst",
        "udp.dstport",
        "tcp.dstport",
        "frame.time_epoch",
        "sip.Method",
        "sip.Status-Code",
        "sdp.media",
        "_ws.malformed",
        "ip.checksum.status",
        "udp.checksum.status",
        "tcp.checksum.status",
    ];
    let mut args = vec!["-T", "fields"];
    args.extend(more);
    args.extend(fields.iter().flat_map(|field| ["-e", *field]));
    let text = tshark(file, &args);
    text.lines()
        .map(|line| {
            let of: Vec<&str> = line.split('\t').collect();
            let addr = |at: usize| {
                SocketAddr::new(
                    [of[at], of[at + 1]].concat().parse().unwrap_or_else(|_| panic!("{line}")),
                    [of[at + 2], of[at + 3]].concat().parse().unwrap(),
                )
            };
            let is_good = |sum: &&str| more.is_empty() || sum.is_empty() || **sum == *"1";
            assert!(of[12].is_empty() && of[13..].iter().all(is_good), "{line}");
            let what = [of[9], of[10]].concat();
            Frame {
                source: addr(0),
                destination: addr(4),
                time: of[8].strip_suffix("000").unwrap().to_owned(),
                what,
                body: of[11].to_owned(),
            }
        })
        .collect()
}

/// What tshark says of a file.
fn tshark(file: &Path, args: &[&str]) -> String {
    let output = Command::new("tshark").arg("-n").arg("-r").arg(file).args(args).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
