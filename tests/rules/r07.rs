//! R7: the caller's 200 goes out at bridging.

use super::*;

#[test]
fn r07_the_caller_hears_200_when_a_leg_is_bridged_and_never_before() {
    let mut call = hunt().incoming(DID).ringing(["alice", "bob"]);
    call.after(seconds(5));
    assert_eq!(count(&mut call, "us → caller", "200"), 0);
    call.answers("bob");
    call.settle();
    let answered = call.times("bob → us", "200")[0];
    assert_eq!(call.times("us → caller", "200"), [answered]);
    let (leg, told) =
        (call.messages("bob → us", "200").remove(0), call.messages("us → caller", "200").remove(0));
    assert_eq!(leg.body, told.body);
    call.after(seconds(30)).hangs_up("bob").comes_to_rest();
    let cdr = call.cdr();
    let talked = call.times("bob → us", "BYE")[0].since(answered);
    assert_eq!(cdr["talk_ms"], talked.as_millis() as u64);
    assert_eq!(cdr["answered"], cdr["legs"][2]["answered"]);
}

#[test]
fn r07_a_call_that_nobody_answers_is_never_billed() {
    let mut call = number("ring = [\"alice\"]\ntimeout = 10").incoming(DID).ringing(["alice"]);
    call.after(seconds(11));
    call.comes_to_rest();
    assert_eq!(count(&mut call, "us → caller", "200"), 0);
    let cdr = call.cdr();
    assert_eq!((cdr["talk_ms"].as_u64(), cdr["answered"].is_null()), (Some(0), true));
}

/// The DID forwards and is recorded, with these keys beside; audio through us.
fn recorded(keys: &str) -> Setup {
    let keys = format!("forward_to = \"{FORWARD}\"\nrecord = true\n{keys}");
    number(&keys).made_by(strowger::sim::served::served_with_audio(40))
}

#[test]
fn r07_both_sides_are_written_down_from_the_bridge_on_the_caller_left() {
    let mut call = recorded("").incoming(DID).ringing(["gateway1"]);
    assert!(call.world.written().is_empty());
    call.answers("gateway1");
    call.settle();
    let [caller, called] = ["caller", "gateway1"].map(|name| call.port_of(name).expect("a port"));
    assert_eq!(call.world.written(), [(caller, Some(called))]);
    call.hangs_up("caller");
    let cdr = call.cdr();
    assert_eq!(cdr["recording"], cdr["id"]);
    call.comes_to_rest();
}

#[test]
fn r07_a_call_that_the_disk_had_no_room_for_goes_on_and_its_record_names_no_recording() {
    use strowger::sim::booth::Word;
    for word in [Word::FillsTheDisk, Word::SlowsTheDisk] {
        let mut call = recorded("").incoming(DID).ringing(["gateway1"]);
        call.is_heard("gateway1", word).answers("gateway1");
        call.after(seconds(60)).hangs_up("caller");
        assert!(call.cdr()["recording"].is_null(), "{word:?}");
        assert_eq!(end(&mut call), "answered 200 caller", "{word:?}");
        call.comes_to_rest();
    }
}

#[test]
fn r07_the_notice_is_said_to_both_sides_who_hear_each_other_from_its_end() {
    let mut call = recorded("record_notice = \"Recorded\"").incoming(DID).ringing(["gateway1"]);
    call.answers("gateway1");
    call.settle();
    let [caller, called] = ["caller", "gateway1"].map(|name| call.port_of(name).expect("a port"));
    for port in [caller, called] {
        assert_eq!((call.world.said_to(port).len(), call.world.heard_at(port)), (1, None));
    }
    assert_eq!(call.world.written().len(), 1, "from the notice on");
    call.after(seconds(3));
    assert_eq!([caller, called].map(|port| call.world.heard_at(port)), [Some(called), Some(caller)]);
    call.hangs_up("gateway1").comes_to_rest();
}

#[test]
fn r07_with_a_delayed_offer_the_caller_hears_the_notice_from_its_ack_on_and_nobody_before() {
    use strowger::sim::manner::{Acks, Offer};
    let manner = Manner { offer: Offer::Delayed, acks: Acks::Never, ..Manner::default() };
    let notified = || {
        let setup = recorded("record_notice = \"Recorded\"\nvoicemail = false");
        let mut call = setup.caller(manner.clone()).incoming(DID).ringing(["gateway1"]);
        call.answers("gateway1").after(seconds(1));
        call
    };
    let mut call = notified();
    let [caller, called] = ["caller", "gateway1"].map(|name| call.port_of(name).expect("a port"));
    assert!(call.world.said_to(caller).is_empty());
    let ok = call.messages("us → caller", "200").remove(0);
    let answer = body(&ok).replace(&caller.to_string(), "4000");
    call.world.sends(layout::CARRIER, &ack_of(&ok, &answer));
    call.settle();
    assert_eq!((call.world.said_to(caller).len(), call.world.heard_at(caller)), (1, None));
    call.after(seconds(3));
    assert_eq!([caller, called].map(|port| call.world.heard_at(port)), [Some(called), Some(caller)]);
    call.hangs_up("gateway1");

    let mut call = notified();
    let ok = call.messages("us → caller", "200").remove(0);
    call.world.sends(layout::CARRIER, &ack_of(&ok, ""));
    call.settle();
    assert_eq!(call.cdr()["cause"], "the ACK held no answer to the offer");
    assert_eq!(count(&mut call, "us → gateway1", "BYE"), 1);
    call.comes_to_rest();
}
