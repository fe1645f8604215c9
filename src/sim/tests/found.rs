//! What seeds found, told by hand.

use std::time::Duration;

use crate::sim::manner::{Act, Manner, OnCancel};
use crate::sim::story::{Call, incoming};
use crate::sim::{minutes, seconds};

/// A forwarded call that is up.
fn talking() -> Call {
    let mut call = incoming("+12015550102").ringing(["gateway1"]);
    call.answers("gateway1").after(seconds(2));
    call
}

#[test]
fn r11_a_repeated_2xx_to_a_re_invite_gets_its_ack_though_an_info_came_between() {
    let mut call = talking();
    call.loses_next_of("us → caller", "ACK").does("gateway1", Act::Holds);
    call.while_in_flight(|call| {
        call.world.run(Duration::from_millis(100));
        call.does("gateway1", Act::Informs);
    });
    call.after(seconds(3));
    assert!(call.messages("caller → us", "200").len() >= 2);
    assert_eq!(call.messages("us → caller", "ACK").len(), call.messages("caller → us", "200").len());
    call.comes_to_rest();
}

#[test]
fn r11_a_repeated_2xx_to_a_re_invite_gets_the_ack_of_that_re_invite() {
    let mut call = talking();
    call.loses_next_of("us → caller", "ACK").does("gateway1", Act::Holds);
    call.while_in_flight(|call| {
        call.world.run(Duration::from_millis(100));
        call.does("gateway1", Act::Resumes);
    });
    call.after(seconds(3));
    call.comes_to_rest();
}

#[test]
fn r05_the_bye_of_a_loser_that_had_a_prack_counts_on_from_it() {
    let mut call = incoming("+12015550101").ringing(["bob"]);
    call.awaits("alice").behaves("alice", Manner { on_cancel: OnCancel::Crosses, ..Manner::default() });
    call.does("alice", Act::RingsReliably).answers("bob").after(seconds(2));
    let prack = call.messages("us → alice", "PRACK")[0].cseq().0;
    let bye = call.messages("us → alice", "BYE")[0].cseq().0;
    assert!(bye > prack, "BYE {bye} after PRACK {prack}");
    call.comes_to_rest();
}

#[test]
fn r11_a_2xx_with_an_offer_that_crosses_a_bye_gets_an_ack_that_refuses_it() {
    let mut call = talking();
    call.delays_next_of("caller → us", "200", seconds(1)).does("gateway1", Act::AsksForOffer);
    call.while_in_flight(|call| {
        call.world.run(Duration::from_millis(100));
        call.hangs_up("caller");
    });
    call.after(seconds(3));
    let acks = call.messages("us → caller", "ACK");
    let sdp = acks.last().and_then(|ack| ack.sdp()).unwrap_or_default();
    assert!(String::from_utf8_lossy(sdp).contains("m=audio 0 "), "{acks:?}");
    call.comes_to_rest();
}

#[test]
fn r12_an_info_under_way_when_the_call_ends_is_answered_487() {
    let mut call = talking();
    call.is_cut_off("gateway1", seconds(60)).does("caller", Act::Informs);
    call.after(seconds(2)).hangs_up("caller").after(seconds(1));
    assert_eq!(call.messages("us → caller", "487 (INFO)").len(), 1, "RFC 3261 §15.1.2");
    call.comes_to_rest();
}

#[test]
fn r12_a_re_invite_under_way_when_the_call_ends_leaves_no_transaction() {
    let mut call = talking();
    call.is_cut_off("caller", seconds(60)).does("gateway1", Act::Holds);
    call.after(seconds(2)).hangs_up("gateway1").after(minutes(3));
    assert_eq!(call.messages("us → gateway1", "487").len(), 1, "RFC 3261 §15.1.2");
    call.comes_to_rest();
}

#[test]
fn r12_a_call_that_is_over_leaves_no_timer() {
    let mut call = talking();
    call.hangs_up("caller").after(minutes(2));
    assert_eq!(call.world.next_timer(), None, "something is still to be woken for");
    call.comes_to_rest();
}

#[test]
fn r11_a_re_invite_whose_ack_is_awaited_when_the_call_ends_gets_its_ack() {
    let mut call = talking();
    call.loses_next_of("gateway1 → us", "ACK").does("gateway1", Act::AsksForOffer);
    call.while_in_flight(|call| {
        call.world.run(Duration::from_millis(100));
        call.hangs_up("caller");
    });
    call.after(seconds(10));
    let answers = call.messages("caller → us", "200").len();
    assert!(call.messages("us → caller", "ACK").len() >= answers, "the caller repeats its 200 for 32 s");
    call.comes_to_rest();
}

#[test]
fn r11_the_ack_of_one_re_invite_is_not_taken_for_that_of_the_next() {
    let mut call = talking();
    call.delays_next_of("caller → us", "ACK", Duration::from_millis(400)).does("caller", Act::Holds);
    call.while_in_flight(|call| {
        call.world.run(Duration::from_millis(100));
        // The ACK of the first comes while the answer to the second is repeated.
        call.loses_next_of("us → caller", "200").does("caller", Act::AsksForOffer);
    });
    call.after(seconds(3));
    call.comes_to_rest();
}
