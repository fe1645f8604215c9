//! The slab of slots.

use super::names::SlotKey;
use super::slot::Slot;

/// A nonce tells a slot's tenants apart.
#[derive(Default)]
pub(super) struct Slots {
    pub places: Vec<Option<Box<Slot>>>,
    free: Vec<u32>,
}

impl Slots {
    pub fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// The key that the next tenant gets.
    pub fn next_key(&self, draw: u64) -> SlotKey {
        let index = self.free.last().copied().unwrap_or(u32::try_from(self.places.len()).unwrap_or(u32::MAX));
        SlotKey { index, nonce: (draw >> 8) as u32 }
    }

    pub fn insert(&mut self, slot: Box<Slot>) {
        match self.free.pop() {
            Some(index) => self.places[index as usize] = Some(slot),
            None => self.places.push(Some(slot)),
        }
    }

    pub fn get(&self, key: SlotKey) -> Option<&Slot> {
        self.places.get(key.index as usize)?.as_deref().filter(|slot| slot.key == key)
    }

    pub fn get_mut(&mut self, key: SlotKey) -> Option<&mut Slot> {
        self.places.get_mut(key.index as usize)?.as_deref_mut().filter(|slot| slot.key == key)
    }

    pub fn remove(&mut self, key: SlotKey) {
        if self.get(key).is_some() {
            self.places[key.index as usize] = None;
            self.free.push(key.index);
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = &Slot> {
        self.places.iter().filter_map(|place| place.as_deref())
    }
}
