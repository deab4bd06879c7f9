//! Mistakes in a configuration: where each is, at which key, what was found and what is expected. Owns their form and
//! order; deliberately knows neither TOML nor any key. A mistake never holds a value from a variable, from a secret file or
//! from a key that holds secrets.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// A place in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// From 1.
    pub line: usize,
    /// From 1, in characters (Unicode scalar values).
    pub column: usize,
}

impl Position {
    /// Where a file begins.
    pub const START: Position = Position { line: 1, column: 1 };
}

/// One mistake, or one thing worth a warning.
///
/// Its `Display` is `broker.toml:LINE:COLUMN: key: message`, with the file's
/// name as the operator gave it. Without a position (a file that cannot be
/// read) and without a key (a mistake of syntax) those parts are left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    pub(super) file: Arc<str>,
    pub(super) position: Option<Position>,
    pub(super) key: String,
    pub(super) message: String,
}

impl Mistake {
    /// Where it is; `None` when it concerns the file as a whole.
    pub fn position(&self) -> Option<Position> {
        self.position
    }

    /// The key as it would be written in TOML, such as `sandbox.shell[0]`;
    /// empty for a mistake of syntax.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// What was found and what is expected.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(Position { line, column }) = self.position {
            write!(f, ":{line}:{column}")?;
        }
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        write!(f, ": {}", self.message)
    }
}

/// Why a configuration is refused: every mistake in it, in the order of the
/// file. Its `Display` is one line for each.
#[derive(Clone)]
pub struct Mistakes {
    list: Vec<Mistake>,
    files: Vec<PathBuf>,
}

impl Mistakes {
    /// Sorts by position. `files` are the files whose change may correct the mistakes.
    pub fn new(mut list: Vec<Mistake>, files: Vec<PathBuf>) -> Self {
        list.sort_by(|a, b| (a.position, &a.key).cmp(&(b.position, &b.key)));
        Mistakes { list, files }
    }

    /// The mistakes, never none.
    pub fn list(&self) -> &[Mistake] {
        &self.list
    }

    /// The files to watch while the configuration is wrong: the file itself, and the files that it names as far as it could
    /// be read. A missing secret file is among them.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }
}

/// Without the files: a path may come from a variable.
impl fmt::Debug for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mistakes").field("list", &self.list).finish_non_exhaustive()
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, mistake) in self.list.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{mistake}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Mistakes {}

/// Two words that are at least this similar (normalised Damerau-Levenshtein, 1 = equal) look like one word that was
/// misspelt. 0.5 catches two slips in a short word.
const ALIKE: f64 = 0.5;

/// The word of `known` that a person who wrote `found` most likely meant.
pub(super) fn meant<'a>(found: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let found = found.to_lowercase();
    known
        .into_iter()
        .map(|name| (strsim::normalized_damerau_levenshtein(&found, &name.to_lowercase()), name))
        .filter(|(alike, _)| *alike >= ALIKE)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_word_finds_the_one_that_was_meant() {
        let known = ["provider", "timeout", "lease", "env"];
        assert_eq!(meant("timout", known), Some("timeout"));
        assert_eq!(meant("TIMEOUT", known), Some("timeout"));
        assert_eq!(meant("porvider", known), Some("provider"));
        assert_eq!(meant("evn", known), Some("env"));
        assert_eq!(meant("colour", known), None);
        assert_eq!(meant("", known), None);
    }

    #[test]
    fn mistakes_come_in_the_order_of_the_file_with_those_of_the_whole_file_first() {
        let at =
            |position, key: &str| Mistake { file: "f.toml".into(), position, key: key.into(), message: "m".into() };
        let mistakes = Mistakes::new(
            vec![
                at(Some(Position { line: 10, column: 1 }), "c"),
                at(Some(Position { line: 9, column: 20 }), "b"),
                at(Some(Position { line: 9, column: 3 }), "a"),
                at(None, ""),
            ],
            Vec::new(),
        );
        assert_eq!(mistakes.to_string(), "f.toml: m\nf.toml:9:3: a: m\nf.toml:9:20: b: m\nf.toml:10:1: c: m");
    }
}
