//! What must hold of any bytes that come. The fuzzer, the property tests and the replay of the corpus all call
//! this.

use std::net::SocketAddr;

use strowger::sip::body::Body;
use strowger::sip::build::{self, Writer};
use strowger::sip::header::{List, Name};
use strowger::sip::sdp;
use strowger::sip::uri::{self, Address, Uri};
use strowger::sip::wire::{Frame, MAX_MESSAGE, Malformed, Message, Via, frame};

/// Panics where something does not hold.
pub fn whatever_comes(bytes: &[u8]) {
    parts(bytes);
    cut_from_a_stream(bytes);
    match Message::parse(bytes) {
        Ok(message) => well_formed(&message),
        Err(malformed) => refused(&malformed),
    }
}

/// The bytes as one value.
fn parts(bytes: &[u8]) {
    if let Ok(uri) = Uri::parse(bytes) {
        assert!(uri::eq(&uri, &uri), "a URI is itself");
        let _ = (uri.socket_addr(), uri.user_unescaped(), uri.param("transport"));
    }
    if let Ok(address) = Address::parse(bytes) {
        let _ = (address.tag(), address.params().count());
    }
    let _ = (Via::parse(bytes), List::new(bytes).count(), sdp::is_held(bytes));
}

fn cut_from_a_stream(bytes: &[u8]) {
    let message = match frame(bytes) {
        Frame::Whole { len } => &bytes[..len],
        Frame::KeepAlive { len } => return assert!(bytes[..len].iter().all(|byte| b"\r\n".contains(byte))),
        Frame::Incomplete { need_at_least } => return assert!(need_at_least > 0),
        Frame::Bad(_) => return,
    };
    if let Ok(read) = Message::parse(message) {
        assert_eq!(read.raw(), message, "framing and reading agree on the end");
    }
}

fn well_formed(message: &Message<'_>) {
    for field in message.fields() {
        let mut lines = field.value.split(|&byte| byte == b'\n').skip(1);
        assert!(lines.all(|line| line.starts_with(b" ") || line.starts_with(b"\t")), "a line is one line");
    }
    for name in Name::ALL {
        let _ = (message.addresses(*name).count(), message.number(*name));
    }
    let _ = (message.contact(), message.max_forwards());
    carried_on(message);
    if message.is_request() {
        answered(message);
    }
    if let Some(body) = Body::of(message) {
        assert_eq!(body.bytes(), message.body());
        if let Some(offer) = body.sdp() {
            refused_offer(offer);
        }
    }
}

/// Written again by us it reads the same.
fn carried_on(message: &Message<'_>) {
    let mut out = Vec::new();
    let phrase = String::from_utf8_lossy(message.phrase());
    let mut w = if message.is_request() {
        Writer::request(&mut out, message.method_token(), message.uri_raw())
    } else {
        Writer::response(&mut out, message.status(), &phrase)
    };
    for field in message.fields().filter(|field| field.name != Name::ContentLength) {
        w.field(&field);
    }
    let range = w.body(b"", message.body());
    if range.len() > MAX_MESSAGE {
        return;
    }
    let again = Message::parse(&out[range]).unwrap_or_else(|bad| panic!("not what we read: {}", bad.fault));
    assert_eq!((again.method(), again.method_token()), (message.method(), message.method_token()));
    assert_eq!((again.status(), again.uri_raw()), (message.status(), message.uri_raw()));
    assert_eq!((again.call_id(), again.cseq()), (message.call_id(), message.cseq()));
    assert_eq!(again.from().uri_raw, message.from().uri_raw);
    assert_eq!((again.from().tag(), again.to().tag()), (message.from().tag(), message.to().tag()));
    assert_eq!((again.via().branch, again.via().port), (message.via().branch, message.via().port));
    assert_eq!(again.body(), message.body());
    let count = |one: &Message<'_>| one.fields().filter(|field| field.name != Name::ContentLength).count();
    assert_eq!(count(&again), count(message));
}

fn answered(request: &Message<'_>) {
    let mut out = Vec::new();
    let mut w = build::answer(&mut out, request, source(), 180, build::phrase(180), Some(b"ours"));
    w.copy(request.head(), Name::RecordRoute);
    let range = w.end();
    if range.len() > MAX_MESSAGE {
        return;
    }
    let response = Message::parse(&out[range]).unwrap_or_else(|bad| panic!("our answer: {}", bad.fault));
    assert_eq!((response.call_id(), response.cseq()), (request.call_id(), request.cseq()));
    assert_eq!(response.via().branch, request.via().branch);
    assert_eq!(response.list(Name::Via).count(), request.list(Name::Via).count());
    assert!(response.to().tag().is_some());
}

fn refused_offer(offer: &[u8]) {
    let mut answer = Vec::new();
    sdp::refuse_all(offer, &mut answer);
    assert_eq!(sdp::media(&answer).count(), sdp::media(offer).count(), "one m= line for each");
    assert!(sdp::media(&answer).all(|stream| stream.port == 0));
    assert!(!sdp::is_held(&answer));
}

fn refused(malformed: &Malformed<'_>) {
    let mut out = Vec::new();
    match build::answer_malformed(&mut out, malformed, source(), b"ours") {
        Some(range) => {
            assert_eq!(range, 0..out.len());
            assert!(malformed.is_request());
            assert_eq!(memchr::memmem::find(&out, b"\r\n\r\n"), Some(out.len() - 4), "one head and no body");
            let ends = memchr::memchr2_iter(b'\r', b'\n', &out).count();
            assert_eq!(ends, 2 * memchr::memmem::find_iter(&out, b"\r\n").count(), "no bare line end");
        }
        None => assert!(out.is_empty()),
    }
}

fn source() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 77], 4711))
}
