//! Client transactions: our requests, and the answers of others (RFC 3261 §17.1, §9.1, RFC 6026 §8.4).

use std::mem::replace as take;

use super::actions::{Actions, Verdict};
use super::{Id, Response, Timer, derived};
use crate::sip::header::Method;
use crate::sip::peer::{Peer, Transport, Undelivered};
use crate::sip::wire::Message;

/// A client transaction. What lingers after the end of its call is this, and over UDP the ACK of a failure.
#[derive(Debug)]
pub(super) struct Client<O> {
    pub owner: O,
    /// Its place among those without a final response, while it has none.
    pub unanswered: Option<u32>,
    pub role: Role,
}

#[derive(Debug)]
pub(super) enum Role {
    /// Its branch is given out, its request is being written.
    Reserved,
    Invite {
        to: Peer,
        state: Invite,
        /// The transaction of its CANCEL, which lives no longer than this.
        cancel: Option<Id>,
    },
    Other {
        to: Peer,
        state: Other,
        method: Method,
    },
    /// The CANCEL of an INVITE: nobody above hears of it.
    Cancel {
        to: Peer,
        state: Other,
    },
}

impl Role {
    /// Sends the request.
    pub fn send(method: Method, bytes: &[u8], to: Peer, act: &mut Actions<'_>) -> Role {
        if method == Method::Invite {
            Role::Invite { to, state: Invite::send(bytes, act), cancel: None }
        } else {
            Role::Other { to, state: Other::send(bytes, act), method }
        }
    }

    /// Whether that was its end.
    pub fn step(&mut self, happening: Happening<'_>, act: &mut Actions<'_>) -> bool {
        match self {
            Role::Reserved => false,
            Role::Invite { state, .. } => {
                *state = take(state, Invite::Terminated).step(happening, act);
                matches!(state, Invite::Terminated)
            }
            // Timer E says it again: whoever is back before F hears it.
            Role::Cancel { .. } if matches!(happening, Happening::Undeliverable(_)) && !act.is_reliable() => {
                false
            }
            Role::Other { state, .. } | Role::Cancel { state, .. } => {
                *state = take(state, Other::Terminated).step(happening, act);
                matches!(state, Other::Terminated)
            }
        }
    }

    /// Whether it is an INVITE that has its 2xx.
    pub fn is_accepted(&self) -> bool {
        matches!(self, Role::Invite { state: Invite::Accepted, .. })
    }

    pub fn is_cancel(&self) -> bool {
        matches!(self, Role::Cancel { .. })
    }

    /// Whom the request went to.
    pub fn peer(&self) -> Option<Peer> {
        match self {
            Role::Reserved => None,
            Role::Invite { to, .. } | Role::Other { to, .. } | Role::Cancel { to, .. } => Some(*to),
        }
    }

    /// The request, while it has no final response and was not given up.
    pub fn request(&self) -> Option<&[u8]> {
        match self {
            Role::Invite {
                state: Invite::Calling { request, .. } | Invite::Proceeding { request }, ..
            }
            | Role::Other { state: Other::Trying { request, .. } | Other::Proceeding { request }, .. } => {
                Some(request)
            }
            Role::Invite {
                state:
                    Invite::GivenUp { .. }
                    | Invite::Cancelling { .. }
                    | Invite::Completed { .. }
                    | Invite::Accepted
                    | Invite::Terminated,
                ..
            }
            | Role::Other { state: Other::Completed | Other::Terminated, .. }
            | Role::Cancel { .. }
            | Role::Reserved => None,
        }
    }

    /// Whether it is an INVITE to which nothing at all has come.
    pub fn is_unheard(&self) -> bool {
        matches!(self, Role::Invite { state: Invite::Calling { .. } | Invite::GivenUp { .. }, .. })
    }

    /// Whether its request went out and has no final response.
    pub fn is_pending(&self) -> bool {
        match self {
            Role::Reserved => false,
            Role::Invite { state, .. } => state.is_pending(),
            Role::Other { state, .. } | Role::Cancel { state, .. } => state.is_pending(),
        }
    }

