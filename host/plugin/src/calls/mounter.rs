//! One configured section of a plugin, as a [`Mounter`].
//!
//! Owns the conversations with the storage's service, which the host leads on behalf of the plugin, and which mounts are
//! live. Deliberately knows no storage service, and not how a plan is carried out.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use sha2::{Digest as _, Sha256};

use super::caller::{Caller, Section, ask};
use crate::bindings::storage::StorageProviderPre;
use crate::bindings::storage::mounter::{Exchange, MountTarget};
use crate::convert;
use crate::load::error::LoadError;
use crate::load::plugin::Plugin;
use crate::net::exchange::exchange;
use crate::store::State;
use sandbox_broker_core::hex::hex;
use sandbox_broker_core::lock::lock;
use sandbox_broker_core::sandbox::{Call, Result};
use sandbox_broker_core::storage::{Grant, Mounter, Plan, Renewal, Target};

/// Bytes of the digest of a section's settings. It need not resist an attack: only the author of the configuration could
/// look for two settings with the same digest.
const SETTINGS: usize = 8;

/// Requests of one conversation. The contract names it.
const REQUESTS: usize = 16;

/// Ids of this broker's mounts between `prepare` and the end of `release`, including those that an earlier process
/// prepared. All sections and all generations of the configuration share one set, because several may use the same
/// container and none may take a live mount for an abandoned one. It is bounded by the number of mounts.
#[derive(Clone, Debug, Default)]
pub struct LiveMounts(Arc<Mutex<BTreeSet<String>>>);

impl LiveMounts {
    fn with<R>(&self, f: impl FnOnce(&mut BTreeSet<String>) -> R) -> R {
        f(&mut lock(&self.0))
    }

    /// Adds a mount that an earlier process of the broker prepared. To be called before anything is prepared here.
    pub fn inherit(&self, id: &str) {
        self.with(|live| live.insert(id.to_owned()));
    }

    /// All ids but `id`, separated by spaces.
    fn others(&self, id: &str) -> String {
        self.with(|live| live.iter().map(String::as_str).filter(|other| *other != id).collect::<Vec<_>>().join(" "))
    }
}

/// Removes a mount from the live ones when dropped, so that every way out of `release` does it.
struct RemoveWhenDropped<'a> {
    live: &'a LiveMounts,
    id: &'a str,
}

impl Drop for RemoveWhenDropped<'_> {
    fn drop(&mut self) {
        self.live.with(|live| live.remove(self.id));
    }
}

/// A storage provider that a component implements.
#[derive(Debug)]
pub struct ComponentMounter {
    title: String,
    settings: String,
    caller: Caller<StorageProviderPre<State>>,
    live: LiveMounts,
}

impl ComponentMounter {
    /// A mounter of this plugin and section, among the mounts of this broker.
    ///
    /// # Errors
    /// When the plugin is of another kind, or the system's root certificates
    /// cannot be read.
    pub fn new(plugin: Arc<Plugin>, section: Section, live: LiveMounts) -> std::result::Result<Self, LoadError> {
        let (world, title) = (plugin.storage()?.clone(), convert::title(&plugin.description.title));
        let digest = Sha256::digest(section.config.to_string());
        let settings = hex(&digest[..SETTINGS]);
        Ok(ComponentMounter { title, settings, caller: Caller::new(plugin, world, section)?, live })
    }

    /// Asks the plugin for one request after the other and sends each, until the plugin is done. `released` is the grant
    /// for `release`, and `None` for `prepare`.
    async fn converse(&self, call: &Call, target: &Target, released: Option<&Grant>) -> Result<Vec<u8>> {
        let mut answers = Vec::new();
        loop {
            let (to, now, so_far) = (self.target(target), convert::now(), answers.clone());
            let next = match released {
                None => {
                    ask!(self.caller, call, "prepare", sandbox_broker_plugin_mounter.call_prepare(to, now, so_far))
                        .await?
                }
                Some(Grant(grant)) => {
                    let grant = grant.to_vec();
                    ask!(
                        self.caller,
                        call,
                        "release",
                        sandbox_broker_plugin_mounter.call_release(to, now, grant, so_far)
                    )
                    .await?
                }
            };
            match next {
                Exchange::Done(got) => return Ok(got),
                Exchange::Send(_) if answers.len() == REQUESTS => {
                    return Err(convert::breach("it asked for more than 16 requests in one conversation"));
                }
                Exchange::Send(request) => answers.push(exchange(&self.caller.sender, request).await?),
            }
        }
    }

    fn target(&self, target: &Target) -> MountTarget {
        convert::to_target(target, self.live.others(&target.id))
    }
}

#[async_trait]
impl Mounter for ComponentMounter {
    fn name(&self) -> &str {
        &self.caller.name
    }

    fn title(&self) -> &str {
        &self.title
    }

    fn settings(&self) -> &str {
        &self.settings
    }

    async fn prepare(&self, call: &Call, target: &Target) -> Result<Grant> {
        self.live.with(|live| live.insert(target.id.clone()));
        let got = self.caller.in_time("prepare", Box::pin(self.converse(call, target, None))).await?;
        convert::grant(got)
    }

    async fn plan(&self, call: &Call, target: &Target, grant: &Grant) -> Result<Plan> {
        let (to, now, grant) = (self.target(target), convert::now(), grant.0.to_vec());
        let plan = ask!(self.caller, call, "plan", sandbox_broker_plugin_mounter.call_plan(to, now, grant)).await?;
        convert::plan(plan)
    }

    async fn renew(&self, call: &Call, target: &Target, grant: &Grant) -> Result<Renewal> {
        let (to, now, grant) = (self.target(target), convert::now(), grant.0.to_vec());
        let renewal =
            ask!(self.caller, call, "renew", sandbox_broker_plugin_mounter.call_renew(to, now, grant)).await?;
        convert::renewal(renewal)
    }

    async fn release(&self, call: &Call, target: &Target, grant: &Grant) -> Result<()> {
        // After a failure as well: a later `prepare` then clears away what was left behind.
        let _removed = RemoveWhenDropped { live: &self.live, id: &target.id };
        self.caller.in_time("release", Box::pin(self.converse(call, target, Some(grant)))).await.map(drop)
    }
}

#[cfg(test)]
mod tests;
