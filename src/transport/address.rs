//! Addresses of one family, as the kernel wants them.

use std::net::{IpAddr, SocketAddr};

use nix::libc::{in_addr, in_pktinfo, in6_addr, in6_pktinfo};
use nix::sys::socket::{ControlMessage, ControlMessageOwned, SockaddrIn, SockaddrIn6, SockaddrLike};

/// An address of one family, as the kernel and as we write it.
pub(super) trait Address: SockaddrLike + Copy {
    /// How a datagram says which of our own addresses it is sent from.
    type Own;

    fn of(addr: SocketAddr) -> Option<Self>;
    fn plain(self) -> SocketAddr;
    fn own(addr: IpAddr) -> Option<Self::Own>;
    fn control(own: &Self::Own) -> ControlMessage<'_>;
}

impl Address for SockaddrIn {
    type Own = in_pktinfo;

    fn of(addr: SocketAddr) -> Option<Self> {
        if let SocketAddr::V4(v4) = addr { Some(v4.into()) } else { None }
    }

    fn plain(self) -> SocketAddr {
        SocketAddr::V4(self.into())
    }

    fn own(addr: IpAddr) -> Option<in_pktinfo> {
        let IpAddr::V4(v4) = addr else { return None };
        let (own, unused) = (in_addr { s_addr: u32::from(v4).to_be() }, in_addr { s_addr: 0 });
        // Without an interface: the route to the far end decides.
        Some(in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: own, ipi_addr: unused })
    }

    fn control(own: &in_pktinfo) -> ControlMessage<'_> {
        ControlMessage::Ipv4PacketInfo(own)
    }
}

impl Address for SockaddrIn6 {
    type Own = in6_pktinfo;

    fn of(addr: SocketAddr) -> Option<Self> {
        if let SocketAddr::V6(v6) = addr { Some(v6.into()) } else { None }
    }

    fn plain(self) -> SocketAddr {
        SocketAddr::V6(self.into())
    }

    fn own(addr: IpAddr) -> Option<in6_pktinfo> {
        let IpAddr::V6(v6) = addr else { return None };
        Some(in6_pktinfo { ipi6_addr: in6_addr { s6_addr: v6.octets() }, ipi6_ifindex: 0 })
    }

    fn control(own: &in6_pktinfo) -> ControlMessage<'_> {
        ControlMessage::Ipv6PacketInfo(own)
    }
}

/// Which of our own addresses a datagram came to, where this says so.
pub(super) fn asked(extra: &ControlMessageOwned) -> Option<IpAddr> {
    if let ControlMessageOwned::Ipv4PacketInfo(info) = extra {
        // Not the address in its header, which may be a broadcast one.
        Some(IpAddr::from(u32::from_be(info.ipi_spec_dst.s_addr).to_be_bytes()))
    } else if let ControlMessageOwned::Ipv6PacketInfo(info) = extra {
        Some(IpAddr::from(info.ipi6_addr.s6_addr))
    } else {
        None
    }
}
