//! A day, its file's name, and a place in the order of all records.

use std::fmt;
use std::str::FromStr;

use crate::call::cdr::rfc3339;
use crate::time::Wall;

/// A UTC day, counted from 1970-01-01. Its text names the file: `2026-11-01`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(pub u32);

impl Day {
    const MS: u64 = 86_400_000;

    pub fn of(wall: Wall) -> Day {
        Day(u32::try_from(wall.0 / Self::MS).unwrap_or(u32::MAX))
    }

    pub const fn before(self, days: u32) -> Day {
        Day(self.0.saturating_sub(days))
    }

    /// The name of its file of records.
    pub fn file_name(self) -> String {
        format!("{self}.jsonl")
    }

    /// The day of a file of records; `None` for any other file.
    pub fn of_file(name: &str) -> Option<Day> {
        let text = name.strip_suffix(".jsonl")?;
        let day = Day::of(rfc3339::read(&format!("{text}T00:00:00Z"))?);
        (day.to_string() == text).then_some(day)
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = rfc3339::civil(u64::from(self.0));
        write!(f, "{year:04}-{month:02}-{day:02}")
    }
}

/// How far a reader has come: in the file of `day`, and in that of the day before it.
///
/// Calls of two shards that end around midnight reach the disk in any order, so the file of a day can
/// still grow when the next has begun (never later than that, see `Cdrs`). A reader that counted on one
/// file alone would miss those records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    pub day: Day,
    pub offset: u64,
    /// The offset in the file of the day before `day`.
    pub before: u64,
}

/// Text that no list of records ever gave as its `next`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`after` is not a cursor of this list; give the `next` of an earlier answer, or leave it out")]
pub struct BadCursor;

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}-{:x}-{:x}", self.day.0, self.offset, self.before)
    }
}

impl FromStr for Cursor {
    type Err = BadCursor;

    fn from_str(text: &str) -> Result<Cursor, BadCursor> {
        let mut parts = text.split('-');
        let mut next = || {
            let part = parts.next().ok_or(BadCursor)?;
            u64::from_str_radix(part, 16).map_err(|_| BadCursor)
        };
        let (day, offset, before) = (next()?, next()?, next()?);
        let cursor = Cursor { day: Day(u32::try_from(day).map_err(|_| BadCursor)?), offset, before };
        // One text for one cursor: signs, leading zeros and more parts are none of ours.
        if cursor.to_string() == text { Ok(cursor) } else { Err(BadCursor) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_its_file_s_name_and_nothing_else_is() {
        let day = Day::of(Wall(1_793_527_200_999));
        assert_eq!(day.file_name(), "2026-11-01.jsonl");
        assert_eq!(Day::of_file("2026-11-01.jsonl"), Some(day));
        for other in ["2026-11-01", "2026-11-1.jsonl", "2026-02-30.jsonl", ".jsonl", "2026-11-01.jsonl.part"]
        {
            assert_eq!(Day::of_file(other), None, "{other}");
        }
    }

    #[test]
    fn a_cursor_is_read_back_and_a_foreign_text_refused() {
        let cursor = Cursor { day: Day(20_758), offset: u64::MAX, before: 17 };
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
        for other in ["", "1-2", "1-2-3-4", "+1-2-3", "01-2-3", "1-2-x", "fffffffff-0-0", "A-0-0"] {
            assert_eq!(other.parse::<Cursor>(), Err(BadCursor), "{other}");
        }
    }
}
