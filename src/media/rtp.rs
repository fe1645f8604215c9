//! RTP packets (RFC 3550 §5.1), and the one stream that we send on each leg.

use std::time::Duration;

use crate::time::Instant;

/// A header without contributing sources or an extension: all that we write.
pub const HEADER: usize = 12;

/// What the first two bits of every packet say.
const VERSION: u8 = 2;

/// RTCP packet types as a second byte of RTP would show them (RFC 5761 §4).
const RTCP: std::ops::RangeInclusive<u8> = 192..=223;

/// So far ahead a sequence number may jump and so far back (RFC 3550, appendix A.1): beyond that the source has begun
/// anew.
const MAX_DROPOUT: u16 = 3_000;
const MAX_MISORDER: u16 = 100;

/// The fields of a packet that somebody else sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// Of a talk spurt's first packet, or of an event's (RFC 3551 §4.1, RFC 4733 §2.3).
    pub marker: bool,
    /// 0 to 127.
    pub payload_type: u8,
    pub sequence: u16,
    /// In units of the payload type's clock.
    pub timestamp: u32,
    pub ssrc: u32,
    /// Without padding.
    pub payload: &'a [u8],
}

impl<'a> Packet<'a> {
    /// Reads a datagram of an RTP port. None: it is none, or RTCP, or it does not hold what it says that it holds.
    pub fn read(datagram: &'a [u8]) -> Option<Packet<'a>> {
        let (header, mut rest) = datagram.split_first_chunk::<HEADER>()?;
        let [first, second, s1, s0, t3, t2, t1, t0, c3, c2, c1, c0] = *header;
        if first >> 6 != VERSION || RTCP.contains(&second) {
            return None;
        }
        rest = rest.get(usize::from(first & 0x0f) * 4..)?;
        if first & 0x10 != 0 {
            let ([_, _, l1, l0], words) = rest.split_first_chunk::<4>()?;
            rest = words.get(usize::from(u16::from_be_bytes([*l1, *l0])) * 4..)?;
        }
        if first & 0x20 != 0 {
            let padding = usize::from(*rest.last()?);
            rest = rest.get(..rest.len().checked_sub(padding)?).filter(|_| padding > 0)?;
        }
        Some(Packet {
            marker: second & 0x80 != 0,
            payload_type: second & 0x7f,
            sequence: u16::from_be_bytes([s1, s0]),
            timestamp: u32::from_be_bytes([t3, t2, t1, t0]),
            ssrc: u32::from_be_bytes([c3, c2, c1, c0]),
            payload: rest,
        })
    }

    /// The header that we write before this payload.
    pub fn header(&self) -> [u8; HEADER] {
        let ([s1, s0], [t3, t2, t1, t0]) = (self.sequence.to_be_bytes(), self.timestamp.to_be_bytes());
        let [c3, c2, c1, c0] = self.ssrc.to_be_bytes();
        let second = u8::from(self.marker) << 7 | self.payload_type & 0x7f;
        [VERSION << 6, second, s1, s0, t3, t2, t1, t0, c3, c2, c1, c0]
    }
}

/// Whether a datagram of a port that carries both is RTCP (RFC 5761 §4).
pub fn is_rtcp(datagram: &[u8]) -> bool {
    matches!(datagram, [first, second, ..] if first >> 6 == VERSION && RTCP.contains(second))
}

/// How much later `to` is than `from`, −32,768 to 32,767.
pub const fn ahead(from: u16, to: u16) -> i16 {
    to.wrapping_sub(from).cast_signed()
}

/// The stream that we send on one leg. Whoever speaks in it, the other party or we ourselves, it keeps one SSRC, and its
/// sequence numbers and timestamps go on: receivers drop what begins anew.
#[derive(Debug)]
pub struct Stream {
    ssrc: u32,
    /// Clock rate of the audio in it, in Hz.
    rate: u32,
    /// The highest sequence number that was sent, its timestamp and when it left.
    sequence: u16,
    timestamp: u32,
    at: Instant,
    source: Source,
}

/// Who speaks in it.
#[derive(Clone, Copy, Debug)]
enum Source {
    /// Nobody has yet.
    Nobody,
    /// We, and the next sample is that of this timestamp.
    Ourselves { next: u32 },
    /// The other party. What its packets say, and these on top, is what we say.
    Party { ssrc: u32, sequence: u16, timestamp: u32 },
}

impl Stream {
    /// `rate`: the clock of its audio in Hz. The first numbers are drawn (RFC 3550 §5.1).
    pub const fn new(ssrc: u32, sequence: u16, timestamp: u32, rate: u32) -> Stream {
        Stream { ssrc, rate, sequence, timestamp, at: Instant::ZERO, source: Source::Nobody }
    }

