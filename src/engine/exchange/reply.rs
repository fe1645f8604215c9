//! Responses to what we sent, and what became of it where none came.

use smallvec::SmallVec;

use super::invite::Attempt;
use super::slot::{Acknowledgement, Owner, Side, Stage};
use super::story::What;
use super::{CallEvent, Effects, Exchange, Notice, SlotKey};
use crate::call::event::{Answer, Contacts, Event, Fork, Gone, LegEvent, LegId, Redirect, Why};
use crate::call::story::Way;
use crate::call::{Call, caller, outcome};
use crate::engine::trunks::Failure;
use crate::number;
use crate::sip::body::Body;
use crate::sip::dialog::{Dialog, Ways};
use crate::sip::header::{Method, Name};
use crate::sip::peer::{Peer, Undelivered};
use crate::sip::sdp;
use crate::sip::session::Session;
use crate::sip::transaction::{self, Response};
use crate::sip::uri::{Address, Scheme};
use crate::sip::wire::Message;
use crate::time::Now;

/// How many Contacts of a 3xx are looked at.
const MAX_CONTACTS: usize = 8;

/// A side's response: whose, and where it came from.
pub(super) struct Heard<'m> {
    pub key: SlotKey,
    pub leg: LegId,
    pub from: Peer,
    pub response: &'m Message<'m>,
}

impl Exchange {
    pub(super) fn response(&mut self, now: Now, from: Peer, response: &Message<'_>, out: &mut Effects) {
        // More than one Via: it was meant for somebody else (RFC 3261 §8.1.3.3).
        if response.has_further_via() {
            return;
        }
        let code = response.status();
        let asks = matches!(code, 401 | 407);
        let asked: Option<Box<[u8]>> =
            asks.then(|| self.transactions.asked_by(response).map(Box::from)).flatten();
        let Some((id, owner, kind)) = self.transactions.response(now.mono, response, &mut out.out) else {
            return;
        };
        if let Some((key, leg)) = owner.place() {
            self.working = Some(key);
            self.say(now, key, Way::In, leg, What::Response(code, response.method()));
        }
        // Its CANCEL crossed the challenge: it is not asked again (RFC 3261 §9.1).
        let was_given_up = asks && asked.is_none();
        if asked.is_some_and(|asked| self.asks_again(now, (id, owner), &asked, response, out)) {
            return;
        }
        match owner {
            Owner::Leg(key, leg) => {
                self.gateway_answered(now, key, leg, code, out);
                let heard = Heard { key, leg, from, response };
                match kind {
                    Response::Provisional => self.leg_progress(now, &heard, out),
                    Response::Success { .. } => self.leg_answered(now, &heard, out),
                    Response::Failure => self.leg_refused(now, key, leg, id, response, out),
                }
            }
            Owner::Ask(key) => match kind {
                Response::Provisional => {}
                Response::Success { .. } | Response::Failure => {
                    self.ask_answered(now, key, id, response, out)
                }
            },
            // As if the CANCEL had been heard: what a carrier asks for is nothing to who cancelled.
            Owner::Passed(key, leg) if was_given_up => {
                let event = Event::Replied { leg, method: response.method(), code: 487, body: None };
                self.happen(now, key, event, out);
            }
            Owner::Passed(key, leg) => {
                self.passed_answered(now, &Heard { key, leg, from, response }, kind, out)
            }
            Owner::Offered(key, leg) | Owner::Withdrawn(key, leg) => {
                if kind != Response::Provisional {
                    self.offer_is_closed(key, leg);
                }
                self.passed_answered(now, &Heard { key, leg, from, response }, kind, out);
            }
            Owner::Notified(key, leg) => self.notified(key, leg, code),
            Owner::Refresh(key, leg) => self.refreshed(now, &Heard { key, leg, from, response }, kind, out),
            Owner::KeepAlive(key, leg) => match kind {
                Response::Provisional => {}
                Response::Success { .. } | Response::Failure => self.kept_alive(now, key, leg, code, out),
            },
            Owner::Keyed(..) if kind == Response::Provisional => {}
            Owner::Keyed(key, leg, digit) => self.key_answered(now, key, (leg, digit), code, out),
            Owner::Caller(_)
            | Owner::Refused(_)
            | Owner::Asked(..)
            | Owner::Pracked(..)
            | Owner::Leaving(..)
            | Owner::Nobody => {}
        }
    }

