//! Where the requests of a dialog go: the next hop that its route set or target names (RFC 3261 §12.2.1.1).

use std::net::{IpAddr, SocketAddr};

use crate::sip::peer::{Peer, Transport};
use crate::sip::uri::{self, SIP_PORT, SIPS_PORT, Scheme, Uri};

/// Who knows the addresses that we send from.
pub trait Ways {
    /// The far side at that address, by that transport; `None` where none of ours reaches it.
    fn peer_at(&self, addr: SocketAddr, transport: Transport) -> Option<Peer>;
}

/// What a URI says of where its requests go (RFC 3263 §4, without a look-up).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hop {
    /// `None`: a host name, or an address that is no host's.
    ip: Option<IpAddr>,
    port: Option<u16>,
    transport: Option<Transport>,
}

impl Hop {
    pub fn of(uri: &Uri<'_>) -> Hop {
        let ip = uri.host_ip().filter(|ip| is_a_hosts(*ip));
        if uri.params.is_empty() && uri.scheme == Scheme::Sip {
            return Hop { ip, port: uri.port, transport: None };
        }
        let [named, maddr] = uri.params_named(["transport", "maddr"]);
        let named = named.and_then(Transport::of_uri_token);
        let transport = match (uri.scheme == Scheme::Sips, named) {
            (true, Some(Transport::Ws | Transport::Wss)) => Some(Transport::Wss),
            (true, _) => Some(Transport::Tls),
            (false, named) => named,
        };
        // RFC 3261 §19.1.1: maddr stands for the host.
        let maddr = maddr.and_then(uri::host_ip).filter(|ip| is_a_hosts(*ip));
        Hop { ip: maddr.or(ip), port: uri.port, transport }
    }
}

/// Whether it can be the address of one side of a dialog: not that of a group of hosts, of all, or of none.
fn is_a_hosts(ip: IpAddr) -> bool {
    let ip = ip.to_canonical();
    !ip.is_multicast() && !ip.is_unspecified() && ip != IpAddr::from([255; 4])
}

/// How far an address is one and the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Reach {
    Host,
    Link,
    Site,
    World,
}

impl Reach {
    fn of(ip: IpAddr) -> Reach {
        let ip = ip.to_canonical();
        let (link, site) = match ip {
            // RFC 3927; RFC 1918 and RFC 6598.
            IpAddr::V4(ip) => {
                let shared = ip.octets()[0] == 100 && ip.octets()[1] & 0xc0 == 64;
                (ip.is_link_local(), ip.is_private() || shared)
            }
            IpAddr::V6(ip) => (ip.is_unicast_link_local(), ip.is_unique_local()),
        };
        match (ip.is_loopback(), link, site) {
            (true, ..) => Reach::Host,
            (_, true, _) => Reach::Link,
            (.., true) => Reach::Site,
            (false, false, false) => Reach::World,
        }
    }
}

