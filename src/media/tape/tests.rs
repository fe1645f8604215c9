use super::*;
use proptest::prelude::*;

/// When every tape of these tests begins, in µs.
const BEGAN: u64 = 7_000_000;

/// Somebody who speaks: silence, and a click of 2 ms whenever `click` says so.
struct Speaker {
    side: Side,
    ssrc: u32,
    sequence: u16,
    timestamp: u32,
    /// How many of its own samples make a second of ours: 8,000 for a clock that is right.
    hz: f64,
    /// Samples in a packet.
    length: usize,
}

/// A packet on its way.
struct Sent {
    arrives: u64,
    ssrc: u32,
    sequence: u16,
    timestamp: u32,
    samples: Vec<i16>,
    side: Side,
}

const CLICK: i16 = 20_000;

impl Speaker {
    fn new(side: Side, hz: f64) -> Speaker {
        Speaker { side, ssrc: 1, sequence: 65_530, timestamp: u32::MAX - 1_000, hz, length: 160 }
    }

    /// Its packet number `n` that ends at the µs given with it; clicks at those seconds after the beginning.
    fn packet(&self, n: u64, delay: u64, clicks: &dyn Fn(f64) -> bool) -> Sent {
        let first = n * self.length as u64;
        let second = |sample: u64| sample as f64 / self.hz;
        let samples = (first..first + self.length as u64).map(second);
        let samples = samples.map(|at| if clicks(at) { CLICK } else { 0 }).collect();
        let captured = (second(first + self.length as u64) * 1e6) as u64;
        Sent {
            arrives: BEGAN + captured + delay,
            ssrc: self.ssrc,
            sequence: self.sequence.wrapping_add(n as u16),
            timestamp: self.timestamp.wrapping_add(first as u32),
            samples,
            side: self.side,
        }
    }
}

/// Numbers that are drawn; the same in every run.
struct Dice(u64);

impl Dice {
    fn draw(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }
}

fn at(micros: u64) -> Instant {
    Instant::from_micros(micros)
}

/// Plays what was sent and arrives before that, in the order in which it does. Gives the tape.
fn played(rate: Rate, mut sent: Vec<Sent>, until: u64) -> (Vec<[i16; 2]>, Tally) {
    sent.retain(|sent| sent.arrives <= BEGAN + until);
    sent.sort_by_key(|sent| sent.arrives);
    let mut tape = Tape::new(at(BEGAN), rate);
    let mut frames = Vec::new();
    for sent in sent {
        let packet = packet(sent.ssrc, sent.sequence, sent.timestamp);
        let sound = Sound::Narrow(&sent.samples);
        tape.hear(at(sent.arrives), sent.side, &packet, sound, |block| collect(&mut frames, block));
        let behind = tape.frame_at(at(sent.arrives)) - frames.len() as i64;
        let (least, most) = (rate.frames_of_ms(DELAY_MS), rate.frames_of_ms(DELAY_MS + BLOCK_MS));
        assert!((least..=most).contains(&behind) || frames.is_empty(), "{behind} behind");
    }
    let tally = tape.end(at(BEGAN + until), |block| collect(&mut frames, block));
    assert_eq!(frames.len() as i64, rate.frames_of(Duration::from_micros(until)));
    (frames, tally)
}

fn collect(frames: &mut Vec<[i16; 2]>, block: &[i16]) {
    frames.extend(block.chunks_exact(2).map(|frame| [frame[0], frame[1]]));
}

fn packet(ssrc: u32, sequence: u16, timestamp: u32) -> Packet<'static> {
    Packet { marker: false, payload_type: 0, sequence, timestamp, ssrc, payload: b"" }
}

/// Where the click near that frame begins, within 100 ms.
fn click(tape: &[[i16; 2]], side: Side, near: usize) -> Option<usize> {
    let from = near.saturating_sub(800);
    let heard = |frame: &[i16; 2]| frame[side as usize] == CLICK;
    tape[from..(near + 800).min(tape.len())].iter().position(heard).map(|at| from + at)
}

