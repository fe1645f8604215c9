//! The bindings of agents' phones, written down and read again after a restart.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::engine::directory::Registrations;
use crate::engine::exchange::binding::{Binding, Silence};
use crate::routing::{Contact, Table, Text};
use crate::sip::peer::{ListenerId, Peer, Transport};
use crate::store::phones::{Phones, PhonesError, StoredBinding};
use crate::time::{Now, Wall};

/// Binds what was bound when the node stopped, as far as the agent is still one and has the same password, and we listen
/// where the phone knows us.
/// How many bindings that are.
pub(super) fn restore(
    phones: &mut Phones,
    into: &Registrations,
    table: &Table,
    listening: &[(Transport, SocketAddr)],
    now: Now,
) -> Result<usize, PhonesError> {
    let mut restored = 0;
    for (agent, stored) in phones.all(now.wall)? {
        let Some(agent) = table.agent(&agent).filter(|agent| agent.secrets.mark() == stored.secret) else {
            continue;
        };
        if let Some(binding) = bound(&stored, listening, now) {
            into.restore(&agent.name, binding);
            restored += 1;
        }
    }
    Ok(restored)
}

/// Writes down what has changed.
pub(super) fn write(phones: &mut Phones, from: &Registrations, table: &Table, now: Now) {
    let changed = from.take_changed();
    if changed.is_empty() {
        return;
    }
    let rows: Vec<(String, Vec<StoredBinding>)> = changed
        .iter()
        .map(|(agent, bindings)| {
            let secret = table.agent(agent).map_or(0, |agent| agent.secrets.mark());
            (agent.to_string(), bindings.iter().filter_map(|binding| stored(binding, secret, now)).collect())
        })
        .collect();
    if let Err(error) = phones.replace(&rows) {
        tracing::error!(%error, "registrations are not written down; they are tried again");
        from.not_written(changed.iter().map(|(agent, _)| agent));
    }
}

/// `None`: it ends with its connection.
fn stored(binding: &Binding, secret: u32, now: Now) -> Option<StoredBinding> {
    let peer = binding.contact.peer.filter(|peer| peer.flow.is_none() && binding.from.flow.is_none())?;
    let left = binding.expires.since(now.mono);
    let path: Vec<&str> = binding.contact.route.iter().map(|route| &**route).collect();
    Some(StoredBinding {
        uri: binding.contact.uri.to_string(),
        instance: binding.instance.as_ref().map(|(name, flow)| (name.to_string(), *flow)).unwrap_or_default(),
        addr: peer.addr.to_string(),
        source: binding.from.addr.to_string(),
        transport: peer.transport.uri_token().to_owned(),
        listener: binding.from.listener.0,
        path: path.join("\n"),
        params: binding.params.to_string(),
        call_id: binding.call_id.to_vec(),
        cseq: binding.cseq,
        expires: Wall(now.wall.0 + u64::try_from(left.as_millis()).unwrap_or(0)),
        registered: binding.registered,
        user_agent: binding.user_agent.to_string(),
        secret,
    })
}

fn bound(stored: &StoredBinding, listening: &[(Transport, SocketAddr)], now: Now) -> Option<Binding> {
    let (addr, source): (SocketAddr, SocketAddr) = (stored.addr.parse().ok()?, stored.source.parse().ok()?);
    let (transport, ours) = listening.get(usize::from(stored.listener))?;
    if *transport != Transport::Udp || ours.is_ipv4() != addr.is_ipv4() {
        return None;
    }
    let from = Peer::at(source, Transport::Udp, ListenerId(stored.listener));
    // A phone that registers by UDP may want its calls by something else.
    let peer = match Transport::of_uri_token(stored.transport.as_bytes())? {
        Transport::Udp => Peer { addr, ..from },
        transport @ (Transport::Tcp | Transport::Tls | Transport::Ws | Transport::Wss) => {
            let is_it =
                |ours: &(Transport, SocketAddr)| ours.0 == transport && ours.1.is_ipv4() == addr.is_ipv4();
            let listener = ListenerId(u8::try_from(listening.iter().position(is_it)?).ok()?);
            Peer { transport, addr, listener, ..from }
        }
    };
    let (name, flow) = &stored.instance;
    let route = stored.path.lines().map(Text::from).collect();
    Some(Binding {
        contact: Arc::new(Contact::registered(stored.uri.as_str().into(), peer, route)),
        instance: (!name.is_empty()).then(|| (name.as_str().into(), *flow)),
        params: stored.params.as_str().into(),
        call_id: stored.call_id.as_slice().into(),
        cseq: stored.cseq,
        from,
        expires: now.mono + Duration::from_millis(stored.expires.0.saturating_sub(now.wall.0)),
        registered: stored.registered,
        user_agent: stored.user_agent.as_str().into(),
        silence: Silence::default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phone_that_registered_by_udp_and_is_called_by_tcp_is_so_again() {
        let ours = [
            (Transport::Udp, ([127, 0, 0, 1], 5060).into()),
            (Transport::Tcp, ([127, 0, 0, 1], 5060).into()),
        ];
        let now = crate::engine::clock::Clock::start().read().now;
        for (transport, listener) in [(Transport::Udp, 0), (Transport::Tcp, 1)] {
            let from = Peer::at(([192, 0, 2, 1], 40_000).into(), Transport::Udp, ListenerId(0));
            let addr = ([192, 0, 2, 1], 5060).into();
            let peer = Peer { transport, addr, listener: ListenerId(listener), ..from };
            let expires = now.mono + Duration::from_secs(60);
            let params = ";q=0.5".into();
            let bound_there = Binding::at(peer, "sip:alice@192.0.2.1", expires);
            let binding = Binding { params, from, registered: now.wall, ..bound_there };
            let stored = stored(&binding, 7, now).expect("no connection that it ends with");
            assert_eq!(bound(&stored, &ours, now), Some(binding));
        }
    }
}
