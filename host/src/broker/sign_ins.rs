//! Keeps the front end's sign-ins in the journal. Owns the translation; the two crates do not know each other.

use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;

use sandbox_broker_http::{Digested, SignIn, SignInStore};
use sandbox_broker_journal::{self as journal, Sqlite};

/// The sign-ins that an earlier process kept.
///
/// # Errors
/// When the journal cannot be read.
pub(super) async fn kept(journal: &Arc<Sqlite>) -> journal::Result<Vec<SignIn>> {
    let read = |journal::SignIn { cookie, token, since, used }| SignIn {
        cookie: Digested::new(cookie),
        token: Digested::new(token),
        since,
        used,
    };
    Ok(journal.sign_ins().await?.into_iter().map(read).collect())
}

/// The journal, as the front end's store of sign-ins.
pub(super) struct JournalSignIns(pub(super) Arc<Sqlite>);

#[async_trait]
impl SignInStore for JournalSignIns {
    async fn add(&self, SignIn { cookie, token, since, used }: SignIn) -> Result<(), String> {
        let sign_in = journal::SignIn { cookie: *cookie.bytes(), token: *token.bytes(), since, used };
        self.0.add_sign_in(sign_in).await.map_err(|error| error.to_string())
    }

    async fn touch(&self, cookie: Digested, used: SystemTime) -> Result<(), String> {
        self.0.use_sign_in(*cookie.bytes(), used).await.map_err(|error| error.to_string())
    }

    async fn remove(&self, cookie: Digested) -> Result<(), String> {
        self.0.remove_sign_in(*cookie.bytes()).await.map_err(|error| error.to_string())
    }
}
