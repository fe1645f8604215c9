//! R14: limits of trunks, and the gateways of a trunk in turn.

use insta::assert_snapshot;

use super::*;

/// A second call while the first rings; what it is told, and its record.
fn second(call: &mut Call) -> (Message, serde_json::Value) {
    let call_id = call.world.dials(DID, Manner::default());
    call.after(millis(100));
    let told = call
        .world
        .trace
        .crossings
        .iter()
        .rev()
        .find(|crossing| crossing.message.call_id() == call_id && crossing.message.status() >= 200);
    let told = told.map(|crossing| crossing.message.clone());
    let record = call
        .world
        .records
        .iter()
        .find(|record| record["legs"][0]["sip_call_id"] == call_id.as_str())
        .cloned();
    (told.unwrap_or_else(|| Message::request("NOTHING", "sip:x")), record.unwrap_or_default())
}

/// How often an end was rung.
fn rung(call: &Call, name: &str) -> usize {
    call.world.hosts.iter().find(|host| host.name == name).map_or(0, |host| host.parties.len())
}

#[test]
fn r14_a_trunk_above_max_calls_is_503_without_retry_after() {
    let mut call = node("max_calls = 1", "", "", &did_forward()).incoming(DID).ringing(["gateway1"]);
    let (told, record) = second(&mut call);
    assert_eq!(
        (told.status(), told.get("Reason"), told.get("Retry-After")),
        (503, Some("Q.850;cause=34"), None)
    );
    assert_eq!(
        (&record["outcome"], &record["sip_code"], &record["q850"]),
        (&"blocked".into(), &503.into(), &34.into())
    );
    assert_eq!(record["ended_by"], "us");
    call.caller_cancels().after(millis(50));
    let third = call.world.dials(DID, Manner::default());
    call.after(millis(100));
    assert_eq!(call.world.hosts[0].outcome(&third), None, "the place is free again");
    call.comes_to_rest();
}

#[test]
fn r14_limit_code_can_be_486() {
    let mut call =
        node("max_calls = 1\nlimit_code = 486", "", "", &did_forward()).incoming(DID).ringing(["gateway1"]);
    let (told, record) = second(&mut call);
    assert_eq!((told.status(), told.get("Reason")), (486, Some("Q.850;cause=34")));
    assert_eq!((&record["outcome"], &record["sip_code"]), (&"blocked".into(), &486.into()));
    assert_eq!(record["legs"][0]["sip_code"], 486);
    call.comes_to_rest();
}

#[test]
fn r14_an_outbound_trunk_above_max_calls_is_not_called_and_its_limit_code_is_told() {
    for code in [503, 486] {
        let limits = format!("max_calls = 1\nlimit_code = {code}");
        let mut call = node("", &limits, "", &did_forward()).incoming(DID).ringing(["gateway1"]);
        let (told, record) = second(&mut call);
        assert_eq!(
            (told.status(), told.get("Reason"), told.get("Retry-After")),
            (code, Some("Q.850;cause=34"), None)
        );
        assert_eq!(
            (&record["outcome"], &record["sip_code"], &record["q850"]),
            (&"blocked".into(), &code.into(), &34.into())
        );
        assert_eq!((&record["ended_by"], &record["cause"]), (&"us".into(), &"the trunk's limit".into()));
        assert_eq!(record["legs"].as_array().map(Vec::len), Some(1), "nobody was called");
        call.comes_to_rest();
    }
}

#[test]
fn r14_an_outbound_trunk_above_max_calls_leaves_the_others_ringing() {
    let keys = did(&format!("forward_to = \"{FORWARD}\"\nring = [\"alice\"]"));
    let mut call = node("", "max_calls = 1", "max_calls = 2", &keys).incoming(DID);
    call.awaits("gateway1").awaits("alice");
    let (told, _) = second(&mut call);
    assert_eq!((told.method(), rung(&call, "alice"), rung(&call, "gateway1")), ("NOTHING", 2, 1));
    // With alice at her third call one is busy and the other full: of both neither speaks for all.
    let (told, record) = second(&mut call);
    assert_eq!((told.status(), told.get("Reason"), &record["outcome"]), (480, None, &"unreachable".into()));
    call.comes_to_rest();
}

