//! Keys as tones: heard where they are awaited and nobody tells of them otherwise; and keys that we press.

use strowger::media::ear::Ear;
use strowger::media::event::{Digit, Event};
use strowger::media::g711;
use strowger::media::tone::{KEY_LEVEL, Tones};

use super::*;

fn digit(name: u8) -> Digit {
    Digit::named(name).expect("a key")
}

/// Packets of 20 ms with those keys, each pressed for 80 ms, 100 ms of silence behind it.
fn tones(keys: &str) -> Vec<[u8; 160]> {
    let samples = keys.bytes().flat_map(|key| {
        let tone = Tones::key(digit(key), KEY_LEVEL, Duration::from_millis(80));
        tone.chain(std::iter::repeat_n(0, 800))
    });
    let bytes: Vec<u8> = samples.map(g711::encode_pcmu).collect();
    bytes.as_chunks().0.to_vec()
}

impl Call {
    /// The caller's audio has those keys; the other side hears it all.
    fn caller_plays(&mut self, keys: &str) {
        for packet in tones(keys) {
            self.caller.says(0, &packet);
            assert_eq!(self.called.hears().2, packet);
        }
    }

    /// A side has speech alone, and no events.
    fn has_no_events(&self, side: SideId, place: Place) {
        let formats = smallvec![format(Codec::Pcmu, "PCMU/8000", 0)];
        self.order(Order::Agree(
            side,
            Agreed { place: Some(place), formats, offers: 1, is_held: false, signals: None },
        ));
    }

    fn pressed(&self) -> String {
        self.order(Order::Say(
            CALLER,
            Say {
                after: Duration::ZERO,
                prompt: Arc::new(Prompt::of_samples(&[], &[])),
                again: None,
                number: 9,
                is_notice: false,
            },
        ));
        let mut keys = String::new();
        loop {
            match self.is_told() {
                Heard::Told(Told::Pressed(CALLER, digit)) => keys.push(digit.name()),
                Heard::Told(Told::Said(CALLER, 9)) => return keys,
                Heard::Told(Told::Latched(_)) => {}
                heard @ (Heard::Told(_) | Heard::Closed(..) | Heard::Broken) => panic!("{heard:?}"),
            }
        }
    }
}

#[test]
fn r06_tones_are_keys_where_they_are_awaited_and_the_side_has_no_events() {
    let mut call = Call::new();
    call.order(Order::Keys(CALLER, true));
    call.caller_plays("12");
    assert_eq!(call.pressed(), "", "it has events");
    call.has_no_events(CALLER, call.caller.place());
    call.caller_plays("1#");
    assert_eq!(call.pressed(), "1#");
    call.order(Order::Keys(CALLER, false));
    call.caller_plays("5");
    assert_eq!(call.pressed(), "", "nobody waits for one");
}

#[test]
fn r06_a_key_that_we_press_is_an_event_for_who_has_events_and_speech_goes_on_behind_it() {
    let mut call = Call::new();
    call.caller.says(0, b"one");
    let (_, first, _) = call.called.hears();
    call.order(Order::Press(CALLED, digit(b'#'), Duration::from_millis(100)));
    let mut packets = Vec::new();
    loop {
        let (payload_type, sequence, payload) = call.called.hears();
        assert_eq!((payload_type, sequence), (101, first + 1 + packets.len() as u16));
        packets.push(Event::read(&payload).expect("an event"));
        if packets.iter().filter(|event| event.is_over).count() == 3 {
            break;
        }
    }
    let durations: Vec<u16> = packets.iter().map(|event| event.duration).collect();
    assert_eq!(durations, [160, 320, 480, 640, 800, 800, 800]);
    assert!(packets.iter().all(|event| event.code == 11));
    let heard = (0..100).find_map(|_| {
        call.caller.says(0, b"two");
        std::thread::park_timeout(Duration::from_millis(20));
        call.called.rtp.set_nonblocking(true).expect("a mode");
        let mut buffer = [0; 64];
        call.called.rtp.recv(&mut buffer).ok().map(|length| buffer[HEADER..length].to_vec())
    });
    assert_eq!(heard.as_deref(), Some(&b"two"[..]));
}

#[test]
fn r06_a_key_that_we_press_is_a_tone_for_who_has_none() {
    let call = Call::new();
    call.has_no_events(CALLED, call.called.place());
    call.order(Order::Press(CALLED, digit(b'7'), Duration::from_millis(100)));
    let (mut ear, mut keys) = (Ear::default(), String::new());
    for _ in 0..6 {
        let (payload_type, _, payload) = call.called.hears();
        assert_eq!(payload_type, 0);
        let samples: Vec<i16> = payload.iter().map(|byte| g711::decode_pcmu(*byte)).collect();
        ear.hear(&samples, |digit| keys.push(digit.name()));
    }
    assert_eq!(keys, "7");
}
