//! Tones into samples: the keys of a telephone (ITU-T Q.23), and plain ones, like voicemail's.

use std::f64::consts::{PI, TAU};
use std::time::Duration;

use super::event::Digit;

/// Samples a second of all that is made and heard here.
pub const RATE: u32 = 8_000;

/// What a key's tones are in Hz (ITU-T Q.23): one by its row, one by its column.
pub const ROWS: [f64; 4] = [697.0, 770.0, 852.0, 941.0];
pub const COLUMNS: [f64; 4] = [1_209.0, 1_336.0, 1_477.0, 1_633.0];

/// The keys as they lie on a telephone, one row after the other.
const KEYPAD: &[u8; 16] = b"123A456B789C*0#D";

/// The loudest sample of μ-law, and the level of a sine that just reaches it (ITU-T G.711, note 4).
const LOUDEST: f64 = 32_636.0;
const LOUDEST_LEVEL: f64 = 3.17;

/// How long a key's tones take to rise and to fall, which is little of the shortest press, and how long a plain one, which is
/// there for people and must not click.
const KEY_EDGE: Duration = Duration::from_millis(1);
const PLAIN_EDGE: Duration = Duration::from_millis(10);

/// How loud each tone is that we send: well above what any receiver wants, and far from being cut off; the beep quieter.
pub const KEY_LEVEL: Level = Level(-8.0);
pub const BEEP_LEVEL: Level = Level(-12.0);

/// What says that voicemail listens.
pub const BEEP_HZ: f64 = 1_000.0;
pub const BEEP: Duration = Duration::from_millis(400);

/// How loud a sine is, in dBm0: +3.17 is the loudest that can be said.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Level(pub f64);

impl Level {
    /// How far such a sine swings, in samples.
    pub fn amplitude(self) -> f64 {
        LOUDEST * 10f64.powf((self.0 - LOUDEST_LEVEL) / 20.0)
    }
}

/// The key of a row and a column, 0 to 3 each.
pub fn key_at(row: usize, column: usize) -> Option<Digit> {
    Digit::named(*KEYPAD.get(row * COLUMNS.len() + column)?)
}

/// What a key's two tones are in Hz: its row's, then its column's.
pub fn frequencies(key: Digit) -> (f64, f64) {
    let at = KEYPAD.iter().position(|name| char::from(*name) == key.name()).unwrap_or(0);
    (ROWS[at / COLUMNS.len()], COLUMNS[at % COLUMNS.len()])
}

/// One or two sines, sample by sample, from their first rise to their end.
#[derive(Clone, Debug)]
pub struct Tones {
    sines: [Sine; 2],
    /// Where it is, how long it is in all, and how long each edge is of that, in samples.
    at: u32,
    len: u32,
    edge: u32,
}

impl Tones {
    /// A key, each of its tones at that level.
    pub fn key(key: Digit, level: Level, duration: Duration) -> Tones {
        let (row, column) = frequencies(key);
        Tones::pair((row, level), (column, level), duration)
    }

    /// Any two tones, in Hz.
    pub fn pair(one: (f64, Level), other: (f64, Level), duration: Duration) -> Tones {
        Tones::new(
            [Sine::new(one.0, one.1.amplitude()), Sine::new(other.0, other.1.amplitude())],
            duration,
            KEY_EDGE,
        )
    }

    /// A single tone for people, in Hz, with soft edges.
    pub fn plain(hz: f64, level: Level, duration: Duration) -> Tones {
        Tones::new([Sine::new(hz, level.amplitude()), Sine::new(hz, 0.0)], duration, PLAIN_EDGE)
    }

    /// What voicemail says before it listens (R10).
    pub fn beep() -> Tones {
        Tones::plain(BEEP_HZ, BEEP_LEVEL, BEEP)
    }

    fn new(sines: [Sine; 2], duration: Duration, edge: Duration) -> Tones {
        let len = samples(duration);
        Tones { sines, at: 0, len, edge: samples(edge).min(len / 2) }
    }

    /// 0 at both ends, 1 between the edges: half a wave of a cosine.
    fn envelope(&self) -> f64 {
        let from_end = self.at.min(self.len - 1 - self.at);
        if from_end >= self.edge {
            return 1.0;
        }
        0.5 - 0.5 * (PI * (f64::from(from_end) + 0.5) / f64::from(self.edge)).cos()
    }
}

impl Iterator for Tones {
    type Item = i16;

