//! What it costs to find a number among many: Strowger's table beside maps that others would take, and beside one load
//! that waits for memory, in one run on one machine. `scripts/bench-lookup` starts it.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it is a program")]

mod keys;
mod maps;
mod measure;
mod table;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Parser, ValueEnum};

use keys::Draw;
use maps::Map;
use measure::{Measured, measure};

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
    #[arg(long, value_delimiter = ',', default_values_t = Kind::ALL)]
    maps: Vec<Kind>,
    /// Rounds, in each of which everything is measured once; medians are told
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// How long each is measured, in milliseconds
    #[arg(long, default_value_t = 500)]
    millis: u64,
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
    /// The same while the whole table is built anew and published, again and again
    StrowgerReloaded,
    Dashmap,
    Papaya,
    Scc,
    /// RwLock<HashMap>, the standard library's
    Rwlock,
}

impl Kind {
    const ALL: [Kind; 7] = [
        Kind::Load,
        Kind::Strowger,
        Kind::StrowgerReloaded,
        Kind::Dashmap,
        Kind::Papaya,
        Kind::Scc,
        Kind::Rwlock,
    ];

    fn name(self) -> &'static str {
        match self {
            Kind::Load => "one dependent load",
            Kind::Strowger => "Strowger",
            Kind::StrowgerReloaded => "Strowger, reloaded meanwhile",
            Kind::Dashmap => "dashmap",
            Kind::Papaya => "papaya",
            Kind::Scc => "scc",
            Kind::Rwlock => "RwLock<HashMap>",
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

fn run(arguments: &Arguments) -> Result<(), Box<dyn std::error::Error>> {
    println!("Machine: {}, medians of {} rounds.\n", measure::machine(), arguments.rounds);
    for size in &arguments.sizes {
        let loaded = table::load(*size)?;
        println!("{}\n", loaded.told());
        println!(
            "| {size} numbers | keys | readers | ns a lookup | × one load | p50 | p99 | p99.9 | p99.99 |"
        );
        println!("|---|---|---|---|---|---|---|---|---|");
        let dids = Arc::new(table::dids(*size));
        for draw in &arguments.keys {
            let keys = Arc::new(keys::drawn(*draw, &dids));
            for readers in &arguments.readers {
                rows(arguments, &loaded, &dids, &keys, (*draw, *readers))?;
            }
        }
        println!();
    }
    Ok(())
}

/// A line for each map: it is made, measured in as many rounds, and taken down before the next is made.
fn rows(
    arguments: &Arguments,
    loaded: &table::Loaded,
    dids: &Arc<Vec<strowger::number::E164>>,
    keys: &Arc<Vec<strowger::number::E164>>,
    (draw, readers): (Draw, usize),
) -> Result<(), Box<dyn std::error::Error>> {
    let lasting = Duration::from_millis(arguments.millis);
    let mut limit = None;
    for kind in &arguments.maps {
        eprintln!("{} numbers, {draw}, {readers}: {}", dids.len(), kind.name());
        let map: Box<dyn Map> = match kind {
            Kind::Load => Box::new(maps::Load::from(loaded.bytes())),
            Kind::Strowger => Box::new(loaded.map(false)),
            Kind::StrowgerReloaded => Box::new(loaded.map(true)),
            Kind::Dashmap => Box::new(maps::Dash::of(dids)),
            Kind::Papaya => Box::new(maps::Papaya::of(dids)),
            Kind::Scc => Box::new(maps::Scc::of(dids)),
            Kind::Rwlock => Box::new(maps::Locked::of(dids)),
        };
        let mut rounds: Vec<Measured> =
            (0..arguments.rounds.max(1)).map(|_| measure(&*map, keys, readers, lasting)).collect();
        rounds.sort_by(|a, b| a.nanos.total_cmp(&b.nanos));
        let median = &rounds[rounds.len() / 2];
        if *kind == Kind::Load {
            limit = Some(median.nanos);
        }
        let times = limit.map_or("–".to_owned(), |limit| format!("{:.2}", median.nanos / limit));
        let [p50, p99, p999, p9999] = median.quantiles();
        println!(
            "| {} | {draw} | {readers} | {:.1} | {times} | {p50} | {p99} | {p999} | {p9999} |",
            kind.name(),
            median.nanos,
        );
    }
    Ok(())
}