#[test]
fn r14_a_redirect_through_a_trunk_above_max_calls_is_one_to_a_full_trunk() {
    let alices = "[[number]]\ndid = \"+12015550102\"\nring = [\"alice\"]\n";
    let keys = format!("{}{alices}", did_forward());
    let mut call = node("", "max_calls = 1", "", &keys).incoming(DID).ringing(["gateway1"]);
    call.call_id = call.world.dials("+12015550102", Manner::default());
    call.awaits("alice").redirects("alice", "sip:+13125550123@127.0.3.1");
    assert_eq!(call.caller_is_told(), Some(503));
    assert_eq!(end(&mut call), "blocked 503 us");
    assert_eq!(legs(&mut call), ["caller failed 503", "alice failed 302"]);
    call.comes_to_rest();
}

#[test]
fn r14_a_trunk_above_max_cps_is_503_without_retry_after_until_the_next_call_is_due() {
    let mut call = node("max_cps = 2", "", "", &did_forward()).incoming(DID).ringing(["gateway1"]);
    let (told, _) = second(&mut call);
    assert_eq!(told.method(), "NOTHING", "it rings");
    let (told, record) = second(&mut call);
    assert_eq!(
        (told.status(), told.get("Reason"), told.get("Retry-After")),
        (503, Some("Q.850;cause=34"), None)
    );
    assert_eq!((&record["outcome"], &record["ended_by"]), (&"blocked".into(), &"us".into()));
    // Two in any second.
    call.after(seconds(1));
    let (told, _) = second(&mut call);
    assert_eq!(told.method(), "NOTHING", "there is room again");
    call.comes_to_rest();
}

#[test]
fn r14_an_outbound_trunk_above_max_cps_is_not_called_until_the_next_call_is_due() {
    let mut call = node("", "max_cps = 1", "", &did_forward()).incoming(DID).ringing(["gateway1"]);
    let (told, record) = second(&mut call);
    assert_eq!((told.status(), &record["outcome"]), (503, &"blocked".into()));
    call.after(seconds(1));
    let (told, _) = second(&mut call);
    assert_eq!(told.method(), "NOTHING", "it rings");
    call.comes_to_rest();
}

#[test]
fn r14_retry_after_is_for_draining_and_overload_alone() {
    let mut call = forward().incoming(DID).ringing(["gateway1"]);
    call.world.drain();
    let (told, record) = second(&mut call);
    assert_eq!((told.status(), told.get("Reason")), (503, None));
    let wait: u32 = told.get("Retry-After").and_then(|wait| wait.parse().ok()).unwrap_or(0);
    assert!((1..=5).contains(&wait), "{wait}");
    assert!(record.is_null());
    call.answers("gateway1").comes_to_rest();
}

mod failover {
    use super::*;

    #[test]
    fn r14_the_next_gateway_is_tried_after_408_500_502_503_504() {
        for code in [408, 500, 502, 503, 504] {
            let mut call = forward().incoming(DID);
            call.awaits("gateway1").refuses("gateway1", code);
            let mut call = call.ringing(["gateway2"]);
            call.answers("gateway2").hangs_up("gateway2").comes_to_rest();
            let failed = format!("+13125550199 unreachable {code}");
            assert_eq!(legs(&mut call), ["caller normal 200", &failed, "+13125550199 won 200"]);
        }
    }

    #[test]
    fn r14_never_on_other_4xx_or_6xx() {
        for code in [400, 403, 404, 480, 486, 488, 501, 600, 603, 604, 606] {
            let mut call = forward().incoming(DID);
            call.awaits("gateway1").refuses("gateway1", code).after(seconds(5));
            assert_eq!(count(&mut call, "us → gateway2", "INVITE"), 0, "{code}");
            assert!(call.caller_is_told().is_some());
            call.comes_to_rest();
        }
    }

