//! `generations/`: what configurations were read from, so that one that was served can be served again. Each content once,
//! under its SHA-256.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::config::NODE_FILE;
use crate::volume::{self, Volume};

/// So much is copied at once.
const BLOCK: usize = 1 << 20;
/// After so much it is on the disk.
const BLOCKS: usize = 8 * BLOCK;
/// So many times of what stays free for the records of calls: recordings come before copies.
const FLOORS: u64 = 2;

/// In place of a hash; there is no copy of that.
const UNREADABLE: &str = "unreadable";

/// What a configuration was read from: each file by its path in the configuration's folder, and its SHA-256.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest(pub Vec<(String, String)>);

impl Manifest {
    /// None: it is none.
    pub fn read(text: &str) -> Option<Manifest> {
        serde_json::from_str(text).ok()
    }

    /// But for what waits for a restart in any case, whatever is served of the others.
    pub fn of_routing(mut self) -> Manifest {
        self.0.retain(|(name, _)| name != NODE_FILE);
        self
    }

    /// What it says of one file.
    pub fn only(&self, name: &str) -> Manifest {
        Manifest(self.0.iter().filter(|(one, _)| one == name).cloned().collect())
    }

    pub fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// Why files are not kept, or not there.
#[derive(Debug, thiserror::Error)]
pub enum KeptError {
    #[error("{}: {error}", path.display())]
    Io { path: PathBuf, error: io::Error },
    #[error("{}: there is no room for a copy", .0.display())]
    NoRoom(PathBuf),
    #[error("{}: it changed while it was copied", .0.display())]
    Changed(PathBuf),
    #[error("{0}: its copy is no longer kept")]
    Gone(String),
    #[error("{0}: its copy is damaged")]
    Damaged(String),
}

/// What was to be kept.
#[derive(Debug)]
pub struct Kept {
    pub manifest: Manifest,
    /// Why there are not copies of all that it names.
    pub lacking: Option<KeptError>,
}

/// The folder.
pub struct KeptFiles {
    folder: PathBuf,
    volume: Arc<dyn Volume>,
}

impl KeptFiles {
    pub fn of(data_dir: &Path, volume: Arc<dyn Volume>) -> KeptFiles {
        KeptFiles { folder: data_dir.join("generations"), volume }
    }

    /// Copies files whose content is not kept yet: all of them, or none where there is no room. What is kept already needs
    /// none. `root`: what they are named by their path in. `known`: the SHA-256 of a file that is as it was when it was last
    /// looked at.
    ///
    /// # Errors
    /// Which file could not be read, or changed meanwhile.
    pub fn keep(
        &self,
        root: &Path,
        files: &[PathBuf],
        known: &dyn Fn(&Path) -> Option<String>,
    ) -> Result<Kept, KeptError> {
        let mut manifest = Manifest::default();
        let mut missing = BTreeMap::new();
        for path in files {
            let (hash, is_there) = match known(path) {
                Some(hash) => (hash.clone(), self.path(&hash).exists()),
                None => {
                    // As at a start: a disk may have lost some of the copy.
                    let hash = hash_of(path)?;
                    let is_whole = hash_of(&self.path(&hash)).is_ok_and(|there| there == hash);
                    (hash, is_whole)
                }
            };
            if !is_there {
                missing.insert(hash.clone(), path);
            }
            manifest.0.push((name_in(root, path), hash));
        }
        let lacking = match self.copy_all(&missing) {
            Ok(()) => None,
            Err(changed @ KeptError::Changed(_)) => return Err(changed),
            Err(error) => Some(error),
        };
        Ok(Kept { manifest, lacking })
    }

