//! A node: its sockets, its shards and its `back` runtime, started and stopped as one. `serve`, `try` and the
//! tests all start one in their own process.

use std::cell::RefCell;
use std::convert::Infallible;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::{Builder, LocalOptions, Runtime};
use tokio::sync::{mpsc, watch};

use super::brief;
use super::capture::{self, Asker, Capture, Tap};
use super::clock::Clock;
use super::desk::{Place, SharedDesk};
use super::exchange::Effects;
use super::inbox::{Ended, Inbox, Slot, inbox};
use super::rate::{Line, Rate};
use super::shard::{Core, Notices, Owners, Seat, Shard, Surroundings};
use crate::media::counts::Counts;
use crate::media::plane::{Ears, Plane};
use crate::sip::peer::{ListenerId, Transport};
use crate::sip::shown::Sentence;
use crate::time::Now;
use crate::transport::guests::{Guests, NoRoom};
use crate::transport::sources::Sources;
use crate::transport::streams::{End, Failed, Opened, Secure, StreamLimits, Streams};
use crate::transport::tls::Tls;
use crate::transport::{accept, icmp, tcp, udp};

/// Threads of `back`: one may wait for the disk while the other answers `/metrics`.
const BACK_THREADS: usize = 2;

/// Messages and ends of a shard's streams that wait for its loop: 0.1 s of the new calls that one shard can carry, so
/// that an overload shows here (see `engine::exchange::admission`) before the streams' far ends feel it. A stream that
/// finds it full reads no more, and TCP tells the far end. Of the longest messages it holds 64 MB.
pub const STREAM_EVENTS: usize = 1024;

/// The most shards: a flow names its shard in one byte.
pub const MOST_SHARDS: usize = 256;

/// How long stopping waits for what runs in `back`.
const BACK_PATIENCE: Duration = Duration::from_secs(2);

/// How often a draining node asks its shards whether calls are left.
const DRAIN_STEP: Duration = Duration::from_millis(200);

/// One `[[listen]]`.
#[derive(Clone, Copy, Debug)]
pub struct Listen {
    pub transport: Transport,
    /// Port 0 is the kernel's choice.
    pub addr: SocketAddr,
    pub advertise: Option<SocketAddr>,
}

/// What a node is made of, beside its core.
pub struct Options {
    /// At most 256, in the order of the file: a [`ListenerId`] is a place in it.
    pub listeners: Vec<Listen>,
    /// Signalling threads, 1 to [`MOST_SHARDS`].
    pub shards: usize,
    /// Call records that may be under way to disk at once (R12).
    pub records: usize,
    pub stream_limits: StreamLimits,
    /// Connections of the node.
    pub connections: usize,
    /// Connections of one address that no trunk knows (R14).
    pub connections_per_stranger: usize,
    /// Whether an address belongs to a trunk.
    pub known: Box<dyn Fn(IpAddr) -> bool + Send + Sync>,
    /// Messages are captured.
    pub capture: Option<capture::Wanted>,
    /// How many threads carry audio, and what they are called in what they report. None: all audio passes us by.
    pub planes: Option<(usize, Arc<str>)>,
    /// What its listeners of TLS show, by their places.
    pub tls: Option<Arc<Tls>>,
}

impl Options {
    /// The limits of the call rules; strangers are everybody.
    pub fn new(listeners: Vec<Listen>) -> Options {
        Options {
            listeners,
            shards: 1,
            records: 65_536,
            stream_limits: StreamLimits::default(),
            connections: 10_000,
            connections_per_stranger: 32,
            known: Box::new(|_| false),
            capture: None,
            planes: None,
            tls: None,
        }
    }
}

impl Options {
    /// How many connections the node can hold: none where no listener is one of streams.
    pub fn most_connections(&self) -> usize {
        let streams = self.listeners.iter().any(|listen| listen.transport != Transport::Udp);
        if streams { self.connections } else { 0 }
    }
}

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("cannot listen on {transport} {addr}: {error}", transport = transport.uri_token())]
    Listen { transport: Transport, addr: SocketAddr, error: io::Error },
    #[error("transport {transport} is not served by this version; it would be udp, tcp or tls", transport = .0.uri_token())]
    NotServed(Transport),
    #[error("{0} would be listened on by TLS, without a certificate")]
    NoCertificate(SocketAddr),
    #[error("{0} shards; 1 to {MOST_SHARDS} are possible")]
    Shards(usize),
    #[error("{0} listeners; 1 to 256 are possible")]
    Listeners(usize),
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
}

