//! R13: calls for help, and calls back to who made them; the outbound trunks one after another.

use strowger::engine::exchange::Bounds;
use strowger::sim::served::{bounded, served_with_audio, served_with_names};

use super::overload::lagging;
use super::register::{DESK, Phone};
use super::*;

/// Alice has a number and another verified one to show; `mobile` has one place, `spare` is the dearer trunk, `named`
/// is for emergencies alone. Nothing outside may be dialled but what `FORWARD` begins with.
fn town(emergency: &str, spare: &str) -> Setup {
    Setup::new(served(), &written(emergency, spare))
}

/// The same, where a call may have as many legs as usual.
fn street() -> Setup {
    Setup::new(served(), &written("", "").replace("max_legs = 1", "max_legs = 8"))
}

fn written(emergency: &str, spare: &str) -> String {
    let mut text = format!(
        "[[trunk]]\nname = \"carrier\"\nfrom = [\"{}/32\"]\noptions_interval = 0\nmax_calls = 2\n\n",
        layout::CARRIER.ip()
    );
    for (at, name, keys) in [(0, "mobile", "max_calls = 1"), (1, "spare", spare)] {
        text += &format!(
            "[[trunk]]\nname = \"{name}\"\ngateways = [{{ uri = \"sip:{}\" }}]\noutbound = true\n\
             options_interval = 0\npriority = {at}\n{keys}\n\n",
            layout::gateway_addr(at)
        );
    }
    for (name, keys) in [("alice", format!("number = \"{DID}\"")), ("bob", String::new())] {
        let password = if name == "alice" { "wonderland" } else { "builder" };
        text += &format!("[[agent]]\nname = \"{name}\"\npassword = \"{password}\"\ndnd = true\n{keys}\n\n");
    }
    text += "[[caller_id]]\nnumber = \"+12015550142\"\nverified = \"2026-11-01T10:00:00Z\"\n\n";
    text += "[dial]\nallow = [\"+1312\"]\n\n[limits]\nmax_legs = 1\n\n";
    text += &did(&format!("forward_to = \"{FORWARD}\"\ncaller_id = \"+12015550142\""));
    text += "[[number]]\ndid = \"+12015550103\"\nring = [\"alice\"]\n";
    text + emergency
}

/// Alice's phone dials for help, once it has been asked for its password; the codes that it is told.
fn cries(call: &mut Call, uri: &str) -> Vec<u16> {
    cries_so(call, uri, &|message: Message| message.with("Privacy", "id"))
}

fn cries_so(call: &mut Call, uri: &str, how: &impl Fn(Message) -> Message) -> Vec<u16> {
    let mut phone = Phone { call_id: "help-1", ..Phone::alice(DESK) };
    let asked = phone.invites(call, uri, how);
    assert_eq!(asked.iter().map(Message::status).collect::<Vec<_>>(), [407], "without credentials");
    let heard = phone.invites(call, uri, how);
    call.call_id = "help-1".to_owned();
    // It knows the carrier's callers alone.
    call.world.leaves_unchecked("one_cdr");
    heard.iter().map(Message::status).collect()
}

/// Alice's desk phone is registered, and she talks to who helps.
fn helped() -> Call {
    let mut call = town("", "").before_any_call();
    assert_eq!(Phone::alice(DESK).registers(&mut call, |message| message), 200);
    assert_eq!(cries(&mut call, "sip:911@127.0.0.1"), [0u16; 0]);
    let mut call = call.ringing(["gateway1"]);
    call.answers("gateway1");
    call.settle();
    call
}

