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
pub mod story;

mod hunt;
mod record;
mod talk;
mod ways;

use std::mem::replace;
use std::time::Duration;

use smallvec::SmallVec;

use crate::number::E164;
use crate::routing::{Phones, Plan, TargetEnd, Trunk};
use crate::sip::body::Body;
use crate::time::{Instant, Now};
use event::{Action, Event, LegEvent, LegId, Timer};
use hunt::Hunt;
use leg::{Destination, Exits, Leg, TargetId};
use talk::Talk;

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
    /// How many may ring at once in all that comes of this call (Max-Breadth, RFC 5393 §5.3); at least 1.
    pub breadth: Option<u32>,
    /// How long the caller lets it ring (RFC 3261 §13.3.1).
    pub expires: Option<Duration>,
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
    ending: Option<(Ending, Instant)>,
}

/// Where a call stands.
#[derive(Debug)]
enum State {
    /// Somebody is being rung.
    Ringing(Hunt),
    /// The caller has our 200.
    Talking(Talk),
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
            (Ringing(hunt), Begin) => call.begin(hunt),
            (Ringing(hunt), Leg(leg, LegEvent::Progress { code, fork, body })) => {
                call.progress(hunt, leg, code, fork, body)
            }
            (Ringing(hunt), Leg(leg, LegEvent::Answered { fork, body })) => {
                call.answered(hunt, leg, fork, body)
            }
            (Ringing(hunt), Leg(leg, LegEvent::Refused { code, q850, contacts })) => {
                call.leg_refused(hunt, leg, code, q850, contacts)
            }
            (Ringing(hunt), Leg(leg, LegEvent::TimedOut)) => call.leg_unheard(hunt, leg, 408),
            (Ringing(hunt), Leg(leg, LegEvent::Undeliverable)) => call.leg_unheard(hunt, leg, 503),
            (Ringing(hunt), Leg(leg, LegEvent::NotCalled)) => call.leg_unheard(hunt, leg, 503),
            (Ringing(hunt), HungUp { leg, .. }) if leg != LegId::CALLER => call.leg_hung_up(hunt, leg),
            (Ringing(_), HungUp { .. }) => call.caller_gone(None),
            (Ringing(_), CallerCancelled { reason }) => call.caller_gone(reason),
            (Ringing(_), CallerNeverPracked) => call.give_up(Ending::NeverPracked),
            (Ringing(_), OperatorHangsUp) => call.give_up(Ending::Operator),
            (Ringing(_), Woke(Timer::Expires)) => call.give_up(Ending::Expired),
            (Ringing(hunt), Woke(Timer::RingTimeout)) => call.ring_timeout(hunt),
            (Ringing(hunt), Woke(Timer::HeadStart)) => call.head_start_over(hunt),
            (Ringing(hunt), Woke(Timer::TryTimeout(leg))) => call.try_timeout(hunt, leg),
            (Ringing(hunt), Woke(Timer::RepeatRinging)) => call.repeat_ringing(hunt),
            (Ringing(hunt), Asked { leg, method, body, answered }) => {
                let offer_is_open = call.call.arrival.offer.is_some() && !answered;
                let code = hunt::early_answer(leg, method, body.is_some(), offer_is_open);
                call.out.push(Action::Reply { leg, method, code, body: None });
                Ringing(hunt)
            }
            (
                Ringing(hunt),
                CallerAcknowledged { .. } | CallerNeverAcknowledged | Replied { .. } | Settled { .. },
            ) => Ringing(hunt),
            (Ringing(hunt), Woke(Timer::MaxCall)) => Ringing(hunt),

            (Talking(talk), CallerAcknowledged { answer }) => call.caller_acknowledged(talk, answer),
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
            (Talking(talk), OperatorHangsUp) => call.end(talk, Ending::Operator),
            // A loser's last words, a timer that was due in the same turn.
            (Talking(talk), Leg(..) | Begin | Woke(_)) => Talking(talk),

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
            State::Over => "over",
        }
    }

    /// When our 200 went to the caller.
    pub fn answered_at(&self) -> Option<Instant> {
        self.answered
    }

    /// The SDP that a side was shown last: the other side's.
    pub fn sdp_shown_to(&self, leg: LegId) -> Option<&Body> {
        match &self.state {
            State::Talking(talk) => talk.sdp_shown_to(leg),
            State::Ringing(_) | State::Over => None,
        }
    }

    /// Whether both sides talk and no offer is open.
    pub fn is_settled(&self) -> bool {
        matches!(&self.state, State::Talking(talk) if talk.is_stable())
    }

    /// The leg that was bridged.
    pub fn winner(&self) -> Option<LegId> {
        match &self.state {
            State::Talking(talk) => Some(talk.winner),
            State::Ringing(_) | State::Over => None,
        }
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

    fn start(&mut self, timer: Timer, after: Duration) {
        self.out.push(Action::Start(timer, after));
    }

    fn stop(&mut self, timer: Timer) {
        self.out.push(Action::Stop(timer));
    }
}
