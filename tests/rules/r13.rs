//! R13: agents calling out, and whom they may call.

use strowger::sip::digest;

use super::register::{DESK, Phone, home};
use super::*;

/// Alice has a number to show; another DID of ours rings bob.
pub fn office(agent: &str, rest: &str) -> Setup {
    let others = "[[number]]\ndid = \"+12015550102\"\nring = [\"bob\"]\n[dial]\nallow = [\"+1\"]\ndeny = [\"+1900\"]\n";
    home(&format!("number = \"{DID}\"\n{agent}"), &format!("{others}{rest}"))
}

/// Alice's phone dials; what it hears first, and how the story goes on.
pub fn dials(call: Call, to: &str) -> (Vec<u16>, Call) {
    dials_so(call, to, |message| message)
}

fn dials_so(mut call: Call, to: &str, dress: impl Fn(Message) -> Message) -> (Vec<u16>, Call) {
    let mut phone = Phone { call_id: "out-1", ..Phone::alice(DESK) };
    let uri = format!("sip:{to}@127.0.0.1");
    let asked = phone.invites(&mut call, &uri, &dress);
    assert_eq!(asked.iter().map(Message::status).collect::<Vec<_>>(), [407], "without credentials");
    assert!(asked[0].get("WWW-Authenticate").is_none(), "{asked:?}");
    let heard = phone.invites(&mut call, &uri, &dress);
    call.call_id = "out-1".to_owned();
    // It knows the carrier's callers alone.
    call.world.leaves_unchecked("one_cdr");
    (heard.iter().map(Message::status).collect(), call)
}

#[test]
fn r13_an_agents_call_goes_out_by_an_outbound_trunk_and_shows_its_number() {
    let (heard, call) = dials(office("", "").before_any_call(), "2125550188");
    assert_eq!(heard, [0u16; 0]);
    let mut call = call.ringing(["gateway1"]);
    let invite = call.messages("us → gateway1", "INVITE").remove(0);
    assert_eq!(invite.start, format!("INVITE sip:+12125550188@{} SIP/2.0", layout::gateway_addr(0)));
    let from = invite.get("From").unwrap_or_default().to_owned();
    assert!(from.starts_with(&format!("<sip:{DID}@")), "never what the phone claims: {from}");
    assert!(invite.get("P-Asserted-Identity").is_some_and(|pai| pai.contains(DID)), "{invite:?}");
    assert_eq!((invite.get("Diversion"), invite.get("History-Info")), (None, None), "nobody diverted it");
    assert!(invite.get("Proxy-Authorization").is_none(), "{invite:?}");
    call.answers("gateway1");
    call.settle();
    call.hangs_up("gateway1").comes_to_rest();
    let cdr = call.cdr();
    let of = |key: &str| cdr[key].as_str().unwrap_or("-").to_owned();
    assert_eq!(
        ["direction", "did", "caller", "dialled", "trunk", "presented"].map(of),
        ["outbound", DID, DID, "+12125550188", "-", DID]
    );
}

/// A proxy before the phone forks: the copy has the same credentials, and is no stranger's (RFC 3261 §8.2.2.2).
#[test]
fn r11_an_agents_merged_request_is_482_and_the_call_goes_on() {
    let (_, call) = dials(office("", "").before_any_call(), "2125550188");
    let mut call = call.ringing(["gateway1"]);
    let crossings = call.world.trace.crossings.iter();
    let mut invites = crossings
        .filter(|crossing| crossing.peer == DESK && crossing.message.get("Proxy-Authorization").is_some());
    let mut copy = invites.next().map(|crossing| crossing.message.clone()).expect("an INVITE");
    copy.set("Via", format!("SIP/2.0/UDP {DESK};branch=z9hG4bK-fork"));
    let before = call.world.trace.crossings.len();
    call.world.sends(DESK, &copy);
    call.settle();
    let since = call.world.trace.crossings[before..].iter().filter(|crossing| crossing.peer == DESK);
    let told: Vec<u16> = since.map(|crossing| crossing.message.status()).filter(|code| *code > 0).collect();
    assert_eq!(told, [482]);
    call.answers("gateway1");
    call.settle();
    call.hangs_up("gateway1").comes_to_rest();
    assert_eq!(call.cdr()["outcome"], "answered");
}

