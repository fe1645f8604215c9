//! Where a call and its dialogs live in the shard.

use bytes::Bytes;
use smallvec::SmallVec;

use super::abilities::Abilities;
use super::anchor::Anchor;
use super::binding::Phone;
use super::challenged::Login;
use super::errand::AskKey;
use super::names::{CallIdText, SlotKey};
use super::story::{Story, What};
use crate::call::Call;
use crate::call::event::{Fork, LegId, Timer, Why};
use crate::call::story::Way;
use crate::media::event::Digit;
use crate::sip::body::Body;
use crate::sip::build::AnswerHead;
use crate::sip::dialog::Dialog;
use crate::sip::header::Method;
use crate::sip::peer::Peer;
use crate::sip::session::Session;
use crate::sip::transaction;
use crate::sip::wire::Kept;
use crate::time::Instant;

/// Whom a transaction belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// The caller's INVITE.
    Caller(SlotKey),
    /// The same, refused: who called is a phone, which may take a further connection to hear so.
    Refused(SlotKey),
    /// A request that a side sent within its dialog.
    Asked(SlotKey, LegId),
    /// Our INVITE to a leg.
    Leg(SlotKey, LegId),
    /// A request that we passed on to a side.
    Passed(SlotKey, LegId),
    /// A re-INVITE of our own to a side that is joined with another.
    Offered(SlotKey, LegId),
    /// The same, or a re-INVITE that we passed on, after our CANCEL.
    Withdrawn(SlotKey, LegId),
    /// Our NOTIFY to who sent the other side on.
    Notified(SlotKey, LegId),
    /// Our session refresh.
    Refresh(SlotKey, LegId),
    /// Our in-dialog OPTIONS.
    KeepAlive(SlotKey, LegId),
    /// Our INFO that tells a side of a key.
    Keyed(SlotKey, LegId, Digit),
    /// Our PRACK, within the dialog of that fork.
    Pracked(SlotKey, LegId, Fork),
    /// Our BYE: what crosses it is still answered.
    Leaving(SlotKey, LegId),
    /// A request of ours outside any dialog.
    Ask(AskKey),
    /// Nobody waits for its end: refusals.
    Nobody,
}

/// What wakes a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Wake {
    /// A timer of the call itself.
    Call(Timer),
    /// The session timer of a side: our refresh, or its end (RFC 4028 §10).
    Session(LegId),
    /// In-dialog OPTIONS to a side without session timers (R12).
    KeepAlive(LegId),
    /// A reliable provisional response is repeated (RFC 3262 §3).
    RepeatReliable,
    /// A record has waited long enough for what was heard of its call.
    Record,
    /// Whether a side's phone, which has not acknowledged our final answer or CANCEL, has come to another connection.
    Follow(LegId),
}

impl Wake {
    /// As ladders and `call <id>` print it.
    pub const fn name(self) -> (&'static str, Option<LegId>) {
        match self {
            Wake::Call(Timer::Expires) => ("Expires", None),
            Wake::Call(Timer::RingTimeout) => ("RingTimeout", None),
            Wake::Call(Timer::HeadStart) => ("HeadStart", None),
            Wake::Call(Timer::TryTimeout(leg)) => ("TryTimeout", Some(leg)),
            Wake::Call(Timer::Confirm(leg)) => ("Confirm", Some(leg)),
            Wake::Call(Timer::Message) => ("Message", None),
            Wake::Call(Timer::RepeatRinging) => ("RepeatRinging", None),
            Wake::Call(Timer::MaxCall) => ("MaxCall", None),
            Wake::Call(Timer::Rejoin) => ("Rejoin", None),
            Wake::Call(Timer::Joining) => ("Joining", None),
            Wake::Call(Timer::Waiting) => ("Waiting", None),
            Wake::Call(Timer::Asking) => ("Asking", None),
            Wake::Session(leg) => ("Session", Some(leg)),
            Wake::KeepAlive(leg) => ("KeepAlive", Some(leg)),
            Wake::RepeatReliable => ("RepeatReliable", None),
            Wake::Record => ("Record", None),
            Wake::Follow(leg) => ("Follow", Some(leg)),
        }
    }
}

