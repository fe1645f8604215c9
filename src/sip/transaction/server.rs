//! Server transactions: requests of others, and our answers (RFC 3261 §17.2, RFC 6026 §8.7, RFC 4320).

use super::actions::{Actions, Verdict};
use super::key::Key;
use std::mem::replace as take;

use super::Timer;
use crate::sip::peer::Peer;

/// A server transaction. What lingers after the end of its call is this and, where repeats want it, the last
/// response.
#[derive(Debug)]
pub(super) struct Server<O> {
    pub key: Key,
    pub owner: O,
    /// Where its responses go.
    pub peer: Peer,
    /// Its place among those that a connection carries, while one does.
    pub carried: Option<u32>,
    pub machine: Machine,
}

#[derive(Debug)]
pub(super) enum Machine {
    Invite(Invite),
    Other(Other),
}

impl Machine {
    /// Whether it is an INVITE whose final response has no ACK.
    pub fn awaits_ack(&self) -> bool {
        matches!(self, Machine::Invite(Invite::Completed { .. } | Invite::Accepted { .. }))
    }

    /// Whether that was its end.
    pub fn step(&mut self, happening: Happening<'_>, act: &mut Actions<'_>) -> bool {
        match self {
            Machine::Invite(state) => {
                *state = take(state, Invite::Terminated).step(happening, act);
                matches!(state, Invite::Terminated)
            }
            Machine::Other(state) => {
                *state = take(state, Other::Terminated).step(happening, act);
                matches!(state, Other::Terminated)
            }
        }
    }
}

