//! Builds the golden plugins in Python and JavaScript, as an author would. The one in Rust is the guest e2b-bare.
//!
//! Owns the tools and how they are called. Knows nothing of what the plugins do.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::command::Cmd;
use crate::plugins::PLUGINS_DIR;
use crate::setup::python;
use crate::web;
use crate::workspace::{Workspace, sha256_hex};

/// Where the sources are, each in a folder of the plugin's name.
const GUESTS: &str = "host/tests/guests";

/// The contract, and the world of these plugins.
const CONTRACT: &str = "wit";
const WORLD: &str = "host/tests/guests/golden.wit";
const WORLD_NAME: &str = "golden";

/// Both, as the tools want them.
const WIT: &str = "target/golden/wit";

const NODE_FOLDER: &str = "xtask/golden";

/// Python takes 15 s of a core, and a machine may be busy.
const DEADLINE: Duration = Duration::from_secs(600);

/// One plugin.
struct Golden {
    name: &'static str,
    source: &'static str,
    /// What its tools are pinned by.
    pinned: &'static str,
    /// The program that writes the component to this path.
    program: fn(&Workspace, &Path) -> Result<Cmd>,
}

const GOLDENS: [Golden; 2] = [
    Golden { name: "golden-python", source: "provider.py", pinned: "xtask/python/test.txt", program: componentize_py },
    Golden {
        name: "golden-javascript",
        source: "provider.js",
        pinned: "xtask/golden/package-lock.json",
        program: componentize_qjs,
    },
];

/// Builds both, unless nothing changed. One whose tools this machine cannot have is a failure under CI; elsewhere the
/// tests of it are skipped.
pub(crate) fn build(ws: &Workspace) -> Result<()> {
    let mut failures = Vec::new();
    for golden in &GOLDENS {
        let Err(error) = golden.build(ws) else { continue };
        let error = format!("{}: {error:#}", golden.name);
        if !ws.ci {
            eprintln!("skipped: tests that need it: {error}");
        }
        failures.push(error);
    }
    if ws.ci && !failures.is_empty() {
        bail!("{}", failures.join("; "));
    }
    Ok(())
}

impl Golden {
    fn build(&self, ws: &Workspace) -> Result<()> {
        let out = ws.path(PLUGINS_DIR).join("guests").join(self.name).with_extension("wasm");
        let inputs = self.inputs(ws)?;
        if out.is_file() && ws.is_stamped(self.name, &inputs) {
            eprintln!("{}: up to date", self.name);
            return Ok(());
        }
        // What is there was built from something else.
        let _ = fs::remove_file(&out);
        lay_out(ws)?;
        (self.program)(ws, &out)?.deadline(DEADLINE).run()?;
        ws.stamp(self.name, &inputs)
    }

    /// Names and contents of all that goes into it.
    fn inputs(&self, ws: &Workspace) -> Result<String> {
        let mut files = vec![ws.path(self.pinned), ws.path(WORLD), self.folder(ws).join(self.source)];
        files.extend(contract(ws)?);
        let mut text = String::new();
        for file in files {
            let bytes = fs::read(&file).with_context(|| format!("reading {}", file.display()))?;
            let name = file.strip_prefix(&ws.root).unwrap_or(&file).display();
            text.push_str(&format!("{name} {}\n", sha256_hex(&bytes)));
        }
        Ok(text)
    }

    fn folder(&self, ws: &Workspace) -> PathBuf {
        ws.path(GUESTS).join(self.name)
    }
}

/// The files of the contract and of the packages that it uses, sorted.
fn contract(ws: &Workspace) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for folder in [ws.path(CONTRACT), ws.path(CONTRACT).join("deps")] {
        for entry in fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))? {
            let path = entry?.path();
            if path.extension().is_some_and(|end| end == "wit") {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

/// A folder with the world, and beside it the contract among the packages that the world uses.
fn lay_out(ws: &Workspace) -> Result<()> {
    let wit = ws.path(WIT);
    let _ = fs::remove_dir_all(&wit);
    let own = wit.join("deps/plugin");
    fs::create_dir_all(&own).with_context(|| format!("making {}", own.display()))?;
    let copy = |from: &Path, folder: &Path| -> Result<()> {
        let name = from.file_name().context("a file has a name")?;
        fs::copy(from, folder.join(name)).with_context(|| format!("copying {}", from.display()))?;
        Ok(())
    };
    copy(&ws.path(WORLD), &wit)?;
    for file in contract(ws)? {
        let used = file.parent().is_some_and(|folder| folder.ends_with("deps"));
        copy(&file, if used { own.parent().unwrap_or(&own) } else { &own })?;
    }
    Ok(())
}

fn componentize_py(ws: &Workspace, out: &Path) -> Result<Cmd> {
    let venv = python::test_venv(ws)?;
    let cmd = ws.cmd(venv.program("componentize-py")).shown_as("componentize-py");
    Ok(cmd
        .args(["--wit-path", WIT, "--world", WORLD_NAME, "--quiet", "componentize", "--python-path"])
        .arg(format!("{GUESTS}/golden-python"))
        .arg("--output")
        .arg(out)
        .arg("provider"))
}

fn componentize_qjs(ws: &Workspace, out: &Path) -> Result<Cmd> {
    let folder = ws.path(NODE_FOLDER);
    web::packages(ws, &folder)?;
    let cmd = ws.cmd(folder.join("node_modules/.bin/componentize-qjs")).shown_as("componentize-qjs");
    Ok(cmd
        .args(["--wit", WIT, "--world", WORLD_NAME, "--js"])
        .arg(format!("{GUESTS}/golden-javascript/provider.js"))
        .arg("--output")
        .arg(out))
}
