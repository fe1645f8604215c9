//! The bench of lookups measures what it says: a table beside which nothing is published has no figure.

#[expect(dead_code, reason = "shared with the bench, which asks for more")]
#[path = "../benches/lookup/keys.rs"]
mod keys;
#[expect(dead_code, reason = "shared with the bench, which asks for more")]
#[path = "../benches/lookup/maps.rs"]
mod maps;
#[expect(dead_code, reason = "shared with the bench, which asks for more")]
#[path = "../benches/lookup/measure.rs"]
mod measure;
#[expect(dead_code, reason = "shared with the bench, which asks for more")]
#[path = "../benches/lookup/table.rs"]
mod table;

use measure::{measure, while_published};

#[test]
fn a_table_whose_files_do_not_load_any_more_has_no_figure_beside_reloads() {
    let loaded = table::load(100).unwrap();
    let (map, dids) = (loaded.map(table::Publishes::Whole, false), table::dids(100));
    let measured =
        || while_published(&map, &dids, None, |first| measure(&map, &dids, 1, &|_| first.get().is_some()));
    let (_, published) = measured().unwrap();
    assert!(published > 0.0);
    let rest = loaded.folder.path().join("routing/rest.toml");
    let text = std::fs::read_to_string(&rest).unwrap();
    std::fs::write(rest, format!("{text}\n[[trunk]\n")).unwrap();
    let why = measured().err().unwrap();
    assert!(why.contains("rest.toml:") && why.contains("close it with ]]"), "{why}");
}

/// What holds no numbers has nothing to publish.
#[test]
fn a_map_that_publishes_nothing_has_no_figure_beside_updates() {
    let (map, dids) = (maps::Load::from(4_096), table::dids(100));
    assert!(while_published(&map, &dids, None, |_| ()).is_err());
}
