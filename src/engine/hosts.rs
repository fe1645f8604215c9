//! Where the hosts are that the configuration names, the same for all shards: what DNS has said last, and which of
//! those addresses failed. Read on the call path without a lock; nothing here waits, `lookup` asks.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use hashbrown::HashMap;
use smallvec::SmallVec;

use crate::routing::Host;
use crate::sip::peer::Transport;
use crate::time::Instant;

/// How long an address that failed is tried last (RFC 3263 §4.3 leaves it to us): as long as an OPTIONS interval is
/// by default, twice.
const DEAD_FOR: Duration = Duration::from_secs(60);

/// One address of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// The lowest is tried first: by NAPTR, then by SRV (RFC 3263 §4.1, RFC 2782).
    pub rank: u32,
    /// Which of the host's servers this is an address of (SRV); 0 where it has but one.
    pub server: u16,
    /// Of the server, among those of one rank.
    pub weight: u16,
    pub addr: SocketAddr,
    pub transport: Transport,
}

/// A target, and until when it is tried last (µs; 0: it has not failed).
#[derive(Debug)]
struct Known {
    target: Target,
    dead_until: AtomicU64,
}

impl Known {
    fn is_dead(&self, now: Instant) -> bool {
        self.dead_until.load(Ordering::Relaxed) > now.as_micros()
    }

    fn is_at(&self, hop: Hop) -> bool {
        (self.target.addr, self.target.transport) == hop
    }
}

/// Where a request goes, and how: what is dead by UDP may live by TCP.
pub type Hop = (SocketAddr, Transport);

/// Every host that was found.
#[derive(Debug, Default)]
pub struct Hosts(ArcSwap<HashMap<Arc<Host>, Arc<[Known]>, std::hash::RandomState>>);

/// Addresses in the order in which one call tries them.
pub type InOrder = SmallVec<[Target; 4]>;

impl Hosts {
    /// The addresses of a host in the order in which one call tries them: those that failed just now behind all others,
    /// then by rank, and among the servers of one rank by lot, each as likely as its weight says (RFC 2782), with its
    /// addresses, by lot too, behind one another. Empty: it was not found yet.
    pub fn in_order(&self, host: &Host, now: Instant, mut draw: impl FnMut() -> u64) -> InOrder {
        let found = self.0.load();
        let Some(known) = found.get(host) else { return InOrder::new() };
        let mut order: SmallVec<[(bool, Target); 4]> =
            known.iter().map(|known| (known.is_dead(now), known.target)).collect();
        let rank = |(dead, target): &(bool, Target)| (*dead, target.rank);
        order.sort_by_key(|one| (rank(one), one.1.server));
        let mut first = 0;
        while let Some(rest) = order.get_mut(first..).filter(|rest| !rest.is_empty()) {
            let equal = rest.iter().take_while(|other| rank(other) == rank(&rest[0])).count();
            first += put_first(&mut rest[..equal], &mut draw);
        }
        order.into_iter().map(|(_, target)| target).collect()
    }

    /// Nothing was heard of an address, or nothing reaches it: it is tried last for a while. True: another one is left
    /// that has not failed.
    pub fn failed(&self, host: &Host, hop: Hop, now: Instant) -> bool {
        let found = self.0.load();
        let Some(known) = found.get(host) else { return false };
        for dead in known.iter().filter(|known| known.is_at(hop)) {
            dead.dead_until.store((now + DEAD_FOR).as_micros(), Ordering::Relaxed);
        }
        known.iter().any(|known| !known.is_dead(now))
    }

    /// An address answered.
    pub fn lives(&self, host: &Host, hop: Hop) {
        let found = self.0.load();
        for known in found.get(host).iter().flat_map(|known| known.iter()) {
            // Mostly nothing changes, and nothing is written.
            if known.is_at(hop) && known.dead_until.load(Ordering::Relaxed) != 0 {
                known.dead_until.store(0, Ordering::Relaxed);
            }
        }
    }

    /// Whether a host has been found.
    pub fn knows(&self, host: &Host) -> bool {
        self.0.load().contains_key(host)
    }

    /// Whether one of them is there. Looks at every address that was found.
    pub fn is_one_at(&self, ip: IpAddr) -> bool {
        self.0.load().values().flat_map(|known| known.iter()).any(|known| known.target.addr.ip() == ip)
    }

    /// What DNS says of a host from now on. An address that stays keeps what is known of it.
    pub fn put(&self, host: &Arc<Host>, targets: &[Target]) {
        self.0.rcu(|found| {
            let before = found.get(&**host);
            let dead = |target: &Target| {
                let same = before?.iter().find(|known| known.is_at((target.addr, target.transport)))?;
                Some(same.dead_until.load(Ordering::Relaxed))
            };
            let known = targets.iter().map(|target| Known {
                target: *target,
                dead_until: AtomicU64::new(dead(target).unwrap_or(0)),
            });
            let mut found = HashMap::clone(found);
            found.insert(Arc::clone(host), known.collect());
            found
        });
    }

    /// DNS knows nothing of a host any more.
    pub fn forget(&self, host: &Host) {
        self.keep_only(|kept| kept != host);
    }

    /// Forgets the hosts that nobody names any more.
    pub fn keep_only(&self, wanted: impl Fn(&Host) -> bool) {
        if self.0.load().keys().all(|host| wanted(host)) {
            return;
        }
        self.0.rcu(|found| {
            let mut found = HashMap::clone(found);
            found.retain(|host, _| wanted(host));
            found
        });
    }
}

