//! How long a lookup takes.

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Barrier, OnceLock};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use strowger::number::E164;

use super::keys::Random;
use super::maps::Map;

/// Lookups between two looks at the clock.
const CHUNK: usize = 256;
/// Of so many chunks one is timed lookup by lookup.
const TIMED: usize = 16;

pub struct Measured {
    /// Of a lookup that waits for the one before it, by the wall, of the median chunk.
    pub nanos: f64,
    /// Of each, with what looking at the clock takes taken off.
    each: Histogram<u64>,
}

impl Measured {
    pub fn quantiles(&self) -> [u64; 4] {
        [0.5, 0.99, 0.999, 0.9999].map(|part| self.each.value_at_quantile(part))
    }
}

/// Has another thread publish, again and again, as long as it is measured: what was measured, and how many were published
/// a second. `every`: a publication is due so often; one that is late is made up for. None: one follows the other. `measured`
/// is told when the first was published, or could not be.
///
/// # Errors
/// Why one could not be published, or that none was: no figure is one of a table that others are published beside.
pub fn while_published<T>(
    map: &dyn Map,
    dids: &[E164],
    every: Option<Duration>,
    measured: impl FnOnce(&OnceLock<Instant>) -> T,
) -> Result<(T, f64), String> {
    let (ends, first) = (AtomicBool::new(false), OnceLock::new());
    let publish = || {
        let mut random = Random(11);
        let (began, mut published) = (Instant::now(), 0u32);
        while !ends.load(Ordering::Relaxed) {
            let due = every.map_or(Duration::ZERO, |every| every * published);
            match due.checked_sub(began.elapsed()) {
                Some(early) if !early.is_zero() => std::thread::sleep(early),
                Some(_) | None => {
                    let outcome = map.publish(dids[random.below(dids.len())]);
                    first.get_or_init(Instant::now);
                    outcome?;
                    published += 1;
                }
            }
        }
        if published == 0 {
            return Err("nothing was published while it was measured".to_owned());
        }
        Ok(f64::from(published) / began.elapsed().as_secs_f64())
    };
    std::thread::scope(|scope| {
        let publisher = scope.spawn(publish);
        let measured = measured(&first);
        ends.store(true, Ordering::Relaxed);
        let published =
            publisher.join().map_err(|_| "the thread that publishes ended by a panic".to_owned())?;
        Ok((measured, published?))
    })
}

/// Has so many threads look up these numbers one after another, until it `is_over` after so long.
pub fn measure(
    map: &dyn Map,
    keys: &[E164],
    readers: usize,
    is_over: &(dyn Fn(Duration) -> bool + Sync),
) -> Measured {
    let clock = clock();
    let begin = Barrier::new(readers);
    let one = |reader: usize| {
        let mut look_up = map.reader();
        begin.wait();
        let began = Instant::now();
        let mut at = keys.len() / readers * reader;
        let (mut chunks, mut each) = (Histogram::<u64>::new(3).ok()?, Histogram::<u64>::new(3).ok()?);
        // Always 0, which nobody but the lookup knows: so the next one waits for it.
        let mut found = 0;
        for chunk in 0usize.. {
            let before = Instant::now();
            if is_over(before - began) {
                break;
            }
            let next = |at: usize| if at + 1 == keys.len() { 0 } else { at + 1 };
            if chunk.is_multiple_of(TIMED) {
                for _ in 0..CHUNK {
                    let before = Instant::now();
                    found = black_box((look_up(keys[at + found]) >> 63) as usize & black_box(0));
                    let took = u64::try_from(before.elapsed().as_nanos()).unwrap_or(u64::MAX);
                    each.record(took.saturating_sub(clock)).ok()?;
                    at = next(at);
                }
            } else {
                for _ in 0..CHUNK {
                    found = black_box((look_up(keys[at + found]) >> 63) as usize & black_box(0));
                    at = next(at);
                }
                chunks.record(u64::try_from(before.elapsed().as_nanos()).unwrap_or(u64::MAX)).ok()?;
            }
        }
        black_box(found);
        Some((chunks, each))
    };
    let all: Vec<_> = std::thread::scope(|scope| {
        let one = &one;
        let threads: Vec<_> = (0..readers).map(|reader| scope.spawn(move || one(reader))).collect();
        threads.into_iter().filter_map(|thread| thread.join().ok().flatten()).collect()
    });
    assert_eq!(all.len(), readers, "a reader did not come back: the figure would be one of fewer");
    let mut sum: Option<(Histogram<u64>, Histogram<u64>)> = None;
    for (chunks, each) in all {
        match &mut sum {
            None => sum = Some((chunks, each)),
            Some((all_chunks, all_each)) => {
                all_chunks.add(&chunks).ok();
                all_each.add(&each).ok();
            }
        }
    }
    let (chunks, each) = sum.unwrap_or_else(|| panic!("there was no reader"));
    Measured { nanos: chunks.value_at_quantile(0.5) as f64 / CHUNK as f64, each }
}

/// What looking at the clock twice takes, in nanoseconds.
fn clock() -> u64 {
    let mut looks: Vec<u64> = (0..10_001)
        .map(|_| {
            let before = Instant::now();
            u64::try_from(before.elapsed().as_nanos()).unwrap_or(0)
        })
        .collect();
    looks.sort_unstable();
    looks[looks.len() / 2]
}

pub fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = read("/proc/sys/kernel/osrelease");
    format!("{}, {cores} cores, Linux {}", model.trim_start_matches(['\t', ':', ' ']), kernel.trim())
}
