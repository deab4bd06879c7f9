//! What each file must be, whatever it is about: its opening, length, white
//! space, and nothing of the machine it was written on.

use super::circles::is_test;
use super::rust::{is_name, line};

/// Lines of a file in Rust or TypeScript. A longer one owns more than one thing.
const MAX_LINES: usize = 500;

/// Endings of files that people write line by line.
const WRITTEN: [&str; 5] = [".rs", ".ts", ".md", ".toml", ".wit"];

/// Files of tests that may sleep, and why that is no wait for a fixed time.
const MAY_SLEEP: [(&str, &str); 6] = [
    ("host/session/src/tests/fake.rs", "a slow provider on Tokio's paused clock"),
    ("host/session/src/tests/mod.rs", "`until` looks at its condition again, with a deadline"),
    ("host/session/src/tests/reaper.rs", "moves Tokio's paused clock, which costs no time"),
    ("host/session/src/tests/time.rs", "moves Tokio's paused clock, which costs no time"),
    ("host/tests/it/soak.rs", "a nemesis waits between its deeds, and its victims between two tries"),
    ("sandboxd/tests/it/client.rs", "`until` looks at its condition again, with a deadline"),
];

/// Text that names the machine or the mirror that a file was made on. In two
/// parts, so that this file holds none of it.
const OF_A_MACHINE: [(&str, &str); 8] = [
    ("/wo", "rk/"),
    ("/ro", "ot/"),
    ("registry.npm", "js.org"),
    ("py", "pi.org"),
    ("index.crates", ".io"),
    ("static.crates", ".io"),
    ("proxy.go", "lang.org"),
    ("deb.deb", "ian.org"),
];

/// Rule: a file opens with its documentation, which has this `mark`.
pub(super) fn opening(path: &str, text: &str, mark: &str) -> Option<String> {
    (!text.starts_with(mark)).then(|| {
        format!(
            "{path}:1: opens without `{mark}`; a reader wants to know first what the file owns and what it leaves out"
        )
    })
}

/// Rule: a file is short enough to be read at once. Files of tests may be longer: each test is read by itself.
pub(super) fn length(path: &str, text: &str) -> Option<String> {
    let lines = text.lines().count();
    let holds_tests = path.contains("/tests/") || path.ends_with(".test.ts");
    (lines > MAX_LINES && !holds_tests).then(|| {
        format!("{path}: has {lines} lines and may have {MAX_LINES}; part it by what it owns, long files hide a second owner")
    })
}

/// Rule: tests wait for conditions.
pub(super) fn sleeps(path: &str, code: &str) -> Vec<String> {
    const CALL: &str = "sleep(";
    if !is_test(path) || MAY_SLEEP.iter().any(|(file, _)| *file == path) {
        return Vec::new();
    }
    code.match_indices(CALL)
        .filter(|(at, _)| !at.checked_sub(1).is_some_and(|before| is_name(code.as_bytes()[before])))
        .map(|(at, _)| {
            format!(
                "{path}:{}: sleeps; wait for a condition with a deadline, a fixed time is too short on a busy machine \
                 and too long on every other",
                line(code, at)
            )
        })
        .collect()
}

/// Rule: nothing tracked names the machine or the mirror of a registry.
pub(super) fn machine_text(path: &str, text: &str) -> Vec<String> {
    if is_generated(path) {
        return Vec::new();
    }
    let needles = OF_A_MACHINE.map(|(a, b)| format!("{a}{b}"));
    let mut broken = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        for needle in needles.iter().filter(|needle| holds(line, needle)) {
            broken.push(format!(
                "{path}:{number}: holds `{needle}`; a clone is built elsewhere, with the registries that its owner set"
            ));
        }
    }
    broken
}

/// Rule: no white space at the end of a line, and an end to the last one.
pub(super) fn white_space(path: &str, text: &str) -> Vec<String> {
    if is_generated(path) {
        return Vec::new();
    }
    let mut broken = Vec::new();
    if WRITTEN.iter().any(|ending| path.ends_with(ending)) {
        for (number, line) in (1..).zip(text.split('\n')) {
            if line.ends_with(|c: char| c.is_whitespace()) {
                broken.push(format!("{path}:{number}: ends with white space, which later edits show as a change"));
            }
        }
    }
    if !text.is_empty() && !text.ends_with('\n') {
        let last = text.lines().count();
        broken.push(format!("{path}:{last}: has no end of line; a line added later would show as two changes"));
    }
    broken
}

