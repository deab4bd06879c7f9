//! What a secret may be used for: where it goes, how a request carries it, and what may be derived from it. Owns the rules
//! about one binding; deliberately knows no request and no key of the file.

use std::time::Duration;

use super::egress::{EgressGrant, HostPattern, Scheme};
use super::user::PLACEHOLDER;
use sandbox_broker_core::secret::Secret;

/// A secret of a provider, and what it may be used for.
#[derive(Clone, Debug, Default)]
pub struct BoundSecret {
    /// May be empty in a provider that is not in use.
    pub value: Secret,
    /// What it may be used for.
    pub binding: Binding,
}

/// What a secret may be used for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Binding {
    /// Where it goes: exact hosts, each of which `allow` covers. Empty for a secret that is only revealed.
    pub to: Vec<EgressGrant>,
    /// How a request there carries it. `None` for a secret that is only revealed.
    pub carry: Option<Carry>,
    /// Which tokens may be made from it. `None` for none.
    pub sas: Option<SasBounds>,
}

/// How a request carries a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Carry {
    /// `Authorization: Bearer SECRET`.
    Bearer,
    /// The secret as it is, in a header of this name, in lower case.
    Header(String),
    /// `Authorization: Basic`, with this user and the secret as password.
    Basic(String),
    /// The request is signed with the key of this storage account of Azure.
    SharedKey(String),
    /// The request is signed with a secret key of AWS, or of a service that copies its signature.
    Sigv4(Sigv4),
    /// `Authorization: Bearer`, with a token that the secret signs as a private key.
    Jwt(Jwt),
}

/// What a signed token says (RFC 7519).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Jwt {
    /// How it is signed.
    pub algorithm: Algorithm,
    /// Who makes it: `iss`.
    pub issuer: String,
    /// For whom it is: `aud`.
    pub audience: Option<String>,
    /// Whom it is about: `sub`.
    pub subject: Option<String>,
    /// Which key signs it: `kid`.
    pub key_id: Option<String>,
    /// How long it is good.
    pub life: Duration,
}

/// How a token is signed (RFC 7518, section 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// RSA with SHA-256, PKCS #1 v1.5.
    Rs256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
}

impl Algorithm {
    /// The algorithm of this registered name.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "RS256" => Some(Self::Rs256),
            "ES256" => Some(Self::Es256),
            _ => None,
        }
    }
}

/// Whose signature of AWS it is, and for what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sigv4 {
    /// The id of the key.
    pub key_id: String,
    /// The region of the service.
    pub region: String,
    /// The service's name in signatures, such as `s3`.
    pub service: String,
}

impl Carry {
    /// The header that the host sets, in lower case.
    pub fn header(&self) -> &str {
        match self {
            Carry::Header(name) => name,
            Carry::Bearer | Carry::Basic(_) | Carry::SharedKey(_) | Carry::Sigv4(_) | Carry::Jwt(_) => "authorization",
        }
    }
}

/// Which shared access signatures may be made from an account's key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SasBounds {
    /// Names of containers. `{user}` in one stands for the name of the session's user.
    pub containers: Vec<String>,
    /// How long one may live.
    pub max_life: Duration,
}

impl SasBounds {
    /// Whether a token of this life for this container may be made for this user's session.
    pub fn admit(&self, container: &str, life: Duration, user: Option<&str>) -> bool {
        let named = |listed: &String| match user {
            Some(user) => listed.replace(PLACEHOLDER, user) == container,
            None => listed == container && !listed.contains(PLACEHOLDER),
        };
        life <= self.max_life && self.containers.iter().any(named)
    }
}

/// Reads where a secret may go: a grant of one host, without a wildcard, to which requests go.
pub(super) fn exact(text: &str) -> Option<EgressGrant> {
    let carries = |grant: &EgressGrant| {
        !matches!(grant.host, HostPattern::Under(_)) && !matches!(grant.scheme, Scheme::Tcp | Scheme::Tls)
    };
    EgressGrant::parse(text).filter(carries)
}

/// Headers about the connection, the body or the form of an answer. A secret in one of them would break requests, or the
/// host sets them itself.
const TAKEN: [&str; 14] = [
    "accept-encoding",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-connection",
    "range",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Whether a secret may be carried in a header of this name.
pub(super) fn is_header(text: &str) -> bool {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    (1..=64).contains(&text.len()) && text.bytes().all(token) && !TAKEN.contains(&text.to_ascii_lowercase().as_str())
}

/// Whether it may be the user of `Basic`.
pub(super) fn is_user(text: &str) -> bool {
    text.len() <= 256 && !text.contains(':') && !text.contains(char::is_control)
}

/// Whether it may be the id of a key of AWS. It stands between slashes and commas.
pub(super) fn is_key_id(text: &str) -> bool {
    (1..=128).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic() && !b"/,=".contains(&b))
}

/// Whether it may be a claim of a token.
pub(super) fn is_claim(text: &str) -> bool {
    (1..=256).contains(&text.len()) && !text.contains(char::is_control)
}

/// Whether it may be the name of a region or of a service.
pub(super) fn is_scope(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=64).contains(&text.len()) && text.bytes().all(plain)
}

/// Whether it may be the name of a storage account.
pub(super) fn is_account(text: &str) -> bool {
    (3..=24).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
}

/// Whether it may be the name of a container, once `{user}` is filled in. A signature covers the name, so it must not hold
/// what ends a line of the signed text.
pub(super) fn is_container(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-$".contains(&b);
    let text = text.replace(PLACEHOLDER, "user");
    (1..=63).contains(&text.len()) && text.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_goes_to_one_host_only() {
        for good in ["https://api.e2b.app", "http://127.0.0.1:10000/acct", "https://[::1]:8443", "http://localhost"] {
            assert!(exact(good).is_some(), "{good}");
        }
        for wrong in ["", "https://*.e2b.app", "*", "api.e2b.app", "https://u@a.example", "https://a.example?x"] {
            assert!(exact(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn a_header_that_says_how_to_read_the_message_carries_no_secret() {
        for good in ["x-api-key", "Authorization", "X-Access-Token", "cookie"] {
            assert!(is_header(good), "{good}");
        }
        for wrong in ["", "Host", "content-length", "a b", "a:b", "a\r\nb", "é", "TE", &"x".repeat(65)] {
            assert!(!is_header(wrong), "{wrong}");
        }
    }

    #[test]
    fn a_token_is_for_a_listed_container_within_the_time() {
        let hour = Duration::from_secs(3600);
        let bounds = SasBounds { containers: vec!["files".into(), "of-{user}".into()], max_life: hour };
        assert!(bounds.admit("files", hour, None) && bounds.admit("files", hour, Some("ada")));
        assert!(bounds.admit("of-ada", hour, Some("ada")));
        assert!(!bounds.admit("files", hour + Duration::from_secs(1), None));
        for (container, user) in [("other", None), ("of-bob", Some("ada")), ("of-{user}", None), ("of-ada", None)] {
            assert!(!bounds.admit(container, hour, user), "{container} {user:?}");
        }
    }
}
