//! Where the hosts are that the configuration names, the same for all shards: what DNS has said last, and which of
//! those addresses failed. Read on the call path without a lock; nothing here waits, `lookup` asks.

use std::net::SocketAddr;
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
    /// Among those of one rank.
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

/// Every host that was found.
#[derive(Debug, Default)]
pub struct Hosts(ArcSwap<HashMap<Arc<Host>, Arc<[Known]>, std::hash::RandomState>>);

/// Addresses in the order in which one call tries them.
pub type InOrder = SmallVec<[Target; 4]>;

impl Hosts {
    /// The addresses of a host in the order in which one call tries them: those that failed just now behind all others,
    /// then by rank, and among equals by lot, each as likely as its weight says (RFC 2782). Empty: it was not found yet.
    pub fn in_order(&self, host: &Host, now: Instant, mut draw: impl FnMut() -> u64) -> InOrder {
        let found = self.0.load();
        let Some(known) = found.get(host) else { return InOrder::new() };
        let is_dead = |known: &Known| known.dead_until.load(Ordering::Relaxed) > now.as_micros();
        let mut order: SmallVec<[(bool, Target); 4]> =
            known.iter().map(|known| (is_dead(known), known.target)).collect();
        order.sort_by_key(|(dead, target)| (*dead, target.rank));
        for first in 0..order.len() {
            let rank = |(dead, target): &(bool, Target)| (*dead, target.rank);
            let rest = &order[first..];
            let equal = rest.iter().take_while(|other| rank(other) == rank(&rest[0])).count();
            if equal < 2 {
                continue;
            }
            // A weight of 0 has a small chance, as RFC 2782 wants it.
            let weight = |(_, target): &(bool, Target)| u64::from(target.weight).max(1);
            let total: u64 = rest[..equal].iter().map(weight).sum();
            let mut left = draw() % total.max(1);
            let drawn = rest[..equal].iter().position(|other| match left.checked_sub(weight(other)) {
                Some(less) => {
                    left = less;
                    false
                }
                None => true,
            });
            order[first..=first + drawn.unwrap_or(0)].rotate_right(1);
        }
        order.into_iter().map(|(_, target)| target).collect()
    }

    /// Nothing was heard of an address, or nothing reaches it: it is tried last for a while. True: another one is left
    /// that has not failed.
    pub fn failed(&self, host: &Host, addr: SocketAddr, now: Instant) -> bool {
        let found = self.0.load();
        let Some(known) = found.get(host) else { return false };
        for dead in known.iter().filter(|known| known.target.addr == addr) {
            dead.dead_until.store((now + DEAD_FOR).as_micros(), Ordering::Relaxed);
        }
        known.iter().any(|known| known.dead_until.load(Ordering::Relaxed) <= now.as_micros())
    }

    /// An address answered.
    pub fn lives(&self, host: &Host, addr: SocketAddr) {
        let found = self.0.load();
        for known in found.get(host).iter().flat_map(|known| known.iter()) {
            // Mostly nothing changes, and nothing is written.
            if known.target.addr == addr && known.dead_until.load(Ordering::Relaxed) != 0 {
                known.dead_until.store(0, Ordering::Relaxed);
            }
        }
    }

    /// Whether a host has been found.
    pub fn knows(&self, host: &Host) -> bool {
        self.0.load().contains_key(host)
    }

    /// What DNS says of a host from now on. An address that stays keeps what is known of it.
    pub fn put(&self, host: &Arc<Host>, targets: &[Target]) {
        self.0.rcu(|found| {
            let before = found.get(&**host);
            let dead = |target: &Target| {
                let same = before?.iter().find(|known| known.target.addr == target.addr)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    fn target(rank: u32, weight: u16, last: u8) -> Target {
        let addr = SocketAddr::from(([192, 0, 2, last], 5060));
        Target { rank, weight, addr, transport: Transport::Udp }
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
    fn r13_an_address_that_failed_is_tried_last_for_a_minute_and_stays_so_when_dns_says_the_same() {
        let hosts = Hosts::default();
        let all = [target(1, 0, 1), target(2, 0, 2)];
        hosts.put(&host(), &all);
        let now = Instant::from_micros(1_000_000);
        assert!(hosts.failed(&host(), all[0].addr, now), "another is left");
        assert_eq!(order(&hosts, 2_000_000, 0), [2, 1]);
        hosts.put(&host(), &all);
        assert_eq!(order(&hosts, 60_000_000, 0), [2, 1]);
        assert_eq!(order(&hosts, 61_000_001, 0), [1, 2]);
        assert!(hosts.failed(&host(), all[0].addr, now));
        assert!(!hosts.failed(&host(), all[1].addr, now), "all have failed");
        assert_eq!(order(&hosts, 2_000_000, 0), [1, 2], "as ever");
        hosts.lives(&host(), all[1].addr);
        assert_eq!(order(&hosts, 2_000_000, 0), [2, 1]);
        hosts.keep_only(|_| false);
        assert!(!hosts.knows(&host()));
    }
}
