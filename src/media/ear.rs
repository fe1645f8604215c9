//! Keys in the audio itself, for legs that did not negotiate telephone events (RFC 4733 is heard in `event`).
//!
//! What must be heard and what must not is ITU-T Q.24's (annex A, the column of AT&T), and a little more of our own:
//!
//! | | heard | not heard |
//! |---|---|---|
//! | frequencies off by | 1.5 % | 3.5 % |
//! | a press of | 40 ms | 23 ms |
//! | a pause that parts two presses | 40 ms | 10 ms (20 ms here: a lost packet) |
//! | column above row, row above column | 4 dB, 8 dB | 8 dB, 12 dB (ours) |
//! | each tone at | 0 to −29 dBm0 (−25 in Q.24) | −40 dBm0 (ours) |
//! | noise, in all but the shortest presses | 15 dB below | |
//!
//! Every 5 ms the last 25 ms are weighed by a cosine and compared with the eight tones. All that is heard there must be one
//! row and one column: a voice has more than two partials. How far each phase moves from one window to the next gives the
//! frequency to a few Hz, which 25 ms alone could not tell. It is Goertzel's method, but for the recurrence: a table of
//! waves lets all tones be added up side by side.
//!
//! A break of up to 20 ms parts no press once it was made out; before that, 40 ms in one piece are needed.

use super::event::Digit;
use super::tone::{self, COLUMNS, RATE, ROWS};

#[cfg(test)]
mod tests;

/// Samples from one window to the next: 5 ms.
const HOP: usize = 40;

/// Samples of a window: 25 ms. A longer one would fill with a press of 40 ms too late, a shorter one hears two rows as one.
const WINDOW: usize = 5 * HOP;

/// Rows first, then columns.
const TONES: usize = ROWS.len() + COLUMNS.len();

/// Windows in a row that must clearly hold a key. The burst fills four fifths of a window that is cut off by 8 ms, so 40 ms
/// give six of them at least, and 23 ms three at most.
const RISES: u8 = 5;

/// Windows in a row without it end a press. A gap of 20 ms leaves five at most, one of 40 ms seven at least.
const ENDS: u8 = 6;

/// In so many of them it must be alone. 40 ms fill nineteen twentieths of five windows at least.
const FILLED: u8 = 3;

/// Of the power in a window, so much must be the key's: for the press to go on, for it to begin, and where it is alone.
/// Noise 15 dB below leaves 0.97 of it; the two strongest partials of a voice rarely reach 0.9.
const FAINT: f32 = 0.5;
const CLEAR: f32 = 0.8;
const PURE: f32 = 0.94;

/// How far a tone may be off. What must be heard is 5 Hz nearer, what must not 9 Hz further; a window errs by 1 to 2 Hz.
const ASTRAY: f32 = 0.022;

/// How much stronger the column may be than the row, and the row than the column: 1.5 dB above what must be heard.
const REVERSE_TWIST: f32 = 3.55;
const TWIST: f32 = 8.91;

/// A tone's second harmonic must lie 12 dB below it; in a voice it does not.
const HARMONIC: f32 = 0.063;

/// A harmonic so near to the other tone, in Hz, cannot be told from it.
const TOO_NEAR: f32 = 120.0;

/// The mean square of the quietest window that is looked at: a sine of −33 dBm0. A key's two tones are that at −36 each.
const QUIETEST: f32 = 128_600.0;

/// For so many samples (100 ms) of lost packets in a row a press is thought to go on.
const LONGEST_LOSS: usize = 800;

/// For each sample of the window its weight times the cosine and the sine of every tone there; the weights add up to 1.
static WAVES: [[f32; 2 * TONES]; WINDOW] = waves();

/// The weights alone (Hann).
static WEIGHTS: [f32; WINDOW] = weights();

/// How far each tone's phase moves in a hop.
static TURNS: [(f32, f32); TONES] = turns();

