//! What a registration costs, and a binding: phones at addresses of their own register with a node that has as many
//! agents. `scripts/bench-register` starts it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use hdrhistogram::Histogram;
use nix::sys::signal::Signal;
use rusqlite::{Connection, OpenFlags};

use crate::load::Ports;
use crate::metrics;
use crate::party;
use crate::phones::{Phones, Tally, Wave};
use crate::process::{Program, free_ports, until};
use crate::report::median;
use crate::server::{Setting, one_gateway, signal, strowger};
use crate::usage;

/// How long the bindings of all phones may take to reach the disk.
const DISK: Duration = Duration::from_secs(60);

/// What a server gets to settle before its memory is looked at.
const SETTLE: Duration = Duration::from_secs(8);

/// So long nobody registers while what that costs is looked at.
const AT_REST: Duration = Duration::from_secs(5);

/// Registers phones and looks at what it costs.
#[derive(Args)]
#[command(name = "scripts/bench-register", disable_version_flag = true)]
pub struct Register {
    /// Agents, each with one phone
    #[arg(long, default_value_t = 100_000)]
    phones: u32,
    /// Rounds; in each every rate is measured
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// Length of a run at a rate
    #[arg(long, default_value_t = 10)]
    seconds: u32,
    /// Registrations per second; beside these, as many as are answered
    #[arg(long, value_delimiter = ',', default_values_t = [100, 1_000])]
    rates: Vec<u32>,
    /// A first impression: 10,000 phones, one round of 3 s at 1,000 a second
    #[arg(long)]
    quick: bool,
}

/// One kind of registration at one rate; none is as fast as it goes.
type Row = (Wave, Option<u32>);

/// What is known of it.
#[derive(Default)]
struct Figures {
    /// CPU µs each.
    cpu: Vec<f64>,
    /// Registrations per second.
    rates: Vec<f64>,
    /// Microseconds, of every run.
    times: Option<Histogram<u64>>,
    failed: u32,
    repeats: u32,
}

/// What is known of the bindings.
struct Kept {
    /// KiB of one.
    memory: f64,
    /// CPU time of a second in which nobody registers.
    at_rest: Duration,
    /// From the last 200 until all were on disk.
    written: Duration,
    /// From the start until the node was ready, without any and with all of them, and the CPU time of that.
    starts: [(Duration, Duration); 2],
    /// Bytes of the file, per binding.
    bytes: u64,
}

impl Register {
    pub fn run(mut self) -> Result<(), String> {
        if self.quick {
            (self.phones, self.rounds, self.seconds, self.rates) = (10_000, 1, 3, vec![1_000]);
        }
        // The time that this program gives for a wake-up is what it gets, not 50 µs more.
        nix::sys::prctl::set_timerslack(1).map_err(|e| e.to_string())?;
        let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
        let [server, caller, far, admin] = free_ports(IpAddr::V4(Ipv4Addr::LOCALHOST))?;
        let node = Node { server, admin, folder: folder.path().to_owned() };
        let agents = party::agents(self.phones);
        let ports = Ports { server, caller, far };
        let far = one_gateway(far);
        let setting =
            Setting { ports, shards: 1, admin: Some(admin), far: &far, numbers: 1, agents: &agents };
        let config = setting.write(folder.path()).map_err(|e| e.to_string())?;
        let mut figures = BTreeMap::new();
        let kept = self.measure(&node, &config, &mut figures)?;
        let table = self.markdown(&figures, &kept).map_err(|e| e.to_string())?;
        writeln!(
            io::stdout(),
            "Machine: {}. {} agents, each with a phone at an address of its own; medians of {} runs.\n\n{table}",
            usage::machine(),
            self.phones,
            self.rounds
        )
        .map_err(|e| e.to_string())
    }

