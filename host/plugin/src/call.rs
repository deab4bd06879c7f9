//! One configured section of a plugin: calls into its code.
//!
//! Owns the deadlines around calls and the words for a plugin that trapped,
//! looped or hung; each call runs in a fresh Store. Deliberately knows no
//! call of the contract's exports.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use wasmtime::Store;
use wasmtime::component::Accessor;

use super::bindings::host::types as wit;
use super::bindings::storage::{StorageProvider, StorageProviderPre};
use super::bindings::{SandboxProvider, SandboxProviderPre};
use super::convert;
use super::engine::{LoadError, Plugin};
use super::keyring::Secrets;
use super::net::Sender;
use super::state::{Cell, Grants, Meter, State};
use sandbox_broker_config::{Limits, settings_of};
use sandbox_broker_core::sandbox::{Call, Code, Error, Fault, Result};
use sandbox_broker_core::words::clean;

/// What the configuration says of one provider.
#[derive(Debug)]
pub struct Section {
    /// Its name in the configuration.
    pub name: String,
    /// The plugin's own configuration, valid by its schema.
    pub config: serde_json::Value,
    /// Origins that may be reached.
    pub allow: Vec<sandbox_broker_config::Grant>,
    /// Whether granted names may lead to private addresses.
    pub allow_private: bool,
    /// Secrets that the host fills in.
    pub secrets: Secrets,
    /// Names of secrets that may be handed to the plugin.
    pub reveal: Vec<String>,
    /// What one instance may use.
    pub limits: Limits,
    /// What a person should know about the sandboxes' isolation.
    pub isolation: Option<String>,
    /// Whether its settings hold `{user}`, for the name of whoever's session
    /// it is.
    pub per_user: bool,
    /// The Unix socket that requests to `http://localhost` go to, where the
    /// broker runs the provider itself.
    pub socket: Option<std::path::PathBuf>,
}

/// The exports of one of the contract's worlds, found in a component.
pub(super) trait World: Clone + Send + Sync + 'static {
    /// An instance's exports.
    type Exports: Send + Sync + 'static;

    /// Makes an instance.
    fn instantiate(&self, store: &mut Store<State>) -> impl Future<Output = wasmtime::Result<Self::Exports>> + Send;
}

impl World for SandboxProviderPre<State> {
    type Exports = SandboxProvider;

    async fn instantiate(&self, store: &mut Store<State>) -> wasmtime::Result<SandboxProvider> {
        self.instantiate_async(store).await
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
    // First, so that it is dropped last: see `Cell`.
    guest: E,
    cell: Cell,
}

impl<E: Send + Sync> Instance<E> {
    pub(super) fn meter(&self) -> Arc<Meter> {
        self.cell.meter.clone()
    }

    /// Runs `f` in the Store until it ends or the future is dropped. Drops
    /// the Store before any error is put into words, which would otherwise
    /// keep its connections open meanwhile.
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
            let Instance { guest, cell } = &mut self;
            let meter = cell.meter.clone();
            let done = meter.watch(pin!(cell.store.run_concurrent(async |acc| f(acc, guest).await))).await;
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
    per_user: bool,
    /// Around every call that answers once.
    deadline: Duration,
    pub(super) grants: Arc<Grants>,
    pub(super) sender: Arc<Sender>,
}

impl<W> std::fmt::Debug for Caller<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Caller").field("name", &self.name).field("plugin", &self.plugin).finish_non_exhaustive()
    }
}

impl<W: World> Caller<W> {
    /// Calls into `plugin`, whose exports are those of `world`.
    ///
    /// # Errors
    /// When the system's root certificates cannot be read.
    pub(super) fn new(plugin: Arc<Plugin>, world: W, section: Section) -> std::result::Result<Self, LoadError> {
        let grants = Arc::new(Grants {
            provider: section.name.clone(),
            secrets: section.secrets,
            reveal: section.reveal.into_iter().collect(),
            memory: usize::try_from(section.limits.memory).unwrap_or(usize::MAX),
            cpu: section.limits.cpu,
            ..Grants::default()
        });
        let sender = Sender::new(section.allow, section.allow_private, section.socket, grants.clone());
        let sender = sender.map_err(LoadError::Certificates)?;
        Ok(Caller {
            name: section.name,
            plugin,
            world,
            config: section.config,
            per_user: section.per_user,
            deadline: section.limits.call_timeout,
            grants,
            sender: Arc::new(sender),
        })
    }

