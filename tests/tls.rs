//! Connections by TLS over real sockets, with a toy core in the exchange's place: what they bring and take, whom they
//! trust, and how the broken ones end.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on says where")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::{Duration, Instant};

use certs::{Ca, Issued, accept, dial, phone, read};
use rustls::pki_types::ServerName;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConnection, ProtocolVersion};
use strowger::engine::node::{Listen, Options, StartError};
use strowger::sip::peer::{ListenerId, NameId, Peer, Transport};
use strowger::transport::tls::{Sides, Tls};
use toy::{Seen, World, message};

#[expect(dead_code, reason = "shared with tests that ask for more")]
#[path = "common/certs.rs"]
mod certs;
#[expect(dead_code, reason = "shared with tests that ask for more")]
#[path = "common/toy.rs"]
mod toy;

const BOTH: &[&rustls::SupportedProtocolVersion] = &[&TLS13, &TLS12];

/// The names of gateways, by their ids from 1.
const NAMES: [&str; 2] = ["sbc.carrier.test", "other.carrier.test"];

/// One listener of TLS that shows a certificate of `ca`'s, and trusts what `ca` has signed.
fn options(ca: &Ca, clients: Option<&Ca>) -> Options {
    let identity = ca.issue(&["127.0.0.1"]).identity(clients);
    let sides = Sides::new(&[Some(identity)], &ca.roots()).unwrap();
    let names = |id: NameId| NAMES.get(usize::from(id.0.get()) - 1).map(|name| (*name).into());
    let mut options = Options::new(vec![tls("127.0.0.1:0")]);
    options.tls = Some(Arc::new(Tls::new(sides, Box::new(names))));
    options
}

fn tls(addr: &str) -> Listen {
    Listen { transport: Transport::Tls, addr: addr.parse().unwrap(), advertise: None }
}

fn gateway_at(addr: SocketAddr, name: Option<u16>) -> Peer {
    let name = name.and_then(NonZeroU16::new).map(NameId);
    Peer { transport: Transport::Tls, addr, listener: ListenerId(0), flow: None, name }
}

#[test]
fn messages_come_and_go_by_tls_1_2_and_1_3() {
    let ca = Ca::new("root");
    let world = World::echo(options(&ca, None));
    for (version, named) in [(&TLS12, ProtocolVersion::TLSv1_2), (&TLS13, ProtocolVersion::TLSv1_3)] {
        let mut phone = dial(world.addr(0), &phone(&ca, None, &[version])).unwrap();
        assert_eq!(phone.conn.protocol_version(), Some(named));
        // Records end where they like; messages do too.
        let long =
            [&b"MESSAGE sip:a@b SIP/2.0\r\nCall-ID: l\r\nContent-Length: 60000\r\n\r\n"[..], &[b'x'; 60_000]]
                .concat();
        let all = [message("OPTIONS", "a"), message("BYE", "b"), long, message("INFO", "c")].concat();
        for piece in all.chunks(7_777) {
            phone.write_all(piece).unwrap();
        }
        assert!(read(&mut phone, all.len()) == all);
        // RFC 5626 §3.5.1.
        phone.write_all(b"\r\n\r\n").unwrap();
        assert_eq!(read(&mut phone, 2), b"\r\n");
        let Seen::Message { from, .. } = world.seen() else { panic!("a message") };
        assert_eq!(
            (from.transport, from.addr.ip(), from.name),
            (Transport::Tls, [127, 0, 0, 1].into(), None)
        );
        assert!(from.flow.is_some());
        (0..3).for_each(|_| drop(world.message()));
        phone.conn.send_close_notify();
        phone.flush().unwrap();
        assert_eq!(world.seen(), Seen::Undeliverable { shard: 0, to: from });
        // It says goodbye too.
        assert_eq!(phone.read(&mut [0; 16]).unwrap(), 0);
    }
    world.node.stop();
}

