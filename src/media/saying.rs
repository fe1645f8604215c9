//! What a side hears of us, 20 ms after 20 ms.

use std::time::Duration;

use super::prompt::FRAME;
use super::told::Say;
use crate::sip::sdp::audio::Codec;

/// What is being said to a side.
#[derive(Debug)]
pub(super) struct Saying {
    say: Say,
    pub voice: Voice,
    frame: u32,
    /// So many frames of silence before it begins, or begins again.
    pause: u32,
}

/// How a side is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Voice {
    /// Nothing is agreed on with it so far, for its answer is in the ACK that is to come; or it holds us by saying that it is
    /// nowhere. It is spoken to as soon as it can hear.
    Awaited,
    /// By this payload type of its.
    In(Codec, u8),
    /// It can hear nothing of ours.
    Nowhere,
}

/// What the next 20 ms bring.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next<'a> {
    Nothing,
    Packet {
        payload_type: u8,
        payload: &'a [u8],
        /// With it the notice that the call is recorded begins.
        is_notice: bool,
    },
    /// It is said, and is said again after a while.
    Pauses,
    /// It is said to its end, or cannot be; its number.
    Over(u32),
}

impl Saying {
    pub fn new(say: Say, voice: Voice) -> Saying {
        Saying { voice, frame: 0, pause: frames(say.after), say }
    }

    /// It is the notice that the call is recorded.
    pub const fn is_notice(&self) -> bool {
        self.say.is_notice
    }

    pub fn next(&mut self) -> Next<'_> {
        let (codec, payload_type) = match self.voice {
            Voice::Awaited => return Next::Nothing,
            Voice::Nowhere => return Next::Over(self.say.number),
            Voice::In(codec, payload_type) => (codec, payload_type),
        };
        if self.pause > 0 {
            self.pause -= 1;
            return Next::Nothing;
        }
        if let Some(payload) = self.say.prompt.frame(codec, self.frame) {
            let is_notice = self.say.is_notice && self.frame == 0;
            self.frame += 1;
            return Next::Packet { payload_type, payload, is_notice };
        }
        match self.say.again {
            Some(pause) if self.frame > 0 => {
                (self.frame, self.pause) = (0, frames(pause));
                Next::Pauses
            }
            Some(_) | None => Next::Over(self.say.number),
        }
    }
}

fn frames(of: Duration) -> u32 {
    u32::try_from(of.as_micros() / FRAME.as_micros()).unwrap_or(u32::MAX)
}
