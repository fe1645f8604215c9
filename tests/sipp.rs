//! Calls over real sockets: the real program between SIPp's carrier and SIPp's phones. The scenarios are in
//! `tests/sipp/`.

#[expect(dead_code, reason = "shared with tests that ask for more")]
mod support;

use std::fmt::Write as _;
use std::fs;
use std::time::{Duration, Instant};

use serde_json::Value;
use strowger::sip::digest::Algorithm;
use support::{Outcome, World};

const FORWARD: &str = "forward_to = \"+12015550199\"";
const ALICE: &str = "ring = [\"alice\"]";
const BOTH: &str = "ring = [\"alice\", \"bob\"]";

#[test]
fn a_forward_rings_talks_and_ends() -> Outcome {
    let world = World::start(FORWARD)?;
    let phone = world.phone("phone_answers", world.gateway, &["-d", "200"])?;
    world.caller("caller_talks", world.carrier, &["-d", "300"])?.finish()?;
    phone.finish()?;
    let cdr = world.cdr()?;
    is(&cdr, "outcome", "answered")?;
    is(&cdr, "did", support::DID)?;
    is(&cdr, "caller", "+12025550123")?;
    is(&cdr, "ended_by", "caller")?;
    same(ends(&cdr), vec!["normal", "won"])
}

#[test]
fn the_called_side_hangs_up() -> Outcome {
    let world = World::start(ALICE)?;
    let phone = world.phone("phone_hangs_up", world.alice, &["-d", "200"])?;
    world.caller("caller_listens", world.carrier, &[])?.finish()?;
    phone.finish()?;
    is(&world.cdr()?, "ended_by", "callee")
}

#[test]
fn of_two_phones_that_answer_one_is_bridged_and_the_other_told() -> Outcome {
    let world = World::start(BOTH)?;
    let alice = world.phone("phone_answers_at_once", world.alice, &[])?;
    let bob = world.phone("phone_answers_at_once", world.bob, &[])?;
    world.caller("caller_talks", world.carrier, &["-d", "500"])?.finish()?;
    alice.finish()?;
    bob.finish()?;
    let cdr = world.cdr()?;
    is(&cdr, "outcome", "answered")?;
    let mut ends = ends(&cdr);
    ends.sort_unstable();
    same(ends, vec!["elsewhere", "normal", "won"])
}

#[test]
fn a_phone_that_answers_ends_the_ringing_of_the_other() -> Outcome {
    let world = World::start(BOTH)?;
    let alice = world.phone("phone_answers", world.alice, &["-d", "300"])?;
    let bob = world.phone("phone_rings", world.bob, &[])?;
    world.caller("caller_talks", world.carrier, &["-d", "300"])?.finish()?;
    alice.finish()?;
    holds(&bob.finish()?, "Call completed elsewhere")
}

#[test]
fn the_ring_timeout_cancels_every_leg_and_answers_480() -> Outcome {
    let world = World::start(&format!("{BOTH}\ntimeout = 1"))?;
    let alice = world.phone("phone_rings", world.alice, &[])?;
    let bob = world.phone("phone_rings", world.bob, &[])?;
    refused(&world, "70", "480")?;
    holds(&alice.finish()?, "Q.850")?;
    holds(&bob.finish()?, "Q.850")?;
    let cdr = world.cdr()?;
    is(&cdr, "outcome", "no_answer")?;
    is(&cdr, "ended_by", "us")?;
    same(ends(&cdr), vec!["failed", "timeout", "timeout"])
}

#[test]
fn a_caller_who_gives_up_ends_every_leg_and_a_repeated_cancel_gets_its_200_again() -> Outcome {
    let world = World::start(BOTH)?;
    let alice = world.phone("phone_rings", world.alice, &[])?;
    let bob = world.phone("phone_rings", world.bob, &[])?;
    world.caller("caller_cancels", world.carrier, &[])?.finish()?;
    alice.finish()?;
    bob.finish()?;
    let cdr = world.cdr()?;
    is(&cdr, "outcome", "cancelled")?;
    same(cdr["sip_code"].as_u64(), Some(487))?;
    same(ends(&cdr), vec!["cancelled", "cancelled", "cancelled"])
}

