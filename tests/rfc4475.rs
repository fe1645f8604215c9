//! RFC 4475, the torture messages: every one, byte for byte as in its appendix A, with what becomes of it.

#![expect(clippy::expect_used, reason = "a test that cannot go on says so")]

use std::hash::Hasher;
use std::net::SocketAddr;
use std::time::Duration;

use strowger::engine::exchange::{Effects, Input};
use strowger::sim::served::served;
use strowger::sip::body::Body;
use strowger::sip::build::answer_malformed;
use strowger::sip::header::{Method, Name};
use strowger::sip::peer::{ListenerId, Peer, Transport};
use strowger::sip::uri::{self, BadUri, Scheme, Uri};
use strowger::sip::wire::{BadFrame, Fault, Frame, Message, frame};
use strowger::time::{Instant, Now, Wall};

#[path = "common/torture.rs"]
mod torture;

const FOLDER: torture::Torture = torture::Torture("rfc4475");

/// What becomes of a message.
enum Outcome {
    /// It is well formed, and the check finds in it what the RFC wants found.
    Parses(fn(&Message)),
    /// It is well formed, and the layers above answer with this status, for the reason that the check shows.
    AnsweredAbove(u16, fn(&Message)),
    /// It is malformed and answered with the fault's status.
    Refused(u16, Fault),
    /// It is malformed and must not be answered.
    Silence(Fault),
}

use Outcome::{AnsweredAbove, Parses, Refused, Silence};

/// Name, section, outcome; in the order of the RFC.
const MESSAGES: &[(&str, &str, Outcome)] = &[
    ("wsinv", "3.1.1.1", Parses(wsinv)),
    ("intmeth", "3.1.1.2", AnsweredAbove(405, intmeth)),
    ("esc01", "3.1.1.3", Parses(esc01)),
    ("escnull", "3.1.1.4", Parses(escnull)),
    ("esc02", "3.1.1.5", AnsweredAbove(405, esc02)),
    ("lwsdisp", "3.1.1.6", Parses(lwsdisp)),
    ("longreq", "3.1.1.7", Parses(longreq)),
    ("dblreq", "3.1.1.8", Parses(dblreq)),
    ("semiuri", "3.1.1.9", Parses(semiuri)),
    ("transports", "3.1.1.10", Parses(transports)),
    ("mpart01", "3.1.1.11", Parses(mpart01)),
    ("unreason", "3.1.1.12", Parses(unreason)),
    ("noreason", "3.1.1.13", Parses(noreason)),
    ("badinv01", "3.1.2.1", Refused(400, Fault::Bad(Name::Via))),
    ("clerr", "3.1.2.2", Refused(400, Fault::Truncated)),
    ("ncl", "3.1.2.3", Refused(400, Fault::Bad(Name::ContentLength))),
    ("scalar02", "3.1.2.4", Refused(400, Fault::Bad(Name::CSeq))),
    ("scalarlg", "3.1.2.5", Silence(Fault::Bad(Name::CSeq))),
    ("quotbal", "3.1.2.6", Refused(400, Fault::Bad(Name::To))),
    ("ltgtruri", "3.1.2.7", Refused(400, Fault::RequestUri(BadUri::Scheme))),
    ("lwsruri", "3.1.2.8", Refused(400, Fault::StartLine)),
    ("lwsstart", "3.1.2.9", Refused(400, Fault::StartLine)),
    ("trws", "3.1.2.10", Refused(400, Fault::StartLine)),
    ("escruri", "3.1.2.11", Refused(400, Fault::RequestUri(BadUri::Headers))),
    ("baddate", "3.1.2.12", Parses(baddate)),
    // Its 400 is a registrar's; there is none yet (R1).
    ("regbadct", "3.1.2.13", AnsweredAbove(401, regbadct)),
    ("badaspec", "3.1.2.14", Refused(400, Fault::Bad(Name::To))),
    ("baddn", "3.1.2.15", Refused(400, Fault::NoEmptyLine)),
    ("badvers", "3.1.2.16", Refused(505, Fault::Version)),
    ("mismatch01", "3.1.2.17", Refused(400, Fault::CSeqMethod)),
    ("mismatch02", "3.1.2.18", Refused(400, Fault::CSeqMethod)),
    ("bigcode", "3.1.2.19", Silence(Fault::Status)),
    ("badbranch", "3.2.1", Parses(badbranch)),
    ("insuf", "3.3.1", Refused(400, Fault::Missing(Name::CallId))),
    ("unkscm", "3.3.2", AnsweredAbove(416, unkscm)),
    ("novelsc", "3.3.3", AnsweredAbove(416, novelsc)),
    ("unksm2", "3.3.4", Parses(unksm2)),
    ("bext01", "3.3.5", AnsweredAbove(420, bext01)),
    ("invut", "3.3.6", AnsweredAbove(415, invut)),
    ("regaut01", "3.3.7", Parses(regaut01)),
    ("multi01", "3.3.8", Refused(400, Fault::Repeated(Name::CSeq))),
    ("mcl01", "3.3.9", Refused(400, Fault::Repeated(Name::ContentLength))),
    ("bcast", "3.3.10", Parses(bcast)),
    // OPTIONS that ends here is answered, not passed on (RFC 3261 §11).
    ("zeromf", "3.3.11", AnsweredAbove(200, zeromf)),
    ("cparam01", "3.3.12", Parses(cparam01)),
    ("cparam02", "3.3.13", Parses(cparam02)),
    ("regescrt", "3.3.14", Parses(regescrt)),
    ("sdp01", "3.3.15", Parses(sdp01)),
    ("inv2543", "3.4.1", Parses(inv2543)),
];

