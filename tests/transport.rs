//! A node over real sockets on loopback, with a toy core in the exchange's place: what goes in comes out, and
//! what breaks is told. Ports are the system's choice; nobody sleeps to see whether something happened.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on says where")]

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::time::Duration;

use strowger::engine::exchange::Effects;
use strowger::engine::inbox::PARCELS_FOR_CALLS;
use strowger::engine::node::{Berth, Listen, Node, Options, StartError};
use strowger::sip::peer::{FlowId, ListenerId, Peer, Transport};
use strowger::time::Instant;
use strowger::transport::streams::StreamLimits;
use toy::{Behaviour, ById, PATIENCE, Seen, Toy, World, message, send};

#[path = "common/toy.rs"]
mod toy;

#[test]
fn every_datagram_of_a_burst_comes_back() {
    let world = World::echo(Options::new(vec![udp("127.0.0.1:0")]));
    let phones = [phone("127.0.0.1:0"), phone("127.0.0.1:0")];
    for round in 0..5 {
        for number in 0..100 {
            for phone in &phones {
                phone.send_to(&message("OPTIONS", &format!("{round}-{number}")), world.addr(0)).unwrap();
            }
        }
        for phone in &phones {
            for number in 0..100 {
                assert_eq!(datagram(phone), message("OPTIONS", &format!("{round}-{number}")));
            }
        }
    }
    world.node.stop();
}

#[test]
fn r08_what_one_turn_brings_for_one_call_is_taken_in_its_order() {
    let came = [
        ("SIP/2.0 200", "1-leg"),
        ("SIP/2.0 200", "2-leg"),
        ("BYE", "3-leg"),
        ("CANCEL", "1-caller"),
        ("BYE", "3-caller"),
    ];
    // By one socket, by two, and by way of another shard.
    for (listeners, owner) in [(1, 0), (2, 0), (1, 1)] {
        let mut options = Options::new(vec![udp("127.0.0.1:0"); listeners]);
        options.shards = owner + 1;
        let world = World::new(options, |_, _, _| {});
        let phone = phone_of_shard_0(&world);
        let block = world.block(owner);
        for (at, (method, id)) in came.iter().enumerate() {
            let to = world.addr(usize::from(at > 2) % listeners);
            phone.send_to(&message(method, &format!("{id}@{owner}")), to).unwrap();
        }
        if owner > 0 {
            // Shard 0 has passed all on once it takes this.
            phone.send_to(&message("OPTIONS", "passed@0"), world.addr(0)).unwrap();
            assert!(matches!(world.seen(), Seen::Message { shard: 0, .. }));
        }
        drop(block);
        let taken = came.map(|_| world.message().1);
        let expected = [3, 0, 1, 4, 2].map(|at| message(came[at].0, &format!("{}@{owner}", came[at].1)));
        assert!(taken == expected, "{taken:?}");
        world.node.stop();
    }
}

#[test]
fn a_datagram_of_64_kb_travels_whole() {
    let world = World::echo(Options::new(vec![udp("127.0.0.1:0")]));
    let phone = phone("127.0.0.1:0");
    let mut long = message("MESSAGE", "long");
    long.resize(65_507, b'x');
    phone.send_to(&long, world.addr(0)).unwrap();
    assert!(datagram(&phone) == long);
    world.node.stop();
}

#[test]
fn ipv6_and_ipv4_each_have_their_own_socket() {
    let world = World::echo(Options::new(vec![udp("127.0.0.1:0"), udp("[::1]:0")]));
    for (phone, listener) in [(phone("127.0.0.1:0"), 0), (phone("[::1]:0"), 1)] {
        phone.send_to(&message("OPTIONS", "a"), world.addr(listener)).unwrap();
        assert_eq!(datagram(&phone), message("OPTIONS", "a"));
        let Seen::Message { from, .. } = world.seen() else { panic!("a message") };
        assert_eq!(from.listener, ListenerId(u8::try_from(listener).unwrap()));
        assert_eq!(from.addr, phone.local_addr().unwrap());
    }
    world.node.stop();
}

