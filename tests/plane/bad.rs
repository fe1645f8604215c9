//! What comes to the ports of a call that no call should bring: none of it is heard, and nothing of it is left.

use strowger::media::counts::Dropped;
use strowger::media::rtcp;

use super::*;

/// A datagram of audio that is carried, and one that is longer than any.
const LONGEST: usize = 2_000;
const TOO_LONG: usize = 2_100;

/// Numbers that look drawn, the same in every run.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 7u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..length).map(|_| next()).collect()
}

/// The number of the source and of the packet, and how it is timed.
fn packet(ssrc: u32, sequence: u16, timestamp: u32, payload: &[u8]) -> Packet<'_> {
    Packet { marker: false, payload_type: 0, sequence, timestamp, ssrc, payload }
}

#[test]
fn what_is_no_audio_is_not_passed_on_from_whomever_it_comes() {
    let good = packet(1, 9, 160, b"").header();
    let with = |at: usize, byte: u8, more: usize| {
        let mut bad = [&good[..], &vec![0x55; more]].concat();
        bad[at] = byte;
        bad
    };
    let mut bad = vec![
        vec![],
        vec![0x80],
        good[..11].to_vec(),
        with(0, 0x00, 160),
        with(0, 0xff, 160),
        // More sources, a longer extension, more padding than there is.
        with(0, 0x8f, 10),
        with(0, 0x90, 3),
        with(0, 0xa0, 40),
        // A payload type that nobody has said.
        with(1, 77, 160),
        b"REGISTER sip:example.com SIP/2.0\r\n\r\n".to_vec(),
        // STUN.
        [&[0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42][..], &[7; 12]].concat(),
        vec![0x80; TOO_LONG],
        vec![0x80; 9_000],
    ];
    bad.extend((1..200).map(|length| {
        let mut noise = noise(length * 10);
        // No version of RTP.
        noise[0] &= 0x3f;
        noise
    }));
    // Before anybody has been heard, and once strangers are kept out.
    for mut call in [Call::new(), Call::talking()] {
        let stranger = Phone::new(call.caller.ours.port());
        for bytes in &bad {
            call.caller.sends(bytes);
            stranger.sends(bytes);
            call.caller.rtcp.send_to(bytes, rtcp_of(&call.caller)).expect("sent");
            call.caller.says(0, b"hello");
            assert_eq!(call.called.hears().2, b"hello");
        }
        call.called.has_heard_all();
        let [caller, _] = call.ends();
        assert!(caller.refused.garbage as usize >= bad.len() - 3, "{caller:?}");
    }
}

/// The port of ours to which a side's RTCP goes.
fn rtcp_of(phone: &Phone) -> SocketAddr {
    SocketAddr::new(phone.ours.ip(), phone.ours.port() + 1)
}

#[test]
fn a_packet_of_2_000_bytes_passes_whole_and_a_longer_one_than_we_take_not_in_part() {
    let mut call = Call::talking();
    for length in [0, 1, 160, LONGEST - HEADER] {
        let said = noise(length);
        call.caller.says(0, &said);
        assert!(call.called.hears().2 == said, "{length}");
    }
    for length in [TOO_LONG - HEADER, 3_000, 9_000] {
        call.caller.says(0, &noise(length));
    }
    call.caller.says(0, b"enough");
    assert_eq!(call.called.hears().2, b"enough");
    let [caller, _] = call.ends();
    assert_eq!(caller.received, 1 + 4 + 1, "and of the longer ones none");
}

#[test]
fn whatever_numbers_a_sender_gives_its_packets_it_is_one_stream_in_the_other_ear() {
    let call = Call::talking();
    // Another source, numbers that jump far ahead, far back, and go round.
    let sent = [
        (9, 40_000, 5),
        (9, 40_001, 165),
        (9, 3, 9_000_000),
        (9, 4, 9_000_160),
        (2, 65_535, u32::MAX),
        (2, 0, 159),
        (1, 100, 100),
        (0, 0, 0),
        (u32::MAX, 65_535, 1),
    ];
    let (mut stream, mut sequence) = (None, 501);
    for (ssrc, number, timestamp) in sent {
        call.caller.says_so(&packet(ssrc, number, timestamp, b"word"));
        let bytes = call.called.gets();
        let heard = Packet::read(&bytes).expect("RTP");
        assert_eq!((heard.payload, heard.payload_type), (&b"word"[..], 0));
        assert_eq!(heard.sequence, sequence + 1, "after {ssrc} {number}");
        assert_eq!(*stream.get_or_insert(heard.ssrc), heard.ssrc);
        sequence = heard.sequence;
    }
    call.ends();
}

