//! What the answering side hears before it is bridged: the whisper, and "press 1 to accept" (R6). Meanwhile the caller
//! hears ringing, and the others ring on.

use std::time::Duration;

use super::event::{Action, Answer, Fork, LegId, Spoken, Timer, Why};
use super::hunt::Hunt;
use super::leg::{Destination, Leg, LegState};
use super::outcome;
use super::{State, Turn};
use crate::call::cdr::LegEnd;
use crate::media::event::Digit;
use crate::media::wav::LONGEST;
use crate::routing::Plan;
use crate::sip::body::Body;
use crate::sip::header::Method;

/// After so many keys that are not 1 a leg is not asked any longer (R6).
const MOST_OTHER_KEYS: u8 = 3;

/// So long a whisper takes at most: as the longest prompt, and a minute for whoever puts us on hold meanwhile.
const LONGEST_WHISPER: Duration = LONGEST.saturating_add(Duration::from_secs(60));

/// The pause before "press 1" is said once more.
const PAUSE: Duration = Duration::from_millis(1_500);

/// What a leg is to hear and to do before it is bridged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Before {
    whisper: bool,
    /// How long it may take to press 1.
    press_one: Option<Duration>,
}

impl Before {
    /// By the plan that the leg was rung by. None: it is bridged at once.
    pub(super) fn of(leg: &Leg, plan: &Plan) -> Option<Before> {
        let has_whisper = plan.whisper.is_some();
        let before = match leg.to {
            Destination::Gateway { .. } => Before { whisper: has_whisper, press_one: plan.call_connect },
            Destination::Phone { .. } => {
                Before { whisper: has_whisper && plan.whisper_agents, press_one: None }
            }
            Destination::Inside(_) => Before { whisper: false, press_one: None },
        };
        (before.whisper || before.press_one.is_some()).then_some(before)
    }

    /// Whether it is to press 1.
    pub(super) fn awaits_keys(self) -> bool {
        self.press_one.is_some()
    }
}