    fn leg_progress(&mut self, now: Now, heard: &Heard<'_>, out: &mut Effects) {
        let &Heard { key, leg, response, .. } = heard;
        let code = response.status();
        let Some(side) = self.slots.get_mut(key).and_then(|slot| slot.called(leg)) else { return };
        // A leg that has ended gets no PRACK (R4).
        if side.side.stage != Stage::Early {
            return;
        }
        let tag = response.to().tag();
        let fork = match (code, tag) {
            (100, _) | (_, None) => Fork(0),
            (_, Some(tag)) => {
                let Some(at) = side.fork_that_rings(tag) else { return };
                if response.has_token(Name::Require, "100rel")
                    && let Some(rseq) = response.number(Name::RSeq)
                    && !self.prack(now, heard, at, rseq, out)
                {
                    return;
                }
                at
            }
        };
        let body = Body::of(response).filter(|_| code != 100);
        self.carry(key, LegId::CALLER, response);
        self.happen(now, key, Event::Leg(leg, LegEvent::Progress { code, fork, body }), out);
        self.carried.clear();
    }

    /// Acknowledges a reliable response; false when it is a repetition or out of order (RFC 3262 §4).
    fn prack(&mut self, now: Now, heard: &Heard<'_>, fork: Fork, rseq: u32, out: &mut Effects) -> bool {
        let &Heard { key, leg, from, response } = heard;
        let Some(side) = self.slots.get_mut(key).and_then(|slot| slot.called(leg)) else { return false };
        let (cseq, pin) = (side.side.invite_seq, side.pin_of(from));
        let Some(seen) = side.seen(fork) else { return false };
        if seen.rseq != 0 && rseq != seen.rseq.wrapping_add(1) {
            return false;
        }
        if seen.early.is_none() {
            let dialog = Dialog::of_response(response, from, &self.settings).ok();
            seen.early = dialog.map(|dialog| Box::new(dialog.pinned(pin)));
        }
        // It may have come to another connection since it first rang.
        if let (Some(dialog), Some(peer)) = (&mut seen.early, pin) {
            dialog.moves_to(peer);
        }
        let Some(dialog) = seen.early.as_deref_mut() else { return false };
        seen.rseq = rseq;
        seen.answered |= Body::of(response).is_some_and(|body| body.is_sdp());
        let peer = dialog.peer();
        let Ok((transaction, branch)) = self.transactions.reserve(Owner::Pracked(key, leg, fork)) else {
            return true;
        };
        let host = self.settings.host_of(&*self.desk, peer);
        self.scratch.clear();
        let mut w = dialog.request(&mut self.scratch, Method::Prack, branch.as_ref(), &host);
        let rack = format!("{rseq} {cseq} INVITE");
        w.header(Name::RAck, rack.as_bytes());
        let range = w.end();
        let bytes = &self.scratch[range];
        self.transactions.send(now.mono, transaction, Method::Prack, bytes, peer, &mut out.out);
        if let Some(slot) = self.slots.get_mut(key) {
            slot.sent(now.mono, leg, Method::Prack);
        }
        true
    }

    fn leg_answered(&mut self, now: Now, heard: &Heard<'_>, out: &mut Effects) {
        let &Heard { key, leg, from, response } = heard;
        let Some(side) = self.slots.get_mut(key).and_then(|slot| slot.called(leg)) else { return };
        let delayed = side.is_delayed();
        let fork = side.fork_that_answers(response.to().tag().unwrap_or_default());
        match side.side.stage.clone() {
            Stage::Early => {
                let pin = side.pin_of(from);
                let seen = side.seen(fork);
                let early = seen.as_deref().and_then(|seen| seen.early.as_deref());
                let Some(dialog) = confirmed(early, response, from, pin, &self.settings) else {
                    return self.leg_unfollowed(now, heard, out);
                };
                if let Some(seen) = seen {
                    seen.early = None;
                }
                let body = Body::of(response);
                side.side.dialog = Some(Box::new(dialog));
                side.side.fork = fork;
                side.side.offer = body.clone().filter(|_| delayed);
                side.side.stage = Stage::Accepted { bye: None };
                side.side.session = Session::of_response(response);
                side.side.refreshed = now.mono;
                side.side.allows_update = response.has_token(Name::Allow, "UPDATE");
                self.learn_of_info(key, leg, response);
                self.carry(key, LegId::CALLER, response);
                self.happen(now, key, Event::Leg(leg, LegEvent::Answered { fork, body }), out);
                self.carried.clear();
                self.end_unwanted(now, key, leg, out);
                self.watch(now, key, leg);
            }
            // Repeated: our ACK was lost, or has not left yet.
            Stage::Accepted { .. } | Stage::Confirmed | Stage::Gone if side.side.is_of(response, fork) => {
                if let Some(ack) = side.side.ack_of(response.cseq(), fork) {
                    out.out.send(ack.again_to(from), &ack.bytes);
                }
            }
            // Another branch of a far side that forked answered too, or a leg that we gave up.
            Stage::Accepted { .. } | Stage::Confirmed | Stage::Gone => {
                let why = self.why_unwanted(key);
                self.end_stray(now, heard, &why, out);
            }
            Stage::Abandoned(why) => self.end_stray(now, heard, &why, out),
        }
    }

