//! The journal in one SQLite file, for one broker on one machine.
//!
//! Owns the file, its lock and its words for what is wrong with it. The only
//! place that knows SQLite. Several brokers share a journal by another
//! implementation; the statements here would be the same.

use std::fmt;
use std::fs::{self, DirBuilder, File, Metadata, OpenOptions, Permissions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension as _, Row, TransactionBehavior, params};
use rustix::fs::FlockOperation;
use tokio::sync::Mutex;
use tracing::error;

use super::{Entry, Error, Journal, Owner, Record, Result, sign_ins};
use sandbox_broker_core::disk;

/// The journal, in the state directory.
pub(super) const FILE: &str = "journal.sqlite";

/// Locked by the process that serves from the state directory; says its pid.
pub(super) const LOCK: &str = "journal.lock";

/// What makes each version of the file from the one before it; the first from
/// an empty file. How many there are is the version of today. A change of
/// [`Entry`] is a step as well.
const STEPS: [&str; 5] = [SCHEMA, FROM_1, sign_ins::TABLE, FROM_3, FROM_4];

/// `entry` is JSON: it is read and written as a whole, and only the columns
/// beside it are searched.
const SCHEMA: &str = "CREATE TABLE session (
    id TEXT NOT NULL PRIMARY KEY,
    broker TEXT NOT NULL,
    instance TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    lease_ends INTEGER NOT NULL, -- milliseconds since 1970
    entry TEXT NOT NULL
) STRICT";

/// From version 1, which knew of storage only where it is mounted: nobody can
/// go on with that.
const FROM_1: &str = "UPDATE session SET entry = json_set(entry, '$.storage', json((
    SELECT json_group_array(json_object('id', '', 'provider', '', 'settings', '', 'path', value,
        'read_only', json('false'), 'begun', 0, 'grant', null)) FROM json_each(entry, '$.storage'))))";

/// From version 3, in which sessions had no names.
const FROM_3: &str = "UPDATE session SET entry = json_set(entry, '$.name', NULL)";

/// From version 4, which did not know who drives.
const FROM_4: &str = "UPDATE session SET entry = json_set(entry, '$.driver', null)";

/// Bound on one entry. Its largest part are the grants of at most eight mounts
/// with 4 KiB each, a third more in base64.
const ENTRY_BYTES: usize = 64 * 1024;

/// Bound on the file, and so on a listing: 1,000 sessions with the largest
/// entries, a hundred times as many with usual ones.
pub(super) const FILE_BYTES: u32 = 64 * 1024 * 1024;

/// Of a file that SQLite makes.
pub(super) const PAGE_BYTES: u32 = 4096;

/// How long a change waits for another process that writes, such as a tool
/// that makes a copy.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// The journal of the broker that serves from a state directory.
pub struct Sqlite {
    path: Arc<Path>,
    /// Held by one call at a time; who waits costs no thread.
    held: Arc<Mutex<Held>>,
}

/// The open journal.
struct Held {
    connection: Connection,
    /// None only where tests stand for two brokers with one file.
    lock: Option<File>,
    /// Of the file that `connection` writes to.
    file: FileId,
    /// Bound on the file.
    bytes: u32,
}

/// Device and inode: two files of one name differ in them.
type FileId = (u64, u64);

fn id_of(metadata: &Metadata) -> FileId {
    (metadata.dev(), metadata.ino())
}

/// Whether a change must be in the file before it is answered.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Promise {
    /// It outlives the process, or it fails.
    Durable,
    /// While the file is gone the change is kept in memory, and written with
    /// all others when there is a file again: who only loses or renews what he
    /// has is not refused.
    WhenPossible,
}

