//! The ladder of the call as its ends see it, told line by line.

use std::borrow::Cow;
use std::time::Instant;

use rsip::message::HeadersExt;
use rsip::{Method, SipMessage};

use super::message::{Fields, tag_of, user_of};
use crate::call::story::{Clock, Columns, LadderLine, Way};
use crate::sip::build::phrase;

/// The longest label that usually comes.
const WIDEST: usize = "OPTIONS".len();
/// Lines that are kept; a call that says more goes round in circles.
const MOST_LINES: usize = 10_000;

/// The caller's column.
pub(super) const CALLER: u16 = 0;

/// Whether the very same message passed before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Passing {
    First,
    Again,
}

/// The lines so far. Time counts from the first.
pub(super) struct Ladder {
    columns: Columns,
    began: Option<Instant>,
    lines: Vec<LadderLine>,
}

impl Ladder {
    /// `legs`: the number and the name of each column, the caller's first.
    pub fn new(legs: &[(u16, &str)]) -> Ladder {
        Ladder { columns: Columns::new(legs, WIDEST, Clock::Shown), began: None, lines: Vec::new() }
    }

    pub fn head(&self) -> String {
        self.columns.head()
    }

    /// Notes a message and draws it. `way` is the node's: `In` is what our end sent.
    pub fn pass(
        &mut self,
        now: Instant,
        way: Way,
        leg: u16,
        message: &SipMessage,
        passing: Passing,
    ) -> String {
        let at_ms = self.time(now);
        let (what, note) = label(message, way, passing);
        self.add(LadderLine { at_ms, way, leg, what: what.into(), note: note.map(Cow::Owned) })
    }

    fn time(&mut self, now: Instant) -> u64 {
        let began = *self.began.get_or_insert(now);
        u64::try_from((now - began).as_millis()).unwrap_or(u64::MAX)
    }

    fn add(&mut self, line: LadderLine) -> String {
        let drawn = self.columns.draw(&line);
        if self.lines.len() < MOST_LINES {
            self.lines.push(line);
        }
        drawn
    }

    /// Notes something that is no message, of whom the note tells, and draws it.
    pub fn note(&mut self, now: Instant, leg: u16, what: &'static str, note: String) -> String {
        let at_ms = self.time(now);
        self.add(LadderLine { at_ms, way: Way::Here, leg, what: what.into(), note: Some(note.into()) })
    }

    pub fn into_lines(self) -> Vec<LadderLine> {
        self.lines
    }
}

/// What a message is called, and what deserves saying beside it.
fn label(message: &SipMessage, way: Way, passing: Passing) -> (String, Option<String>) {
    let again = (passing == Passing::Again).then(|| "again".to_owned());
    let (what, note) = match message {
        SipMessage::Request(request) => {
            let note = match (request.method, way) {
                (Method::Invite, Way::Out) if tag_of(request.called_value()).is_none() => {
                    Some(format!("shows {}", user_of(request.caller_value())))
                }
                (Method::Invite, Way::In) if tag_of(request.called_value()).is_none() => {
                    Some(format!("for {}", request.uri.user().unwrap_or_default()))
                }
                (Method::Bye | Method::Cancel, _) => {
                    request.other("Reason").map(|reason| format!("Reason: {reason}"))
                }
                _ => None,
            };
            (request.method.to_string(), note)
        }
        SipMessage::Response(response) => {
            let code = response.status_code.code();
            let note = match response.cseq() {
                Some((_, Method::Invite)) if code >= 300 => Some(phrase(code).to_owned()),
                Some((_, Method::Invite)) | None => None,
                Some((_, method)) => Some(method.to_string()),
            };
            (code.to_string(), note)
        }
    };
    let note = match (note, again) {
        (Some(note), Some(again)) => Some(format!("{note}, {again}")),
        (note, again) => note.or(again),
    };
    (what, note)
}

/// Whether a message has a To tag: it stands in a dialog.
pub(super) fn in_dialog(message: &impl HeadersExt) -> bool {
    message.to_header().is_ok_and(|to| tag_of(rsip::prelude::UntypedHeader::value(to)).is_some())
}
