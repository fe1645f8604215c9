//! The generations that were served: what each was read from is kept, so that it can be served again.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use super::reading::{Env, Seen, findings, routing_of, says_how_far};
use super::written::{before_of, entry_of};
use crate::admin::operations::NotPublished;
use crate::config::{self, Config, Dialled, Loaded, Node, Overlay, Reading, Stamp};
use crate::store::DatabaseError;
use crate::store::kept::{KeptFiles, Manifest};
use crate::store::ledger::{Before, FILES, Ledger, NOT_KEPT, Reach, StoredGeneration};

/// So many bytes of files are kept at most; those of the last two publications that differ in any case.
const BYTES: u64 = 4 << 30;
/// Of what can be rolled back to so many stretches are told, the newest: who wants one of those before lists them.
const TOLD: usize = 20;

/// The files of a configuration, and the copies of those that were served.
pub(super) struct Files {
    pub folder: PathBuf,
    kept: KeptFiles,
    /// The SHA-256 of those that were copied, as long as they are as they were.
    known: Mutex<HashMap<PathBuf, (Stamp, String)>>,
}

/// What an earlier generation was made of.
pub(super) struct Earlier {
    /// None: of the very files that are served.
    pub config: Option<Loaded>,
    pub overlay: Overlay,
    /// The numbers that were set over HTTP otherwise then.
    pub restored: BTreeSet<Dialled>,
    /// What is written down of its files, and of those that lie there in their place.
    pub files: Option<String>,
    pub instead: Option<String>,
}

/// What is known of an earlier generation.
pub(super) struct Sought {
    pub generation: u64,
    /// What is written down of its files, if they are not the very ones that are served.
    others: Option<Option<String>>,
    /// The numbers that were changed since, and what was set of each before.
    changed: Vec<(String, Before)>,
}

/// What was served when a node ended, if that was an earlier generation.
pub(super) struct RolledBack {
    /// With the strowger.toml by which the node starts.
    pub loaded: Loaded,
    pub generation: u64,
    /// What is written down of its files, and of those that lie there in their place.
    pub files: String,
    pub instead: String,
}

impl Sought {
    /// The last generation before that one that was another: a start changes nothing. None: there is none.
    fn last_that_differs(ledger: &Ledger, served: u64) -> Result<Option<u64>, DatabaseError> {
        let files = ledger.files_since(served)?;
        let last = files.max(ledger.last_change()?.filter(|last| *last <= served));
        Ok(last.map(|last| last - 1))
    }
}

impl Files {
    pub fn of(folder: PathBuf, kept: KeptFiles) -> Files {
        Files { folder, kept, known: Mutex::default() }
    }

    /// Looks up that generation, or else the one before `served`.
    pub fn sought(&self, ledger: &Ledger, served: u64, wanted: Option<u64>) -> Result<Sought, NotPublished> {
        let failed = |error: DatabaseError| NotPublished::Unwritten(error.to_string());
        let generation = match wanted {
            Some(wanted) => wanted,
            None => Sought::last_that_differs(ledger, served).map_err(failed)?.ok_or_else(nothing)?,
        };
        let reach = ledger.reach(served).map_err(failed)?;
        let had = self.whole(&reach, served, ledger).map_err(failed)?;
        if !had.iter().any(|(first, last)| (*first..=*last).contains(&generation)) {
            let is_known = reach.iter().any(|reach| (reach.first..=reach.last).contains(&generation));
            let why = match is_known {
                true => format!("the files of generation {generation} are no longer kept"),
                false => format!("generation {generation} cannot be had"),
            };
            return Err(NotPublished::NoSuch(format!("{why}; {}", told(&had))));
        }
        let files = |generation| -> Result<Option<StoredGeneration>, NotPublished> {
            Ok(ledger.of_files(generation, 1).map_err(failed)?.into_iter().next())
        };
        let (then, now) = (files(generation)?, files(served)?);
        let others = match (then, now) {
            (Some(then), Some(now)) if then.generation == now.generation || then.is_of_the_files_of(&now) => {
                None
            }
            (then, _) => Some(then.and_then(|then| then.files)),
        };
        let changed = ledger.changed_since(generation).map_err(failed)?;
        Ok(Sought { generation, others, changed })
    }

    /// Which generations can be rolled back to, of those before the one that is served.
    pub fn can_be_had(&self, ledger: &Ledger, served: u64) -> Result<Vec<(u64, u64)>, DatabaseError> {
        let reach = ledger.reach(served)?;
        self.whole(&reach, served, ledger)
    }

    /// Of that, what the files are kept of.
    fn whole(&self, reach: &[Reach], served: u64, ledger: &Ledger) -> Result<Vec<(u64, u64)>, DatabaseError> {
        let now = ledger.of_files(served, 1)?.into_iter().next();
        let mut whole: HashMap<&str, bool> = HashMap::new();
        let mut had: Vec<(u64, u64)> = Vec::new();
        for Reach { files, first, last } in reach {
            let is_now = now.as_ref().is_some_and(|now| {
                *first >= now.generation || (files != NOT_KEPT && now.files.as_ref() == Some(files))
            });
            let is_whole = || Manifest::read(files).is_some_and(|files| self.kept.has(&files));
            if !is_now && !*whole.entry(files).or_insert_with(is_whole) {
                continue;
            }
            match had.last_mut() {
                Some((_, end)) if *end + 1 == *first => *end = *last,
                Some(_) | None => had.push((*first, *last)),
            }
        }
        Ok(had)
    }

