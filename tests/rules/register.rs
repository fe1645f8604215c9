//! R1b, R3.3: agents' phones register, and are rung where they are (RFC 3261 §10).

use std::net::SocketAddr;

use strowger::sip::digest::{self, Algorithm, Challenge};

use super::*;

/// Where alice's phones are.
pub const DESK: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 2, 1)), 5060);
pub const POCKET: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 2, 2)), 5060);
pub const AWAY: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 8, 8)), 40_000);

/// Alice and bob have passwords and no fixed phone; the DID rings alice.
pub fn home(agent: &str, rest: &str) -> Setup {
    let text = format!(
        "[[trunk]]\nname = \"carrier\"\nfrom = [\"{}/32\"]\noptions_interval = 0\n\n\
         [[trunk]]\nname = \"mobile\"\ngateways = [{{ uri = \"sip:{}\" }}]\noutbound = true\noptions_interval = 0\n\n\
         [[agent]]\nname = \"alice\"\npassword = \"wonderland\"\n{agent}\n\n\
         [[agent]]\nname = \"bob\"\npassword = \"builder\"\n\n{}{rest}",
        layout::CARRIER.ip(),
        layout::gateway_addr(0),
        did("ring = [\"alice\"]"),
    );
    Setup::new(served(), &text)
}

/// A phone that registers, and what it has been told.
pub struct Phone {
    pub at: SocketAddr,
    pub name: &'static str,
    pub password: &'static str,
    pub call_id: &'static str,
    pub cseq: u32,
    pub count: u32,
    /// The challenge that it answers, as it came.
    pub challenge: Option<String>,
    pub algorithm: Algorithm,
}

impl Phone {
    pub fn new(name: &'static str, password: &'static str, at: SocketAddr) -> Phone {
        let algorithm = Algorithm::Md5;
        Phone { at, name, password, call_id: "reg-1", cseq: 0, count: 0, challenge: None, algorithm }
    }

    pub fn alice(at: SocketAddr) -> Phone {
        Phone::new("alice", "wonderland", at)
    }

    /// One REGISTER, with credentials where the phone has been asked; every answer to it.
    pub fn sends(&mut self, call: &mut Call, dress: impl Fn(Message) -> Message) -> Vec<Message> {
        self.cseq += 1;
        let contact = format!("<sip:{}@{}>", self.name, self.at);
        let message = Message::request("REGISTER", "sip:strowger")
            .with("Via", format!("SIP/2.0/UDP {};branch=z9hG4bK-{}-{}", self.at, self.call_id, self.cseq))
            .with("Max-Forwards", "70")
            .with("From", format!("<sip:{}@strowger>;tag=1", self.name))
            .with("To", format!("<sip:{}@strowger>", self.name))
            .with("Call-ID", self.call_id)
            .with("CSeq", format!("{} REGISTER", self.cseq))
            .with("Contact", contact);
        let message = dress(self.signed(message, "REGISTER", "sip:strowger", "Authorization"));
        self.sends_so(call, &message)
    }

    /// One INVITE, with credentials where the phone has been asked; every final answer to it, acknowledged.
    pub fn invites(
        &mut self,
        call: &mut Call,
        uri: &str,
        dress: &impl Fn(Message) -> Message,
    ) -> Vec<Message> {
        self.cseq += 1;
        let branch = format!("z9hG4bK-{}-{}", self.call_id, self.cseq);
        let base = |method: &str, cseq: u32| {
            Message::request(method, uri)
                .with("Via", format!("SIP/2.0/UDP {};branch={branch}", self.at))
                .with("Max-Forwards", "70")
                .with("From", format!("<sip:{}@strowger>;tag=1", self.name))
                .with("To", format!("<{uri}>"))
                .with("Call-ID", self.call_id)
                .with("CSeq", format!("{cseq} {method}"))
        };
        let (invite, ack) = (base("INVITE", self.cseq), base("ACK", self.cseq));
        let invite = invite.with("Contact", format!("<sip:{}@{}>", self.name, self.at));
        let invite = self.signed(invite, "INVITE", uri, "Proxy-Authorization");
        let sdp = b"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 9 RTP/AVP 0\r\n";
        let answers = self.sends_so(call, &dress(invite.with_sdp(Some(sdp))));
        for answer in &answers {
            let mut ack = ack.clone();
            ack.set("To", answer.get("To").unwrap_or_default());
            call.world.sends(self.at, &ack);
        }
        call.settle();
        answers
    }

