//! One UDP socket of one listener and one shard: at most 64 datagrams a receive, the whole turn's datagrams in
//! one send. System calls are what a datagram costs, so a turn makes one of each kind and hardly ever one to hear
//! `EAGAIN`, and where nothing else can come, it waits in the receive call itself.

use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, SockaddrIn, SockaddrIn6, setsockopt, sockopt};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::kernel::{Arrival, Delivery, FEW, Headers, Kernel, REST, STRIDE};
use super::shed::{self, Lots, Share};
use super::sources::Sources;
use super::{icmp, nudge};

pub use super::kernel::{BATCH, Counts};

/// Asked of the kernel for each socket: about 3,500 datagrams of 1 KB, with the kernel's own overhead.
const RECEIVE_BUFFER: usize = 8 << 20;

/// The longest wait in a receive call, to the kernel's next tick. A timer is late by so much at most; SIP's shortest is
/// 500 ms (T1).
pub const LONGEST_WAIT: Duration = Duration::from_millis(20);

/// Datagrams kept when the kernel's send buffer is full: two turns' worth at the most usual two datagrams out
/// for one in. UDP may lose, and SIP repeats: what does not fit is dropped and counted.
pub const KEPT: usize = 256;

/// Opens and binds a socket: own buffers, timestamps and the drop counter asked for, errors by ICMP reported.
///
/// `shared`: several shards bind the same address and the kernel spreads the peers over them (`SO_REUSEPORT`).
/// `addr` may have port 0; an IPv6 socket never takes IPv4 traffic. One of all our addresses hears which of them each
/// datagram came to.
pub fn bind(addr: SocketAddr, shared: bool) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP))?;
    let all = addr.ip().is_unspecified();
    if addr.is_ipv6() {
        socket.set_only_v6(true)?;
        setsockopt(&socket, sockopt::Ipv6RecvErr, &true)?;
        setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &all)?;
    } else {
        setsockopt(&socket, sockopt::Ipv4RecvErr, &true)?;
        setsockopt(&socket, sockopt::Ipv4PacketInfo, &all)?;
    }
    if shared {
        socket.set_reuse_port(true)?;
    }
    // Forcing it past `net.core.rmem_max` needs CAP_NET_ADMIN; otherwise the kernel gives what it allows.
    if setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER).is_err() {
        socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
    }
    let given = socket.recv_buffer_size()?;
    if given < RECEIVE_BUFFER {
        tracing::info!(
            given,
            asked = RECEIVE_BUFFER,
            "a smaller UDP receive buffer; raise net.core.rmem_max"
        );
    }
    setsockopt(&socket, sockopt::RxqOvfl, &1)?;
    setsockopt(&socket, sockopt::ReceiveTimestampns, &true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    Ok(socket.into())
}

/// One datagram as the shard's loop reads it. The bytes do not outlive the turn.
pub struct Datagram<'a> {
    pub from: SocketAddr,
    pub bytes: &'a [u8],
    /// When the kernel got it, in µs of wall time since 1970; 0 when it did not say.
    pub stamp: u64,
}

/// How a wait in the receive call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waited {
    /// Datagrams came: the next [`Port::receive`] has them.
    Came,
    /// None did.
    Silence,
    /// The kernel told an error of some earlier datagram: [`Port::read_errors`] says whose.
    Failed,
}

/// One UDP socket with its buffers. Lives on its shard's thread.
pub struct Port {
    socket: Rc<AsyncFd<UdpSocket>>,
    kernel: Kernel,
    /// 64 slots of 64 KiB; the kernel gives a page only once a datagram has touched it.
    buffer: Vec<u8>,
    arrivals: Vec<Arrival>,
    /// How many slots the next receive offers: all once `FEW` were filled.
    offered: usize,
    /// This turn's datagrams: where to, and where they stand in the turn's bytes.
    outgoing: Vec<(SocketAddr, Range<usize>)>,
    kept: VecDeque<(SocketAddr, Box<[u8]>)>,
    /// Waits until the kernel takes more. Only then: a socket registered for writing all the time would wake
    /// us whenever a datagram has left.
    writable: Option<AsyncFd<UdpSocket>>,
    /// A wait has filled `arrivals`; whether there may be more.
    waited: Option<bool>,
    overflow_total: u32,
    may_shed: bool,
    /// What the kernel drops of new INVITEs.
    lots: Lots,
    /// Those that it let through.
    calls: u32,
    counts: Counts,
}

