//! One configured section of a plugin, as a [`Provider`].
//!
//! Owns the deadlines around calls and the words for a plugin that trapped,
//! looped or hung. Deliberately knows no provider's protocol and keeps no
//! state between calls: each runs in a fresh Store.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::mpsc;
use wasmtime::component::Accessor;

use super::bindings::host::types as wit;
use super::bindings::{SandboxProvider, guest};
use super::convert;
use super::engine::Plugin;
use super::net::Sender;
use super::service;
use super::state::{Cell, Grants, Meter, State};
use crate::config::Limits;
use crate::sandbox::{
    Call, Code, Command, Download, Entry, Error, Fault, Location, Page, Process, Provider, Result, SandboxRef, Size,
    Spec, Terminal, Upload,
};

/// What the configuration says of one provider.
#[derive(Debug)]
pub struct Section {
    /// Its name in the configuration.
    pub name: String,
    /// The plugin's own configuration, valid by its schema.
    pub config: serde_json::Value,
    /// Origins that may be reached.
    pub allow: Vec<crate::config::Grant>,
    /// Whether granted names may lead to private addresses.
    pub allow_private: bool,
    /// Secrets that the host fills in.
    pub secrets: BTreeMap<String, crate::secret::Secret>,
    /// Names of secrets that may be handed to the plugin.
    pub reveal: Vec<String>,
    /// What one instance may use.
    pub limits: Limits,
    /// What a person should know about the sandboxes' isolation.
    pub isolation: Option<String>,
}

/// A sandbox provider that a component implements.
pub struct ComponentProvider {
    name: String,
    isolation: Option<String>,
    plugin: Arc<Plugin>,
    config: String,
    /// Around every call that answers once.
    deadline: Duration,
    grants: Arc<Grants>,
    sender: Arc<Sender>,
}

impl std::fmt::Debug for ComponentProvider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ComponentProvider")
            .field("name", &self.name)
            .field("plugin", &self.plugin)
            .finish_non_exhaustive()
    }
}

/// A call into a guest, boxed because it borrows the Store that runs it.
pub(super) type Guest<'a, R> = Pin<Box<dyn Future<Output = wasmtime::Result<R>> + Send + 'a>>;

/// An instance in a Store of its own.
pub(super) struct Instance {
    // First, so that it is dropped last: see `Cell`.
    guest: SandboxProvider,
    cell: Cell,
}

impl Instance {
    pub(super) fn meter(&self) -> Arc<Meter> {
        self.cell.meter.clone()
    }

    /// Runs `f` in the Store until it ends or the future is dropped. Drops
    /// the Store before any error is put into words, which would otherwise
    /// keep its connections open meanwhile.
    pub(super) async fn run<R, F>(mut self, f: F) -> std::result::Result<R, wasmtime::Error>
    where
        R: Send,
        F: for<'a> FnOnce(&'a Accessor<State>, &'a SandboxProvider) -> Guest<'a, R> + Send,
    {
        let Instance { guest, cell } = &mut self;
        let meter = cell.meter.clone();
        let done = meter.watch(cell.store.run_concurrent(async |acc| f(acc, guest).await)).await;
        drop(self);
        done.and_then(|r| r)
    }
}

impl ComponentProvider {
    /// A provider of this plugin and section.
    ///
    /// # Errors
    /// When the system's root certificates cannot be read.
    pub fn new(plugin: Arc<Plugin>, section: Section) -> std::io::Result<Self> {
        let grants = Arc::new(Grants {
            provider: section.name.clone(),
            secrets: section.secrets,
            reveal: section.reveal.into_iter().collect(),
            memory: usize::try_from(section.limits.memory).unwrap_or(usize::MAX),
            cpu: section.limits.cpu,
        });
        let sender = Arc::new(Sender::new(section.allow, section.allow_private, grants.clone())?);
        Ok(ComponentProvider {
            name: section.name,
            isolation: section.isolation,
            plugin,
            config: section.config.to_string(),
            deadline: section.limits.call_timeout,
            grants,
            sender,
        })
    }

    pub(super) fn config(&self) -> String {
        self.config.clone()
    }

