use std::time::Duration;

use super::*;
use crate::media::g711;
use crate::media::tone::{Level, Tones, frequencies};
use voice::{Dice, without_keys};

mod voice;

const KEYS: &str = "0123456789*#ABCD";

/// How a key is pressed.
#[derive(Clone, Copy, Debug)]
struct Press {
    key: char,
    /// Of each tone, in dBm0.
    row: f64,
    column: f64,
    /// How far each tone is off, in hundredths.
    row_off: f64,
    column_off: f64,
    ms: u64,
}

impl Press {
    fn of(key: char) -> Press {
        Press { key, row: -10.0, column: -10.0, row_off: 0.0, column_off: 0.0, ms: 100 }
    }

    fn lasting(self, ms: u64) -> Press {
        Press { ms, ..self }
    }

    fn samples(&self) -> Vec<i16> {
        let (row, column) = frequencies(Digit::named(self.key as u8).unwrap());
        let row = (row * (1.0 + self.row_off / 100.0), Level(self.row));
        let column = (column * (1.0 + self.column_off / 100.0), Level(self.column));
        Tones::pair(row, column, Duration::from_millis(self.ms)).collect()
    }
}

fn silence(samples: usize) -> Vec<i16> {
    vec![0; samples]
}

fn silent_ms(ms: usize) -> Vec<i16> {
    silence(ms * 8)
}

/// The keys that are heard in blocks of that many samples.
fn heard_by(ear: &mut Ear, sound: &[i16], block: usize) -> String {
    let mut keys = String::new();
    for block in sound.chunks(block) {
        ear.hear(block, |digit| keys.push(digit.name()));
    }
    keys
}

fn heard(sound: &[i16]) -> String {
    heard_by(&mut Ear::default(), sound, 160)
}

/// With silence before and behind.
fn heard_alone(sound: &[i16]) -> String {
    heard(&[&silent_ms(60), sound, &silent_ms(60)].concat())
}

/// Noise so many dB below that press, all the way.
fn add_noise(dice: &mut Dice, sound: &mut [i16], press: &Press, snr: f64) {
    let power = |level: f64| Level(level).amplitude().powi(2) / 2.0;
    let rms = ((power(press.row) + power(press.column)) * 10f64.powf(-snr / 10.0)).sqrt();
    for sample in sound {
        *sample = (f64::from(*sample) + dice.noise() * rms).round() as i16;
    }
}

#[test]
fn every_key_is_heard_at_every_level_twist_and_error_through_noise_wherever_it_begins() {
    let seed = 5;
    let mut dice = Dice(seed);
    let (mut all, mut worst) = (0, Vec::new());
    for key in KEYS.chars() {
        for level in [0.0, -10.0, -25.0, -29.0] {
            // The row stronger by that, in dB.
            for twist in [0.0, 8.0, -4.0] {
                for (row_off, column_off) in [(0.0, 0.0), (1.5, 1.5), (-1.5, -1.5), (1.5, -1.5), (-1.5, 1.5)]
                {
                    for snr in [15.0, 20.0, 60.0] {
                        let (row, column) = match twist {
                            down if down > 0.0 => (level, f64::max(level - down, -29.0)),
                            up => (f64::max(level + up, -29.0), level),
                        };
                        // Where noise is louder than it may be, only those that are not the shortest.
                        let ms = dice.one_of(if snr < 20.0 { &[60, 80, 100] } else { &[40, 41, 50] });
                        let press = Press { key, row, column, row_off, column_off, ms };
                        let (before, after) = (300 + dice.below(160), 400);
                        let mut sound = [silence(before), press.samples(), silence(after)].concat();
                        add_noise(&mut dice, &mut sound, &press, snr);
                        let keys = heard(&sound);
                        all += 1;
                        if keys != key.to_string() {
                            worst.push((press, snr, before % 160, keys));
                        }
                    }
                }
            }
        }
    }
    assert!(worst.is_empty(), "seed {seed}: {} of {all}: {:#?}", worst.len(), &worst[..worst.len().min(5)]);
}

#[test]
fn blocks_of_any_length_are_the_same() {
    let mut dice = Dice(7);
    let mut sound = silence(13);
    for key in KEYS.chars() {
        sound.extend(Press::of(key).lasting(50).samples());
        sound.extend(silence(400 + dice.below(40)));
    }
    for block in [1, 7, 39, 40, 41, 160, 240, 100_000] {
        assert_eq!(heard_by(&mut Ear::default(), &sound, block), KEYS, "in blocks of {block}");
    }
    let mut ear = Ear::default();
    ear.hear(&[], |_| unreachable!("nothing was said"));
}

