//! Phones whose passwords are right, while others flood: elsewhere, and at an address that a flood comes from.

use std::io;
use std::net::Ipv4Addr;
use std::thread;
use std::time::{Duration, Instant};

use crate::batch::Inbox;
use crate::guessers::Kind;
use crate::message::Seen;
use crate::party::{Party, address, credentials, name};

/// After so long without an answer a REGISTER is repeated, and then after twice as long each time up to T2 (RFC 3261
/// §17.1.2.2).
const T1: Duration = Duration::from_millis(500);
const T2: Duration = Duration::from_secs(4);

/// Who is bound within this is bound at once: nothing had to be repeated.
const AT_ONCE: Duration = T1;

/// From one registration of a phone to the next.
const PAUSE: Duration = Duration::from_secs(2);

/// An address that no flood comes from; each kind has another.
const ELSEWHERE: u32 = 4_000_000;

/// A phone.
struct Phone {
    party: Party,
    number: u32,
    at: Ipv4Addr,
    cseq: u32,
    challenge: Vec<u8>,
    /// How often that challenge was answered.
    count: u32,
}

impl Phone {
    fn new(server: u16, number: u32, at: Ipv4Addr) -> io::Result<Phone> {
        Ok(Phone { party: Party::new(server)?, number, at, cseq: 0, challenge: Vec::new(), count: 0 })
    }

    fn next(&mut self) -> Vec<u8> {
        self.cseq += 1;
        self.count += 1;
        let line = credentials(self.number, &self.challenge, self.count);
        self.party.register(self.number, self.at, &name(self.number), self.cseq, &line)
    }

    /// Registers, with the nonce that it has or another; how long it took. `None`: it was not bound until `end`.
    fn registers(&mut self, end: Instant) -> io::Result<Option<Duration>> {
        let began = Instant::now();
        let mut inbox = Inbox::new();
        let mut message = self.next();
        let mut pause = T1;
        self.party.say(self.at, &message)?;
        let mut repeat = Instant::now() + pause;
        while Instant::now() < end {
            self.party.wait(repeat.min(end).saturating_duration_since(Instant::now()))?;
            self.party.receive(&mut inbox)?;
            let mut heard = None;
            for (answer, _) in inbox.messages() {
                let seen = Seen::read(answer);
                if seen.cseq == format!("{} REGISTER", self.cseq).as_bytes() {
                    heard = seen.status().map(|status| (status, seen.challenge.to_vec()));
                }
            }
            match heard {
                Some((200, _)) => return Ok(Some(began.elapsed())),
                Some((401, challenge)) => {
                    (self.challenge, self.count, pause) = (challenge, 0, T1);
                    message = self.next();
                }
                Some((status, _)) => return Err(io::Error::other(format!("{status} to a right password"))),
                None if Instant::now() < repeat => continue,
                None => pause = (2 * pause).min(T2),
            }
            self.party.say(self.at, &message)?;
            repeat = Instant::now() + pause;
        }
        Ok(None)
    }
}

/// What became of one phone's registrations.
#[derive(Default)]
pub struct Bound {
    pub tried: u32,
    /// At once.
    pub quickly: u32,
    /// After a repetition or more.
    pub later: u32,
    slowest: Duration,
}

impl Bound {
    fn told(&self) -> String {
        let Bound { tried, quickly, later, slowest } = self;
        format!("{quickly} of {tried} at once, {later} later, the slowest after {slowest:.0?}")
    }
}

/// Phones beside a flood, all of the agent whose password is guessed.
pub struct Beside {
    elsewhere: Phone,
    bound: Phone,
    newcomer: Phone,
}

/// How they fared.
pub struct Fared {
    elsewhere: Bound,
    bound: Bound,
    newcomer: Bound,
}

impl Beside {
    /// Binds those that are to be bound before the flood.
    pub fn new(kind: Kind, server: u16) -> Result<Beside, String> {
        let phone = |at| Phone::new(server, kind.victim(), at).map_err(|e| e.to_string());
        let mut beside = Beside {
            elsewhere: phone(address(ELSEWHERE + kind as u32))?,
            bound: phone(kind.address(0))?,
            newcomer: phone(kind.address(0))?,
        };
        let is_bound = beside.bound.registers(Instant::now() + 8 * T1).map_err(|e| e.to_string())?;
        is_bound.ok_or_else(|| format!("{kind:?}: a phone was not bound before the flood"))?;
        Ok(beside)
    }

    /// Registers them again and again, the newcomer once, until `end`.
    pub fn until(self, end: Instant) -> io::Result<Fared> {
        let Beside { mut elsewhere, mut bound, mut newcomer } = self;
        let again = move |phone: &mut Phone, most: u32| -> io::Result<Bound> {
            let mut seen = Bound::default();
            // Not at the very end: who has to repeat would get no chance.
            while seen.tried < most && Instant::now() + PAUSE < end {
                seen.tried += 1;
                if let Some(took) = phone.registers(end)? {
                    let place = if took <= AT_ONCE { &mut seen.quickly } else { &mut seen.later };
                    *place += 1;
                    seen.slowest = seen.slowest.max(took);
                }
                thread::sleep(PAUSE.min(end.saturating_duration_since(Instant::now())));
            }
            Ok(seen)
        };
        thread::scope(|scope| {
            let first = scope.spawn(move || again(&mut elsewhere, u32::MAX));
            let second = scope.spawn(move || again(&mut bound, u32::MAX));
            thread::sleep(PAUSE);
            let newcomer = again(&mut newcomer, 1)?;
            let nobody = || io::Error::other("nobody registered");
            let elsewhere = first.join().map_err(|_| nobody())??;
            let bound = second.join().map_err(|_| nobody())??;
            Ok(Fared { elsewhere, bound, newcomer })
        })
    }
}

impl Fared {
    pub fn told(&self) -> String {
        let newcomer = match (self.newcomer.quickly, self.newcomer.later) {
            (0, 0) => "not bound".to_owned(),
            (_, _) => format!("bound after {:.0?}", self.newcomer.slowest),
        };
        format!(
            "right passwords: elsewhere {}; of a phone that was bound at an address of the flood {}; of a new one \
             there: {newcomer}",
            self.elsewhere.told(),
            self.bound.told(),
        )
    }

    /// What must not be: a phone elsewhere, or one that was bound, that is not bound again at once.
    pub fn wrong(&self) -> Option<String> {
        let is_wrong = |of: &Bound| of.tried == 0 || of.quickly < of.tried;
        (is_wrong(&self.elsewhere) || is_wrong(&self.bound)).then(|| self.told())
    }
}