    /// What the files of a manifest are that lie there now. One that cannot be read is what it was as long as it cannot.
    /// `known`: as for [`KeptFiles::keep`].
    pub fn hashes(root: &Path, files: &[PathBuf], known: &dyn Fn(&Path) -> Option<String>) -> Manifest {
        let hash = |path: &Path| {
            known(path).unwrap_or_else(|| hash_of(path).unwrap_or_else(|_| UNREADABLE.to_owned()))
        };
        Manifest(files.iter().map(|path| (name_in(root, path), hash(path))).collect())
    }

    /// Where the files are that a manifest names, by their names; each whole and as it was. A copy that is damaged is removed:
    /// it would only be taken for one.
    ///
    /// # Errors
    /// Which one is not.
    pub fn find(&self, manifest: &Manifest) -> Result<Vec<(PathBuf, PathBuf)>, KeptError> {
        let mut found = Vec::new();
        for (name, hash) in &manifest.0 {
            let path = self.path(hash);
            let Ok(mut file) = File::open(&path) else { return Err(KeptError::Gone(name.clone())) };
            if pass(&mut file, &mut io::sink()).map_err(io_at(&path))? != *hash {
                if let Err(error) = std::fs::remove_file(&path) {
                    tracing::warn!(%error, "a damaged copy cannot be removed");
                }
                return Err(KeptError::Damaged(name.clone()));
            }
            found.push((PathBuf::from(name), path));
        }
        Ok(found)
    }

    /// Whether all is there that a manifest names, as far as a glance tells.
    pub fn has(&self, manifest: &Manifest) -> bool {
        manifest.0.iter().all(|(_, hash)| self.path(hash).exists())
    }

    /// Bytes of what a manifest names, as far as they are there and not among those.
    pub fn size(&self, manifest: &Manifest, but: &BTreeSet<String>) -> u64 {
        let hashes: BTreeSet<&String> = manifest.0.iter().map(|(_, hash)| hash).collect();
        let beside = hashes.into_iter().filter(|hash| !but.contains(*hash));
        beside.filter_map(|hash| std::fs::metadata(self.path(hash)).ok()).map(|about| about.len()).sum()
    }

    /// Removes all but those.
    pub fn clear(&self, but: &BTreeSet<String>) {
        for entry in std::fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            let is_kept = entry.file_name().to_str().is_some_and(|name| but.contains(name));
            if !is_kept && let Err(error) = std::fs::remove_file(entry.path()) {
                tracing::warn!(%error, "a file of an old generation cannot be removed");
            }
        }
    }

    /// Copies files by their SHA-256.
    fn copy_all(&self, files: &BTreeMap<String, &PathBuf>) -> Result<(), KeptError> {
        let Some(first) = files.values().next() else { return Ok(()) };
        volume::make_folder(&self.folder).map_err(io_at(&self.folder))?;
        let lengths = files.values().map(|path| std::fs::metadata(path).map_or(0, |about| about.len()));
        let space = self.volume.space(&self.folder).map_err(io_at(&self.folder))?;
        if space.free.saturating_sub(lengths.sum()) < FLOORS * space.floor() {
            return Err(KeptError::NoRoom(first.to_path_buf()));
        }
        files.iter().try_for_each(|(hash, path)| self.copy(path, hash))
    }

    fn copy(&self, path: &Path, hash: &str) -> Result<(), KeptError> {
        let mut from = File::open(path).map_err(io_at(path))?;
        let part = self.folder.join("copy.part");
        let to = volume::open_file(&part).map_err(io_at(&part))?;
        to.set_len(0).map_err(io_at(&part))?;
        let copied = pass(&mut from, &mut Synced { file: &to, written: 0 });
        to.sync_data().map_err(io_at(&part))?;
        if copied.map_err(io_at(path))? != hash {
            return Err(KeptError::Changed(path.to_owned()));
        }
        // What is told to be kept must outlive a power cut as that it is told does.
        std::fs::rename(&part, self.path(hash)).map_err(io_at(&part))?;
        volume::sync_folder_of(&part).map_err(io_at(&self.folder))
    }

