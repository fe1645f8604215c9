//! The loop of one shard's thread. A turn: at most 64 datagrams a socket → what the streams and other threads
//! handed over → timers that are due → one batched send → sleep until something comes or the next deadline: in the
//! receive call where only datagrams can come ([`Ease`]), in the runtime where streams and other shards may.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Sleep;

use super::capture::Tap;
use super::clock::{Clock, Reading};
use super::ease::Ease;
use super::exchange::{Effects, Input};
use super::inbox::{Full, Inbox, Order, Parcel, Slot};
use super::precedence::{self, Standing};
use super::rate::{Line, Rate};
use super::tally::{Dir, Queue, Tally};
use crate::sip::peer::{ListenerId, Peer, Transport, Undelivered};
use crate::sip::transaction::Outgoing;
use crate::time::{Instant, Now};
use crate::transport::Event;
use crate::transport::shed::{Droppable, Share};
use crate::transport::streams::{Opening, Streams};
use crate::transport::udp::{self, Datagram, Waited};

/// The pure core that a shard drives: `exchange::Exchange`, or a toy in tests.
pub trait Core: 'static {
    /// What the core has to tell beside the wire: call records, journal entries, events.
    type Notice: Send + 'static;

    /// Takes one input; what is to be done is appended to `out`.
    fn handle(&mut self, now: Now, input: Input<'_>, out: &mut Effects);

    /// When [`Input::Due`] is wanted next.
    fn next_deadline(&self) -> Option<Instant>;

    /// How many of 256 new INVITEs are to be dropped before it has to read them. Once a turn.
    fn shed(&mut self, _now: Instant, _droppable: Droppable) -> Share {
        0
    }

    /// The turn's messages are about to be sent: takes its notices out of `out`, in order. Once a turn.
    fn report(&mut self, out: &mut Effects, to: &mut dyn Notices<Self::Notice>);

    /// What a message is to its calls: those of one instant are taken in R8's order.
    fn standing<'m>(&self, message: &'m [u8]) -> Option<Standing<'m>>;

    /// `handle` panicked; what it had appended is gone. Ends the call that it was about (R12). `message`: what it had
    /// taken in, if that was a message, and whose.
    fn panicked(&mut self, now: Now, message: Option<(Peer, &[u8])>, out: &mut Effects);
}

/// Where a shard's notices go. Never waits: a full queue is the taker's to count.
pub trait Notices<N>: Send {
    fn take(&mut self, notice: N);
}

impl<N, F: FnMut(N) + Send> Notices<N> for F {
    fn take(&mut self, notice: N) {
        self(notice);
    }
}

/// Who owns a message, read from its bytes. The same on every shard.
pub trait Owners: Copy + Send + 'static {
    /// The shard that owns the message, by its Call-ID; `None` where it has none that can be read: then it is
    /// whose socket received it.
    fn owner(&self, message: &[u8]) -> Option<usize>;

    /// The owner's inbox is full. Answers a new INVITE with 503 and Retry-After, without any state; anything
    /// else is dropped.
    fn refuse(&self, message: &[u8], from: Peer, out: &mut Effects);
}

/// Parcels and stream messages of one turn, each: as many as datagrams.
const A_TURN: usize = udp::BATCH;

/// Wake-ups for timers stand on a grid of this width, so that thousands of timers share one: at 100 calls/s a finer
/// one woke the shard more often for timers than for messages. SIP's shortest timer
/// is 500 ms (T1).
const GRID: Duration = Duration::from_millis(50);

/// The longest sleep. Past any clock's arithmetic, nobody waits so long for anything.
const LONGEST_SLEEP: Duration = Duration::from_secs(3600);

/// Bytes of a turn that are kept for the next one; a burst's buffer is given back.
const KEPT_WIRE: usize = 1 << 20;

/// What a listener is to the shard, by its [`ListenerId`].
pub struct Seat {
    /// The place of its UDP port; `None` for a stream.
    pub port: Option<usize>,
    /// What it is bound to: where connections that we open come from.
    pub addr: SocketAddr,
}

