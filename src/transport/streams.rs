//! The connections of one shard: found by their flow or by the far end's address, written in one call a turn,
//! and ended by their limits. The shard's loop and the connections' tasks share one thread.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::codec::Decoder;

use super::Event;
use super::frame::{Frame, Framer, Unframed};
use super::guests::{Guests, NoRoom, Place};
use crate::sip::peer::{FlowId, ListenerId, Peer, Transport};

/// A message that went to an address without a flow may still be unanswered this long afterwards: Timer B and F,
/// 64·T1 (RFC 3261 §17.1).
pub const UNANSWERED: Duration = Duration::from_secs(32);

/// Room for one read; a longer message grows the buffer as it comes.
const READ: usize = 4096;

/// The limits of streams; those of the call rules by default (R14), shorter ones in tests.
#[derive(Clone, Copy, Debug)]
pub struct StreamLimits {
    /// A message that has begun is whole within this time, or the connection is closed (R14).
    pub whole_message: Duration,
    /// A connection that was opened to us brings its first message within this time.
    pub first_message: Duration,
    /// A connection that we opened and by which no message has come is closed so long after the last that went: what
    /// waited for an answer has given up by then. Whoever names us one address after another holds no more of them.
    pub unanswered: Duration,
    /// A connection without any traffic is closed: twice the 5 minutes after which an in-dialog OPTIONS goes to
    /// a peer without session timers (R12), so no connection that carries a call is ever idle so long.
    pub idle: Duration,
    /// How long opening a connection may take: little more than a gateway's `try_timeout` (4 s).
    pub connect: Duration,
    /// Bytes that wait for a far end that does not read: four of the longest messages.
    pub pending: usize,
}

impl Default for StreamLimits {
    fn default() -> Self {
        StreamLimits {
            whole_message: Duration::from_secs(10),
            first_message: Duration::from_secs(30),
            unanswered: UNANSWERED,
            idle: Duration::from_secs(600),
            connect: Duration::from_secs(5),
            pending: 256 << 10,
        }
    }
}

