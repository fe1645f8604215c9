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
        let (call, is_leg) = match self.family.place(crossing) {
            Side::Leg { call } => (call.to_owned(), true),
            Side::Caller { call } => (call.to_owned(), false),
            Side::Unknown => return Ok(()),
        };
        match (is_leg, crossing.way) {
            (true, Way::In) if is_answer => drop(self.answered.insert(call)),
            (true, Way::In) if is_invite && (180..190).contains(&status) => {
                self.ringing.entry(call).or_default().insert(message.call_id().to_owned());
            }
            (true, Way::In) if is_invite && status >= 300 => self.ends(call, message),
            (true, Way::Out) if message.method() == "CANCEL" => self.ends(call, message),
            (false, Way::Out) if is_answer && !self.answered.contains(&call) => {
                let rings = self.ringing.get(&call).is_some_and(|legs| !legs.is_empty());
                if rings || !speaks_itself(message) {
                    return breach(&call, "the caller is answered, and no leg has answered");
                }
            }
            (_, _) => (),
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