impl fmt::Debug for Sqlite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sqlite").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Sqlite {
    /// Opens the journal in the directory `state`, or begins one, and keeps
    /// every other process from serving from there until this is dropped.
    /// Blocks the thread: for the start of a program.
    ///
    /// # Errors
    /// [`Error::Failed`], in words for who runs the broker: another process
    /// serves from there, the file is damaged or of a later version, or it
    /// cannot be read and written. A file that was there is left as it is.
    pub fn open(state: &Path) -> Result<Self> {
        let lock = lock(&state.join(LOCK), state)?;
        Self::with_lock(&state.join(FILE), FILE_BYTES, Some(lock))
    }

    /// Opens the file `path` of at most `bytes`, without a lock.
    #[cfg(test)]
    pub(super) fn at(path: &Path, bytes: u32) -> Result<Self> {
        Self::with_lock(path, bytes, None)
    }

    fn with_lock(path: &Path, bytes: u32, lock: Option<File>) -> Result<Self> {
        let held = Held::open(path, bytes, lock)?;
        Ok(Sqlite { path: path.into(), held: Arc::new(Mutex::new(held)) })
    }

    /// Runs `work` on the connection, off the runtime's threads.
    pub(super) async fn with<T: Send + 'static>(
        &self,
        promise: Promise,
        work: impl FnOnce(&mut Connection) -> std::result::Result<T, Problem> + Send + 'static,
    ) -> Result<T> {
        let mut held = Arc::clone(&self.held).lock_owned().await;
        let path = Arc::clone(&self.path);
        let done = tokio::task::spawn_blocking(move || {
            let in_place = held.keep(&path);
            if promise == Promise::Durable {
                in_place?;
            }
            work(&mut held.connection)
        })
        .await;
        // A runtime that shuts down runs no more work.
        let stopped = |_| Err(Problem::Told(Error::Failed("the broker stopped before its journal was written".into())));
        done.unwrap_or_else(stopped).map_err(|problem| problem.told(&self.path))
    }
}

