//! Methods and header names, and the small grammar that header values share.

pub mod chars;
mod fate;
mod list;
mod params;
mod usual;

pub use fate::Fate;
pub use list::List;
pub use params::{Param, Params};
pub(crate) use usual::usual;

/// A request's method (RFC 3261 §7.1 and its extensions). Case-sensitive on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Method {
    Invite,
    Ack,
    Bye,
    Cancel,
    Options,
    Register,
    Prack,
    Update,
    Info,
    Refer,
    Notify,
    Subscribe,
    Publish,
    Message,
    /// Any other token; `Message::method_token` has it as it came.
    Other,
}

/// A header that we know by name, compact forms included (RFC 3261 §7.3.3, §20; the IANA registry).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Name {
    Via,
    From,
    To,
    CallId,
    CSeq,
    MaxForwards,
    Contact,
    Route,
    RecordRoute,
    ContentType,
    ContentLength,
    ContentEncoding,
    ContentDisposition,
    ContentLanguage,
    MimeVersion,
    Allow,
    Supported,
    Require,
    ProxyRequire,
    Unsupported,
    Accept,
    AcceptLanguage,
    AcceptEncoding,
    SessionExpires,
    MinSe,
    RSeq,
    RAck,
    Reason,
    RetryAfter,
    Warning,
    Replaces,
    ReferTo,
    ReferredBy,
    Event,
    Subject,
    Priority,
    AlertInfo,
    CallInfo,
    UserToUser,
    Geolocation,
    GeolocationRouting,
    GeolocationError,
    SessionId,
    PAssertedIdentity,
    PPreferredIdentity,
    PCalledPartyId,
    RemotePartyId,
    Privacy,
    Diversion,
    HistoryInfo,
    Identity,
    MaxBreadth,
    MinExpires,
    Expires,
    Path,
    Authorization,
    ProxyAuthorization,
    WwwAuthenticate,
    ProxyAuthenticate,
    Server,
    UserAgent,
    Date,
    Timestamp,
    XCid,
    /// Any other; `Field::name` has it as it came.
    Other,
}

impl Method {
    /// Reads a method token; anything that is not known by name is `Other`.
    pub fn parse(token: &[u8]) -> Method {
        match token {
            b"INVITE" => Method::Invite,
            b"ACK" => Method::Ack,
            b"BYE" => Method::Bye,
            b"CANCEL" => Method::Cancel,
            b"OPTIONS" => Method::Options,
            b"REGISTER" => Method::Register,
            b"PRACK" => Method::Prack,
            b"UPDATE" => Method::Update,
            b"INFO" => Method::Info,
            b"REFER" => Method::Refer,
            b"NOTIFY" => Method::Notify,
            b"SUBSCRIBE" => Method::Subscribe,
            b"PUBLISH" => Method::Publish,
            b"MESSAGE" => Method::Message,
            _ => Method::Other,
        }
    }

    /// As the request line and CSeq name it. Empty for `Other`, whose token only the message has.
    pub const fn token(self) -> &'static str {
        match self {
            Method::Invite => "INVITE",
            Method::Ack => "ACK",
            Method::Bye => "BYE",
            Method::Cancel => "CANCEL",
            Method::Options => "OPTIONS",
            Method::Register => "REGISTER",
            Method::Prack => "PRACK",
            Method::Update => "UPDATE",
            Method::Info => "INFO",
            Method::Refer => "REFER",
            Method::Notify => "NOTIFY",
            Method::Subscribe => "SUBSCRIBE",
            Method::Publish => "PUBLISH",
            Method::Message => "MESSAGE",
            Method::Other => "",
        }
    }
}

/// One line gives variant, canonical spelling and the group that `Name::parse` looks it up in: the length of
/// the spelling and its first letter.
macro_rules! names {
    ($( $length:literal $first:literal : $( $variant:ident $spelling:literal ),+ ; )*) => {
        impl Name {
            /// Reads a field name in whatever case, long or compact. It allocates nothing and compares at
            /// most a few spellings, those of the same length and first letter.
            pub fn parse(raw: &[u8]) -> Name {
                let Some(&first) = raw.first() else { return Name::Other };
                match (raw.len(), first | 0x20) {
                    (1, letter) => Name::compact(letter),
                    $( ($length, $first) => {
                        $( if raw == $spelling.as_bytes() || raw.eq_ignore_ascii_case($spelling.as_bytes()) {
                            return Name::$variant;
                        } )+
                        Name::Other
                    } )*
                    _ => Name::Other,
                }
            }

            /// The spelling of its RFC. Empty for `Other`.
            pub const fn token(self) -> &'static str {
                match self {
                    $( $( Name::$variant => $spelling, )+ )*
                    Name::Other => "",
                }
            }

            /// Every name but `Other`.
            pub const ALL: &'static [Name] = &[ $( $( Name::$variant, )+ )* ];
        }
    };
}

