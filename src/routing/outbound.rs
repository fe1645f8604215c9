//! Which external numbers may be called, and through which trunk (R13). Small, and apart from the table of
//! numbers, so that a call may hold it.

use std::sync::Arc;

use super::Trunk;
use crate::number::{E164, Prefix};

/// `[dial]` and the outbound trunks of one generation.
#[derive(Debug, Default)]
pub struct Outbound {
    /// Longest first; of equal ones, the denying first.
    dial: Vec<(Prefix, Verdict)>,
    /// Longest prefix first, then lowest priority, then as listed in the files.
    ways: Vec<Way>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    Deny,
    Allow,
}

#[derive(Debug)]
struct Way {
    prefix: Prefix,
    /// The weights of its gateways together.
    weight: u32,
    trunk: Arc<Trunk>,
}

/// Why no trunk carries a call to a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoWay {
    #[error("[dial] does not allow it")]
    Forbidden,
    #[error("no outbound trunk serves it")]
    NoTrunk,
}

impl Outbound {
    pub(super) fn new(allow: &[Prefix], deny: &[Prefix], trunks: &[Arc<Trunk>]) -> Outbound {
        let mut dial: Vec<_> = deny.iter().map(|prefix| (*prefix, Verdict::Deny)).collect();
        dial.extend(allow.iter().map(|prefix| (*prefix, Verdict::Allow)));
        dial.sort_by_key(|(prefix, verdict)| (std::cmp::Reverse(prefix.len()), *verdict));
        let mut ways: Vec<Way> = Vec::new();
        for trunk in trunks.iter().filter(|trunk| trunk.outbound && !trunk.gateways.is_empty()) {
            let weight = trunk.gateways.iter().map(|gateway| u32::from(gateway.weight)).sum();
            let of = |prefix: &Prefix| Way { prefix: *prefix, weight, trunk: Arc::clone(trunk) };
            ways.extend(trunk.prefixes.iter().map(of));
        }
        ways.sort_by_key(|way| (std::cmp::Reverse(way.prefix.len()), way.prefix, way.trunk.priority));
        Outbound { dial, ways }
    }

    /// Whether `[dial]` lets us call it: its longest prefix decides, `deny` among equals; none: it is forbidden.
    pub fn allows(&self, number: E164) -> bool {
        self.dial
            .iter()
            .find(|(prefix, _)| prefix.covers(number))
            .is_some_and(|(_, verdict)| *verdict == Verdict::Allow)
    }

    /// The trunk for a call to this external number: `forced` (a number's own `trunk`), else the outbound trunk
    /// with the longest prefix, then the lowest priority; among equals `draw` chooses by weight.
    pub fn choose(&self, number: E164, forced: Option<&Arc<Trunk>>, draw: u32) -> Result<Arc<Trunk>, NoWay> {
        if !self.allows(number) {
            return Err(NoWay::Forbidden);
        }
        match forced {
            Some(trunk) => Ok(Arc::clone(trunk)),
            None => self.way(number, &[], draw).cloned().ok_or(NoWay::NoTrunk),
        }
    }

    /// [`Outbound::choose`] for a number that is allowed, with no trunk forced, among those that have not been `tried`.
    pub(super) fn way(&self, number: E164, tried: &[&Trunk], draw: u32) -> Option<&Arc<Trunk>> {
        let equal = self.best(number, tried);
        let total: u32 = equal.clone().map(|way| way.weight).sum();
        let first = equal.clone().next()?;
        let mut left = draw.checked_rem(total).unwrap_or(0);
        for way in equal {
            match left.checked_sub(way.weight) {
                Some(rest) if total > 0 => left = rest,
                Some(_) | None => return Some(&way.trunk),
            }
        }
        Some(&first.trunk)
    }

    /// The trunks among which [`Outbound::choose`] draws where none is forced.
    pub(super) fn equals(&self, number: E164) -> impl Iterator<Item = &Arc<Trunk>> {
        self.best(number, &[]).map(|way| &way.trunk)
    }

    /// Those of the best rank that serve the number and have not been `tried`.
    fn best<'o>(&'o self, number: E164, tried: &[&Trunk]) -> impl Iterator<Item = &'o Way> + Clone {
        let is_left = move |way: &&Way| !tried.iter().any(|trunk| trunk.name == way.trunk.name);
        let serves = |way: &&Way| way.prefix.covers(number) && is_left(way);
        let rank = |way: &Way| (way.prefix, way.trunk.priority);
        let first = self.ways.iter().position(|way| serves(&way)).unwrap_or(self.ways.len());
        let rest = &self.ways[first..];
        let best = rest.first().map(rank);
        rest.iter().take_while(move |way| Some(rank(way)) == best).filter(is_left)
    }
}