    #[test]
    fn r14_only_before_the_first_18x() {
        let mut call = forward().incoming(DID).ringing(["gateway1"]);
        call.refuses("gateway1", 503);
        assert_eq!(call.caller_is_told(), Some(480));
        assert_eq!(count(&mut call, "us → gateway2", "INVITE"), 0);
        call.comes_to_rest();
    }

    #[test]
    fn r14_no_1xx_within_try_timeout_tries_the_next_and_cancels_the_first() {
        let mut call = forward().incoming(DID);
        call.awaits("gateway1");
        let mut call = call.ringing(["gateway2"]);
        let began = call.times("us → gateway1", "INVITE")[0];
        assert_eq!(call.times("us → gateway2", "INVITE")[0].since(began), seconds(4));
        // Its first word: now the CANCEL may go (RFC 3261 §9.1).
        assert_eq!(count(&mut call, "us → gateway1", "CANCEL"), 0);
        call.answers("gateway1");
        assert_snapshot!(call.ladder(), @"
        caller          us              gateway1        gateway2
          ├─── INVITE ───▶│               │               │
          │◀──── 100 ─────┤               │               │
          │               ├─── INVITE ───▶│               │
          │               ├─── INVITE ───▶│               │
          │               ├─── INVITE ───▶│               │
          │               ├─── INVITE ───▶│               │
          │               ├─────────────────── INVITE ───▶│
          │               │◀──────────────────── 180 ─────┤
          │◀──── 180 ─────┤               │               │
          │               │◀──── 200 ─────┤               │
          │               ├───── ACK ────▶│               │
          │               ├───── BYE ────▶│               │  Q.850;cause=19
          │               │◀─ 200 (BYE) ──┤               │
        ");
        call.answers("gateway2").hangs_up("caller").comes_to_rest();
        assert_eq!(
            legs(&mut call),
            ["caller normal 200", "+13125550199 unreachable -", "+13125550199 won 200"]
        );
    }

    #[test]
    fn r14_try_timeout_is_the_trunks_own() {
        let mut call = node("", "try_timeout = 2", "", &did_forward()).incoming(DID);
        call.awaits("gateway1").awaits("gateway2");
        let began = call.times("us → gateway1", "INVITE")[0];
        assert_eq!(call.times("us → gateway2", "INVITE")[0].since(began), seconds(2));
        call.comes_to_rest();
    }

    #[test]
    fn r14_the_last_gateway_is_waited_for_until_the_ring_timeout() {
        let mut call = forward().incoming(DID);
        call.awaits("gateway1").awaits("gateway2").after(seconds(15));
        assert_eq!(call.caller_is_told(), None);
        call.after(seconds(2));
        assert_eq!(call.caller_is_told(), Some(480));
        assert_eq!(
            call.times("us → caller", "480")[0].since(call.times("us → gateway1", "INVITE")[0]),
            seconds(20)
        );
        call.comes_to_rest();
    }

    #[test]
    fn r14_a_100_keeps_the_gateway() {
        let mut call = forward().incoming(DID);
        call.awaits("gateway1");
        call.behaves("gateway1", invite(|response| response.start = "SIP/2.0 100 Trying".to_owned()));
        call.rings("gateway1").after(seconds(6));
        assert_eq!(count(&mut call, "us → gateway2", "INVITE"), 0);
        call.comes_to_rest();
    }

    #[test]
    fn r14_an_invite_that_goes_again_has_its_time_anew_though_a_100_came_before() {
        let asks = "Digest realm=\"carrier\", nonce=\"n\", qop=\"auth\"";
        for (code, name, value) in [(407, "Proxy-Authenticate", asks), (422, "Min-SE", "3600")] {
            for tries_first in [false, true] {
                let mobile = "auth = { username = \"we\", password = \"pass\" }";
                let mut call = node("", mobile, "", &did_forward()).incoming(DID);
                call.awaits("gateway1");
                if tries_first {
                    call.does("gateway1", Act::Tries).after(seconds(3));
                }
                call.behaves("gateway1", Manner::default().with(name, value)).refuses("gateway1", code);
                // From here on it is silent.
                let mut call = call.ringing(["gateway2"]);
                let again = call.messages("us → gateway1", "INVITE");
                let again =
                    again.iter().position(|sent| sent.get("CSeq").is_some_and(|cseq| cseq.starts_with('2')));
                let again = call.times("us → gateway1", "INVITE")[again.unwrap_or(0)];
                assert_eq!(
                    call.times("us → gateway2", "INVITE")[0].since(again),
                    seconds(4),
                    "{code} {tries_first}"
                );
                call.answers("gateway2").hangs_up("caller").comes_to_rest();
                assert_eq!(
                    legs(&mut call),
                    ["caller normal 200", "+13125550199 unreachable -", "+13125550199 won 200"]
                );
            }
        }
    }

    #[test]
    fn r14_a_transport_error_tries_the_next_at_once() {
        let mut call = forward().incoming(DID);
        if let Some(host) = call.world.hosts.iter_mut().find(|host| host.name == "gateway1") {
            host.habits = vec![strowger::sim::Habit::Unreachable];
        }
        let mut call = call.ringing(["gateway2"]);
        let began = call.times("us → gateway1", "INVITE")[0];
        assert!(call.times("us → gateway2", "INVITE")[0].since(began) < millis(20));
        call.answers("gateway2").comes_to_rest();
        assert_eq!(
            legs(&mut call),
            ["caller normal 200", "+13125550199 unreachable -", "+13125550199 won 200"]
        );
    }

    #[test]
    fn r14_where_no_more_legs_may_be_made_the_gateway_that_was_called_is_the_last() {
        let rest = format!("[limits]\nmax_legs = 1\n\n{}", did_forward());
        let mut call = node("", "", "", &rest).incoming(DID);
        call.awaits("gateway1").after(seconds(6));
        assert_eq!((call.caller_is_told(), count(&mut call, "us → gateway2", "INVITE")), (None, 0));
        call.rings("gateway1").answers("gateway1").hangs_up("caller").comes_to_rest();
        assert_eq!(legs(&mut call), ["caller normal 200", "+13125550199 won 200"]);
    }

    #[test]
    fn r14_all_gateways_failing_is_480() {
        let mut call = forward().incoming(DID);
        call.awaits("gateway1").refuses("gateway1", 503);
        call.awaits("gateway2").refuses("gateway2", 500);
        assert_eq!(call.caller_is_told(), Some(480));
        call.comes_to_rest();
    }

    #[test]
    fn r14_a_gateway_without_an_address_is_passed_over() {
        let rest = "[[trunk]]\nname = \"named\"\nmax_calls = 1\ngateways = [{ uri = \"sip:sbc.invalid\", priority = 1 }, \
                    { uri = \"sip:127.0.3.2\", priority = 2 }]\noptions_interval = 0\n\n"
            .to_owned()
            + &did(&format!("forward_to = \"{FORWARD}\"\ntrunk = \"named\""));
        let mut call = node("", "", "", &rest).incoming(DID).ringing(["gateway2"]);
        call.answers("gateway2").hangs_up("caller").comes_to_rest();
        assert_eq!(
            legs(&mut call),
            ["caller normal 200", "+13125550199 unreachable -", "+13125550199 won 200"],
            "it sent nothing, for it was asked nothing"
        );
    }
}

/// A gateway that has begun to answer and cannot be reached for a while: it was restarted.
mod restarts {
    use strowger::sim::manner::OnCancel;

