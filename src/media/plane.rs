//! The threads that carry audio. Each waits for the ports of its calls, lets their sessions say where each packet goes,
//! and speaks where something of ours is to be heard.
//!
//! A packet costs one receive and one send call, and a share of the wait for it. Nothing here waits for the threads that
//! serve calls: orders come by a bounded queue, and what is told goes by a function that must not block. A bug in one
//! call's audio ends that call (R12) and no other; a thread that is no more says so ([`Counts::is_dead`]).

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};

use smallvec::SmallVec;

use super::counts::{Counts, Dropped, count};
use super::event::Digit;
use super::line::{Line, Port, WOKEN, listen, token, told_by};
use super::own::Own;
use super::ports::{self, Pair};
use super::reel::Reel;
use super::rtp::{HEADER, Stream, is_rtcp};
use super::sampler::{self, Sampler};
use super::session::{Agreed, FRAME, Listen, Quality, Say, Session, SideId, Told};
use super::tape::Rate;
use crate::time::{Instant, Now};

/// Orders that wait for one thread: more than a burst of 1,000 new calls needs.
const ORDERS: usize = 16_384;

/// What is told may wait for those who are told it. A call has few things to tell, but its sides press keys as they like:
/// beyond this nobody hears of those.
const UNTOLD: usize = 4_096;

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
    /// A side is another call of ours, so that what it hears comes from a port of ours.
    Inside(SideId),
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
    /// Listens for keys in a side's audio, or no longer, where it has no telephone events.
    Keys(SideId, bool),
    /// Has a side hear a key for so long.
    Press(SideId, Digit, Duration),
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
    /// A bug has ended its audio. Its sides are closed, and that is told next.
    Broken,
}

/// Who is told. It must not block; what it gives back it is told again.
pub type Ears = Box<dyn Fn(Key, Heard) -> Result<(), Heard> + Send>;

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
        let floor = Floor {
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
            sampler: Sampler::default(),
            working: None,
        };
        let last = Last(counts.clone());
        let life = move || {
            // Dropped behind the floor, with which all ports are closed.
            let _last = last;
            comes_first();
            floor.live(clock);
        };
        let thread = std::thread::Builder::new().name(format!("media-{number}")).spawn(life)?;
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

    /// Whether it is no more: what is ordered comes to nothing, and its ports are free.
    pub fn is_dead(&self) -> bool {
        self.counts.is_dead()
    }

    pub fn counts(&self) -> &Arc<Counts> {
        &self.counts
    }
}

/// Where the system allows it (root, CAP_SYS_NICE, LimitNICE=), this thread runs before those that can wait: a packet is late
/// in milliseconds, a message of SIP in hundreds of them.
fn comes_first() {
    /// As a nice value, of which -20 is the most.
    const BEFORE: i32 = -10;
    if let Err(error) = rustix::process::setpriority_process(Some(rustix::thread::gettid()), BEFORE) {
        tracing::debug!(%error, "audio has no precedence over other threads");
    }
}

/// Says that a thread is no more.
struct Last(Arc<Counts>);

impl Drop for Last {
    fn drop(&mut self) {
        self.0.die();
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
    sampler: Sampler,
    /// Whose audio is worked on, should that panic.
    working: Option<usize>,
}

impl Floor {
    /// Works until it is ended. A panic ends the call that was worked on, or where it was none's all of them, and then it
    /// goes on; one in ending them, or where there is none, ends the thread.
    fn live(mut self, clock: impl Fn() -> Now) {
        while let Err(bug) = catch_unwind(AssertUnwindSafe(|| self.work(&clock))) {
            if self.places.is_empty() {
                // There is no call that it could end with: it would come again at once.
                resume_unwind(bug);
            }
            tracing::error!("a bug in the audio of calls: those that it was in are ended");
            self.told.clear();
            let all = 0..self.calls.len();
            let broken = self.working.take().map_or(all, |at| at..at + 1);
            broken.for_each(|at| self.break_off(at));
            let says = |at: &usize| self.calls[*at].as_ref().is_some_and(|call| call.is_saying);
            self.saying = (0..self.calls.len()).filter(says).collect();
        }
    }