    pub(super) async fn instance(&self) -> Result<Instance> {
        let mut cell = Cell::new(&self.plugin.engine, self.grants.clone(), Some(self.sender.clone()));
        let meter = cell.meter.clone();
        match meter.watch(self.plugin.pre.instantiate_async(&mut cell.store)).await {
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
    async fn ask<R, F>(&self, what: &'static str, f: F) -> Result<R>
    where
        R: Send,
        F: for<'a> FnOnce(&'a Accessor<State>, &'a SandboxProvider) -> Guest<'a, std::result::Result<R, wit::Error>>
            + Send,
    {
        let instance = self.instance().await?;
        let meter = instance.meter();
        match tokio::time::timeout(self.deadline, instance.run(f)).await {
            Ok(Ok(Ok(value))) => Ok(value),
            Ok(Ok(Err(e))) => Err(convert::error(e)),
            Ok(Err(e)) => Err(self.trapped(what, &meter, &e)),
            Err(_) => Err(self.late(what)),
        }
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
            convert::clean(&error.root_cause().to_string(), convert::DETAIL_BYTES)
        };
        tracing::error!(%provider, %plugin, call = what, error = %format_args!("{error:#}"), "plugin stopped");
        Error::new(
            Fault::Plugin,
            Code::Internal,
            format!("the plugin `{plugin}` of provider `{provider}` failed in `{what}` and was stopped: {why}"),
        )
    }
}

/// A number for the provider's request logs, unique in this process.
pub(super) fn call_id() -> String {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(1);
    format!("call-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A call of one exported function: `ask!(self, call, name, interface
/// . function (arguments…))`. The first two parameters, call and configuration,
/// are the same everywhere.
macro_rules! ask {
    ($self:ident, $call:ident, $what:literal, $interface:ident . $function:ident ( $($argument:expr),* )) => {{
        let (call, config) = (convert::call(call_id(), $call), $self.config());
        $self.ask($what, move |acc, guest| Box::pin(async move {
            guest.$interface().$function(acc, call, config, $($argument),*).await
        }))
    }};
}

#[async_trait]
impl Provider for ComponentProvider {
    fn name(&self) -> &str {
        &self.name
    }

    fn isolation(&self) -> Option<&str> {
        self.isolation.as_deref()
    }

    async fn create(&self, call: &Call, spec: &Spec) -> Result<SandboxRef> {
        let spec = convert::to_spec(spec);
        let made = ask!(self, call, "create", sandbox_broker_plugin_sandbox.call_create(spec)).await?;
        convert::sandbox_ref(made)
    }

    async fn connect(&self, call: &Call, sandbox: &SandboxRef, ttl: Duration) -> Result<SandboxRef> {
        let (s, ttl) = (convert::to_sandbox_ref(sandbox), convert::ttl(ttl));
        let now = ask!(self, call, "connect", sandbox_broker_plugin_sandbox.call_connect(s, ttl)).await?;
        convert::sandbox_ref(now)
    }

    async fn extend(&self, call: &Call, sandbox: &SandboxRef, ttl: Duration) -> Result<()> {
        let (s, ttl) = (convert::to_sandbox_ref(sandbox), convert::ttl(ttl));
        ask!(self, call, "extend", sandbox_broker_plugin_sandbox.call_extend(s, ttl)).await
    }

    async fn kill(&self, call: &Call, sandbox: &SandboxRef) -> Result<()> {
        let s = convert::to_sandbox_ref(sandbox);
        ask!(self, call, "kill", sandbox_broker_plugin_sandbox.call_kill(s)).await
    }

    async fn list(&self, call: &Call, labels: &BTreeMap<String, String>, cursor: Option<String>) -> Result<Page> {
        let labels = convert::labels(labels);
        let page = ask!(self, call, "list", sandbox_broker_plugin_sandbox.call_list(labels, cursor)).await?;
        convert::page(page)
    }

    async fn open(
        &self,
        call: &Call,
        sandbox: &SandboxRef,
        command: &Command,
        size: Size,
        input: mpsc::Receiver<Bytes>,
    ) -> Result<Terminal> {
        let (s, spec) = (convert::to_sandbox_ref(sandbox), convert::to_pty_spec(command, size));
        let (call, config) = (convert::call(call_id(), call), self.config());
        service::terminal(self, "open", input, move |acc, guest, input| {
            Box::pin(guest.sandbox_broker_plugin_terminal().call_open(acc, call, config, s, spec, input))
        })
        .await
    }

    async fn attach(
        &self,
        call: &Call,
        sandbox: &SandboxRef,
        pty: &str,
        input: mpsc::Receiver<Bytes>,
    ) -> Result<Terminal> {
        let (s, pty) = (convert::to_sandbox_ref(sandbox), pty.to_owned());
        let (call, config) = (convert::call(call_id(), call), self.config());
        service::terminal(self, "attach", input, move |acc, guest, input| {
            Box::pin(guest.sandbox_broker_plugin_terminal().call_attach(acc, call, config, s, pty, input))
        })
        .await
    }

    async fn run(
        &self,
        call: &Call,
        sandbox: &SandboxRef,
        command: &Command,
        stdin: mpsc::Receiver<Bytes>,
    ) -> Result<Process> {
        let (s, command) = (convert::to_sandbox_ref(sandbox), convert::to_command(command));
        let (call, config) = (convert::call(call_id(), call), self.config());
        service::process(self, stdin, move |acc, guest, stdin| {
            Box::pin(guest.sandbox_broker_plugin_exec().call_run(acc, call, config, s, command, stdin))
        })
        .await
    }

    async fn read(
        &self,
        call: &Call,
        sandbox: &SandboxRef,
        at: &Location,
        offset: u64,
        length: Option<u64>,
    ) -> Result<Download> {
        let (s, at) = (convert::to_sandbox_ref(sandbox), convert::to_location(at));
        let (call, config) = (convert::call(call_id(), call), self.config());
        service::download(self, move |acc, guest| {
            Box::pin(guest.sandbox_broker_plugin_files().call_read(acc, call, config, s, at, offset, length))
        })
        .await
    }

    async fn write(&self, call: &Call, sandbox: &SandboxRef, at: &Location, upload: Upload) -> Result<Entry> {
        let (s, at) = (convert::to_sandbox_ref(sandbox), convert::to_location(at));
        let (call, config) = (convert::call(call_id(), call), self.config());
        service::upload(self, upload, move |acc, guest, size, data, complete| {
            Box::pin(guest.sandbox_broker_plugin_files().call_write(acc, call, config, s, at, size, data, complete))
        })
        .await
    }

    async fn list_dir(&self, call: &Call, sandbox: &SandboxRef, at: &Location) -> Result<Vec<Entry>> {
        let (s, at) = (convert::to_sandbox_ref(sandbox), convert::to_location(at));
        let found: Vec<guest::files::Entry> =
            ask!(self, call, "list files", sandbox_broker_plugin_files.call_list(s, at)).await?;
        Ok(found.into_iter().map(convert::entry).collect())
    }

    async fn stat(&self, call: &Call, sandbox: &SandboxRef, at: &Location) -> Result<Entry> {
        let (s, at) = (convert::to_sandbox_ref(sandbox), convert::to_location(at));
        ask!(self, call, "stat", sandbox_broker_plugin_files.call_stat(s, at)).await.map(convert::entry)
    }

    async fn remove(&self, call: &Call, sandbox: &SandboxRef, at: &Location) -> Result<()> {
        let (s, at) = (convert::to_sandbox_ref(sandbox), convert::to_location(at));
        ask!(self, call, "remove", sandbox_broker_plugin_files.call_remove(s, at)).await
    }

    async fn make_dir(&self, call: &Call, sandbox: &SandboxRef, at: &Location) -> Result<Entry> {
        let (s, at) = (convert::to_sandbox_ref(sandbox), convert::to_location(at));
        ask!(self, call, "make-dir", sandbox_broker_plugin_files.call_make_dir(s, at)).await.map(convert::entry)
    }

    async fn rename(&self, call: &Call, sandbox: &SandboxRef, source: &Location, destination: &str) -> Result<Entry> {
        let (s, at) = (convert::to_sandbox_ref(sandbox), convert::to_location(source));
        let destination = destination.to_owned();
        ask!(self, call, "rename", sandbox_broker_plugin_files.call_rename(s, at, destination))
            .await
            .map(convert::entry)
    }
}

#[cfg(test)]
mod tests;
