//! One end of the world: an address, its transactions, its calls. Here is what every user agent must do in a
//! dialog (RFC 3261 §12 to §15, RFC 3311, RFC 4028); `phone` and `caller` hold how a call begins.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use super::dice::Dice;
use super::line::{ALLOW, Line, Refresher, Stage};
use super::manner::{Acks, Act, Habit, Manner, Since};
use super::message::Message;
use super::queue::Queue;
use super::stack::{Heard, Key, Lapsed, Stack};
use crate::time::Instant;

/// One call as this end holds it.
#[derive(Debug)]
pub struct Party {
    pub manner: Manner,
    pub role: Role,
    /// Its dialogs: more than one where somebody forked.
    pub lines: Vec<Line>,
}

#[derive(Debug)]
pub enum Role {
    Caller {
        invite: Message,
        stage: Calling,
    },
    Called {
        key: Key,
        invite: Message,
        stage: Called,
        rseq: u32,
    },
    /// Hears and says nothing any more.
    Dead,
}

/// How far a caller's INVITE is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Calling {
    Waiting,
    /// CANCEL goes out with the first provisional response.
    WantsCancel,
    Cancelled,
    Answered,
    Failed(u16),
}

/// How far the called end is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Called {
    Invited,
    Answered,
    Refused(u16),
}

#[derive(Debug)]
pub struct Host {
    pub name: String,
    pub stack: Stack,
    /// The server's address.
    pub server: SocketAddr,
    pub parties: BTreeMap<String, Party>,
    /// What it answers to OPTIONS outside a dialog.
    pub asked_says: u16,
    /// One of these is drawn for each call that comes in; none: the end only does what a story says.
    pub habits: Vec<Habit>,
    /// Where a redirect may point.
    pub elsewhere: Vec<String>,
    pub(super) agenda: Queue<(String, Act)>,
    pub(super) dice: Dice,
}

impl Host {
    pub fn new(name: &str, addr: SocketAddr, server: SocketAddr, dice: Dice) -> Host {
        Host {
            name: name.to_owned(),
            stack: Stack::new(addr),
            server,
            parties: BTreeMap::new(),
            asked_says: 200,
            habits: Vec::new(),
            elsewhere: Vec::new(),
            agenda: Queue::default(),
            dice,
        }
    }

    /// Whether its port is closed.
    pub fn is_closed(&self) -> bool {
        self.habits == [Habit::Unreachable]
    }

    /// Takes a datagram; what is no message is told.
    pub fn receive(&mut self, now: Instant, bytes: &[u8]) -> Result<(), String> {
        let message = Message::parse(bytes)?;
        if self.parties.get(message.call_id()).is_some_and(|party| matches!(party.role, Role::Dead)) {
            return Ok(());
        }
        match self.stack.receive(now, message) {
            None => (),
            Some(Heard::Request { key, message }) => match (message.method(), message.to_tag()) {
                ("INVITE", None) => self.invited(now, key, message),
                ("CANCEL", _) => self.cancelled(now, &key, &message),
                ("OPTIONS", None) => {
                    let tag = self.stack.fresh("t");
                    let answer = Message::response(&message, self.asked_says, "So");
                    self.stack.respond_and_forget(now, &key, tagged(answer, &tag));
                }
                (_, _) => self.asked(now, &key, &message),
            },
            Some(Heard::Ack(message)) => self.acknowledged(now, &message),
            Some(Heard::Response { request, message }) => match (request.method(), request.to_tag()) {
                ("CANCEL", _) => (),
                ("INVITE", None) => self.invite_answered(now, &request, &message),
                (_, _) => self.request_answered(now, &request, &message),
            },
        }
        Ok(())
    }

    pub fn next_at(&self) -> Option<Instant> {
        let sessions = self.parties.values().flat_map(|party| &party.lines);
        let sessions = sessions.filter(|line| line.is_up());
        let sessions = sessions.filter_map(|line| line.session.map(|session| session.next));
        [self.stack.next_at(), self.agenda.next_at(), sessions.min()].into_iter().flatten().min()
    }

    pub fn tick(&mut self, now: Instant) {
        for lapsed in self.stack.tick(now) {
            match lapsed {
                Lapsed::Unanswered(request) if request.to_tag().is_some() => {
                    self.give_up(now, request.call_id(), request.method() != "BYE");
                }
                Lapsed::Unanswered(request) => self.invite_lapsed(&request),
                Lapsed::Unacknowledged { call_id, tag } => self.unacknowledged(now, &call_id, &tag),
            }
        }
        self.refresh_sessions(now);
        while let Some((_, (call_id, act))) = self.agenda.pop_due(now) {
            self.act(now, &call_id, &act);
        }
    }

