//! What one Store holds: the guest's tables, its grants, its meters, and the
//! host side of `secrets` and `log`.
//!
//! Owns every limit on a guest. Deliberately knows no call of the contract's
//! exports.

use std::collections::BTreeSet;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use wasmtime::component::ResourceTable;
use wasmtime::{ResourceLimiter, Store, UpdateDeadline};
use wasmtime_wasi::clocks::{WasiClocksCtx, WasiClocksCtxView, WasiClocksView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use super::bindings::host::{log, secrets, types};
use super::convert::{DETAIL_BYTES, DETAILS, MESSAGE_BYTES, denial};
use super::keyring::Secrets;
use super::net::{Hooks, Sender};
use sandbox_broker_core::secret::Secret;
use sandbox_broker_core::words::clean;

/// Time between two looks at the CPU meter.
pub(super) const TICK: Duration = Duration::from_millis(10);
/// Bytes that a guest may hand over in one call. The largest honest call is a
/// directory listing.
const HOSTCALL_BYTES: usize = 4 << 20;
/// Handles that a guest may hold: of resources, streams, futures and calls of
/// its own, and as many again of what the host has for it. A session holds
/// about ten.
const HANDLES: usize = 1024;
/// Bytes of one set of headers, as kept in memory.
const HEADER_BYTES: usize = 64 << 10;
/// Elements of one table; a Rust plugin has a few hundred.
const TABLE_ELEMENTS: usize = 100_000;
/// Core instances, memories and tables of one Store.
const CORE_ITEMS: usize = 64;
/// Log lines per second.
const LOG_LINES: u32 = 100;

/// What the operator lets one provider section's plugin do.
#[derive(Debug, Default)]
pub(crate) struct Grants {
    /// The section's name, for messages.
    pub(crate) provider: String,
    /// Secrets by the names that the plugin uses.
    pub(crate) secrets: Secrets,
    /// Names that may be handed over.
    pub(crate) reveal: BTreeSet<String>,
    /// Largest linear memory, bytes.
    pub(crate) memory: usize,
    /// CPU time that an instance may use without ever giving way.
    pub(crate) cpu: Duration,
    /// What is logged of all its instances.
    pub(crate) lines: Lines,
}

/// How much of one section's plugin is logged: [`LOG_LINES`], whichever of its
/// instances writes and whatever of it is worth a line.
#[derive(Debug)]
pub(crate) struct Lines(Mutex<(Instant, u32)>);

impl Default for Lines {
    fn default() -> Self {
        Lines(Mutex::new((Instant::now(), 0)))
    }
}

impl Lines {
    /// Whether one more may be written.
    pub(crate) fn take(&self, provider: &str) -> bool {
        let mut window = self.0.lock().unwrap_or_else(PoisonError::into_inner);
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
}

/// Why a guest was stopped, where the trap itself does not say.
#[derive(Default, Debug)]
pub(super) struct Meter {
    ticks: AtomicU32,
    busy: AtomicU32,
    out_of_memory: AtomicBool,
    out_of_time: AtomicBool,
}

impl Meter {
    pub(super) fn out_of_memory(&self) -> bool {
        self.out_of_memory.load(Ordering::Relaxed)
    }

    pub(super) fn out_of_time(&self) -> bool {
        self.out_of_time.load(Ordering::Relaxed)
    }

    /// Runs `future`, telling apart a guest that gives way from one that only
    /// was made to: a poll in which no tick fell ended by itself. Pinned by the
    /// caller, so that a future as large as a guest's is not held twice.
    pub(super) async fn watch<F: Future + Unpin>(&self, mut future: F) -> F::Output {
        poll_fn(|cx| {
            let before = self.ticks.load(Ordering::Relaxed);
            let poll = Pin::new(&mut future).poll(cx);
            if self.ticks.load(Ordering::Relaxed) == before {
                self.busy.store(0, Ordering::Relaxed);
            }
            poll
        })
        .await
    }
}

/// The data of one Store.
pub(super) struct State {
    table: ResourceTable,
    http: WasiHttpCtx,
    hooks: Hooks,
    clocks: WasiClocksCtx,
    grants: Arc<Grants>,
    meter: Arc<Meter>,
}

/// A Store that marks its requests as dead before it goes, so that an upload
/// cut off in the middle never looks complete to the server.
pub(super) struct Cell {
    pub(super) store: Store<State>,
    pub(super) meter: Arc<Meter>,
    dead: Arc<AtomicBool>,
}

impl Drop for Cell {
    fn drop(&mut self) {
        self.dead.store(true, Ordering::SeqCst);
    }
}

impl Cell {
    /// A Store with every limit set. Without a `sender` no request leaves.
    pub(super) fn new(engine: &wasmtime::Engine, grants: Arc<Grants>, sender: Option<Arc<Sender>>) -> Self {
        let dead = Arc::new(AtomicBool::new(false));
        let meter = Arc::new(Meter::default());
        let cpu = grants.cpu;
        let mut table = ResourceTable::new();
        table.set_max_capacity(HANDLES);
        let mut http = WasiHttpCtx::new();
        http.set_field_size_limit(HEADER_BYTES);
        let state = State {
            table,
            http,
            hooks: Hooks::new(sender, dead.clone()),
            clocks: WasiClocksCtx::default(),
            grants,
            meter: meter.clone(),
        };
        let mut store = Store::new(engine, state);
        store.limiter(|state| state);
        store.set_hostcall_fuel(HOSTCALL_BYTES);
        store.set_max_component_handles(HANDLES);
        store.set_epoch_deadline(1);
        let ticking = meter.clone();
        let allowed = u32::try_from(cpu.as_millis() / TICK.as_millis()).unwrap_or(u32::MAX).max(1);
        store.epoch_deadline_callback(move |_| {
            ticking.ticks.fetch_add(1, Ordering::Relaxed);
            if ticking.busy.fetch_add(1, Ordering::Relaxed) >= allowed {
                ticking.out_of_time.store(true, Ordering::Relaxed);
                return Ok(UpdateDeadline::Interrupt);
            }
            Ok(UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now())))
        });
        Cell { store, meter, dead }
    }
}

