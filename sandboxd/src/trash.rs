//! What ended sandboxes leave on the disk, until it is removed.
//!
//! A tree is moved here at once and removed in the background by one process of low priority, which may take as long as it
//! takes. Knows nothing of sandboxes.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::io::AsyncReadExt;
use tokio::sync::watch;

use crate::chore::Chore;

/// Bytes of the remover's complaint that are kept for the log.
const MAX_COMPLAINT: u64 = 1024;

/// A cheap handle.
#[derive(Debug, Clone)]
pub(crate) struct Trash {
    directory: Arc<Path>,
    /// How often something was thrown away.
    thrown: watch::Sender<u64>,
    /// How much of that has been removed.
    removed: watch::Sender<u64>,
}

impl Trash {
    /// What is in the directory already counts as thrown away.
    pub(crate) fn new(directory: PathBuf) -> Self {
        Self { directory: directory.into(), thrown: watch::Sender::new(1), removed: watch::Sender::new(0) }
    }

    /// Moves a tree here, which takes no time. One that cannot be moved stays where it is until the server starts again.
    pub(crate) fn throw(&self, tree: &Path) {
        let name = tree.file_name().expect("a tree has a name");
        match std::fs::rename(tree, self.directory.join(name)) {
            Ok(()) => self.thrown.send_modify(|thrown| *thrown += 1),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                tracing::warn!(directory = %tree.display(), %error, "cannot remove the directory of an ended sandbox");
            }
        }
    }

    /// Removes what is thrown away, for ever.
    pub(crate) async fn keep_empty(self, program: PathBuf) {
        let mut thrown = self.thrown.subscribe();
        loop {
            let due = *thrown.borrow_and_update();
            if let Err(error) = self.empty(&program).await {
                tracing::warn!(directory = %self.directory.display(), %error, "cannot remove what ended sandboxes left");
            }
            self.removed.send_replace(due);
            if thrown.changed().await.is_err() {
                return;
            }
        }
    }

    async fn empty(&self, program: &Path) -> io::Result<()> {
        let chore = Chore::Empty { directory: self.directory.to_path_buf() };
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

    /// Returns when all that was thrown away until now is removed.
    pub(crate) async fn emptied(&self) {
        let thrown = *self.thrown.borrow();
        let mut removed = self.removed.subscribe();
        // The sender is this handle's.
        let _ = removed.wait_for(|removed| *removed >= thrown).await;
    }
}
