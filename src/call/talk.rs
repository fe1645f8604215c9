//! A bridged call: what one side asks within the dialog is asked of the other (R11), until one is gone (R12).

use super::event::{Action, Answer, Gone, LegId, Timer, Why};
use super::leg::LegState;
use super::outcome;
use super::record::Ending;
use super::{State, Turn};
use std::time::Duration;

use crate::call::cdr::LegEnd;
use crate::sip::body::Body;
use crate::sip::header::Method;

/// How often one side may answer our re-INVITE with 491 before we give that up: with pauses of up to 4 s
/// (RFC 3261 §14.1) that is half a minute of somebody who never stops asking.
pub(super) const MAX_GLARES: u8 = 8;

/// How long our re-INVITE waits for its final response: a second more than 64·T1, so that a side that says nothing at
/// all is found lost first (Timer B, RFC 3261 §17.1.1.2). A provisional response ends Timer B and promises no end of its
/// own, and a re-INVITE is answered at once (RFC 3261 §14.2): whoever is at it for longer has lost it.
pub(super) const JOINING: Duration = Duration::from_secs(33);

/// How long a re-INVITE that one side sent waits for the other's final response. A provisional one ends Timer B and
/// promises no end of its own. Longer than [`JOINING`], for a person may be asked (whether to take video: RFC 3261
/// §14.2 leaves that to the called side), who decides within a minute or not at all; and well below the three minutes
/// after which a proxy on the way may end it (Timer C, §16.6), for meanwhile neither side can hold the call.
const ASKING: Duration = Duration::from_secs(60);

/// What one side hears of its re-INVITE when the other has not answered in time. Not 408: whoever gets that ends the
/// dialog (RFC 3261 §12.2.1.2), and the two are to talk on.
const NOT_ANSWERED: u16 = 504;

/// Two sides that talk.
#[derive(Debug)]
pub(super) struct Talk {
    /// The caller and the winner, until one of them has sent the other on (R11).
    sides: [LegId; 2],
    /// The SDP that each sent last.
    sdp: [Option<Body>; 2],
    pub(super) phase: Phase,
    untold: Option<Untold>,
}

/// A side that is still to hear what the other sends: it had offered at the same time as we.
#[derive(Clone, Copy, Debug)]
struct Untold {
    leg: LegId,
    glares: u8,
}

/// Which offer is open.
#[derive(Debug)]
pub(super) enum Phase {
    /// Our 200 awaits the caller's ACK. `delayed`: that ACK carries the answer to the winner's offer.
    AwaitsAck { delayed: bool },
    /// Nothing is open.
    Stable,
    /// `by` asked to change the session; the other side's answer is awaited.
    Asked { by: LegId, method: Method, offer: Option<Body> },
    /// The re-INVITE by which `by` asked was given up. A 200 that crosses our CANCEL counts still.
    GivenUp { by: LegId, offer: Option<Body> },
    /// The other side's offer went back to `by` in a 200; its ACK brings the answer (delayed offer).
    AwaitsAnswer { by: LegId },
    /// We told one side by a re-INVITE what the other sends; its answer is awaited.
    Tells { to: LegId, glares: u8 },
}

impl Talk {
    pub(super) fn new(winner: LegId, offer: Option<Body>, answer: Body) -> Self {
        let delayed = offer.is_none();
        Talk {
            sides: [LegId::CALLER, winner],
            sdp: [offer, Some(answer)],
            phase: Phase::AwaitsAck { delayed },
            untold: None,
        }
    }

    /// Two that were joined after others had talked, each with the SDP that it sent last.
    pub(super) fn joined(one: (LegId, Body), other: (LegId, Body)) -> Self {
        let sdp = [Some(one.1), Some(other.1)];
        Talk { sides: [one.0, other.0], sdp, phase: Phase::Stable, untold: None }
    }

