//! A whole session in virtual time: minutes of audio as networks and clocks make it.

use strowger::media::g711;
use strowger::media::session::{Listen, Session};
use strowger::time::Instant as Moment;

use super::*;

/// The loudest that is said, and what counts as that on a recording.
const CLICK: i16 = 20_000;
const LOUD: i16 = 10_000;

/// R12's `rtp_timeout`.
const PATIENCE: Duration = Duration::from_secs(60);

/// Numbers that look drawn (SplitMix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31) % most
    }
}

/// A session of two sides that hear each other.
struct Scene {
    session: Session,
    told: Vec<Told>,
    /// What was written down, a sample of each side.
    written: Vec<[i16; 2]>,
    /// What the called side was sent.
    heard: Vec<Vec<u8>>,
    ports: [u16; 2],
}

impl Scene {
    fn new() -> Scene {
        let (mut session, ports) = (Session::default(), [4_000, 6_000]);
        for (side, port) in [CALLER, CALLED].into_iter().zip(ports) {
            session.open(side, Stream::new(7, 500, 0, 8_000));
            session.agree(
                at(0),
                side,
                Agreed {
                    place: Some(place(port)),
                    formats: speech(),
                    offers: 1,
                    is_held: false,
                    signals: None,
                },
            );
        }
        session.hears(CALLER, CALLED);
        session.hears(CALLED, CALLER);
        Scene { session, told: Vec::new(), written: Vec::new(), heard: Vec::new(), ports }
    }

    fn records(&mut self) {
        self.session.record(at(0), CALLER, Some(CALLED));
    }

    /// A packet of a side arrives.
    fn comes(&mut self, now: u64, side: SideId, packet: &Packet<'_>) {
        let mut bytes = [&packet.header()[..], packet.payload].concat();
        let from = place(self.ports[usize::from(side.0)]).rtp;
        let Scene { session, told, written, .. } = self;
        let write = |block: &[i16]| written.extend_from_slice(block.as_chunks().0);
        if let Some((to, length)) = session.hear(at(now), side, from, &mut bytes, told, write)
            && to == CALLED
        {
            self.heard.push(bytes[..length].to_vec());
        }
    }

    fn looks(&mut self, now: u64) {
        let Scene { session, told, written, .. } = self;
        session.look(at(now), told);
        session.write_down(at(now), |block| written.extend_from_slice(block.as_chunks().0));
    }

    fn is_over(&mut self, now: u64) {
        let Scene { session, written, .. } = self;
        session.end_recording(at(now), |block| written.extend_from_slice(block.as_chunks().0));
    }
}

/// So many microseconds after the call began.
fn at(micros: u64) -> Moment {
    Moment::from_micros(1_000_000 + micros)
}

fn place(port: u16) -> Place {
    let at = |port: u16| SocketAddr::from((Ipv4Addr::new(192, 0, 2, 1), port));
    Place { rtp: at(port), rtcp: at(port + 1), is_behind_nat: false }
}

fn packet(payload_type: u8, ssrc: u32, number: u64, payload: &[u8]) -> Packet<'_> {
    let timestamp = (number as u32).wrapping_mul(160).wrapping_add(ssrc);
    Packet { marker: false, payload_type, sequence: number as u16, timestamp, ssrc, payload }
}

/// What somebody whose clock has so many ticks in a second says from the `number`th packet's beginning on: a click of
/// 2 ms at each whole second.
fn clicks(hz: f64, number: u64) -> Vec<u8> {
    let sample = |tick: u64| {
        let spoken = (number * 160 + tick) as f64 / hz;
        if spoken >= 0.5 && spoken.fract() < 0.002 { CLICK } else { 0 }
    };
    (0..160).map(|tick| g711::encode_pcmu(sample(tick))).collect()
}