#[test]
fn a_listener_of_all_our_addresses_answers_from_the_one_that_was_asked() {
    for (shards, all, ours) in [
        (1, "0.0.0.0:0", &["127.0.0.5", "127.0.0.6", "127.0.0.5"][..]),
        (3, "0.0.0.0:0", &["127.0.0.5", "127.0.0.6", "127.0.0.7"]),
        (1, "[::]:0", &["::1"]),
    ] {
        let mut options = Options::new(vec![udp(all)]);
        options.shards = shards;
        let world = World::echo(options);
        let port = world.addr(0).port();
        let phones: Vec<UdpSocket> = ours
            .iter()
            .map(|own| {
                let phone = phone(if all.starts_with('[') { "[::1]:0" } else { "127.0.0.1:0" });
                // What comes from anywhere else is not heard.
                phone.connect((own.parse::<IpAddr>().unwrap(), port)).unwrap();
                phone
            })
            .collect();
        for owner in 0..shards {
            let text = message("OPTIONS", &format!("a@{owner}"));
            for phone in &phones {
                phone.send(&text).unwrap();
            }
            for phone in &phones {
                assert_eq!(datagram(phone), text);
            }
        }
        world.node.stop();
    }
}

#[test]
fn a_far_end_that_never_wrote_hears_a_listener_of_all_our_addresses_too() {
    let world = World::echo(Options::new(vec![udp("0.0.0.0:0")]));
    let phone = phone("127.0.0.1:0");
    let to = Peer { addr: phone.local_addr().unwrap(), ..udp_peer() };
    world.send(0, to, message("OPTIONS", "a"));
    assert_eq!(datagram(&phone), message("OPTIONS", "a"));
    world.node.stop();
}

#[test]
fn keep_alives_over_udp_are_swallowed() {
    let world = World::echo(Options::new(vec![udp("127.0.0.1:0")]));
    let phone = phone("127.0.0.1:0");
    for padding in [&b"\r\n\r\n"[..], b"\0\0\0\0", b""] {
        phone.send_to(padding, world.addr(0)).unwrap();
    }
    phone.send_to(&message("OPTIONS", "a"), world.addr(0)).unwrap();
    assert_eq!(datagram(&phone), message("OPTIONS", "a"));
    world.node.stop();
}

#[test]
fn nobody_behind_a_udp_port_is_news_for_the_core() {
    let world = World::new(Options::new(vec![udp("127.0.0.1:0")]), |_, _, _| {});
    let gone = {
        let nobody = phone("127.0.0.1:0");
        Peer { addr: nobody.local_addr().unwrap(), ..udp_peer() }
    };
    world.send(0, gone, message("OPTIONS", "a"));
    assert_eq!(world.seen(), Seen::Undeliverable { shard: 0, to: gone });
    // And the error is not taken for one of somebody else's.
    let phone = phone("127.0.0.1:0");
    let there = Peer { addr: phone.local_addr().unwrap(), ..udp_peer() };
    world.send(0, gone, message("OPTIONS", "b"));
    world.send(0, there, message("OPTIONS", "c"));
    assert_eq!(datagram(&phone), message("OPTIONS", "c"));
    assert_eq!(world.seen(), Seen::Undeliverable { shard: 0, to: gone });
    world.node.stop();
}

