//! The beginning of numbers: dial rules, what a trunk serves, blocks of DIDs.

use std::fmt;

use super::{E164, MAX_DIGITS, pack};

/// Up to 15 leading digits of a number; the empty one covers every number. Packed as [`E164`] is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix(u64);

impl Prefix {
    /// Covers every number.
    pub const EVERY: Prefix = Prefix(0);

    /// Reads `+` and at most 15 digits: `+1900`, or `+` alone.
    pub fn parse(text: &str) -> Option<Prefix> {
        Prefix::from_digits(text.strip_prefix('+')?)
    }

    /// Reads digits alone.
    pub fn from_digits(digits: &str) -> Option<Prefix> {
        pack(digits).map(Prefix)
    }

    /// The first `len` digits of a number (all of them when it has fewer).
    pub fn of(number: E164, len: usize) -> Prefix {
        let len = len.min(number.len());
        Prefix(number.to_bits() & mask(len) | len as u64)
    }

    /// How many digits.
    pub const fn len(self) -> usize {
        (self.0 & 0xF) as usize
    }

    pub const fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Whether the number begins with these digits.
    pub const fn covers(self, number: E164) -> bool {
        let len = self.len();
        len <= number.len() && (number.to_bits() ^ self.0) & mask(len) == 0
    }

    /// The packed form, for tables that store it.
    pub const fn to_bits(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("+")?;
        (0..self.len()).try_for_each(|place| write!(f, "{}", super::nibble(self.0, place)))
    }
}

impl fmt::Debug for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The nibbles of the first `len` digits.
const fn mask(len: usize) -> u64 {
    match len {
        0 => 0,
        1..=MAX_DIGITS => u64::MAX << (64 - 4 * len),
        _ => u64::MAX << 4,
    }
}
