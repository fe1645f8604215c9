//! What was set over HTTP, and the files that it is served with: where these are new, what does not go with them is set aside.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use super::reading::routing_of;
use super::voices::{Unsaid, all_voices};
use super::written::{aside, ours, reversed, set_of, tried_again};
use crate::config::{self, Config, Dialled, Entry, Judged, Overlay, Set};
use crate::routing::Table;
use crate::store::ledger::StoredNumber;

/// So many numbers are set aside before all is built and judged again: a gone agent may be the agent of very many.
const AT_ONCE: usize = 1 << 16;

/// What was set over HTTP before the node started, and the table with it. What does not check with the files as they are now, or
/// cannot be said any more, is set aside, and told: one of them must not keep all calls from being taken.
///
/// # Errors
/// What the files say that cannot be said.
pub(super) fn overlay(
    config: &Config,
    folder: &Path,
    stored: Vec<(String, StoredNumber)>,
) -> Result<(Overlay, Table), Vec<config::Finding>> {
    let mut overlay = Overlay::default();
    for (written, number) in stored {
        let Ok(did) = written.parse() else {
            tracing::error!(did = written, "what was set over HTTP is no number, and left out");
            continue;
        };
        let StoredNumber { body, at, by, generation } = number;
        let set = match body {
            None => Set::Removed,
            Some(json) => set_of(did, json, &routing_of(folder)),
        };
        overlay.put(did, Some(Arc::new(Entry { set, at, by: by.into(), generation })));
    }
    loop {
        let table = Table::with_overlay(config, &overlay, 0, None);
        let mut is_new = false;
        for error in judge_all(config, &overlay, &table).errors {
            is_new |= reversed(&error.file).is_some_and(|did| set_aside(&mut overlay, did, &error));
        }
        if is_new {
            continue;
        }
        match all_voices(config, &overlay, folder) {
            Ok(voices) => {
                say_what_is_aside(&overlay);
                return Ok((overlay, table.with_voices(voices)));
            }
            Err(unsaid) if !unsaid.in_files.is_empty() => return Err(unsaid.findings()),
            Err(Unsaid { over_http, .. }) => {
                for (did, why) in &over_http {
                    set_aside(&mut overlay, *did, why);
                }
            }
        }
    }
}

/// Says in the log what is set aside: of that many each by itself, of more how many there are.
fn say_what_is_aside(overlay: &Overlay) {
    let aside = overlay.iter().filter_map(|(did, entry)| match &entry.set {
        Set::Aside { why, .. } => Some((did, why)),
        Set::To(_) | Set::Removed => None,
    });
    let mut numbers = 0;
    for (did, why) in aside {
        numbers += 1;
        if numbers <= config::MAX_FINDINGS {
            let what = "what was set over HTTP does not check with the files any more: these hold for it";
            tracing::error!(%did, %why, "{what}");
        }
    }
    if numbers > config::MAX_FINDINGS {
        tracing::error!(numbers, "so many are set aside in all: see `strowger numbers list`");
    }
}

/// What is set over HTTP, as it checks with files that are new.
pub(super) struct Settled {
    pub overlay: Arc<Overlay>,
    /// The numbers that are set otherwise than they are served.
    pub restored: BTreeSet<Dialled>,
    /// With all that is said.
    pub table: Table,
    pub warnings: Vec<config::Finding>,
}

