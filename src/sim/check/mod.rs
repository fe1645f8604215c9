//! What must hold in every world. A checker reads the wire at the server's edge and the records of ended
//! calls, and nothing else: each is a sentence about what an outsider sees.

use std::net::SocketAddr;

use serde_json::Value;

use super::booth::Listening;
use super::core::Census;
use super::layout;
use super::message::Message;
use super::trace::Crossing;
use crate::time::Instant;

mod answers_legal;
mod bounded;
mod dialogs_legal;
mod everything_answered;
mod family;
mod invites;
mod never_billed_early;
mod one_cdr;
mod one_generation;
mod one_winner;
mod own_audio;
mod stays_withheld;

/// A sentence that did not hold, and the Call-ID (a caller's or a leg's) where it was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breach {
    pub call_id: String,
    pub sentence: String,
}

pub type Verdict = Result<(), Breach>;

/// `Err` with a sentence about a call.
pub fn breach(call_id: &str, sentence: impl Into<String>) -> Verdict {
    Err(Breach { call_id: call_id.to_owned(), sentence: sentence.into() })
}

pub trait Check {
    fn name(&self) -> &'static str;

    /// A message crossed the edge: it is about to be handled, or was sent.
    fn saw(&mut self, _crossing: &Crossing) -> Verdict {
        Ok(())
    }

    /// The core is done with an input, and this is what it holds now.
    fn turn_over(&mut self, _now: Instant, _census: Census) -> Verdict {
        Ok(())
    }

    /// The same, and this is what everybody hears.
    fn listens(&mut self, _sides: &[Listening]) -> Verdict {
        Ok(())
    }

    fn recorded(&mut self, _record: &Value) -> Verdict {
        Ok(())
    }

    /// Calls that arrive from now on use this generation, and are served by this file.
    fn published(&mut self, _generation: u64, _routing: &str) {}

    /// The world is at rest.
    fn at_end(&mut self, _now: Instant) -> Verdict {
        Ok(())
    }

    /// Whether it holds even where foreign bytes imitate the ends of a call.
    fn stands_anything(&self) -> bool {
        false
    }
}

/// All of them.
pub fn all() -> Vec<Box<dyn Check>> {
    vec![
        Box::<dialogs_legal::DialogsLegal>::default(),
        Box::<answers_legal::AnswersLegal>::default(),
        Box::<one_winner::OneWinner>::default(),
        Box::<own_audio::OwnAudio>::default(),
        Box::<never_billed_early::NeverBilledEarly>::default(),
        Box::<one_cdr::OneCdr>::default(),
        Box::<stays_withheld::StaysWithheld>::default(),
        Box::<one_generation::OneGeneration>::default(),
        Box::<everything_answered::EverythingAnswered>::default(),
        Box::<bounded::Bounded>::default(),
    ]
}

/// Whether a message is a well-formed INVITE of the carrier outside any dialog: it begins a call (R12).
pub fn begins_call(from: SocketAddr, message: &Message) -> bool {
    from.ip() == layout::CARRIER.ip()
        && message.is_request()
        && message.method() == "INVITE"
        && message.get("To").is_some()
        && message.to_tag().is_none()
}
