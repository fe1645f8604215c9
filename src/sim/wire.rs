//! A bad network. It loses, repeats, delays and reorders datagrams and cuts ends off; which of these exist at
//! all, and how strong they are, is drawn once per world.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use super::dice::Dice;
use crate::time::Instant;

/// Where a datagram goes, seen from the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// To the server.
    In,
    /// From the server.
    Out,
}

/// How bad it is. All zero: a wire that only takes its time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Of a thousand datagrams, so many never arrive.
    pub loss: u64,
    /// So many arrive twice.
    pub duplication: u64,
    /// So many come late, by up to `lateness`, and so behind others.
    pub reordering: u64,
    pub lateness: Duration,
}

/// No datagram is later than this: a transaction forgets within T4 = 5 s (RFC 3261 §17.1.2.2).
const LATEST: Duration = Duration::from_millis(3_900);

/// The fate of the next datagram on one way of one end, decided by a story.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Lost,
    Twice,
    Late(Duration),
}

/// A fate that waits for its datagram.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Doom {
    way: Way,
    end: IpAddr,
    /// Only for a message of this label, as ladders show it.
    label: Option<String>,
    fate: Fate,
}

/// The wire between the server and every end.
#[derive(Debug)]
pub struct Wire {
    dice: Dice,
    pub faults: Faults,
    /// How long a datagram takes, at least and at most, where no fault strikes.
    pub latency: (Duration, Duration),
    cut: BTreeMap<IpAddr, Instant>,
    /// Fates of coming datagrams, the first first.
    fates: Vec<Doom>,
    /// How many datagrams were put on the wire.
    carried: usize,
    /// The one among them, counted from 0, that is lost whatever else.
    doomed: Option<usize>,
}

impl Wire {
    pub fn new(dice: Dice) -> Wire {
        let latency = (Duration::from_millis(5), Duration::from_millis(5));
        Wire {
            dice,
            faults: Faults::default(),
            latency,
            cut: BTreeMap::new(),
            fates: Vec::new(),
            carried: 0,
            doomed: None,
        }
    }

    /// Draws which faults exist in this world, and how strong each is.
    pub fn draw(&mut self, dice: &mut Dice) {
        let strength = |dice: &mut Dice, most: u64| match dice.chance(500) {
            true => dice.within(1..most),
            false => 0,
        };
        self.faults = Faults {
            loss: strength(dice, 300),
            duplication: strength(dice, 200),
            reordering: strength(dice, 300),
            lateness: Duration::from_millis(dice.within(1..3_500)),
        };
        let least = dice.within(0..40);
        self.latency = (Duration::from_millis(least), Duration::from_millis(least + dice.below(60)));
    }

    /// From now on everything arrives, once and in time.
    pub fn heal(&mut self) {
        self.faults = Faults::default();
        self.cut.clear();
        self.fates.clear();
    }

    /// Nothing passes to or from this end until then.
    pub fn cut(&mut self, end: IpAddr, until: Instant) {
        self.cut.insert(end, until);
    }

    pub fn next_one(&mut self, way: Way, end: IpAddr, fate: Fate) {
        self.fates.push(Doom { way, end, label: None, fate });
    }

    /// The fate of the next message of that label: `ACK`, `200`, `200 (BYE)`.
    pub fn next_labelled(&mut self, way: Way, end: IpAddr, label: &str, fate: Fate) {
        self.fates.push(Doom { way, end, label: Some(label.to_owned()), fate });
    }

    /// Whether a fate waits, so that the label of what is sent matters.
    pub fn wants_labels(&self) -> bool {
        !self.fates.is_empty()
    }

    /// The datagram of that number is lost.
    pub fn lose_number(&mut self, number: Option<usize>) {
        self.doomed = number;
    }

    /// How many datagrams were put on the wire so far.
    pub fn carried(&self) -> usize {
        self.carried
    }

    /// When the copies of a datagram sent at `now` arrive: none, one or two.
    pub fn carry(&mut self, now: Instant, way: Way, end: IpAddr, label: Option<&str>) -> Vec<Instant> {
        let usual = now + self.usual();
        self.carried += 1;
        if self.doomed == Some(self.carried - 1) {
            return Vec::new();
        }
        let met = |doom: &Doom| {
            (doom.way, doom.end) == (way, end) && (doom.label.is_none() || doom.label.as_deref() == label)
        };
        if let Some(at) = self.fates.iter().position(met) {
            return match self.fates.remove(at).fate {
                Fate::Lost => Vec::new(),
                Fate::Twice => vec![usual, now + self.usual()],
                Fate::Late(by) => vec![usual + by.min(LATEST)],
            };
        }
        if self.cut.get(&end).is_some_and(|until| *until > now) || self.dice.chance(self.faults.loss) {
            return Vec::new();
        }
        let copies = if self.dice.chance(self.faults.duplication) { 2 } else { 1 };
        (0..copies).map(|_| now + self.usual() + self.lateness()).collect()
    }

    fn usual(&mut self) -> Duration {
        let (least, most) = self.latency;
        self.dice.millis(least.as_millis() as u64..most.as_millis() as u64 + 1)
    }

    fn lateness(&mut self) -> Duration {
        match self.dice.chance(self.faults.reordering) {
            true => self.dice.millis(0..self.faults.lateness.min(LATEST).as_millis() as u64 + 1),
            false => Duration::ZERO,
        }
    }
}
