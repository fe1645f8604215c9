//! `store.sqlite`: the numbers that were set over HTTP, and the generations of the configuration. What one generation
//! changes is written with it, all or nothing.

use std::path::Path;

use rusqlite::{Connection, Transaction, params};

use super::database::{self, DatabaseError, millis};
use super::past::forgotten;
pub use super::past::{Before, Past, StoredGeneration, StoredNumber};
use super::runs::{self, Forgotten};
pub use super::runs::{Reach, Run, Source};

/// How much is remembered. Publications of files (starts, reloads, rollbacks to other files) and of single numbers are bounded
/// apart, so that neither pushes the other out.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    /// Publications of either kind: of numbers that are set at 100 a second, the last minutes; of reloads, years.
    lines: u64,
    /// What is beyond is forgotten so many at once, lest each change pays for a look at all.
    step: u64,
    /// Publications of files that can be rolled back to. Those in a row of the same files count once, those whose files could
    /// not be kept for nothing: a node that is started again and again forgets nothing.
    files: usize,
    /// Changes of numbers: two million, as many as one rollback may make where a million numbers were set and a million others
    /// are. About 200 bytes each.
    changes: u64,
}

const BOUNDS: Bounds = Bounds { lines: 10_000, step: 1_000, files: FILES, changes: 2_000_000 };
/// So many publications of files that differ can be rolled back to.
pub const FILES: usize = 16;

/// Both tables. Its calls block: not for a shard.
pub struct Ledger {
    past: Past,
    bounds: Bounds,
    held: Held,
}

/// How much there is of what is bounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Held {
    /// Publications that were read from no files, and that were read from some.
    singles: u64,
    read: u64,
    changes: u64,
}

impl Ledger {
    /// Opens the file of a data folder, and brings it to this version.
    pub fn open(folder: &Path) -> Result<Ledger, DatabaseError> {
        let mut file = database::open(folder)?;
        runs::complete(&mut file)?;
        let held = Held::count(&file)?;
        Ok(Ledger { past: Past(file), bounds: BOUNDS, held })
    }

    /// Remembers so many publications of either kind at most, so many different files and so many changes.
    #[cfg(test)]
    pub fn remembers(&mut self, lines: u64, files: usize, changes: u64) {
        self.bounds = Bounds { lines, step: 1, files, changes };
    }

    /// As on a disk with room for so many pages more, or with room again.
    #[cfg(test)]
    pub fn has_room(&self, pages: Option<u32>) {
        let count: u32 = self.past.0.pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
        let most = pages.map_or(u32::MAX - 2, |pages| count + pages);
        let set: u32 =
            self.past.0.query_row(&format!("PRAGMA max_page_count = {most}"), [], |row| row.get(0)).unwrap();
        assert!(set >= most.min(count));
    }

    /// What is read of it.
    pub fn past(&self) -> &Past {
        &self.past
    }

