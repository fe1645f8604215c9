//! Datagrams by the batch: one system call receives up to 64, one sends as many.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;

use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, recvmmsg, sendmmsg, setsockopt, sockopt};

/// Datagrams in one system call.
pub const BATCH: usize = 64;

/// No message of a bench is longer.
const LONGEST: usize = 4096;

/// What waits in the kernel when a whole second of calls comes at once.
const KERNEL_BUFFER: usize = 8 << 20;

/// A loopback socket with a deep receive buffer.
pub fn socket(port: u16) -> io::Result<UdpSocket> {
    bound(Ipv4Addr::LOCALHOST, port)
}

/// A socket with a deep receive buffer.
pub fn bound(address: Ipv4Addr, port: u16) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((address, port))?;
    if setsockopt(&socket, sockopt::RcvBufForce, &KERNEL_BUFFER).is_err() {
        setsockopt(&socket, sockopt::RcvBuf, &KERNEL_BUFFER)?;
    }
    Ok(socket)
}

pub fn local(port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)
}

/// Room for one batch received.
pub struct Inbox {
    headers: MultiHeaders<SockaddrIn>,
    bytes: Vec<u8>,
    got: Vec<(usize, SockaddrIn)>,
}

impl Inbox {
    pub fn new() -> Inbox {
        Inbox {
            headers: MultiHeaders::preallocate(BATCH, None),
            bytes: vec![0; BATCH * LONGEST],
            got: Vec::with_capacity(BATCH),
        }
    }

    /// Takes what waits, at most a batch; says how many.
    pub fn receive(&mut self, socket: &UdpSocket) -> io::Result<usize> {
        self.got.clear();
        let mut rooms = self.bytes.chunks_mut(LONGEST);
        let mut slices: [[IoSliceMut<'_>; 1]; BATCH] =
            std::array::from_fn(|_| [IoSliceMut::new(rooms.next().unwrap_or_default())]);
        let flags = MsgFlags::MSG_DONTWAIT;
        match recvmmsg(socket.as_raw_fd(), &mut self.headers, slices.iter_mut(), flags, None) {
            Ok(messages) => {
                self.got.extend(messages.filter_map(|message| Some((message.bytes, message.address?))));
            }
            // A port unreachable that an earlier datagram earned: the next call goes on.
            Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::ECONNREFUSED) => {}
            Err(e) => return Err(e.into()),
        }
        Ok(self.got.len())
    }

    pub fn messages(&self) -> impl Iterator<Item = (&[u8], SockaddrIn)> {
        self.bytes.chunks(LONGEST).zip(&self.got).map(|(room, (length, from))| (&room[..*length], *from))
    }
}

/// Room for one batch to send.
pub struct Sender {
    headers: MultiHeaders<SockaddrIn>,
}

impl Sender {
    pub fn new() -> Sender {
        Sender { headers: MultiHeaders::preallocate(BATCH, None) }
    }

    /// Sends at most a batch.
    pub fn send(&mut self, socket: &UdpSocket, datagrams: &[(&[u8], SockaddrIn)]) -> io::Result<()> {
        let mut slices = [[IoSlice::new(&[])]; BATCH];
        let mut addresses = [None; BATCH];
        for ((slice, address), (bytes, to)) in slices.iter_mut().zip(&mut addresses).zip(datagrams) {
            *slice = [IoSlice::new(bytes)];
            *address = Some(*to);
        }
        let count = datagrams.len().min(BATCH);
        let (slices, addresses) = (&slices[..count], &addresses[..count]);
        let flags = MsgFlags::empty();
        match sendmmsg(socket.as_raw_fd(), &mut self.headers, slices, addresses, [], flags) {
            Ok(_) | Err(nix::errno::Errno::ECONNREFUSED) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }
}

/// Messages written one after another, sent by the batch.
pub struct Outbox {
    sender: Sender,
    pub wire: Vec<u8>,
    ends: Vec<(usize, SockaddrIn)>,
}

impl Outbox {
    pub fn new() -> Outbox {
        Outbox { sender: Sender::new(), wire: Vec::new(), ends: Vec::new() }
    }

    /// What was written to `wire` since the last call is one message to `to`.
    pub fn post(&mut self, to: SockaddrIn) {
        self.ends.push((self.wire.len(), to));
    }

    pub fn flush(&mut self, socket: &UdpSocket) -> io::Result<()> {
        let mut datagrams: Vec<(&[u8], SockaddrIn)> = Vec::with_capacity(BATCH);
        let mut start = 0;
        for (end, to) in &self.ends {
            datagrams.push((&self.wire[start..*end], *to));
            start = *end;
            if datagrams.len() == BATCH {
                self.sender.send(socket, &datagrams)?;
                datagrams.clear();
            }
        }
        if !datagrams.is_empty() {
            self.sender.send(socket, &datagrams)?;
        }
        self.wire.clear();
        self.ends.clear();
        Ok(())
    }
}
