//! The ways by which a leg may go: what a call may take up, and where it is tried next (R3.6, R13, R14).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;

use super::event::{Action, LegId, Timer, Why};
use super::hunt::{Course, Hunt};
use super::leg::{Destination, Leg, LegState, Shown, TargetId};
use super::{Call, Turn, outcome};
use crate::routing::{Called, ForeignCallerId, Plan, Shows, Trunk, Urgency};

/// How many legs a call for help, or back to who made one, may have; no other limit holds for it (R13). A leg's number
/// has eight bits.
const MOST_LEGS: usize = 250;

/// How long a trunk may take to ring whoever is called for help, where another is left. A call that is set up at all
/// rings within a few seconds.
const UNHEARD: Duration = Duration::from_secs(10);

/// How long one flow of a phone may be silent before the next is tried.
const FLOW_PATIENCE: Duration = Duration::from_secs(4);

/// How many of those a call may have that is not for help, all its transfers together: the rest is left for help.
const MOST_ORDINARY_LEGS: usize = 200;

impl Call {
    /// How many legs it had before what is under way: the first call, or the last transfer.
    fn legs_before(&self) -> usize {
        self.onward.last().map_or(0, |onward| onward.from.0)
    }

    /// Whether there is room for one more leg, of `most`: of those `before` what is under way only the ones that live
    /// count.
    pub(super) fn has_room_after(&self, before: usize, most: u8) -> bool {
        let counts = |(at, leg): &(usize, &Leg)| *at >= before || !leg.has_ended();
        let counted = self.legs.iter().enumerate().filter(counts).count();
        counted < usize::from(most) && self.legs.len() < MOST_ORDINARY_LEGS
    }
}

