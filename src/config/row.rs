//! CSV files of numbers: a header row with the number's keys, then a number a row. They are read block by block, however
//! long they are; a row that says the same as one before, but for what is its own, costs a look at its cells.

use std::borrow::Cow;
use std::hash::RandomState;
use std::io::{self, Read};
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use hashbrown::HashMap;

use super::fields::{Fields, key_remedy, shown};
use super::forms::MAX_TEXT;
use super::number::{Dialled, KEYS, Keys, Number, read_number};
use super::numbers::{Columns, Numbers, Own};
use super::place::{Place, Report};
use crate::number::E164;

/// The most columns that a row is read to; more than there are keys is a slip that is told.
const MAX_COLUMNS: usize = 64;
/// So much of a file is read at once: some ten thousand rows, a few milliseconds for a thread.
const BLOCK: usize = 1 << 20;
/// The longest row.
pub(super) const MAX_ROW: usize = 4 << 20;
/// Parts a row's cells where they are compared with those of others: in none of those that are.
const BETWEEN: char = '\u{1f}';

/// What the rows of a table have in common, whoever reads them.
#[derive(Clone)]
pub(super) struct Table {
    pub file: u16,
    pub folder: Arc<Path>,
    /// None: no row was read yet.
    pub header: Option<Arc<Header>>,
    /// What rows say beside what is their own, and by what it is kept.
    pub known: Arc<RwLock<Alike>>,
}

pub(super) type Alike = HashMap<Box<str>, Known, RandomState>;

/// Whole rows of a table.
pub(super) struct Block {
    pub bytes: Vec<u8>,
    /// Of the first of them.
    pub line: u32,
}

/// Where rows go.
pub(super) struct Into<'n> {
    pub numbers: &'n mut Numbers,
    pub nameless: &'n mut Vec<Keys>,
    pub report: &'n Report,
}

/// What came of a block.
pub(super) struct Rows {
    pub header: Option<Arc<Header>>,
    /// What was said beside what is a row's own.
    pub found: Alike,
    pub end: End,
}

/// Whether the rows behind are to be read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    GoOn,
    Stop,
    /// It is not UTF-8; that was told.
    NoText,
}

