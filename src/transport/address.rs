//! Socket addresses of one family, as the kernel wants them.

use std::net::SocketAddr;

use nix::sys::socket::{SockaddrIn, SockaddrIn6, SockaddrLike};

/// An address of one family, as the kernel and as we write it.
pub(super) trait Address: SockaddrLike + Copy {
    fn of(addr: SocketAddr) -> Option<Self>;
    fn plain(self) -> SocketAddr;
}

impl Address for SockaddrIn {
    fn of(addr: SocketAddr) -> Option<Self> {
        if let SocketAddr::V4(v4) = addr { Some(v4.into()) } else { None }
    }

    fn plain(self) -> SocketAddr {
        SocketAddr::V4(self.into())
    }
}

impl Address for SockaddrIn6 {
    fn of(addr: SocketAddr) -> Option<Self> {
        if let SocketAddr::V6(v6) = addr { Some(v6.into()) } else { None }
    }

    fn plain(self) -> SocketAddr {
        SocketAddr::V6(self.into())
    }
}
