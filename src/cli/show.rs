//! Answers as text for people.

use std::borrow::Cow;
use std::fmt::Write;

use serde_json::Value;

use crate::admin::operations::{
    AgentLine, ChangeLine, FailureLine, GenerationLine, Published, RegistrationLine, RegistrationState,
    TrunkLine,
};
use crate::call::cdr::{Rtp, rfc3339};
use crate::call::story::{CallStory, Clock, LiveCall, StoryLeg};
use crate::sip::shown::printable;

/// Rows in columns, each as wide as its widest text; the last column is not padded. What is in them is shown and never
/// obeyed: agents and callers name themselves as they like.
fn table(rows: &[Vec<String>]) -> String {
    let rows: Vec<Vec<Cow<'_, str>>> =
        rows.iter().map(|row| row.iter().map(|text| printable(text)).collect()).collect();
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|text| text.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut out = String::new();
    for row in &rows {
        let mut line = String::new();
        for (text, width) in row.iter().zip(&widths) {
            line.push_str(text);
            line.extend(std::iter::repeat_n(' ', width + 2 - text.chars().count()));
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

/// `strowger calls`.
pub fn calls(calls: &[LiveCall]) -> String {
    if calls.is_empty() {
        return "no call in progress\n".to_owned();
    }
    let head = ["ID", "STARTED", "STATE", "FROM", "TO", "TRUNK"].map(str::to_owned).to_vec();
    let row = |call: &LiveCall| {
        let caller = call.caller.as_deref().unwrap_or("withheld");
        let trunk = call.trunk.as_deref().unwrap_or("");
        let started = rfc3339::to_string(call.started);
        [&*call.id, &started, &*call.state, caller, &*call.dialled, trunk].map(str::to_owned).to_vec()
    };
    let rows: Vec<Vec<String>> = std::iter::once(head).chain(calls.iter().map(row)).collect();
    table(&rows)
}

/// `strowger agents`.
pub fn agents(agents: &[AgentLine]) -> String {
    if agents.is_empty() {
        return "no agent is configured\n".to_owned();
    }
    let head = ["AGENT", "CALLS", "PHONE", "AT", "FOR", "USER AGENT", "LAST FAILURE"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for agent in agents {
        let calls = match agent.max_calls {
            0 => agent.calls.to_string(),
            most => format!("{}/{most}", agent.calls),
        };
        let mut name = [&*agent.name, &*calls].map(str::to_owned).to_vec();
        let mut failure = agent.last_failure.as_ref().map(in_words).unwrap_or_default();
        let mut phone = |columns: [&str; 4]| {
            let mut row = std::mem::replace(&mut name, vec![String::new(), String::new()]);
            row.extend(columns.map(str::to_owned));
            row.push(std::mem::take(&mut failure));
            rows.push(row);
        };
        if agent.dnd {
            phone(["do not disturb", "", "", ""]);
        }
        if let Some(contact) = &agent.contact {
            phone([contact, "fixed", "", ""]);
        }
        for binding in &agent.bindings {
            let silent = if binding.unreachable { ", unreachable" } else { "" };
            let at = format!("{} {}{silent}", binding.transport, binding.peer);
            phone([&binding.contact, &at, &format!("{} s", binding.expires_ms / 1_000), &binding.user_agent]);
        }
        if agent.contact.is_none() && agent.bindings.is_empty() {
            phone(["not registered", "", "", ""]);
        }
    }
    table(&rows)
}

/// `strowger trunks`.
pub fn trunks(trunks: &[TrunkLine]) -> String {
    if trunks.is_empty() {
        return "no trunk is configured\n".to_owned();
    }
    let head =
        ["TRUNK", "CALLS", "PER S", "REFUSED", "REGISTERED", "GATEWAY", "STATE", "RTT", "LAST FAILURE"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for trunk in trunks {
        let of = |count: u32, most: u32| match most {
            0 => count.to_string(),
            most => format!("{count}/{most}"),
        };
        let pace = trunk.calls_in_last_second.map(|count| of(count, trunk.max_cps)).unwrap_or_default();
        let calls = of(trunk.calls, trunk.max_calls);
        let mut begin = vec![
            trunk.name.clone(),
            calls,
            pace,
            trunk.refused.to_string(),
            registration(&trunk.registration),
        ];
        if trunk.gateways.is_empty() {
            rows.push(begin);
            continue;
        }
        for gateway in &trunk.gateways {
            let mut row = std::mem::replace(&mut begin, vec![String::new(); 5]);
            let state = if gateway.up { "up" } else { "down" };
            let since =
                gateway.since.map(|at| format!(" since {}", rfc3339::to_string(at))).unwrap_or_default();
            let trip = gateway.round_trip_ms.map(|ms| format!("{ms} ms")).unwrap_or_default();
            let failure = gateway.last_failure.as_ref().map(in_words);
            row.extend([gateway.uri.clone(), format!("{state}{since}"), trip, failure.unwrap_or_default()]);
            rows.push(row);
        }
    }
    table(&rows)
}

fn in_words(failure: &FailureLine) -> String {
    format!("{} at {}", failure.what, rfc3339::to_string(failure.at))
}

fn registration(line: &RegistrationLine) -> String {
    let failure = line.last_failure.as_ref().map(|failure| format!(": {}", failure.what)).unwrap_or_default();
    match line.state {
        RegistrationState::Off => "off".to_owned(),
        RegistrationState::Trying => format!("trying{failure}"),
        RegistrationState::Registered => match line.expires_ms {
            Some(left) => format!("for {} s", left / 1_000),
            None => "yes".to_owned(),
        },
    }
}

/// `strowger call <id>`: who, the legs and what they wait for, and the ladder.
pub fn call(story: &CallStory) -> String {
    let mut out = String::new();
    let call = &story.call;
    let caller = call.caller.as_deref().unwrap_or("withheld");
    let _infallible = writeln!(
        out,
        "{}: {} from {} to {}, began {}, generation {}\n",
        call.id,
        call.state,
        printable(caller),
        printable(&call.dialled),
        rfc3339::to_string(call.started),
        call.generation,
    );
    for (what, path, id) in
        [("recording", "recordings", &story.recording), ("message", "voicemails", &story.voicemail)]
    {
        if let Some(id) = id {
            let _infallible = writeln!(out, "{what}: /v1/{path}/{id}");
        }
    }
    if story.recording.is_some() || story.voicemail.is_some() {
        out.push('\n');
    }
    let mut rows = vec![["LEG", "STATE", "PEER", "CALL-ID"].map(str::to_owned).to_vec()];
    for leg in &story.legs {
        let peer = leg.peer.map(|peer| peer.to_string()).unwrap_or_default();
        let call_id = leg.sip_call_id.as_deref().unwrap_or_default();
        rows.push([&*leg.name, &*leg.state, &peer, call_id].map(str::to_owned).to_vec());
    }
    out.push_str(&table(&rows));
    if story.legs.iter().any(|leg| leg.rtp.is_some()) {
        out.push('\n');
        out.push_str(&table(&audio(&story.legs)));
    }
    if !story.timers.is_empty() {
        out.push('\n');
        let mut rows = vec![["TIMER", "LEG", "IN"].map(str::to_owned).to_vec()];
        for timer in &story.timers {
            let leg = story.legs.iter().find(|leg| Some(leg.id) == timer.leg);
            let leg = leg.map(|leg| leg.name.to_string()).unwrap_or_default();
            rows.push(vec![timer.name.to_string(), leg, seconds(timer.due_ms)]);
        }
        out.push_str(&table(&rows));
    }
    out.push('\n');
    if story.ladder_dropped > 0 {
        let _infallible = writeln!(out, "({} lines left out)", story.ladder_dropped);
    }
    out.push_str(&story.picture(Clock::Shown));
    out.push('\n');
    out
}

/// How the audio of each leg went.
fn audio(legs: &[StoryLeg]) -> Vec<Vec<String>> {
    let head = ["AUDIO", "CODEC", "SENT", "RECEIVED", "LOST", "JITTER", "MOS"];
    let row = |leg: &StoryLeg| {
        let Rtp { tx, rx, lost, jitter_ms, mos } = leg.rtp.as_deref()?;
        let mos = mos.map(|mos| format!("{mos:.2}")).unwrap_or_default();
        let codec = leg.codec.as_deref().unwrap_or_default().to_owned();
        let [tx, rx, lost] = [tx, rx, lost].map(u64::to_string);
        Some(vec![leg.name.to_string(), codec, tx, rx, lost, format!("{jitter_ms:.2} ms"), mos])
    };
    std::iter::once(head.map(str::to_owned).to_vec()).chain(legs.iter().filter_map(row)).collect()
}

/// `strowger reload`.
pub fn published(published: &Published, dry_run: bool) -> String {
    let mut out = String::new();
    let what = if dry_run { "would change generation" } else { "generation" };
    let _infallible = writeln!(
        out,
        "{what} {}: {} added, {} changed, {} removed, {} unchanged, in {}",
        published.generation,
        published.added,
        published.changed,
        published.removed,
        published.unchanged,
        seconds(published.took_ms),
    );
    for ChangeLine { kind, name, change } in &published.changes {
        let kind = if kind == "section" { String::new() } else { format!("{kind} ") };
        let _infallible = writeln!(out, "  {change}: {kind}{}", printable(name));
    }
    let more = (published.added + published.changed + published.removed)
        .saturating_sub(published.changes.len() as u64);
    if more > 0 {
        let _infallible = writeln!(out, "  and {more} more");
    }
    if !published.affects_calls.is_empty() {
        let calls = published.affects_calls.join(", ");
        let _infallible = writeln!(out, "calls in progress that go on by the plan they began with: {calls}");
    }
    if !published.restart_needed.is_empty() {
        let _infallible = writeln!(out, "waits for a restart: {}", published.restart_needed.join(", "));
    }
    out
}

/// `strowger generations`.
pub fn generations(lines: &[GenerationLine]) -> String {
    let head = ["GENERATION", "PUBLISHED", "NUMBERS", "ROLLBACK", "BY", "WHAT"].map(str::to_owned).to_vec();
    let row = |line: &GenerationLine| {
        let GenerationLine { generation, published, by, what, numbers, can_roll_back } = line.clone();
        let can = if can_roll_back { "yes" } else { "-" }.to_owned();
        vec![generation.to_string(), rfc3339::to_string(published), numbers.to_string(), can, by, what]
    };
    let rows: Vec<Vec<String>> = std::iter::once(head).chain(lines.iter().map(row)).collect();
    table(&rows)
}

/// `strowger numbers list`.
pub fn numbers(items: &[Value]) -> String {
    if items.is_empty() {
        return "no such number\n".to_owned();
    }
    let head = ["NUMBER", "LABEL", "FORWARDED TO", "RINGS", "PROFILE", "FROM"].map(str::to_owned).to_vec();
    let row = |item: &Value| {
        let text = |key: &str| item.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let rings = item.get("ring").and_then(Value::as_array).into_iter().flatten();
        let rings: Vec<&str> = rings.filter_map(Value::as_str).collect();
        let from = match (text("source").as_str(), item.get("removed"), item.get("aside")) {
            ("http", Some(_), _) => format!("removed over HTTP by {}", text("set_by")),
            ("http", _, Some(_)) => format!("set aside: {}", text("aside")),
            ("http", None, None) => format!("HTTP, by {}", text("set_by")),
            _ => "the files".to_owned(),
        };
        vec![text("did"), text("label"), text("forward_to"), rings.join(", "), text("profile"), from]
    };
    let rows: Vec<Vec<String>> = std::iter::once(head).chain(items.iter().map(row)).collect();
    table(&rows)
}

/// `12,345`
pub fn thousands(many: impl Into<u128>) -> String {
    let digits = many.into().to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn seconds(ms: u64) -> String {
    format!("{}.{:03} s", ms / 1_000, ms % 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::operations::{BindingLine, GatewayLine};
    use crate::call::cdr::{Direction, Role};
    use crate::call::story::{LadderLine, StoryTimer, Way};
    use crate::sip::shown::is_obeyed;
    use crate::time::Wall;

    fn live() -> LiveCall {
        LiveCall {
            id: "c-1".into(),
            direction: Direction::Inbound,
            state: "ringing".into(),
            generation: 3,
            account: "".into(),
            agent: None,
            trunk: Some("carrier".into()),
            did: Some("+12015550101".into()),
            dialled: "+12015550101".into(),
            caller: None,
            started: Wall(1_793_527_200_999),
            answered: None,
        }
    }

    #[test]
    fn calls_stand_in_columns() {
        insta::assert_snapshot!(calls(&[live()]), @"
        ID   STARTED                   STATE    FROM      TO            TRUNK
        c-1  2026-11-01T10:00:00.999Z  ringing  withheld  +12015550101  carrier
        ");
        assert_eq!(calls(&[]), "no call in progress\n");
    }

    #[test]
    fn nothing_from_outside_reaches_the_terminal_unshown() {
        let hostile = "x\u{1b}]0;mine\u{7}\n\u{9b}2J\u{202e}y";
        let shown = "x\\u{1b}]0;mine\\u{7}\\u{a}\\u{9b}2J\\u{202e}y";
        let call_of = || LiveCall { caller: Some(hostile.into()), dialled: hostile.into(), ..live() };
        let agent = AgentLine {
            name: "alice".to_owned(),
            account: String::new(),
            number: None,
            dnd: false,
            max_calls: 0,
            calls: 0,
            contact: None,
            bindings: vec![BindingLine {
                contact: format!("sip:{hostile}@192.0.2.1"),
                transport: "udp".to_owned(),
                peer: ([192, 0, 2, 1], 5060).into(),
                from: ([192, 0, 2, 1], 5060).into(),
                path: Vec::new(),
                user_agent: hostile.to_owned(),
                unreachable: false,
                registered: Wall(0),
                expires_ms: 0,
            }],
            last_failure: None,
        };
        let leg = StoryLeg {
            id: 0,
            role: Role::Caller,
            name: hostile.into(),
            state: "ringing".into(),
            peer: None,
            sip_call_id: Some(hostile.into()),
            codec: Some(hostile.into()),
            rtp: Some(Box::new(Rtp { tx: 1, rx: 0, lost: 0, jitter_ms: 0.0, mos: None })),
        };
        let story = CallStory {
            call: call_of(),
            legs: vec![leg],
            timers: vec![StoryTimer { name: "RingTimeout".into(), leg: Some(0), due_ms: 1 }],
            ladder: Vec::new(),
            ladder_dropped: 0,
            recording: None,
            voicemail: None,
        };
        for (text, lines, times) in
            [(calls(&[call_of()]), 2, 2), (agents(&[agent]), 2, 2), (super::call(&story), 12, 7)]
        {
            assert!(!text.chars().any(|letter| letter != '\n' && is_obeyed(letter)), "{text:?}");
            assert_eq!((text.lines().count(), text.matches(shown).count()), (lines, times), "{text}");
        }
    }

    #[test]
    fn trunks_stand_in_columns_a_gateway_each() {
        let at = Wall(1_793_527_200_999);
        let gateway = |place: u8, up| GatewayLine {
            gateway: place,
            uri: format!("sip:192.0.2.{place}"),
            transport: "udp".to_owned(),
            priority: 10,
            weight: 1,
            up,
            since: Some(at).filter(|_| !up),
            last_failure: (!up).then(|| FailureLine { what: "no answer to OPTIONS".to_owned(), at }),
            round_trip_ms: up.then_some(12),
        };
        let line = |state| RegistrationLine { state, since: None, expires_ms: None, last_failure: None };
        let trunk = |name: &str, gateways| TrunkLine {
            name: name.to_owned(),
            outbound: true,
            calls: 3,
            max_calls: 0,
            calls_in_last_second: None,
            max_cps: 0,
            refused: 7,
            options_interval_ms: 30_000,
            registration: line(RegistrationState::Off),
            gateways,
        };
        let mut limited = trunk("limited", Vec::new());
        (limited.max_calls, limited.max_cps, limited.calls_in_last_second) = (10, 5, Some(2));
        limited.registration =
            RegistrationLine { expires_ms: Some(299_500), ..line(RegistrationState::Registered) };
        insta::assert_snapshot!(trunks(&[trunk("carrier", vec![gateway(0, true), gateway(1, false)]), limited]), @"
        TRUNK    CALLS  PER S  REFUSED  REGISTERED  GATEWAY        STATE                                RTT    LAST FAILURE
        carrier  3             7        off         sip:192.0.2.0  up                                   12 ms
                                                    sip:192.0.2.1  down since 2026-11-01T10:00:00.999Z         no answer to OPTIONS at 2026-11-01T10:00:00.999Z
        limited  3/10   2/5    7        for 299 s
        ");
        assert_eq!(trunks(&[]), "no trunk is configured\n");
    }

    #[test]
    fn a_call_is_told_with_its_legs_timers_and_ladder() {
        let leg = |id, role, name: &str| StoryLeg {
            id,
            role,
            name: name.into(),
            state: "ringing".into(),
            peer: Some(std::net::SocketAddr::from(([127, 0, 0, 1], 5090))),
            sip_call_id: Some("x@y".into()),
            codec: (id == 1).then(|| "PCMU".into()),
            rtp: (id == 1)
                .then(|| Box::new(Rtp { tx: 1_501, rx: 1_498, lost: 2, jitter_ms: 0.37, mos: Some(4.36) })),
        };
        let line = |at_ms, way, leg, what| LadderLine { at_ms, way, leg, what, note: None };
        let story = CallStory {
            call: live(),
            legs: vec![leg(0, Role::Caller, "caller"), leg(1, Role::Agent, "alice")],
            timers: vec![StoryTimer { name: "RingTimeout".into(), leg: Some(1), due_ms: 19_001 }],
            ladder: vec![line(0, Way::In, 0, "INVITE".into()), line(1, Way::Out, 1, "INVITE".into())],
            ladder_dropped: 0,
            recording: Some("c-1".into()),
            voicemail: None,
        };
        insta::assert_snapshot!(call(&story), @"
        c-1: ringing from withheld to +12015550101, began 2026-11-01T10:00:00.999Z, generation 3

        recording: /v1/recordings/c-1

        LEG     STATE    PEER            CALL-ID
        caller  ringing  127.0.0.1:5090  x@y
        alice   ringing  127.0.0.1:5090  x@y

        AUDIO  CODEC  SENT  RECEIVED  LOST  JITTER   MOS
        alice  PCMU   1501  1498      2     0.37 ms  4.36

        TIMER        LEG    IN
        RingTimeout  alice  19.001 s

                    caller         us          alice
             0.000     ├── INVITE ─▶│            │
             0.001     │            ├── INVITE ─▶│
        ");
    }

    #[test]
    fn a_reload_is_told_in_a_sentence() {
        let done = Published {
            generation: 7,
            added: 2,
            changed: 1,
            unchanged: 9,
            took_ms: 1_012,
            affects_calls: vec!["a".to_owned()],
            changes: vec![ChangeLine {
                kind: "number".to_owned(),
                name: "+12015550101".to_owned(),
                change: "changed".to_owned(),
            }],
            restart_needed: vec!["node.shards".to_owned()],
            ..Published::default()
        };
        insta::assert_snapshot!(published(&done, false), @"
        generation 7: 2 added, 1 changed, 0 removed, 9 unchanged, in 1.012 s
          changed: number +12015550101
          and 2 more
        calls in progress that go on by the plan they began with: a
        waits for a restart: node.shards
        ");
    }
}
