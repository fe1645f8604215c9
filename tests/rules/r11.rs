//! R11: within a call, and loops.

use insta::assert_snapshot;
use strowger::engine::exchange::{Effects, Input};
use strowger::sim::manner::{Acks, Oddity, Offer, Reliably};
use strowger::sip::peer::{FlowId, ListenerId, Peer, Transport};
use strowger::time::{Instant, Now, Wall};

use super::*;

#[test]
fn r11_a_reinvite_travels_and_its_direction_as_it_was_sent() {
    let mut call = bridged();
    call.does("caller", Act::Holds).after(millis(50)).does("caller", Act::Resumes).after(millis(50));
    call.does("gateway1", Act::Holds).after(millis(50));
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
      ├─── INVITE ───▶│               │
      │◀──── 100 ─────┤               │
      │               ├─── INVITE ───▶│
      │               │◀──── 200 ─────┤
      │◀──── 200 ─────┤               │
      │               ├───── ACK ────▶│
      ├───── ACK ────▶│               │
      ├─── INVITE ───▶│               │
      │◀──── 100 ─────┤               │
      │               ├─── INVITE ───▶│
      │               │◀──── 200 ─────┤
      │◀──── 200 ─────┤               │
      │               ├───── ACK ────▶│
      ├───── ACK ────▶│               │
      │               │◀── INVITE ────┤
      │               ├───── 100 ────▶│
      │◀── INVITE ────┤               │
      ├───── 200 ────▶│               │
      │               ├───── 200 ────▶│
      │◀──── ACK ─────┤               │
      │               │◀──── ACK ─────┤
    ");
    for (from, to, nth, direction) in [
        ("caller → us", "us → gateway1", 1, "a=sendonly"),
        ("caller → us", "us → gateway1", 2, "a=sendrecv"),
        ("gateway1 → us", "us → caller", 0, "a=sendonly"),
    ] {
        let (asked, passed) =
            (call.messages(from, "INVITE").remove(nth), call.messages(to, "INVITE").remove(nth));
        assert!(body(&asked).contains(direction), "{from}");
        assert_eq!(asked.body, passed.body, "{from}");
    }
    call.hangs_up("caller").comes_to_rest();
}

#[test]
fn r11_a_reinvite_without_sdp_travels_without_and_its_answer_goes_in_the_ack() {
    let mut call = bridged();
    call.does("caller", Act::AsksForOffer).after(millis(50));
    assert!(call.messages("us → gateway1", "INVITE")[1].body.is_empty());
    let offer = call.messages("gateway1 → us", "200").remove(1);
    assert_eq!(call.messages("us → caller", "200")[1].body, offer.body);
    let answer = call.messages("caller → us", "ACK").remove(1);
    assert!(!answer.body.is_empty());
    assert_eq!(call.messages("us → gateway1", "ACK")[1].body, answer.body);
    call.hangs_up("caller").comes_to_rest();
}

#[test]
fn r11_an_offer_whose_answer_never_comes_is_refused_and_both_hear_bye() {
    let mut call = bridged();
    // The caller vanishes before it has our 200 with the offer.
    call.does("caller", Act::AsksForOffer).while_in_flight(|call| {
        call.world.run(millis(6));
        call.does("caller", Act::Dies);
    });
    // The far end's own patience ends as ours does; its BYE comes later.
    call.after(millis(31_900)).delays_next("gateway1 → us", seconds(1)).after(seconds(5));
    let ack = call.messages("us → gateway1", "ACK").remove(1);
    assert!(body(&ack).contains("m=audio 0 "), "{}", body(&ack));
    assert_eq!(count(&mut call, "us → gateway1", "BYE"), 1);
    call.comes_to_rest();
    assert_eq!(end(&mut call), "answered 200 us");
}

