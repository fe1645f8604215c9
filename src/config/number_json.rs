//! The JSON forms of what a number may say, where they are more than one field after another.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::ser::{SerializeMap, SerializeStruct};
use serde::{Serialize, Serializer};

use super::forms::{LINE, NAME};
use super::number::{
    Dialled, Keys, MAX_MESSAGE, MAX_SECONDS, MIN_MESSAGE, MIN_SECONDS, Number, Overflow, Profile, Prompt,
    Voicemail,
};
use super::overlay::{Entry, Set};
use crate::time::rfc3339;

impl fmt::Display for Dialled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Dialled::Number(number) => number.fmt(f),
            Dialled::Block(prefix) => write!(f, "{prefix}*"),
        }
    }
}

impl Serialize for Dialled {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for Dialled {
    fn schema_name() -> Cow<'static, str> {
        "Did".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "An E.164 number, or a block of them: +1201555*. The longest match wins.",
            "pattern": r"^\+(1[0-9]{10}|[02-9][0-9]{6,14}|[0-9]{1,14}\*)$",
        })
    }
}

/// What it does not say is left out, so that it is read back as it was: one of them has to be there.
impl Serialize for Overflow {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if !self.ring.is_empty() || self.forward_to.is_none() {
            map.serialize_entry("ring", &self.ring)?;
        }
        if let Some(forward) = &self.forward_to {
            map.serialize_entry("forward_to", forward)?;
        }
        if let Some(timeout) = &self.timeout {
            map.serialize_entry("timeout", timeout)?;
        }
        map.end()
    }
}

impl Serialize for Prompt {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Prompt::Text(text) => serializer.serialize_str(text),
            Prompt::File { written, .. } => {
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry("file", written)?;
                map.end()
            }
        }
    }
}

impl JsonSchema for Prompt {
    fn schema_name() -> Cow<'static, str> {
        "Prompt".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A text to be said, or a sound file: absolute, or relative to the file that names it.",
            "oneOf": [
                LINE.schema(),
                {
                    "type": "object",
                    "properties": { "file": LINE.schema() },
                    "required": ["file"],
                    "additionalProperties": false,
                },
            ],
        })
    }
}

impl Serialize for Voicemail {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Voicemail::Off => serializer.serialize_bool(false),
            plain if *plain == Voicemail::PLAIN => serializer.serialize_bool(true),
            Voicemail::On { greeting, max_seconds, min_seconds } => {
                let mut map = serializer.serialize_struct("Voicemail", 3)?;
                if let Some(greeting) = greeting {
                    map.serialize_field("greeting", greeting)?;
                }
                map.serialize_field("max_seconds", max_seconds)?;
                map.serialize_field("min_seconds", min_seconds)?;
                map.end()
            }
        }
    }
}

impl JsonSchema for Voicemail {
    fn schema_name() -> Cow<'static, str> {
        "Voicemail".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let prompt = generator.subschema_for::<Prompt>();
        json_schema!({
            "description": "Whether, and how, a message is taken when nobody answers.",
            "default": true,
            "oneOf": [
                { "type": "boolean" },
                {
                    "type": "object",
                    "properties": {
                        "greeting": prompt,
                        "max_seconds": MAX_MESSAGE.schema(MAX_SECONDS),
                        "min_seconds": MIN_MESSAGE.schema(MIN_SECONDS),
                    },
                    "additionalProperties": false,
                },
            ],
        })
    }
}

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        with_first(serializer, "did", &self.did, &self.keys)
    }
}

impl JsonSchema for Number {
    fn schema_name() -> Cow<'static, str> {
        "Number".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let did = generator.subschema_for::<Dialled>();
        keys_and(generator, "did", did)
    }
}

impl Serialize for Profile {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        with_first(serializer, "name", &self.name, &self.keys)
    }
}

impl JsonSchema for Profile {
    fn schema_name() -> Cow<'static, str> {
        "Profile".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = keys_and(generator, "name", NAME.schema());
        // A profile has no profile.
        if let Some(properties) = schema.get_mut("properties").and_then(|p| p.as_object_mut()) {
            properties.remove("profile");
        }
        schema
    }
}

/// A number as operators are told of it: what it says, and who says so.
#[derive(Debug)]
pub struct Told<'n> {
    pub number: &'n Number,
    /// None: the files do.
    pub entry: Option<&'n Entry>,
}

impl Serialize for Told<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let keys = serde_json::to_value(&self.number.keys).map_err(serde::ser::Error::custom)?;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("did", &self.number.did)?;
        for (key, value) in keys.as_object().into_iter().flatten() {
            map.serialize_entry(key, value)?;
        }
        map.serialize_entry("source", if self.entry.is_some() { "http" } else { "files" })?;
        if let Some(entry) = self.entry {
            map.serialize_entry("set_at", &rfc3339::to_string(entry.at))?;
            map.serialize_entry("set_by", &entry.by)?;
            map.serialize_entry("generation", &entry.generation)?;
            match &entry.set {
                Set::To(_) => {}
                Set::Removed => map.serialize_entry("removed", &true)?,
                Set::Aside { why, .. } => map.serialize_entry("aside", why)?,
            }
        }
        map.end()
    }
}

impl JsonSchema for Told<'_> {
    fn schema_name() -> Cow<'static, str> {
        "ToldNumber".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let did = generator.subschema_for::<Dialled>();
        let mut schema = keys_and(generator, "did", did);
        // Readers ignore unknown keys.
        schema.remove("additionalProperties");
        if let Some(properties) = schema.get_mut("properties").and_then(|p| p.as_object_mut()) {
            let told = serde_json::json!({
                "source": { "enum": ["files", "http"], "description": "Who says so: the files, or whoever set it over HTTP." },
                "set_at": { "type": "string", "format": "date-time", "description": "When it was set over HTTP …" },
                "set_by": { "type": "string", "description": "… and by whom, as they say." },
                "generation": { "type": "integer", "description": "The generation in which it was first served so." },
                "removed": { "type": "boolean", "description": "It was removed over HTTP, whatever the files say." },
                "aside": { "type": "string", "description": "Why it is not served so: it does not check with the files any more." },
            });
            properties.extend(told.as_object().cloned().unwrap_or_default());
        }
        schema.insert("required".into(), serde_json::json!(["did", "source"]));
        schema
    }
}

/// The keys of a number as one object, another key before them.
fn with_first<S: Serializer>(
    serializer: S,
    name: &'static str,
    value: &impl Serialize,
    keys: &Keys,
) -> Result<S::Ok, S::Error> {
    let keys = serde_json::to_value(keys).map_err(serde::ser::Error::custom)?;
    let keys = keys.as_object().into_iter().flatten();
    let mut map = serializer.serialize_map(None)?;
    map.serialize_entry(name, value)?;
    for (key, value) in keys {
        map.serialize_entry(key, value)?;
    }
    map.end()
}

/// The schema of the keys with one more, which is required.
fn keys_and(generator: &mut SchemaGenerator, name: &str, value: Schema) -> Schema {
    let mut schema = Keys::json_schema(generator);
    if let Some(properties) = schema.get_mut("properties").and_then(|p| p.as_object_mut()) {
        properties.insert(name.to_owned(), value.into());
    }
    schema.insert("required".into(), serde_json::json!([name]));
    schema
}
