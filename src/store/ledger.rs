//! `store.sqlite`: the numbers that were set over HTTP, and the generations of the configuration. What one generation
//! changes is written with it, all or nothing.

use std::path::Path;

use rusqlite::{Connection, Row, Transaction, params};

use super::database::{self, DatabaseError, millis, wall};
use super::kept::Manifest;
use crate::time::Wall;

/// How much is remembered. Publications of files (starts, reloads, rollbacks to other files) and of single numbers are bounded
/// apart, so that neither pushes the other out.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    /// Publications of either kind: of numbers that are set at 100 a second, the last minutes; of reloads, years.
    lines: u64,
    /// What is beyond is forgotten so many at once, lest each change pays for a look at all.
    step: u64,
    /// Publications of files that can be rolled back to. Those in a row of the same files count once: a node that is started
    /// again and again forgets nothing.
    files: usize,
    /// Changes of numbers: two million, as many as one rollback may make where a million numbers were set and a million others
    /// are. About 200 bytes each.
    changes: u64,
}

const BOUNDS: Bounds = Bounds { lines: 10_000, step: 1_000, files: FILES, changes: 2_000_000 };
/// So many publications of files that differ can be rolled back to.
pub const FILES: usize = 16;
/// What stands for files that could not be kept: they are no others' equal.
pub const NOT_KEPT: &str = "";

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
pub struct Ledger {
    file: Connection,
    bounds: Bounds,
    held: Held,
}

/// How much there is of what is bounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Held {
    /// Publications that were read from no files.
    singles: u64,
    changes: u64,
}

/// From where on what numbers were is known.
#[derive(Clone, Copy, Debug)]
struct Forgotten {
    /// No change that was made after this generation.
    since: u64,
    /// All changes up to this one.
    gone: u64,
}

/// Generations that can be rolled back to, as far as the ledger knows: they are of the same files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reach {
    /// The manifest of the files.
    pub files: String,
    pub first: u64,
    pub last: u64,
}

impl Ledger {
    /// Opens the file of a data folder, and brings it to this version.
    pub fn open(folder: &Path) -> Result<Ledger, DatabaseError> {
        let file = database::open(folder)?;
        let held = Held::count(&file)?;
        Ok(Ledger { file, bounds: BOUNDS, held })
    }

    /// Remembers so many publications of either kind at most, so many different files and so many changes.
    #[cfg(test)]
    pub fn remembers(&mut self, lines: u64, files: usize, changes: u64) {
        self.bounds = Bounds { lines, step: 1, files, changes };
    }

    /// As on a disk with room for so many pages more, or with room again.
    #[cfg(test)]
    pub fn has_room(&self, pages: Option<u32>) {
        let count: u32 = self.file.pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
        let most = pages.map_or(u32::MAX - 2, |pages| count + pages);
        let set: u32 =
            self.file.query_row(&format!("PRAGMA max_page_count = {most}"), [], |row| row.get(0)).unwrap();
        assert!(set >= most.min(count));
    }

