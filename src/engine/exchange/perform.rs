//! A call's actions become messages.

use std::time::Duration;

use super::carry::Kind;
use super::ended::Ended;
use super::slot::{Acknowledgement, Asked, Owner, Stage, Wake};
use super::story::What;
use super::{CallEvent, Effects, Exchange, Notice, SlotKey, names, write_contact};
use crate::call::event::{Action, Answer, Event, LegId, Why};
use crate::call::story::Way;
use crate::sip::body::Body;
use crate::sip::build;
use crate::sip::dialog::{MAX_FORWARDS, is_secure};
use crate::sip::header::{Method, Name};
use crate::sip::sdp;
use crate::sip::session::Session;
use crate::sip::transaction;
use crate::sip::uri::Scheme;
use crate::sip::wire::Message;
use crate::time::Now;

use super::caller::cause_digits;

impl Exchange {
    // A state table.
    pub(super) fn perform(&mut self, now: Now, key: SlotKey, action: Action, out: &mut Effects) {
        match action {
            Action::Invite(leg) => self.invite(now, key, leg, out),
            Action::Cancel { leg, why } => self.abandon(now, key, leg, why, out),
            Action::Acknowledge { leg, answer } => self.acknowledge(now, key, leg, &answer, out),
            Action::Bye { leg, why } => self.bye(now, key, leg, why, out),
            Action::Ring => self.ring_caller(now, key, out),
            Action::Announce => self.announce(key, out),
            Action::Progress { code, leg, fork, body } => {
                self.progress_to_caller(now, key, code, (leg, fork), body, out);
            }
            Action::Accept { leg, fork, body } => self.accept_caller(now, key, (leg, fork), body, out),
            Action::Refuse { code, q850 } => self.refuse_caller(now, key, code, q850, out),
            Action::PassOn { leg, method, body } => self.pass_on(now, key, leg, method, body, out),
            Action::Reply { leg, method, code, body } => {
                self.reply(now, key, (leg, method), code, body.as_ref(), out)
            }
            Action::Offer { leg, body } => self.offer(now, key, leg, &body, out),
            Action::Withdraw(leg) => self.withdraw(now, key, leg, out),
            Action::Pause { leg, timer } => self.pause(now, key, leg, timer),
            Action::Report { code, q850, why } => self.report(now, key, code, q850, why, out),
            Action::Leaves(leg) => self.leaves(now, key, leg, out),
            Action::Settle { leg, answer } => {
                let answer = answer.map_or(Answer::None, Answer::Of);
                self.acknowledge(now, key, leg, &answer, out);
            }
            Action::Say { leg, what, again } => self.say_audio(key, leg, what, again),
            Action::Hush(leg) => self.hush_audio(key, leg),
            Action::Record(right) => self.record_audio(now, key, right),
            Action::TakeMessage(listen) => self.take_message(now, key, listen),
            Action::DiscardMessage => self.discard_message(key),
            Action::Start(timer, after) => self.arm(key, Wake::Call(timer), now.mono + after),
            Action::Stop(timer) => self.disarm(key, Wake::Call(timer)),
            Action::Journal => self.journal(now, key, out),
            Action::Close => self.close(now, key, out),
        }
    }

    /// Gives a leg up before its answer.
    pub(super) fn abandon(&mut self, now: Now, key: SlotKey, leg: LegId, why: Why, out: &mut Effects) {
        let Some(side) = self.slots.get_mut(key).and_then(|slot| slot.called(leg)) else { return };
        if side.side.stage != Stage::Early {
            return;
        }
        self.follow_phone(now, key, leg, out);
        let Some(side) = self.slots.get_mut(key).and_then(|slot| slot.called(leg)) else { return };
        let mut reason = Vec::new();
        write_reason(&mut reason, &why);
        side.side.stage = Stage::Abandoned(why);
        if let Some(transaction) = side.transaction {
            if self.transactions.is_unheard(transaction) {
                self.gateway_given_up(now, key, leg);
            }
            self.transactions.cancel(now.mono, transaction, Some(&reason), &mut out.out);
            self.say(now, key, Way::Out, leg, What::Request(Method::Cancel));
            self.follow_last_word(now, key, leg);
        }
    }

