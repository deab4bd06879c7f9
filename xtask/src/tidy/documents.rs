//! Documents that name what is there: paths, links and the version of the frames.

use super::tree::Tree;
use crate::workspace::sha256_hex;

/// The document of the protocol, which names the frames it describes.
pub(super) const PROTOCOL: &str = "docs/terminal-protocol.md";

/// The definition of the frames, level by level.
pub(super) const FRAMES: [&str; 9] = [
    "host/terminal/src/frames/mod.rs",
    "host/terminal/src/frames/close.rs",
    "host/terminal/src/frames/decode.rs",
    "host/terminal/src/frames/level0.rs",
    "host/terminal/src/frames/level1/mod.rs",
    "host/terminal/src/frames/level1/binary.rs",
    "host/terminal/src/frames/level1/client.rs",
    "host/terminal/src/frames/level1/screen.rs",
    "host/terminal/src/frames/level1/server.rs",
];

/// Folders whose paths a document may name in backticks.
const FOLDERS: [&str; 8] = ["host/", "wit/", "sandboxd/", "sdk/", "plugins/", "web/", "xtask/", "docs/"];

/// Rule: every path in backticks leads to something that git tracks.
pub(super) fn named_paths(document: &str, text: &str, tree: &Tree) -> Vec<String> {
    let mut broken = Vec::new();
    for (number, line) in prose(text) {
        // Every second part stands between two backticks.
        for name in line.split('`').skip(1).step_by(2) {
            let is_path = FOLDERS.iter().any(|folder| name.starts_with(folder));
            if is_path && !name.contains([' ', '…', '*', '{', '<']) && !is_there(tree, name) {
                broken.push(format!(
                    "{document}:{number}: `{name}` is not in the repository; a map that is wrong in one place is trusted in none"
                ));
            }
        }
    }
    broken
}

/// Rule: every link to a file leads to something that git tracks.
pub(super) fn links(document: &str, text: &str, tree: &Tree) -> Vec<String> {
    let mut broken = Vec::new();
    for (number, line) in prose(text) {
        // Code in backticks may look like a link.
        let words: Vec<&str> = line.split('`').step_by(2).collect();
        for after in words.join("`").split("](").skip(1) {
            let link = after.split([')', ' ', '#']).next().unwrap_or_default();
            if link.is_empty() || link.contains(':') {
                continue;
            }
            if !resolve(document, link).is_some_and(|path| path.is_empty() || is_there(tree, &path)) {
                broken.push(format!(
                    "{document}:{number}: links to `{link}`, which is not in the repository; say where it went"
                ));
            }
        }
    }
    broken
}

/// Rule: the document of the protocol was read again when the frames changed.
/// `frames` are the contents of [`FRAMES`], in their order.
pub(super) fn frames(text: &str, frames: &[Option<&Vec<u8>>]) -> Vec<String> {
    let mut all = Vec::new();
    for (path, content) in FRAMES.iter().zip(frames) {
        match content {
            Some(content) => all.extend_from_slice(content),
            None => return vec![format!("{path}: is gone, and {PROTOCOL} describes it")],
        }
    }
    let right = sha256_hex(&all);
    let written: Vec<&str> = text.lines().filter_map(|line| line.trim().strip_prefix("frames-sha256:")).collect();
    if matches!(written.as_slice(), [hex] if hex.trim() == right) {
        return Vec::new();
    }
    vec![format!(
        "{PROTOCOL}: the definition of the frames is not the one it describes; read the document against the frames, then write\n    \
         frames-sha256: {right}"
    )]
}

/// Numbered lines outside fenced blocks.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    (1..).zip(text.lines()).filter(move |(_, line)| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    })
}

/// The path from the root of what a link in this document leads to.
fn resolve(document: &str, link: &str) -> Option<String> {
    let mut parts: Vec<&str> = if link.starts_with('/') { Vec::new() } else { document.split('/').collect() };
    parts.pop();
    for part in link.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// Whether this is a tracked file or a folder that holds one.
fn is_there(tree: &Tree, path: &str) -> bool {
    let path = path.trim_end_matches('/');
    let folder = format!("{path}/");
    tree.contains_key(path) || tree.range(folder.clone()..).next().is_some_and(|(next, _)| next.starts_with(&folder))
}

#[cfg(test)]
mod tests {
    use super::super::tree::tree;
    use super::*;

    #[test]
    fn a_path_that_leads_nowhere_is_caught() {
        let tree = tree(&[("host/src/lib.rs", "")]);
        let broken = named_paths("A.md", "see `host/src/lib.rs`\nand `host/src/gone/` too", &tree);
        assert_eq!(broken.len(), 1, "{broken:?}");
        assert!(broken[0].starts_with("A.md:2: `host/src/gone/`"), "{broken:?}");
        assert_eq!(named_paths("A.md", "`host/src/li`", &tree).len(), 1, "a part of a name is no folder");
    }

    #[test]
    fn a_path_that_leads_somewhere_passes() {
        let tree = tree(&[("host/src/lib.rs", ""), ("web/a.ts", "")]);
        let text =
            "`host/src/` `web` `web/` `host/…` `host/x y` `GET /x` host/none\n```\n`host/gone`\n```\n`terminal/`";
        assert_eq!(named_paths("A.md", text, &tree), Vec::<String>::new());
    }

    #[test]
    fn a_link_that_leads_nowhere_is_caught() {
        let tree = tree(&[("docs/a.md", ""), ("B.md", "")]);
        for link in ["b.md", "../docs/b.md", "../../B.md", "/docs/none#x"] {
            assert_eq!(links("docs/a.md", &format!("[x]({link})"), &tree).len(), 1, "{link}");
        }
    }

    #[test]
    fn a_link_that_leads_somewhere_passes() {
        let tree = tree(&[("docs/a.md", ""), ("B.md", "")]);
        for link in ["a.md", "a.md#part", "../B.md", "..", "#here", "https://example.com/x", "mailto:a@example.com"] {
            assert_eq!(links("docs/a.md", &format!("[x]({link}) `y[0](z)`"), &tree), Vec::<String>::new(), "{link}");
        }
    }

    #[test]
    fn frames_that_changed_are_caught_with_the_right_sum() {
        let sum = sha256_hex(b"new");
        for text in ["", "frames-sha256: 00", "frames-sha256: 00\nframes-sha256: 00"] {
            let broken = frames(text, &[Some(&b"ne".to_vec()), Some(&b"w".to_vec())]);
            assert!(broken[0].contains(&format!("frames-sha256: {sum}")), "{broken:?}");
        }
        assert_eq!(frames("", &[Some(&Vec::new()), None]).len(), 1);
    }

    #[test]
    fn frames_that_are_described_pass() {
        let text = format!("# P\n\nframes-sha256: {}\n", sha256_hex(b"new"));
        assert_eq!(frames(&text, &[Some(&b"n".to_vec()), Some(&b"ew".to_vec())]), Vec::<String>::new());
    }
}
