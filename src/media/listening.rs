//! Whether somebody whose message is taken says anything (R10).

use std::time::Duration;

use super::g711;
use super::tape::Sound;
use crate::time::Instant;

/// When a message is one, and when it is over (R10).
#[derive(Clone, Copy, Debug)]
pub struct Listen {
    /// So much sound makes it one.
    pub enough: Duration,
    /// Silence of this length ends it.
    pub quiet: Duration,
}

/// Whose message is taken.
#[derive(Debug)]
pub(super) struct Listening {
    pub(super) listen: Listen,
    sound: Duration,
    /// The last sound, or when it was begun to listen.
    pub(super) last: Instant,
    has_enough: bool,
}

impl Listening {
    pub(super) const fn new(now: Instant, listen: Listen) -> Listening {
        Listening { listen, sound: Duration::ZERO, last: now, has_enough: false }
    }

    /// Some sound: so many samples at 8,000 Hz. Whether it has just become enough.
    pub(super) fn hear(&mut self, now: Instant, samples: usize) -> bool {
        self.last = now;
        self.sound += Duration::from_micros(125) * u32::try_from(samples).unwrap_or(u32::MAX);
        let had_enough = std::mem::replace(&mut self.has_enough, self.sound >= self.listen.enough);
        self.has_enough && !had_enough
    }
}

/// Whether a packet holds more than the noise of a line: −45 dBm0 on average, somewhat below the softest speech
/// (ITU-T P.56 has it at −40 and above).
pub(super) fn is_loud(sound: Sound<'_>) -> bool {
    const LOUD: u64 = 128;
    let (sum, count) = match sound {
        Sound::Pcmu(bytes) => {
            (bytes.iter().map(|byte| loudness(g711::decode_pcmu(*byte))).sum::<u64>(), bytes.len())
        }
        Sound::Pcma(bytes) => {
            (bytes.iter().map(|byte| loudness(g711::decode_pcma(*byte))).sum(), bytes.len())
        }
        Sound::Narrow(samples) | Sound::Wide(samples) => {
            (samples.iter().map(|sample| loudness(*sample)).sum(), samples.len())
        }
    };
    sum > LOUD * count as u64
}

fn loudness(sample: i16) -> u64 {
    u64::from(sample.unsigned_abs())
}
