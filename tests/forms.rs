//! What an editor is told by the JSON Schemas and what `check` says agree. Values at each bound and beyond it, and texts of all
//! kinds, are made from the schemas themselves and put in the place of each key of each section.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use serde_json::{Value, json};
use strowger::config;

#[path = "common/schema.rs"]
mod schema;

/// Keys of which JSON Schema cannot say all that `check` knows, and what that is. What the schema refuses `check` refuses
/// of these too.
const KNOWN_BY_THE_READER_ALONE: &[(&str, &str)] = &[
    ("trunk.from", "which texts are nets, and that no host bits are set"),
    ("trunk.gateways.uri", "which texts are URIs"),
    ("trunk.carry", "which headers are carried or written anew in any case"),
    ("agent.contact", "which texts are URIs"),
    ("caller_id.verified", "which texts are times"),
    ("node.country", "which countries there are"),
    ("listen.addr", "which texts are addresses"),
    ("listen.advertise", "which texts are addresses, and that they name one"),
    ("listen.transport", "that TLS wants a certificate"),
    ("media.addr", "which texts are addresses"),
    ("media.advertise", "which texts are addresses"),
    ("media.ports", "that the last comes after the first"),
    ("admin.addr", "which texts are addresses, and that one beside loopback wants a token"),
    ("public.addr", "which texts are addresses"),
    ("public.trusted_proxies", "which texts are nets"),
    ("capture.hep", "which texts are hosts"),
    ("voicemail.max_seconds", "that it is above min_seconds"),
    ("trunk.register", "that it wants a password"),
];

/// Texts that are right for one key or another, or nearly.
const TEXTS: &[&str] = &[
    "",
    " ",
    "a",
    "A-b_c.1",
    "a b",
    "a/b",
    "a:b",
    "a@b",
    "a[b",
    "a^b",
    "a`b",
    "a{b",
    "a\"b",
    "a\\b",
    "a\nb",
    "a\u{7f}b",
    "a\u{85}b",
    "Zoë",
    "0",
    "1",
    "12",
    "911",
    "123456",
    "1234567",
    "+",
    "+1",
    "+123456789012345",
    "+1234567890123456",
    "123456789012345",
    "1234567890123456",
    "+12015550101",
    "+1201555010",
    "+442071838750",
    "+0000000",
    "+1201555*",
    "+*",
    "+12345678901234*",
    "+123456789012345*",
    "2015550101",
    "sip:192.0.2.1",
    "SIPS:host.example.com:5061",
    "sip:alice@192.0.2.1",
    "sip:192.0.2.1;transport=tcp",
    "sip:192.0.2.1?x=y",
    "sip:300.1.1.1",
    "sip:host:0",
    "tel:+12015550101",
    "Via",
    "300.1.1.1",
    "127.0.0.1:99999",
    "0.0.0.0:5060",
    "host..example.com:9060",
    "1030-1024",
    "192.0.2.1",
    "192.0.2.0/24",
    "192.0.2.1:5060",
    "127.0.0.1:5060",
    "[2001:db8::1]:5060",
    "[2001:db8::1",
    "2001:db8::1",
    "2001:db8::/32",
    "host:9060",
    "host:+9060",
    "US",
    "us",
    "USA",
    "1023-2000",
    "1024-1030",
    "01024-01030",
    "+1024-1030",
    "60000-65535",
    "60000-65536",
    "1024-",
    "X-Token",
    "X Token",
    "X|Token",
    "0123456789abcdef0123456789ABCDEF",
    "0123456789abcdef0123456789ABCDE",
    "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
    "2026-11-01T10:00:00Z",
    "udp",
    "tls",
    "auto",
    "e164",
    "reject",
];

/// An entry of each section that is right, in which one key after another is replaced.
fn entries() -> Value {
    json!({
        "defaults": {},
        "profile": [{ "name": "p" }],
        "trunk": [{ "name": "t", "gateways": [{ "uri": "sip:192.0.2.1" }], "auth": { "username": "u" } }],
        "agent": [{ "name": "a" }],
        "number": [{ "did": "+12015550101", "overflow": [{ "ring": [] }], "voicemail": {}, "whisper": { "file": "a.wav" } }],
        "caller_id": [{ "number": "+12015550142" }],
        "pool": [{ "name": "w" }],
        "emergency": {},
        "dial": {},
        "node": {}, "listen": [{}], "media": {}, "admin": {}, "public": {}, "speech": {}, "limits": {}, "capture": {},
        "retention": {},
    })
}

