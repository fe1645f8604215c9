//! R12: nothing is left behind, and every call writes one record.

use insta::assert_snapshot;
use strowger::engine::exchange::{Effects, Input};
use strowger::sim::manner::{Acks, Oddity, OnCancel};
use strowger::sip::peer::{ListenerId, Peer, Transport};
use strowger::time::{Instant, Now, Wall};

use super::*;

#[test]
fn r12_a_caller_who_never_acknowledges_gets_bye_at_64_t1_and_so_does_the_leg() {
    let manner = Manner { acks: Acks::Never, ..Manner::default() };
    let mut call = forward().caller(manner).incoming(DID).ringing(["gateway1"]);
    call.answers("gateway1").after(seconds(33));
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
      │◀──── 200 ─────┤               │
      │◀──── 200 ─────┤               │
      │◀──── 200 ─────┤               │
      │◀──── 200 ─────┤               │
      │◀──── 200 ─────┤               │
      │◀──── 200 ─────┤               │
      │◀──── 200 ─────┤               │
      │◀──── 200 ─────┤               │
      │◀──── 200 ─────┤               │
      │◀──── 200 ─────┤               │
      │               ├───── BYE ────▶│  Q.850;cause=102
      │◀──── BYE ─────┤               │  Q.850;cause=102
      │               │◀─ 200 (BYE) ──┤
      ├── 200 (BYE) ─▶│               │
    ");
    let answered = call.times("us → caller", "200")[0];
    for way in ["us → caller", "us → gateway1"] {
        assert_eq!(call.times(way, "BYE")[0].since(answered), seconds(32), "{way}");
    }
    call.comes_to_rest();
    assert_eq!(end(&mut call), "answered 200 us");
    assert_eq!(legs(&mut call), ["caller normal 200", "+13125550199 won 200"]);
}

#[test]
fn r12_a_lost_ack_is_made_up_for() {
    let mut call = forward().incoming(DID).ringing(["gateway1"]);
    call.loses_next("us → gateway1").loses_next("caller → us").answers("gateway1").after(seconds(2));
    assert_eq!(count(&mut call, "gateway1 → us", "200"), 2);
    assert_eq!(count(&mut call, "us → gateway1", "ACK"), 2, "the same ACK again");
    assert_eq!(count(&mut call, "us → caller", "200"), 2);
    let acks = call.messages("us → gateway1", "ACK");
    assert_eq!(acks[0], acks[1]);
    call.hangs_up("caller").comes_to_rest();
    assert_eq!(end(&mut call), "answered 200 caller");
}

#[test]
fn r12_a_lost_bye_is_repeated() {
    let mut call = bridged();
    call.loses_next("caller → us").hangs_up("caller").loses_next("us → gateway1").after(seconds(3));
    assert_eq!(count(&mut call, "us → gateway1", "BYE"), 2);
    call.comes_to_rest();
    assert_eq!(end(&mut call), "answered 200 caller");
}

#[test]
fn r12_a_far_side_that_is_dead_when_we_hang_up_leaves_nothing_behind() {
    let mut call = bridged();
    call.does("gateway1", Act::Dies).hangs_up("caller").after(seconds(40));
    assert_eq!(count(&mut call, "us → gateway1", "BYE"), 11, "until timer F");
    assert_eq!(count(&mut call, "us → caller", "200 (BYE)"), 1);
    call.comes_to_rest();
}

#[test]
fn r12_a_call_ends_after_max_call_seconds() {
    let setup = node("", "", "", &format!("[limits]\nmax_call_seconds = 600\n\n{}", did_forward()));
    let mut call = setup.incoming(DID).ringing(["gateway1"]);
    call.answers("gateway1").after(seconds(601));
    let answered = call.times("us → caller", "200")[0];
    for way in ["us → caller", "us → gateway1"] {
        let byes = call.messages(way, "BYE");
        assert_eq!(byes[0].get("Reason"), Some("Q.850;cause=102"), "{way}");
        assert_eq!(call.times(way, "BYE")[0].since(answered), seconds(600), "{way}");
    }
    call.comes_to_rest();
    assert_eq!(end(&mut call), "answered 200 us");
    assert_eq!(call.cdr()["talk_ms"], 600_000);
}

mod peers_without_session_timers {
    use super::*;

