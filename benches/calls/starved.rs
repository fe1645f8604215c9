//! A server that gets a tenth of a processor, and then five times the calls that it can carry with that.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use clap::Args;

use crate::load::{Load, Offer, Outcome, Phase, Ports};
use crate::message::NUMBERS;
use crate::metrics;
use crate::overload::{goodput, quiet, records, told_of, watch};
use crate::process::{Program, free_ports};
use crate::search::THRESHOLD;
use crate::server::{Setting, one_gateway, strowger};
use crate::usage;

/// Where the kernel's control groups are: each controller of its own, or all in one tree.
const FIRST_VERSION: &str = "/sys/fs/cgroup/cpu";
const SECOND_VERSION: &str = "/sys/fs/cgroup";

/// How long the server has to be itself again.
const RECOVERY: Duration = Duration::from_secs(5);

/// Seconds of ordinary calls after the storm.
const ORDINARY_SECONDS: u32 = 5;

/// 64·T1 and some: so long after the last call nothing may be left of any.
const QUIET: Duration = Duration::from_secs(40);

/// Between two tries, for what is still on its way.
const PAUSE: Duration = Duration::from_secs(2);

/// Calls per second at the first try.
const FIRST: u32 = 50;

/// The gap between the last good and the first bad rate is closed to this part.
const GRAIN: u32 = 16;

/// A proof of a candidate lasts so many tries: longer than 64·T1, for what ended calls leave goes only then, and that is
/// work too.
const PROOF: u32 = 9;

/// Goodput must be so many percent of the capacity.
const GOOD: u32 = 90;

/// Offers five times as much as it can carry to a server that gets a tenth of a processor.
#[derive(Args)]
pub struct Starved {
    /// What the server gets of one processor, in percent
    #[arg(long, default_value_t = 10)]
    percent: u32,
    /// How often it gets that, in milliseconds
    #[arg(long, default_value_t = 100)]
    period: u32,
    /// So many times the capacity
    #[arg(long, default_value_t = 5)]
    times: u32,
    /// Length of the storm
    #[arg(long, default_value_t = 60)]
    seconds: u32,
    /// Length of a try when the capacity is searched
    #[arg(long, default_value_t = 5)]
    try_seconds: u32,
    /// Calls per second that it carries, where that is known
    #[arg(long)]
    capacity: Option<u32>,
    /// MiB that the server may take
    #[arg(long, default_value_t = 512)]
    memory: u64,
}

impl Starved {
    pub fn run(&self) -> Result<(), String> {
        nix::sys::prctl::set_timerslack(1).map_err(|e| e.to_string())?;
        let group = Group::new(self.percent, self.period)?;
        let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
        let [server, caller, far, admin] = free_ports(IpAddr::V4(Ipv4Addr::LOCALHOST))?;
        let ports = Ports { server, caller, far };
        let setting = Setting {
            ports,
            shards: 1,
            admin: Some(admin),
            far: &one_gateway(far),
            numbers: NUMBERS,
            agents: "",
        };
        let config = setting.write(folder.path()).map_err(|e| e.to_string())?;
        let node = strowger(&config, folder.path())?;
        group.hold(&node)?;
        let load = Load::new(ports).map_err(|e| e.to_string())?;
        crate::note(&format!("the server gets {} % of a processor, every {} ms", self.percent, self.period));
        let capacity = match self.capacity {
            Some(known) => known,
            None => self.capacity(&load)?,
        };
        crate::note(&format!("  capacity: {capacity} calls/s"));
        let (told, over) = mpsc::channel();
        let watching = thread::spawn({
            let id = node.id();
            move || watch(id, admin, &over)
        });
        let used = usage::cpu(node.id()).map_err(|e| e.to_string())?;
        let storm = Phase { rate: capacity * self.times, seconds: self.seconds, pause: Duration::ZERO };
        let after = Phase { rate: (capacity / 2).max(1), seconds: ORDINARY_SECONDS, pause: RECOVERY };
        let outcomes = load.phases(&[storm, after], THRESHOLD, QUIET).map_err(|e| e.to_string());
        told.send(()).ok();
        let highest = watching.join().map_err(|_| "nobody watched the memory".to_owned())? / 1_024;
        let used = Duration::from_nanos(usage::cpu(node.id()).map_err(|e| e.to_string())? - used);
        let outcomes = outcomes?;
        let [storm, after] = outcomes.as_slice() else { return Err("a phase is missing".to_owned()) };
        for (name, outcome) in [("storm", storm), ("after", after)] {
            crate::note(&format!("  {name}: {}", told_of(outcome)));
        }
        let share = storm.completed / self.seconds.max(1) * 100 / capacity.max(1);
        crate::note(&format!(
            "  goodput: {}, {share} % of the capacity; at most {highest} MiB; {used:.1?} of CPU time",
            goodput(storm, self.seconds)
        ));
        let left = quiet(admin)?;
        let calls = metrics::total(&metrics::read(admin)?, "strowger_calls_total");
        let records = records(&folder.path().join("data/cdr"))?;
        let wrong = [
            (storm.failed() == 0, "it was no storm: all were taken".to_owned()),
            (storm.told_when < storm.refused, "a refusal was no 503 with Retry-After".to_owned()),
            (share < GOOD, format!("goodput is {share} % of the capacity, not {GOOD} %")),
            (highest > self.memory, "it took too much memory".to_owned()),
            (after.failed() > 0, format!("{} calls failed when it was over", after.failed())),
            (!left.is_empty(), format!("something is left: {}", left.join(", "))),
            (calls != records, "calls and records differ in number".to_owned()),
        ];
        wrong.into_iter().find(|(is, _)| *is).map_or(Ok(()), |(_, words)| Err(words))
    }

