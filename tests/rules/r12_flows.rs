//! R12: a phone's connection is gone or replaced while it talks (RFC 5626). That ends no call; a session that is not
//! refreshed does, and so does a phone that does not come back.

#![expect(clippy::expect_used, reason = "in a test a panic is the report")]

use strowger::engine::exchange::{Effects, Input};
use strowger::sim::core::Core;
use strowger::sip::peer::{FlowId, ListenerId, Peer, Transport, Undelivered};
use strowger::time::{Instant, Now, Wall};

use super::register::Phone;
use super::*;

mod moved;

const SDP: &[u8] =
    b"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 9 RTP/AVP 0\r\n";
const HELD: &[u8] = b"v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 9 RTP/AVP 0\r\na=sendonly\r\n";

/// What we sent, and to whom.
type Sent = Vec<(Peer, Message)>;

/// One core, and ends that answer 200 to all but an INVITE as long as their connection stands.
struct Bench {
    core: Box<dyn Core>,
    at: Instant,
    dead: Vec<std::net::SocketAddr>,
    alice: Phone,
}

/// The far side of a dialog of ours.
struct Far {
    at: Peer,
    us: String,
    from: String,
    to: String,
    call_id: String,
    cseq: u32,
}

fn connection(number: u16) -> Peer {
    Peer {
        transport: Transport::Tcp,
        addr: ([192, 0, 2, 1], 40_000 + number).into(),
        listener: ListenerId(0),
        flow: Some(FlowId(number.into())),
        name: None,
    }
}

fn udp(addr: std::net::SocketAddr) -> Peer {
    Peer::at(addr, Transport::Udp, ListenerId(0))
}

/// A Contact of alice's phone at that connection, a flow of this instance.
fn flow(by: Peer, instance: &str) -> String {
    format!("<sip:alice@{};transport=tcp>;+sip.instance=\"<urn:{instance}>\";reg-id=1", by.addr)
}

/// The first request of that method among these.
fn request<'s>(sent: &'s Sent, method: &str) -> Option<&'s (Peer, Message)> {
    sent.iter().find(|(_, message)| message.is_request() && message.method() == method)
}

/// The final response among these.
fn told(sent: &Sent, to: Peer) -> Option<&Message> {
    sent.iter().find(|(at, message)| *at == to && message.status() >= 200).map(|(_, message)| message)
}

/// The final response to a request of that method among these.
fn told_of<'s>(sent: &'s Sent, to: Peer, method: &str) -> Option<&'s Message> {
    let is_one = |message: &Message| {
        message.status() >= 200 && message.get("CSeq").is_some_and(|of| of.ends_with(method))
    };
    sent.iter().find(|(at, message)| *at == to && is_one(message)).map(|(_, message)| message)
}

/// How a phone comes to another connection: its old one ends, or only stays behind; it registers by the new one before
/// the other side answers, or after.
const RETURNS: [(bool, bool); 4] = [(true, true), (true, false), (false, true), (false, false)];

impl Bench {
    fn new() -> Bench {
        Bench::beside("")
    }

    /// Alice is not alone on it.
    fn beside(others: &str) -> Bench {
        let text = format!(
            "[[trunk]]\nname = \"carrier\"\nfrom = [\"{}/32\"]\noptions_interval = 0\n\n\
             [[trunk]]\nname = \"mobile\"\ngateways = [{{ uri = \"sip:{}\" }}]\noutbound = true\noptions_interval = 0\n\n\
             [[agent]]\nname = \"alice\"\npassword = \"wonderland\"\nnumber = \"{DID}\"\n\n{others}{}",
            layout::CARRIER.ip(),
            layout::gateway_addr(0),
            did("ring = [\"alice\"]"),
        );
        let core = served().cores(1, 7, &text).remove(0);
        let alice = Phone::alice(connection(1).addr);
        Bench { core, at: Instant::from_micros(1_000_000), dead: Vec::new(), alice }
    }

