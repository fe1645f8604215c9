//! Capture (`[capture]`): every SIP message that a shard sends or receives, for a HEP3 collector and for
//! `call <id> --pcap`. A shard copies a turn's messages and hands them over once, without waiting or waking anybody;
//! all else is done on the thread `capture`: whose they are, keeping them, sending them.
//!
//! - [`hep`] and [`pcap`] write bytes, [`keep`] holds the messages of calls; these three are pure.
//! - [`collector`]: the socket and the name of the collector.
//! - [`worker`]: the thread.
//!
//! Without `[capture]` there is no tap, and a message costs one branch. With it, it costs the shard its copy.

mod collector;
pub mod hep;
pub mod keep;
pub mod pcap;
mod worker;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc as ring;
use std::thread::{JoinHandle, Thread};

use metrics::{Counter, counter};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

use super::exchange::Mark;
use super::tally::Dir;
use crate::sip::peer::Peer;
use crate::transport::sources::Sources;
use collector::{Collector, Whereabouts};
use keep::{Keep, Transcript};
use worker::Worker;

/// Turns that wait for the capture's thread: more than all shards have between two of its looks.
const TURNS: usize = 8192;

/// Bytes of them: 100 ms of 13,000 calls/s, the most that was seen on two cores.
const QUEUED: usize = 16 << 20;

/// Questions that wait. Operators wait for room.
const QUESTIONS: usize = 16;

/// What is wanted of it.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The node's name, by which collectors know who sends.
    pub node: Box<str>,
    /// The collector's host and port; without one messages are only kept.
    pub collector: Option<(Box<str>, u16)>,
}

/// How a message went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hop {
    /// µs since 1970.
    pub at: u64,
    /// By a stream rather than by UDP.
    pub stream: bool,
    pub source: SocketAddr,
    pub destination: SocketAddr,
}

/// A listener, for the addresses of what went by it.
pub struct Place {
    pub bound: SocketAddr,
    /// Where it is bound to all our addresses: which of them a far end wrote to.
    pub sources: Option<Arc<Sources>>,
}

/// One message of a turn; its bytes stand in the turn's.
struct Seen {
    /// µs since 1970.
    at: u64,
    way: Dir,
    peer: Peer,
    len: usize,
}

/// What one turn of a shard saw. The marks go first: they say whose the messages are.
#[derive(Default)]
struct Turn {
    marks: Vec<Mark>,
    seen: Vec<Seen>,
    bytes: Vec<u8>,
    /// How many messages had found no room when it was handed over.
    dropped: u64,
}

/// What waits between the shards and the thread.
#[derive(Default)]
struct Waiting {
    bytes: AtomicUsize,
    /// Messages that found no room, since the start.
    dropped: AtomicU64,
}

/// A shard's end.
pub struct Tap {
    turn: Turn,
    queue: ring::SyncSender<Turn>,
    waiting: Arc<Waiting>,
    full: Counter,
}

impl Tap {
    /// A message came, at `at` (µs since 1970).
    pub fn received(&mut self, at: u64, from: Peer, bytes: &[u8]) {
        self.see(at, Dir::In, from, bytes);
    }

    /// A message is about to leave.
    pub fn sent(&mut self, at: u64, to: Peer, bytes: &[u8]) {
        self.see(at, Dir::Out, to, bytes);
    }

    fn see(&mut self, at: u64, way: Dir, peer: Peer, bytes: &[u8]) {
        self.turn.seen.push(Seen { at, way, peer, len: bytes.len() });
        self.turn.bytes.extend_from_slice(bytes);
    }

    /// Hands the turn's messages over, with what the core told meanwhile. Never waits: without room they are dropped
    /// and counted.
    pub fn hand_over(&mut self, marks: &mut Vec<Mark>) {
        if self.turn.seen.is_empty() && marks.is_empty() {
            return;
        }
        self.turn.marks.append(marks);
        self.turn.dropped = self.waiting.dropped.load(Ordering::Relaxed);
        let turn = std::mem::take(&mut self.turn);
        let (messages, bytes) = (turn.seen.len() as u64, turn.bytes.len());
        let has_room = self.waiting.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes <= QUEUED;
        if !has_room || self.queue.try_send(turn).is_err() {
            self.waiting.bytes.fetch_sub(bytes, Ordering::Relaxed);
            self.waiting.dropped.fetch_add(messages, Ordering::Relaxed);
            self.full.increment(messages);
        }
    }
}

