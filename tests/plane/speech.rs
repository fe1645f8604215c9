//! Ten minutes of words that nobody dials: what a synthesiser says is no key.

use std::process::Command;

use strowger::media::ear::Ear;
use strowger::media::{g711, wav};

/// How much is spoken, in samples.
const TEN_MINUTES: usize = 600 * 8_000;

/// Men, a woman, and one that is put together from halves of sounds.
const VOICES: [&str; 4] = ["slt", "awb", "rms", "kal"];

/// A word each for what is hardest: long vowels, sibilants, nasals, and names of keys.
const WORDS: [&str; 40] = [
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "zero",
    "star",
    "pound",
    "hello",
    "meeting",
    "evening",
    "really",
    "we",
    "see",
    "machine",
    "listing",
    "Saturday",
    "mortgage",
    "yesterday",
    "yellow",
    "window",
    "moon",
    "noon",
    "murmur",
    "whistle",
    "sister",
    "seize",
    "measure",
    "royalty",
    "area",
    "idea",
    "Hawaii",
    "eerie",
    "mellow",
    "aluminium",
    "queue",
];

/// Words one after the other, drawn.
fn text(seed: &mut u32) -> String {
    let mut next = || {
        *seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        WORDS[(*seed >> 16) as usize % WORDS.len()]
    };
    (0..120)
        .map(|at| if at % 9 == 8 { format!("{}.", next()) } else { next().to_owned() })
        .collect::<Vec<_>>()
        .join(" ")
}

#[test]
fn in_ten_minutes_of_synthesised_speech_no_key_is_heard() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("speech.wav");
    let (mut said, mut loud, mut seed) = (0, 0, 1);
    for voice in VOICES.iter().cycle() {
        let text = text(&mut seed);
        let mut flite = Command::new("flite");
        let spoken = flite.args(["-voice", voice, "-t", &text, "-o"]).arg(&file).status();
        let spoken = spoken.expect("flite is installed; scripts/test installs what the tests need");
        assert!(spoken.success(), "{voice}");
        let sound = wav::read(&std::fs::read(&file).expect("a file")).expect("sound");
        // As it is, as loud as it can be, and 20 dB below: by what line it comes makes no difference.
        let peak = sound.narrow.iter().map(|sample| sample.unsigned_abs()).max().unwrap_or(1).max(1);
        for gain in [1.0, f32::from(i16::MAX) / f32::from(peak), 0.1] {
            let mut ear = Ear::default();
            for block in sound.narrow.chunks(160) {
                let through =
                    |sample: &i16| g711::decode_pcmu(g711::encode_pcmu((f32::from(*sample) * gain) as i16));
                let block: Vec<i16> = block.iter().map(through).collect();
                ear.hear(&block, |digit| panic!("{} in {text:?} of {voice}, {gain} times", digit.name()));
            }
        }
        said += sound.narrow.len();
        loud += sound.narrow.iter().filter(|sample| sample.unsigned_abs() > 500).count();
        if said >= TEN_MINUTES {
            break;
        }
    }
    assert!(loud > said / 4, "it does sound: {loud} of {said}");
}
