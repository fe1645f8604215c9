//! Single numbers, set or removed while the node runs: judged as files are, durable before they are served, and served
//! before whoever asked for it hears so.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::channel::oneshot;
use sha2::{Digest, Sha256};

use super::publish::{Publisher, State, line, now};
use super::reading::{findings, routing_of};
use super::voices::{prompts, voices_of};
use super::written::{before_of, number_of, ours};
use crate::admin::operations::{Anew, Changed, Condition, NotChanged, NumberText, Removal, Versions, Wish};
use crate::config::{self, Config, Dialled, Entry, Number, Overlay, Set, Told, Voicemail};
use crate::routing::{Table, Voices};
use crate::store::ledger::{StoredGeneration, StoredNumber};

/// How many changes wait at most; beyond, they are refused.
pub(super) const WAITING: usize = 1024;
/// How many are written down together at most: their one sync is what takes longest.
pub(super) const TOGETHER: usize = 64;
/// How often a change is begun anew because another one of the same number came before it.
pub(super) const ANEW: usize = 100;

/// A change that was read, and what it was made of.
pub(super) struct Order {
    did: Dialled,
    to: To,
    /// What the number was when this was made of it, by its version; none: it was none and was not removed over HTTP.
    pinned: Option<String>,
    by: Box<str>,
    /// What it says, as it sounds.
    voices: Voices,
}

enum To {
    /// Its text is what is stored.
    Set(Box<Made>),
    Removed,
    /// What files say of it.
    Files,
}

/// A number that was sent, or made of what was.
struct Made {
    /// Its places are those of its text, which is stored.
    stored: Number,
    text: String,
    /// The same, its places those of what was sent, and where those come from.
    sent: Number,
    origin: config::Origin,
    /// What wants a look in what was sent.
    warnings: Vec<config::Finding>,
}

/// What became of an order.
pub(super) type Outcome = Result<Changed, Undone>;

/// Why an order was not carried out.
pub(super) enum Undone {
    /// The number is another meanwhile.
    Moved,
    Not(NotChanged),
}

/// An order, and who waits for it.
pub(super) type Waiting = (Order, oneshot::Sender<Outcome>);

impl Publisher {
    /// The number as it is told, with its version. Blocks of numbers are told as they are written.
    ///
    /// # Errors
    /// It is none of ours, or was removed.
    pub fn number(&self, did: Dialled) -> Result<NumberText, NotChanged> {
        number_in(&self.state(), &self.table(), did, &routing_of(&self.files.folder))
    }

    /// Reads what is wished of a number, and makes sound of what it says. Blocks: what was never spoken is spoken now.
    pub fn order(
        &self,
        did: Dialled,
        wish: &Wish,
        condition: &Condition,
        by: &str,
    ) -> Result<Order, NotChanged> {
        let there = self.number(did);
        let (table, config, overlay) = self.served();
        allowed(wish, condition, &there)?;
        let (name, folder) = (config::over_http(did), routing_of(&self.files.folder));
        let wrong = |mut errors: Vec<config::Finding>| {
            errors.sort();
            NotChanged::Wrong(findings(errors))
        };
        let read = |text: &str, stored: Option<&str>| {
            let sent = config::read_sent(&name, text, stored, did, &folder);
            let (number, mut errors) = (sent.number.map(Number::over_http), sent.errors);
            // What can be read of it is judged whatever else is wrong: whoever wrote it reads all of it at once, with its
            // place in what they sent.
            let change = number.clone().map(|number| (did, Some(number)));
            let judged = config::judge_itself(&config, change.as_slice(), &ours(&table, &config, &overlay));
            errors.extend(judged.errors.into_iter().map(|error| sent.origin.told(error)));
            let number = number.filter(|_| errors.is_empty()).ok_or_else(|| wrong(errors))?;
            Ok((number, sent.origin, sent.warnings))
        };
        let sent = match wish {
            Wish::Put(body) => Some(read(body, None)?),
            Wish::Patch(body) => {
                let aside = overlay.get(did).and_then(|entry| entry.json_aside());
                Some(read(body, aside.or(there.as_ref().ok().map(|there| &*there.json)))?)
            }
            Wish::Delete | Wish::ToFiles => None,
        };
        let (to, voices) = match sent {
            Some((sent, origin, warnings)) => {
                let said = voices_of(&config, &self.files.folder, std::iter::once(&sent.keys));
                let voices = said.map_err(|errors| {
                    let placed =
                        errors.into_iter().map(|error| config::Finding { file: name.clone(), ..error });
                    wrong(placed.map(|error| origin.told(error)).collect())
                })?;
                let text = sent.to_json();
                let stored = match config::read_body(&name, &text, did, &folder) {
                    (Some(stored), errors) if errors.is_empty() => stored.over_http(),
                    (_, errors) => return Err(wrong(errors.into_iter().map(as_stored).collect())),
                };
                (To::Set(Made { stored, text, sent, origin, warnings }.into()), voices)
            }
            None if matches!(wish, Wish::ToFiles) => (To::Files, Voices::default()),
            None => (To::Removed, Voices::default()),
        };
        Ok(Order { did, to, pinned: version(&there), by: by.into(), voices })
    }

