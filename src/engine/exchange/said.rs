//! What is said to the log; each event is one line there, or part of one.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::call::refusal::Refusal;
use crate::engine::trunks::{Failure, Listed};
use crate::number::E164;

/// One event of a call, an agent or a trunk, for the log.
#[derive(Clone, Debug)]
pub enum CallEvent {
    Started {
        call: Box<str>,
        /// The trunk that it came in on; an agent's call has none.
        trunk: Option<Arc<str>>,
        agent: Option<Arc<str>>,
        dialled: Box<str>,
    },
    Ringing {
        call: Box<str>,
    },
    /// Refused before it was a call.
    Rejected {
        reason: &'static str,
        from: SocketAddr,
    },
    /// An agent calls an emergency number.
    Emergency {
        call: Box<str>,
        agent: Arc<str>,
        /// What the call shows; none: nobody can call back.
        shows: Option<E164>,
        dialled: Box<str>,
    },
    /// A long INVITE went in a datagram after all: nobody took a connection there (RFC 3261 §18.1.1).
    NoStream {
        call: Box<str>,
        to: SocketAddr,
    },
    /// An agent has a new binding.
    Registered {
        agent: Arc<str>,
        from: SocketAddr,
    },
    /// An agent ended one.
    Unregistered {
        agent: Arc<str>,
    },
    /// Who has proved to be that agent asked for a registration, and was refused.
    NotRegistered {
        agent: Arc<str>,
        from: SocketAddr,
        why: Refusal,
    },
    /// Somebody gave a wrong password, or a name that no agent has.
    WrongPassword {
        agent: Box<str>,
        from: SocketAddr,
    },
    /// A gateway, by its place among the trunk's as they are written, answers again (R14).
    TrunkUp {
        trunk: Arc<str>,
        gateway: u8,
    },
    /// It is down: tried last from now on.
    TrunkDown {
        trunk: Arc<str>,
        gateway: u8,
        why: Failure,
    },
    /// We are registered at a carrier; told once until we are not.
    Enrolled {
        trunk: Arc<str>,
        listed: Listed,
    },
    /// We are not, or no more; told once until we are.
    NotEnrolled {
        trunk: Arc<str>,
        why: Failure,
    },
    /// Ten ringing calls of one caller to one forwarded number: a loop, most likely (R11).
    LikelyLoop {
        caller: E164,
        did: E164,
    },
}
