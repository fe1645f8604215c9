//! The log: one line per event, on stderr, as text or JSON.
//!
//! Levels: a call's start, bridge and end are INFO; what wants a look tomorrow is WARN; what wants somebody now
//! is ERROR; messages are DEBUG and packets TRACE. Above DEBUG, numbers and addresses are shortened.
//!
//! A shard never waits for whoever reads stderr: lines go through a bounded buffer to a thread of their own.

mod line;

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// Names what is logged, as `info` or `warn,strowger::sip=debug`.
pub const LEVEL_ENV: &str = "STROWGER_LOG";
/// Bytes that wait for stderr: a second's worth of 4,000 calls. What comes beyond is dropped and counted.
const ROOM: usize = 2 << 20;
/// How long lines are gathered before they are written together: a wake-up and a write for each would cost more
/// than the call that they tell of.
const GATHERED: Duration = Duration::from_millis(200);
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
    lines: Arc<Lines>,
}

/// Starts the log. `level` wins over `STROWGER_LOG`, and `usual` holds without either. Only the first of a
/// process has an effect.
pub fn start(format: Format, level: Option<&str>, usual: &str) -> Result<Log, NoLog> {
    let from_env = std::env::var(LEVEL_ENV).ok().filter(|level| !level.is_empty());
    let level = level.map(str::to_owned).or(from_env).unwrap_or_else(|| usual.to_owned());
    let filter = EnvFilter::try_new(&level).map_err(|_| NoLog::Level(level))?;
    let lines = Arc::new(Lines::default());
    let written = Arc::clone(&lines);
    std::thread::Builder::new()
        .name("log".to_owned())
        .spawn(move || written.write())
        .map_err(NoLog::Thread)?;
    let to = tracing_subscriber::fmt().with_env_filter(filter).with_writer(Queue(Arc::clone(&lines)));
    // A second start, as by tests in one process, changes nothing.
    let _already = match format {
        Format::Text => to.event_format(line::Text).try_init(),
        Format::Json => to.json().flatten_event(true).with_span_list(false).try_init(),
    };
    Ok(Log { lines })
}

impl Drop for Log {
    fn drop(&mut self) {
        self.lines.finish();
    }
}

/// Lines on their way to stderr.
#[derive(Default)]
struct Lines {
    waiting: Mutex<Waiting>,
    came: Condvar,
    written: Condvar,
}

#[derive(Default)]
struct Waiting {
    text: Vec<u8>,
    /// The program ends: write at once.
    ending: bool,
    /// All is written and the thread is gone.
    done: bool,
}

impl Lines {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// False: there is no room.
    fn put(&self, text: &[u8]) -> bool {
        let mut waiting = self.lock();
        if waiting.text.len() + text.len() > ROOM {
            return false;
        }
        let first = waiting.text.is_empty();
        waiting.text.extend_from_slice(text);
        drop(waiting);
        if first {
            self.came.notify_one();
        }
        true
    }

    /// The thread's life: sleeps until a line comes, gathers, writes.
    fn write(&self) {
        let mut text = Vec::new();
        loop {
            let mut waiting = self.lock();
            while waiting.text.is_empty() && !waiting.ending {
                waiting = self.came.wait(waiting).unwrap_or_else(PoisonError::into_inner);
            }
            let gathering = |waiting: &mut Waiting| !waiting.ending;
            waiting = self
                .came
                .wait_timeout_while(waiting, GATHERED, gathering)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
            std::mem::swap(&mut waiting.text, &mut text);
            let ending = waiting.ending;
            drop(waiting);
            // Without a stderr there is nobody to tell.
            let _unheard = io::stderr().lock().write_all(&text);
            text.clear();
            if ending {
                self.lock().done = true;
                self.written.notify_all();
                return;
            }
        }
    }

    fn finish(&self) {
        let mut waiting = self.lock();
        waiting.ending = true;
        self.came.notify_one();
        // Whoever reads stderr may have stopped reading.
        let _in_time = self.written.wait_timeout_while(waiting, LAST_LINES, |waiting| !waiting.done);
    }
}

struct Queue(Arc<Lines>);

struct Entry<'a>(&'a Lines);

impl<'a> MakeWriter<'a> for Queue {
    type Writer = Entry<'a>;

    fn make_writer(&'a self) -> Entry<'a> {
        Entry(&self.0)
    }
}

impl Write for Entry<'_> {
    /// The subscriber writes each event with one call.
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        if !self.0.put(text) {
            metrics::counter!("strowger_queue_full_total", "queue" => "log").increment(1);
        }
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
