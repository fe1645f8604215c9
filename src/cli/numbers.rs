//! `strowger numbers`: single numbers of the node that runs, told and set over its `[admin]`.

use std::io::Read;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde_json::{Map, Value, json};
use ureq::http::{StatusCode, header};

use super::client::{Client, Failed, Question, escaped};
use super::{Exit, Out, show};
use crate::admin::WARNING;
use crate::number::{self, E164, MAX_DIGITS};
use crate::sip::shown::printable;

/// Items of a page: as many as the node gives at once.
const PAGE: usize = 10_000;
/// Keys whose values are whole numbers, and those that may be called as they like.
const WHOLE: [&str; 3] = ["timeout", "call_connect_seconds", "assigned_head_start"];
const NAMES: [&str; 2] = ["label", "account"];
/// What is told of a number beside what it says.
const TOLD: [&str; 7] = ["etag", "source", "set_at", "set_by", "generation", "removed", "aside"];

#[derive(Debug, Subcommand)]
pub enum Numbers {
    /// Tells what is written of a number, or of a block of them, who says so, and its version.
    Get { did: String },
    /// Sets keys of a number, for the next call and for good: it wins over the files. Makes the number where it is none. Tells
    /// what was replaced by what, and who had set it.
    Set {
        did: String,
        /// As in [[number]]: `timeout=15`, `ring=alice|bob`, `whisper={"file": "a.wav"}`; `key=` unsets what profile or
        /// defaults bring, `key=null` takes the key out.
        #[arg(value_name = "KEY=VALUE", required_unless_present = "file")]
        keys: Vec<String>,
        /// All that it says, as JSON, in place of what it said; - reads standard input. Where the number is there, the JSON's
        /// `etag` (as `numbers get --json` has it) or --if-match says which version it is made of.
        #[arg(long, value_name = "FILE", conflicts_with = "keys")]
        file: Option<PathBuf>,
        /// The version that is changed, as `numbers get` shows it (`# version 1f3a…`): refused if somebody has changed it
        /// since. Left out, what is there is changed, and what was replaced is told.
        #[arg(long, value_name = "ETAG")]
        if_match: Option<String>,
    },
    /// Takes back what was set of numbers: what the files say of them holds again.
    Unset {
        #[arg(required = true)]
        dids: Vec<String>,
        /// They are to be none of ours, whatever the files say.
        #[arg(long)]
        delete: bool,
    },
    /// Lists numbers: those that were set so first, then the files'.
    List {
        /// Digits of the number, or part of its label or account.
        #[arg(long, value_name = "TEXT")]
        q: Option<String>,
        /// Only what was set, or removed, over HTTP.
        #[arg(long)]
        set: bool,
        /// How many at most.
        #[arg(long, value_name = "N")]
        limit: Option<usize>,
    },
    /// Writes what was set over HTTP as a file for routing/.
    Export {
        /// The file; left out, standard output.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
}

pub(super) fn run(client: &Client, asked: &Numbers, out: Out) -> Result<Exit, Failed> {
    match asked {
        Numbers::Get { did } => {
            let did = whole(client, did)?;
            let (etag, number) = match find(client, did)? {
                There::Number(etag, number) => (etag, number),
                There::Removed(_, refusal) | There::Nothing(refusal) => return Err(refusal),
            };
            let number = with_version(&etag, number);
            out.result(&number, || on_terminal(&as_toml(&number)))
        }
        Numbers::Set { did, keys, file, if_match } => {
            let did = whole(client, did)?;
            let number = match file {
                Some(file) => put(client, did, &read(file)?, if_match.as_deref(), out)?,
                None => set(client, did, &parsed(keys)?, if_match.as_deref(), out)?,
            };
            out.result(&number, || on_terminal(&as_toml(&number)))
        }
        Numbers::Unset { dids, delete } => unset(client, dids, *delete, out),
        Numbers::List { q, set, limit } => {
            let items = list(client, q.as_deref(), *set, limit.unwrap_or(usize::MAX))?;
            out.result(&json!({ "items": items, "next": null }), || show::numbers(&items))
        }
        Numbers::Export { out: file } => export(client, file.as_deref(), out),
    }
}

/// A number as it is named here, with its plus: digits alone are dialled so by some and written so by others.
fn whole<'d>(client: &Client, did: &'d str) -> Result<&'d str, Failed> {
    if did.starts_with('+') {
        return Ok(did);
    }
    let shown = printable(did);
    if did.ends_with('*') {
        let said = format!("\"{shown}\" has no +; a block is + and its first digits, like \"+1201555*\"");
        return Err(Failed::Wrong(said));
    }
    let dialled = number::read(did, &client.country).map(|number| number.to_string());
    let written = E164::parse_e164(&format!("+{did}")).ok().map(|number| number.to_string());
    let country = client.country;
    let remedy = match (dialled, written) {
        (Some(dialled), Some(written)) if dialled != written => {
            format!(
                "write {dialled}, as it is dialled in the node's country ({country:?}), or {written}, as it is written"
            )
        }
        (Some(number), _) | (None, Some(number)) => format!("write {number}"),
        (None, None) => "write + and 7 to 15 digits, like \"+12015550101\"".to_owned(),
    };
    Err(Failed::Wrong(format!("\"{shown}\" has no +; {remedy}")))
}

