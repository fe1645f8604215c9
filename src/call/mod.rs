//! PURE. One call: who rings, who wins, what either side is told, and when it ends (R3 to R8, R11, R12).
//! It knows legs, not messages: the exchange turns messages into its events and performs its actions.
//! It never sees a socket, a clock or the table of numbers; its plan was taken at INVITE.

pub mod caller;
pub mod cdr;
pub mod event;
pub mod leg;
pub mod outcome;
pub mod presentation;
pub mod refusal;
pub mod replay;
pub mod story;

mod connect;
mod hunt;
mod inside;
mod record;
mod talk;
mod transfer;
mod voicemail;
mod ways;

use std::mem::replace;
use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;

use crate::number::E164;
use crate::routing::{Agent, Phones, Plan, TargetEnd, Trunk};
use crate::sip::body::Body;
use crate::time::{Instant, Now};
use connect::Before;
use event::{Action, Event, Inside, LegEvent, LegId, Timer};
use hunt::Hunt;
use leg::{Destination, Exits, Leg, TargetId};
use talk::Talk;
use transfer::Transfer;
use voicemail::Message;

pub use caller::Caller;
pub use record::{Ending, Refused, Seen, refused};

/// The calls of agents and trunks, counted over all calls of the node (`max_calls`, `max_cps`; R3.3, R14).
pub trait Lines: Phones {
    /// Takes the place that a leg to there needs; false when there is none.
    fn take(&mut self, to: &Destination, now: Instant) -> bool;
    /// Takes one though there be none: a call for help is not to wait (R13).
    fn seat(&mut self, to: &Destination);
    /// Gives one back.
    fn free(&mut self, to: &Destination);
    /// Where a call may leave through a trunk, in the order in which it is tried (R14).
    fn exits(&mut self, trunk: &Trunk) -> Exits;
    /// Whether a message that is left now would be written down (R10).
    fn keeps_messages(&self) -> bool;
    /// One more leg rings at a place that another holds: it is counted as a leg alone.
    fn share(&mut self);
    /// It has ended.
    fn unshare(&mut self);
}

/// What the caller's INVITE left with us: enough for every leg to come, gone when one is bridged.
#[derive(Debug)]
pub struct Arrival {
    /// The call's id in records, events and URLs.
    pub id: Box<str>,
    /// The number as dialled, E.164 where it is a number, else as it came.
    pub dialled: Box<str>,
    /// The same, where it is a number.
    pub number: Option<E164>,
    pub caller: Caller,
    /// The caller's offer; `None` when the INVITE left the offer to us (delayed offer).
    pub offer: Option<Body>,
    /// What an INVITE without one has in it all the same, if it calls for help: where the caller is, for instance
    /// (RFC 6442).
    pub enclosed: Option<Box<Body>>,
    /// How many may ring at once in all that comes of this call (Max-Breadth, RFC 5393 §5.3); at least 1.
    pub breadth: Option<u32>,
    /// How long the caller lets it ring (RFC 3261 §13.3.1).
    pub expires: Option<Duration>,
    /// It is to take the place of a dialog of another call of ours (RFC 3891).
    pub joins: Option<Arc<Inside>>,
    /// Its audio comes through us: we can speak to its sides and hear their keys.
    pub is_anchored: bool,
    pub at: Now,
}

/// One call.
#[derive(Debug)]
pub struct Call {
    pub arrival: Arrival,
    pub plan: Box<Plan>,
    pub legs: SmallVec<[Leg; 1]>,
    /// Targets that were not rung, and how they count.
    unrung: SmallVec<[(TargetId, TargetEnd); 1]>,
    state: State,
    ringing: Option<Instant>,
    answered: Option<Instant>,
    /// What is said is written down.
    is_recorded: bool,
    /// To whom a side was sent on, one after another (R11).
    onward: Vec<Onward>,
    /// When the caller left it to others: it had sent the other side on.
    caller_left: Option<Instant>,
    ending: Option<(Ending, Instant)>,
}

/// To whom a side of a bridged call is sent on, and as whose call (R11): an outbound call of the agent who asks for it.
#[derive(Debug)]
pub struct Onward {
    pub plan: Box<Plan>,
    /// Whom the target sees: the agent.
    pub caller: Caller,
    /// It is another call of ours.
    joins: Option<Arc<Inside>>,
    /// What the target is offered: the SDP of who stays.
    offer: Option<Body>,
    /// How many legs, and targets that were not rung, the call had before.
    from: (usize, usize),
}

