//! The audio plane over real ports: what goes in on one side comes out on the other.
#![expect(clippy::expect_used, reason = "a test that cannot go on ends by a panic")]

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use smallvec::{SmallVec, smallvec};
use strowger::engine::clock::Clock;
use strowger::media::latch::Place;
use strowger::media::plane::{Heard, Key, Order, Plane};
use strowger::media::ports::{Pair, Ports};
use strowger::media::prompt::Prompt;
use strowger::media::rtp::{HEADER, Packet, Stream};
use strowger::media::session::{Agreed, Format, Quality, Say, SideId, Told};
use strowger::media::{g711, g722};
use strowger::sip::sdp::audio::Codec;

#[path = "plane/bad.rs"]
mod bad;
#[path = "plane/disk.rs"]
mod disk;
#[path = "plane/keys.rs"]
mod keys;
#[path = "plane/moves.rs"]
mod moves;
#[path = "plane/session.rs"]
mod session;
#[path = "plane/speech.rs"]
mod speech;
#[path = "plane/threads.rs"]
mod threads;

const CALLER: SideId = SideId(0);
const CALLED: SideId = SideId(1);
const KEY: Key = Key { shard: 0, index: 7, nonce: 1 };

/// One side's phone: a pair of ports of its own.
struct Phone {
    rtp: UdpSocket,
    rtcp: UdpSocket,
    /// Where our end of it is.
    ours: SocketAddr,
    sequence: u16,
}

impl Phone {
    fn new(ours: u16) -> Phone {
        let [rtp, rtcp] = [0; 2].map(|_| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port"));
        for socket in [&rtp, &rtcp] {
            socket.set_read_timeout(Some(Duration::from_secs(5))).expect("a time");
        }
        Phone { rtp, rtcp, ours: (Ipv4Addr::LOCALHOST, ours).into(), sequence: 0 }
    }

    fn place(&self) -> Place {
        let at = |socket: &UdpSocket| socket.local_addr().expect("an address");
        Place { rtp: at(&self.rtp), rtcp: at(&self.rtcp), is_behind_nat: false }
    }

    fn says(&mut self, payload_type: u8, payload: &[u8]) {
        let timestamp = u32::from(self.sequence) * 160;
        let sequence = self.sequence;
        self.sequence += 1;
        self.says_so(&Packet { marker: false, payload_type, sequence, timestamp, ssrc: 1, payload });
    }

    fn says_so(&self, packet: &Packet<'_>) {
        self.sends(&[&packet.header()[..], packet.payload].concat());
    }

    fn sends(&self, bytes: &[u8]) {
        self.rtp.send_to(bytes, self.ours).expect("sent");
    }

    /// The next packet's payload type, sequence number and payload.
    fn hears(&self) -> (u8, u16, Vec<u8>) {
        let bytes = self.gets();
        let packet = Packet::read(&bytes).expect("RTP");
        (packet.payload_type, packet.sequence, packet.payload.to_vec())
    }

    fn gets(&self) -> Vec<u8> {
        let mut buffer = [0; 4_096];
        let length = self.rtp.recv(&mut buffer).expect("a packet");
        buffer[..length].to_vec()
    }

    /// It has got nothing that it has not read.
    fn has_heard_all(&self) {
        self.rtp.set_nonblocking(true).expect("a mode");
        let more = self.rtp.recv(&mut [0; 4_096]);
        assert!(more.is_err(), "{more:?} bytes more");
        self.rtp.set_nonblocking(false).expect("a mode");
    }
}

fn format(codec: Codec, name: &str, payload_type: u8) -> Format {
    Format { codec, name: name.as_bytes().into(), clock: 8_000, ours: payload_type, theirs: payload_type }
}

fn speech() -> SmallVec<[Format; 3]> {
    smallvec![format(Codec::Pcmu, "PCMU/8000", 0), format(Codec::Event, "TELEPHONE-EVENT/8000", 101)]
}

/// A call of two sides, and what is told of it.
struct Call {
    plane: Plane,
    told: Receiver<(Key, Heard)>,
    caller: Phone,
    called: Phone,
    ports: Ports,
}

impl Call {
    fn new() -> Call {
        let clock = Clock::start();
        let (ears, told) = channel();
        let ears = Box::new(move |key, heard| ears.send((key, heard)).map_err(|unsent| unsent.0.1));
        let plane = Plane::start(0, "strowger".into(), move || clock.read().now, ears).expect("a thread");
        let mut ports = Ports::new(Ipv4Addr::LOCALHOST.into(), 20_000..=59_999, 0, 1);
        let mut open = |side: SideId| {
            let pair: Pair = ports.open(true).expect("ports");
            let port = pair.port;
            let stream = Stream::new(1_000 + u32::from(side.0), 500, 0, 8_000);
            plane.order(KEY, Order::Open(side, pair, stream)).expect("room");
            Phone::new(port)
        };
        let (caller, called) = (open(CALLER), open(CALLED));
        let call = Call { caller, called, plane, told, ports };
        call.agree(CALLER, call.caller.place());
        call.agree(CALLED, call.called.place());
        call.order(Order::Hears(CALLER, CALLED));
        call.order(Order::Hears(CALLED, CALLER));
        call.has_obeyed();
        call
    }

