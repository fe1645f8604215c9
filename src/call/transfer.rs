//! A side of a bridged call sends the other on (REFER; R11, RFC 3515): the target is called while the two still talk,
//! and joined with who stays when it answers. Until then nothing is lost: a target that does not answer leaves both as
//! they were.
//!
//! Who stays is offered the target's SDP by a re-INVITE, for media is not ours: the target had the SDP of who stays as
//! its offer. Where the answer then differs from that, the target hears of it by a re-INVITE in turn.
//!
//! Another call of ours that takes the place of a side (RFC 3891) is the same from where the target has answered. An
//! attended transfer is both: its target is the agent's other call, which is joined in the place of that agent there.

mod leaving;

use super::event::{Action, Event, Fork, Gone, Inside, LegEvent, LegId, Timer, Why};
use super::hunt::{Course, Hunt, early_answer};
use super::leg::{Destination, Hold, Leg, LegState, Shown, TargetId};
use super::record::Ending;
use super::refusal::Refusal;
use super::talk::{JOINING, MAX_GLARES, Phase, Talk};
use super::{Onward, State, Turn, outcome};
use std::sync::Arc;

use crate::call::cdr::LegEnd;
use crate::sip::body::Body;
use crate::sip::header::Method;
use crate::time::Instant;

/// A transfer under way.
#[derive(Debug)]
pub(super) struct Transfer {
    /// Those who talk meanwhile.
    pub(super) talk: Talk,
    /// Who sends the other on.
    by: LegId,
    sender: Sender,
}

/// Whether who sends the other on is still there: many phones hang up when they have our 202.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sender {
    Here,
    Gone,
}

/// How far a transfer is.
#[derive(Debug)]
pub(super) enum Stage {
    /// The target is called.
    Calls(Hunt),
    /// Who stays is to be offered another's SDP, as soon as no other offer is open.
    Waits(Join),
    /// The same, but both sides had offered at once: a pause first (RFC 3261 §14.1).
    Pauses(Join),
    /// It has been offered; the answer is awaited.
    Offered(Join),
    /// The target is gone while its SDP was offered: who stays is offered the sender's again once it has answered.
    Recalls { code: u16 },
}

/// With whom who stays is to be joined, and the SDP that it is offered.
#[derive(Debug)]
pub(super) struct Join {
    to: To,
    sdp: Body,
    glares: u8,
    /// When it could have been offered at the earliest.
    since: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum To {
    /// The target, which has answered.
    Target(LegId),
    /// Another call of ours, which has offered and waits for our answer (RFC 3891).
    Guest(LegId),
    /// Back to the sender, who is told this code.
    Sender { code: u16 },
}

/// Why it came to nothing.
struct Failure {
    code: u16,
    q850: Option<u8>,
    why: Option<&'static str>,
}

impl Failure {
    fn of(code: u16) -> Failure {
        Failure { code, q850: Some(outcome::q850_of(code)), why: None }
    }
}

impl Transfer {
    pub(super) fn stays(&self) -> LegId {
        self.talk.other(self.by)
    }

    /// Whether that side has left.
    pub(super) fn has_lost(&self, leg: LegId) -> bool {
        leg == self.by && self.sender == Sender::Gone
    }
}

impl Stage {
    /// The target, once it has answered.
    pub(super) fn target(&self) -> Option<LegId> {
        match self {
            Stage::Waits(join) | Stage::Pauses(join) | Stage::Offered(join) => match join.to {
                To::Target(leg) | To::Guest(leg) => Some(leg),
                To::Sender { .. } => None,
            },
            Stage::Calls(_) | Stage::Recalls { .. } => None,
        }
    }

    /// The same, where it came of its own accord and waits for our answer.
    pub(super) fn guest(&self) -> Option<LegId> {
        match self {
            Stage::Waits(Join { to: To::Guest(leg), .. })
            | Stage::Pauses(Join { to: To::Guest(leg), .. })
            | Stage::Offered(Join { to: To::Guest(leg), .. }) => Some(*leg),
            Stage::Waits(_) | Stage::Pauses(_) | Stage::Offered(_) => None,
            Stage::Calls(_) | Stage::Recalls { .. } => None,
        }
    }

