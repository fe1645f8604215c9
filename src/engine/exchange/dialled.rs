//! What was dialled (R2), and whether it is a call for help, or back to who made one (R13).

use std::sync::Arc;

use super::{CallEvent, Exchange};
use crate::call::caller;
use crate::number::E164;
use crate::routing::{Agent, DidFrom, Origin, Plan, Trunk};
use crate::sip::header::Name;
use crate::sip::peer::Peer;
use crate::sip::uri::Address;
use crate::sip::wire::Message;
use crate::time::Now;

/// An INVITE outside a dialog, and who sent it.
pub(super) struct Invited<'m> {
    pub from: Peer,
    pub invite: &'m Message<'m>,
    pub origin: &'m Origin,
}

impl Exchange {
    /// Whether it is an agent's call to an emergency number (R13).
    pub(super) fn calls_for_help(&self, invite: &Message<'_>, origin: &Origin) -> bool {
        match origin {
            Origin::Trunk(_) => false,
            Origin::Agent { dials, .. } => self.table.emergency(&dialled(invite, dials)).is_some(),
        }
    }

    /// Whether a call is taken though there be no room for it: one for help, or back to who made one (R13).
    pub(super) fn must_be_taken(&self, now: Now, invite: &Message<'_>, origin: &Origin) -> bool {
        let back = |trunk: &Trunk| {
            let did = trunk.read_dialled(&dialled(invite, trunk));
            did.is_some_and(|did| self.desk.help().caller(did, now.mono).is_some())
        };
        self.calls_for_help(invite, origin) || origin.trunk().is_some_and(|trunk| back(trunk))
    }

    /// Who has called for help in the last half hour by this number, and is to be reached by it (R13).
    pub(super) fn who_called_for_help(&self, did: E164, now: Now) -> Option<Arc<Agent>> {
        let name = self.desk.help().caller(did, now.mono)?;
        self.table.agent(&name).cloned()
    }
}

/// What is said of a call for help.
pub(super) fn emergency_of(plan: &Plan, call: &str, dialled: &str) -> Option<CallEvent> {
    match &plan.origin {
        Origin::Agent { agent, .. } if plan.urgency.is_emergency() => Some(CallEvent::Emergency {
            call: call.into(),
            agent: agent.name.clone(),
            shows: agent.number,
            dialled: dialled.into(),
        }),
        Origin::Agent { .. } | Origin::Trunk(_) => None,
    }
}

/// R2: the dialled number stands in the Request-URI unless the trunk says otherwise.
pub(super) fn dialled(invite: &Message<'_>, trunk: &Trunk) -> String {
    let other = |name| {
        let value = invite.list(name).next()?;
        Address::parse(value).ok().map(|address| caller::user_of(&address.uri))
    };
    let own = || {
        let user = invite.uri().map(|uri| caller::user_of(&uri)).unwrap_or_default();
        if user.is_empty() { String::from_utf8_lossy(invite.uri_raw()).into_owned() } else { user }
    };
    match trunk.did_from {
        DidFrom::RequestUri => own(),
        DidFrom::To => other(Name::To).unwrap_or_else(own),
        DidFrom::PCalledPartyId => other(Name::PCalledPartyId).unwrap_or_else(own),
    }
}
