//! Gateways whose hosts have names: a node in a process of its own, and a DNS server that the test runs.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::collections::HashSet;
use std::io::Write as _;
use std::net::{Ipv4Addr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use common::wait_until;
use hickory_resolver::proto::rr::rdata::{A, NAPTR};
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use nix::sys::signal::Signal;
use process::{Line, Place, Serving, answer, invite};
use zone::Zone;

#[expect(dead_code, reason = "shared with tests that ask for more")]
mod common;
#[expect(dead_code, reason = "shared with tests that ask for more")]
#[path = "common/node.rs"]
mod process;
#[path = "common/zone.rs"]
mod zone;

/// The number is forwarded through a gateway of that URI.
fn forwards_to(uri: &str) -> Place {
    let place = Place::new();
    place.changes("config/routing/all.toml", |text| {
        text.replace("sip:127.0.0.1:9\" }]", &format!("{uri}\" }}]\noutbound = true\ntry_timeout = 1"))
            .replace("ring = [\"alice\"]", "forward_to = \"+12125550188\"")
    });
    place
}

fn serve(place: &Place, zone: &Zone) -> Serving {
    let mut command = place.command(&["serve", "--log", "json"]);
    command.env("STROWGER_DNS", zone.addr.to_string());
    place.start(command)
}

/// A call that this gateway answers.
fn is_called(node: &Serving, gateway: &Line, call_id: &str) {
    let carrier = Line::new();
    carrier.send(node.sip, &invite(&carrier, "+12015550101", call_id));
    loop {
        let (offered, from) = gateway.receive();
        if offered.starts_with("OPTIONS ") {
            gateway.send(from, &answer(&offered, "200 OK", gateway));
        } else if offered.starts_with("INVITE ") {
            assert!(offered.contains(&format!("X-CID: {call_id}\r\n")), "{offered}");
            gateway.send(from, &answer(&offered, "486 Busy Here", gateway));
            break;
        }
    }
    assert!(carrier.receive_final().starts_with("SIP/2.0 486 "));
}

/// INVITEs that lie unread at a gateway.
fn invites_at(gateway: &Line) -> usize {
    gateway.socket.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
    let mut buffer = [0; 65_536];
    let mut count = 0;
    while let Ok(length) = gateway.socket.recv(&mut buffer) {
        count += usize::from(buffer[..length].starts_with(b"INVITE "));
    }
    count
}

#[test]
fn r13_a_host_is_found_by_naptr_and_srv_and_a_server_that_is_silent_is_remembered() {
    let (zone, dead, alive) = (Zone::new(), Line::new(), Line::new());
    let servers = Name::from_ascii("servers.example.test.").unwrap();
    let naptr = NAPTR::new(1, 1, (*b"s").into(), (*b"SIP+D2U").into(), Box::default(), servers);
    zone.says("sbc.example.test", RecordType::NAPTR, vec![(60, RData::NAPTR(naptr))]);
    let servers = [(1, dead.addr().port(), "one.example.test"), (2, alive.addr().port(), "two.example.test")];
    zone.has_servers("servers.example.test", &servers);
    zone.has_address("one.example.test", 60, Ipv4Addr::LOCALHOST);
    zone.has_address("two.example.test", 60, Ipv4Addr::LOCALHOST);
    let place = forwards_to("sip:sbc.example.test");
    let node = serve(&place, &zone);
    is_called(&node, &alive, "first");
    assert!(invites_at(&dead) > 0, "it has the better priority");
    is_called(&node, &alive, "second");
    assert_eq!(invites_at(&dead), 0, "it is known to be dead");
    assert_eq!(zone.was_asked("sbc.example.test", RecordType::NAPTR), 1, "the answer is kept for its time");
    wait_until(|| place.records().len() == 2);
    let records = place.records();
    assert_eq!(records.iter().map(|record| record.legs.len()).collect::<Vec<_>>(), [3, 2]);
}

#[test]
fn r13_an_answer_is_asked_for_again_when_its_time_is_over_and_kept_when_nobody_answers() {
    let (zone, old) = (Zone::new(), Line::new());
    let port = old.addr().port();
    zone.has_address("sbc.example.test", 1, Ipv4Addr::LOCALHOST);
    let place = forwards_to(&format!("sip:sbc.example.test:{port}"));
    let node = serve(&place, &zone);
    is_called(&node, &old, "old");
    let new = Line { socket: UdpSocket::bind((Ipv4Addr::new(127, 0, 0, 2), port)).unwrap() };
    zone.has_address("sbc.example.test", 60, Ipv4Addr::new(127, 0, 0, 2));
    let asked = zone.was_asked("sbc.example.test", RecordType::A);
    wait_until(|| zone.was_asked("sbc.example.test", RecordType::A) > asked);
    // The answer is on its way; from the next look on calls go there.
    wait_until(|| {
        let carrier = Line::new();
        carrier.send(node.sip, &invite(&carrier, "+12015550101", &format!("try-{}", carrier.addr().port())));
        std::thread::park_timeout(Duration::from_millis(20));
        invites_at(&new) > 0
    });
}

#[test]
fn a_host_that_is_not_found_fails_its_calls_and_is_found_as_soon_as_dns_knows_it() {
    let (zone, gateway) = (Zone::new(), Line::new());
    let port = gateway.addr().port();
    let place = forwards_to(&format!("sip:sbc.example.test:{port}"));
    let node = serve(&place, &zone);
    let carrier = Line::new();
    carrier.send(node.sip, &invite(&carrier, "+12015550101", "lost"));
    assert!(carrier.receive_final().starts_with("SIP/2.0 480 "));
    wait_until(|| place.log().contains("a host is not found"));
    zone.has_address("sbc.example.test", 60, Ipv4Addr::LOCALHOST);
    wait_until(|| place.log().contains("the host is found again"));
    is_called(&node, &gateway, "found");
}

/// What is no stranger's is answered though it name no dialog of ours (RFC 3261 §12.2.2).
#[test]
fn r01_e_a_gateway_is_no_stranger_where_its_host_was_found() {
    let (zone, stranger) = (Zone::new(), Line { socket: UdpSocket::bind("127.0.78.1:0").unwrap() });
    let gateway = Line { socket: UdpSocket::bind("127.0.77.1:0").unwrap() };
    zone.has_address("sbc.example.test", 60, Ipv4Addr::new(127, 0, 77, 1));
    let place = forwards_to(&format!("sip:sbc.example.test:{}", gateway.addr().port()));
    let node = serve(&place, &zone);
    is_called(&node, &gateway, "found");
    let bye = |from: &Line, call_id: &str| {
        let addr = from.addr();
        format!(
            "BYE sip:127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP {addr};branch=z9hG4bK-{call_id};rport\r\n\
             Max-Forwards: 70\r\nFrom: <sip:a@{addr}>;tag=a\r\nTo: <sip:b@127.0.0.1>;tag=forgotten\r\n\
             Call-ID: {call_id}\r\nCSeq: 2 BYE\r\nContent-Length: 0\r\n\r\n"
        )
    };
    stranger.send(node.sip, &bye(&stranger, "strange"));
    gateway.send(node.sip, &bye(&gateway, "known"));
    assert!(gateway.receive_final_of("known").starts_with("SIP/2.0 481 "));
    stranger.socket.set_nonblocking(true).unwrap();
    assert!(stranger.socket.recv(&mut [0; 64]).is_err(), "the stranger's came before it");
}

#[test]
fn a_reload_waits_for_the_hosts_that_are_new() {
    let (zone, gateway) = (Zone::new(), Line::new());
    zone.has_address("sbc.example.test", 60, Ipv4Addr::LOCALHOST);
    let place = forwards_to("sip:127.0.0.1:9");
    let node = serve(&place, &zone);
    let port = gateway.addr().port();
    place.changes("config/routing/all.toml", |text| {
        text.replace("sip:127.0.0.1:9", &format!("sip:SBC.example.test:{port}"))
    });
    let (code, _, err) = place.strowger(&["reload"]);
    assert_eq!(code, 0, "{err}");
    is_called(&node, &gateway, "new");
}

/// The configuration names many hosts of a zone that is silent as well.
fn names_silent_hosts(place: &Place, count: usize) {
    place.changes("config/routing/all.toml", |text| {
        let silent = |at| format!("{{ uri = \"sip:gw{at}.silent.test\" }}");
        let trunk = |at: usize| {
            let gateways: Vec<String> = (at * 8..count.min(at * 8 + 8)).map(silent).collect();
            format!("\n[[trunk]]\nname = \"silent{at}\"\ngateways = [{}]\n", gateways.join(", "))
        };
        format!("{text}{}", (0..count.div_ceil(8)).map(trunk).collect::<String>())
    });
}

#[test]
fn a_reload_that_nobody_waits_for_any_more_is_served_by_every_shard() {
    let (zone, old, new) = (Zone::new(), Line::new(), Line::new());
    let place = forwards_to(&format!("sip:127.0.0.1:{}", old.addr().port()));
    let node = serve(&place, &zone);
    is_called(&node, &old, "old");
    place.changes("config/routing/all.toml", |text| {
        text.replace(&format!(":{}\"", old.addr().port()), &format!(":{}\"", new.addr().port()))
    });
    names_silent_hosts(&place, 40);
    let generations = || place.strowger(&["generations"]).1.lines().count();
    let before = generations();
    let mut client = TcpStream::connect(node.admin.trim_start_matches("http://")).unwrap();
    client.write_all(b"POST /v1/reload HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\n\r\n").unwrap();
    wait_until(|| zone.was_asked("gw0.silent.test", RecordType::NAPTR) > 0);
    drop(client);
    wait_until(|| generations() > before);
    is_called(&node, &new, "new");
}

#[test]
fn a_reload_that_waits_for_dns_when_the_node_ends_is_told_as_given_up() {
    let (zone, place) = (Zone::new(), forwards_to("sip:127.0.0.1:9"));
    let mut node = serve(&place, &zone);
    names_silent_hosts(&place, 40);
    node.signal(Signal::SIGHUP);
    wait_until(|| zone.was_asked("gw0.silent.test", RecordType::NAPTR) > 0);
    node.signal(Signal::SIGTERM);
    assert_eq!(node.ended(), Some(0));
    let log = place.log();
    let told = log.lines().filter(|line| line.contains("given up: the node ends") && line.contains("SIGHUP"));
    assert!(told.count() == 1 && !log.contains("published"), "{log}");
}

#[test]
fn r13_a_host_is_called_beside_forty_of_a_silent_zone() {
    let (zone, gateway) = (Zone::new(), Line::new());
    zone.has_servers("_sip._udp.sbc.example.test", &[(1, gateway.addr().port(), "one.example.test")]);
    zone.has_address("one.example.test", 60, Ipv4Addr::LOCALHOST);
    let place = forwards_to("sip:sbc.example.test");
    names_silent_hosts(&place, 40);
    let node = serve(&place, &zone);
    is_called(&node, &gateway, "first");
}

#[test]
fn r13_a_host_that_is_new_is_called_at_once_while_more_of_a_silent_zone_are_looked_up_than_begin_at_once() {
    let (zone, gateway) = (Zone::new(), Line::new());
    zone.has_address("sbc.example.test", 60, Ipv4Addr::LOCALHOST);
    let place = forwards_to("sip:127.0.0.1:9");
    names_silent_hosts(&place, 200);
    let node = serve(&place, &zone);
    let port = gateway.addr().port();
    place.changes("config/routing/all.toml", |text| {
        text.replace("sip:127.0.0.1:9", &format!("sip:sbc.example.test:{port}"))
    });
    let (code, _, err) = place.strowger(&["reload"]);
    assert_eq!(code, 0, "{err}");
    is_called(&node, &gateway, "new");
}

#[test]
fn r13_hosts_are_found_as_soon_as_a_server_that_was_silent_to_all_answers_again() {
    let (zone, gateway) = (Zone::new(), Line::new());
    zone.dies();
    zone.has_address("sbc.example.test", 60, Ipv4Addr::LOCALHOST);
    let place = forwards_to(&format!("sip:sbc.example.test:{}", gateway.addr().port()));
    names_silent_hosts(&place, 40);
    let node = serve(&place, &zone);
    wait_until(|| place.log().contains("a host is not found"));
    let asked = zone.was_asked("", RecordType::SOA);
    wait_until(|| zone.was_asked("", RecordType::SOA) > asked);
    zone.comes_back();
    wait_until(|| place.log().contains("the host is found again"));
    is_called(&node, &gateway, "found");
}

#[test]
fn r14_a_gateway_is_down_when_none_of_its_addresses_answers() {
    let (zone, first) = (Zone::new(), Line::new());
    let port = first.addr().port();
    let addrs = [1, 2, 3, 4, 5].map(|last| Ipv4Addr::new(127, 0, 0, last));
    zone.says("sbc.example.test", RecordType::A, addrs.map(|addr| (60, RData::A(A(addr)))).into());
    let silent: Vec<UdpSocket> =
        addrs[1..].iter().map(|addr| UdpSocket::bind((*addr, port)).unwrap()).collect();
    let place = forwards_to(&format!("sip:sbc.example.test:{port}"));
    place.changes("config/routing/all.toml", |text| {
        text.replace("try_timeout = 1", "try_timeout = 1\noptions_interval = 5")
    });
    let _node = serve(&place, &zone);
    let began = Instant::now();
    while !place.log().contains("no answer to OPTIONS") {
        assert!(began.elapsed() < Duration::from_secs(25), "as soon as a single address");
        std::thread::park_timeout(Duration::from_millis(100));
    }
    // Each was asked, in this round and in the one before.
    for socket in silent.iter().chain([&first.socket]) {
        socket.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        let mut branches = HashSet::new();
        let mut buffer = [0; 65_536];
        while let Ok(length) = socket.recv(&mut buffer) {
            let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
            branches.extend(text.split("branch=").nth(1).map(|rest| rest[..20].to_owned()));
        }
        assert!(branches.len() >= 2, "{branches:?}");
    }
}

#[test]
fn r14_a_gateway_whose_host_is_not_found_is_down_and_says_so() {
    let (zone, gateway) = (Zone::new(), Line::new());
    let place = forwards_to(&format!("sip:sbc.example.test:{}", gateway.addr().port()));
    place.changes("config/routing/all.toml", |text| {
        text.replace("try_timeout = 1", "try_timeout = 1\noptions_interval = 5")
    });
    let node = serve(&place, &zone);
    wait_until(|| place.log().contains("its host is not found"));
    zone.has_address("sbc.example.test", 60, Ipv4Addr::LOCALHOST);
    wait_until(|| place.log().contains("the host is found again"));
    is_called(&node, &gateway, "found");
}
