//! How many connections the node holds, in all and for each address that no trunk knows (R14).

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use dashmap::DashMap;

/// Strangers may hold so many of a node's connections, in quarters: the rest is kept for trunks and for those that we
/// open, so that nobody cuts us off from our gateways.
const FOR_STRANGERS: usize = 3;

/// Whom an address counts with: an IPv6 house has a /64 of its own (RFC 6177), and as many addresses as it likes.
fn house(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => ip,
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)).into(),
    }
}

/// Why a connection is refused or given up before it is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoRoom {
    #[error("the node holds as many connections as it may")]
    Node,
    #[error("this unknown address holds as many connections as it may")]
    Address,
}

/// The count that the shards share.
pub struct Guests {
    known: Box<dyn Fn(IpAddr) -> bool + Send + Sync>,
    total: AtomicUsize,
    most: usize,
    /// Of `total`: those that addresses hold that no trunk knows.
    strangers: AtomicUsize,
    by_address: DashMap<IpAddr, usize>,
    most_per_stranger: usize,
}

impl Guests {
    /// `known`: whether an address belongs to a trunk. `most`: connections of the node; `most_per_stranger`: of
    /// one unknown address.
    pub fn new(
        most: usize,
        most_per_stranger: usize,
        known: impl Fn(IpAddr) -> bool + Send + Sync + 'static,
    ) -> Arc<Guests> {
        Arc::new(Guests {
            known: Box::new(known),
            total: AtomicUsize::new(0),
            most,
            strangers: AtomicUsize::new(0),
            by_address: DashMap::new(),
            most_per_stranger,
        })
    }

    /// A place for a connection that `from` opened. It is given back when dropped.
    pub fn welcome(self: &Arc<Self>, from: IpAddr) -> Result<Place, NoRoom> {
        let stranger = !(self.known)(from);
        let from = house(from);
        if stranger {
            if self.strangers.load(Ordering::Relaxed) >= self.most / 4 * FOR_STRANGERS {
                return Err(NoRoom::Node);
            }
            let mut held = self.by_address.entry(from).or_insert(0);
            if *held >= self.most_per_stranger {
                return Err(NoRoom::Address);
            }
            *held += 1;
            self.strangers.fetch_add(1, Ordering::Relaxed);
        }
        let place = Place { guests: Arc::clone(self), stranger: stranger.then_some(from) };
        if self.total.fetch_add(1, Ordering::Relaxed) >= self.most { Err(NoRoom::Node) } else { Ok(place) }
    }

    /// A place for a connection that we open.
    pub fn invite(self: &Arc<Self>) -> Result<Place, NoRoom> {
        let place = Place { guests: Arc::clone(self), stranger: None };
        if self.total.fetch_add(1, Ordering::Relaxed) >= self.most { Err(NoRoom::Node) } else { Ok(place) }
    }

    /// Connections held now.
    pub fn total(&self) -> usize {
        self.total.load(Ordering::Relaxed)
    }
}

/// One connection's place.
pub struct Place {
    guests: Arc<Guests>,
    stranger: Option<IpAddr>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.guests.total.fetch_sub(1, Ordering::Relaxed);
        if let Some(from) = self.stranger {
            self.guests.strangers.fetch_sub(1, Ordering::Relaxed);
            if let Some(mut held) = self.guests.by_address.get_mut(&from) {
                *held = held.saturating_sub(1);
            }
            self.guests.by_address.remove_if(&from, |_, held| *held == 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stranger_may_hold_so_many_and_a_trunk_any_number() {
        let guests = Guests::new(10, 2, |addr| addr == IpAddr::from([127, 0, 0, 9]));
        let stranger = IpAddr::from([127, 0, 0, 1]);
        let first = guests.welcome(stranger).unwrap();
        let _second = guests.welcome(stranger).unwrap();
        assert_eq!(guests.welcome(stranger).err(), Some(NoRoom::Address));
        drop(first);
        assert!(guests.welcome(stranger).is_ok());
        let held: Vec<_> = (0..9).map(|_| guests.welcome(IpAddr::from([127, 0, 0, 9])).unwrap()).collect();
        assert_eq!(guests.invite().err(), Some(NoRoom::Node));
        drop(held);
        assert_eq!(guests.total(), 1);
    }

    #[test]
    fn an_address_that_holds_none_leaves_no_trace() {
        let guests = Guests::new(10, 2, |_| false);
        drop(guests.welcome(IpAddr::from([127, 0, 0, 1])).unwrap());
        assert!(guests.by_address.is_empty());
        assert_eq!(guests.total(), 0);
    }

    #[test]
    fn strangers_leave_room_for_trunks_and_for_us_and_a_house_is_one_whatever_its_addresses() {
        let guests = Guests::new(8, 2, |addr| addr == IpAddr::from([127, 0, 0, 9]));
        let held: Vec<_> = (1..4)
            .flat_map(|last| [last, last])
            .map(|last| guests.welcome(IpAddr::from([127, 0, 1, last])).unwrap())
            .collect();
        assert_eq!(guests.welcome(IpAddr::from([127, 0, 2, 1])).err(), Some(NoRoom::Node), "three quarters");
        let ours = (guests.welcome(IpAddr::from([127, 0, 0, 9])).unwrap(), guests.invite().unwrap());
        drop((held, ours));
        let house = |last| IpAddr::from([0x2001, 0xdb8, 1, 2, 0, 0, 0, last]);
        let held = [guests.welcome(house(1)).unwrap(), guests.welcome(house(2)).unwrap()];
        assert_eq!(guests.welcome(house(3)).err(), Some(NoRoom::Address));
        assert!(guests.welcome(IpAddr::from([0x2001, 0xdb8, 1, 3, 0, 0, 0, 1])).is_ok());
        drop(held);
        assert!(guests.by_address.is_empty() && guests.strangers.load(Ordering::Relaxed) == 0);
    }
}
