//! One section of a file, key by key: a TOML table or a row of a CSV. Every key is asked for by name and type; a
//! wrong type or value is noted and reads as unset; what nobody asked for is an unknown key.

use std::borrow::Cow;
use std::cell::RefCell;

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::choices::Choice;
use super::forms::{MAX_LIST, MAX_NAME, MAX_TEXT, Whole};
use super::place::{At, Place, Report, nearest, quoted};
use super::served;
use super::source::Lines;
use crate::number::{E164, Prefix};

/// What a section's keys are asked through.
pub(super) struct Fields<'a> {
    /// As the operator knows the section: `[[number]]`.
    pub what: &'static str,
    /// Where it begins.
    pub place: Place,
    report: &'a Report,
    source: Source<'a>,
    asked: RefCell<Vec<&'static str>>,
}

enum Source<'a> {
    Table { table: &'a DeTable<'a>, lines: &'a Lines<'a> },
    Row { header: &'a [String], cells: Vec<(Cow<'a, str>, Place)> },
}

/// One written value.
#[derive(Clone)]
enum Value<'a> {
    Toml(&'a DeValue<'a>, &'a Lines<'a>),
    Cell(Cow<'a, str>),
}

impl<'a> Fields<'a> {
    pub fn table(
        what: &'static str,
        place: Place,
        table: &'a DeTable<'a>,
        lines: &'a Lines<'a>,
        report: &'a Report,
    ) -> Fields<'a> {
        Fields { what, place, report, source: Source::Table { table, lines }, asked: RefCell::default() }
    }

    /// A row, its cells in the header's order; an empty cell is a key that is not written.
    pub fn row(
        what: &'static str,
        place: Place,
        header: &'a [String],
        cells: Vec<(Cow<'a, str>, Place)>,
        report: &'a Report,
    ) -> Fields<'a> {
        Fields { what, place, report, source: Source::Row { header, cells }, asked: RefCell::default() }
    }

    pub fn report(&self) -> &'a Report {
        self.report
    }

    /// Notes every key that was not asked for. Rows are left out: their header is judged once.
    pub fn finish(&self) {
        let Source::Table { table, lines } = &self.source else { return };
        let asked = self.asked.borrow();
        for key in table.iter().map(|(key, _)| key) {
            let name: &str = key.get_ref();
            if !asked.contains(&name) {
                let what = format!("{} has no key \"{}\"", self.what, shown(name));
                self.report.error(lines.place(key.span().start), what, key_remedy(name, &asked));
            }
        }
    }

    /// What is needed last of all: a table that lacks it has its other mistakes noted too.
    pub fn or_finish<T>(&self, needed: Option<T>) -> Option<T> {
        if needed.is_none() {
            self.finish();
        }
        needed
    }

    /// Every key that is written, and where.
    pub fn written(&self) -> Vec<(&'a str, Place)> {
        match &self.source {
            Source::Table { table, lines } => {
                table.iter().map(|(key, _)| (&**key.get_ref(), lines.place(key.span().start))).collect()
            }
            Source::Row { header, cells } => {
                header.iter().zip(cells).map(|(key, (_, place))| (key.as_str(), *place)).collect()
            }
        }
    }

    /// Whether the key is written at all.
    pub fn has(&self, key: &str) -> bool {
        self.find(key).is_some()
    }

    /// Where a text is written that is empty.
    pub fn empty_text(&self, key: &str) -> Option<Place> {
        let (value, place) = self.find(key)?;
        let is_empty = match value {
            Value::Toml(value, _) => matches!(value, DeValue::String(text) if text.is_empty()),
            Value::Cell(cell) => cell.is_empty(),
        };
        is_empty.then_some(place)
    }

    pub fn text(&self, key: &'static str) -> Option<At<Box<str>>> {
        self.get(key, |fields, value, place| fields.text_of(key, &value, place))
    }

    /// A text that is unset when empty.
    pub fn some_text(&self, key: &'static str) -> Option<At<Option<Box<str>>>> {
        let text = self.text(key)?;
        Some(At { place: text.place, value: Some(text.value).filter(|text| !text.is_empty()) })
    }

    /// What a name may be made of: it stands in URIs, file names and metrics.
    pub fn name(&self, key: &'static str) -> Option<At<Box<str>>> {
        let name = self.text(key)?;
        let fits = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
        if name.is_empty() || name.chars().count() > MAX_NAME || !name.chars().all(fits) {
            let what = format!("{key} = \"{}\" is no name", shown(&name));
            self.report.error(name.place, what, "use 1 to 64 letters, digits, - _ and .");
            return None;
        }
        Some(name)
    }

    pub fn flag(&self, key: &'static str) -> Option<At<bool>> {
        self.get(key, |fields, value, place| {
            let read = match &value {
                Value::Toml(DeValue::Boolean(flag), _) => Some(*flag),
                Value::Toml(..) => None,
                Value::Cell(cell) => cell.parse().ok(),
            };
            if read.is_none() {
                fields.wrong(key, &value, place, "write true or false");
            }
            read
        })
    }

    pub fn whole(&self, key: &'static str, form: &Whole) -> Option<At<u32>> {
        let Whole { least, most, unit } = *form;
        self.get(key, |fields, value, place| {
            let remedy = || format!("write a whole number of {unit} from {least} to {most}");
            let digits = match &value {
                Value::Toml(DeValue::Integer(whole), _) if whole.radix() == 10 => {
                    Cow::Borrowed(whole.as_str())
                }
                Value::Toml(DeValue::Integer(whole), _) => {
                    let read = i128::from_str_radix(whole.as_str(), whole.radix()).unwrap_or(i128::MAX);
                    Cow::Owned(read.to_string())
                }
                Value::Cell(cell) if is_whole(cell) => Cow::Borrowed(&**cell),
                Value::Toml(..) | Value::Cell(_) => {
                    fields.wrong(key, &value, place, &remedy());
                    return None;
                }
            };
            let read = digits.trim_start_matches('+').replace('_', "").parse::<u32>().ok();
            let read = read.filter(|read| (least..=most).contains(read));
            if read.is_none() {
                let what = format!("{key} = {} is out of range", shown(&digits));
                fields.report.error(place, what, remedy());
            }
            read
        })
    }

    pub fn choice<T: Choice>(&self, key: &'static str) -> Option<At<T>> {
        let word = self.text(key)?;
        match T::WORDS.iter().find(|(text, _)| *text == &*word.value) {
            Some((_, choice)) => Some(At { value: *choice, place: word.place }),
            None => {
                let words: Vec<&str> = T::WORDS.iter().map(|(text, _)| *text).collect();
                let what = format!("{key} = \"{}\" is not known", shown(&word));
                let remedy = match nearest(&word, words.iter().copied()) {
                    Some(near) => format!("did you mean \"{near}\"?"),
                    None => format!("write {}", quoted(&words)),
                };
                self.report.error(word.place, what, remedy);
                None
            }
        }
    }

    /// An E.164 number; an empty text unsets it.
    pub fn number(&self, key: &'static str) -> Option<At<Option<E164>>> {
        let text = self.some_text(key)?;
        match text.value.as_deref().map(E164::parse_e164) {
            None => Some(At { value: None, place: text.place }),
            Some(Ok(number)) => Some(At { value: Some(number), place: text.place }),
            Some(Err(bad)) => {
                self.report.error(text.place, bad.to_string(), bad.remedy());
                None
            }
        }
    }

    /// A list of texts; in a CSV they are separated by `|`.
    pub fn list(&self, key: &'static str) -> Option<At<Vec<At<Box<str>>>>> {
        self.get(key, |fields, value, place| {
            let list: Vec<At<Box<str>>> = match &value {
                Value::Toml(DeValue::Array(array), lines) => array
                    .iter()
                    .take(MAX_LIST + 1)
                    .filter_map(|item| {
                        let place = lines.place(item.span().start);
                        let value = fields.text_of(key, &Value::Toml(item.get_ref(), lines), place)?;
                        Some(At { value, place })
                    })
                    .collect(),
                Value::Cell(cell) => cell
                    .split('|')
                    .map(|item| At { value: Box::<str>::from(item.trim()), place })
                    .filter(|item| !item.is_empty())
                    .collect(),
                Value::Toml(..) => {
                    fields.wrong(key, &value, place, "write a list of texts, like [\"a\", \"b\"]");
                    return None;
                }
            };
            if list.len() > MAX_LIST {
                fields.report.error(place, format!("{key} has more than {MAX_LIST} entries"), "split it");
                return None;
            }
            Some(list)
        })
    }

    /// A list of prefixes of numbers, like `["+1", "+44"]`.
    pub fn prefixes(&self, key: &'static str) -> Option<At<Vec<At<Prefix>>>> {
        let list = self.list(key)?;
        let read = |text: &At<Box<str>>| {
            let prefix = Prefix::parse(text);
            if prefix.is_none() {
                let what = format!("\"{}\" in {key} is no prefix of numbers", shown(text));
                self.report.error(text.place, what, "write + and at most 15 digits, like \"+1900\"");
            }
            Some(At { value: prefix?, place: text.place })
        };
        Some(At { value: list.iter().filter_map(read).collect(), place: list.place })
    }

    /// A table inside this one. `what` is how the operator knows it.
    pub fn inner(&self, key: &'static str, what: &'static str) -> Option<Fields<'a>> {
        let (value, place) = self.ask(key)?;
        match value {
            Value::Toml(DeValue::Table(table), lines) => {
                Some(Fields::table(what, place, table, lines, self.report))
            }
            Value::Toml(..) | Value::Cell(_) => {
                self.wrong(key, &value, place, &format!("write {what} as a table"));
                None
            }
        }
    }

    /// A list of tables; one table alone is noted as a mistake. `what` is how the operator knows one of them,
    /// `form` how the list is written.
    pub fn tables(
        &self,
        key: &'static str,
        what: &'static str,
        form: &'static str,
    ) -> Option<At<Vec<Fields<'a>>>> {
        let (value, place) = self.ask(key)?;
        match value {
            Value::Toml(DeValue::Array(array), lines) => {
                Some(At { value: self.each(key, what, form, array, lines), place })
            }
            Value::Toml(..) => {
                self.wrong(key, &value, place, &format!("write {form}"));
                None
            }
            Value::Cell(_) => {
                self.wrong(key, &value, place, "a CSV holds no tables: write this number in a .toml file");
                None
            }
        }
    }

    fn each(
        &self,
        key: &str,
        what: &'static str,
        form: &'static str,
        array: &'a DeArray<'a>,
        lines: &'a Lines<'a>,
    ) -> Vec<Fields<'a>> {
        let table = |item: &'a Spanned<DeValue<'a>>| {
            let place = lines.place(item.span().start);
            let table = item.get_ref().as_table();
            if table.is_none() {
                let value = Value::Toml(item.get_ref(), lines);
                self.wrong(key, &value, place, &format!("write {form}"));
            }
            Some(Fields::table(what, place, table?, lines, self.report))
        };
        array.iter().filter_map(table).collect()
    }

    /// Whether the key holds a table rather than a plain value.
    pub fn is_table(&self, key: &str) -> bool {
        matches!(self.find(key), Some((Value::Toml(DeValue::Table(_), _), _)))
    }

    /// Whether the key holds a list of nothing.
    pub fn is_empty_list(&self, key: &str) -> bool {
        matches!(self.find(key), Some((Value::Toml(DeValue::Array(list), _), _)) if list.is_empty())
    }

    /// Takes a key for known that nobody asks for.
    pub fn know(&self, key: &'static str) {
        self.asked.borrow_mut().push(key);
    }

    /// Notes that a key which must be there is not, unless a slip of it is, which [`Fields::finish`] notes.
    pub fn missing(&self, key: &'static str, remedy: &str) {
        if !self.has_slip(key) {
            self.report.error(self.place, format!("{} has no {key}", self.what), remedy);
        }
    }

    /// Whether a key is written that reads like a slip of this one.
    pub fn has_slip(&self, key: &'static str) -> bool {
        match &self.source {
            Source::Table { table, .. } => table
                .iter()
                .any(|(name, _)| **name.get_ref() != *key && nearest(name.get_ref(), [key]).is_some()),
            // The header is judged once.
            Source::Row { header, .. } => !header.iter().any(|name| name == key),
        }
    }

    /// Notes a value that cannot be what it should be.
    pub fn refuse(&self, place: Place, message: String, remedy: impl Into<String>) {
        self.report.error(place, message, remedy);
    }

    fn get<T>(
        &self,
        key: &'static str,
        read: impl FnOnce(&Self, Value<'a>, Place) -> Option<T>,
    ) -> Option<At<T>> {
        let (value, place) = self.ask(key)?;
        read(self, value, place).map(|value| At { value, place })
    }

    /// Finds a key's value, remembers that it was asked for, and warns when it is not served yet.
    fn ask(&self, key: &'static str) -> Option<(Value<'a>, Place)> {
        self.asked.borrow_mut().push(key);
        let (value, place) = self.find(key)?;
        if let Some(why) = served::not_yet(self.what, key)
            && !value.is_off()
        {
            self.report.warning(place, format!("{key} is not served yet"), why);
        }
        Some((value, place))
    }

    fn find(&self, key: &str) -> Option<(Value<'a>, Place)> {
        match &self.source {
            Source::Table { table, lines } => {
                let value = table.get(key)?;
                let plain = !value.get_ref().is_table() && !value.get_ref().is_array();
                // After a mistake of syntax the parser puts a value where none was written.
                if plain && value.span().is_empty() {
                    return None;
                }
                Some((Value::Toml(value.get_ref(), lines), lines.place(value.span().start)))
            }
            Source::Row { header, cells } => {
                let (cell, place) = cells.get(header.iter().position(|name| name == key)?)?;
                (!cell.is_empty()).then(|| (Value::Cell(cell.clone()), *place))
            }
        }
    }

    fn text_of(&self, key: &str, value: &Value<'a>, place: Place) -> Option<Box<str>> {
        let text: &str = match value {
            Value::Toml(DeValue::String(text), _) => text,
            Value::Cell(cell) => cell,
            Value::Toml(..) => {
                self.wrong(key, value, place, "write a text, in quotes");
                return None;
            }
        };
        if text.len() > MAX_TEXT {
            self.report.error(place, format!("{key} is longer than {MAX_TEXT} bytes"), "shorten it");
            return None;
        }
        // Line breaks and other controls would end up in headers, records and terminals.
        if text.chars().any(|c| c.is_control()) {
            let what = format!("{key} holds a line break or another control character");
            self.report.error(place, what, "write it in one line");
            return None;
        }
        Some(text.into())
    }

    fn wrong(&self, key: &str, value: &Value<'_>, place: Place, remedy: &str) {
        self.report.error(place, format!("{key} is {}", value.kind()), remedy);
    }
}

