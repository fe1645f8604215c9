//! Every request that reached us from somebody known got its final response (RFC 3261 §8.2).

use std::collections::BTreeMap;

use super::{Check, Verdict, breach};
use crate::sim::layout;
use crate::sim::trace::Crossing;
use crate::sim::wire::Way;
use crate::time::Instant;

#[derive(Default)]
pub struct EverythingAnswered {
    /// Requests without a final response, by branch and method, with their Call-ID.
    open: BTreeMap<(String, String), String>,
    done: BTreeMap<(String, String), u16>,
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
            self.open.insert(key, message.call_id().to_owned());
        } else if crossing.way == Way::Out && message.status() >= 200 {
            self.open.remove(&key);
            self.done.insert(key, message.status());
        }
        Ok(())
    }

    fn at_end(&mut self, _now: Instant) -> Verdict {
        match self.open.first_key_value() {
            Some(((branch, method), call_id)) => {
                breach(call_id, format!("{method} {branch} never got a final response"))
            }
            None => Ok(()),
        }
    }
}
