//! Calls whose audio comes through the node, and which come to nothing as a rule: when all is over, no port and no memory
//! may be left with any.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use clap::Args;
use serde_json::Value;

use crate::metrics;
use crate::process::{Program, free_ports};
use crate::server::strowger;
use crate::usage;

/// After the last call so long passes until it is looked at what is left: 64·T1 and some.
const QUIET: Duration = Duration::from_secs(40);

/// How much longer than all take to be offered the last call may last.
const TAIL: Duration = Duration::from_secs(60);

/// Pairs of ports in use, which its metrics tell beside the other gauges.
const PORTS: &str = "strowger_rtp_ports_active";

/// What calls come to: the number that is dialled, the keys that it has beside, who is called and who calls, and what the
/// record of each must say.
struct Kind {
    number: &'static str,
    keys: &'static str,
    phone: (&'static str, &'static [&'static str]),
    caller: (&'static str, &'static [&'static str]),
    outcome: &'static str,
}

const KINDS: [Kind; 5] = [
    Kind {
        number: "+12015550101",
        keys: "voicemail = false",
        phone: ("phone_is_busy", &[]),
        caller: ("caller_is_refused", &["-key", "hops", "70"]),
        outcome: "busy",
    },
    Kind {
        number: "+12015550102",
        keys: "voicemail = false",
        phone: ("phone_rings", &[]),
        caller: ("caller_cancels", &[]),
        outcome: "cancelled",
    },
    Kind {
        number: "+12015550103",
        keys: "record = true\nvoicemail = false",
        phone: ("phone_presses_by_info", &["-d", "300"]),
        caller: ("caller_talks", &["-d", "300"]),
        outcome: "answered",
    },
    Kind {
        number: "+12015550104",
        keys: "voicemail = false",
        phone: ("phone_answers", &["-d", "100"]),
        caller: ("caller_is_refused", &["-key", "hops", "70"]),
        outcome: "not_confirmed",
    },
    // It is answered by voicemail and says nothing: a missed call.
    Kind {
        number: "+12015550105",
        keys: "voicemail = true",
        phone: ("phone_declines", &[]),
        caller: ("caller_talks", &["-d", "1000"]),
        outcome: "no_answer",
    },
];

/// Offers calls that come to nothing and looks for what is left.
#[derive(Args)]
pub struct Soak {
    /// Calls in all
    #[arg(long, default_value_t = 10_000)]
    calls: u32,
    /// Of those, how many are over when memory is looked at first
    #[arg(long, default_value_t = 2_000)]
    first: u32,
    /// New calls per second
    #[arg(long, default_value_t = 50)]
    rate: u32,
    /// By so many percent memory may have grown at the end
    #[arg(long, default_value_t = 5)]
    growth: u64,
}

/// What a process holds when nobody calls.
#[derive(Clone, Copy, Debug)]
struct Held {
    /// KiB.
    memory: u64,
    sockets: usize,
}

impl Soak {
    pub fn run(&self) -> Result<(), String> {
        let words = |e: io::Error| e.to_string();
        let folder = tempfile::tempdir().map_err(words)?;
        let host = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let [server, admin, phones @ ..] = free_ports::<{ 2 + KINDS.len() }>(host)?;
        let config = configure(folder.path(), server, admin, &phones).map_err(words)?;
        let node = strowger(&config, folder.path())?;
        let _phones = KINDS
            .iter()
            .zip(phones)
            .map(|(kind, port)| sipp(kind.phone.0, port, folder.path(), kind.phone.1));
        let _phones = _phones.collect::<Result<Vec<_>, _>>()?;
        let mut held: Vec<Held> = Vec::new();
        for calls in [self.first, self.calls.saturating_sub(self.first)] {
            self.offer(calls, server, folder.path())?;
            thread::sleep(QUIET);
            let text = metrics::read(admin)?;
            let mut alive = metrics::alive(&text);
            alive.extend(
                Some(metrics::total(&text, PORTS)).filter(|ports| *ports > 0).map(|n| format!("{PORTS} {n}")),
            );
            if !alive.is_empty() {
                return Err(format!("left after {calls} calls: {alive:?}\n{}", node.last_words()));
            }
            let memory = usage::memory(node.id()).map_err(words)?;
            let sockets = usage::sockets(node.id()).map_err(words)?;
            crate::note(&format!("  {calls} calls later: {memory} KiB, {sockets} sockets"));
            held.push(Held { memory, sockets });
        }
        let [first, last] = held[..] else { return Err("nothing was measured".to_owned()) };
        let mut wrong = counted(&folder.path().join("data/cdr"), self.calls);
        if last.memory * 100 > first.memory * (100 + self.growth) {
            wrong.push(format!("memory has grown from {} to {} KiB", first.memory, last.memory));
        }
        if last.sockets > first.sockets {
            wrong.push(format!("{} sockets have become {}", first.sockets, last.sockets));
        }
        if wrong.is_empty() { Ok(()) } else { Err(format!("{}\n{}", wrong.join("\n"), node.last_words())) }
    }

    /// So many calls, a fifth of each kind.
    fn offer(&self, calls: u32, server: u16, folder: &Path) -> Result<(), String> {
        let kinds = KINDS.len() as u32;
        let (each, rate) = ((calls / kinds).to_string(), (self.rate / kinds).max(1).to_string());
        let to = format!("127.0.0.1:{server}");
        crate::note(&format!("{each} calls of each of {kinds} kinds, {rate} of each in a second"));
        let ports = free_ports::<{ KINDS.len() }>(IpAddr::V4(Ipv4Addr::LOCALHOST))?;
        let mut running = Vec::new();
        for (kind, port) in KINDS.iter().zip(ports) {
            let usual = ["-s", kind.number, "-r", &rate, "-m", &each];
            let more = [&usual[..], kind.caller.1, &[&to]].concat();
            running.push(sipp(kind.caller.0, port, folder, &more)?);
        }
        let offered = Duration::from_secs(u64::from(calls / self.rate.max(1)));
        for (program, kind) in running.iter_mut().zip(&KINDS) {
            let status = program.wait(offered + TAIL)?;
            if !status.success() {
                return Err(format!("calls to {} failed: {}", kind.number, program.last_words()));
            }
        }
        Ok(())
    }
}

fn sipp(scenario: &str, port: u16, folder: &Path, more: &[&str]) -> Result<Program, String> {
    let mut command = Command::new("sipp");
    command.arg("-sf").arg(format!("{}/tests/sipp/{scenario}.xml", env!("CARGO_MANIFEST_DIR")));
    command.args(["-i", "127.0.0.1", "-mi", "127.0.0.1", "-nostdin", "-p", &port.to_string(), "-l", "20000"]);
    Program::start(&format!("sipp-{port}"), command.args(more), folder)
}

/// A trunk for each kind's phone, so that each number has its own.
fn configure(folder: &Path, server: u16, admin: u16, phones: &[u16]) -> io::Result<PathBuf> {
    let config = folder.join("config");
    fs::create_dir_all(config.join("routing"))?;
    fs::write(
        config.join("strowger.toml"),
        format!(
            "[node]\nname = \"soak\"\ndata_dir = \"{}\"\n\
             [[listen]]\ntransport = \"udp\"\naddr = \"127.0.0.1:{server}\"\n\
             [admin]\naddr = \"127.0.0.1:{admin}\"\n[media]\nports = \"20000-29999\"\n",
            folder.join("data").display()
        ),
    )?;
    let mut routing = String::from(
        "[dial]\nallow = [\"+1\"]\n\
         [[trunk]]\nname = \"carrier\"\nfrom = [\"127.0.0.1/32\"]\noptions_interval = 0\n",
    );
    for (at, (Kind { number, keys, .. }, phone)) in KINDS.iter().zip(phones).enumerate() {
        write!(
            routing,
            "[[trunk]]\nname = \"far-{at}\"\noutbound = true\noptions_interval = 0\n\
             gateways = [{{ uri = \"sip:127.0.0.1:{phone}\" }}]\n\
             [[number]]\ndid = \"{number}\"\nforward_to = \"+12025550199\"\ntrunk = \"far-{at}\"\n\
             call_connect = true\ncall_connect_seconds = 2\n{keys}\n"
        )
        .map_err(io::Error::other)?;
    }
    fs::write(config.join("routing/all.toml"), routing)?;
    Ok(config)
}

/// Each call has left a record of what it came to. What is wrong, of all of them.
fn counted(folder: &Path, calls: u32) -> Vec<String> {
    let mut ends: BTreeMap<(String, String), u32> = BTreeMap::new();
    for file in fs::read_dir(folder).into_iter().flatten().flatten() {
        let text = fs::read_to_string(file.path()).unwrap_or_default();
        for record in text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap_or_default()) {
            let said = |key: &str| record[key].as_str().unwrap_or("nothing").to_owned();
            *ends.entry((said("did"), said("outcome"))).or_default() += 1;
        }
    }
    crate::note(&format!("  {ends:?}"));
    let each = calls / KINDS.len() as u32;
    let wrong = KINDS.iter().filter_map(|Kind { number, outcome, .. }| {
        let found = ends.get(&((*number).to_owned(), (*outcome).to_owned())).copied().unwrap_or(0);
        (found != each).then(|| format!("{number}: {found} records say \"{outcome}\", of {each} calls"))
    });
    wrong.collect()
}
