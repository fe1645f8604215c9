//! Where a leg of a past call went, beside where it would go: to an address that is written in the configuration, or to one
//! that nobody knows without asking.

use std::net::SocketAddr;

use super::super::cdr::CdrLeg;
use super::{About, Difference, name};
use crate::routing::{Agent, Trunk};

/// So many addresses are told; more would hide what is.
const TOLD: usize = 3;

/// What is to be said of a leg.
pub(super) enum Reached {
    /// It may go there again, or the record does not say where it went.
    There,
    Elsewhere(Difference),
    /// It may: it would go where a name leads.
    ByName,
}

impl Reached {
    /// Of a trunk's gateways any may have been taken: which were up no record tells.
    pub fn through(trunk: &Trunk, leg: &CdrLeg) -> Reached {
        let would = trunk.gateways.iter().map(|gateway| gateway.addr);
        compared(leg, would)
    }

    /// Phones that may register are anywhere.
    pub fn at(agent: &Agent, leg: &CdrLeg) -> Reached {
        if agent.secrets.is_none() {
            compared(leg, agent.contact.iter().map(|contact| contact.addr))
        } else {
            Reached::There
        }
    }
}

/// `would`: where it would go; none: where a name leads.
fn compared(leg: &CdrLeg, would: impl Iterator<Item = Option<SocketAddr>> + Clone) -> Reached {
    let Some(was) = leg.peer else { return Reached::There };
    if would.clone().any(|addr| addr == Some(was)) {
        return Reached::There;
    }
    if would.clone().any(|addr| addr.is_none()) {
        return Reached::ByName;
    }
    let mut addresses: Vec<String> =
        would.clone().flatten().take(TOLD).map(|addr| addr.to_string()).collect();
    if would.count() > TOLD {
        addresses.push("others".to_owned());
    }
    let would = match addresses.is_empty() {
        true => "go nowhere: it has no address and cannot register".to_owned(),
        false => format!("go to {}", addresses.join(" or ")),
    };
    Reached::Elsewhere(Difference::new(About::Address, format!("reached {} at {was}", name(leg)), would))
}
