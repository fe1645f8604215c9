//! The caller's 200 goes out only once a leg has answered (R7), or by voicemail, which speaks itself and only once nobody
//! rings any more (R10).

use std::collections::{BTreeMap, BTreeSet};

use super::family::{Family, Side};
use super::{Check, Verdict, breach};
use crate::sim::layout;
use crate::sim::message::Message;
use crate::sim::trace::Crossing;
use crate::sim::wire::Way;

#[derive(Default)]
pub struct NeverBilledEarly {
    family: Family,
    /// Calls of which a leg has answered.
    answered: BTreeSet<String>,
    /// Whose legs ring, by their Call-IDs.
    ringing: BTreeMap<String, BTreeSet<String>>,
}

impl Check for NeverBilledEarly {
    fn name(&self) -> &'static str {
        "never_billed_early"
    }

    fn saw(&mut self, crossing: &Crossing) -> Verdict {
        let message = &crossing.message;
        let (is_invite, status) = (message.method() == "INVITE", message.status());
        let is_answer = is_invite && (200..300).contains(&status);
        match (self.family.place(crossing), crossing.way) {
            (Side::Leg { call }, Way::In) if is_answer => drop(self.answered.insert(call.to_owned())),
            (Side::Leg { call }, Way::In) if is_invite && (180..190).contains(&status) => {
                let legs = self.ringing.entry(call.to_owned()).or_default();
                legs.insert(message.call_id().to_owned());
            }
            (Side::Leg { call }, Way::In) if is_invite && status >= 300 => {
                self.ends(call.to_owned(), message)
            }
            (Side::Leg { call }, Way::Out) if message.method() == "CANCEL" => {
                self.ends(call.to_owned(), message);
            }
            (Side::Caller { call }, Way::Out) if is_answer && !self.answered.contains(call) => {
                let rings = self.ringing.get(call).is_some_and(|legs| !legs.is_empty());
                if rings || !speaks_itself(message) {
                    return breach(call, "the caller is answered, and no leg has answered");
                }
            }
            (Side::Leg { .. } | Side::Caller { .. } | Side::Unknown, _) => (),
        }
        Ok(())
    }
}

impl NeverBilledEarly {
    /// A leg rings no more.
    fn ends(&mut self, call: String, message: &Message) {
        self.ringing.entry(call).or_default().remove(message.call_id());
    }
}

/// Whether the audio is ours.
fn speaks_itself(message: &Message) -> bool {
    let ours = format!("c=IN IP4 {}", layout::AUDIO);
    message.sdp().is_some_and(|sdp| String::from_utf8_lossy(sdp).lines().any(|line| line.trim_end() == ours))
}
