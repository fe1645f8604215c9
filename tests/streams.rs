//! When a node is ready, and how long connections by TCP last and what ends them, over real sockets with a toy core in the
//! exchange's place.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on says where")]

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use strowger::engine::exchange::binding::EXPIRES;
use strowger::engine::hosts::Target;
use strowger::engine::node::{Listen, Options};
use strowger::routing::Host;
use strowger::sip::peer::{ListenerId, Peer, Transport};
use strowger::transport::streams::StreamLimits;
use toy::{PATIENCE, Seen, World, message, send};

#[expect(dead_code, reason = "shared with tests that ask for more")]
#[path = "common/toy.rs"]
mod toy;

/// A shard binds again what was bound before a restart.
#[test]
fn a_node_is_ready_when_each_of_its_shards_is() {
    let mut options = Options::new(vec![tcp("127.0.0.1:0")]);
    options.shards = 3;
    let ready = Arc::<AtomicUsize>::default();
    let done = Arc::clone(&ready);
    let world = World::made(
        options,
        |_, _, _| {},
        move || {
            // It is slow.
            std::thread::sleep(Duration::from_millis(20));
            done.fetch_add(1, Ordering::SeqCst);
        },
    );
    assert_eq!(ready.load(Ordering::SeqCst), 3);
    world.node.stop();
}

#[test]
fn r14_an_idle_connection_is_closed_where_we_opened_it_and_is_otherwise_its_far_ends() {
    let idle = StreamLimits::default().idle_theirs;
    assert!(idle > Duration::from_secs(u64::from(EXPIRES)), "as long as a phone is bound");
    assert!(idle > Duration::from_secs(86_400), "the longest session of a call (RFC 4028)");
    let mut options = Options::new(vec![tcp("127.0.0.1:0")]);
    options.stream_limits.idle = Duration::from_millis(60);
    let world = World::new(options, |_, _, _| {});
    let mut phone = dial(world.addr(0));
    phone.write_all(&message("REGISTER", "theirs")).unwrap();
    let (_, theirs) = (world.message(), phone.local_addr().unwrap());
    let gateway = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = Peer::at(gateway.local_addr().unwrap(), Transport::Tcp, ListenerId(0));
    for call in ["one", "another"] {
        world.send(0, to, message("BYE", call));
        let (mut trunk, _) = gateway.accept().unwrap();
        trunk.set_read_timeout(Some(PATIENCE)).unwrap();
        trunk.write_all(&message("OPTIONS", call)).unwrap();
        assert_eq!(world.message().1, message("OPTIONS", call));
        assert_eq!(read(&mut trunk, message("BYE", call).len()), message("BYE", call));
        assert_eq!(trunk.read(&mut [0; 16]).unwrap(), 0, "closed");
        let Seen::Undeliverable { to: dead, .. } = world.seen() else { panic!("undeliverable") };
        assert_ne!(dead.addr, theirs);
    }
    phone.write_all(&message("OPTIONS", "still there")).unwrap();
    assert_eq!(world.message().1, message("OPTIONS", "still there"));
    world.node.stop();
}

/// What another shard sent to the address went by a connection of its own, and is on its way still.
#[test]
fn of_a_connection_that_ends_the_other_shards_hear_by_its_flow_alone() {
    let mut options = Options::new(vec![tcp("127.0.0.1:0")]);
    options.shards = 2;
    let world = World::new(options, |_, _, _| {});
    let gateway = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = Peer::at(gateway.local_addr().unwrap(), Transport::Tcp, ListenerId(0));
    world.send(0, to, message("INVITE", "one"));
    let (mut trunk, _) = gateway.accept().unwrap();
    read(&mut trunk, message("INVITE", "one").len());
    drop(trunk);
    let mut heard: Vec<(usize, bool)> = Vec::new();
    while heard.len() < 3 {
        let Seen::Undeliverable { shard, to } = world.seen() else { panic!("undeliverable") };
        heard.push((shard, to.flow.is_some()));
    }
    // Each shard hears in that order.
    heard.sort_by_key(|(shard, _)| *shard);
    assert_eq!(heard, [(0, false), (0, true), (1, true)]);
    world.node.stop();
}

#[test]
fn what_waits_for_a_far_end_that_sends_what_is_no_sip_is_undeliverable_at_once() {
    let world = World::new(Options::new(vec![tcp("127.0.0.1:0")]), |_, _, _| {});
    let gateway = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = Peer::at(gateway.local_addr().unwrap(), Transport::Tcp, ListenerId(0));
    world.send(0, to, message("INVITE", "one"));
    let (mut trunk, _) = gateway.accept().unwrap();
    read(&mut trunk, message("INVITE", "one").len());
    trunk.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
    assert_eq!(world.seen(), Seen::Undeliverable { shard: 0, to });
    world.node.stop();
}