#[test]
fn a_redirect_to_an_allowed_number_is_followed() -> Outcome {
    let world = World::start(ALICE)?;
    let target = format!("sip:+12025550188@{}:{}", world.host, world.gateway);
    let alice = world.phone("phone_redirects", world.alice, &["-key", "target", &target])?;
    let phone = world.phone("phone_answers", world.gateway, &["-d", "0"])?;
    world.caller("caller_talks", world.carrier, &["-d", "200"])?.finish()?;
    alice.finish()?;
    phone.finish()?;
    is(&world.cdr()?, "outcome", "answered")
}

#[test]
fn a_redirect_abroad_ends_the_leg() -> Outcome {
    let world = World::start(ALICE)?;
    let target = format!("sip:+4915550188@{}:{}", world.host, world.gateway);
    let alice = world.phone("phone_redirects", world.alice, &["-key", "target", &target])?;
    refused(&world, "70", "480")?;
    alice.finish()?;
    Ok(())
}

#[test]
fn the_only_target_busy_is_486() -> Outcome {
    let world = World::start(ALICE)?;
    let alice = world.phone("phone_is_busy", world.alice, &[])?;
    refused(&world, "70", "486")?;
    alice.finish()?;
    is(&world.cdr()?, "outcome", "busy")
}

#[test]
fn all_declined_is_603() -> Outcome {
    let world = World::start(BOTH)?;
    let alice = world.phone("phone_declines", world.alice, &[])?;
    let bob = world.phone("phone_declines", world.bob, &[])?;
    refused(&world, "70", "603")?;
    alice.finish()?;
    bob.finish()?;
    is(&world.cdr()?, "outcome", "declined")
}

#[test]
fn a_caller_over_tcp_reaches_a_phone_over_udp() -> Outcome {
    let world = World::start(FORWARD)?;
    let phone = world.phone("phone_answers", world.gateway, &["-d", "0"])?;
    world.caller("caller_talks", world.carrier, &["-t", "t1", "-d", "200"])?.finish()?;
    phone.finish()?;
    is(&world.cdr()?, "outcome", "answered")
}

#[test]
fn hold_and_its_end_travel_from_side_to_side() -> Outcome {
    let world = World::start(FORWARD)?;
    let phone = world.phone("phone_is_held", world.gateway, &[])?;
    let caller = world.caller("caller_holds", world.carrier, &[])?.finish()?;
    let phone = phone.finish()?;
    holds(&phone, "offered a=sendonly")?;
    holds(&phone, "offered a=sendrecv")?;
    holds(&caller, "answered a=recvonly")?;
    holds(&caller, "answered a=sendrecv")?;
    is(&world.cdr()?, "outcome", "answered")
}

#[test]
fn an_offer_that_comes_late_is_answered_in_the_ack() -> Outcome {
    let world = World::start(FORWARD)?;
    let phone = world.phone("phone_offers", world.gateway, &[])?;
    holds(&world.caller("caller_without_offer", world.carrier, &[])?.finish()?, "offered o=phone")?;
    holds(&phone.finish()?, "answered o=caller")?;
    is(&world.cdr()?, "outcome", "answered")
}

#[test]
fn of_a_gateway_that_forks_one_phone_is_bridged() -> Outcome {
    let world = World::start(FORWARD)?;
    let gateway = world.phone("phone_forks", world.gateway, &[])?;
    world.caller("caller_talks", world.carrier, &["-d", "500"])?.finish()?;
    gateway.finish()?;
    is(&world.cdr()?, "outcome", "answered")
}

