//! Signed tokens (RFC 7519) with which a request names its sender.
//!
//! Owns what such a token says. The key is the operator's, and the plugin sees neither it nor the token. Deliberately does not know
//! where the token goes.

use jiff::Timestamp;
use jsonwebtoken::{EncodingKey, Header, encode};
use sandbox_broker_config::{Algorithm, Jwt};
use sandbox_broker_core::secret::Secret;
use serde::Serialize;

/// How far the clock of a server may be behind ours, seconds.
const SKEW: i64 = 30;

/// Why no token was made. Holds nothing of the key.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The secret is no such key.
    #[error("the secret is no private key for {0} in PEM form (PKCS #8; for RS256 also PKCS #1)")]
    Key(&'static str),
    /// The library's reason is not told, because it may quote the key.
    #[error("the token could not be signed")]
    Unsigned,
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    aud: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sub: Option<&'a str>,
    iat: i64,
    exp: i64,
}

/// A token that is good from now on for the life that `by` names.
pub(crate) fn token(by: &Jwt, key: &Secret, now: Timestamp) -> Result<String, Refusal> {
    let pem = key.expose().as_bytes();
    let (algorithm, name, key) = match by.algorithm {
        Algorithm::Rs256 => (jsonwebtoken::Algorithm::RS256, "RS256", EncodingKey::from_rsa_pem(pem)),
        Algorithm::Es256 => (jsonwebtoken::Algorithm::ES256, "ES256", EncodingKey::from_ec_pem(pem)),
    };
    let key = key.map_err(|_| Refusal::Key(name))?;
    let header = Header { kid: by.key_id.clone(), ..Header::new(algorithm) };
    let now = now.as_second();
    let claims = Claims {
        iss: &by.issuer,
        aud: by.audience.as_deref(),
        sub: by.subject.as_deref(),
        iat: now - SKEW,
        exp: now + i64::try_from(by.life.as_secs()).unwrap_or(0),
    };
    encode(&header, &claims, &key).map_err(|_| Refusal::Unsigned)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use jsonwebtoken::{DecodingKey, Validation, decode};
    use serde_json::Value;

    use super::*;

    fn by(algorithm: Algorithm) -> Jwt {
        let (audience, key_id) = (Some("https://a.example".to_owned()), Some("k1".to_owned()));
        Jwt { algorithm, issuer: "app".to_owned(), audience, subject: None, key_id, life: Duration::from_secs(300) }
    }

    /// A private key as files have it (RFC 7468).
    fn pem(pair: &rcgen::KeyPair) -> String {
        let key = STANDARD.encode(pair.serialize_der());
        format!("-----BEGIN PRIVATE KEY-----\n{key}\n-----END PRIVATE KEY-----\n")
    }

    #[test]
    fn a_server_reads_what_was_signed() {
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let now = Timestamp::now();
        let token = token(&by(Algorithm::Es256), &pem(&pair).into(), now).unwrap();
        let mut checks = Validation::new(jsonwebtoken::Algorithm::ES256);
        checks.set_audience(&["https://a.example"]);
        checks.set_issuer(&["app"]);
        let public = DecodingKey::from_ec_der(pair.public_key_raw());
        let read = decode::<Value>(&token, &public, &checks).unwrap();
        assert_eq!(read.header.kid.as_deref(), Some("k1"));
        assert_eq!(read.claims["exp"], now.as_second() + 300);
        assert_eq!(read.claims["iat"], now.as_second() - 30);
        assert!(read.claims.get("sub").is_none());
    }

    #[test]
    fn what_is_no_key_is_told_without_it() {
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        for (algorithm, secret) in [(Algorithm::Rs256, pem(&pair)), (Algorithm::Es256, "canary".to_owned())] {
            let why = token(&by(algorithm), &secret.into(), Timestamp::now()).unwrap_err().to_string();
            assert!(why.contains("no private key for") && !why.contains("canary"), "{why}");
        }
    }
}
