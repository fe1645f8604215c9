//! What other threads hand to a shard: messages that it owns and another shard received, messages for its
//! connections, and operators' questions. Bounded in number and bytes; the shard is woken only if it sleeps.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self as ring, TrySendError};
use std::task::{Context, Poll};

use futures::task::AtomicWaker;
use tokio::sync::{mpsc, oneshot};

use super::exchange::Effects;
use crate::media::plane::{Heard, Key};
use crate::sip::peer::{Peer, Undelivered};
use crate::time::{Instant, Now};
use crate::transport::shed;

/// Parcels of one shard: about 40 ms of the traffic that one shard can carry (10,000 calls/s, 14 messages each,
/// all of it received by other shards).
pub const PARCELS: usize = 4096;

/// So many of them may wait when a new call to a number is passed on, and any other INVITE, which may be one for help:
/// the rest of the room is for what calls in progress say.
pub const PARCELS_FOR_CALLS: usize = PARCELS / 2;
pub const PARCELS_FOR_HELP: usize = PARCELS / 4 * 3;

/// Bytes of one shard's parcels: 4 KB each on average, so that long messages cannot make the ring a heap.
pub const PARCEL_BYTES: usize = 16 << 20;

/// Questions of one shard. Operators wait for room; they are people and scrapers.
pub const QUESTIONS: usize = 64;

/// Something from another shard.
#[derive(Debug)]
pub enum Parcel {
    /// A message that this shard owns by its Call-ID. `arrived`: when the kernel had it.
    Message { from: Peer, arrived: Instant, bytes: Box<[u8]> },
    /// A message that goes out over a connection of this shard.
    Send { to: Peer, bytes: Box<[u8]> },
    /// Another shard knows that nothing reaches this address: its connection is gone, or ICMP told its socket; of the
    /// sockets that share an address, the kernel tells any one.
    Unreachable { to: Peer, why: Undelivered },
    /// A thread that carries audio tells of a call's.
    Audio { of: Key, heard: Heard },
}

impl Parcel {
    fn len(&self) -> usize {
        match self {
            Parcel::Message { bytes, .. } | Parcel::Send { bytes, .. } => bytes.len(),
            Parcel::Unreachable { .. } => size_of::<SocketAddr>(),
            Parcel::Audio { .. } => size_of::<Heard>(),
        }
    }
}

/// What an operator, or the node itself, wants of a shard's core. It answers by its own means.
pub type Question<C> = Box<dyn FnOnce(&mut C, Now, &mut Effects) + Send>;

/// What stands in the questions' queue.
pub enum Order<C> {
    Ask(Question<C>),
    /// The loop ends after this turn.
    Stop,
}

/// The ring is full. The message is the sender's to drop and to count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the shard's inbox is full")]
pub struct Full;

/// The shard has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the shard has ended")]
pub struct Ended;

#[derive(Default)]
struct Shared {
    asleep: AtomicBool,
    waker: AtomicWaker,
    /// Parcels and orders that wait, those being written included.
    waiting: AtomicUsize,
    parcels: AtomicUsize,
    bytes: AtomicUsize,
}

impl Shared {
    fn wake(&self) {
        if self.asleep.swap(false, Ordering::SeqCst) {
            self.waker.wake();
        }
    }
}

/// The shard's end.
pub struct Inbox<C> {
    parcels: ring::Receiver<Parcel>,
    orders: mpsc::Receiver<Order<C>>,
    shared: Arc<Shared>,
}

/// Everyone else's end.
pub struct Slot<C> {
    parcels: ring::SyncSender<Parcel>,
    orders: mpsc::Sender<Order<C>>,
    shared: Arc<Shared>,
}

impl<C> Clone for Slot<C> {
    fn clone(&self) -> Self {
        Slot { parcels: self.parcels.clone(), orders: self.orders.clone(), shared: Arc::clone(&self.shared) }
    }
}

/// A new inbox and its slot.
pub fn inbox<C>() -> (Slot<C>, Inbox<C>) {
    let (to_parcels, parcels) = ring::sync_channel(PARCELS);
    let (to_orders, orders) = mpsc::channel(QUESTIONS);
    let shared = Arc::new(Shared::default());
    let slot = Slot { parcels: to_parcels, orders: to_orders, shared: Arc::clone(&shared) };
    (slot, Inbox { parcels, orders, shared })
}

