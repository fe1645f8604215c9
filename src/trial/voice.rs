//! The audio of the ends: real RTP, PCMU in packets of 20 ms, and keys as events (RFC 4733). Each end says its sentence
//! over and over, keeps what it hears, and tells what it knows of that.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::sound::{Ear, Known, Sound, speech};
use crate::media::event::{Digit, END_PACKETS, Event};
use crate::media::g711::decode_pcmu;
use crate::media::ports::{Pair, Ports};
use crate::media::prompt::{FRAME, FRAME_BYTES, Prompt, silence};
use crate::media::rtp::Packet;
use crate::sip::sdp::audio::Codec;

/// Its payload type (RFC 3551 §6).
const PCMU: u8 = 0;
/// Samples in a second.
const RATE: usize = 8_000;
/// The pause before an end says its sentence once more.
const PAUSE: u32 = 50;
/// How long a key is held: packets.
const HELD: u16 = 5;
/// How loud it is: −10 dBm0.
const VOLUME: u8 = 10;
/// What is heard for longer is not kept: two hours.
const MOST: usize = 2 * 3_600 * RATE;
/// A packet that says that it is of so much later than now is of another time: its place is now.
const AHEAD: usize = RATE;
/// Longer than any packet of ours.
const LONGEST: usize = 2_048;
/// Things that wait to be told or done.
const WAITING: usize = 64;
/// The ports of the ends: each trial begins somewhere else among them.
const PORTS: (u16, u16) = (30_000, 39_000);

/// What an end tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    Hears(Sound),
    Pressed,
}

/// The same, of which end: its column, and its call's Call-ID.
pub(super) struct News {
    pub column: u16,
    pub call_id: String,
    pub told: Told,
}

/// What an end is to do.
#[derive(Clone, Copy, Debug)]
enum Order {
    /// There it is heard, and with that payload type its keys are, if it may press any.
    Meet(SocketAddr, Option<u8>),
    Talk(bool),
    /// After so long.
    Press(Duration),
}

/// One end's audio.
struct End {
    column: u16,
    is_talking: bool,
    orders: mpsc::Sender<Order>,
    task: JoinHandle<Vec<i16>>,
}

/// What one end has heard, 8,000 samples a second.
pub(super) struct Heard {
    pub column: u16,
    pub samples: Vec<i16>,
}

/// The audio of all ends of a trial.
pub(super) struct Voices {
    known: Arc<Known>,
    /// What the node says that it is reached at, and where it is.
    node: (Option<IpAddr>, IpAddr),
    /// By Call-ID.
    ends: HashMap<String, End>,
    news: (mpsc::Sender<News>, mpsc::Receiver<News>),
}

impl Voices {
    /// `node`: what its descriptions name instead of its address, and that.
    pub fn new(known: Known, node: (Option<IpAddr>, IpAddr)) -> Voices {
        Voices { known: Arc::new(known), node, ends: HashMap::new(), news: mpsc::channel(WAITING) }
    }

    pub fn known(&self) -> &Known {
        &self.known
    }

    /// An end of a call has ports, for its description to name.
    pub fn open(&mut self, call_id: &str, column: u16, at: IpAddr, says: Sound) -> io::Result<SocketAddr> {
        // What listens on IPv6 may speak IPv4.
        let at = match (at, self.node.1) {
            (IpAddr::V6(_), IpAddr::V4(_)) => Ipv4Addr::LOCALHOST.into(),
            (IpAddr::V4(_), IpAddr::V6(_)) => Ipv6Addr::LOCALHOST.into(),
            (at, _) => at,
        };
        let Pair { rtp, rtcp, .. } = open(at)?;
        let rtp = UdpSocket::from_std(rtp)?;
        let here = rtp.local_addr()?;
        let (orders, to_do) = mpsc::channel(WAITING);
        let mouth = Mouth {
            ssrc: getrandom::u32().map_err(io::Error::other)?,
            sequence: 0,
            timestamp: 0,
            says: speech(says),
            next: 0,
            to: None,
            is_talking: false,
            key: Key::Idle,
        };
        let record = Record { began: None, source: None, samples: Vec::new() };
        let line = Line { rtp, _rtcp: rtcp, mouth, record, ear: Ear::new(Arc::clone(&self.known)) };
        let tell = Tell { column, call_id: call_id.to_owned(), to: self.news.0.clone() };
        let task = tokio::spawn(line.converse(to_do, tell));
        self.ends.insert(call_id.to_owned(), End { column, is_talking: false, orders, task });
        Ok(here)
    }

    /// Whether an end of ours is in that call.
    pub fn has(&self, call_id: &str) -> bool {
        self.ends.contains_key(call_id)
    }

