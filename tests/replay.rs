//! `check --replay`: past calls through another configuration. What a record tells, and what it cannot.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use ran::Ran;
use schema::violations;
use serde_json::Value;
use strowger::call::cdr::{Beginning, Cdr, CdrLeg, Direction, LegEnd, Outcome, Role};
use strowger::config;
use strowger::routing::Table;
use strowger::serve::replay::{Replay, Unjudged};
use strowger::time::Wall;

#[path = "common/ran.rs"]
mod ran;
#[path = "common/schema.rs"]
mod schema;

const DID: &str = "+12015550101";
const CALLER: &str = "+12025550123";
const FORWARD: &str = "+13125550199";
/// 2026-11-01T10:00:00Z.
const BEGAN: u64 = 1_793_527_200_000;

/// The trunks and agents of every case.
const ENDS: &str = r#"
[media]
addr = "127.0.0.1"
[[trunk]]
name = "carrier"
from = ["127.0.1.1/32"]
[[trunk]]
name = "mobile"
gateways = [{ uri = "sip:127.0.3.1" }]
outbound = true
[[trunk]]
name = "backup"
gateways = [{ uri = "sip:127.0.3.2" }]
outbound = true
priority = 20
[[trunk]]
name = "twin"
gateways = [{ uri = "sip:127.0.3.3" }]
outbound = true
[[agent]]
name = "alice"
contact = "sip:alice@127.0.2.1"
number = "+12015550101"
[[agent]]
name = "bob"
contact = "sip:bob@127.0.2.2"
[[agent]]
name = "carol"
password = "x"
[[agent]]
name = "zora"
contact = "sip:zora@127.0.2.3"
dnd = true
[[caller_id]]
number = "+12015550142"
verified = "2026-11-01T10:00:00Z"
"#;

/// A call in, each leg as `target from–to end`, in seconds: `alice 0-20 timeout`, `+1312…/mobile 0-5 won`.
fn then(outcome: Outcome, code: u16, legs: &[&str]) -> Cdr {
    of(Direction::Inbound, DID, outcome, code, legs)
}

fn of(direction: Direction, dialled: &str, outcome: Outcome, code: u16, legs: &[&str]) -> Cdr {
    let is_inbound = direction == Direction::Inbound;
    let at = |seconds: f64| Wall(BEGAN + (seconds * 1_000.0) as u64);
    let begun = Beginning {
        id: "01k6b8qf7naahvhp2txmpych".into(),
        node: "edge-1".into(),
        generation: 1,
        account: "".into(),
        direction,
        trunk: is_inbound.then(|| "carrier".into()),
        did: Some(DID.into()),
        dialled: dialled.into(),
        caller: Some(if is_inbound { CALLER.into() } else { DID.into() }),
        withheld: false,
        started: at(0.0),
    };
    let mut all = vec![CdrLeg {
        peer: Some("127.0.1.1:5060".parse().unwrap()),
        ..CdrLeg::new(0, Role::Caller, at(0.0), at(0.0), LegEnd::Normal)
    }];
    let mut ended = at(0.0);
    for (id, leg) in (1..).zip(legs) {
        let words: Vec<&str> = leg.split(' ').collect();
        let (target, trunk) = words[0].split_once('/').map_or((words[0], None), |(to, by)| (to, Some(by)));
        let (from, to) = words[1].split_once('-').unwrap();
        let (code, end) = match words[2].parse() {
            Ok(code) => (Some(code), LegEnd::Failed),
            Err(_) => (None, serde_json::from_value(words[2].into()).unwrap()),
        };
        let to = at(to.parse().unwrap());
        all.push(CdrLeg {
            target: Some(target.into()),
            trunk: trunk.map(Into::into),
            presented: Some(
                words.get(3).map_or_else(|| begun.caller.clone().unwrap(), |shown| (*shown).into()),
            ),
            answered: (end == LegEnd::Won).then_some(to),
            sip_code: code,
            ..CdrLeg::new(
                id,
                if trunk.is_some() { Role::Forward } else { Role::Agent },
                at(from.parse().unwrap()),
                to,
                end,
            )
        });
        ended = ended.max(to);
    }
    let winner = all.iter().find(|leg| leg.end == LegEnd::Won).map(|leg| leg.id);
    Cdr { winner, answered: winner.map(|_| ended), legs: all, ..begun.ended(ended, outcome, code) }
}