fn path_of(did: &str) -> String {
    format!("/v1/numbers/{}", escaped(did))
}

/// What there is of a number.
enum There {
    /// With its version.
    Number(String, Value),
    /// It was removed over HTTP: the version of that, and the node's own words.
    Removed(String, Failed),
    Nothing(Failed),
}

impl There {
    /// The version to name by whoever changes it.
    fn version(&self) -> Option<&str> {
        match self {
            There::Number(etag, _) | There::Removed(etag, _) => Some(etag),
            There::Nothing(_) => None,
        }
    }

    /// What it said, and who said so.
    fn before(&self) -> (Option<&Value>, String) {
        match self {
            There::Number(_, number) => (Some(number), format!("before, {}", source(number))),
            There::Removed(_, why) => {
                let why = why.to_string();
                let why = why.split_once("; ").map_or(&*why, |(why, _)| why);
                (None, format!("before, {why}"))
            }
            There::Nothing(_) => (None, "before, none of ours".to_owned()),
        }
    }
}

fn find(client: &Client, did: &str) -> Result<There, Failed> {
    let answer = client.answer_to(Question::get(&path_of(did)))?;
    let etag = answer.headers.get(header::ETAG).and_then(|etag| etag.to_str().ok()).map(str::to_owned);
    match (answer.status, etag) {
        (StatusCode::NOT_FOUND, Some(etag)) => Ok(There::Removed(etag, answer.refusal())),
        (StatusCode::NOT_FOUND, None) => Ok(There::Nothing(answer.refusal())),
        (status, etag) if status.is_success() => Ok(There::Number(etag.unwrap_or_default(), answer.json()?)),
        _ => Err(answer.refusal()),
    }
}

/// As it is told, its version among it.
fn with_version(etag: &str, mut number: Value) -> Value {
    if let Some(number) = number.as_object_mut() {
        number.insert("etag".to_owned(), etag.trim_matches('"').into());
    }
    number
}

/// Replaces the version that is named, or in `body`; without one it makes the number, and replaces none.
fn put(client: &Client, did: &str, body: &str, if_match: Option<&str>, out: Out) -> Result<Value, Failed> {
    let there = find(client, did)?;
    let named = serde_json::from_str::<Value>(body).ok();
    let named = named.as_ref().and_then(|body| body.get("etag")?.as_str());
    let version = if_match.or(named).map(in_quotes);
    let condition = match &version {
        Some(etag) => ("If-Match", etag.as_str()),
        None => ("If-None-Match", "*"),
    };
    let question = Question {
        method: "PUT",
        path: &path_of(did),
        headers: &[condition],
        body: Some(("application/json", body)),
    };
    told(client, did, question, &there, out)
}