#[test]
fn what_is_encrypted_where_it_should_not_be_passes_as_it_is() {
    let mut call = Call::talking();
    let (secret, mut told) = (noise(170), Vec::new());
    for _ in 0..20 {
        call.caller.says(0, &secret);
        told.push(call.called.hears().2 == secret);
    }
    assert_eq!(told, [true; 20]);
    call.ends();
}

#[test]
fn a_stranger_who_floods_a_port_is_not_heard_and_costs_a_side_that_has_spoken_nothing() {
    let mut call = Call::talking();
    let stranger = Phone::new(call.caller.ours.port());
    let before = call.received();
    let flood = [&packet(5, 1, 1, b"").header()[..], &[0xd5; 160]].concat();
    for word in 0..100u8 {
        (0..200).for_each(|_| stranger.sends(&flood));
        call.caller.says(0, &[word; 160]);
        assert_eq!(call.called.hears().2, [word; 160]);
    }
    call.called.has_heard_all();
    assert_eq!(call.received() - before, 100, "the kernel keeps the others out");
    let [caller, _] = call.ends();
    assert_eq!((caller.received, caller.lost, caller.refused.strangers), (101, 0, 0));
}

#[test]
fn a_stranger_who_floods_a_port_before_its_side_has_spoken_does_not_take_its_place() {
    let mut call = Call::new();
    let flooding = UdpSocket::bind((Ipv4Addr::new(127, 0, 0, 77), 0)).expect("a port");
    let flood = [&packet(5, 1, 1, b"").header()[..], &[0xd5; 160]].concat();
    // So many find room in the port's buffer, and more do not.
    for _ in 0..2_000 {
        flooding.send_to(&flood, call.caller.ours).expect("sent");
    }
    call.called.rtp.set_read_timeout(Some(Duration::from_millis(20))).expect("a time");
    let heard = (0..250).any(|_| {
        call.caller.says(0, b"it is me");
        call.called.rtp.recv(&mut [0; 64]).is_ok()
    });
    assert!(heard);
    call.is_latched(CALLER);
    assert!(call.ends()[0].refused.strangers > 0);
}

#[test]
fn who_names_a_port_of_ours_as_its_own_hears_nothing_come_round() {
    let mut call = Call::new();
    // Behind a NAT anybody may be the side: each names the port of the other.
    for (side, named) in [(CALLER, call.called.ours), (CALLED, call.caller.ours)] {
        let rtcp = SocketAddr::new(named.ip(), named.port() + 1);
        call.agree(side, Place { rtp: named, rtcp, is_behind_nat: true });
    }
    let prompt = Arc::new(Prompt::tone(440, Duration::from_millis(200)));
    call.order(Order::Say(
        CALLER,
        Say { after: Duration::ZERO, prompt, again: None, number: 3, is_notice: false },
    ));
    assert!(matches!(call.is_told(), Heard::Told(Told::Said(CALLER, 3))));
    let counts = call.plane.counts();
    assert_eq!(counts.relayed.load(Ordering::Relaxed), 0, "nothing is passed on");
    assert!(counts.dropped(Dropped::Stranger) >= 9);
    // Whose port it is not is heard all the same.
    call.caller.says(0, b"here I am");
    call.is_latched(CALLER);
    call.called.says(0, b"so am I");
    call.is_latched(CALLED);
    call.caller.says(0, b"and I hear you");
    assert_eq!(call.called.hears().2, b"and I hear you");
    call.ends();
}

#[test]
fn r11_another_call_of_ours_is_heard_though_its_port_is_ours() {
    let call = Call::new();
    for (side, named) in [(CALLER, call.called.ours), (CALLED, call.caller.ours)] {
        let rtcp = SocketAddr::new(named.ip(), named.port() + 1);
        call.order(Order::Inside(side));
        call.agree(side, Place { rtp: named, rtcp, is_behind_nat: true });
    }
    let prompt = Arc::new(Prompt::tone(440, Duration::from_millis(200)));
    call.order(Order::Say(
        CALLER,
        Say { after: Duration::ZERO, prompt, again: None, number: 3, is_notice: false },
    ));
    call.is_latched(CALLED);
    call.ends();
}

