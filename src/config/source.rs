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
}
