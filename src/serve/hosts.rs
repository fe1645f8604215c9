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
/// Look-ups under way at once: of hosts that were found or are new, and of those that were not found when they were last
/// asked for. A zone that is silent holds up nobody else's answers.
const AT_ONCE: usize = 64;
const LOST_AT_ONCE: usize = 32;

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
    room: Semaphore,
    room_for_lost: Semaphore,
}

/// The hosts that are asked for.
#[derive(Default)]
struct Wanted {
    /// Of the table that they are of. Those of a candidate come to them before.
    generation: u64,
    hosts: HashMap<Arc<Host>, Due, std::hash::RandomState>,
}

/// How a host stands.
#[derive(Clone, Copy)]
struct Due {
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

impl Due {
    /// It was never asked for, or there is no answer yet.
    fn is_new(&self) -> bool {
        self.failed == 0 && self.known.is_none()
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
            wanted: Mutex::default(),
            noted: Notify::new(),
            room: Semaphore::new(AT_ONCE),
            room_for_lost: Semaphore::new(LOST_AT_ONCE),
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
        let new = Due { next: Next::At(Instant::now()), failed: 0, known: None };
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
        let is_due = |due: &Due| match due.next {
            Next::At(at) => at <= now,
            Next::UnderWay => false,
        };
        let due: Vec<_> = wanted.hosts.iter_mut().filter(|(_, due)| is_due(due)).collect();
        if due.is_empty() || self.resolver().is_none() {
            return;
        }
        for (host, due) in due {
            due.next = Next::UnderWay;
            tokio::spawn(Arc::clone(self).find(Arc::clone(host), due.failed > 0));
        }
    }

    async fn find(self: Arc<Finder>, host: Arc<Host>, was_lost: bool) {
        let room = if was_lost { &self.room_for_lost } else { &self.room };
        // The rooms are never closed.
        let Ok(_room) = room.acquire().await else { return };
        let Some(resolver) = self.resolver() else { return };
        let found = find(resolver, &host, &self.reach).await;
        self.note(&host, found, Instant::now());
    }

    /// Asks for what is due of what the served table names.
    pub fn update(self: &Arc<Finder>, table: &Table) {
        self.settle(table);
        self.ask();
    }

    /// Asks for the hosts of a table that will be served, too, and waits for those that are new, for as long as a start
    /// or a reload may wait.
    pub async fn prepare(self: &Arc<Finder>, table: &Table) {
        self.want(named(table));
        self.ask();
        let all_noted = async {
            loop {
                let noted = self.noted.notified();
                if !self.waits_for(table) {
                    return;
                }
                noted.await;
            }
        };
        if self.resolver.get().is_some_and(Option::is_some)
            && tokio::time::timeout(PATIENCE, all_noted).await.is_err()
        {
            tracing::warn!("DNS is slow: some hosts are not found yet");
        }
    }

    fn waits_for(&self, table: &Table) -> bool {
        let wanted = self.wanted();
        named(table).any(|host| wanted.hosts.get(host).is_some_and(Due::is_new))
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
                *due = Due { next: Next::At(now + lasts), failed: 0, known: Some((basis, now)) };
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
}
