//! One configured section of a plugin: calls into its code.
//!
//! Owns the deadlines around calls and the words for a plugin that trapped, looped or hung. Each call runs in a fresh
//! Store. Deliberately knows no call of the contract's exports.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use wasmtime::Store;
use wasmtime::component::Accessor;

use super::trace::{traced, traceparent};
use crate::bindings::host::types as wit;
use crate::bindings::storage::{StorageProvider, StorageProviderPre};
use crate::convert;
use crate::load::error::LoadError;
use crate::load::exports::{SandboxExports, SandboxPre};
use crate::load::plugin::Plugin;
use crate::net::sender::Sender;
use crate::permissions::Permissions;
use crate::store::meter::Meter;
use crate::store::{GuestStore, State};
use crate::totals::Totals;
use sandbox_broker_config::{PluginLimits, Tls, settings_of};
use sandbox_broker_core::sandbox::{Call, Code, Error, Fault, Result};
use sandbox_broker_secrets::Secrets;
use sandbox_stdx::words::clean;

/// Bytes of a guest's trap, with the functions that led to it, that are logged.
const TRACE_BYTES: usize = 4 << 10;

/// What the configuration says of one provider.
#[derive(Debug)]
pub struct Section {
    /// Its name in the configuration.
    pub name: String,
    /// The plugin's own configuration, valid by its schema.
    pub config: serde_json::Value,
    /// Origins that may be reached.
    pub allow: Vec<sandbox_broker_config::EgressGrant>,
    /// Whether granted names may lead to private addresses.
    pub allow_private: bool,
    /// Whom TLS trusts, and what the host shows.
    pub tls: Tls,
    /// Secrets that the host fills in.
    pub secrets: Secrets,
    /// Names of secrets that may be handed to the plugin.
    pub reveal: Vec<String>,
    /// What one instance may use.
    pub limits: PluginLimits,
    /// What a person should know about the sandboxes' isolation.
    pub isolation: Option<String>,
    /// Whether its settings hold `{user}`, which stands for the name of the session's user.
    pub per_user: bool,
    /// The Unix socket that requests to `http://localhost` go to, when the broker runs the provider itself.
    pub socket: Option<std::path::PathBuf>,
}

/// The exports of one of the contract's worlds, found in a component.
pub(super) trait World: Clone + Send + Sync + 'static {
    /// An instance's exports.
    type Exports: Send + Sync + 'static;

    /// Makes an instance.
    fn instantiate(&self, store: &mut Store<State>) -> impl Future<Output = wasmtime::Result<Self::Exports>> + Send;
}

impl World for SandboxPre {
    type Exports = SandboxExports;

    async fn instantiate(&self, store: &mut Store<State>) -> wasmtime::Result<SandboxExports> {
        SandboxPre::instantiate(self, store).await
    }
}

impl World for StorageProviderPre<State> {
    type Exports = StorageProvider;

    async fn instantiate(&self, store: &mut Store<State>) -> wasmtime::Result<StorageProvider> {
        self.instantiate_async(store).await
    }
}

/// A call into a guest, boxed because it borrows the Store that runs it.
pub(super) type Guest<'a, R> = Pin<Box<dyn Future<Output = wasmtime::Result<R>> + Send + 'a>>;

/// An instance in a Store of its own.
pub(super) struct Instance<E> {
    guest: E,
    guest_store: GuestStore,
}

impl<E: Send + Sync> Instance<E> {
    pub(super) fn meter(&self) -> Arc<Meter> {
        self.guest_store.meter.clone()
    }

    /// Runs `f` in the Store until it ends or the future is dropped. Drops the Store before any error is put into words,
    /// so that its connections close first.
    #[expect(
        clippy::manual_async_fn,
        reason = "an `async fn` would hold the instance twice, as long as a terminal lives"
    )]
    pub(super) fn run<R, F>(mut self, f: F) -> impl Future<Output = wasmtime::Result<R>> + Send
    where
        R: Send,
        F: for<'a> FnOnce(&'a Accessor<State>, &'a E) -> Guest<'a, R> + Send,
    {
        async move {
            let Instance { guest, guest_store } = &mut self;
            let meter = guest_store.meter.clone();
            let done = meter.watch(pin!(guest_store.store.run_concurrent(async |acc| f(acc, guest).await))).await;
            drop(self);
            done.and_then(|r| r)
        }
    }
}