    /// One input and all that follows at once; what is sent by a connection that is gone comes back.
    fn takes(&mut self, input: Input<'_>) -> Sent {
        self.at = self.at + millis(1);
        let now = Now { mono: self.at, wall: Wall(self.at.as_micros() / 1_000) };
        let mut effects = Effects::default();
        self.core.handle(now, input, &mut effects);
        let sent = effects.out.messages();
        let mut sent: Sent = sent.filter_map(|(to, bytes)| Some((to, Message::parse(bytes).ok()?))).collect();
        for (to, message) in sent.clone() {
            // By the connection that is gone, or by a new one to where it came from.
            if self.dead.contains(&to.addr) {
                sent.extend(self.takes(Input::Undeliverable { to, why: Undelivered::Unreachable }));
            } else if message.is_request() && !matches!(message.method(), "INVITE" | "ACK") {
                let mut ok = Message::response(&message, 200, "OK");
                if message.method() == "UPDATE" {
                    ok.set("Session-Expires", "90;refresher=uac");
                }
                sent.extend(self.hears(to, &ok));
            }
        }
        sent
    }

    fn hears(&mut self, from: Peer, message: &Message) -> Sent {
        self.takes(Input::Received { from, bytes: &message.bytes(), age: Duration::ZERO })
    }

    /// So much time passes.
    fn passes(&mut self, time: Duration) -> Sent {
        let until = self.at + time;
        let mut sent = Sent::new();
        while let Some(due) = self.core.next_deadline().filter(|due| *due <= until) {
            self.at = self.at.max(due);
            sent.extend(self.takes(Input::Due));
        }
        self.at = self.at.max(until);
        sent
    }

    fn ends(&mut self, connection: Peer) -> Sent {
        self.dead.push(connection.addr);
        self.takes(Input::Undeliverable { to: connection, why: Undelivered::Unreachable })
    }

    fn registers(&mut self, by: Peer, contact: &str) {
        self.alice.challenge = None;
        loop {
            self.alice.cseq += 1;
            let message = Message::request("REGISTER", "sip:strowger")
                .with("Via", format!("SIP/2.0/TCP {};branch=z9hG4bKr{}", by.addr, self.alice.cseq))
                .with("From", "<sip:alice@strowger>;tag=1")
                .with("To", "<sip:alice@strowger>")
                .with("Call-ID", "reg")
                .with("CSeq", format!("{} REGISTER", self.alice.cseq))
                .with("Supported", "outbound, path")
                .with("Contact", contact);
            let message = self.alice.signed(message, "REGISTER", "sip:strowger", "Authorization");
            let sent = self.hears(by, &message);
            let answer = told(&sent, by).expect("an answer to REGISTER");
            if answer.status() == 200 {
                return;
            }
            assert!(self.alice.challenge.is_none(), "{answer:?}");
            self.alice.challenge = answer.all("WWW-Authenticate").last().map(str::to_owned);
        }
    }

    /// The carrier calls alice: the caller, and who is rung by which INVITE.
    fn calls_alice(&mut self) -> (Far, Peer, Message) {
        let carrier = udp(layout::CARRIER);
        let us = format!("sip:{DID}@{}", layout::SERVER);
        let mut caller = Far {
            at: carrier,
            us: us.clone(),
            from: format!("<sip:{CALLER}@{}>;tag=caller", layout::CARRIER),
            to: format!("<{us}>"),
            call_id: "caller".into(),
            cseq: 0,
        };
        let called = caller.asks(self, "INVITE", Some(SDP));
        let (phone, invite) = request(&called, "INVITE").expect("alice is rung").clone();
        (caller, phone, invite)
    }

    /// She answers by the connection that she is rung by; both dialogs as they have them.
    fn talks(&mut self, dress: fn(&mut Message)) -> (Far, Far) {
        let (mut caller, phone, invite) = self.calls_alice();
        let ended = self.answers(&phone, &invite, dress);
        let ok = told(&ended, caller.at).expect("our 200");
        caller.to = ok.get("To").unwrap_or_default().to_owned();
        caller.us = ok.contact().unwrap_or_default().to_owned();
        caller.acknowledges(self);
        let alice = Far::of(phone, &invite);
        (caller, alice)
    }

    /// Alice calls out by that connection; she, and what reaches the gateway.
    fn calls_out(&mut self, by: Peer) -> (Far, Peer, Message) {
        let us = format!("sip:{FORWARD}@strowger");
        let mut alice = Far {
            at: by,
            us: us.clone(),
            from: "<sip:alice@strowger>;tag=alice".into(),
            to: format!("<{us}>"),
            call_id: "alice".into(),
            cseq: 0,
        };
        let sent = alice.asks(self, "INVITE", Some(SDP));
        let asked = told(&sent, by).expect("407");
        self.alice.challenge = asked.all("Proxy-Authenticate").last().map(str::to_owned);
        alice.takes_no(self);
        alice.cseq += 1;
        let invite = self.alice.signed(alice.request("INVITE"), "INVITE", &us, "Proxy-Authorization");
        let sent = self.hears(by, &invite.with_sdp(Some(SDP)));
        let (gateway, invite) = request(&sent, "INVITE").expect("our INVITE").clone();
        self.hears(gateway, &Far::says(&invite, 180, "Ringing"));
        (alice, gateway, invite)
    }