impl Onward {
    pub fn new(plan: Box<Plan>, caller: Caller) -> Onward {
        Onward { plan, caller, joins: None, offer: None, from: (0, 0) }
    }

    /// Into another call of ours, in the place of a dialog of the agent's.
    pub fn into_call(plan: Box<Plan>, caller: Caller, inside: Arc<Inside>) -> Onward {
        Onward { joins: Some(inside), ..Onward::new(plan, caller) }
    }
}

/// What a leg's INVITE is made from.
#[derive(Debug)]
pub struct Invitation<'a> {
    pub plan: &'a Plan,
    pub caller: &'a Caller,
    pub offer: Option<&'a Body>,
    pub breadth: Option<u32>,
}

/// Where a call stands.
#[derive(Debug)]
enum State {
    /// Somebody is being rung.
    Ringing(Hunt),
    /// The caller has our 200.
    Talking(Talk),
    /// Nobody answered, and a message is taken (R10).
    Messaging(Message),
    /// One of two who talk has sent the other on (R11).
    Transferring(Transfer, transfer::Stage),
    /// Its record is written.
    Over,
}

impl Call {
    pub fn new(arrival: Arrival, plan: Box<Plan>) -> Self {
        Call {
            arrival,
            plan,
            legs: SmallVec::new(),
            unrung: SmallVec::new(),
            state: State::Ringing(Hunt::default()),
            ringing: None,
            answered: None,
            is_recorded: false,
            onward: Vec::new(),
            caller_left: None,
            ending: None,
        }
    }

