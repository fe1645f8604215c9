//! R8: "Events of the same instant are taken in this order: caller's CANCEL/BYE, leg's BYE, leg's answer, digit,
//! timers." The datagrams of one turn are of one instant; those of one call are taken in that order here, timers
//! come after all of them.
//!
//! Three pairs matter, each of two legs: the caller's CANCEL or BYE before a leg's final answer while it rings;
//! the caller's before a leg's BYE; a leg's BYE before another leg's answer while it rings. Whatever has the same
//! Call-ID stays as it came: a CANCEL is nothing before its INVITE, a BYE late before the ACK or PRACK of a lower
//! CSeq, and a leg that answers and hangs up did so in that order. Digits are not served yet.

/// What comes first of what happens to a call at one instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// The caller's CANCEL or BYE.
    CallerLeaves,
    /// A leg's BYE.
    LegLeaves,
    /// A leg's final answer, while the call rings.
    LegAnswers,
}

/// What a message is to the calls of a core.
#[derive(Clone, Copy, Debug)]
pub struct Standing<'m> {
    pub call_id: &'m [u8],
    /// Which call, and what it does to it. `None`: nothing that has a rank.
    pub does: Option<Does>,
}

/// A message that has a rank in its call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Does {
    /// The core's own name of the call.
    pub call: u64,
    pub rank: Rank,
    /// The call still rings: answers have a rank in it.
    pub rings: bool,
}

/// Whether this message may have to go before others: a BYE or a CANCEL.
pub fn leaves(message: &[u8]) -> bool {
    message.starts_with(b"BYE ") || message.starts_with(b"CANCEL ")
}

/// A final response, of whatever.
fn is_final(message: &[u8]) -> bool {
    message.starts_with(b"SIP/2.0 ") && message.get(8) > Some(&b'1')
}

/// The order in which a batch is taken, by place in it.
///
/// Asks for the standing of a BYE or CANCEL alone, and for others only where one of these finds a call that
/// rings, or another leg of its call that leaves: rarely two datagrams of a batch belong to one call.
pub fn order<'m>(messages: &[&'m [u8]], standing: impl Fn(&'m [u8]) -> Option<Standing<'m>>) -> Vec<usize> {
    let mut order: Vec<usize> = (0..messages.len()).collect();
    let leaving = |message: &'m [u8]| if leaves(message) { standing(message) } else { None };
    let leavers: Vec<Option<Standing<'m>>> = messages.iter().map(|message| leaving(message)).collect();
    for at in 1..messages.len() {
        let Some(Standing { call_id, does: Some(own) }) = leavers[at] else { continue };
        let yields = |before: usize| {
            let message = messages[before];
            let other = match leavers[before] {
                Some(other) => Some(other),
                None if own.rings && is_final(message) => standing(message),
                None => None,
            };
            other.and_then(|other| other.does).is_some_and(|it| it.call == own.call && it.rank > own.rank)
        };
        if !order[..at].iter().any(|before| yields(*before)) {
            continue;
        }
        let same = |before: &usize| standing(messages[*before]).is_some_and(|it| it.call_id == call_id);
        let from = order[..at].iter().rposition(same).map_or(0, |same| same + 1);
        if let Some(to) = order[from..at].iter().position(|before| yields(*before)) {
            order[from + to..=at].rotate_right(1);
        }
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `CANCEL 1`, `BYE 1a`, `200 1b`: what, which call, which leg; the caller's is the one without letter.
    fn standing(message: &[u8]) -> Option<Standing<'_>> {
        let text = std::str::from_utf8(message).ok()?;
        let (what, leg) = text.rsplit_once(' ')?;
        let rank = match (what, leg.len()) {
            ("CANCEL" | "BYE", 1) => Some(Rank::CallerLeaves),
            ("BYE", _) => Some(Rank::LegLeaves),
            ("SIP/2.0 200", _) => Some(Rank::LegAnswers),
            _ => None,
        };
        let call = u64::from(message[message.len() - leg.len()]);
        let does = rank.map(|rank| Does { call, rank, rings: call != u64::from(b'9') });
        Some(Standing { call_id: leg.as_bytes(), does })
    }

    #[track_caller]
    fn taken(came: &str, taken: &str) {
        let full = came.replace("200 ", "SIP/2.0 200 ").replace("180 ", "SIP/2.0 180 ");
        let messages: Vec<&[u8]> = full.split(", ").map(str::as_bytes).collect();
        let came: Vec<&str> = came.split(", ").collect();
        let order: Vec<&str> = order(&messages, standing).into_iter().map(|at| came[at]).collect();
        assert_eq!(order.join(", "), taken);
    }

    #[test]
    fn r08_of_one_call_the_caller_leaves_first_then_a_leg_then_another_answers() {
        taken("200 1a, CANCEL 1", "CANCEL 1, 200 1a");
        taken("BYE 1a, CANCEL 1", "CANCEL 1, BYE 1a");
        taken("BYE 1a, BYE 1", "BYE 1, BYE 1a");
        taken("200 1a, BYE 1b", "BYE 1b, 200 1a");
        taken("200 1a, BYE 1b, CANCEL 1", "CANCEL 1, BYE 1b, 200 1a");
        taken("200 1a, CANCEL 1, BYE 1b, 200 1c", "CANCEL 1, BYE 1b, 200 1a, 200 1c");
        taken("CANCEL 1, 200 1a", "CANCEL 1, 200 1a");
        taken("CANCEL 1, BYE 1", "CANCEL 1, BYE 1");
    }

    #[test]
    fn r08_other_calls_are_not_touched() {
        taken("200 1a, CANCEL 2", "200 1a, CANCEL 2");
        taken("200 2a, 200 1a, BYE 2b, CANCEL 1", "BYE 2b, 200 2a, CANCEL 1, 200 1a");
        taken("INFO 3a, 200 1a, BYE 2, CANCEL 1", "INFO 3a, CANCEL 1, 200 1a, BYE 2");
    }

    #[test]
    fn r08_nothing_passes_what_has_its_own_call_id() {
        taken("200 1a, BYE 1a", "200 1a, BYE 1a");
        taken("INVITE 1, CANCEL 1", "INVITE 1, CANCEL 1");
        taken("BYE 1a, ACK 1, BYE 1", "BYE 1a, ACK 1, BYE 1");
        taken("200 1a, PRACK 1, 200 1b, CANCEL 1", "200 1a, PRACK 1, CANCEL 1, 200 1b");
    }

    #[test]
    fn r08_provisional_responses_and_answers_of_a_call_that_talks_have_no_rank() {
        taken("180 1a, CANCEL 1", "180 1a, CANCEL 1");
        taken("200 9a, BYE 9", "200 9a, BYE 9");
    }

    #[test]
    fn where_nobody_leaves_no_message_is_looked_at() {
        let messages: [&[u8]; 3] = [b"SIP/2.0 200 1a", b"INVITE 1", b"ACK 1"];
        let never = |_: &[u8]| -> Option<Standing<'static>> { panic!("it was asked") };
        assert_eq!(order(&messages, never), [0, 1, 2]);
    }
}
