//! What a port drops unread. Far above what a shard can carry, even a 503 is too much work: to read the INVITE, send
//! its answer and read the ACK takes what a call would have had. Then the kernel draws lots over new INVITEs before
//! they cost us anything (a classic BPF program at the socket), and everything else passes: what belongs to a call goes
//! first (R14). A caller repeats what got no answer after T1 (RFC 3261 §17.1.1.2), and draws again.

use std::io;
use std::net::UdpSocket;

use socket2::{SockFilter, SockRef};

/// Of [`WHOLE`] new INVITEs so many are dropped.
pub type Share = u8;

/// The whole, in which a share is counted.
pub const WHOLE: u16 = 256;

/// What the ports of a shard could do for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Droppable {
    /// They can drop.
    pub may: bool,
    /// New calls that they have let through since this was last said, and could have dropped.
    pub came: u32,
}

/// Where a socket's program finds what a datagram carries: after the header of UDP.
const PAYLOAD: u32 = 8;

/// Where it finds a random number (`SKF_AD_OFF + SKF_AD_RANDOM`).
const RANDOM: u32 = 0xffff_f038;

/// A call to a telephone number begins so.
const CALL: &[u8; 11] = b"INVITE sip:";

/// And so many characters of a number follow. Nothing else begins like that: a request within a dialog names our
/// Contact, which has no user part and whose address has a dot or a bracket before that; numbers for help are shorter
/// (R13); and what stands after `sips:`, `tel:` or `urn:` is not looked at.
const DIGITS: u32 = 8;

/// A program's instructions (`<linux/bpf_common.h>`): what is loaded, what is asked of it, the end.
const WORD: u16 = 0x20;
const HALF: u16 = 0x28;
const BYTE: u16 = 0x30;
const LENGTH: u16 = 0x80;
const IS: u16 = 0x15;
const IS_ABOVE: u16 = 0x25;
const IS_AT_LEAST: u16 = 0x35;
const RETURN: u16 = 0x06;

/// One step towards the loss of a datagram.
enum Step {
    /// Loads what stands there.
    Load(u16, u32),
    /// What was loaded must be so, or the datagram passes.
    Must(u16, u32),
    /// What was loaded must not be so.
    MustNot(u16, u32),
    /// If it is so, so many steps are left out.
    Skip(u16, u32, u8),
}

/// Tells what the kernel dropped by lot from what found no room: it has one count of both. By lot go as many as those that
/// came through make likely.
#[derive(Debug, Default)]
pub struct Lots {
    share: Share,
    /// By which some of what waits yet was drawn.
    before: Share,
    /// So many more may have been drawn than were told of, times [`WHOLE`].
    credit: u64,
}

/// So many more than likely: a fourth of what is likely, and at first so many.
const CHANCE: u64 = 4;
const LUCK: u64 = 2_048;

/// No more credit is kept than this: what is rarely let through comes in lumps.
const MOST_CREDIT: u64 = 16_384;

impl Lots {
    pub fn share(&self) -> Share {
        self.share
    }

    /// Another share is drawn by from now on.
    pub fn draw(&mut self, share: Share) {
        if (self.share, self.before) == (0, 0) {
            self.credit = LUCK * u64::from(WHOLE);
        }
        self.before = self.before.max(self.share);
        self.share = share;
    }

    /// So many came through that might have been drawn.
    pub fn expect(&mut self, came: u32) {
        let share = u64::from(self.share.max(self.before));
        if share > 0 {
            let likely = u64::from(came) * share * u64::from(WHOLE) / (u64::from(WHOLE) - share);
            self.credit = (self.credit + likely + likely / CHANCE).min(MOST_CREDIT * u64::from(WHOLE));
        }
    }

    /// How many of those that the kernel dropped were drawn.
    pub fn were(&mut self, dropped: u64) -> u64 {
        let drawn = dropped.min(self.credit / u64::from(WHOLE));
        self.credit -= drawn * u64::from(WHOLE);
        drawn
    }

    /// All that waited has been received.
    pub fn settle(&mut self) {
        if self.share == 0 {
            self.credit = 0;
        }
        self.before = self.share;
    }
}

/// Whether a message is one of those of which a port may drop some: a new call to a number, as the program sees it.
pub fn is_call_to_a_number(message: &[u8]) -> bool {
    message.strip_prefix(CALL).is_some_and(begins_with_a_number)
}

/// The same of its Request-URI.
pub fn is_number(uri: &[u8]) -> bool {
    uri.strip_prefix(b"sip:").is_some_and(begins_with_a_number)
}

fn begins_with_a_number(text: &[u8]) -> bool {
    let Some([first, rest @ ..]) = text.get(..DIGITS as usize) else { return false };
    matches!(first, b'+' | b'0'..=b'9') && rest.iter().all(u8::is_ascii_digit)
}

/// From now on a port drops that share of what comes to it and looks like a new call; with 0 it drops nothing.
pub fn set(socket: &UdpSocket, share: Share) -> io::Result<()> {
    let socket = SockRef::from(socket);
    if share == 0 { socket.detach_filter() } else { socket.attach_filter(&program(share)) }
}

fn program(share: Share) -> Vec<SockFilter> {
    let steps = steps(share);
    let over = |at: usize| u8::try_from(steps.len() - at).unwrap_or(u8::MAX);
    let step = |(at, step): (usize, &Step)| match *step {
        Step::Load(what, at) => SockFilter::new(what, 0, 0, at),
        Step::Must(asked, value) => SockFilter::new(asked, 0, over(at), value),
        Step::MustNot(asked, value) => SockFilter::new(asked, over(at), 0, value),
        Step::Skip(asked, value, steps) => SockFilter::new(asked, steps, 0, value),
    };
    // How many bytes of it are kept: none, where the last step leads; all, where every other way does.
    let ends = [0, u32::MAX].map(|kept| SockFilter::new(RETURN, 0, 0, kept));
    steps.iter().enumerate().map(step).chain(ends).collect()
}

