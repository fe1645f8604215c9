//! The command line: what can be written, and what each command does. Results go to stdout, messages to stderr.
//!
//! Commands that concern a running node speak to its `[admin]`; the others work on the files alone.

mod bar;
mod capture;
mod client;
pub mod files;
pub mod logging;
mod numbers;
mod replay;
mod serve;
mod show;
mod trial;

use std::ffi::OsString;
use std::fmt;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use serde::Serialize;

use crate::admin::operations::{Explanation, Published};
use crate::admin::{AgentList, CallList, GenerationList, TrunkList};
use crate::call::story::CallStory;
use crate::config::may_be_more;
use crate::sip::shown::is_obeyed;
use client::{Client, Failed, escaped};

/// A real-time telephony call-routing engine.
#[derive(Debug, Parser)]
#[command(name = "strowger", version, max_term_width = 100)]
pub struct CommandLine {
    /// The folder of strowger.toml and routing/.
    #[arg(long, global = true, value_name = "DIR", default_value = "config")]
    pub config: PathBuf,
    /// Results as JSON.
    #[arg(long, global = true)]
    pub json: bool,
    /// How the log is written.
    #[arg(long, global = true, value_enum, default_value_t)]
    pub log: logging::Format,
    /// What is logged: error, warn, info, debug, trace; also by STROWGER_LOG.
    #[arg(long, global = true, value_name = "LEVEL")]
    pub log_level: Option<String>,
    #[command(subcommand)]
    pub command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serves calls, in the foreground. This is what is done when no command is given.
    Serve,
    /// Makes one call: plays the carrier, and the called phones where nobody listens, and shows what passes.
    Try(trial::Try),
    /// Finds every mistake in the configuration at once, each with its place; and which past calls it would route
    /// otherwise.
    Check(replay::Check),
    /// Tells what a call to a number would do: whom it rings, for how long, as whom.
    Route(Route),
    /// Publishes the configuration anew, all or nothing; calls in progress keep their plan.
    Reload {
        /// Only say what would change.
        #[arg(long)]
        dry_run: bool,
    },
    /// Serves again what an earlier generation was: its files, which are kept, and what was set over HTTP then. The files
    /// that lie there stay as they are, and are served at the next reload.
    Rollback {
        /// Which one; left out, the one before.
        #[arg(long, value_name = "GENERATION")]
        to: Option<u64>,
        /// Only say what would change.
        #[arg(long)]
        dry_run: bool,
    },
    /// Lists the generations of the configuration, the latest first.
    Generations {
        /// How many at most.
        #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1000))]
        limit: u16,
    },
    /// Tells, sets and lists single numbers while the node runs.
    #[command(subcommand)]
    Numbers(numbers::Numbers),
    /// Lists the agents: who has a phone, where it is, and how many calls.
    Agents,
    /// Lists the trunks: which gateways answer, what they failed of last, calls and limits.
    Trunks,
    /// Lists the calls in progress.
    Calls,
    /// Shows one call: its legs, timers, and the ladder of its messages.
    Call {
        id: String,
        /// Write its messages into a capture file instead, for Wireshark or sngrep; wants [capture].
        #[arg(long, value_name = "FILE")]
        pcap: Option<PathBuf>,
    },
    /// Prints the JSON Schema of every file and answer.
    ConfigSchema {
        /// Write each into a file of this folder instead.
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
    },
}