    /// ACK of a 2xx that we got; kept, to be repeated with it (RFC 3261 §13.2.2.4).
    pub(super) fn acknowledge(
        &mut self,
        now: Now,
        key: SlotKey,
        leg: LegId,
        answer: &Answer,
        out: &mut Effects,
    ) {
        self.follow_phone(now, key, leg, out);
        let draw = self.names.draw();
        let Some(slot) = self.slots.get_mut(key) else { return };
        let shown = slot.login(leg).and_then(|login| login.shown.take());
        let Some(side) = slot.side(leg) else { return };
        let Some(dialog) = side.dialog.as_deref() else { return };
        let peer = dialog.peer();
        let host = self.settings.host_of(&*self.desk, peer);
        let start = out.out.wire.len();
        let mut w = dialog.ack(&mut out.out.wire, side.invite_seq, &branch_of(draw), &host);
        if let Some(shown) = shown.filter(|shown| shown.cseq == side.invite_seq) {
            shown.given.iter().for_each(|given| given.write(&mut w));
        }
        let range = match answer {
            Answer::None => w.end(),
            Answer::Of(body) => w.body(body.header_lines(), body.bytes()),
            Answer::RefuseAll => {
                self.scratch.clear();
                if let Some(offer) = &side.offer {
                    sdp::refuse_all(offer.sdp().unwrap_or_default(), &mut self.scratch);
                }
                w.body(b"Content-Type: application/sdp\r\n", &self.scratch)
            }
        };
        debug_assert_eq!(range.start, start);
        side.offer = None;
        let bytes = out.out.wire[range.clone()].into();
        side.keep_ack(Acknowledgement { cseq: side.invite_seq, fork: side.fork, to: peer, bytes });
        let opens = matches!(side.stage, Stage::Accepted { .. });
        if opens {
            side.stage = Stage::Confirmed;
        }
        out.out.send_range(peer, range);
        slot.story.say(now.mono, Way::Out, leg, What::Request(Method::Ack));
        if opens && let Some(invite) = slot.called(leg).and_then(|called| called.transaction) {
            self.transactions.acknowledged(now.mono, invite);
        }
    }

    /// BYE; to a caller whose ACK is outstanding it waits for that (RFC 3261 §15).
    pub(super) fn bye(&mut self, now: Now, key: SlotKey, leg: LegId, why: Why, out: &mut Effects) {
        let Some(slot) = self.slots.get_mut(key) else { return };
        // A 200 that a PRACK held up never left: the INVITE is refused instead.
        if leg == LegId::CALLER && slot.caller.side.stage == Stage::Early {
            return self.refuse_caller(now, key, 480, None, out);
        }
        self.follow_phone(now, key, leg, out);
        let Some(slot) = self.slots.get_mut(key) else { return };
        let Some(side) = slot.side(leg) else { return };
        if leg == LegId::CALLER && matches!(side.stage, Stage::Accepted { .. }) {
            side.stage = Stage::Accepted { bye: Some(why) };
            return;
        }
        // Gone with its dialog: its own BYE is being worked on.
        let Some(dialog) = side.dialog.as_deref_mut().filter(|_| side.stage != Stage::Gone) else { return };
        let peer = dialog.peer();
        let owner = Owner::Leaving(key, leg);
        let Ok((transaction, branch)) = self.transactions.reserve(owner) else {
            side.dialog = None;
            side.stage = Stage::Gone;
            return;
        };
        let host = self.settings.host_of(&*self.desk, peer);
        self.scratch.clear();
        let mut w = dialog.request(&mut self.scratch, Method::Bye, branch.as_ref(), &host);
        let mut reason = Vec::new();
        write_reason(&mut reason, &why);
        w.header(Name::Reason, &reason);
        self.carried.write(&mut w, key, leg, Kind::Request(Method::Bye));
        let range = w.end();
        // Gone only once the BYE stands: what ends a call after a fault says it then.
        side.left = side.dialog.take();
        side.stage = Stage::Gone;
        slot.pins += 1;
        self.transactions.send(now.mono, transaction, Method::Bye, &self.scratch[range], peer, &mut out.out);
        self.say(now, key, Way::Out, leg, What::Request(Method::Bye));
        self.disarm(key, Wake::Session(leg));
        self.disarm(key, Wake::KeepAlive(leg));
    }

