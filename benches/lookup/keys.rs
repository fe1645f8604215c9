//! What is looked up.

use clap::ValueEnum;
use strowger::number::E164;

/// How many are drawn: they are looked up in turn, and lie behind each other in memory, so that reading them costs nothing.
const KEYS: usize = 1 << 20;

/// How what is looked up is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Draw {
    /// Each number as often as any other.
    Uniform,
    /// The n-th number 1/n as often as the first.
    Zipf,
}

impl std::fmt::Display for Draw {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Draw::Uniform => "uniform",
            Draw::Zipf => "zipf",
        })
    }
}

/// SplitMix64.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.next()) * bound as u128) >> 64) as usize
    }

    /// From 0 up to 1.
    fn part(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Draws some of these numbers.
pub fn drawn(draw: Draw, dids: &[E164]) -> Vec<E164> {
    let mut random = Random(7);
    let mut place = || match draw {
        Draw::Uniform => random.below(dids.len()),
        // The inverse of ln(1+n)/ln(1+N), which is within a few per cent of Zipf's law with exponent 1; which number is the n-th
        // has nothing to do with where it lies.
        Draw::Zipf => {
            let rank = ((random.part() * (1.0 + dids.len() as f64).ln()).exp() - 1.0) as usize;
            let scattered =
                u128::from((rank as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)) * dids.len() as u128;
            (scattered >> 64) as usize
        }
    };
    (0..KEYS).map(|_| dids[place().min(dids.len() - 1)]).collect()
}
