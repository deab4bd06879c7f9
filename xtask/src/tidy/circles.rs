//! Rule: the files of a crate, and those of the page, import each other in one direction.
//!
//! A circle of files can only be read and tested as one. Cargo keeps crates out of circles; nothing keeps files out of them.
//! A re-export is no import: what is imported through it comes from the file that it names.
//! Knows modules by the places of their files. Files of tests may import what they like.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::rust::{code, line, paths};
use super::tree::{Tree, as_text};

/// A re-export that leads through more of them than this is not followed.
const MAX_HOPS: usize = 8;

/// The modules of one crate, by their paths from its root.
type Modules<'a> = BTreeMap<Vec<String>, Module<'a>>;

struct Module<'a> {
    file: &'a str,
    /// Its code without tests at its end.
    code: String,
    /// What it re-exports: a name, and the path that it stands for.
    exports: BTreeMap<String, Vec<String>>,
    /// Where its re-exports stand in its code, in bytes.
    exporting: Vec<std::ops::Range<usize>>,
}

/// Names every circle, each by its shortest way round.
pub(super) fn circles(tree: &Tree) -> Vec<String> {
    let mut broken = Vec::new();
    for manifest in tree.keys().filter(|path| path.ends_with("Cargo.toml")) {
        let sources = format!("{}src/", manifest.trim_end_matches("Cargo.toml"));
        broken.extend(circles_of(&modules(tree, &sources)));
    }
    broken
}

fn modules<'a>(tree: &'a Tree, sources: &str) -> Modules<'a> {
    let mut modules = Modules::new();
    for (file, bytes) in tree.range(sources.to_owned()..).take_while(|(file, _)| file.starts_with(sources)) {
        let inside = &file[sources.len()..];
        let Some(inside) = inside.strip_suffix(".rs").filter(|_| !is_test(file)) else { continue };
        let Some(text) = as_text(bytes) else { continue };
        let mut path: Vec<String> = inside.split('/').map(str::to_owned).collect();
        if path.last().is_some_and(|name| name == "mod") || path == ["lib"] {
            path.pop();
        } else if path == ["main"] {
            if tree.contains_key(&format!("{sources}lib.rs")) {
                continue;
            }
            path.pop();
        }
        let mut code = code(text);
        code.truncate(code.find("mod tests {").unwrap_or(code.len()));
        let (exports, exporting) = exports(&code);
        modules.insert(path, Module { file, code, exports, exporting });
    }
    modules
}

/// The re-exports in this code, and where they stand.
fn exports(code: &str) -> (BTreeMap<String, Vec<String>>, Vec<std::ops::Range<usize>>) {
    let (mut exports, mut places) = (BTreeMap::new(), Vec::new());
    for (at, _) in code.match_indices("use ") {
        let before = code[..at].trim_end();
        let line = before[before.rfind([';', '}', '{']).map_or(0, |end| end + 1)..].trim_start();
        let line = line[line.rfind(']').map_or(0, |end| end + 1)..].trim_start();
        if !line.starts_with("pub") {
            continue;
        }
        let Some(length) = code[at..].find(';') else { continue };
        places.push(at..at + length);
        let statement = &code[at + "use ".len()..at + length];
        for path in paths(statement) {
            let names: Vec<String> = path.names.iter().map(|name| (*name).to_owned()).collect();
            let own = path.at + path.names.last().map_or(0, |name| name.len());
            let alias = statement[own..].trim_start().strip_prefix("as ").map(str::trim_start);
            let alias = alias.map(|rest| rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or(rest));
            if let Some(name) = alias.or_else(|| path.names.last().copied()) {
                exports.insert(name.to_owned(), names);
            }
        }
    }
    (exports, places)
}