/// Reads a block's rows.
pub(super) fn read(table: &Table, block: &Block, into: Into<'_>) -> Rows {
    let Table { file, ref header, .. } = *table;
    let text = match std::str::from_utf8(&block.bytes) {
        Ok(text) => text,
        Err(error) => {
            let (lines, column) = position(&block.bytes[..error.valid_up_to()]);
            let place = Place { file, line: block.line + lines, column };
            into.report.error(place, "the text is not UTF-8", "save the file as UTF-8");
            return Rows { header: header.clone(), found: Alike::default(), end: End::NoText };
        }
    };
    let header = header.clone();
    let mut reader = Reader { table, into, header, found: Alike::default(), text: String::new(), behind: 0 };
    let end = if reader.read(text, block.line) { End::GoOn } else { End::Stop };
    Rows { header: reader.header, found: reader.found, end }
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

/// A file, block by block.
pub(super) struct Blocks<R> {
    source: R,
    /// What was read and not handed out.
    rest: Vec<u8>,
    line: u32,
    is_first: bool,
    is_over: bool,
}

/// What comes next of a file.
pub(super) enum Next {
    Rows(Block),
    /// A row that begins in this line is longer than one may be.
    Endless(u32),
    End,
}

impl<R: Read> Blocks<R> {
    pub fn of(source: R) -> Blocks<R> {
        Blocks { source, rest: Vec::new(), line: 1, is_first: true, is_over: false }
    }

    pub fn next(&mut self) -> io::Result<Next> {
        let mut bytes = std::mem::take(&mut self.rest);
        let mut size = BLOCK;
        loop {
            while bytes.len() < size && !self.is_over {
                let more = size - bytes.len();
                bytes.reserve_exact(more);
                self.is_over = self.source.by_ref().take(more as u64).read_to_end(&mut bytes)? == 0;
            }
            if std::mem::take(&mut self.is_first) && bytes.starts_with(b"\xEF\xBB\xBF") {
                bytes.drain(..3);
            }
            if bytes.is_empty() {
                return Ok(Next::End);
            }
            let end = if self.is_over { Some(bytes.len()) } else { end_of_rows(&bytes, size == MAX_ROW) };
            if let Some(end) = end {
                self.rest = bytes.split_off(end);
                let line = self.line;
                self.line = line.saturating_add(lines_in(&bytes));
                return Ok(Next::Rows(Block { bytes, line }));
            }
            if size == MAX_ROW {
                return Ok(Next::Endless(self.line));
            }
            size = MAX_ROW;
        }
    }
}

/// Behind the last line break that is outside of "quotes". `at_all`: where there is none, behind the last of all.
fn end_of_rows(bytes: &[u8], at_all: bool) -> Option<usize> {
    let last = memchr::memrchr(b'\n', bytes).map(|at| at + 1);
    if memchr::memchr(b'"', bytes).is_none() {
        return last;
    }
    let (mut quoted, mut end) = (false, None);
    for at in memchr::memchr2_iter(b'"', b'\n', bytes) {
        match bytes[at] {
            b'"' => quoted = !quoted,
            _ if !quoted => end = Some(at + 1),
            _ => {}
        }
    }
    end.or(last.filter(|_| at_all))
}

/// A block that is being read.
struct Reader<'r, 'n> {
    table: &'r Table,
    into: Into<'n>,
    header: Option<Arc<Header>>,
    found: Alike,
    /// For the row that is read: what it says beside what is its own.
    text: String,
    /// The text behind it begins here.
    behind: usize,
}

/// The keys of a table's columns.
pub(super) struct Header {
    names: Vec<String>,
    did: Option<usize>,
    label: Option<usize>,
    forward: Option<usize>,
}

/// By what it is kept what rows say.
#[derive(Clone, Copy)]
pub(super) struct Known {
    pub set: u32,
    /// Each row that says so is warned of.
    pub is_warned_of: bool,
}

impl Reader<'_, '_> {
    /// Reads rows, the first of that line. False: the rest is not to be read.
    fn read(&mut self, text: &str, line: u32) -> bool {
        let mut reader =
            csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(text.as_bytes());
        let (mut record, mut cells) = (csv::StringRecord::new(), 0);
        let mut cursor = Cursor { text, file: self.table.file, offset: 0, line };
        while !self.into.report.is_full() {
            match reader.read_record(&mut record) {
                Ok(true) => cells = record.len(),
                Ok(false) => {
                    self.judge_end(cells, &cursor);
                    return true;
                }
                Err(error) => {
                    let place = Place { file: self.table.file, line: cursor.line, column: 1 };
                    self.into.report.error(place, format!("CSV: {error}"), "mend the row");
                    return false;
                }
            }
            self.behind = usize::try_from(reader.position().byte()).unwrap_or(usize::MAX);
            let begin = record.position().map_or(0, |position| position.byte());
            cursor.begin(usize::try_from(begin).unwrap_or(usize::MAX));
            match &self.header {
                None => {
                    record.trim();
                    let header = self.read_header(&record, &cursor);
                    let is_parted = !is_parted_otherwise(&header.names);
                    self.header = Some(Arc::new(header));
                    if !is_parted {
                        // What its rows say nobody knows.
                        self.into.nameless.push(Keys::default());
                        return false;
                    }
                }
                Some(header) => {
                    let own = own_of(header, &record, &cursor, &mut self.text);
                    let known = own.and_then(|_| self.known());
                    match (own, known) {
                        (Some(own), Some(known))
                            if !(known.is_warned_of && self.into.report.hears_warnings()) =>
                        {
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

    /// A file whose last row ends before its time was hardly written whole. Of one without a line break nobody can tell:
    /// spreadsheets write it so, and so does who is cut off in the last cell.
    fn judge_end(&self, cells: usize, cursor: &Cursor<'_>) {
        let Some(header) = &self.header else { return };
        let raw = &cursor.text[cursor.offset..];
        let all = header.names.len();
        let place = Place { file: self.table.file, line: cursor.line, column: 1 };
        let remedy = "see that the file is whole, and end the last row with a line break";
        let has_quoted = raw.starts_with('"') || raw.contains(",\"");
        let is_cut = !raw.ends_with(['\n', '\r']) && !raw.is_empty();
        if has_quoted && memchr::memchr_iter(b'"', raw.as_bytes()).count() % 2 == 1 {
            let what = "a text in \"quotes\" does not end: the file may be half written";
            self.into.report.error(place, what, remedy);
        } else if is_cut && cells < all {
            let what =
                format!("the last row ends after {cells} of {all} cells: the file may be half written");
            self.into.report.error(place, what, remedy);
        } else if is_cut {
            let what = "the last row has no line break: the file may have been cut in its last cell";
            self.into.report.warning(place, what, remedy);
        } else if (1..all).contains(&cells) {
            self.is_short(cells, place);
        }
    }

    /// Which cells those are that it lacks, nobody knows (RFC 4180 §2.4).
    fn is_short(&self, cells: usize, place: Place) {
        let all = self.header.as_ref().map_or(0, |header| header.names.len());
        let what = format!("the row has {cells} of {all} cells");
        let remedy = "write an empty cell, as the second one of a,,c, for each key that it leaves out";
        self.into.report.error(place, what, remedy);
    }

    /// Whether it is the last of the text.
    fn is_last(&self, cursor: &Cursor<'_>) -> bool {
        let behind = cursor.text.as_bytes().get(self.behind..).unwrap_or_default();
        behind.iter().all(|byte| matches!(byte, b'\r' | b'\n'))
    }

    /// By what it is kept what the row says.
    fn known(&mut self) -> Option<Known> {
        if let Some(found) = self.found.get(&*self.text) {
            return Some(*found);
        }
        let known = *self.table.known.read().unwrap_or_else(PoisonError::into_inner).get(&*self.text)?;
        self.found.insert(self.text.as_str().into(), known);
        Some(known)
    }

    fn read_header(&self, record: &csv::StringRecord, cursor: &Cursor<'_>) -> Header {
        let names: Vec<String> = record.iter().map(str::to_owned).collect();
        let places = cursor.cells();
        judge_header(&names, &|cell| at(&places, cell), self.into.report);
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
        let Some(header) = self.header.clone() else { return };
        let names = &header.names;
        let places = cursor.cells();
        if record.len() != names.len() {
            // Its number is not known, nor is what it says.
            self.into.nameless.push(Keys::default());
            if record.len() > names.len() {
                let what = format!("the row has {} cells, the header {}", record.len(), names.len());
                let place = at(&places, names.len());
                self.into.report.error(place, what, "put texts that hold a comma in \"quotes\"");
            } else if !self.is_last(cursor) {
                self.is_short(record.len(), at(&places, 0));
            }
            return;
        }
        let cells = record.iter().enumerate().map(|(n, cell)| (Cow::Borrowed(cell), at(&places, n)));
        let fields = Fields::row("[[number]]", at(&places, 0), names, cells.collect(), self.into.report);
        let before = (self.into.report.mistakes(), self.into.report.noted());
        let number = read_number(&fields, &self.table.folder, self.into.nameless);
        let Some(Number { did, mut keys }) = number else { return };
        match own.filter(|_| self.into.report.mistakes() == before.0) {
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
                let is_warned_of = self.into.report.noted() > before.1;
                self.found.insert(self.text.as_str().into(), Known { set, is_warned_of });
            }
        }
    }
}

/// What is a row's own, told at a glance. None: it has quotes, spaces around cells, what is no plain ASCII, too many cells or
/// too few, or in its own cells what is not plainly right. `rest`: what it says beside.
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
    if !is_whole || !is_plain || record.len() != header.names.len() {
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

/// What cells may be parted by elsewhere; no key has one in its name.
const PARTS: [char; 3] = [';', '\t', '|'];

/// As spreadsheets write it where a comma is part of a number.
fn is_parted_otherwise(names: &[String]) -> bool {
    names.iter().any(|name| name.contains(PARTS))
}

fn judge_header(names: &[String], at: &dyn Fn(usize) -> Place, report: &Report) {
    if is_parted_otherwise(names) {
        let header = names.join(",").replace('"', "");
        if header.starts_with("sep=") {
            let remedy = "leave this line out, and save the table with commas between cells";
            return report.error(at(0), "the first line is no header", remedy);
        }
        let what = format!("the cells of \"{}\" are not parted by commas", shown(&header));
        let right = shown(&header.replace(PARTS, ","));
        return report.error(at(0), what, format!("save the table with commas between cells: {right}"));
    }
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