/// A timer that is set.
#[derive(Clone, Copy, Debug)]
pub struct Armed {
    pub wake: Wake,
    pub at: Instant,
    /// Which setting of it: one that was set anew does not fire for the old.
    pub turn: u32,
}

/// One call of the shard, and what its dialogs still owe after it is over.
#[derive(Debug)]
pub struct Slot {
    pub key: SlotKey,
    /// `None` once it is over.
    pub call: Option<Box<Call>>,
    /// Until the caller's INVITE has its final response.
    pub opening: Option<Box<Opening>>,
    pub caller: CallerSide,
    /// None: its audio passes us by, or its record is written.
    pub anchor: Option<Box<Anchor>>,
    pub legs: SmallVec<[CalledSide; 1]>,
    pub armed: SmallVec<[Armed; 3]>,
    /// Requests that a side sent and that await our answer, or the ACK of it.
    pub asked: Vec<Asked>,
    pub story: Story,
    /// Transactions that can still bring something to do.
    pub pins: u16,
    /// It counts among the ringing calls of its caller.
    pub counted: bool,
    /// Our 200 went to the caller: a leg was bridged.
    pub bridged: bool,
}

/// A REFER, and what its sender is told (RFC 3515).
#[derive(Debug)]
pub struct Referral {
    pub by: LegId,
    /// What the INVITE to its target begins with.
    pub request: Kept,
    pub subscription: Subscription,
    /// The dialog of a sender that has hung up: what it is told goes by that.
    pub dialog: Option<Box<Dialog>>,
    /// The sides that have sent one, this one included.
    pub senders: SmallVec<[LegId; 2]>,
}

/// Whether the sender of a REFER is told what becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subscription {
    /// It wants to hear nothing (RFC 4488), or has heard the last of it.
    None,
    /// `id`: the CSeq of its REFER, where that was not the first of the dialog (RFC 3515 §2.4.6). `told`: the last
    /// status; `progress`: how many so far.
    Active { id: Option<u32>, told: u16, progress: u8 },
}

/// What the caller's INVITE left for its answers and for the legs' INVITEs.
#[derive(Debug)]
pub struct Opening {
    pub invite: Kept,
    /// What our responses begin with.
    pub head: AnswerHead,
    /// The dialog that our 2xx makes; it gets the tag that is ours then.
    pub dialog: Box<Dialog>,
}

/// How a side's INVITE transaction stands, and with it its dialog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stage {
    /// No final response yet.
    Early,
    /// A leg that we gave up: whatever 2xx comes is acknowledged and ended.
    Abandoned(Why),
    /// 2xx sent or received, its ACK outstanding. A BYE of ours to the caller waits for that ACK
    /// (RFC 3261 §15).
    Accepted {
        bye: Option<Why>,
    },
    Confirmed,
    /// Ended: BYE sent or received, or a final response of 300 or above.
    Gone,
}

/// What either side of a call has.
#[derive(Debug)]
pub struct Side {
    pub stage: Stage,
    pub dialog: Option<Box<Dialog>>,
    /// The dialog that our BYE ends, until its transaction is over: theirs may have crossed it (RFC 5407 §3.2.1).
    pub left: Option<Box<Dialog>>,
    pub session: Option<Session>,
    /// When a 2xx last refreshed the session: what it ends by (RFC 4028 §10).
    pub refreshed: Instant,
    /// Our refresh, or another re-INVITE of our own, that awaits its final response.
    pub refresh: Option<(transaction::Id, Method)>,
    /// How often in a row our refresh has been put off, or our OPTIONS could not be delivered.
    pub put_off: u8,
    /// UPDATE in its Allow (RFC 3311).
    pub allows_update: bool,
    /// CSeq of the INVITE that made the dialog, or of the last re-INVITE that we sent.
    pub invite_seq: u32,
    /// The ACKs of the last 2xx that we got, to be repeated with them.
    pub acks: SmallVec<[Acknowledgement; 1]>,
    /// The fork that was answered.
    pub fork: Fork,
    /// The far side's offer that awaits an answer in our ACK (delayed offer).
    pub offer: Option<Body>,
    /// The last INVITE that we sent left the offer to the far side.
    pub asked_for_offer: bool,
}