#[test]
fn what_the_schemas_refuse_check_refuses_and_what_they_let_pass_it_reads() {
    let schemas = Schemas::new();
    let (mut disagreements, mut judged) = (Vec::new(), 0);
    let mut looser: Vec<&str> = Vec::new();
    for (section, written) in entries().as_object().unwrap() {
        let form = schemas.of(section);
        let entry = if written.is_array() { &written[0] } else { written };
        let mut at = vec![section.clone()];
        schemas.each_key(&form, entry, &mut at, &mut |path, value| {
            let mut entry = entry.clone();
            let pointer: String = path[1..].iter().map(|key| format!("/{key}")).collect();
            set(&mut entry, &path[1..], value.clone());
            judged += 1;
            let by_schema = schema::violations(schemas.root(section), &whole(section, written, &entry));
            let by_reader = read(section, written, &entry);
            let name = path.iter().filter(|key| key.parse::<usize>().is_err()).cloned().collect::<Vec<_>>();
            let name = name.join(".").replace("number.voicemail", "voicemail");
            if by_schema.is_empty() == by_reader.is_empty() {
                return;
            }
            let known = KNOWN_BY_THE_READER_ALONE.iter().find(|(key, _)| name == *key);
            if let Some((key, _)) = known.filter(|_| by_schema.is_empty()) {
                looser.push(key);
            } else {
                disagreements
                    .push(format!("{name}{pointer} = {}: {by_schema:?} {by_reader:?}", short(value)));
            }
        });
    }
    let stale = KNOWN_BY_THE_READER_ALONE.iter().filter(|(key, _)| !looser.contains(key));
    assert_eq!(stale.collect::<Vec<_>>(), Vec::<&(&str, &str)>::new(), "of these the schemas say all");
    assert!(judged > 3_000, "only {judged} were judged");
    assert!(disagreements.is_empty(), "{} of {judged}:\n{}", disagreements.len(), disagreements.join("\n"));
}

/// Each way in which a number may say whom it rings.
#[test]
fn a_step_without_anybody_who_rings_is_refused_by_schema_and_check_alike() {
    for (step, fits) in [
        (json!({}), false),
        (json!({ "timeout": 15 }), false),
        (json!({ "ring": [] }), true),
        (json!({ "ring": [], "timeout": 15 }), true),
        (json!({ "forward_to": "" }), true),
        (json!({ "forward_to": "+442071838750" }), true),
        (json!({ "forward_to": "442071838750" }), false),
        (json!({ "ring": [], "timeout": 0 }), false),
    ] {
        let entry = json!({ "did": "+12015550101", "overflow": [step] });
        let section = json!([entry]);
        let schemas = Schemas::new();
        let by_schema = schema::violations(schemas.root("number"), &json!({ "number": section }));
        assert_eq!(by_schema.is_empty(), fits, "{step}: {by_schema:?}");
        assert_eq!(read("number", &section, &entry).is_empty(), fits, "{step}");
    }
}

/// What the schemas let pass and no more: a value that is right today is read tomorrow.
#[test]
fn every_key_that_an_empty_text_unsets_may_be_written_so() {
    let keys =
        ["forward_to", "caller_id", "profile", "whisper", "record_notice", "assigned_to", "trunk", "pool"];
    let schemas = Schemas::new();
    for key in keys {
        let entry = json!({ "did": "+12015550101", key: "" });
        let section = json!([entry]);
        assert_eq!(
            schema::violations(schemas.root("number"), &json!({ "number": section })),
            Vec::<String>::new()
        );
        assert_eq!(read("number", &section, &entry), Vec::<String>::new());
    }
}

/// The mistakes that the reader finds, but for those that name other entries, or none that JSON Schema could know.
fn read(section: &str, written: &Value, entry: &Value) -> Vec<String> {
    const OTHERS: &[&str] = &[
        "does not exist",
        "is not verified",
        "is forbidden by [dial]",
        "is a number of ours",
        "stands in carry twice",
        "is written twice",
        "No such file",
    ];
    let text = toml::to_string(&whole(section, written, entry)).unwrap();
    let Err(errors) = config::parse(&text, &|_| Some("secret".to_owned())) else { return Vec::new() };
    let errors = errors.iter().map(ToString::to_string);
    errors.filter(|error| !OTHERS.iter().any(|other| error.contains(other))).collect()
}

/// A file with that entry alone.
fn whole(section: &str, written: &Value, entry: &Value) -> Value {
    let section_is = if written.is_array() { json!([entry]) } else { entry.clone() };
    json!({ section: section_is })
}

fn set(entry: &mut Value, path: &[String], value: Value) {
    let mut at = entry;
    for key in path {
        at = match key.parse::<usize>() {
            Ok(place) => &mut at[place],
            Err(_) => &mut at[key.as_str()],
        };
    }
    *at = value;
}

fn short(value: &Value) -> String {
    value.to_string().chars().take(60).collect()
}

struct Schemas {
    node: Value,
    routing: Value,
}