impl Value<'_> {
    fn kind(&self) -> String {
        match self {
            Value::Toml(DeValue::String(text), _) => format!("the text \"{}\"", shown(text)),
            Value::Cell(cell) => format!("\"{}\"", shown(cell)),
            Value::Toml(DeValue::Integer(whole), _) => format!("the number {}", shown(whole.as_str())),
            Value::Toml(DeValue::Float(float), _) => format!("the number {}", shown(float.as_str())),
            Value::Toml(DeValue::Boolean(flag), _) => flag.to_string(),
            Value::Toml(DeValue::Datetime(_), _) => "a date".into(),
            Value::Toml(DeValue::Array(_), _) => "a list".into(),
            Value::Toml(DeValue::Table(_), _) => "a table".into(),
        }
    }

    /// Written out, but asking for nothing.
    fn is_off(&self) -> bool {
        match self {
            Value::Toml(DeValue::String(text), _) => text.is_empty(),
            Value::Toml(DeValue::Integer(whole), _) => whole.as_str() == "0",
            Value::Toml(DeValue::Boolean(flag), _) => !flag,
            Value::Toml(DeValue::Array(array), _) => array.is_empty(),
            Value::Toml(DeValue::Float(_) | DeValue::Datetime(_) | DeValue::Table(_), _) => false,
            Value::Cell(cell) => matches!(&**cell, "" | "0" | "false"),
        }
    }
}

/// A written text as a message repeats it: shortened, nothing that moves a terminal's cursor.
pub(super) fn shown(text: &str) -> String {
    const SHOWN: usize = 60;
    let mut shown: String = text.chars().take(SHOWN).collect::<String>().escape_debug().to_string();
    if text.chars().nth(SHOWN).is_some() {
        shown.push('…');
    }
    shown
}

/// What to write instead of an unknown key.
pub(super) fn key_remedy(name: &str, known: &[&'static str]) -> String {
    match nearest(name, known.iter().copied()) {
        Some(near) => format!("did you mean \"{near}\"?"),
        None => {
            let mut known = known.to_vec();
            known.sort_unstable();
            format!("its keys are {}", known.join(", "))
        }
    }
}

fn is_whole(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}
