//! How long packets are with us, from the kernel's stamp at their arrival until they have left: of one in 64, whose
//! receive call asks for what the kernel knows beside the packet. The others cost nothing for it.

use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::cmsg_space;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt, sockopt};
use nix::sys::time::TimeSpec;

/// One of so many packets of a thread is looked at.
const ONE_OF: u32 = 64;

/// What the kernel said of a packet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stamp {
    /// When it arrived, by the wall clock. None: the kernel did not say.
    arrived: Option<Duration>,
    /// How many packets that port has lost for want of room, since it was opened; goes round.
    pub(super) overrun: u32,
}

/// Chooses, and asks.
#[derive(Debug)]
pub(super) struct Sampler {
    turn: u32,
    /// For what is said beside a packet.
    extras: Vec<u8>,
}

impl Default for Sampler {
    fn default() -> Sampler {
        Sampler { turn: 0, extras: cmsg_space!(TimeSpec, u32) }
    }
}

impl Sampler {
    /// Receives a datagram, like `recv_from`, and looks at one of [`ONE_OF`].
    pub fn receive(
        &mut self,
        socket: &UdpSocket,
        buffer: &mut [u8],
    ) -> io::Result<(usize, SocketAddr, Option<Stamp>)> {
        self.turn = self.turn.wrapping_add(1);
        if !self.turn.is_multiple_of(ONE_OF) {
            return socket.recv_from(buffer).map(|(length, from)| (length, from, None));
        }
        let mut slices = [IoSliceMut::new(buffer)];
        let extras = Some(&mut self.extras[..]);
        let flags = MsgFlags::MSG_DONTWAIT;
        let received = recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut slices, extras, flags)?;
        let from = received.address.and_then(plain).ok_or(io::ErrorKind::InvalidData)?;
        let mut stamp = Stamp { arrived: None, overrun: 0 };
        for extra in received.cmsgs().into_iter().flatten() {
            if let ControlMessageOwned::ScmTimestampns(at) = extra {
                stamp.arrived = Some(at.into());
            } else if let ControlMessageOwned::RxqOvfl(total) = extra {
                stamp.overrun = total;
            }
        }
        Ok((received.bytes, from, Some(stamp)))
    }
}

impl Stamp {
    /// How long it has been with us up to now. A wall clock that was set meanwhile makes it nothing.
    pub fn age(&self) -> Option<Duration> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
        now.checked_sub(self.arrived?)
    }
}

/// Asks the kernel to stamp what comes to a port, and to count what finds no room there.
pub(super) fn ask(socket: &UdpSocket) {
    // Where it refuses, nothing is known of them.
    let _ = setsockopt(socket, sockopt::ReceiveTimestampns, &true);
    let _ = setsockopt(socket, sockopt::RxqOvfl, &1);
}

fn plain(address: SockaddrStorage) -> Option<SocketAddr> {
    let v4 = address.as_sockaddr_in().map(|v4| SocketAddr::V4((*v4).into()));
    v4.or_else(|| address.as_sockaddr_in6().map(|v6| SocketAddr::V6((*v6).into())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[test]
    fn one_of_sixty_four_is_stamped_and_all_are_received() {
        let [one, other] = [0; 2].map(|_| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
        ask(&one);
        let (here, there) = (one.local_addr().unwrap(), other.local_addr().unwrap());
        let (mut sampler, mut buffer) = (Sampler::default(), [0; 16]);
        let mut stamps = Vec::new();
        for number in 0..2 * ONE_OF as u8 {
            other.send_to(&[number; 3], here).unwrap();
            let (length, from, stamp) = sampler.receive(&one, &mut buffer).unwrap();
            assert_eq!((&buffer[..length], from), (&[number; 3][..], there));
            stamps.extend(stamp);
        }
        assert_eq!(stamps.len(), 2);
        assert!(stamps.iter().all(|stamp| stamp.age().is_some_and(|age| age < Duration::from_secs(5))));
    }

    #[test]
    fn what_finds_no_room_is_told_with_the_next_that_is_looked_at() {
        let [one, other] = [0; 2].map(|_| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
        ask(&one);
        socket2::SockRef::from(&one).set_recv_buffer_size(8_192).unwrap();
        let here = one.local_addr().unwrap();
        for _ in 0..500 {
            other.send_to(&[0; 160], here).unwrap();
        }
        one.set_nonblocking(true).unwrap();
        let (mut sampler, mut buffer) = (Sampler { turn: ONE_OF - 1, ..Sampler::default() }, [0; 512]);
        while sampler.receive(&one, &mut buffer).is_ok() {}
        // The kernel tells what it had lost when a packet came in.
        other.send_to(b"later", here).unwrap();
        let mut sampler = Sampler { turn: ONE_OF - 1, ..Sampler::default() };
        let (_, _, stamp) = sampler.receive(&one, &mut buffer).unwrap();
        assert!(stamp.is_some_and(|stamp| stamp.overrun > 300), "{stamp:?}");
    }
}