#[test]
fn a_message_that_comes_with_the_end_of_the_handshake_is_read() {
    let ca = Ca::new("root");
    let world = World::echo(options(&ca, None));
    for version in [&TLS12, &TLS13] {
        let config = phone(&ca, None, &[version]);
        let mut tcp = TcpStream::connect(world.addr(0)).unwrap();
        tcp.set_read_timeout(Some(toy::PATIENCE)).unwrap();
        let mut phone = ClientConnection::new(config, ServerName::from(world.addr(0).ip())).unwrap();
        phone.writer().write_all(&message("OPTIONS", "early")).unwrap();
        let mut phone_of = rustls::Stream::new(&mut phone, &mut tcp);
        assert_eq!(read(&mut phone_of, message("OPTIONS", "early").len()), message("OPTIONS", "early"));
    }
    world.node.stop();
}

#[test]
fn what_one_shard_answers_goes_out_by_another_ones_connection() {
    let ca = Ca::new("root");
    let mut options = options(&ca, None);
    options.shards = 3;
    let world = World::echo(options);
    let phone_of = phone(&ca, None, BOTH);
    for call in 0..9 {
        let text = message("INVITE", &format!("call-{call}@{}", call % 3));
        let mut phone = dial(world.addr(0), &phone_of).unwrap();
        phone.write_all(&text).unwrap();
        assert_eq!(world.message(), (call % 3, text.clone()));
        assert_eq!(read(&mut phone, text.len()), text);
    }
    world.node.stop();
}

#[test]
fn a_gateway_shows_the_certificate_of_its_name_or_of_its_address() {
    let ca = Ca::new("root");
    let world = World::new(options(&ca, None), |_, _, _| {});
    let gateway = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = gateway.local_addr().unwrap();
    let text = message("INVITE", "a");
    let mut open = Vec::new();
    for (cert, name, asked) in [(NAMES[0], Some(1), Some(NAMES[0])), ("127.0.0.1", None, None)] {
        world.send(0, gateway_at(addr, name), text.clone());
        let mut stream = accept(&gateway, &ca.issue(&[cert]).server()).unwrap();
        assert_eq!(read(&mut stream, text.len()), text);
        assert_eq!(stream.conn.server_name(), asked, "SNI");
        // What it sends back comes from the very peer.
        stream.write_all(&text).unwrap();
        let Seen::Message { from, .. } = world.seen() else { panic!("a message") };
        assert_eq!(Peer { flow: None, ..from }, gateway_at(addr, name));
        open.push(stream);
    }
    world.node.stop();
}

#[test]
fn r14_a_gateway_with_a_certificate_that_is_not_its_own_is_not_spoken_to() {
    let (ca, stranger) = (Ca::new("root"), Ca::new("nobody"));
    let world = World::new(options(&ca, None), |_, _, _| {});
    let gateway = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = gateway.local_addr().unwrap();
    let cases: [(&str, Issued, Option<u16>); 5] = [
        ("another name", ca.issue(&[NAMES[1]]), Some(1)),
        ("a name for an address", ca.issue(&[NAMES[0]]), None),
        ("an address for a name", ca.issue(&["127.0.0.1"]), Some(1)),
        ("expired", ca.issue_until(&[NAMES[0]], 2021), Some(1)),
        ("signed by nobody", stranger.issue(&[NAMES[0]]), Some(1)),
    ];
    for (what, shown, name) in cases {
        let to = gateway_at(addr, name);
        world.send(0, to, message("INVITE", "a"));
        let mut heard = Vec::new();
        if let Ok(mut stream) = accept(&gateway, &shown.server()) {
            // In TLS 1.3 the server has ended its part before the client looks.
            let _broken = stream.read_to_end(&mut heard);
        }
        assert!(heard.is_empty(), "{what}: it heard {}", heard.len());
        assert_eq!(world.seen(), Seen::Undeliverable { shard: 0, to }, "{what}");
        let Seen::Undeliverable { to: dead, .. } = world.seen() else { panic!("{what}: undeliverable") };
        assert!(dead.flow.is_some(), "{what}");
    }
    // One whose name nobody knows is not even called.
    world.send(0, gateway_at(addr, Some(9)), message("INVITE", "a"));
    assert!(matches!(world.seen(), Seen::Undeliverable { .. }));
    world.node.stop();
}

