//! The record of a call: its end, and what became of each leg (contract "CDR", R12).

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;

use super::caller::Diverting;
use super::cdr::{Beginning, Cdr, CdrLeg, Direction, EndedBy, JournalEntry, LegEnd, Outcome, Role};
use super::event::{Action, LegId};
use super::leg::{Destination, Leg, LegState};
use super::outcome::{self, Verdict};
use super::presentation::Presentation;
use super::refusal::Refusal;
use super::{Arrival, Call, Invitation, Lines, State, Turn};
use crate::routing::{Origin, Plan, Target, Who};
use crate::time::{Instant, Now, Wall};

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The caller hung up a bridged call.
    CallerHungUp,
    /// The called side hung up a bridged call.
    CalleeHungUp,
    /// The caller gave up while it rang.
    CallerCancelled,
    /// The caller's `Expires` passed while it rang (RFC 3261 §13.3.1).
    Expired,
    /// All steps ended without an answer.
    NobodyAnswered(Verdict),
    /// The caller never acknowledged our 200 (R12).
    NeverAcknowledged,
    /// The offer went out in our 200, and its ACK held no answer (RFC 3261 §13.2.1).
    NoAnswerInAck,
    /// The caller never acknowledged a reliable provisional response (RFC 3262 §3).
    NeverPracked,
    /// `max_call_seconds`.
    MaxCall,
    /// A side answered an in-dialog request with 408 or 481, or not at all (R12).
    Lost,
    /// Neither side was heard for `rtp_timeout` (R12).
    Silence,
    /// Voicemail took the call (R10). `is_one`: a message was left.
    Message { is_one: bool, by_caller: bool },
    /// A transfer failed, and the agent who had asked for it was gone (R11).
    NotSentOn,
    /// An operator hung it up.
    Operator,
    /// A bug in this call was caught (R12).
    Fault,
}

impl Ending {
    /// A side hung up.
    pub(super) fn hung_up(leg: LegId) -> Ending {
        if leg == LegId::CALLER { Ending::CallerHungUp } else { Ending::CalleeHungUp }
    }

    /// The Q.850 cause that our BYEs of a bridged call have.
    pub(super) fn cause_told(self) -> u8 {
        if self == Ending::Operator { outcome::NORMAL } else { outcome::TIMER }
    }

    /// Why, in a word or two. `legs`: whoever was called.
    fn cause(self, legs: &[Leg]) -> &'static str {
        match self {
            Ending::CallerHungUp | Ending::CalleeHungUp => "hang-up",
            Ending::CallerCancelled => "cancelled",
            Ending::Expired => "the caller's Expires passed",
            Ending::NobodyAnswered(Verdict { blocked: Some(cause), .. }) => cause,
            Ending::NobodyAnswered(Verdict { code: 486, .. }) => "busy",
            Ending::NobodyAnswered(Verdict { code: 603, .. }) => "declined",
            Ending::NobodyAnswered(_) if legs.is_empty() => "nobody to ring",
            Ending::NobodyAnswered(_) if only_confirmations_lapsed(legs) => "nobody pressed 1",
            Ending::NobodyAnswered(_) if timed_out(legs) => "ring timeout",
            Ending::NobodyAnswered(_) if somebody_rang(legs) => "nobody answered",
            Ending::NobodyAnswered(_) => "nobody was reached",
            Ending::NeverAcknowledged => "the caller never acknowledged the answer",
            Ending::NoAnswerInAck => "the ACK held no answer to the offer",
            Ending::NeverPracked => "the caller never acknowledged a reliable response",
            Ending::MaxCall => "max_call_seconds",
            Ending::Lost => "a side no longer answered",
            Ending::Silence => "no audio of either side for rtp_timeout",
            Ending::Message { is_one: true, .. } => "left a message",
            Ending::Message { is_one: false, .. } => "left no message",
            Ending::NotSentOn => "the transfer failed, and who asked for it was gone",
            Ending::Operator => "an operator hung up",
            Ending::Fault => "a fault in this call",
        }
    }
}