/// As it is now. What was there before is told beside it, so that whoever changes it sees what they have replaced, also what
/// was set since they looked.
fn told(
    client: &Client,
    did: &str,
    question: Question<'_>,
    there: &There,
    out: Out,
) -> Result<Value, Failed> {
    let answer = client.ask_for(question)?;
    let now: Value = answer.json()?;
    let (before, said) = there.before();
    out.message(match answer.status {
        StatusCode::CREATED => format!("{did} is new; {said}"),
        _ => format!("{did} is changed; {said}"),
    });
    differences(before, Some(&now)).iter().for_each(|line| out.message(format_args!("  {line}")));
    for warning in answer.headers.get_all(WARNING).iter().filter_map(|warning| warning.to_str().ok()) {
        out.message(format_args!("warning: {warning}"));
    }
    let etag = answer.headers.get(header::ETAG).and_then(|etag| etag.to_str().ok()).unwrap_or_default();
    Ok(with_version(etag, now))
}

/// Who says what a number does.
fn source(number: &Value) -> String {
    let told = |key: &str| number.get(key).and_then(Value::as_str).unwrap_or_default();
    match told("source") {
        "http" => printable(&format!("set over HTTP by {}, {}", told("set_by"), told("set_at"))).into_owned(),
        _ => "from the files".to_owned(),
    }
}

/// Key by key what one says otherwise than the other: `timeout: 20 -> 15`.
fn differences(before: Option<&Value>, now: Option<&Value>) -> Vec<String> {
    let said = |number: Option<&Value>| number.and_then(Value::as_object).cloned().unwrap_or_default();
    let (before, now) = (said(before), said(now));
    let gone = before.keys().filter(|key| !now.contains_key(*key));
    let all = now.keys().chain(gone).filter(|key| *key != "did" && !TOLD.contains(&key.as_str()));
    let shown = |value: Option<&Value>| match value {
        Some(value) => printable(&value.to_string()).into_owned(),
        None => "not written".to_owned(),
    };
    all.filter(|key| before.get(*key) != now.get(*key))
        .map(|key| format!("{key}: {} -> {}", shown(before.get(key)), shown(now.get(key))))
        .collect()
}

fn set(
    client: &Client,
    did: &str,
    keys: &Map<String, Value>,
    if_match: Option<&str>,
    out: Out,
) -> Result<Value, Failed> {
    let there = find(client, did)?;
    let body = Value::Object(keys.clone()).to_string();
    let path = path_of(did);
    let named = if_match.map(in_quotes);
    let version = named.as_deref().or(there.version()).unwrap_or("*");
    let patch = Question {
        method: "PATCH",
        path: &path,
        headers: &[("If-Match", version)],
        body: Some(("application/merge-patch+json", body.as_str())),
    };
    // What is none is made, unless somebody has made it since, or removed it once more.
    let condition = match &there {
        There::Number(..) => None,
        There::Removed(..) => Some(("If-Match", version)),
        There::Nothing(_) => named.is_none().then_some(("If-None-Match", "*")),
    };
    let make = Question {
        method: "PUT",
        headers: condition.as_slice(),
        body: Some(("application/json", body.as_str())),
        ..Question::get(&path)
    };
    told(client, did, if condition.is_some() { make } else { patch }, &there, out)
}

/// An ETag as it may be typed, without its quotes too.
fn in_quotes(etag: &str) -> String {
    format!("\"{}\"", etag.trim_matches('"'))
}

fn unset(client: &Client, dids: &[String], delete: bool, out: Out) -> Result<Exit, Failed> {
    let dids = dids.iter().map(|did| whole(client, did)).collect::<Result<Vec<_>, _>>()?;
    let mut done = Vec::new();
    let now = if delete { "is removed" } else { "is as the files have it" };
    for did in dids {
        if let Err(failed) = unset_one(client, did, delete, out) {
            done.iter().for_each(|did| out.message(format_args!("{did} {now}")));
            return Err(failed);
        }
        done.push(did);
    }
    out.result(&json!({ "unset": done }), || done.iter().map(|did| format!("{did} {now}\n")).collect())
}

