//! Where bytes go: the file system, or in tests one that fails when told to.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Readable for the node's group, for nobody else.
pub const FILE_MODE: u32 = 0o640;
pub const FOLDER_MODE: u32 = 0o750;

/// A place for files that only grow.
pub trait Volume: Send + Sync {
    /// Opens a file for writing, and makes it when it is not there.
    fn open(&self, path: &Path) -> io::Result<Box<dyn Log>>;

    /// How much room there is at or around `path`, which exists.
    fn space(&self, path: &Path) -> io::Result<Space> {
        let found = nix::sys::statvfs::statvfs(path)?;
        let unit = found.fragment_size();
        Ok(Space { free: found.blocks_available() * unit, total: found.blocks() * unit })
    }
}

/// The room of a file system, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// What this user may still write.
    pub free: u64,
    pub total: u64,
}

/// With less than this free, or a twentieth of a small disk, nothing more is written that calls can go on without: the call
/// records and the journal are on the same disk as a rule.
const FLOOR: u64 = 1 << 30;
const SMALL: u64 = 20;

impl Space {
    /// Bytes that stay free for the records of calls.
    pub fn floor(self) -> u64 {
        FLOOR.min(self.total / SMALL)
    }
}

/// One file that only grows. A group that failed is written again at the same place, whole: after a failed
/// sync the kernel may have dropped what it could not write, so that a second sync alone proves nothing.
pub trait Log: Send {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Returns when what was written would survive a power cut.
    fn sync(&mut self) -> io::Result<()>;
    /// Notes in the file's time of change that the node lives. Best effort.
    fn touch(&mut self) {}
}

/// The file system.
pub struct Disk;

impl Volume for Disk {
    fn open(&self, path: &Path) -> io::Result<Box<dyn Log>> {
        let fresh = !path.exists();
        let file = open_file(path)?;
        if fresh {
            sync_folder_of(path)?;
        }
        Ok(Box::new(file))
    }
}

impl Log for File {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }

    fn touch(&mut self) {
        // What is lost when it fails is the precision of a lost call's end.
        self.set_modified(std::time::SystemTime::now()).ok();
    }
}

/// Opens for reading and writing, made with `FILE_MODE` whatever the umask when it was not there.
pub fn open_file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(FILE_MODE);
    match options.clone().create_new(true).open(path) {
        Ok(file) => {
            file.set_permissions(std::fs::Permissions::from_mode(FILE_MODE))?;
            Ok(file)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => options.open(path),
        Err(error) => Err(error),
    }
}

/// Makes a folder, and those above it, with `FOLDER_MODE` whatever the umask; one that is there stays.
pub fn make_folder(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(above) = path.parent().filter(|above| !above.as_os_str().is_empty()) {
        make_folder(above)?;
    }
    match DirBuilder::new().mode(FOLDER_MODE).create(path) {
        Ok(()) => std::fs::set_permissions(path, std::fs::Permissions::from_mode(FOLDER_MODE)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) => Err(error),
    }
}

/// Makes a new, renamed or removed name in a folder survive a power cut.
pub fn sync_folder_of(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

/// The name that a file has until it is whole.
pub fn part_of(path: &Path) -> std::path::PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".part");
    name.into()
}

/// Replaces a file's content: after a crash it has either the old or the new one, whole.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let part = part_of(path);
    let file = open_file(&part)?;
    file.set_len(0)?;
    file.write_all_at(bytes, 0)?;
    file.sync_all()?;
    std::fs::rename(&part, path)?;
    sync_folder_of(path)
}
