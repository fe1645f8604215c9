//! What one connection has brought so far, what it has to bring next, and by when.

use bytes::BytesMut;
use tokio::time::Instant;
use tokio_util::codec::Decoder;

use super::super::frame::{Frame, Framer, Unframed};
use super::{End, Opened, StreamLimits};
use crate::sip::wire::{BadFrame, MAX_MESSAGE};

/// The reading side of a connection.
pub(super) struct Reading {
    pub buffer: BytesMut,
    framer: Framer,
    state: Expecting,
}

/// What a connection has to bring next.
#[derive(Clone, Copy)]
enum Expecting {
    /// Its first message; opened to us then.
    First(Instant),
    /// Its first message, where we opened it.
    Answer,
    /// The rest of a message that began then.
    Rest(Instant),
    /// Anything.
    Anything,
    /// Nothing that could be read: since then it has been told so. What comes is thrown away, for to close the connection
    /// while something is unread would take the answer back.
    Nothing(Instant),
}

impl Reading {
    pub fn new(opened: Opened) -> Reading {
        let state = match opened {
            Opened::ByThem => Expecting::First(Instant::now()),
            Opened::ByUs => Expecting::Answer,
        };
        Reading { buffer: BytesMut::new(), framer: Framer::default(), state }
    }

    /// The next frame that is whole. Of a message that is too long, its beginning: enough to answer it.
    pub fn next_frame(&mut self, now: Instant) -> Result<Option<Frame>, Unframed> {
        if let Expecting::Nothing(_) = self.state {
            self.buffer.clear();
            return Ok(None);
        }
        match self.framer.decode(&mut self.buffer) {
            Err(Unframed::Bad(BadFrame::HeadTooLong | BadFrame::TooLong)) => {
                self.state = Expecting::Nothing(now);
                self.buffer.truncate(MAX_MESSAGE + 1);
                Ok(Some(Frame::Message(self.buffer.split().freeze())))
            }
            other => other,
        }
    }

    /// Takes note of a read: whether it completed a message, and whether another has begun.
    pub fn progress(&mut self, whole: bool, now: Instant) {
        let begun = !b"\r\n\r".starts_with(&self.buffer);
        self.state = match (self.state, whole, begun) {
            (Expecting::Nothing(since), _, _) => Expecting::Nothing(since),
            (Expecting::Rest(since), false, true) => Expecting::Rest(since),
            (Expecting::First(since), false, false) => Expecting::First(since),
            (Expecting::Answer, false, false) => Expecting::Answer,
            (_, _, true) => Expecting::Rest(now),
            (_, _, false) => Expecting::Anything,
        };
        if self.buffer.is_empty() {
            // A connection that waits holds no buffer.
            self.buffer = BytesMut::new();
        }
    }

    /// When it has to have brought what it has to bring. `idle`: until when it may be there where that is nothing.
    pub fn deadline(&self, limits: &StreamLimits, last_traffic: Instant, idle: Instant) -> Instant {
        match self.state {
            Expecting::First(since) => since + limits.first_message,
            Expecting::Rest(since) | Expecting::Nothing(since) => since + limits.whole_message,
            Expecting::Answer => last_traffic + limits.unanswered,
            Expecting::Anything => idle,
        }
    }

    /// How it ends where `deadline` is over.
    pub fn overdue(&self, deadline: Instant) -> Option<End> {
        let late = deadline <= Instant::now();
        late.then_some(match self.state {
            Expecting::Rest(_) => End::HalfSent,
            Expecting::Nothing(_) => End::TooLong,
            Expecting::First(_) | Expecting::Answer | Expecting::Anything => End::Idle,
        })
    }
}
