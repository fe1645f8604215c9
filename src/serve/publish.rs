//! Which configuration is served: the first, and each that a reload puts in its place, all or nothing.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;

use super::affected::affected;
use super::retired::Retired;
use super::tls;
use super::voices::voices;
use super::written::{number_of, ours, reversed};
use crate::admin::operations::{Finding, GenerationLine, NotPublished, Published};
use crate::call::story::LiveCall;
use crate::config::{self, Config, Dialled, Entry, Judged, Loaded, Overlay, Progress, Reading, Set};
use crate::routing::Table;
use crate::sip::peer::NameId;
use crate::store::DatabaseError;
use crate::store::ledger::{Ledger, StoredGeneration, StoredNumber};
use crate::time::Wall;
use crate::transport::tls::{Sides, Tls};

/// What a variable of the environment holds.
pub type Env = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// What is served now.
pub(super) struct Publisher {
    pub(super) folder: PathBuf,
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
}

/// A configuration that checked, and what it would change.
pub(super) struct Candidate {
    config: Arc<Config>,
    /// As it will be served, but for its generation and for numbers that are set meanwhile.
    table: Table,
    certificates: Certificates,
    outcome: Published,
    began: Instant,
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
    pub folder: PathBuf,
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
        let First { folder, env, config, mut ledger, sides } = first;
        let (overlay, table) = overlay(&config, &folder, ledger.numbers().map_err(NotServed::Database)?);
        let voices = voices(&config, &overlay, &folder).map_err(NotServed::Unsaid)?;
        let generation = ledger.last().map_err(NotServed::Database)?.max(last) + 1;
        let table = table.with_generation(generation).with_voices(voices);
        let line = line(&table, "strowger serve", "the node started");
        ledger.write(&[line], &[]).map_err(NotServed::Database)?;
        let current = Arc::new(ArcSwap::from_pointee(table));
        let names = Arc::clone(&current);
        let name = move |id: NameId| names.load().host_name(id).cloned();
        let state = State { config: config.into(), overlay: overlay.into(), ledger, since: None, said: 0 };
        told(&current.load());
        Ok(Publisher {
            folder,
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

    /// Reads the files anew, checks them and builds their table, behind all that cannot wait. Blocks on the disk. One candidate
    /// is under way at once.
    pub fn candidate(&self) -> Result<Candidate, NotPublished> {
        let candidate = behind_all_others(|| self.read());
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

    fn read(&self) -> Result<Candidate, NotPublished> {
        let began = Instant::now();
        let env = Arc::clone(&self.env);
        let (old, overlay) = self.begin();
        let loaded = Reading::of(&self.folder, &*env)
            .after(&old)
            .load(&mut says_how_far())
            .map_err(|errors| NotPublished::Wrong(findings(errors)))?;
        let Loaded { config: mut new, mut warnings, read, taken } = loaded;
        tracing::info!(read, taken, "tables were read, or taken as they were");
        let diff = config::diff(&old, &new);
        // What stands in strowger.toml waits for a restart, so what is built from it stays as it was; but the files
        // of certificates are read anew.
        let read = std::mem::replace(&mut new.node, old.node.clone());
        let renewed = tls::renew(&mut new.node, &read);
        let sides = tls::sides(&new.node).map_err(|error| {
            let file = self.folder.join("strowger.toml").display().to_string();
            let message = format!("the certificates cannot be used: {error}");
            NotPublished::Wrong(vec![Finding { file, line: 1, column: 1, message, remedy: String::new() }])
        })?;
        let certificates = if renewed { Certificates::New(sides) } else { Certificates::Same(sides) };
        let served = self.table();
        let table = Table::with_overlay(&new, &overlay, served.generation, Some(&served));
        let judged = judge_all(&new, &overlay, &table);
        if !judged.errors.is_empty() {
            return Err(NotPublished::Wrong(findings(judged.errors)));
        }
        warnings.extend(judged.warnings);
        let said = voices(&new, &overlay, &self.folder);
        let said = said.map_err(|errors| NotPublished::Wrong(findings(errors)))?;
        let counts = diff.total();
        let outcome = Published {
            generation: served.generation,
            added: counts.added as u64,
            changed: counts.changed as u64,
            removed: counts.removed as u64,
            unchanged: counts.unchanged as u64,
            warnings: findings(warnings),
            took_ms: 0,
            affects_calls: Vec::new(),
            restart_needed: diff.restart,
        };
        let table = table.with_voices(said);
        Ok(Candidate { config: Arc::new(new), table, certificates, outcome, began })
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
        let Candidate { config, table, certificates, outcome, began } = candidate;
        let mut state = self.state();
        let since = state.since.take().unwrap_or_default();
        let old = self.table();
        let generation = old.generation + 1;
        let table = if since.is_empty() {
            table.with_generation(generation)
        } else {
            let changes: Vec<_> =
                since.iter().map(|did| (*did, number_of(*did, &table, &config, &state.overlay))).collect();
            let set: Vec<_> = changes
                .iter()
                .map(|(did, set)| (*did, set.as_ref().map(|(number, written)| (&number.keys, *written))))
                .collect();
            let table = table.changed(generation, &config, &set, Arc::clone(old.more_voices()));
            // What was set while the candidate was under way was judged by the files before.
            let changes: Vec<_> =
                changes.into_iter().map(|(did, set)| (did, set.map(|(number, _)| number))).collect();
            let judged = {
                let ours = ours(&table, &config, &state.overlay);
                config::judge(&config, &state.overlay, &changes, true, &ours)
            };
            if !judged.errors.is_empty() {
                return Err(NotPublished::Wrong(findings(judged.errors)));
            }
            table
        };
        let Published { added, changed, removed, .. } = outcome;
        let what = format!("the files: {added} added, {changed} changed, {removed} removed");
        state.ledger.write(&[line(&table, by, &what)], &[]).map_err(|error| {
            NotPublished::Unwritten(format!(
                "the new generation cannot be written: {error}; make room on the disk"
            ))
        })?;
        state.config = config;
        let table = self.serve(table.into());
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
            Some(json) => match config::read_body(&config::over_http(did), &json, did, &routing_of(folder)) {
                (Some(number), errors) if errors.is_empty() => Set::To(number.over_http().into()),
                (_, errors) => aside(did, Some(json.into()), errors.first()),
            },
        };
        overlay.put(did, Some(Arc::new(Entry { set, at, by: by.into(), generation })));
    }
    loop {
        let table = Table::with_overlay(config, &overlay, 0, None);
        let mut is_new = false;
        for error in judge_all(config, &overlay, &table).errors {
            let Some(did) = reversed(&error.file) else { continue };
            let Some(entry) = overlay.get(did).filter(|entry| entry.is_served()).cloned() else { continue };
            let json = entry.number().map(config::Number::to_json);
            let set = aside(did, json.map(Into::into), Some(&error));
            overlay.put(did, Some(Arc::new(Entry { set, ..Entry::clone(&entry) })));
            is_new = true;
        }
        if !is_new {
            return (overlay, table);
        }
    }
}

/// Judges all that was set over HTTP by files that are new.
fn judge_all(config: &Config, overlay: &Overlay, table: &Table) -> Judged {
    let served = overlay.iter().filter(|(_, entry)| entry.is_served());
    let all: Vec<_> = served.map(|(did, entry)| (did, entry.number().cloned())).collect();
    config::judge(config, overlay, &all, true, &ours(table, config, overlay))
}

fn aside(did: Dialled, json: Option<Box<str>>, why: Option<&config::Finding>) -> Set {
    let why = why.map(ToString::to_string).unwrap_or_default();
    tracing::error!(%did, why, "what was set over HTTP does not check with the files any more: these hold for it");
    Set::Aside { json, why: why.into() }
}

/// What paths are relative to that are set over HTTP: the folder of the files that they could stand in.
pub(super) fn routing_of(folder: &Path) -> PathBuf {
    folder.join("routing")
}

/// A publication as it is written down.
pub(super) fn line(table: &Table, by: &str, what: &str) -> StoredGeneration {
    StoredGeneration {
        generation: table.generation,
        at: now(),
        by: by.to_owned(),
        what: what.to_owned(),
        numbers: table.numbers() as u64,
        change: None,
        files: None,
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

/// Says in the log how far the reading of large tables has come, now and then.
pub(super) fn says_how_far() -> impl FnMut(Progress) {
    const EVERY: Duration = Duration::from_secs(2);
    let mut next = Instant::now() + EVERY;
    move |Progress { numbers, all, read }| {
        if Instant::now() >= next {
            next = Instant::now() + EVERY;
            let percent = read * 100 / all.max(1);
            tracing::info!(numbers, percent, "the configuration is being read");
        }
    }
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
    /// As a nice value, of which 19 is the most.
    const BEHIND: i32 = 10;
    if let Err(error) = rustix::process::setpriority_process(Some(rustix::thread::gettid()), BEHIND) {
        tracing::debug!(%error, "it takes its turn like all others");
    }
}

fn done(outcome: Published, began: Instant, affects_calls: Vec<String>) -> Published {
    let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    Published { took_ms, affects_calls, ..outcome }
}

pub(super) fn findings(found: Vec<config::Finding>) -> Vec<Finding> {
    let convert = |config::Finding { file, line, column, message, remedy }| Finding {
        file,
        line,
        column,
        message,
        remedy,
    };
    found.into_iter().map(convert).collect()
}