#[test]
fn a_press_of_40_ms_is_heard_and_one_of_23_is_not() {
    for key in KEYS.chars() {
        for offset in 0..HOP {
            let at =
                |ms| [silence(400 + offset), Press::of(key).lasting(ms).samples(), silence(400)].concat();
            assert_eq!(heard(&at(40)), key.to_string(), "{key} after {offset}");
            // And what lies between, up to here, is ours to say.
            for short in [23, 27] {
                assert_eq!(heard(&at(short)), "", "{key} of {short} ms after {offset}");
            }
        }
    }
    assert_eq!(heard_alone(&Press::of('5').lasting(10_000).samples()), "5", "held for ten seconds");
}

#[test]
fn a_break_of_20_ms_parts_no_press_and_a_pause_of_40_does() {
    for offset in (0..HOP).step_by(3) {
        for key in ['1', '6', '#', 'D'] {
            let press = Press::of(key).lasting(60).samples();
            let with = |gap| {
                [silence(400 + offset), press.clone(), silent_ms(gap), press.clone(), silence(400)].concat()
            };
            for gap in [1, 5, 10, 15, 20] {
                assert_eq!(heard(&with(gap)), key.to_string(), "{gap} ms after {offset}");
            }
            for gap in [40, 50, 100] {
                assert_eq!(heard(&with(gap)), format!("{key}{key}"), "{gap} ms after {offset}");
            }
        }
    }
}

/// The fastest that must be followed: a key in 93 ms (ITU-T Q.24).
#[test]
fn keys_in_a_row_are_heard_as_fast_as_they_may_come() {
    let mut dice = Dice(11);
    let keys: String = (0..200).map(|_| char::from(dice.one_of(KEYS.as_bytes()))).collect();
    let press = |key| [Press::of(key).lasting(45).samples(), silent_ms(48)].concat();
    let mut sound: Vec<i16> = keys.chars().flat_map(press).collect();
    add_noise(&mut dice, &mut sound, &Press::of('1'), 20.0);
    assert_eq!(heard(&sound), keys);
    // One key after another without any pause.
    let sound: Vec<i16> = ['1', '2', '3'].into_iter().flat_map(|key| Press::of(key).samples()).collect();
    assert_eq!(heard_alone(&sound), "123");
}

#[test]
fn tones_that_are_off_by_three_and_a_half_of_a_hundred_are_no_key() {
    for key in KEYS.chars() {
        // A tenth further lies the next row or column.
        for off in [-5.0, -3.5, 3.5, 5.0] {
            for ms in [40, 100, 500] {
                let press = Press { ms, ..Press::of(key) };
                let row = Press { row_off: off, ..press };
                let column = Press { column_off: off, ..press };
                let both = Press { row_off: off, column_off: off, ..press };
                for press in [row, column, both] {
                    assert_eq!(heard_alone(&press.samples()), "", "{press:?}");
                }
            }
        }
    }
}

#[test]
fn what_is_too_quiet_or_twisted_too_far_is_no_key() {
    for key in KEYS.chars() {
        let press = Press { ms: 200, ..Press::of(key) };
        let quiet = Press { row: -40.0, column: -40.0, ..press };
        let falls = Press { row: -5.0, column: -17.0, ..press };
        let rises = Press { row: -13.0, column: -5.0, ..press };
        for press in [quiet, falls, rises] {
            assert_eq!(heard_alone(&press.samples()), "", "{press:?}");
        }
    }
}

#[test]
fn single_tones_and_those_of_the_exchange_are_no_key() {
    let level = Level(-10.0);
    let second = Duration::from_secs(1);
    let single = [697.0, 770.0, 852.0, 941.0, 1_000.0, 1_209.0, 1_336.0, 1_477.0, 1_633.0, 2_100.0, 1_100.0];
    for hz in single {
        for level in [Level(0.0), level, Level(-25.0)] {
            let sound: Vec<i16> = Tones::plain(hz, level, second).collect();
            assert_eq!(heard_alone(&sound), "", "{hz} Hz");
        }
    }
    // Dial tone, ringback, busy; two rows, two columns; the ringback of Britain; a row and the tone of a fax.
    let pairs = [
        (350.0, 440.0),
        (440.0, 480.0),
        (480.0, 620.0),
        (697.0, 852.0),
        (1_209.0, 1_477.0),
        (400.0, 450.0),
        (697.0, 1_100.0),
    ];
    for (low, high) in pairs {
        let on: Vec<i16> = Tones::pair((low, level), (high, level), second / 2).collect();
        let sound = [on.clone(), silent_ms(500), on].concat();
        assert_eq!(heard_alone(&sound), "", "{low} and {high} Hz");
    }
    assert_eq!(heard_alone(&Tones::beep().collect::<Vec<i16>>()), "");
    // Keys together are no key.
    let both = Press::of('1').samples().into_iter().zip(Press::of('9').samples()).map(|(a, b)| a + b);
    assert_eq!(heard_alone(&both.collect::<Vec<i16>>()), "");
}

