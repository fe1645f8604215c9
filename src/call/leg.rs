//! One called party of a call: where its INVITE goes, as whom, and how far it got.

use std::net::SocketAddr;
use std::sync::Arc;

use smallvec::SmallVec;

use super::Lines;
use super::event::{Contacts, Fork, Inside};
use crate::call::cdr::LegEnd;
use crate::routing::{Agent, Called, Contact, Gateway, TargetEnd, Trunk};
use crate::sip::body::Body;
use crate::sip::peer::Transport;
use crate::time::Instant;

/// Which target of the plan: its step, and its place in the step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TargetId {
    pub step: u8,
    pub place: u8,
}

/// Where one INVITE goes.
#[derive(Clone, Debug)]
pub enum Destination {
    /// One of an agent's phones.
    Phone { agent: Arc<Agent>, contact: Arc<Contact> },
    /// A number, through one gateway of a trunk.
    Gateway { number: Called, trunk: Arc<Trunk>, exits: Exits },
    /// Another call of ours, to take the place of one of its dialogs; or that other call, which takes it here
    /// (RFC 3891).
    Inside(Arc<Inside>),
}

/// One place at which a trunk may be left: an address of a gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit {
    /// Its place in the trunk's `gateways`.
    pub gateway: u8,
    /// None: it has none that we know, and cannot be called.
    pub addr: Option<SocketAddr>,
    pub transport: Transport,
    /// Its gateway is down: it comes behind all that are not.
    pub is_down: bool,
}

/// The exits of a trunk in the order in which one call tries them, and how far it has come. The order is made once,
/// when the number is first rung: what is heard of the gateways in the meantime leads nobody in a circle.
#[derive(Clone, Debug)]
pub struct Exits {
    all: Arc<[Exit]>,
    at: u8,
}

impl Exits {
    /// The first of them is tried first.
    pub fn new(all: impl IntoIterator<Item = Exit>) -> Exits {
        Exits { all: all.into_iter().collect(), at: 0 }
    }

    /// The same with that address before all others that are up, where it is one of them (R8: a redirect names the
    /// gateway), or before those that are down, where it is one of those (R14).
    pub fn beginning_at(self, host: Option<SocketAddr>) -> Exits {
        let Some(named) = self.all.iter().position(|exit| host.is_some() && exit.addr == host) else {
            return self;
        };
        let mut all = self.all.to_vec();
        let is_down = all[named].is_down;
        let first = all.iter().position(|exit| exit.is_down == is_down).unwrap_or(named);
        all[first..=named].rotate_right(1);
        Exits::new(all)
    }

    /// Every one of them.
    pub fn every(&self) -> &[Exit] {
        &self.all
    }

    /// Where it is called now.
    pub fn current(&self) -> Option<&Exit> {
        self.all.get(usize::from(self.at))
    }

    /// Whether everything that is yet to be tried is down.
    pub fn is_down(&self) -> bool {
        self.current().is_none_or(|exit| exit.is_down)
    }

    /// Another has been called at the next one: that leads on from there.
    fn is_followed(&mut self) {
        self.all = self.current().cloned().into_iter().collect();
        self.at = 0;
    }

    /// The same at the next one; None: this is the last.
    pub fn next(&self) -> Option<Exits> {
        let at = self.at + 1;
        (usize::from(at) < self.all.len()).then(|| Exits { all: Arc::clone(&self.all), at })
    }
}

impl Destination {
    /// Another leg has been called by the way that comes next, beside this one.
    pub fn is_followed(&mut self) {
        match self {
            Destination::Gateway { exits, .. } => exits.is_followed(),
            // Nobody calls a phone of ours for help.
            Destination::Phone { .. } | Destination::Inside(_) => {}
        }
    }

    /// Whether calls to either count together: the same agent's, or the same trunk's.
    pub fn counts_with(&self, other: &Destination) -> bool {
        match (self, other) {
            (Destination::Phone { agent: one, .. }, Destination::Phone { agent: other, .. }) => {
                one.name == other.name
            }
            (Destination::Gateway { trunk: one, .. }, Destination::Gateway { trunk: other, .. }) => {
                one.name == other.name
            }
            (Destination::Phone { .. } | Destination::Gateway { .. } | Destination::Inside(_), _) => false,
        }
    }

    /// How a target ends that is not rung because no place is left there.
    pub fn when_full(&self) -> TargetEnd {
        match self {
            Destination::Phone { .. } | Destination::Inside(_) => TargetEnd::Busy,
            Destination::Gateway { trunk, .. } => TargetEnd::NoCircuit(trunk.limit_code),
        }
    }
}

/// Whom a leg shows (R9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    Caller,
    /// The number that was dialled.
    Did,
}

/// What a leg holds among the calls of its agent or trunk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hold {
    #[default]
    Nothing,
    /// A place: from its INVITE on until it ends, or another leg takes the place over.
    Place,
    /// Its agent's place, which the leg to another of the agent's phones holds (R3.3).
    Shared,
}

