//! What the host signs with the key of a storage account of Azure: a request, and a token for one container.
//!
//! Owns the two formulas, and which requests and tokens are signed at all. A key signs a text of lines, so whoever chose a
//! whole line could make the signature of a request serve as that of a token. Deliberately knows no secret's name and no
//! bounds of the operator's.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::request::Parts;
use http::{HeaderName, HeaderValue};
use jiff::Timestamp;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use sandbox_broker_core::secret::Secret;
use sha2::Sha256;

/// Version of both formulas, and of the service unless the plugin names another. It works on Azure and on every emulator of
/// the last years.
const VERSION: &str = "2022-11-02";

/// Methods of the service. The method is the first line of the signed text, so it must not be the plugin's choice: as the
/// first line of a token it would name permissions or an account.
const METHODS: [&str; 8] = ["DELETE", "GET", "HEAD", "MERGE", "OPTIONS", "PATCH", "POST", "PUT"];

/// Headers whose values are lines of the signed text, in this order, between the method and the service's own headers. The
/// length of the body comes after the first two.
const STANDARD_HEADERS: [&str; 10] = [
    "content-encoding",
    "content-language",
    "content-md5",
    "content-type",
    "date",
    "if-modified-since",
    "if-match",
    "if-none-match",
    "if-unmodified-since",
    "range",
];

/// Permissions that a token may have, in the order in which the service wants the letters: read, create, write, delete, list.
const PERMISSIONS: &str = "rcwdl";

/// Lines of a token's signed text: permissions, start, expiry, resource, policy, addresses, protocol, version, kind,
/// snapshot, encryption scope and five headers of answers.
const LINES: usize = 16;

/// What stands for itself in a query (RFC 3986 section 2.3).
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Why nothing was signed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("the key is not valid base64")]
    Key,
    #[error("a method that the service does not have")]
    Method,
    #[error("a source to copy from, which may be elsewhere in the account")]
    Source,
    #[error("permissions other than letters of rcwdl in this order")]
    Permissions,
    #[error("an access policy whose name is not 1 to 64 letters, digits and .-_~")]
    Policy,
    #[error("a life of less than a second")]
    Life,
}

/// Signs a request, by the scheme "Shared Key". `length` is that of its body, where it is known. A request whose query has
/// a token already is left as it is: the service would not look at the token.
///
/// # Errors
/// When the request or the key is not one to sign with.
pub(crate) fn sign(
    head: &mut Parts,
    length: Option<u64>,
    account: &str,
    key: &Secret,
    now: Timestamp,
) -> Result<(), Refusal> {
    let query: Vec<(String, String)> = pairs(head.uri.query().unwrap_or_default()).collect();
    if query.iter().any(|(name, _)| name == "sig") {
        return Ok(());
    }
    if !METHODS.contains(&head.method.as_str()) {
        return Err(Refusal::Method);
    }
    // The service reads the source with the same key, whatever container it is in.
    if head.headers.keys().any(|name| name.as_str().starts_with("x-ms-copy-source")) {
        return Err(Refusal::Source);
    }
    let date = now.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
    let plain = |text: &str| HeaderValue::from_str(text).expect("a date and a version are plain text");
    // The date is the host's: a plugin must not have a request signed for later.
    head.headers.insert(HeaderName::from_static("x-ms-date"), plain(&date));
    head.headers.entry(HeaderName::from_static("x-ms-version")).or_insert(plain(VERSION));
    let text = request_text(head, length, account, query);
    let authorization = format!("SharedKey {account}:{}", signature(key, &text)?);
    let mut authorization = HeaderValue::try_from(authorization).map_err(|_| Refusal::Key)?;
    authorization.set_sensitive(true);
    head.headers.insert(http::header::AUTHORIZATION, authorization);
    Ok(())
}

/// The signed text of a request.
fn request_text(head: &Parts, length: Option<u64>, account: &str, query: Vec<(String, String)>) -> String {
    let joined = |name: &HeaderName| {
        let values = head.headers.get_all(name).iter();
        let values = values
            .map(|value| String::from_utf8_lossy(value.as_bytes()).split_whitespace().collect::<Vec<_>>().join(" "));
        values.collect::<Vec<_>>().join(",")
    };
    let line = |name: &'static str| match name {
        // The service's own header, which every signed request has, stands in its place.
        "date" => String::new(),
        name => joined(&HeaderName::from_static(name)),
    };
    let mut lines = vec![head.method.as_str().to_owned()];
    lines.extend(STANDARD_HEADERS[..2].iter().map(|name| line(name)));
    // Zero counts as none.
    lines.push(length.filter(|length| *length > 0).map(|length| length.to_string()).unwrap_or_default());
    lines.extend(STANDARD_HEADERS[2..].iter().map(|name| line(name)));
    let own = head.headers.keys().filter(|name| name.as_str().starts_with("x-ms-"));
    let own: BTreeMap<&str, String> = own.map(|name| (name.as_str(), joined(name))).collect();
    lines.extend(own.iter().map(|(name, value)| format!("{name}:{value}")));
    lines.push(format!("/{account}{}", head.uri.path()));
    let mut parameters = BTreeMap::<String, Vec<String>>::new();
    for (name, value) in query {
        parameters.entry(name.to_lowercase()).or_default().push(value);
    }
    lines.extend(parameters.iter_mut().map(|(name, values)| {
        values.sort_unstable();
        format!("{name}:{}", values.join(","))
    }));
    lines.join("\n")
}

