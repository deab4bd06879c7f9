//! One configured section of a plugin, as a [`Provider`].
//!
//! Owns which export serves which method. Deliberately knows no provider's protocol, and keeps no state between calls:
//! each call runs in a fresh Store.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::mpsc;

use super::caller::{Caller, Section, ask};
use super::service;
use crate::bindings::{SandboxProviderPre, guest};
use crate::convert;
use crate::load::error::LoadError;
use crate::load::plugin::Plugin;
use crate::store::State;
use sandbox_broker_core::sandbox::{
    Call, Command, Download, Entry, Location, Page, Process, Provider, Result, SandboxRef, Size, Spec, Terminal, Upload,
};

/// A sandbox provider that a component implements.
#[derive(Debug)]
pub struct ComponentProvider {
    isolation: Option<String>,
    caller: Caller<SandboxProviderPre<State>>,
}

impl ComponentProvider {
    /// A provider of this plugin and section.
    ///
    /// # Errors
    /// When the plugin is of another kind, or the system's root certificates
    /// cannot be read.
    pub fn new(plugin: Arc<Plugin>, mut section: Section) -> std::result::Result<Self, LoadError> {
        let world = plugin.sandbox()?.clone();
        let isolation = section.isolation.take();
        Ok(ComponentProvider { isolation, caller: Caller::new(plugin, world, section)? })
    }
}

#[async_trait]
impl Provider for ComponentProvider {
    fn name(&self) -> &str {
        &self.caller.name
    }

    fn isolation(&self) -> Option<&str> {
        self.isolation.as_deref()
    }

    async fn create(&self, call: &Call, spec: &Spec) -> Result<SandboxRef> {
        let spec = convert::to_spec(spec);
        let made = ask!(self.caller, call, "create", sandbox_broker_plugin_sandbox.call_create(spec)).await?;
        convert::sandbox_ref(made)
    }

    async fn connect(&self, call: &Call, sandbox: &SandboxRef, ttl: Duration) -> Result<SandboxRef> {
        let (s, ttl) = (convert::to_sandbox_ref(sandbox), convert::ttl(ttl));
        let now = ask!(self.caller, call, "connect", sandbox_broker_plugin_sandbox.call_connect(s, ttl)).await?;
        convert::sandbox_ref(now)
    }

    async fn extend(&self, call: &Call, sandbox: &SandboxRef, ttl: Duration) -> Result<()> {
        let (s, ttl) = (convert::to_sandbox_ref(sandbox), convert::ttl(ttl));
        ask!(self.caller, call, "extend", sandbox_broker_plugin_sandbox.call_extend(s, ttl)).await
    }

    async fn kill(&self, call: &Call, sandbox: &SandboxRef) -> Result<()> {
        let s = convert::to_sandbox_ref(sandbox);
        ask!(self.caller, call, "kill", sandbox_broker_plugin_sandbox.call_kill(s)).await
    }

    async fn list(&self, call: &Call, labels: &BTreeMap<String, String>, cursor: Option<String>) -> Result<Page> {
        let labels = convert::labels(labels);
        let page = ask!(self.caller, call, "list", sandbox_broker_plugin_sandbox.call_list(labels, cursor)).await?;
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
        let (call, config) = self.caller.head(call);
        service::terminal(&self.caller, "open", input, move |acc, guest, input| {
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
        let (call, config) = self.caller.head(call);
        service::terminal(&self.caller, "attach", input, move |acc, guest, input| {
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
        let (call, config) = self.caller.head(call);
        service::process(&self.caller, stdin, move |acc, guest, stdin| {
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
        let (call, config) = self.caller.head(call);
        service::download(&self.caller, move |acc, guest| {
            Box::pin(guest.sandbox_broker_plugin_files().call_read(acc, call, config, s, at, offset, length))
        })
        .await
    }

    async fn write(&self, call: &Call, sandbox: &SandboxRef, at: &Location, upload: Upload) -> Result<Entry> {
        let (s, at) = (convert::to_sandbox_ref(sandbox), convert::to_location(at));
        let (call, config) = self.caller.head(call);
        service::upload(&self.caller, upload, move |acc, guest, size, data, complete| {
            Box::pin(guest.sandbox_broker_plugin_files().call_write(acc, call, config, s, at, size, data, complete))
        })
        .await
    }

    async fn list_dir(&self, call: &Call, sandbox: &SandboxRef, at: &Location) -> Result<Vec<Entry>> {
        let (s, at) = (convert::to_sandbox_ref(sandbox), convert::to_location(at));
        let found: Vec<guest::files::Entry> =
            ask!(self.caller, call, "list files", sandbox_broker_plugin_files.call_list(s, at)).await?;
        Ok(found.into_iter().map(convert::entry).collect())
    }

    async fn stat(&self, call: &Call, sandbox: &SandboxRef, at: &Location) -> Result<Entry> {
        let (s, at) = (convert::to_sandbox_ref(sandbox), convert::to_location(at));
        ask!(self.caller, call, "stat", sandbox_broker_plugin_files.call_stat(s, at)).await.map(convert::entry)
    }

    async fn remove(&self, call: &Call, sandbox: &SandboxRef, at: &Location) -> Result<()> {
        let (s, at) = (convert::to_sandbox_ref(sandbox), convert::to_location(at));
        ask!(self.caller, call, "remove", sandbox_broker_plugin_files.call_remove(s, at)).await
    }

    async fn make_dir(&self, call: &Call, sandbox: &SandboxRef, at: &Location) -> Result<Entry> {
        let (s, at) = (convert::to_sandbox_ref(sandbox), convert::to_location(at));
        ask!(self.caller, call, "make-dir", sandbox_broker_plugin_files.call_make_dir(s, at)).await.map(convert::entry)
    }

    async fn rename(&self, call: &Call, sandbox: &SandboxRef, source: &Location, destination: &str) -> Result<Entry> {
        let (s, at) = (convert::to_sandbox_ref(sandbox), convert::to_location(source));
        let destination = destination.to_owned();
        ask!(self.caller, call, "rename", sandbox_broker_plugin_files.call_rename(s, at, destination))
            .await
            .map(convert::entry)
    }
}

#[cfg(test)]
mod tests;
