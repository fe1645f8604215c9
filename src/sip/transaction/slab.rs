//! Transactions by number, in chunks that never move.

use super::Id;
use super::lingering::Filling;

/// Chunks keep growth even: no copy of all transactions when one more comes.
const CHUNK: usize = 1_024;

/// Numbered places for `T`s. A place is used again with another generation, so an old `Id` finds nothing.
#[derive(Debug)]
pub(super) struct Slab<T> {
    chunks: Vec<Box<[Slot<T>]>>,
    /// How many places have ever been used.
    used: u32,
    /// Places to be used again, the one freed last first: it is the warmest in the cache.
    free: Vec<u32>,
    max: u32,
    /// Set in every index, so that ids of two slabs never meet.
    side: u32,
}

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    content: Option<T>,
}

impl<T> Slab<T> {
    /// A slab for at most `max` at a time, below 2³¹.
    pub fn new(side: Side, max: u32) -> Self {
        Slab { chunks: Vec::new(), used: 0, free: Vec::new(), max: max.min(INDEX), side: side.bit() }
    }

    pub fn len(&self) -> usize {
        self.used as usize - self.free.len()
    }

    pub fn is_full(&self) -> bool {
        self.len() >= self.max as usize
    }

    pub fn filling(&self) -> Filling {
        Filling { taken: self.len(), room: self.max as usize }
    }

    /// Whether no more than one part in `parts` is left.
    pub fn is_filling(&self, parts: u32) -> bool {
        self.len() >= (self.max - self.max / parts) as usize
    }

    /// Puts one in, whatever the maximum: `is_full` is for the caller to ask.
    pub fn insert(&mut self, content: T) -> Id {
        let index = self.free.pop().unwrap_or_else(|| self.grow());
        let side = self.side;
        let slot = self.slot_mut(index);
        slot.content = Some(content);
        Id { index: index | side, generation: slot.generation }
    }

    pub fn get(&self, id: Id) -> Option<&T> {
        let slot = self.slot(id.index)?;
        if slot.generation == id.generation { slot.content.as_ref() } else { None }
    }

    pub fn get_mut(&mut self, id: Id) -> Option<&mut T> {
        self.slot(id.index)?;
        let slot = self.slot_mut(id.index & INDEX);
        if slot.generation == id.generation { slot.content.as_mut() } else { None }
    }

    pub fn remove(&mut self, id: Id) -> Option<T> {
        self.get(id)?;
        let index = id.index & INDEX;
        let slot = self.slot_mut(index);
        slot.generation = slot.generation.wrapping_add(1);
        let content = slot.content.take();
        self.free.push(index);
        content
    }

    /// The live id at an index without its side, if any.
    pub fn id_at(&self, index: u32) -> Option<Id> {
        let index = index | self.side;
        let slot = self.slot(index)?;
        slot.content.is_some().then_some(Id { index, generation: slot.generation })
    }

    fn slot(&self, index: u32) -> Option<&Slot<T>> {
        if index & !INDEX != self.side {
            return None;
        }
        let place = (index & INDEX) as usize;
        self.chunks.get(place / CHUNK).map(|chunk| &chunk[place % CHUNK])
    }

    fn slot_mut(&mut self, place: u32) -> &mut Slot<T> {
        &mut self.chunks[place as usize / CHUNK][place as usize % CHUNK]
    }

    fn grow(&mut self) -> u32 {
        let index = self.used;
        if index as usize == self.chunks.len() * CHUNK {
            let empty = || Slot { generation: 0, content: None };
            self.chunks.push(std::iter::repeat_with(empty).take(CHUNK).collect());
        }
        self.used += 1;
        index
    }
}

/// Which slab an id belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Server,
    Client,
}

const INDEX: u32 = (1 << 31) - 1;

impl Side {
    pub const fn bit(self) -> u32 {
        match self {
            Side::Server => 0,
            Side::Client => !INDEX,
        }
    }

    pub const fn of(id: Id) -> Side {
        if id.index & !INDEX == 0 { Side::Server } else { Side::Client }
    }
}

impl Id {
    /// The place alone, as a branch writes it.
    pub(super) const fn place(self) -> u32 {
        self.index & INDEX
    }
}
