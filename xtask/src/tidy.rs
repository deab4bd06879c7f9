//! `cargo xtask tidy`: the rules of ARCHITECTURE.md that no compiler checks.
//!
//! Owns which rule looks at which tracked file; every rule is a function from
//! text to failures, each with its reason. Compiles nothing, changes nothing, and
//! knows nothing of files that git does not track.

use std::fs;
use std::io::ErrorKind;

use anyhow::{Context as _, Result, bail};

use crate::workspace::Workspace;

mod circles;
mod decisions;
mod documents;
mod files;
mod lock;
mod rust;
mod sizes;
mod tree;

use tree::{Tree, as_text};

/// Checks every rule, prints all that breaks one, and fails if anything did.
pub(crate) fn tidy(ws: &Workspace) -> Result<()> {
    let tree = tracked(ws)?;
    let broken = broken(&tree);
    for failure in &broken {
        eprintln!("{failure}");
    }
    if broken.is_empty() {
        eprintln!("tidy: {} files keep every rule", tree.len());
        return Ok(());
    }
    bail!("the rules of the repository are broken in {} places", broken.len())
}

/// Reads what git tracks; a file that was deleted and not yet committed is gone.
fn tracked(ws: &Workspace) -> Result<Tree> {
    let list = ws.cmd("git").args(["ls-files", "-z"]).read()?;
    let mut tree = Tree::new();
    for path in list.split('\0').map(str::trim).filter(|path| !path.is_empty()) {
        match fs::read(ws.path(path)) {
            Ok(bytes) => drop(tree.insert(path.to_owned(), bytes)),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| format!("reading {path}")),
        }
    }
    Ok(tree)
}

fn broken(tree: &Tree) -> Vec<String> {
    let mut broken = Vec::new();
    for (path, bytes) in tree {
        let Some(text) = as_text(bytes) else { continue };
        broken.extend(files::machine_text(path, text));
        broken.extend(files::white_space(path, text));
        if path.ends_with(".rs") {
            broken.extend(files::opening(path, text, "//!"));
            let code = rust::code(text);
            broken.extend(files::sleeps(path, &code));
        }
        if path.ends_with(".rs") || path.ends_with(".ts") {
            broken.extend(files::length(path, text));
        }
        if path.starts_with("web/src/") && path.ends_with(".ts") {
            broken.extend(files::opening(path, text, "/**"));
        }
        if path.ends_with(".md") {
            broken.extend(documents::links(path, text, tree));
        }
    }
    broken.extend(required(tree, "ARCHITECTURE.md", |text| documents::named_paths("ARCHITECTURE.md", text, tree)));
    let frames = documents::FRAMES.map(|path| tree.get(path));
    broken.extend(required(tree, documents::PROTOCOL, |text| documents::frames(text, &frames)));
    broken.extend(required(tree, "Cargo.lock", lock::wasmtime));
    broken.extend(decisions::decisions(tree));
    broken.extend(circles::circles(tree));
    broken.extend(circles::circles_of_page(tree));
    broken.extend(sizes::sizes(tree));
    broken
}

/// Applies a rule to a file that must be there.
fn required(tree: &Tree, path: &str, rule: impl FnOnce(&str) -> Vec<String>) -> Vec<String> {
    tree.get(path)
        .and_then(|bytes| as_text(bytes))
        .map_or_else(|| vec![format!("{path}: git tracks no such text file, and a rule of tidy needs it")], rule)
}

#[cfg(test)]
mod tests {
    use super::tree::tree;
    use super::*;

    #[test]
    fn every_failure_is_told_and_binary_files_are_passed_over() {
        let mut files = tree(&[("a.rs", "fn a() {} \n"), ("b.md", "no end of line")]);
        files.insert("c.png".to_owned(), vec![0xff, 0, b' ', b'\n']);
        let broken = broken(&files);
        for start in ["a.rs:1: opens", "a.rs:1: ends with white", "b.md:1: ", "Cargo.lock: git", "ARCHITECTURE.md: git"]
        {
            assert_eq!(broken.iter().filter(|failure| failure.starts_with(start)).count(), 1, "{start} in {broken:#?}");
        }
        assert!(!broken.iter().any(|failure| failure.starts_with("c.png")), "{broken:#?}");
    }
}
