//! What a call costs: Strowger beside a bare relay and beside Kamailio, in one run, on one machine.
//! `scripts/bench-calls` starts it.

mod audio;
mod batch;
mod beside;
mod carrier;
mod flood;
mod gateways;
mod guessers;
mod load;
mod media;
mod message;
mod metrics;
mod overload;
mod party;
mod phones;
#[path = "../../tests/support/process.rs"]
mod process;
mod register;
mod relay;
mod report;
mod search;
mod server;
mod soak;
mod starved;
mod usage;

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};

use load::{Load, Offer, Ports};
use report::{Cost, Figures};
use server::{Kind, Server};

/// At this rate setup times are taken.
const SETUP_RATE: u32 = 500;

/// At this rate calls are set up that are then held.
const HELD_RATE: u32 = 500;

/// How much longer the first call is held than all take to be set up; what a server gets to settle after its
/// start.
const HELD_PAUSE: Duration = Duration::from_secs(8);

/// What a call costs Strowger, a bare relay of the same datagrams, and Kamailio.
#[derive(Parser)]
#[command(name = "scripts/bench-calls", disable_version_flag = true)]
struct Arguments {
    #[command(subcommand)]
    role: Option<Role>,
    /// Rounds; in each every server is measured at every rate
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// Length of a run
    #[arg(long, default_value_t = 10)]
    seconds: u32,
    /// Calls per second offered by SIPp
    #[arg(long, value_delimiter = ',', default_values_t = [100, 300, 600, 1_000])]
    rates: Vec<u32>,
    /// Servers to compare
    #[arg(long, value_delimiter = ',', default_values = ["relay", "strowger", "kamailio-fm", "kamailio"])]
    servers: Vec<Kind>,
    /// What to measure
    #[arg(long, value_delimiter = ',', default_values = ["cpu", "setup", "rate", "memory"])]
    measure: Vec<Measure>,
    /// Calls held for the memory
    #[arg(long, default_value_t = 20_000)]
    held: u32,
    /// A first impression: two rounds of 3 s at 300 and 1,000 calls/s, 5,000 held calls
    #[arg(long)]
    quick: bool,
    /// Given by `cargo bench`
    #[arg(long, hide = true, global = true)]
    bench: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Measure {
    /// CPU per call, messages, failures, retransmissions (SIPp)
    Cpu,
    /// Setup times (load program)
    Setup,
    /// Session establishment rate (load program)
    Rate,
    /// Memory per held call (load program)
    Memory,
}

#[derive(Subcommand)]
enum Role {
    /// Be the bare relay
    #[command(hide = true)]
    Relay { port: u16, caller: u16, far: u16 },
    /// Lose messages and look for what is left
    SoakLoss(soak::Soak),
    /// Offer too much
    SoakOverload(overload::Overload),
    /// What a registration costs
    Register(register::Register),
    /// What audio costs
    Media(media::Audio),
    /// Guess passwords while calls go on
    SoakRegisterFlood(flood::Flood),
    /// Be a gateway
    #[command(hide = true)]
    Gateway(gateways::Gateway),
    /// Take a gateway away while calls go on
    SoakGateway(gateways::Soak),
    /// Offer calls with audio and look for what is left
    SoakAudio(audio::Soak),
    /// Offer too much to a server that gets a tenth of a processor
    SoakStarved(starved::Starved),
}

fn main() -> ExitCode {
    let mut arguments = Arguments::parse();
    match arguments.role {
        Some(Role::Relay { port, caller, far }) => {
            return ended(relay::run(port, caller, far).map_err(|e| e.to_string()));
        }
        Some(Role::Media(audio)) => return ended(audio.run()),
        Some(Role::SoakLoss(soak)) => return ended(soak.run()),
        Some(Role::SoakOverload(overload)) => return ended(overload.run()),
        Some(Role::Register(register)) => return ended(register.run()),
        Some(Role::SoakRegisterFlood(flood)) => return ended(flood.run()),
        Some(Role::Gateway(gateway)) => return ended(gateway.run().map_err(|e| e.to_string())),
        Some(Role::SoakGateway(soak)) => return ended(soak.run()),
        Some(Role::SoakAudio(soak)) => return ended(soak.run()),
        Some(Role::SoakStarved(starved)) => return ended(starved.run()),
        None => {}
    }
    if arguments.quick {
        arguments.rounds = 2;
        arguments.seconds = 3;
        arguments.rates = vec![300, 1_000];
        arguments.held = 5_000;
    }
    ended(compare(&arguments))
}

fn ended(result: Result<(), String>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(words) => {
            note(&words);
            ExitCode::FAILURE
        }
    }
}

/// Progress, for whoever waits.
fn note(words: &str) {
    writeln!(io::stderr(), "{words}").ok();
}

