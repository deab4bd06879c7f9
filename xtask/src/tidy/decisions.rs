//! Decisions are numbered, so that code and commits can name them for good.

use super::tree::{Tree, as_text};

const FOLDER: &str = "docs/decisions/";

/// Rule: decisions are `NNNN-slug.md`, from 0001 without holes, and say their number.
pub(super) fn decisions(tree: &Tree) -> Vec<String> {
    let mut broken = Vec::new();
    let mut next = 1_usize;
    for (path, bytes) in tree.iter().filter(|(path, _)| path.ends_with(".md")) {
        let Some(name) = path.strip_prefix(FOLDER) else { continue };
        let Some(number) = number(name) else {
            broken.push(format!("{path}: is not named NNNN-slug.md, so that nothing can name it by its number"));
            continue;
        };
        if number != next {
            broken
                .push(format!("{path}: is number {number} where {next:04} comes; a hole or a double hides a decision"));
        }
        next = number + 1;
        let first = as_text(bytes).and_then(|text| text.lines().next()).unwrap_or_default();
        if first.strip_prefix(&format!("# {number}. ")).is_none_or(|title| title.trim().is_empty()) {
            broken.push(format!("{path}:1: does not open with `# {number}. Title`, as the file is numbered"));
        }
    }
    broken
}

/// The number of a file named `NNNN-slug.md`.
fn number(name: &str) -> Option<usize> {
    let (number, slug) = name.strip_suffix(".md")?.split_once('-')?;
    let fits = number.len() == 4
        && number.bytes().all(|byte| byte.is_ascii_digit())
        && slug.split('-').all(|word| {
            !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        });
    if fits { number.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::super::tree::tree;
    use super::*;

    #[test]
    fn a_decision_out_of_order_is_caught() {
        for (path, text) in [
            ("docs/decisions/0001-Big.md", "# 1. Big\n"),
            ("docs/decisions/1-small.md", "# 1. Small\n"),
            ("docs/decisions/0002-hole.md", "# 2. Hole\n"),
            ("docs/decisions/0001-title.md", "# 2. Title\n"),
            ("docs/decisions/0001-title.md", "# 1. \n"),
        ] {
            assert_eq!(decisions(&tree(&[(path, text)])).len(), 1, "{path}");
        }
        let double = [("docs/decisions/0001-a.md", "# 1. A\n"), ("docs/decisions/0001-b.md", "# 1. B\n")];
        assert_eq!(decisions(&tree(&double)).len(), 1);
    }

    #[test]
    fn decisions_in_order_pass() {
        let files = [
            ("docs/configuration.md", "# Configuration\n"),
            ("docs/decisions/0001-a-store.md", "# 1. A Store\n"),
            ("docs/decisions/0002-level-0.md", "# 2. Level 0\n"),
        ];
        assert_eq!(decisions(&tree(&files)), Vec::<String>::new());
    }
}
