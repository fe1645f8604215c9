//! A withheld number reaches nobody who is not trusted with it: no agent, and no trunk without
//! `trusted_identity` (R9). Only the carrier has that here.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::family::{Family, Side};
use super::{Check, Verdict, begins_call, breach};
use crate::sim::layout;
use crate::sim::message::{uri_in, user_in};
use crate::sim::trace::Crossing;
use crate::sim::wire::Way;

#[derive(Default)]
pub struct StaysWithheld {
    family: Family,
    /// The digits of the withheld number, by the caller's Call-ID.
    secrets: BTreeMap<String, String>,
    /// Calls that we have answered: who is rung from then on is called as an agent's, and shown the agent (R11).
    answered: BTreeSet<String>,
}

impl Check for StaysWithheld {
    fn name(&self) -> &'static str {
        "stays_withheld"
    }

    fn saw(&mut self, crossing: &Crossing) -> Verdict {
        let message = &crossing.message;
        if begins_call(crossing.peer, message) && message.lists("Privacy", "id") {
            let number = message.get("P-Asserted-Identity").map_or("", |value| user_in(uri_in(value)));
            self.secrets.insert(message.call_id().to_owned(), number.trim_start_matches("+1").to_owned());
        }
        let call = match self.family.place(crossing) {
            Side::Leg { call } => call,
            Side::Caller { call } => {
                if crossing.way == Way::Out && message.method() == "INVITE" && message.status() == 200 {
                    self.answered.insert(call.to_owned());
                }
                return Ok(());
            }
            Side::Unknown => return Ok(()),
        };
        let Some(secret) = self.secrets.get(call) else { return Ok(()) };
        if crossing.way == Way::In || crossing.peer.ip() == layout::CARRIER.ip() {
            return Ok(());
        }
        let leak = message.fields.iter().find(|(_, value)| value.contains(secret.as_str()));
        if let Some((name, value)) = leak {
            return breach(call, format!("the withheld number reaches {}: {name}: {value}", crossing.peer));
        }
        if message.start.contains(secret.as_str()) {
            return breach(call, format!("the withheld number reaches {}: {}", crossing.peer, message.start));
        }
        let from = message.get("From").unwrap_or_default();
        let is_agents = message.to_tag().is_none() && self.answered.contains(call);
        let is_invite = message.is_request() && message.method() == "INVITE" && !is_agents;
        // With `pass_called_number` the leg shows the dialled number, which is the operator's own.
        let shows_own = layout::is_did(user_in(uri_in(from)));
        if is_invite && !shows_own && !from.contains("anonymous@anonymous.invalid") {
            return breach(call, format!("From of a withheld caller: {from}"));
        }
        Ok(())
    }

    fn recorded(&mut self, record: &Value) -> Verdict {
        let call_id = record["legs"][0]["sip_call_id"].as_str().unwrap_or_default();
        let is_withheld = record["withheld"].as_bool().unwrap_or(false);
        if is_withheld != self.secrets.contains_key(call_id) {
            return breach(call_id, format!("the record says withheld: {is_withheld}"));
        }
        Ok(())
    }
}
