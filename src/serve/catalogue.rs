//! The numbers, listed in pages: those that were set over HTTP first, then the files', each in their order.

use super::changes::{aside, told};
use super::publish::Publisher;
use crate::admin::operations::{NumberPage, NumbersAsked};
use crate::config::{Config, Dialled, Entry, Keys, Listed, Number, Overlay, Set};
use crate::routing::Table;

/// Where a page ended.
enum After {
    /// Behind that one of those that were set over HTTP; none: at the beginning.
    OverHttp(Option<Dialled>),
    /// Behind that one of the files.
    InFiles(usize),
}

impl Publisher {
    /// A page of them. Looks at all of them, if nothing that is asked for is found before.
    ///
    /// # Errors
    /// Why `after` leads nowhere.
    pub fn page(&self, asked: &NumbersAsked) -> Result<NumberPage, String> {
        let (table, config, overlay) = self.served();
        let after = after(asked.after.as_deref(), &table)?;
        let mut page = Page {
            asked,
            wanted: Wanted::of(asked.q.as_deref()),
            items: Vec::new(),
            last: None,
            is_full: false,
        };
        let from = match after {
            After::OverHttp(after) => {
                if !page.over_http(&overlay, &config, after) {
                    return Ok(page.finish());
                }
                0
            }
            After::InFiles(place) => place + 1,
        };
        if !asked.over_http {
            page.files(&overlay, &config, from);
        }
        Ok(page.finish())
    }
}

fn after(text: Option<&str>, table: &Table) -> Result<After, String> {
    let bad = || "`after` is the `next` of an earlier page".to_owned();
    let Some(text) = text else { return Ok(After::OverHttp(None)) };
    let (source, did) = text.split_once(':').ok_or_else(bad)?;
    // A plus that was not escaped is a space.
    let did: Dialled = did.replace(' ', "+").parse().map_err(|_| bad())?;
    match source {
        "http" => Ok(After::OverHttp(Some(did))),
        "files" => {
            let gone = || format!("{did}, where the page ended, is in the files no more: begin anew");
            table.in_files(did).map(After::InFiles).ok_or_else(gone)
        }
        _ => Err(bad()),
    }
}

/// A page that is being filled.
struct Page<'a> {
    asked: &'a NumbersAsked,
    wanted: Wanted,
    items: Vec<String>,
    /// Where its last item is.
    last: Option<String>,
    /// Another follows.
    is_full: bool,
}

impl Page<'_> {
    /// False: it is full. `source`: where the item is.
    fn take(&mut self, source: &str, did: Dialled, item: impl FnOnce() -> String) -> bool {
        if self.items.len() >= self.asked.most {
            self.is_full = true;
            return false;
        }
        self.items.push(item());
        self.last = Some(format!("{source}:{did}"));
        true
    }

    /// False: it is full before they are at an end.
    fn over_http(&mut self, overlay: &Overlay, config: &Config, after: Option<Dialled>) -> bool {
        for (did, entry) in overlay.behind(after) {
            let Some(number) = self.shown(did, entry) else { continue };
            if !self.wanted.is(did, &config.merged(&number.keys)) {
                continue;
            }
            if !self.take("http", did, || told(&number, Some(entry)).json) {
                return false;
            }
        }
        true
    }

    /// What was removed is listed only where that alone is asked for which was set over HTTP.
    fn shown(&self, did: Dialled, entry: &Entry) -> Option<Number> {
        match &entry.set {
            Set::To(number) => Some(Number::clone(number)),
            Set::Removed => self.asked.over_http.then(|| Number::bare(did)),
            Set::Aside { json, .. } => Some(aside(did, json.as_deref())),
        }
    }

    fn files(&mut self, overlay: &Overlay, config: &Config, from: usize) {
        // What many say alike is merged once.
        let merged: Vec<Keys> = match &self.wanted {
            Wanted::All => Vec::new(),
            Wanted::Text(_) => config.numbers.sets().map(|keys| config.merged(keys)).collect(),
        };
        for number in config.numbers.iter().skip(from) {
            let did = number.did().value;
            let is_wanted =
                merged.get(number.set() as usize).is_none_or(|keys| self.wanted.holds(number, keys));
            if !is_wanted || overlay.get(did).is_some() {
                continue;
            }
            if !self.take("files", did, || told(&number.written(), None).json) {
                return;
            }
        }
    }

    fn finish(self) -> NumberPage {
        NumberPage { items: self.items, next: self.last.filter(|_| self.is_full) }
    }
}

/// What is asked for.
enum Wanted {
    All,
    /// In lower case.
    Text(String),
}

impl Wanted {
    fn of(q: Option<&str>) -> Wanted {
        match q.map(str::trim).filter(|q| !q.is_empty()) {
            Some(q) => Wanted::Text(q.to_lowercase()),
            None => Wanted::All,
        }
    }

    fn is(&self, did: Dialled, merged: &Keys) -> bool {
        let label = merged.label.as_ref().map_or("", |at| &at.value);
        self.hold(did, label, merged)
    }

    fn holds(&self, number: Listed<'_>, merged: &Keys) -> bool {
        let label = number.label().or(merged.label.as_ref().map(|at| &*at.value)).unwrap_or_default();
        self.hold(number.did().value, label, merged)
    }

    fn hold(&self, did: Dialled, label: &str, merged: &Keys) -> bool {
        let Wanted::Text(text) = self else { return true };
        let account = merged.account.as_ref().map_or("", |at| &at.value);
        did.to_string().contains(text.as_str())
            || [label, account].iter().any(|said| said.to_lowercase().contains(text))
    }
}
