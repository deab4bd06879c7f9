//! The engine: compiles plugins, checks what they are, links what they may
//! import.
//!
//! Owns the wasmtime configuration and the epoch ticker. Deliberately knows no
//! provider section and no secret.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use serde::Deserialize;
use sha2::{Digest, Sha256};
use wasmtime::Config;
use wasmtime::component::{Component, HasSelf, Linker};

use super::bindings::about::{AboutPre, manifest};
use super::bindings::storage::StorageProviderPre;
use super::bindings::{self, SandboxProviderPre};
use super::compiled::Compiled;
use super::convert::{DETAIL_BYTES, MESSAGE_BYTES};
use super::state::{Cell, Grants, State, TICK};
use super::work::{self, Failure, Work};
use sandbox_broker_config::Kind;
use sandbox_broker_core::words::clean;

/// Largest plugin file. The largest known, a Python one, has 22 MB.
const PLUGIN_BYTES: u64 = 64 << 20;
/// Bound on the pure calls at load; each also has one second of CPU.
const MANIFEST_DEADLINE: Duration = Duration::from_secs(5);
/// Memory of a plugin while only its manifest is asked for.
const MANIFEST_MEMORY: usize = 64 << 20;
/// CPU time of one such call.
const MANIFEST_CPU: Duration = Duration::from_secs(1);
/// How the names of the contract's interfaces begin.
const PACKAGE: &str = "sandbox-broker:plugin/";
/// The version of the contract that this host speaks.
const CONTRACT: &str = "0.1";

/// Why a plugin cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The file cannot be read.
    #[error("cannot read the plugin {}: {cause}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// It is larger than 64 MiB.
    #[error("the plugin has {0} bytes, more than the allowed 64 MiB")]
    TooLarge(u64),
    /// The directory of compiled plugins cannot be used.
    #[error(
        "cannot keep compiled plugins in {}: {why}: make it belong to the user who runs the broker, with mode 0700, \
         or give another --state-dir", directory.display()
    )]
    Compiled {
        /// The directory.
        directory: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// It is no component, or not one for this host.
    #[error("{0}")]
    Invalid(String),
    /// It is good, and of another kind than is needed.
    #[error("the plugin `{plugin}` is of kind `{}`, not `{}`", found.as_str(), wanted.as_str())]
    Kind {
        /// The plugin's id.
        plugin: String,
        /// What it is.
        found: Kind,
        /// What is needed.
        wanted: Kind,
    },
    /// The system's root certificates cannot be read.
    #[error("cannot read the system's root certificates: {0}")]
    Certificates(std::io::Error),
    /// Its own description cannot be had.
    #[error("the plugin's {what} failed: {cause}")]
    Manifest {
        /// The function.
        what: &'static str,
        /// Why.
        cause: String,
    },
}

/// What a plugin says of itself (`manifest.describe`).
#[derive(Clone, Debug, Deserialize)]
pub struct Description {
    /// Stable name.
    pub id: String,
    /// Semantic version.
    pub version: String,
    /// Name for people.
    pub title: String,
    /// What it provides. Its exports are those of this kind.
    pub kind: Kind,
    /// Secrets that it will ask for.
    #[serde(default)]
    pub secrets: Vec<String>,
    /// Origins that it wants to reach.
    #[serde(default)]
    pub hosts: Vec<String>,
}

impl Description {
    /// What may be shown: it is a stranger's.
    fn clean(mut self) -> Self {
        for text in [&mut self.id, &mut self.version, &mut self.title] {
            *text = clean(text, DETAIL_BYTES);
        }
        for text in self.secrets.iter_mut().chain(&mut self.hosts) {
            *text = clean(text, DETAIL_BYTES);
        }
        self
    }
}

/// A plugin, compiled, linked and checked, ready to be instantiated.
pub struct Plugin {
    /// What it says of itself.
    pub description: Description,
    /// The JSON Schema of its configuration.
    pub schema: serde_json::Value,
    /// SHA-256 of the file, hexadecimal.
    pub digest: String,
    pub(super) engine: wasmtime::Engine,
    component: Linked,
}

/// A component with its imports linked and its exports found.
struct Linked {
    about: AboutPre<State>,
    provides: Provides,
}

/// The exports of one kind.
enum Provides {
    Sandbox(Box<SandboxProviderPre<State>>),
    Storage(StorageProviderPre<State>),
}

impl Provides {
    fn kind(&self) -> Kind {
        match self {
            Provides::Sandbox(_) => Kind::Sandbox,
            Provides::Storage(_) => Kind::Storage,
        }
    }
}

impl std::fmt::Debug for Plugin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plugin").field("id", &self.description.id).field("digest", &self.digest).finish_non_exhaustive()
    }
}

