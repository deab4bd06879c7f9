//! `cargo xtask run`: builds what the broker consists of and becomes the broker.

use std::path::PathBuf;

use anyhow::Result;

use crate::azurite;
use crate::plugins;
use crate::recorder;
use crate::setup::{self, debian};
use crate::web;
use crate::workspace::Workspace;

/// Builds plugins, page and program, then becomes the broker, so that signals
/// and the exit status are its own; with `azure` on storage of this machine that
/// ends with it. Returns only on failure.
pub(crate) fn run(ws: &Workspace, release: bool, azure: bool, args: &[String]) -> Result<()> {
    // Another provider than `local` runs without it.
    if let Err(error) = debian::ensure(ws, &[&setup::BUBBLEWRAP, &setup::SLIRP4NETNS]) {
        eprintln!("warning: {error:#}");
    }
    plugins::build(ws)?;
    let recorder = recorder::build(ws);
    web::build(ws)?;
    let broker = build_broker(ws, release)?;
    let mut vars = vec![plugins::env_var(ws)];
    match recorder {
        Ok(()) => vars.push(recorder::env_var(ws)),
        Err(error) => eprintln!("warning: sessions do not outlive the broker: {error:#}"),
    }
    if azure {
        // Another provider than `local` has them in its own image.
        for missing in [debian::ensure(ws, &[&setup::FUSE]).err(), setup::blobfuse::find().err()].into_iter().flatten()
        {
            eprintln!("warning: {missing:#}");
        }
        vars.extend(azurite::serve(ws)?);
    }
    Err(ws.cmd(broker).shown_as("broker").args(args).envs(&vars).replace_this_process())
}

/// Builds the broker and returns the program's path. The page must be built.
fn build_broker(ws: &Workspace, release: bool) -> Result<PathBuf> {
    let profile = if release { "release" } else { "dev" };
    ws.cargo()
        .args(["build", "--workspace", "--bin=broker", "--profile", profile])
        .args(["--target-dir=target"])
        .run()?;
    let folder = if release { "release" } else { "debug" };
    Ok(ws.path("target").join(folder).join("broker"))
}
