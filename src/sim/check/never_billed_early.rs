//! The caller's 200 goes out only once a leg has answered (R7).

use std::collections::BTreeSet;

use super::family::{Family, Side};
use super::{Check, Verdict, breach};
use crate::sim::trace::Crossing;
use crate::sim::wire::Way;

#[derive(Default)]
pub struct NeverBilledEarly {
    family: Family,
    /// Calls of which a leg has answered.
    answered: BTreeSet<String>,
}

impl Check for NeverBilledEarly {
    fn name(&self) -> &'static str {
        "never_billed_early"
    }

    fn saw(&mut self, crossing: &Crossing) -> Verdict {
        let message = &crossing.message;
        let is_answer = message.method() == "INVITE" && (200..300).contains(&message.status());
        match (self.family.place(crossing), crossing.way) {
            (Side::Leg { call }, Way::In) if is_answer => drop(self.answered.insert(call.to_owned())),
            (Side::Caller { call }, Way::Out) if is_answer && !self.answered.contains(call) => {
                return breach(call, "the caller is answered, and no leg has answered");
            }
            (Side::Leg { .. } | Side::Caller { .. } | Side::Unknown, _) => (),
        }
        Ok(())
    }
}
