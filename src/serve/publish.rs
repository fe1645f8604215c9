//! Which configuration is served: the first, and each that a reload puts in its place, all or nothing.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;

use super::affected::affected;
use super::generations::{Earlier, Files, NOT_KEPT, Sought};
use super::reading::{Env, findings, routing_of, says_how_far};
use super::retired::Retired;
use super::tls;
use super::voices::{changed_sounds, voices};
use super::written::{aside, before_of, number_of, ours, reversed, set_of, stored_of, tried_again};
use crate::admin::operations::{ChangeLine, Finding, GenerationLine, NotPublished, Published};
use crate::call::story::LiveCall;
use crate::config::{self, Change, Config, Dialled, Entry, Judged, Leads, Loaded, Overlay, Reading, Set};
use crate::routing::Table;
use crate::sip::peer::NameId;
use crate::store::DatabaseError;
use crate::store::ledger::{Ledger, StoredGeneration, StoredNumber};
use crate::time::Wall;
use crate::transport::tls::{Sides, Tls};

/// What is served now.
pub(super) struct Publisher {
    pub(super) files: Files,
    env: Env,
    state: Mutex<State>,
    table: Arc<ArcSwap<Table>>,
    tls: Option<Arc<Tls>>,
    retired: Retired,
}

/// What the table is made of, and where that is written down. Whoever publishes holds it.
pub(super) struct State {
    pub config: Arc<Config>,
    pub overlay: Arc<Overlay>,
    pub ledger: Ledger,
    /// While a candidate is under way: the numbers that were set since it began.
    since: Option<BTreeSet<Dialled>>,
    /// How much was said by numbers that were set since when it was last counted.
    pub said: usize,
    /// To which numbers others lead.
    pub leads: Leads,
}

/// What is to be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// The files as they are.
    Files,
    /// An earlier generation: that one, or the one before.
    Earlier(Option<u64>),
}

/// A configuration that checked, and what it would change.
pub(super) struct Candidate {
    config: Arc<Config>,
    /// As it will be served, but for its generation and for numbers that are set meanwhile.
    table: Table,
    certificates: Certificates,
    outcome: Published,
    began: Instant,
    /// The generation that it is, if it is an earlier one.
    of: Option<u64>,
    /// What is set over HTTP, and the numbers of which that is not so now.
    overlay: Arc<Overlay>,
    restored: BTreeSet<Dialled>,
    leads: Leads,
    /// What is written down of its files, and of those in whose place they are served.
    files: Option<String>,
    instead: Option<String>,
}

impl Candidate {
    /// The table as it will be served.
    pub fn table(&self) -> &Table {
        &self.table
    }
}

/// What handshakes take once a candidate is published.
enum Certificates {
    Same(Option<Sides>),
    New(Option<Sides>),
}

/// What is served when a node starts.
pub(super) struct First {
    pub files: Files,
    pub env: Env,
    pub config: Config,
    pub ledger: Ledger,
    /// What its listeners show.
    pub sides: Option<Sides>,
}

/// Why nothing can be served.
pub(super) enum NotServed {
    Database(DatabaseError),
    Unsaid(Vec<config::Finding>),
}

impl Publisher {
    /// Publishes the first configuration of this process, and what was set over HTTP. `last`: a generation that was published
    /// before, if the ledger knows none.
    pub fn first(first: First, last: u64) -> Result<Publisher, NotServed> {
        let First { files, env, mut config, mut ledger, sides } = first;
        let seen = files.look();
        let (manifest, instead) = match files.rolled_back(&ledger, &env).map_err(NotServed::Database)? {
            Some((loaded, manifest, instead)) => {
                // What stands in strowger.toml is as it is when the node starts.
                let node = std::mem::replace(&mut config, loaded.config).node;
                config.node = node;
                (manifest, Some(instead))
            }
            None => (files.keep(&seen), None),
        };
        let folder = &files.folder;
        let (overlay, table) = overlay(&config, folder, ledger.numbers().map_err(NotServed::Database)?);
        let voices = voices(&config, &overlay, folder).map_err(NotServed::Unsaid)?;
        let generation = ledger.last().map_err(NotServed::Database)?.max(last) + 1;
        let table = table.with_generation(generation).with_voices(voices);
        let line = line(&table, "strowger serve", "the node started");
        let line = StoredGeneration { files: Some(manifest), instead, ..line };
        ledger.write(&[line], &[]).map_err(NotServed::Database)?;
        files.clear(&ledger).map_err(NotServed::Database)?;
        let current = Arc::new(ArcSwap::from_pointee(table));
        let names = Arc::clone(&current);
        let name = move |id: NameId| names.load().host_name(id).cloned();
        let leads = Leads::of(&config, &overlay);
        let (config, overlay) = (config.into(), overlay.into());
        let state = State { config, overlay, ledger, since: None, said: 0, leads };
        told(&current.load());
        Ok(Publisher {
            files,
            env,
            state: Mutex::new(state),
            table: current,
            tls: sides.map(|sides| Arc::new(Tls::new(sides, Box::new(name)))),
            retired: Retired::default(),
        })
    }

