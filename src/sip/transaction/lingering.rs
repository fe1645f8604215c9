//! What only lingers: answered, and there for repetitions alone. It makes room when it is crowded.

use std::collections::VecDeque;
use std::time::Duration;

use super::{Id, Timer, Timers};
use crate::time::Instant;

/// A room is counted in so many parts.
const PARTS: u64 = 8;

/// With so many parts taken everything still lingers for 64·T1: of a million transactions that is 1,900 calls/s
/// without a pause.
const FREE: u64 = 1;

/// With so many parts taken it lingers for T4 + T2 and no longer. New calls are refused from six parts on.
const CROWDED: u64 = 4;

/// Nothing depends on the moment at which a transaction is forgotten: one that is due waits for the next whole
/// second, so that an idle shard is woken for all of a second at once.
const GRAIN: Duration = Duration::from_secs(1);

/// But no more than so many wait: less than a millisecond's work, and nothing beside the bounds.
const BATCH: usize = 256;

/// How much of a room is taken. Nothing taken of no room is not crowded.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Filling {
    pub taken: usize,
    pub room: usize,
}

impl Filling {
    /// Whether everything still lingers for 64·T1: the usual case, told without more ado.
    pub fn is_free(self) -> bool {
        self.taken as u64 * PARTS <= self.room as u64 * FREE
    }

    /// How long a transaction lingers: 64·T1 in a free room, T4 + T2 in a crowded one, and evenly less in between.
    ///
    /// T4 is how long a message may stay in the network (RFC 3261 §17.1.1.2), so what was on its way still finds
    /// its transaction; with T2, the longest pause between repetitions, two answers in a row may be lost.
    pub fn linger(self, timers: &Timers) -> Duration {
        let longest = timers.patience();
        let shortest = (timers.t4 + timers.t2).min(longest);
        let (taken, room) = (self.taken as u64, self.room as u64);
        let (taken, free, crowded) = (taken * PARTS, room * FREE, room * CROWDED);
        if taken <= free {
            return longest;
        }
        if taken >= crowded {
            return shortest;
        }
        let spread = (longest - shortest).as_micros() as u64;
        longest - Duration::from_micros(spread * (taken - free) / (crowded - free))
    }
}

/// Transactions that only linger, as they came: all linger equally long, so they are forgotten in that order, and
/// a row does where others need the wheel.
///
/// One that ends before keeps its 24 bytes here until it is the first; there are no more than came in 64·T1.
#[derive(Debug, Default)]
pub(super) struct Lingering {
    row: VecDeque<(Instant, Id, Timer)>,
}

impl Lingering {
    pub fn enter(&mut self, now: Instant, id: Id, timer: Timer) {
        self.row.push_back((now, id, timer));
    }

    /// Takes out the first if it has lingered so long.
    pub fn pop_due(&mut self, now: Instant, linger: Duration) -> Option<(Id, Timer)> {
        let (_, id, timer) = self.row.pop_front_if(|(since, ..)| *since + linger <= now)?;
        Some((id, timer))
    }

    /// When there is something to take out, if they linger so long: at the next whole second, or once there is
    /// a whole batch.
    pub fn next_deadline(&self, linger: Duration) -> Option<Instant> {
        let (first, ..) = self.row.front()?;
        let first = whole_second(*first + linger);
        Some(match self.row.get(BATCH - 1) {
            Some((last, ..)) => first.min(*last + linger),
            None => first,
        })
    }
}

/// The first whole second at or after a moment.
fn whole_second(at: Instant) -> Instant {
    let grain = GRAIN.as_micros() as u64;
    Instant::from_micros(at.as_micros().div_ceil(grain).saturating_mul(grain))
}