/// What is told of a call with that `[[number]]`, in the words of a line.
fn told(number: &str, cdr: &Cdr) -> Vec<String> {
    told_by(&format!("{ENDS}[[number]]\ndid = \"{DID}\"\n{number}\n"), cdr)
}

fn told_by(text: &str, cdr: &Cdr) -> Vec<String> {
    let config = config::parse(text, &|_| None).unwrap().config;
    let table = Table::new(&config, 1, None);
    let compared = Replay::new(&table, true, 1).judge(cdr).unwrap();
    compared.differences.iter().map(|one| format!("{}, would {}", one.was, one.would)).collect()
}

#[test]
fn r03_who_was_rung_and_would_not_be_is_told_and_who_may_have_been_away_is_not() {
    use Outcome::{Answered, Busy, Cancelled, NoAnswer, Unreachable};
    let quiet = |keys: &str| format!("{keys}\nvoicemail = false");
    let pair = &["alice 0-5 won", "bob 0-5 elsewhere"];
    for (keys, cdr, expected) in [
        ("ring = [\"alice\", \"bob\"]", then(Answered, 200, pair), vec![]),
        (
            "ring = [\"alice\", \"carol\"]",
            then(Answered, 200, pair),
            vec!["rang alice and bob, would ring alice and carol for 20 s"],
        ),
        // Carol may have had no phone there.
        ("ring = [\"alice\", \"bob\", \"carol\"]", then(Answered, 200, pair), vec![]),
        (
            "ring = [\"alice\", \"zora\"]",
            then(Answered, 200, &["alice 0-5 won", "zora 0-5 elsewhere"]),
            vec!["rang alice and zora, would ring alice for 20 s, and not zora (do not disturb)"],
        ),
        // A number is always there.
        (
            "ring = [\"alice\"]\nforward_to = \"+13125550199\"",
            then(Answered, 200, &["alice 0-5 won"]),
            vec!["rang alice, would ring +13125550199 and alice for 20 s"],
        ),
        // The overflow was never reached, or was.
        (
            "ring = [\"alice\"]\noverflow = [{ forward_to = \"+13125550199\" }]",
            then(Answered, 200, &["alice 0-5 won"]),
            vec![],
        ),
        (
            "ring = [\"alice\"]\noverflow = [{ forward_to = \"+13125550199\" }]",
            then(NoAnswer, 480, &["alice 0-20 timeout"]),
            vec!["rang alice, would ring alice for 20 s, then +13125550199 for 20 s"],
        ),
        (
            "ring = [\"alice\"]",
            then(NoAnswer, 480, &["alice 0-20 timeout", "bob 20-40 timeout"]),
            vec!["rang alice, then bob, would ring alice for 20 s"],
        ),
        (
            "ring = [\"alice\"]\noverflow = [{ ring = [\"bob\"] }]",
            then(NoAnswer, 480, &["alice 0-20 timeout", "bob 20-40 timeout"]),
            vec![],
        ),
        // The first step had nobody there.
        (
            "ring = [\"carol\"]\noverflow = [{ ring = [\"bob\"] }]",
            then(Cancelled, 487, &["bob 0-3 cancelled"]),
            vec![],
        ),
        // Twice in the steps, once in the plan.
        (
            "ring = [\"alice\"]",
            then(NoAnswer, 480, &["alice 0-20 timeout", "alice 20-40 timeout"]),
            vec!["rang alice, then alice, would ring alice for 20 s"],
        ),
        // What a leg led to is not of the plan's making.
        ("ring = [\"alice\"]", then(Answered, 200, &["alice 0-2 302", "bob 2-9 won"]), vec![]),
        ("ring = [\"alice\"]", then(Busy, 486, &["alice 0-2 busy", "alice 0-3 busy"]), vec![]),
        ("ring = [\"carol\"]", then(Unreachable, 480, &[]), vec![]),
        (
            "forward_to = \"+13125550199\"",
            then(Unreachable, 480, &[]),
            vec!["rang nobody and was answered 480, would ring +13125550199 for 20 s"],
        ),
    ] {
        assert_eq!(told(&quiet(keys), &cdr), expected, "{keys}: {:#?}", cdr.legs);
    }
}

