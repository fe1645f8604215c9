//! The numbers as they are served: those that were published together, and before them what was set one by one since. Each
//! layer is built once and never changes; a number that is set costs its small layer anew, and no reader notices.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::numbers::{Entering, Features, Found, Numbers, Settings, Written};
use crate::config::{Dialled, Lengths};
use crate::number::E164;

/// So many changes make the layer that is built anew with each one; beyond, they move into the next.
const RECENT: usize = 512;
/// More changes than this are better published together with all others: lookups find the layers before in the
/// processor's cache.
const SINCE: usize = 1 << 16;

/// A number that is set by itself, as it is kept.
#[derive(Debug)]
pub(super) struct Compiled {
    pub written: Written,
    pub forward: Option<E164>,
    pub label: Box<str>,
    pub settings: Settings,
}

/// What was set, or removed, since.
type Changes = BTreeMap<Dialled, Option<Arc<Compiled>>>;

#[derive(Debug)]
pub(super) struct Layers {
    whole: Arc<Numbers>,
    older: Arc<Layer>,
    recent: Layer,
    /// How many `[[number]]`s, a block counting once.
    len: usize,
}

/// Changes, and the same to look them up.
#[derive(Debug)]
struct Layer {
    changes: Changes,
    numbers: Numbers,
    /// Bits that its numbers set, each two of one word: nearly all others are told by one look not to be here.
    marks: Box<[u64]>,
    has_blocks: bool,
}

impl Layer {
    fn of(changes: Changes) -> Layer {
        let labels = changes.values().flatten().map(|set| set.label.len()).sum();
        let mut entering = Entering::of(changes.len(), labels);
        for (did, set) in &changes {
            match set {
                Some(set) => enter(&mut entering, *did, set),
                None => entering.enter_removed(*did),
            }
        }
        let mut marks = vec![0; (changes.len() * MARKS / 64).next_power_of_two()];
        let mut has_blocks = false;
        for did in changes.keys() {
            match did {
                Dialled::Number(number) => {
                    let (word, bits) = mark(*number, marks.len());
                    marks[word] |= bits;
                }
                Dialled::Block(_) => has_blocks = true,
            }
        }
        Layer { changes, numbers: entering.finish(), marks: marks.into(), has_blocks }
    }

    /// False: what it has says nothing of this number.
    fn may_say(&self, did: E164) -> bool {
        let (word, bits) = mark(did, self.marks.len());
        self.has_blocks || self.marks[word] & bits == bits
    }
}

/// Bits for each number, of which it sets two: one in sixty of the others, at most, is looked for in vain.
const MARKS: usize = 16;

/// In which of so many words, a power of two, a number sets which bits.
fn mark(number: E164, words: usize) -> (usize, u64) {
    let hash = number.to_bits().wrapping_mul(0xD6E8_FEB8_6659_FD93);
    ((hash >> 40) as usize & (words - 1), 1 << (hash >> 34 & 63) | 1 << (hash >> 28 & 63))
}

/// Enters a number that is set by itself.
pub(super) fn enter(entering: &mut Entering, did: Dialled, set: &Compiled) {
    let settings = entering.settings(&set.settings);
    let label = entering.label(&set.label);
    entering.enter(did, set.forward, label, settings, set.written);
}

impl Layers {
    /// Those, and nothing set since.
    pub fn of(whole: Numbers) -> Layers {
        let nothing = || Layer::of(Changes::new());
        Layers { len: whole.len(), whole: whole.into(), older: nothing().into(), recent: nothing() }
    }

    /// These with more changes, the later ones of the same number winning.
    pub fn changed(&self, more: impl Iterator<Item = (Dialled, Option<Arc<Compiled>>)>) -> Layers {
        let (mut len, mut changes) = (self.len, self.recent.changes.clone());
        for (did, set) in more {
            let was = match changes.get(&did) {
                Some(before) => before.is_some(),
                None => self.written(did).is_some(),
            };
            len = len + usize::from(set.is_some()) - usize::from(was);
            changes.insert(did, set);
        }
        let whole = Arc::clone(&self.whole);
        if changes.len() <= RECENT {
            return Layers { whole, older: Arc::clone(&self.older), recent: Layer::of(changes), len };
        }
        let mut all = self.older.changes.clone();
        all.append(&mut changes);
        Layers { whole, older: Layer::of(all).into(), recent: Layer::of(Changes::new()), len }
    }

    /// What of them is large and may be shared.
    pub fn shared(&self) -> [Arc<dyn Any + Send + Sync>; 2] {
        [Arc::clone(&self.whole) as _, Arc::clone(&self.older) as _]
    }

    /// How many were set since.
    pub fn apart(&self) -> usize {
        self.recent.changes.len() + self.older.changes.len()
    }

    /// Whether so much was set since that all want to be published together.
    pub fn are_many(&self) -> bool {
        self.older.changes.len() > SINCE
    }

    /// How many `[[number]]`s, a block counting once.
    pub fn len(&self) -> usize {
        self.len
    }

    /// The number that serves this DID: itself, else the longest block.
    #[inline]
    pub fn find(&self, did: E164) -> Option<Found<'_>> {
        if self.apart() == 0 || !self.recent.may_say(did) && !self.older.may_say(did) {
            return self.whole.find(did);
        }
        self.serving(did).map(|(_, found)| found)
    }

    /// The same, and as what it is written.
    pub fn serving(&self, did: E164) -> Option<(Dialled, Found<'_>)> {
        let itself = Dialled::Number(did);
        if let Some(found) = self.written(itself) {
            return Some((itself, found));
        }
        let blocks = self.block_lengths().blocks_of(did).map(Dialled::Block);
        blocks.filter_map(|block| Some((block, self.written(block)?))).next()
    }

    /// Where that one stands in the files, whatever was set over HTTP.
    pub fn in_files(&self, did: Dialled) -> Option<usize> {
        self.whole.in_files(did)
    }

    /// That one itself.
    pub fn written(&self, did: Dialled) -> Option<Found<'_>> {
        let layers = [&self.recent.numbers, &self.older.numbers, &*self.whole].into_iter();
        let found = layers.filter_map(|layer| layer.get(did)).next()?;
        (!found.is_removed()).then_some(found)
    }

    fn block_lengths(&self) -> Lengths {
        let layers = [&self.recent.numbers, &self.older.numbers, &*self.whole];
        layers.into_iter().fold(Lengths::default(), |all, layer| all.and(layer.block_lengths()))
    }

    /// Bytes that they take: to find them by, and with what they say.
    pub fn bytes(&self) -> (usize, usize) {
        let layers = [&self.recent.numbers, &self.older.numbers, &*self.whole];
        let each = layers.into_iter().map(Numbers::bytes);
        each.fold((0, 0), |(index, all), (more_index, more)| (index + more_index, all + more))
    }

    /// Seldom twice, however many numbers share them.
    pub fn features(&self) -> impl Iterator<Item = &Arc<Features>> {
        let layers = [&self.recent.numbers, &self.older.numbers, &*self.whole];
        layers.into_iter().flat_map(Numbers::features)
    }
}