#[test]
fn r13_911_goes_out_while_every_limit_is_exhausted_and_the_first_trunk_is_dead() {
    // The one place of `mobile` is taken, and alice is on the phone.
    let mut call = town("", "max_calls = 1\n").incoming(DID).ringing(["gateway1"]);
    call.answers("gateway1");
    call.settle();
    call.is_cut_off("gateway1", seconds(600));
    assert_eq!(cries(&mut call, "sip:911@127.0.0.1"), [0u16; 0]);
    let tried = call.messages("us → gateway1", "INVITE").pop().expect("the first trunk is tried");
    assert_eq!(tried.start, format!("INVITE sip:911@{} SIP/2.0", layout::gateway_addr(0)));
    call.after(seconds(5));
    let mut call = call.ringing(["gateway2"]);
    let invite = call.messages("us → gateway2", "INVITE").remove(0);
    assert_eq!(invite.start, format!("INVITE sip:911@{} SIP/2.0", layout::gateway_addr(1)));
    let from = invite.get("From").unwrap_or_default();
    assert!(from.starts_with(&format!("<sip:{DID}@")), "the agent's own number, withheld or not: {from}");
    assert_eq!((invite.get("Privacy"), invite.get("Diversion")), (None, None), "{invite:?}");
    assert!(invite.get("P-Asserted-Identity").is_some_and(|pai| pai.contains(DID)), "{invite:?}");
    call.answers("gateway2");
    call.settle();
    call.hangs_up("gateway2");
    call.settle();
    let cdr = call.cdr();
    let of = |key: &str| cdr[key].as_str().unwrap_or("-").to_owned();
    assert_eq!(
        ["direction", "dialled", "did", "presented", "outcome"].map(of),
        ["outbound", "911", DID, DID, "answered"]
    );
    assert_eq!(legs(&mut call), ["caller normal 200", "911 elsewhere -", "911 won 200"]);
}

#[test]
fn r13_911_goes_out_though_no_port_is_left_for_its_audio_or_few() {
    for (pairs, through_us) in [(0, false), (8, false), (9, true)] {
        let mut call = town("", "").made_by(served_with_audio(pairs)).before_any_call();
        assert_eq!(Phone::alice(DESK).registers(&mut call, |message| message), 200);
        assert_eq!(cries(&mut call, "sip:911@127.0.0.1"), [0u16; 0], "{pairs}");
        let mut call = call.ringing(["gateway1"]);
        let offer = body(&call.messages("us → gateway1", "INVITE").remove(0));
        assert_eq!(offer.contains("c=IN IP4 127.0.0.9"), through_us, "{pairs}: {offer}");
        call.answers("gateway1");
        call.settle();
        call.hangs_up("gateway1");
        call.settle();
    }
}

/// Of 12 pairs two are the call's own, and five others would take the rest while the first trunk says nothing.
#[test]
fn r13_the_ports_that_911_may_come_to_need_are_kept_for_it() {
    let other = format!("[[number]]\ndid = \"+12015550104\"\nforward_to = \"{FORWARD}\"\n");
    let text = written("", "").replace("max_calls = 2", "max_calls = 20") + &other;
    let mut call = Setup::new(served_with_audio(12), &text).before_any_call();
    assert_eq!(Phone::alice(DESK).registers(&mut call, |message| message), 200);
    call.is_cut_off("gateway1", seconds(600));
    assert_eq!(cries(&mut call, "sip:911@127.0.0.1"), [0u16; 0]);
    for _ in 0..5 {
        call.world.dials("+12015550104", Manner::default());
    }
    call.after(seconds(5));
    let at = layout::gateway_addr(1);
    let called = call.world.trace.crossings.iter().filter(|crossing| crossing.peer == at);
    let called: Vec<&Message> =
        called.map(|at| &at.message).filter(|message| message.method() == "INVITE").collect();
    let others = called.iter().filter(|invite| !invite.uri().starts_with("sip:911@")).count();
    let help = called.iter().find(|invite| invite.uri().starts_with("sip:911@"));
    assert!(body(help.expect("the next trunk is called for help")).contains("c=IN IP4 127.0.0.9"));
    assert!(others > 2, "the others are called meanwhile: {others}");
}

