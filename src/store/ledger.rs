//! `store.sqlite`: the numbers that were set over HTTP, and the generations of the configuration. What one generation
//! changes is written with it, all or nothing.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use super::database::{self, DatabaseError, millis, wall};
use crate::time::Wall;

/// How many generations are remembered: of numbers that are set at 100 a second, the last minutes; of reloads, years.
pub const REMEMBERED: u64 = 10_000;

/// A number as it was set, or removed, over HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredNumber {
    /// What it was set to, as JSON; none: it was removed.
    pub body: Option<String>,
    pub at: Wall,
    pub by: String,
    pub generation: u64,
}

/// One publication.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredGeneration {
    pub generation: u64,
    pub at: Wall,
    /// Who published it, and what it changed, in words.
    pub by: String,
    pub what: String,
    /// How many numbers it has.
    pub numbers: u64,
    /// The number that it set or removed, and what was set of it before.
    pub change: Option<(String, Before)>,
    /// The files that it was read from, where it was read from files: a name for them that [`super::kept`] knows.
    pub files: Option<String>,
}

/// What was set of a number before it was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Before {
    Nothing,
    Removal,
    Body(String),
}

/// Both tables. Its calls block: not for a shard.
pub struct Ledger(Connection);

impl Ledger {
    /// Opens the file of a data folder, and brings it to this version.
    pub fn open(folder: &Path) -> Result<Ledger, DatabaseError> {
        Ok(Ledger(database::open(folder)?))
    }

