//! TOML text as a JSON value with its references filled in, and the map from
//! every value back to its line and column. Owns TOML's syntax and positions;
//! deliberately knows no key of ours.
//!
//! Values are named by JSON Pointer (RFC 6901), as the JSON Schema checker
//! names them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;
use toml::Spanned;
use toml::de::{DeFloat, DeInteger, DeTable, DeValue};

use super::interpolate::{self, Environment, Source};
use super::mistake::{Mistake, Position};

/// Tables and lists inside each other, at most. Our own keys need five; a plugin's section may need a few more. The bound
/// keeps recursion from using up the stack.
const MAX_DEPTH: usize = 32;

/// Mistakes of syntax reported at once. After a few, the parser only guesses.
const MAX_SYNTAX_MISTAKES: usize = 10;

/// Where a value stands and where its text came from.
#[derive(Clone, Debug)]
pub(super) struct Mark {
    /// Position of the key; of the value in a list or at the root.
    pub(super) key: Position,
    /// Position of the value; of the header of a table.
    pub(super) value: Position,
    /// What was filled into the string, if anything.
    pub(super) sources: Vec<Source>,
    /// It is a string, and empty.
    pub(super) empty: bool,
    /// The whole string was one reference, so it takes the type that the key wants.
    pub(super) whole: bool,
    /// It is a list, so its entries are named by number.
    pub(super) list: bool,
}

/// What a person has to know who sets a variable while the broker runs.
pub(crate) const AT_START: &str = "; the broker reads its environment when it starts: set it and restart, or write ${file:PATH} for a file with the value";

impl Mark {
    fn new(key: Position, value: Position) -> Self {
        Mark { key, value, sources: Vec::new(), empty: false, whole: false, list: false }
    }

    /// What is missing when the text is empty, as far as its reference tells.
    pub(super) fn missing(&self) -> Option<String> {
        match self.sources.as_slice() {
            [Source::Variable(variable) | Source::Default(variable)] => {
                Some(format!("Missing required environment variable: {variable}{AT_START}"))
            }
            _ => None,
        }
    }
}

/// From values back to the file.
#[derive(Clone, Debug)]
pub(super) struct SourceMap {
    file: Arc<str>,
    marks: BTreeMap<String, Mark>,
}

impl SourceMap {
    /// A map of no file, which knows only which values were one whole reference.
    pub(super) fn of_references(whole: impl IntoIterator<Item = String>) -> Self {
        let mark = || Mark { whole: true, ..Mark::new(Position::START, Position::START) };
        SourceMap { file: "".into(), marks: whole.into_iter().map(|pointer| (pointer, mark())).collect() }
    }

    /// The values at or below `pointer` that were one whole reference.
    pub(super) fn references(&self, pointer: &str) -> impl Iterator<Item = &str> {
        let below =
            move |at: &str| at.strip_prefix(pointer).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        self.marks.iter().filter(move |(at, mark)| mark.whole && below(at)).map(|(at, _)| at.as_str())
    }

    /// The mark of the value, if the file has it.
    pub(super) fn mark(&self, pointer: &str) -> Option<&Mark> {
        self.marks.get(pointer)
    }

    /// A mistake at a value, or at the nearest value around it when the file does not have that value.
    pub(super) fn at(&self, pointer: &str, message: impl Into<String>) -> Mistake {
        let position = ancestors(pointer).find_map(|p| self.marks.get(p)).map_or(Position::START, |mark| mark.value);
        self.mistake(position, pointer, message)
    }

    /// A mistake at a key itself, such as an unknown key.
    pub(super) fn at_key(&self, pointer: &str, message: impl Into<String>) -> Mistake {
        let position = self.marks.get(pointer).map_or(Position::START, |mark| mark.key);
        self.mistake(position, pointer, message)
    }

    fn mistake(&self, position: Position, pointer: &str, message: impl Into<String>) -> Mistake {
        Mistake {
            file: self.file.clone(),
            position: Some(position),
            key: dotted(pointer, |around| self.marks.get(around).is_some_and(|mark| mark.list)),
            message: message.into(),
        }
    }
}

