//! R2, R3, R9, R13: what `route` says of a call is what the call does. Random configurations and phones, the real
//! exchange in virtual time, and every INVITE that leaves it.

use std::collections::{BTreeSet, VecDeque};
use std::fmt::Write as _;

use strowger::call::cdr::Cdr;
use strowger::config;
use strowger::routing::{ExplainedStep, ExplainedTarget, Explanation, Pai, Table};
use strowger::serve::replay::Replay;
use strowger::sim::Habit;
use strowger::sim::dice::Dice;
use strowger::sim::message::{uri_in, user_in};
use strowger::sim::wire::Way;
use strowger::time::Instant;

use super::register::Phone;
use super::*;

/// How many worlds; `EXPLAINED_SEEDS=1000..9000` runs others.
const SEEDS: std::ops::Range<u64> = 0..400;
const AGENTS: [&str; 3] = ["alice", "bob", "carol"];
const PASSWORD: &str = "open sesame";
/// Between a message and what it leads to, where nothing holds it back.
const AT_ONCE: Duration = Duration::from_millis(20);

/// What every called end does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ends {
    Ring,
    AreBusy,
    /// 403: the carrier may have refused the number that was shown.
    Refuse,
    /// 503: the next gateway is tried.
    Fail,
}

impl Ends {
    const ALL: [Ends; 4] = [Ends::Ring, Ends::AreBusy, Ends::Refuse, Ends::Fail];
}

/// One world to be.
#[derive(Debug)]
struct Drawn {
    routing: String,
    dialled: String,
    /// As the carrier writes it.
    written: String,
    /// Which agents register, and which of them at a second place beside a fixed phone.
    registers: [bool; 3],
    ends: Ends,
    is_text: bool,
}

#[test]
fn r03_what_route_says_is_what_the_call_does_whatever_is_configured() {
    let range = std::env::var("EXPLAINED_SEEDS").ok();
    let range = range.as_deref().and_then(|text| text.split_once(".."));
    let seeds = match range.map(|(from, to)| (from.parse(), to.parse())) {
        Some((Ok(from), Ok(to))) => from..to,
        Some((_, _)) | None => SEEDS,
    };
    let (mut ran, mut wrong, mut met) = (0, Vec::new(), BTreeSet::new());
    for seed in seeds.clone() {
        let drawn = draw(seed);
        // Not every file that is drawn is a configuration.
        let Ok(loaded) = config::parse(&drawn.routing, &|_| None) else { continue };
        ran += 1;
        match differs(&drawn, &Table::new(&loaded.config, 1, None), &mut met) {
            Ok(()) => {}
            Err(what) => wrong.push(format!("seed {seed}, {:?}: {what}\n{}", drawn.ends, drawn.routing)),
        }
    }
    assert!(wrong.is_empty(), "{} of {ran} worlds:\n{}", wrong.len(), wrong.join("\n\n"));
    let all = seeds.end - seeds.start;
    assert!(ran * 3 > all * 2, "only {ran} of {all} are configurations");
    let wanted = ["404", "480", "486", "agent", "forward", "held back", "second step", "the DID", "retried"];
    let unmet: Vec<_> = wanted.iter().filter(|what| !met.contains(*what)).collect();
    assert!(all < 100 || unmet.is_empty(), "the worlds are too much alike, in none was: {unmet:?}");
}

fn either(dice: &mut Dice, per_mille: u64, text: &str) -> String {
    if dice.chance(per_mille) { format!("{text}\n") } else { String::new() }
}

