//! Requests outside a dialog: who sent it, what it wants, and how a call begins (R1, R2, R14).

use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;

use super::abilities::{Abilities, unsupported};
use super::binding::Phone;
use super::challenged::Login;
use super::dialled::{Invited, dialled, emergency_of};
use super::fault::{Arriving, Reached};
use super::refuse::{ACCEPT, refusal_of, write_refusal};
use super::slot::{CallerSide, Opening, Owner, Rare, Reliability, Side, Slot, Stage};
use super::story::{Story, What};
use super::{CallEvent, Effects, Exchange, Mark, Notice, STALE, SlotKey, binding, names};
use crate::call::event::{Event, LegId};
use crate::call::refusal::Refusal;
use crate::call::story::Way;
use crate::call::{Arrival, Call, Caller, Refused, Seen, caller, refused};
use crate::number::E164;
use crate::routing::{Origin, Plan, Who};
use crate::sip::body::Body;
use crate::sip::build::{self, AnswerHead, Writer};
use crate::sip::dialog::Dialog;
use crate::sip::header::{Method, Name, Params};
use crate::sip::peer::Peer;
use crate::sip::session::Session;
use crate::sip::transaction::{self, Key, Meeting};
use crate::sip::wire::{Kept, Malformed, Message};
use crate::time::Now;

/// What a call begins with, beside who calls whom.
struct Beginning {
    /// Its INVITE's.
    transaction: transaction::Id,
    key: SlotKey,
    opening: Box<Opening>,
    plan: Box<Plan>,
    session: Option<Session>,
}

impl Exchange {
    pub(super) fn received(&mut self, now: Now, from: Peer, bytes: &[u8], age: Duration, out: &mut Effects) {
        // Looked at where it is: a move would be a copy.
        match &Message::parse(bytes) {
            Ok(message) if message.is_request() => self.request(now, from, message, age, out),
            Ok(message) => self.response(now, from, message, out),
            Err(malformed) => self.malformed(from, malformed, out),
        }
    }

    fn malformed(&mut self, from: Peer, malformed: &Malformed<'_>, out: &mut Effects) {
        if malformed.is_keep_alive() {
            return;
        }
        let known = self.knows(from);
        self.rejected.count(Refusal::Malformed.label());
        if known {
            let tag = self.names.stateless_tag(malformed.raw());
            // Its sent-by may be what is wrong with it: the answer goes to where it came from.
            if let Some(range) = build::answer_malformed(&mut out.out.wire, malformed, from.addr, &tag) {
                out.out.send_range(from, range);
            }
        }
    }

    fn request(&mut self, now: Now, from: Peer, request: &Message<'_>, age: Duration, out: &mut Effects) {
        match self.transactions.meet(request) {
            Meeting::Again(id) => self.transactions.repeat(now.mono, id, &mut out.out),
            Meeting::Ack(id) => self.transactions.acked(now.mono, id),
            Meeting::AckOfAccepted(_) | Meeting::AckOfDialog => self.ack(now, request, out),
            Meeting::Cancel { invite, key } => self.cancel(now, from, request, invite, key, out),
            Meeting::Merged(key) => self.merged(now, from, request, key, out),
            Meeting::New(key) if request.to().tag().is_some() => self.within(now, from, request, key, out),
            Meeting::New(key) => self.outside(now, from, request, key, age, out),
        }
    }

    /// RFC 3261 §8.2.2.2. By a transaction: it may be repeated when the call that it is one with is forgotten.
    fn merged(&mut self, now: Now, from: Peer, request: &Message<'_>, key: Key, out: &mut Effects) {
        // An agent's is not challenged: its credentials are spent with the first.
        let is_known = self.is_an_agents(from, request)
            || self.trunk_by_line(request).is_some()
            || self.table.trunk_of(from.addr).is_some();
        if !is_known {
            return self.stranger(from, request, out);
        }
        let Ok(id) = self.transactions.accept(now.mono, key, request, from, Owner::Nobody) else {
            return self.refuse_statelessly(from, request, Refusal::Merged, out);
        };
        self.rejected.count(Refusal::Merged.label());
        let code = Refusal::Merged.code();
        let tag = self.names.stateless_tag(request.via().branch.unwrap_or(request.call_id()));
        self.scratch.clear();
        let phrase = build::phrase(code);
        let range = build::answer(&mut self.scratch, request, from.addr, code, phrase, Some(&tag)).end();
        self.transactions.respond(now.mono, id, code, &self.scratch[range], &mut out.out);
    }

