//! Bytes in, bytes out: UDP in batches, TCP and TLS as framed streams whose connections are reused. Owns sockets and
//! connections, their limits and their ends. Never looks into a message beyond where it ends, and never decides
//! who gets it: whole messages and dead connections go up to the shard's loop (`engine::shard`).

use bytes::Bytes;

use crate::sip::peer::{Peer, Undelivered};

pub mod accept;
mod address;
pub mod frame;
pub mod guests;
pub mod icmp;
mod kernel;
mod nudge;
mod pipe;
pub mod shed;
pub mod sources;
pub mod streams;
pub mod tcp;
pub mod tls;
pub mod udp;

/// What the transports of one shard tell its loop, through a bounded queue inside the shard's thread.
#[derive(Debug)]
pub enum Event {
    /// A whole message from a stream, or so much of one that is too long that it can be answered. `read`: when its last
    /// bytes were read from the socket.
    Message { from: Peer, read: std::time::Instant, bytes: Bytes },
    /// A connection is gone, or could not be opened.
    ///
    /// `peer.flow` is the dead connection. `lost`: messages that were sent to the address alone (no flow), went
    /// over this connection within the last [`streams::UNANSWERED`], and may not have arrived.
    Ended { peer: Peer, lost: bool, why: Undelivered },
    /// The error queue of this UDP port (by its place in the shard) has something to read.
    PortError(usize),
}