/// A click of 2 ms at every whole second.
fn each_second(at: f64) -> bool {
    at >= 0.5 && at.fract() < 0.002
}

/// Both speak for so many seconds, clocks off by ±0.1 %, each packet delayed by 40 ms and up to 30 more, of a hundred two
/// lost and one doubled.
fn ten_minutes_of(seconds: u64, seed: u64) -> Vec<Sent> {
    let mut dice = Dice(seed);
    let mut sent = Vec::new();
    for (side, hz) in [(Side::Caller, 8_008.0), (Side::Answerer, 7_992.0)] {
        let speaker = Speaker::new(side, hz);
        for n in 0..seconds * 50 {
            let copies = if dice.draw(100) == 0 { 2 } else { 1 };
            for _ in 0..copies {
                let delay = 40_000 + dice.draw(30_000);
                if dice.draw(100) >= 2 {
                    sent.push(speaker.packet(n, delay, &each_second));
                }
            }
        }
    }
    sent
}

#[test]
fn after_ten_minutes_of_drift_and_loss_both_sides_stand_within_20_ms_of_the_truth() {
    for seed in 1..3 {
        let (tape, tally) = played(Rate::Narrow, ten_minutes_of(600, seed), 599_000_000);
        let (mut found, mut worst) = ([0; 2], 0);
        for second in 1..598 {
            let truth = second * 8_000 + 320;
            for side in [Side::Caller, Side::Answerer] {
                // A click that was lost is not on the tape.
                if let Some(place) = click(&tape, side, truth) {
                    found[side as usize] += 1;
                    worst = worst.max(place.abs_diff(truth));
                }
            }
        }
        assert!(found.iter().all(|found| *found > 560), "{found:?} of 597");
        // Half of what is allowed, so that both together are within it.
        assert!(worst <= 80, "{worst} frames off");
        assert_eq!(tally.laid_anew, 0, "no jump was needed");
        // 600 s at 0.1 % are 4,800 frames, on each side.
        assert!((9_000..12_000).contains(&tally.moved), "{tally:?}");
    }
}

#[test]
fn drift_is_followed_without_a_hole() {
    // A tone without a zero in it, from a clock that is 0.1 % slow: frames must be put in.
    for hz in [7_992.0, 8_008.0] {
        let speaker = Speaker::new(Side::Caller, hz);
        let sent = (0..1_500).map(|n| speaker.packet(n, 40_000, &|_| true)).collect();
        let (tape, tally) = played(Rate::Narrow, sent, 29_000_000);
        // The last packet ends at most 20 ms before the tape does.
        let holes = tape[400..tape.len() - 160].iter().filter(|frame| frame[0] == 0).count();
        assert_eq!((holes, tally.laid_anew, tally.late), (0, 0, 0));
        assert!((200..=280).contains(&tally.moved), "{tally:?}");
    }
}

#[test]
fn in_order_or_not_once_or_twice_the_tape_is_the_same() {
    let clicks = |at: f64| (at * 1_000.0) as u64 % 50 < 7;
    let speaker = Speaker::new(Side::Answerer, 8_000.0);
    let delays = |n: u64| if n % 3 == 1 { 25_000 } else { 0 };
    let even: Vec<_> = (0..300).map(|n| speaker.packet(n, 40_000, &clicks)).collect();
    let mut odd: Vec<_> = (0..300).map(|n| speaker.packet(n, 40_000 + delays(n), &clicks)).collect();
    odd.extend((0..300).filter(|n| n % 7 == 0).map(|n| speaker.packet(n, 70_000, &clicks)));
    let (even, _) = played(Rate::Narrow, even, 5_000_000);
    let (odd, tally) = played(Rate::Narrow, odd, 5_000_000);
    assert_eq!(tally, Tally::default());
    // What is late at the end is cut off.
    assert!(even[..39_000] == odd[..39_000]);
    // 20 ms that ended 40 ms before they came; nothing was said into the other ear.
    assert_eq!((even[320][1], even[319][1], even[320 + 56][1]), (CLICK, 0, 0));
    assert!(even.iter().all(|frame| frame[0] == 0));
}

