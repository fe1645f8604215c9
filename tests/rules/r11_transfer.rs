//! R11: an agent sends the other side on with REFER, blindly.

use insta::assert_snapshot;

use super::*;

const TARGET: &str = "sip:+13125550177@127.0.0.1";

/// Agents who may call out; the DID rings alice.
fn office() -> Setup {
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
fn talking(setup: Setup) -> Call {
    let mut call = setup.incoming(DID).ringing(["alice"]);
    call.answers("alice").after(millis(50));
    call
}

fn refers(call: &mut Call, to: &str) {
    call.does("alice", Act::Refers(to.to_owned())).settle();
}

/// The status lines of the NOTIFYs to somebody, repetitions included.
fn told(call: &mut Call, name: &str) -> Vec<String> {
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
