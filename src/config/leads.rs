//! To which numbers others lead: a quick look whether one number needs all others to be looked at.

use super::number::{Dialled, Keys};
use super::overlay::Overlay;
use super::{Config, Listed};
use crate::number::E164;

/// Bits for each number that leads somewhere. Two are set for each, so that one in seventy that nothing leads to is taken for
/// one.
const BITS: usize = 16;
/// Room for those that are set by themselves later.
const MORE: usize = 1 << 16;

/// What numbers forward to, and what they show that is ours because it is a number of ours. Some more may be taken for such.
#[derive(Debug)]
pub struct Leads {
    forwards: Filter,
    shown: Filter,
}

impl Leads {
    pub fn of(config: &Config, overlay: &Overlay) -> Leads {
        let expected = config.numbers.len() + overlay.len() + MORE;
        let mut leads = Leads { forwards: Filter::of(expected), shown: Filter::of(MORE) };
        let profiles = config.profiles.iter().map(|profile| &profile.keys);
        config.numbers.sets().chain(profiles).chain([&config.defaults]).for_each(|keys| leads.add(keys));
        config.numbers.iter().filter_map(Listed::forward).for_each(|at| leads.forwards.add(at.value));
        overlay.numbers().for_each(|(_, number)| leads.add(&number.keys));
        config.agents.iter().filter_map(|agent| agent.number).for_each(|at| leads.shown.add(at.value));
        leads
    }

    /// What a number says that is set by itself.
    pub fn add(&mut self, keys: &Keys) {
        forwards(keys).for_each(|number| self.forwards.add(number));
        keys.caller_id.and_then(|at| at.value).into_iter().for_each(|number| self.shown.add(number));
    }

    /// False: nothing forwards to it.
    pub fn may_be_forwarded_to(&self, did: Dialled) -> bool {
        self.forwards.may_have(did)
    }

    /// False: nobody shows it.
    pub fn may_be_shown(&self, did: Dialled) -> bool {
        self.shown.may_have(did)
    }
}

/// Where keys forward to, by their steps.
fn forwards(keys: &Keys) -> impl Iterator<Item = E164> {
    let steps = keys.overflow.iter().flat_map(|steps| &steps.value);
    let steps = steps.filter_map(|step| step.forward_to.map(|at| at.value));
    keys.forward_to.and_then(|at| at.value).into_iter().chain(steps)
}

/// A Bloom filter.
#[derive(Debug)]
struct Filter {
    words: Box<[u64]>,
}

impl Filter {
    fn of(expected: usize) -> Filter {
        let words = (expected * BITS / 64).next_power_of_two();
        Filter { words: vec![0; words].into() }
    }

    /// Of which words which bits.
    fn places(&self, number: E164) -> [(usize, u64); 2] {
        let first = number.to_bits().wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let second = (first ^ first >> 32).wrapping_mul(0xD6E8_FEB8_6659_FD93);
        [first, second].map(|hash| ((hash >> 6) as usize & (self.words.len() - 1), 1 << (hash & 63)))
    }

    fn add(&mut self, number: E164) {
        for (word, bit) in self.places(number) {
            self.words[word] |= bit;
        }
    }

    /// Of a block it is not known.
    fn may_have(&self, did: Dialled) -> bool {
        match did {
            Dialled::Number(number) => {
                self.places(number).into_iter().all(|(word, bit)| self.words[word] & bit != 0)
            }
            Dialled::Block(_) => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn number(last: u32) -> E164 {
        E164::parse_e164(&format!("+1202555{last:04}")).unwrap()
    }

    #[test]
    fn whatever_leads_somewhere_is_seen_and_seldom_what_does_not() {
        let text = "[[trunk]]\nname = \"carrier\"\ngateways = [{ uri = \"sip:192.0.2.1\" }]\noutbound = true\n\
            [defaults]\ncaller_id = \"+12025550001\"\n[[profile]]\nname = \"day\"\nforward_to = \"+12025550002\"\n\
            [[agent]]\nname = \"alice\"\nnumber = \"+12025550003\"\n\
            [[number]]\ndid = \"+12015550101\"\noverflow = [{ forward_to = \"+12025550004\" }]\n\
            [[caller_id]]\nnumber = \"+12025550001\"\nverified = \"2026-11-01T10:00:00Z\"\n\
            [[caller_id]]\nnumber = \"+12025550003\"\nverified = \"2026-11-01T10:00:00Z\"\n";
        let config = config::parse(text, &|_| None).unwrap().config;
        let mut leads = Leads::of(&config, &Overlay::default());
        let seen = |leads: &Leads, last: u32| {
            let did = Dialled::Number(number(last));
            (leads.may_be_forwarded_to(did), leads.may_be_shown(did))
        };
        let all = [1, 2, 3, 4, 5].map(|last| seen(&leads, last));
        assert_eq!(all, [(false, true), (true, false), (false, true), (true, false), (false, false)]);
        let did = Dialled::Number(number(9));
        let body = "{\"forward_to\": \"+12025550005\"}";
        let (later, _) = config::read_body("", body, did, std::path::Path::new(""));
        leads.add(&later.unwrap().keys);
        assert_eq!(seen(&leads, 5), (true, false));
        let block = "+1202*".parse().unwrap();
        assert!(leads.may_be_forwarded_to(block) && leads.may_be_shown(block));
    }

    #[test]
    fn a_full_filter_takes_few_others_for_its_own() {
        let mut filter = Filter::of(4_096);
        (0..4_096).for_each(|last| filter.add(number(last)));
        assert!((0..4_096).all(|last| filter.may_have(Dialled::Number(number(last)))));
        let taken = (4_096..10_000).filter(|last| filter.may_have(Dialled::Number(number(*last)))).count();
        assert!(taken < 5_904 / 40, "{taken}");
    }
}
