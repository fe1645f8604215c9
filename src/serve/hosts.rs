//! Asks DNS where the configuration's hosts are, and again whenever an answer has had its time. No call waits for it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashMap;
use tokio::time::Instant;

use crate::engine::hosts::Hosts;
use crate::engine::lookup::{Found, Lost, Reachable, Resolver, find};
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
/// Look-ups under way at once.
const AT_ONCE: usize = 16;

/// What is asked for, and by whom.
pub(super) struct Finder {
    /// Asked in place of the system's servers.
    server: Option<String>,
    /// Made when there is first something to ask for. None: there is nobody to be asked.
    resolver: Option<Option<Resolver>>,
    reach: Reachable,
    /// Of the table whose hosts these are.
    generation: u64,
    due: HashMap<Arc<Host>, Due, std::hash::RandomState>,
}

/// When a host is asked for next.
#[derive(Clone, Copy)]
struct Due {
    at: Instant,
    /// Failures in a row.
    failed: u32,
}

impl Finder {
    /// `server`: asked in place of the system's servers. `listening`: what we can send by.
    pub fn new(server: Option<String>, listening: &[(Transport, SocketAddr)]) -> Finder {
        let mut reach: Reachable =
            listening.iter().map(|(transport, addr)| (*transport, addr.is_ipv4())).collect();
        reach.sort_unstable();
        reach.dedup();
        let server = server.filter(|server| !server.is_empty());
        Finder { server, resolver: None, reach, generation: 0, due: HashMap::default() }
    }

    fn resolver(&self) -> Option<Resolver> {
        let server = self.server.as_deref().map(str::parse::<SocketAddr>).transpose();
        let made = match server {
            Ok(server) => Resolver::new(server).map_err(|lost| lost.to_string()),
            Err(_) => Err(format!("{DNS} is no address; write it like 192.0.2.53:53")),
        };
        made.inspect_err(|why| tracing::warn!(why, "host names cannot be looked up")).ok()
    }

    /// From now on these hosts are asked for, and no others.
    fn settle(&mut self, table: &Table, into: &Hosts) {
        if self.generation == table.generation {
            return;
        }
        self.generation = table.generation;
        let gateways = table.trunks().iter().flat_map(|trunk| &trunk.gateways);
        let phones = table.agents().iter().filter_map(|agent| agent.contact.as_ref()?.host.as_ref());
        let wanted = gateways.filter_map(|gateway| gateway.host.as_ref()).chain(phones);
        let now = Instant::now();
        let mut due = HashMap::default();
        for host in wanted {
            let known = self.due.get(host).copied().unwrap_or(Due { at: now, failed: 0 });
            due.insert(Arc::clone(host), known);
        }
        self.due = due;
        into.keep_only(|host| self.due.contains_key(host));
    }

    /// Asks for all that is due, and notes the answers.
    async fn ask(&mut self, into: &Hosts) {
        let now = Instant::now();
        let due: Vec<Arc<Host>> =
            self.due.iter().filter(|(_, due)| due.at <= now).map(|(host, _)| Arc::clone(host)).collect();
        if due.is_empty() {
            return;
        }
        let made = self.resolver.take().unwrap_or_else(|| self.resolver());
        if let Some(resolver) = &made {
            for some in due.chunks(AT_ONCE) {
                let asked = some.iter().map(|host| find(resolver, host, &self.reach));
                let answers = futures::future::join_all(asked).await;
                for (host, found) in some.iter().zip(answers) {
                    self.note(host, found, into);
                }
            }
        }
        self.resolver = Some(made);
    }

    /// Asks for what is due of what a table names.
    pub async fn update(&mut self, table: &Table, into: &Hosts) {
        self.settle(table, into);
        self.ask(into).await;
    }

    fn note(&mut self, host: &Arc<Host>, found: Result<Found, Lost>, into: &Hosts) {
        let Some(due) = self.due.get_mut(host) else { return };
        match found {
            Ok(found) => {
                if due.failed > 0 {
                    tracing::info!(host = &*host.name, "the host is found again");
                }
                *due = Due { at: Instant::now() + found.lasts, failed: 0 };
                into.put(host, &found.targets);
            }
            // What was known is better than nothing (RFC 8767).
            Err(why) => {
                if due.failed == 0 {
                    let known = into.knows(host);
                    tracing::warn!(host = &*host.name, %why, known, "a host is not found; it is tried again");
                }
                let pause = RETRY * (1 << due.failed.min(MAX_DOUBLED));
                *due = Due { at: Instant::now() + pause, failed: due.failed.saturating_add(1) };
            }
        }
    }
}
