//! The threads that carry audio. Each waits for the ports of its calls, lets their sessions say where each packet goes,
//! and speaks where something of ours is to be heard.
//!
//! A packet costs one receive and one send call, and a share of the wait for it. Nothing here waits for the threads that
//! serve calls: orders come by a bounded queue, and what is told goes by a function that must not block.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};

use smallvec::SmallVec;

use super::own::Own;
use super::ports::{self, Pair};
use super::reel::Reel;
use super::rtp::{HEADER, Stream, is_rtcp};
use super::session::{Agreed, FRAME, Listen, Quality, Say, Session, SideId, Told};
use super::tape::Rate;
use crate::time::{Instant, Now};

/// Orders that wait for one thread: more than a burst of 1,000 new calls needs. A call whose order finds no room ends.
const ORDERS: usize = 16_384;

/// Ports that are looked at after one wait, before orders and what we say have their turn.
const READY: usize = 256;

/// Longer than any packet of audio that there is. What fills it may have been cut off, and is none.
const LONGEST: usize = 2_048;

/// How far what we say may be behind before it is no longer made up for.
const BEHIND: Duration = Duration::from_millis(100);

/// How often each call is looked at, and after how many looks each side has its report (RFC 3550 §6.2: 5 s).
const LOOK: Duration = Duration::from_secs(1);
const REPORT: u64 = 5;

/// What a call's audio is called by: whoever gives the orders never uses one twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    pub shard: u8,
    pub index: u32,
    pub nonce: u32,
}

/// What a thread is to do for a call.
/// Opens what is written down, once the rate is known. None: it was refused, and the call goes on.
pub struct Writing(pub Box<dyn FnOnce(Rate) -> Option<Reel> + Send>);

impl std::fmt::Debug for Writing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Writing")
    }
}

#[derive(Debug)]
pub enum Order {
    Open(SideId, Pair, Stream),
    Agree(SideId, Agreed),
    /// The first hears the second.
    Hears(SideId, SideId),
    HearsNobody(SideId),
    Say(SideId, Say),
    Hush(SideId),
    Watch(Option<Duration>),
    /// Writes down what these two say from now on: the first left, the other right; without one the first alone.
    Record(Writing, SideId, Option<SideId>),
    /// Another is on the right from now on.
    OnTheRight(SideId),
    /// Listens whether a side says anything, whose message is taken.
    Listen(SideId, Listen),
    /// Nothing more is written down, and what was is not kept.
    Discard,
    /// Ends with [`Heard::Closed`]: from then on its ports are free.
    Close(SideId),
}

/// What a thread tells of a call.
#[derive(Debug)]
pub enum Heard {
    Told(Told),
    /// A side's ports are closed; the even one of them, and how it was heard.
    Closed(SideId, u16, Quality),
}

/// Who is told. It must not block; what it gives back it is told again.
pub type Ears = Box<dyn Fn(Key, Heard) -> Result<(), Heard> + Send>;

/// What a thread has done since it began.
#[derive(Debug, Default)]
pub struct Counts {
    pub received: AtomicU64,
    pub relayed: AtomicU64,
    pub said: AtomicU64,
    /// Packets that the kernel did not take: an ICMP error of one before, a full buffer.
    pub refused: AtomicU64,
    pub sessions: AtomicU64,
}

/// One thread that carries audio.
#[derive(Debug)]
pub struct Plane {
    orders: SyncSender<(Key, Order)>,
    wake: Arc<Wake>,
    counts: Arc<Counts>,
    thread: Option<JoinHandle<()>>,
}

/// No room for an order: the thread is far behind, or is no more.
#[derive(Debug)]
pub struct Full(pub Box<Order>);

#[derive(Debug)]
struct Wake {
    event: EventFd,
    sleeps: AtomicBool,
    ends: AtomicBool,
}

impl Plane {
    /// Starts a thread that is alone. `name` is what reports call us (RFC 3550 §6.5.1).
    pub fn start(
        number: usize,
        name: String,
        clock: impl Fn() -> Now + Send + 'static,
        ears: Ears,
    ) -> io::Result<Plane> {
        Plane::start_beside(Arc::default(), number, name, clock, ears)
    }

