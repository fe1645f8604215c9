//! Sound files (RIFF WAVE) of any usual kind, as mono samples at the two rates that telephones speak.
//!
//! `hound` reads PCM and float, G.711 is read here, `rubato` resamples. A file is read in one pass: beside its bytes and
//! the samples that come out, no more is held than two chunks of at most two seconds.

use std::io::Read;
use std::time::Duration;

use hound::{SampleFormat, WavReader};
use rubato::audioadapter_buffers::owned::InterleavedOwned;
use rubato::{Fft, FixedSync, Indexing, Resampler};

use super::g711;

/// What PCMU and PCMA carry, and what G.722 does, in Hz.
pub const NARROW: u32 = 8_000;
pub const WIDE: u32 = 16_000;

/// Ten minutes at the usual 48 kHz in stereo are 110 MiB as 16 bits; as a telephone hears them, 10.
pub const LARGEST: usize = 64 << 20;
/// A greeting of ten minutes is a mistake; with what it becomes, it takes 40 MiB.
pub const LONGEST: Duration = Duration::from_secs(600);

/// From speech that one can still follow to the best of sound cards.
const RATES: std::ops::RangeInclusive<u32> = 4_000..=192_000;
/// Up to what a film has: more is no prompt.
const CHANNELS: std::ops::RangeInclusive<u16> = 1..=8;
/// The length of a section that is as long as the rest of the file.
const UNKNOWN: u32 = u32::MAX;
/// Programs write a handful of sections before the sound; a file of nothing else is not searched for ever.
const MOST_SECTIONS: usize = 1_000;

/// The resampler works on so much sound at a time, in ms: its filter is as long, and so is sharp.
const CHUNK_MS: u32 = 64;

/// Format tags (RFC 2361, and the one whose true tag comes later).
const PCM: u16 = 1;
const FLOAT: u16 = 3;
const ALAW: u16 = 6;
const MULAW: u16 = 7;
const EXTENSIBLE: u16 = 0xfffe;

/// Mono sound at both rates, of the same length.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sound {
    /// At 8,000 Hz.
    pub narrow: Vec<i16>,
    /// At 16,000 Hz.
    pub wide: Vec<i16>,
}

/// Why a file is no sound that we can say.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WavError {
    #[error("it is empty; write a WAV file")]
    Empty,
    #[error("it is no WAV file; convert it to one: 16-bit PCM, 8 or 16 kHz, mono")]
    NotWav,
    #[error("it has {} MiB; {} at most, a telephone needs 16-bit PCM at 8 or 16 kHz in mono",
        bytes.div_ceil(1 << 20), LARGEST >> 20)]
    TooLarge { bytes: u64 },
    #[error("it lasts {} s; {} at most", .0.as_secs(), LONGEST.as_secs())]
    TooLong(Duration),
    #[error(
        "it is cut off: its {section} should have {said} bytes and {there} are there; write the file anew"
    )]
    CutOff { section: &'static str, said: u32, there: usize },
    #[error("it does not say its format (no `fmt ` before the sound); write the file anew")]
    NoFormat,
    #[error("there is no sound in it; record or synthesise it anew")]
    NoSound,
    #[error("its format {0:#06x} is none that is read; convert it to 16-bit PCM")]
    Unknown(u16),
    #[error(
        "it has samples of {0} bits; convert it to PCM of 16 bits (8, 24, 32 and float of 32 are read too)"
    )]
    Bits(u16),
    #[error("it has {0} channels; {least} to {most} are read, one is enough",
        least = CHANNELS.start(), most = CHANNELS.end())]
    Channels(u16),
    #[error("it has {0} samples a second; {least} to {most} are read, convert it to 8,000 or 16,000",
        least = RATES.start(), most = RATES.end())]
    Rate(u32),
    #[error("its header contradicts itself ({0}); write the file anew")]
    Broken(&'static str),
    #[error("it cannot be resampled: {0}; convert it to 8,000 or 16,000 samples a second")]
    Resampler(String),
}

