//! PURE. One shard's exchange: it owns its calls, dialogs, transactions and timers. A message, a moment or
//! an operator's question comes in; bytes to send and notices come out. No socket, clock, task or lock.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::time::Duration;

use crate::sip::peer::{ListenerId, Peer};

/// What can happen to a shard.
pub enum Input<'a> {
    /// A whole message. `age`: how long it lay in our queues before this turn.
    Received { from: Peer, bytes: &'a [u8], age: Duration },
    /// The socket refused it, or the stream is dead or could not be opened (RFC 3261 §18.4).
    Undeliverable { to: Peer },
    /// Timers that are due.
    Due,
}

/// What the shard wants done, in order. The engine drains it every turn and gives the buffers back.
#[derive(Default)]
pub struct Effects {
    /// The bytes of every message of this turn, one after another.
    pub wire: Vec<u8>,
    pub sends: Vec<Outgoing>,
}

/// One message to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    pub to: Peer,
    /// Where it stands in the buffer of its turn.
    pub range: Range<usize>,
}

/// What shards share and the core may not own: counts across shards, the record's slot, our own addresses.
pub trait Desk: Send + Sync {
    /// Reserves the call record's slot on its way to disk (R12). False: no slot, no call.
    fn reserve_record(&self) -> bool;
    /// The address that the kernel sends from to `towards` (for wildcard listeners without `advertise`).
    fn local_address(&self, listener: ListenerId, towards: IpAddr) -> SocketAddr;
}
