//! What a state may do: the outward half of every transition.

use std::time::Duration;

use super::lingering::Lingering;
use super::{Id, Outbox, Response, Timer, Timers, Traffic};
use crate::sip::peer::{Peer, Undelivered};
use crate::sip::wheel::Wheel;
use crate::time::Instant;

/// A timer of a transaction, as it stands in the wheel.
#[derive(Clone, Copy, Debug)]
pub(super) struct Due {
    pub id: Id,
    pub timer: Timer,
}

/// What all transactions share.
#[derive(Debug)]
pub(super) struct Clockwork {
    pub timers: Timers,
    pub wheel: Wheel<Due>,
    pub lingering: Lingering,
    pub traffic: Traffic,
}

/// What a state table has to tell the owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    TimedOut,
    AckMissing,
    Undeliverable(Undelivered),
    OutOfReach,
}

/// Handed to a state table: the moment, the transaction that it is about, and what it may do.
pub(super) struct Actions<'t> {
    now: Instant,
    id: Id,
    peer: Peer,
    clockwork: &'t mut Clockwork,
    out: &'t mut Outbox,
    /// What a client transaction hands up of the response that it was given.
    pub up: Option<Response>,
    /// A CANCEL that is to be sent as a client transaction of its own.
    pub cancel: Option<Box<[u8]>>,
    pub verdict: Option<Verdict>,
}

impl<'t> Actions<'t> {
    pub fn new(
        now: Instant,
        id: Id,
        peer: Peer,
        clockwork: &'t mut Clockwork,
        out: &'t mut Outbox,
    ) -> Actions<'t> {
        Actions { now, id, peer, clockwork, out, up: None, cancel: None, verdict: None }
    }

    pub fn is_reliable(&self) -> bool {
        self.peer.transport.is_reliable()
    }

    pub fn timers(&self) -> Timers {
        self.clockwork.timers
    }

    /// Sends a message for the first time. An empty one is none.
    pub fn send(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.out.send(self.peer, bytes);
        }
    }

    /// Sends a message once more.
    pub fn repeat(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.out.send(self.peer, bytes);
            self.clockwork.traffic.repeats_out += 1;
        }
    }

    /// A response that is known came again.
    pub fn heard_again(&mut self) {
        self.clockwork.traffic.repeats_in += 1;
    }

    pub fn start(&mut self, timer: Timer, after: Duration) {
        self.clockwork.wheel.insert(self.now + after, Due { id: self.id, timer });
    }

    /// From now on it only lingers; `timer` will end it, in 64·T1 or, when it is crowded, before.
    pub fn linger(&mut self, timer: Timer) {
        self.clockwork.lingering.enter(self.now, self.id, timer);
    }

    /// Hands the response up to the owner.
    pub fn hand_up(&mut self, response: Response) {
        self.up = Some(response);
    }

    /// Tells the owner how it ended.
    pub fn tell(&mut self, verdict: Verdict) {
        self.verdict = Some(verdict);
    }
}
