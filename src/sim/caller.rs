//! The calling end: a carrier's SBC that sends calls in.

use std::net::SocketAddr;

use super::host::{Calling, Host, Party, Role};
use super::line::{ALLOW, Line, Stage};
use super::manner::{Acks, Manner, Oddity, Offer, Reliably, Since};
use super::message::{self, Message};
use crate::time::Instant;

impl Host {
    /// Begins a call and returns its Call-ID. `from` is the caller's number, `dialled` what it calls.
    pub fn dial(&mut self, now: Instant, from: &str, dialled: &str, manner: Manner) -> String {
        let call_id = self.stack.fresh("call");
        let tag = self.stack.fresh("f");
        let addr = self.stack.addr;
        let uri = format!("sip:{dialled}@{}", self.server);
        let shown = match manner.oddity == Oddity::Withheld {
            true => "\"Anonymous\" <sip:anonymous@anonymous.invalid>".to_owned(),
            false => format!("\"Caller\" <sip:{from}@{addr}>"),
        };
        let mut line = Line::new(
            &call_id,
            &self.name,
            (format!("{shown};tag={tag}"), tag),
            (format!("<{uri}>"), String::new()),
        );
        line.target = uri;
        line.contact = format!("sip:{from}@{addr}");
        if manner.oddity == Oddity::Withheld {
            line.contact = format!("sip:{addr}");
        }
        line.supported = supported(&manner);
        let mut invite = line.request("INVITE").with("P-Asserted-Identity", format!("<sip:{from}@{addr}>"));
        if manner.reliably == Reliably::Required {
            invite = invite.with("Require", "100rel");
        }
        if let Some(seconds) = manner.session {
            invite = invite.with("Session-Expires", seconds.to_string());
        }
        let sdp = (manner.offer == Offer::InInvite).then(|| line.sdp());
        let invite = oddly(invite, manner.oddity, dialled, addr);
        let invite = match manner.oddity == Oddity::StrangeBody {
            true => invite.with_body("application/x-strange", b"?"),
            false => invite.with_sdp(sdp.as_deref()),
        };
        let invite = manner.dress(invite);
        let merged = manner.oddity == Oddity::Merged;
        let sent = self.stack.request(now, invite.clone());
        if merged {
            self.stack.request(now, invite);
        }
        let role = Role::Caller { invite: sent, stage: Calling::Waiting };
        self.parties.insert(call_id.clone(), Party { manner, role, lines: vec![line] });
        self.schedule(now, &call_id, Since::Invited);
        call_id
    }

    /// A response to the INVITE that began a call.
    pub(super) fn invite_answered(&mut self, now: Instant, request: &Message, response: &Message) {
        match response.status() {
            ..101 => self.tried(now, response.call_id()),
            101..200 => {
                self.tried(now, response.call_id());
                self.acknowledge_reliably(now, request, response);
            }
            200..300 => {
                self.stack.drop_merged(request);
                self.picked_up(now, request, response);
            }
            300.. => {
                // The one that was refused as merged may have been the first to be sent.
                if response.status() != 482 {
                    self.stack.drop_merged(request);
                }
                self.turned_down(now, request, response);
            }
        }
    }

    /// The first provisional response lets a waiting CANCEL go.
    fn tried(&mut self, now: Instant, call_id: &str) {
        let wants = self
            .parties
            .get(call_id)
            .is_some_and(|party| matches!(party.role, Role::Caller { stage: Calling::WantsCancel, .. }));
        if wants {
            self.cancel(now, call_id);
        }
    }

    /// The dialog that a response opens or belongs to. The first line is a mould that no tag fills.
    fn line_for(&mut self, response: &Message) -> Option<&mut Line> {
        let party = self.parties.get_mut(response.call_id())?;
        let tag = response.to_tag()?;
        let at = match party.lines.iter().position(|line| line.remote_tag == tag) {
            Some(at) => at,
            None => {
                let mut line = party.lines.first()?.clone();
                line.remote_tag = tag.to_owned();
                line.remote = response.get("To")?.to_owned();
                party.lines.push(line);
                party.lines.len() - 1
            }
        };
        party.lines.get_mut(at)
    }

    /// PRACK, once per RSeq in order (RFC 3262 §4).
    fn acknowledge_reliably(&mut self, now: Instant, request: &Message, response: &Message) {
        let rseq = response.get("RSeq").and_then(|rseq| rseq.parse::<u32>().ok());
        let Some(line) = self.line_for(response) else { return };
        line.retarget(response);
        let Some(rseq) = rseq.filter(|_| response.lists("Require", "100rel")) else { return };
        if rseq <= line.pracked || line.pracked != 0 && rseq != line.pracked + 1 {
            return;
        }
        line.pracked = rseq;
        let (cseq, _) = request.cseq();
        let answer = match (request.sdp(), response.sdp()) {
            (None, Some(offer)) if !line.settled_early => {
                line.settled_early = true;
                Some(line.answer(offer))
            }
            (_, _) => None,
        };
        let prack = line.request("PRACK").with("RAck", format!("{rseq} {cseq} INVITE"));
        self.stack.request(now, prack.with_sdp(answer.as_deref()));
    }