/// Calls into the plugin of one section.
pub(super) struct Caller<W> {
    pub(super) name: String,
    plugin: Arc<Plugin>,
    world: W,
    config: serde_json::Value,
    /// Around every call that answers once.
    deadline: Duration,
    pub(super) permissions: Arc<Permissions>,
    pub(super) sender: Arc<Sender>,
}

impl<W> std::fmt::Debug for Caller<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Caller").field("name", &self.name).field("plugin", &self.plugin).finish_non_exhaustive()
    }
}

fn bytes(limit: u64) -> usize {
    usize::try_from(limit).unwrap_or(usize::MAX)
}

impl<W: World> Caller<W> {
    /// Calls into `plugin`, whose exports are those of `world`.
    ///
    /// # Errors
    /// When it needs more memory than the section allows, or the system's root certificates cannot be read.
    pub(super) fn new(plugin: Arc<Plugin>, world: W, section: Section) -> std::result::Result<Self, LoadError> {
        let (least, memory) = (plugin.footprint.least(), section.limits.memory);
        if least > memory {
            return Err(LoadError::Memory { plugin: plugin.description.id.clone(), least, memory });
        }
        let permissions = Arc::new(Permissions {
            provider: section.name.clone(),
            secrets: section.secrets,
            reveal: section.reveal.into_iter().collect(),
            per_user: section.per_user,
            memory: bytes(section.limits.memory),
            cpu: section.limits.cpu,
            totals: Totals::of(bytes(section.limits.total_memory)),
            ..Permissions::default()
        });
        let sender =
            Sender::new(section.allow, section.allow_private, section.socket, &section.tls, permissions.clone());
        let sender = sender.map_err(LoadError::Certificates)?;
        Ok(Caller {
            name: section.name,
            plugin,
            world,
            config: section.config,
            deadline: section.limits.call_timeout,
            permissions,
            sender: Arc::new(sender),
        })
    }

    /// The call with a `traceparent` of its own, and the first two parameters of every export but those of the manifest:
    /// the call, for which so much time is left, and the settings.
    pub(super) fn head(&self, call: &Call, left: Duration) -> (Call, wit::Call, String) {
        use std::sync::atomic::{AtomicU64, Ordering};
        static NEXT: AtomicU64 = AtomicU64::new(1);
        // It appears in the provider's request logs, so it is unique in this process.
        let id = format!("call-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let config = match &call.user {
            Some(user) if self.permissions.per_user => settings_of(user, &self.config).to_string(),
            _ => self.config.to_string(),
        };
        let call = Call { traceparent: Some(traceparent(call.session.as_deref())), ..call.clone() };
        let head = convert::call(id, &call, left);
        (call, head, config)
    }

    /// An instance for this call.
    pub(super) async fn instance(&self, call: &Call) -> Result<Instance<W::Exports>> {
        let (permissions, sender) = (self.permissions.clone(), Some(self.sender.clone()));
        let mut guest_store = GuestStore::new(&self.plugin.engine, self.plugin.footprint, permissions, sender, call);
        let meter = guest_store.meter.clone();
        let guest = meter.watch(pin!(self.world.instantiate(&mut guest_store.store))).await;
        match guest {
            Ok(guest) => Ok(Instance { guest, guest_store }),
            Err(e) => {
                drop(guest_store);
                Err(self.stopped("start", &meter, &e))
            }
        }
    }

    /// The error for a guest that was stopped.
    pub(super) fn stopped(&self, what: &str, meter: &Meter, error: &wasmtime::Error) -> Error {
        StoppedGuest { provider: &self.name, plugin: &self.plugin.description.id }.report(what, meter, error)
    }

    /// The time that a call may take.
    pub(super) fn deadline(&self) -> Duration {
        self.deadline
    }

