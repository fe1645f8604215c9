//! The ladder of a call: what was said, in twelve bytes a line.

use std::borrow::Cow;

use crate::call::event::LegId;
use crate::call::story::{LadderLine, Way};
use crate::sip::header::Method;
use crate::time::Instant;

/// The most lines that one call keeps; what follows is counted.
const MAX_LINES: usize = 256;

/// What was said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    Request(Method),
    Response(u16, Method),
    /// A timer or a turn of ours.
    Turn(&'static str),
}

#[derive(Clone, Copy, Debug)]
struct Line {
    /// Milliseconds since the first.
    at: u32,
    leg: LegId,
    way: Way,
    what: What,
}

/// The lines of one call.
#[derive(Debug, Default)]
pub struct Story {
    began: Instant,
    lines: Vec<Line>,
    dropped: u32,
    /// The call has ended and taken its lines along: what its dialogs still say is nobody's to read.
    over: bool,
}

impl Story {
    pub fn new(began: Instant) -> Self {
        Story { began, lines: Vec::with_capacity(16), dropped: 0, over: false }
    }

    /// Takes the lines; no more are kept here.
    pub fn end(&mut self) -> Story {
        std::mem::replace(self, Story { over: true, ..Story::default() })
    }

    pub fn say(&mut self, now: Instant, way: Way, leg: LegId, what: What) {
        if self.over {
            return;
        }
        if self.lines.len() >= MAX_LINES {
            self.dropped += 1;
            return;
        }
        let at = u32::try_from(now.since(self.began).as_millis()).unwrap_or(u32::MAX);
        self.lines.push(Line { at, leg, way, what });
    }

    pub fn ladder(&self) -> (Vec<LadderLine>, u32) {
        (self.lines.iter().map(Line::read).collect(), self.dropped)
    }
}

impl Line {
    fn read(&self) -> LadderLine {
        let (what, note): (Cow<'static, str>, _) = match self.what {
            What::Request(method) => (Cow::Borrowed(method.token()), None),
            What::Response(code, Method::Invite) => (code.to_string().into(), None),
            What::Response(code, method) => (code.to_string().into(), Some(Cow::Borrowed(method.token()))),
            What::Turn(name) => (Cow::Borrowed(name), None),
        };
        LadderLine { at_ms: u64::from(self.at), way: self.way, leg: u16::from(self.leg.0), what, note }
    }
}