    /// A leg that answered in a way that nothing can follow (a Contact that is none): it is ended, and lost.
    fn leg_unfollowed(&mut self, now: Now, heard: &Heard<'_>, out: &mut Effects) {
        let &Heard { key, leg, .. } = heard;
        if let Some(side) = self.slots.get_mut(key).and_then(|slot| slot.called(leg)) {
            side.side.stage = Stage::Gone;
        }
        self.end_stray(now, heard, &Why::Ours(outcome::q850_of(502)), out);
        let event = LegEvent::Refused { code: 502, q850: None, contacts: Contacts::new() };
        self.happen(now, key, Event::Leg(leg, event), out);
    }

    /// R5: only where another leg of this call was bridged is it completed elsewhere.
    fn why_unwanted(&self, key: SlotKey) -> Why {
        let Some(slot) = self.slots.get(key) else { return Why::NoAnswer };
        let talks = slot.call.as_deref().is_some_and(Call::is_bridged);
        if slot.bridged || talks { Why::Elsewhere } else { Why::NoAnswer }
    }

    /// A leg that answered and was not bridged after all: nobody is to pay for it.
    fn end_unwanted(&mut self, now: Now, key: SlotKey, leg: LegId, out: &mut Effects) {
        let Some(slot) = self.slots.get_mut(key) else { return };
        let wanted = slot.call.as_deref().is_some_and(|call| call.holds(leg));
        let open = slot.called(leg).filter(|called| matches!(called.side.stage, Stage::Accepted { .. }));
        if let Some(called) = open.filter(|_| !wanted) {
            let answer = if called.is_delayed() { Answer::RefuseAll } else { Answer::None };
            self.acknowledge(now, key, leg, &answer, out);
            let why = self.why_unwanted(key);
            self.bye(now, key, leg, why, out);
        }
    }

    /// A 2xx that joins nobody: ACK (refusing its offer), and BYE (R5).
    fn end_stray(&mut self, now: Now, heard: &Heard<'_>, why: &Why, out: &mut Effects) {
        let &Heard { key, leg, from, response } = heard;
        let body = Body::of(response);
        let Some(side) = self.slots.get_mut(key).and_then(|slot| slot.called(leg)) else { return };
        let delayed = side.is_delayed();
        let tag = response.to().tag().unwrap_or_default();
        let fork = side.fork_that_answers(tag);
        // Repeated after our ACK and BYE: the ACK again, the BYE repeats itself.
        if let Some(ack) = side.stray_acks.iter().find(|ack| ack.fork == fork) {
            out.out.send(ack.again_to(from), &ack.bytes);
            return;
        }
        let early = side.seen(fork).and_then(|seen| seen.early.take());
        let dialog = confirmed(early.as_deref(), response, from, side.pin_of(from), &self.settings);
        let Some(dialog) = dialog.or_else(|| ended(early.as_deref(), response, from, &self.settings)) else {
            return;
        };
        let kept = std::mem::replace(
            &mut side.side,
            super::slot::Side {
                dialog: Some(Box::new(dialog)),
                offer: body,
                fork,
                ..super::slot::Side::new(response.cseq())
            },
        );
        side.side.stage = Stage::Accepted { bye: None };
        let answer = if delayed { Answer::RefuseAll } else { Answer::None };
        self.acknowledge(now, key, leg, &answer, out);
        self.bye(now, key, leg, why.clone(), out);
        if let Some(side) = self.slots.get_mut(key).and_then(|slot| slot.called(leg)) {
            let used = std::mem::replace(&mut side.side, kept);
            side.side.left = side.side.left.take().or(used.left);
            side.stray_acks.extend(used.acks);
        }
        // The BYE stopped what watched the leg; the dialog that was bridged goes on.
        self.watch(now, key, leg);
    }

