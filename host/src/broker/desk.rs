//! The mounts that sessions would get, for the operator's commands: without a session, and without a broker that serves.
//!
//! Deliberately makes no sandbox: a plan is only shown, and what a check gets is taken back at once.

use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::home::broker_id;
use super::loader::{Checked, Loader};
use super::providers::mounts;
use sandbox_broker_config as config;
use sandbox_broker_core::sandbox::{Call, Error};
use sandbox_broker_core::storage::{Grant, Mounter, Plan, Target};
use sandbox_broker_plugin::LiveMounts;
use sandbox_broker_session::{Mount, WORKSPACES, new_id};
use sandbox_stdx::hex::hex;

/// One mount, as the operator looks at it.
#[derive(Debug)]
pub struct Desk {
    mounter: Arc<dyn Mounter>,
    target: Target,
    section: config::Provider,
    /// Whose mount it would be, if each person has their own.
    user: Option<String>,
}

impl Desk {
    /// The mounts of a configuration, in its order. A mount that differs from person to person appears once for each.
    ///
    /// # Errors
    /// When the broker's identity or the system's root certificates cannot be
    /// read.
    pub fn of(loader: &Loader, checked: &Checked) -> anyhow::Result<Vec<Self>> {
        // This must not be the broker's own name. A plugin clears away whatever has its broker's name and is not live, and
        // this process does not know which mounts of a serving broker are live.
        let own = broker_id(&loader.surroundings.state)?;
        let name = hex(&Sha256::digest(format!("desk of {own}"))[..8]);
        let live = LiveMounts::default();
        let people = checked.config.auth.iter().flat_map(|auth| &auth.tokens).map(|token| Some(token.name.clone()));
        let people: Vec<_> = people.collect();
        let desk = |mount: Mount, user: Option<String>| {
            let id = new_id().to_string();
            Desk {
                section: checked.config.providers[mount.mounter.name()].clone(),
                user,
                target: Target {
                    path: mount.path,
                    workspace: format!("{WORKSPACES}/{id}"),
                    read_only: mount.read_only,
                    user: checked.config.sandbox.user.clone(),
                    broker: name.clone(),
                    id,
                },
                mounter: mount.mounter,
            }
        };
        let mut desks = Vec::new();
        for mount in mounts(checked, &live)? {
            let own = checked.config.providers[mount.mounter.name()].is_per_user();
            let users = if own { people.clone() } else { vec![None] };
            desks.extend(users.into_iter().map(|user| desk(mount.clone(), user)));
        }
        Ok(desks)
    }

    /// Such as "azure at /workspace/files", or "azure at /workspace/files for
    /// ada".
    pub fn name(&self) -> String {
        let whose = self.user.as_ref().map_or(String::new(), |user| format!(" for {user}"));
        format!("{} at {}{whose}", self.mounter.name(), self.target.path)
    }

    fn call(&self) -> Call {
        Call { user: self.user.clone(), ..Call::default() }
    }

    /// Its section. The section's secrets must be masked in what is shown.
    pub fn section(&self) -> &config::Provider {
        &self.section
    }

    /// The plan of a mount for which nothing was prepared. Sends nothing.
    ///
    /// # Errors
    /// The plugin's.
    pub async fn plan(&self) -> Result<Plan, Error> {
        self.mounter.plan(&self.call(), &self.target, &Grant::default()).await
    }

    /// Prepares a mount as a session would, and takes back what that got.
    ///
    /// # Errors
    /// Why a session would fail, or what could not be taken back.
    pub async fn check(&self) -> Result<(), Error> {
        let call = self.call();
        match self.mounter.prepare(&call, &self.target).await {
            Ok(grant) => self.mounter.release(&call, &self.target, &grant).await,
            Err(error) => {
                // The release is owed even so. Its own error does not matter: `error` says why the check failed.
                let _ = self.mounter.release(&call, &self.target, &Grant::default()).await;
                Err(error)
            }
        }
    }
}
