//! More calls than the machine can carry: what is too much is refused, memory stays bounded, and right after it
//! everything is as before.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;

use crate::load::{Load, Outcome, Phase, Ports};
use crate::metrics::{self, GAUGES, total};
use crate::process::free_ports;
use crate::search::THRESHOLD;
use crate::server::Server;
use crate::usage;

/// How long the server has to be itself again.
const RECOVERY: Duration = Duration::from_secs(5);

/// Calls per second that must all go through, before and after.
const ORDINARY: u32 = 200;

/// Seconds of them, before and after.
const ORDINARY_SECONDS: u32 = 5;

/// How often memory is looked at.
const LOOK: Duration = Duration::from_millis(500);

/// Every so many looks are told.
const TOLD: u32 = 10;

/// 64·T1 and some: so long after the last call nothing may be left of any.
const QUIET: Duration = Duration::from_secs(40);

/// Offers too much and looks at what comes of it.
#[derive(Args)]
pub struct Overload {
    /// Calls per second
    #[arg(long, default_value_t = 20_000)]
    rate: u32,
    #[arg(long, default_value_t = 60)]
    seconds: u32,
    /// MiB that the server may take
    #[arg(long, default_value_t = 1_024)]
    memory: u64,
    /// Shards, one run each
    #[arg(long, value_delimiter = ',', default_values_t = [1])]
    shards: Vec<u8>,
}

impl Overload {
    pub fn run(&self) -> Result<(), String> {
        for shards in &self.shards {
            crate::note(&format!("{shards} shard(s), {} calls/s for {} s", self.rate, self.seconds));
            self.run_with(*shards)?;
        }
        Ok(())
    }

    fn run_with(&self, shards: u8) -> Result<(), String> {
        let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
        let host = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let [server, caller, far, admin] = free_ports(host)?;
        let ports = Ports { server, caller, far };
        let server = Server::overloaded(ports, folder.path(), shards, admin)?;
        let (told, over) = mpsc::channel();
        let watch = thread::spawn({
            let id = server.id();
            move || watch(id, admin, &over)
        });
        let ordinary = |pause| Phase { rate: ORDINARY, seconds: ORDINARY_SECONDS, pause };
        let storm = Phase { rate: self.rate, seconds: self.seconds, pause: Duration::ZERO };
        let phases = [ordinary(Duration::ZERO), storm, ordinary(RECOVERY)];
        let load = Load::new(ports).map_err(|e| e.to_string())?;
        let outcomes = load.phases(&phases, THRESHOLD, QUIET);
        let unread = [caller, far].map(|port| usage::dropped(port).unwrap_or(0)).iter().sum::<u64>();
        told.send(()).ok();
        let highest = watch.join().map_err(|_| "nobody watched the memory".to_owned())? / 1_024;
        let outcomes = outcomes.map_err(|e| e.to_string())?;
        let [before, storm, after] = outcomes.as_slice() else { return Err("a phase is missing".to_owned()) };
        for (name, outcome) in [("before", before), ("storm", storm), ("after", after)] {
            crate::note(&format!("  {name}: {}", told_of(outcome)));
        }
        let goodput = goodput(storm, self.seconds);
        crate::note(&format!(
            "  goodput: {goodput}; at most {highest} MiB; {unread} dropped at the load program"
        ));
        let left = quiet(admin)?;
        let (calls, records) =
            (total(&metrics::read(admin)?, "strowger_calls_total"), records(&server.records())?);
        crate::note(&format!("  {calls} calls, {records} records"));
        let wrong = [
            (before.failed() > 0, "calls failed before it".to_owned()),
            (storm.refused == 0, "nothing was refused: more --rate is wanted".to_owned()),
            (storm.told_when < storm.refused, "a refusal was no 503 with Retry-After".to_owned()),
            (highest > self.memory, "it took too much memory".to_owned()),
            (after.failed() > 0, "it was not itself again".to_owned()),
            (!left.is_empty(), format!("something is left: {}", left.join(", "))),
            (calls != records, "calls and records differ in number".to_owned()),
        ];
        wrong.into_iter().find(|(is, _)| *is).map_or(Ok(()), |(_, words)| Err(words))
    }
}

pub fn told_of(outcome: &Outcome) -> String {
    let Outcome { offered, completed, late, refused, stuck, ghosts, repeats, behind, setup, .. } = outcome;
    format!(
        "{offered} calls: {completed} completed, {refused} refused, {late} without an answer in time, \
         {stuck} stuck, {ghosts} answered after a refusal, {repeats} repeats; setup p50 {:.1} ms, p99 {:.1} ms; \
         the load program was at most {} ms behind",
        setup.value_at_quantile(0.5) as f64 / 1e3,
        setup.value_at_quantile(0.99) as f64 / 1e3,
        behind / 1_000
    )
}

/// Calls completed per second, by the seconds of the storm: mean, median, worst.
pub fn goodput(storm: &Outcome, seconds: u32) -> String {
    let mut each: Vec<u32> = storm.by_second.iter().copied().take(seconds as usize).collect();
    each.resize(seconds as usize, 0);
    each.sort_unstable();
    let median = each.get(each.len() / 2).copied().unwrap_or(0);
    let worst = each.first().copied().unwrap_or(0);
    format!("{} calls/s, median second {median}, worst {worst}", storm.completed / seconds.max(1))
}

/// The highest memory in KiB, until it is over; every tenth look is told.
pub fn watch(id: u32, admin: u16, over: &mpsc::Receiver<()>) -> u64 {
    let mut highest = 0;
    let mut looks = 0;
    let mut used = 0;
    while over.recv_timeout(LOOK).is_err_and(|e| e == mpsc::RecvTimeoutError::Timeout) {
        let memory = usage::memory(id).unwrap_or(0);
        highest = highest.max(memory);
        looks += 1;
        if looks % TOLD == 0 {
            let cpu = usage::cpu(id).unwrap_or(used);
            let share = Duration::from_nanos(cpu - used).as_secs_f64() / (LOOK * TOLD).as_secs_f64();
            used = cpu;
            let text = metrics::read(admin).unwrap_or_default();
            let [calls, _, transactions] = GAUGES.map(|gauge| total(&text, gauge));
            crate::note(&format!(
                "  {} MiB, {share:.2} CPUs, {calls} calls, {transactions} transactions, {} dropped by the kernel, \
                 {} refused, {} full",
                memory / 1_024,
                total(&text, "strowger_udp_dropped_total"),
                total(&text, "strowger_rejected_total"),
                total(&text, "strowger_queue_full_total"),
            ));
        }
    }
    highest
}

/// Waits until nothing lives any more; what does all the same.
pub fn quiet(admin: u16) -> Result<Vec<String>, String> {
    let until = Instant::now() + QUIET;
    loop {
        let text = metrics::read(admin)?;
        let left = metrics::alive(&text);
        if left.is_empty() || Instant::now() > until {
            for line in text.lines().filter(|line| {
                ["strowger_rejected", "strowger_queue_full", "strowger_sip_retr", "strowger_calls_total"]
                    .iter()
                    .any(|name| line.starts_with(name))
            }) {
                crate::note(&format!("  {line}"));
            }
            return Ok(left);
        }
        thread::sleep(LOOK);
    }
}

pub fn records(folder: &Path) -> Result<u64, String> {
    let files = fs::read_dir(folder).map_err(|e| format!("{}: {e}", folder.display()))?.flatten();
    let lines = files.map(|file| fs::read(file.path()).unwrap_or_default());
    Ok(lines.map(|text| text.iter().filter(|byte| **byte == b'\n').count() as u64).sum())
}
