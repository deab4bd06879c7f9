//! Where the exports of a plugin are in its component.
//!
//! Owns the search: a sandbox provider has three interfaces that are required, and each of the others is looked for by
//! itself. Deliberately calls none.

use std::sync::Arc;

use wasmtime::Store;
use wasmtime::component::InstancePre;

use crate::bindings::guest::{exec, files, lease, manifest, pause, ports, sandbox, terminal, volumes};
use crate::store::State;

/// How the names of the contract's interfaces begin.
pub(super) const PACKAGE: &str = "sandbox-broker:plugin/";
/// The version of the contract that this host speaks.
pub(super) const CONTRACT: &str = "0.2";
/// The same, as it stands in `wit/`.
const VERSION: &str = "0.2.0";

/// The manifest of a plugin of any kind.
pub(super) struct About {
    pre: InstancePre<State>,
    manifest: manifest::GuestIndices,
}

impl About {
    pub(super) fn new(pre: InstancePre<State>) -> wasmtime::Result<Self> {
        Ok(About { manifest: manifest::GuestIndices::new(&pre)?, pre })
    }

    pub(super) async fn instantiate(&self, store: &mut Store<State>) -> wasmtime::Result<manifest::Guest> {
        let instance = self.pre.instantiate_async(&mut *store).await?;
        self.manifest.load(store, &instance)
    }
}

/// A sandbox provider that is linked, with the places of its exports.
#[derive(Clone)]
pub(crate) struct SandboxPre {
    pre: InstancePre<State>,
    found: Arc<Found>,
}

struct Found {
    sandbox: sandbox::GuestIndices,
    exec: exec::GuestIndices,
    lease: Option<lease::GuestIndices>,
    terminal: Option<terminal::GuestIndices>,
    files: Option<files::GuestIndices>,
    pause: Option<pause::GuestIndices>,
    ports: Option<ports::GuestIndices>,
    volumes: Option<volumes::GuestIndices>,
}

/// Which of the optional interfaces a sandbox provider exports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Exported {
    pub(crate) lease: bool,
    pub(crate) terminal: bool,
    pub(crate) files: bool,
    pub(crate) pause: bool,
    pub(crate) ports: bool,
    pub(crate) volumes: bool,
}

impl SandboxPre {
    pub(super) fn new(pre: InstancePre<State>) -> wasmtime::Result<Self> {
        let found = Found {
            sandbox: sandbox::GuestIndices::new(&pre)?,
            exec: exec::GuestIndices::new(&pre)?,
            lease: optional(&pre, "lease", lease::GuestIndices::new)?,
            terminal: optional(&pre, "terminal", terminal::GuestIndices::new)?,
            files: optional(&pre, "files", files::GuestIndices::new)?,
            pause: optional(&pre, "pause", pause::GuestIndices::new)?,
            ports: optional(&pre, "ports", ports::GuestIndices::new)?,
            volumes: optional(&pre, "volumes", volumes::GuestIndices::new)?,
        };
        Ok(SandboxPre { pre, found: Arc::new(found) })
    }

    pub(super) fn exported(&self) -> Exported {
        let Found { lease, terminal, files, pause, ports, volumes, .. } = &*self.found;
        Exported {
            lease: lease.is_some(),
            terminal: terminal.is_some(),
            files: files.is_some(),
            pause: pause.is_some(),
            ports: ports.is_some(),
            volumes: volumes.is_some(),
        }
    }

    /// Makes an instance.
    pub(crate) async fn instantiate(&self, store: &mut Store<State>) -> wasmtime::Result<SandboxExports> {
        let instance = self.pre.instantiate_async(&mut *store).await?;
        let Found { sandbox, exec, lease, terminal, files, pause, ports, .. } = &*self.found;
        Ok(SandboxExports {
            sandbox: sandbox.load(&mut *store, &instance)?,
            exec: exec.load(&mut *store, &instance)?,
            lease: lease.as_ref().map(|found| found.load(&mut *store, &instance)).transpose()?,
            terminal: terminal.as_ref().map(|found| found.load(&mut *store, &instance)).transpose()?,
            files: files.as_ref().map(|found| found.load(&mut *store, &instance)).transpose()?,
            pause: pause.as_ref().map(|found| found.load(&mut *store, &instance)).transpose()?,
            ports: ports.as_ref().map(|found| found.load(&mut *store, &instance)).transpose()?,
        })
    }
}

/// An interface that may be missing. One that is there and incomplete is an error.
fn optional<I>(
    pre: &InstancePre<State>,
    interface: &str,
    find: impl FnOnce(&InstancePre<State>) -> wasmtime::Result<I>,
) -> wasmtime::Result<Option<I>> {
    let name = format!("{PACKAGE}{interface}@{VERSION}");
    pre.component().get_export_index(None, &name).map(|_| find(pre)).transpose()
}

/// The exports of one instance. An optional interface may be asked for only where [`Exported`] has it.
pub(crate) struct SandboxExports {
    sandbox: sandbox::Guest,
    exec: exec::Guest,
    lease: Option<lease::Guest>,
    terminal: Option<terminal::Guest>,
    files: Option<files::Guest>,
    pause: Option<pause::Guest>,
    ports: Option<ports::Guest>,
}

const LOOKED_FOR: &str = "the caller has looked whether it is exported";

impl SandboxExports {
    pub(crate) fn sandbox(&self) -> &sandbox::Guest {
        &self.sandbox
    }

    pub(crate) fn exec(&self) -> &exec::Guest {
        &self.exec
    }

    pub(crate) fn lease(&self) -> &lease::Guest {
        self.lease.as_ref().expect(LOOKED_FOR)
    }

    pub(crate) fn terminal(&self) -> &terminal::Guest {
        self.terminal.as_ref().expect(LOOKED_FOR)
    }

    pub(crate) fn files(&self) -> &files::Guest {
        self.files.as_ref().expect(LOOKED_FOR)
    }

    pub(crate) fn pause(&self) -> &pause::Guest {
        self.pause.as_ref().expect(LOOKED_FOR)
    }

    pub(crate) fn ports(&self) -> &ports::Guest {
        self.ports.as_ref().expect(LOOKED_FOR)
    }
}
