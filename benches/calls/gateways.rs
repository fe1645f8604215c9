//! A trunk of two gateways, one of which is taken away in the middle of calls: killed, so that its port is closed, or
//! stopped, so that it is silent. No call may fail that it had not yet made ring, and calls return to it soon after it
//! is back.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::sys::socket::SockaddrIn;
use serde_json::Value;

use crate::batch::{Inbox, Outbox, socket};
use crate::load::{Load, Offer, Outcome, Ports};
use crate::message::{NO_AUDIO, NUMBERS, Names, Seen, fine, refusal};
use crate::metrics::{self, GAUGES};
use crate::overload::told_of;
use crate::process::{Program, free_ports, until};
use crate::server::{Setting, signal, strowger};

/// T1 of RFC 3261: after so long without an ACK a 200 is repeated; so often.
const T1: Duration = Duration::from_millis(500);
const REPEATS: u8 = 10;

/// How long the node may take until it has heard from both gateways.
const HEARD: Duration = Duration::from_secs(30);

/// What a caller waits for its 200: a gateway's `try_timeout`, and the next one's answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// From the 200 to the caller's BYE.
const HOLD: Duration = Duration::from_secs(2);

/// Seconds of calls before a gateway is taken away, and after it is back.
const BEFORE: u32 = 8;
const AFTER: u32 = 12;

/// 64·T1 and some: so long after the last call nothing may be left of any.
const QUIET: Duration = Duration::from_secs(40);

/// Transactions that the OPTIONS to both gateways keep: of each of the last few seconds' (Timer K is 5 s).
const ASKING: u64 = 12;

/// What the clock of a record and that of a signal may differ by.
const BLUR: Duration = Duration::from_millis(50);

/// A gateway: it answers OPTIONS, and INVITE with 100, then 180, then 200.
#[derive(Args)]
pub struct Gateway {
    port: u16,
    /// Milliseconds from the 100 to the 180
    trying: u64,
    /// Milliseconds from the 180 to the 200
    ring: u64,
}

/// A call that has not been acknowledged yet.
struct Offered {
    ringing: Vec<u8>,
    answer: Vec<u8>,
    to: SockaddrIn,
    /// What is sent next.
    next: Step,
}

/// What a gateway says to an INVITE when the time has come.
#[derive(Clone, Copy)]
enum Step {
    Ring,
    /// The 200, for the nth time.
    Answer(u8),
}

/// A gateway at work.
struct Calls<'a> {
    manner: &'a Gateway,
    offered: HashMap<Vec<u8>, Offered>,
    due: BinaryHeap<Reverse<(Instant, Vec<u8>)>>,
    outbox: Outbox,
}

impl Gateway {
    /// Runs until it is ended.
    pub fn run(&self) -> io::Result<()> {
        let socket = socket(self.port)?;
        let mut inbox = Inbox::new();
        let (offered, due) = (HashMap::new(), BinaryHeap::new());
        let mut calls = Calls { manner: self, offered, due, outbox: Outbox::new() };
        loop {
            poll(&mut [PollFd::new(socket.as_fd(), PollFlags::POLLIN)], PollTimeout::from(5u8))?;
            while inbox.receive(&socket)? > 0 {
                for (message, from) in inbox.messages() {
                    calls.hear(&Seen::read(message), from);
                }
                calls.outbox.flush(&socket)?;
            }
            calls.go_on();
            calls.outbox.flush(&socket)?;
        }
    }
}

impl Calls<'_> {
    fn hear(&mut self, seen: &Seen<'_>, from: SockaddrIn) {
        if seen.first.starts_with(b"INVITE ") {
            if !self.offered.contains_key(seen.call_id) {
                self.invited(seen, from);
            }
        } else if seen.first.starts_with(b"ACK ") {
            self.offered.remove(seen.call_id);
        } else if seen.status().is_none() {
            let unanswered = |call: &Offered| matches!(call.next, Step::Ring | Step::Answer(0));
            if seen.first.starts_with(b"CANCEL ")
                && self.offered.get(seen.call_id).is_some_and(unanswered)
                && let Some(call) = self.offered.remove(seen.call_id)
            {
                refusal("487 Request Terminated", &Seen::read(&call.answer), &mut self.outbox.wire);
                self.outbox.post(call.to);
            }
            fine(seen, &mut self.outbox.wire);
            self.outbox.post(from);
        }
    }

    /// 100 at once, the rest when it is due.
    fn invited(&mut self, seen: &Seen<'_>, from: SockaddrIn) {
        let (run, call) = Seen::names_of(seen.origin()).unwrap_or_default();
        let names = Names { run, call, row: 0, server: 0, caller: 0, far: self.manner.port, audio: NO_AUDIO };
        names.answer("100 Trying", seen, &mut self.outbox.wire);
        self.outbox.post(from);
        let (mut ringing, mut answer) = (Vec::new(), Vec::new());
        names.answer("180 Ringing", seen, &mut ringing);
        names.answer("200 OK", seen, &mut answer);
        let at = Instant::now() + Duration::from_millis(self.manner.trying);
        self.due.push(Reverse((at, seen.call_id.to_vec())));
        self.offered.insert(seen.call_id.to_vec(), Offered { ringing, answer, to: from, next: Step::Ring });
    }

    fn go_on(&mut self) {
        let now = Instant::now();
        while self.due.peek().is_some_and(|Reverse((at, _))| *at <= now) {
            let Some(Reverse((_, id))) = self.due.pop() else { break };
            let Some(call) = self.offered.get_mut(&id) else { continue };
            let (message, pause) = match call.next {
                Step::Ring => (&call.ringing, Duration::from_millis(self.manner.ring)),
                Step::Answer(_) => (&call.answer, T1),
            };
            self.outbox.wire.extend_from_slice(message);
            self.outbox.post(call.to);
            match call.next {
                Step::Ring => call.next = Step::Answer(0),
                Step::Answer(REPEATS..) => {
                    self.offered.remove(&id);
                    continue;
                }
                Step::Answer(times) => call.next = Step::Answer(times + 1),
            }
            self.due.push(Reverse((now + pause, id)));
        }
    }
}