/// Compiles and links plugins. One per process.
pub struct Engine {
    engine: wasmtime::Engine,
    linkers: Linkers,
    compiled: Option<Compiled>,
    stop: Arc<AtomicBool>,
    /// By digest, so that a reload takes an unchanged plugin as it is, and two
    /// sections with the same one compile it once.
    loaded: Mutex<BTreeMap<String, Slot>>,
}

/// Locked while its plugin is being made.
type Slot = Arc<tokio::sync::Mutex<Weak<Plugin>>>;

/// What each kind may import.
#[derive(Clone)]
struct Linkers {
    sandbox: Linker<State>,
    storage: Linker<State>,
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Engine")
    }
}

impl Engine {
    /// An engine that compiles plugins in bounded processes of this program and
    /// keeps their code in `compiled`. Without a directory it compiles in this
    /// process, without bounds: only for a program that is not the broker and
    /// for plugins that are trusted.
    ///
    /// # Errors
    /// When the host cannot run WebAssembly or the directory cannot be used.
    pub fn new(compiled: Option<&Path>) -> Result<Self, LoadError> {
        let invalid = |e: wasmtime::Error| LoadError::Invalid(format!("cannot start the plugin engine: {e:#}"));
        let compiled = compiled.map(Compiled::new).transpose()?;
        let engine = wasmtime::Engine::new(&config()).map_err(invalid)?;
        let linkers = Linkers::new(&engine).map_err(invalid)?;
        let stop = Arc::new(AtomicBool::new(false));
        tick(&engine, stop.clone());
        Ok(Engine { engine, linkers, compiled, stop, loaded: Mutex::default() })
    }

    /// Reads, compiles, links and questions a plugin. Accepts a component, or
    /// a core module with its component type embedded.
    ///
    /// Compiling takes up to seconds the first time. It has bounds of time and
    /// memory, and what breaks it breaks nothing else.
    ///
    /// # Errors
    /// See [`LoadError`]; the texts are for operators.
    pub async fn load(&self, path: &Path) -> Result<Arc<Plugin>, LoadError> {
        let started = Instant::now();
        let (bytes, digest) = read(path)?;
        let slot = self.slot(&digest);
        let mut slot = slot.lock().await;
        if let Some(plugin) = slot.upgrade() {
            return Ok(plugin);
        }
        let invalid = |what: &str| LoadError::Invalid(format!("{}: {what}", path.display()));
        let component = match &self.compiled {
            Some(compiled) => compiled.component(&self.engine, &digest, &bytes).await.map_err(|e| match e {
                Failure::Wrong(what) => invalid(&what),
                Failure::Broken(what) => invalid(&format!("it cannot be compiled: {what}")),
            })?,
            None => component(&self.engine, bytes).map_err(|what| invalid(&what))?,
        };
        let (engine, linkers, named) = (self.engine.clone(), self.linkers.clone(), path.to_owned());
        let linked = tokio::task::spawn_blocking(move || link(&engine, &linkers, &named, &component));
        let linked = linked.await.map_err(|_| invalid("it breaks the broker's linker: a bug of the broker"))??;
        let (description, schema) = self.question(&linked).await?;
        tracing::info!(
            plugin = %description.id, version = %description.version, digest = &digest[..16],
            path = %path.display(), ms = started.elapsed().as_millis() as u64, "plugin loaded"
        );
        let plugin = Plugin { description, schema, digest, engine: self.engine.clone(), component: linked };
        let plugin = Arc::new(plugin);
        *slot = Arc::downgrade(&plugin);
        Ok(plugin)
    }

    /// Finds out, in a bounded process, whether settings can be checked
    /// against a plugin's schema in reasonable time: a small schema may take
    /// longer than the sun shines.
    ///
    /// # Errors
    /// Why not.
    pub async fn try_schema(&self, trial: &[u8]) -> Result<(), LoadError> {
        let tried = work::run(Work::Check, work::CHECK, trial).await;
        tried.map(|_| ()).map_err(|failure| {
            let cause = match failure {
                Failure::Wrong(what) => what,
                Failure::Broken(what) => format!("checking the settings against it was stopped: {what}"),
            };
            LoadError::Manifest { what: "`config-schema`", cause }
        })
    }

    /// The slot of a plugin. Forgets those of plugins that are gone.
    fn slot(&self, digest: &str) -> Slot {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        loaded.retain(|_, slot| {
            slot.try_lock().is_ok_and(|plugin| plugin.strong_count() > 0) || Arc::strong_count(slot) > 1
        });
        loaded.entry(digest.to_owned()).or_default().clone()
    }

