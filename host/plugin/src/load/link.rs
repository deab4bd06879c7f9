//! What a plugin may import and what it must export.
//!
//! Owns the linkers of both kinds and the words for a component that is not a plugin of this contract. Deliberately
//! knows no file: it is given a component.

use std::path::Path;

use wasmtime::component::{Component, Linker};

use super::error::LoadError;
use super::exports::{About, CONTRACT, PACKAGE, SandboxPre};
use super::native::Native;
use crate::bindings::storage::StorageProviderPre;
use crate::imports;
use crate::store::State;
use sandbox_broker_config::Kind;
use sandbox_broker_footprint::Footprint;

/// A component with its imports linked and its exports found.
pub(super) struct Linked {
    pub(super) about: About,
    pub(super) footprint: Footprint,
    pub(super) provides: Provides,
}

/// The exports of a plugin of one kind.
pub(super) enum Provides {
    Sandbox(SandboxPre),
    Storage(StorageProviderPre<State>),
}

impl Provides {
    pub(super) fn kind(&self) -> Kind {
        match self {
            Provides::Sandbox(_) => Kind::Sandbox,
            Provides::Storage(_) => Kind::Storage,
        }
    }
}

/// What each kind may import.
#[derive(Clone)]
pub(super) struct Linkers {
    sandbox: Linker<State>,
    storage: Linker<State>,
}

impl Linkers {
    pub(super) fn new(engine: &wasmtime::Engine) -> wasmtime::Result<Self> {
        let mut storage = Linker::new(engine);
        imports::secrets::link(&mut storage)?;
        imports::cache::link(&mut storage)?;
        imports::log::link(&mut storage)?;
        imports::progress::link(&mut storage)?;
        imports::wasi::link(&mut storage)?;
        let mut sandbox = storage.clone();
        imports::http::link(&mut sandbox)?;
        imports::net::link(&mut sandbox)?;
        Ok(Linkers { sandbox, storage })
    }
}

/// Links a component and finds its exports. `path` is its name in messages.
pub(super) fn link(
    engine: &wasmtime::Engine,
    linkers: &Linkers,
    path: &Path,
    native: &Native,
) -> Result<Linked, LoadError> {
    let Native { component, footprint } = native;
    let invalid = |what: &str, e: String| LoadError::Invalid(format!("{}: {what}: {e}", path.display()));
    check_contract(engine, component).map_err(|e| invalid("wrong contract", e))?;
    let kind = kind(engine, component).map_err(|e| invalid("wrong contract", e))?;
    let linker = match kind {
        Kind::Sandbox => &linkers.sandbox,
        Kind::Storage => &linkers.storage,
    };
    check_imports(engine, component, kind).map_err(|e| invalid("it imports too much", e))?;
    let pre = linker
        .instantiate_pre(component)
        .map_err(|e| invalid("it imports what this host does not offer", format!("{:#}", e.root_cause())))?;
    let lacks = |e: wasmtime::Error| invalid(&format!("it is no {} provider", kind.as_str()), format!("{e:#}"));
    Ok(Linked {
        about: About::new(pre.clone()).map_err(lacks)?,
        footprint: *footprint,
        provides: match kind {
            Kind::Sandbox => Provides::Sandbox(SandboxPre::new(pre).map_err(lacks)?),
            Kind::Storage => Provides::Storage(StorageProviderPre::new(pre).map_err(lacks)?),
        },
    })
}

/// The kind of a plugin, told by its exports.
fn kind(engine: &wasmtime::Engine, component: &Component) -> Result<Kind, String> {
    let ty = component.component_type();
    let exports = |interface: &str| {
        let name = format!("{PACKAGE}{interface}@");
        ty.exports(engine).any(|(export, _)| export.starts_with(&name))
    };
    match (exports("sandbox"), exports("mounter")) {
        (true, false) => Ok(Kind::Sandbox),
        (false, true) => Ok(Kind::Storage),
        (false, false) => Err("it exports neither `sandbox` nor `mounter`, so it provides nothing".to_owned()),
        (true, true) => Err("it exports both `sandbox` and `mounter`; a plugin is of one kind".to_owned()),
    }
}

/// Names everything that a storage plugin must not import. Linking would refuse the first of it alone, in less clear
/// words.
fn check_imports(engine: &wasmtime::Engine, component: &Component, kind: Kind) -> Result<(), String> {
    let ty = component.component_type();
    let foreign: Vec<&str> = match kind {
        Kind::Sandbox => return Ok(()),
        Kind::Storage => {
            let grants = |name: &&str| !name.starts_with(PACKAGE) && !imports::wasi::grants_nothing(name);
            ty.imports(engine).map(|(name, _)| name).filter(grants).collect()
        }
    };
    match foreign.as_slice() {
        [] => Ok(()),
        names => Err(format!(
            "{}; a storage plugin reaches nothing by itself, the host sends its requests",
            names.join(", ")
        )),
    }
}

/// Refuses another minor version of the contract. Linking would refuse it as well, in less clear words.
fn check_contract(engine: &wasmtime::Engine, component: &Component) -> Result<(), String> {
    let ty = component.component_type();
    let names = ty.imports(engine).map(|(n, _)| n.to_owned()).chain(ty.exports(engine).map(|(n, _)| n.to_owned()));
    let mut found = false;
    for name in names.collect::<Vec<_>>() {
        let Some(rest) = name.strip_prefix(PACKAGE) else { continue };
        found = true;
        let version = rest.split_once('@').map_or("", |(_, v)| v);
        if !version.starts_with(CONTRACT) || version[CONTRACT.len()..].chars().next().is_some_and(|c| c != '.') {
            return Err(format!(
                "the plugin is built for contract {version}, and this broker speaks {CONTRACT}: build the plugin again \
                 with the wit/ or the SDK of this broker, and read in CHANGELOG.md what is new in {CONTRACT}"
            ));
        }
    }
    if found { Ok(()) } else { Err("it has no interface of sandbox-broker:plugin".to_owned()) }
}