/// Reads a whole file.
pub fn read(file: &[u8]) -> Result<Sound, WavError> {
    if file.len() > LARGEST {
        return Err(WavError::TooLarge { bytes: file.len() as u64 });
    }
    let layout = Layout::of(file)?;
    let mut out = Out::new(layout.rate)?;
    match layout.coding {
        Coding::Law(decode) => {
            let mut mix = Mix::of(layout.channels);
            let mut mono = layout.sound.iter().filter_map(|byte| mix.add(scaled(decode(*byte), 16)));
            mono.try_for_each(|mono| out.push(mono))?;
        }
        Coding::Linear => linear(&layout, &mut out)?,
    }
    out.finish()
}

/// What `hound` reads. It is given the format and the sound alone: it stumbles over some of the sections that programs add,
/// and over some of the lengths that they give their format.
fn linear(layout: &Layout<'_>, out: &mut Out) -> Result<(), WavError> {
    let length = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX).to_le_bytes();
    let (format, sound) = (&layout.format, layout.sound);
    let all = length(format.len() + sound.len() + 20);
    let mut head = [&b"RIFF"[..], &all, b"WAVEfmt ", &length(format.len()), format].concat();
    head.extend([&b"data"[..], &length(sound.len())].concat());
    let mut reader = WavReader::new(head.as_slice().chain(sound)).map_err(broken)?;
    let spec = reader.spec();
    let mut mix = Mix::of(layout.channels);
    match spec.sample_format {
        SampleFormat::Int => reader.samples::<i32>().try_for_each(|sample| {
            let sample = scaled(sample.map_err(broken)?, spec.bits_per_sample);
            mix.add(sample).map_or(Ok(()), |mono| out.push(mono))
        }),
        SampleFormat::Float => reader.samples::<f32>().try_for_each(|sample| {
            let sample = sample.map_err(broken)?;
            let sample = if sample.is_finite() { sample.clamp(-1.0, 1.0) } else { 0.0 };
            mix.add(sample).map_or(Ok(()), |mono| out.push(mono))
        }),
    }
}

/// A whole sample as a part of full scale.
fn scaled<S: Into<i32>>(sample: S, bits: u16) -> f32 {
    sample.into() as f32 / (1u64 << (bits.clamp(1, 32) - 1)) as f32
}

fn broken(error: hound::Error) -> WavError {
    WavError::Broken(match error {
        hound::Error::FormatError(what) => what,
        hound::Error::IoError(_) => "it ends within a sample",
        hound::Error::Unsupported => "a kind of samples that is not read",
        hound::Error::TooWide | hound::Error::InvalidSampleFormat | hound::Error::UnfinishedSample => {
            "its samples are not of the size that it says"
        }
    })
}

/// Channels become one, in which they are heard alike.
struct Mix {
    channels: u16,
    sum: f32,
    have: u16,
}

impl Mix {
    const fn of(channels: u16) -> Mix {
        Mix { channels, sum: 0.0, have: 0 }
    }

    /// The last channel's sample makes one of all.
    fn add(&mut self, sample: f32) -> Option<f32> {
        (self.sum, self.have) = (self.sum + sample, self.have + 1);
        let mono = (self.have == self.channels).then(|| self.sum / f32::from(self.channels));
        if mono.is_some() {
            (self.sum, self.have) = (0.0, 0);
        }
        mono
    }
}

/// Where everything is, as far as the header is true.
struct Layout<'a> {
    coding: Coding,
    /// As `hound` reads it.
    format: Vec<u8>,
    channels: u16,
    rate: u32,
    sound: &'a [u8],
}

enum Coding {
    Linear,
    Law(fn(u8) -> i16),
}

