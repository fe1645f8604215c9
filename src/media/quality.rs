//! PURE. How well a leg was heard: what goes into its call record when it has ended.
//!
//! The packets are counted by [`Reception`], at some 5 ns each; nothing here is done for a packet.

use std::time::Duration;

use super::rtcp::Reception;

/// How well a connection without loss and delay is rated (ITU-T G.107, all parameters at their defaults).
const BEST: f64 = 93.2;

/// What is taken from the rating for each ms from mouth to ear, and for each beyond the delay that talkers begin to notice:
/// Cole and Rosenbluth, "Voice over IP performance monitoring" (2001), a fit to Id of G.107 §7.4 for a line without echo.
const DELAY: f64 = 0.024;
const NOTICED_DELAY: f64 = 0.11;
const NOTICED_FROM_MS: f64 = 177.3;

/// Each ms that passes before a packet is full, and the least that a telephone keeps to play out evenly.
const PACKET_MS: f64 = 20.0;
const LEAST_BUFFER_MS: f64 = 20.0;

/// A telephone's buffer holds so many times the jitter, so that nearly all packets come in time.
const BUFFER_OF_JITTER: f64 = 2.0;

/// Whose losses are rated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    Pcmu,
    Pcma,
    G722,
    Opus,
    /// Relayed as it is, and nothing known of it.
    Other,
}

impl Codec {
    /// What the codec itself takes from the rating (Ie), and how well it bears lost packets (Bpl).
    ///
    /// G.711 is ITU-T G.113, appendix I, with the concealment of G.711's own appendix I, which every telephone has or
    /// betters. The others stand in no table for this scale, which ends at what a narrow band can be: they are no worse
    /// than G.711 while nothing is lost, and how they bear loss is our judgement. G.722 has state that a loss disturbs;
    /// Opus conceals well, and its error correction is not always on.
    const fn impairment(self) -> (f64, f64) {
        match self {
            Codec::Pcmu | Codec::Pcma => (0.0, 25.1),
            Codec::G722 => (0.0, 15.0),
            Codec::Opus => (0.0, 20.0),
            Codec::Other => (0.0, 10.0),
        }
    }
}

/// How the stream that a leg sent came to us.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quality {
    /// Packets that came, doubles included.
    pub received: u64,
    /// Packets that were sent, by their numbers.
    pub expected: u64,
    /// Packets that never came.
    pub lost: u64,
    /// Packets that came behind a later one.
    pub reordered: u64,
    /// Packets that came again.
    pub doubled: u64,
    /// How much the time of travel varies at last (RFC 3550 §6.4.1, appendix A.8).
    pub jitter: Duration,
    /// What listeners would say of it, estimated: 1.0 (bad) to 4.5 (as good as can be).
    pub mos: f64,
}

impl Quality {
    /// Of all that came. `rate`: the clock of its timestamps in Hz. `round_trip` as RTCP measured it; unknown, it is taken as
    /// none. None: nothing came.
    pub fn of(heard: &Reception, codec: Codec, rate: u32, round_trip: Option<Duration>) -> Option<Quality> {
        let counts = heard.counts();
        if counts.received == 0 {
            return None;
        }
        let lost = counts.expected.saturating_sub(counts.received - counts.doubled);
        let jitter = heard.jitter(rate);
        let loss = lost as f64 / counts.expected.max(1) as f64;
        Some(Quality {
            received: counts.received,
            expected: counts.expected,
            lost,
            reordered: counts.reordered,
            doubled: counts.doubled,
            jitter,
            mos: mos(rating(codec, loss, jitter, round_trip.unwrap_or_default())),
        })
    }
}

/// The rating R = 93.2 − Id − Ie,eff of ITU-T G.107, for lost packets that are spread evenly (BurstR = 1):
/// Ie,eff = Ie + (95 − Ie) · Ppl / (Ppl + Bpl), Ppl in percent.
fn rating(codec: Codec, loss: f64, jitter: Duration, round_trip: Duration) -> f64 {
    let (codec_takes, bears) = codec.impairment();
    let loss = loss * 100.0;
    let loss_takes = codec_takes + (95.0 - codec_takes) * loss / (loss + bears);
    let buffer = (ms(jitter) * BUFFER_OF_JITTER).max(LEAST_BUFFER_MS);
    let delay = ms(round_trip) / 2.0 + PACKET_MS + buffer;
    let delay_takes = DELAY * delay + NOTICED_DELAY * (delay - NOTICED_FROM_MS).max(0.0);
    BEST - delay_takes - loss_takes
}