impl Turn<'_> {
    /// Takes one of an agent's or a trunk's calls; a call for help, or back to who made one, has it in any case (R13).
    pub(super) fn takes(&mut self, to: &Destination) -> bool {
        if self.call.hunted_by().urgency.is_ordinary() {
            return self.lines.take(to, self.now.mono);
        }
        self.lines.seat(to);
        true
    }

    /// Whether a further gateway, of its trunk or of the next one, could be tried.
    pub(super) fn has_another_way(&self, leg: &Leg) -> bool {
        leg.has_another_gateway() || leg.at_the_next_flow().is_some() || self.next_trunk(leg, &[]).is_some()
    }

    /// The first trunk that has not been tried for a leg's number and is not among these `full` ones. What an earlier
    /// transfer tried is another call's, and says nothing of this one (R11).
    pub(super) fn next_trunk(&self, leg: &Leg, full: &[Arc<Trunk>]) -> Option<Arc<Trunk>> {
        let Destination::Gateway { number, trunk, .. } = &leg.to else { return None };
        let called_so = |other: &&Leg| match &other.to {
            Destination::Gateway { number: called, .. } => other.target == leg.target && called == number,
            Destination::Phone { .. } | Destination::Inside(_) => false,
        };
        let before =
            self.call.legs.iter().skip(self.call.legs_before()).filter(called_so).filter_map(Leg::trunk);
        let tried: SmallVec<[&Trunk; 4]> = before.chain(full).chain([trunk]).map(|trunk| &**trunk).collect();
        self.call.hunted_by().next_way(number, &tried)
    }

    /// Where a leg goes on that ends as if by `code`: its next gateway, its phone's next flow, or the next trunk. `heard`
    /// is what it sent itself.
    pub(super) fn next_way(&mut self, id: LegId, code: u16, heard: u16) -> Option<Leg> {
        let leg = self.call.leg(id).filter(|leg| leg.is_live())?;
        let goes_on = self.may_be_called_elsewhere(leg, code);
        if let Some(next) = leg.at_the_next_gateway().filter(|_| goes_on) {
            return Some(next);
        }
        // Nothing was heard by this one, or a proxy in between lost it: 430 (RFC 5626 §11.1).
        let flow_failed = leg.state == LegState::Calling && matches!(heard, 0 | 430);
        if let Some(next) = leg.at_the_next_flow().filter(|_| flow_failed) {
            return Some(next);
        }
        let trunk = self.next_trunk(leg, &[]).filter(|_| goes_on)?;
        let (target, depth, number) = (leg.target, leg.depth, leg.called()?.clone());
        let through_it = self.through(target, number, trunk);
        Some(Leg { depth, ..self.alive(through_it, &[]) })
    }

    /// What a target's number makes a leg of, through that trunk.
    pub(super) fn through(&mut self, target: TargetId, number: Called, trunk: Arc<Trunk>) -> Leg {
        let shown = shown_on(self.call.hunted_by(), &trunk);
        let exits = self.lines.exits(&trunk);
        Leg::new(target, Destination::Gateway { number, trunk, exits }, shown, self.now.mono)
    }

    /// The same call through a trunk that lives, where all gateways of this one are down and one of the others has not
    /// been tried and is not `full`: a gateway that is down is tried last (R14).
    pub(super) fn alive(&mut self, leg: Leg, full: &[Arc<Trunk>]) -> Leg {
        let mut passed: SmallVec<[Arc<Trunk>; 1]> = full.into();
        while leg.is_at_a_dead_end()
            && let Destination::Gateway { number, .. } = &leg.to
            && let Some(next) = self.next_trunk(&leg, &passed)
        {
            passed.push(Arc::clone(&next));
            let other = self.through(leg.target, number.clone(), next);
            if !other.is_at_a_dead_end() {
                return Leg { depth: leg.depth, alternates: leg.alternates, ..other };
            }
        }
        leg
    }

    /// A leg's INVITE has left, its first or another: so long its first word is waited for, where there is another way
    /// (R14).
    pub(super) fn awaits_a_word(&mut self, id: LegId) {
        let Some(leg) = self.call.leg(id).filter(|leg| leg.state == LegState::Calling) else { return };
        if self.has_another_way(leg) {
            let patience = leg.trunk().map_or(FLOW_PATIENCE, |trunk| trunk.try_timeout);
            self.start(Timer::TryTimeout(id), patience);
        }
    }

    /// R14: no 1xx from a gateway while another is left, and may be called; or a 100, and it cannot be reached any more. It
    /// may still answer, and is waited for where no other way is left; where no trunk has a place for the call once more
    /// as long, by Timer B or the ring timeout at the latest. `code`: what its silence is taken for.
    pub(super) fn tries_elsewhere(&mut self, hunt: Hunt, id: LegId, code: u16) -> Course {
        if self.no_more_legs() {
            return Course::Rings(hunt);
        }
        let Some(next) = self.next_way(id, code, 0) else { return Course::Rings(hunt) };
        let next = Leg { started: self.now.mono, ..next };
        if self.call.hunted_by().urgency.is_emergency() {
            match self.rings_by_another(id) {
                true => self.start(Timer::TryTimeout(id), UNHEARD),
                false => self.calls_beside(id, next),
            }
            return Course::Rings(hunt);
        }
        let Ok(mut next) = self.placed(next, Some(id)) else {
            self.awaits_a_word(id);
            return Course::Rings(hunt);
        };
        if let Some(leg) = self.leg(id) {
            leg.q850 = Some(outcome::q850_of(code));
            next.alternates = std::mem::take(&mut leg.alternates);
        }
        self.out.push(Action::Cancel { leg: id, why: Why::NoAnswer });
        self.leg_is_over(id, outcome::end_of(code), 0);
        self.ring_placed(next, Some(id));
        self.let_go(id);
        self.go_on(hunt)
    }

    /// Whether who is called for help rings by another trunk already: nobody's announcement is to come before that.
    fn rings_by_another(&self, id: LegId) -> bool {
        let others = (1..).map(LegId).zip(&self.call.legs).filter(|(other, _)| *other != id);
        others.map(|(_, leg)| leg).any(|leg| leg.state == LegState::Ringing)
    }

    /// Who calls for help gives nobody up who might still answer: the next is called beside, and the first to answer wins.
    fn calls_beside(&mut self, id: LegId, next: Leg) {
        let Ok(next) = self.placed(next, None) else { return };
        if let Some(leg) = self.leg(id) {
            leg.to.is_followed();
        }
        self.ring_placed(next, None);
    }

    /// Who calls for help does not wait alone for a trunk that has said 100 and nothing more, as long as there is another.
    pub(super) fn insists(&mut self, id: LegId) {
        let Some(leg) = self.call.leg(id).filter(|leg| leg.state == LegState::Calling) else { return };
        if self.call.hunted_by().urgency.is_emergency() && self.has_another_way(leg) {
            let left = UNHEARD.saturating_sub(self.now.mono.since(leg.started));
            self.start(Timer::TryTimeout(id), left);
        }
    }

    /// R3.6: at most `max_legs`, whatever led to them.
    pub(super) fn no_more_legs(&self) -> bool {
        let plan = self.call.hunted_by();
        let before = self.call.legs_before();
        match plan.urgency.is_ordinary() {
            true => !self.call.has_room_after(before, plan.limits.max_legs),
            false => self.call.legs.len() >= MOST_LEGS,
        }
    }

    /// Whether this final response leads on to the next gateway or trunk (R14); whoever calls for help is led on by any,
    /// even of somebody who rang (R13).
    pub(super) fn may_be_called_elsewhere(&self, leg: &Leg, code: u16) -> bool {
        match self.call.hunted_by().urgency {
            Urgency::Emergency(_) => true,
            Urgency::Ordinary | Urgency::CallBack => {
                leg.state == LegState::Calling && outcome::tries_the_next_gateway(code)
            }
        }
    }
}