    /// A request that one side sent goes to the other.
    fn pass_on(
        &mut self,
        now: Now,
        key: SlotKey,
        leg: LegId,
        method: Method,
        body: Option<Body>,
        out: &mut Effects,
    ) {
        // No second INVITE while one is open (RFC 3261 §14.1): whoever asked tries again.
        let offers = method == Method::Invite || method == Method::Update && body.is_some();
        let open = self.slots.get(key).and_then(|slot| slot.side_ref(leg));
        if offers && open.is_some_and(|side| side.refreshes_by_invite()) {
            return self.pending.push_back((key, Event::Replied { leg, method, code: 491, body: None }));
        }
        self.follow_phone(now, key, leg, out);
        let reserved = self.transactions.reserve(Owner::Passed(key, leg));
        let Some(slot) = self.slots.get_mut(key) else { return };
        let extra = slot.asked.iter().rev().find(|asked| asked.leg != leg && asked.method == method);
        let request = extra.map(|asked| asked.request.clone()).unwrap_or_default();
        let abilities = slot.abilities(leg);
        let Some(side) = slot.side(leg) else { return };
        let (Ok((transaction, branch)), Some(dialog)) = (reserved, side.dialog.as_deref_mut()) else {
            return;
        };
        let (peer, scheme) = (dialog.peer(), dialog.scheme());
        let host = self.settings.host_of(&*self.desk, peer);
        self.scratch.clear();
        let request = Message::parse(&request).ok();
        let hops = request.as_ref().and_then(|request| request.max_forwards().ok().flatten());
        // `asked` has seen to it that there is one left.
        let hops = hops.map_or(MAX_FORWARDS, |hops| hops.saturating_sub(1));
        let mut w = dialog.request_with_hops(&mut self.scratch, method, branch.as_ref(), &host, hops);
        if matches!(method, Method::Invite | Method::Update) {
            write_contact(&mut w, scheme, peer.transport, &host);
            w.lines(abilities.allow);
            w.lines(abilities.supported);
            if let Some(session) = side.session {
                session.write_refresh(&mut w);
            }
        }
        if let Some(request) = request {
            for value in request.head().all_named("Info-Package") {
                w.header("Info-Package", value);
            }
        }
        self.carried.write(&mut w, key, leg, Kind::Request(method));
        let range = match &body {
            Some(body) => w.body(body.header_lines(), body.bytes()),
            None => w.end(),
        };
        if method == Method::Invite {
            side.invite_seq = dialog.local_seq();
            side.asked_for_offer = body.is_none();
        }
        self.transactions.send(now.mono, transaction, method, &self.scratch[range], peer, &mut out.out);
        if let Some(asked) =
            slot.asked.iter_mut().rev().find(|asked| asked.leg != leg && asked.method == method)
        {
            asked.passed = Some(transaction);
        }
        slot.sent(now.mono, leg, method);
    }

    /// Answers the request that a side sent within its dialog.
    pub(super) fn reply(
        &mut self,
        now: Now,
        key: SlotKey,
        (leg, method): (LegId, Method),
        code: u16,
        body: Option<&Body>,
        out: &mut Effects,
    ) {
        let retry_after = self.names.draw() % 10;
        self.follow_phone(now, key, leg, out);
        let Some(slot) = self.slots.get_mut(key) else { return };
        let open = |asked: &Asked| asked.leg == leg && asked.method == method && !asked.request.is_empty();
        // Of two at once, the later one is refused first and the earlier answered when the other side has.
        let latest_first = code == 491 || code == 500;
        let place =
            if latest_first { slot.asked.iter().rposition(open) } else { slot.asked.iter().position(open) };
        let Some(place) = place else { return };
        let bytes = std::mem::take(&mut slot.asked[place].request);
        let (transaction, from) = (slot.asked[place].transaction, slot.asked[place].from);
        let accepted = (200..300).contains(&code);
        // Its ACK is awaited (with the answer, where our 200 brought the offer).
        let awaits_ack = method == Method::Invite && accepted;
        if !awaits_ack {
            slot.asked.remove(place);
        }
        let Ok(request) = Message::parse(&bytes) else { return };
        let refreshes = accepted && matches!(method, Method::Invite | Method::Update);
        if let Some(dialog) = slot.dialog_of(leg).filter(|_| refreshes) {
            dialog.refresh_target(&request, from, &self.settings);
        }
        let abilities = slot.abilities(leg);
        let Some(side) = slot.side(leg) else { return };
        // In an early dialog, or after a BYE, there is none.
        let dialog = side.dialog.as_deref();
        let peer = dialog.map_or(from, |dialog| dialog.peer());
        let scheme = match dialog {
            Some(dialog) => dialog.scheme(),
            None if is_secure(&request) => Scheme::Sips,
            None => Scheme::Sip,
        };
        let host = self.settings.host_of(&*self.desk, peer);
        self.scratch.clear();
        // An INVITE that came to take another's place makes its dialog with this answer.
        let tag = request.to().tag().is_none().then(|| names::tag(key, leg, 0));
        let tag = tag.as_ref().map(|tag| &tag[..]);
        let mut w = build::answer(&mut self.scratch, &request, from.addr, code, build::phrase(code), tag);
        if matches!(method, Method::Invite | Method::Update) && accepted {
            w.copy(request.head(), Name::RecordRoute);
            write_contact(&mut w, scheme, peer.transport, &host);
            w.lines(abilities.allow);
            w.lines(abilities.supported);
            if let Ok(Some(session)) = Session::of_request(&request)
                && side.session.is_some()
                && request.get(Name::SessionExpires).is_some()
            {
                side.session = Some(session);
            }
            if let Some(session) = side.session {
                session.write_answer(&mut w);
            }
        }
        if code == 500 {
            w.number(Name::RetryAfter, retry_after);
        }
        self.carried.write(&mut w, key, leg, Kind::Response(method));
        let range = match body {
            Some(body) => w.body(body.header_lines(), body.bytes()),
            None => w.end(),
        };
        self.transactions.respond(now.mono, transaction, code, &self.scratch[range], &mut out.out);
        slot.story.say(now.mono, Way::Out, leg, What::Response(code, method));
        if awaits_ack {
            slot.pins += 1;
        }
        if refreshes {
            self.session_begins(now, key, leg);
        }
        if awaits_ack {
            self.follow_last_word(now, key, leg);
        }
    }

