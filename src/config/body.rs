//! A number as a program sends it: JSON, turned into what the reader of files reads, so that both are read, judged and
//! refused by the same code. It says all that was sent, or is refused. Line and column are those of the JSON.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::path::Path;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::fields::{Fields, shown};
use super::number::{Dialled, Keys, Number, read_number};
use super::place::{At, Finding, Place, Report};
use super::source::Lines;

/// What is told beside what a number says, and may come back with it: it is not read.
const TOLD: [&str; 7] = ["etag", "source", "set_at", "set_by", "generation", "removed", "aside"];
/// How deep its lists and tables may lie; a number's are two deep.
const MAX_DEPTH: usize = 8;
/// The longest body, in bytes: what a number may say, and room to write it in.
pub const MAX_BODY: usize = 256 << 10;
/// What to send.
const OBJECT: &str = "send an object like {\"ring\": [\"alice\"]}";

/// What was sent of a number, as it was read.
#[derive(Debug)]
pub struct Sent {
    /// What could be read, where there are mistakes.
    pub number: Option<Number>,
    pub errors: Vec<Finding>,
    pub warnings: Vec<Finding>,
    pub origin: Origin,
}

/// Where each line comes from that findings name: a number is made of what was sent, of what is stored where that is patched,
/// and of the path.
#[derive(Debug, Default)]
pub struct Origin {
    name: String,
    did: String,
    /// How many lines were sent. The path's is the next, and what is stored follows.
    sent: u32,
    /// What is stored: in which line each key begins.
    stored: Vec<(u32, String)>,
}

impl Origin {
    /// The same with a place in what was sent: what is not wrong there names what is, and is placed at its beginning.
    pub fn told(&self, finding: Finding) -> Finding {
        if finding.file != self.name || finding.line <= self.sent {
            return finding;
        }
        let Finding { line, message, .. } = &finding;
        let key = self.stored.iter().rev().find(|(begins, _)| begins <= line);
        let message = match key {
            _ if *line == self.sent + 1 => format!("the path says {}: {message}", self.did),
            Some((_, key)) => format!("{key}, as it is stored: {message}"),
            None => format!("as it is stored: {message}"),
        };
        Finding { line: 1, column: 1, message, ..finding }
    }
}

/// Reads what is said of a number: the keys of `[[number]]`, `did` left out or the same. `name`: what findings call the text.
/// `folder`: what a path in it is relative to. Names are not judged: see [`super::judge`]. What comes back beside mistakes is what could
/// be read.
pub fn read_body(name: &str, text: &str, did: Dialled, folder: &Path) -> (Option<Number>, Vec<Finding>) {
    let Sent { number, errors, .. } = read_sent(name, text, None, did, folder);
    (number, errors)
}

/// The same, with warnings, and where each line comes from. `stored`: what it is merged into (RFC 7396), a key a line.
pub fn read_sent(name: &str, text: &str, stored: Option<&str>, did: Dialled, folder: &Path) -> Sent {
    let report = Report::default();
    let all = format!("{text}\n{did}\n{}", stored.unwrap_or_default());
    let mut origin = Origin { name: name.to_owned(), did: did.to_string(), ..Origin::default() };
    let number = match report.add_file(Path::new(name)) {
        Some(file) => {
            let lines = Lines::of(file, &all);
            origin.sent = lines.place(text.len()).line;
            let (path, end) = (text.len() + 1, text.len() + 1 + origin.did.len());
            let whole = Whole { text: &all, lines: &lines, report: &report };
            let parts =
                Parts { sent: &all[..text.len()], path: path..end, stored: stored.map(|_| &all[end + 1..]) };
            read(&whole, &parts, file, did, folder, &mut origin.stored)
        }
        None => None,
    };
    let (_, errors, warnings) = report.into_parts();
    let told = |findings: Vec<Finding>| findings.into_iter().map(|finding| origin.told(finding)).collect();
    let (errors, warnings) = (told(errors), told(warnings));
    Sent { number, errors, warnings, origin }
}

