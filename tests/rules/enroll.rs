//! R1c, R14: our registration at a carrier, and the calls that come by it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use strowger::sip::digest::{Algorithm, Challenge, Credentials};
use strowger::time::Instant;

use super::*;

/// Nobody of the world's lives there: what the registrars answer stands in the story.
const FIRST: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 5, 1)), 5060);
const SECOND: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 5, 2)), 5060);
/// Where no trunk's `from` reaches.
const SBC: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 6, 6)), 5060);

fn text(keys: &str) -> String {
    format!(
        "[[trunk]]\nname = \"itsp\"\ngateways = [{{ uri = \"sip:{FIRST}\", priority = 10 }}, \
         {{ uri = \"sip:{SECOND}\", priority = 20 }}]\nregister = true\noptions_interval = 0\n\
         auth = {{ username = \"house\", password = \"sesame\" }}\n{keys}\n\n\
         [[trunk]]\nname = \"carrier\"\nfrom = [\"{}/32\"]\noptions_interval = 0\n\n\
         [[agent]]\nname = \"alice\"\ncontact = \"sip:alice@{}\"\n\n{}",
        layout::CARRIER.ip(),
        layout::agent_addr(0),
        did("ring = [\"alice\"]"),
    )
}

fn itsp() -> Call {
    Setup::new(served(), &text("")).before_any_call()
}

/// The REGISTERs that went to an address, repetitions aside, and when.
fn registers(call: &Call, to: SocketAddr) -> Vec<(Message, Instant)> {
    let mut all: Vec<(Message, Instant)> = Vec::new();
    for crossing in &call.world.trace.crossings {
        let message = &crossing.message;
        let sent = message.is_request() && message.method() == "REGISTER" && crossing.peer == to;
        if sent && !all.iter().any(|(other, _)| other.branch() == message.branch()) {
            all.push((message.clone(), crossing.at));
        }
    }
    all
}

/// The last one.
#[track_caller]
fn last(call: &Call, to: SocketAddr) -> Message {
    let all = registers(call, to);
    assert!(!all.is_empty(), "no REGISTER to {to}");
    all[all.len() - 1].0.clone()
}

/// When the next one goes there.
fn next(call: &mut Call, to: SocketAddr) -> Instant {
    let before = registers(call, to).len();
    for _ in 0..4_000 {
        call.after(seconds(1));
        if let Some((_, at)) = registers(call, to).get(before) {
            return *at;
        }
    }
    is_sound(call);
    panic!("none goes to {to}");
}

/// The registrar answers the last REGISTER that it got.
fn answers(call: &mut Call, from: SocketAddr, code: u16, dress: impl Fn(Message) -> Message) {
    let answer = Message::response(&last(call, from), code, "So");
    let to = format!("{};tag=r", answer.get("To").unwrap_or_default());
    let mut answer = dress(answer);
    answer.set("To", to);
    call.world.sends(from, &answer);
    call.settle();
    is_sound(call);
}

/// No checker stopped the world.
#[track_caller]
fn is_sound(call: &Call) {
    if let Err(broken) = call.world.verdict() {
        panic!("{broken}");
    }
}

fn challenges(message: Message) -> Message {
    message
        .with("WWW-Authenticate", "Digest realm=\"itsp\", nonce=\"n1\", algorithm=MD5, qop=\"auth\"")
        .with("WWW-Authenticate", "Digest realm=\"itsp\", nonce=\"n2\", algorithm=SHA-256, qop=\"auth\"")
}

/// Registered for so many seconds.
fn grants(seconds: u32) -> impl Fn(Message) -> Message {
    move |message| {
        let contact = last_contact(&message);
        message.with("Contact", format!("<sip:other@192.0.2.1>;expires=7, {contact};expires={seconds}"))
    }
}

/// Our own Contact is not in the response yet: it is made of the token that every story has.
fn last_contact(response: &Message) -> String {
    response.get("X-Contact").unwrap_or_default().to_owned()
}

fn accepts(call: &mut Call, from: SocketAddr, seconds: u32) {
    let contact = last(call, from).get("Contact").unwrap_or_default().to_owned();
    answers(call, from, 200, |message| {
        let mut granted = grants(seconds)(message.with("X-Contact", contact.clone()));
        granted.remove("X-Contact");
        granted
    });
}