    #[test]
    fn r12_they_get_an_options_every_five_minutes() {
        let mut call = bridged();
        call.after(seconds(910));
        for way in ["us → caller", "us → gateway1"] {
            let asked = call.times(way, "OPTIONS");
            assert_eq!(asked.len(), 3, "{way}");
            assert!(asked.windows(2).all(|two| two[1].since(two[0]).as_secs() == 300), "{way}");
        }
        call.comes_to_rest();
    }

    #[test]
    fn r12_a_481_to_it_ends_the_call() {
        let mut call = bridged();
        // The phone forgot its call: it answers 481 to everything.
        let host = call.world.hosts.iter_mut().find(|host| host.name == "gateway1");
        if let Some(host) = host {
            host.parties.clear();
        }
        call.after(seconds(301));
        assert_eq!(count(&mut call, "gateway1 → us", "481 (OPTIONS)"), 1);
        assert_eq!(count(&mut call, "us → caller", "BYE"), 1);
        call.comes_to_rest();
        assert_eq!(end(&mut call), "answered 200 us");
    }

    #[test]
    fn r12_no_answer_at_all_ends_the_call() {
        let mut call = bridged();
        call.does("gateway1", Act::Dies).after(seconds(335));
        assert_eq!(count(&mut call, "us → caller", "BYE"), 1);
        call.comes_to_rest();
        assert_eq!(end(&mut call), "answered 200 us");
    }
}

mod session_timers {
    use super::*;

    fn timed() -> Call {
        let manner = Manner { session: Some(120), ..Manner::default() };
        let mut call = forward().caller(manner).incoming(DID).ringing(["gateway1"]);
        call.answers("gateway1");
        call.settle();
        call
    }

    #[test]
    fn r12_we_refresh_at_half_the_interval() {
        let mut call = timed();
        assert_eq!(
            header(&mut call, "us → caller", "200", "Session-Expires").as_deref(),
            Some("120;refresher=uas")
        );
        let answered = call.times("us → caller", "200")[0];
        call.after(seconds(250));
        let refreshed = call.times("us → caller", "UPDATE");
        let since: Vec<u64> = refreshed.iter().map(|at| at.since(answered).as_secs()).collect();
        assert_eq!(since, [60, 120, 180, 240]);
        assert_eq!(count(&mut call, "us → caller", "OPTIONS"), 0);
        assert_eq!(count(&mut call, "us → caller", "BYE"), 0);
        call.comes_to_rest();
    }

    #[test]
    fn r12_a_refresh_that_nobody_answers_ends_the_call() {
        let mut call = timed();
        call.does("caller", Act::Dies).after(seconds(93));
        assert_eq!(count(&mut call, "us → gateway1", "BYE"), 1);
        call.comes_to_rest();
        assert_eq!(end(&mut call), "answered 200 us");
    }

    #[test]
    fn r12_a_far_side_that_ought_to_refresh_and_does_not_ends_the_call() {
        let manner = Manner { session: Some(120), ..Manner::default() };
        let manner = manner.dressed(|invite| invite.set("Session-Expires", "120;refresher=uac"));
        let mut call = forward().caller(manner).incoming(DID).ringing(["gateway1"]);
        call.answers("gateway1");
        call.settle();
        let told = header(&mut call, "us → caller", "200", "Session-Expires");
        assert_eq!(told.as_deref(), Some("120;refresher=uac"));
        assert_eq!(header(&mut call, "us → caller", "200", "Require").as_deref(), Some("timer"));
        let answered = call.times("us → caller", "200")[0];
        call.does("caller", Act::Dies).after(seconds(91));
        // RFC 4028 §10: a third of the interval, at most 32 s, before it ends.
        assert_eq!(call.times("us → gateway1", "BYE")[0].since(answered).as_secs(), 88);
        call.comes_to_rest();
        assert_eq!(end(&mut call), "answered 200 us");
    }

    /// A caller with a session of 120 s, answered, which says this to whatever would refresh it; 100 and nothing more.
    fn stalling(code: u16, dress: fn(&mut Message)) -> Call {
        let manner = Manner { session: Some(120), stalls: Some(code), ..Manner::default() };
        let mut call = forward().caller(manner.dressed(dress)).incoming(DID).ringing(["gateway1"]);
        call.answers("gateway1").after(millis(50));
        call
    }