/// The module that a path names something of, seen from another. A name alone names nothing: it may be a variable, or
/// `crate` in `pub(crate)`.
fn target<'m>(modules: &'m Modules<'_>, from: &[String], names: &[&str], hops: usize) -> Option<&'m Vec<String>> {
    let (first, mut rest) = names.split_first().filter(|(_, rest)| !rest.is_empty())?;
    let mut at = from.to_vec();
    match *first {
        "crate" => at.clear(),
        "self" => {}
        "super" => {
            at.pop()?;
            while rest.first() == Some(&"super") {
                at.pop()?;
                rest = &rest[1..];
            }
        }
        child => {
            at.push(child.to_owned());
            modules.get(&at)?;
        }
    }
    for name in rest {
        let child = inside(&at, name);
        if modules.contains_key(&child) {
            at = child;
            continue;
        }
        let exported = modules.get(&at).and_then(|module| module.exports.get(*name));
        if let Some(exported) = exported.filter(|_| hops > 0) {
            let exported: Vec<&str> = exported.iter().map(String::as_str).collect();
            return target(modules, &at, &exported, hops - 1);
        }
        break;
    }
    modules.get_key_value(&at).map(|(path, _)| path)
}

fn inside(path: &[String], name: &str) -> Vec<String> {
    let mut child = path.to_vec();
    child.push(name.to_owned());
    child
}

fn circles_of(modules: &Modules<'_>) -> Vec<String> {
    let mut edges: Edges<&Vec<String>> = BTreeMap::new();
    for (path, module) in modules {
        for found in paths(&module.code) {
            let declared = module.code[..found.at].trim_end().ends_with("mod");
            if declared || module.exporting.iter().any(|place| place.contains(&found.at)) {
                continue;
            }
            if let Some(to) = target(modules, path, &found.names, MAX_HOPS).filter(|to| *to != path) {
                edges.entry(path).or_default().entry(to).or_insert(found.at);
            }
        }
    }
    told(&edges, |path, at| {
        let module = &modules[*path];
        format!("{}:{}", module.file, line(&module.code, at))
    })
}

/// What imports what, and where: `edges[from][to]`.
type Edges<K> = BTreeMap<K, BTreeMap<K, usize>>;

/// Names every circle by its shortest way round. `place` names an import.
fn told<K: Ord + Clone>(edges: &Edges<K>, place: impl Fn(&K, usize) -> String) -> Vec<String> {
    let mut told = BTreeSet::new();
    let mut broken = Vec::new();
    for start in edges.keys() {
        let Some(way) = shortest(edges, start) else { continue };
        if way.iter().any(|file| told.contains(file)) {
            continue;
        }
        told.extend(way.iter().cloned());
        let step = |(at, file): (usize, &K)| place(file, edges[file][&way[(at + 1) % way.len()]]);
        let steps: Vec<String> = way.iter().enumerate().map(step).collect();
        broken.push(format!(
            "{}: these files import each other in a circle: {}; move what they share to a file of its own",
            steps[0],
            steps.join(" -> ")
        ));
    }
    broken
}

/// The shortest way from a file back to itself.
fn shortest<K: Ord + Clone>(edges: &Edges<K>, start: &K) -> Option<Vec<K>> {
    let mut before: BTreeMap<&K, &K> = BTreeMap::new();
    let mut next = VecDeque::from([start]);
    while let Some(file) = next.pop_front() {
        for to in edges.get(file).into_iter().flat_map(BTreeMap::keys) {
            if to == start {
                let mut way = vec![file];
                while let Some(earlier) = before.get(way[way.len() - 1]) {
                    way.push(earlier);
                }
                return Some(way.into_iter().rev().cloned().collect());
            }
            if !before.contains_key(to) {
                before.insert(to, file);
                next.push_back(to);
            }
        }
    }
    None
}

/// Names every circle among the files of the page. An import of a type alone counts: its reader follows it as well.
pub(super) fn circles_of_page(tree: &Tree) -> Vec<String> {
    const SOURCES: &str = "web/src/";
    let files = tree.range(SOURCES.to_owned()..).take_while(|(file, _)| file.starts_with(SOURCES));
    let mut edges: Edges<String> = BTreeMap::new();
    for (file, bytes) in files.filter(|(file, _)| file.ends_with(".ts")) {
        for (number, line) in (1..).zip(as_text(bytes).unwrap_or_default().lines()) {
            let Some(to) = imported(file, line).filter(|to| tree.contains_key(to)) else { continue };
            edges.entry(file.clone()).or_default().entry(to).or_insert(number);
        }
    }
    told(&edges, |file, number| format!("{file}:{number}"))
}