    /// The connection that its request went by is gone: what is yet to go, its CANCEL and ACK, goes to the address. Where
    /// nothing has come back the request itself does (RFC 3261 §18.4): where to, and the request. Once for the flow,
    /// and once for a connection of the address that was closed before it had read it.
    pub fn goes_anew(&mut self, why: Undelivered) -> Option<(Peer, &[u8])> {
        let (to, again) = match self {
            Role::Invite { to, state: Invite::Calling { request, repeats }, .. } => {
                (to, Some((request, repeats)))
            }
            Role::Invite {
                to,
                state: Invite::GivenUp { .. } | Invite::Proceeding { .. } | Invite::Cancelling { .. },
                ..
            } => (to, None),
            Role::Other { to, state: Other::Trying { request, repeats }, .. }
            | Role::Cancel { to, state: Other::Trying { request, repeats } } => {
                (to, Some((request, repeats)))
            }
            Role::Invite { .. } | Role::Other { .. } | Role::Cancel { .. } | Role::Reserved => return None,
        };
        // Browsers cannot be called (RFC 7118 §5).
        if !matches!(to.transport, Transport::Tcp | Transport::Tls) {
            return None;
        }
        let leaves = to.flow.take().is_some();
        let (request, repeats) = again?;
        if !leaves {
            if why != Undelivered::Closed || *repeats > 0 {
                return None;
            }
            *repeats += 1;
        }
        Some((*to, request))
    }

    /// Whoever rings is reached by that peer from now on. The request, where a CANCEL of it has gone: that is to go there.
    pub fn moves_to(&mut self, peer: Peer) -> Option<&[u8]> {
        let Role::Invite { to, state, .. } = self else { return None };
        match state {
            Invite::Proceeding { .. } => {
                *to = peer;
                None
            }
            Invite::Cancelling { request } => {
                *to = peer;
                Some(request)
            }
            // What nothing has answered is repeated where it went; what has its answer says no more.
            Invite::Calling { .. }
            | Invite::GivenUp { .. }
            | Invite::Completed { .. }
            | Invite::Accepted
            | Invite::Terminated => None,
        }
    }

    /// Whether it waits for a final response over that connection, or from that address where it has none.
    pub fn waits_for(&self, peer: &Peer) -> bool {
        let is_route = |to: Peer| match (to.flow, peer.flow) {
            (None, None) => (to.transport, to.addr, to.name) == (peer.transport, peer.addr, peer.name),
            (mine, theirs) => mine == theirs,
        };
        self.is_pending() && self.peer().is_some_and(is_route)
    }
}

/// What happens to a client transaction.
#[derive(Clone, Copy, Debug)]
pub(super) enum Happening<'m> {
    /// 100 to 199.
    Provisional,
    /// 200 to 299.
    Success,
    /// 300 to 699.
    Failure(&'m Message<'m>),
    /// The owner gives the INVITE up; the value of a Reason header goes along.
    Cancel(Option<&'m [u8]>),
    /// The transport could not deliver (RFC 3261 §17.1.4).
    Undeliverable(Undelivered),
    Timer(Timer),
}

/// RFC 3261 Figure 5 as RFC 6026 Figure 3 changes it, with CANCEL (§9.1) in states of its own.
#[derive(Debug)]
pub(super) enum Invite {
    /// Sent; nothing came back.
    Calling {
        request: Box<[u8]>,
        repeats: u8,
    },
    /// The same, and given up: the CANCEL waits for the first response.
    GivenUp {
        request: Box<[u8]>,
        repeats: u8,
        cancel: Box<[u8]>,
    },
    /// A provisional response came.
    Proceeding {
        request: Box<[u8]>,
    },
    /// A provisional response came, and our CANCEL went.
    Cancelling {
        request: Box<[u8]>,
    },
    /// A failure came and got its ACK, which its repeats get again.
    Completed {
        ack: Box<[u8]>,
    },
    /// A success came; the same one again, and those of other branches, may follow.
    Accepted,
    Terminated,
}

/// RFC 3261 Figure 6.
#[derive(Debug)]
pub(super) enum Other {
    Trying {
        request: Box<[u8]>,
        repeats: u8,
    },
    Proceeding {
        request: Box<[u8]>,
    },
    /// A final response came; repeats of it may follow.
    Completed,
    Terminated,
}