/// The pointer itself, then each pointer around it, up to the root.
pub(super) fn ancestors(pointer: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(pointer), |p| p.rfind('/').map(|cut| &p[..cut]))
}

/// A pointer one step deeper.
pub(super) fn join(pointer: &str, key: &str) -> String {
    format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1"))
}

/// A pointer as the key would be written in TOML.
fn dotted(pointer: &str, is_list: impl Fn(&str) -> bool) -> String {
    let mut key = String::new();
    let mut end = 0;
    for part in pointer.split('/').skip(1) {
        let parent = &pointer[..end];
        end += 1 + part.len();
        let part = part.replace("~1", "/").replace("~0", "~");
        if part.bytes().all(|b| b.is_ascii_digit()) && !part.is_empty() && is_list(parent) {
            key.push_str(&format!("[{part}]"));
            continue;
        }
        if !key.is_empty() {
            key.push('.');
        }
        if !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_') {
            key.push_str(&part);
        } else {
            key.push_str(&format!("{part:?}"));
        }
    }
    key
}

/// A file, read as far as possible.
pub(super) struct Document {
    /// What it says. A value that could not be filled in is null.
    pub(super) value: Value,
    /// Where it says it.
    pub(super) map: SourceMap,
    /// The files that its references name.
    pub(super) files: Vec<PathBuf>,
    /// What is wrong with single values, by pointer.
    pub(super) mistakes: Vec<(String, Mistake)>,
}

/// Reads TOML. `file` is the name for messages; relative paths in references
/// start at `base`. `Err` only for mistakes of syntax.
pub(super) fn read(file: Arc<str>, text: &str, base: &Path, env: Environment<'_>) -> Result<Document, Vec<Mistake>> {
    let lines = Lines::new(text);
    let (table, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        return Err(syntax(&file, text, &lines, &errors));
    }
    let root = Mark::new(Position::START, Position::START);
    let map = SourceMap { file, marks: BTreeMap::from([(String::new(), root)]) };
    let mut reader = Reader { lines, base, env, map, files: Vec::new(), mistakes: Vec::new() };
    let value = reader.table("", table.into_inner(), 0);
    Ok(Document { value, map: reader.map, files: reader.files, mistakes: reader.mistakes })
}

fn syntax(file: &Arc<str>, text: &str, lines: &Lines<'_>, errors: &[toml::de::Error]) -> Vec<Mistake> {
    let twice = |error: &toml::de::Error| error.message() == "duplicate key";
    // After a broken line, keys land in the wrong table and seem to occur twice.
    let broken = errors.iter().any(|error| !twice(error));
    let mut mistakes: Vec<Mistake> = errors
        .iter()
        .filter(|error| !(broken && twice(error)))
        .map(|error| {
            let span = error.span().unwrap_or(0..0);
            // No text of the file may be shown except a key.
            let (key, message) = if twice(error) {
                (text.get(span.clone()).unwrap_or_default(), "found the same key twice, expected it once".to_owned())
            } else {
                ("", format!("not TOML: {}", error.message()))
            };
            let key = key.escape_debug().to_string();
            Mistake { file: file.clone(), position: Some(lines.position(span.start)), key, message }
        })
        .collect();
    mistakes.sort_by_key(|m| m.position);
    mistakes.dedup_by_key(|m| m.position.map(|p| p.line));
    mistakes.truncate(MAX_SYNTAX_MISTAKES);
    mistakes
}

struct Reader<'a> {
    lines: Lines<'a>,
    base: &'a Path,
    env: Environment<'a>,
    map: SourceMap,
    files: Vec<PathBuf>,
    mistakes: Vec<(String, Mistake)>,
}

