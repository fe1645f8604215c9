//! The door of a call: what can happen to it, what it wants done, and what can wake it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;

use super::Onward;
use super::refusal::Refusal;
use crate::media::event::Digit;
use crate::media::session::Listen;
use crate::number::E164;
use crate::routing::Agent;
use crate::sip::body::Body;
use crate::sip::header::Method;

/// A leg of a call, in the order of its record: 0 is the caller's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LegId(pub u8);

impl LegId {
    pub const CALLER: LegId = LegId(0);

    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// One dialog of a leg whose far side forked: the order in which its To tags were seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fork(pub u8);

/// A dialog of ours, as an agent names it, and who holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inside {
    pub shard: u8,
    /// The Replaces value that names the dialog; empty where it is the other call that came.
    pub replaces: Box<str>,
    /// Whom it reaches, for records: the user part of the URI that named it, or who came.
    pub name: Arc<str>,
}

/// What can happen to a call.
#[derive(Debug)]
pub enum Event {
    /// It has just been admitted: ring somebody.
    Begin,
    /// The caller's CANCEL, with the Reason that it carried.
    CallerCancelled { reason: Option<Box<[u8]>> },
    /// The caller's ACK of our 200, with the answer where ours was the offer.
    CallerAcknowledged { answer: Option<Body> },
    /// That ACK has no answer to the offer that our 200 made, or one of no use (RFC 3261 §13.2.1).
    CallerDidNotAnswer,
    /// No ACK for 64·T1 (RFC 3261 §13.3.1.4).
    CallerNeverAcknowledged,
    /// A reliable provisional response was never PRACKed (RFC 3262 §3).
    CallerNeverPracked,
    /// A called leg.
    Leg(LegId, LegEvent),
    /// BYE of either side, with its Reason; or its dialog is gone.
    HungUp { leg: LegId, why: Gone },
    /// A request within a dialog. `answered`: that is an early one, and our SDP or theirs has answered the INVITE's
    /// offer there, in a reliable response (RFC 3262 §5).
    Asked { leg: LegId, method: Method, body: Option<Body>, answered: bool },
    /// The final response to a request that we passed on to `leg`.
    Replied { leg: LegId, method: Method, code: u16, body: Option<Body> },
    /// The ACK of a re-INVITE that `leg` sent.
    Settled { leg: LegId, answer: Option<Body> },
    /// A side, an agent's, sends the other on (REFER), to somebody whom it may call or may not.
    Refers { by: LegId, to: Result<Box<Onward>, Refusal> },
    /// Another call of ours, as a leg of this one, is to take the place of a side; it has offered this.
    Joins { leg: LegId, replaces: LegId, from: Arc<Inside>, offer: Body },
    /// What we said to a side is said to its end.
    Said { leg: LegId },
    /// A side pressed a key.
    Pressed { leg: LegId, digit: Digit },
    /// What a side says is enough for a message (R10).
    SaidEnough { leg: LegId },
    /// It has said nothing for a while: its message is over (R10).
    FellSilent { leg: LegId },
    /// Nobody has said anything for `rtp_timeout` (R12).
    Silent,
    /// What was to be written down is not: the disk has no room.
    NotKept,
    /// A timer of its own.
    Woke(Timer),
    /// An operator ends the call.
    OperatorHangsUp,
}

/// What can happen to a called leg before it is bridged.
#[derive(Debug)]
pub enum LegEvent {
    /// Its INVITE has left once more: with credentials, with a longer session interval, or in a datagram after all.
    CalledAgain,
    /// A provisional response above 100.
    Progress { code: u16, fork: Fork, body: Option<Body> },
    /// Its first 2xx.
    Answered { fork: Fork, body: Option<Body> },
    /// A final response of 300 or above, with its own Q.850 cause.
    Refused { code: u16, q850: Option<u8>, contacts: Contacts },
    /// No response by Timer B, or no final one after our CANCEL.
    TimedOut,
    /// The transport refused the INVITE, or the connection died before anything was heard.
    Undeliverable,
    /// It has sent a provisional response, and cannot be reached any more; it may answer all the same.
    OutOfReach,
    /// No INVITE left for it: no listener of ours reaches it, or there is no room for the transaction.
    NotCalled,
}

/// Where a 3xx points to, best first.
pub type Contacts = SmallVec<[Redirect; 1]>;

/// One Contact of a 3xx, read against what we know.
#[derive(Clone, Debug)]
pub enum Redirect {
    /// A number, and the address that the Contact names, where that is an address.
    Number { number: E164, host: Option<SocketAddr> },
    /// An agent of ours by name.
    Agent(Arc<Agent>),
}

/// How a dialog of a bridged call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gone {
    /// BYE, with the Q.850 cause of its Reason.
    Bye { q850: Option<u8> },
    /// It answered 408 or 481, or nothing (RFC 3261 §12.2.1.2, RFC 4028 §10).
    Lost,
}

