//! Whether new calls are taken, by how long messages lie in the shard's queues.
//!
//! The queues are the sockets' of UDP, and the rings of messages from streams and from other shards.
//! What waits is taken in the order of its arrival, so the only way to keep answers, ACK and BYE from waiting is a
//! short queue; and the only thing that may be sent away is a new INVITE. Under load only a share of them is taken,
//! the share that keeps the queue's age at [`AIM`]: it follows how far the age is from there and how fast it grows
//! (the law of PIE, RFC 8033 §4.2; a loss-based control, RFC 7339 §5.1, on ourselves). The age of 20 ms is the least
//! that was seen in them: what stands, not what a burst brings. A pause of the machine's leaves a backlog too, but
//! one that is gone at once: nobody is refused for it.

use std::time::Duration;

use super::shedding::Shedding;
use crate::time::Instant;
use crate::transport::shed::{Droppable, Share};

/// How long messages lie in our queues under load. A few turns of 64 datagrams: shorter, and the processor would
/// have nothing to do in between; longer, and a receive buffer of 8 MB (0.1 s at 100,000 messages/s) is full before
/// it shows.
const AIM: Duration = Duration::from_millis(15);

/// A backlog that is worked off within this is no overload: the machine paused, or a burst came. While everything is
/// taken, no look after the one before counts for more than a [`WINDOW`]: a pause in the midst of it is no overload
/// either, however long.
const PATIENCE: Duration = Duration::from_millis(100);

/// Messages that lie so long: no new call at all, the share is for the small corrections.
const LATE: Duration = Duration::from_millis(100);

/// How often the share changes.
const WINDOW: Duration = Duration::from_millis(20);

/// By which part of itself it falls for each ms that the queue is older than [`AIM`], and for each by which it has
/// grown older since the last window; and by which it rises for each ms less.
const BY_DISTANCE: f64 = 0.0016;
const BY_GROWTH: f64 = 0.02;

/// It rises by no more than this in a window: from a tenth to all in 1.2 s. So much too, once the queue has been
/// empty for so many of them: how far from full it is, an empty queue does not say.
const RISE: f64 = 0.04;
const EMPTY: u32 = 5;

/// It falls by no more than this in a window, and by this much where the kernel dropped messages.
const FALL: f64 = 0.4;
const FALL_LOST: f64 = 0.2;

/// The share at the beginning of an overload.
const FIRST: f64 = 0.9;

/// The least, from which it comes back to all in 3 s. What the queue does with none taken says nothing of what it would
/// do with some.
const LEAST: f64 = 0.004;

/// The last part of a bound: there new calls are refused the more the fuller it is, so that a bound which is
/// reached at one blow does not stop them all until the first of those calls is forgotten.
const LAST_PART: usize = 10;

/// The gate for new calls of one shard.
#[derive(Debug)]
pub(super) struct Admission {
    /// What is taken of the new calls that are read, above 0 to 1; the others are refused.
    share: f64,
    /// What is left over of the share from the calls before: it refuses evenly, and by no dice.
    rest: f64,
    /// Messages lie longer than they should, without a break.
    behind: Option<Behind>,
    /// They lie too long for any new call.
    late: bool,
    /// When this window began, and the queue's least age in it.
    window: Instant,
    age: Option<Duration>,
    /// The kernel dropped messages in it.
    lost: bool,
    /// The queue's age in the window before.
    before: Duration,
    /// For how many windows it has been empty.
    empty: u32,
    /// What is dropped unread where refusals alone are too much work.
    shedding: Shedding,
}

/// How long messages have lain longer than they should.
#[derive(Debug, Clone, Copy)]
struct Behind {
    since: Instant,
    /// The last look, and how much of the time until then was seen.
    looked: Instant,
    seen: Duration,
}

impl Behind {
    fn seen(before: Option<Behind>, now: Instant) -> Behind {
        let before = before.unwrap_or(Behind { since: now, looked: now, seen: Duration::ZERO });
        let seen = before.seen + now.since(before.looked).min(WINDOW);
        Behind { looked: now, seen, ..before }
    }

    /// Where calls are refused already, pauses are what there is too little time for.
    fn lasts(&self, takes_everything: bool) -> Duration {
        if takes_everything { self.seen } else { self.looked.since(self.since) }
    }
}

impl Default for Admission {
    /// Everything is taken.
    fn default() -> Self {
        Admission {
            share: 1.0,
            rest: 0.0,
            behind: None,
            late: false,
            window: Instant::ZERO,
            age: None,
            lost: false,
            before: Duration::ZERO,
            empty: 0,
            shedding: Shedding::default(),
        }
    }
}

