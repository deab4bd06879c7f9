//! A connection to the file: how SQLite is set up, and the bounds on the file. Owns the check when it is opened;
//! deliberately knows no session.

use std::path::Path;

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::bounds::{BUSY_TIMEOUT, PAGE_BYTES};
use super::problem::Problem;
use super::schema::STEPS;

/// Opens the file, brings it to the version of today, and checks all of it.
pub(super) fn connect(path: &Path, bytes: u32) -> Result<Connection, Problem> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let Some(missing) = usize::try_from(version).ok().and_then(|version| STEPS.get(version..)) else {
        return Err(Problem::Words(format!(
            "it has version {version} and this program knows version {}: start the newer program that wrote \
             it, or move the file away; the sandboxes of its sessions are then ended as nobody's",
            STEPS.len()
        )));
    };
    // With it, a commit outlives the process, though not a loss of power.
    let mode: String = connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
    if mode != "wal" {
        return Err(Problem::Words(format!("its file system cannot hold it (SQLite stays in mode {mode})")));
    }
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.pragma_update_and_check(None, "journal_size_limit", bytes, |_| Ok(()))?;
    connection.pragma_update_and_check(None, "max_page_count", bytes / PAGE_BYTES, |_| Ok(()))?;
    if !missing.is_empty() {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        missing.iter().try_for_each(|step| transaction.execute_batch(step))?;
        transaction.pragma_update(None, "user_version", STEPS.len() as i64)?;
        transaction.commit()?;
    }
    let found: String = connection.pragma_query_value(None, "quick_check", |row| row.get(0))?;
    if found != "ok" {
        return Err(Problem::Damaged(found));
    }
    Ok(connection)
}