    fn leg_refused(
        &mut self,
        now: Now,
        key: SlotKey,
        leg: LegId,
        id: transaction::Id,
        response: &Message<'_>,
        out: &mut Effects,
    ) {
        let code = response.status();
        let Some(slot) = self.slots.get_mut(key) else { return };
        let Some(side) = slot.called(leg).filter(|side| side.transaction == Some(id)) else { return };
        if side.side.stage != Stage::Early {
            if let Some(call) = slot.call.as_deref_mut() {
                call.heard_last(leg, code);
            }
            return;
        }
        side.forks.clear();
        if side.login().is_some_and(|login| login.is_asked(response))
            && self.invite_again(now, key, leg, Attempt::Authorized, out)
        {
            return;
        }
        let Some(side) = self.slots.get_mut(key).and_then(|slot| slot.called(leg)) else { return };
        if code == 422
            && side.min_se().is_none()
            && let Some(wanted) = Session::wanted(response)
            && self.invite_again(now, key, leg, Attempt::Interval(wanted), out)
        {
            return;
        }
        let Some(side) = self.slots.get_mut(key).and_then(|slot| slot.called(leg)) else { return };
        side.side.stage = Stage::Gone;
        let contacts =
            if (300..400).contains(&code) { self.redirects(key, leg, response) } else { Contacts::new() };
        let q850 = response.all(Name::Reason).find_map(q850_of);
        self.happen(now, key, Event::Leg(leg, LegEvent::Refused { code, q850, contacts }), out);
    }

    /// Where a 3xx points to, best `q` first (RFC 3261 §8.1.3.4); what is neither a number, read as that leg's trunk
    /// writes them, nor an agent of ours is left out.
    fn redirects(&self, key: SlotKey, leg: LegId, response: &Message<'_>) -> Contacts {
        let call = self.slots.get(key).and_then(|slot| slot.call.as_deref());
        let trunk = call.and_then(|call| call.leg(leg)?.trunk());
        let mut found: SmallVec<[(u16, Redirect); 2]> = SmallVec::new();
        for value in response.list(Name::Contact).take(MAX_CONTACTS) {
            let Ok(address) = Address::parse(value) else { continue };
            let user = caller::user_of(&address.uri);
            let host = match address.uri.scheme {
                Scheme::Sip | Scheme::Sips => address.uri.socket_addr(),
                Scheme::Tel | Scheme::Other => None,
            };
            let number = match trunk {
                Some(trunk) => trunk.read_number(&user),
                None => number::read(&user, &self.settings.country),
            };
            let redirect = match (self.table.agent(&user), number) {
                (Some(agent), _) => Redirect::Agent(agent.clone()),
                (None, Some(number)) => Redirect::Number { number, host },
                (None, None) => continue,
            };
            found.push((address.param("q").map_or(1000, thousandths), redirect));
        }
        found.sort_by_key(|(q, _)| std::cmp::Reverse(*q));
        found.into_iter().map(|(_, redirect)| redirect).collect()
    }