/// What the maker of a shard's core is told.
pub struct Berth {
    /// Which shard, from 0, and of how many.
    pub shard: usize,
    pub shards: usize,
    pub clock: Clock,
    pub desk: Arc<SharedDesk>,
    /// What each listener is bound to, in order, with its real port.
    pub bound: Vec<SocketAddr>,
    /// The threads that carry audio; none: all audio passes the node by.
    pub planes: Arc<[Plane]>,
}

/// A running node.
pub struct Node<C: Core> {
    slots: Vec<Slot<C>>,
    threads: Vec<JoinHandle<()>>,
    ended: watch::Receiver<usize>,
    listening: Vec<(Transport, SocketAddr)>,
    desk: Arc<SharedDesk>,
    guests: Arc<Guests>,
    clock: Clock,
    capture: Option<Capture>,
    media: Box<[Arc<Counts>]>,
    back: Runtime,
}

impl<C: Core> fmt::Debug for Node<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node").field("listening", &self.listening).finish_non_exhaustive()
    }
}

impl<C: Core> Node<C> {
    /// Binds every socket, then starts the shards. When it returns, the node listens.
    ///
    /// `make` builds a shard's core, on the shard's own thread; `notices` gives each shard the end of its queue.
    pub fn start<O: Owners>(
        options: Options,
        owners: O,
        make: impl Fn(Berth) -> C + Send + Sync + 'static,
        mut notices: impl FnMut(usize) -> Box<dyn Notices<C::Notice>>,
    ) -> Result<Node<C>, StartError> {
        let shards = options.shards;
        if !(1..=MOST_SHARDS).contains(&shards) {
            return Err(StartError::Shards(shards));
        }
        for (place, listen) in options.listeners.iter().enumerate() {
            let serves = options.tls.as_ref().is_some_and(|tls| tls.serves(place));
            if listen.transport == Transport::Tls && !serves {
                return Err(StartError::NoCertificate(listen.addr));
            }
        }
        let mut sockets = bind_all(&options.listeners, shards)?;
        let bound: Vec<SocketAddr> = sockets[0].iter().map(|socket| socket.addr).collect();
        let listening =
            options.listeners.iter().map(|listen| listen.transport).zip(bound.iter().copied()).collect();
        let places = options.listeners.iter().zip(&bound);
        let places =
            places.map(|(listen, bound)| Place { bound: *bound, advertise: listen.advertise }).collect();
        let desk = SharedDesk::new(options.records, places);
        let (named, hosts) = (options.known, Arc::clone(&desk.hosts));
        let known = Box::new(move |ip| named(ip) || hosts.is_one_at(ip));
        let guests = Guests::new(options.connections, options.connections_per_stranger, known);
        let desk = Arc::new(desk.with_guests(Arc::clone(&guests)));
        let clock = Clock::start();
        let back =
            Builder::new_multi_thread().worker_threads(BACK_THREADS).thread_name("back").enable_all().build();
        let back = back.map_err(StartError::Thread)?;
        let places = sockets[0].iter().map(Bound::place).collect();
        let started = options.capture.map(|wanted| Capture::start(wanted, places, shards, back.handle()));
        let (capture, taps) = started.transpose().map_err(StartError::Thread)?.unzip();
        let mut taps = taps.unwrap_or_default();
        let (slots, inboxes): (Vec<Slot<C>>, Vec<Inbox<C>>) = (0..shards).map(|_| inbox()).unzip();
        let planes = start_planes(options.planes, &slots, clock).map_err(StartError::Thread)?;
        let (ended_to, ended) = watch::channel(0);
        let (made_to, made) = std::sync::mpsc::channel::<Infallible>();
        let make = Arc::new(make);
        let media = planes.iter().map(|plane| Arc::clone(plane.counts())).collect();
        let threads = Vec::new();
        let mut node = Node { slots, threads, ended, listening, desk, guests, clock, capture, media, back };
        for (index, inbox) in inboxes.into_iter().enumerate() {
            let berth = Berth {
                shard: index,
                shards,
                clock,
                desk: Arc::clone(&node.desk),
                bound: bound.clone(),
                planes: Arc::clone(&planes),
            };
            let thread = Thread {
                index,
                clock,
                owners,
                slots: node.slots.clone(),
                sockets: std::mem::take(&mut sockets[index]),
                limits: options.stream_limits,
                guests: Arc::clone(&node.guests),
                tls: options.tls.clone(),
                inbox,
                notices: notices(index),
                tap: taps.pop(),
            };
            let (make, ended_to, made_to) = (Arc::clone(&make), ended_to.clone(), made_to.clone());
            let made = move |core| {
                drop(made_to);
                core
            };
            let spawned = std::thread::Builder::new().name(format!("shard-{index}")).spawn(move || {
                if let Err(error) = thread.run(|| made(make(berth))) {
                    tracing::error!(shard = index, %error, "the shard could not start");
                }
                ended_to.send_modify(|count| *count += 1);
            });
            match spawned {
                Ok(handle) => node.threads.push(handle),
                Err(error) => {
                    taps.clear();
                    node.stop();
                    return Err(StartError::Thread(error));
                }
            }
        }
        // It is ready when every shard knows what it knew before; or has said why it could not start.
        drop(made_to);
        let _nothing_comes = made.recv();
        Ok(node)
    }

