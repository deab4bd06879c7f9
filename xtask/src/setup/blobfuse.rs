//! blobfuse2: found where sandboxes see it, otherwise named.
//!
//! It comes from Microsoft's own package repository and from no registry that
//! every build machine reaches, so it is never installed here.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::command::{Cmd, find_program};

/// The oldest that the tests of the mount are known to pass with.
const MIN: (u32, u32, u32) = (2, 5, 5);

/// Folders of the host that sandboxes of `sandboxd` see.
const SEEN: [&str; 2] = ["/usr", "/opt"];

const INSTALL: &str = "install the package blobfuse2 from Microsoft's package repository for Linux";

/// Its path. The error says in one line what to do.
pub(crate) fn find() -> Result<PathBuf> {
    let program =
        find_program(&["blobfuse2"]).with_context(|| format!("blobfuse2 (mounts Azure Blob Storage): {INSTALL}"))?;
    if !SEEN.iter().any(|folder| program.starts_with(folder)) {
        bail!("{} is not where sandboxes see it, under {}: {INSTALL}", program.display(), SEEN.join(" or "));
    }
    check_version(&program, &Cmd::new(&program).arg("--version").read()?)?;
    Ok(program)
}

fn check_version(program: &Path, said: &str) -> Result<()> {
    match version(said) {
        Some(found) if found >= MIN => Ok(()),
        _ => {
            let (major, minor, patch) = MIN;
            bail!("{} is `{}` and not {major}.{minor}.{patch} or later: {INSTALL}", program.display(), said.trim())
        }
    }
}

/// The version in `blobfuse2 version 2.5.5`.
fn version(text: &str) -> Option<(u32, u32, u32)> {
    let mut parts = text.split_whitespace().last()?.split('.').map(|part| part.parse().ok());
    Some((parts.next()??, parts.next()??, parts.next()??))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_by_number() {
        let check = |said| check_version(Path::new("blobfuse2"), said);
        assert!(check("blobfuse2 version 2.5.5\n").is_ok());
        assert!(check("blobfuse2 version 2.10.0\n").is_ok());
        for old in ["blobfuse2 version 2.5.4\n", "blobfuse2 version 1.9.9", "nonsense", ""] {
            assert!(check(old).unwrap_err().to_string().contains("not 2.5.5 or later: install"), "{old}");
        }
    }
}