    fn gateway_answers(&mut self, gateway: &Peer, invite: &Message) -> Sent {
        self.answers(gateway, invite, |ok| ok.set("Contact", "<sip:gateway@127.0.3.1:5060>"))
    }

    fn answers(&mut self, by: &Peer, invite: &Message, dress: fn(&mut Message)) -> Sent {
        let mut ok = Message::response(invite, 200, "OK")
            .with("Contact", format!("<sip:alice@{};transport=tcp>", by.addr))
            .with_sdp(Some(SDP));
        if invite.to_tag().is_none() {
            ok.set("To", format!("{};tag=alice", invite.get("To").unwrap_or_default()));
        }
        dress(&mut ok);
        self.hears(*by, &ok)
    }

    /// A phone comes to another connection, and meanwhile something `happens`. All that is sent within 2 s from then on.
    fn comes_back(
        &mut self,
        old: Peer,
        new: Peer,
        ends: bool,
        before: bool,
        happens: impl FnOnce(&mut Bench) -> Sent,
    ) -> Sent {
        if ends {
            self.ends(old);
        }
        if before {
            self.registers(new, &flow(new, "a"));
        }
        let mut sent = happens(self);
        if !before {
            assert_eq!(sent.iter().find(|(to, _)| *to == new), None);
            self.registers(new, &flow(new, "a"));
        }
        sent.extend(self.passes(seconds(2)));
        sent
    }

    fn calls(&self) -> usize {
        self.core.census().calls
    }

    /// Nothing is left of any call.
    fn comes_to_rest(&mut self) {
        self.passes(seconds(40));
        assert!(self.core.census().is_empty(), "{:?}", self.core.census());
    }
}

impl Far {
    /// Who was called by that INVITE of ours, and answers with the tag `alice`.
    fn of(at: Peer, invite: &Message) -> Far {
        Far {
            at,
            us: invite.contact().unwrap_or_default().to_owned(),
            from: format!("{};tag=alice", invite.get("To").unwrap_or_default()),
            to: invite.get("From").unwrap_or_default().to_owned(),
            call_id: invite.call_id().to_owned(),
            cseq: 0,
        }
    }

    /// Its response to that INVITE.
    fn says(invite: &Message, code: u16, phrase: &str) -> Message {
        let mut response = Message::response(invite, code, phrase);
        response.set("To", format!("{};tag=alice", invite.get("To").unwrap_or_default()));
        response
    }

    fn request(&self, method: &str) -> Message {
        let (transport, at) = (self.at.transport.via_token(), self.at.addr);
        Message::request(method, &self.us)
            .with("Via", format!("SIP/2.0/{transport} {at};branch=z9hG4bK{method}{}", self.cseq))
            .with("Max-Forwards", "70")
            .with("From", &*self.from)
            .with("To", &*self.to)
            .with("Call-ID", &*self.call_id)
            .with("CSeq", format!("{} {method}", self.cseq))
            .with("Contact", format!("<sip:far@{at};transport={}>", self.at.transport.uri_token()))
    }

    fn asks(&mut self, bench: &mut Bench, method: &str, sdp: Option<&[u8]>) -> Sent {
        self.cseq += 1;
        let request = self.request(method);
        bench.hears(self.at, &request.with_sdp(sdp))
    }

    fn acknowledges(&self, bench: &mut Bench) {
        bench.hears(self.at, &self.request("ACK"));
    }

    /// The ACK of a refusal is its INVITE's own (RFC 3261 §17.1.1.3).
    fn takes_no(&self, bench: &mut Bench) {
        let mut ack = self.request("ACK");
        ack.set("Via", self.request("INVITE").get("Via").unwrap_or_default());
        bench.hears(self.at, &ack);
    }
}

