//! The generations that were served: what each was read from is kept, so that it can be served again.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use super::reading::{Env, Seen, findings, readers, routing_of, says_how_far};
use super::written::{before_of, entry_of};
use crate::admin::operations::{Finding, NotPublished};
use crate::config::{self, Config, Dialled, Loaded, Node, Overlay, Reading, Stamp};
use crate::store::DatabaseError;
use crate::store::kept::{Kept, KeptFiles, Manifest};
use crate::store::ledger::{Before, FILES, Past, Reach, Run, Source};

/// So many bytes of files are kept at most; those of the last two publications that differ in any case.
const BYTES: u64 = 4 << 30;
/// How often a generation is looked for that differs from what is served: numbers that are set to and fro hide it.
const TRIES: usize = 64;
/// Of what can be rolled back to so many stretches are told, the newest: who wants one of those before lists them.
const TOLD: usize = 20;

/// The files of a configuration, and the copies of those that were served.
pub(super) struct Files {
    pub folder: PathBuf,
    kept: KeptFiles,
    /// The SHA-256 of those that were copied, as long as they are as they were.
    known: Mutex<Known>,
}

type Known = HashMap<PathBuf, (Stamp, String)>;

/// The hash of a file that is still as it was.
fn known_hash(known: &Known, path: &Path, is: Option<Stamp>) -> Option<String> {
    let (was, hash) = known.get(path)?;
    (is == Some(*was)).then(|| hash.clone())
}

/// What an earlier generation was made of.
pub(super) struct Earlier {
    /// None: of the very files that are served.
    pub config: Option<Loaded>,
    pub overlay: Overlay,
    /// The numbers that were set over HTTP otherwise then.
    pub restored: BTreeSet<Dialled>,
    /// What is written down of its files, if they are others.
    pub source: Option<Source>,
}

/// What is known of an earlier generation.
pub(super) struct Sought {
    pub generation: u64,
    /// What is written down of its files, if they are not the very ones that are served.
    others: Option<Manifest>,
    /// What is written down of the files that are served.
    served: Option<Source>,
    /// The numbers that were set otherwise then, and what was set of each.
    changed: Vec<(Dialled, Before)>,
    /// Which generations can be had.
    had: Vec<Had>,
    /// What was passed over on the way to it, in words.
    passed: Option<String>,
}

/// Generations in a row that can be had.
struct Had {
    first: u64,
    last: u64,
    /// None: of the files that are served.
    files: Option<Arc<Manifest>>,
}

/// What was served when a node ended, if that was an earlier generation.
pub(super) struct RolledBack {
    /// With the strowger.toml by which the node starts.
    pub loaded: Loaded,
    pub generation: u64,
    /// What is written down of its files, and of those that lie there in their place.
    pub source: Source,
    /// Those that lie there were not rolled back from, but cannot be served.
    pub in_need: bool,
}

/// Where findings stand that were made in copies.
pub(super) struct Copies {
    generation: u64,
    /// The files, by their own names, that are others in the folder.
    others: BTreeSet<String>,
}

impl Copies {
    /// Says of what stands in no file of the folder where it stands.
    pub fn cite(&self, findings: Vec<Finding>) -> Vec<Finding> {
        let cite = |finding: Finding| match self.others.contains(&finding.file) {
            true => {
                let message = format!("as generation {} had it: {}", self.generation, finding.message);
                Finding { message, ..finding }
            }
            false => finding,
        };
        findings.into_iter().map(cite).collect()
    }
}

impl Sought {
    /// What is refused once it was read, with what else can be had.
    pub fn refused(&self, copies: &Copies, folder: &Path, errors: Vec<Finding>) -> NotPublished {
        let is_told = |name: &str| {
            let file = folder.join(name).display().to_string();
            errors.iter().any(|error| error.file == file)
        };
        let beside = self.beside(&is_told);
        let mut errors = copies.cite(errors);
        errors.push(Finding {
            message: format!("generation {} cannot be served any more as it was", self.generation),
            remedy: told(&beside),
            ..of_all(folder)
        });
        NotPublished::Wrong(errors)
    }

