//! The JSON forms of what a number may say, where they are more than one field after another.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::ser::{SerializeMap, SerializeStruct};
use serde::{Serialize, Serializer};

use super::number::{Dialled, Keys, Number, Profile, Prompt, Voicemail};

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
                { "type": "string" },
                {
                    "type": "object",
                    "properties": { "file": { "type": "string" } },
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
                        "max_seconds": { "type": "integer", "minimum": 1, "maximum": 3600, "default": 120 },
                        "min_seconds": { "type": "integer", "minimum": 0, "maximum": 60, "default": 2 },
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
        let name = generator.subschema_for::<String>();
        keys_and(generator, "name", name)
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
