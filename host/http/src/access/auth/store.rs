//! The port to where sign-ins outlive the process.
//!
//! Deliberately knows no file and no database.

use std::time::SystemTime;

use async_trait::async_trait;

use super::credential::Digested;

/// A sign-in of the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignIn {
    /// The hash of the cookie's value.
    pub cookie: Digested,
    /// The hash of the token that was shown.
    pub token: Digested,
    /// When it began.
    pub since: SystemTime,
    /// When it was last used, within a minute.
    pub used: SystemTime,
}

/// Where sign-ins outlive the process. Each error says what failed and who can fix
/// it.
#[async_trait]
pub trait SignInStore: Send + Sync {
    /// Keeps a sign-in.
    async fn add(&self, sign_in: SignIn) -> Result<(), String>;
    /// Notes when a sign-in was last used. Does nothing if it is not kept.
    async fn touch(&self, cookie: Digested, used: SystemTime) -> Result<(), String>;
    /// Forgets a sign-in. Succeeds also if it is not kept.
    async fn remove(&self, cookie: Digested) -> Result<(), String>;
}
