//! Whatever the text, loading it ends with a configuration or with mistakes
//! that stand somewhere in it.

use std::path::Path;

use proptest::prelude::*;

use super::super::{Mistakes, Position, load, parse};
use super::mutations::FULL;
use super::with;

/// Pieces of which half-right files are made.
const PIECES: &[&str] = &[
    "[",
    "]",
    "[[",
    "]]",
    "{",
    "}",
    "=",
    ".",
    ",",
    "\n",
    "\"",
    "'",
    "'''",
    "\"\"\"",
    "#",
    " ",
    "\\",
    "\\u00e9",
    "${",
    "$${",
    "}",
    ":-",
    "file:",
    "A",
    "-",
    "1",
    "0x",
    "1e999",
    "nan",
    "true",
    "2020-01-01",
    "é",
    "\u{feff}",
    "\0",
    "\r\n",
    "/",
    "~",
    "~1",
    "0",
    "server",
    "listen",
    "auth",
    "tokens",
    "sandbox",
    "provider",
    "env",
    "shell",
    "providers",
    "x",
    "plugin",
    "allow",
    "secrets",
    "limits",
    "config",
    "\"127.0.0.1:0\"",
    "\"e2b\"",
    "\"${A}\"",
    "\"${B:-1}\"",
    "\"${file:/}\"",
    "\n[sandbox]\n",
    "\n[providers.x]\n",
    "\nplugin = \"e2b\"\n",
];

fn judge(text: &str) -> Result<(), TestCaseError> {
    let Err(mistakes) = with(text, &[("A", "1")]) else { return Ok(()) };
    stand_in(text, &mistakes)
}

fn stand_in(text: &str, mistakes: &Mistakes) -> Result<(), TestCaseError> {
    prop_assert!(!mistakes.list().is_empty());
    prop_assert_eq!(mistakes.to_string().lines().count(), mistakes.list().len(), "each is one line");
    let lines: Vec<&str> = text.split('\n').collect();
    for mistake in mistakes.list() {
        let Some(Position { line, column }) = mistake.position() else {
            return Err(TestCaseError::fail(format!("no place: {mistake}")));
        };
        prop_assert!((1..=lines.len()).contains(&line), "{}", mistake);
        prop_assert!((1..=lines[line - 1].chars().count() + 1).contains(&column), "{}", mistake);
        prop_assert!(!mistake.message().contains("bug of the broker"), "{}", mistake);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn of_any_text(text in any::<String>()) {
        judge(&text)?;
    }

    #[test]
    fn of_any_pieces(pieces in prop::collection::vec(prop::sample::select(PIECES), 0..60)) {
        judge(&pieces.concat())?;
    }

    #[test]
    fn of_a_good_file_with_a_piece_cut_out_or_put_in(
        cut in (0..FULL.len(), 0..40_usize),
        put in prop::collection::vec(prop::sample::select(PIECES), 0..4),
    ) {
        // It is ASCII, so every byte is a place to cut.
        let end = (cut.0 + cut.1).min(FULL.len());
        judge(&format!("{}{}{}", &FULL[..cut.0], put.concat(), &FULL[end..]))?;
    }

    #[test]
    fn of_a_good_file_with_values_exchanged(
        from in 0..FULL.lines().count(),
        to in 0..FULL.lines().count(),
    ) {
        let value = FULL.lines().nth(from).and_then(|line| line.split_once(" = ")).map_or("1", |(_, value)| value);
        let lines = FULL.lines().enumerate().map(|(i, line)| match line.split_once(" = ") {
            Some((key, _)) if i == to => format!("{key} = {value}"),
            _ => line.to_owned(),
        });
        judge(&lines.collect::<Vec<_>>().join("\n"))?;
    }

    #[test]
    fn of_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("broker.toml");
        std::fs::write(&path, &bytes).unwrap();
        if let Err(mistakes) = load(&path, &|_| None) {
            stand_in(&String::from_utf8_lossy(&bytes), &mistakes)?;
        }
    }
}

#[test]
fn of_text_that_is_deep_or_long() {
    for text in [
        "[".repeat(200_000),
        format!("{}a = 1", "a.".repeat(200_000)),
        format!("[{}a]", "a.".repeat(200_000)),
        format!("a = {}", "{ a = ".repeat(200_000)),
        format!("{} = 1", ["a"; 78].join(".")),
        "a = 1\n".repeat(50_000),
        format!("[providers]\n{}", (0..5000).map(|i| format!("p{i} = {{ plugin = 1 }}\n")).collect::<String>()),
    ] {
        parse(Path::new("broker.toml"), &text, &|_| None).expect_err("it is wrong");
    }
}