    /// Which others can be had, as far as they are of none of the files by whose names it cannot, nor of the very same files.
    fn beside(&self, is_wrong: &dyn Fn(&str) -> bool) -> Vec<(u64, u64)> {
        let others = self.others.iter().flat_map(|files| &files.0);
        let wrong: BTreeSet<&String> =
            others.filter(|(name, _)| is_wrong(name)).map(|(_, hash)| hash).collect();
        let is_right = |had: &&Had| match &had.files {
            Some(files) => {
                Some(&**files) != self.others.as_ref()
                    && !files.0.iter().any(|(_, hash)| wrong.contains(hash))
            }
            None => true,
        };
        without(&ranges(self.had.iter().filter(is_right)), self.generation)
    }

    /// What was passed over on the way to it.
    pub fn warning(&self, folder: &Path) -> Option<Finding> {
        let message = self.passed.clone()?;
        let remedy = "see `strowger generations`; --to names any other that has a yes".to_owned();
        Some(Finding { message, remedy, ..of_all(folder) })
    }
}

impl Files {
    pub fn of(folder: PathBuf, kept: KeptFiles) -> Files {
        Files { folder, kept, known: Mutex::default() }
    }

    /// Looks up that generation, or else the last before `served` that differs from it. `overlay`: what is set now.
    pub fn sought(
        &self,
        past: &Past,
        (served, overlay): (u64, &Overlay),
        wanted: Option<u64>,
    ) -> Result<Sought, NotPublished> {
        let reach = past.reach(served).map_err(failed)?;
        let had = self.whole(&reach, served, past).map_err(failed)?;
        let all = ranges(&had);
        let (generation, passed) = match wanted {
            Some(wanted) => (wanted, None),
            None => last_that_differs(past, (served, overlay), &all)?,
        };
        let reached = reach.iter().find(|reach| (reach.first..=reach.last).contains(&generation));
        let changed = match reached {
            Some(_) => changed_since(past, generation, overlay)?,
            None => Vec::new(),
        };
        if reached.is_some_and(|reached| reached.is_served) && changed.is_empty() {
            let same = "its files are those that are served, and what was set over HTTP is what is set";
            let nothing = "there is nothing to undo (what is set aside, or is served again, is no change)";
            let told = told(&without(&all, generation));
            return Err(NotPublished::Nothing(format!("generation {generation}: {same}: {nothing}; {told}")));
        }
        if !all.iter().any(|(first, last)| (*first..=*last).contains(&generation)) {
            let runs = past.runs(generation).map_err(failed)?;
            let is_kept = runs.last().is_none_or(|run| run.is_kept);
            let why = match (reached, is_kept) {
                (Some(_), _) => format!("the files of generation {generation} are no longer kept"),
                (None, false) if generation < served => {
                    format!("the files of generation {generation} were not kept")
                }
                (None, _) => format!("generation {generation} cannot be had"),
            };
            return Err(NotPublished::NoSuch(format!("{why}; {}", told(&all))));
        }
        let others = match reached.filter(|reached| !reached.is_served) {
            Some(Reach { run, .. }) => past.files(*run).map_err(failed)?.as_deref().and_then(Manifest::read),
            None => None,
        };
        let served = past.last_source().map_err(failed)?.map(|(_, source)| source);
        Ok(Sought { generation, others, served, changed, had, passed })
    }

    /// Which generations can be rolled back to, of those before the one that is served.
    pub fn can_be_had(&self, past: &Past, served: u64) -> Result<Vec<(u64, u64)>, DatabaseError> {
        let reach = past.reach(served)?;
        Ok(ranges(&self.whole(&reach, served, past)?))
    }

