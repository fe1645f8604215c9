//! The connections of one shard: found by their flow or by the far end's address, written in one call a turn,
//! and ended by their limits. The shard's loop and the connections' tasks share one thread; of TLS handshakes one
//! is worked on between two turns of the loop, however many have begun.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::net::TcpStream;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio::time::{Instant, Sleep, sleep_until};

use super::frame::{Frame, Unframed};
use super::guests::{Guests, NoRoom};
use super::pipe::{Pipe, Session, Step, Took, Wrote};
use super::tls::Tls;
use super::{Event, guests};
use crate::sip::peer::{FlowId, Insecure, ListenerId, NameId, Peer, Transport, Undelivered};
use crate::sip::shown::Sentence;
use reading::Reading;

mod reading;

/// A message that went to an address without a flow may still be unanswered this long afterwards: Timer B and F,
/// 64·T1 (RFC 3261 §17.1).
pub const UNANSWERED: Duration = Duration::from_secs(32);

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
    /// A connection that we opened is closed after so long without any traffic: its far end is reached at its address,
    /// by another.
    pub idle: Duration,
    /// The same of one that was opened to us, which only its far end can open anew: longer than a phone may be bound
    /// (an hour), and than the longest session of a call (a day, RFC 4028), so that none is closed that carries a phone
    /// or a call. Far ends that are gone are found by TCP's own keep-alive (`tcp::tune_theirs`).
    pub idle_theirs: Duration,
    /// One whose far end is no trunk, and by which nothing was ever granted, is closed so long after it came, whatever comes: so
    /// there is neither a phone nor a call. More than an answer takes (64·T1), than a password takes to be typed, and than a caller who rings waits for
    /// the next 180 (a minute).
    pub idle_passing: Duration,
    /// How long opening a connection may take, its TLS handshake included: little more than a gateway's
    /// `try_timeout` (4 s).
    pub connect: Duration,
    /// The TLS handshake of a connection that was opened to us is over within this time (R14).
    pub handshake: Duration,
    /// Bytes that may wait for a far end at any time: four of the longest messages.
    pub pending: usize,
    /// So many may wait for one that reads slower than a burst comes, 8,000 answers, while all that waits on its shard is
    /// less than `shared`.
    pub burst: usize,
    pub shared: usize,
}

impl Default for StreamLimits {
    fn default() -> Self {
        StreamLimits {
            whole_message: Duration::from_secs(10),
            first_message: Duration::from_secs(30),
            unanswered: UNANSWERED,
            idle: Duration::from_secs(600),
            idle_theirs: Duration::from_secs(25 * 3600),
            idle_passing: Duration::from_secs(90),
            connect: Duration::from_secs(5),
            handshake: Duration::from_secs(10),
            pending: 256 << 10,
            burst: 4 << 20,
            shared: 64 << 20,
        }
    }
}

