//! PURE. Keys that a side presses as tones in its audio, where it has no telephone events; and keys that we press for the
//! other side: as telephone events (RFC 4733), or as tones where it has none.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use smallvec::SmallVec;

use super::ear::Ear;
use super::event::{Digit, END_PACKETS, Event};
use super::format::Format;
use super::g711;
use super::prompt::{FRAME, Prompt};
use super::rtp::{Packet, Stream, ahead};
use super::tape::Sound;
use super::tone::{KEY_LEVEL, Tones};
use crate::sip::sdp::audio::Codec;
use crate::time::Instant;

/// No more than this is listened to of one packet: 120 ms.
const MOST: usize = 960;

/// A packet that is so far behind came late; one further away is of a source that has begun anew.
const MISORDERED: i16 = -100;

/// More samples than this that are lost (a second) are as good as so many, and silence of more than 100 ms is as good as
/// that.
const LONGEST_GAP: usize = 8_000;
const SILENCE: usize = 800;

/// So many keys wait to be pressed: more than anybody types ahead in the time of one.
const WAITING: usize = 16;

/// How long a tone of ours is, and the pause behind each key: ITU-T Q.24 wants 40 ms of either.
const TONE: Duration = Duration::from_millis(120);
const PAUSE_FRAMES: u8 = 3;

/// How loud the event is said to be: −10 dBm0, as everybody says.
const VOLUME: u8 = 10;

/// Ticks of a packet.
const TICKS: u16 = 160;

/// A side's keys.
#[derive(Debug, Default)]
pub(super) struct Keypad {
    awaits: bool,
    /// Where they are awaited, and the side has no telephone events.
    keys: Option<Box<Keys>>,
    presses: Presses,
}

impl Keypad {
    /// Keys of the side are awaited, or no longer.
    pub fn await_keys(&mut self, awaits: bool, formats: &[Format]) {
        self.awaits = awaits;
        self.agree(formats);
    }

    /// The side has these formats now.
    pub fn agree(&mut self, formats: &[Format]) {
        let tells = formats.iter().any(|format| format.codec == Codec::Event);
        self.keys = (self.awaits && !tells).then(|| self.keys.take().unwrap_or_default());
    }

    /// Whether there is to be listened to the audio.
    pub fn listens(&self) -> bool {
        self.keys.is_some()
    }

    pub fn hear(&mut self, packet: &Packet<'_>, sound: Sound<'_>, heard: impl FnMut(Digit)) {
        if let Some(keys) = &mut self.keys {
            keys.hear(packet, sound, heard);
        }
    }

    /// Presses a key for the side.
    pub fn press(&mut self, digit: Digit, duration: Duration) {
        self.presses.press(digit, duration);
    }

    /// Whether none is being pressed.
    pub fn is_idle(&self) -> bool {
        self.presses.keys.is_empty()
    }

    /// None is pressed any more.
    pub fn give_up(&mut self) {
        self.presses = Presses::default();
    }

    /// Another 20 ms of pressing.
    pub fn tick(
        &mut self,
        now: Instant,
        stream: &mut Stream,
        payload_type: u8,
    ) -> Option<(Packet<'static>, [u8; 4])> {
        self.presses.tick(now, stream, payload_type)
    }
}

/// Who listens for keys in the audio of a side: some 0.7 KB, and 0.01 ms for each packet of speech.
#[derive(Debug, Default)]
struct Keys {
    ear: Ear,
    /// Of the packet before: its source, its number, and the timestamp behind it.
    last: Option<(u32, u16, u32)>,
}

impl Keys {
    /// A packet of speech. Tells of each key once.
    fn hear(&mut self, packet: &Packet<'_>, sound: Sound<'_>, mut heard: impl FnMut(Digit)) {
        let mut samples = [0; MOST];
        let samples = narrow(sound, &mut samples);
        if let Some((ssrc, number, next)) = self.last
            && ssrc == packet.ssrc
        {
            let number = ahead(number, packet.sequence);
            if (MISORDERED..=0).contains(&number) {
                return;
            }
            let lost = usize::try_from(number - 1).unwrap_or(0) * samples.len();
            if lost > 0 {
                self.ear.miss(lost.min(LONGEST_GAP), &mut heard);
            }
            // What nobody sent, though the numbers go on, was silence.
            let gap = usize::try_from(packet.timestamp.wrapping_sub(next).cast_signed()).unwrap_or(0);
            let silence = [0; SILENCE];
            self.ear.hear(&silence[..gap.saturating_sub(lost).min(SILENCE)], &mut heard);
        }
        let next = packet.timestamp.wrapping_add(samples.len() as u32);
        self.last = Some((packet.ssrc, packet.sequence, next));
        self.ear.hear(samples, heard);
    }
}

