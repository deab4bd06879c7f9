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
use super::process::{self, Owner};
use super::trace::traced;
use super::transfer;
use crate::convert;
use crate::load::error::LoadError;
use crate::load::exports::SandboxPre;
use crate::load::plugin::Plugin;
use sandbox_broker_core::abilities::Abilities;
use sandbox_broker_core::sandbox::{
    Call, Code, Command, Download, Entries, Entry, Error, Fault, Location, Page, Process, Provider, Result, Route,
    SandboxRef, Size, Spec, Terminal, Upload,
};

/// A sandbox provider that a component implements.
#[derive(Debug)]
pub struct ComponentProvider {
    isolation: Option<String>,
    abilities: Abilities,
    caller: Arc<Caller<SandboxPre>>,
}

impl ComponentProvider {
    /// A provider of this plugin and section.
    ///
    /// # Errors
    /// When the plugin is of another kind, or the system's root certificates
    /// cannot be read.
    pub fn new(plugin: Arc<Plugin>, mut section: Section) -> std::result::Result<Self, LoadError> {
        let (world, abilities) = plugin.sandbox()?;
        let world = world.clone();
        let isolation = section.isolation.take();
        Ok(ComponentProvider { isolation, abilities, caller: Arc::new(Caller::new(plugin, world, section)?) })
    }

