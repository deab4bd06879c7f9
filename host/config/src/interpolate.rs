//! References in strings: `${NAME}`, `${NAME:-default}`, `${file:/path}`, and
//! `$${` for a literal `${`. A default may hold references as well, which hold none. Owns their grammar and where the text comes from;
//! deliberately knows neither TOML nor keys.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Where variables come from. It is a parameter so that a test needs no process environment.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Bytes of a file that `${file:…}` may name. A private key in PEM has about 3 KiB; a larger file than this is the wrong
/// file.
pub const MAX_REFERENCED_BYTES: u64 = 64 * 1024;

/// Where a piece of text came from. Such text must not be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// The environment variable of this name.
    Variable(String),
    /// The default written beside this variable, which is not set.
    Default(String),
    /// This file, as written.
    File(String),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Variable(name) => write!(f, "${name}"),
            Source::Default(name) => write!(f, "the default of ${name}"),
            Source::File(path) => write!(f, "the file {}", path.escape_debug()),
        }
    }
}

/// A string with its references filled in.
#[derive(Debug, PartialEq)]
pub(super) struct Filled {
    /// The text.
    pub(super) text: String,
    /// Where it came from; empty when the text stands in the file.
    pub(super) sources: Vec<Source>,
    /// The whole string was one reference.
    pub(super) whole: bool,
}

/// Why a reference cannot be filled in. It names variables and files, never their text.
#[derive(Debug, PartialEq, thiserror::Error)]
pub(super) enum Error {
    #[error(
        "found \"${{\" without a \"}}\", expected ${{NAME}}, ${{NAME:-default}} or ${{file:/path}}; write $${{ for the text ${{"
    )]
    Unclosed,
    #[error(
        "found ${{…}} that does not hold a variable's name, expected ${{NAME}} of letters, digits and _, ${{NAME:-default}} or ${{file:/path}}"
    )]
    NotAName,
    #[error(
        "found a reference inside the default of ${{{0}}}, which stands in a default itself, expected plain text there"
    )]
    Nested(String),
    #[error(
        "Missing required environment variable: {0}; set it before the broker starts, or write a default, ${{{0}:-…}}, or a file, ${{file:PATH}}"
    )]
    Missing(String),
    #[error("found no readable file {path} ({reason}), expected one with at most 64 KiB of UTF-8 text")]
    File { path: String, reason: String },
}

enum Piece<'a> {
    Text(&'a str),
    Variable(&'a str, Option<&'a str>),
    File(&'a str),
}

/// Fills in every reference of `text`. Relative paths of files start at `base`. Every file that is named is added to
/// `files`, even when it is missing.
pub(super) fn fill(text: &str, env: Environment<'_>, base: &Path, files: &mut Vec<PathBuf>) -> Result<Filled, Error> {
    let pieces = pieces(text, false)?;
    let whole = matches!(pieces.as_slice(), [Piece::Variable(..) | Piece::File(_)]);
    let mut filled = Filled { text: String::new(), sources: Vec::new(), whole };
    for piece in pieces {
        match piece {
            Piece::Text(text) => filled.text.push_str(text),
            Piece::Variable(name, default) => match (env(name).filter(|v| default.is_none() || !v.is_empty()), default)
            {
                (Some(value), _) => {
                    filled.text.push_str(&value);
                    filled.sources.push(Source::Variable(name.to_owned()));
                }
                (None, Some(default)) => {
                    let default = fill(default, env, base, files)?;
                    filled.text.push_str(&default.text);
                    filled.sources.push(Source::Default(name.to_owned()));
                    filled.sources.extend(default.sources);
                }
                (None, None) => return Err(Error::Missing(name.to_owned())),
            },
            Piece::File(written) => {
                let path = base.join(written);
                let read = read(&path);
                files.push(path);
                let text = read.map_err(|reason| Error::File { path: written.escape_debug().to_string(), reason })?;
                filled.text.push_str(text.strip_suffix('\n').map_or(&*text, |t| t.strip_suffix('\r').unwrap_or(t)));
                filled.sources.push(Source::File(written.to_owned()));
            }
        }
    }
    Ok(filled)
}

fn pieces(text: &str, nested: bool) -> Result<Vec<Piece<'_>>, Error> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(dollar) = rest.find("${") {
        let before = &rest[..dollar];
        if let Some(literal) = before.strip_suffix('$') {
            pieces.push(Piece::Text(literal));
            pieces.push(Piece::Text("${"));
            rest = &rest[dollar + 2..];
            continue;
        }
        if !before.is_empty() {
            pieces.push(Piece::Text(before));
        }
        let inside = &rest[dollar + 2..];
        let end = end_of(inside).ok_or(Error::Unclosed)?;
        pieces.push(reference(&inside[..end], nested)?);
        rest = &inside[end + 1..];
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest));
    }
    Ok(pieces)
}

/// Where a reference ends whose beginning stands before `inside`.
fn end_of(inside: &str) -> Option<usize> {
    let mut open = 0;
    for (at, c) in inside.char_indices() {
        match c {
            '}' if open == 0 => return Some(at),
            '}' => open -= 1,
            // A doubled dollar opens nothing.
            '{' if inside[..at].ends_with('$') && !inside[..at].ends_with("$$") => open += 1,
            _ => {}
        }
    }
    None
}