#[test]
fn r12_a_phone_whose_connection_is_gone_is_reached_by_the_next_and_the_call_goes_on() {
    let mut bench = Bench::new();
    let (old, new) = (connection(1), connection(2));
    bench.registers(old, &flow(old, "a"));
    let (mut caller, _) = bench.talks(|_| ());
    bench.ends(old);
    // RFC 3261 §8.1.3.1: a transport error is a 503, which ends no dialog.
    let sent = caller.asks(&mut bench, "INVITE", Some(HELD));
    let refused = told(&sent, caller.at).expect("an answer");
    assert_eq!((refused.status(), refused.get("Retry-After")), (503, None));
    caller.takes_no(&mut bench);
    let sent = caller.asks(&mut bench, "INFO", None);
    assert_eq!(told(&sent, caller.at).map(Message::status), Some(503));
    let sent = bench.passes(seconds(320));
    assert!(sent.iter().any(|(to, message)| *to == old && message.method() == "OPTIONS"));
    assert_eq!((bench.calls(), request(&sent, "BYE")), (1, None));

    bench.registers(new, &flow(new, "a"));
    let sent = bench.passes(seconds(31));
    let asked = request(&sent, "OPTIONS").map(|(to, _)| *to);
    assert_eq!(asked, Some(new), "it is asked again soon");
    let sent = bench.passes(seconds(260));
    assert!(!sent.iter().any(|(to, message)| *to == new && message.method() == "OPTIONS"), "it lives");
    let sent = caller.asks(&mut bench, "INVITE", Some(HELD));
    let (to, invite) = request(&sent, "INVITE").expect("the hold").clone();
    assert_eq!(to, new);
    let sent = bench.answers(&to, &invite, |_| ());
    assert_eq!(told(&sent, caller.at).map(Message::status), Some(200));
    assert_eq!(request(&sent, "ACK").map(|(to, _)| *to), Some(new));
    caller.acknowledges(&mut bench);

    let sent = caller.asks(&mut bench, "BYE", None);
    assert_eq!(request(&sent, "BYE").map(|(to, _)| *to), Some(new));
    bench.comes_to_rest();
}

/// RFC 3261 §18.2.2.
#[test]
fn r12_a_phone_whose_connection_is_gone_while_it_rings_answers_by_the_next() {
    let mut bench = Bench::new();
    let (old, new) = (connection(1), connection(2));
    bench.registers(old, &flow(old, "a"));
    let (mut caller, phone, invite) = bench.calls_alice();
    bench.hears(phone, &Far::says(&invite, 180, "Ringing"));
    let sent = bench.ends(old);
    assert!(told(&sent, caller.at).is_none());
    bench.registers(new, &flow(new, "a"));
    let sent = bench.answers(&new, &invite, |_| ());
    let ok = told(&sent, caller.at).expect("our 200");
    assert_eq!(ok.status(), 200);
    caller.to = ok.get("To").unwrap_or_default().to_owned();
    caller.us = ok.contact().unwrap_or_default().to_owned();
    assert_eq!(request(&sent, "ACK").map(|(to, _)| *to), Some(new));
    caller.acknowledges(&mut bench);
    let sent = caller.asks(&mut bench, "BYE", None);
    assert_eq!(request(&sent, "BYE").map(|(to, _)| *to), Some(new));
    bench.comes_to_rest();
}

#[test]
fn r12_a_phone_that_does_not_come_back_is_lost_after_five_minutes() {
    let mut bench = Bench::new();
    bench.registers(connection(1), &flow(connection(1), "a"));
    let (caller, _) = bench.talks(|_| ());
    bench.ends(connection(1));
    let sent = bench.passes(seconds(595));
    assert_eq!((bench.calls(), request(&sent, "BYE")), (1, None));
    let sent = bench.passes(seconds(10));
    let (to, bye) = request(&sent, "BYE").expect("the caller hears");
    assert_eq!((*to, bye.get("Reason")), (caller.at, Some("Q.850;cause=102")));
    bench.comes_to_rest();
}

