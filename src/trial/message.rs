//! Messages as the carrier and the phones write and read them: on `rsip`'s types, so that what the node sends is
//! read by a parser that is not the node's.
//!
//! `rsip` refuses a host that is an IPv6 address; it is shown a name in its place. Addresses in header fields
//! are kept as text for the same reason.

use std::borrow::Cow;
use std::net::SocketAddr;

use rsip::headers::{self, Header, Headers, ToTypedHeader, UntypedHeader};
use rsip::message::{HasHeaders, HeadersExt};
use rsip::{Method, Request, Response, SipMessage, StatusCode, Uri};

use crate::sip::build::phrase;
use crate::sip::peer::Transport;

/// The payload type of keys in our descriptions (RFC 4733).
const EVENTS: u8 = 101;
/// Stands for an IPv6 address in what `rsip` reads.
const STAND_IN: &str = "ipv6.invalid";
/// What our ends understand (RFC 3261 §20.5).
pub(super) const ALLOW: &str = "INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, UPDATE";

/// One of our ends, as its messages name it.
#[derive(Clone, Debug)]
pub(super) struct End {
    pub transport: Transport,
    /// Where it can be reached.
    pub contact: SocketAddr,
    /// Where it sends from.
    pub sent_by: SocketAddr,
    /// Where it hears and speaks.
    pub audio: SocketAddr,
}

impl End {
    /// An end that never speaks, where its description says that it does.
    pub fn silent(contact: SocketAddr) -> SocketAddr {
        SocketAddr::new(contact.ip(), 40_000 + contact.port() % 10_000 * 2)
    }

    /// `<sip:alice@127.0.0.1:5090>`
    pub fn contact_of(&self, user: &str) -> String {
        format!("<{}>", address(user, self.contact, self.transport))
    }

    /// The value of a Via with a branch of ours (RFC 3261 §8.1.1.7, RFC 3581).
    pub fn via(&self, branch: &str) -> String {
        format!("SIP/2.0/{} {};rport;branch=z9hG4bK{branch}", self.transport.via_token(), self.sent_by)
    }
}

/// `sip:user@host:port`, with the transport where it is not UDP.
pub(super) fn address(user: &str, host: SocketAddr, transport: Transport) -> String {
    match transport {
        Transport::Udp => format!("sip:{user}@{host}"),
        Transport::Tcp | Transport::Tls | Transport::Ws | Transport::Wss => {
            format!("sip:{user}@{host};transport={}", transport.uri_token())
        }
    }
}

/// Reads one whole message.
pub(super) fn read(bytes: &[u8]) -> Result<SipMessage, rsip::Error> {
    let line = memchr::memchr(b'\r', bytes).unwrap_or(bytes.len());
    let (line, rest) = bytes.split_at(line);
    let line = String::from_utf8_lossy(line);
    let (shown, literal) = without_literal(&line);
    let mut message = SipMessage::try_from([shown.as_bytes(), rest].concat())?;
    if let (SipMessage::Request(request), Some(literal)) = (&mut message, literal) {
        request.uri.host_with_port.host = rsip::Host::Domain(literal.into());
    }
    Ok(message)
}

/// Reads a URI.
pub(super) fn uri(text: &str) -> Result<Uri, rsip::Error> {
    let (shown, literal) = without_literal(text);
    let mut uri = Uri::try_from(&*shown)?;
    if let Some(literal) = literal {
        uri.host_with_port.host = rsip::Host::Domain(literal.into());
    }
    Ok(uri)
}

/// The text with its IPv6 reference (RFC 3986 §3.2.2) taken out, and the reference.
fn without_literal(text: &str) -> (Cow<'_, str>, Option<&str>) {
    let found = text.find('[').zip(text.find(']')).filter(|(open, close)| open < close);
    match found {
        Some((open, close)) => {
            let shown = [&text[..open], STAND_IN, &text[close + 1..]].concat();
            (shown.into(), Some(&text[open..=close]))
        }
        None => (text.into(), None),
    }
}

/// The user part of the URI in an address field's value or of a bare URI.
pub(super) fn user_of(value: &str) -> &str {
    let uri = uri_within(value);
    let rest = uri.split_once(':').map_or(uri, |(_, rest)| rest);
    rest.split_once('@').map_or("", |(user, _)| user)
}