    pub fn signed(&mut self, message: Message, method: &str, uri: &str, name: &str) -> Message {
        let challenge = self.challenge.as_deref().map(|text| Challenge::parse(text.as_bytes()));
        let Some(challenge) = challenge else { return message };
        let Some(challenge) = challenge else { panic!("no challenge: {:?}", self.challenge) };
        let ha1 = challenge.algorithm.ha1(self.name.as_bytes(), challenge.realm, self.password.as_bytes());
        self.count += 1;
        let mut text = Vec::new();
        let asked = (method, uri.as_bytes());
        digest::answer(&mut text, &challenge, self.name.as_bytes(), &ha1, asked, (self.count, b"c"));
        message.with(name, String::from_utf8_lossy(&text))
    }

    fn sends_so(&mut self, call: &mut Call, message: &Message) -> Vec<Message> {
        let before = call.world.trace.crossings.len();
        call.world.sends(self.at, message);
        call.settle();
        let answers: Vec<Message> = call.world.trace.crossings[before..]
            .iter()
            .filter(|crossing| crossing.peer == self.at && crossing.message.status() >= 200)
            .map(|crossing| crossing.message.clone())
            .collect();
        let token = self.algorithm.token();
        let asked = answers
            .iter()
            .flat_map(|answer| answer.all("WWW-Authenticate").chain(answer.all("Proxy-Authenticate")))
            .find(|text| text.contains(token));
        if let Some(challenge) = asked.map(str::to_owned) {
            self.challenge = Some(challenge);
            self.count = 0;
        }
        answers
    }

    /// Registers, and says the code of the answer to its credentials.
    pub fn registers(&mut self, call: &mut Call, dress: impl Fn(Message) -> Message) -> u16 {
        if self.challenge.is_none() {
            let asked = self.sends(call, |message| message);
            assert_eq!(codes(&asked), [401], "a REGISTER without credentials");
        }
        let answers = self.sends(call, dress);
        assert_eq!(answers.len(), 1, "{answers:?}");
        answers[0].status()
    }
}

pub fn codes(answers: &[Message]) -> Vec<u16> {
    answers.iter().map(Message::status).collect()
}

/// The same REGISTER with another Contact, or none.
pub fn contact(value: &str) -> impl Fn(Message) -> Message + '_ {
    move |mut message| {
        message.remove("Contact");
        if value.is_empty() { message } else { message.with("Contact", value) }
    }
}

fn call_alice(call: Call) -> Call {
    call.dials(DID, Manner::default())
}

#[test]
fn r01_b_a_phone_that_proves_its_password_is_bound_and_rings() {
    for algorithm in Algorithm::ALL {
        let mut call = home("", &both_hashes("carol")).before_any_call();
        let mut phone = Phone { algorithm, ..Phone::alice(DESK) };
        let asked = phone.sends(&mut call, |message| message);
        assert_eq!(codes(&asked), [401]);
        let offered = hashes(&asked[0]);
        assert_eq!(offered, ["SHA-256", "MD5"], "both hashes, the stronger first (RFC 8760 §2.3)");
        let answers = phone.sends(&mut call, |message| message);
        assert_eq!(codes(&answers), [200]);
        assert_eq!(answers[0].get("Contact"), Some("<sip:alice@127.0.2.1:5060>;expires=3600"));
        assert!(
            answers[0].get("Date").is_some_and(|date| date.ends_with(" GMT")),
            "{:?}",
            answers[0].get("Date")
        );
        let mut call = call.dials(DID, Manner::default()).ringing(["alice"]);
        call.answers("alice").hangs_up("caller").comes_to_rest();
        assert_eq!(legs(&mut call), ["caller normal 200", "alice won 200"]);
    }
}

