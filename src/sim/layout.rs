//! Who lives where in the world, and the operator's file that says so.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::dice::Dice;

pub const SERVER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 1)), 5060);
/// What our descriptions name where audio comes through us.
pub const AUDIO: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 9));
/// The carrier whose SBC sends calls in.
pub const CARRIER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 1, 1)), 5060);
/// Somebody whom no trunk names.
pub const STRANGER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 9, 9)), 5060);

pub fn agent_addr(index: usize) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 2, 1 + index as u8)), 5060)
}

pub fn gateway_addr(index: usize) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 3, 1 + index as u8)), 5060)
}

const NAMES: [&str; 10] =
    ["alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi", "ivan", "judy"];

/// The name of the agent at that place.
pub fn agent_name(index: usize) -> String {
    NAMES.get(index).map_or_else(|| format!("agent{index}"), |name| (*name).to_owned())
}

/// A number that the operator does not have.
pub const NOBODYS: &str = "+12019990000";

/// How many numbers the operator has.
pub const NUMBERS: usize = 8;

pub fn did(index: usize) -> String {
    format!("+1201555{:04}", 100 + index)
}

pub fn is_did(number: &str) -> bool {
    number.strip_prefix("+1201555").is_some_and(|rest| rest.len() == 4)
}

/// The number that a DID is forwarded to in one generation. It names the generation, so that the wire shows
/// which one a call used.
pub fn forward_number(generation: u64, index: usize) -> String {
    format!("+1312{:03}{:04}", 200 + generation % 800, index)
}

/// The generation that a forwarded number names, less full turns of 800.
pub fn generation_of(number: &str) -> Option<u64> {
    number.strip_prefix("+1312")?.get(..3)?.parse::<u64>().ok()?.checked_sub(200)
}

/// Draws an operator's `routing` file for so many agents and gateways. `speaks`: its numbers have settings of audio too.
pub fn draw(dice: &mut Dice, generation: u64, agents: usize, gateways: usize, speaks: bool) -> String {
    let mut text = format!(
        "[[trunk]]\nname = \"carrier\"\nfrom = [\"{}/32\"]\ntrusted_identity = true\n\
         options_interval = 0\n\n",
        CARRIER.ip()
    );
    let uris: Vec<String> =
        (0..gateways).map(|index| format!("{{ uri = \"sip:{}\" }}", gateway_addr(index))).collect();
    text += &format!(
        "[[trunk]]\nname = \"mobile\"\ngateways = [{}]\noutbound = true\noptions_interval = {}\n{}\n",
        uris.join(", "),
        // In two of three generations, the first among them, the gateways are asked whether they live.
        if generation.is_multiple_of(3) { 0 } else { 20 },
        limits(generation)
    );
    for index in 0..agents {
        let name = agent_name(index);
        let max_calls = dice.within(1..4);
        text += &format!(
            "[[agent]]\nname = \"{name}\"\ncontact = \"sip:{name}@{}\"\nnumber = \"{}\"\n\
             max_calls = {max_calls}\ndnd = {}\n\n",
            agent_addr(index),
            did(index % NUMBERS),
            dice.chance(50),
        );
    }
    for index in 0..NUMBERS {
        text += &number(dice, generation, index, agents);
        if speaks {
            text += &audio(dice);
        }
    }
    text
}

/// In every other generation the way out has limits.
fn limits(generation: u64) -> &'static str {
    match generation % 4 {
        2 => "max_calls = 2\nforeign_caller_id = \"retry\"\n",
        0 => "max_calls = 3\nmax_cps = 1\nlimit_code = 486\n",
        _ => "",
    }
}

fn number(dice: &mut Dice, generation: u64, index: usize, agents: usize) -> String {
    let forward = forward_number(generation, index);
    let mut text = format!("[[number]]\ndid = \"{}\"\n", did(index));
    let ring = some_agents(dice, agents);
    match dice.below(6) {
        0 | 1 => text += &format!("forward_to = \"{forward}\"\n"),
        2 => text += &format!("ring = [{ring}]\n"),
        3 => text += &format!("forward_to = \"{forward}\"\nring = [{ring}]\n"),
        4 => text += &format!("assigned_to = \"{}\"\n", agent_name(dice.below(agents as u64) as usize)),
        _ => {
            let assigned = agent_name(dice.below(agents as u64) as usize);
            let head_start = dice.below(8);
            text += &format!(
                "ring = [{ring}]\nassigned_to = \"{assigned}\"\nassigned_head_start = {head_start}\n"
            );
        }
    }
    text += &format!("timeout = {}\n", dice.within(10..31));
    if dice.chance(300) {
        text += "pass_called_number = true\n";
    }
    if dice.chance(300) {
        let ring = some_agents(dice, agents);
        text += &format!("overflow = [{{ ring = [{ring}], timeout = {} }}]\n", dice.within(10..20));
    }
    text + "\n"
}

/// A number's settings of what is said, asked, recorded and kept.
fn audio(dice: &mut Dice) -> String {
    let mut text = String::new();
    if dice.chance(500) {
        text += &format!("call_connect = true\ncall_connect_seconds = {}\n", dice.within(5..20));
    }
    if dice.chance(500) {
        text += &format!("whisper = \"Whisper\"\nwhisper_agents = {}\n", dice.chance(500));
    }
    if dice.chance(500) {
        text += "record = true\n";
        if dice.chance(500) {
            text += "record_notice = \"Notice\"\n";
        }
    }
    text += match dice.below(3) {
        0 => "voicemail = false\n",
        1 => "voicemail = true\n",
        _ => "voicemail = { greeting = \"Greeting\", max_seconds = 30, min_seconds = 2 }\n",
    };
    text + "\n"
}

/// One agent or more, each once, as a list's inside.
fn some_agents(dice: &mut Dice, agents: usize) -> String {
    let first = dice.below(agents as u64) as usize;
    let count = 1 + dice.below(agents as u64) as usize;
    let names: Vec<String> =
        (0..count).map(|step| format!("\"{}\"", agent_name((first + step) % agents))).collect();
    names.join(", ")
}