    fn measure(
        &self,
        node: &Node,
        config: &Path,
        figures: &mut BTreeMap<Row, Figures>,
    ) -> Result<Kept, String> {
        let (program, empty) = node.start(config)?;
        let words = |e: io::Error| e.to_string();
        thread::sleep(SETTLE);
        let none = usage::memory(program.id()).map_err(words)?;
        let mut phones = Phones::new(node.server, self.phones).map_err(words)?;
        // All of them, from none: memory, and how long the disk is behind.
        let half = self.phones / 2;
        let mut tally = phones.register(0..half, Wave::Challenged, None).map_err(words)?;
        thread::sleep(SETTLE);
        let halfway = usage::memory(program.id()).map_err(words)?;
        let bound = tally.bound;
        tally = phones.register(half..self.phones, Wave::Challenged, None).map_err(words)?;
        let ended = Instant::now();
        if bound + tally.bound < self.phones {
            return Err(format!("{} of {} phones are bound", bound + tally.bound, self.phones));
        }
        let all = || node.written().is_ok_and(|count| count == self.phones);
        until(DISK, all).then_some(()).ok_or_else(|| format!("on disk are {:?}", node.written()))?;
        let written = ended.elapsed();
        note(&format!("all are bound, and on disk {written:.1?} after the last of them"));
        thread::sleep(SETTLE);
        let full = usage::memory(program.id()).map_err(words)?;
        let used = usage::cpu(program.id()).map_err(words)?;
        thread::sleep(AT_REST);
        let used = Duration::from_nanos(usage::cpu(program.id()).map_err(words)? - used);
        let at_rest = used.div_f64(AT_REST.as_secs_f64());
        note(&format!("{none} KiB without a binding, {halfway} KiB with half, {full} KiB with all"));
        // A node that has just read its configuration has free memory, which the first bindings are put into.
        let grown = full.saturating_sub(none).max(2 * full.saturating_sub(halfway));
        let memory = grown as f64 / f64::from(self.phones);
        for round in 0..self.rounds {
            for rate in self.rates.iter().copied().map(Some).chain([None]) {
                for wave in [Wave::Challenged, Wave::Refresh] {
                    let some = rate.map_or(self.phones, |rate| (rate * self.seconds).min(self.phones));
                    let figures = figures.entry((wave, rate)).or_default();
                    node.cost(&program, &mut phones, (some, wave, rate), figures, round)?;
                }
            }
        }
        until(DISK, all);
        let bytes = node.size().map_err(|e| e.to_string())? / u64::from(self.phones);
        // It gets no time to write anything down.
        signal(&program, Signal::SIGKILL)?;
        drop(program);
        let (program, restored) = node.start(config)?;
        let known = metrics::total(&metrics::read(node.admin)?, "strowger_registrations");
        drop(program);
        if known != u64::from(self.phones) {
            return Err(format!("{known} of {} are known after the restart", self.phones));
        }
        Ok(Kept { memory, at_rest, written, starts: [empty, restored], bytes })
    }

    fn markdown(&self, figures: &BTreeMap<Row, Figures>, kept: &Kept) -> Result<String, std::fmt::Error> {
        let mut text = String::from(
            "| | a second | CPU µs each | ms until bound: p50 / p99 | failed | repeated |\n|---|---|---|---|---|---|\n",
        );
        let mut rows: Vec<_> = figures.iter().collect();
        rows.sort_by_key(|((wave, rate), _)| (*wave, rate.unwrap_or(u32::MAX)));
        for ((wave, _), of) in rows {
            let title = match wave {
                Wave::Challenged => "REGISTER, 401, REGISTER, 200",
                Wave::Refresh => "REGISTER with a nonce that is known, 200",
            };
            let at = |share: f64| {
                of.times.as_ref().map_or(f64::NAN, |times| times.value_at_quantile(share) as f64 / 1e3)
            };
            writeln!(
                text,
                "| {title} | {:.0} | {:.0} | {:.2} / {:.2} | {} | {} |",
                median(of.rates.iter().copied()),
                median(of.cpu.iter().copied()),
                at(0.5),
                at(0.99),
                of.failed,
                of.repeats
            )?;
        }
        let Kept { memory, at_rest, written, starts: [empty, restored], bytes } = kept;
        let seconds = |time: &Duration| time.as_secs_f64();
        writeln!(
            text,
            "\n| {} bindings | |\n|---|---|\n\
             | memory of a binding | {:.2} KiB |\n\
             | CPU time at rest | {:.1} ms a second |\n\
             | on disk | {bytes} bytes each, all of them {:.1} s after the last 200 |\n\
             | start without any | {:.1} s, {:.1} CPU s |\n\
             | start with all, after a kill | {:.1} s, {:.1} CPU s |",
            self.phones,
            memory,
            seconds(at_rest) * 1e3,
            seconds(written),
            seconds(&empty.0),
            seconds(&empty.1),
            seconds(&restored.0),
            seconds(&restored.1),
        )?;
        Ok(text)
    }
}