/// The id of a called leg by its place.
fn id_at(place: usize) -> LegId {
    LegId(u8::try_from(place + 1).unwrap_or(u8::MAX))
}

fn somebody_rang(legs: &[Leg]) -> bool {
    legs.iter().any(|leg| leg.ringing.is_some())
}

/// Whether of all that rang each answered, and did not accept.
fn only_confirmations_lapsed(legs: &[Leg]) -> bool {
    let ends =
        || legs.iter().filter(|leg| leg.ringing.is_some() || leg.answered.is_some()).map(|leg| leg.state);
    ends().next().is_some() && ends().all(|state| state == LegState::Ended(LegEnd::NotConfirmed))
}

/// Whether the ring timeout ended the last that rang, in whichever step that was.
fn timed_out(legs: &[Leg]) -> bool {
    let ended_by_it = |leg: &Leg| leg.ringing.is_some() && leg.state == LegState::Ended(LegEnd::Timeout);
    let last = legs.iter().filter(|leg| leg.ringing.is_some()).map(|leg| leg.target.step).max();
    legs.iter().any(|leg| Some(leg.target.step) == last && ended_by_it(leg))
}

/// What only the dialogs know of a leg: its Call-ID and its far side.
pub type Seen = (Option<Box<str>>, Option<SocketAddr>);

impl Turn<'_> {
    pub(super) fn close(&mut self, ending: Ending) -> State {
        self.call.ending = Some((ending, self.now.mono));
        self.out.push(Action::Close);
        State::Over
    }
}

impl Call {
    /// Ends a call whose own logic failed, and its legs: nothing further will come from it (R12). `answered`: our 200
    /// has left.
    pub fn abort(&mut self, now: Now, answered: bool, lines: &mut dyn Lines) {
        self.state = State::Over;
        self.answered = self.answered.filter(|_| answered);
        self.ending = Some((Ending::Fault, now.mono));
        for leg in &mut self.legs {
            leg.let_go(lines);
            let end = match leg.state {
                LegState::Bridged if answered => LegEnd::Won,
                LegState::Calling
                | LegState::Ringing
                | LegState::Whispered
                | LegState::Asked
                | LegState::Bridged => LegEnd::Failed,
                LegState::Ended(_) => continue,
            };
            leg.state = LegState::Ended(end);
            leg.ended = Some(now.mono);
        }
    }

    /// The record. `seen` tells what the dialogs know of a leg.
    pub fn record(&self, now: Now, node: &Arc<str>, seen: impl Fn(LegId) -> Seen) -> Cdr {
        let (ending, ended) = self.ending.unwrap_or((Ending::Fault, now.mono));
        let (outcome, sip_code, q850) = self.result(ending);
        let winner = self
            .legs
            .iter()
            .position(|leg| leg.answered.is_some() && leg.state == LegState::Ended(LegEnd::Won))
            .filter(|_| self.answered.is_some());
        let shown = winner.unwrap_or(0);
        let legs = std::iter::once(self.callers_leg(ended, ending, sip_code, q850, seen(LegId::CALLER)))
            .chain(self.legs.iter().enumerate().map(|(at, leg)| self.called_leg(at, leg, ended, &seen)))
            .collect();
        let until = self.answered.unwrap_or(ended);
        Cdr {
            caller_name: self.arrival.shown_name(),
            presented: self.legs.get(shown).and_then(|leg| self.presented(id_at(shown), leg)),
            diversions: self.arrival.diversions(),
            ringing: self.ringing.map(|at| self.wall(at)),
            answered: self.answered.map(|at| self.wall(at)),
            ring_ms: self.ringing.map_or(0, |at| millis(at, until)),
            talk_ms: self.answered.filter(|_| winner.is_some()).map_or(0, |at| millis(at, ended)),
            recording: self.recording(),
            voicemail: self.voicemail(),
            q850,
            ended_by: Some(self.ended_by(ending)),
            cause: Some(Cow::Borrowed(ending.cause(&self.legs))),
            winner: winner.and_then(|at| u16::try_from(at + 1).ok()),
            legs,
            ..self.beginning(node).ended(self.wall(ended), outcome, sip_code)
        }
    }