    fn work(&mut self, clock: &impl Fn() -> Now) {
        let mut events = [EpollEvent::empty(); READY];
        // A byte more than any: what fills it is too long.
        let mut buffer = [0; LONGEST + 1];
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
            self.working = None;
            let now = clock();
            while now.mono >= frame {
                self.speak(now);
                // What is far behind is left out: it would come in a burst that nobody can play.
                frame = if now.mono.since(frame) > BEHIND { now.mono + FRAME } else { frame + FRAME };
            }
            self.say_again();
            if now.mono >= look {
                self.look(now, looks);
                (look, looks) = (now.mono + LOOK, looks + 1);
            }
            self.working = None;
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
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
            }
        }
        self.working = None;
    }

    fn perform(&mut self, now: Now, key: Key, order: Order) {
        let at = match (self.places.get(&key), matches!(order, Order::Open(..))) {
            (Some(at), _) => *at,
            (None, true) => self.begin(key),
            // It has ended since.
            (None, false) => return,
        };
        self.working = Some(at);
        let Some(call) = self.calls[at].as_mut() else { return };
        match order {
            Order::Open(side, pair, stream) => {
                let Pair { port, rtp, rtcp } = pair;
                self.own.add(port);
                sampler::ask(&rtp);
                listen(&self.epoll, token(at, side, Port::Rtp), &rtp);
                listen(&self.epoll, token(at, side, Port::Rtcp), &rtcp);
                call.lines.push(Line::new(side, port, rtp, rtcp));
                call.session.open(side, stream);
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
                        sampler::ask(&again);
                        (line.rtp, line.overrun) = (again, 0);
                        listen(&self.epoll, token(at, side, Port::Rtp), &line.rtp);
                    }
                }
            }
            Order::Inside(side) => {
                if let Some(line) = call.line(side) {
                    line.is_inside = true;
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
                    self.told.push(Told::NotKept);
                }
            }
            Order::OnTheRight(right) => {
                if let Some(left) = call.left.filter(|_| call.reel.is_some()) {
                    call.session.record(now.mono, left, Some(right));
                }
            }
            Order::Listen(side, listen) => call.session.listen(now.mono, side, listen),
            Order::Keys(side, awaits) => call.session.await_keys(side, awaits),
            Order::Press(side, digit, duration) => {
                if call.session.press(side, digit, duration) && !std::mem::replace(&mut call.is_saying, true)
                {
                    self.saying.push(at);
                }
            }
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
        let Some(place) = call.lines.iter().position(|line| line.side == side) else { return };
        self.own.remove(call.lines[place].port);
        self.packet.clear();
        if let Some(to) = call.session.report(now, side, &self.name, true, &mut self.packet) {
            let _ = call.lines[place].rtcp.send_to(&self.packet, to);
        }
        let is_over = call.lines.len() == 1;
        if is_over {
            call.end_recording(now.mono);
        }
        let quality = call.session.close(side).unwrap_or_default();
        let key = call.key;
        // Its ports are closed when that is told.
        let port = call.lines.swap_remove(place).port;
        self.say_of(key, Heard::Closed(side, port, quality));
        if is_over {
            self.places.remove(&key);
            self.calls[at] = None;
            self.saying.retain(|other| *other != at);
            self.vacant.push(at);
            self.counts.sessions.store(self.places.len() as u64, Ordering::Relaxed);
        }
    }

    /// Nothing more of a call is carried: a bug showed in it. What it has told is told, and its ports are free.
    fn break_off(&mut self, at: usize) {
        let Some(call) = self.calls.get_mut(at).and_then(Option::take) else { return };
        count(&self.counts.broken);
        let Call { key, session, lines, .. } = call;
        // It may be just this that fails.
        let quality = |side| catch_unwind(AssertUnwindSafe(|| session.quality(side))).ok().flatten();
        let closed: SmallVec<[Heard; 4]> = lines
            .iter()
            .map(|line| Heard::Closed(line.side, line.port, quality(line.side).unwrap_or_default()))
            .collect();
        lines.iter().for_each(|line| self.own.remove(line.port));
        drop(lines);
        self.places.remove(&key);
        self.vacant.push(at);
        self.counts.sessions.store(self.places.len() as u64, Ordering::Relaxed);
        self.say_of(key, Heard::Broken);
        closed.into_iter().for_each(|heard| self.say_of(key, heard));
    }

    /// One datagram of a port that has some.
    fn receive(&mut self, now: Instant, token: u64, buffer: &mut [u8; LONGEST + 1]) {
        let (at, side, port) = told_by(token);
        let Some(call) = self.calls.get_mut(at).and_then(Option::as_mut) else { return };
        self.working = Some(at);
        let counts = &self.counts;
        let Some(line) = call.line(side) else { return };
        let received = match port {
            Port::Rtp => self.sampler.receive(&line.rtp, buffer),
            Port::Rtcp => line.rtcp.recv_from(buffer).map(|(length, from)| (length, from, None)),
        };
        let (length, from, stamp) = match received {
            Ok((length, from, stamp)) => {
                (length, SocketAddr::new(from.ip().to_canonical(), from.port()), stamp)
            }
            Err(why) if why.kind() == io::ErrorKind::WouldBlock => return,
            // What we sent before came to nobody (ICMP).
            Err(why) => return counts.leave_out(Dropped::of(&why)),
        };
        // Some send both to one port though we did not say that they may (RFC 5761 §5.1.1).
        if port == Port::Rtcp || is_rtcp(&buffer[..length]) {
            return call.session.hear_rtcp(now, side, from, &buffer[..length]);
        }
        count(&counts.received);
        // What we say to somebody who has named a port of ours must not come round.
        if !line.is_connected && !line.is_inside && self.own.sent(from, &line.rtp) {
            return counts.leave_out(Dropped::Stranger);
        }
        if let Some(stamp) = stamp {
            let before = std::mem::replace(&mut line.overrun, stamp.overrun);
            counts.leave_out_many(Dropped::Overrun, u64::from(stamp.overrun.wrapping_sub(before)));
        }
        if length > LONGEST {
            return counts.leave_out(Dropped::TooLong);
        }
        let Call { session, reel, .. } = call;
        let write = |block: &[i16]| reel.iter_mut().for_each(|reel| write(reel, block));
        let onward = session.hear(now, side, from, &mut buffer[..length], &mut self.told, write);
        if let Some((to, length)) = onward {
            match call.send(to, &buffer[..length]) {
                Ok(()) => {
                    count(&counts.relayed);
                    stamp.and_then(|stamp| stamp.age()).into_iter().for_each(|age| counts.delays.count(age));
                }
                Err(why) => counts.leave_out(Dropped::of(&why)),
            }
        } else if let Some(why) = session.take_refusal() {
            counts.leave_out(why);
        }
        if !self.told.is_empty() {
            self.tell(at);
        }
    }

    /// Says the next 20 ms to everybody to whom we say something.
    fn speak(&mut self, now: Now) {
        let mut saying = std::mem::take(&mut self.saying);
        saying.retain(|at| {
            self.working = Some(*at);
            let Some(Call { session, lines, .. }) = self.calls[*at].as_mut() else { return false };
            let packet = &mut self.packet;
            let is_notice =
                session.tick(now.mono, &mut self.told, |side, to, header: [u8; HEADER], payload| {
                    packet.clear();
                    packet.extend_from_slice(&header);
                    packet.extend_from_slice(payload);
                    let Some(line) = lines.iter().find(|line| line.side == side) else { return };
                    match line.send(to, packet) {
                        Ok(()) => count(&self.counts.said),
                        Err(why) => self.counts.leave_out(Dropped::of(&why)),
                    }
                });
            let goes_on = session.is_saying();
            if let Some(call) = self.calls[*at].as_mut() {
                call.is_saying = goes_on;
                call.reel.iter_mut().filter(|_| is_notice).for_each(|reel| reel.notice_said(now.wall));
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
            self.working = Some(at);
            call.session.look(now.mono, &mut self.told);
            let Call { session, reel, .. } = call;
            session.write_down(now.mono, |block| reel.iter_mut().for_each(|reel| write(reel, block)));
            if (looks + at as u64).is_multiple_of(REPORT) {
                for line in &call.lines {
                    self.packet.clear();
                    if let Some(to) = call.session.report(now, line.side, &self.name, false, &mut self.packet)
                    {
                        // Where nobody hears it, the next one is as good.
                        let _ = line.rtcp.send_to(&self.packet, to);
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
        if self.untold.len() >= UNTOLD && matches!(heard, Heard::Told(Told::Pressed(..))) {
            return count(&self.counts.untold);
        }
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

    fn send(&self, to: SideId, packet: &[u8]) -> io::Result<()> {
        let line = self.lines.iter().find(|line| line.side == to).ok_or(io::ErrorKind::NotConnected)?;
        match line.is_connected {
            true => line.rtp.send(packet).map(drop),
            false => {
                let to = self.session.to(to).ok_or(io::ErrorKind::NotConnected)?;
                line.rtp.send_to(packet, to).map(drop)
            }
        }
    }
}

/// A message has one channel: the left one.
fn write(reel: &mut Reel, block: &[i16]) {
    match reel.channels() {
        1 => reel.write(&block.iter().copied().step_by(2).collect::<SmallVec<[i16; 1_024]>>()),
        _ => reel.write(block),
    }
}