    /// When the call ended, in seconds from our 200 to the caller; both sides hear BYE.
    fn ended(call: &mut Call) -> u64 {
        let answered = call.times("us → caller", "200")[0];
        assert_eq!(count(call, "us → gateway1", "BYE"), 1);
        let at = call.times("us → caller", "BYE")[0].since(answered).as_secs();
        call.comes_to_rest();
        assert_eq!(
            (end(call).as_str(), &call.cdr()["cause"]),
            ("answered 200 us", &"a side no longer answered".into())
        );
        at
    }

    #[test]
    fn r12_a_refresh_that_gets_only_a_100_ends_the_call_when_the_session_expires() {
        let mut call = stalling(100, |invite| invite.set("Allow", "INVITE, ACK, BYE, CANCEL"));
        call.after(seconds(70));
        // RFC 3261 §14.1: nothing else may be offered there meanwhile.
        call.does("gateway1", Act::Holds).after(seconds(60));
        assert!(count(&mut call, "us → gateway1", "491") > 0);
        assert_eq!(call.messages("us → caller", "INVITE").len(), 1, "no second one while that is open");
        assert_eq!(ended(&mut call), 120);
    }

    #[test]
    fn r12_an_offer_that_gets_only_a_100_ends_the_call_when_the_session_expires() {
        let mut call = stalling(100, |_| ());
        call.does("gateway1", Act::Holds).after(seconds(130));
        let ladder = call.world.ladder_of(&call.call_id, true);
        assert!(ladder.matches("Session").count() <= 2, "put off without a word: {ladder}");
        assert_eq!(ended(&mut call), 120);
    }

    #[test]
    fn r12_where_they_refresh_an_open_offer_does_not_keep_the_session_alive() {
        let mut call = stalling(100, |invite| invite.set("Session-Expires", "120;refresher=uac"));
        // What it asks itself is no refresh before our 2xx.
        call.behaves("gateway1", Manner { stalls: Some(100), ..Manner::default() });
        call.after(seconds(50)).asks("caller", "INVITE", |invite| {
            invite.with("Session-Expires", "120;refresher=uac").with_sdp(Some(b"v=0\r\n"))
        });
        call.after(seconds(45));
        assert_eq!(ended(&mut call), 88);
    }

    #[test]
    fn r12_a_refresh_that_is_refused_again_and_again_ends_the_call_when_the_session_expires() {
        for code in [488, 491, 500, 422] {
            let mut call = stalling(code, |_| ());
            call.after(seconds(125));
            let tries = count(&mut call, "us → caller", "UPDATE");
            assert!((2..=12).contains(&tries), "{code}: {tries}");
            assert_eq!(ended(&mut call), 120, "{code}");
        }
    }

    #[test]
    fn r12_a_legs_session_is_refreshed_as_well() {
        let mut call = forward().incoming(DID).ringing(["gateway1"]);
        let timed = Manner { session: Some(1800), ..Manner::default() };
        call.behaves(
            "gateway1",
            timed.dressed(|response| {
                if response.status() == 200 {
                    response.set("Session-Expires", "90;refresher=uac");
                }
            }),
        );
        call.answers("gateway1").after(seconds(100));
        assert_eq!(count(&mut call, "us → gateway1", "UPDATE"), 2);
        call.comes_to_rest();
    }

    #[test]
    fn r12_an_interval_below_90_seconds_is_422_with_min_se() {
        let manner = Manner { session: Some(30), ..Manner::default() };
        let mut call = forward().caller(manner).incoming(DID).ringing(["gateway1"]);
        assert_eq!(header(&mut call, "us → caller", "422", "Min-SE").as_deref(), Some("90"));
        call.comes_to_rest();
    }

    #[test]
    fn r12_a_leg_that_wants_a_longer_interval_gets_it() {
        let mut call = forward().incoming(DID);
        call.awaits("gateway1");
        call.behaves(
            "gateway1",
            invite(|response| {
                if response.status() == 422 {
                    response.set("Min-SE", "3600");
                }
            }),
        );
        call.refuses("gateway1", 422);
        call.settle();
        let invites = call.messages("us → gateway1", "INVITE");
        let asked: Vec<_> =
            invites.iter().map(|one| (one.cseq().0, one.get("Session-Expires"), one.get("Min-SE"))).collect();
        assert_eq!(asked, [(1, Some("1800"), Some("90")), (2, Some("3600"), Some("3600"))]);
        assert_eq!(invites[0].call_id(), invites[1].call_id());
        call.comes_to_rest();
    }
}

