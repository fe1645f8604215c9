//! `strowger check --replay`: past calls through the configuration on disk, line by line.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Deserialize;

use super::client::Failed;
use super::show::thousands;
use super::{Exit, Out, files};
use crate::call::cdr::{Cdr, rfc3339};
use crate::config::{self, Checked, Config};
use crate::routing::Table;
use crate::serve::replay::{Replay, Replayed, ReplayedCalls};
use crate::sip::shown::printable;

/// The longest line that is read. A record of 200 legs has 80 KB; an attribution may add what it likes.
const LONGEST_LINE: u64 = 1 << 20;
/// So many lines that are no records are told of each; a file of something else is all of them.
const MOST_TOLD: u64 = 100;

#[derive(Debug, Args)]
pub struct Check {
    /// Warnings count as mistakes.
    #[arg(long)]
    pub deny_warnings: bool,
    /// Past calls: lists those that this configuration would route otherwise, and how. Files of cdr/*.jsonl; - is stdin.
    ///
    /// Exit 1 where one would be.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub replay: Vec<PathBuf>,
    /// So many are listed at most, those of one number that differ alike together; the rest is counted.
    #[arg(long, value_name = "N", default_value_t = 100, requires = "replay")]
    pub list: usize,
}

/// `strowger check`, with past calls or without.
pub(super) fn check(folder: &Path, asked: &Check, out: Out) -> Result<Exit, Failed> {
    if asked.replay.is_empty() {
        return files::check(folder, asked.deny_warnings, out);
    }
    let Checked { config, errors, warnings, .. } = files::checked(folder);
    let denied = asked.deny_warnings && !warnings.is_empty();
    let Some(config) = config.filter(|_| errors.is_empty() && !denied) else {
        return files::check(folder, asked.deny_warnings, out);
    };
    if !warnings.is_empty() {
        out.message(config::plain(&[], &warnings).trim_end());
    }
    replay(&config, asked, out)
}

fn replay(config: &Config, asked: &Check, out: Out) -> Result<Exit, Failed> {
    let table = Table::new(config, 0, None);
    let mut replay = Replay::new(&table, config.node.media.is_some(), asked.list);
    let mut untold = Untold { out, left: MOST_TOLD, more: 0 };
    for path in &asked.replay {
        let failed = |error: io::Error| Failed::Wrong(format!("{}: {error}", path.display()));
        match path.to_str() {
            Some("-") => read(&mut io::stdin().lock(), "stdin", &mut replay, &mut untold).map_err(failed)?,
            Some(_) | None => {
                let mut file = BufReader::with_capacity(1 << 16, File::open(path).map_err(failed)?);
                let name = path.display().to_string();
                read(&mut file, &name, &mut replay, &mut untold).map_err(failed)?;
            }
        }
    }
    untold.told();
    let found = replay.finish();
    // Who is shown nothing but what is no record has asked for something else.
    let is_none = found.calls == 0 && found.unreadable > 0;
    let exit = if found.otherwise == 0 && !is_none { Exit::Done } else { Exit::Refused };
    out.result(&found, || shown(&found))?;
    Ok(exit)
}

/// Where lines that are no records are told.
struct Untold {
    out: Out,
    left: u64,
    more: u64,
}

impl Untold {
    fn tell(&mut self, file: &str, line: u64, what: &str) {
        match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                self.out.message(format_args!("{file}:{line}: {}; passed over", printable(what)));
            }
            None => self.more += 1,
        }
    }

    fn told(&self) {
        if self.more > 0 {
            self.out.message(format_args!("{} lines more are no records", thousands(self.more)));
        }
    }
}

/// One file's records.
fn read(from: &mut dyn BufRead, name: &str, replay: &mut Replay<'_>, untold: &mut Untold) -> io::Result<()> {
    let mut line = Vec::new();
    let mut number = 0;
    loop {
        line.clear();
        number += 1;
        if from.take(LONGEST_LINE).read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        let is_whole = line.ends_with(b"\n") || (line.len() as u64) < LONGEST_LINE;
        let wrong = match is_whole {
            true if line.trim_ascii().is_empty() => continue,
            true => match record(&line) {
                Ok(cdr) => {
                    replay.take(&cdr);
                    continue;
                }
                Err(wrong) => wrong,
            },
            false => {
                pass_line(from)?;
                format!("longer than {LONGEST_LINE} bytes")
            }
        };
        replay.cannot_read();
        untold.tell(name, number, &wrong);
    }
}

