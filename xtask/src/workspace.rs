//! Where the repository lies and which rules hold in this run.
//!
//! Every other module reaches files and programs through [`Workspace`], so that
//! all commands start in the repository's root with the same environment.

use std::env;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use sha2::{Digest as _, Sha256};

use crate::command::Cmd;

/// The repository and the rules of this run.
#[derive(Clone)]
pub(crate) struct Workspace {
    /// Absolute path of the repository.
    pub(crate) root: PathBuf,
    /// A part that is missing is a failure, not a skipped test.
    pub(crate) ci: bool,
}

impl Workspace {
    /// Finds the repository from this crate's folder, and reads `CI` as CI
    /// services set it.
    pub(crate) fn find() -> Result<Self> {
        // At run time cargo names the folder; a binary started by hand falls
        // back to the folder that it was compiled in.
        let manifest =
            env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let root = manifest.parent().context("xtask lies in a folder of the repository")?.to_path_buf();
        let ci = env::var("CI").is_ok_and(|v| !matches!(v.as_str(), "" | "0" | "false"));
        Ok(Self { root, ci })
    }

    /// A path inside the repository.
    pub(crate) fn path(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.root.join(relative)
    }

    /// A program that starts in the repository's root.
    ///
    /// Variables that `cargo run` sets for this process are taken away: build
    /// scripts that watch them would otherwise run again whenever a person
    /// changes between `cargo build` and `cargo xtask`.
    pub(crate) fn cmd(&self, program: impl AsRef<OsStr>) -> Cmd {
        let mut cmd = Cmd::new(program).dir(&self.root);
        for (name, _) in env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
                cmd = cmd.env_remove(&name);
            }
        }
        if self.ci {
            cmd = cmd.env("CI", "true");
        }
        cmd
    }

    /// The cargo that started this process.
    pub(crate) fn cargo(&self) -> Cmd {
        self.cmd(env::var_os("CARGO").unwrap_or_else(|| "cargo".into())).shown_as("cargo")
    }

    /// Whether `inputs` are what they were when `name` was last [stamped](Self::stamp).
    pub(crate) fn is_stamped(&self, name: &str, inputs: &str) -> bool {
        fs::read_to_string(self.stamp_path(name)).is_ok_and(|old| old == inputs)
    }

    /// Notes that the work `name` is done for these `inputs`.
    pub(crate) fn stamp(&self, name: &str, inputs: &str) -> Result<()> {
        let path = self.stamp_path(name);
        let folder = path.parent().context("a stamp lies in a folder")?;
        fs::create_dir_all(folder)
            .and_then(|()| fs::write(&path, inputs))
            .with_context(|| format!("writing {}", path.display()))
    }

    fn stamp_path(&self, name: &str) -> PathBuf {
        self.path("target/stamps").join(name)
    }
}

/// SHA-256 in lower-case hexadecimal digits.
pub(crate) fn sha256_hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::with_capacity(64), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
