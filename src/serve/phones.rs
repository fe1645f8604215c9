//! The bindings of agents' phones, written down and read again after a restart.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::engine::directory::Registrations;
use crate::engine::exchange::binding::{Binding, EXPIRES, Silence};
use crate::routing::{Contact, Secrets, Table, Text};
use crate::sip::peer::{ListenerId, Peer, Transport};
use crate::store::phones::{Phones, StoredBinding};
use crate::time::{Now, Wall};

/// What an earlier life of the node left in its file, by agent, until it is bound again.
pub(super) type Left = Mutex<Vec<(String, StoredBinding)>>;

/// Binds what was bound when the node stopped, as far as the agent is still one and has the same password, and we listen
/// where the phone knows us. Every shard calls it before it takes its first message: the first does it, and the others
/// wait meanwhile, so that nobody registers before it.
pub(super) fn restore(
    left: &Left,
    into: &Registrations,
    table: &Table,
    listening: &[(Transport, SocketAddr)],
    now: Now,
) {
    let mut left = left.lock().unwrap_or_else(PoisonError::into_inner);
    let (mut known, mut nowhere) = (0, 0);
    for (name, stored) in std::mem::take(&mut *left) {
        let agent = table.agent(&name).filter(|agent| agent.secrets.mark() == stored.secret);
        let binding = agent.and_then(|agent| bound(&stored, &agent.secrets, listening, now));
        match (agent, binding) {
            (Some(agent), Some(binding)) => {
                // The clock may have been set back: then the file is to say what holds.
                if stored.expires > wall(&binding, now) {
                    into.not_written([&agent.name].into_iter());
                }
                into.restore(&agent.name, binding);
                known += 1;
                continue;
            }
            (Some(_), None) => nowhere += 1,
            (None, _) => {}
        }
        into.not_written([&Text::from(name)].into_iter());
    }
    if known > 0 {
        tracing::info!(phones = known, "phones that had registered before are known again");
    }
    if nowhere > 0 {
        tracing::warn!(
            phones = nowhere,
            "phones that had registered before are not: where they know us, nothing listens any more"
        );
    }
}

/// Writes down what has changed.
pub(super) fn write(
    phones: &mut Phones,
    from: &Registrations,
    listening: &[(Transport, SocketAddr)],
    now: Now,
) {
    let changed = from.take_changed();
    if changed.is_empty() {
        return;
    }
    let rows: Vec<(String, Vec<StoredBinding>)> = changed
        .iter()
        .map(|(agent, bindings)| {
            let stored = bindings.iter().filter_map(|binding| stored(binding, listening, now));
            (agent.to_string(), stored.collect())
        })
        .collect();
    if let Err(error) = phones.replace(&rows) {
        tracing::error!(%error, "registrations are not written down; they are tried again");
        from.not_written(changed.iter().map(|(agent, _)| agent));
    }
}

/// `None`: it ends with its connection.
fn stored(binding: &Binding, listening: &[(Transport, SocketAddr)], now: Now) -> Option<StoredBinding> {
    let peer = binding.contact.peer.filter(|_| binding.flow().is_none())?;
    let listener = listening.get(usize::from(binding.from.listener.0)).map(told)?;
    let path: Vec<&str> = binding.contact.route.iter().map(|route| &**route).collect();
    Some(StoredBinding {
        uri: binding.contact.uri.to_string(),
        instance: binding.instance.as_ref().map(|(name, flow)| (name.to_string(), *flow)).unwrap_or_default(),
        addr: peer.addr.to_string(),
        source: binding.from.addr.to_string(),
        transport: peer.transport.uri_token().to_owned(),
        listener,
        path: path.join("\n"),
        params: binding.params.to_string(),
        call_id: binding.call_id.to_vec(),
        cseq: binding.cseq,
        expires: wall(binding, now),
        registered: binding.registered,
        user_agent: binding.user_agent.to_string(),
        secret: binding.secrets.mark(),
    })
}

