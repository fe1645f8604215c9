//! Small cases in every order, and with each message lost in turn. Whatever happens: one record, at most one
//! leg up, and nothing left behind (R5, R8, R12).

use strowger::sim::manner::{Offer, OnCancel, Since};
use strowger::sim::story::{each_message_lost_in_turn, every_order_of};

use super::*;

/// Something that happens while alice and bob are rung.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    Answers(&'static str),
    Declines(&'static str),
    Busy(&'static str),
    CallerCancels,
    CallerHangsUpEarly,
    Timeout,
    HangsUp(&'static str),
}

impl Step {
    fn happens(self, call: &mut Call) {
        match self {
            Step::Answers(who) => drop(call.answers(who)),
            Step::Declines(who) => drop(call.declines(who)),
            Step::Busy(who) => drop(call.sends_busy(who)),
            Step::CallerCancels => drop(call.caller_cancels()),
            Step::CallerHangsUpEarly => drop(call.does("caller", Act::HangsUpEarly)),
            Step::Timeout => drop(call.after(seconds(21))),
            Step::HangsUp(who) => drop(call.hangs_up(who)),
        }
    }
}

/// Tells every order twice: one after the other, and all on the wire at once.
fn every_way<const N: usize>(steps: [Step; N]) {
    every_order_of(steps, |order| {
        let mut call = hunt().incoming(DID).ringing(["alice", "bob"]);
        order.iter().for_each(|step| step.happens(&mut call));
        comes_to_one_end(call, &format!("{order:?}, one after the other"));
        let mut call = hunt().incoming(DID).ringing(["alice", "bob"]);
        call.while_in_flight(|call| order.iter().for_each(|step| step.happens(call)));
        comes_to_one_end(call, &format!("{order:?}, at once"));
    });
}

#[track_caller]
fn comes_to_one_end(mut call: Call, what: &str) {
    call.comes_to_rest();
    assert_eq!(call.world.records.len(), 1, "{what}");
    assert!(call.world.census().is_empty(), "{what}");
    let record = call.cdr();
    let won = legs(&mut call).iter().filter(|leg| leg.contains(" won ")).count();
    let answered = record["outcome"] == "answered";
    assert_eq!(won, usize::from(answered), "{what}: {record:#}");
    // Whoever lost heard of it exactly once.
    for who in ["alice", "bob"] {
        let way = format!("us → {who}");
        let ends = count(&mut call, &way, "BYE") + count(&mut call, &way, "CANCEL");
        assert!(ends <= 2, "{what}: {who} hears {ends} ends");
    }
}

#[test]
fn r05_two_phones_answer_and_the_caller_cancels_in_every_order() {
    every_way([Step::Answers("alice"), Step::Answers("bob"), Step::CallerCancels]);
}

#[test]
fn r05_two_phones_answer_and_one_hangs_up_in_every_order() {
    every_way([
        Step::Answers("alice"),
        Step::Answers("bob"),
        Step::HangsUp("alice"),
        Step::HangsUp("caller"),
    ]);
}

#[test]
fn r08_answer_decline_cancel_and_timeout_in_every_order() {
    every_way([Step::Answers("alice"), Step::Declines("bob"), Step::CallerCancels, Step::Timeout]);
}

#[test]
fn r08_busy_and_busy_and_timeout_in_every_order() {
    every_way([Step::Busy("alice"), Step::Busy("bob"), Step::Timeout]);
}

#[test]
fn r08_decline_answer_and_an_early_bye_in_every_order() {
    every_way([Step::Declines("alice"), Step::Answers("bob"), Step::CallerHangsUpEarly]);
}

#[test]
fn r08_timeout_and_answers_in_every_order() {
    every_way([Step::Timeout, Step::Answers("alice"), Step::Answers("bob"), Step::HangsUp("caller")]);
}

#[test]
fn r08_phones_that_cross_every_cancel_in_every_order() {
    every_order_of([Step::Answers("alice"), Step::CallerCancels, Step::Timeout], |order| {
        let mut call = hunt().incoming(DID).ringing(["alice", "bob"]);
        for who in ["alice", "bob"] {
            call.behaves(who, Manner { on_cancel: OnCancel::Crosses, ..Manner::default() });
        }
        order.iter().for_each(|step| step.happens(&mut call));
        comes_to_one_end(call, &format!("{order:?}"));
    });
}

/// Who does what of their own accord, so that a story goes on however late a message is.
fn caller(hangs_up_after: u64) -> Manner {
    Manner::default().then(Since::Answered, seconds(hangs_up_after), Act::HangsUp)
}

/// Each message of the story lost once; every time one record and one end.
fn each_lost(setup: &Setup, story: impl Fn(Setup) -> Call) {
    let lost = each_message_lost_in_turn(setup, |setup| {
        let call = story(setup);
        assert!(call.world.records.len() <= 1);
        call
    });
    assert!(lost > 8, "only {lost} messages");
}

/// Waits until it is rung, however often the INVITE had to be repeated, and rings.
fn rung(mut call: Call, names: &[&str]) -> Call {
    for name in names {
        call.awaits(name).rings(name);
    }
    call.settle();
    call
}

#[test]
fn r12_a_plain_forward_with_each_message_lost_in_turn() {
    each_lost(&forward().caller(caller(5)), |setup| {
        let mut call = rung(setup.incoming(DID), &["gateway1"]);
        call.after(seconds(3)).answers("gateway1").after(seconds(60));
        call
    });
}

#[test]
fn r12_two_answers_in_a_group_with_each_message_lost_in_turn() {
    each_lost(&hunt().caller(caller(5)), |setup| {
        let mut call = rung(setup.incoming(DID), &["alice", "bob"]);
        call.answers("alice").while_in_flight(|call| {
            call.answers("bob");
        });
        call.after(seconds(60));
        call
    });
}

#[test]
fn r12_a_cancelled_call_with_each_message_lost_in_turn() {
    each_lost(&hunt(), |setup| {
        let mut call = rung(setup.incoming(DID), &["alice", "bob"]);
        call.caller_cancels().after(seconds(60));
        call
    });
}

#[test]
fn r12_a_ring_timeout_with_each_message_lost_in_turn() {
    each_lost(&hunt(), |setup| {
        let mut call = rung(setup.incoming(DID), &["alice", "bob"]);
        call.after(seconds(80));
        call
    });
}

#[test]
fn r12_a_reinvite_with_each_message_lost_in_turn() {
    each_lost(&forward().caller(caller(50)), |setup| {
        let mut call = rung(setup.incoming(DID), &["gateway1"]);
        call.answers("gateway1").after(seconds(5)).does("caller", Act::Holds);
        call.after(seconds(10)).does("gateway1", Act::AsksForOffer).after(seconds(60));
        call
    });
}

#[test]
fn r12_a_delayed_offer_with_each_message_lost_in_turn() {
    let manner = Manner { offer: Offer::Delayed, ..caller(5) };
    each_lost(&hunt().caller(manner), |setup| {
        let mut call = rung(setup.incoming(DID), &["alice", "bob"]);
        call.answers("alice").while_in_flight(|call| {
            call.answers("bob");
        });
        call.after(seconds(60));
        call
    });
}

#[test]
fn r12_a_failover_with_each_message_lost_in_turn() {
    each_lost(&forward().caller(caller(5)), |setup| {
        let mut call = setup.incoming(DID);
        call.awaits("gateway1").refuses("gateway1", 503);
        let mut call = rung(call, &["gateway2"]);
        call.answers("gateway2").after(seconds(60));
        call
    });
}
