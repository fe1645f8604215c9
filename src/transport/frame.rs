//! Where messages end in a stream (RFC 3261 §18.3), and the keep-alives between them (RFC 5626 §3.5.1).

use std::io;

use bytes::{Buf, Bytes, BytesMut};
use tokio_util::codec::Decoder;

use crate::sip::wire::{self, BadFrame};

/// What a stream carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    Message(Bytes),
    /// A double CRLF between messages: the far end asks whether we live, and wants a single CRLF.
    Ping,
    /// A single CRLF between messages: the answer to a ping of ours, or padding.
    Pong,
}

/// The length of a ping; a pong has half of it.
const PING: usize = 4;

/// Why a stream cannot be read any further. Nobody can say where the next message would begin.
#[derive(Debug, thiserror::Error)]
pub enum Unframed {
    #[error(transparent)]
    Bad(#[from] BadFrame),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Cuts a stream into frames. Takes whole messages out of the buffer without copying them.
#[derive(Debug, Default)]
pub struct Framer {
    /// With fewer bytes there is nothing to look for.
    at_least: usize,
}

impl Decoder for Framer {
    type Item = Frame;
    type Error = Unframed;

    fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Frame>, Unframed> {
        if buffer.len() < self.at_least {
            return Ok(None);
        }
        self.at_least = 0;
        match wire::frame(buffer) {
            wire::Frame::Incomplete { need_at_least } => {
                // What is announced is not reserved: memory grows with what has come, not with what is claimed.
                self.at_least = buffer.len() + need_at_least;
                Ok(None)
            }
            wire::Frame::Whole { len } => Ok(Some(Frame::Message(buffer.split_to(len).freeze()))),
            wire::Frame::KeepAlive { len } => {
                buffer.advance(len);
                Ok(Some(if len == PING { Frame::Ping } else { Frame::Pong }))
            }
            wire::Frame::Bad(bad) => Err(bad.into()),
        }
    }
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
        let long = [b"INVITE sip:a@b SIP/2.0\r\nX: ".as_slice(), &[b'x'; 65_535]].concat();
        let claims = b"BYE sip:a@b SIP/2.0\r\nContent-Length: 65535\r\n\r\n".to_vec();
        let signed = b"BYE sip:a@b SIP/2.0\r\nContent-Length: -1\r\n\r\n".to_vec();
        let silent = b"BYE sip:a@b SIP/2.0\r\nCall-ID: x\r\n\r\n".to_vec();
        let huge = b"BYE sip:a@b SIP/2.0\r\nContent-Length: 99999999999999999999999\r\n\r\n".to_vec();
        for bad in [long, claims, signed, silent, huge] {
            assert!(Framer::default().decode(&mut BytesMut::from(&bad[..])).is_err());
        }
    }
}
