//! One sign-in of the page. Holds hashes only: nothing here lets anybody in.

use std::time::SystemTime;

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
