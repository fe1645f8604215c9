//! Carriers that are not ours and not well: SIPp challenges, refuses, is silent, hesitates and dies, and the call goes
//! on at the next gateway or ends with the code of R8. The scenarios are in `tests/sipp/`.

#[expect(dead_code, reason = "shared with tests that ask for more")]
mod support;

use serde_json::Value;
use support::{Outcome, World};

const FORWARD: &str = "forward_to = \"+12015550199\"";

/// Two gateways, the second only where the first does not serve.
const TWO: &str = "gateways = [{ uri = \"sip:{gateway}\" }, { uri = \"sip:{bob}\", priority = 20 }]\n\
                   options_interval = 0\ntry_timeout = 1";

/// One gateway, and the account there.
fn account(password: &str) -> String {
    format!(
        "gateways = [{{ uri = \"sip:{{gateway}}\" }}]\noptions_interval = 0\n\
         auth = {{ username = \"house\", password = \"{password}\" }}"
    )
}

/// The call that every test makes, to its end.
fn talks(world: &World) -> Outcome {
    world.caller("caller_talks", world.carrier, &["-d", "100"])?.finish().map(drop)
}

/// The refusal that the caller hears.
fn refused(world: &World) -> Result<String, String> {
    let said = world.caller("caller_is_refused", world.carrier, &["-key", "hops", "70"])?.finish()?;
    Ok(said.trim().to_owned())
}

/// The record in one line, `outcome code ended-by`, and its legs behind the caller's, each `end code`.
fn record(world: &World) -> Result<(String, Vec<String>), String> {
    let cdr = world.cdr()?;
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let code = |value: &Value| value.as_u64().map_or_else(|| "-".to_owned(), |code| code.to_string());
    let legs = cdr["legs"].as_array().into_iter().flatten().skip(1);
    let legs = legs.map(|leg| format!("{} {}", text(&leg["end"]), code(&leg["sip_code"])));
    let whole = format!("{} {} {}", text(&cdr["outcome"]), code(&cdr["sip_code"]), text(&cdr["ended_by"]));
    Ok((whole, legs.collect()))
}

fn recorded(world: &World, whole: &str, legs: &[&str]) -> Outcome {
    let found = record(world)?;
    let same = found.0 == whole && found.1 == legs;
    same.then_some(())
        .ok_or_else(|| format!("{found:?}, not {whole:?} {legs:?}: {:#}", world.cdr().unwrap_or_default()))
}

/// No call is left, whatever its transactions still wait for.
fn is_quiet(world: &World) -> Outcome {
    let calls = world.told("calls")?;
    let none = calls["items"].as_array().is_some_and(Vec::is_empty);
    none.then_some(()).ok_or_else(|| format!("{calls:#}"))
}

#[test]
fn r14_a_carrier_that_asks_for_our_password_is_answered() -> Outcome {
    let world = World::start_with(FORWARD, &account("sesame"))?;
    let gateway = world.phone("gateway_challenges", world.gateway, &[])?;
    talks(&world)?;
    assert_eq!(gateway.finish()?.trim(), "it is house");
    recorded(&world, "answered 200 caller", &["won 200"])
}

#[test]
fn r08_a_carrier_that_our_password_does_not_please_leaves_the_caller_with_480() -> Outcome {
    let world = World::start_with(FORWARD, &account("wrong"))?;
    let gateway = world.phone("gateway_challenges", world.gateway, &[])?;
    assert_eq!(refused(&world)?, "final 480");
    assert_eq!(gateway.finish()?, "");
    recorded(&world, "unreachable 480 us", &["failed 403"])
}

#[test]
fn r08_a_carrier_that_asks_who_has_no_account_leaves_the_caller_with_480() -> Outcome {
    let world = World::start(FORWARD)?;
    let gateway = world.gateway_that_says("407 Proxy Authentication Required", world.gateway)?;
    assert_eq!(refused(&world)?, "final 480");
    gateway.finish()?;
    recorded(&world, "unreachable 480 us", &["failed 407"])
}

