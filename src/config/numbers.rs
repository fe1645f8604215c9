//! The numbers of all files in as little memory as they need. Those of a table (.csv) mostly say the same but for who they are, how
//! they are called and where they are forwarded to: what they have alike is kept once, as the first of them wrote it.

use std::ops::Range;

use super::number::{Dialled, Keys, Number};
use super::place::{At, Place};
use crate::number::E164;

/// As many as there may be, far more than there are telephone numbers in use.
const MOST: usize = 1_000_000_000;

/// Room that is made ahead, for each that is expected: memory that stays unused is not the system's loss.
const ROOM: f64 = 1.0625;

/// All of them, in the order of the files.
#[derive(Debug, Default)]
pub struct Numbers {
    rows: Vec<Row>,
    sets: Vec<Set>,
    labels: String,
    /// The number of its first set: of a part it is [`OF_A_PART`].
    first_set: u32,
}

/// Sets of a part are numbered from here, above all those of the whole that its rows may name as well.
const OF_A_PART: u32 = 1 << 31;

/// What was added after something else: rows of one file, say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Span {
    rows: Range<usize>,
    sets: Range<usize>,
    labels: Range<usize>,
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

    /// None yet, to be appended to others.
    pub(super) fn part() -> Numbers {
        Numbers { first_set: OF_A_PART, ..Numbers::default() }
    }

    /// The place among its own sets (from 0) of one that its rows name.
    pub(super) fn own_set(&self, set: u32) -> Option<usize> {
        set.checked_sub(self.first_set).map(|set| set as usize)
    }

    /// Of what is added from now on, until it is [`extended`](Numbers::extend).
    pub(super) fn span(&self) -> Span {
        let nothing = |at: usize| at..at;
        Span {
            rows: nothing(self.rows.len()),
            sets: nothing(self.sets.len()),
            labels: nothing(self.labels.len()),
        }
    }

    /// Up to what was added last.
    pub(super) fn extend(&self, span: &mut Span) {
        (span.rows.end, span.sets.end, span.labels.end) =
            (self.rows.len(), self.sets.len(), self.labels.len());
    }

    /// How many bytes of a table its rows and labels would be at most, for [`has_room`](Numbers::has_room).
    pub(super) fn bytes(&self) -> usize {
        self.rows.len().max(self.labels.len())
    }

    /// Adds those of a part, in their order. `kept`: by what a set of it (from 0) is kept already, which else will be kept by that.
    pub(super) fn append(&mut self, part: Numbers, mut kept: impl FnMut(usize, u32) -> Option<u32>) {
        let (rows, labels) = (self.rows.len() as u32, self.labels.len() as u32);
        let mut now = Vec::with_capacity(part.sets.len());
        for (at, set) in part.sets.into_iter().enumerate() {
            let next = self.sets.len() as u32;
            now.push(kept(at, next).unwrap_or_else(|| {
                self.sets.push(Set { first: rows + set.first, ..set });
                next
            }));
        }
        self.labels.push_str(&part.labels);
        self.rows.extend(part.rows.into_iter().map(|row| {
            let of_part = row.set.checked_sub(OF_A_PART).and_then(|set| now.get(set as usize));
            Row { set: of_part.copied().unwrap_or(row.set), label_at: labels + row.label_at, ..row }
        }));
    }

    /// Adds those that others hold in a span, a file of theirs, as of that file.
    pub(super) fn copy(&mut self, from: &Numbers, span: &Span, file: u16) {
        let Span { rows, sets, labels } = span;
        let moved = |was: u32, from: usize, to: usize| was - from as u32 + to as u32;
        let (first_row, first_set, first_label) = (self.rows.len(), self.sets.len(), self.labels.len());
        if self.rows.is_empty() {
            // Most of the others will follow, and some that are new.
            let with_new = |of: usize| (of as f64 * ROOM) as usize;
            self.rows.reserve_exact(with_new(from.rows.len()));
            self.labels.reserve_exact(with_new(from.labels.len()));
        }
        self.sets.extend(from.sets[sets.clone()].iter().map(|set| {
            let mut keys = set.keys.clone();
            keys.place_by(&|place| Place { file, ..place });
            Set { keys, first: moved(set.first, rows.start, first_row) }
        }));
        self.labels.push_str(from.labels.get(labels.clone()).unwrap_or_default());
        self.rows.extend(from.rows[rows.clone()].iter().map(|row| Row {
            set: moved(row.set, sets.start, first_set),
            label_at: moved(row.label_at, labels.start, first_label),
            file,
            ..*row
        }));
    }

    /// Makes room for so many times as many as there are in a span, and some more: else growing would have all of them twice for
    /// a while.
    pub(super) fn reserve(&mut self, span: &Span, times: f64) {
        let more = |of: &Range<usize>| (of.len() as f64 * (times * ROOM - 1.0)) as usize;
        let (rows, labels) = (more(&span.rows).min(MOST), more(&span.labels).min(u32::MAX as usize));
        // What there is no room for now grows as far as it can.
        let _grows = self.rows.try_reserve_exact(rows).and(self.labels.try_reserve_exact(labels));
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

    /// Bytes of the labels that are their own.
    pub fn label_bytes(&self) -> usize {
        self.labels.len()
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
        let set = self.first_set + self.sets.len() as u32;
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