fn token(register: &Message) -> String {
    let contact = register.get("Contact").unwrap_or_default();
    let token = contact.split_once(";line=").map(|(_, rest)| rest.trim_end_matches('>'));
    token.unwrap_or_default().to_owned()
}

#[test]
fn r01_c_a_trunk_registers_with_digest_and_refreshes_in_time() {
    for shards in [1, 3] {
        let mut call = Setup::new(served(), &text("")).shards(shards).before_any_call();
        call.after(seconds(2));
        let first = last(&call, FIRST);
        assert_eq!(first.uri(), format!("sip:{FIRST}"));
        assert_eq!(first.get("To"), Some(format!("<sip:house@{FIRST}>").as_str()));
        assert_eq!((token(&first).len(), first.get("Authorization")), (32, None));
        answers(&mut call, FIRST, 401, challenges);
        let second = last(&call, FIRST);
        assert_eq!((second.call_id(), second.cseq().0), (first.call_id(), first.cseq().0 + 1));
        let given = second.get("Authorization").map(|text| Credentials::parse(text.as_bytes()));
        let Some(Some(given)) = given else { panic!("no credentials: {second:?}") };
        assert_eq!((given.algorithm, given.nonce), (Algorithm::Sha256, &b"n2"[..]), "the stronger");
        let ha1 = Algorithm::Sha256.ha1(b"house", b"itsp", b"sesame");
        assert!(given.prove("REGISTER", ha1.as_bytes()).is_some());
        assert_eq!(given.uri, second.uri().as_bytes());
        accepts(&mut call, FIRST, 100);
        assert_eq!(call.world.said, ["itsp registered"]);
        let began = call.world.now;
        next(&mut call, FIRST);
        assert!(registers(&call, SECOND).is_empty());
        let all = registers(&call, FIRST);
        assert_eq!(all.len(), 3, "{shards} shards");
        let after = all[2].1.since(began);
        assert!((seconds(80)..=millis(90_100)).contains(&after), "{after:?}");
        assert_eq!(all[2].0.cseq().0, second.cseq().0 + 1);
    }
}

#[test]
fn r01_c_a_stale_nonce_is_answered_once_more_and_a_wrong_password_is_not() {
    let mut call = itsp();
    call.after(seconds(2));
    answers(&mut call, FIRST, 401, challenges);
    let stale = "Digest realm=\"itsp\", nonce=\"n3\", algorithm=MD5, stale=true";
    answers(&mut call, FIRST, 401, |message| message.with("WWW-Authenticate", stale));
    assert!(last(&call, FIRST).get("Authorization").is_some_and(|text| text.contains("n3")));
    answers(&mut call, FIRST, 401, challenges);
    assert_eq!((registers(&call, FIRST).len(), registers(&call, SECOND).len()), (3, 0));
    assert_eq!(call.world.said, ["itsp not registered: 401 Unauthorized"]);
    // 30 s, doubled each time, half of it to all of it.
    for pause in [30, 60, 120, 240, 480, 960, 1_800, 1_800] {
        let failed = call.world.now;
        let waited = next(&mut call, FIRST).since(failed);
        assert!((seconds(pause / 2)..=millis(pause * 1_000 + 100)).contains(&waited), "{pause}: {waited:?}");
        answers(&mut call, FIRST, 403, |message| message);
    }
    assert_eq!(call.world.said.len(), 1, "told once");
}

#[test]
fn r01_c_a_carrier_that_wants_it_longer_has_it_longer() {
    let mut call = itsp();
    call.after(seconds(2));
    answers(&mut call, FIRST, 423, |message| message.with("Min-Expires", "1800"));
    assert_eq!(last(&call, FIRST).get("Expires"), Some("1800"));
    // For ever is too long.
    answers(&mut call, FIRST, 423, |message| message.with("Min-Expires", "4000000000"));
    assert_eq!(call.world.said, ["itsp not registered: 423 Interval Too Brief"]);
}

#[test]
fn r01_c_a_gateway_that_fails_leaves_it_to_the_next() {
    let mut call = itsp();
    call.after(seconds(2));
    let began = registers(&call, FIRST)[0].1;
    call.after(seconds(5));
    let second = registers(&call, SECOND);
    assert_eq!(second[0].1.since(began), seconds(4), "try_timeout");
    accepts(&mut call, SECOND, 600);
    assert_eq!(call.world.said, ["itsp registered"]);
}

