//! Recordings and messages are kept as long as `[retention] recording_days` says.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use common::wait_until;
use node::Place;
use strowger::media::reel::{Kind, path_of};
use strowger::time::Wall;

#[expect(dead_code, reason = "shared with tests that ask for more")]
mod common;
#[expect(dead_code, reason = "shared with tests that ask for more")]
#[path = "common/node.rs"]
mod node;

const DAY_MS: u64 = 86_400_000;

#[test]
fn what_is_older_is_removed_at_the_start_and_what_is_younger_or_not_whole_stays() {
    let place = Place::new();
    place.changes("config/strowger.toml", |node| format!("{node}[retention]\nrecording_days = 30\n"));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64;
    let put = |kind: Kind, call: &str, days: u64| {
        let folder = place.folder.path().join("data").join(kind.folder());
        let path = path_of(&folder, call, Wall(now - days * DAY_MS));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, b"sound").unwrap();
        fs::write(path.with_extension("json"), b"{}").unwrap();
        path
    };
    let old: Vec<_> =
        Kind::ALL.into_iter().flat_map(|kind| [put(kind, "a", 31), put(kind, "b", 4_000)]).collect();
    let young: Vec<_> =
        Kind::ALL.into_iter().flat_map(|kind| [put(kind, "c", 29), put(kind, "d", 0)]).collect();
    let goes_on = put(Kind::Recording, "e", 31);
    fs::rename(&goes_on, goes_on.with_extension("wav.part")).unwrap();
    fs::rename(goes_on.with_extension("json"), goes_on.with_extension("json.part")).unwrap();
    let node = place.serve();
    wait_until(|| place.log().matches("too old were removed").count() == 2);
    drop(node);
    for path in old {
        assert!(!path.exists() && !path.with_extension("json").exists(), "{}", path.display());
    }
    for path in young {
        assert!(path.exists() && path.with_extension("json").exists(), "{}", path.display());
    }
    assert!(goes_on.with_extension("wav.part").exists() && goes_on.with_extension("json.part").exists());
}