impl Admission {
    /// The queue's age as this turn found it (zero: it is empty), and what the kernel dropped since the last.
    pub fn observe(&mut self, now: Instant, age: Duration, lost: u64) {
        self.behind = (age > AIM).then(|| Behind::seen(self.behind, now));
        let lasting = self.behind.is_some_and(|behind| behind.lasts(self.takes_everything()) >= PATIENCE);
        self.late = age > LATE && lasting;
        if self.takes_everything() {
            if lasting || lost > 0 {
                self.share = FIRST;
            }
            (self.window, self.before, self.empty) = (now, age, 0);
            return;
        }
        self.age = Some(self.age.map_or(age, |least| least.min(age)));
        self.lost |= lost > 0;
        self.pass(now, age);
    }

    /// Whether a new call is taken, where `held` of at most `bound` have their state here.
    pub fn admits(&mut self, now: Instant, held: usize, bound: usize) -> bool {
        self.pass(now, Duration::ZERO);
        self.shedding.count();
        if self.late {
            return false;
        }
        self.rest += (1.0 - self.share).max(crowding(held, bound));
        let refused = self.rest >= 1.0;
        if refused {
            self.rest -= 1.0;
        }
        !refused
    }

    /// How many of 256 new INVITEs are to be dropped unread from now on. As many are taken as before.
    pub fn shed(&mut self, now: Instant, droppable: Droppable) -> Share {
        self.pass(now, Duration::ZERO);
        let grows = self.shedding.settle(now, self.share, droppable);
        self.share = (self.share / grows).clamp(LEAST, 1.0);
        self.shedding.share()
    }

    /// A request within a dialog came that looks like a new call.
    pub fn spare(&mut self, now: Instant) {
        self.shedding.spare(now);
    }

    /// When that changes, if nothing comes until then.
    pub fn deadline(&self) -> Option<Instant> {
        self.shedding.deadline()
    }

    /// No new call is refused or dropped for what waits.
    fn takes_everything(&self) -> bool {
        self.share >= 1.0 && self.shedding.share() == 0
    }