names! {
    2 b't': To "To";
    3 b'v': Via "Via";
    4 b'f': From "From";
    4 b'c': CSeq "CSeq";
    4 b'r': RSeq "RSeq", RAck "RAck";
    4 b'p': Path "Path";
    4 b'd': Date "Date";
    5 b'r': Route "Route";
    5 b'a': Allow "Allow";
    5 b'e': Event "Event";
    5 b'x': XCid "X-CID";
    6 b'a': Accept "Accept";
    6 b'm': MinSe "Min-SE";
    6 b'r': Reason "Reason";
    6 b's': Server "Server";
    7 b'c': CallId "Call-ID", Contact "Contact";
    7 b'r': Require "Require";
    7 b'e': Expires "Expires";
    7 b's': Subject "Subject";
    7 b'p': Privacy "Privacy";
    7 b'w': Warning "Warning";
    8 b'r': Replaces "Replaces", ReferTo "Refer-To";
    8 b'p': Priority "Priority";
    8 b'i': Identity "Identity";
    9 b's': Supported "Supported";
    9 b'c': CallInfo "Call-Info";
    9 b'd': Diversion "Diversion";
    9 b't': Timestamp "Timestamp";
    10 b'a': AlertInfo "Alert-Info";
    10 b'u': UserAgent "User-Agent";
    10 b's': SessionId "Session-ID";
    11 b'r': RetryAfter "Retry-After", ReferredBy "Referred-By";
    11 b'u': Unsupported "Unsupported";
    11 b'g': Geolocation "Geolocation";
    11 b'm': MaxBreadth "Max-Breadth", MinExpires "Min-Expires";
    12 b'm': MaxForwards "Max-Forwards", MimeVersion "MIME-Version";
    12 b'r': RecordRoute "Record-Route";
    12 b'c': ContentType "Content-Type";
    12 b'u': UserToUser "User-to-User";
    12 b'h': HistoryInfo "History-Info";
    13 b'p': ProxyRequire "Proxy-Require";
    13 b'a': Authorization "Authorization";
    14 b'c': ContentLength "Content-Length";
    15 b's': SessionExpires "Session-Expires";
    15 b'a': AcceptLanguage "Accept-Language", AcceptEncoding "Accept-Encoding";
    15 b'r': RemotePartyId "Remote-Party-ID";
    16 b'c': ContentEncoding "Content-Encoding", ContentLanguage "Content-Language";
    16 b'w': WwwAuthenticate "WWW-Authenticate";
    17 b'p': PCalledPartyId "P-Called-Party-ID";
    17 b'g': GeolocationError "Geolocation-Error";
    18 b'p': ProxyAuthenticate "Proxy-Authenticate";
    19 b'c': ContentDisposition "Content-Disposition";
    19 b'p': PAssertedIdentity "P-Asserted-Identity", ProxyAuthorization "Proxy-Authorization";
    19 b'g': GeolocationRouting "Geolocation-Routing";
    20 b'p': PPreferredIdentity "P-Preferred-Identity";
}

impl Name {
    /// The compact forms of the IANA registry. Those whose long form is not known by name here (a, d, j, n,
    /// u) are `Other`, as their long forms are.
    const fn compact(letter: u8) -> Name {
        match letter {
            b'b' => Name::ReferredBy,
            b'c' => Name::ContentType,
            b'e' => Name::ContentEncoding,
            b'f' => Name::From,
            b'i' => Name::CallId,
            b'k' => Name::Supported,
            b'l' => Name::ContentLength,
            b'm' => Name::Contact,
            b'o' => Name::Event,
            b'r' => Name::ReferTo,
            b's' => Name::Subject,
            b't' => Name::To,
            b'v' => Name::Via,
            b'x' => Name::SessionExpires,
            b'y' => Name::Identity,
            _ => Name::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found_by_its_spelling_in_any_case() {
        for &name in Name::ALL {
            let spelling = name.token();
            assert_eq!(Name::parse(spelling.as_bytes()), name, "{spelling}");
            assert_eq!(Name::parse(spelling.to_ascii_uppercase().as_bytes()), name, "{spelling}");
            assert_eq!(Name::parse(spelling.to_ascii_lowercase().as_bytes()), name, "{spelling}");
        }
        assert_eq!(Name::parse(b"X-Twilio-CallToken"), Name::Other);
        assert_eq!(Name::parse(b"Vib"), Name::Other);
        assert_eq!(Name::parse(b""), Name::Other);
    }

    #[test]
    fn compact_forms_are_those_of_the_registry() {
        let known: Vec<(char, &str)> = ('a'..='z')
            .map(|letter| (letter, Name::parse(&[letter as u8]).token()))
            .filter(|(_, token)| !token.is_empty())
            .collect();
        assert_eq!(
            known,
            [
                ('b', "Referred-By"),
                ('c', "Content-Type"),
                ('e', "Content-Encoding"),
                ('f', "From"),
                ('i', "Call-ID"),
                ('k', "Supported"),
                ('l', "Content-Length"),
                ('m', "Contact"),
                ('o', "Event"),
                ('r', "Refer-To"),
                ('s', "Subject"),
                ('t', "To"),
                ('v', "Via"),
                ('x', "Session-Expires"),
                ('y', "Identity"),
            ]
        );
    }

    #[test]
    fn methods_are_case_sensitive() {
        assert_eq!(Method::parse(b"INVITE"), Method::Invite);
        assert_eq!(Method::parse(b"invite"), Method::Other);
        for method in [Method::Ack, Method::Publish, Method::Message, Method::Prack] {
            assert_eq!(Method::parse(method.token().as_bytes()), method);
        }
    }
}
