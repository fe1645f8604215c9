//! Requests within a dialog: BYE, re-INVITE, UPDATE, INFO, PRACK, OPTIONS, and the ACK of our 2xx (R11).

use bytes::Bytes;

use super::abilities::{Abilities, unsupported};
use super::refuse::write_refusal;
use super::slot::{Asked, Owner, Stage, Wake};
use super::story::What;
use super::{Effects, Exchange, SlotKey, names};
use crate::call::event::{Event, Gone, LegId};
use crate::call::refusal::Refusal;
use crate::call::story::Way;
use crate::sip::body::Body;
use crate::sip::build::{self, Writer};
use crate::sip::header::{Method, Name};
use crate::sip::peer::Peer;
use crate::sip::session::Session;
use crate::sip::transaction::{self, Key};
use crate::sip::wire::Message;
use crate::time::Now;
use crate::transport::shed::is_number;

/// How many requests of one call may await their answer at once.
const MAX_ASKED: usize = 8;

/// Whether a request belongs to a dialog of ours, and what its CSeq says.
enum Place {
    In(SlotKey, LegId),
    /// It came out of order (RFC 3261 §12.2.2).
    Late(SlotKey, LegId),
    /// We have said BYE there, and its own crossed ours.
    Left(SlotKey, LegId),
    /// Its dialog's 200 is still to come, or on its way: what hangs on the dialog is heard when it is repeated after it.
    Early(SlotKey, LegId),
    Nowhere,
}

impl Place {
    fn slot(&self) -> Option<SlotKey> {
        match self {
            Place::In(slot, _) | Place::Late(slot, _) => Some(*slot),
            Place::Left(slot, _) | Place::Early(slot, _) => Some(*slot),
            Place::Nowhere => None,
        }
    }
}

/// A request within a dialog of ours: where it came from, its place among transactions, and whose dialog it is.
pub(super) struct Within<'m> {
    pub from: Peer,
    pub request: &'m Message<'m>,
    pub key: Key,
    pub slot: SlotKey,
    pub leg: LegId,
}

impl Exchange {
    pub(super) fn within(
        &mut self,
        now: Now,
        from: Peer,
        request: &Message<'_>,
        key: Key,
        out: &mut Effects,
    ) {
        let place = self.place_of(request);
        self.working = place.slot();
        let at = |slot, leg| Within { from, request, key, slot, leg };
        let at = match place {
            Place::In(slot, leg) => at(slot, leg),
            Place::Late(slot, leg) => {
                self.say(now, slot, Way::In, leg, What::Request(request.method()));
                return self.answer_once(now, &at(slot, leg), 500, out);
            }
            Place::Early(slot, leg) if is_answered_early(request.method()) => at(slot, leg),
            Place::Early(..) => return,
            Place::Nowhere if self.knows(from) => {
                return self.refuse_statelessly(from, request, Refusal::NoDialog, out);
            }
            // RFC 5407 §3.2.1: both are answered 200.
            Place::Left(slot, leg) => {
                self.say(now, slot, Way::In, leg, What::Request(request.method()));
                return self.answer_once(now, &at(slot, leg), 200, out);
            }
            // R1e: what names no dialog of ours makes nobody known.
            Place::Nowhere => return self.stranger(from, request, out),
        };
        let Within { slot, leg, .. } = at;
        self.say(now, slot, Way::In, leg, What::Request(request.method()));
        match request.method() {
            Method::Bye => {
                self.answer_once(now, &at, 200, out);
                self.bye_received(now, slot, leg, request, out);
            }
            Method::Prack => {
                // A PRACK ends here (R4); an offer in it cannot go on.
                let code = match Body::of(request).is_some_and(|body| body.is_sdp()) {
                    true => 488,
                    false => 200,
                };
                let matches = leg == LegId::CALLER && self.has_reliable(slot, request);
                self.answer_once(now, &at, if matches { code } else { 481 }, out);
                if matches {
                    self.pracked(now, slot, request, out);
                }
            }
            Method::Options => self.answer_once(now, &at, 200, out),
            Method::Invite | Method::Update | Method::Info => {
                if request.method() == Method::Invite && is_number(request.uri_raw()) {
                    self.admission.spare(now.mono);
                }
                self.asked(now, &at, out);
            }
            Method::Refer => self.referred(now, &at, out),
            Method::Notify => self.answer_once(now, &at, 481, out),
            Method::Cancel | Method::Ack => {}
            Method::Register | Method::Subscribe | Method::Publish | Method::Message | Method::Other => {
                self.answer_once(now, &at, 405, out);
            }
        }
        self.sweep(slot);
    }

