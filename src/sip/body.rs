//! A message's body as it is carried from one leg to another: its bytes and the header lines that describe
//! them (design: body and `Content-*`).

use bytes::Bytes;

use super::build::push_header;
use super::header::{Fate, Name, Params, chars};
use super::sdp;
use super::wire::{Field, Message};

/// How deep a multipart may stand in a multipart before we stop looking for an SDP in it.
const MAX_NESTING: u8 = 3;

/// A body with its header lines, in one allocation. Cloning it copies nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct Body {
    /// The header lines, then the payload.
    all: Bytes,
    split: usize,
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Body({} + {} bytes)", self.split, self.all.len() - self.split)
    }
}

impl Body {
    /// Takes a message's body along. `None` where it has none.
    ///
    /// The header lines are those whose names begin with `Content-`, Content-Length excepted, and MIME-Version,
    /// in order, under their full names, folding taken out. The bytes are kept as they came.
    pub fn of(message: &Message<'_>) -> Option<Body> {
        let payload = message.body();
        if payload.is_empty() {
            return None;
        }
        let lines = || message.head().named(Name::may_go_with_the_body).filter(describes_the_body);
        let length: usize = lines().map(|field| field.spelling().len() + field.value.len() + 4).sum();
        let mut all = Vec::with_capacity(length + payload.len());
        for field in lines() {
            push_header(&mut all, field.spelling(), &[field.value]);
        }
        Some(Body::from_parts(all, payload))
    }

    /// A body of our own.
    pub fn new(content_type: &str, payload: &[u8]) -> Body {
        let name = Name::ContentType.token().as_bytes();
        let mut lines = Vec::with_capacity(name.len() + content_type.len() + 4 + payload.len());
        push_header(&mut lines, name, &[content_type.as_bytes()]);
        Body::from_parts(lines, payload)
    }

    fn from_parts(mut lines: Vec<u8>, payload: &[u8]) -> Body {
        let split = lines.len();
        lines.extend_from_slice(payload);
        // A vector that is full becomes `Bytes` without a second allocation.
        lines.shrink_to_fit();
        Body { all: lines.into(), split }
    }

    /// The payload.
    pub fn bytes(&self) -> &[u8] {
        &self.all[self.split..]
    }

    /// Whole lines (`Content-Type: …\r\n`), for `Writer::body`.
    pub fn header_lines(&self) -> &[u8] {
        &self.all[..self.split]
    }

    /// Its SDP as it was before the other side put it on hold: it sends again what it was asked to stop sending. What
    /// its author does not send of its own accord, it does not send then either (RFC 3264 §8.4).
    pub fn taken_off_hold(&self) -> Body {
        let mut out = Vec::new();
        sdp::take_off_hold(self.sdp().unwrap_or_default(), &mut out);
        Body::new("application/sdp", &out)
    }

    /// Whether the streams of both go to and from the same places the same way.
    pub fn sends_like(&self, other: &Body) -> bool {
        let (one, other) = (self.sdp().unwrap_or_default(), other.sdp().unwrap_or_default());
        sdp::media(one).map(|stream| stream.place()).eq(sdp::media(other).map(|stream| stream.place()))
    }

    /// What it is, as its Content-Type says, parameters included.
    pub fn content_type(&self) -> Option<&str> {
        std::str::from_utf8(Described::by(self.header_lines()).kind?).ok()
    }

    /// Whether `sdp` finds one.
    pub fn is_sdp(&self) -> bool {
        self.sdp().is_some()
    }

    /// The SDP in it: all of it where it is `application/sdp`, or the first such part of a multipart
    /// (RFC 5621 §3). `None` where it is encoded (gzip, base64), which we do not undo.
    pub fn sdp(&self) -> Option<&[u8]> {
        find_sdp(self.header_lines(), self.bytes(), MAX_NESTING)
    }
}

/// Whether its name is MIME-Version or begins with `Content-`, and is not Content-Length.
fn describes_the_body(field: &Field<'_>) -> bool {
    field.name.fate(field.raw_name) == Fate::GoesWithTheBody
}