impl Port {
    /// Takes a socket of [`bind`] into the tokio runtime of this thread. `sources`: where it is bound to all our
    /// addresses, what the listener's ports know together.
    pub fn new(socket: UdpSocket, sources: Option<Arc<Sources>>) -> io::Result<Port> {
        let kernel = match socket.local_addr()? {
            SocketAddr::V4(_) => Kernel::V4(Headers::new(sources)),
            SocketAddr::V6(_) => Kernel::V6(Headers::new(sources)),
        };
        // Every call but that of `wait` says itself that it does not wait.
        socket.set_nonblocking(false)?;
        socket.set_read_timeout(Some(LONGEST_WAIT))?;
        let may_shed = SockRef::from(&socket).recv_buffer_size()? >= RECEIVE_BUFFER / 2;
        Ok(Port {
            socket: Rc::new(register(socket, Interest::READABLE | Interest::ERROR)?),
            kernel,
            buffer: vec![0; BATCH * STRIDE],
            arrivals: Vec::with_capacity(BATCH),
            offered: FEW,
            outgoing: Vec::with_capacity(2 * BATCH),
            kept: VecDeque::new(),
            writable: None,
            waited: None,
            overflow_total: 0,
            may_shed,
            lots: Lots::default(),
            calls: 0,
            counts: Counts::default(),
        })
    }

    /// The socket, for the task that waits for its error queue ([`icmp::watch`]).
    pub fn socket(&self) -> Rc<AsyncFd<UdpSocket>> {
        Rc::clone(&self.socket)
    }

    /// Whether this port can send to `addr` at all (same address family).
    pub fn reaches(&self, addr: SocketAddr) -> bool {
        matches!(
            (&self.kernel, addr),
            (Kernel::V4(_), SocketAddr::V4(_)) | (Kernel::V6(_), SocketAddr::V6(_))
        )
    }

