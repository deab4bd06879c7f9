//! Builds plugins: a crate becomes a core module by cargo, and a component by
//! `wit-component`, at `target/plugins/NAME.wasm`.
//!
//! Also builds the hostile plugins of the host's tests. Knows nothing of what a
//! plugin does; its world lies in the module itself.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use wit_component::ComponentEncoder;

use crate::wasm_std::WasmStd;
use crate::workspace::Workspace;

/// Where the broker and the tests find built-in plugins.
pub(crate) const PLUGINS_DIR: &str = "target/plugins";

const GUESTS: &str = "host/tests/guests";

/// Vector instructions, which wasmtime compiles to those of the machine: framing
/// and base64 are several times faster.
const RUSTFLAGS: &str = "-C target-feature=+simd128";

/// Builds all plugins and test guests; reports all failures.
///
/// A file is written only when its content changed, by rename, so that a broker
/// that watches it reloads exactly then.
pub(crate) fn build(ws: &Workspace) -> Result<()> {
    let wasm = WasmStd::find(ws)?;
    let mut failures = Vec::new();

    let plugins = plugin_crates(ws)?;
    if plugins.is_empty() {
        bail!("plugins/ holds no crate");
    }
    let args = vec!["--locked".to_owned(), "--target-dir=target/wasm".to_owned()];
    let mut build = Build { ws, wasm: &wasm, args, out: ws.path(PLUGINS_DIR) };
    build.args.extend(plugins.values().map(|name| format!("--package={name}")));
    let dirs: Vec<PathBuf> = plugins.into_keys().collect();
    failures.extend(build.build(&dirs));

    let guests = ws.path(GUESTS);
    if guests.join("Cargo.toml").is_file() {
        let mut build = Build {
            ws,
            wasm: &wasm,
            args: vec![
                format!("--manifest-path={GUESTS}/Cargo.toml"),
                "--workspace".to_owned(),
                // A guest is built on a plugin with other features. Cargo gives both files of that plugin one name.
                "--target-dir=target/wasm-guests".to_owned(),
                // A workspace of its own does not see the root's profiles.
                "--config=profile.plugin.inherits='release'".to_owned(),
            ],
            out: ws.path(PLUGINS_DIR).join("guests"),
        };
        if ws.ci {
            build.args.push("--locked".to_owned());
        }
        failures.extend(build.build(&member_dirs(ws, &guests.join("Cargo.toml"))?));
    }

    if failures.is_empty() {
        return Ok(());
    }
    bail!("{}", failures.join("; "))
}

/// Folder and name of each crate in `plugins/`.
fn plugin_crates(ws: &Workspace) -> Result<BTreeMap<PathBuf, String>> {
    let mut members = members(ws, &ws.path("Cargo.toml"))?;
    let mut crates = BTreeMap::new();
    for entry in fs::read_dir(ws.path("plugins")).context("reading plugins/")? {
        let dir = entry.context("reading plugins/")?.path();
        if !dir.join("Cargo.toml").is_file() {
            continue;
        }
        let Some(name) = members.remove(&dir) else {
            bail!("{} is not among the members of the root's Cargo.toml", dir.display());
        };
        crates.insert(dir, name);
    }
    Ok(crates)
}

fn member_dirs(ws: &Workspace, manifest: &Path) -> Result<Vec<PathBuf>> {
    Ok(members(ws, manifest)?.into_keys().collect())
}

/// Folder and name of each member of a workspace.
fn members(ws: &Workspace, manifest: &Path) -> Result<BTreeMap<PathBuf, String>> {
    let text =
        ws.cargo().args(["metadata", "--no-deps", "--format-version=1", "--manifest-path"]).arg(manifest).read()?;
    let metadata: Value = serde_json::from_str(&text).context("reading cargo's metadata")?;
    let packages = metadata["packages"].as_array().context("cargo's metadata lists packages")?;
    Ok(packages
        .iter()
        .filter_map(|package| {
            let manifest = Path::new(package["manifest_path"].as_str()?);
            let name = package["name"].as_str()?;
            Some((manifest.parent()?.to_path_buf(), name.to_owned()))
        })
        .collect())
}

/// One run of cargo and what follows from it.
struct Build<'a> {
    ws: &'a Workspace,
    wasm: &'a WasmStd,
    args: Vec<String>,
    out: PathBuf,
}

