//! What ICMP says about datagrams that we sent: destinations that cannot be reached (RFC 3261 §18.4).

use std::io::IoSliceMut;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::RawFd;
use std::rc::Rc;

use nix::cmsg_space;
use nix::libc::{sock_extended_err, sockaddr_in6};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use tokio::io::unix::AsyncFd;
use tokio::io::{Interest, Ready};
use tokio::sync::mpsc;

use super::Event;
use super::address::Address;

/// Errors read at one go; the kernel's queue is bounded by the receive buffer, and this by a turn's length.
const AT_ONCE: usize = 64;

const ORIGIN_ICMP: u8 = 2;
const ORIGIN_ICMP6: u8 = 3;

/// Tells the loop whenever the error queue of `port` has something.
pub async fn watch(port: usize, socket: Rc<AsyncFd<UdpSocket>>, events: mpsc::Sender<Event>) {
    while let Ok(mut guard) = socket.ready(Interest::ERROR).await {
        guard.clear_ready_matching(Ready::ERROR);
        if events.send(Event::PortError(port)).await.is_err() {
            return;
        }
    }
}

/// Reads the error queue of a socket; pushes each destination that is said to be unreachable.
pub(super) fn read<S: Address>(fd: RawFd, unreachable: &mut Vec<SocketAddr>) {
    let mut control = cmsg_space!(sock_extended_err, sockaddr_in6);
    for _ in 0..AT_ONCE {
        let mut quoted = [0; 1];
        let mut slices = [IoSliceMut::new(&mut quoted)];
        let flags = MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT;
        let Ok(message) = recvmsg::<S>(fd, &mut slices, Some(&mut control), flags) else { return };
        let Some(to) = message.address.map(S::plain) else { continue };
        let Ok(extras) = message.cmsgs() else { continue };
        for extra in extras {
            if let ControlMessageOwned::Ipv4RecvErr(error, _) | ControlMessageOwned::Ipv6RecvErr(error, _) =
                extra
                && says_unreachable(&error)
            {
                unreachable.push(to);
            }
        }
    }
}

/// Host, network, port or protocol unreachable, or a parameter problem. Time exceeded, source quench and "packet
/// too big" (the kernel then sends fragments) are ignored (RFC 3261 §18.4).
fn says_unreachable(error: &sock_extended_err) -> bool {
    match (error.ee_origin, error.ee_type, error.ee_code) {
        (ORIGIN_ICMP, 3, 4) => false,
        (ORIGIN_ICMP, 3 | 12, _) => true,
        (ORIGIN_ICMP6, 1 | 4, _) => true,
        _ => false,
    }
}
