//! REFER within a dialog, and the NOTIFYs that say what became of it (R11; RFC 3515, RFC 4488); the re-INVITEs of ours
//! that join those who are left.

use smallvec::SmallVec;

use super::abilities::Abilities;
use super::dialled::emergency_of;
use super::perform::glare_pause;
use super::slot::{Asked, Owner, Referral, Subscription, Wake};
use super::story::What;
use super::within::{Within, unfit};
use super::{Effects, Exchange, Notice, SlotKey, write_contact};
use crate::call::event::{Event, LegId, Timer};
use crate::call::refusal::Refusal;
use crate::call::story::Way;
use crate::call::{Caller, Onward, caller};
use crate::routing::is_service;
use crate::sip::body::Body;
use crate::sip::build;
use crate::sip::header::{Method, Name};
use crate::sip::uri::{Address, Scheme, Uri, unescaped};
use crate::sip::wire::{Kept, Message};
use crate::time::Now;

/// What a NOTIFY's body is (RFC 3420).
const SIPFRAG: &str = "message/sipfrag;version=2.0";
/// How long the subscription is said to last, in seconds: longer than a call out may ring.
const SUBSCRIBED: u64 = 300;
/// How many NOTIFYs tell of ringing. A target that forks may say it many times.
const MAX_PROGRESS: u8 = 4;

/// To whom a REFER sends.
#[derive(Debug)]
struct ReferTo {
    /// What the agent would have dialled.
    dialled: String,
    /// The Replaces value of its URI: the dialog that is to be taken over (RFC 3891).
    replaces: Option<Vec<u8>>,
}

impl Exchange {
    pub(super) fn referred(&mut self, now: Now, at: &Within<'_>, out: &mut Effects) {
        let &Within { request: refer, slot, leg, .. } = at;
        let call = self.slots.get(slot).and_then(|slot| slot.call.as_deref());
        let Some(call) = call else {
            return self.answer_once(now, at, 481, out);
        };
        let Some(agent) = call.agent_of(leg).cloned() else {
            return self.answer_once(now, at, 403, out);
        };
        let may = call.may_refer(leg);
        if let Some(why) = unfit(refer, Abilities::towards(true)) {
            return self.refuse_within(now, at, why, out);
        }
        let to = match read_refer_to(refer) {
            Ok(to) => to,
            Err(why) => return self.refuse_within(now, at, why, out),
        };
        // RFC 3261 §21.4.27: one is pending within this dialog, or its INVITE is.
        if !may {
            return self.answer_once(now, at, 491, out);
        }
        let draw = (self.names.draw() >> 32) as u32;
        let shows = self.table.shown_of(&agent);
        let caller = Caller::agent(refer, &agent, shows);
        let mut help = None;
        let to = match &to.replaces {
            Some(replaces) => self.inside(replaces, &to.dialled).map(|inside| {
                let plan = Box::new(self.table.plan_beside(&agent));
                Box::new(Onward::into_call(plan, caller, inside))
            }),
            None => match self.table.plan_of(&agent, &to.dialled, draw) {
                Ok(plan) if plan.urgency.is_emergency() => {
                    help = emergency_of(&plan, &call.arrival.id, &to.dialled);
                    Ok(Box::new(Onward::new(Box::new(plan), Caller::for_help(&agent))))
                }
                Ok(plan) => Ok(Box::new(Onward::new(Box::new(plan), caller))),
                Err(why) => Err(super::refuse::refusal_of(why)),
            },
        };
        if let Err(Refusal::Malformed) = to {
            return self.refuse_within(now, at, Refusal::Malformed, out);
        }
        if !self.accept_refer(now, at, out) {
            return;
        }
        if let Some(help) = help {
            self.desk.help().called(&agent, now.mono);
            out.notices.push(Notice::Said(help));
        }
        self.happen(now, slot, Event::Refers { by: leg, to }, out);
    }