#[test]
fn r14_a_connection_by_which_nobody_was_taken_at_his_word_is_closed_soon() {
    for (shards, owner) in [(1, 0), (2, 0), (2, 1)] {
        let mut options = Options::new(vec![tcp("127.0.0.1:0")]);
        options.shards = shards;
        options.stream_limits.idle_passing = Duration::from_millis(60);
        options.known = Box::new(|addr| addr == IpAddr::from([127, 0, 0, 9]));
        let world = World::new(options, |from, bytes, out| {
            let told: &[u8] = match bytes {
                [b'R', ..] => b"SIP/2.0 200 OK\r\n\r\n",
                [b'I', ..] => b"SIP/2.0 180 OK\r\n\r\n",
                _ => b"SIP/2.0 403 No\r\n\r\n",
            };
            send(out, *from, told);
        });
        let host = Host { name: "sbc.test".into(), port: None, transport: None, secure: false };
        let addr = "127.0.0.8:5060".parse().unwrap();
        let found = Target { rank: 0, server: 0, weight: 0, addr, transport: Transport::Tcp };
        world.node.desk().hosts.put(&Arc::new(host), &[found]);
        let call_id = format!("1-leg@{owner}");
        let asks = |from: &str, method: &str| {
            let mut stream = dial_from(from, world.addr(0));
            stream.write_all(&message(method, &call_id)).unwrap();
            assert_eq!(world.message().1, message(method, &call_id));
            assert!(read(&mut stream, 18).starts_with(b"SIP/2.0 "));
            stream
        };
        // Who is registered, whose call rings, a trunk, and a carrier's host by DNS.
        let mut kept = [
            asks("127.0.0.1:0", "REGISTER"),
            asks("127.0.0.1:0", "INVITE"),
            asks("127.0.0.9:0", "OPTIONS"),
            asks("127.0.0.8:0", "OPTIONS"),
        ];
        let mut passing = asks("127.0.0.1:0", "OPTIONS");
        // Pings keep nobody there who was not taken at his word.
        let mut is_closed = || {
            passing.write_all(b"\r\n\r\n").is_err() || matches!(passing.read(&mut [0; 16]), Ok(0) | Err(_))
        };
        assert!((0..100_000).any(|_| is_closed()));
        let Seen::Undeliverable { to, .. } = world.seen() else { panic!("it has ended") };
        assert_eq!(to.addr, passing.local_addr().unwrap());
        for stream in &mut kept {
            stream.write_all(b"\r\n\r\n").unwrap();
            assert_eq!(read(stream, 2), b"\r\n", "it is there");
        }
        world.node.stop();
    }
}

#[test]
fn r14_strangers_that_hold_all_that_they_may_keep_no_phone_and_no_trunk_out() {
    let mut options = Options::new(vec![tcp("127.0.0.1:0")]);
    options.shards = 2;
    (options.connections, options.connections_per_stranger) = (8, 3);
    options.known = Box::new(|addr| addr == IpAddr::from([127, 0, 0, 9]));
    let world = World::new(options, |from, bytes, out| send(out, *from, bytes));
    let talks = |stream: &mut TcpStream| {
        let whole = message("OPTIONS", "1-leg@1");
        stream.write_all(&whole).is_ok() && {
            let mut got = vec![0; whole.len()];
            stream.read_exact(&mut got).is_ok() && got == whole
        }
    };
    let come = |from: &str, many: usize| -> Vec<TcpStream> {
        let come = || {
            let mut stream = dial_from(from, world.addr(0));
            assert!(talks(&mut stream), "from {from}");
            stream
        };
        (0..many).map(|_| come()).collect()
    };
    let mut flood = come("127.0.0.2:0", 3);
    flood.extend(come("127.0.0.3:0", 3));
    let mut phone = come("127.0.0.4:0", 1);
    let mut trunk = come("127.0.0.9:0", 4);
    let held = flood.iter_mut().filter_map(|stream| talks(stream).then_some(())).count();
    assert_eq!(held, 3, "one made room for the phone, two for trunks");
    assert!(phone.iter_mut().chain(&mut trunk).all(talks));
    world.node.stop();
}

#[test]
fn r14_a_message_that_is_too_long_is_handed_up_so_far_and_closes_the_connection() {
    let long =
        format!("REGISTER sip:a SIP/2.0\r\nCall-ID: long@0\r\n{}", "Contact: <sip:a@b>\r\n".repeat(10_000));
    let claims = "INVITE sip:a@b SIP/2.0\r\nCall-ID: claims@0\r\nContent-Length: 99999\r\n\r\nv=0";
    for sent in [claims, &long] {
        let mut options = Options::new(vec![tcp("127.0.0.1:0")]);
        options.stream_limits.whole_message = Duration::from_millis(100);
        let world =
            World::new(options, |from, _, out| send(out, *from, b"SIP/2.0 513 Message too long\r\n\r\n"));
        let mut phone = dial(world.addr(0));
        phone.write_all(sent.as_bytes()).unwrap();
        let mut told = Vec::new();
        phone.read_to_end(&mut told).expect("closed, and not reset");
        assert_eq!(String::from_utf8_lossy(&told), "SIP/2.0 513 Message too long\r\n\r\n");
        assert_eq!(world.message().1.len(), sent.len().min(65_536), "once");
        assert!(matches!(world.seen(), Seen::Undeliverable { .. }));
        world.node.stop();
    }
}

fn tcp(addr: &str) -> Listen {
    Listen { transport: Transport::Tcp, addr: addr.parse().unwrap(), advertise: None }
}

fn dial(to: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(to).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn dial_from(from: &str, to: SocketAddr) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&from.parse::<SocketAddr>().unwrap().into()).unwrap();
    socket.connect(&to.into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn read(stream: &mut TcpStream, len: usize) -> Vec<u8> {
    let mut got = vec![0; len];
    stream.read_exact(&mut got).expect("an answer");
    got
}
