//! What the world holds in its middle: the real exchange, one per shard, or whatever else answers like it.

use std::time::Duration;

use serde_json::Value;

use super::booth::{Listening, Word};
use crate::engine::exchange::{Effects, Input};
use crate::engine::precedence::Standing;
use crate::routing::Explanation;
use crate::time::{Instant, Now};
use crate::transport::shed::Share;

/// A shard's core, as the world drives it.
pub trait Core {
    fn handle(&mut self, now: Now, input: Input<'_>, out: &mut Effects);

    /// What a message is to its calls (R8).
    fn standing<'m>(&self, _message: &'m [u8]) -> Option<Standing<'m>> {
        None
    }

    /// When it wants to be woken.
    fn next_deadline(&self) -> Option<Instant>;

    /// The same for what calls wait for: nothing, once the world is at rest.
    fn next_deadline_of_calls(&self) -> Option<Instant> {
        self.next_deadline()
    }

    /// How many of 256 new INVITEs are to be dropped unread (R14).
    fn shed(&mut self, _now: Instant) -> Share {
        0
    }

    /// What is heard of the side whose audio comes to that port of ours.
    fn hears(&mut self, _now: Now, _port: u16, _word: Word, _out: &mut Effects) {}

    /// The port of whom the side hears whose audio comes to this one; none: nobody, or us.
    fn heard_at(&self, _port: u16) -> Option<u16> {
        None
    }

    /// What each side hears whose audio comes through us.
    fn listening(&self) -> Vec<Listening> {
        Vec::new()
    }

    /// When something was begun to be said there, and how long it is.
    fn said_to(&self, _port: u16) -> Vec<(Instant, Duration)> {
        Vec::new()
    }

    /// What is written down: the ports of who is on the left and on the right.
    fn written(&self) -> Vec<(u16, Option<u16>)> {
        Vec::new()
    }

    /// The keys that we pressed, each with the port of who hears it.
    fn pressed(&self) -> Vec<(u16, char)> {
        Vec::new()
    }

    /// Whether tones in the audio that comes to that port are keys.
    fn awaits_keys(&self, _port: u16) -> bool {
        false
    }

    /// What it holds.
    fn census(&self) -> Census;

    /// What it has taken from the desk and not given back, in words.
    fn held(&self) -> Vec<String>;

    /// The record ids of the calls in progress.
    fn live_calls(&self) -> Vec<String> {
        Vec::new()
    }

    /// Takes the records of ended calls (CDR, version 1) out of the effects of a turn.
    fn records(&mut self, effects: &mut Effects) -> Vec<Value>;

    /// What the shards have said of the trunks since this was last asked, as the log would.
    fn said(&mut self) -> Vec<String> {
        Vec::new()
    }

    /// What each gateway failed of last, as operators are told.
    fn failures(&self) -> Vec<String> {
        Vec::new()
    }

    /// What operators are told that a call would do just now; the configuration as it was published.
    fn explains(
        &self,
        _now: Instant,
        _routing: &str,
        _dialled: &str,
        _from: Option<&str>,
    ) -> Option<Explanation> {
        None
    }

    /// Another routing configuration is published, as the text of an operator's file.
    fn publish(&mut self, now: Now, generation: u64, routing: &str, out: &mut Effects);
}

/// How many of everything a core holds. All zero once the world is at rest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    pub calls: usize,
    /// Places of calls, those included that only wait for a late message.
    pub slots: usize,
    pub legs: usize,
    pub transactions: usize,
}

impl Census {
    pub fn is_empty(&self) -> bool {
        *self == Census::default()
    }
}

impl std::ops::Add for Census {
    type Output = Census;

    fn add(self, other: Census) -> Census {
        Census {
            calls: self.calls + other.calls,
            slots: self.slots + other.slots,
            legs: self.legs + other.legs,
            transactions: self.transactions + other.transactions,
        }
    }
}

/// Makes the cores of a world, one per shard, and says which of them owns a message.
pub trait Maker {
    fn cores(&self, shards: usize, seed: u64, routing: &str) -> Vec<Box<dyn Core>>;

    /// The shard of a Call-ID; below `shards`.
    fn owner(&self, call_id: &[u8], shards: usize, seed: u64) -> usize;
}