impl Held {
    fn open(path: &Path, bytes: u32, lock: Option<File>) -> Result<Self> {
        let unusable = |e: io::Error| {
            Error::Failed(format!("cannot open the journal {}: {}", path.display(), disk::explain(path, &e)))
        };
        // SQLite gives the files beside it the same permissions.
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path);
        let file = file.and_then(|file| {
            file.set_permissions(Permissions::from_mode(0o600))?;
            file.metadata()
        });
        let file = id_of(&file.map_err(unusable)?);
        let connection = connect(path, bytes).map_err(|problem| problem.told(path))?;
        Ok(Held { connection, lock, file, bytes })
    }

    /// Makes sure that what is written lies where the next process looks for
    /// it. Files that were removed are made again, with all that was in them:
    /// a removed file can be read as long as it is open. Until that has
    /// succeeded the removed one goes on being used.
    fn keep(&mut self, path: &Path) -> Result<()> {
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
            // A second descriptor of it, for it is given up with the last.
            Some(held) if locked => Some(held.try_clone().map_err(unusable)?),
            // Another broker may serve from there by now.
            Some(_) => Some(lock(&path.with_file_name(LOCK), state)?),
            None => None,
        };
        let mut again = Held::open(path, self.bytes, taken)?;
        again.take(&self.connection).map_err(|problem| problem.told(path))?;
        // SQLite deletes nothing by name when it closes a file that was moved.
        *self = again;
        error!(journal = %path.display(), "the journal was removed while the broker ran; it was written again, whole");
        Ok(())
    }

    /// Writes what the other one has.
    fn take(&mut self, other: &Connection) -> std::result::Result<(), Problem> {
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

#[async_trait]
impl Journal for Sqlite {
    async fn create(&self, id: &str, owner: &Owner, entry: &Entry, lease_ends: SystemTime) -> Result<u64> {
        let (id, owner, entry, lease_ends) = (id.to_owned(), owner.clone(), encode(entry)?, millis(lease_ends));
        self.with(Promise::Durable, move |connection| {
            let added = connection.execute(
                "INSERT INTO session (id, broker, instance, epoch, lease_ends, entry)
                 VALUES (?1, ?2, ?3, 1, ?4, ?5) ON CONFLICT DO NOTHING",
                params![id, owner.broker, owner.instance, lease_ends, entry],
            )?;
            if added == 0 { Err(Error::AlreadyExists.into()) } else { Ok(1) }
        })
        .await
    }

    async fn update(&self, id: &str, epoch: u64, entry: &Entry) -> Result<()> {
        let (id, entry) = (id.to_owned(), encode(entry)?);
        self.with(Promise::WhenPossible, move |connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let current = epoch_of(&transaction, &id)?.ok_or(Error::NotFound)?;
            if current != epoch {
                return Err(Error::Stale.into());
            }
            transaction.execute("UPDATE session SET entry = ?2 WHERE id = ?1", params![id, entry])?;
            Ok(transaction.commit()?)
        })
        .await
    }

    async fn remove(&self, id: &str, epoch: u64) -> Result<()> {
        let id = id.to_owned();
        self.with(Promise::WhenPossible, move |connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            match epoch_of(&transaction, &id)? {
                None => return Ok(()),
                Some(current) if current != epoch => return Err(Error::Stale.into()),
                Some(_) => {}
            }
            transaction.execute("DELETE FROM session WHERE id = ?1", [id])?;
            Ok(transaction.commit()?)
        })
        .await
    }

    async fn renew(&self, owner: &Owner, lease_ends: SystemTime) -> Result<u64> {
        let (owner, lease_ends) = (owner.clone(), millis(lease_ends));
        self.with(Promise::WhenPossible, move |connection| {
            let renewed = connection.execute(
                "UPDATE session SET lease_ends = ?3 WHERE broker = ?1 AND instance = ?2",
                params![owner.broker, owner.instance, lease_ends],
            )?;
            Ok(renewed as u64)
        })
        .await
    }

    async fn claim(
        &self,
        id: &str,
        epoch: u64,
        owner: &Owner,
        now: SystemTime,
        lease_ends: SystemTime,
    ) -> Result<Record> {
        let (id, owner) = (id.to_owned(), owner.clone());
        self.with(Promise::WhenPossible, move |connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let found = transaction.query_row(&format!("{SELECT} WHERE id = ?1"), [&id], row).optional()?;
            let found = found.ok_or(Error::NotFound)?.record()?;
            if found.epoch != epoch {
                return Err(Error::Stale.into());
            }
            if found.owner.broker != owner.broker && found.lease_ends > now {
                return Err(Error::Held { until: found.lease_ends }.into());
            }
            let claimed = Record { owner, epoch: epoch + 1, lease_ends: time(millis(lease_ends)), ..found };
            transaction.execute(
                "UPDATE session SET broker = ?2, instance = ?3, epoch = epoch + 1, lease_ends = ?4 WHERE id = ?1",
                params![id, claimed.owner.broker, claimed.owner.instance, millis(lease_ends)],
            )?;
            transaction.commit()?;
            Ok(claimed)
        })
        .await
    }

    async fn keep(&self) -> Result<()> {
        self.with(Promise::Durable, |_| Ok(())).await
    }

    async fn list(&self) -> Result<Vec<Record>> {
        self.with(Promise::WhenPossible, |connection| {
            let mut statement = connection.prepare(&format!("{SELECT} ORDER BY id"))?;
            statement.query_map([], row)?.map(|stored| stored?.record()).collect()
        })
        .await
    }
}

/// Reads what [`row`] takes apart.
const SELECT: &str = "SELECT id, broker, instance, epoch, lease_ends, entry FROM session";

/// A row as it is stored.
struct Stored {
    id: String,
    owner: Owner,
    epoch: i64,
    lease_ends: i64,
    entry: String,
}

fn row(row: &Row<'_>) -> rusqlite::Result<Stored> {
    Ok(Stored {
        id: row.get(0)?,
        owner: Owner { broker: row.get(1)?, instance: row.get(2)? },
        epoch: row.get(3)?,
        lease_ends: row.get(4)?,
        entry: row.get(5)?,
    })
}