/// RFC 3261 §21.5.4: the one that says so is left alone, the other is asked as ever.
#[test]
fn a_gateway_that_says_how_long_is_left_alone_for_so_long_up_to_half_an_hour() {
    type Says = fn(Message) -> Message;
    let says: [(Says, u64); 2] =
        [(|no| no.with("Retry-After", "100"), 100), (|no| no.with("Retry-After", "9000000"), 1_800)];
    for (says, waits) in says {
        // Both say so.
        let mut call = itsp();
        call.after(seconds(2));
        answers(&mut call, FIRST, 503, says);
        answers(&mut call, SECOND, 503, says);
        assert_eq!(call.world.said, ["itsp not registered: 503 Service Unavailable"]);
        let failed = call.world.now;
        call.after(seconds(waits + 1));
        let again = registers(&call, FIRST)[1].1.since(failed);
        assert!((seconds(waits) - millis(100)..=seconds(waits)).contains(&again), "{again:?}");
        // One does, and the other is dead, or lives again.
        for is_dead in [true, false] {
            let mut call = itsp();
            call.after(seconds(2));
            answers(&mut call, FIRST, 503, says);
            let left = call.world.now;
            closed(&mut call, "gateway2", true);
            call.after(seconds(20));
            closed(&mut call, "gateway2", is_dead);
            let asked = registers(&call, SECOND).len();
            if is_dead {
                call.after(seconds(waits - 25));
                assert!(registers(&call, SECOND).len() > asked, "{waits}");
            } else {
                next(&mut call, SECOND);
                accepts(&mut call, SECOND, 600);
                assert_eq!(call.world.said.last().map(String::as_str), Some("itsp registered"));
            }
            assert_eq!(registers(&call, FIRST).len(), 1, "{waits} {is_dead}");
            assert!(call.world.now.since(left) < seconds(waits));
        }
    }
}

/// An INVITE as a carrier sends it to a registered Contact.
fn invited(call: &mut Call, from: SocketAddr, uri: &str, to: &str) -> Vec<u16> {
    let before = call.world.trace.crossings.len();
    let call_id = format!("in-{before}");
    let invite = Message::request("INVITE", uri)
        .with("Via", format!("SIP/2.0/UDP {from};branch=z9hG4bK-{before};rport"))
        .with("Max-Forwards", "70")
        .with("From", format!("<sip:{CALLER}@itsp>;tag=c"))
        .with("To", format!("<sip:{to}@itsp>"))
        .with("Call-ID", &call_id)
        .with("CSeq", "1 INVITE")
        .with("Contact", format!("<sip:sbc@{from}>"));
    call.world.sends(from, &invite);
    call.settle();
    let told = call.world.trace.crossings[before..].iter().filter(|crossing| crossing.peer == from);
    told.map(|crossing| crossing.message.status()).filter(|status| *status > 0).collect()
}

#[test]
fn r01_c_who_names_our_token_is_that_trunk_and_a_wrong_one_says_nothing() {
    let mut call = Setup::new(served(), &text("did_from = \"to\"")).before_any_call();
    // The world knows calls from its own carrier alone.
    for check in ["everything_answered", "bounded", "one_cdr"] {
        call.world.leaves_unchecked(check);
    }
    call.after(seconds(2));
    let token = token(&last(&call, FIRST));
    let ours = format!("sip:house@127.0.0.1:5060;line={token}");
    assert_eq!(invited(&mut call, SBC, &ours, DID)[0], 100);
    let wrong = format!("sip:house@127.0.0.1:5060;line={}", token.replace(&token[..4], "0000"));
    for uri in [wrong.as_str(), "sip:house@127.0.0.1:5060;line", "sip:house@127.0.0.1:5060"] {
        assert_eq!(invited(&mut call, SBC, uri, DID), [403], "{uri}");
    }
    // Before the address: what comes from the other carrier's is read as this trunk reads it.
    assert_eq!(invited(&mut call, layout::CARRIER, &ours, DID)[0], 100);
    assert_eq!(
        invited(&mut call, layout::CARRIER, &wrong, DID).last(),
        Some(&404),
        "R1d, by the Request-URI"
    );
    call.after(seconds(40));
    is_sound(&call);
    let mut trunks: Vec<&str> = call.world.records.iter().filter_map(|cdr| cdr["trunk"].as_str()).collect();
    trunks.sort_unstable();
    assert_eq!(trunks, ["carrier", "itsp", "itsp"]);
}