    fn outside(
        &mut self,
        now: Now,
        from: Peer,
        request: &Message<'_>,
        key: Key,
        age: Duration,
        out: &mut Effects,
    ) {
        if from.shard().is_some() {
            return self.joins(now, from, request, key, out);
        }
        if request.method() == Method::Register {
            return self.register(now, from, request, key, out);
        }
        let origin = if self.is_an_agents(from, request) {
            let Some(agent) = self.authenticate(now, from, request, out) else { return };
            self.table.origin_of(&agent)
        } else if let Some(trunk) = self.trunk_by_line(request).or_else(|| self.table.trunk_of(from.addr)) {
            Origin::Trunk(Arc::clone(trunk))
        } else {
            return self.stranger(from, request, out);
        };
        let abilities = Abilities::towards(origin.agent().is_some());
        match request.method() {
            Method::Invite => {
                self.invited(now, &Invited { from, invite: request, origin: &origin }, key, age, out)
            }
            Method::Options if self.draining => {
                self.refuse_statelessly(from, request, Refusal::Overload, out)
            }
            Method::Options if !is_dialable(request) => {
                self.refuse_statelessly(from, request, Refusal::Scheme, out)
            }
            Method::Options if unsupported(request, abilities).next().is_some() => {
                self.refuse_statelessly(from, request, Refusal::Extension, out)
            }
            Method::Options => self.answer_statelessly(from, request, 200, out, |w| {
                w.lines(abilities.allow);
                w.header(Name::Accept, ACCEPT);
                w.lines(abilities.supported);
            }),
            // These exist only within a dialog (RFC 3261 §15.1.2, RFC 3262 §3, RFC 3311 §5.2).
            Method::Bye | Method::Prack | Method::Update | Method::Info | Method::Cancel => {
                self.refuse_statelessly(from, request, Refusal::NoDialog, out);
            }
            Method::Ack => {}
            Method::Register
            | Method::Refer
            | Method::Notify
            | Method::Subscribe
            | Method::Publish
            | Method::Message
            | Method::Other => self.refuse_statelessly(from, request, Refusal::MethodNotAllowed, out),
        }
    }

    /// Whether calls come from there or go there: a trunk's `from`, a gateway, an agent's phone. Asked where somebody
    /// would be refused as a stranger: hosts that have names are searched one by one.
    pub(super) fn knows(&self, from: Peer) -> bool {
        from.shard().is_some()
            || self.table.trunk_of(from.addr).is_some()
            || self.far_ends.binary_search(&from.addr.ip()).is_ok()
            || self.desk.directory().is_phone(binding::Way::of(from))
            || self.desk.hosts().is_one_at(from.addr.ip())
    }

    /// R1e: nobody. 403 to an INVITE, silence to the rest.
    pub(super) fn stranger(&mut self, from: Peer, request: &Message<'_>, out: &mut Effects) {
        if request.method() == Method::Invite && self.settings.answer_strangers {
            self.refuse_statelessly(from, request, Refusal::Stranger, out);
        } else {
            self.rejected.count(Refusal::Stranger.label());
        }
        out.notices
            .push(Notice::Said(CallEvent::Rejected { reason: Refusal::Stranger.label(), from: from.addr }));
    }

