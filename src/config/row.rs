//! CSV files of numbers: a header row with the number's keys, then a number a row. They are read block by block, however
//! long they are; a row that says the same as one before, but for what is its own, costs a look at its cells.

use std::borrow::Cow;
use std::hash::RandomState;
use std::io::{self, Read};
use std::path::Path;

use hashbrown::HashMap;

use super::fields::{Fields, MAX_TEXT, key_remedy, shown};
use super::number::{Dialled, KEYS, Keys, Number, read_number};
use super::numbers::{Columns, Numbers, Own};
use super::place::{Place, Report};
use crate::number::E164;

/// The most columns that a row is read to; more than there are keys is a slip that is told.
const MAX_COLUMNS: usize = 64;
/// So much of a file is read at once, and in one row.
const BLOCK: usize = 4 << 20;
/// Parts a row's cells where they are compared with those of others: in none of those that are.
const BETWEEN: char = '\u{1f}';

/// What a file's numbers go into.
pub(super) struct Into<'n> {
    pub numbers: &'n mut Numbers,
    pub nameless: &'n mut Vec<Keys>,
    /// Hears how many numbers there are, and how many bytes were read, after each block.
    pub told: &'n mut dyn FnMut(usize, usize),
}

/// Why a file could not be read to its end.
pub(super) enum Unreadable {
    /// It is not UTF-8; that was told.
    Text,
    Disk(io::Error),
}

pub(super) fn read(
    file: u16,
    source: impl Read,
    folder: &Path,
    report: &Report,
    into: Into<'_>,
) -> Result<(), Unreadable> {
    let mut blocks = Blocks::of(source);
    let mut table =
        Table { file, folder, report, into, header: None, known: HashMap::default(), text: String::new() };
    let mut line = 1;
    while !report.is_full() {
        let Some(block) = blocks.next(BLOCK).map_err(Unreadable::Disk)? else { return Ok(()) };
        let bytes = blocks.block(&block);
        if block.is_cut {
            let what = format!("a row is longer than {} MiB", BLOCK >> 20);
            let place = Place { file, line, column: 1 };
            report.error(place, what, "write a number a row, and end the row with a line break");
            return Ok(());
        }
        let text = match std::str::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => {
                let valid = &bytes[..error.valid_up_to()];
                let (lines, column) = position(valid);
                report.error(
                    Place { file, line: line + lines, column },
                    "the text is not UTF-8",
                    "save the file as UTF-8",
                );
                return Err(Unreadable::Text);
            }
        };
        if !table.into.numbers.has_room(BLOCK) {
            let what = "there are more numbers, or longer labels in all, than a table can hold";
            report.error(
                Place { file, line, column: 1 },
                what,
                "write less: 1,000 million numbers and 4 GiB of labels",
            );
            return Ok(());
        }
        if !table.read(text, line) {
            return Ok(());
        }
        line += lines_in(bytes);
        (table.into.told)(table.into.numbers.len(), bytes.len());
    }
    Ok(())
}

/// How many lines end before, and at which column one stands then, in characters as far as they are any.
fn position(before: &[u8]) -> (u32, u32) {
    let last = memchr::memrchr(b'\n', before).map_or(0, |at| at + 1);
    let column = before[last..].iter().filter(|byte| **byte & 0xC0 != 0x80).count();
    (lines_in(before), u32::try_from(column + 1).unwrap_or(u32::MAX))
}

fn lines_in(bytes: &[u8]) -> u32 {
    u32::try_from(memchr::memchr_iter(b'\n', bytes).count()).unwrap_or(u32::MAX)
}

/// Whole rows of a file, some MiB of them at once.
struct Blocks<R> {
    source: R,
    bytes: Vec<u8>,
    /// What has been handed out.
    begin: usize,
    is_first: bool,
    is_over: bool,
}

struct Block {
    range: std::ops::Range<usize>,
    /// It is a piece of a row.
    is_cut: bool,
}

impl<R: Read> Blocks<R> {
    fn of(source: R) -> Blocks<R> {
        Blocks { source, bytes: Vec::new(), begin: 0, is_first: true, is_over: false }
    }

    fn block(&self, block: &Block) -> &[u8] {
        &self.bytes[block.range.clone()]
    }

    /// The next of about so many bytes; none: the file is at its end.
    fn next(&mut self, size: usize) -> io::Result<Option<Block>> {
        self.bytes.drain(..self.begin);
        self.begin = 0;
        while self.bytes.len() < size && !self.is_over {
            let before = self.bytes.len();
            let more = (size - before) as u64;
            self.is_over = self.source.by_ref().take(more).read_to_end(&mut self.bytes)? == 0;
        }
        let start =
            if std::mem::take(&mut self.is_first) && self.bytes.starts_with(b"\xEF\xBB\xBF") { 3 } else { 0 };
        if self.bytes.len() == start {
            return Ok(None);
        }
        let end = if self.is_over { Some(self.bytes.len()) } else { end_of_rows(&self.bytes) };
        self.begin = end.unwrap_or(self.bytes.len());
        Ok(Some(Block { range: start..self.begin, is_cut: end.is_none() }))
    }
}