    /// Does something of its own accord. What cannot be done now is left undone.
    pub fn act(&mut self, now: Instant, call_id: &str, act: &Act) {
        match act {
            Act::Tries => self.try_it(now, call_id),
            Act::Rings | Act::RingsWithMedia | Act::RingsReliably => self.ring(now, call_id, act),
            Act::Answers => self.answer(now, call_id),
            Act::AnswersTwice => self.answer_twice(now, call_id),
            Act::Refuses(code) => self.refuse(now, call_id, *code, None),
            Act::Redirects(uri) => self.refuse(now, call_id, 302, Some(uri)),
            Act::Cancels => self.cancel(now, call_id),
            Act::HangsUp => self.hang_up(now, call_id),
            Act::HangsUpEarly => self.hang_up_early(now, call_id),
            Act::Holds => self.offer(now, call_id, act, "INVITE", Some("sendonly")),
            Act::Resumes => self.offer(now, call_id, act, "INVITE", Some("sendrecv")),
            Act::AsksForOffer | Act::Refreshes => self.offer(now, call_id, act, "INVITE", None),
            Act::Updates => self.offer(now, call_id, act, "UPDATE", None),
            Act::UpdatesMedia => self.offer(now, call_id, act, "UPDATE", Some("sendrecv")),
            Act::Informs => {
                let Some(line) = up(&mut self.parties, call_id) else { return };
                let info = line.request("INFO").with_body("application/dtmf-relay", b"Signal=1\r\n");
                self.stack.request(now, info);
            }
            Act::Refers(to) => {
                let Some(line) = up(&mut self.parties, call_id) else { return };
                let contact = format!("<{}>", line.contact);
                let refer =
                    line.request("REFER").with("Contact", contact).with("Refer-To", format!("<{to}>"));
                self.stack.request(now, refer);
            }
            Act::RefersToOther => {
                let others = self.parties.iter().filter(|(other, _)| *other != call_id);
                let other = others.flat_map(|(_, party)| &party.lines).find(|line| line.is_up());
                let Some(to) = other.map(|line| {
                    let (call_id, ours, theirs) = (&line.call_id, &line.local_tag, &line.remote_tag);
                    let call_id = call_id.replace('@', "%40");
                    let replaces = format!("{call_id}%3Bto-tag%3D{theirs}%3Bfrom-tag%3D{ours}");
                    format!("{}?Replaces={replaces}", line.target)
                }) else {
                    return;
                };
                self.act(now, call_id, &Act::Refers(to));
            }
            Act::Dies => {
                self.stack.forget(call_id);
                if let Some(party) = self.parties.get_mut(call_id) {
                    party.role = Role::Dead;
                    party.lines.clear();
                }
            }
        }
    }

    /// A request within the call's dialog, early or confirmed, as a story wants it.
    pub fn ask(&mut self, now: Instant, call_id: &str, method: &str, dress: fn(Message) -> Message) {
        let Some(party) = self.parties.get_mut(call_id) else { return };
        let known = |line: &&mut Line| !line.remote_tag.is_empty() && !line.local_tag.is_empty();
        if let Some(line) = party.lines.iter_mut().find(known) {
            let request = dress(line.request(method));
            self.stack.request(now, request);
        }
    }

    /// Puts on the agenda what counts from this moment.
    pub(super) fn schedule(&mut self, now: Instant, call_id: &str, since: Since) {
        let Some(party) = self.parties.get(call_id) else { return };
        for (_, after, act) in party.manner.agenda.iter().filter(|(from, _, _)| *from == since) {
            self.agenda.push(now + *after, (call_id.to_owned(), act.clone()));
        }
    }