#[test]
fn r12_what_has_taken_a_connections_place_is_used_though_the_old_one_never_ends() {
    let at = |by: Peer, user: &str| {
        format!("<sip:{user}@10.0.0.7:5060;transport=tcp>;q=0.{}", by.addr.port() % 9 + 1)
    };
    let (old, new) = (connection(1), connection(2));
    let elsewhere = Peer { addr: ([192, 0, 2, 2], 40_002).into(), ..new };
    let private = |instance: &str| format!("{};+sip.instance=\"<urn:{instance}>\"", at(old, "alice"));
    // What each registers, and whether the second is the phone that the first was.
    for (first, by, second, is_same) in [
        (flow(old, "a"), new, flow(new, "a"), true),
        (flow(old, "a"), elsewhere, flow(elsewhere, "a"), true),
        (flow(old, "a"), new, flow(new, "b"), false),
        (at(old, "alice"), new, at(new, "alice"), true),
        (at(old, "alice"), new, at(new, "other"), false),
        // The same private address behind another NAT.
        (at(old, "alice"), elsewhere, at(elsewhere, "alice"), false),
        // Two phones may have one Contact, one after the other.
        (private("a"), new, private("b"), false),
    ] {
        let mut bench = Bench::new();
        bench.registers(old, &first);
        let (mut caller, _) = bench.talks(|_| ());
        bench.registers(by, &second);
        let sent = caller.asks(&mut bench, "BYE", None);
        let reached = request(&sent, "BYE").map(|(to, _)| *to);
        assert_eq!(reached, Some(if is_same { by } else { old }), "{first} then {second}");
        bench.comes_to_rest();
    }
}

#[test]
fn r12_a_phone_is_known_again_by_its_instance_with_and_without_outbound() {
    // Without it, its Contact has the port that it connects from, and that is another one each time.
    let named = |by: Peer, instance: &str| {
        format!("<sip:alice@{};transport=tcp>;+sip.instance=\"<urn:{instance}>\"", by.addr)
    };
    let (old, new) = (connection(1), connection(2));
    let elsewhere = Peer { addr: ([192, 0, 2, 2], 40_002).into(), ..new };
    for (first, by, second, is_same) in [
        (named(old, "a"), new, named(new, "a"), true),
        (named(old, "a"), elsewhere, named(elsewhere, "a"), true),
        (flow(old, "a"), new, named(new, "a"), true),
        (named(old, "a"), new, flow(new, "a"), true),
        (named(old, "a"), new, named(new, "b"), false),
        (named(old, "a"), new, flow(new, "b"), false),
    ] {
        let mut bench = Bench::new();
        bench.registers(old, &first);
        let (mut caller, _) = bench.talks(|_| ());
        bench.ends(old);
        bench.registers(by, &second);
        let sent = caller.asks(&mut bench, "BYE", None);
        let reached = request(&sent, "BYE").map(|(to, _)| *to);
        assert_eq!(reached, Some(if is_same { by } else { old }), "{first} then {second}");
        bench.comes_to_rest();
    }
}

#[test]
fn r12_a_phone_that_sends_by_an_unregistered_connection_is_reached_by_that() {
    let mut bench = Bench::new();
    let (old, own, new) = (connection(1), connection(2), connection(3));
    bench.registers(old, &flow(old, "a"));
    let (mut caller, mut alice) = bench.talks(|_| ());
    alice.at = own;
    let sent = alice.asks(&mut bench, "UPDATE", None);
    assert_eq!(told(&sent, own).map(Message::status), Some(200));
    bench.registers(new, &flow(new, "a"));
    let sent = caller.asks(&mut bench, "BYE", None);
    assert_eq!(request(&sent, "BYE").map(|(to, _)| *to), Some(own));
    bench.comes_to_rest();
}

#[test]
fn r12_a_refresh_that_cannot_be_delivered_is_tried_again_until_the_session_ends() {
    for returns in [true, false] {
        let mut bench = Bench::new();
        let (old, new) = (connection(1), connection(2));
        bench.registers(old, &flow(old, "a"));
        bench.talks(|ok| {
            ok.set("Allow", "INVITE, ACK, BYE, CANCEL, UPDATE");
            ok.set("Session-Expires", "90;refresher=uac");
        });
        bench.ends(old);
        let sent = bench.passes(seconds(50));
        assert_eq!(request(&sent, "UPDATE").map(|(to, _)| *to), Some(old));
        if returns {
            bench.registers(new, &flow(new, "a"));
        }
        let sent = bench.passes(seconds(39));
        let refreshed = sent.iter().any(|(to, message)| *to == new && message.method() == "UPDATE");
        assert_eq!((bench.calls(), refreshed), (1, returns));
        // RFC 4028 §10: the session's own end, and nothing before it.
        let sent = bench.passes(seconds(60));
        assert_eq!((bench.calls(), request(&sent, "BYE").is_none()), (usize::from(returns), returns));
    }
}

