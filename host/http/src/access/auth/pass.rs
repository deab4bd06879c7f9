//! How a request was let in.

use super::credential::Digested;

/// How a request was let in; an extension of every request that was let in.
#[derive(Clone, Debug)]
pub(crate) enum Pass {
    /// There is no `[auth]`, so everybody is.
    Open,
    /// By a token.
    Token(Digested),
    /// By a sign-in.
    SignIn(Digested),
}
