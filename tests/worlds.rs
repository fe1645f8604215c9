//! Worlds by seed, with the real core in the middle: `cargo test` runs a few hundred, `scripts/soak` as many
//! as wanted.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use strowger::call::cdr::Cdr;
use strowger::call::replay::About;
use strowger::config;
use strowger::routing::Table;
use strowger::serve::replay::Replay;
use strowger::sim::served::{served, served_with_audio};
use strowger::sim::{World, for_each_seed, run};

/// After so many broken worlds a soak stops.
const ENOUGH: u64 = 20;

#[test]
fn two_hundred_worlds_stay_sound_and_come_to_rest() {
    let call_seconds = for_each_seed(&served(), 0..200, |world| {
        run::usual(world);
        replays_alike(world, false);
    });
    assert!(call_seconds > 10_000.0, "only {call_seconds:.0} call-seconds: the worlds are empty");
}

/// The same with audio that comes through us; now and then all ports are in use.
#[test]
fn a_hundred_worlds_whose_audio_comes_through_us_stay_sound_and_come_to_rest() {
    let call_seconds = for_each_seed(&served_with_audio(24), 200..300, |world| {
        run::usual(world);
        replays_alike(world, true);
    });
    assert!(call_seconds > 5_000.0, "only {call_seconds:.0} call-seconds: the worlds are empty");
}

/// The same with whispers, call connect, recordings and messages, while some press keys, speak, fall silent or break.
#[test]
fn thirty_worlds_in_which_all_is_heard_stay_sound_and_come_to_rest() {
    let call_seconds = for_each_seed(&served_with_audio(40), 300..330, |world| {
        run::aloud(world);
        replays_alike(world, true);
    });
    assert!(call_seconds > 1_500.0, "only {call_seconds:.0} call-seconds: the worlds are empty");
}

/// Whatever befell a call, its record says nothing against the configuration that it was routed by. Where all is heard
/// recordings and messages fail now and then, which no record tells from none having been asked for.
fn replays_alike(world: &mut World, speaks: bool) {
    let read = |text: &String| match config::parse(text, &|_| None) {
        Ok(loaded) => loaded.config,
        Err(findings) => panic!("{findings:?}"),
    };
    let tables: Vec<Table> = world.published.iter().map(|text| Table::new(&read(text), 1, None)).collect();
    for record in &world.records {
        let Ok(cdr) = serde_json::from_value::<Cdr>(record.clone()) else { panic!("no record: {record}") };
        let place = usize::try_from(cdr.generation).unwrap_or_default() - 1;
        let Ok(compared) = Replay::new(&tables[place], speaks, 1).judge(&cdr) else { continue };
        let fails = |about: About| matches!(about, About::Recording | About::Voicemail);
        let mut told = compared.differences.iter().filter(|one| !fails(one.about));
        let first = told.next();
        assert_eq!(first, None, "seed {}: {record:#}\n{}", world.seed, world.published[place]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_the_world_comes_to_rest(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        run::of_bytes(&served(), &bytes);
    }
}

/// What the fuzzer found, and what it started from.
#[test]
fn the_corpus_of_the_fuzzer_is_replayed() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/shard");
    let maker = served();
    let mut inputs = 0;
    for entry in std::fs::read_dir(folder).expect("the corpus") {
        let path = entry.expect("an entry").path();
        let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        println!("{}", path.display());
        run::of_bytes(&maker, &bytes);
        inputs += 1;
    }
    assert!(inputs > 0, "an empty corpus");
}

/// In every fourth all is heard. As many worlds as `SOAK_WORLDS` says, or as fit into `SOAK_SECONDS`, from `SOAK_SEED` on.
#[test]
#[ignore = "runs as long as it is told to: scripts/soak"]
fn soak() {
    let number = |name: &str| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    let first = number("SOAK_SEED").unwrap_or(1_000);
    let worlds = number("SOAK_WORLDS").unwrap_or(u64::MAX - first);
    let lasting = number("SOAK_SECONDS").map_or(Duration::MAX, Duration::from_secs);
    let (began, silent, loud) = (Instant::now(), served(), served_with_audio(40));
    let mut call_seconds = 0.0;
    let (mut done, mut broken) = (0, 0);
    for seed in first..first + worlds {
        if began.elapsed() >= lasting {
            break;
        }
        done += 1;
        let ran = match seed % 4 {
            3 => run::one_seed(&loud, seed, run::aloud),
            _ => run::one_seed(&silent, seed, run::usual),
        };
        match ran {
            Ok(seconds) => call_seconds += seconds,
            Err(sentence) => {
                println!("{sentence}\n");
                broken += 1;
                assert!(broken < ENOUGH, "{broken} of {done} worlds broke a sentence");
            }
        }
        if done % 1_000 == 0 {
            println!("seed {seed}: {done} worlds, {call_seconds:.0} call-seconds");
        }
    }
    println!("{done} worlds from seed {first}, {call_seconds:.0} simulated call-seconds, {broken} broken");
    assert_eq!(broken, 0, "broken sentences, see above");
}
