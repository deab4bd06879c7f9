//! `cargo xtask ci`: every check, every failure, one table at the end.

use anyhow::Result;

use crate::golden;
use crate::plugins;
use crate::recorder;
use crate::report::Report;
use crate::setup;
use crate::test;
use crate::tidy;
use crate::web;
use crate::workspace::Workspace;

/// The names of the steps, quick ones first.
pub(crate) const STEPS: [&str; 10] =
    ["fmt", "tidy", "setup", "web", "plugins", "recorder", "clippy", "test", "browser", "docs"];

const GUESTS_MANIFEST: &str = "host/tests/guests/Cargo.toml";

/// Runs all steps, or `only` those named; parts that are missing are failures.
pub(crate) fn ci(ws: &Workspace, only: Vec<String>) -> Result<()> {
    let ws = &Workspace { ci: true, ..ws.clone() };
    let mut report = Report::new(only);
    // Also what a step that runs alone finds its parts by.
    let needs_parts = ["setup", "test", "browser"].iter().any(|name| report.selects(name));
    let parts = needs_parts.then(|| setup::install(ws));

    report.step("fmt", &[], || fmt(ws));
    report.step("tidy", &[], || tidy::tidy(ws));
    if let Some(parts) = &parts {
        report.step("setup", &[], || parts.check(ws));
    }
    report.step("web", &[], || web::check_and_build(ws));
    report.step("plugins", &[], || plugins::build(ws).and(golden::build(ws)));
    report.step("recorder", &[], || recorder::build(ws));
    report.step("clippy", &[], || {
        ws.cargo().args(["clippy", "--workspace", "--all-targets", "--locked"]).args(["--", "-D", "warnings"]).run()
    });
    if let Some(parts) = &parts {
        report.step("test", &[], || test::rust(ws, parts, None, &[]));
        report.step("browser", &["web", "plugins", "recorder"], || test::browser(ws, parts));
    }
    report.step("docs", &[], || {
        ws.cargo().args(["doc", "--workspace", "--no-deps", "--locked"]).env("RUSTDOCFLAGS", "-D warnings").run()
    });
    report.finish()
}

fn fmt(ws: &Workspace) -> Result<()> {
    ws.cargo().args(["fmt", "--all", "--check"]).run()?;
    if ws.path(GUESTS_MANIFEST).is_file() {
        ws.cargo().args(["fmt", "--all", "--check", "--manifest-path", GUESTS_MANIFEST]).run()?;
    }
    Ok(())
}
