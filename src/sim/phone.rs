//! The called end: a phone, or the gateway of a carrier that a forward goes to.

use super::host::{Called, End, Host, Party, Role, agree, find, tagged};
use super::line::{ALLOW, Line, Stage};
use super::manner::{Act, Manner, OnCancel, Since};
use super::message::{Message, user_in};
use super::stack::Key;
use crate::time::Instant;

/// How soon an answer is tried again that may not go before the PRACK (RFC 3262 §3).
const PRACK_WAIT: std::time::Duration = std::time::Duration::from_millis(200);

impl Party {
    /// Whether an INVITE is the next try of one that was refused: with what it lacked.
    fn tries_again(&self, message: &Message) -> bool {
        match &self.role {
            Role::Called { invite, stage: Called::Refused(_), .. } => message.cseq().0 > invite.cseq().0,
            Role::Caller { .. } | Role::Called { .. } | Role::Dead => false,
        }
    }
}

impl Host {
    /// An INVITE that begins a call.
    pub(super) fn invited(&mut self, now: Instant, key: Key, message: Message) {
        let call_id = message.call_id().to_owned();
        let refused = self.parties.get(&call_id).filter(|party| party.tries_again(&message));
        let again = refused.map(|party| party.manner.clone());
        if again.is_none() && self.parties.contains_key(&call_id) {
            let tag = self.stack.fresh("t");
            let merged = tagged(Message::response(&message, 482, "Loop Detected"), &tag);
            return self.stack.respond(now, &key, merged);
        }
        let manner = match self.habits.as_slice() {
            _ if again.is_some() => again.unwrap_or_default(),
            [] => Manner::default(),
            habits => {
                let habit = *self.dice.pick(habits);
                habit.manner(&mut self.dice, &self.elsewhere)
            }
        };
        if self.dice.chance(300) && !manner.agenda.is_empty() {
            self.stack.respond(now, &key, Message::response(&message, 100, "Trying"));
        }
        let line = self.called_line(&message, &manner);
        let role = Role::Called { key, invite: message, stage: Called::Invited, rseq: 0 };
        self.parties.insert(call_id.clone(), Party { manner, role, lines: vec![line] });
        self.schedule(now, &call_id, Since::Invited);
    }

    fn called_line(&mut self, invite: &Message, manner: &Manner) -> Line {
        let tag = self.stack.fresh("t");
        let to = invite.get("To").unwrap_or_default();
        let from = invite.get("From").unwrap_or_default().to_owned();
        let from_tag = invite.from_tag().unwrap_or_default().to_owned();
        let mut line = Line::new(
            invite.call_id(),
            &self.name,
            (format!("{to};tag={tag}"), tag.clone()),
            (from, from_tag),
        )
        .counting_from(self.dice.below(1000) as u32, invite.cseq().0);
        line.retarget(invite);
        line.contact = format!("sip:{}@{}", user_in(invite.uri()), self.stack.addr);
        line.supported = match manner.session {
            Some(_) => "timer, 100rel".to_owned(),
            None => "100rel".to_owned(),
        };
        line
    }

    /// 100, which makes no dialog.
    pub(super) fn try_it(&mut self, now: Instant, call_id: &str) {
        let Some(Party { role, .. }) = self.parties.get(call_id) else { return };
        let Role::Called { key, invite, stage: Called::Invited, .. } = role else { return };
        let (key, trying) = (key.clone(), Message::response(invite, 100, "Trying"));
        self.stack.respond(now, &key, trying);
    }

    pub(super) fn ring(&mut self, now: Instant, call_id: &str, act: &Act) {
        let Some(Party { role, lines, manner }) = self.parties.get_mut(call_id) else { return };
        let Role::Called { key, invite, stage: Called::Invited, rseq } = role else { return };
        let Some(line) = lines.first_mut() else { return };
        let sdp = line.describe(invite.sdp());
        let (code, phrase, sdp) = match *act == Act::Rings {
            true => (180, "Ringing", None),
            false => (183, "Session Progress", Some(sdp)),
        };
        let reliable = *act == Act::RingsReliably && invite.lists("Supported", "100rel")
            || invite.lists("Require", "100rel");
        // An offer may not go in an unreliable response (RFC 3261 §13.2.1).
        let sdp = sdp.filter(|_| reliable || invite.sdp().is_some());
        let mut response = tagged(Message::response(invite, code, phrase), &line.local_tag)
            .with("Contact", format!("<{}>", line.contact))
            .with("Allow", ALLOW);
        let key = key.clone();
        if !reliable {
            return self.stack.respond(now, &key, manner.dress(response.with_sdp(sdp.as_deref())));
        }
        *rseq += 1;
        response = response.with("Require", "100rel").with("RSeq", rseq.to_string());
        let rseq = *rseq;
        let response = manner.dress(response.with_sdp(sdp.as_deref()));
        self.stack.insist(now, &key, response, Some(rseq));
    }