    /// Ready when there is something to receive, or when kept datagrams can go.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let readable = self.socket.poll_read_ready(cx).is_ready();
        let writable = self.writable.as_ref().is_some_and(|w| w.poll_write_ready(cx).is_ready());
        if readable || writable { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Receives up to 64 datagrams with one system call, if the kernel said that there are some; those that a wait
    /// brought, without any. True: there may be more.
    pub fn receive(&mut self) -> bool {
        if let Some(more) = self.waited.take() {
            return more;
        }
        self.arrivals.clear();
        let socket = Rc::clone(&self.socket);
        let outcome = socket.try_io(Interest::READABLE, |_| {
            // Fewer than asked for: the queue is empty. The driver is told so without another call.
            if self.take(MsgFlags::MSG_DONTWAIT)? { Ok(()) } else { Err(io::ErrorKind::WouldBlock.into()) }
        });
        match outcome {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => false,
            // An error of some earlier datagram (ICMP), taken by this call; datagrams may still wait.
            Err(_) => true,
        }
    }

    /// Whether datagrams wait for room to leave: only the runtime hears of it.
    pub fn is_blocked(&self) -> bool {
        self.writable.is_some()
    }

    /// Whether the kernel refused a datagram since [`Port::take_counts`], perhaps for an error of an earlier one:
    /// [`Port::read_errors`] says whose.
    pub fn was_refused(&self) -> bool {
        self.counts.refused > 0
    }

    /// What wakes this thread from [`Port::wait`].
    pub fn waker(&self) -> io::Result<Waker> {
        nudge::waker(self.socket.get_ref())
    }

    /// Waits for datagrams in the receive call, at most [`LONGEST_WAIT`]. The thread does nothing else meanwhile,
    /// and is spared the way through the runtime: a third of what a wake-up for one datagram costs.
    pub fn wait(&mut self) -> Waited {
        match self.take(MsgFlags::MSG_WAITFORONE) {
            Ok(more) => {
                self.waited = Some(more);
                Waited::Came
            }
            Err(Errno::EAGAIN | Errno::EINTR) => Waited::Silence,
            Err(_) => Waited::Failed,
        }
    }

    /// What has come, in one receive call; in two where it is more than [`FEW`] for the first time, because what is
    /// there at the same time belongs to the same turn (R8). True: there may be more.
    fn take(&mut self, flags: MsgFlags) -> nix::Result<bool> {
        self.arrivals.clear();
        let offered = self.offered;
        let mut full = self.fill(flags, offered)?;
        if full && offered == FEW {
            full = match self.fill(MsgFlags::MSG_DONTWAIT, REST) {
                Ok(full) => full,
                Err(Errno::EAGAIN) => false,
                // Of some earlier datagram (ICMP): what came is no worse for it.
                Err(_) => true,
            };
        }
        self.offered = if self.arrivals.len() > FEW { BATCH } else { FEW };
        Ok(full)
    }

    /// One receive call with so many slots, after those that are filled. True: it filled all of them.
    fn fill(&mut self, flags: MsgFlags, slots: usize) -> nix::Result<bool> {
        let Port { socket, kernel, buffer, arrivals, overflow_total, calls, lots, counts, .. } = self;
        let before = arrivals.len();
        counts.receives += 1;
        let free = &mut buffer[before * STRIDE..];
        let overflow = kernel.receive(socket.as_raw_fd(), flags, slots, free, arrivals)?;
        let came = free
            .chunks_exact(STRIDE)
            .zip(&arrivals[before..])
            .filter(|(slot, arrival)| shed::is_call_to_a_number(&slot[..arrival.len]));
        let came = u32::try_from(came.count()).unwrap_or(u32::MAX);
        *calls += came;
        lots.expect(came);
        if let Some(total) = overflow {
            let more = u64::from(total.wrapping_sub(*overflow_total));
            let shed = lots.were(more);
            (counts.shed, counts.dropped) = (counts.shed + shed, counts.dropped + more - shed);
            *overflow_total = total;
        }
        let full = arrivals.len() - before == slots;
        if !full {
            lots.settle();
        }
        Ok(full)
    }

    /// The datagrams of the last [`Port::receive`].
    pub fn datagrams(&self) -> impl Iterator<Item = Datagram<'_>> {
        self.buffer.chunks_exact(STRIDE).zip(&self.arrivals).map(|(slot, arrival)| Datagram {
            from: arrival.from,
            bytes: &slot[..arrival.len],
            stamp: arrival.stamp,
        })
    }

    /// When the kernel got the last datagram of the last [`Port::receive`]: what still waits came later.
    pub fn newest(&self) -> Option<u64> {
        self.arrivals.last().map(|arrival| arrival.stamp)
    }

    /// Datagrams that the kernel dropped since [`Port::take_counts`].
    pub fn dropped(&self) -> u64 {
        self.counts.dropped
    }

    /// Whether the kernel may drop new INVITEs for it. While it does, nobody sees what finds no room: a small buffer must
    /// tell of its losses.
    pub fn may_shed(&self) -> bool {
        self.may_shed
    }

    /// New calls that came since it was last asked, of those that the kernel may drop.
    pub fn take_calls(&mut self) -> u32 {
        std::mem::take(&mut self.calls)
    }

