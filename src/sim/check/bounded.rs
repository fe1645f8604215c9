//! What the server holds is bounded by what is going on.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Check, Verdict, begins_call, breach};
use crate::sim::core::Census;
use crate::sim::trace::Crossing;
use crate::sim::wire::Way;
use crate::time::Instant;

/// R3: at most 32 legs, and the caller's.
const LEGS: usize = 33;
/// Transactions of one leg that may linger at once: INVITE, CANCEL, BYE, and a few requests within the call.
const TRANSACTIONS: usize = 12;
/// How long a request outside any dialog may be remembered: 64·T1 for its answer, and T4 (RFC 3261 §17.1.2.2).
const ASKED: Duration = Duration::from_secs(37);

#[derive(Default)]
pub struct Bounded {
    /// Calls that ever arrived, by their Call-ID.
    calls: BTreeMap<String, ()>,
    requests: usize,
    /// What we asked outside any dialog, by its branch, and when.
    asked: BTreeMap<String, Instant>,
}

impl Check for Bounded {
    fn name(&self) -> &'static str {
        "bounded"
    }

    fn saw(&mut self, crossing: &Crossing) -> Verdict {
        let message = &crossing.message;
        if crossing.way == Way::Out
            && matches!(message.method(), "OPTIONS" | "REGISTER")
            && message.is_request()
            && message.to_tag().is_none()
        {
            self.asked.entry(message.branch().to_owned()).or_insert(crossing.at);
        }
        if crossing.way == Way::In && message.is_request() {
            self.requests += 1;
            if begins_call(crossing.peer, message) {
                self.calls.insert(message.call_id().to_owned(), ());
            }
        }
        Ok(())
    }

    fn turn_over(&mut self, now: Instant, census: Census) -> Verdict {
        let Census { calls, slots, legs, transactions } = census;
        self.asked.retain(|_, at| now.since(*at) <= ASKED);
        let most_transactions = self.requests + self.asked.len() + LEGS * TRANSACTIONS * self.calls.len();
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
