//! From a number, or a block of them, to what is kept of it: open addressing in cache lines. A lookup reads one line, now
//! and then the next.

use crate::config::Dialled;
use crate::number::{E164, MAX_DIGITS, Prefix};

/// What a cache line of 64 bytes holds.
const SLOTS: usize = 2;
/// Of so many slots …
const OF: usize = 20;
/// … so many are in use: fuller, and more lookups would read a second line.
const FULL: usize = 17;

/// What is kept of a number or block beside its text: 32 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Row {
    /// Its own `forward_to`.
    pub forward: Option<E164>,
    /// Where its label begins among all, and how long it is.
    pub label_at: u32,
    pub label_len: u16,
    /// By their place: what it has in common with others.
    pub settings: u32,
    /// In the order of the configuration's numbers.
    pub place: u32,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    /// 0: empty.
    key: u64,
    forward: Option<E164>,
    label_at: u32,
    label_len: u16,
    /// Of a line's first slot: something that belongs into the line lies in the next, or behind.
    overflows: bool,
    settings: u32,
    place: u32,
}

/// They fill it from the front; what finds it full goes to the next one.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Line([Slot; SLOTS]);

const NOBODY: Slot =
    Slot { key: 0, forward: None, label_at: 0, label_len: 0, overflows: false, settings: 0, place: 0 };

const _: () = assert!(size_of::<Line>() == 64);

/// Whole numbers and blocks, each once. It is built once and never changes: whoever reads it shares nothing with anybody
/// who writes.
#[derive(Debug)]
pub(super) struct Index {
    /// One slot at least is empty: there every search ends.
    lines: Box<[Line]>,
    len: usize,
    /// Bit n: there is a block of n digits.
    block_lengths: u16,
}

impl Index {
    /// Of so many at most.
    pub fn with_capacity(most: usize) -> Index {
        let lines = (most * OF).div_ceil(SLOTS * FULL) + 1;
        Index { lines: vec![Line([NOBODY; SLOTS]); lines].into(), len: 0, block_lengths: 0 }
    }

    /// Enters one, or puts another row in its place. Beyond the capacity nothing is entered.
    pub fn insert(&mut self, dialled: Dialled, row: Row) {
        if self.len + 1 >= self.lines.len() * SLOTS {
            return;
        }
        let key = key_of(dialled);
        let mut at = self.home(key);
        let (line, slot) = loop {
            let Line(slots) = &self.lines[at];
            if let Some(slot) = slots.iter().position(|slot| slot.key == key || slot.key == 0) {
                break (at, slot);
            }
            self.lines[at].0[0].overflows = true;
            at = self.behind(at);
        };
        let slot = &mut self.lines[line].0[slot];
        self.len += usize::from(slot.key == 0);
        let Row { forward, label_at, label_len, settings, place } = row;
        *slot = Slot { key, forward, label_at, label_len, settings, place, overflows: slot.overflows };
        if let Dialled::Block(prefix) = dialled {
            self.block_lengths |= 1 << prefix.len();
        }
    }

    /// The number that serves this DID: itself, else the longest block.
    pub fn find(&self, did: E164) -> Option<Row> {
        let whole = self.get(did.to_bits());
        if whole.is_some() || self.block_lengths == 0 {
            return whole;
        }
        (1..MAX_DIGITS.min(did.len() + 1))
            .rev()
            .filter(|len| self.block_lengths >> len & 1 == 1)
            .find_map(|len| self.get(key_of_block(Prefix::of(did, len))))
    }

    pub fn len(&self) -> usize {
        self.len
    }

    fn get(&self, key: u64) -> Option<Row> {
        let mut at = self.home(key);
        loop {
            let Line(slots) = &self.lines[at];
            if let Some(slot) = slots.iter().find(|slot| slot.key == key) {
                let Slot { forward, label_at, label_len, settings, place, .. } = *slot;
                return Some(Row { forward, label_at, label_len, settings, place });
            }
            if !slots[0].overflows {
                return None;
            }
            at = self.behind(at);
        }
    }

    /// The line that a key is in, or behind.
    fn home(&self, key: u64) -> usize {
        let scattered = u128::from(scatter(key)) * self.lines.len() as u128;
        (scattered >> 64) as usize
    }

    fn behind(&self, at: usize) -> usize {
        if at + 1 == self.lines.len() { 0 } else { at + 1 }
    }
}