    pub(super) fn answer(&mut self, now: Instant, call_id: &str) {
        let waits = self.stack.waits_for_prack(call_id);
        let Some(Party { role, lines, manner }) = self.parties.get_mut(call_id) else { return };
        let Role::Called { key, invite, stage: stage @ Called::Invited, .. } = role else { return };
        if waits {
            return self.agenda.push(now + PRACK_WAIT, (call_id.to_owned(), Act::Answers));
        }
        let Some(line) = lines.first_mut() else { return };
        *stage = Called::Answered;
        let response = manner.dress(accept(line, now, invite, manner));
        let key = key.clone();
        self.stack.insist(now, &key, response, None);
        self.schedule(now, call_id, Since::Answered);
    }

    /// Two branches behind a forking proxy ring and answer (RFC 3261 §13.2.2.4).
    pub(super) fn answer_twice(&mut self, now: Instant, call_id: &str) {
        let Some(Party { role, manner, .. }) = self.parties.get(call_id) else { return };
        let Role::Called { key, invite, stage: Called::Invited, .. } = role else { return };
        if self.stack.waits_for_prack(call_id) {
            return self.agenda.push(now + PRACK_WAIT, (call_id.to_owned(), Act::AnswersTwice));
        }
        let (key, invite, manner) = (key.clone(), invite.clone(), manner.clone());
        let mut second = self.called_line(&invite, &manner);
        let ringing = tagged(Message::response(&invite, 180, "Ringing"), &second.local_tag)
            .with("Contact", format!("<{}>", second.contact));
        self.stack.respond(now, &key, ringing);
        self.answer(now, call_id);
        let response = accept(&mut second, now, &invite, &manner);
        self.stack.insist(now, &key, response, None);
        if let Some(party) = self.parties.get_mut(call_id) {
            party.lines.push(second);
        }
    }

    pub(super) fn refuse(&mut self, now: Instant, call_id: &str, code: u16, contact: Option<&str>) {
        let Some(Party { role, lines, manner }) = self.parties.get_mut(call_id) else { return };
        let Role::Called { key, invite, stage: stage @ Called::Invited, .. } = role else { return };
        let Some(line) = lines.first_mut() else { return };
        *stage = Called::Refused(code);
        line.stage = Stage::Over;
        let mut response = tagged(Message::response(invite, code, "Refused"), &line.local_tag);
        if let Some(uri) = contact {
            response = response.with("Contact", format!("<{uri}>"));
        }
        let key = key.clone();
        let response = manner.dress(response);
        self.stack.no_more_provisionals(call_id);
        self.stack.respond(now, &key, response);
    }

    /// A CANCEL: answered by itself, then by what it does to its INVITE (RFC 3261 §9.2).
    pub(super) fn cancelled(&mut self, now: Instant, key: &Key, message: &Message) {
        let call_id = message.call_id();
        let found = self.parties.get(call_id).and_then(|party| match &party.role {
            Role::Called { key: (branch, _), stage, .. } if *branch == key.0 => {
                Some((*stage, party.manner.on_cancel, party.lines.first()?.local_tag.clone()))
            }
            Role::Called { .. } | Role::Caller { .. } | Role::Dead => None,
        });
        let Some((stage, on_cancel, tag)) = found else {
            let tag = self.stack.fresh("t");
            let answer = Message::response(message, 481, "Call/Transaction Does Not Exist");
            return self.stack.respond(now, key, tagged(answer, &tag));
        };
        self.stack.respond(now, key, tagged(Message::response(message, 200, "OK"), &tag));
        match (stage, on_cancel) {
            (Called::Invited, OnCancel::Obeys) => self.refuse(now, call_id, 487, None),
            (Called::Invited, OnCancel::Crosses) => self.answer(now, call_id),
            (Called::Answered | Called::Refused(_), _) => (),
        }
    }

    /// Whether this end rings for that call.
    pub fn is_ringing(&self, call_id: &str) -> bool {
        self.parties
            .get(call_id)
            .is_some_and(|party| matches!(party.role, Role::Called { stage: Called::Invited, .. }))
    }

    /// The dialog that a request to this end belongs to.
    pub fn line_of(&mut self, request: &Message) -> Option<&mut Line> {
        find(&mut self.parties, request, End::Asked)
    }
}

/// Our 200 to an INVITE.
fn accept(line: &mut Line, now: Instant, invite: &Message, manner: &Manner) -> Message {
    line.stage = Stage::Accepted;
    let sdp = match (invite.sdp(), line.settled_early) {
        (Some(offer), _) => Some(line.answer(offer)),
        (None, true) => None,
        (None, false) => Some(line.sdp()),
    };
    let ok = tagged(Message::response(invite, 200, "OK"), &line.local_tag);
    agree(line, now, ok, invite, manner.session).with_sdp(sdp.as_deref())
}
