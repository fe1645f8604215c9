//! Messages out of a stream (RFC 3261 §18.3).

use memchr::memmem;

use super::scan::{self, Lines};
use super::{Fault, MAX_MESSAGE, content_length};
use crate::sip::header::{Name, chars};

/// The longest head that a stream may send before its empty line: as long as a message.
pub const MAX_HEAD: usize = MAX_MESSAGE;

/// What stands at the front of a stream's buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame {
    /// Not all of it is there; call again when so many bytes more have come, at the earliest.
    Incomplete { need_at_least: usize },
    /// A message of so many bytes.
    Whole { len: usize },
    /// So many bytes of blank lines: 4 are a ping, which wants CRLF for an answer, 2 an answer to ours
    /// (RFC 5626 §3.5.1).
    KeepAlive { len: usize },
    /// The stream cannot be read any further and is to be closed.
    Bad(BadFrame),
}

/// Why a stream cannot be read any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadFrame {
    #[error("what came is not SIP")]
    NotSip,
    #[error("a head of more than 65,535 bytes")]
    HeadTooLong,
    #[error("a message of more than 65,535 bytes")]
    TooLong,
    /// RFC 3261 §20.14: a must on streams.
    #[error("no Content-Length")]
    NoContentLength,
    #[error("a bad Content-Length, or several that differ")]
    ContentLength,
    #[error("a head that cannot be read: {0}")]
    Head(Fault),
}

/// Finds the first message of a stream's buffer. Looks at the head again at each call, so it costs the head's
/// length per arriving segment, 64 KB at most.
pub fn frame(buf: &[u8]) -> Frame {
    match buf {
        [] => return Frame::Incomplete { need_at_least: 1 },
        [b'\r', b'\n', b'\r', b'\n', ..] => return Frame::KeepAlive { len: 4 },
        [b'\r'] | [b'\r', b'\n'] | [b'\r', b'\n', b'\r'] => {
            return Frame::Incomplete { need_at_least: 1 };
        }
        [b'\r', b'\n', ..] => return Frame::KeepAlive { len: 2 },
        _ => {}
    }
    let window = &buf[..buf.len().min(MAX_HEAD)];
    let Some(end) = memmem::find(window, b"\r\n\r\n") else { return unfinished(buf) };
    match body_length(&buf[..end + 4]) {
        Ok(body) => whole(buf.len(), end + 4 + body),
        Err(bad) => Frame::Bad(bad),
    }
}

fn whole(have: usize, len: usize) -> Frame {
    if len > MAX_MESSAGE {
        Frame::Bad(BadFrame::TooLong)
    } else if have < len {
        Frame::Incomplete { need_at_least: len - have }
    } else {
        Frame::Whole { len }
    }
}

/// A head that has not ended: refused as early as it shows that it is none.
fn unfinished(buf: &[u8]) -> Frame {
    let first_word = chars::token_run(buf);
    let after = buf.get(first_word);
    // `/` stands in the version that a response begins with.
    if first_word == 0 || after.is_some_and(|byte| !matches!(byte, b' ' | b'/')) {
        return Frame::Bad(BadFrame::NotSip);
    }
    if buf.len() > MAX_HEAD {
        return Frame::Bad(BadFrame::HeadTooLong);
    }
    Frame::Incomplete { need_at_least: 1 }
}

fn body_length(head: &[u8]) -> Result<usize, BadFrame> {
    let (_, mut lines) = scan::start_line(head).map_err(BadFrame::Head)?;
    let mut found = None;
    // All of the head, which `MAX_HEAD` bounds: that it has too many fields to be read is told to its sender, and the
    // connection stays.
    loop {
        match next(&mut lines)? {
            Some(entry) if entry.name == Name::ContentLength => {
                let length = content_length(entry.value(head)).map_err(|fault| {
                    if fault == Fault::TooLong { BadFrame::TooLong } else { BadFrame::ContentLength }
                })?;
                if found.is_some_and(|earlier| earlier != length) {
                    return Err(BadFrame::ContentLength);
                }
                found = Some(length);
            }
            Some(_) => {}
            None => return found.ok_or(BadFrame::NoContentLength),
        }
    }
}

fn next(lines: &mut Lines<'_>) -> Result<Option<super::Entry>, BadFrame> {
    lines.next_field().map_err(BadFrame::Head)
}
