//! A file's text, and from a byte of it to line and column.

use super::place::Place;

/// Where the lines of a text begin.
pub(super) struct Lines<'a> {
    file: u16,
    text: &'a str,
    /// Byte offsets; the first is 0.
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    pub fn of(file: u16, text: &'a str) -> Lines<'a> {
        let breaks = memchr::memchr_iter(b'\n', text.as_bytes()).map(|at| at + 1);
        Lines { file, text, starts: std::iter::once(0).chain(breaks).collect() }
    }

    pub fn place(&self, offset: usize) -> Place {
        /// Beyond so many bytes a column counts bytes, lest one endless line cost quadratic time.
        const COUNTED: usize = 4096;
        let line = self.starts.partition_point(|start| *start <= offset).max(1);
        let start = self.starts[line - 1];
        let before = self.text.get(start..offset).unwrap_or("");
        let column = if before.len() > COUNTED { before.len() } else { before.chars().count() };
        let small = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
        Place { file: self.file, line: small(line), column: small(column + 1) }
    }

    /// The nearest line above this byte that begins with the key (or, past a section's head, with the section).
    pub fn before(&self, offset: usize, key: &str) -> Option<Place> {
        /// So many lines are looked at: a section is not longer, and a hostile file costs no more.
        const LOOKED_AT: usize = 1000;
        let line = self.starts.partition_point(|start| *start <= offset).checked_sub(1)?;
        let above = self.starts[..line].iter().rev().take(LOOKED_AT);
        let found = above.copied().find_map(|start| {
            let line = self.text.get(start..)?.lines().next()?;
            let text = line.trim_start_matches([' ', '\t', '[']);
            let rest = text.strip_prefix(key)?.trim_start();
            (rest.starts_with(['=', '.', ']']) && !key.is_empty()).then_some(start + line.len() - text.len())
        });
        found.map(|at| self.place(at))
    }
}