/// What stands between `${` and its `}`. `nested` is a reference in a default.
fn reference(inside: &str, nested: bool) -> Result<Piece<'_>, Error> {
    if let Some(path) = inside.strip_prefix("file:").filter(|path| !path.is_empty()) {
        return Ok(Piece::File(path));
    }
    let (name, default) = match inside.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inside, None),
    };
    let first = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if !first || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        // The text is not shown, because people paste a key where its name belongs.
        return Err(Error::NotAName);
    }
    if let Some(default) = default.filter(|default| default.contains("${")) {
        // The depth is bounded, because each level is a call.
        if nested {
            return Err(Error::Nested(name.to_owned()));
        }
        pieces(default, true)?;
    }
    Ok(Piece::Variable(name, default))
}

fn read(path: &Path) -> Result<String, String> {
    String::from_utf8(bounded(path, MAX_REFERENCED_BYTES)?).map_err(|_| "not UTF-8".into())
}

/// The content of a file of at most so many bytes, or why it cannot be had.
pub(super) fn bounded(path: &Path, most: u64) -> Result<Vec<u8>, String> {
    let describe = |e: std::io::Error| e.kind().to_string();
    // This comes before the file is opened, because opening a FIFO would wait for its writer.
    if !path.metadata().map_err(describe)?.is_file() {
        return Err("not a file".into());
    }
    let file = File::open(path).map_err(describe)?;
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes).map_err(describe)?;
    if bytes.len() as u64 > most {
        return Err("too large".into());
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn try_fill(text: &str) -> Result<Filled, Error> {
        let env = |name: &str| match name {
            "A" => Some("one".to_owned()),
            "EMPTY" => Some(String::new()),
            "TRICKY" => Some("${A}".to_owned()),
            _ => None,
        };
        fill(text, &env, Path::new("/nonexistent"), &mut Vec::new())
    }

    fn text(text: &str) -> String {
        try_fill(text).unwrap().text
    }

    #[test]
    fn variables_and_defaults_follow_the_shell() {
        assert_eq!(text("${A}"), "one");
        assert_eq!(text("x${A}y${A}"), "xoneyone");
        assert_eq!(text("${A:-two}"), "one");
        assert_eq!(text("${B:-two}"), "two");
        assert_eq!(text("${B:-}"), "");
        assert_eq!(text("${B:-http://a:1/-:-}"), "http://a:1/-:-");
        assert_eq!(text("${EMPTY:-two}"), "two");
        assert_eq!(text("${EMPTY}"), "");
        assert_eq!(text("${B:-x${A}y}z"), "xoneyz");
        assert_eq!(text("${B:-${C:-two}}"), "two");
        assert_eq!(text("${A:-${MISSING}}"), "one");
        assert_eq!(try_fill("${B:-${C}}"), Err(Error::Missing("C".into())));
        assert_eq!(try_fill("${B}"), Err(Error::Missing("B".into())));
    }

    #[test]
    fn a_doubled_dollar_is_text() {
        assert_eq!(text("$${A}"), "${A}");
        assert_eq!(text("$${A} ${A}"), "${A} one");
        assert_eq!(text("costs $5 or $A"), "costs $5 or $A");
        assert_eq!(text("$${"), "${");
    }

    #[test]
    fn what_a_variable_holds_is_never_read_as_a_reference() {
        assert_eq!(text("${TRICKY}"), "${A}");
    }

    #[test]
    fn only_a_string_that_is_one_reference_is_whole() {
        assert!(try_fill("${A}").unwrap().whole);
        assert!(try_fill("${B:-x}").unwrap().whole);
        assert!(!try_fill("${A}s").unwrap().whole);
        assert!(!try_fill("${A}${A}").unwrap().whole);
        assert!(!try_fill("plain").unwrap().whole);
    }

    #[test]
    fn what_is_no_reference_is_refused() {
        assert_eq!(try_fill("${A"), Err(Error::Unclosed));
        assert_eq!(try_fill("${}"), Err(Error::NotAName));
        assert_eq!(try_fill("${1A}"), Err(Error::NotAName));
        assert_eq!(try_fill("${A B}"), Err(Error::NotAName));
        assert_eq!(try_fill("${file:}"), Err(Error::NotAName));
        assert_eq!(try_fill("${B:-${C:-${A}}}"), Err(Error::Nested("C".into())));
        assert_eq!(try_fill("${A:-${}}"), Err(Error::NotAName));
    }

    #[test]
    fn a_file_gives_its_text_without_the_last_line_end() {
        let dir = tempfile::tempdir().unwrap();
        let mut files = Vec::new();
        let mut get = |content: &[u8]| {
            std::fs::write(dir.path().join("secret"), content).unwrap();
            fill("${file:secret}", &|_| None, dir.path(), &mut files)
        };
        assert_eq!(get(b"sk-1\n").unwrap().text, "sk-1");
        assert_eq!(get(b"sk-1\r\n").unwrap().text, "sk-1");
        assert_eq!(get(b"a\nb\n\n").unwrap().text, "a\nb\n");
        assert_eq!(get(b"").unwrap().text, "");
        let reason = |r| match r {
            Err(Error::File { reason, .. }) => reason,
            other => panic!("{other:?}"),
        };
        assert_eq!(reason(get(&[0xff])), "not UTF-8");
        assert_eq!(reason(get(&vec![b'a'; MAX_REFERENCED_BYTES as usize + 1])), "too large");
        assert_eq!(reason(fill("${file:/}", &|_| None, dir.path(), &mut files)), "not a file");
        assert_eq!(reason(fill("${file:gone}", &|_| None, dir.path(), &mut files)), "entity not found");
        assert_eq!(files.last().unwrap(), &dir.path().join("gone"));
    }
}
