//! Room on the way to disk, taken at a call's admission (R12).

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// How many calls may be between their admission and their durable record. Every call holds one slot, those in
/// progress too, so no queue behind can overflow; the records of 262,144 that all end while the disk fails take some
/// 300 MB.
pub const CAPACITY: u32 = 1 << 18;

/// The slots of one node. All shards take from it, the disk thread gives back.
#[derive(Debug)]
pub struct Slots {
    taken: AtomicU32,
    capacity: u32,
    /// The backlog of records in memory has reached its bound: nothing more is admitted.
    clogged: AtomicBool,
}

impl Slots {
    pub fn new(capacity: u32) -> Slots {
        Slots { taken: AtomicU32::new(0), capacity, clogged: AtomicBool::new(false) }
    }

    /// Takes a slot for a call. False: none is free, and the call is to be refused with 503.
    pub fn reserve(&self) -> bool {
        if self.clogged.load(Ordering::Relaxed) {
            return false;
        }
        let more = |taken: u32| (taken < self.capacity).then_some(taken + 1);
        self.taken.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).is_ok()
    }

    /// Takes one more than there are, if need be.
    pub fn reserve_beyond(&self) {
        self.taken.fetch_add(1, Ordering::AcqRel);
    }

    /// Gives `count` slots back.
    pub fn release(&self, count: u32) {
        let fewer = |taken: u32| Some(taken.saturating_sub(count));
        // The closure never refuses, so neither does the update.
        self.taken.fetch_update(Ordering::AcqRel, Ordering::Acquire, fewer).ok();
    }

    /// Whether a call would be admitted now.
    pub fn any_free(&self) -> bool {
        !self.clogged.load(Ordering::Relaxed) && self.taken() < self.capacity
    }

    pub fn taken(&self) -> u32 {
        self.taken.load(Ordering::Acquire)
    }

    pub(super) fn clog(&self, clogged: bool) {
        self.clogged.store(clogged, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r12_no_slot_no_call_and_a_slot_given_back_admits_the_next() {
        let slots = Slots::new(2);
        assert!(slots.reserve() && slots.reserve());
        assert!(!slots.reserve() && !slots.any_free());
        slots.release(1);
        assert!(slots.any_free() && slots.reserve() && !slots.reserve());
        slots.reserve_beyond();
        assert_eq!(slots.taken(), 3);
        slots.release(1);
        assert!(!slots.reserve(), "one beyond is owed");
        slots.release(9);
        assert_eq!(slots.taken(), 0);
        slots.clog(true);
        assert!(!slots.reserve() && !slots.any_free());
    }
}