mod one_record {
    use super::*;

    /// One call ends one way; its record says so, once.
    #[track_caller]
    fn record_of(setup: Setup, story: impl FnOnce(&mut Call), expected: &str, expected_legs: &[&str]) {
        let mut call = setup.incoming(DID);
        call.settle();
        story(&mut call);
        call.after(millis(50));
        let cdr = call.cdr();
        assert_eq!(end(&mut call), expected, "{cdr:#}");
        assert_eq!(legs(&mut call), expected_legs, "{cdr:#}");
        call.comes_to_rest();
        assert_eq!(call.world.records.len(), 1);
    }

    fn rung(call: &mut Call, who: &str) {
        call.awaits(who).rings(who);
        call.settle();
    }

    #[test]
    fn r12_the_caller_hangs_up() {
        let story = |call: &mut Call| {
            rung(call, "gateway1");
            call.answers("gateway1").after(seconds(3)).hangs_up("caller");
        };
        record_of(forward(), story, "answered 200 caller", &["caller normal 200", "+13125550199 won 200"]);
    }

    #[test]
    fn r12_the_called_side_hangs_up() {
        let story = |call: &mut Call| {
            rung(call, "gateway1");
            call.answers("gateway1").after(seconds(3)).hangs_up("gateway1");
        };
        record_of(forward(), story, "answered 200 callee", &["caller normal 200", "+13125550199 won 200"]);
    }

    #[test]
    fn r12_the_caller_cancels() {
        let story = |call: &mut Call| {
            rung(call, "gateway1");
            call.caller_cancels();
        };
        record_of(
            forward(),
            story,
            "cancelled 487 caller",
            &["caller cancelled 487", "+13125550199 cancelled -"],
        );
    }

    #[test]
    fn r12_busy() {
        let story = |call: &mut Call| {
            call.awaits("gateway1").sends_busy("gateway1");
        };
        record_of(forward(), story, "busy 486 callee", &["caller failed 486", "+13125550199 busy 486"]);
    }

    #[test]
    fn r12_declined() {
        let story = |call: &mut Call| {
            rung(call, "gateway1");
            call.declines("gateway1");
        };
        record_of(
            forward(),
            story,
            "declined 603 callee",
            &["caller failed 603", "+13125550199 declined 603"],
        );
    }

    #[test]
    fn r12_no_answer() {
        let story = |call: &mut Call| {
            rung(call, "gateway1");
            call.after(seconds(21));
        };
        record_of(forward(), story, "no_answer 480 us", &["caller failed 480", "+13125550199 timeout -"]);
    }

    #[test]
    fn r12_unreachable() {
        let story = |call: &mut Call| {
            call.awaits("gateway1").refuses("gateway1", 503);
            call.awaits("gateway2").refuses("gateway2", 503);
        };
        let all = ["caller failed 480", "+13125550199 unreachable 503", "+13125550199 unreachable 503"];
        record_of(forward(), story, "unreachable 480 us", &all);
    }

    #[test]
    fn r12_unknown_number_404() {
        let setup = forward().caller(Manner { oddity: Oddity::WrongNumber, ..Manner::default() });
        record_of(setup, |_| (), "failed 404 us", &["caller failed 404"]);
    }

    #[test]
    fn r12_max_forwards_0_is_483() {
        let setup = forward().caller(Manner { oddity: Oddity::NoHops, ..Manner::default() });
        record_of(setup, |_| (), "failed 483 us", &["caller failed 483"]);
    }

    #[test]
    fn r12_a_loop_is_482() {
        let setup = forward().caller(Manner { oddity: Oddity::Looped, ..Manner::default() });
        record_of(setup, |_| (), "failed 482 us", &["caller failed 482"]);
    }

    #[test]
    fn r12_an_unheard_of_requirement_is_420() {
        let setup = forward().caller(Manner { oddity: Oddity::Demanding, ..Manner::default() });
        record_of(setup, |_| (), "failed 420 us", &["caller failed 420"]);
    }

    #[test]
    fn r12_an_operator_hangs_up() {
        let story = |call: &mut Call| {
            rung(call, "gateway1");
            call.answers("gateway1");
            call.settle();
            let id = live_id(call);
            call.world.operator_hangs_up(&id);
            call.settle();
            for way in ["us → caller", "us → gateway1"] {
                assert_eq!(header(call, way, "BYE", "Reason").as_deref(), Some("Q.850;cause=16"), "{way}");
            }
        };
        record_of(forward(), story, "answered 200 us", &["caller normal 200", "+13125550199 won 200"]);
    }