#[test]
fn r13_inside_it_goes_to_an_agent_by_name_and_to_a_did_of_ours() {
    for (to, did) in [("bob", DID), ("+12015550102", "+12015550102")] {
        let mut call = office("", "").before_any_call();
        let bobs = "127.0.2.2:5060".parse().expect("an address");
        let mut bob = Phone { call_id: "reg-2", ..Phone::new("bob", "builder", bobs) };
        assert_eq!(bob.registers(&mut call, |message| message), 200);
        let (heard, call) = dials(call, to);
        assert_eq!(heard, [0u16; 0], "{to}");
        let mut call = call.ringing(["bob"]);
        assert_eq!(count(&mut call, "us → gateway1", "INVITE"), 0);
        call.answers("bob");
        call.settle();
        call.hangs_up("bob").comes_to_rest();
        let cdr = call.cdr();
        assert_eq!((cdr["direction"].as_str(), cdr["did"].as_str()), (Some("internal"), Some(did)), "{to}");
    }
}

#[test]
fn r13_what_dial_forbids_is_refused_and_recorded_as_blocked() {
    let (heard, mut call) = dials(office("", "").before_any_call(), "+19005550000");
    assert_eq!(heard, [403]);
    call.after(seconds(33));
    assert_eq!(end(&mut call), "blocked 403 us");
    let (heard, mut call) = dials(office("", "").before_any_call(), "nobody");
    assert_eq!(heard, [404]);
    call.after(seconds(33));
    assert_eq!(end(&mut call), "failed 404 us");
}

#[test]
fn r13_who_has_no_number_calls_inside_alone() {
    let (heard, _) = dials(home("", "").before_any_call(), "+12125550188");
    assert_eq!(heard, [403]);
    let mut call = home("", "").before_any_call();
    let bobs = "127.0.2.2:5060".parse().expect("an address");
    let mut bob = Phone { call_id: "reg-2", ..Phone::new("bob", "builder", bobs) };
    assert_eq!(bob.registers(&mut call, |message| message), 200);
    let (heard, call) = dials(call, "bob");
    assert_eq!(heard, [0u16; 0]);
    let mut call = call.ringing(["bob"]);
    let from = header(&mut call, "us → bob", "INVITE", "From");
    assert!(from.as_deref().is_some_and(|from| from.starts_with("<sip:alice@")), "{from:?}");
}

#[test]
fn r09_a_verified_caller_id_is_shown_instead_of_the_agents_number() {
    let verified = "[[caller_id]]\nnumber = \"+12015550142\"\nverified = \"2026-11-01T10:00:00Z\"\n";
    let setup = office("", verified).with_number("caller_id = \"+12015550142\"");
    let (_, call) = dials(setup.before_any_call(), "+12125550188");
    let mut call = call.ringing(["gateway1"]);
    let from = header(&mut call, "us → gateway1", "INVITE", "From");
    assert!(from.as_deref().is_some_and(|from| from.starts_with("<sip:+12015550142@")), "{from:?}");
}

#[test]
fn r09_an_agent_who_withholds_its_number_stays_withheld() {
    let (_, call) =
        dials_so(office("", "").before_any_call(), "+12125550188", |message| message.with("Privacy", "id"));
    let mut call = call.ringing(["gateway1"]);
    let invite = call.messages("us → gateway1", "INVITE").remove(0);
    assert!(invite.get("From").is_some_and(|from| from.contains("anonymous.invalid")), "{invite:?}");
    assert_eq!(invite.get("P-Asserted-Identity"), None);
}

