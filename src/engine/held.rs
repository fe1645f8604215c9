//! How often something is held, by whatever names it.

use std::borrow::Borrow;
use std::hash::Hash;

use dashmap::DashMap;

/// How often something is held now, by key; a key that nothing holds takes no room.
#[derive(Debug)]
pub struct Held<K: Eq + Hash>(DashMap<K, u32>);

impl<K: Eq + Hash> Default for Held<K> {
    fn default() -> Self {
        Held(DashMap::new())
    }
}

impl<K: Eq + Hash> Held<K> {
    /// Holds one more, unless `most` are held; 0 is no limit. True: held, to be given back.
    pub fn take<Q: Hash + Eq + ToOwned<Owned = K> + ?Sized>(&self, key: &Q, most: u32) -> bool
    where
        K: Borrow<Q>,
    {
        if let Some(mut held) = self.0.get_mut(key) {
            let room = most == 0 || *held < most;
            *held += u32::from(room);
            return room;
        }
        let mut held = self.0.entry(key.to_owned()).or_insert(0);
        let room = most == 0 || *held < most;
        *held += u32::from(room);
        room
    }

    /// Holds one more; how many are held now.
    pub fn add(&self, key: K) -> u32 {
        let mut held = self.0.entry(key).or_insert(0);
        *held += 1;
        *held
    }

    /// Gives one back.
    pub fn give<Q: Hash + Eq + ?Sized>(&self, key: &Q)
    where
        K: Borrow<Q>,
    {
        self.0.remove_if_mut(key, |_, held| {
            *held = held.saturating_sub(1);
            *held == 0
        });
    }

    /// How many are held.
    pub fn count<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> u32
    where
        K: Borrow<Q>,
    {
        self.0.get(key).map_or(0, |held| *held)
    }

    /// Whether nothing at all is held.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