#[test]
fn r03_how_long_and_after_what_head_start_is_told_where_the_record_shows_it() {
    use Outcome::{Answered, Cancelled, NoAnswer};
    let headed = "ring = [\"bob\"]\nassigned_to = \"alice\"\nassigned_head_start = 5";
    for (keys, cdr, expected) in [
        (
            "ring = [\"alice\"]\ntimeout = 30",
            then(NoAnswer, 480, &["alice 0-20 timeout"]),
            vec!["rang alice for 20 s, would ring for 30 s"],
        ),
        ("ring = [\"alice\"]\ntimeout = 30", then(Cancelled, 487, &["alice 0-20 cancelled"]), vec![]),
        (
            "ring = [\"alice\"]\ntimeout = 15",
            then(Answered, 200, &["alice 0-18 won"]),
            vec!["rang alice for 18 s, would ring for 15 s"],
        ),
        ("ring = [\"alice\"]\ntimeout = 20", then(NoAnswer, 480, &["alice 0-20.4 timeout"]), vec![]),
        (headed, then(Answered, 200, &["alice 0-9 elsewhere", "bob 5-9 won"]), vec![]),
        (headed, then(Answered, 200, &["alice 0-3 won"]), vec![]),
        (
            headed,
            then(Answered, 200, &["alice 0-9 elsewhere", "bob 0-9 won"]),
            vec!["rang bob at once, would ring bob after 5 s"],
        ),
        // Whoever refuses lets the others ring at once.
        (headed, then(Answered, 200, &["alice 0-2 busy", "bob 2-9 won"]), vec![]),
        // She was not there.
        (headed, then(Answered, 200, &["bob 0-9 won"]), vec![]),
    ] {
        assert_eq!(told(&format!("{keys}\nvoicemail = false"), &cdr), expected, "{keys}: {:#?}", cdr.legs);
    }
}

#[test]
fn r02_a_number_that_was_none_of_ours_and_one_that_is_no_more() {
    let ring = "ring = [\"alice\"]";
    let refused = then(Outcome::Failed, 404, &[]);
    assert_eq!(told(ring, &refused), ["was answered 404, would ring alice for 20 s"]);
    assert_eq!(told(&format!("{ring}\nenabled = false"), &refused), [""; 0]);
    let answered = then(Outcome::Answered, 200, &["alice 0-5 won"]);
    assert_eq!(told(&format!("{ring}\nenabled = false"), &answered), ["rang alice, would be answered 404"]);
    // What was no number is read as its trunk reads it.
    let mut short = then(Outcome::Failed, 404, &[]);
    short.dialled = "0101".into();
    let text = |carrier: &str| {
        let ends = ENDS.replace("name = \"carrier\"", &format!("name = \"carrier\"\n{carrier}"));
        format!("{ends}[[number]]\ndid = \"{DID}\"\n{ring}\n")
    };
    assert_eq!(told_by(&text(""), &short), [""; 0]);
    assert_eq!(
        told_by(&text("prefix = \"1201555\""), &short),
        ["was answered 404, would ring alice for 20 s"]
    );
}

#[test]
fn r13_through_which_trunk_and_r09_as_whom() {
    let leg = |trunk: &str, shown: &str| {
        then(Outcome::Answered, 200, &[&format!("{FORWARD}/{trunk} 0-5 won {shown}")])
    };
    let forward = "forward_to = \"+13125550199\"";
    for (keys, cdr, expected) in [
        (forward.to_owned(), leg("mobile", CALLER), vec![]),
        // Of equal rank: drawn.
        (forward.to_owned(), leg("twin", CALLER), vec![]),
        (
            format!("{forward}\ntrunk = \"backup\""),
            leg("mobile", CALLER),
            vec!["forwarded to +13125550199 through trunk mobile, would go through trunk backup"],
        ),
        (
            format!("{forward}\npass_called_number = true"),
            leg("mobile", CALLER),
            vec!["showed +13125550199 the caller's number, would show +12015550101"],
        ),
        (
            forward.to_owned(),
            leg("mobile", DID),
            vec!["showed +13125550199 +12015550101, would show the caller's number"],
        ),
    ] {
        assert_eq!(told(&keys, &cdr), expected, "{keys}");
    }
    let mut withheld = leg("mobile", CALLER);
    withheld.withheld = true;
    withheld.caller = None;
    withheld.legs[1].presented = None;
    assert_eq!(told(forward, &withheld), [""; 0]);
}

