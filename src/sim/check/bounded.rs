//! What the server holds is bounded by what is going on.

use std::collections::BTreeMap;

use super::{Check, Verdict, begins_call, breach};
use crate::sim::core::Census;
use crate::sim::trace::Crossing;
use crate::sim::wire::Way;
use crate::time::Instant;

/// R3: at most 32 legs, and the caller's.
const LEGS: usize = 33;
/// Transactions of one leg that may linger at once: INVITE, CANCEL, BYE, and a few requests within the call.
const TRANSACTIONS: usize = 12;

#[derive(Default)]
pub struct Bounded {
    /// Calls that ever arrived, by their Call-ID.
    calls: BTreeMap<String, ()>,
    requests: usize,
}

impl Check for Bounded {
    fn name(&self) -> &'static str {
        "bounded"
    }

    fn saw(&mut self, crossing: &Crossing) -> Verdict {
        let message = &crossing.message;
        if crossing.way == Way::In && message.is_request() {
            self.requests += 1;
            if begins_call(crossing.peer, message) {
                self.calls.insert(message.call_id().to_owned(), ());
            }
        }
        Ok(())
    }

    fn turn_over(&mut self, _now: Instant, census: Census) -> Verdict {
        let Census { calls, slots, legs, transactions } = census;
        let most_transactions = self.requests + LEGS * TRANSACTIONS * self.calls.len();
        let fits = calls <= self.requests
            && legs <= LEGS * calls.max(self.calls.len())
            && transactions <= most_transactions
            && slots <= self.requests;
        match fits {
            true => Ok(()),
            false => breach("", format!("{census:?} after {} calls", self.calls.len())),
        }
    }

    fn stands_anything(&self) -> bool {
        true
    }
}