impl<'a> Layout<'a> {
    fn of(file: &'a [u8]) -> Result<Layout<'a>, WavError> {
        if file.is_empty() {
            return Err(WavError::Empty);
        }
        let (head, mut rest) = file.split_first_chunk::<12>().ok_or(WavError::NotWav)?;
        if !head.starts_with(b"RIFF") || !head.ends_with(b"WAVE") {
            return Err(WavError::NotWav);
        }
        let mut format = None;
        for _ in 0..MOST_SECTIONS {
            let Some(([n0, n1, n2, n3, size @ ..], body)) = rest.split_first_chunk::<8>() else {
                return Err(if format.is_some() { WavError::NoSound } else { WavError::NoFormat });
            };
            let (name, said) = ([*n0, *n1, *n2, *n3], u32::from_le_bytes(*size));
            let length = usize::try_from(said).unwrap_or(usize::MAX);
            let section = match &name {
                b"fmt " => "format",
                b"data" => "sound",
                _ => "section",
            };
            // Written into a pipe: the program could not come back to say how long the sound is.
            let length = if section == "sound" && said == UNKNOWN { body.len() } else { length };
            let inside = body.get(..length).ok_or(WavError::CutOff { section, said, there: body.len() })?;
            match &name {
                b"fmt " => format = Some(Format::of(inside)?),
                b"data" => return format.ok_or(WavError::NoFormat)?.layout(inside),
                _ => {}
            }
            // Sections begin at even places; some programs leave the filling out where a file ends.
            rest = body.get(length + length % 2..).unwrap_or_default();
        }
        Err(WavError::NoSound)
    }
}

/// What the section `fmt ` says.
struct Format {
    /// The true one.
    tag: u16,
    channels: u16,
    rate: u32,
    /// Bytes of a sample of every channel.
    block: u16,
    bits: u16,
    /// The section as `hound` reads it: a plain one without what a program added.
    section: Vec<u8>,
}

impl Format {
    /// How long an extensible one is.
    const EXTENSIBLE_LEN: usize = 40;

    fn of(section: &[u8]) -> Result<Format, WavError> {
        let word = |at: usize| {
            let bytes = section.get(at..at + 2).and_then(|bytes| bytes.first_chunk());
            bytes.map(|bytes| u16::from_le_bytes(*bytes)).ok_or(WavError::Broken("its format is cut short"))
        };
        let written = word(0)?;
        let is_extensible = written == EXTENSIBLE;
        let tag = if is_extensible { word(24)? } else { written };
        let (channels, block, bits) = (word(2)?, word(12)?, word(14)?);
        let rate = u32::from(word(4)?) | u32::from(word(6)?) << 16;
        let section = if is_extensible {
            let whole = section.get(..Self::EXTENSIBLE_LEN).map(<[u8]>::to_vec);
            whole.ok_or(WavError::Broken("its format is cut short"))?
        } else {
            let bytes_per_second = rate.wrapping_mul(block.into());
            let mut plain = [tag, channels].map(u16::to_le_bytes).concat();
            plain.extend([rate, bytes_per_second].map(u32::to_le_bytes).concat());
            plain.extend([block, bits].map(u16::to_le_bytes).concat());
            plain
        };
        Ok(Format { tag, channels, rate, block, bits, section })
    }

    fn layout(self, sound: &[u8]) -> Result<Layout<'_>, WavError> {
        let coding = match self.tag {
            PCM | FLOAT => Coding::Linear,
            ALAW => Coding::Law(g711::decode_pcma),
            MULAW => Coding::Law(g711::decode_pcmu),
            other => return Err(WavError::Unknown(other)),
        };
        let are_fit = match self.tag {
            PCM => matches!(self.bits, 8 | 16 | 24 | 32),
            FLOAT => self.bits == 32,
            _ => self.bits == 8,
        };
        if !CHANNELS.contains(&self.channels) {
            return Err(WavError::Channels(self.channels));
        }
        if !RATES.contains(&self.rate) {
            return Err(WavError::Rate(self.rate));
        }
        if !are_fit {
            return Err(WavError::Bits(self.bits));
        }
        let (block, least) = (usize::from(self.block), usize::from(self.channels * (self.bits / 8)));
        let is_packed = block == least || block > least && matches!(coding, Coding::Linear);
        if !is_packed || block % usize::from(self.channels) != 0 {
            return Err(WavError::Broken("its samples do not fill their places"));
        }
        let frames = sound.len() / block;
        if frames == 0 {
            return Err(WavError::NoSound);
        }
        let length = Duration::from_secs_f64(frames as f64 / f64::from(self.rate));
        if length > LONGEST {
            return Err(WavError::TooLong(length));
        }
        Ok(Layout { coding, format: self.section, channels: self.channels, rate: self.rate, sound })
    }
}