#[test]
fn r07_after_ten_minutes_of_drift_and_loss_the_channels_of_a_recording_are_within_20_ms_of_the_truth() {
    const MINUTES: u64 = 10;
    let (mut scene, mut dice, mut sent) = (Scene::new(), Dice(1), Vec::new());
    scene.records();
    for (side, hz) in [(CALLER, 8_008.0), (CALLED, 7_992.0)] {
        for number in 0..MINUTES * 60 * 50 {
            // It leaves when its last sample is spoken; of a hundred two are lost, and one comes twice.
            let leaves = ((number + 1) as f64 * 160.0 / hz * 1e6) as u64;
            for _ in 0..if dice.below(100) == 0 { 2 } else { 1 } {
                if dice.below(100) >= 2 {
                    sent.push((leaves + 20_000 + dice.below(30_000), side, hz, number));
                }
            }
        }
    }
    sent.sort_by_key(|(arrives, ..)| *arrives);
    let (mut next_look, mut passed) = (1_000_000, 0);
    for (arrives, side, hz, number) in sent {
        while arrives >= next_look {
            scene.looks(next_look);
            next_look += 1_000_000;
        }
        passed += usize::from(side == CALLER);
        scene.comes(arrives, side, &packet(0, 1 + u32::from(side.0), number, &clicks(hz, number)));
    }
    // The slower of the two clocks needs that much more.
    scene.is_over((MINUTES * 60 + 1) * 1_000_000);
    assert_eq!(scene.heard.len(), passed, "all that comes is passed on");
    assert!(
        scene.written.len().abs_diff((MINUTES as usize * 60 + 1) * 8_000) <= 8,
        "{}",
        scene.written.len()
    );
    for side in [0, 1] {
        let (mut found, mut worst) = (0, 0);
        for second in 1..MINUTES as usize * 60 - 2 {
            // A packet arrives 20 ms after its last sample at the soonest.
            let truth = second * 8_000 + 160;
            let near = &scene.written[truth - 800..truth + 800];
            if let Some(place) = near.iter().position(|frame| frame[side] > LOUD) {
                found += 1;
                worst = worst.max(place.abs_diff(800));
            }
        }
        assert!(found > MINUTES * 60 * 95 / 100, "{found} clicks on channel {side}");
        assert!(worst <= 160, "{worst} samples from the truth on channel {side}");
    }
}

