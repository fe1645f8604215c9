//! What a shard asks of others outside any dialog, again and again: the errands, and when each is due.

use std::net::IpAddr;
use std::sync::Arc;

use smallvec::SmallVec;

use super::binding::Silence;
use super::challenged::Login;
use super::names::CallIdText;
use crate::call::leg::{Exit, Exits};
use crate::engine::hosts::Hop;
use crate::engine::trunks::Failure;
use crate::routing::{Auth, Gateway, Trunk};
use crate::sip::transaction;
use crate::sip::wheel::Wheel;
use crate::time::Instant;

/// An errand of this shard, once and for all: another one in the same place has another nonce.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AskKey {
    index: u32,
    nonce: u32,
}

/// Why something is asked.
pub(super) enum Errand {
    /// Whether a gateway lives.
    Gateway(Probe),
    /// Goes round among the agents.
    Round(Walk),
    /// Our registration at a carrier.
    Enroll(Box<Enroll>),
    /// A phone behind a NAT, whose way in is kept open.
    Phone(Silence),
}

/// How far the round among the agents has come.
#[derive(Clone, Copy)]
pub(super) struct Walk {
    /// The agent at this place is the next.
    pub next: usize,
    /// When that is its turn.
    pub due: Instant,
    pub pace: Pace,
}

#[derive(Clone, Copy)]
pub(super) enum Pace {
    /// The first round of all.
    Hurried,
    Steady,
}

/// One errand.
pub(super) struct Ask {
    key: AskKey,
    pub errand: Errand,
    /// Its request that has no final answer, and when that left.
    pub open: Option<(transaction::Id, Instant)>,
    /// Which setting of its timer: one that was set anew does not fire for the old.
    turn: u32,
}

/// The errands of one shard.
#[derive(Default)]
pub(super) struct Asks {
    places: Vec<Option<Ask>>,
    free: Vec<u32>,
    nonces: u32,
    timers: Wheel<(AskKey, u32)>,
}

impl Asks {
    /// Takes an errand on; nothing is asked before its timer is set.
    pub fn open(&mut self, errand: Errand) -> AskKey {
        self.nonces = self.nonces.wrapping_add(1);
        let index = self.free.pop().unwrap_or(u32::try_from(self.places.len()).unwrap_or(u32::MAX));
        let key = AskKey { index, nonce: self.nonces };
        let ask = Some(Ask { key, errand, open: None, turn: 0 });
        match self.places.get_mut(index as usize) {
            Some(place) => *place = ask,
            None => self.places.push(ask),
        }
        key
    }

    pub fn get_mut(&mut self, key: AskKey) -> Option<&mut Ask> {
        self.places.get_mut(key.index as usize)?.as_mut().filter(|ask| ask.key == key)
    }

    /// Gives an errand up. What it had asked last is nobody's any more.
    pub fn close(&mut self, key: AskKey) -> Option<Ask> {
        let place = self.places.get_mut(key.index as usize)?;
        let ask = place.take_if(|ask| ask.key == key)?;
        self.free.push(key.index);
        Some(ask)
    }

    /// Every errand, by its place.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (AskKey, &mut Ask)> {
        self.places.iter_mut().flatten().map(|ask| (ask.key, ask))
    }

    /// Sets an errand's only timer.
    pub fn arm(&mut self, key: AskKey, at: Instant) {
        let Some(ask) = self.get_mut(key) else { return };
        ask.turn = ask.turn.wrapping_add(1);
        let turn = ask.turn;
        self.timers.insert(at, (key, turn));
    }

    /// What its timer was set for is void.
    pub fn disarm(&mut self, key: AskKey) {
        if let Some(ask) = self.get_mut(key) {
            ask.turn = ask.turn.wrapping_add(1);
        }
    }

    pub fn next_deadline(&self) -> Option<Instant> {
        self.timers.next_deadline()
    }

    /// The next errand whose time has come.
    pub fn pop_due(&mut self, now: Instant) -> Option<AskKey> {
        while let Some((_, (key, turn))) = self.timers.pop_due(now) {
            if self.get_mut(key).is_some_and(|ask| ask.turn == turn) {
                return Some(key);
            }
        }
        None
    }
}

