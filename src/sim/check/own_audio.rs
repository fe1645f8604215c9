//! Nobody hears another call's audio, and of ours a caller hears nothing before it is answered: a whisper is for who
//! answers (R6, R7).

use std::collections::{BTreeMap, BTreeSet};

use super::family::{Family, Side};
use super::{Check, Verdict, breach};
use crate::sim::booth::Listening;
use crate::sim::layout;
use crate::sim::trace::Crossing;
use crate::sim::wire::Way;

#[derive(Default)]
pub struct OwnAudio {
    family: Family,
    /// Whose our port is, as the last description said that named it: the caller's Call-ID, and whether it is its own.
    ports: BTreeMap<u16, (String, bool)>,
    /// Descriptions that were shown: one that is repeated may be of a call that has ended.
    shown: BTreeSet<Vec<u8>>,
    /// Callers that have our 200.
    answered: BTreeSet<String>,
    /// Calls of which somebody sent a side on, and those that it was to be joined with (R11): who hears whom there is told by
    /// neither's Call-ID.
    joined: BTreeSet<String>,
}

/// The port of ours that a description names.
fn port_of(crossing: &Crossing) -> Option<u16> {
    let sdp = std::str::from_utf8(crossing.message.sdp()?).ok()?;
    let is_ours = sdp.contains(&format!("c=IN IP4 {}\r\n", layout::AUDIO));
    sdp.split("m=audio ").nth(1).filter(|_| is_ours)?.split(' ').next()?.parse().ok()
}

impl Check for OwnAudio {
    fn name(&self) -> &'static str {
        "own_audio"
    }

    fn saw(&mut self, crossing: &Crossing) -> Verdict {
        let message = &crossing.message;
        if crossing.way == Way::In {
            self.family.place(crossing);
            let dialog = message.get("Refer-To").or_else(|| message.get("Replaces"));
            if let Some(dialog) = dialog.map(|dialog| dialog.replace("%40", "@")) {
                self.joined.extend(self.family.named_in(message.call_id()).map(str::to_owned));
                self.joined.extend(self.family.named_in(&dialog).map(str::to_owned));
            }
            return Ok(());
        }
        let (call, is_callers) = match self.family.place(crossing) {
            Side::Caller { call } => (call.to_owned(), true),
            Side::Leg { call } => (call.to_owned(), false),
            Side::Unknown => return Ok(()),
        };
        if is_callers && message.status() == 200 && message.cseq().1 == "INVITE" {
            self.answered.insert(call.clone());
        }
        if let Some(port) = port_of(crossing).filter(|_| self.shown.insert(message.body.clone())) {
            self.ports.insert(port, (call, is_callers));
        }
        Ok(())
    }

    fn listens(&mut self, sides: &[Listening]) -> Verdict {
        for side in sides {
            let Some((call, is_callers)) = self.ports.get(&side.port) else { continue };
            if let Some((other, _)) = side.to.and_then(|to| self.ports.get(&to))
                && other != call
                && ![call, other].iter().any(|one| self.joined.contains(*one))
            {
                return breach(call, format!("port {} hears a side of the call {other}", side.port));
            }
            if *is_callers && side.is_told && !self.answered.contains(call) {
                return breach(call, "something is said to a caller who has no 200");
            }
        }
        Ok(())
    }
}
