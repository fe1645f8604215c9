//! The audio of one shard's calls: its share of the ports, and the threads that carry it.
//!
//! A call's sides are all with one thread. Where that is no more, its calls end as by a bug (R12), and new ones go to
//! another; where none is left they get 503.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use metrics::{Counter, counter};
use smallvec::SmallVec;

use super::exchange;
use crate::media::plane::{Full, Heard, Key, Order, Plane, Writing};
use crate::media::ports::{NoPort, Ports};
use crate::media::reel::{Format, Recorder, Sheet};
use crate::media::rtp::Stream;
use crate::media::session::{Quality, SideId};
use crate::media::tape::Rate;

/// Orders that wait beside a thread's own queue of 16,384: it is a second or more behind. Half of the room is for what
/// calls in progress need, so a new one gets 503. An order that finds no room ends its call; only what closes ports may
/// wait beyond this, once for each that is open.
const WAITING: usize = 8_192;

/// A shard's booth.
pub struct Booth {
    ports: Ports,
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
    pub fn new(ports: Ports, planes: Arc<[Plane]>, recordings: Recorder, messages: Recorder) -> Booth {
        let lanes = planes.iter().map(|_| Lane::default()).collect();
        let full = counter!("strowger_queue_full_total", "queue" => "media");
        let (homes, news) = (HashMap::new(), VecDeque::new());
        Booth { ports, planes, lanes, homes, news, recordings, messages, full }
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
    fn open(&mut self, call: Key, side: SideId, stream: Stream) -> Option<u16> {
        let known = self.homes.get(&call).map(|home| home.plane);
        let at = known.or_else(|| self.choose(call))?;
        if self.lanes[at].waiting.len() >= WAITING / 2 || self.planes[at].is_dead() {
            return None;
        }
        match self.ports.open() {
            Ok(pair) => {
                let port = pair.port;
                let new = || Home { plane: at, sides: SmallVec::new(), is_lost: false };
                self.homes.entry(call).or_insert_with(new).sides.push((side, port));
                self.order(call, Order::Open(side, pair, stream));
                Some(port)
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
    use std::net::{Ipv4Addr, UdpSocket};
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
        Booth::new(ports, planes.into_iter().collect(), reels.recorder(), reels.recorder())
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
        let [one, other] = [0, 1].map(|index| booth.open(call(index), SIDE, stream()).unwrap());
        let second = booth.open(call(0), SideId(1), stream()).unwrap();
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
            booth.open(call(1), SideId(1), stream()).is_some()
                && booth.open(call(2), SIDE, stream()).is_some()
        );
        assert_eq!((booth.homes[&call(2)].plane, booth.used(), booth.left()), (1, 3, 5));
        assert!(booth.told().is_none() && other != one, "told once");
    }

    #[test]
    fn r12_without_a_thread_that_lives_a_call_gets_no_port() {
        let mut booth = booth([mortal()]);
        let port = booth.open(call(0), SIDE, stream()).unwrap();
        booth.order(call(0), bug());
        dies(&booth.planes[0]);
        assert!(booth.open(call(1), SIDE, stream()).is_none() && booth.left() == 0);
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
        booth.open(call(0), SIDE, stream()).unwrap();
        booth.order(call(0), bug());
        let hush = |booth: &mut Booth| booth.order(call(0), Order::Hush(SIDE));
        let mut orders = 0;
        while booth.lanes[0].waiting.len() < WAITING / 2 {
            hush(&mut booth);
            orders += 1;
            assert!(orders < 100_000, "it takes all");
        }
        assert!(booth.open(call(1), SIDE, stream()).is_none());
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
}
