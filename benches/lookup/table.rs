//! Strowger's own table, loaded as an operator would: from files.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use strowger::config::{self, Config, Dialled};
use strowger::number::E164;
use strowger::routing::{Table, Voices, Written};
use tempfile::TempDir;

use super::maps::{Map, Reader};

/// Numbers in one file.
const A_FILE: usize = 2_500_000;

/// Changes that the layers before all numbers hold at most: so many are in the one that is built anew seldom, …
const OLDER: usize = 1 << 16;
/// … and so many in the one that is built anew with each change.
const RECENT: usize = 512;

/// A configuration of so many numbers.
pub struct Loaded {
    pub folder: TempDir,
    config: Config,
    table: Arc<Table>,
    numbers: usize,
    bytes: usize,
    read: Duration,
    built: Duration,
}

/// The number at that place: 10 million of North America, in no order that a hash could use.
fn digits(at: usize) -> String {
    format!("+1{}", 2_000_000_000 + (at as u64 * 7_919) % 7_999_999_993)
}

pub fn dids(count: usize) -> Vec<E164> {
    (0..count).filter_map(|at| E164::parse_e164(&digits(at)).ok()).collect()
}

/// Writes the files of so many numbers, each with a label of its own and forwarded to a number of its own, and reads them.
pub fn load(count: usize) -> io::Result<Loaded> {
    let folder = tempfile::tempdir()?;
    write(folder.path(), count)?;
    let before = resident();
    let began = Instant::now();
    let loaded =
        config::load(folder.path(), &|_| None).map_err(|findings| io::Error::other(first(&findings)))?;
    let read = began.elapsed();
    let began = Instant::now();
    let table = Arc::new(Table::new(&loaded.config, 1, None));
    let built = began.elapsed();
    let bytes = resident().saturating_sub(before);
    Ok(Loaded { folder, config: loaded.config, table, numbers: count, bytes, read, built })
}

/// Of all mistakes the one that stands first.
fn first(findings: &[config::Finding]) -> String {
    findings.first().map_or_else(|| "nobody says why".to_owned(), ToString::to_string)
}

fn write(folder: &Path, count: usize) -> io::Result<()> {
    std::fs::create_dir(folder.join("routing"))?;
    std::fs::write(
        folder.join("strowger.toml"),
        "[[listen]]\ntransport = \"udp\"\naddr = \"127.0.0.1:5060\"\n",
    )?;
    let rest = "[[trunk]]\nname = \"carrier\"\nfrom = [\"127.0.0.1/32\"]\n\
        gateways = [{ uri = \"sip:127.0.0.2\" }]\noutbound = true\n[dial]\nallow = [\"+44\"]\n";
    std::fs::write(folder.join("routing/rest.toml"), rest)?;
    for (file, first) in (0..count).step_by(A_FILE).enumerate() {
        let mut out = BufWriter::new(File::create(folder.join(format!("routing/numbers-{file}.csv")))?);
        out.write_all(b"did,label,forward_to,timeout\n")?;
        for at in first..count.min(first + A_FILE) {
            writeln!(out, "{},Listing {at},+4420{:08},20", digits(at), at % 100_000_000)?;
        }
        out.into_inner().map_err(|error| error.into_error())?;
    }
    Ok(())
}

/// Bytes of this process that are in memory.
fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: usize = text.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
    pages * 4_096
}

impl Loaded {
    pub fn told(&self) -> String {
        let each = |bytes: usize| bytes as f64 / self.numbers as f64;
        format!(
            "{} numbers: read and checked in {:.2} s, table built in {:.2} s; {:.0} bytes a number of memory in all, {:.1} of it \
             to find it by, {:.1} with what is its own.",
            self.numbers,
            self.read.as_secs_f64(),
            self.built.as_secs_f64(),
            each(self.bytes),
            each(self.table.bytes().0),
            each(self.table.bytes().1),
        )
    }

    /// What a lookup may touch.
    pub fn bytes(&self) -> usize {
        self.table.bytes().0
    }

    /// `publishes`: what it publishes. `overlaid`: as many numbers as the small layers hold were set since it was built, none
    /// of which is looked up.
    pub fn map(&self, publishes: Publishes, overlaid: bool) -> Served<'_> {
        let mut table = Arc::clone(&self.table);
        if overlaid {
            for (first, count) in [(0, OLDER), (OLDER, RECENT)] {
                let others: Vec<_> = (first..first + count).filter_map(other).collect();
                table = Arc::new(self.changed(&table, &others));
            }
        }
        Served { loaded: self, publishes, current: ArcSwap::new(table), retired: Mutex::default() }
    }

    /// The table with these set as some number of the files is.
    fn changed(&self, table: &Table, dids: &[E164]) -> Table {
        let generation = table.generation + 1;
        let said = self.config.numbers.get(generation as usize * 7_919 % self.numbers);
        let keys = said.map(|number| number.written().keys);
        let set = keys.as_ref().map(|keys| (keys, Written::OverHttp));
        let changes: Vec<_> = dids.iter().map(|did| (Dialled::Number(*did), set)).collect();
        table.changed(generation, &self.config, &changes, Voices::default())
    }
}

/// Numbers that none of ours is.
fn other(at: usize) -> Option<E164> {
    E164::parse_e164(&format!("+4930{at:08}")).ok()
}

/// What a table publishes in place of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Publishes {
    /// All of it, read and built anew.
    Whole,
    /// The same with one number set.
    One,
}

pub struct Served<'l> {
    loaded: &'l Loaded,
    publishes: Publishes,
    current: ArcSwap<Table>,
    /// What readers may have yet: none of them frees it.
    retired: Mutex<Vec<Arc<Table>>>,
}

impl Map for Served<'_> {
    /// As a shard does: it holds the table, and takes the next one when there is one.
    fn reader(&self) -> Reader<'_> {
        let mut cached = arc_swap::Cache::new(&self.current);
        Box::new(move |number| {
            let found = cached.load().number(number);
            found.and_then(|found| found.forward()).map_or(0, E164::to_bits)
        })
    }

    fn publish(&self, number: E164) -> Result<(), String> {
        let old = self.current.load_full();
        let new = match self.publishes {
            Publishes::Whole => {
                let read = config::load(self.loaded.folder.path(), &|_| None)
                    .map_err(|findings| first(&findings))?;
                Table::new(&read.config, old.generation + 1, Some(&old))
            }
            Publishes::One => self.loaded.changed(&old, &[number]),
        };
        self.current.store(Arc::new(new));
        let mut retired = self.retired.lock().unwrap_or_else(PoisonError::into_inner);
        retired.push(old);
        retired.retain(|table| Arc::strong_count(table) > 1);
        // Ten million numbers are not had three times.
        while self.publishes == Publishes::Whole
            && retired.iter().any(|old| !Arc::ptr_eq(old, &self.loaded.table))
        {
            std::thread::yield_now();
            retired.retain(|table| Arc::strong_count(table) > 1);
        }
        Ok(())
    }
}