    pub(super) fn name(&self) -> &'static str {
        match self.phase {
            Phase::AwaitsAck { .. } => "answered, awaits ACK",
            Phase::Stable => "talking",
            Phase::Asked { .. } | Phase::GivenUp { .. } | Phase::Tells { .. } => "talking, offer open",
            Phase::AwaitsAnswer { .. } => "talking, awaits answer in ACK",
        }
    }

    pub(super) fn sdp_shown_to(&self, leg: LegId) -> Option<&Body> {
        self.sdp[self.side(self.other(leg))].as_ref()
    }

    pub(super) fn is_stable(&self) -> bool {
        matches!(self.phase, Phase::Stable)
    }

    pub(super) fn other(&self, leg: LegId) -> LegId {
        self.sides[usize::from(leg == self.sides[0])]
    }

    pub(super) fn has(&self, leg: LegId) -> bool {
        self.sides.contains(&leg)
    }

    /// The called one of the two; of two called ones the later.
    pub(super) fn called(&self) -> LegId {
        self.sides[0].max(self.sides[1])
    }

    /// The SDP that a side sent last.
    pub(super) fn sdp_of(&self, leg: LegId) -> Option<&Body> {
        self.sdp[self.side(leg)].as_ref()
    }

    pub(super) fn set_sdp(&mut self, leg: LegId, sdp: Option<Body>) {
        let side = self.side(leg);
        self.sdp[side] = sdp;
    }

    /// Nobody is to be told any more what the other sends.
    pub(super) fn forgets_the_untold(&mut self) {
        self.untold = None;
    }

    /// What was given up has its final response, and is as open as it was until that is taken. False: nothing was.
    fn takes_back(&mut self) -> bool {
        let Phase::GivenUp { by, offer } = &mut self.phase else { return false };
        self.phase = Phase::Asked { by: *by, method: Method::Invite, offer: offer.take() };
        true
    }

    fn side(&self, leg: LegId) -> usize {
        usize::from(leg != self.sides[0])
    }
}