/// What asks one gateway.
pub(super) struct Probe {
    pub trunk: Arc<Trunk>,
    /// Its place in the trunk's `gateways`.
    pub at: u8,
    /// OPTIONS in a row without an answer.
    pub misses: u8,
    /// The addresses of its host that are asked one after another until one of them answers.
    pub round: Round,
}

/// One time that a gateway is asked, at one address after another.
#[derive(Default)]
pub(super) struct Round {
    /// Where the last request went.
    pub asked: Option<Hop>,
    /// What failed in this round, and how.
    pub missed: SmallVec<[(Hop, Failure); 2]>,
    /// When the next round is due.
    pub next: Instant,
}

impl Probe {
    fn gateway(&self) -> Option<&Gateway> {
        self.trunk.gateways.get(usize::from(self.at))
    }

    /// Whether this asks what that would ask.
    pub fn is_for(&self, trunk: &Trunk, at: u8) -> bool {
        let Some((one, other)) = self.gateway().zip(trunk.gateways.get(usize::from(at))) else {
            return false;
        };
        (&one.uri, &one.host, one.transport) == (&other.uri, &other.host, other.transport)
            && self.trunk.options_interval == trunk.options_interval
    }
}

/// How a registration stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// It is not there, was lost, or could not be refreshed.
    Trying,
    /// It is there, and refreshed in time.
    Registered,
    /// It is there, and ends once another errand has registered the trunk elsewhere.
    Replaced,
    /// It is being ended.
    Leaving,
}

/// What a carrier has granted us last.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grant {
    /// By this way.
    pub exit: Exit,
    /// Whatever became of a refresh, the carrier has us until then.
    pub until: Instant,
}

/// What registers one trunk.
pub(super) struct Enroll {
    pub trunk: Arc<Trunk>,
    /// In our Contact: what the carrier sends names the trunk by it (R1c).
    pub token: [u8; 32],
    /// The same for all REGISTERs of a registration, their CSeq rising (RFC 3261 §10.2.4).
    pub call_id: CallIdText,
    pub cseq: u32,
    /// Of the attempt that is under way, or was the last.
    pub exits: Exits,
    /// How its registrar's challenges are answered.
    pub login: Login,
    /// What we ask for, in seconds.
    pub expires: u32,
    /// How often a 423 has raised that in a row.
    pub raises: u8,
    /// Attempts in a row that failed at every gateway.
    pub failures: u32,
    /// When its last REGISTER left.
    pub left: Instant,
    /// After a failure at every gateway: when it is tried again, should none of them come back before.
    pub rests_until: Instant,
    /// Gateways that said how long they are to be left alone (RFC 3261 §21.5.4), and until when that is.
    pub told: SmallVec<[(Exit, Instant); 1]>,
    pub stage: Stage,
    /// None: it has been registered by nobody yet.
    pub granted: Option<Grant>,
}

impl Enroll {
    pub fn new(trunk: Arc<Trunk>, auth: &Auth, expires: u32, call_id: CallIdText, token: [u8; 32]) -> Enroll {
        Enroll {
            trunk,
            token,
            call_id,
            cseq: 0,
            exits: Exits::new([]),
            login: Login::of(auth),
            expires,
            raises: 0,
            failures: 0,
            left: Instant::ZERO,
            rests_until: Instant::ZERO,
            told: SmallVec::new(),
            stage: Stage::Trying,
            granted: None,
        }
    }

    /// The first of these, from the current one on, that is not to be left alone.
    pub fn first_free(&self, now: Instant, mut exits: Exits) -> Option<Exits> {
        while exits.current().is_some_and(|exit| self.alone_until(exit) > Some(now)) {
            exits = exits.next()?;
        }
        Some(exits)
    }

    /// Until when every gateway is to be left alone. None: one of them is not.
    pub fn all_alone_until(&self) -> Option<Instant> {
        self.exits.every().iter().map(|exit| self.alone_until(exit)).min().flatten()
    }

    fn alone_until(&self, exit: &Exit) -> Option<Instant> {
        self.told
            .iter()
            .find(|(of, _)| (of.gateway, of.addr) == (exit.gateway, exit.addr))
            .map(|(_, until)| *until)
    }