    use super::*;

    /// Its port is closed when a message of another call comes there, and open again.
    fn is_restarted(call: &mut Call, name: &str) {
        closed(call, name, true);
        let other = call.world.dials(DID, Manner::default());
        let first = std::mem::replace(&mut call.call_id, other);
        if name == "gateway2" {
            call.awaits("gateway1").refuses("gateway1", 503);
        }
        call.after(millis(100));
        assert!(count(call, &format!("us → {name}"), "INVITE") > 0);
        call.call_id = first;
        closed(call, name, false);
    }

    #[test]
    fn r14_who_rings_is_not_given_up_because_another_message_could_not_be_delivered() {
        for helps in [false, true] {
            let mut call = forward().incoming(DID).ringing(["gateway1"]);
            if helps {
                // The last gateway, which has said 100 alone.
                call = forward().incoming(DID);
                call.awaits("gateway1").refuses("gateway1", 503);
                call.awaits("gateway2").does("gateway2", Act::Tries).settle();
            }
            let name = if helps { "gateway2" } else { "gateway1" };
            is_restarted(&mut call, name);
            call.after(seconds(3));
            assert_eq!(
                (call.caller_is_told(), count(&mut call, &format!("us → {name}"), "CANCEL")),
                (None, 0)
            );
            call.answers(name).hangs_up("caller").comes_to_rest();
            assert_eq!(legs(&mut call).last().map(String::as_str), Some("+13125550199 won 200"));
        }
    }

