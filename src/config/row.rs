//! CSV files of numbers: a header row with the number's keys, then a number a row.

use std::borrow::Cow;
use std::path::Path;

use super::fields::{Fields, key_remedy, shown};
use super::number::{KEYS, Numbers, read_number};
use super::place::{Place, Report};

/// The most columns that a row is read to; more than there are keys is a slip that is told.
const MAX_COLUMNS: usize = 64;

pub(super) fn read(file: u16, text: &str, folder: &Path, report: &Report, numbers: &mut Numbers) {
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .trim(csv::Trim::All)
        .from_reader(text.as_bytes());
    let mut record = csv::StringRecord::new();
    let mut header: Option<Vec<String>> = None;
    let mut cursor = Cursor { text, file, offset: 0, line: 1 };
    while !report.is_full() {
        match reader.read_record(&mut record) {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => {
                let place = Place { file, line: cursor.line, column: 1 };
                return report.error(place, format!("CSV: {error}"), "mend the row");
            }
        }
        let begin = record.position().map_or(0, |position| position.byte());
        let places = cursor.cells(usize::try_from(begin).unwrap_or(usize::MAX));
        let at = |cell: usize| places.get(cell).or(places.last()).copied().unwrap_or_default();
        match &header {
            None => {
                let names: Vec<String> = record.iter().map(str::to_owned).collect();
                judge_header(&names, &at, report);
                header = Some(names);
            }
            Some(names) if record.len() > names.len() => {
                let what = format!("the row has {} cells, the header {}", record.len(), names.len());
                report.error(at(names.len()), what, "put texts that hold a comma in \"quotes\"");
            }
            Some(names) => {
                let cells: Vec<(Cow<'_, str>, Place)> =
                    record.iter().enumerate().map(|(n, cell)| (Cow::Borrowed(cell), at(n))).collect();
                let fields = Fields::row("[[number]]", at(0), names, cells, report);
                read_number(&fields, folder, numbers);
            }
        }
    }
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

/// Walks the text to where rows and their cells begin, never backwards.
struct Cursor<'a> {
    text: &'a str,
    file: u16,
    offset: usize,
    line: u32,
}

impl Cursor<'_> {
    /// Where each cell of the row begins that is found at, or a line break after, this byte.
    fn cells(&mut self, begin: usize) -> Vec<Place> {
        let bytes = self.text.as_bytes();
        self.advance(begin);
        while let Some(b'\r' | b'\n') = bytes.get(self.offset) {
            self.advance(self.offset + 1);
        }
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
        let passed = &self.text.as_bytes()[self.offset..to];
        self.line += u32::try_from(memchr::memchr_iter(b'\n', passed).count()).unwrap_or(0);
        self.offset = to;
    }
}