    /// The id of the one call that is live.
    fn live_id(call: &Call) -> String {
        call.world.live_calls().remove(0)
    }

    #[test]
    fn r12_a_malformed_or_merged_request_and_a_stranger_write_none() {
        for (oddity, records) in [(Oddity::Malformed, 0), (Oddity::Stranger, 0), (Oddity::Merged, 1)] {
            let mut call = forward().caller(Manner { oddity, ..Manner::default() }).incoming(DID);
            call.after(seconds(1)).comes_to_rest();
            assert_eq!(call.world.records.len(), records, "{oddity:?}");
        }
    }

    #[test]
    fn r12_a_503_for_overload_or_draining_writes_none() {
        let mut call = bridged();
        call.world.drain();
        let second = call.world.dials(DID, Manner::default());
        call.after(millis(100));
        assert_eq!(call.world.hosts[0].outcome(&second), Some(503));
        call.hangs_up("caller").comes_to_rest();
        assert_eq!(call.world.records.len(), 1, "the call in progress went on to its own end");
    }

    #[test]
    fn r12_an_invite_that_lay_too_long_in_our_queues_is_503_and_writes_none() {
        let mut call = forward().incoming(DID);
        call.settle();
        let invite = call.messages("caller → us", "INVITE").remove(0).bytes();
        let peer = Peer::at(layout::CARRIER, Transport::Udp, ListenerId(0));
        for (age, told) in [(millis(2_001), 503), (millis(1_999), 404)] {
            let mut core =
                served().cores(1, 7, "[[trunk]]\nname = \"carrier\"\nfrom = [\"127.0.1.1\"]\n").remove(0);
            let mut effects = Effects::default();
            let now = Now { mono: Instant::from_micros(1), wall: Wall(1) };
            core.handle(now, Input::Received { from: peer, bytes: &invite, age }, &mut effects);
            let sent: Vec<Message> =
                effects.out.messages().filter_map(|(_, bytes)| Message::parse(bytes).ok()).collect();
            assert_eq!(sent.last().map(Message::status), Some(told));
            assert_eq!(core.records(&mut effects).len(), usize::from(told == 404));
        }
        call.comes_to_rest();
    }

    #[test]
    fn r12_the_record_of_a_call_tells_its_times() {
        let mut call = forward().incoming(DID).ringing(["gateway1"]);
        call.after(seconds(7)).answers("gateway1").after(seconds(60)).hangs_up("caller").comes_to_rest();
        let cdr = call.cdr();
        assert_eq!(
            (cdr["ring_ms"].as_u64().map(|ms| ms / 1000), cdr["talk_ms"].as_u64().map(|ms| ms / 1000)),
            (Some(7), Some(60))
        );
        for key in ["started", "ringing", "answered", "ended"] {
            assert!(
                cdr[key].as_str().is_some_and(|at| at.ends_with('Z') && at.len() == 24),
                "{key}: {}",
                cdr[key]
            );
        }
        assert_eq!(
            (&cdr["did"], &cdr["dialled"], &cdr["caller"]),
            (&DID.into(), &DID.into(), &CALLER.into())
        );
        assert_eq!((&cdr["trunk"], &cdr["direction"]), (&"carrier".into(), &"inbound".into()));
        let legs = [&cdr["legs"][0], &cdr["legs"][1]];
        assert_eq!((&legs[0]["role"], &legs[1]["role"]), (&"caller".into(), &"forward".into()));
        assert_eq!(legs[0]["sip_call_id"], call.call_id.as_str());
        assert_eq!(legs[1]["sip_call_id"], call.messages("us → gateway1", "INVITE")[0].call_id());
        assert_eq!((&legs[1]["trunk"], &legs[1]["target"]), (&"mobile".into(), &FORWARD.into()));
    }

    #[test]
    fn r12_a_2xx_that_crosses_the_callers_cancel_leaves_nothing() {
        let story = |call: &mut Call| {
            rung(call, "gateway1");
            call.behaves("gateway1", Manner { on_cancel: OnCancel::Crosses, ..Manner::default() });
            call.caller_cancels();
        };
        record_of(
            forward(),
            story,
            "cancelled 487 caller",
            &["caller cancelled 487", "+13125550199 cancelled -"],
        );
    }
}

