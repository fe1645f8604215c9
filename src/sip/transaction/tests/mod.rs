//! Each state machine against its figure, in virtual time: what is sent and told, and at which millisecond.

mod bad_wire;
mod cancel;
mod invite_client;
mod invite_server;
mod limits;
mod lingering;
mod matching;
mod other_client;
mod other_server;
mod random;
mod reply;
mod undeliverable;

use std::fmt::Write;
use std::time::Duration;

use super::*;
use crate::sip::peer::{FlowId, ListenerId, Transport};

const SEED: [u8; 16] = *b"transaction test";

fn peer(transport: Transport) -> Peer {
    let flow = transport.is_reliable().then_some(FlowId(7));
    Peer { transport, addr: ([192, 0, 2, 9], 5062).into(), listener: ListenerId(0), flow, name: None }
}

/// One shard's transactions, and the story of what they do. A line is `millisecond who what`; `>` is sent, `<`
/// has come, `!` is told to the owner.
struct Bench {
    tx: Transactions<u8>,
    now: Instant,
    out: Outbox,
    story: String,
    transport: Transport,
}

impl Bench {
    fn over(transport: Transport) -> Bench {
        Bench {
            tx: Transactions::new(SEED),
            now: Instant::ZERO,
            out: Outbox::default(),
            story: String::new(),
            transport,
        }
    }

    fn udp() -> Bench {
        Bench::over(Transport::Udp)
    }

    fn tcp() -> Bench {
        Bench::over(Transport::Tcp)
    }

    fn line(&mut self, text: &str) {
        writeln!(self.story, "{:>6} {text}", self.now.as_micros() / 1_000).expect("a String takes all");
    }

    /// Writes down what was sent and told since, and returns what was sent.
    fn settle(&mut self) -> Vec<Vec<u8>> {
        let sent: Vec<Vec<u8>> = self.out.messages().map(|(_, bytes)| bytes.to_vec()).collect();
        self.out.clear();
        for bytes in &sent {
            self.line(&format!("> {}", brief(bytes)));
        }
        while let Some(event) = self.tx.next_event() {
            let told = match event {
                Event::TimedOut(..) => "timed out",
                Event::AckMissing(..) => "ACK missing",
                Event::Undeliverable(..) => "undeliverable",
                Event::OutOfReach(..) => "out of reach",
                Event::Gone(..) => "gone",
            };
            self.line(&format!("! {told}"));
        }
        sent
    }

    /// Lets time pass to a millisecond of the story.
    fn at(&mut self, millis: u64) -> &mut Self {
        let end = Instant::from_micros(millis * 1_000);
        while let Some(due) = self.tx.next_deadline().filter(|due| *due <= end) {
            self.now = due;
            self.tx.expire(due, &mut self.out);
            self.settle();
        }
        self.now = end;
        self
    }

    /// Lets so much time pass that nothing may be left.
    fn silence(&mut self) -> &mut Self {
        let now = self.now.as_micros() / 1_000;
        self.at(now + 70_000);
        assert_eq!(self.tx.live(), (0, 0), "left after silence:\n{}", self.story);
        assert_eq!(self.tx.next_deadline(), None);
        self
    }

    /// Takes the story so far.
    fn story(&mut self) -> String {
        std::mem::take(&mut self.story)
    }

    /// A request of ours goes out.
    fn sends(&mut self, method: Method) -> Sent {
        let (id, branch) = self.tx.reserve(1).expect("room");
        let bytes = request(method.token(), branch.as_str(), self.transport, "");
        self.tx.send(self.now, id, method, &bytes, peer(self.transport), &mut self.out);
        self.settle();
        Sent { id, bytes }
    }

    /// A response to it comes.
    fn gets(&mut self, sent: &Sent, status: u16) -> &mut Self {
        self.gets_from(sent, status, "callee")
    }

    /// A response of the branch with that To tag comes.
    fn gets_from(&mut self, sent: &Sent, status: u16, to_tag: &str) -> &mut Self {
        let bytes = response(&sent.bytes, status, to_tag);
        self.line(&format!("< {}", brief(&bytes)));
        let message = Message::parse(&bytes).expect("a response");
        let up = self.tx.response(self.now, &message, &mut self.out);
        self.settle();
        if let Some((id, owner, up)) = up {
            assert_eq!((id, owner), (sent.id, 1));
            self.line(&format!("! {up:?}"));
        }
        self
    }

