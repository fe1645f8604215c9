//! What the shards share: the records' slots, the calls of agents and trunks, ringing calls by caller, and our
//! own addresses. Counts behind sharded maps and atomics; nothing here waits.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dashmap::DashMap;

use super::directory::Registrations;
use super::exchange::Desk;
use super::exchange::binding::Directory;
use super::held::Held;
use super::help::Help;
use super::hosts::Hosts;
use super::trunks::Trunks;
use crate::number::E164;
use crate::routing::{Agent, Trunk};
use crate::sip::peer::ListenerId;
use crate::time::Instant;
use crate::transport::guests::Guests;

/// Own addresses remembered by destination. Past this many destinations all are asked again, which also lets a
/// changed route in.
const ADDRESSES: usize = 4096;

/// Calls per second: when the last of them began. So many in any second and not one more, whenever it begins: a carrier
/// that counts refuses what a bucket that fills up again would let through.
#[derive(Debug, Default)]
pub struct Pace(Mutex<VecDeque<Instant>>);

impl Pace {
    /// Whether one more may begin at `now`, where `per_second` may in a second; 0 is no limit. Takes 8 bytes for each.
    pub fn take(&self, now: Instant, per_second: u32) -> bool {
        if per_second == 0 {
            return true;
        }
        let mut began = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while began.front().is_some_and(|first| now.since(*first) >= Duration::from_secs(1)) {
            began.pop_front();
        }
        let has_room = began.len() < per_second as usize;
        if has_room {
            began.push_back(now);
        }
        has_room
    }

    /// How many began in the second before `now`.
    pub fn taken(&self, now: Instant) -> u32 {
        let began = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_late = began.iter().rev().take_while(|at| now.since(**at) < Duration::from_secs(1)).count();
        u32::try_from(of_late).unwrap_or(u32::MAX)
    }
}

/// Which of a trunk's limits refuses a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Limit {
    #[error("the trunk carries as many calls as it may (max_calls)")]
    Calls,
    #[error("the trunk takes no more calls this second (max_cps)")]
    Pace,
}

/// A listener as the desk knows it.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// What it is bound to, its real port included.
    pub bound: SocketAddr,
    /// What the operator wants Via and Contact to say.
    pub advertise: Option<SocketAddr>,
}

/// The node's shared counts.
#[derive(Debug)]
pub struct SharedDesk {
    /// Call records under way to disk, and how many may be.
    records: AtomicUsize,
    most_records: usize,
    places: Vec<Place>,
    addresses: DashMap<IpAddr, IpAddr>,
    agents: Held<String>,
    trunks: Held<String>,
    paces: DashMap<String, Pace>,
    /// Where the agents' phones are.
    pub registrations: Registrations,
    /// How the trunks are.
    pub states: Trunks,
    callers: Held<u64>,
    loops: Held<(u64, u64)>,
    help: Help,
    /// Where the hosts are that have names.
    pub hosts: Arc<Hosts>,
}

impl SharedDesk {
    /// `records`: how many call records may be under way at once (R12). `places`: the listeners in order.
    pub fn new(records: usize, places: Vec<Place>) -> SharedDesk {
        SharedDesk {
            records: AtomicUsize::new(0),
            most_records: records,
            places,
            addresses: DashMap::new(),
            agents: Held::default(),
            trunks: Held::default(),
            paces: DashMap::new(),
            registrations: Registrations::default(),
            states: Trunks::default(),
            callers: Held::default(),
            loops: Held::default(),
            help: Help::default(),
            hosts: Arc::default(),
        }
    }

    /// Tells these by which of their connections phones are bound. To be said before any is.
    pub fn with_guests(self, guests: Arc<Guests>) -> SharedDesk {
        SharedDesk { registrations: Registrations::telling(guests), ..self }
    }

    /// Reserves a call record's slot (R12). False: no slot, no call.
    pub fn reserve_record(&self) -> bool {
        let more = |taken: usize| (taken < self.most_records).then_some(taken + 1);
        self.records.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    /// So many records are stored, or were never written: their slots are free again.
    pub fn release_records(&self, count: usize) {
        let fewer = |taken: usize| Some(taken.saturating_sub(count));
        self.records.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fewer).ok();
    }

    /// Takes a place among an agent's calls (R3.3); false: the agent is busy.
    pub fn take_agent(&self, name: &str, max_calls: u32) -> bool {
        self.agents.take(name, max_calls)
    }

    pub fn free_agent(&self, name: &str) {
        self.agents.give(name);
    }

