//! Where a number is written that is served: over HTTP or in the files.

use crate::config::{Config, Dialled, Number, Overlay, Place};
use crate::number::E164;
use crate::routing::{Table, Written};

/// Where the number, or block, is written that a number is ours by.
pub(super) fn ours<'t>(
    table: &'t Table,
    config: &'t Config,
    overlay: &'t Overlay,
) -> impl Fn(E164) -> Option<Place> + 't {
    move |number| {
        let (did, written) = table.serving(number)?;
        match written {
            Written::InFiles(place) => Some(config.numbers.get(place)?.did().place),
            Written::OverHttp => Some(overlay.number(did)?.did.place),
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
