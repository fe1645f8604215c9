use std::net::SocketAddr;
use std::ops::Range;

use super::{Writer, phrase, push_clean, push_ip, push_number};
use crate::sip::header::{List, Name, Params, chars};
use crate::sip::uri::{self, Address};
use crate::sip::wire::{Malformed, Message, Via};

/// Begins the response to a request (RFC 3261 §8.2.6.2): every Via in order, the top one with `received` and
/// `rport` filled in from where the request came from; From; To, with `to_tag` where it has no tag; Call-ID;
/// CSeq; in a 100 the Timestamp too (§8.2.6.1).
///
/// A response that makes a dialog also needs `.copy(request.head(), Name::RecordRoute)`. A 100 takes no tag: give
/// `None`.
pub fn answer<'o>(
    out: &'o mut Vec<u8>,
    request: &Message<'_>,
    source: SocketAddr,
    code: u16,
    phrase: &str,
    to_tag: Option<&[u8]>,
) -> Writer<'o> {
    let mut w = Writer::response(out, code, phrase);
    write_vias(&mut w, request, source);
    w.header(Name::From, request.from().raw);
    let to = request.to();
    match to_tag {
        Some(tag) if to.tag().is_none() => w.header_parts(Name::To, &[to.raw, b";tag=", tag]),
        Some(_) | None => w.header(Name::To, to.raw),
    };
    w.header(Name::CallId, request.call_id());
    w.copy(request.head(), Name::CSeq);
    if code == 100 {
        w.copy(request.head(), Name::Timestamp);
    }
    w
}

/// What all responses to one request have in common, written once: what [`answer`] writes, without the status
/// line and our tag.
#[derive(Debug, Default)]
pub struct AnswerHead {
    text: Box<[u8]>,
    /// Where our tag goes into To; at 0, which is nowhere, when the request had one.
    tag_at: usize,
    /// Where the Record-Routes begin.
    routes_at: usize,
}

impl AnswerHead {
    /// `out` is room to write in; what stands in it is kept.
    pub fn of(out: &mut Vec<u8>, request: &Message<'_>, source: SocketAddr) -> AnswerHead {
        let start = out.len();
        let mut w = Writer { out, start, is_request: false };
        write_vias(&mut w, request, source);
        w.header(Name::From, request.from().raw);
        let to = request.to();
        w.header(Name::To, to.raw);
        let tag_at = if to.tag().is_none() { w.out.len() - start - b"\r\n".len() } else { 0 };
        w.header(Name::CallId, request.call_id());
        w.copy(request.head(), Name::CSeq);
        let routes_at = w.out.len() - start;
        w.copy(request.head(), Name::RecordRoute);
        let text = out[start..].into();
        out.truncate(start);
        AnswerHead { text, tag_at, routes_at }
    }

    /// Begins a response; a 100 takes no tag, and wants its Timestamp copied.
    pub fn answer<'o>(&self, out: &'o mut Vec<u8>, code: u16, to_tag: Option<&[u8]>) -> Writer<'o> {
        let w = Writer::response(out, code, phrase(code));
        let (before, after) = self.text[..self.routes_at].split_at(self.tag_at);
        w.out.extend_from_slice(before);
        if let Some(tag) = to_tag.filter(|_| self.tag_at > 0) {
            w.out.extend_from_slice(b";tag=");
            w.out.extend_from_slice(tag);
        }
        w.out.extend_from_slice(after);
        w
    }

    /// Begins a response that makes a dialog (RFC 3261 §12.1.1).
    pub fn answer_with_routes<'o>(&self, out: &'o mut Vec<u8>, code: u16, to_tag: &[u8]) -> Writer<'o> {
        let w = self.answer(out, code, Some(to_tag));
        w.out.extend_from_slice(&self.text[self.routes_at..]);
        w
    }
}