    /// Calls that an agent has now.
    pub fn agent_calls(&self, name: &str) -> u32 {
        self.agents.count(name)
    }

    /// Takes a place among a trunk's calls (R14); 0 is no limit.
    pub fn take_trunk(&self, name: &str, now: Instant, max_calls: u32, max_cps: u32) -> Result<(), Limit> {
        if !self.trunks.take(name, max_calls) {
            return Err(Limit::Calls);
        }
        if max_cps == 0 {
            return Ok(());
        }
        let in_pace = match self.paces.get(name) {
            Some(pace) => pace.take(now, max_cps),
            None => self.paces.entry(name.to_owned()).or_default().take(now, max_cps),
        };
        if !in_pace {
            self.trunks.give(name);
            return Err(Limit::Pace);
        }
        Ok(())
    }

    pub fn free_trunk(&self, name: &str) {
        self.trunks.give(name);
    }

    /// Calls that a trunk carries now.
    pub fn trunk_calls(&self, name: &str) -> u32 {
        self.trunks.count(name)
    }

    /// Calls of a trunk with `max_cps` that began in the last second.
    pub fn trunk_pace(&self, name: &str, now: Instant) -> u32 {
        self.paces.get(name).map_or(0, |pace| pace.taken(now))
    }

    /// What Via and Contact say to `towards`: `advertise`, else what the listener is bound to, else (bound to any
    /// address) what the kernel sends from to that peer.
    pub fn local_address(&self, listener: ListenerId, towards: IpAddr) -> SocketAddr {
        let Some(place) = self.places.get(usize::from(listener.0)) else {
            return SocketAddr::new(unspecified(towards), 0);
        };
        if let Some(advertise) = place.advertise {
            return advertise;
        }
        if !place.bound.ip().is_unspecified() {
            return place.bound;
        }
        let ip = self.sends_from(towards);
        ip.map_or(place.bound, |ip| SocketAddr::new(ip, place.bound.port()))
    }

    /// Whether an address is this machine's. The kernel sends to one of its own from that same one, but for those of
    /// 127.0.0.0/8, which it has all.
    pub fn is_local(&self, ip: IpAddr) -> bool {
        ip.is_loopback() || self.sends_from(ip) == Some(ip)
    }

    fn sends_from(&self, towards: IpAddr) -> Option<IpAddr> {
        if let Some(known) = self.addresses.get(&towards) {
            return Some(*known);
        }
        let ip = sends_from(towards)?;
        if self.addresses.len() >= ADDRESSES {
            self.addresses.clear();
        }
        self.addresses.insert(towards, ip);
        Some(ip)
    }
}

impl Desk for SharedDesk {
    fn reserve_record(&self) -> bool {
        SharedDesk::reserve_record(self)
    }

    fn reserve_record_beyond(&self) {
        self.records.fetch_add(1, Ordering::Relaxed);
    }

    fn release_record(&self) {
        self.release_records(1);
    }

    fn local_address(&self, listener: ListenerId, towards: IpAddr) -> SocketAddr {
        SharedDesk::local_address(self, listener, towards)
    }

    fn is_local(&self, ip: IpAddr) -> bool {
        SharedDesk::is_local(self, ip)
    }

    fn take_agent(&self, agent: &Agent) -> bool {
        SharedDesk::take_agent(self, &agent.name, agent.max_calls)
    }

    fn free_agent(&self, agent: &Agent) {
        SharedDesk::free_agent(self, &agent.name);
    }

    fn seat_agent(&self, agent: &Agent) {
        self.agents.take(&*agent.name, 0);
    }

    fn take_trunk(&self, trunk: &Trunk, now: Instant) -> bool {
        let taken = SharedDesk::take_trunk(self, &trunk.name, now, trunk.max_calls, trunk.max_cps).is_ok();
        if !taken {
            self.states.refused(&trunk.name);
        }
        taken
    }

    fn seat_trunk(&self, trunk: &Trunk) {
        self.trunks.take(&*trunk.name, 0);
    }

    fn free_trunk(&self, trunk: &Trunk) {
        SharedDesk::free_trunk(self, &trunk.name);
    }

    fn ringing_began(&self, caller: E164, did: E164) -> (u32, u32) {
        let (caller, did) = (caller.to_bits(), did.to_bits());
        (self.callers.add(caller), self.loops.add((caller, did)))
    }

    fn ringing_ended(&self, caller: E164, did: E164) {
        let (caller, did) = (caller.to_bits(), did.to_bits());
        self.callers.give(&caller);
        self.loops.give(&(caller, did));
    }