    /// Of that, what the files are kept of, and what is not what is served.
    fn whole(&self, reach: &[Reach], served: u64, past: &Past) -> Result<Vec<Had>, DatabaseError> {
        let changed = past.last_change(served)?.unwrap_or(0);
        // Of each run that is not of the files that are served: its files, if there are copies of all of them.
        let mut whole: HashMap<u64, Option<Arc<Manifest>>> = HashMap::new();
        let mut had = Vec::new();
        for Reach { run, is_served, first, last } in reach {
            // Nothing was set since: what is served is the same.
            let last = if *is_served { (*last).min(changed.saturating_sub(1)) } else { *last };
            if last < *first {
                continue;
            }
            let files = match whole.get(run) {
                _ if *is_served => None,
                Some(files) => files.clone(),
                None => {
                    let files = past.files(*run)?.as_deref().and_then(Manifest::read);
                    let files = files.filter(|files| self.kept.has(files)).map(Arc::new);
                    whole.insert(*run, files.clone());
                    files
                }
            };
            if *is_served || files.is_some() {
                had.push(Had { first: *first, last, files });
            }
        }
        Ok(had)
    }

    /// Copies what was read. What is written down of it; where it cannot be copied, that.
    pub fn keep(&self, seen: &Seen) -> Source {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let stamps: HashMap<&PathBuf, Stamp> =
            seen.files.iter().filter_map(|(path, stamp)| Some((path, (*stamp)?))).collect();
        let hash_of = |path: &Path| known_hash(&known, path, stamps.get(&path.to_owned()).copied());
        let paths: Vec<PathBuf> = seen.files.iter().map(|(path, _)| path.clone()).collect();
        let Kept { manifest, lacking } = match self.kept.keep(&self.folder, &paths, &hash_of) {
            Ok(kept) => kept,
            Err(error) => {
                tracing::warn!(%error, "the files of this generation are not kept: it cannot be rolled back to");
                return Source::unknown();
            }
        };
        if let Some(file) = seen.moved(&self.folder) {
            let file = file.display();
            tracing::warn!(
                %file,
                "a file changed while it was read: none of this generation are kept, and it cannot be rolled back to; reload"
            );
            return Source::unknown();
        }
        if let Some(error) = &lacking {
            tracing::warn!(%error, "the files of this generation are not kept: it cannot be rolled back to");
        }
        let now = SystemTime::now();
        known.clear();
        for ((path, stamp), (_, hash)) in seen.files.iter().zip(&manifest.0) {
            if let Some(stamp) = stamp.filter(|stamp| stamp.is_settled(now)) {
                known.insert(path.clone(), (stamp, hash.clone()));
            }
        }
        Source { files: Some(manifest.text()), is_kept: lacking.is_none(), instead: None, in_need: false }
    }

    /// Removes the copies that no remembered generation needs, beyond the bounds. Those of files that could not be kept are
    /// none that others have to make room for.
    pub fn clear(&self, past: &Past) -> Result<(), DatabaseError> {
        let (mut wanted, mut bytes, mut nth) = (BTreeSet::new(), 0, 0);
        let runs = past.runs(u64::MAX >> 1)?;
        let mut later: Option<&Run> = None;
        for run in runs.iter().rev().filter(|run| run.is_kept) {
            nth += usize::from(!later.is_some_and(|later| later.is_of_the_files_of(run)));
            later = Some(run);
            // One beyond: what was served just before the oldest was of those.
            if nth > FILES + 1 {
                break;
            }
            let Some(manifest) = past.files(run.begin)?.as_deref().and_then(Manifest::read) else {
                continue;
            };
            bytes += self.kept.size(&manifest, &wanted);
            if nth <= 2 || bytes <= BYTES {
                wanted.extend(manifest.0.into_iter().map(|(_, hash)| hash));
            }
        }
        self.kept.clear(&wanted);
        Ok(())
    }

