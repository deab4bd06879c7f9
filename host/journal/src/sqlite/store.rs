//! The handle on the journal's file. Owns that one call at a time runs, off the runtime's threads, and when a change may
//! stay in memory; deliberately knows no statement.

use std::fmt;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use rusqlite::Connection;
use tokio::sync::Mutex;

use super::bounds::FILE_BYTES;
use super::file::{FILE, LOCK, OpenFile};
use super::lock::lock;
use super::problem::Problem;
use crate::port::{Error, Result};

/// The journal of the broker that serves from a state directory.
pub struct Sqlite {
    path: Arc<Path>,
    /// Locked by one call at a time. A call that waits costs no thread.
    open: Arc<Mutex<OpenFile>>,
}

/// Whether a change must be in the file before it is answered.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Promise {
    /// It outlives the process, or it fails.
    Durable,
    /// While the file is gone, the change is kept in memory, and written with all others once there is a file again. So
    /// a session that ends or renews its lease is not refused.
    WhenPossible,
}

impl fmt::Debug for Sqlite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sqlite").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Sqlite {
    /// Opens the journal in the directory `state`, or begins one. No other process can serve from there until the journal
    /// is dropped. It blocks the thread, so it is for the start of a program.
    ///
    /// # Errors
    /// [`Error::Failed`], in words for the operator: another process serves from there, the file is damaged or of a later
    /// version, or it cannot be read and written. An existing file is left as it is.
    pub fn open(state: &Path) -> Result<Self> {
        let lock = lock(&state.join(LOCK), state)?;
        Self::with_lock(&state.join(FILE), FILE_BYTES, Some(lock))
    }

    /// Opens the file `path` of at most `bytes`, without a lock.
    #[cfg(test)]
    pub(crate) fn at(path: &Path, bytes: u32) -> Result<Self> {
        Self::with_lock(path, bytes, None)
    }

    fn with_lock(path: &Path, bytes: u32, lock: Option<File>) -> Result<Self> {
        let open = OpenFile::open(path, bytes, lock)?;
        Ok(Sqlite { path: path.into(), open: Arc::new(Mutex::new(open)) })
    }

    /// Runs `work` on the connection, off the runtime's threads.
    pub(super) async fn with<T: Send + 'static>(
        &self,
        promise: Promise,
        work: impl FnOnce(&mut Connection) -> std::result::Result<T, Problem> + Send + 'static,
    ) -> Result<T> {
        let mut open = Arc::clone(&self.open).lock_owned().await;
        let path = Arc::clone(&self.path);
        let done = tokio::task::spawn_blocking(move || {
            let in_place = open.keep(&path);
            if promise == Promise::Durable {
                in_place?;
            }
            work(&mut open.connection)
        })
        .await;
        // A runtime that shuts down runs no work any more.
        let stopped = |_| Err(Problem::Told(Error::Failed("the broker stopped before its journal was written".into())));
        done.unwrap_or_else(stopped).map_err(|problem| problem.told(&self.path))
    }
}