    /// What the node listens on, in the order of its listeners.
    pub fn listening(&self) -> &[(Transport, SocketAddr)] {
        &self.listening
    }

    pub fn desk(&self) -> &Arc<SharedDesk> {
        &self.desk
    }

    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// Connections held now, those being opened included.
    pub fn connections(&self) -> usize {
        self.guests.total()
    }

    /// The runtime for everything that is no call: HTTP, the feed, name lookups.
    pub fn back(&self) -> &Runtime {
        &self.back
    }

    /// Where the messages of calls are asked for, where they are captured.
    pub fn capture(&self) -> Option<Asker> {
        self.capture.as_ref().map(Capture::asker)
    }

    /// What the threads that carry audio have done, each of them.
    pub fn media(&self) -> &[Arc<Counts>] {
        &self.media
    }

    /// The shards' slots, for those who ask questions beside the node (the admin API).
    pub fn shards(&self) -> Shards<C> {
        Shards { slots: self.slots.clone() }
    }

    /// Waits until a shard has ended that nobody stopped: the node cannot go on.
    pub async fn broken(&self) {
        let mut ended = self.ended.clone();
        // The senders live in the shards' threads: closed means all have ended.
        let _closed = ended.wait_for(|count| *count > 0).await;
    }

    /// Ends every shard at once, then `back`. Not to be called from within `back`.
    pub fn stop(self) {
        let Node { slots, threads, capture, back, .. } = self;
        back.block_on(async {
            for slot in &slots {
                // One that has ended already needs no stopping.
                let _ended = slot.stop().await;
            }
        });
        drop(slots);
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a shard had panicked");
            }
        }
        if let Some(capture) = capture {
            capture.join();
        }
        back.shutdown_timeout(BACK_PATIENCE);
    }
}

/// Starts the threads that carry audio. What they tell goes to the shard whose call it is.
fn start_planes<C: Core>(
    wanted: Option<(usize, Arc<str>)>,
    slots: &[Slot<C>],
    clock: Clock,
) -> io::Result<Arc<[Plane]>> {
    let Some((threads, name)) = wanted else { return Ok(Arc::new([])) };
    let own = Arc::default();
    let start = |number| {
        let slots = slots.to_vec();
        let ears: Ears = Box::new(move |of, heard| match slots.get(usize::from(of.shard)) {
            Some(slot) => slot.audio(of, heard),
            None => Ok(()),
        });
        Plane::start_beside(Arc::clone(&own), number, name.to_string(), move || clock.read().now, ears)
    };
    (0..threads).map(start).collect()
}

/// The doors to all shards' cores.
pub struct Shards<C> {
    slots: Vec<Slot<C>>,
}

impl<C> Clone for Shards<C> {
    fn clone(&self) -> Self {
        Shards { slots: self.slots.clone() }
    }
}