    /// 202, and the subscription that it makes (RFC 3515 §2.4.4), unless the agent wants none (RFC 4488). False: there
    /// is no room for its transaction.
    fn accept_refer(&mut self, now: Now, at: &Within<'_>, out: &mut Effects) -> bool {
        let &Within { from, request: refer, slot, leg, .. } = at;
        let wants_none = refer.head().all_named("Refer-Sub").any(|value| {
            let value = value.split(|byte| *byte == b';').next().unwrap_or_default();
            value.trim_ascii().eq_ignore_ascii_case(b"false")
        });
        let dialog = self.slots.get_mut(slot).and_then(|slot| slot.dialog_of(leg));
        let scheme = dialog.map_or(Scheme::Sip, |dialog| dialog.scheme());
        let host = self.settings.host_of(&*self.desk, from);
        let accepted = self.answer_within(now, at, 202, out, |w| {
            write_contact(w, scheme, from.transport, &host);
            if wants_none {
                w.header("Refer-Sub", b"false");
            }
        });
        if !accepted {
            return false;
        }
        let mut before = self.referrals.remove(&slot).map(|referral| referral.senders).unwrap_or_default();
        // RFC 3515 §2.4.6: those after the first of a dialog are told apart by the CSeq of their REFER.
        let id = before.contains(&leg).then_some(refer.cseq());
        if id.is_none() {
            before.push(leg);
        }
        let subscription = match wants_none {
            true => Subscription::None,
            false => Subscription::Active { id, told: 0, progress: 0 },
        };
        let request = Kept::of(refer);
        let referral = Referral { by: leg, request, subscription, dialog: None, senders: before };
        self.referrals.insert(slot, referral);
        true
    }

    /// NOTIFY to who sent the other side on (RFC 3515 §2.4.5). 200 and above ends the subscription.
    pub(super) fn report(
        &mut self,
        now: Now,
        key: SlotKey,
        code: u16,
        q850: Option<u8>,
        why: Option<&str>,
        out: &mut Effects,
    ) {
        let Some(by) = self.referrals.get(&key).map(|referral| referral.by) else { return };
        self.follow_phone(now, key, by, out);
        let Some(slot) = self.slots.get_mut(key) else { return };
        let Some(referral) = self.referrals.get_mut(&key) else { return };
        let Subscription::Active { id, told, progress } = referral.subscription else { return };
        let is_last = code >= 200;
        if !is_last && (told == code || progress > MAX_PROGRESS) {
            return;
        }
        referral.subscription = match is_last {
            true => Subscription::None,
            false => Subscription::Active { id, told: code, progress: progress + 1 },
        };
        let mut kept = referral.dialog.take();
        // Where we have hung up ourselves there is none.
        let Some(dialog) = kept.as_deref_mut().or(slot.dialog_of(by)) else { return };
        let Ok((transaction, branch)) = self.transactions.reserve(Owner::Notified(key, by)) else { return };
        let (peer, scheme) = (dialog.peer(), dialog.scheme());
        let host = self.settings.host_of(&*self.desk, peer);
        self.scratch.clear();
        let mut w = dialog.request(&mut self.scratch, Method::Notify, branch.as_ref(), &host);
        write_contact(&mut w, scheme, peer.transport, &host);
        match id {
            Some(id) => w.header(Name::Event, format!("refer;id={id}").as_bytes()),
            None => w.header(Name::Event, b"refer"),
        };
        match is_last {
            true => w.header("Subscription-State", b"terminated;reason=noresource"),
            false => w.header("Subscription-State", format!("active;expires={SUBSCRIBED}").as_bytes()),
        };
        let fragment = Body::new(SIPFRAG, fragment(code, q850, why).as_bytes());
        let range = w.body(fragment.header_lines(), fragment.bytes());
        let bytes = &self.scratch[range];
        self.transactions.send(now.mono, transaction, Method::Notify, bytes, peer, &mut out.out);
        slot.sent(now.mono, by, Method::Notify);
        if let Some(referral) = self.referrals.get_mut(&key).filter(|_| !is_last) {
            referral.dialog = kept;
        }
    }