/// The file that a line of TypeScript imports or re-exports from.
fn imported(file: &str, line: &str) -> Option<String> {
    if !["import ", "export ", "} "].iter().any(|start| line.starts_with(start)) {
        return None;
    }
    let (_, rest) = line.split_once(" from \"")?;
    let (path, _) = rest.split_once('"')?;
    let mut at: Vec<&str> = file.split('/').collect();
    at.pop();
    for step in path.strip_prefix('.').map(|_| path.split('/'))? {
        match step {
            "." => {}
            ".." => drop(at.pop()?),
            name => at.push(name),
        }
    }
    Some(format!("{}.ts", at.join("/")))
}

/// Whether a file holds nothing but tests.
pub(super) fn is_test(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.contains("/tests/")
}

#[cfg(test)]
mod tests {
    use super::super::tree::tree;
    use super::*;

    fn found(files: &[(&str, &str)]) -> Vec<String> {
        let mut all = vec![("a/Cargo.toml", "")];
        all.extend(files);
        circles(&tree(&all))
    }

    #[test]
    fn a_circle_is_told_by_its_shortest_way() {
        let broken = found(&[
            ("a/src/lib.rs", "mod b;\nmod c;\nmod d;\n"),
            ("a/src/b.rs", "\nuse crate::c::C;\n"),
            ("a/src/c.rs", "use super::{b::B, d};\n"),
            ("a/src/d.rs", "fn d() -> crate::b::D {}\n"),
        ]);
        assert_eq!(broken.len(), 1, "{broken:?}");
        assert!(broken[0].contains("a/src/b.rs:2 -> a/src/c.rs:1;"), "{broken:?}");
    }

    #[test]
    fn a_module_and_its_parent_are_a_circle() {
        let broken = found(&[
            ("a/src/lib.rs", "mod b;"),
            ("a/src/b/mod.rs", "mod c;\nuse c::C;\n"),
            ("a/src/b/c.rs", "use super::B;\n"),
        ]);
        assert_eq!(broken.len(), 1, "{broken:?}");
    }

    #[test]
    fn what_is_imported_through_a_re_export_comes_from_its_own_file() {
        let apart = [
            ("a/src/lib.rs", "mod b;\nmod c;\npub use b::{B, Other as Renamed};\npub(crate) use c::C;\n"),
            ("a/src/b.rs", "pub struct B;"),
            ("a/src/c.rs", "use crate::{B, Renamed};"),
        ];
        assert_eq!(found(&apart), Vec::<String>::new());
        let round = [apart[0], ("a/src/b.rs", "use super::C;"), apart[2]];
        assert_eq!(found(&round).len(), 1);
    }

    #[test]
    fn tests_and_other_crates_make_no_circle() {
        let broken = found(&[
            ("a/src/lib.rs", "mod b;\nuse b::B;\n#[cfg(test)]\nmod tests;\n"),
            ("a/src/main.rs", "use crate::b::B;"),
            (
                "a/src/b.rs",
                "use tokio::task;\npub(crate) struct B { c: u8 }\n#[cfg(test)]\nmod tests { use super::super::A; }\n",
            ),
            ("a/src/tests/d.rs", "use crate::b::B;"),
        ]);
        assert_eq!(broken, Vec::<String>::new());
    }

    #[test]
    fn files_of_the_page_in_a_circle_are_told() {
        let files = [
            ("web/src/main.ts", "import { a } from \"./a/a\";\n"),
            ("web/src/a/a.ts", "/** A. */\nimport {\n  type B,\n} from \"../b\";\n"),
            ("web/src/b.ts", "import { x } from \"x\";\nexport { a } from \"./a/a\";\n"),
        ];
        let broken = circles_of_page(&tree(&files));
        assert_eq!(broken.len(), 1, "{broken:?}");
        assert!(broken[0].contains("web/src/a/a.ts:4 -> web/src/b.ts:2;"), "{broken:?}");
        assert_eq!(circles_of_page(&tree(&files[..2])), Vec::<String>::new());
    }
}