/// Tries again what was set aside; what of this, or of what is `restored`, does not check or cannot be said is set aside, and
/// warned of.
///
/// # Errors
/// What is wrong with all that is served.
pub(super) fn settled(
    config: &Config,
    mut overlay: Overlay,
    mut restored: BTreeSet<Dialled>,
    folder: &Path,
    build: impl Fn(&Overlay) -> Table,
) -> Result<Settled, Vec<config::Finding>> {
    let routing = routing_of(folder);
    let again = |(did, entry): (Dialled, &Arc<Entry>)| Some((did, tried_again(did, entry, &routing)?));
    let again: Vec<(Dialled, Entry)> = overlay.iter().filter_map(again).collect();
    let mut movable: BTreeSet<Dialled> = restored.clone();
    for (did, entry) in again {
        overlay.put(did, Some(Arc::new(entry)));
        movable.insert(did);
        restored.insert(did);
    }
    let mut warnings = Vec::new();
    loop {
        let table = build(&overlay);
        let judged = judge_all(config, &overlay, &table);
        let errors = match judged.errors.is_empty() {
            true => match all_voices(config, &overlay, folder) {
                Ok(voices) => {
                    warnings.extend(judged.warnings);
                    let (overlay, table) = (Arc::new(overlay), table.with_voices(voices));
                    return Ok(Settled { overlay, restored, table, warnings });
                }
                Err(unsaid) if !unsaid.in_files.is_empty() => return Err(unsaid.findings()),
                Err(Unsaid { over_http, .. }) => over_http.into_values().collect(),
            },
            false => judged.errors,
        };
        let mut is_new = false;
        for error in &errors {
            let Some(did) = reversed(&error.file).filter(|did| movable.contains(did)) else { continue };
            if set_aside(&mut overlay, did, error) {
                is_new = true;
                if warnings.len() < config::MAX_FINDINGS {
                    warnings.push(error.clone());
                }
            }
        }
        if !is_new {
            return Err(errors.into_iter().take(config::MAX_FINDINGS).collect());
        }
    }
}

/// False: it is none that is served.
fn set_aside(overlay: &mut Overlay, did: Dialled, why: &config::Finding) -> bool {
    let Some(entry) = overlay.get(did).filter(|entry| entry.is_served()).cloned() else { return false };
    let json = entry.number().map(config::Number::to_json);
    let set = aside(json.map(Into::into), Some(why));
    overlay.put(did, Some(Arc::new(Entry { set, ..Entry::clone(&entry) })));
    true
}

/// Judges all that was set over HTTP by files that are new.
fn judge_all(config: &Config, overlay: &Overlay, table: &Table) -> Judged {
    let served = overlay.iter().filter(|(_, entry)| entry.is_served());
    let all: Vec<_> = served.map(|(did, entry)| (did, entry.number().cloned())).collect();
    config::judge_up_to(AT_ONCE, config, overlay, &all, None, &ours(table, config, overlay))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::time::Wall;

    /// However many an agent that is gone was the agent of.
    #[test]
    fn all_that_does_not_check_is_set_aside_at_once() {
        let text = "[[agent]]\nname = \"alice\"\n[[number]]\ndid = \"+12015550101\"\nring = [\"alice\"]\n";
        let config = config::parse(text, &|_| None).unwrap().config;
        let mut overlay = Overlay::default();
        let folder = Path::new("");
        for last in 0..1_000 {
            let did: Dialled = format!("+1202555{last:04}").parse().unwrap();
            let who = if last < 900 { "gone" } else { "alice" };
            let set = set_of(did, format!("{{\"ring\": [\"{who}\"]}}"), folder);
            overlay.put(did, Some(Arc::new(Entry { set, at: Wall(0), by: "".into(), generation: 1 })));
        }
        let restored = overlay.iter().map(|(did, _)| did).collect();
        let built = Cell::new(0);
        let build = |overlay: &Overlay| {
            built.set(built.get() + 1);
            Table::with_overlay(&config, overlay, 2, None)
        };
        let settled = settled(&config, overlay, restored, folder, build);
        let settled = settled.unwrap_or_else(|errors| panic!("{errors:?}"));
        let served = settled.overlay.iter().filter(|(_, entry)| entry.is_served()).count();
        assert_eq!((served, settled.table.numbers(), built.get()), (100, 101, 2));
        assert_eq!(settled.warnings.len(), config::MAX_FINDINGS);
    }
}
