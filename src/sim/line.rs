//! One dialog as one end of the world holds it (RFC 3261 §12), with its session timer (RFC 4028).

use std::time::Duration;

use super::message::{self, Message};
use crate::time::Instant;

/// How far a dialog is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    Early,
    /// Our 2xx waits for its ACK.
    Accepted,
    /// We want to hang up and may not before the ACK (RFC 3261 §15).
    Leaving,
    Confirmed,
    Over,
}

/// A session that ends when nobody refreshes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    pub interval: Duration,
    pub refresher: Refresher,
    /// When we refresh, or when the far end ought to have done so.
    pub next: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refresher {
    Us,
    Them,
}

#[derive(Clone, Debug)]
pub struct Line {
    pub call_id: String,
    /// From in our requests, tag included.
    pub local: String,
    /// To in our requests, with the far tag once it is known.
    pub remote: String,
    pub local_tag: String,
    pub remote_tag: String,
    /// Where our requests are addressed: the far end's last Contact.
    pub target: String,
    /// Our own Contact.
    pub contact: String,
    /// The option tags that we support.
    pub supported: String,
    pub stage: Stage,
    pub session: Option<Session>,
    /// A request of ours that carries an offer and has no final response yet.
    pub pending: Option<Message>,
    /// The INVITE's offer and answer are done before its final response (RFC 3262 §5).
    pub settled_early: bool,
    /// RSeq of the last reliable response that we acknowledged.
    pub pracked: u32,
    /// The ACKs that every repetition of their 2xx gets again, each with its INVITE's CSeq.
    acks: Vec<(u32, Message)>,
    seq: u32,
    heard: u32,
    owner: String,
    port: u16,
    version: u32,
    direction: &'static str,
}

impl Line {
    pub fn new(call_id: &str, owner: &str, local: (String, String), remote: (String, String)) -> Line {
        Line {
            call_id: call_id.to_owned(),
            local: local.0,
            local_tag: local.1,
            remote: remote.0,
            remote_tag: remote.1,
            target: String::new(),
            contact: String::new(),
            supported: String::new(),
            stage: Stage::Early,
            session: None,
            pending: None,
            settled_early: false,
            pracked: 0,
            acks: Vec::new(),
            seq: 0,
            heard: 0,
            owner: owner.to_owned(),
            port: 4_000 + (owner.len() as u16 * 2),
            version: 1,
            direction: "sendrecv",
        }
    }

    /// The sequence numbers that the dialog began with, ours and theirs.
    pub fn counting_from(mut self, ours: u32, theirs: u32) -> Line {
        (self.seq, self.heard) = (ours, theirs);
        self
    }

    /// Our session description as it stands.
    pub fn sdp(&self) -> Vec<u8> {
        message::sdp(&self.owner, self.version, self.port, self.direction)
    }

    /// A new version of it.
    pub fn offers(&mut self, direction: &'static str) -> Vec<u8> {
        self.version += 1;
        self.direction = direction;
        self.sdp()
    }

    /// The answer to an offer: the opposite direction where there is one (RFC 3264 §6.1).
    pub fn answer(&mut self, offer: &[u8]) -> Vec<u8> {
        let text = String::from_utf8_lossy(offer);
        let opposite = [("a=sendonly", "recvonly"), ("a=recvonly", "sendonly"), ("a=inactive", "inactive")];
        let direction =
            opposite.iter().find(|(theirs, _)| text.contains(theirs)).map_or("sendrecv", |(_, ours)| ours);
        if direction != self.direction {
            return self.offers(direction);
        }
        self.sdp()
    }

    /// The answer to an offer, or an offer of ours where none came.
    pub fn describe(&mut self, offer: Option<&[u8]>) -> Vec<u8> {
        match offer {
            Some(offer) => self.answer(offer),
            None => self.sdp(),
        }
    }

    /// A new request in the dialog, without its Via.
    pub fn request(&mut self, method: &str) -> Message {
        self.seq += 1;
        let request = self.frame(method, self.seq);
        match method {
            "INVITE" | "UPDATE" => request
                .with("Contact", format!("<{}>", self.contact))
                .with("Supported", self.supported.clone())
                .with("Allow", ALLOW),
            _ => request,
        }
    }

    /// The ACK of the 2xx to our INVITE with that CSeq; kept for repetitions.
    pub fn ack(&mut self, cseq: u32, sdp: Option<&[u8]>) -> Message {
        let ack = self.frame("ACK", cseq).with_sdp(sdp);
        self.acks.push((cseq, ack.clone()));
        ack
    }

    /// The ACK for a 2xx that was already acknowledged.
    pub fn ack_again(&self, cseq: u32) -> Option<Message> {
        self.acks.iter().find(|(of, _)| *of == cseq).map(|(_, ack)| ack.clone())
    }

    fn frame(&self, method: &str, cseq: u32) -> Message {
        Message::request(method, &self.target)
            .with("Max-Forwards", "70")
            .with("From", self.local.clone())
            .with("To", self.remote.clone())
            .with("Call-ID", self.call_id.clone())
            .with("CSeq", format!("{cseq} {method}"))
    }

    /// Whether a request of the far end is in order (RFC 3261 §12.2.2).
    pub fn is_in_order(&mut self, message: &Message) -> bool {
        let (cseq, _) = message.cseq();
        let in_order = cseq > self.heard;
        self.heard = self.heard.max(cseq);
        in_order
    }

    /// A target refresh.
    pub fn retarget(&mut self, message: &Message) {
        if let Some(contact) = message.contact() {
            self.target = contact.to_owned();
        }
    }

    /// Reads what a 2xx to INVITE or UPDATE agreed on; `asked_by_us` tells whose request it answered.
    pub fn keep_time(&mut self, now: Instant, response: &Message, asked_by_us: bool) {
        let Some(value) = response.get("Session-Expires") else {
            self.session = None;
            return;
        };
        let seconds = value.split(';').next().and_then(|number| number.trim().parse().ok()).unwrap_or(1800);
        let interval = Duration::from_secs(seconds);
        let refresher = match (message::param(value, "refresher"), asked_by_us) {
            (Some("uac"), true) | (Some("uas"), false) => Refresher::Us,
            (Some("uac"), false) | (Some("uas"), true) => Refresher::Them,
            (_, true) => Refresher::Us,
            (_, false) => Refresher::Them,
        };
        let next = match refresher {
            Refresher::Us => now + interval / 2,
            // RFC 4028 §10: a third of the interval, at most 32 s, before it runs out.
            Refresher::Them => now + (interval - (interval / 3).min(Duration::from_secs(32))),
        };
        self.session = Some(Session { interval, refresher, next });
    }

    pub fn is_up(&self) -> bool {
        matches!(self.stage, Stage::Accepted | Stage::Confirmed)
    }
}

pub const ALLOW: &str = "INVITE, ACK, CANCEL, BYE, OPTIONS, PRACK, UPDATE, INFO";
