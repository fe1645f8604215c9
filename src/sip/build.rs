//! Writes messages into a reused buffer.
//!
//! Everything appends to the caller's `Vec`; nothing else is allocated. Header values may be bytes of strangers:
//! whatever could end a line inside them is written as one space.

mod answer;
mod phrases;

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

pub use answer::{AnswerHead, answer, answer_malformed, write_via_received};
pub use phrases::phrase;

use super::header::{Name, chars};
use super::peer::Transport;
use super::wire::{Field, Fields};

/// One message being written at the end of `out`. A writer that is dropped without `end` or `body` leaves its
/// unfinished bytes there; `out` is truncated by whoever gives a message up.
pub struct Writer<'o> {
    out: &'o mut Vec<u8>,
    start: usize,
    is_request: bool,
}

/// What names a header when writing: a `Name`, or the spelling of one that has no `Name`.
pub trait Spelling {
    /// The name; empty where it is none that can be written.
    fn spelling(&self) -> &str;
}

impl Spelling for Name {
    fn spelling(&self) -> &str {
        self.token()
    }
}

impl Spelling for &str {
    fn spelling(&self) -> &str {
        if chars::is_token(self.as_bytes()) { self } else { "" }
    }
}

impl<'o> Writer<'o> {
    /// Begins a request. `uri` must come from a parsed message or checked configuration; white space and
    /// control bytes in it, which would break the request line, are left out.
    pub fn request(out: &'o mut Vec<u8>, method: &str, uri: &[u8]) -> Writer<'o> {
        let start = out.len();
        out.extend_from_slice(method.as_bytes());
        out.push(b' ');
        if chars::is_graphic(uri) {
            out.extend_from_slice(uri);
        } else {
            out.extend(uri.iter().filter(|&&byte| byte > b' ' && byte != 0x7f));
        }
        out.extend_from_slice(b" SIP/2.0\r\n");
        Writer { out, start, is_request: true }
    }

    /// Begins a response.
    pub fn response(out: &'o mut Vec<u8>, code: u16, phrase: &str) -> Writer<'o> {
        let start = out.len();
        out.extend_from_slice(b"SIP/2.0 ");
        push_number(out, u64::from(code));
        out.push(b' ');
        push_clean(out, phrase.as_bytes());
        out.extend_from_slice(b"\r\n");
        Writer { out, start, is_request: false }
    }

    /// One header line. A name that is no token (`Name::Other` has none) writes nothing.
    pub fn header(&mut self, name: impl Spelling, value: &[u8]) -> &mut Self {
        self.header_parts(name, &[value])
    }

    /// One header line whose value is the parts one after another.
    pub fn header_parts(&mut self, name: impl Spelling, parts: &[&[u8]]) -> &mut Self {
        let name = name.spelling().as_bytes();
        if !name.is_empty() {
            push_header(self.out, name, parts);
        }
        self
    }

    /// One header line with a decimal number.
    pub fn number(&mut self, name: impl Spelling, value: u64) -> &mut Self {
        let name = name.spelling().as_bytes();
        if !name.is_empty() {
            self.out.extend_from_slice(name);
            self.out.extend_from_slice(b": ");
            push_number(self.out, value);
            self.out.extend_from_slice(b"\r\n");
        }
        self
    }

    /// The CSeq line.
    pub fn cseq(&mut self, number: u32, method: &str) -> &mut Self {
        self.out.extend_from_slice(b"CSeq: ");
        push_number(self.out, u64::from(number));
        self.out.push(b' ');
        push_clean(self.out, method.as_bytes());
        self.out.extend_from_slice(b"\r\n");
        self
    }

    /// Our own Via. Requests always ask for `rport` (RFC 3581 §3); `host` is `host[:port]` as advertised.
    pub fn via(&mut self, transport: Transport, host: &[u8], branch: &[u8]) -> &mut Self {
        self.out.extend_from_slice(b"Via: SIP/2.0/");
        self.out.extend_from_slice(transport.via_token().as_bytes());
        self.out.push(b' ');
        push_clean(self.out, host);
        self.out.extend_from_slice(b";branch=");
        push_clean(self.out, branch);
        self.out.extend_from_slice(if self.is_request { b";rport\r\n" } else { b"\r\n" });
        self
    }

    /// One field as it came, under the full spelling of its name; folding becomes a space.
    pub fn field(&mut self, field: &Field<'_>) -> &mut Self {
        push_header(self.out, field.spelling(), &[field.value]);
        self
    }

    /// Every field of that name, in order, as they came (Record-Route in a response that makes a dialog:
    /// RFC 3261 §12.1.1).
    pub fn copy(&mut self, fields: Fields<'_, '_>, name: Name) -> &mut Self {
        for value in fields.all(name) {
            self.header(name, value);
        }
        self
    }

    /// Whole header lines of our own, each with its CR LF.
    pub fn lines(&mut self, lines: &[u8]) -> &mut Self {
        self.out.extend_from_slice(lines);
        self
    }

    /// Ends the message with a body: `headers` are whole lines (`Content-Type: …\r\n`), as `Body` keeps them.
    /// Returns where the message stands in `out`.
    pub fn body(self, headers: &[u8], bytes: &[u8]) -> Range<usize> {
        self.out.extend_from_slice(headers);
        self.finish(bytes)
    }

    /// Ends the message without a body. Returns where it stands in `out`.
    pub fn end(self) -> Range<usize> {
        self.finish(&[])
    }

    fn finish(self, body: &[u8]) -> Range<usize> {
        self.out.extend_from_slice(b"Content-Length: ");
        push_number(self.out, body.len() as u64);
        self.out.extend_from_slice(b"\r\n\r\n");
        self.out.extend_from_slice(body);
        self.start..self.out.len()
    }
}

/// Appends a header line; the name must be a token. The parts are looked at once, when they stand there.
pub(super) fn push_header(out: &mut Vec<u8>, name: &[u8], parts: &[&[u8]]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    let value = out.len();
    for part in parts {
        out.extend_from_slice(part);
    }
    if chars::has_low_control(&out[value..]) {
        out.truncate(value);
        parts.iter().for_each(|part| push_unfolded(out, part));
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends a header value. Runs of white space that hold a CR or LF become one space, so a value can neither
/// fold nor end its line.
pub fn push_clean(out: &mut Vec<u8>, value: &[u8]) {
    if chars::has_low_control(value) {
        push_unfolded(out, value);
    } else {
        out.extend_from_slice(value);
    }
}

#[cold]
fn push_unfolded(out: &mut Vec<u8>, value: &[u8]) {
    let mut rest = value;
    while let Some(at) = memchr::memchr2(b'\r', b'\n', rest) {
        out.extend_from_slice(chars::trim_end(&rest[..at]));
        out.push(b' ');
        rest = chars::trim_start(&rest[at..]);
    }
    out.extend_from_slice(rest);
}

/// Appends a decimal number.
pub fn push_number(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Appends an address, IPv6 without brackets.
pub fn push_ip(out: &mut Vec<u8>, ip: IpAddr) {
    use std::io::Write;
    match ip {
        IpAddr::V4(v4) => {
            for (index, octet) in v4.octets().into_iter().enumerate() {
                if index > 0 {
                    out.push(b'.');
                }
                push_number(out, u64::from(octet));
            }
        }
        // Writing to a Vec cannot fail.
        IpAddr::V6(v6) => drop(write!(out, "{v6}")),
    }
}

/// Appends `ip:port`, IPv6 in brackets.
pub fn push_socket_addr(out: &mut Vec<u8>, addr: SocketAddr) {
    match addr.ip() {
        ip @ IpAddr::V4(_) => push_ip(out, ip),
        ip @ IpAddr::V6(_) => {
            out.push(b'[');
            push_ip(out, ip);
            out.push(b']');
        }
    }
    out.push(b':');
    push_number(out, u64::from(addr.port()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::wire::Message;

    #[test]
    fn a_request_is_written_and_read_back() {
        let mut out = b"before".to_vec();
        let mut w = Writer::request(&mut out, "INVITE", b"sip:+12015550101@192.0.2.7");
        w.via(Transport::Udp, b"192.0.2.1:5060", b"z9hG4bKabc");
        w.number(Name::MaxForwards, 70).header(Name::From, b"<sip:a@b>;tag=1").header(Name::To, b"<sip:c@d>");
        w.header("Call-ID", b"x@y").cseq(1, "INVITE");
        let range = w.body(b"Content-Type: application/sdp\r\n", b"v=0\r\n");
        let text = String::from_utf8_lossy(&out[range.clone()]).into_owned();
        insta::assert_snapshot!(text.replace('\r', ""), @r"
        INVITE sip:+12015550101@192.0.2.7 SIP/2.0
        Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKabc;rport
        Max-Forwards: 70
        From: <sip:a@b>;tag=1
        To: <sip:c@d>
        Call-ID: x@y
        CSeq: 1 INVITE
        Content-Type: application/sdp
        Content-Length: 5

        v=0
        ");
        let message = Message::parse(&out[range]).expect("our own message");
        assert_eq!(message.body(), b"v=0\r\n");
        assert_eq!(message.max_forwards(), Ok(Some(70)));
    }

    #[test]
    fn values_cannot_end_their_line() {
        for (value, written) in [
            ("plain", "plain"),
            ("a\r\n b", "a b"),
            ("a \r\n\t\r\n b\r\nInjected: yes", "a b Injected: yes"),
            ("\n\na\r", " a "),
        ] {
            let mut out = Vec::new();
            push_clean(&mut out, value.as_bytes());
            assert_eq!(String::from_utf8_lossy(&out), written);
            out.clear();
            push_header(&mut out, b"X", &[b"<", value.as_bytes(), b">"]);
            assert_eq!(String::from_utf8_lossy(&out), format!("X: <{written}>\r\n"));
        }
        let mut out = Vec::new();
        let mut w = Writer::request(&mut out, "INVITE", b"sip:a@b SIP/2.0\r\nX: y");
        w.header("Bad Name", b"x").header(Name::Other, b"x").header("", b"x");
        w.end();
        assert_eq!(out, b"INVITE sip:a@bSIP/2.0X:y SIP/2.0\r\nContent-Length: 0\r\n\r\n");
    }

    #[test]
    fn addresses_are_written_as_std_does() {
        for text in ["192.0.2.1:5060", "[2001:db8::1]:9", "0.0.0.0:0", "[::ffff:192.0.2.1]:65535"] {
            let mut out = Vec::new();
            push_socket_addr(&mut out, text.parse().expect("an address"));
            assert_eq!(String::from_utf8_lossy(&out), text);
        }
    }

    #[test]
    fn numbers_are_written_whole() {
        for value in [0, 7, 10, 65_535, u64::MAX] {
            let mut out = Vec::new();
            push_number(&mut out, value);
            assert_eq!(out, value.to_string().as_bytes());
        }
    }
}
