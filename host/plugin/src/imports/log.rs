//! The import `log`: lines of a plugin in the broker's log.
//!
//! Owns how much one section's plugin may cause to be logged, and that a plugin cannot forge a line or a field.
//! Deliberately knows no secret and no request.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use wasmtime::component::{HasData, Linker};

use crate::bindings::host::log;
use crate::convert::{DETAIL_BYTES, DETAILS, MESSAGE_BYTES};
use sandbox_stdx::lock::lock;
use sandbox_stdx::words::clean;

/// Log lines per second.
const LOG_LINES: u32 = 100;

/// How much of one section's plugin is logged: [`LOG_LINES`], whichever of its instances causes a line and whatever
/// the line is about.
#[derive(Debug)]
pub(crate) struct LogBudget(Mutex<(Instant, u32)>);

impl Default for LogBudget {
    fn default() -> Self {
        LogBudget(Mutex::new((Instant::now(), 0)))
    }
}

impl LogBudget {
    /// Counts one line and returns whether it may be written.
    pub(crate) fn take(&self, provider: &str) -> bool {
        let mut window = lock(&self.0);
        let (since, lines) = &mut *window;
        if since.elapsed() >= Duration::from_secs(1) {
            if *lines > LOG_LINES {
                tracing::warn!(%provider, dropped = *lines - LOG_LINES, "plugin logs too much");
            }
            (*since, *lines) = (Instant::now(), 0);
        }
        *lines = lines.saturating_add(1);
        *lines <= LOG_LINES
    }

    /// Lines that were counted in this second.
    #[cfg(test)]
    pub(crate) fn lines(&self) -> u32 {
        lock(&self.0).1
    }
}

/// What this capability sees of a Store.
#[derive(Clone, Copy)]
pub(crate) struct LogView<'a> {
    /// Name of the section, for messages.
    pub(crate) provider: &'a str,
    /// The lines that the section has left.
    pub(crate) budget: &'a LogBudget,
}

/// A Store whose guest may log.
pub(crate) trait LendsLog: 'static {
    fn log(&mut self) -> LogView<'_>;
}

struct HasLog;

impl HasData for HasLog {
    type Data<'a> = LogView<'a>;
}

/// Adds `log` to what a guest may import.
pub(crate) fn link<T: LendsLog>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    log::add_to_linker::<T, HasLog>(linker, T::log)
}

impl log::Host for LogView<'_> {
    fn log(&mut self, level: log::Level, message: String, fields: Vec<(String, String)>) {
        let provider = self.provider;
        if !self.budget.take(provider) {
            return;
        }
        let message = clean(&message, MESSAGE_BYTES);
        let fields: Vec<String> = fields
            .iter()
            .take(DETAILS)
            .map(|(name, value)| format!("{}={:?}", field_name(name), clean(value, DETAIL_BYTES)))
            .collect();
        let fields = fields.join(" ");
        match level {
            log::Level::Trace => tracing::trace!(target: "plugin", %provider, %fields, "{message}"),
            log::Level::Debug => tracing::debug!(target: "plugin", %provider, %fields, "{message}"),
            log::Level::Info => tracing::info!(target: "plugin", %provider, %fields, "{message}"),
            log::Level::Warn => tracing::warn!(target: "plugin", %provider, %fields, "{message}"),
            log::Level::Error => tracing::error!(target: "plugin", %provider, %fields, "{message}"),
        }
    }
}

/// The name of a field, without any character that could start another field.
fn field_name(name: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
    clean(name, DETAIL_BYTES).replace(|c| !plain(c), "_")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::bindings::host::secrets::{Host as _, SasRequest};
    use crate::imports::secrets::LendsSecrets as _;
    use crate::permissions::Permissions;
    use crate::store::GuestStore;
    use sandbox_broker_core::sandbox::Call;
    use sandbox_broker_footprint::Footprint;

    use super::log::Host as _;
    use super::*;

    /// A Store that lends nothing else.
    struct Alone(LogBudget);

    impl LendsLog for Alone {
        fn log(&mut self) -> LogView<'_> {
            LogView { provider: "p", budget: &self.0 }
        }
    }

    #[test]
    fn it_links_without_the_other_capabilities_and_counts_its_lines() {
        let engine = wasmtime::Engine::default();
        link(&mut Linker::<Alone>::new(&engine)).unwrap();
        let mut store = Alone(LogBudget::default());
        LendsLog::log(&mut store).log(log::Level::Debug, "a".to_owned(), Vec::new());
        assert_eq!(store.0.lines(), 1);
    }

    #[test]
    fn a_field_cannot_forge_another() {
        assert_eq!(field_name("a=1 b\n"), "a_1_b");
    }

    #[test]
    fn all_instances_of_a_section_share_its_bound_of_log_lines() {
        let engine = wasmtime::Engine::default();
        let permissions = Arc::new(Permissions { provider: "p".to_owned(), ..Permissions::default() });
        let began = Instant::now();
        for stores in 1..=3 {
            let mut guest =
                GuestStore::new(&engine, Footprint::default(), Arc::clone(&permissions), None, &Call::default());
            for _ in 0..LOG_LINES {
                let request =
                    SasRequest { container: String::new(), permissions: String::new(), life_ms: 1, policy: None };
                let refused = guest.store.data_mut().secrets().azure_service_sas("x".to_owned(), request);
                assert!(refused.is_err());
            }
            // The count goes back to 0 once a second.
            if began.elapsed() < Duration::from_millis(900) {
                assert_eq!(permissions.log_budget.lines(), stores * (LOG_LINES + 1) - 1);
                assert!(!permissions.log_budget.take("p"), "{stores} of them");
            }
        }
    }
}
