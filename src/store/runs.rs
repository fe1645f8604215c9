//! Of which files publications were. Those in a row of the same files are one line, and few lines are kept: what is read of
//! them does not grow with how often a node was started or reloaded.

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};
use sha2::{Digest, Sha256};

use super::database::DatabaseError;
use super::kept::Manifest;

/// So many lines at most. Without gaps the sixteen that count and the one before them are seventeen; beside these there is
/// room for as many gaps and more.
const MOST: usize = 64;

/// What a publication was read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// A manifest of [`super::kept`]. None: nobody knows, since files changed while they were read.
    pub files: Option<String>,
    /// Whether there are copies of all that it names.
    pub is_kept: bool,
    /// The manifest of the files that lay there, where older ones were served in their place.
    pub instead: Option<String>,
    /// Whether these are served too as long as those that lie there cannot be.
    pub in_need: bool,
}

impl Source {
    /// Of files that changed while they were read.
    pub fn unknown() -> Source {
        Source { files: None, is_kept: false, instead: None, in_need: false }
    }
}

/// Publications in a row of the same files, but for what waits for a restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// The first of them.
    pub begin: u64,
    pub is_kept: bool,
    /// What tells these files from others. None: nobody knows them.
    routing: Option<String>,
}

impl Run {
    pub fn is_known(&self) -> bool {
        self.routing.is_some()
    }

    /// Unknown ones are no others' equal.
    pub fn is_of_the_files_of(&self, other: &Run) -> bool {
        self.is_known() && self.routing == other.routing
    }
}

/// Generations in a row whose numbers are known exactly, all of one run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reach {
    /// The run, by the first generation of it.
    pub run: u64,
    /// Whether they are of the very files that are served.
    pub is_served: bool,
    pub first: u64,
    pub last: u64,
}

/// From where on what numbers were is known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Forgotten {
    /// No change that was made after this generation.
    pub since: u64,
    /// All changes up to this one. Of those between, the first that was made of each number in each run is there, and all
    /// that were made with the first generation of a run.
    pub gone: u64,
}

/// All that began up to that generation, the oldest first.
pub(super) fn all(file: &Connection, last: u64) -> Result<Vec<Run>, DatabaseError> {
    let mut query = file.prepare_cached(
        "SELECT begin, kept, routing FROM run WHERE begin <= ?1 ORDER BY begin DESC LIMIT ?2",
    )?;
    let rows = query.query_map(params![last.cast_signed(), 2 * MOST as i64], run_of)?;
    let mut runs = rows.collect::<Result<Vec<_>, _>>()?;
    runs.reverse();
    Ok(runs)
}

/// The manifest of a run; none: nobody knows its files.
pub(super) fn files(file: &Connection, begin: u64) -> Result<Option<String>, DatabaseError> {
    let mut query = file.prepare_cached("SELECT files FROM run WHERE begin = ?1")?;
    Ok(query.query_row([begin.cast_signed()], |row| row.get(0)).optional()?.flatten())
}

/// Of the last publication of files: its generation, and what it was read from.
pub(super) fn last(file: &Connection) -> Result<Option<(u64, Source)>, DatabaseError> {
    let mut query =
        file.prepare_cached("SELECT files, kept, instead, in_need FROM run ORDER BY begin DESC LIMIT 1")?;
    let source_of = |row: &Row<'_>| {
        Ok(Source { files: row.get(0)?, is_kept: row.get(1)?, instead: row.get(2)?, in_need: row.get(3)? })
    };
    let source = query.query_row([], source_of).optional()?;
    Ok(last_read(file, u64::MAX >> 1)?.zip(source))
}