impl<C: Core> Shards<C> {
    /// Asks every shard; the answers in the shards' order. A publication goes this way too: each shard takes the
    /// new table even when no traffic comes.
    pub async fn ask_all<R: Send + 'static>(
        &self,
        question: impl Fn(&mut C, Now, &mut Effects) -> R + Clone + Send + 'static,
    ) -> Result<Vec<R>, Ended> {
        futures::future::try_join_all(self.slots.iter().map(|slot| slot.ask(question.clone()))).await
    }

    /// Asks one shard.
    pub async fn ask<R: Send + 'static>(
        &self,
        shard: usize,
        question: impl FnOnce(&mut C, Now, &mut Effects) -> R + Send + 'static,
    ) -> Result<R, Ended> {
        self.slots.get(shard).ok_or(Ended)?.ask(question).await
    }

    /// Has every shard `begin` to drain, then waits until all say that they are empty, or for `limit`. True:
    /// they are.
    pub async fn drain(
        &self,
        begin: impl Fn(&mut C, Now, &mut Effects) + Clone + Send + 'static,
        is_empty: impl Fn(&C) -> bool + Clone + Send + 'static,
        limit: Duration,
    ) -> bool {
        let drained = async {
            self.ask_all(begin).await?;
            loop {
                let ask = is_empty.clone();
                if self.ask_all(move |core, _, _| ask(core)).await?.into_iter().all(|empty| empty) {
                    return Ok::<(), Ended>(());
                }
                tokio::time::sleep(DRAIN_STEP).await;
            }
        };
        matches!(tokio::time::timeout(limit, drained).await, Ok(Ok(())))
    }
}

/// A bound socket of one listener and one shard.
struct Bound {
    listener: ListenerId,
    addr: SocketAddr,
    socket: Kind,
    /// Where it is bound to all our addresses; the shards share it.
    sources: Option<Arc<Sources>>,
}

impl Bound {
    fn place(&self) -> capture::Place {
        capture::Place { bound: self.addr, sources: self.sources.clone() }
    }
}

enum Kind {
    Udp(std::net::UdpSocket),
    Stream(Transport, std::net::TcpListener),
}

/// Binds every listener once for each shard; the outer list goes by shard.
fn bind_all(listeners: &[Listen], shards: usize) -> Result<Vec<Vec<Bound>>, StartError> {
    if listeners.is_empty() {
        return Err(StartError::Listeners(0));
    }
    let mut sockets: Vec<Vec<Bound>> = (0..shards).map(|_| Vec::new()).collect();
    for (place, listen) in listeners.iter().enumerate() {
        let listener = ListenerId(u8::try_from(place).map_err(|_| StartError::Listeners(listeners.len()))?);
        let failed = |error| StartError::Listen { transport: listen.transport, addr: listen.addr, error };
        let shared = shards > 1;
        if shared {
            // With SO_REUSEPORT a second node would be let in silently; without it, it is refused here.
            bind(listen, listen.addr, false)?.map_err(failed)?;
        }
        let mut addr = listen.addr;
        let sources = addr.ip().is_unspecified().then(Arc::<Sources>::default);
        for sockets in &mut sockets {
            let (socket, bound) = bind(listen, addr, shared)?.map_err(failed)?;
            addr = bound;
            sockets.push(Bound { listener, addr, socket, sources: sources.clone() });
        }
    }
    Ok(sockets)
}

fn bind(
    listen: &Listen,
    addr: SocketAddr,
    shared: bool,
) -> Result<io::Result<(Kind, SocketAddr)>, StartError> {
    match listen.transport {
        Transport::Udp => Ok(udp::bind(addr, shared).and_then(|socket| {
            let bound = socket.local_addr()?;
            Ok((Kind::Udp(socket), bound))
        })),
        Transport::Tcp | Transport::Tls => Ok(tcp::bind(addr, shared).and_then(|socket| {
            let bound = socket.local_addr()?;
            Ok((Kind::Stream(listen.transport, socket), bound))
        })),
        Transport::Ws | Transport::Wss => Err(StartError::NotServed(listen.transport)),
    }
}