/// What has a second harmonic is sung: a telephone's lies 20 dB below and more.
#[test]
fn a_second_harmonic_is_a_voices() {
    for key in KEYS.chars() {
        let press = Press::of(key).lasting(200);
        let (_, column) = frequencies(Digit::named(key as u8).unwrap());
        let with = |below: f64| -> Vec<i16> {
            let harmonic =
                Tones::plain(2.0 * column, Level(press.column - below), Duration::from_millis(press.ms));
            press.samples().into_iter().zip(harmonic).map(|(press, harmonic)| press + harmonic).collect()
        };
        assert_eq!(heard_alone(&with(20.0)), key.to_string());
        assert_eq!(heard_alone(&with(10.5)), "", "{key}");
    }
}

#[test]
fn noise_and_clicks_are_no_key() {
    let mut dice = Dice(13);
    let noise: Vec<i16> = (0..80_000).map(|_| (dice.noise() * 3_000.0) as i16).collect();
    assert_eq!(heard(&noise), "");
    let square: Vec<i16> = (0..8_000).map(|at| if at / 6 % 2 == 0 { 8_000 } else { -8_000 }).collect();
    assert_eq!(heard(&square), "");
    let clicks: Vec<i16> = (0..8_000).map(|at| if at % 97 == 0 { i16::MAX } else { 0 }).collect();
    assert_eq!(heard(&clicks), "");
    assert_eq!(heard(&[i16::MIN; 8_000]), "");
}

/// What arrives by PCMU or PCMA in packets of 20 ms.
fn through(encode: fn(i16) -> u8, decode: fn(u8) -> i16, sound: &[i16]) -> Vec<i16> {
    sound.iter().map(|sample| decode(encode(*sample))).collect()
}

#[test]
fn through_both_laws_with_one_packet_of_twenty_lost_no_key_is_heard_twice() {
    let seed = 17;
    let mut dice = Dice(seed);
    for (encode, decode) in [
        (g711::encode_pcmu as fn(i16) -> u8, g711::decode_pcmu as fn(u8) -> i16),
        (g711::encode_pcma, g711::decode_pcma),
    ] {
        let (mut told, mut unbroken, mut pressed) = (0, 0, 0);
        for _ in 0..160 {
            let key = char::from(dice.one_of(KEYS.as_bytes()));
            let level = dice.within(-25.0, 0.0);
            let press = Press { row: level, column: level - dice.within(-2.0, 4.0), ..Press::of(key) };
            let ms = dice.one_of(&[60, 100, 160, 300]);
            let sound = [silence(400 + dice.below(160)), press.lasting(ms).samples(), silence(560)].concat();
            let sound = through(encode, decode, &sound);
            let lost: Vec<bool> = sound.chunks(160).map(|_| dice.below(20) == 0).collect();
            // Loss that the receiver is told of, of any length; and silence in its place, one packet at a time.
            let (mut ear, mut keys) = (Ear::default(), String::new());
            for (packet, lost) in sound.chunks(160).zip(&lost) {
                match lost {
                    true => ear.miss(packet.len(), |digit| keys.push(digit.name())),
                    false => ear.hear(packet, |digit| keys.push(digit.name())),
                }
            }
            let (mut filled, mut gone_before) = (Vec::new(), false);
            for (packet, lost) in sound.chunks(160).zip(&lost) {
                gone_before = *lost && !gone_before;
                filled.extend(packet.iter().map(|sample| if gone_before { 0 } else { *sample }));
            }
            for keys in [keys.clone(), heard(&filled)] {
                assert!(keys.is_empty() || keys == key.to_string(), "seed {seed}: {press:?}: {keys}");
            }
            pressed += 1;
            told += keys.len();
            unbroken += heard(&sound).len();
        }
        assert_eq!(unbroken, pressed, "seed {seed}: without loss all are heard");
        // A press of 60 ms that loses its middle is gone.
        assert!(told * 100 >= pressed * 97, "seed {seed}: {told} of {pressed}");
    }
}