/// The parameters of a query, decoded.
fn pairs(query: &str) -> impl Iterator<Item = (String, String)> {
    let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    query.split('&').filter(|pair| !pair.is_empty()).map(move |pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decoded(name), decoded(value))
    })
}

/// A token for one container.
#[derive(Debug)]
pub struct ServiceSas<'a> {
    /// Name of the account.
    pub account: &'a str,
    /// Name of the container, one that the operator lists.
    pub container: &'a str,
    /// What it allows, unless a policy says so.
    pub permissions: &'a str,
    /// Name of an access policy of the container.
    pub policy: Option<&'a str>,
    /// Its life from now on.
    pub life: Duration,
    /// Whether it opens nothing over plain http.
    pub https: bool,
}

impl ServiceSas<'_> {
    /// Makes it, as the query of a URL.
    ///
    /// # Errors
    /// When the token or the key is not one to sign with.
    pub fn mint(&self, key: &Secret, now: Timestamp) -> Result<String, Refusal> {
        let mut letters = PERMISSIONS.chars();
        let ordered = self.permissions.chars().all(|wanted| letters.any(|letter| letter == wanted));
        if !ordered || self.permissions.is_empty() {
            return Err(Refusal::Permissions);
        }
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
        if self.policy.is_some_and(|policy| !(1..=64).contains(&policy.len()) || !policy.bytes().all(plain)) {
            return Err(Refusal::Policy);
        }
        if self.life.as_secs() == 0 {
            return Err(Refusal::Life);
        }
        let expires = now.checked_add(self.life).map_err(|_| Refusal::Life)?;
        // With a policy, the permissions are those in the container's access list.
        let permissions = if self.policy.is_some() { "" } else { self.permissions };
        let policy = self.policy.unwrap_or_default();
        let expires = expires.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let protocol = if self.https { "https" } else { "" };
        let resource = format!("/blob/{}/{}", self.account, self.container);
        let mut lines = [""; LINES];
        // No start: the service's clock may be behind ours.
        lines[0] = permissions;
        lines[2] = &expires;
        lines[3] = &resource;
        lines[4] = policy;
        lines[6] = protocol;
        lines[7] = VERSION;
        lines[8] = "c";
        let signature = signature(key, &lines.join("\n"))?;
        let query = [
            ("sv", VERSION),
            ("spr", protocol),
            ("se", &expires),
            ("sr", "c"),
            ("sp", permissions),
            ("si", policy),
            ("sig", &signature),
        ];
        let pairs = query.iter().filter(|(_, value)| !value.is_empty());
        let written = pairs.map(|(name, value)| format!("{name}={}", utf8_percent_encode(value, UNRESERVED)));
        Ok(written.collect::<Vec<_>>().join("&"))
    }
}

