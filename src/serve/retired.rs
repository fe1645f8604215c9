//! Where tables go that are served no more: to free millions of numbers takes longer than a shard has.

use std::any::Any;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::routing::Table;

/// How often it is looked whether somebody has one; shards let go when they are told.
const LOOK: Duration = Duration::from_millis(100);

/// The allocator gives what is freed back to the system a second later, but only when somebody takes something large then (`purge_delay`
/// of mimalloc): where nothing else goes on, the whole of an old table would stay. After so many looks at nothing it is made look.
const GIVEN_BACK: u32 = 12;
/// So many times: what was freed while that second passed is given back when it has passed once more.
const PARTS: u32 = 24;
/// So much is a piece of memory of its own. The allocator looks when such a piece is full, as it is at once, and gives nothing of it
/// back, though it was freed before: little more than need be.
const PIECE: usize = 1 << 20;

/// Tables that are served no more, until nobody else has them.
#[derive(Clone, Default)]
pub(super) struct Retired(Arc<Mutex<Waiting>>);

#[derive(Default)]
struct Waiting {
    tables: Vec<Arc<Table>>,
    /// What they shared with others, each once: one of those may be with a shard still.
    shared: Vec<Arc<dyn Any + Send + Sync>>,
    /// Whether a thread looks after them.
    is_watched: bool,
}

impl Retired {
    /// Takes the table that `next` is served in place of.
    pub fn take(&self, table: Arc<Table>, next: &Table) {
        let mut waiting = self.waiting();
        let served = next.shared();
        for part in table.shared() {
            let is_same =
                |other: &Arc<dyn Any + Send + Sync>| std::ptr::addr_eq(&raw const **other, &raw const *part);
            if !served.iter().any(is_same) && !waiting.shared.iter().any(is_same) {
                waiting.shared.push(part);
            }
        }
        waiting.tables.push(table);
        if !std::mem::replace(&mut waiting.is_watched, true) {
            let watched = self.clone();
            let watch = move || watched.watch();
            if let Err(error) = std::thread::Builder::new().name("retired".to_owned()).spawn(watch) {
                waiting.is_watched = false;
                tracing::warn!(%error, "a table is freed by whoever has it last");
            }
        }
    }

    /// Frees what nobody else has as soon as that is so, until nothing is left and has been given back.
    fn watch(&self) {
        let mut still = 0;
        loop {
            let was_freed = self.free();
            still = if was_freed { 0 } else { still + 1 };
            if (GIVEN_BACK..GIVEN_BACK + PARTS).contains(&still) {
                give_back();
            }
            let mut waiting = self.waiting();
            if still >= GIVEN_BACK + PARTS && waiting.tables.is_empty() && waiting.shared.is_empty() {
                waiting.is_watched = false;
                return;
            }
            drop(waiting);
            std::thread::sleep(LOOK);
        }
    }

    /// Frees what nobody else has. Whether that was anything.
    fn free(&self) -> bool {
        let mut gone: (Vec<Arc<Table>>, Vec<Arc<dyn Any + Send + Sync>>) = Default::default();
        let mut waiting = self.waiting();
        let Waiting { tables, shared, .. } = &mut *waiting;
        gone.0.extend(tables.extract_if(.., |table| Arc::strong_count(table) == 1));
        gone.1.extend(shared.extract_if(.., |part| Arc::strong_count(part) == 1));
        // Whoever publishes does not wait for it either.
        drop(waiting);
        !gone.0.is_empty() || !gone.1.is_empty()
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Has the allocator look whether what was freed can be given back.
fn give_back() {
    // Never touched, so that it costs nothing; where there is no room for it, there is none to give back either.
    let mut piece = Vec::<u8>::new();
    drop(piece.try_reserve_exact(PIECE));
    drop(std::hint::black_box(piece));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_freed_once_nobody_has_it_and_what_it_shares_with_none_that_is_served() {
        let table = || Arc::new(Table::from_toml("").unwrap());
        let config = crate::config::parse("", &|_| None).unwrap().config;
        let first = table();
        let second = Arc::new(first.changed(2, &config, &[], Default::default()));
        let (part, retired) = (Arc::downgrade(&first.shared()[0]), Retired::default());
        let (by_a_shard, weak) = (Arc::clone(&first), Arc::downgrade(&first));
        let until = |is_so: &dyn Fn() -> bool| {
            while !is_so() {
                std::thread::yield_now();
            }
        };
        retired.take(first, &second);
        assert!(!retired.free() && weak.strong_count() == 2, "a shard has it");
        drop(by_a_shard);
        until(&|| weak.strong_count() == 0);
        assert!(part.strong_count() > 0, "the second has the part");
        let third = table();
        let by_a_shard = Arc::clone(&second);
        retired.take(second, &third);
        assert!(retired.waiting().is_watched && part.strong_count() > 0, "a shard has it");
        drop(by_a_shard);
        until(&|| part.strong_count() == 0 && !retired.waiting().is_watched);
    }
}