    /// The same, and both have spoken: strangers are kept out by the kernel.
    fn talking() -> Call {
        let mut call = Call::new();
        call.caller.says(0, b"hello");
        assert_eq!(call.called.hears().2, b"hello");
        call.is_latched(CALLER);
        call.called.says(0, b"hello");
        assert_eq!(call.caller.hears().2, b"hello");
        call.is_latched(CALLED);
        call
    }

    /// It ends, and nothing of it is left. How each side was heard.
    fn ends(mut self) -> [Quality; 2] {
        let qualities = [CALLER, CALLED].map(|side| {
            self.order(Order::Close(side));
            loop {
                match self.is_told() {
                    Heard::Closed(closed, port, quality) => {
                        assert_eq!(closed, side);
                        self.ports.free(port);
                        return quality;
                    }
                    Heard::Told(_) | Heard::Broken => {}
                }
            }
        });
        assert_eq!(self.ports.used(), 0);
        // It is told just before.
        let begun = Instant::now();
        while self.plane.counts().sessions.load(Ordering::Relaxed) > 0 {
            assert!(begun.elapsed() < Duration::from_secs(5), "a session is left");
            std::thread::yield_now();
        }
        qualities
    }

    fn received(&self) -> u64 {
        self.plane.counts().received.load(Ordering::Relaxed)
    }

    fn order(&self, order: Order) {
        self.plane.order(KEY, order).expect("room");
    }

    fn agree(&self, side: SideId, place: Place) {
        self.order(Order::Agree(
            side,
            Agreed { place: Some(place), formats: speech(), offers: 1, is_held: false, signals: None },
        ));
    }

    /// All that was ordered is done: what is said in no time is said.
    fn has_obeyed(&self) {
        self.says_nothing_to(CALLER);
        let heard = self.is_told();
        assert!(matches!(heard, Heard::Told(Told::Said(CALLER, 1))), "{heard:?}");
    }

    /// In no time, if it can hear at all.
    fn says_nothing_to(&self, side: SideId) {
        let prompt = Arc::new(Prompt::of_samples(&[], &[]));
        let say = Say { after: Duration::ZERO, prompt, again: None, number: 1, is_notice: false };
        self.order(Order::Say(side, say));
    }

    fn is_told(&self) -> Heard {
        let (key, heard) = self.told.recv_timeout(Duration::from_secs(5)).expect("something is told");
        assert_eq!(key, KEY);
        heard
    }

