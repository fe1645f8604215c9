//! Numbers that were set, or removed, one by one over HTTP: they win over the files and outlive reloads.

use std::ops::Bound;
use std::sync::Arc;

use imbl::OrdMap;

use super::number::{Dialled, Number};
use crate::time::Wall;

/// What was set of one number.
#[derive(Clone, Debug)]
pub struct Entry {
    pub set: Set,
    /// When, by whom, and in which generation it was first served.
    pub at: Wall,
    pub by: Box<str>,
    pub generation: u64,
}

#[derive(Clone, Debug)]
pub enum Set {
    To(Box<Number>),
    /// It is no number of ours, whatever the files say.
    Removed,
    /// It, as it is stored, does not check with the files that were found when the node started, and why: they hold for it.
    Aside {
        json: Option<Box<str>>,
        why: Box<str>,
    },
}

/// All of them. A copy costs nothing, and one that is changed little.
#[derive(Clone, Debug, Default)]
pub struct Overlay {
    entries: OrdMap<Dialled, Arc<Entry>>,
}

impl Overlay {
    /// As many as there may be: beyond, they belong into files.
    pub const MOST: usize = 1_000_000;

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub fn get(&self, did: Dialled) -> Option<&Arc<Entry>> {
        self.entries.get(&did)
    }

    /// Whether what files say of it counts for nothing.
    pub fn holds(&self, did: Dialled) -> bool {
        // Most configurations have none.
        !self.entries.is_empty() && self.entries.get(&did).is_some_and(|entry| entry.is_served())
    }

    /// The number as it is set, if it is.
    pub fn number(&self, did: Dialled) -> Option<&Number> {
        self.get(did)?.number()
    }

    /// Those that are set to something, by their number.
    pub fn numbers(&self) -> impl Iterator<Item = (Dialled, &Number)> {
        self.entries.iter().filter_map(|(did, entry)| Some((*did, entry.number()?)))
    }

    pub fn iter(&self) -> impl Iterator<Item = (Dialled, &Arc<Entry>)> {
        self.entries.iter().map(|(did, entry)| (*did, entry))
    }

    /// Those behind that one.
    pub fn behind(&self, did: Option<Dialled>) -> impl Iterator<Item = (Dialled, &Arc<Entry>)> {
        let begin = did.map_or(Bound::Unbounded, Bound::Excluded);
        self.entries.range((begin, Bound::Unbounded)).map(|(did, entry)| (*did, entry))
    }

    /// Sets it so; none: what files say holds again.
    pub fn put(&mut self, did: Dialled, entry: Option<Arc<Entry>>) {
        match entry {
            Some(entry) => drop(self.entries.insert(did, entry)),
            None => drop(self.entries.remove(&did)),
        }
    }
}

impl Entry {
    pub fn number(&self) -> Option<&Number> {
        match &self.set {
            Set::To(number) => Some(number),
            Set::Removed | Set::Aside { .. } => None,
        }
    }

    /// What was set and is set aside, as it is stored: as it is told it may lack what cannot be read.
    pub fn json_aside(&self) -> Option<&str> {
        match &self.set {
            Set::Aside { json, .. } => json.as_deref(),
            Set::To(_) | Set::Removed => None,
        }
    }

    /// Whether it counts, rather than what files say.
    pub fn is_served(&self) -> bool {
        match self.set {
            Set::To(_) | Set::Removed => true,
            Set::Aside { .. } => false,
        }
    }
}
