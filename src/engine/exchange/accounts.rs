//! What is known of a call's sides beside their descriptions: how the audio of those went that are closed, and who takes
//! INFO.

use smallvec::SmallVec;

use super::ended::Ended;
use crate::call::Call;
use crate::call::cdr::Cdr;
use crate::call::event::LegId;
use crate::media::session::Quality;

/// What is known of the sides of a call that were closed.
#[derive(Debug, Default)]
pub(super) struct Accounts {
    /// How each went that a thread has closed, and those that none has yet.
    heard: SmallVec<[(LegId, Quality); 2]>,
    closing: SmallVec<[LegId; 4]>,
    /// The call is over, and its record waits for the rest.
    pub last: Option<Box<Last>>,
}

/// A call that is over.
#[derive(Debug)]
pub(super) struct Last {
    pub cdr: Box<Cdr>,
    pub ended: Ended,
}

impl Accounts {
    /// A thread is told to close a side.
    pub fn closes(&mut self, leg: LegId) {
        self.closing.push(leg);
    }

    /// It has.
    pub fn closed(&mut self, leg: LegId, quality: Quality) {
        self.closing.retain(|closing| *closing != leg);
        // Where nothing was agreed on, there was no audio (contract "CDR").
        if quality.codec.is_some() {
            self.heard.push((leg, quality));
        }
    }

    /// What a side of a call spoke, and how that went.
    pub fn of(&self, leg: LegId) -> Option<&Quality> {
        self.heard.iter().find(|(of, _)| *of == leg).map(|(_, quality)| quality)
    }

    /// Whether nothing more is to be heard of sides that were closed.
    pub fn is_whole(&self) -> bool {
        self.closing.is_empty()
    }

    /// The call that is over and waits for its record.
    pub fn unwritten(&self) -> Option<&Call> {
        self.last.as_deref().map(|last| &*last.ended.call)
    }
}

/// Who takes INFO.
#[derive(Debug, Default)]
pub(super) struct Infos {
    /// A bit for each leg that has it in its Allow and has not refused one.
    taken: u64,
    /// Our own that have no answer yet.
    pub under_way: u8,
}

impl Infos {
    pub fn takes(&self, leg: LegId) -> bool {
        self.taken.checked_shr(leg.0.into()).is_some_and(|bits| bits & 1 == 1)
    }

    pub fn learn(&mut self, leg: LegId, takes: bool) {
        let bit = 1u64.checked_shl(leg.0.into()).unwrap_or(0);
        self.taken = if takes { self.taken | bit } else { self.taken & !bit };
    }
}
