//! What we say ourselves, encoded once when it is loaded, so that to play it costs nothing but the packets.
//!
//! The sounds under `config/prompts` were spoken by `flite`, voice slt, by the sample's own `[speech] command`; `sox` took
//! the silence off both ends, made them 3 dB softer than full scale, and 8 kHz where 16 would be over 60 KB.
//! `config/prompts/index.toml` says which of them says what. Those in [`Standard`] are part of the program, for whoever
//! has another configuration.

use std::f64::consts::TAU;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use super::wav::{self, NARROW, Sound, WIDE, WavError};
use super::{g711, g722};
use crate::sip::sdp::audio::Codec;

/// How much sound one packet holds, and its bytes in each of our codecs: 64 kbit/s all of them.
pub const FRAME: Duration = Duration::from_millis(20);
pub const FRAME_BYTES: usize = 160;

/// After so many frames of silence an encoder of G.722 says the same for each.
const SETTLED: usize = 50;

/// The beginning and the end of a tone are so soft, that it makes no click.
const EDGE: Duration = Duration::from_millis(10);

/// Something to be said: frames of 20 ms in each codec.
#[derive(Clone, PartialEq, Eq)]
pub struct Prompt {
    pcmu: Box<[u8]>,
    pcma: Box<[u8]>,
    g722: Box<[u8]>,
    frames: u32,
}

impl Prompt {
    /// Encodes linear samples of the same sound at 8,000 and at 16,000 Hz; the longer of them says how long it lasts, and
    /// the last frame is filled with silence.
    pub fn of_samples(narrow: &[i16], wide: &[i16]) -> Prompt {
        let frames = narrow.len().max(wide.len().div_ceil(2)).div_ceil(FRAME_BYTES);
        let bytes = frames * FRAME_BYTES;
        let filled = || narrow.iter().copied().chain(std::iter::repeat(0)).take(bytes);
        let pairs = wide.chunks(2).map(|pair| [pair[0], pair.get(1).copied().unwrap_or(0)]);
        let mut g722 = g722::Encoder::default();
        Prompt {
            pcmu: filled().map(g711::encode_pcmu).collect(),
            pcma: filled().map(g711::encode_pcma).collect(),
            g722: pairs.chain(std::iter::repeat([0; 2])).take(bytes).map(|pair| g722.encode(pair)).collect(),
            frames: u32::try_from(frames).unwrap_or(u32::MAX),
        }
    }

    /// Reads a whole sound file and encodes it.
    pub fn of_wav(file: &[u8]) -> Result<Prompt, WavError> {
        wav::read(file).map(|sound| Prompt::of(&sound))
    }

    pub fn of(sound: &Sound) -> Prompt {
        Prompt::of_samples(&sound.narrow, &sound.wide)
    }

    /// A tone of that many Hz at half of full scale, with soft edges.
    pub fn tone(hertz: u32, length: Duration) -> Prompt {
        Prompt::of_samples(&sine(hertz, length, NARROW), &sine(hertz, length, WIDE))
    }

    /// The 20 ms of that number, from 0. None: it has ended, or it is no codec of ours.
    pub fn frame(&self, codec: Codec, number: u32) -> Option<&[u8]> {
        let bytes = match codec {
            Codec::Pcmu => &self.pcmu,
            Codec::Pcma => &self.pcma,
            Codec::G722 => &self.g722,
            Codec::Event | Codec::Other => return None,
        };
        let begins = usize::try_from(number).ok()?.checked_mul(FRAME_BYTES)?;
        bytes.get(begins..begins + FRAME_BYTES)
    }

    /// How many frames it has.
    pub fn frames(&self) -> u32 {
        self.frames
    }

    /// How long it lasts: whole frames.
    pub fn length(&self) -> Duration {
        FRAME * self.frames
    }
}

impl std::fmt::Debug for Prompt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Prompt({:?})", self.length())
    }
}

/// 20 ms of silence. None: it is no codec of ours.
pub fn silence(codec: Codec) -> Option<&'static [u8; FRAME_BYTES]> {
    static SILENCE: LazyLock<[u8; FRAME_BYTES]> = LazyLock::new(|| {
        let mut encoder = g722::Encoder::default();
        let mut frame = [0; FRAME_BYTES];
        for _ in 0..SETTLED {
            frame = std::array::from_fn(|_| encoder.encode([0; 2]));
        }
        frame
    });
    match codec {
        Codec::Pcmu => Some(&[g711::PCMU_SILENCE; FRAME_BYTES]),
        Codec::Pcma => Some(&[g711::PCMA_SILENCE; FRAME_BYTES]),
        Codec::G722 => Some(&SILENCE),
        Codec::Event | Codec::Other => None,
    }
}

