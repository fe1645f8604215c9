//! Where the core puts what is to be sent.

use std::ops::Range;

use crate::sip::peer::Peer;

/// Messages to be sent, in order, in one buffer that is used again each turn.
#[derive(Debug, Default)]
pub struct Outbox {
    pub wire: Vec<u8>,
    pub sends: Vec<Outgoing>,
}

/// One message of `Outbox::wire` and whom it goes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    pub to: Peer,
    pub range: Range<usize>,
}

impl Outbox {
    /// Copies a message to the end of the buffer.
    pub fn send(&mut self, to: Peer, bytes: &[u8]) {
        let start = self.wire.len();
        self.wire.extend_from_slice(bytes);
        self.sends.push(Outgoing { to, range: start..self.wire.len() });
    }

    /// Sends what stands in the buffer already, as `sip::build` wrote it.
    pub fn send_range(&mut self, to: Peer, range: Range<usize>) {
        debug_assert!(range.end <= self.wire.len());
        self.sends.push(Outgoing { to, range });
    }

    pub fn messages(&self) -> impl Iterator<Item = (Peer, &[u8])> {
        self.sends.iter().map(|out| (out.to, self.wire.get(out.range.clone()).unwrap_or_default()))
    }

    /// Forgets everything and keeps the memory.
    pub fn clear(&mut self) {
        self.wire.clear();
        self.sends.clear();
    }
}
