//! Bounds, and what a transaction costs.

use super::*;

#[test]
fn more_than_the_maximum_is_refused_until_one_ends() {
    let mut tx: Transactions<u8> = Transactions::with(SEED, Timers::RFC_3261, 2);
    let mut out = Outbox::default();
    let accept = |tx: &mut Transactions<u8>, branch: &str| {
        let bytes = request("BYE", branch, Transport::Tcp, ";tag=us");
        let bye = Message::parse(&bytes).expect("a request");
        let Meeting::New(key) = tx.meet(&bye) else { panic!("not new") };
        tx.accept(Instant::ZERO, key, &bye, peer(Transport::Tcp), 1)
    };
    let first = accept(&mut tx, "z9hG4bK1").expect("room");
    accept(&mut tx, "z9hG4bK2").expect("room");
    assert_eq!(accept(&mut tx, "z9hG4bK3"), Err(Full));
    tx.respond(Instant::ZERO, first, 200, b"SIP/2.0 200 OK\r\n\r\n", &mut out);
    accept(&mut tx, "z9hG4bK3").expect("room again");

    let (first, _) = tx.reserve(1).expect("room");
    tx.reserve(1).expect("room");
    assert_eq!(tx.reserve(1), Err(Full));
    tx.abandon(first);
    tx.reserve(1).expect("room again");
    assert_eq!(tx.live(), (2, 2));
}

#[test]
fn what_lingers_is_small() {
    // O is eight bytes for a call's key; a slot's generation and its state's tag included.
    assert!(size_of::<Server<u64>>() <= 192, "{}", size_of::<Server<u64>>());
    assert!(size_of::<Client<u64>>() <= 160, "{}", size_of::<Client<u64>>());
}

#[test]
fn thousands_of_transactions_keep_their_places_and_end() {
    let mut bench = Bench::udp();
    let sent: Vec<Sent> = (0..5_000).map(|_| bench.sends(Method::Options)).collect();
    for one in sent.iter().step_by(3) {
        bench.gets(one, 200);
    }
    assert_eq!(bench.tx.live(), (0, 5_000));
    bench.silence();
}

#[test]
fn abandoned_transactions_are_silent() {
    let mut bench = Bench::udp();
    let (invite, _) = invite_and_ack(Transport::Udp);
    let id = bench.begins(&invite);
    bench.answers(id, 180);
    let sent = bench.sends(Method::Invite);
    bench.gets(&sent, 180);
    bench.cancels(&sent);
    bench.story();
    bench.tx.abandon(id);
    bench.tx.abandon(sent.id);
    bench.tx.abandon(sent.id);
    bench.settle();
    assert_eq!(bench.silence().story(), "     0 ! gone\n     0 ! gone\n");
}

#[test]
fn owners_and_peers_can_be_asked_for_and_changed() {
    let mut bench = Bench::udp();
    let (invite, _) = invite_and_ack(Transport::Udp);
    let served = bench.begins(&invite);
    let sent = bench.sends(Method::Invite);
    for id in [served, sent.id] {
        assert_eq!(bench.tx.owner(id), Some(1));
        bench.tx.set_owner(id, 2);
        assert_eq!(bench.tx.owner(id), Some(2));
        assert_eq!(bench.tx.peer(id), Some(peer(Transport::Udp)));
    }
    let (reserved, _) = bench.tx.reserve(1).expect("room");
    assert_eq!(bench.tx.peer(reserved), None);
}

#[test]
fn what_has_ended_takes_no_more_orders() {
    let mut bench = Bench::tcp();
    let sent = bench.sends(Method::Bye);
    bench.gets(&sent, 200);
    let served = bench.begins(&request("BYE", "z9hG4bK1", Transport::Tcp, ";tag=us"));
    bench.answers(served, 200).story();
    bench.tx.send(bench.now, sent.id, Method::Bye, b"x", peer(Transport::Tcp), &mut bench.out);
    bench.tx.cancel(bench.now, sent.id, None, &mut bench.out);
    bench.tx.failed(bench.now, sent.id, &mut bench.out);
    bench.tx.repeat(bench.now, served, &mut bench.out);
    bench.tx.acked(bench.now, served);
    bench.answers(served, 200).answers(sent.id, 200).answers(served, 42);
    assert_eq!(bench.silence().story(), "");
}