#[test]
fn what_comes_by_other_ways_has_its_turn_while_datagrams_come_without_a_pause() {
    let world = World::echo(Options::new(vec![udp("127.0.0.1:0"), tcp("127.0.0.1:0")]));
    let (to, over) = (world.addr(0), Arc::new(AtomicBool::new(false)));
    let until = Arc::clone(&over);
    let datagrams = std::thread::spawn(move || {
        let phone = phone("127.0.0.1:0");
        let mut count = 0;
        while !until.load(Ordering::Relaxed) {
            phone.send_to(&message("INFO", "again and again"), to).unwrap();
            assert_eq!(datagram(&phone), message("INFO", "again and again"));
            count += 1;
        }
        count
    });
    let seen = |wanted: &dyn Fn(&Seen) -> bool| {
        let until = std::time::Instant::now() + PATIENCE;
        while !wanted(&world.seen()) {
            assert!(std::time::Instant::now() < until, "it never came");
        }
    };
    seen(&|seen| matches!(seen, Seen::Message { .. }));
    let shards = world.node.shards();
    let asked = world.node.back().block_on(shards.ask(0, |toy, now, _| {
        toy.deadline = Some(now.mono + Duration::from_millis(30));
        now.mono
    }));
    let due = asked.unwrap() + Duration::from_millis(30);
    seen(&|seen| matches!(seen, Seen::Due { at, .. } if *at >= due));
    // An address of nobody's: the port of a closed socket could be another test's by now.
    let gone = Peer { addr: SocketAddr::from(([127, 77, 1, 1], 9)), ..udp_peer() };
    world.send(0, gone, message("OPTIONS", "a"));
    seen(&|seen| *seen == Seen::Undeliverable { shard: 0, to: gone });
    let mut stream = dial(world.addr(1));
    stream.write_all(&message("INVITE", "b")).unwrap();
    assert_eq!(read(&mut stream, message("INVITE", "b").len()), message("INVITE", "b"));
    over.store(true, Ordering::Relaxed);
    assert!(datagrams.join().unwrap() > 0);
    world.node.stop();
}

#[test]
fn what_no_socket_can_send_is_undeliverable() {
    let world = World::new(Options::new(vec![udp("127.0.0.1:0")]), |_, _, _| {});
    let six = Peer { addr: SocketAddr::new(Ipv6Addr::LOCALHOST.into(), 5060), ..udp_peer() };
    world.send(0, six, message("OPTIONS", "wrong family"));
    assert_eq!(world.seen(), Seen::Undeliverable { shard: 0, to: six });
    let phone = phone("127.0.0.1:0");
    let there = Peer { addr: phone.local_addr().unwrap(), ..udp_peer() };
    world.send(0, there, vec![b'x'; 65_520]);
    assert_eq!(world.seen(), Seen::Undeliverable { shard: 0, to: there });
    let elsewhere = Peer { listener: ListenerId(7), ..there };
    world.send(0, elsewhere, message("OPTIONS", "no such listener"));
    assert_eq!(world.seen(), Seen::Undeliverable { shard: 0, to: elsewhere });
    world.node.stop();
}

#[test]
fn a_stream_split_at_every_byte_carries_the_same_messages() {
    let world = World::echo(Options::new(vec![tcp("127.0.0.1:0")]));
    let mut phone = dial(world.addr(0));
    let whole = message("INVITE", "split");
    for split in 1..whole.len() {
        phone.write_all(&whole[..split]).unwrap();
        phone.write_all(&whole[split..]).unwrap();
        assert_eq!(read(&mut phone, whole.len()), whole, "split at {split}");
    }
    world.node.stop();
}

#[test]
fn messages_that_arrive_together_are_told_apart_and_answered_in_order() {
    let world = World::echo(Options::new(vec![tcp("[::1]:0")]));
    let mut phone = dial(world.addr(0));
    let all: Vec<u8> = (0..200).flat_map(|number| message("INFO", &format!("{number}"))).collect();
    phone.write_all(&all).unwrap();
    assert_eq!(read(&mut phone, all.len()), all);
    world.node.stop();
}

#[test]
fn a_message_of_64_kb_crosses_a_stream() {
    let world = World::echo(Options::new(vec![tcp("127.0.0.1:0")]));
    let mut phone = dial(world.addr(0));
    let body = vec![b'x'; 65_000];
    let mut long = b"MESSAGE sip:a@b SIP/2.0\r\nCall-ID: long@0\r\nContent-Length: 65000\r\n\r\n".to_vec();
    long.extend_from_slice(&body);
    phone.write_all(&long).unwrap();
    assert!(read(&mut phone, long.len()) == long);
    world.node.stop();
}