    /// What a variable of the environment holds.
    pub fn environment(&self, name: &str) -> Option<String> {
        (self.env)(name)
    }

    pub fn table(&self) -> Arc<Table> {
        self.table.load_full()
    }

    /// The table as it will be whenever it is looked at.
    pub fn current(&self) -> Arc<ArcSwap<Table>> {
        Arc::clone(&self.table)
    }

    /// What the listeners of TLS show; every publication exchanges it.
    pub fn tls(&self) -> Option<Arc<Tls>> {
        self.tls.clone()
    }

    pub fn config(&self) -> Arc<Config> {
        Arc::clone(&self.state().config)
    }

    /// The table, and what it was made of.
    pub fn served(&self) -> (Arc<Table>, Arc<Config>, Arc<Overlay>) {
        let state = self.state();
        (self.table(), Arc::clone(&state.config), Arc::clone(&state.overlay))
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first `most` generations before that one, the latest first. Blocks on the disk.
    pub fn generations(
        &self,
        before: Option<u64>,
        most: usize,
    ) -> Result<Vec<GenerationLine>, DatabaseError> {
        let stored = self.state().ledger.generations(before, most)?;
        let line = |StoredGeneration { generation, at, by, what, numbers, .. }| GenerationLine {
            generation,
            published: at,
            by,
            what,
            numbers,
        };
        Ok(stored.into_iter().map(line).collect())
    }

    /// Serves a table from now on. The shards are told by the caller.
    pub(super) fn serve(&self, table: Arc<Table>) -> Arc<Table> {
        self.retired.take(self.table.swap(Arc::clone(&table)), &table);
        told(&table);
        table
    }

    /// Reads what is wanted, checks it and builds its table, behind all that cannot wait. Blocks on the disk. One candidate
    /// is under way at once.
    pub fn candidate(&self, wanted: Wanted) -> Result<Candidate, NotPublished> {
        let candidate = behind_all_others(|| self.read(wanted));
        if candidate.is_err() {
            self.state().since = None;
        }
        candidate
    }

    /// What was set so far; what is set from now on is remembered.
    fn begin(&self) -> (Arc<Config>, Arc<Overlay>) {
        let mut state = self.state();
        state.since = Some(BTreeSet::new());
        (Arc::clone(&state.config), Arc::clone(&state.overlay))
    }

    fn read(&self, wanted: Wanted) -> Result<Candidate, NotPublished> {
        let began = Instant::now();
        let (old, set) = self.begin();
        let served = self.table();
        let (of, earlier) = match wanted {
            Wanted::Files => (None, self.read_files(&old, &set)?),
            Wanted::Earlier(wanted) => {
                let sought = Sought::of(&self.state().ledger, served.generation, wanted)?;
                (Some(sought.generation), self.files.earlier(sought, (&old, &set), &self.env)?)
            }
        };
        let Earlier { config, overlay, restored, files, instead } = earlier;
        let (new, mut outcome, certificates) = match config {
            Some(loaded) => self.compare(&old, loaded, &overlay)?,
            None => (Arc::clone(&old), Published::default(), Certificates::Same(None)),
        };
        let build = |overlay: &Overlay| Table::with_overlay(&new, overlay, served.generation, Some(&served));
        let settled = settled(&new, overlay, restored, &self.files.folder, build);
        let Settled { overlay, restored, table, warnings } =
            settled.map_err(|errors| NotPublished::Wrong(findings(errors)))?;
        for did in &restored {
            let was = number_of(*did, &served, &old, &set).map(|(number, _)| number);
            let is = number_of(*did, &table, &new, &overlay).map(|(number, _)| number);
            let change = match (was, is) {
                (None, Some(_)) => "added",
                (Some(_), None) => "removed",
                (Some(was), Some(is)) if was != is => "changed",
                (Some(_), Some(_)) | (None, None) => continue,
            };
            match change {
                "added" => outcome.added += 1,
                "removed" => outcome.removed += 1,
                _ => outcome.changed += 1,
            }
            if outcome.changes.len() < config::MAX_NAMED {
                outcome.changes.push(changed("number", did.to_string(), change));
            }
        }
        outcome.warnings.extend(findings(warnings));
        if files.as_deref() == Some(NOT_KEPT) {
            outcome.warnings.push(not_kept(&self.files.folder));
        }
        outcome.generation = served.generation;
        let said = voices(&new, &overlay, &self.files.folder);
        let said = said.map_err(|errors| NotPublished::Wrong(findings(errors)))?;
        for name in changed_sounds(&served, &said) {
            outcome.changed += 1;
            if outcome.changes.len() < config::MAX_NAMED {
                outcome.changes.push(changed("sound", name, "changed"));
            }
        }
        let (table, leads) = (table.with_voices(said), Leads::of(&new, &overlay));
        Ok(Candidate {
            config: new,
            table,
            certificates,
            outcome,
            began,
            of,
            overlay,
            restored,
            leads,
            files,
            instead,
        })
    }

    /// The files as they are, and what is set over HTTP.
    fn read_files(&self, served: &Config, overlay: &Overlay) -> Result<Earlier, NotPublished> {
        let seen = self.files.look();
        let env = Arc::clone(&self.env);
        let loaded = Reading::of(&self.files.folder, &*env).after(served).load(&mut says_how_far());
        let loaded = loaded.map_err(|errors| NotPublished::Wrong(findings(errors)))?;
        tracing::info!(read = loaded.read, taken = loaded.taken, "tables were read, or taken as they were");
        let files = Some(self.files.keep(&seen));
        let (overlay, restored) = (overlay.clone(), BTreeSet::new());
        Ok(Earlier { config: Some(loaded), overlay, restored, files, instead: None })
    }

    /// What a configuration changes, and what of it waits for a restart.
    fn compare(
        &self,
        old: &Config,
        loaded: Loaded,
        overlay: &Overlay,
    ) -> Result<(Arc<Config>, Published, Certificates), NotPublished> {
        let Loaded { config: mut new, warnings, .. } = loaded;
        let diff = config::diff(old, &new, overlay);
        // What stands in strowger.toml waits for a restart, so what is built from it stays as it was; but the files
        // of certificates are read anew.
        let read = std::mem::replace(&mut new.node, old.node.clone());
        let renewed = tls::renew(&mut new.node, &read);
        let sides = tls::sides(&new.node).map_err(|error| {
            let file = self.files.folder.join("strowger.toml").display().to_string();
            let message = format!("the certificates cannot be used: {error}");
            NotPublished::Wrong(vec![Finding { file, line: 1, column: 1, message, remedy: String::new() }])
        })?;
        let certificates = if renewed { Certificates::New(sides) } else { Certificates::Same(sides) };
        let counts = diff.total();
        let outcome = Published {
            added: counts.added as u64,
            changed: counts.changed as u64,
            removed: counts.removed as u64,
            unchanged: counts.unchanged as u64,
            warnings: findings(warnings.into_iter().chain(diff.warnings).collect()),
            restart_needed: diff.restart,
            changes: diff.named.into_iter().map(|one| changed(one.kind, one.name, one.change)).collect(),
            ..Published::default()
        };
        Ok((Arc::new(new), outcome, certificates))
    }

    /// Says what a candidate would do to the calls in progress, and nothing more.
    pub fn judge(&self, candidate: Candidate, calls: &[LiveCall]) -> Published {
        self.state().since = None;
        done(candidate.outcome, candidate.began, affected(calls, &self.table(), &candidate.table))
    }

    /// Publishes a candidate. The shards are told by the caller. Blocks on the disk: the generation is safe
    /// there before anything is planned with it.
    pub fn publish(
        &self,
        candidate: Candidate,
        calls: &[LiveCall],
        by: &str,
    ) -> Result<(Published, Arc<Table>), NotPublished> {
        let Candidate { config, table, certificates, outcome, began, of, overlay, .. } = candidate;
        let Candidate { restored, leads, files, instead, .. } = candidate;
        let mut state = self.state();
        let since = state.since.take().unwrap_or_default();
        let old = self.table();
        let (generation, at) = (old.generation + 1, now());
        // What was set meanwhile stays as it was set.
        let restored: Vec<Dialled> = restored.difference(&since).copied().collect();
        let before: Vec<_> = restored.iter().map(|did| (*did, state.overlay.get(*did).cloned())).collect();
        let set = Arc::make_mut(&mut state.overlay);
        for did in &restored {
            let entry = overlay.get(*did).map(|entry| Entry {
                set: entry.set.clone(),
                at,
                by: by.into(),
                generation,
            });
            set.put(*did, entry.map(Arc::new));
        }
        let published = self.write(&mut state, &since, (table, &config), |table| {
            let what = said(&outcome, of);
            let changes = before.iter().map(|(did, entry)| (did.to_string(), before_of(entry.as_deref())));
            StoredGeneration { changes: changes.collect(), files, instead, ..line(table, by, &what) }
        });
        let table = match published {
            Ok(table) => table,
            Err(why) => {
                let set = Arc::make_mut(&mut state.overlay);
                before.into_iter().for_each(|(did, entry)| set.put(did, entry));
                return Err(why);
            }
        };
        state.config = config;
        state.leads = leads;
        let State { overlay, leads, .. } = &mut *state;
        since.iter().filter_map(|did| overlay.number(*did)).for_each(|number| leads.add(&number.keys));
        let table = self.serve(table.into());
        if let Err(error) = self.files.clear(&state.ledger) {
            tracing::warn!(%error, "files of old generations are not removed");
        }
        drop(state);
        let sides = match certificates {
            Certificates::Same(sides) => sides,
            Certificates::New(sides) => {
                tracing::info!("connections by TLS that begin from now on see new certificates");
                sides
            }
        };
        // The system's roots may be others, whoever else is the same.
        if let (Some(tls), Some(sides)) = (&self.tls, sides) {
            tls.replace(sides);
        }
        let mut outcome = done(outcome, began, affected(calls, &old, &table));
        outcome.generation = generation;
        Ok((outcome, table))
    }

    /// Judges what was set while a candidate was under way, and writes down that it is served.
    fn write(
        &self,
        state: &mut State,
        since: &BTreeSet<Dialled>,
        (table, config): (Table, &Config),
        line: impl FnOnce(&Table) -> StoredGeneration,
    ) -> Result<Table, NotPublished> {
        let generation = self.table().generation + 1;
        let (table, changes) = self.with(since, table, generation, (config, &state.overlay));
        if !changes.is_empty() {
            // They were judged by the files before.
            let judged = {
                let ours = ours(&table, config, &state.overlay);
                config::judge(config, &state.overlay, &changes, None, &ours)
            };
            if !judged.errors.is_empty() {
                return Err(NotPublished::Wrong(findings(judged.errors)));
            }
        }
        let line = line(&table);
        let numbers: Vec<_> = line
            .changes
            .iter()
            .filter_map(|(written, _)| {
                let did: Dialled = written.parse().ok()?;
                Some((written.clone(), state.overlay.get(did).map(|entry| stored_of(entry))))
            })
            .collect();
        state.ledger.write(&[line], &numbers).map_err(|error| {
            let help = "make room on the disk of data_dir";
            NotPublished::Unwritten(format!("the new generation cannot be written: {error}; {help}"))
        })?;
        Ok(table)
    }

    /// A table with what was set since it was begun, and that.
    fn with(
        &self,
        since: &BTreeSet<Dialled>,
        table: Table,
        generation: u64,
        (config, overlay): (&Config, &Overlay),
    ) -> (Table, Vec<Change>) {
        if since.is_empty() {
            return (table.with_generation(generation), Vec::new());
        }
        let numbers: Vec<_> =
            since.iter().map(|did| (*did, number_of(*did, &table, config, overlay))).collect();
        let set: Vec<_> = numbers
            .iter()
            .map(|(did, set)| (*did, set.as_ref().map(|(number, written)| (&number.keys, *written))))
            .collect();
        let voices = Arc::clone(self.table().more_voices());
        let table = table.changed(generation, config, &set, voices);
        (table, numbers.into_iter().map(|(did, set)| (did, set.map(|(number, _)| number))).collect())
    }

    /// Builds the table anew of what is served, so that numbers that were set one by one are found as fast as all others.
    /// It stays the same generation. None: it cannot be. No candidate is under way meanwhile.
    pub fn fold(&self) -> Option<Arc<Table>> {
        let (config, overlay) = self.begin();
        let served = self.table();
        let built = behind_all_others(|| {
            let voices = voices(&config, &overlay, &self.files.folder).ok()?;
            Some(Table::with_overlay(&config, &overlay, served.generation, Some(&served)).with_voices(voices))
        });
        let mut state = self.state();
        let since = state.since.take().unwrap_or_default();
        let generation = self.table().generation;
        let (table, _) = self.with(&since, built?, generation, (&config, &state.overlay));
        Some(self.serve(table.into()))
    }

    /// Notes that these numbers were set: a candidate that is under way has not seen it.
    pub(super) fn note(state: &mut State, dids: impl Iterator<Item = Dialled>) {
        if let Some(since) = &mut state.since {
            since.extend(dids);
        }
    }
}

/// What was set over HTTP before the node started, and the table with it. What does not check with the files as they are now is
/// set aside, and told: one of them must not keep all calls from being taken.
fn overlay(config: &Config, folder: &Path, stored: Vec<(String, StoredNumber)>) -> (Overlay, Table) {
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
        if !is_new {
            return (overlay, table);
        }
    }
}