    /// What that generation was made of. `config` and `overlay`: what is served.
    pub fn earlier(
        &self,
        sought: &Sought,
        (config, overlay): (&Config, &Overlay),
        env: &Env,
    ) -> Result<(Earlier, Copies), NotPublished> {
        let Sought { generation, others, served, changed, .. } = sought;
        let mut earlier =
            Earlier { config: None, overlay: overlay.clone(), restored: BTreeSet::new(), source: None };
        let mut copies = Copies { generation: *generation, others: BTreeSet::new() };
        if let Some(files) = others {
            let there = self.there();
            let is_there = |one| there.0.contains(one);
            let others = files.0.iter().filter(|one| !is_there(one));
            copies.others = others.map(|(name, _)| self.folder.join(name).display().to_string()).collect();
            let loaded = self.read(files, (&config.node, Some(config)), env).map_err(|why| match why {
                NotPublished::Wrong(errors) => sought.refused(&copies, &self.folder, errors),
                NotPublished::NoSuch(why) => {
                    // It may be found now that a copy is none.
                    let is_gone = |name: &str| !self.kept.has(&files.only(name));
                    let told = told(&sought.beside(&is_gone));
                    NotPublished::NoSuch(format!("generation {generation}: {why}; {told}"))
                }
                why @ (NotPublished::Busy
                | NotPublished::Ending
                | NotPublished::Unwritten(_)
                | NotPublished::Nothing(_)) => why,
            });
            earlier.config = Some(loaded?);
            let instead = Some(there).filter(|there| there != files).map(|there| there.text());
            let files = Some(files.text());
            earlier.source = Some(Source { files, is_kept: true, instead, in_need: false });
        }
        if others.is_none() {
            earlier.source = served.as_ref().and_then(|served| self.in_need(served));
        }
        for (did, before) in changed {
            let entry = entry_of(*did, before.clone(), &routing_of(&self.folder));
            earlier.overlay.put(*did, entry.map(Arc::new));
            earlier.restored.insert(*did);
        }
        Ok((earlier, copies))
    }

    /// What was served when the node ended, if that was an earlier generation and the files that it was served in place of
    /// still lie there; or if it was in place of others, and those that lie there cannot be served, which `is_in_need` tells.
    /// `node`: what strowger.toml says now, by which it must check.
    pub fn rolled_back(
        &self,
        past: &Past,
        node: &Node,
        env: &Env,
        is_in_need: impl FnOnce() -> bool,
    ) -> Result<Option<RolledBack>, DatabaseError> {
        let Some((generation, source)) = past.last_source()? else { return Ok(None) };
        let Some(manifest) = source.files.as_deref().and_then(Manifest::read) else { return Ok(None) };
        let from = source.instead.as_deref().and_then(Manifest::read).map(Manifest::of_routing);
        let is_from = from.is_some() && from == Some(self.there().of_routing());
        if from.is_some() && !is_from {
            tracing::info!("the files have changed since they were rolled back from");
        }
        let in_need = !is_from && source.in_need && is_in_need();
        if !is_from && !in_need {
            return Ok(None);
        }
        match self.read(&manifest, (node, None), env) {
            Ok(loaded) => Ok(Some(RolledBack { loaded, generation, source, in_need })),
            Err(why) => {
                let why = match why {
                    NotPublished::Wrong(errors) => {
                        errors.first().map(ToString::to_string).unwrap_or_default()
                    }
                    NotPublished::NoSuch(why) | NotPublished::Nothing(why) | NotPublished::Unwritten(why) => {
                        why
                    }
                    NotPublished::Busy | NotPublished::Ending => String::new(),
                };
                not_served(generation, &why);
                Ok(None)
            }
        }
    }

    /// What lies in the folder now. What is as it was when it was copied is not read again.
    fn there(&self) -> Manifest {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let hash_of = |path: &Path| known_hash(&known, path, Stamp::at(path));
        KeptFiles::hashes(&self.folder, &config::files(&self.folder).files, &hash_of)
    }

    /// The files that are served, to be served too as long as others that lie there now cannot be. None: there is no need to write
    /// that down.
    fn in_need(&self, served: &Source) -> Option<Source> {
        let files = Manifest::read(served.files.as_ref()?)?;
        let is_other = files.clone().of_routing() != self.there().of_routing();
        (is_other && self.kept.has(&files)).then(|| Source { in_need: true, ..served.clone() })
    }

