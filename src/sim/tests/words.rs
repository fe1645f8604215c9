//! The words in which stories are told.

use std::time::Duration;

use crate::sim::manner::Act;
use crate::sim::seconds;
use crate::sim::story::{self, Call, Setup, each_message_lost_in_turn, every_order_of, incoming};

#[test]
fn r05_the_second_phone_to_answer_is_told_the_call_was_completed_elsewhere() {
    let mut call = incoming("+12015550101").ringing(["alice", "bob"]);
    call.answers("alice").while_in_flight(|other| {
        other.answers("bob");
    });
    insta::assert_snapshot!(call.ladder(), @r#"
    caller          us              alice           bob
      ├─── INVITE ───▶│               │               │
      │◀──── 100 ─────┤               │               │
      │               ├─── INVITE ───▶│               │
      │               ├─────────────────── INVITE ───▶│
      │               │◀──── 180 ─────┤               │
      │◀──── 180 ─────┤               │               │
      │               │◀──────────────────── 180 ─────┤
      │               │◀──── 200 ─────┤               │
      │               ├───── ACK ────▶│               │
      │◀──── 200 ─────┤               │               │
      │               ├─────────────────── CANCEL ───▶│  SIP;cause=200;text="Call completed elsewhere"
      │               │◀──────────────────── 200 ─────┤
      │               ├───────────────────── ACK ────▶│
      │               ├───────────────────── BYE ────▶│  SIP;cause=200;text="Call completed elsewhere"
      ├───── ACK ────▶│               │               │
      │               │◀─────────────── 200 (CANCEL) ─┤
      │               │◀───────────────── 200 (BYE) ──┤
    "#);
    call.after(seconds(10)).hangs_up("caller");
    call.comes_to_rest();
    assert_eq!(call.cdr()["outcome"], "answered");
}

#[test]
fn r08_every_order_of_two_answers_a_cancel_and_a_refusal_leaves_nothing_behind() {
    let steps = [
        ("alice", Act::Answers),
        ("bob", Act::Answers),
        ("caller", Act::HangsUp),
        ("alice", Act::Refuses(486)),
    ];
    every_order_of(steps, |order| {
        for gap in [0, 3, 5, 40] {
            let mut call = incoming("+12015550101").ringing(["alice", "bob"]);
            for (who, act) in order {
                call.while_in_flight(|call| {
                    call.does(who, act.clone());
                });
                call.world.run(Duration::from_millis(gap));
            }
            call.comes_to_rest();
            assert!(call.record().is_some());
        }
    });
}

#[test]
fn r12_any_message_of_a_hunted_call_may_be_lost() {
    let story = |setup: Setup| -> Call {
        let mut call = setup.incoming("+12015550101").ringing(["alice", "bob"]);
        call.after(seconds(2)).answers("bob").after(seconds(5)).hangs_up("bob").after(seconds(40));
        call
    };
    let messages = each_message_lost_in_turn(&story::usual(), story);
    assert!(messages > 15, "{messages}");
}

#[test]
fn r12_any_message_of_a_cancelled_forward_may_be_lost() {
    let story = |setup: Setup| -> Call {
        let mut call = setup.incoming("+12015550102").ringing(["gateway1"]);
        call.after(seconds(2)).caller_cancels().after(seconds(40));
        call
    };
    let messages = each_message_lost_in_turn(&story::usual(), story);
    assert!(messages > 10, "{messages}");
}