    #[test]
    fn r14_who_rings_and_does_not_come_back_is_waited_for_until_the_ring_timeout() {
        let mut call = forward().incoming(DID).ringing(["gateway1"]);
        closed(&mut call, "gateway1", true);
        second(&mut call);
        call.after(seconds(18));
        assert_eq!(call.caller_is_told(), None);
        call.after(seconds(2));
        assert_eq!(call.caller_is_told(), Some(480));
        call.comes_to_rest();
        assert_eq!(legs(&mut call), ["caller failed 480", "+13125550199 timeout -"]);
    }

    #[test]
    fn r14_who_said_100_alone_and_is_out_of_reach_is_left_cancelled_and_its_late_200_ended() {
        for hears_cancel in [false, true] {
            let mut call = forward().incoming(DID);
            call.awaits("gateway1").does("gateway1", Act::Tries).settle();
            call.behaves("gateway1", Manner { on_cancel: OnCancel::Crosses, ..Manner::default() });
            is_restarted(&mut call, "gateway1");
            let mut call = call.ringing(["gateway2"]);
            let left =
                call.times("us → gateway2", "INVITE")[0].since(call.times("us → gateway1", "INVITE")[0]);
            assert!(left < seconds(1), "{left:?}");
            call.answers("gateway2");
            if hears_cancel {
                // It was closed when the first came: it is said again.
                call.after(seconds(2));
                assert!(count(&mut call, "us → gateway1", "CANCEL") > 1);
            } else {
                call.rings("gateway1").answers("gateway1");
            }
            call.after(millis(100));
            assert_eq!(
                [
                    count(&mut call, "us → gateway1", "ACK"),
                    count(&mut call, "us → gateway1", "BYE"),
                    count(&mut call, "us → gateway2", "BYE")
                ],
                [1, 1, 0],
                "{hears_cancel}"
            );
            call.hangs_up("caller").comes_to_rest();
            assert_eq!(
                legs(&mut call),
                ["caller normal 200", "+13125550199 unreachable -", "+13125550199 won 200"]
            );
        }
    }
}

/// `max_calls` of an outbound trunk: a place belongs to a leg for as long as that lives.
mod places {
    use super::*;

    /// What happens to a call.
    type Deed = fn(&mut Call);