fn find_sdp<'a>(lines: &'a [u8], payload: &'a [u8], depth: u8) -> Option<&'a [u8]> {
    let described = Described::by(lines);
    if !described.is_plain() {
        return None;
    }
    let value = described.kind?;
    let end = memchr::memchr(b';', value).unwrap_or(value.len());
    let media_type = chars::trim(&value[..end]);
    if media_type.eq_ignore_ascii_case(b"application/sdp") {
        return Some(payload);
    }
    let is_multipart = media_type.get(..10).is_some_and(|kind| kind.eq_ignore_ascii_case(b"multipart/"));
    if !is_multipart || depth == 0 {
        return None;
    }
    let boundary = unquoted(Params::new(&value[end..]).get("boundary")?);
    parts(payload, boundary).find_map(|part| {
        let (lines, payload) = split_part(part);
        find_sdp(lines, payload, depth - 1)
    })
}

/// What header lines say of a payload; of several of a name the first counts.
#[derive(Default)]
struct Described<'a> {
    kind: Option<&'a [u8]>,
    encoding: Option<&'a [u8]>,
    transfer_encoding: Option<&'a [u8]>,
}

impl<'a> Described<'a> {
    /// Compact forms of Content-Type and Content-Encoding are read too, which parts of a multipart may not have
    /// but do.
    fn by(lines: &'a [u8]) -> Described<'a> {
        let mut described = Described::default();
        for line in lines.split(|&byte| byte == b'\n') {
            let Some(colon) = chars::colon(line) else { continue };
            let spelling = chars::trim(&line[..colon]);
            let name = Name::parse(spelling);
            let place = if name == Name::ContentType {
                &mut described.kind
            } else if name == Name::ContentEncoding {
                &mut described.encoding
            } else if spelling.eq_ignore_ascii_case(b"Content-Transfer-Encoding") {
                &mut described.transfer_encoding
            } else {
                continue;
            };
            place.get_or_insert(chars::trim(&line[colon + 1..]));
        }
        described
    }

    /// Whether nothing was done to the bytes that would have to be undone first.
    fn is_plain(&self) -> bool {
        let is_one_of = |value: Option<&[u8]>, plain: &[&[u8]]| {
            value.is_none_or(|value| plain.iter().any(|one| value.eq_ignore_ascii_case(one)))
        };
        is_one_of(self.encoding, &[b"identity"])
            && is_one_of(self.transfer_encoding, &[b"binary", b"7bit", b"8bit"])
    }
}

fn unquoted(value: &[u8]) -> &[u8] {
    value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")).unwrap_or(value)
}

/// The parts between the delimiters of a multipart (RFC 2046 §5.1.1); what stands before the first and after
/// the last is left out.
fn parts<'a>(payload: &'a [u8], boundary: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    let mut rest = after_delimiter(payload, boundary).map(|(_, rest)| rest);
    std::iter::from_fn(move || {
        let (part, next) = after_delimiter(rest?, boundary)?;
        rest = Some(next);
        Some(part)
    })
}

/// What stands before the next delimiter line and what stands after it. `None` where there is none, or no
/// boundary to look for.
fn after_delimiter<'a>(bytes: &'a [u8], boundary: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    if boundary.is_empty() {
        return None;
    }
    let at = memchr::memmem::find_iter(bytes, boundary).find(|&at| {
        // `--` at the start of a line, then the boundary, then `--` or white space.
        let dashes = at >= 2 && &bytes[at - 2..at] == b"--";
        let line_start = at == 2 || (at > 2 && bytes[at - 3] == b'\n');
        let end = bytes.get(at + boundary.len()).copied();
        dashes && line_start && end.is_none_or(|byte| byte == b'-' || chars::is_lws(byte))
    })?;
    let before = &bytes[..at - 2];
    let before = before.strip_suffix(b"\n").unwrap_or(before);
    let before = before.strip_suffix(b"\r").unwrap_or(before);
    let rest = &bytes[at + boundary.len()..];
    let line = memchr::memchr(b'\n', rest).map_or(rest.len(), |end| end + 1);
    Some((before, &rest[line..]))
}