#[test]
fn r11_an_ack_without_the_answer_refuses_every_stream_and_ends_the_call() {
    let manner = Manner { acks: Acks::WithoutAnswer, ..Manner::default() };
    let mut call = forward().caller(manner).incoming(DID).ringing(["gateway1"]);
    call.answers("gateway1").after(millis(50)).does("caller", Act::AsksForOffer).settle();
    let ack = call.messages("us → gateway1", "ACK").remove(1);
    assert!(body(&ack).contains("m=audio 0 "), "{}", body(&ack));
    for way in ["us → caller", "us → gateway1"] {
        assert_eq!(count(&mut call, way, "BYE"), 1, "{way}");
    }
    call.comes_to_rest();
    assert_eq!(end(&mut call), "answered 200 us");
    assert_eq!(call.cdr()["cause"], "the ACK held no answer to the offer");
}

#[test]
fn r11_a_refresh_is_answered_by_us_and_does_not_travel() {
    let mut call = bridged();
    for name in ["caller", "gateway1"] {
        call.does(name, Act::Refreshes).after(millis(50)).does(name, Act::Updates).after(millis(50));
    }
    assert_eq!(count(&mut call, "us → gateway1", "INVITE"), 1);
    assert_eq!(count(&mut call, "us → caller", "INVITE"), 0);
    assert_eq!(count(&mut call, "us → gateway1", "UPDATE") + count(&mut call, "us → caller", "UPDATE"), 0);
    assert_eq!(call.messages("us → caller", "200")[1].body, call.messages("gateway1 → us", "200")[0].body);
    assert_eq!(call.messages("us → gateway1", "200")[0].body, call.messages("caller → us", "INVITE")[0].body);
    assert_eq!(count(&mut call, "us → caller", "200 (UPDATE)"), 1);
    call.hangs_up("caller").comes_to_rest();
}

#[test]
fn r11_update_and_info_travel_both_ways() {
    let mut call = bridged();
    for (name, other) in [("caller", "gateway1"), ("gateway1", "caller")] {
        call.does(name, Act::UpdatesMedia).after(millis(50)).does(name, Act::Informs).after(millis(50));
        for method in ["UPDATE", "INFO"] {
            let asked = call.messages(&format!("{name} → us"), method).remove(0);
            let passed = call.messages(&format!("us → {other}"), method).remove(0);
            assert_eq!(asked.body, passed.body, "{method}");
            assert_eq!(asked.get("Content-Type"), passed.get("Content-Type"), "{method}");
            assert_eq!(count(&mut call, &format!("us → {name}"), &format!("200 ({method})")), 1);
        }
    }
    call.hangs_up("caller").comes_to_rest();
}

#[test]
fn r11_max_forwards_falls_by_one_within_a_call_too() {
    let mut call = bridged();
    call.asks("caller", "INFO", |mut info| {
        info.set("Max-Forwards", "10");
        info
    });
    call.settle();
    assert_eq!(header(&mut call, "us → gateway1", "INFO", "Max-Forwards").as_deref(), Some("9"));
    call.asks("caller", "INFO", |mut info| {
        info.set("Max-Forwards", "0");
        info
    });
    call.settle();
    assert_eq!(count(&mut call, "us → caller", "483 (INFO)"), 1);
    assert_eq!(count(&mut call, "us → gateway1", "INFO"), 1);
    call.hangs_up("caller").comes_to_rest();
}

#[test]
fn r11_a_refusal_of_a_reinvite_travels_back_and_the_call_goes_on() {
    let mut call = bridged();
    call.asks("caller", "INVITE", |invite| invite.with_sdp(Some(b"v=0\r\n")).with("Require", "x-unheard-of"));
    call.settle();
    assert_eq!(count(&mut call, "us → caller", "420"), 1);
    assert_eq!(count(&mut call, "us → gateway1", "INVITE"), 1);
    call.does("caller", Act::Informs).after(millis(50));
    assert_eq!(count(&mut call, "us → gateway1", "INFO"), 1);
    call.hangs_up("caller").comes_to_rest();
}

