//! HEP3, as collectors read it (HEP3 Network Protocol Specification, rev. 37): one message and where it went, in
//! chunks, in one datagram. Pure.
//!
//! `HEP3`, the length of all (2 bytes), then chunks: vendor 0, type, length with these six bytes, value; all of it
//! with the highest byte first.

use std::net::IpAddr;

use super::Hop;

/// The longest packet: what a datagram carries over IPv4.
pub const MAX_PACKET: usize = 65_507;

/// The longest correlation id and node's name that go along. A Call-ID may be as long as a message; collectors index
/// it as text.
pub const MAX_NAME: usize = 255;

/// The types of the chunks that we write (§3.2 of the specification).
pub mod chunk {
    pub const FAMILY: u16 = 0x01;
    pub const PROTOCOL: u16 = 0x02;
    pub const SOURCE_V4: u16 = 0x03;
    pub const DESTINATION_V4: u16 = 0x04;
    pub const SOURCE_V6: u16 = 0x05;
    pub const DESTINATION_V6: u16 = 0x06;
    pub const SOURCE_PORT: u16 = 0x07;
    pub const DESTINATION_PORT: u16 = 0x08;
    pub const SECONDS: u16 = 0x09;
    pub const MICROS: u16 = 0x0a;
    pub const KIND: u16 = 0x0b;
    pub const AGENT: u16 = 0x0c;
    pub const PAYLOAD: u16 = 0x0f;
    pub const CORRELATION: u16 = 0x11;
    pub const NODE: u16 = 0x13;
}

/// Families, by Linux's numbers.
const IPV4: u8 = 2;
const IPV6: u8 = 10;
/// IP protocols (IANA).
const TCP: u8 = 6;
const UDP: u8 = 17;
/// What the payload is.
const SIP: u8 = 1;

/// A chunk's head.
const HEAD: usize = 6;

/// One message for a collector.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    pub hop: Hop,
    /// Which capturing agent sends it; collectors tell agents apart by this number and by the node's name.
    pub agent: u32,
    pub node: &'a str,
    /// What joins the messages of a call; none where it is empty.
    pub correlation: &'a [u8],
    pub payload: &'a [u8],
}

impl Packet<'_> {
    /// Writes it to the end of `out`. Of a message that does not fit into a datagram, the end is left out: what a
    /// collector reads stands in its head. Costs a copy.
    pub fn write(&self, out: &mut Vec<u8>) {
        let begin = out.len();
        out.extend_from_slice(b"HEP3\0\0");
        let Hop { at, stream, source, destination } = self.hop;
        let (family, [from_ip, to_ip]) = addresses(source.ip(), destination.ip());
        put(out, chunk::FAMILY, &[family]);
        put(out, chunk::PROTOCOL, &[if stream { TCP } else { UDP }]);
        let [from, to] = match family {
            IPV4 => [chunk::SOURCE_V4, chunk::DESTINATION_V4],
            _ => [chunk::SOURCE_V6, chunk::DESTINATION_V6],
        };
        put(out, from, from_ip.bytes());
        put(out, to, to_ip.bytes());
        put(out, chunk::SOURCE_PORT, &source.port().to_be_bytes());
        put(out, chunk::DESTINATION_PORT, &destination.port().to_be_bytes());
        let seconds = u32::try_from(at / 1_000_000).unwrap_or(u32::MAX);
        let micros = (at % 1_000_000) as u32;
        put(out, chunk::SECONDS, &seconds.to_be_bytes());
        put(out, chunk::MICROS, &micros.to_be_bytes());
        put(out, chunk::KIND, &[SIP]);
        put(out, chunk::AGENT, &self.agent.to_be_bytes());
        for (kind, text) in [(chunk::NODE, self.node.as_bytes()), (chunk::CORRELATION, self.correlation)] {
            if !text.is_empty() {
                put(out, kind, &text[..text.len().min(MAX_NAME)]);
            }
        }
        let room = MAX_PACKET - (out.len() - begin) - HEAD;
        put(out, chunk::PAYLOAD, &self.payload[..self.payload.len().min(room)]);
        let length = (out.len() - begin) as u16;
        out[begin + 4..begin + 6].copy_from_slice(&length.to_be_bytes());
    }
}

/// A chunk; `value` is shorter than a packet.
fn put(out: &mut Vec<u8>, kind: u16, value: &[u8]) {
    out.extend_from_slice(&[0, 0]);
    out.extend_from_slice(&kind.to_be_bytes());
    out.extend_from_slice(&((HEAD + value.len()) as u16).to_be_bytes());
    out.extend_from_slice(value);
}

/// The bytes of an address.
enum Octets {
    V4([u8; 4]),
    V6([u8; 16]),
}

impl Octets {
    fn bytes(&self) -> &[u8] {
        match self {
            Octets::V4(bytes) => bytes,
            Octets::V6(bytes) => bytes,
        }
    }
}

/// Both in one family: IPv4 unless one is IPv6.
fn addresses(source: IpAddr, destination: IpAddr) -> (u8, [Octets; 2]) {
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            (IPV4, [source, destination].map(|ip| Octets::V4(ip.octets())))
        }
        (source, destination) => (IPV6, [source, destination].map(|ip| Octets::V6(v6(ip)))),
    }
}

/// As an IPv6 address, mapped where it is IPv4.
pub(super) fn v6(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    }
}