    /// A side is out, and the call goes on. What it still asks is answered (RFC 3261 §15.1.2), the other may ask again
    /// what it was asked, and an INVITE that was passed on of either is given up.
    fn leaves(&mut self, now: Now, key: SlotKey, leg: LegId, out: &mut Effects) {
        let Some(slot) = self.slots.get(key) else { return };
        if leg == LegId::CALLER
            && let Some(call) = slot.call.as_deref()
        {
            self.desk.leave(&call.plan.origin, &call.plan.urgency, now.mono);
        }
        let concerned =
            |asked: &&Asked| !asked.request.is_empty() && (asked.leg == leg || asked.passed.is_some());
        let open: Vec<(LegId, Method, Option<transaction::Id>)> = slot
            .asked
            .iter()
            .filter(concerned)
            .map(|asked| (asked.leg, asked.method, asked.passed))
            .collect();
        for (asker, method, passed) in open {
            if let Some(passed) = passed.filter(|_| method == Method::Invite) {
                self.transactions.cancel(now.mono, passed, None, &mut out.out);
            }
            let offers = matches!(method, Method::Invite | Method::Update);
            let code = match (asker == leg, offers) {
                (true, _) => 487,
                (false, true) => 491,
                (false, false) => 480,
            };
            self.reply(now, key, (asker, method), code, None, out);
        }
    }

    fn announce(&self, key: SlotKey, out: &mut Effects) {
        if let Some(call) = self.slots.get(key).and_then(|slot| slot.call.as_deref()) {
            out.notices.push(Notice::Said(CallEvent::Ringing { call: call.arrival.id.clone() }));
        }
    }

    fn journal(&mut self, now: Now, key: SlotKey, out: &mut Effects) {
        let Some(slot) = self.slots.get_mut(key) else { return };
        let seen = slot.seen(LegId::CALLER);
        let Some(call) = slot.call.as_deref() else { return };
        let entry = call.journal_entry(now, &self.settings.node, seen);
        let (caller, did) = (call.arrival.caller.number, call.plan.did);
        out.notices.push(Notice::Answered(Box::new(entry)));
        if std::mem::take(&mut slot.counted)
            && let (Some(caller), Some(did)) = (caller, did)
        {
            self.desk.ringing_ended(caller, did);
        }
    }