    /// What a side answered to a request that the other side had sent.
    fn passed_answered(&mut self, now: Now, heard: &Heard<'_>, kind: Response, out: &mut Effects) {
        let &Heard { key, leg, from, response } = heard;
        let method = response.method();
        match kind {
            Response::Provisional => return,
            Response::Success { first: false } => {
                let side = self.slots.get(key).and_then(|slot| slot.side_ref(leg));
                if let Some(ack) = side.and_then(|side| side.ack_of(response.cseq(), side.fork)) {
                    out.out.send(ack.again_to(from), &ack.bytes);
                } else if method == Method::Invite && self.is_unacknowledged(key, leg, response.cseq()) {
                    self.acknowledge_after_bye(now, key, leg, response, out);
                }
                return;
            }
            Response::Success { first: true } => {
                let Some(side) = self.slots.get_mut(key).and_then(|slot| slot.side(leg)) else { return };
                if method == Method::Invite && side.asked_for_offer {
                    side.offer = Body::of(response);
                }
                match side.dialog.as_deref_mut() {
                    Some(dialog) if matches!(method, Method::Invite | Method::Update) => {
                        dialog.refresh_target(response, dialog.peer(), &self.settings);
                        side.session = Session::of_response(response).or(side.session);
                    }
                    Some(_) => {}
                    // RFC 3261 §13.2.2.4: a 2xx to a re-INVITE after our BYE wants its ACK all the same.
                    None if method == Method::Invite => {
                        return self.acknowledge_after_bye(now, key, leg, response, out);
                    }
                    None => {}
                }
                if matches!(method, Method::Invite | Method::Update) {
                    self.session_begins(now, key, leg);
                } else {
                    self.watch(now, key, leg);
                }
            }
            Response::Failure => {}
        }
        let code = response.status();
        let event = Event::Replied { leg, method, code, body: Body::of(response) };
        if let Some(asker) = self.other_side(key, leg) {
            self.carry(key, asker, response);
        }
        self.happen(now, key, event, out);
        self.carried.clear();
        // The call ended before it could acknowledge.
        if method == Method::Invite
            && kind == (Response::Success { first: true })
            && self.is_unacknowledged(key, leg, response.cseq())
        {
            self.acknowledge_after_bye(now, key, leg, response, out);
        }
    }

    fn is_unacknowledged(&self, key: SlotKey, leg: LegId, cseq: u32) -> bool {
        self.slots.get(key).is_some_and(|slot| {
            slot.call.is_none()
                && slot.side_ref(leg).is_some_and(|side| side.ack_of(cseq, side.fork).is_none())
        })
    }

    pub(super) fn acknowledge_after_bye(
        &mut self,
        now: Now,
        key: SlotKey,
        leg: LegId,
        response: &Message<'_>,
        out: &mut Effects,
    ) {
        self.follow_phone(now, key, leg, out);
        let draw = self.names.draw();
        let Some(peer) = self.slots.get(key).and_then(|slot| slot.peer_of(leg)) else { return };
        let dialog = Dialog::of_response(response, peer, &self.settings).ok();
        let Some(dialog) = dialog.or_else(|| ended(None, response, peer, &self.settings)) else { return };
        let host = self.settings.host_of(&*self.desk, dialog.peer());
        let w = dialog.ack(&mut out.out.wire, response.cseq(), &super::perform::branch_of(draw), &host);
        // Its offer is refused: nobody is left to answer it.
        let offer =
            Body::of(response).filter(|_| self.slots.get(key).is_some_and(|slot| slot.asked_for_offer(leg)));
        let range = match offer {
            Some(offer) => {
                self.scratch.clear();
                sdp::refuse_all(offer.sdp().unwrap_or_default(), &mut self.scratch);
                w.body(b"Content-Type: application/sdp\r\n", &self.scratch)
            }
            None => w.end(),
        };
        let bytes: Box<[u8]> = out.out.wire[range.clone()].into();
        out.out.send_range(dialog.peer(), range);
        if let Some(side) = self.slots.get_mut(key).and_then(|slot| slot.side(leg)) {
            let (cseq, fork) = (response.cseq(), side.fork);
            side.keep_ack(Acknowledgement { cseq, fork, to: dialog.peer(), bytes });
        }
    }