#[test]
fn r03_3_who_calls_is_busy_for_others() {
    let mut call = office("max_calls = 1", "").before_any_call();
    let mut phone = Phone::alice(DESK);
    assert_eq!(phone.registers(&mut call, |message| message), 200);
    let (_, call) = dials(call, "+12125550188");
    let mut call = call.ringing(["gateway1"]);
    call.answers("gateway1");
    call.settle();
    let mut call = call.dials(DID, Manner::default());
    call.after(seconds(1));
    assert_eq!(call.caller_is_told(), Some(486));
}

#[test]
fn r01_b_a_registered_phone_is_challenged_whatever_it_says_it_is() {
    let mut call = office("", "").before_any_call();
    assert_eq!(Phone::alice(DESK).registers(&mut call, |message| message), 200);
    let stranger = |mut message: Message| {
        message.set("From", "<sip:+12025550123@127.0.0.1>;tag=1");
        message
    };
    let mut phone = Phone { call_id: "out-2", ..Phone::alice(DESK) };
    let asked = phone.invites(&mut call, "sip:+12125550188@127.0.0.1", &stranger);
    assert_eq!(asked.iter().map(Message::status).collect::<Vec<_>>(), [407]);
    // From where nobody has registered it is a stranger's.
    let away = "127.0.8.8:5060".parse().expect("an address");
    let mut phone = Phone { call_id: "out-3", ..Phone::alice(away) };
    let refused = phone.invites(&mut call, "sip:+12125550188@127.0.0.1", &stranger);
    assert_eq!(refused.iter().map(Message::status).collect::<Vec<_>>(), [403]);
}

