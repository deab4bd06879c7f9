//! What ended sandboxes leave on the disk, until it is removed.
//!
//! A tree is moved here at once, or where that is impossible left where it is, and removed in the background by one process
//! of low priority at a time, which may take as long as it takes. Knows nothing of sandboxes.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::AsyncReadExt;
use tokio::sync::watch;

use crate::chore::Chore;

/// Bytes of the remover's complaint that are kept for the log.
const MAX_COMPLAINT: u64 = 1024;

/// A cheap handle.
#[derive(Debug, Clone)]
pub(crate) struct Trash {
    directory: Arc<Path>,
    /// Trees that could not be moved here, each removed where it is.
    elsewhere: Arc<Mutex<Vec<PathBuf>>>,
    /// How often something was thrown away.
    thrown: watch::Sender<u64>,
    /// How much of that has been removed.
    removed: watch::Sender<u64>,
}

impl Trash {
    /// What is in the directory already counts as thrown away.
    pub(crate) fn new(directory: PathBuf) -> Self {
        let (thrown, removed) = (watch::Sender::new(1), watch::Sender::new(0));
        Self { directory: directory.into(), elsewhere: Arc::default(), thrown, removed }
    }

    /// Moves a tree here, which takes no time. One that cannot be moved, because it is on another file system for example,
    /// is removed where it is.
    pub(crate) fn throw(&self, tree: &Path) {
        let name = tree.file_name().expect("a tree has a name");
        match std::fs::rename(tree, self.directory.join(name)) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            Err(error) => {
                tracing::info!(directory = %tree.display(), %error, "an ended sandbox's directory is removed in place");
                self.elsewhere.lock().unwrap_or_else(PoisonError::into_inner).push(tree.to_owned());
            }
        }
        self.thrown.send_modify(|thrown| *thrown += 1);
    }

    /// Removes what is thrown away, for ever.
    pub(crate) async fn keep_empty(self, program: PathBuf) {
        let mut thrown = self.thrown.subscribe();
        let failed = |directory: &Path, error| {
            tracing::warn!(directory = %directory.display(), %error, "cannot remove what ended sandboxes left");
        };
        loop {
            let due = *thrown.borrow_and_update();
            let elsewhere = std::mem::take(&mut *self.elsewhere.lock().unwrap_or_else(PoisonError::into_inner));
            if let Err(error) = empty(&self.directory, &program).await {
                failed(&self.directory, error);
            }
            for tree in elsewhere {
                let removed = match empty(&tree, &program).await {
                    Ok(()) => tokio::fs::remove_dir(&tree).await,
                    Err(error) => Err(error),
                };
                if let Err(error) = removed {
                    failed(&tree, error);
                }
            }
            self.removed.send_replace(due);
            if thrown.changed().await.is_err() {
                return;
            }
        }
    }

    /// Returns when all that was thrown away until now is removed.
    pub(crate) async fn emptied(&self) {
        let thrown = *self.thrown.borrow();
        let mut removed = self.removed.subscribe();
        // The sender is this handle's.
        let _ = removed.wait_for(|removed| *removed >= thrown).await;
    }
}

/// Removes all that is in a directory.
async fn empty(directory: &Path, program: &Path) -> io::Result<()> {
    let chore = Chore::Empty { directory: directory.to_path_buf() };
    // It goes on when this server ends, and then ends by itself.
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