    /// Every number that was set or removed, by its `did` as it is written.
    pub fn numbers(&self) -> Result<Vec<(String, StoredNumber)>, DatabaseError> {
        let mut query = self.file.prepare("SELECT did, body, at, by, generation FROM number ORDER BY did")?;
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
        let mut query = self.file.prepare(
            "SELECT generation, at, by, what, numbers, files, instead FROM generation WHERE generation < ?1
             ORDER BY generation DESC LIMIT ?2",
        )?;
        let before = before.map_or(i64::MAX, u64::cast_signed);
        let rows = query.query_map(params![before, most as u64 as i64], generation_of)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The last up to that one that were read from files, of so many different ones, the latest first; without their changes.
    pub fn of_files(&self, last: u64, different: usize) -> Result<Vec<StoredGeneration>, DatabaseError> {
        of_files(&self.file, last, different)
    }

    /// The first of those generations in a row that were read from the files of that one. None: from no other files was any read
    /// that is known.
    pub fn files_since(&self, generation: u64) -> Result<Option<u64>, DatabaseError> {
        let files = self.of_files(generation, 2)?;
        let differ = files.windows(2).find(|two| !two[0].is_of_the_files_of(&two[1]));
        Ok(differ.map(|two| two[0].generation))
    }

    /// What can be rolled back to of the generations before that one, the oldest first.
    pub fn reach(&self, served: u64) -> Result<Vec<Reach>, DatabaseError> {
        let Forgotten { since, gone } = forgotten(&self.file)?;
        let mut files = self.of_files(served, self.bounds.files + 1)?;
        files.reverse();
        let next = files.iter().skip(1).map(|next| Some(next.generation)).chain([None]);
        let mut reach = Vec::new();
        for (one, next) in files.iter().zip(next) {
            let (begin, end) = (one.generation, next.unwrap_or(served) - 1);
            let mut add = |first: u64, last: u64| {
                if first <= last {
                    reach.push(Reach { files: one.files.clone().unwrap_or_default(), first, last });
                }
            };
            // What nothing is forgotten after, what was there when the next files were read, and what these were read as.
            let exact = match next {
                _ if end >= since => since.max(begin),
                Some(_) if end >= gone => end,
                _ => u64::MAX,
            };
            if begin >= gone && begin < exact && begin <= end {
                add(begin, begin);
            }
            add(exact, end);
        }
        Ok(reach)
    }

    /// The last generation in which a number was set or removed.
    pub fn last_change(&self) -> Result<Option<u64>, DatabaseError> {
        let last: Option<i64> =
            self.file.query_row("SELECT max(generation) FROM change", [], |row| row.get(0))?;
        // Of what is forgotten the last is known yet.
        let gone = forgotten(&self.file)?.gone;
        Ok(last.map(i64::cast_unsigned).or(Some(gone).filter(|gone| *gone > 0)))
    }

    /// What numbers were changed after that generation, and what was set of each when it was served.
    pub fn changed_since(&self, generation: u64) -> Result<Vec<(String, Before)>, DatabaseError> {
        let mut query = self.file.prepare(
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
            self.file.query_row("SELECT max(generation) FROM generation", [], |row| row.get(0))?;
        Ok(last.unwrap_or(0).cast_unsigned())
    }

    /// Writes generations, each with what it sets of its numbers (none: what files say holds again), all or nothing; on return
    /// they survive a power cut.
    pub fn write(
        &mut self,
        generations: &[StoredGeneration],
        numbers: &[(String, Option<StoredNumber>)],
    ) -> Result<(), DatabaseError> {
        let work = self.file.transaction()?;
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
        }
        let mut held = self.held;
        held.add(generations);
        let has_files = generations.iter().any(|one| one.files.is_some());
        forget(&work, self.bounds, &mut held, has_files)?;
        work.commit()?;
        self.held = held;
        Ok(())
    }
}

impl StoredGeneration {
    /// Whether both were read from the same files, but for what waits for a restart.
    pub fn is_of_the_files_of(&self, other: &StoredGeneration) -> bool {
        if self.files == other.files {
            return self.files.as_deref() != Some(NOT_KEPT);
        }
        let routing = |one: &StoredGeneration| Some(Manifest::read(one.files.as_ref()?)?.of_routing());
        routing(self).is_some_and(|files| Some(files) == routing(other))
    }
}

impl Held {
    fn count(file: &Connection) -> Result<Held, DatabaseError> {
        let count = |query: &str| file.query_row(query, [], |row| row.get::<_, i64>(0));
        Ok(Held {
            singles: count("SELECT count(*) FROM generation WHERE files IS NULL")?.cast_unsigned(),
            changes: count("SELECT count(*) FROM change")?.cast_unsigned(),
        })
    }

