//! The audio of one shard's calls: its share of the ports, and the threads that carry it.
//!
//! A call's sides are all with one thread. Where that is no more, its calls end as by a bug (R12), and new ones go to
//! another; where none is left they get 503.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use metrics::{Counter, counter};
use smallvec::SmallVec;

use super::desk::sends_from;
use super::exchange;
use crate::media::plane::{Full, Heard, Key, Order, Plane, Writing};
use crate::media::ports::{NoPort, Ports};
use crate::media::reel::{Format, Recorder, Sheet};
use crate::media::rtp::Stream;
use crate::media::session::{Quality, SideId};
use crate::media::tape::Rate;

/// Somewhere far away: what the kernel sends from to there is what it sends from where nothing nearer is known.
const FAR_AWAY: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
/// Orders that wait beside a thread's own queue of 16,384: it is a second or more behind. Half of the room is for what
/// calls in progress need, so a new one gets 503. An order that finds no room ends its call; only what closes ports may
/// wait beyond this, once for each that is open.
const WAITING: usize = 8_192;

/// A shard's booth.
pub struct Booth {
    ports: Ports,
    /// What descriptions name, whatever the ports are bound to.
    advertise: Option<IpAddr>,
    /// Shared with the other shards.
    planes: Arc<[Plane]>,
    lanes: Box<[Lane]>,
    /// The calls that have ports, by what the threads call them.
    homes: HashMap<Key, Home>,
    /// Of calls whose audio could not be carried on.
    news: VecDeque<(Key, Heard)>,
    recordings: Recorder,
    messages: Recorder,
    /// Orders that found no room.
    full: Counter,
}

/// The way to one thread.
#[derive(Default)]
struct Lane {
    /// Given before any other: a port is only free once its closing was heard.
    waiting: VecDeque<(Key, Order)>,
    /// It is no more, and its calls know.
    is_buried: bool,
}

/// Where the audio of a call is.
struct Home {
    plane: usize,
    /// Its open sides, and the even port of each.
    sides: SmallVec<[(SideId, u16); 2]>,
    /// An order of its found no room: it is told to end.
    is_lost: bool,
}

impl Booth {
    /// `recordings` and `messages`: who writes them.
    pub fn new(
        ports: Ports,
        advertise: Option<IpAddr>,
        planes: Arc<[Plane]>,
        recordings: Recorder,
        messages: Recorder,
    ) -> Booth {
        let lanes = planes.iter().map(|_| Lane::default()).collect();
        let full = counter!("strowger_queue_full_total", "queue" => "media");
        let (homes, news) = (HashMap::new(), VecDeque::new());
        Booth { ports, advertise, planes, lanes, homes, news, recordings, messages, full }
    }

    /// What a description names to a side whose signalling is there.
    fn named(&self, towards: Option<IpAddr>) -> IpAddr {
        let addr = self.ports.addr();
        match (self.advertise, towards) {
            (Some(advertise), _) => advertise,
            (None, _) if !addr.is_unspecified() => addr,
            (None, Some(towards)) if addr.is_ipv6() || towards.is_ipv4() => {
                sends_from(towards.to_canonical()).unwrap_or(addr)
            }
            (None, _) => sends_from(FAR_AWAY).unwrap_or(addr),
        }
    }

    /// The thread that a new call goes to: any that lives.
    fn choose(&self, call: Key) -> Option<usize> {
        let (count, first) = (self.planes.len(), call.index as usize);
        (0..count).map(|more| (first + more) % count).find(|at| !self.planes[*at].is_dead())
    }

    fn give(&self, at: usize, call: Key, order: Order) -> Option<Order> {
        match self.planes[at].order(call, order) {
            Ok(()) => None,
            Err(Full(order)) => Some(*order),
        }
    }

    fn catch_up(&mut self, at: usize) {
        while let Some((call, order)) = self.lanes[at].waiting.pop_front() {
            if let Some(order) = self.give(at, call, order) {
                return self.lanes[at].waiting.push_front((call, order));
            }
        }
    }

    /// A thread is no more, and with it the ports that it had are closed: their calls end.
    fn bury(&mut self, at: usize) {
        let lane = &mut self.lanes[at];
        lane.is_buried = true;
        lane.waiting.clear();
        let lost: Vec<(Key, Home)> = self.homes.extract_if(|_, home| home.plane == at).collect();
        tracing::error!(
            thread = at,
            calls = lost.len(),
            "a thread that carries audio has died: its calls are ended"
        );
        for (call, home) in lost {
            self.news.push_back((call, Heard::Broken));
            let closed = |(side, port)| (call, Heard::Closed(side, port, Quality::default()));
            self.news.extend(home.sides.into_iter().map(closed));
        }
    }
}