impl Reader<'_> {
    fn table(&mut self, pointer: &str, table: DeTable<'_>, depth: usize) -> Value {
        let entries = table.into_iter().map(|(key, value)| {
            let pointer = join(pointer, key.get_ref());
            let at = self.lines.position(key.span().start);
            let value = self.value(&pointer, Some(at), value, depth + 1);
            (key.into_inner().into_owned(), value)
        });
        Value::Object(entries.collect())
    }

    fn value(&mut self, pointer: &str, key: Option<Position>, value: Spanned<DeValue<'_>>, depth: usize) -> Value {
        let position = self.lines.position(value.span().start);
        let mut mark = Mark::new(key.unwrap_or(position), position);
        let converted = match value.into_inner() {
            DeValue::String(text) => interpolate::fill(&text, self.env, self.base, &mut self.files)
                .map_err(|e| e.to_string())
                .map(|filled| {
                    mark.whole = filled.whole;
                    mark.empty = filled.text.is_empty();
                    mark.sources = filled.sources;
                    Value::String(filled.text)
                }),
            DeValue::Integer(number) => integer(&number),
            DeValue::Float(number) => float(&number),
            DeValue::Boolean(value) => Ok(Value::Bool(value)),
            DeValue::Datetime(_) => Err("found a date, expected text in quotes".to_owned()),
            DeValue::Array(_) | DeValue::Table(_) if depth > MAX_DEPTH => {
                Err(format!("found more than {MAX_DEPTH} tables and lists inside each other, expected fewer"))
            }
            DeValue::Array(list) => {
                mark.list = true;
                self.map.marks.insert(pointer.to_owned(), mark);
                let items = list.into_iter().enumerate();
                return items.map(|(i, v)| self.value(&format!("{pointer}/{i}"), None, v, depth + 1)).collect();
            }
            DeValue::Table(table) => {
                self.map.marks.insert(pointer.to_owned(), mark);
                return self.table(pointer, table, depth);
            }
        };
        self.map.marks.insert(pointer.to_owned(), mark);
        converted.unwrap_or_else(|message| {
            self.mistakes.push((pointer.to_owned(), self.map.at(pointer, message)));
            Value::Null
        })
    }
}

fn integer(number: &DeInteger<'_>) -> Result<Value, String> {
    let value = i64::from_str_radix(number.as_str(), number.radix());
    value.map(Value::from).map_err(|_| "found a whole number that is too large, expected one of 64 bits".to_owned())
}

fn float(number: &DeFloat<'_>) -> Result<Value, String> {
    let value = number.as_str().parse::<f64>().ok().and_then(serde_json::Number::from_f64);
    value.map(Value::Number).ok_or_else(|| "found a number that is not finite, expected a finite one".to_owned())
}

/// Byte offsets as lines and columns.
struct Lines<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    fn new(text: &'a str) -> Self {
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(i, _)| i + 1)).collect();
        Lines { text, starts }
    }

    fn position(&self, offset: usize) -> Position {
        let line = self.starts.partition_point(|start| *start <= offset);
        let start = self.starts[line - 1];
        // A byte order mark is not counted as a column.
        let before = self.text.get(start..offset).unwrap_or_default().trim_start_matches('\u{feff}');
        Position { line, column: before.chars().count() + 1 }
    }
}