#[test]
fn a_ping_is_answered_with_a_pong_and_a_pong_with_nothing() {
    let world = World::echo(Options::new(vec![tcp("127.0.0.1:0")]));
    let mut phone = dial(world.addr(0));
    phone.write_all(b"\r\n\r\n").unwrap();
    assert_eq!(read(&mut phone, 2), b"\r\n");
    phone.write_all(&[b"\r\n", &message("OPTIONS", "a")[..]].concat()).unwrap();
    assert_eq!(read(&mut phone, message("OPTIONS", "a").len()), message("OPTIONS", "a"));
    world.node.stop();
}

#[test]
fn r14_a_message_that_is_begun_and_not_ended_closes_the_connection() {
    let mut options = Options::new(vec![tcp("127.0.0.1:0")]);
    options.stream_limits.whole_message = Duration::from_millis(60);
    let world = World::echo(options);
    let mut phone = dial(world.addr(0));
    let whole = message("OPTIONS", "first");
    phone.write_all(&whole).unwrap();
    assert_eq!(read(&mut phone, whole.len()), whole);
    let Seen::Message { from, .. } = world.seen() else { panic!("a message") };
    phone.write_all(b"INVITE sip:a@b SIP/2.0\r\n").unwrap();
    assert_eq!(phone.read(&mut [0; 16]).unwrap(), 0, "closed");
    assert_eq!(world.seen(), Seen::Undeliverable { shard: 0, to: from });
    world.node.stop();
}

#[test]
fn r14_a_connection_that_brings_nothing_is_closed() {
    let mut options = Options::new(vec![tcp("127.0.0.1:0")]);
    options.stream_limits.first_message = Duration::from_millis(60);
    let world = World::echo(options);
    let mut phone = dial(world.addr(0));
    assert_eq!(phone.read(&mut [0; 16]).unwrap(), 0, "closed");
    world.node.stop();
}

#[test]
fn r14_what_cannot_be_framed_closes_the_connection() {
    let world = World::echo(Options::new(vec![tcp("127.0.0.1:0")]));
    let mut phone = dial(world.addr(0));
    phone.write_all(b"INVITE sip:a@b SIP/2.0\r\nContent-Length: 9x\r\n\r\n").unwrap();
    assert_eq!(phone.read(&mut [0; 16]).unwrap_or(0), 0, "closed");
    world.node.stop();
}

#[test]
fn r14_an_unknown_address_holds_so_many_connections_and_a_trunk_any_number() {
    let mut options = Options::new(vec![tcp("127.0.0.1:0")]);
    options.connections_per_stranger = 2;
    options.known = Box::new(|addr| addr == IpAddr::from([127, 0, 0, 9]));
    let world = World::echo(options);
    let talks = |stream: &mut TcpStream| {
        let whole = message("OPTIONS", "a");
        stream.write_all(&whole).is_ok() && {
            let mut got = vec![0; whole.len()];
            stream.read_exact(&mut got).is_ok() && got == whole
        }
    };
    let mut held: Vec<TcpStream> = (0..2).map(|_| dial(world.addr(0))).collect();
    assert!(held.iter_mut().all(talks));
    assert!(!talks(&mut dial(world.addr(0))), "the third of a stranger");
    let mut trunk: Vec<TcpStream> = (0..4).map(|_| dial_from("127.0.0.9:0", world.addr(0))).collect();
    assert!(trunk.iter_mut().all(talks));
    drop(held);
    while world.node.connections() > 4 {
        std::thread::yield_now();
    }
    assert!(talks(&mut dial(world.addr(0))), "room again");
    world.node.stop();
}

#[test]
fn a_dead_connection_is_an_event_and_its_flow_reaches_nobody() {
    let world = World::echo(Options::new(vec![tcp("127.0.0.1:0")]));
    let mut phone = dial(world.addr(0));
    phone.write_all(&message("OPTIONS", "a")).unwrap();
    let Seen::Message { from, .. } = world.seen() else { panic!("a message") };
    assert_eq!(from.addr, phone.local_addr().unwrap());
    assert_eq!((from.transport, from.flow.is_some()), (Transport::Tcp, true));
    drop(phone);
    assert_eq!(world.seen(), Seen::Undeliverable { shard: 0, to: from });
    world.send(0, from, message("OPTIONS", "b"));
    assert_eq!(world.seen(), Seen::Undeliverable { shard: 0, to: from });
    let never = Peer { flow: Some(FlowId(200 << 56)), ..from };
    world.send(0, never, message("OPTIONS", "c"));
    assert_eq!(world.seen(), Seen::Undeliverable { shard: 0, to: never });
    world.node.stop();
}

