//! Log lines about things that strangers cause: so many a second, then how many more there were.

use std::time::Duration;

use crate::time::Instant;

/// Lines a second about one reason.
pub const LINES: u32 = 5;

/// What to do about one occurrence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// Log it. `more`: occurrences that were not logged since the last one that was; say so when there are any.
    Log { more: u64 },
    /// Say nothing; it is counted.
    Quiet,
}

/// The bound of one reason's lines. One per reason and thread.
#[derive(Debug)]
pub struct Rate {
    second: Option<Instant>,
    lines: u32,
    most: u32,
    unsaid: u64,
}

impl Rate {
    /// At most `most` lines a second.
    pub const fn new(most: u32) -> Rate {
        Rate { second: None, lines: 0, most, unsaid: 0 }
    }

    /// One occurrence at `now`.
    pub fn occur(&mut self, now: Instant) -> Line {
        let running = self.second.filter(|start| now.since(*start) < Duration::from_secs(1));
        if running.is_none() {
            self.second = Some(now);
            self.lines = 0;
        }
        if self.lines >= self.most {
            self.unsaid += 1;
            return Line::Quiet;
        }
        self.lines += 1;
        Line::Log { more: std::mem::take(&mut self.unsaid) }
    }

    /// The line that was to be logged with so many `more` was not, for another bound: the next one tells of it.
    pub fn was_not_said(&mut self, more: u64) {
        self.unsaid += more + 1;
    }
}

impl Default for Rate {
    fn default() -> Self {
        Rate::new(LINES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_so_many_lines_a_second_the_rest_is_counted_and_told_later() {
        let mut rate = Rate::new(2);
        let at = |ms: u64| Instant::from_micros(ms * 1000);
        assert_eq!(rate.occur(at(0)), Line::Log { more: 0 });
        assert_eq!(rate.occur(at(1)), Line::Log { more: 0 });
        for ms in 2..100 {
            assert_eq!(rate.occur(at(ms)), Line::Quiet);
        }
        assert_eq!(rate.occur(at(1000)), Line::Log { more: 98 });
        assert_eq!(rate.occur(at(1001)), Line::Log { more: 0 });
    }
}
