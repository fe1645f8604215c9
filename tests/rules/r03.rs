//! R3: who rings.

use strowger::config::{self, Finding, Overlay};
use strowger::routing::{self, Explanation, Table};

use strowger::sim::served::served_with_names;

use super::register::{DESK, POCKET, Phone, contact, home};
use super::*;

#[test]
fn r03_1_forward_and_every_agent_ring_all_at_once() {
    let keys = format!("forward_to = \"{FORWARD}\"\nring = [\"alice\", \"bob\"]");
    let mut call = number(&keys).incoming(DID).ringing(["alice", "bob", "gateway1"]);
    let times = ["alice", "bob", "gateway1"].map(|who| call.times(&format!("us → {who}"), "INVITE")[0]);
    assert_eq!(times, [times[0]; 3]);
    call.comes_to_rest();
}

#[test]
fn r03_1_neither_set_assigned_to_rings() {
    let mut call = number("assigned_to = \"carol\"").incoming(DID).ringing(["carol"]);
    call.answers("carol").hangs_up("carol").comes_to_rest();
    assert_eq!(legs(&mut call), ["caller normal 200", "carol won 200"]);
}

#[test]
fn r03_2_assigned_to_rings_beside_the_others_after_its_head_start() {
    let keys = "ring = [\"bob\", \"carol\"]\nassigned_to = \"alice\"\nassigned_head_start = 5";
    let mut call = number(keys).incoming(DID).ringing(["alice", "bob", "carol"]);
    let began = call.times("us → alice", "INVITE")[0];
    for who in ["us → bob", "us → carol"] {
        assert_eq!(call.times(who, "INVITE")[0].since(began), seconds(5), "{who}");
    }
    call.comes_to_rest();
}

#[test]
fn r03_2_without_a_head_start_all_ring_together() {
    let mut call =
        number("ring = [\"bob\"]\nassigned_to = \"alice\"").incoming(DID).ringing(["alice", "bob"]);
    assert_eq!(call.times("us → alice", "INVITE"), call.times("us → bob", "INVITE"));
    call.comes_to_rest();
}

#[test]
fn r03_2_an_assigned_agent_who_refuses_lets_the_others_ring_at_once() {
    let keys = "ring = [\"bob\"]\nassigned_to = \"alice\"\nassigned_head_start = 15";
    let mut call = number(keys).incoming(DID).ringing(["alice"]);
    call.sends_busy("alice").after(millis(20));
    assert_eq!(count(&mut call, "us → bob", "INVITE"), 1);
    call.comes_to_rest();
}

#[test]
fn r03_2_beside_forward_to_alone_the_assigned_agent_does_not_ring() {
    let keys = format!("forward_to = \"{FORWARD}\"\nassigned_to = \"alice\"");
    let mut call = number(&keys).incoming(DID).ringing(["gateway1"]);
    call.answers("gateway1").comes_to_rest();
    assert_eq!(count(&mut call, "us → alice", "INVITE"), 0);
}

#[test]
fn r03_3_an_agent_with_max_calls_is_not_rung_and_counts_as_busy() {
    let mut call = number("ring = [\"alice\"]").incoming(DID).ringing(["alice"]);
    let second = call.world.dials(DID, Manner::default());
    call.settle();
    assert_eq!(call.world.hosts[0].outcome(&second), Some(486));
    // Free again once she has refused.
    call.sends_busy("alice");
    call.settle();
    let third = call.world.dials(DID, Manner::default());
    call.after(millis(100));
    assert_eq!(call.world.hosts[0].outcome(&third), None);
    call.comes_to_rest();
    let record = call.world.records.iter().find(|record| record["legs"][0]["sip_call_id"] == second.as_str());
    let record = record.cloned().unwrap_or_default();
    assert_eq!((&record["outcome"], &record["sip_code"]), (&"busy".into(), &486.into()));
}

#[test]
fn r03_3_an_agent_who_talks_is_not_rung() {
    let mut call = hunt().incoming(DID).ringing(["alice", "bob"]);
    call.answers("alice");
    call.settle();
    let second = call.world.dials(DID, Manner::default());
    call.settle();
    assert_eq!(call.world.hosts[0].outcome(&second), None, "bob is free");
    assert_eq!(call.world.hosts[2].parties.len(), 1, "alice is not rung");
    assert_eq!(call.world.hosts[3].parties.len(), 2);
    call.comes_to_rest();
}