impl exchange::Booth for Booth {
    fn open(
        &mut self,
        call: Key,
        side: SideId,
        stream: Stream,
        towards: Option<IpAddr>,
    ) -> Option<SocketAddr> {
        let named = self.named(towards);
        let known = self.homes.get(&call).map(|home| home.plane);
        let at = known.or_else(|| self.choose(call))?;
        if self.lanes[at].waiting.len() >= WAITING / 2 || self.planes[at].is_dead() {
            return None;
        }
        match self.ports.open(named.is_ipv4()) {
            Ok(pair) => {
                let port = pair.port;
                let new = || Home { plane: at, sides: SmallVec::new(), is_lost: false };
                self.homes.entry(call).or_insert_with(new).sides.push((side, port));
                self.order(call, Order::Open(side, pair, stream));
                Some(SocketAddr::new(named, port))
            }
            Err(why @ (NoPort::Exhausted(_) | NoPort::Refused(_))) => {
                tracing::debug!(%why, "no port");
                None
            }
        }
    }

    fn record(&mut self, call: Key, sheet: Sheet, left: SideId, right: Option<SideId>) {
        let recorder = if right.is_some() { &self.recordings } else { &self.messages }.clone();
        let channels = if right.is_some() { 2 } else { 1 };
        let open = move |rate: Rate| {
            let format = Format { channels, rate };
            // Refusals are counted and told of by who writes.
            recorder.start(Sheet { sample_rate: rate.hz(), channels, ..sheet }, format).ok()
        };
        self.order(call, Order::Record(Writing(Box::new(open)), left, right));
    }

    fn keeps_messages(&self) -> bool {
        self.messages.has_room()
    }

    fn order(&mut self, call: Key, order: Order) {
        let Some(at) = self.homes.get(&call).map(|home| home.plane) else { return };
        if self.planes[at].is_dead() {
            return;
        }
        self.catch_up(at);
        let is_next = self.lanes[at].waiting.is_empty();
        let left = if is_next { self.give(at, call, order) } else { Some(order) };
        let Some(order) = left else { return };
        self.full.increment(1);
        if self.lanes[at].waiting.len() < WAITING || matches!(order, Order::Close(_)) {
            self.lanes[at].waiting.push_back((call, order));
        } else if let Some(home) = self.homes.get_mut(&call)
            && !std::mem::replace(&mut home.is_lost, true)
        {
            self.news.push_back((call, Heard::Broken));
        }
    }

    fn closed(&mut self, call: Key, side: SideId, port: u16) {
        self.ports.free(port);
        if let Some(home) = self.homes.get_mut(&call) {
            home.sides.retain(|(open, _)| *open != side);
            let (at, is_over) = (home.plane, home.sides.is_empty());
            if is_over {
                self.homes.remove(&call);
            }
            self.catch_up(at);
        }
    }

    fn told(&mut self) -> Option<(Key, Heard)> {
        for at in 0..self.planes.len() {
            if self.planes[at].is_dead() && !self.lanes[at].is_buried {
                self.bury(at);
            }
        }
        self.news.pop_front()
    }

    fn used(&self) -> usize {
        self.ports.used()
    }

    fn left(&self) -> usize {
        if self.planes.iter().all(Plane::is_dead) { 0 } else { self.ports.left() }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv6Addr, UdpSocket};
    use std::panic::resume_unwind;
    use std::sync::mpsc;
    use std::time::{Duration, Instant};

    use super::exchange::Booth as _;
    use super::*;
    use crate::engine::clock::Clock;
    use crate::media::plane::Ears;
    use crate::media::reel::{Reels, Settings};

    const SIDE: SideId = SideId(0);

    fn call(index: u32) -> Key {
        Key { shard: 0, index, nonce: 1 }
    }

    fn stream() -> Stream {
        Stream::new(1, 1, 1, 8_000)
    }

    fn plane(ears: Ears) -> Plane {
        let clock = Clock::start();
        Plane::start(0, "test".to_owned(), move || clock.read().now, ears).unwrap()
    }

    /// A thread that a bug in one call's audio ends.
    fn mortal() -> Plane {
        plane(Box::new(|_, heard| match heard {
            Heard::Broken => resume_unwind(Box::new("a bug in telling of a bug")),
            Heard::Told(_) | Heard::Closed(..) => Ok(()),
        }))
    }

    fn bug() -> Order {
        Order::Record(Writing(Box::new(|_| resume_unwind(Box::new("a bug")))), SIDE, None)
    }

    /// A booth with those threads and eight pairs of ports.
    fn booth(planes: impl IntoIterator<Item = Plane>) -> Booth {
        let free =
            |first: &u16| (0..16).all(|more| UdpSocket::bind((Ipv4Addr::LOCALHOST, first + more)).is_ok());
        let first = (30_000..60_000).step_by(16).find(free).unwrap();
        let ports = Ports::new(Ipv4Addr::LOCALHOST.into(), first..=first + 15, 0, 1);
        let folder = tempfile::tempdir().unwrap();
        let (reels, _events) = Reels::open(folder.path().to_owned(), Settings::default()).unwrap();
        Booth::new(ports, None, planes.into_iter().collect(), reels.recorder(), reels.recorder())
    }

    /// Opens a side's ports: the even one.
    fn opened(booth: &mut Booth, of: Key, side: SideId) -> Option<u16> {
        booth.open(of, side, stream(), None).map(|at| at.port())
    }

    fn dies(plane: &Plane) {
        let until = Instant::now() + Duration::from_secs(10);
        while !plane.is_dead() {
            assert!(Instant::now() < until, "it lives on");
            std::thread::yield_now();
        }
    }