#[test]
fn every_message_meets_its_outcome() {
    for (name, section, outcome) in MESSAGES {
        let bytes = file(name);
        let read = Message::parse(&bytes);
        match (outcome, read) {
            (Parses(check), Ok(message)) => {
                check(&message);
                assert_ne!(told(&bytes), Some(400), "{name}, {section}");
            }
            (AnsweredAbove(code, check), Ok(message)) => {
                check(&message);
                assert_eq!(told(&bytes), Some(*code), "{name}, {section}");
            }
            (Refused(code, fault), Err(malformed)) => {
                assert_eq!(malformed.fault, *fault, "{name}, {section}");
                let answer = answered(&bytes).unwrap_or_else(|| panic!("{name}, {section}: not answered"));
                assert!(answer.starts_with(&format!("SIP/2.0 {code} ")), "{name}, {section}: {answer}");
                assert_eq!(told(&bytes), Some(*code), "{name}, {section}");
            }
            (Silence(fault), Err(malformed)) => {
                assert_eq!(malformed.fault, *fault, "{name}, {section}");
                assert_eq!(answered(&bytes), None, "{name}, {section}");
                assert_eq!(told(&bytes), None, "{name}, {section}");
            }
            (Parses(_) | AnsweredAbove(..), Err(malformed)) => {
                panic!("{name}, {section}: refused: {}", malformed.fault)
            }
            (Refused(..) | Silence(_), Ok(_)) => panic!("{name}, {section}: accepted"),
        }
    }
}

#[test]
fn no_message_is_left_out() {
    FOLDER.is_whole(MESSAGES.iter().map(|(name, ..)| *name), 49);
}

/// In the RFC's archive this message alone has no empty line at its end, which hides what it is about.
#[test]
fn display_names_that_are_no_tokens_are_refused() {
    let whole = [&file("baddn")[..], b"\r\n"].concat();
    assert_eq!(Message::parse(&whole).expect_err("malformed").fault, Fault::Bad(Name::From));
}

/// An editor or a version-control system that mends line ends would take the torture out.
#[test]
fn the_bytes_are_those_of_the_appendix() {
    let mut hash = siphasher::sip::SipHasher13::new();
    for (name, ..) in MESSAGES {
        hash.write(&file(name));
    }
    assert_eq!(format!("{:016x}", hash.finish()), "02c13cf2a5d5536d");
}

#[test]
fn on_a_stream_a_length_that_cannot_be_read_closes_it() {
    let framed = |name: &str| frame(&file(name));
    assert_eq!(framed("clerr"), Frame::Incomplete { need_at_least: 9999 - 154 });
    assert_eq!(framed("ncl"), Frame::Bad(BadFrame::ContentLength));
    assert_eq!(framed("mcl01"), Frame::Bad(BadFrame::ContentLength));
    assert_eq!(framed("inv2543"), Frame::Bad(BadFrame::NoContentLength));
    let two = file("dblreq");
    let Frame::Whole { len } = frame(&two) else { panic!("the REGISTER is whole") };
    assert_eq!(frame(&two[len..]), Frame::KeepAlive { len: 2 });
    assert!(matches!(frame(&two[len + 2..]), Frame::Whole { .. }), "the INVITE after it");
}

