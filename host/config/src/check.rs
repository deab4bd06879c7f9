//! A value against a JSON Schema, with every mistake in words and in its place. Owns those words, which parts of a value
//! may be shown, and how the text of a reference takes the type that its key wants; deliberately knows no key except those
//! that hold secrets.

use std::fmt::Write as _;

use jsonschema::error::{TypeKind, ValidationError, ValidationErrorKind as Kind};
use jsonschema::{JsonType, Validator};
use serde_json::Value;

use super::document::{Mark, SourceMap, ancestors, join};
use super::mistake::{Mistake, meant};
use super::value::{FORMATS, Format, LEVELS, LOG};

/// Characters of a wrong value that a mistake shows, at most.
const MAX_SHOWN: usize = 60;

/// What is expected when a schema accepts only values that TOML cannot express.
const UNSAID: &str = "another value";

/// A schema, ready to check values.
pub(super) struct Checker {
    schema: Value,
    validator: Validator,
}

impl Checker {
    /// Compiles a schema. `Err` says what is wrong with it.
    pub(super) fn new(schema: Value) -> Result<Self, String> {
        let mut options = jsonschema::options().should_validate_formats(true);
        for format in FORMATS {
            options = options.with_format(format.name, format.fits);
        }
        let validator = options.build(&schema).map_err(|e| e.to_string())?;
        Ok(Checker { schema, validator })
    }

    /// Checks `value`, which stands at `at` in the file, and returns every
    /// mistake with its pointer, at most one for each pointer. Where the schema
    /// wants a boolean or a number and the value is one whole reference, its
    /// text becomes that.
    pub(super) fn check(&self, value: &mut Value, map: &SourceMap, at: &str) -> Vec<(String, Mistake)> {
        let mut typed = Vec::new();
        for error in self.validator.iter_errors(value) {
            retype(&error, map, at, &mut typed);
        }
        for (pointer, new) in typed {
            if let Some(old) = value.pointer_mut(&pointer) {
                *old = new;
            }
        }
        let mut words = Words { schema: &self.schema, map, at, mistakes: Vec::new() };
        for error in self.validator.iter_errors(value) {
            words.error(&error);
        }
        words.mistakes
    }
}

/// Takes wrong values out, so that the rest can be read. A wrong entry takes its whole list out, so that the numbers of the
/// other entries stay right in messages.
pub(super) fn prune(value: &mut Value, mistakes: &[(String, Mistake)]) {
    for (pointer, _) in mistakes {
        for pointer in ancestors(pointer) {
            let Some((parent, key)) = pointer.rsplit_once('/') else { break };
            match value.pointer_mut(parent) {
                Some(Value::Object(table)) => {
                    table.remove(&key.replace("~1", "/").replace("~0", "~"));
                    break;
                }
                Some(Value::Array(_)) => {}
                _ => break,
            }
        }
    }
}

/// Collects the references whose text must become another type.
fn retype(error: &ValidationError<'_>, map: &SourceMap, at: &str, typed: &mut Vec<(String, Value)>) {
    match error.kind() {
        Kind::AnyOf { context } | Kind::OneOfNotValid { context } => {
            context.iter().flatten().for_each(|inner| retype(inner, map, at, typed));
        }
        Kind::Type { kind } => {
            let pointer = error.instance_path().as_str();
            let whole = map.mark(&format!("{at}{pointer}")).is_some_and(|mark| mark.whole);
            if let (true, Value::String(text)) = (whole, &**error.instance()) {
                let new = types(kind).into_iter().find_map(|kind| match kind {
                    JsonType::Boolean => text.parse::<bool>().ok().map(Value::from),
                    JsonType::Integer => text.parse::<i64>().ok().map(Value::from),
                    JsonType::Number => number(text),
                    _ => None,
                });
                typed.extend(new.map(|new| (pointer.to_owned(), new)));
            }
        }
        _ => {}
    }
}

fn number(text: &str) -> Option<Value> {
    let integer = text.parse::<i64>().ok().map(Value::from);
    integer.or_else(|| serde_json::Number::from_f64(text.parse().ok()?).map(Value::Number))
}

fn types(kind: &TypeKind) -> Vec<JsonType> {
    match kind {
        TypeKind::Single(kind) => vec![*kind],
        TypeKind::Multiple(kinds) => kinds.iter().collect(),
    }
}

