//! Where an agent's phone is: what a REGISTER bound (RFC 3261 §10), and who keeps it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use smallvec::SmallVec;

use crate::call::refusal::Refusal;
use crate::engine::hosts::{Hosts, Target};
use crate::routing::{Agent, Contact, Phones, Reached, Secrets, Text};
use crate::sip::digest::Credentials;
use crate::sip::header::Params;
use crate::sip::peer::{FlowId, Peer, Transport};
use crate::sip::uri::{self, Uri};
use crate::time::{Instant, Wall};

/// How long a Contact is bound that does not say, in seconds; and the longest (RFC 3261 §10.2.1.1 proposes an hour).
pub const EXPIRES: u32 = 3600;

/// One Contact of an agent, as long as it lasts.
#[derive(Clone, Debug, PartialEq)]
pub struct Binding {
    /// How calls reach it; its URI is the one that was registered.
    pub contact: Arc<Contact>,
    /// The phone's own name, and which of its flows this is (RFC 5626 §4.2).
    pub instance: Option<(Box<str>, u32)>,
    /// What else its Contact says, each from its semicolon on: told again in every 200 (RFC 3261 §10.3).
    pub params: Box<str>,
    /// Of the REGISTER that wrote it last: an older one that comes late changes nothing (RFC 3261 §10.3).
    pub call_id: Box<[u8]>,
    pub cseq: u32,
    /// Whom that REGISTER came from.
    pub from: Peer,
    pub expires: Instant,
    pub registered: Wall,
    pub user_agent: Box<str>,
    /// What its agent's password was known by when it was made: with another password it does not hold.
    pub secrets: Secrets,
    /// How it answers our OPTIONS.
    pub silence: Silence,
}

/// OPTIONS in a row that a phone did not answer, counted wherever the binding is.
#[derive(Clone, Debug, Default)]
pub struct Silence(Arc<AtomicU32>);

/// So many, and the phone counts as unreachable: it is shown so, and rung all the same.
const SILENT: u32 = 3;

