//! R11: an agent sends the other side on with REFER, blindly.

use insta::assert_snapshot;

use super::r13::{dials, office as office_of_r13};
use super::register::{DESK, Phone};
use super::*;

pub const TARGET: &str = "sip:+13125550177@127.0.0.1";

/// Agents who may call out; the DID rings alice.
pub fn office() -> Setup {
    office_with("")
}

fn office_with(rest: &str) -> Setup {
    let dial = "[dial]\nallow = [\"+1\"]\ndeny = [\"+1900\"]\n";
    let other = "[[number]]\ndid = \"+12015550102\"\nring = [\"carol\", \"dave\"]\n";
    node(
        "",
        "max_calls = 1",
        &format!("number = \"{DID}\""),
        &format!("{}{other}{dial}{rest}", did("ring = [\"alice\"]")),
    )
}

/// Alice talks with the caller.
pub fn talking(setup: Setup) -> Call {
    let mut call = setup.incoming(DID).ringing(["alice"]);
    call.answers("alice").after(millis(50));
    call
}

pub fn refers(call: &mut Call, to: &str) {
    call.does("alice", Act::Refers(to.to_owned())).settle();
}

/// The status lines of the NOTIFYs to somebody, repetitions included.
pub fn told(call: &mut Call, name: &str) -> Vec<String> {
    let notified = call.messages(&format!("us → {name}"), "NOTIFY");
    notified.iter().map(|notify| body(notify).lines().next().unwrap_or_default().to_owned()).collect()
}

