//! `{user}` in a storage provider's settings: each person's own, by the name
//! of the token.
//!
//! Owns the placeholder. A name has no character that could end a JSON string or lead out of a path, and no two people
//! have the same name.

use serde_json::Value;

/// Stands for the name.
pub(super) const PLACEHOLDER: &str = "{user}";

/// Whether a text anywhere in `value` has the placeholder.
pub(super) fn is_in(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains(PLACEHOLDER),
        Value::Array(list) => list.iter().any(is_in),
        Value::Object(table) => table.values().any(is_in),
        _ => false,
    }
}

/// The settings of one person.
pub fn settings_of(user: &str, settings: &Value) -> Value {
    match settings {
        Value::String(text) => text.replace(PLACEHOLDER, user).into(),
        Value::Array(list) => list.iter().map(|value| settings_of(user, value)).collect(),
        Value::Object(table) => table
            .iter()
            .map(|(key, value)| (key.clone(), settings_of(user, value)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        other => other.clone(),
    }
}

/// Puts the placeholder back into `made`, wherever `settings` has it.
pub(super) fn restore(settings: &Value, made: &mut Value) {
    match (settings, made) {
        (Value::String(text), made) if text.contains(PLACEHOLDER) => *made = text.as_str().into(),
        (Value::Array(from), Value::Array(made)) => from.iter().zip(made).for_each(|(from, made)| restore(from, made)),
        (Value::Object(from), Value::Object(made)) => {
            for (key, from) in from {
                if let Some(made) = made.get_mut(key) {
                    restore(from, made);
                }
            }
        }
        _ => {}
    }
}