#[test]
fn r01_b_every_register_is_challenged_alike() {
    let mut call = home("", "").before_any_call();
    let asked = ["alice", "nobody"].map(|name| {
        let asked = Phone::new(name, "x", DESK).sends(&mut call, |message| message);
        let without_nonce = |text: &str| {
            let (before, after) = text.split_once("nonce=\"").expect("a nonce");
            format!("{before}{}", after.split_once('"').expect("its end").1)
        };
        let challenges: Vec<String> = asked[0].all("WWW-Authenticate").map(without_nonce).collect();
        (codes(&asked), challenges)
    });
    assert_eq!(asked[0], asked[1]);
    // From the carrier's own address as well: a REGISTER is never a trunk's.
    let mut phone = Phone::alice(layout::CARRIER);
    assert_eq!(codes(&phone.sends(&mut call, |message| message)), [401]);
}

#[test]
fn r01_b_a_signature_counts_once_for_its_uri_and_for_its_source() {
    let mut call = home("", "").before_any_call();
    let mut phone = Phone::alice(DESK);
    assert_eq!(phone.registers(&mut call, |message| message), 200);
    // The same count again, under a new branch: somebody has listened.
    phone.count -= 1;
    let again = phone.sends(&mut call, |message| message);
    assert_eq!(codes(&again), [401]);
    assert!(again[0].get("WWW-Authenticate").is_some_and(|text| text.contains("stale=true")), "{again:?}");
    assert_eq!(phone.registers(&mut call, |message| message), 200, "who knows the password goes on");
    // The signature of another's URI.
    let other = phone.sends(&mut call, |mut message| {
        message.start = "REGISTER sip:elsewhere SIP/2.0".into();
        message
    });
    assert_eq!(codes(&other), [400]);
    // A nonce that was made for another address.
    let challenge = phone.challenge.clone();
    let mut thief = Phone { challenge, call_id: "reg-2", ..Phone::alice(AWAY) };
    let answers = thief.sends(&mut call, |message| message);
    assert_eq!(codes(&answers), [401]);
    assert!(answers[0].get("WWW-Authenticate").is_some_and(|text| text.contains("stale=true")));
}

#[test]
fn r01_b_an_old_nonce_is_stale() {
    let mut call = home("", "").before_any_call();
    let mut phone = Phone::alice(DESK);
    assert_eq!(phone.registers(&mut call, |message| message), 200);
    call.after(seconds(299));
    assert_eq!(phone.registers(&mut call, |message| message), 200);
    call.after(seconds(2));
    let asked = phone.sends(&mut call, |message| message);
    assert_eq!(codes(&asked), [401]);
    assert!(asked[0].get("WWW-Authenticate").is_some_and(|text| text.contains("stale=true")));
    assert_eq!(phone.registers(&mut call, |message| message), 200);
}

/// An agent that is known by hashes.
fn both_hashes(name: &str) -> String {
    format!(
        "{}{}",
        hashed(name, "ha1", 32),
        &hashed("", "ha1_sha256", 64)["[[agent]]\nname = \"\"\n".len()..]
    )
}

fn hashed(name: &str, key: &str, digits: usize) -> String {
    format!("[[agent]]\nname = \"{name}\"\n{key} = \"{}\"\n", "0".repeat(digits))
}

/// What a challenge asks for.
fn hashes(answer: &Message) -> Vec<String> {
    let of = |text: &str| text.split("algorithm=").nth(1)?.split(',').next().map(str::to_owned);
    answer.all("WWW-Authenticate").filter_map(of).collect()
}

#[test]
fn r01_b_agents_are_asked_by_hashes_that_all_of_them_have() {
    let md5 = hashed("carol", "ha1", 32);
    let sha256 = hashed("dave", "ha1_sha256", 64);
    for (others, asked) in [
        (String::new(), vec!["MD5"]),
        (md5.clone(), vec!["MD5"]),
        (sha256.clone(), vec!["SHA-256"]),
        (both_hashes("carol"), vec!["SHA-256", "MD5"]),
        (format!("{md5}{sha256}"), vec!["SHA-256", "MD5"]),
    ] {
        let mut call = home("", &others).before_any_call();
        let answers = Phone::alice(DESK).sends(&mut call, |message| message);
        assert_eq!(hashes(&answers[0]), asked, "{others}");
    }
}