/// What the shard needs of its surroundings.
pub struct Surroundings<C: Core, O> {
    pub index: usize,
    pub clock: Clock,
    pub owners: O,
    /// Every shard's slot, in order, its own included.
    pub slots: Vec<Slot<C>>,
    pub seats: Vec<Seat>,
    pub ports: Vec<(ListenerId, udp::Port)>,
    pub streams: Streams,
    pub events: mpsc::Receiver<Event>,
    pub inbox: Inbox<C>,
    pub notices: Box<dyn Notices<C::Notice>>,
    /// Where messages are captured.
    pub tap: Option<Tap>,
}

/// One shard.
pub struct Shard<C: Core, O> {
    mind: Mind<C, O>,
    clock: Clock,
    seats: Vec<Seat>,
    ports: Vec<(ListenerId, udp::Port)>,
    streams: Streams,
    events: mpsc::Receiver<Event>,
    /// Taken out of the queue by the poll that woke us.
    event: Option<Event>,
    inbox: Inbox<C>,
    notices: Box<dyn Notices<C::Notice>>,
    /// Told to the core at the next turn.
    undelivered: Vec<(Peer, Undelivered)>,
    refused: Vec<SocketAddr>,
    /// How long the inbox's parcels had waited when the last turn left some there.
    inbox_age: Duration,
    /// The same of the streams' messages.
    stream_age: Duration,
    /// The core was told of a backlog, and not yet that it is gone.
    behind: bool,
    timer: Timer,
    ease: Ease,
}

/// How a turn ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// There is more to do.
    More,
    Done,
    /// The node wants the loop to end.
    Stop,
}

impl<C: Core, O: Owners> Shard<C, O> {
    pub fn new(around: Surroundings<C, O>, core: C) -> Self {
        let Surroundings { index, clock, owners, slots, seats, ports, streams, events, inbox, notices, tap } =
            around;
        let effects = Effects { marks: tap.as_ref().map(|_| Vec::new()), ..Effects::default() };
        let (tally, dropping, shedding) = (Tally::new(), Rate::default(), Rate::default());
        Shard {
            mind: Mind { core, effects, index, owners, slots, tally, dropping, shedding, tap },
            clock,
            seats,
            ports,
            streams,
            events,
            event: None,
            inbox,
            notices,
            undelivered: Vec::new(),
            refused: Vec::new(),
            inbox_age: Duration::ZERO,
            stream_age: Duration::ZERO,
            behind: false,
            timer: Timer::new(),
            ease: Ease::default(),
        }
    }

    /// Turns until the node stops it. Runs as a task of the shard's own runtime: a task of the same thread wakes
    /// it without a system call.
    pub async fn run(mut self) {
        loop {
            let reading = self.clock.read();
            match self.turn(&reading) {
                // The runtime looks at its sockets and runs the streams' tasks in between.
                Turn::More => tokio::task::yield_now().await,
                Turn::Done => self.sleep(reading.now.mono).await,
                Turn::Stop => break,
            }
        }
        // Who could still wake it holds no socket of its.
        let _awake = self.inbox.poll(&Context::from_waker(Waker::noop()));
    }

    fn turn(&mut self, reading: &Reading) -> Turn {
        let now = reading.now;
        let mut more = self.receive(reading);
        more |= self.take_events(reading);
        let inbox = self.open_inbox(reading);
        for (to, why) in std::mem::take(&mut self.undelivered) {
            self.mind.handle(now, Input::Undeliverable { to, why });
        }
        if self.mind.core.next_deadline().is_some_and(|at| at <= now.mono) {
            self.mind.handle(now, Input::Due);
        }
        // The journal's thread has an answered call before the caller has the 200 (R12).
        self.mind.core.report(&mut self.mind.effects, &mut *self.notices);
        self.send();
        self.publish();
        self.shed(now.mono);
        more |= !self.undelivered.is_empty();
        match inbox {
            Turn::Stop => Turn::Stop,
            Turn::More => Turn::More,
            Turn::Done if more => Turn::More,
            Turn::Done => Turn::Done,
        }
    }

