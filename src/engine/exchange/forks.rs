//! The dialogs of a leg whose far side forks, told apart by their To tags (RFC 3261 §12.1.2).

use smallvec::SmallVec;

use super::slot::{CalledSide, ForkSeen};
use crate::call::event::Fork;

/// How many To tags of one leg we tell apart. Of a far side that forks wider nobody else is heard until it answers.
const MAX_FORKS: u8 = 16;

impl CalledSide {
    pub fn seen(&mut self, fork: Fork) -> Option<&mut ForkSeen> {
        self.forks.iter_mut().find(|seen| seen.fork == fork)
    }

    fn known(&self, tag: &[u8]) -> Option<Fork> {
        self.forks.iter().find(|seen| seen.tag[..] == *tag).map(|seen| seen.fork)
    }

    /// The fork with the To tag of a provisional response, a new one where there is room.
    pub fn fork_that_rings(&mut self, tag: &[u8]) -> Option<Fork> {
        let has_room = self.forks.len() < usize::from(MAX_FORKS);
        self.known(tag).or_else(|| has_room.then(|| self.begins(tag)))
    }

    /// The fork with the To tag of a 2xx: each has its ACK (R5). Where there is no room one that only rang gives way,
    /// or failing that the first whose answer joined nobody: should that be repeated, it is ended once more.
    pub fn fork_that_answers(&mut self, tag: &[u8]) -> Fork {
        if let Some(known) = self.known(tag) {
            return known;
        }
        if self.forks.len() >= usize::from(MAX_FORKS) {
            let stands = !self.side.acks.is_empty() || self.side.dialog.is_some();
            let least = |at: &usize| {
                let seen = &self.forks[*at];
                let answered = self.stray_acks.iter().any(|ack| ack.fork == seen.fork);
                (stands && seen.fork == self.side.fork, answered, seen.early.is_some())
            };
            if let Some(at) = (0..self.forks.len()).min_by_key(least) {
                let gone = self.forks.remove(at).fork;
                self.stray_acks.retain(|ack| ack.fork != gone);
            }
        }
        self.begins(tag)
    }

    /// One that was not heard of before. None gets a number below [`MAX_FORKS`] a second time, though that one may have
    /// given way: its SDP is remembered by it.
    fn begins(&mut self, tag: &[u8]) -> Fork {
        let next = self.forks.last().map_or(0, |last| last.fork.0.saturating_add(1));
        let is_free = |fork: &Fork| self.forks.iter().all(|seen| seen.fork != *fork);
        let free = (next..=u8::MAX).chain(MAX_FORKS..next).map(Fork).find(is_free);
        let fork = free.unwrap_or(Fork(u8::MAX));
        self.forks.push(ForkSeen {
            fork,
            tag: SmallVec::from_slice(tag),
            early: None,
            rseq: 0,
            answered: false,
        });
        fork
    }
}