/// Where bytes stop being UTF-8.
pub(super) fn not_utf8(bytes: &[u8]) -> Option<Position> {
    let error = std::str::from_utf8(bytes).err()?;
    let text = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
    Some(Lines::new(&text).position(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(text: &str) -> Document {
        read("t.toml".into(), text, Path::new("/"), &|name| (name == "N").then(|| "5".to_owned())).unwrap()
    }

    fn syntax_of(text: &str) -> String {
        let mistakes = read("t.toml".into(), text, Path::new("/"), &|_| None).err().expect("it is not TOML");
        mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn every_value_knows_its_line_and_column() {
        let map = document("a = 1\n[b.c]\nd = { 'é' = [1, 'x'], f = 2 }\n[[g]]\nh = 1\n[[g]]\nh = 2\n").map;
        let at = |p: &str| map.mark(p).map(|m| ((m.key.line, m.key.column), (m.value.line, m.value.column))).unwrap();
        assert_eq!(at("/a"), ((1, 1), (1, 5)));
        assert_eq!(at("/b/c"), ((2, 4), (2, 1)));
        assert_eq!(at("/b/c/d"), ((3, 1), (3, 5)));
        assert_eq!(at("/b/c/d/é/1"), ((3, 17), (3, 17)));
        assert_eq!(at("/b/c/d/f"), ((3, 23), (3, 27)));
        assert_eq!(at("/g/1/h"), ((7, 1), (7, 5)));
    }

    #[test]
    fn a_missing_value_is_placed_at_what_is_around_it_and_named_in_full() {
        let map = document("[a]\nlist = [{ x = 1 }]\n\"odd key\" = 1\n").map;
        assert_eq!(map.at("/a/b/c", "m").to_string(), "t.toml:1:1: a.b.c: m");
        assert_eq!(map.at("/a/list/0/y", "m").to_string(), "t.toml:2:9: a.list[0].y: m");
        assert_eq!(map.at("/a/odd key", "m").to_string(), "t.toml:3:13: a.\"odd key\": m");
        assert_eq!(map.at_key("/a/odd key", "m").to_string(), "t.toml:3:1: a.\"odd key\": m");
    }

    #[test]
    fn a_key_cannot_forge_a_line_of_the_log() {
        let map = document("\"a\\nbroker.toml:1:1: fine\" = 1\n").map;
        assert_eq!(map.at("/a\nbroker.toml:1:1: fine", "m").to_string().lines().count(), 1);
    }

    #[test]
    fn mistakes_of_syntax_are_placed_and_reported_together() {
        assert_eq!(
            syntax_of("a = 1\nb = sk-secret\n[x\na = 2"),
            "t.toml:2:5: not TOML: string values must be quoted, expected literal string\n\
             t.toml:3:3: not TOML: unclosed table, expected `]`"
        );
        assert_eq!(syntax_of("a = 1\na = 2\n"), "t.toml:2:1: a: found the same key twice, expected it once");
        assert_eq!(syntax_of("[a]\n[b]\n[a]\n"), "t.toml:3:2: a: found the same key twice, expected it once");
        assert!(syntax_of(&"= 1\n".repeat(1000)).lines().count() <= MAX_SYNTAX_MISTAKES);
    }

    #[test]
    fn values_that_json_does_not_have_are_mistakes_of_their_own() {
        let d = document("a = 2020-01-01\nb = inf\nc = 99999999999999999999\nd = 0x10\ne = 1_000\nf = +5\ng = 1.5\n");
        let keys: Vec<&str> = d.mistakes.iter().map(|(p, _)| p.as_str()).collect();
        assert_eq!(keys, ["/a", "/b", "/c"]);
        assert_eq!(d.value["d"], 16);
        assert_eq!(d.value["e"], 1000);
        assert_eq!(d.value["f"], 5);
        assert_eq!(d.value["g"], 1.5);
    }

    #[test]
    fn nesting_has_a_bound() {
        let deep = |n: usize| document(&format!("a = {}{}", "[".repeat(n), "]".repeat(n))).mistakes.len();
        assert_eq!(deep(MAX_DEPTH - 1), 0);
        assert_eq!(deep(70), 1);
    }

    #[test]
    fn a_byte_order_mark_and_windows_line_ends_do_not_shift_positions() {
        let map = document("\u{feff}a = 1\r\nb = 2\r\n").map;
        assert_eq!(map.at("/a", "m").to_string(), "t.toml:1:5: a: m");
        assert_eq!(map.at("/b", "m").to_string(), "t.toml:2:5: b: m");
    }

    #[test]
    fn bytes_that_are_not_text_are_placed() {
        assert_eq!(not_utf8(b"a = 1\nb = \"\xff\""), Some(Position { line: 2, column: 6 }));
        assert_eq!(not_utf8("é".as_bytes()), None);
    }
}
