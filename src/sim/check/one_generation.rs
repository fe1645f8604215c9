//! A call uses the configuration that stood when it arrived, and no other: the forwarded numbers name their
//! generation, and so does the record (design, "a call carries its own plan").

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::family::{Family, Side};
use super::{Check, Verdict, begins_call, breach};
use crate::sim::layout;
use crate::sim::message::user_in;
use crate::sim::trace::Crossing;
use crate::sim::wire::Way;

pub struct OneGeneration {
    family: Family,
    current: u64,
    /// The generation in force when a call arrived, by its Call-ID.
    calls: BTreeMap<String, u64>,
    /// Those that were refused: the caller may try again under the same Call-ID, as a new call.
    refused: BTreeSet<String>,
}

impl Default for OneGeneration {
    fn default() -> Self {
        OneGeneration {
            family: Family::default(),
            current: 1,
            calls: BTreeMap::new(),
            refused: BTreeSet::new(),
        }
    }
}

impl Check for OneGeneration {
    fn name(&self) -> &'static str {
        "one_generation"
    }

    fn saw(&mut self, crossing: &Crossing) -> Verdict {
        let message = &crossing.message;
        if begins_call(crossing.peer, message) {
            if self.refused.remove(message.call_id()) {
                self.calls.remove(message.call_id());
            }
            self.calls.entry(message.call_id().to_owned()).or_insert(self.current);
        }
        if crossing.way == Way::Out && message.status() == 422 && self.calls.contains_key(message.call_id()) {
            self.refused.insert(message.call_id().to_owned());
        }
        let Side::Leg { call } = self.family.place(crossing) else { return Ok(()) };
        let is_invite = crossing.way == Way::Out && message.is_request() && message.method() == "INVITE";
        if !is_invite || message.to_tag().is_some() {
            return Ok(());
        }
        let dialled = layout::generation_of(user_in(message.uri()));
        match (dialled, self.calls.get(call)) {
            (Some(dialled), Some(own)) if dialled != *own % 800 && dialled != REDIRECTED => {
                breach(call, format!("a call of generation {own} dials {}, of {dialled}", message.uri()))
            }
            (_, _) => Ok(()),
        }
    }

    fn recorded(&mut self, record: &Value) -> Verdict {
        let call_id = record["legs"][0]["sip_call_id"].as_str().unwrap_or_default();
        match self.calls.get(call_id) {
            Some(own) if record["generation"] != *own => {
                breach(call_id, format!("a call of generation {own}, a record of {}", record["generation"]))
            }
            Some(_) | None => Ok(()),
        }
    }

    fn published(&mut self, generation: u64) {
        self.current = generation;
    }
}

/// What `+1312555…`, where redirects point, looks like.
const REDIRECTED: u64 = 355;