    /// What the transactions found out by themselves.
    pub(super) fn transaction_event(
        &mut self,
        now: Now,
        event: transaction::Event<Owner>,
        out: &mut Effects,
    ) {
        match event {
            transaction::Event::TimedOut(id, Owner::Ask(key)) => {
                self.ask_unheard(now, key, id, Failure::NoAnswer, out)
            }
            transaction::Event::Undeliverable(id, Owner::Ask(key), why) => {
                self.ask_unheard(now, key, id, why.into(), out)
            }
            transaction::Event::OutOfReach(_, Owner::Leg(key, leg)) => {
                let called = self.slots.get_mut(key).and_then(|slot| slot.called(leg));
                if called.is_some_and(|called| called.side.stage == Stage::Early) {
                    self.happen(now, key, Event::Leg(leg, LegEvent::OutOfReach), out);
                }
            }
            // Within a dialog what has begun to be answered has its own time.
            transaction::Event::OutOfReach(..) => {}
            transaction::Event::TimedOut(_, owner) => {
                self.unanswered(now, owner, None, out);
            }
            transaction::Event::Undeliverable(_, owner, why) => {
                self.unanswered(now, owner, Some(why), out);
            }
            transaction::Event::AckMissing(_, Owner::Caller(key)) => {
                self.happen(now, key, Event::CallerNeverAcknowledged, out);
                self.release_caller(now, key, out);
            }
            transaction::Event::AckMissing(id, Owner::Asked(key, leg)) => {
                self.forget_asked(key, id);
                self.happen(now, key, Event::HungUp { leg, why: Gone::Lost }, out);
                self.unpin(key);
            }
            transaction::Event::AckMissing(..) => {}
            transaction::Event::Gone(_, owner) => {
                if let Owner::Leaving(key, leg) = owner
                    && let Some(side) = self.slots.get_mut(key).and_then(|slot| slot.side(leg))
                {
                    side.left = None;
                }
                if let Owner::Refused(key)
                | Owner::Leg(key, _)
                | Owner::Passed(key, _)
                | Owner::Offered(key, _)
                | Owner::Withdrawn(key, _)
                | Owner::Notified(key, _)
                | Owner::Refresh(key, _)
                | Owner::KeepAlive(key, _)
                | Owner::Keyed(key, ..)
                | Owner::Pracked(key, ..)
                | Owner::Leaving(key, _) = owner
                {
                    self.unpin(key);
                }
            }
        }
    }

    /// A request of ours has no final answer: it timed out, or was `undelivered` (RFC 3261 §8.1.3.1).
    fn unanswered(&mut self, now: Now, owner: Owner, undelivered: Option<Undelivered>, out: &mut Effects) {
        let (event, code) = match undelivered {
            None => (LegEvent::TimedOut, 408),
            Some(_) => (LegEvent::Undeliverable, 503),
        };
        match owner {
            Owner::Leg(key, leg) => {
                let Some(side) = self.slots.get_mut(key).and_then(|slot| slot.called(leg)) else { return };
                if side.side.stage != Stage::Early {
                    return;
                }
                match undelivered {
                    None => self.gateway_silent(now, key, leg),
                    Some(_) if self.falls_back(now, key, leg, out) => return,
                    Some(why) => self.gateway_unreachable(now, key, leg, why.into(), out),
                }
                if let Some(side) = self.slots.get_mut(key).and_then(|slot| slot.called(leg)) {
                    side.side.stage = Stage::Gone;
                }
                self.happen(now, key, Event::Leg(leg, event), out);
            }
            Owner::Passed(key, leg) => {
                let method = self.slots.get(key).and_then(|slot| slot.passed_method(leg));
                if let Some(method) = method {
                    self.happen(now, key, Event::Replied { leg, method, code, body: None }, out);
                }
            }
            Owner::Offered(key, leg) => {
                self.offer_is_closed(key, leg);
                let event = Event::Replied { leg, method: Method::Invite, code, body: None };
                self.happen(now, key, event, out);
            }
            // It had begun to answer, and says no more: as if our CANCEL had been heard.
            Owner::Withdrawn(key, leg) => {
                self.offer_is_closed(key, leg);
                let event = Event::Replied { leg, method: Method::Invite, code: 487, body: None };
                self.happen(now, key, event, out);
            }
            Owner::Notified(key, leg) => self.notified(key, leg, code),
            Owner::Refresh(key, leg) | Owner::KeepAlive(key, leg) if code == 408 => {
                self.happen(now, key, Event::HungUp { leg, why: Gone::Lost }, out);
            }
            Owner::Refresh(key, leg) => self.refresh_undelivered(now, key, leg),
            Owner::KeepAlive(key, leg) => self.options_undelivered(now, key, leg, out),
            Owner::Keyed(key, leg, _) => self.key_unanswered(key, leg),
            Owner::Caller(_)
            | Owner::Refused(_)
            | Owner::Asked(..)
            | Owner::Pracked(..)
            | Owner::Leaving(..)
            | Owner::Ask(_)
            | Owner::Nobody => {}
        }
    }
}