/// How far a leg got. A leg that has ended is never revived: what comes after belongs to the dialogs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LegState {
    /// INVITE sent; no 18x yet.
    Calling,
    /// An 18x came.
    Ringing,
    /// Answered, and hears the whisper (R6).
    Whispered,
    /// Answered, and asked to press 1 (R6).
    Asked,
    /// Answered, and joined with the caller.
    Bridged,
    Ended(LegEnd),
}

/// A called leg.
#[derive(Debug)]
pub struct Leg {
    pub target: TargetId,
    pub to: Destination,
    pub shown: Shown,
    /// How many 3xx led here (R8: at most 5).
    pub depth: u8,
    /// How many other keys than 1 it has pressed while it was asked to (R6).
    pub other_keys: u8,
    pub state: LegState,
    pub hold: Hold,
    /// The first of those legs of its target that came of one INVITE: the others followed it after a failure or a
    /// redirect. Different phones of one agent make different lines.
    pub line: u8,
    /// Contacts of the same 3xx that are tried if this one fails.
    pub alternates: Contacts,
    /// The first SDP of each dialog of this leg, to be repeated unchanged in its 200 (R4).
    pub early: SmallVec<[(Fork, Body); 1]>,
    pub started: Instant,
    pub ringing: Option<Instant>,
    pub answered: Option<Instant>,
    /// When its 1 was heard (R6).
    pub confirmed: Option<Instant>,
    pub ended: Option<Instant>,
    /// Its final response; 0 while there is none.
    pub code: u16,
    pub q850: Option<u8>,
}

impl Leg {
    pub fn new(target: TargetId, to: Destination, shown: Shown, now: Instant) -> Self {
        Leg {
            target,
            to,
            shown,
            depth: 0,
            other_keys: 0,
            state: LegState::Calling,
            hold: Hold::Nothing,
            line: 0,
            alternates: Contacts::new(),
            early: SmallVec::new(),
            started: now,
            ringing: None,
            answered: None,
            confirmed: None,
            ended: None,
            code: 0,
            q850: None,
        }
    }

    pub fn has_ended(&self) -> bool {
        match self.state {
            LegState::Calling
            | LegState::Ringing
            | LegState::Whispered
            | LegState::Asked
            | LegState::Bridged => false,
            LegState::Ended(_) => true,
        }
    }

    /// Whether it may still answer.
    pub fn is_live(&self) -> bool {
        match self.state {
            LegState::Calling | LegState::Ringing => true,
            LegState::Whispered | LegState::Asked | LegState::Bridged | LegState::Ended(_) => false,
        }
    }

    /// Whether it has answered and hears us before it is bridged.
    pub fn hears_us(&self) -> bool {
        matches!(self.state, LegState::Whispered | LegState::Asked)
    }

    /// Gives back what it holds, whatever ended it; a second time nothing happens. Where others share its place, one of
    /// them holds it from now on: see [`let_go`].
    pub fn let_go(&mut self, lines: &mut dyn Lines) {
        match std::mem::take(&mut self.hold) {
            Hold::Nothing => {}
            Hold::Place => lines.free(&self.to),
            Hold::Shared => lines.unshare(),
        }
    }

    /// The agent whose phone it rings.
    pub fn agent(&self) -> Option<&Arc<Agent>> {
        match &self.to {
            Destination::Phone { agent, .. } => Some(agent),
            Destination::Gateway { .. } | Destination::Inside(_) => None,
        }
    }

    /// The phone that it rings.
    pub fn phone(&self) -> Option<&Contact> {
        match &self.to {
            Destination::Phone { contact, .. } => Some(contact),
            Destination::Gateway { .. } | Destination::Inside(_) => None,
        }
    }

    /// The trunk that it goes through.
    pub fn trunk(&self) -> Option<&Arc<Trunk>> {
        match &self.to {
            Destination::Phone { .. } | Destination::Inside(_) => None,
            Destination::Gateway { trunk, .. } => Some(trunk),
        }
    }

    /// The number that it calls.
    pub fn called(&self) -> Option<&Called> {
        match &self.to {
            Destination::Phone { .. } | Destination::Inside(_) => None,
            Destination::Gateway { number, .. } => Some(number),
        }
    }

    /// The gateway that it is called at.
    pub fn gateway(&self) -> Option<&Gateway> {
        match &self.to {
            Destination::Phone { .. } | Destination::Inside(_) => None,
            Destination::Gateway { trunk, exits, .. } => {
                trunk.gateways.get(usize::from(exits.current()?.gateway))
            }
        }
    }

    /// The SDP that this dialog of the leg showed first.
    pub fn first_sdp(&self, fork: Fork) -> Option<&Body> {
        self.early.iter().find(|(seen, _)| *seen == fork).map(|(_, body)| body)
    }
}

/// A leg gives back what it holds. A place that others share goes to the first of them.
pub fn let_go(legs: &mut [Leg], at: usize, lines: &mut dyn Lines) {
    let Some(leg) = legs.get(at) else { return };
    if leg.hold == Hold::Place {
        let heir = legs.iter().position(|other| other.hold == Hold::Shared && other.to.counts_with(&leg.to));
        if let Some(heir) = heir {
            legs[heir].hold = Hold::Place;
            legs[at].hold = Hold::Shared;
        }
    }
    legs[at].let_go(lines);
}