/// What a call wants done, in this order.
#[derive(Debug)]
pub enum Action {
    /// Send the leg's INVITE; its entry in the call says where to and as whom.
    Invite(LegId),
    /// End a leg that has not answered: CANCEL after its first 1xx (RFC 3261 §9.1); a 200 that crosses it
    /// is acknowledged and ended with BYE.
    Cancel {
        leg: LegId,
        why: Why,
    },
    /// Acknowledge the leg's 2xx.
    Acknowledge {
        leg: LegId,
        answer: Answer,
    },
    /// End the leg's dialog.
    Bye {
        leg: LegId,
        why: Why,
    },
    /// 180 without SDP to the caller.
    Ring,
    /// The first leg rings: those who follow the call hear of it.
    Announce,
    /// A leg's own progress to the caller, in a dialog of its own.
    Progress {
        code: u16,
        leg: LegId,
        fork: Fork,
        body: Option<Body>,
    },
    /// 200 to the caller.
    Accept {
        leg: LegId,
        fork: Fork,
        body: Option<Body>,
    },
    /// A final response to the caller.
    Refuse {
        code: u16,
        q850: Option<u8>,
    },
    /// Send a request within the dialog of `leg`.
    PassOn {
        leg: LegId,
        method: Method,
        body: Option<Body>,
    },
    /// Send a re-INVITE of our own to `leg`: it is to be joined with another. Its answer is a [`Event::Replied`].
    Offer {
        leg: LegId,
        body: Body,
    },
    /// Give up the re-INVITE to that side, ours or the other side's, which it has not answered: CANCEL (RFC 3261 §9.1).
    /// What comes of it is a [`Event::Replied`] still.
    Withdraw(LegId),
    /// Wait out a glare with `leg` (RFC 3261 §14.1), then wake the call.
    Pause {
        leg: LegId,
        timer: Timer,
    },
    /// Tell who sent the other side on how far that is (RFC 3515 §2.4.5); 200 and above is the last of it.
    Report {
        code: u16,
        q850: Option<u8>,
        why: Option<&'static str>,
    },
    /// A side is out, and the call goes on without it: what it still asks and is asked is answered. What a caller held
    /// among the calls of its agent is free.
    Leaves(LegId),
    /// Answer the request that `leg` sent.
    Reply {
        leg: LegId,
        method: Method,
        code: u16,
        body: Option<Body>,
    },
    /// ACK the 2xx of a re-INVITE that we passed on to `leg`.
    Settle {
        leg: LegId,
        answer: Option<Body>,
    },
    /// A side hears this in place of whatever it hears; `again`: over and over, after such a pause.
    Say {
        leg: LegId,
        what: Spoken,
        again: Option<Duration>,
    },
    /// We say nothing more to it.
    Hush(LegId),
    /// Write down what the caller and this leg say (R7).
    Record(LegId),
    /// Take a message of the caller's (R10).
    TakeMessage(Listen),
    /// It is none: nothing of it is kept.
    DiscardMessage,
    Start(Timer, Duration),
    Stop(Timer),
    /// The 200 is on its way: the journal hears of it before the disk does (R12).
    Journal,
    /// The call is over: write its record.
    Close,
}

/// What the ACK of a leg's 2xx says.
#[derive(Debug)]
pub enum Answer {
    /// Nothing: the 2xx answered our offer.
    None,
    /// The caller's answer to the leg's offer.
    Of(Body),
    /// Every stream of the leg's offer refused (RFC 3264 §6).
    RefuseAll,
}

/// Why we end a leg: its Reason header (RFC 3326).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// Another leg of this call was bridged.
    Elsewhere,
    /// Ring timeout, voicemail, or the caller is gone.
    NoAnswer,
    /// The caller's own Reason, carried on.
    Carried(Box<[u8]>),
    /// The other side hung up, with this Q.850 cause.
    Normal(u8),
    /// A limit of ours, an operator, or a peer that is lost.
    Ours(u8),
}

/// What we say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Spoken {
    /// The number's `whisper`.
    Whisper,
    /// "Press 1 to accept."
    PressOne,
    /// The number's `record_notice` (R7).
    Notice,
    /// Of its voicemail, and the tone after it (R10).
    Greeting,
    Tone,
}

impl Spoken {
    /// So much silence before it: phones lose the first words of who speaks at once.
    pub const fn after(self) -> Duration {
        match self {
            Spoken::Greeting => Duration::from_millis(300),
            Spoken::Whisper | Spoken::PressOne | Spoken::Notice | Spoken::Tone => Duration::ZERO,
        }
    }
}

/// What can wake a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Timer {
    /// The caller's `Expires`, counted from its INVITE (RFC 3261 §13.3.1).
    Expires,
    /// The step's `timeout`, counted from its first INVITE (R8).
    RingTimeout,
    /// `assigned_head_start` is over: the others ring too (R3.2).
    HeadStart,
    /// The time to press 1, from the first "press 1" on (R6).
    Confirm(LegId),
    /// No 1xx from this gateway within `try_timeout` of its last INVITE while another is left (R14).
    TryTimeout(LegId),
    /// The caller's 180 is repeated every 60 s (RFC 3261 §13.3.1.1).
    RepeatRinging,
    /// `max_seconds` of a message, from the tone's end on (R10).
    Message,
    /// `max_call_seconds` after the bridge (R12).
    MaxCall,
    /// Both sides had offered at once: our re-INVITE goes out once more (RFC 3261 §14.1).
    Rejoin,
    /// Our re-INVITE has waited long enough for its final response (R11).
    Joining,
    /// Who is to be joined has waited long enough for the end of an offer between those who talk (R11).
    Waiting,
    /// A re-INVITE that we passed on has waited long enough for its final response (R12).
    Asking,
}
