//! Ringing: the steps, their targets and gateways, and how it ends (R3, R4, R5, R8).

use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;

use super::event::{Action, Answer, Contacts, Fork, LegId, Redirect, Timer, Why};
use super::leg::{self, Destination, Hold, Leg, LegState, Shown, TargetId};
use super::outcome::{self, Verdict};
use super::record::Ending;
use super::talk::Talk;
use super::{State, Turn};
use crate::call::cdr::LegEnd;
use crate::routing::{Agent, Called, NoWay, TargetEnd, Trunk, Unrung, Who};
use crate::sip::body::Body;
use crate::sip::header::Method;
use crate::sip::sdp;

/// How often the caller's 180 is repeated (RFC 3261 §13.3.1.1; R4).
const REPEAT_RINGING: Duration = Duration::from_secs(60);
/// How many 3xx one leg follows (R8).
const MAX_REDIRECTS: u8 = 5;

/// What is being rung.
#[derive(Debug, Default)]
pub(super) struct Hunt {
    /// The step of the plan.
    step: u8,
    /// Whether some targets of this step still wait for the head start to end.
    held_back: bool,
    /// Targets of this step, by their place, that wait until one who rings has ended: Max-Breadth allows no more
    /// at once.
    waiting: SmallVec<[u8; 8]>,
    heard: Heard,
}

/// How a hunt goes on after an event.
#[derive(Debug)]
pub(super) enum Course {
    /// Somebody rings.
    Rings(Hunt),
    /// All have ended without an answer (R8).
    Nobody(Verdict),
}

impl Course {
    /// It is the caller's who waits.
    pub(super) fn of_a_call(self, call: &mut Turn<'_>) -> State {
        match self {
            Course::Rings(hunt) => State::Ringing(hunt),
            Course::Nobody(verdict) => call.nobody_answered(verdict),
        }
    }
}

/// What led to a target, beside the plan.
#[derive(Default)]
struct Led {
    /// The leg whose 3xx did, and how many did before.
    by: Option<LegId>,
    depth: u8,
    /// What else that 3xx names.
    alternates: Contacts,
}

/// What the caller has heard so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Heard {
    #[default]
    Nothing,
    /// Our 180.
    Ringing,
}

