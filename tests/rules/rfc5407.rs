//! The race conditions of RFC 5407 by section, as they meet a B2BUA on the side where the race happens. Of a
//! B2BUA both sides are user agents: where the RFC's Alice or Bob is us, the other one is an end of the world.

use insta::assert_snapshot;
use strowger::sim::manner::{Offer, OnCancel};

use super::*;

#[test]
fn s3_1_1_an_invite_repeated_while_our_200_awaits_its_ack_changes_nothing() {
    let mut call = forward().incoming(DID).ringing(["gateway1"]);
    let invite = call.messages("caller → us", "INVITE").remove(0);
    call.delays_next("caller → us", millis(100)).answers("gateway1").while_in_flight(|call| {
        call.world.run(millis(12));
        call.world.sends(layout::CARRIER, &invite);
    });
    call.after(seconds(1));
    assert_eq!(count(&mut call, "us → gateway1", "INVITE"), 1);
    let after_ok = call.messages("us → caller", "200");
    assert!(after_ok.iter().all(|ok| ok == &after_ok[0]), "nothing but the same 200");
    call.hangs_up("caller").comes_to_rest();
    assert_eq!(end(&mut call), "answered 200 caller");
}

#[test]
fn s3_1_2_a_cancel_that_crosses_our_200_is_answered_and_has_no_effect() {
    let mut call = forward().incoming(DID).ringing(["gateway1"]);
    call.answers("gateway1").while_in_flight(|call| {
        call.world.run(millis(6));
        call.caller_cancels();
    });
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
      ├─── CANCEL ───▶│               │
      │ 200 (CANCEL) ─┤               │
      ├───── ACK ────▶│               │
      ├───── BYE ────▶│               │
      │◀─ 200 (BYE) ──┤               │
      │               ├───── BYE ────▶│  Q.850;cause=16
      │               │◀─ 200 (BYE) ──┤
    ");
    assert_eq!(count(&mut call, "us → caller", "487"), 0);
    call.comes_to_rest();
    assert_eq!(end(&mut call), "answered 200 caller");
}