    /// What the agent answered to our NOTIFY: where the subscription is not known there, it is over (RFC 6665 §4.2.2).
    pub(super) fn notified(&mut self, key: SlotKey, by: LegId, code: u16) {
        let referral = self.referrals.get_mut(&key);
        if let Some(referral) = referral.filter(|referral| referral.by == by && matches!(code, 408 | 481)) {
            referral.subscription = Subscription::None;
        }
    }

    /// A re-INVITE of our own: its final response is an [`Event::Replied`].
    pub(super) fn offer(&mut self, now: Now, key: SlotKey, leg: LegId, body: &Body, out: &mut Effects) {
        let open = self.slots.get(key).and_then(|slot| slot.side_ref(leg));
        // No second INVITE while one is open (RFC 3261 §14.1).
        let mut unsent = if open.is_some_and(|side| side.refreshes_by_invite()) { 491 } else { 503 };
        if unsent == 503 && self.try_offer(now, key, leg, body, out) {
            unsent = 0;
        }
        if unsent != 0 {
            let event = Event::Replied { leg, method: Method::Invite, code: unsent, body: None };
            self.pending.push_back((key, event));
        }
    }

    fn try_offer(&mut self, now: Now, key: SlotKey, leg: LegId, body: &Body, out: &mut Effects) -> bool {
        self.follow_phone(now, key, leg, out);
        let Some(slot) = self.slots.get_mut(key) else { return false };
        let abilities = slot.abilities(leg);
        let Some(side) = slot.side(leg) else { return false };
        let Some(dialog) = side.dialog.as_deref_mut() else { return false };
        let reserved = self.transactions.reserve(Owner::Offered(key, leg));
        let Ok((transaction, branch)) = reserved else { return false };
        let (peer, scheme) = (dialog.peer(), dialog.scheme());
        let host = self.settings.host_of(&*self.desk, peer);
        self.scratch.clear();
        let mut w = dialog.request(&mut self.scratch, Method::Invite, branch.as_ref(), &host);
        write_contact(&mut w, scheme, peer.transport, &host);
        w.lines(abilities.allow);
        w.lines(abilities.supported);
        if let Some(session) = side.session {
            session.write_refresh(&mut w);
        }
        let range = w.body(body.header_lines(), body.bytes());
        side.invite_seq = dialog.local_seq();
        side.asked_for_offer = false;
        side.refresh = Some((transaction, Method::Invite));
        let bytes = &self.scratch[range];
        self.transactions.send(now.mono, transaction, Method::Invite, bytes, peer, &mut out.out);
        slot.sent(now.mono, leg, Method::Invite);
        true
    }

    /// Gives up the re-INVITE to that side that has no final response: our own, or what the other side asks by it.
    pub(super) fn withdraw(&mut self, now: Now, key: SlotKey, leg: LegId, out: &mut Effects) {
        let Some(slot) = self.slots.get(key) else { return };
        let ours = slot.side_ref(leg).and_then(|side| side.refresh);
        let ours = ours.filter(|(_, method)| *method == Method::Invite).map(|(transaction, _)| transaction);
        let other = self.other_side(key, leg);
        let is_open = |asked: &&Asked| {
            Some(asked.leg) == other && asked.method == Method::Invite && !asked.request.is_empty()
        };
        let theirs = slot.asked.iter().find(is_open).map(|asked| asked.passed);
        let transaction = match (ours, theirs) {
            (Some(transaction), _) | (None, Some(Some(transaction))) => transaction,
            // It had no room to leave.
            (None, Some(None)) => {
                let event = Event::Replied { leg, method: Method::Invite, code: 487, body: None };
                return self.pending.push_back((key, event));
            }
            (None, None) => return,
        };
        self.transactions.set_owner(transaction, Owner::Withdrawn(key, leg));
        self.transactions.cancel(now.mono, transaction, None, &mut out.out);
        self.say(now, key, Way::Out, leg, What::Request(Method::Cancel));
    }