    /// Its strowger.toml is not served again, so that what goes with the one that is in force is read and judged by that.
    fn read(
        &self,
        manifest: &Manifest,
        (in_force, served): (&Node, Option<&Config>),
        env: &Env,
    ) -> Result<Loaded, NotPublished> {
        let found = self.kept.find(manifest).map_err(|error| NotPublished::NoSuch(error.to_string()))?;
        let reading = Reading::of(&self.folder, &**env).elsewhere(found).under(in_force);
        let reading = match served {
            Some(served) => reading.after(served).threads(readers()),
            None => reading,
        };
        reading.load(&mut says_how_far()).map_err(|errors| NotPublished::Wrong(findings(errors)))
    }
}

/// That a start serves the files rather than what was rolled back to.
pub(super) fn not_served(generation: u64, why: &str) {
    tracing::error!(
        generation,
        why,
        "what was rolled back to with this generation cannot be served any more: the files are served as they are"
    );
}

pub(super) fn failed(error: DatabaseError) -> NotPublished {
    NotPublished::Unwritten(error.to_string())
}

/// The numbers that were set otherwise in that generation than they are set now, and what was set of each.
fn changed_since(
    past: &Past,
    generation: u64,
    overlay: &Overlay,
) -> Result<Vec<(Dialled, Before)>, NotPublished> {
    let changed = past.changed_since(generation).map_err(failed)?;
    let changed = changed.into_iter().filter_map(|(written, before)| {
        let did: Dialled = written.parse().ok()?;
        (before != before_of(overlay.get(did).map(|entry| &**entry))).then_some((did, before))
    });
    Ok(changed.collect())
}

/// The last generation before that one that is known to be another, and what was passed over on the way to it: a start changes
/// nothing, files that were not kept cannot be had, and of those that nobody knows nobody knows whether they differ.
fn last_that_differs(
    past: &Past,
    (served, overlay): (u64, &Overlay),
    had: &[(u64, u64)],
) -> Result<(u64, Option<String>), NotPublished> {
    let runs = past.runs(served).map_err(failed)?;
    let Some(now) = runs.last() else { return Err(nothing(had)) };
    let (mut end, mut tries, mut not_kept) = (served, 0, None);
    for run in runs.iter().rev() {
        let is_same = run.begin == now.begin || run.is_of_the_files_of(now);
        if !is_same && !now.is_known() {
            let why = format!(
                "the files that are served since generation {} changed while they were read: nobody knows what differs from them",
                now.begin
            );
            return Err(NotPublished::NoSuch(format!("{why}; {}; name one with --to", told(had))));
        }
        if !is_same && run.is_kept {
            return Ok((end, passed(end, served, not_kept)));
        }
        if !is_same {
            not_kept = not_kept.or(Some((run.begin, end)));
        }
        // Of the same files: what was set since.
        let mut up_to = end;
        while is_same && tries < TRIES {
            tries += 1;
            if up_to < served && !changed_since(past, up_to, overlay)?.is_empty() {
                return Ok((up_to, passed(up_to, served, not_kept)));
            }
            match past.last_change(up_to).map_err(failed)? {
                Some(change) if change > run.begin => up_to = change - 1,
                Some(_) | None => break,
            }
        }
        end = run.begin.saturating_sub(1);
    }
    Err(nothing(had))
}

/// What was passed over between a generation and the one that is served, in words.
fn passed(to: u64, served: u64, not_kept: Option<(u64, u64)>) -> Option<String> {
    let named = |first: u64, last: u64| match last - first {
        0 => format!("generation {first} is"),
        _ => format!("generations {first} to {last} are"),
    };
    if let Some((first, last)) = not_kept {
        return Some(format!("{} passed over: the files were not kept", named(first, last)));
    }
    // With the next one came what is taken back.
    let why = "there are the files that are served, and what is set over HTTP (what is set aside, or is served again, is no change)";
    (to + 1 < served).then(|| format!("{} passed over: {why}", named(to + 2, served)))
}

