//! Those who flood: what each kind of them sends, and what it hears.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::Ipv4Addr;
use std::thread;
use std::time::{Duration, Instant};

use clap::ValueEnum;

use crate::batch::{BATCH, Inbox};
use crate::message::Seen;
use crate::party::{Party, address, credentials, guessed, name, nonce};
use crate::search::THRESHOLD;

/// Agents whose passwords are guessed.
pub const AGENTS: u32 = 10_000;

/// Addresses that a flood of several comes from, one of very many, and one of so many that each stays below what a
/// single one may try: of these the server looks at every guess.
const SEVERAL: u32 = 20;
const VERY_MANY: u32 = 5_000;
const WIDE: u32 = 20_000;

/// A flood is sent so often, each time what is due.
const BEAT: Duration = Duration::from_millis(1);

/// Wrong answers to one nonce that the server looks at, as who read its source knows: then another is asked for.
const WORN: u32 = 3;

/// Nonces that a guesser keeps for later.
const KEPT: usize = 4;

/// Who has no nonce asks for one before the flood begins, so many a second: calls are to be alone then.
const BEFORE: u32 = 5_000;

/// So often all who have no nonce yet ask for one before they begin.
const ROUNDS: u32 = 10;

/// Who floods, and with what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Wrong passwords of agents with nonces that nobody made, from one address
    One,
    /// … from 20 addresses
    Several,
    /// … from 5,000 addresses
    Many,
    /// Names that nobody has, with such nonces, from 20 addresses
    Unknown,
    /// The right password with a nonce that was used before, from 20 addresses
    Replayed,
    /// No credentials, from 20 addresses
    Bare,
    /// Wrong passwords of one agent, again and again with one nonce of the server's, from one address
    Worn,
    /// … with as many nonces of the server's as it gives, from one address
    Fresh,
    /// … of all agents in turn
    FreshAgents,
    /// … of one agent from 20,000 addresses, each of which is too slow to be slowed: all are looked at
    Wide,
    /// … of all agents in turn, likewise
    WideAgents,
    /// … of names that nobody has, likewise
    WideUnknown,
    /// … of all agents in turn, likewise, with INVITEs
    WideInvites,
}

/// Whose password is tried.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Whose {
    /// That of one agent.
    Victim,
    /// One agent's after another.
    Agents,
    /// Nobody's.
    Nobody,
    /// The guesser's own.
    Own,
}

/// What is said to prove it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum With {
    /// A nonce that the server never made.
    MadeUp,
    /// What has proved it before.
    Used,
    Nothing,
    /// One nonce of the server's, with rising counts.
    OneNonce,
    /// Nonces of the server's, another one as soon as one is worn.
    Nonces,
}

impl Kind {
    /// From how many addresses whose password is tried, and with what.
    fn plan(self) -> (u32, Whose, With) {
        match self {
            Kind::One => (1, Whose::Agents, With::MadeUp),
            Kind::Several => (SEVERAL, Whose::Agents, With::MadeUp),
            Kind::Many => (VERY_MANY, Whose::Agents, With::MadeUp),
            Kind::Unknown => (SEVERAL, Whose::Nobody, With::MadeUp),
            Kind::Replayed => (SEVERAL, Whose::Own, With::Used),
            Kind::Bare => (SEVERAL, Whose::Agents, With::Nothing),
            Kind::Worn => (1, Whose::Victim, With::OneNonce),
            Kind::Fresh => (1, Whose::Victim, With::Nonces),
            Kind::FreshAgents => (1, Whose::Agents, With::Nonces),
            Kind::Wide => (WIDE, Whose::Victim, With::Nonces),
            Kind::WideAgents | Kind::WideInvites => (WIDE, Whose::Agents, With::Nonces),
            Kind::WideUnknown => (WIDE, Whose::Nobody, With::Nonces),
        }
    }

    /// Where one of its guessers is: nowhere that another kind has been, since a node remembers for a while.
    pub fn address(self, guesser: u32) -> Ipv4Addr {
        address(self as u32 * WIDE + guesser)
    }

    /// The agent whose password it tries where it tries but one: of each kind another, since an agent has few phones.
    pub fn victim(self) -> u32 {
        self as u32
    }

