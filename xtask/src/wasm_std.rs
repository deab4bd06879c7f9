//! Finds a Rust toolchain with a standard library for `wasm32-unknown-unknown`.
//!
//! Tried in order: the toolchain in use has it; `rustup target add`; Debian's
//! packages, whose cargo builds the standard library from source. Knows nothing
//! of what is built with it.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, bail};

use crate::command::{Cmd, find_program};
use crate::setup::debian;
use crate::workspace::Workspace;

/// The target of plugins: no WASI, so that a plugin touches what its world imports and nothing else.
pub(crate) const TARGET: &str = "wasm32-unknown-unknown";

/// The download is 20 MB; a machine that cannot reach it must not wait long for
/// the next way.
const RUSTUP_DEADLINE: Duration = Duration::from_secs(20);

const DEBIAN_PACKAGES: &[&str] = &["rustc-web", "cargo-web", "rust-web-src"];
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_CARGO: &str = "/usr/bin/cargo";

/// A toolchain that compiles for [`TARGET`].
pub(crate) enum WasmStd {
    /// The toolchain that runs us has the target.
    Installed,
    /// Debian's cargo, which builds the standard library too.
    Debian {
        /// A linker that takes the arguments of `wasm-ld`.
        linker: PathBuf,
    },
}

impl WasmStd {
    /// Finds or installs one and says on standard error which it took.
    pub(crate) fn find(ws: &Workspace) -> Result<Self> {
        if has_target(ws) {
            eprintln!("{TARGET}: the standard library of the toolchain in use");
            return Ok(Self::Installed);
        }
        if find_program(&["rustup"]).is_some() {
            let added = ws.cmd("rustup").args(["target", "add", TARGET]).deadline(RUSTUP_DEADLINE).run();
            match added {
                Ok(()) if has_target(ws) => {
                    eprintln!("{TARGET}: the standard library that rustup just added");
                    return Ok(Self::Installed);
                }
                Ok(()) => eprintln!("rustup added {TARGET} to another toolchain than the one in use"),
                Err(error) => eprintln!("{error:#}"),
            }
        }
        Self::find_debian(ws)
    }

    fn find_debian(ws: &Workspace) -> Result<Self> {
        if !debian_has_source(ws) {
            debian::install(ws, DEBIAN_PACKAGES).map_err(|error| {
                error.context(format!(
                    "no standard library for {TARGET}: run `rustup target add {TARGET}`, \
                     or on Debian `{}`",
                    debian::install_line(DEBIAN_PACKAGES)
                ))
            })?;
        }
        if !debian_has_source(ws) {
            bail!(
                "{DEBIAN_RUSTC} has no sources of its standard library: run `{}`",
                debian::install_line(DEBIAN_PACKAGES)
            );
        }
        let linker = match find_linker() {
            Some(linker) => linker,
            None => {
                debian::install(ws, &["lld"])?;
                find_program(&["wasm-ld"]).ok_or_else(|| anyhow::anyhow!("the package lld brought no wasm-ld"))?
            }
        };
        eprintln!("{TARGET}: the standard library built from source by {DEBIAN_CARGO}, linked by {}", linker.display());
        Ok(Self::Debian { linker })
    }

    /// `cargo build` for [`TARGET`] with this toolchain.
    pub(crate) fn cargo_build(&self, ws: &Workspace) -> Cmd {
        let cmd = match self {
            Self::Installed => ws.cargo().arg("build"),
            Self::Debian { linker } => ws
                .cmd(DEBIAN_CARGO)
                // -Zbuild-std is unstable, and these would lead back to the other toolchain.
                .env("RUSTC_BOOTSTRAP", "1")
                .env("RUSTC", DEBIAN_RUSTC)
                .env_remove("RUSTUP_TOOLCHAIN")
                .env_remove("LD_LIBRARY_PATH")
                .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker)
                .args(["build", "-Zbuild-std=std,panic_abort"]),
        };
        cmd.args(["--target", TARGET])
    }
}

/// Whether the `rustc` in use has the target's standard library, however it was installed.
fn has_target(ws: &Workspace) -> bool {
    ws.cmd(rustc())
        .args(["--print", "target-libdir", "--target", TARGET])
        .probe()
        .is_some_and(|dir| holds(Path::new(&dir), "libstd-"))
}

fn rustc() -> PathBuf {
    env::var_os("RUSTC").map_or_else(|| PathBuf::from("rustc"), PathBuf::from)
}

fn holds(dir: &Path, prefix: &str) -> bool {
    fs::read_dir(dir)
        .is_ok_and(|entries| entries.flatten().any(|entry| entry.file_name().to_string_lossy().starts_with(prefix)))
}

fn debian_has_source(ws: &Workspace) -> bool {
    Path::new(DEBIAN_CARGO).is_file()
        && ws
            .cmd(DEBIAN_RUSTC)
            .env_remove("LD_LIBRARY_PATH")
            .args(["--print", "sysroot"])
            .probe()
            .is_some_and(|root| Path::new(&root).join("lib/rustlib/src/rust/library/std/Cargo.toml").is_file())
}

/// `rust-lld` of any rustup toolchain, or a `wasm-ld`.
fn find_linker() -> Option<PathBuf> {
    let rustup = env::var_os("RUSTUP_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".rustup")))?;
    let mut found: Vec<PathBuf> = fs::read_dir(rustup.join("toolchains"))
        .into_iter()
        .flatten()
        .flatten()
        .flat_map(|toolchain| fs::read_dir(toolchain.path().join("lib/rustlib")).into_iter().flatten().flatten())
        .map(|host| host.path().join("bin/rust-lld"))
        .filter(|lld| lld.is_file())
        .collect();
    found.sort();
    found.pop().or_else(|| find_program(&["rust-lld", "wasm-ld"]))
}