#[test]
fn a_hold_of_90_s_is_silence_and_what_follows_it_lies_where_it_was_said() {
    // Whether the timestamps go on by the clock, stand still, or begin anew with another source.
    for (passed, ssrc) in [(90 * 8_000, 1), (160, 1), (3_000_000_000, 9)] {
        let before = Speaker::new(Side::Caller, 8_000.0);
        let mut sent: Vec<_> = (0..50).map(|n| before.packet(n, 40_000, &|_| true)).collect();
        for n in 0..50u64 {
            let mut packet = before.packet(n, 91_000_000 + 40_000, &|_| true);
            packet.timestamp = packet.timestamp.wrapping_add(49 * 160).wrapping_add(passed);
            packet.sequence = packet.sequence.wrapping_add(50);
            packet.ssrc = ssrc;
            sent.push(packet);
        }
        let (tape, _) = played(Rate::Narrow, sent, 93_000_000);
        let said = |frame: &&[i16; 2]| frame[0] == CLICK;
        let first = tape[..8_320].iter().filter(said).count();
        assert_eq!(first, 8_000);
        assert_eq!(tape[8_320..91 * 8_000].iter().filter(said).count(), 0);
        let again = tape.iter().skip(8_320).position(|frame| frame[0] == CLICK).unwrap() + 8_320;
        assert!(again.abs_diff(91 * 8_000 + 320) <= 160, "at {again}");
        assert_eq!(tape.iter().filter(said).count(), 16_000, "nothing of it is cut");
    }
}

#[test]
fn a_source_that_begins_anew_is_laid_behind_what_it_said() {
    // Timestamps that jump far, or back by half a second; another source whose timestamps happen to be near.
    for (jump, ssrc) in [(1_000_000_000u32, 1), (0u32.wrapping_sub(4_000), 1), (0u32.wrapping_sub(400), 9)] {
        let speaker = Speaker::new(Side::Caller, 8_000.0);
        let mut sent: Vec<_> = (0..200).map(|n| speaker.packet(n, 40_000, &|_| true)).collect();
        for packet in &mut sent[100..] {
            // By no more than the network's unevenness, and it comes 8 ms early.
            packet.timestamp = packet.timestamp.wrapping_add(jump);
            packet.arrives -= 8_000;
            packet.ssrc = ssrc;
        }
        let (tape, tally) = played(Rate::Narrow, sent, 4_200_000);
        assert_eq!(tally.laid_anew, 1, "{jump}");
        // Its first word is not written over the last one before it: it lies 8 ms late, and comes back sample by sample.
        assert_eq!(tally.moved, 7 * 8);
        assert_eq!((tape[319][0], tape[320][0]), (0, CLICK));
        assert_eq!(tape[320..32_000].iter().filter(|frame| frame[0] == 0).count(), 0, "{jump}");
    }
}

#[test]
fn after_a_pause_it_lies_where_it_was_said_whatever_the_clocks_did_meanwhile() {
    // In ms: how long it was silent, and by how much less its timestamps went on.
    for (pause, less) in [(50_000, 50), (50_000, 0), (1_500, 1_500), (1_500, 0)] {
        let speaker = Speaker::new(Side::Caller, 8_000.0);
        let mut sent: Vec<_> = (0..100).map(|n| speaker.packet(n, 40_000, &|_| true)).collect();
        for packet in &mut sent[50..] {
            packet.arrives += pause * 1_000;
            packet.timestamp = packet.timestamp.wrapping_add((pause - less) as u32 * 8);
        }
        let (tape, _) = played(Rate::Narrow, sent, pause * 1_000 + 2_100_000);
        let first = tape.iter().skip(8_320).position(|frame| frame[0] == CLICK).unwrap();
        assert!(first.abs_diff(pause as usize * 8) <= 16, "after {pause} ms less {less}: {first}");
        assert_eq!(tape.iter().filter(|frame| frame[0] == CLICK).count(), 16_000, "nothing is cut");
    }
}

