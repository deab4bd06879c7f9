//! `cargo xtask bench`: the broker beside other terminals in a browser, those
//! that this machine can have.
//!
//! Knows how to get each peer and the variable by which the benchmark finds it.
//! A peer that cannot be had is named with the reason and left out. The benchmark
//! `storage` has no peers and runs by itself.

use std::env;
use std::ffi::OsString;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::command::find_program;
use crate::plugins;
use crate::recorder;
use crate::setup::{self, BUBBLEWRAP, debian, python};
use crate::web;
use crate::workspace::Workspace;

/// wetty compiles its PTY; tty-web is a Rust program of 200 crates.
const BUILD_DEADLINE: Duration = Duration::from_secs(900);

const WETTY: &str = "wetty@3.2.0";
const TTY_WEB: &str = "tty-web@0.16.4";

type Get = fn(&Workspace) -> Result<OsString>;

/// The variable of each peer, which a person may have set, and how it is got.
const PEERS: [(&str, Get); 4] =
    [("PEER_TTYD", ttyd), ("PEER_TTY_WEB", tty_web), ("PEER_TERMINADO", terminado), ("PEER_WETTY", wetty)];

/// Gets the peers and runs the benchmark `terminal` of the host: all of it, or
/// the servers and parts whose name contains `name`.
pub(crate) fn bench(ws: &Workspace, name: Option<&str>) -> Result<()> {
    if name == Some("storage") {
        return storage(ws);
    }
    plugins::build(ws)?;
    recorder::build(ws)?;
    web::build(ws)?;
    let mut vars = if name.is_none_or(|name| "prompt".contains(name)) {
        setup::install(ws).vars
    } else {
        debian::ensure(ws, &[&BUBBLEWRAP])?;
        vec![plugins::env_var(ws), recorder::env_var(ws)]
    };
    for (var, get) in PEERS.iter().filter(|(var, _)| env::var_os(var).is_none()) {
        match get(ws) {
            Ok(path) => vars.push((var, path)),
            Err(error) => eprintln!("left out: {var}: {error:#}"),
        }
    }
    ws.cargo().args(["bench", "--package=sandbox-broker", "--bench=terminal", "--"]).args(name).envs(&vars).run()
}

/// Runs the benchmark of mounted storage on a service of this machine, with the
/// program that mounts here.
fn storage(ws: &Workspace) -> Result<()> {
    let parts = setup::install(ws);
    plugins::build(ws)?;
    recorder::build(ws)?;
    web::build(ws)?;
    ws.cargo().args(["bench", "--package=sandbox-broker", "--bench=storage"]).envs(&parts.vars).run()
}

/// Written in C and not in every release of Debian, so it is not built here.
fn ttyd(_: &Workspace) -> Result<OsString> {
    let path = find_program(&["ttyd"]).context("there is no `ttyd` on PATH; install it, or name it by PEER_TTYD")?;
    Ok(path.into())
}

fn wetty(ws: &Workspace) -> Result<OsString> {
    let prefix = ws.path("target/peers/wetty");
    let program = prefix.join("node_modules/.bin/wetty");
    if !program.is_file() || !ws.is_stamped("wetty", WETTY) {
        web::npm(ws, &ws.root)?
            .args(["install", "--no-save", "--no-audit", "--no-fund", "--prefix"])
            .arg(&prefix)
            .arg(WETTY)
            .deadline(BUILD_DEADLINE)
            .run()?;
        ws.stamp("wetty", WETTY)?;
    }
    Ok(program.into())
}

fn terminado(ws: &Workspace) -> Result<OsString> {
    let venv = python::venv(ws, "target/peers/python", &["xtask/python/peers.txt"])?;
    Ok(venv.program("python").into())
}

fn tty_web(ws: &Workspace) -> Result<OsString> {
    let root = ws.path("target/peers");
    let program = root.join("bin/tty-web");
    if !program.is_file() || !ws.is_stamped("tty-web", TTY_WEB) {
        ws.cargo()
            .args(["install", "--locked", "--target-dir=target/peers/build", "--root"])
            .arg(&root)
            .arg(TTY_WEB)
            .deadline(BUILD_DEADLINE)
            .run()?;
        ws.stamp("tty-web", TTY_WEB)?;
    }
    Ok(program.into())
}