#[test]
fn what_a_register_may_not_ask_is_refused_and_changes_nothing() {
    let mut call = home("", "").before_any_call();
    let mut phone = Phone::alice(DESK);
    assert_eq!(phone.registers(&mut call, |message| message), 200);
    let many = (0..11).map(|at| format!("<sip:alice{at}@127.0.2.1>")).collect::<Vec<_>>().join(", ");
    for (value, code) in [
        ("*", 400),
        ("<sip:alice@127.0.2.1", 400),
        ("<tel:+12015550142>", 400),
        ("<sips:alice@127.0.2.1>", 400),
        ("<sip:alice@127.0.2.1>;expires=59", 423),
        ("<sip:alice@127.0.2.1:0>", 400),
        ("<sip:alice@127.0.2.1;transport=ws>", 400),
        ("<sip:alice@127.0.2.1;transport=sctp>", 400),
        (&*many, 403),
    ] {
        assert_eq!(phone.registers(&mut call, contact(value)), code, "{value}");
    }
    let answers = phone.sends(&mut call, contact("<sip:alice@127.0.2.1>;expires=59"));
    assert_eq!(answers[0].get("Min-Expires"), Some("60"));
    let required = phone.sends(&mut call, |message| message.with("Require", "path, gruu"));
    assert_eq!((codes(&required), required[0].get("Unsupported")), (vec![420], Some("gruu")));
    let for_bob = phone.registers(&mut call, |mut message| {
        message.set("To", "<sip:bob@strowger>");
        message
    });
    assert_eq!(for_bob, 403, "nobody registers for another");
    phone.cseq = 0;
    assert_eq!(phone.registers(&mut call, |message| message), 500, "an older one that comes late");
    phone.cseq = 100;
    let asked = phone.sends(&mut call, contact(""));
    let bound: Vec<&str> = asked[0].all("Contact").collect();
    assert_eq!(bound.len(), 1, "{bound:?}");
    assert!(bound[0].starts_with("<sip:alice@127.0.2.1:5060>;expires="), "{bound:?}");
}

#[test]
fn what_a_contact_says_besides_is_told_again() {
    let mut call = home("", "").before_any_call();
    let mut phone = Phone::alice(DESK);
    assert_eq!(phone.registers(&mut call, |message| message), 200);
    let value = "<sip:alice@127.0.2.1>;q=0.7;expires=90;x-line=\"2;3\"";
    let answers = phone.sends(&mut call, contact(value));
    assert_eq!(
        answers[0].all("Contact").last(),
        Some("<sip:alice@127.0.2.1>;expires=90;q=0.7;x-line=\"2;3\"")
    );
}

/// A request of no dialog, with a tag as if there were one.
fn lost(method: &str, cseq: &str) -> Message {
    Message::request(method, "sip:strowger@127.0.0.1:5060")
        .with("Via", format!("SIP/2.0/UDP {DESK};branch=z9hG4bK-lost-{method}-{}", cseq.len()))
        .with("Max-Forwards", "70")
        .with("From", "<sip:phone@192.168.1.7>;tag=f")
        .with("To", "<sip:us@strowger>;tag=gone")
        .with("Call-ID", format!("lost-{method}"))
        .with("CSeq", cseq)
}

#[test]
fn r01_e_a_registered_phone_is_no_stranger() {
    for (bound, told) in [(false, vec![403]), (true, vec![481, 481, 481, 400])] {
        let mut call = home("", "").before_any_call();
        if bound {
            assert_eq!(Phone::alice(DESK).registers(&mut call, |message| message), 200);
        }
        let before = call.world.trace.crossings.len();
        for message in [
            lost("BYE", "1 BYE"),
            lost("CANCEL", "1 CANCEL"),
            lost("INVITE", "1 INVITE"),
            lost("INVITE", "x INVITE"),
        ] {
            call.world.sends(DESK, &message);
            call.settle();
        }
        let after = &call.world.trace.crossings[before..];
        let heard = after.iter().filter(|one| one.peer == DESK && one.message.status() >= 200);
        assert_eq!(heard.map(|one| one.message.status()).collect::<Vec<_>>(), told);
        call.world.leaves_unchecked("answers_legal");
    }
}

