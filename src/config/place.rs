//! Where something was written, and what is wrong there.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;

use hashbrown::HashSet;
use serde::Serialize;

/// How many mistakes one check reports, and how many warnings; a hundred are more than anybody mends at once.
pub const MAX_FINDINGS: usize = 100;

/// A point in a configuration file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// By its number in [`Files`].
    pub file: u16,
    /// From 1; a CSV's header is line 1.
    pub line: u32,
    /// From 1, in characters.
    pub column: u32,
}

/// How the file of [`Place::OVER_HTTP`] is called where the number is not known.
pub(super) const OVER_HTTP: &str = "/v1/numbers";

impl Place {
    /// The file of what was set over HTTP: line and column are those of what is stored.
    pub const OVER_HTTP: u16 = u16::MAX;
}

/// A value and where it was written. Two of them are equal when their values are.
#[derive(Clone, Copy, Debug)]
pub struct At<T> {
    pub value: T,
    pub place: Place,
}

impl<T> Deref for At<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: PartialEq> PartialEq for At<T> {
    fn eq(&self, other: &At<T>) -> bool {
        self.value == other.value
    }
}

impl<T: Eq> Eq for At<T> {}

impl<T: Serialize> Serialize for At<T> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.value.serialize(serializer)
    }
}

impl<T: schemars::JsonSchema> schemars::JsonSchema for At<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> std::borrow::Cow<'static, str> {
        T::schema_id()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        T::json_schema(generator)
    }
}

/// The files that were read, in the order in which they were.
#[derive(Clone, Debug, Default)]
pub struct Files {
    names: Vec<Arc<Path>>,
}

impl Files {
    /// Adds a file. None: there are more than a place can name.
    pub(super) fn add(&mut self, name: &Path) -> Option<u16> {
        let number = u16::try_from(self.names.len()).ok().filter(|number| *number < Place::OVER_HTTP)?;
        self.names.push(name.into());
        Some(number)
    }

    /// The file's path: the configuration's folder joined with what lies inside.
    pub fn name(&self, place: Place) -> &Path {
        if place.file == Place::OVER_HTTP {
            return Path::new(OVER_HTTP);
        }
        self.names.get(usize::from(place.file)).map_or(Path::new(""), |name| name)
    }

    /// Whether it was written in a table (.csv).
    pub fn is_csv(&self, place: Place) -> bool {
        self.name(place).extension().is_some_and(|ext| ext == "csv")
    }

    /// `config/routing/numbers.toml:14:9`
    pub fn at(&self, place: Place) -> String {
        format!("{}:{}:{}", self.name(place).display(), place.line, place.column)
    }
}

/// One thing that is wrong, or wants a look, in a configuration.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, schemars::JsonSchema)]
pub struct Finding {
    pub file: String,
    /// From 1.
    pub line: u32,
    /// From 1, in characters.
    pub column: u32,
    /// What is wrong.
    pub message: String,
    /// What would be right.
    pub remedy: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: {}", self.file, self.line, self.column, self.message)?;
        if self.remedy.is_empty() { Ok(()) } else { write!(f, "; {}", self.remedy) }
    }
}

/// Collects findings while the files are walked. Each is kept once, however often its place is asked about.
#[derive(Debug, Default)]
pub(super) struct Report {
    files: RefCell<Files>,
    errors: RefCell<Vec<Raw>>,
    warnings: RefCell<Vec<Raw>>,
    seen: RefCell<HashSet<(Place, String), std::hash::RandomState>>,
    /// What came, kept or not.
    noted: Cell<usize>,
}

#[derive(Debug)]
struct Raw {
    place: Place,
    message: String,
    remedy: String,
}

impl Report {
    /// One whose findings may name places in files that were read before.
    pub fn of(files: &Files) -> Report {
        Report { files: RefCell::new(files.clone()), ..Report::default() }
    }

    pub fn add_file(&self, name: &Path) -> Option<u16> {
        self.files.borrow_mut().add(name)
    }

    pub fn at(&self, place: Place) -> String {
        self.files.borrow().at(place)
    }

    pub fn error(&self, place: Place, message: impl Into<String>, remedy: impl Into<String>) {
        self.note(&self.errors, place, message.into(), remedy.into());
    }