/// Who listens to the audio of one leg: linear samples, 8,000 Hz, one channel.
///
/// 624 bytes, nothing allocated. A block of 20 ms costs 2,800 instructions in silence, 4,000 to 10,000 on average in speech
/// (the cheap look at most windows says that they can be no key) and 40,000 while a key is held (callgrind).
#[derive(Debug)]
pub struct Ear {
    /// The window and two samples before it, the newest hop of it not yet all there.
    samples: [i16; WINDOW + 2],
    /// How much of the newest hop is.
    filled: usize,
    /// Of each hop of the window.
    sums: [Sums; WINDOW / HOP],
    /// Of the window before, if it was looked at.
    before: Option<Spectrum>,
    rising: Option<Rising>,
    held: Option<Held>,
    /// So many more samples come until no lost one is in the window; until then a key that is not heard may yet be there.
    deaf: usize,
    /// Lost in a row.
    lost: usize,
}

/// A key that was clear in so many windows in a row, and alone in so many of them.
#[derive(Clone, Copy, Debug)]
struct Rising {
    digit: Digit,
    windows: u8,
    filled: u8,
}

/// The key that was told of, and windows in a row without it.
#[derive(Clone, Copy, Debug)]
struct Held {
    digit: Digit,
    without: u8,
}

/// What a window holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sound {
    Nothing,
    /// Most of it is this key, for one that is held already.
    Faint(Digit),
    /// It is all that a key must be.
    Clear(Digit),
    /// And nothing else is there.
    Pure(Digit),
}

/// Of a few samples: their squares, and their products with the ones before and two before.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    squares: i64,
    ones: i64,
    twos: i64,
}

/// Each tone's part of a window: half its amplitude, and its phase.
#[derive(Clone, Copy, Debug)]
struct Spectrum {
    cos: [f32; TONES],
    sin: [f32; TONES],
}

impl Default for Ear {
    fn default() -> Ear {
        Ear {
            samples: [0; WINDOW + 2],
            filled: 0,
            sums: [Sums::default(); WINDOW / HOP],
            before: None,
            rising: None,
            held: None,
            deaf: 0,
            lost: 0,
        }
    }
}

impl Ear {
    /// What came next, any number of samples. Tells of each key once per press, some 40 ms after it began.
    pub fn hear(&mut self, samples: &[i16], mut heard: impl FnMut(Digit)) {
        self.lost = 0;
        self.take(samples, &mut heard);
    }

    /// So many samples did not come. A press goes on over them, up to 100 ms; what is lost longer is silence.
    pub fn miss(&mut self, samples: usize, mut heard: impl FnMut(Digit)) {
        let bridged = samples.min(LONGEST_LOSS.saturating_sub(self.lost));
        self.lost = self.lost.saturating_add(samples);
        if bridged > 0 {
            self.deaf = bridged + WINDOW + HOP;
            self.take_silence(bridged, &mut heard);
        }
        if samples > bridged {
            self.deaf = 0;
            // Once the window is empty and the press has ended, more of the same changes nothing.
            self.take_silence((samples - bridged).min(WINDOW + HOP * usize::from(ENDS + 1)), &mut heard);
        }
    }

    fn take_silence(&mut self, samples: usize, heard: &mut impl FnMut(Digit)) {
        const SILENCE: [i16; HOP] = [0; HOP];
        let mut left = samples;
        while left > 0 {
            let part = left.min(HOP);
            self.take(&SILENCE[..part], heard);
            left -= part;
        }
    }

    fn take(&mut self, samples: &[i16], heard: &mut impl FnMut(Digit)) {
        let mut rest = samples;
        while !rest.is_empty() {
            let (part, after) = rest.split_at(rest.len().min(HOP - self.filled));
            let at = self.samples.len() - HOP + self.filled;
            self.samples[at..at + part.len()].copy_from_slice(part);
            (self.filled, rest) = (self.filled + part.len(), after);
            if self.filled == HOP {
                self.sums.rotate_left(1);
                self.sums[WINDOW / HOP - 1] = Sums::of(&self.samples[WINDOW - HOP..]);
                let sound = self.listen();
                if let Some(digit) = self.follow(sound) {
                    heard(digit);
                }
                self.samples.copy_within(HOP.., 0);
                self.filled = 0;
                self.deaf = self.deaf.saturating_sub(HOP);
            }
        }
    }

