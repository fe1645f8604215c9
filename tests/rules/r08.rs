//! R8: how ringing ends.

use insta::assert_snapshot;
use strowger::sim::manner::Act;

use super::*;

#[test]
fn r08_ring_timeout_cancels_every_leg_and_answers_480() {
    let mut call =
        number("ring = [\"alice\", \"bob\"]\ntimeout = 15").incoming(DID).ringing(["alice", "bob"]);
    call.after(seconds(16));
    assert_snapshot!(call.ladder(), @"
    caller          us              alice           bob
      ├─── INVITE ───▶│               │               │
      │◀──── 100 ─────┤               │               │
      │               ├─── INVITE ───▶│               │
      │               ├─────────────────── INVITE ───▶│
      │               │◀──── 180 ─────┤               │
      │◀──── 180 ─────┤               │               │
      │               │◀──────────────────── 180 ─────┤
      │               ├─── CANCEL ───▶│               │  Q.850;cause=19
      │               ├─────────────────── CANCEL ───▶│  Q.850;cause=19
      │◀──── 480 ─────┤               │               │  Q.850;cause=19
      │               │ 200 (CANCEL) ─┤               │
      │               │◀──── 487 ─────┤               │
      │               ├───── ACK ────▶│               │
      │               │◀─────────────── 200 (CANCEL) ─┤
      │               │◀──────────────────── 487 ─────┤
      │               ├───────────────────── ACK ────▶│
      ├───── ACK ────▶│               │               │
    ");
    call.comes_to_rest();
    assert_eq!(end(&mut call), "no_answer 480 us");
    assert_eq!(legs(&mut call), ["caller failed 480", "alice timeout -", "bob timeout -"]);
    let invited = call.times("us → alice", "INVITE")[0];
    let cancelled = call.times("us → alice", "CANCEL")[0];
    assert_eq!(cancelled.since(invited), seconds(15));
    let refused = call.messages("us → caller", "480");
    assert_eq!(refused[0].get("Reason"), Some("Q.850;cause=19"));
}

#[test]
fn r08_the_timeout_counts_from_the_first_invite_of_its_step() {
    let keys = "ring = [\"bob\"]\nassigned_to = \"alice\"\nassigned_head_start = 6\ntimeout = 10";
    let mut call = number(keys).incoming(DID).ringing(["alice", "bob"]);
    call.after(seconds(11));
    let first = call.times("us → alice", "INVITE")[0];
    assert_eq!(call.times("us → bob", "INVITE")[0].since(first), seconds(6));
    assert_eq!(call.times("us → bob", "CANCEL")[0].since(first), seconds(10));
    assert_eq!(call.caller_is_told(), Some(480));
    call.comes_to_rest();
}

#[test]
fn r08_a_redirect_does_not_restart_the_clock() {
    let mut call = number("ring = [\"alice\"]\ntimeout = 10").incoming(DID).ringing(["alice"]);
    call.after(seconds(6)).redirects("alice", "sip:bob@127.0.2.2:5060");
    let mut call = call.ringing(["bob"]);
    call.after(seconds(5));
    let first = call.times("us → alice", "INVITE")[0];
    assert_eq!(call.times("us → bob", "CANCEL")[0].since(first), seconds(10));
    call.comes_to_rest();
    assert_eq!(end(&mut call), "no_answer 480 us");
    assert_eq!(legs(&mut call), ["caller failed 480", "alice failed 302", "bob timeout -"]);
}

#[test]
fn r08_a_cancel_waits_for_the_legs_first_provisional_response() {
    let mut call = number("ring = [\"alice\"]\ntimeout = 10").incoming(DID);
    call.awaits("alice").after(seconds(12));
    assert_eq!(call.caller_is_told(), Some(480));
    assert_eq!(count(&mut call, "us → alice", "CANCEL"), 0);
    call.rings("alice");
    assert_snapshot!(call.ladder(), @"
    caller          us              alice
      ├─── INVITE ───▶│               │
      │◀──── 100 ─────┤               │
      │               ├─── INVITE ───▶│
      │               ├─── INVITE ───▶│
      │               ├─── INVITE ───▶│
      │               ├─── INVITE ───▶│
      │               ├─── INVITE ───▶│
      │◀──── 480 ─────┤               │  Q.850;cause=19
      ├───── ACK ────▶│               │
      │               │◀──── 180 ─────┤
      │               ├─── CANCEL ───▶│  Q.850;cause=19
      │               │ 200 (CANCEL) ─┤
      │               │◀──── 487 ─────┤
      │               ├───── ACK ────▶│
    ");
    call.comes_to_rest();
}

#[test]
fn r08_a_leg_that_never_says_anything_is_never_cancelled_and_ends_by_timer_b() {
    let mut call = number("ring = [\"alice\"]\ntimeout = 60").incoming(DID);
    call.awaits("alice").after(seconds(31));
    assert_eq!(call.caller_is_told(), None);
    call.after(seconds(2));
    assert_eq!(call.caller_is_told(), Some(480));
    assert_eq!(count(&mut call, "us → alice", "CANCEL"), 0);
    assert_eq!(count(&mut call, "us → alice", "INVITE"), 7, "at 0, 0.5, 1.5, 3.5, 7.5, 15.5 and 31.5 s");
    call.comes_to_rest();
    assert_eq!(end(&mut call), "unreachable 480 us");
    assert_eq!(legs(&mut call), ["caller failed 480", "alice unreachable -"]);
}

#[test]
fn r08_the_callers_cancel_reaches_a_leg_once_it_has_said_something() {
    let mut call = hunt().incoming(DID).ringing(["alice"]);
    call.awaits("bob").caller_cancels();
    call.settle();
    assert_eq!(count(&mut call, "us → alice", "CANCEL"), 1);
    assert_eq!(count(&mut call, "us → bob", "CANCEL"), 0);
    assert_eq!(call.caller_is_told(), Some(487));
    call.rings("bob");
    call.settle();
    assert_eq!(count(&mut call, "us → bob", "CANCEL"), 1);
    call.comes_to_rest();
    assert_eq!(end(&mut call), "cancelled 487 caller");
}

#[test]
fn r08_at_the_same_instant_an_answer_comes_before_the_ring_timeout() {
    let mut call = number("ring = [\"alice\"]\ntimeout = 10").incoming(DID).ringing(["alice"]);
    until_just_before(&mut call, 10);
    call.answers("alice");
    call.settle();
    assert_eq!(call.caller_is_told(), Some(200));
    call.comes_to_rest();
}

#[test]
fn r08_at_the_same_instant_the_callers_cancel_comes_before_the_ring_timeout() {
    let mut call = number("ring = [\"alice\"]\ntimeout = 10").incoming(DID).ringing(["alice"]);
    until_just_before(&mut call, 10);
    call.caller_cancels();
    call.settle();
    assert_eq!(call.caller_is_told(), Some(487));
    call.comes_to_rest();
    assert_eq!(end(&mut call), "cancelled 487 caller");
}

/// Everything of `what` reaches us at one moment, in this order.
fn at_once(call: &mut Call, what: impl FnOnce(&mut Call)) {
    call.settle();
    call.while_in_flight(what);
    call.settle();
}

#[test]
fn r08_at_the_same_instant_the_callers_cancel_comes_before_a_legs_answer() {
    let mut call = number("ring = [\"alice\"]").incoming(DID).ringing(["alice"]);
    at_once(&mut call, |call| _ = call.answers("alice").caller_cancels());
    assert_snapshot!(call.ladder(), @"
    caller          us              alice
      ├─── INVITE ───▶│               │
      │◀──── 100 ─────┤               │
      │               ├─── INVITE ───▶│
      │               │◀──── 180 ─────┤
      │◀──── 180 ─────┤               │
      ├─── CANCEL ───▶│               │
      │ 200 (CANCEL) ─┤               │
      │               ├─── CANCEL ───▶│  Q.850;cause=16
      │◀──── 487 ─────┤               │
      │               │◀──── 200 ─────┤
      │               ├───── ACK ────▶│
      │               ├───── BYE ────▶│  Q.850;cause=16
      │               │ 200 (CANCEL) ─┤
      ├───── ACK ────▶│               │
      │               │◀─ 200 (BYE) ──┤
    ");
    call.comes_to_rest();
    assert_eq!(end(&mut call), "cancelled 487 caller");
    assert_eq!(legs(&mut call), ["caller cancelled 487", "alice cancelled -"]);
}

#[test]
fn r08_at_the_same_instant_the_callers_cancel_comes_before_a_legs_refusal() {
    let mut call = number("ring = [\"alice\"]").incoming(DID).ringing(["alice"]);
    at_once(&mut call, |call| _ = call.sends_busy("alice").caller_cancels());
    assert_eq!(call.caller_is_told(), Some(487));
    call.comes_to_rest();
    assert_eq!(end(&mut call), "cancelled 487 caller");
}

#[test]
fn r08_at_the_same_instant_the_callers_early_bye_comes_before_a_legs_answer() {
    let mut call = number("ring = [\"alice\"]").incoming(DID).ringing(["alice"]);
    at_once(&mut call, |call| _ = call.answers("alice").does("caller", Act::HangsUpEarly));
    assert_eq!(call.caller_is_told(), Some(487));
    call.comes_to_rest();
    assert_eq!(end(&mut call), "cancelled 487 caller");
}

#[test]
fn r08_at_the_same_instant_the_callers_bye_comes_before_the_legs() {
    let mut call = bridged();
    at_once(&mut call, |call| _ = call.hangs_up("gateway1").hangs_up("caller"));
    call.comes_to_rest();
    assert_eq!(end(&mut call), "answered 200 caller");
    let mut call = bridged();
    call.hangs_up("gateway1").hangs_up("caller").comes_to_rest();
    assert_eq!(end(&mut call), "answered 200 callee", "one after the other, the first is the first");
}

#[test]
fn r08_at_the_same_instant_a_legs_early_bye_comes_before_anothers_answer() {
    // Only a reliable response makes us keep a leg's early dialog.
    let mut call = hunt().incoming(DID).ringing(["bob"]);
    call.awaits("alice").does("alice", Act::RingsReliably);
    at_once(&mut call, |call| {
        call.answers("bob").asks("alice", "BYE", |bye| bye);
    });
    assert_eq!(call.caller_is_told(), Some(200));
    call.comes_to_rest();
    assert_eq!(legs(&mut call), ["caller normal 200", "alice unreachable 480", "bob won 200"]);
}

#[test]
fn r08_a_leg_that_answers_and_hangs_up_at_once_did_so_in_that_order() {
    let mut call = number("ring = [\"alice\"]").incoming(DID).ringing(["alice"]);
    at_once(&mut call, |call| _ = call.answers("alice").hangs_up("alice"));
    assert_eq!(call.caller_is_told(), Some(200));
    call.comes_to_rest();
    assert_eq!(end(&mut call), "answered 200 callee");
}

/// So that what is sent now arrives just as the timeout of the step is due.
fn until_just_before(call: &mut Call, timeout: u64) {
    let due = call.times("us → alice", "INVITE")[0] + seconds(timeout);
    let on_its_way = millis(5);
    call.after(due.since(call.world.now) - on_its_way);
}

#[test]
fn r08_the_verdict_is_busy_only_if_every_target_was() {
    for (codes, told, outcome) in [
        ([486, 486], 486, "busy 486 callee"),
        ([486, 600], 486, "busy 486 callee"),
        ([600, 600], 486, "busy 486 callee"),
        ([603, 603], 603, "declined 603 callee"),
        ([486, 603], 480, "no_answer 480 us"),
        ([486, 480], 480, "no_answer 480 us"),
        ([603, 404], 480, "no_answer 480 us"),
    ] {
        let mut call = hunt().incoming(DID).ringing(["alice", "bob"]);
        call.refuses("alice", codes[0]).refuses("bob", codes[1]);
        assert_eq!(call.caller_is_told(), Some(told), "{codes:?}");
        call.comes_to_rest();
        assert_eq!(end(&mut call), outcome, "{codes:?}");
    }
}

#[test]
fn r08_the_sole_target_busy_is_486() {
    let mut call = number("ring = [\"alice\"]").incoming(DID).ringing(["alice"]);
    call.sends_busy("alice");
    assert_snapshot!(call.ladder(), @"
    caller          us              alice
      ├─── INVITE ───▶│               │
      │◀──── 100 ─────┤               │
      │               ├─── INVITE ───▶│
      │               │◀──── 180 ─────┤
      │◀──── 180 ─────┤               │
      │               │◀──── 486 ─────┤
      │               ├───── ACK ────▶│
      │◀──── 486 ─────┤               │  Q.850;cause=17
      ├───── ACK ────▶│               │
    ");
    call.comes_to_rest();
    assert_eq!(end(&mut call), "busy 486 callee");
    assert_eq!(legs(&mut call), ["caller failed 486", "alice busy 486"]);
}

#[test]
fn r08_agents_who_are_not_rung_count_as_busy() {
    let dnd = node("", "", "dnd = true", &did("ring = [\"alice\", \"bob\"]"));
    let mut call = dnd.incoming(DID);
    assert_eq!(call.caller_is_told(), Some(486));
    call.comes_to_rest();
    assert_eq!(legs(&mut call), ["caller failed 486"]);
}

#[test]
fn r08_a_legs_own_code_is_never_passed_on() {
    for code in
        [300, 302, 400, 401, 403, 404, 407, 408, 410, 420, 480, 484, 488, 500, 501, 503, 513, 604, 606]
    {
        let mut call = number("ring = [\"alice\"]").incoming(DID);
        call.awaits("alice").refuses("alice", code);
        assert_eq!(call.caller_is_told(), Some(480), "{code}");
        call.comes_to_rest();
        assert_eq!(end(&mut call), "unreachable 480 us", "{code}");
        assert_eq!(call.cdr()["legs"][1]["sip_code"], code);
    }
}

#[test]
fn r08_the_legs_q850_cause_goes_into_the_responses_reason() {
    // RFC 3398 §8.2.6.1.
    for (code, cause) in [
        (400, 41),
        (401, 21),
        (403, 21),
        (404, 1),
        (405, 63),
        (406, 79),
        (407, 21),
        (410, 22),
        (413, 127),
        (415, 79),
        (420, 127),
        (480, 18),
        (482, 25),
        (484, 28),
        (485, 1),
        (486, 17),
        (500, 41),
        (501, 79),
        (502, 38),
        (503, 41),
        (504, 102),
        (600, 17),
        (603, 21),
        (604, 1),
    ] {
        let mut call = number("ring = [\"alice\"]").incoming(DID);
        call.awaits("alice").refuses("alice", code);
        call.settle();
        let told = call.caller_is_told().unwrap_or(0).to_string();
        let reason = header(&mut call, "us → caller", &told, "Reason");
        assert_eq!(reason, Some(format!("Q.850;cause={cause}")), "{code}");
        call.comes_to_rest();
        assert_eq!(call.cdr()["q850"], cause, "{code}");
        assert_eq!(call.cdr()["legs"][1]["q850"], cause, "{code}");
    }
}

#[test]
fn r08_a_cause_of_the_legs_own_stands_before_the_table() {
    let mut call = number("ring = [\"alice\"]").incoming(DID);
    call.awaits("alice").behaves("alice", own_cause()).refuses("alice", 480);
    call.settle();
    assert_eq!(header(&mut call, "us → caller", "480", "Reason").as_deref(), Some("Q.850;cause=27"));
    call.comes_to_rest();
    assert_eq!(call.cdr()["legs"][1]["q850"], 27);
}

fn own_cause() -> Manner {
    Manner::default().dressed(|response| {
        if response.status() >= 300 {
            response.set("Reason", "SIP;cause=480, Q.850;cause=27;text=\"out of order\"");
        }
    })
}

#[test]
fn r08_of_several_legs_the_one_that_got_furthest_gives_the_reason() {
    let mut call = hunt().incoming(DID);
    call.awaits("alice").refuses("alice", 404);
    let mut call = call.ringing(["bob"]);
    call.refuses("bob", 480);
    call.settle();
    assert_eq!(header(&mut call, "us → caller", "480", "Reason").as_deref(), Some("Q.850;cause=18"));
    call.comes_to_rest();
}

#[test]
fn r08_of_several_legs_that_got_equally_far_the_first_gives_the_reason() {
    let mut call = hunt().incoming(DID).ringing(["alice", "bob"]);
    call.refuses("bob", 480).refuses("alice", 404);
    call.settle();
    assert_eq!(header(&mut call, "us → caller", "480", "Reason").as_deref(), Some("Q.850;cause=1"));
    call.comes_to_rest();
}

#[test]
fn r08_a_final_answer_ends_that_leg_alone() {
    for code in [302, 404, 486, 500, 600, 603, 604] {
        let mut call = hunt().incoming(DID).ringing(["alice", "bob"]);
        call.refuses("alice", code).after(seconds(2));
        assert_eq!(count(&mut call, "us → bob", "CANCEL"), 0, "{code}");
        call.answers("bob").hangs_up("bob").comes_to_rest();
        assert_eq!(end(&mut call), "answered 200 callee", "{code}");
    }
}

#[test]
fn r08_the_next_overflow_step_follows_when_all_have_ended() {
    let keys = "ring = [\"alice\"]\noverflow = [{ ring = [\"bob\"], timeout = 10 }, { ring = [\"carol\"], timeout = 12 }]";
    let mut call = number(keys).incoming(DID).ringing(["alice"]);
    call.sends_busy("alice");
    let mut call = call.ringing(["bob"]);
    call.after(seconds(11));
    let mut call = call.ringing(["carol"]);
    call.after(seconds(13));
    assert_eq!(call.caller_is_told(), Some(480), "bob was not busy");
    let began = |call: &mut Call, who: &str| call.times(&format!("us → {who}"), "INVITE")[0];
    let (bob, carol) = (began(&mut call, "bob"), began(&mut call, "carol"));
    assert_eq!(carol.since(bob), seconds(10));
    assert_eq!(call.times("us → carol", "CANCEL")[0].since(carol), seconds(12));
    call.comes_to_rest();
    assert_eq!(
        legs(&mut call),
        ["caller failed 480", "alice busy 486", "bob timeout 487", "carol timeout -"]
    );
}

#[test]
fn r08_every_step_busy_is_486() {
    let keys = "ring = [\"alice\"]\noverflow = [{ ring = [\"bob\"], timeout = 10 }]";
    let mut call = number(keys).incoming(DID).ringing(["alice"]);
    call.sends_busy("alice");
    let mut call = call.ringing(["bob"]);
    call.sends_busy("bob");
    assert_eq!(call.caller_is_told(), Some(486));
    call.comes_to_rest();
}

mod redirects {
    use super::*;

    #[test]
    fn r08_a_redirect_to_an_agents_name_rings_the_agent_inside() {
        let mut call = number("ring = [\"alice\"]").incoming(DID);
        call.awaits("alice").redirects("alice", "sip:bob@192.0.2.7");
        let mut call = call.ringing(["bob"]);
        call.answers("bob");
        assert_snapshot!(call.ladder(), @"
        caller          us              alice           bob
          ├─── INVITE ───▶│               │               │
          │◀──── 100 ─────┤               │               │
          │               ├─── INVITE ───▶│               │
          │               │◀──── 302 ─────┤               │
          │               ├───── ACK ────▶│               │
          │               ├─────────────────── INVITE ───▶│
          │               │◀──────────────────── 180 ─────┤
          │◀──── 180 ─────┤               │               │
          │               │◀──────────────────── 200 ─────┤
          │               ├───────────────────── ACK ────▶│
          │◀──── 200 ─────┤               │               │
          ├───── ACK ────▶│               │               │
        ");
        call.comes_to_rest();
        assert_eq!(legs(&mut call), ["caller normal 200", "alice failed 302", "bob won 200"]);
    }

    #[test]
    fn r08_a_redirect_by_a_trunk_that_writes_digits_is_read_as_digits() {
        let mut call =
            node("", "numbers = \"digits\"", "", &format!("{}[dial]\nallow = [\"+\"]\n", did_forward()))
                .incoming(DID);
        call.awaits("gateway1").redirects("gateway1", "sip:442071838750@192.0.2.7");
        call.settle();
        let invite = call.messages("us → gateway1", "INVITE").remove(1);
        assert!(invite.uri().starts_with("sip:442071838750@"), "{}", invite.uri());
        call.rings("gateway1").answers("gateway1").comes_to_rest();
        assert_eq!(legs(&mut call)[2], "+442071838750 won 200");
    }

    #[test]
    fn r08_a_redirect_to_a_number_goes_through_our_trunk_wherever_it_points() {
        let mut call = number("ring = [\"alice\"]").incoming(DID);
        call.awaits("alice").redirects("alice", "sip:+13125550123@192.0.2.7:5070");
        let mut call = call.ringing(["gateway1"]);
        let invite = call.messages("us → gateway1", "INVITE").remove(0);
        assert_eq!(invite.uri(), "sip:+13125550123@127.0.3.1:5060");
        call.answers("gateway1").comes_to_rest();
        assert_eq!(legs(&mut call), ["caller normal 200", "alice failed 302", "+13125550123 won 200"]);
    }

    #[test]
    fn r08_the_reason_is_that_of_the_leg_which_a_redirect_led_to() {
        let mut call = number("ring = [\"alice\"]").incoming(DID);
        call.awaits("alice").redirects("alice", "sip:bob@192.0.2.7");
        let mut call = call.ringing(["bob"]);
        call.refuses("bob", 486).comes_to_rest();
        assert_eq!(header(&mut call, "us → caller", "486", "Reason").as_deref(), Some("Q.850;cause=17"));
        assert_eq!(call.cdr()["q850"], 17);
    }

    #[test]
    fn r08_a_redirect_to_a_gateway_of_our_trunk_goes_to_that_gateway() {
        let mut call = forward().incoming(DID);
        call.awaits("gateway1").redirects("gateway1", "sip:+13125550123@127.0.3.2");
        let mut call = call.ringing(["gateway2"]);
        assert_eq!(call.messages("us → gateway2", "INVITE")[0].uri(), "sip:+13125550123@127.0.3.2:5060");
        call.answers("gateway2").comes_to_rest();
    }

    #[test]
    fn r08_a_redirect_to_where_we_may_not_call_ends_the_leg() {
        for uri in [
            "sip:+19005550100@127.0.3.1",
            "sip:+442071838750@127.0.3.1",
            "sip:nobody@192.0.2.1",
            "https://x.org/",
        ] {
            let mut call = number("ring = [\"alice\"]").incoming(DID);
            call.awaits("alice").redirects("alice", uri);
            assert_eq!(call.caller_is_told(), Some(480), "{uri}");
            call.comes_to_rest();
            assert_eq!(legs(&mut call), ["caller failed 480", "alice failed 302"], "{uri}");
        }
    }

    #[test]
    fn r08_a_redirect_to_where_dial_forbids_ends_blocked_where_nothing_else_did() {
        let ends = |to: &str| {
            let mut call = number("ring = [\"alice\"]").incoming(DID);
            call.awaits("alice").redirects("alice", to).comes_to_rest();
            (end(&mut call), call.cdr()["cause"].as_str().unwrap_or_default().to_owned())
        };
        let blocked = ("blocked 480 us".to_owned(), "forbidden by [dial]".to_owned());
        assert_eq!(ends("sip:+19005550100@127.0.3.1"), blocked);
        assert_eq!(ends("sip:+442071838750@127.0.3.1"), blocked);
        let nowhere = ("unreachable 480 us".to_owned(), "nobody was reached".to_owned());
        assert_eq!(ends("sip:nobody@192.0.2.1"), nowhere);
        // What was called instead ends the target, forbidden contacts before and behind it or not.
        const CONTACTS: &str =
            "<sip:+19005550100@127.0.3.1>;q=1, <sip:bob@127.0.2.2>;q=0.5, <sip:+19005550101@127.0.3.1>;q=0.1";
        for (code, told) in [(486, "busy 486 callee"), (404, "unreachable 480 us")] {
            let dress = |response: &mut Message| response.set("Contact", CONTACTS);
            let mut call = number("ring = [\"alice\"]").incoming(DID);
            call.awaits("alice")
                .behaves("alice", Manner::default().dressed(dress))
                .redirects("alice", "sip:alice@127.0.2.1");
            call.awaits("bob").refuses("bob", code).comes_to_rest();
            assert_eq!(end(&mut call), told, "{code}");
        }
    }

    #[test]
    fn r08_a_redirect_that_dial_forbids_leaves_the_others_of_the_group_ringing() {
        for (bob, code, outcome) in [("answers", 200, "answered"), ("refuses", 480, "no_answer")] {
            let mut call = hunt().incoming(DID).ringing(["alice", "bob"]);
            call.redirects("alice", "sip:+19005550100@127.0.3.1").after(seconds(1));
            assert_eq!(count(&mut call, "us → bob", "CANCEL"), 0);
            match bob {
                "answers" => call.answers("bob"),
                _ => call.refuses("bob", 486),
            };
            call.comes_to_rest();
            let cdr = call.cdr();
            assert_eq!((&cdr["outcome"], &cdr["sip_code"]), (&outcome.into(), &code.into()), "bob {bob}");
        }
    }

    /// bob has a call; alice, who rings for the DID, points to him.
    fn alice_points_to_busy_bob(keys: &str) -> Call {
        let bobs = "[[number]]\ndid = \"+12015550102\"\nring = [\"bob\"]";
        let mut call = number(&format!("{keys}\n{bobs}")).incoming("+12015550102").ringing(["bob"]);
        call.call_id = call.world.dials(DID, Manner::default());
        call.awaits("alice").redirects("alice", "sip:bob@127.0.2.2");
        call
    }

    #[test]
    fn r08_a_redirect_to_a_busy_agent_counts_as_busy() {
        let mut call = alice_points_to_busy_bob("ring = [\"alice\"]");
        assert_eq!(call.caller_is_told(), Some(486));
        call.comes_to_rest();
        assert_eq!(end(&mut call), "busy 486 callee");
        assert_eq!(legs(&mut call), ["caller failed 486", "alice failed 302"]);
        // Of a group all must be busy, and a contact that was called and was not speaks against it.
        let mut call = alice_points_to_busy_bob("ring = [\"alice\", \"carol\"]");
        call.awaits("carol").refuses("carol", 404);
        assert_eq!(call.caller_is_told(), Some(480));
        call.comes_to_rest();
    }

    #[test]
    fn r08_a_redirect_to_the_dialled_number_itself_ends_the_leg() {
        let mut call = number("ring = [\"alice\"]").incoming(DID);
        call.awaits("alice").redirects("alice", &format!("sip:{DID}@127.0.3.1"));
        assert_eq!(call.caller_is_told(), Some(480));
        assert_eq!(count(&mut call, "us → gateway1", "INVITE"), 0);
        call.comes_to_rest();
        assert_eq!(legs(&mut call), ["caller failed 480", "alice failed 302"]);
    }

    #[test]
    fn r08_a_redirect_to_another_number_of_ours_is_one_through_our_trunk_and_no_endless_loop() {
        let bobs = "[[number]]\ndid = \"+12015550102\"\nring = [\"bob\"]";
        let mut call = number(&format!("ring = [\"alice\"]\n{bobs}")).incoming(DID);
        call.awaits("alice").redirects("alice", "sip:+12015550102@127.0.3.1").awaits("gateway1");
        // Should it come back to the DID in the end, it is refused: the DID is a diverting party (R11).
        let diversion = header(&mut call, "us → gateway1", "INVITE", "Diversion").unwrap_or_default();
        assert!(diversion.contains(DID), "{diversion}");
        call.answers("gateway1").comes_to_rest();
        let back = Manner { oddity: strowger::sim::manner::Oddity::Looped, ..Manner::default() };
        let mut call = number("ring = [\"alice\"]").caller(back).incoming(DID);
        assert_eq!(call.caller_is_told(), Some(482));
        call.comes_to_rest();
    }

    #[test]
    fn r08_redirects_are_followed_five_deep() {
        let mut call = forward().incoming(DID);
        for hop in 1..=6 {
            call.awaits("gateway1");
            call.redirects("gateway1", &format!("sip:+1312555010{hop}@127.0.3.1"));
            call.settle();
        }
        assert_eq!(count(&mut call, "us → gateway1", "INVITE"), 6);
        assert_eq!(call.caller_is_told(), Some(480));
        call.comes_to_rest();
        assert_eq!(call.cdr()["legs"].as_array().map(Vec::len), Some(7));
    }

    #[test]
    fn r08_of_several_contacts_the_best_is_called_first_and_the_next_when_it_fails() {
        let mut call = number("ring = [\"alice\"]").incoming(DID);
        call.awaits("alice").behaves("alice", two_contacts()).redirects("alice", "sip:bob@x");
        let mut call = call.ringing(["carol"]);
        assert_eq!(count(&mut call, "us → bob", "INVITE"), 0);
        call.refuses("carol", 404);
        let mut call = call.ringing(["bob"]);
        call.answers("bob").comes_to_rest();
        let all = ["caller normal 200", "alice failed 302", "carol failed 404", "bob won 200"];
        assert_eq!(legs(&mut call), all);
    }

    #[test]
    fn r08_a_6xx_ends_the_other_contacts_of_that_target() {
        let mut call = number("ring = [\"alice\"]").incoming(DID);
        call.awaits("alice").behaves("alice", two_contacts()).redirects("alice", "sip:bob@x");
        let mut call = call.ringing(["carol"]);
        call.declines("carol");
        assert_eq!(call.caller_is_told(), Some(603));
        call.comes_to_rest();
        assert_eq!(count(&mut call, "us → bob", "INVITE"), 0);
    }

    #[test]
    fn r08_a_486_ends_only_its_own_contact() {
        let mut call = number("ring = [\"alice\"]").incoming(DID);
        call.awaits("alice").behaves("alice", two_contacts()).redirects("alice", "sip:bob@x");
        let mut call = call.ringing(["carol"]);
        call.sends_busy("carol");
        let mut call = call.ringing(["bob"]);
        call.answers("bob").comes_to_rest();
    }

    fn two_contacts() -> Manner {
        Manner::default().dressed(|response| {
            response.set("Contact", "<sip:bob@127.0.2.2>;q=0.2, <sip:carol@127.0.2.3>;q=0.9")
        })
    }

    #[test]
    fn r08_a_redirect_within_a_group_rings_beside_the_others() {
        let mut call = hunt().incoming(DID).ringing(["bob"]);
        call.awaits("alice").redirects("alice", "sip:carol@127.0.2.3");
        let mut call = call.ringing(["carol"]);
        call.answers("carol");
        call.settle();
        assert_eq!(count(&mut call, "us → bob", "CANCEL"), 1);
        call.comes_to_rest();
        acts(&mut call, "caller", &Act::HangsUp);
        assert_eq!(
            legs(&mut call),
            ["caller normal 200", "alice failed 302", "bob elsewhere 487", "carol won 200"]
        );
    }
}
