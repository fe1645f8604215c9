//! RTCP (RFC 3550 §6): what we say of the streams that we send and hear, and what is said of ours.

use std::time::Duration;

use super::rtp::{Packet, ahead, ticks};
use crate::time::{Instant, Wall};

const SENDER_REPORT: u8 = 200;
const RECEIVER_REPORT: u8 = 201;
const DESCRIPTION: u8 = 202;
const GOODBYE: u8 = 203;

/// The item of a source description that names it (RFC 3550 §6.5.1).
const CNAME: u8 = 1;

/// Seconds from 1900, where NTP's clock begins, to 1970.
const NTP_EPOCH: u64 = 2_208_988_800;

/// A source that jumps further ahead than this has begun anew, once a second packet follows (RFC 3550, appendix A.1).
const MAX_DROPOUT: i16 = 3_000;
const MAX_MISORDER: i16 = -100;

/// What a packet says of how its sender is heard, or one block of it (RFC 3550 §6.4.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Whose stream it is about.
    pub ssrc: u32,
    /// Lost since the report before, of 256.
    pub fraction: u8,
    /// Lost in all, doubles against them; 24 bits with a sign.
    pub lost: i32,
    /// The highest sequence number, with how often it has gone round above.
    pub highest: u32,
    /// In units of the timestamp.
    pub jitter: u32,
    /// The middle of the NTP time of the last sender report, and how long ago that came, in 65,536ths of a second.
    pub last_report: u32,
    pub since: u32,
}

/// What a sender says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sender {
    /// When it was written, by the sender's clock, as NTP counts.
    pub ntp: u64,
    /// The same instant in the stream.
    pub timestamp: u32,
    pub packets: u32,
    pub bytes: u32,
}

/// One packet of a compound (RFC 3550 §6.1), as far as it matters to us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    Reports {
        ssrc: u32,
        sender: Option<Sender>,
        reports: Vec<Report>,
    },
    /// These sources are leaving.
    Goodbye(Vec<u32>),
}

/// Reads a datagram. What is no RTCP, or cut off, ends it.
pub fn read(datagram: &[u8]) -> impl Iterator<Item = Said> + '_ {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        loop {
            let ([first, kind, l1, l0], _) = rest.split_first_chunk::<4>()?;
            let len = (usize::from(u16::from_be_bytes([*l1, *l0])) + 1) * 4;
            if first >> 6 != 2 {
                return None;
            }
            let (packet, after) = rest.split_at_checked(len)?;
            rest = after;
            let count = usize::from(first & 0x1f);
            let said = match *kind {
                SENDER_REPORT | RECEIVER_REPORT => reports(&packet[4..], count, *kind == SENDER_REPORT),
                GOODBYE => Some(Said::Goodbye(words(&packet[4..]).take(count).collect())),
                _ => None,
            };
            if said.is_some() {
                return said;
            }
        }
    })
}

fn reports(body: &[u8], count: usize, is_sender: bool) -> Option<Said> {
    let mut words = words(body);
    let ssrc = words.next()?;
    let sender = if is_sender {
        let (high, low) = (words.next()?, words.next()?);
        let ntp = u64::from(high) << 32 | u64::from(low);
        Some(Sender { ntp, timestamp: words.next()?, packets: words.next()?, bytes: words.next()? })
    } else {
        None
    };
    let block = |_| {
        let (ssrc, loss) = (words.next()?, words.next()?);
        Some(Report {
            ssrc,
            fraction: (loss >> 24) as u8,
            lost: (loss << 8).cast_signed() >> 8,
            highest: words.next()?,
            jitter: words.next()?,
            last_report: words.next()?,
            since: words.next()?,
        })
    };
    Some(Said::Reports { ssrc, sender, reports: (0..count).map_while(block).collect() })
}

fn words(bytes: &[u8]) -> impl Iterator<Item = u32> + '_ {
    bytes.chunks_exact(4).map(|word| word.iter().fold(0, |all, byte| all << 8 | u32::from(*byte)))
}

