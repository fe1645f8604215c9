//! G.722 at 64 kbit/s (ITU-T G.722, mode 1) to and from 16-bit linear samples at 16 kHz: two samples are one byte.
//!
//! Two filters part the sound into halves below and above 4 kHz; each half is an ADPCM stream of 8,000 codes a second, the
//! lower one of 6 bits, the upper of 2. Both ends keep the same state, which forgets: one that begins anew in the middle,
//! or misses a packet, is right again within some milliseconds.

/// The filters' coefficients (table 11 of the recommendation); each is used forwards and backwards.
const QMF: [i32; 12] = [3, -11, 12, 32, -210, 951, 3876, -805, 362, -156, 53, -11];

/// Where the 30 intervals of the lower band's magnitudes end, in 4,096ths of the step (table 14); the last has no end.
const LOW_ENDS: [i32; 29] = [
    35, 72, 110, 150, 190, 233, 276, 323, 370, 422, 473, 530, 587, 650, 714, 786, 858, 940, 1023, 1121, 1219,
    1339, 1458, 1612, 1765, 1980, 2195, 2557, 2919,
];

/// What a code of the lower band stands for, in 32,768ths of the step: by all of its 6 bits, which are heard, and by the
/// upper 4, from which both ends learn (tables 17 and 18).
const LOW_VALUES: [i32; 64] = [
    -136, -136, -136, -136, -24808, -21904, -19008, -16704, -14984, -13512, -12280, -11192, -10232, -9360,
    -8576, -7856, -7192, -6576, -6000, -5456, -4944, -4464, -4008, -3576, -3168, -2776, -2400, -2032, -1688,
    -1360, -1040, -728, 24808, 21904, 19008, 16704, 14984, 13512, 12280, 11192, 10232, 9360, 8576, 7856,
    7192, 6576, 6000, 5456, 4944, 4464, 4008, 3576, 3168, 2776, 2400, 2032, 1688, 1360, 1040, 728, 432, 136,
    -432, -136,
];
const LOW_LEARNT: [i32; 16] =
    [0, -20456, -12896, -8968, -6288, -4240, -2584, -1200, 20456, 12896, 8968, 6288, 4240, 2584, 1200, 0];

/// How the lower band's step grows after a code, by its upper 4 bits, and what its logarithm is at most.
const LOW_GROWTH: [i32; 16] =
    [-60, 3042, 1198, 538, 334, 172, 58, -30, 3042, 1198, 538, 334, 172, 58, -30, -60];
const LOW_MOST: i32 = 18_432;

/// The same of the upper band, whose magnitudes have two intervals.
const HIGH_END: i32 = 564;
const HIGH_VALUES: [i32; 4] = [-7408, -1616, 7408, 1616];
const HIGH_GROWTH: [i32; 4] = [798, -214, 798, -214];
const HIGH_MOST: i32 = 22_528;

/// 2,048 · 2^(n/32): the mantissas of a step (table 15).
const POWERS: [i32; 32] = [
    2048, 2093, 2139, 2186, 2233, 2282, 2332, 2383, 2435, 2489, 2543, 2599, 2656, 2714, 2774, 2834, 2896,
    2960, 3025, 3091, 3158, 3228, 3298, 3371, 3444, 3520, 3597, 3676, 3756, 3838, 3922, 4008,
];

/// Samples in and bytes out.
#[derive(Clone, Debug)]
pub struct Encoder {
    heard: [i32; 24],
    low: Band,
    high: Band,
}

impl Default for Encoder {
    fn default() -> Encoder {
        Encoder { heard: [0; 24], low: Band::low(), high: Band::high() }
    }
}

impl Encoder {
    /// The byte of two samples.
    pub fn encode(&mut self, samples: [i16; 2]) -> u8 {
        let (even, odd) = filter(&mut self.heard, samples.map(i32::from));
        let low = self.low.code_low(saturate((odd + even) >> 14));
        let high = self.high.code_high(saturate((odd - even) >> 14));
        self.low.learn_low(low);
        self.high.learn_high(high);
        (high << 6 | low) as u8
    }

    /// The byte of one sample at 8 kHz: nothing is above 4 kHz, and no filter has to part what is below.
    pub fn encode_narrow(&mut self, sample: i16) -> u8 {
        let low = self.low.code_low(i32::from(sample) >> 1);
        let high = self.high.code_high(0);
        self.low.learn_low(low);
        self.high.learn_high(high);
        (high << 6 | low) as u8
    }
}

/// Bytes in and samples out.
#[derive(Clone, Debug)]
pub struct Decoder {
    rebuilt: [i32; 24],
    low: Band,
    high: Band,
}

impl Default for Decoder {
    fn default() -> Decoder {
        Decoder { rebuilt: [0; 24], low: Band::low(), high: Band::high() }
    }
}

impl Decoder {
    /// The two samples of a byte.
    pub fn decode(&mut self, byte: u8) -> [i16; 2] {
        let low = self.low_half(byte);
        let high_code = usize::from(byte >> 6);
        let high = limit(self.high.predicted + ((self.high.step * HIGH_VALUES[high_code]) >> 15));
        self.high.learn_high(high_code);
        let (even, odd) = filter(&mut self.rebuilt, [low + high, low - high]);
        [odd, even].map(|sum| saturate(sum >> 11) as i16)
    }