/// What a text is made of, one behind the other.
struct Parts<'t> {
    sent: &'t str,
    path: Range<usize>,
    stored: Option<&'t str>,
}

fn read<'t>(
    whole: &Whole<'t>,
    parts: &Parts<'t>,
    file: u16,
    did: Dialled,
    folder: &Path,
    keys: &mut Vec<(u32, String)>,
) -> Option<Number> {
    let top = Place { file, line: 1, column: 1 };
    if parts.sent.len() > MAX_BODY {
        whole.report.error(top, format!("it is longer than {MAX_BODY} bytes"), "leave something out");
        return None;
    }
    let mut table = whole.object(parts.sent, top)?;
    if let Some(stored) = parts.stored {
        let mut merged = whole.object(stored, top)?;
        *keys = merged
            .iter()
            .map(|(key, _)| (whole.lines.place(key.span().start).line, key.get_ref().to_string()))
            .collect();
        keys.sort_unstable();
        merge(&mut merged, table);
        table = merged;
    }
    let is_idle =
        |value: &&Spanned<DeValue<'_>>| is_null(value) || matches!(value.get_ref(), DeValue::Boolean(false));
    if let Some(removed) = table.get("removed").filter(|removed| !is_idle(removed)) {
        let what = "removed says that it is none of ours, and a number is set here";
        let remedy = "DELETE it to remove it, or leave removed out to make it anew";
        whole.report.error(whole.lines.place(removed.span().start), what, remedy);
    }
    if table.get("did").is_none_or(is_null) {
        table.remove("did");
        let key = Spanned::new(parts.path.clone(), Cow::from("did"));
        let written = &whole.text[parts.path.clone()];
        table.insert(key, Spanned::new(parts.path.clone(), DeValue::String(Cow::from(written))));
    }
    for key in TOLD {
        table.remove(key);
    }
    let fields = Fields::table("[[number]]", top, &table, whole.lines, whole.report);
    let number = read_number(&fields, folder, &mut Vec::new())?;
    if number.did.value != did {
        let what = format!("did is {}, and the path says {did}", number.did.value);
        whole.report.error(number.did.place, what, "leave it out, or write the number of the path");
    }
    Some(number)
}

/// RFC 7396 §2. What is null there is so in the whole.
fn merge<'t>(whole: &mut DeTable<'t>, patch: DeTable<'t>) {
    for (key, value) in patch {
        let before = whole.remove(&**key.get_ref()).map(Spanned::into_inner);
        let span = value.span();
        let value = match (before, value.into_inner()) {
            (Some(DeValue::Table(mut before)), DeValue::Table(patch)) => {
                merge(&mut before, patch);
                DeValue::Table(before)
            }
            (_, value) => value,
        };
        whole.insert(key, Spanned::new(span, value));
    }
}

/// As [`Fields`] knows what is not written, though its key is: a value of no length.
fn null(at: usize) -> Spanned<DeValue<'static>> {
    Spanned::new(at..at, DeValue::Boolean(false))
}

fn is_null(value: &Spanned<DeValue<'_>>) -> bool {
    value.span().is_empty()
}

/// The text that is read.
struct Whole<'t> {
    text: &'t str,
    lines: &'t Lines<'t>,
    report: &'t Report,
}

