//! A plugin's own section, checked against the schema that it exports, and the
//! schema for editors that is made of both.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::super::schema;
use super::mutations::{FULL, placed};
use super::with;
use crate::document::AT_START;

/// The section that the plugin checks.
const SETTINGS: &str = "[providers.cloud.config]";

fn plugin() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["template"],
        "properties": {
            "template": { "type": "string", "pattern": "^[a-z-]+$", "description": "What to start from." },
            "cpus": { "type": "integer", "minimum": 1, "maximum": 8 },
            "secure": { "$ref": "#/$defs/maybe" },
            "region": { "enum": ["eu", "us"] },
            "ports": { "type": "array", "items": { "type": "integer" } },
            "network": { "type": "object", "additionalProperties": false, "properties": { "deny": { "type": "string" } } },
        },
        "$defs": { "maybe": { "anyOf": [{ "type": "boolean" }, { "type": "null" }] } },
    })
}

fn check(settings: &str) -> Result<Value, String> {
    let text = FULL.replace("template = \"canary-setting\"\n", settings);
    let config = with(&text, &[("CANARY", "canary"), ("CPUS", "4"), ("ON", "true")]).unwrap_or_else(|e| panic!("{e}"));
    config.check_provider_config("cloud", &plugin()).map_err(|mistakes| mistakes.to_string())
}

#[test]
fn good_settings_come_out_with_their_types() {
    assert_eq!(check("template = \"base\"\n"), Ok(json!({ "template": "base" })));
    assert_eq!(
        check(
            "template = \"${CANARY}\"\ncpus = \"${CPUS}\"\nsecure = \"${ON}\"\nports = [1, \"${CPUS}\"]\nregion = \"${R:-eu}\"\n"
        ),
        Ok(json!({ "template": "canary", "cpus": 4, "secure": true, "ports": [1, 4], "region": "eu" }))
    );
}

#[test]
fn wrong_settings_are_placed_and_their_text_is_not_shown() {
    for (settings, expected) in [
        ("", "+0:1: providers.cloud.config.template: found nothing, expected text"),
        ("template = 5\n", "+1:12: providers.cloud.config.template: found a number, expected text"),
        (
            "template = \"Canary!\"\n",
            "+1:12: providers.cloud.config.template: found text, expected text that matches \"^[a-z-]+$\"",
        ),
        ("template = \"a\"\ncpus = 9\n", "+2:8: providers.cloud.config.cpus: found a number, expected at most 8"),
        ("template = \"a\"\ncpus = 0\n", "+2:8: providers.cloud.config.cpus: found a number, expected at least 1"),
        (
            "template = \"a\"\ncpus = \"${CANARY}\"\n",
            "+2:8: providers.cloud.config.cpus: found text (from $CANARY), expected a whole number",
        ),
        (
            "template = \"a\"\nsecure = \"yes\"\n",
            "+2:10: providers.cloud.config.secure: found text, expected true or false",
        ),
        (
            "template = \"a\"\nregion = \"canary\"\n",
            "+2:10: providers.cloud.config.region: found text, expected one of \"eu\", \"us\"",
        ),
        (
            "template = \"a\"\nports = [1, true]\n",
            "+2:13: providers.cloud.config.ports[1]: found a boolean, expected a whole number",
        ),
        (
            "template = \"a\"\nnetwork = { dny = \"canary\" }\n",
            "+2:13: providers.cloud.config.network.dny: found an unknown key, expected deny; did you mean deny?",
        ),
        (
            "template = \"a\"\ntemplat = \"canary\"\n",
            "+2:1: providers.cloud.config.templat: found an unknown key, expected one of cpus, network, ports, region, secure, template; did you mean template?",
        ),
    ] {
        assert_eq!(check(settings), Err(placed(SETTINGS, expected)), "{settings}");
    }
    let both = check("cpus = 9\nregion = \"x\"\n").unwrap_err();
    assert_eq!(both.lines().count(), 3, "all at once: {both}");
}

#[test]
fn a_provider_without_settings_is_checked_as_one_with_none() {
    let config = with(FULL, &[]).unwrap();
    let said = config.check_provider_config("local", &plugin()).unwrap_err().to_string();
    assert_eq!(
        said,
        placed("[providers.local]", "+0:1: providers.local.config.template: found nothing, expected text")
    );
    assert_eq!(
        config.check_provider_config("local", &json!({ "type": "object" })).expect("none are needed"),
        json!({})
    );
}

#[test]
fn a_plugin_with_a_wrong_schema_is_named_and_does_no_harm() {
    let config = with(FULL, &[]).unwrap();
    for schema in [
        json!({ "type": "nothing" }),
        json!({ "$ref": "http://127.0.0.1:1/schema.json" }),
        json!({ "$ref": "file:///etc/passwd" }),
        json!({ "$ref": "#/$defs/gone" }),
        json!({ "properties": { "template": { "pattern": "(" } } }),
    ] {
        let said = config.check_provider_config("cloud", &schema).expect_err("it is no schema").to_string();
        let start = placed(
            SETTINGS,
            "+0:1: providers.cloud.config: the plugin exports no valid JSON Schema for this section: ",
        );
        assert!(said.starts_with(&start) && said.lines().count() == 1, "{said}");
    }
    // In circles, and slow on purpose.
    for schema in
        [json!({ "$ref": "#" }), json!({ "properties": { "template": { "pattern": "^(([a-z])+.)+[A-Z]([a-z])+$" } } })]
    {
        let _ = config.check_provider_config("cloud", &schema);
    }
}