/// RFC 6442: the place is a part of the body, and text is a stream beside the voice.
#[test]
fn r13_what_911_says_beside_its_voice_is_not_lost_to_our_own_description() {
    let place = "--b\r\nContent-Type: application/sdp\r\n\r\n@\r\n--b\r\nContent-Type: application/pidf+xml\r\n\
        Content-ID: <place@b>\r\n\r\n<presence/>\r\n--b--\r\n";
    for (kind, text, mark) in [
        ("multipart/mixed;boundary=b", place, "<presence/>"),
        ("application/sdp", "@m=text 4002 RTP/AVP 98\r\na=rtpmap:98 t140/1000\r\n", "m=text 4002"),
        ("application/pidf+xml", "<presence/>", "<presence/>"),
    ] {
        for audio in [false, true] {
            let setup = town("", "");
            let setup = if audio { setup.made_by(served_with_audio(40)) } else { setup };
            let mut call = setup.before_any_call();
            assert_eq!(Phone::alice(DESK).registers(&mut call, |message| message), 200);
            let told = cries_so(&mut call, "sip:911@127.0.0.1", &|mut invite| {
                let sdp = String::from_utf8_lossy(&invite.body).into_owned();
                invite.remove("Content-Type");
                let invite = invite.with_body(kind, text.replace('@', &sdp).as_bytes());
                invite.with("Geolocation", "<cid:place@b>")
            });
            assert_eq!(told, [0u16; 0], "{kind}");
            let mut call = call.ringing(["gateway1"]);
            let invite = call.messages("us → gateway1", "INVITE").remove(0);
            assert!(body(&invite).contains(mark), "{kind}, {audio}: {}", body(&invite));
            assert_eq!(invite.get("Content-Type"), Some(kind));
            call.hangs_up("caller");
            call.settle();
        }
    }
}

/// What we could not carry goes past us; elsewhere it is refused.
#[test]
fn r13_whatever_911_says_of_its_audio_reaches_a_trunk() {
    let lines = |connection: &str, formats: &str| {
        format!(
            "v=0\r\no=- 1 1 IN IP4 127.0.3.1\r\ns=-\r\n{connection}t=0 0\r\nm=audio 4000 RTP/AVP {formats}\r\n"
        )
    };
    for sdp in [
        lines("c=IN IP4 phone.example.com\r\n", "0"),
        lines("c=IN IP6 2001:db8::1\r\n", "0"),
        lines("c=IN IP4 233.252.0.1/127\r\n", "0"),
        lines("", "0"),
        lines("c=IN IP4 127.0.3.1\r\n", "101\r\na=rtpmap:101 telephone-event/8000"),
    ] {
        let mut call = town("", "").made_by(served_with_audio(40)).before_any_call();
        assert_eq!(Phone::alice(DESK).registers(&mut call, |message| message), 200);
        let told = cries_so(&mut call, "sip:911@127.0.0.1", &|mut invite| {
            invite.body = sdp.clone().into_bytes();
            invite
        });
        assert_eq!(told, [0u16; 0], "{sdp}");
        let mut call = call.ringing(["gateway1"]);
        assert_eq!(body(&call.messages("us → gateway1", "INVITE").remove(0)), sdp);
        call.hangs_up("caller");
        call.comes_to_rest();
    }
}

/// RFC 3261 §8.2.2.3 and §8.2.3, RFC 4028 §9, RFC 5393 §5.3 and RFC 3891 §3 would refuse it.
#[test]
fn r13_whatever_it_requires_a_call_for_help_goes_out() {
    let mut call = town("", "").before_any_call();
    let mut phone = Phone { call_id: "help-1", ..Phone::alice(DESK) };
    let demands = |message: Message| {
        message
            .with("Require", "foo, resource-priority")
            .with("Session-Expires", "10")
            .with("Supported", "timer")
            .with("Max-Breadth", "0")
            .with("Replaces", "nobody;to-tag=1;from-tag=2")
            .with("Content-Encoding", "gzip")
    };
    let asked = phone.invites(&mut call, "sip:911@127.0.0.1", &demands);
    assert_eq!(asked.iter().map(Message::status).collect::<Vec<_>>(), [407]);
    assert_eq!(phone.invites(&mut call, "sip:911@127.0.0.1", &demands).len(), 0, "nothing is refused");
    call.call_id = "help-1".to_owned();
    call.world.leaves_unchecked("one_cdr");
    let mut call = call.ringing(["gateway1"]);
    call.answers("gateway1");
    call.settle();
    let last =
        call.world.trace.crossings.iter().rev().find(|at| at.peer == DESK && at.message.status() == 200);
    let ok = last.map(|at| at.message.clone()).expect("it is answered");
    assert_eq!((ok.get("Session-Expires"), ok.get("Require")), (None, None), "{ok:?}");
    // Whom else she calls with that is refused as ever.
    let mut phone = Phone { call_id: "out-1", ..phone };
    let refused = phone.invites(&mut call, "sip:+13125550188@127.0.0.1", &demands);
    assert_eq!(refused.iter().map(Message::status).collect::<Vec<_>>(), [440]);
}