/// Header lines and content of a part. A part may have no header lines at all.
fn split_part(part: &[u8]) -> (&[u8], &[u8]) {
    if let Some(content) = part.strip_prefix(b"\r\n") {
        return (&[], content);
    }
    match memchr::memmem::find(part, b"\r\n\r\n") {
        Some(at) => (&part[..at], &part[at + 4..]),
        None => (part, &[]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::build::Writer;

    fn carried(headers: &str, payload: &[u8]) -> Option<Body> {
        let mut out = Vec::new();
        let mut w = Writer::request(&mut out, "INVITE", b"sip:x@192.0.2.1");
        w.header("v", b"SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1").header("f", b"<sip:a@b>;tag=1");
        w.header("t", b"<sip:c@d>").header("i", b"x").cseq(1, "INVITE");
        let range = w.body(headers.as_bytes(), payload);
        Body::of(&Message::parse(&out[range]).expect("our own message"))
    }

    #[test]
    fn body_and_content_lines_are_kept_byte_for_byte() {
        let body = carried(
            "c: application/sdp\r\nSubject: x\r\nContent-ID:\r\n <a@b>\r\nMIME-Version: 1.0\r\n",
            b"v=0\r\n\0\xff",
        )
        .expect("a body");
        assert_eq!(
            String::from_utf8_lossy(body.header_lines()),
            "Content-Type: application/sdp\r\nContent-ID: <a@b>\r\nMIME-Version: 1.0\r\n"
        );
        assert_eq!(body.bytes(), b"v=0\r\n\0\xff");
        assert!(body.is_sdp());
        assert_eq!(body, body.clone());
        assert_eq!(carried("c: application/sdp\r\n", b""), None);
        assert_eq!(Body::new("application/sdp", b"v=0\r\n").sdp(), Some(&b"v=0\r\n"[..]));
    }

    #[test]
    fn no_name_that_describes_the_body_is_forgotten() {
        for &name in Name::ALL {
            let field = Field { name, raw_name: name.token().as_bytes(), value: b"" };
            let spelled = name == Name::MimeVersion || name.token().starts_with("Content-");
            assert_eq!(describes_the_body(&field), spelled && name != Name::ContentLength, "{name:?}");
        }
    }

    #[test]
    fn the_sdp_of_a_multipart_is_found() {
        let payload = b"preamble --b1\r\n--b1\r\nContent-Type: text/plain\r\n\r\n--b1x\r\nHello\r\n--b1 \r\n\
            Content-Type: multipart/alternative;boundary=b2\r\n\r\n--b2\r\n\r\nnone\r\n--b2\r\n\
            c: Application/SDP ;x=y\r\n\r\nv=0\r\ns=-\r\n\r\n--b2--\r\n--b1--\r\n";
        let body = carried("c: multipart/mixed; boundary=\"b1\"\r\n", payload).expect("a body");
        assert_eq!(body.bytes(), payload);
        assert_eq!(body.sdp(), Some(&b"v=0\r\ns=-\r\n"[..]));
        let whole = body.bytes().len();
        for cut in 0..whole {
            // No panic, and never bytes of another part.
            if let Some(cut) = carried("c: multipart/mixed; boundary=\"b1\"\r\n", &payload[..cut]) {
                assert!(cut.sdp().is_none_or(|sdp| b"v=0\r\ns=-\r\n".starts_with(sdp)));
            }
        }
    }

    #[test]
    fn what_is_no_sdp_is_not_taken_for_one() {
        for headers in [
            "",
            "Content-Type: application/unknownformat\r\n",
            "Content-Type: application/sdp\r\nContent-Encoding: gzip\r\n",
            "Content-Type: multipart/mixed\r\n",
            "Content-Type: multipart/mixed;boundary=\r\n",
        ] {
            let body = carried(headers, b"--\r\nContent-Type: application/sdp\r\n\r\nv=0\r\n");
            assert!(!body.expect("a body").is_sdp(), "{headers}");
        }
    }
}
