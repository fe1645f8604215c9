//! What the ends of a trial can hear, and how they know it: by its very frames. The node says its prompts, and passes on
//! what the other end says, as they are encoded.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use crate::media::g711::decode_pcmu;
use crate::media::prompt::{FRAME_BYTES, Prompt, Standard};
use crate::routing::{Plan, Voices};
use crate::sip::sdp::audio::Codec;

/// So many frames of a sound are no accident: 100 ms.
const KNOWN_BY: u32 = 5;
/// A sound that is not heard for so long is over: the pause between two "press 1" is longer, and no pause of speech is.
const OVER: Duration = Duration::from_secs(1);
/// Frames that are softer are the silence between words, which all sounds share.
const SOFT: u16 = 500;

/// Something that can be heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Sound {
    Whisper,
    PressOne,
    Notice,
    Greeting,
    Tone,
    /// What the caller says.
    Caller,
    /// What the phone says that is called.
    Phone,
}

/// What the caller says, and what the phone: PCMU frames of both.
pub(super) fn speech(of: Sound) -> Arc<Prompt> {
    static CALLER: LazyLock<Arc<Prompt>> = LazyLock::new(|| shipped(include_bytes!("caller.wav")));
    static PHONE: LazyLock<Arc<Prompt>> = LazyLock::new(|| shipped(include_bytes!("phone.wav")));
    Arc::clone(if of == Sound::Caller { &CALLER } else { &PHONE })
}

/// A file of ours, which a test has read.
fn shipped(file: &[u8]) -> Arc<Prompt> {
    Arc::new(Prompt::of_wav(file).unwrap_or_else(|_| Prompt::tone(440, OVER)))
}

/// What a call to a number may say, by its frames.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// None: several sounds have this frame.
    frames: HashMap<[u8; FRAME_BYTES], Option<Sound>>,
    /// How long what is said before the two talk lasts, and what is said before a message.
    pub notice: Duration,
    pub greeting: Duration,
    pub whisper: Duration,
    pub press_one: Duration,
}

impl Known {
    pub fn of(plan: &Plan, voices: &Voices) -> Known {
        let voice = |prompt: Option<&crate::routing::Prompt>| voices.get(prompt?).cloned();
        let mut known = Known::default();
        let mut learn = |sound, prompt: Option<Arc<Prompt>>| {
            prompt.map_or(Duration::ZERO, |prompt| known.learn(sound, &prompt))
        };
        let whisper = learn(Sound::Whisper, voice(plan.whisper.as_ref()));
        let press_one = learn(Sound::PressOne, plan.call_connect.map(|_| Standard::PressOne.prompt()));
        let notice = learn(Sound::Notice, voice(plan.record_notice.as_ref()).filter(|_| plan.record));
        let greeting = plan.voicemail.as_ref().map(|voicemail| {
            voice(voicemail.greeting.as_ref()).unwrap_or_else(|| Standard::Greeting.prompt())
        });
        let tone = greeting.as_ref().map(|_| Standard::Tone.prompt());
        let greeting = learn(Sound::Greeting, greeting) + learn(Sound::Tone, tone);
        for speaker in [Sound::Caller, Sound::Phone] {
            learn(speaker, Some(speech(speaker)));
        }
        Known { whisper, press_one, notice, greeting, ..known }
    }

    /// Gives back how long it lasts.
    fn learn(&mut self, sound: Sound, prompt: &Prompt) -> Duration {
        let frames = (0..).map_while(|number| prompt.frame(Codec::Pcmu, number)?.try_into().ok());
        for frame in frames.filter(is_loud) {
            let known = self.frames.entry(frame).or_insert(Some(sound));
            *known = known.filter(|known| *known == sound);
        }
        prompt.length()
    }
}

fn is_loud(frame: &[u8; FRAME_BYTES]) -> bool {
    frame.iter().any(|byte| decode_pcmu(*byte).unsigned_abs() >= SOFT)
}

/// One end's.
#[derive(Debug)]
pub(super) struct Ear {
    known: Arc<Known>,
    heard: HashMap<Sound, (u32, Instant)>,
}

impl Ear {
    pub fn new(known: Arc<Known>) -> Ear {
        Ear { known, heard: HashMap::new() }
    }

    /// The payload of a packet of PCMU. What it is of, when that is clear and was not told; it is told anew when it was
    /// over and begins again.
    pub fn hear(&mut self, now: Instant, payload: &[u8]) -> Option<Sound> {
        let sound = (*self.known.frames.get(payload.first_chunk::<FRAME_BYTES>()?)?)?;
        let (frames, last) = self.heard.entry(sound).or_insert((0, now));
        *frames = if now.duration_since(*last) > OVER { 1 } else { *frames + 1 };
        *last = now;
        (*frames == KNOWN_BY).then_some(sound)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(prompt: &Prompt) -> Vec<&[u8]> {
        (0..).map_while(|number| prompt.frame(Codec::Pcmu, number)).collect()
    }

    fn known(sounds: &[(Sound, Arc<Prompt>)]) -> Arc<Known> {
        let mut known = Known::default();
        for (sound, prompt) in sounds {
            known.learn(*sound, prompt);
        }
        Arc::new(known)
    }

    #[test]
    fn each_sound_is_told_of_once_and_again_when_it_was_over() {
        let press_one = Standard::PressOne.prompt();
        let known = known(&[
            (Sound::PressOne, press_one.clone()),
            (Sound::Caller, speech(Sound::Caller)),
            (Sound::Phone, speech(Sound::Phone)),
        ]);
        let mut ear = Ear::new(known);
        let mut now = Instant::now();
        let mut told = Vec::new();
        let mut hear = |prompt: &Prompt, now: &mut Instant| {
            for frame in frames(prompt) {
                told.extend(ear.hear(*now, frame));
                *now += Duration::from_millis(20);
            }
        };
        hear(&speech(Sound::Phone), &mut now);
        hear(&press_one, &mut now);
        now += Duration::from_millis(1_500);
        hear(&press_one, &mut now);
        hear(&speech(Sound::Caller), &mut now);
        assert_eq!(told, [Sound::Phone, Sound::PressOne, Sound::PressOne, Sound::Caller]);
    }

    #[test]
    fn what_two_sounds_share_tells_neither_and_silence_none() {
        let tone = Standard::Tone.prompt();
        let known = known(&[(Sound::Whisper, tone.clone()), (Sound::Notice, tone.clone())]);
        let mut ear = Ear::new(known);
        let quiet = [0xff; FRAME_BYTES];
        let all = frames(&tone).into_iter().chain([&quiet[..], &[], b"short"]);
        assert_eq!(all.filter_map(|frame| ear.hear(Instant::now(), frame)).count(), 0);
    }

    #[test]
    fn what_the_ends_say_is_speech_of_a_few_seconds() {
        for speaker in [Sound::Caller, Sound::Phone] {
            let length = speech(speaker).length();
            assert!((Duration::from_secs(1)..Duration::from_secs(4)).contains(&length), "{length:?}");
        }
        assert_ne!(speech(Sound::Caller), speech(Sound::Phone));
    }
}