    /// The node has described its end of a call.
    pub fn meet(&mut self, call_id: &str, sdp: &[u8]) {
        let Some((place, events)) = place_in(sdp) else { return };
        let (advertised, addr) = self.node;
        let ip = if advertised == Some(place.ip()) { on_this_machine(addr) } else { place.ip() };
        // A trial never leaves the machine.
        if std::net::UdpSocket::bind((ip, 0)).is_ok() {
            self.order(call_id, Order::Meet(SocketAddr::new(ip, place.port()), events));
        }
    }

    /// Whether an end may speak.
    pub fn talk(&mut self, call_id: &str, talks: bool) {
        let is_news = self
            .ends
            .get_mut(call_id)
            .is_some_and(|end| std::mem::replace(&mut end.is_talking, talks) != talks);
        if is_news {
            self.order(call_id, Order::Talk(talks));
        }
    }

    /// Presses 1 once the prompt that asks for it is over.
    pub fn press(&self, call_id: &str) {
        self.order(call_id, Order::Press(self.known.press_one));
    }

    fn order(&self, call_id: &str, order: Order) {
        if let Some(end) = self.ends.get(call_id) {
            // Whoever is so far behind has ended.
            let _ended = end.orders.try_send(order);
        }
    }

    /// The calls that have ends, by Call-ID.
    pub fn calls(&self) -> Vec<String> {
        self.ends.keys().cloned().collect()
    }

    /// What an end tells next.
    pub async fn news(&mut self) -> Option<News> {
        self.news.1.recv().await
    }

    /// Nobody speaks any more. What each has heard.
    pub async fn end(self) -> Vec<Heard> {
        let mut heard = Vec::new();
        for End { column, orders, task, .. } in self.ends.into_values() {
            drop(orders);
            if let Ok(samples) = task.await {
                heard.push(Heard { column, samples });
            }
        }
        heard
    }
}

/// Ports that nobody uses.
fn open(at: IpAddr) -> io::Result<Pair> {
    let draw = getrandom::u32().map_err(io::Error::other)?;
    let first = PORTS.0 + u16::try_from(draw % u32::from((PORTS.1 - PORTS.0) / 2)).unwrap_or(0) * 2;
    Ports::new(at, first..=first + 999, 0, 1).open(at.is_ipv4()).map_err(io::Error::other)
}

fn on_this_machine(addr: IpAddr) -> IpAddr {
    match addr {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
    }
}

/// Where a description (RFC 8866) has its audio, and the payload type of keys in it.
fn place_in(sdp: &[u8]) -> Option<(SocketAddr, Option<u8>)> {
    let text = String::from_utf8_lossy(sdp);
    let lines = || text.lines().map(str::trim_end);
    let connection = lines().find_map(|line| line.strip_prefix("c=IN IP"))?;
    let ip = connection.split(' ').nth(1)?.parse().ok()?;
    let stream = lines().find_map(|line| line.strip_prefix("m=audio "))?;
    let port = stream.split(' ').next()?.parse().ok().filter(|port| *port != 0)?;
    let map = |line: &str| {
        let (kind, name) = line.strip_prefix("a=rtpmap:")?.split_once(' ')?;
        name.to_ascii_lowercase().starts_with("telephone-event/8000").then(|| kind.parse().ok())?
    };
    Some((SocketAddr::new(ip, port), lines().find_map(map)))
}

/// Who is told.
struct Tell {
    column: u16,
    call_id: String,
    to: mpsc::Sender<News>,
}

impl Tell {
    fn of(&self, told: Told) {
        // Whoever does not listen has seen enough.
        let news = News { column: self.column, call_id: self.call_id.clone(), told };
        let _unheard = self.to.try_send(news);
    }
}

/// The sockets of one end, its mouth and its ear.
struct Line {
    rtp: UdpSocket,
    /// What comes there is not read; the port is not another program's.
    _rtcp: std::net::UdpSocket,
    mouth: Mouth,
    record: Record,
    ear: Ear,
}

impl Line {
    /// Until nobody gives orders any more.
    async fn converse(mut self, mut orders: mpsc::Receiver<Order>, tell: Tell) -> Vec<i16> {
        let mut every = tokio::time::interval(FRAME);
        let mut buffer = [0; LONGEST];
        loop {
            tokio::select! {
                _ = every.tick() => {
                    let (packet, told) = self.mouth.frame(Instant::now());
                    if let Some((to, packet)) = packet {
                        // What is lost is heard as silence.
                        let _lost = self.rtp.try_send_to(&packet, to);
                    }
                    told.into_iter().for_each(|told| tell.of(told));
                }
                // An error is an earlier packet's that nobody took.
                Ok((length, _)) = self.rtp.recv_from(&mut buffer) => {
                    let Some(packet) = Packet::read(&buffer[..length]) else { continue };
                    if packet.payload_type == PCMU {
                        let now = Instant::now();
                        self.record.keep(now, &packet);
                        self.ear.hear(now, packet.payload).into_iter().for_each(|sound| tell.of(Told::Hears(sound)));
                    }
                }
                order = orders.recv() => match order {
                    Some(order) => self.mouth.obey(Instant::now(), order),
                    None => return self.record.samples,
                },
            }
        }
    }
}

