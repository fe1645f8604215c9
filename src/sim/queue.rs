//! What will happen, by time and, within one moment, in the order in which it was decided.

use std::collections::BTreeMap;

use crate::time::Instant;

#[derive(Debug)]
pub struct Queue<T> {
    waiting: BTreeMap<(Instant, u64), T>,
    sequence: u64,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Queue { waiting: BTreeMap::new(), sequence: 0 }
    }
}

impl<T> Queue<T> {
    pub fn push(&mut self, at: Instant, what: T) {
        self.sequence += 1;
        self.waiting.insert((at, self.sequence), what);
    }

    /// When the next is due.
    pub fn next_at(&self) -> Option<Instant> {
        self.waiting.first_key_value().map(|((at, _), _)| *at)
    }

    /// When the last is due.
    pub fn last_at(&self) -> Option<Instant> {
        self.waiting.last_key_value().map(|((at, _), _)| *at)
    }

    /// The next that is due at `now`, if one is.
    pub fn pop_due(&mut self, now: Instant) -> Option<(Instant, T)> {
        let entry = self.waiting.first_entry()?;
        if entry.key().0 > now {
            return None;
        }
        let ((at, _), what) = entry.remove_entry();
        Some((at, what))
    }

    /// All that are due at `now` and alike, in order; the others stay.
    pub fn take_due(&mut self, now: Instant, alike: impl Fn(&T) -> bool) -> Vec<T> {
        let due = self.waiting.iter().take_while(|((at, _), _)| *at <= now);
        let keys: Vec<(Instant, u64)> = due.filter(|(_, what)| alike(what)).map(|(key, _)| *key).collect();
        keys.iter().filter_map(|key| self.waiting.remove(key)).collect()
    }

    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}
