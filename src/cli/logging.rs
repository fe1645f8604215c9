//! The log: one line per event, on stderr, as text or JSON.
//!
//! Levels: a call's start, bridge and end are INFO; what wants a look tomorrow is WARN; what wants somebody now
//! is ERROR; messages are DEBUG and packets TRACE. Above DEBUG, numbers and addresses are shortened.
//!
//! A shard never waits for whoever reads stderr: lines go through a bounded queue to a thread of their own.

use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// Names what is logged, as `info` or `warn,strowger::sip=debug`.
pub const LEVEL_ENV: &str = "STROWGER_LOG";
/// Lines that wait for stderr: three a call, one second's worth of 2,000 calls. What comes beyond is dropped and
/// counted.
const LINES: usize = 6_000;
/// How many bytes of lines are written with one call.
const AT_ONCE: usize = 64 << 10;
/// How long lines gather: a shard that logs then wakes nobody, and the thread wakes fifty times a second at most.
const GATHER: Duration = Duration::from_millis(20);
/// How long the end of the program waits for the last lines.
const LAST_LINES: Duration = Duration::from_secs(1);

/// How a line of the log is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    #[default]
    Text,
    Json,
}

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum NoLog {
    #[error("the log level \"{0}\" is not understood; write error, warn, info, debug or trace")]
    Level(String),
    #[error("the log's thread cannot be started: {0}")]
    Thread(io::Error),
}

/// The log of this process; when it is dropped, the lines that wait are written.
pub struct Log {
    lines: SyncSender<Line>,
}

/// Starts the log. `level` wins over `STROWGER_LOG`, and `usual` holds without either. Only the first of a
/// process has an effect.
pub fn start(format: Format, level: Option<&str>, usual: &str) -> Result<Log, NoLog> {
    let from_env = std::env::var(LEVEL_ENV).ok().filter(|level| !level.is_empty());
    let level = level.map(str::to_owned).or(from_env).unwrap_or_else(|| usual.to_owned());
    let filter = EnvFilter::try_new(&level).map_err(|_| NoLog::Level(level))?;
    let (lines, queue) = sync_channel(LINES);
    std::thread::Builder::new().name("log".to_owned()).spawn(move || write(&queue)).map_err(NoLog::Thread)?;
    let to = tracing_subscriber::fmt().with_env_filter(filter).with_writer(Queue(lines.clone()));
    // A second start, as by tests in one process, changes nothing.
    let _already = match format {
        Format::Text => to.with_ansi(io::IsTerminal::is_terminal(&io::stderr())).try_init(),
        Format::Json => to.json().flatten_event(true).with_span_list(false).try_init(),
    };
    Ok(Log { lines })
}

impl Drop for Log {
    fn drop(&mut self) {
        let (done, written) = sync_channel(1);
        if self.lines.try_send(Line::Done(done)).is_ok() {
            // Whoever reads stderr may have stopped reading.
            let _in_time = written.recv_timeout(LAST_LINES);
        }
    }
}

enum Line {
    Text(Box<[u8]>),
    /// All lines before this one are written.
    Done(SyncSender<()>),
}

/// Writes until the log is gone; what has gathered meanwhile goes out at once.
fn write(queue: &Receiver<Line>) {
    let mut text = Vec::new();
    while let Ok(first) = queue.recv() {
        let mut next = Some(first);
        let mut done = None;
        while let Some(line) = next {
            match line {
                Line::Text(line) => text.extend_from_slice(&line),
                Line::Done(told) => done = Some(told),
            }
            next = if done.is_none() && text.len() < AT_ONCE { queue.try_recv().ok() } else { None };
        }
        // Without a stderr there is nobody to tell.
        let _unheard = io::stderr().lock().write_all(&text);
        text.clear();
        match done {
            // Whoever waited for it may have gone.
            Some(done) => drop(done.try_send(())),
            None => std::thread::sleep(GATHER),
        }
    }
}

struct Queue(SyncSender<Line>);

struct Entry<'a>(&'a SyncSender<Line>);

impl<'a> MakeWriter<'a> for Queue {
    type Writer = Entry<'a>;

    fn make_writer(&'a self) -> Entry<'a> {
        Entry(&self.0)
    }
}

impl Write for Entry<'_> {
    /// The subscriber writes each event with one call.
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        if let Err(TrySendError::Full(_)) = self.0.try_send(Line::Text(text.into())) {
            metrics::counter!("strowger_queue_full_total", "queue" => "log").increment(1);
        }
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