    /// The first two parameters of every export but those of the manifest.
    pub(super) fn head(&self, call: &Call) -> (wit::Call, String) {
        use std::sync::atomic::{AtomicU64, Ordering};
        static NEXT: AtomicU64 = AtomicU64::new(1);
        // For the provider's request logs, unique in this process.
        let id = format!("call-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let config = match &call.user {
            Some(user) if self.per_user => settings_of(user, &self.config).to_string(),
            _ => self.config.to_string(),
        };
        (convert::call(id, call), config)
    }

    pub(super) async fn instance(&self) -> Result<Instance<W::Exports>> {
        let mut cell = Cell::new(&self.plugin.engine, self.grants.clone(), Some(self.sender.clone()));
        let meter = cell.meter.clone();
        let guest = meter.watch(pin!(self.world.instantiate(&mut cell.store))).await;
        match guest {
            Ok(guest) => Ok(Instance { guest, cell }),
            Err(e) => {
                drop(cell);
                Err(self.trapped("start", &meter, &e))
            }
        }
    }

    /// Words for a guest that was stopped.
    pub(super) fn trapped(&self, what: &str, meter: &Meter, error: &wasmtime::Error) -> Error {
        Broken { provider: &self.name, plugin: &self.plugin.description.id }.explain(what, meter, error)
    }

    /// The time that a call may take.
    pub(super) fn deadline(&self) -> Duration {
        self.deadline
    }

    /// The deadline around a call has passed.
    pub(super) fn late(&self, what: &str) -> Error {
        let (name, seconds) = (&self.name, self.deadline.as_secs_f64());
        let message = format!("the provider `{name}` did not answer `{what}` within {seconds} s");
        Error::new(Fault::Provider, Code::DeadlineExceeded, message)
    }

    pub(super) fn id(&self) -> (String, String) {
        (self.name.clone(), self.plugin.description.id.clone())
    }

    /// One call, its deadline around it, its two kinds of failure told apart.
    pub(super) async fn ask<R, F>(&self, what: &'static str, f: F) -> Result<R>
    where
        R: Send,
        F: for<'a> FnOnce(&'a Accessor<State>, &'a W::Exports) -> Guest<'a, std::result::Result<R, wit::Error>> + Send,
    {
        let instance = self.instance().await?;
        let meter = instance.meter();
        let asked = async {
            match instance.run(f).await {
                Ok(Ok(value)) => Ok(value),
                Ok(Err(e)) => Err(convert::error(e)),
                Err(e) => Err(self.trapped(what, &meter, &e)),
            }
        };
        self.in_time(what, asked).await
    }

    /// The deadline of a call around `work`.
    pub(super) async fn in_time<R>(&self, what: &str, work: impl Future<Output = Result<R>>) -> Result<R> {
        tokio::time::timeout(self.deadline, work).await.unwrap_or_else(|_| Err(self.late(what)))
    }
}

/// Whose guest was stopped.
pub(super) struct Broken<'a> {
    pub(super) provider: &'a str,
    pub(super) plugin: &'a str,
}

impl Broken<'_> {
    pub(super) fn explain(&self, what: &str, meter: &Meter, error: &wasmtime::Error) -> Error {
        let Broken { provider, plugin } = self;
        let why = if meter.out_of_memory() {
            "it asked for more memory than its limit".to_owned()
        } else if meter.out_of_time() {
            "it used one second of CPU without giving way".to_owned()
        } else {
            clean(&error.root_cause().to_string(), convert::DETAIL_BYTES)
        };
        tracing::error!(%provider, %plugin, call = what, error = %format_args!("{error:#}"), "plugin stopped");
        Error::new(
            Fault::Plugin,
            Code::Internal,
            format!("the plugin `{plugin}` of provider `{provider}` failed in `{what}` and was stopped: {why}"),
        )
    }
}

/// A call of one exported function: `ask!(caller, call, name, interface
/// . function (arguments…))`, with the head before the arguments.
macro_rules! ask {
    ($caller:expr, $call:ident, $what:literal, $interface:ident . $function:ident ( $($argument:expr),* )) => {{
        let (call, config) = $caller.head($call);
        $caller.ask($what, move |acc, guest| Box::pin(async move {
            guest.$interface().$function(acc, call, config, $($argument),*).await
        }))
    }};
}
pub(super) use ask;
