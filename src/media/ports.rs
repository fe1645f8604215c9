//! The ports of our audio: pairs, RTP on the even one and RTCP on the odd one above (RFC 3550 §11).

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::ops::RangeInclusive;

use socket2::{Domain, Protocol, Socket, Type};
use thiserror::Error;

/// What a port holds of packets that we have not read: a second of audio, as the kernel counts.
const BUFFER: usize = 64 * 1024;

/// So many pairs are tried that another program holds, before we say that there is none.
const TRIES: usize = 64;

/// A pair that is open.
#[derive(Debug)]
pub struct Pair {
    /// The even one.
    pub port: u16,
    pub rtp: UdpSocket,
    pub rtcp: UdpSocket,
}

/// Why a leg has no port.
#[derive(Debug, Error)]
pub enum NoPort {
    #[error("all {0} pairs of ports of [media] ports are in use; widen the range")]
    Exhausted(usize),
    #[error("no pair of ports of [media] ports can be opened: {0}")]
    Refused(io::Error),
}

/// The pairs of a range that nobody uses. The one that has been free for longest is taken first, so that late packets
/// of an old call find nobody.
#[derive(Debug)]
pub struct Ports {
    addr: IpAddr,
    free: VecDeque<u16>,
    pairs: usize,
}

impl Ports {
    /// The pairs of a range of ports, as far as they are the `share`th (from 0) of so many.
    pub fn new(addr: IpAddr, range: RangeInclusive<u16>, share: usize, of: usize) -> Ports {
        let even = range.clone().filter(|port| port % 2 == 0 && *port < *range.end());
        let free: VecDeque<u16> = even.skip(share).step_by(of.max(1)).collect();
        Ports { addr, pairs: free.len(), free }
    }

    /// What they are bound to.
    pub const fn addr(&self) -> IpAddr {
        self.addr
    }

    /// Opens a pair. `is_ipv4`: for a side of that family, where they are bound to any address of both.
    pub fn open(&mut self, is_ipv4: bool) -> Result<Pair, NoPort> {
        let both = IpAddr::from(Ipv6Addr::UNSPECIFIED);
        let addr = if is_ipv4 && self.addr == both { Ipv4Addr::UNSPECIFIED.into() } else { self.addr };
        let mut refused = None;
        for _ in 0..TRIES.min(self.free.len()) {
            let Some(port) = self.free.pop_front() else { break };
            match open(addr, port).and_then(|rtp| Ok((rtp, open(addr, port + 1)?))) {
                Ok((rtp, rtcp)) => return Ok(Pair { port, rtp, rtcp }),
                Err(why) => {
                    self.free.push_back(port);
                    refused = Some(why);
                }
            }
        }
        Err(refused.map_or(NoPort::Exhausted(self.pairs), NoPort::Refused))
    }

    /// A pair that was closed is free again.
    pub fn free(&mut self, port: u16) {
        debug_assert!(!self.free.contains(&port), "{port} is free already");
        self.free.push_back(port);
    }

    /// How many pairs are not in use.
    pub fn left(&self) -> usize {
        self.free.len()
    }

    /// How many pairs are in use.
    pub fn used(&self) -> usize {
        self.pairs - self.free.len()
    }
}

/// The same port once more, heard from everybody: for a side that is somewhere else now. The old one is closed when this
/// one is open, so that nobody else gets it in between. `addr`: what it was bound to; one that is bound to any address and
/// is connected says only the one that it sends from.
pub(super) fn reopened(old: &UdpSocket, addr: IpAddr) -> io::Result<UdpSocket> {
    let here = SocketAddr::new(addr, old.local_addr()?.port());
    // Only for the moment in which both are open.
    socket2::SockRef::from(old).set_reuse_address(true)?;
    let new = socket(addr)?;
    new.set_reuse_address(true)?;
    new.bind(&here.into())?;
    new.set_reuse_address(false)?;
    Ok(new.into())
}

fn open(addr: IpAddr, port: u16) -> io::Result<UdpSocket> {
    let socket = socket(addr)?;
    socket.bind(&SocketAddr::new(addr, port).into())?;
    Ok(socket.into())
}