/// What is set over HTTP, as it checks with files that are new.
struct Settled {
    overlay: Arc<Overlay>,
    /// The numbers that are set otherwise than they are served.
    restored: BTreeSet<Dialled>,
    table: Table,
    warnings: Vec<config::Finding>,
}

/// Tries again what was set aside; what of this, or of what is `restored`, does not check is set aside, and warned of.
///
/// # Errors
/// What is wrong with all that is served.
fn settled(
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
        if judged.errors.is_empty() {
            warnings.extend(judged.warnings);
            let overlay = Arc::new(overlay);
            return Ok(Settled { overlay, restored, table, warnings });
        }
        let mut is_new = false;
        for error in &judged.errors {
            let Some(did) = reversed(&error.file).filter(|did| movable.contains(did)) else { continue };
            is_new |= set_aside(&mut overlay, did, error);
            warnings.push(error.clone());
        }
        if !is_new {
            return Err(judged.errors);
        }
    }
}

/// False: it is none that is served.
fn set_aside(overlay: &mut Overlay, did: Dialled, why: &config::Finding) -> bool {
    let Some(entry) = overlay.get(did).filter(|entry| entry.is_served()).cloned() else { return false };
    let json = entry.number().map(config::Number::to_json);
    let set = aside(did, json.map(Into::into), Some(why));
    overlay.put(did, Some(Arc::new(Entry { set, ..Entry::clone(&entry) })));
    true
}

