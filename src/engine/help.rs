//! Who has just called for help, so that a call back to them rings plainly (R13).

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use dashmap::DashMap;

use crate::number::E164;
use crate::routing::{Agent, Text};
use crate::time::Instant;

/// How long after a call to an emergency number a call back is told apart (R13), counted from that call's end.
const REMEMBERED: Duration = Duration::from_secs(30 * 60);

/// With so many numbers those that are forgotten are cleared out. There are never more than agents with a number.
const MANY: usize = 1024;

/// The numbers that calls for help have shown, with who made them. A call that is none back costs one load, unless
/// somebody has called for help in the last half hour.
#[derive(Debug, Default)]
pub struct Help {
    /// When the last of all is forgotten, in µs; 0: nobody has called.
    until: AtomicU64,
    by_number: DashMap<u64, (Text, Instant)>,
}

impl Help {
    /// An agent calls for help, or has ended such a call, and shows its number.
    pub fn called(&self, by: &Agent, now: Instant) {
        let Some(number) = by.number else { return };
        let until = now + REMEMBERED;
        if self.by_number.len() >= MANY {
            self.by_number.retain(|_, (_, until)| *until > now);
        }
        self.by_number.insert(number.to_bits(), (by.name.clone(), until));
        self.until.fetch_max(until.as_micros(), Ordering::Release);
    }

    /// Whether anybody may be called back yet.
    pub fn is_remembered(&self, now: Instant) -> bool {
        self.until.load(Ordering::Acquire) > now.as_micros()
    }

    /// Who has called for help and shown this number.
    pub fn caller(&self, number: E164, now: Instant) -> Option<Text> {
        if !self.is_remembered(now) {
            return None;
        }
        let called = self.by_number.get(&number.to_bits())?;
        let (agent, until) = &*called;
        (*until > now).then(|| agent.clone())
    }
}