/// Both rates, as they come out.
struct Out {
    narrow: Track,
    wide: Track,
}

impl Out {
    fn new(rate: u32) -> Result<Out, WavError> {
        Ok(Out { narrow: Track::new(rate, NARROW)?, wide: Track::new(rate, WIDE)? })
    }

    /// A mono sample, −1 to 1.
    fn push(&mut self, sample: f32) -> Result<(), WavError> {
        self.narrow.push(sample)?;
        self.wide.push(sample)
    }

    fn finish(self) -> Result<Sound, WavError> {
        Ok(Sound { narrow: self.narrow.finish()?, wide: self.wide.finish()? })
    }
}

/// One rate.
enum Track {
    /// The file's own.
    Same(Vec<i16>),
    Resampled(Box<Resampled>),
}

struct Resampled {
    resampler: Fft<f32>,
    /// What waits for a whole chunk.
    chunk: Vec<f32>,
    chunk_len: usize,
    /// How many samples went in, and are to come out for each.
    taken: u64,
    ratio: f64,
    /// Samples that only the filter's delay made.
    to_skip: usize,
    out: Vec<i16>,
}

impl Track {
    fn new(from: u32, to: u32) -> Result<Track, WavError> {
        if from == to {
            return Ok(Track::Same(Vec::new()));
        }
        // An even number of samples: the filter's delay is half of them.
        let least = 2 * from / common_divisor(from, to);
        let chunk = (from * CHUNK_MS / 1_000).next_multiple_of(least) as usize;
        let resampler = Fft::new(from as usize, to as usize, chunk, 1, FixedSync::Both).map_err(unfit)?;
        let (chunk_len, to_skip) = (resampler.input_frames_max(), resampler.output_delay());
        Ok(Track::Resampled(Box::new(Resampled {
            chunk: Vec::with_capacity(chunk_len),
            chunk_len,
            resampler,
            taken: 0,
            ratio: f64::from(to) / f64::from(from),
            to_skip,
            out: Vec::new(),
        })))
    }

    fn push(&mut self, sample: f32) -> Result<(), WavError> {
        match self {
            Track::Same(out) => out.push(whole(sample)),
            Track::Resampled(track) => track.push(sample)?,
        }
        Ok(())
    }

    fn finish(self) -> Result<Vec<i16>, WavError> {
        match self {
            Track::Same(out) => Ok(out),
            Track::Resampled(track) => track.finish(),
        }
    }
}

impl Resampled {
    fn push(&mut self, sample: f32) -> Result<(), WavError> {
        self.taken += 1;
        self.chunk.push(sample);
        if self.chunk.len() == self.chunk_len { self.turn() } else { Ok(()) }
    }

    /// Resamples what waits, filled with silence up to a whole chunk.
    fn turn(&mut self) -> Result<(), WavError> {
        let have = self.chunk.len();
        self.chunk.resize(self.chunk_len, 0.0);
        let chunk = std::mem::replace(&mut self.chunk, Vec::with_capacity(self.chunk_len));
        let input = InterleavedOwned::new_from(chunk, 1, self.chunk_len).map_err(unfit)?;
        let indexing = Indexing::new().partial_len(have);
        let made = self.resampler.process(&input, Some(&indexing)).map_err(unfit)?.take_data();
        let skipped = self.to_skip.min(made.len());
        self.to_skip -= skipped;
        self.out.extend(made.into_iter().skip(skipped).map(whole));
        Ok(())
    }

    fn finish(mut self) -> Result<Vec<i16>, WavError> {
        let wanted = (self.taken as f64 * self.ratio).ceil() as usize;
        // What went in last comes out after the filter's delay, which is shorter than two chunks.
        for _ in 0..3 {
            if self.out.len() < wanted {
                self.turn()?;
            }
        }
        self.out.resize(wanted, 0);
        Ok(self.out)
    }
}

/// The greatest one (Euclid).
const fn common_divisor(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { common_divisor(b, a % b) }
}

fn unfit(error: impl std::fmt::Display) -> WavError {
    WavError::Resampler(error.to_string())
}

