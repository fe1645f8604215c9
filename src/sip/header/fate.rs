//! What becomes of a header between a caller's INVITE and a leg's: the one list that the writer of INVITEs, the
//! keeper of bodies and the check of `carry` go by.

use super::Name;

/// What becomes of a header of the caller's INVITE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Each INVITE has its own.
    Rewritten,
    /// It goes along as it came.
    GoesAlong,
    /// It describes the body and goes along with it.
    GoesWithTheBody,
    /// One side's own affair: it goes no further.
    EndsHere,
    /// It goes along where the trunk's `carry` names it.
    GoesIfNamed,
}

impl Fate {
    /// Of the header that is spelled so, in whatever case, long or compact.
    pub fn of(spelling: &[u8]) -> Fate {
        Name::parse(spelling).fate(spelling)
    }
}

impl Name {
    /// Whether it may say who its sender is, or where: what a privacy service takes out (RFC 3323 §5.3, RFC 6442 §5).
    pub fn tells_of_its_sender(self) -> bool {
        matches!(self, Name::CallInfo | Name::Geolocation | Name::Subject)
    }

    /// Whether some header of that name goes along: of all but these nothing else need be known.
    pub fn may_go_along(self) -> bool {
        self == Name::Other || matches!(self.fate(b""), Fate::GoesAlong | Fate::GoesIfNamed)
    }

    /// Whether some header of that name goes along with the body.
    pub fn may_go_with_the_body(self) -> bool {
        self == Name::Other || self.fate(b"") == Fate::GoesWithTheBody
    }

    /// What becomes of the header of that name. `spelling` is as it came, for those that have no name here.
    pub fn fate(self, spelling: &[u8]) -> Fate {
        match self {
            Name::Via
            | Name::From
            | Name::To
            | Name::CallId
            | Name::CSeq
            | Name::MaxForwards
            | Name::MaxBreadth
            | Name::Contact
            | Name::ContentLength
            | Name::Allow
            | Name::Supported
            | Name::SessionExpires
            | Name::MinSe
            | Name::PAssertedIdentity
            | Name::Privacy
            | Name::Diversion
            | Name::HistoryInfo
            | Name::XCid => Fate::Rewritten,

            Name::Accept
            | Name::AcceptLanguage
            | Name::AlertInfo
            | Name::CallInfo
            | Name::Geolocation
            | Name::GeolocationError
            | Name::GeolocationRouting
            | Name::Priority
            | Name::Reason
            | Name::SessionId
            | Name::Subject
            | Name::UserToUser => Fate::GoesAlong,

            Name::ContentType
            | Name::ContentEncoding
            | Name::ContentDisposition
            | Name::ContentLanguage
            | Name::MimeVersion => Fate::GoesWithTheBody,

            Name::Route
            | Name::RecordRoute
            | Name::Path
            | Name::Require
            | Name::ProxyRequire
            | Name::RSeq
            | Name::RAck
            | Name::Replaces
            | Name::PPreferredIdentity
            | Name::RemotePartyId
            | Name::Identity
            | Name::Authorization
            | Name::ProxyAuthorization
            | Name::WwwAuthenticate
            | Name::ProxyAuthenticate
            | Name::Server
            | Name::UserAgent => Fate::EndsHere,

            Name::AcceptEncoding
            | Name::Date
            | Name::Event
            | Name::Expires
            | Name::MinExpires
            | Name::PCalledPartyId
            | Name::ReferTo
            | Name::ReferredBy
            | Name::RetryAfter
            | Name::Timestamp
            | Name::Unsupported
            | Name::Warning => Fate::GoesIfNamed,

            Name::Other if starts_with(spelling, b"Content-") => Fate::GoesWithTheBody,
            Name::Other if spelling.eq_ignore_ascii_case(b"Service-Route") => Fate::EndsHere,
            Name::Other => Fate::GoesIfNamed,
        }
    }
}

fn starts_with(spelling: &[u8], start: &[u8]) -> bool {
    spelling.get(..start.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(start))
}