    /// The sample of a byte at 8 kHz: what lies below 4 kHz, and nothing of what lies above.
    pub fn decode_narrow(&mut self, byte: u8) -> i16 {
        saturate(self.low_half(byte) << 1) as i16
    }

    fn low_half(&mut self, byte: u8) -> i32 {
        let code = usize::from(byte & 0x3f);
        let low = limit(self.low.predicted + ((self.low.step * LOW_VALUES[code]) >> 15));
        self.low.learn_low(code);
        low
    }
}

fn limit(sample: i32) -> i32 {
    sample.clamp(-16_384, 16_383)
}

/// Moves two samples into the last 24, and gives the sums over those at even and at odd places.
fn filter(last: &mut [i32; 24], samples: [i32; 2]) -> (i32, i32) {
    last.copy_within(2.., 0);
    [last[22], last[23]] = samples;
    let pairs = last.chunks_exact(2).zip(QMF.iter().zip(QMF.iter().rev()));
    pairs.fold((0, 0), |(even, odd), (pair, (forwards, backwards))| {
        (even + pair[0] * forwards, odd + pair[1] * backwards)
    })
}

/// What both ends know of one half of the sound.
#[derive(Clone, Debug)]
struct Band {
    /// What the next sample is expected to be: all of it, and what the zeros add to it.
    predicted: i32,
    zeros: i32,
    /// How far a code reaches, and its logarithm in 2,048ths of an octave.
    step: i32,
    log_step: i32,
    /// Weights of the predictor, in 16,384ths: of two poles and six zeros.
    pole_weights: [i32; 2],
    zero_weights: [i32; 6],
    /// The newest first: samples as they were rebuilt, by the zeros alone, and their differences from what was expected.
    rebuilt: [i32; 2],
    partial: [i32; 2],
    differences: [i32; 6],
}

impl Band {
    const fn low() -> Band {
        Band::with(32)
    }

    const fn high() -> Band {
        Band::with(8)
    }

    const fn with(step: i32) -> Band {
        Band {
            predicted: 0,
            zeros: 0,
            step,
            log_step: 0,
            pole_weights: [0; 2],
            zero_weights: [0; 6],
            rebuilt: [0; 2],
            partial: [0; 2],
            differences: [0; 6],
        }
    }

    /// The 6 bits of a sample of the lower band.
    fn code_low(&self, sample: i32) -> usize {
        let (is_negative, magnitude) = self.miss(sample);
        let interval = LOW_ENDS.iter().position(|end| magnitude < (end * self.step) >> 12);
        let interval = interval.unwrap_or(LOW_ENDS.len());
        match (is_negative, interval) {
            (true, 0..2) => 63 - interval,
            (true, _) => 33 - interval,
            (false, _) => 61 - interval,
        }
    }

    /// The 2 bits of a sample of the upper band.
    fn code_high(&self, sample: i32) -> usize {
        let (is_negative, magnitude) = self.miss(sample);
        let is_near = magnitude < (HIGH_END * self.step) >> 12;
        usize::from(is_near) | usize::from(!is_negative) << 1
    }

    /// By how much the prediction misses a sample: whether it is below, and the magnitude, one less there.
    fn miss(&self, sample: i32) -> (bool, i32) {
        let difference = saturate(sample - self.predicted);
        (difference < 0, if difference < 0 { !difference } else { difference })
    }

    fn learn_low(&mut self, code: usize) {
        let code = code >> 2;
        let difference = (self.step * LOW_LEARNT[code]) >> 15;
        self.scale(LOW_GROWTH[code], LOW_MOST, 8);
        self.learn(difference);
    }

    fn learn_high(&mut self, code: usize) {
        let difference = (self.step * HIGH_VALUES[code]) >> 15;
        self.scale(HIGH_GROWTH[code], HIGH_MOST, 10);
        self.learn(difference);
    }

    /// The next step: `octaves` is how many its logarithm lies above it.
    fn scale(&mut self, growth: i32, most: i32, octaves: i32) {
        self.log_step = (((self.log_step * 127) >> 7) + growth).clamp(0, most);
        let mantissa = POWERS[((self.log_step >> 6) & 31) as usize];
        let shift = octaves - (self.log_step >> 11);
        self.step = if shift < 0 { mantissa << -shift } else { mantissa >> shift } << 2;
    }

    /// Adapts the predictor to a difference, and predicts the next sample.
    fn learn(&mut self, difference: i32) {
        let rebuilt = saturate(self.predicted + difference);
        let partial = saturate(self.zeros + difference);
        self.turn_poles(partial);
        for (weight, before) in self.zero_weights.iter_mut().zip(self.differences) {
            let pull = if difference == 0 { 0 } else { pull(128, difference, before) };
            *weight = saturate(pull + ((*weight * 32_640) >> 15));
        }
        self.rebuilt = [rebuilt, self.rebuilt[0]];
        self.partial = [partial, self.partial[0]];
        self.differences.rotate_right(1);
        self.differences[0] = difference;

        let weighed = |(weight, sample): (&i32, &i32)| (weight * saturate(2 * sample)) >> 15;
        let poles: i32 = self.pole_weights.iter().zip(&self.rebuilt).map(weighed).sum();
        let zeros: i32 = self.zero_weights.iter().zip(&self.differences).map(weighed).sum();
        self.zeros = saturate(zeros);
        self.predicted = saturate(saturate(poles) + self.zeros);
    }

