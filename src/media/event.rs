//! Digits as telephone events (RFC 4733): heard once each, however many of their packets are lost or repeated.

use std::fmt;
use std::time::Duration;

use super::rtp::Packet;
use crate::time::Instant;

/// What a telephone has keys for, in the order of their event codes (RFC 4733 §3.2).
const KEYS: &[u8; 16] = b"0123456789*#ABCD";

/// How long an event's last packets are repeated, once it has ended (RFC 4733 §2.5.1.4).
pub const END_PACKETS: u8 = 3;

/// An event whose packets stop for so long is over, whether or not its end was heard.
const SILENCE: Duration = Duration::from_millis(250);

/// A key of a telephone.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digit(u8);

impl Digit {
    pub const ONE: Digit = Digit(1);
    pub const HASH: Digit = Digit(11);

    /// The key with that name: `0` to `9`, `*`, `#`, `A` to `D`, in either case.
    pub fn named(name: u8) -> Option<Digit> {
        let at = KEYS.iter().position(|key| *key == name.to_ascii_uppercase())?;
        Digit::of_event(u8::try_from(at).ok()?)
    }

    /// The key of an event code. None: it is no key, like 16, the hook flash.
    pub const fn of_event(code: u8) -> Option<Digit> {
        if (code as usize) < KEYS.len() { Some(Digit(code)) } else { None }
    }

    /// Its event code, 0 to 15.
    pub const fn event(self) -> u8 {
        self.0
    }

    pub fn name(self) -> char {
        KEYS.get(usize::from(self.0)).map_or('?', |key| char::from(*key))
    }
}

impl fmt::Display for Digit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.name())
    }
}

impl fmt::Debug for Digit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digit({})", self.name())
    }
}

/// What a packet says of an event (RFC 4733 §2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    pub code: u8,
    pub is_over: bool,
    /// How loud it is, 0 to −63 dBm0, without its sign.
    pub volume: u8,
    /// How long it has lasted, in units of the timestamp.
    pub duration: u16,
}

impl Event {
    /// Reads a payload: four bytes, and what some senders append.
    pub fn read(payload: &[u8]) -> Option<Event> {
        let [code, flags, d1, d0] = *payload.first_chunk::<4>()?;
        let duration = u16::from_be_bytes([d1, d0]);
        Some(Event { code, is_over: flags & 0x80 != 0, volume: flags & 0x3f, duration })
    }

    pub fn payload(&self) -> [u8; 4] {
        let [d1, d0] = self.duration.to_be_bytes();
        [self.code, u8::from(self.is_over) << 7 | self.volume & 0x3f, d1, d0]
    }
}

/// Who listens to the events of one stream.
#[derive(Debug, Default)]
pub struct Listener {
    last: Option<Heard>,
}

/// The event that was heard last.
#[derive(Clone, Copy, Debug)]
struct Heard {
    event: Event,
    /// When it began, as its packets say.
    timestamp: u32,
    at: Instant,
}

impl Listener {
    /// A packet of the negotiated payload type. Gives the key when it is heard for the first time: an event is told from
    /// the one before by its timestamp, so any of its packets will do.
    pub fn hear(&mut self, now: Instant, packet: &Packet<'_>) -> Option<Digit> {
        let event = Event::read(packet.payload)?;
        let heard = Heard { event, timestamp: packet.timestamp, at: now };
        let Some(last) = self.last.replace(heard) else { return Digit::of_event(event.code) };
        let later = packet.timestamp.wrapping_sub(last.timestamp).cast_signed();
        if later < 0 && now.since(last.at) < SILENCE {
            // It came late, and was told of or lost with all its packets.
            self.last = Some(last);
            return None;
        }
        let is_same = later == 0 || event.code == last.event.code && last.goes_on_as(&heard, packet.marker);
        if is_same {
            // What is over stays over, in whatever order its packets come.
            let is_over = event.is_over || (later == 0 && last.event.is_over);
            self.last = Some(Heard { event: Event { is_over, ..event }, ..heard });
            return None;
        }
        Digit::of_event(event.code)
    }
}

