//! R5: one winner, and what the losers are told.

use insta::assert_snapshot;
use strowger::sim::manner::{Act, Manner, OnCancel};
use strowger::sim::message::sdp;

use super::*;

const ELSEWHERE: &str = "SIP;cause=200;text=\"Call completed elsewhere\"";

#[test]
fn r05_the_first_to_answer_wins_and_the_others_hear_where_the_call_went() {
    let mut call = hunt().incoming(DID).ringing(["alice", "bob"]);
    call.answers("alice");
    assert_snapshot!(call.ladder(), @r#"
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
      ├───── ACK ────▶│               │               │
      │               │◀─────────────── 200 (CANCEL) ─┤
      │               │◀──────────────────── 487 ─────┤
      │               ├───────────────────── ACK ────▶│
    "#);
    call.hangs_up("caller").comes_to_rest();
    assert_eq!(end(&mut call), "answered 200 caller");
    assert_eq!(legs(&mut call), ["caller normal 200", "alice won 200", "bob elsewhere 487"]);
    assert_eq!(call.cdr()["winner"], 1);
}

#[test]
fn r05_of_two_answers_that_cross_one_is_bridged_and_the_other_is_acknowledged_and_ended() {
    let mut call = hunt().incoming(DID).ringing(["alice", "bob"]);
    call.answers("alice").while_in_flight(|call| {
        call.answers("bob");
    });
    assert_snapshot!(call.ladder(), @r#"
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
    call.hangs_up("caller").comes_to_rest();
    assert_eq!(legs(&mut call), ["caller normal 200", "alice won 200", "bob elsewhere -"]);
}

#[test]
fn r05_an_answer_that_crosses_our_cancel_is_acknowledged_and_ended() {
    let mut call = hunt().incoming(DID).ringing(["alice", "bob"]);
    call.behaves("bob", Manner { on_cancel: OnCancel::Crosses, ..Manner::default() });
    call.answers("alice");
    call.settle();
    assert_eq!(header(&mut call, "us → bob", "CANCEL", "Reason").as_deref(), Some(ELSEWHERE));
    assert_eq!(count(&mut call, "us → bob", "ACK"), 1);
    assert_eq!(header(&mut call, "us → bob", "BYE", "Reason").as_deref(), Some(ELSEWHERE));
    assert_eq!(count(&mut call, "us → alice", "BYE"), 0);
    call.comes_to_rest();
}

#[test]
fn r05_the_winners_second_branch_loses_too() {
    let mut call = forward().incoming(DID);
    call.awaits("gateway1").does("gateway1", Act::AnswersTwice);
    assert_snapshot!(call.ladder(), @r#"
    caller          us              gateway1
      ├─── INVITE ───▶│               │
      │◀──── 100 ─────┤               │
      │               ├─── INVITE ───▶│
      │               │◀──── 180 ─────┤
      │◀──── 180 ─────┤               │
      │               │◀──── 200 ─────┤
      │               ├───── ACK ────▶│
      │◀──── 200 ─────┤               │
      │               │◀──── 200 ─────┤
      │               ├───── ACK ────▶│
      │               ├───── BYE ────▶│  SIP;cause=200;text="Call completed elsewhere"
      ├───── ACK ────▶│               │
      │               │◀─ 200 (BYE) ──┤
    "#);
    let byes = call.messages("us → gateway1", "BYE");
    assert_eq!(byes.len(), 1, "one branch is up");
    assert_eq!(byes[0].get("Reason"), Some(ELSEWHERE));
    call.comes_to_rest();
}

#[test]
fn r05_when_nobody_answered_in_time_the_reason_is_no_answer() {
    let mut call = hunt().incoming(DID).ringing(["alice", "bob"]);
    call.behaves("bob", Manner { on_cancel: OnCancel::Crosses, ..Manner::default() });
    call.after(seconds(21));
    for (way, label) in [("us → alice", "CANCEL"), ("us → bob", "CANCEL"), ("us → bob", "BYE")] {
        assert_eq!(
            header(&mut call, way, label, "Reason").as_deref(),
            Some("Q.850;cause=19"),
            "{label} {way}"
        );
    }
    call.comes_to_rest();
}

#[test]
fn r05_a_callers_own_reason_is_carried_on() {
    let mut call = hunt().incoming(DID).ringing(["alice", "bob"]);
    call.caller_cancels();
    assert_eq!(header(&mut call, "us → alice", "CANCEL", "Reason").as_deref(), Some("Q.850;cause=16"));
    assert_eq!(header(&mut call, "us → bob", "CANCEL", "Reason").as_deref(), Some("Q.850;cause=16"));
    call.comes_to_rest();
    assert_eq!(legs(&mut call), ["caller cancelled 487", "alice cancelled -", "bob cancelled -"]);
}

#[test]
fn r05_a_caller_who_gives_no_reason_leaves_no_answer_as_the_reason() {
    let mut call = hunt().incoming(DID).ringing(["alice", "bob"]);
    call.does("caller", Act::HangsUpEarly);
    assert_eq!(header(&mut call, "us → alice", "CANCEL", "Reason").as_deref(), Some("Q.850;cause=19"));
    call.comes_to_rest();
}

#[test]
fn r05_the_reason_of_a_bye_in_an_early_dialog_is_carried_on() {
    let mut call = hunt().incoming(DID).ringing(["alice", "bob"]);
    call.asks("caller", "BYE", |bye| bye.with("Reason", "Q.850;cause=31;text=\"gone\""));
    call.settle();
    let reason = header(&mut call, "us → bob", "CANCEL", "Reason");
    assert_eq!(reason.as_deref(), Some("Q.850;cause=31;text=\"gone\""));
    assert_eq!(call.caller_is_told(), Some(487));
    call.comes_to_rest();
    assert_eq!(end(&mut call), "cancelled 487 caller");
}

#[test]
fn r05_a_leg_of_an_earlier_step_that_answers_too_late_is_told_no_answer_until_another_is_bridged() {
    let mut call =
        number("ring = [\"alice\"]\ntimeout = 10\noverflow = [{ ring = [\"bob\"], timeout = 10 }]")
            .incoming(DID)
            .ringing(["alice"]);
    call.behaves("alice", Manner { on_cancel: OnCancel::Crosses, ..Manner::default() });
    call.after(seconds(11));
    assert_eq!(header(&mut call, "us → alice", "BYE", "Reason").as_deref(), Some("Q.850;cause=19"));
    let mut call = call.ringing(["bob"]);
    call.answers("bob").hangs_up("bob").comes_to_rest();
    assert_eq!(end(&mut call), "answered 200 callee");
    assert_eq!(legs(&mut call), ["caller normal 200", "alice timeout -", "bob won 200"]);
}

#[test]
fn r05_a_late_branch_of_a_call_that_nobody_answered_is_told_no_answer() {
    let mut call = hunt().incoming(DID).ringing(["alice"]);
    call.awaits("bob").sends_busy("bob");
    // Her first branch answers without SDP, which joins nobody; the second is fine and comes too late.
    let bare = Manner::default().dressed(|response| {
        response.remove("Content-Type");
        response.body.clear();
    });
    call.behaves("alice", bare).does("alice", Act::AnswersTwice);
    assert_eq!(call.caller_is_told(), Some(480));
    let told: Vec<_> =
        call.messages("us → alice", "BYE").iter().map(|bye| bye.get("Reason").map(str::to_owned)).collect();
    assert_eq!(told, [Some("Q.850;cause=127".to_owned()), Some("Q.850;cause=19".to_owned())]);
    call.comes_to_rest();
}

/// What a called end answers to the INVITE that it got, under a To tag of its choice.
fn answers_as(call: &mut Call, name: &str, code: u16, tag: &str) {
    let way = format!("us → {name}");
    let invite = call.messages(&way, "INVITE").pop();
    let host = call.world.hosts.iter().find(|host| host.name == name);
    let (Some(invite), Some(host)) = (invite, host) else { panic!("{name} was not called") };
    let addr = host.stack.addr;
    let mut answer = Message::response(&invite, code, "So").with("Contact", format!("<sip:fork@{addr}>"));
    answer.set("To", format!("{};tag={tag}", invite.get("To").unwrap_or_default()));
    if code == 200 {
        answer = answer.with_sdp(Some(&sdp(tag, 1, 40_000, "sendrecv")));
    }
    call.world.sends(addr, &answer);
    call.settle();
}

/// The To tags of what went to a called end, in order.
fn tags(call: &mut Call, name: &str, method: &str) -> Vec<String> {
    let sent = call.messages(&format!("us → {name}"), method);
    sent.iter().map(|message| message.to_tag().unwrap_or_default().to_owned()).collect()
}

#[test]
fn r05_who_answers_as_the_seventeenth_of_a_far_side_that_forks_is_bridged() {
    let mut call = number("ring = [\"alice\"]").unchecked("dialogs_legal").incoming(DID);
    call.awaits("alice");
    for fork in 0..16 {
        answers_as(&mut call, "alice", 180, &format!("rings{fork}"));
    }
    answers_as(&mut call, "alice", 200, "last");
    assert_eq!(call.caller_is_told(), Some(200));
    assert_eq!(tags(&mut call, "alice", "ACK"), ["last"]);
    answers_as(&mut call, "alice", 200, "last");
    assert_eq!(tags(&mut call, "alice", "ACK"), ["last", "last"], "repeated with its 200");
    assert_eq!(tags(&mut call, "alice", "BYE"), [""; 0]);
    call.hangs_up("caller").settle();
    assert_eq!(tags(&mut call, "alice", "BYE"), ["last"]);
    assert_eq!(end(&mut call), "answered 200 caller");
}

#[test]
fn r05_however_widely_a_far_side_forks_each_answer_is_acknowledged_and_all_but_one_are_ended() {
    let mut call = number("ring = [\"alice\"]").unchecked("dialogs_legal").incoming(DID);
    call.awaits("alice");
    for fork in 0..16 {
        answers_as(&mut call, "alice", 180, &format!("rings{fork}"));
    }
    // More than a fork's number counts.
    let answered: Vec<String> = (0..300).map(|fork| format!("answers{fork}")).collect();
    for tag in &answered {
        answers_as(&mut call, "alice", 200, tag);
    }
    assert_eq!(tags(&mut call, "alice", "ACK"), answered);
    assert_eq!(tags(&mut call, "alice", "BYE"), answered[1..]);
    for tag in [&answered[0], &answered[299]] {
        answers_as(&mut call, "alice", 200, tag);
        assert_eq!(tags(&mut call, "alice", "ACK").last(), Some(tag), "repeated with its 200");
    }
    assert_eq!(tags(&mut call, "alice", "BYE").len(), 299, "the BYE repeats itself");
    // One that was forgotten is ended once more.
    answers_as(&mut call, "alice", 200, "answers7");
    assert_eq!(tags(&mut call, "alice", "ACK").last().map(String::as_str), Some("answers7"));
    assert_eq!(tags(&mut call, "alice", "BYE").last().map(String::as_str), Some("answers7"));
    call.hangs_up("caller").settle();
    assert_eq!(end(&mut call), "answered 200 caller");
}

#[test]
fn r05_a_leg_that_was_given_up_and_answers_as_the_seventeenth_is_acknowledged_and_ended() {
    let mut call = number("ring = [\"alice\"]").unchecked("dialogs_legal").incoming(DID);
    call.awaits("alice");
    for fork in 0..16 {
        answers_as(&mut call, "alice", 180, &format!("rings{fork}"));
    }
    call.loses_next_of("us → alice", "CANCEL").caller_cancels();
    for _ in 0..2 {
        answers_as(&mut call, "alice", 200, "last");
    }
    assert_eq!(tags(&mut call, "alice", "ACK"), ["last", "last"]);
    assert_eq!(tags(&mut call, "alice", "BYE"), ["last"]);
}

/// RFC 3261 §12.1.2 wants a Contact that its requests can go to.
#[test]
fn r05_an_answer_that_nothing_can_follow_is_acknowledged_and_ended_where_it_came_from() {
    for contact in ["<garbage>", "*", "<mailto:a@b.example>", "<sip:>"] {
        let mut call = number("ring = [\"alice\"]").unchecked("dialogs_legal").incoming(DID);
        call.awaits("alice").behaves("alice", Manner::default().with("Contact", contact));
        call.loses_next_of("us → alice", "ACK").answers("alice");
        call.after(seconds(2));
        let called = call.messages("us → alice", "INVITE").remove(0).uri().to_owned();
        let acks = call.messages("us → alice", "ACK");
        assert_eq!(acks.len(), 2, "{contact}: the 200 is repeated, and so is its ACK");
        assert!(acks.iter().all(|ack| ack.uri() == called), "{contact}: {acks:?}");
        let byes = call.messages("us → alice", "BYE");
        assert_eq!((byes.len(), byes[0].uri()), (1, &*called), "{contact}");
        assert_eq!(byes[0].get("Reason"), Some("Q.850;cause=38"), "{contact}");
        call.comes_to_rest();
        assert_eq!(legs(&mut call)[1], "alice unreachable 502", "{contact}");
    }
}