    fn add(&mut self, generations: &[StoredGeneration]) {
        for one in generations {
            self.singles += u64::from(one.files.is_none());
            self.changes += one.changes.len() as u64;
        }
    }
}

/// Forgets what is beyond the bounds. Costs nothing but for every `step`th publication of a single number, and each of files.
fn forget(
    work: &Transaction<'_>,
    bounds: Bounds,
    held: &mut Held,
    has_files: bool,
) -> Result<(), DatabaseError> {
    let mut forgotten = forgotten(work)?;
    if has_files {
        forget_files(work, bounds, &mut forgotten, held)?;
    }
    if held.singles >= bounds.lines + bounds.step {
        forget_singles(work, bounds, &mut forgotten, held)?;
    }
    if held.changes > bounds.changes {
        // So many more at once, for the same reason.
        let left = bounds.changes - bounds.changes / 8;
        let newest = "SELECT generation FROM change ORDER BY generation DESC LIMIT 1 OFFSET ?1";
        let up_to: i64 = work.query_row(newest, [left.cast_signed()], |row| row.get(0))?;
        forget_all(work, up_to.cast_unsigned(), &mut forgotten, held)?;
    }
    work.prepare_cached("UPDATE forgotten SET since = ?1, gone = ?2 WHERE since <> ?1 OR gone <> ?2")?
        .execute([forgotten.since.cast_signed(), forgotten.gone.cast_signed()])?;
    Ok(())
}

/// What was changed before the oldest files that can be rolled back to, and lines of older ones beyond their bound.
fn forget_files(
    work: &Transaction<'_>,
    bounds: Bounds,
    forgotten: &mut Forgotten,
    held: &mut Held,
) -> Result<(), DatabaseError> {
    let files = of_files(work, u64::MAX >> 1, bounds.files + 1)?;
    let differ = |two: &&[StoredGeneration]| !two[0].is_of_the_files_of(&two[1]);
    if let Some(oldest) = files.windows(2).filter(differ).nth(bounds.files - 1) {
        let (oldest, before) = (oldest[0].generation, oldest[1].generation);
        forget_all(work, oldest - 1, forgotten, held)?;
        // A manifest may be as large as all the rest; the one before is what the generation before was read from.
        work.prepare_cached(
            "UPDATE generation SET files = ?1, instead = NULL
             WHERE files IS NOT NULL AND files <> ?1 AND generation < ?2",
        )?
        .execute(params![NOT_KEPT, before.cast_signed()])?;
    }
    work.prepare_cached(
        "DELETE FROM generation WHERE files IS NOT NULL AND generation <=
         (SELECT generation FROM generation INDEXED BY of_files WHERE files IS NOT NULL
          ORDER BY generation DESC LIMIT 1 OFFSET ?1)",
    )?
    .execute([bounds.lines.cast_signed()])?;
    Ok(())
}

/// Of the oldest changes of single numbers, all but the first of each number after each publication of files: by these a
/// rollback to that one knows what was set.
fn forget_singles(
    work: &Transaction<'_>,
    bounds: Bounds,
    forgotten: &mut Forgotten,
    held: &mut Held,
) -> Result<(), DatabaseError> {
    let newest =
        "SELECT generation FROM generation WHERE files IS NULL ORDER BY generation DESC LIMIT 1 OFFSET ?1";
    let up_to: i64 =
        work.prepare_cached(newest)?.query_row([bounds.lines.cast_signed()], |row| row.get(0))?;
    let changes = work
        .prepare_cached(
            "DELETE FROM change WHERE generation > ?1 AND generation <= ?2
             AND NOT EXISTS (SELECT 1 FROM generation AS of INDEXED BY of_files
                             WHERE of.files IS NOT NULL AND of.generation = change.generation)
             AND EXISTS (SELECT 1 FROM change AS first INDEXED BY change_of
                         WHERE first.did = change.did AND first.generation < change.generation
                         AND first.generation > ifnull(
                             (SELECT of.generation FROM generation AS of INDEXED BY of_files
                              WHERE of.files IS NOT NULL AND of.generation < change.generation
                              ORDER BY of.generation DESC LIMIT 1), 0))",
        )?
        .execute([forgotten.since.cast_signed(), up_to])?;
    let lines = "DELETE FROM generation WHERE generation <= ?1 AND files IS NULL";
    let lines = work.prepare_cached(lines)?.execute([up_to])?;
    held.changes = held.changes.saturating_sub(changes as u64);
    held.singles = held.singles.saturating_sub(lines as u64);
    forgotten.since = forgotten.since.max(up_to.cast_unsigned());
    Ok(())
}

/// All changes up to that generation.
fn forget_all(
    work: &Transaction<'_>,
    up_to: u64,
    forgotten: &mut Forgotten,
    held: &mut Held,
) -> Result<(), DatabaseError> {
    let delete = "DELETE FROM change WHERE generation <= ?1";
    let deleted = work.prepare_cached(delete)?.execute([up_to.cast_signed()])?;
    held.changes = held.changes.saturating_sub(deleted as u64);
    forgotten.gone = forgotten.gone.max(up_to);
    forgotten.since = forgotten.since.max(up_to);
    Ok(())
}

fn forgotten(file: &Connection) -> Result<Forgotten, DatabaseError> {
    let mut query = file.prepare_cached("SELECT since, gone FROM forgotten")?;
    let (since, gone): (i64, i64) = query.query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(Forgotten { since: since.cast_unsigned(), gone: gone.cast_unsigned() })
}

fn of_files(file: &Connection, last: u64, different: usize) -> Result<Vec<StoredGeneration>, DatabaseError> {
    let mut query = file.prepare_cached(
        "SELECT generation, at, by, what, numbers, files, instead FROM generation INDEXED BY of_files
         WHERE generation <= ?1 AND files IS NOT NULL ORDER BY generation DESC",
    )?;
    let rows = query.query_map([last.cast_signed()], generation_of)?;
    let (mut found, mut runs) = (Vec::<StoredGeneration>::new(), 0);
    for row in rows {
        let row = row?;
        runs += usize::from(!found.last().is_some_and(|later| later.is_of_the_files_of(&row)));
        if runs > different {
            break;
        }
        found.push(row);
    }
    Ok(found)
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
        assert_eq!(ledger.last().unwrap(), 4);
        assert_eq!(ledger.reach(4).unwrap(), [Reach { files: "[]".to_owned(), first: 1, last: 3 }]);
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

    /// A publication of those files.
    fn read(one: u64, files: &str) -> StoredGeneration {
        StoredGeneration { files: Some(files.to_owned()), ..generation(one, &[]) }
    }

    fn left(ledger: &Ledger) -> Vec<u64> {
        ledger.generations(None, 100).unwrap().iter().map(|one| one.generation).collect()
    }

    fn reach(ledger: &Ledger, served: u64) -> Vec<(u64, u64)> {
        ledger.reach(served).unwrap().iter().map(|reach| (reach.first, reach.last)).collect()
    }

    #[test]
    fn numbers_that_are_set_push_no_publication_of_files_out_nor_files_numbers() {
        let folder = tempfile::tempdir().unwrap();
        let mut ledger = Ledger::open(folder.path()).unwrap();
        ledger.remembers(5, 2, 1_000);
        let set = |one| generation(one, &[("+12015550101", Before::Nothing)]);
        ledger.write(&[read(1, "a"), set(2), set(3), read(4, "b")], &[]).unwrap();
        (5..=20).for_each(|one| ledger.write(&[set(one)], &[]).unwrap());
        assert_eq!(left(&ledger), [20, 19, 18, 17, 16, 4, 1]);
        assert_eq!(reach(&ledger, 20), [(1, 1), (3, 3), (4, 4), (15, 19)]);
        // As many as are started with the same files are one; the next other files push the first out.
        (21..=22).for_each(|one| ledger.write(&[read(one, "b")], &[]).unwrap());
        assert_eq!(reach(&ledger, 22)[..3], [(1, 1), (3, 3), (4, 4)]);
        ledger.write(&[read(23, "c")], &[]).unwrap();
        assert_eq!(reach(&ledger, 23)[..2], [(3, 3), (4, 4)]);
        assert_eq!(left(&ledger), [23, 22, 21, 20, 19, 18, 17, 16, 4, 1]);
    }

    /// At the bounds that a node has.
    #[test]
    fn a_reload_before_ten_thousand_numbers_that_were_set_can_be_taken_back() {
        let folder = tempfile::tempdir().unwrap();
        let mut ledger = Ledger::open(folder.path()).unwrap();
        // Nobody pulls the plug here.
        ledger.file.pragma_update(None, "synchronous", "OFF").unwrap();
        let did = |one: u64| format!("+1201{:07}", one % 3_200);
        let set = |one| generation(one, &[(&did(one), Before::Body(one.to_string()))]);
        ledger.write(&[read(1, "a"), set(2), read(3, "b")], &[]).unwrap();
        let all: Vec<u64> = (4..30_000).collect();
        for together in all.chunks(64) {
            ledger.write(&together.iter().map(|one| set(*one)).collect::<Vec<_>>(), &[]).unwrap();
            assert!(ledger.held.singles < BOUNDS.lines + BOUNDS.step + 64, "{:?}", ledger.held);
            assert!(ledger.held.changes < BOUNDS.lines + BOUNDS.step + 64 + 3_201, "{:?}", ledger.held);
        }
        let reach = reach(&ledger, 29_999);
        assert_eq!((&reach[..3], reach[3].1), (&[(1, 1), (2, 2), (3, 3)][..], 29_998));
        assert!((18_999..=19_999).contains(&reach[3].0), "{reach:?}");
        let since = ledger.changed_since(2).unwrap();
        let first = |number: u64| (4..).find(|one| one % 3_200 == number).unwrap();
        let expected = (0..3_200).map(|one| (did(one), Before::Body(first(one).to_string())));
        assert_eq!(since, expected.collect::<Vec<_>>());
        // The last alone, too.
        assert_eq!(
            (ledger.files_since(29_999).unwrap(), ledger.last_change().unwrap()),
            (Some(3), Some(29_999))
        );
        assert_eq!(ledger.changed_since(29_998).unwrap(), [(did(29_999), Before::Body("29999".to_owned()))]);
    }

    #[test]
    fn of_changes_no_more_are_remembered_than_fit_whatever_was_read_since() {
        let folder = tempfile::tempdir().unwrap();
        let mut ledger = Ledger::open(folder.path()).unwrap();
        ledger.remembers(8, 2, 80);
        ledger.write(&[read(1, "a")], &[]).unwrap();
        for one in 2..500 {
            let did = format!("+1201{one:07}");
            ledger.write(&[generation(one, &[(&did, Before::Nothing)])], &[]).unwrap();
            let changes: i64 =
                ledger.file.query_row("SELECT count(*) FROM change", [], |row| row.get(0)).unwrap();
            assert!(changes <= 80 && ledger.held.changes == changes.cast_unsigned(), "{changes}");
        }
        assert_eq!(reach(&ledger, 499), [(491, 498)]);
        // Counted anew it is the same.
        let held = ledger.held;
        drop(ledger);
        assert_eq!(Ledger::open(folder.path()).unwrap().held, held);
    }

    /// What numbers were is drawn and remembered here as well, whole.
    #[test]
    fn what_can_be_rolled_back_to_is_known_exactly_whatever_was_forgotten() {
        for seed in 1..=20u64 {
            let mut dice = seed;
            let mut draw = move |below: u64| {
                dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (dice >> 33) % below
            };
            let folder = tempfile::tempdir().unwrap();
            let mut ledger = Ledger::open(folder.path()).unwrap();
            // Nobody pulls the plug here.
            ledger.file.pragma_update(None, "synchronous", "OFF").unwrap();
            ledger.remembers(4 + draw(12), 1 + usize::try_from(draw(4)).unwrap(), 20 + draw(200));
            // What is set of each number after each generation, from 0 on; and the files of each.
            let mut world = vec![std::collections::BTreeMap::<String, String>::new()];
            let mut files = vec![None];
            let mut can = 0;
            for one in 1..200u64 {
                let mut now = world.last().unwrap().clone();
                let is_read = one == 1 || draw(9) == 0;
                let changes = if is_read { draw(3) } else { 1 + draw(3) / 2 };
                let mut before = std::collections::BTreeMap::new();
                for _ in 0..changes {
                    let did = format!("+120155501{:02}", draw(12));
                    let was = match draw(3) {
                        0 => now.remove(&did),
                        _ => now.insert(did.clone(), one.to_string()),
                    };
                    let was = was.map_or(Before::Nothing, Before::Body);
                    before.entry(did).or_insert(was);
                }
                let read = is_read.then(|| draw(3).to_string());
                let line = StoredGeneration {
                    changes: before.into_iter().collect(),
                    files: read.clone(),
                    ..generation(one, &[])
                };
                ledger.write(&[line], &[]).unwrap();
                let last = files.last().unwrap().clone();
                files.push(read.or(last));
                world.push(now);
                for Reach { files: of, first, last } in ledger.reach(one).unwrap() {
                    for then in first..=last {
                        let at = usize::try_from(then).unwrap();
                        let mut back = world.last().unwrap().clone();
                        for (did, before) in ledger.changed_since(then).unwrap() {
                            match before {
                                Before::Body(body) => drop(back.insert(did, body)),
                                Before::Nothing | Before::Removal => drop(back.remove(&did)),
                            }
                        }
                        assert_eq!(back, world[at], "seed {seed}: from {one} back to {then}");
                        assert_eq!(files[at].as_ref(), Some(&of), "seed {seed}: from {one} back to {then}");
                        can += 1;
                    }
                }
            }
            assert!(can > 400, "seed {seed}: {can}");
        }
    }
}