/// How a gateway goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Going {
    /// SIGKILL: its port is closed, and the kernel says so to who sends there
    Killed,
    /// SIGSTOP: it is silent
    Stopped,
}

/// Takes a gateway away and looks at what becomes of the calls.
#[derive(Args)]
pub struct Soak {
    /// Calls per second
    #[arg(long, default_value_t = 200)]
    rate: u32,
    /// How long it is away
    #[arg(long, default_value_t = 20)]
    seconds: u32,
    /// How it goes, one run each
    #[arg(long, value_delimiter = ',', default_values = ["killed", "stopped"])]
    going: Vec<Going>,
    /// Seconds between two OPTIONS
    #[arg(long, default_value_t = 2)]
    interval: u32,
    /// Milliseconds from a gateway's 100 to its 180
    #[arg(long, default_value_t = 100)]
    trying: u64,
    /// Milliseconds that it rings
    #[arg(long, default_value_t = 300)]
    ring: u64,
    /// Shards of the node, one run each
    #[arg(long, value_delimiter = ',', default_values_t = [1])]
    shards: Vec<u8>,
}

/// How the gateway went; when that was and when it came back, in milliseconds since 1970.
struct Away {
    how: Going,
    from: u64,
    until: u64,
}

impl Soak {
    pub fn run(&self) -> Result<(), String> {
        let mut wrong = Vec::new();
        for shards in &self.shards {
            for going in &self.going {
                crate::note(&format!(
                    "{shards} shard(s), {} calls/s, a gateway is {going:?} for {} s, OPTIONS every {} s",
                    self.rate, self.seconds, self.interval
                ));
                wrong.extend(self.run_with(*shards, *going).err());
            }
        }
        if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
    }

    fn run_with(&self, shards: u8, going: Going) -> Result<(), String> {
        let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
        let [server, caller, far, admin, leaves, stays] = free_ports(IpAddr::V4(Ipv4Addr::LOCALHOST))?;
        let ports = Ports { server, caller, far };
        let trunk = format!(
            "options_interval = {}\n\
             gateways = [{{ uri = \"sip:127.0.0.1:{leaves}\" }}, {{ uri = \"sip:127.0.0.1:{stays}\" }}]",
            self.interval
        );
        let setting =
            Setting { ports, shards, admin: Some(admin), far: &trunk, numbers: NUMBERS, agents: "" };
        let config = setting.write(folder.path()).map_err(|e| e.to_string())?;
        let mut first = self.gateway(leaves, folder.path())?;
        let _second = self.gateway(stays, folder.path())?;
        let node = strowger(&config, folder.path())?;
        let up = || metrics::read(admin).map_or(0, |text| metrics::total(&text, "strowger_trunk_up"));
        until(HEARD, || up() == 2).then_some(()).ok_or("the gateways are not up")?;
        let load = Load::new(ports).map_err(|e| e.to_string())?;
        let calls = self.rate * (BEFORE + self.seconds + AFTER);
        let offer = Offer { rate: self.rate, calls, hold: HOLD, patience: PATIENCE };
        let outcome = thread::spawn(move || load.offer(offer));
        thread::sleep(Duration::from_secs(BEFORE.into()));
        let from = wall();
        match going {
            Going::Killed => signal(&first, Signal::SIGKILL)?,
            Going::Stopped => signal(&first, Signal::SIGSTOP)?,
        }
        thread::sleep(Duration::from_secs(self.seconds.into()));
        let down = up() == 1;
        match going {
            Going::Killed => {
                drop(first);
                first = self.gateway(leaves, folder.path())?;
            }
            Going::Stopped => signal(&first, Signal::SIGCONT)?,
        }
        let away = Away { how: going, from, until: wall() };
        let outcome = outcome.join().map_err(|_| "nobody called".to_owned())?.map_err(|e| e.to_string())?;
        crate::note(&format!("  {}", told_of(&outcome)));
        let left = || metrics::read(admin).map(|text| left(&text));
        until(QUIET, || left().is_ok_and(|left| left.is_empty()));
        let left = left()?;
        let mut wrong = self.judge(&outcome, &records(&folder.path().join("data/cdr"))?, leaves, &away);
        wrong.extend((!down).then(|| "it did not count as down in the end".to_owned()));
        wrong.extend((!left.is_empty()).then(|| format!("something is left: {}", left.join(", "))));
        drop((first, node));
        if wrong.is_empty() { Ok(()) } else { Err(format!("{going:?}: {}", wrong.join("; "))) }
    }

