//! What is said to callers.

use crate::media::g711;
use crate::sip::sdp::audio::Codec;

/// Something that is said, in frames of 20 ms of each codec.
#[derive(Debug, Default)]
pub struct Prompt {
    pcmu: Box<[u8]>,
}

impl Prompt {
    pub fn of_samples(samples: &[i16]) -> Prompt {
        Prompt { pcmu: samples.iter().map(|sample| g711::encode_pcmu(*sample)).collect() }
    }

    pub fn frame(&self, _codec: Codec, number: u32) -> Option<&[u8]> {
        self.pcmu.chunks_exact(160).nth(number as usize)
    }

    pub fn frames(&self) -> u32 {
        (self.pcmu.len() / 160) as u32
    }
}