#[test]
fn a_connection_serves_the_name_that_it_was_opened_for_and_no_other() {
    let ca = Ca::new("root");
    let world = World::new(options(&ca, None), |_, _, _| {});
    let gateway = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = gateway.local_addr().unwrap();
    let server = ca.issue(&NAMES).server();
    let text = message("INVITE", "a");
    let mut streams = Vec::new();
    for name in [1, 2] {
        world.send(0, gateway_at(addr, Some(name)), text.clone());
        let mut stream = accept(&gateway, &server).unwrap();
        assert_eq!(stream.conn.server_name(), Some(NAMES[usize::from(name) - 1]));
        assert_eq!(read(&mut stream, text.len()), text);
        streams.push(stream);
    }
    for (stream, name) in streams.iter_mut().zip([1, 2]) {
        world.send(0, gateway_at(addr, Some(name)), text.clone());
        assert_eq!(read(stream, text.len()), text);
    }
    // A phone's connection is nobody's that we meant to call, whatever its address.
    let mut phone = dial(world.addr(0), &phone(&ca, None, BOTH)).unwrap();
    phone.write_all(&text).unwrap();
    let Seen::Message { from, .. } = world.seen() else { panic!("a message") };
    let to = gateway_at(from.addr, None);
    world.send(0, to, text);
    assert_eq!(world.seen(), Seen::Undeliverable { shard: 0, to });
    assert!(matches!(world.seen(), Seen::Undeliverable { to: dead, .. } if dead.flow != from.flow));
    world.node.stop();
}

#[test]
fn with_client_ca_whoever_connects_shows_a_certificate_that_it_signed() {
    let (ca, clients, stranger) = (Ca::new("root"), Ca::new("clients"), Ca::new("nobody"));
    let world = World::echo(options(&ca, Some(&clients)));
    let text = message("OPTIONS", "a");
    for version in [&TLS12, &TLS13] {
        let talks = |shows: Option<&Issued>| {
            let mut phone = dial(world.addr(0), &phone(&ca, shows, &[version]))?;
            phone.write_all(&text)?;
            let mut heard = vec![0; text.len()];
            phone.read_exact(&mut heard).map(|()| heard)
        };
        assert_eq!(talks(Some(&clients.issue(&["alice.test"]))).unwrap(), text);
        assert!(talks(None).is_err());
        assert!(talks(Some(&stranger.issue(&["alice.test"]))).is_err());
        assert!(talks(Some(&clients.issue_until(&["alice.test"], 2021))).is_err(), "expired");
    }
    world.node.stop();
}

#[test]
fn new_certificates_are_shown_to_new_connections_and_old_ones_go_on() {
    let ca = Ca::new("root");
    let (first, second) = (ca.issue(&["127.0.0.1"]), ca.issue(&["127.0.0.1"]));
    let sides = |issued: &Issued| Sides::new(&[Some(issued.identity(None))], &ca.roots()).unwrap();
    let shared = Arc::new(Tls::new(sides(&first), Box::new(|_| None)));
    let mut options = Options::new(vec![tls("127.0.0.1:0")]);
    options.tls = Some(Arc::clone(&shared));
    let world = World::echo(options);
    // The same one, which remembers its sessions.
    let config = phone(&ca, None, BOTH);
    let shown = |phone: &certs::Client| phone.conn.peer_certificates().unwrap()[0].clone();
    let text = message("OPTIONS", "a");
    let mut old = dial(world.addr(0), &config).unwrap();
    old.write_all(&text).unwrap();
    assert_eq!(read(&mut old, text.len()), text);
    shared.replace(sides(&second));
    let mut new = dial(world.addr(0), &config).unwrap();
    assert_eq!((shown(&old), shown(&new)), (first.chain()[0].clone(), second.chain()[0].clone()));
    for phone in [&mut old, &mut new] {
        phone.write_all(&text).unwrap();
        assert_eq!(read(phone, text.len()), text);
    }
    world.node.stop();
}