    /// re-INVITE or UPDATE. Not while another offer of ours is open (RFC 3261 §14.1).
    fn offer(&mut self, now: Instant, call_id: &str, act: &Act, method: &str, change: Option<&'static str>) {
        let session = self.parties.get(call_id).and_then(|party| party.manner.session);
        let Some(line) = up(&mut self.parties, call_id) else { return };
        if line.pending.is_some() || line.stage != Stage::Confirmed {
            return;
        }
        let sdp = match (act, change) {
            (Act::AsksForOffer | Act::Updates, _) => None,
            (_, Some(direction)) => Some(line.offers(direction)),
            (_, None) => Some(line.sdp()),
        };
        let mut request = line.request(method);
        if let (Some(seconds), Some(session)) = (session, line.session) {
            let refresher = match session.refresher {
                Refresher::Us => "uac",
                Refresher::Them => "uas",
            };
            request = request.with("Session-Expires", format!("{seconds};refresher={refresher}"));
        }
        let sent = self.stack.request(now, request.with_sdp(sdp.as_deref()));
        if let Some(line) = up(&mut self.parties, call_id) {
            line.pending = Some(sent);
        }
    }

    /// A request within a dialog.
    fn asked(&mut self, now: Instant, key: &Key, message: &Message) {
        let manner = self.parties.get(message.call_id()).map(|party| &party.manner);
        let session = manner.and_then(|manner| manner.session);
        if matches!(message.method(), "INVITE" | "UPDATE" | "INFO")
            && let Some(code) = manner.and_then(|manner| manner.stalls)
        {
            return self.stack.respond(now, key, Message::response(message, code, "Stalled"));
        }
        if let Some(challenge) = manner.and_then(|manner| manner.challenges)
            && message.get("Proxy-Authorization").is_none_or(|given| !given.contains(nonce_of(challenge)))
        {
            let answer = Message::response(message, 407, "Proxy Authentication Required");
            return self.stack.respond(now, key, answer.with("Proxy-Authenticate", challenge));
        }
        let Some(line) = find(&mut self.parties, message, End::Asked) else {
            let tag = self.stack.fresh("t");
            let answer = Message::response(message, 481, "Call/Transaction Does Not Exist");
            return self.stack.respond(now, key, tagged(answer, &tag));
        };
        let mut ok = Message::response(message, 200, "OK");
        // Who knows sessions names this one in every answer (RFC 7989 §6).
        if let Some(id) = message.get("Session-ID") {
            ok.set("Session-ID", id);
        }
        let refused = |code, phrase| Message::response(message, code, phrase);
        let response = match (message.method(), line.stage) {
            ("BYE", _) => {
                line.stage = Stage::Over;
                line.session = None;
                ok
            }
            (_, Stage::Over) => refused(481, "Call/Transaction Does Not Exist"),
            _ if !line.is_in_order(message) => refused(500, "Server Internal Error"),
            ("INVITE" | "UPDATE", _) if line.pending.is_some() && carries_offer(message) => {
                refused(491, "Request Pending")
            }
            ("INVITE", Stage::Early) => refused(500, "Server Internal Error").with("Retry-After", "1"),
            ("INVITE", Stage::Accepted | Stage::Leaving | Stage::Confirmed) => {
                line.retarget(message);
                let sdp = line.describe(message.sdp());
                let response = agree(line, now, ok, message, session).with_sdp(Some(&sdp));
                return self.stack.insist(now, key, response, None);
            }
            ("UPDATE", _) => {
                line.retarget(message);
                let sdp = message.sdp().map(|offer| line.answer(offer));
                agree(line, now, ok, message, session).with_sdp(sdp.as_deref())
            }
            ("PRACK", _) => return self.pracked(now, key, message),
            ("INFO" | "OPTIONS" | "NOTIFY", _) => ok.with("Allow", ALLOW),
            _ => refused(405, "Method Not Allowed").with("Allow", ALLOW),
        };
        self.stack.respond(now, key, response);
    }

    fn pracked(&mut self, now: Instant, key: &Key, message: &Message) {
        let rseq = message.get("RAck").and_then(|rack| rack.split(' ').next()?.parse().ok()).unwrap_or(0);
        let response = match self.stack.pracked(message.call_id(), rseq) {
            true => Message::response(message, 200, "OK"),
            false => Message::response(message, 481, "Call/Transaction Does Not Exist"),
        };
        let Some(line) = find(&mut self.parties, message, End::Asked) else { return };
        line.settled_early = true;
        self.stack.respond(now, key, response);
    }

    /// An ACK for a 2xx of ours.
    fn acknowledged(&mut self, now: Instant, message: &Message) {
        let Some(line) = find(&mut self.parties, message, End::Asked) else { return };
        match line.stage {
            Stage::Accepted => line.stage = Stage::Confirmed,
            Stage::Leaving => {
                line.stage = Stage::Over;
                let bye = line.request("BYE");
                self.stack.request(now, bye);
            }
            Stage::Early | Stage::Confirmed | Stage::Over => (),
        }
    }