fn unset_one(client: &Client, did: &str, delete: bool, out: Out) -> Result<(), Failed> {
    let there = find(client, did)?;
    let path = if delete { path_of(did) } else { format!("{}?to=files", path_of(did)) };
    let headers = there.version().map(|etag| ("If-Match", etag));
    let question = Question { method: "DELETE", path: &path, headers: headers.as_slice(), body: None };
    let answer = client.ask_for(question)?;
    // Nothing where it is none of ours.
    let after: Option<Value> = if answer.body.is_empty() { None } else { Some(answer.json()?) };
    let (before, said) = there.before();
    let now = match &after {
        Some(_) => "is changed".to_owned(),
        // It is done, whatever comes of this question.
        None => match block_of(client, did) {
            Ok(Some(block)) => format!("is served by the block {block} now"),
            Ok(None) => "is none of ours now".to_owned(),
            Err(_) => "is no number of its own now".to_owned(),
        },
    };
    out.message(format_args!("{did} {now}; {said}"));
    differences(before, after.as_ref()).iter().for_each(|line| out.message(format_args!("  {line}")));
    Ok(())
}

/// The block that serves a number, or a block, which is none of ours itself: the longest that holds it decides, also where it
/// is disabled.
fn block_of(client: &Client, did: &str) -> Result<Option<String>, Failed> {
    // What serves a number is asked for first: mostly nothing does.
    let is_number = !did.ends_with('*');
    let route = format!("{}/route", path_of(did));
    if is_number && !client.answer_to(Question::get(&route))?.status.is_success() {
        return Ok(None);
    }
    let digits = did.trim_start_matches('+').trim_end_matches('*');
    let longest = digits.len().saturating_sub(1).min(MAX_DIGITS - 1);
    for digits in (1..=longest).rev().filter_map(|len| digits.get(..len)) {
        let block = format!("+{digits}*");
        if let There::Number(_, number) = find(client, &block)? {
            let is_off = number.get("enabled") == Some(&Value::Bool(false));
            return Ok(Some(block).filter(|_| !is_off));
        }
    }
    Ok(None)
}

fn list(client: &Client, q: Option<&str>, set: bool, most: usize) -> Result<Vec<Value>, Failed> {
    let mut asked = String::new();
    if let Some(q) = q {
        asked += &format!("&q={}", escaped(q));
    }
    if set {
        asked += "&source=http";
    }
    let (mut items, mut after) = (Vec::new(), String::new());
    while items.len() < most {
        let limit = PAGE.min(most - items.len());
        let mut page: Value = client.get(&format!("/v1/numbers?limit={limit}{asked}{after}"))?;
        if let Some(Value::Array(more)) = page.get_mut("items").map(Value::take) {
            items.extend(more);
        }
        match page.get("next").and_then(Value::as_str) {
            Some(next) => after = format!("&after={}", escaped(next)),
            None => break,
        }
    }
    Ok(items)
}

fn export(client: &Client, file: Option<&Path>, out: Out) -> Result<Exit, Failed> {
    let items = list(client, None, true, usize::MAX)?;
    let mut text = String::from(
        "#:schema ../schema/routing.json\n# Numbers that were set over HTTP. Where other files have them too, take them out there.\n",
    );
    for item in &items {
        text.push('\n');
        text.push_str(&as_toml(item));
    }
    match file {
        None => out.result(&json!({ "items": items }), || text),
        Some(file) => {
            let failed = |error| Failed::Wrong(format!("{}: {error}", file.display()));
            std::fs::write(file, &text).map_err(failed)?;
            let told = json!({ "file": file.display().to_string(), "numbers": items.len() });
            out.result(&told, || format!("{} in {}\n", many(items.len()), file.display()))
        }
    }
}

fn many(count: usize) -> String {
    if count == 1 { "1 number".to_owned() } else { format!("{count} numbers") }
}

fn read(file: &Path) -> Result<String, Failed> {
    let mut text = String::new();
    let read = if file == Path::new("-") {
        std::io::stdin().lock().read_to_string(&mut text)
    } else {
        std::fs::File::open(file).and_then(|mut file| file.read_to_string(&mut text))
    };
    read.map_err(|error| Failed::Wrong(format!("{}: {error}", file.display())))?;
    Ok(text)
}