#[test]
fn what_takes_a_much_longer_way_is_heard_again_after_a_quarter_of_a_second() {
    let speaker = Speaker::new(Side::Caller, 8_000.0);
    let way = |n| if n < 250 { 40_000 } else { 340_000 };
    let sent = (0..500).map(|n| speaker.packet(n, way(n), &|_| true)).collect();
    let (tape, tally) = played(Rate::Narrow, sent, 10_300_000);
    assert_eq!(tally.laid_anew, 1);
    // It could not be known for 300 ms that it would come later.
    let silent = tape[320..80_000].iter().filter(|frame| frame[0] == 0).count();
    assert!((300 * 8..=540 * 8).contains(&silent), "{silent}");
    assert_eq!((tape[5_580 * 8][0], tape[10_290 * 8][0]), (CLICK, CLICK));
}

#[test]
fn what_waited_in_a_queue_is_laid_where_it_was_said_or_not_at_all() {
    let speaker = Speaker::new(Side::Caller, 8_000.0);
    let even = |n: u64| speaker.packet(n, 40_000, &each_second);
    let until = 8_000_000;
    let truth = played(Rate::Narrow, (0..390).map(even).collect(), until).0;
    // All of 100 ms comes at once, in time for the tape.
    let mut sent: Vec<_> = (0..390).map(even).collect();
    sent[148..154].iter_mut().for_each(|packet| packet.arrives = BEGAN + 3_130_000);
    let (tape, tally) = played(Rate::Narrow, sent, until);
    assert_eq!((tape == truth, tally), (true, Tally::default()));
    // All of 800 ms, too late; what follows is not moved by it.
    let mut sent: Vec<_> = (0..390).map(even).collect();
    sent[130..170].iter_mut().for_each(|packet| packet.arrives = BEGAN + 3_440_000);
    let (tape, tally) = played(Rate::Narrow, sent, until);
    assert_eq!(tally.laid_anew, 0);
    assert!(tally.late > 30, "{tally:?}");
    assert!(tape[170 * 160 + 320..] == truth[170 * 160 + 320..]);
    assert_eq!(click(&tape, Side::Caller, 3 * 8_000 + 320), None);
}

#[test]
fn a_way_that_becomes_longer_or_shorter_is_followed() {
    let speaker = Speaker::new(Side::Caller, 8_000.0);
    for (before, after) in [(40_000, 340_000), (40_000, 130_000), (340_000, 40_000), (60_000, 40_000)] {
        let way = |n| if n < 250 { before } else { after };
        let sent = (0..1_000).map(|n| speaker.packet(n, way(n), &each_second)).collect();
        let (tape, _) = played(Rate::Narrow, sent, 20_000_000);
        for second in 11..19 {
            let truth = second * 8_000 + after as usize / 125;
            let place = click(&tape, Side::Caller, truth).unwrap();
            assert!(place.abs_diff(truth) <= 16, "{before} to {after}: {place}, {truth}");
        }
    }
}