/// What numbers were exactly, of the generations before that one, the oldest first.
pub(super) fn reach(
    file: &Connection,
    served: u64,
    Forgotten { since, gone }: Forgotten,
) -> Result<Vec<Reach>, DatabaseError> {
    let runs = all(file, served)?;
    let Some(now) = runs.last() else { return Ok(Vec::new()) };
    let next = runs.iter().skip(1).map(|next| Some(next.begin)).chain([None]);
    let mut reach = Vec::new();
    for (one, next) in runs.iter().zip(next) {
        let is_served = one.begin == now.begin || one.is_of_the_files_of(now);
        if !one.is_kept && !is_served {
            continue;
        }
        let end = next.unwrap_or(served).saturating_sub(1);
        // Of unknown files only the last that were read are the very ones.
        let begin = match one.is_known() {
            true => one.begin,
            false => last_read(file, served)?.unwrap_or(one.begin),
        };
        let mut add = |first: u64, last: u64| {
            if first <= last {
                reach.push(Reach { run: one.begin, is_served, first, last });
            }
        };
        // What nothing is forgotten after, what was there when the next files were read, and what these were read as.
        let exact = match next {
            _ if end >= since => since.max(begin),
            Some(_) if end >= gone => end.max(begin),
            _ => u64::MAX,
        };
        if begin == one.begin && begin >= gone && begin < exact && begin <= end {
            add(begin, begin);
        }
        add(exact, end);
    }
    Ok(reach)
}

