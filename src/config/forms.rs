//! The forms that values have. What a reader accepts and what the JSON Schema says is taken from the same constants: `check`
//! and an editor agree. What JSON Schema cannot say (a net without host bits, a country that there is) the reader alone knows;
//! whatever the schema refuses, the reader refuses too.

use schemars::Schema;
use serde_json::{Value, json};

use super::uri::MAX_URI;
use crate::number::MAX_DIGITS;

/// The longest text of a setting, in bytes; greetings are the longest that somebody writes.
pub(super) const MAX_TEXT: usize = 4096;
/// The longest name of a trunk, agent, profile or pool, in characters.
pub(super) const MAX_NAME: usize = 64;
/// The longest list in one key.
pub(super) const MAX_LIST: usize = 1000;

/// What JSON Schema says of a value.
pub(super) trait Form {
    fn say(&self, schema: &mut Schema);
}

/// To be named in `#[schemars(transform = …)]`.
pub(super) fn form(form: &'static dyn Form) -> impl FnMut(&mut Schema) {
    |schema| form.say(schema)
}

/// A whole number.
#[derive(Clone, Copy, Debug)]
pub(super) struct Whole {
    pub least: u32,
    pub most: u32,
    /// What it counts, as messages name it.
    pub unit: &'static str,
}

impl Whole {
    pub const fn of(unit: &'static str, least: u32, most: u32) -> Whole {
        Whole { least, most, unit }
    }

    /// As a schema of its own.
    pub fn schema(&self, default: u32) -> Value {
        json!({ "type": "integer", "minimum": self.least, "maximum": self.most, "default": default })
    }
}

impl Form for Whole {
    fn say(&self, schema: &mut Schema) {
        schema.insert("minimum".into(), self.least.into());
        schema.insert("maximum".into(), self.most.into());
    }
}

/// A text. How long it is counts characters here, and bytes where it is read: the schema lets a few more through.
#[derive(Clone, Copy, Debug)]
pub(super) struct Text {
    /// A regular expression that validators of all languages read alike: ASCII, and what is beside it.
    pub pattern: &'static str,
    pub least: usize,
    pub most: usize,
}

impl Text {
    const fn of(pattern: &'static str) -> Text {
        Text { pattern, least: 0, most: MAX_TEXT }
    }

    /// As a schema of its own.
    pub fn schema(&self) -> Schema {
        let mut schema = schemars::json_schema!({ "type": "string" });
        self.say(&mut schema);
        schema
    }
}

impl Form for Text {
    fn say(&self, schema: &mut Schema) {
        schema.insert("pattern".into(), self.pattern.into());
        schema.insert("maxLength".into(), self.most.into());
        if self.least > 0 {
            schema.insert("minLength".into(), self.least.into());
        }
    }
}

/// Line breaks and other controls end up in headers, records and terminals.
pub(super) const LINE: Text = Text::of(r"^[^\x00-\x1f\x7f-\x9f]*$");
/// One that says something.
pub(super) const SOMETHING: Text = Text { least: 1, ..LINE };
/// Of trunks, agents, profiles, pools and nodes. Outside of ASCII, letters and digits of any script.
pub(super) const NAME: Text = Text { pattern: r"^[^\x00-,/:-@\[-\^`{-\x9f]*$", least: 1, most: MAX_NAME };
/// It stands between quotes in every challenge, and phones hash what they read there (RFC 3261 §25.1); every challenge carries
/// it, and every answer.
pub(super) const REALM: Text = Text { pattern: r#"^[^"\\\x00-\x1f\x7f-\x9f]*$"#, least: 1, most: 128 };
/// A gateway, without a user part; the longest URI is in `uri.rs`.
pub(super) const GATEWAY: Text =
    Text { pattern: r"^[sS][iI][pP][sS]?:[!#-;=A-\[\]_a-z~]+$", least: 1, most: MAX_URI };
/// Where a phone is; empty: nowhere.
pub(super) const CONTACT: Text =
    Text { pattern: r"^([sS][iI][pP][sS]?:[!#-;=@-\[\]_a-z~]+)?$", least: 0, most: MAX_URI };
/// A net, or an address, with or without a port.
pub(super) const NET: Text = Text::of(r"^[0-9A-Fa-f.:/\[\]]+$");
/// An address.
pub(super) const IP: Text = Text::of(r"^[0-9A-Fa-f.:]+$");
/// An address with a port.
pub(super) const SOCKET: Text = Text::of(r"^([0-9.]+|\[[0-9A-Fa-f.:]+(%[0-9]+)?\]):[0-9]+$");
/// A host with a port; empty: none.
pub(super) const COLLECTOR: Text = Text::of(r"^(([0-9A-Za-z._-]+|\[[0-9A-Fa-f.:]+\]):[0-9]+)?$");
/// First and last port, from 1024 to 65535.
pub(super) const PORTS: Text = Text::of(
    r"^0*(102[4-9]|10[3-9][0-9]|1[1-9][0-9]{2}|[2-9][0-9]{3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])-0*(102[4-9]|10[3-9][0-9]|1[1-9][0-9]{2}|[2-9][0-9]{3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])$",
);
/// The first digits of numbers.
pub(super) const PREFIX: Text = Text { pattern: r"^\+[0-9]*$", least: 1, most: MAX_DIGITS + 1 };
/// Digits put before a number.
pub(super) const DIGITS: Text = Text::of(r"^\+?[0-9]{0,15}$");
/// What is dialled for help.
pub(super) const EMERGENCY: Text = Text { pattern: "^[0-9]*$", least: 2, most: 6 };
/// The name of a header (RFC 3261 §25.1: a token).
pub(super) const HEADER: Text = Text { pattern: r"^[0-9A-Za-z!%'*+._`~-]*$", least: 1, most: 64 };
/// MD5 and SHA-256 in hexadecimal; empty: none.
pub(super) const MD5: Text = Text::of("^([0-9A-Fa-f]{32})?$");
pub(super) const SHA256: Text = Text::of("^([0-9A-Fa-f]{64})?$");

/// A list.
#[derive(Clone, Copy, Debug)]
pub(super) struct List {
    /// What its items are, where they are texts.
    of: Option<Text>,
    least: usize,
    most: usize,
}

impl List {
    pub const fn of(text: Text) -> List {
        List { of: Some(text), least: 0, most: MAX_LIST }
    }

    /// Of what has a schema of its own.
    pub const fn up_to(most: usize) -> List {
        List { of: None, least: 0, most }
    }

    /// Not an empty one.
    pub const fn not_empty(self) -> List {
        List { least: 1, ..self }
    }
}

impl Form for List {
    fn say(&self, schema: &mut Schema) {
        schema.insert("maxItems".into(), self.most.into());
        if self.least > 0 {
            schema.insert("minItems".into(), self.least.into());
        }
        if let Some(text) = &self.of {
            schema.insert("items".into(), text.schema().into());
        }
    }
}

/// First digits of numbers.
pub(super) const PREFIXES: List = List::of(PREFIX);
/// Names of what other entries define: whether they do, the reader knows.
pub(super) const NAMES: List = List::of(LINE);

/// Written as an empty text, it unsets what would be inherited.
#[derive(Clone, Copy, Debug)]
pub(super) struct OrEmpty;

impl Form for OrEmpty {
    fn say(&self, schema: &mut Schema) {
        if let Some(forms) = schema.get_mut("anyOf").and_then(Value::as_array_mut) {
            forms.push(json!({ "const": "" }));
        }
    }
}
