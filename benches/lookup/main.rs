//! What it costs to find a number among many: Strowger's table beside maps that others would take, and beside one load
//! that waits for memory, in one run on one machine. `scripts/bench-lookup` starts it.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it is a program")]

mod keys;
mod maps;
mod measure;
mod table;

use std::process::{Command, ExitCode};
use std::time::Duration;

use clap::{Parser, ValueEnum};

use keys::Draw;
use maps::Map;
use measure::{Measured, measure, while_published};
use strowger::number::E164;
use table::Publishes;

/// The node's own, for all maps: it asks for huge pages where the system gives them to those who ask, as most do, and the
/// system's allocator does not.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What it costs to find a number among many.
#[derive(Parser)]
#[command(name = "scripts/bench-lookup", disable_version_flag = true)]
struct Arguments {
    /// How many numbers there are
    #[arg(long, value_delimiter = ',', default_values_t = [10_000usize, 1_000_000, 10_000_000])]
    sizes: Vec<usize>,
    /// Threads that look up at once
    #[arg(long, value_delimiter = ',', default_values_t = [1usize, 2])]
    readers: Vec<usize>,
    /// How what is looked up is drawn
    #[arg(long, value_delimiter = ',', default_values_t = [Draw::Uniform, Draw::Zipf])]
    keys: Vec<Draw>,
    /// In what it is looked up
    #[arg(long, value_delimiter = ',', default_values_t = Kind::value_variants().to_vec())]
    maps: Vec<Kind>,
    /// Rounds, in each of which everything is measured once; medians are told
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// How long each is measured in a round, in milliseconds; reloaded: after a publication
    #[arg(long, default_value_t = 500)]
    millis: u64,
    /// Of these sizes only this one, in this process
    #[arg(long, hide = true)]
    alone: Option<usize>,
    /// cargo bench passes it
    #[arg(long, hide = true)]
    bench: bool,
}

/// In what numbers are looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
enum Kind {
    /// One load after another from as much memory as Strowger's table takes: what no table can beat
    Load,
    Strowger,
    /// The same with as many other numbers set one by one as its small layers hold
    StrowgerOverlaid,
    /// The same while all files are read, the whole table is built anew and published, again and again
    StrowgerReloaded,
    /// The same while single numbers are set and published, 500 a second
    StrowgerUpdated,
    Dashmap,
    DashmapUpdated,
    Papaya,
    PapayaUpdated,
    Scc,
    SccUpdated,
    /// RwLock<HashMap>, the standard library's
    Rwlock,
    RwlockUpdated,
}

/// What goes on while numbers are looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meanwhile {
    Nothing,
    Reloads,
    Updates,
}

/// From one update to the next: 500 a second.
const UPDATE: Duration = Duration::from_millis(2);
/// While tables are read and built, it is measured until one was published and a round more, and so long at most.
const LONGEST: Duration = Duration::from_secs(120);

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Load => "one dependent load",
            Kind::Strowger => "Strowger",
            Kind::StrowgerOverlaid => "Strowger, 66,048 others set",
            Kind::StrowgerReloaded => "Strowger, reloaded meanwhile",
            Kind::StrowgerUpdated => "Strowger, updated meanwhile",
            Kind::Dashmap => "dashmap",
            Kind::DashmapUpdated => "dashmap, updated meanwhile",
            Kind::Papaya => "papaya",
            Kind::PapayaUpdated => "papaya, updated meanwhile",
            Kind::Scc => "scc",
            Kind::SccUpdated => "scc, updated meanwhile",
            Kind::Rwlock => "RwLock<HashMap>",
            Kind::RwlockUpdated => "RwLock<HashMap>, updated meanwhile",
        }
    }

    fn meanwhile(self) -> Meanwhile {
        match self {
            Kind::StrowgerReloaded => Meanwhile::Reloads,
            Kind::StrowgerUpdated
            | Kind::DashmapUpdated
            | Kind::PapayaUpdated
            | Kind::SccUpdated
            | Kind::RwlockUpdated => Meanwhile::Updates,
            Kind::Load
            | Kind::Strowger
            | Kind::StrowgerOverlaid
            | Kind::Dashmap
            | Kind::Papaya
            | Kind::Scc
            | Kind::Rwlock => Meanwhile::Nothing,
        }
    }

    /// The one whose map this is looked up in as well.
    fn map(self) -> Kind {
        match self {
            Kind::DashmapUpdated => Kind::Dashmap,
            Kind::PapayaUpdated => Kind::Papaya,
            Kind::SccUpdated => Kind::Scc,
            Kind::RwlockUpdated => Kind::Rwlock,
            own @ (Kind::Load
            | Kind::Strowger
            | Kind::StrowgerOverlaid
            | Kind::StrowgerReloaded
            | Kind::StrowgerUpdated
            | Kind::Dashmap
            | Kind::Papaya
            | Kind::Scc
            | Kind::Rwlock) => own,
        }
    }

    fn filled<'l>(self, loaded: &'l table::Loaded, dids: &[E164]) -> Box<dyn Map + 'l> {
        match self {
            Kind::Load => Box::new(maps::Load::from(loaded.bytes())),
            Kind::Strowger | Kind::StrowgerUpdated => Box::new(loaded.map(Publishes::One, false)),
            Kind::StrowgerOverlaid => Box::new(loaded.map(Publishes::One, true)),
            Kind::StrowgerReloaded => Box::new(loaded.map(Publishes::Whole, false)),
            Kind::Dashmap | Kind::DashmapUpdated => Box::new(maps::Dash::of(dids)),
            Kind::Papaya | Kind::PapayaUpdated => Box::new(maps::Papaya::of(dids)),
            Kind::Scc | Kind::SccUpdated => Box::new(maps::Scc::of(dids)),
            Kind::Rwlock | Kind::RwlockUpdated => Box::new(maps::Locked::of(dids)),
        }
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.to_possible_value().map_or("", |value| value.get_name().to_owned().leak()))
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("bench-lookup: {why}");
            ExitCode::FAILURE
        }
    }
}