impl Turn<'_> {
    pub(super) fn caller_acknowledged(&mut self, mut talk: Talk, answer: Option<Body>) -> State {
        let Phase::AwaitsAck { delayed } = talk.phase else { return State::Talking(talk) };
        talk.phase = Phase::Stable;
        match answer.filter(Body::is_sdp) {
            Some(answer) if delayed => {
                talk.sdp[0] = Some(answer.clone());
                self.out.push(Action::Acknowledge { leg: talk.called(), answer: Answer::Of(answer) });
            }
            None if delayed => {
                // The offer stays unanswered: nobody can talk (RFC 3261 §13.2.1).
                talk.phase = Phase::AwaitsAck { delayed };
                return self.end(talk, Ending::NoAnswerInAck);
            }
            Some(_) | None => {}
        }
        State::Talking(talk)
    }

    pub(super) fn asked(&mut self, mut talk: Talk, leg: LegId, method: Method, body: Option<Body>) -> State {
        if !talk.has(leg) {
            self.out.push(Action::Reply { leg, method, code: 481, body: None });
            return State::Talking(talk);
        }
        self.passes_on(&mut talk, leg, method, body);
        State::Talking(talk)
    }

    // A state table.
    pub(super) fn passes_on(&mut self, talk: &mut Talk, leg: LegId, method: Method, body: Option<Body>) {
        let other = talk.other(leg);
        let body_is_last = body.is_some() && body == talk.sdp[talk.side(leg)];
        match (&talk.phase, method, body) {
            (_, Method::Info, body) => self.out.push(Action::PassOn { leg: other, method, body }),
            (_, Method::Update, None) => self.out.push(Action::Reply { leg, method, code: 200, body: None }),
            // A refresh is answered by us (R11).
            (Phase::Stable, Method::Invite | Method::Update, Some(_)) if body_is_last => {
                let body = talk.sdp[talk.side(other)].clone();
                self.out.push(Action::Reply { leg, method, code: 200, body });
            }
            // The caller has our 200, or it could not ask: its ACK is late or lost (RFC 5407 §3.1.4).
            (Phase::Stable | Phase::AwaitsAck { delayed: false }, _, body)
                if leg == LegId::CALLER || talk.is_stable() =>
            {
                self.out.push(Action::PassOn { leg: other, method, body: body.clone() });
                // Any other method has an end of its own (Timer F, RFC 3261 §17.1.2.2).
                if method == Method::Invite {
                    self.start(Timer::Asking, ASKING);
                }
                talk.phase = Phase::Asked { by: leg, method, offer: body };
            }
            // RFC 3261 §14.2: a second one of the same side is too early, one of the other side is glare.
            (Phase::Asked { by, .. } | Phase::GivenUp { by, .. } | Phase::AwaitsAnswer { by }, _, _)
                if *by == leg =>
            {
                self.out.push(Action::Reply { leg, method, code: 500, body: None });
            }
            (_, _, _) => {
                self.out.push(Action::Reply { leg, method, code: 491, body: None });
            }
        }
    }

    pub(super) fn replied(
        &mut self,
        mut talk: Talk,
        leg: LegId,
        method: Method,
        code: u16,
        body: Option<Body>,
    ) -> State {
        if !talk.has(leg) {
            return State::Talking(talk);
        }
        self.passes_back(&mut talk, leg, method, code, body);
        // RFC 3261 §12.2.1.2: that dialog is gone.
        if matches!(code, 408 | 481) { self.hung_up(talk, leg, Gone::Lost) } else { State::Talking(talk) }
    }

    pub(super) fn passes_back(
        &mut self,
        talk: &mut Talk,
        leg: LegId,
        method: Method,
        code: u16,
        body: Option<Body>,
    ) {
        if let Phase::Tells { to, glares } = talk.phase
            && to == leg
            && method == Method::Invite
        {
            return self.told(talk, Untold { leg, glares }, code, body);
        }
        let asker = talk.other(leg);
        let is_given_up = method == Method::Invite && talk.takes_back();
        let told = match code {
            // RFC 4320 §4.2: no 408 is sent but to an INVITE.
            408 if method != Method::Invite => 481,
            487 if is_given_up => NOT_ANSWERED,
            code => code,
        };
        self.out.push(Action::Reply { leg: asker, method, code: told, body: body.clone() });
        // An INFO settles no offer.
        if method != Method::Info {
            self.offer_answered(talk, leg, code, body);
        }
    }

    fn offer_answered(&mut self, talk: &mut Talk, leg: LegId, code: u16, body: Option<Body>) {
        let accepted = (200..300).contains(&code);
        self.stop(Timer::Asking);
        match std::mem::replace(&mut talk.phase, Phase::Stable) {
            Phase::Asked { by, method: Method::Invite, offer: None } if accepted => {
                talk.untold = None;
                talk.sdp[talk.side(leg)] = body;
                talk.phase = Phase::AwaitsAnswer { by };
            }
            Phase::Asked { by, method: asked, offer } if accepted => {
                talk.untold = None;
                if asked == Method::Invite {
                    self.out.push(Action::Settle { leg, answer: None });
                }
                talk.sdp[talk.side(by)] = offer;
                talk.sdp[talk.side(leg)] = body;
            }
            Phase::Asked { .. } => {}
            phase @ (Phase::AwaitsAck { .. }
            | Phase::Stable
            | Phase::GivenUp { .. }
            | Phase::AwaitsAnswer { .. }
            | Phase::Tells { .. }) => talk.phase = phase,
        }
    }

    /// Tells one side by a re-INVITE what the other sends; nothing else may be open.
    pub(super) fn tells(&mut self, talk: &mut Talk, to: LegId) {
        self.tells_again(talk, Untold { leg: to, glares: 0 });
    }

    fn tells_again(&mut self, talk: &mut Talk, Untold { leg, glares }: Untold) {
        let Some(body) = talk.sdp_shown_to(leg).cloned() else { return };
        self.offers(leg, body);
        talk.phase = Phase::Tells { to: leg, glares };
    }

    /// A re-INVITE of our own, which is not waited for for ever.
    pub(super) fn offers(&mut self, leg: LegId, body: Body) {
        self.out.push(Action::Offer { leg, body });
        self.start(Timer::Joining, JOINING);
    }

    /// What a side answered when it was told: in any case they talk on.
    fn told(&mut self, talk: &mut Talk, untold: Untold, code: u16, body: Option<Body>) {
        let Untold { leg, .. } = untold;
        talk.phase = Phase::Stable;
        self.stop(Timer::Joining);
        match code {
            200..300 => {
                self.out.push(Action::Settle { leg, answer: None });
                if body.as_ref().is_some_and(Body::is_sdp) {
                    talk.set_sdp(leg, body);
                }
            }
            491 => self.waits_to_tell(talk, untold),
            _ => {}
        }
    }

    fn waits_to_tell(&mut self, talk: &mut Talk, Untold { leg, glares }: Untold) {
        talk.untold = (glares < MAX_GLARES).then_some(Untold { leg, glares: glares + 1 });
        self.goes_on_telling(talk);
    }

    /// Whoever is still to be told will be, after a pause.
    pub(super) fn goes_on_telling(&mut self, talk: &Talk) {
        if let Some(Untold { leg, .. }) = talk.untold {
            self.out.push(Action::Pause { leg, timer: Timer::Rejoin });
        }
    }

    /// The pause after a glare is over. What was settled meanwhile has told it (RFC 3264 §5).
    pub(super) fn pause_is_over(&mut self, talk: &mut Talk) {
        match talk.untold.take() {
            Some(untold) if talk.is_stable() => self.tells_again(talk, untold),
            Some(untold) => self.waits_to_tell(talk, untold),
            None => {}
        }
    }

    /// A side does not come to an end with what it was told, or was asked by the other: they talk on with what they have
    /// (RFC 3261 §14.1), and both may ask again.
    pub(super) fn gives_up(&mut self, talk: &mut Talk, timer: Timer) {
        match (&mut talk.phase, timer) {
            (Phase::Tells { to, .. }, Timer::Joining) => self.out.push(Action::Withdraw(*to)),
            (Phase::Asked { by, method: Method::Invite, offer }, Timer::Asking) => {
                let (by, offer) = (*by, offer.take());
                self.out.push(Action::Withdraw(talk.other(by)));
                talk.phase = Phase::GivenUp { by, offer };
            }
            (_, _) => {}
        }
    }

    /// The ACK of a re-INVITE; where that had no offer it brings the answer.
    pub(super) fn settled(&mut self, mut talk: Talk, leg: LegId, answer: Option<Body>) -> State {
        // Both 200s are out, so neither side has a session to go back to (RFC 3261 §13.2.1, §14.1): it ends, as where
        // the first ACK held none.
        match self.settles(&mut talk, leg, answer) {
            true => State::Talking(talk),
            false => self.end(talk, Ending::NoAnswerInAck),
        }
    }

    /// False: it holds no answer where one is due.
    pub(super) fn settles(&mut self, talk: &mut Talk, leg: LegId, answer: Option<Body>) -> bool {
        match (&talk.phase, answer.filter(Body::is_sdp)) {
            (Phase::AwaitsAnswer { by }, Some(answer)) if *by == leg => {
                talk.phase = Phase::Stable;
                talk.set_sdp(leg, Some(answer.clone()));
                self.out.push(Action::Settle { leg: talk.other(leg), answer: Some(answer) });
                true
            }
            (Phase::AwaitsAnswer { by }, None) => *by != leg,
            (_, _) => true,
        }
    }

    pub(super) fn hung_up(&mut self, talk: Talk, leg: LegId, why: Gone) -> State {
        if !talk.has(leg) {
            return State::Talking(talk);
        }
        match why {
            Gone::Lost => self.end(talk, Ending::Lost),
            Gone::Bye { q850 } => {
                self.refuse_the_open_offer(&talk);
                let why = Why::Normal(q850.unwrap_or(outcome::NORMAL));
                self.out.push(Action::Bye { leg: talk.other(leg), why });
                self.finish(&talk, q850.unwrap_or(outcome::NORMAL), Ending::hung_up(leg))
            }
        }
    }

    /// A PRACK held our 200 up: the caller never had it.
    pub(super) fn end_before_the_answer_left(&mut self, talk: Talk, ending: Ending) -> State {
        self.refuse_the_open_offer(&talk);
        let winner = talk.called();
        self.out.push(Action::Bye { leg: winner, why: Why::NoAnswer });
        let (code, q850, end) = match ending {
            Ending::NeverPracked => (504, Some(outcome::TIMER), LegEnd::Failed),
            Ending::CallerHungUp
            | Ending::CalleeHungUp
            | Ending::CallerCancelled
            | Ending::Expired
            | Ending::NobodyAnswered(_)
            | Ending::NeverAcknowledged
            | Ending::NoAnswerInAck
            | Ending::MaxCall
            | Ending::Lost
            | Ending::Silence
            | Ending::Message { .. }
            | Ending::NotSentOn
            | Ending::Operator
            | Ending::Fault => (487, None, LegEnd::Cancelled),
        };
        self.out.push(Action::Refuse { code, q850 });
        self.stop(Timer::MaxCall);
        self.end_leg(winner, end, 0);
        self.close(ending)
    }

    /// We end a bridged call: BYE to both sides.
    pub(super) fn end(&mut self, talk: Talk, ending: Ending) -> State {
        let cause = ending.cause_told();
        self.refuse_the_open_offer(&talk);
        for leg in talk.sides {
            self.out.push(Action::Bye { leg, why: Why::Ours(cause) });
        }
        self.finish(&talk, cause, ending)
    }

    /// An offer that nobody will answer any more is refused stream by stream, then BYE (R4).
    pub(super) fn refuse_the_open_offer(&mut self, talk: &Talk) {
        let leg = match talk.phase {
            Phase::AwaitsAck { delayed: true } => talk.called(),
            Phase::AwaitsAnswer { by } => talk.other(by),
            Phase::AwaitsAck { delayed: false } | Phase::Stable => return,
            Phase::Asked { .. } | Phase::GivenUp { .. } | Phase::Tells { .. } => return,
        };
        self.out.push(Action::Acknowledge { leg, answer: Answer::RefuseAll });
    }

    fn finish(&mut self, talk: &Talk, q850: u8, ending: Ending) -> State {
        for leg in talk.sides {
            self.leaves(leg, LegEnd::Won, q850);
        }
        self.stop(Timer::MaxCall);
        self.close(ending)
    }

    /// A side that talked is out of the call; the caller's own leg ends with the call, or before it where it has sent
    /// the other side on.
    pub(super) fn leaves(&mut self, leg: LegId, end: LegEnd, q850: u8) {
        self.end_leg(leg, end, 0);
        if let Some(leg) = self.leg(leg) {
            leg.q850 = Some(q850);
            debug_assert_eq!(leg.state, LegState::Ended(end));
        }
    }
}
