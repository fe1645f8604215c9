//! Audio in the world: ports without sockets, prompts without sound, and what the threads would tell of them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use super::dice::Dice;
use super::layout;
use crate::engine::exchange::Booth;
use crate::media::event::Digit;
use crate::media::plane::{Heard, Key, Order};
use crate::media::reel::Sheet;
use crate::media::rtp::Stream;
use crate::media::session::{FRAME, Quality, SideId, Told};
use crate::time::Instant;

/// The first port that is given out.
pub const FIRST_PORT: u16 = 20_000;

/// What somebody does that is heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    Presses(char),
    /// Enough for a message.
    SaysEnough,
    /// For long enough to end it.
    FallsSilent,
    /// No packet of its comes any more, until some do again.
    IsNotHeard,
    IsHeardAgain,
    /// A bug of ours shows in its call's audio.
    Breaks,
    /// The thread that carries it stands still, and tells nothing more.
    IsStuck,
    /// There is no room for what is to be written down, which is known.
    FillsTheDisk,
    /// There is none for what is to be begun now, which nobody knows before.
    SlowsTheDisk,
}

impl Word {
    /// Draws one that a world goes on after.
    pub fn draw(dice: &mut Dice) -> Word {
        match dice.below(100) {
            0..=29 => Word::Presses('1'),
            30..=44 => Word::Presses(*dice.pick(&['2', '9', '*', '#', '0'])),
            45..=59 => Word::SaysEnough,
            60..=69 => Word::FallsSilent,
            70..=82 => Word::IsNotHeard,
            83..=96 => Word::IsHeardAgain,
            97 => Word::Breaks,
            98 => Word::SlowsTheDisk,
            _ => Word::FillsTheDisk,
        }
    }
}

/// Where what is said is written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Disk {
    Takes,
    IsSlow,
    IsFull,
}

/// What a side hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listening {
    /// Our port to which its own audio comes.
    pub port: u16,
    /// That of the other whom it hears, or would hear but for us.
    pub to: Option<u16>,
    /// We say something to it.
    pub is_told: bool,
}

/// A shard's booth, in the hands of its exchange and of the world.
#[derive(Clone, Debug)]
pub struct SimBooth(Rc<RefCell<Stage>>);

#[derive(Debug)]
struct Stage {
    now: Instant,
    is_stuck: bool,
    disk: Disk,
    /// Calls of which nothing is written down, which is told next.
    unkept: Vec<Key>,
    /// Pairs that it has in all.
    pairs: u16,
    free: Vec<u16>,
    sides: BTreeMap<(u32, u32, SideId), Open>,
    /// Sides that are closed, which is told next.
    closed: Vec<(Open, SideId)>,
    /// The calls that are watched, how long nobody may be heard, and since when that counts.
    watched: BTreeMap<(u32, u32), (Key, Duration, Instant)>,
    /// What is written down, by the port of who is on the left, and who is on the right.
    written: Vec<(u16, Option<u16>)>,
    /// Keys that we pressed, by the port of who hears them.
    pressed: Vec<(u16, char)>,
    /// What was begun to be said, by the port to which it was.
    said: Vec<(Instant, u16, Duration)>,
}

#[derive(Debug)]
struct Open {
    call: Key,
    port: u16,
    /// Where it is and what it speaks is known: it can hear us.
    is_agreed: bool,
    hears: Option<SideId>,
    /// What is being said to it, and until when; for ever where it is repeated.
    saying: Option<(u32, Option<Instant>)>,
    /// How long what it is to hear lasts, once something is agreed on with it.
    waits: Option<Duration>,
    /// Since when no packet of its has come; whoever has agreed on something sends.
    unheard: Option<Instant>,
    /// Tones in its audio are keys.
    awaits_keys: bool,
}

/// How a side was heard at that port, so that each can be told from the others: so many packets as the port's number, one
/// more was sent to it.
fn quality(open: &Open) -> Quality {
    if !open.is_agreed {
        return Quality::default();
    }
    Quality {
        codec: Some("PCMU".into()),
        received: open.port.into(),
        lost: 3,
        jitter: Duration::from_micros(1_504),
        mos: Some(4.25),
        sent: u64::from(open.port) + 1,
        ..Quality::default()
    }
}

impl Stage {
    /// When a watched call has been silent for too long, as far as is known now.
    fn silent_at(&self, call: (u32, u32)) -> Option<Instant> {
        let (_, patience, since) = self.watched.get(&call)?;
        let of_it = self.sides.iter().filter(|((index, nonce, _), _)| (*index, *nonce) == call);
        let unheard = of_it.map(|(_, open)| open.unheard).collect::<Option<Vec<Instant>>>()?;
        Some(unheard.into_iter().max()?.max(*since) + *patience)
    }
}

