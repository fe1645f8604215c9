//! What is kept of a call that has ended, for those who ask how it went.

use std::borrow::Cow;

use smallvec::SmallVec;

use super::story::Story;
use crate::call::cdr::{Cdr, Rtp};
use crate::call::{Call, Seen};

/// A call that has ended; told only when somebody asks.
#[derive(Debug)]
pub(super) struct Ended {
    pub call: Box<Call>,
    pub story: Story,
    pub legs: Legs,
}

pub(super) type Legs = SmallVec<[Glimpse; 2]>;

/// A leg's dialog as `call <id>` shows it, and its audio once that is over.
#[derive(Debug)]
pub(super) struct Glimpse {
    pub stage: &'static str,
    pub seen: Seen,
    pub audio: Option<(Option<Cow<'static, str>>, Box<Rtp>)>,
}

impl Ended {
    /// What its record says of its audio.
    pub fn hears(&mut self, cdr: &Cdr) {
        for (glimpse, leg) in self.legs.iter_mut().zip(&cdr.legs) {
            glimpse.audio = leg.rtp.clone().map(|rtp| (leg.codec.clone(), rtp));
        }
    }
}