/// Those that follow each other, together.
fn ranges<'h>(had: impl IntoIterator<Item = &'h Had>) -> Vec<(u64, u64)> {
    let mut ranges: Vec<(u64, u64)> = Vec::new();
    for Had { first, last, .. } in had {
        match ranges.last_mut() {
            Some((_, end)) if *end + 1 == *first => *end = *last,
            Some(_) | None => ranges.push((*first, *last)),
        }
    }
    ranges
}

fn without(had: &[(u64, u64)], one: u64) -> Vec<(u64, u64)> {
    let cut = |(first, last): &(u64, u64)| match (*first..=*last).contains(&one) {
        true => [(*first, one.saturating_sub(1)), (one + 1, *last)],
        // Nothing of it a second time.
        false => [(*first, *last), (1, 0)],
    };
    had.iter().flat_map(cut).filter(|(first, last)| first <= last && *last > 0).collect()
}

/// What is found of a configuration as a whole.
fn of_all(folder: &Path) -> Finding {
    let file = folder.display().to_string();
    Finding { file, line: 1, column: 1, message: String::new(), remedy: String::new() }
}

/// Which generations can be rolled back to, in words.
fn told(had: &[(u64, u64)]) -> String {
    let range = |(first, last): &(u64, u64)| match last - first {
        0 => first.to_string(),
        _ => format!("{first} to {last}"),
    };
    let newest = had.len().saturating_sub(TOLD);
    let ranges: Vec<String> = had[newest..].iter().map(range).collect();
    match ranges.len() {
        0 => "there is none to roll back to; `strowger generations` lists what was served".to_owned(),
        _ => format!("what can be rolled back to is {} (`strowger generations`)", ranges.join(", ")),
    }
}