#[test]
fn r11_glare_is_491_on_both_sides_and_the_retry_goes_through() {
    let mut call = bridged();
    call.does("caller", Act::Holds).while_in_flight(|call| {
        call.does("gateway1", Act::Holds);
    });
    call.after(millis(100));
    assert_eq!(count(&mut call, "us → gateway1", "491"), 1, "ours to them was open");
    assert_eq!(count(&mut call, "gateway1 → us", "491"), 1, "theirs to us was open");
    assert_eq!(count(&mut call, "us → caller", "491"), 1);
    // RFC 3261 §14.1: both try again, each after a time of its own.
    call.after(seconds(5));
    let retried = count(&mut call, "us → gateway1", "INVITE") + count(&mut call, "us → caller", "INVITE");
    assert!(retried >= 3, "{}", call.world.ladder_of(&call.call_id, true));
    call.hangs_up("caller").comes_to_rest();
}

#[test]
fn r11_our_own_refresh_that_meets_491_is_tried_again() {
    let manner = Manner { session: Some(120), ..Manner::default() };
    let mut call = forward().caller(manner).incoming(DID).ringing(["gateway1"]);
    call.answers("gateway1").after(millis(59_990));
    call.does("caller", Act::Holds).after(seconds(20));
    assert_eq!(count(&mut call, "us → caller", "BYE"), 0);
    call.after(seconds(200));
    assert_eq!(count(&mut call, "us → caller", "BYE"), 0);
    call.hangs_up("caller").comes_to_rest();
}

/// RFC 3261 §12.2.1.2.
#[test]
fn r11_a_481_or_408_to_what_is_passed_on_ends_the_call() {
    for (act, told) in [(Act::Informs, "(INFO)"), (Act::UpdatesMedia, "(UPDATE)"), (Act::Holds, "")] {
        for code in [481, 408] {
            let mut call = bridged();
            call.behaves("gateway1", Manner { stalls: Some(code), ..Manner::default() });
            call.does("caller", act.clone()).after(millis(50));
            // RFC 4320 §4.2: no 408 is sent but to an INVITE.
            let code = if told.is_empty() { code } else { 481 };
            let label = format!("{code} {told}");
            assert_eq!(count(&mut call, "us → caller", label.trim()), 1, "{label}");
            for way in ["us → caller", "us → gateway1"] {
                assert_eq!(count(&mut call, way, "BYE"), 1, "{label} {way}");
            }
            call.comes_to_rest();
            assert_eq!(end(&mut call), "answered 200 us");
            assert_eq!(call.cdr()["cause"], "a side no longer answered");
        }
    }
}

#[test]
fn r11_refer_is_403_before_anything_else_is_looked_at() {
    let mut call = bridged();
    call.asks("caller", "REFER", |refer| refer);
    call.asks("gateway1", "REFER", |refer| refer.with("Refer-To", "<sip:+13125550123@x>"));
    call.settle();
    assert_eq!(count(&mut call, "us → caller", "403 (REFER)"), 1);
    assert_eq!(count(&mut call, "us → gateway1", "403 (REFER)"), 1);
    assert_eq!(count(&mut call, "us → gateway1", "REFER") + count(&mut call, "us → caller", "REFER"), 0);
    call.hangs_up("caller").comes_to_rest();
}

#[test]
fn r11_in_an_early_dialog_a_second_offer_of_the_caller_is_too_early() {
    let manner = Manner { reliably: Reliably::Supported, ..Manner::default() };
    let mut call = forward().caller(manner).incoming(DID).ringing(["gateway1"]);
    call.asks("caller", "UPDATE", |update| update.with_sdp(Some(b"v=0\r\n")));
    call.asks("caller", "INVITE", |invite| invite);
    call.asks("caller", "UPDATE", |update| update);
    call.settle();
    for label in ["500 (UPDATE)", "500"] {
        let wait =
            header(&mut call, "us → caller", label, "Retry-After").and_then(|wait| wait.parse::<u32>().ok());
        assert!(wait.is_some_and(|wait| wait <= 10), "{label}: RFC 3261 §14.2, RFC 3311 §5.2");
    }
    assert_eq!(count(&mut call, "us → caller", "200 (UPDATE)"), 1);
    call.answers("gateway1").hangs_up("gateway1").comes_to_rest();
}