    fn gateway(&self, port: u16, folder: &Path) -> Result<Program, String> {
        let mut command = Command::new(std::env::current_exe().map_err(|e| e.to_string())?);
        command.args(["gateway", &port.to_string(), &self.trying.to_string(), &self.ring.to_string()]);
        Program::start(&format!("gateway-{port}"), &mut command, folder)
    }

    fn judge(&self, outcome: &Outcome, records: &[Value], leaves: u16, away: &Away) -> Vec<String> {
        let theirs =
            |leg: &&Value| leg["peer"].as_str().is_some_and(|peer| peer.ends_with(&format!(":{leaves}")));
        let legs = |record: &'_ Value| -> Vec<Value> {
            record["legs"].as_array().into_iter().flatten().skip(1).cloned().collect()
        };
        let blur = u64::try_from(BLUR.as_millis()).unwrap_or(0);
        let (mut rung, mut tried, mut moved, mut unexplained) = (0, 0, 0, Vec::new());
        // A 100 is an answer, and what has fallen silent after it is waited for as if it rang (R14): of a gateway
        // that is gone the kernel tells, of one that is silent nobody does.
        let begun = away.from.saturating_sub(self.trying + blur)..=away.from + blur;
        for record in records {
            let legs = legs(record);
            let there = legs.iter().filter(theirs);
            let mut times = there.map(|leg| (millis(&leg["started"]), millis(&leg["ringing"])));
            if record["outcome"] == "answered" {
                moved += u32::from(legs.len() > 1);
            } else if times.clone().any(|(_, rang)| rang.is_some_and(|rang| rang <= away.from + blur)) {
                rung += 1;
            } else if away.how == Going::Stopped
                && times.any(|(at, _)| at.is_some_and(|at| begun.contains(&at)))
            {
                tried += 1;
            } else {
                unexplained.push(record.to_string());
            }
        }
        let back = records.iter().flat_map(legs).filter(|leg| theirs(&leg) && leg["end"] == "won");
        let back =
            back.filter_map(|leg| millis(&leg["started"])).filter(|started| *started >= away.until).min();
        let back = back.map(|first| Duration::from_millis(first - away.until));
        crate::note(&format!(
            "  {} records; with the gateway were lost {rung} calls that had rung there, and {tried} that had their 100; \
             {moved} went on to the other; the first came back after {back:?}",
            records.len()
        ));
        for record in unexplained.iter().take(3) {
            crate::note(&format!("  {record}"));
        }
        let limit = Duration::from_secs(u64::from(self.interval) * 2);
        [
            (outcome.unrung > tried, format!("{} calls failed that had not rung", outcome.unrung)),
            (outcome.stuck > 0, format!("{} calls did not end", outcome.stuck)),
            (!unexplained.is_empty(), format!("{} calls failed without a reason", unexplained.len())),
            (
                records.len() != outcome.offered as usize,
                format!("{} records of {} calls", records.len(), outcome.offered),
            ),
            (back.is_none_or(|back| back > limit + BLUR), format!("the first call came back after {back:?}")),
        ]
        .into_iter()
        .filter_map(|(is, words)| is.then_some(words))
        .collect()
    }
}

/// What is left of calls.
fn left(metrics: &str) -> Vec<String> {
    let most = GAUGES.map(|gauge| if gauge.contains("transactions") { ASKING } else { 0 });
    let values = GAUGES.map(|gauge| (gauge, metrics::total(metrics, gauge))).into_iter().zip(most);
    let left = values.filter(|((_, value), most)| value > most);
    left.map(|((gauge, value), _)| format!("{gauge} {value}")).collect()
}

fn wall() -> u64 {
    u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or(0)
}

/// A record's time, in milliseconds since 1970.
fn millis(time: &Value) -> Option<u64> {
    let time: jiff::Timestamp = time.as_str()?.parse().ok()?;
    u64::try_from(time.as_millisecond()).ok()
}

fn records(folder: &Path) -> Result<Vec<Value>, String> {
    let files = fs::read_dir(folder).map_err(|e| format!("{}: {e}", folder.display()))?.flatten();
    let texts = files.map(|file| fs::read_to_string(file.path()).unwrap_or_default());
    let lines =
        |text: String| text.lines().map(|line| serde_json::from_str(line).unwrap_or_default()).collect();
    Ok(texts.flat_map(|text| -> Vec<Value> { lines(text) }).collect())
}