    /// One receive for each socket that has something. True: one of them may have more.
    fn receive(&mut self, reading: &Reading) -> bool {
        let (mut more, mut age, mut lost) = (false, self.inbox_age.max(self.stream_age), 0);
        for (_, port) in &mut self.ports {
            if port.receive() {
                more = true;
                age = age.max(port.newest().map_or(Duration::ZERO, |stamp| reading.age(stamp)));
            }
            lost += port.dropped();
        }
        if age > Duration::ZERO || lost > 0 || self.behind {
            self.behind = age > Duration::ZERO || lost > 0;
            self.mind.handle(reading.now, Input::Backlog { age, lost });
        }
        // A turn of one datagram pays nothing for the order of others.
        if !arrived(&self.ports).skip(1).any(|(_, datagram)| precedence::leaves(datagram.bytes)) {
            for (listener, port) in &self.ports {
                for datagram in port.datagrams().filter(|datagram| !is_padding(datagram.bytes)) {
                    let (from, age) = (udp_peer(datagram.from, *listener), reading.age(datagram.stamp));
                    self.mind.receive(reading, from, datagram.bytes, age);
                }
            }
            return more;
        }
        let batch: Vec<(Peer, Datagram<'_>)> = arrived(&self.ports).collect();
        let messages: Vec<&[u8]> = batch.iter().map(|(_, datagram)| datagram.bytes).collect();
        for at in precedence::order(&messages, |message| self.mind.core.standing(message)) {
            let (from, datagram) = &batch[at];
            self.mind.receive(reading, *from, datagram.bytes, reading.age(datagram.stamp));
        }
        more
    }

    /// What the streams of this shard brought. True: there is more.
    fn take_events(&mut self, reading: &Reading) -> bool {
        let mut newest = Duration::ZERO;
        for _ in 0..A_TURN {
            let next = self.event.take().or_else(|| self.events.try_recv().ok());
            match next {
                Some(Event::Message { from, read, bytes }) => {
                    newest = reading.now.mono.since(self.clock.at(read));
                    self.mind.receive(reading, from, &bytes, newest);
                }
                Some(Event::Ended { peer, lost, why }) => {
                    // What went to the address went by this shard's connection alone. First, for what leaves the flow
                    // goes to the address, by another.
                    if lost {
                        self.undelivered.push((Peer { flow: None, ..peer }, why));
                    }
                    self.tell_undelivered(peer, why);
                }
                Some(Event::PortError(port)) => self.read_errors(port),
                None => break,
            }
        }
        self.mind.tally.depth(Queue::Streams, self.events.len());
        let more = !self.events.is_empty();
        self.stream_age = if more { newest } else { Duration::ZERO };
        more
    }

    /// ICMP's news of one port, for every shard: of the sockets that share an address the kernel tells any one.
    fn read_errors(&mut self, port: usize) {
        let Some((listener, port)) = self.ports.get_mut(port) else { return };
        port.read_errors(&mut self.refused);
        for addr in self.refused.drain(..) {
            let news = (udp_peer(addr, *listener), Undelivered::Unreachable);
            self.mind.tell_others(news);
            self.undelivered.push(news);
        }
    }

    /// A connection is gone, or a message for it could not be handed over: the call that it mattered to may be
    /// another shard's (RFC 3261 §18.4).
    fn tell_undelivered(&mut self, to: Peer, why: Undelivered) {
        self.mind.tell_others((to, why));
        self.undelivered.push((to, why));
    }

    /// Parcels of other shards and questions of operators.
    fn open_inbox(&mut self, reading: &Reading) -> Turn {
        self.inbox_age = Duration::ZERO;
        if self.inbox.is_empty() {
            self.mind.tally.depth(Queue::Inbox, 0);
            return Turn::Done;
        }
        let now = reading.now;
        let mut passed = Vec::new();
        for _ in 0..A_TURN {
            match self.inbox.parcel() {
                Some(Parcel::Message { from, arrived, bytes }) => passed.push((from, arrived, bytes)),
                Some(Parcel::Send { to, bytes }) => {
                    if !put(&self.streams, to, Opening::default(), &bytes) {
                        self.tell_undelivered(to, Undelivered::Unreachable);
                    }
                }
                Some(Parcel::Unreachable { to, why }) => self.undelivered.push((to, why)),
                Some(Parcel::Audio { of, heard }) => self.mind.handle(now, Input::Audio { of, heard }),
                None => break,
            }
        }
        let newest = passed.last().map_or(Duration::ZERO, |(_, arrived, _)| now.mono.since(*arrived));
        let messages: Vec<&[u8]> = passed.iter().map(|(_, _, bytes)| &**bytes).collect();
        for at in precedence::order(&messages, |message| self.mind.core.standing(message)) {
            let (from, arrived, bytes) = &passed[at];
            self.mind.tap_received(reading, *from, bytes, now.mono.since(*arrived));
            self.mind.handle(now, Input::Received { from: *from, bytes, age: now.mono.since(*arrived) });
        }
        for _ in 0..A_TURN {
            match self.inbox.order() {
                Some(Order::Ask(question)) => self.mind.guard(now, |core, out| question(core, now, out)),
                Some(Order::Stop) => return Turn::Stop,
                None => break,
            }
        }
        self.mind.tally.depth(Queue::Inbox, self.inbox.depth());
        if self.inbox.depth() > 0 {
            self.inbox_age = newest;
        }
        if self.inbox.is_empty() { Turn::Done } else { Turn::More }
    }

    /// Sends what the turn produced: one call for each socket and connection that has something.
    fn send(&mut self) {
        let mut wire = std::mem::take(&mut self.mind.effects.out.wire);
        let mut sends = std::mem::take(&mut self.mind.effects.out.sends);
        self.mind.tap_sent(&self.clock, &wire, &sends);
        for Outgoing { to, range, patience } in sends.drain(..) {
            let Some(bytes) = wire.get(range.clone()) else { continue };
            if let Some(shard) = to.shard() {
                self.mind.pass_inside(shard, self.clock.read().now.mono, bytes);
                continue;
            }
            self.mind.tally.message(Dir::Out, to.transport, bytes);
            let seat = self.seats.get(usize::from(to.listener.0));
            let gone = match to.transport {
                Transport::Udp => {
                    let port = seat.and_then(|seat| seat.port).and_then(|place| self.ports.get_mut(place));
                    let port = port.filter(|(_, port)| port.reaches(to.addr));
                    port.map(|(_, port)| port.push(to.addr, range)).is_some()
                }
                Transport::Tcp | Transport::Tls | Transport::Ws | Transport::Wss => {
                    let opening = Opening { source: seat.map(|seat| seat.addr), patience };
                    self.mind.send_stream(&self.streams, to, opening, bytes)
                }
            };
            if !gone {
                self.undelivered.push((to, Undelivered::Unreachable));
            }
        }
        for (listener, port) in &mut self.ports {
            let listener = *listener;
            port.flush(&wire, &mut self.refused);
            let news = |addr| (udp_peer(addr, listener), Undelivered::Unreachable);
            self.undelivered.extend(self.refused.drain(..).map(news));
        }
        for place in 0..self.ports.len() {
            if self.ports[place].1.was_refused() {
                self.read_errors(place);
            }
        }
        self.streams.flush();
        wire.clear();
        wire.shrink_to(KEPT_WIRE);
        self.mind.effects.out.wire = wire;
        self.mind.effects.out.sends = sends;
    }

    /// Lets the ports drop what the core has no time to refuse.
    fn shed(&mut self, now: Instant) {
        let may = self.ports.iter().all(|(_, port)| port.may_shed());
        let came = self.ports.iter_mut().map(|(_, port)| port.take_calls()).sum();
        let share = self.mind.core.shed(now, Droppable { may, came });
        for (_, port) in &mut self.ports {
            port.shed(share);
        }
    }

    fn publish(&mut self) {
        let (mut kept, mut dropped, mut shed) = (0, 0, 0);
        for (_, port) in &mut self.ports {
            let counts = port.take_counts();
            dropped += counts.dropped;
            shed += counts.shed;
            self.mind.tally.full(Queue::UdpSend, counts.overflowed);
            kept += port.kept();
        }
        if shed > 0 {
            self.mind.tally.shed(shed);
            if let Line::Log { more } = self.mind.shedding.occur(self.clock.read().now.mono) {
                tracing::warn!(
                    shed,
                    more,
                    "far more calls than can be taken: some are dropped without an answer"
                );
            }
        }
        if dropped > 0 {
            self.mind.tally.dropped(dropped);
            if let Line::Log { more } = self.mind.dropping.occur(self.clock.read().now.mono) {
                tracing::warn!(
                    dropped,
                    more,
                    "datagrams came faster than they were taken: the kernel dropped some"
                );
            }
        }
        self.mind.tally.depth(Queue::UdpSend, kept);
        self.mind.tally.full(Queue::StreamSend, self.streams.take_overflowed());
        self.mind.tally.depth(Queue::StreamSend, self.streams.kept());
        self.mind.tally.publish();
    }

    /// Waits for a socket, a stream, another thread or the next deadline. `now`: when the turn before it began.
    async fn sleep(&mut self, now: Instant) {
        if self.may_rest(now) && self.ease.owes_a_turn(now) {
            tokio::task::yield_now().await;
        }
        if self.may_rest(now) {
            return self.rest();
        }
        let deadline = self.mind.core.next_deadline();
        poll_fn(|cx| self.poll(cx, deadline)).await;
        self.inbox.awake();
        self.ease.slept();
    }

    /// Whether to wait in the receive call will do: nothing else can come, or it may wait as long.
    fn may_rest(&mut self, now: Instant) -> bool {
        let [(_, port)] = self.ports.as_slice() else { return false };
        let alone = self.mind.slots.len() == 1 && self.streams.is_empty();
        self.ease.may_rest(now, alone) && self.events.is_empty() && !port.is_blocked()
    }

    /// Waits in the receive call. A timer waits until it returns, for about [`udp::LONGEST_WAIT`] at most.
    fn rest(&mut self) {
        let Some((_, port)) = self.ports.first_mut() else { return };
        let waker = self.ease.waker.get_or_insert_with(|| port.waker().unwrap_or(Waker::noop().clone()));
        if self.inbox.poll(&Context::from_waker(waker)).is_ready() {
            return self.inbox.awake();
        }
        let waited = port.wait();
        self.inbox.awake();
        self.ease.rested(waited);
        if waited == Waited::Failed {
            self.read_errors(0);
        }
    }

    /// Whatever is ready first suffices: the turn looks at everything.
    fn poll(&mut self, cx: &mut Context<'_>, deadline: Option<Instant>) -> Poll<()> {
        let mut ready = false;
        for (_, port) in &mut self.ports {
            ready |= port.poll(cx).is_ready();
        }
        if ready || self.inbox.poll(cx).is_ready() {
            return Poll::Ready(());
        }
        if let Poll::Ready(event) = self.events.poll_recv(cx) {
            self.event = event;
            return Poll::Ready(());
        }
        self.timer.poll(cx, &self.clock, deadline)
    }
}

/// The datagrams of the last receive of every port.
fn arrived(ports: &[(ListenerId, udp::Port)]) -> impl Iterator<Item = (Peer, Datagram<'_>)> {
    let all = ports.iter().flat_map(|(listener, port)| {
        port.datagrams().map(|datagram| (udp_peer(datagram.from, *listener), datagram))
    });
    all.filter(|(_, datagram)| !is_padding(datagram.bytes))
}

/// The core, what it wants done, and where messages of other shards go.
struct Mind<C, O> {
    core: C,
    effects: Effects,
    index: usize,
    owners: O,
    slots: Vec<Slot<C>>,
    tally: Tally,
    dropping: Rate,
    shedding: Rate,
    tap: Option<Tap>,
}

impl<C: Core, O: Owners> Mind<C, O> {
    /// Gives a message of one call of ours to another's shard, this one included. What finds no room is lost, as on a
    /// network, and repeated.
    fn pass_inside(&mut self, shard: u8, now: Instant, bytes: &[u8]) {
        let from = Peer::inside(u8::try_from(self.index).unwrap_or(u8::MAX));
        let slot = self.slots.get(usize::from(shard));
        if slot.is_some_and(|slot| slot.pass(from, now, bytes).is_err()) {
            self.tally.full(Queue::Inbox, 1);
        }
    }

