//! What numbers are looked up in. All maps scatter their keys alike and hold 24 bytes for each: they differ in how they find
//! them, and in how readers and writers get on.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::RwLock;

use strowger::number::E164;

/// Looked up in by several threads at once.
pub trait Map: Sync {
    /// How one thread looks up: something of what is kept of the number, that cannot be known without looking.
    fn reader(&self) -> Reader<'_>;

    /// Publishes something new, of this number where it is a map of single ones, while others look up.
    ///
    /// # Errors
    /// Why there is nothing new: what is measured then is a table at rest.
    fn publish(&self, number: E164) -> Result<(), String>;
}

pub type Reader<'m> = Box<dyn FnMut(E164) -> u64 + 'm>;

/// What each map holds of a number, as large as what Strowger's table does.
#[derive(Clone, Copy)]
struct Kept([u64; 3]);

fn kept(number: E164) -> (u64, Kept) {
    (number.to_bits(), Kept([number.to_bits(), 1, 2]))
}

/// One multiplication, as Strowger's table has.
#[derive(Default)]
pub struct Scattered(u64);

impl Hasher for Scattered {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn write_u64(&mut self, value: u64) {
        let wide = u128::from(self.0 ^ value) * 0x9E37_79B9_7F4A_7C15;
        self.0 = (wide >> 64) as u64 ^ wide as u64;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

type Scatter = BuildHasherDefault<Scattered>;

pub struct Dash(dashmap::DashMap<u64, Kept, Scatter>);

impl Dash {
    pub fn of(numbers: &[E164]) -> Dash {
        Dash(numbers.iter().map(|number| kept(*number)).collect())
    }
}

impl Map for Dash {
    fn reader(&self) -> Reader<'_> {
        Box::new(|number| self.0.get(&number.to_bits()).map_or(0, |kept| kept.0[0]))
    }

    fn publish(&self, number: E164) -> Result<(), String> {
        let (key, kept) = kept(number);
        self.0.insert(key, kept);
        Ok(())
    }
}

pub struct Papaya(papaya::HashMap<u64, Kept, Scatter>);

impl Papaya {
    pub fn of(numbers: &[E164]) -> Papaya {
        let map = papaya::HashMap::builder().capacity(numbers.len()).hasher(Scatter::default()).build();
        let pinned = map.pin();
        for (key, kept) in numbers.iter().map(|number| kept(*number)) {
            pinned.insert(key, kept);
        }
        drop(pinned);
        Papaya(map)
    }
}

impl Map for Papaya {
    fn reader(&self) -> Reader<'_> {
        Box::new(|number| self.0.pin().get(&number.to_bits()).map_or(0, |kept| kept.0[0]))
    }

    fn publish(&self, number: E164) -> Result<(), String> {
        let (key, kept) = kept(number);
        self.0.pin().insert(key, kept);
        Ok(())
    }
}

pub struct Scc(scc::HashIndex<u64, Kept, Scatter>);

impl Scc {
    pub fn of(numbers: &[E164]) -> Scc {
        let map = scc::HashIndex::with_capacity_and_hasher(numbers.len(), Scatter::default());
        for (key, kept) in numbers.iter().map(|number| kept(*number)) {
            assert!(map.insert_sync(key, kept).is_ok(), "each number once");
        }
        Scc(map)
    }
}

impl Map for Scc {
    fn reader(&self) -> Reader<'_> {
        Box::new(|number| self.0.peek_with(&number.to_bits(), |_, kept| kept.0[0]).unwrap_or(0))
    }

    /// Its values never change: one is taken out, another comes in.
    fn publish(&self, number: E164) -> Result<(), String> {
        let (key, kept) = kept(number);
        self.0.remove_sync(&key);
        self.0.insert_sync(key, kept).map_err(|_| format!("{number} is there though it was taken out"))
    }
}

pub struct Locked(RwLock<HashMap<u64, Kept, Scatter>>);

impl Locked {
    pub fn of(numbers: &[E164]) -> Locked {
        Locked(RwLock::new(numbers.iter().map(|number| kept(*number)).collect()))
    }
}

impl Map for Locked {
    fn reader(&self) -> Reader<'_> {
        Box::new(|number| {
            let map = self.0.read().unwrap_or_else(std::sync::PoisonError::into_inner);
            map.get(&number.to_bits()).map_or(0, |kept| kept.0[0])
        })
    }

    fn publish(&self, number: E164) -> Result<(), String> {
        let (key, kept) = kept(number);
        self.0.write().unwrap_or_else(std::sync::PoisonError::into_inner).insert(key, kept);
        Ok(())
    }
}

/// So much memory, of which a lookup reads one line: what a table can do at best.
pub struct Load(Vec<Line>);

#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line(u64);

impl Load {
    pub fn from(bytes: usize) -> Load {
        // Written, so that each page is one of its own.
        Load((0..(bytes / size_of::<Line>()).max(2) as u64).map(Line).collect())
    }
}

impl Map for Load {
    fn reader(&self) -> Reader<'_> {
        Box::new(|number| {
            let scattered = number.to_bits().wrapping_mul(0x9E37_79B9_7F4A_7C15);
            let place = (u128::from(scattered) * self.0.len() as u128) >> 64;
            self.0[place as usize].0
        })
    }

    fn publish(&self, _: E164) -> Result<(), String> {
        Err("it holds no numbers".to_owned())
    }
}
