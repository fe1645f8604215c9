//! Which leg belongs to which call: every INVITE of ours names the caller's Call-ID in X-CID.

use std::collections::BTreeMap;

use super::begins_call;
use crate::sim::trace::Crossing;
use crate::sim::wire::Way;

/// Where a message belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side<'c> {
    /// The dialog with the caller.
    Caller {
        call: &'c str,
    },
    /// A leg of that call.
    Leg {
        call: &'c str,
    },
    Unknown,
}

#[derive(Debug, Default)]
pub struct Family {
    /// Call-ID of a leg → that of its caller; a caller's own → itself.
    calls: BTreeMap<String, String>,
}

impl Family {
    pub fn place(&mut self, crossing: &Crossing) -> Side<'_> {
        let message = &crossing.message;
        let call_id = message.call_id();
        if !self.calls.contains_key(call_id) {
            let first = match (crossing.way, message.get("X-CID")) {
                (Way::Out, Some(first)) if message.is_request() && message.method() == "INVITE" => first,
                _ if begins_call(crossing.peer, message) => call_id,
                _ => return Side::Unknown,
            };
            self.calls.insert(call_id.to_owned(), first.to_owned());
        }
        self.known(call_id)
    }

    /// The calls whose Call-ID, or that of a leg of theirs, stands in a text.
    pub fn named_in(&self, text: &str) -> impl Iterator<Item = &str> {
        self.calls.iter().filter(move |(own, _)| text.contains(own.as_str())).map(|(_, call)| call.as_str())
    }

    fn known(&self, call_id: &str) -> Side<'_> {
        match self.calls.get_key_value(call_id) {
            Some((own, first)) if own == first => Side::Caller { call: first },
            Some((_, first)) => Side::Leg { call: first },
            None => Side::Unknown,
        }
    }
}
