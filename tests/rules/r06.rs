//! R6: whisper and call connect. Whom the answering side hears first, and what it takes to be bridged.

use insta::assert_snapshot;
use strowger::sim::served::served_with_audio;
use strowger::sim::story::every_order_of;

use super::*;

/// The DID forwards, with these keys beside; audio through us. A whisper lasts 2 s, "press 1" 1.5 s.
fn connecting(keys: &str) -> Setup {
    number(&format!("forward_to = \"{FORWARD}\"\nvoicemail = false\n{keys}")).made_by(served_with_audio(40))
}

const PRESS: &str = "call_connect = true\n";
const WHISPER: &str = "whisper = \"Main Street\"\n";

/// Forwarded, answered, and asked to press 1.
fn asked() -> Call {
    let mut call = connecting(PRESS).incoming(DID).ringing(["gateway1"]);
    call.answers("gateway1");
    call.settle();
    call
}

/// Whether the two hear each other, and nobody else.
fn hear_each_other(call: &mut Call, one: &str, other: &str) -> bool {
    let (one, other) = (call.port_of(one), call.port_of(other));
    let heard = |port: Option<u16>| port.and_then(|port| call.world.heard_at(port));
    heard(one) == other && heard(other) == one && one.is_some()
}

#[test]
fn r06_one_is_pressed_and_only_then_the_caller_is_answered() {
    let mut call = connecting(PRESS).incoming(DID).ringing(["gateway1"]);
    call.answers("gateway1");
    call.settle();
    let port = call.port_of("gateway1").expect("a port");
    assert_eq!(count(&mut call, "us → caller", "200"), 0, "never billed early");
    assert_eq!((call.world.said_to(port).len(), call.world.heard_at(port)), (1, None));
    call.presses("gateway1", '1');
    assert!(hear_each_other(&mut call, "caller", "gateway1"));
    assert_snapshot!(call.ladder(), @"
    caller          us              gateway1
      ├─── INVITE ───▶│               │
      │◀──── 100 ─────┤               │
      │               ├─── INVITE ───▶│
      │               │◀──── 180 ─────┤
      │◀──── 180 ─────┤               │
      │               │◀──── 200 ─────┤
      │               ├───── ACK ────▶│
      │◀──── 200 ─────┤               │
      ├───── ACK ────▶│               │
    ");
    call.after(seconds(60)).hangs_up("caller");
    assert_eq!(end(&mut call), "answered 200 caller");
    call.comes_to_rest();
}

#[test]
fn r06_the_whisper_is_heard_by_the_answering_side_alone_and_then_it_is_bridged() {
    let mut call = connecting(WHISPER).incoming(DID).ringing(["gateway1"]);
    call.answers("gateway1");
    call.settle();
    let answered = call.times("gateway1 → us", "200").remove(0);
    call.after(seconds(3));
    let bridged = call.times("us → caller", "200").remove(0).since(answered);
    assert!((2_000..2_100).contains(&bridged.as_millis()), "{bridged:?}");
    let caller = call.port_of("caller").expect("a port");
    assert!(call.world.said_to(caller).is_empty());
    assert!(hear_each_other(&mut call, "caller", "gateway1"));
    call.hangs_up("gateway1").comes_to_rest();
}

#[test]
fn r06_the_window_counts_from_the_first_press_one_after_the_whisper() {
    for (keys, millis) in [
        (PRESS.to_owned(), 10_000),
        (format!("{PRESS}{WHISPER}"), 12_000),
        (format!("{PRESS}{WHISPER}call_connect_seconds = 5"), 7_000),
    ] {
        let mut call = connecting(&keys).incoming(DID).ringing(["gateway1"]);
        call.answers("gateway1").after(seconds(15));
        let answered = call.times("gateway1 → us", "200").remove(0);
        let ended = call.times("us → gateway1", "BYE").remove(0).since(answered).as_millis();
        assert!((millis..millis + 100).contains(&ended), "{keys}: {ended}");
        assert_eq!(call.caller_is_told(), Some(480), "{keys}");
        assert_eq!(call.cdr()["legs"][1]["end"], "not_confirmed");
        call.comes_to_rest();
    }
}

/// It puts us on hold, say: nobody waits for it for ever.
#[test]
fn r06_a_whisper_that_comes_to_no_end_is_over_a_minute_after_the_longest_one() {
    let mut call = connecting(WHISPER).incoming(DID).ringing(["gateway1"]);
    call.is_heard("gateway1", strowger::sim::booth::Word::IsStuck).answers("gateway1");
    call.after(seconds(659));
    assert_eq!(count(&mut call, "us → gateway1", "BYE"), 0);
    call.after(seconds(2));
    assert_eq!(count(&mut call, "us → gateway1", "BYE"), 1);
    assert_eq!(call.caller_is_told(), Some(480));
}

#[test]
fn r06_one_is_heard_during_the_whisper_too_and_without_call_connect_no_key_matters() {
    let mut call = connecting(&format!("{PRESS}{WHISPER}")).incoming(DID).ringing(["gateway1"]);
    call.answers("gateway1").presses("gateway1", '1');
    assert!(hear_each_other(&mut call, "caller", "gateway1"), "the whisper is cut short");
    call.hangs_up("caller").comes_to_rest();
    let mut call = connecting(WHISPER).incoming(DID).ringing(["gateway1"]);
    call.answers("gateway1").presses("gateway1", '5').presses("gateway1", '1');
    assert_eq!(count(&mut call, "us → caller", "200"), 0);
    call.after(seconds(3));
    assert_eq!(count(&mut call, "us → caller", "200"), 1);
    call.hangs_up("caller").comes_to_rest();
}

#[test]
fn r06_a_key_that_signalling_says_counts_as_one_in_the_audio() {
    let says: [fn(Message) -> Message; 2] = [
        |info| info.with_body("application/dtmf-relay", b"Signal=1\r\nDuration=160\r\n"),
        |info| info.with_body("application/dtmf", b"1"),
    ];
    for says in says {
        let mut call = asked();
        call.asks("gateway1", "INFO", says);
        call.settle();
        assert!(hear_each_other(&mut call, "caller", "gateway1"));
        call.hangs_up("caller").comes_to_rest();
    }
    let mut call = asked();
    call.asks("gateway1", "INFO", |info| info.with_body("text/plain", b"1"));
    call.settle();
    assert_eq!(count(&mut call, "us → caller", "200"), 0);
    call.after(seconds(12)).comes_to_rest();
}

#[test]
fn r06_any_other_end_ends_that_leg_alone_and_the_others_ring_on() {
    for end in ["other keys", "hang-up", "the window"] {
        let keys = format!("{PRESS}ring = [\"alice\"]\ntimeout = 60");
        let mut call = connecting(&keys).incoming(DID).ringing(["gateway1", "alice"]);
        call.answers("gateway1");
        match end {
            "other keys" => {
                call.presses("gateway1", '2').presses("gateway1", '#');
                assert_eq!(count(&mut call, "us → gateway1", "BYE"), 0, "it may try again");
                call.presses("gateway1", '2');
            }
            "hang-up" => {
                call.hangs_up("gateway1");
            }
            _ => {
                call.after(seconds(11));
            }
        }
        call.settle();
        assert_eq!(count(&mut call, "us → alice", "CANCEL"), 0, "{end}");
        assert_eq!(call.caller_is_told(), None, "{end}");
        call.answers("alice");
        call.settle();
        assert!(hear_each_other(&mut call, "caller", "alice"), "{end}");
        call.hangs_up("caller");
        assert_eq!(call.cdr()["legs"][1]["end"], "not_confirmed", "{end}");
        call.comes_to_rest();
    }
}

#[test]
fn r06_who_presses_other_keys_first_may_still_accept_and_the_record_says_when() {
    let mut call = asked();
    call.presses("gateway1", '2').presses("gateway1", '#');
    assert_eq!(count(&mut call, "us → gateway1", "BYE"), 0);
    call.after(seconds(2)).presses("gateway1", '1');
    assert!(hear_each_other(&mut call, "caller", "gateway1"));
    call.after(seconds(5)).hangs_up("caller");
    let cdr = call.cdr();
    let [caller, leg] = [0, 1].map(|at| &cdr["legs"][at]);
    assert_eq!((&leg["confirmed"], caller["confirmed"].is_null()), (&cdr["answered"], true), "{cdr:#}");
    assert!(leg["answered"].as_str() < leg["confirmed"].as_str(), "{leg:#}");
    call.comes_to_rest();
}

#[test]
fn r06_agents_hear_the_whisper_where_that_is_wished_and_are_never_asked_to_press() {
    for (keys, hears) in [("", false), ("whisper_agents = true\n", true)] {
        let keys = format!("{PRESS}{WHISPER}{keys}ring = [\"alice\"]");
        let mut call = number(&keys).made_by(served_with_audio(40)).incoming(DID).ringing(["alice"]);
        call.answers("alice");
        call.settle();
        assert_eq!(count(&mut call, "us → caller", "200"), usize::from(!hears));
        call.after(seconds(3));
        assert!(hear_each_other(&mut call, "caller", "alice"));
        call.hangs_up("alice").comes_to_rest();
    }
}

#[test]
fn r05_who_answers_first_wins_though_he_hears_the_whisper_while_another_answers_or_presses_1() {
    // Whoever answers, and who answers or presses 1 behind him.
    for (keys, first, second) in [
        ("ring = [\"alice\"]", "gateway1", "alice"),
        ("whisper_agents = true\nring = [\"alice\"]", "alice", "gateway1"),
        ("call_connect = true\nwhisper_agents = true\nring = [\"alice\"]", "alice", "gateway1"),
    ] {
        let is_asked = keys.starts_with("call_connect");
        let keys = format!("forward_to = \"+13125550199\"\n{WHISPER}{keys}");
        let mut call =
            number(&keys).made_by(served_with_audio(40)).incoming(DID).ringing(["gateway1", "alice"]);
        if is_asked {
            call.answers(second);
            call.settle();
        }
        call.answers(first);
        call.settle();
        assert_eq!(
            count(&mut call, &format!("us → {second}"), "BYE"),
            0,
            "{keys}: who is asked keeps its time"
        );
        match is_asked {
            true => drop(call.presses(second, '1')),
            false => drop(call.answers(second)),
        }
        call.settle();
        let bye = call.messages(&format!("us → {second}"), "BYE").remove(0);
        assert_eq!(bye.get("Reason"), Some("SIP;cause=200;text=\"Call completed elsewhere\""), "{keys}");
        assert_eq!(count(&mut call, "us → caller", "200"), 0, "{keys}");
        call.after(seconds(3));
        assert!(hear_each_other(&mut call, "caller", first), "{keys}{}", call.ladder());
        call.hangs_up("caller").comes_to_rest();
    }
}

#[test]
fn r06_who_hangs_up_in_the_whisper_ends_that_leg_alone_and_the_others_ring_on() {
    let keys = format!("forward_to = \"+13125550199\"\n{WHISPER}ring = [\"alice\"]");
    let mut call = number(&keys).made_by(served_with_audio(40)).incoming(DID).ringing(["gateway1", "alice"]);
    call.answers("gateway1");
    call.settle();
    assert_eq!(count(&mut call, "us → alice", "CANCEL"), 0);
    call.hangs_up("gateway1").after(seconds(1)).answers("alice");
    assert!(hear_each_other(&mut call, "caller", "alice"));
    call.hangs_up("caller").comes_to_rest();
}

#[test]
fn r05_the_first_who_confirms_wins_and_who_is_still_asked_is_told_that_it_was_completed_elsewhere() {
    let keys = format!("{PRESS}ring = [\"alice\"]");
    let mut call = connecting(&keys).incoming(DID).ringing(["gateway1", "alice"]);
    call.answers("gateway1");
    call.settle();
    call.answers("alice");
    call.settle();
    let bye = call.messages("us → gateway1", "BYE").remove(0);
    assert_eq!(bye.get("Reason"), Some("SIP;cause=200;text=\"Call completed elsewhere\""));
    assert!(hear_each_other(&mut call, "caller", "alice"));
    call.hangs_up("caller");
    assert_eq!(call.cdr()["legs"][1]["end"], "elsewhere");
    call.comes_to_rest();
}

#[test]
fn r08_the_callers_cancel_while_somebody_is_asked_ends_that_leg_at_once() {
    let mut call = asked();
    call.caller_cancels();
    call.settle();
    assert_eq!(count(&mut call, "us → gateway1", "BYE"), 1);
    assert_eq!(call.caller_is_told(), Some(487));
    assert_eq!(end(&mut call), "cancelled 487 caller");
    call.comes_to_rest();
}

#[test]
fn r08_the_ring_timeout_ends_who_rings_and_leaves_who_is_asked_its_window() {
    let keys =
        format!("{PRESS}ring = [\"alice\"]\ntimeout = 12\noverflow = [{{ ring = [\"bob\"], timeout = 15 }}]");
    let mut call = connecting(&keys).incoming(DID).ringing(["gateway1", "alice"]);
    call.after(seconds(8)).answers("gateway1").after(seconds(6));
    assert_eq!(count(&mut call, "us → alice", "CANCEL"), 1);
    assert_eq!(count(&mut call, "us → gateway1", "BYE"), 0);
    assert_eq!(count(&mut call, "us → bob", "INVITE"), 0, "not while somebody may still accept");
    call.presses("gateway1", '1');
    assert!(hear_each_other(&mut call, "caller", "gateway1"));
    call.hangs_up("caller").comes_to_rest();
    let mut call = connecting(&keys).incoming(DID).ringing(["gateway1", "alice"]);
    call.after(seconds(8)).answers("gateway1").after(seconds(11));
    assert!(count(&mut call, "us → bob", "INVITE") > 0, "the next step");
    call.answers("bob").hangs_up("bob").comes_to_rest();
}

#[test]
fn r08_a_key_and_whatever_ends_the_leg_in_every_order_bridge_once_or_not_at_all() {
    type Step = fn(&mut Call);
    let steps: [(&str, Step); 3] = [
        ("presses", |call| {
            call.presses("gateway1", '1');
        }),
        ("hangs up", |call| {
            call.does("gateway1", Act::HangsUp);
        }),
        ("cancels", |call| {
            call.does("caller", Act::Cancels);
        }),
    ];
    every_order_of([0, 1, 2], |order| {
        let mut call = asked();
        call.while_in_flight(|call| order.iter().for_each(|step| steps[*step].1(call)));
        call.after(seconds(15));
        let names: Vec<&str> = order.iter().map(|step| steps[*step].0).collect();
        assert!(count(&mut call, "us → caller", "200") <= 1, "{names:?}");
        call.hangs_up("caller").comes_to_rest();
    });
}
