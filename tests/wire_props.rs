//! Whatever we write is read back the same, by us and by two readers that are not ours; whatever bytes come,
//! nothing panics and nothing is carried on that another reader would see as more than one line.

#![expect(clippy::expect_used, reason = "a test that cannot go on says so")]

use std::net::SocketAddr;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use strowger::sip::build::{self, Writer};
use strowger::sip::header::{Method, Name};
use strowger::sip::peer::Transport;
use strowger::sip::uri::{self, Uri};
use strowger::sip::wire::{Frame, Message, frame};

#[path = "../fuzz/checks/wire.rs"]
mod checks;

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read_back_the_same(written in message()) {
        let (bytes, range) = written.write();
        let m = Message::parse(&bytes[range.clone()]).map_err(|bad| fail(&bytes, bad.fault))?;
        prop_assert_eq!(m.raw(), &bytes[range]);
        prop_assert_eq!(m.method().token(), written.method.token());
        prop_assert_eq!(m.status(), written.status.unwrap_or(0));
        prop_assert_eq!(m.via().branch_3261(), Some(written.branch.as_bytes()));
        prop_assert_eq!(m.via().rport, written.status.is_none().then_some(None));
        prop_assert_eq!(m.from().tag(), Some(written.from_tag.as_bytes()));
        prop_assert_eq!(m.from().uri_raw, written.from_uri.as_bytes());
        prop_assert_eq!(m.to().tag(), written.to_tag.as_ref().map(String::as_bytes));
        prop_assert_eq!(m.call_id(), written.call_id.as_bytes());
        prop_assert_eq!(m.cseq(), written.cseq);
        prop_assert_eq!(m.max_forwards(), Ok(Some(u32::from(written.max_forwards))));
        prop_assert_eq!(m.body(), &written.body[..]);
        if written.status.is_none() {
            prop_assert_eq!(m.uri_raw(), written.uri.as_bytes());
            prop_assert!(uri::eq(&m.uri().expect("a URI"), &Uri::parse(written.uri.as_bytes()).expect("a URI")));
        }
        for (name, value) in &written.others {
            let read: Vec<_> = m.head().all_named(name).collect();
            prop_assert!(read.contains(&one_line(value).as_bytes()), "{} in {:?}", name, read);
        }
        // Over a stream it is one whole message, and no prefix of it is.
        prop_assert_eq!(frame(m.raw()), Frame::Whole { len: m.raw().len() });
    }

    #[test]
    fn rsip_reads_what_we_write_as_we_do(written in message().prop_map(fit_for_rsip)) {
        use rsip::prelude::*;
        let (bytes, range) = written.write();
        let ours = Message::parse(&bytes[range.clone()]).map_err(|bad| fail(&bytes, bad.fault))?;
        let theirs = rsip::SipMessage::try_from(&bytes[range]).map_err(|bad| fail(&bytes, bad))?;
        prop_assert_eq!(theirs.is_request(), ours.is_request());
        prop_assert_eq!(theirs.headers().iter().count(), ours.fields().count());
        prop_assert_eq!(theirs.call_id_header().expect("Call-ID").value().as_bytes(), ours.call_id());
        let cseq = theirs.cseq_header().expect("CSeq").typed().map_err(|bad| fail(&bytes, bad))?;
        prop_assert_eq!((cseq.seq, cseq.method.to_string()), (ours.cseq(), ours.method_token().to_owned()));
        let from = theirs.from_header().expect("From").typed().map_err(|bad| fail(&bytes, bad))?;
        prop_assert_eq!(from.tag().map(|tag| tag.value().as_bytes()), ours.from().tag());
        prop_assert_eq!(theirs.body(), ours.body());
        match theirs {
            rsip::SipMessage::Request(request) => {
                prop_assert_eq!(request.method.to_string(), ours.method_token());
                let uri = ours.uri().expect("a URI");
                prop_assert_eq!(request.uri.user().map(str::as_bytes), uri.user);
                prop_assert_eq!(request.uri.port().map(|port| *port.value()), uri.port);
            }
            rsip::SipMessage::Response(response) => {
                prop_assert_eq!(response.status_code.code(), ours.status());
            }
        }
    }

    #[test]
    fn sipx_reads_what_we_write_as_we_do(written in message()) {
        use sipx_sip::headers::{CSeq, From, Via};
        let (bytes, range) = written.write();
        let ours = Message::parse(&bytes[range.clone()]).map_err(|bad| fail(&bytes, bad.fault))?;
        let datagram = bytes::Bytes::copy_from_slice(&bytes[range]);
        let theirs = sipx_sip::parse_datagram(datagram, &sipx_sip::Limits::datagram())
            .map_err(|bad| fail(&bytes, bad))?;
        let headers = theirs.headers();
        prop_assert_eq!(headers.len(), ours.fields().count());
        for (their, our) in headers.iter().zip(ours.fields()) {
            prop_assert_eq!(&*their.value(), our.value);
        }
        let cseq = headers.typed::<CSeq>().expect("CSeq").map_err(|bad| fail(&bytes, bad))?;
        prop_assert_eq!((cseq.sequence, cseq.method.as_bytes()), (ours.cseq(), ours.method_token().as_bytes()));
        let from = headers.typed::<From>().expect("From").map_err(|bad| fail(&bytes, bad))?;
        prop_assert_eq!(from.0.tag(), ours.from().tag());
        let via = headers.typed::<Via>().expect("Via").map_err(|bad| fail(&bytes, bad))?;
        prop_assert_eq!((via.branch(), via.port), (ours.via().branch, ours.via().port));
        prop_assert_eq!(&theirs.body()[..], ours.body());
        match theirs {
            sipx_sip::Message::Request(request) => {
                prop_assert_eq!(request.method.as_bytes(), ours.method_token().as_bytes());
                let uri = ours.uri().expect("a URI");
                prop_assert_eq!(request.uri.user(), uri.user.filter(|_| uri.scheme != uri::Scheme::Tel));
                prop_assert_eq!(request.uri.port(), uri.port);
            }
            sipx_sip::Message::Response(response) => {
                prop_assert_eq!(response.status.code(), ours.status());
                prop_assert_eq!(&response.reason[..], ours.phrase());
            }
        }
    }

    #[test]
    fn an_answer_matches_its_request(written in message().prop_map(request), code in 100u16..700, source in source()) {
        let (bytes, range) = written.write();
        let request = Message::parse(&bytes[range]).map_err(|bad| fail(&bytes, bad.fault))?;
        let mut out = Vec::new();
        let mut w = build::answer(&mut out, &request, source, code, build::phrase(code), Some(b"ours"));
        w.copy(request.head(), Name::RecordRoute);
        let range = w.end();
        let response = Message::parse(&out[range]).map_err(|bad| fail(&out, bad.fault))?;
        prop_assert_eq!(response.status(), code);
        prop_assert_eq!(response.call_id(), request.call_id());
        prop_assert_eq!(response.method_token(), request.method_token());
        prop_assert_eq!(response.via().branch, request.via().branch);
        prop_assert_eq!(response.via().rport, Some(Some(source.port())));
        prop_assert_eq!(response.via().received, Some(source.ip().to_canonical()));
        prop_assert_eq!(response.list(Name::Via).count(), request.list(Name::Via).count());
        prop_assert_eq!(response.to().tag(), request.to().tag().or(Some(b"ours")));
    }

    #[test]
    fn mutated_messages_are_read_or_refused(written in message(), mutations in vec(mutation(), 1..8)) {
        let (mut bytes, _) = written.write();
        for mutation in &mutations {
            mutation.apply(&mut bytes);
        }
        checks::whatever_comes(&bytes);
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in vec(any::<u8>(), 0..400)) {
        checks::whatever_comes(&bytes);
    }

    #[test]
    fn lines_cannot_be_smuggled(value in vec(any::<u8>(), 0..60)) {
        let mut out = Vec::new();
        let mut w = Writer::request(&mut out, "OPTIONS", b"sip:a@b");
        w.header("Subject", &value).header("X-Last", b"1");
        w.end();
        prop_assert_eq!(memchr::memmem::find_iter(&out, b"\r\n").count(), 5);
        prop_assert_eq!(memchr::memchr2_iter(b'\r', b'\n', &out).count(), 10);
    }
}