/// Each size in a process of its own: what it has of memory is told, and nothing was there before.
fn run(arguments: &Arguments) -> Result<(), Box<dyn std::error::Error>> {
    if let Some(size) = arguments.alone {
        return alone(arguments, size);
    }
    println!("Machine: {}, medians of {} rounds.\n", measure::machine(), arguments.rounds);
    for size in &arguments.sizes {
        let mut own = Command::new(std::env::current_exe()?);
        own.args(std::env::args_os().skip(1)).args(["--alone", &size.to_string()]);
        if !own.status()?.success() {
            return Err(format!("{size} numbers could not be measured").into());
        }
    }
    Ok(())
}

fn alone(arguments: &Arguments, size: usize) -> Result<(), Box<dyn std::error::Error>> {
    let loaded = table::load(size)?;
    println!("{}\n", loaded.told());
    println!(
        "| {size} numbers | keys | readers | ns a lookup | × one load | p50 | p99 | p99.9 | p99.99 | published a second |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    let dids = table::dids(size);
    let mut maps: Vec<(Kind, Box<dyn Map + '_>)> = Vec::new();
    for kind in &arguments.maps {
        if !maps.iter().any(|(of, _)| *of == kind.map()) {
            eprintln!("{size} numbers: {} is filled", kind.map().name());
            maps.push((kind.map(), kind.map().filled(&loaded, &dids)));
        }
    }
    for draw in &arguments.keys {
        let keys = keys::drawn(*draw, &dids);
        for readers in &arguments.readers {
            rows(arguments, &maps, &dids, &keys, (*draw, *readers))?;
        }
    }
    println!();
    Ok(())
}

/// A line for each kind: in each round each is measured once, so that whatever else the machine does falls on all alike.
fn rows(
    arguments: &Arguments,
    maps: &[(Kind, Box<dyn Map + '_>)],
    dids: &[E164],
    keys: &[E164],
    (draw, readers): (Draw, usize),
) -> Result<(), String> {
    let lasting = Duration::from_millis(arguments.millis);
    let mut measured: Vec<Vec<(Measured, Option<f64>)>> = arguments.maps.iter().map(|_| Vec::new()).collect();
    for round in 1..=arguments.rounds.max(1) {
        for (kind, measured) in arguments.maps.iter().zip(&mut measured) {
            eprintln!("{} numbers, {draw}, {readers}: {}, round {round}", dids.len(), kind.name());
            let Some((_, map)) = maps.iter().find(|(of, _)| *of == kind.map()) else { continue };
            let map = &**map;
            measured.push(match kind.meanwhile() {
                Meanwhile::Nothing => (measure(map, keys, readers, &|since| since >= lasting), None),
                Meanwhile::Updates => {
                    let updated = while_published(map, dids, Some(UPDATE), |_| {
                        measure(map, keys, readers, &|since| since >= lasting)
                    })?;
                    (updated.0, Some(updated.1))
                }
                // What was published is new to the processor's caches, and the one before is freed.
                Meanwhile::Reloads => {
                    let reloaded = while_published(map, dids, None, |first| {
                        let is_over = || first.get().is_some_and(|first| first.elapsed() >= lasting);
                        measure(map, keys, readers, &|since| is_over() || since >= LONGEST)
                    })?;
                    (reloaded.0, Some(reloaded.1))
                }
            });
        }
    }
    let mut limit = None;
    for (kind, mut rounds) in arguments.maps.iter().zip(measured) {
        rounds.sort_by(|(a, _), (b, _)| a.nanos.total_cmp(&b.nanos));
        let Some((median, published)) = rounds.get(rounds.len() / 2) else { continue };
        if *kind == Kind::Load {
            limit = Some(median.nanos);
        }
        let times = limit.map_or("–".to_owned(), |limit| format!("{:.2}", median.nanos / limit));
        let [p50, p99, p999, p9999] = median.quantiles();
        let published = published.map_or("–".to_owned(), |published| format!("{published:.1}"));
        println!(
            "| {} | {draw} | {readers} | {:.1} | {times} | {p50} | {p99} | {p999} | {p9999} | {published} |",
            kind.name(),
            median.nanos,
        );
    }
    Ok(())
}
