//! Rows of the table `session` as values, and times as numbers. Owns the encoding of both, and the bound on one entry.

use std::time::{Duration, SystemTime};

use rusqlite::{Connection, OptionalExtension as _, Row};

use super::problem::Problem;
use crate::port::{Entry, Error, Owner, Record, Result};

/// Bound on one entry. Its largest part is the grants of at most eight mounts, 4 KiB each and a third more in base64.
const ENTRY_BYTES: usize = 64 * 1024;

/// Selects the columns that [`row`] reads.
pub(super) const SELECT: &str = "SELECT id, broker, instance, epoch, lease_ends, entry FROM session";

/// A row as it is stored.
pub(super) struct Stored {
    pub(super) id: String,
    pub(super) owner: Owner,
    pub(super) epoch: i64,
    pub(super) lease_ends: i64,
    pub(super) entry: String,
}

/// Reads a row of [`SELECT`].
pub(super) fn row(row: &Row<'_>) -> rusqlite::Result<Stored> {
    Ok(Stored {
        id: row.get(0)?,
        owner: Owner { broker: row.get(1)?, instance: row.get(2)? },
        epoch: row.get(3)?,
        lease_ends: row.get(4)?,
        entry: row.get(5)?,
    })
}

impl Stored {
    pub(super) fn record(self) -> std::result::Result<Record, Problem> {
        let Stored { id, owner, epoch, lease_ends, entry } = self;
        let damaged = |why: String| Problem::Damaged(format!("session {id}: {why}"));
        let entry = serde_json::from_str(&entry).map_err(|e| damaged(e.to_string()))?;
        let epoch = u64::try_from(epoch).map_err(|_| damaged(format!("its epoch is {epoch}")))?;
        Ok(Record { id, owner, epoch, lease_ends: time(lease_ends), entry })
    }
}

/// The epoch of a session, if there is one with this id.
pub(super) fn epoch_of(connection: &Connection, id: &str) -> std::result::Result<Option<u64>, Problem> {
    let epoch = connection.query_row("SELECT epoch FROM session WHERE id = ?1", [id], |row| row.get(0)).optional()?;
    let whole = |epoch: i64| u64::try_from(epoch).map_err(|_| Problem::Damaged(format!("session {id}: epoch {epoch}")));
    epoch.map(whole).transpose()
}

/// An entry as it is stored.
pub(super) fn encode(entry: &Entry) -> Result<String> {
    let refused = |why: String| Error::Failed(format!("the journal does not take this session: {why}"));
    let text = serde_json::to_string(entry).map_err(|e| refused(e.to_string()))?;
    if text.len() > ENTRY_BYTES {
        return Err(refused(format!("its entry has {} bytes of at most {ENTRY_BYTES}", text.len())));
    }
    Ok(text)
}

/// A time as it is stored. One before 1970 is 1970.
pub(super) fn millis(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// The inverse of [`millis`], for any number that the file may hold.
pub(super) fn time(millis: i64) -> SystemTime {
    let since = Duration::from_millis(u64::try_from(millis).unwrap_or(0));
    SystemTime::UNIX_EPOCH.checked_add(since).unwrap_or(SystemTime::UNIX_EPOCH)
}