    pub fn warning(&self, place: Place, message: impl Into<String>, remedy: impl Into<String>) {
        self.note(&self.warnings, place, message.into(), remedy.into());
    }

    /// Notes what another has noted, in its order.
    pub fn append(&self, part: Report) {
        for (list, from) in [(&self.errors, part.errors), (&self.warnings, part.warnings)] {
            for Raw { place, message, remedy } in from.into_inner() {
                self.note(list, place, message, remedy);
            }
        }
    }

    /// How many mistakes are noted.
    pub fn mistakes(&self) -> usize {
        self.errors.borrow().len()
    }

    /// Whether mistakes came after those, as far as they are still counted.
    pub fn has_more_than(&self, before: usize) -> bool {
        self.mistakes() > before || self.is_full()
    }

    /// Whether so many mistakes are noted that looking on serves nobody.
    pub fn is_full(&self) -> bool {
        self.mistakes() >= MAX_FINDINGS
    }

    /// Whether another warning is kept.
    pub fn hears_warnings(&self) -> bool {
        self.warnings.borrow().len() < MAX_FINDINGS
    }

    /// How many findings came, kept or not.
    pub fn noted(&self) -> usize {
        self.noted.get()
    }

    /// The files, the errors and the warnings, each in the order of the files.
    pub fn into_parts(self) -> (Files, Vec<Finding>, Vec<Finding>) {
        let files = self.files.into_inner();
        let findings = |list: RefCell<Vec<Raw>>| {
            let mut list = list.into_inner();
            list.sort_by(|a, b| (a.place, &a.message).cmp(&(b.place, &b.message)));
            list.into_iter().map(|raw| raw.into_finding(&files)).collect()
        };
        let (errors, warnings) = (findings(self.errors), findings(self.warnings));
        (files, errors, warnings)
    }

    fn note(&self, list: &RefCell<Vec<Raw>>, place: Place, message: String, remedy: String) {
        self.noted.set(self.noted.get() + 1);
        let mut list = list.borrow_mut();
        if list.len() < MAX_FINDINGS && self.seen.borrow_mut().insert((place, message.clone())) {
            list.push(Raw { place, message, remedy });
        }
    }
}

impl Raw {
    fn into_finding(self, files: &Files) -> Finding {
        Finding {
            file: files.name(self.place).display().to_string(),
            line: self.place.line,
            column: self.place.column,
            message: self.message,
            remedy: self.remedy,
        }
    }
}

/// The name among `known` that was most likely meant: a slip or two away, or else one that begins alike.
pub(super) fn nearest<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    /// Longer texts are no slips of somebody who meant a name.
    const LONGEST: usize = 64;
    if wrong.len() > LONGEST {
        return None;
    }
    let wrong = wrong.to_lowercase();
    let likeness = |name: &str| {
        let name = name.to_lowercase();
        let slips = strsim::damerau_levenshtein(&wrong, &name);
        let few = slips <= (wrong.len().min(name.len()) / 3).clamp(1, 3);
        let likeness = strsim::jaro_winkler(&wrong, &name);
        (few || likeness > 0.85).then_some((few, usize::MAX - slips, likeness))
    };
    let near = known.into_iter().filter_map(|name| Some((likeness(name)?, name)));
    near.max_by(|((few, slips, a), first), ((other_few, other_slips, b), second)| {
        (few, slips).cmp(&(other_few, other_slips)).then(a.total_cmp(b)).then_with(|| second.cmp(first))
    })
    .map(|(_, name)| name)
}

/// "did you mean …?", else the names that there are, else what to do when there is none.
pub(super) fn suggestion<'a>(
    wrong: &str,
    known: impl IntoIterator<Item = &'a str> + Clone,
    none: &str,
) -> String {
    /// So many names still help; more would hide the message.
    const SHOWN: usize = 12;
    if let Some(name) = nearest(wrong, known.clone()) {
        return format!("did you mean \"{name}\"?");
    }
    let mut names: Vec<&str> = known.into_iter().collect();
    names.sort_unstable();
    match names.len() {
        0 => none.to_owned(),
        1..=SHOWN => format!("there is {}", quoted(&names)),
        more => format!("there are {more} others, such as {}", quoted(&names[..3])),
    }
}

/// `"a", "b" or "c"`
pub(super) fn quoted(names: &[&str]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("\"{name}\"")).collect();
    match names.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
        None => String::new(),
    }
}