    /// We give it up.
    fn cancels(&mut self, sent: &Sent) -> Vec<Sent> {
        self.line("cancel");
        self.tx.cancel(self.now, sent.id, Some(b"SIP;cause=200"), &mut self.out);
        self.settle().into_iter().map(|bytes| Sent { id: sent.id, bytes }).collect()
    }

    /// A request comes, once or again.
    fn comes(&mut self, bytes: &[u8]) -> Meeting {
        self.line(&format!("< {}", brief(bytes)));
        let message = Message::parse(bytes).expect("a request");
        let meeting = self.tx.meet(&message);
        match meeting {
            Meeting::Again(id) => self.tx.repeat(self.now, id, &mut self.out),
            Meeting::Ack(id) | Meeting::AckOfAccepted(id) => self.tx.acked(self.now, id),
            Meeting::New(_) | Meeting::AckOfDialog | Meeting::Cancel { .. } | Meeting::Merged(_) => {}
        }
        self.settle();
        meeting
    }

    /// A request comes for the first time and gets its transaction.
    fn begins(&mut self, bytes: &[u8]) -> Id {
        let key = match self.comes(bytes) {
            Meeting::New(key) | Meeting::Cancel { key, .. } | Meeting::Merged(key) => key,
            met
            @ (Meeting::Again(_) | Meeting::Ack(_) | Meeting::AckOfAccepted(_) | Meeting::AckOfDialog) => {
                panic!("not new: {met:?}")
            }
        };
        let message = Message::parse(bytes).expect("a request");
        self.tx.accept(self.now, key, &message, peer(self.transport), 1).expect("room")
    }

    /// We answer it.
    fn answers(&mut self, id: Id, code: u16) -> &mut Self {
        let bytes = format!("SIP/2.0 {code} x\r\n\r\n");
        self.tx.respond(self.now, id, code, bytes.as_bytes(), &mut self.out);
        self.settle();
        self
    }
}

/// A request that went out.
struct Sent {
    id: Id,
    bytes: Vec<u8>,
}

/// The method, or the status with the CSeq method.
fn brief(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut words = text.split([' ', '\r']);
    let first = words.next().unwrap_or_default();
    if first != "SIP/2.0" {
        return first.to_owned();
    }
    let status = words.next().unwrap_or_default();
    let method = text.split("CSeq: 1 ").nth(1).and_then(|rest| rest.split('\r').next());
    [Some(status), method].into_iter().flatten().collect::<Vec<_>>().join(" ")
}

/// A request as its sender would write it. `to_tag` may be empty, or `;tag=…`.
fn request(method: &str, branch: &str, transport: Transport, to_tag: &str) -> Vec<u8> {
    let via = transport.via_token();
    format!(
        "{method} sip:bob@192.0.2.9 SIP/2.0\r\nVia: SIP/2.0/{via} 192.0.2.1:5060;branch={branch};rport\r\n\
         Max-Forwards: 69\r\nRoute: <sip:p1.example;lr>, <sip:p2.example;lr>\r\nRoute: <sip:p3.example;lr>\r\n\
         From: \"Alice\" <sip:alice@example.com>;tag=caller\r\nTo: <sip:bob@example.com>{to_tag}\r\n\
         Call-ID: a84b4c76e66710\r\nCSeq: 1 {method}\r\nContact: <sip:alice@192.0.2.1>\r\n\
         Content-Length: 4\r\n\r\nv=0\n"
    )
    .into_bytes()
}

fn response(request: &[u8], status: u16, to_tag: &str) -> Vec<u8> {
    let request = Message::parse(request).expect("a request");
    let mut out = Vec::new();
    let tag = (status > 100).then_some(to_tag.as_bytes());
    crate::sip::build::answer(&mut out, &request, ([192, 0, 2, 1], 5060).into(), status, "x", tag).end();
    out
}

/// `INVITE` from a caller, and the ACK that follows a failure.
fn invite_and_ack(transport: Transport) -> (Vec<u8>, Vec<u8>) {
    let invite = request("INVITE", "z9hG4bK776", transport, "");
    let ack = request("ACK", "z9hG4bK776", transport, ";tag=us");
    (invite, ack)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).replace('\r', "")
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}