/// What was found, in words. Shows the value itself only when it stands in the file and is no secret.
pub(super) fn found(value: &Value, mark: Option<&Mark>, pointer: &str, show: bool) -> String {
    if let Some(mark) = mark.filter(|mark| !mark.sources.is_empty()) {
        let sources: Vec<String> = mark.sources.iter().map(ToString::to_string).collect();
        // Such as a unit after a number, which the source must then not repeat.
        let around = if mark.whole { "" } else { ", with what stands around it in this file" };
        return format!("text (from {}{around})", sources.join(" and "));
    }
    let show = show && !is_secret(pointer);
    match value {
        Value::Null => "nothing".into(),
        Value::Bool(value) if show => value.to_string(),
        Value::Bool(_) => "a boolean".into(),
        Value::Number(value) if show => format!("the number {value}"),
        Value::Number(_) => "a number".into(),
        // A password may stand before the @ of an address.
        Value::String(text) if show && !text.contains('@') => {
            let cut = text.char_indices().nth(MAX_SHOWN).map_or(text.len(), |(i, _)| i);
            let more = if cut < text.len() { "…" } else { "" };
            format!("{:?}{more}", &text[..cut])
        }
        Value::String(_) => "text".into(),
        Value::Array(_) => "a list".into(),
        Value::Object(_) => "a table".into(),
    }
}

/// Keys whose values are never shown: secrets, and values that may hold one.
fn is_secret(pointer: &str) -> bool {
    let mut parts = pointer.split('/').skip(1);
    match parts.next() {
        Some("auth") => true,
        Some("sandbox") => parts.next() == Some("env"),
        Some("providers") => match parts.nth(1) {
            Some("config") => true,
            // Where a secret goes is none.
            Some("secrets") => parts.nth(1) != Some("to"),
            _ => false,
        },
        _ => false,
    }
}

struct Words<'a> {
    schema: &'a Value,
    map: &'a SourceMap,
    at: &'a str,
    mistakes: Vec<(String, Mistake)>,
}

impl<'a> Words<'a> {
    fn error(&mut self, error: &ValidationError<'_>) {
        let pointer = format!("{}{}", self.at, error.instance_path());
        let around = self.around(error);
        match error.kind() {
            Kind::AdditionalProperties { unexpected } | Kind::UnevaluatedProperties { unexpected } => {
                let known: Vec<&str> = around
                    .and_then(|schema| schema.get("properties")?.as_object())
                    .map(|properties| properties.keys().map(String::as_str).collect())
                    .unwrap_or_default();
                for key in unexpected {
                    let mistake = self.map.at_key(&join(&pointer, key), unknown_key(key, &known));
                    self.push(join(&pointer, key), mistake);
                }
            }
            Kind::Required { property } => {
                let key = property.as_str().unwrap_or_default();
                let wanted = around.and_then(|schema| schema.get("properties")?.get(key));
                let message = format!("found nothing, expected {}", wanted.map_or_else(|| "a value".into(), wanted_by));
                let pointer = join(&pointer, key);
                let mistake = self.map.at(&pointer, message);
                self.push(pointer, mistake);
            }
            Kind::PropertyNames { error } => {
                let name = error.instance().as_str().unwrap_or_default().to_owned();
                let pointer = join(&pointer, &name);
                let expected = self.expected(error);
                let mistake = self.map.at_key(&pointer, format!("found this name, expected {expected}"));
                self.push(pointer, mistake);
            }
            kind => {
                // Text where another type belongs may be a secret in the wrong place.
                let text = error.instance().is_string();
                let show = !(text && matches!(kind, Kind::Type { .. }));
                let found = match (kind, &**error.instance()) {
                    // Which form was meant is told by the only key of the table.
                    (Kind::OneOfNotValid { .. }, Value::Object(table)) if table.len() == 1 => {
                        let key: String = table.keys().flat_map(|key| key.escape_debug()).take(MAX_SHOWN).collect();
                        format!("{{ {key} = … }}")
                    }
                    (_, value) => found(value, self.map.mark(&pointer), &pointer, show),
                };
                let mut message = format!("found {found}, expected {}", self.expected(error));
                let level = |text: &&str| !text.contains([',', '=']);
                if matches!(kind, Kind::Format { format } if *format == LOG.name)
                    && let Some(meant) = error.instance().as_str().filter(level).and_then(|word| meant(word, LEVELS))
                {
                    let _ = write!(message, "; did you mean {meant}?");
                }
                let mistake = self.map.at(&pointer, message);
                self.push(pointer, mistake);
            }
        }
    }

    fn push(&mut self, pointer: String, mistake: Mistake) {
        if !self.mistakes.iter().any(|(known, _)| *known == pointer) {
            self.mistakes.push((pointer, mistake));
        }
    }