    /// Gives a received message to its owner: the core here, or another shard's inbox, once.
    fn receive(&mut self, reading: &Reading, from: Peer, bytes: &[u8], age: Duration) {
        let now = reading.now;
        self.tally.message(Dir::In, from.transport, bytes);
        // With one shard nobody has to ask.
        let owner = if self.slots.len() > 1 { self.owners.owner(bytes) } else { None };
        let other = owner.filter(|owner| *owner != self.index).and_then(|owner| self.slots.get(owner));
        let Some(slot) = other else {
            self.tap_received(reading, from, bytes, age);
            self.handle(now, Input::Received { from, bytes, age });
            return;
        };
        if slot.pass(from, reading.before(age), bytes).is_err() {
            self.tap_received(reading, from, bytes, age);
            self.tally.full(Queue::Inbox, 1);
            if let Line::Log { more } = self.dropping.occur(now.mono) {
                tracing::warn!(more, "a shard's inbox is full: messages are dropped, new calls get 503");
            }
            let owners = self.owners;
            self.guard(now, |_, out| owners.refuse(bytes, from, out));
        }
    }

    /// Captures a message that is taken in: by its owner, who knows whose it is. What one call says to another never was
    /// on a wire.
    fn tap_received(&mut self, reading: &Reading, from: Peer, bytes: &[u8], age: Duration) {
        if let Some(tap) = self.tap.as_mut().filter(|_| from.shard().is_none()) {
            tap.received(reading.wall_micros(age), from, bytes);
        }
    }

