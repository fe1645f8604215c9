//! One side's ports on the thread that carries its audio, and what the kernel's events say of them.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd;

use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};

use super::session::SideId;

/// What an event of the kernel is about: the thread itself, or one port of one side of a call.
pub(super) const WOKEN: u64 = u64::MAX;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Port {
    Rtp,
    Rtcp,
}

pub(super) fn token(call: usize, side: SideId, port: Port) -> u64 {
    (call as u64) << 16 | u64::from(side.0) << 8 | u64::from(port == Port::Rtcp)
}

pub(super) fn told_by(token: u64) -> (usize, SideId, Port) {
    let port = if token & 1 == 0 { Port::Rtp } else { Port::Rtcp };
    ((token >> 16) as usize, SideId((token >> 8) as u8), port)
}

/// One side's ports.
#[derive(Debug)]
pub(super) struct Line {
    pub side: SideId,
    pub port: u16,
    pub rtp: UdpSocket,
    pub rtcp: UdpSocket,
    /// The kernel lets one address in alone, and sends there.
    pub is_connected: bool,
    /// Another call of ours is at the other end.
    pub is_inside: bool,
    /// Packets that the kernel had no room for, as it counts them.
    pub overrun: u32,
}

impl Line {
    pub const fn new(side: SideId, port: u16, rtp: UdpSocket, rtcp: UdpSocket) -> Line {
        Line { side, port, rtp, rtcp, is_connected: false, is_inside: false, overrun: 0 }
    }

    pub fn send(&self, to: SocketAddr, packet: &[u8]) -> io::Result<()> {
        let sent = if self.is_connected { self.rtp.send(packet) } else { self.rtp.send_to(packet, to) };
        sent.map(drop)
    }
}

pub(super) fn listen(epoll: &Epoll, token: u64, socket: &impl AsFd) {
    // It fails only where the kernel has no memory for one more; the port is silent then, as a lost one is.
    let _ = epoll.add(socket, EpollEvent::new(EpollFlags::EPOLLIN, token));
}
