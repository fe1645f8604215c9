//! A zero-copy view of one SIP message: an index of header names and value ranges, made in one pass.
//!
//! `Message::parse` checks what every layer relies on (start line, line ends, the required headers, the body's
//! length); everything else is read when asked for. Bytes that it does not understand are kept as they came.

mod fault;
mod fields;
mod frame;
mod scan;
mod via;

use smallvec::SmallVec;

pub use fault::{Fault, Malformed, Salvage};
pub use fields::{Field, Fields, Kept};
pub use frame::{BadFrame, Frame, MAX_HEAD, frame};
pub use via::{MAGIC_COOKIE, Via};

use super::header::{List, Method, Name, chars};
use super::uri::{Address, BadUri, Uri};
use scan::{Singles, Start};

/// The longest message: what fits a UDP datagram's length, and what an index of 16 bits reaches.
pub const MAX_MESSAGE: usize = 65_535;

/// The most header fields of a message. Real ones have under 60; more is an attack on whoever walks them.
pub const MAX_FIELDS: usize = 256;

/// How many fields stand in the message itself; more go to the heap.
const INLINE_FIELDS: usize = 32;

type Entries = SmallVec<[Entry; INLINE_FIELDS]>;

/// Where a field stands in the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    name: Name,
    name_at: u16,
    name_end: u16,
    value_at: u16,
    value_end: u16,
}

/// One message over the bytes that it came in. Costs no allocation up to 32 header fields.
#[derive(Clone, Debug)]
pub struct Message<'a> {
    raw: &'a [u8],
    body_at: u16,
    start: Start<'a>,
    method: Method,
    cseq: u32,
    fields: Entries,
    via: Via<'a>,
    from: Address<'a>,
    to: Address<'a>,
    call_id: &'a [u8],
}

impl<'a> Message<'a> {
    /// Reads a whole message: a datagram, or what `frame` cut out of a stream. Blank lines before it are
    /// skipped; bytes after the body that Content-Length gives are left out (RFC 3261 §18.3).
    ///
    /// # Errors
    /// What is wrong, and what of the message can serve to answer it.
    pub fn parse(datagram: &'a [u8]) -> Result<Message<'a>, Malformed<'a>> {
        let raw = scan::skip_blank_lines(datagram);
        Message::read(raw).map_err(|fault| Malformed::new(fault, raw))
    }

    fn read(raw: &'a [u8]) -> Result<Message<'a>, Fault> {
        let (line, lines) = scan::start_line(raw)?;
        let start = scan::read_start(line)?;
        let (mut fields, mut singles) = (Entries::new(), Singles::default());
        let body_at = raw.len() - scan::read_fields(lines, &mut fields, &mut singles)?.len();
        let value = |name| singles.value(raw, name);
        let (cseq, method, token) = read_cseq(value(Name::CSeq)?)?;
        if matches!(start, Start::Request { method, .. } if method != token) {
            return Err(Fault::CSeqMethod);
        }
        // Each is looked at where it is until the end: a move would be a copy.
        let via = Via::first(value(Name::Via)?);
        let Some(via) = &via else { return Err(Fault::Bad(Name::Via)) };
        let call_id = value(Name::CallId)?;
        if call_id.is_empty() || !chars::is_graphic(call_id) {
            return Err(Fault::Bad(Name::CallId));
        }
        let from = Address::parse(value(Name::From)?);
        let Ok(from) = &from else { return Err(Fault::Bad(Name::From)) };
        let to = Address::parse(value(Name::To)?);
        let Ok(to) = &to else { return Err(Fault::Bad(Name::To)) };
        let body_length = match value(Name::ContentLength) {
            Ok(value) => content_length(value)?,
            Err(_) => raw.len() - body_at,
        };
        if body_at + body_length > MAX_MESSAGE {
            return Err(Fault::TooLong);
        }
        let raw = raw.get(..body_at + body_length).ok_or(Fault::Truncated)?;
        Ok(Message {
            raw,
            body_at: scan::offset(body_at),
            start,
            method,
            cseq,
            fields,
            via: *via,
            from: *from,
            to: *to,
            call_id,
        })
    }

    /// The message's bytes, from its first line to the end of its body.
    pub fn raw(&self) -> &'a [u8] {
        self.raw
    }