    /// Every number that was set or removed, by its `did` as it is written.
    pub fn numbers(&self) -> Result<Vec<(String, StoredNumber)>, DatabaseError> {
        let mut query = self.0.prepare("SELECT did, body, at, by, generation FROM number ORDER BY did")?;
        let rows = query.query_map([], |row| {
            let generation: i64 = row.get(4)?;
            let (body, at, by) = (row.get(1)?, wall(row, 2)?, row.get(3)?);
            Ok((row.get(0)?, StoredNumber { body, at, by, generation: generation.cast_unsigned() }))
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The first `most` generations before that one, or of all, the latest first.
    pub fn generations(
        &self,
        before: Option<u64>,
        most: usize,
    ) -> Result<Vec<StoredGeneration>, DatabaseError> {
        let mut query = self.0.prepare(
            "SELECT generation, at, by, what, numbers, did, was, before, files FROM generation WHERE generation < ?1
             ORDER BY generation DESC LIMIT ?2",
        )?;
        let before = before.map_or(i64::MAX, u64::cast_signed);
        let rows = query.query_map(params![before, most as u64 as i64], generation_of)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// One of them.
    pub fn generation(&self, generation: u64) -> Result<Option<StoredGeneration>, DatabaseError> {
        let mut query = self.0.prepare(
            "SELECT generation, at, by, what, numbers, did, was, before, files FROM generation WHERE generation = ?1",
        )?;
        Ok(query.query_row([generation.cast_signed()], generation_of).optional()?)
    }

    /// The last that was published; 0: there was none.
    pub fn last(&self) -> Result<u64, DatabaseError> {
        let last: Option<i64> =
            self.0.query_row("SELECT max(generation) FROM generation", [], |row| row.get(0))?;
        Ok(last.unwrap_or(0).cast_unsigned())
    }

    /// Writes generations, each with what it sets of its numbers (none: what files say holds again), all or nothing; on return
    /// they survive a power cut.
    pub fn write(
        &mut self,
        generations: &[StoredGeneration],
        numbers: &[(String, Option<StoredNumber>)],
    ) -> Result<(), DatabaseError> {
        let work = self.0.transaction()?;
        write_numbers(&work, numbers)?;
        {
            let mut insert = work.prepare_cached(
                "INSERT INTO generation (generation, at, by, what, numbers, did, was, before, files)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            )?;
            for one in generations {
                let (did, was, before) = match &one.change {
                    None => (None, 0, None),
                    Some((did, Before::Nothing)) => (Some(did), 1, None),
                    Some((did, Before::Removal)) => (Some(did), 2, None),
                    Some((did, Before::Body(body))) => (Some(did), 3, Some(body)),
                };
                insert.execute(params![
                    one.generation.cast_signed(),
                    millis(one.at),
                    one.by,
                    one.what,
                    one.numbers.cast_signed(),
                    did,
                    was,
                    before,
                    one.files,
                ])?;
            }
            let last = generations.last().map_or(0, |one| one.generation);
            let oldest = last.saturating_sub(REMEMBERED).cast_signed();
            work.prepare_cached("DELETE FROM generation WHERE generation <= ?1")?.execute([oldest])?;
        }
        Ok(work.commit()?)
    }
}

fn write_numbers(
    work: &Transaction<'_>,
    numbers: &[(String, Option<StoredNumber>)],
) -> Result<(), DatabaseError> {
    let mut insert = work.prepare_cached("INSERT OR REPLACE INTO number VALUES (?1, ?2, ?3, ?4, ?5)")?;
    let mut delete = work.prepare_cached("DELETE FROM number WHERE did = ?1")?;
    for (did, number) in numbers {
        match number {
            Some(StoredNumber { body, at, by, generation }) => {
                insert.execute(params![did, body, millis(*at), by, generation.cast_signed()])?
            }
            None => delete.execute([did])?,
        };
    }
    Ok(())
}

fn generation_of(row: &Row<'_>) -> rusqlite::Result<StoredGeneration> {
    let (generation, numbers): (i64, i64) = (row.get(0)?, row.get(4)?);
    let did: Option<String> = row.get(5)?;
    let (was, before): (u8, Option<String>) = (row.get(6)?, row.get(7)?);
    let before = match (was, before) {
        (3, Some(body)) => Before::Body(body),
        (2, _) => Before::Removal,
        (_, _) => Before::Nothing,
    };
    Ok(StoredGeneration {
        generation: generation.cast_unsigned(),
        at: wall(row, 1)?,
        by: row.get(2)?,
        what: row.get(3)?,
        numbers: numbers.cast_unsigned(),
        change: did.map(|did| (did, before)),
        files: row.get(8)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(body: Option<&str>, generation: u64) -> StoredNumber {
        StoredNumber { body: body.map(str::to_owned), at: Wall(7), by: "alice".to_owned(), generation }
    }

    fn generation(generation: u64, change: Option<(&str, Before)>) -> StoredGeneration {
        StoredGeneration {
            generation,
            at: Wall(generation),
            by: "alice".to_owned(),
            what: "it".to_owned(),
            numbers: 3,
            change: change.map(|(did, before)| (did.to_owned(), before)),
            files: None,
        }
    }

    #[test]
    fn numbers_and_generations_are_there_again_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = ("+12015550101".to_owned(), "+12015550102".to_owned());
        let all = [
            generation(1, None),
            generation(2, Some((&one, Before::Nothing))),
            generation(3, Some((&one, Before::Body("{}".to_owned())))),
            generation(4, Some((&two, Before::Removal))),
        ];
        {
            let mut ledger = Ledger::open(folder.path()).unwrap();
            assert_eq!(ledger.last().unwrap(), 0);
            ledger.write(&all[..1], &[]).unwrap();
            ledger.write(&all[1..2], &[(one.clone(), Some(number(Some("{}"), 2)))]).unwrap();
            let both = [(one.clone(), Some(number(None, 3))), (two.clone(), Some(number(Some("{ }"), 4)))];
            ledger.write(&all[2..], &both).unwrap();
        }
        let mut ledger = Ledger::open(folder.path()).unwrap();
        assert_eq!(
            ledger.numbers().unwrap(),
            [(one.clone(), number(None, 3)), (two.clone(), number(Some("{ }"), 4))]
        );
        let mut latest_first = all.to_vec();
        latest_first.reverse();
        assert_eq!(ledger.generations(None, 10).unwrap(), latest_first);
        assert_eq!(ledger.generations(Some(4), 2).unwrap(), latest_first[1..3]);
        assert_eq!(ledger.generation(3).unwrap().as_ref(), Some(&all[2]));
        assert_eq!((ledger.last().unwrap(), ledger.generation(9).unwrap()), (4, None));
        ledger.write(&[generation(5, None)], &[(one, None)]).unwrap();
        assert_eq!(ledger.numbers().unwrap(), [(two, number(Some("{ }"), 4))]);
    }

    #[test]
    fn what_cannot_be_written_whole_is_not_written_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let mut ledger = Ledger::open(folder.path()).unwrap();
        ledger.write(&[generation(1, None)], &[]).unwrap();
        let one = [("+12015550101".to_owned(), Some(number(Some("{}"), 1)))];
        // The same generation a second time.
        assert!(ledger.write(&[generation(1, None)], &one).is_err());
        assert_eq!(ledger.numbers().unwrap(), []);
    }

    #[test]
    fn only_the_last_generations_are_remembered() {
        let folder = tempfile::tempdir().unwrap();
        let mut ledger = Ledger::open(folder.path()).unwrap();
        let all: Vec<_> = (1..=5).map(|one| generation(one, None)).collect();
        ledger.write(&all, &[]).unwrap();
        ledger.write(&[generation(REMEMBERED + 3, None)], &[]).unwrap();
        let left: Vec<u64> = ledger.generations(None, 10).unwrap().iter().map(|one| one.generation).collect();
        assert_eq!(left, [REMEMBERED + 3, 5, 4]);
    }
}