    /// Writes generations, each with what it sets of its numbers (none: what files say holds again), all or nothing; on return
    /// they survive a power cut.
    pub fn write(
        &mut self,
        generations: &[StoredGeneration],
        numbers: &[(String, Option<StoredNumber>)],
    ) -> Result<(), DatabaseError> {
        let work = self.past.0.transaction()?;
        write_numbers(&work, numbers)?;
        {
            let mut insert = work.prepare_cached(
                "INSERT INTO generation (generation, at, by, what, numbers, is_read) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?;
            let mut change = work.prepare_cached("INSERT INTO change VALUES (?1, ?2, ?3, ?4)")?;
            for one in generations {
                let generation = one.generation.cast_signed();
                let (numbers, is_read) = (one.numbers.cast_signed(), one.source.is_some());
                insert.execute(params![generation, millis(one.at), one.by, one.what, numbers, is_read])?;
                if let Some(source) = &one.source {
                    runs::add(&work, one.generation, source)?;
                }
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
        let has_files = generations.iter().any(|one| one.source.is_some());
        forget(&work, self.bounds, &mut held, has_files)?;
        work.commit()?;
        self.held = held;
        Ok(())
    }
}

impl Held {
    fn count(file: &Connection) -> Result<Held, DatabaseError> {
        let count = |query: &str| file.query_row(query, [], |row| row.get::<_, i64>(0));
        Ok(Held {
            singles: count("SELECT count(*) FROM generation WHERE is_read = 0")?.cast_unsigned(),
            read: count("SELECT count(*) FROM generation WHERE is_read = 1")?.cast_unsigned(),
            changes: count("SELECT count(*) FROM change")?.cast_unsigned(),
        })
    }

    fn add(&mut self, generations: &[StoredGeneration]) {
        for one in generations {
            self.singles += u64::from(one.source.is_none());
            self.read += u64::from(one.source.is_some());
            self.changes += one.changes.len() as u64;
        }
    }
}

/// Forgets what is beyond the bounds. Costs nothing but for every `step`th publication, and a look at few lines for each of files.
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
    if let Some(oldest) = runs::trim(work, bounds.files)? {
        forget_all(work, oldest - 1, forgotten, held)?;
    }
    if held.read >= bounds.lines + bounds.step {
        let lines = "DELETE FROM generation WHERE is_read = 1 AND generation <=
         (SELECT generation FROM generation INDEXED BY of_files WHERE is_read = 1
          ORDER BY generation DESC LIMIT 1 OFFSET ?1)";
        let lines = work.prepare_cached(lines)?.execute([bounds.lines.cast_signed()])?;
        held.read = held.read.saturating_sub(lines as u64);
    }
    Ok(())
}

/// Of the oldest changes of single numbers, all but the first of each number in each run of the same files: by these a
/// rollback to the beginning of one, or to just before it, knows what was set.
fn forget_singles(
    work: &Transaction<'_>,
    bounds: Bounds,
    forgotten: &mut Forgotten,
    held: &mut Held,
) -> Result<(), DatabaseError> {
    let newest =
        "SELECT generation FROM generation WHERE is_read = 0 ORDER BY generation DESC LIMIT 1 OFFSET ?1";
    let up_to: i64 =
        work.prepare_cached(newest)?.query_row([bounds.lines.cast_signed()], |row| row.get(0))?;
    let changes = work
        .prepare_cached(
            "DELETE FROM change WHERE generation > ?1 AND generation <= ?2
             AND NOT EXISTS (SELECT 1 FROM run WHERE begin = change.generation)
             AND EXISTS (SELECT 1 FROM change AS first INDEXED BY change_of
                         WHERE first.did = change.did AND first.generation < change.generation
                         AND first.generation > ifnull(
                             (SELECT max(begin) FROM run WHERE begin < change.generation), 0))",
        )?
        .execute([forgotten.since.cast_signed(), up_to])?;
    let lines = "DELETE FROM generation WHERE generation <= ?1 AND is_read = 0";
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Wall;

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
            source: None,
        }
    }

    /// Without their changes and files, as they are listed.
    fn listed(generations: &[StoredGeneration]) -> Vec<StoredGeneration> {
        let bare =
            |one: &StoredGeneration| StoredGeneration { changes: Vec::new(), source: None, ..one.clone() };
        generations.iter().rev().map(bare).collect()
    }