    /// The schema whose keyword failed.
    fn around(&self, error: &ValidationError<'_>) -> Option<&'a Value> {
        let path = error.schema_path().as_str();
        self.schema.pointer(path.rsplit_once('/').map_or("", |(parent, _)| parent))
    }

    fn expected(&self, error: &ValidationError<'_>) -> String {
        let around = self.around(error);
        let kind = error.kind();
        if let (
            Kind::Type { .. }
            | Kind::Format { .. }
            | Kind::Pattern { .. }
            | Kind::AnyOf { .. }
            | Kind::OneOfNotValid { .. },
            Some(words),
        ) = (kind, around.and_then(format_words))
        {
            return words.into();
        }
        match kind {
            Kind::Type { kind } => one_of(types(kind).into_iter().filter_map(type_words)),
            Kind::Format { format } => format!("text in the format {format:?}"),
            Kind::Pattern { pattern } => format!("text that matches {pattern:?}"),
            Kind::Enum { options } => choices(options),
            Kind::Constant { expected_value } => expected_value.to_string(),
            Kind::Minimum { limit } => format!("at least {limit}"),
            Kind::Maximum { limit } => format!("at most {limit}"),
            Kind::ExclusiveMinimum { limit } => format!("more than {limit}"),
            Kind::ExclusiveMaximum { limit } => format!("less than {limit}"),
            Kind::MultipleOf { multiple_of } => format!("a multiple of {multiple_of}"),
            Kind::MinLength { limit: 1 } => "text that is not empty".into(),
            Kind::MinLength { limit } => format!("at least {limit} characters"),
            Kind::MaxLength { limit } => format!("at most {limit} characters"),
            Kind::MinItems { limit: 1 } => "at least one entry".into(),
            Kind::MinItems { limit } => format!("at least {limit} entries"),
            Kind::MaxItems { limit } => format!("at most {limit} entries"),
            Kind::UniqueItems => "entries that all differ".into(),
            Kind::MinProperties { limit } => format!("at least {limit} keys"),
            Kind::MaxProperties { limit } => format!("at most {limit} keys"),
            Kind::FalseSchema => "this key not to be there".into(),
            Kind::AnyOf { context } | Kind::OneOfNotValid { context } => {
                let forms = context.iter().filter_map(|errors| errors.first()).map(|inner| self.expected(inner));
                one_of(forms.filter(|words| words != UNSAID))
            }
            other => format!("what {:?} in the plugin's schema says", other.keyword()),
        }
    }
}

fn unknown_key(key: &str, known: &[&str]) -> String {
    let mut message = "found an unknown key, expected ".to_owned();
    match known {
        [] => message.push_str("none here"),
        [only] => message.push_str(only),
        known => {
            let _ = write!(message, "one of {}", known.join(", "));
        }
    }
    if let Some(meant) = meant(key, known.iter().copied()) {
        let _ = write!(message, "; did you mean {meant}?");
    }
    message
}

/// What a schema wants, for a key that is missing.
fn wanted_by(schema: &Value) -> String {
    if let Some(words) = format_words(schema) {
        return words.into();
    }
    if let Some(options) = schema.get("enum") {
        return choices(options);
    }
    let named = |name: &Value| type_words(name.as_str()?.parse().ok()?);
    match schema.get("type") {
        Some(Value::Array(kinds)) => one_of(kinds.iter().filter_map(named)),
        Some(kind) => named(kind).unwrap_or("a value").into(),
        None => "a value".into(),
    }
}

fn format_words(schema: &Value) -> Option<&'static str> {
    Some(Format::named(schema.get("format")?.as_str()?)?.expected)
}

fn choices(options: &Value) -> String {
    let options: Vec<String> = options.as_array().into_iter().flatten().map(ToString::to_string).collect();
    match options.as_slice() {
        [only] => only.clone(),
        options => format!("one of {}", options.join(", ")),
    }
}

fn one_of(words: impl Iterator<Item = impl Into<String>>) -> String {
    let mut all: Vec<String> = Vec::new();
    for word in words.map(Into::into) {
        if !all.contains(&word) {
            all.push(word);
        }
    }
    if all.is_empty() { UNSAID.into() } else { all.join(" or ") }
}

/// In TOML's words. It has no null.
fn type_words(kind: JsonType) -> Option<&'static str> {
    Some(match kind {
        JsonType::Array => "a list",
        JsonType::Boolean => "true or false",
        JsonType::Integer => "a whole number",
        JsonType::Null => return None,
        JsonType::Number => "a number",
        JsonType::Object => "a table",
        JsonType::String => "text",
    })
}
