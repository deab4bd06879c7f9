//! Builds the recorder that the broker puts into sandboxes: one static program at
//! `target/recorder/sandbox-recorder`.
//!
//! Knows how a program is linked that runs on any Linux of this machine's kind; not
//! what it does.

use std::env::consts::{ARCH, OS};
use std::ffi::OsString;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};

use crate::setup::debian;
use crate::workspace::Workspace;

const PROGRAM: &str = "target/recorder/sandbox-recorder";

/// With every C compiler of Debian; its own package elsewhere.
const LIBC_PACKAGE: &str = "libc6-dev";

/// Sandboxes have other C libraries, or none.
const RUSTFLAGS: &str = "-C target-feature=+crt-static";

/// Builds the recorder. The file is written only when its content changed, by rename,
/// so that nobody ever puts half of it into a sandbox.
pub(crate) fn build(ws: &Workspace) -> Result<()> {
    if OS != "linux" || !matches!(ARCH, "x86_64" | "aarch64") {
        bail!("the recorder runs on Linux on x86_64 and aarch64, and is built there; this is {OS} on {ARCH}");
    }
    find_libc(ws)?;
    let target = format!("{ARCH}-unknown-linux-gnu");
    ws.cargo()
        .args(["build", "--package=sandbox-recorder", "--bin=sandbox-recorder", "--profile=recorder", "--locked"])
        // Named even where it is this machine's own, so that the flags are not those
        // of build scripts.
        .args(["--target", &target])
        .args(["--target-dir=target/recorder/build"])
        .env("RUSTFLAGS", RUSTFLAGS)
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .run()?;
    let built = ws.path("target/recorder/build").join(target).join("recorder/sandbox-recorder");
    let program = ws.path(PROGRAM);
    let changed = replace(&built, &program).with_context(|| format!("writing {}", program.display()))?;
    let kib = fs::metadata(&program).context("reading the recorder")?.len().div_ceil(1024);
    eprintln!("{PROGRAM}: {kib} KiB{}", if changed { "" } else { ", unchanged" });
    Ok(())
}

/// The variable that tells the broker and the tests where the recorder is.
pub(crate) fn env_var(ws: &Workspace) -> (&'static str, OsString) {
    ("BROKER_RECORDER", ws.path(PROGRAM).into())
}

/// The C library that is linked in, installed if it is missing.
fn find_libc(ws: &Workspace) -> Result<()> {
    // A compiler says the path of a file that it finds, and the bare name otherwise.
    let is_there =
        || ws.cmd("cc").arg("-print-file-name=libc.a").probe().is_some_and(|path| Path::new(&path).is_absolute());
    if is_there() {
        return Ok(());
    }
    let installed = debian::install(ws, &[LIBC_PACKAGE]);
    if is_there() {
        return Ok(());
    }
    installed.and_then(|()| bail!("it is installed, and `cc` does not find it")).context(format!(
        "`libc.a` is missing, which the recorder is linked with: on Debian it is in {LIBC_PACKAGE}, on Fedora in \
         glibc-static"
    ))
}

/// Puts a copy of `from` in the place of `to`. Whether it was another.
fn replace(from: &Path, to: &Path) -> std::io::Result<bool> {
    let content = fs::read(from)?;
    if fs::read(to).is_ok_and(|old| old == content) {
        return Ok(false);
    }
    let new = to.with_extension("new");
    fs::copy(from, &new)?;
    fs::rename(&new, to)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_replaced_only_when_it_changes() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        fs::write(&from, "1").unwrap();
        assert!(replace(&from, &to).unwrap());
        assert!(!replace(&from, &to).unwrap());
        fs::write(&from, "2").unwrap();
        assert!(replace(&from, &to).unwrap());
        assert_eq!(fs::read(&to).unwrap(), b"2");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }
}