/// What an end says.
struct Mouth {
    ssrc: u32,
    sequence: u16,
    timestamp: u32,
    says: Arc<Prompt>,
    /// The next frame of it; those behind its end are the pause.
    next: u32,
    to: Option<(SocketAddr, Option<u8>)>,
    is_talking: bool,
    key: Key,
}

/// The key that an end presses.
#[derive(Clone, Copy, Debug)]
enum Key {
    Idle,
    /// From then on.
    Wanted(Instant),
    /// So many packets of it were sent, of an event that began at that timestamp.
    Down {
        began: u32,
        sent: u16,
    },
}

type Sent = Option<(SocketAddr, Vec<u8>)>;

impl Mouth {
    fn obey(&mut self, now: Instant, order: Order) {
        match (order, self.key) {
            (Order::Meet(place, events), _) => self.to = Some((place, events)),
            (Order::Talk(talks), _) => self.is_talking = talks,
            (Order::Press(after), Key::Idle) => self.key = Key::Wanted(now + after),
            (Order::Press(_), Key::Wanted(_) | Key::Down { .. }) => {}
        }
    }

    /// What is said in the next 20 ms.
    fn frame(&mut self, now: Instant) -> (Sent, Option<Told>) {
        self.timestamp = self.timestamp.wrapping_add(FRAME_BYTES as u32);
        let Some((to, events)) = self.to.filter(|_| self.is_talking) else { return (None, None) };
        let (mut told, mut key) = (None, None);
        if let (Key::Wanted(at), Some(_)) = (self.key, events)
            && now >= at
        {
            self.key = Key::Down { began: self.timestamp, sent: 0 };
            told = Some(Told::Pressed);
        }
        if let (Key::Down { began, sent }, Some(kind)) = (self.key, events) {
            let (event, is_last) = pressed(sent);
            key = Some((kind, began, sent == 0, event.payload()));
            self.key = if is_last { Key::Idle } else { Key::Down { began, sent: sent + 1 } };
        }
        self.sequence = self.sequence.wrapping_add(1);
        let (sequence, ssrc, next) = (self.sequence, self.ssrc, self.next);
        self.next = if next >= self.says.frames() + PAUSE { 0 } else { next + 1 };
        let packet = match &key {
            Some((payload_type, timestamp, marker, payload)) => Packet {
                marker: *marker,
                payload_type: *payload_type,
                sequence,
                timestamp: *timestamp,
                ssrc,
                payload,
            },
            None => {
                let quiet = silence(Codec::Pcmu).map_or(&[][..], |frame| &frame[..]);
                let payload = self.says.frame(Codec::Pcmu, next).unwrap_or(quiet);
                Packet {
                    marker: false,
                    payload_type: PCMU,
                    sequence,
                    timestamp: self.timestamp,
                    ssrc,
                    payload,
                }
            }
        };
        (Some((to, [&packet.header()[..], packet.payload].concat())), told)
    }
}

/// The packet of a key after so many of it, and whether it is the last.
fn pressed(sent: u16) -> (Event, bool) {
    let duration = (sent + 1).min(HELD) * FRAME_BYTES as u16;
    let event = Event { code: Digit::ONE.event(), is_over: sent + 1 >= HELD, volume: VOLUME, duration };
    (event, sent + 2 == HELD + u16::from(END_PACKETS))
}

/// What an end hears, each sample at its time.
struct Record {
    began: Option<Instant>,
    /// Who speaks, and the timestamp of its sample at the beginning.
    source: Option<(u32, u32)>,
    samples: Vec<i16>,
}

