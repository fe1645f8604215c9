//! How often who tried a password, and how much further each may (R1b). Bounded in memory and in time, whoever guesses:
//! nothing here is ever looked through.

use std::hash::{BuildHasher as _, Hash, RandomState};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use dashmap::DashMap;

use super::exchange::binding::{Asked, Standing, Way};
use crate::sip::digest::{Credentials, LIFETIME};
use crate::time::Instant;

/// A port of a source is asked for its password so often: 5,000 phones behind one proxy that all come back at once are
/// through in five seconds; a flood costs no more than that.
const CHALLENGES: Bucket = Bucket { every: Duration::from_millis(1), burst: 1_000 };
/// A source may be wrong so often with one name: a typing error, and a phone that asks again.
const TRIES_OF_A_NAME: Bucket = Bucket { every: Duration::from_secs(30), burst: 6 };
/// … and with all names together: many phones behind one address, some of them wrong.
const TRIES_OF_A_SOURCE: Bucket = Bucket { every: Duration::from_secs(1), burst: 60 };
/// Once a name was wrong so often, passwords of it are looked at no oftener than this, all such names of a port
/// together: who knows the right one is through within a second or two by the repetitions of its request, and who
/// guesses gets no further than 20 a second by one port and 25 by all, unanswered.
const FURTHER_TRIES: Bucket = Bucket { every: Duration::from_millis(50), burst: 20 };
/// Names that were not wrong themselves, at a source that was: behind one proxy all phones share an address, and come
/// back by the thousand when it was restarted.
const TRIES_OF_OTHERS: Bucket = Bucket { every: Duration::from_millis(5), burst: 200 };
/// So many wrong answers to one nonce, then none to it is looked at: who guesses has to ask anew, and that at the rate
/// of challenges, and a flood that repeats one nonce takes no tries from anybody.
const TRIES_OF_A_NONCE: Bucket = Bucket { every: LIFETIME, burst: 3 };
/// Of each count so many are kept for sure, the latest, and at most twice as many: 5 MiB. Who has more addresses than
/// that is slowed by how many guesses a node takes at all.
const KEPT: usize = 65_536;
/// One subscriber of IPv6 has so many bits of an address to choose from (RFC 6177 §2: a /64 at least).
const OWN_BITS: u32 = 64;

/// How fast something may be done, and how much of it at once.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    every: Duration,
    burst: u32,
}

impl Bucket {
    /// Whether one more may be done, when it was empty at `empty_at`.
    fn has_room(self, empty_at: Instant, now: Instant) -> bool {
        empty_at.since(now) + self.every <= self.every * self.burst
    }

    fn fill(self, empty_at: &mut Instant, now: Instant) {
        *empty_at = (*empty_at).max(now) + self.every;
    }

    /// What a source has where each of its ports has this: a quarter more. So one phone that guesses, or floods, does
    /// not shut out the others behind its NAT.
    fn of_all_ports(self) -> Bucket {
        Bucket { every: self.every * 4 / 5, burst: self.burst * 5 / 4 }
    }
}

/// When what bucket is empty, by a hash that nobody outside knows: so none is met by chance or by design. In two
/// halves: when the younger is full it becomes the older one, and that is forgotten.
#[derive(Debug, Default)]
struct Counts {
    halves: [DashMap<u64, Instant>; 2],
    young: AtomicUsize,
}

impl Counts {
    fn empty_at(&self, key: u64) -> Option<Instant> {
        let young = self.young.load(Ordering::Relaxed);
        [young, 1 - young].into_iter().find_map(|half| self.halves[half].get(&key).map(|at| *at))
    }

    fn has_room(&self, key: u64, bucket: Bucket, now: Instant) -> bool {
        self.empty_at(key).is_none_or(|empty_at| bucket.has_room(empty_at, now))
    }

    /// Does one more where there is room. What is full gets no fuller: it has room again when its time is over.
    fn take(&self, key: u64, bucket: Bucket, now: Instant) -> bool {
        let young = self.young.load(Ordering::Relaxed);
        if let Some(mut empty_at) = self.halves[young].get_mut(&key) {
            let may = bucket.has_room(*empty_at, now);
            if may {
                bucket.fill(&mut empty_at, now);
            }
            return may;
        }
        let old = self.halves[1 - young].get(&key).map(|empty_at| *empty_at);
        let mut empty_at = old.unwrap_or(Instant::ZERO);
        if !bucket.has_room(empty_at, now) {
            return false;
        }
        bucket.fill(&mut empty_at, now);
        self.insert(key, empty_at, young);
        true
    }

