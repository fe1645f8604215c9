//! Which of our own addresses a far end wrote to, where a listener has all of them: what we send it leaves from there,
//! so that it comes from whom the far end asked (RFC 3581 §4, RFC 3261 §18.2.2).

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{PoisonError, RwLock};

/// Far ends of one generation. There are two: with the second one full, the first is forgotten. Some 5 MB in all, and
/// 16,384 far ends that were heard last are known whatever others do. One that is not known gets what the kernel picks.
const GENERATION: usize = 16_384;

/// What the shards' ports of one listener know together: the kernel spreads far ends over them, and any may answer.
#[derive(Default)]
pub struct Sources {
    known: RwLock<Known>,
}

#[derive(Default)]
struct Known {
    young: HashMap<SocketAddr, IpAddr>,
    old: HashMap<SocketAddr, IpAddr>,
}

impl Sources {
    /// `from` wrote to `own`.
    pub(super) fn learn(&self, from: SocketAddr, own: IpAddr) {
        let is_known =
            self.known.read().unwrap_or_else(PoisonError::into_inner).young.get(&from) == Some(&own);
        // Nothing can be sent from a group's address.
        if is_known || own.is_multicast() {
            return;
        }
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if known.young.len() >= GENERATION {
            known.old = std::mem::take(&mut known.young);
        }
        known.young.insert(from, own);
    }

    /// Which of our addresses a far end wrote to last.
    pub fn of(&self, to: SocketAddr) -> Option<IpAddr> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.young.get(&to).or_else(|| known.old.get(&to)).copied()
    }

    /// Our address is gone: the kernel picks another.
    pub(super) fn forget(&self, to: SocketAddr) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.young.remove(&to);
        known.old.remove(&to);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn far_ends_are_forgotten_by_generations_and_their_number_is_bounded() {
        let sources = Sources::default();
        let own = |last: u8| IpAddr::from([127, 0, 0, last]);
        let far = |number: usize| {
            SocketAddr::from(([10, 0, (number >> 8) as u8, number as u8], 5060 + (number >> 16) as u16))
        };
        sources.learn(far(0), own(1));
        sources.learn(far(0), own(2));
        assert_eq!(sources.of(far(0)), Some(own(2)), "the last that it wrote to");
        for number in 1..=GENERATION {
            sources.learn(far(number), own(3));
        }
        assert_eq!(sources.of(far(0)), Some(own(2)));
        for number in 1..=2 * GENERATION {
            sources.learn(far(number), own(3));
        }
        assert_eq!((sources.of(far(0)), sources.of(far(2 * GENERATION))), (None, Some(own(3))));
        let known = sources.known.read().unwrap();
        assert!(known.young.len() <= GENERATION && known.old.len() <= GENERATION);
        drop(known);
        sources.forget(far(2 * GENERATION));
        assert_eq!(sources.of(far(2 * GENERATION)), None);
    }

    #[test]
    fn a_group_is_no_address_to_send_from() {
        let sources = Sources::default();
        let far = SocketAddr::from(([10, 0, 0, 1], 5060));
        sources.learn(far, IpAddr::from([224, 0, 0, 1]));
        assert_eq!(sources.of(far), None);
    }
}