    /// Where the carrier has us at that moment, as far as it keeps to what it granted.
    pub fn stands_at(&self, now: Instant) -> Option<Exit> {
        self.granted.filter(|granted| now < granted.until).map(|granted| granted.exit)
    }

    /// Whether it registers the same account.
    pub fn is_of(&self, trunk: &Trunk) -> bool {
        let name = |trunk: &Trunk| trunk.auth.as_ref().map(|auth| Arc::clone(&auth.username));
        self.trunk.name == trunk.name && name(&self.trunk) == name(trunk)
    }

    /// Takes its trunk as that is written by another table, unless its registrar is none of that any more. `is_open`: a
    /// REGISTER of it has no answer yet.
    pub fn goes_on_as(&mut self, trunk: &Arc<Trunk>, is_open: bool, now: Instant) -> GoesOn {
        let exit = self.stands_at(now);
        let (place, mut goes_on) = match exit.map(|exit| self.found_in(trunk, exit)) {
            None => (None, GoesOn::AsItIs),
            Some((Some(place), goes_on)) => (Some(place), goes_on),
            Some((None, _)) => return GoesOn::Elsewhere,
        };
        let places = |one: &Trunk, other: &Trunk| {
            let is_there = |at: &Gateway| other.gateways.iter().any(|known| is_place(known, at));
            one.gateways.iter().all(is_there)
        };
        let tries = exit.is_none() || self.stage == Stage::Trying;
        let tries_others = tries && !(places(&self.trunk, trunk) && places(trunk, &self.trunk));
        // What it goes through is numbered otherwise.
        let is_lost = is_open && self.trunk.gateways != trunk.gateways;
        if let Some(auth) = trunk.auth.as_ref().filter(|_| self.trunk.auth != trunk.auth) {
            self.login = Login::of(auth);
            goes_on = GoesOn::Anew;
        }
        if tries_others || is_lost || self.stage == Stage::Replaced {
            goes_on = GoesOn::Anew;
        }
        if let Some((granted, exit)) = self.granted.as_mut().zip(place) {
            granted.exit = exit;
        }
        self.stage = match self.stage {
            Stage::Replaced if place.is_some() => Stage::Registered,
            Stage::Replaced => Stage::Trying,
            stage @ (Stage::Trying | Stage::Registered | Stage::Leaving) => stage,
        };
        self.trunk = Arc::clone(trunk);
        goes_on
    }

    /// Where a registration's gateway stands in another trunk; else one with the same registrar behind it.
    fn found_in(&self, trunk: &Trunk, exit: Exit) -> (Option<Exit>, GoesOn) {
        let Some(gateway) = self.trunk.gateways.get(usize::from(exit.gateway)) else {
            return (None, GoesOn::Elsewhere);
        };
        let at = |is: fn(&Gateway, &Gateway) -> bool| {
            let at = trunk.gateways.iter().position(|known| is(known, gateway))?;
            Some(Exit { gateway: u8::try_from(at).ok()?, ..exit })
        };
        match at(is_place) {
            Some(same) => (Some(same), GoesOn::AsItIs),
            None => (at(|one, other| registrar_of(one) == registrar_of(other)), GoesOn::Anew),
        }
    }
}

/// What becomes of a registration whose trunk may be written otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GoesOn {
    /// Nothing that it says has changed.
    AsItIs,
    /// Its registrar hears it once more, in the same row (RFC 3261 §10.2.4).
    Anew,
    /// Its registrar is none of the trunk's any more.
    Elsewhere,
}

/// Whether both are the same place, whatever their share of the calls.
fn is_place(one: &Gateway, other: &Gateway) -> bool {
    (&one.uri, &one.host, one.addr, one.transport) == (&other.uri, &other.host, other.addr, other.transport)
}

/// Who keeps the registrations behind a gateway: its host, whatever the port and the transport.
fn registrar_of(gateway: &Gateway) -> (Option<IpAddr>, Option<&str>) {
    (gateway.addr.map(|addr| addr.ip()), gateway.host.as_deref().map(|host| &*host.name))
}