/// That a generation cannot be rolled back to.
fn not_kept(folder: &Path) -> Finding {
    let message = "the files of this generation are not kept: it cannot be rolled back to".to_owned();
    let remedy =
        "see that the disk of data_dir has room, and that no file changes while it is read".to_owned();
    Finding { file: folder.display().to_string(), line: 1, column: 1, message, remedy }
}

/// Judges all that was set over HTTP by files that are new.
fn judge_all(config: &Config, overlay: &Overlay, table: &Table) -> Judged {
    let served = overlay.iter().filter(|(_, entry)| entry.is_served());
    let all: Vec<_> = served.map(|(did, entry)| (did, entry.number().cloned())).collect();
    config::judge(config, overlay, &all, None, &ours(table, config, overlay))
}

fn changed(kind: &str, name: String, change: &str) -> ChangeLine {
    ChangeLine { kind: kind.to_owned(), name, change: change.to_owned() }
}

/// What a publication changed, in words.
fn said(outcome: &Published, of: Option<u64>) -> String {
    let Published { added, changed, removed, .. } = outcome;
    let counts = format!("{added} added, {changed} changed, {removed} removed");
    match of {
        Some(generation) => format!("back to generation {generation}: {counts}"),
        None => format!("the files: {counts}"),
    }
}