/// What every node can say, whatever its configuration. One with a sound of its own for the same text has that said where
/// [`speak`](super::speech::speak) is asked for the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Standard {
    /// Asks the forwarded party to take the call (R6).
    PressOne,
    /// Of a voicemail that names no greeting (R10).
    Greeting,
    /// Ends the greeting (R10).
    Tone,
}

impl Standard {
    pub const ALL: [Standard; 3] = [Standard::PressOne, Standard::Greeting, Standard::Tone];

    /// Its words. None: it has none.
    pub const fn text(self) -> Option<&'static str> {
        match self {
            Standard::PressOne => Some("Press 1 to accept."),
            Standard::Greeting => Some("Please leave a message after the tone."),
            Standard::Tone => None,
        }
    }

    /// Encoded once, when it is asked for first.
    pub fn prompt(self) -> Arc<Prompt> {
        static PRESS_ONE: LazyLock<Arc<Prompt>> =
            LazyLock::new(|| shipped(include_bytes!("../../config/prompts/press-one.wav")));
        static GREETING: LazyLock<Arc<Prompt>> =
            LazyLock::new(|| shipped(include_bytes!("../../config/prompts/greeting.wav")));
        // Heard well on every telephone, and no part of a key's tone.
        static TONE: LazyLock<Arc<Prompt>> =
            LazyLock::new(|| Arc::new(Prompt::tone(1_000, Duration::from_millis(400))));
        Arc::clone(match self {
            Standard::PressOne => &PRESS_ONE,
            Standard::Greeting => &GREETING,
            Standard::Tone => &TONE,
        })
    }
}

/// A file of ours, which a test has read.
fn shipped(file: &[u8]) -> Arc<Prompt> {
    Arc::new(Prompt::of_wav(file).unwrap_or_else(|_| Prompt::tone(1_000, Duration::from_millis(400))))
}

