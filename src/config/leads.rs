//! Whether any of millions may forward to a number, without a look at each.

use super::dids::scatter;
use crate::number::E164;

/// So many bits of memory for each forward …
const BITS: usize = 16;
/// … of which it sets so many: of two hundred numbers that nobody forwards to, about one is taken for one that somebody may.
const SET: u32 = 4;

/// Where numbers forward to: two bytes each, all that one sets in one word.
#[derive(Debug)]
pub(super) struct Leads(Box<[u64]>);

impl Leads {
    pub fn of(forwards: impl Iterator<Item = E164> + Clone) -> Leads {
        let words = (forwards.clone().count() * BITS).div_ceil(64).max(1);
        let mut leads = Leads(vec![0; words].into());
        for forward in forwards {
            let (word, bits) = leads.place(forward);
            leads.0[word] |= bits;
        }
        leads
    }

    /// False: none forwards there.
    pub fn may_lead_to(&self, number: E164) -> bool {
        let (word, bits) = self.place(number);
        self.0[word] & bits == bits
    }

    fn place(&self, number: E164) -> (usize, u64) {
        let scattered = scatter(number.to_bits());
        let word = (u128::from(scattered) * self.0.len() as u128) >> 64;
        // Those that chose the word say nothing of the bits in it.
        let mut which = scatter(!scattered);
        let mut bits = 0;
        for _ in 0..SET {
            bits |= 1 << (which >> 58);
            which <<= 6;
        }
        (word as usize, bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(n: u64) -> E164 {
        E164::parse_e164(&format!("+1{}", 2_000_000_000 + n)).unwrap()
    }

    #[test]
    fn whoever_is_forwarded_to_is_never_missed_and_few_others_are_taken_for_one() {
        let leads = Leads::of((0..10_000).map(number));
        assert!((0..10_000).all(|n| leads.may_lead_to(number(n))));
        let taken = (10_000..110_000).filter(|n| leads.may_lead_to(number(*n))).count();
        assert!(taken < 1_000, "{taken} of 100,000");
        assert!(!Leads::of(std::iter::empty()).may_lead_to(number(7)));
    }
}
