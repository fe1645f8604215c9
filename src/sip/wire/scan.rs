//! The one pass over the head.

use smallvec::SmallVec;

use super::{Entry, Fault, INLINE_FIELDS, MAX_FIELDS, MAX_MESSAGE};
use crate::sip::header::{Name, chars};
use crate::sip::uri::{BadUri, Uri};

/// What the first line says.
#[derive(Clone, Copy, Debug)]
pub(super) enum Start<'a> {
    Request { method: &'a [u8], uri: Uri<'a> },
    Response { status: u16, phrase: &'a [u8] },
}

pub(super) struct Head<'a> {
    pub start: Start<'a>,
    pub fields: SmallVec<[Entry; INLINE_FIELDS]>,
    pub singles: Singles,
    pub body_at: usize,
}

/// Where the headers stand that every message has, and those that may stand there once only.
#[derive(Default)]
pub(super) struct Singles {
    /// By slot, one more than the index of the first field of that name; 0 where there is none.
    places: [u16; SLOTS + 1],
}

/// Slot 1 is Via, of which there may be many; the rest are single (RFC 3261 §7.3.1, §20).
const SINGLES: [Name; SLOTS] = [
    Name::Via,
    Name::From,
    Name::To,
    Name::CallId,
    Name::CSeq,
    Name::MaxForwards,
    Name::ContentLength,
    Name::ContentType,
];
const SLOTS: usize = 8;

/// The slot of each name; 0 for those that may stand there as often as they like.
static SLOT: [u8; Name::Other as usize + 1] = {
    let mut slots = [0; Name::Other as usize + 1];
    let mut at = 0;
    while at < SLOTS {
        slots[SINGLES[at] as usize] = at as u8 + 1;
        at += 1;
    }
    slots
};

impl Singles {
    pub fn index(&self, name: Name) -> Option<usize> {
        usize::from(self.places[usize::from(SLOT[name as usize])]).checked_sub(1)
    }

    fn take(&mut self, name: Name, count: usize) -> Result<(), Fault> {
        let slot = usize::from(SLOT[name as usize]);
        if slot == 0 {
            return Ok(());
        }
        if self.places[slot] == 0 {
            self.places[slot] = offset(count);
            return Ok(());
        }
        if name == Name::Via { Ok(()) } else { Err(Fault::Repeated(name)) }
    }
}

/// RFC 3261 §7.5: empty lines before the start line are ignored.
pub(super) fn skip_blank_lines(mut bytes: &[u8]) -> &[u8] {
    while let [b'\r', b'\n', rest @ ..] = bytes {
        bytes = rest;
    }
    bytes
}

pub(super) fn head(raw: &[u8]) -> Result<Head<'_>, Fault> {
    let (line, mut lines) = start_line(raw)?;
    let start = read_start(line)?;
    let mut fields = SmallVec::new();
    let mut singles = Singles::default();
    while let Some(entry) = lines.next_field()? {
        if fields.len() == MAX_FIELDS {
            return Err(Fault::TooManyFields);
        }
        fields.push(entry);
        singles.take(entry.name, fields.len())?;
    }
    Ok(Head { start, fields, singles, body_at: lines.at })
}

/// The first line without its line end, and the lines after it.
pub(super) fn start_line(raw: &[u8]) -> Result<(&[u8], Lines<'_>), Fault> {
    if raw.is_empty() {
        return Err(Fault::Empty);
    }
    if raw.len() > MAX_MESSAGE {
        return Err(Fault::TooLong);
    }
    let mut lines = Lines { raw, at: 0 };
    let end = lines.line_end(0)?;
    lines.at = end + 2;
    Ok((&raw[..end], lines))
}

/// The header fields, one after another.
pub(super) struct Lines<'a> {
    raw: &'a [u8],
    /// Where the next line begins; once `next_field` has given `None`, the body.
    pub at: usize,
}