    /// Lets the kernel drop that share of the new INVITEs from now on (see [`shed`]).
    pub fn shed(&mut self, share: Share) {
        if share == self.lots.share() {
            return;
        }
        match shed::set(self.socket.get_ref(), share) {
            Ok(()) => self.lots.draw(share),
            // What it dropped up to now, it drops until it is told otherwise.
            Err(_) => self.may_shed = false,
        }
    }

    /// Notes a datagram of this turn; [`Port::flush`] sends it.
    pub fn push(&mut self, to: SocketAddr, range: Range<usize>) {
        self.outgoing.push((to, range));
    }

    /// Sends what was pushed, 64 a call. What the kernel refuses for its destination goes to `failed`.
    pub fn flush(&mut self, wire: &[u8], failed: &mut Vec<SocketAddr>) {
        if !self.kept.is_empty() {
            self.resume(failed);
        }
        let mut outgoing = std::mem::take(&mut self.outgoing);
        let mut rest = outgoing.as_slice();
        while !rest.is_empty() && self.kept.is_empty() {
            let batch = &rest[..rest.len().min(BATCH)];
            let datagrams = batch.iter().map(|(to, range)| (*to, &wire[range.clone()]));
            match self.kernel.deliver(self.socket.get_ref().as_raw_fd(), datagrams, &mut self.counts, failed)
            {
                Delivery::Done(sent) => rest = &rest[sent..],
                Delivery::Blocked(sent) => {
                    rest = &rest[sent..];
                    break;
                }
            }
        }
        for (to, range) in rest {
            self.keep(*to, &wire[range.clone()]);
        }
        outgoing.clear();
        self.outgoing = outgoing;
    }

    /// What was counted since the last call.
    pub fn take_counts(&mut self) -> Counts {
        std::mem::take(&mut self.counts)
    }

    /// Datagrams that wait for the kernel to take them.
    pub fn kept(&self) -> usize {
        self.kept.len()
    }

    fn keep(&mut self, to: SocketAddr, bytes: &[u8]) {
        if self.writable.is_none() {
            let again = self.socket.get_ref().try_clone();
            self.writable = again.and_then(|socket| register(socket, Interest::WRITABLE)).ok();
        }
        if self.kept.len() >= KEPT || self.writable.is_none() {
            self.counts.overflowed += 1;
        } else {
            self.kept.push_back((to, bytes.into()));
        }
    }

    /// Sends what was kept, once the kernel takes more.
    fn resume(&mut self, failed: &mut Vec<SocketAddr>) {
        let fd = self.socket.get_ref().as_raw_fd();
        while !self.kept.is_empty() {
            let datagrams = self.kept.iter().take(BATCH).map(|(to, bytes)| (*to, &**bytes));
            match self.kernel.deliver(fd, datagrams, &mut self.counts, failed) {
                Delivery::Done(sent) => drop(self.kept.drain(..sent)),
                Delivery::Blocked(sent) => {
                    self.kept.drain(..sent);
                    if let Some(writable) = &self.writable {
                        // Nothing is written here: it only tells the driver that the buffer is full again.
                        let _blocked = writable.try_io(Interest::WRITABLE, |_| -> io::Result<()> {
                            Err(io::ErrorKind::WouldBlock.into())
                        });
                    }
                    return;
                }
            }
        }
        self.writable = None;
    }

    /// Reads the error queue: destinations that ICMP says cannot be reached (RFC 3261 §18.4).
    pub fn read_errors(&mut self, unreachable: &mut Vec<SocketAddr>) {
        let fd = self.socket.get_ref().as_raw_fd();
        match self.kernel {
            Kernel::V4(_) => icmp::read::<SockaddrIn>(fd, unreachable),
            Kernel::V6(_) => icmp::read::<SockaddrIn6>(fd, unreachable),
        }
    }
}

