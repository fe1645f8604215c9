//! `store.sqlite`: the numbers that were set over HTTP, and the generations of the configuration. What one generation
//! changes is written with it, all or nothing.

use std::path::Path;

use rusqlite::{Connection, Row, Transaction, params};

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
    /// The numbers that it set or removed, and what was set of each before.
    pub changes: Vec<(String, Before)>,
    /// What it was read from, where it was read from files: a manifest of [`super::kept`]. None: as the one before, or they
    /// could not be kept.
    pub files: Option<String>,
    /// The manifest of the files that lay there, where older ones were served in their place.
    pub instead: Option<String>,
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

    /// As on a disk with room for so many pages more, or with room again.
    #[cfg(test)]
    pub fn has_room(&self, pages: Option<u32>) {
        let count: u32 = self.0.pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
        let most = pages.map_or(u32::MAX - 2, |pages| count + pages);
        let set: u32 =
            self.0.query_row(&format!("PRAGMA max_page_count = {most}"), [], |row| row.get(0)).unwrap();
        assert!(set >= most.min(count));
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

    /// The first `most` generations before that one, or of all, the latest first; without their changes.
    pub fn generations(
        &self,
        before: Option<u64>,
        most: usize,
    ) -> Result<Vec<StoredGeneration>, DatabaseError> {
        let mut query = self.0.prepare(
            "SELECT generation, at, by, what, numbers, files, instead FROM generation WHERE generation < ?1
             ORDER BY generation DESC LIMIT ?2",
        )?;
        let before = before.map_or(i64::MAX, u64::cast_signed);
        let rows = query.query_map(params![before, most as u64 as i64], generation_of)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The last `most` up to that one that were read from files, the latest first; without their changes.
    pub fn of_files(&self, last: u64, most: usize) -> Result<Vec<StoredGeneration>, DatabaseError> {
        let mut query = self.0.prepare(
            "SELECT generation, at, by, what, numbers, files, instead FROM generation
             WHERE generation <= ?1 AND files IS NOT NULL ORDER BY generation DESC LIMIT ?2",
        )?;
        let rows = query.query_map(params![last.cast_signed(), most as u64 as i64], generation_of)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Whether that one is remembered.
    pub fn knows(&self, generation: u64) -> Result<bool, DatabaseError> {
        let mut query = self.0.prepare("SELECT 1 FROM generation WHERE generation = ?1")?;
        Ok(query.exists([generation.cast_signed()])?)
    }

    /// The last generation in which a number was set or removed.
    pub fn last_change(&self) -> Result<Option<u64>, DatabaseError> {
        let last: Option<i64> =
            self.0.query_row("SELECT max(generation) FROM change", [], |row| row.get(0))?;
        Ok(last.map(i64::cast_unsigned))
    }

    /// What numbers were changed after that generation, and what was set of each when it was served.
    pub fn changed_since(&self, generation: u64) -> Result<Vec<(String, Before)>, DatabaseError> {
        let mut query = self.0.prepare(
            "SELECT did, was, before, min(generation) FROM change WHERE generation > ?1 GROUP BY did ORDER BY did",
        )?;
        let rows = query.query_map([generation.cast_signed()], |row| {
            let before = match (row.get(1)?, row.get(2)?) {
                (3u8, Some(body)) => Before::Body(body),
                (2, _) => Before::Removal,
                (_, _) => Before::Nothing,
            };
            Ok((row.get(0)?, before))
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
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
                "INSERT INTO generation (generation, at, by, what, numbers, files, instead)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?;
            let mut change = work.prepare_cached("INSERT INTO change VALUES (?1, ?2, ?3, ?4)")?;
            for one in generations {
                let generation = one.generation.cast_signed();
                let numbers = one.numbers.cast_signed();
                insert.execute(params![
                    generation,
                    millis(one.at),
                    one.by,
                    one.what,
                    numbers,
                    one.files,
                    one.instead
                ])?;
                for (did, before) in &one.changes {
                    let (was, body) = match before {
                        Before::Nothing => (1, None),
                        Before::Removal => (2, None),
                        Before::Body(body) => (3, Some(body)),
                    };
                    change.execute(params![generation, did, was, body])?;
                }
            }
            let last = generations.last().map_or(0, |one| one.generation);
            let oldest = last.saturating_sub(REMEMBERED).cast_signed();
            // What the oldest that is remembered was read from stays known.
            work.prepare_cached(
                "DELETE FROM generation WHERE generation <= ?1 AND generation <
                 (SELECT max(generation) FROM generation WHERE generation <= ?1 + 1 AND files IS NOT NULL)",
            )?
            .execute([oldest])?;
            work.prepare_cached("DELETE FROM change WHERE generation <= ?1")?.execute([oldest])?;
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
    Ok(StoredGeneration {
        generation: generation.cast_unsigned(),
        at: wall(row, 1)?,
        by: row.get(2)?,
        what: row.get(3)?,
        numbers: numbers.cast_unsigned(),
        changes: Vec::new(),
        files: row.get(5)?,
        instead: row.get(6)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(body: Option<&str>, generation: u64) -> StoredNumber {
        StoredNumber { body: body.map(str::to_owned), at: Wall(7), by: "alice".to_owned(), generation }
    }

    fn generation(generation: u64, changes: &[(&str, Before)]) -> StoredGeneration {
        StoredGeneration {
            generation,
            at: Wall(generation),
            by: "alice".to_owned(),
            what: "it".to_owned(),
            numbers: 3,
            changes: changes.iter().map(|(did, before)| ((*did).to_owned(), before.clone())).collect(),
            files: None,
            instead: None,
        }
    }

    /// Without their changes, as they are listed.
    fn listed(generations: &[StoredGeneration]) -> Vec<StoredGeneration> {
        let bare = |one: &StoredGeneration| StoredGeneration { changes: Vec::new(), ..one.clone() };
        generations.iter().rev().map(bare).collect()
    }

    #[test]
    fn numbers_and_generations_are_there_again_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = ("+12015550101".to_owned(), "+12015550102".to_owned());
        let body = |text: &str| Before::Body(text.to_owned());
        let all = [
            StoredGeneration { files: Some("[]".to_owned()), ..generation(1, &[]) },
            generation(2, &[(&one, Before::Nothing)]),
            generation(3, &[(&one, body("{}"))]),
            generation(4, &[(&one, Before::Removal), (&two, body("{ }"))]),
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
        let numbers = [(one.clone(), number(None, 3)), (two.clone(), number(Some("{ }"), 4))];
        assert_eq!(ledger.numbers().unwrap(), numbers);
        let listed = listed(&all);
        assert_eq!(ledger.generations(None, 10).unwrap(), listed);
        assert_eq!(ledger.generations(Some(4), 2).unwrap(), listed[1..3]);
        assert_eq!(ledger.of_files(4, 9).unwrap(), listed[3..]);
        assert_eq!(
            (ledger.last().unwrap(), ledger.knows(4).unwrap(), ledger.knows(9).unwrap()),
            (4, true, false)
        );
        // Of each what was set when that one was served.
        let since = |generation| ledger.changed_since(generation).unwrap();
        assert_eq!(since(4), []);
        assert_eq!(since(2), [(one.clone(), body("{}")), (two.clone(), body("{ }"))]);
        assert_eq!(since(1), [(one.clone(), Before::Nothing), (two.clone(), body("{ }"))]);
        ledger.write(&[generation(5, &[])], &[(one, None)]).unwrap();
        assert_eq!(ledger.numbers().unwrap(), [(two, number(Some("{ }"), 4))]);
    }

    #[test]
    fn what_cannot_be_written_whole_is_not_written_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let mut ledger = Ledger::open(folder.path()).unwrap();
        ledger.write(&[generation(1, &[])], &[]).unwrap();
        let one = [("+12015550101".to_owned(), Some(number(Some("{}"), 1)))];
        // The same generation a second time.
        assert!(ledger.write(&[generation(1, &[])], &one).is_err());
        assert_eq!(ledger.numbers().unwrap(), []);
    }

    #[test]
    fn only_the_last_generations_are_remembered_and_what_they_were_read_from() {
        let folder = tempfile::tempdir().unwrap();
        let mut ledger = Ledger::open(folder.path()).unwrap();
        let read = |one| StoredGeneration { files: Some("[]".to_owned()), ..generation(one, &[]) };
        let set = |one| generation(one, &[("+12015550101", Before::Nothing)]);
        ledger.write(&[read(1), read(2), set(3), set(4), set(5)], &[]).unwrap();
        ledger.write(&[generation(REMEMBERED + 3, &[])], &[]).unwrap();
        let left = |ledger: &Ledger| -> Vec<u64> {
            ledger.generations(None, 10).unwrap().iter().map(|one| one.generation).collect()
        };
        assert_eq!(left(&ledger), [REMEMBERED + 3, 5, 4, 3, 2]);
        assert_eq!(ledger.changed_since(0).unwrap().len(), 1);
        ledger.write(&[read(REMEMBERED + 4)], &[]).unwrap();
        ledger.write(&[generation(3 * REMEMBERED, &[])], &[]).unwrap();
        assert_eq!(left(&ledger), [3 * REMEMBERED, REMEMBERED + 4]);
        assert_eq!(ledger.changed_since(0).unwrap(), []);
    }
}
