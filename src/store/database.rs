//! `store.sqlite`: its versions, and how it is opened.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, Row};

use crate::time::Wall;
use crate::volume;

/// What the file holds, one step a version (`user_version`).
const MIGRATIONS: [&str; 8] = [
    "CREATE TABLE binding (
    agent TEXT NOT NULL,
    uri TEXT NOT NULL,
    instance TEXT NOT NULL,
    flow INTEGER NOT NULL,
    addr TEXT NOT NULL,
    source TEXT NOT NULL,
    listener INTEGER NOT NULL,
    path TEXT NOT NULL,
    call_id BLOB NOT NULL,
    cseq INTEGER NOT NULL,
    expires INTEGER NOT NULL,
    registered INTEGER NOT NULL,
    user_agent TEXT NOT NULL,
    PRIMARY KEY (agent, uri, instance, flow)
) STRICT, WITHOUT ROWID",
    "ALTER TABLE binding ADD COLUMN secret INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE binding ADD COLUMN transport TEXT NOT NULL DEFAULT 'udp';
    ALTER TABLE binding ADD COLUMN params TEXT NOT NULL DEFAULT ''",
    // A place in a file that may have changed since says nothing: those are of no listener.
    "ALTER TABLE binding DROP COLUMN listener;
    ALTER TABLE binding ADD COLUMN listener TEXT NOT NULL DEFAULT ''",
    // Without a body: the number was removed, whatever files say. What a generation changed of numbers, and what was set
    // of each before: nothing (1), its removal (2), or this body (3).
    "CREATE TABLE number (
    did TEXT NOT NULL PRIMARY KEY,
    body TEXT,
    at INTEGER NOT NULL,
    by TEXT NOT NULL,
    generation INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
    CREATE TABLE generation (
    generation INTEGER NOT NULL PRIMARY KEY,
    at INTEGER NOT NULL,
    by TEXT NOT NULL,
    what TEXT NOT NULL,
    numbers INTEGER NOT NULL,
    files TEXT,
    instead TEXT
) STRICT;
    CREATE TABLE change (
    generation INTEGER NOT NULL,
    did TEXT NOT NULL,
    was INTEGER NOT NULL,
    before TEXT,
    PRIMARY KEY (generation, did)
) STRICT, WITHOUT ROWID",
    // One row: after `since` no change was forgotten; up to `gone` all were, and of those between the first that was made of
    // each number after each publication of files is there. Of the last ten thousand generations all was there so far.
    "CREATE INDEX change_of ON change (did, generation);
    CREATE INDEX of_files ON generation (generation) WHERE files IS NOT NULL;
    CREATE TABLE forgotten (since INTEGER NOT NULL, gone INTEGER NOT NULL) STRICT;
    INSERT INTO forgotten SELECT last, last FROM
    (SELECT max(0, ifnull(max(generation), 0) - 10000) AS last FROM generation)",
    // Publications in a row of the same files have one manifest, not one each: `files` names them, without it nobody knows
    // them; `routing` is what tells them from others. `instead` is that of the last publication.
    "CREATE TABLE run (
    begin INTEGER NOT NULL PRIMARY KEY,
    kept INTEGER NOT NULL,
    routing TEXT,
    files TEXT,
    instead TEXT
) STRICT;
    INSERT INTO run SELECT generation, files <> '', NULL, nullif(files, ''), NULL FROM
    (SELECT generation, files, lag(files) OVER (ORDER BY generation) AS before FROM generation WHERE files IS NOT NULL)
    WHERE before IS NULL OR before <> files ORDER BY generation DESC LIMIT 64;
    UPDATE run SET instead =
    (SELECT instead FROM generation WHERE files IS NOT NULL ORDER BY generation DESC LIMIT 1)
    WHERE begin = (SELECT max(begin) FROM run);
    ALTER TABLE generation ADD COLUMN is_read INTEGER NOT NULL DEFAULT 0;
    UPDATE generation SET is_read = 1 WHERE files IS NOT NULL;
    DROP INDEX of_files;
    ALTER TABLE generation DROP COLUMN files;
    ALTER TABLE generation DROP COLUMN instead;
    CREATE INDEX of_files ON generation (generation) WHERE is_read = 1",
    // Whether these files are served too as long as those that lie there cannot be.
    "ALTER TABLE run ADD COLUMN in_need INTEGER NOT NULL DEFAULT 0",
];

/// Who writes at the same time is waited for so long: each writes for a moment.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Debug, thiserror::Error)]
#[error("store.sqlite: {0}")]
pub struct DatabaseError(#[from] rusqlite::Error);

const FILE: &str = "store.sqlite";

/// Whether a data folder has the file.
pub fn has_database(folder: &Path) -> bool {
    folder.join(FILE).exists()
}

/// Opens the file of a data folder, and brings it to this version.
pub(super) fn open(folder: &Path) -> Result<Connection, DatabaseError> {
    let path = folder.join(FILE);
    // With our mode from the first byte on; SQLite gives the files beside it the same.
    if let Err(error) = volume::open_file(&path) {
        tracing::warn!(%error, "store.sqlite cannot be opened");
    }
    let mut connection = Connection::open(path)?;
    connection.busy_timeout(PATIENCE)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    bring(&mut connection, MIGRATIONS.len())?;
    Ok(connection)
}

/// A file as that version has left it.
#[cfg(test)]
pub(super) fn older(folder: &Path, version: usize) -> Connection {
    let mut connection = Connection::open(folder.join(FILE)).unwrap();
    bring(&mut connection, version).unwrap();
    connection
}

fn bring(connection: &mut Connection, version: usize) -> Result<(), DatabaseError> {
    let at: u32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let steps = MIGRATIONS.into_iter().take(version);
    for (version, step) in (1u32..).zip(steps).skip_while(|(version, _)| *version <= at) {
        let work = connection.transaction()?;
        work.execute_batch(step)?;
        work.pragma_update(None, "user_version", version)?;
        work.commit()?;
    }
    Ok(())
}

pub(super) fn millis(wall: Wall) -> i64 {
    wall.0.cast_signed()
}

pub(super) fn wall(row: &Row<'_>, at: usize) -> rusqlite::Result<Wall> {
    row.get(at).map(|ms: i64| Wall(ms.cast_unsigned()))
}