    fn help(&self) -> &Help {
        &self.help
    }

    fn hosts(&self) -> &Hosts {
        &self.hosts
    }

    fn directory(&self) -> &dyn Directory {
        &self.registrations
    }

    fn trunks(&self) -> &Trunks {
        &self.states
    }
}

/// The address that the kernel would send from: connecting a UDP socket sends nothing and asks the routing table.
pub(super) fn sends_from(towards: IpAddr) -> Option<IpAddr> {
    let socket = UdpSocket::bind(SocketAddr::new(unspecified(towards), 0)).ok()?;
    socket.connect(SocketAddr::new(towards, 5060)).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

fn unspecified(like: IpAddr) -> IpAddr {
    match like {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn desk() -> SharedDesk {
        let bound = |text: &str| Place { bound: text.parse().unwrap(), advertise: None };
        let advertised =
            Place { advertise: Some("203.0.113.5:5060".parse().unwrap()), ..bound("0.0.0.0:5060") };
        SharedDesk::new(
            2,
            vec![bound("127.0.0.1:5060"), bound("0.0.0.0:5070"), advertised, bound("[::]:5080")],
        )
    }

    #[test]
    fn a_record_slot_is_given_out_once() {
        let desk = desk();
        assert!(desk.reserve_record() && desk.reserve_record());
        assert!(!desk.reserve_record());
        desk.release_records(1);
        assert!(desk.reserve_record());
    }

    #[test]
    fn r03_an_agent_with_max_calls_is_busy_until_one_ends() {
        let desk = desk();
        assert!(desk.take_agent("alice", 2) && desk.take_agent("alice", 2));
        assert!(!desk.take_agent("alice", 2));
        desk.free_agent("alice");
        assert_eq!(desk.agent_calls("alice"), 1);
        assert!(desk.take_agent("alice", 2));
        desk.free_agent("alice");
        desk.free_agent("alice");
        assert!(desk.agents.is_empty(), "nothing held, nothing kept");
    }

    #[test]
    fn r14_a_trunk_has_a_limit_of_calls_and_one_of_pace() {
        let desk = desk();
        let at = |ms: u64| Instant::from_micros(ms * 1000);
        let take = |ms| desk.take_trunk("carrier", at(ms), 6, 4);
        assert_eq!([take(0), take(0), take(0), take(0)], [Ok(()); 4]);
        assert_eq!(take(1), Err(Limit::Pace));
        assert_eq!(take(999), Err(Limit::Pace), "four in any second");
        assert_eq!([take(1000), take(1500)], [Ok(()); 2]);
        assert_eq!(take(1501), Err(Limit::Calls));
        assert_eq!(desk.trunk_calls("carrier"), 6);
    }

    #[test]
    fn r14_no_second_has_more_calls_than_it_may() {
        let pace = Pace::default();
        // A call every ms for three seconds, after a long silence.
        let at = |ms: u64| Instant::from_micros(3_600_000_000 + ms * 1_000);
        let taken: Vec<u64> = (0..3_000).filter(|ms| pace.take(at(*ms), 7)).collect();
        assert_eq!(taken.len(), 21);
        assert!(taken.windows(8).all(|eight| eight[7] - eight[0] >= 1_000), "{taken:?}");
    }

    #[test]
    fn ringing_calls_are_counted_by_caller_and_by_forwarded_number() {
        let number = |text| E164::parse_e164(text).unwrap();
        let (caller, did) = (number("+12025550123"), number("+12015550101"));
        let desk = desk();
        assert_eq!(desk.ringing_began(caller, did), (1, 1));
        assert_eq!(desk.ringing_began(caller, number("+12015550102")), (2, 1));
        assert_eq!(desk.ringing_began(caller, did), (3, 2));
        desk.ringing_ended(caller, did);
        assert_eq!(desk.ringing_began(caller, did), (3, 2));
    }

    #[test]
    fn our_address_is_what_is_advertised_else_bound_else_what_the_kernel_sends_from() {
        let desk = desk();
        let to = IpAddr::from([127, 0, 0, 7]);
        let text = |id, to| desk.local_address(ListenerId(id), to).to_string();
        assert_eq!(text(0, to), "127.0.0.1:5060");
        assert_eq!(text(1, to), "127.0.0.1:5070");
        assert_eq!(text(1, to), "127.0.0.1:5070", "from memory");
        assert_eq!(text(2, to), "203.0.113.5:5060");
        assert_eq!(text(3, Ipv6Addr::LOCALHOST.into()), "[::1]:5080");
    }
}
