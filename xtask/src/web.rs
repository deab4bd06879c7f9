//! The page in `web/`: its packages, its checks, its build to `web/dist`.
//!
//! Knows the names of npm scripts and nothing of the page.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::command::Cmd;
use crate::workspace::{Workspace, sha256_hex};

/// Vite and the compiler need this one.
const NODE_MIN: (u32, u32) = (20, 19);

const INSTALL_NODE: &str = "install Node.js 20.19 or later, from nodejs.org or by a version manager such as nvm or fnm";

const NPM_CI_DEADLINE: Duration = Duration::from_secs(300);

/// What cargo embeds in the broker.
const DIST: &str = "web/dist";

/// Builds the page unless nothing changed since it was built.
pub(crate) fn build(ws: &Workspace) -> Result<()> {
    let web = folder(ws)?;
    packages(ws, &web)?;
    let inputs = fingerprint(&web)?;
    if ws.path(DIST).join("index.html").is_file() && ws.is_stamped("web", &inputs) {
        eprintln!("{DIST}: up to date");
        return Ok(());
    }
    npm(ws, &web)?.args(["run", "build"]).run()?;
    ws.stamp("web", &inputs)
}

/// Type check, unit tests and build; the first failure ends it.
pub(crate) fn check_and_build(ws: &Workspace) -> Result<()> {
    let web = folder(ws)?;
    packages(ws, &web)?;
    npm(ws, &web)?.args(["run", "check"]).run()?;
    unit_tests(ws)?;
    build(ws)
}

/// Unit tests, which need no broker.
pub(crate) fn unit_tests(ws: &Workspace) -> Result<()> {
    let web = folder(ws)?;
    packages(ws, &web)?;
    npm(ws, &web)?.arg("test").run()
}

/// `npm` in a folder with a `package.json`. An error when Node.js is missing or
/// too old.
pub(crate) fn npm(ws: &Workspace, dir: &Path) -> Result<Cmd> {
    let Some(version) = ws.cmd("node").arg("--version").probe() else {
        bail!("node is missing: {INSTALL_NODE}");
    };
    match node_version(&version) {
        Some(found) if found >= NODE_MIN => {}
        _ => bail!("node is {version}: {INSTALL_NODE}"),
    }
    Ok(ws.cmd("npm").dir(dir).install(INSTALL_NODE))
}

/// `npm ci`, unless it was done for this lock file. Without scripts of the
/// packages: none needs one, and they would run with all rights of who builds.
///
/// The note of it lies in `node_modules`, so that it goes with the packages.
pub(crate) fn packages(ws: &Workspace, dir: &Path) -> Result<()> {
    let lock = dir.join("package-lock.json");
    let inputs = sha256_hex(&fs::read(&lock).with_context(|| format!("reading {}", lock.display()))?);
    let done = dir.join("node_modules/.lock-sha256");
    if fs::read_to_string(&done).is_ok_and(|old| old == inputs) {
        return Ok(());
    }
    npm(ws, dir)?.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]).deadline(NPM_CI_DEADLINE).run()?;
    fs::create_dir_all(dir.join("node_modules"))
        .and_then(|()| fs::write(&done, inputs))
        .with_context(|| format!("writing {}", done.display()))
}

/// The folder of the page.
pub(crate) fn folder(ws: &Workspace) -> Result<PathBuf> {
    let web = ws.path("web");
    if !web.join("package.json").is_file() {
        bail!("web/package.json is missing");
    }
    Ok(web)
}

fn node_version(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.strip_prefix('v')?.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// Names and contents of everything that the build can read.
fn fingerprint(web: &Path) -> Result<String> {
    const NOT_INPUT: &[&str] = &["node_modules", "dist", "e2e", "test-results"];
    let mut text = String::new();
    let mut folders = vec![web.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let mut entries = fs::read_dir(&folder)
            .and_then(Iterator::collect::<std::io::Result<Vec<_>>>)
            .with_context(|| format!("reading {}", folder.display()))?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let path = entry.path();
            if NOT_INPUT.iter().any(|name| entry.file_name() == *name) {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else {
                let bytes = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
                let name = path.strip_prefix(web).unwrap_or(&path).display();
                text.push_str(&format!("{name} {}\n", sha256_hex(&bytes)));
            }
        }
    }
    Ok(sha256_hex(text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_node_compare_by_number() {
        assert!(node_version("v20.19.4").unwrap() >= NODE_MIN);
        assert!(node_version("v100.1.0").unwrap() >= NODE_MIN);
        assert!(node_version("v20.9.0").unwrap() < NODE_MIN);
        assert!(node_version("nonsense").is_none());
    }

    #[test]
    fn the_fingerprint_follows_sources_and_not_results() {
        let dir = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("src/main.ts", "1");
        let before = fingerprint(dir.path()).unwrap();
        write("dist/index.html", "x");
        write("node_modules/a/index.js", "x");
        assert_eq!(fingerprint(dir.path()).unwrap(), before);
        write("src/main.ts", "2");
        assert_ne!(fingerprint(dir.path()).unwrap(), before);
    }
}