    async fn question(&self, component: &Linked) -> Result<(Description, serde_json::Value), LoadError> {
        let failed = |what| move |cause: String| LoadError::Manifest { what, cause };
        let Linked { about, provides } = component;
        let text =
            ask(&self.engine, about, |m, acc| Box::pin(m.call_describe(acc))).await.map_err(failed("`describe`"))?;
        let description: Description =
            serde_json::from_str(&text).map_err(|e| failed("`describe`")(format!("its JSON is wrong: {e}")))?;
        let description = description.clean();
        if description.kind != provides.kind() {
            let (id, says, exports) = (&description.id, description.kind.as_str(), provides.kind().as_str());
            return Err(LoadError::Invalid(format!(
                "the plugin `{id}` says that it is of kind `{says}` and exports what one of kind `{exports}` does"
            )));
        }
        let text = ask(&self.engine, about, |m, acc| Box::pin(m.call_config_schema(acc)))
            .await
            .map_err(failed("`config-schema`"))?;
        let schema =
            serde_json::from_str(&text).map_err(|e| failed("`config-schema`")(format!("its JSON is wrong: {e}")))?;
        Ok((description, schema))
    }
}

impl Plugin {
    /// The exports of a plugin of kind `sandbox`.
    pub(super) fn sandbox(&self) -> Result<&SandboxProviderPre<State>, LoadError> {
        match &self.component.provides {
            Provides::Sandbox(exports) => Ok(exports),
            Provides::Storage(_) => Err(self.not(Kind::Sandbox)),
        }
    }

    /// The exports of a plugin of kind `storage`.
    pub(super) fn storage(&self) -> Result<&StorageProviderPre<State>, LoadError> {
        match &self.component.provides {
            Provides::Storage(exports) => Ok(exports),
            Provides::Sandbox(_) => Err(self.not(Kind::Storage)),
        }
    }

    fn not(&self, wanted: Kind) -> LoadError {
        LoadError::Kind { plugin: self.description.id.clone(), found: self.description.kind, wanted }
    }

    /// What the plugin finds wrong with a configuration that fits its schema:
    /// JSON Pointer and message of each mistake.
    ///
    /// # Errors
    /// When the plugin traps or does not answer.
    pub async fn validate(&self, config: &str) -> Result<Vec<(String, String)>, LoadError> {
        let config = config.to_owned();
        let found = ask(&self.engine, &self.component.about, move |m, acc| Box::pin(m.call_validate(acc, config)))
            .await
            .map_err(|cause| LoadError::Manifest { what: "`validate`", cause })?;
        Ok(found.into_iter().take(100).map(|d| (d.pointer, clean(&d.message, MESSAGE_BYTES))).collect())
    }
}

type Asked<'a, R> = std::pin::Pin<Box<dyn Future<Output = wasmtime::Result<R>> + Send + 'a>>;

/// Calls one pure function in a fresh instance that is granted nothing.
async fn ask<R: Send + 'static>(
    engine: &wasmtime::Engine,
    about: &AboutPre<State>,
    f: impl for<'a> FnOnce(&'a manifest::Guest, &'a wasmtime::component::Accessor<State>) -> Asked<'a, R> + Send,
) -> Result<R, String> {
    let grants = Arc::new(Grants { memory: MANIFEST_MEMORY, cpu: MANIFEST_CPU, ..Grants::default() });
    let mut cell = Cell::new(engine, grants, None);
    let meter = cell.meter.clone();
    let work = async {
        let guest = about.instantiate_async(&mut cell.store).await?;
        cell.store.run_concurrent(async |acc| f(guest.sandbox_broker_plugin_manifest(), acc).await).await?
    };
    match tokio::time::timeout(MANIFEST_DEADLINE, meter.watch(pin!(work))).await {
        Err(_) => Err(format!("it did not answer within {MANIFEST_DEADLINE:?}")),
        Ok(Err(_)) if meter.out_of_time() => Err("it used one second of CPU without an answer".to_owned()),
        Ok(Err(e)) => Err(clean(&format!("{:#}", e.root_cause()), MESSAGE_BYTES)),
        Ok(Ok(value)) => Ok(value),
    }
}

fn config() -> Config {
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        .wasm_component_model_async(true)
        // What no plugin needs is off: most advisories of the engine are there.
        .wasm_relaxed_simd(false)
        .wasm_memory64(false)
        .wasm_wide_arithmetic(false)
        .wasm_custom_page_sizes(false)
        .max_wasm_stack(256 << 10)
        .async_stack_size(1 << 20);
    config
}

impl Linkers {
    fn new(engine: &wasmtime::Engine) -> wasmtime::Result<Self> {
        let mut storage = Linker::new(engine);
        bindings::host::types::add_to_linker::<_, HasSelf<_>>(&mut storage, |s| s)?;
        bindings::host::secrets::add_to_linker::<_, HasSelf<_>>(&mut storage, |s| s)?;
        bindings::host::log::add_to_linker::<_, HasSelf<_>>(&mut storage, |s| s)?;
        let mut sandbox = storage.clone();
        wasmtime_wasi_http::p3::add_to_linker(&mut sandbox)?;
        wasmtime_wasi::p3::clocks::add_to_linker(&mut sandbox)?;
        Ok(Linkers { sandbox, storage })
    }
}

