//! Whose fixed phone an address is: asked of a Contact that somebody registers.

use std::net::SocketAddr;
use std::sync::Arc;

use super::trunk::Host;
use super::{Agent, Contact};

/// The agents' fixed phones by where they are.
#[derive(Debug, Default)]
pub(super) struct FixedPhones {
    /// In order.
    by_addr: Vec<(SocketAddr, Arc<Agent>)>,
    /// Those whose host has a name, equal hosts behind one another.
    by_host: Vec<(Arc<Host>, Arc<Agent>)>,
}

impl FixedPhones {
    pub fn new(agents: &[Arc<Agent>]) -> FixedPhones {
        let fixed = || agents.iter().filter_map(|agent| Some((agent.contact.as_deref()?, agent)));
        let addr = |(contact, agent): (&Contact, &Arc<Agent>)| Some((contact.addr?, Arc::clone(agent)));
        let host = |(contact, agent): (&Contact, &Arc<Agent>)| {
            Some((Arc::clone(contact.host.as_ref()?), Arc::clone(agent)))
        };
        let mut by_addr: Vec<_> = fixed().filter_map(addr).collect();
        by_addr.sort_by_key(|(addr, _)| *addr);
        let mut by_host: Vec<_> = fixed().filter_map(host).collect();
        let rank = |host: &Host| (Arc::clone(&host.name), host.port, host.secure);
        by_host.sort_by_cached_key(|(host, _)| rank(host));
        FixedPhones { by_addr, by_host }
    }

    /// See [`super::Table::fixed_at`].
    pub fn at(
        &self,
        addr: SocketAddr,
        leads_to: impl Fn(&Host) -> bool,
    ) -> impl Iterator<Item = &Arc<Agent>> {
        let first = self.by_addr.partition_point(|(at, _)| *at < addr);
        let literal = self.by_addr[first..].iter().take_while(move |(at, _)| *at == addr);
        let hosts = self.by_host.chunk_by(|(a, _), (b, _)| a == b);
        let named = hosts.filter(move |of_one| of_one.first().is_some_and(|(host, _)| leads_to(host)));
        literal.map(|(_, agent)| agent).chain(named.flatten().map(|(_, agent)| agent))
    }
}
