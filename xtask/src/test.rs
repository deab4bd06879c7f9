//! `cargo xtask test`: every test there is, in Rust, of the page, in a browser.
//!
//! Knows how each kind is started and what it is told in its environment.

use std::ffi::OsString;
use std::fs;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::command::stop;
use crate::golden;
use crate::plugins;
use crate::recorder;
use crate::report::Report;
use crate::setup::{self, TestParts};
use crate::web;
use crate::workspace::Workspace;

/// The names of the steps.
pub(crate) const STEPS: [&str; 7] = ["setup", "plugins", "recorder", "page", "web", "rust", "browser"];

/// A debug build with a cold cache compiles its plugins first.
const START_DEADLINE: Duration = Duration::from_secs(120);

const BROWSER_DEADLINE: Duration = Duration::from_secs(1200);

/// Installs what is missing and runs all tests, or with a `filter` only Rust
/// tests whose name contains it.
pub(crate) fn test(ws: &Workspace, filter: Option<&str>, only: Vec<String>, args: &[String]) -> Result<()> {
    let parts = setup::install(ws);
    let mut report = Report::new(only);
    report.step("setup", &[], || parts.check(ws));
    report.step("plugins", &[], || plugins::build(ws).and(golden::build(ws)));
    report.step("recorder", &[], || recorder::build(ws));
    report.step("page", &[], || web::build(ws));
    report.step("rust", &[], || rust(ws, &parts, filter, args));
    if filter.is_none() {
        report.step("web", &[], || web::unit_tests(ws));
        report.step("browser", &["plugins", "recorder", "page"], || browser(ws, &parts));
    }
    report.finish()
}

/// All Rust tests, also those after a failure.
pub(crate) fn rust(ws: &Workspace, parts: &TestParts, filter: Option<&str>, args: &[String]) -> Result<()> {
    ws.cargo().args(["test", "--workspace", "--no-fail-fast"]).args(filter).arg("--").args(args).envs(&parts.vars).run()
}

/// The test that takes as long as one likes. Its decisions are drawn from
/// `seed`, which it tells.
pub(crate) fn soak(ws: &Workspace, minutes: u64, sessions: u64, seed: Option<u64>) -> Result<()> {
    let parts = setup::install(ws);
    plugins::build(ws)?;
    recorder::build(ws)?;
    let number = |n: u64| OsString::from(n.to_string());
    let mut vars = vec![("SOAK_SECONDS", number(minutes * 60)), ("SOAK_SESSIONS", number(sessions))];
    vars.extend(seed.map(|seed| ("SOAK_SEED", number(seed))));
    ws.cargo()
        .args(["test", "--workspace", "--test=it", "sessions_survive_a_nemesis", "--", "--ignored", "--nocapture"])
        .envs(&parts.vars)
        .envs(&vars)
        .run()
}

/// The page in real browsers, against a broker on a free port with the shipped
/// configuration: everything in Chromium, and in Firefox what browsers do in
/// their own ways.
pub(crate) fn browser(ws: &Workspace, parts: &TestParts) -> Result<()> {
    let web = web::folder(ws)?;
    web::packages(ws, &web)?;
    let program = tested_broker(ws)?;
    let state = ws.path("target/e2e");
    fs::create_dir_all(&state).with_context(|| format!("making {}", state.display()))?;
    let broker = ws
        .cmd(&program)
        .shown_as("broker")
        .envs(&parts.vars)
        // Those of the shipped broker.toml, whatever this machine sets.
        .env("PORT", "0")
        .env("SANDBOX_PROVIDER", "local")
        .env("AZURE_STORAGE_ENABLED", "false")
        .env("XDG_STATE_HOME", &state)
        .env("XDG_DATA_HOME", &state)
        .start()?;
    let mut broker = Broker(broker);
    let url = broker.url(&state.join("broker.log"))?;
    eprintln!("broker on {url}, its log in target/e2e/broker.log");

    let run = |script: &str| {
        web::npm(ws, &web)?
            .args(["run", script])
            .envs(&parts.vars)
            .env("BROKER_URL", &url)
            .env("BROKER_BIN", &program)
            .deadline(BROWSER_DEADLINE)
            .run()
    };
    let chromium = run("e2e");
    // Where it is missing `setup` has said so, and fails under CI.
    let firefox = if parts.has("FIREFOX") { run("e2e:firefox") } else { Ok(()) };
    let ended = stop(&mut broker.0)?;
    chromium?;
    firefox?;
    if !ended.success() {
        bail!("the broker did not end well on SIGTERM ({ended}); see target/e2e/broker.log");
    }
    Ok(())
}

/// The program that the Rust tests drive. Built as they build it: alone it has
/// fewer features of its dependencies, and wasmtime would be compiled again.
fn tested_broker(ws: &Workspace) -> Result<PathBuf> {
    ws.cargo().args(["test", "--workspace", "--no-run", "--target-dir=target"]).run()?;
    Ok(ws.path("target/debug/broker"))
}

/// A broker that ends with this value.
struct Broker(Child);

impl Drop for Broker {
    fn drop(&mut self) {
        if let Err(error) = stop(&mut self.0) {
            eprintln!("stopping the broker: {error:#}");
        }
    }
}

impl Broker {
    /// Copies what it prints to `log` and waits until it says where it listens.
    fn url(&mut self, log: &Path) -> Result<String> {
        let file = fs::File::create(log).with_context(|| format!("writing {}", log.display()))?;
        let file = Arc::new(Mutex::new(file));
        let (sender, receiver) = sync_channel(1);
        let outputs: [Option<Box<dyn Read + Send>>; 2] =
            [self.0.stdout.take().map(|out| Box::new(out) as _), self.0.stderr.take().map(|err| Box::new(err) as _)];
        for output in outputs.into_iter().flatten() {
            let (file, sender) = (Arc::clone(&file), sender.clone());
            thread::spawn(move || copy_lines(output, &file, &sender));
        }
        drop(sender);
        match receiver.recv_timeout(START_DEADLINE) {
            Ok(url) => Ok(url),
            Err(RecvTimeoutError::Disconnected) => {
                bail!("the broker ended at once; see {}", log.display())
            }
            Err(RecvTimeoutError::Timeout) => bail!(
                "the broker did not say within {} s where it listens; see {}",
                START_DEADLINE.as_secs(),
                log.display()
            ),
        }
    }
}

fn copy_lines(output: impl Read, log: &Mutex<fs::File>, url: &SyncSender<String>) {
    for line in BufReader::new(output).lines().map_while(Result::ok) {
        if let Some(found) = announced(&line) {
            // Only the first one is awaited.
            let _ = url.try_send(found.to_owned());
        }
        // A full disk must not stop the broker by a full pipe.
        if let Ok(mut log) = log.lock() {
            let _ = writeln!(log, "{line}");
        }
    }
}

/// The URL in the line by which the broker says that it listens.
fn announced(line: &str) -> Option<&str> {
    let line = line.contains("listening").then_some(line)?;
    let url = &line[line.find("http://")?..];
    let end = url.find(|c: char| c.is_whitespace() || matches!(c, '"' | ',' | '\u{1b}'));
    Some(url[..end.unwrap_or(url.len())].trim_end_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_announcement_is_read_as_text_and_as_json() {
        let url = Some("http://127.0.0.1:4321");
        assert_eq!(announced("INFO listening on http://127.0.0.1:4321"), url);
        assert_eq!(announced(r#"{"message":"listening","url":"http://127.0.0.1:4321/","n":1}"#), url);
        assert_eq!(announced("frontend_url=http://localhost:5174"), None);
        assert_eq!(announced("listening soon"), None);
    }
}