impl<'t> Whole<'t> {
    /// None: it cannot be read, which is told.
    fn object(&self, json: &'t str, top: Place) -> Option<DeTable<'t>> {
        let raw = match serde_json::from_str::<&RawValue>(json) {
            Ok(raw) => raw,
            Err(error) => {
                let place = self.lines.place(self.span(json).start + offset(&error, json));
                let said = error.to_string();
                let said = said.split(" at line ").next().unwrap_or_default();
                self.report.error(place, format!("JSON: {said}"), OBJECT);
                return None;
            }
        };
        if !raw.get().starts_with('{') {
            self.report.error(top, "it is no object", OBJECT);
            return None;
        }
        self.table(raw.get(), 0)
    }

    /// None: it cannot be read, which is told.
    fn value(&self, raw: &'t RawValue, depth: usize) -> Option<Spanned<DeValue<'t>>> {
        let json = raw.get();
        if depth > MAX_DEPTH {
            return self.refuse(
                json,
                "lists and objects lie deeper than any key holds them",
                "write what a number's key may hold",
            );
        }
        let value = match json.as_bytes().first() {
            Some(b'n') => return Some(null(self.span(json).start)),
            Some(b't') => DeValue::Boolean(true),
            Some(b'f') => DeValue::Boolean(false),
            Some(b'"') => DeValue::String(self.text(json)?),
            Some(b'[') => DeValue::Array(self.list(json, depth)?),
            Some(b'{') => DeValue::Table(self.table(json, depth)?),
            // A number: as TOML writes it, or with an exponent that it would not be a whole number with.
            Some(_) | None => match DeValue::parse(json) {
                Ok(value) => value.into_inner(),
                Err(_) => {
                    let what = "a number is written in a way that no key can hold";
                    return self.refuse(json, what, "write a whole number");
                }
            },
        };
        Some(Spanned::new(self.span(json), value))
    }

    fn text(&self, json: &'t str) -> Option<Cow<'t, str>> {
        match serde_json::from_str(json) {
            Ok(Text(text)) => Some(text),
            Err(_) => {
                let what = format!("the text {} holds half of a character", shown(json));
                self.refuse(json, &what, "write the character itself, or both of its \\u escapes")
            }
        }
    }

    fn list(&self, json: &'t str, depth: usize) -> Option<DeArray<'t>> {
        let Ok(items) = serde_json::from_str::<Vec<&'t RawValue>>(json) else {
            return self.refuse(json, "the list cannot be read", "write it anew");
        };
        let mut array = DeArray::new();
        for item in items {
            match self.value(item, depth + 1) {
                Some(value) if is_null(&value) => {
                    self.refuse::<()>(
                        item.get(),
                        "an entry of a list is null",
                        "write what it is to be, or leave it out",
                    );
                }
                Some(value) => array.push(value),
                None => {}
            }
        }
        Some(array)
    }

    fn table(&self, json: &'t str, depth: usize) -> Option<DeTable<'t>> {
        let Ok(Entries(entries)) = serde_json::from_str(json) else {
            return self.refuse(json, "the object cannot be read", "write it anew");
        };
        let mut table = DeTable::new();
        for (name, raw) in entries {
            let Some(key) = self.text(name.get()) else { continue };
            if table.contains_key(&*key) {
                let what = format!("\"{}\" is written twice", shown(&key));
                self.refuse::<()>(name.get(), &what, "keep one of them");
            }
            if let Some(value) = self.value(raw, depth + 1) {
                table.insert(Spanned::new(self.span(name.get()), key), value);
            }
        }
        Some(table)
    }

    /// Notes a mistake at a piece of the text.
    fn refuse<T>(&self, piece: &str, what: &str, remedy: &str) -> Option<T> {
        self.report.error(self.lines.place(self.span(piece).start), what, remedy);
        None
    }

    /// Where a piece of the text lies in it.
    fn span(&self, piece: &str) -> Range<usize> {
        let start = (piece.as_ptr() as usize).saturating_sub(self.text.as_ptr() as usize);
        start..start + piece.len()
    }
}

/// Where in a text its syntax ends, in bytes: the reader counts them from 1 in a line.
fn offset(error: &serde_json::Error, text: &str) -> usize {
    let before = text.split_inclusive('\n').take(error.line().saturating_sub(1)).map(str::len);
    let at = before.sum::<usize>() + error.column().saturating_sub(1);
    text.floor_char_boundary(at.min(text.len()))
}

/// A text, borrowed where it has no escapes.
#[derive(Deserialize)]
struct Text<'t>(#[serde(borrow)] Cow<'t, str>);

/// All entries of an object in their order, one that is written twice twice. Keys are as they are written, in quotes.
struct Entries<'t>(Vec<(&'t RawValue, &'t RawValue)>);

impl<'de> Deserialize<'de> for Entries<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Each;

        impl<'de> Visitor<'de> for Each {
            type Value = Entries<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries<'de>, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }

        deserializer.deserialize_map(Each)
    }
}

impl Number {
    /// As it is told and stored: JSON, a key a line, `did` first, then those that are written.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    /// The same, known to be set over HTTP.
    pub fn over_http(self) -> Number {
        let moved = |place: Place| Place { file: Place::OVER_HTTP, ..place };
        let mut keys: Keys = self.keys;
        keys.place_by(&moved);
        Number { did: At { place: moved(self.did.place), ..self.did }, keys }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Map, Value, json};

    use super::super::number::KEYS;
    use super::*;

    const DID: &str = "+12015550101";
    /// Stands in a generated text where half of a character is to be.
    const HALF: char = '\u{1f400}';

    fn sent(text: &str, stored: Option<&str>) -> Sent {
        read_sent("body", text, stored, DID.parse().unwrap(), Path::new("/routing"))
    }

    /// The mistakes, each in a line.
    fn refused(text: &str, stored: Option<&str>) -> String {
        let errors = sent(text, stored).errors;
        errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn what_of_a_body_cannot_be_read_is_a_mistake_at_its_place() {
        for (text, said) in [
            (
                r#"{"ring": ["alice", "al\ud800"]}"#,
                "body:1:20: the text \\\"al\\\\ud800\\\" holds half of a character; write",
            ),
            (r#"{"overflow": [{"ring": ["bob"], "timeout": "\udfff"}]}"#, "body:1:44: the text"),
            (r#"{"al\ud800": 1}"#, "body:1:2: the text"),
            (r#"{"voicemail": {"al\ud800": 1}}"#, "body:1:16: the text"),
            (r#"{"ring": ["alice", null]}"#, "body:1:20: an entry of a list is null; write"),
            (r#"{"overflow": [null]}"#, "body:1:15: an entry of a list is null"),
            (r#"{"rings": null}"#, "body:1:2: [[number]] has no key \"rings\"; did you mean \"ring\"?"),
            (r#"{"ring": null, "ring": ["bob"]}"#, "body:1:16: \"ring\" is written twice"),
            (r#"{"ring": ["a"], "r\u0069ng": ["b"]}"#, "body:1:17: \"ring\" is written twice"),
            (r#"{"whisper": {"file": "a", "file": "b"}}"#, "body:1:27: \"file\" is written twice"),
            (r#"{"overflow": [{"forward_to": null}]}"#, "body:1:15: a step of overflow rings nobody"),
            (
                r#"{"removed": true}"#,
                "body:1:13: removed says that it is none of ours, and a number is set here; DELETE it",
            ),
            (r#"{"timeout": 1e999}"#, "body:1:13: timeout is the number 1e999; write a whole number"),
            ("{\"label\": \"é\",\n \"ü\": x}", "body:2:7: JSON: expected value; send"),
        ] {
            let told = refused(text, None);
            assert!(told.starts_with(said), "{text}: {told}");
            let told = refused(text, Some("{\n  \"label\": \"a\"\n}"));
            assert!(told.starts_with(said), "merged: {text}: {told}");
        }
        let huge = format!("{{\"timeout\": {}}}", "9".repeat(100_000));
        assert!(refused(&huge, None).starts_with("body:1:13: timeout = 999"));
        for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
            let deep = format!("{{\"ring\": {}1{}}}", open.repeat(30_000), close.repeat(30_000));
            assert!(refused(&deep, None).contains("deeper than any key"));
        }
    }

    /// What is wrong is placed in what was sent, or at its beginning, and is said to be elsewhere.
    #[test]
    fn a_mistake_in_what_is_stored_is_told_as_such_at_the_beginning_of_the_patch() {
        let stored = "{\n  \"did\": \"+12015550101\",\n  \"overflow\": [\n    { \"ring\": [\"a\"], \"timeout\": 0 }\n  ],\n  \"voicemail\": { \"max_seconds\": 60 }\n}";
        let told = |patch: &str| refused(patch, Some(stored));
        let timeout = "body:1:1: overflow, as it is stored: timeout = 0 is out of range; write a whole number of seconds from 1 to 3600";
        assert_eq!(told("{}"), timeout);
        assert_eq!(told("{\n\n\"label\": \"a\"}"), timeout);
        assert_eq!(told("{\"overflow\": null}"), "");
        assert_eq!(
            told("{\"overflow\": [], \n \"voicemail\": {\"min_seconds\": 60}}"),
            "body:2:31: min_seconds = 60 is not below max_seconds = 60: no message would be kept; write less than 60"
        );
    }

    /// A number as its body says it, all of it.
    fn said(mut body: Value) -> Value {
        without_nulls(&mut body);
        let all = body.as_object_mut().unwrap();
        TOLD.iter().for_each(|key| drop(all.remove(*key)));
        all.insert("did".to_owned(), DID.into());
        if let Some(Value::Object(voicemail)) = all.get_mut("voicemail") {
            voicemail.retain(|_, value| *value != "");
            voicemail.entry("max_seconds").or_insert(120.into());
            voicemail.entry("min_seconds").or_insert(2.into());
            if *voicemail == *json!({ "max_seconds": 120, "min_seconds": 2 }).as_object().unwrap() {
                all.insert("voicemail".to_owned(), true.into());
            }
        }
        for step in all.get_mut("overflow").and_then(Value::as_array_mut).into_iter().flatten() {
            let step = step.as_object_mut().unwrap();
            step.retain(|_, value| *value != "" && *value != json!([]));
            if !step.contains_key("forward_to") {
                step.entry("ring").or_insert(json!([]));
            }
        }
        body
    }

    /// RFC 7396 says so of patches, and we of all.
    fn without_nulls(value: &mut Value) {
        match value {
            Value::Object(all) => {
                all.retain(|_, value| !value.is_null());
                all.values_mut().for_each(without_nulls);
            }
            Value::Array(all) => all.iter_mut().for_each(without_nulls),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    fn merged(whole: Value, patch: &Value) -> Value {
        let Value::Object(patch) = patch else { return patch.clone() };
        let mut all = if let Value::Object(all) = whole { all } else { Map::new() };
        for (key, value) in patch {
            let before = all.remove(key).unwrap_or_default();
            all.insert(key.clone(), merged(before, value));
        }
        Value::Object(all)
    }

    fn anything() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            (-3i64..4000).prop_map(Value::from),
            any::<f32>().prop_map(Value::from),
            "[a-z\u{1f400}\\x00\"]{0,3}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 12, 3, |inner| {
            let key = prop_oneof![Just("ring".to_owned()), Just("timeout".to_owned()), "[a-z\u{1f400}]{1,3}"];
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                proptest::collection::vec((key, inner), 0..3)
                    .prop_map(|all| Value::Object(all.into_iter().collect())),
            ]
        })
    }

    /// What that key may say.
    fn fitting(key: &str) -> BoxedStrategy<Value> {
        // Now and then with what nobody can say.
        let text = || {
            let half = Just(json!(format!("a{HALF}")));
            prop_oneof![20 => "[a-c]{0,2}".prop_map(Value::from), 1 => half]
        };
        let item = |fits: BoxedStrategy<Value>| prop_oneof![20 => fits, 1 => Just(Value::Null)];
        let names = move || proptest::collection::vec(item(text().boxed()), 0..3).prop_map(Value::from);
        let whole = |most: u32| (1..most).prop_map(Value::from);
        let forward = || prop_oneof![Just(json!("")), Just(json!("+12025550199"))];
        let prompt = || prop_oneof![text(), Just(json!({ "file": "a.wav" }))];
        let maybe = |value: BoxedStrategy<Value>| prop_oneof![1 => Just(Value::Null), 4 => value].boxed();
        let fits = match key {
            "did" => Just(json!(DID)).boxed(),
            "forward_to" | "caller_id" => forward().boxed(),
            "timeout" | "call_connect_seconds" | "assigned_head_start" => whole(100).boxed(),
            "pass_called_number" | "call_connect" | "whisper_agents" | "record" | "enabled" => {
                any::<bool>().prop_map(Value::from).boxed()
            }
            "whisper" | "record_notice" => prompt().boxed(),
            "ring" => names().boxed(),
            "overflow" => {
                let step = (names(), maybe(forward().boxed()), maybe(whole(60).boxed()))
                    .prop_map(|(ring, forward, timeout)| json!({ "ring": ring, "forward_to": forward, "timeout": timeout }));
                proptest::collection::vec(item(step.boxed()), 0..3).prop_map(Value::from).boxed()
            }
            "voicemail" => prop_oneof![
                any::<bool>().prop_map(Value::from),
                (maybe(prompt().boxed()), maybe(whole(200).boxed()), maybe(whole(5).boxed()))
                    .prop_map(|(greeting, max, min)| json!({ "greeting": greeting, "max_seconds": max, "min_seconds": min })),
            ]
            .boxed(),
            "removed" => any::<bool>().prop_map(Value::from).boxed(),
            _ => text().boxed(),
        };
        maybe(fits)
    }

    /// Entries of an object, some of which do not fit, or come twice.
    fn body() -> impl Strategy<Value = Vec<(String, Value)>> {
        let known = proptest::sample::select([KEYS, &TOLD].concat());
        let entry = known.prop_flat_map(|key| {
            let fits = fitting(key).prop_map(move |value| (key.to_owned(), value));
            let other = anything().prop_map(move |value| (key.to_owned(), value));
            let unknown = ("[a-z]{1,4}", anything());
            prop_oneof![60 => fits, 2 => other, 1 => unknown]
        });
        proptest::collection::vec(entry, 0..8)
    }

    /// As it is sent, and what it says if that can be said.
    fn written(entries: &[(String, Value)]) -> (String, Option<Value>) {
        let text = |value: &Value| value.to_string().replace(HALF, "\\udc00");
        let all: Vec<String> =
            entries.iter().map(|(key, value)| format!("{}: {}", text(&json!(key)), text(value))).collect();
        let text = format!("{{{}}}", all.join(", "));
        let object: Map<String, Value> = entries.iter().cloned().collect();
        let is_whole = object.len() == entries.len() && !text.contains("\\udc00");
        (text, is_whole.then_some(Value::Object(object)))
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2_000, max_global_rejects: 10_000, ..ProptestConfig::default() })]

        #[test]
        fn a_body_says_all_that_was_sent_or_is_refused(entries in body(), patch in body()) {
            let (text, whole) = written(&entries);
            let read = sent(&text, None);
            prop_assume!(read.errors.is_empty());
            let number = read.number.expect("a number, or mistakes");
            let whole = whole.expect("what cannot be said is refused");
            prop_assert_eq!(serde_json::to_value(&number).unwrap(), said(whole));
            // And so does what is merged into it.
            let stored = number.to_json();
            let (text, patch) = written(&patch);
            let read = sent(&text, Some(&stored));
            if read.errors.is_empty() {
                let number = read.number.expect("a number, or mistakes");
                let patch = patch.expect("what cannot be said is refused");
                let stored: Value = serde_json::from_str(&stored).unwrap();
                prop_assert_eq!(serde_json::to_value(&number).unwrap(), said(merged(stored, &patch)));
            }
        }

        /// Whatever its bytes are.
        #[test]
        fn a_mistake_has_a_place_in_what_was_sent(text in "[\\[\\]{}\",:a-c0-9.eE\\\\ud \n\u{e9}-]{0,60}", patched in any::<bool>()) {
            let Sent { number, errors, .. } = sent(&text, patched.then_some("{\n  \"ring\": []\n}"));
            prop_assert!(number.is_some() || !errors.is_empty());
            for Finding { line, column, .. } in errors {
                let line = text.split('\n').nth(line as usize - 1);
                prop_assert!(line.is_some_and(|line| column as usize <= line.chars().count() + 1), "{line:?} {column}");
            }
        }
    }
}