fn steps(share: Share) -> Vec<Step> {
    let [i, n, v, i_again, t, e, space, s, i_last, p, colon] = *CALL;
    let digits = PAYLOAD + CALL.len() as u32;
    let mut steps = vec![
        // To load what is not there would drop it.
        Step::Load(LENGTH, 0),
        Step::Must(IS_AT_LEAST, digits + DIGITS),
        Step::Load(WORD, PAYLOAD),
        Step::Must(IS, u32::from_be_bytes([i, n, v, i_again])),
        Step::Load(WORD, PAYLOAD + 4),
        Step::Must(IS, u32::from_be_bytes([t, e, space, s])),
        Step::Load(HALF, PAYLOAD + 8),
        Step::Must(IS, u32::from(u16::from_be_bytes([i_last, p]))),
        Step::Load(BYTE, PAYLOAD + 10),
        Step::Must(IS, u32::from(colon)),
    ];
    for digit in 0..DIGITS {
        steps.push(Step::Load(BYTE, digits + digit));
        if digit == 0 {
            steps.push(Step::Skip(IS, u32::from(b'+'), 2));
        }
        steps.push(Step::Must(IS_AT_LEAST, u32::from(b'0')));
        steps.push(Step::MustNot(IS_ABOVE, u32::from(b'9')));
    }
    steps.push(Step::Load(WORD, RANDOM));
    steps.push(Step::MustNot(IS_AT_LEAST, u32::from(share) << 24));
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of so many datagrams with this beginning come to a socket that drops such a share, one after another.
    fn passed(begins: &str, shares: &[Share], sent: usize) -> usize {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        shares.iter().for_each(|share| set(&socket, *share).unwrap());
        let phone = UdpSocket::bind("127.0.0.1:0").unwrap();
        phone.connect(socket.local_addr().unwrap()).unwrap();
        let mut passed = 0;
        for _ in 0..sent {
            phone.send(begins.as_bytes()).unwrap();
            while socket.recv(&mut [0; 64]).is_ok() {
                passed += 1;
            }
        }
        passed
    }

    #[test]
    fn r14_of_new_calls_to_numbers_about_that_share_is_dropped() {
        for number in ["+15550100@x", "15550100123", "00000000", "+9999999"] {
            let invite = format!("INVITE sip:{number}");
            for (share, least, most) in [(64, 680, 820), (128, 430, 570), (250, 5, 60)] {
                let passed = passed(&invite, &[share], 1_000);
                assert!(
                    (least..=most).contains(&passed),
                    "{invite}, {share} of 256: {passed} of 1000 passed"
                );
            }
            assert_eq!(passed(&invite, &[255, 128, 0], 100), 100);
            assert!(is_call_to_a_number(invite.as_bytes()), "{invite}");
        }
    }

    #[test]
    fn r14_lots_are_as_many_as_is_likely_and_all_else_is_a_loss() {
        let mut lots = Lots::default();
        lots.expect(1_000);
        assert_eq!(lots.were(7), 0, "none is drawn");
        lots.draw(128);
        lots.expect(1_000);
        assert_eq!(lots.were(1_100), 1_100);
        assert_eq!(lots.were(100_000), 2_048 + 1_250 - 1_100, "nothing makes so many likely");
        lots.expect(1_000);
        assert_eq!(lots.were(1_300), 1_250);
        // What was drawn by a larger share than now's is told of until all that waited has come.
        lots.draw(2);
        lots.expect(1_000);
        assert_eq!(lots.were(1_000), 1_000);
        lots.settle();
        lots.were(u64::MAX);
        lots.expect(1_000);
        assert_eq!(lots.were(1_000), 9);
        lots.draw(0);
        lots.settle();
        lots.expect(1_000);
        assert_eq!(lots.were(10), 0);
        lots.draw(255);
        lots.expect(u32::MAX);
        assert_eq!(lots.were(u64::MAX), MOST_CREDIT);
    }

    #[test]
    fn r14_whatever_is_no_new_call_to_a_number_passes() {
        for begins in [
            "",
            "\0",
            "INVITE sip:",
            "INVITE sip:+155501",
            "INVITE sip:911@203.0.113.5",
            "INVITE sip:+44999@203.0.113.5 SIP/2.0",
            "INVITE sip:203.0.113.5:5060 SIP/2.0",
            "INVITE sip:[2001:db8::1]:5060 SIP/2.0",
            "INVITE sip:anna@example.com SIP/2.0",
            "INVITE sip:1555010x@example.com SIP/2.0",
            "INVITE sip:++5550100@example.com SIP/2.0",
            "INVITE sip:/5550100@example.com SIP/2.0",
            "INVITE sip::5550100@example.com SIP/2.0",
            "INVITE sips:+15550100@example.com SIP/2.0",
            "INVITE tel:+15550100 SIP/2.0",
            "INVITE urn:service:sos SIP/2.0",
            "invite sip:+15550100@example.com SIP/2.0",
            "ACK sip:+15550100@example.com SIP/2.0",
            "BYE sip:+15550100@example.com SIP/2.0",
            "CANCEL sip:+15550100@example.com SIP/2.0",
            "PRACK sip:+15550100@example.com SIP/2.0",
            "REGISTER sip:example.com SIP/2.0",
            "SIP/2.0 200 OK",
        ] {
            assert_eq!(passed(begins, &[255], 60), 60, "{begins:?}");
            assert!(!is_call_to_a_number(begins.as_bytes()), "{begins:?}");
        }
    }
}
