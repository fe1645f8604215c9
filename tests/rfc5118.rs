//! RFC 5118, the torture messages for IPv6: every one, with what becomes of it.
//!
//! The RFC prints bodies with lengths that do not count the CR of each line, and two messages without the empty
//! line at their end; both are put right here, since neither is what the message is about.

#![expect(clippy::expect_used, reason = "a test that cannot go on says so")]

use std::net::{IpAddr, SocketAddr};

use strowger::sip::body::Body;
use strowger::sip::build::answer_malformed;
use strowger::sip::header::Name;
use strowger::sip::sdp;
use strowger::sip::uri::BadUri;
use strowger::sip::wire::{Fault, Message, Via};

#[path = "common/torture.rs"]
mod torture;

const FOLDER: torture::Torture = torture::Torture("rfc5118");

/// What becomes of a message.
enum Outcome {
    Parses(fn(&Message)),
    /// It is malformed and answered with the fault's status.
    Refused(u16, Fault),
}

use Outcome::{Parses, Refused};

/// Name, section, outcome; in the order of the RFC.
const MESSAGES: &[(&str, &str, Outcome)] = &[
    ("ipv6-good", "4.1", Parses(ipv6_good)),
    ("ipv6-bad", "4.2", Refused(400, Fault::RequestUri(BadUri::Port))),
    ("port-ambiguous", "4.3", Parses(port_ambiguous)),
    ("port-unambiguous", "4.4", Parses(port_unambiguous)),
    ("via-received-param-with-delim", "4.5", Parses(received)),
    ("via-received-param-no-delim", "4.5", Parses(received)),
    ("ipv6-in-sdp", "4.6", Parses(ipv6_in_sdp)),
    ("mult-ip-in-header", "4.7", Parses(mult_ip_in_header)),
    ("mult-ip-in-sdp", "4.8", Parses(mult_ip_in_sdp)),
    ("ipv4-mapped-ipv6", "4.9", Parses(ipv4_mapped_ipv6)),
    ("ipv6-bug-abnf-3-colons", "4.10", Parses(abnf_bug)),
    ("ipv6-correct-abnf-2-colons", "4.10", Parses(abnf_bug)),
];

#[test]
fn every_message_meets_its_outcome() {
    for (name, section, outcome) in MESSAGES {
        let bytes = file(name);
        match (outcome, Message::parse(&bytes)) {
            (Parses(check), Ok(message)) => {
                assert_eq!(message.raw(), bytes, "{name}: all of it is the message");
                check(&message);
            }
            (Refused(code, fault), Err(malformed)) => {
                assert_eq!(malformed.fault, *fault, "{name}, {section}");
                let mut out = Vec::new();
                let source = SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 9, 1], 5060));
                answer_malformed(&mut out, &malformed, source, b"ours").expect("an answer");
                assert!(out.starts_with(format!("SIP/2.0 {code} ").as_bytes()), "{name}, {section}");
            }
            (Parses(_), Err(malformed)) => panic!("{name}, {section}: refused: {}", malformed.fault),
            (Refused(..), Ok(_)) => panic!("{name}, {section}: accepted"),
        }
    }
}

#[test]
fn no_message_is_left_out() {
    FOLDER.is_whole(MESSAGES.iter().map(|(name, ..)| *name), 12);
}

fn file(name: &str) -> Vec<u8> {
    FOLDER.file(name)
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn target(m: &Message) -> Option<String> {
    m.uri().expect("a URI").socket_addr().map(|addr| addr.to_string())
}

fn ipv6_good(m: &Message) {
    assert_eq!(m.uri().expect("a URI").host, b"[2001:db8::10]");
    assert_eq!(target(m).as_deref(), Some("[2001:db8::10]:5060"));
    assert_eq!((m.via().host, m.via().port), (&b"[2001:db8::9:1]"[..], None));
    assert_eq!(m.contact().expect("a Contact").uri.host_ip(), Some(ip("2001:db8::1")));
}

/// What looks like a port within the brackets belongs to the address.
fn port_ambiguous(m: &Message) {
    assert_eq!(target(m).as_deref(), Some("[2001:db8::10:5070]:5060"));
    assert_eq!(m.uri().expect("a URI").port, None);
}

fn port_unambiguous(m: &Message) {
    assert_eq!(target(m).as_deref(), Some("[2001:db8::10]:5070"));
}

/// RFC 3261's grammar has no brackets there; implementations send both.
fn received(m: &Message) {
    assert_eq!(m.via().received, Some(ip("2001:db8::9:255")));
}

fn ipv6_in_sdp(m: &Message) {
    let body = Body::of(m).expect("a body");
    let streams: Vec<_> = sdp::media(body.sdp().expect("an SDP")).collect();
    assert_eq!(streams.iter().map(|stream| stream.port).collect::<Vec<_>>(), [6000, 6024]);
    assert!(streams.iter().all(|stream| stream.address == b"2001:db8::20"));
}

fn mult_ip_in_header(m: &Message) {
    let vias: Vec<_> = m.list(Name::Via).map(|via| Via::parse(via).expect("a Via")).collect();
    assert_eq!((vias[0].host, vias[0].port), (&b"[2001:db8::9:1]"[..], Some(6050)));
    assert_eq!(vias[1].host, b"192.0.2.1");
    assert_eq!(vias[2].received, Some(ip("192.0.2.200")));
}

fn mult_ip_in_sdp(m: &Message) {
    let body = Body::of(m).expect("a body");
    let addresses: Vec<_> = sdp::media(body.sdp().expect("an SDP")).map(|stream| stream.address).collect();
    assert_eq!(addresses, [&b"192.0.2.1"[..], b"2001:db8::1"]);
}

fn ipv4_mapped_ipv6(m: &Message) {
    assert_eq!((m.via().host, m.via().port), (&b"[::ffff:192.0.2.10]"[..], Some(19823)));
    assert_eq!(m.contact().expect("a Contact").uri.host_ip(), Some(ip("::ffff:192.0.2.2")));
}

/// Three colons, which the grammar of RFC 3261 lets stand, name the same address as two.
fn abnf_bug(m: &Message) {
    assert_eq!(target(m).as_deref(), Some("[2001:db8::c000:201]:5060"));
    assert_eq!(m.to().uri.host_ip(), Some(ip("2001:db8::192.0.2.1")));
}