/// Behind the last line break that is outside of "quotes", or behind the last of all.
fn end_of_rows(bytes: &[u8]) -> Option<usize> {
    let (mut quoted, mut end) = (false, None);
    for at in memchr::memchr2_iter(b'"', b'\n', bytes) {
        match bytes[at] {
            b'"' => quoted = !quoted,
            _ if !quoted => end = Some(at + 1),
            _ => {}
        }
    }
    end.or_else(|| memchr::memrchr(b'\n', bytes).map(|at| at + 1))
}

/// A file that is being read.
struct Table<'r, 'n> {
    file: u16,
    folder: &'r Path,
    report: &'r Report,
    into: Into<'n>,
    header: Option<Header>,
    /// What rows say beside what is their own, and by what it is kept.
    known: HashMap<Box<str>, Known, RandomState>,
    /// For the row that is read: what it says so.
    text: String,
}

struct Header {
    names: Vec<String>,
    did: Option<usize>,
    label: Option<usize>,
    forward: Option<usize>,
}

#[derive(Clone, Copy)]
struct Known {
    set: u32,
    /// Each row that says so is warned of.
    is_warned_of: bool,
}

impl Table<'_, '_> {
    /// Reads the rows of a block whose first line is that. False: the rest is not to be read.
    fn read(&mut self, text: &str, line: u32) -> bool {
        let mut reader =
            csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(text.as_bytes());
        let mut record = csv::StringRecord::new();
        let mut cursor = Cursor { text, file: self.file, offset: 0, line };
        while !self.report.is_full() {
            match reader.read_record(&mut record) {
                Ok(true) => {}
                Ok(false) => return true,
                Err(error) => {
                    let place = Place { file: self.file, line: cursor.line, column: 1 };
                    self.report.error(place, format!("CSV: {error}"), "mend the row");
                    return false;
                }
            }
            let begin = record.position().map_or(0, |position| position.byte());
            cursor.begin(usize::try_from(begin).unwrap_or(usize::MAX));
            match &self.header {
                None => {
                    record.trim();
                    self.header = Some(self.read_header(&record, &cursor));
                }
                Some(header) => {
                    let own = own_of(header, &record, &cursor, &mut self.text);
                    let known = own.and_then(|_| self.known.get(&*self.text)).copied();
                    match (own, known) {
                        (Some(own), Some(known)) if !(known.is_warned_of && self.report.hears_warnings()) => {
                            self.into.numbers.add_alike(own, known.set);
                        }
                        (Some(own), known) => self.read_row(&record, &cursor, Some(own), known),
                        (None, _) => {
                            record.trim();
                            self.read_row(&record, &cursor, None, None);
                        }
                    }
                }
            }
        }
        false
    }

    fn read_header(&self, record: &csv::StringRecord, cursor: &Cursor<'_>) -> Header {
        let names: Vec<String> = record.iter().map(str::to_owned).collect();
        let places = cursor.cells();
        judge_header(&names, &|cell| at(&places, cell), self.report);
        let column = |key: &str| names.iter().position(|name| name == key);
        let (did, label, forward) = (column("did"), column("label"), column("forward_to"));
        Header { did, label, forward, names }
    }

    /// `own`: what is its own, where that could be told at a glance.
    fn read_row(
        &mut self,
        record: &csv::StringRecord,
        cursor: &Cursor<'_>,
        own: Option<Own<'_>>,
        known: Option<Known>,
    ) {
        let Some(Header { names, .. }) = &self.header else { return };
        let places = cursor.cells();
        if record.len() > names.len() {
            let what = format!("the row has {} cells, the header {}", record.len(), names.len());
            let place = at(&places, names.len());
            return self.report.error(place, what, "put texts that hold a comma in \"quotes\"");
        }
        let cells = record.iter().enumerate().map(|(n, cell)| (Cow::Borrowed(cell), at(&places, n)));
        let fields = Fields::row("[[number]]", at(&places, 0), names, cells.collect(), self.report);
        let before = (self.report.mistakes(), self.report.noted());
        let number = read_number(&fields, self.folder, self.into.nameless);
        let Some(Number { did, mut keys }) = number else { return };
        match own.filter(|_| self.report.mistakes() == before.0) {
            None => self.into.numbers.add(did, keys),
            Some(own) => {
                (keys.label, keys.forward_to) = (None, None);
                let set = match known {
                    Some(known) => {
                        self.into.numbers.add_alike(own, known.set);
                        known.set
                    }
                    None => self.into.numbers.add_first(own, keys),
                };
                let is_warned_of = self.report.noted() > before.1;
                self.known.insert(self.text.as_str().into(), Known { set, is_warned_of });
            }
        }
    }
}

