//! Credentials: how the broker makes them, and what it keeps of them.
//!
//! Deliberately keeps only hashes.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

/// The SHA-256 of a credential. The broker's credentials have 256 random bits, so
/// nobody finds one from its hash by guessing.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digested([u8; 32]);

impl fmt::Debug for Digested {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hash)")
    }
}

impl Digested {
    /// A hash from its bytes.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Digested(bytes)
    }

    /// The bytes of the hash.
    pub const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The hash of a credential.
    pub(crate) fn of(credential: &[u8]) -> Self {
        Digested(Sha256::digest(credential).into())
    }
}

/// A token of `[auth]`, kept as its hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    pub(super) name: String,
    pub(super) digest: Digested,
}

impl Token {
    /// The token whose SHA-256 is `digest`. `name` is for logs.
    pub fn from_sha256(name: impl Into<String>, digest: [u8; 32]) -> Self {
        Token { name: name.into(), digest: Digested::new(digest) }
    }
}

/// Makes a credential: 256 random bits, in characters that a cookie and an address
/// may hold.
pub(super) fn credential() -> Result<String, getrandom::Error> {
    let mut random = [0; 32];
    getrandom::fill(&mut random)?;
    Ok(URL_SAFE_NO_PAD.encode(random))
}
