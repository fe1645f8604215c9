//! Which gateways answer (R14): OPTIONS to each of them from one shard of the node, and what calls see of them.

use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;

use super::ask::Question;
use super::errand::{Ask, AskKey, Errand, Probe, Round};
use super::names::SlotKey;
use super::{CallEvent, Effects, Exchange, Notice};
use crate::call::event::LegId;
use crate::call::leg::{Destination, Exit, Leg, LegState};
use crate::call::outcome;
use crate::engine::hosts::Hop;
use crate::engine::trunks::{Failure, Sign};
use crate::routing::{Gateway, Host, Trunk};
use crate::sip::build::Writer;
use crate::sip::dialog::Ways;
use crate::sip::header::{Method, Name};
use crate::time::{Instant, Now};

/// So many OPTIONS in a row without any answer, from any address of its host, and a gateway is down (R14).
const MISSES: u8 = 2;
/// The only final answer that says of a server that it does not live (R14).
const OVERLOADED: u16 = 503;
/// The first OPTIONS after the start go out within this, or within the interval where that is shorter: a thousand
/// gateways are asked one after another, and for all that it is known soon which of them live.
const FIRST_WITHIN: Duration = Duration::from_secs(30);
/// Two OPTIONS to a gateway are no further apart than the interval, so that calls return within two of them, and no
/// nearer than this part of it, in thousandths: what began together comes apart.
///
/// A gateway that is down is asked as often. What holds back there is Timer E: each OPTIONS is repeated less and less
/// often, and given up when the next one is due.
const LEAST_APART: u64 = 800;
/// Each address of a host has its share of the interval, `try_timeout` at most, and no less than this: time for one
/// repetition. So the gateway is down as soon as one with a single address would be.
const LEAST_PATIENCE: Duration = Duration::from_secs(1);
/// Whether a host has been found is looked at so soon: nothing is sent for it.
const FOUND_WITHIN: Duration = Duration::from_secs(5);

impl Exchange {
    /// Another table: each gateway that is to be asked, and that no other shard asks, is asked from now on.
    pub(super) fn settle_probes(&mut self, now: Instant) {
        let (router, shard) = (self.settings.router, self.settings.shard);
        let mine = |trunk: &Trunk, at: u8| {
            let gateway = trunk
                .gateways
                .get(usize::from(at))
                .filter(|gateway| gateway.addr.is_some() || gateway.host.is_some());
            let by = |gateway: &Gateway| router.shard_for(trunk.name.as_bytes(), gateway.uri.as_bytes());
            gateway.is_some_and(|gateway| by(gateway) == shard)
        };
        let mut wanted: Vec<(Arc<Trunk>, u8)> = Vec::new();
        for trunk in self.table.trunks().iter().filter(|trunk| trunk.options_interval.is_some()) {
            let places = (0u8..).take(trunk.gateways.len()).filter(|at| mine(trunk, *at));
            wanted.extend(places.map(|at| (Arc::clone(trunk), at)));
        }
        wanted.sort_by(|(a, _), (b, _)| a.name.cmp(&b.name));
        let mut missing = vec![true; wanted.len()];
        let mut over = Vec::new();
        for (key, ask) in self.asks.iter_mut() {
            let Errand::Gateway(probe) = &mut ask.errand else { continue };
            let first = wanted.partition_point(|(trunk, _)| trunk.name < probe.trunk.name);
            let same_trunk = wanted[first..].iter().take_while(|(trunk, _)| trunk.name == probe.trunk.name);
            match same_trunk.zip(first..).find(|((trunk, at), _)| probe.is_for(trunk, *at)) {
                Some(((trunk, at), place)) => {
                    (probe.trunk, probe.at) = (Arc::clone(trunk), *at);
                    missing[place] = false;
                }
                None => over.push(key),
            }
        }
        for key in over {
            self.give_up_asking(key);
        }
        for ((trunk, at), _) in wanted.into_iter().zip(missing).filter(|(_, missing)| *missing) {
            let within = trunk.options_interval.unwrap_or(FIRST_WITHIN).min(FIRST_WITHIN);
            let first = self.part_of(within, 0);
            let key =
                self.asks.open(Errand::Gateway(Probe { trunk, at, misses: 0, round: Round::default() }));
            self.asks.arm(key, now + first);
        }
    }

    /// A time by lot between `least` thousandths of this one and all of it.
    pub(super) fn part_of(&mut self, whole: Duration, least: u64) -> Duration {
        let thousandths = least + self.names.draw() % (1_001 - least);
        Duration::from_micros(
            u64::try_from(whole.as_micros()).unwrap_or(u64::MAX).saturating_mul(thousandths) / 1_000,
        )
    }

