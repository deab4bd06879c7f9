//! `broker serve`: the log, the signals and the exit status of a server.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, reload};

use crate::broker::{Broker, Loader, Relog, Surroundings};

/// The exit status after a second signal: what a shell reports for SIGINT.
const INTERRUPTED: i32 = 130;

#[derive(Debug, Default, clap::Args)]
pub(super) struct Options {
    /// File to write `{"url":…,"pid":…}` to once the broker listens.
    #[arg(long, value_name = "FILE")]
    announce: Option<PathBuf>,
}

pub(super) async fn run(surroundings: Surroundings, options: Options) -> anyhow::Result<ExitCode> {
    // Before anything else, so that no signal is lost.
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let loader = Loader::new(surroundings)?;
    let Some(checked) = super::load(&loader).await else { return Ok(ExitCode::FAILURE) };
    let relog = log(&checked.config.server.log);
    let broker = Broker::start(loader, checked, relog).await?;
    if let Some(path) = &options.announce {
        announce(path, &broker)?;
    }
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    tokio::select! {
        () = broker.shutdown() => Ok(ExitCode::SUCCESS),
        _ = interrupt.recv() => now(),
        _ = terminate.recv() => now(),
    }
}

fn now() -> ! {
    tracing::warn!("second signal: exiting at once; sandboxes still alive end by their leases");
    std::process::exit(INTERRUPTED)
}

/// Starts the log: for people on a terminal, as JSON lines for everything
/// else. `RUST_LOG` overrides the configuration, also later ones. Returns what
/// changes its directives.
pub(super) fn log(directives: &str) -> Relog {
    let overriding = EnvFilter::try_from_default_env().ok();
    let fixed = overriding.is_some();
    let filter = overriding.unwrap_or_else(|| EnvFilter::new(directives));
    let (filter, handle) = reload::Layer::new(filter);
    let registry = tracing_subscriber::registry().with(filter);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    if std::io::stderr().is_terminal() {
        registry.with(lines).init()
    } else {
        registry.with(lines.json().with_current_span(false)).init()
    }
    Box::new(move |directives| {
        if !fixed && let Err(error) = handle.reload(EnvFilter::new(directives)) {
            tracing::error!(%error, "cannot change what is logged");
        }
    })
}

/// Written beside and renamed, so that a reader finds all of it or nothing.
fn announce(path: &Path, broker: &Broker) -> anyhow::Result<()> {
    let text = serde_json::json!({ "url": format!("http://{}", broker.address), "pid": std::process::id() });
    let beside = path.with_extension("new");
    std::fs::write(&beside, text.to_string())
        .and_then(|()| std::fs::rename(&beside, path))
        .with_context(|| format!("cannot write {}", path.display()))
}