/// Writes the 400, 505 or 513 that answers a malformed request, its fault in the reason phrase, with what of
/// the request can be read (RFC 4475 §3.3.1). `None`, and nothing written, where no answer is due: responses,
/// ACKs, what is not SIP, and requests without a Via to send it to.
pub fn answer_malformed(
    out: &mut Vec<u8>,
    malformed: &Malformed<'_>,
    source: SocketAddr,
    to_tag: &[u8],
) -> Option<Range<usize>> {
    let salvage = malformed.salvage()?;
    let mut w = Writer::response(out, malformed.fault.code(), &malformed.fault.to_string());
    w.out.extend_from_slice(b"Via: ");
    write_via_received(w.out, &salvage.via, source);
    w.out.extend_from_slice(b"\r\n");
    for via in salvage.further_vias {
        w.header(Name::Via, via);
    }
    if let Some(from) = salvage.from {
        w.header(Name::From, from);
    }
    if let Some(to) = salvage.to {
        let tagged = Address::parse(to).is_ok_and(|to| to.tag().is_some());
        let parts: &[&[u8]] = if tagged { &[to] } else { &[to, b";tag=", to_tag] };
        w.header_parts(Name::To, parts);
    }
    if let Some(call_id) = salvage.call_id {
        w.header(Name::CallId, call_id);
    }
    if let Some(cseq) = salvage.cseq {
        w.header(Name::CSeq, cseq);
    }
    Some(w.end())
}

fn write_vias(w: &mut Writer<'_>, request: &Message<'_>, source: SocketAddr) {
    let mut fields = request.all(Name::Via);
    let (top, line) = (request.via(), fields.next().unwrap_or_default());
    w.out.extend_from_slice(b"Via: ");
    write_via_received(w.out, &top, source);
    if line.len() > top.raw.len() {
        for further in List::new(line).skip(1) {
            w.out.extend_from_slice(b", ");
            push_clean(w.out, further);
        }
    }
    w.out.extend_from_slice(b"\r\n");
    for value in fields {
        w.header(Name::Via, value);
    }
}