/// Advances the epoch on a thread of its own, so that it also advances while
/// every worker is busy in guests.
fn tick(engine: &wasmtime::Engine, stop: Arc<AtomicBool>) {
    let engine = engine.weak();
    std::thread::Builder::new()
        .name("epoch".to_owned())
        .spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                std::thread::sleep(TICK);
                match engine.upgrade() {
                    Some(engine) => engine.increment_epoch(),
                    None => break,
                }
            }
        })
        .expect("a process can start one thread more");
}

/// The file and its SHA-256.
fn read(path: &Path) -> Result<(Vec<u8>, String), LoadError> {
    let failed = |cause| LoadError::Read { path: path.to_owned(), cause };
    let size = std::fs::metadata(path).map_err(failed)?.len();
    if size > PLUGIN_BYTES {
        return Err(LoadError::TooLarge(size));
    }
    let bytes = std::fs::read(path).map_err(failed)?;
    let digest = Sha256::digest(&bytes).iter().map(|b| format!("{b:02x}")).collect();
    Ok((bytes, digest))
}

/// The bytes of a component: those of the file, or made of a core module.
fn encoded(bytes: Vec<u8>) -> Result<Vec<u8>, String> {
    // Byte 4 to 8 of the preamble: version 1, layer 0 is a core module.
    if !bytes.starts_with(b"\0asm\x01\0\0\0") {
        return Ok(bytes);
    }
    wit_component::ComponentEncoder::default()
        .module(&bytes)
        .and_then(|encoder| encoder.validate(true).encode())
        .map_err(|e| format!("the core module has no usable component type: {e:#}"))
}

/// The native code of a plugin, as the engine of this program takes it.
pub(super) fn precompile(bytes: Vec<u8>) -> Result<Vec<u8>, String> {
    let engine = wasmtime::Engine::new(&config()).map_err(|e| format!("cannot start the plugin engine: {e:#}"))?;
    engine.precompile_component(&encoded(bytes)?).map_err(|e| format!("not a WebAssembly component: {e:#}"))
}

fn component(engine: &wasmtime::Engine, bytes: Vec<u8>) -> Result<Component, String> {
    Component::new(engine, encoded(bytes)?).map_err(|e| format!("not a WebAssembly component: {e:#}"))
}

fn link(engine: &wasmtime::Engine, linkers: &Linkers, path: &Path, component: &Component) -> Result<Linked, LoadError> {
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
        about: AboutPre::new(pre.clone()).map_err(lacks)?,
        provides: match kind {
            Kind::Sandbox => Provides::Sandbox(Box::new(SandboxProviderPre::new(pre).map_err(lacks)?)),
            Kind::Storage => Provides::Storage(StorageProviderPre::new(pre).map_err(lacks)?),
        },
    })
}

/// The kind that a component's exports speak of.
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

/// Names what a storage plugin may not import before linking refuses the first
/// of it with less clear words.
fn check_imports(engine: &wasmtime::Engine, component: &Component, kind: Kind) -> Result<(), String> {
    let ty = component.component_type();
    let foreign: Vec<&str> = match kind {
        Kind::Sandbox => return Ok(()),
        Kind::Storage => ty.imports(engine).map(|(name, _)| name).filter(|name| !name.starts_with(PACKAGE)).collect(),
    };
    match foreign.as_slice() {
        [] => Ok(()),
        names => Err(format!(
            "{}; a storage plugin reaches nothing by itself, the host sends its requests",
            names.join(", ")
        )),
    }
}

/// Refuses another minor version of the contract before linking does so with
/// less clear words.
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
                "the plugin is built for sandbox-broker:plugin@{version}, this host speaks {CONTRACT}; \
                 rebuild the plugin with the host's wit/"
            ));
        }
    }
    if found { Ok(()) } else { Err("it has no interface of sandbox-broker:plugin".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_component_of_another_kind_is_refused_in_words() {
        let engine = Engine::new(None).unwrap();
        let path = Path::new("x.wasm");
        for (bytes, words) in [
            (&b"hello"[..], "not a WebAssembly component"),
            (&b"\0asm\x01\0\0\0"[..], "no interface of sandbox-broker:plugin"),
            (&b"\0asm\x0d\0\x01\0"[..], "no interface of sandbox-broker:plugin"),
        ] {
            let error = match component(&engine.engine, bytes.to_vec()) {
                Ok(component) => link(&engine.engine, &engine.linkers, path, &component).err().unwrap().to_string(),
                Err(error) => error,
            };
            assert!(error.contains(words), "{error}");
        }
    }
}