/// Writes down what a publication was read from.
pub(super) fn add(work: &Transaction<'_>, generation: u64, source: &Source) -> Result<(), DatabaseError> {
    let Source { files, is_kept, instead, in_need } = source;
    let routing = files.as_deref().map(routing_of);
    if let Some(last) = all(work, u64::MAX >> 1)?.last().filter(|last| last.routing == routing) {
        // Those that are kept are not lost by one of which strowger.toml alone could not be.
        work.prepare_cached(
            "UPDATE run SET files = CASE WHEN kept > ?2 THEN files ELSE ?3 END, kept = max(kept, ?2),
             instead = ?4, in_need = ?5 WHERE begin = ?1",
        )?
        .execute(params![last.begin.cast_signed(), is_kept, files, instead, in_need])?;
        return Ok(());
    }
    work.prepare_cached("UPDATE run SET instead = NULL WHERE instead IS NOT NULL")?.execute([])?;
    work.prepare_cached(
        "INSERT INTO run (begin, kept, routing, files, instead, in_need) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?
    .execute(params![generation.cast_signed(), is_kept, routing, files, instead, in_need])?;
    Ok(())
}

/// Forgets what is older than so many different files that are kept, and the one before them. The first generation of the
/// oldest that counts, where there is an older one.
pub(super) fn trim(work: &Transaction<'_>, different: usize) -> Result<Option<u64>, DatabaseError> {
    let old = all(work, u64::MAX >> 1)?;
    let mut new = without_gaps_in_a_row(old.clone());
    let oldest = oldest_of(&new, different);
    if let Some(oldest) = oldest {
        new.drain(..oldest - 1);
    }
    let oldest = oldest.map(|_| new[1].begin);
    while new.len() > MOST && makes_room(&mut new) {}
    // Beyond what was read there may be more.
    let first = new.first().map_or(0, |first| first.begin);
    work.prepare_cached("DELETE FROM run WHERE begin < ?1")?.execute([first.cast_signed()])?;
    for run in old.iter().filter(|run| run.begin >= first) {
        match new.iter().find(|left| left.begin == run.begin) {
            Some(left) if left == run => {}
            Some(_) => {
                let blank = "UPDATE run SET kept = 0, routing = NULL, files = NULL WHERE begin = ?1";
                work.prepare_cached(blank)?.execute([run.begin.cast_signed()])?;
            }
            None => {
                let delete = "DELETE FROM run WHERE begin = ?1";
                work.prepare_cached(delete)?.execute([run.begin.cast_signed()])?;
            }
        }
    }
    Ok(oldest)
}

/// Those that are not kept, in a row, can be had none of: they are one. But the last, which is what is served.
fn without_gaps_in_a_row(runs: Vec<Run>) -> Vec<Run> {
    let last = runs.last().map(|last| last.begin);
    let mut new: Vec<Run> = Vec::new();
    for run in runs {
        match new.last_mut() {
            Some(before) if !before.is_kept && !run.is_kept && Some(run.begin) != last => {
                before.routing = None;
            }
            Some(_) | None => new.push(run),
        }
    }
    new
}

/// Where the oldest begins of so many different files that are kept, if it is not the first of all.
fn oldest_of(runs: &[Run], different: usize) -> Option<usize> {
    let (mut oldest, mut count) = (None::<usize>, 0);
    for (at, run) in runs.iter().enumerate().rev().filter(|(_, run)| run.is_kept) {
        if !oldest.is_some_and(|later| runs[later].is_of_the_files_of(run)) {
            count += 1;
        }
        if count > different {
            break;
        }
        oldest = Some(at);
    }
    oldest.filter(|at| count >= different && *at > 0)
}

/// Gives up the oldest publications whose files are served again behind a gap. False: there are none.
fn makes_room(runs: &mut Vec<Run>) -> bool {
    let again = |three: &[Run]| {
        three[0].is_kept && !three[1].is_kept && three[2].is_kept && three[0].is_of_the_files_of(&three[2])
    };
    let Some(at) = runs.windows(3).position(again) else { return false };
    // One gap, from where they began.
    (runs[at].is_kept, runs[at].routing) = (false, None);
    runs.remove(at + 1);
    if at > 0 && !runs[at - 1].is_kept {
        runs[at - 1].routing = None;
        runs.remove(at);
    }
    true
}

/// Completes what an older version has left, of which it is not known yet which are the same.
pub(super) fn complete(file: &mut Connection) -> Result<(), DatabaseError> {
    let work = file.transaction()?;
    let begins: Vec<i64> = {
        let mut query = work.prepare("SELECT begin FROM run WHERE routing IS NULL AND files IS NOT NULL")?;
        query.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?
    };
    if begins.is_empty() {
        return Ok(());
    }
    for begin in begins {
        let files = files(&work, begin.cast_unsigned())?.unwrap_or_default();
        work.execute("UPDATE run SET routing = ?2 WHERE begin = ?1", params![begin, routing_of(&files)])?;
    }
    let runs = all(&work, u64::MAX >> 1)?;
    for two in runs.windows(2).rev().filter(|two| two[0].routing == two[1].routing) {
        let [first, second] = [&two[0], &two[1]].map(|run| run.begin.cast_signed());
        work.execute(
            "UPDATE run SET (files, instead) = (SELECT files, instead FROM run WHERE begin = ?2) WHERE begin = ?1",
            [first, second],
        )?;
        work.execute("DELETE FROM run WHERE begin = ?1", [second])?;
    }
    work.commit()?;
    Ok(())
}

/// The last publication of files up to that generation.
fn last_read(file: &Connection, up_to: u64) -> Result<Option<u64>, DatabaseError> {
    let mut query = file.prepare_cached(
        "SELECT max(generation) FROM generation INDEXED BY of_files WHERE is_read = 1 AND generation <= ?1",
    )?;
    let last: Option<i64> = query.query_row([up_to.cast_signed()], |row| row.get(0))?;
    Ok(last.map(i64::cast_unsigned))
}

/// What tells files from others, but for what waits for a restart.
fn routing_of(files: &str) -> String {
    let routing = Manifest::read(files).map(|manifest| manifest.of_routing().text());
    let digest = Sha256::digest(routing.as_deref().unwrap_or(files).as_bytes());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn run_of(row: &Row<'_>) -> rusqlite::Result<Run> {
    let begin: i64 = row.get(0)?;
    Ok(Run { begin: begin.cast_unsigned(), is_kept: row.get(1)?, routing: row.get(2)? })
}