impl Turn<'_> {
    /// What an answered leg hears before it is bridged. None: nothing, or our audio is not in the call.
    pub(super) fn before(&self, id: LegId) -> Option<Before> {
        let leg = self.call.leg(id).filter(|_| self.call.arrival.is_anchored)?;
        Before::of(leg, &self.call.plan)
    }

    /// A leg has answered, and hears us first.
    pub(super) fn hears_first(
        &mut self,
        hunt: Hunt,
        id: LegId,
        before: Before,
        (fork, sdp): (Fork, Body),
    ) -> State {
        self.out.push(Action::Acknowledge { leg: id, answer: Answer::None });
        if let Some(leg) = self.leg(id) {
            leg.early.clear();
            leg.early.push((fork, sdp));
        }
        let hunt = self.caller_hears_ringing(hunt);
        if before.whisper {
            self.speaks_to(id, LegState::Whispered, Spoken::Whisper, None);
            self.start(Timer::Confirm(id), LONGEST_WHISPER);
        } else if let Some(window) = before.press_one {
            self.asks_to_press(id, window);
        }
        State::Ringing(hunt)
    }

    /// Who has answered and is not to press 1, and still hears the whisper: the first to answer (R5).
    pub(super) fn who_has_won(&self) -> Option<LegId> {
        let legs = (1..).map(LegId).zip(&self.call.legs);
        let mut whispered = legs.filter(|(_, leg)| leg.state == LegState::Whispered).map(|(id, _)| id);
        whispered.find(|id| self.before(*id).is_none_or(|before| before.press_one.is_none()))
    }

    /// It answers, or presses 1, behind who has won.
    pub(super) fn comes_too_late(&mut self, hunt: Hunt, id: LegId) -> State {
        self.out.push(Action::Bye { leg: id, why: Why::Elsewhere });
        self.stop(Timer::Confirm(id));
        self.end_leg(id, LegEnd::Elsewhere, 0);
        State::Ringing(hunt)
    }

    /// What we said to a leg is said.
    pub(super) fn said(&mut self, hunt: Hunt, id: LegId) -> State {
        let state = self.call.leg(id).map(|leg| leg.state);
        match (state, self.before(id)) {
            (Some(LegState::Whispered), Some(Before { press_one: Some(window), .. })) => {
                self.asks_to_press(id, window);
                State::Ringing(hunt)
            }
            (Some(LegState::Whispered), _) => self.bridges(id),
            // "Press 1" is repeated until its time is over.
            (_, _) => State::Ringing(hunt),
        }
    }

    /// A key of a leg's: 1 accepts, during the whisper too; the third other one ends that leg alone.
    pub(super) fn pressed(&mut self, hunt: Hunt, id: LegId, digit: Digit) -> State {
        let is_heard = self.call.leg(id).is_some_and(Leg::hears_us);
        let is_asked = self.before(id).is_some_and(|before| before.press_one.is_some());
        match digit {
            _ if !is_heard || !is_asked => State::Ringing(hunt),
            Digit::ONE if self.who_has_won().is_some() => self.comes_too_late(hunt, id),
            Digit::ONE => {
                let now = self.now.mono;
                self.leg(id).into_iter().for_each(|leg| leg.confirmed = Some(now));
                self.bridges(id)
            }
            _ if self.is_mistaken(id) => State::Ringing(hunt),
            _ => self.does_not_accept(hunt, id),
        }
    }

    /// It pressed another key, and may try again.
    fn is_mistaken(&mut self, id: LegId) -> bool {
        let Some(leg) = self.leg(id) else { return false };
        leg.other_keys += 1;
        leg.other_keys < MOST_OTHER_KEYS
    }

    /// The window is over, or other keys were pressed.
    pub(super) fn does_not_accept(&mut self, hunt: Hunt, id: LegId) -> State {
        if !self.call.leg(id).is_some_and(Leg::hears_us) {
            return State::Ringing(hunt);
        }
        self.out.push(Action::Bye { leg: id, why: Why::NoAnswer });
        self.never_accepted(hunt, id)
    }

    /// It is over with a leg that heard us.
    pub(super) fn never_accepted(&mut self, hunt: Hunt, id: LegId) -> State {
        if let Some(leg) = self.leg(id) {
            leg.q850 = Some(outcome::NO_ANSWER);
        }
        self.stop(Timer::Confirm(id));
        let is_asked = self.before(id).is_some_and(|before| before.press_one.is_some());
        self.end_leg(id, if is_asked { LegEnd::NotConfirmed } else { LegEnd::Failed }, 0);
        self.go_on(hunt).of_a_call(self)
    }

    /// Those who hear us are told that it is over, with what rings.
    pub(super) fn end_those_who_hear_us(&mut self, end: LegEnd, why: &Why) {
        for at in 0..self.call.legs.len() {
            if self.call.legs[at].hears_us() {
                let id = LegId(at as u8 + 1);
                self.out.push(Action::Bye { leg: id, why: why.clone() });
                self.stop(Timer::Confirm(id));
                self.end_leg(id, end, 0);
            }
        }
    }

    /// The answer to a request of a leg that hears us, within its dialog.
    pub(super) fn answer_to_who_hears_us(&mut self, leg: LegId, method: Method, body: Option<&Body>) {
        let offers = body.is_some() && matches!(method, Method::Invite | Method::Update);
        let (code, body) = match (offers, method == Method::Invite) {
            (true, _) => (200, self.call.arrival.offer.clone()),
            // What it would be offered is not settled before it is bridged.
            (false, true) => (491, None),
            (false, false) => (200, None),
        };
        self.out.push(Action::Reply { leg, method, code, body });
    }

    fn asks_to_press(&mut self, id: LegId, window: Duration) {
        self.speaks_to(id, LegState::Asked, Spoken::PressOne, Some(PAUSE));
        self.start(Timer::Confirm(id), window);
    }

    fn speaks_to(&mut self, id: LegId, state: LegState, what: Spoken, again: Option<Duration>) {
        if let Some(leg) = self.leg(id) {
            leg.state = state;
        }
        self.out.push(Action::Say { leg: id, what, again });
    }

    fn bridges(&mut self, id: LegId) -> State {
        self.out.push(Action::Hush(id));
        self.stop(Timer::Confirm(id));
        let heard = self.leg(id).and_then(|leg| leg.early.pop());
        match heard {
            Some((fork, sdp)) => self.bridge(id, fork, sdp),
            // It answered with one, or it would not hear us.
            None => self.give_up(super::record::Ending::Fault),
        }
    }
}
