//! The torture messages of one RFC, as they lie on disk.

use std::collections::BTreeSet;

/// The folder of one RFC under `tests/torture`.
pub struct Torture(pub &'static str);

impl Torture {
    /// One message, byte for byte.
    pub fn file(&self, name: &str) -> Vec<u8> {
        let path = format!("{}/{name}.sip", self.folder());
        std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// The table names every message on disk, and as many as the RFC has.
    #[track_caller]
    pub fn is_whole<'n>(&self, table: impl Iterator<Item = &'n str>, count: usize) {
        let on_disk: BTreeSet<String> = std::fs::read_dir(self.folder())
            .expect("the folder")
            .map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"))
            .collect();
        let in_table: BTreeSet<String> = table.map(|name| format!("{name}.sip")).collect();
        assert_eq!(on_disk, in_table);
        assert_eq!(on_disk.len(), count, "as many as the RFC has");
    }

    fn folder(&self) -> String {
        format!("{}/tests/torture/{}", env!("CARGO_MANIFEST_DIR"), self.0)
    }
}
