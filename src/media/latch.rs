//! From whom a side's packets are taken, and where ours go (R12; the traps of `symmetric RTP`, RFC 4961).
//!
//! What a description says of an address is believed, but ports of senders are not: many phones send from another one
//! than they listen on. Behind a NAT nothing of it can be believed, and who speaks first is the one. A side that moves
//! is latched anew, and packets of its old place that are still under way do not draw it back.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::time::Instant;

/// Whoever has not been heard for so long, ten of its packets, may have moved.
const SILENT: Duration = Duration::from_millis(200);

/// So many packets within so long are speech of whatever packet length: comfort noise (RFC 3389) and what keeps a NAT open
/// (RFC 6263) come further apart.
const SPEAKS: u8 = 12;
const SPEAKS_WITHIN: Duration = Duration::from_secs(1);

/// How long the place that a side has left is not listened to.
const LEFT: Duration = Duration::from_secs(2);

/// Where a side is, as its description says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Where it hears us, and whence it speaks as far as it says.
    pub rtp: SocketAddr,
    pub rtcp: SocketAddr,
    /// A NAT stands before it: it is where its packets come from.
    pub is_behind_nat: bool,
}

/// What one datagram's sender is to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// The side itself.
    Known,
    /// The side itself, heard for the first time since it is where it is.
    First,
    Stranger,
}

/// Whom one side's packets are taken from.
#[derive(Debug)]
pub struct Latch {
    place: Place,
    /// Who speaks.
    heard: Option<SocketAddr>,
    /// Behind a NAT: whence its RTCP came first.
    rtcp: Option<SocketAddr>,
    /// Where it was before, and until when that is not listened to.
    left: Option<(SocketAddr, Instant)>,
    /// When.
    last: Instant,
    /// It may speak from somewhere else: since when that is so.
    open: Option<Instant>,
    /// Whence it said so by signalling.
    signals: Option<IpAddr>,
    /// Packets that came from where it said that it is; since when they are counted.
    named: (Instant, u8),
    /// Whom it was taken for before it was heard from where it said: who of the two speaks is it, until that one has spoken
    /// there for a while. What fell silent may be mute, and what came a packet that keeps a NAT open.
    rival: Option<SocketAddr>,
    /// It is to be sent nothing for now.
    is_deaf: bool,
}

impl Latch {
    pub const fn new(place: Place) -> Latch {
        Latch {
            place,
            heard: None,
            rtcp: None,
            left: None,
            last: Instant::ZERO,
            open: None,
            signals: None,
            named: (Instant::ZERO, 0),
            rival: None,
            is_deaf: false,
        }
    }

    /// It holds us by saying that it is nowhere (RFC 3264 §8.4): it is heard from where it was, and nothing is sent there.
    pub const fn falls_deaf(&mut self) {
        self.is_deaf = true;
    }

    pub const fn is_deaf(&self) -> bool {
        self.is_deaf
    }

    /// The side's description says so now. Whether it is latched anew: that is said of the same place again and again.
    pub fn moves(&mut self, now: Instant, place: Place) -> bool {
        self.is_deaf = false;
        if place == self.place {
            return false;
        }
        let is_same = place.rtp == self.place.rtp && place.is_behind_nat == self.place.is_behind_nat;
        self.place = place;
        if is_same {
            return false;
        }
        if let Some(heard) = self.heard.take() {
            self.left = Some((heard, now + LEFT));
        }
        (self.open, self.rtcp, self.rival) = (None, None, None);
        true
    }

    /// It has offered anew, and says that it is where it was: a NAT may have moved it all the same, or the port that it sends
    /// from is another. Who spoke is still heard, until he falls silent and another speaks. Whether there is one.
    pub fn may_have_moved(&mut self, now: Instant, signals: Option<IpAddr>) -> bool {
        self.signals = signals;
        self.open = self.heard.map(|_| now);
        self.heard.is_some()
    }

    /// Who sent a datagram to the port of this side.
    pub fn sender(&mut self, now: Instant, from: SocketAddr) -> Sender {
        let heard = self.heard;
        match heard {
            Some(heard) if heard == from => {
                self.last = now;
                let has_stayed = self.open.is_some_and(|since| now.since(since) >= LEFT);
                let is_sure = self.rival.is_some() && from == self.place.rtp && self.speaks_as_named(now);
                if has_stayed {
                    self.open = None;
                }
                if is_sure {
                    self.rival = None;
                }
                // It is where it was after all.
                if has_stayed || is_sure { Sender::First } else { Sender::Known }
            }
            Some(heard) if self.takes_over(now, heard, from) => {
                self.left = Some((heard, now + LEFT));
                (self.heard, self.last, self.open, self.rtcp) = (Some(from), now, None, None);
                Sender::First
            }
            Some(_) => Sender::Stranger,
            None if !self.may_be(now, from) => Sender::Stranger,
            None => {
                (self.heard, self.last) = (Some(from), now);
                Sender::First
            }
        }
    }