    /// What a side still asks is answered (RFC 3261 §15.1.2: 487), and what was passed on of it is given up: an
    /// INVITE that has only a provisional response waits for ever.
    fn settle_asked(&mut self, now: Now, key: SlotKey, out: &mut Effects) {
        let is_open = |asked: &&Asked| !asked.request.is_empty();
        while let Some(asked) = self.slots.get(key).and_then(|slot| slot.asked.iter().find(is_open)) {
            let (leg, method, passed) = (asked.leg, asked.method, asked.passed);
            if let Some(passed) = passed.filter(|_| method == Method::Invite) {
                self.transactions.cancel(now.mono, passed, None, &mut out.out);
            }
            self.reply(now, key, (leg, method), 487, None, out);
        }
    }

    /// The call is over: its record is made, whatever its dialogs still owe (R12).
    fn close(&mut self, now: Now, key: SlotKey, out: &mut Effects) {
        self.settle_asked(now, key, out);
        self.give_up_refreshes(now, key, out);
        let Some(slot) = self.slots.get_mut(key) else { return };
        // Taken away only once its record is there: what panics before that finds the call again.
        let Some(call) = slot.call.as_ref() else { return };
        let cdr = Box::new(call.record(now, &self.settings.node, |leg| slot.seen(leg)));
        let Some(call) = slot.call.take() else { return };
        slot.armed.retain(|armed| matches!(armed.wake, Wake::RepeatReliable | Wake::Follow(_)));
        slot.opening = None;
        self.referrals.remove(&key);
        if std::mem::take(&mut slot.counted)
            && let (Some(caller), Some(did)) = (call.arrival.caller.number, call.plan.did)
        {
            self.desk.ringing_ended(caller, did);
        }
        if call.caller_left().is_none() {
            self.desk.leave(&call.plan.origin, &call.plan.urgency, now.mono);
        }
        debug_assert!(
            !call.legs.iter().any(|leg| leg.hold != crate::call::leg::Hold::Nothing),
            "a leg outlives its call"
        );
        let ended = Ended::of(slot, call);
        self.record_call(now, key, cdr, ended, out);
    }

    /// Ends whatever dialogs and INVITEs a call has, without asking it.
    pub(super) fn end_from_dialogs(&mut self, now: Now, key: SlotKey, out: &mut Effects) {
        let Some(slot) = self.slots.get_mut(key) else { return };
        for at in 0..slot.legs.len() {
            let leg = LegId(u8::try_from(at + 1).unwrap_or(u8::MAX));
            let called = self.slots.get_mut(key).and_then(|slot| slot.called(leg));
            let open = called.filter(|called| matches!(called.side.stage, Stage::Accepted { .. }));
            if let Some(called) = open {
                let answer = if called.is_delayed() { Answer::RefuseAll } else { Answer::None };
                self.acknowledge(now, key, leg, &answer, out);
            }
            self.abandon(now, key, leg, Why::NoAnswer, out);
            self.bye(now, key, leg, Why::Ours(crate::call::outcome::q850_of(500)), out);
        }
        self.refuse_caller(now, key, 500, None, out);
        self.bye(now, key, LegId::CALLER, Why::Ours(crate::call::outcome::q850_of(500)), out);
    }
}

/// The branch of a request that is no transaction: the ACK of a 2xx.
pub(super) fn branch_of(draw: u64) -> [u8; 23] {
    let mut branch = *b"z9hG4bK0000000000000000";
    for (at, place) in branch[7..].iter_mut().enumerate() {
        let digit = (draw >> (4 * at) & 15) as u8;
        *place = if digit < 10 { b'0' + digit } else { b'a' + digit - 10 };
    }
    branch
}

/// The value of a Reason header (RFC 3326).
pub(super) fn write_reason(out: &mut Vec<u8>, why: &Why) {
    match why {
        Why::Elsewhere => out.extend_from_slice(b"SIP;cause=200;text=\"Call completed elsewhere\""),
        Why::Carried(reason) => build::push_clean(out, reason),
        Why::NoAnswer => out.extend_from_slice(b"Q.850;cause=19"),
        Why::Normal(cause) | Why::Ours(cause) => {
            let mut digits = [0u8; 3];
            out.extend_from_slice(b"Q.850;cause=");
            out.extend_from_slice(cause_digits(*cause, &mut digits));
        }
    }
}

/// How long a glare is waited out (RFC 3261 §14.1): 2.1 to 4 s for the one who chose the Call-ID, else up to 2 s.
pub(super) fn glare_pause(owns_call_id: bool, draw: u64) -> Duration {
    let range = if owns_call_id { 2_100..4_000 } else { 0..2_000 };
    Duration::from_millis(range.start + draw % (range.end - range.start))
}