/// What the fuzzer found, and what it started from.
#[test]
fn the_corpus_of_the_fuzzer_is_replayed() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/wire");
    let mut inputs = 0;
    for entry in std::fs::read_dir(folder).expect("the corpus") {
        let path = entry.expect("an entry").path();
        checks::whatever_comes(
            &std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())),
        );
        inputs += 1;
    }
    assert!(inputs > 0, "an empty corpus");
}

fn fail(bytes: &[u8], why: impl std::fmt::Display) -> TestCaseError {
    TestCaseError::fail(format!("{why}\n{}", String::from_utf8_lossy(bytes)))
}

/// What is to be written.
#[derive(Clone, Debug)]
struct Written {
    method: Method,
    status: Option<u16>,
    uri: String,
    transport: Transport,
    sent_by: String,
    branch: String,
    further_vias: Vec<String>,
    display: Option<String>,
    from_uri: String,
    from_tag: String,
    to_tag: Option<String>,
    call_id: String,
    cseq: u32,
    max_forwards: u8,
    others: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Written {
    fn write(&self) -> (Vec<u8>, std::ops::Range<usize>) {
        let mut out = b"what stood before".to_vec();
        let mut w = match self.status {
            Some(code) => Writer::response(&mut out, code, build::phrase(code)),
            None => Writer::request(&mut out, self.method.token(), self.uri.as_bytes()),
        };
        w.via(self.transport, self.sent_by.as_bytes(), format!("z9hG4bK{}", self.branch).as_bytes());
        for via in &self.further_vias {
            w.header(Name::Via, via.as_bytes());
        }
        w.number(Name::MaxForwards, u64::from(self.max_forwards));
        let display = self.display.as_ref().map(|name| format!("\"{name}\" ")).unwrap_or_default();
        let (uri, tag) = (self.from_uri.as_bytes(), self.from_tag.as_bytes());
        w.header_parts(Name::From, &[display.as_bytes(), b"<", uri, b">;tag=", tag]);
        let tag = self.to_tag.as_ref().map(|tag| format!(";tag={tag}")).unwrap_or_default();
        w.header_parts(Name::To, &[b"<sip:callee@example.com>", tag.as_bytes()]);
        w.header(Name::CallId, self.call_id.as_bytes()).cseq(self.cseq, self.method.token());
        for (name, value) in &self.others {
            w.header(name.as_str(), value.as_bytes());
        }
        let range = match self.body.is_empty() {
            true => w.end(),
            false => w.body(b"Content-Type: application/octet-stream\r\n", &self.body),
        };
        (out, range)
    }
}

/// A value as it stands once folding is out of it.
fn one_line(value: &str) -> String {
    let mut out = Vec::new();
    build::push_clean(&mut out, value.as_bytes());
    String::from_utf8(out).expect("UTF-8").trim_matches([' ', '\t']).to_owned()
}

fn message() -> impl Strategy<Value = Written> {
    let methods = [Method::Invite, Method::Ack, Method::Bye, Method::Cancel, Method::Options, Method::Prack]
        .into_iter()
        .chain([Method::Update, Method::Info, Method::Notify, Method::Register]);
    let head = (
        select(methods.collect::<Vec<_>>()),
        option::of(select(vec![100u16, 180, 183, 200, 302, 404, 486, 487, 503, 603])),
        request_uri(),
        select(vec![Transport::Udp, Transport::Tcp, Transport::Tls]),
        "(192\\.0\\.2\\.[1-9]|node-[a-z]{1,8}\\.example\\.net)(:[1-9][0-9]{3})?",
        "[A-Za-z0-9.~-]{1,30}",
        vec("SIP/2\\.0/(UDP|TCP) [a-z]{1,9}\\.example\\.org;branch=z9hG4bK[a-z0-9]{1,9}", 0..3),
    );
    let rest = (
        option::of("[A-Za-z ,.'()-]{0,20}"),
        "sips?:[a-z0-9+]{1,12}@[a-z]{1,9}\\.example\\.com(;user=phone)?",
        "[A-Za-z0-9-]{1,20}",
        option::of("[A-Za-z0-9-]{1,20}"),
        "[A-Za-z0-9-]{1,20}(@[a-z0-9.]{1,12})?",
        0u32..0x8000_0000,
        any::<u8>(),
        vec((extension_name(), extension_value()), 0..40),
        prop_oneof![Just(Vec::new()), vec(any::<u8>(), 1..300), vec(32u8..127, 1..300)],
    );
    (head, rest).prop_map(|(head, rest)| {
        let (method, status, uri, transport, sent_by, branch, further_vias) = head;
        let (display, from_uri, from_tag, to_tag, call_id, cseq, max_forwards, others, body) = rest;
        let display = display.map(|name| name.trim().to_owned());
        Written {
            method,
            status,
            uri,
            transport,
            sent_by,
            branch,
            further_vias,
            display,
            from_uri,
            from_tag,
            to_tag,
            call_id,
            cseq,
            max_forwards,
            others,
            body,
        }
    })
}

fn request(written: Written) -> Written {
    Written { status: None, ..written }
}

/// Its bodies go through UTF-8, and it refuses IPv6 hosts and `tel:`.
fn fit_for_rsip(mut written: Written) -> Written {
    written.body.retain(u8::is_ascii);
    if written.uri.contains('[') || written.uri.starts_with("tel") {
        written.uri = "sip:+12015550101@192.0.2.7:5070".to_owned();
    }
    written
}

fn request_uri() -> impl Strategy<Value = String> {
    prop_oneof![
        "sip:\\+1201555[0-9]{4}@192\\.0\\.2\\.[1-9](:[1-9][0-9]{3})?",
        "sip:[a-z0-9][a-z0-9_-]{0,11}@[a-z]{1,9}\\.example\\.com(:[1-9][0-9]{3})?(;transport=(udp|tcp))?(;lr)?",
        "sip:[a-z]{1,9}@\\[2001:db8::[1-9a-f]{1,4}\\](:[1-9][0-9]{3})?",
        "tel:\\+1201555[0-9]{4}",
    ]
}

/// Names that no table knows, and some that it does.
fn extension_name() -> impl Strategy<Value = String> {
    prop_oneof![
        "X-[A-Z][a-z]{1,12}",
        select(vec!["Subject".into(), "User-Agent".into(), "User-to-User".into()])
    ]
}

/// Free text, with what an attacker would put in it.
fn extension_value() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        "[A-Za-z0-9;=<>@/é ]{1,12}",
        select(vec!["\r\n".to_owned(), "\n".into(), "\r\n ".into()])
    ];
    ("[A-Za-z0-9]", vec(piece, 0..5)).prop_map(|(first, pieces)| first + &pieces.concat())
}

