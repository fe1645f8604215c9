//! The messages of calls, kept by call: all of those in progress and of those that ended last, within a bound in
//! bytes. Pure.
//!
//! What makes room goes in this order: whole calls that have ended, the one that ended first before others; then the
//! messages of calls in progress, the oldest call's first. So who asks about a call that stands, or about one that
//! failed some minutes ago, gets all of it and not what a ring of the last messages happens to hold; and what is not
//! there any more is said.

use std::collections::{HashMap, VecDeque};

use smallvec::SmallVec;

use super::{Hop, pcap};
use crate::engine::exchange::Mark;

/// Bytes of all messages that are kept: 10,000 calls of a dozen messages. What is charged beside a message's own
/// bytes is what keeping it takes.
pub const KEPT: usize = 128 << 20;

/// Bytes of one call's messages: 1,000 of them. What follows is counted, so that one call that talks without end
/// drives out no others.
pub const OF_ONE_CALL: usize = 1 << 20;

/// What a message, a Call-ID and a call take beside their bytes.
const PER_MESSAGE: usize = 128;
const PER_NAME: usize = 192;
const PER_CALL: usize = 512;

/// A message that was sent or received.
#[derive(Clone, Debug)]
pub struct Said {
    pub hop: Hop,
    pub bytes: Box<[u8]>,
}

impl Said {
    fn charged(&self) -> usize {
        PER_MESSAGE + self.bytes.len()
    }
}

/// What is kept of one call, for who asks.
#[derive(Clone, Debug)]
pub struct Transcript {
    pub said: Vec<Said>,
    /// Why it is not all; empty when it is.
    pub missing: Vec<Missing>,
}

impl Transcript {
    /// As a capture file.
    pub fn pcap(&self) -> Vec<u8> {
        pcap::file(self.said.iter().map(|said| (said.hop, &*said.bytes)))
    }
}

/// What a transcript lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Missing {
    /// They made room for others, or the call's beginning was dropped.
    #[error("the first messages are no longer kept")]
    First,
    /// [`OF_ONE_CALL`] was reached.
    #[error("the last messages are left out: a call keeps 1 MB")]
    Last,
    /// The queue was full while the call went on.
    #[error("messages were dropped while the call went on, and some may be its")]
    Some,
}

/// A call in progress, or one that has ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Life {
    Running,
    /// How many messages the queue had dropped by then.
    Over {
        dropped: u64,
    },
}

struct Kept {
    said: Vec<Said>,
    /// What `said` is charged.
    bytes: usize,
    /// The Call-IDs of its legs.
    names: Vec<Box<[u8]>>,
    life: Life,
    /// How many messages the queue had dropped when it began.
    dropped: u64,
    missing: SmallVec<[Missing; 2]>,
}

impl Kept {
    fn lacks(&mut self, what: Missing) {
        if !self.missing.contains(&what) {
            self.missing.push(what);
        }
    }
}

/// All that is kept.
pub struct Keep {
    calls: HashMap<Box<str>, Kept>,
    /// Which call a Call-ID is of; the latest, where several have the same.
    names: HashMap<Box<[u8]>, Box<str>>,
    /// Calls in the order in which they give room: those in progress, and those that have ended. One that is gone
    /// may still stand here.
    running: VecDeque<Box<str>>,
    over: VecDeque<Box<str>>,
    bytes: usize,
    bound: usize,
    /// Messages that the queue had dropped when the latest turn that came was handed over.
    dropped: u64,
}

impl Keep {
    /// Within so many bytes.
    pub fn new(bound: usize) -> Keep {
        Keep {
            calls: HashMap::new(),
            names: HashMap::new(),
            running: VecDeque::new(),
            over: VecDeque::new(),
            bytes: 0,
            bound,
            dropped: 0,
        }
    }

    /// What comes next was handed over when so many messages had been dropped since the start.
    pub fn dropped(&mut self, messages: u64) {
        self.dropped = self.dropped.max(messages);
    }