#[test]
fn a_number_that_is_not_ours_is_404_and_recorded() -> Outcome {
    let world = World::start(FORWARD)?;
    let caller =
        world.caller("caller_is_refused", world.carrier, &["-s", "+12015550102", "-key", "hops", "70"])?;
    holds(&caller.finish()?, "final 404")?;
    let cdr = world.cdr()?;
    is(&cdr, "dialled", "+12015550102")?;
    is(&cdr, "outcome", "failed")?;
    same(ends(&cdr), vec!["failed"])
}

#[test]
fn a_stranger_is_403_and_not_recorded() -> Outcome {
    let world = World::start(FORWARD)?;
    let caller = world.caller("caller_is_refused", world.bob, &["-s", support::DID, "-key", "hops", "70"])?;
    holds(&caller.finish()?, "final 403")?;
    refused(&world, "0", "483")?;
    same(world.cdr()?["sip_code"].as_u64(), Some(483))
}

#[test]
fn options_are_answered() -> Outcome {
    let world = World::start(FORWARD)?;
    holds(&world.caller("caller_asks", world.carrier, &[])?.finish()?, "allowed INVITE")
}

/// What the node says of a gateway.
fn gateway(world: &World, at: usize) -> Result<Value, String> {
    Ok(world.told("trunks")?["items"][0]["gateways"][at].clone())
}

fn becomes(world: &World, what: &str, is_so: impl Fn() -> Result<bool, String>) -> Outcome {
    let so = support::process::until(Duration::from_secs(10), || is_so().is_ok_and(|so| so));
    so.then_some(()).ok_or_else(|| format!("{what}: {:#}", world.told("trunks").unwrap_or_default()))
}

/// One call; the ports of the gateways that were tried.
fn one_call(world: &World, before: usize) -> Result<Vec<u64>, String> {
    world.caller("caller_talks", world.carrier, &["-d", "50"])?.finish()?;
    let cdrs = world.cdrs(before + 1)?;
    let cdr = cdrs.last().ok_or("no record")?;
    is(cdr, "outcome", "answered")?;
    let legs = cdr["legs"].as_array().into_iter().flatten().skip(1);
    let port = |leg: &Value| leg["peer"].as_str()?.rsplit(':').next()?.parse().ok();
    Ok(legs.filter_map(port).collect())
}

#[test]
fn r14_calls_leave_a_gateway_that_dies_and_return_within_two_intervals_after_it_comes_back() -> Outcome {
    let world = World::start_with(
        FORWARD,
        "gateways = [{ uri = \"sip:{gateway}\" }, { uri = \"sip:{bob}\", priority = 20 }]\noptions_interval = 1",
    )?;
    let (first, second) = (u64::from(world.gateway), u64::from(world.bob));
    let many = ["-m", "1000", "-d", "0"];
    let dies = world.phone("gateway_lives", world.gateway, &many)?;
    let _stays = world.phone("gateway_lives", world.bob, &many)?;
    becomes(&world, "both answer OPTIONS", || {
        Ok(gateway(&world, 0)?["round_trip_ms"].is_u64() && gateway(&world, 1)?["round_trip_ms"].is_u64())
    })?;
    same(one_call(&world, 0)?, vec![first])?;
    drop(dies);
    // Whatever is known of it by now, none fails.
    for before in 1..4 {
        let tried = one_call(&world, before)?;
        same(tried.last(), Some(&second))?;
    }
    becomes(&world, "it is down", || Ok(gateway(&world, 0)?["up"] == false))?;
    same(one_call(&world, 4)?, vec![second])?;
    let _back = world.phone("gateway_lives", world.gateway, &many)?;
    let began = Instant::now();
    becomes(&world, "it is up again", || Ok(gateway(&world, 0)?["up"] == true))?;
    let took = began.elapsed();
    // Two intervals, and what it takes to ask for it here.
    (took < Duration::from_millis(2_500)).then_some(()).ok_or_else(|| format!("it took {took:?}"))?;
    same(one_call(&world, 5)?, vec![first])
}