impl Lines<'_> {
    /// The next field, or `None` at the empty line that ends the head.
    #[inline]
    pub fn next_field(&mut self) -> Result<Option<Entry>, Fault> {
        let rest = self.raw.get(self.at..).unwrap_or_default();
        match rest {
            [b'\r', b'\n', ..] => {
                self.at += 2;
                return Ok(None);
            }
            [] | [b'\r'] => return Err(Fault::NoEmptyLine),
            _ => {}
        }
        let colon = chars::colon(rest).ok_or(Fault::HeaderName)?;
        let raw_name = chars::trim_end(&rest[..colon]);
        let name = Name::parse(raw_name);
        if name == Name::Other && !chars::is_token(raw_name) {
            return Err(Fault::HeaderName);
        }
        let begin = self.at + colon + 1;
        let end = self.value_end(begin)?;
        let value = chars::trim_start(&self.raw[begin..end]);
        let value_at = end - value.len();
        let entry = Entry {
            name,
            name_at: offset(self.at),
            name_end: offset(self.at + raw_name.len()),
            value_at: offset(value_at),
            value_end: offset(value_at + chars::trim_end(value).len()),
        };
        self.at = end + 2;
        Ok(Some(entry))
    }

    /// Passes over a field that `next_field` refused, for a reader that wants what can be had of the rest.
    /// `false` when there is no further line.
    pub fn skip(&mut self) -> bool {
        let rest = self.raw.get(self.at..).unwrap_or_default();
        match memchr::memchr(b'\n', rest) {
            Some(found) => {
                self.at += found + 1;
                true
            }
            None => false,
        }
    }

    /// Where the line end of a value stands, over all its folded lines (RFC 3261 §7.3.1).
    fn value_end(&self, mut at: usize) -> Result<usize, Fault> {
        loop {
            at = self.line_end(at)?;
            if !matches!(self.raw.get(at + 2), Some(b' ' | b'\t')) {
                return Ok(at);
            }
            at += 2;
        }
    }

    /// Where the CRLF of the line stands that `from` is in. A CR or LF alone is refused, since the next element
    /// might see a line end where we see none; so is a NUL, except as a quoted pair (RFC 3261 §25.1).
    #[inline]
    fn line_end(&self, from: usize) -> Result<usize, Fault> {
        let mut at = from;
        loop {
            let rest = self.raw.get(at..).unwrap_or_default();
            at += chars::low_control(rest).ok_or(Fault::NoEmptyLine)?;
            match self.raw[at..] {
                [b'\r', b'\n', ..] => return Ok(at),
                [b'\r' | b'\n', ..] => return Err(Fault::LineEnd),
                [0, ..] if at == from || self.raw[at - 1] != b'\\' => return Err(Fault::LineEnd),
                _ => at += 1,
            }
        }
    }
}

/// An offset into a message. `start_line` has seen that it has at most 65,535 bytes.
pub(super) const fn offset(at: usize) -> u16 {
    debug_assert!(at <= MAX_MESSAGE);
    at as u16
}

fn read_start(line: &[u8]) -> Result<Start<'_>, Fault> {
    match line.get(..8) {
        Some(version) if version.eq_ignore_ascii_case(b"SIP/2.0 ") => read_status(&line[8..]),
        Some(version) if version[..4].eq_ignore_ascii_case(b"SIP/") => Err(Fault::Version),
        Some(_) | None => read_request_line(line),
    }
}

/// `Method SP Request-URI SP SIP-Version` (RFC 3261 §7.1), with one space each.
fn read_request_line(line: &[u8]) -> Result<Start<'_>, Fault> {
    let (method, uri, version) = split_request_line(line).ok_or(Fault::StartLine)?;
    if !version.eq_ignore_ascii_case(b"SIP/2.0") {
        return Err(if is_sip_version(version) { Fault::Version } else { Fault::StartLine });
    }
    let uri = Uri::parse(uri).map_err(Fault::RequestUri)?;
    if !uri.headers.is_empty() {
        return Err(Fault::RequestUri(BadUri::Headers));
    }
    Ok(Start::Request { method, uri })
}

/// Splits at the first two spaces; the third part may have more.
pub(super) fn split_request_line(line: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let first = chars::token_run(line);
    let rest = line[first..].strip_prefix(b" ")?;
    let second = memchr::memchr(b' ', rest)?;
    (first > 0).then(|| (&line[..first], &rest[..second], &rest[second + 1..]))
}

/// `SIP/` digits `.` digits.
pub(super) fn is_sip_version(version: &[u8]) -> bool {
    let Some((name, numbers)) = version.split_at_checked(4) else { return false };
    let mut parts = numbers.split(|&byte| byte == b'.');
    let is_number = |part: Option<&[u8]>| part.is_some_and(|digits| chars::number(digits).is_some());
    name.eq_ignore_ascii_case(b"SIP/")
        && is_number(parts.next())
        && is_number(parts.next())
        && parts.next().is_none()
}

/// `Status-Code SP Reason-Phrase` (RFC 3261 §7.2); the phrase may be empty, and its space missing then.
fn read_status(rest: &[u8]) -> Result<Start<'_>, Fault> {
    let (digits, phrase) = rest.split_at_checked(3).ok_or(Fault::Status)?;
    let status = chars::number(digits).and_then(|status| u16::try_from(status).ok());
    let status = status.filter(|status| (100..700).contains(status)).ok_or(Fault::Status)?;
    match phrase {
        [] => Ok(Start::Response { status, phrase }),
        [b' ', phrase @ ..] => Ok(Start::Response { status, phrase }),
        _ => Err(Fault::Status),
    }
}
