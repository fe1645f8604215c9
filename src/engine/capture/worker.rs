//! The thread `capture`: finds out whose the messages are, keeps them and sends them to the collector.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::collector::Collector;
use super::keep::{Keep, Said};
use super::{Hop, Place, Question, Seen, Turn, Waiting};
use crate::engine::desk::sends_from;
use crate::engine::exchange::find_call_id;
use crate::engine::tally::Dir;
use crate::sip::peer::Peer;

/// How long it sleeps between two looks. Nobody wakes it but who asks: a shard that had to would pay a system call
/// for each turn.
const LOOK: Duration = Duration::from_millis(50);

/// Turns between two looks at who asks.
const AT_ONCE: usize = 1024;

/// How long it goes on sending once the node has ended.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Own addresses remembered by destination, of wildcard listeners; with so many, all are asked again.
const ADDRESSES: usize = 1024;

/// What follows some turns.
enum Next {
    /// There are more.
    More,
    Sleep,
    /// No more will come.
    End,
}

pub(super) struct Worker {
    turns: Receiver<Turn>,
    questions: mpsc::Receiver<Question>,
    waiting: Arc<Waiting>,
    keep: Keep,
    collector: Option<Collector>,
    places: Vec<Place>,
    addresses: HashMap<IpAddr, IpAddr>,
}

impl Worker {
    pub fn new(
        turns: Receiver<Turn>,
        questions: mpsc::Receiver<Question>,
        waiting: Arc<Waiting>,
        keep: Keep,
        collector: Option<Collector>,
        places: Vec<Place>,
    ) -> Worker {
        Worker { turns, questions, waiting, keep, collector, places, addresses: HashMap::new() }
    }

    /// Works until every tap has gone and all is sent that they had handed over.
    pub fn run(mut self) {
        let mut until: Option<Instant> = None;
        loop {
            if let Some(collector) = &mut self.collector {
                collector.follow();
            }
            let next = self.some_turns(&mut until);
            while let Ok(Question { call, answer }) = self.questions.try_recv() {
                // Who asked may have gone.
                let _gone =
                    answer.send(self.keep.transcript(&call, self.waiting.dropped.load(Ordering::Relaxed)));
            }
            match next {
                Next::More => {}
                Next::Sleep => std::thread::park_timeout(LOOK),
                Next::End => return,
            }
        }
    }

    fn some_turns(&mut self, until: &mut Option<Instant>) -> Next {
        for _ in 0..AT_ONCE {
            match self.turns.try_recv() {
                Ok(turn) => self.take(turn),
                Err(TryRecvError::Empty) => return Next::Sleep,
                Err(TryRecvError::Disconnected) => return Next::End,
            }
            // Nobody else holds it: what is queued is all that will come.
            if Arc::strong_count(&self.waiting) == 1
                && *until.get_or_insert_with(|| Instant::now() + LAST_WORDS) < Instant::now()
            {
                return Next::End;
            }
        }
        Next::More
    }

    fn take(&mut self, turn: Turn) {
        let Turn { marks, seen, bytes, dropped } = turn;
        self.waiting.bytes.fetch_sub(bytes.len(), Ordering::Relaxed);
        self.keep.dropped(dropped);
        for mark in marks {
            self.keep.mark(mark);
        }
        let mut rest = &bytes[..];
        for Seen { at, way, peer, len } in seen {
            let message;
            (message, rest) = rest.split_at(len);
            let (own, stream) = (self.own(peer), peer.transport.is_reliable());
            let hop = match way {
                Dir::In => Hop { at, stream, source: peer.addr, destination: own },
                Dir::Out => Hop { at, stream, source: own, destination: peer.addr },
            };
            self.message(hop, message);
        }
    }

    fn message(&mut self, hop: Hop, message: &[u8]) {
        let call_id = find_call_id(message).unwrap_or_default();
        self.keep.say(call_id, || Said { hop, bytes: message.into() });
        if let Some(collector) = &mut self.collector {
            let correlation = self.keep.call_of(call_id).map_or(call_id, str::as_bytes);
            collector.send(hop, correlation, message);
        }
    }

    /// Our address on that way: what the listener is bound to, else the one that the far end wrote to, else the one
    /// that the kernel sends from. A connection that we opened is told by its listener's port.
    fn own(&mut self, peer: Peer) -> SocketAddr {
        let Some(place) = self.places.get(usize::from(peer.listener.0)) else { return peer.addr };
        if !place.bound.ip().is_unspecified() {
            return place.bound;
        }
        let port = place.bound.port();
        if let Some(ip) = place.sources.as_ref().and_then(|sources| sources.of(peer.addr)) {
            return SocketAddr::new(ip, port);
        }
        let far = peer.addr.ip();
        if self.addresses.len() >= ADDRESSES {
            self.addresses.clear();
        }
        let bound = place.bound.ip();
        let ip = *self.addresses.entry(far).or_insert_with(|| sends_from(far).unwrap_or(bound));
        SocketAddr::new(ip, port)
    }
}
