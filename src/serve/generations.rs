//! The generations that were served: what each was read from is kept, so that it can be served again.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use super::reading::{Env, findings, routing_of, says_how_far};
use super::written::entry_of;
use crate::admin::operations::NotPublished;
use crate::config::{self, Config, Dialled, Loaded, Overlay, Reading, Stamp};
use crate::store::DatabaseError;
use crate::store::kept::{KeptFiles, Manifest};
use crate::store::ledger::{Before, Ledger, StoredGeneration};

/// Files of so many generations are kept at most, …
const GENERATIONS: usize = 16;
/// … and so many bytes of them; those of the last two in any case.
const BYTES: u64 = 4 << 30;
/// What waits for a restart in any case.
const NODE: &str = "strowger.toml";
/// Stands for files that could not be kept.
pub(super) const NOT_KEPT: &str = "";

/// The files of a configuration, and the copies of those that were served.
pub(super) struct Files {
    pub folder: PathBuf,
    kept: KeptFiles,
    /// The SHA-256 of those that were copied, as long as they are as they were.
    known: Mutex<HashMap<PathBuf, (Stamp, String)>>,
}

/// How files were before they were read.
pub(super) struct Seen(Vec<(PathBuf, Option<Stamp>)>);

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

impl Sought {
    /// Looks up that generation, or else the one before `served`.
    pub fn of(ledger: &Ledger, served: u64, wanted: Option<u64>) -> Result<Sought, NotPublished> {
        let failed = |error: DatabaseError| NotPublished::Unwritten(error.to_string());
        let generation = match wanted {
            Some(wanted) => wanted,
            None => Sought::last_that_differs(ledger, served).map_err(failed)?,
        };
        if generation >= served || !ledger.knows(generation).map_err(failed)? {
            let said =
                format!("generation {generation} is none that was served before {served} and is remembered");
            return Err(NotPublished::NoSuch(format!("{said}; `strowger generations` lists them")));
        }
        let files = |generation| -> Result<Option<StoredGeneration>, NotPublished> {
            Ok(ledger.of_files(generation, 1).map_err(failed)?.into_iter().next())
        };
        let (then, now) = (files(generation)?, files(served)?);
        let is_same = |then: &StoredGeneration, now: &StoredGeneration| {
            then.generation == now.generation
                || (then.files == now.files && then.files.as_deref() != Some(NOT_KEPT))
        };
        let others = match (then, now) {
            (Some(then), Some(now)) if is_same(&then, &now) => None,
            (then, _) => Some(then.and_then(|then| then.files)),
        };
        let changed = ledger.changed_since(generation).map_err(failed)?;
        Ok(Sought { generation, others, changed })
    }

    /// The last generation before that one that was another: a start changes nothing.
    fn last_that_differs(ledger: &Ledger, served: u64) -> Result<u64, DatabaseError> {
        let files = ledger.of_files(served, GENERATIONS)?;
        let read = files.windows(2).find(|two| two[0].files != two[1].files).map(|two| two[0].generation);
        let last = read.max(ledger.last_change()?.filter(|last| *last <= served));
        Ok(last.unwrap_or(served).saturating_sub(1))
    }
}

impl Files {
    pub fn of(folder: PathBuf, kept: KeptFiles) -> Files {
        Files { folder, kept, known: Mutex::default() }
    }

    /// Looks at the files before they are read.
    pub fn look(&self) -> Seen {
        let files = config::files(&self.folder);
        Seen(
            files
                .into_iter()
                .map(|path| {
                    let stamp = Stamp::at(&path);
                    (path, stamp)
                })
                .collect(),
        )
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
        if seen.0.iter().any(|(path, stamp)| Stamp::at(path) != *stamp) {
            tracing::warn!(
                "files changed while they were read and are not kept: reload to be able to roll back"
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
        let (mut wanted, mut bytes) = (BTreeSet::new(), 0);
        for (nth, generation) in ledger.of_files(u64::MAX >> 1, GENERATIONS)?.iter().enumerate() {
            for text in [&generation.files, &generation.instead].into_iter().flatten() {
                let Some(manifest) = Manifest::read(text) else { continue };
                bytes += self.kept.size(&manifest, &wanted);
                if nth < 2 || bytes <= BYTES {
                    wanted.extend(manifest.0.into_iter().map(|(_, hash)| hash));
                }
            }
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
            earlier.config = Some(self.read(&files, Some(config), env)?);
            let there = KeptFiles::hashes(&self.folder, &config::files(&self.folder));
            earlier.instead = there.ok().filter(|there| *there != files).map(|there| there.text());
            earlier.files = then;
        }
        for (written, before) in changed {
            let Ok(did) = written.parse::<Dialled>() else { continue };
            let entry = entry_of(did, before, &routing_of(&self.folder));
            earlier.overlay.put(did, entry.map(Arc::new));
            earlier.restored.insert(did);
        }
        Ok(earlier)
    }

    /// What was served when the node ended, if that was an earlier generation and the files that it was served in place of
    /// still lie there. What is written down of both comes with it.
    pub fn rolled_back(
        &self,
        ledger: &Ledger,
        env: &Env,
    ) -> Result<Option<(Loaded, String, String)>, DatabaseError> {
        let last = ledger.of_files(u64::MAX >> 1, 1)?.into_iter().next();
        let Some((files, instead)) = last.and_then(|last| Some((last.files?, last.instead?))) else {
            return Ok(None);
        };
        let there = KeptFiles::hashes(&self.folder, &config::files(&self.folder)).ok();
        let of_routing = |manifest: Option<Manifest>| {
            manifest
                .map(|Manifest(files)| Manifest(files.into_iter().filter(|(name, _)| name != NODE).collect()))
        };
        if of_routing(there) != of_routing(Manifest::read(&instead)) {
            tracing::info!("the files have changed since they were rolled back from, and are served");
            return Ok(None);
        }
        let Some(manifest) = Manifest::read(&files) else { return Ok(None) };
        match self.read(&manifest, None, env) {
            Ok(loaded) => {
                tracing::warn!(
                    "the files are those that were rolled back from: what was rolled back to is served until they change"
                );
                Ok(Some((loaded, files, instead)))
            }
            Err(error) => {
                tracing::error!(
                    ?error,
                    "what was rolled back to cannot be read: the files are served as they are"
                );
                Ok(None)
            }
        }
    }

    fn read(&self, manifest: &Manifest, served: Option<&Config>, env: &Env) -> Result<Loaded, NotPublished> {
        let found = self.kept.find(manifest).map_err(|error| NotPublished::NoSuch(error.to_string()))?;
        let reading = Reading::of(&self.folder, &**env).elsewhere(found);
        let reading = match served {
            Some(served) => reading.after(served),
            None => reading,
        };
        reading.load(&mut says_how_far()).map_err(|errors| NotPublished::Wrong(findings(errors)))
    }
}
