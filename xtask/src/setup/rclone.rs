//! rclone: found where sandboxes see it, otherwise built and put there.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use super::go::build;
use super::seen::put;
use crate::command::{Cmd, find_program};
use crate::workspace::Workspace;

/// The first with symbolic links.
const MIN: (u32, u32) = (1, 69);

/// Folders of the host that sandboxes of `sandboxd` see.
const SEEN: [&str; 2] = ["/usr", "/opt"];

const FOLDER: &str = "xtask/s3/rclone";

/// Where the one that is built goes.
const PLACE: &str = "/usr/local/lib/sandbox-broker/rclone";

/// Its path.
pub(crate) fn install(ws: &Workspace) -> Result<PathBuf> {
    if let Some(found) = find_program(&["rclone"])
        && SEEN.iter().any(|folder| found.starts_with(folder))
        && Cmd::new(&found).arg("version").read().is_ok_and(|said| version(&said).is_some_and(|it| it >= MIN))
    {
        return Ok(found);
    }
    let built = build(ws, FOLDER, "rclone, which mounts S3 storage in tests")?;
    let place = Path::new(PLACE);
    let program = std::fs::read(&built).with_context(|| format!("reading {}", built.display()))?;
    if std::fs::read(place).is_ok_and(|there| there == program) {
        return Ok(place.to_owned());
    }
    let hint = format!("run `sudo install -D {} {PLACE}`", built.display());
    if let Err(error) = put(place, &program) {
        bail!("{PLACE} (mounts S3 storage in tests): {error}: {hint}");
    }
    Ok(place.to_owned())
}

/// The version in `rclone v1.76.0`.
fn version(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.lines().next()?.strip_prefix("rclone v")?.split(['.', '-']).map(|part| part.parse().ok());
    Some((parts.next()??, parts.next()??))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_by_number() {
        assert_eq!(version("rclone v1.76.0\n- os/version: x"), Some((1, 76)));
        assert!(version("rclone v1.60.1-DEV\n").is_some_and(|it| it < MIN));
        assert_eq!(version("nonsense"), None);
    }
}