impl Stored {
    fn record(self) -> std::result::Result<Record, Problem> {
        let Stored { id, owner, epoch, lease_ends, entry } = self;
        let damaged = |why: String| Problem::Damaged(format!("session {id}: {why}"));
        let entry = serde_json::from_str(&entry).map_err(|e| damaged(e.to_string()))?;
        let epoch = u64::try_from(epoch).map_err(|_| damaged(format!("its epoch is {epoch}")))?;
        Ok(Record { id, owner, epoch, lease_ends: time(lease_ends), entry })
    }
}

fn epoch_of(connection: &Connection, id: &str) -> std::result::Result<Option<u64>, Problem> {
    let epoch = connection.query_row("SELECT epoch FROM session WHERE id = ?1", [id], |row| row.get(0)).optional()?;
    let whole = |epoch: i64| u64::try_from(epoch).map_err(|_| Problem::Damaged(format!("session {id}: epoch {epoch}")));
    epoch.map(whole).transpose()
}

fn encode(entry: &Entry) -> Result<String> {
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

/// The inverse of [`millis`], for any number that a file may hold.
pub(super) fn time(millis: i64) -> SystemTime {
    let since = Duration::from_millis(u64::try_from(millis).unwrap_or(0));
    SystemTime::UNIX_EPOCH.checked_add(since).unwrap_or(SystemTime::UNIX_EPOCH)
}

/// Opens the file, makes the table where there is none, checks it whole.
fn connect(path: &Path, bytes: u32) -> std::result::Result<Connection, Problem> {
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
    // A commit then outlives the process, though not a loss of power.
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

/// Takes the lock on the state directory or says who has it.
fn lock(path: &Path, state: &Path) -> Result<File> {
    let failed = |e: io::Error| Error::Failed(format!("cannot use {}: {}", path.display(), disk::explain(path, &e)));
    let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
    let mut file = open.map_err(failed)?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            // Not yet written, or of a stranger: then without it.
            let mut pid = String::new();
            let _ = (&file).take(32).read_to_string(&mut pid);
            let pid = pid.trim().parse().map_or(String::new(), |pid: u32| format!(" (pid {pid})"));
            return Err(Error::Failed(format!(
                "another broker{pid} serves from the state directory {}: stop it, or give this one a directory of its \
                 own with --state-dir",
                state.display()
            )));
        }
        Err(errno) => return Err(failed(errno.into())),
    }
    let write = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{}", std::process::id()));
    write.map_err(failed)?;
    Ok(file)
}

/// What went wrong, before it is told in words that name the file.
pub(super) enum Problem {
    /// It is told already.
    Told(Error),
    /// What SQLite says.
    Sqlite(rusqlite::Error),
    /// What is in the file is not what was written there.
    Damaged(String),
    /// Why the file cannot be used.
    Words(String),
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        Problem::Told(error)
    }
}

impl From<rusqlite::Error> for Problem {
    fn from(error: rusqlite::Error) -> Self {
        Problem::Sqlite(error)
    }
}

impl Problem {
    fn told(self, path: &Path) -> Error {
        let why = match self {
            Problem::Told(error) => return error,
            Problem::Words(why) => why,
            Problem::Damaged(why) => damaged(&why),
            Problem::Sqlite(error) => match error.sqlite_error_code() {
                Some(ErrorCode::DiskFull) => format!(
                    "no room to write ({}): free some space on its disk; until then no session is made or resumed",
                    disk::room(path)
                ),
                Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => format!(
                    "another process kept it locked for {} s: close the program that reads it",
                    BUSY_TIMEOUT.as_secs()
                ),
                // The last: a table or column that was made is not there.
                Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt | ErrorCode::Unknown) => {
                    damaged(&error.to_string())
                }
                Some(_) => format!("{error}: check its disk and its permissions"),
                // Not SQLite's own: a column of another type than was written.
                None => damaged(&error.to_string()),
            },
        };
        Error::Failed(format!("the journal {}: {why}", path.display()))
    }
}

fn damaged(why: &str) -> String {
    format!(
        "it is damaged ({why}): put a copy of it back, or move it away to start without its sessions; their sandboxes \
         are then ended as nobody's"
    )
}