/// Appends a compound packet: a report of our stream, where there is one, and of theirs, and our name; a goodbye at the
/// end.
pub fn write(
    ssrc: u32,
    sender: Option<Sender>,
    heard: Option<Report>,
    name: &str,
    leaves: bool,
    out: &mut Vec<u8>,
) {
    let count = u8::from(heard.is_some());
    let kind = if sender.is_some() { SENDER_REPORT } else { RECEIVER_REPORT };
    packet(count, kind, out, |out| {
        word(ssrc, out);
        if let Some(Sender { ntp, timestamp, packets, bytes }) = sender {
            out.extend_from_slice(&ntp.to_be_bytes());
            [timestamp, packets, bytes].into_iter().for_each(|value| word(value, out));
        }
        if let Some(report) = heard {
            let lost = report.lost.clamp(-0x80_0000, 0x7f_ffff).cast_unsigned() & 0xff_ffff;
            let loss = u32::from(report.fraction) << 24 | lost;
            let Report { ssrc, highest, jitter, last_report, since, .. } = report;
            [ssrc, loss, highest, jitter, last_report, since].into_iter().for_each(|value| word(value, out));
        }
    });
    packet(1, DESCRIPTION, out, |out| {
        word(ssrc, out);
        let name = &name.as_bytes()[..name.len().min(255)];
        out.extend_from_slice(&[CNAME, name.len() as u8]);
        out.extend_from_slice(name);
        // The list of items ends with a zero, and the chunk with its word.
        let zeros = 4 - out.len() % 4;
        out.resize(out.len() + zeros, 0);
    });
    if leaves {
        packet(1, GOODBYE, out, |out| word(ssrc, out));
    }
}

/// Appends one packet, whose length is known once its body is written. What stands before it is whole words.
fn packet(count: u8, kind: u8, out: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) {
    let begin = out.len();
    out.extend_from_slice(&[0x80 | count, kind, 0, 0]);
    body(out);
    let words = u16::try_from((out.len() - begin) / 4 - 1).unwrap_or(u16::MAX);
    out[begin + 2..begin + 4].copy_from_slice(&words.to_be_bytes());
}

fn word(value: u32, out: &mut Vec<u8>) {
    out.extend_from_slice(&value.to_be_bytes());
}

/// A wall time as NTP counts: seconds since 1900 above, 2³²ths of one below.
pub fn ntp(wall: Wall) -> u64 {
    let (seconds, millis) = (wall.0 / 1_000 + NTP_EPOCH, wall.0 % 1_000);
    (seconds << 32) | ((millis << 32) / 1_000)
}

/// How long a packet takes to a side and back, as its answers to our reports say (RFC 3550 §6.4.1).
#[derive(Debug, Default)]
pub struct Trip {
    /// Our last report: the middle of its NTP time, and when it left.
    left: Option<(u32, Instant)>,
    round: Option<Duration>,
}

impl Trip {
    /// A report of ours leaves, with what it says of our stream.
    pub fn begins(&mut self, now: Instant, sender: Option<Sender>) {
        self.left = sender.map(|sender| ((sender.ntp >> 16) as u32, now)).or(self.left);
    }

    /// A report came. It counts where it answers our last one about that stream of ours.
    pub fn ends(&mut self, now: Instant, ssrc: u32, reports: &[Report]) {
        let ours = reports.iter().find(|report| report.ssrc == ssrc);
        if let (Some(report), Some((middle, left))) = (ours, self.left)
            && report.last_report == middle
        {
            let kept = Duration::from_secs(report.since.into()) / 65_536;
            self.round = now.since(left).checked_sub(kept);
        }
    }

    pub const fn round(&self) -> Option<Duration> {
        self.round
    }
}

/// How a stream that comes to us is received (RFC 3550, appendices A.1, A.3 and A.8).
#[derive(Debug, Default)]
pub struct Reception {
    stream: Option<Heard>,
    /// Of the streams that came before this one.
    before: Counts,
}

/// What came of all the streams of a leg, in packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Doubles included.
    pub received: u64,
    /// By the sequence numbers.
    pub expected: u64,
    /// Came behind one with a higher number.
    pub reordered: u64,
    /// Came again.
    pub doubled: u64,
}

