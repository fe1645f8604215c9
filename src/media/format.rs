//! PURE. What a side and we have agreed on: the formats of its audio, and where it is.

use std::borrow::Cow;
use std::net::IpAddr;

use smallvec::SmallVec;

use super::latch::Place;
use super::quality;
use crate::sip::sdp::audio::Codec;

/// A format that a side and we agreed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Format {
    pub codec: Codec,
    /// `OPUS/48000/2`: formats of two sides are the same by it.
    pub name: Box<[u8]>,
    /// Rate of its timestamps in Hz.
    pub clock: u32,
    /// The payload type by which we said that it comes to us, and that by which the side said so (RFC 3264 §5.1).
    pub ours: u8,
    pub theirs: u8,
}

/// Names of codecs beyond this are cut off: an agent's phone writes what it likes.
const LONGEST_NAME: usize = 32;

impl Format {
    /// As registries write it: `PCMU`, `opus`.
    pub fn codec_name(&self) -> Cow<'static, str> {
        match self.codec {
            Codec::Pcmu => Cow::Borrowed("PCMU"),
            Codec::Pcma => Cow::Borrowed("PCMA"),
            Codec::G722 => Cow::Borrowed("G722"),
            Codec::Event => Cow::Borrowed("telephone-event"),
            Codec::Other if self.rated() == quality::Codec::Opus => Cow::Borrowed("opus"),
            Codec::Other => {
                let name = self.name.split(|byte| *byte == b'/').next().unwrap_or_default();
                let shown = name.iter().filter(|byte| byte.is_ascii_graphic()).take(LONGEST_NAME);
                Cow::Owned(shown.map(|byte| char::from(*byte)).collect())
            }
        }
    }

    /// By what its losses are rated.
    pub fn rated(&self) -> quality::Codec {
        match self.codec {
            Codec::Pcmu => quality::Codec::Pcmu,
            Codec::Pcma => quality::Codec::Pcma,
            Codec::G722 => quality::Codec::G722,
            Codec::Other if self.name.starts_with(b"OPUS/") => quality::Codec::Opus,
            Codec::Event | Codec::Other => quality::Codec::Other,
        }
    }
}

/// What the descriptions of a side and ours say together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agreed {
    /// None: it can hear nothing.
    pub place: Option<Place>,
    /// It wants to hear nobody just now (RFC 3264 §8.4): nothing is sent to it but our reports.
    pub is_held: bool,
    /// In the order in which they are wanted.
    pub formats: SmallVec<[Format; 3]>,
    /// How many offers the side has made so far: with each it may speak from somewhere else, whatever it says.
    pub offers: u32,
    /// Whence the last of its requests within the call came: behind a NAT it may have come to another address.
    pub signals: Option<IpAddr>,
}

impl Agreed {
    /// Whether a word can be said in it.
    pub fn speaks(&self) -> bool {
        self.formats.iter().any(|format| format.codec != Codec::Event)
    }
}
