//! From a DID, or a block of them, to what is kept of it: open addressing in cache lines. A lookup reads one line, now and
//! then the next.

use super::number::Dialled;
use crate::number::{E164, MAX_DIGITS, Prefix};

/// Of so many slots …
const OF: usize = 50;
/// … so many are in use: fuller, and more lookups would read a second line. Of few, all of which are in the processor's caches,
/// fewer: there it costs more to look into a second line than to have more of them.
const FULL: usize = 41;
const FULL_OF_FEW: usize = 30;
/// So many are few.
const FEW: usize = 1 << 16;

/// So many lines, a MiB of them, are in the processor's own caches: what is looked for behind the first is not waited for.
const NEAR: usize = 1 << 14;

/// So many may be looked at [ahead](Dids::look_ahead): a processor waits for no more lines at once, and they stay in its
/// nearest cache until they are wanted.
pub const AHEAD: usize = 32;

/// `N` DIDs, from the front. What finds it full is in the other line of its pair, which the processor mostly reads with it, or
/// in a pair behind.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Line<V, const N: usize> {
    /// 0: empty.
    keys: [u64; N],
    values: [V; N],
}

/// Whole numbers and blocks, each once. It is built once and never changes: whoever reads it shares nothing with anybody
/// who writes. `N`: as many as a cache line of 64 bytes holds.
#[derive(Debug)]
pub struct Dids<V, const N: usize> {
    /// An even number of them. One slot at least is empty: there every search ends.
    lines: Box<[Line<V, N>]>,
    len: usize,
    block_lengths: Lengths,
}

/// How many digits blocks have. Bit n: one has n.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lengths(u16);

impl Lengths {
    /// Those of both.
    pub fn and(self, other: Lengths) -> Lengths {
        Lengths(self.0 | other.0)
    }

    /// The blocks of these lengths that hold a number, the longest first.
    pub fn blocks_of(self, number: E164) -> impl Iterator<Item = Prefix> {
        let lengths = (1..MAX_DIGITS.min(number.len() + 1)).rev();
        lengths.filter(move |len| self.0 >> len & 1 == 1).map(move |len| Prefix::of(number, len))
    }
}

impl<V: Copy + Default, const N: usize> Dids<V, N> {
    /// Of so many at most.
    pub fn with_capacity(most: usize) -> Dids<V, N> {
        const { assert!(size_of::<Line<V, N>>() == 64, "a line is a cache line") };
        let full = if most <= FEW { FULL_OF_FEW } else { FULL };
        let lines = ((most * OF).div_ceil(N * full) + 1).next_multiple_of(2);
        let empty = Line { keys: [0; N], values: [V::default(); N] };
        Dids { lines: vec![empty; lines].into(), len: 0, block_lengths: Lengths::default() }
    }

    /// Enters one that is not there yet; the value of one that is there stays, and comes back. Beyond the capacity nothing is
    /// entered.
    pub fn insert(&mut self, did: Dialled, value: V) -> Option<V> {
        if self.len + 1 >= self.lines.len() * N {
            return None;
        }
        let key = key_of(did);
        let home = self.home(key);
        let mut at = home;
        loop {
            let line = &mut self.lines[at];
            if let Some(slot) = line.keys.iter().position(|there| *there == key || *there == 0) {
                if line.keys[slot] == key {
                    return Some(line.values[slot]);
                }
                (line.keys[slot], line.values[slot]) = (key, value);
                break;
            }
            at = self.behind(at, home);
        }
        self.len += 1;
        if let Dialled::Block(prefix) = did {
            self.block_lengths.0 |= 1 << prefix.len();
        }
        None
    }

    /// Reads where those are, or will be, who are entered or looked up next: they wait for memory together then, and not each
    /// for itself.
    pub fn look_ahead(&self, dids: impl Iterator<Item = Dialled>) {
        let first_key = |did| self.lines[self.home(key_of(did))].keys[0];
        std::hint::black_box(dids.fold(0, |read, did| read ^ first_key(did)));
    }

    /// Of the one that serves this number: itself, else the longest block.
    #[inline]
    pub fn find(&self, number: E164) -> Option<&V> {
        let whole = self.get(number.to_bits());
        if whole.is_some() || self.block_lengths.0 == 0 {
            return whole;
        }
        self.block_lengths.blocks_of(number).find_map(|block| self.get(key_of_block(block)))
    }

    /// How long the blocks are that are there.
    pub fn block_lengths(&self) -> Lengths {
        self.block_lengths
    }

    /// Of that one itself.
    pub fn find_as_written(&self, did: Dialled) -> Option<&V> {
        self.get(key_of(did))
    }

    pub fn len(&self) -> usize {
        self.len
    }