    /// Carries orders out, each by itself, and publishes them together: what became of each, and the table that is served
    /// now, if it is another. Blocks on the disk: all are safe there before they are served.
    pub fn apply(&self, orders: Vec<Order>) -> (Vec<Outcome>, Option<Arc<Table>>) {
        let mut state = self.state();
        let mut work = Work {
            routing: routing_of(&self.files.folder),
            table: self.table(),
            generations: Vec::new(),
            stored: Vec::new(),
            undo: Vec::new(),
        };
        let mut outcomes: Vec<Outcome> =
            orders.into_iter().map(|order| work.carry_out(&mut state, order)).collect();
        let Work { table, generations, stored, undo, .. } = work;
        if generations.is_empty() {
            return (outcomes, None);
        }
        if let Err(error) = state.ledger.write(&generations, &stored) {
            let overlay = Arc::make_mut(&mut state.overlay);
            undo.into_iter().rev().for_each(|(did, before)| overlay.put(did, before));
            let why = format!(
                "{error}: nothing was changed; see that the disk of data_dir has room and can be written"
            );
            tracing::error!(%error, "numbers that were to be set over HTTP are not");
            for outcome in outcomes.iter_mut().filter(|outcome| outcome.is_ok()) {
                *outcome = Err(Undone::Not(NotChanged::Unwritten(why.clone())));
            }
            return (outcomes, None);
        }
        Publisher::note(&mut state, undo.iter().map(|(did, _)| *did));
        (outcomes, Some(self.serve(table)))
    }
}

/// Whether the condition that came with a wish holds (RFC 9110 §13).
fn allowed(
    wish: &Wish,
    condition: &Condition,
    there: &Result<NumberText, NotChanged>,
) -> Result<(), NotChanged> {
    let etag = match (wish, there) {
        (Wish::Put(_), Err(NotChanged::Removed(removal))) => return is_known(condition, removal),
        (Wish::Put(_), Err(_)) => {
            return condition.if_match.is_none().then_some(()).ok_or(NotChanged::Stale(None));
        }
        // That it is removed is what is taken back.
        (Wish::ToFiles, Err(NotChanged::Removed(removal))) => {
            return match &condition.if_match {
                None => Err(NotChanged::Unaware(removal.clone(), Anew::FromFiles)),
                Some(versions) if versions.hold(&removal.etag) => Ok(()),
                Some(Versions::Any | Versions::These(_)) => {
                    Err(NotChanged::Stale(Some(removal.etag.clone())))
                }
            };
        }
        (Wish::Patch(_) | Wish::Delete | Wish::ToFiles, Err(why)) => return Err(why.clone()),
        (_, Ok(there)) => &there.etag,
    };
    if condition.if_none_match.as_ref().is_some_and(|versions| versions.hold(etag)) {
        return Err(NotChanged::Exists(etag.clone()));
    }
    match &condition.if_match {
        None => Err(NotChanged::Unconditional(etag.clone())),
        Some(versions) if versions.hold(etag) => Ok(()),
        Some(Versions::Any | Versions::These(_)) => Err(NotChanged::Stale(Some(etag.clone()))),
    }
}

/// Whether whoever makes a number anew that was removed knows that it is not there: by the version of that, or by asking that
/// there be none. What is removed has no representation that `If-Match: *` could match (RFC 9110 §13.1.1).
fn is_known(condition: &Condition, removal: &Removal) -> Result<(), NotChanged> {
    match (&condition.if_match, &condition.if_none_match) {
        (None, None) => Err(NotChanged::Unaware(removal.clone(), Anew::Made)),
        (None, Some(_)) => Ok(()),
        (Some(Versions::These(these)), _) if these.contains(&removal.etag) => Ok(()),
        (Some(Versions::Any | Versions::These(_)), _) => Err(NotChanged::Gone(removal.clone())),
    }
}

