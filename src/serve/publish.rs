//! Which configuration is served: the first, and each that a reload puts in its place, all or nothing.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;

use super::affected::affected;
use super::generations::{Earlier, Files, RolledBack, failed, not_served};
use super::reading::{Env, RealTime, Seen, Steady, findings, mistakes, readers, says_how_far, steadily};
use super::retired::Retired;
use super::settled::{Settled, overlay, settled};
use super::tls;
use super::voices::{changed_sounds, voices};
use super::written::{before_of, number_of, ours, stored_of};
use crate::admin::operations::{ChangeLine, Finding, GenerationLine, NotPublished, Published};
use crate::call::story::LiveCall;
use crate::config::{self, Change, Config, Dialled, Entry, Keys, Leads, Loaded, Node, Overlay, Reading, Set};
use crate::routing::Table;
use crate::sip::peer::NameId;
use crate::store::DatabaseError;
use crate::store::ledger::{Ledger, Source, StoredGeneration};
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
    /// What is written down of its files, if they were read.
    source: Option<Source>,
    /// How the files were before they were read, as long as they are not kept.
    seen: Option<Seen>,
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
pub(super) struct First<'n> {
    pub files: Files,
    pub env: Env,
    /// What strowger.toml says.
    pub node: &'n Node,
    pub found: Found,
    /// The files before they were read.
    pub seen: Seen,
    pub ledger: Ledger,
    /// What its listeners show.
    pub sides: Option<Sides>,
}

/// What was read of the files, with what wants a look in it, or all their mistakes.
pub(super) type Found = Result<(Config, Vec<config::Finding>), Vec<config::Finding>>;

/// Why nothing can be served.
pub(super) enum NotServed {
    Database(DatabaseError),
    Wrong(Vec<config::Finding>),
}

