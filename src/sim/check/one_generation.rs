//! A call uses the configuration that stood when it arrived, and no other: the forwarded numbers name their
//! generation, and so does the record (design, "a call carries its own plan").

use std::collections::BTreeMap;

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
    /// The INVITE's CSeq and the generation in force when a call arrived, by its Call-ID. Who was refused may try again
    /// under the same one, with a higher CSeq, as a new call.
    calls: BTreeMap<String, (u32, u64)>,
}

impl Default for OneGeneration {
    fn default() -> Self {
        OneGeneration { family: Family::default(), current: 1, calls: BTreeMap::new() }
    }
}

impl Check for OneGeneration {
    fn name(&self) -> &'static str {
        "one_generation"
    }

    fn saw(&mut self, crossing: &Crossing) -> Verdict {
        let message = &crossing.message;
        if begins_call(crossing.peer, message) {
            let began = (message.cseq().0, self.current);
            let call = self.calls.entry(message.call_id().to_owned()).or_insert(began);
            if began.0 > call.0 {
                *call = began;
            }
        }
        let Side::Leg { call } = self.family.place(crossing) else { return Ok(()) };
        let is_invite = crossing.way == Way::Out && message.is_request() && message.method() == "INVITE";
        if !is_invite || message.to_tag().is_some() {
            return Ok(());
        }
        let dialled = layout::generation_of(user_in(message.uri()));
        match (dialled, self.calls.get(call)) {
            (Some(dialled), Some((_, own))) if dialled != *own % 800 && dialled != REDIRECTED => {
                breach(call, format!("a call of generation {own} dials {}, of {dialled}", message.uri()))
            }
            (_, _) => Ok(()),
        }
    }

    fn recorded(&mut self, record: &Value) -> Verdict {
        let call_id = record["legs"][0]["sip_call_id"].as_str().unwrap_or_default();
        match self.calls.get(call_id) {
            Some((_, own)) if record["generation"] != *own => {
                breach(call_id, format!("a call of generation {own}, a record of {}", record["generation"]))
            }
            Some(_) | None => Ok(()),
        }
    }

    fn published(&mut self, generation: u64, _routing: &str) {
        self.current = generation;
    }
}

/// What `+1312555…`, where redirects point, looks like.
const REDIRECTED: u64 = 355;