#[test]
fn r13_to_which_gateway_and_r03_to_which_fixed_contact() {
    let reached = |leg: &str, addr: &str| {
        let mut cdr = then(Outcome::Answered, 200, &[leg]);
        cdr.legs[1].peer = Some(addr.parse().unwrap());
        cdr
    };
    let forwarded = reached("+13125550199/mobile 0-5 won", "127.0.3.1:5060");
    let alice = reached("alice 0-5 won", "127.0.2.1:5060");
    let carol = reached("carol 0-5 won", "127.0.9.9:40000");
    let text = |keys: &str| format!("{ENDS}[[number]]\ndid = \"{DID}\"\n{keys}\n");
    let (forward, ring) = ("forward_to = \"+13125550199\"", "ring = [\"alice\"]");
    let (gateway, contact) = ("{ uri = \"sip:127.0.3.1\" }", "sip:alice@127.0.2.1");
    for (keys, from, to, cdr, expected) in [
        (forward, "", "", &forwarded, vec![]),
        (
            forward,
            gateway,
            "{ uri = \"sip:127.0.3.7:5080\" }",
            &forwarded,
            vec!["reached +13125550199 at 127.0.3.1:5060, would go to 127.0.3.7:5080"],
        ),
        // Which of them are up no record tells.
        (
            forward,
            gateway,
            "{ uri = \"sip:127.0.3.7\" }, { uri = \"sip:127.0.3.1\", priority = 20 }",
            &forwarded,
            vec![],
        ),
        (
            forward,
            gateway,
            "{ uri = \"sip:127.0.3.7\" }, { uri = \"sip:127.0.3.8\" }",
            &forwarded,
            vec!["reached +13125550199 at 127.0.3.1:5060, would go to 127.0.3.7:5060 or 127.0.3.8:5060"],
        ),
        (
            forward,
            gateway,
            "{ uri = \"sip:gw.example.com\" }, { uri = \"sip:127.0.3.8\" }",
            &forwarded,
            vec![],
        ),
        (ring, "", "", &alice, vec![]),
        (
            ring,
            contact,
            "sip:alice@127.0.2.1:5099",
            &alice,
            vec!["reached alice at 127.0.2.1:5060, would go to 127.0.2.1:5099"],
        ),
        // Neither the user part nor the transport is in a record.
        (ring, contact, "sip:rob@127.0.2.1;transport=tcp", &alice, vec![]),
        (forward, "sip:127.0.3.1", "sip:127.0.3.1;transport=tcp", &forwarded, vec![]),
        (
            ring,
            "contact = \"sip:alice@127.0.2.1\"\n",
            "",
            &alice,
            vec!["reached alice at 127.0.2.1:5060, would go nowhere: it has no address and cannot register"],
        ),
        // A phone that registers, or may, is anywhere.
        ("ring = [\"carol\"]", "", "", &carol, vec![]),
        (ring, contact, "sip:alice@127.0.2.9\"\npassword = \"x", &alice, vec![]),
        // That it would go by another trunk says enough.
        (
            "forward_to = \"+13125550199\"\ntrunk = \"backup\"",
            "",
            "",
            &forwarded,
            vec!["forwarded to +13125550199 through trunk mobile, would go through trunk backup"],
        ),
    ] {
        assert!(ENDS.contains(from), "{from}");
        let text = if from.is_empty() { text(keys) } else { text(keys).replace(from, to) };
        assert_eq!(told_by(&text, cdr), expected, "{keys}: {to}");
    }
}