    /// A window further. Gives the key whose press has just been made out.
    fn follow(&mut self, sound: Sound) -> Option<Digit> {
        let may_be_there = self.deaf > 0;
        self.rising = match (self.rising, sound) {
            (rising, Sound::Clear(digit)) => Some(Rising::after(rising, digit, 0)),
            (rising, Sound::Pure(digit)) => Some(Rising::after(rising, digit, 1)),
            (rising, Sound::Faint(_) | Sound::Nothing) if may_be_there => rising,
            (_, Sound::Faint(_) | Sound::Nothing) => None,
        };
        self.held = match (self.held, sound) {
            (Some(held), Sound::Pure(digit) | Sound::Clear(digit) | Sound::Faint(digit))
                if held.digit == digit =>
            {
                Some(Held { digit, without: 0 })
            }
            (Some(held), _) if may_be_there => Some(held),
            (Some(held), _) if held.without + 1 < ENDS => {
                Some(Held { digit: held.digit, without: held.without + 1 })
            }
            (Some(_) | None, _) => None,
        };
        let risen = self.rising.filter(|rising| rising.windows >= RISES && rising.filled >= FILLED)?.digit;
        let is_new = self.held.is_none_or(|held| held.digit != risen);
        is_new.then(|| {
            self.held = Some(Held { digit: risen, without: 0 });
            risen
        })
    }

    /// What the window holds.
    fn listen(&mut self) -> Sound {
        let before = self.before.take();
        if !self.may_be_a_key() {
            return Sound::Nothing;
        }
        let (spectrum, power) = self.look();
        self.before = Some(spectrum);
        if power < QUIETEST {
            return Sound::Nothing;
        }
        let (row, column) = (spectrum.loudest(0..ROWS.len()), spectrum.loudest(ROWS.len()..TONES));
        let Some(digit) = tone::key_at(row, column - ROWS.len()) else { return Sound::Nothing };
        if spectrum.power(row) + spectrum.power(column) < FAINT * power {
            return Sound::Nothing;
        }
        match before.and_then(|before| self.share(&spectrum, &before, row, column, power)) {
            Some(share) if share >= PURE => Sound::Pure(digit),
            Some(share) if share >= CLEAR => Sound::Clear(digit),
            Some(_) | None => Sound::Faint(digit),
        }
    }

    /// How much of a window's power these two tones are. None: they are not where, or not as strong, as a key's are.
    fn share(
        &self,
        spectrum: &Spectrum,
        before: &Spectrum,
        row: usize,
        column: usize,
        power: f32,
    ) -> Option<f32> {
        let (low, high) = (spectrum.tone(before, row), spectrum.tone(before, column));
        let harmonics = || {
            let apart = (2.0 * low.hz - high.hz).abs() > TOO_NEAR;
            (!apart || self.power_at(2.0 * low.hz) < HARMONIC * low.power)
                && self.power_at(2.0 * high.hz) < HARMONIC * high.power
        };
        let is_key = low.is_near(row)
            && high.is_near(column)
            && high.power <= REVERSE_TWIST * low.power
            && low.power <= TWIST * high.power
            && harmonics();
        is_key.then_some((low.power + high.power) / power)
    }