#[test]
fn r13_a_trunk_that_is_known_to_be_dead_keeps_no_call_for_help_waiting() {
    let text = written("", "").replace("options_interval = 0\npriority", "options_interval = 30\npriority");
    let mut call = Setup::new(served(), &text).before_any_call();
    call.is_cut_off("gateway1", seconds(600));
    call.after(seconds(120));
    assert_eq!(call.world.said, ["mobile 0 down: no answer to OPTIONS"]);
    assert_eq!(cries(&mut call, "sip:911@127.0.0.1"), [0u16; 0]);
    let mut call = call.ringing(["gateway2"]);
    assert_eq!(count(&mut call, "us → gateway1", "INVITE"), 0);
    call.refuses("gateway2", 486).settle();
    assert_eq!(count(&mut call, "us → gateway1", "INVITE"), 1, "but it is tried");
}

#[test]
fn r13_whatever_a_trunk_answers_the_next_one_is_called_for_help() {
    for code in [302, 403, 404, 486, 503, 603] {
        let mut call = town("", "").before_any_call();
        assert_eq!(cries(&mut call, "sip:9-1-1@127.0.0.1"), [0u16; 0]);
        call.awaits("gateway1");
        call.rings("gateway1");
        match code {
            302 => call.redirects("gateway1", "sip:+19005550000@127.0.3.1"),
            code => call.refuses("gateway1", code),
        };
        let mut call = call.ringing(["gateway2"]);
        call.refuses("gateway2", code);
        call.settle();
        call.after(seconds(33));
        assert_eq!(legs(&mut call).len(), 3, "{code}");
    }
}

#[test]
fn r13_the_trunk_for_emergencies_is_tried_first_and_a_service_is_the_first_number() {
    let emergency = "[emergency]\nnumbers = [\"112\", \"911\"]\ntrunk = \"spare\"\n";
    for uri in ["urn:service:sos", "urn:service:sos.ambulance", "tel:112"] {
        let mut call = town(emergency, "").before_any_call();
        assert_eq!(cries(&mut call, uri), [0u16; 0], "{uri}");
        let mut call = call.ringing(["gateway2"]);
        let invite = call.messages("us → gateway2", "INVITE").remove(0);
        assert_eq!(invite.start, format!("INVITE sip:112@{} SIP/2.0", layout::gateway_addr(1)), "{uri}");
        call.answers("gateway2");
        call.settle();
        call.hangs_up("gateway2").comes_to_rest();
    }
    let mut call = town(emergency, "").before_any_call();
    assert_eq!(cries(&mut call, "sip:933@127.0.0.1"), [404], "not in the list");
    let mut call = town(emergency, "").before_any_call();
    assert_eq!(cries(&mut call, "urn:service:counseling"), [416]);
}

#[test]
fn r13_a_call_for_help_is_taken_when_no_other_is() {
    let bounds = Bounds { calls: 1, ..Bounds::default() };
    let mut call = Setup::new(bounded(bounds), &written("", "")).incoming(DID).ringing(["gateway1"]);
    let mut other = Phone { call_id: "out-1", ..Phone::alice(DESK) };
    let told = |answers: Vec<Message>| answers.iter().map(Message::status).collect::<Vec<_>>();
    assert_eq!(told(other.invites(&mut call, "sip:+13125550100@127.0.0.1", &|message| message)), [407]);
    assert_eq!(told(other.invites(&mut call, "sip:+13125550100@127.0.0.1", &|message| message)), [503]);
    assert_eq!(cries(&mut call, "sip:911@127.0.0.1"), [0u16; 0]);
    assert_eq!(count(&mut call, "us → gateway1", "INVITE"), 1, "its own");
    let mut call = town("", "").before_any_call();
    call.world.drain();
    assert_eq!(cries(&mut call, "sip:911@127.0.0.1"), [0u16; 0]);
    call.ringing(["gateway1"]);
}