    /// What the exchange tells of a call.
    pub fn mark(&mut self, mark: Mark) {
        match mark {
            Mark::Begins { call, call_id } => self.leg(call, call_id, None),
            Mark::Leg { call, call_id } => self.leg(call, call_id, Some(Missing::First)),
            Mark::Over { call } => {
                let dropped = self.dropped;
                if let Some(kept) = self.calls.get_mut(&call)
                    && kept.life == Life::Running
                {
                    kept.life = Life::Over { dropped };
                    self.over.push_back(call);
                }
            }
        }
        self.make_room();
    }

    /// The call that a Call-ID is of.
    pub fn call_of(&self, call_id: &[u8]) -> Option<&str> {
        self.names.get(call_id).map(|call| &**call)
    }

    /// Keeps a message of a call. One of a call that nobody told of is dropped.
    pub fn say(&mut self, call_id: &[u8], said: impl FnOnce() -> Said) {
        let Some(kept) = self.names.get(call_id).and_then(|call| self.calls.get_mut(call)) else { return };
        if kept.bytes >= OF_ONE_CALL {
            return kept.lacks(Missing::Last);
        }
        let said = said();
        kept.bytes += said.charged();
        self.bytes += said.charged();
        kept.said.push(said);
        self.make_room();
    }

    /// What is kept of a call; `None`: nothing. `dropped`: how many messages have been dropped by now.
    pub fn transcript(&self, call: &str, dropped: u64) -> Option<Transcript> {
        let kept = self.calls.get(call)?;
        let dropped = match kept.life {
            Life::Running => dropped,
            Life::Over { dropped } => dropped,
        };
        let some = (dropped != kept.dropped).then_some(Missing::Some);
        Some(Transcript {
            said: kept.said.clone(),
            missing: kept.missing.iter().copied().chain(some).collect(),
        })
    }

    /// Bytes that are kept, as they are charged.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    fn leg(&mut self, call: Box<str>, call_id: Box<[u8]>, missing: Option<Missing>) {
        let kept = self.calls.entry(call.clone()).or_insert_with(|| {
            self.running.push_back(call.clone());
            self.bytes += PER_CALL;
            Kept {
                said: Vec::new(),
                bytes: 0,
                names: Vec::new(),
                life: Life::Running,
                dropped: self.dropped,
                missing: missing.into_iter().collect(),
            }
        });
        if kept.names.contains(&call_id) {
            return;
        }
        self.bytes += PER_NAME + call_id.len();
        kept.names.push(call_id.clone());
        self.names.insert(call_id, call);
    }

    fn make_room(&mut self) {
        while self.bytes > self.bound {
            if let Some(call) = self.over.pop_front() {
                self.forget(&call);
            } else if let Some(call) = self.running.pop_front() {
                match self.calls.get_mut(&call) {
                    // Its Call-IDs stay known: what it says next is still its.
                    Some(kept) if !kept.said.is_empty() => {
                        self.bytes -= std::mem::take(&mut kept.bytes);
                        kept.said = Vec::new();
                        kept.lacks(Missing::First);
                        self.running.push_back(call);
                    }
                    Some(_) => self.forget(&call),
                    None => {}
                }
            } else {
                return;
            }
        }
        // What ended stands in both queues.
        if self.running.len() > 2 * self.calls.len() + SWEEP {
            self.running.retain(|call| self.calls.get(call).is_some_and(|kept| kept.life == Life::Running));
        }
    }

    fn forget(&mut self, call: &str) {
        let Some(kept) = self.calls.remove(call) else { return };
        self.bytes -= PER_CALL + kept.bytes;
        for name in kept.names {
            self.bytes -= PER_NAME + name.len();
            if self.names.get(&name).is_some_and(|of| **of == *call) {
                self.names.remove(&name);
            }
        }
    }
}