    /// Takes one event and says, in order, what is to be done.
    // A state table.
    pub fn handle(&mut self, now: Now, event: Event, lines: &mut dyn Lines, out: &mut Vec<Action>) {
        use Event::*;
        use State::*;
        let call = &mut Turn { call: self, now, lines, out };
        let next = match (replace(&mut call.call.state, Over), event) {
            (Ringing(hunt), Begin) => call.begin(hunt).of_a_call(call),
            (Ringing(hunt), Leg(leg, LegEvent::CalledAgain)) => {
                call.awaits_a_word(leg);
                Ringing(hunt)
            }
            (Ringing(hunt), Leg(leg, LegEvent::Progress { code, fork, body })) => {
                call.progress(hunt, leg, code, fork, body)
            }
            (Ringing(hunt), Leg(leg, LegEvent::Answered { fork, body })) => {
                call.answered(hunt, leg, fork, body)
            }
            (Ringing(hunt), Leg(leg, LegEvent::Refused { code, q850, contacts })) => {
                call.leg_refused(hunt, leg, code, q850, contacts).of_a_call(call)
            }
            (Ringing(hunt), Leg(leg, LegEvent::TimedOut)) => call.leg_unheard(hunt, leg, 408).of_a_call(call),
            (Ringing(hunt), Leg(leg, LegEvent::Undeliverable)) => {
                call.leg_unheard(hunt, leg, 503).of_a_call(call)
            }
            (Ringing(hunt), Leg(leg, LegEvent::OutOfReach)) => {
                call.tries_elsewhere(hunt, leg, 503).of_a_call(call)
            }
            (Ringing(hunt), Leg(leg, LegEvent::NotCalled)) => {
                call.leg_unheard(hunt, leg, 503).of_a_call(call)
            }
            (Ringing(hunt), HungUp { leg, .. }) if call.hears_us(leg) => call.never_accepted(hunt, leg),
            (Ringing(hunt), HungUp { leg, .. }) if leg != LegId::CALLER => {
                call.leg_hung_up(hunt, leg).of_a_call(call)
            }
            (Ringing(_), HungUp { .. }) => call.caller_gone(None),
            (Ringing(_), CallerCancelled { reason }) => call.caller_gone(reason),
            (Ringing(_), CallerNeverPracked) => call.give_up(Ending::NeverPracked),
            (Ringing(_), OperatorHangsUp) => call.give_up(Ending::Operator),
            (Ringing(_), Woke(Timer::Expires)) => call.give_up(Ending::Expired),
            (Ringing(hunt), Woke(Timer::RingTimeout)) => call.ring_timeout(hunt).of_a_call(call),
            (Ringing(hunt), Woke(Timer::HeadStart)) => call.head_start_over(hunt).of_a_call(call),
            (Ringing(hunt), Woke(Timer::TryTimeout(leg))) => {
                call.tries_elsewhere(hunt, leg, 408).of_a_call(call)
            }
            (Ringing(hunt), Woke(Timer::RepeatRinging)) => call.repeat_ringing(hunt),
            (Ringing(hunt), Said { leg }) => call.said(hunt, leg),
            (Ringing(hunt), Pressed { leg, digit }) => call.pressed(hunt, leg, digit),
            (Ringing(hunt), Woke(Timer::Confirm(leg))) => call.does_not_accept(hunt, leg),
            (Ringing(hunt), Asked { leg, method, body, .. }) if call.hears_us(leg) => {
                call.answer_to_who_hears_us(leg, method, body.as_ref());
                Ringing(hunt)
            }
            (Ringing(hunt), Asked { leg, method, body, answered }) => {
                let offer_is_open = call.call.arrival.offer.is_some() && !answered;
                let code = hunt::early_answer(leg, method, body.is_some(), offer_is_open);
                call.out.push(Action::Reply { leg, method, code, body: None });
                Ringing(hunt)
            }
            (
                Ringing(hunt),
                CallerAcknowledged { .. }
                | CallerDidNotAnswer
                | CallerNeverAcknowledged
                | Replied { .. }
                | Settled { .. }
                | Refers { .. }
                | Joins { .. }
                | SaidEnough { .. }
                | FellSilent { .. }
                | Silent
                | NotKept
                | Woke(
                    Timer::MaxCall
                    | Timer::Rejoin
                    | Timer::Joining
                    | Timer::Waiting
                    | Timer::Asking
                    | Timer::Message,
                ),
            ) => Ringing(hunt),

            (Talking(talk), CallerAcknowledged { answer }) => call.caller_acknowledged(talk, answer),
            (Talking(talk), CallerDidNotAnswer) => call.end(talk, Ending::NoAnswerInAck),
            (Talking(talk), CallerNeverAcknowledged) => call.end(talk, Ending::NeverAcknowledged),
            // A PRACK holds our 200 up: the caller never had it.
            (Talking(talk), CallerCancelled { .. }) => {
                call.end_before_the_answer_left(talk, Ending::CallerCancelled)
            }
            (Talking(talk), CallerNeverPracked) => {
                call.end_before_the_answer_left(talk, Ending::NeverPracked)
            }
            (Talking(talk), HungUp { leg, why }) => call.hung_up(talk, leg, why),
            (Talking(talk), Asked { leg, method, body, .. }) => call.asked(talk, leg, method, body),
            (Talking(talk), Replied { leg, method, code, body }) => {
                call.replied(talk, leg, method, code, body)
            }
            (Talking(talk), Settled { leg, answer }) => call.settled(talk, leg, answer),
            (Talking(talk), Woke(Timer::MaxCall)) => call.end(talk, Ending::MaxCall),
            (Talking(mut talk), Woke(Timer::Rejoin)) => {
                call.pause_is_over(&mut talk);
                Talking(talk)
            }
            (Talking(mut talk), Woke(timer @ (Timer::Joining | Timer::Asking))) => {
                call.gives_up(&mut talk, timer);
                Talking(talk)
            }
            (Talking(talk), OperatorHangsUp) => call.end(talk, Ending::Operator),
            (Talking(talk), Silent) => call.end(talk, Ending::Silence),
            (Talking(talk), NotKept) => {
                call.call.is_recorded = false;
                Talking(talk)
            }
            (Talking(talk), Refers { by, to }) => call.refers(talk, by, to),
            (Talking(talk), Joins { replaces, from, offer, .. }) => call.joins(talk, replaces, from, offer),
            // A loser's last words, a timer that was due in the same turn.
            (
                Talking(talk),
                Leg(..)
                | Begin
                | Said { .. }
                | SaidEnough { .. }
                | FellSilent { .. }
                | Pressed { .. }
                | Woke(_),
            ) => Talking(talk),

            (Messaging(message), Said { .. }) => call.greeted(message),
            (Messaging(message), SaidEnough { .. }) => call.said_enough(message),
            (Messaging(message), Pressed { digit, .. }) => call.pressed_meanwhile(message, digit),
            (Messaging(message), FellSilent { .. } | Silent | NotKept | OperatorHangsUp)
            | (Messaging(message), Woke(Timer::Message | Timer::MaxCall)) => call.message_is_over(&message),
            (Messaging(message), CallerDidNotAnswer | CallerNeverAcknowledged | CallerNeverPracked) => {
                call.message_is_over(&message)
            }
            (Messaging(message), HungUp { leg, .. }) if leg == LegId::CALLER => {
                call.message_ends(&message, true)
            }
            (Messaging(message), Asked { leg, method, body, .. }) => {
                call.asked_meanwhile_leaving_a_message(leg, method, body.as_ref());
                Messaging(message)
            }
            (
                Messaging(message),
                Begin
                | CallerCancelled { .. }
                | CallerAcknowledged { .. }
                | Leg(..)
                | HungUp { .. }
                | Replied { .. }
                | Settled { .. }
                | Refers { .. }
                | Joins { .. }
                | Woke(_),
            ) => Messaging(message),

            (Transferring(transfer, stage), event) => call.transferring(transfer, stage, event),

            // A request that comes, or was under way, when the call ended is answered by the dialogs.
            (Over, _) => Over,
        };
        self.state = next;
    }

