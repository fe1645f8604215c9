//! The audio plane over real ports: what goes in on one side comes out on the other.
#![expect(clippy::expect_used, reason = "a test that cannot go on ends by a panic")]

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use smallvec::{SmallVec, smallvec};
use strowger::engine::clock::Clock;
use strowger::media::latch::Place;
use strowger::media::plane::{Heard, Key, Order, Plane};
use strowger::media::ports::{Pair, Ports};
use strowger::media::prompt::Prompt;
use strowger::media::rtp::{HEADER, Packet, Stream};
use strowger::media::session::{Agreed, Format, Say, SideId, Told};
use strowger::sip::sdp::audio::Codec;

#[path = "media/keys.rs"]
mod keys;
#[path = "media/threads.rs"]
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
        let packet =
            Packet { marker: false, payload_type, sequence: self.sequence, timestamp, ssrc: 1, payload };
        self.sequence += 1;
        let bytes = [&packet.header()[..], payload].concat();
        self.rtp.send_to(&bytes, self.ours).expect("sent");
    }

    /// The next packet's payload type, sequence number and payload.
    fn hears(&self) -> (u8, u16, Vec<u8>) {
        let mut buffer = [0; 2_048];
        let length = self.rtp.recv(&mut buffer).expect("a packet");
        let packet = Packet::read(&buffer[..length]).expect("RTP");
        (packet.payload_type, packet.sequence, packet.payload.to_vec())
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
            let pair: Pair = ports.open().expect("ports");
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

    fn order(&self, order: Order) {
        self.plane.order(KEY, order).expect("room");
    }

    fn agree(&self, side: SideId, place: Place) {
        self.order(Order::Agree(side, Agreed { place: Some(place), formats: speech() }));
    }

    /// All that was ordered is done: what is said in no time is said.
    fn has_obeyed(&self) {
        let prompt = Arc::new(Prompt::of_samples(&[], &[]));
        self.order(Order::Say(CALLER, Say { after: Duration::ZERO, prompt, again: None, number: 1 }));
        let heard = self.is_told();
        assert!(matches!(heard, Heard::Told(Told::Said(CALLER, 1))), "{heard:?}");
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