/// A part of full scale as 16 bits.
fn whole(sample: f32) -> i16 {
    (sample * 32_768.0).round().clamp(-32_768.0, 32_767.0) as i16
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What a file is made of. `bits` are those of a place; the format is 16 bytes long, or as an extensible one is.
    #[derive(Clone, Copy, Debug)]
    struct Kind {
        tag: u16,
        bits: u16,
        channels: u16,
        rate: u32,
        is_extensible: bool,
    }

    const PLAIN: Kind = Kind { tag: PCM, bits: 16, channels: 1, rate: 8_000, is_extensible: false };

    impl Kind {
        fn format(&self) -> Vec<u8> {
            let block = self.channels * (self.bits / 8);
            let tag = if self.is_extensible { EXTENSIBLE } else { self.tag };
            let mut format = [tag, self.channels].map(u16::to_le_bytes).concat();
            format.extend([self.rate, self.rate * u32::from(block)].map(u32::to_le_bytes).concat());
            format.extend([block, self.bits].map(u16::to_le_bytes).concat());
            if self.is_extensible {
                format.extend([22, self.bits].map(u16::to_le_bytes).concat());
                format.extend(0u32.to_le_bytes());
                format.extend(self.tag.to_le_bytes());
                format.extend([0, 0, 0, 0, 0x10, 0, 0x80, 0, 0, 0xaa, 0, 0x38, 0x9b, 0x71]);
            }
            format
        }

        fn sample(&self, part: f64) -> Vec<u8> {
            let full = |bits: u32| (part * (1i64 << (bits - 1)) as f64) as i32;
            match (self.tag, self.bits) {
                (FLOAT, _) => (part as f32).to_le_bytes().to_vec(),
                (ALAW, _) => vec![g711::encode_pcma(full(16) as i16)],
                (MULAW, _) => vec![g711::encode_pcmu(full(16) as i16)],
                (_, 8) => vec![(full(8) + 128) as u8],
                (_, bits) => full(bits.into()).to_le_bytes()[..usize::from(bits / 8)].to_vec(),
            }
        }

        /// A second of a tone of 440 Hz, the same in every channel.
        fn file(&self) -> Vec<u8> {
            let one = |n| self.sample(tone(n, self.rate)).repeat(self.channels.into());
            riff(&[(b"fmt ", self.format()), (b"data", (0..self.rate).flat_map(one).collect())])
        }
    }

    fn tone(n: u32, rate: u32) -> f64 {
        0.5 * (std::f64::consts::TAU * 440.0 * f64::from(n) / f64::from(rate)).sin()
    }

    fn riff(sections: &[(&[u8; 4], Vec<u8>)]) -> Vec<u8> {
        let mut inside = b"WAVE".to_vec();
        for (name, bytes) in sections {
            inside.extend(**name);
            inside.extend((bytes.len() as u32).to_le_bytes());
            inside.extend(bytes);
            inside.extend(bytes.iter().take(bytes.len() % 2).map(|_| 0));
        }
        [b"RIFF", &(inside.len() as u32).to_le_bytes()[..], &inside].concat()
    }

    /// How much of the sound is not that tone, as a part of its power; the edges, where a filter swings, do not count.
    fn noise(samples: &[i16], rate: u32) -> f64 {
        let inner = samples.len() / 10..samples.len() * 9 / 10;
        let both = inner.map(|n| (tone(n as u32, rate) * 32_768.0, f64::from(samples[n])));
        let (off, all) = both
            .fold((0.0, 0.0), |(off, all), (said, heard)| (off + (said - heard).powi(2), all + said.powi(2)));
        off / all
    }

    #[track_caller]
    fn sounds(kind: Kind, most_noise: f64) {
        let sound = read(&kind.file()).unwrap_or_else(|error| panic!("{kind:?}: {error}"));
        assert_eq!((sound.narrow.len(), sound.wide.len()), (8_000, 16_000), "{kind:?}");
        let noise = noise(&sound.narrow, NARROW).max(noise(&sound.wide, WIDE));
        assert!(noise < most_noise, "{kind:?}: {noise}");
    }

    #[test]
    fn every_usual_kind_is_read() {
        for is_extensible in [false, true] {
            for (tag, bits, noise) in [
                (PCM, 8, 1e-3),
                (PCM, 16, 1e-5),
                (PCM, 24, 1e-5),
                (PCM, 32, 1e-5),
                (FLOAT, 32, 1e-5),
                (ALAW, 8, 1e-3),
                (MULAW, 8, 1e-3),
            ] {
                for channels in [1, 2, 8] {
                    sounds(Kind { tag, bits, channels, rate: 8_000, is_extensible }, noise);
                }
            }
        }
    }

    #[test]
    fn every_rate_is_resampled_and_none_is_late() {
        for rate in
            [4_000, 7_919, 8_000, 11_025, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 96_000, 192_000]
        {
            sounds(Kind { rate, ..PLAIN }, 1e-4);
        }
    }

    #[test]
    fn what_a_telephone_cannot_carry_does_not_come_back_as_another_tone() {
        let high = |n: u32| 0.5 * (std::f64::consts::TAU * 9_000.0 * f64::from(n) / 48_000.0).sin();
        let kind = Kind { rate: 48_000, ..PLAIN };
        let samples = (0..48_000).flat_map(|n| kind.sample(high(n))).collect();
        let sound = read(&riff(&[(b"fmt ", kind.format()), (b"data", samples)])).unwrap();
        let loudest = |samples: &[i16]| samples[800..7_200].iter().map(|sample| sample.unsigned_abs()).max();
        assert!(loudest(&sound.narrow) < Some(50), "{:?}", loudest(&sound.narrow));
        assert!(loudest(&sound.wide) < Some(50), "{:?}", loudest(&sound.wide));
    }

    #[test]
    fn channels_are_mixed_and_other_sections_passed_over() {
        let kind = Kind { channels: 2, ..PLAIN };
        let samples = [1_000i16, 3_000, -2_000, 0].map(i16::to_le_bytes).concat();
        let file = riff(&[
            (b"LIST", b"odd".to_vec()),
            (b"fmt ", kind.format()),
            (b"fact", vec![0; 4]),
            (b"data", samples.clone()),
            (b"id3 ", vec![1; 3]),
        ]);
        assert_eq!(read(&file).unwrap().narrow, [2_000, -1_000]);
        let added = [kind.format(), vec![2, 0, 7, 7]].concat();
        assert_eq!(read(&riff(&[(b"fmt ", added), (b"data", samples)])).unwrap().narrow, [2_000, -1_000]);
    }

    #[test]
    fn one_that_was_written_into_a_pipe_ends_where_the_file_does() {
        let mut file = PLAIN.file();
        file[4..8].fill(0xff);
        file[40..44].fill(0xff);
        assert_eq!(read(&file), read(&PLAIN.file()));
    }

    #[test]
    fn floats_that_are_none_are_silence_and_loud_ones_are_cut() {
        let kind = Kind { tag: FLOAT, bits: 32, ..PLAIN };
        let samples = [f32::NAN, f32::INFINITY, 7.0, -7.0].map(f32::to_le_bytes).concat();
        let file = riff(&[(b"fmt ", kind.format()), (b"data", samples)]);
        assert_eq!(read(&file).unwrap().narrow, [0, 0, i16::MAX, i16::MIN]);
    }

    #[test]
    fn what_is_no_sound_is_refused_with_what_would_be_right() {
        let with = |kind: Kind, sound: usize| riff(&[(b"fmt ", kind.format()), (b"data", vec![0; sound])]);
        let good = PLAIN.file();
        let longest = LONGEST.as_secs() as usize * 8_000;
        let bytes_8 = Kind { bits: 8, ..PLAIN };
        for (file, said) in [
            (vec![], "it is empty; write a WAV file"),
            (b"RIFF".to_vec(), "it is no WAV file; convert it to one: 16-bit PCM, 8 or 16 kHz, mono"),
            (b"ID3\x04 and so on, an MP3".to_vec(), "it is no WAV file; "),
            (good[..12].to_vec(), "it does not say its format"),
            (good[..36].to_vec(), "there is no sound in it"),
            (good[..400].to_vec(), "it is cut off: its sound should have 16000 bytes and 356 are there"),
            (good[..30].to_vec(), "it is cut off: its format should have 16 bytes and 10 are there"),
            (riff(&[(b"data", vec![0; 9])]), "it does not say its format"),
            (
                riff(&[(b"fmt ", vec![1, 0]), (b"data", vec![0; 9])]),
                "its header contradicts itself (its format is",
            ),
            (with(PLAIN, 0), "there is no sound in it"),
            (with(PLAIN, 1), "there is no sound in it"),
            (with(PLAIN, 3), "its header contradicts itself (data chunk length is not"),
            (
                with(Kind { tag: 0x55, ..PLAIN }, 8),
                "its format 0x0055 is none that is read; convert it to 16-bit PCM",
            ),
            (with(Kind { tag: 2, ..PLAIN }, 8), "its format 0x0002 "),
            (with(Kind { bits: 12, ..PLAIN }, 8), "it has samples of 12 bits; convert"),
            (with(Kind { tag: FLOAT, bits: 64, ..PLAIN }, 8), "it has samples of 64 bits"),
            (with(Kind { channels: 0, ..PLAIN }, 8), "it has 0 channels; 1 to 8 are read, one is enough"),
            (with(Kind { channels: 9, ..PLAIN }, 18), "it has 9 channels"),
            (with(Kind { rate: 3_999, ..PLAIN }, 8), "it has 3999 samples a second; 4000 to 192000 are read"),
            (with(Kind { rate: 192_001, ..PLAIN }, 8), "it has 192001 samples a second"),
            (with(bytes_8, longest + 8_000), "it lasts 601 s; 600 at most"),
            (vec![0; LARGEST + 1], "it has 65 MiB; 64 at most"),
        ] {
            let error = read(&file).map(|sound| sound.narrow.len()).unwrap_err().to_string();
            assert!(error.starts_with(said), "{said}: {error}");
        }
        assert!(Layout::of(&with(bytes_8, longest)).is_ok());
        // An EXTENSIBLE one whose second half is missing, and a block that is too small.
        let mut short = Kind { is_extensible: true, ..PLAIN }.format();
        short.truncate(18);
        assert!(matches!(read(&riff(&[(b"fmt ", short), (b"data", vec![0; 8])])), Err(WavError::Broken(_))));
        let mut small = PLAIN.format();
        small[12] = 1;
        assert!(matches!(read(&riff(&[(b"fmt ", small), (b"data", vec![0; 8])])), Err(WavError::Broken(_))));
    }

    #[test]
    fn a_header_of_sections_only_is_not_read_for_ever() {
        let file = riff(&vec![(b"junk", vec![]); MOST_SECTIONS + 1]);
        assert_eq!(read(&file), Err(WavError::NoSound));
    }

    /// Whatever it holds, what comes out is bounded by what goes in, and by ten minutes.
    fn is_bounded(file: &[u8]) -> bool {
        read(file).map_or(true, |sound| {
            let most = (file.len() * 4).min(LONGEST.as_secs() as usize * 16_000) + 4;
            sound.wide.len() <= most && sound.narrow.len() <= most
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(is_bounded(&bytes));
            prop_assert!(is_bounded(&[b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0", &bytes[..]].concat()));
            prop_assert!(is_bounded(&[b"RIFF\0\0\0\0WAVEfmt \x28\0\0\0\xfe\xff", &bytes[..]].concat()));
        }

        #[test]
        fn a_header_that_lies_anywhere_is_read_or_refused(
            tag in proptest::sample::select(vec![PCM, FLOAT, ALAW, MULAW]),
            bits in proptest::sample::select(vec![8u16, 16, 24, 32]),
            channels in 1u16..9,
            is_extensible: bool,
            sound in proptest::collection::vec(any::<u8>(), 0..300),
            lies in proptest::collection::vec((0usize..80, any::<u8>()), 0..4),
            cut in 0usize..400,
        ) {
            let kind = Kind { tag, bits, channels, rate: 11_025, is_extensible };
            let mut file = riff(&[(b"fmt ", kind.format()), (b"data", sound)]);
            for (at, lie) in lies {
                if let Some(byte) = file.get_mut(at) {
                    *byte = lie;
                }
            }
            file.truncate(cut.max(20));
            prop_assert!(is_bounded(&file));
        }
    }
}
