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
