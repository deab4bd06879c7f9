//! The file that is written to, and that it lies where the next process looks for it. Owns what happens when the file or
//! the lock is removed while the broker runs; deliberately knows no call of the port.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use rusqlite::{Connection, TransactionBehavior, params};
use tracing::error;

use super::connection::connect;
use super::lock::lock;
use super::problem::Problem;
use super::rows::{SELECT, Stored, row};
use crate::port::{Error, Result};
use sandbox_broker_core::disk;

/// The journal, in the state directory.
pub(crate) const FILE: &str = "journal.sqlite";

/// Locked by the process that serves from the state directory. Its content is the pid.
pub(crate) const LOCK: &str = "journal.lock";

/// The open journal.
pub(super) struct OpenFile {
    pub(super) connection: Connection,
    /// `None` only in tests in which two brokers share one file.
    lock: Option<File>,
    /// The file that `connection` writes to.
    file: FileId,
    /// Bound on the file.
    bytes: u32,
}

/// Device and inode. Two files that had the same name at different times differ in them.
type FileId = (u64, u64);

fn id_of(metadata: &Metadata) -> FileId {
    (metadata.dev(), metadata.ino())
}

impl OpenFile {
    pub(super) fn open(path: &Path, bytes: u32, lock: Option<File>) -> Result<Self> {
        let unusable = |e: io::Error| {
            Error::Failed(format!("cannot open the journal {}: {}", path.display(), disk::explain(path, &e)))
        };
        // SQLite gives its other files the same permissions.
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path);
        let file = file.and_then(|file| {
            file.set_permissions(Permissions::from_mode(0o600))?;
            file.metadata()
        });
        let file = id_of(&file.map_err(unusable)?);
        let connection = connect(path, bytes).map_err(|problem| problem.told(path))?;
        Ok(OpenFile { connection, lock, file, bytes })
    }

    /// Makes sure that the file lies where the next process looks for it. A file that was removed is made again with all
    /// its content, because a removed file can be read as long as it is open. Until that has succeeded, the removed file
    /// stays in use.
    pub(super) fn keep(&mut self, path: &Path) -> Result<()> {
        let is = |path: &Path, id| fs::metadata(path).is_ok_and(|found| id_of(&found) == id);
        let locked = |lock: &File| lock.metadata().is_ok_and(|lock| is(&path.with_file_name(LOCK), id_of(&lock)));
        let locked = self.lock.as_ref().is_none_or(locked);
        if locked && is(path, self.file) {
            return Ok(());
        }
        let state = path.parent().unwrap_or(Path::new("/"));
        let unusable = |e: io::Error| {
            Error::Failed(format!(
                "the state directory {} was removed while the broker ran and cannot be made again: {}",
                state.display(),
                disk::explain(state, &e)
            ))
        };
        DirBuilder::new().recursive(true).mode(0o700).create(state).map_err(unusable)?;
        let taken = match &self.lock {
            // A second descriptor, because the lock is given up with the last one.
            Some(held) if locked => Some(held.try_clone().map_err(unusable)?),
            // The lock's file was removed, so another broker may serve from there by now.
            Some(_) => Some(lock(&path.with_file_name(LOCK), state)?),
            None => None,
        };
        let mut again = OpenFile::open(path, self.bytes, taken)?;
        again.copy_from(&self.connection).map_err(|problem| problem.told(path))?;
        // This closes the old connection. SQLite deletes nothing by name when it closes a file that was moved.
        *self = again;
        error!(journal = %path.display(), "the journal was removed while the broker ran; it was written again, whole");
        Ok(())
    }

    /// Writes all sessions that the other connection has.
    fn copy_from(&mut self, other: &Connection) -> std::result::Result<(), Problem> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut statement = other.prepare(SELECT)?;
        for stored in statement.query_map([], row)? {
            let Stored { id, owner, epoch, lease_ends, entry } = stored?;
            transaction.execute(
                "INSERT OR REPLACE INTO session (id, broker, instance, epoch, lease_ends, entry)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                params![id, owner.broker, owner.instance, epoch, lease_ends, entry],
            )?;
        }
        Ok(transaction.commit()?)
    }
}