fn socket(addr: IpAddr) -> io::Result<Socket> {
    let socket =
        Socket::new(Domain::for_address(SocketAddr::new(addr, 0)), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    socket.set_recv_buffer_size(BUFFER)?;
    // Voice (RFC 4594 §4.1): expedited forwarding. Where the kernel refuses it calls go on without.
    let _ = if addr.is_ipv4() { socket.set_tos_v4(0xb8) } else { socket.set_tclass_v6(0xb8) };
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A range of so many ports that are free just now at every address, for the test of that number alone.
    fn range(test: u16, ports: u16) -> RangeInclusive<u16> {
        let free = |port: &u16| {
            (0..ports).all(|above| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port + above)).is_ok())
        };
        let own = 24_000 + test * 1_000;
        let first = (own..own + 1_000).step_by(100).find(free).expect("a free range");
        first..=first + ports - 1
    }

    #[test]
    fn pairs_are_opened_until_there_is_none_and_the_longest_free_one_is_taken_first() {
        let range = range(0, 7);
        let mut ports = Ports::new(Ipv4Addr::LOCALHOST.into(), range.clone(), 0, 1);
        let taken: Vec<Pair> = (0..3).map(|_| ports.open(true).expect("a pair")).collect();
        assert_eq!(taken.iter().map(|pair| pair.port - range.start()).collect::<Vec<_>>(), [0, 2, 4]);
        for pair in &taken {
            assert_eq!(pair.rtp.local_addr().unwrap().port(), pair.port);
            assert_eq!(pair.rtcp.local_addr().unwrap().port(), pair.port + 1);
        }
        assert!(matches!(ports.open(true), Err(NoPort::Exhausted(3))));
        let [first, second, _third] = <[Pair; 3]>::try_from(taken).expect("three");
        for pair in [second, first] {
            ports.free(pair.port);
        }
        assert_eq!((ports.used(), ports.open(true).expect("a pair").port), (1, range.start() + 2));
    }

    #[test]
    fn a_pair_that_another_program_holds_is_passed_over() {
        let range = range(1, 6);
        let other = UdpSocket::bind((Ipv4Addr::LOCALHOST, range.start() + 1)).expect("the first RTCP port");
        let mut ports = Ports::new(Ipv4Addr::LOCALHOST.into(), range.clone(), 0, 1);
        assert_eq!(ports.open(true).expect("a pair").port, range.start() + 2);
        assert_eq!(ports.used(), 1);
        drop(other);
    }

    #[test]
    fn shares_of_a_range_have_nothing_in_common() {
        let share = |share| Ports::new(Ipv4Addr::LOCALHOST.into(), 20_001..=20_010, share, 2).free;
        assert_eq!(
            (share(0), share(1)),
            (VecDeque::from([20_002, 20_006]), VecDeque::from([20_004, 20_008]))
        );
    }

    #[test]
    fn a_port_is_opened_once_more_and_heard_from_everybody() {
        let range = range(2, 2);
        let mut ports = Ports::new(Ipv4Addr::LOCALHOST.into(), range, 0, 1);
        let pair = ports.open(true).expect("a pair");
        let [one, two] = [0; 2].map(|_| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port"));
        pair.rtp.connect(one.local_addr().unwrap()).expect("connected");
        let here = pair.rtp.local_addr().unwrap();
        let again = reopened(&pair.rtp, here.ip()).expect("open");
        drop(pair.rtp);
        two.send_to(b"two", here).expect("sent");
        again.set_nonblocking(false).expect("blocking");
        let mut buffer = [0; 8];
        assert_eq!(again.recv_from(&mut buffer).expect("heard"), (3, two.local_addr().unwrap()));
        assert!(UdpSocket::bind(here).is_err(), "nobody else gets it");
    }

    #[test]
    fn at_any_address_of_both_families_each_side_has_ports_of_its_own() {
        let range = range(3, 4);
        let mut ports = Ports::new(Ipv6Addr::UNSPECIFIED.into(), range, 0, 1);
        let families = [true, false].map(|is_ipv4| {
            let pair = ports.open(is_ipv4).expect("a pair");
            [pair.rtp, pair.rtcp].map(|socket| socket.local_addr().unwrap().is_ipv4())
        });
        assert_eq!(families, [[true; 2], [false; 2]]);
    }

    #[test]
    fn a_port_that_was_heard_at_any_address_is_so_again() {
        let any = IpAddr::from(Ipv4Addr::UNSPECIFIED);
        let mut ports = Ports::new(any, range(9, 2), 0, 1);
        let pair = ports.open(true).expect("a pair");
        let phone = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        pair.rtp.connect(phone.local_addr().unwrap()).expect("connected");
        let again = reopened(&pair.rtp, any).expect("open");
        drop(pair.rtp);
        let moved = UdpSocket::bind((Ipv4Addr::new(127, 0, 0, 2), 0)).expect("a port");
        moved.send_to(b"here", (Ipv4Addr::new(127, 0, 0, 2), pair.port)).expect("sent");
        again.set_nonblocking(false).expect("blocking");
        again.set_read_timeout(Some(std::time::Duration::from_secs(5))).expect("a time");
        assert_eq!(again.recv_from(&mut [0; 8]).expect("heard"), (4, moved.local_addr().unwrap()));
    }
}