#[test]
fn every_prefix_of_every_message_is_read_or_refused() {
    for (name, ..) in MESSAGES {
        let bytes = file(name);
        for end in 0..bytes.len() {
            let _ = frame(&bytes[..end]);
            if let Err(malformed) = Message::parse(&bytes[..end]) {
                let _ = malformed.salvage();
            }
        }
    }
}

fn file(name: &str) -> Vec<u8> {
    FOLDER.file(name)
}

/// The answer to a malformed message, which must itself be in order as far as there was something to copy.
fn answered(bytes: &[u8]) -> Option<String> {
    let malformed = Message::parse(bytes).expect_err("malformed");
    let source = SocketAddr::from(([192, 0, 2, 77], 5060));
    let mut out = Vec::new();
    let range = answer_malformed(&mut out, &malformed, source, b"ours")?;
    assert_eq!(range, 0..out.len());
    let text = String::from_utf8_lossy(&out).into_owned();
    let top = text.lines().nth(1).expect("a Via");
    assert!(top.starts_with("Via: SIP/") && top.ends_with(";received=192.0.2.77"), "{top}");
    Some(text)
}

/// What a shard says to a message of a trunk: the last response's status.
fn told(bytes: &[u8]) -> Option<u16> {
    let source = SocketAddr::from(([192, 0, 2, 77], 5060));
    let trunk = "[[trunk]]\nname = \"carrier\"\nfrom = [\"192.0.2.77\"]\n";
    let mut core = served().cores(1, 4475, trunk).remove(0);
    let peer = Peer::at(source, Transport::Udp, ListenerId(0));
    let mut effects = Effects::default();
    let now = Now { mono: Instant::from_micros(1), wall: Wall(1) };
    core.handle(now, Input::Received { from: peer, bytes, age: Duration::ZERO }, &mut effects);
    let (_, last) = effects.out.messages().last()?;
    std::str::from_utf8(last).ok()?.strip_prefix("SIP/2.0 ")?.split(' ').next()?.parse().ok()
}