    /// Where another shard has made the halves change places meanwhile, one of the counts is forgotten early.
    fn insert(&self, key: u64, empty_at: Instant, mut young: usize) {
        if self.halves[young].len() >= KEPT {
            young = 1 - young;
            self.halves[young].clear();
            self.young.store(young, Ordering::Relaxed);
        }
        self.halves[young].insert(key, empty_at);
    }
}

/// What the ports of a source share.
#[derive(Debug, Default)]
struct Shared {
    ports: Counts,
    sources: Counts,
}

impl Shared {
    fn take(&self, who: Who, bucket: Bucket, now: Instant) -> bool {
        self.ports.has_room(who.port, bucket, now)
            && self.sources.take(who.source, bucket.of_all_ports(), now)
            && self.ports.take(who.port, bucket, now)
    }
}

/// Who tries, as it is counted.
#[derive(Clone, Copy)]
struct Who {
    source: u64,
    port: u64,
}

/// Where a request came from, as its tries are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// A registered phone, whoever else is at its address: it is slowed by what it does itself.
    Phone(Way),
    /// Anybody else: by the address, and by the port there.
    Stranger(IpAddr, u16),
}

impl Source {
    /// `is_phone`: a phone is bound that comes this way.
    pub fn of(way: Way, addr: SocketAddr, is_phone: bool) -> Source {
        if is_phone { Source::Phone(way) } else { Source::Stranger(network(addr.ip()), addr.port()) }
    }
}

/// What one subscriber has: an address of IPv4, a /64 of IPv6.
fn network(addr: IpAddr) -> IpAddr {
    match addr.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> OWN_BITS << OWN_BITS)),
    }
}

/// All that is counted.
#[derive(Debug, Default)]
pub struct Tries {
    /// Of each kind that is asked.
    challenges: [Shared; 3],
    sources: Counts,
    names: Counts,
    nonces: Counts,
    further: Shared,
    others: Shared,
    hasher: RandomState,
}

impl Tries {
    fn who(&self, from: Source) -> Who {
        let port = self.hasher.hash_one(from);
        match from {
            Source::Phone(_) => Who { source: port, port },
            Source::Stranger(addr, _) => Who { source: self.hasher.hash_one(addr), port },
        }
    }

    pub fn may_challenge(&self, from: Source, asked: Asked, now: Instant) -> bool {
        self.challenges[asked as usize].take(self.who(from), CHALLENGES, now)
    }

    pub fn may_try(&self, from: Source, given: &Credentials<'_>, now: Instant) -> Standing {
        if !self.nonces.has_room(self.hasher.hash_one(given.nonce), TRIES_OF_A_NONCE, now) {
            return Standing::Deaf;
        }
        let who = self.who(from);
        let name = self.hasher.hash_one((who.source, given.username));
        let name_is_good = self.names.has_room(name, TRIES_OF_A_NAME, now);
        let source_is_good = self.sources.has_room(who.source, TRIES_OF_A_SOURCE, now);
        let is_looked_at = match (name_is_good, source_is_good) {
            (true, true) => return Standing::Good,
            (true, false) => self.others.take(who, TRIES_OF_OTHERS, now),
            (false, _) => self.further.take(who, FURTHER_TRIES, now),
        };
        if is_looked_at { Standing::Suspect } else { Standing::Deaf }
    }

