//! Audio in the world: ports without sockets, prompts without sound, and what the threads would tell of them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use crate::engine::exchange::Booth;
use crate::media::event::Digit;
use crate::media::plane::{Heard, Key, Order};
use crate::media::rtp::Stream;
use crate::media::session::{FRAME, SideId, Told};
use crate::time::Instant;

/// The first port that is given out.
const FIRST: u16 = 20_000;

/// A shard's booth, in the hands of its exchange and of the world.
#[derive(Clone, Debug)]
pub struct SimBooth(Rc<RefCell<Stage>>);

#[derive(Debug)]
struct Stage {
    now: Instant,
    /// Pairs that it has in all.
    pairs: u16,
    free: Vec<u16>,
    sides: BTreeMap<(u32, u32, SideId), Open>,
    /// What was begun to be said, by the port to which it was.
    said: Vec<(Instant, u16, Duration)>,
}

#[derive(Debug)]
struct Open {
    call: Key,
    port: u16,
    hears: Option<SideId>,
    /// What is being said to it, and until when; for ever where it is repeated.
    saying: Option<(u32, Option<Instant>)>,
}

impl SimBooth {
    pub fn new(pairs: u16) -> SimBooth {
        let free = (0..pairs).rev().map(|pair| FIRST + 2 * pair).collect();
        let stage = Stage { now: Instant::ZERO, pairs, free, sides: BTreeMap::new(), said: Vec::new() };
        SimBooth(Rc::new(RefCell::new(stage)))
    }

    /// The next moment at which something is told.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.0.borrow().sides.values().filter_map(|open| open.saying?.1).min()
    }

    /// What is told now.
    pub fn told(&self, now: Instant) -> Vec<(Key, Heard)> {
        let mut stage = self.0.borrow_mut();
        stage.now = now;
        let mut told = Vec::new();
        for ((_, _, side), open) in &mut stage.sides {
            if let Some((number, Some(until))) = open.saying
                && until <= now
            {
                open.saying = None;
                told.push((open.call, Heard::Told(Told::Said(*side, number))));
            }
        }
        told
    }

    /// A key is pressed by the side whose audio comes to that port.
    pub fn pressed(&self, port: u16, digit: Digit) -> Option<(Key, Heard)> {
        let stage = self.0.borrow();
        let (of, open) = stage.sides.iter().find(|(_, open)| open.port == port)?;
        Some((open.call, Heard::Told(Told::Pressed(of.2, digit))))
    }

    /// The port of whom the side at that port hears; none: nobody, or us.
    pub fn heard_at(&self, port: u16) -> Option<u16> {
        let stage = self.0.borrow();
        let (of, open) = stage.sides.iter().find(|(_, open)| open.port == port)?;
        let hears = open.hears.filter(|_| open.saying.is_none())?;
        stage.sides.get(&(of.0, of.1, hears)).map(|open| open.port)
    }

    /// When something was begun to be said to the side at that port, and how long it is.
    pub fn said_to(&self, port: u16) -> Vec<(Instant, Duration)> {
        let stage = self.0.borrow();
        stage.said.iter().filter(|(_, to, _)| *to == port).map(|(at, _, length)| (*at, *length)).collect()
    }
}

impl Booth for SimBooth {
    fn open(&mut self, call: Key, side: SideId, _stream: Stream) -> Option<u16> {
        let mut stage = self.0.borrow_mut();
        let port = stage.free.pop()?;
        stage.sides.insert((call.index, call.nonce, side), Open { call, port, hears: None, saying: None });
        Some(port)
    }

    fn order(&mut self, call: Key, order: Order) {
        let mut stage = self.0.borrow_mut();
        let Stage { now, free, sides, said, .. } = &mut *stage;
        let of = |side: SideId| (call.index, call.nonce, side);
        match order {
            Order::Close(side) => free.extend(sides.remove(&of(side)).map(|open| open.port)),
            Order::Hears(to, from) => {
                if let Some(open) = sides.get_mut(&of(to)) {
                    open.hears = Some(from);
                }
            }
            Order::HearsNobody(to) => {
                if let Some(open) = sides.get_mut(&of(to)) {
                    open.hears = None;
                }
            }
            Order::Say(side, say) => {
                if let Some(open) = sides.get_mut(&of(side)) {
                    let length = FRAME * say.prompt.frames();
                    let until = say.again.is_none().then(|| *now + length);
                    open.saying = Some((say.number, until));
                    said.push((*now, open.port, length));
                }
            }
            Order::Hush(side) => {
                if let Some(open) = sides.get_mut(&of(side)) {
                    open.saying = None;
                }
            }
            Order::Open(..) | Order::Agree(..) | Order::Watch(_) => {}
        }
    }

    fn free(&mut self, port: u16) {
        self.0.borrow_mut().free.push(port);
    }

    fn used(&self) -> usize {
        let stage = self.0.borrow();
        usize::from(stage.pairs) - stage.free.len()
    }
}