#[derive(Debug)]
struct Heard {
    ssrc: u32,
    /// With how often the numbers have gone round above.
    first: u32,
    highest: u32,
    received: u32,
    reordered: u32,
    doubled: u32,
    /// Which of the last 64 numbers came: bit 0 stands for the highest.
    came: u64,
    /// A jump: if this number follows next, the source has begun anew.
    expected: Option<u16>,
    /// How much earlier the last one came than its timestamp says, in ticks, and how much that varies, ×16.
    transit: u32,
    jitter: u32,
    /// At the report before.
    received_then: u32,
    expected_then: u32,
    /// The middle of its last sender report's NTP time, and when that came.
    report: Option<(u32, Instant)>,
}

impl Reception {
    /// A packet came. `rate`: the clock of its timestamps in Hz.
    pub fn hear(&mut self, now: Instant, packet: &Packet<'_>, rate: u32) {
        let transit = ticks(now.since(Instant::ZERO), rate).wrapping_sub(packet.timestamp);
        let Some(stream) = self.count(packet, transit) else { return };
        let varies = transit.wrapping_sub(stream.transit).cast_signed().unsigned_abs();
        stream.transit = transit;
        // A timestamp that jumps is no jitter.
        if varies < rate {
            stream.jitter = stream.jitter + varies - ((stream.jitter + 8) >> 4);
        }
    }

    /// A packet of a telephone event came. All of one event bear the timestamp of its beginning (RFC 4733 §2.2.2), which
    /// says nothing of how long they travelled.
    pub fn hear_event(&mut self, now: Instant, packet: &Packet<'_>, rate: u32) {
        let transit = ticks(now.since(Instant::ZERO), rate).wrapping_sub(packet.timestamp);
        self.count(packet, transit);
    }

    /// Counts a packet by its number. None: with it a stream has begun, or may have.
    fn count(&mut self, packet: &Packet<'_>, transit: u32) -> Option<&mut Heard> {
        if self.stream.as_ref().is_none_or(|stream| stream.ssrc != packet.ssrc) {
            self.begin(packet, transit);
            return None;
        }
        let stream = self.stream.as_mut()?;
        let highest = (stream.highest & 0xffff) as u16;
        match ahead(highest, packet.sequence) {
            0 => stream.doubled += 1,
            jump @ 1..=MAX_DROPOUT => {
                let jump = u32::from(jump.unsigned_abs());
                stream.highest = stream.highest.wrapping_add(jump);
                stream.came = stream.came.checked_shl(jump).unwrap_or(0) | 1;
            }
            back @ MAX_MISORDER..0 => {
                let bit = 1u64.checked_shl(u32::from(back.unsigned_abs())).unwrap_or(0);
                let again = stream.came & bit != 0;
                stream.came |= bit;
                stream.doubled += u32::from(again);
                stream.reordered += u32::from(!again);
            }
            _ if stream.expected == Some(packet.sequence) => {
                self.begin(packet, transit);
                return None;
            }
            _ => {
                stream.expected = Some(packet.sequence.wrapping_add(1));
                return None;
            }
        }
        let stream = self.stream.as_mut()?;
        stream.expected = None;
        stream.received += 1;
        Some(stream)
    }

    /// What a sender report of that stream said, for our next report.
    pub fn reported(&mut self, now: Instant, ssrc: u32, sender: &Sender) {
        if let Some(stream) = self.stream.as_mut().filter(|stream| stream.ssrc == ssrc) {
            stream.report = Some(((sender.ntp >> 16) as u32, now));
        }
    }

    /// The block of our next report.
    pub fn report(&mut self, now: Instant) -> Option<Report> {
        let stream = self.stream.as_mut()?;
        let expected = stream.expected_now();
        let (more, came) = (expected - stream.expected_then, stream.received - stream.received_then);
        (stream.expected_then, stream.received_then) = (expected, stream.received);
        let lost = more.saturating_sub(came);
        let (last_report, since) = match stream.report {
            Some((middle, at)) => (middle, ticks(now.since(at), 65_536)),
            None => (0, 0),
        };
        Some(Report {
            ssrc: stream.ssrc,
            fraction: u8::try_from(u64::from(lost) * 256 / u64::from(more.max(1))).unwrap_or(u8::MAX),
            lost: i32::try_from(i64::from(expected) - i64::from(stream.received)).unwrap_or(i32::MAX),
            highest: stream.highest,
            jitter: stream.jitter >> 4,
            last_report,
            since,
        })
    }