#[test]
fn r11_an_offer_in_an_early_update_is_500_or_491_while_one_is_open_and_else_488() {
    use Reliably::{No, Required, Supported};
    let bare: fn(&mut Message) = |response| {
        response.remove("Content-Type");
        response.body.clear();
    };
    let (by_caller, by_leg) = ("caller", "gateway1");
    for (reliably, offer, rings, dress, asker, told) in [
        (Supported, Offer::InInvite, Act::Rings, None, by_caller, 500),
        (Required, Offer::InInvite, Act::Rings, None, by_caller, 500),
        // SDP in a response that may be lost answers nothing (RFC 3261 §13.2.1).
        (No, Offer::InInvite, Act::RingsReliably, None, by_caller, 500),
        (Supported, Offer::InInvite, Act::RingsWithMedia, None, by_caller, 488),
        (Required, Offer::Delayed, Act::Rings, None, by_caller, 488),
        (No, Offer::InInvite, Act::RingsReliably, Some(bare), by_leg, 491),
        (No, Offer::InInvite, Act::RingsReliably, None, by_leg, 488),
    ] {
        let mut call = forward().caller(Manner { reliably, offer, ..Manner::default() }).incoming(DID);
        call.awaits("gateway1").behaves("gateway1", Manner { dress, ..Manner::default() });
        call.does("gateway1", rings.clone()).behaves("gateway1", Manner::default());
        call.asks(asker, "UPDATE", |update| update.with_sdp(Some(b"v=0\r\n"))).settle();
        let answer = format!("{told} (UPDATE)");
        let wait = header(&mut call, &format!("us → {asker}"), &answer, "Retry-After");
        assert_eq!(wait.is_some(), told == 500, "{reliably:?} {offer:?} {rings:?} {asker}");
        call.answers("gateway1").hangs_up("gateway1").comes_to_rest();
    }
}

#[test]
fn r11_an_early_update_of_the_caller_moves_its_dialog() {
    let mut call = forward().incoming(DID).ringing(["gateway1"]);
    call.asks("caller", "UPDATE", |mut update| {
        update.set("Contact", "<sip:moved@127.0.1.1:5060>");
        update
    });
    call.answers("gateway1").after(millis(50)).hangs_up("gateway1").settle();
    assert_eq!(call.messages("us → caller", "BYE").remove(0).uri(), "sip:moved@127.0.1.1:5060");
    call.comes_to_rest();
}

#[test]
fn r11_what_one_side_carries_goes_along_to_the_other_within_the_call_too() {
    fn with_all(mut message: Message) -> Message {
        message.set("Session-ID", "47755a9de7794ba387653f2099600ef2;remote=0");
        message.set("User-to-User", "00aa;encoding=hex");
        message.set("X-Note", "carried");
        message.set("X-Other", "stays");
        message
    }
    let carry = "carry = [\"X-Note\"]";
    let mut call = node(carry, carry, "", &did_forward()).incoming(DID);
    let manner = Manner::default().dressed(|response| *response = with_all(response.clone()));
    call.awaits("gateway1").behaves("gateway1", manner).does("gateway1", Act::RingsWithMedia);
    call.answers("gateway1").after(millis(50));
    call.asks("caller", "INFO", with_all).asks("gateway1", "INFO", with_all);
    call.asks("caller", "INVITE", |invite| with_all(invite).with_sdp(Some(b"v=0\r\n"))).after(millis(50));
    call.asks("gateway1", "UPDATE", |update| with_all(update).with_sdp(Some(b"v=0\r\n")));
    // An answer of ours is no message of the other side's.
    call.asks("caller", "OPTIONS", with_all).asks("caller", "UPDATE", with_all);
    call.asks("caller", "BYE", with_all).settle();
    for (way, label, all) in [
        ("us → caller", "183", true),
        ("us → caller", "200", true),
        ("us → caller", "INFO", true),
        ("us → caller", "UPDATE", true),
        ("us → gateway1", "INFO", true),
        ("us → gateway1", "BYE", true),
        ("us → caller", "200 (OPTIONS)", false),
        ("us → caller", "200 (UPDATE)", false),
        ("us → caller", "200 (BYE)", false),
    ] {
        let values = ["Session-ID", "User-to-User", "X-Note"].map(|name| header(&mut call, way, label, name));
        assert_eq!(values.iter().all(Option::is_some), all, "{way} {label}: {values:?}");
        assert_eq!(values.iter().all(Option::is_none), !all, "{way} {label}: {values:?}");
        assert_eq!(header(&mut call, way, label, "X-Other"), None, "{way} {label}");
    }
    let reinvite = call.messages("us → gateway1", "INVITE").remove(1);
    assert_eq!(reinvite.all("X-Note").collect::<Vec<_>>(), ["carried"]);
    for (way, label) in [("us → caller", "200 (INFO)"), ("us → gateway1", "200 (INFO)")] {
        assert!(header(&mut call, way, label, "Session-ID").is_some(), "{way} {label}");
    }
    // It is the same cause, once.
    let bye = call.messages("us → gateway1", "BYE").remove(0);
    assert_eq!(bye.all("Reason").collect::<Vec<_>>(), ["Q.850;cause=16"]);
    call.comes_to_rest();
}