    /// The dialog that a request names by its To tag; Call-ID and From tag must agree.
    fn place_of(&mut self, request: &Message<'_>) -> Place {
        let Some((key, leg, _)) = request.to().tag().and_then(names::read_tag) else { return Place::Nowhere };
        let Some(slot) = self.slots.get_mut(key) else { return Place::Nowhere };
        let remote_tag = request.from().tag().unwrap_or_default();
        let cseq = request.cseq();
        if leg == LegId::CALLER && slot.caller.side.stage == Stage::Early {
            let caller = &mut slot.caller;
            if *caller.call_id != *request.call_id() || *caller.remote_tag != *remote_tag {
                return Place::Nowhere;
            }
            if cseq <= caller.remote_seq {
                return Place::Late(key, leg);
            }
            caller.remote_seq = cseq;
            return Place::In(key, leg);
        }
        if leg != LegId::CALLER
            && let Some(fork) = slot.early_fork(leg, request.call_id(), remote_tag)
        {
            return if fork.takes(cseq) { Place::In(key, leg) } else { Place::Late(key, leg) };
        }
        // Once nothing is waited for, what comes is no repetition's.
        if slot.awaits_final(leg, request.call_id()).is_some_and(|id| self.transactions.owner(id).is_some()) {
            return Place::Early(key, leg);
        }
        let Some(side) = slot.side(leg) else { return Place::Nowhere };
        let Some(dialog) = side.dialog.as_deref_mut() else {
            let left = side.left.as_deref().is_some_and(|left| left.matches(request.call_id(), remote_tag));
            return match left && request.method() == Method::Bye {
                true => Place::Left(key, leg),
                false => Place::Nowhere,
            };
        };
        if !dialog.matches(request.call_id(), remote_tag) {
            return Place::Nowhere;
        }
        if dialog.takes(cseq) { Place::In(key, leg) } else { Place::Late(key, leg) }
    }

    /// Answers at once.
    pub(super) fn answer_once(&mut self, now: Now, at: &Within<'_>, code: u16, out: &mut Effects) {
        let (retry_after, allow) = (self.names.draw() % 10, self.abilities(at.slot, at.leg).allow);
        let is_options = at.request.method() == Method::Options;
        self.answer_within(now, at, code, out, |w| match code {
            405 => {
                w.lines(allow);
            }
            500 => {
                w.number(Name::RetryAfter, retry_after);
            }
            200 if is_options => {
                w.lines(allow);
            }
            _ => {}
        });
    }

    /// Refuses, in words where there are some.
    pub(super) fn refuse_within(&mut self, now: Now, at: &Within<'_>, why: Refusal, out: &mut Effects) {
        let abilities = self.abilities(at.slot, at.leg);
        self.answer_within(now, at, why.code(), out, |w| write_refusal(w, at.request, why, abilities, 0));
    }