impl Silence {
    pub fn ends(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    pub fn lasts(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub fn is_long(&self) -> bool {
        self.0.load(Ordering::Relaxed) >= SILENT
    }
}

/// What is heard of it makes no other binding of it.
impl PartialEq for Silence {
    fn eq(&self, _: &Silence) -> bool {
        true
    }
}

impl Binding {
    /// Of a phone that is reached where it registered from, for the tests of who keeps bindings.
    #[cfg(test)]
    pub fn at(peer: Peer, uri: &str, expires: Instant) -> Binding {
        Binding {
            contact: Arc::new(Contact::registered(uri.into(), peer, Box::default())),
            instance: None,
            params: "".into(),
            call_id: Box::default(),
            cseq: 1,
            from: peer,
            expires,
            registered: Wall(0),
            user_agent: "".into(),
            secrets: Secrets::default(),
            silence: Silence::default(),
        }
    }

    /// Where OPTIONS keep the way open: over UDP through a NAT, which forgets it in half a minute or so. That is where
    /// the Contact is not what the REGISTER came from, and no proxy stands between.
    ///
    /// A connection is kept open by its phone, and by it alone: only who opened it may send a double CRLF and wait for
    /// the answer (RFC 5626 §4.4.1); a double CRLF of ours would be a ping that a phone need not understand.
    pub fn to_keep_open(&self) -> Option<Peer> {
        let own = Uri::parse(self.contact.uri.as_bytes()).ok().and_then(|uri| uri.socket_addr());
        let through_nat = self.from.transport == Transport::Udp
            && self.contact.route.is_empty()
            && self.contact.peer == Some(self.from)
            && own != Some(self.from.addr);
        through_nat.then_some(self.from)
    }

    /// Whether a REGISTER's Contact means this one: the same flow of the same phone, else the same URI. Headers are no part
    /// of where a phone is, and no Request-URI has any (RFC 3261 §19.1.1).
    pub fn is_of(&self, uri: &Uri<'_>, instance: Option<(&str, u32)>) -> bool {
        match (&self.instance, instance) {
            (Some((own, flow)), Some((other, of))) => **own == *other && *flow == of,
            // Who names no flow means the URI, whoever bound it (RFC 5626 §6).
            (Some(_) | None, None) => {
                let target = Uri { headers: b"", ..*uri };
                Uri::parse(self.contact.uri.as_bytes()).is_ok_and(|own| uri::eq(&own, &target))
            }
            (None, Some(_)) => false,
        }
    }

    /// Whether it is another flow of the same phone.
    fn is_beside(&self, other: &Binding) -> bool {
        match (&self.instance, &other.instance) {
            (Some((own, _)), Some((other, _))) => own == other,
            (Some(_) | None, None) | (None, Some(_)) => false,
        }
    }

    /// Whether it is the phone that was bound as `before`: by its instance, with or without flows, where both name one;
    /// else by its Contact at the same address, for elsewhere another phone may have the same private one.
    pub fn is_same_phone(&self, before: &Binding) -> bool {
        if let (Some(own), Some(other)) = (self.device(), before.device()) {
            return own == other;
        }
        let uri = Uri::parse(before.contact.uri.as_bytes());
        let same_host = self.from.addr.ip() == before.from.addr.ip();
        same_host && uri.is_ok_and(|uri| self.is_of(&uri, None))
    }

    /// Where calls to it are sent, no proxy being between.
    pub fn direct(&self) -> Option<Peer> {
        self.contact.peer.filter(|_| self.contact.route.is_empty())
    }

    /// Whether it is an old one of the phone that has now bound `other`, as far as can be told: it registered both from one address and port, or over one
    /// connection, with no proxy between; or it says so by its name, with or without flows.
    pub fn is_abandoned_by(&self, other: &Binding) -> bool {
        self.way().is_some_and(|way| other.way() == Some(way))
            || self.device().is_some_and(|name| other.device() == Some(name))
    }

    /// The phone's own name, with its quotes (RFC 5626 §4.1).
    fn device(&self) -> Option<&[u8]> {
        let told = || Params::new(self.params.as_bytes()).get("+sip.instance");
        self.instance.as_ref().map(|(name, _)| name.as_bytes()).or_else(told).filter(|name| !name.is_empty())
    }

    /// Whether calls to it are sent to that very address, and no proxy passes them on.
    fn is_sent_to(&self, addr: SocketAddr) -> bool {
        self.contact.route.is_empty() && self.contact.addr == Some(addr)
    }

    /// Whether it is the fixed phone itself. Behind a proxy there may be many: there it is the one of that URI.
    fn is_phone_at(&self, fixed: &Contact) -> bool {
        if self.contact.route.is_empty() {
            return fixed.addr.is_some_and(|addr| self.is_sent_to(addr));
        }
        let uris = [&self.contact.uri, &fixed.uri].map(|uri| Uri::parse(uri.as_bytes()));
        matches!(uris, [Ok(own), Ok(other)] if uri::eq(&own, &other))
    }

    /// Where calls to it are sent, where that is its Contact's address and not what the REGISTER came from.
    pub fn sent_aside(&self) -> Option<SocketAddr> {
        let peer = self.contact.peer.filter(|peer| peer.flow.is_none() && self.contact.route.is_empty())?;
        (peer.addr != self.from.addr).then_some(peer.addr)
    }

    /// The connection that it ends with, since nothing else leads to its phone (RFC 5626 §5.3). Who is behind a proxy
    /// that has an address of its own is reached without.
    pub fn flow(&self) -> Option<FlowId> {
        let has_way = !self.contact.route.is_empty() && self.contact.peer != Some(self.from);
        self.from.flow.filter(|_| !has_way)
    }

    /// How its phone is known again when it sends something else than a REGISTER (R1b); who is behind a proxy is
    /// not.
    pub fn way(&self) -> Option<Way> {
        self.contact.route.is_empty().then(|| Way::of(self.from))
    }
}

/// Where a phone's requests come from: the connection, or over UDP the address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Way {
    Flow(FlowId),
    Addr(SocketAddr),
}

impl Way {
    pub fn of(peer: Peer) -> Way {
        peer.flow.map_or(Way::Addr(peer.addr), Way::Flow)
    }
}

/// What somebody is asked for a password for (R1b). Whoever floods us with one of them uses up nothing of the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    Registration,
    /// A call, or anything else that is no registration.
    Call,
    /// A call for help (R13).
    Help,
}

/// How credentials are taken (R1b). Right ones are right however many wrong ones came before them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Looked at; wrong ones are asked again.
    Good,
    /// Looked at; wrong ones hear nothing.
    Suspect,
    /// Not looked at: too many were tried just now.
    Deaf,
}

/// What is left of a binding that ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Gone {
    pub agent: Text,
    pub contact: Arc<Contact>,
}

/// Why an agent's REGISTER was refused last, and where it came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    pub why: Refusal,
    pub from: SocketAddr,
    pub at: Wall,
}

/// All phones of the agents, as they are at a moment.
pub struct Known<'d> {
    pub directory: &'d dyn Directory,
    pub hosts: &'d Hosts,
    pub now: Instant,
}

impl Phones for Known<'_> {
    fn of(&self, agent: &Agent) -> Reached {
        let mut bindings = self.directory.bindings(&agent.name, self.now);
        let mut all = Reached::new();
        if let Some(fixed) = &agent.contact {
            let fixed = self.found(fixed, &bindings);
            // The fixed phone may register as well.
            bindings.retain(|one| !one.is_phone_at(&fixed));
            all.push(fixed);
        }
        for (place, binding) in bindings.iter().enumerate() {
            if !bindings[..place].iter().any(|before| before.is_beside(binding)) {
                all.push(by_its_flows(binding, &bindings[place + 1..]));
            }
        }
        all
    }
}

