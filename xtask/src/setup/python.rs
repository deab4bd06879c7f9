//! Virtual environments of Python with packages that are pinned by hash.
//!
//! Knows nothing of what the packages are for.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::workspace::{Workspace, sha256_hex};

const INSTALL_DEADLINE: Duration = Duration::from_secs(300);

/// E2B's SDK is built for this version and later ones.
const PYTHON_MIN: (u32, u32) = (3, 11);

/// Packages of the tests; a file that is not there asks for nothing.
const TEST_REQUIREMENTS: &[&str] = &["xtask/python/test.txt", "sandboxd/tests/sdk/python/requirements.txt"];

/// A virtual environment.
pub(crate) struct Venv(PathBuf);

impl Venv {
    /// The path of a program in it.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.0.join("bin").join(name)
    }
}

/// The environment of the tests, in `target/venv`.
pub(crate) fn test_venv(ws: &Workspace) -> Result<Venv> {
    let files: Vec<&str> = TEST_REQUIREMENTS.iter().copied().filter(|file| ws.path(file).is_file()).collect();
    venv(ws, "target/venv", &files)
}

/// Makes `folder` an environment with the packages that `requirements` name,
/// unless it is one already.
pub(crate) fn venv(ws: &Workspace, folder: &str, requirements: &[&str]) -> Result<Venv> {
    const HINT: &str = "install Python 3.11 or later with its venv module, on Debian by \
                        `apt-get install python3-venv`";
    let dir = ws.path(folder);
    let venv = Venv(dir.clone());

    let version = ws.cmd("python3").args(["-c", "import sys; print(*sys.version_info[:2], sys.base_prefix)"]).probe();
    let Some(python) = version else {
        bail!("python3 is missing: {HINT}");
    };
    if python_version(&python).is_none_or(|version| version < PYTHON_MIN) {
        bail!("python3 is version {python}: {HINT}");
    }

    let mut inputs = format!("{python}\n");
    for file in requirements {
        let bytes = fs::read(ws.path(file)).with_context(|| format!("reading {file}"))?;
        inputs.push_str(&format!("{file} {}\n", sha256_hex(&bytes)));
    }
    // The note lies in the environment, so that it goes with it.
    let done = dir.join("requirements.sha256");
    if fs::read_to_string(&done).is_ok_and(|old| old == inputs) {
        return Ok(venv);
    }

    ws.cmd("python3").args(["-m", "venv", "--clear", folder]).deadline(INSTALL_DEADLINE).run().context(HINT)?;
    // A file that is no longer what was pinned, or a package that is not, is
    // refused.
    let pip = ws.cmd(venv.program("python")).args(["-m", "pip", "install", "--quiet", "--require-hashes"]);
    requirements.iter().fold(pip, |pip, file| pip.args(["--requirement", file])).deadline(INSTALL_DEADLINE).run()?;
    write(&done, &inputs)?;
    Ok(venv)
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("writing {}", path.display()))
}

fn python_version(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.split(' ');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As pip does, but before anything is fetched.
    #[test]
    fn every_package_is_pinned_by_hash() {
        let ws = Workspace::find().unwrap();
        for file in TEST_REQUIREMENTS.iter().chain(&["xtask/python/peers.txt"]) {
            let text = fs::read_to_string(ws.path(file)).unwrap().replace("\\\n", " ");
            for package in text.lines().filter(|line| !line.starts_with('#')) {
                assert!(package.contains("==") && package.contains(" --hash=sha256:"), "{file}: {package}");
            }
        }
    }
}
