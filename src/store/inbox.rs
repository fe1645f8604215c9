//! The way from the shards to the disk thread.
//!
//! It needs no bound of its own: what a call puts here, it put a slot aside for at its admission, one
//! beginning and one record for each slot. A shard pays an uncontended lock and a push, and wakes the
//! thread at most twice in a group.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::call::cdr::{Cdr, JournalEntry};

pub(super) enum Item {
    /// A call was answered, and when that came here.
    Started(Box<JournalEntry>, Instant),
    /// A call has ended.
    Ended(Box<Cdr>),
}

/// What wakes the disk thread before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Appetite {
    /// It has nothing to do: whatever comes.
    Anything,
    /// Beginnings wait for their group: a record, which has a shorter one.
    Records,
    /// A group is being filled.
    Nothing,
}

#[derive(Default)]
pub(super) struct Inbox {
    queue: Mutex<Queue>,
    came: Condvar,
    flushed: Condvar,
}

#[derive(Default)]
struct Queue {
    items: Vec<Item>,
    /// What the thread sleeps for; `None` while it works.
    asleep: Option<Appetite>,
    closing: bool,
    /// How many flushes were asked for, and the last that is done.
    flushes: u64,
    flushed: u64,
}

/// What the disk thread takes with it.
pub(super) struct Taken {
    pub closing: bool,
    /// The last flush that was asked for, when it is not done.
    pub flush: Option<u64>,
}

impl Inbox {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn put(&self, item: Item) {
        let mut queue = self.lock();
        let wakes = match (queue.asleep, &item) {
            (Some(Appetite::Anything), _) | (Some(Appetite::Records), Item::Ended(_)) => true,
            (Some(Appetite::Records), Item::Started(..)) | (Some(Appetite::Nothing) | None, _) => false,
        };
        queue.items.push(item);
        if wakes {
            queue.asleep = None;
            drop(queue);
            self.came.notify_one();
        }
    }

    /// Sleeps until `until`, or until something comes that it has an appetite for, and takes all there is.
    pub fn take(&self, appetite: Appetite, until: Option<Instant>, into: &mut Vec<Item>) -> Taken {
        let mut queue = self.lock();
        let awake = |queue: &Queue| match appetite {
            Appetite::Anything => !queue.items.is_empty(),
            Appetite::Records => queue.items.iter().any(|item| matches!(item, Item::Ended(_))),
            Appetite::Nothing => false,
        };
        if !queue.closing && queue.flushed == queue.flushes && !awake(&queue) {
            queue.asleep = Some(appetite);
            loop {
                let now = Instant::now();
                let left = until.map(|until| until.saturating_duration_since(now));
                if queue.asleep.is_none() || left == Some(Duration::ZERO) {
                    break;
                }
                queue = match left {
                    Some(left) => {
                        self.came.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0
                    }
                    None => self.came.wait(queue).unwrap_or_else(PoisonError::into_inner),
                };
            }
            queue.asleep = None;
        }
        // The vector that was emptied last time goes back, so that neither is allocated again.
        std::mem::swap(&mut queue.items, into);
        let flush = (queue.flushed < queue.flushes).then_some(queue.flushes);
        Taken { closing: queue.closing, flush }
    }

    /// Asks that all be written that was put here so far, and waits for it. False: it took too long.
    pub fn flush(&self, patience: Duration) -> bool {
        let mut queue = self.lock();
        queue.flushes += 1;
        let ticket = queue.flushes;
        queue.asleep = None;
        self.came.notify_one();
        let until = Instant::now() + patience;
        while queue.flushed < ticket {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            queue = self.flushed.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// The disk thread has written all that was put here before this flush.
    pub fn flush_done(&self, ticket: u64) {
        self.lock().flushed = ticket;
        self.flushed.notify_all();
    }

    pub fn close(&self) {
        let mut queue = self.lock();
        queue.closing = true;
        queue.asleep = None;
        drop(queue);
        self.came.notify_one();
    }
}
