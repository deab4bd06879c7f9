//! One plugin, ready to be used, and what it says about itself.
//!
//! Owns the calls of the manifest, each in a fresh instance that is granted nothing. Deliberately knows no section of
//! the configuration.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use wasmtime::component::Accessor;

use super::abilities::Stated;
use super::error::LoadError;
use super::exports::{About, SandboxPre};
use super::link::{Linked, Provides};
use crate::bindings::guest::manifest;
use crate::bindings::storage::StorageProviderPre;
use crate::convert::{DETAIL_BYTES, MESSAGE_BYTES};
use crate::permissions::Permissions;
use crate::store::{GuestStore, State};
use sandbox_broker_config::Kind;
use sandbox_broker_core::abilities::Abilities;
use sandbox_broker_core::sandbox::Call;
use sandbox_broker_footprint::Footprint;
use sandbox_stdx::words::clean;

/// Bound on a call of the manifest.
const MANIFEST_DEADLINE: Duration = Duration::from_secs(5);
/// Bytes of a description.
const DESCRIPTION_BYTES: usize = 64 << 10;
/// Mistakes in a configuration that are shown.
const DIAGNOSTICS: usize = 100;
/// Memory of a plugin during such a call.
const MANIFEST_MEMORY: usize = 64 << 20;
/// CPU time of one such call.
const MANIFEST_CPU: Duration = Duration::from_secs(1);

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
    /// What no export shows.
    #[serde(default)]
    abilities: Option<Stated>,
}

impl Description {
    /// Makes it fit to be shown: a stranger wrote it.
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
    pub(crate) engine: wasmtime::Engine,
    /// What each instance takes before it has run.
    pub(crate) footprint: Footprint,
    about: About,
    provides: Found,
}

/// The exports of a plugin of one kind, and what a provider of sandboxes can do.
enum Found {
    Sandbox(SandboxPre, Abilities),
    Storage(StorageProviderPre<State>),
}

impl std::fmt::Debug for Plugin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plugin").field("id", &self.description.id).field("digest", &self.digest).finish_non_exhaustive()
    }
}

impl Plugin {
    /// Asks a plugin what it is and which settings it takes.
    ///
    /// # Errors
    /// When it does not answer, or its answer does not fit its exports.
    pub(super) async fn question(
        engine: &wasmtime::Engine,
        linked: Linked,
        digest: String,
    ) -> Result<Plugin, LoadError> {
        let failed = |what| move |cause: String| LoadError::Manifest { what, cause };
        let Linked { about, footprint, provides } = linked;
        let text = ask(engine, footprint, &about, |m, acc| Box::pin(m.call_describe(acc)))
            .await
            .map_err(failed("`describe`"))?;
        if text.len() > DESCRIPTION_BYTES {
            return Err(failed("`describe`")("it is longer than 64 KiB".to_owned()));
        }
        let description: Description =
            serde_json::from_str(&text).map_err(|e| failed("`describe`")(format!("its JSON is wrong: {e}")))?;
        let mut description = description.clean();
        if description.kind != provides.kind() {
            let (id, says, exports) = (&description.id, description.kind.as_str(), provides.kind().as_str());
            return Err(LoadError::Invalid(format!(
                "the plugin `{id}` says that it is of kind `{says}` and exports what one of kind `{exports}` does"
            )));
        }
        let stated = description.abilities.take();
        let provides = match (provides, stated) {
            (Provides::Sandbox(exports), stated) => {
                let abilities = stated.unwrap_or_default().with(exports.exported()).map_err(failed("`describe`"))?;
                Found::Sandbox(exports, abilities)
            }
            (Provides::Storage(exports), None) => Found::Storage(exports),
            (Provides::Storage(_), Some(_)) => {
                return Err(failed("`describe`")("only a plugin of kind `sandbox` has `abilities`".to_owned()));
            }
        };
        let text = ask(engine, footprint, &about, |m, acc| Box::pin(m.call_config_schema(acc)))
            .await
            .map_err(failed("`config-schema`"))?;
        let schema =
            serde_json::from_str(&text).map_err(|e| failed("`config-schema`")(format!("its JSON is wrong: {e}")))?;
        Ok(Plugin { description, schema, digest, engine: engine.clone(), footprint, about, provides })
    }

    /// What it can do, if it provides sandboxes.
    pub fn abilities(&self) -> Option<Abilities> {
        match self.provides {
            Found::Sandbox(_, abilities) => Some(abilities),
            Found::Storage(_) => None,
        }
    }

    /// The exports of a plugin of kind `sandbox`, and what it can do.
    pub(crate) fn sandbox(&self) -> Result<(&SandboxPre, Abilities), LoadError> {
        match &self.provides {
            Found::Sandbox(exports, abilities) => Ok((exports, *abilities)),
            Found::Storage(_) => Err(self.not_of_kind(Kind::Sandbox)),
        }
    }

    /// The exports of a plugin of kind `storage`.
    pub(crate) fn storage(&self) -> Result<&StorageProviderPre<State>, LoadError> {
        match &self.provides {
            Found::Storage(exports) => Ok(exports),
            Found::Sandbox(..) => Err(self.not_of_kind(Kind::Storage)),
        }
    }

    fn not_of_kind(&self, wanted: Kind) -> LoadError {
        LoadError::Kind { plugin: self.description.id.clone(), found: self.description.kind, wanted }
    }

    /// What the plugin finds wrong with a configuration that fits its schema:
    /// JSON Pointer and message of each mistake.
    ///
    /// # Errors
    /// When the plugin traps or does not answer.
    pub async fn validate(&self, config: &str) -> Result<Vec<(String, String)>, LoadError> {
        let config = config.to_owned();
        let found =
            ask(&self.engine, self.footprint, &self.about, move |m, acc| Box::pin(m.call_validate(acc, config)))
                .await
                .map_err(|cause| LoadError::Manifest { what: "`validate`", cause })?;
        Ok(found.into_iter().take(DIAGNOSTICS).map(|d| (d.pointer, clean(&d.message, MESSAGE_BYTES))).collect())
    }
}

type Asked<'a, R> = Pin<Box<dyn Future<Output = wasmtime::Result<R>> + Send + 'a>>;

/// Calls one pure function in a fresh instance that is granted nothing.
async fn ask<R: Send + 'static>(
    engine: &wasmtime::Engine,
    footprint: Footprint,
    about: &About,
    f: impl for<'a> FnOnce(&'a manifest::Guest, &'a Accessor<State>) -> Asked<'a, R> + Send,
) -> Result<R, String> {
    let permissions = Arc::new(Permissions { memory: MANIFEST_MEMORY, cpu: MANIFEST_CPU, ..Permissions::default() });
    let mut guest_store = GuestStore::new(engine, footprint, permissions, None, &Call::default());
    let meter = guest_store.meter.clone();
    let work = async {
        let guest = about.instantiate(&mut guest_store.store).await?;
        guest_store.store.run_concurrent(async |acc| f(&guest, acc).await).await?
    };
    match tokio::time::timeout(MANIFEST_DEADLINE, meter.watch(pin!(work))).await {
        Err(_) => Err(format!("it did not answer within {MANIFEST_DEADLINE:?}")),
        Ok(Err(e)) => Err(meter.reason().unwrap_or_else(|| clean(&format!("{:#}", e.root_cause()), MESSAGE_BYTES))),
        Ok(Ok(value)) => Ok(value),
    }
}