impl SimBooth {
    /// So many pairs of ports, from this one on.
    pub fn new(first: u16, pairs: u16) -> SimBooth {
        let free = (0..pairs).rev().map(|pair| first + 2 * pair).collect();
        let stage = Stage {
            now: Instant::ZERO,
            is_stuck: false,
            disk: Disk::Takes,
            unkept: Vec::new(),
            pairs,
            free,
            sides: BTreeMap::new(),
            closed: Vec::new(),
            watched: BTreeMap::new(),
            written: Vec::new(),
            pressed: Vec::new(),
            said: Vec::new(),
        };
        SimBooth(Rc::new(RefCell::new(stage)))
    }

    /// The next moment at which something is told.
    pub fn next_deadline(&self) -> Option<Instant> {
        let stage = self.0.borrow();
        if stage.is_stuck {
            return None;
        }
        let closed = (!stage.closed.is_empty() || !stage.unkept.is_empty()).then_some(stage.now);
        let silent = stage.watched.keys().filter_map(|call| stage.silent_at(*call));
        stage.sides.values().filter_map(|open| open.saying?.1).chain(closed).chain(silent).min()
    }

    /// What is told now.
    pub fn told(&self, now: Instant) -> Vec<(Key, Heard)> {
        let mut stage = self.0.borrow_mut();
        stage.now = now;
        if stage.is_stuck {
            return Vec::new();
        }
        let mut told = Vec::new();
        for ((_, _, side), open) in &mut stage.sides {
            if let Some((number, Some(until))) = open.saying
                && until <= now
            {
                open.saying = None;
                told.push((open.call, Heard::Told(Told::Said(*side, number))));
            }
        }
        let silent = |call: &(u32, u32)| stage.silent_at(*call).is_some_and(|at| at <= now);
        let silent: Vec<(u32, u32)> = stage.watched.keys().copied().filter(silent).collect();
        for call in silent.iter().filter_map(|call| stage.watched.remove(call)) {
            told.push((call.0, Heard::Told(Told::Silent)));
        }
        told.extend(stage.unkept.drain(..).map(|call| (call, Heard::Told(Told::NotKept))));
        for (open, side) in stage.closed.drain(..) {
            told.push((open.call, Heard::Closed(side, open.port, quality(&open))));
        }
        told
    }

    /// What is told of the side whose audio comes to that port.
    pub fn heard(&self, now: Instant, port: u16, word: Word) -> Option<(Key, Heard)> {
        let mut stage = self.0.borrow_mut();
        let (of, open) = stage.sides.iter_mut().find(|(_, open)| open.port == port)?;
        let told = match word {
            Word::Presses(key) => Told::Pressed(of.2, Digit::named(u8::try_from(key).ok()?)?),
            Word::SaysEnough => Told::SaidEnough(of.2),
            Word::FallsSilent => Told::FellSilent(of.2),
            Word::IsStuck => {
                stage.is_stuck = true;
                return None;
            }
            Word::FillsTheDisk => {
                stage.disk = Disk::IsFull;
                return None;
            }
            Word::SlowsTheDisk => {
                stage.disk = Disk::IsSlow;
                return None;
            }
            Word::IsNotHeard => {
                open.unheard = Some(now);
                return None;
            }
            Word::IsHeardAgain => {
                open.unheard = None;
                return None;
            }
            Word::Breaks => {
                let call = open.call;
                let is_its = |of: &(u32, u32, SideId), _: &mut Open| (of.0, of.1) == (call.index, call.nonce);
                let broken = stage.sides.extract_if(.., is_its).map(|(of, open)| (open, of.2));
                let broken: Vec<_> = broken.collect();
                stage.closed.extend(broken);
                return Some((call, Heard::Broken));
            }
        };
        Some((open.call, Heard::Told(told)))
    }

    /// What is written down: the ports of who is on the left and on the right.
    pub fn written(&self) -> Vec<(u16, Option<u16>)> {
        self.0.borrow().written.clone()
    }

    /// The keys that we pressed, each with the port of who hears it.
    pub fn pressed(&self) -> Vec<(u16, char)> {
        self.0.borrow().pressed.clone()
    }

    /// Whether tones in the audio that comes to that port are keys.
    pub fn awaits_keys(&self, port: u16) -> bool {
        self.0.borrow().sides.values().any(|open| open.port == port && open.awaits_keys)
    }

    /// The port of whom the side at that port hears; none: nobody, or us.
    pub fn heard_at(&self, port: u16) -> Option<u16> {
        let stage = self.0.borrow();
        let (of, open) = stage.sides.iter().find(|(_, open)| open.port == port)?;
        let hears = open.hears.filter(|_| open.saying.is_none())?;
        stage.sides.get(&(of.0, of.1, hears)).map(|open| open.port)
    }

