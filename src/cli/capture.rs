//! `strowger call <id> --pcap FILE`: a call's messages as a file for other programs.

use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use schemars::JsonSchema;
use serde::Serialize;

use super::client::{Client, Failed, escaped};
use super::{Exit, Out};
use crate::admin::{MESSAGES, MISSING};

/// What `call <id> --pcap` prints.
#[derive(Serialize, JsonSchema)]
pub(super) struct Pcap {
    file: String,
    messages: u64,
    /// Why these are not all the call's messages; null when they are.
    missing: Option<String>,
}

/// Fetches a call's messages and writes the file. What is missing is a warning.
pub(super) fn pcap(client: &Client, id: &str, file: &Path, out: Out) -> Result<Exit, Failed> {
    let (headers, bytes) = client.fetch(&format!("/v1/calls/{}/pcap", escaped(id)))?;
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let failed = |error| Failed::Wrong(format!("{}: {error}", file.display()));
    write(file, &bytes).map_err(failed)?;
    let messages = text(MESSAGES).and_then(|count| count.parse().ok()).unwrap_or_default();
    let missing = text(MISSING).map(str::to_owned);
    if let Some(missing) = &missing {
        out.message(format_args!("warning: {missing}"));
    }
    let told = Pcap { file: file.display().to_string(), messages, missing };
    out.result(&told, || {
        let s = if messages == 1 { "" } else { "s" };
        format!("{messages} message{s} in {}\n", told.file)
    })
}

/// Messages name people: not for everybody on the machine to read.
fn write(file: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut open = std::fs::OpenOptions::new();
    open.write(true).create(true).truncate(true).mode(0o640).open(file)?.write_all(bytes)
}