impl<C> Slot<C> {
    /// Hands on a message that the shard owns; copies it to its size. A new call finds less room than anything else.
    pub fn pass(&self, from: Peer, arrived: Instant, bytes: &[u8]) -> Result<(), Full> {
        let most = match bytes.starts_with(b"INVITE ") {
            true if shed::is_call_to_a_number(bytes) => PARCELS_FOR_CALLS,
            true => PARCELS_FOR_HELP,
            false => PARCELS,
        };
        if self.shared.parcels.load(Ordering::Relaxed) >= most {
            return Err(Full);
        }
        self.reserve(bytes.len())?;
        self.put(Parcel::Message { from, arrived, bytes: bytes.into() })
    }

    /// Hands on a message for a connection of the shard.
    pub fn send(&self, to: Peer, bytes: &[u8]) -> Result<(), Full> {
        self.reserve(bytes.len())?;
        self.put(Parcel::Send { to, bytes: bytes.into() })
    }

    /// Hands on the news that an address cannot be reached.
    pub fn unreachable(&self, to: Peer, why: Undelivered) -> Result<(), Full> {
        let parcel = Parcel::Unreachable { to, why };
        self.reserve(parcel.len())?;
        self.put(parcel)
    }

    /// Hands on what is told of a call's audio; whoever tells it keeps what finds no room.
    pub fn audio(&self, of: Key, heard: Heard) -> Result<(), Heard> {
        match self.reserve(size_of::<Heard>()) {
            Ok(()) => {
                self.shared.waiting.fetch_add(1, Ordering::SeqCst);
                let sent = self.parcels.try_send(Parcel::Audio { of, heard });
                if let Err(TrySendError::Full(parcel) | TrySendError::Disconnected(parcel)) = sent {
                    self.shared.waiting.fetch_sub(1, Ordering::SeqCst);
                    self.release(parcel.len());
                    return match parcel {
                        Parcel::Audio { heard, .. } => Err(heard),
                        Parcel::Message { .. } | Parcel::Send { .. } | Parcel::Unreachable { .. } => Ok(()),
                    };
                }
                self.shared.wake();
                Ok(())
            }
            Err(Full) => Err(heard),
        }
    }

    /// Puts a question to the core and waits for its answer.
    pub async fn ask<R: Send + 'static>(
        &self,
        question: impl FnOnce(&mut C, Now, &mut Effects) -> R + Send + 'static,
    ) -> Result<R, Ended> {
        let (answer, answered) = oneshot::channel();
        let question: Question<C> = Box::new(move |core, now, out| {
            // Who asked may have gone.
            let _gone = answer.send(question(core, now, out));
        });
        self.order(Order::Ask(question)).await?;
        answered.await.map_err(|_| Ended)
    }

    /// Ends the loop.
    pub async fn stop(&self) -> Result<(), Ended> {
        self.order(Order::Stop).await
    }

    async fn order(&self, order: Order<C>) -> Result<(), Ended> {
        let permit = self.orders.reserve().await.map_err(|_| Ended)?;
        self.shared.waiting.fetch_add(1, Ordering::SeqCst);
        permit.send(order);
        self.shared.wake();
        Ok(())
    }

    fn reserve(&self, len: usize) -> Result<(), Full> {
        let parcels = self.shared.parcels.fetch_add(1, Ordering::Relaxed);
        let bytes = self.shared.bytes.fetch_add(len, Ordering::Relaxed);
        if parcels < PARCELS && bytes + len <= PARCEL_BYTES {
            return Ok(());
        }
        self.release(len);
        Err(Full)
    }

    fn release(&self, len: usize) {
        self.shared.parcels.fetch_sub(1, Ordering::Relaxed);
        self.shared.bytes.fetch_sub(len, Ordering::Relaxed);
    }

    fn put(&self, parcel: Parcel) -> Result<(), Full> {
        let len = parcel.len();
        self.shared.waiting.fetch_add(1, Ordering::SeqCst);
        if self.parcels.try_send(parcel).is_err() {
            self.shared.waiting.fetch_sub(1, Ordering::SeqCst);
            self.release(len);
            return Err(Full);
        }
        self.shared.wake();
        Ok(())
    }
}

impl<C> Inbox<C> {
    /// The next parcel.
    pub fn parcel(&mut self) -> Option<Parcel> {
        let parcel = self.parcels.try_recv().ok()?;
        self.shared.waiting.fetch_sub(1, Ordering::SeqCst);
        self.shared.parcels.fetch_sub(1, Ordering::Relaxed);
        self.shared.bytes.fetch_sub(parcel.len(), Ordering::Relaxed);
        Some(parcel)
    }

    /// The next order.
    pub fn order(&mut self) -> Option<Order<C>> {
        let order = self.orders.try_recv().ok()?;
        self.shared.waiting.fetch_sub(1, Ordering::SeqCst);
        Some(order)
    }

    /// Whether anything waits. One load: what a turn pays when nothing does.
    pub fn is_empty(&self) -> bool {
        self.shared.waiting.load(Ordering::SeqCst) == 0
    }