/// The sound at 8,000 Hz.
fn narrow<'a>(sound: Sound<'_>, into: &'a mut [i16; MOST]) -> &'a [i16] {
    let mut length = 0;
    let mut take = |sample: i16| {
        if let Some(place) = into.get_mut(length) {
            *place = sample;
            length += 1;
        }
    };
    match sound {
        Sound::Pcmu(bytes) => bytes.iter().for_each(|byte| take(g711::decode_pcmu(*byte))),
        Sound::Pcma(bytes) => bytes.iter().for_each(|byte| take(g711::decode_pcma(*byte))),
        Sound::Narrow(samples) => samples.iter().for_each(|sample| take(*sample)),
        // The mean of two leaves a key's tones as they are, to half a dB, and what folds onto them is soft in speech.
        Sound::Wide(samples) => samples
            .as_chunks::<2>()
            .0
            .iter()
            .for_each(|[one, other]| take(((i32::from(*one) + i32::from(*other)) / 2) as i16)),
    }
    &into[..length]
}

/// Keys that we press for a side as telephone events, one after another.
#[derive(Debug, Default)]
struct Presses {
    /// The key and how long it is pressed, in ticks. The first is being pressed.
    keys: SmallVec<[(Digit, u16); 2]>,
    /// How long the first has lasted, how often its end was said, and how long the pause behind it.
    lasted: u16,
    ends: u8,
    paused: u8,
}

impl Presses {
    /// One more. What is too many is lost.
    fn press(&mut self, digit: Digit, duration: Duration) {
        let packets = u16::try_from(duration.as_millis() / FRAME.as_millis()).unwrap_or(u16::MAX).max(2);
        if self.keys.len() < WAITING {
            self.keys.push((digit, packets.saturating_mul(TICKS)));
        }
    }

    /// Another 20 ms: the packet that is sent now. None: a pause.
    fn tick(
        &mut self,
        now: Instant,
        stream: &mut Stream,
        payload_type: u8,
    ) -> Option<(Packet<'static>, [u8; 4])> {
        let (digit, until) = *self.keys.first()?;
        if self.ends >= END_PACKETS {
            self.paused += 1;
            if self.paused >= PAUSE_FRAMES {
                self.keys.remove(0);
                (self.lasted, self.ends, self.paused) = (0, 0, 0);
            }
            return None;
        }
        let begins = self.lasted == 0;
        self.lasted = self.lasted.saturating_add(TICKS).min(until);
        let is_over = self.lasted >= until;
        self.ends += u8::from(is_over);
        let event = Event { code: digit.event(), is_over, volume: VOLUME, duration: self.lasted };
        Some((stream.press(now, payload_type, begins), event.payload()))
    }
}

