//! The JSON Schema of the file. There is one for checking, and one for editors that also knows references and the plugins'
//! own settings. Owns what is derived from [`raw`](super::raw); deliberately adds no rule of its own.

use std::collections::BTreeMap;

use schemars::Schema;
use schemars::generate::SchemaSettings;
use schemars::transform::{RecursiveTransform, transform_subschemas};
use serde_json::{Map, Value, json};

use super::raw;

/// The schema that files are checked against, after references were filled in.
pub(super) fn of_file() -> Value {
    let mut settings = SchemaSettings::draft2020_12().with_transform(RecursiveTransform(without_null));
    settings.inline_subschemas = true;
    settings.into_generator().into_root_schema_for::<raw::File>().to_value()
}

/// The schema for editors. `plugins` are the schemas of the plugins' own settings, by the text of a section's `plugin`. Here
/// every value may be a reference; a value that is not one is checked.
pub fn schema(plugins: &BTreeMap<String, Value>) -> Value {
    let mut schema = of_file();
    let mut definitions = Map::new();
    let mut choices = Vec::new();
    for (plugin, own) in plugins {
        let mut own = own.clone();
        let place = format!("#/$defs/{}", plugin.replace('~', "~0").replace('/', "~1"));
        rebase(&mut own, &place);
        definitions.insert(plugin.clone(), own);
        choices.push(json!({
            "if": { "properties": { "plugin": { "const": plugin } }, "required": ["plugin"] },
            "then": { "properties": { "config": { "$ref": place } } },
        }));
    }
    if let (Some(provider), false) =
        (schema.pointer_mut("/properties/providers/additionalProperties"), choices.is_empty())
    {
        provider["allOf"] = Value::Array(choices);
        schema["$defs"] = Value::Object(definitions);
    }
    if let Ok(whole) = <&mut Schema>::try_from(&mut schema) {
        with_references(whole);
    }
    schema
}

/// TOML has no null, so a key that may be missing is simply not required.
fn without_null(schema: &mut Schema) {
    if let Some(Value::Array(kinds)) = schema.get_mut("type") {
        kinds.retain(|kind| kind != "null");
        if let [only] = kinds.as_mut_slice() {
            let only = only.take();
            schema.insert("type".into(), only);
        }
    }
    if let Some(Value::Array(options)) = schema.get_mut("enum") {
        options.retain(|option| !option.is_null());
    }
    if let Some(Value::Array(options)) = schema.get_mut("anyOf") {
        options.retain(|option| option.get("type").is_none_or(|kind| kind != "null"));
        if let [Value::Object(only)] = options.as_mut_slice() {
            let only = std::mem::take(only);
            schema.remove("anyOf");
            for (key, value) in only {
                // A description of this key takes precedence over a description of its type.
                if schema.get(&key).is_none() {
                    schema.insert(key, value);
                }
            }
        }
    }
    if schema.get("default").is_some_and(Value::is_null) {
        schema.remove("default");
    }
}

/// Rewrites the references of a schema that becomes part of another one.
fn rebase(value: &mut Value, place: &str) {
    match value {
        Value::Object(members) => {
            for (key, member) in members {
                match member {
                    Value::String(target) if key == "$ref" && target.starts_with('#') => {
                        *target = format!("{place}{}", &target[1..]);
                    }
                    // An identity of its own would hide the new place.
                    _ => rebase(member, place),
                }
            }
        }
        Value::Array(members) => members.iter_mut().for_each(|member| rebase(member, place)),
        _ => {}
    }
}

/// Lets every boolean, number and constrained text be a reference as well.
fn with_references(schema: &mut Schema) {
    // The conditions under which a plugin's settings apply compare plain text.
    let condition = schema.remove("if");
    transform_subschemas(&mut with_references, schema);
    if let Some(condition) = condition {
        schema.insert("if".into(), condition);
    }
    let scalar = match schema.get("type").and_then(Value::as_str) {
        Some("boolean" | "integer" | "number") => true,
        Some("string") => ["pattern", "format", "enum", "const", "minLength", "maxLength"]
            .into_iter()
            .any(|key| schema.get(key).is_some()),
        _ => false,
    };
    if !scalar {
        return;
    }
    let Some(object) = schema.as_object_mut() else { return };
    let mut plain = std::mem::take(object);
    for told in ["title", "description", "default", "examples"] {
        if let Some(words) = plain.remove(told) {
            object.insert(told.into(), words);
        }
    }
    object.insert("anyOf".into(), json!([plain, { "type": "string", "pattern": "\\$\\{" }]));
}