    /// Changes the share for the windows that are over. `age`: what now waits has waited so long.
    fn pass(&mut self, now: Instant, age: Duration) {
        let passed = now.since(self.window).as_micros() / WINDOW.as_micros();
        if self.takes_everything() || passed == 0 {
            return;
        }
        self.window = now;
        let least = self.age.take().unwrap_or_default();
        self.empty = if least.is_zero() { self.empty + 1 } else { 0 };
        let (aim, least_ms, before) = (millis(AIM), millis(least), millis(self.before));
        let law = BY_DISTANCE * (aim - least_ms) + BY_GROWTH * (before - least_ms);
        let change = match std::mem::take(&mut self.lost) {
            true => -FALL_LOST,
            false if self.empty > EMPTY => RISE,
            false => law.clamp(-FALL, RISE),
        };
        self.before = least;
        // Windows in which nobody looked were silent ones, unless it was we who paused.
        let silent = if age > WINDOW { 0 } else { i32::try_from(passed - 1).unwrap_or(i32::MAX) };
        let risen = (self.share * (1.0 + change)).max(LEAST) * (1.0 + RISE).powi(silent);
        self.share = risen.min(1.0);
    }
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// The share that is refused because a bound is near, 0 to 1.
fn crowding(held: usize, bound: usize) -> f64 {
    let last = bound / LAST_PART;
    let over = held.saturating_sub(bound - last).min(last);
    over as f64 / last.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::shed;
    use std::collections::VecDeque;

    /// What an INVITE costs at its coming when it is taken, what the rest of its call costs, and what a refusal
    /// does, in µs: about what is measured.
    const TAKEN: u64 = 40;
    const REST: u64 = 60;
    const REFUSED: u64 = 8;

    /// Datagrams that a turn takes.
    const TURN: usize = 64;

    /// A shard before the gate: a queue as the kernel keeps it, and a processor that works off its turns.
    struct Shard {
        gate: Admission,
        now: u64,
        /// When each message came, and whether it is a new call.
        queue: VecDeque<(u64, bool)>,
        /// When the rest of each call will come.
        coming: VecDeque<u64>,
        room: usize,
        next_call: u64,
        lost: u64,
        /// Of 256 new calls so many are dropped before they come to the queue, and what is left over of that.
        share: Share,
        rest: u32,
        /// Whether its new calls can be dropped at all, and how many came that could have been.
        is_droppable: bool,
        came: u32,
    }

    /// What became of the calls of a while.
    #[derive(Default)]
    struct Told {
        taken: u64,
        refused: u64,
        lost: u64,
        oldest: u64,
    }

    impl Shard {
        fn new(room: usize) -> Shard {
            Shard {
                gate: Admission::default(),
                now: 0,
                queue: VecDeque::new(),
                coming: VecDeque::new(),
                room,
                next_call: 0,
                lost: 0,
                share: 0,
                rest: 0,
                is_droppable: true,
                came: 0,
            }
        }

        /// Offers `rate` calls/s for so many ms; the rest of a call comes `later` ms after its INVITE was taken.
        fn offered(&mut self, rate: u64, millis: u64, later: u64) -> Told {
            let end = self.now + millis * 1_000;
            let mut told = Told::default();
            self.next_call = self.next_call.max(self.now);
            while self.now < end {
                let lost = self.arrive(1_000_000 / rate);
                told.lost += lost;
                let waits = self.queue.get(TURN).map_or(0, |(at, _)| self.now - at);
                told.oldest = told.oldest.max(waits);
                let now = Instant::from_micros(self.now);
                self.gate.observe(now, Duration::from_micros(waits), lost);
                let may = self.room >= 7_000;
                self.share = self.gate.shed(now, Droppable { may, came: std::mem::take(&mut self.came) });
                for (_, is_call) in self.queue.drain(..TURN.min(self.queue.len())) {
                    self.came += u32::from(is_call && self.is_droppable);
                    self.now += match is_call {
                        false => REST,
                        true if self.gate.admits(now, 0, 1) => {
                            told.taken += 1;
                            self.coming.push_back(self.now + later * 1_000);
                            TAKEN
                        }
                        true => {
                            told.refused += 1;
                            REFUSED
                        }
                    };
                }
                if self.queue.is_empty() {
                    let next = self.coming.front().copied().unwrap_or(u64::MAX).min(self.next_call);
                    self.now = self.now.max(next.min(end));
                }
            }
            told
        }

        /// What has come until now; how much of it found no room.
        fn arrive(&mut self, pause: u64) -> u64 {
            let mut lost = 0;
            loop {
                let rest = self.coming.front().copied().unwrap_or(u64::MAX);
                let at = rest.min(self.next_call);
                if at > self.now {
                    self.lost += lost;
                    return lost;
                }
                let is_call = rest > self.next_call;
                if is_call {
                    self.next_call += pause;
                } else {
                    self.coming.pop_front();
                }
                if is_call && self.is_droppable && self.is_shed() {
                    continue;
                }
                if self.queue.len() < self.room {
                    self.queue.push_back((at, is_call));
                } else {
                    lost += 1;
                }
            }
        }
    }

    impl Shard {
        fn is_shed(&mut self) -> bool {
            self.rest += u32::from(self.share);
            let is_shed = self.rest >= u32::from(shed::WHOLE);
            self.rest %= u32::from(shed::WHOLE);
            is_shed
        }
    }

    /// Calls/s that one processor can carry, and beside the refusal of all others of so many.
    const CAPACITY: u64 = 1_000_000 / (TAKEN + REST);
    fn capacity(offered: u64) -> u64 {
        (1_000_000 - offered * REFUSED) / (TAKEN + REST - REFUSED)
    }

    #[test]
    fn r14_at_twice_the_load_as_many_calls_are_taken_as_can_be_carried_and_none_waits_long() {
        for later in [0, 1, 20] {
            let mut shard = Shard::new(7_000);
            assert_eq!(shard.offered(5_000, 2_000, later).refused, 0);
            let onset = shard.offered(20_000, 1_000, later);
            assert_eq!(onset.lost, 0, "later {later}");
            let told = shard.offered(20_000, 10_000, later);
            let share = told.taken * 100 / (capacity(20_000) * 10);
            assert!(share >= 95, "later {later}: {share} % of what can be carried");
            assert!(told.oldest < 100_000 && told.lost == 0, "later {later}: {} µs", told.oldest);
        }
    }

    #[test]
    fn r14_four_times_the_load_and_answers_that_come_late_lose_nothing_for_long() {
        for (rate, later) in [(40_000, 1), (40_000, 50), (20_000, 200)] {
            let mut shard = Shard::new(7_000);
            shard.offered(rate, 3_000, later);
            let told = shard.offered(rate, 20_000, later);
            let share = told.taken * 100 / (capacity(rate) * 20);
            assert!(share >= 80, "{rate}/s, later {later}: {share} %");
            assert!(told.lost * 100 <= rate * 20, "{rate}/s, later {later}: {} lost", told.lost);
        }
    }

    #[test]
    fn r14_many_times_the_load_costs_a_fifteenth_of_what_can_be_carried_at_most() {
        for (times, later) in [(3, 1), (5, 1), (5, 50), (20, 1), (50, 20)] {
            let mut shard = Shard::new(7_000);
            shard.offered(5_000, 1_000, later);
            shard.offered(CAPACITY * times, 3_000, later);
            let told = shard.offered(CAPACITY * times, 20_000, later);
            let share = told.taken * 100 / (CAPACITY * 20);
            assert!(share >= 93, "{times} times, later {later}: {share} %");
            assert_eq!(told.lost, 0, "{times} times, later {later}");
            shard.offered(200, 2_500, later);
            assert_eq!((shard.offered(200, 2_000, later).refused, shard.share), (0, 0));
        }
    }

    #[test]
    fn r14_what_cannot_be_dropped_is_refused_and_the_queue_is_no_longer_for_it() {
        for (times, later) in [(3, 1), (5, 1), (5, 50), (8, 20)] {
            let mut shard = Shard::new(7_000);
            shard.is_droppable = false;
            shard.offered(5_000, 1_000, later);
            shard.offered(CAPACITY * times, 3_000, later);
            let told = shard.offered(CAPACITY * times, 20_000, later);
            let share = told.taken * 100 / (capacity(CAPACITY * times) * 20);
            assert!(share >= 90, "{times} times, later {later}: {share} %");
            assert!(
                told.oldest < 30_000 && told.lost == 0,
                "{times} times, later {later}: {} µs",
                told.oldest
            );
            assert_eq!(shard.share, 0);
        }
    }

    #[test]
    fn r14_where_the_receive_buffer_is_small_its_losses_say_that_it_is_too_much() {
        let mut shard = Shard::new(184);
        shard.offered(20_000, 1_000, 1);
        let told = shard.offered(20_000, 10_000, 1);
        let share = told.taken * 100 / (capacity(20_000) * 10);
        assert!(share >= 80, "{share} %");
        assert!(told.lost * 100 <= 200_000 * 2, "{} lost", told.lost);
    }

    #[test]
    fn r14_within_five_seconds_everything_is_taken_again() {
        let mut shard = Shard::new(7_000);
        shard.offered(20_000, 10_000, 1);
        shard.offered(200, 2_500, 1);
        assert_eq!(shard.offered(200, 2_000, 1).refused, 0);
    }

    #[test]
    fn r14_a_pause_of_the_machine_refuses_nobody() {
        for pause in [50_000, 200_000, 700_000] {
            let mut shard = Shard::new(7_000);
            shard.offered(1_000, 1_000, 1);
            shard.now += pause;
            let told = shard.offered(1_000, 3_000, 1);
            assert_eq!((told.refused, told.lost), (0, 0), "{pause} µs");
            // Twice in a row, the second time while the first is being worked off.
            shard.now += pause;
            shard.arrive(1_000);
            let waits = shard.queue.get(TURN).map_or(0, |(at, _)| shard.now - at);
            assert!(Duration::from_micros(waits) > AIM || pause < 100_000, "{waits} µs");
            shard.gate.observe(Instant::from_micros(shard.now), Duration::from_micros(waits), 0);
            shard.now += pause;
            let told = shard.offered(1_000, 3_000, 1);
            assert_eq!((told.refused, told.lost), (0, 0), "{pause} µs, twice");
        }
    }

    #[test]
    fn r14_a_share_is_refused_evenly_and_no_dice_are_cast() {
        let mut gate = Admission { share: 0.75, ..Admission::default() };
        let taken: Vec<bool> = (0..8).map(|_| gate.admits(Instant::ZERO, 0, 1)).collect();
        assert_eq!(taken, [true, true, true, false, true, true, true, false]);
    }

    #[test]
    fn r14_near_a_bound_calls_are_refused_the_more_the_fuller_it_is() {
        let mut gate = Admission::default();
        let mut refused = |held| (0..100).filter(|_| !gate.admits(Instant::ZERO, held, 1_000)).count();
        assert_eq!([0, 900, 925, 950, 975].map(&mut refused), [0, 0, 25, 50, 75]);
        assert_eq!((crowding(0, 1), crowding(2, 3)), (0.0, 0.0), "a tiny bound has no last part");
    }

    #[test]
    fn r14_what_lies_far_too_long_lets_no_new_call_in() {
        let mut gate = Admission::default();
        let at = |ms: u64| Instant::from_micros(ms * 1_000);
        for ms in [0, 20, 40, 60, 80] {
            gate.observe(at(ms), LATE * 2, 0);
            assert!(gate.admits(at(ms), 0, 1), "a burst or a pause, as far as one can know");
        }
        gate.observe(at(100), LATE * 2, 0);
        assert!((0..10).all(|_| !gate.admits(at(100), 0, 1)));
        gate.observe(at(101), Duration::ZERO, 0);
        assert!(gate.admits(at(101), 0, 1));
    }
}
