//! `strowger serve`: a node in the foreground, until a signal ends it.

use std::io;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::{Fuse, FusedFuture};
use schemars::JsonSchema;
use serde::Serialize;
use tokio::runtime::Builder;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::client::Failed;
use super::{Exit, Out, bar};
use crate::serve::{Env, Running};

/// What `serve` prints when all sockets are bound.
#[derive(Serialize, JsonSchema)]
pub(super) struct Ready {
    ready: bool,
    /// `udp:127.0.0.1:5060`
    listening: Vec<String>,
    admin: Option<String>,
    /// The command that makes the first call.
    #[serde(rename = "try")]
    try_with: Option<String>,
}

impl Ready {
    fn of(running: &Running, config: &Path) -> Ready {
        let listening = running.listening().iter();
        let folder = match config.to_str() {
            Some("config") => String::new(),
            Some(_) | None => format!(" --config {}", config.display()),
        };
        Ready {
            ready: true,
            listening: listening
                .map(|(transport, addr)| format!("{}:{addr}", transport.uri_token()))
                .collect(),
            admin: running.admin().map(|addr| format!("http://{addr}")),
            try_with: running.first_number().map(|did| {
                let press = if running.asks_to_press(did) { " --press 1" } else { "" };
                format!("strowger try {did}{press}{folder}")
            }),
        }
    }

    fn text(&self) -> String {
        let mut text = format!("ready: {}", self.listening.join(", "));
        if let Some(admin) = &self.admin {
            text.push_str(", admin ");
            text.push_str(admin);
        }
        text.push('\n');
        if let Some(try_with) = &self.try_with {
            text.push_str("try it: ");
            text.push_str(try_with);
            text.push('\n');
        }
        text
    }
}

pub(super) fn serve(config: &Path, out: Out) -> Result<Exit, Failed> {
    let untaken = |error| Failed::Wrong(format!("signals cannot be taken: {error}"));
    // Who wants files to be read that are being read has them read once more.
    let hup = taken_from_now(SignalKind::hangup()).map_err(untaken)?;
    let env: Env = Arc::new(|name: &str| std::env::var(name).ok());
    let running = match bar::on_terminal() {
        Some(bar) => Running::start_told(config, env, bar),
        None => Running::start(config, env),
    };
    let running = running.map_err(|error| Failed::Wrong(error.to_string()))?;
    let ended = running.block_on(async {
        // Whoever reads "ready" may signal at once; without a handler that would kill the process.
        let signals = Signals::new(hup).map_err(untaken)?;
        announce(&running, config, out)?;
        until_told(&running, signals).await
    });
    running.stop();
    ended
}

fn announce(running: &Running, config: &Path, out: Out) -> Result<(), Failed> {
    if running.lost() > 0 {
        tracing::warn!(
            calls = running.lost(),
            "calls were cut off when the node last stopped; see their records"
        );
    }
    let ready = Ready::of(running, config);
    out.line(&ready, || ready.text()).map(drop)
}

/// Signals of a kind, from now on, whichever runtime waits for them. They are taken for the whole process, and go to whatever
/// runtime looks.
fn taken_from_now(kind: SignalKind) -> io::Result<Signal> {
    let runtime = Builder::new_current_thread().enable_io().build()?;
    let _inside = runtime.enter();
    signal(kind)
}

/// What the operator wants of the process.
struct Signals {
    hup: Signal,
    term: Signal,
    int: Signal,
}

impl Signals {
    fn new(hup: Signal) -> io::Result<Signals> {
        Ok(Signals { hup, term: signal(SignalKind::terminate())?, int: signal(SignalKind::interrupt())? })
    }
}

/// SIGHUP reloads, SIGTERM (or Ctrl-C) drains, a second one ends.
async fn until_told(running: &Running, signals: Signals) -> Result<Exit, Failed> {
    let Signals { mut hup, mut term, mut int } = signals;
    let mut broken = pin!(running.broken());
    // Either may take long, and no signal waits for it.
    let mut reload = pin!(Fuse::terminated());
    let mut drain = pin!(Fuse::terminated());
    loop {
        let end = async {
            tokio::select! {
                _ = term.recv() => {}
                _ = int.recv() => {}
            }
        };
        tokio::select! {
            _ = hup.recv(), if reload.is_terminated() => reload.set(running.reload().fuse()),
            // The node tells the log what came of it.
            _ = &mut reload, if !reload.is_terminated() => {}
            () = end => {
                if !drain.is_terminated() {
                    tracing::warn!("calls in progress are hung up");
                    return Ok(Exit::Done);
                }
                tracing::info!("draining: no new calls; a second signal ends those in progress");
                drain.set(running.drain().fuse());
            }
            all_over = &mut drain, if !drain.is_terminated() => {
                if !all_over {
                    tracing::warn!("drain_seconds are over; calls in progress are hung up");
                }
                return Ok(Exit::Done);
            }
            () = &mut broken => return Err(Failed::Wrong("a shard has ended; the node cannot go on".to_owned())),
        }
    }
}
