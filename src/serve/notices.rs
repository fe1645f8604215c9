//! What a shard's calls have to tell: to the store, and one line each to the log.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::call::cdr::{Cdr, JournalEntry};
use crate::engine::brief::{Place, Short};
use crate::engine::clock::Clock;
use crate::engine::exchange::binding::Gone;
use crate::engine::exchange::{CallEvent, Notice};
use crate::engine::rate::{Line, Rate};
use crate::engine::shard::Notices;
use crate::engine::trunks::Listed;
use crate::sip::shown::Word;
use crate::store::Recorder;
use crate::time::Instant;

/// Lines about guessed passwords: one a second of each source, …
const LINES_OF_A_SOURCE: u32 = 1;
/// … and so many of the node, which a filter and a disk bear.
const LINES_OF_ALL: u32 = 100;
/// Lines a second of a shard about agents that register, as many about those that are refused, and about those that are
/// gone, and of the node about those that expired or were barred: an office that comes back after a power cut is named, a phone that registers and
/// leaves in a loop fills no disk.
const LINES_OF_AGENTS: u32 = 100;
/// Sources whose lines are counted at once; when there are more, those that were quiet for a second are forgotten.
const SOURCES: usize = 4_096;

/// What each may still say, and when it last guessed.
#[derive(Default)]
struct Sources {
    each: HashMap<IpAddr, (Rate, Instant)>,
    /// When it was last looked who was quiet: once a second, since it takes as long as thousands of guesses.
    swept: Instant,
}

impl Sources {
    /// Whether there is none left for one more.
    fn is_full(&mut self, now: Instant) -> bool {
        if self.each.len() >= SOURCES && now.since(self.swept) >= Duration::from_secs(1) {
            self.each.retain(|_, (_, last)| now.since(*last) < Duration::from_secs(1));
            self.swept = now;
        }
        self.each.len() >= SOURCES
    }
}

/// The bound of the lines about guessed passwords, the same for all shards: each source that guesses is named soon,
/// however loud the others are.
pub(super) struct Guesses(Mutex<(Rate, Sources)>);

impl Default for Guesses {
    fn default() -> Self {
        Guesses(Mutex::new((Rate::new(LINES_OF_ALL), Sources::default())))
    }
}

impl Guesses {
    fn occur(&self, source: IpAddr, now: Instant) -> Line {
        let (all, sources) = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !sources.each.contains_key(&source) && sources.is_full(now) {
            return all.occur(now);
        }
        let (own, last) = sources.each.entry(source).or_insert_with(|| (Rate::new(LINES_OF_A_SOURCE), now));
        *last = now;
        match own.occur(now) {
            Line::Quiet => Line::Quiet,
            Line::Log { more } => match all.occur(now) {
                Line::Log { .. } => Line::Log { more },
                Line::Quiet => {
                    own.was_not_said(more);
                    Line::Quiet
                }
            },
        }
    }
}

/// The bound of the lines about bindings that nobody ended: they expired, or a reload barred them. Thousands may at once.
pub(super) struct Leavers(Mutex<Rate>);

impl Default for Leavers {
    fn default() -> Self {
        Leavers(Mutex::new(Rate::new(LINES_OF_AGENTS)))
    }
}

impl Leavers {
    pub fn tell(&self, gone: &[Gone], now: Instant) {
        let mut rate = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for Gone { agent, .. } in gone {
            tell_gone(&mut rate, agent, now);
        }
    }
}

/// One binding of an agent is gone.
fn tell_gone(rate: &mut Rate, agent: &str, now: Instant) {
    if let Line::Log { more } = rate.occur(now) {
        let more = (more > 0).then_some(more);
        tracing::info!(agent, more, "agent is gone");
    }
}

/// One shard's end of what is told.
pub(super) struct Teller {
    recorder: Recorder,
    clock: Clock,
    rejected: Rate,
    loops: Rate,
    streamless: Rate,
    registered: Rate,
    refused: Rate,
    gone: Rate,
    guesses: Arc<Guesses>,
}

impl Teller {
    pub fn new(recorder: Recorder, clock: Clock, guesses: Arc<Guesses>) -> Teller {
        let (rejected, loops, streamless) = Default::default();
        let [registered, refused, gone] = std::array::from_fn(|_| Rate::new(LINES_OF_AGENTS));
        Teller { recorder, clock, rejected, loops, streamless, registered, refused, gone, guesses }
    }

