//! `docs/configuration.md` explains every key, with its default, and no key
//! that is not there.

use std::collections::BTreeMap;

use serde_json::Value;

use super::super::schema::of_file;

const DOC: &str = include_str!("../../../../docs/configuration.md");

/// Keys with their defaults as the schema has them, by the heading under which
/// the page explains them.
pub(super) fn keys() -> BTreeMap<String, BTreeMap<String, String>> {
    fn walk(heading: &str, schema: &Value, keys: &mut BTreeMap<String, BTreeMap<String, String>>) {
        let required: Vec<&str> =
            schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        for (key, property) in schema["properties"].as_object().into_iter().flatten() {
            let inner = if heading.is_empty() { key.clone() } else { format!("{heading}.{key}") };
            if heading.is_empty() && key == "providers" {
                walk("providers.NAME", &property["additionalProperties"], keys);
                continue;
            }
            if !heading.is_empty() {
                let default = match &property["default"] {
                    _ if required.contains(&key.as_str()) => "required".to_owned(),
                    Value::Null => String::new(),
                    Value::String(text) => format!("`{text}`"),
                    Value::Object(_) => "`{}`".to_owned(),
                    Value::Array(list) => {
                        format!("`[{}]`", list.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
                    }
                    other => format!("`{other}`"),
                };
                keys.entry(heading.to_owned()).or_default().insert(key.clone(), default);
            }
            if key == "secrets" {
                walk("providers.NAME.secrets.SECRET", &property["additionalProperties"], keys);
                continue;
            }
            walk(&inner, property, keys);
            walk(&inner, &property["items"], keys);
        }
    }
    let mut keys = BTreeMap::new();
    walk("", &of_file(), &mut keys);
    keys
}

#[test]
fn every_key_with_its_default_and_no_other() {
    let mut documented: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    let mut heading = None;
    for line in DOC.lines() {
        if line.starts_with('#') {
            heading = line.split_once('`').map(|(_, rest)| rest.trim_matches(['`', '[', ']']).to_owned());
        }
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        // | key | type | default | live | meaning |
        if let (Some(heading), ["", key, _, default, "yes" | "no", meaning, ""]) = (&heading, cells.as_slice()) {
            assert!(!meaning.is_empty(), "{line}");
            let known =
                documented.entry(heading.clone()).or_default().insert(key.trim_matches('`').into(), (*default).into());
            assert!(known.is_none(), "twice: {line}");
        }
    }
    assert_eq!(documented, keys());
}

#[test]
fn every_variable_of_the_shipped_file() {
    let shipped = include_str!("../../../../broker.toml");
    let lines = shipped.lines().filter(|line| !line.starts_with('#'));
    for reference in lines.flat_map(|line| line.split("${").skip(1)) {
        let name = reference.split([':', '}']).next().unwrap_or_default();
        assert!(DOC.contains(&format!("| `{name}` |")), "{name}");
    }
}