/// A trunk that is challenged, by a gateway that asks so; the story up to its second INVITE.
fn challenged(code: u16, challenges: &[(&'static str, &str)]) -> Call {
    let mobile = "auth = { username = \"we\", password = \"pass\" }";
    let setup = node("", mobile, "", &did_forward());
    let mut call = setup.incoming(DID);
    call.awaits("gateway1");
    let manner = challenges.iter().fold(Manner::default(), |manner, (name, value)| manner.with(name, *value));
    call.behaves("gateway1", manner).refuses("gateway1", code);
    call.settle();
    call
}

#[test]
fn r13_a_carriers_challenge_is_answered_by_the_strongest_hash_it_names() {
    let [weak, strong] = ["MD5", "SHA-256"].map(|hash| {
        format!("Digest realm=\"carrier\", nonce=\"n\", opaque=\"o\", algorithm={hash}, qop=\"auth\"")
    });
    for (code, asks, answers, both) in [
        (407, "Proxy-Authenticate", "Proxy-Authorization", true),
        (401, "WWW-Authenticate", "Authorization", false),
    ] {
        let mut all = vec![(asks, &*weak)];
        all.extend(both.then_some((asks, &*strong)));
        let mut call = challenged(code, &all);
        let invites = call.messages("us → gateway1", "INVITE");
        assert_eq!(invites.len(), 2, "{code}");
        assert_eq!((invites[0].get(answers), invites[1].call_id()), (None, invites[0].call_id()));
        assert!(
            invites[1].get("CSeq").is_some_and(|cseq| cseq.starts_with("2 ")),
            "{:?}",
            invites[1].get("CSeq")
        );
        let given = invites[1].get(answers).unwrap_or_default();
        let Some(given) = digest::Credentials::parse(given.as_bytes()) else { panic!("{given}") };
        let algorithm = if both { digest::Algorithm::Sha256 } else { digest::Algorithm::Md5 };
        assert_eq!((given.algorithm, given.realm, given.username), (algorithm, &b"carrier"[..], &b"we"[..]));
        let ha1 = algorithm.ha1(b"we", b"carrier", b"pass");
        assert!(given.prove("INVITE", ha1.as_bytes()).is_some());
        call.behaves("gateway1", Manner::default()).answers("gateway1").hangs_up("caller").comes_to_rest();
        assert_eq!(end(&mut call), "answered 200 caller");
        assert_eq!(legs(&mut call).len(), 2, "one leg, whatever it took");
    }
}

#[test]
fn r13_a_challenge_that_is_repeated_fails_the_leg() {
    let asks = "Digest realm=\"carrier\", nonce=\"n\", qop=\"auth\"";
    let mut call = challenged(407, &[("Proxy-Authenticate", asks)]);
    call.refuses("gateway1", 407);
    call.after(seconds(1));
    assert_eq!(count(&mut call, "us → gateway1", "INVITE"), 2);
    assert_eq!(call.caller_is_told(), Some(480), "never a leg's 407 (R8)");
}

#[test]
fn r13_a_nonce_that_is_too_old_is_answered_anew_but_not_for_ever() {
    let asks = "Digest realm=\"carrier\", nonce=\"n\", qop=\"auth\", stale=true";
    let mut call = challenged(407, &[("Proxy-Authenticate", asks)]);
    for _ in 0..5 {
        call.refuses("gateway1", 407);
        call.settle();
    }
    call.after(seconds(1));
    assert_eq!(count(&mut call, "us → gateway1", "INVITE"), 4);
    assert_eq!(call.caller_is_told(), Some(480));
}

#[test]
fn r13_a_trunk_without_a_password_cannot_answer() {
    let asks = "Digest realm=\"carrier\", nonce=\"n\", qop=\"auth\"";
    let mut call = forward().incoming(DID);
    call.awaits("gateway1");
    call.behaves("gateway1", Manner::default().with("Proxy-Authenticate", asks)).refuses("gateway1", 407);
    call.after(seconds(1));
    assert_eq!(count(&mut call, "us → gateway1", "INVITE"), 1);
}

/// A bridged call over a carrier that challenged its INVITE, and now challenges whatever comes within the dialog.
fn challenged_within(manner: Manner) -> Call {
    let asks = "Digest realm=\"carrier\", nonce=\"n\", qop=\"auth\"";
    let mut call = challenged(407, &[("Proxy-Authenticate", asks)]);
    call.behaves("gateway1", manner).answers("gateway1");
    call.settle();
    let shown = |call: &mut Call, label: &str| {
        let last = call.messages("us → gateway1", label).pop();
        last.and_then(|last| last.get("Proxy-Authorization").map(str::to_owned))
    };
    let (ack, given) = (shown(&mut call, "ACK"), shown(&mut call, "INVITE"));
    assert!(given.is_some() && ack == given, "RFC 3261 §22.1: {ack:?}");
    call
}

/// The two requests of a kind that a challenge makes of one.
fn asked_twice(call: &mut Call, method: &str) -> [Message; 2] {
    let requests = call.messages("us → gateway1", method);
    let Some(requests) = requests.last_chunk::<2>() else { panic!("{requests:?}") };
    let [first, second] = requests.clone();
    assert_eq!(first.get("Proxy-Authorization"), None);
    let given = second.get("Proxy-Authorization").unwrap_or_default();
    let Some(given) = digest::Credentials::parse(given.as_bytes()) else { panic!("{given}") };
    assert_eq!(given.nonce, b"m");
    assert!(given.prove(method, given.algorithm.ha1(b"we", b"carrier", b"pass").as_bytes()).is_some());
    let cseq = |of: &Message| of.get("CSeq").and_then(|cseq| cseq.split(' ').next()?.parse::<u32>().ok());
    assert_eq!(cseq(&second), cseq(&first).map(|cseq| cseq + 1));
    assert_eq!((second.call_id(), &second.body), (first.call_id(), &first.body));
    [first, second]
}

const WITHIN: &str = "Digest realm=\"carrier\", nonce=\"m\", qop=\"auth\"";

#[test]
fn r13_a_carriers_challenge_to_a_bye_is_answered_though_the_call_is_over() {
    let mut call = challenged_within(Manner { challenges: Some(WITHIN), ..Manner::default() });
    call.hangs_up("caller");
    call.settle();
    let [first, second] = asked_twice(&mut call, "BYE");
    assert_eq!(second.get("Reason"), first.get("Reason"));
    call.comes_to_rest();
}

#[test]
fn r13_a_carriers_challenge_to_what_is_passed_on_is_answered() {
    let mut call = challenged_within(Manner { challenges: Some(WITHIN), ..Manner::default() });
    call.does("caller", Act::Holds);
    call.settle();
    let [_, held] = asked_twice(&mut call, "INVITE");
    assert!(body(&held).contains("sendonly"), "{held:?}");
    let ack = call.messages("us → gateway1", "ACK").pop().expect("the 200 has its ACK");
    assert_eq!(ack.get("Proxy-Authorization"), held.get("Proxy-Authorization"));
    assert_eq!(count(&mut call, "us → caller", "407"), 0, "never a carrier's challenge");
    call.does("caller", Act::Informs);
    call.settle();
    asked_twice(&mut call, "INFO");
    call.hangs_up("caller").comes_to_rest();
}

#[test]
fn r13_a_carriers_challenge_to_what_asks_whether_it_lives_is_answered() {
    let mut call = challenged_within(Manner { challenges: Some(WITHIN), ..Manner::default() });
    call.after(seconds(301));
    asked_twice(&mut call, "OPTIONS");
    assert_eq!(call.record(), None, "the call goes on");
    call.hangs_up("caller").comes_to_rest();
}

#[test]
fn r13_a_carrier_that_is_never_satisfied_within_a_call_is_not_asked_for_ever() {
    // What is wanted stands in no credentials: the far end looks for the text behind the first `nonce="`.
    let wrong = "Digest opaque=\"nonce=\", realm=\"carrier\", nonce=\"m\", qop=\"auth\"";
    let stale = "Digest opaque=\"nonce=\", stale=true, realm=\"carrier\", nonce=\"m\", qop=\"auth\"";
    let plain = "Digest opaque=\"nonce=\", stale=true, realm=\"carrier\", nonce=\"m\"";
    for (asks, times) in [(wrong, 2), (stale, 4), (plain, 2)] {
        let mut call = challenged_within(Manner { challenges: Some(asks), ..Manner::default() });
        call.hangs_up("caller");
        call.settle();
        assert_eq!(count(&mut call, "us → gateway1", "BYE"), times, "{asks}");
        call.world.leaves_unchecked("dialogs_legal");
    }
}

/// A 401 that crosses the CANCEL of what it asks about: nobody wants that any more.
#[test]
fn r13_a_challenge_that_crosses_a_cancel_is_acknowledged_and_not_answered() {
    let mut call = challenged_within(Manner { stalls: Some(100), ..Manner::default() });
    call.does("caller", Act::Holds);
    call.settle();
    let invite = call.messages("us → gateway1", "INVITE").pop().expect("it is passed on");
    let crossed = Message::response(&invite, 401, "Unauthorized").with("WWW-Authenticate", WITHIN);
    let held = call.messages("caller → us", "INVITE").pop().expect("it is asked for");
    let cancel = ["Via", "From", "To", "Call-ID"].iter().fold(
        Message::request("CANCEL", held.uri()).with("CSeq", format!("{} CANCEL", held.cseq().0)),
        |cancel, name| cancel.with(name, held.get(name).unwrap_or_default()),
    );
    call.loses_next_of("us → gateway1", "CANCEL").world.sends(layout::CARRIER, &cancel);
    call.settle();
    assert_eq!(count(&mut call, "us → gateway1", "CANCEL"), 1);
    let invites = count(&mut call, "us → gateway1", "INVITE");
    call.world.sends(layout::gateway_addr(0), &crossed);
    call.settle();
    assert_eq!(count(&mut call, "us → gateway1", "INVITE"), invites);
    let ack = call.messages("us → gateway1", "ACK").pop().expect("the 401 has its ACK");
    assert_eq!((ack.branch(), ack.cseq().0), (invite.branch(), invite.cseq().0));
    assert_eq!(count(&mut call, "us → caller", "487"), 1);
    assert_eq!(count(&mut call, "us → caller", "401"), 0);
}

/// The same of a leg's first INVITE.
#[test]
fn r13_a_leg_that_was_given_up_is_not_called_again_when_it_asks_for_a_password() {
    let setup = node("", "auth = { username = \"we\", password = \"pass\" }", "", &did_forward());
    let mut call = setup.incoming(DID).ringing(["gateway1"]);
    let invite = call.messages("us → gateway1", "INVITE").remove(0);
    let crossed = Message::response(&invite, 401, "Unauthorized").with("WWW-Authenticate", WITHIN);
    call.loses_next_of("us → gateway1", "CANCEL").caller_cancels();
    call.settle();
    call.world.sends(layout::gateway_addr(0), &crossed);
    call.settle();
    assert_eq!(count(&mut call, "us → gateway1", "INVITE"), 1);
    assert_eq!(count(&mut call, "us → gateway1", "ACK"), 1);
    assert_eq!(legs(&mut call)[0], "caller cancelled 487");
}

#[test]
fn r13_a_strong_challenge_that_is_too_long_leaves_the_shorter_one() {
    let long = format!(
        "Digest realm=\"carrier\", nonce=\"n\", opaque=\"{}\", algorithm=SHA-256, qop=\"auth\"",
        "o".repeat(1_100)
    );
    let short = "Digest realm=\"carrier\", nonce=\"n\", qop=\"auth\"";
    let mut call = challenged(407, &[("Proxy-Authenticate", &long), ("Proxy-Authenticate", short)]);
    let given = call.messages("us → gateway1", "INVITE").pop();
    let given = given.as_ref().and_then(|invite| invite.get("Proxy-Authorization")).unwrap_or_default();
    assert!(given.contains("algorithm=MD5"), "{given}");
}

#[test]
fn r13_a_proxys_challenge_and_then_the_far_ends_are_answered_together() {
    let [proxys, ends] =
        ["proxy", "end"].map(|realm| format!("Digest realm=\"{realm}\", nonce=\"n\", qop=\"auth\""));
    let mut call = challenged(407, &[("Proxy-Authenticate", &proxys)]);
    for times in [3, 3] {
        call.behaves("gateway1", Manner::default().with("WWW-Authenticate", &*ends)).refuses("gateway1", 401);
        call.settle();
        assert_eq!(count(&mut call, "us → gateway1", "INVITE"), times);
    }
    let invite = call.messages("us → gateway1", "INVITE").remove(2);
    for (header, realm, count) in [("Proxy-Authorization", "proxy", 2), ("Authorization", "end", 1)] {
        let given = invite.get(header).unwrap_or_default();
        assert!(given.contains(&format!("realm=\"{realm}\"")), "{header}: {given}");
        assert!(given.contains(&format!("nc={count:08x}")), "RFC 7616 §3.4: {header}: {given}");
    }
    assert_eq!(call.caller_is_told(), Some(480));
}

#[test]
fn r13_a_nonce_that_is_used_again_is_counted_on() {
    let asks = "Digest realm=\"carrier\", nonce=\"n\", qop=\"auth\"";
    let mut call = challenged(407, &[("Proxy-Authenticate", asks)]);
    call.behaves("gateway1", Manner::default().with("Min-SE", "3600")).refuses("gateway1", 422);
    call.settle();
    let given = call.messages("us → gateway1", "INVITE").remove(2);
    let given = given.get("Proxy-Authorization").unwrap_or_default();
    assert!(given.contains("nc=00000002"), "{given}");
    // The carrier asks by the same nonce within the call too.
    call.behaves("gateway1", Manner { challenges: Some(asks), ..Manner::default() }).answers("gateway1");
    call.settle();
    call.hangs_up("caller");
    call.settle();
    let bye = call.messages("us → gateway1", "BYE").pop();
    let given = bye.as_ref().and_then(|bye| bye.get("Proxy-Authorization")).unwrap_or_default();
    assert!(given.contains("nc=00000003"), "{given}");
    call.comes_to_rest();
}

#[test]
fn r13_a_carriers_challenge_to_a_prack_is_answered() {
    let asks = "Digest realm=\"carrier\", nonce=\"n\", qop=\"auth\"";
    let mut call = challenged(407, &[("Proxy-Authenticate", asks)]);
    call.behaves("gateway1", Manner { challenges: Some(WITHIN), ..Manner::default() });
    call.does("gateway1", Act::RingsReliably);
    call.settle();
    let [first, second] = asked_twice(&mut call, "PRACK");
    assert_eq!(second.get("RAck"), first.get("RAck"));
    call.answers("gateway1");
    call.settle();
    call.hangs_up("caller").comes_to_rest();
}

/// Who has called in on a trunk with an account hears our BYE, and asks for a password; the table may change before.
fn bye_to_the_caller(changed: Option<&str>) -> Call {
    let text = |from: &str| {
        let auth = "auth = { username = \"we\", password = \"pass\" }";
        node_text(auth, "", "", &did_forward()).replace(&format!("{}/32", layout::CARRIER.ip()), from)
    };
    let before = text(&format!("{}/32", layout::CARRIER.ip()));
    let call = Setup::new(served(), &before).before_any_call();
    let manner = Manner { challenges: Some(WITHIN), ..Manner::default() };
    let mut call = call.dials(DID, manner).ringing(["gateway1"]);
    call.answers("gateway1");
    call.settle();
    if let Some(from) = changed {
        call.world.publish(Some(&text(from)));
    }
    call.hangs_up("gateway1");
    call.settle();
    call
}

#[test]
fn r13_the_challenge_of_who_called_in_is_answered_as_its_own_trunk_says() {
    for changed in [None, Some("192.0.2.1/32")] {
        let mut call = bye_to_the_caller(changed);
        let byes = call.messages("us → caller", "BYE");
        let shown: Vec<bool> = byes.iter().map(|bye| bye.get("Proxy-Authorization").is_some()).collect();
        assert_eq!(shown, [false, true], "{changed:?}");
        call.comes_to_rest();
    }
}

#[test]
fn r13_an_agent_within_a_trunks_addresses_is_never_shown_that_trunks_password() {
    let away = "127.0.8.8:5060".parse().expect("an address");
    let trunk = "[[trunk]]\nname = \"secret\"\nfrom = [\"127.0.8.0/24\"]\noptions_interval = 0\n\
                 auth = { username = \"we\", password = \"pass\" }\n";
    let mut call = office("", trunk).before_any_call();
    let mut phone = Phone { call_id: "out-4", ..Phone::alice(away) };
    for _ in 0..2 {
        phone.invites(&mut call, "sip:+12125550188@127.0.0.1", &|message| message);
    }
    for check in ["one_cdr", "everything_answered", "bounded", "dialogs_legal"] {
        call.world.leaves_unchecked(check);
    }
    call.call_id = "out-4".to_owned();
    let mut call = call.ringing(["gateway1"]);
    call.answers("gateway1");
    call.settle();
    call.hangs_up("gateway1");
    // Its ACK does not come.
    call.after(seconds(34));
    let byes = |call: &Call| {
        let crossings = call.world.trace.crossings.iter().filter(|crossing| crossing.peer == away);
        let messages = crossings.map(|crossing| crossing.message.clone());
        messages.filter(|message| message.is_request() && message.method() == "BYE").collect::<Vec<_>>()
    };
    let asked = byes(&call);
    assert!(!asked.is_empty(), "no BYE");
    let answer = Message::response(&asked[0], 407, "So").with("Proxy-Authenticate", WITHIN);
    call.world.sends(away, &answer);
    call.after(seconds(3));
    assert!(byes(&call).iter().all(|bye| bye.get("Proxy-Authorization").is_none()));
    assert!(byes(&call).iter().all(|bye| bye.branch() == asked[0].branch()), "it is not asked again");
}
