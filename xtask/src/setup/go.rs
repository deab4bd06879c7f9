//! Programs in Go that tests use: built from a folder of this repository, once
//! for each user and version.
//!
//! Knows nothing of what the programs do. A folder's `go.mod` and `go.sum` name
//! every version and hash, so what is built is the same everywhere.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::command::find_program;
use crate::workspace::{Workspace, sha256_hex};

/// MinIO takes five minutes of an idle machine with two cores.
const BUILD_DEADLINE: Duration = Duration::from_secs(45 * 60);

/// Builds the module in `folder` and returns the program.
pub(crate) fn build(ws: &Workspace, folder: &str, needed_for: &str) -> Result<PathBuf> {
    let mut inputs = String::new();
    for name in ["go.mod", "go.sum", "main.go"] {
        let path = ws.path(folder).join(name);
        let bytes = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        inputs.push_str(&sha256_hex(&bytes));
    }
    let name = folder.rsplit('/').next().unwrap_or(folder);
    let place = cache()?.join(format!("{name}-{}", &sha256_hex(inputs.as_bytes())[..16]));
    if place.is_file() {
        return Ok(place);
    }
    find_program(&["go"]).with_context(|| format!("go ({needed_for}): install Go 1.25 or later"))?;
    fs::create_dir_all(place.parent().unwrap_or(&place)).with_context(|| format!("making {}", place.display()))?;
    eprintln!("building {folder}, once for each version ({needed_for})");
    // By rename: another run may build the same.
    let new = place.with_extension(format!("new-{}", std::process::id()));
    ws.cmd("go")
        .args(["build", "-mod=readonly", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o"])
        .arg(&new)
        .arg(".")
        .dir(&ws.path(folder))
        .deadline(BUILD_DEADLINE)
        .run()
        .with_context(|| format!("building {folder} ({needed_for})"))?;
    fs::rename(&new, &place).with_context(|| format!("writing {}", place.display()))?;
    Ok(place)
}

/// The user's own folder for such things.
fn cache() -> Result<PathBuf> {
    let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or(home);
    Ok(cache.context("HOME is not set")?.join("sandbox-broker"))
}
