//! A hierarchical timing wheel: the timers of one shard, by the thousand, without an allocation for each.
//!
//! Ticks are milliseconds. A deadline is rounded up to the next tick and never fires before it. Insertion and
//! removal are O(1): an entry moves down at most once per level on its way. There is no cancelling; whoever
//! set a timer recognises a stale one when it comes out (by a generation, or by its own state).

use crate::time::Instant;

const SLOT_BITS: u32 = 6;
const SLOTS: usize = 1 << SLOT_BITS;
/// Ten levels of 64 slots reach past the last microsecond that an `Instant` can name.
const LEVELS: usize = 10;
const MICROS_PER_TICK: u64 = 1_000;
/// Ends a list of entries.
const NIL: u32 = u32::MAX;

/// Timers that carry a `K` each and come out by deadline, those of the same millisecond as they went in.
///
/// An entry costs `size_of::<K>()` and 12 to 16 bytes more; memory is reused and never given back.
#[derive(Debug)]
pub struct Wheel<K> {
    levels: Box<[Level; LEVELS]>,
    entries: Vec<Entry<K>>,
    /// Entries to be used again, linked by their `next`.
    free: u32,
    len: usize,
    /// The tick up to which everything is out. No slot begins before it.
    elapsed: u64,
}

#[derive(Clone, Copy, Debug)]
struct Entry<K> {
    tick: u64,
    next: u32,
    key: K,
}

/// 64 slots. A level's slot spans as many ticks as the whole level below it.
#[derive(Clone, Copy, Debug)]
struct Level {
    /// A bit for each slot that holds entries.
    occupied: u64,
    slots: [Slot; SLOTS],
}

/// A list of entries in the order they came, and the earliest tick among them.
#[derive(Clone, Copy, Debug)]
struct Slot {
    head: u32,
    tail: u32,
    earliest: u64,
}

impl Slot {
    const EMPTY: Slot = Slot { head: NIL, tail: NIL, earliest: u64::MAX };
}

impl<K: Copy> Default for Wheel<K> {
    fn default() -> Self {
        Wheel::new()
    }
}

impl<K: Copy> Wheel<K> {
    pub fn new() -> Self {
        let empty = Level { occupied: 0, slots: [Slot::EMPTY; SLOTS] };
        Wheel { levels: Box::new([empty; LEVELS]), entries: Vec::new(), free: NIL, len: 0, elapsed: 0 }
    }

    /// How many timers are set, stale ones among them.
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Sets a timer. One whose deadline has passed comes out at the next `pop_due`, after those of that tick.
    ///
    /// # Panics
    /// With 2³² − 1 timers set, some 100 GB of them; every owner bounds what it sets long before.
    pub fn insert(&mut self, at: Instant, key: K) {
        let tick = at.as_micros().div_ceil(MICROS_PER_TICK).max(self.elapsed);
        let entry = Entry { tick, next: NIL, key };
        let index = if self.free == NIL {
            let index = self.entries.len();
            assert!(index < NIL as usize, "more timers than the wheel can number");
            self.entries.push(entry);
            index as u32
        } else {
            let index = self.free;
            let reused = &mut self.entries[index as usize];
            self.free = reused.next;
            *reused = entry;
            index
        };
        self.len += 1;
        self.link(index, tick);
    }

    /// Takes out the next timer whose deadline is `now` or earlier, with that deadline as rounded.
    pub fn pop_due(&mut self, now: Instant) -> Option<(Instant, K)> {
        let now = now.as_micros() / MICROS_PER_TICK;
        loop {
            let Some((level, slot)) = self.first_slot() else {
                self.elapsed = self.elapsed.max(now);
                return None;
            };
            let earliest = self.levels[level].slots[slot].earliest;
            if earliest > now {
                // Time may move on as long as it enters no occupied slot: there its entries would have to
                // move down first.
                self.elapsed = self.elapsed.max(now.min(self.slot_start(level, slot).saturating_sub(1)));
                return None;
            }
            if level == 0 {
                self.elapsed = earliest;
                return Some(self.unlink_first(slot));
            }
            self.move_down(level, slot);
        }
    }

