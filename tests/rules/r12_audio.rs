//! R12 where audio comes through us: how it went stands in the record, however the call ends; a bug in it ends that call
//! alone; and a call of which nobody is heard ends.

use strowger::sim::booth::Word;
use strowger::sim::served::{faulty_with_audio, served_with_audio};

use super::*;

fn talking() -> Call {
    let mut call = ringing();
    call.answers("gateway1");
    call.settle();
    call
}

fn ringing() -> Call {
    let setup = number(&format!("forward_to = \"{FORWARD}\"\nvoicemail = false"));
    setup.made_by(served_with_audio(40)).incoming(DID).ringing(["gateway1"])
}

/// Codec, packets received and sent of each leg: the world's threads count as many packets as the leg's port has for a
/// number.
fn audio(call: &mut Call) -> Vec<String> {
    let cdr = call.cdr();
    let legs = cdr["legs"].as_array().cloned().unwrap_or_default();
    let said = |leg: serde_json::Value| match leg["codec"].as_str() {
        Some(codec) => format!("{codec} {} {}", leg["rtp"]["rx"], leg["rtp"]["tx"]),
        None => leg["rtp"].to_string(),
    };
    legs.into_iter().map(said).collect()
}

const BOTH: [&str; 2] = ["PCMU 20000 20001", "PCMU 20002 20003"];

#[test]
fn r12_how_each_side_was_heard_stands_in_the_record_however_the_call_ends() {
    type Ends = fn(&mut Call);
    let ends: [(&str, Ends); 5] = [
        ("answered 200 caller", |call| {
            call.hangs_up("caller");
        }),
        ("answered 200 callee", |call| {
            call.hangs_up("gateway1");
        }),
        ("answered 200 us", |call| {
            let live = call.world.live_calls().remove(0);
            call.world.operator_hangs_up(&live);
        }),
        ("answered 200 us", |call| {
            call.is_heard("caller", Word::IsNotHeard).is_heard("gateway1", Word::IsNotHeard);
            call.after(seconds(61));
        }),
        ("answered 200 caller", |call| {
            call.world.drain();
            call.after(seconds(10)).hangs_up("caller");
        }),
    ];
    for (how, ends) in ends {
        let mut call = talking();
        ends(&mut call);
        assert_eq!(end(&mut call), how);
        assert_eq!(audio(&mut call), BOTH, "{how}");
        let rtp = call.cdr()["legs"][1]["rtp"].clone();
        let told = serde_json::json!({ "tx": 20003, "rx": 20002, "lost": 3, "jitter_ms": 1.5, "mos": 4.25 });
        assert_eq!(rtp, told);
        call.comes_to_rest();
    }
}

#[test]
fn r12_a_leg_without_audio_has_none_in_the_record() {
    let mut call = ringing();
    call.caller_cancels();
    assert_eq!(
        (end(&mut call), audio(&mut call)),
        ("cancelled 487 caller".to_owned(), vec!["null".to_owned(); 2])
    );
    call.comes_to_rest();
    // Whoever heard the far side before it answered has.
    let setup = number(&format!("forward_to = \"{FORWARD}\"\nvoicemail = false"));
    let mut call = setup.made_by(served_with_audio(40)).incoming(DID);
    call.awaits("gateway1").does("gateway1", Act::RingsWithMedia).caller_cancels();
    assert_eq!(audio(&mut call), BOTH);
    call.comes_to_rest();
    let mut call = bridged();
    call.hangs_up("caller");
    assert_eq!(audio(&mut call), ["null", "null"], "it passed us by");
    call.comes_to_rest();
}

#[test]
fn r12_a_bug_in_the_call_itself_leaves_what_was_heard_in_the_record() {
    let mut call = Setup::new(faulty_with_audio(5, 40), &did_forward()).incoming(DID);
    call.settle();
    call.rings("gateway1").answers("gateway1").after(seconds(1)).hangs_up("caller").after(seconds(1));
    assert_eq!(call.cdr()["cause"], "a fault in this call");
    assert_eq!(audio(&mut call), BOTH);
    call.comes_to_rest();
}

#[test]
fn r12_a_record_waits_for_what_was_heard_half_a_second_and_no_longer() {
    let mut call = talking();
    let id = call.world.live_calls().remove(0);
    call.is_heard("caller", Word::IsStuck).hangs_up("caller").after(millis(400));
    assert!(call.record().is_none());
    assert_eq!(call.world.live_calls(), [id], "it is in progress until it has its record");
    call.after(millis(200));
    assert_eq!(end(&mut call), "answered 200 caller");
    assert_eq!(audio(&mut call), ["null", "null"]);
    assert!(call.world.live_calls().is_empty());
}

#[test]
fn r12_a_bug_in_the_audio_of_a_call_ends_that_call_from_its_dialogs_and_no_other() {
    let mut call = talking();
    let other = call.world.dials(DID, Manner::default());
    call.after(seconds(1));
    call.is_heard("gateway1", Word::Breaks);
    let ours = [count(&mut call, "us → caller", "BYE"), count(&mut call, "us → gateway1", "BYE")];
    assert_eq!(ours, [1, 1]);
    assert_eq!(
        (end(&mut call).as_str(), &call.cdr()["cause"]),
        ("answered 200 us", &"a fault in this call".into())
    );
    assert_eq!(audio(&mut call), BOTH, "what was heard until then");
    assert_eq!(call.world.live_calls().len(), 1);
    assert_eq!(call.world.hosts[0].outcome(&other), None);
    call.comes_to_rest();
    // Before anybody has answered.
    let mut call = ringing();
    let id = call.messages("us → gateway1", "INVITE").len();
    call.is_heard("gateway1", Word::Breaks);
    assert_eq!((id, call.caller_is_told(), end(&mut call).as_str()), (1, Some(500), "failed 500 us"));
    call.comes_to_rest();
}

#[test]
fn r12_a_call_of_which_nobody_is_heard_for_rtp_timeout_ends_and_says_why() {
    let mut call = talking();
    call.is_heard("caller", Word::IsNotHeard).after(seconds(300));
    assert!(call.record().is_none(), "one-sided silence ends nothing: mute, DTX");
    call.is_heard("gateway1", Word::IsNotHeard).after(seconds(59));
    assert!(call.record().is_none());
    call.is_heard("caller", Word::IsHeardAgain).after(seconds(30));
    call.is_heard("caller", Word::IsNotHeard).after(seconds(59));
    assert!(call.record().is_none(), "it counts from the last word");
    call.after(seconds(2));
    assert_eq!(count(&mut call, "us → caller", "BYE"), 1);
    assert_eq!(call.cdr()["cause"], "no audio of either side for rtp_timeout");
    call.comes_to_rest();
}

#[test]
fn r12_who_holds_and_who_is_held_may_be_silent_for_as_long_as_they_like() {
    for (who, other) in [("caller", "gateway1"), ("gateway1", "caller")] {
        let mut call = talking();
        call.does(who, Act::Holds);
        call.settle();
        call.is_heard(who, Word::IsNotHeard).is_heard(other, Word::IsNotHeard).after(seconds(600));
        assert!(call.record().is_none(), "{who} holds");
        call.does(who, Act::Resumes);
        call.settle();
        call.after(seconds(59));
        assert!(call.record().is_none(), "{who}: it counts from when both may speak");
        call.after(seconds(2));
        assert_eq!(call.cdr()["cause"], "no audio of either side for rtp_timeout", "{who}");
        call.comes_to_rest();
    }
}