#[derive(Debug, Args)]
pub struct Route {
    /// The number that is called.
    pub did: String,
    /// The caller's number.
    #[arg(long, value_name = "NUMBER")]
    pub from: Option<String>,
    /// By the files as they are, not by what the node serves.
    #[arg(long)]
    pub offline: bool,
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done, with warnings or without.
    Done = 0,
    /// Refused, or wrong input.
    Refused = 1,
    /// The command line is not understood.
    Usage = 2,
    /// No node could be reached.
    Unreachable = 3,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

/// Does what the command line says.
pub fn run(args: impl IntoIterator<Item = OsString>) -> Exit {
    let line = match CommandLine::try_parse_from(args) {
        Ok(line) => line,
        Err(error) => {
            // Help and version are results, and no mistake.
            let exit = if error.use_stderr() { Exit::Usage } else { Exit::Done };
            // A closed terminal has nobody to tell.
            error.print().ok();
            return exit;
        }
    };
    let out = Out { json: line.json };
    match perform(&line, out) {
        Ok(exit) => exit,
        Err(failed) => out.failed(&failed),
    }
}

fn perform(line: &CommandLine, out: Out) -> Result<Exit, Failed> {
    let client = || Client::of(&line.config, |name| std::env::var(name).ok());
    match &line.command {
        None | Some(Command::Serve) => {
            let log = logging::start(line.log, line.log_level.as_deref(), "info");
            let _log = log.map_err(|error| Failed::Wrong(error.to_string()))?;
            serve::serve(&line.config, out)
        }
        Some(Command::Try(asked)) => {
            let log = logging::start(line.log, line.log_level.as_deref(), "warn");
            let _log = log.map_err(|error| Failed::Wrong(error.to_string()))?;
            trial::run(&line.config, asked, out)
        }
        Some(Command::Check(asked)) => replay::check(&line.config, asked, out),
        Some(Command::ConfigSchema { out: folder }) => files::config_schema(folder.as_deref(), out),
        Some(Command::Route(route)) if route.offline => {
            let told = files::route(&line.config, &route.did, route.from.as_deref())?;
            out.result(&told, || ended_by_newline(&told.text))
        }
        Some(Command::Route(route)) => {
            let from =
                route.from.as_deref().map(|from| format!("?from={}", escaped(from))).unwrap_or_default();
            let told: Explanation =
                client()?.get(&format!("/v1/numbers/{}/route{from}", escaped(&route.did)))?;
            out.result(&told, || ended_by_newline(&told.text))
        }
        Some(Command::Reload { dry_run }) => {
            let path = if *dry_run { "/v1/reload?dry_run=1" } else { "/v1/reload" };
            publish(&client()?, path, *dry_run, out)
        }
        Some(Command::Rollback { to, dry_run }) => {
            let to = to.map(|to| format!("&to={to}")).unwrap_or_default();
            publish(&client()?, &format!("/v1/rollback?dry_run={}{to}", u8::from(*dry_run)), *dry_run, out)
        }
        Some(Command::Numbers(asked)) => numbers::run(&client()?, asked, out),
        Some(Command::Generations { limit }) => {
            let list: GenerationList = client()?.get(&format!("/v1/generations?limit={limit}"))?;
            out.result(&list, || show::generations(&list.items))
        }
        Some(Command::Agents) => {
            let agents = all_agents(&client()?)?;
            out.result(&agents, || show::agents(&agents.items))
        }
        Some(Command::Trunks) => {
            let trunks = all_trunks(&client()?)?;
            out.result(&trunks, || show::trunks(&trunks.items))
        }
        Some(Command::Calls) => {
            let calls = all_calls(&client()?)?;
            out.result(&calls, || show::calls(&calls.items))
        }
        Some(Command::Call { id, pcap: Some(file) }) => capture::pcap(&client()?, id, file, out),
        Some(Command::Call { id, pcap: None }) => {
            let story: CallStory = client()?.get(&format!("/v1/calls/{}", escaped(id)))?;
            out.result(&story, || show::call(&story))
        }
    }
}

fn publish(client: &Client, path: &str, dry_run: bool, out: Out) -> Result<Exit, Failed> {
    let published: Published = client.post(path)?;
    for warning in &published.warnings {
        out.message(format_args!("warning: {warning}"));
    }
    if let Some(more) = may_be_more(published.warnings.len(), "warnings") {
        out.message(more);
    }
    out.result(&published, || show::published(&published, dry_run))
}

/// All pages of the list.
fn all_agents(client: &Client) -> Result<AgentList, Failed> {
    let mut all = AgentList { items: Vec::new(), next: None };
    loop {
        let after = all.next.as_deref().map(|next| format!("&after={}", escaped(next))).unwrap_or_default();
        let page: AgentList = client.get(&format!("/v1/agents?limit=10000{after}"))?;
        all.items.extend(page.items);
        all.next = page.next;
        if all.next.is_none() {
            return Ok(all);
        }
    }
}

/// All pages of the list.
fn all_trunks(client: &Client) -> Result<TrunkList, Failed> {
    let mut all = TrunkList { items: Vec::new(), next: None };
    loop {
        let after = all.next.as_deref().map(|next| format!("&after={}", escaped(next))).unwrap_or_default();
        let page: TrunkList = client.get(&format!("/v1/trunks?limit=10000{after}"))?;
        all.items.extend(page.items);
        all.next = page.next;
        if all.next.is_none() {
            return Ok(all);
        }
    }
}

/// All pages of the list.
fn all_calls(client: &Client) -> Result<CallList, Failed> {
    let mut all = CallList { items: Vec::new(), next: None };
    loop {
        let after = all.next.as_deref().map(|next| format!("&after={}", escaped(next))).unwrap_or_default();
        let page: CallList = client.get(&format!("/v1/calls?limit=10000{after}"))?;
        all.items.extend(page.items);
        all.next = page.next;
        if all.next.is_none() {
            return Ok(all);
        }
    }
}

fn ended_by_newline(text: &str) -> String {
    if text.ends_with('\n') { text.to_owned() } else { format!("{text}\n") }
}

/// JSON that a terminal shows and does not obey: C1 controls and the like, which JSON lets be, as `\\u` escapes.
fn tame(json: String) -> String {
    let is_tame = |letter: char| letter == '\n' || !is_obeyed(letter);
    if json.chars().all(is_tame) {
        return json;
    }
    let mut out = String::with_capacity(json.len() + 64);
    for letter in json.chars() {
        match is_tame(letter) {
            true => out.push(letter),
            false => {
                let escaped = letter
                    .encode_utf16(&mut [0; 2])
                    .iter()
                    .map(|unit| format!("\\u{unit:04x}"))
                    .collect::<String>();
                out.push_str(&escaped);
            }
        }
    }
    out
}

/// Where results and messages go.
#[derive(Clone, Copy)]
struct Out {
    json: bool,
}

impl Out {
    /// Writes a result: as JSON where that is asked for.
    fn result<T: Serialize>(self, value: &T, text: impl FnOnce() -> String) -> Result<Exit, Failed> {
        if self.json {
            self.write(serde_json::to_string_pretty(value).map(tame))
        } else {
            self.write(Ok(text()))
        }
    }