#[test]
fn r13_a_trunk_cannot_call_for_help_through_us() {
    let mut call = town("", "").incoming("911");
    call.settle();
    assert_eq!(call.caller_is_told(), Some(404));
}

#[test]
fn r13_for_half_an_hour_calls_back_ring_plainly() {
    let mut call = helped();
    call.hangs_up("gateway1");
    call.settle();
    // Her number forwards, she wants no calls, and is at that in another call: she rings all the same.
    let back = |mut call: Call| {
        let before = call.world.trace.crossings.len();
        call = call.dials(DID, Manner::default());
        call.after(seconds(1));
        let mut rung: Vec<String> = call.world.trace.crossings[before..]
            .iter()
            .filter(|crossing| {
                crossing.message.start.starts_with("INVITE") && crossing.peer != layout::CARRIER
            })
            .map(|crossing| crossing.peer.to_string())
            .collect();
        // Nobody is there to stop the repetitions.
        rung.dedup();
        (rung, call)
    };
    call.after(seconds(60 * 29));
    let (rung, mut call) = back(call);
    assert_eq!(rung, [DESK.to_string()], "she alone at first");
    call.after(seconds(12));
    assert_ne!(count(&mut call, "us → gateway1", "INVITE"), 0, "then her number's forward too");
    call.caller_cancels();
    call.after(seconds(120));
    let (rung, _) = back(call);
    assert_eq!(rung, [layout::gateway_addr(0).to_string()], "forgotten");
}

#[test]
fn r13_an_ordinary_call_goes_by_the_next_trunk_where_the_first_is_full_or_dead() {
    let mut call = street().incoming(DID).ringing(["gateway1"]);
    call.answers("gateway1");
    call.settle();
    let mut call = call.dials(DID, Manner::default()).ringing(["gateway2"]);
    assert_eq!(count(&mut call, "us → gateway1", "INVITE"), 0, "it is full");
    call.caller_cancels();
    let mut call = street().incoming(DID);
    call.awaits("gateway1");
    call.refuses("gateway1", 503);
    let mut call = call.ringing(["gateway2"]);
    call.answers("gateway2");
    call.settle();
    call.hangs_up("caller").comes_to_rest();
    assert_eq!(end(&mut call), "answered 200 caller");
    // A refusal that is the number's own answer leads nowhere, nor does one of somebody who rang.
    for (rings, code) in [(false, 404), (true, 503)] {
        let mut call = street().incoming(DID);
        call.awaits("gateway1");
        if rings {
            call.rings("gateway1");
        }
        call.refuses("gateway1", code);
        call.after(seconds(1));
        assert_eq!(count(&mut call, "us → gateway2", "INVITE"), 0, "{code}");
    }
}

#[test]
fn r13_a_number_with_a_trunk_of_its_own_goes_by_no_other() {
    let mut call = street().with_number("trunk = \"mobile\"").incoming(DID);
    call.awaits("gateway1");
    call.refuses("gateway1", 503);
    call.after(seconds(1));
    assert_eq!(call.caller_is_told(), Some(480));
    assert_eq!(count(&mut call, "us → gateway2", "INVITE"), 0);
}

/// A server that has said 100 lives, though whoever calls for help does not wait for it.
#[test]
fn r13_a_server_that_said_100_is_not_taken_for_silent() {
    let (first, second) = (layout::gateway_addr(0), layout::gateway_addr(1));
    let names = &*Vec::leak(vec![("sbc.test", first), ("sbc.test", second)]);
    let text = written("", "").replace(&format!("sip:{first}"), "sip:sbc.test");
    let mut call = Setup::new(served_with_names(names), &text).before_any_call();
    assert_eq!(cries(&mut call, "sip:911@127.0.0.1"), [0u16; 0]);
    call.awaits("gateway1").does("gateway1", Act::Tries).after(seconds(10));
    assert_eq!(count(&mut call, "us → gateway2", "INVITE"), 1);
    let before = call.world.trace.crossings.len();
    let mut again = Phone { call_id: "help-2", ..Phone::alice(DESK) };
    for _ in 0..2 {
        again.invites(&mut call, "sip:911@127.0.0.1", &|message| message);
    }
    let gateways = [first, second];
    let sent = call.world.trace.crossings[before..].iter();
    let mut invited = sent.filter(|sent| sent.message.method() == "INVITE" && gateways.contains(&sent.peer));
    assert_eq!(invited.next().map(|sent| sent.peer), Some(first));
}