/// Whether a line holds this text; a path counts only where it begins.
fn holds(line: &str, needle: &str) -> bool {
    line.match_indices(needle).any(|(at, _)| {
        let before = at.checked_sub(1).map(|before| line.as_bytes()[before]);
        !needle.starts_with('/')
            || !before.is_some_and(|byte| is_name(byte) || matches!(byte, b'.' | b'-' | b'~' | b'}' | b')' | b'>'))
    })
}

/// Whether a tool or another project wrote a file.
fn is_generated(path: &str) -> bool {
    path.ends_with(".lock") || path.ends_with("package-lock.json") || path.starts_with("wit/deps/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_its_documentation_is_caught() {
        assert!(opening("a.rs", "use std::fs;\n//! Late.\n", "//!").is_some());
        assert_eq!(opening("a.rs", "//! Owns a.\n", "//!"), None);
    }

    #[test]
    fn a_long_file_is_caught() {
        let long = "\n".repeat(MAX_LINES + 1);
        assert!(length("a/src/b.rs", &long).is_some());
        assert_eq!(length("a/tests/b.rs", &long), None);
        assert_eq!(length("web/test/b.test.ts", &long), None);
        assert_eq!(length("a/src/b.rs", &long[1..]), None);
    }

    #[test]
    fn a_test_that_sleeps_is_caught() {
        for code in ["tokio::time::sleep(D).await", "\n  std::thread::sleep(D)", "sleep(D).await"] {
            for path in ["host/tests/it/a.rs", "sandboxd/tests/it/a.rs", "host/src/a/tests/b.rs", "host/src/a/tests.rs"]
            {
                assert_eq!(sleeps(path, code).len(), 1, "{path}: {code}");
            }
        }
        assert!(sleeps("host/tests/it/a.rs", "\n\nsleep(D)")[0].starts_with("host/tests/it/a.rs:3: "));
    }

    #[test]
    fn a_sleep_elsewhere_passes() {
        assert!(sleeps("host/http/src/serve.rs", "sleep(pause).await").is_empty());
        assert!(sleeps("host/tests/it/a.rs", "until_asleep(); no_sleep(x)").is_empty());
        assert!(sleeps("host/session/src/tests/time.rs", "tokio::time::sleep(IDLE).await").is_empty());
    }

    #[test]
    fn text_of_a_machine_is_caught() {
        for (a, b) in OF_A_MACHINE {
            let text = format!("one\nsee \"{a}{b}x\"\n");
            let broken = machine_text("docs/a.md", &text);
            assert_eq!(broken.len(), 1, "{text}");
            assert!(broken[0].starts_with("docs/a.md:2: "), "{broken:?}");
        }
    }

    #[test]
    fn text_of_a_machine_passes_where_a_tool_wrote_it() {
        let (a, b) = OF_A_MACHINE[2];
        for path in ["web/package-lock.json", "Cargo.lock", "wit/deps/http.wit"] {
            assert!(machine_text(path, &format!("{a}{b}")).is_empty(), "{path}");
        }
        let (a, b) = OF_A_MACHINE[0];
        assert!(machine_text("a.md", &format!("target{a}{b}x and /home/user")).is_empty());
    }

    #[test]
    fn loose_white_space_is_caught() {
        assert!(white_space("a.rs", "one\ntwo \nthree\n")[0].starts_with("a.rs:2: "));
        assert_eq!(white_space("a.ts", "one\t\n").len(), 1);
        assert_eq!(white_space("a.md", "one\r\n").len(), 1);
        assert!(white_space("a.json", "one\ntwo")[0].starts_with("a.json:2: "));
    }

    #[test]
    fn clean_text_passes() {
        for (path, text) in [("a.rs", "one\n\ntwo\n"), ("a.css", "one \n"), ("empty.md", ""), ("Cargo.lock", "one ")] {
            assert!(white_space(path, text).is_empty(), "{path}");
        }
    }
}
