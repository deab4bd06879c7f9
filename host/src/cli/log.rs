//! The log: where it goes and in which form. Owns its start; deliberately does not know what is logged.

use std::io::{IsTerminal as _, stderr};

use sandbox_stdx::log::OneLine;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, reload};

use crate::broker::Relog;

/// Starts the log: in lines for people when standard error is a terminal, and as JSON lines otherwise. `RUST_LOG` overrides
/// the configuration, also after a reload. Returns a function that changes its directives.
///
/// Each event is one line, whatever strangers put into it.
pub(super) fn start(directives: &str) -> Relog {
    let overriding = EnvFilter::try_from_default_env().ok();
    let fixed = overriding.is_some();
    let filter = overriding.unwrap_or_else(|| EnvFilter::new(directives));
    let (filter, handle) = reload::Layer::new(filter);
    let registry = tracing_subscriber::registry().with(filter);
    let lines = tracing_subscriber::fmt::layer().with_writer(|| OneLine(stderr()));
    if stderr().is_terminal() {
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