/// How a connection is opened, where a message finds none.
#[derive(Clone, Copy, Debug, Default)]
pub struct Opening {
    /// Where it comes from.
    pub source: Option<SocketAddr>,
    /// How long it may take, where that is less than [`StreamLimits::connect`].
    pub patience: Option<Duration>,
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
    #[error("it gave way to another")]
    Displaced,
    #[error("a message was too long, and nothing after it can be read")]
    TooLong,
    #[error("the far end does not read")]
    Overflow,
    #[error("it could not be opened")]
    Unopened,
    #[error("no TLS connection: {0}")]
    Insecure(io::Error),
    #[error(transparent)]
    Unframed(#[from] Unframed),
    #[error(transparent)]
    Broken(#[from] io::Error),
}

impl End {
    /// Whether it is the far end's certificate, ours, or the way in which it uses TLS.
    fn is_of_tls(&self) -> bool {
        match self {
            End::Insecure(_) => true,
            // The system's own errors have kinds of theirs.
            End::Broken(error) => error.kind() == io::ErrorKind::Other,
            End::FarEnd
            | End::HalfSent
            | End::Idle
            | End::Displaced
            | End::TooLong
            | End::Overflow
            | End::Unopened
            | End::Unframed(_) => false,
        }
    }

    /// What it says to whom a message did not reach: of a connection that was open, or of one that never was.
    fn undelivered(&self, was_open: bool) -> Undelivered {
        let otherwise = if was_open { Undelivered::Closed } else { Undelivered::Unreachable };
        match self {
            End::Insecure(error) | End::Broken(error) => {
                let why = error.get_ref().and_then(|inner| inner.downcast_ref::<Insecure>());
                why.map_or(otherwise, |why| Undelivered::Insecure(*why))
            }
            End::FarEnd
            | End::HalfSent
            | End::Idle
            | End::Displaced
            | End::TooLong
            | End::Overflow
            | End::Unopened
            | End::Unframed(_) => otherwise,
        }
    }

    /// Whether what was written last may not have been read, or comes to no answer. Not so when we close an idle connection.
    fn loses(&self) -> bool {
        match self {
            End::FarEnd
            | End::HalfSent
            | End::TooLong
            | End::Overflow
            | End::Unopened
            | End::Insecure(_)
            | End::Unframed(_)
            | End::Broken(_) => true,
            End::Idle | End::Displaced => false,
        }
    }
}

/// One connection, open or being opened.
pub(super) struct Connection {
    pub(super) peer: Peer,
    opened: Opened,
    /// Set once it is open, with TLS when the handshake is over.
    pipe: OnceCell<Pipe>,
    /// What the kernel has not taken yet.
    pending: RefCell<BytesMut>,
    /// The bytes that all connections of the shard hold so.
    kept: Rc<Cell<usize>>,
    /// Wakes the task: something is pending that could not be written at once, or the end has come.
    work: Notify,
    state: Cell<Writing>,
    /// The last message that was sent to the address alone.
    flowless: Cell<Option<Instant>>,
    last_traffic: Cell<Instant>,
    /// A message came by it or was meant for it: somebody may miss it.
    used: Cell<bool>,
    place: guests::Place,
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
    /// When it is closed, if nothing comes before; or whatever comes, where that makes nobody be taken at his word.
    fn deadline(&self, reading: &Reading, limits: &StreamLimits) -> Instant {
        let last = self.last_traffic.get();
        let idle = match (self.opened, self.place.passing_since()) {
            (Opened::ByUs, _) => last + limits.idle,
            (Opened::ByThem, None) => last + limits.idle_theirs,
            (Opened::ByThem, Some(since)) => Instant::from_std(since) + limits.idle_passing,
        };
        reading.deadline(limits, last, idle)
    }

    /// Writes as much as the kernel takes.
    fn write(&self) {
        if self.state.get() == Writing::Dead {
            return;
        }
        let Some(pipe) = self.pipe.get() else {
            self.state.set(Writing::Blocked);
            return;
        };
        let mut pending = self.pending.borrow_mut();
        let before = pending.len();
        let state = match pipe.write(&mut pending) {
            Wrote::All => Writing::Clear,
            Wrote::Some => Writing::Blocked,
            Wrote::Broken => Writing::Dead,
        };
        self.kept.set(self.kept.get() - (before - pending.len()));
        self.state.set(state);
        if state != Writing::Clear {
            self.work.notify_one();
        }
    }
}

/// A connection's far end, where it has no flow: of TLS, by the name that its certificate bears.
type Place = (Transport, SocketAddr, Option<NameId>);

/// What connections by TLS need.
#[derive(Clone)]
pub struct Secure {
    /// `None`: no listener of the node has a certificate.
    pub tls: Option<Arc<Tls>>,
    pub failed: Failed,
}

/// Hears of each handshake that failed, and of each connection that brought what is no SIP or had to give way: whose, who had
/// opened it, and why.
pub type Failed = Rc<dyn Fn(SocketAddr, Opened, &End)>;

/// The connections of one shard.
#[derive(Clone)]
pub struct Streams(Rc<Inner>);

struct Inner {
    shard: u8,
    next: Cell<u64>,
    by_flow: RefCell<HashMap<FlowId, Rc<Connection>>>,
    by_address: RefCell<HashMap<Place, FlowId>>,
    listed: RefCell<Vec<Rc<Connection>>>,
    events: mpsc::Sender<Event>,
    limits: StreamLimits,
    /// Bytes that wait for all far ends.
    kept: Rc<Cell<usize>>,
    /// Messages that found no room there, since [`Streams::take_overflowed`].
    overflowed: Cell<u64>,
    guests: Arc<Guests>,
    secure: Secure,
    /// Who may work on a handshake: one at a time, and the loop has its turn before the next.
    handshakes: Semaphore,
}

impl Streams {
    /// The connections of `shard`; what happens to them goes to `events`.
    pub fn new(
        shard: u8,
        limits: StreamLimits,
        guests: Arc<Guests>,
        secure: Secure,
        events: mpsc::Sender<Event>,
    ) -> Streams {
        Streams(Rc::new(Inner {
            shard,
            next: Cell::new(0),
            by_flow: RefCell::default(),
            by_address: RefCell::default(),
            listed: RefCell::default(),
            events,
            limits,
            kept: Rc::default(),
            overflowed: Cell::new(0),
            guests,
            secure,
            handshakes: Semaphore::new(1),
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
    /// address has, else one is opened.
    pub fn send(&self, to: &Peer, bytes: &[u8], opening: Opening) -> Result<(), Unsent> {
        let connection = match to.flow {
            Some(flow) => self.0.by_flow.borrow().get(&flow).cloned().ok_or(Unsent)?,
            None => self.reach(to, opening)?,
        };
        if connection.state.get() == Writing::Dead {
            return Err(Unsent);
        }
        connection.used.set(true);
        if !self.has_room(&connection, bytes.len()) {
            // The kernel may take it: only what it does not take waits for the far end.
            connection.last_traffic.set(Instant::now());
            connection.write();
            if !self.has_room(&connection, bytes.len()) {
                self.0.overflowed.set(self.0.overflowed.get() + 1);
                connection.state.set(Writing::Dead);
                connection.work.notify_one();
            }
            if connection.state.get() == Writing::Dead {
                return Err(Unsent);
            }
        }
        connection.pending.borrow_mut().extend_from_slice(bytes);
        self.0.kept.set(self.0.kept.get() + bytes.len());
        if to.flow.is_none() {
            connection.flowless.set(Some(Instant::now()));
        }
        if connection.state.get() == Writing::Clear {
            connection.state.set(Writing::Listed);
            self.0.listed.borrow_mut().push(connection);
        }
        Ok(())
    }

    /// Something that came by a connection was granted: by its far end there is a phone or a call, or was.
    pub fn trust(&self, flow: FlowId) {
        if let Some(connection) = self.0.by_flow.borrow().get(&flow) {
            connection.place.trusts();
        }
    }

    /// Whether so many bytes more may wait for a far end.
    fn has_room(&self, connection: &Connection, more: usize) -> bool {
        let StreamLimits { pending, burst, shared, .. } = self.0.limits;
        let wanted = connection.pending.borrow().len() + more;
        wanted <= pending || wanted <= burst && self.0.kept.get() + more <= shared
    }

    /// Bytes that wait for far ends.
    pub fn kept(&self) -> usize {
        self.0.kept.get()
    }

    /// Messages that found no room in what waits for their far end; it lost its connection.
    pub fn take_overflowed(&self) -> u64 {
        self.0.overflowed.take()
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
        let flow = self.next_flow();
        let place = self.0.guests.welcome(from.ip(), flow)?;
        let peer = Peer::at(from, transport, listener);
        let connection = self.enter(peer, flow, Opened::ByThem, place);
        let streams = self.clone();
        let deadline = Instant::now() + self.0.limits.handshake;
        tokio::task::spawn_local(async move {
            let served = async {
                match streams.secured(&connection.peer, stream, Opened::ByThem, deadline).await {
                    Ok(pipe) => streams.serve(&connection, pipe).await,
                    Err(end) => end,
                }
            };
            let end = tokio::select! {
                biased;
                () = connection.place.gives_way() => End::Displaced,
                end = served => end,
            };
            streams.leave(&connection, end).await;
        });
        Ok(())
    }

    /// The connection to an address: the one there is, else one that is opened now.
    fn reach(&self, to: &Peer, how: Opening) -> Result<Rc<Connection>, Unsent> {
        let known = self.0.by_address.borrow().get(&(to.transport, to.addr, to.name)).copied();
        let open = known.and_then(|flow| self.0.by_flow.borrow().get(&flow).cloned());
        if let Some(connection) = open.filter(|connection| connection.state.get() != Writing::Dead) {
            return Ok(connection);
        }
        match to.transport {
            Transport::Tcp | Transport::Tls => {}
            Transport::Udp | Transport::Ws | Transport::Wss => return Err(Unsent),
        }
        let place = self.0.guests.invite().map_err(|_| Unsent)?;
        let connection = self.enter(*to, self.next_flow(), Opened::ByUs, place);
        let (streams, opening) = (self.clone(), Rc::clone(&connection));
        tokio::task::spawn_local(async move {
            let end = match streams.open(&opening.peer, how).await {
                Ok(pipe) => streams.serve(&opening, pipe).await,
                Err(end) => end,
            };
            streams.leave(&opening, end).await;
        });
        Ok(connection)
    }

    async fn open(&self, to: &Peer, how: Opening) -> Result<Pipe, End> {
        let connect = self.0.limits.connect;
        let deadline = Instant::now() + how.patience.map_or(connect, |patience| patience.min(connect));
        match tokio::time::timeout_at(deadline, super::tcp::connect(to.addr, how.source)).await {
            Ok(Ok(stream)) => self.secured(to, stream, Opened::ByUs, deadline).await,
            Ok(Err(error)) => Err(End::Broken(error)),
            Err(_) => Err(End::Unopened),
        }
    }

    /// Shakes hands where it is a connection by TLS; over at the deadline, one way or the other.
    async fn secured(
        &self,
        peer: &Peer,
        stream: TcpStream,
        opened: Opened,
        deadline: Instant,
    ) -> Result<Pipe, End> {
        match peer.transport {
            Transport::Udp | Transport::Tcp | Transport::Ws | Transport::Wss => {
                return Ok(Pipe::Plain(stream));
            }
            Transport::Tls => {}
        }
        let tls = self.0.secure.tls.as_ref().and_then(|tls| match opened {
            Opened::ByThem => tls.accept(peer.listener),
            Opened::ByUs => tls.open(peer.listener, peer.addr.ip(), peer.name),
        });
        let shaken = match tls {
            Some(tls) => {
                let session = Session::new(stream, tls);
                let shaken = tokio::time::timeout_at(deadline, self.shake(&session)).await;
                let late = |_| Err(io::Error::other(Insecure::Late));
                shaken.unwrap_or_else(late).map(|()| Pipe::Tls(Box::new(session)))
            }
            None => Err(io::Error::other(Insecure::Unprepared)),
        };
        let knocked = |error: &io::Error| error.kind() == io::ErrorKind::UnexpectedEof;
        shaken.map_err(|error| match opened {
            Opened::ByThem if knocked(&error) => End::FarEnd,
            Opened::ByThem | Opened::ByUs => End::Insecure(error),
        })
    }

    async fn shake(&self, session: &Session) -> io::Result<()> {
        let mut silent = true;
        loop {
            match session.shake()? {
                Step::Over => return Ok(()),
                Step::Write => session.socket().writable().await?,
                Step::Read => {
                    session.socket().readable().await?;
                    let heard = session.hear().map_err(|error| {
                        let kind = error.kind();
                        if kind != io::ErrorKind::UnexpectedEof {
                            return error;
                        }
                        let kind = if silent { kind } else { io::ErrorKind::Other };
                        io::Error::new(kind, Insecure::Closed)
                    });
                    if !heard? {
                        continue;
                    }
                    silent = false;
                    // Nobody closes it.
                    let _one_at_a_time = self.0.handshakes.acquire().await;
                    session.work()?;
                    tokio::task::yield_now().await;
                }
            }
        }
    }

    fn next_flow(&self) -> FlowId {
        let number = self.0.next.get();
        self.0.next.set(number + 1);
        FlowId((u64::from(self.0.shard) << 56) | number)
    }

    /// Gives a connection its flow and enters it in the tables. One by TLS that was opened to us has shown nobody's
    /// certificate: it is reached by its flow alone.
    fn enter(&self, peer: Peer, flow: FlowId, opened: Opened, place: guests::Place) -> Rc<Connection> {
        let connection = Rc::new(Connection {
            peer: Peer { flow: Some(flow), ..peer },
            opened,
            pipe: OnceCell::new(),
            pending: RefCell::default(),
            kept: Rc::clone(&self.0.kept),
            work: Notify::new(),
            state: Cell::new(Writing::Clear),
            flowless: Cell::new(None),
            last_traffic: Cell::new(Instant::now()),
            used: Cell::new(false),
            place,
        });
        self.0.by_flow.borrow_mut().insert(flow, Rc::clone(&connection));
        if (peer.transport, opened) != (Transport::Tls, Opened::ByThem) {
            self.0.by_address.borrow_mut().insert((peer.transport, peer.addr, peer.name), flow);
        }
        connection
    }

    /// Takes an ended connection out of the tables and tells the loop.
    async fn leave(&self, connection: &Connection, end: End) {
        tracing::debug!(peer = %connection.peer.addr, end = %Sentence(&end), "connection ended");
        if end.is_of_tls() || matches!(end, End::Unframed(_) | End::Displaced) {
            (self.0.secure.failed)(connection.peer.addr, connection.opened, &end);
        }
        let key = (connection.peer.transport, connection.peer.addr, connection.peer.name);
        connection.state.set(Writing::Dead);
        let unsent = std::mem::take(&mut *connection.pending.borrow_mut());
        self.0.kept.set(self.0.kept.get() - unsent.len());
        if let Some(pipe) = connection.pipe.get() {
            pipe.close();
        }
        if let Some(flow) = connection.peer.flow {
            self.0.by_flow.borrow_mut().remove(&flow);
            let mut by_address = self.0.by_address.borrow_mut();
            if by_address.get(&key) == Some(&flow) {
                by_address.remove(&key);
            }
        }
        let recently = connection.flowless.get().is_some_and(|at| at.elapsed() < UNANSWERED);
        let lost = recently && (end.loses() || !unsent.is_empty());
        // A stranger that only knocks costs no shard a look at what waits.
        if !connection.used.get() {
            return;
        }
        let why = end.undelivered(connection.pipe.get().is_some());
        // Only a loop that has ended does not take it.
        let _ended = self.0.events.send(Event::Ended { peer: connection.peer, lost, why }).await;
    }

    /// Reads and writes one open connection until it ends.
    async fn serve(&self, connection: &Connection, pipe: Pipe) -> End {
        let pipe = connection.pipe.get_or_init(|| pipe);
        let stream = pipe.socket();
        connection.write();
        let mut reading = Reading::new(connection.opened);
        // With the end of a handshake the first message may have come.
        if let Err(end) = self.read(connection, pipe, &mut reading).await {
            return end;
        }
        let timer = sleep_until(connection.deadline(&reading, &self.0.limits));
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
                    if let Err(end) = self.read(connection, pipe, &mut reading).await {
                        return end;
                    }
                }
                () = &mut timer => {
                    if let Some(end) = reading.overdue(connection.deadline(&reading, &self.0.limits)) {
                        return end;
                    }
                }
            }
            rearm(timer.as_mut(), connection.deadline(&reading, &self.0.limits));
        }
    }

    /// Gives a message to the loop; waits for room where there is none. Where there is some the task reads on: what
    /// waits, waits here, where it is seen, and neither in the kernel nor at the far end, where it is not.
    async fn hand_up(&self, message: Event) -> Result<(), End> {
        match self.0.events.try_send(message) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(message)) => self.0.events.send(message).await.map_err(|_| End::Idle),
            Err(TrySendError::Closed(_)) => Err(End::Idle),
        }
    }

    /// One read, and every frame that it made whole.
    async fn read(&self, connection: &Connection, pipe: &Pipe, reading: &mut Reading) -> Result<(), End> {
        let took = pipe.read(&mut reading.buffer)?;
        if pipe.has_word() {
            connection.write();
        }
        if took == Took::Nothing {
            return Ok(());
        }
        let now = Instant::now();
        connection.last_traffic.set(now);
        connection.place.hears();
        let mut whole = false;
        while let Some(frame) = reading.next_frame(now)? {
            match frame {
                Frame::Message(bytes) => {
                    whole = true;
                    connection.used.set(true);
                    let message = Event::Message { from: connection.peer, read: now.into_std(), bytes };
                    self.hand_up(message).await?;
                }
                Frame::Ping => {
                    let peer = connection.peer;
                    self.send(&peer, b"\r\n", Opening::default()).map_err(|Unsent| End::Overflow)?;
                }
                Frame::Pong => {}
            }
        }
        self.flush();
        if took == Took::Close {
            return Err(End::FarEnd);
        }
        reading.progress(whole, now);
        Ok(())
    }
}

/// Who opened a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opened {
    ByUs,
    ByThem,
}

/// Sets a timer anew if its time has changed.
fn rearm(timer: std::pin::Pin<&mut Sleep>, deadline: Instant) {
    if timer.deadline() != deadline {
        timer.reset(deadline);
    }
}
