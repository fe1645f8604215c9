//! JSON Schemas of what an operator writes, made from the types that it is read into.

use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use schemars::{JsonSchema, Schema};
use serde_json::Value;

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
        ("node.json", schema_of::<Node>()),
        ("routing.json", schema_of::<Routing>()),
        ("number.json", schema_of::<Number>()),
        ("finding.json", schema_of::<Finding>()),
    ]
}

/// The text of one type's schema: what may be written, not what is shown.
pub fn schema_of<T: JsonSchema>() -> String {
    let settings = SchemaSettings::draft2020_12().for_deserialize();
    let settings = settings.with_transform(RecursiveTransform(may_be_left_out));
    let schema = settings.into_generator().into_root_schema_for::<T>();
    let mut text = serde_json::to_string_pretty(&schema).unwrap_or_default();
    text.push('\n');
    text
}

/// A key with a default is not required.
fn may_be_left_out(schema: &mut Schema) {
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return };
    let defaulted = |key: &&Value| {
        key.as_str().and_then(|key| properties.get(key)).is_some_and(|value| value.get("default").is_some())
    };
    let Some(required) = schema.get("required").and_then(Value::as_array) else { return };
    let left: Vec<Value> = required.iter().filter(|key| !defaulted(key)).cloned().collect();
    if left.is_empty() {
        schema.remove("required");
    } else {
        schema.insert("required".into(), left.into());
    }
}