#[test]
fn one_connection_to_a_gateway_serves_every_message_and_both_ways() {
    let world = World::new(Options::new(vec![tcp("127.0.0.1:0")]), |_, _, _| {});
    let gateway = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = Peer { transport: Transport::Tcp, addr: gateway.local_addr().unwrap(), ..udp_peer() };
    world.send(0, to, message("INVITE", "first"));
    let (mut trunk, _) = gateway.accept().unwrap();
    trunk.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(read(&mut trunk, message("INVITE", "first").len()), message("INVITE", "first"));
    world.send(0, to, message("INVITE", "second"));
    assert_eq!(read(&mut trunk, message("INVITE", "second").len()), message("INVITE", "second"));
    trunk.write_all(&message("OPTIONS", "back")).unwrap();
    let Seen::Message { from, bytes, .. } = world.seen() else { panic!("a message") };
    assert_eq!((from.addr, bytes), (to.addr, message("OPTIONS", "back")));
    assert!(from.flow.is_some());
    // Its end is told for the address, where an INVITE may be unanswered, and for the flow.
    drop(trunk);
    assert_eq!(world.seen(), Seen::Undeliverable { shard: 0, to });
    assert_eq!(world.seen(), Seen::Undeliverable { shard: 0, to: from });
    world.node.stop();
}

#[test]
fn r14_a_connection_of_ours_by_which_nothing_comes_is_closed_when_nobody_waits_for_it_any_more() {
    let mut options = Options::new(vec![tcp("127.0.0.1:0")]);
    options.stream_limits.unanswered = Duration::from_millis(60);
    let world = World::new(options, |_, _, _| {});
    let gateway = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = Peer { transport: Transport::Tcp, addr: gateway.local_addr().unwrap(), ..udp_peer() };
    for (call, answers) in [("silent", false), ("heard", true)] {
        world.send(0, to, message("BYE", call));
        let (mut trunk, _) = gateway.accept().unwrap();
        trunk.set_read_timeout(Some(PATIENCE)).unwrap();
        assert_eq!(read(&mut trunk, message("BYE", call).len()), message("BYE", call));
        if answers {
            trunk.write_all(&message("OPTIONS", "back")).unwrap();
            trunk.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        }
        let closed = trunk.read(&mut [0; 16]).is_ok_and(|read| read == 0);
        assert_eq!(closed, !answers, "{call}");
    }
    world.node.stop();
}

#[test]
fn a_gateway_that_refuses_connections_is_undeliverable() {
    let world = World::new(Options::new(vec![tcp("127.0.0.1:0")]), |_, _, _| {});
    let addr = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let to = Peer { transport: Transport::Tcp, addr, ..udp_peer() };
    world.send(0, to, message("INVITE", "a"));
    assert_eq!(world.seen(), Seen::Undeliverable { shard: 0, to });
    let Seen::Undeliverable { to: dead, .. } = world.seen() else { panic!("undeliverable") };
    assert!(dead.addr == addr && dead.flow.is_some());
    world.node.stop();
}

#[test]
fn a_far_end_that_does_not_read_loses_its_connection_before_memory_grows() {
    let world = World::new(Options::new(vec![tcp("127.0.0.1:0")]), |_, _, _| {});
    let gateway = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = Peer { transport: Transport::Tcp, addr: gateway.local_addr().unwrap(), ..udp_peer() };
    world.sends_to_who_does_not_read(to, || gateway.accept().unwrap());
    world.node.stop();
}

