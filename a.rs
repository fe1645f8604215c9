// Whether new calls are taken, by how long messages lie in the shard's queues.

// What waits is taken in the order of its arrival, so the only way to keep answers, ACK and BYE from waiting is a
// short queue; and the only thing that may be sent away is a new INVITE. Under load a share of them is refused,
// the share that keeps the queue's age near [`AIM`]: raised step by step while messages lie longer, lowered
// slowly while they do not (a loss-based control, RFC 7339 §5.1, on ourselves). A pause of the machine's leaves
// a backlog too, but one that is gone at once: nobody is refused for it.

use std::time::Duration;

mod t { use std::time::Duration; #[derive(Clone,Copy,Debug,PartialEq,Eq,PartialOrd,Ord,Default)] pub struct Instant(u64); impl Instant { pub const ZERO: Instant = Instant(0); pub fn from_micros(x:u64)->Self{Instant(x)} pub fn as_micros(self)->u64{self.0} pub fn since(self,o:Instant)->Duration{Duration::from_micros(self.0.saturating_sub(o.0))} } }
use t::Instant;

/// How long messages may lie in our queues under load. Some twenty turns of 64 datagrams: shorter, and a turn that
/// is a little longer counts as overload; longer, and a receive buffer of 8 MB (0.1 s at 100,000 messages/s)
/// is full before it shows.
pub const AIM: Duration = Duration::from_millis(20);

/// A backlog that is worked off within this is no overload: the machine paused, or a burst came.
pub const PATIENCE: Duration = Duration::from_millis(100);

/// Messages that lie so long: no new call at all, the share is for the small corrections.
const LATE: Duration = Duration::from_millis(60);

/// How often the share changes.
const STEP: Duration = Duration::from_millis(10);

/// The whole, in which shares are counted.
const WHOLE: u32 = 10_000;

/// Up by so much in a step in which messages lay too long: about as fast as down, so that the queue neither grows
/// nor runs dry.
const UP: u32 = 100;

/// Up by so much in a step in which they lay far too long, and at the beginning: from none to half in 0.1 s.
const UP_LATE: u32 = 500;

/// Up by so much in a step in which the kernel dropped messages.
const UP_LOST: u32 = 2_000;

/// Down by this part of itself, and by a little that it ends at all: from half to a twentieth in 1.4 s, to none in 2 s.
const DOWN_PART: u32 = 64;
const DOWN: u32 = 10;

/// The gate for new calls of one shard.
#[derive(Debug, Default)]
pub struct Admission {
    /// Refused of [`WHOLE`] new calls.
    share: u32,
    /// What is left over of the share from the calls before: it refuses evenly, and by no dice.
    rest: u32,
    /// Since when messages lie too long without a break.
    behind: Option<Instant>,
    /// They lie too long for any new call.
    late: bool,
    /// The step that the share was last changed in.
    step: u64,
    /// By how much the worst of this step raises the share.
    up: u32,
}

impl Admission {
    /// The queue's age as this turn found it (zero: it is empty), and what the kernel dropped since the last.
    pub fn observe(&mut self, now: Instant, age: Duration, lost: u64) {
        self.pass(now);
        let since = if age > AIM { Some(*self.behind.get_or_insert(now)) } else { None };
        self.behind = since;
        let lasting = since.is_some_and(|since| self.share > 0 || now.since(since) >= PATIENCE);
        self.late = age > LATE && lasting;
        let up = match (lost > 0, lasting) {
            (true, _) => UP_LOST,
            (false, true) if self.late || self.share == 0 => UP_LATE,
            (false, true) => UP,
            (false, false) => 0,
        };
        // The first step is not waited for.
        if self.share == 0 {
            self.share = up;
        } else {
            self.up = self.up.max(up);
        }
    }

    /// Whether a new call is taken.
    pub fn admits(&mut self, now: Instant) -> bool {
        self.pass(now);
        if self.late {
            return false;
        }
        self.rest += self.share;
        let refused = self.rest >= WHOLE;
        if refused {
            self.rest -= WHOLE;
        }
        !refused
    }

    /// Changes the share for the steps that are over.
    fn pass(&mut self, now: Instant) {
        let step = now.as_micros() / STEP.as_micros() as u64;
        let passed = step.saturating_sub(self.step);
        if passed == 0 {
            return;
        }
        self.step = step;
        let up = std::mem::take(&mut self.up);
        self.share = (self.share + up).min(WHOLE);
        for _ in u64::from(up > 0)..passed {
            if self.share == 0 {
                break;
            }
            self.share = self.share.saturating_sub(self.share / DOWN_PART + DOWN);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
                for (_, is_call) in self.queue.drain(..TURN.min(self.queue.len())) {
                    self.now += match is_call {
                        false => REST,
                        true if self.gate.admits(now) => {
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
                if self.queue.len() < self.room {
                    self.queue.push_back((at, is_call));
                } else {
                    lost += 1;
                }
            }
        }
    }

    /// Calls/s that one processor can carry beside so many refusals.
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
            println!("X {later} {share} {} {}", told.oldest, told.lost);
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
            println!("{rate} {later} {share} {} {}", told.oldest, told.lost);
            assert!(share >= 80, "{rate}/s, later {later}: {share} %");
            assert!(told.lost * 100 <= rate * 20, "{rate}/s, later {later}: {} lost", told.lost);
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
        }
    }

    #[test]
    fn r14_a_share_is_refused_evenly_and_no_dice_are_cast() {
        let mut gate = Admission { share: WHOLE / 4, ..Admission::default() };
        let taken: Vec<bool> = (0..8).map(|_| gate.admits(Instant::ZERO)).collect();
        assert_eq!(taken, [true, true, true, false, true, true, true, false]);
    }

    #[test]
    fn r14_what_lies_far_too_long_lets_no_new_call_in() {
        let mut gate = Admission::default();
        let at = |ms: u64| Instant::from_micros(ms * 1_000);
        gate.observe(at(0), LATE * 2, 0);
        assert!(gate.admits(at(0)), "a burst or a pause, as far as one can know");
        gate.observe(at(100), LATE * 2, 0);
        assert!((0..10).all(|_| !gate.admits(at(100))));
        gate.observe(at(101), Duration::ZERO, 0);
        assert!(gate.admits(at(101)));
    }
}
