//! The rules of a call, each proved as a call in virtual time through the real core.

use std::time::Duration;

use strowger::sim::layout;
use strowger::sim::manner::{Act, Manner};
use strowger::sim::message::Message;
use strowger::sim::served::served;
use strowger::sim::story::{Call, Setup};

mod enroll;
mod fault;
mod health;
mod orders;
mod overload;
mod r01;
mod r01_contacts;
mod r01_guesses;
mod r01_table;
mod r02;
mod r03;
mod r03_explained;
mod r04;
mod r04_anchored;
mod r04_descriptions;
mod r05;
mod r06;
mod r06_keys;
mod r07;
mod r08;
mod r09;
mod r10;
mod r11;
mod r11_open;
mod r11_replaces;
mod r11_transfer;
mod r12;
mod r12_audio;
mod r12_flows;
mod r13;
mod r13_emergency;
mod r14;
mod register;
mod registrar;
mod rfc3261;
mod rfc5407;
mod traps;

/// The number that every story dials.
const DID: &str = "+12015550101";
/// Where it forwards to.
const FORWARD: &str = "+13125550199";
/// Who calls.
const CALLER: &str = "+14155550001";

/// The usual trunks and agents, and the DID with these keys.
fn number(keys: &str) -> Setup {
    Setup::new(served(), &format!("[[number]]\ndid = \"{DID}\"\n{keys}\n"))
}

/// The DID forwards through the trunk `mobile` with its two gateways.
fn forward() -> Setup {
    number(&format!("forward_to = \"{FORWARD}\""))
}

/// The DID rings alice and bob.
fn hunt() -> Setup {
    number("ring = [\"alice\", \"bob\"]")
}

/// Trunks with these keys beside the usual ones, all five agents with those, and the rest of the file.
fn node(carrier: &str, mobile: &str, agents: &str, rest: &str) -> Setup {
    Setup::new(served(), &node_text(carrier, mobile, agents, rest))
}

/// What [`node`] is configured by.
fn node_text(carrier: &str, mobile: &str, agents: &str, rest: &str) -> String {
    let gateways = [(layout::gateway_addr(0), 10), (layout::gateway_addr(1), 20)]
        .map(|(at, priority)| format!("{{ uri = \"sip:{at}\", priority = {priority} }}"));
    let mut text = format!(
        "[[trunk]]\nname = \"carrier\"\nfrom = [\"{}/32\"]\noptions_interval = 0\n{carrier}\n\n\
         [[trunk]]\nname = \"mobile\"\ngateways = [{}]\noutbound = true\noptions_interval = 0\n{mobile}\n\n",
        layout::CARRIER.ip(),
        gateways.join(", "),
    );
    for index in 0..5 {
        let (name, addr) = (layout::agent_name(index), layout::agent_addr(index));
        text += &format!("[[agent]]\nname = \"{name}\"\ncontact = \"sip:{name}@{addr}\"\n{agents}\n\n");
    }
    text + rest
}

/// The keys of a `[[number]]` in [`node`]'s rest.
fn did(keys: &str) -> String {
    format!("[[number]]\ndid = \"{DID}\"\n{keys}\n")
}

/// [`did`], forwarded.
fn did_forward() -> String {
    did(&format!("forward_to = \"{FORWARD}\""))
}

/// The caller's INVITE changed before it leaves.
fn invite(dress: fn(&mut Message)) -> Manner {
    Manner::default().dressed(dress)
}

/// A forwarded call that is bridged.
fn bridged() -> Call {
    let mut call = forward().incoming(DID).ringing(["gateway1"]);
    call.answers("gateway1");
    call.settle();
    call
}

const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

const fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// The header of the one message of that kind that crossed on that way.
#[track_caller]
fn header(call: &mut Call, way: &str, label: &str, name: &str) -> Option<String> {
    let found = call.messages(way, label);
    assert!(!found.is_empty(), "no {label} {way}");
    found[0].get(name).map(str::to_owned)
}

/// How many messages of that kind crossed on that way, repetitions included.
fn count(call: &mut Call, way: &str, label: &str) -> usize {
    call.messages(way, label).len()
}

/// Each leg of the record as `target end code`.
fn legs(call: &mut Call) -> Vec<String> {
    let cdr = call.cdr();
    let Some(legs) = cdr["legs"].as_array() else { return Vec::new() };
    let name = |leg: &serde_json::Value| leg["target"].as_str().unwrap_or("caller").to_owned();
    let code =
        |leg: &serde_json::Value| leg["sip_code"].as_u64().map_or("-".to_owned(), |code| code.to_string());
    legs.iter()
        .map(|leg| format!("{} {} {}", name(leg), leg["end"].as_str().unwrap_or("?"), code(leg)))
        .collect()
}

/// How the call ended, as `outcome code by`.
fn end(call: &mut Call) -> String {
    let cdr = call.cdr();
    let text = |key: &str| cdr[key].as_str().unwrap_or("-").to_owned();
    format!("{} {} {}", text("outcome"), cdr["sip_code"], text("ended_by"))
}

/// The body of a message as text.
fn body(message: &Message) -> String {
    String::from_utf8_lossy(&message.body).into_owned()
}

/// Nothing is there that a message could be delivered to, or there is again.
fn closed(call: &mut Call, name: &str, closed: bool) {
    for host in call.world.hosts.iter_mut().filter(|host| host.name == name) {
        host.habits = if closed { vec![strowger::sim::Habit::Unreachable] } else { Vec::new() };
    }
}

/// The caller's ACK of our 200, with that answer or without one.
fn ack_of(ok: &Message, answer: &str) -> Message {
    let copied = |name: &str| ok.get(name).unwrap_or_default().to_owned();
    Message::request("ACK", ok.contact().unwrap_or_default())
        .with("Via", "SIP/2.0/UDP 127.0.1.1:5060;branch=z9hG4bK-bare;rport")
        .with("From", copied("From"))
        .with("To", copied("To"))
        .with("Call-ID", copied("Call-ID"))
        .with("CSeq", format!("{} ACK", ok.cseq().0))
        .with_sdp((!answer.is_empty()).then_some(answer.as_bytes()))
}

/// What an end does, in a story's order.
fn acts(call: &mut Call, name: &str, act: &Act) {
    call.does(name, act.clone());
}