    /// The final response to a re-INVITE of our own, or none will come.
    pub(super) fn offer_is_closed(&mut self, key: SlotKey, leg: LegId) {
        if let Some(side) = self.slots.get_mut(key).and_then(|slot| slot.side(leg)) {
            side.refresh.take_if(|(_, method)| *method == Method::Invite);
        }
    }

    /// Waits out a glare (RFC 3261 §14.1).
    pub(super) fn pause(&mut self, now: Now, key: SlotKey, leg: LegId, timer: Timer) {
        let pause = glare_pause(leg != LegId::CALLER, self.names.draw());
        self.arm(key, Wake::Call(timer), now.mono + pause);
    }

    /// A side has hung up: what it is still to hear of a transfer goes by the dialog that it had, for as long as the
    /// subscription lasts (RFC 5057 §4.2).
    pub(super) fn part_with_dialog(&mut self, key: SlotKey, leg: LegId) {
        let side = self.slots.get_mut(key).and_then(|slot| slot.side(leg));
        let Some(dialog) = side.and_then(|side| side.dialog.take()) else { return };
        let referral = self.referrals.get_mut(&key).filter(|referral| referral.by == leg);
        if let Some(referral) = referral
            && let Subscription::Active { .. } = referral.subscription
        {
            referral.dialog = Some(dialog);
        }
    }

    /// What a side is told that we can.
    pub(super) fn abilities(&self, key: SlotKey, leg: LegId) -> Abilities {
        self.slots.get(key).map_or(Abilities::towards(false), |slot| slot.abilities(leg))
    }
}

/// The start line of a response, and what a status alone does not say (RFC 3420 §2).
fn fragment(code: u16, q850: Option<u8>, why: Option<&str>) -> String {
    let mut text = format!("SIP/2.0 {code} {}\r\n", build::phrase(code));
    match (q850, why) {
        (Some(cause), Some(why)) => text += &format!("Reason: Q.850;cause={cause};text=\"{why}\"\r\n"),
        (Some(cause), None) => text += &format!("Reason: Q.850;cause={cause}\r\n"),
        (None, _) => {}
    }
    text
}

/// RFC 3515 §2.4.2: exactly one Refer-To; it asks for an INVITE.
fn read_refer_to(refer: &Message<'_>) -> Result<ReferTo, Refusal> {
    let values: SmallVec<[&[u8]; 2]> = refer.list(Name::ReferTo).take(2).collect();
    let [value] = values[..] else { return Err(Refusal::Malformed) };
    let address = Address::parse(value).map_err(|_| Refusal::Malformed)?;
    let uri = address.uri;
    let dialled = dialled(&uri);
    if !uri.scheme.is_dialable() && !is_service(&dialled) {
        return Err(Refusal::Scheme);
    }
    if uri.param("method").is_some_and(|method| method != b"INVITE") {
        return Err(Refusal::Malformed);
    }
    let headers = uri.headers.split(|byte| *byte == b'&');
    // The others are not for strangers to write (RFC 3261 §19.1.5).
    let mut replaces = headers.filter_map(|header| {
        let at = memchr::memchr(b'=', header)?;
        header[..at].eq_ignore_ascii_case(b"Replaces").then(|| unescaped(&header[at + 1..]).into_owned())
    });
    let (first, another) = (replaces.next(), replaces.next());
    if another.is_some() {
        return Err(Refusal::Malformed);
    }
    Ok(ReferTo { dialled, replaces: first })
}

/// What an agent dials who names this URI (R2).
fn dialled(uri: &Uri<'_>) -> String {
    let user = caller::user_of(uri);
    if user.is_empty() { String::from_utf8_lossy(uri.raw).into_owned() } else { user }
}