fn bound(
    stored: &StoredBinding,
    secrets: &Secrets,
    listening: &[(Transport, SocketAddr)],
    now: Now,
) -> Option<Binding> {
    let (addr, source): (SocketAddr, SocketAddr) = (stored.addr.parse().ok()?, stored.source.parse().ok()?);
    let listener_of = |is_it: &dyn Fn(&(Transport, SocketAddr)) -> bool| {
        Some(ListenerId(u8::try_from(listening.iter().position(is_it)?).ok()?))
    };
    let same_family = |ours: &(Transport, SocketAddr)| ours.1.is_ipv4() == addr.is_ipv4();
    let listener = listener_of(&|ours| told(ours) == stored.listener && same_family(ours))?;
    let from = Peer::at(source, listening[usize::from(listener.0)].0, listener);
    // Who registers by one transport may want the calls by another.
    let transport = Transport::of_uri_token(stored.transport.as_bytes())?;
    let listener = if transport == from.transport {
        listener
    } else {
        listener_of(&|ours| ours.0 == transport && same_family(ours))?
    };
    let peer = Peer::at(addr, transport, listener);
    let (name, flow) = &stored.instance;
    // Never longer than the registrar grants, nor younger than now: the clock may have been set back meanwhile.
    let left = Duration::from_millis(stored.expires.0.saturating_sub(now.wall.0));
    let expires = now.mono + left.min(Duration::from_secs(u64::from(EXPIRES)));
    let route = stored.path.lines().map(Text::from).collect();
    Some(Binding {
        contact: Arc::new(Contact::registered(stored.uri.as_str().into(), peer, route)),
        instance: (!name.is_empty()).then(|| (name.as_str().into(), *flow)),
        params: stored.params.as_str().into(),
        call_id: stored.call_id.as_slice().into(),
        cseq: stored.cseq,
        from,
        expires,
        registered: stored.registered.min(now.wall),
        user_agent: stored.user_agent.as_str().into(),
        secrets: secrets.clone(),
        silence: Silence::default(),
    })
}

/// What says which listener it is, wherever it stands in the file.
fn told((transport, addr): &(Transport, SocketAddr)) -> String {
    format!("{} {addr}", transport.uri_token())
}