/// Who wants to see a call's messages.
struct Question {
    call: Box<str>,
    answer: oneshot::Sender<Option<Transcript>>,
}

/// Where that is asked.
#[derive(Clone)]
pub struct Asker {
    questions: mpsc::Sender<Question>,
    thread: Thread,
}

impl Asker {
    /// All that is kept of a call, what was handed over until now included. `None`: nothing is.
    pub async fn transcript(&self, call: &str) -> Option<Transcript> {
        let (answer, answered) = oneshot::channel();
        self.questions.send(Question { call: call.into(), answer }).await.ok()?;
        self.thread.unpark();
        answered.await.ok().flatten()
    }
}

/// The running capture. Its thread ends when the last tap has gone.
pub struct Capture {
    questions: mpsc::Sender<Question>,
    thread: JoinHandle<()>,
}

impl Capture {
    /// Starts it, with a tap for each of so many shards. `back`: where the collector's name is looked up.
    pub fn start(
        wanted: Wanted,
        places: Vec<Place>,
        shards: usize,
        back: &Handle,
    ) -> io::Result<(Capture, Vec<Tap>)> {
        let (queue, turns) = ring::sync_channel(TURNS);
        let (questions, asked) = mpsc::channel(QUESTIONS);
        let waiting = Arc::<Waiting>::default();
        let collector = wanted.collector.map(|(host, port)| {
            let at = Whereabouts::default();
            back.spawn(at.clone().look_up(host, port));
            Collector::new(at, wanted.node)
        });
        let worker =
            Worker::new(turns, asked, Arc::clone(&waiting), Keep::new(keep::KEPT), collector, places);
        let thread = std::thread::Builder::new().name("capture".to_owned()).spawn(|| worker.run())?;
        let tap = || Tap {
            turn: Turn::default(),
            queue: queue.clone(),
            waiting: Arc::clone(&waiting),
            full: counter!("strowger_queue_full_total", "queue" => "capture"),
        };
        let taps = std::iter::repeat_with(tap).take(shards).collect();
        Ok((Capture { questions, thread }, taps))
    }

    pub fn asker(&self) -> Asker {
        Asker { questions: self.questions.clone(), thread: self.thread.thread().clone() }
    }

    /// Waits until what the shards handed over has been sent, after the last of them has ended.
    pub fn join(self) {
        self.thread.thread().unpark();
        if self.thread.join().is_err() {
            tracing::error!("the capture had panicked");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::peer::{ListenerId, Transport};

    fn tap() -> (Tap, ring::Receiver<Turn>) {
        let (queue, turns) = ring::sync_channel(TURNS);
        let full = counter!("strowger_queue_full_total", "queue" => "capture");
        (Tap { turn: Turn::default(), queue, waiting: Arc::default(), full }, turns)
    }

    fn turn(tap: &mut Tap, bytes: &[u8]) {
        let addr = SocketAddr::from(([127, 0, 0, 1], 5060));
        let peer = Peer::at(addr, Transport::Udp, ListenerId(0));
        tap.received(1, peer, bytes);
        tap.sent(2, peer, bytes);
        tap.hand_over(&mut Vec::new());
    }

    fn dropped(tap: &Tap) -> u64 {
        tap.waiting.dropped.load(Ordering::Relaxed)
    }

    #[test]
    fn where_nobody_takes_what_is_captured_it_is_dropped_and_counted() {
        let (mut tap, turns) = tap();
        for _ in 0..TURNS + 5 {
            turn(&mut tap, b"x");
        }
        assert_eq!(dropped(&tap), 10, "by their number");
        assert_eq!(turns.try_iter().count(), TURNS);

        let (mut tap, turns) = self::tap();
        let long = vec![b'x'; 1 << 20];
        for _ in 0..10 {
            turn(&mut tap, &long);
        }
        assert_eq!(dropped(&tap), 4, "by their bytes");
        assert_eq!(turns.try_iter().map(|turn| turn.bytes.len()).sum::<usize>(), QUEUED);
    }

    #[test]
    fn a_turn_in_which_nothing_was_said_hands_nothing_over() {
        let (mut tap, turns) = tap();
        tap.hand_over(&mut Vec::new());
        assert!(turns.try_recv().is_err());
        let mut marks = vec![Mark::Over { call: "c1".into() }];
        tap.hand_over(&mut marks);
        assert!(marks.is_empty() && turns.try_recv().is_ok_and(|turn| turn.seen.is_empty()));
    }
}