/// The mean opinion score of a rating (ITU-T G.107, annex B), in hundredths.
fn mos(rating: f64) -> f64 {
    let r = rating.clamp(0.0, 100.0);
    let mos = 1.0 + 0.035 * r + r * (r - 60.0) * (100.0 - r) * 7e-6;
    // The curve dips below 1 between 0 and 6.5.
    (mos * 100.0).round().clamp(100.0, 450.0) / 100.0
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

#[cfg(test)]
mod tests {
    use super::super::rtp::Packet;
    use super::*;
    use crate::time::Instant;

    fn packet(sequence: u16) -> Packet<'static> {
        let timestamp = u32::from(sequence) * 160;
        Packet { marker: false, payload_type: 0, sequence, timestamp, ssrc: 1, payload: b"" }
    }

    /// What is heard of packets of 20 ms with those numbers, each so many ms late.
    fn heard(packets: impl IntoIterator<Item = (u16, u64)>) -> Reception {
        let mut heard = Reception::default();
        for (number, late) in packets {
            let now = Instant::from_micros((u64::from(number) * 20 + late) * 1_000);
            heard.hear(now, &packet(number), 8_000);
        }
        heard
    }

    #[test]
    fn the_scores_are_those_of_g_107_annex_b() {
        // Table B.1: the lower limit of each class of users' satisfaction. It rounds 4.024 up.
        for (rating, score) in [(90.0, 4.34), (80.0, 4.03), (70.0, 3.60), (60.0, 3.10), (50.0, 2.58)] {
            let off: f64 = mos(rating) - score;
            assert!(off.abs() < 0.011, "{rating}: {}", mos(rating));
        }
        assert_eq!([93.2, 100.0, 120.0, 0.0, -30.0, 4.0].map(mos), [4.41, 4.5, 4.5, 1.0, 1.0, 1.0]);
    }

    #[test]
    fn a_rating_falls_by_delay_and_by_loss() {
        let rate = |codec, loss, jitter, round_trip| {
            let [jitter, round_trip] = [jitter, round_trip].map(Duration::from_millis);
            (rating(codec, loss, jitter, round_trip) * 100.0).round() / 100.0
        };
        // 40 ms from mouth to ear take 0.96.
        assert_eq!(rate(Codec::Pcmu, 0.0, 0, 0), 92.24);
        // 95 · 2 / 27.1 = 7.01; 95 · 10 / 35.1 = 27.07.
        assert_eq!(rate(Codec::Pcma, 0.02, 0, 0), 85.23);
        assert_eq!(rate(Codec::Pcmu, 0.10, 10, 0), 65.17);
        // 150 + 20 + 100 = 270 ms take 6.48 + 10.20.
        assert_eq!(rate(Codec::Pcmu, 0.0, 50, 300), 76.52);
        assert_eq!(rate(Codec::G722, 0.02, 0, 0), 81.06);
        assert!(rate(Codec::Opus, 0.02, 0, 0) > rate(Codec::Other, 0.02, 0, 0));
    }

    #[test]
    fn what_came_is_counted_and_rated() {
        assert_eq!(Quality::of(&Reception::default(), Codec::Pcmu, 8_000, None), None);
        let all = Quality::of(&heard((1..=100).map(|n| (n, 7))), Codec::Pcmu, 8_000, None).unwrap();
        assert_eq!((all.received, all.expected, all.lost, all.mos), (100, 100, 0, 4.39));
        assert_eq!(all.jitter, Duration::ZERO);
        // Two are lost and two come twice, one comes behind the next: RFC 3550 would say that nothing is lost.
        let numbers = (1..=100).filter(|n| ![30, 31].contains(n)).flat_map(|n| match n {
            50 => vec![51],
            51 => vec![50],
            60 | 70 => vec![n, n],
            _ => vec![n],
        });
        let some = Quality::of(&heard(numbers.map(|n| (n, 7))), Codec::Pcmu, 8_000, None).unwrap();
        assert_eq!((some.received, some.expected, some.lost), (100, 100, 2));
        assert_eq!((some.reordered, some.doubled), (1, 2));
        assert!((4.1..4.3).contains(&some.mos), "{}", some.mos);
    }

    #[test]
    fn jitter_is_that_of_the_rfc() {
        // Every other one comes 16 ms late: J = J + (|D| − J)/16 tends to 16 ms.
        let uneven = heard((1..=400).map(|n| (n, if n % 2 == 0 { 16 } else { 0 })));
        let quality = Quality::of(&uneven, Codec::Pcmu, 8_000, None).unwrap();
        assert!((15..=16).contains(&quality.jitter.as_millis()), "{:?}", quality.jitter);
        assert_eq!(quality.lost, 0);
    }

    /// Prints what a packet costs: `cargo test --release -- --ignored --nocapture a_packet_heard`.
    #[test]
    #[ignore = "a measurement"]
    fn what_a_packet_heard_costs() {
        let packets = 20_000_000u32;
        let mut heard = Reception::default();
        let begun = std::time::Instant::now();
        for n in 0..packets {
            let packet = Packet { timestamp: n * 160, sequence: n as u16, ..packet(0) };
            heard.hear(Instant::from_micros(u64::from(n) * 20_000), &packet, 8_000);
        }
        println!("{:.1} ns a packet", begun.elapsed().as_nanos() as f64 / f64::from(packets));
        assert_eq!(heard.counts().received, u64::from(packets));
    }
}
