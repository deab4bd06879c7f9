//! Signed URLs for file contents. Knows how a signature is made and when it expires, and nothing about files.

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use sha2::{Digest, Sha256};

use crate::secret;

/// What a signature allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Read,
    Write,
}

/// What the query of a signed URL says.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Signed<'a> {
    pub(crate) path: &'a str,
    pub(crate) username: &'a str,
    pub(crate) signature: &'a str,
    /// Unix seconds.
    pub(crate) expiration: Option<i64>,
}

/// Why a signature is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SignatureError {
    #[error("invalid signature")]
    Invalid,
    #[error("signature is already expired")]
    Expired,
}

/// Checks a signature against a sandbox's token, in constant time.
pub(crate) fn check(signed: Signed<'_>, operation: Operation, token: &str, now: i64) -> Result<(), SignatureError> {
    let wanted = sign(signed.path, operation, signed.username, token, signed.expiration);
    if !secret::same(wanted.as_bytes(), signed.signature.trim_end_matches('=').as_bytes()) {
        return Err(SignatureError::Invalid);
    }
    match signed.expiration {
        Some(expiration) if expiration < now => Err(SignatureError::Expired),
        _ => Ok(()),
    }
}

fn sign(path: &str, operation: Operation, username: &str, token: &str, expiration: Option<i64>) -> String {
    let operation = match operation {
        Operation::Read => "read",
        Operation::Write => "write",
    };
    let mut text = format!("{path}:{operation}:{username}:{token}");
    if let Some(expiration) = expiration {
        text.push_str(&format!(":{expiration}"));
    }
    format!("v1_{}", STANDARD_NO_PAD.encode(Sha256::digest(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise: signatures match those of the official SDKs (a vector of their test suite), and both time and operation
    /// count.
    #[test]
    fn agrees_with_the_sdks() {
        let token = "0tQG31xiMp0IOQfaz9dcwi72L1CPo8e0";
        let signature = "v1_gUtH/s9YCJWgCizjfUxuWfhFE4QSydOWEIIvfLwDr6E";
        let signed = Signed { path: "hello.txt", username: "user", signature, expiration: None };
        assert_eq!(check(signed, Operation::Read, token, 0), Ok(()));
        assert_eq!(check(signed, Operation::Write, token, 0), Err(SignatureError::Invalid));
        assert_eq!(
            check(Signed { expiration: Some(1), ..signed }, Operation::Read, token, 0),
            Err(SignatureError::Invalid)
        );

        let signature = sign("a", Operation::Write, "", token, Some(100));
        let signed = Signed { path: "a", username: "", signature: &signature, expiration: Some(100) };
        assert_eq!(check(signed, Operation::Write, token, 100), Ok(()));
        assert_eq!(check(signed, Operation::Write, token, 101), Err(SignatureError::Expired));
    }
}
