//! A sound that can be said.

use std::path::Path;

/// Writes a tenth of a second of it; a louder one is another.
pub fn beep(path: &Path, amplitude: i16) {
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate: 8_000,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut file = hound::WavWriter::create(path, spec).unwrap();
    (0..800).for_each(|at| file.write_sample(if at % 16 < 8 { amplitude } else { -amplitude }).unwrap());
    file.finalize().unwrap();
}