#[test]
fn r12_an_agent_who_called_is_reached_by_the_next_connection_too() {
    let mut bench = Bench::new();
    let (old, new) = (connection(1), connection(2));
    bench.registers(old, &flow(old, "a"));
    let (mut alice, gateway, invite) = bench.calls_out(old);
    let sent = bench.gateway_answers(&gateway, &invite);
    let ok = told(&sent, old).expect("our 200");
    alice.to = ok.get("To").unwrap_or_default().to_owned();
    alice.us = ok.contact().unwrap_or_default().to_owned();
    alice.acknowledges(&mut bench);
    bench.ends(old);
    bench.registers(new, &flow(new, "a"));
    let mut far = Far::of(gateway, &invite);
    let sent = far.asks(&mut bench, "BYE", None);
    assert_eq!(request(&sent, "BYE").map(|(to, _)| *to), Some(new));
    bench.comes_to_rest();
}

#[test]
fn r12_the_200_to_a_phone_that_called_goes_where_it_is_now() {
    for (ends, is_back) in RETURNS {
        let mut bench = Bench::new();
        let (old, new) = (connection(1), connection(2));
        bench.registers(old, &flow(old, "a"));
        let (mut alice, gateway, invite) = bench.calls_out(old);
        let sent =
            bench.comes_back(old, new, ends, is_back, |bench| bench.gateway_answers(&gateway, &invite));
        let ok = told_of(&sent, new, "INVITE").expect("the 200");
        alice.to = ok.get("To").unwrap_or_default().to_owned();
        alice.us = ok.contact().unwrap_or_default().to_owned();
        alice.at = new;
        alice.acknowledges(&mut bench);
        bench.passes(seconds(70));
        assert_eq!(bench.calls(), 1, "{ends} {is_back}");
        let sent = Far::of(gateway, &invite).asks(&mut bench, "BYE", None);
        assert_eq!(request(&sent, "BYE").map(|(to, _)| *to), Some(new));
        bench.comes_to_rest();
    }
}

#[test]
fn r12_a_refusal_to_a_phone_that_called_goes_where_it_is_now() {
    for (ends, is_back) in RETURNS {
        let mut bench = Bench::new();
        let (old, new) = (connection(1), connection(2));
        bench.registers(old, &flow(old, "a"));
        let (mut alice, gateway, invite) = bench.calls_out(old);
        let busy = Far::says(&invite, 486, "Busy Here");
        let sent = bench.comes_back(old, new, ends, is_back, |bench| bench.hears(gateway, &busy));
        let refused = told_of(&sent, new, "INVITE").map(Message::status);
        assert_eq!((refused, bench.calls()), (Some(486), 0), "{ends} {is_back}");
        alice.at = new;
        alice.takes_no(&mut bench);
        let sent = bench.passes(seconds(5));
        assert_eq!(told_of(&sent, new, "INVITE"), None);
        bench.comes_to_rest();
    }
}

#[test]
fn r12_a_phone_that_gives_up_by_its_next_connection_hears_so_there() {
    for (ends, _) in RETURNS {
        let mut bench = Bench::new();
        let (old, new) = (connection(1), connection(2));
        bench.registers(old, &flow(old, "a"));
        let (mut alice, gateway, invite) = bench.calls_out(old);
        if ends {
            bench.ends(old);
        }
        bench.registers(new, &flow(new, "a"));
        let mut cancel = alice.request("CANCEL");
        cancel.set("Via", alice.request("INVITE").get("Via").unwrap_or_default());
        let sent = bench.hears(new, &cancel);
        assert_eq!(told_of(&sent, new, "INVITE").map(Message::status), Some(487), "{ends}");
        alice.at = new;
        alice.takes_no(&mut bench);
        assert!(request(&sent, "CANCEL").is_some());
        bench.hears(gateway, &Far::says(&invite, 487, "Request Terminated"));
        bench.comes_to_rest();
    }
}