/// Whom a leg through this trunk shows at first.
fn shown_on(plan: &Plan, trunk: &Trunk) -> Shown {
    match plan.shows_on(trunk) {
        Shows::Did => Shown::Did,
        Shows::Caller | Shows::CallerThenDid => Shown::Caller,
    }
}

impl Leg {
    /// Whether a further gateway of its trunk could be tried.
    fn has_another_gateway(&self) -> bool {
        match &self.to {
            Destination::Gateway { exits, .. } => exits.next().is_some(),
            Destination::Phone { .. } | Destination::Inside(_) => false,
        }
    }

    /// Whether every gateway that it has left is down.
    fn is_at_a_dead_end(&self) -> bool {
        match &self.to {
            Destination::Gateway { exits, .. } => exits.is_down(),
            Destination::Phone { .. } | Destination::Inside(_) => false,
        }
    }

    /// The same leg, at that gateway first where its trunk has it.
    pub(super) fn beginning_at(self, host: Option<SocketAddr>) -> Leg {
        let to = match self.to {
            Destination::Gateway { number, trunk, exits } => {
                Destination::Gateway { number, trunk, exits: exits.beginning_at(host) }
            }
            to @ (Destination::Phone { .. } | Destination::Inside(_)) => to,
        };
        Leg { to, ..self }
    }

    /// The same call by another flow of the same phone (RFC 5626 §7).
    pub(super) fn at_the_next_flow(&self) -> Option<Leg> {
        let Destination::Phone { agent, contact } = &self.to else { return None };
        let contact = contact.other_flow.clone()?;
        let to = Destination::Phone { agent: Arc::clone(agent), contact };
        Some(Leg { depth: self.depth, ..Leg::new(self.target, to, self.shown, self.started) })
    }

    /// The same call at the next gateway of its trunk.
    pub(super) fn at_the_next_gateway(&self) -> Option<Leg> {
        let Destination::Gateway { number, trunk, exits } = &self.to else { return None };
        let to = Destination::Gateway { number: number.clone(), trunk: trunk.clone(), exits: exits.next()? };
        Some(Leg { depth: self.depth, ..Leg::new(self.target, to, self.shown, self.started) })
    }

    /// `foreign_caller_id = "retry"`: once more with the DID, where the carrier refused the caller's number.
    pub(super) fn with_the_did_shown(&self, code: u16) -> Option<Leg> {
        let trunk = self.trunk()?;
        let may = trunk.foreign_caller_id == ForeignCallerId::Retry
            && self.shown == Shown::Caller
            && self.state == LegState::Calling
            && outcome::refuses_the_shown_number(code);
        may.then(|| Leg {
            depth: self.depth,
            ..Leg::new(self.target, self.to.clone(), Shown::Did, self.started)
        })
    }
}