    /// Packets that came, and that did not, doubles against them; of all streams of the leg.
    pub fn totals(&self) -> (u64, u64) {
        let counts = self.counts();
        (counts.received, counts.expected.saturating_sub(counts.received))
    }

    /// All streams of the leg together.
    pub fn counts(&self) -> Counts {
        let Some(stream) = &self.stream else { return self.before };
        Counts {
            received: self.before.received + u64::from(stream.received),
            expected: self.before.expected + u64::from(stream.expected_now()),
            reordered: self.before.reordered + u64::from(stream.reordered),
            doubled: self.before.doubled + u64::from(stream.doubled),
        }
    }

    /// How much the packets' times of travel vary (RFC 3550 §6.4.1).
    pub fn jitter(&self, rate: u32) -> Duration {
        let ticks = self.stream.as_ref().map_or(0, |stream| stream.jitter >> 4);
        Duration::from_micros(u64::from(ticks) * 1_000_000 / u64::from(rate.max(1)))
    }

    fn begin(&mut self, packet: &Packet<'_>, transit: u32) {
        self.before = self.counts();
        let first = u32::from(packet.sequence);
        self.stream = Some(Heard {
            ssrc: packet.ssrc,
            first,
            highest: first,
            received: 1,
            reordered: 0,
            doubled: 0,
            came: 1,
            expected: None,
            transit,
            jitter: 0,
            received_then: 0,
            expected_then: 0,
            report: None,
        });
    }
}

