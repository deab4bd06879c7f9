//! What running and testing need of the machine beyond Rust: installed where
//! possible, named in one line otherwise. Quick when nothing is missing.
//!
//! Knows which parts exist and the variables by which tests find them. A test
//! whose part is missing fails under CI and is skipped elsewhere.

use std::ffi::OsString;

use anyhow::{Result, bail};

use crate::azurite;
use crate::command::find_program;
use crate::plugins;
use crate::recorder;
use crate::web;
use crate::workspace::Workspace;

pub(crate) mod blobfuse;
pub(crate) mod debian;
mod docker;
mod go;
mod kubernetes;
pub(crate) mod python;
mod rclone;
mod seen;
mod stand_in;

use debian::Program;

/// Makes the sandboxes of the embedded default.
pub(crate) const BUBBLEWRAP: Program =
    Program { any_of: &["bwrap"], package: "bubblewrap", needed_for: "the provider `local` makes sandboxes with it" };

/// Gives each of those sandboxes a network of its own.
pub(crate) const SLIRP4NETNS: Program = Program {
    any_of: &["slirp4netns"],
    package: "slirp4netns",
    needed_for: "sandboxes of the provider `local` have a network of their own by it",
};

/// Makes the networks that tests of sandboxes' networks look at.
const IP: Program = Program { any_of: &["ip"], package: "iproute2", needed_for: "tests of sandboxes' networks" };

const CHROMIUM: Program = Program {
    any_of: &["chromium", "chromium-browser", "google-chrome"],
    package: "chromium",
    needed_for: "tests of the page in a browser",
};

const FIREFOX: Program = Program {
    any_of: &["firefox-esr", "firefox"],
    package: "firefox-esr",
    needed_for: "tests of the page in another browser than Chromium",
};

/// Mounts and unmounts file systems in user space, inside sandboxes.
pub(crate) const FUSE: Program =
    Program { any_of: &["fusermount3"], package: "fuse3", needed_for: "sandboxes that mount storage" };

/// The system's own, which sandboxes see; another may come first on `PATH`.
const SYSTEM_PYTHON: Program = Program {
    any_of: &["/usr/bin/python3"],
    package: "python3",
    needed_for: "the file system in tests of sandboxes that mount",
};

/// Programs that tests run inside terminals.
const IN_TERMINALS: &[Program] = &[
    Program { any_of: &["less"], package: "less", needed_for: "tests of full-screen programs" },
    // Not vim-tiny, which has no colours of syntax.
    Program { any_of: &["vim"], package: "vim", needed_for: "tests of full-screen programs" },
    Program { any_of: &["htop"], package: "htop", needed_for: "tests of full-screen programs" },
    Program { any_of: &["mc"], package: "mc", needed_for: "tests of full-screen programs" },
    Program { any_of: &["tmux"], package: "tmux", needed_for: "tests of full-screen programs" },
    Program { any_of: &["git"], package: "git", needed_for: "tests of full-screen programs" },
    Program { any_of: &["vttest"], package: "vttest", needed_for: "tests of the recorder's emulator" },
    Program { any_of: &["tput"], package: "ncurses-bin", needed_for: "tests of the window's size" },
    Program { any_of: &["ps"], package: "procps", needed_for: "tests of process trees" },
    Program { any_of: &["/usr/bin/busybox"], package: "busybox-static", needed_for: "tests of files with its tools" },
];

/// Proxies that tests put before a broker. Debian has them in /usr/sbin, which is
/// not on everybody's `PATH`.
const PROXIES: &[Program] = &[
    Program {
        any_of: &["nginx", "/usr/sbin/nginx"],
        package: "nginx-light",
        needed_for: "tests of the broker behind a proxy",
    },
    Program {
        any_of: &["haproxy", "/usr/sbin/haproxy"],
        package: "haproxy",
        needed_for: "tests of the broker behind a proxy",
    },
    Program { any_of: &["caddy"], package: "caddy", needed_for: "tests of the broker behind a proxy" },
];

/// The service that tests of S3 storage use.
const S3_SERVICE: &str = "xtask/s3/service";

const SDK_JS: &str = "sandboxd/tests/sdk/js";

/// What tests are told, and what they must do without.
pub(crate) struct TestParts {
    /// Variables of their environment.
    pub(crate) vars: Vec<(&'static str, OsString)>,
    /// One line for each part that is missing and could not be installed.
    missing: Vec<String>,
    /// The same for parts that no registry has, so that a machine under CI may do
    /// with what stands in for them.
    optional: Vec<String>,
}

impl TestParts {
    /// Whether the part that this variable names is there.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.vars.iter().any(|(var, _)| *var == name)
    }

    /// Under CI an error when a part is missing that could be there; elsewhere a
    /// line for each.
    pub(crate) fn check(&self, ws: &Workspace) -> Result<()> {
        if ws.ci && !self.missing.is_empty() {
            bail!("{}", self.missing.join("; "));
        }
        for line in &self.missing {
            eprintln!("skipped: tests that need it: {line}");
        }
        for line in &self.optional {
            eprintln!("not there: {line}");
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
    for line in &parts.optional {
        eprintln!("not there: {line}");
    }
    if parts.missing.is_empty() {
        return Ok(());
    }
    bail!("{}", parts.missing.join("; "))
}

/// Installs every part of the tests that can be installed.
pub(crate) fn install(ws: &Workspace) -> TestParts {
    let mut vars = vec![plugins::env_var(ws), recorder::env_var(ws)];
    let mut missing = Vec::new();
    let mut note = |result: Result<()>| {
        if let Err(error) = result {
            missing.push(format!("{error:#}"));
        }
    };

    let programs: Vec<&Program> = [&BUBBLEWRAP, &SLIRP4NETNS, &IP, &CHROMIUM, &FIREFOX, &FUSE, &SYSTEM_PYTHON]
        .into_iter()
        .chain(IN_TERMINALS)
        .chain(PROXIES)
        .collect();
    note(debian::ensure(ws, &programs));
    for (name, browser) in [("CHROMIUM", &CHROMIUM), ("FIREFOX", &FIREFOX)] {
        if let Some(program) = find_program(browser.any_of) {
            vars.push((name, program.into()));
        }
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
    note(azurite::install(ws).map(|script| vars.push(("AZURITE", script.into()))));
    note(docker::install(ws).map(|folder| vars.push(("DOCKER_ENGINE", folder.into()))));
    note(kubernetes::install(ws).map(|found| vars.extend(found)));

    let mut optional = Vec::new();
    match blobfuse::find() {
        Ok(program) => vars.push(("BLOBFUSE2", program.into())),
        Err(error) => {
            optional.push(format!("{error:#}; tests of storage use what stands in for it"));
            note(stand_in::install(ws).map(|program| vars.push(("BLOBFUSE2_STAND_IN", program.into()))));
        }
    }

    note(rclone::install(ws).map(|program| vars.push(("RCLONE", program.into()))));
    note(go::build(ws, S3_SERVICE, "the S3 service of tests").map(|program| vars.push(("S3_SERVICE", program.into()))));

    TestParts { vars, missing, optional }
}
