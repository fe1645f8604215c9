//! The one pass over the head.

use super::{Entries, Entry, Fault, MAX_FIELDS, MAX_MESSAGE};
use crate::sip::header::{Name, chars, usual};
use crate::sip::uri::{BadUri, Uri};

/// What the first line says.
#[derive(Clone, Copy, Debug)]
pub(super) enum Start<'a> {
    Request { method: &'a [u8], uri: Uri<'a> },
    Response { status: u16, phrase: &'a [u8] },
}

/// Where the headers stand that every message has, and those that may stand there once only.
#[derive(Default)]
pub(super) struct Singles {
    /// By slot, where the value of the first field of that name begins and ends; it ends at 0 where there is
    /// none.
    places: [(u16, u16); SLOTS + 1],
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
    /// The value of the first field of that name.
    ///
    /// # Errors
    /// `Fault::Missing` where there is none.
    #[inline(always)]
    pub fn value<'a>(&self, raw: &'a [u8], name: Name) -> Result<&'a [u8], Fault> {
        let (at, end) = self.places[usize::from(SLOT[name as usize])];
        match raw.get(usize::from(at)..usize::from(end)) {
            Some(value) if end != 0 => Ok(value),
            Some(_) | None => Err(Fault::Missing(name)),
        }
    }

    #[inline]
    fn take(&mut self, entry: &Entry) -> Result<(), Fault> {
        let slot = usize::from(SLOT[entry.name as usize]);
        if slot == 0 {
            return Ok(());
        }
        let place = &mut self.places[slot];
        if place.1 == 0 {
            *place = (entry.value_at, entry.value_end);
            return Ok(());
        }
        if entry.name == Name::Via { Ok(()) } else { Err(Fault::Repeated(entry.name)) }
    }
}

/// RFC 3261 §7.5: empty lines before the start line are ignored.
pub(super) fn skip_blank_lines(mut bytes: &[u8]) -> &[u8] {
    while let [b'\r', b'\n', rest @ ..] = bytes {
        bytes = rest;
    }
    bytes
}

/// Reads the header fields and gives what comes after their empty line. A function of its own, so that what
/// it keeps in hand from field to field stays in registers.
#[inline(never)]
pub(super) fn read_fields<'a>(
    lines: Lines<'a>,
    fields: &mut Entries,
    singles: &mut Singles,
) -> Result<&'a [u8], Fault> {
    let Lines { mut rest, length } = lines;
    for _ in 0..MAX_FIELDS {
        match field(rest, length - rest.len())? {
            (Some(entry), after) => {
                rest = after;
                singles.take(&entry)?;
                fields.push(entry);
            }
            (None, body) => return Ok(body),
        }
    }
    match any_field(rest, length - rest.len())? {
        (Some(_), _) => Err(Fault::TooManyFields),
        (None, body) => Ok(body),
    }
}

/// The first line without its line end, and the lines after it.
#[inline]
pub(super) fn start_line(raw: &[u8]) -> Result<(&[u8], Lines<'_>), Fault> {
    if raw.is_empty() {
        return Err(Fault::Empty);
    }
    if raw.len() > MAX_MESSAGE {
        return Err(Fault::TooLong);
    }
    let end = match chars::low_control(raw) {
        Some(end) if raw[end..].starts_with(b"\r\n") => end,
        Some(_) | None => line_length(raw)?,
    };
    Ok((&raw[..end], Lines { rest: &raw[end + 2..], length: raw.len() }))
}

/// The header fields, one after another.
pub(super) struct Lines<'a> {
    /// The next line and all after it; once `next_field` has given `None`, the body.
    rest: &'a [u8],
    /// How long the message is.
    length: usize,
}

impl Lines<'_> {
    /// The next field, or `None` at the empty line that ends the head.
    pub fn next_field(&mut self) -> Result<Option<Entry>, Fault> {
        let (entry, rest) = field(self.rest, self.length - self.rest.len())?;
        self.rest = rest;
        Ok(entry)
    }

    /// Passes over a field that `next_field` refused, for a reader that wants what can be had of the rest.
    /// `false` when there is no further line.
    pub fn skip(&mut self) -> bool {
        match memchr::memchr(b'\n', self.rest) {
            Some(found) => {
                self.rest = &self.rest[found + 1..];
                true
            }
            None => false,
        }
    }
}

/// The field in the line at the front, which begins at that place of the message, or `None` at the empty line
/// that ends the head; and what comes after it.
#[inline(always)]
fn field(line: &[u8], name_at: usize) -> Result<(Option<Entry>, &[u8]), Fault> {
    match plain_field(line, name_at) {
        Some((entry, rest)) => Ok((Some(entry), rest)),
        None => any_field(line, name_at),
    }
}

/// What `field` reads, however it is written.
#[inline(never)]
fn any_field(line: &[u8], name_at: usize) -> Result<(Option<Entry>, &[u8]), Fault> {
    match line {
        [b'\r', b'\n', body @ ..] => return Ok((None, body)),
        [] | [b'\r'] => return Err(Fault::NoEmptyLine),
        _ => {}
    }
    let colon = chars::colon(line).ok_or(Fault::HeaderName)?;
    let raw_name = chars::trim_end(&line[..colon]);
    let name = Name::parse(raw_name);
    if name == Name::Other && !chars::is_token(raw_name) {
        return Err(Fault::HeaderName);
    }
    let after = &line[colon + 1..];
    let length = match chars::low_control(after) {
        Some(end) if matches!(after[end..], [b'\r', b'\n', next, ..] if !matches!(next, b' ' | b'\t')) => end,
        Some(_) | None => value_length(after)?,
    };
    let value = chars::trim_start(&after[..length]);
    let value_at = name_at + colon + 1 + length - value.len();
    let entry = Entry {
        name,
        name_at: offset(name_at),
        name_end: offset(name_at + raw_name.len()),
        value_at: offset(value_at),
        value_end: offset(value_at + chars::trim_end(value).len()),
    };
    Ok((Some(entry), &after[length + 2..]))
}