fn key_of(dialled: Dialled) -> u64 {
    match dialled {
        Dialled::Number(number) => number.to_bits(),
        Dialled::Block(prefix) => key_of_block(prefix),
    }
}

/// A nibble that is no digit, behind those of the block, tells it from a number of the same digits.
fn key_of_block(prefix: Prefix) -> u64 {
    prefix.to_bits() | 0xF << (60 - 4 * prefix.len().min(MAX_DIGITS - 1))
}

/// Scatters packed digits over the lines. A sender can choose what is looked up, but not what is in the table, so that a
/// seed would protect nothing.
fn scatter(key: u64) -> u64 {
    let wide = u128::from(key) * 0x9E37_79B9_7F4A_7C15;
    ((wide >> 64) as u64 ^ wide as u64).wrapping_mul(0xD6E8_FEB8_6659_FD93)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn row(place: u32) -> Row {
        Row { forward: None, label_at: place, label_len: 7, settings: 3, place }
    }

    fn number(digits: u64) -> E164 {
        E164::parse_e164(&format!("+4{digits:010}")).unwrap_or_else(|bad| panic!("{bad}"))
    }

    fn block(digits: &str) -> Dialled {
        Dialled::Block(Prefix::from_digits(digits).unwrap_or(Prefix::EVERY))
    }

    #[test]
    fn every_number_is_found_again_and_no_other_however_full_it_is() {
        for count in [0u32, 1, 2, 3, 100, 20_000] {
            let mut index = Index::with_capacity(count as usize);
            (0..count).for_each(|n| index.insert(Dialled::Number(number(u64::from(n) * 7)), row(n)));
            assert_eq!(index.len(), count as usize);
            for n in 0..count * 7 {
                let found = index.find(number(u64::from(n))).map(|row| row.place);
                assert_eq!(found, n.is_multiple_of(7).then_some(n / 7), "{n} of {count}");
            }
        }
    }

    #[test]
    fn what_is_entered_beyond_its_room_is_left_out_and_searches_end() {
        let mut index = Index::with_capacity(3);
        (0..100).for_each(|n| index.insert(Dialled::Number(number(n)), row(n as u32)));
        assert!((3..100).contains(&index.len()));
        assert_eq!((0..100).filter(|n| index.find(number(*n)).is_some()).count(), index.len());
    }

    #[test]
    fn a_block_and_a_number_of_the_same_digits_are_two() {
        let mut index = Index::with_capacity(4);
        index.insert(block("49301234"), row(1));
        let short = E164::parse_e164("+49301234").expect("a number");
        assert_eq!(index.find(short).map(|row| row.place), Some(1), "a block holds it");
        index.insert(Dialled::Number(short), row(2));
        assert_eq!(index.find(short).map(|row| row.place), Some(2));
        let longer = E164::parse_e164("+493012345").expect("a number");
        assert_eq!(index.find(longer).map(|row| row.place), Some(1));
        index.insert(block("49301234"), row(3));
        assert_eq!((index.find(longer).map(|row| row.place), index.len()), (Some(3), 2), "put in its place");
    }

    proptest! {
        /// Against a map and a search of all blocks.
        #[test]
        fn it_finds_what_a_map_finds(
            numbers in proptest::collection::vec(0u64..2_000, 0..300),
            blocks in proptest::collection::vec((1usize..12, 0u64..2_000), 0..30),
            asked in proptest::collection::vec(0u64..2_000, 0..300),
        ) {
            let mut all: HashMap<Dialled, u32> = HashMap::new();
            for n in &numbers {
                all.insert(Dialled::Number(number(*n)), *n as u32);
            }
            for (len, n) in &blocks {
                let prefix = Prefix::of(number(*n), *len);
                all.insert(Dialled::Block(prefix), *n as u32 + 10_000 * *len as u32);
            }
            let mut index = Index::with_capacity(all.len());
            all.iter().for_each(|(dialled, place)| index.insert(*dialled, row(*place)));
            for n in &asked {
                let whole = all.get(&Dialled::Number(number(*n))).copied();
                let longest = || {
                    let lengths = (1..15).rev();
                    lengths.map(|len| Dialled::Block(Prefix::of(number(*n), len))).find_map(|block| all.get(&block).copied())
                };
                prop_assert_eq!(index.find(number(*n)).map(|row| row.place), whole.or_else(longest));
            }
        }
    }
}
