//! Rule: a crate is small enough to be known.
//!
//! Counts the lines of a crate that run in its programs. Knows nothing of what they say.

use super::circles::is_test;
use super::tree::{Tree, as_text};

/// Lines of a crate without tests. Inside a crate every file may import every file below it, and an edit of one compiles
/// all. So a larger crate is read and built as one although it owns several things.
const MAX_LINES: usize = 8_000;

/// Names every crate that has too many lines.
pub(super) fn sizes(tree: &Tree) -> Vec<String> {
    let mut broken = Vec::new();
    for manifest in tree.keys().filter(|path| path.ends_with("Cargo.toml")) {
        let sources = format!("{}src/", manifest.trim_end_matches("Cargo.toml"));
        let files = tree.range(sources.clone()..).take_while(|(file, _)| file.starts_with(&sources));
        let texts = files.filter(|(file, _)| file.ends_with(".rs") && !is_test(file));
        let lines: usize = texts.filter_map(|(_, bytes)| as_text(bytes)).map(lines).sum();
        if lines > MAX_LINES {
            broken.push(format!(
                "{manifest}: its crate has {lines} lines without tests and may have {MAX_LINES}; part it by what it owns; \
                 within a crate only discipline keeps the parts from knowing each other"
            ));
        }
    }
    broken
}

/// The lines of a file before its first test.
fn lines(text: &str) -> usize {
    text.lines().take_while(|line| !line.trim_start().starts_with("#[cfg(test)]")).count()
}

#[cfg(test)]
mod tests {
    use super::super::tree::tree;
    use super::*;

    #[test]
    fn a_large_crate_is_caught() {
        let (most, one) = ("\n".repeat(MAX_LINES), "\n");
        let broken = sizes(&tree(&[("a/Cargo.toml", ""), ("a/src/lib.rs", &most), ("a/src/b/c.rs", one)]));
        assert_eq!(broken.len(), 1, "{broken:?}");
        assert!(broken[0].starts_with("a/Cargo.toml: its crate has 8001 lines"), "{broken:?}");
    }

    #[test]
    fn tests_and_other_crates_do_not_count() {
        let most = "\n".repeat(MAX_LINES);
        let tested = format!("{most}#[cfg(test)]\nmod tests {{}}\n");
        let broken = sizes(&tree(&[
            ("a/Cargo.toml", ""),
            ("a/src/lib.rs", &tested),
            ("a/src/b/tests.rs", &most),
            ("a/src/b/tests/c.rs", &most),
            ("a/src/page.html", &most),
            ("a/tests/it/main.rs", &most),
            ("a/b/Cargo.toml", ""),
            ("a/b/src/lib.rs", &most),
        ]));
        assert_eq!(broken, Vec::<String>::new());
    }
}