    /// A cheap look. How alike the samples are to the ones before and two before gives the mean of the cosines of all
    /// frequencies in the window, and how far they spread: both are bounded for a row and a column within twist, and most
    /// of speech has its power lower.
    fn may_be_a_key(&self) -> bool {
        let sum = |of: fn(&Sums) -> i64| self.sums.iter().map(of).sum::<i64>() as f32;
        let squares = sum(|sums| sums.squares);
        // A window at a burst's edge holds half of it.
        if squares < QUIETEST * 0.5 * WINDOW as f32 {
            return false;
        }
        let (one, two) = (sum(|sums| sums.ones) / squares, sum(|sums| sums.twos) / squares);
        let spread = (two + 1.0) * 0.5 - one * one;
        (MEAN.0..MEAN.1).contains(&one) && (SPREAD.0..SPREAD.1).contains(&spread)
    }

    /// The eight tones in the window, and the power of all that is in it.
    ///
    /// Not inlined: what becomes of the sums would lead the compiler to add them two by two instead of four by four.
    #[inline(never)]
    fn look(&self) -> (Spectrum, f32) {
        let window = &self.samples[2..];
        let mut waves = [0.0; 2 * TONES];
        for (sample, by) in window.iter().zip(&WAVES) {
            let sample = f32::from(*sample);
            for tone in 0..2 * TONES {
                waves[tone] += sample * by[tone];
            }
        }
        // Four sums, so that none waits for the one before.
        let mut powers = [0.0; 4];
        for (samples, weights) in window.chunks_exact(4).zip(WEIGHTS.chunks_exact(4)) {
            for at in 0..4 {
                let sample = f32::from(samples[at]);
                powers[at] += weights[at] * sample * sample;
            }
        }
        let mut spectrum = Spectrum { cos: [0.0; TONES], sin: [0.0; TONES] };
        spectrum.cos.copy_from_slice(&waves[..TONES]);
        spectrum.sin.copy_from_slice(&waves[TONES..]);
        (spectrum, powers.iter().sum())
    }

    /// The power of one frequency in the window, by Goertzel's recurrence.
    fn power_at(&self, hz: f32) -> f32 {
        let turn = 2.0 * (std::f32::consts::TAU * hz / RATE as f32).cos();
        let (mut one, mut two) = (0.0, 0.0);
        for (sample, weight) in self.samples[2..].iter().zip(&WEIGHTS) {
            (one, two) = (f32::from(*sample) * weight + turn * one - two, one);
        }
        2.0 * (one * one + two * two - turn * one * two)
    }
}

/// Where the mean and the spread of the cosines lie (see `may_be_a_key`): for all keys within twist the mean is 0.40 to
/// 0.83 and the spread 0 to 0.08, in windows without end; noise and the window's edges widen that.
const MEAN: (f32, f32) = (0.33, 0.90);
const SPREAD: (f32, f32) = (-0.05, 0.16);

impl Sums {
    /// Of all samples but the first two, which are only there for the others.
    fn of(samples: &[i16]) -> Sums {
        let mut sums = Sums::default();
        for at in 2..samples.len() {
            let (two, one, sample) =
                (i64::from(samples[at - 2]), i64::from(samples[at - 1]), i64::from(samples[at]));
            sums.squares += sample * sample;
            sums.ones += sample * one;
            sums.twos += sample * two;
        }
        sums
    }
}

impl Rising {
    /// One window more of that key, `filled` by it (1) or not (0).
    fn after(rising: Option<Rising>, digit: Digit, filled: u8) -> Rising {
        match rising {
            Some(before) if before.digit == digit => Rising {
                digit,
                windows: before.windows.saturating_add(1),
                filled: before.filled.saturating_add(filled),
            },
            Some(_) | None => Rising { digit, windows: 1, filled },
        }
    }
}

/// A tone as it really is.
#[derive(Clone, Copy, Debug)]
struct Tone {
    hz: f32,
    power: f32,
}

impl Tone {
    fn is_near(&self, tone: usize) -> bool {
        let nominal = nominal(tone) as f32;
        (self.hz - nominal).abs() <= ASTRAY * nominal
    }
}

impl Spectrum {
    /// The power of a tone that is just where it should be.
    fn power(&self, tone: usize) -> f32 {
        2.0 * (self.cos[tone] * self.cos[tone] + self.sin[tone] * self.sin[tone])
    }