#[test]
fn a_press_goes_on_over_lost_packets_up_to_100_ms() {
    let press = Press::of('4').lasting(80).samples();
    let with = |lost: usize| {
        let (mut ear, mut keys) = (Ear::default(), String::new());
        ear.hear(&press, |digit| keys.push(digit.name()));
        for _ in 0..lost {
            ear.miss(160, |digit| keys.push(digit.name()));
        }
        ear.hear(&press, |digit| keys.push(digit.name()));
        keys
    };
    assert_eq!([0, 1, 2, 3, 5].map(with), ["4"; 5]);
    assert_eq!(with(10), "44");
    let mut ear = Ear::default();
    ear.hear(&press, |_| ());
    ear.miss(usize::MAX, |_| unreachable!("nothing is heard in nothing"));
    ear.miss(usize::MAX, |_| unreachable!("nothing is heard in nothing"));
    assert_eq!(heard_by(&mut ear, &press, 160), "4");
    // A press of 80 ms whose middle did not come.
    let (mut ear, mut keys) = (Ear::default(), String::new());
    let press = Press::of('7').lasting(80).samples();
    ear.hear(&silence(240), |_| ());
    ear.hear(&press[..240], |digit| keys.push(digit.name()));
    ear.miss(160, |digit| keys.push(digit.name()));
    ear.hear(&press[400..], |digit| keys.push(digit.name()));
    ear.hear(&silence(480), |digit| keys.push(digit.name()));
    assert_eq!(keys, "7");
}

#[test]
fn a_step_in_level_is_no_new_press() {
    for step in [-12.0, -6.0, 6.0, 12.0] {
        let first = Press { row: -14.0, column: -14.0, ..Press::of('8') };
        let second = Press { row: -14.0 + step, column: -14.0 + step, ..first };
        assert_eq!(heard_alone(&[first.samples(), second.samples()].concat()), "8", "{step} dB");
    }
    // It falls away slowly, as the key's spring does.
    let fades = Press::of('8').lasting(400).samples();
    let faded =
        fades.iter().enumerate().map(|(at, sample)| (f64::from(*sample) * 0.999f64.powi(at as i32)) as i16);
    assert_eq!(heard_alone(&faded.collect::<Vec<i16>>()), "8");
}

#[test]
fn a_press_between_and_above_words_is_heard_once() {
    let voice = without_keys(20, 23);
    let mut dice = Dice(29);
    for key in KEYS.chars() {
        let at = dice.below(voice.len() - 16_000);
        let words = &voice[at..at + 8_000];
        let press = Press::of(key).lasting(80).samples();
        // Between words, without any pause.
        let between = [words, &press, &voice[at + 8_000..at + 16_000]].concat();
        assert_eq!(heard(&between), key.to_string(), "{key} in words from {at}");
        // While somebody speaks, 15 dB below.
        let power = |sound: &[i16]| sound.iter().map(|sample| f64::from(*sample).powi(2)).sum::<f64>();
        let below = (power(&press) / power(&words[..press.len()]).max(1.0) * 10f64.powf(-1.5)).sqrt();
        let above: Vec<i16> = press
            .iter()
            .zip(words)
            .map(|(press, word)| (f64::from(*press) + f64::from(*word) * below) as i16)
            .collect();
        assert_eq!(heard_alone(&above), key.to_string(), "{key} above words from {at}");
    }
}

#[test]
fn in_ten_minutes_of_voices_and_music_no_key_is_heard() {
    let seed = 31;
    let voices = without_keys(600, seed);
    let loud = voices.iter().filter(|sample| sample.unsigned_abs() > 500).count();
    assert!(loud > voices.len() / 3, "it does sound: {loud}");
    assert_eq!(heard(&voices), "", "seed {seed}");
}

#[test]
fn the_quietest_that_is_heard_is_what_its_comment_says() {
    let power = Level(-33.0).amplitude().powi(2) / 2.0;
    assert!((f64::from(QUIETEST) / power - 1.0).abs() < 0.01, "{power}");
    assert!((WEIGHTS.iter().sum::<f32>() - 1.0).abs() < 1e-5);
    for tone in 0..TONES {
        let angle = std::f64::consts::TAU * nominal(tone) / 8_000.0 * 77.0;
        let (cos, sin) = (WAVES[77][tone] / WEIGHTS[77], WAVES[77][TONES + tone] / WEIGHTS[77]);
        assert!((f64::from(cos) - angle.cos()).abs() < 1e-5 && (f64::from(sin) - angle.sin()).abs() < 1e-5);
    }
}
