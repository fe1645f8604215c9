//! Which addresses calls to registered phones are sent to that are not what their REGISTERs came from.

use std::net::SocketAddr;

use dashmap::DashMap;

use super::exchange::binding::Binding;

/// For each such address, the sources of the bindings that are sent there: mostly none, else one. So many as there are
/// bindings at most.
#[derive(Debug, Default)]
pub struct Aside(DashMap<SocketAddr, Vec<SocketAddr>>);

impl Aside {
    pub fn add(&self, binding: &Binding) {
        if let Some(addr) = binding.sent_aside() {
            self.0.entry(addr).or_default().push(binding.from.addr);
        }
    }

    pub fn give(&self, binding: &Binding) {
        let Some(addr) = binding.sent_aside() else { return };
        if let Some(mut sources) = self.0.get_mut(&addr)
            && let Some(at) = sources.iter().position(|source| *source == binding.from.addr)
        {
            sources.swap_remove(at);
        }
        self.0.remove_if(&addr, |_, sources| sources.is_empty());
    }

    /// Whether a phone is sent to at `addr` that registered from elsewhere than `source`.
    pub fn is_anothers(&self, addr: SocketAddr, source: SocketAddr) -> bool {
        self.0.get(&addr).is_some_and(|sources| sources.iter().any(|known| *known != source))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routing::Contact;
    use crate::sip::peer::{ListenerId, Peer, Transport};
    use crate::time::Instant;

    #[test]
    fn an_address_that_nothing_is_sent_to_leaves_no_trace() {
        let peer = |port| Peer::at(([192, 0, 2, 1], port).into(), Transport::Udp, ListenerId(0));
        let mut binding = Binding::at(peer(40_000), "sip:bob@192.0.2.1:5096", Instant::default());
        let aside = Aside::default();
        aside.add(&binding);
        assert!(aside.0.is_empty(), "it is sent to where it came from");
        let contact = Contact::registered("sip:bob@192.0.2.1:5096".into(), peer(5096), Box::default());
        binding.contact = std::sync::Arc::new(contact);
        aside.add(&binding);
        let another = |source| aside.is_anothers(peer(5096).addr, peer(source).addr);
        assert_eq!((another(41_000), another(40_000)), (true, false));
        aside.give(&binding);
        assert!(aside.0.is_empty());
    }
}