/// What `any_field` reads, for a line as nearly all are written: a name that we know, spelled as usual, a
/// colon and one space, the value in one line. `None` for all others.
#[inline(always)]
fn plain_field(line: &[u8], name_at: usize) -> Option<(Entry, &[u8])> {
    let (name, colon) = usual(line)?;
    let after = line.get(colon + 1..)?.strip_prefix(b" ")?;
    let length = chars::low_control(after)?;
    let (value, rest) = after.split_at_checked(length)?;
    let rest = rest.strip_prefix(b"\r\n")?;
    if matches!(rest, [b' ' | b'\t', ..]) {
        return None;
    }
    let value_end = name_at + colon + 2 + length;
    let value = chars::trim_start(value);
    let value_at = value_end - value.len();
    let entry = Entry {
        name,
        name_at: offset(name_at),
        name_end: offset(name_at + colon),
        value_at: offset(value_at),
        value_end: offset(value_at + chars::trim_end(value).len()),
    };
    Some((entry, rest))
}

/// How long the value is at the front, over all its folded lines (RFC 3261 §7.3.1), without its last CRLF.
#[cold]
fn value_length(bytes: &[u8]) -> Result<usize, Fault> {
    let mut at = 0;
    loop {
        at += line_length(&bytes[at..])?;
        if !matches!(bytes.get(at + 2), Some(b' ' | b'\t')) {
            return Ok(at);
        }
        at += 2;
    }
}

/// How long the line is at the front, without its CRLF. A CR or LF alone is refused, since the next element
/// might see a line end where we see none; so is a NUL, except as a quoted pair (RFC 3261 §25.1).
#[inline(never)]
fn line_length(bytes: &[u8]) -> Result<usize, Fault> {
    let mut at = 0;
    loop {
        at += chars::low_control(&bytes[at..]).ok_or(Fault::NoEmptyLine)?;
        match bytes[at..] {
            [b'\r', b'\n', ..] => return Ok(at),
            [b'\r' | b'\n', ..] => return Err(Fault::LineEnd),
            [0, ..] if at == 0 || bytes[at - 1] != b'\\' => return Err(Fault::LineEnd),
            _ => at += 1,
        }
    }
}

/// An offset into a message. `start_line` has seen that it has at most 65,535 bytes.
pub(super) const fn offset(at: usize) -> u16 {
    debug_assert!(at <= MAX_MESSAGE);
    at as u16
}

#[inline(always)]
pub(super) fn read_start(line: &[u8]) -> Result<Start<'_>, Fault> {
    // As nearly all write it.
    if let Some(rest) = line.strip_prefix(b"SIP/2.0 ") {
        return read_status(rest);
    }
    match line.get(..8) {
        Some(version) if version.eq_ignore_ascii_case(b"SIP/2.0 ") => read_status(&line[8..]),
        Some(version) if version[..4].eq_ignore_ascii_case(b"SIP/") => Err(Fault::Version),
        Some(_) | None => read_request_line(line),
    }
}

/// `Method SP Request-URI SP SIP-Version` (RFC 3261 §7.1), with one space each.
fn read_request_line(line: &[u8]) -> Result<Start<'_>, Fault> {
    let (method, uri, version) = split_request_line(line).ok_or(Fault::StartLine)?;
    if version != b"SIP/2.0" && !version.eq_ignore_ascii_case(b"SIP/2.0") {
        return Err(if is_sip_version(version) { Fault::Version } else { Fault::StartLine });
    }
    match Uri::parse(uri) {
        Ok(uri) if uri.headers.is_empty() => Ok(Start::Request { method, uri }),
        Ok(_) => Err(Fault::RequestUri(BadUri::Headers)),
        Err(bad) => Err(Fault::RequestUri(bad)),
    }
}

/// Splits at the first two spaces; the third part may have more.
pub(super) fn split_request_line(line: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let first = chars::token_run(line);
    let rest = line[first..].strip_prefix(b" ")?;
    let second = chars::find::<b' '>(rest)?;
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, cases: 4096, ..ProptestConfig::default() })]

        #[test]
        fn the_plain_reader_reads_nothing_otherwise_than_the_general_one(
            name in proptest::sample::select(Name::ALL),
            text in " ?: {0,2}[a-z:,\t ]{0,40} ?(\r\n[ \t][a-z]{0,9})?\r\n([ -~]{0,20}|\r\n)",
            mutation in proptest::option::of((any::<proptest::sample::Index>(), any::<u8>())),
            at in 0..100usize,
        ) {
            let mut bytes = format!("{}{text}", name.token()).into_bytes();
            if let Some((at, byte)) = mutation {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            if let Some((entry, rest)) = plain_field(&bytes, at) {
                prop_assert_eq!(any_field(&bytes, at), Ok((Some(entry), rest)));
            }
        }
    }

    #[test]
    fn what_nearly_all_write_is_plain() {
        for line in ["Via: a;b\r\nmore of them", "Content-Length: 0\r\n\r\n", "Subject: \r\nwhat is next"] {
            assert!(plain_field(line.as_bytes(), 0).is_some(), "{line}");
        }
    }
}
