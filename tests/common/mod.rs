//! Calls as records, for the tests of what is kept and shown of them.

use std::path::Path;
use std::time::{Duration, Instant};

use strowger::call::cdr::{Cdr, Direction, EndedBy, JournalEntry, Outcome};
use strowger::time::Wall;

/// 2026-11-01T12:00:00Z.
pub const NOON: u64 = 1_793_534_400_000;
/// How long a test waits for what must come: only a broken one ever waits so long.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub fn entry(id: &str) -> JournalEntry {
    JournalEntry {
        id: id.into(),
        node: "edge-1".into(),
        generation: 1,
        account: "".into(),
        direction: Direction::Inbound,
        trunk: Some("carrier".into()),
        did: Some("+12015550101".into()),
        dialled: "+12015550101".into(),
        caller: Some("+12025550123".into()),
        withheld: false,
        presented: None,
        sip_call_id: Some("abc@carrier".into()),
        peer: Some("127.0.0.1:5080".parse().unwrap()),
        started: Wall(NOON - 5_000),
        ringing: Some(Wall(NOON - 4_000)),
        answered: Wall(NOON - 1_000),
    }
}

pub fn cdr(id: &str, ended: u64) -> Cdr {
    Cdr {
        outcome: Outcome::Answered,
        ended_by: Some(EndedBy::Caller),
        ended: Wall(ended),
        ..entry(id).lost(Wall(ended))
    }
}

/// In memory where there is such a place: thousands of syncs, and none of them is what is tested.
pub fn fast_folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory).unwrap() } else { tempfile::tempdir().unwrap() }
}

pub fn wait_until(done: impl Fn() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < until, "waited too long");
        std::thread::park_timeout(Duration::from_millis(2));
    }
}