#[test]
fn r13_a_trunk_that_says_100_or_answers_with_nothing_to_hear_is_followed_by_the_next() {
    let mut call = town("", "").before_any_call();
    assert_eq!(cries(&mut call, "sip:911@127.0.0.1"), [0u16; 0]);
    call.awaits("gateway1");
    call.does("gateway1", Act::Tries).after(seconds(9));
    assert_eq!(count(&mut call, "gateway1 → us", "100"), 1);
    assert_eq!(count(&mut call, "us → gateway2", "INVITE"), 0, "it may yet ring");
    call.after(seconds(1));
    assert_eq!(count(&mut call, "us → gateway2", "INVITE"), 1);
    let mut call = town("", "").before_any_call();
    assert_eq!(cries(&mut call, "sip:911@127.0.0.1"), [0u16; 0]);
    call.awaits("gateway1");
    call.behaves("gateway1", Manner::default().dressed(|answer| answer.body = b"garbage".to_vec()));
    call.answers("gateway1");
    call.settle();
    assert_eq!(count(&mut call, "us → gateway1", "BYE"), 1);
    assert_eq!(count(&mut call, "us → gateway2", "INVITE"), 1);
}

/// Whoever has the call may be slow, or its gateway have lost a connection: it is not given up for another that may be dead.
#[test]
fn r13_nobody_who_might_still_answer_a_call_for_help_is_given_up_for_the_next() {
    // What the first trunk says of the call within ten seconds, and whether the second is dead.
    for (says, other_is_dead) in
        [(None, true), (None, false), (Some(Act::Tries), true), (Some(Act::Tries), false)]
    {
        let mut call = town("", "").before_any_call();
        assert_eq!(cries(&mut call, "sip:911@127.0.0.1"), [0u16; 0]);
        call.awaits("gateway1");
        match &says {
            Some(act) => call.does("gateway1", act.clone()),
            None => &mut call,
        };
        call.after(seconds(9));
        if other_is_dead {
            closed(&mut call, "gateway2", true);
        }
        call.after(seconds(6));
        assert!(count(&mut call, "us → gateway2", "INVITE") > 0);
        assert_eq!(count(&mut call, "us → gateway1", "CANCEL"), 0, "{says:?}, {other_is_dead}");
        // It counts the carrier's calls alone.
        call.world.leaves_unchecked("bounded");
        if !other_is_dead {
            call.awaits("gateway2").rings("gateway2");
        }
        call.rings("gateway1").answers("gateway1");
        call.settle();
        assert_eq!(count(&mut call, "gateway1 → us", "200"), 1);
        assert_eq!(count(&mut call, "us → gateway1", "ACK"), 1, "{says:?}, {other_is_dead}");
        assert_eq!(count(&mut call, "us → gateway2", "CANCEL"), usize::from(!other_is_dead));
        call.hangs_up("gateway1");
        call.after(seconds(40));
        assert_eq!(legs(&mut call).len(), 3, "each trunk once");
    }
}