#[test]
fn r11_what_a_bye_carries_goes_along_with_a_bye_alone() {
    let mut call = forward().incoming(DID).ringing(["gateway1"]);
    // Our BYE waits for the caller's ACK, and the 487 to its re-INVITE leaves first.
    call.loses_next_of("caller → us", "ACK");
    call.answers("gateway1").after(millis(50)).loses_next_of("us → gateway1", "INVITE");
    call.asks("caller", "INVITE", |invite| invite.with_sdp(Some(b"v=0\r\n"))).after(millis(50));
    call.asks("gateway1", "BYE", |mut bye| {
        bye.set("User-to-User", "00aa;encoding=hex");
        bye
    });
    call.settle();
    assert_eq!(header(&mut call, "us → caller", "487", "User-to-User"), None);
    call.comes_to_rest();
}

#[test]
fn r11_what_is_too_long_to_go_along_is_left_out_and_the_message_arrives() {
    let mut call = bridged();
    call.asks("caller", "BYE", |mut bye| {
        bye.set("Subject", "s".repeat(40_000));
        bye.set("User-to-User", "00aa;encoding=hex");
        bye
    });
    call.settle();
    let bye = call.messages("us → gateway1", "BYE").remove(0);
    assert_eq!((bye.get("Subject"), bye.get("User-to-User")), (None, Some("00aa;encoding=hex")));
    call.comes_to_rest();
}

#[test]
fn r11_an_in_dialog_request_out_of_order_is_500() {
    let mut call = bridged();
    call.asks("caller", "INFO", |mut info| {
        info.set("CSeq", "1 INFO");
        info
    });
    call.settle();
    assert_eq!(count(&mut call, "us → caller", "500 (INFO)"), 1);
    assert_eq!(count(&mut call, "us → gateway1", "INFO"), 0);
    call.hangs_up("caller").comes_to_rest();
}

mod loops {
    use super::*;

    #[test]
    fn r11_max_forwards_falls_by_one_and_max_breadth_is_split() {
        let manner = invite(|invite| {
            invite.set("Max-Forwards", "17");
            invite.set("Max-Breadth", "60");
        });
        let keys = format!("ring = [\"alice\", \"bob\"]\nforward_to = \"{FORWARD}\"");
        let mut call = number(&keys).caller(manner).incoming(DID).ringing(["alice", "bob", "gateway1"]);
        for way in ["us → alice", "us → bob", "us → gateway1"] {
            assert_eq!(header(&mut call, way, "INVITE", "Max-Forwards").as_deref(), Some("16"));
            assert_eq!(header(&mut call, way, "INVITE", "Max-Breadth").as_deref(), Some("20"));
        }
        call.comes_to_rest();
    }

    /// alice, bob and the gateway, called with this Max-Breadth.
    fn of_breadth(dress: fn(&mut Message)) -> Call {
        let keys = format!("ring = [\"alice\", \"bob\"]\nforward_to = \"{FORWARD}\"");
        number(&keys).caller(invite(dress)).incoming(DID)
    }

    fn breadth(call: &mut Call, name: &str) -> Option<String> {
        call.awaits(name);
        header(call, &format!("us → {name}"), "INVITE", "Max-Breadth")
    }