    pub fn was_wrong(&self, from: Source, given: &Credentials<'_>, now: Instant) {
        let who = self.who(from);
        self.nonces.take(self.hasher.hash_one(given.nonce), TRIES_OF_A_NONCE, now);
        self.names.take(self.hasher.hash_one((who.source, given.username)), TRIES_OF_A_NAME, now);
        self.sources.take(who.source, TRIES_OF_A_SOURCE, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::from_micros(seconds * 1_000_000)
    }

    fn source(text: &str) -> Source {
        let addr = text.parse().unwrap();
        Source::of(Way::Addr(addr), addr, false)
    }

    #[test]
    fn r01_b_a_source_is_asked_at_a_bounded_rate() {
        let tries = Tries::default();
        let asked_for =
            |what, text, now| (0..20_000).filter(|_| tries.may_challenge(source(text), what, now)).count();
        let asked = |text, now| asked_for(Asked::Registration, text, now);
        assert_eq!(asked("192.0.2.1:5060", at(10)), 1_000);
        assert_eq!(asked("192.0.2.1:5060", at(11)), 1_000);
        assert_eq!(asked("192.0.2.2:5060", at(11)), 1_000);
        // Others behind the same NAT are left a quarter of it, however loud one is.
        assert_eq!(asked("192.0.2.1:1024", at(11)), 250);
        assert_eq!(asked("192.0.2.1:1025", at(11)), 0);
        assert_eq!(asked_for(Asked::Call, "192.0.2.1:1025", at(11)), 1_000);
        assert_eq!(asked_for(Asked::Help, "192.0.2.1:5060", at(11)), 1_000, "whoever floods with whatever");
        // Who has a whole network of IPv6 has one count all the same, and no other subscriber has it.
        assert_eq!(asked("[2001:db8::1]:5060", at(11)), 1_000);
        assert_eq!(asked("[2001:db8::ffff:0:2]:1024", at(11)), 250);
        assert_eq!(asked("[2001:db8:0:1::1]:5060", at(11)), 1_000);
    }

    /// Credentials of a name, which are wrong each time.
    fn guess(tries: &Tries, from: Source, name: &str, nonce: u64, now: Instant) -> Standing {
        let text = format!(
            "Digest username=\"{name}\", realm=\"r\", nonce=\"{nonce}\", uri=\"sip:r\", response=\"{:032}\"",
            0
        );
        let given = Credentials::parse(text.as_bytes()).unwrap();
        let standing = tries.may_try(from, &given, now);
        if standing != Standing::Deaf {
            tries.was_wrong(from, &given, now);
        }
        standing
    }

    /// How many guesses were answered, looked at without an answer, and not looked at.
    fn counted(all: impl Iterator<Item = Standing>) -> [usize; 3] {
        all.fold([0; 3], |mut counts, standing| {
            counts[standing as usize] += 1;
            counts
        })
    }

    #[test]
    fn r01_b_who_guesses_is_slowed_name_by_name_and_source_by_source() {
        let (tries, here) = (Tries::default(), source("192.0.2.1:5060"));
        let mut nonce = 0;
        let mut again = |now| {
            nonce += 1;
            guess(&tries, here, "alice", nonce, now)
        };
        assert_eq!(counted((0..1000).map(|_| again(at(100)))), [6, 20, 974]);
        assert_eq!(counted((0..1000).map(|_| again(at(101)))), [0, 20, 980]);
        assert_eq!(counted((0..1000).map(|_| again(at(130)))), [1, 20, 979], "one more in half a minute");
        let tries = Tries::default();
        let names = (0..1000).map(|name| guess(&tries, here, &name.to_string(), name, at(131)));
        assert_eq!(counted(names), [60, 200, 740], "60 of all names together, and others are looked at on");
    }

    #[test]
    fn r01_b_who_guesses_leaves_others_at_its_address_their_share() {
        let tries = Tries::default();
        let mut nonce = 0;
        let mut tries_at = |text: &str| {
            nonce += 1;
            guess(&tries, source(text), "alice", nonce, at(100))
        };
        assert_eq!(counted((0..1000).map(|_| tries_at("192.0.2.1:1024"))), [6, 20, 974]);
        assert_eq!(tries_at("192.0.2.1:1025"), Standing::Suspect, "it is looked at");
        // All ports together are bounded.
        assert_eq!(counted((1026..9000).map(|port| tries_at(&format!("192.0.2.1:{port}")))), [0, 4, 7970]);
        let bound = "192.0.2.1:5060".parse().unwrap();
        let phone = Source::of(Way::Addr(bound), bound, true);
        assert_eq!(guess(&tries, phone, "alice", 9_999, at(100)), Standing::Good, "a bound phone is apart");
    }

    #[test]
    fn r01_b_a_nonce_takes_three_wrong_answers_and_no_more() {
        let (tries, here) = (Tries::default(), source("192.0.2.1:5060"));
        let same = (0..1000).map(|_| guess(&tries, here, "alice", 1, at(100)));
        assert_eq!(counted(same), [3, 0, 997]);
        assert_eq!(
            guess(&tries, here, "alice", 2, at(100)),
            Standing::Good,
            "another phone is not hurt by it"
        );
    }

    #[test]
    fn r01_b_what_is_counted_is_bounded_and_the_latest_is_kept() {
        let counts = Counts::default();
        let bucket = Bucket { every: Duration::from_secs(600), burst: 1 };
        for key in 0..500_000 {
            assert!(counts.take(key, bucket, at(1)), "{key}");
            let latest = u64::saturating_sub(key, KEPT as u64 - 1);
            assert!(!counts.has_room(latest, bucket, at(1)), "{latest} of {key}");
        }
        assert!(counts.halves.iter().all(|half| half.len() <= KEPT));
        // What goes on is carried over from the older half to the younger one.
        let (counts, bucket) =
            (Counts::default(), Bucket { every: Duration::from_secs(600), burst: 1_000_000 });
        for key in 0..500_000 {
            counts.take(key, bucket, at(1));
            counts.take(u64::MAX, bucket, at(1));
        }
        assert_eq!(counts.empty_at(u64::MAX), Some(at(1 + 600 * 500_000)));
    }
}