/// An ACK as it was sent, and where to.
#[derive(Debug)]
pub struct Acknowledgement {
    pub cseq: u32,
    pub fork: Fork,
    pub to: Peer,
    pub bytes: Box<[u8]>,
}

impl Acknowledgement {
    /// Where it goes once more, for a response from there: over a stream back by that, for its own connection may be gone.
    pub fn again_to(&self, from: Peer) -> Peer {
        let flow = if self.to.transport.is_reliable() { from.flow } else { self.to.flow };
        Peer { flow, ..self.to }
    }
}

/// How many ACKs a side keeps: re-INVITEs that follow each other faster than that within 64·T1 are no conversation.
const MAX_ACKS: usize = 8;

impl Side {
    pub fn keep_ack(&mut self, ack: Acknowledgement) {
        if self.acks.len() >= MAX_ACKS {
            self.acks.remove(0);
        }
        self.acks.push(ack);
    }

    /// The ACK that this 2xx had, if it has left.
    pub fn ack_of(&self, cseq: u32, fork: Fork) -> Option<&Acknowledgement> {
        self.acks.iter().find(|ack| ack.cseq == cseq && ack.fork == fork)
    }

    /// Whether an INVITE of ours refreshes its session: no other may go there, nor come from there, in the
    /// meantime (RFC 3261 §14.1).
    pub fn refreshes_by_invite(&self) -> bool {
        self.refresh.is_some_and(|(_, method)| method == Method::Invite)
    }

    pub fn new(invite_seq: u32) -> Self {
        Side {
            stage: Stage::Early,
            dialog: None,
            left: None,
            session: None,
            refreshed: Instant::ZERO,
            refresh: None,
            put_off: 0,
            allows_update: false,
            invite_seq,
            acks: SmallVec::new(),
            fork: Fork(0),
            offer: None,
            asked_for_offer: false,
        }
    }
}

/// The caller.
#[derive(Debug)]
pub struct CallerSide {
    pub side: Side,
    pub transaction: transaction::Id,
    pub peer: Peer,
    pub call_id: Box<[u8]>,
    pub remote_tag: Box<[u8]>,
    /// Which leg's SDP each To tag of ours stands for, by its number.
    pub tags: SmallVec<[(LegId, Fork); 1]>,
    /// RFC 3262: whether the caller can, or insists.
    pub reliability: Reliability,
    pub rseq: u32,
    /// The To tags of ours, a bit each, whose dialog has had SDP of ours in a reliable response.
    pub answered: u32,
    /// CSeq of the caller's last request in an early dialog.
    pub remote_seq: u32,
    /// What few callers have.
    pub rare: Option<Box<Rare>>,
}

/// What is special about a caller.
#[derive(Debug, Default)]
pub struct Rare {
    pub reliable: Option<Reliable>,
    /// How the challenges of the trunk that it came in on are answered: that one alone, whatever its address.
    pub login: Option<Login>,
    /// It is a phone that called by a connection that it had registered by.
    pub phone: Option<Phone>,
}

impl CallerSide {
    pub fn reliable(&mut self) -> Option<&mut Reliable> {
        self.rare.as_deref_mut()?.reliable.as_mut()
    }