#[test]
fn r14_half_open_handshakes_are_few_and_short() {
    const LIMIT: Duration = Duration::from_millis(700);
    let ca = Ca::new("root");
    let mut options = options(&ca, None);
    options.stream_limits.handshake = LIMIT;
    options.known = Box::new(|addr| addr.to_string() == "127.0.0.9");
    let world = World::echo(options);
    let began = Instant::now();
    let mut held: Vec<TcpStream> = (0..32).map(|_| TcpStream::connect(world.addr(0)).unwrap()).collect();
    // A ClientHello that never ends.
    held.iter_mut().for_each(|half| half.write_all(&[22, 3, 1, 0, 200, 1, 0]).unwrap());
    let mut more = TcpStream::connect(world.addr(0)).unwrap();
    more.set_read_timeout(Some(LIMIT / 3)).unwrap();
    assert!(is_closed(&mut more), "one too many is closed at once");
    assert!(began.elapsed() < LIMIT);
    for half in &mut held {
        half.set_read_timeout(Some(toy::PATIENCE)).unwrap();
        assert!(is_closed(half), "a handshake that was not ended in time");
    }
    assert!(began.elapsed() >= LIMIT);
    let mut phone = dial(world.addr(0), &phone(&ca, None, BOTH)).unwrap();
    phone.write_all(&message("OPTIONS", "a")).unwrap();
    assert_eq!(world.message().1, message("OPTIONS", "a"));
    world.node.stop();
}

/// Whether the node has closed it, or does before the socket's time is up.
fn is_closed(stream: &mut TcpStream) -> bool {
    match stream.read(&mut [0; 16]) {
        Ok(read) => read == 0,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    }
}

#[test]
fn what_is_no_tls_is_closed_at_once_and_hurts_nobody() {
    let ca = Ca::new("root");
    let world = World::echo(options(&ca, None));
    for garbage in
        [&message("INVITE", "plain")[..], b"GET / HTTP/1.1\r\n\r\n", &[22, 3, 1, 0xff, 0xff, 1], &[0; 300]]
    {
        let mut stream = TcpStream::connect(world.addr(0)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
        stream.write_all(garbage).unwrap();
        let mut rest = Vec::new();
        // An alert at most.
        let closed = stream.read_to_end(&mut rest);
        assert!(closed.is_ok() || closed.is_err_and(|e| e.kind() == std::io::ErrorKind::ConnectionReset));
        assert!(rest.len() <= 7, "{rest:?}");
    }
    let mut phone = dial(world.addr(0), &phone(&ca, None, BOTH)).unwrap();
    // Garbage after the handshake ends that connection alone.
    let mut other = dial(world.addr(0), &certs::phone(&ca, None, BOTH)).unwrap();
    other.sock.write_all(&[23, 3, 3, 0, 5, 1, 2, 3, 4, 5]).unwrap();
    assert!(!matches!(other.read(&mut [0; 16]), Ok(1..)));
    phone.write_all(&message("OPTIONS", "a")).unwrap();
    assert_eq!(read(&mut phone, message("OPTIONS", "a").len()), message("OPTIONS", "a"));
    world.node.stop();
}

#[test]
fn a_far_end_that_does_not_read_loses_its_connection_before_memory_grows() {
    let ca = Ca::new("root");
    let world = World::new(options(&ca, None), |_, _, _| {});
    let gateway = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = gateway_at(gateway.local_addr().unwrap(), None);
    let server = ca.issue(&["127.0.0.1"]).server();
    world.sends_to_who_does_not_read(to, || accept(&gateway, &server).unwrap());
    world.node.stop();
}

#[test]
fn r14_a_gateway_that_takes_the_connection_and_says_nothing_is_undeliverable() {
    let ca = Ca::new("root");
    let mut options = options(&ca, None);
    options.stream_limits.connect = Duration::from_millis(200);
    let world = World::new(options, |_, _, _| {});
    let gateway = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = gateway_at(gateway.local_addr().unwrap(), None);
    world.send(0, to, message("INVITE", "a"));
    let (_silent, _) = gateway.accept().unwrap();
    assert_eq!(world.seen(), Seen::Undeliverable { shard: 0, to });
    assert!(matches!(world.seen(), Seen::Undeliverable { to: dead, .. } if dead.flow.is_some()));
    world.node.stop();
}

#[test]
fn a_listener_of_tls_without_a_certificate_is_none() {
    let refused = strowger::engine::node::Node::<toy::Toy>::start(
        Options::new(vec![tls("127.0.0.1:0")]),
        toy::ById,
        |_| panic!("no shard starts"),
        |_| Box::new(|()| {}),
    );
    assert!(matches!(refused.err(), Some(StartError::NoCertificate(_))));
}
