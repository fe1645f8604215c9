//! Sounds as tests make, read and compare them: what was heard is found in what was said by correlation.

use std::path::Path;
use std::time::Duration;

/// What was said and is heard is as alike as that; two voices, or two noises, are not nearly.
const THE_SAME: f32 = 0.9;

/// Samples in a second.
pub const RATE: usize = 8_000;

/// Fifteen seconds that are like nothing else: soft noise of that seed.
pub fn noise(seed: u32) -> Vec<f32> {
    let (mut state, mut held) = (seed.wrapping_mul(0x9e37_79b9) | 1, 0.0f32);
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        // The upper half: the lower bits of such a sequence repeat soon.
        held += ((state >> 16) as f32 / 32_768.0 - 1.0 - held) * 0.2;
        held * 18_000.0
    };
    (0..15 * RATE).map(|_| next()).collect()
}

pub fn prompt(name: &str) -> Result<Vec<f32>, String> {
    let path = format!("{}/config/prompts/{name}.wav", env!("CARGO_MANIFEST_DIR"));
    let mut file = hound::WavReader::open(&path).map_err(|e| format!("{path}: {e}"))?;
    let rate = file.spec().sample_rate as usize;
    let samples: Vec<f32> =
        file.samples::<i16>().filter_map(|sample| Some(f32::from(sample.ok()?))).collect();
    Ok(thinned(&samples, rate / RATE))
}

pub fn read_wav(path: &Path) -> Result<Vec<Vec<f32>>, String> {
    let mut file = hound::WavReader::open(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let channels = usize::from(file.spec().channels);
    assert_eq!(file.spec().sample_rate as usize, RATE, "{}", path.display());
    let samples: Vec<f32> =
        file.samples::<i16>().filter_map(|sample| Some(f32::from(sample.ok()?))).collect();
    Ok((0..channels).map(|at| samples.iter().skip(at).step_by(channels).copied().collect()).collect())
}

pub fn write_wav(path: &Path, samples: &[f32]) -> Result<(), String> {
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate: RATE as u32,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut file = hound::WavWriter::create(path, spec).map_err(|e| e.to_string())?;
    samples.iter().try_for_each(|sample| file.write_sample(*sample as i16)).map_err(|e| e.to_string())?;
    file.finalize().map_err(|e| e.to_string())
}

/// The mean of so many samples each.
fn thinned(samples: &[f32], by: usize) -> Vec<f32> {
    samples.chunks(by).map(|chunk| chunk.iter().sum::<f32>() / chunk.len() as f32).collect()
}

/// When some second of what was said is heard first. None: it is not.
pub fn said(heard: &[f32], said: &[f32]) -> Option<Duration> {
    /// 1,000 samples a second tell voices apart, and are soon compared.
    const THIN: usize = 8;
    /// A recording lays packets where they came: what is heard may begin between two of those.
    const STEP: usize = 2;
    let said = thinned(said, THIN);
    let heard: Vec<Vec<f32>> = (0..THIN).step_by(STEP).map(|from| thinned(&heard[from..], THIN)).collect();
    // Somebody may be heard only from the middle of what it said on.
    let pieces = said.chunks_exact(RATE / THIN).take(7);
    let found = pieces.filter_map(|piece| {
        let places = heard.iter().enumerate().flat_map(|(phase, heard)| {
            let alike = heard.windows(piece.len()).map(|window| compared(window, piece)).enumerate();
            alike.map(move |(at, likeness)| (likeness, at * THIN + phase * STEP))
        });
        let (likeness, at) = places.max_by(|one, other| one.0.total_cmp(&other.0))?;
        (likeness >= THE_SAME).then_some(at)
    });
    found.min().map(|at| Duration::from_secs_f32(at as f32 / RATE as f32))
}

/// The same as [`likeness`] where it is high: most stretches are nothing like each other in every seventh sample already.
fn compared(one: &[f32], other: &[f32]) -> f32 {
    match likeness(one, other, 7) {
        glimpse if glimpse < THE_SAME / 2.0 => glimpse,
        _ => likeness(one, other, 1),
    }
}

/// How alike two stretches are in every so many-th sample, −1 to 1.
fn likeness(one: &[f32], other: &[f32], step: usize) -> f32 {
    let (mut product, mut energy, mut others) = (0.0, 1.0f32, 1.0f32);
    for (one, other) in one.iter().zip(other).step_by(step) {
        product += one * other;
        energy += one * one;
        others += other * other;
    }
    product / (energy * others).sqrt()
}