fn nothing(had: &[(u64, u64)]) -> NotPublished {
    let said = "nothing has changed that could be undone";
    NotPublished::Nothing(format!("{said}; {}", told(had)))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

    use super::*;
    use crate::store::kept::KeptError;
    use crate::store::ledger::{Ledger, StoredGeneration};
    use crate::time::Wall;
    use crate::volume::{Disk, Log, Space, Volume};

    /// A disk that is full, or is not.
    #[derive(Default)]
    struct Room(AtomicBool);

    impl Volume for Room {
        fn open(&self, path: &Path) -> std::io::Result<Box<dyn Log>> {
            Disk.open(path)
        }
        fn space(&self, _: &Path) -> std::io::Result<Space> {
            Ok(Space { free: if self.0.load(SeqCst) { 9 } else { 100_000 }, total: 100_000 })
        }
    }

    struct Published {
        room: Arc<Room>,
        ledger: Ledger,
        last: u64,
        folder: tempfile::TempDir,
    }

    impl Published {
        fn new() -> Published {
            let folder = tempfile::tempdir().unwrap();
            std::fs::create_dir(folder.path().join("routing")).unwrap();
            std::fs::write(folder.path().join("strowger.toml"), "").unwrap();
            let ledger = Ledger::open(folder.path()).unwrap();
            Published { room: Arc::default(), ledger, last: 0, folder }
        }

        /// As after a start: of no file is anything known yet.
        fn files(&self) -> Files {
            let volume = Arc::clone(&self.room) as Arc<dyn Volume>;
            Files::of(self.folder.path().to_owned(), KeptFiles::of(self.folder.path(), volume))
        }

        fn is_published_of(&mut self, source: Source) {
            self.last += 1;
            let line = StoredGeneration {
                generation: self.last,
                at: Wall(1),
                by: String::new(),
                what: String::new(),
                numbers: 0,
                changes: Vec::new(),
                source: Some(source),
            };
            self.ledger.write(&[line], &[]).unwrap();
            self.files().clear(self.ledger.past()).unwrap();
        }

        /// Whether the files are kept.
        fn publishes(&mut self, text: &str) -> bool {
            std::fs::write(self.folder.path().join("routing/a.csv"), text).unwrap();
            let source = self.files().keep(&Seen::of(self.folder.path()));
            let is_kept = source.is_kept;
            self.is_published_of(source);
            is_kept
        }

        fn had(&self) -> Vec<(u64, u64)> {
            self.files().can_be_had(self.ledger.past(), self.last).unwrap()
        }

        fn sought(&self) -> Result<(u64, Option<String>), String> {
            let sought = self.files().sought(self.ledger.past(), (self.last, &Overlay::default()), None);
            sought.map(|sought| (sought.generation, sought.passed)).map_err(|why| format!("{why:?}"))
        }
    }

    #[test]
    fn publications_whose_files_cannot_be_kept_cost_no_copy_and_are_passed_over() {
        let mut node = Published::new();
        ["a", "b", "c"].iter().for_each(|text| assert!(node.publishes(text)));
        // Started again and again on a full disk: what is kept already needs no room.
        node.room.0.store(true, SeqCst);
        (4..=40).for_each(|_| assert!(node.publishes("c")));
        assert_eq!(node.had(), [(1, 2)]);
        let (to, passed) = node.sought().unwrap();
        let said = "generations 4 to 40 are passed over: there are the files that are served";
        assert!(to == 2 && passed.unwrap().starts_with(said));
        // More than are remembered of those that differ.
        (41..=60).for_each(|n| assert!(!node.publishes(&n.to_string())));
        assert_eq!(node.had(), [(1, 40)]);
        let passed = Some("generations 41 to 59 are passed over: the files were not kept".to_owned());
        assert_eq!(node.sought(), Ok((40, passed)));
        // With room again the same files are kept.
        node.room.0.store(false, SeqCst);
        assert!(node.publishes("60") && node.publishes("d"));
        assert_eq!(node.had(), [(1, 40), (60, 61)]);
        assert_eq!(node.sought(), Ok((61, None)));
    }

    /// What one lacks (a sound, or a copy that is damaged) all of the same files lack.
    #[test]
    fn who_is_refused_one_generation_is_told_of_none_of_the_same_files() {
        let mut node = Published::new();
        ["a", "b", "a", "c"].iter().for_each(|text| assert!(node.publishes(text)));
        let sought = |to| {
            node.files().sought(node.ledger.past(), (node.last, &Overlay::default()), Some(to)).ok().unwrap()
        };
        let beside = |to| sought(to).beside(&|name| name == "routing/a.csv");
        assert_eq!((node.had(), beside(1), beside(2)), (vec![(1, 3)], vec![(2, 2)], vec![(1, 1), (3, 3)]));
        // And what is wrong with what all of them have is wrong with all.
        assert_eq!(sought(1).beside(&|name| name == "strowger.toml"), []);
        // One that is found to be damaged is told as kept no more, to nobody.
        let manifest = sought(3).others.unwrap();
        let copy = node.folder.path().join("generations").join(&manifest.0[1].1);
        std::fs::write(copy, "A").unwrap();
        assert!(matches!(node.files().kept.find(&manifest), Err(KeptError::Damaged(_))));
        assert_eq!(node.had(), [(2, 2)]);
    }

    #[test]
    fn where_nobody_knows_what_differs_a_rollback_says_what_can_be_had() {
        let mut node = Published::new();
        ["a", "b"].iter().for_each(|text| assert!(node.publishes(text)));
        node.is_published_of(Source::unknown());
        let refused = node.sought().unwrap_err();
        let says = |what: &str| refused.contains(what);
        assert!(says("since generation 3 changed") && says("is 1 to 2 (") && says("--to"), "{refused}");
        assert!(node.publishes("b"));
        let passed = Some("generation 3 is passed over: the files were not kept".to_owned());
        assert_eq!(node.sought(), Ok((1, passed)));
    }
}
