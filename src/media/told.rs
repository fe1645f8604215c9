//! What a side is to hear of us, and what is told of a call's audio.

use std::sync::Arc;
use std::time::Duration;

use super::event::Digit;
use super::prompt::Prompt;

/// One side of the call: 0 is the caller's, the others as the call counts its legs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SideId(pub u8);

/// What is told of a call's audio.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// Its packets have begun to come, from where it is now.
    Latched(SideId),
    /// A key was pressed.
    Pressed(SideId, Digit),
    /// What was to be said has been, to its end; or it cannot be, in a format that the side has.
    Said(SideId, u32),
    /// A side whose message is taken has said enough for one.
    SaidEnough(SideId),
    /// It has not said anything for as long as was asked.
    FellSilent(SideId),
    /// Nobody has been heard for as long as was asked.
    Silent,
    /// Nothing of it is written down: the disk has no room, or is too slow to begin.
    NotKept,
}

/// What a side is to hear.
#[derive(Clone, Debug)]
pub struct Say {
    /// Silence before it.
    pub after: Duration,
    pub prompt: Arc<Prompt>,
    /// Once more after so much silence, again and again.
    pub again: Option<Duration>,
    /// By which its end is told.
    pub number: u32,
    /// It says that the call is recorded.
    pub is_notice: bool,
}