    /// Whether another than `heard`, who speaks, is the side. Who speaks on from where it said that it is, is it, for what
    /// comes from the same host otherwise may be left over from another call of that host's. A NAT gives a side another port,
    /// and its address to nobody else; one that has come to another NAT has offered from there.
    fn takes_over(&mut self, now: Instant, heard: SocketAddr, from: SocketAddr) -> bool {
        let has_fallen_silent = now.since(self.last) >= SILENT;
        if from == self.place.rtp && !self.place.is_behind_nat {
            let is_sure = self.speaks_as_named(now);
            if is_sure || has_fallen_silent {
                self.rival = Some(heard).filter(|_| !is_sure);
            }
            return is_sure || has_fallen_silent;
        }
        if self.rival == Some(from) {
            if has_fallen_silent {
                (self.rival, self.named) = (None, (Instant::ZERO, 0));
            }
            return has_fallen_silent;
        }
        let may_have_moved = self.open.is_some() && has_fallen_silent;
        let is_its_host =
            from.ip() == heard.ip() || self.place.is_behind_nat && self.signals == Some(from.ip());
        may_have_moved && is_its_host && self.may_be(now, from)
    }

    /// A packet came from where it said that it is. Whether it speaks there.
    fn speaks_as_named(&mut self, now: Instant) -> bool {
        let (since, packets) = self.named;
        self.named =
            if now.since(since) < SPEAKS_WITHIN { (since, packets.saturating_add(1)) } else { (now, 1) };
        self.named.1 >= SPEAKS
    }

    /// Whether RTCP that comes from there is the side's: from its host, whatever the port.
    pub fn hears_rtcp(&mut self, from: SocketAddr) -> bool {
        let is_its = self.is_its_host(from.ip());
        if is_its && self.place.is_behind_nat {
            self.rtcp.get_or_insert(from);
        }
        is_its
    }

    fn is_its_host(&self, host: IpAddr) -> bool {
        let Place { rtp, rtcp, is_behind_nat } = self.place;
        match self.heard {
            Some(heard) if is_behind_nat => host == heard.ip(),
            Some(heard) => host == heard.ip() || host == rtcp.ip(),
            None => !is_behind_nat && (host == rtp.ip() || host == rtcp.ip()),
        }
    }

    /// Where its packets go.
    pub fn to(&self) -> SocketAddr {
        match self.heard {
            Some(heard) if self.place.is_behind_nat => heard,
            Some(_) | None => self.place.rtp,
        }
    }

    /// Where its RTCP goes: behind a NAT where the first came from, if any has.
    pub const fn rtcp_to(&self) -> SocketAddr {
        match self.rtcp {
            Some(heard) => heard,
            None => self.place.rtcp,
        }
    }

    /// The one address that it speaks from and listens on, once that is known: the kernel can keep strangers out.
    pub fn only(&self) -> Option<SocketAddr> {
        self.heard.filter(|heard| *heard == self.to() && self.rival.is_none())
    }