#[test]
fn r12_a_carrier_that_asks_for_our_password_at_the_hang_up_gets_it() -> Outcome {
    let world = World::start_with(FORWARD, &account("sesame"))?;
    let gateway = world.phone("gateway_challenges_bye", world.gateway, &[])?;
    talks(&world)?;
    assert_eq!(gateway.finish()?.trim(), "it is house");
    recorded(&world, "answered 200 caller", &["won 200"])
}

#[test]
fn r14_a_gateway_that_says_408_500_502_503_or_504_is_left_for_the_next() -> Outcome {
    for (code, status) in [
        ("408", "408 Request Timeout"),
        ("500", "500 Server Internal Error"),
        ("502", "502 Bad Gateway"),
        ("503", "503 Service Unavailable"),
        ("504", "504 Server Time-out"),
    ] {
        let world = World::start_with(FORWARD, TWO)?;
        let first = world.gateway_that_says(status, world.gateway)?;
        let second = world.phone("phone_answers", world.bob, &["-d", "50"])?;
        talks(&world)?;
        first.finish()?;
        second.finish()?;
        recorded(&world, "answered 200 caller", &[&format!("unreachable {code}"), "won 200"])?;
    }
    Ok(())
}

#[test]
fn r14_a_gateway_that_says_404_or_603_is_not_left_for_the_next() -> Outcome {
    for (status, heard, leg, outcome) in [
        ("404 Not Found", "final 480", "failed 404", "unreachable 480 us"),
        ("603 Decline", "final 603", "declined 603", "declined 603 us"),
    ] {
        let world = World::start_with(FORWARD, TWO)?;
        let first = world.gateway_that_says(status, world.gateway)?;
        assert_eq!(refused(&world)?, heard);
        first.finish()?;
        let (whole, legs) = record(&world)?;
        assert_eq!((&*legs.join(", "), whole.split(' ').next()), (leg, outcome.split(' ').next()));
    }
    Ok(())
}

#[test]
fn r08_when_all_gateways_fail_the_caller_hears_480_and_none_of_their_codes() -> Outcome {
    let world = World::start_with(FORWARD, TWO)?;
    let first = world.gateway_that_says("503 Service Unavailable", world.gateway)?;
    let second = world.gateway_that_says("408 Request Timeout", world.bob)?;
    assert_eq!(refused(&world)?, "final 480");
    first.finish()?;
    second.finish()?;
    recorded(&world, "unreachable 480 us", &["unreachable 503", "unreachable 408"])
}

#[test]
fn r14_a_gateway_that_says_nothing_within_try_timeout_is_left_for_the_next() -> Outcome {
    let world = World::start_with(FORWARD, TWO)?;
    let first = world.phone("gateway_is_silent", world.gateway, &["-d", "1500"])?;
    let second = world.phone("phone_answers", world.bob, &["-d", "50"])?;
    talks(&world)?;
    second.finish()?;
    first.finish()?;
    recorded(&world, "answered 200 caller", &["unreachable -", "won 200"])
}

#[test]
fn r08_a_gateway_that_says_100_and_nothing_more_has_until_the_ring_timeout() -> Outcome {
    let world = World::start_with(&format!("{FORWARD}\ntimeout = 2"), TWO)?;
    let first = world.phone("gateway_hesitates", world.gateway, &[])?;
    assert_eq!(refused(&world)?, "final 480");
    first.finish()?;
    recorded(&world, "unreachable 480 us", &["timeout -"])
}

#[test]
fn r12_a_gateway_that_dies_in_mid_call_leaves_the_caller_a_clean_end() -> Outcome {
    let world = World::start(FORWARD)?;
    let gateway = world.phone("gateway_dies", world.gateway, &[])?;
    let caller = world.caller("caller_talks", world.carrier, &["-d", "1500"])?;
    gateway.finish()?;
    caller.finish()?;
    recorded(&world, "answered 200 caller", &["won 200"])?;
    is_quiet(&world)
}

#[test]
fn r12_a_caller_that_dies_in_mid_call_leaves_the_gateway_a_clean_end() -> Outcome {
    let world = World::start(FORWARD)?;
    let gateway = world.phone("phone_hangs_up", world.gateway, &["-d", "1500"])?;
    world.caller("caller_dies", world.carrier, &[])?.finish()?;
    gateway.finish()?;
    recorded(&world, "answered 200 callee", &["won 200"])?;
    is_quiet(&world)
}