    /// Parcels that wait.
    pub fn depth(&self) -> usize {
        self.shared.parcels.load(Ordering::Relaxed)
    }

    /// Ready when anything waits; otherwise the shard counts as asleep until [`Inbox::awake`].
    pub fn poll(&self, cx: &Context<'_>) -> Poll<()> {
        self.shared.waker.register(cx.waker());
        self.shared.asleep.store(true, Ordering::SeqCst);
        if self.is_empty() { Poll::Pending } else { Poll::Ready(()) }
    }

    /// The shard is awake: nobody needs to wake it.
    pub fn awake(&self) {
        self.shared.asleep.store(false, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::peer::{ListenerId, Transport};
    use std::sync::atomic::AtomicUsize;
    use std::task::{Wake, Waker};

    fn peer() -> Peer {
        let addr = SocketAddr::from(([127, 0, 0, 1], 5060));
        Peer::at(addr, Transport::Udp, ListenerId(0))
    }

    #[test]
    fn a_full_ring_refuses_and_takes_again_once_there_is_room() {
        let (slot, mut inbox) = inbox::<()>();
        for _ in 0..PARCELS {
            slot.pass(peer(), Instant::ZERO, b"x").unwrap();
        }
        assert_eq!(slot.pass(peer(), Instant::ZERO, b"x"), Err(Full));
        assert_eq!(inbox.depth(), PARCELS);
        assert!(inbox.parcel().is_some());
        assert_eq!(slot.pass(peer(), Instant::ZERO, b"x"), Ok(()));
        while inbox.parcel().is_some() {}
        assert!(inbox.is_empty());
        assert_eq!(inbox.depth(), 0);
    }

    #[test]
    fn an_invite_leaves_room_for_what_calls_in_progress_say() {
        let (slot, mut inbox) = inbox::<()>();
        let (call, help) = (b"INVITE sip:+15550100@b SIP/2.0", b"INVITE sip:911@b SIP/2.0");
        for _ in 0..PARCELS_FOR_CALLS {
            slot.pass(peer(), Instant::ZERO, call).unwrap();
        }
        assert_eq!(slot.pass(peer(), Instant::ZERO, call), Err(Full));
        for _ in PARCELS_FOR_CALLS..PARCELS_FOR_HELP {
            slot.pass(peer(), Instant::ZERO, help).unwrap();
        }
        assert_eq!(slot.pass(peer(), Instant::ZERO, help), Err(Full));
        assert_eq!(slot.pass(peer(), Instant::ZERO, b"BYE sip:a@b SIP/2.0"), Ok(()));
        for _ in 0..2 {
            inbox.parcel().unwrap();
        }
        assert_eq!(slot.pass(peer(), Instant::ZERO, help), Ok(()));
        while inbox.depth() >= PARCELS_FOR_CALLS {
            inbox.parcel().unwrap();
        }
        assert_eq!(slot.pass(peer(), Instant::ZERO, call), Ok(()));
    }

    #[test]
    fn the_ring_is_bounded_in_bytes_too() {
        let (slot, mut inbox) = inbox::<()>();
        let long = vec![b'x'; 64 << 10];
        for _ in 0..PARCEL_BYTES / long.len() {
            slot.pass(peer(), Instant::ZERO, &long).unwrap();
        }
        assert_eq!(slot.pass(peer(), Instant::ZERO, &long), Err(Full));
        inbox.parcel().unwrap();
        assert_eq!(slot.pass(peer(), Instant::ZERO, &long), Ok(()));
    }

    #[test]
    fn a_shard_is_woken_once_and_only_when_it_sleeps() {
        #[derive(Default)]
        struct Count(AtomicUsize);
        impl Wake for Count {
            fn wake(self: Arc<Self>) {
                self.0.fetch_add(1, Ordering::SeqCst);
            }
        }
        let count = Arc::new(Count::default());
        let waker = Waker::from(Arc::clone(&count));
        let (slot, mut inbox) = inbox::<()>();
        slot.pass(peer(), Instant::ZERO, b"x").unwrap();
        assert_eq!(count.0.load(Ordering::SeqCst), 0, "awake: nobody wakes it");
        assert!(inbox.poll(&Context::from_waker(&waker)).is_ready());
        inbox.awake();
        inbox.parcel().unwrap();
        assert!(inbox.poll(&Context::from_waker(&waker)).is_pending());
        slot.pass(peer(), Instant::ZERO, b"x").unwrap();
        slot.pass(peer(), Instant::ZERO, b"x").unwrap();
        assert_eq!(count.0.load(Ordering::SeqCst), 1);
    }
}
