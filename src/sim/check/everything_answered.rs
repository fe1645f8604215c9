//! Every request that reached us from somebody known got its final response (RFC 3261 §8.2). A request that
//! went on to the other side may end in silence once its sender has stopped waiting: a 408 would come too late
//! (RFC 4320 §4.2). So may one in the dialog of a leg whose 200 never reached us: its repetition waits for that.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{Check, Verdict, breach};
use crate::sim::layout;
use crate::sim::trace::Crossing;
use crate::sim::wire::Way;
use crate::time::Instant;

/// Just less than 64·T1, after which the sender of a request has stopped waiting.
const PATIENCE: Duration = Duration::from_secs(31);

#[derive(Default)]
pub struct EverythingAnswered {
    /// Requests without a final response, by branch and method: their Call-ID, and when they first came.
    open: BTreeMap<(String, String), (String, Instant)>,
    done: BTreeMap<(String, String), u16>,
    /// When a BYE went either way, by Call-ID.
    over: BTreeMap<String, Instant>,
    /// Call-IDs whose INVITE had a 2xx that crossed.
    answered: BTreeSet<String>,
}

impl Check for EverythingAnswered {
    fn name(&self) -> &'static str {
        "everything_answered"
    }

    fn saw(&mut self, crossing: &Crossing) -> Verdict {
        let message = &crossing.message;
        let key = (message.branch().to_owned(), message.method().to_owned());
        let is_asked = crossing.way == Way::In && message.is_request() && message.method() != "ACK";
        if is_asked && crossing.peer.ip() != layout::STRANGER.ip() && !self.done.contains_key(&key) {
            self.open.entry(key).or_insert_with(|| (message.call_id().to_owned(), crossing.at));
        } else if crossing.way == Way::Out && message.status() >= 200 {
            self.open.remove(&key);
            self.done.insert(key, message.status());
        }
        if message.method() == "INVITE" && (200..300).contains(&message.status()) {
            self.answered.insert(message.call_id().to_owned());
        }
        if message.is_request() && message.method() == "BYE" {
            self.over.entry(message.call_id().to_owned()).or_insert(crossing.at);
        }
        Ok(())
    }

    fn at_end(&mut self, _now: Instant) -> Verdict {
        let waited_in_vain = |method: &str, call_id: &str, at: Instant| {
            let over = self.over.get(call_id).copied();
            match method {
                "UPDATE" | "INFO" => over.is_none_or(|over| over.since(at) >= PATIENCE),
                "REFER" | "BYE" => !self.answered.contains(call_id),
                _ => false,
            }
        };
        let owed = |((_, method), (call_id, at)): &(&(String, String), &(String, Instant))| {
            !waited_in_vain(method, call_id, *at)
        };
        match self.open.iter().find(owed) {
            Some(((branch, method), (call_id, _))) => {
                breach(call_id, format!("{method} {branch} never got a final response"))
            }
            None => Ok(()),
        }
    }
}