    /// The id of what is written down of those who talk.
    pub fn recording(&self) -> Option<Box<str>> {
        self.is_recorded.then(|| self.arrival.id.clone())
    }

    /// The id of the message that was left.
    pub fn voicemail(&self) -> Option<Box<str>> {
        let is_one = matches!(self.ending, Some((Ending::Message { is_one: true, .. }, _)));
        is_one.then(|| self.arrival.id.clone())
    }

    /// What the journal keeps from the answer on.
    pub fn journal_entry(&self, now: Now, node: &Arc<str>, seen: Seen) -> JournalEntry {
        let winner = self.legs.iter().position(|leg| leg.state == LegState::Bridged);
        JournalEntry {
            presented: winner.and_then(|at| self.presented(id_at(at), &self.legs[at])),
            sip_call_id: seen.0,
            peer: seen.1,
            ringing: self.ringing.map(|at| self.wall(at)),
            ..self.beginning(node).answered(self.answered.map_or(now.wall, |at| self.wall(at)))
        }
    }

    /// Which way it goes: what an agent dials is inside where it is an agent or a DID of ours.
    pub fn direction(&self) -> Direction {
        let plan = &self.plan;
        let outside = |target: &Target| matches!(target.who, Who::Number { .. } | Who::Unreachable(_));
        match &plan.origin {
            Origin::Trunk(_) => Direction::Inbound,
            Origin::Agent { .. }
                if !plan.diverts && plan.steps.iter().flat_map(|step| &step.targets).any(outside) =>
            {
                Direction::Outbound
            }
            Origin::Agent { .. } => Direction::Internal,
        }
    }

    fn beginning(&self, node: &Arc<str>) -> Beginning {
        let Plan { generation, account, did, origin, .. } = &*self.plan;
        let did = did.map(Into::into);
        self.arrival.beginning(node, origin, self.direction(), *generation, account.clone(), did)
    }

    fn ended_by(&self, ending: Ending) -> EndedBy {
        match ending {
            Ending::CallerHungUp | Ending::CallerCancelled | Ending::Message { by_caller: true, .. } => {
                EndedBy::Caller
            }
            Ending::CalleeHungUp => EndedBy::Callee,
            // Where nobody was called the refusal is our own.
            Ending::NobodyAnswered(Verdict { code: 486 | 603, blocked: None, .. })
                if !self.legs.is_empty() =>
            {
                EndedBy::Callee
            }
            Ending::NobodyAnswered(_)
            | Ending::Expired
            | Ending::NeverAcknowledged
            | Ending::NoAnswerInAck
            | Ending::NeverPracked
            | Ending::MaxCall
            | Ending::Lost
            | Ending::Silence
            | Ending::Message { by_caller: false, .. }
            | Ending::NotSentOn
            | Ending::Operator
            | Ending::Fault => EndedBy::Us,
        }
    }

    fn result(&self, ending: Ending) -> (Outcome, u16, Option<u8>) {
        if let Ending::Message { is_one, .. } = ending {
            let outcome = if is_one { Outcome::Voicemail } else { Outcome::NoAnswer };
            return (outcome, 200, Some(outcome::NORMAL));
        }
        if self.answered.is_some() {
            let cause = self
                .legs
                .iter()
                // After a transfer the last that talked.
                .rfind(|leg| leg.state == LegState::Ended(LegEnd::Won))
                .and_then(|leg| leg.q850);
            return (Outcome::Answered, 200, cause);
        }
        match ending {
            // What the caller set is its own CANCEL at that time, though it be us who count.
            Ending::CallerCancelled | Ending::Expired => (Outcome::Cancelled, 487, None),
            Ending::NobodyAnswered(Verdict { code, q850, blocked }) => {
                let outcome = match code {
                    _ if blocked.is_some() => Outcome::Blocked,
                    486 => Outcome::Busy,
                    603 => Outcome::Declined,
                    _ if only_confirmations_lapsed(&self.legs) => Outcome::NotConfirmed,
                    _ if somebody_rang(&self.legs) => Outcome::NoAnswer,
                    _ => Outcome::Unreachable,
                };
                (outcome, code, q850)
            }
            Ending::NeverPracked => (Outcome::Failed, 504, Some(outcome::TIMER)),
            Ending::Fault => (Outcome::Failed, 500, Some(outcome::q850_of(500))),
            Ending::CallerHungUp
            | Ending::CalleeHungUp
            | Ending::NeverAcknowledged
            | Ending::NoAnswerInAck
            | Ending::MaxCall
            | Ending::Lost
            | Ending::Silence
            | Ending::Message { .. }
            | Ending::NotSentOn
            | Ending::Operator => (Outcome::Failed, 480, None),
        }
    }

