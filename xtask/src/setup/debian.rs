//! Debian packages: installs them as root, otherwise names the one line to run. Or unpacks them into a folder, where they
//! are files and nothing of them runs.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::command::find_program;
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
    let apt =
        |deadline| ws.cmd("apt-get").args(APT_OPTIONS).env("DEBIAN_FRONTEND", "noninteractive").deadline(deadline);
    let install =
        || apt(INSTALL_DEADLINE).args(["install", "--yes", "--no-install-recommends", "-qq"]).args(packages).run();
    if install().is_ok() {
        return Ok(());
    }
    apt(UPDATE_DEADLINE).args(["update", "-qq"]).run()?;
    install()
}

/// Puts the files of packages, without those that they depend on, into `folder`.
pub(crate) fn unpack(ws: &Workspace, packages: &[&str], folder: &Path) -> Result<()> {
    let fetched = folder.join("packages");
    fs::create_dir_all(&fetched).with_context(|| format!("making {}", fetched.display()))?;
    let apt = || ws.cmd("apt-get").args(APT_OPTIONS).dir(&fetched).deadline(INSTALL_DEADLINE);
    // Root fetches as itself: the user of apt may not write here.
    let download = || apt().args(["-o=APT::Sandbox::User=root", "-qq", "download"]).args(packages).run();
    if download().is_err() {
        apt().args(["update", "-qq"]).deadline(UPDATE_DEADLINE).run()?;
        download()?;
    }
    for entry in fs::read_dir(&fetched).context("looking for packages")? {
        let package = entry.context("looking for packages")?.path();
        ws.cmd("dpkg").arg("-x").arg(&package).arg(folder).run()?;
    }
    fs::remove_dir_all(&fetched).context("removing packages")
}

/// What a person runs to install them.
pub(crate) fn install_line(packages: &[&str]) -> String {
    let sudo = if rustix::process::geteuid().is_root() { "" } else { "sudo " };
    format!("{sudo}apt-get install --no-install-recommends {}", packages.join(" "))
}
