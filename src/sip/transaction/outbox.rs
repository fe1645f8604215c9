//! Where the core puts what is to be sent.

use std::ops::Range;
use std::time::Duration;

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
    /// It has another way to go, and waits at most so long for a connection that is yet to be opened; `None`: as long as
    /// the transport lets it.
    pub patience: Option<Duration>,
}

impl Outbox {
    /// Copies a message to the end of the buffer.
    pub fn send(&mut self, to: Peer, bytes: &[u8]) {
        let start = self.wire.len();
        self.wire.extend_from_slice(bytes);
        self.send_range(to, start..self.wire.len());
    }

    /// Sends what stands in the buffer already, as `sip::build` wrote it.
    pub fn send_range(&mut self, to: Peer, range: Range<usize>) {
        debug_assert!(range.end <= self.wire.len());
        self.sends.push(Outgoing { to, range, patience: None });
    }

    /// The last message has another way to go, should no connection be open within this time.
    pub fn hurry(&mut self, patience: Duration) {
        if let Some(last) = self.sends.last_mut() {
            last.patience = Some(patience);
        }
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
