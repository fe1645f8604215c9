//! A flood of REGISTERs that prove nothing, while calls go on: none of these may fail.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;

use crate::beside::{Beside, Fared};
use crate::guessers::{AGENTS, Flooder, Kind, Sent};
use crate::load::{Load, Outcome, Phase, Ports};
use crate::message::NUMBERS;
use crate::metrics;
use crate::overload::told_of;
use crate::party;
use crate::process::{Program, free_ports};
use crate::search::THRESHOLD;
use crate::server::{Setting, one_gateway, strowger};
use crate::usage;

/// Seconds of calls alone, before each flood and after the last.
const ALONE: u32 = 10;

/// After the last call so long is waited for its end.
const LINGER: Duration = Duration::from_secs(5);

/// What is not answered is counted under this reason.
const SILENT: &str = "too_many_tries";

/// A guess that was looked at: its nonce was the server's, and a password was hashed for it.
const LOOKED_AT: &str = "wrong_password";

/// So many percent of a flood from very many addresses must be looked at.
const WIDE: u64 = 90;

/// So many percent of all must be answered, counted as refused in silence, or counted as dropped by the kernel.
const COUNTED: u64 = 99;

/// Lines a second that the log may hold of all guesses together: one of each source, and no more than a hundred.
const LINES: u64 = 100;

/// Floods and looks at what becomes of the calls.
#[derive(Args)]
pub struct Flood {
    /// REGISTERs per second
    #[arg(long, default_value_t = 20_000)]
    rate: u32,
    /// Length of each flood
    #[arg(long, default_value_t = 30)]
    seconds: u32,
    /// Calls per second beside it
    #[arg(long, default_value_t = 100)]
    calls: u32,
    /// Floods, one after another
    #[arg(long, value_delimiter = ',', default_values = [
        "one", "several", "many", "unknown", "replayed", "bare", "worn", "fresh", "fresh-agents", "wide", "wide-agents",
        "wide-unknown", "wide-invites",
    ])]
    floods: Vec<Kind>,
    /// MiB by which the server may grow
    #[arg(long, default_value_t = 64)]
    memory: u64,
    /// Shards of the server
    #[arg(long, default_value_t = 1)]
    shards: u8,
}

/// What the node says at one moment.
struct Look {
    rejected: BTreeMap<String, u64>,
    dropped: u64,
    cpu: u64,
    memory: u64,
    guesses: u64,
    /// Lines about them that have not the form that the README promises.
    odd: u64,
}

impl Flood {
    pub fn run(&self) -> Result<(), String> {
        nix::sys::prctl::set_timerslack(1).map_err(|e| e.to_string())?;
        let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
        let [server, caller, far, admin] = free_ports(IpAddr::V4(Ipv4Addr::LOCALHOST))?;
        let ports = Ports { server, caller, far };
        let agents = party::agents(AGENTS);
        let setting = Setting {
            ports,
            shards: self.shards,
            admin: Some(admin),
            far: &one_gateway(far),
            numbers: NUMBERS,
            agents: &agents,
        };
        let config = setting.write(folder.path()).map_err(|e| e.to_string())?;
        let node = strowger(&config, folder.path())?;
        let words = |e: io::Error| e.to_string();
        let load = Load::new(ports).map_err(words)?;
        let phase = |seconds| Phase { rate: self.calls, seconds, pause: Duration::ZERO };
        let mut phases = vec![phase(ALONE)];
        phases.extend(self.floods.iter().flat_map(|_| [phase(self.seconds), phase(ALONE)]));
        let began = Instant::now();
        let calls = thread::spawn(move || load.phases(&phases, THRESHOLD, LINGER));
        let mut wrong = Vec::new();
        let mut at = Duration::ZERO;
        let mut told = Vec::new();
        for kind in &self.floods {
            // A party of its own: what the last one is still sent does not concern this one.
            let mut flooder = Flooder::new(*kind, server)?;
            let beside = Beside::new(*kind, server)?;
            at += Duration::from_secs(ALONE.into());
            thread::sleep(at.saturating_sub(began.elapsed()));
            let before = look(&node, admin)?;
            let end = Instant::now() + Duration::from_secs(self.seconds.into());
            let beside = thread::spawn(move || beside.until(end));
            let sent = flooder.run(self.rate, self.seconds).map_err(words)?;
            let fared = beside.join().map_err(|_| "nobody registered".to_owned())?.map_err(words)?;
            at += Duration::from_secs(self.seconds.into());
            let after = look(&node, admin)?;
            wrong.extend(self.judge(*kind, &sent, &before, &after));
            wrong.extend(fared.wrong().map(|words| format!("{kind:?}: {words}")));
            told.push(self.tell(*kind, &sent, &fared, &before, &after));
        }
        let outcomes = calls.join().map_err(|_| "nobody called".to_owned())?.map_err(words)?;
        for (place, outcome) in outcomes.iter().enumerate() {
            let flood = place.checked_sub(1).filter(|after| after % 2 == 0).map(|after| after / 2);
            let title = flood.map_or("calls alone".to_owned(), |flood| format!("{:?}", self.floods[flood]));
            crate::note(&format!("{title}: {}", told_of(outcome)));
            if let Some(words) = flood.and_then(|flood| told.get(flood)) {
                crate::note(words);
            }
            wrong.extend(failed(&title, outcome));
        }
        if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
    }