/// How many ended calls may stand among those in progress before they are swept out.
const SWEEP: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    /// A call's name in a short test is its Call-ID's too.
    fn keep(calls: usize) -> Keep {
        Keep::new(calls * (PER_CALL + PER_NAME + 2 + 2 * (PER_MESSAGE + 100)))
    }

    fn begins(keep: &mut Keep, call: &str) {
        keep.mark(Mark::Begins { call: call.into(), call_id: call.as_bytes().into() });
        for _ in 0..2 {
            say(keep, call);
        }
    }

    fn say(keep: &mut Keep, call: &str) {
        let addr = std::net::SocketAddr::from(([127, 0, 0, 1], 5060));
        let hop = Hop { at: 0, stream: false, source: addr, destination: addr };
        keep.say(call.as_bytes(), || Said { hop, bytes: vec![b'x'; 100].into() });
    }

    fn over(keep: &mut Keep, call: &str) {
        keep.mark(Mark::Over { call: call.into() });
    }

    /// How many messages, and what is said of the rest.
    fn told(keep: &Keep, call: &str) -> Option<(usize, Vec<Missing>)> {
        keep.transcript(call, keep.dropped).map(|told| (told.said.len(), told.missing))
    }

    #[test]
    fn calls_in_progress_are_kept_and_what_ended_first_makes_room() {
        let mut keep = keep(3);
        for call in ["c1", "c2", "c3"] {
            begins(&mut keep, call);
        }
        over(&mut keep, "c2");
        over(&mut keep, "c1");
        begins(&mut keep, "c4");
        assert_eq!(told(&keep, "c2"), None, "it ended first");
        assert_eq!(keep.call_of(b"c2"), None);
        for call in ["c1", "c3", "c4"] {
            assert_eq!(told(&keep, call), Some((2, vec![])), "{call}");
        }
    }

    #[test]
    fn a_call_in_progress_that_made_room_says_so_and_what_it_says_next_is_kept() {
        let mut keep = keep(3);
        keep.bound -= 1;
        for call in ["c1", "c2", "c3"] {
            begins(&mut keep, call);
        }
        assert_eq!(told(&keep, "c1"), Some((0, vec![Missing::First])));
        assert_eq!(keep.call_of(b"c1"), Some("c1"), "collectors still hear whose it is");
        say(&mut keep, "c1");
        assert_eq!(told(&keep, "c1"), Some((1, vec![Missing::First])));
    }

    #[test]
    fn a_call_whose_beginning_was_dropped_or_that_lost_messages_says_so() {
        let mut keep = keep(9);
        keep.mark(Mark::Leg { call: "c1".into(), call_id: (*b"c1").into() });
        say(&mut keep, "c1");
        assert_eq!(told(&keep, "c1"), Some((1, vec![Missing::First])));
        begins(&mut keep, "c2");
        begins(&mut keep, "c3");
        over(&mut keep, "c2");
        keep.dropped(7);
        begins(&mut keep, "c4");
        assert_eq!(told(&keep, "c2"), Some((2, vec![])));
        assert_eq!(told(&keep, "c3"), Some((2, vec![Missing::Some])));
        assert_eq!(told(&keep, "c4"), Some((2, vec![])));
    }

    #[test]
    fn one_call_has_its_share_and_no_more() {
        let mut keep = Keep::new(KEPT);
        begins(&mut keep, "c1");
        for _ in 0..2 * OF_ONE_CALL / 100 {
            say(&mut keep, "c1");
        }
        let (count, missing) = told(&keep, "c1").unwrap();
        assert!(count * (100 + PER_MESSAGE) < OF_ONE_CALL + 1_000);
        assert_eq!(missing, [Missing::Last]);
    }

    #[test]
    fn whatever_comes_the_bound_holds_and_nothing_is_left_of_what_was_forgotten() {
        let mut keep = keep(10);
        let bound = keep.bound;
        for number in 0..5_000 {
            let call = format!("call {number}");
            begins(&mut keep, &call);
            // Every third end is never told.
            if number % 3 > 0 {
                over(&mut keep, &call);
            }
            assert!(keep.bytes() <= bound);
        }
        assert!(keep.calls.len() < 30 && keep.names.len() <= keep.calls.len());
        assert!(keep.running.len() <= 2 * keep.calls.len() + SWEEP && keep.over.len() < 30);
        keep.bound = 0;
        keep.make_room();
        assert_eq!((keep.bytes(), keep.calls.len(), keep.names.len()), (0, 0, 0));
    }

    #[test]
    fn a_call_id_that_comes_again_is_the_later_calls() {
        let mut keep = keep(9);
        for call in ["c1", "c2"] {
            keep.mark(Mark::Begins { call: call.into(), call_id: (*b"same").into() });
        }
        assert_eq!(keep.call_of(b"same"), Some("c2"));
        keep.forget("c1");
        assert_eq!(keep.call_of(b"same"), Some("c2"));
    }
}
