//! A text that is no TOML, read piece by piece. A piece begins at each line that opens a table or an entry; what is
//! healthy stays where it stood, and each torn piece gives its slips and the section of which it may have said something.
//!
//! Where a list or a text over several lines holds lines that look like the beginning of a piece, the division counts that
//! gives the fewest slips. The cost is that of reading the text once more: what looks open is followed no further than
//! [`FOLLOWED`], and after [`MAX_FINDINGS`] slips nothing more is read.

use std::collections::BTreeSet;
use std::ops::Range;

use toml::de::{DeTable, Error};

use super::open::Open;
use super::place::{MAX_FINDINGS, nearest};
use super::syntax::{DUPLICATE, Slip, slip};

/// Every section that a file may have.
pub(super) const SECTIONS: [&str; 18] = [
    "defaults",
    "profile",
    "trunk",
    "agent",
    "number",
    "caller_id",
    "pool",
    "emergency",
    "dial",
    "node",
    "listen",
    "media",
    "admin",
    "public",
    "speech",
    "limits",
    "capture",
    "retention",
];
/// What is open is followed through so many bytes: no list or text that can be read is longer in lines.
const FOLLOWED: usize = 256 << 10;

/// What is left of a torn text.
pub(super) struct Torn {
    /// The text with its torn pieces blank: each byte that is left stands where it stood.
    pub healthy: String,
    /// In the order of the text, at most [`MAX_FINDINGS`].
    pub slips: Vec<Slip>,
    /// What the torn pieces may have said something of.
    pub sections: BTreeSet<&'static str>,
}

/// A longer text is not divided: to read it takes a hundred times its length of memory, which calls may need.
const LONGEST: usize = 8 << 20;

/// Divides a text that is no TOML. None: it has no line that opens a table or an entry, or is too long.
pub(super) fn divided(text: &str) -> Option<Torn> {
    if text.len() > LONGEST {
        return None;
    }
    let first = next_head(text, 0..text.len())?;
    let mut division =
        Division { text, bytes: text.as_bytes().to_vec(), slips: Vec::new(), sections: BTreeSet::new() };
    division.read(first);
    let healthy = String::from_utf8(division.bytes).ok()?;
    Some(Torn { healthy, slips: division.slips, sections: division.sections })
}

/// A line that opens a table or an entry.
#[derive(Clone, Copy, Debug)]
struct Head {
    at: usize,
    /// None: it names no section that there is.
    section: Option<&'static str>,
    /// It opens a table inside the entry before it, as `[trunk.auth]` does.
    is_inner: bool,
}

/// An entry with the tables inside it: one of them torn, all of it is unread.
struct Entry {
    from: usize,
    section: Option<&'static str>,
    is_torn: bool,
}

struct Division<'t> {
    text: &'t str,
    bytes: Vec<u8>,
    slips: Vec<Slip>,
    sections: BTreeSet<&'static str>,
}