    /// Both poles stay where the predictor is stable.
    fn turn_poles(&mut self, partial: i32) {
        let ([first, second], [newest, older]) = (self.pole_weights, self.partial);
        let turn = pull(-saturate(4 * first), partial, newest).min(32_767) >> 7;
        let second = turn + pull(128, partial, older) + ((second * 32_512) >> 15);
        let second = second.clamp(-12_288, 12_288);
        let most = 15_360 - second;
        let first = saturate(pull(192, partial, newest) + ((first * 32_640) >> 15)).clamp(-most, most);
        self.pole_weights = [first, second];
    }
}

/// `force` where both are of one sign, else against it.
const fn pull(force: i32, a: i32, b: i32) -> i32 {
    if (a < 0) == (b < 0) { force } else { -force }
}

fn saturate(value: i32) -> i32 {
    value.clamp(i16::MIN.into(), i16::MAX.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encode(samples: &[i16]) -> Vec<u8> {
        let mut encoder = Encoder::default();
        samples.as_chunks().0.iter().map(|pair| encoder.encode(*pair)).collect()
    }

    fn decode(bytes: &[u8]) -> Vec<i16> {
        let mut decoder = Decoder::default();
        bytes.iter().flat_map(|byte| decoder.decode(*byte)).collect()
    }

    /// Noise of all levels, silence, and a square wave.
    fn mixed() -> Vec<i16> {
        let sample = |n: i32| match n {
            0..1_600 => (n * n * 37 + n * 911) % 40_001 - 20_000,
            1_600..2_400 => 0,
            _ if n / 20 % 2 == 0 => -12_000,
            _ => 12_000,
        };
        (0..3_200).map(|n| sample(n) as i16).collect()
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The bytes and the samples are those of another codec that keeps to the recommendation (FFmpeg's).
    #[test]
    fn another_codec_writes_and_reads_the_same_to_the_bit() {
        let bytes = encode(&mixed());
        assert_eq!(hex(&bytes[..32]), "2884208420840487088d5159fab22ba825068a1735b0249606dfb725940777b2");
        assert_eq!(hex(&bytes[768..800]), "a77d89e4711286a4745386a5757cc63ee472d94a87a26bed5ad04ec730e26dea");
        assert_eq!(hex(&bytes[1_568..]), "515c571f571f91242b4cedf7777774b52f87b7f4d3ffd65cd37a8f242b4ceefa");
        let samples = decode(&bytes);
        assert_eq!(samples[..16], [0, -1, -1, 0, 0, -2, -1, 6, 1, -22, 2, 78, 1, -182, 13, 375]);
        assert_eq!(
            samples[3_184..],
            [
                -12974, -11656, -11453, -11618, -12266, -12104, -11915, -11898, -12138, -12062, -11896,
                -12353, -12340, -11421, -11714, -13322
            ]
        );
        assert_eq!(samples.iter().map(|sample| u64::from(sample.unsigned_abs())).sum::<u64>(), 22_291_941);
    }

    #[test]
    fn a_tone_of_either_half_comes_back() {
        for hertz in [300.0, 1_000.0, 3_000.0, 5_000.0, 6_500.0] {
            let tone =
                |n: usize| (9_000.0 * (std::f64::consts::TAU * hertz * n as f64 / 16_000.0).sin()) as i16;
            let sent: Vec<i16> = (0..3_200).map(tone).collect();
            let heard = decode(&encode(&sent));
            // Both filters together are 22 samples late.
            let pairs = sent[400..3_000].iter().zip(&heard[422..]);
            let (noise, signal) = pairs.fold((0.0, 0.0), |(noise, signal), (sent, heard)| {
                (noise + (f64::from(*sent) - f64::from(*heard)).powi(2), signal + f64::from(*sent).powi(2))
            });
            assert!(noise < signal / 50.0, "{hertz} Hz: {}", noise / signal);
        }
    }

    proptest! {
        #[test]
        fn whatever_comes_is_decoded_and_encoded(bytes in proptest::collection::vec(any::<u8>(), 0..2_000)) {
            let samples = decode(&bytes);
            prop_assert_eq!(samples.len(), bytes.len() * 2);
            prop_assert_eq!(encode(&samples).len(), bytes.len());
        }

        #[test]
        fn the_loudest_samples_do_no_harm(loud in proptest::collection::vec(any::<bool>(), 0..2_000)) {
            let samples: Vec<i16> = loud.iter().map(|up| if *up { i16::MAX } else { i16::MIN }).collect();
            prop_assert_eq!(decode(&encode(&samples)).len(), loud.len() / 2 * 2);
        }
    }
}