/// Registered for so many seconds, and its first refresh is refused by both gateways: the carrier has it still.
fn refresh_is_refused(granted: u32) -> Call {
    let mut call = itsp();
    call.after(seconds(2));
    accepts(&mut call, FIRST, granted);
    next(&mut call, FIRST);
    answers(&mut call, FIRST, 503, |message| message.with("Retry-After", "1000"));
    answers(&mut call, SECOND, 503, |message| message.with("Retry-After", "1000"));
    assert_eq!(call.world.said, ["itsp registered", "itsp not registered: 503 Service Unavailable"]);
    call
}

/// RFC 3261 §10.2.2: a failed refresh ends nothing at the registrar.
#[test]
fn r01_c_a_registration_that_could_not_be_refreshed_is_ended_while_it_stands() {
    let off = text("").replace("register = true", "register = false");
    for (waits, ended) in [(1, true), (1_000, false)] {
        let mut call = refresh_is_refused(600);
        let before = last(&call, FIRST);
        call.after(seconds(waits));
        let count = registers(&call, FIRST).len();
        call.world.publish(Some(&off));
        call.settle();
        let all = registers(&call, FIRST);
        assert_eq!(all.len() > count, ended, "after {waits} s");
        if ended {
            let ending = last(&call, FIRST);
            assert_eq!((ending.get("Expires"), ending.call_id()), (Some("0"), before.call_id()));
            answers(&mut call, FIRST, 200, |message| message);
        }
        call.after(seconds(2_000));
        assert_eq!(registers(&call, FIRST).len(), all.len());
        call.comes_to_rest();
    }
}

#[test]
fn r01_c_a_registration_that_could_not_be_refreshed_is_left_behind_another_registrar() {
    let third = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 5, 3)), 5060);
    let mut call = refresh_is_refused(600);
    call.world.publish(Some(&text("").replace(&FIRST.to_string(), &third.to_string())));
    call.after(seconds(3));
    assert_eq!(registers(&call, FIRST).len(), 2, "not before the other has it");
    accepts(&mut call, third, 600);
    assert_eq!(last(&call, FIRST).get("Expires"), Some("0"));
}

#[test]
fn r01_c_a_reload_does_not_hurry_a_registration_that_could_not_be_refreshed() {
    let mut call = refresh_is_refused(600);
    let failed = call.world.now;
    call.world.publish(Some(&text("max_calls = 9")));
    let asked = next(&mut call, FIRST).since(failed);
    assert!(
        (seconds(1_000) - millis(100)..=seconds(1_000)).contains(&asked),
        "as the carrier asks: {asked:?}"
    );
    accepts(&mut call, FIRST, 600);
    assert_eq!(call.world.said[2..], ["itsp registered"]);
}

#[test]
fn r01_c_a_trunk_that_goes_is_registered_no_more() {
    let mut call = itsp();
    call.after(seconds(2));
    accepts(&mut call, FIRST, 600);
    let token = token(&last(&call, FIRST));
    call.world.publish(Some(&text("max_calls = 9")));
    call.after(seconds(3));
    assert_eq!(registers(&call, FIRST).len(), 1, "nothing that it says has changed");
    let without = text("").replace("register = true", "register = false");
    call.world.publish(Some(&without));
    call.settle();
    let ending = last(&call, FIRST);
    assert_eq!((ending.get("Expires"), self::token(&ending)), (Some("0"), token.clone()));
    answers(&mut call, FIRST, 401, challenges);
    assert!(last(&call, FIRST).get("Authorization").is_some(), "it is challenged too");
    answers(&mut call, FIRST, 200, |message| message);
    call.after(seconds(1_000));
    assert_eq!(registers(&call, FIRST).len(), 3);
    let ours = format!("sip:house@127.0.0.1:5060;line={token}");
    assert_eq!(invited(&mut call, SBC, &ours, DID), [403], "its token is worth nothing now");
    call.comes_to_rest();
}