/// A phone that has several flows rings once: by the one that was registered last and answers, and by the others only
/// where that leads nowhere (RFC 5626 §7).
fn by_its_flows(binding: &Arc<Binding>, further: &[Arc<Binding>]) -> Arc<Contact> {
    let mut flows: SmallVec<[&Arc<Binding>; 2]> = SmallVec::new();
    flows.push(binding);
    flows.extend(further.iter().filter(|other| other.is_beside(binding)));
    // The worst first.
    flows.sort_by_key(|flow| (!flow.silence.is_long(), flow.registered));
    let mut flows = flows.into_iter();
    let last = flows.next().unwrap_or(binding);
    flows.fold(Arc::clone(&last.contact), |other, flow| {
        Arc::new(Contact { other_flow: Some(other), ..(*flow.contact).clone() })
    })
}

impl Known<'_> {
    /// A fixed phone whose host has a name is called where DNS says that it is: of its addresses, the one that it has
    /// registered from, else the first.
    fn found(&self, fixed: &Arc<Contact>, bindings: &[Arc<Binding>]) -> Arc<Contact> {
        let all = fixed.host.as_ref().map(|host| self.hosts.in_order(host, self.now, || 0));
        let all = all.unwrap_or_default();
        let at = |target: &&Target| bindings.iter().any(|one| one.is_sent_to(target.addr));
        match all.iter().find(at).or(all.first()).copied() {
            None => Arc::clone(fixed),
            Some(Target { addr, transport, .. }) => {
                Arc::new(Contact { addr: Some(addr), transport, ..(**fixed).clone() })
            }
        }
    }
}

/// The agents' bindings, the same for all shards of the node (design §4). Nothing here waits.
pub trait Directory: Send + Sync {
    /// Whether nobody is bound.
    fn is_empty(&self) -> bool;

    /// The bindings of an agent that last at `now`, the oldest first.
    fn bindings(&self, agent: &str, now: Instant) -> Vec<Arc<Binding>>;

    /// Changes an agent's bindings, all or nothing: `change` gets those that last at `now`, and what it leaves
    /// there is what holds from then on. Nobody else changes them meanwhile.
    fn change(&self, agent: &Text, now: Instant, change: &mut dyn FnMut(&mut Vec<Arc<Binding>>));

    /// A REGISTER that proved to be this agent's was refused. The last is remembered: who is registered with one phone may
    /// be refused with another.
    fn refuse(&self, agent: &Text, refused: Refused);

    /// A connection is gone, and with it what was reached by it alone (RFC 5626 §5.3).
    fn lose(&self, flow: FlowId) -> Vec<Gone>;

    /// Whether a request that comes this way may be a registered agent's.
    fn is_phone(&self, way: Way) -> bool;

    /// Whether calls to a phone are sent to `addr` that registered from elsewhere, and not from `source` either: who
    /// sends from there is that phone, with one more line.
    fn is_sent_aside(&self, addr: SocketAddr, source: SocketAddr) -> bool;

    /// Uses a nonce that was made at `made`, for the `count`th time as its user says; false where it was used so
    /// before. `None`: its user does not count, and may use it once.
    fn spend(&self, agent: &Text, nonce: &[u8], made: Instant, count: Option<u32>) -> bool;

    /// Whether somebody may be asked for a password: at a bounded rate for each source (R1b).
    fn may_challenge(&self, from: Peer, asked: Asked, now: Instant) -> bool;

    /// How credentials with a nonce of ours are to be taken, by what was wrong before.
    fn may_try(&self, from: Peer, given: &Credentials<'_>, now: Instant) -> Standing;

    /// They were wrong.
    fn was_wrong(&self, from: Peer, given: &Credentials<'_>, now: Instant);
}

/// An agent's phone at the other end of a connection, and its registration by that.
#[derive(Clone, Debug)]
pub struct Phone {
    pub agent: Text,
    pub binding: Arc<Binding>,
}

impl Phone {
    /// Who has registered by that connection.
    pub fn at(directory: &dyn Directory, agent: &Agent, peer: Peer, now: Instant) -> Option<Phone> {
        let flow = peer.flow?;
        let mut bindings = directory.bindings(&agent.name, now).into_iter();
        let binding = bindings.find(|binding| binding.from.flow == Some(flow))?;
        Some(Phone { agent: Arc::clone(&agent.name), binding })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phone_is_unreachable_after_three_in_a_row_whoever_looks() {
        let silence = Silence::default();
        let shown = silence.clone();
        let told: Vec<bool> = (0..4)
            .map(|_| {
                silence.lasts();
                shown.is_long()
            })
            .collect();
        assert_eq!(told, [false, false, true, true]);
        silence.ends();
        assert!(!shown.is_long());
    }
}