#[test]
fn where_a_name_leads_is_not_looked_up_and_the_summary_says_so_once() {
    let folder = folder();
    let file = folder.path().join("config/routing/all.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("sip:alice@127.0.2.1", "sip:alice@phone.example.com")).unwrap();
    let mut cdr = then(Outcome::Answered, 200, &["alice 0-5 won", "carol 0-5 elsewhere"]);
    cdr.legs[1].peer = Some("127.0.2.1:5060".parse().unwrap());
    let ran = strowger(folder.path(), &["check", "--replay", "-"], &[&cdr, &cdr].map(line).concat());
    let lines: Vec<&str> = ran.out.lines().collect();
    assert_eq!(
        lines,
        [
            "2 calls would go where a name leads: whether to another address than then is not looked up",
            "2 calls read, 0 would be routed otherwise, 0 could not be judged",
        ],
        "{}",
        ran.err
    );
}

#[test]
fn what_is_kept_asked_and_counted_is_told_too() {
    let ring = "ring = [\"alice\"]";
    let mut recorded = then(Outcome::Answered, 200, &["alice 0-5 won"]);
    recorded.recording = Some("x".into());
    assert_eq!(told(ring, &recorded), ["was recorded, would not be"]);
    assert_eq!(told(&format!("{ring}\nrecord = true"), &recorded), [""; 0]);
    let plain = then(Outcome::Answered, 200, &["alice 0-5 won"]);
    assert_eq!(told(&format!("{ring}\nrecord = true"), &plain), ["was not recorded, would be"]);
    assert_eq!(
        told(&format!("{ring}\naccount = \"realty\""), &plain),
        ["was on no account, would be on account realty"]
    );
    let unanswered = then(Outcome::NoAnswer, 480, &["alice 0-20 timeout"]);
    assert_eq!(told(ring, &unanswered), ["was answered 480, would go to voicemail"]);
    let mut message = then(Outcome::Voicemail, 200, &["alice 0-20 timeout"]);
    message.answered = Some(message.ended);
    assert_eq!(told(ring, &message), [""; 0]);
    assert_eq!(told(&format!("{ring}\nvoicemail = false"), &message), ["went to voicemail, would not"]);
    let forward = "forward_to = \"+13125550199\"\nvoicemail = false";
    let mut pressed = then(Outcome::Answered, 200, &["+13125550199/mobile 0-5 won"]);
    assert_eq!(
        told(&format!("{forward}\ncall_connect = true"), &pressed),
        ["+13125550199 was not asked to press 1, would be"]
    );
    pressed.legs[1].confirmed = pressed.answered;
    assert_eq!(told(forward, &pressed), ["+13125550199 had to press 1, would not have to"]);
}

#[test]
fn r01_whose_address_no_trunk_holds_any_more_would_be_refused() {
    let text = |from: &str| {
        let ends = ENDS.replace("127.0.1.1/32", from);
        format!("{ends}[[number]]\ndid = \"{DID}\"\nring = [\"alice\"]\n")
    };
    let cdr = then(Outcome::Answered, 200, &["alice 0-5 won"]);
    let refused = ["came in by trunk carrier, would be refused: no trunk's `from` holds its address"];
    assert_eq!(told_by(&text("127.0.1.9/32"), &cdr), refused);
    let other = format!("{}[[trunk]]\nname = \"sbc\"\nfrom = [\"127.0.1.0/24\"]\n", text("127.0.1.9/32"));
    assert_eq!(told_by(&other, &cdr), ["came in by trunk carrier, would come in by sbc"]);
}

#[test]
fn r13_an_agents_call_is_judged_by_the_number_that_it_showed() {
    let out = |dialled: &str, trunk: &str| {
        let leg = format!("{dialled}/{trunk} 0-5 won {DID}");
        of(Direction::Outbound, dialled, Outcome::Answered, 200, &[&leg])
    };
    let ring = "ring = [\"alice\"]";
    assert_eq!(told(ring, &out("+12125550188", "mobile")), [""; 0]);
    assert_eq!(
        told(&format!("{ring}\ntrunk = \"backup\""), &out("+12125550188", "mobile")),
        ["called +12125550188 through trunk mobile, would go through trunk backup"]
    );
    assert_eq!(
        told(&format!("{ring}\ncaller_id = \"+12015550142\""), &out("+12125550188", "mobile")),
        ["showed +12125550188 +12015550101, would show +12015550142"]
    );
    assert_eq!(told(ring, &out("+19005550000", "mobile")), ["rang +19005550000, would be answered 403"]);
    let mut blocked = of(Direction::Outbound, "+19005550000", Outcome::Blocked, 403, &[]);
    blocked.did = None;
    assert_eq!(told(ring, &blocked), [""; 0]);
    assert_eq!(
        told(&format!("{ring}\n[dial]\nallow = [\"+1\"]\ndeny = [\"+1809\"]"), &blocked),
        ["was answered 403, would ring +19005550000 for 180 s"]
    );
}

#[test]
fn what_a_record_cannot_tell_is_not_judged() {
    let config = config::parse(&format!("{ENDS}[[number]]\ndid = \"{DID}\"\n"), &|_| None).unwrap().config;
    let table = Table::new(&config, 1, None);
    let judged = |cdr: &Cdr| Replay::new(&table, true, 1).judge(cdr).unwrap_err();
    assert_eq!(judged(&then(Outcome::Failed, 482, &[])), Unjudged::RefusedForItself);
    assert_eq!(judged(&then(Outcome::Blocked, 503, &[])), Unjudged::RefusedForItself);
    let mut unknown = then(Outcome::Answered, 200, &["alice 0-5 won"]);
    unknown.trunk = Some("gone".into());
    unknown.legs[0].peer = None;
    assert_eq!(judged(&unknown), Unjudged::UnknownSender);
    let mut foreign =
        of(Direction::Outbound, "+12125550188", Outcome::Answered, 200, &["+12125550188/mobile 0-5 won"]);
    (foreign.did, foreign.caller) = (Some("+12015550199".into()), Some("+12015550199".into()));
    assert_eq!(judged(&foreign), Unjudged::UnknownAgent);
    let mut joined = then(Outcome::Answered, 200, &["alice 0-5 won"]);
    joined.legs[1].role = Role::Transfer;
    assert_eq!(judged(&joined), Unjudged::JoinedAnother);
}

/// A folder whose configuration rings alice and carol.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("config/routing")).unwrap();
    let node = "[media]\naddr = \"127.0.0.1\"\n";
    let rest = ENDS.replace(node, "");
    std::fs::write(folder.path().join("config/strowger.toml"), node).unwrap();
    let text = format!("{rest}[[number]]\ndid = \"{DID}\"\nring = [\"alice\", \"carol\"]\n");
    std::fs::write(folder.path().join("config/routing/all.toml"), text).unwrap();
    folder
}