    fn tell(&self, kind: Kind, sent: &Sent, fared: &Fared, before: &Look, after: &Look) -> String {
        let answered: u64 = sent.answers.values().sum();
        let cpu = Duration::from_nanos(after.cpu - before.cpu).as_secs_f64() / f64::from(self.seconds);
        format!(
            "  {} guesses ({kind:?}) and {} that asked for a nonce: answered {:?}, {} not answered, {} looked at; the \
             flood was at most {:.0?} behind\n  \
             rejected {:?}; {} dropped by the kernel; {cpu:.2} CPUs, {} MiB, grown by {} KiB; {} lines of guesses\n  {}",
            sent.offered,
            sent.asked,
            sent.answers,
            (sent.offered + sent.asked).saturating_sub(answered),
            counted(before, after, LOOKED_AT),
            sent.behind,
            metrics::growth(&before.rejected, &after.rejected),
            after.dropped - before.dropped,
            after.memory / 1_024,
            after.memory.saturating_sub(before.memory),
            after.guesses - before.guesses,
            fared.told(),
        )
    }

    fn judge(&self, kind: Kind, sent: &Sent, before: &Look, after: &Look) -> Vec<String> {
        let grown = after.memory.saturating_sub(before.memory) / 1_024;
        let (lines, most) = (after.guesses - before.guesses, LINES * u64::from(self.seconds + 1));
        let looked_at = counted(before, after, LOOKED_AT);
        let heard = if kind.is_real() { looked_at } else { sent.answers.values().sum::<u64>() };
        let told = heard + counted(before, after, SILENT) + after.dropped - before.dropped;
        let least = if kind.is_wide() { sent.offered * WIDE / 100 } else { u64::from(kind.is_real()) };
        [
            (grown > self.memory, format!("{kind:?}: the server grew by {grown} MiB")),
            (lines > most, format!("{kind:?}: {lines} log lines, not {most}")),
            (after.odd > before.odd, format!("{kind:?}: log lines of another form")),
            (
                looked_at < least,
                format!("{kind:?}: {looked_at} guesses were looked at, not {least}: it proves nothing"),
            ),
            (
                told < sent.offered * COUNTED / 100,
                format!("{kind:?}: of {} only {told} were answered or counted", sent.offered),
            ),
        ]
        .into_iter()
        .filter_map(|(is, words)| is.then_some(words))
        .collect()
    }
}

fn failed(title: &str, outcome: &Outcome) -> Option<String> {
    let (failed, repeats) = (outcome.failed(), outcome.repeats);
    (failed + repeats > 0)
        .then(|| format!("{title}: {failed} calls failed, {repeats} messages were repeated"))
}

/// How often a node has refused something for that reason.
fn counted(before: &Look, after: &Look, reason: &str) -> u64 {
    let all = metrics::growth(&before.rejected, &after.rejected);
    all.iter().filter(|(why, _)| why.contains(reason)).map(|(_, count)| count).sum()
}

/// Whether a line about a guess ends as the README says: `wrong password from=… agent=…`, and perhaps ` more=…`.
fn is_stable(line: &str) -> bool {
    let Some((_, said)) = line.split_once("wrong password ") else { return false };
    let mut words = said.split(' ');
    let mut value =
        |name: &str| words.next().map(|word| word.strip_prefix(name).and_then(|rest| rest.strip_prefix('=')));
    let from = value("from").flatten().is_some_and(|from| from.parse::<SocketAddr>().is_ok());
    let agent = value("agent").flatten().is_some_and(|agent| !agent.is_empty());
    let more = value("more").is_none_or(|more| more.is_some_and(|more| more.parse::<u64>().is_ok()));
    from && agent && more && words.next().is_none()
}

fn look(node: &Program, admin: u16) -> Result<Look, String> {
    let words = |e: io::Error| e.to_string();
    let text = metrics::read(admin)?;
    let log = node.printed();
    let lines = || log.lines().filter(|line| line.contains("password"));
    Ok(Look {
        rejected: metrics::each(&text, "strowger_rejected_total"),
        dropped: metrics::total(&text, "strowger_udp_dropped_total"),
        cpu: usage::cpu(node.id()).map_err(words)?,
        memory: usage::memory(node.id()).map_err(words)?,
        guesses: lines().count() as u64,
        odd: lines().filter(|line| !is_stable(line)).count() as u64,
    })
}