/// What might answer first is not who helps, but an announcement that nobody can.
#[test]
fn r13_while_it_rings_by_one_trunk_nobody_further_is_called_for_help() {
    let more = format!(
        "[[trunk]]\nname = \"third\"\ngateways = [{{ uri = \"sip:{}\" }}]\noutbound = true\noptions_interval = 0\n\
         priority = 5\n\n",
        layout::gateway_addr(2)
    );
    let mut call = Setup::new(served(), &(written("", "") + &more)).before_any_call();
    assert_eq!(cries(&mut call, "sip:911@127.0.0.1"), [0u16; 0]);
    call.awaits("gateway1");
    call.after(seconds(5));
    call.awaits("gateway2").does("gateway2", Act::Tries);
    call.rings("gateway1").after(seconds(30));
    let third =
        |call: &Call| call.world.trace.crossings.iter().any(|sent| sent.peer == layout::gateway_addr(2));
    assert!(!third(&call));
    call.refuses("gateway1", 503).after(millis(100));
    assert!(third(&call), "nobody rings any more");
}

/// RFC 3261 §21.6 would have nobody else tried.
#[test]
fn r13_a_6xx_of_one_trunk_ends_nobody_who_is_called_for_help_beside_it() {
    let mut call = town("", "").before_any_call();
    assert_eq!(cries(&mut call, "sip:911@127.0.0.1"), [0u16; 0]);
    call.awaits("gateway1");
    call.does("gateway1", Act::Tries).after(seconds(11));
    call.rings("gateway1").awaits("gateway2").refuses("gateway2", 603);
    call.settle();
    assert_eq!(count(&mut call, "us → gateway1", "CANCEL"), 0);
    call.world.leaves_unchecked("bounded");
    call.answers("gateway1");
    call.settle();
    assert_eq!(count(&mut call, "us → gateway1", "ACK"), 1);
    call.hangs_up("gateway1");
    call.settle();
    assert_eq!(legs(&mut call), ["caller normal 200", "911 won 200", "911 declined 603"]);
}

/// A message of another call could not be delivered to it.
#[test]
fn r13_who_rings_for_a_call_for_help_is_not_given_up_when_its_gateway_is_out_of_reach() {
    let mut call = town("", "").before_any_call();
    assert_eq!(cries(&mut call, "sip:911@127.0.0.1"), [0u16; 0]);
    let mut call = call.ringing(["gateway1"]);
    closed(&mut call, "gateway2", true);
    closed(&mut call, "gateway1", true);
    let mut other = Phone { call_id: "help-2", ..Phone::alice(DESK) };
    for _ in 0..2 {
        other.invites(&mut call, "sip:911@127.0.0.1", &|message| message);
    }
    call.after(millis(100));
    closed(&mut call, "gateway1", false);
    assert_eq!(count(&mut call, "us → gateway2", "INVITE"), 1, "the next is called beside");
    assert_eq!(count(&mut call, "us → gateway1", "CANCEL"), 0);
    call.answers("gateway1");
    call.settle();
    assert_eq!(count(&mut call, "us → gateway1", "ACK"), 1);
    call.hangs_up("gateway1");
    call.settle();
    assert_eq!(count(&mut call, "gateway1 → us", "BYE"), 1);
}

#[test]
fn r13_a_call_back_is_taken_while_the_node_drains() {
    let mut call = helped();
    call.world.drain();
    let mut call = call.dials(DID, Manner::default());
    call.after(seconds(1));
    assert_eq!(call.caller_is_told(), None, "it rings");
    let mut call = call.dials("+12015550103", Manner::default());
    call.after(seconds(1));
    assert_eq!(call.caller_is_told(), Some(503), "another does not");
}

#[test]
fn r13_while_a_call_back_may_come_no_new_call_is_dropped_unread() {
    let mut call = town("", "").before_any_call();
    assert!(lagging(&mut call) > Some(200), "nobody has called for help");
    let mut call = town("", "").before_any_call();
    assert_eq!(Phone::alice(DESK).registers(&mut call, |message| message), 200);
    assert_eq!(cries(&mut call, "sip:911@127.0.0.1"), [0u16; 0]);
    let mut call = call.ringing(["gateway1"]);
    call.answers("gateway1").hangs_up("caller");
    assert_eq!(lagging(&mut call), Some(0));
    let mut back = call.dials(DID, Manner::default());
    back.after(seconds(1));
    assert_eq!(back.caller_is_told(), None, "it rings, whatever waits");
    back.after(seconds(31 * 60));
    assert!(lagging(&mut back) > Some(200), "half an hour later");
}
