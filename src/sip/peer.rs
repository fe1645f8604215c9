//! Whom a message came from or goes to.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU16;

/// How a message travels (RFC 3261 §18, RFC 7118).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Transport {
    Udp,
    Tcp,
    Tls,
    Ws,
    Wss,
}

impl Transport {
    /// Whether the transport itself repeats lost bytes, so that no transaction has to.
    pub const fn is_reliable(self) -> bool {
        !matches!(self, Transport::Udp)
    }

    /// As a Via header names it (RFC 3261 §25.1 `transport`).
    pub const fn via_token(self) -> &'static str {
        match self {
            Transport::Udp => "UDP",
            Transport::Tcp => "TCP",
            Transport::Tls => "TLS",
            Transport::Ws => "WS",
            Transport::Wss => "WSS",
        }
    }

    /// The one that a URI's `transport` parameter names, in whatever case.
    pub fn of_uri_token(token: &[u8]) -> Option<Transport> {
        const ALL: [Transport; 5] =
            [Transport::Udp, Transport::Tcp, Transport::Tls, Transport::Ws, Transport::Wss];
        ALL.into_iter().find(|known| token.eq_ignore_ascii_case(known.uri_token().as_bytes()))
    }

    /// As a URI's `transport` parameter and a metric's label name it.
    pub const fn uri_token(self) -> &'static str {
        match self {
            Transport::Udp => "udp",
            Transport::Tcp => "tcp",
            Transport::Tls => "tls",
            Transport::Ws => "ws",
            Transport::Wss => "wss",
        }
    }
}

/// A connection, unique in the life of the node; the top byte names the shard that owns it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FlowId(pub u64);

/// Which `[[listen]]` of the node, by its place in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ListenerId(pub u8);

impl ListenerId {
    /// None of the node's: between two calls of its own. Files have fewer listeners.
    const INSIDE: ListenerId = ListenerId(u8::MAX);
}

/// A host's name that a certificate has to bear, by its place in the table's list of them
/// (`routing::HostNames`); the same name has the same one as long as the node lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NameId(pub NonZeroU16);

/// Why nothing reaches a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Undelivered {
    /// Nobody listens there, or no connection could be opened.
    Unreachable,
    /// The connection was open, and has ended since: by another it may go.
    Closed,
    /// No TLS connection comes about, or lasts.
    Insecure(Insecure),
}

/// Why a connection is not secure, as an operator reads it. Never holds what the far end sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Insecure {
    #[error("its certificate is another's: it does not bear the name or address that we connect to")]
    Anothers,
    #[error("its certificate has expired")]
    Expired,
    #[error("its certificate is not valid yet")]
    NotValidYet,
    #[error("its certificate is signed by nobody whom we trust")]
    Untrusted,
    #[error("its certificate is made for another purpose")]
    Purpose,
    #[error("its certificate cannot be used")]
    Unusable,
    #[error("it wants a certificate, and ours does not suit it")]
    OursUnsuited,
    #[error("it says that our certificate has expired")]
    OursExpired,
    #[error("it does not accept our certificate")]
    OursRefused,
    #[error("it has no version or cipher of ours")]
    NoCipher,
    #[error("it broke the handshake off")]
    BrokenOff,
    #[error("it shows no certificate, and client_ca asks for one")]
    ShowsNone,
    #[error("it does not speak TLS")]
    NotTls,
    #[error("it does not keep to TLS")]
    Unruly,
    #[error("it closed the connection")]
    Closed,
    #[error("the handshake was not over in time")]
    Late,
    #[error("there is no certificate, or no name to ask for")]
    Unprepared,
}

impl Insecure {
    /// Each once, in the order in which they are written.
    pub const ALL: [Insecure; 17] = [
        Insecure::Anothers,
        Insecure::Expired,
        Insecure::NotValidYet,
        Insecure::Untrusted,
        Insecure::Purpose,
        Insecure::Unusable,
        Insecure::OursUnsuited,
        Insecure::OursExpired,
        Insecure::OursRefused,
        Insecure::NoCipher,
        Insecure::BrokenOff,
        Insecure::ShowsNone,
        Insecure::NotTls,
        Insecure::Unruly,
        Insecure::Closed,
        Insecure::Late,
        Insecure::Unprepared,
    ];
}

/// The far end of one hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Peer {
    pub transport: Transport,
    pub addr: SocketAddr,
    /// The listener that received from it, or that we send from.
    pub listener: ListenerId,
    /// The connection it is reached by. `None` over UDP, and over a stream where none is open yet.
    pub flow: Option<FlowId>,
    /// Whose certificate it has to show where we open a TLS connection to it; `None`: its address's.
    pub name: Option<NameId>,
}

impl Peer {
    /// The far end at an address, by no connection that is open yet.
    pub const fn at(addr: SocketAddr, transport: Transport, listener: ListenerId) -> Peer {
        Peer { transport, addr, listener, flow: None, name: None }
    }

    /// A call on that shard of this node, as another call of ours reaches it: no message of it leaves the node. What is
    /// lost on the way is repeated as over UDP.
    pub const fn inside(shard: u8) -> Peer {
        let addr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), shard as u16);
        Peer::at(addr, Transport::Udp, ListenerId::INSIDE)
    }

    /// The shard of a peer inside this node.
    pub fn shard(&self) -> Option<u8> {
        if self.listener == ListenerId::INSIDE { u8::try_from(self.addr.port()).ok() } else { None }
    }
}