    #[test]
    fn numbers_and_generations_are_there_again_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = ("+12015550101".to_owned(), "+12015550102".to_owned());
        let body = |text: &str| Before::Body(text.to_owned());
        let all = [
            read(1, "[]"),
            generation(2, &[(&one, Before::Nothing)]),
            generation(3, &[(&one, body("{}"))]),
            generation(4, &[(&one, Before::Removal), (&two, body("{ }"))]),
        ];
        {
            let mut ledger = Ledger::open(folder.path()).unwrap();
            assert_eq!(ledger.past.last().unwrap(), 0);
            ledger.write(&all[..1], &[]).unwrap();
            ledger.write(&all[1..2], &[(one.clone(), Some(number(Some("{}"), 2)))]).unwrap();
            let both = [(one.clone(), Some(number(None, 3))), (two.clone(), Some(number(Some("{ }"), 4)))];
            ledger.write(&all[2..], &both).unwrap();
        }
        let mut ledger = Ledger::open(folder.path()).unwrap();
        let numbers = [(one.clone(), number(None, 3)), (two.clone(), number(Some("{ }"), 4))];
        assert_eq!(ledger.past.numbers().unwrap(), numbers);
        let listed = listed(&all);
        assert_eq!(ledger.past.generations(None, 10).unwrap(), listed);
        assert_eq!(ledger.past.generations(Some(4), 2).unwrap(), listed[1..3]);
        assert_eq!(ledger.past.last_source().unwrap(), Some((1, kept("[]"))));
        assert_eq!(ledger.past.files(1).unwrap(), Some("[]".to_owned()));
        assert_eq!(ledger.past.last().unwrap(), 4);
        assert_eq!(ledger.past.reach(4).unwrap(), [Reach { run: 1, is_served: true, first: 1, last: 3 }]);
        // Of each what was set when that one was served.
        let since = |generation| ledger.past.changed_since(generation).unwrap();
        assert_eq!(since(4), []);
        assert_eq!(since(2), [(one.clone(), body("{}")), (two.clone(), body("{ }"))]);
        assert_eq!(since(1), [(one.clone(), Before::Nothing), (two.clone(), body("{ }"))]);
        ledger.write(&[generation(5, &[])], &[(one, None)]).unwrap();
        assert_eq!(ledger.past.numbers().unwrap(), [(two, number(Some("{ }"), 4))]);
    }

    #[test]
    fn what_cannot_be_written_whole_is_not_written_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let mut ledger = Ledger::open(folder.path()).unwrap();
        ledger.write(&[generation(1, &[])], &[]).unwrap();
        let one = [("+12015550101".to_owned(), Some(number(Some("{}"), 1)))];
        // The same generation a second time.
        assert!(ledger.write(&[generation(1, &[])], &one).is_err());
        assert_eq!(ledger.past.numbers().unwrap(), []);
    }

    fn kept(files: &str) -> Source {
        Source { files: Some(files.to_owned()), is_kept: true, instead: None, in_need: false }
    }

    /// A publication of those files.
    fn read(one: u64, files: &str) -> StoredGeneration {
        StoredGeneration { source: Some(kept(files)), ..generation(one, &[]) }
    }

    /// One of those files, of which there are no copies; of none: nobody knows them.
    fn not_kept(one: u64, files: Option<&str>) -> StoredGeneration {
        let source = Source { files: files.map(str::to_owned), ..Source::unknown() };
        StoredGeneration { source: Some(source), ..generation(one, &[]) }
    }

    fn left(ledger: &Ledger) -> Vec<u64> {
        ledger.past.generations(None, 100).unwrap().iter().map(|one| one.generation).collect()
    }

    fn reach(ledger: &Ledger, served: u64) -> Vec<(u64, u64)> {
        ledger.past.reach(served).unwrap().iter().map(|reach| (reach.first, reach.last)).collect()
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

    #[test]
    fn publications_whose_files_are_not_kept_count_for_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let mut ledger = Ledger::open(folder.path()).unwrap();
        ledger.remembers(5_000, 2, 1_000);
        ledger.write(&[read(1, "a"), read(2, "b"), read(3, "c")], &[]).unwrap();
        (4..=20).for_each(|one| ledger.write(&[not_kept(one, Some(&one.to_string()))], &[]).unwrap());
        (21..=40).for_each(|one| ledger.write(&[not_kept(one, None)], &[]).unwrap());
        assert_eq!(reach(&ledger, 40), [(1, 1), (2, 2), (3, 3)]);
        // To and fro for long: what differs stays, and of the last some of each.
        for one in 41..2_000 {
            let line = if one % 2 == 0 { not_kept(one, None) } else { read(one, "c") };
            ledger.write(&[line], &[]).unwrap();
            assert!(ledger.past.runs(one).unwrap().len() <= 64);
        }
        let reach = reach(&ledger, 1_999);
        assert_eq!(reach[..2], [(1, 1), (2, 2)]);
        assert_eq!(reach[reach.len() - 2..], [(1_995, 1_995), (1_997, 1_997)]);
    }

    #[test]
    fn who_reads_long_sees_what_was_and_nobody_who_writes_waits_for_that() {
        let folder = tempfile::tempdir().unwrap();
        let mut ledger = Ledger::open(folder.path()).unwrap();
        ledger.write(&[read(1, "a")], &[]).unwrap();
        let past = ledger.past().as_it_is().unwrap();
        ledger.write(&[read(2, "b")], &[]).unwrap();
        let last = |past: &Past| (past.last().unwrap(), past.runs(9).unwrap().len());
        assert_eq!((last(&past), last(ledger.past())), ((1, 1), (2, 2)));
    }

    #[test]
    fn reloads_of_the_same_files_are_one_line_however_many_there_are() {
        let folder = tempfile::tempdir().unwrap();
        let mut ledger = Ledger::open(folder.path()).unwrap();
        ledger.past.0.pragma_update(None, "synchronous", "OFF").unwrap();
        let pages = |ledger: &Ledger| -> u32 {
            ledger.past.0.pragma_query_value(None, "page_count", |row| row.get(0)).unwrap()
        };
        let many = "x".repeat(40_000);
        ledger.write(&[read(1, "a"), read(2, &many)], &[]).unwrap();
        let before = pages(&ledger);
        (3..1_000).for_each(|one| ledger.write(&[read(one, &many)], &[]).unwrap());
        // Not one more of the manifest.
        assert!(pages(&ledger) < before + 30, "{before} {}", pages(&ledger));
        assert_eq!(ledger.past.runs(999).unwrap().len(), 2);
        assert_eq!(reach(&ledger, 999), [(1, 1), (2, 998)]);
        // Nor is one lost that began before all lines that are left.
        ledger.remembers(50, 2, 1_000);
        ledger.write(&[read(1_000, &many)], &[]).unwrap();
        assert_eq!((left(&ledger).len(), reach(&ledger, 1_000)), (50, vec![(1, 1), (2, 999)]));
    }

    #[test]
    fn what_an_older_version_wrote_is_of_the_same_files_as_before() {
        let folder = tempfile::tempdir().unwrap();
        let files =
            |node: &str, routing: &str| format!("[[\"strowger.toml\",\"{node}\"],[\"a\",\"{routing}\"]]");
        {
            let older = database::older(folder.path(), 6);
            let mut insert =
                older.prepare("INSERT INTO generation VALUES (?1, 1, '', '', 0, ?2, ?3)").unwrap();
            let (a, same, b) = (files("1", "a"), files("2", "a"), files("2", "b"));
            let lines: [(Option<&str>, Option<&str>); 9] = [
                (Some(&a), None),
                (None, None),
                (Some(&a), None),
                (Some(&same), None),
                (Some(""), None),
                (Some(""), None),
                (Some(&b), None),
                (Some(&a), Some(&b)),
                (Some(&a), Some(&same)),
            ];
            for (generation, (files, instead)) in (1..).zip(lines) {
                insert.execute(params![generation, files, instead]).unwrap();
            }
        }
        let mut ledger = Ledger::open(folder.path()).unwrap();
        let begins = |ledger: &Ledger| -> Vec<(u64, bool)> {
            ledger.past.runs(100).unwrap().iter().map(|run| (run.begin, run.is_kept)).collect()
        };
        assert_eq!(begins(&ledger), [(1, true), (5, false), (7, true), (8, true)]);
        let runs = ledger.past.runs(100).unwrap();
        assert!(runs[0].is_of_the_files_of(&runs[3]) && !runs[2].is_of_the_files_of(&runs[3]));
        assert_eq!(reach(&ledger, 9), [(1, 4), (7, 7), (8, 8)]);
        assert_eq!(ledger.past.files(1).unwrap(), Some(files("2", "a")));
        let source = Source { instead: Some(files("2", "a")), ..kept(&files("1", "a")) };
        assert_eq!(ledger.past.last_source().unwrap(), Some((9, source)));
        assert_eq!((ledger.held.singles, ledger.held.read), (1, 8));
        ledger.write(&[read(10, &files("3", "a"))], &[]).unwrap();
        drop(ledger);
        let ledger = Ledger::open(folder.path()).unwrap();
        assert_eq!(begins(&ledger), [(1, true), (5, false), (7, true), (8, true)]);
    }

    /// At the bounds that a node has.
    #[test]
    fn a_reload_before_ten_thousand_numbers_that_were_set_can_be_taken_back() {
        let folder = tempfile::tempdir().unwrap();
        let mut ledger = Ledger::open(folder.path()).unwrap();
        // Nobody pulls the plug here.
        ledger.past.0.pragma_update(None, "synchronous", "OFF").unwrap();
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
        let since = ledger.past.changed_since(2).unwrap();
        let first = |number: u64| (4..).find(|one| one % 3_200 == number).unwrap();
        let expected = (0..3_200).map(|one| (did(one), Before::Body(first(one).to_string())));
        assert_eq!(since, expected.collect::<Vec<_>>());
        // The last alone, too.
        assert_eq!(ledger.past.last_change(29_999).unwrap(), Some(29_999));
        assert_eq!(ledger.past.last_change(3).unwrap(), Some(2));
        assert_eq!(
            ledger.past.changed_since(29_998).unwrap(),
            [(did(29_999), Before::Body("29999".to_owned()))]
        );
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
                ledger.past.0.query_row("SELECT count(*) FROM change", [], |row| row.get(0)).unwrap();
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
            ledger.past.0.pragma_update(None, "synchronous", "OFF").unwrap();
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
                let source = is_read.then(|| match draw(10) {
                    0 => Source::unknown(),
                    1 => Source { files: Some(draw(3).to_string()), ..Source::unknown() },
                    _ => kept(&draw(3).to_string()),
                });
                let line = StoredGeneration {
                    changes: before.into_iter().collect(),
                    source: source.clone(),
                    ..generation(one, &[])
                };
                ledger.write(&[line], &[]).unwrap();
                // Unknown ones are no others' equal.
                let read = source.map(|source| source.files.unwrap_or_else(|| format!("unknown {one}")));
                let last = files.last().unwrap().clone();
                files.push(read.or(last));
                world.push(now);
                for Reach { run, is_served, first, last } in ledger.past.reach(one).unwrap() {
                    let of = match is_served {
                        true => files.last().unwrap().clone(),
                        false => ledger.past.files(run).unwrap(),
                    };
                    for then in first..=last {
                        let at = usize::try_from(then).unwrap();
                        let mut back = world.last().unwrap().clone();
                        for (did, before) in ledger.past.changed_since(then).unwrap() {
                            match before {
                                Before::Body(body) => drop(back.insert(did, body)),
                                Before::Nothing | Before::Removal => drop(back.remove(&did)),
                            }
                        }
                        assert_eq!(back, world[at], "seed {seed}: from {one} back to {then}");
                        assert_eq!(files[at], of, "seed {seed}: from {one} back to {then}");
                        can += 1;
                    }
                }
            }
            assert!(can > 400, "seed {seed}: {can}");
        }
    }
}