    pub fn listening(&self) -> Vec<Listening> {
        let stage = self.0.borrow();
        let port = |of: &(u32, u32, SideId), other: SideId| Some(stage.sides.get(&(of.0, of.1, other))?.port);
        let side = |(of, open): (&(u32, u32, SideId), &Open)| Listening {
            port: open.port,
            to: open.hears.and_then(|other| port(of, other)),
            is_told: open.saying.is_some(),
        };
        stage.sides.iter().map(side).collect()
    }

    /// When something was begun to be said to the side at that port, and how long it is.
    pub fn said_to(&self, port: u16) -> Vec<(Instant, Duration)> {
        let stage = self.0.borrow();
        stage.said.iter().filter(|(_, to, _)| *to == port).map(|(at, _, length)| (*at, *length)).collect()
    }
}

impl Booth for SimBooth {
    fn open(
        &mut self,
        call: Key,
        side: SideId,
        _stream: Stream,
        _towards: Option<IpAddr>,
    ) -> Option<SocketAddr> {
        let mut stage = self.0.borrow_mut();
        let port = stage.free.pop()?;
        stage.sides.insert(
            (call.index, call.nonce, side),
            Open {
                call,
                port,
                is_agreed: false,
                hears: None,
                saying: None,
                waits: None,
                unheard: None,
                awaits_keys: false,
            },
        );
        Some(SocketAddr::new(layout::AUDIO, port))
    }

    fn record(&mut self, call: Key, _sheet: Sheet, left: SideId, right: Option<SideId>) {
        let mut stage = self.0.borrow_mut();
        if stage.disk != Disk::Takes {
            return stage.unkept.push(call);
        }
        let port = |side: SideId| stage.sides.get(&(call.index, call.nonce, side)).map(|open| open.port);
        if let Some(left) = port(left) {
            let right = right.and_then(port);
            stage.written.push((left, right));
        }
    }

    fn keeps_messages(&self) -> bool {
        self.0.borrow().disk != Disk::IsFull
    }

    fn order(&mut self, call: Key, order: Order) {
        let mut stage = self.0.borrow_mut();
        let Stage { now, sides, closed, watched, said, pressed, .. } = &mut *stage;
        let of = |side: SideId| (call.index, call.nonce, side);
        match order {
            Order::Close(side) => {
                closed.extend(sides.remove(&of(side)).map(|open| (open, side)));
                if !sides.keys().any(|of| (of.0, of.1) == (call.index, call.nonce)) {
                    watched.remove(&(call.index, call.nonce));
                }
            }
            Order::Watch(Some(patience)) => {
                watched.insert((call.index, call.nonce), (call, patience, *now));
            }
            Order::Watch(None) => {
                watched.remove(&(call.index, call.nonce));
            }
            Order::Hears(to, from) => {
                if let Some(open) = sides.get_mut(&of(to)) {
                    open.hears = Some(from);
                }
            }
            // Whose port is whose is no matter here.
            Order::Inside(_) => {}
            Order::HearsNobody(to) => {
                if let Some(open) = sides.get_mut(&of(to)) {
                    open.hears = None;
                }
            }
            Order::Say(side, say) => {
                if let Some(open) = sides.get_mut(&of(side)) {
                    let length = say.after + FRAME * say.prompt.frames();
                    let once = say.again.is_none().then_some(length);
                    open.saying =
                        Some((say.number, once.filter(|_| open.is_agreed).map(|length| *now + length)));
                    open.waits = once.filter(|_| !open.is_agreed);
                    if open.is_agreed {
                        said.push((*now, open.port, length));
                    }
                }
            }
            Order::Agree(side, _) => {
                if let Some(open) = sides.get_mut(&of(side)) {
                    open.is_agreed = true;
                    if let (Some(length), Some((_, until))) = (open.waits.take(), &mut open.saying) {
                        *until = Some(*now + length);
                        said.push((*now, open.port, length));
                    }
                }
            }
            Order::Hush(side) => {
                if let Some(open) = sides.get_mut(&of(side)) {
                    (open.saying, open.waits) = (None, None);
                }
            }
            Order::Press(side, digit, _) => {
                if let Some(open) = sides.get(&of(side)) {
                    pressed.push((open.port, digit.name()));
                }
            }
            Order::Keys(side, awaits) => {
                if let Some(open) = sides.get_mut(&of(side)) {
                    open.awaits_keys = awaits;
                }
            }
            Order::Open(..)
            | Order::Record(..)
            | Order::OnTheRight(_)
            | Order::Listen(..)
            | Order::Discard => {}
        }
    }

    fn closed(&mut self, _call: Key, _side: SideId, port: u16) {
        self.0.borrow_mut().free.push(port);
    }

    fn told(&mut self) -> Option<(Key, Heard)> {
        None
    }

    fn used(&self) -> usize {
        let stage = self.0.borrow();
        usize::from(stage.pairs) - stage.free.len()
    }

    fn left(&self) -> usize {
        self.0.borrow().free.len()
    }
}