fn draw(seed: u64) -> Drawn {
    let mut dice = Dice::seeded(seed);
    let dice = &mut dice;
    let (carrier, written) = *dice.pick(&[
        ("", "+12015550101"),
        ("", "2015550101"),
        ("", "+1-201-555.0101;npdi"),
        ("numbers = \"digits\"", "12015550101"),
        ("strip = 1", "92015550101"),
        ("strip = 3\nprefix = \"1\"", "0092015550101"),
    ]);
    let (dialled, written) = match dice.below(8) {
        0 => ("+12015559999", "+12015559999".to_owned()),
        1 => (
            "+12015560007",
            written.replace("+1-201-555.0101", "+12015560007").replace("2015550101", "2015560007"),
        ),
        _ => (DID, written.to_owned()),
    };
    let written = if dialled == "+12015559999" { written_like(written.as_str(), carrier) } else { written };
    let mut text = format!(
        "[[trunk]]\nname = \"carrier\"\nfrom = [\"{}/32\"]\noptions_interval = 0\n{carrier}\n\n",
        layout::CARRIER.ip()
    );
    text += &trunks(dice);
    let mut registers = [false; 3];
    for (at, name) in AGENTS.into_iter().enumerate() {
        let fixed = dice.chance(600);
        registers[at] = dice.chance(400);
        text += &format!("[[agent]]\nname = \"{name}\"\npassword = \"{PASSWORD}\"\n");
        if fixed {
            text += &format!("contact = \"sip:{name}@{}\"\n", layout::agent_addr(at));
        }
        text += &either(dice, 200, "dnd = true");
        text += &either(dice, 300, "number = \"+12015550101\"");
        text.push('\n');
    }
    text += &either(dice, 300, "[dial]\nallow = [\"+1\", \"+44\"]\ndeny = [\"+1900\"]\n");
    text += "[[caller_id]]\nnumber = \"+12015550142\"\nverified = \"2026-11-01T10:00:00Z\"\n\n";
    if dice.chance(500) {
        text += &format!("[defaults]\n{}\n", shared_keys(dice));
    }
    text += &format!("[[profile]]\nname = \"realty\"\n{}\n", shared_keys(dice));
    for (did, disabled) in [(DID, 60), ("+1201556*", 100), ("+12015550102", 500)] {
        text += &format!("[[number]]\ndid = \"{did}\"\n{}", number_keys(dice));
        text += &either(dice, 300, "profile = \"realty\"");
        text += &either(dice, disabled, "enabled = false");
        text.push('\n');
    }
    let ends = *dice.pick(&Ends::ALL);
    let is_text = dice.chance(100);
    Drawn { routing: text, dialled: dialled.to_owned(), written, registers, ends, is_text }
}

/// A number that nobody has, as this carrier writes numbers.
fn written_like(number: &str, carrier: &str) -> String {
    let national = number.trim_start_matches("+1");
    match carrier {
        "" => number.to_owned(),
        "numbers = \"digits\"" => format!("1{national}"),
        "strip = 1" => format!("9{national}"),
        _ => format!("009{national}"),
    }
}

/// Two or three ways out. None are of equal rank: which of those is taken is drawn in each call.
fn trunks(dice: &mut Dice) -> String {
    let mut text = String::new();
    for (at, name) in ["mobile", "backup", "third"].into_iter().enumerate() {
        let gateways: Vec<String> = match (name, dice.below(8)) {
            ("third", 0) => Vec::new(),
            ("mobile", _) => [0, 1]
                .map(|gateway| {
                    format!(
                        "{{ uri = \"sip:{}\", priority = {} }}",
                        layout::gateway_addr(gateway),
                        20 - 10 * gateway
                    )
                })
                .into(),
            (_, _) => vec![format!("{{ uri = \"sip:{}\" }}", layout::gateway_addr(at + 1))],
        };
        let _whole = write!(
            text,
            "[[trunk]]\nname = \"{name}\"\ngateways = [{}]\noutbound = {}\nprefixes = {}\npriority = {}\n\
             numbers = \"{}\"\nforeign_caller_id = \"{}\"\npai = \"{}\"\noptions_interval = 0\n\n",
            gateways.join(", "),
            dice.chance(800),
            dice.pick(&["[\"+\"]", "[\"+1\"]", "[\"+1312\", \"+1\"]", "[\"+44\"]"]),
            10 * (at + 1) as u64,
            dice.pick(&["e164", "digits", "national"]),
            dice.pick(&["pass", "replace", "retry"]),
            dice.pick(&["caller", "did", "none"]),
        );
    }
    text
}

/// Keys that may stand in `[defaults]` and profiles.
fn shared_keys(dice: &mut Dice) -> String {
    let timeout = dice.within(5..40);
    [
        either(dice, 500, &format!("timeout = {timeout}")),
        either(dice, 250, "pass_called_number = true"),
        either(dice, 200, "ring = [\"bob\", \"carol\"]"),
        either(dice, 200, "assigned_to = \"carol\""),
        either(dice, 300, "assigned_head_start = 3"),
        either(dice, 150, "trunk = \"backup\""),
        either(dice, 150, "overflow = [{ ring = [\"alice\"], timeout = 7 }]"),
    ]
    .concat()
}

