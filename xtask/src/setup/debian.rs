//! Debian packages: installs them as root, otherwise names the one line to run.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::command::{Cmd, find_program};
use crate::workspace::Workspace;

/// Chromium is 100 MB with what it needs.
const INSTALL_DEADLINE: Duration = Duration::from_secs(600);

const UPDATE_DEADLINE: Duration = Duration::from_secs(120);

/// A mirror that does not answer must not hold us for apt's own two minutes per
/// file, and another run of apt may be at work.
const APT_OPTIONS: &[&str] = &[
    "-o=Acquire::http::Timeout=20",
    "-o=Acquire::https::Timeout=20",
    "-o=Acquire::Retries=1",
    "-o=DPkg::Lock::Timeout=60",
];

/// A program that is installed as a package.
pub(crate) struct Program {
    /// Any of these on `PATH` will do.
    pub(crate) any_of: &'static [&'static str],
    /// The package that brings the first or a similar one.
    pub(crate) package: &'static str,
    /// What is not possible without it.
    pub(crate) needed_for: &'static str,
}

/// Installs those of `programs` that are missing, all at once.
///
/// The error names what is still missing, what for, and the line that installs it.
pub(crate) fn ensure(ws: &Workspace, programs: &[&Program]) -> Result<()> {
    let packages: Vec<&str> = missing(programs).map(|program| program.package).collect();
    if packages.is_empty() {
        return Ok(());
    }
    if let Err(error) = install(ws, &packages) {
        eprintln!("{error:#}");
    }
    let left: Vec<String> =
        missing(programs).map(|program| format!("{} ({})", program.any_of[0], program.needed_for)).collect();
    if left.is_empty() {
        return Ok(());
    }
    let packages: Vec<&str> = missing(programs).map(|program| program.package).collect();
    bail!("missing: {}; on Debian run `{}`", left.join(", "), install_line(&packages));
}

fn missing<'a>(programs: &'a [&Program]) -> impl Iterator<Item = &'a Program> {
    programs.iter().copied().filter(|program| find_program(program.any_of).is_none())
}

/// Installs packages, which needs root. Fetches the lists of packages only when
/// it does not work with those that are there.
pub(crate) fn install(ws: &Workspace, packages: &[&str]) -> Result<()> {
    if find_program(&["apt-get"]).is_none() || !rustix::process::geteuid().is_root() {
        bail!("to install, run `{}`", install_line(packages));
    }
    let apt = |deadline| apt(ws, deadline);
    let install =
        || apt(INSTALL_DEADLINE).args(["install", "--yes", "--no-install-recommends", "-qq"]).args(packages).run();
    if install().is_ok() {
        return Ok(());
    }
    apt(UPDATE_DEADLINE).args(["update", "-qq"]).run()?;
    install()
}

fn apt(ws: &Workspace, deadline: Duration) -> Cmd {
    ws.cmd("apt-get").args(APT_OPTIONS).env("DEBIAN_FRONTEND", "noninteractive").deadline(deadline)
}

/// Unpacks the files of packages into a folder, without installing them or what they need.
pub(crate) fn unpack(ws: &Workspace, packages: &[&str], into: &Path) -> Result<()> {
    let fetched = into.join("fetched");
    fs::create_dir_all(&fetched).with_context(|| format!("making {}", fetched.display()))?;
    let fetch = || apt(ws, INSTALL_DEADLINE).arg("download").args(packages).dir(&fetched).run();
    if fetch().is_err() {
        apt(ws, UPDATE_DEADLINE).args(["update", "-qq"]).run()?;
        fetch()?;
    }
    for entry in fs::read_dir(&fetched).context("listing what was fetched")? {
        ws.cmd("dpkg").arg("-x").arg(entry?.path()).arg(into).run()?;
    }
    Ok(())
}

/// What a person runs to install them.
pub(crate) fn install_line(packages: &[&str]) -> String {
    let sudo = if rustix::process::geteuid().is_root() { "" } else { "sudo " };
    format!("{sudo}apt-get install --no-install-recommends {}", packages.join(" "))
}