#[test]
fn a_burst_of_one_turn_reaches_a_far_end_that_reads() {
    // More than may wait, but the kernel takes it; and more than it takes at once.
    let small = StreamLimits { pending: 4 << 10, burst: 4 << 10, ..StreamLimits::default() };
    for (limits, burst) in [(small, 20), (StreamLimits::default(), 5_000)] {
        let body = [b'x'; 400];
        let mut options = Options::new(vec![tcp("127.0.0.1:0")]);
        options.stream_limits = limits;
        let world = World::new(options, move |from, bytes, out| {
            (0..burst).for_each(|_| send(out, *from, &[bytes, &body].concat()));
        });
        let mut phone = dial(world.addr(0));
        let one = message("INVITE", "many");
        phone.write_all(&one).unwrap();
        assert!(read(&mut phone, burst * (one.len() + 400)) == [&one[..], &body].concat().repeat(burst));
        world.node.stop();
    }
}

#[test]
fn every_message_of_a_call_reaches_its_owner_from_whatever_port_it_comes() {
    for shards in [1, 3] {
        let mut options = Options::new(vec![udp("127.0.0.1:0"), tcp("127.0.0.1:0")]);
        options.shards = shards;
        let world = World::echo(options);
        for call in 0..12 {
            let owner = call % shards;
            let id = format!("call-{call}@{owner}");
            for method in ["INVITE", "CANCEL", "ACK", "BYE"] {
                // A socket of its own for each: the kernel spreads them over the shards' sockets.
                let phone = phone("127.0.0.1:0");
                phone.send_to(&message(method, &id), world.addr(0)).unwrap();
                assert_eq!(world.message(), (owner, message(method, &id)));
                assert_eq!(datagram(&phone), message(method, &id));
                let mut stream = dial(world.addr(1));
                stream.write_all(&message(method, &id)).unwrap();
                assert_eq!(world.message(), (owner, message(method, &id)));
                // The answer of one shard goes out over another's connection.
                assert_eq!(read(&mut stream, message(method, &id).len()), message(method, &id));
            }
        }
        world.node.stop();
    }
}

#[test]
fn a_full_inbox_is_counted_and_a_new_invite_gets_503() {
    let mut options = Options::new(vec![udp("127.0.0.1:0")]);
    options.shards = 2;
    let world = World::new(options, |_, _, _| {});
    let phone = phone_of_shard_0(&world);
    let block = world.block(1);
    let call = |id: &str| {
        String::from_utf8(message("INVITE", id)).unwrap().replace("sip:a@", "sip:+15550100@").into_bytes()
    };
    for number in 0..PARCELS_FOR_CALLS + 10 {
        phone.send_to(&call(&format!("{number}@1")), world.addr(0)).unwrap();
        if number % 50 == 49 {
            // Not faster than shard 0 reads.
            world.node.back().block_on(world.node.shards().ask(0, |_, _, _| ())).unwrap();
        }
    }
    for _ in 0..10 {
        assert!(datagram(&phone).starts_with(b"SIP/2.0 503"));
    }
    phone.send_to(&message("INVITE", "help@1"), world.addr(0)).unwrap();
    phone.send_to(&message("BYE", "last@1"), world.addr(0)).unwrap();
    world.node.back().block_on(world.node.shards().ask(0, |_, _, _| ())).unwrap();
    drop(block);
    // The calls that found room, and what finds more: one that may be for help, and the BYE.
    for _ in 0..PARCELS_FOR_CALLS + 2 {
        assert!(matches!(world.seen(), Seen::Message { shard: 1, .. }));
    }
    phone.send_to(&call("again@1"), world.addr(0)).unwrap();
    assert!(matches!(world.seen(), Seen::Message { shard: 1, .. }), "normal again");
    world.node.stop();
}