/// The node that the phones register with.
struct Node {
    server: u16,
    admin: u16,
    folder: PathBuf,
}

impl Node {
    /// Starts it; how long until it was ready, and the CPU time of that.
    fn start(&self, config: &Path) -> Result<(Program, (Duration, Duration)), String> {
        let began = Instant::now();
        let program = strowger(config, &self.folder)?;
        let took = began.elapsed();
        let cpu = Duration::from_nanos(usage::cpu(program.id()).map_err(|e| e.to_string())?);
        note(&format!("ready after {took:.1?}, {cpu:.1?} of CPU time"));
        Ok((program, (took, cpu)))
    }

    /// One run, with the writing down of what it bound.
    fn cost(
        &self,
        program: &Program,
        phones: &mut Phones,
        (some, wave, rate): (u32, Wave, Option<u32>),
        figures: &mut Figures,
        round: u32,
    ) -> Result<(), String> {
        let words = |e: io::Error| e.to_string();
        let before = usage::cpu(program.id()).map_err(words)?;
        let tally = phones.register(0..some, wave, rate).map_err(words)?;
        // Twice the time after which a node writes down what has changed.
        thread::sleep(Duration::from_secs(2));
        let used = usage::cpu(program.id()).map_err(words)? - before;
        let Tally { bound, failed, repeats, stale, took, times } = tally;
        let each = Duration::from_nanos(used).as_secs_f64() * 1e6 / f64::from(bound.max(1));
        let a_second = f64::from(bound) / took.as_secs_f64();
        let kind = match wave {
            Wave::Challenged => "challenged",
            Wave::Refresh => "refreshed",
        };
        note(&format!(
            "round {}: {bound} {kind}, {a_second:.0} a second, {each:.0} CPU µs each, {failed} failed, \
             {repeats} repeats, {stale} stale",
            round + 1
        ));
        figures.cpu.push(each);
        figures.rates.push(a_second);
        figures.failed += failed;
        figures.repeats += repeats;
        match &mut figures.times {
            Some(all) => all.add(times).map_err(|e| e.to_string())?,
            None => figures.times = Some(times),
        }
        Ok(())
    }

    fn store(&self) -> PathBuf {
        self.folder.join("data/store.sqlite")
    }

    /// Bindings on disk.
    fn written(&self) -> Result<u32, rusqlite::Error> {
        let store = Connection::open_with_flags(self.store(), OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        store.query_row("SELECT count(*) FROM binding", [], |row| row.get(0))
    }

    /// Bytes of the file, with what is not yet moved into it.
    fn size(&self) -> Result<u64, rusqlite::Error> {
        let store = Connection::open_with_flags(self.store(), OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        let value = |name| store.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
        Ok(value("page_count")?.cast_unsigned() * value("page_size")?.cast_unsigned())
    }
}

fn note(words: &str) {
    crate::note(&format!("  {words}"));
}