fn ring(dice: &mut Dice) -> String {
    let names: Vec<String> =
        AGENTS.iter().filter(|_| dice.chance(500)).map(|name| format!("\"{name}\"")).collect();
    format!("ring = [{}]", names.join(", "))
}

fn number_keys(dice: &mut Dice) -> String {
    let forward = *dice.pick(&[FORWARD, "+442079460000", "+13125550198"]);
    let (timeout, head_start) = (dice.within(5..40), dice.within(0..9));
    let (rings, trunk) = (ring(dice), *dice.pick(&["mobile", "backup", "third", ""]));
    let assigned = *dice.pick(&AGENTS);
    let steps: Vec<String> = (0..dice.below(3))
        .map(|_| {
            let (rings, timeout) = (ring(dice), dice.within(5..20));
            let forward = either(dice, 400, ", forward_to = \"+13125550197\"");
            format!("{{ {rings}, timeout = {timeout}{} }}", forward.trim_end())
        })
        .collect();
    [
        either(dice, 500, &format!("forward_to = \"{forward}\"")),
        either(dice, 600, &rings),
        either(dice, 400, &format!("timeout = {timeout}")),
        either(dice, 400, &format!("assigned_to = \"{assigned}\"")),
        either(dice, 400, &format!("assigned_head_start = {head_start}")),
        either(dice, 500, &format!("overflow = [{}]", steps.join(", "))),
        either(dice, 200, &format!("trunk = \"{trunk}\"")),
        either(dice, 200, "pass_called_number = true"),
        either(dice, 100, "pass_called_number = false"),
        either(dice, 200, "caller_id = \"+12015550142\""),
        "voicemail = false\n".to_owned(),
    ]
    .concat()
    .replace("pass_called_number = true\npass_called_number = false\n", "pass_called_number = false\n")
}

/// One INVITE: whither, whom it shows, and whom it asserts.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Sent {
    uri: String,
    shows: String,
    asserts: Option<String>,
}

/// INVITEs of which each follows when the one before has failed, and when the first is due.
#[derive(Debug)]
struct Chain {
    step: usize,
    after: Duration,
    left: VecDeque<Sent>,
}

/// Lets the world happen, and says where what was said of it was wrong.
fn differs(drawn: &Drawn, table: &Table, met: &mut BTreeSet<&'static str>) -> Result<(), String> {
    let mut call = Setup::new(served(), &drawn.routing).gateways(4).before_any_call();
    for (at, name) in AGENTS.into_iter().enumerate().filter(|(at, _)| drawn.registers[*at]) {
        // Beside a fixed phone a second one; else the only one.
        let fixed = table.agent(name).is_some_and(|agent| agent.contact.is_some());
        let place = layout::agent_addr(if fixed && at < 2 { 3 + at } else { at });
        let mut phone = Phone { call_id: name, ..Phone::new(name, PASSWORD, place) };
        assert_eq!(phone.registers(&mut call, |message| message), 200, "{name}");
    }
    let habit = match drawn.ends {
        Ends::Ring => Habit::Ignores,
        Ends::AreBusy | Ends::Refuse | Ends::Fail => Habit::Silent,
    };
    for host in call.world.hosts.iter_mut().skip(2) {
        host.habits = vec![habit];
    }
    let from = if drawn.is_text { "pbx-7" } else { CALLER };
    let said = call.world.explains(&drawn.routing, &drawn.dialled, Some(from)).ok_or("nothing is said")?;
    let manner = if drawn.is_text { invite(calls_itself_pbx) } else { Manner::default() };
    let mut call = call.dials(&drawn.written, manner);
    until_told(&mut call, drawn.ends)?;
    let chains = expected(&said, table, drawn.ends, met);
    follow(&call, &said, drawn.ends, chains).map_err(|wrong| format!("{}\n{wrong}", said.text))?;
    let told = call.caller_is_told();
    let due = said.refused.or(Some(verdict(&said, table, drawn.ends)));
    if told != due {
        return Err(format!("{}\nthe caller is told {told:?}, not {due:?}", said.text));
    }
    met.insert(match told {
        Some(404) => "404",
        Some(486) => "486",
        Some(_) | None => "480",
    });
    let cdr: Cdr = serde_json::from_value(call.cdr()).map_err(|error| error.to_string())?;
    let replayed = Replay::new(table, false, 1).judge(&cdr).map_err(|why| why.why().to_owned())?;
    if !replayed.differences.is_empty() {
        return Err(format!("replayed as it was: {:#?}\n{cdr:#?}", replayed.differences));
    }
    Ok(())
}