#[test]
fn a_message_is_as_old_as_it_lay_in_the_queues_before_its_turn() {
    for (shards, owner) in [(1, 0), (2, 1)] {
        let mut options = Options::new(vec![udp("127.0.0.1:0")]);
        options.shards = shards;
        let world = World::new(options, |_, _, _| {});
        let phone = phone("127.0.0.1:0");
        let age = || {
            let block = world.block(owner);
            phone.send_to(&message("INVITE", &format!("old@{owner}")), world.addr(0)).unwrap();
            // Time itself is what is tested here.
            std::thread::sleep(Duration::from_millis(30));
            drop(block);
            let Seen::Message { age, .. } = world.seen() else { panic!("a message") };
            age
        };
        // The kernel begins to stamp a moment after the first socket asked for it.
        let ages: Vec<Duration> = (0..5).map(|_| age()).collect();
        assert!(ages[1..].iter().all(|age| (Duration::from_millis(29)..PATIENCE).contains(age)), "{ages:?}");
        world.node.stop();
    }
}

#[test]
fn r14_a_message_of_a_stream_is_as_old_as_it_lay_before_its_turn() {
    // Work enough for more than one turn.
    let work = |_: &Peer, _: &[u8], _: &mut Effects| std::thread::sleep(Duration::from_millis(1));
    let world = World::new(Options::new(vec![tcp("127.0.0.1:0")]), work);
    let mut phone = dial(world.addr(0));
    let all: Vec<u8> = (0..100).flat_map(|number| message("INVITE", &format!("{number}"))).collect();
    phone.write_all(&all).unwrap();
    let ages: Vec<Duration> = (0..100)
        .map(|_| match world.seen() {
            Seen::Message { age, .. } => age,
            other @ (Seen::Undeliverable { .. } | Seen::Due { .. }) => panic!("{other:?}"),
        })
        .collect();
    assert!(ages[99] >= Duration::from_millis(30) && ages[99] < PATIENCE, "{ages:?}");
    world.node.stop();
}

#[test]
fn r12_a_panic_in_one_call_takes_no_other_with_it() {
    let world = World::new(Options::new(vec![udp("127.0.0.1:0")]), |from, bytes, out| {
        send(out, *from, b"half done");
        assert!(!bytes.starts_with(b"REFER"), "the bug");
        send(out, *from, bytes);
    });
    let phone = phone("127.0.0.1:0");
    phone.send_to(&message("REFER", "a"), world.addr(0)).unwrap();
    phone.send_to(&message("INVITE", "b"), world.addr(0)).unwrap();
    for call in ["of the first call, whole before the bug", "of the second"] {
        assert_eq!(datagram(&phone), b"half done", "{call}");
    }
    assert_eq!(datagram(&phone), message("INVITE", "b"));
    world.node.stop();
}

#[test]
fn timers_are_due_in_time_and_questions_are_answered() {
    let world = World::echo(Options::new(vec![udp("127.0.0.1:0")]));
    let shards = world.node.shards();
    let asked = world.node.back().block_on(shards.ask_all(|toy, now, _| {
        toy.deadline = Some(now.mono + Duration::from_millis(30));
        now.mono
    }));
    let Seen::Due { at, .. } = world.seen() else { panic!("due") };
    let late = at.since(asked.unwrap()[0] + Duration::from_millis(30));
    assert!(at >= Instant::from_micros(30_000) && late < Duration::from_secs(1), "late by {late:?}");
    let drained = shards.drain(|toy, _, _| toy.deadline = None, |toy| toy.deadline.is_none(), PATIENCE);
    assert!(world.node.back().block_on(drained));
    let never = shards.drain(|_, _, _| (), |_| false, Duration::from_millis(10));
    assert!(!world.node.back().block_on(never));
    world.node.stop();
}

#[test]
fn an_address_in_use_is_refused_with_several_shards_too() {
    let taken = World::echo(Options::new(vec![udp("127.0.0.1:0")]));
    for shards in [1, 2] {
        let mut options = Options::new(vec![Listen { addr: taken.addr(0), ..udp("127.0.0.1:0") }]);
        options.shards = shards;
        let refused = Node::<Toy>::start(options, ById, |_| unreachable!(), |_| Box::new(|_| {})).err();
        assert!(matches!(refused, Some(StartError::Listen { .. })), "{refused:?}");
    }
    taken.node.stop();
}