#[test]
fn r12_what_a_phone_has_asked_is_answered_where_it_is_now() {
    for (ends, is_back) in RETURNS {
        let mut bench = Bench::new();
        let (old, new) = (connection(1), connection(2));
        bench.registers(old, &flow(old, "a"));
        let (mut caller, mut alice) = bench.talks(|_| ());
        let sent = alice.asks(&mut bench, "INVITE", Some(HELD));
        let (carrier, hold) = request(&sent, "INVITE").expect("the hold").clone();
        let answers = |bench: &mut Bench| {
            bench
                .answers(&carrier, &hold, |ok| ok.set("Contact", format!("<sip:caller@{}>", layout::CARRIER)))
        };
        let sent = bench.comes_back(old, new, ends, is_back, answers);
        let ok = told_of(&sent, new, "INVITE").map(Message::status);
        assert_eq!(ok, Some(200), "{ends} {is_back}");
        alice.at = new;
        alice.acknowledges(&mut bench);
        bench.passes(seconds(70));
        assert_eq!(bench.calls(), 1);
        let sent = caller.asks(&mut bench, "BYE", None);
        assert_eq!(request(&sent, "BYE").map(|(to, _)| *to), Some(new));
        bench.comes_to_rest();
    }
}

#[test]
fn r12_a_phone_that_called_and_never_comes_back_is_hung_up_as_ever() {
    for refuses in [true, false] {
        let mut bench = Bench::new();
        let old = connection(1);
        bench.registers(old, &flow(old, "a"));
        let (_, gateway, invite) = bench.calls_out(old);
        bench.ends(old);
        if refuses {
            bench.hears(gateway, &Far::says(&invite, 486, "Busy Here"));
            assert_eq!(bench.calls(), 0);
        } else {
            bench.gateway_answers(&gateway, &invite);
            let sent = bench.passes(seconds(33));
            assert_eq!(request(&sent, "BYE").map(|(to, _)| *to), Some(gateway));
        }
        bench.comes_to_rest();
    }
}

#[test]
fn r12_a_phone_that_rings_is_told_where_it_is_now_that_it_need_not() {
    for (ends, is_back) in RETURNS {
        let mut bench = Bench::new();
        let (old, new) = (connection(1), connection(2));
        bench.registers(old, &flow(old, "a"));
        let (caller, phone, invite) = bench.calls_alice();
        bench.hears(phone, &Far::says(&invite, 180, "Ringing"));
        let mut cancel = caller.request("CANCEL");
        cancel.set("Via", caller.request("INVITE").get("Via").unwrap_or_default());
        let sent = bench.comes_back(old, new, ends, is_back, |bench| bench.hears(caller.at, &cancel));
        let cancelled = sent.iter().filter(|(to, message)| *to == new && message.method() == "CANCEL");
        let cancelled: Vec<_> = cancelled.filter(|(_, message)| message.is_request()).collect();
        assert_eq!(cancelled.len(), 1, "{ends} {is_back}");
        assert_eq!(cancelled[0].1.get("Reason"), Some("Q.850;cause=19"));
        assert_eq!(cancelled[0].1.get("Via"), invite.get("Via"));
        caller.takes_no(&mut bench);
        let sent = bench.hears(new, &Far::says(&invite, 487, "Request Terminated"));
        assert_eq!(request(&sent, "ACK").map(|(to, _)| *to), Some(new));
        bench.comes_to_rest();
    }
}

#[test]
fn r12_a_phone_with_another_flow_is_told_by_that_when_the_one_that_rang_is_gone() {
    let mut bench = Bench::new();
    let (first, second) = (connection(1), connection(2));
    bench.registers(first, &flow(first, "a"));
    bench.registers(second, &flow(second, "a").replace("reg-id=1", "reg-id=2"));
    let (caller, phone, invite) = bench.calls_alice();
    let other = if phone == first { second } else { first };
    bench.hears(phone, &Far::says(&invite, 180, "Ringing"));
    // It rings already: another INVITE would be a merged request to it (RFC 3261 §8.2.2.2).
    let sent = bench.ends(phone);
    assert_eq!((told(&sent, caller.at), request(&sent, "INVITE")), (None, None));
    let mut cancel = caller.request("CANCEL");
    cancel.set("Via", caller.request("INVITE").get("Via").unwrap_or_default());
    let sent = bench.hears(caller.at, &cancel);
    assert_eq!(request(&sent, "CANCEL").map(|(to, _)| *to), Some(other));
    caller.takes_no(&mut bench);
    bench.hears(other, &Far::says(&invite, 487, "Request Terminated"));
    bench.comes_to_rest();
}