    /// A response to a request within a dialog.
    fn request_answered(&mut self, now: Instant, request: &Message, response: &Message) {
        let acks = self.parties.get(request.call_id()).map(|party| party.manner.acks);
        let Some(line) = find(&mut self.parties, request, End::Asking) else { return };
        let (cseq, method) = request.cseq();
        let again = match (method, response.status()) {
            (_, ..200) => return,
            ("INVITE", 200..300) => {
                if let Some(ack) = line.ack_again(cseq) {
                    self.stack.request(now, ack);
                    return;
                }
                line.retarget(response);
                line.keep_time(now, response, true);
                let sdp = match (request.sdp(), response.sdp()) {
                    (None, Some(offer)) if acks != Some(Acks::WithoutAnswer) => Some(line.answer(offer)),
                    (_, _) => None,
                };
                let ack = line.ack(cseq, sdp.as_deref());
                self.stack.request(now, ack);
                false
            }
            ("UPDATE", 200..300) => {
                line.retarget(response);
                line.keep_time(now, response, true);
                false
            }
            ("INVITE" | "UPDATE", 491) => true,
            ("BYE", _) => return,
            (_, 408 | 481) => return self.give_up(now, request.call_id(), true),
            (_, _) => false,
        };
        if line.pending.as_ref().is_some_and(|pending| pending.cseq() == request.cseq()) {
            line.pending = None;
        }
        if again && line.is_up() {
            // RFC 3261 §14.1: the owner of the Call-ID waits 2.1 to 4 s, the other up to 2 s.
            let wait = self.dice.millis(0..4_000);
            let act = if method == "INVITE" { Act::Refreshes } else { Act::UpdatesMedia };
            self.agenda.push(now + wait, (request.call_id().to_owned(), act));
        }
    }

    /// The far end is gone: the dialog ends, with a BYE where none was sent.
    fn give_up(&mut self, now: Instant, call_id: &str, with_bye: bool) {
        let Some(party) = self.parties.get_mut(call_id) else { return };
        for line in party.lines.iter_mut().filter(|line| line.stage != Stage::Over) {
            line.session = None;
            let was_up = line.is_up();
            line.stage = Stage::Over;
            if with_bye && was_up {
                let bye = line.request("BYE");
                self.stack.request(now, bye);
            }
        }
    }

    /// No ACK in 64·T1 (RFC 3261 §13.3.1.4), or no PRACK (RFC 3262 §3).
    fn unacknowledged(&mut self, now: Instant, call_id: &str, tag: &str) {
        let Some(party) = self.parties.get_mut(call_id) else { return };
        let Some(line) = party.lines.iter_mut().find(|line| line.local_tag == tag) else { return };
        match line.stage {
            Stage::Early => self.refuse(now, call_id, 504, None),
            Stage::Accepted | Stage::Leaving | Stage::Confirmed => {
                line.stage = Stage::Over;
                line.session = None;
                let bye = line.request("BYE");
                self.stack.request(now, bye);
            }
            Stage::Over => (),
        }
    }

    fn hang_up(&mut self, now: Instant, call_id: &str) {
        let Some(party) = self.parties.get_mut(call_id) else { return };
        match &party.role {
            Role::Caller { stage: Calling::Waiting | Calling::WantsCancel, .. } => {
                return self.cancel(now, call_id);
            }
            Role::Called { stage: Called::Invited, .. } => return self.refuse(now, call_id, 480, None),
            Role::Caller { .. } | Role::Called { .. } | Role::Dead => (),
        }
        for line in &mut party.lines {
            match line.stage {
                Stage::Early | Stage::Leaving | Stage::Over => (),
                Stage::Accepted => line.stage = Stage::Leaving,
                Stage::Confirmed => {
                    line.stage = Stage::Over;
                    line.session = None;
                    let bye = line.request("BYE");
                    self.stack.request(now, bye);
                }
            }
        }
    }

