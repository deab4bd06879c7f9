//! Programs in Go that tests use, built from folders of this repository.
//!
//! Knows nothing of what the programs do. A folder's `go.mod` and `go.sum` name
//! every version and hash, so what is built is the same everywhere. Go keeps what
//! it compiled, so that another folder of this repository only links.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::command::{Cmd, find_program};
use crate::workspace::Workspace;

/// With nothing kept some minutes of processor time, and more on the clock of a
/// machine that does other work.
const BUILD_DEADLINE: Duration = Duration::from_secs(3600);

/// `go build` in a folder, to which what it makes and how is added.
pub(super) fn command(ws: &Workspace, folder: &str) -> Cmd {
    // Whoever waits for tests has other work to do meanwhile.
    let nice = ws.cmd("nice").args(["-n", "15", "go", "build", "-trimpath", "-buildvcs=false"]);
    nice.dir(&ws.path(folder)).deadline(BUILD_DEADLINE)
}

/// Builds the module in `folder` and returns the program, which is in `target/go`.
/// Quick when it is there already.
pub(super) fn build(ws: &Workspace, folder: &str, needed_for: &str) -> Result<PathBuf> {
    find_program(&["go"]).with_context(|| format!("go ({needed_for}): install Go 1.26 or later"))?;
    let name = folder.rsplit('/').next().unwrap_or(folder);
    let place = ws.path("target/go").join(name);
    let build = command(ws, folder).args(["-mod=readonly", "-ldflags=-s -w", "-o"]).arg(&place).arg(".");
    build.run().with_context(|| format!("building {folder} ({needed_for})"))?;
    Ok(place)
}
