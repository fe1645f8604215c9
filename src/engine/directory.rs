//! The agents' bindings of one node, in memory; and how often who tried a password.

use std::hash::{BuildHasher as _, Hash, RandomState};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use dashmap::{DashMap, DashSet};

use super::exchange::binding::{Binding, Directory, Gone, Standing, Way};
use super::held::Held;
use crate::routing::Text;
use crate::sip::digest::{Credentials, LIFETIME};
use crate::sip::peer::FlowId;
use crate::time::Instant;

/// The nonces that are remembered of an agent: one for each of its phones and a few that are on their way out.
const NONCES: usize = 16;

/// A source is asked for its password so often: a house of 5,000 phones that all come back at once is through in
/// five seconds; a flood costs no more than that.
const CHALLENGES: Bucket = Bucket { every: Duration::from_millis(1), burst: 1_000 };
/// A source may be wrong so often with one name: a typing error, and a phone that asks again.
const TRIES_OF_A_NAME: Bucket = Bucket { every: Duration::from_secs(30), burst: 6 };
/// … and with all names together: many phones behind one address, some of them wrong.
const TRIES_OF_A_SOURCE: Bucket = Bucket { every: Duration::from_secs(1), burst: 60 };
/// Once a name was wrong so often, passwords of it are looked at no oftener than this, all such names of a source
/// together: who knows the right one is through within a second or two by the repetitions of its request, and who
/// guesses gets no further than 20 a second, unanswered.
const FURTHER_TRIES: Bucket = Bucket { every: Duration::from_millis(50), burst: 20 };
/// Names that were not wrong themselves, at a source that was: behind one proxy all phones share an address, and come
/// back by the thousand when it was restarted.
const TRIES_OF_OTHERS: Bucket = Bucket { every: Duration::from_millis(5), burst: 200 };
/// So many wrong answers to one nonce, then none to it is looked at: who guesses has to ask anew, and that at the rate
/// of challenges, and a flood that repeats one nonce takes no tries from anybody.
const TRIES_OF_A_NONCE: Bucket = Bucket { every: LIFETIME, burst: 3 };
/// Sources that are counted at once; when so many have come, those that are at rest are forgotten, and if there are
/// none, all of them.
const SOURCES: usize = 65_536;

/// What is kept of one agent.
#[derive(Debug, Default)]
struct Entry {
    bindings: Vec<Arc<Binding>>,
    nonces: Vec<Spent>,
    /// Nonces that were made no later are not taken any more, but for those in `nonces`.
    forgotten: Instant,
}

/// How a nonce has been used.
#[derive(Debug)]
struct Spent {
    nonce: Box<[u8]>,
    made: Instant,
    highest: u32,
    /// Bit n: `highest - n` was used.
    seen: u64,
}

impl Spent {
    /// A count may come late, but not twice (RFC 7616 §3.4).
    fn again(&mut self, count: u32) -> bool {
        if count > self.highest {
            let by = count - self.highest;
            self.seen = self.seen.checked_shl(by).unwrap_or(0) | 1;
            self.highest = count;
            return true;
        }
        let bit = 1u64.checked_shl(self.highest - count).unwrap_or(0);
        let fresh = bit != 0 && self.seen & bit == 0;
        self.seen |= bit;
        fresh
    }
}

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
}

/// Counted by source, and bounded.
#[derive(Debug)]
struct Counts<K: Eq + Hash>(DashMap<K, Instant>);

impl<K: Eq + Hash> Default for Counts<K> {
    fn default() -> Self {
        Counts(DashMap::new())
    }
}

impl<K: Eq + Hash> Counts<K> {
    fn has_room(&self, key: &K, bucket: Bucket, now: Instant) -> bool {
        self.0.get(key).is_none_or(|empty_at| bucket.has_room(*empty_at, now))
    }