#[test]
fn r01_a_merged_invite_of_an_agent_is_482() {
    let mut call = home("", "").before_any_call();
    let mut phone = Phone::alice(DESK);
    phone.invites(&mut call, "sip:911@strowger", &|message| message);
    let sent = std::cell::RefCell::new(None);
    phone.invites(&mut call, "sip:911@strowger", &|message| {
        sent.replace(Some(message.clone()));
        message
    });
    let mut merged = sent.take().expect("an INVITE");
    merged.set("Via", format!("SIP/2.0/UDP {DESK};branch=z9hG4bK-another-way"));
    assert_eq!(codes(&phone.sends_so(&mut call, &merged)), [482]);
    call.world.leaves_unchecked("answers_legal");
}

#[test]
fn a_binding_ends_when_its_phone_says_so_or_its_time_is_over() {
    type Says = fn(Message) -> Message;
    let ends: [(&str, Says); 2] = [
        ("that Contact", |mut message| {
            message.set("Contact", "<sip:alice@127.0.2.1:5060>;expires=0");
            message
        }),
        ("all of them", |mut message| {
            message.set("Contact", "*");
            message.with("Expires", "0")
        }),
    ];
    for (what, says) in ends {
        let mut call = home("", "").before_any_call();
        let mut phone = Phone::alice(DESK);
        assert_eq!(phone.registers(&mut call, |message| message), 200);
        let answers = phone.sends(&mut call, says);
        assert_eq!((codes(&answers), answers[0].get("Contact")), (vec![200], None), "{what}");
        let mut call = call_alice(call);
        call.comes_to_rest();
        assert_eq!(end(&mut call), "unreachable 480 us", "{what}");
    }
    let mut call = home("", "").before_any_call();
    let short = contact("<sip:alice@127.0.2.1:5060>;expires=60");
    assert_eq!(Phone::alice(DESK).registers(&mut call, short), 200);
    call.after(seconds(61));
    let mut call = call_alice(call);
    call.comes_to_rest();
    assert_eq!(end(&mut call), "unreachable 480 us");
}

/// RFC 3261 §19.1.1: no Request-URI has headers.
#[test]
fn a_contact_with_headers_is_bound_once_and_can_be_ended() {
    let mut call = home("", "").before_any_call();
    let mut phone = Phone::alice(DESK);
    for _ in 0..3 {
        assert_eq!(phone.registers(&mut call, contact("<sip:alice@127.0.2.1:5060?X=1>")), 200);
    }
    let bound = phone.sends(&mut call, contact("<sip:alice@127.0.2.1:5060?Y=2>;expires=600"));
    let told: Vec<&str> = bound[0].all("Contact").collect();
    assert_eq!((codes(&bound), told.len()), (vec![200], 1), "{told:?}");
    let ended = phone.sends(&mut call, contact("<sip:alice@127.0.2.1:5060?X=1>;expires=0"));
    assert_eq!((codes(&ended), ended[0].get("Contact")), (vec![200], None));
}

/// Alice with two phones, both bound.
fn two_phones(agent: &str) -> Call {
    let mut call = home(agent, "").before_any_call();
    assert_eq!(Phone::alice(DESK).registers(&mut call, |message| message), 200);
    assert_eq!(
        Phone { call_id: "reg-2", ..Phone::alice(POCKET) }.registers(&mut call, |message| message),
        200
    );
    call
}

#[test]
fn r03_3_every_phone_of_an_agent_rings_at_once_and_the_first_to_answer_wins() {
    // The second phone stands where bob's would.
    let mut call = call_alice(two_phones("")).ringing(["alice", "bob"]);
    assert_eq!(call.times("us → alice", "INVITE"), call.times("us → bob", "INVITE"));
    call.answers("bob");
    call.settle();
    let reason = header(&mut call, "us → alice", "CANCEL", "Reason");
    assert_eq!(reason.as_deref(), Some("SIP;cause=200;text=\"Call completed elsewhere\""));
    call.hangs_up("caller").comes_to_rest();
    assert_eq!(legs(&mut call), ["caller normal 200", "alice elsewhere 487", "alice won 200"]);
}

#[test]
fn r03_3_all_phones_of_an_agent_are_one_call_of_max_calls() {
    let mut call = call_alice(two_phones("max_calls = 1")).ringing(["alice", "bob"]);
    // One phone ends; the other still is her call.
    call.sends_busy("alice").after(millis(50));
    call.answers("bob");
    call.settle();
    let mut call = call_alice(call);
    call.after(seconds(1));
    assert_eq!(call.caller_is_told(), Some(486), "she talks");
}

