//! What the host signs with a secret key of AWS, and of the many services that copy its signature: a request.
//!
//! Owns the formula, "Signature Version 4". A signature covers a hash of the request behind a fixed beginning, so it serves
//! for nothing but a request, whatever its method is. Deliberately knows no secret's name.

use std::collections::BTreeMap;

use hmac::{Hmac, KeyInit as _, Mac as _};
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::request::Parts;
use http::{HeaderName, HeaderValue};
use jiff::Timestamp;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use sandbox_broker_config::Sigv4;
use sandbox_broker_core::secret::Secret;
use sandbox_stdx::hex::hex;
use sha2::{Digest as _, Sha256};

/// What stands for itself (RFC 3986 section 2.3).
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// In the place of the hash of a body that is not known. Only storage takes it.
const UNSIGNED: &str = "UNSIGNED-PAYLOAD";

/// The service whose paths are encoded once and whose requests say the hash of their body.
const STORAGE: &str = "s3";

const DATE: HeaderName = HeaderName::from_static("x-amz-date");
const BODY_HASH: HeaderName = HeaderName::from_static("x-amz-content-sha256");

/// Why nothing was signed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("its body is too large to be signed")]
    Body,
    #[error("its key's id or its url cannot be in a header")]
    Header,
    #[error("it names a source to copy from, which may be in another bucket")]
    Source,
}

/// The hash of a body, as a signature of AWS names it.
pub fn hash(body: &[u8]) -> String {
    hex(&Sha256::digest(body))
}

/// Signs a request. `body` is the [`hash`] of its body, where that is known. A request whose query has a signature already
/// is left as it is.
///
/// # Errors
/// When the request cannot be signed.
pub(crate) fn sign(
    head: &mut Parts,
    body: Option<&str>,
    by: &Sigv4,
    key: &Secret,
    now: Timestamp,
) -> Result<(), Refusal> {
    let query: Vec<(String, String)> = pairs(head.uri.query().unwrap_or_default()).collect();
    if query.iter().any(|(name, _)| name.eq_ignore_ascii_case("x-amz-signature")) {
        return Ok(());
    }
    // The service reads the source with the same key, whatever bucket it is in.
    if head.headers.keys().any(|name| name.as_str().starts_with("x-amz-copy-source")) {
        return Err(Refusal::Source);
    }
    let storage = by.service == STORAGE;
    let body = match body {
        Some(hash) => hash,
        None if storage => UNSIGNED,
        None => return Err(Refusal::Body),
    };
    let value = |text: &str| HeaderValue::from_str(text).map_err(|_| Refusal::Header);
    let at = now.strftime("%Y%m%dT%H%M%SZ").to_string();
    head.headers.insert(DATE, value(&at)?);
    head.headers.remove(BODY_HASH);
    if storage {
        head.headers.insert(BODY_HASH, value(body)?);
    }

    let signed = signed_headers(head);
    let names = signed.keys().copied().collect::<Vec<_>>().join(";");
    let headers: String = signed.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
    let (method, path, query) = (&head.method, path(head.uri.path(), storage), query_text(query));
    let request = format!("{method}\n{path}\n{query}\n{headers}\n{names}\n{body}");
    let day = &at[..8];
    let Sigv4 { key_id, region, service } = by;
    let scope = format!("{day}/{region}/{service}/aws4_request");
    let text = format!("AWS4-HMAC-SHA256\n{at}\n{scope}\n{}", hash(request.as_bytes()));

    let first = format!("AWS4{}", key.expose()).into_bytes();
    let derived = [day, region, service, "aws4_request"].iter().fold(first, |key, part| hmac(&key, part));
    let signature = hex(&hmac(&derived, &text));
    let mut authorization =
        value(&format!("AWS4-HMAC-SHA256 Credential={key_id}/{scope}, SignedHeaders={names}, Signature={signature}"))?;
    authorization.set_sensitive(true);
    head.headers.insert(AUTHORIZATION, authorization);
    Ok(())
}

/// The headers that are signed, with their values as they are signed: the host, the type of the body, and the service's own.
fn signed_headers(head: &Parts) -> BTreeMap<&str, String> {
    let joined = |name: &HeaderName| {
        let values = head.headers.get_all(name).iter();
        let values = values
            .map(|value| String::from_utf8_lossy(value.as_bytes()).split_whitespace().collect::<Vec<_>>().join(" "));
        values.collect::<Vec<_>>().join(",")
    };
    let own = |name: &&HeaderName| **name == CONTENT_TYPE || name.as_str().starts_with("x-amz-");
    let mut signed: BTreeMap<&str, String> =
        head.headers.keys().filter(own).map(|name| (name.as_str(), joined(name))).collect();
    // As the client writes it: without the scheme's own port.
    let usual = if head.uri.scheme_str() == Some("https") { 443 } else { 80 };
    let host = head.uri.host().unwrap_or_default();
    let port = head.uri.port_u16().filter(|port| *port != usual);
    signed.insert(HOST.as_str(), port.map_or(host.to_owned(), |port| format!("{host}:{port}")));
    signed
}

/// The path as it is signed. Storage encodes names once; elsewhere what was encoded is encoded once more.
fn path(path: &str, storage: bool) -> String {
    let part = |part: &str| {
        if storage {
            let name: Vec<u8> = percent_decode_str(part).collect();
            percent_encoding::percent_encode(&name, UNRESERVED).to_string()
        } else {
            utf8_percent_encode(part, UNRESERVED).to_string()
        }
    };
    let parts: Vec<String> = path.split('/').map(part).collect();
    let path = parts.join("/");
    if path.is_empty() { "/".to_owned() } else { path }
}

