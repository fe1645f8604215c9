//! Where the world's choices come from: a seed, or the bytes of a fuzzer. One way of drawing serves both.

use std::ops::Range;
use std::time::Duration;

/// A source of choices. Two with the same origin draw the same.
#[derive(Clone, Debug)]
pub struct Dice {
    source: Source,
}

#[derive(Clone, Debug)]
enum Source {
    /// SplitMix64 over a seed: never runs dry.
    Seed(u64),
    /// A fuzzer's bytes; zeros once they are used up.
    Bytes { bytes: Vec<u8>, at: usize },
}

impl Dice {
    pub fn seeded(seed: u64) -> Dice {
        Dice { source: Source::Seed(seed) }
    }

    pub fn from_bytes(bytes: &[u8]) -> Dice {
        Dice { source: Source::Bytes { bytes: bytes.to_vec(), at: 0 } }
    }

    /// Whether a fuzzer's bytes are used up. A seed never is.
    pub fn is_spent(&self) -> bool {
        match &self.source {
            Source::Seed(_) => false,
            Source::Bytes { bytes, at } => *at >= bytes.len(),
        }
    }

    /// A second, independent source, so that a new choice in one room leaves the draws of another alone.
    pub fn fork(&mut self) -> Dice {
        Dice::seeded(self.word() ^ 0x9e6c_63d0_76cc_4745)
    }

    /// Any 64 bits.
    pub fn word(&mut self) -> u64 {
        match &mut self.source {
            Source::Seed(state) => {
                *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let mut mixed = *state;
                mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                mixed ^ (mixed >> 31)
            }
            Source::Bytes { .. } => (0..8).fold(0, |word, _| word << 8 | u64::from(self.byte())),
        }
    }

    fn byte(&mut self) -> u8 {
        match &mut self.source {
            Source::Seed(_) => self.word() as u8,
            Source::Bytes { bytes, at } => {
                let byte = bytes.get(*at).copied().unwrap_or(0);
                *at += 1;
                byte
            }
        }
    }

    /// From 0 to `end` - 1; 0 when `end` is 0. Takes one of a fuzzer's bytes where one is enough.
    pub fn below(&mut self, end: u64) -> u64 {
        match end {
            0 | 1 => 0,
            2..=256 => u64::from(self.byte()) % end,
            257..=65_536 => (u64::from(self.byte()) << 8 | u64::from(self.byte())) % end,
            65_537.. => self.word() % end,
        }
    }

    pub fn within(&mut self, range: Range<u64>) -> u64 {
        range.start + self.below(range.end.saturating_sub(range.start))
    }

    /// A time of whole milliseconds.
    pub fn millis(&mut self, range: Range<u64>) -> Duration {
        Duration::from_millis(self.within(range))
    }

    pub fn chance(&mut self, per_mille: u64) -> bool {
        self.below(1000) < per_mille
    }

    /// One of them; panics on none, which is a mistake of the world's author.
    pub fn pick<'t, T>(&mut self, from: &'t [T]) -> &'t T {
        &from[self.below(from.len() as u64) as usize]
    }

    /// At most `most` bytes.
    pub fn bytes(&mut self, most: usize) -> Vec<u8> {
        let length = self.below(most as u64 + 1);
        (0..length).map(|_| self.byte()).collect()
    }
}