impl Build<'_> {
    /// Builds the crates in `dirs` and returns what failed.
    fn build(&self, dirs: &[PathBuf]) -> Vec<String> {
        let cmd = self
            .wasm
            .cargo_build(self.ws)
            .args(["--profile=plugin", "--keep-going", "--message-format=json-render-diagnostics"])
            .args(&self.args)
            .env("RUSTFLAGS", RUSTFLAGS)
            .env_remove("CARGO_ENCODED_RUSTFLAGS");
        let (messages, result) = match cmd.output() {
            Ok(output) => output,
            Err(error) => return vec![format!("{error:#}")],
        };
        let modules = modules(&messages);
        let mut failures = Vec::new();
        if let Err(error) = &result {
            failures.push(format!("{error:#}"));
        }
        for dir in dirs {
            match modules.get(dir) {
                Some(module) => failures
                    .extend(self.encode(dir, module).err().map(|error| format!("{}: {error:#}", self.shown(dir)))),
                // Without an error of cargo's the crate is built, but is not a module.
                None if result.is_ok() => failures.push(format!(
                    "{} makes no module: its Cargo.toml needs `[lib]` with `crate-type = [\"cdylib\"]`",
                    self.shown(dir)
                )),
                None => {}
            }
        }
        failures
    }

    fn encode(&self, dir: &Path, module: &Path) -> Result<()> {
        let name = dir.file_name().context("a crate's folder has a name")?;
        let core = fs::read(module).with_context(|| format!("reading {}", module.display()))?;
        let component = encode(&core)?;
        let out = self.out.join(name).with_extension("wasm");
        let changed = write_if_changed(&out, &component)?;
        eprintln!(
            "{}: {} KiB{}",
            self.shown(&out),
            component.len().div_ceil(1024),
            if changed { "" } else { ", unchanged" }
        );
        Ok(())
    }

    fn shown(&self, path: &Path) -> String {
        path.strip_prefix(&self.ws.root).unwrap_or(path).display().to_string()
    }
}

/// The core module of each crate, by the crate's folder, from cargo's messages.
fn modules(messages: &str) -> BTreeMap<PathBuf, PathBuf> {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message["reason"] == "compiler-artifact")
        .filter_map(|message| {
            let module = message["filenames"]
                .as_array()?
                .iter()
                .filter_map(Value::as_str)
                .find(|file| file.ends_with(".wasm"))?
                .into();
            let dir = Path::new(message["manifest_path"].as_str()?).parent()?;
            Some((dir.to_path_buf(), module))
        })
        .collect()
}

/// Makes a component of a core module by the world that `wit-bindgen` left in it.
fn encode(core: &[u8]) -> Result<Vec<u8>> {
    const WORLD: &[u8] = b"component-type";
    if !core.windows(WORLD.len()).any(|bytes| bytes == WORLD) {
        bail!("the module carries no world: it must call `wit_bindgen::generate!` and `export!`");
    }
    ComponentEncoder::default()
        .module(core)
        .context("reading the module")?
        .validate(true)
        .encode()
        .context("making a component of the module")
}

/// Writes by rename, so that a reader sees the old file or the new one.
fn write_if_changed(path: &Path, content: &[u8]) -> Result<bool> {
    if fs::read(path).is_ok_and(|old| old == content) {
        return Ok(false);
    }
    let write = || {
        fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
        let new = path.with_extension("wasm.new");
        fs::write(&new, content)?;
        fs::rename(&new, path)
    };
    write().with_context(|| format!("writing {}", path.display()))?;
    Ok(true)
}

/// The variable that tells the broker and the tests where built-in plugins are.
pub(crate) fn env_var(ws: &Workspace) -> (&'static str, OsString) {
    ("BROKER_PLUGINS_DIR", ws.path(PLUGINS_DIR).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_is_found_by_the_folder_of_its_crate() {
        let messages = r#"
{"reason":"compiler-artifact","manifest_path":"/r/sdk/Cargo.toml","filenames":["/t/libsdk.rlib"]}
{"reason":"compiler-artifact","manifest_path":"/r/plugins/e2b/Cargo.toml","filenames":["/t/plugin_e2b.wasm","/t/libplugin_e2b.rlib"]}
{"reason":"build-finished","success":true}
not json"#;
        let expected = BTreeMap::from([(PathBuf::from("/r/plugins/e2b"), PathBuf::from("/t/plugin_e2b.wasm"))]);
        assert_eq!(modules(messages), expected);
    }

    #[test]
    fn a_module_without_a_world_is_refused_with_the_reason() {
        let error = encode(b"\0asm\x01\0\0\0").unwrap_err();
        assert!(error.to_string().contains("carries no world"), "{error}");
    }

    #[test]
    fn a_file_is_replaced_only_when_it_changes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/x.wasm");
        assert!(write_if_changed(&path, b"1").unwrap());
        assert!(!write_if_changed(&path, b"1").unwrap());
        assert!(write_if_changed(&path, b"2").unwrap());
        assert_eq!(fs::read(&path).unwrap(), b"2");
        assert_eq!(fs::read_dir(dir.path().join("a")).unwrap().count(), 1);
    }
}
