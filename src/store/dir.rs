//! The node's folder: its lock, and what it knows of itself across restarts.

use std::io::{self, Read, Seek, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use crate::volume;

/// `data_dir`, held by this process alone.
pub struct DataDir {
    path: PathBuf,
    node: Mutex<NodeFile>,
    /// Held as long as the value lives; the kernel lets go of it when the process dies.
    _lock: Flock<std::fs::File>,
}

/// `node.json`: what a node knows of itself across restarts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeFile {
    pub name: String,
    /// The last generation that was published.
    #[serde(default)]
    pub generation: u64,
    /// Where the running node, or the last that ran, serves `[admin]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admin: Option<SocketAddr>,
    /// What the tokens of our registrations at carriers are made with, in hexadecimal: a carrier keeps a Contact of
    /// ours across a restart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line_secret: Option<String>,
    /// The process that runs, or ran, on this folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
}

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("{path}: another node runs on it{}; stop that one, or set another data_dir",
        pid.as_ref().map(|pid| format!(" (process {pid})")).unwrap_or_default(), path = path.display())]
    Locked { path: PathBuf, pid: Option<String> },
    #[error("{path}: {error}; data_dir must be a folder that this user may write", path = path.display())]
    Unusable { path: PathBuf, error: io::Error },
    #[error("{path}: {error}; mend or remove the file", path = path.display())]
    Broken { path: PathBuf, error: serde_json::Error },
}

impl OpenError {
    pub(super) fn unusable(path: &Path) -> impl FnOnce(io::Error) -> OpenError {
        let path = path.to_owned();
        move |error| OpenError::Unusable { path, error }
    }
}

impl DataDir {
    /// How much of `lock` is read to say who holds it: a process id.
    const PID_LEN: u64 = 20;

    /// Makes the folder where it is not there, and takes its lock.
    pub fn open(path: &Path) -> Result<DataDir, OpenError> {
        volume::make_folder(path).map_err(OpenError::unusable(path))?;
        let lock = take_lock(path)?;
        let node = read_node(path)?.unwrap_or_default();
        Ok(DataDir { path: path.to_owned(), node: Mutex::new(node), _lock: lock })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn node(&self) -> NodeFile {
        self.node.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes `node.json`; on return the change survives a power cut. Not for the call path.
    pub fn update_node(&self, change: impl FnOnce(&mut NodeFile)) -> io::Result<()> {
        let mut node = self.node.lock().unwrap_or_else(PoisonError::into_inner);
        let mut changed = node.clone();
        change(&mut changed);
        let mut text = serde_json::to_vec_pretty(&changed)?;
        text.push(b'\n');
        volume::replace(&self.path.join("node.json"), &text)?;
        *node = changed;
        Ok(())
    }
}

/// Reads `node.json` of a folder that another process may hold. `None`: no node ever ran there.
pub fn read_node(data_dir: &Path) -> Result<Option<NodeFile>, OpenError> {
    let path = data_dir.join("node.json");
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(OpenError::Unusable { path, error }),
    };
    serde_json::from_slice(&text).map(Some).map_err(|error| OpenError::Broken { path, error })
}

fn take_lock(folder: &Path) -> Result<Flock<std::fs::File>, OpenError> {
    let path = folder.join("lock");
    let file = volume::open_file(&path).map_err(OpenError::unusable(&path))?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(mut lock) => {
            let write = |lock: &mut std::fs::File| {
                lock.set_len(0)?;
                lock.rewind()?;
                writeln!(lock, "{}", std::process::id())
            };
            write(&mut lock).map_err(OpenError::unusable(&path))?;
            Ok(lock)
        }
        Err((file, Errno::EWOULDBLOCK)) => {
            let mut text = String::new();
            let read = file.take(DataDir::PID_LEN).read_to_string(&mut text);
            let pid = read.ok().map(|_| text.trim().to_owned()).filter(|pid| !pid.is_empty());
            Err(OpenError::Locked { path: folder.to_owned(), pid })
        }
        Err((_, error)) => Err(OpenError::Unusable { path, error: error.into() }),
    }
}