    fn loudest(&self, tones: std::ops::Range<usize>) -> usize {
        let first = tones.start;
        tones.fold(first, |best, tone| if self.power(tone) > self.power(best) { tone } else { best })
    }

    /// Where a tone really is, by how far its phase has moved since the window before, and its power there.
    fn tone(&self, before: &Spectrum, tone: usize) -> Tone {
        // How much less a window hears of a tone that lies 1 Hz beside: exp(−1.3·(Hz·25 ms)²), good to 2 % up to 40 Hz.
        const FALLS: f32 = 1.3 * (WINDOW as f32 / RATE as f32) * (WINDOW as f32 / RATE as f32);
        const HOPS_PER_TURN: f32 = RATE as f32 / (HOP as f32 * std::f32::consts::TAU);
        // The sums are with e^(−iωt): the imaginary part is the sine's, negative.
        let (x, y) = (self.cos[tone], -self.sin[tone]);
        let (u, v) = (before.cos[tone], -before.sin[tone]);
        let (moved_x, moved_y) = (x * u + y * v, y * u - x * v);
        let (cos, sin) = TURNS[tone];
        let astray = (moved_y * cos - moved_x * sin).atan2(moved_x * cos + moved_y * sin) * HOPS_PER_TURN;
        Tone { hz: nominal(tone) as f32 + astray, power: self.power(tone) * (FALLS * astray * astray).exp() }
    }
}

const fn nominal(tone: usize) -> f64 {
    if tone < ROWS.len() { ROWS[tone] } else { COLUMNS[tone - ROWS.len()] }
}

/// An angle's cosine and sine, by their series; good to the last bits up to two turns.
const fn turn(angle: f64) -> (f64, f64) {
    let (mut cos, mut sin) = (0.0, 0.0);
    let (mut term, mut power) = (1.0, 0);
    while power < 60 {
        match power % 4 {
            0 => cos += term,
            1 => sin += term,
            2 => cos -= term,
            _ => sin -= term,
        }
        power += 1;
        term *= angle / power as f64;
    }
    (cos, sin)
}

const fn further(at: (f64, f64), by: (f64, f64)) -> (f64, f64) {
    (at.0 * by.0 - at.1 * by.1, at.0 * by.1 + at.1 * by.0)
}

const fn omega(tone: usize) -> f64 {
    std::f64::consts::TAU * nominal(tone) / RATE as f64
}

const fn weights() -> [f32; WINDOW] {
    let step = std::f64::consts::TAU / WINDOW as f64;
    let (mut at, by) = (turn(step / 2.0), turn(step));
    let mut weights = [0.0; WINDOW];
    let mut sample = 0;
    while sample < WINDOW {
        weights[sample] = ((1.0 - at.0) / WINDOW as f64) as f32;
        at = further(at, by);
        sample += 1;
    }
    weights
}

const fn waves() -> [[f32; 2 * TONES]; WINDOW] {
    let weights = weights();
    let mut waves = [[0.0; 2 * TONES]; WINDOW];
    let mut tone = 0;
    while tone < TONES {
        let (mut at, by) = ((1.0, 0.0), turn(omega(tone)));
        let mut sample = 0;
        while sample < WINDOW {
            waves[sample][tone] = weights[sample] * at.0 as f32;
            waves[sample][TONES + tone] = weights[sample] * at.1 as f32;
            at = further(at, by);
            sample += 1;
        }
        tone += 1;
    }
    waves
}

const fn turns() -> [(f32, f32); TONES] {
    let mut turns = [(0.0, 0.0); TONES];
    let mut tone = 0;
    while tone < TONES {
        let (mut at, by) = ((1.0, 0.0), turn(omega(tone)));
        let mut sample = 0;
        while sample < HOP {
            at = further(at, by);
            sample += 1;
        }
        turns[tone] = (at.0 as f32, at.1 as f32);
        tone += 1;
    }
    turns
}