fn strowger(folder: &Path, args: &[&str], input: &str) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_strowger"));
    command.args(args).current_dir(folder).env_remove("STROWGER_LOG");
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    Ran::of(child.wait_with_output().unwrap())
}

fn line(cdr: &Cdr) -> String {
    serde_json::to_string(cdr).unwrap() + "\n"
}

#[test]
fn calls_are_listed_alike_ones_together_and_the_last_line_counts() {
    let folder = folder();
    let same = then(Outcome::Answered, 200, &["alice 0-5 won"]);
    let bob = then(Outcome::Answered, 200, &["bob 0-5 won"]);
    let refused = Cdr { id: "second".into(), ..then(Outcome::Failed, 404, &[]) };
    let unjudged = then(Outcome::Failed, 482, &[]);
    let text = [&same, &bob, &bob, &refused, &unjudged].map(line).concat();
    std::fs::write(folder.path().join("a.jsonl"), &text).unwrap();
    let ran = strowger(folder.path(), &["check", "--replay", "a.jsonl", "-"], &line(&same));
    assert_eq!(ran.code, 1, "{}", ran.err);
    let lines: Vec<&str> = ran.out.lines().collect();
    assert_eq!(
        lines,
        [
            "call 01k6b8qf7naahvhp2txmpych +12015550101 from +12025550123, 2026-11-01T10:00:00.000Z: rang bob, \
             would ring alice and carol for 20 s (and 1 call more to this number)",
            "call second +12015550101 from +12025550123, 2026-11-01T10:00:00.000Z: was answered 404, would ring \
             alice and carol for 20 s",
            "carol might ring too in 2 calls: whether it was there and free, no record tells",
            "not judged, 1 call: refused for what they were themselves: a loop, a limit, an offer …",
            "6 calls read, 3 would be routed otherwise, 1 could not be judged",
        ],
        "{}",
        ran.out
    );
    let ran = strowger(folder.path(), &["check", "--list", "1", "--replay", "a.jsonl"], "");
    assert!(ran.out.contains("and 1 call more, not listed\n"), "{}", ran.out);
    let ran = strowger(folder.path(), &["check", "--replay", "-"], &line(&same));
    let last = "1 call read, 0 would be routed otherwise, 0 could not be judged\n";
    assert!(ran.code == 0 && ran.out.ends_with(last), "{}", ran.out);
}

