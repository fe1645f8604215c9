//! How many files, sockets and connections this process may hold open (RLIMIT_NOFILE).

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Beside connections: listeners, the store, logs, recordings and `[admin]`.
const BESIDE: u64 = 256;

/// Raises the soft limit to the hard one: a shell's usual 1,024 is for programs that `select`.
///
/// `connections`: as many as the node takes. Says in the log what the limit is, and warns where it is too low
/// for them: `accept` would fail long before we refuse.
pub(super) fn raise_limit(connections: usize) {
    match raised() {
        Ok(files) => match room(files, connections) {
            Room::Enough => tracing::debug!(files, "open files: the limit of this process"),
            Room::Short { wanted } => tracing::warn!(
                files,
                wanted,
                connections,
                "the limit of open files is too low for the connections that the node takes; LimitNOFILE= or ulimit -Hn raises it"
            ),
        },
        Err(error) => tracing::warn!(%error, "the limit of open files stays as it is"),
    }
}

/// The limit that holds now.
fn raised() -> Result<u64, Errno> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft >= hard {
        return Ok(soft);
    }
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    Ok(hard)
}

/// Whether so many files are enough.
#[derive(Debug, PartialEq, Eq)]
enum Room {
    Enough,
    Short { wanted: u64 },
}

fn room(files: u64, connections: usize) -> Room {
    let wanted = u64::try_from(connections).unwrap_or(u64::MAX).saturating_add(BESIDE);
    if files < wanted { Room::Short { wanted } } else { Room::Enough }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_node_holds_beside_connections_counts_too() {
        assert_eq!(room(1_024, 0), Room::Enough);
        assert_eq!(room(10_256, 10_000), Room::Enough);
        assert_eq!(room(10_255, 10_000), Room::Short { wanted: 10_256 });
        assert_eq!(room(u64::MAX, usize::MAX), Room::Enough, "RLIM_INFINITY");
    }
}