    fn probe_of(&mut self, key: AskKey) -> Option<&mut Probe> {
        match self.asks.get_mut(key) {
            Some(Ask { errand: Errand::Gateway(probe), .. }) => Some(probe),
            Some(_) | None => None,
        }
    }

    /// It is time for the next OPTIONS. One that has no answer by now has missed.
    pub(super) fn probe_due(&mut self, now: Now, key: AskKey, out: &mut Effects) {
        match self.asks.get_mut(key).and_then(|ask| ask.open.take()) {
            Some((open, _)) => {
                self.transactions.abandon(open);
                self.probe_missed(now, key, Failure::NoAnswer, out);
            }
            None => self.probe(now, key, out),
        }
    }

    /// Begins a round.
    fn probe(&mut self, now: Now, key: AskKey, out: &mut Effects) {
        let Some(interval) = self.probe_of(key).and_then(|probe| probe.trunk.options_interval) else {
            return;
        };
        let next = now.mono + self.part_of(interval, LEAST_APART);
        let Some(probe) = self.probe_of(key) else { return };
        probe.round = Round { next, ..Round::default() };
        self.asks.arm(key, next);
        if self.probe_next(now, key, out) {
            return;
        }
        // No call reaches it either.
        let Some(probe) = self.probe_of(key) else { return };
        let (trunk, at) = (Arc::clone(&probe.trunk), probe.at);
        let Some(gateway) = trunk.gateways.get(usize::from(at)) else { return };
        let is_found = gateway.host.as_ref().is_none_or(|host| self.desk.hosts().knows(host));
        let why = if is_found {
            Failure::NoListener
        } else {
            self.asks.arm(key, next.min(now.mono + FOUND_WITHIN));
            Failure::NotFound
        };
        self.mark(now, &trunk, at, Sign::Failed(why), out);
    }

