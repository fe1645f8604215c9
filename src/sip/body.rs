//! A message's body as it is carried between the legs of a call.

use bytes::Bytes;

use super::header::{Method, Name};
use super::wire::Message;

/// A body with the header lines that belong to it, byte for byte, in one allocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body {
    whole: Bytes,
    /// Where the payload begins.
    split: usize,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Sdp,
    Multipart,
    Other,
}

impl Body {
    /// The body of a message; `None` when it is empty.
    pub fn of(message: &Message<'_>) -> Option<Body> {
        if message.body().is_empty() {
            return None;
        }
        let mut whole = Vec::with_capacity(message.body().len() + 64);
        for field in message.fields() {
            if belongs_to_body(field.name) {
                whole.extend_from_slice(field.name.token().as_bytes());
                whole.extend_from_slice(b": ");
                super::build::push_clean(&mut whole, field.value);
                whole.extend_from_slice(b"\r\n");
            }
        }
        let split = whole.len();
        whole.extend_from_slice(message.body());
        let kind = match message.get(Name::ContentType) {
            Some(kind) if is_type(kind, b"application/sdp") => Kind::Sdp,
            Some(kind) if kind.get(..10).is_some_and(|kind| kind.eq_ignore_ascii_case(b"multipart/")) => {
                Kind::Multipart
            }
            // RFC 3261 §7.4.1: a body must say what it is; an INVITE's is SDP if it looks like one.
            None if message.method() == Method::Invite && message.body().starts_with(b"v=0") => Kind::Sdp,
            Some(_) | None => Kind::Other,
        };
        Some(Body { whole: whole.into(), split, kind })
    }

    /// The lines that describe it, each with its CR LF.
    pub fn header_lines(&self) -> &[u8] {
        &self.whole[..self.split]
    }

    pub fn bytes(&self) -> &[u8] {
        &self.whole[self.split..]
    }

    /// Whether it is SDP, or a multipart body with SDP in it.
    pub fn is_sdp(&self) -> bool {
        self.sdp().is_some()
    }

    /// The SDP in it.
    pub fn sdp(&self) -> Option<&[u8]> {
        match self.kind {
            Kind::Sdp => Some(self.bytes()),
            Kind::Multipart => sdp_part(self.bytes()),
            Kind::Other => None,
        }
    }
}

fn belongs_to_body(name: Name) -> bool {
    matches!(
        name,
        Name::ContentType
            | Name::ContentEncoding
            | Name::ContentDisposition
            | Name::ContentLanguage
            | Name::MimeVersion
    )
}

fn is_type(value: &[u8], wanted: &[u8]) -> bool {
    let end = value.iter().position(|byte| matches!(byte, b';' | b' ' | b'\t')).unwrap_or(value.len());
    value[..end].eq_ignore_ascii_case(wanted)
}

/// The first part of type application/sdp (RFC 2046 §5.1, RFC 5621).
fn sdp_part(bytes: &[u8]) -> Option<&[u8]> {
    let boundary = &bytes[memchr::memmem::find(bytes, b"--")?..];
    let boundary = &boundary[..memchr::memchr2(b'\r', b'\n', boundary)?];
    memchr::memmem::find_iter(bytes, boundary).find_map(|at| {
        let part = &bytes[at + boundary.len()..];
        let part = &part[..memchr::memmem::find(part, boundary).unwrap_or(part.len())];
        let head = memchr::memmem::find(part, b"\r\n\r\n")?;
        let says_sdp = part[..head].split(|byte| *byte == b'\n').any(|line| {
            let Some(colon) = memchr::memchr(b':', line) else { return false };
            let (name, value) = (line[..colon].trim_ascii(), line[colon + 1..].trim_ascii());
            (name.eq_ignore_ascii_case(b"content-type") || name.eq_ignore_ascii_case(b"c"))
                && is_type(value, b"application/sdp")
        });
        says_sdp.then(|| part[head + 4..].strip_suffix(b"\r\n").unwrap_or(&part[head + 4..]))
    })
}