/// What is a row's own, told at a glance. None: it has quotes, spaces around cells, what is no plain ASCII, too many cells, or
/// in its own cells what is not plainly right. `rest`: what it says beside.
fn own_of<'t>(
    header: &Header,
    record: &'t csv::StringRecord,
    cursor: &Cursor<'_>,
    rest: &mut String,
) -> Option<Own<'t>> {
    let raw = &cursor.text.as_bytes()[cursor.offset..];
    let length = record.as_slice().len() + record.len().checked_sub(1)?;
    let is_whole = matches!(raw.get(length), None | Some(b'\r' | b'\n'));
    let raw = raw.get(..length)?;
    let is_plain = raw.iter().all(|byte| matches!(byte, b' '..=b'~' if *byte != b'"'));
    if !is_whole || !is_plain || record.len() > header.names.len() {
        return None;
    }
    if memchr::memchr(b' ', raw).is_some() && record.iter().any(|cell| cell.trim() != cell) {
        return None;
    }
    // An empty cell is none, and has its place all the same.
    let own = |cell: Option<usize>| {
        let Some((cell, text)) = cell.and_then(|cell| Some((cell, record.get(cell)?))) else {
            return Some(("", 0));
        };
        Some((text, u16::try_from(record.range(cell)?.start + cell + 1).ok()?))
    };
    let (did, did_column) = own(header.did)?;
    let did = Dialled::parse(did).ok()?;
    let (label, label_column) = own(header.label)?;
    if label.len() > MAX_TEXT {
        return None;
    }
    let (forward, forward_column) = own(header.forward)?;
    let forward = match forward {
        "" => None,
        forward => Some(E164::parse_e164(forward).ok()?),
    };
    rest.clear();
    for (cell, text) in record.iter().enumerate() {
        if ![header.did, header.label, header.forward].contains(&Some(cell)) {
            rest.push_str(text);
        }
        rest.push(BETWEEN);
    }
    let columns = Columns { did: did_column, label: label_column, forward: forward_column };
    let place = Place { file: cursor.file, line: cursor.line, column: did_column.into() };
    let label = Some(label).filter(|label| !label.is_empty());
    Some(Own { did, label, forward, place, columns })
}

fn judge_header(names: &[String], at: &dyn Fn(usize) -> Place, report: &Report) {
    for (n, name) in names.iter().enumerate() {
        if names[..n].contains(name) {
            let what = format!("the header names \"{}\" twice", shown(name));
            report.error(at(n), what, "keep one of the columns");
        } else if !KEYS.contains(&name.as_str()) {
            let what = format!("[[number]] has no key \"{}\"", shown(name));
            report.error(at(n), what, key_remedy(name, KEYS));
        }
    }
    if names.len() > MAX_COLUMNS {
        report.error(at(0), format!("the header has more than {MAX_COLUMNS} columns"), "leave some out");
    }
    if !names.iter().any(|name| name == "did") {
        report.error(at(0), "the header has no did", "name the column of the numbers did");
    }
}

fn at(places: &[Place], cell: usize) -> Place {
    places.get(cell).or(places.last()).copied().unwrap_or_default()
}

/// Walks a block to where rows and their cells begin, never backwards.
struct Cursor<'a> {
    text: &'a str,
    file: u16,
    offset: usize,
    line: u32,
}

impl Cursor<'_> {
    /// Goes to the row that is found at, or a line break after, this byte.
    fn begin(&mut self, begin: usize) {
        self.advance(begin);
        while let Some(b'\r' | b'\n') = self.text.as_bytes().get(self.offset) {
            self.advance(self.offset + 1);
        }
    }

    /// Where each cell of the row begins.
    fn cells(&self) -> Vec<Place> {
        let bytes = self.text.as_bytes();
        let (mut offset, mut line, mut column) = (self.offset, self.line, 1);
        let mut places = vec![Place { file: self.file, line, column }];
        let mut quoted = false;
        while let Some(byte) = bytes.get(offset) {
            offset += 1;
            match byte {
                b'"' => quoted = !quoted,
                b'\n' if quoted => {
                    line += 1;
                    column = 0;
                }
                b'\r' | b'\n' if !quoted => break,
                _ => {}
            }
            // Characters, not their further bytes.
            column += u32::from(byte & 0xC0 != 0x80);
            if *byte == b',' && !quoted && places.len() <= MAX_COLUMNS {
                places.push(Place { file: self.file, line, column });
            }
        }
        places
    }

    fn advance(&mut self, to: usize) {
        let to = to.clamp(self.offset, self.text.len());
        self.line += lines_in(&self.text.as_bytes()[self.offset..to]);
        self.offset = to;
    }
}