    #[test]
    fn r11_never_more_ring_at_once_than_max_breadth_and_the_others_after_them() {
        let order = |call: &mut Call| {
            let called = |call: &mut Call, name: &str| count(call, &format!("us → {name}"), "INVITE") > 0;
            ["gateway1", "alice", "bob"].map(|name| called(call, name))
        };
        let mut call = of_breadth(|invite| invite.set("Max-Breadth", "2"));
        call.settle();
        let first = order(&mut call);
        assert_eq!(first.iter().filter(|called| **called).count(), 2);
        assert!(first[1], "alice is listed before bob");
        for name in ["gateway1", "alice", "bob"].into_iter().zip(first).filter(|(_, called)| *called) {
            assert_eq!(breadth(&mut call, name.0).as_deref(), Some("1"), "each gets 1, the sum is 2");
        }
        // One that has ended leaves its part to the next.
        call.sends_busy("alice");
        call.settle();
        assert_eq!(order(&mut call), [true; 3]);
        let last = if first[2] { "gateway1" } else { "bob" };
        assert_eq!(breadth(&mut call, last).as_deref(), Some("1"));
        call.answers(last);
        assert_eq!(call.caller_is_told(), Some(200));
        call.comes_to_rest();
    }

    #[test]
    fn r11_with_a_max_breadth_of_1_they_ring_one_after_the_other() {
        let mut call = number("ring = [\"alice\", \"bob\", \"carol\"]")
            .caller(invite(|invite| invite.set("Max-Breadth", "1")))
            .incoming(DID);
        for (name, next) in [("alice", "bob"), ("bob", "carol")] {
            assert_eq!(breadth(&mut call, name).as_deref(), Some("1"));
            assert_eq!(count(&mut call, &format!("us → {next}"), "INVITE"), 0, "{next} waits");
            call.sends_busy(name);
        }
        assert_eq!(breadth(&mut call, "carol").as_deref(), Some("1"));
        call.sends_busy("carol");
        assert_eq!(call.caller_is_told(), Some(486), "all of them were busy");
        call.comes_to_rest();
        assert_eq!(legs(&mut call).len(), 4);
    }

    #[test]
    fn r11_where_not_even_one_may_ring_it_is_440() {
        let mut call = of_breadth(|invite| invite.set("Max-Breadth", "0"));
        assert_eq!(call.caller_is_told(), Some(440));
        call.comes_to_rest();
        assert_eq!(end(&mut call), "failed 440 us");
        assert_eq!(call.cdr()["cause"], "Max-Breadth is 0");
    }

    #[test]
    fn r11_without_max_forwards_the_count_begins_at_70() {
        let mut call = forward()
            .caller(invite(|invite| invite.remove("Max-Forwards")))
            .incoming(DID)
            .ringing(["gateway1"]);
        assert_eq!(header(&mut call, "us → gateway1", "INVITE", "Max-Forwards").as_deref(), Some("69"));
        call.comes_to_rest();
    }

    #[test]
    fn r11_max_forwards_1_still_rings_and_0_is_483() {
        let mut call = forward()
            .caller(invite(|invite| invite.set("Max-Forwards", "1")))
            .incoming(DID)
            .ringing(["gateway1"]);
        assert_eq!(header(&mut call, "us → gateway1", "INVITE", "Max-Forwards").as_deref(), Some("0"));
        call.comes_to_rest();
        let mut call = forward().caller(Manner { oddity: Oddity::NoHops, ..Manner::default() }).incoming(DID);
        assert_eq!(call.caller_is_told(), Some(483));
        call.comes_to_rest();
    }

    #[test]
    fn r11_the_dialled_number_named_as_a_diverting_party_is_482() {
        let looped: [fn(&mut Message); 4] = [
            |invite| invite.set("Diversion", "<sip:+12015550101@10.0.0.1>;reason=no-answer"),
            |invite| invite.set("Diversion", "<sip:+14155550177@10.0.0.1>, <tel:+1-201-555-0101>"),
            |invite| invite.set("Diversion", "<sip:2015550101@10.0.0.1>;counter=1"),
            |invite| {
                invite.set(
                    "History-Info",
                    "<sip:+12015550101@10.0.0.1>;index=1, <sip:+14155550177@10.0.0.1>;index=1.1",
                )
            },
        ];
        for (at, dress) in looped.into_iter().enumerate() {
            let mut call = forward().caller(invite(dress)).incoming(DID);
            assert_eq!(call.caller_is_told(), Some(482), "case {at}");
            call.comes_to_rest();
            assert_eq!(end(&mut call), "failed 482 us");
        }
    }

