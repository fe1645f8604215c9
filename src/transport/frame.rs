//! Where messages end in a stream (RFC 3261 §18.3), and the keep-alives between them (RFC 5626 §4.4.1).

use std::io;

use bytes::{Buf, Bytes, BytesMut};
use memchr::memmem;
use tokio_util::codec::Decoder;

/// The longest message, the header section and body together: what UDP can carry too.
pub const LONGEST: usize = 65_535;

/// What a stream carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    Message(Bytes),
    /// A double CRLF between messages: the far end asks whether we live, and wants a single CRLF.
    Ping,
    /// A single CRLF between messages: the answer to a ping of ours, or padding.
    Pong,
}

/// Why a stream cannot be read any further. Nobody can say where the next message would begin.
#[derive(Debug, thiserror::Error)]
pub enum Unframed {
    #[error("a message longer than {LONGEST} bytes")]
    TooLong,
    #[error("a Content-Length that is no number")]
    BadLength,
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Cuts a stream into frames. Remembers how far it has looked, so that a message arriving byte by byte is not
/// scanned again from its start each time.
#[derive(Debug, Default)]
pub struct Framer {
    searched: usize,
    /// Once the header section is whole: the length of the whole message.
    wanted: Option<usize>,
}

impl Framer {
    fn keep_alive(buffer: &mut BytesMut) -> Option<Frame> {
        if buffer.starts_with(b"\r\n\r\n") {
            buffer.advance(4);
            return Some(Frame::Ping);
        }
        // A lone CR LF at the end of what has come may be the first half of a ping.
        if buffer.starts_with(b"\r\n") && buffer.len() > 2 && &buffer[2..] != b"\r" {
            buffer.advance(2);
            return Some(Frame::Pong);
        }
        None
    }
}

impl Decoder for Framer {
    type Item = Frame;
    type Error = Unframed;

    fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Frame>, Unframed> {
        if let Some(frame) = Framer::keep_alive(buffer) {
            return Ok(Some(frame));
        }
        if b"\r\n\r".starts_with(buffer) {
            return Ok(None);
        }
        let wanted = match self.wanted {
            Some(wanted) => wanted,
            None => {
                let from = self.searched.saturating_sub(3);
                let Some(end) = memmem::find(&buffer[from..], b"\r\n\r\n") else {
                    self.searched = buffer.len();
                    return if buffer.len() > LONGEST { Err(Unframed::TooLong) } else { Ok(None) };
                };
                let head = from + end + 4;
                head + content_length(&buffer[..head])?
            }
        };
        if wanted > LONGEST {
            return Err(Unframed::TooLong);
        }
        self.wanted = Some(wanted);
        if buffer.len() < wanted {
            buffer.reserve(wanted - buffer.len());
            return Ok(None);
        }
        *self = Framer::default();
        Ok(Some(Frame::Message(buffer.split_to(wanted).freeze())))
    }
}

/// The body's length as a header section says it; 0 where it says nothing.
fn content_length(head: &[u8]) -> Result<usize, Unframed> {
    for line in head.split(|byte| *byte == b'\n') {
        let Some(colon) = memchr::memchr(b':', line) else { continue };
        let name = line[..colon].trim_ascii();
        if name.eq_ignore_ascii_case(b"content-length") || name.eq_ignore_ascii_case(b"l") {
            let value =
                std::str::from_utf8(line[colon + 1..].trim_ascii()).map_err(|_| Unframed::BadLength)?;
            return value.parse().map_err(|_| Unframed::BadLength);
        }
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const INVITE: &[u8] = b"INVITE sip:a@b SIP/2.0\r\nCall-ID: x\r\nContent-Length: 4\r\n\r\nv=0\n";
    const BYE: &[u8] = b"BYE sip:a@b SIP/2.0\r\nCall-ID: x\r\nl: 0\r\n\r\n";

    fn frames(framer: &mut Framer, buffer: &mut BytesMut) -> Vec<Frame> {
        std::iter::from_fn(|| framer.decode(buffer).unwrap()).collect()
    }

    #[test]
    fn a_message_split_at_any_byte_is_one_message() {
        for split in 1..INVITE.len() {
            let (mut framer, mut buffer) = (Framer::default(), BytesMut::new());
            buffer.extend_from_slice(&INVITE[..split]);
            assert_eq!(frames(&mut framer, &mut buffer), [], "split at {split}");
            buffer.extend_from_slice(&INVITE[split..]);
            assert_eq!(frames(&mut framer, &mut buffer), [Frame::Message(INVITE.into())], "split at {split}");
            assert!(buffer.is_empty());
        }
    }

    #[test]
    fn messages_that_come_together_are_taken_apart() {
        let mut buffer = BytesMut::from(&[INVITE, b"\r\n", BYE, b"\r\n\r\n", INVITE].concat()[..]);
        let got = frames(&mut Framer::default(), &mut buffer);
        let expected = [
            Frame::Message(INVITE.into()),
            Frame::Pong,
            Frame::Message(BYE.into()),
            Frame::Ping,
            Frame::Message(INVITE.into()),
        ];
        assert_eq!(got, expected);
    }

    #[test]
    fn a_ping_is_a_ping_however_it_is_split() {
        for split in 1..4 {
            let (mut framer, mut buffer) = (Framer::default(), BytesMut::new());
            buffer.extend_from_slice(&b"\r\n\r\n"[..split]);
            assert_eq!(frames(&mut framer, &mut buffer), [], "split at {split}");
            buffer.extend_from_slice(&b"\r\n\r\n"[split..]);
            assert_eq!(frames(&mut framer, &mut buffer), [Frame::Ping], "split at {split}");
        }
    }

    #[test]
    fn what_cannot_be_framed_is_refused() {
        let long = [b"INVITE sip:a@b SIP/2.0\r\nX: ".as_slice(), &[b'x'; LONGEST]].concat();
        let claims = b"BYE sip:a@b SIP/2.0\r\nContent-Length: 65535\r\n\r\n".to_vec();
        let signed = b"BYE sip:a@b SIP/2.0\r\nContent-Length: -1\r\n\r\n".to_vec();
        let huge = b"BYE sip:a@b SIP/2.0\r\nContent-Length: 99999999999999999999999\r\n\r\n".to_vec();
        for bad in [long, claims, signed, huge] {
            assert!(Framer::default().decode(&mut BytesMut::from(&bad[..])).is_err());
        }
    }
}
