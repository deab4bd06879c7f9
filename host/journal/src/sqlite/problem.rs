//! What went wrong, before it is told in words that name the file. Owns those words; deliberately decides nothing.

use std::path::Path;

use rusqlite::ErrorCode;

use super::bounds::BUSY_TIMEOUT;
use crate::port::Error;
use sandbox_broker_core::disk;

/// What went wrong.
pub(super) enum Problem {
    /// An error that has its words already.
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
    /// The error for who runs the broker.
    pub(super) fn told(self, path: &Path) -> Error {
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
                // `Unknown`: a table or column is missing that was created.
                Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt | ErrorCode::Unknown) => {
                    damaged(&error.to_string())
                }
                Some(_) => format!("{error}: check its disk and its permissions"),
                // Not an error of SQLite itself: a column has another type than was written.
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