    #[test]
    fn r11_the_last_entry_of_the_history_is_where_the_call_goes_and_no_loop() {
        let manner = invite(|invite| {
            invite.set(
                "History-Info",
                "<sip:+14155550177@10.0.0.1>;index=1, <sip:+12015550101@10.0.0.1>;index=1.1",
            );
        });
        let mut call = forward().caller(manner).incoming(DID).ringing(["gateway1"]);
        assert_eq!(call.caller_is_told(), None);
        call.comes_to_rest();
    }

    #[test]
    fn r11_more_than_five_diversions_are_482() {
        let mut call = forward()
            .caller(invite(|invite| invite.set("Diversion", diverted(5))))
            .incoming(DID)
            .ringing(["gateway1"]);
        assert_eq!(call.caller_is_told(), None);
        call.comes_to_rest();
        let mut call = forward().caller(invite(|invite| invite.set("Diversion", diverted(6)))).incoming(DID);
        assert_eq!(call.caller_is_told(), Some(482));
        call.comes_to_rest();
    }

    #[test]
    fn r11_a_diversion_counts_for_as_many_as_it_stands_for() {
        for (counters, told) in
            [([3, 2], None), ([3, 3], Some(482)), ([1, 5], Some(482)), ([99, 99], Some(482))]
        {
            let value = counters.map(|counter| format!("<sip:+14155550180@x>;counter={counter}")).join(", ");
            let mut call = forward().caller(Manner::default().with("Diversion", value)).incoming(DID);
            call.after(millis(100));
            assert_eq!(call.caller_is_told(), told, "{counters:?}");
            call.comes_to_rest();
        }
    }