    fn said(&mut self, event: CallEvent) {
        match event {
            CallEvent::Started { call, trunk, agent, dialled } => {
                let (trunk, agent) = (trunk.as_deref(), agent.as_deref());
                tracing::info!(call = &*call, trunk, agent, dialled = %Short(&dialled), "call started");
            }
            CallEvent::Emergency { call, agent, shows, dialled } => {
                let dialled = Word(&dialled);
                tracing::warn!(call = &*call, agent = &*agent, ?shows, %dialled, "an agent calls for help");
            }
            CallEvent::Ringing { call } => tracing::debug!(call = &*call, "call rings"),
            CallEvent::Rejected { reason, from } => {
                if let Line::Log { more } = self.rejected.occur(self.clock.read().now.mono) {
                    tracing::warn!(reason, from = %Place(from), more, "a request was refused");
                }
            }
            CallEvent::NoStream { call, to } => {
                if let Line::Log { more } = self.streamless.occur(self.clock.read().now.mono) {
                    tracing::warn!(
                        %call,
                        to = %Place(to),
                        more,
                        "a long INVITE went by UDP: no TCP there; transport = \"udp\" would not try it"
                    );
                }
            }
            CallEvent::Registered { agent, from } => {
                if let Line::Log { more } = self.registered.occur(self.clock.read().now.mono) {
                    let more = (more > 0).then_some(more);
                    tracing::info!(agent = &*agent, from = %Place(from), more, "agent registered");
                }
            }
            CallEvent::NotRegistered { agent, from, why } => {
                if let Line::Log { more } = self.refused.occur(self.clock.read().now.mono) {
                    let more = (more > 0).then_some(more);
                    let (code, why) = (why.code(), why.why());
                    tracing::warn!(agent = &*agent, from = %Place(from), code, why, more, "agent not registered");
                }
            }
            CallEvent::Unregistered { agent } => {
                tell_gone(&mut self.gone, &agent, self.clock.read().now.mono);
            }
            // The address whole, before what the stranger wrote, and always in this form: this is the line that an
            // intrusion filter looks for. No other line can be made to hold it.
            CallEvent::WrongPassword { agent, from: intruder } => {
                if let Line::Log { more } = self.guesses.occur(intruder.ip(), self.clock.read().now.mono) {
                    let more = (more > 0).then_some(more);
                    tracing::warn!(from = %intruder, agent = %Word(&agent), more, "wrong password");
                }
            }
            CallEvent::TrunkUp { trunk, gateway } => {
                tracing::info!(trunk = &*trunk, gateway, "a gateway answers again");
            }
            CallEvent::TrunkDown { trunk, gateway, why } => {
                tracing::warn!(trunk = &*trunk, gateway, %why, "a gateway is down, and tried last");
            }
            CallEvent::Enrolled { trunk, listed } => match listed {
                Listed::ByToken | Listed::ByAddress => {
                    tracing::info!(trunk = &*trunk, "registered at the carrier");
                }
                Listed::Elsewhere => tracing::warn!(
                    trunk = &*trunk,
                    "registered at the carrier, which lists another address than ours"
                ),
                Listed::Nowhere => tracing::warn!(
                    trunk = &*trunk,
                    "registered at the carrier, which lists no Contact: its Expires is taken for ours"
                ),
            },
            CallEvent::NotEnrolled { trunk, why } => {
                tracing::warn!(trunk = &*trunk, %why, "not registered at the carrier; it is tried on");
            }
            CallEvent::LikelyLoop { caller, did } => {
                if let Line::Log { more } = self.loops.occur(self.clock.read().now.mono) {
                    tracing::warn!(
                        ?caller,
                        ?did,
                        more,
                        "ten calls of one caller ring one forwarded number: a loop?"
                    );
                }
            }
        }
    }
}

impl Notices<Notice> for Teller {
    fn take(&mut self, notice: Notice) {
        match notice {
            Notice::Answered(entry) => {
                bridged(&entry);
                self.recorder.started(entry);
            }
            Notice::Ended(cdr) => {
                ended(&cdr);
                self.recorder.ended(cdr);
            }
            Notice::Said(event) => self.said(event),
            Notice::SetUp { .. } => {}
        }
    }
}

fn bridged(entry: &JournalEntry) {
    let waited = entry.answered.0.saturating_sub(entry.started.0);
    tracing::info!(call = &*entry.id, answer_ms = waited, "call bridged");
}

