//! The one place that reads the clocks. Everything else is told what time it is.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::time::{Instant, Now, Wall};

/// The node's clocks. The monotonic one counts from the node's start; copies agree with each other.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: std::time::Instant,
}

/// Both clocks, read once a turn. The wall clock in µs, because datagrams are stamped by it.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    pub now: Now,
    wall_micros: u64,
}

impl Clock {
    pub fn start() -> Clock {
        Clock { origin: std::time::Instant::now() }
    }

    pub fn read(&self) -> Reading {
        let mono = u64::try_from(self.origin.elapsed().as_micros()).unwrap_or(u64::MAX);
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let wall_micros = u64::try_from(wall.as_micros()).unwrap_or(u64::MAX);
        Reading {
            now: Now { mono: Instant::from_micros(mono), wall: Wall(wall_micros / 1_000) },
            wall_micros,
        }
    }

    /// A point of the runtime's clock on this one.
    pub fn at(&self, time: std::time::Instant) -> Instant {
        let micros = time.saturating_duration_since(self.origin).as_micros();
        Instant::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
    }

    /// The same point on the runtime's clock.
    pub fn runtime_time(&self, at: Instant) -> tokio::time::Instant {
        tokio::time::Instant::from_std(self.origin + Duration::from_micros(at.as_micros()))
    }
}

impl Reading {
    /// Wall time in µs since 1970, so long ago.
    pub fn wall_micros(&self, ago: Duration) -> u64 {
        self.wall_micros.saturating_sub(u64::try_from(ago.as_micros()).unwrap_or(u64::MAX))
    }

    /// How long ago `stamp` was (µs of wall time since 1970; 0: unknown, taken as just now).
    pub fn age(&self, stamp: u64) -> Duration {
        if stamp == 0 {
            Duration::ZERO
        } else {
            Duration::from_micros(self.wall_micros.saturating_sub(stamp))
        }
    }

    /// The point on the monotonic clock that lies `age` before this reading.
    pub fn before(&self, age: Duration) -> Instant {
        let micros = u64::try_from(age.as_micros()).unwrap_or(u64::MAX);
        Instant::from_micros(self.now.mono.as_micros().saturating_sub(micros))
    }
}
