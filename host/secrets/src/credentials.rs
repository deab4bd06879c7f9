//! How a request carries a secret.
//!
//! Owns the header that the host sets as a request leaves, in the place of whatever the plugin wrote there. Deliberately does
//! not know which secrets go where: the keyring says so.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{ACCEPT_ENCODING, AUTHORIZATION};
use http::request::Parts;
use http::{HeaderName, HeaderValue};
use jiff::Timestamp;
use sandbox_broker_config::Carry;

use crate::keyring::Carried;
use crate::{aws, azure, jwt};
use sandbox_broker_core::secret::Secret;

/// What is known of a request's body before it is sent.
#[derive(Debug, Default)]
pub struct Payload {
    /// Bytes.
    pub length: Option<u64>,
    /// Its [`hash`](crate::hash).
    pub hash: Option<String>,
}

/// Adds a secret to a request. Returns what an answer must not repeat; none where the request has only a signature of itself.
/// The error says why it cannot be added, and holds nothing of the secret.
pub fn add(head: &mut Parts, payload: &Payload, carried: &Carried) -> Result<Option<Secret>, String> {
    let secret = &carried.secret;
    if secret.is_empty() {
        return Err("it is empty".to_owned());
    }
    // A secret that comes back must be recognized.
    head.headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    let mut told = secret.clone();
    let (name, value) = match &carried.carry {
        Carry::Bearer => (AUTHORIZATION, format!("Bearer {}", secret.expose())),
        Carry::Jwt(by) => {
            let token = jwt::token(by, secret, Timestamp::now()).map_err(|e| e.to_string())?;
            told = token.clone().into();
            (AUTHORIZATION, format!("Bearer {token}"))
        }
        Carry::Basic(user) => {
            (AUTHORIZATION, format!("Basic {}", STANDARD.encode(format!("{user}:{}", secret.expose()))))
        }
        Carry::Header(name) => {
            let name = HeaderName::try_from(name).map_err(|_| "its header has no good name".to_owned())?;
            (name, secret.expose().to_owned())
        }
        Carry::SharedKey(account) => {
            head.headers.remove(AUTHORIZATION);
            let signed = azure::sign(head, payload.length, account, secret, Timestamp::now());
            return signed.map(|()| None).map_err(|e| e.to_string());
        }
        Carry::Sigv4(by) => {
            head.headers.remove(AUTHORIZATION);
            let hash = payload.hash.as_deref();
            let signed = aws::sign(head, hash, by, secret, Timestamp::now());
            return signed.map(|()| None).map_err(|e| e.to_string());
        }
    };
    let mut value = HeaderValue::try_from(value).map_err(|_| "it holds what no header may hold".to_owned())?;
    value.set_sensitive(true);
    head.headers.insert(name, value);
    Ok(Some(told))
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    /// The headers of a request that had others of these names, once it carries the secret.
    fn with(carry: Carry, secret: &str) -> Result<Parts, String> {
        let request = Request::get("https://a.example/x").header("authorization", "Bearer of-the-plugin");
        let request = request.header("authorization", "once more").header("x-api-key", "of-the-plugin");
        let mut head = request.header("accept-encoding", "gzip").body(()).unwrap().into_parts().0;
        add(
            &mut head,
            &Payload::default(),
            &Carried { name: "key".to_owned(), carry, secret: secret.to_owned().into() },
        )?;
        Ok(head)
    }

    #[test]
    fn the_header_is_the_hosts_whatever_the_plugin_wrote_there() {
        for (carry, header, value) in [
            (Carry::Bearer, "authorization", "Bearer s3"),
            // RFC 7617, section 2.
            (Carry::Basic("Aladdin".to_owned()), "authorization", "Basic QWxhZGRpbjpzMw=="),
            (Carry::Header("x-api-key".to_owned()), "x-api-key", "s3"),
        ] {
            let head = with(carry, "s3").unwrap();
            let all: Vec<_> = head.headers.get_all(header).iter().collect();
            assert_eq!(all, [value]);
            assert!(all[0].is_sensitive());
            assert_eq!(head.headers["accept-encoding"], "identity");
        }
        let rfc = with(Carry::Basic("Aladdin".to_owned()), "open sesame").unwrap();
        assert_eq!(rfc.headers["authorization"], "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        let signed = with(Carry::SharedKey("acct".to_owned()), "a2V5").unwrap();
        let [signature] = &signed.headers.get_all("authorization").iter().collect::<Vec<_>>()[..] else {
            panic!("one")
        };
        assert!(signature.to_str().unwrap().starts_with("SharedKey acct:") && signature.is_sensitive());
    }

    #[test]
    fn a_secret_that_no_header_may_hold_is_not_sent() {
        for secret in ["", "a\nb", "a\0b"] {
            assert!(with(Carry::Bearer, secret).is_err(), "{secret:?}");
            assert!(with(Carry::Header("x-api-key".to_owned()), secret).is_err(), "{secret:?}");
        }
        let why = with(Carry::SharedKey("acct".to_owned()), "not base64").unwrap_err();
        assert_eq!(why, "the key is not valid base64");
    }
}