    /// When the next timer is due, to the tick. Costs a look at each level's bitmap.
    pub fn next_deadline(&self) -> Option<Instant> {
        let (level, slot) = self.first_slot()?;
        Some(instant(self.levels[level].slots[slot].earliest))
    }

    /// The occupied slot with the earliest entries: a lower level's slots all come before a higher level's.
    fn first_slot(&self) -> Option<(usize, usize)> {
        let level = self.levels.iter().position(|level| level.occupied != 0)?;
        Some((level, self.levels[level].occupied.trailing_zeros() as usize))
    }

    /// The first tick of a slot, which lies in the same turn of its level as `elapsed`.
    fn slot_start(&self, level: usize, slot: usize) -> u64 {
        let shift = SLOT_BITS * level as u32;
        let turn = self.elapsed >> (shift + SLOT_BITS);
        ((turn << SLOT_BITS) | slot as u64) << shift
    }

    /// Puts an entry at the end of its slot. The level is that of the highest digit (base 64) in which its
    /// tick differs from `elapsed`, so that all of one tick take the same way and stay in order.
    fn link(&mut self, index: u32, tick: u64) {
        let differing = (tick ^ self.elapsed) | (SLOTS as u64 - 1);
        let level = ((63 - differing.leading_zeros()) / SLOT_BITS) as usize;
        let number = (tick >> (SLOT_BITS * level as u32)) as usize & (SLOTS - 1);
        let level = &mut self.levels[level];
        level.occupied |= 1 << number;
        let slot = &mut level.slots[number];
        slot.earliest = slot.earliest.min(tick);
        let before = std::mem::replace(&mut slot.tail, index);
        if before == NIL {
            slot.head = index;
        } else {
            self.entries[before as usize].next = index;
        }
    }

    /// Enters a slot: its entries spread over the levels below, in order.
    fn move_down(&mut self, level: usize, number: usize) {
        self.elapsed = self.slot_start(level, number);
        let level = &mut self.levels[level];
        level.occupied &= !(1 << number);
        let mut index = std::mem::replace(&mut level.slots[number], Slot::EMPTY).head;
        while index != NIL {
            let entry = &mut self.entries[index as usize];
            let next = std::mem::replace(&mut entry.next, NIL);
            let tick = entry.tick;
            self.link(index, tick);
            index = next;
        }
    }

    fn unlink_first(&mut self, number: usize) -> (Instant, K) {
        let level = &mut self.levels[0];
        let slot = &mut level.slots[number];
        let index = slot.head;
        let free = self.free;
        let entry = &mut self.entries[index as usize];
        slot.head = std::mem::replace(&mut entry.next, free);
        if slot.head == NIL {
            *slot = Slot::EMPTY;
            level.occupied &= !(1 << number);
        }
        self.free = index;
        self.len -= 1;
        (instant(entry.tick), entry.key)
    }
}

