//! Single numbers, set or removed while the node runs: judged as files are, durable before they are served, and served
//! before whoever asked for it hears so.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::channel::oneshot;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::publish::{Publisher, State, line, now};
use super::reading::{findings, routing_of};
use super::voices::{prompts, voices_of};
use super::written::{before_of, number_of, ours};
use crate::admin::operations::{Changed, Condition, NotChanged, NumberText, Versions, Wish};
use crate::config::{self, Dialled, Entry, Number, Overlay, Set, Told};
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
    /// What the number was when this was made of it, by its version; none: it was none.
    pinned: Option<String>,
    by: Box<str>,
    /// What it says, as it sounds.
    voices: Voices,
}

enum To {
    /// Its text is what is stored.
    Set(Box<Number>, String),
    Removed,
    /// What files say of it.
    Files,
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
    /// The number as it is told, with its version; none: it is none of ours. Blocks of numbers are told as they are written.
    pub fn number(&self, did: Dialled) -> Option<NumberText> {
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
        let is_removed = there.is_none() && overlay.get(did).is_some();
        if !(is_removed && matches!(wish, Wish::ToFiles)) {
            allowed(wish, condition, there.as_ref())?;
        }
        let (name, folder) = (config::over_http(did), routing_of(&self.files.folder));
        let wrong = |errors| NotChanged::Wrong(findings(errors));
        let read = |text: &str| {
            let (number, mut errors) = config::read_body(&name, text, did, &folder);
            // What can be read of it is judged whatever else is wrong: whoever wrote it reads all of it at once, with its
            // place in what they sent.
            let change = number.clone().map(|number| (did, Some(number.over_http())));
            let ours = ours(&table, &config, &overlay);
            errors.extend(config::judge_itself(&config, change.as_slice(), &ours).errors);
            errors.sort();
            number.filter(|_| errors.is_empty()).ok_or(errors)
        };
        let sent = match wish {
            Wish::Put(body) => Some(read(body).map_err(wrong)?),
            Wish::Patch(body) => {
                // Which of two is meant nobody knows.
                let (_, slips) = config::read_body(&name, body, did, &folder);
                let twice: Vec<_> =
                    slips.into_iter().filter(|slip| slip.message.ends_with("is written twice")).collect();
                if !twice.is_empty() {
                    return Err(wrong(twice));
                }
                let text = patched(there.as_ref(), body, &name).map_err(|finding| wrong(vec![finding]))?;
                // What is wrong is told where it stands in what was sent, as far as it is wrong there.
                Some(read(&text).map_err(|errors| wrong(read(body).err().unwrap_or(errors)))?)
            }
            Wish::Delete | Wish::ToFiles => None,
        };
        let (to, voices) = match sent {
            Some(number) => {
                let said = voices_of(&config, &self.files.folder, std::iter::once(&number.keys));
                let voices = said.map_err(|mut errors| {
                    errors.iter_mut().for_each(|error| error.file.clone_from(&name));
                    wrong(errors)
                })?;
                let text = number.to_json();
                // Places are those of what is stored.
                let stored = read(&text).map_err(wrong)?.over_http();
                (To::Set(stored.into(), text), voices)
            }
            None if matches!(wish, Wish::ToFiles) => (To::Files, Voices::default()),
            None => (To::Removed, Voices::default()),
        };
        let pinned = there.map(|there| there.etag);
        Ok(Order { did, to, pinned, by: by.into(), voices })
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
fn allowed(wish: &Wish, condition: &Condition, there: Option<&NumberText>) -> Result<(), NotChanged> {
    match (wish, there) {
        (Wish::Patch(_) | Wish::Delete | Wish::ToFiles, None) => Err(NotChanged::Unknown),
        (Wish::Put(_), None) => match condition.if_match {
            Some(_) => Err(NotChanged::Stale(None)),
            None => Ok(()),
        },
        (_, Some(there)) => {
            if condition.if_none_match.as_ref().is_some_and(|versions| versions.hold(&there.etag)) {
                return Err(NotChanged::Exists(there.etag.clone()));
            }
            match &condition.if_match {
                None => Err(NotChanged::Unconditional(there.etag.clone())),
                Some(versions) if versions.hold(&there.etag) => Ok(()),
                Some(Versions::Any | Versions::These(_)) => Err(NotChanged::Stale(Some(there.etag.clone()))),
            }
        }
    }
}

/// What a merge patch makes of a number (RFC 7396). `name`: what findings call the patch.
fn patched(there: Option<&NumberText>, patch: &str, name: &str) -> Result<String, config::Finding> {
    let mut whole: Value = there.and_then(|there| serde_json::from_str(&there.json).ok()).unwrap_or_default();
    let patch: Value = serde_json::from_str(patch).map_err(|error| {
        let said = error.to_string();
        config::Finding {
            file: name.to_owned(),
            line: u32::try_from(error.line()).unwrap_or(u32::MAX).max(1),
            column: u32::try_from(error.column()).unwrap_or(u32::MAX).max(1),
            message: format!("JSON: {}", said.split(" at line ").next().unwrap_or_default()),
            remedy: "send an object like {\"timeout\": 15}".to_owned(),
        }
    })?;
    merge(&mut whole, patch, 0);
    Ok(serde_json::to_string_pretty(&whole).unwrap_or_default())
}

/// RFC 7396 §2. Deeper than any key lies, what is sent stands in place of what was there.
fn merge(whole: &mut Value, patch: Value, depth: usize) {
    const DEEPEST: usize = 16;
    let patch = match patch {
        Value::Object(patch) if depth < DEEPEST => patch,
        Value::Object(_)
        | Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::String(_)
        | Value::Array(_) => {
            *whole = patch;
            return;
        }
    };
    if !whole.is_object() {
        *whole = Value::Object(serde_json::Map::new());
    }
    let Some(whole) = whole.as_object_mut() else { return };
    for (key, value) in patch {
        if value.is_null() {
            whole.remove(&key);
        } else {
            merge(whole.entry(key).or_insert(Value::Null), value, depth + 1);
        }
    }
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
        if there.map(|there| there.etag) != pinned {
            return Err(Undone::Moved);
        }
        let before = state.overlay.get(did).cloned();
        let in_files = self.table.in_files(did);
        let generation = self.table.generation + 1;
        let (at, says) = (now(), to.says());
        // What is taken back was there all along.
        let created = pinned.is_none() && matches!(to, To::Set(..));
        let entry = |set| Some(Arc::new(Entry { set, at, by: by.clone(), generation }));
        let (after, body) = match to {
            To::Set(number, text) => (entry(Set::To(number)), Some(text)),
            To::Removed if in_files.is_some() => (entry(Set::Removed), None),
            To::Removed => (None, None),
            To::Files if before.is_none() => return Err(Undone::Not(NotChanged::NotSet)),
            To::Files => (None, None),
        };
        if after.is_some() && before.is_none() && state.overlay.len() >= Overlay::MOST {
            return Err(Undone::Not(NotChanged::Full(Overlay::MOST)));
        }
        let is_stored = after.is_some();
        Arc::make_mut(&mut state.overlay).put(did, after);
        let (table, warnings) = match self.changed(state, did, generation, &voices) {
            Ok(changed) => changed,
            Err(errors) => {
                Arc::make_mut(&mut state.overlay).put(did, before);
                return Err(Undone::Not(NotChanged::Wrong(findings(errors))));
            }
        };
        let was = before_of(before.as_deref());
        self.generations.push(StoredGeneration {
            changes: vec![(did.to_string(), was)],
            ..line(&table, &by, &format!("{did} {says}"))
        });
        let stored = is_stored.then(|| StoredNumber { body, at, by: by.to_string(), generation });
        self.stored.push((did.to_string(), stored));
        self.undo.push((did, before));
        self.table = Arc::new(table);
        let text = number_in(state, &self.table, did, &self.routing);
        Ok(Changed { created, text, generation, warnings: findings(warnings) })
    }

    /// The table with a number as it is now to be, if that may be, and what wants a look.
    fn changed(
        &self,
        state: &mut State,
        did: Dialled,
        generation: u64,
        voices: &Voices,
    ) -> Result<(Table, Vec<config::Finding>), Vec<config::Finding>> {
        let set = number_of(did, &self.table, &state.config, &state.overlay);
        let is_there = self.table.written(did).is_some();
        let voices = self.voices(state, voices);
        let change = (did, set.as_ref().map(|(number, written)| (&number.keys, *written)));
        let table = self.table.changed(generation, &state.config, &[change], voices);
        let change = (did, set.map(|(number, _)| number));
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
fn number_in(state: &State, table: &Table, did: Dialled, routing: &Path) -> Option<NumberText> {
    if let Some(entry) = state.overlay.get(did) {
        return match &entry.set {
            Set::To(number) => Some(told(number, Some(entry))),
            Set::Removed => None,
            Set::Aside { json, .. } => Some(told(&aside(did, json.as_deref()), Some(entry))),
        };
    }
    let Number { did, keys } = state.config.numbers.get(table.in_files(did)?)?.written();
    Some(told(&Number { did, keys: keys.written_in(routing) }, None))
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