#[test]
fn what_a_plugin_says_is_placed_and_kept_to_one_line() {
    let config = with(FULL, &[]).unwrap();
    let said = |pointer: &str, message: &str| config.mistake_at("cloud", pointer, message).unwrap();
    assert_eq!(
        said("/template", "give either a\nor b").to_string(),
        placed(SETTINGS, "+1:12: providers.cloud.config.template: give either a or b")
    );
    assert_eq!(said("/gone/deep", "m").to_string(), placed(SETTINGS, "+0:1: providers.cloud.config.gone.deep: m"));
    assert_eq!(said("", "m").to_string(), placed(SETTINGS, "+0:1: providers.cloud.config: m"));
    assert_eq!(said("template", "m").to_string(), placed(SETTINGS, "+0:1: providers.cloud.config: m"));
    assert_eq!(said("", &"x".repeat(5000)).message().len(), 1024);
    assert_eq!(
        config.plugin_mistake("cloud", "no component").to_string(),
        placed("[providers.cloud]", "+1:10: providers.cloud.plugin: no component")
    );
}

#[test]
fn a_setting_that_its_variable_leaves_empty_matters_only_in_a_provider_in_use() {
    let text = FULL.replace("template = \"canary-setting\"\n", "template = \"${T:-}\"\n");
    let unused = text.replacen("\"cloud\"", "\"local\"", 1);
    let missing = format!("+1:12: providers.cloud.config.template: Missing required environment variable: T{AT_START}");
    let missing = &*placed(SETTINGS, &missing);
    let check = |text: &str, variables: &[(&str, &str)]| {
        let config = with(text, variables).unwrap_or_else(|e| panic!("{e}"));
        let by_schema = config.check_provider_config("cloud", &plugin()).map_err(|mistakes| mistakes.to_string());
        (by_schema, config.mistake_at("cloud", "/template", "what").map(|mistake| mistake.to_string()))
    };
    assert_eq!(check(&text, &[]), (Err(missing.to_owned()), Some(missing.to_owned())));
    assert_eq!(check(&unused, &[]), (Ok(json!({ "template": "" })), None));
    // A text that is wrong, and not only empty, is wrong anywhere.
    for text in [&text, &unused] {
        let (by_schema, by_plugin) = check(text, &[("T", "A!")]);
        assert!(by_schema.unwrap_err().contains("found text (from $T), expected text that matches"));
        assert!(by_plugin.unwrap().ends_with("template: what"));
    }
    let (written, _) = check(&unused.replace("${T:-}", ""), &[]);
    assert!(written.unwrap_err().contains("expected text that matches"), "nothing was left to a reference");
    let (unknown, _) = check(&unused.replace("template = \"${T:-}", "template = \"a\"\ntemplat = \"${T:-}"), &[]);
    assert!(unknown.unwrap_err().contains("found an unknown key"), "a key is no text");
}

/// A file as an editor sees it: nothing filled in.
fn as_seen_by_an_editor(text: &str) -> Value {
    toml::from_str(text).expect("TOML")
}

#[test]
fn editors_accept_what_the_broker_accepts() {
    let plugins = BTreeMap::from([("e2b".to_owned(), plugin()), ("./e2b.wasm".to_owned(), plugin())]);
    for plugins in [BTreeMap::new(), plugins] {
        let schema = schema(&plugins);
        let validator = jsonschema::validator_for(&schema).unwrap();
        let references = FULL
            .replace("= 100", "= \"${N}\"")
            .replace("= false", "= \"${B:-false}\"")
            .replace("\"1h\"", "\"${T:-1}h\"")
            .replace("\"64MiB\"", "\"${M}\"")
            .replace("\"sandboxd\"", "\"${S}\"")
            .replace("template = ", "secure = \"${S}\"\ntemplate = ");
        for text in [include_str!("../../../../broker.toml"), FULL, &references] {
            let errors: Vec<String> =
                validator.iter_errors(&as_seen_by_an_editor(text)).map(|e| e.to_string()).collect();
            assert!(errors.is_empty(), "{errors:?}");
        }
    }
}

#[test]
fn editors_refuse_what_is_wrong_by_itself_also_in_a_plugins_settings() {
    let schema = schema(&BTreeMap::from([("./e2b.wasm".to_owned(), plugin())]));
    let validator = jsonschema::validator_for(&schema).unwrap();
    for (from, to) in [
        ("listen = ", "listn = "),
        ("[server]", "[sever]"),
        ("= 100", "= \"many\""),
        ("= 100", "= 0"),
        ("= false", "= 0"),
        ("\"1h\"", "\"1 hour\""),
        ("\"1h\"", "3600"),
        ("\"64MiB\"", "\"64MB\""),
        ("\"https://*.e2b.app\"", "\"e2b.app\""),
        ("\"sandboxd\"", "\"docker\""),
        ("\"caca0", "\"gaga0"),
        ("plugin = \"./e2b.wasm\"\n", ""),
        ("template = ", "templat = "),
        ("template = \"canary-setting\"", "template = \"canary\"\nsecure = \"yes\""),
        ("template = \"canary-setting\"", "template = \"canary\"\nnetwork = { dny = \"\" }"),
    ] {
        let text = FULL.replacen(from, to, 1);
        assert_ne!(text, FULL);
        assert!(!validator.is_valid(&as_seen_by_an_editor(&text)), "{from} -> {to} is accepted");
    }
}

#[test]
fn every_key_tells_editors_what_it_is() {
    fn walk(at: &str, schema: &Value) {
        for (key, property) in schema["properties"].as_object().into_iter().flatten() {
            assert!(property["description"].as_str().is_some_and(|d| !d.is_empty()), "{at}.{key} has no description");
            walk(&format!("{at}.{key}"), property);
            walk(&format!("{at}.{key}.*"), &property["additionalProperties"]);
            walk(&format!("{at}.{key}[]"), &property["items"]);
        }
    }
    walk("", &schema(&BTreeMap::new()));
}
