//! How many connections the node holds, in all and for each address that no trunk knows (R14). One by which an agent's
//! phone has registered is no unknown one's: an office behind one NAT has as many phones as it likes.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use dashmap::DashMap;

use crate::sip::peer::FlowId;

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

/// Whom a connection's far end is known to.
pub struct Acquaintance {
    /// Whether an address belongs to a trunk.
    pub trunk: Box<dyn Fn(IpAddr) -> bool + Send + Sync>,
    /// Whether an agent's phone has registered by a connection, and still is.
    pub phone: Box<dyn Fn(FlowId) -> bool + Send + Sync>,
}

/// The count that the shards share.
pub struct Guests {
    known: Acquaintance,
    total: AtomicUsize,
    most: usize,
    /// Of `total`: those that addresses hold that no trunk knows.
    strangers: AtomicUsize,
    by_address: DashMap<IpAddr, Vec<FlowId>>,
    most_per_stranger: usize,
}

impl Guests {
    /// `most`: connections of the node; `most_per_stranger`: of one unknown address.
    pub fn new(most: usize, most_per_stranger: usize, known: Acquaintance) -> Arc<Guests> {
        Arc::new(Guests {
            known,
            total: AtomicUsize::new(0),
            most,
            strangers: AtomicUsize::new(0),
            by_address: DashMap::new(),
            most_per_stranger,
        })
    }

    /// A place for the connection `flow`, which `from` opened. It is given back when dropped.
    pub fn welcome(self: &Arc<Self>, from: IpAddr, flow: FlowId) -> Result<Place, NoRoom> {
        let stranger = !(self.known.trunk)(from);
        let from = house(from);
        if stranger {
            if self.strangers.load(Ordering::Relaxed) >= self.most / 4 * FOR_STRANGERS {
                return Err(NoRoom::Node);
            }
            let mut held = self.by_address.entry(from).or_default();
            if self.are_too_many(&held) {
                return Err(NoRoom::Address);
            }
            held.push(flow);
            self.strangers.fetch_add(1, Ordering::Relaxed);
        }
        let place = Place { guests: Arc::clone(self), stranger: stranger.then_some((from, flow)) };
        if self.total.fetch_add(1, Ordering::Relaxed) >= self.most { Err(NoRoom::Node) } else { Ok(place) }
    }

    /// Whether one address has as many connections as it may that no phone has registered by. Who only knocks came last:
    /// mostly a few are looked at, and never more than strangers may hold in all.
    fn are_too_many(&self, held: &[FlowId]) -> bool {
        let unknown = held.iter().rev().filter(|flow| !(self.known.phone)(**flow));
        held.len() >= self.most_per_stranger
            && unknown.take(self.most_per_stranger).count() == self.most_per_stranger
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
    stranger: Option<(IpAddr, FlowId)>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.guests.total.fetch_sub(1, Ordering::Relaxed);
        if let Some((from, flow)) = self.stranger {
            self.guests.strangers.fetch_sub(1, Ordering::Relaxed);
            if let Some(mut held) = self.guests.by_address.get_mut(&from)
                && let Some(at) = held.iter().rposition(|other| *other == flow)
            {
                held.remove(at);
            }
            self.guests.by_address.remove_if(&from, |_, held| held.is_empty());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A trunk has 127.0.0.9, and a phone has registered by each even flow.
    fn guests(most: usize, most_per_stranger: usize) -> Arc<Guests> {
        let known = Acquaintance {
            trunk: Box::new(|addr| addr == IpAddr::from([127, 0, 0, 9])),
            phone: Box::new(|flow| flow.0 % 2 == 0),
        };
        Guests::new(most, most_per_stranger, known)
    }

    /// Of somebody who has not registered.
    const FLOW: FlowId = FlowId(1);

    #[test]
    fn a_stranger_may_hold_so_many_and_a_trunk_any_number() {
        let guests = guests(10, 2);
        let stranger = IpAddr::from([127, 0, 0, 1]);
        let first = guests.welcome(stranger, FLOW).unwrap();
        let _second = guests.welcome(stranger, FLOW).unwrap();
        assert_eq!(guests.welcome(stranger, FLOW).err(), Some(NoRoom::Address));
        drop(first);
        assert!(guests.welcome(stranger, FLOW).is_ok());
        let held: Vec<_> =
            (0..9).map(|_| guests.welcome(IpAddr::from([127, 0, 0, 9]), FLOW).unwrap()).collect();
        assert_eq!(guests.invite().err(), Some(NoRoom::Node));
        drop(held);
        assert_eq!(guests.total(), 1);
    }

    #[test]
    fn an_address_that_holds_none_leaves_no_trace() {
        let guests = guests(10, 2);
        drop(guests.welcome(IpAddr::from([127, 0, 0, 1]), FLOW).unwrap());
        assert!(guests.by_address.is_empty());
        assert_eq!(guests.total(), 0);
    }

    #[test]
    fn strangers_leave_room_for_trunks_and_for_us_and_a_house_is_one_whatever_its_addresses() {
        let guests = guests(8, 2);
        let held: Vec<_> = (1..4)
            .flat_map(|last| [last, last])
            .map(|last| guests.welcome(IpAddr::from([127, 0, 1, last]), FLOW).unwrap())
            .collect();
        assert_eq!(
            guests.welcome(IpAddr::from([127, 0, 2, 1]), FLOW).err(),
            Some(NoRoom::Node),
            "three quarters"
        );
        let ours = (guests.welcome(IpAddr::from([127, 0, 0, 9]), FLOW).unwrap(), guests.invite().unwrap());
        drop((held, ours));
        let house = |last| IpAddr::from([0x2001, 0xdb8, 1, 2, 0, 0, 0, last]);
        let held = [guests.welcome(house(1), FLOW).unwrap(), guests.welcome(house(2), FLOW).unwrap()];
        assert_eq!(guests.welcome(house(3), FLOW).err(), Some(NoRoom::Address));
        assert!(guests.welcome(IpAddr::from([0x2001, 0xdb8, 1, 3, 0, 0, 0, 1]), FLOW).is_ok());
        drop(held);
        assert!(guests.by_address.is_empty() && guests.strangers.load(Ordering::Relaxed) == 0);
    }

    #[test]
    fn r14_connections_that_phones_have_registered_by_leave_their_address_its_share() {
        let guests = guests(100, 2);
        let office = IpAddr::from([127, 0, 0, 1]);
        let phones: Vec<_> = (0..20).map(|at| guests.welcome(office, FlowId(at * 2)).unwrap()).collect();
        let held = [1, 3].map(|flow| guests.welcome(office, FlowId(flow)).unwrap());
        assert_eq!(guests.welcome(office, FlowId(5)).err(), Some(NoRoom::Address));
        assert_eq!(guests.welcome(office, FlowId(40)).err(), Some(NoRoom::Address), "it is yet to register");
        drop(held);
        assert!(guests.welcome(office, FlowId(5)).is_ok());
        drop(phones);
        assert!(guests.by_address.is_empty() && guests.strangers.load(Ordering::Relaxed) == 0);
    }
}