#[test]
fn r11_a_blind_transfer_joins_who_stays_with_the_target_and_lets_the_agent_go() {
    let mut call = talking(office());
    refers(&mut call, TARGET);
    let mut call = call.ringing(["gateway1"]);
    call.answers("gateway1").after(millis(50));
    assert_snapshot!(call.ladder(), @"
    caller          us              alice           gateway1
      ├─── INVITE ───▶│               │               │
      │◀──── 100 ─────┤               │               │
      │               ├─── INVITE ───▶│               │
      │               │◀──── 180 ─────┤               │
      │◀──── 180 ─────┤               │               │
      │               │◀──── 200 ─────┤               │
      │               ├───── ACK ────▶│               │
      │◀──── 200 ─────┤               │               │
      ├───── ACK ────▶│               │               │
      │               │◀─── REFER ────┤               │
      │               ├─ 202 (REFER) ▶│               │
      │               ├─── NOTIFY ───▶│               │
      │               ├─────────────────── INVITE ───▶│
      │               │ 200 (NOTIFY) ─┤               │
      │               │◀──────────────────── 180 ─────┤
      │               ├─── NOTIFY ───▶│               │
      │               │ 200 (NOTIFY) ─┤               │
      │               │◀──────────────────── 200 ─────┤
      │               ├───────────────────── ACK ────▶│
      │◀── INVITE ────┤               │               │
      ├───── 200 ────▶│               │               │
      │◀──── ACK ─────┤               │               │
      │               ├─── NOTIFY ───▶│               │
      │               ├───── BYE ────▶│               │  Q.850;cause=16
      │               │ 200 (NOTIFY) ─┤               │
      │               │◀─ 200 (BYE) ──┤               │
    ");
    let offer = call.messages("us → gateway1", "INVITE").remove(0);
    assert_eq!(
        offer.body,
        call.messages("caller → us", "INVITE")[0].body,
        "the caller's SDP is the target's offer"
    );
    let (answer, passed) =
        (call.messages("gateway1 → us", "200").remove(0), call.messages("us → caller", "INVITE").remove(0));
    assert_eq!(answer.body, passed.body, "the target's SDP is the caller's");
    let from = offer.get("From").unwrap_or_default();
    assert!(from.starts_with(&format!("<sip:{DID}@")), "it is the agent's call: {from}");
    assert_eq!((offer.get("Diversion"), offer.get("Referred-By")), (None, None));
    // They talk on: what one asks the other hears.
    call.does("caller", Act::Holds).after(millis(50));
    assert_eq!(count(&mut call, "us → gateway1", "INVITE"), 2);
    call.hangs_up("gateway1").comes_to_rest();
    assert_eq!(end(&mut call), "answered 200 callee");
    assert_eq!(legs(&mut call), ["caller normal 200", "alice won 200", "+13125550177 won 200"]);
    let cdr = call.cdr();
    assert_eq!((&cdr["winner"], &cdr["legs"][2]["role"]), (&1.into(), &"transfer".into()), "{cdr:#}");
    assert_eq!((&cdr["presented"], &cdr["legs"][2]["presented"]), (&CALLER.into(), &DID.into()), "{cdr:#}");
}

#[test]
fn r11_a_transfer_that_fails_leaves_the_agent_with_the_caller() {
    type Fails = fn(&mut Call);
    let cases: [(Fails, &str); 4] = [
        (
            |call| {
                call.awaits("gateway1").sends_busy("gateway1");
            },
            "SIP/2.0 486 Busy Here",
        ),
        (
            |call| {
                call.awaits("gateway1").declines("gateway1");
            },
            "SIP/2.0 603 Decline",
        ),
        (
            |call| {
                call.awaits("gateway1").refuses("gateway1", 404);
            },
            "SIP/2.0 480 Temporarily Unavailable",
        ),
        (
            |call| {
                call.awaits("gateway1").rings("gateway1").after(seconds(181));
            },
            "SIP/2.0 480 Temporarily Unavailable",
        ),
    ];
    for (fails, last) in cases {
        let mut call = talking(office());
        refers(&mut call, TARGET);
        fails(&mut call);
        call.after(seconds(1));
        let heard = told(&mut call, "alice");
        assert_eq!(
            (&*heard[0], heard.last().map(String::as_str)),
            ("SIP/2.0 100 Trying", Some(last)),
            "{heard:?}"
        );
        let state = call
            .messages("us → alice", "NOTIFY")
            .pop()
            .and_then(|last| last.get("Subscription-State").map(str::to_owned));
        assert_eq!(state.as_deref(), Some("terminated;reason=noresource"));
        assert_eq!(count(&mut call, "us → caller", "INVITE") + count(&mut call, "us → alice", "BYE"), 0);
        // They talk on, and the agent may try another.
        refers(&mut call, "sip:+13125550188@127.0.0.1");
        let mut call = call.ringing(["gateway1"]);
        call.answers("gateway1").after(millis(50)).hangs_up("caller").comes_to_rest();
        assert_eq!(end(&mut call), "answered 200 caller");
        let events: Vec<Option<String>> = call
            .messages("us → alice", "NOTIFY")
            .iter()
            .map(|notify| notify.get("Event").map(str::to_owned))
            .collect();
        assert_eq!(events[0].as_deref(), Some("refer"));
        assert!(
            events.last().is_some_and(|last| last.as_ref().is_some_and(|last| last.starts_with("refer;id="))),
            "{events:?}"
        );
    }
}

#[test]
fn r11_what_dial_forbids_is_accepted_and_the_notify_says_so() {
    for (to, last) in [
        (
            "sip:+19005550000@127.0.0.1",
            "SIP/2.0 403 Forbidden\r\nReason: Q.850;cause=21;text=\"forbidden by [dial]\"\r\n",
        ),
        (
            "tel:+1-900-555-0000",
            "SIP/2.0 403 Forbidden\r\nReason: Q.850;cause=21;text=\"forbidden by [dial]\"\r\n",
        ),
        (
            "sip:nobody@127.0.0.1",
            "SIP/2.0 404 Not Found\r\nReason: Q.850;cause=1;text=\"unknown number\"\r\n",
        ),
    ] {
        let mut call = talking(office());
        refers(&mut call, to);
        assert_eq!(count(&mut call, "us → alice", "202 (REFER)"), 1, "{to}");
        let notified = call.messages("us → alice", "NOTIFY");
        assert_eq!(notified.iter().map(body).collect::<Vec<_>>(), [last], "{to}");
        assert_eq!(notified[0].get("Content-Type"), Some("message/sipfrag;version=2.0"));
        assert_eq!(count(&mut call, "us → gateway1", "INVITE"), 0);
        call.hangs_up("caller").comes_to_rest();
        assert_eq!(legs(&mut call), ["caller normal 200", "alice won 200"]);
    }
}

#[test]
fn r11_only_an_agents_leg_may_refer_and_that_is_asked_first() {
    for name in ["caller", "gateway1"] {
        let mut call = bridged();
        // Malformed besides: that is not looked at.
        call.asks(name, "REFER", |message| message).settle();
        assert_eq!(count(&mut call, &format!("us → {name}"), "403 (REFER)"), 1, "{name}");
        call.hangs_up("caller").comes_to_rest();
    }
}

#[test]
fn r11_a_malformed_refer_is_refused() {
    type Dress = fn(Message) -> Message;
    let cases: [(Dress, u16); 6] = [
        (|message| message, 400),
        (|message| message.with("Refer-To", "<sip:a@b>").with("Refer-To", "<sip:c@d>"), 400),
        (|message| message.with("Refer-To", "<sip:a@b>, <sip:c@d>"), 400),
        (|message| message.with("Refer-To", "<sip:a@b"), 400),
        (|message| message.with("Refer-To", "<sip:a@b;method=BYE>"), 400),
        (|message| message.with("Refer-To", "<mailto:a@b>"), 416),
    ];
    for (dress, code) in cases {
        let mut call = talking(office());
        call.asks("alice", "REFER", dress).settle();
        assert_eq!(count(&mut call, "us → alice", &format!("{code} (REFER)")), 1, "{code}");
        assert_eq!(count(&mut call, "us → alice", "NOTIFY"), 0);
        call.hangs_up("caller").comes_to_rest();
    }
    let mut call = talking(office());
    call.asks("alice", "REFER", |message| {
        message.with("Refer-To", "<sip:a@b>").with("Require", "x-unheard-of")
    })
    .settle();
    assert_eq!(count(&mut call, "us → alice", "420 (REFER)"), 1);
}

/// RFC 3515 §2.4.1: it may come before the answer, of which nobody may be sent on.
#[test]
fn r11_a_refer_before_the_answer_is_refused_at_once() {
    for (name, code) in [("alice", 491), ("gateway1", 403)] {
        let mut call = match name {
            "alice" => office().incoming(DID).ringing(["alice"]),
            _ => forward().incoming(DID).ringing(["gateway1"]),
        };
        call.asks(name, "REFER", |refer| refer.with("Refer-To", "<sip:bob@127.0.0.1>")).settle();
        assert_eq!(count(&mut call, &format!("us → {name}"), &format!("{code} (REFER)")), 1, "{name}");
        call.answers(name).after(millis(50));
        if name == "alice" {
            refers(&mut call, TARGET);
            assert_eq!(count(&mut call, "us → alice", "202 (REFER)"), 1);
        }
        call.hangs_up("caller").comes_to_rest();
    }
}

/// R3.6: what came to nothing is no leg of the next transfer.
#[test]
fn r11_failed_transfers_use_up_no_legs_of_those_to_come() {
    let mut call = talking(office_with("[limits]\nmax_legs = 2\n"));
    for _ in 0..4 {
        refers(&mut call, TARGET);
        call.awaits("gateway1").sends_busy("gateway1").after(seconds(1));
    }
    refers(&mut call, TARGET);
    let mut call = call.ringing(["gateway1"]);
    call.answers("gateway1").after(millis(50));
    assert_eq!(count(&mut call, "us → alice", "BYE"), 1);
    call.hangs_up("caller").comes_to_rest();
    assert_eq!(legs(&mut call).len(), 7);
}

#[test]
fn r11_while_one_transfer_is_under_way_another_is_refused() {
    let mut call = talking(office());
    refers(&mut call, TARGET);
    refers(&mut call, "sip:bob@127.0.0.1");
    assert_eq!(count(&mut call, "us → alice", "491 (REFER)"), 1);
    assert_eq!(count(&mut call, "us → bob", "INVITE"), 0);
    call.hangs_up("caller").comes_to_rest();
}

#[test]
fn r11_an_agent_who_wants_no_subscription_hears_no_notify() {
    let mut call = office().unchecked("one_winner").incoming(DID).ringing(["alice"]);
    call.answers("alice").after(millis(50));
    call.asks("alice", "REFER", |message| {
        message
            .with("Refer-To", "<sip:bob@127.0.0.1>")
            .with("Refer-Sub", "false")
            .with("Require", "norefersub")
    });
    let mut call = call.ringing(["bob"]);
    assert_eq!(header(&mut call, "us → alice", "202 (REFER)", "Refer-Sub").as_deref(), Some("false"));
    call.answers("bob").after(millis(50));
    assert_eq!((count(&mut call, "us → alice", "NOTIFY"), count(&mut call, "us → alice", "BYE")), (0, 1));
    call.hangs_up("caller").comes_to_rest();
}

#[test]
fn r11_an_agent_on_hold_or_not_the_target_is_offered_what_flows() {
    let mut call = talking(office());
    call.does("alice", Act::Holds).after(millis(50));
    refers(&mut call, "sip:bob@127.0.0.1");
    let mut call = call.ringing(["bob"]);
    let offer = call.messages("us → bob", "INVITE").remove(0);
    assert!(body(&offer).contains("a=sendrecv"), "{}", body(&offer));
    call.answers("bob").after(millis(50));
    let passed = call.messages("us → caller", "INVITE").pop().map(|invite| body(&invite)).unwrap_or_default();
    assert!(passed.contains("a=sendrecv"), "{passed}");
    call.hangs_up("caller").comes_to_rest();
}

#[test]
fn r11_a_target_that_is_a_did_of_ours_rings_as_that_does() {
    let mut call = talking(office());
    refers(&mut call, "sip:12015550102@127.0.0.1");
    let mut call = call.ringing(["carol", "dave"]);
    call.answers("dave").after(millis(50));
    assert_eq!(
        header(&mut call, "us → carol", "CANCEL", "Reason").as_deref(),
        Some("SIP;cause=200;text=\"Call completed elsewhere\"")
    );
    assert_eq!(count(&mut call, "us → alice", "BYE"), 1);
    call.hangs_up("dave").comes_to_rest();
    assert_eq!(
        legs(&mut call),
        ["caller normal 200", "alice won 200", "carol elsewhere 487", "dave won 200"]
    );
}

#[test]
fn r11_whoever_does_what_in_whatever_order_a_transfer_ends_cleanly() {
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Step {
        TargetRings,
        TargetAnswers,
        TargetHangsUp,
        AgentHangsUp,
        CallerHangsUp,
        CallerHolds,
        AgentHolds,
        AgentAsksForOffer,
        CallerAsksForOffer,
    }
    use Step::*;
    let sets = [
        [TargetRings, TargetAnswers, AgentHangsUp, CallerHangsUp],
        [TargetAnswers, TargetHangsUp, AgentHangsUp, CallerHangsUp],
        [TargetAnswers, TargetHangsUp, CallerHolds, AgentHangsUp],
        [TargetAnswers, AgentHolds, CallerHolds, AgentHangsUp],
        [TargetAnswers, AgentAsksForOffer, AgentHangsUp, TargetHangsUp],
        [TargetAnswers, CallerAsksForOffer, AgentHangsUp, TargetHangsUp],
    ];
    for (steps, pause) in sets.into_iter().flat_map(|steps| [0, 4, 8].map(|pause| (steps, pause))) {
        strowger::sim::story::every_order_of(steps, |steps| {
            let mut call = talking(office());
            refers(&mut call, TARGET);
            call.awaits("gateway1");
            call.while_in_flight(|call| {
                for step in steps {
                    let (name, act) = match step {
                        TargetRings => ("gateway1", Act::Rings),
                        TargetAnswers => ("gateway1", Act::Answers),
                        TargetHangsUp => ("gateway1", Act::HangsUp),
                        AgentHangsUp => ("alice", Act::HangsUp),
                        CallerHangsUp => ("caller", Act::HangsUp),
                        CallerHolds => ("caller", Act::Holds),
                        AgentHolds => ("alice", Act::Holds),
                        AgentAsksForOffer => ("alice", Act::AsksForOffer),
                        CallerAsksForOffer => ("caller", Act::AsksForOffer),
                    };
                    call.does(name, act);
                    call.world.run(millis(pause));
                }
            });
            call.after(seconds(6));
            assert!(call.world.verdict().is_ok(), "{steps:?} {pause}\n{}", call.ladder());
            call.hangs_up("caller").hangs_up("gateway1").hangs_up("alice");
            call.comes_to_rest();
        });
    }
}

/// What alice's own phone heard last of that method, as the request or response of ours that it was.
fn sent_to(call: &Call, method: &str, status: u16) -> Message {
    let found = call.world.trace.crossings.iter().rev().find(|crossing| {
        let message = &crossing.message;
        crossing.peer == DESK && message.method() == method && message.status() == status
    });
    let Some(found) = found else { panic!("no {method} {status} to alice") };
    found.message.clone()
}

#[test]
fn r11_an_agent_who_called_out_may_send_the_other_on_and_is_free_at_once() {
    let (heard, mut call) = dials(office_of_r13("max_calls = 1", "").before_any_call(), "2125550188");
    assert_eq!(heard, [0u16; 0]);
    // It knows the carrier's callers alone.
    call.world.leaves_unchecked("one_winner");
    let mut bob = Phone {
        call_id: "reg-2",
        ..Phone::new("bob", "builder", "127.0.2.2:5060".parse().expect("an address"))
    };
    let mut alice = Phone { call_id: "reg-1", ..Phone::alice(DESK) };
    assert_eq!(
        (bob.registers(&mut call, |message| message), alice.registers(&mut call, |message| message)),
        (200, 200)
    );
    let mut call = call.ringing(["gateway1"]);
    call.answers("gateway1").after(millis(50));
    let answer = sent_to(&call, "INVITE", 200);
    let (from, to) = (answer.get("From").unwrap_or_default(), answer.get("To").unwrap_or_default());
    let request = |method: &str, cseq: u32| {
        Message::request(method, "sip:127.0.0.1:5060")
            .with("Via", format!("SIP/2.0/UDP {DESK};branch=z9hG4bK-{method}"))
            .with("Max-Forwards", "70")
            .with("From", from)
            .with("To", to)
            .with("Call-ID", "out-1")
            .with("CSeq", format!("{cseq} {method}"))
    };
    call.world.sends(DESK, &request("ACK", answer.cseq().0));
    call.settle();
    call.world.sends(
        DESK,
        &request("REFER", 10).with("Contact", format!("<sip:alice@{DESK}>")).with("Refer-To", "<sip:bob@x>"),
    );
    let mut call = call.ringing(["bob"]);
    assert!(sent_to(&call, "REFER", 202).contact().is_some());
    let shown = header(&mut call, "us → bob", "INVITE", "From").unwrap_or_default();
    assert!(shown.starts_with(&format!("<sip:{DID}@")), "{shown}");
    call.answers("bob").after(millis(50));
    assert_eq!(count(&mut call, "us → gateway1", "INVITE"), 2);
    let bye = sent_to(&call, "BYE", 0);
    assert_eq!(bye.get("Reason"), Some("Q.850;cause=16"));
    // She has no call any more: she is rung.
    let second = call.dials(DID, Manner::default());
    let mut call = second.ringing(["alice"]);
    call.hangs_up("caller").after(millis(50));
    call.call_id = "out-1".to_owned();
    call.hangs_up("bob").after(seconds(70));
    assert_eq!(end(&mut call), "answered 200 callee");
    assert_eq!(legs(&mut call), ["caller normal 200", "+12125550188 won 200", "bob won 200"]);
    let cdr = call.cdr();
    assert!(cdr["legs"][0]["ended"].as_str() < cdr["ended"].as_str(), "{cdr:#}");
    assert!(call.world.verdict().is_ok(), "{}", call.ladder());
}

#[test]
fn r11_an_agent_who_hangs_up_after_the_202_leaves_the_caller_waiting_for_the_target() {
    let mut call = talking(office());
    refers(&mut call, TARGET);
    call.hangs_up("alice").after(millis(50));
    assert_eq!(count(&mut call, "us → caller", "BYE"), 0);
    let mut call = call.ringing(["gateway1"]);
    call.answers("gateway1").after(millis(50));
    assert_eq!(count(&mut call, "us → caller", "INVITE"), 1);
    call.hangs_up("caller").comes_to_rest();
    assert_eq!(end(&mut call), "answered 200 caller");
    // Where it fails there is nobody to go back to.
    let mut call = talking(office());
    refers(&mut call, TARGET);
    call.hangs_up("alice").after(millis(50)).awaits("gateway1").sends_busy("gateway1").after(millis(50));
    assert_eq!(header(&mut call, "us → caller", "BYE", "Reason").as_deref(), Some("Q.850;cause=17"));
    call.comes_to_rest();
    assert_eq!(end(&mut call), "answered 200 us");
    assert_eq!(call.cdr()["cause"], "the transfer failed, and who asked for it was gone");
}

#[test]
fn r11_who_stays_and_leaves_ends_the_transfer() {
    let mut call = talking(office());
    refers(&mut call, TARGET);
    let mut call = call.ringing(["gateway1"]);
    call.hangs_up("caller").after(millis(100));
    assert_eq!(count(&mut call, "us → gateway1", "CANCEL"), 1);
    assert_eq!(told(&mut call, "alice").last().map(String::as_str), Some("SIP/2.0 487 Request Terminated"));
    assert_eq!(count(&mut call, "us → alice", "BYE"), 1);
    call.comes_to_rest();
    assert_eq!(legs(&mut call), ["caller normal 200", "alice won 200", "+13125550177 cancelled -"]);
}

pub fn callers_manner(call: &mut Call) -> &mut Manner {
    match call.world.hosts[0].parties.get_mut(&call.call_id) {
        Some(party) => &mut party.manner,
        None => panic!("nobody calls"),
    }
}

#[test]
fn r11_who_stays_and_refuses_the_target_keeps_the_agent() {
    for (code, joins) in [(488, false), (491, true)] {
        let mut call = office().incoming(DID).ringing(["alice"]);
        call.answers("alice").after(millis(50));
        callers_manner(&mut call).stalls = Some(code);
        refers(&mut call, TARGET);
        let mut call = call.ringing(["gateway1"]);
        call.answers("gateway1").after(millis(50));
        // Glare is waited out (RFC 3261 §14.1).
        callers_manner(&mut call).stalls = None;
        call.after(seconds(5));
        let last = told(&mut call, "alice").pop().unwrap_or_default();
        assert_eq!(last.starts_with("SIP/2.0 200"), joins, "{code}: {last}");
        assert_eq!(count(&mut call, "us → alice", "BYE") == 1, joins, "{code}");
        assert_eq!(count(&mut call, "us → gateway1", "BYE") == 0, joins, "{code}");
        call.hangs_up("caller").comes_to_rest();
    }
}

#[test]
fn r11_who_answers_from_another_place_is_told_to_the_target() {
    let mut call = talking(office());
    // The caller's hold changes what flows, so that its answer is not what the target had as its offer.
    call.does("alice", Act::Holds).after(millis(50)).does("caller", Act::Holds).after(millis(50));
    refers(&mut call, "sip:bob@127.0.0.1");
    let mut call = call.ringing(["bob"]);
    call.answers("bob").after(millis(50));
    assert_eq!(count(&mut call, "us → alice", "BYE"), 1);
    call.hangs_up("caller").comes_to_rest();
}

/// RFC 3261 §14.2, §9.1: a provisional response alone is no answer to wait for.
#[test]
fn r11_who_stays_and_never_answers_keeps_the_agent_or_is_let_go() {
    for agent_stays in [true, false] {
        let mut call = talking(office());
        callers_manner(&mut call).stalls = Some(100);
        refers(&mut call, TARGET);
        if !agent_stays {
            call.hangs_up("alice").after(millis(50));
        }
        let mut call = call.ringing(["gateway1"]);
        call.answers("gateway1").after(seconds(32));
        assert_eq!(count(&mut call, "us → gateway1", "BYE"), 0);
        call.after(seconds(2));
        assert_eq!(count(&mut call, "us → caller", "CANCEL"), 1);
        assert_eq!(header(&mut call, "us → gateway1", "BYE", "Reason").as_deref(), Some("Q.850;cause=102"));
        let byes = (count(&mut call, "us → alice", "BYE"), count(&mut call, "us → caller", "BYE"));
        assert_eq!(byes, if agent_stays { (0, 0) } else { (0, 1) });
        if agent_stays {
            let last = call.messages("us → alice", "NOTIFY").pop().map(|last| body(&last));
            assert_eq!(last.as_deref(), Some("SIP/2.0 408 Request Timeout\r\nReason: Q.850;cause=102\r\n"));
            // Whether the CANCEL is answered or not, they talk on.
            callers_manner(&mut call).stalls = None;
            call.after(seconds(34)).does("caller", Act::Holds).after(millis(50));
            assert_eq!(count(&mut call, "us → alice", "INVITE"), 2);
            call.hangs_up("caller");
        }
        call.comes_to_rest();
        assert_eq!(legs(&mut call)[2], "+13125550177 failed 200");
    }
}

/// Bob answers on hold, and so the caller with what bob was not offered: bob is told, and treats that so.
fn told_after_the_join(stalls: u16) -> Call {
    let mut call = talking(office());
    refers(&mut call, "sip:bob@127.0.0.1");
    let mut call = call.ringing(["bob"]);
    let manner = Manner { stalls: Some(stalls), ..Manner::default() };
    let held = |answer: &mut Message| {
        answer.body = String::from_utf8_lossy(&answer.body).replace("sendrecv", "sendonly").into_bytes();
    };
    call.behaves("bob", manner.dressed(held));
    call.answers("bob").after(millis(50));
    assert_eq!((count(&mut call, "us → bob", "INVITE"), count(&mut call, "us → alice", "BYE")), (2, 1));
    call
}

/// RFC 3261 §14.1.
#[test]
fn r11_a_target_that_offers_at_the_same_time_is_told_once_more() {
    let mut call = told_after_the_join(491);
    call.behaves("bob", Manner::default()).after(seconds(5));
    assert_eq!((count(&mut call, "us → bob", "INVITE"), count(&mut call, "bob → us", "491")), (3, 1));
    let (first, again) = (
        call.messages("us → bob", "INVITE").swap_remove(1),
        call.messages("us → bob", "INVITE").swap_remove(2),
    );
    assert_eq!(first.body, again.body);
    call.hangs_up("caller").comes_to_rest();
    // It is not asked for ever, and they talk on.
    let mut call = told_after_the_join(491);
    call.after(seconds(60));
    assert_eq!(count(&mut call, "us → bob", "INVITE"), 10);
    assert_eq!(count(&mut call, "us → caller", "BYE"), 0);
    call.hangs_up("caller").comes_to_rest();
}

#[test]
fn r11_a_target_that_never_answers_what_it_is_told_talks_on() {
    let mut call = told_after_the_join(100);
    call.after(seconds(34));
    assert_eq!(count(&mut call, "us → bob", "CANCEL"), 1);
    call.behaves("bob", Manner::default()).after(seconds(34));
    assert_eq!((count(&mut call, "us → caller", "BYE"), count(&mut call, "us → bob", "BYE")), (0, 0));
    call.does("caller", Act::Holds).after(millis(50));
    assert_eq!(count(&mut call, "us → bob", "INVITE"), 3);
    call.hangs_up("caller").comes_to_rest();
}

#[test]
fn r11_phones_find_that_they_may_refer_and_trunks_do_not() {
    let mut call = talking(office());
    let (to_alice, to_caller) =
        (call.messages("us → alice", "INVITE").remove(0), call.messages("us → caller", "200").remove(0));
    assert!(to_alice.lists("Allow", "REFER") && to_alice.lists("Supported", "replaces"), "{to_alice:?}");
    assert!(!to_caller.lists("Allow", "REFER") && !to_caller.lists("Supported", "replaces"), "{to_caller:?}");
    call.hangs_up("caller").comes_to_rest();
}

#[test]
fn r12_a_transfer_that_loses_any_one_datagram_leaves_nothing_behind() {
    let count = strowger::sim::story::each_message_lost_in_turn(&office(), |setup| {
        let mut call = talking(setup);
        refers(&mut call, TARGET);
        call.after(seconds(2));
        call.does("gateway1", Act::Answers).after(seconds(5));
        call.hangs_up("caller").after(seconds(2));
        call.hangs_up("alice").hangs_up("gateway1");
        call
    });
    assert!(count > 25, "{count} datagrams");
}

/// R13: a call for help may be a transfer too.
#[test]
fn r13_an_agent_sends_its_caller_on_to_an_emergency_number() {
    for to in ["sip:911@127.0.0.1", "urn:service:sos.fire"] {
        let mut call = talking(office_with("[limits]\nmax_legs = 1\n"));
        refers(&mut call, to);
        let mut call = call.ringing(["gateway1"]);
        let invite = call.messages("us → gateway1", "INVITE").remove(0);
        assert!(invite.start.starts_with("INVITE sip:911@"), "{}", invite.start);
        let from = invite.get("From").unwrap_or_default();
        assert!(from.starts_with(&format!("<sip:{DID}@")), "the agent's own number: {from}");
        call.refuses("gateway1", 403);
        let mut call = call.ringing(["gateway2"]);
        call.answers("gateway2").after(millis(50));
        call.hangs_up("gateway2").comes_to_rest();
        assert_eq!(told(&mut call, "alice").last().map(String::as_str), Some("SIP/2.0 200 OK"));
    }
}

#[test]
fn r11_a_carriers_challenge_to_the_reinvite_that_joins_it_is_answered() {
    let asks = "Digest realm=\"carrier\", nonce=\"m\", qop=\"auth\"";
    let dial = "[dial]\nallow = [\"+1\"]\n";
    let auth = "auth = { username = \"we\", password = \"pass\" }";
    let rest = format!("{}{dial}", did("ring = [\"alice\"]"));
    let call = node(auth, "", &format!("number = \"{DID}\""), &rest).before_any_call();
    let mut call = call.dials(DID, Manner { challenges: Some(asks), ..Manner::default() }).ringing(["alice"]);
    call.answers("alice").after(millis(50));
    refers(&mut call, TARGET);
    let mut call = call.ringing(["gateway1"]);
    call.answers("gateway1").after(millis(100));
    let invites = call.messages("us → caller", "INVITE");
    let shown: Vec<bool> = invites.iter().map(|invite| invite.get("Proxy-Authorization").is_some()).collect();
    assert_eq!(shown, [false, true]);
    let ack = call.messages("us → caller", "ACK").pop().expect("the 200 has its ACK");
    assert_eq!(ack.get("Proxy-Authorization"), invites[1].get("Proxy-Authorization"), "RFC 3261 §22.1");
    call.hangs_up("gateway1").comes_to_rest();
    assert_eq!(legs(&mut call), ["caller normal 200", "alice won 200", "+13125550177 won 200"]);
}