/// One shard's thread.
struct Thread<C: Core, O> {
    index: usize,
    clock: Clock,
    owners: O,
    slots: Vec<Slot<C>>,
    sockets: Vec<Bound>,
    limits: StreamLimits,
    guests: Arc<Guests>,
    tls: Option<Arc<Tls>>,
    inbox: Inbox<C>,
    notices: Box<dyn Notices<C::Notice>>,
    tap: Option<Tap>,
}

impl<C: Core, O: Owners> Thread<C, O> {
    /// The thread's life: its runtime, its sockets and the loop.
    fn run(self, make: impl FnOnce() -> C) -> io::Result<()> {
        let runtime =
            Builder::new_current_thread().enable_io().enable_time().build_local(LocalOptions::default())?;
        runtime.block_on(async move {
            let core = make();
            let (to_events, events) = mpsc::channel(STREAM_EVENTS);
            let shard_byte = u8::try_from(self.index).map_err(io::Error::other)?;
            let secure = Secure { tls: self.tls, failed: told_of_ends(self.clock) };
            let streams = Streams::new(shard_byte, self.limits, self.guests, secure, to_events.clone());
            let (mut seats, mut ports) = (Vec::new(), Vec::new());
            for Bound { listener, addr, socket, sources } in self.sockets {
                match socket {
                    Kind::Udp(socket) => {
                        let port = udp::Port::new(socket, sources)?;
                        tokio::task::spawn_local(icmp::watch(ports.len(), port.socket(), to_events.clone()));
                        seats.push(Seat { port: Some(ports.len()), addr });
                        ports.push((listener, port));
                    }
                    Kind::Stream(transport, socket) => {
                        let seat = (transport, listener);
                        tokio::task::spawn_local(accept(socket, seat, streams.clone(), self.clock));
                        seats.push(Seat { port: None, addr });
                    }
                }
            }
            let around = Surroundings {
                index: self.index,
                clock: self.clock,
                owners: self.owners,
                slots: self.slots,
                seats,
                ports,
                streams,
                events,
                inbox: self.inbox,
                notices: self.notices,
                tap: self.tap,
            };
            // A task like the streams', so that they wake it without going through the kernel.
            tokio::task::spawn_local(Shard::new(around, core).run()).await.map_err(io::Error::other)
        })
    }
}

/// Accepts one listener's connections; says at a bounded rate which it had no room for.
async fn accept(
    socket: std::net::TcpListener,
    listener: (Transport, ListenerId),
    streams: Streams,
    clock: Clock,
) {
    let mut rate = Rate::default();
    let refused = metrics::counter!("strowger_rejected_total", "reason" => "connections");
    let outcome = accept::accept(socket, listener, streams, |from, why: NoRoom| {
        refused.increment(1);
        if let Line::Log { more } = rate.occur(clock.read().now.mono) {
            tracing::warn!(from = %brief::Place(from), %why, more, "connection refused");
        }
    });
    if let Err(error) = outcome.await {
        tracing::error!(%error, "accepting connections has ended");
    }
}

/// Counts what is no SIP, the handshakes that strangers break, and the connections that gave way to others; of the two
/// last it says at a bounded rate whose it was and why.
fn told_of_ends(clock: Clock) -> Failed {
    let rates = RefCell::<[Rate; 3]>::default();
    let displaced = metrics::counter!("strowger_rejected_total", "reason" => "connections");
    let refused = metrics::counter!("strowger_rejected_total", "reason" => "tls");
    let unframed = metrics::counter!("strowger_rejected_total", "reason" => "malformed");
    Rc::new(move |addr, opened, end| {
        if let End::Unframed(_) = end {
            return unframed.increment(1);
        }
        let [theirs, ours, gone] = &mut *rates.borrow_mut();
        let (rate, what) = match opened {
            Opened::ByThem if matches!(end, End::Displaced) => {
                displaced.increment(1);
                (gone, "a connection to us is closed")
            }
            Opened::ByThem => {
                refused.increment(1);
                (theirs, "a connection to us was refused")
            }
            Opened::ByUs => (ours, "a connection of ours did not come about"),
        };
        if let Line::Log { more } = rate.occur(clock.read().now.mono) {
            tracing::warn!(peer = %brief::Place(addr), why = %Sentence(end), more, "{what}");
        }
    })
}