    /// Copies what was read. What is written down of it; where it cannot be copied, that.
    pub fn keep(&self, seen: &Seen) -> String {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let stamps: HashMap<&PathBuf, Stamp> =
            seen.0.iter().filter_map(|(path, stamp)| Some((path, (*stamp)?))).collect();
        let hash_of = |path: &std::path::Path| {
            let (stamp, hash) = known.get(path)?;
            (stamps.get(&path.to_owned()) == Some(stamp)).then(|| hash.clone())
        };
        let paths: Vec<PathBuf> = seen.0.iter().map(|(path, _)| path.clone()).collect();
        let manifest = match self.kept.keep(&self.folder, &paths, &hash_of) {
            Ok(manifest) => manifest,
            Err(error) => {
                tracing::warn!(%error, "the files of this generation are not kept: it cannot be rolled back to");
                return NOT_KEPT.to_owned();
            }
        };
        if let Some(file) = seen.moved(&self.folder) {
            let file = file.display();
            tracing::warn!(
                %file,
                "a file changed while it was read: none of this generation are kept, and it cannot be rolled back to; reload"
            );
            return NOT_KEPT.to_owned();
        }
        let now = SystemTime::now();
        known.clear();
        for ((path, stamp), (_, hash)) in seen.0.iter().zip(&manifest.0) {
            if let Some(stamp) = stamp.filter(|stamp| stamp.is_settled(now)) {
                known.insert(path.clone(), (stamp, hash.clone()));
            }
        }
        manifest.text()
    }

    /// Removes the copies that no remembered generation needs, beyond the bounds.
    pub fn clear(&self, ledger: &Ledger) -> Result<(), DatabaseError> {
        let (mut wanted, mut bytes, mut nth) = (BTreeSet::new(), 0, 0);
        let mut later: Option<StoredGeneration> = None;
        for generation in ledger.of_files(u64::MAX >> 1, FILES)? {
            nth += usize::from(!later.is_some_and(|later| later.is_of_the_files_of(&generation)));
            for text in [&generation.files, &generation.instead].into_iter().flatten() {
                let Some(manifest) = Manifest::read(text) else { continue };
                bytes += self.kept.size(&manifest, &wanted);
                if nth <= 2 || bytes <= BYTES {
                    wanted.extend(manifest.0.into_iter().map(|(_, hash)| hash));
                }
            }
            later = Some(generation);
        }
        self.kept.clear(&wanted);
        Ok(())
    }

    /// What that generation, or else the one before `served`, was made of. `config` and `overlay`: what is served.
    pub fn earlier(
        &self,
        sought: Sought,
        (config, overlay): (&Config, &Overlay),
        env: &Env,
    ) -> Result<Earlier, NotPublished> {
        let Sought { generation, others, changed } = sought;
        let mut earlier = Earlier {
            config: None,
            overlay: overlay.clone(),
            restored: BTreeSet::new(),
            files: None,
            instead: None,
        };
        if let Some(then) = others {
            let not_kept =
                || NotPublished::NoSuch(format!("the files of generation {generation} were not kept"));
            let files = then.as_deref().and_then(Manifest::read).ok_or_else(not_kept)?;
            earlier.config = Some(self.read(&files, (&config.node, Some(config)), env)?);
            let there = KeptFiles::hashes(&self.folder, &config::files(&self.folder));
            earlier.instead = there.ok().filter(|there| *there != files).map(|there| there.text());
            earlier.files = then;
        }
        for (written, before) in changed {
            let Ok(did) = written.parse::<Dialled>() else { continue };
            if before == before_of(overlay.get(did).map(|entry| &**entry)) {
                continue;
            }
            let entry = entry_of(did, before, &routing_of(&self.folder));
            earlier.overlay.put(did, entry.map(Arc::new));
            earlier.restored.insert(did);
        }
        if earlier.config.is_none() && earlier.restored.is_empty() {
            let said = format!("generation {generation} is what is served: there is nothing to undo");
            return Err(NotPublished::Nothing(format!("{said}; `strowger generations` lists them")));
        }
        Ok(earlier)
    }

    /// What was served when the node ended, if that was an earlier generation and the files that it was served in place of
    /// still lie there. `node`: what strowger.toml says now, by which it must check.
    pub fn rolled_back(
        &self,
        ledger: &Ledger,
        node: &Node,
        env: &Env,
    ) -> Result<Option<RolledBack>, DatabaseError> {
        let last = ledger.of_files(u64::MAX >> 1, 1)?.into_iter().next();
        let last = last.and_then(|last| Some((last.generation, last.files?, last.instead?)));
        let Some((generation, files, instead)) = last else { return Ok(None) };
        let there = KeptFiles::hashes(&self.folder, &config::files(&self.folder)).ok();
        if there.map(Manifest::of_routing) != Manifest::read(&instead).map(Manifest::of_routing) {
            tracing::info!("the files have changed since they were rolled back from, and are served");
            return Ok(None);
        }
        let Some(manifest) = Manifest::read(&files) else { return Ok(None) };
        match self.read(&manifest, (node, None), env) {
            Ok(loaded) => Ok(Some(RolledBack { loaded, generation, files, instead })),
            Err(why) => {
                let why = match why {
                    NotPublished::Wrong(errors) => {
                        errors.first().map(ToString::to_string).unwrap_or_default()
                    }
                    NotPublished::NoSuch(why) | NotPublished::Nothing(why) | NotPublished::Unwritten(why) => {
                        why
                    }
                    NotPublished::Busy => String::new(),
                };
                not_served(generation, &why);
                Ok(None)
            }
        }
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
            Some(served) => reading.after(served),
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

fn nothing() -> NotPublished {
    let said = "nothing has changed that could be undone; `strowger generations` lists what was served";
    NotPublished::Nothing(said.to_owned())
}