impl Turn<'_> {
    pub(super) fn begin(&mut self, hunt: Hunt) -> Course {
        if let Some(expires) = self.call.arrival.expires {
            self.start(Timer::Expires, expires);
        }
        match self.call.arrival.joins.clone() {
            Some(inside) => self.ring_inside(inside),
            None => self.ring_step(hunt),
        }
    }

    /// Rings the targets of the hunt's step, or of the first one after it where there is somebody to ring.
    pub(super) fn ring_step(&mut self, mut hunt: Hunt) -> Course {
        while let Some(step) = self.call.hunted_by().steps.get(usize::from(hunt.step)) {
            let timeout = step.timeout;
            let head_start = step.targets.iter().map(|target| target.delay).max().unwrap_or_default();
            hunt.waiting.clear();
            self.ring_targets(&mut hunt, |delay| delay.is_zero());
            hunt.held_back = !head_start.is_zero();
            if hunt.held_back && !self.somebody_rings() {
                self.ring_the_others(&mut hunt);
            }
            if self.somebody_rings() {
                self.start(Timer::RingTimeout, timeout);
                if hunt.held_back {
                    self.start(Timer::HeadStart, head_start);
                }
                return Course::Rings(hunt);
            }
            hunt.step += 1;
        }
        self.stop(Timer::RepeatRinging);
        Course::Nobody(self.verdict())
    }

    pub(super) fn head_start_over(&mut self, mut hunt: Hunt) -> Course {
        self.ring_the_others(&mut hunt);
        self.go_on(hunt)
    }

    fn ring_the_others(&mut self, hunt: &mut Hunt) {
        if std::mem::take(&mut hunt.held_back) {
            self.stop(Timer::HeadStart);
            self.ring_targets(hunt, |delay| !delay.is_zero());
        }
    }

    fn ring_targets(&mut self, hunt: &mut Hunt, due: impl Fn(Duration) -> bool) {
        let Some(step) = self.call.hunted_by().steps.get(usize::from(hunt.step)) else { return };
        let targets = (0u8..).zip(&step.targets).filter(|(_, target)| due(target.delay));
        hunt.waiting.extend(targets.map(|(place, _)| place));
        self.ring_waiting(hunt);
    }

    /// Rings those who wait, first those listed first, as many at once as the caller's Max-Breadth allows. RFC 5393
    /// §5.3.3.1 leaves 440 or fewer at a time: a group of which some ring now and the others after them still
    /// may answer, a refused call may not.
    fn ring_waiting(&mut self, hunt: &mut Hunt) {
        while !hunt.waiting.is_empty() && !self.rings_as_broad_as_it_may() {
            let id = TargetId { step: hunt.step, place: hunt.waiting.remove(0) };
            let step = self.call.hunted_by().steps.get(usize::from(id.step));
            let target = step.and_then(|step| step.targets.get(usize::from(id.place)));
            let Some(who) = target.map(|target| target.who.clone()) else { continue };
            match (who.unrung(&*self.lines), who) {
                (Some(why), _) => self.call.unrung.push((id, why.end())),
                (None, Who::Agent(agent)) => {
                    self.ring_agent(id, &agent, Led::default());
                }
                (None, Who::Number { number, trunk }) => self.ring_number(id, number, trunk),
                (None, Who::Unreachable(_)) => self.call.unrung.push((id, TargetEnd::Other)),
            }
        }
    }

    fn rings_as_broad_as_it_may(&self) -> bool {
        let live = || self.call.legs.iter().filter(|leg| leg.is_live()).count();
        self.call.breadth().is_some_and(|most| live() >= usize::try_from(most).unwrap_or(usize::MAX))
    }

    /// Rings every phone of an agent, all at once (R3.3). False: none rings, and that has been noted.
    fn ring_agent(&mut self, target: TargetId, agent: &Arc<Agent>, led: Led) -> bool {
        let mut rings = false;
        let mut alternates = led.alternates;
        for contact in self.lines.of(agent) {
            if self.no_more_legs() || (rings && self.rings_as_broad_as_it_may()) {
                break;
            }
            let to = Destination::Phone { agent: Arc::clone(agent), contact };
            let mut leg = Leg::new(target, to, Shown::Caller, self.now.mono);
            leg.depth = led.depth;
            if rings {
                self.ring_beside(leg);
                continue;
            }
            leg.alternates = std::mem::take(&mut alternates);
            // Busy: all its phones alike.
            if self.ring(leg, led.by).is_none() {
                return false;
            }
            rings = true;
        }
        if !rings {
            self.call.unrung.push((target, TargetEnd::Other));
        }
        rings
    }

    /// Rings another phone of an agent whose call it is already.
    fn ring_beside(&mut self, leg: Leg) {
        self.lines.share();
        let line = u8::try_from(self.call.legs.len()).unwrap_or(u8::MAX);
        self.calls(Leg { hold: Hold::Shared, line, ..leg });
    }

    /// Its INVITE goes out, and where it could be called otherwise it is not waited for for long (R14).
    fn calls(&mut self, leg: Leg) -> LegId {
        self.call.legs.push(leg);
        let id = LegId(u8::try_from(self.call.legs.len()).unwrap_or(u8::MAX));
        self.out.push(Action::Invite(id));
        self.awaits_a_word(id);
        id
    }

    fn ring_number(&mut self, target: TargetId, number: Called, trunk: Arc<Trunk>) {
        if self.no_more_legs() {
            self.call.unrung.push((target, TargetEnd::Other));
            return;
        }
        let leg = self.through(target, number, trunk);
        let leg = self.alive(leg, &[]);
        self.ring(leg, None);
    }

    /// Rings it at the place that the leg `before` it left, or at one more; where its trunk has none, through the next
    /// trunk that has (R13). Where there is none at all the target is not rung.
    pub(super) fn ring(&mut self, leg: Leg, before: Option<LegId>) -> Option<&mut Leg> {
        match self.placed(leg, before) {
            Ok(leg) => self.ring_placed(leg, before),
            Err(unrung) => {
                self.call.unrung.push(unrung);
                None
            }
        }
    }

    /// It, or the same through the next trunk that has one, with the place that it needs.
    pub(super) fn placed(
        &mut self,
        mut leg: Leg,
        before: Option<LegId>,
    ) -> Result<Leg, (TargetId, TargetEnd)> {
        let mut full: SmallVec<[Arc<Trunk>; 1]> = SmallVec::new();
        loop {
            match self.takes_over(before, &leg.to) {
                Hold::Nothing if self.takes(&leg.to) => return Ok(Leg { hold: Hold::Place, ..leg }),
                Hold::Nothing => {}
                hold @ (Hold::Place | Hold::Shared) => return Ok(Leg { hold, ..leg }),
            }
            let next = self.next_trunk(&leg, &full);
            let (Some(next), Destination::Gateway { number, trunk, .. }) = (next, &leg.to) else {
                return Err((leg.target, leg.to.when_full()));
            };
            full.push(trunk.clone());
            let again = self.through(leg.target, number.clone(), next);
            leg = Leg { depth: leg.depth, alternates: std::mem::take(&mut leg.alternates), ..again };
            leg = self.alive(leg, &full);
        }
    }

    pub(super) fn ring_placed(&mut self, leg: Leg, before: Option<LegId>) -> Option<&mut Leg> {
        let line = match before.and_then(|id| self.leg(id)) {
            Some(before) => before.line,
            None => u8::try_from(self.call.legs.len()).unwrap_or(u8::MAX),
        };
        let id = self.calls(Leg { line, ..leg });
        self.leg(id)
    }

    /// What the leg that it follows held, where both count together: given back and asked for again it would be
    /// a call more for `max_cps` (R14).
    fn takes_over(&mut self, before: Option<LegId>, to: &Destination) -> Hold {
        match before.and_then(|id| self.leg(id)) {
            Some(before) if before.to.counts_with(to) => std::mem::take(&mut before.hold),
            Some(_) | None => Hold::Nothing,
        }
    }

    fn somebody_rings(&self) -> bool {
        self.call.legs.iter().any(|leg| leg.is_live() || leg.hears_us())
    }

    /// After a leg ended: the next targets, the next step, or the end.
    pub(super) fn go_on(&mut self, mut hunt: Hunt) -> Course {
        self.ring_waiting(&mut hunt);
        if self.somebody_rings() {
            return Course::Rings(hunt);
        }
        self.ring_the_others(&mut hunt);
        if self.somebody_rings() {
            return Course::Rings(hunt);
        }
        self.stop(Timer::RingTimeout);
        hunt.step += 1;
        self.ring_step(hunt)
    }

    pub(super) fn progress(
        &mut self,
        mut hunt: Hunt,
        id: LegId,
        code: u16,
        fork: Fork,
        body: Option<Body>,
    ) -> State {
        // With a delayed offer no SDP reaches the caller before our 200 (R4).
        let plain = self.is_single_plain_target() && self.call.arrival.offer.is_some();
        let now = self.now.mono;
        let Some((leg, sdp)) = self.rings(id, code, fork, body) else { return State::Ringing(hunt) };
        let passed_before = leg.first_sdp(fork).is_some() && plain;
        self.call.ringing.get_or_insert(now);
        let early = sdp.filter(|_| plain);
        match (early, hunt.heard) {
            (Some(sdp), _) => {
                self.out.push(Action::Progress { code, leg: id, fork, body: Some(sdp) });
            }
            (None, _) if passed_before && code == 180 => {
                self.out.push(Action::Progress { code, leg: id, fork, body: None });
            }
            (None, Heard::Nothing) => self.out.push(Action::Ring),
            (None, Heard::Ringing) => return State::Ringing(hunt),
        }
        self.has_heard_ringing(&mut hunt);
        State::Ringing(hunt)
    }

    /// The caller hears that it rings, if it has not yet.
    pub(super) fn caller_hears_ringing(&mut self, mut hunt: Hunt) -> Hunt {
        self.call.ringing.get_or_insert(self.now.mono);
        if hunt.heard == Heard::Nothing {
            self.out.push(Action::Ring);
        }
        self.has_heard_ringing(&mut hunt);
        hunt
    }

    fn has_heard_ringing(&mut self, hunt: &mut Hunt) {
        if hunt.heard == Heard::Nothing {
            self.out.push(Action::Announce);
            self.start(Timer::RepeatRinging, REPEAT_RINGING);
        }
        hunt.heard = Heard::Ringing;
    }

    /// A live leg's 18x, with its SDP. A 199 or 155 says nothing of ringing (R4: the first 18x).
    pub(super) fn rings(
        &mut self,
        id: LegId,
        code: u16,
        fork: Fork,
        body: Option<Body>,
    ) -> Option<(&mut Leg, Option<Body>)> {
        let now = self.now.mono;
        self.stop(Timer::TryTimeout(id));
        if !matches!(code, 180..190) {
            self.insists(id);
        }
        let leg = self.leg(id).filter(|leg| leg.is_live() && matches!(code, 180..190))?;
        leg.state = LegState::Ringing;
        leg.ringing.get_or_insert(now);
        let sdp = body.filter(Body::is_sdp);
        if let Some(sdp) = &sdp
            && leg.first_sdp(fork).is_none()
        {
            leg.early.push((fork, sdp.clone()));
        }
        Some((leg, sdp))
    }

    pub(super) fn repeat_ringing(&mut self, hunt: Hunt) -> State {
        self.out.push(Action::Ring);
        self.start(Timer::RepeatRinging, REPEAT_RINGING);
        State::Ringing(hunt)
    }

    /// R4: early SDP passes from a single plain target only.
    fn is_single_plain_target(&self) -> bool {
        let one_leg = self.call.legs.iter().filter(|leg| leg.is_live()).count() == 1;
        let plan = &self.call.plan;
        // What a forwarded leg, or an agent's, hears first never reaches the caller (R6).
        let hears_us = self.call.legs.iter().filter(|leg| leg.is_live()).any(|leg| match leg.to {
            Destination::Gateway { .. } => plan.call_connect.is_some() || plan.whisper.is_some(),
            Destination::Phone { .. } => plan.whisper_agents && plan.whisper.is_some(),
            Destination::Inside(_) => false,
        });
        let steps = &plan.steps;
        one_leg && !hears_us && steps.len() == 1 && steps.iter().all(|step| step.targets.len() == 1)
    }

    /// The first leg to answer wins (R5).
    pub(super) fn answered(&mut self, hunt: Hunt, id: LegId, fork: Fork, body: Option<Body>) -> State {
        let now = self.now.mono;
        let offered = self.call.arrival.offer.is_some();
        let Some(leg) = self.leg(id).filter(|leg| leg.is_live()) else { return State::Ringing(hunt) };
        leg.code = 200;
        leg.answered = Some(now);
        // A leg's first SDP is repeated unchanged in its 200 (R4).
        let described = body.filter(|body| body.sdp().is_some_and(sdp::describes));
        let sdp = leg.first_sdp(fork).cloned().filter(|_| offered).or(described);
        let Some(sdp) = sdp else {
            // A 2xx that answers no offer, or makes none, joins nobody (RFC 3261 §13.2.1).
            self.out.push(Action::Acknowledge { leg: id, answer: Answer::None });
            self.out.push(Action::Bye { leg: id, why: Why::Ours(outcome::q850_of(488)) });
            return self.leg_lost(hunt, id, 488, 200).of_a_call(self);
        };
        if self.who_has_won().is_some() {
            self.out.push(Action::Acknowledge { leg: id, answer: Answer::None });
            return self.comes_too_late(hunt, id);
        }
        if let Some(before) = self.before(id) {
            return self.hears_first(hunt, id, before, (fork, sdp));
        }
        if offered {
            self.out.push(Action::Acknowledge { leg: id, answer: Answer::None });
        }
        self.bridge(id, fork, sdp)
    }

    /// The caller has our 200, and talks with who answered.
    pub(super) fn bridge(&mut self, id: LegId, fork: Fork, sdp: Body) -> State {
        if let Some(leg) = self.leg(id) {
            leg.state = LegState::Bridged;
            leg.early.clear();
        }
        self.call.answered = Some(self.now.mono);
        self.out.push(Action::Accept { leg: id, fork, body: Some(sdp.clone()) });
        self.records(id);
        self.end_ringing(LegEnd::Elsewhere, Why::Elsewhere);
        self.start(Timer::MaxCall, self.call.plan.limits.max_call);
        self.out.push(Action::Journal);
        State::Talking(Talk::new(id, self.call.arrival.offer.take(), sdp))
    }

    pub(super) fn leg_refused(
        &mut self,
        hunt: Hunt,
        id: LegId,
        code: u16,
        q850: Option<u8>,
        contacts: Contacts,
    ) -> Course {
        let calls_for_help = self.call.hunted_by().urgency.is_emergency();
        let Some(leg) = self.leg(id).filter(|leg| leg.is_live()) else { return Course::Rings(hunt) };
        leg.q850 = q850;
        if calls_for_help {
            return self.leg_failed(hunt, id, code);
        }
        if let 300..=399 = code {
            let (target, depth) = (leg.target, leg.depth + 1);
            self.leg_is_over(id, LegEnd::Failed, code);
            self.follow(id, target, depth, contacts);
            self.let_go(id);
            return self.go_on(hunt);
        }
        if let Some(mut again) = leg.with_the_did_shown(code) {
            again.alternates = std::mem::take(&mut leg.alternates);
            self.leg_is_over(id, outcome::end_of(code), code);
            self.ring_instead(id, again);
            self.let_go(id);
            return self.go_on(hunt);
        }
        self.leg_failed(hunt, id, code)
    }

    /// BYE in an early dialog: whatever the leg still answers is unwanted.
    pub(super) fn leg_hung_up(&mut self, hunt: Hunt, id: LegId) -> Course {
        self.out.push(Action::Cancel { leg: id, why: Why::NoAnswer });
        self.leg_failed(hunt, id, 480)
    }

    /// A leg ended without an answer: its next gateway, its redirect's next contact, or nothing.
    pub(super) fn leg_failed(&mut self, hunt: Hunt, id: LegId, code: u16) -> Course {
        self.leg_lost(hunt, id, code, code)
    }

    /// It is taken for a 408, or for a 503 where nothing could be delivered (RFC 3261 §8.1.3.1), but none was heard.
    pub(super) fn leg_unheard(&mut self, hunt: Hunt, id: LegId, code: u16) -> Course {
        if let Some(leg) = self.leg(id).filter(|leg| leg.is_live()) {
            leg.q850 = Some(outcome::q850_of(code));
        }
        self.leg_lost(hunt, id, code, 0)
    }

    /// A leg ended as if by `code`; `heard` is what it sent itself.
    fn leg_lost(&mut self, hunt: Hunt, id: LegId, code: u16, heard: u16) -> Course {
        let Some(leg) = self.call.leg(id).filter(|leg| leg.is_live()) else { return Course::Rings(hunt) };
        let (target, depth) = (leg.target, leg.depth);
        let next = self.next_way(id, code, heard);
        let Some(leg) = self.leg(id) else { return Course::Rings(hunt) };
        let alternates = std::mem::take(&mut leg.alternates);
        self.leg_is_over(id, outcome::end_of(code), heard);
        match next {
            Some(mut next) => {
                next.alternates = alternates;
                self.ring_instead(id, next);
            }
            // 6xx: nobody else of that target is to be tried (RFC 3261 §21.6), but of those who are called for help beside it.
            None if code < 600 => self.follow(id, target, depth, alternates),
            None if self.call.hunted_by().urgency.is_emergency() => {}
            None => self.end_target(target),
        }
        self.let_go(id);
        self.go_on(hunt)
    }

    fn ring_instead(&mut self, before: LegId, leg: Leg) {
        if self.no_more_legs() {
            return;
        }
        let leg = Leg { started: self.now.mono, ..leg };
        self.ring(leg, Some(before));
    }

    /// Follows a 3xx to its best allowed contact; the others wait behind it.
    fn follow(&mut self, before: LegId, target: TargetId, depth: u8, mut contacts: Contacts) {
        if depth > MAX_REDIRECTS {
            return;
        }
        let unrung = self.call.unrung.len();
        // Where one of the contacts was called and failed, that is how its target ended.
        let redirected = self.leg(before).is_some_and(|leg| leg.code / 100 == 3);
        let mut forbidden = false;
        while !contacts.is_empty() && !self.no_more_legs() {
            let leg = match contacts.remove(0) {
                // It would come back with the DID as a diverting party, and be refused as a loop (R11).
                Redirect::Number { number, .. } if Some(number) == self.call.hunted_by().did => continue,
                Redirect::Number { number, host } => match self.call.hunted_by().outbound(number, 0) {
                    Ok(trunk) => {
                        let leg = self.through(target, Called::Number(number), trunk);
                        self.alive(leg, &[]).beginning_at(host)
                    }
                    Err(NoWay::Forbidden) => {
                        forbidden = true;
                        continue;
                    }
                    Err(NoWay::NoTrunk) => continue,
                },
                Redirect::Agent(agent) => match agent.unrung(&*self.lines) {
                    Some(Unrung::DoNotDisturb) => {
                        self.call.unrung.push((target, TargetEnd::Busy));
                        continue;
                    }
                    Some(Unrung::NoContact | Unrung::NoTrunk | Unrung::NoGateway) => continue,
                    None => {
                        let led = Led { by: Some(before), depth, alternates: contacts.clone() };
                        if self.ring_agent(target, &agent, led) {
                            return;
                        }
                        continue;
                    }
                },
            };
            if let Some(rung) = self.ring(Leg { depth, ..leg }, Some(before)) {
                rung.alternates = contacts;
                return;
            }
        }
        if forbidden && redirected && self.call.unrung.len() == unrung {
            self.call.unrung.push((target, TargetEnd::Forbidden));
        }
    }

    /// Ends the other legs of a target (its 6xx speaks for all of them).
    fn end_target(&mut self, target: TargetId) {
        for at in 0..self.call.legs.len() {
            if self.call.legs[at].target == target && self.call.legs[at].is_live() {
                let id = LegId(at as u8 + 1);
                self.out.push(Action::Cancel { leg: id, why: Why::NoAnswer });
                self.end_leg(id, LegEnd::Declined, 0);
            }
        }
    }

    pub(super) fn ring_timeout(&mut self, mut hunt: Hunt) -> Course {
        hunt.held_back = false;
        self.stop(Timer::HeadStart);
        hunt.waiting.clear();
        self.end_legs(LegEnd::Timeout, &Why::NoAnswer);
        // Who hears us keeps the time that is left to it.
        self.go_on(hunt)
    }

    /// The caller's CANCEL or early BYE.
    pub(super) fn caller_gone(&mut self, reason: Option<Box<[u8]>>) -> State {
        let why = reason.map_or(Why::NoAnswer, Why::Carried);
        self.end_ringing(LegEnd::Cancelled, why);
        self.out.push(Action::Refuse { code: 487, q850: None });
        self.close(Ending::CallerCancelled)
    }

    /// We end it while it rings.
    pub(super) fn give_up(&mut self, ending: Ending) -> State {
        let end = if ending == Ending::Expired { LegEnd::Timeout } else { LegEnd::Cancelled };
        self.end_ringing(end, Why::NoAnswer);
        let code = match ending {
            Ending::NeverPracked => 504,
            Ending::Expired => 487,
            Ending::CallerHungUp
            | Ending::CalleeHungUp
            | Ending::CallerCancelled
            | Ending::NobodyAnswered(_)
            | Ending::NeverAcknowledged
            | Ending::NoAnswerInAck
            | Ending::MaxCall
            | Ending::Lost
            | Ending::Silence
            | Ending::Message { .. }
            | Ending::NotSentOn
            | Ending::Operator
            | Ending::Fault => 480,
        };
        self.out.push(Action::Refuse { code, q850: None });
        self.close(ending)
    }

    pub(super) fn nobody_answered(&mut self, verdict: Verdict) -> State {
        if let Some(message) = self.takes_a_message() {
            return message;
        }
        self.out.push(Action::Refuse { code: verdict.code, q850: verdict.q850 });
        self.close(Ending::NobodyAnswered(verdict))
    }

    pub(super) fn end_ringing(&mut self, end: LegEnd, why: Why) {
        self.stop(Timer::Expires);
        self.stop(Timer::RingTimeout);
        self.stop(Timer::HeadStart);
        self.stop(Timer::RepeatRinging);
        self.end_legs(end, &why);
        self.end_those_who_hear_us(end, &why);
    }

    fn end_legs(&mut self, end: LegEnd, why: &Why) {
        for at in 0..self.call.legs.len() {
            if self.call.legs[at].is_live() {
                let id = LegId(at as u8 + 1);
                self.out.push(Action::Cancel { leg: id, why: why.clone() });
                if end == LegEnd::Timeout && self.call.legs[at].q850.is_none() {
                    self.call.legs[at].q850 = Some(outcome::NO_ANSWER);
                }
                self.end_leg(id, end, 0);
            }
        }
    }

    /// The leg is out of the hunt, with its final code (0: it sent none), and gives back what it holds.
    pub(super) fn end_leg(&mut self, id: LegId, end: LegEnd, code: u16) {
        self.leg_is_over(id, end, code);
        self.let_go(id);
    }

    pub(super) fn let_go(&mut self, id: LegId) {
        if let Some(at) = id.index().checked_sub(1) {
            leg::let_go(&mut self.call.legs, at, self.lines);
        }
    }

    /// The same but for what it holds: the leg that follows it may take that over.
    pub(super) fn leg_is_over(&mut self, id: LegId, end: LegEnd, code: u16) {
        let now = self.now.mono;
        self.stop(Timer::TryTimeout(id));
        let Some(leg) = self.leg(id) else { return };
        leg.state = LegState::Ended(end);
        leg.ended = Some(now);
        leg.early.clear();
        if code != 0 {
            leg.code = code;
            if code >= 300 {
                leg.q850.get_or_insert(outcome::q850_of(code));
            }
        }
    }
}

/// The answer to a request in an early dialog. `offer_is_open`: that of the INVITE, the caller's or ours.
pub(super) fn early_answer(leg: LegId, method: Method, has_body: bool, offer_is_open: bool) -> u16 {
    let offers = method == Method::Update && has_body;
    match (method, leg) {
        // The INVITE itself is still to be answered (RFC 3261 §14.2).
        (Method::Invite, LegId::CALLER) => 500,
        (Method::Invite, _) => 491,
        // Its own offer waits for our answer (RFC 3311 §5.2).
        (_, LegId::CALLER) if offers && offer_is_open => 500,
        // Ours waits for theirs.
        (_, _) if offers && offer_is_open => 491,
        // What the other side has agreed on in its own early dialog, if anything, cannot follow.
        (_, _) if offers => 488,
        (_, _) => 200,
    }
}
