//! A flood of REGISTERs that prove nothing, while calls go on: none of these may fail.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::thread;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};

use crate::batch::Inbox;
use crate::load::{Load, Outcome, Phase, Ports};
use crate::message::{NUMBERS, Seen};
use crate::metrics;
use crate::overload::told_of;
use crate::party::{self, Party, address, credentials, guessed, name};
use crate::process::{Program, free_ports};
use crate::search::THRESHOLD;
use crate::server::{Setting, one_gateway, strowger};
use crate::usage;

/// Agents whose passwords are guessed.
const AGENTS: u32 = 10_000;

/// Addresses that a flood of several comes from, and one of very many: each of these stays below what a single one
/// may try for a while.
const SEVERAL: u32 = 20;
const VERY_MANY: u32 = 5_000;

/// Seconds of calls alone, before each flood and after the last.
const ALONE: u32 = 10;

/// A flood is sent so often, each time what is due.
const BEAT: Duration = Duration::from_millis(1);

/// After the last call so long is waited for its end.
const LINGER: Duration = Duration::from_secs(5);

/// What is not answered is counted under this reason.
const SILENT: &str = "too_many_tries";

/// So many percent of all must be answered, counted as refused in silence, or counted as dropped by the kernel.
const COUNTED: u64 = 99;

/// Lines a second that the log may hold of all guesses together: one of each source, and no more than a hundred.
const LINES: u64 = 100;

/// Who floods, and with what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// Wrong passwords of agents, from one address
    One,
    /// … from 20 addresses
    Several,
    /// … from 5,000 addresses: a good part of them is hashed and answered
    Many,
    /// Names that nobody has, from 20 addresses
    Unknown,
    /// The right password with a nonce that was used before, from 20 addresses
    Replayed,
    /// No credentials, from 20 addresses
    Bare,
}

impl Kind {
    /// Where one of its guessers is: nowhere that another kind has been, since a node remembers for a while.
    fn address(self, guesser: u32) -> Ipv4Addr {
        address(self as u32 * VERY_MANY + guesser)
    }
}

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
    #[arg(long, value_delimiter = ',', default_values = ["one", "several", "many", "unknown", "replayed", "bare"])]
    floods: Vec<Kind>,
    /// MiB by which the server may grow
    #[arg(long, default_value_t = 64)]
    memory: u64,
    /// Shards of the server
    #[arg(long, default_value_t = 1)]
    shards: u8,
}

/// What one flood was answered.
#[derive(Default)]
struct Sent {
    offered: u64,
    /// By status.
    answers: BTreeMap<u16, u64>,
    /// How far it fell behind its own plan at most.
    behind: Duration,
}

/// What the node says at one moment.
struct Look {
    rejected: BTreeMap<String, u64>,
    dropped: u64,
    cpu: u64,
    memory: u64,
    guesses: u64,
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
            let flooder = Flooder::new(*kind, server)?;
            at += Duration::from_secs(ALONE.into());
            thread::sleep(at.saturating_sub(began.elapsed()));
            let before = look(&node, admin)?;
            let sent = flooder.run(self.rate, self.seconds).map_err(words)?;
            at += Duration::from_secs(self.seconds.into());
            let after = look(&node, admin)?;
            wrong.extend(self.judge(*kind, &sent, &before, &after));
            told.push(self.tell(*kind, &sent, &before, &after));
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

    fn tell(&self, kind: Kind, sent: &Sent, before: &Look, after: &Look) -> String {
        let answered: u64 = sent.answers.values().sum();
        let cpu = Duration::from_nanos(after.cpu - before.cpu).as_secs_f64() / f64::from(self.seconds);
        format!(
            "  {} REGISTERs ({kind:?}): answered {:?}, {} not answered; the flood was at most {:.0?} behind\n  \
             rejected {:?}; {} dropped by the kernel; {cpu:.2} CPUs, {} MiB, grown by {} KiB; {} lines of guesses",
            sent.offered,
            sent.answers,
            sent.offered.saturating_sub(answered),
            sent.behind,
            metrics::growth(&before.rejected, &after.rejected),
            after.dropped - before.dropped,
            after.memory / 1_024,
            after.memory.saturating_sub(before.memory),
            after.guesses - before.guesses,
        )
    }

