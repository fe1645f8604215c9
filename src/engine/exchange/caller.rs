//! What the caller is told: provisional responses, reliable where asked for (RFC 3262), and the one final one.

use std::time::Duration;

use smallvec::SmallVec;

use super::carry::Kind;
use super::slot::{Opening, Owner, Reliability, Reliable, Slot, Stage, Waiting, Wake};
use super::story::What;
use super::{Effects, Exchange, SlotKey, names};
use crate::call::event::{Event, Fork, LegId};
use crate::call::story::Way;
use crate::sip::body::Body;
use crate::sip::header::{Method, Name};
use crate::sip::wire::Message;
use crate::time::Now;

/// How many To tags one caller may get: one for each leg whose SDP reaches it, and each a bit of 32.
const MAX_TAGS: usize = 31;
/// RFC 3262 §3: a reliable response that is not acknowledged for 64·T1 ends the INVITE.
const GIVE_UP: Duration = Duration::from_millis(64 * 500);
/// RFC 3261 §17.1.1.1.
const T1: Duration = Duration::from_millis(500);

impl Exchange {
    /// 180 without SDP.
    pub(super) fn ring_caller(&mut self, now: Now, key: SlotKey, out: &mut Effects) {
        self.carried.clear();
        self.provisional(now, key, 180, 0, None, out);
    }

    /// A leg's own progress, in the dialog that stands for it (R4).
    pub(super) fn progress_to_caller(
        &mut self,
        now: Now,
        key: SlotKey,
        code: u16,
        of: (LegId, Fork),
        body: Option<Body>,
        out: &mut Effects,
    ) {
        let Some(slot) = self.slots.get_mut(key) else { return };
        let tag = tag_number(slot, of);
        self.provisional(now, key, code, tag, body, out);
    }

    fn provisional(
        &mut self,
        now: Now,
        key: SlotKey,
        code: u16,
        tag: u8,
        body: Option<Body>,
        out: &mut Effects,
    ) {
        let Some(slot) = self.slots.get_mut(key) else { return };
        if slot.caller.side.stage != Stage::Early {
            return;
        }
        // R4: reliably only if the caller requires it, or supports it and the response carries SDP.
        let reliably = match slot.caller.reliability {
            Reliability::Required => true,
            Reliability::Supported => body.is_some(),
            Reliability::No => false,
        };
        if reliably && let Some(open) = slot.caller.reliable() {
            if open.waiting.len() < MAX_TAGS {
                open.waiting.push(Waiting::Provisional { code, tag, body });
            }
            return;
        }
        self.follow_phone(now, key, LegId::CALLER, out);
        let Some(slot) = self.slots.get_mut(key) else { return };
        let Some(opening) = slot.opening.as_deref() else { return };
        let host = self.settings.host_of(&*self.desk, slot.caller.peer);
        self.scratch.clear();
        let our_tag = names::tag(key, LegId::CALLER, tag);
        let mut w = opening.head.answer_with_routes(&mut self.scratch, code, &our_tag);
        super::write_contact(&mut w, opening.dialog.scheme(), slot.caller.peer.transport, &host);
        w.lines(slot.abilities(LegId::CALLER).allow);
        if reliably {
            slot.caller.rseq += 1;
            w.header(Name::Require, b"100rel");
            w.number(Name::RSeq, u64::from(slot.caller.rseq));
        }
        self.carried.write(&mut w, key, LegId::CALLER, Kind::Response(Method::Invite));
        let has_sdp = body.is_some();
        let range = match &body {
            Some(body) => w.body(body.header_lines(), body.bytes()),
            None => w.end(),
        };
        let bytes = &self.scratch[range];
        self.transactions.respond(now.mono, slot.caller.transaction, code, bytes, &mut out.out);
        slot.story.say(now.mono, Way::Out, LegId::CALLER, What::Response(code, Method::Invite));
        if reliably {
            slot.caller.answered |= u32::from(has_sdp) << tag;
            let open = Reliable {
                rseq: slot.caller.rseq,
                bytes: bytes.into(),
                to: self.transactions.peer(slot.caller.transaction).unwrap_or(slot.caller.peer),
                began: now.mono,
                interval: T1,
                has_sdp,
                waiting: SmallVec::new(),
            };
            slot.caller.rare.get_or_insert_default().reliable = Some(open);
            self.arm(key, Wake::RepeatReliable, now.mono + T1);
        }
    }