/// When a binding expires, by the clock on the wall.
fn wall(binding: &Binding, now: Now) -> Wall {
    let left = binding.expires.since(now.mono);
    Wall(now.wall.0 + u64::try_from(left.as_millis()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;
    use crate::engine::exchange::binding::Directory as _;
    use crate::sip::peer::FlowId;

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
            let stored = stored(&binding, &ours, now).expect("no connection that it ends with");
            assert_eq!(bound(&stored, &Secrets::default(), &ours, now), Some(binding));
        }
    }

    #[test]
    fn a_phone_behind_a_proxy_by_tcp_is_known_again_and_one_that_ends_with_its_connection_is_not() {
        let ours = [(Transport::Udp, INSIDE.1), (Transport::Tcp, INSIDE.1)];
        let now = crate::engine::clock::Clock::start().read().now;
        let expires = now.mono + Duration::from_secs(60);
        let by = |addr| Peer::at(addr, Transport::Tcp, ListenerId(1));
        let from = Peer { flow: Some(FlowId(7)), ..by(([192, 0, 2, 1], 40_000).into()) };
        let path = |peer| {
            let contact =
                Contact::registered("sip:a@10.0.0.1".into(), peer, [Text::from("<sip:x;lr>")].into());
            let contact = Arc::new(contact);
            Binding { contact, from, registered: now.wall, ..Binding::at(peer, "", expires) }
        };
        let proxied = path(by(([192, 0, 2, 1], 5060).into()));
        let row = stored(&proxied, &ours, now).expect("it has a way of its own");
        let again = Binding { from: Peer { flow: None, ..from }, ..proxied };
        assert_eq!(bound(&row, &Secrets::default(), &ours, now), Some(again));
        assert_eq!(stored(&path(from), &ours, now), None, "its Path leads nowhere");
        assert_eq!(stored(&Binding::at(from, "sip:a@192.0.2.1", expires), &ours, now), None);
    }

    fn bound_at(listener: u8, port: u16, now: Now, expires: Duration) -> Binding {
        let peer = Peer::at(([192, 0, 2, 1], port).into(), Transport::Udp, ListenerId(listener));
        Binding::at(peer, &format!("sip:alice@192.0.2.1:{port}"), now.mono + expires)
    }

    /// A table of Alice alone, and what her password is known by there.
    fn alices() -> (Table, Secrets) {
        let table = Table::from_toml("[[agent]]\nname = \"alice\"\npassword = \"swordfish\"\n").unwrap();
        let secrets = table.agent("alice").unwrap().secrets.clone();
        (table, secrets)
    }

    const INSIDE: (Transport, SocketAddr) =
        (Transport::Udp, SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7)), 5060));
    const OUTSIDE: (Transport, SocketAddr) =
        (Transport::Udp, SocketAddr::new(IpAddr::V4(Ipv4Addr::new(198, 51, 100, 7)), 5060));

    /// What is left of these when the node starts again and listens on `listening`.
    fn again(
        bindings: &[Binding],
        listening: &[(Transport, SocketAddr)],
        now: Now,
        later: Now,
    ) -> Registrations {
        let (table, secrets) = alices();
        let row = |binding: &Binding| {
            let binding = Binding { secrets: secrets.clone(), ..binding.clone() };
            ("alice".to_owned(), stored(&binding, &[INSIDE, OUTSIDE], now).unwrap())
        };
        let left = Left::new(bindings.iter().map(row).collect());
        let registrations = Registrations::default();
        for _ in 0..2 {
            restore(&left, &registrations, &table, listening, later);
        }
        registrations
    }

    #[test]
    fn listeners_that_change_places_keep_their_phones_and_one_that_is_gone_loses_them() {
        let now = crate::engine::clock::Clock::start().read().now;
        let minute = Duration::from_secs(60);
        let two = [bound_at(0, 1, now, minute), bound_at(1, 2, now, minute)];
        let places = |listening: &[(Transport, SocketAddr)]| {
            let all = again(&two, listening, now, now);
            let place = |one: &Arc<Binding>| {
                (one.from.addr.port(), one.from.listener.0, one.contact.peer.map(|peer| peer.listener.0))
            };
            (all.bindings("alice", now.mono).iter().map(place).collect::<Vec<_>>(), all.take_changed().len())
        };
        assert_eq!(places(&[INSIDE, OUTSIDE]), (vec![(1, 0, Some(0)), (2, 1, Some(1))], 0));
        assert_eq!(places(&[OUTSIDE, INSIDE]), (vec![(1, 1, Some(1)), (2, 0, Some(0))], 0));
        // It leaves the file as well, and is not there again when somebody listens there again.
        assert_eq!(places(&[(Transport::Tcp, INSIDE.1), OUTSIDE]), (vec![(2, 1, Some(1))], 1));
    }

    #[test]
    fn a_clock_that_is_set_back_lets_no_phone_be_known_for_more_than_an_hour() {
        let now = crate::engine::clock::Clock::start().read().now;
        let back = Now { wall: Wall(now.wall.0 - 30 * 24 * 3_600_000), ..now };
        let hour = Duration::from_secs(3600);
        let all = again(&[bound_at(0, 1, now, hour / 2)], &[INSIDE], now, back);
        let bound = all.bindings("alice", now.mono);
        assert_eq!((bound[0].expires, bound[0].registered), (now.mono + hour, Wall(0)));
        assert_eq!(
            all.take_changed().len(),
            1,
            "the file says so too, or each start would give an hour more"
        );
    }
}
