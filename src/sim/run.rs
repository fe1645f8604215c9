//! Runs many worlds, one per seed, and one from a fuzzer's bytes.

use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;

use super::core::Maker;
use super::happening::Happening;
use super::manner::Habit;
use super::world::{Broken, World, minutes};

/// No fuzzer's input becomes more happenings than this.
const HAPPENINGS: usize = 400;

/// `max_call_seconds`: a forged Session-Expires may keep a call that nobody else ends for so long.
const LONGEST_CALL: Duration = minutes(240);

/// Runs the same story in one world per seed; the number of simulated call-seconds. Every third world has
/// three shards.
///
/// # Panics
/// At the first broken sentence, with the seed, the time, the sentence and the ladder.
pub fn for_each_seed(maker: &Rc<dyn Maker>, seeds: Range<u64>, story: impl Fn(&mut World)) -> f64 {
    let sound = |seed| match one_seed(maker, seed, &story) {
        Ok(call_seconds) => call_seconds,
        Err(broken) => panic!("{broken}"),
    };
    seeds.map(sound).sum()
}

/// One world: its simulated call-seconds, or the first sentence that it broke.
pub fn one_seed(maker: &Rc<dyn Maker>, seed: u64, story: impl Fn(&mut World)) -> Result<f64, Box<Broken>> {
    let shards = if seed % 3 == 2 { 3 } else { 1 };
    let mut world = World::new(seed, shards, Rc::clone(maker));
    story(&mut world);
    world.verdict().map(|()| world.call_seconds)
}

/// What a fuzzer's bytes make happen, then peace: whatever came in, the world must come to rest. The first
/// byte draws the operator's file.
///
/// # Panics
/// As `for_each_seed`.
pub fn of_bytes(maker: &Rc<dyn Maker>, bytes: &[u8]) {
    let (shape, bytes) = bytes.split_first().unwrap_or((&1, &[]));
    let happenings = Happening::decode(bytes, HAPPENINGS);
    let at_rest_within = match happenings.iter().any(Happening::is_foreign) {
        true => LONGEST_CALL + minutes(10),
        false => minutes(30),
    };
    let mut world = World::new(u64::from(*shape), 1, Rc::clone(maker));
    world.phones(3..4, &[Habit::Answers, Habit::Ignores, Habit::Forks]);
    for happening in happenings {
        world.happens(happening);
    }
    world.heal();
    world.run_until_quiet(at_rest_within);
    world.must_be_empty();
    if let Err(broken) = world.verdict() {
        panic!("{broken}");
    }
}

/// The usual world: everybody, every fault, five minutes, then peace.
pub fn usual(world: &mut World) {
    everything(world, |world| world.run(minutes(5)));
}

/// The same with all that is said, heard, pressed and written down.
pub fn aloud(world: &mut World) {
    world.speaks();
    everything(world, |world| world.run_aloud(minutes(5)));
}

fn everything(world: &mut World, run: impl FnOnce(&mut World)) {
    world.draw_faults();
    world.phones(2..6, &Habit::ALL);
    world.callers(1..50);
    world.troubles(0..6);
    run(world);
    world.heal();
    world.run_until_quiet(minutes(10));
    world.must_be_empty();
}
