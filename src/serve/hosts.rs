//! Asks DNS where the configuration's hosts are, and again whenever an answer has had its time. No call waits for it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use hashbrown::HashMap;
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;

use crate::engine::desk::SharedDesk;
use crate::engine::lookup::{Basis, Found, Lost, Reachable, Resolver, find};
use crate::routing::{Host, Table};
use crate::sip::peer::Transport;

/// The environment variable that names a DNS server, `address:port`, to be asked in place of the system's.
pub const DNS: &str = "STROWGER_DNS";

/// A start and a reload wait so long for hosts that are new, so that the first calls find them.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);
/// How often it is looked at which hosts are due.
pub(super) const LOOK: Duration = Duration::from_millis(250);
/// After a failure a host is asked for again so soon, and then in twice the time each, up to a minute.
const RETRY: Duration = Duration::from_secs(1);
const MAX_DOUBLED: u32 = 6;
/// What DNS said last holds so long while it does not answer (RFC 8767 §5 has one to three days).
const KEPT: Duration = Duration::from_secs(24 * 3600);
/// Look-ups that begin at once, so that no server is flooded: of hosts that were found or are new, and of those that were
/// not found when they were last asked for.
const AT_ONCE: usize = 64;
const LOST_AT_ONCE: usize = 32;
/// A look-up holds the turns of others up for so long at most: a server that lives answers mostly sooner, and 500 hosts
/// have all had their turn within `PATIENCE`.
const TURN: Duration = Duration::from_millis(250);
/// Look-ups of either kind that go on beyond their turn: what a zone that is silent costs in sockets.
const SLOW_AT_ONCE: usize = 96;
/// While hosts are lost, the servers are asked again so soon whether they answer at all: while they do not, and while
/// they do. Who is silent for less makes no host pause long.
const LISTEN: Duration = Duration::from_secs(1);
const LISTEN_ON: Duration = Duration::from_secs(10);

/// What is asked for, and by whom.
pub(super) struct Finder {
    /// Asked in place of the system's servers.
    server: Option<String>,
    /// Made when there is first something to ask for. None: there is nobody to be asked.
    resolver: OnceLock<Option<Resolver>>,
    reach: Reachable,
    /// Whose hosts they are.
    desk: Arc<SharedDesk>,
    wanted: Mutex<Wanted>,
    /// An answer was noted.
    noted: Notify,
    turns: Turns,
    turns_of_lost: Turns,
}

/// Turns for look-ups. A zone that is silent holds up nobody else's answers: whoever has none by the end of its turn goes
/// on beside the others, as far as there is room, and else is asked for again later.
struct Turns {
    first: Semaphore,
    slow: Semaphore,
}

impl Turns {
    fn new(at_once: usize) -> Turns {
        Turns { first: Semaphore::new(at_once), slow: Semaphore::new(SLOW_AT_ONCE) }
    }

    async fn take(&self, look_up: impl Future<Output = Result<Found, Lost>>) -> Result<Found, Lost> {
        let mut look_up = std::pin::pin!(look_up);
        // Neither room is ever closed.
        let turn = self.first.acquire().await;
        if let Ok(found) = tokio::time::timeout(TURN, look_up.as_mut()).await {
            return found;
        }
        drop(turn);
        match self.slow.try_acquire() {
            Ok(_slow) => look_up.await,
            Err(_) => Err(Lost::Failed("not at once, and many others are waited for".into())),
        }
    }
}

/// The hosts that are asked for.
struct Wanted {
    /// Of the table that they are of. Those of a candidate come to them before.
    generation: u64,
    hosts: HashMap<Arc<Host>, Due, std::hash::RandomState>,
    servers: Servers,
    /// When the servers are asked next whether they answer at all.
    listen: Next,
}

/// What was heard of the servers while hosts were lost.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Servers {
    /// Or no host was lost yet, and nobody has asked.
    Silent,
    Answer,
}

/// How a host stands.
#[derive(Clone, Copy)]
struct Due {
    /// Since when it is asked for.
    since: Instant,
    next: Next,
    /// Failures in a row.
    failed: u32,
    /// What is known of it, and when that was said.
    known: Option<(Basis, Instant)>,
}

/// When a host is asked for next.
#[derive(Clone, Copy)]
enum Next {
    At(Instant),
    /// It is being asked for.
    UnderWay,
}

impl Next {
    fn is_due(self, now: Instant) -> bool {
        match self {
            Next::At(at) => at <= now,
            Next::UnderWay => false,
        }
    }
}

