use std::net::SocketAddr;

use crate::sip::peer::{Peer, Transport};
use crate::sip::wire::Message;

/// Where responses to a request go (RFC 3261 §18.2.2, RFC 3581 §4).
///
/// UDP: to where it came from when its top Via asks for `rport`, else to the source address at sent-by's port.
/// Streams: by the connection it came by; `addr` is where a new one is opened once that is dead, the source
/// address at sent-by's port.
///
/// `maddr` is not followed: it is for multicast, and would let a stranger aim our responses at a third party.
/// Sent-by's host is not looked up either, for the source address always stands in `received`.
pub fn reply_to(request: &Message<'_>, from: Peer) -> Peer {
    let via = request.via();
    if !from.transport.is_reliable() && via.rport.is_some() {
        return from;
    }
    let port = via.port.filter(|&port| port != 0).unwrap_or(default_port(from.transport));
    Peer { addr: SocketAddr::new(from.addr.ip(), port), ..from }
}

/// The port of a sent-by without one (RFC 3261 §18.2.2, RFC 7118 §5).
const fn default_port(transport: Transport) -> u16 {
    match transport {
        Transport::Udp | Transport::Tcp => 5060,
        Transport::Tls => 5061,
        Transport::Ws => 80,
        Transport::Wss => 443,
    }
}
