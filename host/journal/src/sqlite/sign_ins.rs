//! Sign-ins of the page in the journal's file, so that a restart signs nobody out. Owns each statement; deliberately
//! decides neither how many sign-ins there are nor how long one lasts.

use std::time::SystemTime;

use rusqlite::{Row, params};

use super::rows::{millis, time};
use super::store::{Promise, Sqlite};
use crate::port::Result;
use crate::sign_in::SignIn;

impl Sqlite {
    /// Adds a sign-in. Replaces one with the same cookie.
    ///
    /// # Errors
    /// [`Error::Failed`](crate::Error::Failed).
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

    /// Sets when a sign-in was last used. Does nothing when there is none.
    ///
    /// # Errors
    /// [`Error::Failed`](crate::Error::Failed).
    pub async fn use_sign_in(&self, cookie: [u8; 32], used: SystemTime) -> Result<()> {
        self.with(Promise::WhenPossible, move |connection| {
            connection.execute("UPDATE sign_in SET used = ?2 WHERE cookie = ?1", params![cookie, millis(used)])?;
            Ok(())
        })
        .await
    }

    /// Forgets a sign-in. Succeeds when it is already gone.
    ///
    /// # Errors
    /// [`Error::Failed`](crate::Error::Failed).
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
    /// [`Error::Failed`](crate::Error::Failed).
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