    /// Bytes that it takes.
    pub fn bytes(&self) -> usize {
        size_of_val(&*self.lines)
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    #[inline]
    fn get(&self, key: u64) -> Option<&V> {
        let home = self.home(key);
        if self.lines.len() > NEAR {
            // Asked for now, it comes together with the first.
            std::hint::black_box(self.lines[home ^ 1].keys[0]);
        }
        let mut at = home;
        loop {
            let line = &self.lines[at];
            // Without a branch that nobody could foresee: which of them it is has no order.
            let slot = (1..N).fold(0, |found, slot| if line.keys[slot] == key { slot } else { found });
            if line.keys[slot] == key {
                return Some(&line.values[slot]);
            }
            if line.keys.last().is_none_or(|last| *last == 0) {
                return None;
            }
            at = self.behind(at, home);
        }
    }

    /// The line in which a key is looked for first.
    fn home(&self, key: u64) -> usize {
        let scattered = u128::from(scatter(key)) * self.lines.len() as u128;
        (scattered >> 64) as usize
    }

    /// The line in which it is looked for after that one: the other of the pair, then those of the pair behind.
    fn behind(&self, at: usize, home: usize) -> usize {
        if (at ^ home) & 1 == 0 {
            return at ^ 1;
        }
        let next = (at ^ 1) + 2;
        if next < self.lines.len() { next } else { next - self.lines.len() }
    }
}

/// Never 0.
fn key_of(did: Dialled) -> u64 {
    match did {
        Dialled::Number(number) => number.to_bits(),
        Dialled::Block(prefix) => key_of_block(prefix),
    }
}

/// A nibble that is no digit, behind those of the block, tells it from a number of the same digits. A block has at most
/// one digit less than the longest number.
fn key_of_block(prefix: Prefix) -> u64 {
    prefix.to_bits() | 0xF << (60 - 4 * prefix.len().min(MAX_DIGITS - 1))
}

/// Scatters packed digits: the upper bits are good. A sender can choose what is looked up, but not what is in the table, so
/// that a seed would protect nothing.
fn scatter(key: u64) -> u64 {
    key.wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    type Places = Dids<u32, 5>;

    fn number(digits: u64) -> E164 {
        E164::parse_e164(&format!("+4{digits:010}")).unwrap_or_else(|bad| panic!("{bad}"))
    }

    fn block(digits: &str) -> Dialled {
        Dialled::Block(Prefix::from_digits(digits).unwrap_or(Prefix::EVERY))
    }

    #[test]
    fn every_number_is_found_again_and_no_other_however_full_it_is() {
        for count in [0u32, 1, 2, 3, 100, 20_000, FEW as u32 + 1] {
            let mut dids = Places::with_capacity(count as usize);
            (0..count).for_each(|n| {
                dids.insert(Dialled::Number(number(u64::from(n) * 7)), n);
            });
            assert_eq!(dids.len(), count as usize);
            for n in 0..count * 7 {
                let found = dids.find(number(u64::from(n)));
                assert_eq!(found.copied(), n.is_multiple_of(7).then_some(n / 7), "{n} of {count}");
            }
        }
    }

    #[test]
    fn what_is_entered_beyond_its_room_is_left_out_and_searches_end() {
        let mut dids = Places::with_capacity(3);
        (0..100).for_each(|n| {
            dids.insert(Dialled::Number(number(n)), n as u32);
        });
        assert!((3..100).contains(&dids.len()));
        assert_eq!((0..100).filter(|n| dids.find(number(*n)).is_some()).count(), dids.len());
    }

    #[test]
    fn a_block_and_a_number_of_the_same_digits_are_two_and_who_comes_first_stays() {
        let mut dids = Places::with_capacity(4);
        assert_eq!(dids.insert(block("49301234"), 1), None);
        let [short, longer] =
            ["+49301234", "+493012345"].map(|text| E164::parse_e164(text).expect("a number"));
        assert_eq!(dids.find(short), Some(&1), "a block holds it");
        assert_eq!(dids.insert(Dialled::Number(short), 2), None);
        assert_eq!((dids.find(short), dids.find(longer)), (Some(&2), Some(&1)));
        assert_eq!(dids.insert(block("49301234"), 3), Some(1));
        assert_eq!((dids.find(longer), dids.len()), (Some(&1), 2));
        assert_eq!(dids.find_as_written(block("4930")), None);
        assert_eq!(dids.find_as_written(block("49301234")), Some(&1));
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
            let mut dids = Places::with_capacity(all.len());
            all.iter().for_each(|(did, place)| assert!(dids.insert(*did, *place).is_none()));
            for n in &asked {
                let whole = all.get(&Dialled::Number(number(*n))).copied();
                let longest = || {
                    let lengths = (1..15).rev();
                    let blocks = lengths.map(|len| Dialled::Block(Prefix::of(number(*n), len)));
                    blocks.filter_map(|block| all.get(&block).copied()).next()
                };
                prop_assert_eq!(dids.find(number(*n)).copied(), whole.or_else(longest));
            }
        }
    }
}