    #[test]
    fn r12_the_calls_of_a_thread_that_has_died_end_and_new_ones_go_to_another() {
        let mut booth = booth([mortal(), plane(Box::new(|_, _| Ok(())))]);
        let [one, other] = [0, 1].map(|index| opened(&mut booth, call(index), SIDE).unwrap());
        let second = opened(&mut booth, call(0), SideId(1)).unwrap();
        assert!(booth.told().is_none());
        booth.order(call(0), bug());
        dies(&booth.planes[0]);
        let told: Vec<(Key, Heard)> = std::iter::from_fn(|| booth.told()).collect();
        assert!(told.iter().all(|(of, _)| *of == call(0)));
        let closed = |heard: &Heard| match heard {
            Heard::Closed(side, port, _) => Some((side.0, *port)),
            Heard::Broken | Heard::Told(_) => None,
        };
        let closed: Vec<_> = told.iter().map(|(_, heard)| closed(heard)).collect();
        assert_eq!(closed, [None, Some((0, one)), Some((1, second))]);
        for (side, port) in [(SIDE, one), (SideId(1), second)] {
            booth.order(call(0), Order::Close(side));
            booth.closed(call(0), side, port);
        }
        // A leg of the other thread's call, and a new call that would have gone to the dead one.
        assert!(
            opened(&mut booth, call(1), SideId(1)).is_some() && opened(&mut booth, call(2), SIDE).is_some()
        );
        assert_eq!((booth.homes[&call(2)].plane, booth.used(), booth.left()), (1, 3, 5));
        assert!(booth.told().is_none() && other != one, "told once");
    }

    #[test]
    fn r12_without_a_thread_that_lives_a_call_gets_no_port() {
        let mut booth = booth([mortal()]);
        let port = opened(&mut booth, call(0), SIDE).unwrap();
        booth.order(call(0), bug());
        dies(&booth.planes[0]);
        assert!(opened(&mut booth, call(1), SIDE).is_none() && booth.left() == 0);
        while booth.told().is_some() {}
        booth.closed(call(0), SIDE, port);
        assert_eq!(booth.used(), 0);
    }

    #[test]
    fn r12_where_a_thread_stands_still_new_calls_are_refused_and_whose_order_finds_no_room_ends() {
        let (go_on, stands) = mpsc::channel::<()>();
        let stands = std::sync::Mutex::new(stands);
        let ears: Ears = Box::new(move |_, _| {
            // Until the test is over.
            let _over = stands.lock().map(|stands| stands.recv());
            Ok(())
        });
        let mut booth = booth([plane(ears)]);
        opened(&mut booth, call(0), SIDE).unwrap();
        booth.order(call(0), bug());
        let hush = |booth: &mut Booth| booth.order(call(0), Order::Hush(SIDE));
        let mut orders = 0;
        while booth.lanes[0].waiting.len() < WAITING / 2 {
            hush(&mut booth);
            orders += 1;
            assert!(orders < 100_000, "it takes all");
        }
        assert!(opened(&mut booth, call(1), SIDE).is_none());
        while booth.lanes[0].waiting.len() < WAITING {
            hush(&mut booth);
        }
        assert!(booth.told().is_none());
        (0..10).for_each(|_| hush(&mut booth));
        assert!(matches!(booth.told(), Some((of, Heard::Broken)) if of == call(0)));
        assert!(booth.told().is_none() && booth.lanes[0].waiting.len() == WAITING, "bounded, and told once");
        booth.order(call(0), Order::Close(SIDE));
        assert_eq!(booth.lanes[0].waiting.len(), WAITING + 1, "its ports are to be free again");
        drop(go_on);
    }

    #[test]
    fn r04_who_is_bound_to_any_address_names_what_the_kernel_sends_from_to_a_side() {
        let [any, any_of_both] = [IpAddr::from(Ipv4Addr::UNSPECIFIED), Ipv6Addr::UNSPECIFIED.into()];
        let [one, other] = [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()];
        let [ours, advertised] = [[127, 0, 0, 9], [203, 0, 113, 5]].map(IpAddr::from);
        let folder = tempfile::tempdir().unwrap();
        let (reels, _events) =
            crate::media::reel::Reels::open(folder.path().to_owned(), Default::default()).unwrap();
        let named = |addr: IpAddr, advertise: Option<IpAddr>, towards: IpAddr| {
            let ports = Ports::new(addr, 20_000..=20_001, 0, 1);
            let recorders = [reels.recorder(), reels.recorder()];
            let [recordings, messages] = recorders;
            Booth::new(ports, advertise, Arc::new([]), recordings, messages).named(Some(towards))
        };
        assert_eq!([one, other].map(|towards| named(any_of_both, None, towards)), [one, other]);
        assert_eq!(named(any, None, one), one);
        assert!(named(any, None, other).is_ipv4(), "it is not heard at any other");
        assert_eq!([one, other].map(|towards| named(ours, None, towards)), [ours; 2]);
        assert_eq!(named(any_of_both, Some(advertised), other), advertised);
    }
}