/// `key=value` as JSON.
fn parsed(keys: &[String]) -> Result<Map<String, Value>, Failed> {
    let mut all = Map::new();
    for text in keys {
        let Some((key, value)) = text.split_once('=') else {
            return Err(Failed::Wrong(format!("\"{text}\" is no key and value; write timeout=15")));
        };
        let value = value_of(key, value).map_err(|error| {
            Failed::Wrong(format!("{key}: {error}; write it as JSON, in quotes of the shell"))
        })?;
        all.insert(key.to_owned(), value);
    }
    Ok(all)
}

fn value_of(key: &str, value: &str) -> serde_json::Result<Value> {
    Ok(match value {
        "null" => Value::Null,
        json if json.starts_with(['{', '[']) => serde_json::from_str(json)?,
        // A label may be called so; of other texts it is a slip, which the node tells.
        flag @ ("true" | "false") if !NAMES.contains(&key) => Value::Bool(flag == "true"),
        whole if WHOLE.contains(&key) => whole.parse::<u64>().map_or_else(|_| whole.into(), Value::from),
        list if key == "ring" => {
            list.split('|').map(str::trim).filter(|name| !name.is_empty()).map(Value::from).collect()
        }
        text => text.into(),
    })
}

/// Lines that a terminal shows and does not obey.
fn on_terminal(text: &str) -> String {
    text.lines().map(|line| format!("{}\n", printable(line))).collect()
}

/// As it would stand in a file, with what is told of it as comments.
fn as_toml(number: &Value) -> String {
    let source = source(number);
    let Some(number) = number.as_object() else { return String::new() };
    let told = |key: &str| number.get(key).and_then(Value::as_str).unwrap_or_default();
    let mut text = format!("# {source}\n");
    if number.contains_key("etag") {
        text += &format!("# version {}, for --if-match\n", told("etag"));
    }
    if number.get("removed").is_some() {
        return format!("{text}# removed: {}, whatever the files say\n", told("did"));
    }
    if number.get("aside").is_some() {
        text += &format!("# not served so: {}\n", told("aside"));
    }
    let keys: Map<String, Value> = number
        .iter()
        .filter(|(key, _)| !TOLD.contains(&key.as_str()))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    let file = json!({ "number": [keys] });
    text + &toml::to_string(&file).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_is_of_the_type_that_its_key_wants() {
        let typed =
            ["timeout=15", "record=true", "label=15", "ring=alice|bob", "forward_to=", "profile=null"];
        let typed = typed.into_iter().chain(["record_notice=false"]);
        let typed = typed.chain(["whisper={\"file\": \"a.wav\"}"]).map(str::to_owned);
        let keys = parsed(&typed.collect::<Vec<_>>()).unwrap();
        let expected = json!({
            "timeout": 15, "record": true, "label": "15", "ring": ["alice", "bob"], "forward_to": "", "profile": null,
            "record_notice": false,
            "whisper": { "file": "a.wav" },
        });
        assert_eq!(Value::Object(keys), expected);
        assert!(parsed(&["timeout".to_owned()]).is_err());
        assert!(parsed(&["whisper={".to_owned()]).is_err());
        // Whether it is right is for the node to say.
        assert_eq!(
            Value::Object(parsed(&["timeout=soon".to_owned()]).unwrap()),
            json!({ "timeout": "soon" })
        );
    }

    #[test]
    fn an_exported_number_is_read_as_the_same() {
        let number = json!({
            "did": "+12015550101", "ring": ["alice"], "voicemail": { "greeting": "Hello", "max_seconds": 60, "min_seconds": 2 },
            "overflow": [{ "ring": ["bob"], "timeout": 10 }], "whisper": { "file": "prompts/a.wav" }, "timeout": 15,
            "forward_to": "", "source": "http", "set_at": "2026-11-01T10:00:00.000Z", "set_by": "alice", "generation": 7,
        });
        let text = as_toml(&number);
        let read: toml::Table = toml::from_str(&text).unwrap();
        let read = serde_json::to_value(&read["number"][0]).unwrap();
        let mut expected = number.as_object().unwrap().clone();
        TOLD.iter().for_each(|key| drop(expected.remove(*key)));
        assert_eq!(read, Value::Object(expected));
        assert!(
            text.starts_with("# set over HTTP by alice, 2026-11-01T10:00:00.000Z\n[[number]]\n"),
            "{text}"
        );
    }
}