fn text(bytes: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

fn wsinv(m: &Message) {
    assert_eq!(m.uri().expect("a URI").param("unknownparam"), Some(&b""[..]));
    assert_eq!(m.to().tag(), Some(&b"1918181833n"[..]));
    assert_eq!(text(m.from().display.expect("a name")), r#""J Rosenberg \\\"""#);
    assert_eq!(m.from().tag(), Some(&b"98asjd8"[..]));
    assert_eq!((m.max_forwards(), m.cseq()), (Ok(Some(68)), 9));
    assert_eq!(m.via().branch, Some(&b"390skdjuw"[..]));
    assert_eq!(m.via().branch_3261(), None);
    let vias: Vec<_> =
        m.list(Name::Via).map(|via| strowger::sip::wire::Via::parse(via).expect("a Via")).collect();
    assert_eq!(vias.len(), 3);
    assert_eq!(vias[1].host, b"spindle.example.com");
    assert_eq!(vias[2].branch_3261(), Some(&b"30239"[..]));
    assert_eq!(m.get(Name::Subject), Some(&b""[..]));
    let unknown: Vec<_> = m.head().all_named("unknownheaderwithunusualvalue").collect();
    assert_eq!(unknown, [b";;,,;;,;"]);
    let route = m.addresses(Name::Route).next().expect("a Route").expect("well formed");
    assert_eq!(route.uri.param("unknown-no-value"), Some(&b""[..]));
    let contact = m.contact().expect("a Contact");
    assert_eq!(text(contact.display.expect("a name")), r#""Quoted string \"\"""#);
    assert_eq!(contact.param("newparam"), Some(&b"newvalue"[..]));
    assert_eq!(contact.param("secondparam"), Some(&b""[..]));
    assert_eq!(contact.param("q"), Some(&b"0.33"[..]));
    assert_eq!(m.body().len(), 150);
}

fn intmeth(m: &Message) {
    assert_eq!(
        (m.method(), m.method_token()),
        (Method::Other, "!interesting-Method0123456789_*+`.%indeed'~")
    );
    let uri = m.uri().expect("a URI");
    assert_eq!(text(uri.user.expect("a user")), "1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*");
    assert_eq!(text(uri.password.expect("a password")), "&it+has=1,weird!*pas$wo~d_too.(doesn't-it)");
    assert_eq!(uri.host, b"example.com");
    assert_eq!(m.via().branch_3261(), Some(&b"-.!%66*_+`'~"[..]));
    assert_eq!(m.to().display, Some(&b"\"BEL:\\\x07 NUL:\\\0 DEL:\\\x7f\""[..]));
    assert_eq!(text(m.from().display.expect("a name")), "token1~` token2'+_ token3*%!.-");
    assert_eq!(text(m.from().param("fromParam''~+*_!.-%").expect("the parameter")), "\"работающий\"");
    assert_eq!(text(m.from().tag().expect("a tag")), "_token~1'+`*%!-.");
    assert_eq!(text(m.call_id()), "intmeth.word%ZK-!.*_+'@word`~)(><:\\/\"][?}{");
    assert_eq!(m.cseq(), 139_122_385);
    assert_eq!(m.max_forwards(), Ok(Some(255)));
    let other = m.fields().find(|field| field.name == Name::Other).expect("the extension header");
    assert_eq!(text(other.raw_name), "extensionHeader-!.%*+_`'~");
    assert_eq!(text(other.value), "\u{feff}大停電");
}

fn esc01(m: &Message) {
    assert_eq!(&*m.uri().expect("a URI").user_unescaped(), b"sips:user@example.com");
    assert_eq!(&*m.to().uri.user_unescaped(), b"user");
    assert_eq!(&*m.from().uri.user_unescaped(), b"I have spaces");
    let contact = m.contact().expect("a Contact").uri;
    assert_eq!(&*contact.user_unescaped(), b"caller");
    assert_eq!(contact.param("lr"), Some(&b""[..]));
    assert_eq!(&*uri::unescaped(contact.param("name").expect("the parameter")), b"value%41");
    assert_eq!(m.body().len(), 150);
}

fn escnull(m: &Message) {
    assert_eq!(&*m.to().uri.user_unescaped(), b"null-\0-null");
    let contacts: Vec<_> = m.addresses(Name::Contact).map(|one| one.expect("a Contact").uri).collect();
    assert_eq!(&*contacts[0].user_unescaped(), b"\0");
    assert_eq!(&*contacts[1].user_unescaped(), b"\0\0");
    assert!(!uri::eq(&contacts[0], &contacts[1]));
}

fn esc02(m: &Message) {
    assert_eq!((m.method(), m.method_token()), (Method::Other, "RE%47IST%45R"));
    assert_eq!(m.to().display, Some(&b"\"%Z%45\""[..]));
    assert_eq!(m.via().branch, Some(&b"z9hG4bK209%fzsnel234"[..]));
    assert_eq!(m.all(Name::Contact).count(), 2);
}

fn lwsdisp(m: &Message) {
    assert_eq!(m.from().display, Some(&b"caller"[..]));
    assert_eq!(m.from().tag(), Some(&b"323"[..]));
}

fn longreq(m: &Message) {
    assert_eq!(m.list(Name::Via).count(), 34);
    assert_eq!(text(m.from().tag().expect("a tag")), format!("12{}424", "982".repeat(50)).as_str());
    assert_eq!(m.to().uri.port, Some(6000));
    assert_eq!(m.contact().expect("a Contact").uri.host, b"host5.example.net");
    assert_eq!(m.body().len(), 150);
}

fn dblreq(m: &Message) {
    assert_eq!(m.method(), Method::Register);
    assert_eq!(m.body(), b"");
    assert!(m.raw().ends_with(b"Content-Length: 0\r\n\r\n"));
}

fn semiuri(m: &Message) {
    assert_eq!(&*m.uri().expect("a URI").user_unescaped(), b"user;par=u@example.net");
    assert_eq!(m.list(Name::Accept).count(), 6);
}

fn transports(m: &Message) {
    assert!(m.via().transport.is_some());
    let known: Vec<_> = m
        .list(Name::Via)
        .map(|via| strowger::sip::wire::Via::parse(via).expect("a Via").transport.map(|one| one.via_token()))
        .collect();
    assert_eq!(known, [Some("UDP"), None, Some("TLS"), None, Some("TCP")]);
    assert_eq!(m.call_id(), b"transports.kijh4akdnaqjkwendsasfdj");
}

fn mpart01(m: &Message) {
    assert_eq!(m.body().len(), 553);
    let body = Body::of(m).expect("a body");
    assert_eq!(body.bytes(), m.body());
    assert!(memchr::memchr(0, body.bytes()).is_some());
    assert_eq!(
        text(body.header_lines()),
        "Content-Transfer-Encoding: binary\r\nContent-Type: multipart/mixed;boundary=7a9cbec02ceef655\r\n"
    );
    assert!(!body.is_sdp());
}

fn unreason(m: &Message) {
    assert_eq!(m.status(), 200);
    assert_eq!(text(m.phrase()), "= 2**3 * 5**2 но сто девяносто девять - простое");
    assert_eq!(m.body().len(), 154);
}

fn noreason(m: &Message) {
    assert_eq!((m.status(), m.phrase()), (100, &b""[..]));
}

fn baddate(m: &Message) {
    assert_eq!(m.get(Name::Date), Some(&b"Fri, 01 Jan 2010 16:00:00 EST"[..]));
}

fn regbadct(m: &Message) {
    assert_eq!(m.addresses(Name::Contact).next().and_then(Result::err), Some(BadUri::NeedsBrackets));
    assert!(m.contact().is_none());
}

fn badbranch(m: &Message) {
    assert_eq!(m.via().branch, Some(&b"z9hG4bK"[..]));
    assert_eq!(m.via().branch_3261(), None, "matched as RFC 2543 does");
}

fn unkscm(m: &Message) {
    assert_eq!(m.uri().expect("a URI").scheme, Scheme::Other);
    assert_eq!(m.uri_raw(), b"nobodyKnowsThisScheme:totallyopaquecontent");
}

fn novelsc(m: &Message) {
    assert_eq!(m.uri().expect("a URI").scheme, Scheme::Other);
    assert_eq!(m.uri_raw(), b"soap.beep://192.0.2.103:3002");
}

fn unksm2(m: &Message) {
    assert_eq!(m.to().uri_raw, b"isbn:2983792873");
    assert_eq!(m.from().uri_raw, b"http://www.example.com");
    assert_eq!(m.from().tag(), Some(&b"3234233"[..]));
    assert_eq!(m.contact().expect("a Contact").uri_raw, b"name:John_Smith");
}

fn bext01(m: &Message) {
    assert!(m.has_token(Name::Require, "nothingSupportsThisEither"));
    assert!(m.has_token(Name::ProxyRequire, "norDoAnyProxiesSupportThis"));
}

fn invut(m: &Message) {
    let body = Body::of(m).expect("a body");
    assert_eq!((body.bytes().len(), body.is_sdp()), (40, false));
}

fn regaut01(m: &Message) {
    assert_eq!(m.get(Name::Authorization), Some(&b"NoOneKnowsThisScheme opaque-data=here"[..]));
}

/// RFC 3261 §8.1.3.3: a client discards a response with more than one Via.
fn bcast(m: &Message) {
    assert_eq!((m.status(), m.list(Name::Via).count()), (200, 2));
}

fn zeromf(m: &Message) {
    assert_eq!(m.max_forwards(), Ok(Some(0)));
}

fn cparam01(m: &Message) {
    let contact = m.contact().expect("a Contact");
    assert_eq!(contact.param("unknownparam"), Some(&b""[..]));
    assert_eq!(contact.uri.param("unknownparam"), None);
}

fn cparam02(m: &Message) {
    let contact = m.contact().expect("a Contact");
    assert_eq!(contact.param("unknownparam"), None);
    assert_eq!(contact.uri.param("unknownparam"), Some(&b""[..]));
}

fn regescrt(m: &Message) {
    assert_eq!(m.contact().expect("a Contact").uri.headers, b"Route=%3Csip:sip.example.com%3E");
}

fn sdp01(m: &Message) {
    assert_eq!(m.list(Name::Accept).collect::<Vec<_>>(), [b"text/nobodyKnowsThis"]);
    assert!(Body::of(m).expect("a body").is_sdp());
}

fn inv2543(m: &Message) {
    assert_eq!((m.via().branch, m.from().tag(), m.max_forwards()), (None, None, Ok(None)));
    assert_eq!(m.body().len(), 105);
    let user = Uri::parse(m.from().uri_raw).expect("a URI").user;
    assert_eq!(user, Some(&b"+13035551111"[..]));
}