/// Samples of a tone at that rate.
fn sine(hertz: u32, length: Duration, rate: u32) -> Vec<i16> {
    let rate = f64::from(rate);
    let (count, edge) = ((length.as_secs_f64() * rate) as u32, EDGE.as_secs_f64() * rate);
    let samples = (0..count).map(|at| {
        let nearer_end = f64::from(at.min(count - 1 - at));
        let softly = (nearer_end / edge).min(1.0);
        16_384.0 * softly * (TAU * f64::from(hertz) * f64::from(at) / rate).sin()
    });
    samples.map(|sample| sample as i16).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CODECS: [Codec; 3] = [Codec::Pcmu, Codec::Pcma, Codec::G722];

    /// What a telephone makes of frames: samples at 8 or 16 kHz.
    fn heard<'a>(codec: Codec, frames: impl IntoIterator<Item = &'a [u8]>) -> Vec<i16> {
        let mut g722 = g722::Decoder::default();
        let bytes = frames.into_iter().flatten().copied();
        match codec {
            Codec::Pcmu => bytes.map(g711::decode_pcmu).collect(),
            Codec::Pcma => bytes.map(g711::decode_pcma).collect(),
            Codec::G722 => bytes.flat_map(|byte| g722.decode(byte)).collect(),
            Codec::Event | Codec::Other => Vec::new(),
        }
    }

    fn frames(prompt: &Prompt, codec: Codec) -> Vec<&[u8]> {
        (0..).map_while(|number| prompt.frame(codec, number)).collect()
    }

    fn loudest(samples: &[i16]) -> u16 {
        samples.iter().map(|sample| sample.unsigned_abs()).max().unwrap_or(0)
    }

    #[test]
    fn a_prompt_has_the_same_frames_in_every_codec_and_then_ends() {
        for (narrow, wide, count) in
            [(0, 0, 0), (1, 2, 1), (160, 320, 1), (161, 321, 2), (160, 400, 2), (8_000, 16_000, 50)]
        {
            let prompt = Prompt::of_samples(&vec![100; narrow], &vec![100; wide]);
            assert_eq!((prompt.frames(), prompt.length()), (count, FRAME * count));
            for codec in CODECS {
                let frames = frames(&prompt, codec);
                assert_eq!(frames.len(), count as usize, "{codec:?} of {narrow}");
                assert!(frames.iter().all(|frame| frame.len() == FRAME_BYTES));
                assert_eq!(prompt.frame(codec, u32::MAX), None);
            }
            assert_eq!([Codec::Event, Codec::Other].map(|codec| prompt.frame(codec, 0)), [None; 2]);
        }
    }

    #[test]
    fn a_telephone_hears_what_was_encoded() {
        let samples = |rate| sine(440, Duration::from_millis(500), rate);
        let prompt = Prompt::of_samples(&samples(NARROW), &samples(WIDE));
        for codec in CODECS {
            // G.722's filters are 22 samples late.
            let (said, late) = if codec == Codec::G722 { (samples(WIDE), 22) } else { (samples(NARROW), 0) };
            let heard = heard(codec, frames(&prompt, codec));
            let pairs = said[..said.len() - late].iter().zip(&heard[late..]);
            let (noise, all) = pairs.fold((0.0, 0.0), |(noise, all), (said, heard)| {
                (noise + f64::from(said - heard).powi(2), all + f64::from(*said).powi(2))
            });
            assert!(noise < all / 500.0, "{codec:?}: {}", noise / all);
        }
    }

    #[test]
    fn silence_is_quiet_also_after_something_loud() {
        let tone = Standard::Tone.prompt();
        for codec in CODECS {
            let quiet = silence(codec).unwrap();
            let mut all = frames(&tone, codec);
            let loud = heard(codec, all.iter().copied()).len();
            all.extend([&quiet[..]; 10]);
            let heard = heard(codec, all);
            assert!(loudest(&heard[..loud]) > 10_000, "{codec:?}");
            // The second frame of it, and those after.
            let later = loud + (heard.len() - loud) / 10;
            assert!(loudest(&heard[later..]) < 100, "{codec:?}: {}", loudest(&heard[later..]));
        }
        assert_eq!([Codec::Event, Codec::Other].map(silence), [None; 2]);
    }

    #[test]
    fn a_tone_begins_and_ends_softly() {
        let tone = sine(1_000, Duration::from_millis(400), NARROW);
        assert_eq!((tone.len(), loudest(&tone)), (3_200, 16_384));
        let steps = tone.windows(2).map(|pair| pair[0].abs_diff(pair[1]));
        assert!(loudest(&tone[..8]) < 2_000 && loudest(&tone[3_192..]) < 2_000);
        // The steepest of a sine of 1 kHz at 8 kHz.
        assert!(steps.max() < Some(12_600));
    }

    #[test]
    fn what_ships_is_speech_of_its_length_and_small() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("config/prompts");
        let index = std::fs::read(folder.join("index.toml")).unwrap();
        let index: std::collections::BTreeMap<String, String> = toml::from_slice(&index).unwrap();
        let mut files: Vec<String> = std::fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name != "index.toml")
            .collect();
        files.sort();
        assert_eq!(files, index.keys().cloned().collect::<Vec<_>>());
        for (file, text) in index {
            let bytes = std::fs::read(folder.join(&file)).unwrap();
            assert!(bytes.len() < 60_000, "{file}");
            let prompt = Prompt::of_wav(&bytes).unwrap();
            // Somebody speaks ten to thirty letters a second.
            let letters = f64::from(text.len() as u32) / prompt.length().as_secs_f64();
            assert!((10.0..30.0).contains(&letters), "{file}: {letters}");
            for codec in CODECS {
                assert!(loudest(&heard(codec, frames(&prompt, codec))) > 15_000, "{file} {codec:?}");
            }
        }
    }

    #[test]
    fn the_standard_prompts_are_those_that_ship() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("config/prompts");
        let of = |file| Prompt::of_wav(&std::fs::read(folder.join(file)).unwrap()).unwrap();
        assert_eq!(*Standard::PressOne.prompt(), of("press-one.wav"));
        assert_eq!(*Standard::Greeting.prompt(), of("greeting.wav"));
        assert_eq!(Standard::Tone.prompt().length(), Duration::from_millis(400));
        let index = std::fs::read_to_string(folder.join("index.toml")).unwrap();
        for text in Standard::ALL.into_iter().filter_map(Standard::text) {
            assert!(index.contains(&format!("\"{text}\"")), "{text}");
        }
        assert!(Arc::ptr_eq(&Standard::Tone.prompt(), &Standard::Tone.prompt()));
    }
}
