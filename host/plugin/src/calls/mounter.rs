//! One configured section of a plugin, as a [`Mounter`].
//!
//! Owns the conversations with the storage's service, which the host leads on behalf of the plugin, and which mounts are
//! live. Deliberately knows no storage service, and not how a plan is carried out.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use sha2::{Digest as _, Sha256};

use super::caller::{Caller, Section, ask};
use super::trace::traceparent;
use crate::bindings::storage::StorageProviderPre;
use crate::bindings::storage::mounter::{Answer, MountTarget, Planning, Preparing, Releasing, Renewing, Request};
use crate::convert;
use crate::load::error::LoadError;
use crate::load::plugin::Plugin;
use crate::net::exchange::exchange;
use crate::net::places::StoreRequests;
use crate::store::State;
use sandbox_broker_core::sandbox::{Call, Result};
use sandbox_broker_core::storage::{Grant, Mounter, Plan, Renewal, Target};
use sandbox_stdx::hex::hex;
use sandbox_stdx::lock::lock;

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

/// A conversation with the storage's service, within the deadline of one call: the plugin words one request after the
/// other, and gets all answers until now each time.
struct Conversation<'a> {
    caller: &'a Caller<StorageProviderPre<State>>,
    call: &'a Call,
    what: &'static str,
    /// How many may be sent.
    requests: usize,
    began: Instant,
    answers: Vec<Answer>,
}

impl Conversation<'_> {
    fn left(&self) -> Duration {
        self.caller.deadline().saturating_sub(self.began.elapsed())
    }

    async fn send(&mut self, request: Request) -> Result<()> {
        if self.answers.len() == self.requests {
            return Err(convert::breach(&match self.requests {
                0 => format!("`{}` asked for a request although nothing was prepared", self.what),
                most => format!("it asked for more than {most} requests in one conversation"),
            }));
        }
        let requests = StoreRequests::of(&traceparent(self.call.session.as_deref()));
        self.answers.push(exchange(&self.caller.sender, request, requests).await?);
        Ok(())
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

    fn conversation<'a>(&'a self, what: &'static str, requests: usize, call: &'a Call) -> Conversation<'a> {
        Conversation { caller: &self.caller, call, what, requests, began: Instant::now(), answers: Vec::new() }
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
        let mut talk = self.conversation("prepare", REQUESTS, call);
        let talking = async {
            loop {
                let (to, now) = (self.target(target), convert::now());
                let (left, answers) = (talk.left(), talk.answers.clone());
                let next = ask!(
                    self.caller,
                    call,
                    "prepare",
                    within left,
                    sandbox_broker_plugin_mounter.call_prepare(to, now, answers)
                );
                match next.await? {
                    Preparing::Send(request) => talk.send(request).await?,
                    Preparing::Done(got) => return convert::grant(got),
                }
            }
        };
        self.caller.in_time("prepare", Box::pin(talking)).await
    }

    async fn plan(&self, call: &Call, target: &Target, grant: &Grant) -> Result<Plan> {
        // A plan that is only shown must not reach the service.
        let requests = if grant.is_empty() { 0 } else { REQUESTS };
        let mut talk = self.conversation("plan", requests, call);
        let talking = async {
            loop {
                let (to, now, given) = (self.target(target), convert::now(), convert::to_grant(grant));
                let (left, answers) = (talk.left(), talk.answers.clone());
                let next = ask!(
                    self.caller,
                    call,
                    "plan",
                    within left,
                    sandbox_broker_plugin_mounter.call_plan(to, now, given, answers)
                );
                match next.await? {
                    Planning::Send(request) => talk.send(request).await?,
                    Planning::Done(got) => return convert::plan(got),
                }
            }
        };
        self.caller.in_time("plan", Box::pin(talking)).await
    }

    async fn renew(&self, call: &Call, target: &Target, grant: &Grant) -> Result<Renewal> {
        let mut talk = self.conversation("renew", REQUESTS, call);
        let talking = async {
            loop {
                let (to, now, given) = (self.target(target), convert::now(), convert::to_grant(grant));
                let (left, answers) = (talk.left(), talk.answers.clone());
                let next = ask!(
                    self.caller,
                    call,
                    "renew",
                    within left,
                    sandbox_broker_plugin_mounter.call_renew(to, now, given, answers)
                );
                match next.await? {
                    Renewing::Send(request) => talk.send(request).await?,
                    Renewing::Done(got) => return convert::renewal(got),
                }
            }
        };
        self.caller.in_time("renew", Box::pin(talking)).await
    }

    async fn release(&self, call: &Call, target: &Target, grant: &Grant) -> Result<()> {
        // After a failure as well: a later `prepare` then clears away what was left behind.
        let _removed = RemoveWhenDropped { live: &self.live, id: &target.id };
        let mut talk = self.conversation("release", REQUESTS, call);
        let talking = async {
            loop {
                let (to, now, given) = (self.target(target), convert::now(), convert::to_grant(grant));
                let (left, answers) = (talk.left(), talk.answers.clone());
                let next = ask!(
                    self.caller,
                    call,
                    "release",
                    within left,
                    sandbox_broker_plugin_mounter.call_release(to, now, given, answers)
                );
                match next.await? {
                    Releasing::Send(request) => talk.send(request).await?,
                    Releasing::Done => return Ok(()),
                }
            }
        };
        self.caller.in_time("release", Box::pin(talking)).await
    }
}

#[cfg(test)]
mod tests;