    /// Captures what is about to leave, and hands the turn's messages over.
    fn tap_sent(&mut self, clock: &Clock, wire: &[u8], sends: &[Outgoing]) {
        let (Some(tap), Some(marks)) = (&mut self.tap, &mut self.effects.marks) else { return };
        let at = if sends.is_empty() { 0 } else { clock.read().wall_micros(Duration::ZERO) };
        for Outgoing { to, range, .. } in sends.iter().filter(|sent| sent.to.shard().is_none()) {
            if let Some(bytes) = wire.get(range.clone()) {
                tap.sent(at, *to, bytes);
            }
        }
        tap.hand_over(marks);
    }

    fn handle(&mut self, now: Now, input: Input<'_>) {
        let message = input.message();
        let amend = |core: &mut C, out: &mut Effects| core.panicked(now, message, out);
        guard(&mut self.core, &mut self.effects, |core, out| core.handle(now, input, out), amend);
    }

    fn guard(&mut self, now: Now, work: impl FnOnce(&mut C, &mut Effects)) {
        guard(&mut self.core, &mut self.effects, work, |core, out| core.panicked(now, None, out));
    }

    /// Tells every other shard that a far end was not reached.
    fn tell_others(&mut self, (to, why): (Peer, Undelivered)) {
        for (index, slot) in self.slots.iter().enumerate() {
            if index != self.index && slot.unreachable(to, why).is_err() {
                self.tally.full(Queue::Inbox, 1);
            }
        }
    }