    pub fn is_over(&self) -> bool {
        matches!(self.state, State::Over)
    }

    /// The state's name, for ladders and lists.
    pub fn state_name(&self) -> &'static str {
        match &self.state {
            State::Ringing(_) => "ringing",
            State::Talking(talk) => talk.name(),
            State::Messaging(message) => message.name(),
            State::Transferring(_, stage) => stage.name(),
            State::Over => "over",
        }
    }

    /// When our 200 went to the caller.
    pub fn answered_at(&self) -> Option<Instant> {
        self.answered
    }

    /// The SDP that a side was shown last: the other side's.
    pub fn sdp_shown_to(&self, leg: LegId) -> Option<&Body> {
        self.talk().filter(|talk| talk.has(leg))?.sdp_shown_to(leg)
    }

    /// Whether both sides talk and no offer is open.
    pub fn is_settled(&self) -> bool {
        match &self.state {
            State::Talking(talk) => talk.is_stable(),
            State::Transferring(transfer, stage) => transfer.talk.is_stable() && !stage.offers(),
            State::Ringing(_) | State::Messaging(_) | State::Over => false,
        }
    }

    /// Whether it was bridged.
    pub fn is_bridged(&self) -> bool {
        self.talk().is_some()
    }

    /// Whether a leg is one of those who talk, or is about to be.
    pub fn holds(&self, leg: LegId) -> bool {
        match &self.state {
            State::Talking(talk) => talk.has(leg),
            State::Transferring(transfer, stage) => transfer.talk.has(leg) || stage.target() == Some(leg),
            State::Ringing(_) | State::Messaging(_) | State::Over => false,
        }
    }

    /// Whether a key of a side's means something: it is asked to press 1 (R6), or leaves a message (R10).
    pub fn awaits_keys(&self, id: LegId) -> bool {
        match &self.state {
            State::Ringing(_) => self.leg(id).is_some_and(|leg| {
                leg.hears_us() && Before::of(leg, &self.plan).is_some_and(Before::awaits_keys)
            }),
            State::Messaging(_) => id == LegId::CALLER,
            State::Talking(_) | State::Transferring(..) | State::Over => false,
        }
    }

    /// Who is on the right of what is written down.
    pub fn recorded_on_the_right(&self) -> Option<LegId> {
        let talk = self.talk().filter(|_| self.is_recorded)?;
        Some(talk.called())
    }

    /// Who hears what this side says; none while nobody is joined with it.
    pub fn other(&self, leg: LegId) -> Option<LegId> {
        let talk = self.talk().filter(|talk| talk.has(leg))?;
        let other = talk.other(leg);
        match &self.state {
            State::Transferring(transfer, _) if transfer.has_lost(other) => None,
            State::Transferring(..)
            | State::Talking(_)
            | State::Ringing(_)
            | State::Messaging(_)
            | State::Over => Some(other),
        }
    }

    /// The agent at whose phone a side ends.
    pub fn agent_of(&self, leg: LegId) -> Option<&Arc<Agent>> {
        match leg {
            LegId::CALLER => self.plan.origin.agent(),
            leg => self.leg(leg)?.agent(),
        }
    }

    /// Whether this side may now send the other on: both talk, nothing of the kind is under way, and what who stays
    /// would be offered as is known.
    pub fn may_refer(&self, by: LegId) -> bool {
        match &self.state {
            State::Talking(talk) => {
                self.answered.is_some() && talk.has(by) && talk.sdp_of(talk.other(by)).is_some()
            }
            State::Ringing(_) | State::Transferring(..) | State::Messaging(_) | State::Over => false,
        }
    }

    /// Whether another may take this side's place: the same, and there is room for one more leg.
    pub fn may_replace(&self, leg: LegId) -> bool {
        let has_room = self.has_room_after(self.legs.len(), self.plan.limits.max_legs);
        self.may_refer(leg) && self.is_settled() && has_room
    }

    /// Whether a leg came to take another's place, and waits for our answer.
    pub fn waits_to_join(&self, leg: LegId) -> bool {
        matches!(&self.state, State::Transferring(_, stage) if stage.guest() == Some(leg))
    }

    /// What a leg's INVITE is made from: the caller's, or that of whoever sent the other side on.
    pub fn invitation(&self, leg: LegId) -> Invitation<'_> {
        match self.onward_of(leg) {
            Some(Onward { plan, caller, offer, .. }) => {
                Invitation { plan, caller, offer: offer.as_ref(), breadth: None }
            }
            None => {
                let Arrival { caller, offer, breadth, .. } = &self.arrival;
                Invitation { plan: &self.plan, caller, offer: offer.as_ref(), breadth: *breadth }
            }
        }
    }

    /// What led to a leg, where that was a transfer.
    pub fn onward_of(&self, leg: LegId) -> Option<&Onward> {
        self.onward.iter().rev().find(|onward| leg.index() > onward.from.0)
    }

    /// When the caller left the call to others.
    pub fn caller_left(&self) -> Option<Instant> {
        self.caller_left
    }

    fn talk(&self) -> Option<&Talk> {
        match &self.state {
            State::Talking(talk) => Some(talk),
            State::Transferring(transfer, _) => Some(&transfer.talk),
            State::Ringing(_) | State::Messaging(_) | State::Over => None,
        }
    }

    /// The plan by which somebody is rung now.
    fn hunted_by(&self) -> &Plan {
        self.onward.last().map_or(&self.plan, |onward| &onward.plan)
    }

    /// How many may ring at once.
    fn breadth(&self) -> Option<u32> {
        self.arrival.breadth.filter(|_| self.onward.is_empty())
    }

    /// Our 200 goes to the caller now, or (`None`) not before a PRACK (RFC 3262 §3).
    pub fn answer_leaves(&mut self, at: Option<Instant>) {
        self.answered = at;
    }

    /// The final response of a leg that we had given up: for the record alone.
    pub fn heard_last(&mut self, id: LegId, code: u16) {
        if let Some(leg) = id.index().checked_sub(1).and_then(|at| self.legs.get_mut(at))
            && leg.code == 0
        {
            leg.code = code;
        }
    }

    /// The called leg of that id.
    pub fn leg(&self, id: LegId) -> Option<&Leg> {
        self.legs.get(id.index().checked_sub(1)?)
    }
}

/// A call in the hands of one event.
struct Turn<'a> {
    call: &'a mut Call,
    now: Now,
    lines: &'a mut dyn Lines,
    out: &'a mut Vec<Action>,
}

impl Turn<'_> {
    fn leg(&mut self, id: LegId) -> Option<&mut Leg> {
        self.call.legs.get_mut(id.index().checked_sub(1)?)
    }

    fn hears_us(&self, id: LegId) -> bool {
        self.call.leg(id).is_some_and(Leg::hears_us)
    }

    fn start(&mut self, timer: Timer, after: Duration) {
        self.out.push(Action::Start(timer, after));
    }

    fn stop(&mut self, timer: Timer) {
        self.out.push(Action::Stop(timer));
    }
}