    /// RFC 3262 §3: repeated from T1 doubling, over reliable transports too, until PRACK or 64·T1.
    pub(super) fn repeat_reliable(&mut self, now: Now, key: SlotKey, out: &mut Effects) {
        self.follow_phone(now, key, LegId::CALLER, out);
        let Some(slot) = self.slots.get_mut(key) else { return };
        let to = self.transactions.peer(slot.caller.transaction);
        let Some(open) = slot.caller.reliable() else { return };
        if now.mono.since(open.began) >= GIVE_UP {
            slot.caller.take_reliable();
            return self.happen(now, key, Event::CallerNeverPracked, out);
        }
        open.interval = (open.interval * 2).min(GIVE_UP);
        let next = now.mono + open.interval.min(GIVE_UP - now.mono.since(open.began));
        out.out.send(to.unwrap_or(open.to), &open.bytes);
        self.arm(key, Wake::RepeatReliable, next);
    }

    /// The PRACK of our reliable response: what waited behind it goes out.
    pub(super) fn pracked(&mut self, now: Now, key: SlotKey, prack: &Message<'_>, out: &mut Effects) {
        let Some(slot) = self.slots.get_mut(key) else { return };
        if !slot.caller.matches_rack(prack) {
            return;
        }
        let waiting = slot.caller.take_reliable().map(|open| open.waiting).unwrap_or_default();
        self.disarm(key, Wake::RepeatReliable);
        for next in waiting {
            match next {
                Waiting::Provisional { code, tag, body } => self.provisional(now, key, code, tag, body, out),
                Waiting::Accept { tag, body } => self.accept_when_pracked(now, key, tag, body, out),
            }
        }
    }

    /// 200 to the caller: the leg's SDP, in the dialog that stands for it.
    pub(super) fn accept_caller(
        &mut self,
        now: Now,
        key: SlotKey,
        of: (LegId, Fork),
        body: Option<Body>,
        out: &mut Effects,
    ) {
        let Some(slot) = self.slots.get_mut(key) else { return };
        let tag = tag_number(slot, of);
        self.accept_when_pracked(now, key, tag, body, out);
    }

    /// RFC 3262 §3: no 2xx before the PRACK of a reliable response with SDP.
    fn accept_when_pracked(
        &mut self,
        now: Now,
        key: SlotKey,
        tag: u8,
        body: Option<Body>,
        out: &mut Effects,
    ) {
        let Some(slot) = self.slots.get_mut(key) else { return };
        match slot.caller.reliable() {
            Some(open) if open.has_sdp || open.waiting.iter().any(Waiting::has_sdp) => {
                open.waiting.push(Waiting::Accept { tag, body });
                if let Some(call) = slot.call.as_deref_mut() {
                    call.answer_leaves(None);
                }
            }
            Some(_) | None => self.accept_as(now, key, tag, body, out),
        }
    }

    fn accept_as(&mut self, now: Now, key: SlotKey, tag: u8, body: Option<Body>, out: &mut Effects) {
        let Some(slot) = self.slots.get_mut(key) else { return };
        if slot.caller.side.stage != Stage::Early {
            return;
        }
        // A final response ends what was still to be PRACKed (RFC 3262 §3).
        slot.caller.take_reliable();
        slot.armed.retain(|armed| armed.wake != Wake::RepeatReliable);
        self.follow_phone(now, key, LegId::CALLER, out);
        let Some(slot) = self.slots.get_mut(key) else { return };
        let Some(opening) = slot.opening.as_deref() else { return };
        let our_tag = names::tag(key, LegId::CALLER, tag);
        let host = self.settings.host_of(&*self.desk, slot.caller.peer);
        self.scratch.clear();
        let mut w = opening.head.answer_with_routes(&mut self.scratch, 200, &our_tag);
        super::write_contact(&mut w, opening.dialog.scheme(), slot.caller.peer.transport, &host);
        let abilities = slot.abilities(LegId::CALLER);
        w.lines(abilities.allow);
        w.lines(abilities.supported);
        if let Some(session) = slot.caller.side.session {
            session.write_answer(&mut w);
        }
        self.carried.write(&mut w, key, LegId::CALLER, Kind::Response(Method::Invite));
        let range = match &body {
            Some(body) => w.body(body.header_lines(), body.bytes()),
            None => w.end(),
        };
        // Taken away only once the answer stands: a refusal needs it too.
        let Some(Opening { mut dialog, .. }) = slot.opening.take().map(|opening| *opening) else { return };
        dialog.retag(&our_tag);
        dialog.takes(slot.caller.remote_seq);
        slot.caller.side.dialog = Some(dialog);
        slot.caller.side.stage = Stage::Accepted { bye: None };
        slot.caller.side.refreshed = now.mono;
        slot.bridged = true;
        if let Some(call) = slot.call.as_deref_mut() {
            call.answer_leaves(Some(now.mono));
        }
        self.transactions.respond(now.mono, slot.caller.transaction, 200, &self.scratch[range], &mut out.out);
        slot.story.say(now.mono, Way::Out, LegId::CALLER, What::Response(200, Method::Invite));
        self.follow_last_word(now, key, LegId::CALLER);
    }