impl Schemas {
    fn new() -> Schemas {
        let all = config::schemas();
        let schema = |name: &str| {
            serde_json::from_str(&all.iter().find(|(known, _)| *known == name).unwrap().1).unwrap()
        };
        Schemas { node: schema("node.json"), routing: schema("routing.json") }
    }

    fn root(&self, section: &str) -> &Value {
        if self.routing["properties"].get(section).is_some() { &self.routing } else { &self.node }
    }

    /// Of one entry of a section.
    fn of(&self, section: &str) -> (Value, Value) {
        let root = self.root(section);
        let written = forms(root, &root["properties"][section]).remove(0);
        let written =
            if written.get("items").is_some() { resolved(root, &written["items"]) } else { written };
        assert!(written["properties"].is_object(), "{section} has no keys");
        (root.clone(), written)
    }

    /// Each key of an entry with each value that is to be judged, and the keys inside of what is written of it.
    fn each_key(
        &self,
        (root, form): &(Value, Value),
        entry: &Value,
        at: &mut Vec<String>,
        judge: &mut dyn FnMut(&[String], &Value),
    ) {
        for (key, of_key) in form["properties"].as_object().into_iter().flatten() {
            at.push(key.clone());
            let forms = forms(root, of_key);
            forms.iter().for_each(|form| values(root, form).iter().for_each(|value| judge(at, value)));
            if entry[key].is_object() {
                let inner = forms.iter().find(|form| form["properties"].is_object()).unwrap();
                self.each_key(&(root.clone(), inner.clone()), &entry[key], at, judge);
            }
            if entry[key][0].is_object() {
                let inner = forms.iter().find_map(|form| form.get("items")).unwrap();
                at.push("0".to_owned());
                self.each_key(&(root.clone(), resolved(root, inner)), &entry[key][0], at, judge);
                at.pop();
            }
            at.pop();
        }
    }
}

fn resolved(root: &Value, form: &Value) -> Value {
    match form["$ref"].as_str() {
        Some(path) => root.pointer(path.trim_start_matches('#')).unwrap().clone(),
        None => form.clone(),
    }
}

/// The forms that a value may have, one by one.
fn forms(root: &Value, form: &Value) -> Vec<Value> {
    let form = resolved(root, form);
    let several = ["anyOf", "oneOf"].iter().find_map(|key| form[*key].as_array().cloned());
    match several.filter(|_| form["properties"].is_null()) {
        Some(several) => several.iter().flat_map(|form| forms(root, form)).collect(),
        None => vec![form],
    }
}

/// Values at and beyond the bounds of a form, and all texts where it is one.
fn values(root: &Value, form: &Value) -> Vec<Value> {
    let is = |kind: &str| {
        let kinds = form["type"].as_array();
        kinds.map_or(form["type"] == kind, |kinds| kinds.iter().any(|of| of == kind))
    };
    let mut all = vec![json!(true), json!(7), json!({ "unheard": 1 }), json!([["a"]])];
    let whole = |key: &str| form[key].as_f64().map(|bound| bound as i64);
    let [least, most] = [whole("minimum"), whole("maximum")];
    if is("integer") {
        assert!(least.is_some() && most.is_some(), "a number without bounds: {form}");
        let bounds = least.into_iter().chain(most).flat_map(|bound| [bound - 1, bound, bound + 1]);
        all.extend(bounds.map(Value::from));
    }
    if is("string") || form["const"].is_string() || form["enum"].is_array() {
        let [least, most] = ["minLength", "maxLength"].map(|key| form[key].as_u64().unwrap_or(1) as usize);
        let lengths = [least.saturating_sub(1), least, most, most + 1];
        all.extend(lengths.iter().flat_map(|length| ["a", "1"].map(|one| json!(one.repeat(*length)))));
        all.extend(TEXTS.iter().map(|text| json!(text)));
    }
    if is("array") {
        let most = form["maxItems"].as_u64().unwrap_or_else(|| panic!("a list without a bound: {form}"));
        let items = forms(root, &form["items"]);
        let item = &items[0];
        let texts = if item["properties"].is_null() { values(root, item) } else { vec![json!({})] };
        all.extend(texts.iter().map(|text| json!([text])));
        all.push(json!([]));
        let right = |n: u64| match item["properties"].get("uri") {
            Some(_) => json!({ "uri": format!("sip:192.0.2.1:{}", 5_060 + n) }),
            None if item["properties"].get("ring").is_some() => json!({ "ring": [] }),
            None if item["pattern"].as_str().is_some_and(|form| form.starts_with("^\\+")) => json!("+1"),
            None if item["pattern"].as_str().is_some_and(|form| form.contains("A-Fa-f")) => {
                json!("192.0.2.1")
            }
            None if item["minLength"] == 2 => json!("911"),
            None => json!(format!("X-{n}")),
        };
        for count in [most, most + 1] {
            all.push((0..count).map(right).collect());
        }
    }
    all
}