    fn next(&mut self) -> Option<i16> {
        if self.at >= self.len {
            return None;
        }
        let envelope = self.envelope();
        self.at += 1;
        let [one, other] = &mut self.sines;
        // What is louder than the loudest sample is cut off there.
        Some(((one.next() + other.next()) * envelope).round() as i16)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = (self.len - self.at) as usize;
        (left, Some(left))
    }
}

impl ExactSizeIterator for Tones {}

/// A point that goes round, turned a little further for each sample: no sine is computed on the way.
#[derive(Clone, Copy, Debug)]
struct Sine {
    at: (f64, f64),
    turn: (f64, f64),
}

impl Sine {
    fn new(hz: f64, amplitude: f64) -> Sine {
        let (sin, cos) = (TAU * hz / f64::from(RATE)).sin_cos();
        Sine { at: (amplitude, 0.0), turn: (cos, sin) }
    }

    fn next(&mut self) -> f64 {
        let ((x, y), (cos, sin)) = (self.at, self.turn);
        self.at = (x * cos - y * sin, x * sin + y * cos);
        y
    }
}

/// So many samples last that long; an hour at most.
fn samples(duration: Duration) -> u32 {
    const LONGEST: Duration = Duration::from_secs(3_600);
    u32::try_from(duration.min(LONGEST).as_micros() * u128::from(RATE) / 1_000_000).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rms(samples: &[i16]) -> f64 {
        let squares: f64 = samples.iter().map(|sample| f64::from(*sample).powi(2)).sum();
        (squares / samples.len() as f64).sqrt()
    }

    #[test]
    fn each_key_has_the_place_that_a_telephone_gives_it() {
        let tones = |key| frequencies(Digit::named(key).unwrap());
        assert_eq!(tones(b'1'), (697.0, 1_209.0));
        assert_eq!(tones(b'5'), (770.0, 1_336.0));
        assert_eq!(tones(b'0'), (941.0, 1_336.0));
        assert_eq!((tones(b'*'), tones(b'#')), ((941.0, 1_209.0), (941.0, 1_477.0)));
        assert_eq!((tones(b'A'), tones(b'D')), ((697.0, 1_633.0), (941.0, 1_633.0)));
        for code in 0..16 {
            let key = Digit::of_event(code).unwrap();
            let (row, column) = frequencies(key);
            let at = |all: [f64; 4], hz| all.iter().position(|one| *one == hz).unwrap();
            assert_eq!(key_at(at(ROWS, row), at(COLUMNS, column)), Some(key));
        }
        assert_eq!(key_at(4, 0), None);
    }

    #[test]
    fn a_tone_is_as_long_and_as_loud_as_it_is_said_to_be() {
        let tone: Vec<i16> = Tones::plain(1_000.0, Level(0.0), Duration::from_millis(500)).collect();
        assert_eq!(tone.len(), 4_000);
        // 0 dBm0 is 3.17 dB below the loudest sine (ITU-T G.711).
        let loudest = LOUDEST / 2f64.sqrt();
        let level = 20.0 * (rms(&tone[400..3_600]) / loudest).log10();
        assert!((level + 3.17).abs() < 0.01, "{level}");
        let pair: Vec<i16> = Tones::key(Digit::ONE, Level(-10.0), Duration::from_millis(500)).collect();
        let level = 20.0 * (rms(&pair[400..3_600]) / loudest).log10();
        assert!((level + 3.17 + 10.0 - 3.01).abs() < 0.05, "{level}");
        assert_eq!(Tones::key(Digit::ONE, Level(0.0), Duration::ZERO).next(), None);
        // Cut off, not gone round.
        let loud: Vec<i16> = Tones::key(Digit::ONE, Level(3.0), Duration::from_millis(100)).collect();
        assert!(loud.windows(2).all(|two| two[0].abs_diff(two[1]) < 50_000));
    }

    #[test]
    fn the_beep_does_not_click() {
        let beep: Vec<i16> = Tones::beep().collect();
        assert_eq!(beep.len(), 3_200);
        let loudest = beep.iter().map(|sample| sample.unsigned_abs()).max().unwrap();
        let quiet = |samples: &[i16]| samples.iter().all(|sample| sample.unsigned_abs() < loudest / 50);
        assert!(quiet(&beep[..8]) && quiet(&beep[3_192..]), "it rises from nothing and falls to nothing");
        let steepest = TAU * BEEP_HZ / f64::from(RATE) * f64::from(loudest) * 1.05;
        let steps = beep.windows(2).map(|two| f64::from(two[0].abs_diff(two[1])));
        assert!(steps.fold(0.0, f64::max) < steepest);
    }
}