/// Passes over what is left of a line.
fn pass_line(from: &mut dyn BufRead) -> io::Result<()> {
    loop {
        let there = from.fill_buf()?;
        let (used, ends) = match memchr::memchr(b'\n', there) {
            Some(at) => (at + 1, true),
            None => (there.len(), there.is_empty()),
        };
        from.consume(used);
        if ends {
            return Ok(());
        }
    }
}

/// The record of a line, or what is wrong with it.
fn record(line: &[u8]) -> Result<Cdr, String> {
    #[derive(Deserialize)]
    struct Version {
        v: u64,
    }
    let of_another = |v: u64| format!("a record of version {v}: this program reads version {}", Cdr::VERSION);
    match serde_json::from_slice::<Cdr>(line) {
        Ok(cdr) if cdr.v == Cdr::VERSION => Ok(cdr),
        Ok(cdr) => Err(of_another(cdr.v.into())),
        Err(error) => Err(match serde_json::from_slice::<Version>(line) {
            Ok(Version { v }) if v != u64::from(Cdr::VERSION) => of_another(v),
            Ok(_) | Err(_) => format!("no call record: {error}"),
        }),
    }
}

fn shown(found: &Replayed) -> String {
    let mut text = String::new();
    for item in &found.items {
        text.push_str(&line(item));
        text.push('\n');
    }
    if found.left_out > 0 {
        // A String takes all that is written to it.
        let _whole = writeln!(text, "and {} more, not listed", calls(found.left_out));
    }
    for might in &found.might_ring {
        let (target, calls) = (printable(&might.target), calls(might.calls));
        let _whole = writeln!(
            text,
            "{target} might ring too in {calls}: whether it was there and free, no record tells"
        );
    }
    if found.by_name > 0 {
        let _whole = writeln!(
            text,
            "{} would go where a name leads: whether to another address than then is not looked up",
            calls(found.by_name)
        );
    }
    for unjudged in &found.unjudged_because {
        let _whole = writeln!(text, "not judged, {}: {}", calls(unjudged.calls), unjudged.why.why());
    }
    if found.unreadable > 0 {
        let _whole = writeln!(text, "lines that are no records: {}", thousands(found.unreadable));
    }
    let _whole = writeln!(
        text,
        "{} read, {} would be routed otherwise, {} could not be judged",
        calls(found.calls),
        thousands(found.otherwise),
        thousands(found.unjudged),
    );
    text
}

/// `call 01J… +1201… from +1202…, 2026-11-01T10:00:00.000Z: was answered 404, would ring alice for 20 s`
fn line(item: &ReplayedCalls) -> String {
    let from = item.caller.as_ref().map(|caller| format!(" from {caller}")).unwrap_or_default();
    let differences: Vec<String> =
        item.differences.iter().map(|one| format!("{}, would {}", one.was, one.would)).collect();
    let alike = match item.calls {
        0 | 1 => String::new(),
        more => format!(" (and {} more to this number)", calls(more - 1)),
    };
    let line = format!(
        "call {} {}{from}, {}: {}{alike}",
        item.id,
        item.dialled,
        rfc3339::to_string(item.started),
        differences.join("; "),
    );
    printable(&line).into_owned()
}

/// `1 call`, `12,345 calls`.
fn calls(many: u64) -> String {
    format!("{} call{}", thousands(many), if many == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_is_cut_into_thousands() {
        for (many, text) in
            [(0u64, "0"), (999, "999"), (1_000, "1,000"), (12_345, "12,345"), (1_234_567, "1,234,567")]
        {
            assert_eq!(thousands(many), text);
        }
    }

    #[test]
    fn a_line_that_is_no_record_says_why() {
        for (line, wrong) in [
            ("{\"v\":2,\"other\":true}", "version 2"),
            ("{\"v\":300}", "version 300"),
            ("{\"v\":1}", "missing field"),
            ("what?", "no call record"),
        ] {
            let said = record(line.as_bytes()).unwrap_err();
            assert!(said.contains(wrong), "{line}: {said}");
        }
    }
}
