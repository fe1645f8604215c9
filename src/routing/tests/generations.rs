//! Calls are planned while others publish: each plan is of one generation, whole.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use arc_swap::{ArcSwap, Cache};

use super::*;
use crate::config::{self, Config, Dialled, Keys};
use crate::number::E164;

/// More than the layer holds that is built anew with each change, so that some move into the next.
const NUMBERS: u64 = 600;
/// So many are set by themselves in one publication.
const SET: u64 = 4;
/// All published together, each set by itself, all set at once; then from the start.
const CYCLE: u64 = 1 + NUMBERS / SET + 1;
const LAST: u64 = CYCLE + 20;
const READERS: u64 = 3;
/// The writer is at most so many publications ahead of every reader, so that all of them see what comes in between.
const AHEAD: u64 = 16;
/// Each so manieth number is removed rather than set.
const REMOVED: u64 = 7;

fn did(number: u64) -> E164 {
    E164::parse_e164(&format!("+1201{number:07}")).unwrap()
}

/// In which generation the number was set last that this one serves; none: it is removed.
fn set_in(number: u64, generation: u64) -> Option<u64> {
    let step = (generation - 1) % CYCLE;
    let together = generation - step;
    match step {
        step if step == CYCLE - 1 => Some(generation),
        step if number >= step * SET => Some(together),
        _ => (!number.is_multiple_of(REMOVED)).then_some(together + 1 + number / SET),
    }
}

/// All that a number says carries the generation.
fn said(generation: u64) -> [String; 3] {
    [format!("label {generation}"), format!("+1202{generation:07}"), format!("account {generation}")]
}

fn config(generation: u64) -> Config {
    let [label, forward, account] = said(generation);
    let numbers = (0..NUMBERS).map(|number| {
        let did = did(number);
        format!(
            "[[number]]\ndid = \"{did}\"\nlabel = \"{label}\"\nforward_to = \"{forward}\"\naccount = \"{account}\"\n"
        )
    });
    let text: String = std::iter::once(CARRIER.to_owned()).chain(numbers).collect();
    config::parse(&text, &|_| None).unwrap().config
}

fn keys(number: u64, generation: u64) -> Keys {
    let [label, forward, account] = said(generation);
    let body = format!(r#"{{"label":"{label}","forward_to":"{forward}","account":"{account}"}}"#);
    let did = Dialled::Number(did(number));
    config::read_body("body", &body, did, Path::new("")).0.unwrap().keys
}

/// The table of that generation, made of the one before.
fn next(before: &Table, config: &mut Config, generation: u64) -> Table {
    let step = (generation - 1) % CYCLE;
    if step == 0 {
        *config = self::config(generation);
        return Table::new(config, generation, Some(before));
    }
    let numbers = if step == CYCLE - 1 { 0..NUMBERS } else { (step - 1) * SET..step * SET };
    let set: Vec<_> = numbers
        .map(|number| {
            let is_set = set_in(number, generation).is_some();
            (Dialled::Number(did(number)), is_set.then(|| keys(number, generation)))
        })
        .collect();
    let changes: Vec<_> =
        set.iter().map(|(did, keys)| (*did, keys.as_ref().map(|keys| (keys, Written::OverHttp)))).collect();
    before.changed(generation, config, &changes, Voices::default())
}

/// What is wrong with the plan that this table gives of a number.
fn wrong(table: &Table, carrier: &Arc<Trunk>, number: u64) -> Option<String> {
    let expected = set_in(number, table.generation).map(|set| (table.generation, said(set)));
    let planned = match table.plan_for(carrier, did(number), 0) {
        Ok(plan) => {
            let rings = step(&plan.steps[0]);
            let forward = rings.trim_start_matches("20s: ").trim_end_matches("@carrier").to_owned();
            Some((plan.generation, [plan.label.to_string(), forward, plan.account.to_string()]))
        }
        Err(NoPlan::UnknownNumber(_)) => None,
        Err(other) => return Some(other.to_string()),
    };
    (planned != expected)
        .then(|| format!("number {number} in generation {}: {planned:?}, not {expected:?}", table.generation))
}

/// Lets the writer go on, however a reader ends.
struct Seen<'s>(&'s AtomicU64);

impl Drop for Seen<'_> {
    fn drop(&mut self) {
        self.0.store(u64::MAX, Ordering::Release);
    }
}

/// Plans calls until the last generation is there. How many generations it saw, or the first mistake.
fn read_all(current: &ArcSwap<Table>, seen: &AtomicU64, reader: u64) -> Result<u64, String> {
    let (seen, mut cached) = (Seen(seen), Cache::new(current));
    let (mut before, mut generations, mut number) = (0, 0, reader * NUMBERS / READERS);
    loop {
        let table = cached.load();
        let generation = table.generation;
        if generation < before {
            return Err(format!("generation {generation} after {before}"));
        }
        generations += u64::from(generation > before);
        before = generation;
        // One that was set last, one that is set next, and any other.
        let step = (generation - 1) % CYCLE;
        number = (number + 1) % NUMBERS;
        for number in [step.saturating_sub(1) * SET % NUMBERS, step * SET % NUMBERS, number] {
            if let Some(wrong) = wrong(table, &carrier(table), number) {
                return Err(wrong);
            }
        }
        if generation == LAST {
            return Ok(generations);
        }
        seen.0.store(generation, Ordering::Release);
    }
}

#[test]
fn every_plan_is_of_one_generation_whatever_is_published_meanwhile() {
    let mut config = config(1);
    let current = ArcSwap::from_pointee(Table::new(&config, 1, None));
    let seen = [const { AtomicU64::new(1) }; READERS as usize];
    thread::scope(|scope| {
        let current = &current;
        let readers: Vec<_> = (0..)
            .zip(&seen)
            .map(|(reader, seen)| scope.spawn(move || read_all(current, seen, reader)))
            .collect();
        for generation in 2..=LAST {
            while seen.iter().any(|seen| seen.load(Ordering::Acquire) + AHEAD < generation) {
                thread::yield_now();
            }
            current.store(Arc::new(next(&current.load_full(), &mut config, generation)));
        }
        for reader in readers {
            let generations = reader.join().unwrap().unwrap();
            assert!(generations >= LAST / (AHEAD + 1), "{generations}");
        }
    });
    let last = current.load();
    assert!((0..NUMBERS).all(|number| wrong(&last, &carrier(&last), number).is_none()));
}