    fn diverted(times: usize) -> String {
        (0..times).map(|at| format!("<sip:+1415555018{at}@10.0.0.1>")).collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn r11_a_merged_request_is_482_and_the_call_goes_on() {
        let mut call = forward()
            .caller(Manner { oddity: Oddity::Merged, ..Manner::default() })
            .incoming(DID)
            .ringing(["gateway1"]);
        assert_eq!(count(&mut call, "us → caller", "482"), 1);
        assert_eq!(count(&mut call, "us → gateway1", "INVITE"), 1);
        call.answers("gateway1").hangs_up("gateway1").comes_to_rest();
        assert_eq!(call.world.records.len(), 1);
    }

    #[test]
    fn r11_max_ringing_per_caller_above_its_limit_is_482() {
        let setup = node("", "", "", &format!("[limits]\nmax_ringing_per_caller = 2\n\n{}", did_forward()));
        // All of them from the same caller.
        let same = || {
            invite(|invite| {
                let tag = invite.from_tag().unwrap_or_default().to_owned();
                invite.set("From", format!("<sip:+14155550001@127.0.1.1>;tag={tag}"));
            })
        };
        let mut call = setup.caller(same()).incoming(DID).ringing(["gateway1"]);
        let others: Vec<String> = (0..2).map(|_| call.world.dials(DID, same())).collect();
        call.after(millis(100));
        let told: Vec<_> = others.iter().map(|call_id| call.world.hosts[0].outcome(call_id)).collect();
        assert_eq!(told, [None, Some(482)]);
        // The contract's outcome of a limit, not that of a loop, which is a 482 too.
        let first = call.call_id.clone();
        call.call_id.clone_from(&others[1]);
        assert_eq!(end(&mut call), "blocked 482 us");
        assert_eq!(call.cdr()["cause"], "max_ringing_per_caller");
        call.call_id = first;
        // One that is answered rings no more.
        call.does("caller", Act::Cancels).after(millis(50));
        let fourth = call.world.dials(DID, same());
        call.after(millis(100));
        assert_eq!(call.world.hosts[0].outcome(&fourth), None);
        call.comes_to_rest();
    }
}

/// RFC 5626 §5.3: its Contact leads nowhere from here, its connection does; and the one that it came by last.
#[test]
fn r11_a_caller_behind_a_nat_is_reached_by_the_connection_that_it_called_by() {
    let routing = format!(
        "[[trunk]]\nname = \"carrier\"\nfrom = [\"192.0.2.1/32\"]\noptions_interval = 0\n[[trunk]]\nname = \"mobile\"\n\
         gateways = [{{ uri = \"sip:{}\" }}]\noutbound = true\noptions_interval = 0\n{}",
        layout::gateway_addr(0),
        did_forward()
    );
    let by_flow = |flow: u16| Peer {
        transport: Transport::Tcp,
        addr: ([192, 0, 2, 1], 40_000 + flow).into(),
        listener: ListenerId(0),
        flow: Some(FlowId(flow.into())),
        name: None,
    };
    for reinvites in [false, true] {
        let mut core = served().cores(1, 7, &routing).remove(0);
        let mut at = 0;
        let mut hears = |from: Peer, message: &Message| -> Vec<(Peer, Message)> {
            at += 1;
            let now = Now { mono: Instant::from_micros(at * 1_000), wall: Wall(at) };
            let mut effects = Effects::default();
            let bytes = message.bytes();
            core.handle(now, Input::Received { from, bytes: &bytes, age: Duration::ZERO }, &mut effects);
            let sent = effects.out.messages();
            sent.filter_map(|(to, bytes)| Some((to, Message::parse(bytes).ok()?))).collect()
        };
        let of_caller = |method: &str, cseq: u32, to: &str, target: &str| {
            Message::request(method, target)
                .with("Via", format!("SIP/2.0/TCP 10.0.0.5;branch=z9hG4bK{method}{cseq}"))
                .with("From", "<sip:+14155550001@192.0.2.1>;tag=caller")
                .with("To", to)
                .with("Call-ID", "nat")
                .with("CSeq", format!("{cseq} {method}"))
                .with("Contact", "<sip:+14155550001@10.0.0.5;transport=tcp>")
                .with_sdp(Some(b"v=0\r\nm=audio 9 RTP/AVP 0\r\n"))
        };
        let us = format!("sip:{DID}@{}", layout::SERVER);
        let called = hears(by_flow(7), &of_caller("INVITE", 1, &format!("<{us}>"), &us));
        let (gateway, invite) = called.into_iter().find(|(_, sent)| sent.is_request()).expect("our INVITE");
        let tagged = format!("{};tag=gateway", invite.get("To").unwrap_or_default());
        let mut answer = Message::response(&invite, 200, "OK")
            .with("Contact", format!("<sip:{}>", layout::gateway_addr(0)))
            .with_sdp(Some(b"v=0\r\nm=audio 9 RTP/AVP 0\r\n"));
        answer.set("To", &*tagged);
        let told = hears(gateway, &answer);
        let (_, ok) =
            told.into_iter().find(|(to, sent)| to.flow.is_some() && sent.status() == 200).expect("our 200");
        let to = ok.get("To").unwrap_or_default();
        hears(by_flow(7), &of_caller("ACK", 1, to, &us));
        if reinvites {
            hears(by_flow(8), &of_caller("INVITE", 2, to, &us));
        }
        let bye = Message::request("BYE", ok.contact().unwrap_or_default())
            .with("Via", format!("SIP/2.0/UDP {};branch=z9hG4bKbye", layout::gateway_addr(0)))
            .with("From", &*tagged)
            .with("To", invite.get("From").unwrap_or_default())
            .with("Call-ID", invite.call_id())
            .with("CSeq", "1 BYE");
        let ended = hears(gateway, &bye);
        let reached = ended.iter().find(|(_, sent)| sent.is_request()).map(|(to, sent)| (*to, sent.method()));
        assert_eq!(reached, Some((by_flow(if reinvites { 8 } else { 7 }), "BYE")));
    }
}
