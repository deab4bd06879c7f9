//! The handle of a live sandbox: what it was made with, its file operations, and the signals that ask for its end.
//!
//! Knows neither the sandbox's `bwrap` process nor its directory: see `teardown`.

use std::collections::{BTreeMap, HashMap};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::lease::Lease;
use super::process::Processes;
use super::watchers::PolledWatcher;
use crate::limits::disk::Excess;
use crate::link::Link;
use sandboxd_init::wire::{Failure, FileOp, Reply};

/// File operations at once in one sandbox. Each holds a thread of its init.
pub(crate) const MAX_FILE_OPERATIONS: usize = 32;

/// How long a sandbox that may mount has for an orderly end. In this time its mounts store what was written.
const CLOSE_DEADLINE: Duration = Duration::from_secs(10);

/// The init may report the result this much later.
const CLOSE_SLACK: Duration = Duration::from_secs(1);

/// A live sandbox. Its end is announced by [`Sandbox::gone`].
#[derive(Debug)]
pub(crate) struct Sandbox {
    pub(crate) id: String,
    pub(crate) template: String,
    pub(crate) metadata: BTreeMap<String, String>,
    pub(crate) envs: BTreeMap<String, String>,
    pub(crate) token: String,
    pub(crate) network: bool,
    pub(crate) fuse: bool,
    pub(crate) started: jiff::Timestamp,
    pub(crate) lease: watch::Sender<Lease>,
    pub(crate) link: Link,
    /// The pid on the host.
    pub(crate) init_pid: u32,
    pub(crate) processes: Arc<Processes>,
    pub(crate) file_operations: Semaphore,
    /// Watchers that clients poll, by their id.
    pub(crate) watchers: Mutex<HashMap<String, PolledWatcher>>,
    /// Asks the sandbox's task to end it at once.
    pub(crate) stop: CancellationToken,
    /// Asks the sandbox's task to end it as at the end of its lease.
    pub(crate) close: CancellationToken,
    /// Asks the sandbox's task to end it because it takes too much disk space.
    pub(crate) excess: watch::Sender<Option<Excess>>,
    /// Cancelled when the sandbox has no process left and its directory was moved away.
    pub(crate) gone: CancellationToken,
}

impl Sandbox {
    /// The environment that every process of the sandbox gets: the variables that it was made with, and those that E2B
    /// sets.
    pub(crate) fn environment(&self) -> BTreeMap<String, String> {
        let mut envs = self.envs.clone();
        envs.insert("E2B_SANDBOX".to_owned(), "true".to_owned());
        envs.insert("E2B_SANDBOX_ID".to_owned(), self.id.clone());
        envs.insert("E2B_TEMPLATE_ID".to_owned(), self.template.clone());
        envs
    }

    /// Does one operation in its file system. Waits while [`MAX_FILE_OPERATIONS`] others are running.
    pub(crate) async fn file(&self, user: &str, op: FileOp) -> Result<(Reply, Option<OwnedFd>), Failure> {
        let _turn = self.file_operations.acquire().await.expect("the semaphore is never closed");
        self.link.file(user, op, None).await
    }

    /// Opens an entry below an open directory, with the rights of a user. `None` if the init sent no descriptor.
    pub(crate) async fn open_below(
        &self,
        user: &str,
        directory: OwnedFd,
        path: String,
    ) -> Result<Option<OwnedFd>, Failure> {
        let _turn = self.file_operations.acquire().await.expect("the semaphore is never closed");
        let (_, opened) = self.link.file(user, FileOp::OpenBelow { path }, Some(directory)).await?;
        Ok(opened)
    }

    /// Ends the programs of a sandbox that may mount, then its mounts. So everything that programs wrote is stored
    /// before the last process is killed. Other sandboxes have nothing to wait for. Takes little more than
    /// [`CLOSE_DEADLINE`] at most.
    pub(crate) async fn wind_down(&self) {
        if !self.fuse {
            return;
        }
        let begun = Instant::now();
        let failure = match tokio::time::timeout(CLOSE_DEADLINE + CLOSE_SLACK, self.link.close(CLOSE_DEADLINE)).await {
            Ok(Ok(())) => {
                let duration_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
                tracing::info!(sandbox = %self.id, duration_ms, "mounts of a sandbox unmounted");
                return;
            }
            Ok(Err(failure)) => failure.message,
            Err(_) => "its init did not answer in time".to_owned(),
        };
        tracing::warn!(sandbox = %self.id, failure, "a sandbox is killed before all that it wrote is known to be stored");
    }
}