fn signature(key: &Secret, text: &str) -> Result<String, Refusal> {
    let key = STANDARD.decode(key.expose()).map_err(|_| Refusal::Key)?;
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("HMAC takes a key of any length");
    mac.update(text.as_bytes());
    Ok(STANDARD.encode(mac.finalize().into_bytes()))
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    /// The account key that every emulator has and everybody knows.
    const KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
    const ACCOUNT: &str = "devstoreaccount1";

    fn key() -> Secret {
        Secret::new(KEY)
    }

    fn now() -> Timestamp {
        "2026-11-25T00:05:38Z".parse().unwrap()
    }

    fn head(method: &str, url: &str, headers: &[(&str, &str)]) -> Parts {
        let request = headers.iter().fold(Request::builder().method(method).uri(url), |r, (n, v)| r.header(*n, *v));
        request.body(()).unwrap().into_parts().0
    }

    fn text(head: &Parts, length: Option<u64>, account: &str) -> String {
        request_text(head, length, account, pairs(head.uri.query().unwrap_or_default()).collect())
    }

    #[test]
    fn a_request_is_the_one_that_the_service_accepts() {
        let url = "http://127.0.0.1:10000/devstoreaccount1/test1?comp=lease&restype=container";
        let mut head = head("PUT", url, &[("x-ms-lease-action", "acquire"), ("x-ms-lease-duration", "15")]);
        sign(&mut head, Some(0), ACCOUNT, &key(), now()).unwrap();
        // Azurite 3.37.0 accepted a request with exactly this text signed.
        assert_eq!(head.headers["authorization"], include_str!("azure/lease.authorization").trim_end());
        assert_eq!(head.headers["x-ms-date"], "Wed, 25 Nov 2026 00:05:38 GMT");
        assert_eq!(head.headers["x-ms-version"], VERSION);
    }

    #[test]
    fn the_signed_text_is_canonical() {
        let url =
            "https://mystore.blob.core.windows.net/files/a%20b?restype=container&Comp=acl&include=b&include=a%2Cc";
        let headers = [
            ("x-ms-meta-b", "2"),
            ("X-Ms-Meta-A", "  one   two "),
            ("x-ms-meta-b", "3"),
            ("date", "never"),
            ("x-ms-date", "today"),
            ("content-type", "text/plain"),
            ("range", "bytes=0-1"),
        ];
        assert_eq!(
            text(&head("PUT", url, &headers), Some(4), "mystore"),
            "PUT\n\n\n4\n\ntext/plain\n\n\n\n\n\nbytes=0-1\nx-ms-date:today\nx-ms-meta-a:one two\nx-ms-meta-b:2,3\n\
             /mystore/files/a%20b\ncomp:acl\ninclude:a,c,b\nrestype:container"
        );
    }

    #[test]
    fn a_request_that_could_serve_as_a_token_or_has_one_is_not_signed() {
        let url = "https://mystore.blob.core.windows.net/files";
        for method in ["rcwdl", "mystore", "TRACE", "get"] {
            let mut head = head(method, url, &[]);
            assert_eq!(sign(&mut head, None, "mystore", &key(), now()), Err(Refusal::Method), "{method}");
            assert!(head.headers.is_empty());
        }
        let mut with_token = head("GET", &format!("{url}?sv=1&sig=x"), &[]);
        sign(&mut with_token, None, "mystore", &key(), now()).unwrap();
        assert!(with_token.headers.is_empty());
        // The service would read the source, in any container, with the same key.
        let source = ("x-ms-copy-source", "https://mystore.blob.core.windows.net/other/secret");
        let mut copy = head("PUT", url, &[source]);
        assert_eq!(sign(&mut copy, Some(0), "mystore", &key(), now()), Err(Refusal::Source));
        let mut dated = head("GET", url, &[("x-ms-date", "Fri, 01 Jan 2100 00:00:00 GMT")]);
        sign(&mut dated, None, "mystore", &key(), now()).unwrap();
        assert_eq!(dated.headers["x-ms-date"], "Wed, 25 Nov 2026 00:05:38 GMT", "nothing is signed for later");
        let bad = Secret::new("no base64!");
        assert_eq!(sign(&mut head("GET", url, &[]), None, "mystore", &bad, now()), Err(Refusal::Key));
    }

    fn emulator<'a>(policy: Option<&'a str>, permissions: &'a str) -> ServiceSas<'a> {
        let life = Duration::from_secs(3600);
        ServiceSas { account: ACCOUNT, container: "test1", permissions, policy, life, https: false }
    }

    #[test]
    fn a_token_is_the_one_that_the_service_accepts() {
        let before: Timestamp = "2026-12-30T23:00:00Z".parse().unwrap();
        // Both were accepted by Azurite 3.37.0 in this form.
        let token = emulator(None, "rcwdl").mint(&key(), before).unwrap();
        assert_eq!(token, include_str!("azure/emulator.sas").trim_end());
        let token = emulator(Some("sb.p1"), "rcwdl").mint(&key(), before).unwrap();
        assert_eq!(token, include_str!("azure/policy.sas").trim_end());
    }

    #[test]
    fn a_token_of_azure_is_for_https_alone() {
        let sas = ServiceSas { account: "mystore", container: "files", https: true, ..emulator(None, "rl") };
        let token = sas.mint(&key(), now()).unwrap();
        assert!(token.starts_with("sv=2022-11-02&spr=https&se=2026-11-25T01%3A05%3A38Z&sr=c&sp=rl&sig="), "{token}");
    }

    #[test]
    fn no_line_of_a_tokens_text_is_the_plugins_to_choose() {
        for permissions in ["", "rx", "lr", "rr", "rcwdlx", "r\nc", "racwdxltmeop"] {
            assert_eq!(emulator(None, permissions).mint(&key(), now()), Err(Refusal::Permissions), "{permissions}");
        }
        for policy in ["", "a\nb", "a b", "a&b", &"x".repeat(65)] {
            assert_eq!(emulator(Some(policy), "r").mint(&key(), now()), Err(Refusal::Policy), "{policy}");
        }
        for life in [Duration::ZERO, Duration::from_millis(999), Duration::MAX] {
            let sas = ServiceSas { life, ..emulator(None, "r") };
            assert_eq!(sas.mint(&key(), now()), Err(Refusal::Life), "{life:?}");
        }
    }
}
