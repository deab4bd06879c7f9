//! `broker serve`: the signals and the exit status of a server. Owns what each signal means; deliberately does not know how
//! a broker starts or stops.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};

use super::log;
use crate::broker::{Broker, Loader, Surroundings};

/// The exit status after a second signal: what a shell reports for SIGINT.
const INTERRUPTED: i32 = 130;

#[derive(Debug, Default, clap::Args)]
pub(super) struct Options {
    /// File to write `{"url":…,"pid":…}` to once the broker listens.
    #[arg(long, value_name = "FILE")]
    announce: Option<PathBuf>,
}

pub(super) async fn run(surroundings: Surroundings, options: Options) -> anyhow::Result<ExitCode> {
    // The handlers come first, so that no signal is lost.
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let at_terminal = std::io::stderr().is_terminal();
    // Before plugins are loaded: what they may have open is a part of it.
    let raised = raise_open_files();
    let loader = Loader::new(surroundings)?;
    let Some(checked) = super::checked::load(&loader).await else { return Ok(ExitCode::FAILURE) };
    let relog = log::start(&checked.config.server.log);
    if let Err(error) = raised {
        tracing::warn!(%error, "cannot raise the number of open files");
    }
    let broker = Broker::start(loader, checked, relog).await?;
    if let Some(path) = &options.announce {
        announce(path, &broker)?;
    }
    loop {
        tokio::select! {
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
            // The terminal in which the broker was started is gone, so nobody can stop it there any more.
            _ = hangup.recv() => if at_terminal && !std::io::stderr().is_terminal() { break },
        }
        broker.reload();
    }
    tokio::select! {
        () = broker.shutdown() => Ok(ExitCode::SUCCESS),
        _ = interrupt.recv() => now(),
        _ = terminate.recv() => now(),
    }
}

/// Raises the limit of open files to the hard limit. The soft limit is often 1,024, and every connection takes one file.
fn raise_open_files() -> rustix::io::Result<()> {
    let mut files = getrlimit(Resource::Nofile);
    files.current = files.maximum;
    setrlimit(Resource::Nofile, files)
}

fn now() -> ! {
    tracing::warn!("second signal: exiting at once; sandboxes still alive end by their leases");
    std::process::exit(INTERRUPTED)
}

/// Writes the announcement to another file and renames it, so that a reader finds all of it or nothing.
fn announce(path: &Path, broker: &Broker) -> anyhow::Result<()> {
    let text = serde_json::json!({ "url": format!("http://{}", broker.address), "pid": std::process::id() });
    let beside = path.with_extension("new");
    std::fs::write(&beside, text.to_string())
        .and_then(|()| std::fs::rename(&beside, path))
        .with_context(|| format!("cannot write {}", path.display()))
}
