//! What a thread counts, what it says of how a side was heard, and what a bug leaves.

use std::panic::resume_unwind;
use std::sync::atomic::Ordering;
use std::time::Instant;

use strowger::media::counts::Dropped;
use strowger::media::plane::Writing;
use strowger::media::rtcp::{self, Said, Sender};
use strowger::media::session::Session;
use strowger::time::{Now, Wall};

use super::*;

const PATIENCE: Duration = Duration::from_secs(10);

fn until(mut done: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < end, "waited too long");
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

/// Something that shows a bug as soon as it is done.
fn bug() -> Order {
    let bug = |_| resume_unwind(Box::new("the bug"));
    Order::Record(Writing(Box::new(bug)), CALLER, Some(CALLED))
}

#[test]
fn what_goes_no_further_is_counted_by_its_reason() {
    let mut call = Call::new();
    let counts = Arc::clone(call.plane.counts());
    let stranger = UdpSocket::bind("127.0.0.2:0").expect("a port");
    let packet = Packet { marker: false, payload_type: 0, sequence: 1, timestamp: 0, ssrc: 9, payload: &[] };
    stranger.send_to(&packet.header(), call.caller.ours).expect("sent");
    call.caller.says(77, b"what is this?");
    call.caller.rtp.send_to(b"REGISTER sip:example.com SIP/2.0", call.caller.ours).expect("sent");
    call.caller.says(0, &[0xff; 3_000]);
    call.caller.says(0, b"hello");
    assert_eq!(call.called.hears().2, b"hello");
    until(|| counts.relayed.load(Ordering::Relaxed) == 1);
    let told = [Dropped::Stranger, Dropped::Format, Dropped::NotRtp, Dropped::TooLong]
        .map(|why| counts.dropped(why));
    assert_eq!((told, counts.received.load(Ordering::Relaxed)), ([1; 4], 5));
    // Nobody listens there any more: each packet of ours is told of at the next.
    call.called.says(0, b"bye");
    call.caller.hears();
    let _gone = std::mem::replace(&mut call.called.rtp, UdpSocket::bind("127.0.0.2:0").expect("a port"));
    drop(_gone);
    until(|| {
        call.caller.says(0, b"anybody?");
        counts.dropped(Dropped::Refused) > 2
    });
}

#[test]
fn one_packet_of_sixty_four_says_how_long_it_was_with_us() {
    let mut call = Call::new();
    for _ in 0..200 {
        call.caller.says(0, &[0xff; 160]);
        call.called.hears();
    }
    until(|| call.plane.counts().delays.read().1 == 3);
    let (below, _, together) = call.plane.counts().delays.read();
    assert!(together > Duration::ZERO && below[9].1 > 0, "{below:?}");
}

#[test]
fn r12_a_closed_side_says_what_it_spoke_what_was_lost_and_how_that_sounds() {
    let mut call = Call::new();
    for number in 0..100 {
        if number % 20 == 7 {
            call.caller.sequence += 1;
            continue;
        }
        call.caller.says(0, &[0xff; 160]);
        call.called.hears();
    }
    call.is_latched(CALLER);
    call.order(Order::Close(CALLER));
    let Heard::Closed(CALLER, _, quality) = call.is_told() else { panic!("closed") };
    assert_eq!((quality.codec.as_deref(), quality.received, quality.lost), (Some("PCMU"), 95, 5));
    assert!(quality.mos.is_some_and(|mos| (3.0..4.2).contains(&mos)), "{quality:?}");
    call.order(Order::Close(CALLED));
    let Heard::Closed(CALLED, _, quality) = call.is_told() else { panic!("closed") };
    assert_eq!(
        (quality.codec.as_deref(), quality.received, quality.mos, quality.sent),
        (Some("PCMU"), 0, None, 95)
    );
}

#[test]
fn a_round_trip_that_takes_long_is_rated_as_it_sounds() {
    let at = |ms: u64| Now { mono: strowger::time::Instant::from_micros(ms * 1_000), wall: Wall(ms) };
    let (here, mut told) = ("127.0.0.1:4000".parse().expect("an address"), Vec::new());
    let mut rated = |late: u64| {
        let mut session = Session::default();
        session.open(CALLER, Stream::new(7, 500, 0, 8_000));
        let place = Place { rtp: here, rtcp: here, is_behind_nat: false };
        session.agree(
            at(0).mono,
            CALLER,
            Agreed { place: Some(place), formats: speech(), offers: 1, is_held: false, signals: None },
        );
        let prompt = Arc::new(Prompt::of_samples(&[0; 160], &[0; 320]));
        let say = Say { after: Duration::ZERO, prompt, again: None, number: 1, is_notice: false };
        session.say(CALLER, say, &mut Vec::new());
        session.tick(at(20).mono, &mut Vec::new(), |_, _, _, _| {});
        let mut packet =
            Packet { marker: false, payload_type: 0, sequence: 1, timestamp: 0, ssrc: 1, payload: &[] }
                .header()
                .to_vec();
        session.hear(at(20).mono, CALLER, here, &mut packet, &mut told, |_| {});
        let mut ours = Vec::new();
        session.report(at(1_000), CALLER, "us", false, &mut ours).expect("a report");
        let Some(Said::Reports { sender: Some(Sender { ntp, .. }), .. }) = rtcp::read(&ours).next() else {
            panic!("a sender's report")
        };
        // It kept our report for half a second.
        let heard = rtcp::Report {
            ssrc: 7,
            last_report: (ntp >> 16) as u32,
            since: 32_768,
            ..rtcp::Report::default()
        };
        let mut theirs = Vec::new();
        rtcp::write(1, None, Some(heard), "them", false, &mut theirs);
        session.hear_rtcp(at(1_500 + late).mono, CALLER, here, &theirs);
        session.quality(CALLER).and_then(|quality| quality.mos).expect("a score")
    };
    let (near, far) = (rated(20), rated(600));
    assert!(near > 4.3 && far < 3.9, "{near} {far}");
}

