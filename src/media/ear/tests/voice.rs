//! What is no key but sounds: voices, breath, music. Made of one seed, the same on every machine but for last bits.

use std::f64::consts::TAU;

/// Numbers that look drawn (SplitMix64).
pub struct Dice(pub u64);

impl Dice {
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// Below `most`.
    pub fn below(&mut self, most: usize) -> usize {
        (self.draw() % most as u64) as usize
    }

    pub fn within(&mut self, from: f64, to: f64) -> f64 {
        from + (to - from) * (self.draw() >> 11) as f64 / (1u64 << 53) as f64
    }

    pub fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    /// A number of a bell's shape, of variance 1: four drawn ones, of a third each.
    pub fn noise(&mut self) -> f64 {
        let drawn = self.draw();
        let parts = (0..4).map(|part| (drawn >> (16 * part) & 0xffff) as f64 / 65_536.0 - 0.5);
        parts.sum::<f64>() * 3f64.sqrt()
    }
}

/// A resonance of the mouth: a centre and a width in Hz.
#[derive(Clone, Copy, Default)]
struct Formant {
    gain: f64,
    turn: f64,
    damp: f64,
    one: f64,
    two: f64,
}

impl Formant {
    fn tune(&mut self, hz: f64, width: f64) {
        let radius = (-std::f64::consts::PI * width / 8_000.0).exp();
        self.turn = 2.0 * radius * (TAU * hz / 8_000.0).cos();
        self.damp = radius * radius;
        self.gain = 1.0 - self.turn + self.damp;
    }

    fn hear(&mut self, sample: f64) -> f64 {
        let out = self.gain * sample + self.turn * self.one - self.damp * self.two;
        (self.two, self.one) = (self.one, out);
        out
    }
}

/// Where the first three formants of some vowels lie in Hz, for a grown man; others have them up to a third higher.
const VOWELS: [[f64; 3]; 8] = [
    [270.0, 2_290.0, 3_010.0],
    [390.0, 1_990.0, 2_550.0],
    [530.0, 1_840.0, 2_480.0],
    [660.0, 1_720.0, 2_410.0],
    [730.0, 1_090.0, 2_440.0],
    [570.0, 840.0, 2_410.0],
    [440.0, 1_020.0, 2_240.0],
    [300.0, 870.0, 2_240.0],
];

/// So many seconds of everything that is not meant as a key.
pub fn without_keys(seconds: usize, seed: u64) -> Vec<i16> {
    let mut dice = Dice(seed);
    let mut sound = Vec::with_capacity(seconds * 8_000 + 80_000);
    while sound.len() < seconds * 8_000 {
        let level = 10f64.powf(dice.within(-26.0, 0.0) / 20.0) * 9_000.0;
        match dice.below(8) {
            0 => chords(&mut dice, level, &mut sound),
            _ => sentence(&mut dice, level, &mut sound),
        }
    }
    sound.truncate(seconds * 8_000);
    sound
}

/// One speaker's sounds, one after the other, and a pause.
fn sentence(dice: &mut Dice, level: f64, out: &mut Vec<i16>) {
    let (base, size) = (dice.within(80.0, 320.0), dice.within(1.0, 1.33));
    let mut formants = [Formant::default(); 3];
    let mut at = VOWELS[dice.below(VOWELS.len())];
    let (mut phase, mut pitch) = (0.0, base);
    for _ in 0..10 + dice.below(20) {
        let samples = (dice.within(0.06, 0.35) * 8_000.0) as usize;
        let (vowel, goal) = (dice.one_of(&VOWELS), base * dice.within(0.75, 1.5));
        let (voiced, breath) = match dice.below(6) {
            0 => (0.0, 0.5),
            1 => (0.0, 0.0),
            2 => (1.0, 0.1),
            _ => (1.0, 0.01),
        };
        for sample in 0..samples {
            // The mouth moves every 5 ms, an eighth of the way.
            if sample % 40 == 0 {
                pitch += (goal - pitch) / 8.0 * dice.within(0.9, 1.1);
                for (formant, (hz, goal)) in formants.iter_mut().zip(at.iter_mut().zip(vowel)) {
                    *hz += (goal * size - *hz) / 8.0;
                    formant.tune(hz.min(3_600.0), 50.0 + *hz / 20.0);
                }
            }
            phase += pitch / 8_000.0;
            if phase >= 1.0 {
                phase -= 1.0;
            }
            // The folds open slowly and close at once; what is heard is how the flow changes.
            let flow = if phase < 0.6 { phase * (1.2 - phase * 2.0) * 2.0 } else { 0.0 };
            let edge = if phase < 0.6 && phase + pitch / 8_000.0 >= 0.6 { -1.5 } else { 0.0 };
            let mut air = (flow + edge) * voiced + dice.noise() * breath;
            for formant in &mut formants {
                air = formant.hear(air);
            }
            out.push((air * level * 3.0) as i16);
        }
    }
    let pause = 800 + dice.below(4_000);
    out.extend((0..pause).map(|_| (dice.noise() * 20.0) as i16));
}

/// A few notes at once, each with harmonics, like music on hold.
fn chords(dice: &mut Dice, level: f64, out: &mut Vec<i16>) {
    for _ in 0..8 {
        let root = dice.within(40.0, 64.0) as i32;
        let notes: Vec<f64> = [0, 4, 7, 12]
            .iter()
            .take(3 + dice.below(2))
            .map(|step| 440.0 * 2f64.powf(f64::from(root + step - 57) / 12.0))
            .collect();
        let fall = dice.within(0.4, 0.8);
        let mut partials: Vec<(f64, f64, f64)> = notes
            .iter()
            .flat_map(|note| (1..6).map(move |k| (note * f64::from(k), fall.powi(k - 1))))
            .filter(|(hz, _)| *hz < 3_600.0)
            .map(|(hz, strength)| (TAU * hz / 8_000.0, strength / 4.0, 0.0))
            .map(|(turn, strength, _)| (2.0 * turn.cos(), strength * turn.sin(), 0.0))
            .collect();
        let samples = (dice.within(0.15, 0.6) * 8_000.0) as usize;
        let fades = 0.5f64.powf(1.0 / dice.within(1_000.0, 8_000.0));
        let mut loud = level;
        for _ in 0..samples {
            let mut sum = 0.0;
            for (turn, one, two) in &mut partials {
                (*one, *two) = (*turn * *one - *two, *one);
                sum += *two;
            }
            loud *= fades;
            out.push((sum * loud) as i16);
        }
    }
}
