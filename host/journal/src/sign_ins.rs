//! Sign-ins of the page in the journal's file, so that a restart signs nobody
//! out.
//!
//! Owns their table. Holds hashes only: nothing here lets anybody in.
//! Deliberately decides neither how many there are nor how long one lasts.

use std::time::SystemTime;

use rusqlite::{Row, params};

use super::Result;
use super::sqlite::{Promise, Sqlite, millis, time};

/// Makes the table. Times are milliseconds since 1970.
pub(super) const TABLE: &str = "CREATE TABLE sign_in (
    cookie BLOB NOT NULL PRIMARY KEY,
    token BLOB NOT NULL,
    since INTEGER NOT NULL,
    used INTEGER NOT NULL
) STRICT";

/// One sign-in. Times are kept to the millisecond.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignIn {
    /// SHA-256 of the cookie's value.
    pub cookie: [u8; 32],
    /// SHA-256 of the token that it stands for.
    pub token: [u8; 32],
    /// When it began.
    pub since: SystemTime,
    /// When it was last used, within a minute.
    pub used: SystemTime,
}

impl Sqlite {
    /// Adds a sign-in, in the place of one of the same cookie.
    ///
    /// # Errors
    /// [`Error::Failed`](super::Error::Failed).
    pub async fn add_sign_in(&self, SignIn { cookie, token, since, used }: SignIn) -> Result<()> {
        self.with(Promise::WhenPossible, move |connection| {
            connection.execute(
                "INSERT OR REPLACE INTO sign_in (cookie, token, since, used) VALUES (?1, ?2, ?3, ?4)",
                params![cookie, token, millis(since), millis(used)],
            )?;
            Ok(())
        })
        .await
    }

    /// Sets when a sign-in was last used. One that is not there stays away.
    ///
    /// # Errors
    /// [`Error::Failed`](super::Error::Failed).
    pub async fn use_sign_in(&self, cookie: [u8; 32], used: SystemTime) -> Result<()> {
        self.with(Promise::WhenPossible, move |connection| {
            connection.execute("UPDATE sign_in SET used = ?2 WHERE cookie = ?1", params![cookie, millis(used)])?;
            Ok(())
        })
        .await
    }

    /// Forgets a sign-in. Success also when it is already gone.
    ///
    /// # Errors
    /// [`Error::Failed`](super::Error::Failed).
    pub async fn remove_sign_in(&self, cookie: [u8; 32]) -> Result<()> {
        self.with(Promise::WhenPossible, move |connection| {
            connection.execute("DELETE FROM sign_in WHERE cookie = ?1", params![cookie])?;
            Ok(())
        })
        .await
    }

    /// All sign-ins, in no order.
    ///
    /// # Errors
    /// [`Error::Failed`](super::Error::Failed).
    pub async fn sign_ins(&self) -> Result<Vec<SignIn>> {
        self.with(Promise::WhenPossible, |connection| {
            let mut statement = connection.prepare("SELECT cookie, token, since, used FROM sign_in")?;
            Ok(statement.query_map([], row)?.collect::<rusqlite::Result<_>>()?)
        })
        .await
    }
}

fn row(row: &Row<'_>) -> rusqlite::Result<SignIn> {
    Ok(SignIn { cookie: row.get(0)?, token: row.get(1)?, since: time(row.get(2)?), used: time(row.get(3)?) })
}
