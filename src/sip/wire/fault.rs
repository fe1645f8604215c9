//! What is wrong with a message, and whom that is told.

use smallvec::SmallVec;

use super::scan::{self, Lines};
use super::{MAX_FIELDS, MAX_MESSAGE, Via};
use crate::sip::header::{List, Name};
use crate::sip::uri::BadUri;

/// Why bytes are no message. The text is fit for a reason phrase (RFC 3261 §21.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Nothing but blank lines: a keep-alive (RFC 5626 §3.5.1).
    #[error("Empty message")]
    Empty,
    #[error("Message too long")]
    TooLong,
    #[error("Bad start line")]
    StartLine,
    #[error("Version Not Supported")]
    Version,
    #[error("Bad Request-URI: {0}")]
    RequestUri(BadUri),
    #[error("Bad status code")]
    Status,
    /// A header line without a token and a colon in front.
    #[error("Bad header field name")]
    HeaderName,
    /// A CR or LF alone, or a NUL.
    #[error("Bad line end or NUL")]
    LineEnd,
    #[error("Too many header fields")]
    TooManyFields,
    #[error("No empty line after the header fields")]
    NoEmptyLine,
    #[error("Missing {} header field", .0.token())]
    Missing(Name),
    #[error("More than one {} header field", .0.token())]
    Repeated(Name),
    #[error("Bad {} header field", .0.token())]
    Bad(Name),
    #[error("CSeq names another method")]
    CSeqMethod,
    /// Content-Length says more than came.
    #[error("Body shorter than Content-Length")]
    Truncated,
}

impl Fault {
    /// The status that answers it.
    pub const fn code(self) -> u16 {
        match self {
            Fault::Version => 505,
            Fault::TooLong => 513,
            Fault::Empty
            | Fault::StartLine
            | Fault::RequestUri(_)
            | Fault::Status
            | Fault::HeaderName
            | Fault::LineEnd
            | Fault::TooManyFields
            | Fault::NoEmptyLine
            | Fault::Missing(_)
            | Fault::Repeated(_)
            | Fault::Bad(_)
            | Fault::CSeqMethod
            | Fault::Truncated => 400,
        }
    }
}

/// Bytes that are no message.
#[derive(Clone, Copy, Debug)]
pub struct Malformed<'a> {
    pub fault: Fault,
    raw: &'a [u8],
}

/// What of a malformed request can be read and serves to answer it (RFC 3261 §8.2.6): values as they came.
#[derive(Clone, Debug)]
pub struct Salvage<'a> {
    pub method: &'a [u8],
    /// The topmost, with those of its parameters that can be read.
    pub via: Via<'a>,
    /// The values after the topmost that can be read.
    pub further_vias: SmallVec<[&'a [u8]; 4]>,
    pub from: Option<&'a [u8]>,
    pub to: Option<&'a [u8]>,
    pub call_id: Option<&'a [u8]>,
    pub cseq: Option<&'a [u8]>,
}

impl<'a> Malformed<'a> {
    pub(super) const fn new(fault: Fault, raw: &'a [u8]) -> Self {
        Malformed { fault, raw }
    }

    /// The bytes, without blank lines before them.
    pub const fn raw(&self) -> &'a [u8] {
        self.raw
    }

    /// Nothing but blank lines (RFC 5626 §3.5.1): no fault of the sender.
    pub fn is_keep_alive(&self) -> bool {
        self.fault == Fault::Empty
    }

    /// Whether the first line is that of a request, with a version of SIP at its end.
    pub fn is_request(&self) -> bool {
        self.request_line().is_some()
    }

    /// What serves to answer it. `None` where no answer is allowed or could arrive: not a request, an ACK
    /// (RFC 3261 §17), or without a topmost Via that says where the answer goes.
    pub fn salvage(&self) -> Option<Salvage<'a>> {
        let (method, mut lines) = self.request_line()?;
        if method == b"ACK" {
            return None;
        }
        let mut kept = Kept::default();
        for _ in 0..MAX_FIELDS {
            match lines.next_field() {
                Ok(Some(entry)) => kept.keep(entry.name, entry.value(self.raw)),
                Ok(None) => break,
                Err(_) if lines.skip() => {}
                Err(_) => break,
            }
        }
        let Kept { vias, from, to, call_id, cseq } = kept;
        let mut vias = vias.into_iter();
        let via = Via::parse_loosely(vias.next()?)?;
        let further_vias = vias.filter(|value| Via::parse(value).is_some()).collect();
        Some(Salvage { method, via, further_vias, from, to, call_id, cseq })
    }

    fn request_line(&self) -> Option<(&'a [u8], Lines<'a>)> {
        // Of one that is too long, what stands at its beginning.
        let (line, lines) = scan::start_line(&self.raw[..self.raw.len().min(MAX_MESSAGE)]).ok()?;
        let (method, _, rest) = scan::split_request_line(line)?;
        let version = rest.rsplit(|&byte| byte == b' ').find(|part| !part.is_empty())?;
        scan::is_sip_version(version).then_some((method, lines))
    }
}

#[derive(Default)]
struct Kept<'a> {
    vias: SmallVec<[&'a [u8]; 4]>,
    from: Option<&'a [u8]>,
    to: Option<&'a [u8]>,
    call_id: Option<&'a [u8]>,
    cseq: Option<&'a [u8]>,
}

impl<'a> Kept<'a> {
    fn keep(&mut self, name: Name, value: &'a [u8]) {
        if name == Name::Via {
            self.vias.extend(List::new(value));
        } else if name == Name::From {
            self.from.get_or_insert(value);
        } else if name == Name::To {
            self.to.get_or_insert(value);
        } else if name == Name::CallId {
            self.call_id.get_or_insert(value);
        } else if name == Name::CSeq {
            self.cseq.get_or_insert(value);
        }
    }
}