    pub const fn ssrc(&self) -> u32 {
        self.ssrc
    }

    /// The clock of its audio is another one.
    pub const fn set_rate(&mut self, rate: u32) {
        self.rate = rate;
    }

    /// The same packet as one of this stream. Those that come late, or twice, stay late and double; after another source
    /// the first one goes on where the stream is, by the time that has passed.
    pub fn relay<'a>(&mut self, now: Instant, packet: &Packet<'a>) -> Packet<'a> {
        let (sequence, timestamp, begins) = match self.source {
            Source::Party { ssrc, sequence, timestamp } if ssrc == packet.ssrc => {
                let next = packet.sequence.wrapping_add(sequence);
                let jump = ahead(self.sequence, next);
                let follows = if jump < 0 {
                    jump.unsigned_abs() <= MAX_MISORDER
                } else {
                    jump.unsigned_abs() <= MAX_DROPOUT
                };
                (sequence, timestamp, !follows)
            }
            Source::Party { .. } | Source::Ourselves { .. } | Source::Nobody => (0, 0, true),
        };
        let (sequence, timestamp) = if begins {
            let sequence = self.next_sequence().wrapping_sub(packet.sequence);
            let timestamp = self.timestamp_at(now).wrapping_sub(packet.timestamp);
            self.source = Source::Party { ssrc: packet.ssrc, sequence, timestamp };
            (sequence, timestamp)
        } else {
            (sequence, timestamp)
        };
        let sent = Packet {
            marker: packet.marker || begins,
            sequence: packet.sequence.wrapping_add(sequence),
            timestamp: packet.timestamp.wrapping_add(timestamp),
            ssrc: self.ssrc,
            ..*packet
        };
        if begins || ahead(self.sequence, sent.sequence) > 0 {
            (self.sequence, self.timestamp, self.at) = (sent.sequence, sent.timestamp, now);
        }
        sent
    }

    /// A packet of our own, with so many samples.
    pub fn say<'a>(&mut self, now: Instant, payload_type: u8, samples: u32, payload: &'a [u8]) -> Packet<'a> {
        let (timestamp, marker) = match self.source {
            Source::Ourselves { next } => (next, false),
            Source::Party { .. } | Source::Nobody => (self.timestamp_at(now), true),
        };
        (self.sequence, self.timestamp, self.at) = (self.next_sequence(), timestamp, now);
        self.source = Source::Ourselves { next: timestamp.wrapping_add(samples) };
        Packet { marker, payload_type, sequence: self.sequence, timestamp, ssrc: self.ssrc, payload }
    }

    /// A packet of a key that we press: all of one have the timestamp of its beginning (RFC 4733 §2.2.2). Whoever speaks
    /// next goes on by the time that has passed.
    pub fn press(&mut self, now: Instant, payload_type: u8, begins: bool) -> Packet<'static> {
        self.sequence = self.next_sequence();
        if begins {
            let timestamp = match self.source {
                Source::Ourselves { next } => next,
                Source::Party { .. } | Source::Nobody => self.timestamp_at(now),
            };
            (self.timestamp, self.at, self.source) = (timestamp, now, Source::Nobody);
        }
        Packet {
            marker: begins,
            payload_type,
            sequence: self.sequence,
            timestamp: self.timestamp,
            ssrc: self.ssrc,
            payload: &[],
        }
    }

    /// We are silent from now on: what we say next has a time of its own.
    pub fn falls_silent(&mut self) {
        if let Source::Ourselves { .. } = self.source {
            self.source = Source::Nobody;
        }
    }

    /// It is sent nothing for a while: whatever comes next goes on where it is, by the time that has passed.
    pub const fn rests(&mut self) {
        self.source = Source::Nobody;
    }

    const fn next_sequence(&self) -> u16 {
        self.sequence.wrapping_add(1)
    }

    /// The timestamp of what leaves now, by the clock; never that of what left before.
    pub fn timestamp_at(&self, now: Instant) -> u32 {
        if self.at == Instant::ZERO {
            return self.timestamp;
        }
        self.timestamp.wrapping_add(ticks(now.since(self.at), self.rate).max(1))
    }
}