    fn callers_leg(
        &self,
        ended: Instant,
        ending: Ending,
        sip_code: u16,
        q850: Option<u8>,
        seen: Seen,
    ) -> CdrLeg {
        let end = match (self.answered, ending) {
            (Some(_), _) => LegEnd::Normal,
            (None, Ending::CallerCancelled | Ending::Expired) => LegEnd::Cancelled,
            (None, _) => LegEnd::Failed,
        };
        CdrLeg {
            ringing: self.ringing.map(|at| self.wall(at)),
            answered: self.answered.map(|at| self.wall(at)),
            sip_code: Some(sip_code),
            q850,
            ..self.arrival.leg(
                self.plan.origin.trunk().map(|trunk| trunk.name.clone()),
                end,
                self.wall(self.caller_left.unwrap_or(ended)),
                seen,
            )
        }
    }

    fn called_leg(&self, at: usize, leg: &Leg, ended: Instant, seen: &impl Fn(LegId) -> Seen) -> CdrLeg {
        let id = id_at(at);
        let (sip_call_id, peer) = seen(id);
        let (role, target) = self.role(id, leg);
        let end = match leg.state {
            // The caller never had our 200.
            LegState::Ended(LegEnd::Won) | LegState::Bridged if self.answered.is_none() => LegEnd::Failed,
            LegState::Ended(end) => end,
            LegState::Bridged => LegEnd::Won,
            LegState::Calling | LegState::Ringing | LegState::Whispered | LegState::Asked => LegEnd::Failed,
        };
        let (started, ended) = (self.wall(leg.started), self.wall(leg.ended.unwrap_or(ended)));
        CdrLeg {
            target: Some(target),
            trunk: leg.trunk().map(|trunk| trunk.name.clone()),
            sip_call_id,
            peer,
            presented: self.presented(id, leg),
            ringing: leg.ringing.map(|at| self.wall(at)),
            answered: leg.answered.map(|at| self.wall(at)),
            confirmed: leg.confirmed.map(|at| self.wall(at)),
            sip_code: (leg.code != 0).then_some(leg.code),
            q850: leg.q850,
            ..CdrLeg::new(u16::from(id.0), role, started, ended, end)
        }
    }

    /// What a called leg is, and whom it reaches.
    pub fn role(&self, id: LegId, leg: &Leg) -> (Role, Arc<str>) {
        let (role, target) = match &leg.to {
            Destination::Phone { agent, .. } => (Role::Agent, agent.name.clone()),
            Destination::Gateway { number, .. } => (Role::Forward, number.to_string().into()),
            Destination::Inside(inside) => (Role::Transfer, inside.name.clone()),
        };
        (if self.onward_of(id).is_some() { Role::Transfer } else { role }, target)
    }

    fn presented(&self, id: LegId, leg: &Leg) -> Option<Box<str>> {
        // Who talks there is the other call's to say.
        if let Destination::Inside(_) = leg.to {
            return None;
        }
        let Invitation { plan, caller, .. } = self.invitation(id);
        Presentation::number(leg.shown, caller, plan.did)
    }

    fn wall(&self, at: Instant) -> Wall {
        self.arrival.wall(at)
    }
}