/// What happens to a server transaction.
#[derive(Clone, Copy, Debug)]
pub(super) enum Happening<'b> {
    /// The request came again.
    Again,
    /// The owner answers with 100 to 199.
    Provisional(&'b [u8]),
    /// The owner answers with 200 to 299.
    Success(&'b [u8]),
    /// The owner answers with 300 to 699.
    Failure(&'b [u8]),
    /// The ACK came: by this transaction for a failure, by the dialog for a success.
    Ack,
    /// The connection that carried it is no more, or another has taken its place: what goes out goes by a new one
    /// (RFC 3261 §18.2.2).
    SetDown,
    Timer(Timer),
}

/// RFC 3261 Figure 7 as RFC 6026 Figure 5 changes it, where an acknowledged `Accepted` has a name of its own.
#[derive(Debug)]
pub(super) enum Invite {
    /// No final response yet. The last provisional one, empty if there was none.
    Proceeding {
        provisional: Box<[u8]>,
    },
    /// Answered with a failure that waits for its ACK.
    Completed {
        failure: Box<[u8]>,
        repeats: u8,
    },
    /// That ACK came; repeats of it may follow.
    Confirmed,
    /// Answered with a success that the caller has not acknowledged.
    Accepted {
        success: Box<[u8]>,
        repeats: u8,
    },
    /// The caller's ACK reached the dialog; repeats of the INVITE may still be under way.
    Acknowledged,
    Terminated,
}

/// RFC 3261 Figure 8.
#[derive(Debug)]
pub(super) enum Other {
    Trying,
    /// Answered with 100; RFC 4320 §4.1 forbids the other provisional responses.
    Proceeding {
        provisional: Box<[u8]>,
    },
    /// The final response; empty where RFC 4320 §4.2 forbids to send it.
    Completed {
        response: Box<[u8]>,
    },
    Terminated,
}

impl Invite {
    pub fn new() -> Invite {
        Invite::Proceeding { provisional: Box::default() }
    }

    pub fn step(self, happening: Happening<'_>, act: &mut Actions<'_>) -> Invite {
        use Happening::{Ack, Again, Failure, Provisional, SetDown, Success, Timer as Fired};
        use Invite::{Accepted, Acknowledged, Completed, Confirmed, Proceeding, Terminated};
        match (self, happening) {
            (Proceeding { provisional }, Again) => {
                act.repeat(&provisional);
                Proceeding { provisional }
            }
            (Proceeding { provisional }, Provisional(bytes)) => {
                act.send(bytes);
                Proceeding { provisional: kept(provisional, bytes) }
            }
            (Proceeding { .. }, Failure(bytes)) => {
                act.send(bytes);
                if !act.is_reliable() {
                    act.start(Timer::G, act.timers().doubled_to_t2(0));
                }
                act.start(Timer::H, act.timers().patience());
                Completed { failure: bytes.into(), repeats: 0 }
            }
            (Proceeding { .. }, Success(bytes)) => {
                act.send(bytes);
                act.start(Timer::RepeatSuccess, act.timers().doubled_to_t2(0));
                act.start(Timer::L, act.timers().patience());
                Accepted { success: bytes.into(), repeats: 0 }
            }
            (state @ Proceeding { .. }, Ack | SetDown | Fired(_)) => state,

            // It may have been lost with its connection, and nothing else repeats it.
            (Completed { failure, repeats }, Again | SetDown) => {
                act.repeat(&failure);
                Completed { failure, repeats }
            }
            (Completed { failure, repeats }, Fired(Timer::G)) => {
                act.repeat(&failure);
                let repeats = repeats.saturating_add(1);
                act.start(Timer::G, act.timers().doubled_to_t2(repeats));
                Completed { failure, repeats }
            }
            (Completed { .. }, Fired(Timer::H)) => {
                act.tell(Verdict::AckMissing);
                Terminated
            }
            (Completed { .. }, Ack) if act.is_reliable() => Terminated,
            (Completed { .. }, Ack) => {
                act.start(Timer::I, act.timers().t4);
                Confirmed
            }
            (state @ Completed { .. }, Provisional(_) | Success(_) | Failure(_) | Fired(_)) => state,

            (Confirmed, Fired(Timer::I)) => Terminated,
            (Confirmed, Again | Ack | SetDown | Provisional(_) | Success(_) | Failure(_) | Fired(_)) => {
                Confirmed
            }

            // The 2xx goes by its own clock, not once more for each repeated INVITE (RFC 6026 §7.1).
            (state @ Accepted { .. }, Again) => state,
            (Accepted { success, repeats }, SetDown) => {
                act.repeat(&success);
                Accepted { success, repeats }
            }
            (Accepted { success, repeats }, Fired(Timer::RepeatSuccess)) => {
                act.repeat(&success);
                let repeats = repeats.saturating_add(1);
                act.start(Timer::RepeatSuccess, act.timers().doubled_to_t2(repeats));
                Accepted { success, repeats }
            }
            // Timer L still runs, but nothing has to be told at its end any more.
            (Accepted { .. }, Ack) => {
                act.linger(Timer::L);
                Acknowledged
            }
            (Accepted { .. }, Fired(Timer::L)) => {
                act.tell(Verdict::AckMissing);
                Terminated
            }
            (state @ Accepted { .. }, Provisional(_) | Success(_) | Failure(_) | Fired(_)) => state,

            (Acknowledged, Fired(Timer::L)) => Terminated,
            (Acknowledged, Again | Ack | SetDown | Provisional(_) | Success(_) | Failure(_) | Fired(_)) => {
                Acknowledged
            }

            (Terminated, _) => Terminated,
        }
    }
}

impl Other {
    pub fn step(self, happening: Happening<'_>, act: &mut Actions<'_>) -> Other {
        use Happening::{Ack, Again, Failure, Provisional, SetDown, Success, Timer as Fired};
        use Other::{Completed, Proceeding, Terminated, Trying};
        match (self, happening) {
            (Trying, Again) => Trying,
            (Proceeding { provisional }, Again) => {
                act.repeat(&provisional);
                Proceeding { provisional }
            }
            (Trying | Proceeding { .. }, Provisional(bytes)) => {
                act.send(bytes);
                Proceeding { provisional: bytes.into() }
            }
            (Trying | Proceeding { .. }, Success(bytes) | Failure(bytes)) => {
                act.send(bytes);
                if act.is_reliable() {
                    return Terminated;
                }
                act.linger(Timer::J);
                Completed { response: bytes.into() }
            }
            (Trying | Proceeding { .. }, Fired(Timer::Unanswered)) => Terminated,
            (state @ (Trying | Proceeding { .. }), Ack | SetDown | Fired(_)) => state,

            (Completed { response }, Again) => {
                act.repeat(&response);
                Completed { response }
            }
            (Completed { .. }, Fired(Timer::J)) => Terminated,
            (
                state @ Completed { .. },
                Ack | SetDown | Provisional(_) | Success(_) | Failure(_) | Fired(_),
            ) => state,

            (Terminated, _) => Terminated,
        }
    }
}

/// Keeps `bytes` in the place of `before`, in the same memory where they have the same size: a ringing phone's
/// 180 is repeated every minute.
fn kept(mut before: Box<[u8]>, bytes: &[u8]) -> Box<[u8]> {
    if before.len() == bytes.len() {
        before.copy_from_slice(bytes);
        before
    } else {
        bytes.into()
    }
}