fn compare(arguments: &Arguments) -> Result<(), String> {
    // The time that this program gives for a wake-up is what it gets, not 50 µs more.
    nix::sys::prctl::set_timerslack(1).map_err(|e| e.to_string())?;
    let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
    let host = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let [caller, far, listeners @ ..] = process::free_ports::<{ 2 + Kind::COUNT }>(host)?;
    let mut servers = Vec::new();
    for (kind, server) in arguments.servers.iter().zip(listeners) {
        note(&format!("starting: {}", kind.title()));
        let ports = Ports { server, caller, far };
        servers.push(Server::start(*kind, ports, folder.path())?);
    }
    let mut figures: BTreeMap<Kind, Figures> =
        servers.iter().map(|server| (server.kind, Figures::default())).collect();
    let wanted = |measure| arguments.measure.contains(&measure);
    // Memory first: what a server has once used it does not give back.
    if wanted(Measure::Memory) {
        for server in servers.iter_mut().filter(|server| server.kind != Kind::Relay) {
            let memory = memory_per_call(server, arguments.held)?;
            figures.entry(server.kind).or_default().memory = memory;
        }
    }
    if wanted(Measure::Cpu) {
        for round in 0..arguments.rounds {
            for rate in &arguments.rates {
                for server in &servers {
                    let cost = cost(server, round, *rate, arguments.seconds, folder.path())?;
                    figures.entry(server.kind).or_default().costs.push(cost);
                }
            }
        }
    }
    if wanted(Measure::Setup) {
        for round in 0..arguments.rounds {
            note(&format!("setup times, round {}", round + 1));
            for server in &servers {
                setup_times(server, arguments.seconds, figures.entry(server.kind).or_default())?;
            }
        }
    }
    if wanted(Measure::Rate) {
        for server in &mut servers {
            note(&format!("session establishment rate: {}", server.kind.title()));
            let rate = search::establishment_rate(server, arguments.seconds.min(4))?;
            figures.entry(server.kind).or_default().establishment_rate = Some(rate);
        }
    }
    let table = report::markdown(&arguments.rates, &figures).map_err(|e| e.to_string())?;
    let Arguments { rounds, seconds, held, .. } = arguments;
    writeln!(
        io::stdout(),
        "Machine: {}. Medians of {rounds} runs of {seconds} s; setup times at {SETUP_RATE} calls/s; \
         memory with {held} calls held.\n\n{table}",
        usage::machine()
    )
    .map_err(|e| e.to_string())
}

/// One run of SIPp, and what it cost.
fn cost(server: &Server, round: u32, rate: u32, seconds: u32, folder: &Path) -> Result<Cost, String> {
    let words = |e: io::Error| e.to_string();
    let (cpu, datagrams) = (usage::cpu(server.id()).map_err(words)?, usage::datagrams().map_err(words)?);
    let counted = carrier::offer(server.ports, rate, seconds, folder)?;
    let used = usage::cpu(server.id()).map_err(words)? - cpu;
    let passed = usage::datagrams().map_err(words)? - datagrams;
    let calls = f64::from(rate * seconds);
    let cost = Cost {
        round,
        rate,
        cpu: Duration::from_nanos(used).as_secs_f64() / calls * 1_000.0,
        messages: f64::from(u32::try_from(passed).unwrap_or(u32::MAX)) / calls,
        failed: counted.failed + u64::from(rate * seconds) - counted.completed - counted.failed,
        retransmissions: counted.retransmissions,
    };
    note(&format!(
        "round {}, {rate}/s: {:.3} CPU s per 1,000 calls, {} failed: {}",
        round + 1,
        cost.cpu,
        cost.failed,
        server.kind.title()
    ));
    Ok(cost)
}

fn setup_times(server: &Server, seconds: u32, figures: &mut Figures) -> Result<(), String> {
    let offer = Offer {
        rate: SETUP_RATE,
        calls: SETUP_RATE * seconds,
        hold: Duration::from_millis(500),
        patience: search::THRESHOLD,
    };
    let outcome = Load::new(server.ports).and_then(|load| load.offer(offer)).map_err(|e| e.to_string())?;
    if outcome.failed() > 0 || outcome.repeats > 0 {
        note(&format!("  {} failed, {} repeats: {}", outcome.failed(), outcome.repeats, server.kind.title()));
    }
    for (sum, one) in [(&mut figures.setup, outcome.setup), (&mut figures.passage, outcome.passage)] {
        match sum {
            Some(sum) => sum.add(one).map_err(|e| e.to_string())?,
            None => *sum = Some(one),
        }
    }
    Ok(())
}

/// KiB per held call: memory at `held` calls less that at none, or twice what the second half took, whichever
/// is more. A server that has just read 100,000 numbers has free memory that its first calls are put into, and
/// the second half shows what they need. Nothing where not all could be set up.
fn memory_per_call(server: &mut Server, held: u32) -> Result<Option<f64>, String> {
    note(&format!("memory of {held} held calls: {}", server.kind.title()));
    server.restart()?;
    let set_up = Duration::from_secs(u64::from(held / HELD_RATE));
    // The first call is still held when the memory is looked at.
    let hold = set_up + HELD_PAUSE;
    let offer = Offer { rate: HELD_RATE, calls: held, hold, patience: search::THRESHOLD };
    let id = server.id();
    let words = |e: io::Error| e.to_string();
    // What it needed to start is given back with a delay.
    thread::sleep(HELD_PAUSE);
    let none = usage::memory(id).map_err(words)?;
    let load = Load::new(server.ports).map_err(words)?;
    let calls = thread::spawn(move || load.offer(offer));
    thread::sleep(set_up / 2);
    let half = usage::memory(id).map_err(words)?;
    thread::sleep(set_up / 2 + HELD_PAUSE / 4);
    let full = usage::memory(id).map_err(words)?;
    let outcome = calls.join().map_err(|_| "the load program failed".to_owned())?.map_err(words)?;
    if outcome.failed() > 0 {
        note(&format!("  {} of {held} held calls failed", outcome.failed()));
        return Ok(None);
    }
    note(&format!("  {none} KiB at none, {half} KiB at half of them, {full} KiB at all"));
    let grown = full.saturating_sub(none).max(2 * full.saturating_sub(half));
    Ok(Some(f64::from(u32::try_from(grown).unwrap_or(u32::MAX)) / f64::from(held)))
}