impl Heard {
    fn expected_now(&self) -> u32 {
        self.highest.wrapping_sub(self.first).wrapping_add(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(ms: u64) -> Instant {
        Instant::from_micros(ms * 1_000)
    }

    fn packet(ssrc: u32, sequence: u16, timestamp: u32) -> Packet<'static> {
        Packet { marker: false, payload_type: 0, sequence, timestamp, ssrc, payload: b"" }
    }

    #[test]
    fn what_is_written_is_read_and_bytes_are_where_the_rfc_has_them() {
        let sender = Sender { ntp: 0x0102_0304_0506_0708, timestamp: 9, packets: 10, bytes: 11 };
        let report = Report {
            ssrc: 2,
            fraction: 64,
            lost: -1,
            highest: 0x0001_0005,
            jitter: 7,
            last_report: 0x0304_0506,
            since: 65_536,
        };
        let mut wire = Vec::new();
        write(1, Some(sender), Some(report), "us@here", true, &mut wire);
        assert_eq!(wire[..8], [0x81, 200, 0, 12, 0, 0, 0, 1]);
        assert_eq!(wire[32..36], [64, 0xff, 0xff, 0xff]);
        assert_eq!(wire[52..72], *b"\x81\xca\x00\x04\x00\x00\x00\x01\x01\x07us@here\x00\x00\x00");
        assert_eq!(wire[72..], [0x81, 203, 0, 1, 0, 0, 0, 1]);
        let said: Vec<Said> = read(&wire).collect();
        let reports = Said::Reports { ssrc: 1, sender: Some(sender), reports: vec![report] };
        assert_eq!(said, [reports, Said::Goodbye(vec![1])]);
        wire.clear();
        write(1, None, None, "us", false, &mut wire);
        let nothing = Said::Reports { ssrc: 1, sender: None, reports: vec![] };
        assert_eq!(read(&wire).collect::<Vec<_>>(), [nothing]);
    }

    #[test]
    fn losses_and_jitter_are_reported_as_the_appendix_counts_them() {
        let mut heard = Reception::default();
        assert_eq!(heard.report(at(0)), None);
        // Ten of which 3 and 7 are missing, across the end of the numbers; the last one comes twice.
        for number in (0..10u16).filter(|number| ![3, 7].contains(number)).chain([9]) {
            heard.hear(
                at(u64::from(number) * 20),
                &packet(5, 65_532u16.wrapping_add(number), u32::from(number) * 160),
                8_000,
            );
        }
        let report = heard.report(at(200)).unwrap();
        assert_eq!((report.highest, report.lost, report.fraction), (0x0001_0005, 1, 25));
        assert_eq!(report.jitter, 0, "each came when it should");
        assert_eq!(heard.totals(), (9, 1));
        // One that comes 16 ms late, and the next in time: 128 ticks each, a 16th of it each time.
        heard.hear(at(216), &packet(5, 6, 1_600), 8_000);
        heard.hear(at(220), &packet(5, 7, 1_760), 8_000);
        assert_eq!(heard.report(at(220)).unwrap().jitter, (128 + 128 - 8) / 16);
        let said = Sender { ntp: 0xaaaa_bbbb_cccc_dddd, timestamp: 0, packets: 0, bytes: 0 };
        heard.reported(at(220), 5, &said);
        heard.reported(at(220), 6, &Sender { ntp: 0, ..said });
        let report = heard.report(at(720)).unwrap();
        assert_eq!((report.last_report, report.since, report.fraction), (0xbbbb_cccc, 32_768, 0));
    }

    #[test]
    fn the_packets_of_an_event_are_counted_and_are_no_jitter() {
        let mut heard = Reception::default();
        heard.hear(at(0), &packet(5, 0, 0), 8_000);
        // A key of 200 ms, one of its packets lost, and speech goes on in time.
        (1..=10u16)
            .filter(|number| *number != 4)
            .for_each(|number| heard.hear_event(at(u64::from(number) * 20), &packet(5, number, 160), 8_000));
        heard.hear(at(220), &packet(5, 11, 1_760), 8_000);
        assert_eq!((heard.totals(), heard.jitter(8_000)), ((11, 1), Duration::ZERO));
    }

    #[test]
    fn a_stream_that_begins_anew_is_no_loss() {
        let mut heard = Reception::default();
        let mut hear = |ssrc, sequence| heard.hear(at(0), &packet(ssrc, sequence, 0), 8_000);
        [(1, 100), (1, 101), (1, 30_000), (1, 102)].into_iter().for_each(|(ssrc, number)| hear(ssrc, number));
        // A stray one, then twice in a row.
        [(1, 40_000), (1, 40_001), (1, 40_002), (2, 7), (2, 9)]
            .into_iter()
            .for_each(|(ssrc, number)| hear(ssrc, number));
        assert_eq!(heard.totals(), (3 + 2 + 2, 1));
        assert_eq!(heard.report(at(0)).map(|report| (report.ssrc, report.lost)), Some((2, 1)));
    }

    #[test]
    fn what_comes_late_and_what_comes_again_are_told_apart() {
        let mut heard = Reception::default();
        for sequence in [10, 12, 11, 12, 11, 13, 80, 79, 13] {
            heard.hear(at(0), &packet(1, sequence, 0), 8_000);
        }
        let first = Counts { received: 9, expected: 71, reordered: 3, doubled: 2 };
        assert_eq!(heard.counts(), first, "13 was too long ago to know that it came before");
        heard.hear(at(0), &packet(2, 5, 0), 8_000);
        assert_eq!(heard.counts(), Counts { received: 10, expected: 72, ..first });
    }

    #[test]
    fn a_wall_time_is_ntps() {
        assert_eq!(ntp(Wall(0)), 2_208_988_800 << 32);
        assert_eq!(ntp(Wall(1_500)), (2_208_988_801 << 32) + (1 << 31));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_to_their_end(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(read(&bytes).count() <= bytes.len() / 4);
        }

        #[test]
        fn whatever_comes_is_counted(numbers in proptest::collection::vec((0u32..2, any::<u16>(), any::<u32>()), 1..80)) {
            let mut heard = Reception::default();
            for (at_ms, (ssrc, sequence, timestamp)) in numbers.iter().enumerate() {
                heard.hear(at(at_ms as u64), &packet(*ssrc, *sequence, *timestamp), 8_000);
                heard.report(at(at_ms as u64));
            }
            prop_assert!(heard.totals().0 <= numbers.len() as u64);
        }
    }
}
