//! JSON Schemas of what an operator writes, made from the types that it is read into.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema};

use super::{Agent, CallerId, Dial, Emergency, Finding, Keys, Node, Number, Pool, Profile, Trunk};

/// All that a file under `routing/` may hold.
#[derive(JsonSchema)]
#[schemars(title = "Routing", deny_unknown_fields)]
#[expect(dead_code, reason = "only its shape is used")]
struct Routing {
    /// Any key of `[[number]]`.
    #[schemars(default)]
    defaults: Keys,
    #[schemars(default)]
    profile: Vec<Profile>,
    #[schemars(default)]
    trunk: Vec<Trunk>,
    #[schemars(default)]
    agent: Vec<Agent>,
    #[schemars(default)]
    number: Vec<Number>,
    #[schemars(default)]
    caller_id: Vec<CallerId>,
    #[schemars(default)]
    pool: Vec<Pool>,
    emergency: Option<Emergency>,
    dial: Option<Dial>,
}

/// Every schema by its file's name under `config/schema/`, with its text.
pub fn schemas() -> Vec<(&'static str, String)> {
    vec![
        ("node.json", text(of::<Node>())),
        ("routing.json", text(of::<Routing>())),
        ("number.json", text(of::<Number>())),
        ("finding.json", text(of::<Finding>())),
    ]
}

fn of<T: JsonSchema>() -> Schema {
    // What may be written, not what is shown: a key with a default is not required.
    SchemaSettings::draft2020_12().for_deserialize().into_generator().into_root_schema_for::<T>()
}

fn text(schema: Schema) -> String {
    let mut text = serde_json::to_string_pretty(&schema).unwrap_or_default();
    text.push('\n');
    text
}