    fn is_latched(&self, side: SideId) {
        let heard = self.is_told();
        assert!(matches!(heard, Heard::Told(Told::Latched(other)) if other == side), "{heard:?}");
    }
}

#[test]
fn what_one_side_says_the_other_hears_and_strangers_are_not_heard() {
    let mut call = Call::new();
    call.caller.says(0, b"hello");
    assert_eq!(call.called.hears(), (0, 501, b"hello".to_vec()));
    call.is_latched(CALLER);
    // From the same host, but another port: one is enough.
    let mut stranger = Phone::new(call.caller.ours.port());
    stranger.says(0, b"buy this");
    call.caller.says(0, b"again");
    assert_eq!(call.called.hears(), (0, 502, b"again".to_vec()));
    call.called.says(0, b"yes?");
    assert_eq!(call.caller.hears(), (0, 501, b"yes?".to_vec()));
    call.is_latched(CALLED);
    call.caller.says(101, &[1, 10, 0, 160]);
    assert_eq!(call.called.hears().0, 101);
    assert!(matches!(call.is_told(), Heard::Told(Told::Pressed(CALLER, digit)) if digit.name() == '1'));
}

/// How much of a sound at 8 kHz is a tone of 1 kHz, by its power.
fn is_tone(samples: &[i16]) -> f64 {
    let part = |wave: fn(f64) -> f64| {
        let at = |n: usize| wave(std::f64::consts::TAU * n as f64 / 8.0);
        samples.iter().enumerate().map(|(n, sample)| f64::from(*sample) * at(n)).sum::<f64>().powi(2)
    };
    let power: f64 = samples.iter().map(|sample| f64::from(*sample).powi(2)).sum();
    (part(f64::sin) + part(f64::cos)) * 2.0 / samples.len() as f64 / power.max(1.0)
}

#[test]
fn r04_sides_that_share_no_codec_hear_each_other() {
    let codecs =
        [(Codec::Pcmu, "PCMU/8000", 0), (Codec::Pcma, "PCMA/8000", 8), (Codec::G722, "G722/8000", 9)];
    let tone = |rate: usize| {
        let at =
            |n: usize| (8_000.0 * (std::f64::consts::TAU * 1_000.0 * n as f64 / rate as f64).sin()) as i16;
        (0..rate / 2).map(at).collect::<Vec<i16>>()
    };
    let tone = Prompt::of_samples(&tone(8_000), &tone(16_000));
    for ((from, from_name, from_type), (to, to_name, to_type)) in
        codecs.into_iter().flat_map(|from| codecs.map(|to| (from, to))).filter(|(from, to)| from != to)
    {
        let mut call = Call::new();
        for (side, place, of) in [
            (CALLER, call.caller.place(), format(from, from_name, from_type)),
            (CALLED, call.called.place(), format(to, to_name, to_type)),
        ] {
            call.order(Order::Agree(
                side,
                Agreed {
                    place: Some(place),
                    formats: smallvec![of],
                    offers: 1,
                    is_held: false,
                    signals: None,
                },
            ));
        }
        call.has_obeyed();
        let (mut heard, mut decoder) = (Vec::new(), g722::Decoder::default());
        for frame in 0..20 {
            call.caller.says(from_type, tone.frame(from, frame).expect("a frame"));
            let (payload_type, _, payload) = call.called.hears();
            assert_eq!((payload_type, payload.len()), (to_type, 160), "{from:?} as {to:?}");
            for byte in payload {
                match to {
                    Codec::Pcma => heard.push(g711::decode_pcma(byte)),
                    Codec::G722 => heard.push(decoder.decode(byte)[0]),
                    Codec::Pcmu | Codec::Event | Codec::Other => heard.push(g711::decode_pcmu(byte)),
                }
            }
        }
        let heard = &heard[400..];
        let loudest = heard.iter().map(|sample| sample.unsigned_abs()).max();
        assert!(is_tone(heard) > 0.98, "{from:?} as {to:?}: {}", is_tone(heard));
        assert!((7_000..9_000).contains(&loudest.expect("samples")), "{from:?} as {to:?}: {loudest:?}");
    }
}

#[test]
fn a_side_that_moves_is_heard_from_its_new_place_and_its_port_is_the_same() {
    let mut call = Call::new();
    call.caller.says(0, b"one");
    call.called.hears();
    call.is_latched(CALLER);
    let mut moved = Phone::new(call.caller.ours.port());
    call.agree(CALLER, moved.place());
    call.has_obeyed();
    moved.says(0, b"two");
    assert_eq!(call.called.hears().2, b"two");
    call.is_latched(CALLER);
    call.caller.says(0, b"late");
    moved.says(0, b"three");
    assert_eq!(call.called.hears().2, b"three");
    call.called.says(0, b"four");
    assert_eq!(moved.hears().2, b"four");
}

#[test]
fn a_closed_side_gives_its_ports_back_and_says_how_it_was_heard() {
    let mut call = Call::new();
    for _ in 0..10 {
        call.caller.says(0, &[0xff; 160]);
        call.called.hears();
    }
    call.is_latched(CALLER);
    call.order(Order::Close(CALLER));
    let Heard::Closed(CALLER, port, quality) = call.is_told() else { panic!("closed") };
    assert_eq!((port, quality.received, quality.lost), (call.caller.ours.port(), 10, 0));
    UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).expect("it is free");
    call.ports.free(port);
    call.order(Order::Close(CALLED));
    let Heard::Closed(CALLED, port, quality) = call.is_told() else { panic!("closed") };
    assert_eq!((quality.received, quality.sent), (0, 10));
    // Our last report says goodbye.
    let mut buffer = [0; 1_500];
    let length = call.called.rtcp.recv(&mut buffer).expect("a report");
    assert!(buffer[..length].windows(2).any(|bytes| bytes[1] == 203), "BYE");
    call.ports.free(port);
    assert_eq!(call.ports.used(), 0);
}

#[test]
fn a_side_that_nobody_listens_at_costs_no_more_than_its_packets() {
    let mut call = Call::new();
    let gone = call.called.place();
    call.caller.says(0, b"one");
    call.called.hears();
    call.called.says(0, b"two");
    call.caller.hears();
    let [_, _] =
        [call.told.recv_timeout(Duration::from_secs(5)), call.told.recv_timeout(Duration::from_secs(5))];
    drop(std::mem::replace(&mut call.called.rtp, UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port")));
    for _ in 0..50 {
        call.caller.says(0, b"anybody?");
    }
    // It comes back on the same port.
    call.called.rtp = UdpSocket::bind(gone.rtp).expect("the same port");
    call.called.rtp.set_read_timeout(Some(Duration::from_millis(20))).expect("a time");
    let mut buffer = [0; HEADER + 160];
    let heard = (0..250).any(|_| {
        call.caller.says(0, b"back?");
        call.called.rtp.recv(&mut buffer).is_ok()
    });
    assert!(heard);
}
