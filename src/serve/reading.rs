//! How the files of a configuration are read, and how what is found in them is told.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::admin::operations::Finding;
use crate::config::{self, Progress};

/// What a variable of the environment holds.
pub type Env = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// What paths are relative to that are set over HTTP: the folder of the files that they could stand in.
pub(super) fn routing_of(folder: &Path) -> PathBuf {
    folder.join("routing")
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