/// A key as a tone, made once.
pub(super) fn tone(digit: Digit) -> Arc<Prompt> {
    static TONES: [OnceLock<Arc<Prompt>>; 16] = [const { OnceLock::new() }; 16];
    let make = || {
        let narrow: Vec<i16> = Tones::key(digit, KEY_LEVEL, TONE).collect();
        let middle = |pair: &[i16]| i16::midpoint(pair[0], pair[1]);
        let wide = narrow.windows(2).flat_map(|pair| [pair[0], middle(pair)]).collect::<Vec<i16>>();
        Arc::new(Prompt::of_samples(&narrow, &wide))
    };
    match TONES.get(usize::from(digit.event())) {
        Some(known) => Arc::clone(known.get_or_init(make)),
        None => make(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::from_micros(1_000_000 + ms * 1_000)
    }

    fn digit(name: u8) -> Digit {
        Digit::named(name).unwrap()
    }

    /// Packets of 20 ms: each key for 80 ms, 100 ms of silence behind it.
    fn audio(keys: &str) -> Vec<[u8; 160]> {
        let tones = keys.bytes().flat_map(|key| {
            let tone = Tones::key(digit(key), KEY_LEVEL, Duration::from_millis(80));
            tone.chain(std::iter::repeat_n(0, 800))
        });
        let bytes: Vec<u8> = tones.map(g711::encode_pcmu).collect();
        bytes.as_chunks().0.to_vec()
    }

    fn heard<'a>(packets: impl IntoIterator<Item = (u16, u32, &'a [u8; 160])>) -> String {
        let (mut keys, mut told) = (Keys::default(), String::new());
        for (sequence, timestamp, payload) in packets {
            let packet = Packet { marker: false, payload_type: 0, sequence, timestamp, ssrc: 1, payload };
            keys.hear(&packet, Sound::Pcmu(payload), |digit| told.push(digit.name()));
        }
        told
    }

    fn numbered(packets: &[[u8; 160]]) -> Vec<(u16, u32, &[u8; 160])> {
        packets
            .iter()
            .zip(0..)
            .map(|(packet, n): (_, u16)| (65_530u16.wrapping_add(n), u32::from(n) * 160, packet))
            .collect()
    }

    #[test]
    fn keys_are_heard_in_packets_lost_late_and_doubled_ones_too() {
        let packets = audio("12#0A");
        assert_eq!(heard(numbered(&packets)), "12#0A");
        let doubled = numbered(&packets).into_iter().flat_map(|packet| [packet; 2]);
        assert_eq!(heard(doubled), "12#0A");
        // One packet of each press is lost, and one of each silence comes behind the next.
        let mut rough: Vec<_> =
            numbered(&packets).into_iter().enumerate().filter(|(at, _)| at % 9 != 2).collect();
        (6..rough.len()).step_by(8).for_each(|at| rough.swap(at - 1, at));
        assert_eq!(heard(rough.into_iter().map(|(_, packet)| packet)), "12#0A");
    }

    #[test]
    fn the_same_key_twice_is_two_where_the_silence_between_is_not_sent() {
        let packets = audio("11");
        let said = numbered(&packets).into_iter().enumerate().filter(|(at, _)| at % 9 < 5);
        let said =
            said.zip(0..).map(|((_, (_, timestamp, payload)), sequence)| (sequence, timestamp, payload));
        assert_eq!(heard(said), "11");
    }

    #[test]
    fn keys_in_wide_audio_are_heard() {
        let narrow: Vec<i16> = Tones::key(digit(b'D'), KEY_LEVEL, Duration::from_millis(100)).collect();
        let wide: Vec<i16> = narrow.iter().flat_map(|sample| [*sample; 2]).collect();
        let (mut keys, mut told) = (Keys::default(), Vec::new());
        for (samples, sequence) in wide.chunks(320).zip(0..) {
            let timestamp = u32::from(sequence) * 160;
            let packet =
                Packet { marker: false, payload_type: 9, sequence, timestamp, ssrc: 1, payload: &[] };
            keys.hear(&packet, Sound::Wide(samples), |digit| told.push(digit.name()));
        }
        assert_eq!(told, ['D']);
    }

    #[test]
    fn what_we_press_is_an_event_with_one_timestamp_and_three_ends_and_the_next_waits_for_it() {
        let (mut stream, mut presses) = (Stream::new(7, 99, 1_000, 8_000), Presses::default());
        stream.say(at(0), 0, 160, b"");
        presses.press(digit(b'1'), Duration::from_millis(60));
        presses.press(digit(b'#'), Duration::ZERO);
        let mut sent = Vec::new();
        for frame in 1..30 {
            if let Some((packet, payload)) = presses.tick(at(frame * 20), &mut stream, 101) {
                let Event { code, is_over, duration, .. } = Event::read(&payload).unwrap();
                sent.push((packet.sequence, packet.timestamp, packet.marker, code, is_over, duration));
            }
        }
        let one = |sequence, marker, is_over, duration| (sequence, 1_160, marker, 1, is_over, duration);
        assert_eq!(
            sent[..5],
            [
                one(101, true, false, 160),
                one(102, false, false, 320),
                one(103, false, true, 480),
                one(104, false, true, 480),
                one(105, false, true, 480)
            ]
        );
        // A pause of 60 ms, by the clock.
        assert_eq!(sent[5], (106, 1_160 + 8 * 160, true, 11, false, 160));
        assert_eq!((sent.len(), presses.keys.is_empty()), (9, true));
        // Whoever speaks next goes on behind it.
        let next = stream.relay(
            at(600),
            &Packet { marker: false, payload_type: 0, sequence: 9, timestamp: 9, ssrc: 3, payload: b"" },
        );
        assert_eq!((next.sequence, next.timestamp, next.marker), (110, 1_000 + 30 * 160, true));
    }

    #[test]
    fn what_is_typed_ahead_is_bounded() {
        let mut presses = Presses::default();
        (0..100).for_each(|_| presses.press(digit(b'5'), TONE));
        assert_eq!(presses.keys.len(), WAITING);
    }

    #[test]
    fn a_tone_of_ours_is_heard_as_that_key() {
        for name in *b"0123456789*#ABCD" {
            let prompt = tone(digit(name));
            let frames: Vec<[u8; 160]> = (0..prompt.frames())
                .map(|frame| prompt.frame(Codec::Pcmu, frame).unwrap().try_into().unwrap())
                .collect();
            assert_eq!(heard(numbered(&frames)), char::from(name).to_string());
        }
    }
}