#[test]
fn r08_486_from_one_phone_ends_it_alone_and_603_all_of_them() {
    let mut call = call_alice(two_phones("")).ringing(["alice", "bob"]);
    call.sends_busy("alice").after(millis(50));
    assert_eq!(count(&mut call, "us → bob", "CANCEL"), 0);
    call.refuses("bob", 480).comes_to_rest();
    assert_eq!(call.caller_is_told(), Some(486), "who speaks on one phone is busy");

    let mut call = call_alice(two_phones("")).ringing(["alice", "bob"]);
    call.declines("alice").after(millis(50));
    assert_eq!(count(&mut call, "us → bob", "CANCEL"), 1);
    call.comes_to_rest();
    assert_eq!(call.caller_is_told(), Some(603));
}

#[test]
fn a_phone_behind_a_nat_is_reached_where_it_came_from() {
    let mut call = home("", "").before_any_call();
    assert_eq!(Phone::alice(DESK).registers(&mut call, contact("<sip:alice@192.168.1.7:5060>")), 200);
    let mut call = call_alice(call).ringing(["alice"]);
    let invite = call.messages("us → alice", "INVITE").remove(0);
    assert_eq!(invite.start, "INVITE sip:alice@192.168.1.7:5060 SIP/2.0");
    // Its 200 names the same address, which nobody outside reaches.
    let behind = |message: &mut Message| message.set("Contact", "<sip:alice@192.168.1.7:5060>");
    call.behaves("alice", Manner::default().dressed(behind)).answers("alice");
    call.settle();
    assert_eq!(count(&mut call, "us → alice", "ACK"), 1);
    call.hangs_up("caller");
    call.settle();
    let bye = call.messages("us → alice", "BYE").remove(0);
    assert_eq!(bye.start, "BYE sip:alice@192.168.1.7:5060 SIP/2.0");
    call.comes_to_rest();
}

#[test]
fn a_phone_behind_a_proxy_is_reached_by_its_path() {
    let mut call = home("", "").before_any_call();
    let answers = |call: &mut Call| {
        let mut phone = Phone::alice(DESK);
        phone.sends(call, |message| message);
        phone.sends(call, |mut message| {
            message.set("Contact", "<sip:alice@192.168.1.7>");
            message.with("Supported", "path").with("Path", "<sip:edge@127.0.2.1;lr>, <sip:inner@10.0.0.1;lr>")
        })
    };
    let answers = answers(&mut call);
    assert_eq!(codes(&answers), [200]);
    assert_eq!(answers[0].get("Path"), Some("<sip:edge@127.0.2.1;lr>, <sip:inner@10.0.0.1;lr>"));
    let mut call = call_alice(call).ringing(["alice"]);
    let invite = call.messages("us → alice", "INVITE").remove(0);
    let routes: Vec<&str> = invite.all("Route").collect();
    assert_eq!(routes, ["<sip:edge@127.0.2.1;lr>", "<sip:inner@10.0.0.1;lr>"]);
    call.answers("alice").hangs_up("caller").comes_to_rest();
}

#[test]
fn a_proxy_is_called_where_its_path_says_on_its_own_host_and_nowhere_else() {
    let source = SocketAddr::new(DESK.ip(), 40_000);
    let (elsewhere, ourselves) = (format!("sip:{POCKET}"), format!("sip:{}", layout::SERVER));
    for (path, from) in [
        // RFC 3327 §5.3: by its own port, not by what the REGISTER came from.
        ("sip:edge@127.0.2.1;lr;ob", source),
        // Nobody has us send to a third party, to a phone of another agent, or to ourselves.
        (&*elsewhere, DESK),
        ("sip:127.0.2.1:7002;lr", DESK),
        (&*ourselves, DESK),
        ("sip:127.0.2.1:0;lr", DESK),
        // Not looked up, and not served.
        ("sip:edge.example.com;lr", DESK),
        ("sip:127.0.2.1:7003;transport=ws;lr", DESK),
    ] {
        let mut call = home("", "").before_any_call();
        let another = SocketAddr::new(DESK.ip(), 7_002);
        let mut bob = Phone { call_id: "reg-2", ..Phone::new("bob", "builder", another) };
        assert_eq!(bob.registers(&mut call, |message| message), 200);
        let dress = |mut message: Message| {
            message.set("Contact", "<sip:alice@192.168.1.7>");
            message.with("Supported", "path").with("Path", format!("<{path}>"))
        };
        assert_eq!(Phone::alice(from).registers(&mut call, dress), 200, "{path}");
        let mut call = call_alice(call).ringing(["alice"]);
        assert_eq!(call.messages("us → alice", "INVITE").len(), 1, "{path}");
    }
}

