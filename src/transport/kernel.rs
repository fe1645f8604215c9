//! The receive and send calls of one UDP socket: many datagrams each, addresses in the shape of its family.

use std::io::{IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::RawFd;
use std::sync::Arc;

use nix::cmsg_space;
use nix::errno::Errno;
use nix::libc::in6_pktinfo;
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, MultiHeaders, SockaddrIn, SockaddrIn6, recvmmsg, sendmmsg,
};
use nix::sys::time::TimeSpec;
use smallvec::SmallVec;

use super::address::{Address, asked};
use super::sources::Sources;

/// Datagrams of one receive or send call: one turn of a shard takes no more before it looks at its inbox and
/// its timers.
pub const BATCH: usize = 64;

/// Slots offered to the kernel while less than this comes at a time: a thread that sleeps between datagrams finds
/// its caches cold, and every slot offered is touched.
pub(super) const FEW: usize = 4;

/// Slots of a batch beside the few.
pub(super) const REST: usize = BATCH - FEW;

/// The longest datagram (the 16-bit length of UDP).
const LONGEST: usize = 65_535;

/// Datagrams of one send that need no allocation. Room for all of a batch would be 3 KB of cold stack each time.
const USUAL: usize = 4;

/// The distance between two slots of the receive buffer. Not a power of two: with slots 64 KiB apart the first
/// lines of all of them would compete for the same few lines of the processor's caches.
pub(super) const STRIDE: usize = LONGEST + 1 + 17 * 64;

/// In place of an address that is not known.
const NOBODY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// One received datagram, still in its slot of the receive buffer.
pub(super) struct Arrival {
    pub len: usize,
    pub from: SocketAddr,
    /// When the kernel got it, in µs of wall time since 1970; 0 when it did not say.
    pub stamp: u64,
}

/// What a port did since it was last asked; the loop publishes it once a turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Receive and send calls into the kernel, those that only heard `EAGAIN` included.
    pub receives: u64,
    pub sends: u64,
    /// Datagrams that the kernel dropped because our receive buffer was full (`SO_RXQ_OVFL`).
    pub dropped: u64,
    /// New INVITEs that the kernel dropped because we asked for it.
    pub shed: u64,
    /// Datagrams dropped because the kernel's send buffer and ours were full.
    pub overflowed: u64,
    /// Datagrams that the kernel did not take at first, for an error of theirs or of an earlier one (ICMP).
    pub refused: u64,
}

/// The outcome of one attempt to send a batch; the number counts what is settled, sent or refused.
pub(super) enum Delivery {
    Done(usize),
    Blocked(usize),
}

/// The kernel's view of one socket: its address family decides the shape of every address.
pub(super) enum Kernel {
    V4(Headers<SockaddrIn>),
    V6(Headers<SockaddrIn6>),
}

impl Kernel {
    pub fn receive(
        &mut self,
        fd: RawFd,
        flags: MsgFlags,
        offered: usize,
        buffer: &mut [u8],
        arrivals: &mut Vec<Arrival>,
    ) -> nix::Result<Option<u32>> {
        match (self, offered) {
            (Kernel::V4(headers), ..=FEW) => headers.receive::<FEW>(fd, flags, buffer, arrivals),
            (Kernel::V4(headers), ..=REST) => headers.receive::<REST>(fd, flags, buffer, arrivals),
            (Kernel::V4(headers), _) => headers.receive::<BATCH>(fd, flags, buffer, arrivals),
            (Kernel::V6(headers), ..=FEW) => headers.receive::<FEW>(fd, flags, buffer, arrivals),
            (Kernel::V6(headers), ..=REST) => headers.receive::<REST>(fd, flags, buffer, arrivals),
            (Kernel::V6(headers), _) => headers.receive::<BATCH>(fd, flags, buffer, arrivals),
        }
    }

    /// Sends up to 64 datagrams. The call stops at the first one that the kernel refuses; that one is tried
    /// once more, because the first refusal may belong to an earlier datagram (ICMP), and then given up.
    pub fn deliver<'a>(
        &mut self,
        fd: RawFd,
        datagrams: impl ExactSizeIterator<Item = (SocketAddr, &'a [u8])> + Clone,
        counts: &mut Counts,
        failed: &mut Vec<SocketAddr>,
    ) -> Delivery {
        let mut settled = 0;
        let mut refused = false;
        while settled < datagrams.len() {
            counts.sends += 1;
            let rest = datagrams.clone().skip(settled);
            let outcome = match self {
                Kernel::V4(headers) => headers.send(fd, rest),
                Kernel::V6(headers) => headers.send(fd, rest),
            };
            match outcome {
                Ok(sent) if sent > 0 => {
                    settled += sent;
                    refused = false;
                }
                Err(Errno::EAGAIN) => return Delivery::Blocked(settled),
                Err(Errno::EINTR) => {}
                Ok(_) | Err(_) if !refused => {
                    refused = true;
                    counts.refused += 1;
                }
                Ok(_) | Err(_) => {
                    failed.extend(datagrams.clone().nth(settled).map(|(to, _)| to));
                    settled += 1;
                    refused = false;
                }
            }
        }
        Delivery::Done(settled)
    }
}

