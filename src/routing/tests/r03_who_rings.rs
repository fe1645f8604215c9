//! R3: who rings.

use super::*;

fn number(keys: &str) -> Table {
    table(&format!("[[number]]\ndid = \"+12015550101\"\n{keys}\n"))
}

fn rung(keys: &str) -> Vec<String> {
    rings(&number(keys), "+12015550101")
}

#[test]
fn r03_1_forward_to_and_every_agent_in_ring_all_at_once() {
    assert_eq!(rung("forward_to = \"+12015550199\""), ["20s: +12015550199@carrier"]);
    assert_eq!(rung("ring = [\"alice\", \"bob\"]\ntimeout = 15"), ["15s: alice, bob"]);
    assert_eq!(
        rung("forward_to = \"+12015550199\"\nring = [\"bob\", \"alice\"]"),
        ["20s: +12015550199@carrier, bob, alice"]
    );
}

#[test]
fn r03_1_neither_set_assigned_to() {
    assert_eq!(rung("assigned_to = \"carol\"\nassigned_head_start = 5"), ["20s: carol"]);
    assert_eq!(rung("assigned_to = \"carol\"\nring = []"), ["20s: carol"]);
}

#[test]
fn r03_2_assigned_to_beside_ring_rings_too_alone_for_its_head_start() {
    assert_eq!(rung("ring = [\"alice\"]\nassigned_to = \"carol\""), ["20s: carol, alice"]);
    assert_eq!(
        rung("ring = [\"alice\", \"bob\"]\nassigned_to = \"carol\"\nassigned_head_start = 5"),
        ["20s: carol, alice after 5s, bob after 5s"]
    );
    assert_eq!(
        rung("ring = [\"alice\", \"carol\"]\nassigned_to = \"carol\"\nassigned_head_start = 5"),
        ["20s: carol, alice after 5s"],
        "nobody rings twice"
    );
    assert_eq!(
        rung(
            "forward_to = \"+12015550199\"\nring = [\"alice\"]\nassigned_to = \"carol\"\nassigned_head_start = 5"
        ),
        ["20s: carol, +12015550199@carrier after 5s, alice after 5s"]
    );
}

#[test]
fn r03_2_assigned_to_beside_forward_to_alone_does_not_ring() {
    assert_eq!(
        rung("forward_to = \"+12015550199\"\nassigned_to = \"carol\"\nassigned_head_start = 5"),
        ["20s: +12015550199@carrier"]
    );
}

#[test]
fn r03_3_a_target_says_how_many_calls_its_agent_takes_and_whether_it_wants_none() {
    let table = table(
        r#"
[[agent]]
name = "erin"
max_calls = 2
dnd = true
[[number]]
did = "+12015550101"
ring = ["alice", "erin"]
"#,
    );
    let plan = plan(&table, "+12015550101").unwrap();
    let agents: Vec<_> = plan.steps[0]
        .targets
        .iter()
        .map(|target| match &target.who {
            Who::Agent(agent) => (&*agent.name, agent.max_calls, agent.dnd),
            Who::Number { .. } | Who::Unreachable(_) => panic!("{target:?}"),
        })
        .collect();
    assert_eq!(agents, [("alice", 1, false), ("erin", 2, true)]);
}

#[test]
fn r03_4_overflow_steps_in_order_each_with_its_own_ring_forward_to_and_timeout() {
    assert_eq!(
        rung(
            "ring = [\"alice\"]\ntimeout = 12\noverflow = [{ ring = [\"carol\"], timeout = 15 }, \
             { forward_to = \"+12015550199\" }, { ring = [\"bob\", \"dave\"], forward_to = \"+12015550198\" }]"
        ),
        ["12s: alice", "15s: carol", "12s: +12015550199@carrier", "12s: +12015550198@carrier, bob, dave"]
    );
}

