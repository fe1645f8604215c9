//! What is said to callers.

use crate::sip::sdp::audio::Codec;

/// Something that is said, in frames of 20 ms of each codec.
#[derive(Debug)]
pub struct Prompt {
    pcmu: Box<[u8]>,
}

impl Prompt {
    pub fn frame(&self, codec: Codec, number: u32) -> Option<&[u8]> {
        let _ = codec;
        self.pcmu.chunks_exact(160).nth(number as usize)
    }
}