mod the_records_cause {
    use super::*;

    /// How the call ended: `outcome: cause`.
    fn why(mut call: Call) -> String {
        call.comes_to_rest();
        let cdr = call.cdr();
        format!("{}: {}", cdr["outcome"].as_str().unwrap_or("-"), cdr["cause"].as_str().unwrap_or("-"))
    }

    fn odd(oddity: Oddity) -> Call {
        hunt().caller(Manner { oddity, ..Manner::default() }).incoming(DID)
    }

    fn then(mut call: Call, what: impl FnOnce(&mut Call)) -> Call {
        what(&mut call);
        call
    }

    fn rings() -> Call {
        hunt().incoming(DID).ringing(["alice", "bob"])
    }

    #[test]
    fn r12_it_says_in_words_why_a_call_was_not_answered() {
        let nobody = || number("ring = [\"alice\"]").incoming(DID);
        let dnd = || node("", "", "dnd = true", &did("ring = [\"alice\"]")).incoming(DID);
        let limited = || node("max_calls = 1", "", "", &did_forward()).incoming(DID).ringing(["gateway1"]);
        let cases: [(Call, &str); 13] = [
            (then(rings(), |call| _ = call.sends_busy("alice").sends_busy("bob")), "busy: busy"),
            (dnd(), "busy: busy"),
            (then(rings(), |call| _ = call.declines("alice").declines("bob")), "declined: declined"),
            (then(rings(), |call| _ = call.after(seconds(60))), "no_answer: ring timeout"),
            (
                then(rings(), |call| _ = call.sends_busy("alice").refuses("bob", 480)),
                "no_answer: nobody answered",
            ),
            (then(nobody(), |call| _ = call.refuses("alice", 404)), "unreachable: nobody was reached"),
            (then(rings(), |call| _ = call.caller_cancels()), "cancelled: cancelled"),
            (odd(Oddity::WrongNumber), "failed: unknown number"),
            (odd(Oddity::NoHops), "failed: too many hops"),
            (odd(Oddity::Looped), "failed: loop"),
            (odd(Oddity::Demanding), "failed: extension not supported"),
            (
                then(limited(), |call| {
                    call.call_id = call.world.dials(DID, Manner::default());
                    call.after(millis(100));
                }),
                "blocked: the trunk's limit",
            ),
            (
                node("", "prefixes = [\"+44\"]", "", &did_forward()).incoming(DID),
                "unreachable: nobody to ring",
            ),
        ];
        for (call, expected) in cases {
            assert_eq!(why(call), expected);
        }
    }

    #[test]
    fn r12_it_says_in_words_how_an_answered_call_ended() {
        type Ends = fn(&mut Call);
        let cases: [(Ends, &str); 4] = [
            (|call| _ = call.hangs_up("caller"), "answered: hang-up"),
            (|call| _ = call.hangs_up("gateway1"), "answered: hang-up"),
            (|call| _ = call.after(seconds(14_401)), "answered: max_call_seconds"),
            (
                |call| _ = call.does("gateway1", Act::Dies).after(seconds(335)),
                "answered: a side no longer answered",
            ),
        ];
        for (ends, expected) in cases {
            assert_eq!(why(then(bridged(), ends)), expected);
        }
    }

    #[test]
    fn r12_no_refusal_of_ours_is_recorded_by_its_metrics_label() {
        use strowger::call::refusal::Refusal;
        for refusal in Refusal::ALL {
            let is_a_key = *refusal == Refusal::TooManyRinging;
            assert!(is_a_key || !refusal.cause().contains('_'), "{refusal:?}: {}", refusal.cause());
        }
    }
}

#[test]
fn r12_a_leg_that_has_ended_counts_no_more_though_its_call_goes_on() {
    let keys = "ring = [\"alice\", \"bob\", \"carol\", \"dave\", \"erin\"]";
    let mut call = number(keys).incoming(DID).ringing(["alice", "bob", "carol", "dave", "erin"]);
    assert_eq!(call.world.census().legs, 6);
    call.sends_busy("bob").settle();
    assert_eq!(call.world.census().legs, 5);
    call.answers("alice").settle();
    assert_eq!(call.world.census().legs, 2, "who talks");
    call.hangs_up("alice").settle();
    assert_eq!(call.world.census().legs, 0, "whatever transactions still wait for");
    call.comes_to_rest();
}