fn calls_itself_pbx(message: &mut Message) {
    let from = message.get("From").unwrap_or_default().replace(CALLER, "pbx-7");
    message.set("From", from);
    message.remove("P-Asserted-Identity");
}

/// Everybody does what the world has it do, until the caller has its answer.
fn until_told(call: &mut Call, ends: Ends) -> Result<(), String> {
    let code = match ends {
        Ends::Ring => None,
        Ends::AreBusy => Some(486),
        Ends::Refuse => Some(403),
        Ends::Fail => Some(503),
    };
    for _ in 0..400 {
        call.settle();
        if call.caller_is_told().is_some() {
            call.after(seconds(40));
            return Ok(());
        }
        let Some(code) = code else {
            call.after(millis(500));
            continue;
        };
        let names = call.world.hosts.iter().skip(2).map(|host| host.name.clone());
        for name in names.collect::<Vec<_>>() {
            refuse_all(call, &name, code);
        }
        call.after(millis(10));
    }
    Err("the caller is told nothing".to_owned())
}

/// Every call at this end is refused.
fn refuse_all(call: &mut Call, name: &str, code: u16) {
    let Some(host) = call.world.hosts.iter().position(|host| host.name == name) else { return };
    let open: Vec<String> = call.world.hosts[host].parties.keys().cloned().collect();
    for call_id in open {
        call.world.acts(host, &call_id, &Act::Refuses(code));
    }
}

/// The targets of a step that are rung.
fn rung(targets: &[ExplainedTarget]) -> impl Iterator<Item = &ExplainedTarget> {
    targets.iter().filter(|target| target.shows.is_some())
}

/// The INVITEs that what is said comes to.
fn expected(said: &Explanation, table: &Table, ends: Ends, met: &mut BTreeSet<&'static str>) -> Vec<Chain> {
    let mut all = Vec::new();
    let did = said.did.map(|did| did.to_string()).unwrap_or_default();
    for (step, told) in ringing(said).enumerate() {
        met.extend((step > 0).then_some("second step"));
        for target in rung(&told.targets) {
            met.insert(if target.role == "agent" { "agent" } else { "forward" });
            met.extend((target.delay_ms > 0).then_some("held back"));
            let shows = target.shows.clone().unwrap_or_default();
            let (first, then) = match shows.split_once(" (and ") {
                Some((first, rest)) => (first.to_owned(), rest.split(',').next().map(str::to_owned)),
                None => (shows, None),
            };
            met.extend((first == did).then_some("the DID"));
            let after = millis(target.delay_ms);
            if ends == Ends::Ring && target.delay_ms >= told.timeout_ms {
                continue;
            }
            let sent = |uri: &String, shows: &str| of_target(target, uri, shows, &did, table);
            let mut uris = target.uris.iter();
            if target.role == "agent" {
                all.extend(uris.map(|uri| Chain { step, after, left: [sent(uri, &first)].into() }));
                continue;
            }
            let mut left: VecDeque<Sent> = uris.by_ref().take(1).map(|uri| sent(uri, &first)).collect();
            match (then, ends) {
                (Some(then), Ends::Refuse) => {
                    met.insert("retried");
                    left.extend(target.uris.first().map(|uri| sent(uri, &then)));
                }
                (_, Ends::Fail) => left.extend(uris.map(|uri| sent(uri, &first))),
                (_, _) => {}
            }
            all.push(Chain { step, after, left });
        }
    }
    all
}

/// The steps in which somebody is rung.
fn ringing(said: &Explanation) -> impl Iterator<Item = &ExplainedStep> {
    said.steps.iter().filter(|step| rung(&step.targets).next().is_some())
}

