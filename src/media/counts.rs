//! What a thread that carries audio has done since it began. It alone writes; whoever asks reads.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// Bounds in µs of how long packets were with us: from what one takes that finds an idle thread, to where a listener's
/// buffer runs dry.
const BOUNDS: [u64; 10] = [50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000];

/// Why a packet went no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dropped {
    /// It is no RTP.
    NotRtp,
    /// Somebody else than the side sent it.
    Stranger,
    /// In no format that was agreed on.
    Format,
    /// Longer than any packet of audio.
    TooLong,
    /// It came faster than we read: the kernel's buffer of that port was full.
    Overrun,
    /// The kernel's send buffer is full.
    NoRoom,
    /// Nobody listens where a packet before it went (ICMP); the kernel tells so in place of taking this one.
    Refused,
    /// The kernel did not take it for any other reason: no route, no permission.
    Unsent,
}

impl Dropped {
    pub const ALL: [Dropped; 8] = [
        Dropped::NotRtp,
        Dropped::Stranger,
        Dropped::Format,
        Dropped::TooLong,
        Dropped::Overrun,
        Dropped::NoRoom,
        Dropped::Refused,
        Dropped::Unsent,
    ];

    /// As the metric's label says it.
    pub const fn label(self) -> &'static str {
        match self {
            Dropped::NotRtp => "not_rtp",
            Dropped::Stranger => "stranger",
            Dropped::Format => "format",
            Dropped::TooLong => "too_long",
            Dropped::Overrun => "overrun",
            Dropped::NoRoom => "no_room",
            Dropped::Refused => "refused",
            Dropped::Unsent => "unsent",
        }
    }

    /// What the kernel says of a packet that it did not take.
    pub fn of(why: &std::io::Error) -> Dropped {
        use nix::libc::{EAGAIN, ECONNREFUSED, ENOBUFS, ENOMEM};
        match why.raw_os_error() {
            Some(EAGAIN | ENOBUFS | ENOMEM) => Dropped::NoRoom,
            Some(ECONNREFUSED) => Dropped::Refused,
            Some(_) | None => Dropped::Unsent,
        }
    }
}

/// What one thread has done.
#[derive(Debug, Default)]
pub struct Counts {
    /// RTP that came, whatever became of it.
    pub received: AtomicU64,
    /// Packets of one side that left for the other, and packets of our own.
    pub relayed: AtomicU64,
    pub said: AtomicU64,
    /// Calls whose audio it carries.
    pub sessions: AtomicU64,
    /// Calls whose audio a bug has ended.
    pub broken: AtomicU64,
    /// Keys that nobody was told of, because those who are told were too far behind.
    pub untold: AtomicU64,
    pub delays: Delays,
    dropped: [AtomicU64; Dropped::ALL.len()],
    /// It is no more, and nothing of it is left.
    is_dead: AtomicBool,
}

impl Counts {
    pub fn leave_out(&self, why: Dropped) {
        self.leave_out_many(why, 1);
    }

    pub fn leave_out_many(&self, why: Dropped, packets: u64) {
        add(&self.dropped[why as usize], packets);
    }

    pub fn dropped(&self, why: Dropped) -> u64 {
        self.dropped[why as usize].load(Ordering::Relaxed)
    }

    pub fn is_dead(&self) -> bool {
        self.is_dead.load(Ordering::Acquire)
    }

    pub(super) fn die(&self) {
        self.is_dead.store(true, Ordering::Release);
    }
}

/// How long packets were with us: of those that were looked at, how many for how long.
#[derive(Debug, Default)]
pub struct Delays {
    /// As [`BOUNDS`] have it, and those beyond the last.
    within: [AtomicU64; BOUNDS.len() + 1],
    micros: AtomicU64,
}

impl Delays {
    pub(super) fn count(&self, delay: Duration) {
        let micros = u64::try_from(delay.as_micros()).unwrap_or(u64::MAX);
        let at = BOUNDS.iter().position(|bound| micros <= *bound).unwrap_or(BOUNDS.len());
        count(&self.within[at]);
        add(&self.micros, micros);
    }

    /// Each bound, and how many packets were with us for so long at most; then all, and their time together.
    pub fn read(&self) -> ([(Duration, u64); BOUNDS.len()], u64, Duration) {
        let mut all = 0;
        let mut within = |at: usize| {
            all += self.within[at].load(Ordering::Relaxed);
            all
        };
        let below = std::array::from_fn(|at| (Duration::from_micros(BOUNDS[at]), within(at)));
        let all = within(BOUNDS.len());
        (below, all, Duration::from_micros(self.micros.load(Ordering::Relaxed)))
    }
}

pub(super) fn count(counter: &AtomicU64) {
    add(counter, 1);
}

pub(super) fn add(counter: &AtomicU64, more: u64) {
    // One thread alone writes it.
    counter.store(counter.load(Ordering::Relaxed) + more, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_are_counted_up_to_their_bound() {
        let delays = Delays::default();
        [10, 50, 51, 700, 60_000].into_iter().for_each(|micros| delays.count(Duration::from_micros(micros)));
        let (below, all, together) = delays.read();
        let below: Vec<(u128, u64)> =
            below.iter().map(|(bound, count)| (bound.as_micros(), *count)).collect();
        assert_eq!(below[..5], [(50, 2), (100, 3), (200, 3), (500, 3), (1_000, 4)]);
        assert_eq!((below[9], all, together), ((50_000, 4), 5, Duration::from_micros(60_811)));
    }

    #[test]
    fn each_reason_has_a_place_and_a_name_of_its_own() {
        let counts = Counts::default();
        for (times, why) in Dropped::ALL.into_iter().enumerate() {
            counts.leave_out_many(why, times as u64);
        }
        let told = Dropped::ALL.map(|why| counts.dropped(why));
        assert_eq!(told, std::array::from_fn(|at| at as u64));
        let names: std::collections::BTreeSet<_> = Dropped::ALL.map(Dropped::label).into();
        assert_eq!(names.len(), Dropped::ALL.len());
    }
}
