//! The program that stands in for blobfuse2 in tests, put where sandboxes see it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::seen::put;
use crate::workspace::Workspace;

const PROGRAM: &str = "host/tests/standin/blobfuse2";

/// Under a folder of the host that sandboxes of `sandboxd` see.
const PLACE: &str = "/usr/local/lib/sandbox-broker/blobfuse2";

/// Its path, with the program of this workspace in it.
pub(crate) fn install(ws: &Workspace) -> Result<PathBuf> {
    let place = Path::new(PLACE);
    let program = fs::read(ws.path(PROGRAM)).with_context(|| format!("reading {PROGRAM}"))?;
    if fs::read(place).is_ok_and(|there| there == program) {
        return Ok(place.to_owned());
    }
    put(place, &program).with_context(|| {
        format!("{PLACE} (stands in for blobfuse2 in tests of storage): run `sudo install -D {PROGRAM} {PLACE}`")
    })?;
    Ok(place.to_owned())
}
