//! The commands that work on the files alone: `check`, `config-schema`.

use std::io::{self, IsTerminal};
use std::path::Path;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

use super::client::Failed;
use super::serve::Ready;
use super::{Exit, Out, bar};
use crate::admin::operations::{Explanation, NotRouted, Published};
use crate::admin::problem::Problem;
use crate::admin::{AgentList, CallList, CdrList, GenerationList, NumberList, TrunkList};
use crate::call::cdr::Cdr;
use crate::call::story::CallStory;
use crate::config::{self, Checked, Findings, Overlay, Reading};
use crate::media::reel::Sheet;
use crate::routing::{self, Fixed, Table};
use crate::serve;
use crate::serve::replay::Replayed;
use crate::trial::Told;

fn env(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// `strowger check`: every mistake at once, each with its place and what would be right.
pub(super) fn check(folder: &Path, deny_warnings: bool, out: Out) -> Result<Exit, Failed> {
    let Checked { config, errors, warnings, .. } = checked(folder);
    let said = config.map(|config| {
        format!(
            "{}: {}, {}, {}: no mistake\n",
            folder.display(),
            count(config.numbers.len(), "number"),
            count(config.agents.len(), "agent"),
            count(config.trunks.len(), "trunk"),
        )
    });
    out.result(&Findings::of(&errors, &warnings), || {
        let found = if io::stdout().is_terminal() {
            config::pretty(&errors, &warnings)
        } else {
            config::plain(&errors, &warnings)
        };
        found + &said.unwrap_or_default()
    })?;
    let refused = !errors.is_empty() || (deny_warnings && !warnings.is_empty());
    Ok(if refused { Exit::Refused } else { Exit::Done })
}

/// The configuration, and every mistake in it; with a mistake there is none.
pub(super) fn checked(folder: &Path) -> Checked {
    let reading = Reading::of(folder, &env);
    let mut checked = match bar::on_terminal() {
        Some(mut bar) => reading.check(&mut bar),
        None => reading.check(&mut |_| {}),
    };
    if let Some(config) = &checked.config
        && let Err(unsaid) = serve::voices::voices(config, &Overlay::default(), folder)
    {
        checked.errors.extend(unsaid);
        checked.config = None;
    }
    checked
}

/// `1 trunk`, `2 trunks`.
fn count(many: usize, noun: &str) -> String {
    format!("{many} {noun}{}", if many == 1 { "" } else { "s" })
}

/// `strowger route --offline`.
pub(super) fn route(folder: &Path, did: &str, from: Option<&str>) -> Result<Explanation, Failed> {
    let loaded = config::load(folder, &env).map_err(|errors| Failed::Wrong(config::plain(&errors, &[])))?;
    let table = Table::new(&loaded.config, 0, None);
    serve::route(&table, &loaded.config, &Overlay::default(), &Fixed, did, from).map_err(|why| match why {
        NotRouted::UnknownNumber(said) | NotRouted::BadNumber(said) => Failed::Wrong(said),
    })
}

/// Every JSON Schema by the name of its file in `config/schema/`, with its text.
pub fn schemas() -> Vec<(&'static str, String)> {
    let text = |schema: schemars::Schema| {
        let mut text = serde_json::to_string_pretty(&schema).unwrap_or_default();
        text.push('\n');
        text
    };
    let mut all = config::schemas();
    all.extend([
        ("cdr.json", text(schemars::schema_for!(Cdr))),
        ("call.json", text(schemars::schema_for!(CallStory))),
        ("calls.json", text(schemars::schema_for!(CallList))),
        ("cdrs.json", text(schemars::schema_for!(CdrList))),
        ("agents.json", text(schemars::schema_for!(AgentList))),
        ("trunks.json", text(schemars::schema_for!(TrunkList))),
        ("generations.json", text(schemars::schema_for!(GenerationList))),
        ("numbers.json", text(schemars::schema_for!(NumberList))),
        ("reload.json", text(schemars::schema_for!(Published))),
        ("route.json", text(schemars::schema_for!(Explanation))),
        ("try.json", text(schemars::schema_for!(Told))),
        ("problem.json", text(schemars::schema_for!(Problem))),
        ("replay.json", text(schemars::schema_for!(Replayed))),
        ("check.json", text(schemars::schema_for!(Findings<'static>))),
        ("serve.json", text(schemars::schema_for!(Ready))),
        ("pcap.json", text(schemars::schema_for!(super::capture::Pcap))),
        ("recording.json", text(schemars::schema_for!(Sheet))),
        ("written.json", text(schemars::schema_for!(Written<'static>))),
        routing::schema(),
    ]);
    all.sort_by_key(|(name, _)| *name);
    all
}

/// What `config-schema --out` prints.
#[derive(Serialize, JsonSchema)]
struct Written<'a> {
    /// The files.
    written: &'a [String],
}

/// `strowger config-schema`: all schemas as one object by name, or as files in a folder.
pub(super) fn config_schema(folder: Option<&Path>, out: Out) -> Result<Exit, Failed> {
    let schemas = schemas();
    let Some(folder) = folder else {
        let by_name: Result<Map<String, Value>, serde_json::Error> = schemas
            .into_iter()
            .map(|(name, text)| Ok((name.to_owned(), serde_json::from_str(&text)?)))
            .collect();
        let by_name = by_name.map_err(|error| Failed::Wrong(error.to_string()))?;
        return out.result(&by_name, || {
            let mut text = serde_json::to_string_pretty(&by_name).unwrap_or_default();
            text.push('\n');
            text
        });
    };
    let failed = |error: io::Error| Failed::Wrong(format!("{}: {error}", folder.display()));
    std::fs::create_dir_all(folder).map_err(failed)?;
    let mut written = Vec::new();
    for (name, text) in schemas {
        std::fs::write(folder.join(name), text).map_err(failed)?;
        written.push(folder.join(name).display().to_string());
    }
    out.result(&Written { written: &written }, || written.join("\n") + "\n")
}
