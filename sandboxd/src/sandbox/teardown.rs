//! What must be taken down when a sandbox ends: its processes, its network, its control group and its directory.
//!
//! Does not know why a sandbox ends.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use rustix::process::Signal;
use tokio::io::unix::AsyncFd;
use tokio::process::Child;

use super::trash::Trash;
use crate::limits::cgroup::Cgroup;
use crate::network::Uplink;

/// How long the kernel may take to end all processes of a sandbox. It takes longer only if a process hangs in a file
/// system.
const DEATH_DEADLINE: Duration = Duration::from_secs(10);

/// What must be taken down when a sandbox ends.
#[derive(Debug)]
pub(crate) struct Teardown {
    pub(super) child: Child,
    pub(super) init: AsyncFd<OwnedFd>,
    pub(super) group: Cgroup,
    /// `None` if it has no network of its own.
    pub(super) uplink: Option<Uplink>,
    pub(super) directory: Directory,
}

impl Teardown {
    /// Waits until the init dies by itself. Logs an error if the process that carries the sandbox's connections ends
    /// before.
    pub(crate) async fn died(&mut self) {
        // A pidfd becomes readable when its process ends.
        while let Some(uplink) = &mut self.uplink {
            tokio::select! {
                _ = self.init.readable() => return,
                () = uplink.died() => {
                    let directory = self.directory.path.display();
                    tracing::error!(%directory, "the process that carries a sandbox's connections ended; it has no network");
                    self.uplink = None;
                }
            }
        }
        let _ = self.init.readable().await;
    }

    /// Kills every process of the sandbox, waits for their end, and moves its directory away. The files are removed in
    /// the background.
    pub(crate) async fn take_down(mut self) {
        // The kernel kills a whole pid namespace with its first process, and reports the end of that process last.
        let _ = rustix::process::pidfd_send_signal(self.init.get_ref(), Signal::KILL);
        if tokio::time::timeout(DEATH_DEADLINE, self.died()).await.is_err() {
            tracing::error!(directory = %self.directory.path.display(), "processes of a sandbox do not end");
        }
        let _ = self.child.start_kill();
        let _ = self.child.wait().await;
        if let Some(uplink) = self.uplink.take() {
            uplink.end().await;
        }
        drop(self.group);
        drop(self.directory);
    }
}

/// A sandbox's directory. Dropping it throws it away.
#[derive(Debug)]
pub(super) struct Directory {
    pub(super) path: PathBuf,
    pub(super) trash: Trash,
}

impl Drop for Directory {
    fn drop(&mut self) {
        self.trash.throw(&self.path);
    }
}