    pub fn body(&self) -> &'a [u8] {
        &self.raw[usize::from(self.body_at)..]
    }

    pub fn is_request(&self) -> bool {
        matches!(self.start, Start::Request { .. })
    }

    /// The request's method, or the one that a response's CSeq names.
    pub fn method(&self) -> Method {
        self.method
    }

    /// The method's token as it came, unknown ones included.
    pub fn method_token(&self) -> &'a str {
        if self.method != Method::Other {
            return self.method.token();
        }
        let token = match self.start {
            Start::Request { method, .. } => method,
            Start::Response { .. } => self.get(Name::CSeq).map(cseq_token).unwrap_or_default(),
        };
        std::str::from_utf8(token).unwrap_or_default()
    }

    /// The Request-URI as it came; empty for a response.
    pub fn uri_raw(&self) -> &'a [u8] {
        match self.start {
            Start::Request { uri, .. } => uri.raw,
            Start::Response { .. } => &[],
        }
    }

    /// The Request-URI. `parse` has read it, so every request has one.
    ///
    /// # Errors
    /// `BadUri::NotARequest` for a response.
    pub fn uri(&self) -> Result<Uri<'a>, BadUri> {
        match self.start {
            Start::Request { uri, .. } => Ok(uri),
            Start::Response { .. } => Err(BadUri::NotARequest),
        }
    }

    /// 100 to 699; 0 for a request.
    pub fn status(&self) -> u16 {
        match self.start {
            Start::Request { .. } => 0,
            Start::Response { status, .. } => status,
        }
    }

    /// The reason phrase as it came; empty for a request.
    pub fn phrase(&self) -> &'a [u8] {
        match self.start {
            Start::Request { .. } => &[],
            Start::Response { phrase, .. } => phrase,
        }
    }

    /// Its header fields.
    pub fn head(&self) -> Fields<'_, 'a> {
        Fields { raw: self.raw, entries: &self.fields }
    }

    /// Every header field in order.
    pub fn fields(&self) -> impl Iterator<Item = Field<'a>> {
        self.head().iter()
    }

    /// The value of the first field of that name.
    pub fn get(&self, name: Name) -> Option<&'a [u8]> {
        self.head().get(name)
    }

    /// The values of all fields of that name, in order, each as it stands in its line.
    pub fn all(&self, name: Name) -> impl Iterator<Item = &'a [u8]> {
        self.head().all(name)
    }

    /// The comma-separated values of all fields of that name, each trimmed; commas in quoted strings and in
    /// angle brackets separate nothing.
    pub fn list(&self, name: Name) -> impl Iterator<Item = &'a [u8]> {
        self.head().list(name)
    }

    /// Whether the list of that name has the token, in whatever case (option tags, methods of Allow).
    pub fn has_token(&self, name: Name, token: &str) -> bool {
        self.all(name).any(|value| List::new(value).has_token(token.as_bytes()))
    }

    /// The topmost Via.
    pub fn via(&self) -> Via<'a> {
        self.via
    }

    /// Whether there is a Via beside the topmost.
    pub fn has_further_via(&self) -> bool {
        // Mostly there is one line and nothing else in it.
        let stands_alone = self.all(Name::Via).map(<[u8]>::len).eq([self.via.raw.len()]);
        !stands_alone && self.list(Name::Via).nth(1).is_some()
    }

    pub fn from(&self) -> Address<'a> {
        self.from
    }

    pub fn to(&self) -> Address<'a> {
        self.to
    }

    pub fn call_id(&self) -> &'a [u8] {
        self.call_id
    }

    /// The sequence number, below 2³¹ (RFC 3261 §8.1.1.5).
    pub fn cseq(&self) -> u32 {
        self.cseq
    }

    /// Hops left. `None` where the header is missing (RFC 2543 peers; RFC 3261 §16.6 then sets 70).
    ///
    /// # Errors
    /// `Fault::Bad` where it is no number from 0 to 255 (RFC 3261 §20.22).
    pub fn max_forwards(&self) -> Result<Option<u32>, Fault> {
        self.head().max_forwards()
    }

    /// The first Contact that can be read. `None` for `*` and where there is none.
    pub fn contact(&self) -> Option<Address<'a>> {
        self.list(Name::Contact).next().and_then(|value| Address::parse(value).ok())
    }

    /// The addresses of a list header (Contact, Route, Record-Route, Diversion …) in order, each read or not.
    pub fn addresses(&self, name: Name) -> impl Iterator<Item = Result<Address<'a>, BadUri>> {
        self.list(name).map(Address::parse)
    }

    /// The value of a header that holds one number, as [`Fields::number`] reads it.
    pub fn number(&self, name: Name) -> Option<u32> {
        self.head().number(name)
    }
}

impl Entry {
    fn value<'a>(&self, raw: &'a [u8]) -> &'a [u8] {
        &raw[usize::from(self.value_at)..usize::from(self.value_end)]
    }

    fn field<'a>(&self, raw: &'a [u8]) -> Field<'a> {
        let raw_name = &raw[usize::from(self.name_at)..usize::from(self.name_end)];
        Field { name: self.name, raw_name, value: self.value(raw) }
    }
}

fn read_cseq(value: &[u8]) -> Result<(u32, Method, &[u8]), Fault> {
    let digits = value.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let number = chars::number(&value[..digits]).filter(|&number| number < 1 << 31);
    let number = number.and_then(|number| u32::try_from(number).ok());
    let token = chars::trim_start(&value[digits..]);
    let parted = value.get(digits).copied().is_some_and(chars::is_lws);
    let method = Method::parse(token);
    match number {
        Some(number) if parted && (method != Method::Other || chars::is_token(token)) => {
            Ok((number, method, token))
        }
        Some(_) | None => Err(Fault::Bad(Name::CSeq)),
    }
}

fn cseq_token(value: &[u8]) -> &[u8] {
    let digits = value.iter().take_while(|byte| byte.is_ascii_digit()).count();
    chars::trim_start(&value[digits..])
}

/// Content-Length as written; whether so much is there is for the caller to see.
fn content_length(value: &[u8]) -> Result<usize, Fault> {
    let length = chars::number(value).ok_or(Fault::Bad(Name::ContentLength))?;
    usize::try_from(length).ok().filter(|&length| length <= MAX_MESSAGE).ok_or(Fault::TooLong)
}

#[cfg(test)]
mod tests;