    fn may_be(&self, now: Instant, from: SocketAddr) -> bool {
        let has_left =
            self.left.is_some_and(|(left, until)| left == from && now < until && from != self.place.rtp);
        !has_left && (self.place.is_behind_nat || from.ip() == self.place.rtp.ip())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Sender::{First, Known, Stranger};

    fn at(ms: u64) -> Instant {
        Instant::from_micros(ms * 1_000)
    }

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn place(rtp: &str) -> Place {
        let rtp = address(rtp);
        Place { rtp, rtcp: SocketAddr::new(rtp.ip(), rtp.port() + 1), is_behind_nat: false }
    }

    #[test]
    fn who_speaks_first_from_the_host_that_was_named_is_the_side_and_ours_go_where_it_said() {
        let mut latch = Latch::new(place("192.0.2.1:4000"));
        assert_eq!(latch.to(), address("192.0.2.1:4000"), "before it speaks");
        assert_eq!(latch.sender(at(0), address("192.0.2.2:4000")), Stranger);
        assert_eq!(latch.sender(at(0), address("192.0.2.1:9999")), First, "from any port");
        assert_eq!((latch.to(), latch.only()), (address("192.0.2.1:4000"), None));
        assert_eq!(latch.sender(at(1), address("192.0.2.1:9999")), Known);
        assert_eq!(latch.sender(at(1), address("192.0.2.1:8888")), Stranger, "one is enough");
        let named = address("192.0.2.1:4000");
        for ms in (100..5_000).step_by(100) {
            assert_eq!(latch.sender(at(ms), named), Stranger, "it keeps the NAT open, or is comfort noise");
            assert_eq!(latch.sender(at(ms), address("192.0.2.1:9999")), Known);
        }
        let heard = (0..50).map(|packet| {
            latch.sender(at(10_000 + packet * 20), address("192.0.2.1:9999"));
            latch.sender(at(10_010 + packet * 20), named)
        });
        let before = heard.take_while(|sender| *sender == Stranger).count();
        assert_eq!(before, 11, "it speaks: the other, which goes on, is of another call");
        assert_eq!((latch.sender(at(11_000), named), latch.only()), (Known, Some(named)));
        assert_eq!(latch.sender(at(11_000), address("192.0.2.1:9999")), Stranger);
        let mut plain = Latch::new(place("[2001:db8::1]:4000"));
        assert_eq!(plain.sender(at(0), address("[2001:db8::1]:4000")), First);
        assert_eq!(plain.only(), Some(address("[2001:db8::1]:4000")));
    }

    #[test]
    fn a_stray_packet_before_it_speaks_or_while_it_is_mute_makes_nobody_deaf() {
        let [named, odd] = ["192.0.2.1:4000", "192.0.2.1:9999"].map(address);
        let mut latch = Latch::new(place("192.0.2.1:4000"));
        assert_eq!(latch.sender(at(0), odd), First, "left over from another call");
        assert_eq!(latch.sender(at(150), named), Stranger);
        assert_eq!(
            (latch.sender(at(250), named), latch.only()),
            (First, None),
            "the first word but for 200 ms"
        );
        for ms in (350..1_200).step_by(100) {
            assert_ne!(latch.sender(at(ms), named), Stranger);
        }
        assert_eq!((1_200..2_200).step_by(20).filter(|ms| latch.sender(at(*ms), named) == First).count(), 1);
        assert_eq!((latch.only(), latch.sender(at(2_300), odd)), (Some(named), Stranger), "sure of it");

        // It speaks from another port than it hears at, falls silent, and keeps its NAT open from the one that it named.
        let mut latch = Latch::new(place("192.0.2.1:4000"));
        assert_eq!(latch.sender(at(0), odd), First);
        for round in 1..5 {
            let begin = round * 10_000;
            assert_eq!((latch.sender(at(begin), named), latch.only()), (First, None));
            assert_eq!(latch.sender(at(begin + 100), odd), Stranger);
            assert_eq!(latch.sender(at(begin + 220), odd), First, "and speaks again");
            assert!((0..200).all(|packet| latch.sender(at(begin + 240 + packet * 20), odd) == Known));
        }
    }

    #[test]
    fn behind_a_nat_it_is_where_its_packets_come_from() {
        let mut latch = Latch::new(Place { is_behind_nat: true, ..place("10.0.0.5:4000") });
        assert!(!latch.is_its_host(address("10.0.0.5:1").ip()), "nothing is known as yet");
        assert_eq!(latch.sender(at(0), address("198.51.100.7:61000")), First);
        let outside = address("198.51.100.7:61000");
        assert_eq!((latch.to(), latch.only()), (outside, Some(outside)));
        assert_eq!(latch.sender(at(1), address("203.0.113.66:61000")), Stranger);
        assert!(latch.is_its_host(outside.ip()) && !latch.is_its_host(address("10.0.0.5:1").ip()));
        assert_eq!(latch.rtcp_to(), address("10.0.0.5:4001"), "nothing better is known");
        assert!(!latch.hears_rtcp(address("203.0.113.66:61001")));
        let rtcp = address("198.51.100.7:61007");
        assert!(latch.hears_rtcp(rtcp) && latch.hears_rtcp(address("198.51.100.7:61009")));
        assert_eq!(latch.rtcp_to(), rtcp, "the first");
    }

    #[test]
    fn a_late_packet_of_the_old_place_does_not_draw_a_side_back_that_has_moved() {
        for nat in [false, true] {
            let named = |rtp| Place { is_behind_nat: nat, ..place(rtp) };
            let (old, new) = (address("192.0.2.1:4000"), address("192.0.2.1:5000"));
            let mut latch = Latch::new(named("192.0.2.1:4000"));
            assert_eq!(latch.sender(at(0), old), First);
            assert!(latch.moves(at(1_000), named("192.0.2.1:5000")));
            assert_eq!(latch.sender(at(1_020), old), Stranger, "nat: {nat}");
            assert_eq!(latch.sender(at(1_040), new), First);
            assert_eq!(latch.sender(at(1_060), old), Stranger);
            assert_eq!(latch.to(), new);
        }
    }

    #[test]
    fn one_that_says_where_it_is_and_speaks_from_the_old_port_all_the_same_is_heard_in_the_end() {
        let mut latch = Latch::new(place("192.0.2.1:4000"));
        let odd = address("192.0.2.1:7777");
        assert_eq!(latch.sender(at(0), odd), First);
        assert!(latch.moves(at(1_000), place("192.0.2.1:5000")));
        assert_eq!(latch.sender(at(2_999), odd), Stranger);
        assert_eq!(latch.sender(at(3_000), odd), First);
    }

    #[test]
    fn one_that_goes_back_where_it_was_is_heard_at_once() {
        let mut latch = Latch::new(place("192.0.2.1:4000"));
        assert_eq!(latch.sender(at(0), address("192.0.2.1:4000")), First);
        assert!(latch.moves(at(10), place("192.0.2.9:4000")));
        assert!(latch.moves(at(20), place("192.0.2.1:4000")));
        assert_eq!(latch.sender(at(30), address("192.0.2.1:4000")), First);
    }

    #[test]
    fn one_that_was_nowhere_for_a_while_is_where_it_was_or_is_latched_anew() {
        let (old, new) = (address("192.0.2.1:4000"), address("192.0.2.1:5000"));
        let mut latch = Latch::new(place("192.0.2.1:4000"));
        assert_eq!(latch.sender(at(0), old), First);
        latch.falls_deaf();
        assert_eq!((latch.is_deaf(), latch.sender(at(10), old)), (true, Known), "it may play music");
        assert!(!latch.moves(at(20), place("192.0.2.1:4000")));
        assert_eq!((latch.is_deaf(), latch.sender(at(20), old)), (false, Known));
        latch.falls_deaf();
        assert!(latch.moves(at(30), place("192.0.2.1:5000")));
        assert_eq!((latch.is_deaf(), latch.sender(at(40), old)), (false, Stranger), "late");
        assert_eq!(latch.sender(at(50), new), First);
    }

    #[test]
    fn one_that_offers_the_same_anew_is_heard_from_elsewhere_once_it_has_fallen_silent() {
        let (outside, moved) = (address("198.51.100.7:61000"), address("198.51.100.7:62000"));
        for (nat, old, new) in
            [(true, outside, moved), (false, address("192.0.2.1:7777"), address("192.0.2.1:8888"))]
        {
            let mut latch = Latch::new(Place { is_behind_nat: nat, ..place("192.0.2.1:4000") });
            assert!(!latch.may_have_moved(at(0), None), "nobody was heard so far");
            assert_eq!(latch.sender(at(0), old), First);
            assert_eq!(latch.sender(at(500), new), Stranger, "it has not said anything");
            assert!(latch.may_have_moved(at(1_000), None));
            assert_eq!(latch.sender(at(1_020), old), Known, "under way, or it has not moved");
            assert_eq!(latch.sender(at(1_040), new), Stranger);
            assert_eq!(latch.sender(at(1_220), new), First, "nat: {nat}");
            assert_eq!(latch.sender(at(1_240), old), Stranger);
            // Once more, and it stays where it is: then nobody else is it.
            assert!(latch.may_have_moved(at(5_000), None));
            assert_eq!(latch.sender(at(6_990), new), Known);
            assert_eq!(latch.sender(at(7_010), new), First);
            assert_eq!(latch.sender(at(9_000), old), Stranger);
        }
        let away = address("203.0.113.5:61000");
        for nat in [true, false] {
            let mut latch = Latch::new(Place { is_behind_nat: nat, ..place("192.0.2.1:4000") });
            assert_eq!(latch.sender(at(0), address("192.0.2.1:4000")), First);
            assert!(latch.may_have_moved(at(10), Some(away.ip())));
            assert_eq!(latch.sender(at(900), address("192.0.2.66:4000")), Stranger, "another host");
            let is_there = if nat { First } else { Stranger };
            assert_eq!(latch.sender(at(920), away), is_there, "whence it offered: nat: {nat}");
        }
    }

    #[test]
    fn the_same_said_again_latches_nothing_anew() {
        let mut latch = Latch::new(place("192.0.2.1:4000"));
        assert_eq!(latch.sender(at(0), address("192.0.2.1:4000")), First);
        assert!(!latch.moves(at(10), place("192.0.2.1:4000")));
        let rtcp = address("192.0.2.1:4000");
        assert!(!latch.moves(at(20), Place { rtcp, ..place("192.0.2.1:4000") }));
        assert_eq!(latch.sender(at(30), address("192.0.2.1:4000")), Known);
        assert_eq!(latch.rtcp_to(), rtcp);
    }
}