#[test]
fn s3_1_2_our_own_cancel_that_crosses_a_legs_200_is_followed_by_ack_and_bye() {
    let mut call = forward().incoming(DID).ringing(["gateway1"]);
    call.behaves("gateway1", Manner { on_cancel: OnCancel::Crosses, ..Manner::default() });
    call.caller_cancels();
    assert_snapshot!(call.ladder(), @"
    caller          us              gateway1
      ├─── INVITE ───▶│               │
      │◀──── 100 ─────┤               │
      │               ├─── INVITE ───▶│
      │               │◀──── 180 ─────┤
      │◀──── 180 ─────┤               │
      ├─── CANCEL ───▶│               │
      │ 200 (CANCEL) ─┤               │
      │               ├─── CANCEL ───▶│  Q.850;cause=16
      │◀──── 487 ─────┤               │
      │               │ 200 (CANCEL) ─┤
      │               │◀──── 200 ─────┤
      │               ├───── ACK ────▶│
      │               ├───── BYE ────▶│  Q.850;cause=16
      ├───── ACK ────▶│               │
      │               │◀─ 200 (BYE) ──┤
    ");
    call.comes_to_rest();
    assert_eq!(end(&mut call), "cancelled 487 caller");
}

#[test]
fn s3_1_3_an_early_bye_that_crosses_our_200_ends_the_answered_call() {
    let mut call = forward().incoming(DID).ringing(["gateway1"]);
    call.answers("gateway1").while_in_flight(|call| {
        call.world.run(millis(6));
        call.does("caller", Act::HangsUpEarly);
    });
    call.after(seconds(1));
    assert_eq!(count(&mut call, "us → caller", "200 (BYE)"), 1);
    assert_eq!(count(&mut call, "us → gateway1", "BYE"), 1);
    call.comes_to_rest();
    assert_eq!(end(&mut call), "answered 200 caller");
}

#[test]
fn s3_1_4_a_reinvite_before_the_lost_ack_is_taken_as_the_offer_is_answered() {
    let mut call = forward().incoming(DID).ringing(["gateway1"]);
    call.loses_next("caller → us").answers("gateway1").after(millis(30));
    call.does("caller", Act::Holds).after(seconds(2));
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
      ├─── INVITE ───▶│               │
      │◀──── 100 ─────┤               │
      │               ├─── INVITE ───▶│
      │               │◀──── 200 ─────┤
      │◀──── 200 ─────┤               │
      │               ├───── ACK ────▶│
      ├───── ACK ────▶│               │
      │◀──── 200 ─────┤               │
      ├───── ACK ────▶│               │
    ");
    assert_eq!(count(&mut call, "us → caller", "491"), 0);
    call.hangs_up("caller").comes_to_rest();
}

#[test]
fn s3_1_5_a_reinvite_before_the_ack_that_answers_our_offer_is_491() {
    let mut call = forward()
        .caller(Manner { offer: Offer::Delayed, ..Manner::default() })
        .incoming(DID)
        .ringing(["gateway1"]);
    call.loses_next("caller → us").answers("gateway1").after(millis(30));
    call.does("caller", Act::Holds).after(millis(30));
    assert_eq!(count(&mut call, "us → caller", "491"), 1);
    assert_eq!(count(&mut call, "us → gateway1", "INVITE"), 1);
    call.after(seconds(6));
    assert_eq!(
        count(&mut call, "us → gateway1", "ACK"),
        1 + usize::from(count(&mut call, "us → gateway1", "INVITE") > 1)
    );
    call.hangs_up("caller").comes_to_rest();
    assert_eq!(end(&mut call), "answered 200 caller");
}

#[test]
fn s3_1_6_a_bye_before_the_lost_ack_ends_the_call_and_the_200_is_not_repeated() {
    let mut call = forward().incoming(DID).ringing(["gateway1"]);
    call.loses_next("caller → us").answers("gateway1").after(millis(30)).hangs_up("caller").after(seconds(5));
    assert_eq!(count(&mut call, "us → caller", "200"), 1);
    assert_eq!(count(&mut call, "us → caller", "200 (BYE)"), 1);
    assert_eq!(count(&mut call, "us → gateway1", "BYE"), 1);
    call.comes_to_rest();
    assert_eq!(end(&mut call), "answered 200 caller");
}

#[test]
fn s3_1_6_we_do_not_send_bye_to_a_caller_before_its_ack() {
    let mut call = forward().incoming(DID).ringing(["gateway1"]);
    call.loses_next("caller → us")
        .answers("gateway1")
        .after(millis(30))
        .hangs_up("gateway1")
        .after(millis(30));
    assert_eq!(count(&mut call, "us → caller", "BYE"), 0, "RFC 3261 §15");
    call.after(seconds(1));
    let (ack, bye) = (call.times("caller → us", "ACK"), call.times("us → caller", "BYE"));
    assert_eq!(ack.last(), bye.first());
    call.comes_to_rest();
    assert_eq!(end(&mut call), "answered 200 callee");
}

#[test]
fn s3_2_1_two_byes_that_cross_are_both_200() {
    let mut call = bridged();
    call.hangs_up("caller").while_in_flight(|call| {
        call.hangs_up("gateway1");
    });
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
      ├───── BYE ────▶│               │
      │◀─ 200 (BYE) ──┤               │
      │               ├───── BYE ────▶│  Q.850;cause=16
      │               │◀──── BYE ─────┤
      │               ├── 200 (BYE) ─▶│
      │               │◀─ 200 (BYE) ──┤
    ");
    call.comes_to_rest();
    assert_eq!(call.world.records.len(), 1);
}

#[test]
fn s3_2_2_a_reinvite_that_crosses_our_bye_is_481() {
    let mut call = bridged();
    call.hangs_up("gateway1").while_in_flight(|call| {
        call.world.run(millis(6));
        call.does("caller", Act::Holds);
    });
    call.settle();
    assert_eq!(count(&mut call, "us → caller", "BYE"), 1);
    assert_eq!(count(&mut call, "us → caller", "481"), 1);
    assert_eq!(count(&mut call, "us → gateway1", "INVITE"), 1);
    call.comes_to_rest();
}

#[test]
fn s3_2_3_a_200_for_a_reinvite_that_comes_after_the_bye_is_acknowledged() {
    let mut call = bridged();
    call.delays_next("gateway1 → us", millis(200)).does("caller", Act::Holds).while_in_flight(|call| {
        call.world.run(millis(20));
        call.hangs_up("caller");
        call.world.run(millis(400));
    });
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
      ├───── BYE ────▶│               │
      │◀─ 200 (BYE) ──┤               │
      │               ├───── BYE ────▶│  Q.850;cause=16
      │◀──── 487 ─────┤               │
      │               │◀─ 200 (BYE) ──┤
      ├───── ACK ────▶│               │
      │               │◀──── 200 ─────┤
      │               ├───── ACK ────▶│
    ");
    let (ok, ack) =
        (call.messages("gateway1 → us", "200").remove(1), call.messages("us → gateway1", "ACK").remove(1));
    assert_eq!(ok.cseq().0, ack.cseq().0);
    call.comes_to_rest();
}

#[test]
fn s3_2_4_an_ack_that_comes_after_the_bye_is_let_be() {
    let mut call = forward().incoming(DID).ringing(["gateway1"]);
    call.delays_next("caller → us", millis(300)).answers("gateway1").while_in_flight(|call| {
        call.world.run(millis(30));
        call.hangs_up("caller");
        call.world.run(millis(600));
    });
    call.settle();
    assert_eq!(count(&mut call, "us → caller", "200 (BYE)"), 1);
    call.comes_to_rest();
    assert_eq!(end(&mut call), "answered 200 caller");
}

#[test]
fn s3_3_1_two_reinvites_that_cross_are_both_491() {
    let mut call = bridged();
    call.does("caller", Act::Holds).while_in_flight(|call| {
        call.does("gateway1", Act::Holds);
    });
    call.after(millis(40));
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
      │               │◀── INVITE ────┤
      │               ├───── 100 ────▶│
      │               ├───── 491 ────▶│
      │               │◀──── 491 ─────┤
      │               ├───── ACK ────▶│
      │◀──── 491 ─────┤               │
      │               │◀──── ACK ─────┤
      ├───── ACK ────▶│               │
    ");
    call.after(seconds(6)).hangs_up("caller").comes_to_rest();
}

#[test]
fn s3_3_2_an_update_and_a_reinvite_that_cross_are_both_491() {
    let mut call = bridged();
    call.does("caller", Act::UpdatesMedia).while_in_flight(|call| {
        call.does("gateway1", Act::Holds);
    });
    call.after(millis(40));
    assert_eq!(count(&mut call, "us → gateway1", "491"), 1);
    assert_eq!(count(&mut call, "us → caller", "491 (UPDATE)"), 1);
    call.after(seconds(6)).hangs_up("caller").comes_to_rest();
}

#[test]
fn s3_3_3_a_refer_that_crosses_our_bye_is_481() {
    let mut call = bridged();
    call.hangs_up("gateway1").while_in_flight(|call| {
        call.world.run(millis(6));
        call.asks("caller", "REFER", |refer| refer.with("Refer-To", "<sip:+13125550123@x>"));
    });
    call.settle();
    assert_eq!(count(&mut call, "us → caller", "481 (REFER)"), 1);
    call.comes_to_rest();
}

#[test]
fn appendix_a_a_bye_in_an_early_dialog_ends_the_call_with_487() {
    let mut call = forward().incoming(DID).ringing(["gateway1"]);
    call.does("caller", Act::HangsUpEarly);
    assert_snapshot!(call.ladder(), @"
    caller          us              gateway1
      ├─── INVITE ───▶│               │
      │◀──── 100 ─────┤               │
      │               ├─── INVITE ───▶│
      │               │◀──── 180 ─────┤
      │◀──── 180 ─────┤               │
      ├───── BYE ────▶│               │
      │◀─ 200 (BYE) ──┤               │
      │               ├─── CANCEL ───▶│  Q.850;cause=19
      │◀──── 487 ─────┤               │
      │               │ 200 (CANCEL) ─┤
      │               │◀──── 487 ─────┤
      │               ├───── ACK ────▶│
      ├───── ACK ────▶│               │
    ");
    call.comes_to_rest();
    assert_eq!(end(&mut call), "cancelled 487 caller");
}

#[test]
fn appendix_b_a_bye_over_an_open_reinvite_ends_both_and_every_request_is_answered() {
    let mut call = bridged();
    call.delays_next("gateway1 → us", millis(200)).does("caller", Act::Holds).while_in_flight(|call| {
        call.world.run(millis(20));
        call.hangs_up("caller");
    });
    call.after(seconds(1));
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
      ├───── BYE ────▶│               │
      │◀─ 200 (BYE) ──┤               │
      │               ├───── BYE ────▶│  Q.850;cause=16
      │◀──── 487 ─────┤               │
      │               │◀─ 200 (BYE) ──┤
      ├───── ACK ────▶│               │
      │               │◀──── 200 ─────┤
      │               ├───── ACK ────▶│
    ");
    call.comes_to_rest();
}

#[test]
fn appendix_e_a_second_to_tag_is_a_dialog_of_its_own() {
    let mut call = forward().incoming(DID);
    call.awaits("gateway1").does("gateway1", Act::AnswersTwice).after(seconds(2));
    let tags: Vec<_> = call
        .messages("us → gateway1", "ACK")
        .iter()
        .filter_map(|ack| ack.to_tag().map(str::to_owned))
        .collect();
    assert_eq!(tags.len(), 2);
    assert_ne!(tags[0], tags[1]);
    let bye = call.messages("us → gateway1", "BYE").remove(0);
    assert_eq!(bye.to_tag(), Some(tags[1].as_str()));
    call.hangs_up("caller").comes_to_rest();
}