    /// By a transaction so that a repetition gets the same. False: there is no room for it.
    pub(super) fn answer_within(
        &mut self,
        now: Now,
        at: &Within<'_>,
        code: u16,
        out: &mut Effects,
        more: impl FnOnce(&mut Writer<'_>),
    ) -> bool {
        let &Within { from, request, key, slot, leg } = at;
        let Ok(id) = self.transactions.accept(now.mono, key, request, from, Owner::Nobody) else {
            return false;
        };
        self.scratch.clear();
        let mut w = build::answer(&mut self.scratch, request, from.addr, code, build::phrase(code), None);
        more(&mut w);
        let range = w.end();
        self.transactions.respond(now.mono, id, code, &self.scratch[range], &mut out.out);
        self.say(now, slot, Way::Out, leg, What::Response(code, request.method()));
        true
    }

    fn bye_received(&mut self, now: Now, key: SlotKey, leg: LegId, bye: &Message<'_>, out: &mut Effects) {
        let Some(slot) = self.slots.get_mut(key) else { return };
        let q850 = bye.all(Name::Reason).find_map(super::reply::q850_of);
        let was_accepted = leg == LegId::CALLER && matches!(slot.caller.side.stage, Stage::Accepted { .. });
        if let Some(side) = slot.side(leg).filter(|side| side.stage != Stage::Early) {
            side.stage = Stage::Gone;
        }
        slot.armed.retain(|armed| armed.wake != Wake::Session(leg) && armed.wake != Wake::KeepAlive(leg));
        let transaction = slot.caller.transaction;
        // In an early dialog it does what a CANCEL does (RFC 3261 §15): our 200 has not left.
        let event = match leg == LegId::CALLER && slot.caller.side.stage == Stage::Early {
            true => Event::CallerCancelled { reason: bye.get(Name::Reason).map(Into::into) },
            false => Event::HungUp { leg, why: Gone::Bye { q850 } },
        };
        if let Some(other) = self.other_side(key, leg) {
            self.carry(key, other, bye);
        }
        self.happen(now, key, event, out);
        self.carried.clear();
        // Kept until here: a 2xx of its re-INVITE may have wanted its ACK.
        self.part_with_dialog(key, leg);
        if was_accepted {
            // The BYE says that the 200 arrived: it needs no repeating.
            self.transactions.acked(now.mono, transaction);
            self.unpin(key);
        }
    }

    fn has_reliable(&self, key: SlotKey, prack: &Message<'_>) -> bool {
        self.slots.get(key).is_some_and(|slot| slot.caller.matches_rack(prack))
    }

    /// A request that concerns the other side too.
    fn asked(&mut self, now: Now, at: &Within<'_>, out: &mut Effects) {
        let &Within { from, request, key, slot, leg } = at;
        let method = request.method();
        let interval = Session::of_request(request).err().map(|_| Refusal::IntervalTooSmall);
        if let Some(why) = unfit(request, self.abilities(slot, leg)).or(interval) {
            return self.refuse_within(now, at, why, out);
        }
        // RFC 3261 §14.2, RFC 3311 §5.2: ours is in progress there.
        let offers = method == Method::Invite || method == Method::Update && !request.body().is_empty();
        let open = self.slots.get(slot).and_then(|slot| slot.side_ref(leg));
        if offers && open.is_some_and(|side| side.refreshes_by_invite()) {
            return self.answer_once(now, at, 491, out);
        }
        let full =
            self.slots.get(slot).is_none_or(|slot| slot.asked.len() >= MAX_ASKED || slot.call.is_none());
        if full {
            return self.answer_once(now, at, 500, out);
        }
        let Ok(id) = self.transactions.accept(now.mono, key, request, from, Owner::Asked(slot, leg)) else {
            return;
        };
        if method == Method::Invite {
            self.scratch.clear();
            let range =
                build::answer(&mut self.scratch, request, from.addr, 100, build::phrase(100), None).end();
            self.transactions.respond(now.mono, id, 100, &self.scratch[range], &mut out.out);
        }
        if let Some(place) = self.slots.get_mut(slot) {
            place.asked.push(Asked {
                leg,
                method,
                transaction: id,
                cseq: request.cseq(),
                from,
                request: Bytes::copy_from_slice(request.raw()),
                wants_offer: request.body().is_empty(),
                passed: None,
            });
        }
        if matches!(method, Method::Invite | Method::Update) {
            self.watch(now, slot, leg);
        }
        let answered = self.slots.get(slot).is_some_and(|slot| slot.has_answer(leg, request));
        if let Some(other) = self.other_side(slot, leg) {
            self.carry(slot, other, request);
        }
        let anchor = self.slots.get_mut(slot).and_then(|slot| slot.anchor.as_deref_mut());
        if let Some(anchor) = anchor.filter(|_| offers) {
            anchor.asks_from(leg, from.addr.ip());
        }
        self.happen(now, slot, Event::Asked { leg, method, body: Body::of(request), answered }, out);
        self.carried.clear();
    }

    /// The caller gave up its re-INVITE: so do we on the other side.
    pub(super) fn cancel_passed(
        &mut self,
        now: Now,
        key: SlotKey,
        leg: LegId,
        asked: transaction::Id,
        out: &mut Effects,
    ) {
        let Some(slot) = self.slots.get_mut(key) else { return };
        let passed =
            slot.asked.iter().find(|known| known.transaction == asked).and_then(|known| known.passed);
        if let Some(passed) = passed {
            self.transactions.cancel(now.mono, passed, None, &mut out.out);
        } else if slot.call.as_deref().is_some_and(|call| call.waits_to_join(leg)) {
            self.happen(now, key, Event::HungUp { leg, why: Gone::Bye { q850: None } }, out);
        }
    }

    /// An ACK that is no transaction's: of the 2xx to an INVITE or re-INVITE.
    pub(super) fn ack(&mut self, now: Now, ack: &Message<'_>, out: &mut Effects) {
        let Some((key, leg, _)) = ack.to().tag().and_then(names::read_tag) else { return };
        let Some(slot) = self.slots.get_mut(key) else { return };
        self.working = Some(key);
        let cseq = ack.cseq();
        let remote_tag = ack.from().tag().unwrap_or_default();
        if let Some(at) = slot.asked.iter().position(|asked| asked.awaits_ack(leg, cseq)) {
            let asked = slot.asked.remove(at);
            slot.story.say(now.mono, Way::In, leg, What::Request(Method::Ack));
            self.transactions.acked(now.mono, asked.transaction);
            // Only where our 200 made the offer does its ACK bring an answer.
            if asked.wants_offer {
                self.happen(now, key, Event::Settled { leg, answer: Body::of(ack) }, out);
            }
            return self.unpin(key);
        }
        let caller = &mut slot.caller;
        let ours = leg == LegId::CALLER
            && caller.side.invite_seq == cseq
            && *caller.call_id == *ack.call_id()
            && *caller.remote_tag == *remote_tag;
        let Stage::Accepted { bye } = &mut caller.side.stage else { return };
        if !ours {
            return;
        }
        let bye = bye.take();
        caller.side.stage = Stage::Confirmed;
        let transaction = caller.transaction;
        slot.story.say(now.mono, Way::In, leg, What::Request(Method::Ack));
        self.transactions.acked(now.mono, transaction);
        self.transactions.set_owner(transaction, Owner::Nobody);
        match bye {
            Some(why) => self.bye(now, key, LegId::CALLER, why, out),
            None => {
                self.watch(now, key, LegId::CALLER);
                self.happen(now, key, Event::CallerAcknowledged { answer: Body::of(ack) }, out);
            }
        }
        self.unpin(key);
    }

    /// The ACK of our 200 will not come: a BYE that waited for it goes out (RFC 3261 §15).
    pub(super) fn release_caller(&mut self, now: Now, key: SlotKey, out: &mut Effects) {
        if let Some(slot) = self.slots.get_mut(key)
            && let Stage::Accepted { bye } = &mut slot.caller.side.stage
        {
            let bye = bye.take();
            slot.caller.side.stage = Stage::Confirmed;
            if let Some(why) = bye {
                self.bye(now, key, LegId::CALLER, why, out);
            }
        }
        self.unpin(key);
    }

    pub(super) fn forget_asked(&mut self, key: SlotKey, id: transaction::Id) {
        if let Some(slot) = self.slots.get_mut(key) {
            slot.asked.retain(|asked| asked.transaction != id);
        }
    }
}

/// What forbids a request within a dialog, whatever it wants.
pub(super) fn unfit(request: &Message<'_>, abilities: Abilities) -> Option<Refusal> {
    if unsupported(request, abilities).next().is_some() {
        return Some(Refusal::Extension);
    }
    match request.max_forwards() {
        Ok(Some(0)) => Some(Refusal::TooManyHops),
        Ok(_) => None,
        Err(_) => Some(Refusal::Malformed),
    }
}

/// Whether what a called side is answered before we have its 200 does not hang on its dialog.
fn is_answered_early(method: Method) -> bool {
    match method {
        // While it rings, nobody can be sent on (RFC 3515 §2.4.1).
        Method::Refer => true,
        Method::Options | Method::Notify => true,
        Method::Register | Method::Subscribe | Method::Publish | Method::Message | Method::Other => true,
        Method::Invite | Method::Ack | Method::Bye | Method::Cancel => false,
        Method::Update | Method::Info | Method::Prack => false,
    }
}
