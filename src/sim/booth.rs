//! The ports of audio in the world: numbers without sockets, and what the threads would be told.

use std::collections::BTreeMap;

use crate::engine::exchange::Booth;
use crate::media::plane::{Key, Order};
use crate::media::rtp::Stream;
use crate::media::session::SideId;

/// The first port that is given out.
const FIRST: u16 = 20_000;

/// A shard's booth.
#[derive(Debug)]
pub struct SimBooth {
    /// Pairs that it has in all.
    pairs: u16,
    open: BTreeMap<(u32, u32, SideId), u16>,
    free: Vec<u16>,
}

impl SimBooth {
    pub fn new(pairs: u16) -> SimBooth {
        SimBooth { pairs, open: BTreeMap::new(), free: (0..pairs).rev().map(|pair| FIRST + 2 * pair).collect() }
    }
}

impl Booth for SimBooth {
    fn open(&mut self, call: Key, side: SideId, _stream: Stream) -> Option<u16> {
        let port = self.free.pop()?;
        self.open.insert((call.index, call.nonce, side), port);
        Some(port)
    }

    fn order(&mut self, call: Key, order: Order) {
        if let Order::Close(side) = order
            && let Some(port) = self.open.remove(&(call.index, call.nonce, side))
        {
            self.free(port);
        }
    }

    fn free(&mut self, port: u16) {
        self.free.push(port);
    }

    fn used(&self) -> usize {
        usize::from(self.pairs) - self.free.len()
    }
}