/// The URI in the value of a From, To or Contact.
pub(super) fn uri_within(value: &str) -> &str {
    match value.split_once('<') {
        Some((_, rest)) => rest.split_once('>').map_or(rest, |(uri, _)| uri),
        None => value.split_once(';').map_or(value, |(uri, _)| uri).trim(),
    }
}

/// The tag in the value of a From or To.
pub(super) fn tag_of(value: &str) -> Option<&str> {
    let params = value.rsplit_once('>').map_or(value, |(_, params)| params);
    params.split(';').skip(1).find_map(|param| param.trim().strip_prefix("tag="))
}

/// What every message of ours and of the node's has; empty where it has not.
pub(super) trait Fields {
    fn call_id(&self) -> &str;
    /// The value of From.
    fn caller_value(&self) -> &str;
    /// The value of To.
    fn called_value(&self) -> &str;
    fn cseq(&self) -> Option<(u32, Method)>;
    /// A field that `rsip` has no type for.
    fn other(&self, name: &str) -> Option<&str>;
}

impl<M: HasHeaders + HeadersExt> Fields for M {
    fn call_id(&self) -> &str {
        self.call_id_header().map(UntypedHeader::value).unwrap_or_default()
    }

    fn caller_value(&self) -> &str {
        self.from_header().map(UntypedHeader::value).unwrap_or_default()
    }

    fn called_value(&self) -> &str {
        self.to_header().map(UntypedHeader::value).unwrap_or_default()
    }

    fn cseq(&self) -> Option<(u32, Method)> {
        let cseq = self.cseq_header().ok()?.typed().ok()?;
        Some((cseq.seq, cseq.method))
    }

    fn other(&self, name: &str) -> Option<&str> {
        self.headers().iter().find_map(|header| match_other(header, name))
    }
}

fn match_other<'h>(header: &'h Header, name: &str) -> Option<&'h str> {
    let Header::Other(found, value) = header else { return None };
    found.eq_ignore_ascii_case(name).then_some(value.as_str())
}

/// The fields that a request of ours begins with.
pub(super) struct Opening<'o> {
    pub via: String,
    pub from: &'o str,
    pub to: &'o str,
    pub call_id: &'o str,
    pub cseq: u32,
}

/// A request with its body, an SDP offer, or without.
pub(super) fn request(
    method: Method,
    uri: Uri,
    opening: Opening<'_>,
    more: Vec<Header>,
    sdp: Option<&str>,
) -> Request {
    let mut fields: Vec<Header> = vec![
        headers::Via::new(opening.via).into(),
        headers::MaxForwards::new("70").into(),
        headers::From::new(opening.from).into(),
        headers::To::new(opening.to).into(),
        headers::CallId::new(opening.call_id).into(),
        headers::CSeq::new(format!("{} {method}", opening.cseq)).into(),
    ];
    fields.extend(more);
    let (fields, body) = with_body(fields, sdp);
    Request { method, uri, version: rsip::Version::V2, headers: fields, body }
}

/// How one of our ends answers a request.
#[derive(Default)]
pub(super) struct Answer<'a> {
    /// Where the request came from, for its Via (RFC 3261 §18.2.1, RFC 3581 §4).
    pub source: Option<SocketAddr>,
    /// Ours, for a To that has none.
    pub tag: Option<&'a str>,
    pub contact: Option<String>,
    pub sdp: Option<&'a str>,
}

/// A response (RFC 3261 §8.2.6).
pub(super) fn response(request: &Request, code: u16, answer: Answer<'_>) -> Response {
    let mut fields = Vec::new();
    let mut top = true;
    for header in request.headers.iter() {
        let Header::Via(via) = header else { continue };
        match answer.source.filter(|_| top) {
            Some(source) => fields.push(headers::Via::new(seen_from(via.value(), source)).into()),
            None => fields.push(Header::Via(via.clone())),
        }
        top = false;
    }
    let to = request.called_value();
    let to = match answer.tag.filter(|_| tag_of(to).is_none()) {
        Some(tag) => format!("{to};tag={tag}"),
        None => to.to_owned(),
    };
    fields.push(headers::From::new(request.caller_value()).into());
    fields.push(headers::To::new(to).into());
    fields.push(headers::CallId::new(request.call_id()).into());
    if let Ok(cseq) = request.cseq_header() {
        fields.push(Header::CSeq(cseq.clone()));
    }
    if let Some(contact) = answer.contact {
        fields.push(headers::Contact::new(contact).into());
    }
    if (200..300).contains(&code) {
        fields.push(headers::Allow::new(ALLOW).into());
    }
    let (fields, body) = with_body(fields, answer.sdp);
    // `rsip`'s own codes would be written with the name of their variant as the phrase.
    let status_code = StatusCode::Other(code, phrase(code).to_owned());
    Response { status_code, version: rsip::Version::V2, headers: fields, body }
}