impl Invite {
    pub fn send(request: &[u8], act: &mut Actions<'_>) -> Invite {
        act.send(request);
        if !act.is_reliable() {
            act.start(Timer::A, act.timers().doubled(0));
        }
        act.start(Timer::B, act.timers().patience());
        Invite::Calling { request: request.into(), repeats: 0 }
    }

    // A state table.
    pub fn step(self, happening: Happening<'_>, act: &mut Actions<'_>) -> Invite {
        use Happening::{Cancel, Failure, Provisional, Success, Timer as Fired, Undeliverable};
        use Invite::{Accepted, Calling, Cancelling, Completed, GivenUp, Proceeding, Terminated};
        match (self, happening) {
            (Calling { request, repeats }, Fired(Timer::A)) => {
                Calling { repeats: repeat_invite(&request, repeats, act), request }
            }
            (GivenUp { request, repeats, cancel }, Fired(Timer::A)) => {
                GivenUp { repeats: repeat_invite(&request, repeats, act), request, cancel }
            }
            (Calling { .. } | GivenUp { .. }, Fired(Timer::B)) => {
                act.tell(Verdict::TimedOut);
                Terminated
            }
            (Calling { request, .. } | Proceeding { request }, Provisional) => {
                act.hand_up(Response::Provisional);
                Proceeding { request }
            }
            (GivenUp { request, cancel, .. }, Provisional) => {
                act.hand_up(Response::Provisional);
                send_cancel(cancel, act);
                Cancelling { request }
            }
            (Cancelling { request }, Provisional) => {
                act.hand_up(Response::Provisional);
                Cancelling { request }
            }

            (Calling { request, repeats }, Cancel(reason)) => {
                GivenUp { cancel: derived::cancel(&request, reason), request, repeats }
            }
            (Proceeding { request }, Cancel(reason)) => {
                send_cancel(derived::cancel(&request, reason), act);
                Cancelling { request }
            }
            (Cancelling { .. }, Fired(Timer::CancelUnheard)) => {
                act.tell(Verdict::TimedOut);
                Terminated
            }

            (Calling { .. } | GivenUp { .. } | Proceeding { .. } | Cancelling { .. }, Success) => {
                act.hand_up(Response::Success { first: true });
                act.start(Timer::M, act.timers().patience());
                Accepted
            }
            (
                Calling { request, .. }
                | GivenUp { request, .. }
                | Proceeding { request }
                | Cancelling { request },
                Failure(response),
            ) => {
                act.hand_up(Response::Failure);
                let ack = derived::ack(&request, response);
                act.send(&ack);
                if act.is_reliable() {
                    return Terminated;
                }
                act.linger(Timer::D);
                Completed { ack }
            }
            // It may have been read: who rings says so by a new connection, and gets its CANCEL.
            (state @ GivenUp { .. }, Undeliverable(Undelivered::Closed)) => state,
            (Calling { .. } | GivenUp { .. }, Undeliverable(why)) => {
                act.tell(Verdict::Undeliverable(why));
                Terminated
            }
            // It was delivered: what was not is another message, or the connection is gone by which it went. Its answer
            // may come by a new one (RFC 3261 §18.2.2), and Figure 5 knows of no transport error here.
            (Proceeding { request }, Undeliverable(_)) => {
                act.tell(Verdict::OutOfReach);
                Proceeding { request }
            }
            (state @ Cancelling { .. }, Undeliverable(_)) => state,
            (
                state @ (Calling { .. } | GivenUp { .. } | Proceeding { .. } | Cancelling { .. }),
                Cancel(_) | Fired(_),
            ) => state,

            (Completed { ack }, Failure(_)) => {
                act.heard_again();
                act.repeat(&ack);
                Completed { ack }
            }
            // A proxy that forked passes every 2xx on, after a failure too (RFC 3261 §16.7 step 5). Its owner
            // ends what it began.
            (Completed { ack }, Success) => {
                act.hand_up(Response::Success { first: true });
                Completed { ack }
            }
            (Completed { .. }, Fired(Timer::D)) => Terminated,
            (state @ Completed { .. }, Provisional | Cancel(_) | Undeliverable(_) | Fired(_)) => state,

            (Accepted, Success) => {
                act.heard_again();
                act.hand_up(Response::Success { first: false });
                Accepted
            }
            (Accepted, Fired(Timer::M)) => Terminated,
            (Accepted, Provisional | Failure(_) | Cancel(_) | Undeliverable(_) | Fired(_)) => Accepted,

            (Terminated, _) => Terminated,
        }
    }