    pub(super) fn name(&self) -> &'static str {
        match self {
            Stage::Calls(_) => "transfer rings",
            Stage::Waits(_) | Stage::Pauses(_) | Stage::Offered(_) => "joining",
            Stage::Recalls { .. } => "transfer failed",
        }
    }

    /// Whether an offer of ours is with who stays, or about to be.
    pub(super) fn offers(&self) -> bool {
        match self {
            Stage::Waits(_) | Stage::Offered(_) | Stage::Recalls { .. } => true,
            Stage::Calls(_) | Stage::Pauses(_) => false,
        }
    }
}

impl Turn<'_> {
    /// A side sends the other on, to somebody whom it may call.
    pub(super) fn refers(&mut self, talk: Talk, by: LegId, to: Result<Box<Onward>, Refusal>) -> State {
        let stays = talk.other(by);
        let onward = match to {
            Ok(onward) => onward,
            Err(why) => {
                let q850 = Some(outcome::q850_of(why.code()));
                self.out.push(Action::Report { code: why.code(), q850, why: Some(why.cause()) });
                return State::Talking(talk);
            }
        };
        let held = talk.sdp_of(by).and_then(Body::sdp).is_some_and(crate::sip::sdp::is_held);
        let offer = talk.sdp_of(stays).map(|sdp| if held { sdp.taken_off_hold() } else { sdp.clone() });
        self.out.push(Action::Report { code: 100, q850: None, why: None });
        let from = (self.call.legs.len(), self.call.unrung.len());
        self.call.onward.push(Onward { from, offer, ..*onward });
        let course = match self.call.onward.last().and_then(|onward| onward.joins.clone()) {
            Some(inside) => self.ring_inside(inside),
            None => self.ring_step(Hunt::default()),
        };
        self.goes_on(Transfer { talk, by, sender: Sender::Here }, course)
    }

    /// Another call of ours takes the place of one side: as a transfer by that side, to who has answered already.
    pub(super) fn joins(&mut self, talk: Talk, by: LegId, from: Arc<Inside>, offer: Body) -> State {
        let to = Destination::Inside(from);
        self.lines.take(&to, self.now.mono);
        let mut leg = Leg::new(TargetId { step: 0, place: 0 }, to, Shown::Caller, self.now.mono);
        (leg.state, leg.hold) = (LegState::Bridged, Hold::Place);
        self.call.legs.push(leg);
        let guest = LegId(u8::try_from(self.call.legs.len()).unwrap_or(u8::MAX));
        let transfer = Transfer { talk, by, sender: Sender::Here };
        self.joins_when_free(transfer, To::Guest(guest), offer)
    }

    // A state table.
    pub(super) fn transferring(&mut self, mut transfer: Transfer, stage: Stage, event: Event) -> State {
        use Event::*;
        use Stage::*;
        let stays = transfer.stays();
        match (stage, event) {
            (Calls(hunt), Leg(leg, LegEvent::CalledAgain)) => {
                self.awaits_a_word(leg);
                State::Transferring(transfer, Calls(hunt))
            }
            (Calls(hunt), Leg(leg, LegEvent::Progress { code, fork, body })) => {
                self.target_rings(leg, code, fork, body);
                State::Transferring(transfer, Calls(hunt))
            }
            (Calls(hunt), Leg(leg, LegEvent::Answered { fork, body })) => {
                self.target_answers(transfer, hunt, leg, fork, body)
            }
            (Calls(hunt), Leg(leg, LegEvent::Refused { code, q850, contacts })) => {
                let course = self.leg_refused(hunt, leg, code, q850, contacts);
                self.goes_on(transfer, course)
            }
            (Calls(hunt), Leg(leg, LegEvent::TimedOut)) => {
                let course = self.leg_unheard(hunt, leg, 408);
                self.goes_on(transfer, course)
            }
            (Calls(hunt), Leg(leg, LegEvent::Undeliverable | LegEvent::NotCalled)) => {
                let course = self.leg_unheard(hunt, leg, 503);
                self.goes_on(transfer, course)
            }
            (Calls(hunt), Leg(leg, LegEvent::OutOfReach)) => {
                let course = self.tries_elsewhere(hunt, leg, 503);
                self.goes_on(transfer, course)
            }
            (Calls(hunt), Woke(Timer::RingTimeout)) => {
                let course = self.ring_timeout(hunt);
                self.goes_on(transfer, course)
            }
            (Calls(hunt), Woke(Timer::HeadStart)) => {
                let course = self.head_start_over(hunt);
                self.goes_on(transfer, course)
            }
            (Calls(hunt), Woke(Timer::TryTimeout(leg))) => {
                let course = self.tries_elsewhere(hunt, leg, 408);
                self.goes_on(transfer, course)
            }
            (Pauses(join), Woke(Timer::Rejoin)) => self.offers_when_free(transfer, join),
            (stage, Woke(Timer::Rejoin)) => {
                if !stage.offers() {
                    self.pause_is_over(&mut transfer.talk);
                }
                State::Transferring(transfer, stage)
            }
            (Offered(join), Woke(Timer::Joining)) => self.offer_unanswered(transfer, &join),
            (Waits(join), Woke(Timer::Waiting)) => {
                let failure = self.gives_up_joining(join.to);
                self.comes_to_nothing(transfer, &failure)
            }
            (Recalls { code }, Woke(Timer::Joining)) => {
                self.out.push(Action::Withdraw(stays));
                State::Transferring(transfer, Recalls { code })
            }
            (stage, Woke(timer @ (Timer::Joining | Timer::Asking))) => {
                self.gives_up(&mut transfer.talk, timer);
                State::Transferring(transfer, stage)
            }

            (Offered(join), Replied { leg, method: Method::Invite, code, body }) if leg == stays => {
                self.offer_replied(transfer, join, code, body)
            }
            (Recalls { code: told }, Replied { leg, method: Method::Invite, code, body }) if leg == stays => {
                self.recall_replied(transfer, told, code, body)
            }

            (stage, HungUp { leg, why }) => self.somebody_left(transfer, stage, leg, why),
            (stage, Asked { leg, method, body, answered }) => {
                self.asked_meanwhile(&mut transfer, &stage, leg, method, body, answered);
                self.resumes(transfer, stage)
            }
            (stage, Replied { leg, method, code, body }) => {
                let known = transfer.talk.has(leg) && !transfer.has_lost(leg);
                if known {
                    self.passes_back(&mut transfer.talk, leg, method, code, body);
                    self.refuse_what_the_sender_left(&mut transfer);
                }
                if known && matches!(code, 408 | 481) {
                    return self.somebody_left(transfer, stage, leg, Gone::Lost);
                }
                self.resumes(transfer, stage)
            }
            (stage, Settled { leg, answer }) => match self.settles(&mut transfer.talk, leg, answer) {
                true => self.resumes(transfer, stage),
                false => self.end_all(transfer, &stage, Ending::NoAnswerInAck),
            },
            (stage, CallerAcknowledged { .. }) => {
                if let Phase::AwaitsAck { .. } = transfer.talk.phase {
                    transfer.talk.phase = Phase::Stable;
                }
                self.resumes(transfer, stage)
            }

            (stage, CallerDidNotAnswer) => self.end_all(transfer, &stage, Ending::NoAnswerInAck),
            (stage, CallerNeverAcknowledged) => self.end_all(transfer, &stage, Ending::NeverAcknowledged),
            (stage, Woke(Timer::MaxCall)) => self.end_all(transfer, &stage, Ending::MaxCall),
            (stage, OperatorHangsUp) => self.end_all(transfer, &stage, Ending::Operator),
            (stage, Silent) => self.end_all(transfer, &stage, Ending::Silence),
            (stage, NotKept) => {
                self.call.is_recorded = false;
                State::Transferring(transfer, stage)
            }

            // A leg's last words, a timer that was due in the same turn; no second one is begun meanwhile.
            (
                stage,
                Leg(..)
                | Woke(_)
                | Refers { .. }
                | Joins { .. }
                | Begin
                | Said { .. }
                | SaidEnough { .. }
                | FellSilent { .. }
                | Pressed { .. },
            ) => State::Transferring(transfer, stage),
            // A caller who has our 200 has nothing to cancel or to PRACK.
            (stage, CallerCancelled { .. } | CallerNeverPracked) => State::Transferring(transfer, stage),
        }
    }

    fn goes_on(&mut self, transfer: Transfer, course: Course) -> State {
        match course {
            Course::Rings(hunt) => State::Transferring(transfer, Stage::Calls(hunt)),
            Course::Nobody(verdict) => {
                let failure = Failure { code: verdict.code, q850: verdict.q850, why: verdict.blocked };
                self.comes_to_nothing(transfer, &failure)
            }
        }
    }

    fn target_rings(&mut self, leg: LegId, code: u16, fork: Fork, body: Option<Body>) {
        if self.rings(leg, code, fork, body).is_some() {
            self.out.push(Action::Report { code, q850: None, why: None });
        }
    }

    /// The first of the target's phones to answer is the one (R5).
    fn target_answers(
        &mut self,
        transfer: Transfer,
        hunt: Hunt,
        id: LegId,
        fork: Fork,
        body: Option<Body>,
    ) -> State {
        let now = self.now.mono;
        let Some(leg) = self.leg(id).filter(|leg| leg.is_live()) else {
            return State::Transferring(transfer, Stage::Calls(hunt));
        };
        leg.code = 200;
        leg.answered = Some(now);
        let sdp = leg.first_sdp(fork).cloned().or(body.filter(Body::is_sdp));
        self.out.push(Action::Acknowledge { leg: id, answer: super::event::Answer::None });
        let Some(sdp) = sdp else {
            self.out.push(Action::Bye { leg: id, why: Why::Ours(outcome::q850_of(488)) });
            self.end_leg(id, LegEnd::Failed, 200);
            let course = self.go_on(hunt);
            return self.goes_on(transfer, course);
        };
        if let Some(leg) = self.leg(id) {
            leg.state = LegState::Bridged;
            leg.early.clear();
        }
        self.end_ringing(LegEnd::Elsewhere, Why::Elsewhere);
        self.joins_when_free(transfer, To::Target(id), sdp)
    }

    /// After whatever may have settled an offer.
    fn resumes(&mut self, transfer: Transfer, stage: Stage) -> State {
        match stage {
            Stage::Waits(join) => self.offers_when_free(transfer, join),
            Stage::Calls(_) | Stage::Pauses(_) | Stage::Offered(_) | Stage::Recalls { .. } => {
                State::Transferring(transfer, stage)
            }
        }
    }

    fn joins_when_free(&mut self, transfer: Transfer, to: To, sdp: Body) -> State {
        self.offers_when_free(transfer, Join { to, sdp, glares: 0, since: self.now.mono })
    }

    /// Whoever has answered hears nobody until it is joined: it does not wait for ever for the end of another offer.
    fn offers_when_free(&mut self, transfer: Transfer, join: Join) -> State {
        if !transfer.talk.is_stable() {
            self.start(Timer::Waiting, JOINING.saturating_sub(self.now.mono.since(join.since)));
            return State::Transferring(transfer, Stage::Waits(join));
        }
        self.stop(Timer::Waiting);
        self.offers(transfer.stays(), join.sdp.clone());
        State::Transferring(transfer, Stage::Offered(join))
    }

    /// What who stays answered to our re-INVITE.
    fn offer_replied(&mut self, mut transfer: Transfer, join: Join, code: u16, body: Option<Body>) -> State {
        let stays = transfer.stays();
        self.stop(Timer::Joining);
        match (code, join.to) {
            (200..300, to) => {
                self.out.push(Action::Settle { leg: stays, answer: None });
                let answer = body.filter(Body::is_sdp).or_else(|| transfer.talk.sdp_of(stays).cloned());
                match to {
                    To::Target(target) => self.joined(transfer, target, join.sdp, answer),
                    To::Guest(guest) => self.admitted(transfer, guest, join.sdp, answer),
                    To::Sender { code } => {
                        transfer.talk.set_sdp(stays, answer);
                        self.comes_to_nothing(transfer, &Failure::of(code))
                    }
                }
            }
            (491, _) if join.glares < MAX_GLARES => {
                self.out.push(Action::Pause { leg: stays, timer: Timer::Rejoin });
                let join = Join { glares: join.glares + 1, ..join };
                State::Transferring(transfer, Stage::Pauses(join))
            }
            (408 | 481, _) => self.somebody_left(transfer, Stage::Offered(join), stays, Gone::Lost),
            (_, To::Target(target) | To::Guest(target)) => {
                self.turn_away(join.to, target, code);
                self.leaves(target, LegEnd::Failed, outcome::q850_of(code));
                self.comes_to_nothing(transfer, &Failure::of(code))
            }
            (_, To::Sender { code }) => self.comes_to_nothing(transfer, &Failure::of(code)),
        }
    }

    /// Who stays says nothing final to our re-INVITE: the target is let go, and the sender keeps who stays, which is
    /// offered the sender's SDP again should it have accepted the target's after all.
    fn offer_unanswered(&mut self, transfer: Transfer, join: &Join) -> State {
        let failure = self.gives_up_joining(join.to);
        match transfer.sender {
            Sender::Gone => self.comes_to_nothing(transfer, &failure),
            Sender::Here => {
                self.out.push(Action::Withdraw(transfer.stays()));
                let Failure { code, q850, why } = failure;
                self.out.push(Action::Report { code, q850, why });
                State::Transferring(transfer, Stage::Recalls { code })
            }
        }
    }

    /// Lets the target go, which has waited for long enough; how the transfer failed.
    fn gives_up_joining(&mut self, to: To) -> Failure {
        let leg = match to {
            To::Target(leg) | To::Guest(leg) => leg,
            To::Sender { code } => return Failure::of(code),
        };
        self.turn_away(to, leg, 408);
        self.leaves(leg, LegEnd::Failed, outcome::q850_of(408));
        Failure::of(408)
    }

    /// Says to one that was to be joined that it will not be.
    fn turn_away(&mut self, to: To, leg: LegId, code: u16) {
        match to {
            To::Guest(_) => {
                let (method, body) = (Method::Invite, None);
                self.out.push(Action::Reply { leg, method, code, body });
            }
            To::Target(_) | To::Sender { .. } => {
                self.out.push(Action::Bye { leg, why: Why::Ours(outcome::q850_of(code)) });
            }
        }
    }

    /// The target is gone, and who stays has answered its offer.
    fn recall_replied(&mut self, transfer: Transfer, told: u16, code: u16, body: Option<Body>) -> State {
        let stays = transfer.stays();
        self.stop(Timer::Joining);
        match code {
            200..300 => {
                self.out.push(Action::Settle { leg: stays, answer: None });
                let mut transfer = transfer;
                if body.as_ref().is_some_and(Body::is_sdp) {
                    transfer.talk.set_sdp(stays, body);
                }
                match transfer.talk.sdp_of(transfer.by).cloned() {
                    Some(sdp) => self.joins_when_free(transfer, To::Sender { code: told }, sdp),
                    None => self.comes_to_nothing(transfer, &Failure::of(told)),
                }
            }
            408 | 481 => self.somebody_left(transfer, Stage::Recalls { code: told }, stays, Gone::Lost),
            // It has still what it had with the sender.
            _ => self.comes_to_nothing(transfer, &Failure::of(told)),
        }
    }

    /// Who stays talks with the target from here on; the sender is out.
    fn joined(&mut self, transfer: Transfer, target: LegId, sdp: Body, answer: Option<Body>) -> State {
        let stays = transfer.stays();
        self.out.push(Action::Report { code: 200, q850: None, why: None });
        self.sender_goes(&transfer);
        let offered = self.call.onward.last_mut().and_then(|onward| onward.offer.take());
        let answer = answer.or_else(|| offered.clone()).unwrap_or_else(|| sdp.clone());
        let moved = offered.is_none_or(|offered| !answer.sends_like(&offered));
        let mut talk = Talk::joined((stays, answer), (target, sdp));
        if moved {
            self.tells(&mut talk, target);
        }
        State::Talking(talk)
    }

    /// Who stays has answered the guest's offer: it has the place of the one that it came to replace.
    fn admitted(&mut self, transfer: Transfer, guest: LegId, offer: Body, answer: Option<Body>) -> State {
        let answer = answer.unwrap_or_else(|| offer.clone());
        let now = self.now.mono;
        if let Some(leg) = self.leg(guest) {
            leg.code = 200;
            leg.answered = Some(now);
        }
        let (method, body) = (Method::Invite, Some(answer.clone()));
        self.out.push(Action::Reply { leg: guest, method, code: 200, body });
        let stays = transfer.stays();
        self.sender_goes(&transfer);
        State::Talking(Talk::joined((stays, answer), (guest, offer)))
    }

    fn sender_goes(&mut self, transfer: &Transfer) {
        if transfer.sender == Sender::Here {
            self.refuse_the_open_offer(&transfer.talk);
            self.out.push(Action::Bye { leg: transfer.by, why: Why::Normal(outcome::NORMAL) });
            self.sender_leaves(transfer.by, outcome::NORMAL);
        }
    }

    /// Nobody is there to go to: the two talk on, or who was left alone hears that it is over.
    fn comes_to_nothing(&mut self, transfer: Transfer, failure: &Failure) -> State {
        let Failure { code, q850, why } = *failure;
        self.out.push(Action::Report { code, q850, why });
        self.forget_the_target();
        if transfer.sender == Sender::Here {
            self.goes_on_telling(&transfer.talk);
            return State::Talking(transfer.talk);
        }
        let (stays, q850) = (transfer.stays(), q850.unwrap_or(outcome::q850_of(code)));
        self.refuse_the_open_offer(&transfer.talk);
        self.out.push(Action::Bye { leg: stays, why: Why::Ours(q850) });
        self.leaves(stays, LegEnd::Won, q850);
        self.stop(Timer::MaxCall);
        self.close(Ending::NotSentOn)
    }

    /// What the record need not keep of a target that was not called at all.
    fn forget_the_target(&mut self) {
        self.stop(Timer::Rejoin);
        self.stop(Timer::Waiting);
        let Some((legs, unrung)) = self.call.onward.last().map(|onward| onward.from) else { return };
        self.call.unrung.truncate(unrung);
        if self.call.legs.len() == legs {
            self.call.onward.pop();
        }
    }

    /// A request within a dialog while the transfer is under way.
    fn asked_meanwhile(
        &mut self,
        transfer: &mut Transfer,
        stage: &Stage,
        leg: LegId,
        method: Method,
        body: Option<Body>,
        answered: bool,
    ) {
        let offers = method == Method::Invite || method == Method::Update && body.is_some();
        let alone = transfer.sender == Sender::Gone;
        let talks = transfer.talk.has(leg) && !transfer.has_lost(leg);
        if talks && !alone && !(offers && stage.offers()) {
            return self.passes_on(&mut transfer.talk, leg, method, body);
        }
        let rings = self.leg(leg).is_some_and(|leg| leg.is_live());
        let changes_nothing = talks && alone && !stage.offers() && body.as_ref() == transfer.talk.sdp_of(leg);
        let (code, body) = match (method, offers) {
            (method, _) if rings => (early_answer(leg, method, body.is_some(), !answered), None),
            (_, _) if !talks && stage.target() != Some(leg) => (481, None),
            (Method::Update, false) => (200, None),
            // There is nobody to pass it on to.
            (_, false) => (480, None),
            // It is answered as it was last.
            (_, true) if changes_nothing => (200, transfer.talk.sdp_shown_to(leg).cloned()),
            (_, true) => (491, None),
        };
        self.out.push(Action::Reply { leg, method, code, body });
    }
}
