//! The log: one line per event, on stderr, as text or JSON.
//!
//! Levels: a call's start, bridge and end are INFO; what wants a look tomorrow is WARN; what wants somebody now
//! is ERROR; messages are DEBUG and packets TRACE. Above DEBUG, numbers and addresses are shortened by their types.

use std::io;

use tracing_subscriber::EnvFilter;

/// Names what is logged, as `info` or `warn,strowger::sip=debug`.
pub const LEVEL_ENV: &str = "STROWGER_LOG";

/// How a line of the log is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    #[default]
    Text,
    Json,
}

/// What is logged cannot be understood.
#[derive(Debug, thiserror::Error)]
#[error("the log level \"{0}\" is not understood; write error, warn, info, debug or trace")]
pub struct BadLevel(String);

/// Starts the log. `level` wins over `STROWGER_LOG`, and `usual` holds without either. Only the first call of
/// a process has an effect.
pub fn start(format: Format, level: Option<&str>, usual: &str) -> Result<(), BadLevel> {
    let from_env = std::env::var(LEVEL_ENV).ok().filter(|level| !level.is_empty());
    let level = level.map(str::to_owned).or(from_env).unwrap_or_else(|| usual.to_owned());
    let filter = EnvFilter::try_new(&level).map_err(|_| BadLevel(level))?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    // A second start, as by tests in one process, changes nothing.
    let _already = match format {
        Format::Text => lines.with_ansi(io::IsTerminal::is_terminal(&io::stderr())).try_init(),
        Format::Json => lines.json().flatten_event(true).with_span_list(false).try_init(),
    };
    Ok(())
}