#[test]
fn r11_a_hold_of_90_s_leaves_the_stream_whole_and_the_recording_in_time() {
    let (mut scene, word) = (Scene::new(), [g711::encode_pcmu(CLICK); 160]);
    scene.records();
    scene.session.watch(at(0), Some(PATIENCE));
    for number in 0..50 {
        scene.comes((number + 1) * 20_000, CALLER, &packet(0, 1, number, &word));
    }
    // It is nowhere; nobody is missed meanwhile.
    scene.session.watch(at(1_000_000), None);
    scene.session.agree(
        at(1_000_000),
        CALLER,
        Agreed { place: None, formats: speech(), offers: 1, is_held: false, signals: None },
    );
    (1..=90).for_each(|second| scene.looks(second * 1_000_000));
    // It comes back on another port, as another source.
    scene.ports[0] = 4_100;
    let back = 91_000_000;
    let moved =
        Agreed { place: Some(place(4_100)), formats: speech(), offers: 1, is_held: false, signals: None };
    assert!(scene.session.agree(at(back), CALLER, moved), "it is latched anew");
    scene.session.watch(at(back), Some(PATIENCE));
    for number in 0..50 {
        scene.comes(back + number * 20_000, CALLER, &packet(0, 9, 30_000 + number, &word));
    }
    scene.looks(92_000_000);
    scene.is_over(92_000_000);
    assert!(!scene.told.contains(&Told::Silent), "{:?}", scene.told);
    let heard: Vec<Packet<'_>> = scene.heard.iter().filter_map(|bytes| Packet::read(bytes)).collect();
    assert_eq!(heard.len(), 100);
    let is_one =
        |pair: &[Packet<'_>]| pair[0].ssrc == pair[1].ssrc && pair[0].sequence + 1 == pair[1].sequence;
    assert!(heard.windows(2).all(is_one));
    let pause = heard[50].timestamp.wrapping_sub(heard[49].timestamp);
    assert_eq!(pause, 90 * 8_000);
    let loud = |frames: &[[i16; 2]]| frames.iter().filter(|frame| frame[0] > LOUD).count();
    assert_eq!(loud(&scene.written), 16_000);
    assert_eq!(loud(&scene.written[8_000..91 * 8_000 - 320]), 0);
}

#[test]
fn r12_a_mute_of_90_s_ends_nothing_and_a_minute_of_nobody_does_once() {
    let (mut scene, word) = (Scene::new(), [0xff; 160]);
    scene.session.watch(at(0), Some(PATIENCE));
    // The caller alone speaks.
    for number in 0..90 * 50 {
        scene.comes(number * 20_000, CALLER, &packet(0, 1, number, &word));
        scene.looks(number * 20_000);
    }
    assert!(!scene.told.contains(&Told::Silent));
    (90..=149).for_each(|second| scene.looks(second * 1_000_000));
    assert!(!scene.told.contains(&Told::Silent), "not before the minute is over");
    (150..=200).for_each(|second| scene.looks(second * 1_000_000));
    assert_eq!(scene.told.iter().filter(|told| **told == Told::Silent).count(), 1);
}

#[test]
fn r06_of_a_thousand_keys_at_30_percent_loss_each_is_told_once() {
    let (mut scene, mut dice, mut expected) = (Scene::new(), Dice(3), String::new());
    let (mut sequence, mut now) = (0u16, 0);
    for _ in 0..1_000 {
        let key = dice.below(12) as u8;
        let begins = (now / 125) as u32;
        let mut is_heard = false;
        // 100 ms, and its end three times.
        for sent in 0..7u16 {
            let duration = (sent.min(4) + 1) * 160;
            let end = if sent >= 4 { 0x80 } else { 0 };
            let [high, low] = duration.to_be_bytes();
            let payload = [key, end | 10, high, low];
            sequence = sequence.wrapping_add(1);
            now += 20_000;
            if dice.below(100) >= 30 {
                is_heard = true;
                scene.comes(
                    now,
                    CALLER,
                    &Packet {
                        marker: sent == 0,
                        payload_type: 101,
                        sequence,
                        timestamp: begins,
                        ssrc: 1,
                        payload: &payload,
                    },
                );
            }
        }
        if is_heard {
            expected.push(char::from(b"0123456789*#"[usize::from(key)]));
        }
        now += 100_000;
    }
    let name = |told: &Told| if let Told::Pressed(CALLER, digit) = told { Some(digit.name()) } else { None };
    let pressed = scene.told.iter().filter_map(name);
    assert!(expected.len() > 990);
    assert_eq!(pressed.collect::<String>(), expected);
}

/// They hear each other from its end, though one of them began to hear it later (a delayed offer).
#[test]
fn r07_who_still_hears_the_notice_is_not_heard_either() {
    let mut scene = Scene::new();
    let prompt = Arc::new(Prompt::of_samples(&[0; 480], &[0; 960]));
    let notice = Say { after: Duration::ZERO, prompt, again: None, number: 1, is_notice: true };
    assert!(scene.session.say(CALLER, notice, &mut scene.told));
    for frame in 0..5 {
        scene.comes(frame * 20_000, CALLER, &packet(0, 9, frame, &[7; 160]));
        let begins =
            scene.session.tick(at(frame * 20_000), &mut scene.told, |side, _, _, _| assert_eq!(side, CALLER));
        assert_eq!(begins, frame == 0, "it is said when that began");
        let is_over = scene.told.iter().any(|told| matches!(told, Told::Said(CALLER, 1)));
        assert_eq!((is_over, scene.heard.len()), (frame >= 3, frame.saturating_sub(3) as usize), "{frame}");
    }
}

#[test]
fn r10_who_holds_while_a_message_is_taken_has_not_fallen_silent() {
    let (mut scene, word) = (Scene::new(), [g711::encode_pcmu(CLICK); 160]);
    let listen = Listen { enough: Duration::from_secs(2), quiet: Duration::from_secs(5) };
    scene.session.listen(at(0), CALLER, listen);
    for number in 0..50 {
        scene.comes((number + 1) * 20_000, CALLER, &packet(0, 1, number, &word));
    }
    let says = |is_held: bool, offers: u32| Agreed {
        place: Some(place(4_000)),
        is_held,
        formats: speech(),
        offers,
        signals: None,
    };
    scene.session.agree(at(1_000_000), CALLER, says(true, 2));
    (1..=60).for_each(|second| scene.looks(second * 1_000_000));
    assert!(!scene.told.contains(&Told::FellSilent(CALLER)));
    scene.session.agree(at(60_500_000), CALLER, says(false, 3));
    (61..=70).for_each(|second| scene.looks(second * 1_000_000));
    assert_eq!(scene.told.iter().filter(|told| **told == Told::FellSilent(CALLER)).count(), 1);
}