impl ResourceLimiter for State {
    fn memory_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let fits = desired <= self.grants.memory;
        if !fits {
            self.meter.out_of_memory.store(true, Ordering::Relaxed);
        }
        Ok(fits)
    }

    fn table_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        Ok(desired <= TABLE_ELEMENTS)
    }

    fn instances(&self) -> usize {
        CORE_ITEMS
    }

    fn tables(&self) -> usize {
        CORE_ITEMS
    }

    fn memories(&self) -> usize {
        CORE_ITEMS
    }
}

impl WasiHttpView for State {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { ctx: &mut self.http, table: &mut self.table, hooks: &mut self.hooks }
    }
}

impl WasiClocksView for State {
    fn clocks(&mut self) -> WasiClocksCtxView<'_> {
        WasiClocksCtxView { ctx: &mut self.clocks, table: &mut self.table }
    }
}

impl types::Host for State {}

impl secrets::Host for State {
    fn hmac_sha256(&mut self, name: String, form: secrets::KeyForm, message: Vec<u8>) -> Result<Vec<u8>, types::Error> {
        let key = self.secret(&name)?;
        let key = key.expose();
        let key = match form {
            secrets::KeyForm::Text => key.as_bytes().to_vec(),
            secrets::KeyForm::Base64 => {
                use base64::Engine as _;
                base64::engine::general_purpose::STANDARD.decode(key).map_err(|_| {
                    denial(types::Code::FailedPrecondition, format!("the secret `{name}` is not valid base64"))
                })?
            }
        };
        let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("HMAC takes a key of any length");
        mac.update(&message);
        Ok(mac.finalize().into_bytes().to_vec())
    }

    fn reveal(&mut self, name: String) -> Result<String, types::Error> {
        if !self.grants.reveal.contains(&name) {
            return Err(denial(
                types::Code::PermissionDenied,
                format!("the secret `{}` may not be revealed to this plugin", clean(&name, 64)),
            ));
        }
        self.secret(&name).map(|secret| secret.expose().to_owned())
    }
}

impl State {
    fn secret(&self, name: &str) -> Result<Secret, types::Error> {
        let Grants { provider, secrets, .. } = &*self.grants;
        let secret = secrets.to_use(name).ok_or_else(|| {
            let name = clean(name, 64);
            if self.grants.lines.take(provider) {
                tracing::warn!(%provider, secret = %name, "plugin asked for a secret that is not its own");
            }
            denial(
                types::Code::PermissionDenied,
                format!("the plugin asked for the secret `{name}`, which providers.{provider}.secrets does not have"),
            )
        })?;
        if secret.is_empty() {
            return Err(denial(
                types::Code::FailedPrecondition,
                format!("providers.{provider}.secrets.{name} is empty"),
            ));
        }
        Ok(secret)
    }
}

/// The name of a field: nothing that could be taken for the next one.
fn key(name: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
    clean(name, DETAIL_BYTES).replace(|c| !plain(c), "_")
}

impl log::Host for State {
    fn log(&mut self, level: log::Level, message: String, fields: Vec<(String, String)>) {
        if !self.grants.lines.take(&self.grants.provider) {
            return;
        }
        let message = clean(&message, MESSAGE_BYTES);
        let fields: Vec<String> =
            fields.iter().take(DETAILS).map(|(k, v)| format!("{}={:?}", key(k), clean(v, DETAIL_BYTES))).collect();
        let (provider, fields) = (&self.grants.provider, fields.join(" "));
        match level {
            log::Level::Trace => tracing::trace!(target: "plugin", %provider, %fields, "{message}"),
            log::Level::Debug => tracing::debug!(target: "plugin", %provider, %fields, "{message}"),
            log::Level::Info => tracing::info!(target: "plugin", %provider, %fields, "{message}"),
            log::Level::Warn => tracing::warn!(target: "plugin", %provider, %fields, "{message}"),
            log::Level::Error => tracing::error!(target: "plugin", %provider, %fields, "{message}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::secrets::Host as _;
    use super::*;

    #[test]
    fn all_instances_of_a_section_share_its_bound_of_log_lines() {
        let engine = wasmtime::Engine::default();
        let grants = Arc::new(Grants { provider: "p".to_owned(), ..Grants::default() });
        let logged = || grants.lines.0.lock().unwrap().1;
        let began = Instant::now();
        for stores in 1..=3 {
            let mut cell = Cell::new(&engine, Arc::clone(&grants), None);
            for _ in 0..LOG_LINES {
                let refused = cell.store.data_mut().hmac_sha256("x".to_owned(), secrets::KeyForm::Text, Vec::new());
                assert!(refused.is_err());
            }
            // What is counted goes back to nothing once a second.
            if began.elapsed() < Duration::from_millis(900) {
                assert_eq!(logged(), stores * (LOG_LINES + 1) - 1);
                assert!(!grants.lines.take("p"), "{stores} of them");
            }
        }
    }
}
