//! Checks JSON against a JSON Schema, as far as schemars writes them for our types.

use serde_json::Value;

#[path = "pattern.rs"]
mod pattern;

/// What is wrong with `value`; empty when nothing is. Keywords that are not known here are an error too, so
/// that none is passed over.
pub fn violations(root: &Value, value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    check(root, root, value, "$", &mut found);
    found
}

fn check(root: &Value, schema: &Value, value: &Value, at: &str, found: &mut Vec<String>) {
    let Some(schema) = schema.as_object() else {
        if schema != &Value::Bool(true) {
            found.push(format!("{at}: nothing is allowed here"));
        }
        return;
    };
    for (keyword, rule) in schema {
        let ok = match keyword.as_str() {
            "$schema" | "$defs" | "title" | "description" | "default" | "format" => true,
            "$ref" => {
                let target = root.pointer(rule.as_str().unwrap().trim_start_matches('#')).unwrap();
                check(root, target, value, at, found);
                true
            }
            "type" => match rule.as_array() {
                Some(kinds) => kinds.iter().any(|kind| is_a(kind, value)),
                None => is_a(rule, value),
            },
            "const" => rule == value,
            "enum" => rule.as_array().unwrap().contains(value),
            "anyOf" => matching(root, rule, value) >= 1,
            "oneOf" => matching(root, rule, value) == 1,
            "minimum" => value.as_f64().is_none_or(|number| number >= rule.as_f64().unwrap()),
            "maximum" => value.as_f64().is_none_or(|number| number <= rule.as_f64().unwrap()),
            "pattern" => value.as_str().is_none_or(|text| pattern::is_like(rule.as_str().unwrap(), text)),
            "minLength" => {
                value.as_str().is_none_or(|text| text.chars().count() as u64 >= rule.as_u64().unwrap())
            }
            "maxLength" => {
                value.as_str().is_none_or(|text| text.chars().count() as u64 <= rule.as_u64().unwrap())
            }
            "minItems" => value.as_array().is_none_or(|list| list.len() as u64 >= rule.as_u64().unwrap()),
            "maxItems" => value.as_array().is_none_or(|list| list.len() as u64 <= rule.as_u64().unwrap()),
            // Whether a key is asked for or only told is none of its form.
            "writeOnly" => true,
            "additionalProperties" => {
                let known = schema.get("properties").and_then(Value::as_object);
                let unknown = |key: &&String| !known.is_some_and(|known| known.contains_key(*key));
                let all = value.as_object().into_iter().flat_map(|object| object.keys());
                for key in all.filter(unknown) {
                    check(root, rule, &value[key], &format!("{at}.{key}"), found);
                }
                true
            }
            "required" => {
                let has = |key: &Value| value.get(key.as_str().unwrap()).is_some();
                !value.is_object() || rule.as_array().unwrap().iter().all(has)
            }
            "items" => {
                for (n, item) in value.as_array().into_iter().flatten().enumerate() {
                    check(root, rule, item, &format!("{at}[{n}]"), found);
                }
                true
            }
            "properties" => {
                for (key, rule) in rule.as_object().unwrap() {
                    if let Some(inner) = value.get(key) {
                        check(root, rule, inner, &format!("{at}.{key}"), found);
                    }
                }
                true
            }
            other => panic!("schema keyword {other} is not known to this check"),
        };
        if !ok {
            found.push(format!("{at}: {value} is against {keyword}: {rule}"));
        }
    }
}

fn matching(root: &Value, rules: &Value, value: &Value) -> usize {
    let fits = |rule: &&Value| {
        let mut found = Vec::new();
        check(root, rule, value, "", &mut found);
        found.is_empty()
    };
    rules.as_array().unwrap().iter().filter(fits).count()
}

fn is_a(kind: &Value, value: &Value) -> bool {
    match kind.as_str().unwrap() {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("type {other} is not known to this check"),
    }
}