    /// Whether no final response came yet.
    pub fn is_pending(&self) -> bool {
        match self {
            Invite::Calling { .. }
            | Invite::GivenUp { .. }
            | Invite::Proceeding { .. }
            | Invite::Cancelling { .. } => true,
            Invite::Completed { .. } | Invite::Accepted | Invite::Terminated => false,
        }
    }
}

/// Timer A: once more, and in twice the time again. Returns how often it was repeated.
fn repeat_invite(request: &[u8], repeats: u8, act: &mut Actions<'_>) -> u8 {
    act.repeat(request);
    let repeats = repeats.saturating_add(1);
    act.start(Timer::A, act.timers().doubled(repeats));
    repeats
}

fn send_cancel(cancel: Box<[u8]>, act: &mut Actions<'_>) {
    act.start(Timer::CancelUnheard, act.timers().patience());
    act.cancel = Some(cancel);
}

impl Other {
    pub fn send(request: &[u8], act: &mut Actions<'_>) -> Other {
        act.send(request);
        if !act.is_reliable() {
            act.start(Timer::E, act.timers().doubled_to_t2(0));
        }
        act.start(Timer::F, act.timers().patience());
        Other::Trying { request: request.into(), repeats: 0 }
    }

    pub fn step(self, happening: Happening<'_>, act: &mut Actions<'_>) -> Other {
        use Happening::{Cancel, Failure, Provisional, Success, Timer as Fired, Undeliverable};
        use Other::{Completed, Proceeding, Terminated, Trying};
        match (self, happening) {
            (Trying { request, repeats }, Fired(Timer::E)) => {
                act.repeat(&request);
                let repeats = repeats.saturating_add(1);
                act.start(Timer::E, act.timers().doubled_to_t2(repeats));
                Trying { request, repeats }
            }
            (Proceeding { request }, Fired(Timer::E)) => {
                act.repeat(&request);
                act.start(Timer::E, act.timers().t2);
                Proceeding { request }
            }
            (Trying { .. } | Proceeding { .. }, Fired(Timer::F)) => {
                act.tell(Verdict::TimedOut);
                Terminated
            }
            (Trying { request, .. } | Proceeding { request }, Provisional) => {
                act.hand_up(Response::Provisional);
                Proceeding { request }
            }
            (Trying { .. } | Proceeding { .. }, Success) => {
                act.hand_up(Response::Success { first: true });
                answered(act)
            }
            (Trying { .. } | Proceeding { .. }, Failure(_)) => {
                act.hand_up(Response::Failure);
                answered(act)
            }
            (Trying { .. } | Proceeding { .. }, Undeliverable(why)) => {
                act.tell(Verdict::Undeliverable(why));
                Terminated
            }
            (state @ (Trying { .. } | Proceeding { .. }), Cancel(_) | Fired(_)) => state,

            (Completed, Success | Failure(_)) => {
                act.heard_again();
                Completed
            }
            (Completed, Fired(Timer::K)) => Terminated,
            (Completed, Provisional | Cancel(_) | Undeliverable(_) | Fired(_)) => Completed,

            (Terminated, _) => Terminated,
        }
    }

    /// Whether no final response came yet.
    pub fn is_pending(&self) -> bool {
        match self {
            Other::Trying { .. } | Other::Proceeding { .. } => true,
            Other::Completed | Other::Terminated => false,
        }
    }
}

fn answered(act: &mut Actions<'_>) -> Other {
    if act.is_reliable() {
        return Other::Terminated;
    }
    act.start(Timer::K, act.timers().t4);
    Other::Completed
}