/// A publication as it is written down.
pub(super) fn line(table: &Table, by: &str, what: &str) -> StoredGeneration {
    StoredGeneration {
        generation: table.generation,
        at: now(),
        by: by.to_owned(),
        what: what.to_owned(),
        numbers: table.numbers() as u64,
        changes: Vec::new(),
        files: None,
        instead: None,
    }
}

/// The wall clock.
pub(super) fn now() -> Wall {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Wall(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

fn told(table: &Table) {
    metrics::gauge!("strowger_config_generation").set(table.generation as f64);
    metrics::gauge!("strowger_config_numbers").set(table.numbers() as f64);
}

/// Works on a thread of its own that calls, their audio and their records do not wait for.
pub(super) fn behind_all_others<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let work = || {
        step_back();
        work()
    };
    let done = std::thread::scope(|scope| scope.spawn(work).join());
    done.unwrap_or_else(|bug| std::panic::resume_unwind(bug))
}

/// From now on nothing that cannot wait waits for this thread.
pub(super) fn step_back() {
    use thread_priority::{NormalThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy};
    // Any other thread takes the processor from it at once: of the nicest of the others it would have to wait for the slice
    // that it is in, some milliseconds.
    let idle = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
    let me = thread_priority::thread_native_id();
    if let Err(error) = thread_priority::set_thread_priority_and_policy(me, ThreadPriority::Min, idle) {
        tracing::debug!(%error, "it takes its turn like all others");
    }
}

fn done(outcome: Published, began: Instant, affects_calls: Vec<String>) -> Published {
    let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    Published { took_ms, affects_calls, ..outcome }
}
