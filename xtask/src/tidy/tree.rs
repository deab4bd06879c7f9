//! The files that git tracks, as the rules read them.

use std::collections::BTreeMap;

/// Each file's content by its path from the root.
pub(super) type Tree = BTreeMap<String, Vec<u8>>;

/// The content as text; none of a binary file.
pub(super) fn as_text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok().filter(|text| !text.contains('\0'))
}

/// A tree of these files, for the tests of rules.
#[cfg(test)]
pub(super) fn tree(files: &[(&str, &str)]) -> Tree {
    files.iter().map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec())).collect()
}