    /// Whether it brings nonces that the server made: at least some of its guesses must be looked at.
    pub fn is_real(self) -> bool {
        match self.plan().2 {
            With::OneNonce | With::Nonces => true,
            With::MadeUp | With::Used | With::Nothing => false,
        }
    }

    /// Whether it comes from so many addresses that every guess is looked at.
    pub fn is_wide(self) -> bool {
        self.is_real() && self.plan().0 == WIDE
    }
}

/// What one flood was answered.
#[derive(Default)]
pub struct Sent {
    /// Without what only asked for a nonce.
    pub offered: u64,
    /// What only asked for a nonce.
    pub asked: u64,
    /// By status.
    pub answers: BTreeMap<u16, u64>,
    /// How far it fell behind its own plan at most.
    pub behind: Duration,
}

/// One address.
#[derive(Clone, Default)]
struct Guesser {
    nonces: VecDeque<String>,
    /// Answers to the first of them.
    count: u32,
    /// Of its last message.
    cseq: u32,
}

/// Who floods.
pub struct Flooder {
    kind: Kind,
    party: Party,
    guessers: Vec<Guesser>,
    /// What is repeated, where it is the same each time: of each address its own.
    lines: Vec<Vec<u8>>,
    inbox: Inbox,
}

impl Flooder {
    /// Asks for what it needs.
    pub fn new(kind: Kind, server: u16) -> Result<Flooder, String> {
        let party = Party::new(server).map_err(|e| e.to_string())?;
        let (count, _, with) = kind.plan();
        let lines = match with {
            With::Used => (0..count)
                .map(|phone| used(&party, kind.address(phone), phone))
                .collect::<Result<_, _>>()
                .map_err(|e| format!("nothing to be replayed: {e}"))?,
            With::MadeUp | With::Nothing | With::OneNonce | With::Nonces => Vec::new(),
        };
        let guessers = vec![Guesser { cseq: 10, ..Guesser::default() }; count as usize];
        let mut flooder = Flooder { kind, party, guessers, lines, inbox: Inbox::new() };
        if kind.is_real() {
            flooder.prepare().map_err(|e| format!("{kind:?} gets no nonces: {e}"))?;
        }
        Ok(flooder)
    }

    /// A nonce for everybody.
    fn prepare(&mut self) -> io::Result<()> {
        let mut sent = Sent::default();
        for _ in 0..ROUNDS {
            let begun = Instant::now();
            for guesser in 0..self.guessers.len() {
                if !self.guessers[guesser].nonces.is_empty() {
                    continue;
                }
                self.ask(guesser as u32, &mut sent)?;
                if guesser % BATCH == 0 {
                    let due = Duration::from_secs(1) * guesser as u32 / BEFORE;
                    thread::sleep(due.saturating_sub(begun.elapsed()));
                    self.hear(&mut sent)?;
                }
            }
            thread::sleep(100 * BEAT);
            self.hear(&mut sent)?;
            if self.guessers.iter().all(|guesser| !guesser.nonces.is_empty()) {
                return Ok(());
            }
        }
        let none = self.guessers.iter().filter(|guesser| guesser.nonces.is_empty()).count();
        Err(io::Error::other(format!("{none} addresses were not asked for a password")))
    }

    pub fn run(&mut self, rate: u32, seconds: u32) -> io::Result<Sent> {
        let (begun, length) = (Instant::now(), Duration::from_secs(seconds.into()));
        let each = Duration::from_secs(1) / rate;
        let mut sent = Sent::default();
        let all = u64::from(rate * seconds);
        while sent.offered < all && begun.elapsed() < length + length {
            let due = (begun.elapsed().as_secs_f64() * f64::from(rate)) as u64;
            if due > sent.offered {
                let late =
                    begun.elapsed().saturating_sub(each * u32::try_from(sent.offered).unwrap_or(u32::MAX));
                sent.behind = sent.behind.max(late);
            }
            for _ in sent.offered..due.min(all) {
                self.guess(&mut sent)?;
            }
            self.hear(&mut sent)?;
            thread::sleep(BEAT);
        }
        // What is still on its way.
        thread::sleep(100 * BEAT);
        self.hear(&mut sent)?;
        Ok(sent)
    }