/// The parameters of a query, decoded.
fn pairs(query: &str) -> impl Iterator<Item = (String, String)> {
    let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    query.split('&').filter(|pair| !pair.is_empty()).map(move |pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decoded(name), decoded(value))
    })
}

/// The query as it is signed: encoded anew, and sorted in that form.
fn query_text(query: Vec<(String, String)>) -> String {
    let encoded = |text: &str| utf8_percent_encode(text, UNRESERVED).to_string();
    let mut pairs: Vec<_> = query.iter().map(|(name, value)| (encoded(name), encoded(value))).collect();
    pairs.sort_unstable();
    pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
}

fn hmac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    /// A signed request. Of AWS's test suite and its documentation of storage, with their keys.
    fn signed(service: &str, method: &str, url: &str, content_type: Option<&str>, body: Option<&[u8]>) -> Parts {
        let (key_id, key, at) = match service {
            "s3" => ("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "2013-05-24T00:00:00Z"),
            _ => ("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "2015-08-30T12:36:00Z"),
        };
        let request = Request::builder().method(method).uri(url);
        let request = content_type.into_iter().fold(request, |request, value| request.header("content-type", value));
        let mut head = request.body(()).unwrap().into_parts().0;
        let by = Sigv4 { key_id: key_id.into(), region: "us-east-1".into(), service: service.into() };
        let body = body.map(hash);
        sign(&mut head, body.as_deref(), &by, &Secret::new(key), at.parse().unwrap()).unwrap();
        head
    }

    fn signature(head: &Parts) -> &str {
        head.headers["authorization"].to_str().unwrap().rsplit_once("Signature=").unwrap().1
    }

    /// From the suite `aws-sig-v4-test-suite`.
    #[test]
    fn a_signature_is_that_of_the_published_suite() {
        let url = "https://example.amazonaws.com/";
        let form = Some("application/x-www-form-urlencoded");
        for (method, query, content_type, body, expected) in [
            ("GET", "", None, "", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
            (
                "GET",
                "?Param2=value2&Param1=value1",
                None,
                "",
                "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
            ),
            ("POST", "", None, "", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
            ("POST", "", form, "Param1=value1", "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a"),
        ] {
            let head = signed("service", method, &format!("{url}{query}"), content_type, Some(body.as_bytes()));
            assert_eq!(signature(&head), expected, "{method} {query} {body}");
            assert_eq!(head.headers["x-amz-date"], "20150830T123600Z");
            assert!(!head.headers.contains_key("x-amz-content-sha256"));
        }
    }

    /// From "Examples: Signature Calculations" of the documentation of S3.
    #[test]
    fn a_signature_of_storage_is_that_of_its_documentation() {
        for (query, expected) in [
            ("?lifecycle", "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"),
            ("?max-keys=2&prefix=J", "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"),
        ] {
            let url = format!("https://examplebucket.s3.amazonaws.com/{query}");
            assert_eq!(signature(&signed("s3", "GET", &url, None, Some(b""))), expected, "{query}");
        }
        let unsigned = signed("s3", "PUT", "https://b.example/key", None, None);
        assert_eq!(unsigned.headers["x-amz-content-sha256"], "UNSIGNED-PAYLOAD");
    }

    #[test]
    fn a_copy_of_what_may_be_elsewhere_is_not_signed() {
        let request = Request::put("https://b.example/key").header("x-amz-copy-source", "/other/secret");
        let mut head = request.body(()).unwrap().into_parts().0;
        let by = Sigv4 { key_id: "AKID".to_owned(), region: "eu-1".to_owned(), service: STORAGE.to_owned() };
        let key = Secret::new("key");
        assert!(matches!(sign(&mut head, None, &by, &key, Timestamp::UNIX_EPOCH), Err(Refusal::Source)));
        assert!(!head.headers.contains_key("authorization"));
    }

    #[test]
    fn names_and_ports_are_signed_as_they_are_sent() {
        assert_eq!(path("/a%20b/c+d/%7e", true), "/a%20b/c%2Bd/~");
        assert_eq!(path("/a%20b", false), "/a%2520b");
        assert_eq!(query_text(pairs("b=%2F&a=x+y&a=%C3%A9&c").collect()), "a=%C3%A9&a=x%2By&b=%2F&c=");
        let host = |url: &str| signed_headers(&Request::get(url).body(()).unwrap().into_parts().0)["host"].clone();
        assert_eq!(host("https://s3.example:443/x"), "s3.example");
        assert_eq!(host("http://127.0.0.1:9000/x"), "127.0.0.1:9000");
    }

    #[test]
    fn a_request_that_is_signed_already_or_cannot_be_is_not_signed() {
        let by = Sigv4 { key_id: "A".into(), region: "r".into(), service: "sts".into() };
        let (key, now) = (Secret::new("k"), Timestamp::UNIX_EPOCH);
        let head = |url: &str| Request::get(url).body(()).unwrap().into_parts().0;
        let mut presigned = head("https://a.example/?X-Amz-Signature=x");
        sign(&mut presigned, None, &by, &key, now).unwrap();
        assert!(presigned.headers.is_empty());
        assert_eq!(sign(&mut head("https://a.example/"), None, &by, &key, now), Err(Refusal::Body));
    }
}