/// The headers that both calls reuse.
pub(super) struct Headers<S> {
    receive: MultiHeaders<S>,
    send: MultiHeaders<S>,
    /// Where the listener has all our addresses.
    own: Option<Own<S>>,
}

/// From which of our addresses datagrams leave, and the headers that say so.
struct Own<S> {
    sources: Arc<Sources>,
    send: MultiHeaders<S>,
}

impl<S: Address> Headers<S> {
    pub fn new(sources: Option<Arc<Sources>>) -> Self {
        let own = sources.map(|sources| Own {
            sources,
            send: MultiHeaders::preallocate(BATCH, Some(cmsg_space!(S::Own))),
        });
        Headers { receive: receive_headers(own.is_some()), send: MultiHeaders::preallocate(BATCH, None), own }
    }

    /// One `recvmmsg`; gives the kernel's running count of drops when it sent one along.
    fn receive<const OFFERED: usize>(
        &mut self,
        fd: RawFd,
        flags: MsgFlags,
        buffer: &mut [u8],
        arrivals: &mut Vec<Arrival>,
    ) -> nix::Result<Option<u32>> {
        let mut slots = buffer.chunks_exact_mut(STRIDE);
        let mut slices: [[IoSliceMut<'_>; 1]; OFFERED] = std::array::from_fn(|_| {
            [IoSliceMut::new(slots.next().map_or(&mut [], |slot| &mut slot[..LONGEST]))]
        });
        let mut overflow = None;
        let mut truncated = false;
        let received = recvmmsg(fd, &mut self.receive, slices.iter_mut(), flags, None)?;
        for message in received {
            let from = message.address.map(S::plain);
            let mut stamp = 0;
            match message.cmsgs() {
                Ok(extras) => {
                    for extra in extras {
                        if let ControlMessageOwned::ScmTimestampns(at) = extra {
                            stamp = micros(at);
                        } else if let ControlMessageOwned::RxqOvfl(total) = extra {
                            overflow = Some(total);
                        } else if let (Some(own), Some(from), Some(addr)) = (&self.own, from, asked(&extra)) {
                            own.sources.learn(from, addr);
                        }
                    }
                }
                Err(_) => truncated = true,
            }
            // The kernel names the sender of each; one without would be an empty datagram of nobody.
            let len = if from.is_some() { message.bytes } else { 0 };
            arrivals.push(Arrival { len, from: from.unwrap_or(NOBODY), stamp });
        }
        if truncated {
            // The crate gives the kernel as much room for control data as the call before used. The drop
            // count comes only once something was dropped, so then the headers are made anew, with full room;
            // the count is a running total, so none is missed.
            self.receive = receive_headers(self.own.is_some());
        }
        Ok(overflow)
    }

    /// One `sendmmsg`; how many the kernel took. Where the listener has all our addresses, it ends where the next
    /// datagram leaves from another one.
    fn send<'a>(
        &mut self,
        fd: RawFd,
        mut batch: impl Iterator<Item = (SocketAddr, &'a [u8])> + Clone,
    ) -> nix::Result<usize> {
        let Some(own) = &mut self.own else { return send(fd, &mut self.send, batch, &[]) };
        let Some((first, _)) = batch.clone().next() else { return Ok(0) };
        let source = own.sources.of(first);
        let together = std::iter::from_fn(|| batch.next().filter(|(to, _)| own.sources.of(*to) == source));
        let Some(info) = source.and_then(S::own) else { return send(fd, &mut self.send, together, &[]) };
        let outcome = send(fd, &mut own.send, together, &[S::control(&info)]);
        if outcome == Err(Errno::EINVAL) {
            own.sources.forget(first);
        }
        outcome
    }
}

fn send<'a, S: Address>(
    fd: RawFd,
    headers: &mut MultiHeaders<S>,
    batch: impl Iterator<Item = (SocketAddr, &'a [u8])>,
    extra: &[ControlMessage<'_>],
) -> nix::Result<usize> {
    let mut slices: SmallVec<[[IoSlice<'_>; 1]; USUAL]> = SmallVec::new();
    let mut addrs: SmallVec<[Option<S>; USUAL]> = SmallVec::new();
    for (to, bytes) in batch {
        slices.push([IoSlice::new(bytes)]);
        addrs.push(S::of(to));
    }
    let sent = sendmmsg(fd, headers, slices.iter(), addrs, extra, MsgFlags::MSG_DONTWAIT)?;
    Ok(sent.count())
}

/// `own`: with room for which of our addresses a datagram came to; the longer one of the two families.
fn receive_headers<S: Address>(own: bool) -> MultiHeaders<S> {
    let room = if own { cmsg_space!(TimeSpec, u32, in6_pktinfo) } else { cmsg_space!(TimeSpec, u32) };
    MultiHeaders::preallocate(BATCH, Some(room))
}

fn micros(at: TimeSpec) -> u64 {
    let seconds = u64::try_from(at.tv_sec()).unwrap_or(0);
    seconds * 1_000_000 + u64::try_from(at.tv_nsec()).unwrap_or(0) / 1_000
}