    /// The same, for a result that one line must hold.
    fn line<T: Serialize>(self, value: &T, text: impl FnOnce() -> String) -> Result<Exit, Failed> {
        if self.json { self.write(serde_json::to_string(value).map(tame)) } else { self.write(Ok(text())) }
    }

    fn write(self, text: serde_json::Result<String>) -> Result<Exit, Failed> {
        let text = ended_by_newline(&text.map_err(|error| Failed::Wrong(error.to_string()))?);
        let mut stdout = io::stdout().lock();
        match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
            // Whoever read it has read enough.
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                Err(Failed::Wrong(format!("the result cannot be written: {error}")))
            }
            Ok(()) | Err(_) => Ok(Exit::Done),
        }
    }

    fn message(self, message: impl fmt::Display) {
        // Without a stderr nobody can be told that there is none.
        let _unheard = writeln!(io::stderr().lock(), "{message}");
    }

    fn failed(self, failed: &Failed) -> Exit {
        if let (true, Failed::Refused(problem)) = (self.json, failed) {
            return match self.result(problem, String::new) {
                Ok(_) => Exit::Refused,
                Err(unwritten) => self.failed(&unwritten),
            };
        }
        self.message(failed);
        match failed {
            Failed::Unreachable(_) => Exit::Unreachable,
            Failed::Refused(_) | Failed::Wrong(_) => Exit::Refused,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_means_the_same_and_moves_no_cursor() {
        let text = "a\u{1b}\u{9b}2J\u{7f}\u{202e}\u{e0041}\né";
        let json = tame(serde_json::to_string_pretty(&[text, "plain"]).unwrap());
        assert!(json.chars().all(|letter| letter == '\n' || !is_obeyed(letter)), "{json:?}");
        assert_eq!(serde_json::from_str::<Vec<String>>(&json).unwrap(), [text, "plain"]);
    }
}
