//! The engine: from the file of a plugin to a [`Plugin`] that can be used.
//!
//! Owns the order of the steps (read, compile, link, question), the plugins that are loaded, and the ticker that
//! interrupts guests. Deliberately knows no section of the configuration and no secret.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Instant;

use sha2::{Digest, Sha256};

use super::compiled::Compiled;
use super::error::LoadError;
use super::link::{Linkers, link};
use super::native::{component, config};
use super::plugin::Plugin;
use super::work::{self, Work, WorkFailure};
use crate::store::meter::TICK;
use sandbox_stdx::hex::hex;
use sandbox_stdx::lock::lock;

/// Largest plugin file. The largest known, a Python one, has 22 MB.
const PLUGIN_BYTES: u64 = 64 << 20;

/// Compiles and links plugins. One per process.
pub struct Engine {
    engine: wasmtime::Engine,
    linkers: Linkers,
    compiled: Option<Compiled>,
    stop: Arc<AtomicBool>,
    /// By digest, so that a reload keeps an unchanged plugin, and two sections with the same plugin compile it once.
    loaded: Mutex<BTreeMap<String, Slot>>,
}

/// One plugin; locked while it is being made.
type Slot = Arc<tokio::sync::Mutex<Weak<Plugin>>>;

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
    /// An engine that compiles plugins in bounded processes of this program and keeps their code in `compiled`. Without
    /// a directory it compiles in this process, without bounds: only for tests and tools with plugins that are trusted.
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
    /// Compiling takes up to seconds the first time. It is bounded in time and memory, and its failure touches nothing
    /// else.
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
        let native = match &self.compiled {
            Some(compiled) => compiled.component(&self.engine, &digest, &bytes).await.map_err(|e| match e {
                WorkFailure::Wrong(what) => invalid(&what),
                WorkFailure::Broken(what) => invalid(&format!("it cannot be compiled: {what}")),
            })?,
            None => component(&self.engine, bytes).map_err(|what| invalid(&what))?,
        };
        let (engine, linkers, named) = (self.engine.clone(), self.linkers.clone(), path.to_owned());
        let linked = tokio::task::spawn_blocking(move || link(&engine, &linkers, &named, &native));
        let linked = linked.await.map_err(|_| invalid("it breaks the broker's linker: a bug of the broker"))??;
        let plugin = Arc::new(Plugin::question(&self.engine, linked, digest).await?);
        tracing::info!(
            plugin = %plugin.description.id, version = %plugin.description.version, digest = &plugin.digest[..16],
            path = %path.display(), ms = started.elapsed().as_millis() as u64, "plugin loaded"
        );
        *slot = Arc::downgrade(&plugin);
        Ok(plugin)
    }

    /// Finds out, in a bounded process, whether settings can be checked against a plugin's schema in reasonable time: a
    /// small schema can be made to take years.
    ///
    /// # Errors
    /// Why not.
    pub async fn try_schema(&self, trial: &[u8]) -> Result<(), LoadError> {
        let tried = work::run(Work::Check, work::CHECK, trial).await;
        tried.map(|_| ()).map_err(|failure| {
            let cause = match failure {
                WorkFailure::Wrong(what) => what,
                WorkFailure::Broken(what) => format!("checking the settings against it was stopped: {what}"),
            };
            LoadError::Manifest { what: "`config-schema`", cause }
        })
    }

    /// The slot of a plugin. Forgets the slots of plugins that are gone.
    fn slot(&self, digest: &str) -> Slot {
        let mut loaded = lock(&self.loaded);
        loaded.retain(|_, slot| {
            slot.try_lock().is_ok_and(|plugin| plugin.strong_count() > 0) || Arc::strong_count(slot) > 1
        });
        loaded.entry(digest.to_owned()).or_default().clone()
    }
}

/// Advances the epoch on a thread of its own, so that it advances even while guests keep every worker busy.
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
    let digest = hex(&Sha256::digest(&bytes));
    Ok((bytes, digest))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A component that exports one empty instance of this name, as a plugin of that contract would.
    fn exporting(name: &str) -> Vec<u8> {
        let mut bytes = b"\0asm\x0d\0\x01\0".to_vec();
        // An instance made of no exports, and its export.
        let instance = [1, 1, 0];
        let export = [&[1, 0, name.len() as u8][..], name.as_bytes(), &[5, 0, 0]].concat();
        for (section, content) in [(5, &instance[..]), (11, &export)] {
            bytes.extend([section, content.len() as u8]);
            bytes.extend(content);
        }
        bytes
    }

    #[test]
    fn a_plugin_of_another_contract_is_refused_with_both_versions_and_what_to_do() {
        let engine = Engine::new(None).unwrap();
        for (version, words) in [
            ("0.1.0", "built for contract 0.1.0, and this broker speaks 0.2: build the plugin again"),
            ("0.20.0", "built for contract 0.20.0"),
            ("1.0.0", "built for contract 1.0.0"),
            ("0.2.0", "it exports neither `sandbox` nor `mounter`"),
        ] {
            let bytes = exporting(&format!("sandbox-broker:plugin/manifest@{version}"));
            let native = component(&engine.engine, bytes).unwrap();
            let refused = link(&engine.engine, &engine.linkers, Path::new("x.wasm"), &native).err().unwrap();
            assert!(refused.to_string().contains(words), "{refused}");
        }
    }

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
                Ok(native) => link(&engine.engine, &engine.linkers, path, &native).err().unwrap().to_string(),
                Err(error) => error,
            };
            assert!(error.contains(words), "{error}");
        }
    }
}
