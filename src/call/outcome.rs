//! What a final response means: failover, Q.850 causes, and the one answer that the caller gets (R8).

use super::leg::{Leg, LegState, TargetId};
use super::refusal::Refusal;
use crate::call::cdr::LegEnd;
use crate::routing::TargetEnd;

/// The Q.850 cause of a final response that carries none itself (RFC 3398 §8.2.6.1).
pub const fn q850_of(code: u16) -> u8 {
    match code {
        404 | 485 | 604 => 1,
        486 | 600 => 17,
        480 => 18,
        401 | 402 | 403 | 407 | 603 => 21,
        410 => 22,
        482 | 483 => 25,
        484 => 28,
        502 => 38,
        400 | 481 | 500 | 503 => 41,
        405 => 63,
        406 | 415 | 501 => 79,
        408 | 504 => 102,
        _ => 127,
    }
}

/// No answer from the user, though alerted (Q.850).
pub const NO_ANSWER: u8 = 19;
/// No circuit or channel available (Q.850).
pub const NO_CIRCUIT: u8 = 34;
/// Normal call clearing (Q.850).
pub const NORMAL: u8 = 16;
/// Recovery on timer expiry (Q.850).
pub const TIMER: u8 = 102;

/// Whether the next gateway is tried after this final response, before the first 18x (R14).
pub const fn tries_the_next_gateway(code: u16) -> bool {
    matches!(code, 408 | 500 | 502 | 503 | 504)
}

/// Whether a carrier refuses the number that we show rather than the call (`foreign_caller_id = "retry"`).
pub const fn refuses_the_shown_number(code: u16) -> bool {
    matches!(code, 403 | 603 | 606 | 608)
}

/// How a leg ended that sent this final response.
pub const fn end_of(code: u16) -> LegEnd {
    match code {
        486 | 600 => LegEnd::Busy,
        603 => LegEnd::Declined,
        408 | 480 | 500 | 502 | 503 | 504 => LegEnd::Unreachable,
        _ => LegEnd::Failed,
    }
}

/// What the caller is told when every target has ended without an answer (R8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub code: u16,
    pub q850: Option<u8>,
    /// Nothing but limits of our trunks, or `[dial]`, stood in the way: the refusal is our own, for this cause.
    pub blocked: Option<&'static str>,
}

/// The verdict over all targets of all steps.
pub fn verdict(legs: &[Leg], unrung: &[(TargetId, TargetEnd)]) -> Verdict {
    // A 3xx that led to a busy agent, to a full trunk or to where we may not call ended as that did (R3.3).
    let led_on = |leg: &Leg| leg.code / 100 == 3 && unrung.iter().any(|(target, _)| *target == leg.target);
    let last = || {
        let legs = legs.iter().enumerate().filter(|(at, leg)| is_last_of_its_line(legs, *at, leg));
        legs.map(|(_, leg)| leg).filter(|leg| !led_on(leg))
    };
    // An agent with several phones ends as the one that says most.
    let is_first = |leg: &&Leg| {
        last().find(|other| other.target == leg.target).is_some_and(|first| first.line == leg.line)
    };
    let all_of = |leg: &Leg| {
        let target = leg.target;
        last().filter(move |other| other.target == target).map(line_end).reduce(TargetEnd::louder)
    };
    let ends = last().filter(is_first).filter_map(all_of).chain(unrung.iter().map(|(_, end)| *end));
    let end = TargetEnd::of_all(ends);
    let (blocked, q850) = match end {
        TargetEnd::NoCircuit(_) => (Some(Refusal::TrunkLimit.cause()), Some(NO_CIRCUIT)),
        TargetEnd::Forbidden => (Some("forbidden by [dial]"), furthest(legs.iter()).and_then(|leg| leg.q850)),
        TargetEnd::Busy | TargetEnd::Declined | TargetEnd::Other => {
            (None, furthest(last()).and_then(|leg| leg.q850))
        }
    };
    Verdict { code: end.told(), q850, blocked }
}

/// The leg that got furthest; of several, the first.
fn furthest<'a>(legs: impl Iterator<Item = &'a Leg>) -> Option<&'a Leg> {
    // Of equals the first: `max_by_key` gives the last.
    legs.fold(None, |best: Option<&Leg>, leg| {
        let key = |leg: &Leg| (leg.ringing.is_some(), leg.code != 0);
        if best.is_none_or(|best| key(leg) > key(best)) { Some(leg) } else { best }
    })
}

fn is_last_of_its_line(legs: &[Leg], at: usize, leg: &Leg) -> bool {
    !legs[at + 1..].iter().any(|later| later.target == leg.target && later.line == leg.line)
}

fn line_end(leg: &Leg) -> TargetEnd {
    match (leg.state, leg.code) {
        (LegState::Ended(LegEnd::Timeout), _) => TargetEnd::Other,
        (_, 486 | 600) => TargetEnd::Busy,
        (_, 603) => TargetEnd::Declined,
        (_, _) => TargetEnd::Other,
    }
}