fn instant(tick: u64) -> Instant {
    Instant::from_micros(tick.saturating_mul(MICROS_PER_TICK))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use std::time::Duration;

    fn micros(at: u64) -> Instant {
        Instant::from_micros(at)
    }

    #[test]
    fn a_deadline_is_rounded_up_and_never_fires_early() {
        let mut wheel = Wheel::new();
        wheel.insert(micros(1_001), 'a');
        assert_eq!(wheel.next_deadline(), Some(micros(2_000)));
        assert_eq!(wheel.pop_due(micros(1_999)), None);
        assert_eq!(wheel.pop_due(micros(2_000)), Some((micros(2_000), 'a')));
        assert_eq!(wheel.pop_due(micros(9_000)), None);
        assert_eq!(wheel.next_deadline(), None);
    }

    #[test]
    fn timers_of_one_tick_come_out_as_they_went_in_whatever_level_they_started_on() {
        let mut wheel = Wheel::new();
        let at = micros(70_000_000);
        wheel.insert(at, 1);
        wheel.pop_due(micros(66_000_000));
        wheel.insert(at, 2);
        wheel.pop_due(micros(69_970_000));
        wheel.insert(at, 3);
        let out: Vec<i32> = std::iter::from_fn(|| wheel.pop_due(at)).map(|(_, key)| key).collect();
        assert_eq!(out, [1, 2, 3]);
    }

    #[test]
    fn a_deadline_in_the_past_is_due_at_once() {
        let mut wheel = Wheel::new();
        assert_eq!(wheel.pop_due(micros(5_000_000)), None);
        wheel.insert(micros(1), 'a');
        assert_eq!(wheel.pop_due(micros(5_000_000)), Some((micros(5_000_000), 'a')));
    }

    #[test]
    fn four_hours_days_and_the_end_of_time_are_in_reach() {
        let mut wheel = Wheel::new();
        let hour = 3_600_000_000;
        wheel.insert(micros(u64::MAX), 0);
        wheel.insert(micros(30 * 24 * hour), 30);
        wheel.insert(micros(4 * hour), 4);
        assert_eq!(wheel.pop_due(micros(4 * hour - 1)), None);
        assert_eq!(wheel.pop_due(micros(4 * hour)), Some((micros(4 * hour), 4)));
        assert_eq!(wheel.pop_due(micros(40 * 24 * hour)), Some((micros(30 * 24 * hour), 30)));
        assert_eq!(wheel.pop_due(micros(u64::MAX - 1_000)), None);
        assert_eq!(wheel.len(), 1);
    }

    #[test]
    fn at_4000_timers_a_second_of_32_s_memory_is_used_again() {
        let mut wheel = Wheel::new();
        let mut now = Instant::ZERO;
        for round in 0..100 {
            for key in 0..4_000 {
                wheel.insert(now + Duration::from_millis(32_000), (round, key));
            }
            now = now + Duration::from_secs(1);
            while wheel.pop_due(now).is_some() {}
        }
        assert_eq!(wheel.len(), 31 * 4_000);
        assert!(wheel.entries.len() <= 33 * 4_000, "{} entries", wheel.entries.len());
    }

    #[test]
    fn an_entry_with_a_twelve_byte_key_takes_no_more_than_40_bytes() {
        assert!(size_of::<Entry<[u32; 3]>>() <= 40);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Insert { after: u64 },
        Pass { time: u64, pops: usize },
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let span = prop_oneof![
            0..5_000_u64,
            0..200_000_u64,
            0..40_000_000_u64,
            0..20_000_000_000_u64,
            Just(500_000_u64),
            Just(32_000_000_u64),
        ];
        let step = prop_oneof![
            3 => span.clone().prop_map(|after| Step::Insert { after }),
            1 => (span, 0..12_usize).prop_map(|(time, pops)| Step::Pass { time, pops }),
        ];
        prop::collection::vec(step, 0..300)
    }

    proptest! {
        #[test]
        fn the_wheel_does_what_a_sorted_map_does(steps in steps()) {
            let mut wheel = Wheel::new();
            let mut model = BTreeMap::new();
            let mut now = 0_u64;
            // A deadline is never before what has come out already.
            let mut floor = 0_u64;
            for (number, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Insert { after } => {
                        wheel.insert(micros(now + after), number);
                        model.insert(((now + after).div_ceil(1_000).max(floor), number), number);
                    }
                    Step::Pass { time, pops } => {
                        now += time;
                        for _ in 0..pops {
                            let due = model.first_key_value().map(|(key, _)| *key);
                            let due = due.filter(|(tick, _)| *tick <= now / 1_000);
                            let expected = due.map(|(tick, key)| (micros(tick * 1_000), key));
                            prop_assert_eq!(wheel.pop_due(micros(now)), expected);
                            if let Some(key) = due {
                                floor = key.0;
                                model.remove(&key);
                            }
                        }
                    }
                }
                prop_assert_eq!(wheel.len(), model.len());
                let next = model.first_key_value().map(|((tick, _), _)| micros(tick * 1_000));
                prop_assert_eq!(wheel.next_deadline(), next);
            }
        }
    }
}