/// A mistake in the text that is made of a number to be stored: nobody sent that text.
fn as_stored(finding: config::Finding) -> config::Finding {
    let message = format!("as it would be stored: {}", finding.message);
    config::Finding { line: 1, column: 1, message, ..finding }
}

/// What a caller hears of a number that rings nobody, if it does: an empty one is a slip more often than not.
fn rings_nobody(config: &Config, did: Dialled, number: &Number) -> Option<config::Finding> {
    let keys = config.merged(&number.keys);
    let is_on = keys.enabled.is_none_or(|at| at.value);
    if keys.rings_somebody() || !is_on {
        return None;
    }
    let takes_message =
        config.node.media.is_some() && keys.voicemail.is_none_or(|at| at.value != Voicemail::Off);
    let heard = if takes_message { "leaves a message" } else { "gets 480" };
    Some(config::Finding {
        file: config::over_http(did),
        line: 1,
        column: 1,
        message: format!("it rings nobody: the caller {heard}"),
        remedy: "give it ring, forward_to, assigned_to or overflow, unless that is meant".to_owned(),
    })
}

/// What orders have done so far that is neither written down nor served.
struct Work {
    routing: PathBuf,
    table: Arc<Table>,
    generations: Vec<StoredGeneration>,
    stored: Vec<(String, Option<StoredNumber>)>,
    /// What was set of each number before, in their order.
    undo: Vec<(Dialled, Option<Arc<Entry>>)>,
}

impl Work {
    fn carry_out(&mut self, state: &mut State, order: Order) -> Outcome {
        let Order { did, to, pinned, by, voices } = order;
        let there = number_in(state, &self.table, did, &self.routing);
        if version(&there) != pinned {
            return Err(Undone::Moved);
        }
        let before = state.overlay.get(did).cloned();
        let in_files = self.table.in_files(did);
        let generation = self.table.generation + 1;
        let (at, says) = (now(), to.says());
        // What is taken back was there all along.
        let created = there.is_err() && matches!(to, To::Set(..));
        let entry = |set| Some(Arc::new(Entry { set, at, by: by.clone(), generation }));
        let (mut made, mut body) = (None, None);
        let after = match to {
            To::Set(set) => {
                let Made { stored, text, sent, origin, warnings } = *set;
                (made, body) = (Some((sent, origin, warnings)), Some(text));
                entry(Set::To(stored.into()))
            }
            To::Removed if in_files.is_some() => entry(Set::Removed),
            To::Removed => None,
            To::Files if before.is_none() => return Err(Undone::Not(NotChanged::NotSet)),
            To::Files => None,
        };
        if after.is_some() && before.is_none() && state.overlay.len() >= Overlay::MOST {
            return Err(Undone::Not(NotChanged::Full(Overlay::MOST)));
        }
        let (is_stored, is) = (after.is_some(), before_of(after.as_deref()));
        Arc::make_mut(&mut state.overlay).put(did, after);
        let sent = made.as_ref().map(|(sent, ..)| sent);
        let (table, warnings) = match self.changed(state, did, sent, generation, &voices) {
            Ok(changed) => changed,
            Err(mut errors) => {
                Arc::make_mut(&mut state.overlay).put(did, before);
                if let Some((_, origin, _)) = &made {
                    errors = errors.into_iter().map(|error| origin.told(error)).collect();
                    errors.sort();
                }
                return Err(Undone::Not(NotChanged::Wrong(findings(errors))));
            }
        };
        let warnings = match made {
            Some((sent, origin, of_text)) => {
                let of_whole = warnings.into_iter().map(|warning| origin.told(warning));
                let nobody = rings_nobody(&state.config, did, &sent);
                of_text.into_iter().chain(of_whole).chain(nobody).collect()
            }
            None => warnings,
        };
        // What is set to what it was is nothing that could be taken back.
        let was = Some(before_of(before.as_deref())).filter(|was| *was != is);
        self.generations.push(StoredGeneration {
            changes: was.map(|was| (did.to_string(), was)).into_iter().collect(),
            ..line(&table, &by, &format!("{did} {says}"))
        });
        let stored = is_stored.then(|| StoredNumber { body, at, by: by.to_string(), generation });
        self.stored.push((did.to_string(), stored));
        self.undo.push((did, before));
        self.table = Arc::new(table);
        let text = number_in(state, &self.table, did, &self.routing).ok();
        Ok(Changed { created, text, generation, warnings: findings(warnings) })
    }