/// Registers a socket with the runtime of this thread, for these events alone: `tokio::net::UdpSocket` would
/// always be told that there is room to send, which is a wake-up for each datagram that has left.
#[expect(
    deprecated,
    reason = "its successor is an unsafe fn, for descriptors that may change; a UdpSocket's does not"
)]
fn register(socket: UdpSocket, interest: Interest) -> io::Result<AsyncFd<UdpSocket>> {
    AsyncFd::with_interest(socket, interest)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A port of a small receive buffer on loopback, and a socket that sends to it.
    fn port() -> (Port, UdpSocket, SocketAddr) {
        let socket = bind("127.0.0.1:0".parse().unwrap(), false).unwrap();
        setsockopt(&socket, sockopt::RcvBuf, &4096).unwrap();
        let addr = socket.local_addr().unwrap();
        let phone = UdpSocket::bind("127.0.0.1:0").unwrap();
        phone.set_read_timeout(Some(std::time::Duration::from_secs(5))).unwrap();
        (Port::new(socket, None).unwrap(), phone, addr)
    }

    fn on_loopback(test: impl AsyncFnOnce(Port, UdpSocket, SocketAddr)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (port, phone, addr) = port();
            test(port, phone, addr).await;
        });
    }

    async fn ready(port: &mut Port) {
        std::future::poll_fn(|cx| port.poll(cx)).await;
    }

    #[test]
    fn what_the_kernel_dropped_is_counted_and_timestamps_survive_it() {
        on_loopback(async |mut port, phone, addr| {
            for _ in 0..200 {
                phone.send_to(&[b'x'; 500], addr).unwrap();
            }
            let mut got = 0;
            for _ in 0..3 {
                ready(&mut port).await;
                let _more = port.receive();
                got += port.datagrams().count() as u64;
                // The running count comes with the next datagram that finds room.
                phone.send_to(b"next", addr).unwrap();
            }
            ready(&mut port).await;
            let _more = port.receive();
            assert!(port.datagrams().all(|datagram| datagram.stamp > 0));
            got += port.datagrams().count() as u64;
            let dropped = port.take_counts().dropped;
            assert_eq!((got + dropped, dropped > 0), (203, true));
        });
    }

    #[test]
    fn a_burst_is_taken_in_few_calls_and_silence_costs_none() {
        on_loopback(async |mut port, phone, addr| {
            setsockopt(port.socket.get_ref(), sockopt::RcvBufForce, &RECEIVE_BUFFER).unwrap_or_default();
            phone.send_to(b"one", addr).unwrap();
            ready(&mut port).await;
            assert!(!port.receive(), "one of four: nothing more");
            assert_eq!(port.datagrams().map(|d| d.bytes.to_vec()).collect::<Vec<_>>(), [b"one"]);
            assert!(!port.receive());
            assert_eq!(port.take_counts().receives, 1, "nothing ready, no call");
            for number in 0..FEW + 2 {
                phone.send_to(&[number as u8], addr).unwrap();
            }
            ready(&mut port).await;
            assert!(!port.receive(), "all of them at once, and nothing more");
            let came: Vec<u8> = port.datagrams().map(|d| d.bytes[0]).collect();
            assert_eq!(came, (0..FEW as u8 + 2).collect::<Vec<_>>());
        });
    }

    #[test]
    fn a_wait_ends_with_a_datagram_or_in_silence_or_with_the_error_of_an_earlier_one() {
        on_loopback(async |mut port, phone, addr| {
            assert_eq!(port.wait(), Waited::Silence);
            for text in [b"one", b"two"] {
                phone.send_to(text, addr).unwrap();
            }
            assert_eq!(port.wait(), Waited::Came);
            assert!(!port.receive(), "two of four: nothing more");
            assert_eq!(port.datagrams().map(|d| d.bytes.to_vec()).collect::<Vec<_>>(), [b"one", b"two"]);
            assert_eq!(port.take_counts().receives, 2, "what a wait brought is not asked for again");
            port.waker().unwrap().wake();
            assert_eq!(port.wait(), Waited::Came);
            port.receive();
            assert_eq!(port.datagrams().map(|d| d.bytes.len()).collect::<Vec<_>>(), [0]);
            // Nobody has its port any more.
            let gone = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
            let (mut failed, mut unreachable) = (Vec::new(), Vec::new());
            port.push(gone, 0..4);
            port.flush(b"lost", &mut failed);
            // The news comes by loopback's own way, which another thread may be at work on.
            while port.wait() == Waited::Silence {}
            port.read_errors(&mut unreachable);
            assert_eq!((failed, unreachable), (vec![], vec![gone]));
        });
    }

    #[test]
    fn an_error_that_a_send_hears_first_is_still_told_of_whom_it_is() {
        on_loopback(async |mut port, phone, _| {
            let gone = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
            let there = phone.local_addr().unwrap();
            let (mut failed, mut unreachable) = (Vec::new(), Vec::new());
            port.push(gone, 0..4);
            port.flush(b"lost", &mut failed);
            let mut sent = 0;
            while !port.was_refused() {
                port.push(there, 0..4);
                port.flush(b"here", &mut failed);
                sent += 1;
            }
            port.read_errors(&mut unreachable);
            assert_eq!((failed, unreachable), (vec![], vec![gone]));
            for _ in 0..sent {
                assert_eq!(phone.recv(&mut [0; 16]).unwrap(), 4, "the others went all the same");
            }
        });
    }

    #[test]
    fn r14_what_the_kernel_drops_by_lot_is_no_loss_and_what_finds_no_room_is_one() {
        /// What comes of so many datagrams and one more, which passes and brings the kernel's count along.
        async fn take(port: &mut Port, phone: &UdpSocket, text: &str, sent: usize) -> (usize, u64, u64) {
            let addr = port.socket.get_ref().local_addr().unwrap();
            (0..sent).for_each(|_| assert_eq!(phone.send_to(text.as_bytes(), addr).unwrap(), text.len()));
            let mut came = 0;
            for _ in 0..2 {
                phone.send_to(b"BYE", addr).unwrap();
                ready(port).await;
                port.receive();
                came += port.datagrams().filter(|datagram| datagram.bytes != b"BYE").count();
            }
            let counts = port.take_counts();
            (came, counts.shed, counts.dropped)
        }
        on_loopback(async |mut port, phone, _| {
            assert!(!port.may_shed(), "so small a buffer has to tell of its losses");
            let invite = "INVITE sip:+15550100@127.0.0.1 SIP/2.0";
            port.shed(255);
            let (came, shed, dropped) = take(&mut port, &phone, invite, 8).await;
            assert_eq!((came as u64 + shed, shed > 0, dropped), (8, true, 0));
            port.shed(0);
            assert_eq!(take(&mut port, &phone, invite, 3).await, (3, 0, 0));
            let (came, shed, dropped) = take(&mut port, &phone, &invite.repeat(20), 200).await;
            assert_eq!((came as u64 + dropped >= 200, dropped > 0, shed), (true, true, 0));
        });
    }

    #[test]
    fn datagrams_that_the_kernel_does_not_take_are_kept_in_order_and_bounded() {
        on_loopback(async |mut port, phone, _| {
            let to = phone.local_addr().unwrap();
            for number in 0..KEPT + 3 {
                port.keep(to, number.to_string().as_bytes());
            }
            assert_eq!((port.kept(), port.take_counts().overflowed), (KEPT, 3));
            ready(&mut port).await;
            port.push(to, 0..4);
            let mut failed = Vec::new();
            port.flush(b"last", &mut failed);
            let mut buffer = [0; 16];
            // As many as surely find room in the far end's receive buffer.
            for number in 0..50 {
                let len = phone.recv(&mut buffer).unwrap();
                assert_eq!(buffer[..len], *number.to_string().as_bytes());
            }
            assert_eq!((port.kept(), failed), (0, vec![]));
        });
    }
}