    fn fill(&self, key: K, bucket: Bucket, now: Instant) {
        if self.0.len() >= SOURCES {
            self.0.retain(|_, empty_at| *empty_at > now);
            if self.0.len() >= SOURCES {
                self.0.clear();
            }
        }
        bucket.fill(&mut self.0.entry(key).or_insert(Instant::ZERO), now);
    }

    /// Does one more where there is room. What is full gets no fuller: it has room again when its time is over.
    fn take(&self, key: K, bucket: Bucket, now: Instant) -> bool {
        let may = self.has_room(&key, bucket, now);
        if may {
            self.fill(key, bucket, now);
        }
        may
    }
}

/// [`Directory`] in the memory of one node.
#[derive(Debug, Default)]
pub struct Registrations {
    agents: DashMap<Text, Entry>,
    ways: Held<Way>,
    /// Who is bound by a connection: most connections carry no phone, and thousands may end at once.
    flows: DashMap<FlowId, Vec<Text>>,
    bindings: AtomicUsize,
    challenges: Counts<IpAddr>,
    sources: Counts<IpAddr>,
    names: Counts<(IpAddr, u64)>,
    /// Nonces by their hash: with a hash that nobody outside knows, none is met by chance or by design.
    nonces: Counts<u64>,
    further: Counts<IpAddr>,
    others: Counts<IpAddr>,
    hasher: RandomState,
    /// Agents whose bindings have changed since they were last written down.
    changed: DashSet<Text>,
}

impl Registrations {
    /// How many bindings there are, those that have just expired among them.
    pub fn len(&self) -> usize {
        self.bindings.load(Ordering::Relaxed)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Binds what an earlier life of the node had bound.
    pub fn restore(&self, agent: &Text, binding: Binding) {
        self.remember(agent, &binding);
        self.agents.entry(Arc::clone(agent)).or_default().bindings.push(Arc::new(binding));
    }

    /// The agents whose bindings have changed since this was last asked, with what they have now.
    pub fn take_changed(&self) -> Vec<(Text, Vec<Arc<Binding>>)> {
        let changed: Vec<Text> = self.changed.iter().map(|agent| Arc::clone(&agent)).collect();
        let taken = changed.into_iter().filter(|agent| self.changed.remove(agent).is_some());
        taken
            .map(|agent| {
                let now = self.agents.get(&agent).map(|entry| entry.bindings.clone()).unwrap_or_default();
                (agent, now)
            })
            .collect()
    }

    /// They could not be written down: to be asked for again.
    pub fn not_written<'a>(&self, agents: impl Iterator<Item = &'a Text>) {
        for agent in agents {
            self.changed.insert(Arc::clone(agent));
        }
    }

    /// Takes out what has expired.
    pub fn expire(&self, now: Instant) -> Vec<Gone> {
        self.take_out(|_, binding| binding.expires <= now)
    }

    /// Takes out all of the agents that `is_barred` says: removed ones, and those with another password.
    pub fn bar(&self, is_barred: impl Fn(&str) -> bool) -> Vec<Gone> {
        let gone = self.take_out(|agent, _| is_barred(agent));
        self.agents.retain(|agent, _| !is_barred(agent));
        gone
    }

    fn take_out(&self, is_over: impl Fn(&str, &Binding) -> bool) -> Vec<Gone> {
        let mut gone = Vec::new();
        for mut entry in self.agents.iter_mut() {
            let agent = Arc::clone(entry.key());
            self.take_out_of(&agent, &mut entry, &is_over, &mut gone);
        }
        gone
    }

    fn take_out_of(
        &self,
        agent: &Text,
        entry: &mut Entry,
        is_over: &dyn Fn(&str, &Binding) -> bool,
        gone: &mut Vec<Gone>,
    ) {
        entry.bindings.retain(|binding| {
            let over = is_over(agent, binding);
            if over {
                self.forget(agent, binding);
                self.changed.insert(Arc::clone(agent));
                gone.push(Gone { agent: Arc::clone(agent), contact: Arc::clone(&binding.contact) });
            }
            !over
        });
    }