impl Heard {
    /// Whether a packet of the same key with another timestamp is of the same event: the next segment of a long one
    /// (RFC 4733 §2.5.1.3), or of a sender that counts the timestamp on with the duration.
    fn goes_on_as(&self, next: &Heard, marker: bool) -> bool {
        let later = next.timestamp.wrapping_sub(self.timestamp);
        let segment = later == u32::from(u16::MAX);
        let longer = next.event.duration.checked_sub(self.event.duration).map(u32::from) == Some(later);
        !marker && !self.event.is_over && next.at.since(self.at) < SILENCE && (segment || longer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(ms: u64) -> Instant {
        Instant::from_micros(ms * 1_000)
    }

    /// The packets of a key that is held for so many times 20 ms, its last one three times.
    fn pressed(key: u8, timestamp: u32, packets: u16) -> Vec<(u32, bool, Event)> {
        let code = Digit::named(key).unwrap().event();
        let packet = |number: u16| {
            let event = Event { code, is_over: number == packets, volume: 10, duration: number * 160 };
            (timestamp, number == 1, event)
        };
        let ends = std::iter::repeat_n(packet(packets), usize::from(END_PACKETS) - 1);
        (1..=packets).map(packet).chain(ends).collect()
    }

    fn heard(packets: impl IntoIterator<Item = (u32, bool, Event)>) -> String {
        let mut listener = Listener::default();
        let digits = packets.into_iter().enumerate().filter_map(|(number, (timestamp, marker, event))| {
            let packet = Packet {
                marker,
                payload_type: 101,
                sequence: 0,
                timestamp,
                ssrc: 1,
                payload: &event.payload(),
            };
            listener.hear(at(number as u64 * 20), &packet)
        });
        digits.map(Digit::name).collect()
    }

    #[test]
    fn each_key_is_heard_once() {
        for key in *KEYS {
            assert_eq!(heard(pressed(key, 1_000, 5)), char::from(key).to_string());
        }
        let twice = [pressed(b'1', 1_000, 5), pressed(b'1', 3_000, 2), pressed(b'#', 5_000, 3)].concat();
        assert_eq!(heard(twice), "11#");
        assert_eq!(Digit::named(b'a'), Digit::named(b'A'));
        assert_eq!((Digit::named(b'E'), Digit::of_event(16)), (None, None));
    }

    #[test]
    fn any_of_its_packets_will_do() {
        let all = pressed(b'1', 1_000, 4);
        for only in 0..all.len() {
            assert_eq!(heard(all[only..=only].to_vec()), "1");
        }
        let reversed: Vec<_> = all.iter().rev().copied().collect();
        assert_eq!(heard(reversed), "1");
        // Without its ends, and the same key again.
        assert_eq!(heard([&all[..2], &pressed(b'1', 3_000, 2)[..]].concat()), "11");
        assert_eq!(
            heard([&all[..2], &pressed(b'1', 3_000, 1)[1..]].concat()),
            "11",
            "without its marker either"
        );
        // The last of the one before comes behind the first of the next.
        let next = pressed(b'2', 3_000, 4);
        assert_eq!(heard([&all[..3], &next[..1], &all[3..], &next[1..]].concat()), "12");
    }

    #[test]
    fn a_long_one_and_one_whose_timestamp_is_counted_on_are_one() {
        let event = |duration, is_over| Event { code: 5, is_over, volume: 10, duration };
        let long = [
            (1_000, true, event(65_000, false)),
            (1_000, false, event(65_535, false)),
            (1_000 + 65_535, false, event(160, false)),
            (1_000 + 65_535, false, event(320, true)),
        ];
        assert_eq!(heard(long), "5");
        let counted = (1..9).map(|n: u16| (1_000 + u32::from(n) * 160, n == 1, event(n * 160, n == 8)));
        assert_eq!(heard(counted), "5");
    }

    proptest! {
        #[test]
        fn with_thirty_of_a_hundred_packets_lost_every_key_is_heard_once(
            keys in proptest::collection::vec((0usize..16, proptest::collection::vec(proptest::bool::weighted(0.3), 7)), 1..40)
        ) {
            let (mut packets, mut sent) = (Vec::new(), String::new());
            for (at, (key, lost)) in keys.into_iter().enumerate() {
                let all = pressed(KEYS[key], at as u32 * 2_000, 5);
                let before = packets.len();
                packets.extend(all.into_iter().zip(lost).filter(|(_, lost)| !lost).map(|(packet, _)| packet));
                if packets.len() > before {
                    sent.push(char::from(KEYS[key]));
                }
            }
            prop_assert_eq!(heard(packets), sent);
        }
    }

    #[test]
    fn what_is_no_event_is_not_heard() {
        let mut listener = Listener::default();
        let mut hear = |payload: &[u8]| {
            let packet =
                Packet { marker: true, payload_type: 101, sequence: 0, timestamp: 1, ssrc: 1, payload };
            listener.hear(at(0), &packet)
        };
        assert_eq!([&b""[..], b"\x01\x0a\x00", b"\x10\x0a\x00\xa0"].map(&mut hear), [None; 3]);
    }
}