    /// RFC 4028 §10: the refresher refreshes at half the interval, the other ends what was not refreshed.
    fn refresh_sessions(&mut self, now: Instant) {
        let mut due = Vec::new();
        for line in self.parties.values_mut().flat_map(|party| &mut party.lines) {
            let is_up = line.is_up();
            if let Some(session) = &mut line.session
                && is_up
                && session.next <= now
            {
                session.next = now + session.interval / 2;
                due.push((line.call_id.clone(), session.refresher));
            }
        }
        for (call_id, refresher) in due {
            let stalls = self.parties.get(&call_id).is_some_and(|party| party.manner.stalls.is_some());
            match refresher {
                _ if stalls => (),
                Refresher::Us => self.act(now, &call_id, &Act::Refreshes),
                Refresher::Them => self.hang_up(now, &call_id),
            }
        }
    }

    /// Everybody who still talks or waits gives up, a caller within a minute, the others two minutes later, so
    /// that the world can come to rest.
    pub fn wind_up(&mut self, now: Instant) {
        let calls: Vec<String> = self.parties.keys().cloned().collect();
        for call_id in calls {
            let after = Duration::from_millis(self.dice.within(0..60_000));
            match self.parties.get(&call_id).map(|party| &party.role) {
                Some(Role::Caller { .. }) => self.agenda.push(now + after, (call_id, Act::HangsUp)),
                // Somebody whom a BYE never reached notices when it hangs up itself.
                Some(Role::Called { .. }) => {
                    let later = now + after + Duration::from_secs(120);
                    self.agenda.push(later, (call_id, Act::HangsUp));
                }
                Some(Role::Dead) | None => (),
            }
        }
    }

    /// A call in which this end still waits for an answer.
    pub fn waits_in(&self) -> Option<String> {
        self.stack.unanswered().map(|request| request.call_id().to_owned())
    }

    /// Calls that this end still believes in.
    pub fn open_calls(&self) -> Vec<&str> {
        let open = |party: &Party| party.lines.iter().any(|line| line.is_up());
        self.parties.iter().filter(|(_, party)| open(party)).map(|(call_id, _)| call_id.as_str()).collect()
    }
}

/// Which end of a dialog we are in a request.
#[derive(Clone, Copy)]
pub(super) enum End {
    Asking,
    Asked,
}

/// The dialog that a request belongs to.
pub(super) fn find<'p>(
    parties: &'p mut BTreeMap<String, Party>,
    request: &Message,
    end: End,
) -> Option<&'p mut Line> {
    let party = parties.get_mut(request.call_id())?;
    let (local, remote) = match end {
        End::Asking => (request.from_tag()?, request.to_tag()?),
        End::Asked => (request.to_tag()?, request.from_tag()?),
    };
    party.lines.iter_mut().find(|line| line.local_tag == local && line.remote_tag == remote)
}

/// The dialog of a call that is up.
fn up<'p>(parties: &'p mut BTreeMap<String, Party>, call_id: &str) -> Option<&'p mut Line> {
    parties.get_mut(call_id)?.lines.iter_mut().find(|line| line.is_up())
}

/// Whether a request opens an offer of either side: SDP, or an INVITE that asks for one.
fn carries_offer(message: &Message) -> bool {
    message.method() == "INVITE" || message.sdp().is_some()
}

/// Puts our tag on the To of a response that has none.
pub(super) fn tagged(mut response: Message, tag: &str) -> Message {
    if response.to_tag().is_none() {
        let to = format!("{};tag={tag}", response.get("To").unwrap_or_default());
        response.set("To", to);
    }
    response
}

/// The fields of a 2xx to INVITE or UPDATE, and the session timer that it agrees on.
pub(super) fn agree(
    line: &mut Line,
    now: Instant,
    ok: Message,
    request: &Message,
    ours: Option<u32>,
) -> Message {
    let mut response = ok
        .with("Contact", format!("<{}>", line.contact))
        .with("Allow", ALLOW)
        .with("Supported", line.supported.clone());
    if let (Some(_), Some(asked)) = (ours, request.get("Session-Expires")) {
        let refresher = super::message::param(asked, "refresher").unwrap_or("uac").to_owned();
        let seconds = asked.split(';').next().unwrap_or("1800").trim().to_owned();
        if refresher == "uac" {
            response = response.with("Require", "timer");
        }
        response = response.with("Session-Expires", format!("{seconds};refresher={refresher}"));
    }
    line.keep_time(now, &response, false);
    response
}

/// What a challenge says between `nonce="` and the quote.
fn nonce_of(challenge: &str) -> &str {
    challenge.split_once("nonce=\"").and_then(|(_, rest)| rest.split('"').next()).unwrap_or_default()
}