impl Publisher {
    /// Publishes the first configuration of this process, and what was set over HTTP. `last`: a generation that was published
    /// before, if the ledger knows none.
    pub fn first(first: First<'_>, last: u64) -> Result<Publisher, NotServed> {
        let First { files, env, node, mut found, seen, mut ledger, sides } = first;
        let folder = &files.folder;
        let stored = ledger.past().numbers().map_err(NotServed::Database)?;
        let is_in_need = || {
            if let Ok((config, _)) = &found
                && let Err(unsaid) = voices(config, &Overlay::default(), folder)
            {
                found = Err(unsaid);
            }
            found.is_err()
        };
        let back = files.rolled_back(ledger.past(), node, &env, is_in_need);
        let mut back = back.map_err(NotServed::Database)?;
        if let Some(RolledBack { loaded, generation, .. }) = &back
            && let Err(unsaid) = voices(&loaded.config, &Overlay::default(), folder)
        {
            not_served(*generation, &unsaid.first().map(ToString::to_string).unwrap_or_default());
            back = None;
        }
        let (config, source) = match (back, found) {
            (Some(RolledBack { loaded, generation, source, in_need }), found) => {
                let why = match in_need {
                    true => {
                        "the files cannot be served: those that were served before are, until these are mended"
                    }
                    false => {
                        "the files are those that were rolled back from: what was rolled back to is served until they change"
                    }
                };
                tracing::warn!(generation, "{why}");
                for warning in &loaded.warnings {
                    tracing::warn!(generation, "of what was rolled back to: {warning}");
                }
                for error in found.err().into_iter().flatten() {
                    tracing::error!("of the files, which are not served: {error}");
                }
                (loaded.config, source)
            }
            (None, Ok((config, warnings))) => {
                for warning in &warnings {
                    tracing::warn!("{warning}");
                }
                (config, files.keep(&seen))
            }
            (None, Err(errors)) => return Err(NotServed::Wrong(errors)),
        };
        let (overlay, table) = overlay(&config, folder, stored).map_err(NotServed::Wrong)?;
        let generation = ledger.past().last().map_err(NotServed::Database)?.max(last) + 1;
        let table = table.with_generation(generation);
        let line = line(&table, "strowger serve", "the node started");
        let line = StoredGeneration { source: Some(source), ..line };
        ledger.write(&[line], &[]).map_err(NotServed::Database)?;
        files.clear(ledger.past()).map_err(NotServed::Database)?;
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
        // Whoever sets a number does not wait for who looks.
        let (past, served) = {
            let state = self.state();
            (state.ledger.past().as_it_is()?, self.table().generation)
        };
        let stored = past.generations(before, most)?;
        let had = self.files.can_be_had(&past, served)?;
        let is_had = |one: u64| had.iter().any(|(first, last)| (*first..=*last).contains(&one));
        let line = |StoredGeneration { generation, at, by, what, numbers, .. }| GenerationLine {
            generation,
            published: at,
            by,
            what,
            numbers,
            can_roll_back: is_had(generation),
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

    /// Copies what a candidate was read from, to be able to roll back to it.
    fn keep(&self, candidate: &mut Candidate) {
        let Some(seen) = candidate.seen.take() else { return };
        let source = behind_all_others(|| self.files.keep(&seen));
        if !source.is_kept {
            candidate.outcome.warnings.push(not_kept(&self.files.folder));
        }
        candidate.source = Some(source);
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
        let folder = &self.files.folder;
        let (sought, seen, (earlier, copies)) = match wanted {
            Wanted::Files => {
                let (seen, read) = self.read_files(&old, &set)?;
                (None, Some(seen), (read, None))
            }
            Wanted::Earlier(wanted) => {
                // Whoever sets a number does not wait for what is looked up behind all others.
                let past = self.state().ledger.past().as_it_is().map_err(failed)?;
                let sought = self.files.sought(&past, (served.generation, &set), wanted)?;
                let (earlier, copies) = self.files.earlier(&sought, (&old, &set), &self.env)?;
                (Some(sought), None, (earlier, Some(copies)))
            }
        };
        let Earlier { config, overlay, restored, source } = earlier;
        let mut outcome = Published { generation: served.generation, ..Published::default() };
        let mut new = config.map(|Loaded { config, warnings, .. }| {
            outcome.warnings = findings(warnings);
            config
        });
        // What stands in strowger.toml waits for a restart, so what is built from it stays as it was; but the files
        // of certificates are read anew.
        let mut read = new.as_mut().map(|new| std::mem::replace(&mut new.node, old.node.clone()));
        let certificates = match (&mut new, &read) {
            (Some(new), Some(read)) => self.certificates(new, read)?,
            (_, _) => Certificates::Same(None),
        };
        let is = new.as_ref().unwrap_or(&old);
        let build = |overlay: &Overlay| Table::with_overlay(is, overlay, served.generation, Some(&served));
        let settled = settled(is, overlay, restored, folder, build);
        let Settled { overlay, restored, table, warnings } =
            settled.map_err(|errors| match (&sought, &copies) {
                (Some(sought), Some(copies)) => sought.refused(copies, folder, findings(errors)),
                (_, _) => NotPublished::Wrong(findings(errors)),
            })?;
        outcome.warnings.extend(findings(warnings));
        let numbers = restored.iter().map(|did| {
            let was = number_of(*did, &served, &old, &set).map(|(number, _)| old.merged(&number.keys));
            let is = number_of(*did, &table, is, &overlay).map(|(number, _)| is.merged(&number.keys));
            (*did, is_other(was.as_ref(), is.as_ref()))
        });
        let numbers: Vec<_> = numbers.collect();
        compare(&old, (new.as_mut(), read.as_mut()), &overlay, &numbers, &mut outcome);
        for name in changed_sounds(&served, table.voices()) {
            outcome.changed += 1;
            if outcome.changes.len() < config::MAX_NAMED {
                outcome.changes.push(changed("sound", name, "changed"));
            }
        }
        if let Some(copies) = copies {
            outcome.warnings = copies.cite(std::mem::take(&mut outcome.warnings));
        }
        outcome.warnings.extend(sought.as_ref().and_then(|sought| sought.warning(folder)));
        let of = sought.map(|sought| sought.generation);
        let config = new.map_or(old, Arc::new);
        let leads = Leads::of(&config, &overlay);
        Ok(Candidate {
            config,
            table,
            certificates,
            outcome,
            began,
            of,
            overlay,
            restored,
            leads,
            source,
            seen,
        })
    }

    /// The files as they are, and what is set over HTTP.
    fn read_files(&self, served: &Config, overlay: &Overlay) -> Result<(Seen, Earlier), NotPublished> {
        let (folder, env) = (&self.files.folder, Arc::clone(&self.env));
        let read = || Reading::of(folder, &*env).after(served).threads(readers()).load(&mut says_how_far());
        let Steady { read, seen, moved } = steadily(folder, &RealTime, read);
        let wrong = |errors| NotPublished::Wrong(findings(mistakes(moved.as_deref(), errors, "reload")));
        let loaded = read.map_err(wrong)?;
        if moved.is_some() {
            return Err(wrong(Vec::new()));
        }
        tracing::info!(read = loaded.read, taken = loaded.taken, "tables were read, or taken as they were");
        let (overlay, restored) = (overlay.clone(), BTreeSet::new());
        Ok((seen, Earlier { config: Some(loaded), overlay, restored, source: None }))
    }

    /// What handshakes take with a configuration whose files name these. `read`: what its strowger.toml says.
    fn certificates(&self, new: &mut Config, read: &Node) -> Result<Certificates, NotPublished> {
        let renewed = tls::renew(&mut new.node, read);
        let sides = tls::sides(&new.node).map_err(|error| {
            let file = self.files.folder.join(config::NODE_FILE).display().to_string();
            let message = format!("the certificates cannot be used: {error}");
            NotPublished::Wrong(vec![Finding { file, line: 1, column: 1, message, remedy: String::new() }])
        })?;
        Ok(if renewed { Certificates::New(sides) } else { Certificates::Same(sides) })
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
        mut candidate: Candidate,
        calls: &[LiveCall],
        by: &str,
    ) -> Result<(Published, Arc<Table>), NotPublished> {
        self.keep(&mut candidate);
        let Candidate { config, table, certificates, outcome, began, of, overlay, .. } = candidate;
        let Candidate { restored, leads, source, .. } = candidate;
        let mut state = self.state();
        let since = state.since.take().unwrap_or_default();
        let old = self.table();
        let (generation, at) = (old.generation + 1, now());
        // What was set meanwhile stays as it was set.
        let restored: Vec<Dialled> = restored.difference(&since).copied().collect();
        let before: Vec<_> = restored.iter().map(|did| (*did, state.overlay.get(*did).cloned())).collect();
        let set = Arc::make_mut(&mut state.overlay);
        let mut changes = Vec::new();
        for (did, was) in &before {
            let (was, entry) = (was.as_deref(), overlay.get(*did).map(|entry| &**entry));
            // What is set aside, or is served again, is set to what it was, by whom it was.
            let is_same = before_of(was) == before_of(entry);
            let entry = entry.map(|entry| match was.filter(|_| is_same) {
                Some(was) => Entry { set: entry.set.clone(), ..was.clone() },
                None => Entry { set: entry.set.clone(), at, by: by.into(), generation },
            });
            set.put(*did, entry.map(Arc::new));
            if !is_same {
                changes.push((did.to_string(), before_of(was)));
            }
        }
        let published = self.write(&mut state, &since, (table, &config), |table| {
            let what = said(&outcome, of);
            StoredGeneration { changes, source, ..line(table, by, &what) }
        });
        let table = match published {
            Ok(table) => table,
            Err(why) => {
                let set = Arc::make_mut(&mut state.overlay);
                before.into_iter().for_each(|(did, entry)| set.put(did, entry));
                self.clear(&state);
                return Err(why);
            }
        };
        state.config = config;
        state.leads = leads;
        let State { overlay, leads, .. } = &mut *state;
        since.iter().filter_map(|did| overlay.number(*did)).for_each(|number| leads.add(&number.keys));
        let table = self.serve(table.into());
        self.clear(&state);
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

    /// Removes copies that nobody needs: of old generations, and of a candidate that came to nothing.
    fn clear(&self, state: &State) {
        if let Err(error) = self.files.clear(state.ledger.past()) {
            tracing::warn!(%error, "files of old generations are not removed");
        }
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

/// That a generation cannot be rolled back to.
fn not_kept(folder: &Path) -> Finding {
    let message = "the files of this generation are not kept: it cannot be rolled back to".to_owned();
    let remedy =
        "see that the disk of data_dir has room, and that no file changes while it is read".to_owned();
    Finding { file: folder.display().to_string(), line: 1, column: 1, message, remedy }
}

/// How many of what came, differs, went and stayed. `new`: the configuration with what its strowger.toml says, if it is another.
/// `numbers`: those that are set otherwise over HTTP, and what became of each.
fn compare(
    old: &Config,
    new: (Option<&mut Config>, Option<&mut Node>),
    overlay: &Overlay,
    numbers: &[(Dialled, Option<&'static str>)],
    outcome: &mut Published,
) {
    // These are counted by themselves, whatever files say of them.
    let mut others = overlay.clone();
    for (did, _) in numbers {
        let entry = Entry { set: Set::Removed, at: Wall(0), by: "".into(), generation: 0 };
        others.put(*did, Some(Arc::new(entry)));
    }
    let diff = match new {
        (Some(new), Some(read)) => {
            std::mem::swap(&mut new.node, read);
            let diff = config::diff(old, new, &others);
            std::mem::swap(&mut new.node, read);
            diff
        }
        (_, _) => config::diff(old, old, &others),
    };
    let counts = diff.total();
    outcome.added = counts.added as u64;
    outcome.changed = counts.changed as u64;
    outcome.removed = counts.removed as u64;
    outcome.unchanged = counts.unchanged as u64;
    outcome.restart_needed = diff.restart;
    outcome.warnings.extend(findings(diff.warnings));
    outcome.changes = diff.named.into_iter().map(|one| changed(one.kind, one.name, one.change)).collect();
    for (did, change) in numbers {
        let Some(change) = *change else { continue };
        match change {
            "added" => outcome.added += 1,
            "removed" => outcome.removed += 1,
            "changed" => outcome.changed += 1,
            _ => outcome.unchanged += 1,
        }
        if change != UNCHANGED && outcome.changes.len() < config::MAX_NAMED {
            outcome.changes.push(changed("number", did.to_string(), change));
        }
    }
}

/// A number that does what it did.
const UNCHANGED: &str = "unchanged";

/// What became of a number, as it is told; none: it is and was none.
fn is_other(was: Option<&Keys>, is: Option<&Keys>) -> Option<&'static str> {
    match (was, is) {
        (None, None) => None,
        (None, Some(_)) => Some("added"),
        (Some(_), None) => Some("removed"),
        (Some(was), Some(is)) => Some(if was == is { UNCHANGED } else { "changed" }),
    }
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
        source: None,
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
fn step_back() {
    use thread_priority::{NormalThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy};
    // Any other thread takes the processor from it at once: of the nicest of the others it would have to wait for the slice
    // that it is in, some milliseconds.
    let idle = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
    let me = thread_priority::thread_native_id();
    if let Err(error) = thread_priority::set_thread_priority_and_policy(me, ThreadPriority::Min, idle) {
        tracing::debug!(%error, "it takes its turn like all others");
    }
}

/// From now on this thread gives way to others, but not for ever: somebody waits for what it does, a moment's work.
pub(super) fn give_way() {
    /// As a nice value: about a tenth of the time of a processor that others want as well.
    const BEHIND: i32 = 10;
    if let Err(error) = rustix::process::setpriority_process(Some(rustix::thread::gettid()), BEHIND) {
        tracing::debug!(%error, "it takes its turn like all others");
    }
}

fn done(outcome: Published, began: Instant, affects_calls: Vec<String>) -> Published {
    let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    Published { took_ms, affects_calls, ..outcome }
}
