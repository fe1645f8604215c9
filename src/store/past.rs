//! What is remembered of generations and of numbers that were set over HTTP, as it is read.

use rusqlite::{Connection, OpenFlags, Row, params};

use super::database::{DatabaseError, PATIENCE, wall};
use super::ledger::{Before, StoredGeneration, StoredNumber};
use super::runs::{self, Forgotten, Reach, Run, Source};

/// Of the file that a ledger writes. Its calls block: not for a shard.
pub struct Past(pub(super) Connection);

impl Past {
    /// As it is now, for who reads long: whoever writes does not wait for that, and what is written meanwhile is not seen.
    pub fn as_it_is(&self) -> Result<Past, DatabaseError> {
        let file =
            Connection::open_with_flags(self.0.path().unwrap_or_default(), OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        file.busy_timeout(PATIENCE)?;
        // What is read first is what is seen.
        file.execute_batch("BEGIN; SELECT since FROM forgotten")?;
        Ok(Past(file))
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
            "SELECT generation, at, by, what, numbers FROM generation WHERE generation < ?1
             ORDER BY generation DESC LIMIT ?2",
        )?;
        let before = before.map_or(i64::MAX, u64::cast_signed);
        let rows = query.query_map(params![before, most as u64 as i64], generation_of)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Of which files publications up to that generation were, the oldest first.
    pub fn runs(&self, last: u64) -> Result<Vec<Run>, DatabaseError> {
        runs::all(&self.0, last)
    }

    /// The manifest of a run, by the first generation of it; none: nobody knows its files.
    pub fn files(&self, run: u64) -> Result<Option<String>, DatabaseError> {
        runs::files(&self.0, run)
    }

    /// Of the last publication of files: its generation, and what it was read from.
    pub fn last_source(&self) -> Result<Option<(u64, Source)>, DatabaseError> {
        runs::last(&self.0)
    }

    /// What can be rolled back to of the generations before that one, the oldest first, as far as numbers are known.
    pub fn reach(&self, served: u64) -> Result<Vec<Reach>, DatabaseError> {
        runs::reach(&self.0, served, forgotten(&self.0)?)
    }

    /// The last generation up to that one in which a number was set or removed.
    pub fn last_change(&self, up_to: u64) -> Result<Option<u64>, DatabaseError> {
        let mut query = self.0.prepare_cached("SELECT max(generation) FROM change WHERE generation <= ?1")?;
        let last: Option<i64> = query.query_row([up_to.cast_signed()], |row| row.get(0))?;
        // Of what is forgotten the last is known yet.
        let gone = forgotten(&self.0)?.gone;
        Ok(last.map(i64::cast_unsigned).or(Some(gone).filter(|gone| *gone > 0 && *gone <= up_to)))
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
        source: None,
    })
}

pub(super) fn forgotten(file: &Connection) -> Result<Forgotten, DatabaseError> {
    let mut query = file.prepare_cached("SELECT since, gone FROM forgotten")?;
    let (since, gone): (i64, i64) = query.query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(Forgotten { since: since.cast_unsigned(), gone: gone.cast_unsigned() })
}