    fn path(&self, hash: &str) -> PathBuf {
        // Nothing else is ever looked for: a manifest is read from a file.
        let is_hash = hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
        self.folder.join(if is_hash { hash } else { "none" })
    }
}

fn name_in(root: &Path, path: &Path) -> String {
    path.strip_prefix(root).unwrap_or(path).display().to_string()
}

fn hash_of(path: &Path) -> Result<String, KeptError> {
    // Of a pipe nobody may ever write anything.
    let is_file = std::fs::metadata(path).and_then(|about| match about.is_file() {
        true => File::open(path),
        false => Err(io::Error::other("it is no file")),
    });
    let hash = is_file.and_then(|mut file| pass(&mut file, &mut io::sink()));
    hash.map_err(io_at(path))
}

/// Passes all of it on. Its SHA-256, in hexadecimal.
fn pass(from: &mut impl Read, to: &mut impl Write) -> io::Result<String> {
    let (mut digest, mut block) = (Sha256::new(), vec![0; BLOCK]);
    loop {
        let length = match from.read(&mut block) {
            Ok(0) => break,
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        digest.update(&block[..length]);
        to.write_all(&block[..length])?;
    }
    Ok(digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// A file that is written to the disk bit by bit: the records of calls, which go to the same disk as a rule, would wait for
/// gigabytes otherwise.
struct Synced<'f> {
    file: &'f File,
    written: usize,
}

impl Write for Synced<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.written += written;
        if self.written >= BLOCKS {
            self.written = 0;
            self.file.sync_data()?;
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn io_at(path: &Path) -> impl FnOnce(io::Error) -> KeptError {
    let path = path.to_owned();
    move |error| KeptError::Io { path, error }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(folder: &Path) -> KeptFiles {
        KeptFiles::of(folder, Arc::new(volume::Disk))
    }

    fn whole(kept: Result<Kept, KeptError>) -> Manifest {
        let Kept { manifest, lacking } = kept.unwrap();
        assert!(lacking.is_none(), "{lacking:?}");
        manifest
    }

    #[test]
    fn each_content_is_kept_once_found_whole_and_removed_with_the_last_that_names_it() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("config");
        std::fs::create_dir(&root).unwrap();
        let files = ["a.toml", "b.csv", "c.csv"].map(|name| root.join(name));
        for (file, text) in files.iter().zip(["a", "same", "same"]) {
            std::fs::write(file, text).unwrap();
        }
        let kept = kept(folder.path());
        let first = whole(kept.keep(&root, &files, &|_| None));
        assert_eq!(KeptFiles::hashes(&root, &files, &|_| None), first);
        assert_eq!(Manifest::read(&first.text()), Some(first.clone()));
        assert_eq!((first.0.len(), kept.size(&first, &BTreeSet::new())), (3, 5));
        std::fs::write(&files[0], "b").unwrap();
        let second = whole(kept.keep(&root, &files, &|_| None));
        let content = |manifest: &Manifest| -> String {
            let found = kept.find(manifest).unwrap().into_iter();
            found
                .map(|(name, path)| format!("{}={} ", name.display(), std::fs::read_to_string(path).unwrap()))
                .collect()
        };
        assert_eq!(content(&first), "a.toml=a b.csv=same c.csv=same ");
        assert_eq!(content(&second), "a.toml=b b.csv=same c.csv=same ");
        kept.clear(&second.0.iter().map(|(_, hash)| hash.clone()).collect());
        assert!(matches!(kept.find(&first), Err(KeptError::Gone(name)) if name == "a.toml"));
        assert_eq!(content(&second), "a.toml=b b.csv=same c.csv=same ");
        // One that a disk has lost some of.
        std::fs::write(folder.path().join("generations").join(&second.0[1].1), "sam").unwrap();
        assert!(matches!(kept.find(&second), Err(KeptError::Damaged(name)) if name == "b.csv"));
        assert!(!kept.has(&second) && !kept.has(&first));
        assert_eq!(whole(kept.keep(&root, &files, &|_| None)), second);
        assert_eq!(content(&second), "a.toml=b b.csv=same c.csv=same ");
    }

    #[test]
    fn what_is_known_is_not_read_again_and_a_manifest_names_no_other_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.csv");
        std::fs::write(&file, "text").unwrap();
        let kept = kept(folder.path());
        let first = whole(kept.keep(folder.path(), std::slice::from_ref(&file), &|_| None));
        std::fs::write(&file, "other").unwrap();
        let hash = first.0[0].1.clone();
        let again = kept.keep(folder.path(), std::slice::from_ref(&file), &|_| Some(hash.clone()));
        let again = whole(again);
        assert_eq!(again, first);
        let outside = Manifest(vec![("a.csv".to_owned(), "../a.csv".to_owned())]);
        assert!(matches!(kept.find(&outside), Err(KeptError::Gone(_))));
    }

    /// With so much room of so much in all.
    struct Room(std::sync::atomic::AtomicU64, u64);

    impl Volume for Room {
        fn open(&self, path: &Path) -> io::Result<Box<dyn volume::Log>> {
            volume::Disk.open(path)
        }
        fn space(&self, _: &Path) -> io::Result<volume::Space> {
            Ok(volume::Space { free: self.0.load(std::sync::atomic::Ordering::SeqCst), total: self.1 })
        }
    }

    #[test]
    fn what_is_kept_already_needs_no_room_and_nothing_is_copied_where_not_all_has_room() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("config");
        std::fs::create_dir(&root).unwrap();
        let files = ["a.csv", "b.csv"].map(|name| root.join(name));
        files.iter().for_each(|file| std::fs::write(file, file.display().to_string()).unwrap());
        let room = Arc::new(Room(1_000.into(), 1_000));
        let kept = KeptFiles::of(folder.path(), Arc::clone(&room) as Arc<dyn Volume>);
        let first = whole(kept.keep(&root, &files, &|_| None));
        // As at a start: nothing is known of them.
        room.0.store(50, std::sync::atomic::Ordering::SeqCst);
        assert_eq!(whole(kept.keep(&root, &files, &|_| None)), first);
        // What is new has none; what it is is known.
        std::fs::write(&files[0], "a").unwrap();
        let refused = kept.keep(&root, &files, &|_| None).unwrap();
        assert!(matches!(&refused.lacking, Some(KeptError::NoRoom(file)) if *file == files[0]));
        assert_eq!(KeptFiles::hashes(&root, &files, &|_| None), refused.manifest);
        assert!(kept.has(&first) && !kept.has(&refused.manifest));
        // Room for one of two is for none.
        room.0.store(104, std::sync::atomic::Ordering::SeqCst);
        std::fs::write(&files[1], "four+").unwrap();
        let before = std::fs::read_dir(folder.path().join("generations")).unwrap().count();
        assert!(kept.keep(&root, &files, &|_| None).unwrap().lacking.is_some());
        assert_eq!(std::fs::read_dir(folder.path().join("generations")).unwrap().count(), before);
        room.0.store(106, std::sync::atomic::Ordering::SeqCst);
        whole(kept.keep(&root, &files, &|_| None));
    }
    #[test]
    fn a_few_bytes_have_room_on_a_large_disk_that_is_nearly_full() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.csv");
        std::fs::write(&file, "text").unwrap();
        for (free, has_room) in [((2 << 30) + 4, true), ((2 << 30) + 3, false)] {
            let kept =
                KeptFiles::of(&folder.path().join(free.to_string()), Arc::new(Room(free.into(), 250 << 30)));
            std::fs::create_dir(folder.path().join(free.to_string())).unwrap();
            let made = kept.keep(folder.path(), std::slice::from_ref(&file), &|_| None).unwrap();
            assert_eq!(made.lacking.is_none(), has_room, "{free}: {:?}", made.lacking);
        }
    }
}
