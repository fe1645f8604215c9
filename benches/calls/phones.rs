//! Phones that register, thousands of them: each asks, is challenged, answers, and refreshes with the nonce that it
//! knows.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::batch::{BATCH, Inbox};
use crate::message::Seen;
use crate::party::{Party, address, credentials, name};

/// REGISTERs without an answer at once, where no rate is set: enough to keep a server busy, too few to make it lose
/// any.
const WINDOW: usize = 256;

/// After so long without an answer a REGISTER is repeated (T1 of RFC 3261), so often.
const T1: Duration = Duration::from_millis(500);
const REPEATS: u8 = 7;

/// Answer times up to a minute, to three digits.
const SLOWEST: u64 = 60_000_000;

/// How a wave begins.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wave {
    /// Without credentials: the server challenges, and the phone answers.
    Challenged,
    /// With the nonce of the last time.
    Refresh,
}

/// What came of it.
pub struct Tally {
    pub bound: u32,
    /// Refused, or never answered.
    pub failed: u32,
    pub repeats: u32,
    /// Challenged again in spite of a nonce.
    pub stale: u32,
    pub took: Duration,
    /// Microseconds from a phone's first REGISTER to its 200.
    pub times: Histogram<u64>,
}

/// One phone, by what it has out.
#[derive(Clone)]
enum State {
    Silent,
    Asking(Out),
    Bound,
}

/// A REGISTER without an answer.
#[derive(Clone)]
struct Out {
    began: Instant,
    message: Vec<u8>,
    /// It has no credentials.
    bare: bool,
    repeats: u8,
}

#[derive(Clone)]
struct Phone {
    state: State,
    cseq: u32,
    challenge: Vec<u8>,
    /// How often that challenge was answered.
    count: u32,
}

/// All of them.
pub struct Phones {
    party: Party,
    phones: Vec<Phone>,
    inbox: Inbox,
}

impl Phones {
    pub fn new(server: u16, count: u32) -> io::Result<Phones> {
        let phone = Phone { state: State::Silent, cseq: 0, challenge: Vec::new(), count: 0 };
        Ok(Phones { party: Party::new(server)?, phones: vec![phone; count as usize], inbox: Inbox::new() })
    }

    /// Registers these, `rate` a second or as fast as they are answered.
    pub fn register(&mut self, which: Range<u32>, wave: Wave, rate: Option<u32>) -> io::Result<Tally> {
        let times = Histogram::new_with_max(SLOWEST, 3).map_err(io::Error::other)?;
        let mut tally = Tally { bound: 0, failed: 0, repeats: 0, stale: 0, took: Duration::ZERO, times };
        let begun = Instant::now();
        let (mut next, mut out) = (which.start, 0);
        let mut clocks: VecDeque<(Instant, u32, u32)> = VecDeque::new();
        while next < which.end || out > 0 {
            while next < which.end && self.is_due(next - which.start, out, rate, begun) {
                self.begin(next, wave, &mut clocks)?;
                (next, out) = (next + 1, out + 1);
            }
            while self.party.receive(&mut self.inbox)? > 0 {
                out -= self.answered(&mut tally, &mut clocks)?;
                if next < which.end && self.is_due(next - which.start, out, rate, begun) {
                    break;
                }
            }
            out -= self.repeat(&mut tally, &mut clocks)?;
            if next >= which.end || !self.is_due(next - which.start, out, rate, begun) {
                let pause = rate.map_or(T1 / 10, |rate| Duration::from_secs(1) / rate);
                self.party.wait(pause)?;
            }
        }
        tally.took = begun.elapsed();
        Ok(tally)
    }

    fn is_due(&self, done: u32, out: usize, rate: Option<u32>, begun: Instant) -> bool {
        rate.map_or(out < WINDOW, |rate| begun.elapsed() >= Duration::from_secs(1) * done / rate)
    }

    fn begin(
        &mut self,
        number: u32,
        wave: Wave,
        clocks: &mut VecDeque<(Instant, u32, u32)>,
    ) -> io::Result<()> {
        let phone = &mut self.phones[number as usize];
        let line = match wave {
            Wave::Challenged => Vec::new(),
            Wave::Refresh => {
                phone.count += 1;
                credentials(number, &phone.challenge, phone.count)
            }
        };
        self.send(number, &line, Instant::now(), clocks)
    }

    fn send(
        &mut self,
        number: u32,
        line: &[u8],
        began: Instant,
        clocks: &mut VecDeque<(Instant, u32, u32)>,
    ) -> io::Result<()> {
        let phone = &mut self.phones[number as usize];
        phone.cseq += 1;
        let at = address(number);
        let message = self.party.register(number, at, &name(number), phone.cseq, line);
        self.party.say(at, &message)?;
        clocks.push_back((Instant::now() + T1, number, phone.cseq));
        phone.state = State::Asking(Out { began, message, bare: line.is_empty(), repeats: 0 });
        Ok(())
    }

    /// Takes a batch of answers; says how many phones are through.
    fn answered(
        &mut self,
        tally: &mut Tally,
        clocks: &mut VecDeque<(Instant, u32, u32)>,
    ) -> io::Result<usize> {
        let mut told: Vec<(u32, u16, Vec<u8>)> = Vec::with_capacity(BATCH);
        for (message, _) in self.inbox.messages() {
            let seen = Seen::read(message);
            let id = std::str::from_utf8(seen.call_id).unwrap_or_default();
            let (Some((number, _)), Some(status)) = (Seen::names_of(id), seen.status()) else { continue };
            let Some(phone) = self.phones.get(number as usize) else { continue };
            if seen.cseq == format!("{} REGISTER", phone.cseq).as_bytes() {
                told.push((number, status, seen.challenge.to_vec()));
            }
        }
        let mut through = 0;
        for (number, status, challenge) in told {
            let phone = &mut self.phones[number as usize];
            let State::Asking(Out { began, bare, .. }) = phone.state else { continue };
            match status {
                200 => {
                    phone.state = State::Bound;
                    tally.bound += 1;
                    let micros = began.elapsed().as_micros();
                    tally.times.saturating_record(u64::try_from(micros).unwrap_or(u64::MAX));
                    through += 1;
                }
                401 if bare || challenge.ends_with(b"stale=true") => {
                    tally.stale += u32::from(!bare);
                    (phone.challenge, phone.count) = (challenge, 1);
                    let line = credentials(number, &phone.challenge, 1);
                    self.send(number, &line, began, clocks)?;
                }
                100..200 => {}
                _ => {
                    phone.state = State::Silent;
                    tally.failed += 1;
                    through += 1;
                }
            }
        }
        Ok(through)
    }

    /// Repeats what has had no answer for too long; says how many phones are given up.
    fn repeat(&mut self, tally: &mut Tally, clocks: &mut VecDeque<(Instant, u32, u32)>) -> io::Result<usize> {
        let now = Instant::now();
        let mut given_up = 0;
        while let Some((at, number, cseq)) = clocks.front().copied() {
            if at > now {
                break;
            }
            clocks.pop_front();
            let phone = &mut self.phones[number as usize];
            let State::Asking(out) = &mut phone.state else { continue };
            if phone.cseq != cseq {
                continue;
            }
            if out.repeats == REPEATS {
                phone.state = State::Silent;
                tally.failed += 1;
                given_up += 1;
                continue;
            }
            out.repeats += 1;
            tally.repeats += 1;
            self.party.say(address(number), &out.message)?;
            clocks.push_back((now + T1, number, cseq));
        }
        Ok(given_up)
    }
}