/// A Via with `rport` filled in and `received` added.
fn seen_from(via: &str, source: SocketAddr) -> String {
    let (port, ip) = (source.port(), source.ip());
    let parts = via.split(';').map(|part| match part.trim() {
        "rport" => format!("rport={port};received={ip}"),
        other => other.to_owned(),
    });
    parts.collect::<Vec<_>>().join(";")
}

fn with_body(mut fields: Vec<Header>, sdp: Option<&str>) -> (Headers, Vec<u8>) {
    if sdp.is_some() {
        fields.push(headers::ContentType::new("application/sdp").into());
    }
    let body = sdp.unwrap_or_default().as_bytes().to_vec();
    fields.push(headers::ContentLength::new(body.len().to_string()).into());
    (fields.into(), body)
}

/// One audio stream at an end of ours (RFC 8866).
pub(super) fn sdp(end: &End, version: u32) -> String {
    let at = end.audio;
    let (family, ip) = (if at.is_ipv4() { "IP4" } else { "IP6" }, at.ip());
    format!(
        "v=0\r\no=- {id} {version} IN {family} {ip}\r\ns=-\r\nc=IN {family} {ip}\r\nt=0 0\r\n\
         m=audio {port} RTP/AVP 0 {EVENTS}\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:{EVENTS} telephone-event/8000\r\n\
         a=fmtp:{EVENTS} 0-15\r\na=sendrecv\r\n",
        id = end.contact.port(),
        port = at.port(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const INVITE: &str = "INVITE sip:alice@[::1]:5090 SIP/2.0\r\n\
        Via: SIP/2.0/UDP [::1]:5060;rport;branch=z9hG4bK1\r\nFrom: <sip:+12025550123@[::1]>;tag=a\r\n\
        To: <sip:alice@[::1]:5090>\r\nCall-ID: x\r\nCSeq: 1 INVITE\r\nX-CID: y\r\nContent-Length: 0\r\n\r\n";

    fn invite() -> Request {
        Request::try_from(read(INVITE.as_bytes()).unwrap()).unwrap()
    }

    #[test]
    fn a_request_to_an_ipv6_address_is_read_and_written_back() {
        let request = invite();
        assert_eq!(request.to_string(), INVITE);
        assert_eq!(request.uri.user(), Some("alice"));
        assert_eq!(request.cseq(), Some((1, Method::Invite)));
        assert_eq!((request.call_id(), request.other("x-cid")), ("x", Some("y")));
    }

    #[test]
    fn an_answer_copies_what_it_must_and_says_where_the_request_came_from() {
        let answer = Answer { source: "[::1]:5070".parse().ok(), tag: Some("b"), ..Answer::default() };
        let text = response(&invite(), 486, answer).to_string();
        assert_eq!(
            text,
            "SIP/2.0 486 Busy Here\r\nVia: SIP/2.0/UDP [::1]:5060;rport=5070;received=::1;branch=z9hG4bK1\r\n\
             From: <sip:+12025550123@[::1]>;tag=a\r\nTo: <sip:alice@[::1]:5090>;tag=b\r\nCall-ID: x\r\n\
             CSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n"
        );
        assert!(matches!(read(text.as_bytes()), Ok(SipMessage::Response(_))));
    }

    #[test]
    fn parts_of_an_address_are_found() {
        let value = "\"A\" <sip:+12025550123@[::1]:5060;user=phone>;x=1;tag=t";
        assert_eq!(uri_within(value), "sip:+12025550123@[::1]:5060;user=phone");
        assert_eq!((user_of(value), tag_of(value)), ("+12025550123", Some("t")));
        assert_eq!((user_of("sip:127.0.0.1"), tag_of("<sip:a;tag=u@b>")), ("", None));
        assert_eq!(uri("sip:bob@[::1]:5091").unwrap().to_string(), "sip:bob@[::1]:5091");
    }
}