    fn remember(&self, agent: &Text, binding: &Binding) {
        self.bindings.fetch_add(1, Ordering::Relaxed);
        if let Some(way) = binding.way() {
            self.ways.add(way);
        }
        if let Some(flow) = binding.from.flow {
            self.flows.entry(flow).or_default().push(Arc::clone(agent));
        }
    }

    fn forget(&self, agent: &Text, binding: &Binding) {
        self.bindings.fetch_sub(1, Ordering::Relaxed);
        if let Some(way) = binding.way() {
            self.ways.give(&way);
        }
        let Some(flow) = binding.from.flow else { return };
        if let Some(mut agents) = self.flows.get_mut(&flow)
            && let Some(at) = agents.iter().position(|bound| bound == agent)
        {
            agents.swap_remove(at);
        }
        self.flows.remove_if(&flow, |_, agents| agents.is_empty());
    }
}

impl Directory for Registrations {
    fn is_empty(&self) -> bool {
        Registrations::is_empty(self)
    }

    fn bindings(&self, agent: &str, now: Instant) -> Vec<Arc<Binding>> {
        let Some(entry) = self.agents.get(agent) else { return Vec::new() };
        entry.bindings.iter().filter(|binding| binding.expires > now).cloned().collect()
    }

    fn change(&self, agent: &Text, now: Instant, change: &mut dyn FnMut(&mut Vec<Arc<Binding>>)) {
        let mut entry = self.agents.entry(Arc::clone(agent)).or_default();
        let mut bindings: Vec<Arc<Binding>> =
            entry.bindings.iter().filter(|binding| binding.expires > now).cloned().collect();
        change(&mut bindings);
        bindings.iter().for_each(|binding| self.remember(agent, binding));
        entry.bindings.iter().for_each(|binding| self.forget(agent, binding));
        entry.bindings = bindings;
        self.changed.insert(Arc::clone(agent));
    }

    fn lose(&self, flow: FlowId) -> Vec<Gone> {
        let Some((_, agents)) = self.flows.remove(&flow) else { return Vec::new() };
        let mut gone = Vec::new();
        for agent in agents {
            if let Some(mut entry) = self.agents.get_mut(&agent) {
                self.take_out_of(
                    &agent,
                    &mut entry,
                    &|_, binding| binding.from.flow == Some(flow),
                    &mut gone,
                );
            }
        }
        gone
    }

    fn is_phone(&self, way: Way) -> bool {
        self.ways.count(&way) > 0
    }

    fn spend(&self, agent: &Text, nonce: &[u8], made: Instant, count: Option<u32>) -> bool {
        let mut entry = self.agents.entry(Arc::clone(agent)).or_default();
        let entry = &mut *entry;
        // Who does not count has counted to the end.
        let count = count.unwrap_or(u32::MAX);
        if let Some(spent) = entry.nonces.iter_mut().find(|spent| *spent.nonce == *nonce) {
            return spent.again(count);
        }
        if made <= entry.forgotten {
            return false;
        }
        if entry.nonces.len() >= NONCES {
            let oldest = (0..entry.nonces.len()).min_by_key(|at| entry.nonces[*at].made).unwrap_or(0);
            entry.forgotten = entry.forgotten.max(entry.nonces.swap_remove(oldest).made);
        }
        entry.nonces.retain(|spent| made.since(spent.made) <= LIFETIME);
        entry.nonces.push(Spent { nonce: nonce.into(), made, highest: count, seen: 1 });
        true
    }

    fn may_challenge(&self, source: IpAddr, now: Instant) -> bool {
        self.challenges.take(source, CHALLENGES, now)
    }