    fn owner<'a>(&'a self, call: &'a Call, sandbox: &'a SandboxRef) -> Owner<'a> {
        Owner { caller: &self.caller, call, sandbox }
    }

    /// Fails unless the plugin exports an interface that a method needs.
    fn needs(&self, exported: bool, interface: &str) -> Result<()> {
        if exported {
            return Ok(());
        }
        let (provider, plugin) = self.caller.id();
        let message = format!(
            "the provider `{provider}` cannot do this: its plugin `{plugin}` does not export the interface `{interface}`"
        );
        Err(Error::new(Fault::Operator, Code::Unimplemented, message))
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

    fn abilities(&self) -> Abilities {
        self.abilities
    }

    async fn create(&self, call: &Call, spec: &Spec) -> Result<SandboxRef> {
        if !spec.choices.volumes.is_empty() {
            self.needs(self.abilities.volumes, "volumes")?;
        }
        let spec = convert::to_spec(spec)?;
        let made = ask!(self.caller, call, "create", sandbox.call_create(spec)).await?;
        convert::sandbox_ref(made)
    }

    async fn connect(&self, call: &Call, sandbox: &SandboxRef, ttl: Duration) -> Result<SandboxRef> {
        let (s, ttl) = (convert::to_sandbox_ref(sandbox), convert::ttl(ttl));
        let now = ask!(self.caller, call, "connect", sandbox.call_connect(s, ttl)).await?;
        convert::sandbox_ref(now)
    }

    async fn extend(&self, call: &Call, sandbox: &SandboxRef, ttl: Duration) -> Result<SandboxRef> {
        self.needs(self.abilities.lease.is_renewed(), "lease")?;
        let (s, ttl) = (convert::to_sandbox_ref(sandbox), convert::ttl(ttl));
        let now = ask!(self.caller, call, "extend", lease.call_extend(s, ttl)).await?;
        convert::sandbox_ref(now)
    }

    async fn kill(&self, call: &Call, sandbox: &SandboxRef) -> Result<()> {
        let s = convert::to_sandbox_ref(sandbox);
        ask!(self.caller, call, "kill", sandbox.call_kill(s)).await
    }

    async fn list(&self, call: &Call, labels: &BTreeMap<String, String>, cursor: Option<String>) -> Result<Page> {
        let labels = convert::labels(labels);
        let page = ask!(self.caller, call, "list", sandbox.call_list(labels, cursor)).await?;
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
        self.needs(self.abilities.terminal, "terminal")?;
        let (s, spec) = (convert::to_sandbox_ref(sandbox), convert::to_pty_spec(command, size)?);
        let (call, head, config) = self.caller.head(call, self.caller.deadline());
        process::terminal(self.owner(&call, sandbox), "open", input, move |acc, guest, input| {
            Box::pin(guest.terminal().call_open(acc, head, config, s, spec, input))
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
        self.needs(self.abilities.terminal, "terminal")?;
        if !self.abilities.reattach {
            let message = format!("the provider `{}` cannot come back to a terminal", self.caller.name);
            return Err(Error::new(Fault::Operator, Code::Unimplemented, message));
        }
        let (s, pty) = (convert::to_sandbox_ref(sandbox), pty.to_owned());
        let (call, head, config) = self.caller.head(call, self.caller.deadline());
        process::terminal(self.owner(&call, sandbox), "attach", input, move |acc, guest, input| {
            Box::pin(guest.terminal().call_attach(acc, head, config, s, pty, input))
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
        let (s, command) = (convert::to_sandbox_ref(sandbox), convert::to_command(command)?);
        let (call, head, config) = self.caller.head(call, self.caller.deadline());
        process::process(self.owner(&call, sandbox), stdin, move |acc, guest, stdin| {
            Box::pin(guest.exec().call_run(acc, head, config, s, command, stdin))
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
        self.needs(self.abilities.files, "files")?;
        let (s, at) = (convert::to_sandbox_ref(sandbox), convert::to_location(at)?);
        let (call, head, config) = self.caller.head(call, self.caller.deadline());
        transfer::download(&self.caller, &call, move |acc, guest| {
            Box::pin(guest.files().call_read(acc, head, config, s, at, offset, length))
        })
        .await
    }

    async fn write(&self, call: &Call, sandbox: &SandboxRef, at: &Location, upload: Upload) -> Result<Entry> {
        self.needs(self.abilities.files, "files")?;
        let (s, at) = (convert::to_sandbox_ref(sandbox), convert::to_location(at)?);
        let (call, head, config) = self.caller.head(call, transfer::WRITTEN_WITHIN);
        transfer::upload(&self.caller, &call, upload, move |acc, guest, size, data, complete| {
            Box::pin(guest.files().call_write(acc, head, config, s, at, size, data, complete))
        })
        .await
        .map_err(|e| traced(&call, e))
    }

    async fn list_dir(
        &self,
        call: &Call,
        sandbox: &SandboxRef,
        at: &Location,
        cursor: Option<String>,
    ) -> Result<Entries> {
        self.needs(self.abilities.files, "files")?;
        let (s, at) = (convert::to_sandbox_ref(sandbox), convert::to_location(at)?);
        let page = ask!(self.caller, call, "list files", files.call_list(s, at, cursor)).await?;
        convert::entries(page)
    }

    async fn stat(&self, call: &Call, sandbox: &SandboxRef, at: &Location) -> Result<Entry> {
        self.needs(self.abilities.files, "files")?;
        let (s, at) = (convert::to_sandbox_ref(sandbox), convert::to_location(at)?);
        convert::entry(ask!(self.caller, call, "stat", files.call_stat(s, at)).await?)
    }

    async fn remove(&self, call: &Call, sandbox: &SandboxRef, at: &Location) -> Result<()> {
        self.needs(self.abilities.files, "files")?;
        let (s, at) = (convert::to_sandbox_ref(sandbox), convert::to_location(at)?);
        ask!(self.caller, call, "remove", files.call_remove(s, at)).await
    }

    async fn make_dir(&self, call: &Call, sandbox: &SandboxRef, at: &Location) -> Result<Entry> {
        self.needs(self.abilities.files, "files")?;
        let (s, at) = (convert::to_sandbox_ref(sandbox), convert::to_location(at)?);
        convert::entry(ask!(self.caller, call, "make-dir", files.call_make_dir(s, at)).await?)
    }

    async fn rename(&self, call: &Call, sandbox: &SandboxRef, source: &Location, destination: &str) -> Result<Entry> {
        self.needs(self.abilities.files, "files")?;
        let (s, at) = (convert::to_sandbox_ref(sandbox), convert::to_location(source)?);
        let destination = convert::to_path(destination)?;
        convert::entry(ask!(self.caller, call, "rename", files.call_rename(s, at, destination)).await?)
    }

    async fn pause(&self, call: &Call, sandbox: &SandboxRef) -> Result<()> {
        self.needs(self.abilities.pause, "pause")?;
        let s = convert::to_sandbox_ref(sandbox);
        ask!(self.caller, call, "pause", pause.call_pause(s)).await
    }

    async fn route(&self, call: &Call, sandbox: &SandboxRef, port: u16) -> Result<Route> {
        self.needs(self.abilities.ports, "ports")?;
        let s = convert::to_sandbox_ref(sandbox);
        convert::route(ask!(self.caller, call, "find port", ports.call_find(s, port)).await?)
    }
}

#[cfg(test)]
mod tests;