    pub fn take_reliable(&mut self) -> Option<Reliable> {
        let reliable = self.rare.as_deref_mut()?.reliable.take();
        self.rare.take_if(|rare| rare.login.is_none() && rare.phone.is_none());
        reliable
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reliability {
    No,
    Supported,
    Required,
}

/// A reliable provisional response that awaits its PRACK, and what waits behind it.
#[derive(Debug)]
pub struct Reliable {
    pub rseq: u32,
    pub bytes: Box<[u8]>,
    pub to: Peer,
    pub began: Instant,
    pub interval: std::time::Duration,
    pub has_sdp: bool,
    pub waiting: SmallVec<[Waiting; 1]>,
}

/// A response to the caller that a PRACK holds up (RFC 3262 §3).
#[derive(Debug)]
pub enum Waiting {
    Provisional { code: u16, tag: u8, body: Option<Body> },
    Accept { tag: u8, body: Option<Body> },
}

/// A called leg.
#[derive(Debug)]
pub struct CalledSide {
    pub side: Side,
    pub transaction: Option<transaction::Id>,
    pub call_id: CallIdText,
    pub peer: Peer,
    /// The far side's dialogs by To tag.
    pub forks: SmallVec<[ForkSeen; 1]>,
    /// The ACKs of 2xx that joined nobody, to be repeated with them.
    pub stray_acks: SmallVec<[Acknowledgement; 0]>,
    /// What few legs have.
    pub special: Option<Box<Special>>,
}

impl CalledSide {
    /// One that came to take another's place, with its dialog.
    pub fn joining(call_id: CallIdText, peer: Peer, dialog: Dialog) -> Self {
        let side = Side { stage: Stage::Confirmed, dialog: Some(Box::new(dialog)), ..Side::new(0) };
        CalledSide { side, call_id, ..CalledSide::uncalled(peer) }
    }
}

/// What is special about a leg.
#[derive(Debug, Default)]
pub struct Special {
    /// It is a phone that has registered, or another call of ours, and is reached by nothing else.
    pub pinned: bool,
    /// Our INVITE left the offer to it (RFC 3261 §13.2.1).
    pub delayed: bool,
    /// A Min-SE of its own, after a 422 (RFC 4028 §7.4).
    pub min_se: Option<u32>,
    /// How its carrier's challenges are answered.
    pub login: Option<Login>,
    /// It is a phone that is reached by a connection that it has registered by.
    pub phone: Option<Phone>,
}

/// One To tag of a leg that may fork.
#[derive(Debug)]
pub struct ForkSeen {
    pub fork: Fork,
    pub tag: SmallVec<[u8; 32]>,
    /// Made for a reliable response: PRACK needs it.
    pub early: Option<Box<Dialog>>,
    /// RSeq of the last reliable response (RFC 3262 §4).
    pub rseq: u32,
    /// One of them had SDP.
    pub answered: bool,
}

/// A request within a dialog that we have not answered, or whose answer is not acknowledged.
#[derive(Debug)]
pub struct Asked {
    pub leg: LegId,
    pub method: Method,
    pub transaction: transaction::Id,
    pub cseq: u32,
    /// Where it came from, or its phone is since.
    pub from: Peer,
    /// The request itself, for the answer; empty once answered.
    pub request: Bytes,
    /// A re-INVITE without SDP: our 200 makes the offer.
    pub wants_offer: bool,
    /// The transaction by which we passed it on.
    pub passed: Option<transaction::Id>,
}

impl Slot {
    pub fn side(&mut self, leg: LegId) -> Option<&mut Side> {
        if leg == LegId::CALLER {
            return Some(&mut self.caller.side);
        }
        self.legs.get_mut(leg.index() - 1).map(|leg| &mut leg.side)
    }

    /// A side's dialog; the caller's, until it is answered, is the one that our 2xx will make.
    pub fn dialog_of(&mut self, leg: LegId) -> Option<&mut Dialog> {
        match &mut self.opening {
            Some(opening) if leg == LegId::CALLER => Some(&mut opening.dialog),
            Some(_) | None => match leg.index().checked_sub(1) {
                Some(at) => self.legs.get_mut(at)?.side.dialog.as_deref_mut(),
                None => self.caller.side.dialog.as_deref_mut(),
            },
        }
    }

    /// How a side's challenges are answered: an agent's never are.
    pub fn login(&mut self, leg: LegId) -> Option<&mut Login> {
        match leg.index().checked_sub(1) {
            None => self.caller.rare.as_deref_mut()?.login.as_mut(),
            Some(at) => self.legs.get_mut(at)?.login(),
        }
    }

    /// A side's phone, where that is reached by a connection.
    pub fn phone(&mut self, leg: LegId) -> Option<&mut Phone> {
        match leg.index().checked_sub(1) {
            None => self.caller.rare.as_deref_mut()?.phone.as_mut(),
            Some(at) => self.legs.get_mut(at)?.special.as_deref_mut()?.phone.as_mut(),
        }
    }

    /// Its phone is reached there from now on.
    pub fn moves_to(&mut self, leg: LegId, peer: Peer) {
        if let Some(dialog) = self.dialog_of(leg) {
            dialog.moves_to(peer);
        }
        match self.called(leg) {
            Some(called) => called.peer = peer,
            None => self.caller.peer = peer,
        }
    }

    /// The INVITEs, and other requests without an answer, that a side has sent us.
    pub fn open_of(&mut self, leg: LegId) -> impl Iterator<Item = (transaction::Id, &mut Peer)> {
        let asked = self.asked.iter_mut().filter(move |asked| asked.leg == leg);
        let opened = (leg == LegId::CALLER).then_some((self.caller.transaction, &mut self.caller.peer));
        opened.into_iter().chain(asked.map(|asked| (asked.transaction, &mut asked.from)))
    }

    pub fn called(&mut self, leg: LegId) -> Option<&mut CalledSide> {
        self.legs.get_mut(leg.index().checked_sub(1)?)
    }

    /// What a side is told that we can: only agents may send others on (R11).
    pub fn abilities(&self, leg: LegId) -> Abilities {
        let agent = self.call.as_deref().and_then(|call| call.agent_of(leg));
        Abilities::towards(agent.is_some())
    }

    /// A request of ours has left for a side: what comes of it is waited for.
    pub fn sent(&mut self, now: Instant, leg: LegId, method: Method) {
        self.pins += 1;
        self.story.say(now, Way::Out, leg, What::Request(method));
    }

    /// Nothing can come to it any more.
    pub fn is_done(&self) -> bool {
        self.call.is_none() && self.pins == 0 && self.anchor.is_none()
    }
}

/// The slab of slots. A nonce tells a slot's tenants apart.
#[derive(Default)]
pub struct Slots {
    pub places: Vec<Option<Box<Slot>>>,
    free: Vec<u32>,
}

impl Slots {
    pub fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// The key that the next tenant gets.
    pub fn next_key(&self, draw: u64) -> SlotKey {
        let index = self.free.last().copied().unwrap_or(u32::try_from(self.places.len()).unwrap_or(u32::MAX));
        SlotKey { index, nonce: (draw >> 8) as u32 }
    }

    pub fn insert(&mut self, slot: Box<Slot>) {
        match self.free.pop() {
            Some(index) => self.places[index as usize] = Some(slot),
            None => self.places.push(Some(slot)),
        }
    }

    pub fn get(&self, key: SlotKey) -> Option<&Slot> {
        self.places.get(key.index as usize)?.as_deref().filter(|slot| slot.key == key)
    }

    pub fn get_mut(&mut self, key: SlotKey) -> Option<&mut Slot> {
        self.places.get_mut(key.index as usize)?.as_deref_mut().filter(|slot| slot.key == key)
    }

    pub fn remove(&mut self, key: SlotKey) {
        if self.get(key).is_some() {
            self.places[key.index as usize] = None;
            self.free.push(key.index);
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = &Slot> {
        self.places.iter().filter_map(|place| place.as_deref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lingers_of_a_call_is_small() {
        assert!(size_of::<Slot>() <= 936, "{}", size_of::<Slot>());
    }
}