    /// The ways by which a leg follows another on the trunk `mobile`: its keys, and what is done until that
    /// rings.
    const WAYS: [(&str, Deed); 4] = [
        ("", |call| {
            call.awaits("gateway1").refuses("gateway1", 503).awaits("gateway2").rings("gateway2");
        }),
        ("try_timeout = 1", |call| {
            call.awaits("gateway1").awaits("gateway2").rings("gateway2");
        }),
        ("foreign_caller_id = \"retry\"", |call| {
            call.awaits("gateway1").refuses("gateway1", 403).rings("gateway1");
        }),
        ("", |call| {
            call.awaits("gateway1").redirects("gateway1", "sip:+13125550123@127.0.3.2");
            call.awaits("gateway2").rings("gateway2");
        }),
    ];

    fn follows(limit: &str, (keys, way): (&str, Deed)) -> Call {
        let mut call = node("", &format!("{limit}\n{keys}"), "", &did_forward()).incoming(DID);
        way(&mut call);
        assert_eq!(count(&mut call, "us → caller", "180"), 1);
        call
    }

    #[test]
    fn r14_a_leg_that_follows_another_on_the_same_trunk_takes_its_place_over() {
        for way in WAYS {
            let mut call = follows("max_calls = 1", way);
            let (told, _) = second(&mut call);
            assert_eq!(told.status(), 503, "one place, and it is taken");
            call.caller_cancels().after(millis(50));
            let (told, _) = second(&mut call);
            assert_eq!(told.method(), "NOTHING", "it is free again");
            call.comes_to_rest();
        }
    }

    #[test]
    fn r14_a_leg_that_follows_another_is_no_further_call_of_its_second() {
        for way in WAYS {
            follows("max_cps = 1", way).comes_to_rest();
            let mut call = follows("max_cps = 2", way);
            let (told, _) = second(&mut call);
            assert_eq!(told.method(), "NOTHING", "the second of that second");
            call.comes_to_rest();
        }
    }

    #[test]
    fn r14_a_leg_that_has_ended_leaves_its_place_though_the_call_goes_on() {
        let keys = did(&format!("forward_to = \"{FORWARD}\"\noverflow = [{{ ring = [\"alice\"] }}]"));
        let mut call = node("", "max_calls = 1", "", &keys).incoming(DID).ringing(["gateway1"]);
        call.sends_busy("gateway1");
        let mut call = call.ringing(["alice"]);
        call.answers("alice").after(seconds(60));
        let (told, _) = second(&mut call);
        assert_eq!((told.method(), rung(&call, "gateway1")), ("NOTHING", 2));
        let (told, _) = second(&mut call);
        assert_eq!((told.status(), rung(&call, "gateway1")), (480, 2), "full, and alice talks");
        call.hangs_up("caller").comes_to_rest();
        assert_eq!(legs(&mut call), ["caller normal 200", "+13125550199 busy 486", "alice won 200"]);
    }

    /// A call talks at the only place of `spare`, and another, the story's, is at the silent gateway of `mobile`; the
    /// first one's Call-ID.
    fn silent_while_the_next_is_full(limit: &str) -> (Call, String) {
        let text =
            r11_open::two_trunks().replace("ring = [\"alice\"]", &format!("forward_to = \"{FORWARD}\""));
        let text = text.replace("priority = 20\n", &format!("priority = 20\n{limit}\n"));
        let mut call = Setup::new(served(), &text).incoming(DID);
        call.awaits("gateway1").refuses("gateway1", 503);
        let mut call = call.ringing(["gateway2"]);
        call.answers("gateway2");
        let second = call.world.dials(DID, Manner::default());
        let first = std::mem::replace(&mut call.call_id, second);
        call.after(millis(100));
        assert_eq!((rung(&call, "gateway1"), rung(&call, "gateway2")), (2, 1));
        (call, first)
    }

    #[test]
    fn r14_a_silent_gateway_is_not_left_for_a_trunk_that_has_no_place() {
        let (mut call, _) = silent_while_the_next_is_full("max_calls = 1");
        call.after(seconds(9));
        assert_eq!((call.caller_is_told(), rung(&call, "gateway2")), (None, 1));
        assert_eq!(count(&mut call, "us → gateway1", "CANCEL"), 0);
        call.rings("gateway1").answers("gateway1").hangs_up("caller").comes_to_rest();
        assert_eq!(legs(&mut call), ["caller normal 200", "+13125550199 won 200"]);
    }