    fn may_try(&self, source: IpAddr, given: &Credentials<'_>, now: Instant) -> Standing {
        let (name, nonce) = (self.hasher.hash_one(given.username), self.hasher.hash_one(given.nonce));
        if !self.nonces.has_room(&nonce, TRIES_OF_A_NONCE, now) {
            return Standing::Deaf;
        }
        let name_is_good = self.names.has_room(&(source, name), TRIES_OF_A_NAME, now);
        let source_is_good = self.sources.has_room(&source, TRIES_OF_A_SOURCE, now);
        let is_looked_at = match (name_is_good, source_is_good) {
            (true, true) => return Standing::Good,
            (true, false) => self.others.take(source, TRIES_OF_OTHERS, now),
            (false, _) => self.further.take(source, FURTHER_TRIES, now),
        };
        if is_looked_at { Standing::Suspect } else { Standing::Deaf }
    }

    fn was_wrong(&self, source: IpAddr, given: &Credentials<'_>, now: Instant) {
        let (name, nonce) = (self.hasher.hash_one(given.username), self.hasher.hash_one(given.nonce));
        self.nonces.take(nonce, TRIES_OF_A_NONCE, now);
        self.names.take((source, name), TRIES_OF_A_NAME, now);
        self.sources.take(source, TRIES_OF_A_SOURCE, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::peer::{ListenerId, Peer, Transport};

    fn at(seconds: u64) -> Instant {
        Instant::from_micros(seconds * 1_000_000)
    }

    fn binding(flow: Option<u64>, expires: u64) -> Binding {
        let transport = if flow.is_some() { Transport::Tcp } else { Transport::Udp };
        let addr = ([192, 0, 2, 1], 5060).into();
        let peer = Peer { transport, addr, listener: ListenerId(0), flow: flow.map(FlowId), name: None };
        Binding::at(peer, &format!("sip:alice@192.0.2.1;n={}", flow.unwrap_or(0)), at(expires))
    }

    fn bound(all: &[Binding]) -> Registrations {
        let registrations = Registrations::default();
        registrations.change(&"alice".into(), at(0), &mut |bindings| {
            bindings.extend(all.iter().cloned().map(Arc::new));
        });
        registrations
    }

    #[test]
    fn what_has_expired_is_gone_for_everybody() {
        let registrations = bound(&[binding(None, 60), binding(Some(7), 90)]);
        assert_eq!(registrations.bindings("alice", at(60)).len(), 1, "before anybody has swept");
        assert_eq!(registrations.expire(at(60)).len(), 1);
        assert_eq!((registrations.len(), registrations.expire(at(60)).len()), (1, 0));
        assert!(!registrations.is_phone(Way::Addr(([192, 0, 2, 1], 5060).into())));
        assert!(registrations.is_phone(Way::Flow(FlowId(7))));
    }

    #[test]
    fn a_connection_that_is_gone_takes_its_phone_along() {
        let registrations = bound(&[binding(None, 60), binding(Some(7), 60)]);
        assert_eq!(registrations.lose(FlowId(8)), []);
        let gone = registrations.lose(FlowId(7));
        assert_eq!(gone.iter().map(|gone| &*gone.agent).collect::<Vec<_>>(), ["alice"]);
        assert_eq!(registrations.bindings("alice", at(0)).len(), 1);
        assert!(!registrations.is_phone(Way::Flow(FlowId(7))));
    }

    #[test]
    fn who_is_barred_loses_all() {
        let registrations = bound(&[binding(None, 60), binding(Some(7), 60)]);
        assert_eq!(registrations.bar(|agent| agent == "bob").len(), 0);
        assert_eq!(registrations.bar(|agent| agent == "alice").len(), 2);
        assert!(registrations.is_empty());
    }

    #[test]
    fn what_changed_is_told_once_and_again_when_it_was_not_written() {
        let registrations = bound(&[binding(None, 60)]);
        let told = |registrations: &Registrations| {
            let changed = registrations.take_changed();
            changed.iter().map(|(agent, now)| (agent.to_string(), now.len())).collect::<Vec<_>>()
        };
        assert_eq!(told(&registrations), [("alice".to_owned(), 1)]);
        assert_eq!(told(&registrations), []);
        registrations.not_written([Text::from("alice")].iter());
        registrations.expire(at(60));
        assert_eq!(told(&registrations), [("alice".to_owned(), 0)]);
    }

    #[test]
    fn r01_b_a_nonce_count_comes_once_late_or_not() {
        let registrations = Registrations::default();
        let alice = Text::from("alice");
        let spend = |nonce: &[u8], made, count| registrations.spend(&alice, nonce, at(made), count);
        for (count, fresh) in
            [(1, true), (1, false), (3, true), (2, true), (2, false), (3, false), (100, true)]
        {
            assert_eq!(spend(b"one", 1, Some(count)), fresh, "{count}");
        }
        // Too late to be known again.
        assert!(!spend(b"one", 1, Some(4)));
        assert!(spend(b"one", 1, Some(99)) && spend(b"one", 1, Some(u32::MAX)));
        assert!(spend(b"two", 1, None), "who does not count uses it once");
        assert!(!spend(b"two", 1, None) && !spend(b"two", 1, Some(1)));
    }

    #[test]
    fn r01_b_what_is_forgotten_is_not_taken_again() {
        let registrations = Registrations::default();
        let alice = Text::from("alice");
        let nonce = |at: u64| at.to_string().into_bytes();
        for made in 1..=NONCES as u64 + 2 {
            assert!(registrations.spend(&alice, &nonce(made), at(made), Some(1)), "{made}");
        }
        assert!(!registrations.spend(&alice, &nonce(1), at(1), Some(2)), "it has made room for another");
        assert!(registrations.spend(&alice, &nonce(3), at(3), Some(2)), "it has not");
    }

    #[test]
    fn r01_b_a_source_is_asked_at_a_bounded_rate() {
        let registrations = Registrations::default();
        let [one, other]: [IpAddr; 2] = [[192, 0, 2, 1].into(), [192, 0, 2, 2].into()];
        let asked = |source, now| (0..20_000).filter(|_| registrations.may_challenge(source, now)).count();
        assert_eq!(asked(one, at(10)), 1_000);
        assert_eq!(asked(one, at(11)), 1_000);
        assert_eq!(asked(other, at(11)), 1_000);
    }

    /// Credentials of a name, which are wrong each time.
    fn guess(registrations: &Registrations, name: &str, nonce: u64, now: Instant) -> Standing {
        let source = IpAddr::from([192, 0, 2, 1]);
        let text = format!(
            "Digest username=\"{name}\", realm=\"r\", nonce=\"{nonce}\", uri=\"sip:r\", response=\"{:032}\"",
            0
        );
        let given = Credentials::parse(text.as_bytes()).unwrap();
        let standing = registrations.may_try(source, &given, now);
        if standing != Standing::Deaf {
            registrations.was_wrong(source, &given, now);
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
        let registrations = Registrations::default();
        let mut nonce = 0;
        let mut again = |now| {
            nonce += 1;
            guess(&registrations, "alice", nonce, now)
        };
        assert_eq!(counted((0..1000).map(|_| again(at(100)))), [6, 20, 974]);
        assert_eq!(counted((0..1000).map(|_| again(at(101)))), [0, 20, 980]);
        assert_eq!(counted((0..1000).map(|_| again(at(130)))), [1, 20, 979], "one more in half a minute");
        let registrations = Registrations::default();
        let names = (0..1000).map(|name| guess(&registrations, &name.to_string(), name, at(131)));
        assert_eq!(counted(names), [60, 200, 740], "60 of all names together, and others are looked at on");
    }

    #[test]
    fn r01_b_a_nonce_takes_three_wrong_answers_and_no_more() {
        let registrations = Registrations::default();
        let same = (0..1000).map(|_| guess(&registrations, "alice", 1, at(100)));
        assert_eq!(counted(same), [3, 0, 997]);
        assert_eq!(
            guess(&registrations, "alice", 2, at(100)),
            Standing::Good,
            "another phone is not hurt by it"
        );
    }
}