    /// The same beside others that know of each other's ports.
    pub fn start_beside(
        own: Arc<Own>,
        number: usize,
        name: String,
        clock: impl Fn() -> Now + Send + 'static,
        ears: Ears,
    ) -> io::Result<Plane> {
        let (orders, inbox) = sync_channel(ORDERS);
        let event = EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)?;
        let wake = Arc::new(Wake { event, sleeps: AtomicBool::new(false), ends: AtomicBool::new(false) });
        let counts = Arc::<Counts>::default();
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(&wake.event, EpollEvent::new(EpollFlags::EPOLLIN, WOKEN))?;
        let mut floor = Floor {
            epoll,
            inbox,
            wake: wake.clone(),
            counts: counts.clone(),
            own,
            ears,
            untold: VecDeque::new(),
            name,
            calls: Vec::new(),
            vacant: Vec::new(),
            places: HashMap::new(),
            told: Vec::new(),
            packet: Vec::new(),
            saying: Vec::new(),
        };
        let thread =
            std::thread::Builder::new().name(format!("media-{number}")).spawn(move || floor.work(clock))?;
        Ok(Plane { orders, wake, counts, thread: Some(thread) })
    }

    /// Gives an order. Those of one call are done in their turn.
    pub fn order(&self, key: Key, order: Order) -> Result<(), Full> {
        self.orders.try_send((key, order)).map_err(|why| match why {
            TrySendError::Full((_, order)) | TrySendError::Disconnected((_, order)) => Full(Box::new(order)),
        })?;
        self.wake.up();
        Ok(())
    }

    pub fn counts(&self) -> &Counts {
        &self.counts
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        self.wake.ends.store(true, Ordering::SeqCst);
        self.wake.up();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Wake {
    /// A system call only if it sleeps.
    fn up(&self) {
        if self.sleeps.swap(false, Ordering::SeqCst) {
            let _ = self.event.write(1);
        }
    }
}

/// What an event of the kernel is about: the thread itself, or one port of one side of a call.
const WOKEN: u64 = u64::MAX;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Port {
    Rtp,
    Rtcp,
}

fn token(call: usize, side: SideId, port: Port) -> u64 {
    (call as u64) << 16 | u64::from(side.0) << 8 | u64::from(port == Port::Rtcp)
}

fn told_by(token: u64) -> (usize, SideId, Port) {
    let port = if token & 1 == 0 { Port::Rtp } else { Port::Rtcp };
    ((token >> 16) as usize, SideId((token >> 8) as u8), port)
}

/// One call: its session and its ports.
struct Call {
    key: Key,
    session: Session,
    lines: Vec<Line>,
    reel: Option<Reel>,
    left: Option<SideId>,
    /// It is among those to whom we say something.
    is_saying: bool,
}

struct Line {
    side: SideId,
    port: u16,
    rtp: UdpSocket,
    rtcp: UdpSocket,
    /// The kernel lets one address in alone, and sends there.
    is_connected: bool,
}

/// The thread's own.
struct Floor {
    epoll: Epoll,
    inbox: Receiver<(Key, Order)>,
    wake: Arc<Wake>,
    counts: Arc<Counts>,
    own: Arc<Own>,
    ears: Ears,
    /// What they had no room for, at most what the calls have to tell.
    untold: VecDeque<(Key, Heard)>,
    name: String,
    calls: Vec<Option<Call>>,
    vacant: Vec<usize>,
    places: HashMap<Key, usize>,
    told: Vec<Told>,
    packet: Vec<u8>,
    saying: Vec<usize>,
}

impl Floor {
    fn work(&mut self, clock: impl Fn() -> Now) {
        let mut events = [EpollEvent::empty(); READY];
        let mut buffer = [0; LONGEST];
        let now = clock().mono;
        let (mut frame, mut look, mut looks) = (now + FRAME, now + LOOK, 0);
        loop {
            let ready = self.wait(clock(), frame, look, &mut events);
            if self.wake.ends.load(Ordering::SeqCst) {
                return;
            }
            let now = clock();
            for event in &events[..ready] {
                if event.data() != WOKEN {
                    self.receive(now.mono, event.data(), &mut buffer);
                } else {
                    let _ = self.wake.event.read();
                }
            }
            let now = clock();
            while now.mono >= frame {
                self.speak(now.mono);
                // What is far behind is left out: it would come in a burst that nobody can play.
                frame = if now.mono.since(frame) > BEHIND { now.mono + FRAME } else { frame + FRAME };
            }
            self.say_again();
            if now.mono >= look {
                self.look(now, looks);
                (look, looks) = (now.mono + LOOK, looks + 1);
            }
        }
    }

    /// Does what is ordered, and waits for packets, for more orders and for the next frame.
    fn wait(&mut self, now: Now, frame: Instant, look: Instant, events: &mut [EpollEvent]) -> usize {
        // Whoever gives an order from now on wakes us.
        self.wake.sleeps.store(true, Ordering::SeqCst);
        self.obey(now);
        let until = if self.saying.is_empty() && self.untold.is_empty() { look } else { frame.min(look) };
        let millis = if self.wake.ends.load(Ordering::SeqCst) {
            0
        } else {
            until.since(now.mono).as_micros().div_ceil(1_000)
        };
        let ready = self.epoll.wait(events, EpollTimeout::from(u16::try_from(millis).unwrap_or(u16::MAX)));
        self.wake.sleeps.store(false, Ordering::SeqCst);
        // A signal woke us: the next wait finds what is ready.
        ready.unwrap_or(0)
    }

    fn obey(&mut self, now: Now) {
        for _ in 0..ORDERS {
            match self.inbox.try_recv() {
                Ok((key, order)) => self.perform(now, key, order),
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => return,
            }
        }
    }

    fn perform(&mut self, now: Now, key: Key, order: Order) {
        let at = match (self.places.get(&key), matches!(order, Order::Open(..))) {
            (Some(at), _) => *at,
            (None, true) => self.begin(key),
            // It has ended since.
            (None, false) => return,
        };
        let Some(call) = self.calls[at].as_mut() else { return };
        match order {
            Order::Open(side, pair, stream) => {
                call.session.open(side, stream);
                let Pair { port, rtp, rtcp } = pair;
                self.own.add(port);
                let line = Line { side, port, rtp, rtcp, is_connected: false };
                listen(&self.epoll, token(at, side, Port::Rtp), &line.rtp);
                listen(&self.epoll, token(at, side, Port::Rtcp), &line.rtcp);
                call.lines.push(line);
            }
            Order::Agree(side, agreed) => {
                let moved = call.session.agree(now.mono, side, agreed);
                if moved
                    && let Some(line) = call.line(side)
                    && line.is_connected
                {
                    line.is_connected = false;
                    let again = line.rtcp.local_addr().and_then(|here| ports::reopened(&line.rtp, here.ip()));
                    if let Ok(again) = again {
                        line.rtp = again;
                        listen(&self.epoll, token(at, side, Port::Rtp), &line.rtp);
                    }
                }
            }
            Order::Hears(to, from) => call.session.hears(to, from),
            Order::HearsNobody(to) => call.session.hears_nobody(to),
            Order::Say(side, say) => {
                if call.session.say(side, say, &mut self.told)
                    && !std::mem::replace(&mut call.is_saying, true)
                {
                    self.saying.push(at);
                }
            }
            Order::Hush(side) => call.session.hush(side),
            Order::Watch(patience) => call.session.watch(now.mono, patience),
            Order::Record(Writing(open), left, right) => {
                let rate = call.session.record(now.mono, left, right);
                (call.reel, call.left) = (open(rate), Some(left));
                if call.reel.is_none() {
                    call.session.end_recording(now.mono, |_| {});
                }
            }
            Order::OnTheRight(right) => {
                if let Some(left) = call.left.filter(|_| call.reel.is_some()) {
                    call.session.record(now.mono, left, Some(right));
                }
            }
            Order::Listen(side, listen) => call.session.listen(now.mono, side, listen),
            Order::Discard => {
                call.session.end_recording(now.mono, |_| {});
                call.reel.take().into_iter().for_each(Reel::discard);
            }
            Order::Close(side) => self.close(now, at, side),
        }
        self.tell(at);
    }

    fn begin(&mut self, key: Key) -> usize {
        let call = Call {
            key,
            session: Session::default(),
            lines: Vec::new(),
            reel: None,
            left: None,
            is_saying: false,
        };
        let at = self.vacant.pop().unwrap_or(self.calls.len());
        if at == self.calls.len() {
            self.calls.push(None);
        }
        self.calls[at] = Some(call);
        self.places.insert(key, at);
        self.counts.sessions.store(self.places.len() as u64, Ordering::Relaxed);
        at
    }

    fn close(&mut self, now: Now, at: usize, side: SideId) {
        let Some(call) = self.calls[at].as_mut() else { return };
        let Some(line) = call.lines.iter().position(|line| line.side == side) else { return };
        let Line { port, rtcp, .. } = call.lines.swap_remove(line);
        self.own.remove(port);
        self.packet.clear();
        if let Some(to) = call.session.report(now, side, &self.name, true, &mut self.packet) {
            let _ = rtcp.send_to(&self.packet, to);
        }
        if call.lines.is_empty() {
            call.end_recording(now.mono);
        }
        let quality = call.session.close(side).unwrap_or_default();
        let key = call.key;
        let is_over = call.lines.is_empty();
        self.say_of(key, Heard::Closed(side, port, quality));
        if is_over {
            self.places.remove(&key);
            self.calls[at] = None;
            self.saying.retain(|other| *other != at);
            self.vacant.push(at);
            self.counts.sessions.store(self.places.len() as u64, Ordering::Relaxed);
        }
    }

    /// One datagram of a port that has some.
    fn receive(&mut self, now: Instant, token: u64, buffer: &mut [u8; LONGEST]) {
        let (at, side, port) = told_by(token);
        let Some(call) = self.calls.get_mut(at).and_then(Option::as_mut) else { return };
        let Some(line) = call.line(side) else { return };
        let received = match port {
            Port::Rtp => line.rtp.recv_from(buffer),
            Port::Rtcp => line.rtcp.recv_from(buffer),
        };
        let (length, from) = match received {
            Ok((length, from)) => (length, SocketAddr::new(from.ip().to_canonical(), from.port())),
            Err(why) if why.kind() == io::ErrorKind::WouldBlock => return,
            // What we sent before came to nobody (ICMP).
            Err(_) => return count(&self.counts.refused),
        };
        count(&self.counts.received);
        // What we say to somebody who has named a port of ours must not come round.
        if port == Port::Rtp && !line.is_connected && self.own.sent(from, &line.rtp) {
            return count(&self.counts.refused);
        }
        // Some send both to one port though we did not say that they may (RFC 5761 §5.1.1).
        if port == Port::Rtcp || is_rtcp(&buffer[..length]) {
            return call.session.hear_rtcp(now, side, from, &buffer[..length]);
        }
        let length = if length < LONGEST { length } else { 0 };
        let Call { session, reel, .. } = call;
        let write = |block: &[i16]| reel.iter_mut().for_each(|reel| write(reel, block));
        if let Some((to, length)) =
            session.hear(now, side, from, &mut buffer[..length], &mut self.told, write)
        {
            let sent = call.send(to, &buffer[..length]);
            count(if sent { &self.counts.relayed } else { &self.counts.refused });
        }
        if !self.told.is_empty() {
            self.tell(at);
        }
    }

    /// Says the next 20 ms to everybody to whom we say something.
    fn speak(&mut self, now: Instant) {
        let mut saying = std::mem::take(&mut self.saying);
        saying.retain(|at| {
            let Some(Call { session, lines, .. }) = self.calls[*at].as_mut() else { return false };
            let packet = &mut self.packet;
            session.tick(now, &mut self.told, |side, to, header: [u8; HEADER], payload| {
                packet.clear();
                packet.extend_from_slice(&header);
                packet.extend_from_slice(payload);
                let sent =
                    lines.iter().find(|line| line.side == side).is_some_and(|line| line.send(to, packet));
                count(if sent { &self.counts.said } else { &self.counts.refused });
            });
            let goes_on = session.is_saying();
            if let Some(call) = self.calls[*at].as_mut() {
                call.is_saying = goes_on;
            }
            self.tell(*at);
            goes_on
        });
        // Nothing is said to anybody else meanwhile: orders come in between frames.
        self.saying = saying;
    }

    /// Looks at every call: who is silent for too long, and whose report is due.
    fn look(&mut self, now: Now, looks: u64) {
        for at in 0..self.calls.len() {
            let Some(call) = self.calls[at].as_mut() else { continue };
            call.session.look(now.mono, &mut self.told);
            let Call { session, reel, .. } = call;
            session.write_down(now.mono, |block| reel.iter_mut().for_each(|reel| write(reel, block)));
            if (looks + at as u64).is_multiple_of(REPORT) {
                for line in &call.lines {
                    self.packet.clear();
                    let to = call.session.report(now, line.side, &self.name, false, &mut self.packet);
                    if to.is_some_and(|to| line.rtcp.send_to(&self.packet, to).is_err()) {
                        count(&self.counts.refused);
                    }
                }
            }
            self.tell(at);
        }
    }

    fn tell(&mut self, at: usize) {
        let Some(call) = self.calls[at].as_mut() else { return self.told.clear() };
        let mut said: SmallVec<[Told; 4]> = SmallVec::new();
        for told in self.told.drain(..) {
            if let Told::Latched(side) = told
                && let Some(only) = call.session.only(side)
                && let Some(line) = call.line(side)
            {
                line.is_connected = line.rtp.connect(only).is_ok();
            }
            said.push(told);
        }
        let key = call.key;
        said.into_iter().for_each(|told| self.say_of(key, Heard::Told(told)));
    }

    fn say_of(&mut self, key: Key, heard: Heard) {
        match self.untold.is_empty() {
            true => self.untold.extend((self.ears)(key, heard).err().map(|heard| (key, heard))),
            false => self.untold.push_back((key, heard)),
        }
    }

    fn say_again(&mut self) {
        while let Some((key, heard)) = self.untold.pop_front() {
            if let Err(heard) = (self.ears)(key, heard) {
                return self.untold.push_front((key, heard));
            }
        }
    }
}

impl Call {
    fn end_recording(&mut self, now: Instant) {
        let Call { session, reel, .. } = self;
        session.end_recording(now, |block| reel.iter_mut().for_each(|reel| write(reel, block)));
        *reel = None;
    }

    fn line(&mut self, side: SideId) -> Option<&mut Line> {
        self.lines.iter_mut().find(|line| line.side == side)
    }

    fn send(&self, to: SideId, packet: &[u8]) -> bool {
        let line = self.lines.iter().find(|line| line.side == to);
        line.is_some_and(|line| match line.is_connected {
            true => line.rtp.send(packet).is_ok(),
            false => self.session.to(to).is_some_and(|to| line.rtp.send_to(packet, to).is_ok()),
        })
    }
}

impl Line {
    fn send(&self, to: SocketAddr, packet: &[u8]) -> bool {
        let sent = if self.is_connected { self.rtp.send(packet) } else { self.rtp.send_to(packet, to) };
        sent.is_ok()
    }
}

/// A message has one channel: the left one.
fn write(reel: &mut Reel, block: &[i16]) {
    match reel.channels() {
        1 => reel.write(&block.iter().copied().step_by(2).collect::<SmallVec<[i16; 1_024]>>()),
        _ => reel.write(block),
    }
}

fn listen(epoll: &Epoll, token: u64, socket: &impl AsFd) {
    // It fails only where the kernel has no memory for one more; the port is silent then, as a lost one is.
    let _ = epoll.add(socket, EpollEvent::new(EpollFlags::EPOLLIN, token));
}

fn count(counter: &AtomicU64) {
    // One thread alone writes it.
    counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
}
