//! The target that needs no hunt: another call of ours, to be joined with one of its two sides (RFC 3891).

use std::sync::Arc;
use std::time::Duration;

use super::Turn;
use super::event::{Inside, Timer};
use super::hunt::{Course, Hunt};
use super::leg::{Destination, Leg, Shown, TargetId};
use super::outcome::{self, Verdict};

/// How long another call of ours may take to join us: that its other side answers a re-INVITE.
const JOINING: Duration = Duration::from_secs(40);
/// What another call of ours may say to being joined, that is passed on as it is: no such dialog, only an early one was
/// wanted, the session does not suit, it changes hands already.
const JOINS_NOT: [u16; 4] = [481, 486, 488, 491];

impl Turn<'_> {
    /// Calls another call of ours, to be joined with one of its two sides.
    pub(super) fn ring_inside(&mut self, inside: Arc<Inside>) -> Course {
        let to = Destination::Inside(inside);
        if !self.no_more_legs() {
            self.ring(Leg::new(TargetId { step: 0, place: 0 }, to, Shown::Caller, self.now.mono), None);
            self.start(Timer::RingTimeout, JOINING);
            return Course::Rings(Hunt::default());
        }
        Course::Nobody(Verdict { code: 480, q850: None, blocked: None })
    }

    /// What the hunt came to, of those alone that it rang.
    pub(super) fn verdict(&self) -> Verdict {
        let (legs, unrung) = self.call.onward.last().map_or((0, 0), |onward| onward.from);
        let (legs, unrung) = (&self.call.legs[legs..], &self.call.unrung[unrung..]);
        match legs {
            // The other call's answer is our own.
            [leg @ Leg { to: Destination::Inside(_), .. }] => {
                let code = if JOINS_NOT.contains(&leg.code) { leg.code } else { 480 };
                Verdict { code, q850: leg.q850, blocked: None }
            }
            legs => outcome::verdict(legs, unrung),
        }
    }
}