    /// A final response of 300 or above.
    pub(super) fn refuse_caller(
        &mut self,
        now: Now,
        key: SlotKey,
        code: u16,
        q850: Option<u8>,
        out: &mut Effects,
    ) {
        self.disarm(key, Wake::RepeatReliable);
        let Some(slot) = self.slots.get_mut(key) else { return };
        if slot.caller.side.stage != Stage::Early {
            return;
        }
        slot.caller.take_reliable();
        self.follow_phone(now, key, LegId::CALLER, out);
        let Some(slot) = self.slots.get_mut(key) else { return };
        slot.caller.side.stage = Stage::Gone;
        let Some(opening) = slot.opening.take() else { return };
        let our_tag = names::tag(key, LegId::CALLER, 0);
        self.scratch.clear();
        let mut w = opening.head.answer(&mut self.scratch, code, Some(&our_tag));
        if let Some(cause) = q850 {
            let mut digits = [0u8; 3];
            w.header_parts(Name::Reason, &[b"Q.850;cause=", cause_digits(cause, &mut digits)]);
        }
        let range = w.end();
        self.transactions.respond(
            now.mono,
            slot.caller.transaction,
            code,
            &self.scratch[range],
            &mut out.out,
        );
        slot.story.say(now.mono, Way::Out, LegId::CALLER, What::Response(code, Method::Invite));
        // Whether its ACK comes or not, nothing is owed to the caller any more, unless it is a phone that was away.
        let transaction = slot.caller.transaction;
        if slot.phone(LegId::CALLER).is_some() {
            self.transactions.set_owner(transaction, Owner::Refused(key));
            return self.follow_last_word(now, key, LegId::CALLER);
        }
        self.transactions.set_owner(transaction, Owner::Nobody);
        self.unpin(key);
    }
}

impl Waiting {
    fn has_sdp(&self) -> bool {
        match self {
            Waiting::Provisional { body, .. } | Waiting::Accept { body, .. } => body.is_some(),
        }
    }
}

/// The To tag that stands for a leg's dialog: the first SDP takes the tag of the 180s before it (R4).
fn tag_number(slot: &mut Slot, of: (LegId, Fork)) -> u8 {
    let tags = &mut slot.caller.tags;
    let known = tags.iter().position(|tag| *tag == of);
    let at = known.unwrap_or_else(|| {
        if tags.len() < MAX_TAGS {
            tags.push(of);
        }
        tags.len() - 1
    });
    u8::try_from(at).unwrap_or(0)
}

/// RAck: RSeq, CSeq number, method (RFC 3262 §7.2).
pub(super) fn read_rack(value: &[u8]) -> Option<(u32, u32)> {
    let mut parts = value.split(u8::is_ascii_whitespace).filter(|part| !part.is_empty());
    let mut number = || std::str::from_utf8(parts.next()?).ok()?.parse().ok();
    let (rseq, cseq) = (number()?, number()?);
    (parts.next()? == b"INVITE").then_some((rseq, cseq))
}

/// A Q.850 cause in decimal.
pub(super) fn cause_digits(cause: u8, into: &mut [u8; 3]) -> &[u8] {
    *into = [b'0' + cause / 100, b'0' + cause / 10 % 10, b'0' + cause % 10];
    let zeros = into.iter().take(2).take_while(|digit| **digit == b'0').count();
    &into[zeros..]
}