impl Due {
    /// Until when a start or a reload waits for it: there is no answer yet.
    fn is_new_until(&self) -> Option<Instant> {
        (self.failed == 0 && self.known.is_none()).then(|| self.since + PATIENCE)
    }
}

/// The hosts that a table names.
fn named(table: &Table) -> impl Iterator<Item = &Arc<Host>> {
    let gateways = table.trunks().iter().flat_map(|trunk| &trunk.gateways);
    let phones = table.agents().iter().filter_map(|agent| agent.contact.as_ref()?.host.as_ref());
    gateways.filter_map(|gateway| gateway.host.as_ref()).chain(phones)
}

impl Finder {
    /// `server`: asked in place of the system's servers. `listening`: what we can send by.
    pub fn new(
        server: Option<String>,
        listening: &[(Transport, SocketAddr)],
        desk: Arc<SharedDesk>,
    ) -> Finder {
        let mut reach: Reachable =
            listening.iter().map(|(transport, addr)| (*transport, addr.is_ipv4())).collect();
        reach.sort_unstable();
        reach.dedup();
        Finder {
            server: server.filter(|server| !server.is_empty()),
            resolver: OnceLock::new(),
            reach,
            desk,
            wanted: Mutex::new(Wanted {
                generation: 0,
                hosts: HashMap::default(),
                servers: Servers::Silent,
                listen: Next::At(Instant::now()),
            }),
            noted: Notify::new(),
            turns: Turns::new(AT_ONCE),
            turns_of_lost: Turns::new(LOST_AT_ONCE),
        }
    }

    fn resolver(&self) -> Option<&Resolver> {
        let make = || {
            let server = self.server.as_deref().map(str::parse::<SocketAddr>).transpose();
            let made = match server {
                Ok(server) => Resolver::new(server).map_err(|lost| lost.to_string()),
                Err(_) => Err(format!("{DNS} is no address; write it like 192.0.2.53:53")),
            };
            made.inspect_err(|why| tracing::warn!(why, "host names cannot be looked up")).ok()
        };
        self.resolver.get_or_init(make).as_ref()
    }

