//! Where a number is written that is served: over HTTP or in the files.

use std::path::Path;

use crate::config::{self, At, Config, Dialled, Entry, Number, Overlay, Set};
use crate::number::E164;
use crate::routing::{Table, Written};
use crate::store::ledger::{Before, StoredNumber};
use crate::time::Wall;

/// Where the number, or block, is written that a number is ours by.
pub(super) fn ours<'t>(
    table: &'t Table,
    config: &'t Config,
    overlay: &'t Overlay,
) -> impl Fn(E164) -> Option<At<Dialled>> + 't {
    move |number| {
        let (did, written) = table.serving(number)?;
        match written {
            Written::InFiles(place) => Some(config.numbers.get(place)?.did()),
            Written::OverHttp => Some(overlay.number(did)?.did),
        }
    }
}

/// A number as it is to be by what was set over HTTP, else by the files; none: it is to be none of ours.
pub(super) fn number_of(
    did: Dialled,
    table: &Table,
    config: &Config,
    overlay: &Overlay,
) -> Option<(Number, Written)> {
    match overlay.get(did).filter(|entry| entry.is_served()) {
        Some(entry) => Some((entry.number()?.clone(), Written::OverHttp)),
        None => {
            let place = table.in_files(did)?;
            Some((config.numbers.get(place)?.written(), Written::InFiles(place)))
        }
    }
}

/// The number that [`config::over_http`] made this name of.
pub(super) fn reversed(name: &str) -> Option<Dialled> {
    name.strip_prefix("/v1/numbers/")?.parse().ok()
}

/// What is written down of what was set of a number before it is set otherwise.
pub(super) fn before_of(entry: Option<&Entry>) -> Before {
    match entry.map(|entry| &entry.set) {
        None => Before::Nothing,
        Some(Set::Removed | Set::Aside { json: None, .. }) => Before::Removal,
        Some(Set::To(number)) => Before::Body(number.to_json()),
        Some(Set::Aside { json: Some(json), .. }) => Before::Body(json.to_string()),
    }
}

/// What was set of a number once, to be set again; none: nothing was. `folder`: what paths in it are relative to.
pub(super) fn entry_of(did: Dialled, before: Before, folder: &Path) -> Option<Entry> {
    let set = match before {
        Before::Nothing => return None,
        Before::Removal => Set::Removed,
        Before::Body(json) => set_of(did, json, folder),
    };
    Some(Entry { set, at: Wall(0), by: "".into(), generation: 0 })
}

/// What is stored of a number, as it is set.
pub(super) fn set_of(did: Dialled, json: String, folder: &Path) -> Set {
    match config::read_body(&config::over_http(did), &json, did, folder) {
        (Some(number), errors) if errors.is_empty() => Set::To(number.over_http().into()),
        (_, errors) => aside(Some(json.into()), errors.first()),
    }
}

/// What was set aside, to be set again with other files. None: it was not, or cannot be read with any.
pub(super) fn tried_again(did: Dialled, entry: &Entry, folder: &Path) -> Option<Entry> {
    let Set::Aside { json, .. } = &entry.set else { return None };
    let set = match json {
        None => Set::Removed,
        Some(json) => match config::read_body("", json, did, folder) {
            (Some(number), errors) if errors.is_empty() => Set::To(number.over_http().into()),
            (_, _) => return None,
        },
    };
    Some(Entry { set, ..entry.clone() })
}

/// What does not check with the files as they are, which hold for it.
pub(super) fn aside(json: Option<Box<str>>, why: Option<&config::Finding>) -> Set {
    let why = why.map(ToString::to_string).unwrap_or_default();
    Set::Aside { json, why: why.into() }
}

/// As it is written down.
pub(super) fn stored_of(entry: &Entry) -> StoredNumber {
    let body = match &entry.set {
        Set::To(number) => Some(number.to_json()),
        Set::Removed => None,
        Set::Aside { json, .. } => json.as_deref().map(str::to_owned),
    };
    StoredNumber { body, at: entry.at, by: entry.by.to_string(), generation: entry.generation }
}