    fn picked_up(&mut self, now: Instant, request: &Message, response: &Message) {
        let call_id = response.call_id().to_owned();
        let Some(party) = self.parties.get_mut(&call_id) else { return };
        let (acks, oddity) = (party.manner.acks, party.manner.oddity);
        let Role::Caller { stage, .. } = &mut party.role else { return };
        let was = *stage;
        *stage = Calling::Answered;
        let Some(line) = self.line_for(response) else { return };
        let (cseq, _) = request.cseq();
        if let Some(ack) = line.ack_again(cseq) {
            self.stack.request(now, ack);
            return;
        }
        if line.stage != Stage::Early {
            return;
        }
        line.stage = Stage::Confirmed;
        line.retarget(response);
        line.keep_time(now, response, true);
        let answer = match (request.sdp(), response.sdp()) {
            (None, Some(offer)) if !line.settled_early => Some(line.answer(offer)),
            (_, _) => None,
        };
        let tag = line.remote_tag.clone();
        if acks != Acks::Never {
            let ack = line.ack(cseq, answer.as_deref());
            if oddity == Oddity::OtherPort {
                self.stack.moved.insert(call_id.clone());
            }
            self.stack.request(now, ack);
        }
        match was {
            Calling::Waiting => self.schedule(now, &call_id, Since::Answered),
            // It crossed our CANCEL (RFC 3261 §15.1.1), or another branch answered before.
            Calling::WantsCancel | Calling::Cancelled | Calling::Answered | Calling::Failed(_) => {
                let Some(line) = self.line_for(response) else { return };
                if line.remote_tag == tag {
                    line.stage = Stage::Over;
                    let bye = line.request("BYE");
                    self.stack.request(now, bye);
                }
            }
        }
    }

    fn turned_down(&mut self, now: Instant, request: &Message, response: &Message) {
        let Some(party) = self.parties.get_mut(response.call_id()) else { return };
        let Role::Caller { invite, stage } = &mut party.role else { return };
        if *stage == Calling::Answered || invite.branch() != request.branch() {
            return;
        }
        if response.status() == 422
            && let (Some(floor), Some(line)) = (response.get("Min-SE"), party.lines.first_mut())
        {
            let floor = floor.trim().to_owned();
            let mut again = invite.clone();
            again.remove("Via");
            again.set("CSeq", line.request("INVITE").get("CSeq").unwrap_or_default());
            again.set("Session-Expires", floor.clone());
            again.set("Min-SE", floor.clone());
            party.manner.session = floor.parse().ok();
            *invite = self.stack.request(now, again);
            return;
        }
        *stage = Calling::Failed(response.status());
        for line in &mut party.lines {
            line.stage = Stage::Over;
        }
    }

    pub(super) fn invite_lapsed(&mut self, request: &Message) {
        let Some(party) = self.parties.get_mut(request.call_id()) else { return };
        if let Role::Caller { stage: stage @ (Calling::Waiting | Calling::WantsCancel), .. } = &mut party.role
            && request.method() == "INVITE"
        {
            *stage = Calling::Failed(408);
        }
    }

    pub(super) fn cancel(&mut self, now: Instant, call_id: &str) {
        let Some(party) = self.parties.get_mut(call_id) else { return };
        let oddity = party.manner.oddity;
        let Role::Caller { invite, stage } = &mut party.role else { return };
        if !matches!(stage, Calling::Waiting | Calling::WantsCancel) {
            return;
        }
        if !self.stack.is_proceeding(invite) {
            *stage = Calling::WantsCancel;
            return;
        }
        *stage = Calling::Cancelled;
        let invite = invite.clone();
        if oddity == Oddity::OtherPort {
            self.stack.moved.insert(call_id.to_owned());
        }
        self.stack.cancel(now, &invite, Some("Q.850;cause=16"));
    }

    /// BYE in an early dialog; CANCEL where there is none (RFC 3261 §15).
    pub(super) fn hang_up_early(&mut self, now: Instant, call_id: &str) {
        let Some(party) = self.parties.get_mut(call_id) else { return };
        let Role::Caller { stage: stage @ Calling::Waiting, .. } = &mut party.role else { return };
        let early = party.lines.iter_mut().find(|line| !line.remote_tag.is_empty());
        match early {
            Some(line) => {
                *stage = Calling::Cancelled;
                let bye = line.request("BYE");
                self.stack.request(now, bye);
            }
            None => self.cancel(now, call_id),
        }
    }

    /// The final response that a caller got; `None` while it waits.
    pub fn outcome(&self, call_id: &str) -> Option<u16> {
        match &self.parties.get(call_id)?.role {
            Role::Caller { stage: Calling::Answered, .. } => Some(200),
            Role::Caller { stage: Calling::Failed(code), .. } => Some(*code),
            Role::Caller { .. } | Role::Called { .. } | Role::Dead => None,
        }
    }
}

fn supported(manner: &Manner) -> String {
    let reliably = (manner.reliably != Reliably::No).then_some("100rel");
    let timer = manner.session.map(|_| "timer");
    let tags: Vec<&str> = reliably.into_iter().chain(timer).chain(["replaces"]).collect();
    tags.join(", ")
}

/// What is odd about an INVITE, put into it.
fn oddly(mut invite: Message, oddity: Oddity, dialled: &str, addr: SocketAddr) -> Message {
    match oddity {
        Oddity::Withheld => invite = invite.with("Privacy", "id"),
        Oddity::NoHops => invite.set("Max-Forwards", "0"),
        Oddity::Looped => {
            invite =
                invite.with("Diversion", format!("<sip:{dialled}@{addr}>;reason=unconditional;counter=1"));
        }
        Oddity::Demanding => invite = invite.with("Require", "x-telepathy"),
        Oddity::Malformed => invite.remove("To"),
        Oddity::None
        | Oddity::Merged
        | Oddity::WrongNumber
        | Oddity::Stranger
        | Oddity::OtherPort
        | Oddity::StrangeBody => (),
    }
    invite.set("Allow", ALLOW);
    debug_assert!(message::addr_in(invite.uri()).is_some());
    invite
}