    /// The table with a number as it is now to be, if that may be, and what wants a look. `sent`: the same, with the places of
    /// what was sent.
    fn changed(
        &self,
        state: &mut State,
        did: Dialled,
        sent: Option<&Number>,
        generation: u64,
        voices: &Voices,
    ) -> Result<(Table, Vec<config::Finding>), Vec<config::Finding>> {
        let set = number_of(did, &self.table, &state.config, &state.overlay);
        let is_there = self.table.written(did).is_some();
        let voices = self.voices(state, voices);
        let change = (did, set.as_ref().map(|(number, written)| (&number.keys, *written)));
        let table = self.table.changed(generation, &state.config, &[change], voices);
        let change = (did, set.map(|(number, _)| sent.cloned().unwrap_or(number)));
        let State { config, overlay, leads, .. } = state;
        if let (_, Some(number)) = &change {
            leads.add(&number.keys);
        }
        let ours = ours(&table, config, overlay);
        let changes = std::slice::from_ref(&change);
        let judged = match &change {
            // Whoever led to it did so before.
            (_, Some(_)) if is_there => config::judge_itself(config, changes, &ours),
            _ => config::judge(config, overlay, changes, Some(leads), &ours),
        };
        drop(ours);
        if judged.errors.is_empty() { Ok((table, judged.warnings)) } else { Err(judged.errors) }
    }

    /// What is said by numbers that were set since the table was built, and by this one. What nobody says any more is let go
    /// of whenever as much has come as there was.
    fn voices(&self, state: &mut State, more: &Voices) -> Voices {
        /// So much of it is no burden.
        const FEW: usize = 64;
        let before = self.table.more_voices();
        let new: Vec<_> = more.iter().filter(|(prompt, _)| !self.table.has_voice(prompt)).collect();
        if new.is_empty() {
            return Arc::clone(before);
        }
        let mut all: HashMap<_, _> = (**before).clone();
        all.extend(new.into_iter().map(|(prompt, sound)| (prompt.clone(), Arc::clone(sound))));
        if all.len() > FEW.max(2 * state.said) {
            let numbers =
                state.overlay.numbers().flat_map(|(_, number)| prompts(&number.keys).collect::<Vec<_>>());
            let said: std::collections::HashSet<_> = numbers.collect();
            all.retain(|prompt, _| said.contains(prompt));
            state.said = all.len();
        }
        all.into()
    }
}

impl To {
    /// In the list of generations.
    fn says(&self) -> &'static str {
        match self {
            To::Set(..) => "set",
            To::Removed => "removed",
            To::Files => "as the files have it",
        }
    }
}

/// The number as it is told, if it is one.
fn number_in(state: &State, table: &Table, did: Dialled, routing: &Path) -> Result<NumberText, NotChanged> {
    if let Some(entry) = state.overlay.get(did) {
        return match &entry.set {
            Set::To(number) => Ok(told(number, Some(entry))),
            Set::Removed => Err(NotChanged::Removed(Removal {
                etag: told(&Number::bare(did), Some(entry)).etag,
                by: entry.by.to_string(),
                at: entry.at,
            })),
            Set::Aside { json, .. } => Ok(told(&aside(did, json.as_deref()), Some(entry))),
        };
    }
    let in_files = table.in_files(did).and_then(|place| state.config.numbers.get(place));
    let Number { did, keys } = in_files.ok_or(NotChanged::Unknown)?.written();
    Ok(told(&Number { did, keys: keys.written_in(routing) }, None))
}

/// Of a number that was removed over HTTP too.
fn version(there: &Result<NumberText, NotChanged>) -> Option<String> {
    match there {
        Ok(there) => Some(there.etag.clone()),
        Err(NotChanged::Removed(removal)) => Some(removal.etag.clone()),
        Err(_) => None,
    }
}

/// What was set aside, as far as it can be read.
pub(super) fn aside(did: Dialled, json: Option<&str>) -> Number {
    let read = |text| config::read_body("", text, did, std::path::Path::new("")).0;
    json.and_then(read).unwrap_or_else(|| Number::bare(did))
}

/// With its version: another one whenever anything is.
pub(super) fn told(number: &Number, entry: Option<&Arc<Entry>>) -> NumberText {
    let told = Told { number, entry: entry.map(|entry| &**entry) };
    let json = serde_json::to_string_pretty(&told).unwrap_or_default();
    let digest = Sha256::digest(json.as_bytes());
    let etag = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    NumberText { json, etag }
}