    fn judge(&self, kind: Kind, sent: &Sent, before: &Look, after: &Look) -> Vec<String> {
        let grown = after.memory.saturating_sub(before.memory) / 1_024;
        let (lines, most) = (after.guesses - before.guesses, LINES * u64::from(self.seconds + 1));
        let silent = metrics::growth(&before.rejected, &after.rejected);
        let silent: u64 = silent.iter().filter(|(why, _)| why.contains(SILENT)).map(|(_, count)| count).sum();
        let told = sent.answers.values().sum::<u64>() + silent + after.dropped - before.dropped;
        [
            (grown > self.memory, format!("{kind:?}: the server grew by {grown} MiB")),
            (lines > most, format!("{kind:?}: {lines} log lines, not {most}")),
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
    (outcome.failed() > 0).then(|| format!("{title}: {} calls failed", outcome.failed()))
}

fn look(node: &Program, admin: u16) -> Result<Look, String> {
    let words = |e: io::Error| e.to_string();
    let text = metrics::read(admin)?;
    let log = node.printed();
    Ok(Look {
        rejected: metrics::each(&text, "strowger_rejected_total"),
        dropped: metrics::total(&text, "strowger_udp_dropped_total"),
        cpu: usage::cpu(node.id()).map_err(words)?,
        memory: usage::memory(node.id()).map_err(words)?,
        guesses: log.lines().filter(|line| line.contains("password")).count() as u64,
    })
}

/// Who floods.
struct Flooder {
    kind: Kind,
    party: Party,
    /// What is repeated, where it is the same each time: of each address its own.
    lines: Vec<Vec<u8>>,
}

impl Flooder {
    fn new(kind: Kind, server: u16) -> Result<Flooder, String> {
        let party = Party::new(server).map_err(|e| e.to_string())?;
        let lines = match kind {
            Kind::Replayed => (0..SEVERAL)
                .map(|phone| used(&party, kind.address(phone), phone))
                .collect::<Result<_, _>>()
                .map_err(|e| format!("nothing to be replayed: {e}"))?,
            Kind::One | Kind::Several | Kind::Many | Kind::Unknown | Kind::Bare => Vec::new(),
        };
        Ok(Flooder { kind, party, lines })
    }

    fn run(&self, rate: u32, seconds: u32) -> io::Result<Sent> {
        let (begun, length) = (Instant::now(), Duration::from_secs(seconds.into()));
        let each = Duration::from_secs(1) / rate;
        let mut inbox = Inbox::new();
        let mut sent = Sent::default();
        let all = u64::from(rate * seconds);
        while sent.offered < all && begun.elapsed() < length + length {
            let due = (begun.elapsed().as_secs_f64() * f64::from(rate)) as u64;
            if due > sent.offered {
                let late =
                    begun.elapsed().saturating_sub(each * u32::try_from(sent.offered).unwrap_or(u32::MAX));
                sent.behind = sent.behind.max(late);
            }
            while sent.offered < due.min(all) {
                self.guess(sent.offered)?;
                sent.offered += 1;
            }
            self.hear(&mut inbox, &mut sent)?;
            thread::sleep(BEAT);
        }
        // What is still on its way.
        thread::sleep(Duration::from_millis(100));
        self.hear(&mut inbox, &mut sent)?;
        Ok(sent)
    }

    fn guess(&self, number: u64) -> io::Result<()> {
        let place = number as u32;
        let of = match self.kind {
            Kind::One => 1,
            Kind::Several | Kind::Unknown | Kind::Replayed | Kind::Bare => SEVERAL,
            Kind::Many => VERY_MANY,
        };
        let phone = place % of;
        let at = self.kind.address(phone);
        let user = match self.kind {
            Kind::One | Kind::Several | Kind::Bare => name(place % AGENTS),
            // Each of them tries one name after another.
            Kind::Many => name((place + place / of) % AGENTS),
            Kind::Unknown => format!("nobody-{place}"),
            Kind::Replayed => name(phone),
        };
        let made;
        let line: &[u8] = match self.kind {
            Kind::One | Kind::Several | Kind::Many | Kind::Unknown => {
                made = guessed(&user, number);
                &made
            }
            Kind::Replayed => &self.lines[phone as usize],
            Kind::Bare => &[],
        };
        // Each a transaction of its own.
        self.party.say(at, &self.party.register(phone, at, &user, place + 10, line))
    }

    fn hear(&self, inbox: &mut Inbox, sent: &mut Sent) -> io::Result<()> {
        while self.party.receive(inbox)? > 0 {
            for (message, _) in inbox.messages() {
                if let Some(status) = Seen::read(message).status() {
                    *sent.answers.entry(status).or_default() += 1;
                }
            }
        }
        Ok(())
    }
}

/// Registers a phone; the credentials that it used.
fn used(party: &Party, at: Ipv4Addr, phone: u32) -> io::Result<Vec<u8>> {
    let user = name(phone);
    let mut inbox = Inbox::new();
    let mut ask = |cseq: u32, line: &[u8]| -> io::Result<(Option<u16>, Vec<u8>)> {
        party.say(at, &party.register(phone, at, &user, cseq, line))?;
        party.wait(THRESHOLD)?;
        party.receive(&mut inbox)?;
        let (message, _) = inbox.messages().next().ok_or_else(|| io::Error::other("no answer"))?;
        let seen = Seen::read(message);
        Ok((seen.status(), seen.challenge.to_vec()))
    };
    let (_, challenge) = ask(1, &[])?;
    let line = credentials(phone, &challenge, 1);
    match ask(2, &line)? {
        (Some(200), _) => Ok(line),
        (status, _) => Err(io::Error::other(format!("phone {phone} is answered {status:?}"))),
    }
}