fn ended(cdr: &Cdr) {
    tracing::info!(
        call = &*cdr.id,
        outcome = cdr.outcome.label(),
        sip_code = cdr.sip_code,
        ring_ms = cdr.ring_ms,
        talk_ms = cdr.talk_ms,
        legs = cdr.legs.len(),
        cause = cdr.cause.as_deref(),
        "call ended"
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::refusal::Refusal;
    use crate::routing::Contact;
    use crate::sip::peer::{ListenerId, Peer, Transport};
    use crate::store::{Settings, Store};

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);
    impl std::io::Write for Lines {
        fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(text);
            Ok(text.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl Lines {
        /// What is logged meanwhile.
        fn of(work: impl FnOnce()) -> String {
            let seen = Lines::default();
            let writer = seen.clone();
            let log = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
            tracing::subscriber::with_default(log, work);
            String::from_utf8(seen.0.lock().unwrap().clone()).unwrap()
        }
    }

    #[test]
    fn each_source_that_guesses_is_named_once_a_second_and_the_node_names_a_hundred() {
        let guesses = Guesses::default();
        let at = |ms: u64| Instant::from_micros(ms * 1000);
        let source = |n: u16| IpAddr::from([10, 0, n.to_be_bytes()[0], n.to_be_bytes()[1]]);
        for _ in 0..1_000 {
            guesses.occur(source(0), at(0));
        }
        assert_eq!(guesses.occur(source(1), at(1)), Line::Log { more: 0 }, "the loud one hides no other");
        assert_eq!(guesses.occur(source(0), at(1_000)), Line::Log { more: 999 });
        let lines = |now| (2..60_000).filter(|n| guesses.occur(source(*n), at(now)) != Line::Quiet).count();
        assert_eq!([lines(5_000), lines(6_000)], [100, 100]);
        assert!(guesses.0.lock().unwrap().1.each.len() <= SOURCES);
    }

    /// What the log says of that, and for how many seconds it was said.
    fn told(events: impl IntoIterator<Item = CallEvent>) -> (String, u64) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), Settings::new("edge-1", 0)).unwrap();
        let clock = Clock::start();
        let mut teller = Teller::new(store.recorder(), clock, Arc::default());
        let began = clock.read().now.mono;
        let text = Lines::of(|| events.into_iter().for_each(|event| teller.said(event)));
        (text, clock.read().now.mono.since(began).as_secs() + 1)
    }

    #[test]
    fn a_phone_that_registers_and_leaves_in_a_loop_fills_no_disk() {
        let (text, seconds) = told((0..5_000).flat_map(|_| {
            let (agent, from): (Arc<str>, _) = ("alice".into(), ([192, 0, 2, 1], 5060).into());
            let gone = CallEvent::Unregistered { agent: "alice".into() };
            let why = Refusal::TooManyContacts;
            let refused = CallEvent::NotRegistered { agent: Arc::clone(&agent), from, why };
            [CallEvent::Registered { agent, from }, gone, refused]
        }));
        let refused = "agent not registered agent=\"alice\" from=192.0.2.… code=403 why=";
        for what in ["agent registered", "agent is gone", refused] {
            let lines = text.lines().filter(|line| line.contains(what)).count() as u64;
            assert!((100..=100 * seconds).contains(&lines), "{lines} lines in {seconds} s: {what}");
        }
    }

    #[test]
    fn the_line_of_a_guessed_password_is_forged_by_nothing_that_is_dialled_or_sent() {
        let intruder = ([192, 0, 2, 7], 5060).into();
        let guess = |agent: &str| CallEvent::WrongPassword { agent: agent.into(), from: intruder };
        let (plain, _) = told([guess("alice")]);
        assert!(plain.trim_end().ends_with(": wrong password from=192.0.2.7:5060 agent=alice"), "{plain}");

        let forged = "x wrong password from=127.0.0.9:5060 agent=x\n\u{1b}[2J\" \u{a0}\u{202e}";
        let help = CallEvent::Emergency {
            call: "01h".into(),
            agent: "alice".into(),
            shows: None,
            dialled: forged.into(),
        };
        let (trunk, agent) = (None, Some("alice".into()));
        let started = CallEvent::Started { call: "01h".into(), trunk, agent, dialled: forged.into() };
        let (text, _) = told([help, started, guess(forged)]);
        assert_eq!(text.matches("wrong password from=").count(), 1, "{text}");
        assert_eq!(text.lines().count(), 3, "{text}");
        assert!(!text.contains(['\u{1b}', '\u{a0}', '\u{202e}']) && !text.contains("2J\""), "{text}");
        assert!(text.lines().all(|line| line.chars().count() < 400), "{text}");
    }

    #[test]
    fn thousands_of_phones_that_expire_at_once_are_a_hundred_lines_and_then_their_count() {
        let peer = Peer::at(([192, 0, 2, 1], 5060).into(), Transport::Udp, ListenerId(0));
        let contact = Arc::new(Contact::registered("sip:alice@192.0.2.1".into(), peer, Box::default()));
        let all = vec![Gone { agent: "alice".into(), contact }; 40_000];
        let leavers = Leavers::default();
        let at = |ms: u64| Instant::from_micros(ms * 1000);
        let text = Lines::of(|| {
            leavers.tell(&all[..20_000], at(0));
            leavers.tell(&all[20_000..], at(1));
        });
        assert_eq!(text.lines().count(), 100);
        let text = Lines::of(|| leavers.tell(&all[..1], at(1_000)));
        assert!(text.contains("more=39900"), "{text}");
    }
}