    /// Hands a message to the connection that takes it, here or on the shard that owns its flow.
    fn send_stream(&self, streams: &Streams, to: Peer, opening: Opening, bytes: &[u8]) -> bool {
        match to.flow.map(Streams::owner) {
            Some(owner) if owner != self.index => {
                match self.slots.get(owner).map(|slot| slot.send(to, bytes)) {
                    Some(Ok(())) => true,
                    Some(Err(Full)) => {
                        self.tally.full(Queue::Inbox, 1);
                        false
                    }
                    None => false,
                }
            }
            Some(_) | None => put(streams, to, opening, bytes),
        }
    }
}

/// Hands a message to a connection of this shard. Who is told 1xx or 2xx by one has been taken at his word: a stranger is
/// challenged, refused or hears nothing (R1).
fn put(streams: &Streams, to: Peer, opening: Opening, bytes: &[u8]) -> bool {
    let is_welcome = bytes.starts_with(b"SIP/2.0 1") || bytes.starts_with(b"SIP/2.0 2");
    if let Some(flow) = to.flow.filter(|_| is_welcome) {
        streams.trust(flow);
    }
    streams.send(&to, bytes, opening).is_ok()
}

/// The shard's one timer of the runtime; set anew only when its place on the grid changes.
struct Timer {
    sleep: Option<Pin<Box<Sleep>>>,
    at: Instant,
}

impl Timer {
    fn new() -> Timer {
        Timer { sleep: None, at: Instant::ZERO }
    }

