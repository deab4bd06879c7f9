//! Directories that ended sandboxes left on the disk, until they are removed.
//!
//! A tree is moved here at once. If that is impossible, it stays where it is. One process of low priority at a time
//! removes the trees in the background, however long that takes. Knows nothing of sandboxes.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use tokio::io::AsyncReadExt;
use tokio::sync::watch;

use sandbox_stdx::lock::lock;
use sandboxd_init::chore::Chore;

/// Bytes of that process's error text that are kept for the log.
const MAX_COMPLAINT: u64 = 1024;

/// A handle that is cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Trash {
    directory: Arc<Path>,
    /// Trees that could not be moved here. Each is removed where it is.
    elsewhere: Arc<Mutex<Vec<PathBuf>>>,
    /// How many trees were thrown away.
    thrown: watch::Sender<u64>,
    /// How many of them were removed.
    removed: watch::Sender<u64>,
}

impl Trash {
    /// What is already in the directory counts as one tree that was thrown away.
    pub(crate) fn new(directory: PathBuf) -> Self {
        let (thrown, removed) = (watch::Sender::new(1), watch::Sender::new(0));
        Self { directory: directory.into(), elsewhere: Arc::default(), thrown, removed }
    }

    /// Moves a tree here, which takes no time. A tree that cannot be moved, for example because it is on another file
    /// system, is removed where it is.
    pub(crate) fn throw(&self, tree: &Path) {
        let name = tree.file_name().expect("a tree has a name");
        match std::fs::rename(tree, self.directory.join(name)) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            Err(error) => {
                tracing::info!(directory = %tree.display(), %error, "an ended sandbox's directory is removed in place");
                lock(&self.elsewhere).push(tree.to_owned());
            }
        }
        self.thrown.send_modify(|thrown| *thrown += 1);
    }

    /// Removes what is thrown away. Never returns while the server runs.
    pub(crate) async fn keep_empty(self, program: PathBuf) {
        let mut thrown = self.thrown.subscribe();
        let log_failure = |directory: &Path, error| {
            tracing::warn!(directory = %directory.display(), %error, "cannot remove what ended sandboxes left");
        };
        loop {
            let due = *thrown.borrow_and_update();
            let elsewhere = std::mem::take(&mut *lock(&self.elsewhere));
            if let Err(error) = empty(&self.directory, &program).await {
                log_failure(&self.directory, error);
            }
            for tree in elsewhere {
                let removed = match empty(&tree, &program).await {
                    Ok(()) => tokio::fs::remove_dir(&tree).await,
                    Err(error) => Err(error),
                };
                if let Err(error) = removed {
                    log_failure(&tree, error);
                }
            }
            self.removed.send_replace(due);
            if thrown.changed().await.is_err() {
                return;
            }
        }
    }

    /// Returns when everything that was thrown away until now is removed.
    pub(crate) async fn emptied(&self) {
        let thrown = *self.thrown.borrow();
        let mut removed = self.removed.subscribe();
        // Cannot fail: this handle holds the sender.
        let _ = removed.wait_for(|removed| *removed >= thrown).await;
    }
}

/// Removes all that is in a directory.
async fn empty(directory: &Path, program: &Path) -> io::Result<()> {
    let chore = Chore::Empty { directory: directory.to_path_buf() };
    // The process goes on if this server ends, and ends when it is done.
    let mut child = chore.command(program).spawn()?;
    let mut complaint = Vec::new();
    if let Some(stderr) = child.stderr.take() {
        stderr.take(MAX_COMPLAINT).read_to_end(&mut complaint).await?;
    }
    let status = child.wait().await?;
    if status.success() {
        return Ok(());
    }
    Err(io::Error::other(format!("{status}: {}", String::from_utf8_lossy(&complaint).trim())))
}