    #[test]
    fn r14_a_silent_gateway_is_left_as_soon_as_the_next_trunk_is_asked_and_has_a_place() {
        // Of the first call's second no place is left, and four seconds later there is one.
        let (mut call, _) = silent_while_the_next_is_full("max_cps = 1");
        call.after(seconds(5));
        assert_eq!(rung(&call, "gateway2"), 2);
        call.comes_to_rest();
        let (mut call, first) = silent_while_the_next_is_full("max_calls = 1");
        call.after(seconds(5));
        let second = std::mem::replace(&mut call.call_id, first);
        call.hangs_up("gateway2").after(seconds(2));
        call.call_id = second;
        assert_eq!(rung(&call, "gateway2"), 1, "it is asked again after as long once more");
        call.after(seconds(1));
        assert_eq!(rung(&call, "gateway2"), 2);
        call.rings("gateway2").answers("gateway2").hangs_up("caller").comes_to_rest();
        assert_eq!(
            legs(&mut call),
            ["caller normal 200", "+13125550199 unreachable -", "+13125550199 won 200"]
        );
    }

    #[test]
    fn r14_a_silent_gateway_whose_next_trunk_stays_full_is_waited_for_until_the_ring_timeout() {
        let (mut call, _) = silent_while_the_next_is_full("max_calls = 1");
        call.after(seconds(19));
        assert_eq!(call.caller_is_told(), None);
        call.after(seconds(1));
        assert_eq!((call.caller_is_told(), rung(&call, "gateway2")), (Some(480), 1));
        call.comes_to_rest();
        assert_eq!(legs(&mut call), ["caller failed 480", "+13125550199 timeout -"]);
    }

    #[test]
    fn r14_every_end_of_a_leg_leaves_its_place_free_and_once() {
        let ends: [(&str, Deed); 12] = [
            ("refused", |call| {
                call.refuses("gateway1", 500);
            }),
            ("busy", |call| {
                call.sends_busy("gateway1");
            }),
            ("declined, and all of its target", |call| {
                call.declines("gateway1");
            }),
            ("gone before its answer", |call| {
                call.hangs_up("gateway1");
            }),
            ("redirected to a phone", |call| {
                call.redirects("gateway1", "sip:bob@127.0.2.2");
            }),
            ("answered without SDP", |call| {
                call.behaves("gateway1", invite(|response| response.body = Vec::new()));
                call.answers("gateway1");
            }),
            ("cancelled", |call| {
                call.caller_cancels();
            }),
            ("timed out", |call| {
                call.after(seconds(21));
            }),
            ("elsewhere", |call| {
                call.answers("alice");
            }),
            ("hung up by the caller", |call| {
                call.answers("gateway1").hangs_up("caller");
            }),
            ("hung up itself", |call| {
                call.answers("gateway1").hangs_up("gateway1");
            }),
            ("too long", |call| {
                call.answers("gateway1").after(seconds(61));
            }),
        ];
        for (how, ends) in ends {
            let keys = did(&format!("forward_to = \"{FORWARD}\"\nring = [\"alice\"]"));
            let rest = format!("[limits]\nmax_call_seconds = 60\n\n{keys}");
            let setup = node("", "max_calls = 1", "max_calls = 3", &rest);
            let mut call = setup.incoming(DID).ringing(["gateway1", "alice"]);
            second(&mut call);
            assert_eq!(rung(&call, "gateway1"), 1, "{how}: it is taken");
            ends(&mut call);
            call.settle();
            second(&mut call);
            assert_eq!(rung(&call, "gateway1"), 2, "{how}: it is free");
            second(&mut call);
            assert_eq!(rung(&call, "gateway1"), 2, "{how}: it is taken again");
            // Nothing is held in the end, or was given back twice.
            call.comes_to_rest();
        }
    }
}