#[test]
fn r03_4_overflow_has_the_numbers_other_settings() {
    let text =
        "ring = [\"alice\"]\npass_called_number = true\noverflow = [{ forward_to = \"+12015550199\" }]";
    let table = number(&format!("{text}\ntrunk = \"other\"\n{OTHER}"));
    let plan = plan(&table, "+12015550101").unwrap();
    assert!(plan.pass_called_number);
    assert_eq!(step(&plan.steps[1]), "20s: +12015550199@other");
}

const OTHER: &str = r#"
[[trunk]]
name = "other"
gateways = [{ uri = "sip:127.0.0.2:5080" }]
"#;

#[test]
fn r03_5_nobody_to_ring_in_any_step_is_a_plan_without_targets() {
    let plan = plan(&number("label = \"nobody\""), "+12015550101").unwrap();
    assert_eq!(plan.steps.len(), 1);
    assert!(plan.steps[0].targets.is_empty());
}

#[test]
fn r03_6_the_plan_bounds_the_legs() {
    let limits =
        |text: &str| plan(&read(&format!("{text}{CARRIER}{NUMBER}")), "+12015550101").unwrap().limits;
    assert_eq!(limits("").max_legs, 32);
    assert_eq!(limits("[limits]\nmax_legs = 4\nmax_call_seconds = 60").max_legs, 4);
    assert_eq!(limits("[limits]\nmax_call_seconds = 60").max_call.as_secs(), 60);
}

const NUMBER: &str = "[[number]]\ndid = \"+12015550101\"\nring = [\"alice\"]\n";

#[test]
fn a_numbers_own_key_wins_over_its_profile_and_a_profile_over_the_defaults() {
    let table = table(
        r#"
[defaults]
timeout = 11
account = "house"
label = "none"
assigned_to = "dave"
[[profile]]
name = "realty"
timeout = 12
account = "realty"
ring = ["carol"]
[[number]]
did = "+12015550101"
[[number]]
did = "+12015550102"
profile = "realty"
[[number]]
did = "+12015550103"
profile = "realty"
timeout = 13
ring = ["alice"]
account = ""
assigned_to = ""
"#,
    );
    assert_eq!(rings(&table, "+12015550101"), ["11s: dave"]);
    assert_eq!(rings(&table, "+12015550102"), ["12s: dave, carol"]);
    assert_eq!(rings(&table, "+12015550103"), ["13s: alice"], "an empty text unsets what is inherited");
    let account = |dialled| plan(&table, dialled).unwrap().account.to_string();
    assert_eq!(
        ["+12015550101", "+12015550102", "+12015550103"].map(account),
        ["house", "realty", ""].map(String::from)
    );
}

#[test]
fn a_profile_named_in_the_defaults_serves_every_number_that_names_none() {
    let table = table(
        "[defaults]\nprofile = \"day\"\n[[profile]]\nname = \"day\"\nring = [\"bob\"]\n\
         [[number]]\ndid = \"+12015550101\"\n[[number]]\ndid = \"+12015550102\"\nprofile = \"\"\n",
    );
    assert_eq!(rings(&table, "+12015550101"), ["20s: bob"]);
    assert_eq!(rings(&table, "+12015550102"), ["20s: "]);
}

#[test]
fn what_is_not_served_yet_has_its_place_in_the_plan() {
    let table = number(
        "forward_to = \"+12015550199\"\ncall_connect = true\nwhisper = \"For Main Street\"\nrecord = true\n\
         record_notice = { file = \"notice.wav\" }\nvoicemail = { greeting = \"Hello\", max_seconds = 60 }",
    );
    let plan = plan(&table, "+12015550101").unwrap();
    assert_eq!(plan.call_connect.map(|window| window.as_secs()), Some(10));
    assert_eq!(plan.whisper, Some(Prompt::Text("For Main Street".into())));
    assert_eq!(plan.record_notice, Some(Prompt::File(std::path::Path::new("notice.wav").into())));
    assert!(plan.record && !plan.whisper_agents);
    let voicemail = plan.voicemail.unwrap();
    assert_eq!((voicemail.max_message.as_secs(), voicemail.min_message.as_secs()), (60, 2));
}