/// The message cannot go: the flow is dead, the node is full, or the far end does not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsent;

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub enum End {
    #[error("closed by the far end")]
    FarEnd,
    #[error("a message was begun and not ended in time")]
    HalfSent,
    #[error("nothing came or went")]
    Idle,
    #[error("the far end does not read")]
    Overflow,
    #[error("it could not be opened")]
    Unopened,
    #[error(transparent)]
    Unframed(#[from] Unframed),
    #[error(transparent)]
    Broken(#[from] io::Error),
}

impl End {
    /// Whether what was written last may not have been read. Not so when we close an idle connection.
    fn loses(&self) -> bool {
        match self {
            End::FarEnd | End::Overflow | End::Unopened | End::Broken(_) => true,
            End::HalfSent | End::Idle | End::Unframed(_) => false,
        }
    }
}

/// One connection, open or being opened.
pub(super) struct Connection {
    pub(super) peer: Peer,
    /// Set once it is open.
    stream: OnceCell<TcpStream>,
    /// What the kernel has not taken yet.
    pending: RefCell<BytesMut>,
    /// Wakes the task: something is pending that could not be written at once, or the end has come.
    work: Notify,
    state: Cell<Writing>,
    /// The last message that was sent to the address alone.
    flowless: Cell<Option<Instant>>,
    last_traffic: Cell<Instant>,
    /// A message came by it or was meant for it: somebody may miss it.
    used: Cell<bool>,
    _place: Place,
}

/// The writing side of a connection.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Writing {
    /// Nothing is pending.
    Clear,
    /// In the list of this turn's writes.
    Listed,
    /// The kernel takes no more (or the connection is not open yet): the task waits for it.
    Blocked,
    /// The far end does not read, or is gone.
    Dead,
}

impl Connection {
    /// Writes as much as the kernel takes.
    fn write(&self) {
        if self.state.get() == Writing::Dead {
            return;
        }
        let Some(stream) = self.stream.get() else {
            self.state.set(Writing::Blocked);
            return;
        };
        let mut pending = self.pending.borrow_mut();
        let state = loop {
            if pending.is_empty() {
                *pending = BytesMut::new();
                break Writing::Clear;
            }
            match stream.try_write(&pending) {
                Ok(0) => break Writing::Dead,
                Ok(written) => pending.advance(written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break Writing::Blocked,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break Writing::Dead,
            }
        };
        self.state.set(state);
        if state != Writing::Clear {
            self.work.notify_one();
        }
    }
}

/// The connections of one shard.
#[derive(Clone)]
pub struct Streams(Rc<Inner>);

struct Inner {
    shard: u8,
    next: Cell<u64>,
    by_flow: RefCell<HashMap<FlowId, Rc<Connection>>>,
    by_address: RefCell<HashMap<(Transport, SocketAddr), FlowId>>,
    listed: RefCell<Vec<Rc<Connection>>>,
    events: mpsc::Sender<Event>,
    limits: StreamLimits,
    guests: Arc<Guests>,
}

impl Streams {
    /// The connections of `shard`; what happens to them goes to `events`.
    pub fn new(shard: u8, limits: StreamLimits, guests: Arc<Guests>, events: mpsc::Sender<Event>) -> Streams {
        Streams(Rc::new(Inner {
            shard,
            next: Cell::new(0),
            by_flow: RefCell::default(),
            by_address: RefCell::default(),
            listed: RefCell::default(),
            events,
            limits,
            guests,
        }))
    }

    /// Which shard owns a flow: its top byte.
    pub const fn owner(flow: FlowId) -> usize {
        (flow.0 >> 56) as usize
    }

    /// Connections, those being opened included.
    pub fn len(&self) -> usize {
        self.0.by_flow.borrow().len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Notes a message for `to`; [`Streams::flush`] writes it.
    ///
    /// With a flow: over that connection or not at all (RFC 5626 §5.3). Without: over the connection that the
    /// address has, else one is opened, from `source` if given.
    pub fn send(&self, to: &Peer, bytes: &[u8], source: Option<SocketAddr>) -> Result<(), Unsent> {
        let connection = match to.flow {
            Some(flow) => self.0.by_flow.borrow().get(&flow).cloned().ok_or(Unsent)?,
            None => self.reach(to, source)?,
        };
        if connection.state.get() == Writing::Dead {
            return Err(Unsent);
        }
        connection.used.set(true);
        if connection.pending.borrow().len() + bytes.len() > self.0.limits.pending {
            connection.state.set(Writing::Dead);
            connection.work.notify_one();
            return Err(Unsent);
        }
        connection.pending.borrow_mut().extend_from_slice(bytes);
        if to.flow.is_none() {
            connection.flowless.set(Some(Instant::now()));
        }
        if connection.state.get() == Writing::Clear {
            connection.state.set(Writing::Listed);
            self.0.listed.borrow_mut().push(connection);
        }
        Ok(())
    }

    /// Writes what was noted: one call for each connection that has something.
    pub fn flush(&self) {
        for connection in self.0.listed.borrow_mut().drain(..) {
            if connection.state.get() == Writing::Listed {
                connection.last_traffic.set(Instant::now());
                connection.write();
            }
        }
    }

    /// Takes a connection that the far end opened, or says why there is no room for it.
    pub fn adopt(
        &self,
        transport: Transport,
        listener: ListenerId,
        from: SocketAddr,
        stream: TcpStream,
    ) -> Result<(), NoRoom> {
        let place = self.0.guests.welcome(from.ip())?;
        let peer = Peer { transport, addr: from, listener, flow: None };
        let connection = self.enter(peer, place);
        let streams = self.clone();
        tokio::task::spawn_local(async move {
            let end = streams.serve(&connection, stream, Opened::ByThem).await;
            streams.leave(&connection, end).await;
        });
        Ok(())
    }

    /// The connection to an address: the one there is, else one that is opened now.
    fn reach(&self, to: &Peer, source: Option<SocketAddr>) -> Result<Rc<Connection>, Unsent> {
        let known = self.0.by_address.borrow().get(&(to.transport, to.addr)).copied();
        let open = known.and_then(|flow| self.0.by_flow.borrow().get(&flow).cloned());
        if let Some(connection) = open.filter(|connection| connection.state.get() != Writing::Dead) {
            return Ok(connection);
        }
        if to.transport != Transport::Tcp {
            return Err(Unsent);
        }
        let place = self.0.guests.invite().map_err(|_| Unsent)?;
        let connection = self.enter(*to, place);
        let (streams, opening) = (self.clone(), Rc::clone(&connection));
        let deadline = self.0.limits.connect;
        tokio::task::spawn_local(async move {
            let opened = tokio::time::timeout(deadline, super::tcp::connect(opening.peer.addr, source)).await;
            let end = match opened {
                Ok(Ok(stream)) => streams.serve(&opening, stream, Opened::ByUs).await,
                Ok(Err(error)) => End::Broken(error),
                Err(_) => End::Unopened,
            };
            streams.leave(&opening, end).await;
        });
        Ok(connection)
    }

    /// Gives a connection its flow and enters it in the tables.
    fn enter(&self, peer: Peer, place: Place) -> Rc<Connection> {
        let number = self.0.next.get();
        self.0.next.set(number + 1);
        let flow = FlowId((u64::from(self.0.shard) << 56) | number);
        let connection = Rc::new(Connection {
            peer: Peer { flow: Some(flow), ..peer },
            stream: OnceCell::new(),
            pending: RefCell::default(),
            work: Notify::new(),
            state: Cell::new(Writing::Clear),
            flowless: Cell::new(None),
            last_traffic: Cell::new(Instant::now()),
            used: Cell::new(false),
            _place: place,
        });
        self.0.by_flow.borrow_mut().insert(flow, Rc::clone(&connection));
        self.0.by_address.borrow_mut().insert((peer.transport, peer.addr), flow);
        connection
    }

    /// Takes an ended connection out of the tables and tells the loop.
    async fn leave(&self, connection: &Connection, end: End) {
        tracing::debug!(peer = %connection.peer.addr, %end, "connection ended");
        let key = (connection.peer.transport, connection.peer.addr);
        connection.state.set(Writing::Dead);
        if let Some(flow) = connection.peer.flow {
            self.0.by_flow.borrow_mut().remove(&flow);
            let mut by_address = self.0.by_address.borrow_mut();
            if by_address.get(&key) == Some(&flow) {
                by_address.remove(&key);
            }
        }
        let recently = connection.flowless.get().is_some_and(|at| at.elapsed() < UNANSWERED);
        let lost = recently && (end.loses() || !connection.pending.borrow().is_empty());
        // A stranger that only knocks costs no shard a look at what waits.
        if !connection.used.get() {
            return;
        }
        // Only a loop that has ended does not take it.
        let _ended = self.0.events.send(Event::Ended { peer: connection.peer, lost }).await;
    }

    /// Reads and writes one open connection until it ends.
    async fn serve(&self, connection: &Connection, stream: TcpStream, opened: Opened) -> End {
        let stream = connection.stream.get_or_init(|| stream);
        connection.write();
        let mut reading = Reading::new(opened);
        let timer = sleep_until(reading.deadline(&self.0.limits, connection.last_traffic.get()));
        tokio::pin!(timer);
        loop {
            match connection.state.get() {
                Writing::Dead => return End::Overflow,
                Writing::Clear | Writing::Listed | Writing::Blocked => {}
            }
            let blocked = connection.state.get() == Writing::Blocked;
            tokio::select! {
                biased;
                () = connection.work.notified() => {}
                ready = stream.writable(), if blocked => match ready {
                    Ok(()) => connection.write(),
                    Err(error) => return End::Broken(error),
                },
                ready = stream.readable() => {
                    if let Err(error) = ready {
                        return End::Broken(error);
                    }
                    if let Err(end) = self.read(connection, stream, &mut reading).await {
                        return end;
                    }
                }
                () = &mut timer => {
                    if let Some(end) = reading.overdue(&self.0.limits, connection.last_traffic.get()) {
                        return end;
                    }
                }
            }
            rearm(timer.as_mut(), reading.deadline(&self.0.limits, connection.last_traffic.get()));
        }
    }

    /// One read, and every frame that it made whole.
    async fn read(
        &self,
        connection: &Connection,
        stream: &TcpStream,
        reading: &mut Reading,
    ) -> Result<(), End> {
        reading.buffer.reserve(READ);
        let room = reading.buffer.capacity() - reading.buffer.len();
        match stream.try_read_buf(&mut reading.buffer) {
            Ok(0) => return Err(End::FarEnd),
            Ok(read) if read < room => {
                // All that there was: the driver is told so without another read.
                let _empty = stream.try_io(Interest::READABLE, || -> io::Result<()> {
                    Err(io::ErrorKind::WouldBlock.into())
                });
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            Err(error) => return Err(End::Broken(error)),
        }
        let now = Instant::now();
        connection.last_traffic.set(now);
        let mut whole = false;
        while let Some(frame) = reading.framer.decode(&mut reading.buffer)? {
            match frame {
                Frame::Message(bytes) => {
                    whole = true;
                    connection.used.set(true);
                    let message = Event::Message { from: connection.peer, bytes };
                    self.0.events.send(message).await.map_err(|_| End::Idle)?;
                }
                Frame::Ping => {
                    let peer = connection.peer;
                    self.send(&peer, b"\r\n", None).map_err(|Unsent| End::Overflow)?;
                }
                Frame::Pong => {}
            }
        }
        self.flush();
        reading.progress(whole, now);
        Ok(())
    }
}

/// Who opened a connection.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Opened {
    ByUs,
    ByThem,
}

/// The reading side of a connection.
struct Reading {
    buffer: BytesMut,
    framer: Framer,
    state: Expecting,
}

/// What a connection has to bring next.
#[derive(Clone, Copy)]
enum Expecting {
    /// Its first message; opened to us then.
    First(Instant),
    /// Its first message, where we opened it.
    Answer,
    /// The rest of a message that began then.
    Rest(Instant),
    /// Anything.
    Anything,
}

impl Reading {
    fn new(opened: Opened) -> Reading {
        let state = match opened {
            Opened::ByThem => Expecting::First(Instant::now()),
            Opened::ByUs => Expecting::Answer,
        };
        Reading { buffer: BytesMut::new(), framer: Framer::default(), state }
    }

    /// Takes note of a read: whether it completed a message, and whether another has begun.
    fn progress(&mut self, whole: bool, now: Instant) {
        let begun = !b"\r\n\r".starts_with(&self.buffer);
        self.state = match (self.state, whole, begun) {
            (Expecting::Rest(since), false, true) => Expecting::Rest(since),
            (Expecting::First(since), false, false) => Expecting::First(since),
            (Expecting::Answer, false, false) => Expecting::Answer,
            (_, _, true) => Expecting::Rest(now),
            (_, _, false) => Expecting::Anything,
        };
        if self.buffer.is_empty() {
            // A connection that waits holds no buffer.
            self.buffer = BytesMut::new();
        }
    }

    fn deadline(&self, limits: &StreamLimits, last_traffic: Instant) -> Instant {
        match self.state {
            Expecting::First(since) => since + limits.first_message,
            Expecting::Rest(since) => since + limits.whole_message,
            Expecting::Answer => last_traffic + limits.unanswered,
            Expecting::Anything => last_traffic + limits.idle,
        }
    }

    fn overdue(&self, limits: &StreamLimits, last_traffic: Instant) -> Option<End> {
        let late = self.deadline(limits, last_traffic) <= Instant::now();
        late.then_some(match self.state {
            Expecting::Rest(_) => End::HalfSent,
            Expecting::First(_) | Expecting::Answer | Expecting::Anything => End::Idle,
        })
    }
}

/// Sets a timer anew if its time has changed.
fn rearm(timer: std::pin::Pin<&mut Sleep>, deadline: Instant) {
    if timer.deadline() != deadline {
        timer.reset(deadline);
    }
}