/// What moving a datagram costs, for `strace -f -c` and `perf`: a bare relay between a caller and a far end, as
/// `EDGE_RATE` datagrams a second (0: 64 at a time, as fast as they come back) for `EDGE_SECONDS`.
#[test]
#[ignore = "a measurement"]
fn measure_a_relay() {
    let setting =
        |name: &str, default: u64| std::env::var(name).ok().map_or(default, |text| text.parse().unwrap());
    let (rate, seconds) = (setting("EDGE_RATE", 1000), setting("EDGE_SECONDS", 3));
    let (caller, far) = (phone("127.0.0.1:0"), phone("127.0.0.1:0"));
    let (left, right) = (caller.local_addr().unwrap(), far.local_addr().unwrap());
    let (told, _unheard) = channel();
    let behaviour: Behaviour = Arc::new(move |from, bytes, out| {
        send(out, Peer { addr: if from.addr == left { right } else { left }, ..*from }, bytes);
    });
    let make = move |berth: Berth| {
        let (told, behaviour) = (told.clone(), Arc::clone(&behaviour));
        Toy { shard: berth.shard, seen: told, behaviour, deadline: None, silent: true }
    };
    let options = Options::new(vec![udp("127.0.0.1:0")]);
    let node = Node::start(options, ById, make, |_| Box::new(|()| {})).unwrap();
    let addr = node.listening()[0].1;
    let mut whole = message("INVITE", "relay");
    whole.resize(700, b'x');
    let start = std::time::Instant::now();
    let mut moved = 0_u64;
    while start.elapsed() < Duration::from_secs(seconds) {
        let batch = if rate == 0 { 64 } else { 1 };
        for _ in 0..batch {
            caller.send_to(&whole, addr).unwrap();
        }
        for _ in 0..batch {
            far.recv(&mut [0; 2048]).unwrap();
        }
        moved += batch;
        if let Some(gap) = moved.saturating_mul(1_000_000).checked_div(rate) {
            std::thread::sleep(Duration::from_micros(gap).saturating_sub(start.elapsed()));
        }
    }
    let shard = std::fs::read_dir("/proc/self/task").unwrap().filter_map(|task| {
        let path = task.unwrap().path();
        let name = std::fs::read_to_string(path.join("comm")).ok()?;
        (name.trim() == "shard-0").then_some(path)
    });
    let path = shard.collect::<Vec<_>>().remove(0);
    let number = |file: &str, place: usize| -> u64 {
        let text = std::fs::read_to_string(path.join(file)).unwrap();
        text.split(' ').nth(place).unwrap().trim().parse().unwrap()
    };
    let (user, system) = (number("stat", 13), number("stat", 14));
    println!("{moved} datagrams, {} ns of the shard's thread each", number("schedstat", 0) / moved);
    println!("of 100 ticks {} in the kernel", 100 * system / (user + system).max(1));
    node.stop();
}

// The helpers.

fn udp(addr: &str) -> Listen {
    Listen { transport: Transport::Udp, addr: addr.parse().unwrap(), advertise: None }
}

fn tcp(addr: &str) -> Listen {
    Listen { transport: Transport::Tcp, ..udp(addr) }
}

fn udp_peer() -> Peer {
    let addr = SocketAddr::from(([127, 0, 0, 1], 9));
    Peer::at(addr, Transport::Udp, ListenerId(0))
}

fn phone(addr: &str) -> UdpSocket {
    let socket = UdpSocket::bind(addr).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// A phone whose datagrams the kernel gives to the socket of shard 0.
fn phone_of_shard_0(world: &World) -> UdpSocket {
    loop {
        let phone = phone("127.0.0.1:0");
        phone.send_to(b"OPTIONS without a Call-ID", world.addr(0)).unwrap();
        if let Seen::Message { shard: 0, .. } = world.seen() {
            return phone;
        }
    }
}

fn datagram(phone: &UdpSocket) -> Vec<u8> {
    let mut buffer = vec![0; 65_536];
    let len = phone.recv(&mut buffer).expect("an answer");
    buffer.truncate(len);
    buffer
}

fn dial(to: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(to).unwrap();
    stream.set_nodelay(true).unwrap();
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