    /// Never held while anything is waited for.
    fn wanted(&self) -> MutexGuard<'_, Wanted> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// These hosts are asked for as well.
    fn want<'a>(&self, hosts: impl Iterator<Item = &'a Arc<Host>>) {
        let now = Instant::now();
        let new = Due { since: now, next: Next::At(now), failed: 0, known: None };
        let mut wanted = self.wanted();
        for host in hosts {
            wanted.hosts.entry_ref(host).or_insert(new);
        }
    }

    /// From now on the hosts of this table are asked for, and no others.
    fn settle(&self, table: &Table) {
        if self.wanted().generation == table.generation {
            return;
        }
        self.want(named(table));
        let named: std::collections::HashSet<&Arc<Host>> = named(table).collect();
        let mut wanted = self.wanted();
        wanted.generation = table.generation;
        wanted.hosts.retain(|host, _| named.contains(host));
        self.desk.hosts.keep_only(|host| wanted.hosts.contains_key(host));
    }

    /// Begins to ask for all that is due. Each host has its own time, and its answer is noted as it comes.
    fn ask(self: &Arc<Finder>) {
        let now = Instant::now();
        let mut wanted = self.wanted();
        let due: Vec<_> = wanted.hosts.iter_mut().filter(|(_, due)| due.next.is_due(now)).collect();
        if due.is_empty() || self.resolver().is_none() {
            return;
        }
        for (host, due) in due {
            due.next = Next::UnderWay;
            tokio::spawn(Arc::clone(self).find(Arc::clone(host), due.failed > 0));
        }
    }

    async fn find(self: Arc<Finder>, host: Arc<Host>, was_lost: bool) {
        let turns = if was_lost { &self.turns_of_lost } else { &self.turns };
        let Some(resolver) = self.resolver() else { return };
        let found = turns.take(find(resolver, &host, &self.reach)).await;
        self.note(&host, found, Instant::now());
    }

    /// Asks whether the servers answer at all, while hosts are lost: a server that comes back need not wait until each
    /// host's pause is over.
    fn listen(self: &Arc<Finder>) {
        let now = Instant::now();
        let mut wanted = self.wanted();
        if wanted.hosts.values().all(|due| due.failed == 0) {
            wanted.servers = Servers::Silent;
        } else if wanted.listen.is_due(now) {
            wanted.listen = Next::UnderWay;
            let finder = Arc::clone(self);
            tokio::spawn(async move {
                let Some(resolver) = finder.resolver() else { return };
                let heard = if resolver.answers().await { Servers::Answer } else { Servers::Silent };
                finder.hear(heard, Instant::now());
            });
        }
    }

    /// What was heard of the servers. When they answer again, all that is lost is asked for at once, and what is being
    /// asked for and had no answer from them is so soon.
    fn hear(&self, heard: Servers, now: Instant) {
        let mut wanted = self.wanted();
        wanted.listen = Next::At(match heard {
            Servers::Silent => now + LISTEN,
            Servers::Answer => now + LISTEN_ON,
        });
        let before = std::mem::replace(&mut wanted.servers, heard);
        if (before, heard) != (Servers::Silent, Servers::Answer) {
            return;
        }
        for due in wanted.hosts.values_mut().filter(|due| due.failed > 0) {
            due.failed = 1;
            if let Next::At(at) = due.next {
                due.next = Next::At(at.min(now));
            }
        }
    }

    /// Asks for what is due of what the served table names.
    pub fn update(self: &Arc<Finder>, table: &Table) {
        self.settle(table);
        self.ask();
        self.listen();
    }

    /// Asks for the hosts of a table that will be served, too, and waits for those that are new, each for as long as a
    /// start or a reload may wait.
    pub async fn prepare(self: &Arc<Finder>, table: &Table) {
        self.want(named(table));
        self.ask();
        if self.resolver.get().is_none_or(Option::is_none) {
            return;
        }
        loop {
            let noted = self.noted.notified();
            let now = Instant::now();
            match self.is_new_until(table) {
                None => return,
                Some(until) if until <= now => {
                    tracing::warn!("DNS is slow: some hosts are not found yet");
                    return;
                }
                // An answer, or the end: either is looked at above.
                Some(until) => drop(tokio::time::timeout_at(until, noted).await),
            }
        }
    }

    /// Until when the last of a table's hosts is new.
    fn is_new_until(&self, table: &Table) -> Option<Instant> {
        let wanted = self.wanted();
        named(table).filter_map(|host| wanted.hosts.get(host)?.is_new_until()).max()
    }

    fn note(&self, host: &Arc<Host>, found: Result<Found, Lost>, now: Instant) {
        let hosts = &self.desk.hosts;
        let mut wanted = self.wanted();
        let Some(due) = wanted.hosts.get_mut(host) else { return };
        let was_said = matches!(due.known, Some((Basis::Said, _)));
        let why = match found {
            Ok(Found { basis: Basis::Guessed, .. }) if was_said => {
                Lost::Failed("not to all that it is asked".into())
            }
            Ok(Found { targets, lasts, basis }) => {
                if due.failed > 0 {
                    tracing::info!(host = &*host.name, "the host is found again");
                }
                *due = Due { next: Next::At(now + lasts), failed: 0, known: Some((basis, now)), ..*due };
                hosts.put(host, &targets);
                self.noted.notify_waiters();
                return;
            }
            Err(why) => why,
        };
        let is_kept = match &why {
            // DNS has answered: what was known is known to be wrong.
            Lost::Unknown | Lost::NoTransport => false,
            // What was known is better than nothing (RFC 8767).
            Lost::Failed(_) => due.known.is_some_and(|(_, said)| now < said + KEPT),
        };
        if due.failed == 0 || (due.known.is_some() && !is_kept) {
            tracing::warn!(host = &*host.name, %why, known = is_kept, "a host is not found; it is tried again");
        }
        if !is_kept {
            due.known = None;
            hosts.forget(host);
        }
        let pause = RETRY * (1 << due.failed.min(MAX_DOUBLED));
        due.next = Next::At(now + pause);
        due.failed = due.failed.saturating_add(1);
        self.noted.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures::future::{Either, join_all, select};

    use super::*;
    use crate::engine::hosts::Target;

    fn found(last: u8, basis: Basis) -> Result<Found, Lost> {
        let addr = SocketAddr::from(([192, 0, 2, last], 5060));
        let target = Target { rank: 0, server: 0, weight: 0, addr, transport: Transport::Udp };
        Ok(Found { targets: vec![target], lasts: Duration::from_secs(60), basis })
    }

    #[test]
    fn rfc8767_what_was_said_holds_for_a_day_while_dns_is_silent_and_not_when_it_says_no() {
        let desk = Arc::new(SharedDesk::new(1, Vec::new()));
        let finder = Finder::new(None, &[], Arc::clone(&desk));
        let host = Arc::new(Host { name: "sbc.test".into(), port: None, transport: None, secure: false });
        finder.want([&host].into_iter());
        let now = Instant::now();
        let at = || {
            let all = desk.hosts.in_order(&host, crate::time::Instant::ZERO, || 0);
            all.first().map(|target| target.addr.to_string())
        };
        let (one, two) = (Some("192.0.2.1:5060".to_owned()), Some("192.0.2.2:5060".to_owned()));
        let silent = || Err(Lost::Failed("SERVFAIL".into()));
        finder.note(&host, found(1, Basis::Guessed), now);
        finder.note(&host, found(2, Basis::Guessed), now);
        assert_eq!(at(), two, "one guess is as good as another");
        finder.note(&host, found(1, Basis::Said), now);
        finder.note(&host, found(2, Basis::Guessed), now);
        assert_eq!(at(), one, "what was said is better than a guess");
        finder.note(&host, silent(), now + KEPT / 2);
        assert_eq!(at(), one);
        finder.note(&host, silent(), now + KEPT);
        assert_eq!(at(), None);
        finder.note(&host, found(2, Basis::Said), now + KEPT);
        assert_eq!(at(), two);
        finder.note(&host, Err(Lost::Unknown), now + KEPT);
        assert_eq!(at(), None, "NXDOMAIN");
    }

    fn block_on<T>(test: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(test)
    }

    /// How long one host waits for its answer that is asked for behind so many of a silent zone, and how many of those
    /// are still asked for then.
    async fn waits_behind(silent: usize) -> (Duration, usize) {
        let turns = Turns::new(AT_ONCE);
        let began = Instant::now();
        let before = pin!(join_all((0..silent).map(|_| turns.take(std::future::pending()))));
        let host = pin!(turns.take(async { found(1, Basis::Said) }));
        match select(before, host).await {
            Either::Left(_) => panic!("its turn never came"),
            Either::Right((found, _before)) => {
                assert!(found.is_ok());
                (began.elapsed(), SLOW_AT_ONCE - turns.slow.available_permits())
            }
        }
    }

    #[test]
    fn a_zone_that_is_silent_holds_up_nobody_else() {
        let (waits, _) = block_on(waits_behind(40));
        assert!(waits < TURN, "there is room beside them: {waits:?}");
        let (waits, beside) = block_on(waits_behind(3 * AT_ONCE));
        assert!(waits >= 3 * TURN, "their turns come first: {waits:?}");
        assert!(waits < PATIENCE, "a start waits for it: {waits:?}");
        assert_eq!(beside, SLOW_AT_ONCE, "and they are bounded");
    }

    #[test]
    fn what_is_slow_is_waited_for_beyond_its_turn() {
        let slow = async {
            tokio::time::sleep(2 * TURN).await;
            found(1, Basis::Said)
        };
        let turns = Turns::new(1);
        assert!(block_on(turns.take(slow)).is_ok());
        assert_eq!((turns.first.available_permits(), turns.slow.available_permits()), (1, SLOW_AT_ONCE));
    }

    #[test]
    fn all_that_is_lost_is_asked_for_at_once_when_the_servers_answer_again() {
        let desk = Arc::new(SharedDesk::new(1, Vec::new()));
        let finder = Finder::new(None, &[], desk);
        let host =
            |name: &str| Arc::new(Host { name: name.into(), port: None, transport: None, secure: false });
        let (lost, asked, known) = (host("lost.test"), host("asked.test"), host("known.test"));
        finder.want([&lost, &asked, &known].into_iter());
        let now = Instant::now();
        for _ in 0..8 {
            finder.note(&lost, Err(Lost::Failed("silent".into())), now);
            finder.note(&asked, Err(Lost::Failed("silent".into())), now);
        }
        finder.note(&known, found(1, Basis::Said), now);
        finder.wanted().hosts.get_mut(&asked).unwrap().next = Next::UnderWay;
        let soon = now + Duration::from_secs(2);
        let is_due = |host: &Arc<Host>| finder.wanted().hosts[host].next.is_due(soon);
        finder.hear(Servers::Silent, now);
        assert!(!is_due(&lost));
        finder.hear(Servers::Answer, soon);
        assert!(is_due(&lost));
        assert!(!is_due(&known) && !is_due(&asked));
        // It had been asked for before they came back.
        finder.note(&asked, Err(Lost::Failed("silent".into())), now);
        assert!(is_due(&asked));
        finder.note(&lost, Err(Lost::Failed("silent".into())), soon);
        finder.hear(Servers::Answer, soon);
        assert!(!is_due(&lost), "its zone alone is silent");
    }
}