impl Division<'_> {
    fn read(&mut self, first: Head) {
        let all = self.text.len();
        let mut entry = Entry { from: 0, section: None, is_torn: false };
        // What stands before the first head is a piece too.
        let mut head = (first.at == 0).then_some(first);
        let mut next =
            if head.is_some() { next_head(self.text, self.after_line(0)..all) } else { Some(first) };
        loop {
            let from = head.map_or(0, |head| head.at);
            // A table inside an entry whose head is torn beyond knowing is a part of it too.
            match head {
                Some(Head { section, is_inner: true, .. }) if entry.is_torn => self.sections.extend(section),
                Some(Head { section, is_inner: true, .. }) if section == entry.section => {}
                Some(Head { section, .. }) => {
                    self.close(&entry, from);
                    entry = Entry { from, section, is_torn: false };
                }
                None => {}
            }
            let mut until = next.map_or(all, |next| next.at);
            if let Err(error) = parsed(self.text, from..until) {
                let body = if head.is_some() { self.after_line(from) } else { from };
                let (whole, is_torn) = self.held(from, until);
                if whole > until {
                    until = whole;
                    next = next_head(self.text, until..all);
                }
                if is_torn {
                    entry.is_torn = true;
                    self.tear(from..until, body, &error);
                }
            }
            if self.slips.len() >= MAX_FINDINGS {
                // Nobody mends more at once: what follows is not read.
                self.sections.extend(SECTIONS);
                self.blank(entry.from..all);
                return;
            }
            match next {
                Some(found) => {
                    head = next;
                    next = next_head(self.text, self.after_line(found.at)..all);
                }
                None => return self.close(&entry, all),
            }
        }
    }

    /// Leaves out a torn entry, now that it is known where it ends.
    fn close(&mut self, entry: &Entry, until: usize) {
        if entry.is_torn {
            match entry.section {
                Some(section) => {
                    self.sections.insert(section);
                }
                None => self.sections.extend(SECTIONS),
            }
            self.blank(entry.from..until);
        }
    }

    fn blank(&mut self, range: Range<usize>) {
        self.bytes[range].iter_mut().filter(|byte| **byte != b'\n').for_each(|byte| *byte = b' ');
    }

    /// Where a piece ends that is no TOML up to the head at `until`, and whether it is torn: a list or a text that is open
    /// there may hold what looks like a head.
    fn held(&self, from: usize, until: usize) -> (usize, bool) {
        let Some(end) = self.closed(from, until) else { return (until, true) };
        if parsed(self.text, from..end).is_ok() {
            return (end, false);
        }
        // Torn either way: were the rest healthy by itself, it would be no part of this.
        let mut at = until;
        while at < end {
            let next = self.next_piece(at, end);
            let whole = || self.closed(at, next).filter(|end| parsed(self.text, at..*end).is_ok());
            match parsed(self.text, at..next).is_ok().then_some(next).or_else(whole) {
                Some(next) => at = next,
                None => return (end, true),
            }
        }
        (until, true)
    }

    /// Where what is open at `until`, of the piece that begins at `from`, is closed before a head.
    fn closed(&self, from: usize, until: usize) -> Option<usize> {
        // A head has brackets of its own.
        let is_head = head(self.line(from)).is_some();
        let mut open = Open::from(if is_head { self.after_line(from) } else { from });
        open.to(self.text, until);
        let furthest = self.furthest(until);
        let mut end = until;
        while open.is_open() && end < furthest {
            end = self.next_piece(end, furthest);
            open.to(self.text, end);
        }
        let is_end = end < furthest || furthest == self.text.len();
        (end > until && is_end && open.is_closed()).then_some(end)
    }

    /// Where the piece after the one at `from` begins.
    fn next_piece(&self, from: usize, until: usize) -> usize {
        next_head(self.text, self.after_line(from)..until).map_or(until, |head| head.at)
    }

    /// Notes the slips of a torn piece: its head's, and one for each of its keys that is torn.
    fn tear(&mut self, piece: Range<usize>, body: usize, error: &Error) {
        let before = self.slips.len();
        if let Err(error) = parsed(self.text, piece.start..body) {
            self.slips.push(slip(self.text, piece.start + offset(&error), error.message()));
        }
        let mut at = body;
        while at < piece.end && self.slips.len() < MAX_FINDINGS {
            let (until, found) = self.key(at..piece.end);
            self.slips.extend(found);
            at = until;
        }
        if self.slips.len() == before {
            self.slips.push(slip(self.text, piece.start + offset(error), error.message()));
        }
    }

    /// Where the key ends that begins here, and its slip.
    fn key(&self, range: Range<usize>) -> (usize, Option<Slip>) {
        let (until, open) = self.one_key(range.clone());
        let Err(error) = parsed(self.text, range.start..until) else { return (until, None) };
        // A text over several lines may hold what looks like a key.
        if let Some(end) = self.followed(&open, until..range.end) {
            match parsed(self.text, range.start..end) {
                Ok(()) => return (end, None),
                Err(error) if !self.are_keys(until..end) => {
                    let at = range.start + offset(&error);
                    return (end, Some(slip(self.text, at, error.message())));
                }
                Err(_) => {}
            }
        }
        let at = range.start + offset(&error);
        // Where it opens says more than where the reader gave up.
        let found = match open.unclosed().filter(|open| open.at() <= at) {
            Some(open) => slip(self.text, open.at(), open.said()),
            None => slip(self.text, at, error.message()),
        };
        (until, Some(found))
    }

    /// Where the key ends that begins here, where nothing that looks like another is part of it, and what is open there.
    fn one_key(&self, range: Range<usize>) -> (usize, Open) {
        let furthest = self.furthest(range.start).min(range.end);
        let indent = indent(self.line(range.start));
        let mut open = Open::from(range.start);
        let mut until = range.start;
        loop {
            until = self.after_line(until).min(range.end);
            open.to(self.text, until);
            if until >= range.end {
                return (until, open);
            }
            let line = self.line(until);
            let is_next = if open.is_closed() {
                !is_remark(line)
            } else {
                // What stands further in belongs to what is open.
                until >= furthest || is_key(line) && self::indent(line) <= indent
            };
            if is_next {
                return (until, open);
            }
        }
    }

    /// Where what is open is closed, with the end of a line.
    fn followed(&self, open: &Open, range: Range<usize>) -> Option<usize> {
        let furthest = self.furthest(range.start).min(range.end);
        let (mut open, mut end) = (open.clone(), range.start);
        while open.is_open() && end < furthest {
            end = self.after_line(end).min(range.end);
            open.to(self.text, end);
        }
        (end > range.start && open.is_closed()).then_some(end)
    }

    /// Whether these lines are keys by themselves.
    fn are_keys(&self, range: Range<usize>) -> bool {
        let mut at = range.start;
        while at < range.end {
            let (until, _) = self.one_key(at..range.end);
            if parsed(self.text, at..until).is_err() {
                return false;
            }
            at = until;
        }
        true
    }

    /// How far what is open is followed: to the end, or to the beginning of a line.
    fn furthest(&self, from: usize) -> usize {
        match self.text.as_bytes().get(from..from + FOLLOWED) {
            Some(followed) => memchr::memrchr(b'\n', followed).map_or(from, |end| from + end + 1),
            None => self.text.len(),
        }
    }

    /// Where the line after the one of this byte begins.
    fn after_line(&self, at: usize) -> usize {
        after_line(self.text, at)
    }

    fn line(&self, at: usize) -> &str {
        &self.text[at..self.after_line(at)]
    }
}