#[test]
fn r01_c_a_carrier_that_challenges_everything_has_us_registered_and_counts_as_up() -> Outcome {
    let account = "auth = { username = \"house\", password = \"sesame\" }";
    let world = World::start_with(
        FORWARD,
        &format!(
            "gateways = [{{ uri = \"sip:{{gateway}}\" }}]\noptions_interval = 1\nregister = true\n{account}"
        ),
    )?;
    // It may have found nobody there so far: then the next try comes within half a minute.
    let _carrier = world.phone("carrier_registers", world.gateway, &["-m", "1000", "-timeout", "60"])?;
    let registered = |told: Value| told["items"][0]["registration"]["state"] == "registered";
    let so = support::process::until(Duration::from_secs(40), || world.told("trunks").is_ok_and(registered));
    so.then_some(()).ok_or_else(|| format!("{:#}", world.told("trunks").unwrap_or_default()))?;
    becomes(&world, "it is up", || {
        let gateway = gateway(&world, 0)?;
        Ok(gateway["up"] == true && gateway["round_trip_ms"].is_u64())
    })
}

/// A house of them: all behind one address, all at once.
const PHONES: u32 = 5_000;

#[test]
fn r01_five_thousand_phones_of_one_house_register() -> Outcome {
    let (mut agents, mut phones) = (String::new(), "SEQUENTIAL\n".to_owned());
    for phone in 0..PHONES {
        let (name, password) = (format!("phone-{phone}"), format!("secret-{phone}"));
        let ha1 = Algorithm::Md5.ha1(name.as_bytes(), b"strowger", password.as_bytes());
        let ha1 = String::from_utf8_lossy(ha1.as_bytes());
        writeln!(agents, "[[agent]]\nname = \"{name}\"\nha1 = \"{ha1}\"").map_err(|e| e.to_string())?;
        let credentials = format!("[authentication username={name} password={password}]");
        writeln!(phones, "{name};{credentials}").map_err(|e| e.to_string())?;
    }
    let world = World::start(&format!("{FORWARD}\n{agents}"))?;
    let file = world.folder.path().join("phones.csv");
    fs::write(&file, phones).map_err(|e| e.to_string())?;
    let file = file.display().to_string();
    let all = PHONES.to_string();
    let many = ["-inf", &file, "-m", &all, "-l", &all, "-r", "800"];
    world.caller("phone_registers", world.alice, &many)?.finish()?;
    let agents = world.told("agents")?;
    let bound = |agent: &&Value| agent["bindings"].as_array().is_some_and(|all| all.len() == 1);
    same(agents["items"].as_array().map(|all| all.iter().filter(bound).count()), Some(PHONES as usize))?;
    let metrics = format!("http://{}:{}/metrics", world.host, world.admin);
    let mut metrics = ureq::get(metrics).call().map_err(|e| e.to_string())?;
    let metrics = metrics.body_mut().read_to_string().map_err(|e| e.to_string())?;
    let line = metrics.lines().find_map(|line| line.strip_prefix("strowger_registrations "));
    same(line, Some(&*all))
}

/// A call from the carrier that must end in the refusal `code`.
fn refused(world: &World, hops: &str, code: &str) -> Outcome {
    let caller = world.caller("caller_is_refused", world.carrier, &["-key", "hops", hops])?;
    holds(&caller.finish()?, &format!("final {code}"))
}

fn ends(cdr: &Value) -> Vec<&str> {
    cdr["legs"].as_array().into_iter().flatten().filter_map(|leg| leg["end"].as_str()).collect()
}

fn is(cdr: &Value, key: &str, wanted: &str) -> Outcome {
    same(cdr[key].as_str(), Some(wanted)).map_err(|e| format!("{key}: {e} in {cdr:#}"))
}

fn same<T: PartialEq + std::fmt::Debug>(found: T, wanted: T) -> Outcome {
    (found == wanted).then_some(()).ok_or_else(|| format!("{found:?}, not {wanted:?}"))
}

fn holds(text: &str, wanted: &str) -> Outcome {
    text.contains(wanted).then_some(()).ok_or_else(|| format!("{wanted:?} is not in {text:?}"))
}