#[test]
fn rtcp_that_comes_to_the_port_of_the_audio_is_taken_for_what_it_is() {
    let mut call = Call::talking();
    let sender = rtcp::Sender { ntp: 0x1234_5678_9abc_def0, timestamp: 160, packets: 1, bytes: 5 };
    let mut report = Vec::new();
    rtcp::write(1, Some(sender), None, "phone", false, &mut report);
    call.caller.sends(&report);
    call.caller.says(0, b"said after it");
    assert_eq!(call.called.hears().2, b"said after it");
    call.order(Order::Close(CALLER));
    // Ours goes to its port for RTCP: nobody has said that both are one.
    let mut buffer = [0; 1_500];
    let length = call.caller.rtcp.recv(&mut buffer).expect("a report");
    let said: Vec<_> = rtcp::read(&buffer[..length]).collect();
    let heard = said.iter().find_map(|said| match said {
        rtcp::Said::Reports { reports, .. } => reports.first(),
        rtcp::Said::Goodbye(_) => None,
    });
    assert_eq!(heard.map(|report| report.last_report), Some(0x5678_9abc), "{said:?}");
    call.caller.has_heard_all();
}

#[test]
fn the_payload_types_of_each_side_are_its_own() {
    let mut call = Call::new();
    let formats = |ours: [u8; 3], theirs: [u8; 3]| -> SmallVec<[Format; 3]> {
        let names =
            [(Codec::Pcmu, "PCMU/8000"), (Codec::Other, "ILBC/8000"), (Codec::Event, "TELEPHONE-EVENT/8000")];
        let formats = names.into_iter().zip(ours.into_iter().zip(theirs));
        formats
            .map(|((codec, name), (ours, theirs))| Format { ours, theirs, ..format(codec, name, 0) })
            .collect()
    };
    let agree = |side, place, formats| {
        call.order(Order::Agree(
            side,
            Agreed { place: Some(place), formats, offers: 1, is_held: false, signals: None },
        ))
    };
    agree(CALLER, call.caller.place(), formats([0, 97, 101], [0, 97, 101]));
    // What it calls 97 we call 96, and the other way round: each speaks by the numbers of the other (RFC 3264 §5.1).
    agree(CALLED, call.called.place(), formats([0, 96, 97], [0, 97, 96]));
    call.has_obeyed();
    for (said, heard) in [(0, 0), (97, 97), (101, 96)] {
        call.caller.says(said, &[1, 0x8a, 0, 160]);
        assert_eq!(call.called.hears().0, heard, "{said} of the caller's");
    }
    for (said, heard) in [(0, 0), (96, 97), (97, 101)] {
        call.called.says(said, &[2, 0x8a, 0, 160]);
        assert_eq!(call.caller.hears().0, heard, "{said} of the called side's");
    }
    let mut pressed = Vec::new();
    while pressed.len() < 2 {
        if let Heard::Told(Told::Pressed(side, digit)) = call.is_told() {
            pressed.push((side, digit.name()));
        }
    }
    assert_eq!(pressed, [(CALLER, '1'), (CALLED, '2')]);
    call.ends();
}

#[test]
fn a_side_whose_port_is_closed_takes_nothing_from_what_it_says_itself() {
    let mut call = Call::talking();
    let place = call.called.place();
    // A phone that is started anew.
    drop(std::mem::replace(&mut call.called.rtp, UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port")));
    let refused = |call: &Call| call.plane.counts().dropped(Dropped::Refused);
    let begun = Instant::now();
    while refused(&call) == 0 {
        assert!(begun.elapsed() < Duration::from_secs(5), "that nobody listens is not counted");
        call.caller.says(0, b"anybody?");
    }
    call.called.rtp = UdpSocket::bind(place.rtp).expect("the same port");
    call.caller.rtp.set_read_timeout(Some(Duration::from_millis(20))).expect("a time");
    let heard = (0..250).any(|_| {
        call.called.says(0, b"back");
        call.caller.rtp.recv(&mut [0; 64]).is_ok()
    });
    assert!(heard);
    call.ends();
}