impl Exchange {
    /// A long INVITE whose stream nobody took, or whose stream ended before a word came, goes in a datagram after all (RFC 3261 §18.1.1), and the next ones at once.
    fn falls_back(&mut self, now: Now, key: SlotKey, leg: LegId, out: &mut Effects) -> bool {
        let Some(to) = self.chosen_stream(key, leg) else { return false };
        let call = self.slots.get(key).and_then(|slot| slot.call.as_deref());
        let call = call.map(|call| call.arrival.id.clone()).unwrap_or_default();
        out.notices.push(Notice::Said(CallEvent::NoStream { call, to: to.addr }));
        self.desk.trunks().streamless().found(to.addr, now.mono);
        self.say(now, key, Way::Here, leg, What::Turn("no TCP there: UDP after all"));
        self.invite_again(now, key, leg, Attempt::Datagram, out)
    }

    /// Where a leg's INVITE would have gone in a datagram, were it not so long that it went by a stream.
    pub(super) fn chosen_stream(&self, key: SlotKey, leg: LegId) -> Option<Peer> {
        let slot = self.slots.get(key)?;
        let settled = self.settings.peer_of(slot.call.as_deref()?.leg(leg)?)?;
        let side = slot.legs.get(leg.index().checked_sub(1)?)?;
        side.chose_stream(settled.transport).then_some(settled)
    }
}

impl Owner {
    /// The leg that a message of this transaction belongs to.
    pub(super) fn place(self) -> Option<(SlotKey, LegId)> {
        match self {
            Owner::Caller(key) | Owner::Refused(key) => Some((key, LegId::CALLER)),
            Owner::Asked(key, leg)
            | Owner::Leg(key, leg)
            | Owner::Passed(key, leg)
            | Owner::Offered(key, leg)
            | Owner::Withdrawn(key, leg)
            | Owner::Notified(key, leg)
            | Owner::Refresh(key, leg)
            | Owner::KeepAlive(key, leg)
            | Owner::Keyed(key, leg, _)
            | Owner::Pracked(key, leg, _)
            | Owner::Leaving(key, leg) => Some((key, leg)),
            Owner::Ask(_) | Owner::Nobody => None,
        }
    }
}

impl Side {
    /// Whether a 2xx belongs to the dialog that was made first: a repetition, then.
    fn is_of(&self, response: &Message<'_>, fork: Fork) -> bool {
        self.fork == fork && (self.dialog.is_some() || self.ack_of(response.cseq(), fork).is_some())
    }
}

/// The dialog that a 2xx confirms: the early one goes on with its CSeq and the final Contact and route set.
fn confirmed(
    early: Option<&Dialog>,
    response: &Message<'_>,
    from: Peer,
    pin: Option<Peer>,
    ways: &impl Ways,
) -> Option<Dialog> {
    let mut dialog = Dialog::of_response(response, from, ways).ok()?.pinned(pin);
    if let Some(early) = early {
        dialog.go_on_from(early);
    }
    Some(dialog)
}

/// The dialog of a 2xx that can only be ended.
fn ended(early: Option<&Dialog>, response: &Message<'_>, from: Peer, ways: &impl Ways) -> Option<Dialog> {
    let mut dialog = Dialog::to_be_ended(response, from, ways).ok()?;
    if let Some(early) = early {
        dialog.go_on_from(early);
    }
    Some(dialog)
}

/// The Q.850 cause of a Reason value (RFC 3326).
pub(super) fn q850_of(reason: &[u8]) -> Option<u8> {
    let text = std::str::from_utf8(reason).ok()?;
    text.split(',').find_map(|value| {
        let mut parts = value.split(';').map(str::trim);
        if !parts.next()?.eq_ignore_ascii_case("Q.850") {
            return None;
        }
        parts.find_map(|part| {
            let (name, cause) = part.split_once('=')?;
            if name.trim().eq_ignore_ascii_case("cause") { cause.trim().parse().ok() } else { None }
        })
    })
}

/// A q-value in thousandths (RFC 3261 §25.1 `qvalue`).
fn thousandths(q: &[u8]) -> u16 {
    let text = std::str::from_utf8(q).ok().and_then(|text| text.parse::<f32>().ok());
    text.map_or(1000, |q| (q.clamp(0.0, 1.0) * 1000.0) as u16)
}