#[test]
fn r03_3_with_max_calls_2_a_second_call_rings() {
    let setup = node("", "", "max_calls = 2", &did("ring = [\"alice\"]"));
    let mut call = setup.incoming(DID).ringing(["alice"]);
    let others = [0, 0].map(|_| {
        let call_id = call.world.dials(DID, Manner::default());
        call.settle();
        call_id
    });
    assert_eq!(others.map(|call_id| call.world.hosts[0].outcome(&call_id)), [None, Some(486)]);
    call.comes_to_rest();
}

/// INVITEs of one call to the phone at an address, each by its Request-URI.
fn rung(call: &mut Call, at: &str) -> Vec<String> {
    let mut uris: Vec<String> = Vec::new();
    for invite in call.messages(at, "INVITE") {
        let uri = invite.uri().to_owned();
        if !uris.contains(&uri) {
            uris.push(uri);
        }
    }
    uris
}

#[test]
fn r03_3_a_phone_behind_the_proxy_where_the_fixed_one_is_rings_beside_it() {
    let fixed = "contact = \"sip:alice@127.0.2.1:5060\"";
    for (uri, rings) in [
        ("sip:alice@10.0.0.9", vec!["sip:alice@127.0.2.1:5060", "sip:alice@10.0.0.9"]),
        ("sip:alice@127.0.2.1:5060", vec!["sip:alice@127.0.2.1:5060"]),
    ] {
        let mut call = home(fixed, "").before_any_call();
        let path = |mut message: Message| {
            message.set("Contact", format!("<{uri}>"));
            message.with("Supported", "path").with("Path", "<sip:127.0.2.1:5060;lr>")
        };
        assert_eq!(Phone::alice(DESK).registers(&mut call, path), 200);
        let mut call = call.dials(DID, Manner::default()).ringing(["alice"]);
        assert_eq!(rung(&mut call, "us → alice"), rings);
        call.comes_to_rest();
    }
}

#[test]
fn r03_3_a_fixed_phone_that_registers_is_one_phone_by_whatever_name_it_is_written() {
    let names = &[("desk.example.com", POCKET), ("desk.example.com", DESK)];
    for host in ["127.0.2.1", "desk.example.com"] {
        let fixed = format!("contact = \"sip:alice@{host}:5060\"");
        let mut call = home(&fixed, "").made_by(served_with_names(names)).before_any_call();
        assert_eq!(Phone::alice(DESK).registers(&mut call, contact("<sip:alice@127.0.2.1:5060>")), 200);
        let mut call = call.dials(DID, Manner::default()).ringing(["alice"]);
        assert_eq!(rung(&mut call, "us → alice"), [format!("sip:alice@{host}:5060")]);
        assert_eq!(rung(&mut call, "us → bob"), Vec::<String>::new(), "the host's other address");
        call.comes_to_rest();
    }
}

#[test]
fn r03_4_overflow_steps_ring_in_order_with_their_own_targets_and_timeouts() {
    let keys = format!(
        "ring = [\"alice\"]\ntimeout = 10\noverflow = [{{ ring = [\"bob\"], forward_to = \"{FORWARD}\", timeout = 12 }}, {{ ring = [\"carol\"] }}]"
    );
    let mut call = number(&keys).incoming(DID).ringing(["alice"]);
    call.after(seconds(11));
    let mut call = call.ringing(["bob", "gateway1"]);
    call.after(seconds(13));
    let mut call = call.ringing(["carol"]);
    call.answers("carol").hangs_up("caller").comes_to_rest();
    let all = [
        "caller normal 200",
        "alice timeout 487",
        "bob timeout 487",
        "+13125550199 timeout 487",
        "carol won 200",
    ];
    let mut found = legs(&mut call);
    found[2..4].sort_by(|a, b| b.cmp(a));
    assert_eq!(found, all);
}

#[test]
fn r03_4_a_step_with_nobody_to_ring_is_passed_over() {
    let rest = "[[agent]]\nname = \"zoe\"\n\n".to_owned()
        + &did("ring = [\"zoe\"]\noverflow = [{ ring = [\"bob\"], timeout = 10 }]");
    let mut call = node("", "", "", &rest).incoming(DID).ringing(["bob"]);
    assert_eq!(call.times("us → bob", "INVITE"), call.times("caller → us", "INVITE"));
    call.comes_to_rest();
}

