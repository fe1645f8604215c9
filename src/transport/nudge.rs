//! How another thread ends a wait in the receive call of a UDP socket.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::task::{Wake, Waker};

use nix::sys::socket::MsgFlags;
use socket2::SockRef;

/// Wakes by an empty datagram to the socket's own address, which is no message to anybody.
pub(super) fn waker(socket: &UdpSocket) -> io::Result<Waker> {
    let socket = socket.try_clone()?;
    let mut to = socket.local_addr()?;
    if to.ip().is_unspecified() {
        to.set_ip(if to.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() });
    }
    Ok(Arc::new(Nudge { socket, to }).into())
}

struct Nudge {
    socket: UdpSocket,
    to: SocketAddr,
}

impl Wake for Nudge {
    fn wake(self: Arc<Self>) {
        let flags = MsgFlags::MSG_DONTWAIT.bits();
        let send = || SockRef::from(&self.socket).send_to_with_flags(&[], &self.to.into(), flags);
        // The first may hear the error of an earlier datagram instead. Where it cannot be sent, the wait ends by itself.
        let _late = send().or_else(|_| send());
    }
}