fn after_line(text: &str, at: usize) -> usize {
    let rest = text.as_bytes().get(at..).unwrap_or_default();
    memchr::memchr(b'\n', rest).map_or(text.len(), |end| at + end + 1)
}

/// The first mistake of syntax of a piece. A key that stands twice is none: both can be read.
fn parsed(text: &str, piece: Range<usize>) -> Result<(), Error> {
    let piece = &text[piece];
    match DeTable::parse(piece) {
        Ok(_) => Ok(()),
        Err(error) if error.message() != DUPLICATE => Err(error),
        Err(_) => {
            let (_, errors) = DeTable::parse_recoverable(piece);
            errors.into_iter().find(|error| error.message() != DUPLICATE).map_or(Ok(()), Err)
        }
    }
}

fn offset(error: &Error) -> usize {
    error.span().map_or(0, |span| span.start)
}

/// The first line of these, whole lines, that opens a table or an entry.
fn next_head(text: &str, lines: Range<usize>) -> Option<Head> {
    let mut at = lines.start;
    while at < lines.end {
        let end = after_line(text, at);
        if let Some((section, is_inner)) = head(&text[at..end]) {
            return Some(Head { at, section, is_inner });
        }
        at = end;
    }
    None
}

/// What a line opens, with one slip in it or none: its section, and whether it opens a table inside of that.
fn head(line: &str) -> Option<(Option<&'static str>, bool)> {
    /// A longer line opens nothing.
    const LONGEST: usize = 200;
    let line = line.split('#').next()?.trim();
    let is_value = line.contains('=') && !line.starts_with(['[', '=']);
    if line.len() > LONGEST || is_value || !line.contains(['[', ']']) {
        return None;
    }
    let word = |part: &str| {
        let fits = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        part.chars().filter(fits).collect::<String>().trim_matches('.').to_owned()
    };
    let words = line.split(['[', ']']).map(word).filter(|word| !word.is_empty());
    // A sign that slipped in before the brackets is no name.
    let known = |word: &String| {
        let (first, inner) = word.split_once('.').map_or((&**word, false), |(first, _)| (first, true));
        SECTIONS.iter().find(|section| **section == first).map(|section| (Some(*section), inner))
    };
    let words: Vec<String> = words.collect();
    let stray = usize::from(words.first()?.len() == 1);
    if let Some(found) = words.get(stray).and_then(known) {
        return Some(found);
    }
    let opens = line.trim_start_matches('[').trim_start();
    let looks_so = line.starts_with('[') && opens.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if !looks_so || line.contains('=') {
        return None;
    }
    let name = words.concat();
    let first = name.split('.').next().unwrap_or_default();
    Some(known(&name).unwrap_or((nearest(first, SECTIONS), name.contains('.'))))
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start_matches([' ', '\t']).len()
}

/// Nothing, or a remark alone.
fn is_remark(line: &str) -> bool {
    let line = line.trim();
    line.is_empty() || line.starts_with('#')
}

/// Whether a line begins with a key and its `=`.
fn is_key(line: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '"' | '\'' | ' ' | '\t');
    line.split_once('=').is_some_and(|(key, _)| !key.trim().is_empty() && key.chars().all(fits))
}