impl Record {
    fn keep(&mut self, now: Instant, packet: &Packet<'_>) {
        let began = *self.began.get_or_insert(now);
        let here = now.duration_since(began).as_millis() as usize * RATE / 1_000;
        let place = |base: u32| packet.timestamp.wrapping_sub(base) as usize;
        let known = self.source.filter(|(ssrc, base)| *ssrc == packet.ssrc && place(*base) <= here + AHEAD);
        let at = match known {
            Some((_, base)) => place(base),
            None => {
                self.source = Some((packet.ssrc, packet.timestamp.wrapping_sub(here as u32)));
                here
            }
        };
        let until = (at + packet.payload.len()).min(MOST);
        if self.samples.len() < until {
            self.samples.resize(until, 0);
        }
        for (sample, byte) in self.samples.iter_mut().skip(at).zip(packet.payload) {
            *sample = decode_pcmu(*byte);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::event::Listener;

    fn mouth() -> Mouth {
        let to = Some((([127, 0, 0, 1], 20_000).into(), Some(96)));
        Mouth {
            ssrc: 7,
            sequence: 65_530,
            timestamp: 0,
            says: speech(Sound::Phone),
            next: 0,
            to,
            is_talking: true,
            key: Key::Idle,
        }
    }

    #[test]
    fn a_key_is_one_event_of_its_payload_type_and_audio_goes_on_after_it() {
        let (mut mouth, now) = (mouth(), Instant::now());
        mouth.obey(now, Order::Press(Duration::ZERO));
        mouth.obey(now, Order::Press(Duration::ZERO));
        let (mut listener, mut keys, mut kinds, mut told) = (Listener::default(), Vec::new(), Vec::new(), 0);
        for number in 0..20 {
            let (sent, tells) = mouth.frame(now);
            let bytes = sent.unwrap().1;
            let packet = Packet::read(&bytes).unwrap();
            told += usize::from(tells == Some(Told::Pressed));
            kinds.push(packet.payload_type);
            if packet.payload_type == 96 {
                keys.extend(listener.hear(crate::time::Instant::from_micros(number * 20_000), &packet));
            } else {
                assert_eq!(packet.payload.len(), FRAME_BYTES);
            }
        }
        assert_eq!((keys, told), (vec![Digit::ONE], 1));
        assert_eq!(kinds, [vec![96; 7], vec![PCMU; 13]].concat());
    }

    #[test]
    fn who_may_not_talk_or_knows_of_nobody_says_nothing_and_without_events_nothing_is_pressed() {
        let now = Instant::now();
        for (to, is_talking, says) in [
            (None, true, None),
            (Some((([127, 0, 0, 1], 9).into(), None)), false, None),
            (Some((([127, 0, 0, 1], 9).into(), None)), true, Some(PCMU)),
        ] {
            let mut mouth = Mouth { to, is_talking, key: Key::Wanted(now), ..mouth() };
            let (sent, told) = mouth.frame(now);
            assert_eq!(
                (sent.map(|(_, bytes)| Packet::read(&bytes).unwrap().payload_type), told),
                (says, None)
            );
        }
    }

    #[test]
    fn a_sentence_is_said_over_and_over() {
        let (mut mouth, now) = (mouth(), Instant::now());
        let round = mouth.says.frames() + PAUSE + 1;
        let mut said = || mouth.frame(now).0.unwrap().1[crate::media::rtp::HEADER..].to_vec();
        let [once, again] = [0; 2].map(|_| (0..round).map(|_| said()).collect::<Vec<_>>());
        assert!(once == again);
    }

    #[test]
    fn what_is_heard_lies_where_its_timestamps_say_and_another_source_begins_now() {
        let mut record = Record { began: None, source: None, samples: Vec::new() };
        let began = Instant::now();
        let mut hear = |ms: u64, ssrc, timestamp, byte: u8| {
            let payload = [byte; FRAME_BYTES];
            let packet =
                Packet { marker: false, payload_type: PCMU, sequence: 0, timestamp, ssrc, payload: &payload };
            record.keep(began + Duration::from_millis(ms), &packet);
        };
        let (one, two) = (0x80, 0x00);
        hear(0, 1, u32::MAX - 79, one);
        // Late, and in the wrong order.
        hear(70, 1, 240, one);
        hear(75, 1, 80, one);
        // Somebody else, and the first with times that cannot be.
        hear(100, 2, 5, two);
        hear(140, 1, 0x4000_0000, one);
        let loud = |frame: usize| record.samples.get(frame * 160).map(|sample| sample.signum());
        let heard: Vec<_> = (0..9).map(loud).collect();
        let (one, two, none) = (Some(1), Some(-1), Some(0));
        assert_eq!(heard, [one, one, one, none, none, two, none, one, None]);
    }

    #[test]
    fn a_description_says_where_and_with_what_payload_type() {
        let sdp = "v=0\r\no=- 1 1 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
            m=audio 20002 RTP/AVP 0 96\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:96 telephone-event/8000\r\n";
        assert_eq!(place_in(sdp.as_bytes()), Some((([127, 0, 0, 1], 20_002).into(), Some(96))));
        let six = sdp.replace("c=IN IP4 127.0.0.1", "c=IN IP6 ::1").replace("telephone-event", "x");
        assert_eq!(place_in(six.as_bytes()), Some(("[::1]:20002".parse().unwrap(), None)));
        for (from, to) in
            [("20002", "0"), ("20002", "x"), ("127.0.0.1", "host.example"), ("m=audio", "m=video")]
        {
            assert_eq!(place_in(sdp.replace(from, to).as_bytes()), None, "{to}");
        }
    }
}