#[test]
fn r03_5_nobody_to_ring_is_486_when_all_were_busy_and_else_480() {
    let absent = "[[agent]]\nname = \"zoe\"\n\n[[agent]]\nname = \"zack\"\ndnd = true\ncontact = \"sip:zack@127.0.2.9\"\n\n[[agent]]\nname = \"zora\"\ndnd = true\n\n";
    for (ring, told, outcome) in [
        ("\"zack\"", 486, "busy 486 us"),
        // R3.3: who wants no calls is busy, phone or not.
        ("\"zora\"", 486, "busy 486 us"),
        ("\"zora\", \"zack\"", 486, "busy 486 us"),
        ("\"zoe\"", 480, "unreachable 480 us"),
        ("\"zoe\", \"zack\"", 480, "unreachable 480 us"),
    ] {
        let mut call =
            node("", "", "", &(absent.to_owned() + &did(&format!("ring = [{ring}]")))).incoming(DID);
        assert_eq!(call.caller_is_told(), Some(told), "{ring}");
        call.comes_to_rest();
        assert_eq!(end(&mut call), outcome, "{ring}");
        assert_eq!(legs(&mut call), [format!("caller failed {told}")], "{ring}");
    }
}

#[test]
fn r03_3_a_redirect_to_an_agent_who_wants_no_calls_ends_busy_phone_or_not() {
    let zora = "[[agent]]\nname = \"zora\"\ndnd = true\n\n".to_owned();
    let mut call = node("", "", "", &(zora + &did("ring = [\"alice\"]"))).incoming(DID);
    call.awaits("alice").redirects("alice", "sip:zora@127.0.2.9");
    assert_eq!(call.caller_is_told(), Some(486));
    call.comes_to_rest();
}

#[test]
fn r03_5_what_a_route_says_the_caller_gets_is_what_the_call_tells_it() -> Result<(), Vec<Finding>> {
    let agents = "[[agent]]\nname = \"zoe\"\n\n[[agent]]\nname = \"zora\"\ndnd = true\n\n";
    for keys in [
        "ring = [\"zoe\"]",
        "ring = [\"zora\"]",
        "ring = [\"zora\", \"zoe\"]",
        "ring = [\"zora\"]\noverflow = [{ ring = [\"zora\"], timeout = 10 }]",
        "ring = [\"zora\"]\noverflow = [{ ring = [\"zoe\"], timeout = 10 }]",
        "ring = [\"zoe\"]\noverflow = [{ ring = [\"alice\"], timeout = 10 }]",
        "ring = [\"bob\"]\nassigned_to = \"zora\"\nassigned_head_start = 9",
        "",
    ] {
        let said = said(&(agents.to_owned() + &did(keys)))?;
        let mut call = node("", "", "", &(agents.to_owned() + &did(keys))).incoming(DID);
        assert_eq!(call.caller_is_told(), said.refused, "{keys}");
        for name in ["alice", "bob"] {
            let mut targets = said.steps.iter().flat_map(|step| &step.targets);
            let rings = targets.any(|target| target.target == name && target.shows.is_some());
            assert_eq!(count(&mut call, &format!("us → {name}"), "INVITE") > 0, rings, "{keys}: {name}");
        }
        call.comes_to_rest();
    }
    Ok(())
}

/// What `route` says of the DID.
fn said(rest: &str) -> Result<Explanation, Vec<Finding>> {
    let config = config::parse(&node_text("", "", "", rest), &|_| None)?.config;
    Ok(routing::explain(
        &Table::new(&config, 1, None),
        &config,
        &Overlay::default(),
        &routing::Fixed,
        DID,
        None,
    ))
}

#[test]
fn r03_6_a_call_has_at_most_max_legs() {
    let limited = |keys: &str| node("", "", "", &format!("[limits]\nmax_legs = 2\n\n{}", did(keys)));
    let mut call = limited("ring = [\"alice\", \"bob\", \"carol\"]").incoming(DID).ringing(["alice", "bob"]);
    assert_eq!(count(&mut call, "us → carol", "INVITE"), 0);
    call.sends_busy("alice").sends_busy("bob");
    assert_eq!(call.caller_is_told(), Some(480), "carol was not busy");
    call.comes_to_rest();

    let mut call = limited("ring = [\"alice\"]").incoming(DID);
    call.awaits("alice").redirects("alice", "sip:bob@127.0.2.2");
    call.awaits("bob").redirects("bob", "sip:carol@127.0.2.3");
    assert_eq!(call.caller_is_told(), Some(480));
    assert_eq!(count(&mut call, "us → carol", "INVITE"), 0);
    call.comes_to_rest();
}