/// How many ticks of a clock of `rate` Hz pass in that time, as timestamps count: modulo 2³².
pub fn ticks(time: Duration, rate: u32) -> u32 {
    let rate = u64::from(rate);
    // In two parts, so that 64 bits hold it: it is done for every packet.
    let part = u64::from(time.subsec_micros()) * rate / 1_000_000;
    (time.as_secs().wrapping_mul(rate).wrapping_add(part) & u64::from(u32::MAX)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(ms: u64) -> Instant {
        Instant::from_micros(1_000_000 + ms * 1_000)
    }

    fn packet(ssrc: u32, sequence: u16, timestamp: u32) -> Packet<'static> {
        Packet { marker: false, payload_type: 0, sequence, timestamp, ssrc, payload: b"sound" }
    }

    #[test]
    fn a_packet_is_read_with_its_sources_extension_and_padding() {
        let plain = [0x80, 0x88, 0x12, 0x34, 0, 0, 0, 160, 1, 2, 3, 4, 0xd5, 0xd5];
        let read = Packet::read(&plain).unwrap();
        assert_eq!((read.marker, read.payload_type, read.sequence), (true, 8, 0x1234));
        assert_eq!((read.timestamp, read.ssrc, read.payload), (160, 0x0102_0304, &[0xd5, 0xd5][..]));
        let mut full = plain[..HEADER].to_vec();
        full[0] = 0x80 | 0x20 | 0x10 | 2;
        full.extend([9; 8]);
        full.extend([0xbe, 0xde, 0, 1, 7, 7, 7, 7]);
        full.extend(*b"sound");
        full.extend([0, 0, 3]);
        assert_eq!(Packet::read(&full).unwrap().payload, b"sound");
        assert_eq!(Packet::read(&full).unwrap().header()[1..], plain[1..HEADER]);
    }

    #[test]
    fn what_is_no_rtp_is_none() {
        let good = [0x80, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1];
        assert!(Packet::read(&good).is_some_and(|packet| packet.payload.is_empty()));
        let with = |at: usize, byte: u8| {
            let mut bad = good.to_vec();
            bad[at] = byte;
            bad
        };
        for bad in [
            vec![],
            good[..11].to_vec(),
            with(0, 0x00),
            with(0, 0x40),
            with(0, 0xc0),
            with(0, 0x81),
            with(0, 0x90),
            with(0, 0xa0),
            with(1, 200),
            [&with(0, 0xa0)[..], &[0, 0, 0]].concat(),
            [&with(0, 0xa0)[..], &[0, 0, 4]].concat(),
            [&with(0, 0x90)[..], &[0, 0, 0, 1, 0, 0, 0]].concat(),
            b"REGISTER sip:example.com SIP/2.0".to_vec(),
        ] {
            assert_eq!(Packet::read(&bad), None, "{bad:?}");
        }
        assert_eq!([&with(1, 200)[..], &good, b""].map(is_rtcp), [true, false, false]);
    }

    #[test]
    fn a_source_that_changes_goes_on_where_the_stream_is() {
        let mut stream = Stream::new(7, 65_534, u32::MAX - 100, 8_000);
        let first = stream.say(at(0), 0, 160, b"ring");
        assert_eq!((first.sequence, first.timestamp, first.marker), (65_535, u32::MAX - 100, true));
        let second = stream.say(at(20), 0, 160, b"ring");
        assert_eq!((second.sequence, second.timestamp, second.marker), (0, 59, false));
        // Half a second later the other party speaks.
        let third = stream.relay(at(520), &packet(99, 40_000, 5));
        assert_eq!((third.sequence, third.timestamp, third.marker, third.ssrc), (1, 59 + 4_000, true, 7));
        let fourth = stream.relay(at(540), &packet(99, 40_001, 165));
        assert_eq!((fourth.sequence, fourth.timestamp, fourth.marker), (2, 59 + 4_160, false));
        // Another one does, after a hold of a minute.
        let fifth = stream.relay(at(60_540), &packet(98, 3, 1_000_000));
        assert_eq!((fifth.sequence, fifth.timestamp, fifth.marker), (3, 59 + 4_160 + 480_000, true));
        let ours = stream.say(at(60_560), 0, 160, b"beep");
        assert_eq!((ours.sequence, ours.timestamp, ours.marker), (4, 59 + 4_160 + 480_160, true));
    }

    #[test]
    fn what_comes_late_or_twice_stays_so_and_a_gap_stays_a_gap() {
        let mut stream = Stream::new(7, 99, 0, 8_000);
        let mut sent = |ms, sequence| {
            let sent = stream.relay(at(ms), &packet(1, sequence, u32::from(sequence) * 160));
            (sent.sequence, sent.timestamp, sent.marker)
        };
        assert_eq!(sent(0, 10), (100, 0, true));
        assert_eq!(sent(20, 12), (102, 320, false));
        assert_eq!(sent(21, 11), (101, 160, false));
        assert_eq!(sent(22, 12), (102, 320, false));
        assert_eq!(sent(60, 2_000), (2_090, 318_400, false), "lost, and its receiver is to know");
        assert!(sent(80, 60_000).2, "begun anew");
    }

    #[test]
    fn one_that_restarts_its_numbers_goes_on_without_a_jump() {
        let mut stream = Stream::new(7, 0, 0, 8_000);
        let first = stream.relay(at(0), &packet(1, 30_000, 1_000));
        let again = stream.relay(at(20), &packet(1, 1, 9));
        assert_eq!((again.sequence, again.timestamp), (first.sequence + 1, first.timestamp + 160));
        let next = stream.relay(at(40), &packet(1, 2, 169));
        assert_eq!((next.sequence, next.timestamp), (first.sequence + 2, first.timestamp + 320));
    }

    #[test]
    fn what_we_say_after_a_silence_has_its_own_time() {
        let mut stream = Stream::new(7, 0, 0, 16_000);
        let first = stream.say(at(0), 9, 160, b"one");
        stream.falls_silent();
        let second = stream.say(at(1_000), 9, 160, b"two");
        assert_eq!((second.timestamp - first.timestamp, second.marker), (16_000, true));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Some(packet) = Packet::read(&bytes) {
                prop_assert!(packet.payload.len() + HEADER <= bytes.len());
                let written = [&packet.header()[..], packet.payload].concat();
                prop_assert_eq!(Packet::read(&written), Some(packet));
            }
        }

        #[test]
        fn whatever_comes_the_stream_never_jumps_by_more_than_was_lost(
            steps in proptest::collection::vec((0u32..3, any::<u16>(), any::<u32>(), 0u64..100, any::<bool>()), 1..60)
        ) {
            let mut stream = Stream::new(7, 65_000, u32::MAX - 9, 8_000);
            let (mut now, mut highest) = (0, 65_000);
            for (ssrc, sequence, timestamp, later, ours) in steps {
                now += later;
                let sent = if ours {
                    stream.say(at(now), 0, 160, b"")
                } else {
                    stream.relay(at(now), &packet(ssrc, sequence, timestamp))
                };
                let jump = ahead(highest, sent.sequence);
                prop_assert_eq!(sent.ssrc, 7);
                prop_assert!((-100..=3_000).contains(&jump), "{}", jump);
                if jump > 0 {
                    highest = sent.sequence;
                }
            }
        }
    }
}