#[test]
fn a_flow_that_is_registered_again_takes_the_place_of_its_old_self() {
    let mut call = home("", "").before_any_call();
    let flow = |port: u16, flow: u32| {
        move |mut message: Message| {
            let instance = "+sip.instance=\"<urn:uuid:00000000-0000-1000-8000-000A95A0E128>\"";
            message.set("Contact", format!("<sip:alice@127.0.2.1:{port};ob>;reg-id={flow};{instance}"));
            message.with("Supported", "outbound, path")
        }
    };
    let mut phone = Phone::alice(DESK);
    for (port, number) in [(5060, 1), (5070, 1), (5080, 2)] {
        assert_eq!(phone.registers(&mut call, flow(port, number)), 200);
    }
    let again = phone.sends(&mut call, flow(5080, 2));
    assert_eq!(again[0].get("Require"), Some("outbound"));
    let answers = phone.sends(&mut call, contact(""));
    let ports: Vec<&str> =
        answers[0].all("Contact").filter_map(|text| text.split(':').nth(2)?.split(';').next()).collect();
    assert_eq!(ports, ["5070", "5080"], "{answers:?}");
    assert_eq!(answers[0].get("Require"), None, "who only asks has no flow in it");
}

#[test]
fn r03_3_the_flows_of_one_phone_ring_once_the_newest_first_and_the_next_where_that_is_dead() {
    for dead in [false, true] {
        let mut call = home("", "").before_any_call();
        for (at, call_id, flow) in [(DESK, "reg-1", 1), (POCKET, "reg-2", 2)] {
            let dress = |mut message: Message| {
                message
                    .set("Contact", format!("<sip:alice@{at};ob>;reg-id={flow};+sip.instance=\"<urn:x>\""));
                message.with("Supported", "outbound, path")
            };
            assert_eq!(Phone { call_id, ..Phone::alice(at) }.registers(&mut call, dress), 200);
        }
        // The second flow stands where bob's phone would.
        if dead {
            call.is_cut_off("bob", seconds(60));
            let mut call = call_alice(call).ringing(["alice"]);
            call.answers("alice").hangs_up("caller").comes_to_rest();
            assert_eq!(legs(&mut call)[2], "alice won 200");
        } else {
            let mut call = call_alice(call).ringing(["bob"]);
            call.answers("bob").hangs_up("caller").comes_to_rest();
            assert_eq!(legs(&mut call), ["caller normal 200", "alice won 200"]);
        }
    }
}

/// The phone that rings beside another one has its next flow tried too, whichever of the two is rung first.
#[test]
fn r03_3_the_next_flow_is_tried_of_a_phone_that_rings_beside_another() {
    let older = layout::agent_addr(2);
    let fixed = format!("contact = \"sip:alice@{}\"", layout::agent_addr(3));
    for (contact, desk) in [("", "alice"), (&*fixed, "dave")] {
        let mut call = home(contact, "").before_any_call();
        if contact.is_empty() {
            assert_eq!(Phone::alice(DESK).registers(&mut call, |message| message), 200);
        }
        for (at, call_id, flow) in [(older, "reg-2", 1), (POCKET, "reg-3", 2)] {
            let dress = |mut message: Message| {
                message
                    .set("Contact", format!("<sip:alice@{at};ob>;reg-id={flow};+sip.instance=\"<urn:x>\""));
                message.with("Supported", "outbound, path")
            };
            assert_eq!(Phone { call_id, ..Phone::alice(at) }.registers(&mut call, dress), 200);
        }
        // The newest flow stands where bob's phone would, and leads nowhere; the other where carol's would.
        call.is_cut_off("bob", seconds(60));
        let mut call = call_alice(call).ringing([desk]);
        assert_eq!(count(&mut call, "us → carol", "INVITE"), 0, "the newest flow is waited for");
        call.after(seconds(4));
        let mut call = call.ringing(["carol"]);
        call.answers("carol").hangs_up("caller").comes_to_rest();
        assert_eq!(legs(&mut call)[3], "alice won 200");
    }
}

