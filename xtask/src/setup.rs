//! What running and testing need of the machine beyond Rust: installed where
//! possible, named in one line otherwise. Quick when nothing is missing.
//!
//! Knows which parts exist and the variables by which tests find them. A test
//! whose part is missing fails under CI and is skipped elsewhere.

use std::ffi::OsString;

use anyhow::{Result, bail};

use crate::command::find_program;
use crate::plugins;
use crate::web;
use crate::workspace::Workspace;

pub(crate) mod debian;
pub(crate) mod python;

use debian::Program;

/// Makes the sandboxes of the embedded default.
pub(crate) const BUBBLEWRAP: Program =
    Program { any_of: &["bwrap"], package: "bubblewrap", needed_for: "the provider `local` makes sandboxes with it" };

const CHROMIUM: Program = Program {
    any_of: &["chromium", "chromium-browser", "google-chrome"],
    package: "chromium",
    needed_for: "tests of the page in a browser",
};

/// Programs that tests run inside terminals.
const IN_TERMINALS: &[Program] = &[
    Program { any_of: &["less"], package: "less", needed_for: "tests of full-screen programs" },
    Program { any_of: &["vim", "vim.tiny", "vi"], package: "vim-tiny", needed_for: "tests of full-screen programs" },
    Program { any_of: &["tput"], package: "ncurses-bin", needed_for: "tests of the window's size" },
    Program { any_of: &["ps"], package: "procps", needed_for: "tests of process trees" },
];

const SDK_JS: &str = "sandboxd/tests/sdk/js";

/// What tests are told, and what they must do without.
pub(crate) struct TestParts {
    /// Variables of their environment.
    pub(crate) vars: Vec<(&'static str, OsString)>,
    /// One line for each part that is missing and could not be installed.
    missing: Vec<String>,
}

impl TestParts {
    /// Under CI an error when a part is missing; elsewhere a line for each.
    pub(crate) fn check(&self, ws: &Workspace) -> Result<()> {
        if ws.ci && !self.missing.is_empty() {
            bail!("{}", self.missing.join("; "));
        }
        for line in &self.missing {
            eprintln!("skipped: tests that need it: {line}");
        }
        Ok(())
    }
}

/// `cargo xtask setup`.
pub(crate) fn setup(ws: &Workspace) -> Result<()> {
    let parts = install(ws);
    for (name, value) in &parts.vars {
        eprintln!("{name}={}", value.to_string_lossy());
    }
    if parts.missing.is_empty() {
        return Ok(());
    }
    bail!("{}", parts.missing.join("; "))
}

/// Installs every part of the tests that can be installed.
pub(crate) fn install(ws: &Workspace) -> TestParts {
    let mut vars = vec![plugins::env_var(ws)];
    let mut missing = Vec::new();
    let mut note = |result: Result<()>| {
        if let Err(error) = result {
            missing.push(format!("{error:#}"));
        }
    };

    let programs: Vec<&Program> = [&BUBBLEWRAP, &CHROMIUM].into_iter().chain(IN_TERMINALS).collect();
    note(debian::ensure(ws, &programs));
    if let Some(chromium) = find_program(CHROMIUM.any_of) {
        vars.push(("CHROMIUM", chromium.into()));
    }

    note(python::test_venv(ws).map(|venv| {
        vars.push(("SANDBOXD_SDK_PYTHON", venv.program("python").into()));
        vars.push(("KOSOKU", venv.program("kosoku").into()));
    }));

    let sdk_js = ws.path(SDK_JS);
    if sdk_js.join("package.json").is_file() {
        note(web::packages(ws, &sdk_js).map(|()| {
            vars.push(("SANDBOXD_SDK_JS_DIR", sdk_js.into()));
        }));
    }
    note(web::folder(ws).and_then(|web| web::packages(ws, &web)));

    TestParts { vars, missing }
}