impl Arrival {
    /// The wall time of a monotonic moment of this call.
    pub fn wall(&self, at: Instant) -> Wall {
        Wall(self.at.wall.0 + millis(self.at.mono, at))
    }

    /// The caller for records: a withheld number is kept from them unless the sender is trusted with it.
    pub fn shown_caller(&self, trusted: bool) -> Option<Box<str>> {
        if self.caller.withheld && !trusted {
            return None;
        }
        self.caller.number.map(Into::into).or_else(|| self.caller.text.clone())
    }

    fn diversions(&self) -> Vec<Box<str>> {
        let by = |by: &Diverting| match by {
            Diverting::Number(number) => (*number).into(),
            Diverting::Text(text) => text.clone(),
        };
        self.caller.diversions.iter().map(|earlier| by(&earlier.by)).collect()
    }

    fn leg(&self, trunk: Option<Arc<str>>, end: LegEnd, ended: Wall, (sip_call_id, peer): Seen) -> CdrLeg {
        CdrLeg { trunk, sip_call_id, peer, ..CdrLeg::new(0, Role::Caller, self.at.wall, ended, end) }
    }

    /// The caller's display name for records: never a withheld one.
    fn shown_name(&self) -> Option<Box<str>> {
        self.caller.name.clone().filter(|_| !self.caller.withheld)
    }

    fn beginning(
        &self,
        node: &Arc<str>,
        origin: &Origin,
        direction: Direction,
        generation: u64,
        account: Arc<str>,
        did: Option<Box<str>>,
    ) -> Beginning {
        Beginning {
            id: self.id.clone(),
            node: node.clone(),
            generation,
            account,
            direction,
            trunk: origin.trunk().map(|trunk| trunk.name.clone()),
            did,
            dialled: self.dialled.clone(),
            caller: self.shown_caller(origin.reads().trusted_identity),
            withheld: self.caller.withheld,
            started: self.at.wall,
        }
    }
}

/// Where a refused call came in, and what for.
pub struct Refused<'a> {
    pub arrival: &'a Arrival,
    pub refusal: Refusal,
    /// What the caller was told: a trunk's limit has a code of its own (R14).
    pub code: u16,
    pub origin: &'a Origin,
    pub generation: u64,
    pub account: Arc<str>,
    /// Our number, where it is one.
    pub did: Option<Box<str>>,
}

/// The record of a call that we refused at once.
pub fn refused(refused: Refused<'_>, now: Now, node: &Arc<str>, seen: Seen) -> Cdr {
    let Refused { arrival, refusal, code, origin, generation, account, did } = refused;
    let own = [(Refusal::TrunkLimit, outcome::NO_CIRCUIT), (Refusal::Fault, outcome::q850_of(code))];
    let q850 = own.into_iter().find(|(known, _)| *known == refusal).map(|(_, q850)| q850);
    // A limit's refusal is `blocked` whatever its code: 503 or 486 of a trunk, 482 of `max_ringing_per_caller`.
    let outcome = match matches!(refusal, Refusal::TooManyRinging | Refusal::TrunkLimit | Refusal::Forbidden)
    {
        true => Outcome::Blocked,
        false => Outcome::Failed,
    };
    let leg = CdrLeg {
        sip_code: Some(code),
        q850,
        ..arrival.leg(origin.trunk().map(|trunk| trunk.name.clone()), LegEnd::Failed, now.wall, seen)
    };
    let direction = match origin {
        Origin::Trunk(_) => Direction::Inbound,
        Origin::Agent { .. } => Direction::Outbound,
    };
    Cdr {
        caller_name: arrival.shown_name(),
        diversions: arrival.diversions(),
        q850,
        ended_by: Some(EndedBy::Us),
        cause: Some(Cow::Borrowed(refusal.cause())),
        legs: vec![leg],
        ..arrival.beginning(node, origin, direction, generation, account, did).ended(now.wall, outcome, code)
    }
}

fn millis(from: Instant, to: Instant) -> u64 {
    u64::try_from(to.since(from).as_millis()).unwrap_or(u64::MAX)
}