/// Where requests go: the address and transport that the route set or target names, else (a host name) where we
/// heard it from.
///
/// Who names no transport is reached by UDP (RFC 3263 §4.1), but by the connection that we have to that host. A
/// transport that none of ours serves leaves it where we heard it.
///
/// An address that reaches less far than the one we heard it from is one behind its NAT, or means a host beside us, or
/// ourselves. Who came by a connection is reached by that then, as RFC 5626 §5.3 has it, and none is opened to such an
/// address.
pub(super) fn next_hop(from: Peer, hop: Option<Hop>, ways: &impl Ways) -> Peer {
    let Some(Hop { ip: Some(ip), port, transport }) = hop else { return from };
    let reach = Reach::of(ip);
    let leads_elsewhere = reach < Reach::of(from.addr.ip());
    let same_family = ip.is_ipv4() == from.addr.is_ipv4();
    let stays = match transport {
        Some(transport) => transport == from.transport,
        None => from.transport == Transport::Udp || ip == from.addr.ip(),
    };
    let by = if stays { from.transport } else { transport.unwrap_or(Transport::Udp) };
    let usual = if by == Transport::Tls { SIPS_PORT } else { SIP_PORT };
    let addr = SocketAddr::new(ip, port.unwrap_or(usual));
    if leads_elsewhere && (from.transport.is_reliable() || by.is_reliable() || reach < Reach::Site) {
        return from;
    }
    if stays && same_family {
        // A connection leads to its own host alone. Whoever showed the certificate of a name says where else that is.
        let flow = from.flow.filter(|_| ip == from.addr.ip());
        return Peer { addr, flow, ..from };
    }
    ways.peer_at(addr, by).unwrap_or(from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::dialog::Dialog;
    use crate::sip::peer::{FlowId, ListenerId, NameId};
    use crate::sip::wire::Message;

    /// We listen on UDP and TCP, by IPv4 alone.
    struct Listeners;

    impl Ways for Listeners {
        fn peer_at(&self, addr: SocketAddr, transport: Transport) -> Option<Peer> {
            let listener = match transport {
                Transport::Udp => ListenerId(0),
                Transport::Tcp => ListenerId(1),
                Transport::Tls | Transport::Ws | Transport::Wss => return None,
            };
            addr.is_ipv4().then_some(Peer::at(addr, transport, listener))
        }
    }

    /// `transport address`, with the flow where it goes by one.
    fn told(peer: Peer) -> String {
        let flow = peer.flow.map(|flow| format!(" by flow {}", flow.0)).unwrap_or_default();
        format!("{} {}{flow}", peer.transport.uri_token(), peer.addr)
    }

    /// Where the requests go to a target that we heard of from port 40000 of that host, by UDP and by TCP.
    fn after_udp_and_tcp(host: [u8; 4], target: &str) -> [String; 2] {
        let addr = SocketAddr::from((host, 40_000));
        let udp = Peer::at(addr, Transport::Udp, ListenerId(0));
        let tcp = Peer { transport: Transport::Tcp, listener: ListenerId(1), flow: Some(FlowId(7)), ..udp };
        let hop = Uri::parse(target.as_bytes()).ok().map(|uri| Hop::of(&uri));
        [udp, tcp].map(|from| told(next_hop(from, hop, &Listeners)))
    }

    #[test]
    fn a_target_that_is_refreshed_by_another_connection_is_reached_by_that() {
        let invite = |cseq: u32| {
            format!(
                "INVITE sip:b@192.0.2.2 SIP/2.0\r\nVia: SIP/2.0/TCP 10.0.0.5;branch=z9hG4bK{cseq}\r\n\
                 From: <sip:a@192.0.2.1>;tag=a\r\nTo: <sip:b@192.0.2.2>\r\nCall-ID: x@y\r\nCSeq: {cseq} INVITE\r\n\
                 Contact: <sip:a@10.0.0.5;transport=tcp>\r\nContent-Length: 0\r\n\r\n"
            )
        };
        let by = |port, flow| Peer {
            transport: Transport::Tcp,
            addr: SocketAddr::from(([192, 0, 2, 1], port)),
            listener: ListenerId(1),
            flow: Some(FlowId(flow)),
            name: None,
        };
        let (first, again) = (invite(1), invite(2));
        let first = Message::parse(first.as_bytes()).unwrap();
        let mut dialog = Dialog::of_request(&first, b"b", by(40_000, 7), &Listeners).unwrap();
        assert_eq!(told(dialog.peer()), TCP_STAYS);
        let again = Message::parse(again.as_bytes()).unwrap();
        dialog.refresh_target(&again, by(40_001, 8), &Listeners);
        assert_eq!(told(dialog.peer()), "tcp 192.0.2.1:40001 by flow 8");
    }

    const UDP_STAYS: &str = "udp 192.0.2.1:40000";
    const TCP_STAYS: &str = "tcp 192.0.2.1:40000 by flow 7";

    #[test]
    fn requests_go_by_the_transport_that_the_target_names() {
        for (target, after_udp, after_tcp) in [
            ("sip:a@192.0.2.1", "udp 192.0.2.1:5060", "tcp 192.0.2.1:5060 by flow 7"),
            ("sip:a@192.0.2.1;transport=udp", "udp 192.0.2.1:5060", "udp 192.0.2.1:5060"),
            ("sip:a@192.0.2.1:5070;transport=TCP", "tcp 192.0.2.1:5070", "tcp 192.0.2.1:5070 by flow 7"),
            ("sip:a@192.0.2.9", "udp 192.0.2.9:5060", "udp 192.0.2.9:5060"),
            ("sip:a@192.0.2.9;transport=tcp", "tcp 192.0.2.9:5060", "tcp 192.0.2.9:5060"),
            // RFC 3261 §19.1.1: maddr stands for the host.
            ("sip:a@192.0.2.1:5070;maddr=192.0.2.9", "udp 192.0.2.9:5070", "udp 192.0.2.9:5070"),
            ("sip:a@x.org;maddr=192.0.2.9;transport=tcp", "tcp 192.0.2.9:5060", "tcp 192.0.2.9:5060"),
            ("sip:a@192.0.2.1;maddr=224.0.1.75", "udp 192.0.2.1:5060", "tcp 192.0.2.1:5060 by flow 7"),
            // A name is not looked up, and nothing of ours serves the rest.
            ("sip:a@x.org;transport=tcp", UDP_STAYS, TCP_STAYS),
            ("sips:a@192.0.2.1", UDP_STAYS, TCP_STAYS),
            ("sip:a@192.0.2.1:5061;transport=tls", UDP_STAYS, TCP_STAYS),
            ("sip:a@[2001:db8::1]", UDP_STAYS, TCP_STAYS),
        ] {
            assert_eq!(after_udp_and_tcp([192, 0, 2, 1], target), [after_udp, after_tcp], "{target}");
        }
    }

    #[test]
    fn a_secure_target_is_reached_by_tls_and_by_nothing_else() {
        /// We listen on all three.
        struct Secure;
        impl Ways for Secure {
            fn peer_at(&self, addr: SocketAddr, transport: Transport) -> Option<Peer> {
                let tls = || Peer::at(addr, transport, ListenerId(2));
                if transport == Transport::Tls { Some(tls()) } else { Listeners.peer_at(addr, transport) }
            }
        }
        let addr = SocketAddr::from(([192, 0, 2, 1], 40_000));
        let name = std::num::NonZeroU16::new(3).map(NameId);
        let udp = Peer::at(addr, Transport::Udp, ListenerId(0));
        let flow = Some(FlowId(7));
        let tls = Peer { transport: Transport::Tls, listener: ListenerId(2), flow, name, ..udp };
        for (target, after_udp, after_tls) in [
            ("sips:a@192.0.2.1", "tls 192.0.2.1:5061", "tls 192.0.2.1:5061 by flow 7"),
            ("sips:a@192.0.2.1;transport=tcp", "tls 192.0.2.1:5061", "tls 192.0.2.1:5061 by flow 7"),
            ("sip:a@192.0.2.1;transport=TLS", "tls 192.0.2.1:5061", "tls 192.0.2.1:5061 by flow 7"),
            ("sips:a@192.0.2.1:5071;transport=tls", "tls 192.0.2.1:5071", "tls 192.0.2.1:5071 by flow 7"),
            ("sips:a@192.0.2.9", "tls 192.0.2.9:5061", "tls 192.0.2.9:5061"),
            // Without a transport, and by the connection that there is, it is the port of that one.
            ("sip:a@192.0.2.1", "udp 192.0.2.1:5060", "tls 192.0.2.1:5061 by flow 7"),
            ("sip:a@192.0.2.9", "udp 192.0.2.9:5060", "udp 192.0.2.9:5060"),
        ] {
            let hop = Uri::parse(target.as_bytes()).ok().map(|uri| Hop::of(&uri));
            let [first, second] = [udp, tls].map(|from| next_hop(from, hop, &Secure));
            assert_eq!([told(first), told(second)], [after_udp, after_tls], "{target}");
            // What the name's own dialog names bears it; what others name is nobody's but the address's.
            assert_eq!(first.name, None, "{target}");
            assert_eq!(second.name, name.filter(|_| second.transport == Transport::Tls), "{target}");
        }
    }

    #[test]
    fn an_address_that_is_no_hosts_leaves_it_where_we_heard_it() {
        for host in ["0.0.0.0", "255.255.255.255", "224.0.1.75", "[::]", "[ff02::1]", "[::ffff:0.0.0.0]"] {
            for params in ["", ";transport=tcp", ";transport=udp"] {
                let target = format!("sip:a@{host}{params}");
                assert_eq!(after_udp_and_tcp([192, 0, 2, 1], &target), [UDP_STAYS, TCP_STAYS], "{target}");
            }
        }
    }

    #[test]
    fn who_came_by_a_connection_from_behind_a_nat_is_reached_by_it() {
        for host in ["10.0.0.5", "172.16.9.9", "192.168.1.20", "100.64.0.1", "169.254.169.254", "127.0.0.1"] {
            for params in ["", ";transport=tcp", ";transport=udp"] {
                let target = format!("sip:a@{host}:5070{params}");
                let [after_udp, after_tcp] = after_udp_and_tcp([192, 0, 2, 1], &target);
                assert_eq!(after_tcp, TCP_STAYS, "{target}");
                // No connection is opened to where it may be a host of ours that listens.
                let stays = params.ends_with("tcp") || matches!(host, "169.254.169.254" | "127.0.0.1");
                assert_eq!(after_udp, if stays { UDP_STAYS.to_owned() } else { format!("udp {host}:5070") });
            }
        }
        // Among hosts of one site they are what they say.
        let lan = after_udp_and_tcp([10, 0, 0, 9], "sip:a@192.168.1.20;transport=tcp");
        assert_eq!(lan, ["tcp 192.168.1.20:5060", "tcp 192.168.1.20:5060"]);
        let loopback = after_udp_and_tcp([10, 0, 0, 9], "sip:a@127.0.0.1:8060;transport=tcp");
        assert_eq!(loopback, ["udp 10.0.0.9:40000", "tcp 10.0.0.9:40000 by flow 7"]);
    }

    #[test]
    fn an_address_reaches_as_far_as_it_is_one_and_the_same() {
        for (ip, reach) in [
            ("127.0.0.1", Reach::Host),
            ("::1", Reach::Host),
            ("::ffff:127.0.0.1", Reach::Host),
            ("169.254.169.254", Reach::Link),
            ("fe80::1", Reach::Link),
            ("192.168.0.1", Reach::Site),
            ("100.127.0.1", Reach::Site),
            ("fd00::1", Reach::Site),
            ("100.128.0.1", Reach::World),
            ("2001:db8::1", Reach::World),
        ] {
            assert_eq!(ip.parse().map(Reach::of), Ok(reach), "{ip}");
        }
    }
}
