//! At most one leg of a call is up, and none beyond the call: every other answer gets its BYE at once, and no
//! leg is rung for a call that is answered or over (R5, R8). Several may be asked to press 1 until one of them does (R6). While an agent's transfer is under way, from our 202 to
//! the last NOTIFY, its target is rung and may be up too (R11).

use std::collections::{BTreeMap, BTreeSet};

use super::family::{Family, Side};
use super::invites::Invites;
use super::{Check, Verdict, begins_call, breach};
use crate::sim::core::Census;
use crate::sim::trace::Crossing;
use crate::sim::wire::Way;
use crate::time::Instant;

#[derive(Default)]
pub struct OneWinner {
    family: Family,
    invites: Invites,
    calls: BTreeMap<String, Call>,
    /// Calls that something happened to in this turn.
    touched: BTreeSet<String>,
    /// There is, or was, a number with call connect.
    asks: bool,
}

#[derive(Default)]
struct Call {
    /// Leg dialogs that are up: Call-ID and far tag.
    up: BTreeSet<(String, String)>,
    /// Leg dialogs that have been up, so that a repeated 200 opens none anew.
    known: BTreeSet<(String, String)>,
    /// Branches of the legs' INVITEs.
    rung: BTreeSet<String>,
    caller: Caller,
    /// Legs' dialogs whose REFER we accepted and have not reported the end of.
    transfers: BTreeSet<String>,
    /// CSeq and branch of the caller's INVITE; a merged one has another branch and is answered beside the call.
    invite: (u32, String),
}

#[derive(Default, PartialEq, Eq)]
enum Caller {
    #[default]
    Waits,
    Answered,
    /// Refused, gone, or hung up.
    Over,
}

impl Check for OneWinner {
    fn name(&self) -> &'static str {
        "one_winner"
    }

    fn saw(&mut self, crossing: &Crossing) -> Verdict {
        let message = &crossing.message;
        let (call_id, method) = (message.call_id(), message.method());
        let status = message.status();
        self.invites.note(crossing);
        // What comes after we stopped waiting is a stray.
        let is_stray =
            self.invites.get(message.branch()).is_some_and(|invite| invite.is_forgotten(crossing.at));
        match self.family.place(crossing) {
            Side::Unknown => (),
            Side::Caller { call: first } => {
                self.touched.insert(first.to_owned());
                let call = self.calls.entry(first.to_owned()).or_default();
                if begins_call(crossing.peer, message) && message.cseq().0 > call.invite.0 {
                    call.invite = (message.cseq().0, message.branch().to_owned());
                    call.caller = Caller::Waits;
                }
                let is_merged = method == "INVITE" && message.branch() != call.invite.1;
                match (crossing.way, method, status) {
                    _ if is_merged => (),
                    (Way::Out, "INVITE", 200..300) if call.caller == Caller::Waits => {
                        call.caller = Caller::Answered;
                    }
                    (Way::Out, "INVITE", 300..) if call.caller == Caller::Waits => call.caller = Caller::Over,
                    (_, "BYE", 0) if call.caller == Caller::Answered => call.caller = Caller::Over,
                    _ => (),
                }
            }
            Side::Leg { call: first } => {
                self.touched.insert(first.to_owned());
                let call = self.calls.entry(first.to_owned()).or_default();
                let far = match (crossing.way, message.is_request()) {
                    (Way::In, true) => message.from_tag(),
                    (Way::In, false) | (Way::Out, _) => message.to_tag(),
                };
                let dialog = (call_id.to_owned(), far.unwrap_or_default().to_owned());
                match (crossing.way, method, status) {
                    (Way::In, "INVITE", 200..300) if !is_stray && call.known.insert(dialog.clone()) => {
                        call.up.insert(dialog);
                    }
                    (_, "BYE", 0) => drop(call.up.remove(&dialog)),
                    (Way::Out, "REFER", 202) => drop(call.transfers.insert(call_id.to_owned())),
                    (Way::Out, "NOTIFY", 0)
                        if message
                            .get("Subscription-State")
                            .is_some_and(|state| state.starts_with("term")) =>
                    {
                        call.transfers.remove(call_id);
                    }
                    (Way::Out, "INVITE", 0) if far.is_none() => {
                        let is_new = call.rung.insert(message.branch().to_owned());
                        let is_sent_on = call.caller == Caller::Answered && !call.transfers.is_empty();
                        if is_new && call.caller != Caller::Waits && !is_sent_on {
                            let sentence = format!("{} is rung for a call that is decided", crossing.peer);
                            return breach(first, sentence);
                        }
                    }
                    _ => (),
                }
            }
        }
        Ok(())
    }

    fn published(&mut self, _generation: u64, routing: &str) {
        self.asks |= routing.contains("call_connect = true");
    }

    fn turn_over(&mut self, _now: Instant, _census: Census) -> Verdict {
        for first in std::mem::take(&mut self.touched) {
            let Some(call) = self.calls.get(&first) else { continue };
            let may_be_asked = self.asks && call.caller == Caller::Waits;
            if call.up.len() > 1 + call.transfers.len() && !may_be_asked {
                return breach(&first, format!("{} legs are up at once: {:?}", call.up.len(), call.up));
            }
            if call.caller == Caller::Over
                && let Some((leg, _)) = call.up.first()
            {
                return breach(&first, format!("the caller is gone, and leg {leg} stays up"));
            }
        }
        Ok(())
    }
}