    /// The highest rate at which no call fails: up until one does, then halving the gap, then a longer proof.
    fn capacity(&self, load: &Load) -> Result<u32, String> {
        let (mut good, mut bad) = (0, FIRST);
        while self.carries(load, bad, 1)? {
            (good, bad) = (bad, bad * 2);
        }
        while bad - good > (good / GRAIN).max(1) {
            let middle = good.midpoint(bad);
            if self.carries(load, middle, 1)? { good = middle } else { bad = middle }
        }
        while good > 0 && !self.carries(load, good, PROOF)? {
            good -= (good / GRAIN).max(1);
        }
        (good > 0).then_some(good).ok_or_else(|| "it carries nothing".to_owned())
    }

    fn carries(&self, load: &Load, rate: u32, tries: u32) -> Result<bool, String> {
        let calls = rate * self.try_seconds * tries;
        let offer = Offer { rate, calls, hold: Duration::ZERO, patience: THRESHOLD };
        let outcome: Outcome = load.offer(offer).map_err(|e| e.to_string())?;
        crate::note(&format!("  {rate}/s: {}", told_of(&outcome)));
        thread::sleep(PAUSE);
        Ok(outcome.failed() == 0)
    }
}

/// A control group of the kernel's; it goes when it is let go of, after those whom it holds.
struct Group {
    folder: PathBuf,
}

impl Group {
    /// What is in it gets `percent` of one processor, every `period` milliseconds.
    fn new(percent: u32, period: u32) -> Result<Group, String> {
        let (quota, period) = (u64::from(period) * u64::from(percent) * 10, u64::from(period) * 1_000);
        let name = format!("strowger-starved-{}", std::process::id());
        let first = Path::new(FIRST_VERSION);
        let words = |e: io::Error| {
            format!(
                "a control group that limits processors is wanted, and cannot be had here ({e}): root may make one"
            )
        };
        if first.join("cpu.cfs_quota_us").exists() || first.join("cgroup.procs").exists() {
            let group = Group::made(first.join(name)).map_err(words)?;
            group.write("cpu.cfs_period_us", &period.to_string()).map_err(words)?;
            group.write("cpu.cfs_quota_us", &quota.to_string()).map_err(words)?;
            return Ok(group);
        }
        let group = Group::made(Path::new(SECOND_VERSION).join(name)).map_err(words)?;
        group.write("cpu.max", &format!("{quota} {period}")).map_err(words)?;
        Ok(group)
    }

    fn made(folder: PathBuf) -> io::Result<Group> {
        fs::create_dir(&folder)?;
        Ok(Group { folder })
    }

    fn write(&self, file: &str, value: &str) -> io::Result<()> {
        fs::write(self.folder.join(file), value)
    }

    /// Holds a program from now on, with all its threads.
    fn hold(&self, program: &Program) -> Result<(), String> {
        self.write("cgroup.procs", &program.id().to_string()).map_err(|e| e.to_string())
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        fs::remove_dir(&self.folder).ok();
    }
}