    /// The error of a call whose deadline has passed.
    pub(super) fn late(&self, what: &str) -> Error {
        let (name, seconds) = (&self.name, self.deadline.as_secs_f64());
        let message = format!("the provider `{name}` did not answer `{what}` within {seconds} s");
        Error::new(Fault::Provider, Code::DeadlineExceeded, message)
    }

    /// Name of the section and id of the plugin.
    pub(super) fn id(&self) -> (String, String) {
        (self.name.clone(), self.plugin.description.id.clone())
    }

    /// One call within its deadline. Tells an error that the plugin returned from a plugin that was stopped.
    pub(super) async fn ask<R, F>(&self, call: Call, what: &'static str, f: F) -> Result<R>
    where
        R: Send,
        F: for<'a> FnOnce(&'a Accessor<State>, &'a W::Exports) -> Guest<'a, std::result::Result<R, wit::Error>> + Send,
    {
        let instance = self.instance(&call).await.map_err(|e| traced(&call, e))?;
        let meter = instance.meter();
        let asked = async {
            match instance.run(f).await {
                Ok(Ok(value)) => Ok(value),
                Ok(Err(e)) => Err(convert::error(e)),
                Err(e) => Err(self.stopped(what, &meter, &e)),
            }
        };
        self.in_time(what, asked).await.map_err(|e| traced(&call, e))
    }

    /// Runs `work` within the deadline of a call.
    pub(super) async fn in_time<R>(&self, what: &str, work: impl Future<Output = Result<R>>) -> Result<R> {
        tokio::time::timeout(self.deadline, work).await.unwrap_or_else(|_| Err(self.late(what)))
    }
}

/// A guest that was stopped: whose it was.
pub(super) struct StoppedGuest<'a> {
    pub(super) provider: &'a str,
    pub(super) plugin: &'a str,
}

impl StoppedGuest<'_> {
    /// Logs why the guest was stopped, and returns the error for the caller.
    pub(super) fn report(&self, what: &str, meter: &Meter, error: &wasmtime::Error) -> Error {
        let StoppedGuest { provider, plugin } = self;
        let why = meter.reason().unwrap_or_else(|| clean(&error.root_cause().to_string(), convert::DETAIL_BYTES));
        let error = trace(error);
        tracing::error!(%provider, %plugin, call = what, %error, "plugin stopped");
        Error::new(
            Fault::Plugin,
            Code::Internal,
            format!("the plugin `{plugin}` of provider `{provider}` failed in `{what}` and was stopped: {why}"),
        )
    }
}

/// A guest's trap on one line of bounded length. The plugin names its functions, and a trap lists them.
fn trace(error: &wasmtime::Error) -> String {
    clean(&format!("{error:#}"), TRACE_BYTES)
}

/// Calls one exported function: `ask!(caller, call, name, interface . function (arguments…))`. It puts the call and the
/// settings before the arguments, as every export but those of the manifest expects. With `within DURATION` before the
/// interface, that much time is left for the call.
macro_rules! ask {
    ($caller:expr, $call:ident, $what:literal, within $left:expr, $interface:ident . $function:ident ( $($argument:expr),* )) => {{
        let (call, head, config) = $caller.head($call, $left);
        $caller.ask(call, $what, move |acc, guest| Box::pin(async move {
            guest.$interface().$function(acc, head, config, $($argument),*).await
        }))
    }};
    ($caller:expr, $call:ident, $what:literal, $($rest:tt)*) => {
        ask!($caller, $call, $what, within $caller.deadline(), $($rest)*)
    };
}
pub(super) use ask;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trap_is_logged_on_one_line_however_the_plugin_names_its_functions() {
        let named = format!("0: 0x12 - m!f\n2026-01-01 INFO forged\u{1b}[2J{}", "x".repeat(1 << 20));
        let line = trace(&wasmtime::Error::msg("unreachable").context(named));
        assert!(line.len() <= TRACE_BYTES && !line.contains(['\n', '\u{1b}']), "{} bytes", line.len());
    }
}