    fn guess(&mut self, sent: &mut Sent) -> io::Result<()> {
        let place = sent.offered as u32;
        let (of, whose, with) = self.kind.plan();
        let phone = place % of;
        let user = match whose {
            Whose::Victim => name(self.kind.victim()),
            // Each of them tries one name after another.
            Whose::Agents => name((place + place / of) % AGENTS),
            Whose::Nobody => format!("nobody-{place}"),
            Whose::Own => name(phone),
        };
        sent.offered += 1;
        let line = match with {
            With::MadeUp => guessed(&user, &format!("{place:056x}"), 1, place.into()),
            With::Used => self.lines[phone as usize].clone(),
            With::Nothing => Vec::new(),
            With::OneNonce | With::Nonces => {
                let guesser = &mut self.guessers[phone as usize];
                if with == With::Nonces && guesser.count >= WORN && guesser.nonces.len() > 1 {
                    guesser.nonces.pop_front();
                    guesser.count = 0;
                }
                guesser.count += 1;
                let nonce = guesser.nonces.front().map(String::as_str).unwrap_or_default();
                guessed(&user, nonce, guesser.count, place.into())
            }
        };
        self.say(phone, &user, &line)?;
        let guesser = &self.guessers[phone as usize];
        if with == With::Nonces && guesser.count >= WORN && guesser.nonces.len() == 1 {
            self.ask(phone, sent)?;
        }
        Ok(())
    }

    fn ask(&mut self, phone: u32, sent: &mut Sent) -> io::Result<()> {
        sent.asked += 1;
        self.say(phone, &name(self.kind.victim()), &[])
    }

    /// Each a transaction of its own.
    fn say(&mut self, phone: u32, user: &str, line: &[u8]) -> io::Result<()> {
        let guesser = &mut self.guessers[phone as usize];
        guesser.cseq += 1;
        let at = self.kind.address(phone);
        let message = match self.kind {
            Kind::WideInvites => self.party.invite(phone, at, user, guesser.cseq, line),
            Kind::One
            | Kind::Several
            | Kind::Many
            | Kind::Unknown
            | Kind::Replayed
            | Kind::Bare
            | Kind::Worn
            | Kind::Fresh
            | Kind::FreshAgents
            | Kind::Wide
            | Kind::WideAgents
            | Kind::WideUnknown => self.party.register(phone, at, user, guesser.cseq, line),
        };
        self.party.say(at, &message)
    }

    fn hear(&mut self, sent: &mut Sent) -> io::Result<()> {
        while self.party.receive(&mut self.inbox)? > 0 {
            for (message, _) in self.inbox.messages() {
                let seen = Seen::read(message);
                let Some(status) = seen.status() else { continue };
                *sent.answers.entry(status).or_default() += 1;
                let id = std::str::from_utf8(seen.call_id).unwrap_or_default();
                let guesser = Seen::names_of(id).and_then(|(phone, _)| self.guessers.get_mut(phone as usize));
                if let (true, Some(guesser)) = (self.kind.is_real(), guesser)
                    && guesser.nonces.len() < KEPT
                {
                    guesser.nonces.extend(nonce(seen.challenge));
                }
            }
        }
        Ok(())
    }
}

/// Registers a phone; the credentials that it used.
fn used(party: &Party, at: Ipv4Addr, phone: u32) -> io::Result<Vec<u8>> {
    let user = name(phone);
    let mut inbox = Inbox::new();
    let mut ask = |cseq: u32, line: &[u8]| -> io::Result<(Option<u16>, Vec<u8>)> {
        party.say(at, &party.register(phone, at, &user, cseq, line))?;
        party.wait(THRESHOLD)?;
        party.receive(&mut inbox)?;
        let (message, _) = inbox.messages().next().ok_or_else(|| io::Error::other("no answer"))?;
        let seen = Seen::read(message);
        Ok((seen.status(), seen.challenge.to_vec()))
    };
    let (_, challenge) = ask(1, &[])?;
    let line = credentials(phone, &challenge, 1);
    match ask(2, &line)? {
        (Some(200), _) => Ok(line),
        (status, _) => Err(io::Error::other(format!("phone {phone} is answered {status:?}"))),
    }
}