#[test]
fn a_line_that_is_no_record_is_told_with_its_place_and_passed_over() {
    let folder = folder();
    let same = line(&then(Outcome::Answered, 200, &["alice 0-5 won"]));
    let further = same.replacen('{', "{\"unheard_of\":[1],", 1);
    let newer = same.replacen("\"v\":1", "\"v\":2", 1);
    let long = "x".repeat((1 << 20) + 9);
    let text = format!("{same}\nwhat?\n{further}{newer}{long}\n{same}");
    let ran = strowger(folder.path(), &["check", "--replay", "-"], text.trim_end());
    assert_eq!(ran.code, 0, "{}", ran.err);
    let told: Vec<&str> = ran.err.lines().filter(|line| line.starts_with("stdin:")).collect();
    assert_eq!(told.len(), 3, "{}", ran.err);
    for (line, starts) in told.iter().zip([
        "stdin:3: no call record",
        "stdin:5: a record of version 2: this program reads version 1",
        "stdin:6: longer than 1048576 bytes",
    ]) {
        assert!(line.starts_with(starts) && line.ends_with("; passed over"), "{line}");
    }
    assert!(ran.out.contains("\nlines that are no records: 3\n3 calls read, 0 would"), "{}", ran.out);
    // Not each of very many.
    let ran = strowger(folder.path(), &["check", "--replay", "-"], &"what?\n".repeat(150));
    assert_eq!(ran.err.lines().filter(|line| line.starts_with("stdin:")).count(), 100);
    assert!(ran.err.contains("50 lines more are no records"), "{}", ran.err);
}

#[test]
fn as_json_it_fits_its_schema_and_a_wrong_configuration_says_what_is_wrong() {
    let folder = folder();
    let text = [&then(Outcome::Answered, 200, &["bob 0-5 won"]), &then(Outcome::Failed, 482, &[])].map(line);
    let ran = strowger(folder.path(), &["check", "--json", "--replay", "-"], &text.concat());
    let found: Value = serde_json::from_str(&ran.out).unwrap();
    let schemas = strowger::cli::files::schemas();
    let (_, schema) = schemas.iter().find(|(name, _)| *name == "replay.json").unwrap();
    assert_eq!(violations(&serde_json::from_str(schema).unwrap(), &found), Vec::<String>::new(), "{found:#}");
    assert_eq!((&found["calls"], &found["otherwise"], &found["unjudged"]), (&2.into(), &1.into(), &1.into()));
    assert_eq!(found["items"][0]["differences"][0]["about"], "rings");

    let ran = strowger(folder.path(), &["check", "--replay", "nowhere.jsonl"], "");
    assert_eq!((ran.code, ran.out.as_str()), (1, ""));
    assert!(ran.err.contains("nowhere.jsonl"), "{}", ran.err);
    assert_eq!(strowger(folder.path(), &["check", "--replay"], "").code, 2);
    std::fs::write(folder.path().join("config/routing/more.toml"), "[[number]]\ndid = \"12\"\n").unwrap();
    let ran = strowger(folder.path(), &["check", "--replay", "-"], "");
    assert_eq!(ran.code, 1);
    assert!(ran.out.contains("config/routing/more.toml:2:7: ") && !ran.out.contains("read"), "{}", ran.out);
}