#[test]
fn r12_a_bug_in_the_audio_of_one_call_ends_it_and_no_other() {
    let mut call = Call::new();
    const OTHER: Key = Key { nonce: 2, ..KEY };
    let pair: Pair = call.ports.open(true).expect("ports");
    let mut other = Phone::new(pair.port);
    call.plane.order(OTHER, Order::Open(CALLER, pair, Stream::new(5, 1, 0, 8_000))).expect("room");
    let agreed =
        Agreed { place: Some(other.place()), formats: speech(), offers: 1, is_held: false, signals: None };
    call.plane.order(OTHER, Order::Agree(CALLER, agreed)).expect("room");
    call.caller.says(0, b"one");
    call.called.hears();
    call.is_latched(CALLER);
    call.order(bug());
    assert!(matches!(call.is_told(), Heard::Broken));
    let closed = [call.is_told(), call.is_told()].map(|heard| match heard {
        Heard::Closed(side, port, quality) => (side, port, quality.received),
        heard @ (Heard::Told(_) | Heard::Broken) => panic!("{heard:?}"),
    });
    let ports = [&call.caller, &call.called].map(|phone| phone.ours.port());
    assert_eq!(closed, [(CALLER, ports[0], 1), (CALLED, ports[1], 0)]);
    for port in ports {
        UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).expect("it is free");
    }
    // What is ordered for it comes to nothing, and the other goes on.
    call.order(Order::Close(CALLER));
    other.says(0, b"still here");
    let (key, heard) = call.told.recv_timeout(PATIENCE).expect("told");
    assert!(key == OTHER && matches!(heard, Heard::Told(Told::Latched(CALLER))), "{heard:?}");
    let counts = call.plane.counts();
    let told = [&counts.broken, &counts.sessions].map(|count| count.load(Ordering::Relaxed));
    assert_eq!((told, counts.is_dead()), ([1, 1], false));
}

#[test]
fn r12_a_thread_that_dies_says_so_and_leaves_its_ports() {
    let clock = Clock::start();
    // Whoever is told of the first bug shows another.
    let ears = Box::new(|_, heard| match heard {
        Heard::Broken => resume_unwind(Box::new("another")),
        Heard::Told(_) | Heard::Closed(..) => Ok(()),
    });
    let plane = Plane::start(0, "strowger".into(), move || clock.read().now, ears).expect("a thread");
    let mut ports = Ports::new(Ipv4Addr::LOCALHOST.into(), 20_000..=59_999, 0, 1);
    let pair: Pair = ports.open(true).expect("ports");
    let port = pair.port;
    plane.order(KEY, Order::Open(CALLER, pair, Stream::new(5, 1, 0, 8_000))).expect("room");
    plane.order(KEY, bug()).expect("room");
    until(|| plane.is_dead());
    UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).expect("it is free");
    assert!(plane.order(KEY, Order::Close(CALLER)).is_err());
}

#[test]
fn r12_nobody_is_heard_for_as_long_as_was_asked_and_one_side_is_enough() {
    let mut call = Call::new();
    call.order(Order::Watch(Some(Duration::from_millis(1_500))));
    let began = Instant::now();
    // One of them speaks for 3 s: whoever listens, or is mute, says nothing.
    while began.elapsed() < Duration::from_secs(3) {
        call.caller.says(0, &[0xff; 160]);
        call.called.hears();
        std::thread::park_timeout(Duration::from_millis(20));
    }
    call.is_latched(CALLER);
    assert!(call.told.try_recv().is_err(), "one side is enough");
    let silent = Instant::now();
    assert!(matches!(call.is_told(), Heard::Told(Told::Silent)));
    assert!((1_400..4_000).contains(&silent.elapsed().as_millis()), "{:?}", silent.elapsed());
    // Held: nobody need speak. Then both may again.
    call.order(Order::Watch(Some(Duration::from_millis(500))));
    call.order(Order::Watch(None));
    assert!(call.told.recv_timeout(Duration::from_millis(2_500)).is_err());
    call.order(Order::Watch(Some(Duration::from_millis(500))));
    assert!(matches!(call.is_told(), Heard::Told(Told::Silent)));
}
