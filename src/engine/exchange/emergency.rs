//! Calls for help, and back to who made them (R13).

use std::sync::Arc;

use super::arrive::dialled;
use super::{CallEvent, Exchange};
use crate::call::Arrival;
use crate::number::E164;
use crate::routing::{Agent, Origin, Plan};
use crate::sip::wire::Message;
use crate::time::Now;

impl Exchange {
    /// Whether it is an agent's call to an emergency number (R13).
    pub(super) fn calls_for_help(&self, invite: &Message<'_>, origin: &Origin) -> bool {
        match origin {
            Origin::Trunk(_) => false,
            Origin::Agent { dials, .. } => self.table.emergency(&dialled(invite, dials)).is_some(),
        }
    }

    /// Who has called for help in the last half hour by this number, and is to be reached by it (R13).
    pub(super) fn who_called_for_help(&self, did: E164, now: Now) -> Option<Arc<Agent>> {
        let name = self.desk.called_for_help(did, now.mono)?;
        self.table.agent(&name).cloned()
    }
}

/// What is said of a call for help.
pub(super) fn emergency_of(plan: &Plan, arrival: &Arrival) -> Option<CallEvent> {
    match &plan.origin {
        Origin::Agent { agent, .. } if plan.urgency.is_emergency() => Some(CallEvent::Emergency {
            call: arrival.id.clone(),
            agent: agent.name.clone(),
            shows: agent.number,
            dialled: arrival.dialled.clone(),
        }),
        Origin::Agent { .. } | Origin::Trunk(_) => None,
    }
}