#[test]
fn r01_c_a_registration_whose_way_is_gone_is_made_anew_but_not_again_and_again() {
    let at = layout::gateway_addr(0);
    let text = text("").replace(&FIRST.to_string(), &at.to_string());
    let mut call = Setup::new(served(), &text).before_any_call();
    call.is_cut_off("gateway1", seconds(100_000));
    let host = call.world.hosts.iter().position(|host| host.name == "gateway1").unwrap_or_default();
    call.after(seconds(2));
    accepts(&mut call, at, 3_600);
    let began = registers(&call, at)[0].1;
    call.world.happens(strowger::sim::happening::Happening::Refused { host });
    assert_eq!(next(&mut call, at).since(began), seconds(30));
    accepts(&mut call, at, 3_600);
    call.after(seconds(100));
    let lost = call.world.now;
    call.world.happens(strowger::sim::happening::Happening::Refused { host });
    assert!(next(&mut call, at).since(lost) < millis(50));
}

#[test]
fn a_garbled_challenge_is_a_failure_and_no_more() {
    for text in [
        "",
        "Digest",
        "Basic realm=\"x\"",
        "Digest realm=\"a\"",
        "Digest nonce=\"a\", realm=\"b\", qop=\"auth-int\"",
    ] {
        assert_eq!(Challenge::parse(text.as_bytes()), None);
        let mut call = itsp();
        call.after(seconds(2));
        answers(&mut call, FIRST, 401, |message| message.with("WWW-Authenticate", text));
        assert_eq!(call.world.said, ["itsp not registered: 401 Unauthorized"], "{text}");
    }
}

/// Registered at the first gateway; then the table is written otherwise, and some time passes.
fn changed(to: &str) -> (Call, Message) {
    let mut call = itsp();
    call.after(seconds(2));
    accepts(&mut call, FIRST, 600);
    let before = last(&call, FIRST);
    call.world.publish(Some(to));
    call.after(seconds(3));
    (call, before)
}

#[test]
fn r01_c_what_is_no_part_of_a_registration_does_not_touch_it() {
    let third =
        format!("register = true\ngateways = [{{ uri = \"sip:127.0.5.3\" }}, {{ uri = \"sip:{FIRST}\" }}]");
    let added = text("").replace("register = true", &third);
    let added = added.lines().filter(|line| !line.contains(&SECOND.to_string()));
    for to in [
        text("carry = [\"X-Carrier\"]"),
        text("").replace("priority = 10", "priority = 15, weight = 7"),
        added.map(|line| format!("{line}\n")).collect(),
    ] {
        let (mut call, before) = changed(&to);
        assert_eq!((registers(&call, FIRST).len(), registers(&call, SECOND).len()), (1, 0), "{to}");
        let began = call.world.now;
        assert!(next(&mut call, FIRST).since(began) > seconds(400), "refreshed when it would have been");
        let refresh = last(&call, FIRST);
        assert_eq!((refresh.call_id(), refresh.cseq().0), (before.call_id(), before.cseq().0 + 1));
    }
}

#[test]
fn r01_c_another_password_or_port_registers_anew_in_the_same_row() {
    let port = SocketAddr::new(FIRST.ip(), 5070);
    for (to, at) in [
        (text("").replace("sesame", "poppy"), FIRST),
        (text("").replace(&FIRST.to_string(), &port.to_string()), port),
    ] {
        let (call, before) = changed(&to);
        let anew = last(&call, at);
        assert_eq!((anew.call_id(), anew.cseq().0), (before.call_id(), before.cseq().0 + 1), "{to}");
        assert_eq!(anew.get("Expires"), Some("600"));
        let ended =
            |at| registers(&call, at).iter().any(|(register, _)| register.get("Expires") == Some("0"));
        assert!(!ended(FIRST) && !ended(port), "what it is registered by is not ended");
    }
}

#[test]
fn r01_c_another_registrar_has_it_before_the_old_one_is_left() {
    let third = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 5, 3)), 5060);
    let (mut call, before) = changed(&text("").replace(&FIRST.to_string(), &third.to_string()));
    assert_eq!(registers(&call, FIRST).len(), 1);
    assert_ne!(last(&call, third).call_id(), before.call_id());
    accepts(&mut call, third, 600);
    let ending = last(&call, FIRST);
    assert_eq!((ending.get("Expires"), ending.call_id()), (Some("0"), before.call_id()));
    assert_eq!(ending.uri(), format!("sip:{FIRST}"));
    answers(&mut call, FIRST, 200, |message| message);
    call.after(seconds(60));
    assert_eq!((registers(&call, FIRST).len(), registers(&call, third).len()), (2, 1));
}