#[test]
fn who_names_no_flow_means_the_uri_whoever_bound_it() {
    let uri = "<sip:alice@127.0.2.1:5060;ob>";
    let flow = |mut message: Message| {
        message.set("Contact", format!("{uri};reg-id=1;+sip.instance=\"<urn:x>\""));
        message.with("Supported", "outbound, path")
    };
    let (again, ended) = (format!("{uri};expires=90"), format!("{uri};expires=0"));
    for (value, bound) in [(&again, Some(&*again)), (&ended, None)] {
        let mut call = home("", "").before_any_call();
        let mut phone = Phone::alice(DESK);
        assert_eq!(phone.registers(&mut call, flow), 200);
        let answers = phone.sends(&mut call, contact(value));
        assert_eq!(answers[0].all("Contact").collect::<Vec<_>>(), bound.into_iter().collect::<Vec<_>>());
    }
}

/// When OPTIONS went to an address, repetitions aside.
fn options(call: &Call, to: SocketAddr) -> Vec<strowger::time::Instant> {
    let mut branches = std::collections::BTreeSet::new();
    let crossings = call.world.trace.crossings.iter();
    let asked = crossings.filter(|crossing| crossing.message.method() == "OPTIONS" && crossing.peer == to);
    let first = asked.filter(|crossing| branches.insert(crossing.message.branch().to_owned()));
    first.filter(|crossing| crossing.message.is_request()).map(|crossing| crossing.at).collect()
}

#[test]
fn a_phone_behind_a_nat_is_asked_by_one_shard_before_the_nat_forgets_it_and_no_other_is() {
    for shards in [1, 3] {
        let mut call = home("", "").shards(shards).before_any_call();
        let mut natted = Phone::alice(DESK);
        assert_eq!(natted.registers(&mut call, contact("<sip:alice@192.168.1.7:5060>")), 200);
        let mut direct = Phone { call_id: "reg-2", ..Phone::new("bob", "builder", POCKET) };
        assert_eq!(direct.registers(&mut call, |message| message), 200);
        call.after(seconds(300));
        let asked = options(&call, DESK);
        let apart: Vec<Duration> = asked.windows(2).map(|pair| pair[1].since(pair[0])).collect();
        assert!(apart.len() >= 9, "{shards} shards: {apart:?}");
        assert!(apart.iter().all(|pause| (seconds(25)..=millis(28_100)).contains(pause)), "{apart:?}");
        assert_eq!(options(&call, POCKET), []);
        let uri = call.world.trace.crossings.iter().find(|crossing| crossing.message.method() == "OPTIONS");
        assert_eq!(uri.map(|crossing| crossing.message.uri()), Some("sip:alice@192.168.1.7:5060"));
        call.after(seconds(3_300));
        let before = options(&call, DESK).len();
        call.after(seconds(300));
        assert_eq!(options(&call, DESK).len(), before, "it has expired");
        call.comes_to_rest();
    }
}

#[test]
fn the_first_phone_of_all_is_asked_within_a_round_too() {
    let mut call = home("", "").before_any_call();
    // So that nobody was registered when a round began.
    call.after(seconds(28));
    let mut natted = Phone::new("bob", "builder", DESK);
    assert_eq!(natted.registers(&mut call, contact("<sip:bob@192.168.1.7:5060>")), 200);
    call.after(millis(28_100));
    assert_eq!(options(&call, DESK).len(), 1);
}

#[test]
fn a_phone_behind_a_nat_that_answers_no_options_is_rung_all_the_same() {
    let mut call = home("", "").before_any_call();
    let mut natted = Phone::alice(DESK);
    assert_eq!(natted.registers(&mut call, contact("<sip:alice@192.168.1.7:5060>")), 200);
    call.is_cut_off("alice", seconds(200)).after(seconds(250));
    assert!(options(&call, DESK).len() >= 8, "it is asked on");
    let mut call = call_alice(call).ringing(["alice"]);
    call.answers("alice").hangs_up("caller").comes_to_rest();
}