/// One INVITE to one place of a target, as its trunk writes numbers.
fn of_target(target: &ExplainedTarget, uri: &str, shows: &str, did: &str, table: &Table) -> Sent {
    let trunk = target.trunk.as_deref().and_then(|name| table.trunk(name));
    let write = |number: &str| match (trunk, number.parse()) {
        (Some(trunk), Ok(number)) => trunk.write_number(number),
        (_, _) => number.to_owned(),
    };
    let uri = match trunk {
        Some(_) => format!("sip:{}@{}", write(&target.target), uri.trim_start_matches("sip:")),
        None => uri.to_owned(),
    };
    let asserts = match trunk.map(|trunk| trunk.pai) {
        None | Some(Pai::Caller) => Some(write(shows)),
        Some(Pai::Did) => Some(write(did)),
        Some(Pai::None) => None,
    };
    Sent { uri, shows: write(shows), asserts }
}

/// Takes each INVITE that left, in its order, off the chain that it is due in; at the end nothing is left.
fn follow(call: &Call, said: &Explanation, ends: Ends, mut chains: Vec<Chain>) -> Result<(), String> {
    let timeouts: Vec<u64> = ringing(said).map(|step| step.timeout_ms).collect();
    let crossings = &call.world.trace.crossings;
    let began = crossings.iter().find(|crossing| {
        let message = &crossing.message;
        crossing.way == Way::In && message.method() == "INVITE" && message.call_id() == call.call_id
    });
    let began = began.map(|crossing| crossing.at).ok_or("nobody called")?;
    let of_chains = chains.iter().flat_map(|chain| &chain.left);
    let said_at_all: BTreeSet<String> = of_chains.map(|sent| sent.uri.clone()).collect();
    let mut branches = BTreeSet::new();
    let invites = crossings.iter().filter(|crossing| {
        let message = &crossing.message;
        crossing.way == Way::Out
            && message.method() == "INVITE"
            && message.get("X-CID") == Some(&call.call_id)
            && branches.insert(message.branch().to_owned())
    });
    let user = |text: &str| user_in(uri_in(text)).to_owned();
    for crossing in invites {
        let message = &crossing.message;
        let sent = Sent {
            uri: message.uri().to_owned(),
            shows: user(message.get("From").unwrap_or_default()),
            asserts: message.get("P-Asserted-Identity").map(user),
        };
        let open = chains.iter().filter(|chain| !chain.left.is_empty()).map(|chain| chain.step).min();
        let (step, after) = match ends {
            Ends::Ring => in_time(crossing.at, began, &timeouts).map(|(step, after)| (step, Some(after)))?,
            // Whoever ends at once lets the next ring: all that is known is the order.
            Ends::AreBusy | Ends::Refuse | Ends::Fail => (open.unwrap_or(usize::MAX), None),
        };
        let is_due = |chain: &&mut Chain| {
            chain.step == step
                && after.is_none_or(|after| after == chain.after)
                && chain.left.front() == Some(&sent)
        };
        match chains.iter_mut().find(is_due) {
            Some(chain) => drop(chain.left.pop_front()),
            // The next trunk, when all gateways of the first have failed (R13).
            None if ends == Ends::Fail && !said_at_all.contains(&sent.uri) => {}
            None => return Err(format!("{sent:?} in step {step} after {after:?} was not said: {chains:#?}")),
        }
    }
    let left: Vec<&Chain> = chains.iter().filter(|chain| !chain.left.is_empty()).collect();
    if left.is_empty() { Ok(()) } else { Err(format!("never sent: {left:#?}")) }
}

/// In which step a moment lies, and how long after its begin.
fn in_time(at: Instant, began: Instant, timeouts: &[u64]) -> Result<(usize, Duration), String> {
    let mut since = at.since(began);
    for (step, timeout) in timeouts.iter().enumerate() {
        match since.checked_sub(millis(*timeout)) {
            Some(rest) if step + 1 < timeouts.len() => since = rest,
            Some(_) | None => {
                let whole = Duration::from_secs(since.as_secs());
                return match since - whole < AT_ONCE {
                    true => Ok((step, whole)),
                    false => Err(format!("an INVITE {since:?} after the begin of step {step}")),
                };
            }
        }
    }
    Err(format!("an INVITE {since:?} after the call's begin, and nobody to ring"))
}

/// What a caller is told whom nobody answered (R8).
fn verdict(said: &Explanation, table: &Table, ends: Ends) -> u16 {
    let mut targets = said.steps.iter().flat_map(|step| &step.targets);
    let is_busy = |target: &ExplainedTarget| match &target.shows {
        Some(_) => ends == Ends::AreBusy,
        None => table.agent(&target.target).is_some_and(|agent| agent.dnd),
    };
    if targets.all(is_busy) { 486 } else { 480 }
}