    /// Refuses without keeping anything: a repetition gets the same answer again, tag included.
    pub(super) fn refuse_statelessly(
        &mut self,
        from: Peer,
        request: &Message<'_>,
        why: Refusal,
        out: &mut Effects,
    ) {
        self.rejected.count(why.label());
        let retry_after = u64::from((self.names.draw() % 5) as u32) + 1;
        self.answer_statelessly(from, request, why.code(), out, |w| {
            write_refusal(w, request, why, Abilities::towards(false), retry_after)
        });
    }

    pub(super) fn answer_statelessly(
        &mut self,
        from: Peer,
        request: &Message<'_>,
        code: u16,
        out: &mut Effects,
        more: impl FnOnce(&mut Writer<'_>),
    ) {
        let tag = self.names.stateless_tag(request.via().branch.unwrap_or(request.call_id()));
        let phrase = build::phrase(code);
        let mut w = build::answer(&mut out.out.wire, request, from.addr, code, phrase, Some(&tag));
        more(&mut w);
        let range = w.end();
        out.out.send_range(transaction::reply_to(request, from), range);
    }

    /// An INVITE of a trunk.
    fn invited(&mut self, now: Now, came: &Invited<'_>, key: Key, age: Duration, out: &mut Effects) {
        let &Invited { from, invite, origin } = came;
        // True overload and draining: nothing is kept, no record is written (R12, R14). Nobody who calls for help is
        // sent away (R13).
        let is_too_much = self.draining || age > STALE || !self.has_room() || !self.admits(now);
        if is_too_much && !self.must_be_taken(now, invite, origin) {
            return self.refuse_statelessly(from, invite, Refusal::Overload, out);
        }
        self.arriving = Some(Arriving::at(Reached::Sender, origin));
        self.arrives(now, came, key, age, out);
        self.arriving = None;
    }

    /// An INVITE that there is room for: from here on a fault of ours has its answer and its record.
    fn arrives(&mut self, now: Now, came: &Invited<'_>, key: Key, age: Duration, out: &mut Effects) {
        let &Invited { from, invite, origin } = came;
        // RFC 3261 §8.1.1.8: exactly one.
        if invite.list(Name::Contact).nth(1).is_some() {
            return self.refuse_statelessly(from, invite, Refusal::Malformed, out);
        }
        // Its own tag comes when it is answered.
        let Ok(dialog) = Dialog::of_request(invite, &[b'-'; names::TAG_LEN], from, &self.settings) else {
            return self.refuse_statelessly(from, invite, Refusal::Malformed, out);
        };
        // A phone is reached where it called from; one behind a proxy by that.
        let direct = origin.trunk().is_none() && invite.get(Name::RecordRoute).is_none();
        let dialog = dialog.pinned(direct.then_some(from));
        let hops = match invite.max_forwards() {
            Ok(hops) => hops,
            Err(_) => return self.refuse_statelessly(from, invite, Refusal::Malformed, out),
        };
        if !self.desk.reserve_record() {
            if !self.must_be_taken(now, invite, origin) {
                return self.refuse_statelessly(from, invite, Refusal::Overload, out);
            }
            self.desk.reserve_record_beyond();
        }
        let slot = self.slots.next_key(self.names.draw());
        let Ok(id) = self.transactions.accept(now.mono, key, invite, from, Owner::Caller(slot)) else {
            self.desk.release_record();
            return self.refuse_statelessly(from, invite, Refusal::Overload, out);
        };
        self.arriving = Some(Arriving::at(Reached::Transaction(id), origin));
        self.scratch.clear();
        let head = AnswerHead::of(&mut self.scratch, invite, from.addr);
        self.respond_trying(now, invite, &head, id, out);
        let arrival = self.arrival(now, came);
        self.arriving = Some(Arriving::at(Reached::Reading(id), origin));
        match self.admit(now, came, hops, &arrival) {
            Ok((plan, session)) => {
                let opening = Opening { invite: Kept::of(invite), head, dialog: Box::new(dialog) };
                let opening = Box::new(opening);
                let beginning = Beginning { transaction: id, key: slot, opening, plan, session };
                self.begin(now, came, beginning, arrival, out);
                out.notices.push(Notice::SetUp { waited: age });
            }
            Err(why) => self.refuse_call(now, came, id, &arrival, why, out),
        }
    }

    fn admits(&mut self, now: Now) -> bool {
        self.admission.admits(now.mono, self.slots.len(), self.bounds.dialogs)
    }

    /// Whether one more call finds room in all that it will need; what is full is counted.
    fn has_room(&mut self) -> bool {
        let full = if self.calls >= self.bounds.calls {
            "calls"
        } else if self.slots.len() >= self.bounds.dialogs {
            "dialogs"
        } else if !self.transactions.has_room_for_calls() {
            "transactions"
        } else {
            return true;
        };
        self.full.count(full);
        false
    }

    fn respond_trying(
        &mut self,
        now: Now,
        invite: &Message<'_>,
        head: &AnswerHead,
        id: transaction::Id,
        out: &mut Effects,
    ) {
        self.scratch.clear();
        let mut w = head.answer(&mut self.scratch, 100, None);
        w.copy(invite.head(), Name::Timestamp);
        let range = w.end();
        self.transactions.respond(now.mono, id, 100, &self.scratch[range], &mut out.out);
    }

    pub(super) fn arrival(&mut self, now: Now, came: &Invited<'_>) -> Arrival {
        let &Invited { invite, origin, .. } = came;
        let text = dialled(invite, origin.reads());
        let number = origin.reads().read_dialled(&text);
        let for_help = origin.agent().and_then(|_| self.table.emergency(&text));
        let replaces = self.replaced_by(invite, origin);
        let (offer, enclosed) = match (Body::of(invite), for_help) {
            (Some(body), _) if body.is_sdp() => (Some(body), None),
            // It goes out as it came; what we cannot read may well be an offer.
            (Some(body), Some(_)) if is_encoded(invite) => (Some(body), None),
            (Some(body), Some(_)) => (None, Some(Box::new(body))),
            (Some(_), None) | (None, _) => (None, None),
        };
        Arrival {
            id: self.names.record_id(now.wall),
            dialled: number.map_or_else(|| caller::cut(&text).into(), Into::into),
            number,
            caller: match origin {
                Origin::Trunk(trunk) => Caller::of(invite, trunk),
                Origin::Agent { agent, .. } if for_help.is_some() => Caller::for_help(agent),
                Origin::Agent { agent, .. } => Caller::agent(invite, agent, self.table.shown_of(agent)),
            },
            offer,
            enclosed,
            breadth: invite.number(Name::MaxBreadth).filter(|breadth| *breadth > 0 || for_help.is_none()),
            expires: invite.number(Name::Expires).map(|seconds| Duration::from_secs(seconds.into())),
            joins: replaces.ok().flatten().filter(|_| for_help.is_none()),
            is_anchored: false,
            at: now,
        }
    }

    /// Whether the call may begin, and by which plan. A call for help may, whatever it requires beside, names, encloses
    /// or wants of its session's time (R13); only one that has been everywhere already goes no further.
    fn admit(
        &mut self,
        now: Now,
        came: &Invited<'_>,
        hops: Option<u32>,
        arrival: &Arrival,
    ) -> Result<(Box<Plan>, Option<Session>), Refusal> {
        let &Invited { invite, origin, .. } = came;
        if !is_dialable(invite) && !self.calls_for_help(invite, origin) {
            return Err(Refusal::Scheme);
        }
        if hops == Some(0) {
            return Err(Refusal::TooManyHops);
        }
        if arrival.breadth == Some(0) {
            return Err(Refusal::NoBreadth);
        }
        let is_demanding = unsupported(invite, Abilities::towards(origin.agent().is_some())).next().is_some();
        if is_demanding && !self.calls_for_help(invite, origin) {
            return Err(Refusal::Extension);
        }
        let joins = match self.replaced_by(invite, origin) {
            joins if !self.calls_for_help(invite, origin) => joins?,
            Ok(_) | Err(_) => None,
        };
        if is_encoded(invite) && !self.calls_for_help(invite, origin) {
            return Err(Refusal::Encoded);
        }
        if arrival.offer.is_none() && arrival.enclosed.is_none() && wants_its_body_read(invite) {
            return Err(Refusal::BodyType);
        }
        let session = match Session::of_request(invite) {
            Ok(session) => session,
            // None at all: a 2xx may not name a longer one (RFC 4028 §9).
            Err(_) if self.calls_for_help(invite, origin) => None,
            Err(_) => return Err(Refusal::IntervalTooSmall),
        };
        let draw = (self.names.draw() >> 32) as u32;
        let plan = match origin {
            Origin::Trunk(trunk) => {
                let did = arrival.number.ok_or(Refusal::UnknownNumber)?;
                let plan = match self.who_called_for_help(did, now) {
                    Some(agent) => self.table.plan_back(origin.clone(), did, &agent, draw),
                    None => self.table.plan_for(trunk, did, draw).map_err(refusal_of)?,
                };
                if caller::loops(invite, did, trunk) {
                    return Err(Refusal::Loop);
                }
                plan
            }
            Origin::Agent { agent, .. } if joins.is_some() => self.table.plan_beside(agent),
            Origin::Agent { agent, dials } => {
                self.table.plan_of(agent, &dialled(invite, dials), draw).map_err(refusal_of)?
            }
        };
        if !self.desk.enter(origin, &plan.urgency, now.mono) {
            return Err(Refusal::TrunkLimit);
        }
        if let Some(arriving) = &mut self.arriving {
            arriving.entered = true;
        }
        Ok((Box::new(plan), session))
    }

    fn begin(
        &mut self,
        now: Now,
        came: &Invited<'_>,
        beginning: Beginning,
        mut arrival: Arrival,
        out: &mut Effects,
    ) {
        let &Invited { from, invite, origin } = came;
        let Beginning { transaction, key, opening, plan, session } = beginning;
        // An agent's own calls are no loop, nor is a call back to who called for help.
        let may_loop = plan.urgency.is_ordinary();
        let counts = plan.origin.trunk().filter(|_| may_loop).and(arrival.caller.number).zip(plan.did);
        let counted = counts.is_some();
        if let Some((number, did)) = counts
            && !self.rings_not_too_often(number, did, &plan, out)
        {
            self.arriving = Some(Arriving::at(Reached::Reading(transaction), origin));
            self.desk.ringing_ended(number, did);
            self.desk.leave(origin, &plan.urgency, now.mono);
            return self.refuse_call(now, came, transaction, &arrival, Refusal::TooManyRinging, out);
        }
        let anchor = match self.anchor(key, from, &plan, &mut arrival) {
            Ok(anchor) => {
                arrival.is_anchored = anchor.is_some();
                anchor
            }
            Err(why) => {
                self.arriving = Some(Arriving::at(Reached::Reading(transaction), origin));
                if let Some((number, did)) = counts {
                    self.desk.ringing_ended(number, did);
                }
                self.desk.leave(origin, &plan.urgency, now.mono);
                return self.refuse_call(now, came, transaction, &arrival, why, out);
            }
        };
        let mut side = Side::new(invite.cseq());
        side.session = session;
        side.allows_update = invite.has_token(Name::Allow, "UPDATE");
        let mut story = Story::new(now.mono);
        story.say(now.mono, Way::In, LegId::CALLER, What::Request(Method::Invite));
        story.say(now.mono, Way::Out, LegId::CALLER, What::Response(100, Method::Invite));
        let started = CallEvent::Started {
            call: arrival.id.clone(),
            trunk: plan.origin.trunk().map(|trunk| trunk.name.clone()),
            agent: plan.origin.agent().map(|agent| agent.name.clone()),
            dialled: arrival.dialled.clone(),
        };
        let emergency = emergency_of(&plan, &arrival.id, &arrival.dialled);
        let auth = plan.origin.trunk().and_then(|trunk| trunk.auth.as_ref());
        let agent = plan.origin.agent();
        let phone = agent.and_then(|agent| Phone::at(self.desk.directory(), agent, from, now.mono));
        let is_rare = auth.is_some() || phone.is_some();
        let rare = Rare { login: auth.map(Login::of), phone, ..Rare::default() };
        let rare = is_rare.then(|| Box::new(rare));
        out.mark(|| begins(&arrival, invite));
        self.slots.insert(Box::new(Slot {
            key,
            call: Some(Box::new(Call::new(arrival, plan))),
            opening: Some(opening),
            caller: CallerSide {
                side,
                transaction,
                peer: from,
                call_id: invite.call_id().into(),
                remote_tag: invite.from().tag().unwrap_or_default().into(),
                tags: SmallVec::new(),
                reliability: reliability(invite),
                rseq: 0,
                answered: 0,
                remote_seq: invite.cseq(),
                rare,
            },
            anchor,
            legs: SmallVec::new(),
            armed: SmallVec::new(),
            asked: Vec::new(),
            story,
            pins: 1,
            counted,
            bridged: false,
        }));
        self.calls += 1;
        self.arriving = None;
        self.learn_of_info(key, LegId::CALLER, invite);
        out.notices.push(Notice::Said(started));
        out.notices.extend(emergency.map(Notice::Said));
        self.happen(now, key, Event::Begin, out);
    }

    /// R11: `max_ringing_per_caller`, and the warning that names the likely loop.
    fn rings_not_too_often(&mut self, number: E164, did: E164, plan: &Plan, out: &mut Effects) -> bool {
        /// How many ringing calls of one caller to one forwarded number are a loop, most likely.
        const LIKELY_LOOP: u32 = 10;
        let (of_caller, to_did) = self.desk.ringing_began(number, did);
        if let Some(arriving) = &mut self.arriving {
            arriving.rings = Some((number, did));
        }
        if to_did == LIKELY_LOOP && is_forwarded(plan) {
            out.notices.push(Notice::Said(CallEvent::LikelyLoop { caller: number, did }));
        }
        plan.limits.max_ringing_per_caller == 0 || of_caller <= plan.limits.max_ringing_per_caller
    }

    /// Refuses a call that exists: its record is written (R12).
    pub(super) fn refuse_call(
        &mut self,
        now: Now,
        came: &Invited<'_>,
        id: transaction::Id,
        arrival: &Arrival,
        why: Refusal,
        out: &mut Effects,
    ) {
        let &Invited { from, invite, origin } = came;
        out.mark(|| begins(arrival, invite));
        self.rejected.count(why.label());
        let code = match origin.trunk() {
            Some(trunk) if why == Refusal::TrunkLimit => trunk.limit_code,
            Some(_) | None => why.code(),
        };
        let seen: Seen = (std::str::from_utf8(invite.call_id()).ok().map(Into::into), Some(from.addr));
        // It is ours though it be disabled.
        let ours = arrival.number.and_then(|did| Some((did, self.table.account_of(did)?)));
        let (did, account) = match ours {
            Some((did, account)) => (Some(did.to_string().into()), account),
            None => (None, "".into()),
        };
        let refused_call =
            Refused { arrival, refusal: why, code, origin, generation: self.table.generation, account, did };
        let cdr = refused(refused_call, now, &self.settings.node, seen);
        let tag = self.names.stateless_tag(invite.via().branch.unwrap_or(invite.call_id()));
        self.scratch.clear();
        let mut w =
            build::answer(&mut self.scratch, invite, from.addr, code, build::phrase(code), Some(&tag));
        write_refusal(&mut w, invite, why, Abilities::towards(origin.agent().is_some()), 0);
        let range = w.end();
        self.transactions.set_owner(id, Owner::Nobody);
        self.transactions.respond(now.mono, id, code, &self.scratch[range], &mut out.out);
        out.notices.push(Notice::Ended(Box::new(cdr)));
    }

    /// R1a: a CANCEL that matches a transaction of ours.
    fn cancel(
        &mut self,
        now: Now,
        from: Peer,
        cancel: &Message<'_>,
        invite: Option<transaction::Id>,
        key: Key,
        out: &mut Effects,
    ) {
        let Some(invite) = invite else {
            if self.knows(from) {
                self.refuse_statelessly(from, cancel, Refusal::NoDialog, out);
            }
            return;
        };
        let owner = self.transactions.owner(invite).unwrap_or(Owner::Nobody);
        let Ok(id) = self.transactions.accept(now.mono, key, cancel, from, Owner::Nobody) else { return };
        let (slot, leg) = owner.place().unwrap_or((SlotKey { index: 0, nonce: 0 }, LegId::CALLER));
        let tag = names::tag(slot, leg, 0);
        self.scratch.clear();
        let range =
            build::answer(&mut self.scratch, cancel, from.addr, 200, build::phrase(200), Some(&tag)).end();
        self.transactions.respond(now.mono, id, 200, &self.scratch[range], &mut out.out);
        match owner {
            Owner::Caller(slot) => {
                self.say(now, slot, Way::In, LegId::CALLER, What::Request(Method::Cancel));
                self.say(now, slot, Way::Out, LegId::CALLER, What::Response(200, Method::Cancel));
                let rings = self.slots.get(slot).is_some_and(|slot| slot.caller.side.stage == Stage::Early);
                // Once our 200 is out a CANCEL has no effect (RFC 3261 §9.2).
                if rings {
                    let reason = cancel.get(Name::Reason).map(Into::into);
                    self.happen(now, slot, Event::CallerCancelled { reason }, out);
                }
            }
            Owner::Asked(slot, leg) => self.cancel_passed(now, slot, leg, invite, out),
            Owner::Leg(..)
            | Owner::Passed(..)
            | Owner::Offered(..)
            | Owner::Withdrawn(..)
            | Owner::Notified(..)
            | Owner::Refresh(..)
            | Owner::KeepAlive(..)
            | Owner::Keyed(..)
            | Owner::Pracked(..)
            | Owner::Leaving(..)
            | Owner::Refused(_)
            | Owner::Ask(_)
            | Owner::Nobody => {}
        }
    }

    pub(super) fn say(&mut self, now: Now, key: SlotKey, way: Way, leg: LegId, what: What) {
        if let Some(slot) = self.slots.get_mut(key) {
            slot.story.say(now.mono, way, leg, what);
        }
    }
}

fn begins(arrival: &Arrival, invite: &Message<'_>) -> Mark {
    Mark::Begins { call: arrival.id.clone(), call_id: invite.call_id().into() }
}

/// Whether the number forwards to one outside.
fn is_forwarded(plan: &Plan) -> bool {
    plan.steps.iter().flat_map(|step| &step.targets).any(|target| matches!(target.who, Who::Number { .. }))
}

/// Whether the Request-URI is `sip:`, `sips:` or `tel:`.
fn is_dialable(request: &Message<'_>) -> bool {
    request.uri().is_ok_and(|uri| uri.scheme.is_dialable())
}

fn is_encoded(invite: &Message<'_>) -> bool {
    !invite.body().is_empty()
        && invite.list(Name::ContentEncoding).any(|coding| !coding.eq_ignore_ascii_case(b"identity"))
}

/// A body that its sender does not call optional must be understood (RFC 3261 §8.2.3, §20.11).
fn wants_its_body_read(invite: &Message<'_>) -> bool {
    let handling = invite.get(Name::ContentDisposition).and_then(|value| {
        let parameters = &value[memchr::memchr(b';', value).unwrap_or(value.len())..];
        Params::new(parameters).get("handling")
    });
    !invite.body().is_empty() && !handling.is_some_and(|how| how.eq_ignore_ascii_case(b"optional"))
}

fn reliability(invite: &Message<'_>) -> Reliability {
    if invite.has_token(Name::Require, "100rel") {
        Reliability::Required
    } else if invite.has_token(Name::Supported, "100rel") {
        Reliability::Supported
    } else {
        Reliability::No
    }
}