/// Appends the value of a request's top Via as the receiver amends it: `received` where sent-by is not the
/// source address (RFC 3261 §18.2.1) and always beside `rport`, which gets the source port (RFC 3581 §4). A
/// `received` that the sender wrote is left out.
pub fn write_via_received(out: &mut Vec<u8>, via: &Via<'_>, source: SocketAddr) {
    let ip = source.ip().to_canonical();
    let sent_by = &via.raw[..via.raw.len() - via.params.len()];
    push_clean(out, chars::trim(sent_by));
    for param in Params::new(via.params) {
        if param.name.eq_ignore_ascii_case(b"received") {
            continue;
        }
        out.push(b';');
        out.extend_from_slice(param.name);
        if param.name.eq_ignore_ascii_case(b"rport") {
            out.push(b'=');
            push_number(out, u64::from(source.port()));
        } else if let Some(value) = param.value {
            out.push(b'=');
            push_clean(out, value);
        }
    }
    if via.rport.is_some() || uri::host_ip(via.host) != Some(ip) {
        out.extend_from_slice(b";received=");
        push_ip(out, ip);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::build::phrase;

    const OPTIONS: &str = "OPTIONS sip:x@192.0.2.1 SIP/2.0\r\n\
        Via: SIP/2.0/UDP pc.example.com:5066;rport;branch=z9hG4bK1;received=1.2.3.4, SIP/2.0/TCP a;branch=b\r\n\
        v: SIP/2.0/UDP c;branch=d\r\n\
        From: <sip:a@b>;tag=1\r\nTo: sip:c@d\r\nCall-ID: x@y\r\nCSeq: 7\r\n  OPTIONS\r\nTimestamp: 54\r\n\r\n";

    fn written(source: &str, code: u16, tag: Option<&[u8]>) -> String {
        let request = Message::parse(OPTIONS.as_bytes()).expect("a request");
        let mut out = Vec::new();
        let source = source.parse().expect("an address");
        let range = answer(&mut out, &request, source, code, phrase(code), tag).end();
        assert_eq!(range, 0..out.len());
        Message::parse(&out).expect("our own response");
        String::from_utf8_lossy(&out).replace('\r', "")
    }

    #[test]
    fn the_top_via_says_where_the_request_came_from() {
        insta::assert_snapshot!(written("192.0.2.9:4711", 404, Some(b"t")), @r"
        SIP/2.0 404 Not Found
        Via: SIP/2.0/UDP pc.example.com:5066;rport=4711;branch=z9hG4bK1;received=192.0.2.9, SIP/2.0/TCP a;branch=b
        Via: SIP/2.0/UDP c;branch=d
        From: <sip:a@b>;tag=1
        To: sip:c@d;tag=t
        Call-ID: x@y
        CSeq: 7 OPTIONS
        Content-Length: 0
        ");
    }

    #[test]
    fn an_answer_written_from_a_kept_head_is_the_same() {
        for text in [
            OPTIONS.to_owned(),
            OPTIONS.replace("To: sip:c@d", "Record-Route: <sip:r;lr>\r\nTo: <sip:c@d>;tag=x"),
        ] {
            let request = Message::parse(text.as_bytes()).expect("a request");
            let source = ([192, 0, 2, 9], 4711).into();
            let mut out = b"before".to_vec();
            let head = AnswerHead::of(&mut out, &request, source);
            assert_eq!(out, b"before");
            for (code, tag) in [(180, Some(&b"t"[..])), (486, Some(b"t")), (183, None)] {
                let (mut whole, mut parts) = (Vec::new(), Vec::new());
                answer(&mut whole, &request, source, code, phrase(code), tag).end();
                head.answer(&mut parts, code, tag).end();
                assert_eq!(parts, whole);
            }
            let (mut whole, mut parts) = (Vec::new(), Vec::new());
            let mut w = answer(&mut whole, &request, source, 200, phrase(200), Some(b"t"));
            w.copy(request.head(), Name::RecordRoute);
            w.end();
            head.answer_with_routes(&mut parts, 200, b"t").end();
            assert_eq!(parts, whole);
        }
    }

    #[test]
    fn a_100_carries_the_timestamp_and_no_tag() {
        let text = written("[2001:db8::1]:5060", 100, None);
        assert!(text.contains("received=2001:db8::1"), "{text}");
        assert!(text.contains("To: sip:c@d\n"), "{text}");
        assert!(text.contains("Timestamp: 54\n"), "{text}");
    }

    #[test]
    fn received_is_left_out_where_sent_by_is_the_source() {
        let via = Via::parse(b"SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK1").expect("a Via");
        let mut out = Vec::new();
        write_via_received(&mut out, &via, ([192, 0, 2, 1], 9).into());
        assert_eq!(out, b"SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK1");
        out.clear();
        write_via_received(&mut out, &via, ([192, 0, 2, 2], 9).into());
        assert_eq!(out, b"SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK1;received=192.0.2.2");
    }

    #[test]
    fn malformed_requests_are_answered_with_what_can_be_read() {
        let source = ([192, 0, 2, 2], 5060).into();
        let answered = |text: &str| {
            let malformed = Message::parse(text.as_bytes()).expect_err("malformed");
            let mut out = Vec::new();
            answer_malformed(&mut out, &malformed, source, b"t")
                .map(|_| String::from_utf8_lossy(&out).into_owned())
        };
        let no_call_id = OPTIONS.replace("Call-ID: x@y\r\n", "");
        let text = answered(&no_call_id).expect("an answer");
        assert!(text.starts_with("SIP/2.0 400 Missing Call-ID header field\r\n"), "{text}");
        assert!(text.contains("CSeq: 7 OPTIONS\r\n"), "{text}");
        assert_eq!(answered(&no_call_id.replace("OPTIONS", "ACK")), None);
        assert_eq!(answered(&OPTIONS.replace("Via", "Vax").replace("v:", "w:")), None);
        assert_eq!(answered("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), None);
        let version = answered(&OPTIONS.replace(" SIP/2.0\r\nVia", " SIP/7.0\r\nVia")).expect("an answer");
        assert!(version.starts_with("SIP/2.0 505 Version Not Supported\r\n"), "{version}");
    }
}
