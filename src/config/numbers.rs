//! The numbers of all files in as little memory as they need. Those of a table (.csv) mostly say the same but for who they are, how
//! they are called and where they are forwarded to: what they have alike is kept once, as the first of them wrote it.

use super::number::{Dialled, Keys, Number};
use super::place::{At, Place};
use crate::number::E164;

/// As many as there may be, far more than there are telephone numbers in use.
const MOST: usize = 1_000_000_000;

/// All of them, in the order of the files.
#[derive(Debug, Default)]
pub struct Numbers {
    rows: Vec<Row>,
    sets: Vec<Set>,
    labels: String,
}

/// What many numbers say alike, and the first of them.
#[derive(Debug)]
struct Set {
    keys: Keys,
    first: u32,
}

/// What is a number's own: 48 bytes, and its label.
#[derive(Clone, Copy, Debug)]
struct Row {
    did: Dialled,
    forward: Option<E164>,
    set: u32,
    line: u32,
    label_at: u32,
    label_len: u16,
    file: u16,
    columns: Columns,
}

/// Where the cells of a row begin that hold what is its own, empty ones too, from 1. 0: there is no such column.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Columns {
    pub did: u16,
    pub label: u16,
    pub forward: u16,
}

/// What is a row's own.
#[derive(Clone, Copy, Debug)]
pub(super) struct Own<'t> {
    pub did: Dialled,
    pub label: Option<&'t str>,
    pub forward: Option<E164>,
    /// Of its did.
    pub place: Place,
    pub columns: Columns,
}

/// One of them.
#[derive(Clone, Copy, Debug)]
pub struct Listed<'c> {
    row: &'c Row,
    of: &'c Numbers,
}

impl Numbers {
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Whether there is room for what a table says in so many bytes.
    pub(super) fn has_room(&self, bytes: usize) -> bool {
        self.rows.len() + bytes <= MOST && u32::try_from(self.labels.len() + bytes).is_ok()
    }

    pub fn get(&self, at: usize) -> Option<Listed<'_>> {
        Some(Listed { row: self.rows.get(at)?, of: self })
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = Listed<'_>> + DoubleEndedIterator {
        self.rows.iter().map(|row| Listed { row, of: self })
    }

    /// What they say, as often as it is kept.
    pub fn sets(&self) -> impl ExactSizeIterator<Item = &Keys> {
        self.sets.iter().map(|set| &set.keys)
    }

    /// Adds one that shares nothing.
    pub(super) fn add(&mut self, did: At<Dialled>, keys: Keys) {
        let own =
            Own { did: did.value, label: None, forward: None, place: did.place, columns: Columns::default() };
        self.add_first(own, keys);
    }

    /// Adds one that is the first to say so much beside what is its own. What others say it by.
    pub(super) fn add_first(&mut self, own: Own<'_>, keys: Keys) -> u32 {
        let set = self.sets.len() as u32;
        self.sets.push(Set { keys, first: self.rows.len() as u32 });
        self.add_alike(own, set);
        set
    }

    /// Adds one that says the same as those before.
    pub(super) fn add_alike(&mut self, own: Own<'_>, set: u32) {
        let label = own.label.unwrap_or_default();
        // A text is 4 KiB at most.
        let (label_at, label_len) = (self.labels.len() as u32, label.len() as u16);
        self.labels.push_str(label);
        self.rows.push(Row {
            did: own.did,
            forward: own.forward,
            set,
            line: own.place.line,
            label_at,
            label_len,
            file: own.place.file,
            columns: Columns { did: u16::try_from(own.place.column).unwrap_or(u16::MAX), ..own.columns },
        });
    }
}

impl<'c> Listed<'c> {
    pub fn did(self) -> At<Dialled> {
        At { value: self.row.did, place: self.row.at(self.row.columns.did) }
    }

    /// What it shares with others: where they are equal, these say the same.
    pub fn set(self) -> u32 {
        self.row.set
    }

    /// What it says beside what is its own, as whoever said so first wrote it.
    pub fn alike(self) -> &'c Keys {
        &self.of.sets[self.row.set as usize].keys
    }

    /// Its own, where that is kept apart.
    pub fn label(self) -> Option<&'c str> {
        let begin = self.row.label_at as usize;
        let label = self.of.labels.get(begin..begin + usize::from(self.row.label_len))?;
        (!label.is_empty()).then_some(label)
    }

    /// Its own, where that is kept apart.
    pub fn forward(self) -> Option<At<E164>> {
        Some(At { value: self.row.forward?, place: self.row.at(self.row.columns.forward) })
    }

    /// The same beside what is its own, where it stands in its own row.
    pub fn alike_here(self) -> Keys {
        let mut keys = self.alike().clone();
        let first = &self.of.rows[self.of.sets[self.row.set as usize].first as usize];
        if !std::ptr::eq(first, self.row) {
            let moved = |place: Place| {
                let column = i64::from(place.column) + self.moved_by(first, place.column);
                let column = u32::try_from(column).unwrap_or(1).max(1);
                Place { file: self.row.file, line: self.row.line, column }
            };
            keys.place_by(&moved);
        }
        keys
    }

    /// All that it says, as it stands in the files.
    pub fn written(self) -> Number {
        let mut keys = self.alike_here();
        if let Some(label) = self.label() {
            keys.label = Some(At { value: label.into(), place: self.row.at(self.row.columns.label) });
        }
        if let Some(forward) = self.forward() {
            keys.forward_to = Some(At { value: Some(forward.value), place: forward.place });
        }
        Number { did: self.did(), keys }
    }

    /// What stands behind column `column` in the first row stands so many characters further on in this one: its own cells
    /// before it may be longer.
    fn moved_by(self, first: &Row, column: u32) -> i64 {
        let widths = |row: &Row| {
            let label = Listed { row, of: self.of }.label().map_or(0, |label| label.chars().count());
            [row.did.to_string().len(), label, row.forward.map_or(0, |forward| forward.len() + 1)]
        };
        let (theirs, ours) = (widths(first), widths(self.row));
        let Columns { did, label, forward } = first.columns;
        let before = |cell: u16| cell > 0 && u32::from(cell) < column;
        let each = [did, label, forward].into_iter().zip(theirs).zip(ours);
        each.filter(|((cell, _), _)| before(*cell))
            .map(|((_, theirs), ours)| ours as i64 - theirs as i64)
            .sum()
    }
}

impl Row {
    fn at(&self, column: u16) -> Place {
        Place { file: self.file, line: self.line, column: u32::from(column).max(1) }
    }
}