/// Draws the server that comes first among those of one rank, and puts its addresses in front. How many they are.
fn put_first(equal: &mut [(bool, Target)], draw: &mut impl FnMut() -> u64) -> usize {
    // A server's addresses are neighbours. A weight of 0 has a small chance, as RFC 2782 wants it.
    let of_one = |(_, a): &(bool, Target), (_, b): &(bool, Target)| a.server == b.server;
    let weight =
        |server: &[(bool, Target)]| server.first().map_or(0, |(_, one)| u64::from(one.weight).max(1));
    if equal.len() < 2 {
        return equal.len();
    }
    let total: u64 = equal.chunk_by(of_one).map(weight).sum();
    let mut left = draw() % total.max(1);
    let (mut begins, mut count) = (0, 0);
    for server in equal.chunk_by(of_one) {
        count = server.len();
        match left.checked_sub(weight(server)) {
            Some(less) => left = less,
            None => break,
        }
        begins += count;
    }
    equal[..begins + count].rotate_right(count);
    for place in 0..count.saturating_sub(1) {
        let among = (count - place) as u64;
        let drawn = usize::try_from(draw() % among).unwrap_or(0);
        equal.swap(place, place + drawn);
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(rank: u32, weight: u16, last: u8) -> Target {
        let addr = SocketAddr::from(([192, 0, 2, last], 5060));
        Target { rank, server: u16::from(last), weight, addr, transport: Transport::Udp }
    }

    fn hop(target: &Target) -> Hop {
        (target.addr, target.transport)
    }

    fn host() -> Arc<Host> {
        Arc::new(Host { name: "sbc.example.com".into(), port: None, transport: None, secure: false })
    }

    fn order(hosts: &Hosts, now: u64, draw: u64) -> Vec<u8> {
        let last = |target: &Target| match target.addr.ip() {
            std::net::IpAddr::V4(ip) => ip.octets()[3],
            std::net::IpAddr::V6(_) => 0,
        };
        hosts.in_order(&host(), Instant::from_micros(now), || draw).iter().map(last).collect()
    }

    #[test]
    fn r13_srv_goes_by_priority_then_by_weight() {
        let hosts = Hosts::default();
        assert_eq!(order(&hosts, 0, 0), [0u8; 0]);
        hosts.put(&host(), &[target(2, 1, 9), target(1, 3, 1), target(1, 1, 2)]);
        let firsts: Vec<u8> = (0..4).map(|draw| order(&hosts, 0, draw)[0]).collect();
        assert_eq!(firsts, [1, 1, 1, 2], "three of four");
        assert!((0..4).all(|draw| order(&hosts, 0, draw)[2] == 9));
    }

    #[test]
    fn rfc2782_a_weight_is_its_servers_however_many_addresses_that_has() {
        let hosts = Hosts::default();
        let one = |last| Target { server: 0, ..target(1, 1, last) };
        hosts.put(&host(), &[one(1), one(2), one(3), target(1, 1, 9)]);
        let firsts: Vec<bool> = (0..4).map(|draw| order(&hosts, 0, draw)[0] == 9).collect();
        assert_eq!(firsts, [false, true, false, true], "one of two");
        let first: Vec<u8> = order(&hosts, 0, 0);
        assert_eq!(first[3], 9, "the addresses of a server are behind one another");
    }

    #[test]
    fn what_was_found_is_known_by_its_address_until_it_is_forgotten() {
        let hosts = Hosts::default();
        let known = |hosts: &Hosts| [1, 2, 3].map(|last| hosts.is_one_at(target(1, 1, last).addr.ip()));
        hosts.put(&host(), &[target(1, 1, 1), target(2, 1, 2)]);
        assert_eq!(known(&hosts), [true, true, false]);
        hosts.put(&host(), &[target(1, 1, 3)]);
        assert_eq!(known(&hosts), [false, false, true]);
        hosts.forget(&host());
        assert_eq!(known(&hosts), [false; 3]);
    }

    #[test]
    fn r13_what_is_dead_by_udp_may_live_by_tcp() {
        let hosts = Hosts::default();
        let udp = target(1, 0, 1);
        let tcp = Target { transport: Transport::Tcp, ..target(2, 0, 1) };
        hosts.put(&host(), &[udp, tcp]);
        let now = Instant::from_micros(1_000_000);
        assert!(hosts.failed(&host(), hop(&udp), now));
        assert_eq!(hosts.in_order(&host(), now, || 0).first(), Some(&tcp));
        hosts.put(&host(), &[udp, tcp]);
        assert_eq!(hosts.in_order(&host(), now, || 0).first(), Some(&tcp));
        hosts.lives(&host(), hop(&tcp));
        assert_eq!(hosts.in_order(&host(), now, || 0).first(), Some(&tcp), "nothing was heard by UDP");
    }

    #[test]
    fn r13_an_address_that_failed_is_tried_last_for_a_minute_and_stays_so_when_dns_says_the_same() {
        let hosts = Hosts::default();
        let all = [target(1, 0, 1), target(2, 0, 2)];
        hosts.put(&host(), &all);
        let now = Instant::from_micros(1_000_000);
        assert!(hosts.failed(&host(), hop(&all[0]), now), "another is left");
        assert_eq!(order(&hosts, 2_000_000, 0), [2, 1]);
        hosts.put(&host(), &all);
        assert_eq!(order(&hosts, 60_000_000, 0), [2, 1]);
        assert_eq!(order(&hosts, 61_000_001, 0), [1, 2]);
        assert!(hosts.failed(&host(), hop(&all[0]), now));
        assert!(!hosts.failed(&host(), hop(&all[1]), now), "all have failed");
        assert_eq!(order(&hosts, 2_000_000, 0), [1, 2], "as ever");
        hosts.lives(&host(), hop(&all[1]));
        assert_eq!(order(&hosts, 2_000_000, 0), [2, 1]);
        hosts.keep_only(|_| false);
        assert!(!hosts.knows(&host()));
    }
}