#[test]
fn every_codec_is_laid_on_either_rate() {
    let ramp: Vec<i16> = (0..160).map(|n| n * 100).collect();
    let pcmu: Vec<u8> = ramp.iter().map(|sample| g711::encode_pcmu(*sample)).collect();
    let pcma: Vec<u8> = ramp.iter().map(|sample| g711::encode_pcma(*sample)).collect();
    let wide: Vec<i16> = (0..320).map(|n| n * 50).collect();
    for rate in [Rate::Narrow, Rate::Wide] {
        for sound in [Sound::Pcmu(&pcmu), Sound::Pcma(&pcma), Sound::Narrow(&ramp), Sound::Wide(&wide)] {
            let mut tape = Tape::new(at(0), rate);
            let mut frames = Vec::new();
            tape.hear(at(20_000), Side::Caller, &packet(1, 1, 1), sound, |_| ());
            tape.end(at(20_000), |block| collect(&mut frames, block));
            let step = 8_000 * 100 / rate.hz() as i64;
            assert_eq!(frames.len() as u32, rate.hz() / 50);
            for (n, frame) in frames.iter().enumerate() {
                let (expected, got) = (n as i64 * step, i64::from(frame[0]));
                let most = expected / 30 + 100;
                assert!((got - expected).abs() <= most, "{sound:?} {rate:?}: {n}: {got}, not {expected}");
            }
        }
    }
}

#[test]
fn a_turn_hands_on_what_is_due_and_says_when_it_will_be_again() {
    let mut tape = Tape::new(at(BEGAN), Rate::Wide);
    assert_eq!(tape.due(), at(BEGAN + 192_000));
    let mut blocks = Vec::new();
    tape.turn(at(BEGAN + 191_999), |block| blocks.push(block.len()));
    assert!(blocks.is_empty());
    tape.turn(at(BEGAN + 192_000 + 64_000), |block| blocks.push(block.len()));
    assert_eq!((blocks, tape.frames()), (vec![2_048; 2], 2_048));
    assert_eq!(tape.due(), at(BEGAN + 192_000 + 128_000));
}

proptest! {
    // Each is a call of half a minute.
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Nothing that a packet says makes it panic, or the tape longer or shorter than the time that passed.
    #[test]
    fn whatever_comes_the_tape_is_as_long_as_the_call(
        steps in proptest::collection::vec(
            (0u64..400_000, 0u32..3, any::<u16>(), prop_oneof![any::<u32>(), 0u32..4_000], 0usize..2_100, any::<bool>(), any::<bool>()),
            1..120,
        )
    ) {
        for rate in [Rate::Narrow, Rate::Wide] {
            let mut tape = Tape::new(at(BEGAN), rate);
            let (mut now, mut frames) = (BEGAN, Vec::new());
            for (passes, ssrc, sequence, timestamp, length, caller, wide) in steps.iter().copied() {
                now += passes;
                let side = if caller { Side::Caller } else { Side::Answerer };
                let samples = vec![7; length];
                let sound = if wide { Sound::Wide(&samples) } else { Sound::Narrow(&samples) };
                tape.hear(at(now), side, &packet(ssrc, sequence, timestamp), sound, |block| collect(&mut frames, block));
            }
            tape.end(at(now), |block| collect(&mut frames, block));
            prop_assert_eq!(frames.len() as i64, rate.frames_of(Duration::from_micros(now - BEGAN)));
            prop_assert!(frames.iter().flatten().all(|sample| [0, 7].contains(sample)));
        }
    }
}

/// Prints what a packet costs: `cargo test --release -- --ignored --nocapture tape_costs`.
#[test]
#[ignore = "a measurement"]
fn what_a_packet_on_the_tape_costs() {
    let payload = [0x12; 160];
    let mut tape = Tape::new(at(0), Rate::Narrow);
    let mut sum = 0u64;
    let packets = 2_000_000u32;
    let begun = std::time::Instant::now();
    for n in 0..packets {
        let side = if n % 2 == 0 { Side::Caller } else { Side::Answerer };
        let now = at(u64::from(n / 2) * 20_000);
        let packet = packet(1, (n / 2) as u16, n / 2 * 160);
        tape.hear(now, side, &packet, Sound::Pcmu(&payload), |block| sum += block.len() as u64);
    }
    let each = begun.elapsed().as_nanos() / u128::from(packets);
    println!("{each} ns a packet, {sum} samples");
}