#[test]
fn r01_c_a_pause_that_a_carrier_asked_for_outlasts_a_reload() {
    let mut call = itsp();
    call.after(seconds(2));
    answers(&mut call, FIRST, 503, |message| message.with("Retry-After", "100"));
    let failed = call.world.now;
    answers(&mut call, SECOND, 503, |message| message.with("Retry-After", "100"));
    call.world.publish(Some(&text("max_calls = 9")));
    assert_eq!(next(&mut call, FIRST).since(failed), seconds(100));
}

#[test]
fn r01_c_a_carrier_that_wants_it_longer_and_longer_is_not_asked_for_ever() {
    let mut call = itsp();
    call.after(seconds(2));
    for asked in [601, 602, 603] {
        answers(&mut call, FIRST, 423, |message| message.with("Min-Expires", asked.to_string()));
    }
    assert_eq!(registers(&call, FIRST).len(), 3);
    assert_eq!(call.world.said, ["itsp not registered: 423 Interval Too Brief"]);
    let failed = call.world.now;
    assert!(next(&mut call, FIRST).since(failed) >= seconds(15), "as after any failure");
}

#[test]
fn r01_c_a_nonce_that_is_used_again_is_counted_on() {
    let mut call = itsp();
    call.after(seconds(2));
    answers(&mut call, FIRST, 401, challenges);
    answers(&mut call, FIRST, 423, |message| message.with("Min-Expires", "1800"));
    let given = last(&call, FIRST).get("Authorization").unwrap_or_default().to_owned();
    assert!(given.contains("nc=00000002"), "RFC 7616 §3.4: {given}");
}

/// RFC 3261 §10.3 step 8: a 200 lists every binding of the account. Whose list is another's, or empty and without a
/// time, has not taken ours.
#[test]
fn r01_c_a_carrier_that_does_not_list_us_has_not_registered_us() {
    let lists: [&[(&str, &str)]; 8] = [
        &[],
        &[("Expires", "0")],
        &[("Contact", "<sip:other@192.0.2.1>;expires=600")],
        &[("Contact", "<sip:house@127.0.0.1:5060;line=abc>;expires=600")],
        &[("Contact", "<sip:house@127.0.0.1:5060>;expires=0"), ("Expires", "600")],
        &[("Contact", "<sip:house@192.0.2.1>;expires=0"), ("Expires", "600")],
        &[("Contact", "<sip:house@192.0.2.1>;expires=600, <sip:house@192.0.2.2>"), ("Expires", "600")],
        &[("Contact", "nonsense<"), ("Expires", "600")],
    ];
    for list in lists {
        let mut call = itsp();
        call.after(seconds(2));
        let dress = |message: Message, (name, value): &(&str, &str)| message.with(name, *value);
        answers(&mut call, FIRST, 200, |message| list.iter().fold(message, dress));
        assert_eq!(call.world.said, ["itsp not registered: the carrier does not list us"], "{list:?}");
        let told = call.world.now;
        assert!(next(&mut call, FIRST).since(told) <= seconds(31), "{list:?}");
    }
}

/// Registrars that write the address which they see into our Contact, and those that leave the list out, are many; a 200
/// says that they have taken us all the same. What they grant must not run out while we believe that they have not.
#[test]
fn r01_c_a_carrier_that_rewrites_our_contact_or_leaves_it_out_has_registered_us() {
    for (contact, said) in [
        (Some("<sip:house@127.0.0.1>;expires=600"), "itsp registered"),
        (Some("<sip:house@192.0.2.1:1024>;expires=600"), "itsp registered at another address"),
        (Some("<sip:house@192.0.2.1:1024>"), "itsp registered at another address"),
        (None, "itsp registered without a list"),
    ] {
        let mut call = itsp();
        call.after(seconds(2));
        for turn in 0..2 {
            answers(&mut call, FIRST, 200, |message| {
                let message = message.with("Expires", "600");
                contact.iter().fold(message, |message, contact| message.with("Contact", *contact))
            });
            assert_eq!(call.world.said, [said], "once, {turn}");
            let told = call.world.now;
            let wait = next(&mut call, FIRST).since(told);
            assert!((seconds(480)..=millis(540_100)).contains(&wait), "{contact:?}: {wait:?}");
        }
    }
}