    fn poll(&mut self, cx: &mut Context<'_>, clock: &Clock, deadline: Option<Instant>) -> Poll<()> {
        let Some(deadline) = deadline else { return Poll::Pending };
        let at = on_grid(deadline);
        let time = || clock.runtime_time(at.min(clock.read().now.mono + LONGEST_SLEEP));
        let sleep = match &mut self.sleep {
            Some(sleep) if self.at == at => sleep,
            Some(sleep) => {
                sleep.as_mut().reset(time());
                sleep
            }
            none @ None => none.insert(Box::pin(tokio::time::sleep_until(time()))),
        };
        let elapsed = sleep.as_mut().poll(cx);
        // A sleep that has elapsed, perhaps the longest and not the whole way, is not slept again.
        self.at = if elapsed.is_ready() { Instant::ZERO } else { at };
        elapsed
    }
}

/// The first point of the grid at or after a deadline.
fn on_grid(deadline: Instant) -> Instant {
    let grid = GRID.as_micros() as u64;
    Instant::from_micros(deadline.as_micros().div_ceil(grid).saturating_mul(grid))
}

/// A panic while the core works ends that call alone, by `amend` (R12). Messages that were whole by then go out: their
/// transactions have sent them.
pub fn guard<C>(
    core: &mut C,
    effects: &mut Effects,
    work: impl FnOnce(&mut C, &mut Effects),
    amend: impl FnOnce(&mut C, &mut Effects),
) {
    if catch_unwind(AssertUnwindSafe(|| work(core, effects))).is_err() {
        tracing::error!("a call's state machine panicked; the call is ended");
        if catch_unwind(AssertUnwindSafe(|| amend(core, effects))).is_err() {
            tracing::error!("ending a call after a panic panicked as well");
        }
    }
}

fn udp_peer(addr: SocketAddr, listener: ListenerId) -> Peer {
    Peer { transport: Transport::Udp, addr, listener, flow: None, name: None }
}

/// Keep-alives over UDP: line ends or zeros and nothing else. Nobody answers them.
fn is_padding(bytes: &[u8]) -> bool {
    match bytes.first() {
        None => true,
        Some(b'\r' | b'\n' | 0) => bytes.iter().all(|byte| matches!(byte, b'\r' | b'\n' | b' ' | 0)),
        Some(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wake_ups_stand_on_a_grid_and_never_come_early() {
        for (deadline, wake) in [(0, 0), (1, 50_000), (50_000, 50_000), (50_001, 100_000)] {
            assert_eq!(on_grid(Instant::from_micros(deadline)), Instant::from_micros(wake));
        }
    }

    #[test]
    fn only_line_ends_and_zeros_are_padding() {
        for padding in [&b""[..], b"\r\n\r\n", b"\0\0\0\0", b"\n"] {
            assert!(is_padding(padding), "{padding:?}");
        }
        assert!(!is_padding(b"\r\n\r\nOPTIONS sip:a SIP/2.0\r\n"));
        assert!(!is_padding(b"x"));
    }
}