fn source() -> impl Strategy<Value = SocketAddr> {
    (any::<std::net::IpAddr>(), 1u16..).prop_map(|(ip, port)| SocketAddr::new(ip, port))
}

/// Harm to a message on its way.
#[derive(Clone, Debug)]
enum Mutation {
    Cut(prop::sample::Index),
    Replace(prop::sample::Index, u8),
    Insert(prop::sample::Index, Vec<u8>),
    Remove(prop::sample::Index),
    /// A piece once more, elsewhere.
    Repeat(prop::sample::Index, prop::sample::Index, prop::sample::Index),
}

impl Mutation {
    fn apply(&self, bytes: &mut Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        let length = bytes.len();
        match self {
            Mutation::Cut(at) => bytes.truncate(at.index(length)),
            Mutation::Replace(at, byte) => bytes[at.index(length)] = *byte,
            Mutation::Insert(at, what) => {
                let at = at.index(length);
                bytes.splice(at..at, what.iter().copied());
            }
            Mutation::Remove(at) => {
                bytes.remove(at.index(length));
            }
            Mutation::Repeat(from, to, at) => {
                let (from, to) = (from.index(length), to.index(length));
                let piece = bytes[from.min(to)..from.max(to)].to_vec();
                let at = at.index(length);
                bytes.splice(at..at, piece);
            }
        }
    }
}

fn mutation() -> impl Strategy<Value = Mutation> {
    use prop::sample::Index;
    let telling = select(b"\r\n \t:;,<>\"\\%@[]=?\0\x7f\xff0/".to_vec());
    prop_oneof![
        1 => any::<Index>().prop_map(Mutation::Cut),
        4 => (any::<Index>(), telling.clone()).prop_map(|(at, byte)| Mutation::Replace(at, byte)),
        4 => (any::<Index>(), vec(telling, 1..4)).prop_map(|(at, what)| Mutation::Insert(at, what)),
        2 => any::<Index>().prop_map(Mutation::Remove),
        1 => any::<[Index; 3]>().prop_map(|[from, to, at]| Mutation::Repeat(from, to, at)),
    ]
}