#[test]
fn r01_c_what_is_granted_for_a_short_time_is_refreshed_before_it_lapses() {
    for (granted, after) in [(59, 29_500), (10, 5_000), (3, 1_500), (1, 1_000)] {
        let mut call = itsp();
        call.after(seconds(2));
        accepts(&mut call, FIRST, granted);
        let began = call.world.now;
        let waited = next(&mut call, FIRST).since(began);
        assert!((millis(after - 100)..=millis(after + 1)).contains(&waited), "{granted}: {waited:?}");
    }
}

#[test]
fn r01_c_a_registrar_that_dns_does_not_know_is_not_found() {
    let nowhere = |text: &str| text.replace(&format!("sip:{FIRST}"), "sip:registrar.test");
    let only = text("").replace(&format!(", {{ uri = \"sip:{SECOND}\", priority = 20 }}"), "");
    let mut call = Setup::new(served(), &nowhere(&only)).before_any_call();
    call.after(seconds(3));
    assert_eq!(call.world.said, ["itsp not registered: its host is not found"]);
}

/// After a long outage the pauses are long. Who asks the gateway, another shard it may be, sees when it is over.
#[test]
fn r01_c_who_waits_long_is_registered_soon_after_a_gateway_has_come_back() {
    let gateway = layout::gateway_addr(0);
    let written = text("")
        .replace(&FIRST.to_string(), &gateway.to_string())
        .replace(&format!(", {{ uri = \"sip:{SECOND}\", priority = 20 }}"), "")
        .replacen("options_interval = 0", "options_interval = 30", 1);
    for shards in [1, 3] {
        let mut call = Setup::new(served(), &written).shards(shards).before_any_call();
        call.is_cut_off("gateway1", seconds(3_600)).after(seconds(3_600));
        assert!(registers(&call, gateway).len() < 12);
        let (up, until) = ("itsp 0 up".to_owned(), call.world.now + seconds(60));
        while !call.world.said.contains(&up) && call.world.now < until {
            call.after(millis(100));
        }
        assert!(call.world.said.contains(&up), "{:?}", call.world.said);
        let since = call.world.now;
        let first = next(&mut call, gateway);
        assert!(first.since(since) <= seconds(10), "{shards}");
        // It lives and is no registrar: that is the first failure of a new row.
        let apart = next(&mut call, gateway).since(first);
        assert!((seconds(15)..=seconds(31)).contains(&apart), "{apart:?}");
    }
}

/// Whatever it once said: seconds that are long over keep nobody from a gateway that answers again.
#[test]
fn r14_a_gateway_that_comes_back_is_registered_at_soon_though_it_once_said_when_to_ask_again() {
    let gateway = layout::gateway_addr(0);
    let written = text("")
        .replace(&FIRST.to_string(), &gateway.to_string())
        .replace(&format!(", {{ uri = \"sip:{SECOND}\", priority = 20 }}"), "")
        .replacen("options_interval = 0", "options_interval = 30", 1);
    for after in [None, Some("5")] {
        let mut call = Setup::new(served(), &written).before_any_call();
        call.is_cut_off("gateway1", seconds(3_600));
        let until = call.world.now + seconds(3_600);
        let mut heard = 0;
        while call.world.now < until {
            call.after(seconds(1));
            let known = registers(&call, gateway).len();
            if known > heard {
                heard = known;
                answers(&mut call, gateway, 503, |refused| match after {
                    Some(after) => refused.with("Retry-After", after),
                    None => refused,
                });
            }
        }
        let (up, until) = ("itsp 0 up".to_owned(), call.world.now + seconds(120));
        while !call.world.said.contains(&up) && call.world.now < until {
            call.after(millis(100));
        }
        let since = call.world.now;
        let waited = next(&mut call, gateway).since(since);
        assert!(waited < seconds(15), "{after:?}: {waited:?}");
    }
}