    /// Asks the next address of a round. False: each has been asked, or there is none, or no listener of its kind.
    fn probe_next(&mut self, now: Now, key: AskKey, out: &mut Effects) -> bool {
        let Some(probe) = self.probe_of(key) else { return false };
        let missed: SmallVec<[Hop; 2]> = probe.round.missed.iter().map(|(hop, _)| *hop).collect();
        let (trunk, at, next) = (Arc::clone(&probe.trunk), usize::from(probe.at), probe.round.next);
        let Some(gateway) = trunk.gateways.get(at) else { return false };
        let mut hops: SmallVec<[Hop; 4]> = SmallVec::new();
        if let Some(host) = &gateway.host {
            let all = self.desk.hosts().in_order(host, now.mono, || self.names.draw());
            hops.extend(all.iter().map(|target| (target.addr, target.transport)));
        }
        if hops.is_empty() {
            hops.extend(gateway.addr.map(|addr| (addr, gateway.transport)));
        }
        let peer = |(addr, transport)| self.settings.peer_at(addr, transport);
        let to = hops.iter().filter(|hop| !missed.contains(hop)).find_map(|hop| peer(*hop));
        let Some(to) = to.map(|to| gateway.named(to)) else { return false };
        if let Some(probe) = self.probe_of(key) {
            probe.round.asked = Some((to.addr, to.transport));
        }
        // An only address has all the time until the next round.
        if hops.len() > 1 {
            let shared = trunk.options_interval.unwrap_or(trunk.try_timeout)
                / u32::try_from(hops.len()).unwrap_or(u32::MAX);
            let patience = shared.min(trunk.try_timeout).max(LEAST_PATIENCE);
            self.asks.arm(key, now.mono + patience);
        } else {
            self.asks.arm(key, next);
        }
        let question = Question { method: Method::Options, uri: gateway.uri.as_bytes(), to, account: None };
        let accepts = |w: &mut Writer<'_>| {
            w.header(Name::Accept, b"application/sdp");
        };
        self.ask(now, key, &question, accepts, out);
        true
    }

    /// An address has no answer for us, or a 503 (RFC 3263 §4.3). Its host's next is asked at once; when none is left,
    /// the round is over.
    pub(super) fn probe_missed(&mut self, now: Now, key: AskKey, why: Failure, out: &mut Effects) {
        let Some(probe) = self.probe_of(key) else { return };
        if let Some(asked) = probe.round.asked.take() {
            probe.round.missed.push((asked, why));
            let (trunk, at) = (Arc::clone(&probe.trunk), usize::from(probe.at));
            if let Some(host) = trunk.gateways.get(at).and_then(|gateway| gateway.host.as_ref()) {
                self.desk.hosts().failed(host, asked, now.mono);
            }
        }
        if self.probe_next(now, key, out) {
            return;
        }
        self.round_missed(now, key, out);
    }

    /// A round is over, and no address has answered as one that lives. Where each has said or shown that it is of no use,
    /// the gateway is down; silence may be a lost packet, and is asked once more.
    fn round_missed(&mut self, now: Now, key: AskKey, out: &mut Effects) {
        let Some(probe) = self.probe_of(key) else { return };
        let (trunk, at, next) = (Arc::clone(&probe.trunk), probe.at, probe.round.next);
        let missed = || probe.round.missed.iter().map(|(_, why)| *why);
        let why = missed().min_by_key(|why| says_less(*why)).unwrap_or(Failure::Unreachable);
        if missed().all(|why| why != Failure::NoAnswer) {
            self.asks.arm(key, next);
            return self.mark(now, &trunk, at, Sign::Failed(why), out);
        }
        probe.misses = probe.misses.saturating_add(1);
        let misses = probe.misses;
        if misses >= MISSES {
            self.mark(now, &trunk, at, Sign::Failed(why), out);
        }
        // At once, where the next one is far off.
        if misses < MISSES || next <= now.mono {
            self.probe(now, key, out);
        } else {
            self.asks.arm(key, next);
        }
    }

    pub(super) fn probe_answered(
        &mut self,
        now: Now,
        key: AskKey,
        left: Instant,
        code: u16,
        out: &mut Effects,
    ) {
        let Some(probe) = self.probe_of(key) else { return };
        let (trunk, at) = (Arc::clone(&probe.trunk), probe.at);
        self.desk.trunks().measured(&trunk, usize::from(at), now.mono.since(left));
        if code == OVERLOADED {
            return self.probe_missed(now, key, Failure::Refused(OVERLOADED), out);
        }
        let Some(probe) = self.probe_of(key) else { return };
        probe.misses = 0;
        let (next, asked) = (probe.round.next, probe.round.asked.take());
        self.asks.arm(key, next);
        let host = trunk.gateways.get(usize::from(at)).and_then(|gateway| gateway.host.as_ref());
        if let Some((host, asked)) = host.zip(asked) {
            self.desk.hosts().lives(host, asked);
        }
        self.mark(now, &trunk, at, Sign::Alive, out);
    }

    /// What a gateway says to a call's INVITE, a 100 of its first hop aside: it lives. A 503 there may be that call's
    /// alone. What leads on to the next gateway is remembered as a failure, and changes no more than that.
    pub(super) fn gateway_answered(
        &mut self,
        now: Now,
        key: SlotKey,
        leg: LegId,
        code: u16,
        out: &mut Effects,
    ) {
        if code > 100 && code != 503 {
            self.gateway_seen(now, key, leg, Sign::Alive, out);
        }
        if outcome::tries_the_next_gateway(code)
            && let Some(called) = self.leg_at(key, leg)
            && called.state == LegState::Calling
        {
            self.call_failed(now, called, Failure::CallRefused(code));
        }
    }

    /// A call's INVITE is given up. Whoever has said nothing at all to it within `try_timeout` has failed, if another
    /// gateway is tried for it, nobody waits any longer, or the caller has hung up.
    pub(super) fn gateway_given_up(&self, now: Now, key: SlotKey, leg: LegId) {
        if let Some(called) = self.leg_at(key, leg)
            && let Some(trunk) = called.trunk()
            && now.mono.since(called.started) >= trunk.try_timeout
        {
            self.call_failed(now, called, Failure::CallUnanswered);
            self.stream_silent(now, key, leg);
        }
    }

    /// A call's INVITE had no answer by the end of Timer B.
    pub(super) fn gateway_silent(&self, now: Now, key: SlotKey, leg: LegId) {
        self.exit_silent(now, key, leg);
        self.stream_silent(now, key, leg);
        if let Some(called) = self.leg_at(key, leg) {
            self.call_failed(now, called, Failure::CallUnanswered);
        }
    }

    /// Nothing at all has answered an INVITE that went by a stream only because it is long: whoever takes that one may
    /// read nothing from it, and the next go in datagrams. Not this one: a server that reads it late would have it twice
    /// (RFC 3261 §8.2.2.2).
    fn stream_silent(&self, now: Now, key: SlotKey, leg: LegId) {
        if let Some(to) = self.chosen_stream(key, leg) {
            self.desk.trunks().streamless().found(to.addr, now.mono);
        }
    }

    /// Whether nothing at all has answered a leg's INVITE.
    pub(super) fn is_unheard(&self, key: SlotKey, leg: LegId) -> bool {
        let slot = self.slots.get(key);
        let side = slot.zip(leg.index().checked_sub(1)).and_then(|(slot, at)| slot.legs.get(at));
        side.and_then(|side| side.transaction).is_some_and(|invite| self.transactions.is_unheard(invite))
    }

    fn leg_at(&self, key: SlotKey, leg: LegId) -> Option<&Leg> {
        self.slots.get(key)?.call.as_deref()?.leg(leg)
    }

    fn call_failed(&self, now: Now, leg: &Leg, why: Failure) {
        if let Some((trunk, exit)) = exit_of(leg) {
            self.desk.trunks().failed(trunk, usize::from(exit.gateway), why, now.wall);
        }
    }

    /// A call's INVITE could not be delivered.
    pub(super) fn gateway_unreachable(
        &mut self,
        now: Now,
        key: SlotKey,
        leg: LegId,
        why: Failure,
        out: &mut Effects,
    ) {
        if let Some(called) = self.leg_at(key, leg) {
            self.call_failed(now, called, why);
        }
        self.gateway_seen(now, key, leg, Sign::Failed(why), out);
    }

    fn gateway_seen(&mut self, now: Now, key: SlotKey, leg: LegId, sign: Sign, out: &mut Effects) {
        let call = self.slots.get(key).and_then(|slot| slot.call.as_deref());
        let Some((trunk, exit)) = call.and_then(|call| call.leg(leg)).and_then(exit_of) else { return };
        if let Some((host, hop)) = named_hop(trunk, exit) {
            match sign {
                Sign::Alive => self.desk.hosts().lives(host, hop),
                // Its gateway has another address.
                Sign::Failed(_) if self.desk.hosts().failed(host, hop, now.mono) => return,
                Sign::Failed(_) => {}
            }
        }
        self.mark(now, trunk, exit.gateway, sign, out);
    }

    /// A call's INVITE had no answer at all at one address of a host: the next calls begin elsewhere.
    pub(super) fn exit_silent(&self, now: Now, key: SlotKey, leg: LegId) {
        let call = self.slots.get(key).and_then(|slot| slot.call.as_deref());
        let leg = call.and_then(|call| call.leg(leg)).filter(|leg| leg.is_live());
        if let Some((trunk, exit)) = leg.and_then(exit_of)
            && let Some((host, hop)) = named_hop(trunk, exit)
        {
            self.desk.hosts().failed(host, hop, now.mono);
        }
    }

    /// Notes what was seen of a gateway; a change is told once. Where nobody asks, all count as up: nobody would find
    /// out that one is back.
    fn mark(&self, now: Now, trunk: &Trunk, at: u8, sign: Sign, out: &mut Effects) {
        if trunk.options_interval.is_none() {
            return;
        }
        let at = usize::from(at);
        if self.desk.trunks().mark(trunk, at, sign, now.wall)
            && let Some(gateway) = trunk.gateways.get(at)
        {
            let (trunk, gateway) = (Arc::clone(&trunk.name), gateway.place);
            out.notices.push(Notice::Said(match sign {
                Sign::Alive => CallEvent::TrunkUp { trunk, gateway },
                Sign::Failed(why) => CallEvent::TrunkDown { trunk, gateway, why },
            }));
        }
    }
}

/// Of a round in which addresses failed each in its own way the one that says most is told: the lowest.
const fn says_less(why: Failure) -> u8 {
    match why {
        Failure::Refused(_) => 0,
        Failure::Insecure(_) => 1,
        Failure::NoAnswer => 2,
        Failure::Unreachable
        | Failure::Unlisted
        | Failure::NotFound
        | Failure::NoListener
        | Failure::CallUnanswered
        | Failure::CallRefused(_) => 3,
    }
}

/// Where a leg's INVITE leaves a trunk.
fn exit_of(leg: &Leg) -> Option<(&Arc<Trunk>, &Exit)> {
    match &leg.to {
        Destination::Gateway { trunk, exits, .. } => Some((trunk, exits.current()?)),
        Destination::Phone { .. } | Destination::Inside(_) => None,
    }
}

/// The host of an exit's gateway, where it has a name, and at which of its addresses that exit is.
fn named_hop<'t>(trunk: &'t Trunk, exit: &Exit) -> Option<(&'t Arc<Host>, Hop)> {
    let host = trunk.gateways.get(usize::from(exit.gateway))?.host.as_ref()?;
    Some((host, (exit.addr?, exit.transport)))
}
