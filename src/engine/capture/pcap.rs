//! A capture file that Wireshark, tshark and sngrep read as SIP: each message in an IP packet with the UDP or TCP
//! header that it would have had. Pure.
//!
//! The classic format (version 2.4) with microseconds, link type RAW: packets begin with their IP header. What went by
//! TLS stands there in the clear, as TCP on its ports. A stream has no beginning and no ACKs of its own; its segments
//! follow each other without a gap, which is all that a reader needs to put a long message together.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use super::Hop;
use super::hep::v6;

const LINKTYPE_RAW: u32 = 101;
/// The most of a packet that a reader will find in the file: all of it.
const SNAPLEN: u32 = 262_144;
const TCP: u8 = 6;
const UDP: u8 = 17;
const UDP_HEADER: usize = 8;
const TCP_HEADER: usize = 20;
/// Hops left, as most senders begin with.
const TTL: u8 = 64;
/// PSH and ACK.
const FLAGS: u8 = 0x18;
/// The most of a stream in one packet: well below what an IP packet holds.
const SEGMENT: usize = 32_768;
/// The most of a datagram: an IPv4 packet's length has 16 bits. None can have been longer.
const DATAGRAM: usize = 65_507;
/// The first byte of either direction of a stream.
const FIRST: u32 = 1;

/// The whole file, messages in the order given.
pub fn file<'a>(messages: impl Iterator<Item = (Hop, &'a [u8])>) -> Vec<u8> {
    let mut out = Vec::new();
    for word in [0xa1b2_c3d4, 0x0004_0002, 0, 0, SNAPLEN, LINKTYPE_RAW] {
        out.extend_from_slice(&u32::to_le_bytes(word));
    }
    let mut sent: HashMap<(SocketAddr, SocketAddr), u32> = HashMap::new();
    for (Hop { at, stream, source, destination }, payload) in messages {
        if !stream {
            let payload = &payload[..payload.len().min(DATAGRAM)];
            let mut udp = Vec::with_capacity(UDP_HEADER + payload.len());
            let length = (UDP_HEADER + payload.len()) as u16;
            for half in [source.port(), destination.port(), length, 0] {
                udp.extend_from_slice(&half.to_be_bytes());
            }
            udp.extend_from_slice(payload);
            record(&mut out, at, &ip(source.ip(), destination.ip(), UDP, udp, 6));
            continue;
        }
        for part in payload.chunks(SEGMENT) {
            let heard = sent.get(&(destination, source)).copied().unwrap_or(FIRST);
            let next = sent.entry((source, destination)).or_insert(FIRST);
            let mut tcp = Vec::with_capacity(TCP_HEADER + part.len());
            tcp.extend_from_slice(&source.port().to_be_bytes());
            tcp.extend_from_slice(&destination.port().to_be_bytes());
            tcp.extend_from_slice(&next.to_be_bytes());
            tcp.extend_from_slice(&heard.to_be_bytes());
            // Five words of header; a window of 65,535; checksum and urgent pointer.
            tcp.extend_from_slice(&[5 << 4, FLAGS, 0xff, 0xff, 0, 0, 0, 0]);
            tcp.extend_from_slice(part);
            *next = next.wrapping_add(part.len() as u32);
            record(&mut out, at, &ip(source.ip(), destination.ip(), TCP, tcp, 16));
        }
    }
    out
}

/// One packet's entry in the file.
fn record(out: &mut Vec<u8>, at: u64, packet: &[u8]) {
    let length = packet.len() as u32;
    let seconds = u32::try_from(at / 1_000_000).unwrap_or(u32::MAX);
    for word in [seconds, (at % 1_000_000) as u32, length, length] {
        out.extend_from_slice(&word.to_le_bytes());
    }
    out.extend_from_slice(packet);
}

/// An IP packet around a segment whose checksum, at this place, is still 0.
fn ip(
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    mut segment: Vec<u8>,
    checksum_at: usize,
) -> Vec<u8> {
    let length = segment.len();
    let mut packet = Vec::with_capacity(40 + length);
    let mut sum = Sum::default();
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            packet.extend_from_slice(&[4 << 4 | 5, 0]);
            packet.extend_from_slice(&((20 + length) as u16).to_be_bytes());
            // No identification; not to be cut (RFC 6864 §4.1).
            packet.extend_from_slice(&[0, 0, 0x40, 0, TTL, protocol, 0, 0]);
            packet.extend_from_slice(&source.octets());
            packet.extend_from_slice(&destination.octets());
            let mut header = Sum::default();
            header.add(&packet);
            packet[10..12].copy_from_slice(&header.end().to_be_bytes());
            sum.add(&packet[12..20]);
        }
        (source, destination) => {
            packet.extend_from_slice(&[6 << 4, 0, 0, 0]);
            packet.extend_from_slice(&(length as u16).to_be_bytes());
            packet.extend_from_slice(&[protocol, TTL]);
            packet.extend_from_slice(&v6(source));
            packet.extend_from_slice(&v6(destination));
            sum.add(&packet[8..40]);
        }
    }
    // The pseudo header (RFC 768, RFC 9293 §3.1, RFC 8200 §8.1).
    sum.add(&(length as u32).to_be_bytes());
    sum.add(&[0, protocol]);
    sum.add(&segment);
    // 0 would say that there is none (RFC 768).
    let checksum = match sum.end() {
        0 if protocol == UDP => u16::MAX,
        checksum => checksum,
    };
    segment[checksum_at..checksum_at + 2].copy_from_slice(&checksum.to_be_bytes());
    packet.extend_from_slice(&segment);
    packet
}

/// The Internet's checksum (RFC 1071).
#[derive(Default)]
struct Sum(u32);

impl Sum {
    /// Every part but the last has an even length.
    fn add(&mut self, bytes: &[u8]) {
        let (pairs, rest) = bytes.as_chunks::<2>();
        let words = pairs.iter().map(|pair| u16::from_be_bytes(*pair));
        for word in words.chain(rest.iter().map(|byte| u16::from(*byte) << 8)) {
            self.0 += u32::from(word);
        }
    }

    fn end(mut self) -> u16 {
        while self.0 > u32::from(u16::MAX) {
            self.0 = (self.0 & 0xffff) + (self.0 >> 16);
        }
        !(self.0 as u16)
    }
}
