//! A number as a program sends it: JSON, turned into what the reader of files reads, so that both are read, judged and
//! refused by the same code. Line and column are those of the JSON.

use std::borrow::Cow;
use std::fmt;
use std::path::Path;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::fields::{Fields, shown};
use super::number::{Dialled, Keys, Number, read_number};
use super::place::{At, Finding, Place, Report};
use super::source::Lines;

/// What is told beside what a number says, and may come back with it: it is not read.
const TOLD: [&str; 7] = ["etag", "source", "set_at", "set_by", "generation", "removed", "aside"];
/// How deep its lists and tables may lie; a number's are two deep.
const MAX_DEPTH: usize = 8;
/// The longest body, in bytes: what a number may say, and room to write it in.
pub const MAX_BODY: usize = 256 << 10;

/// Reads what is said of a number: the keys of `[[number]]`, `did` left out or the same. `name`: what findings call the text.
/// `folder`: what a path in it is relative to. Names are not judged: see [`super::judge`]. What comes back beside mistakes is what could
/// be read.
pub fn read_body(name: &str, text: &str, did: Dialled, folder: &Path) -> (Option<Number>, Vec<Finding>) {
    let report = Report::default();
    let number = read(name, text, did, folder, &report);
    let (_, errors, _) = report.into_parts();
    (number, errors)
}

fn read(name: &str, text: &str, did: Dialled, folder: &Path, report: &Report) -> Option<Number> {
    let file = report.add_file(Path::new(name))?;
    let top = Place { file, line: 1, column: 1 };
    let lines = Lines::of(file, text);
    let whole = Whole { text, lines: &lines, report };
    if text.len() > MAX_BODY {
        report.error(top, format!("it is longer than {MAX_BODY} bytes"), "leave something out");
        return None;
    }
    let raw = match serde_json::from_str::<&RawValue>(text) {
        Ok(raw) => raw,
        Err(error) => {
            let (line, column) = (error.line() as u32, error.column() as u32);
            let place = Place { file, line: line.max(1), column: column.max(1) };
            let said = error.to_string();
            let said = said.split(" at line ").next().unwrap_or_default();
            report.error(place, format!("JSON: {said}"), "send an object like {\"ring\": [\"alice\"]}");
            return None;
        }
    };
    let Some(DeValue::Table(mut table)) = whole.value(raw, 0) else {
        report.error(top, "it is no object", "send an object like {\"ring\": [\"alice\"]}");
        return None;
    };
    let written = did.to_string();
    if !table.iter().any(|(key, _)| key.get_ref() == "did") {
        let key = Spanned::new(0..1, Cow::from("did"));
        table.insert(key, Spanned::new(0..1, DeValue::String(Cow::from(written.as_str()))));
    }
    let fields = Fields::table("[[number]]", top, &table, &lines, report);
    TOLD.iter().for_each(|key| fields.know(key));
    let number = read_number(&fields, folder, &mut Vec::new())?;
    if number.did.value != did {
        let what = format!("did is {}, and the path says {written}", number.did.value);
        report.error(number.did.place, what, "leave it out, or write the number of the path");
    }
    Some(number)
}

/// The text that is read.
struct Whole<'t> {
    text: &'t str,
    lines: &'t Lines<'t>,
    report: &'t Report,
}

impl<'t> Whole<'t> {
    /// None: it is null, which is the same as left out, or cannot be read, which is told.
    fn value(&self, raw: &'t RawValue, depth: usize) -> Option<DeValue<'t>> {
        let json = raw.get();
        let refuse = |what: &str| {
            self.report.error(
                self.lines.place(self.span(json).start),
                what,
                "write what a number's key may hold",
            );
        };
        if depth > MAX_DEPTH {
            refuse("lists and objects lie deeper than any key holds them");
            return None;
        }
        match json.as_bytes().first() {
            Some(b'n') => None,
            Some(b't') => Some(DeValue::Boolean(true)),
            Some(b'f') => Some(DeValue::Boolean(false)),
            Some(b'"') => Some(DeValue::String(Cow::from(serde_json::from_str::<String>(json).ok()?))),
            Some(b'[') => Some(DeValue::Array(self.list(json, depth)?)),
            Some(b'{') => Some(DeValue::Table(self.table(json, depth)?)),
            // A number: as TOML writes it, or with an exponent that it would not be a whole number with.
            Some(_) | None => match DeValue::parse(json) {
                Ok(value) => Some(value.into_inner()),
                Err(_) => {
                    refuse("a number is written in a way that no key can hold");
                    None
                }
            },
        }
    }

    fn list(&self, json: &'t str, depth: usize) -> Option<DeArray<'t>> {
        let items: Vec<&'t RawValue> = serde_json::from_str(json).ok()?;
        let mut array = DeArray::new();
        for item in items {
            if let Some(value) = self.value(item, depth + 1) {
                array.push(Spanned::new(self.span(item.get()), value));
            }
        }
        Some(array)
    }

    fn table(&self, json: &'t str, depth: usize) -> Option<DeTable<'t>> {
        let Entries(entries) = serde_json::from_str(json).ok()?;
        let mut table = DeTable::new();
        for (key, raw) in entries {
            let span = match &key {
                // With its quotes.
                Cow::Borrowed(key) => self.span(key).start.saturating_sub(1)..self.span(key).end + 1,
                Cow::Owned(_) => self.span(raw.get()),
            };
            if table.contains_key(&*key) {
                let what = format!("\"{}\" is written twice", shown(&key));
                self.report.error(self.lines.place(span.start), what, "keep one of them");
            }
            if let Some(value) = self.value(raw, depth + 1) {
                table.insert(Spanned::new(span, key), Spanned::new(self.span(raw.get()), value));
            }
        }
        Some(table)
    }

    /// Where a piece of the text lies in it.
    fn span(&self, piece: &str) -> std::ops::Range<usize> {
        let start = (piece.as_ptr() as usize).saturating_sub(self.text.as_ptr() as usize);
        start..start + piece.len()
    }
}

/// All entries of an object in their order, one that is written twice twice.
struct Entries<'t>(Vec<(Cow<'t, str>, &'t RawValue)>);

/// A key, borrowed where it has no escapes.
#[derive(Deserialize)]
struct Key<'t>(#[serde(borrow)] Cow<'t, str>);

impl<'de> Deserialize<'de> for Entries<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Each;

        impl<'de> Visitor<'de> for Each {
            type Value = Entries<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries<'de>, A::Error> {
                let mut entries = Vec::new();
                while let Some((Key(key), value)) = map.next_entry::<Key<'de>, &'de RawValue>()? {
                    entries.push((key, value));
                }
                Ok(Entries(entries))
            }
        }

        deserializer.deserialize_map(Each)
    }
}

impl Number {
    /// As it is told and stored: JSON, a key a line, `did` first, then those that are written.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    /// The same, known to be set over HTTP.
    pub fn over_http(self) -> Number {
        let moved = |place: Place| Place { file: Place::OVER_HTTP, ..place };
        let mut keys: Keys = self.keys;
        keys.place_by(&moved);
        Number { did: At { place: moved(self.did.place), ..self.did }, keys }
    }
}
