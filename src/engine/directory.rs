//! The agents' bindings of one node, in memory.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use dashmap::{DashMap, DashSet};

use super::aside::Aside;
use super::exchange::binding::{Asked, Binding, Directory, Gone, Refused, Standing, Way};
use super::held::Held;
use super::tries::{Source, Tries};
use crate::routing::{Secrets, Text};
use crate::sip::digest::{Credentials, LIFETIME};
use crate::sip::peer::{FlowId, Peer};
use crate::time::Instant;
use crate::transport::guests::Guests;

/// The nonces that are remembered of an agent: one for each of its phones and a few that are on their way out.
const NONCES: usize = 16;

/// What is kept of one agent.
#[derive(Debug, Default)]
struct Entry {
    bindings: Vec<Arc<Binding>>,
    nonces: Vec<Spent>,
    /// Nonces that were made no later are not taken any more, but for those in `nonces`.
    forgotten: Instant,
    refused: Option<Refused>,
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

/// [`Directory`] in the memory of one node.
#[derive(Debug, Default)]
pub struct Registrations {
    agents: DashMap<Text, Entry>,
    ways: Held<Way>,
    aside: Aside,
    /// Who is bound by a connection alone: most connections carry no phone, and thousands may end at once.
    flows: DashMap<FlowId, Vec<Text>>,
    /// Who counts the connections hears which of them are phones'.
    guests: Arc<Guests>,
    bindings: AtomicUsize,
    tries: Tries,
    /// Agents whose bindings have changed since they were last written down.
    changed: DashSet<Text>,
}

impl Registrations {
    /// The same, of a node that has connections.
    pub fn telling(guests: Arc<Guests>) -> Registrations {
        Registrations { guests, ..Registrations::default() }
    }

    /// How many bindings there are, those that have just expired among them.
    pub fn len(&self) -> usize {
        self.bindings.load(Ordering::Relaxed)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Why a registration of the agent was refused last.
    pub fn refused(&self, agent: &str) -> Option<Refused> {
        self.agents.get(agent)?.refused
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

    /// Takes out what was made with another password than its agent has by `secrets`, and all of those that are no agents
    /// there. Who has registered with the password that it has there stays, whenever that was.
    pub fn bar<'t>(&self, secrets: impl Fn(&str) -> Option<&'t Secrets>) -> Vec<Gone> {
        let gone =
            self.take_out(|agent, binding| secrets(agent).is_none_or(|known| *known != binding.secrets));
        // Who was bound meanwhile is counted; that is for the next time.
        self.agents.retain(|agent, entry| secrets(agent).is_some() || !entry.bindings.is_empty());
        gone
    }

    /// As whose its tries are counted.
    fn source(&self, from: Peer) -> Source {
        let way = Way::of(from);
        Source::of(way, from.addr, self.ways.count(&way) > 0)
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
        self.aside.add(binding);
        if let Some(flow) = binding.flow() {
            let mut agents = self.flows.entry(flow).or_default();
            agents.push(Arc::clone(agent));
            self.guests.is_bound(flow);
        }
    }

    fn forget(&self, agent: &Text, binding: &Binding) {
        self.bindings.fetch_sub(1, Ordering::Relaxed);
        if let Some(way) = binding.way() {
            self.ways.give(&way);
        }
        self.aside.give(binding);
        let Some(flow) = binding.flow() else { return };
        if let Some(mut agents) = self.flows.get_mut(&flow)
            && let Some(at) = agents.iter().position(|bound| bound == agent)
        {
            agents.swap_remove(at);
        }
        // Told while nobody else is bound by it.
        self.flows.remove_if(&flow, |_, agents| {
            let is_over = agents.is_empty();
            if is_over {
                self.guests.is_unbound(flow);
            }
            is_over
        });
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

    fn refuse(&self, agent: &Text, refused: Refused) {
        self.agents.entry(Arc::clone(agent)).or_default().refused = Some(refused);
    }

    fn lose(&self, flow: FlowId) -> Vec<Gone> {
        let Some((_, agents)) = self.flows.remove(&flow) else { return Vec::new() };
        let mut gone = Vec::new();
        for agent in agents {
            if let Some(mut entry) = self.agents.get_mut(&agent) {
                self.take_out_of(&agent, &mut entry, &|_, binding| binding.flow() == Some(flow), &mut gone);
            }
        }
        gone
    }

    fn is_phone(&self, way: Way) -> bool {
        self.ways.count(&way) > 0
    }

    fn is_sent_aside(&self, addr: SocketAddr, source: SocketAddr) -> bool {
        self.aside.is_anothers(addr, source)
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

    fn may_challenge(&self, from: Peer, asked: Asked, now: Instant) -> bool {
        self.tries.may_challenge(self.source(from), asked, now)
    }

    fn may_try(&self, from: Peer, given: &Credentials<'_>, now: Instant) -> Standing {
        self.tries.may_try(self.source(from), given, now)
    }

    fn was_wrong(&self, from: Peer, given: &Credentials<'_>, now: Instant) {
        self.tries.was_wrong(self.source(from), given, now);
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
    fn r14_a_connection_is_no_strangers_while_a_phone_is_bound_by_it() {
        let guests = Guests::new(100, 1, Box::new(|_| false));
        let registrations = Registrations::telling(Arc::clone(&guests));
        let is_full = || guests.welcome([192, 0, 2, 1].into(), FlowId(8)).is_err();
        let _place = guests.welcome([192, 0, 2, 1].into(), FlowId(7)).unwrap();
        assert!(is_full());
        for agent in ["alice", "bob"] {
            registrations.change(&agent.into(), at(0), &mut |bindings| {
                bindings.push(Arc::new(binding(Some(7), if agent == "bob" { 90 } else { 60 })));
            });
            assert!(!is_full());
        }
        registrations.change(&"bob".into(), at(1), &mut |bindings| {
            *bindings = vec![Arc::new(binding(Some(7), 120))];
        });
        registrations.expire(at(60));
        assert!(!is_full(), "bob is bound by it");
        registrations.expire(at(120));
        assert!(is_full());
    }

    #[test]
    fn who_is_no_agent_any_more_loses_all() {
        let registrations = bound(&[binding(None, 60), binding(Some(7), 60)]);
        let same = Secrets::default();
        assert_eq!(registrations.bar(|agent| (agent == "alice").then_some(&same)).len(), 0);
        assert_eq!(registrations.bar(|_| None).len(), 2);
        assert!(registrations.is_empty());
        assert!(registrations.agents.is_empty(), "nor is anything else kept of it");
    }

    #[test]
    fn r01_b_a_binding_is_barred_by_the_password_that_it_was_made_with() {
        let secrets = |text: &str| Secrets { md5: Some(text.into()), sha256: None };
        let (old, new) = (secrets("old"), secrets("new"));
        let of = |secrets: &Secrets, flow| Binding { secrets: secrets.clone(), ..binding(flow, 60) };
        let registrations = bound(&[of(&old, None), of(&new, Some(7))]);
        // A nonce that was used is used, whatever the password.
        assert!(registrations.spend(&"alice".into(), b"one", at(1), Some(1)));
        assert_eq!(registrations.bar(|_| Some(&new)).len(), 1);
        assert_eq!(registrations.bindings("alice", at(0)), [Arc::new(of(&new, Some(7)))]);
        assert!(!registrations.spend(&"alice".into(), b"one", at(1), Some(1)));
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
}
