//! Shared access signatures: tokens for one container, made by the host, or made
//! by the operator and only read.
//!
//! Knows what a token must allow; knows no request and no formula.

use std::time::Duration;

use jiff::Timestamp;
use percent_encoding::percent_decode_str;
use sandbox_broker_sdk::secrets::SasRequest;
use sandbox_broker_sdk::{Code, Error, quote};

use crate::container::Container;
use crate::host::Host;

/// Version of the service. Requests of this one work on Azure and on every
/// emulator of the last years.
pub const VERSION: &str = "2022-11-02";

/// What a mount needs, in the order in which the service wants the letters:
/// read, create, write, delete, list.
pub fn permissions(read_only: bool) -> &'static str {
    if read_only { "rl" } else { "rcwdl" }
}

/// A token for the container with this life, as the query of a URL. With a
/// policy the permissions are those in the container's access list, and the
/// token dies with it.
pub fn mint(
    host: &dyn Host,
    container: &Container,
    permissions: &str,
    life: Duration,
    policy: Option<&str>,
) -> Result<String, Error> {
    host.mint(SasRequest {
        container: container.name.clone(),
        permissions: permissions.to_owned(),
        life_ms: u64::try_from(life.as_millis()).unwrap_or(u64::MAX),
        policy: policy.map(str::to_owned),
    })
}

/// A token that the operator made.
#[derive(Debug)]
pub struct Given {
    /// It, as the query of a URL, without a question mark.
    pub text: String,
    /// When it ends; none when a policy says so.
    pub expires: Option<Timestamp>,
}

impl Given {
    /// Reads a token and checks what can be seen in it: what it opens, whether
    /// it allows enough, and its times. Never quotes it.
    pub fn read(secret: &str, container: &Container, read_only: bool, now: Timestamp) -> Result<Self, Error> {
        let text = secret.trim().trim_start_matches('?');
        let unfit = |what: String| Err(Error::new(Code::FailedPrecondition, format!("the secret sas {what}")));
        // It goes into a file and into URLs as it is.
        if text.is_empty() || !text.bytes().all(|b| b.is_ascii_graphic()) {
            return unfit("is no shared access signature: paste its query string, which begins with sv= or sp=".into());
        }
        let value = |name: &str| {
            let pair = text.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
            pair.map(|value| percent_decode_str(value).decode_utf8_lossy().into_owned()).filter(|v| !v.is_empty())
        };
        if value("sig").is_none() {
            return unfit("is no shared access signature: it has no `sig`".into());
        }
        let by_policy = value("si").is_some();
        // One of the account names services and kinds instead of a resource.
        match (value("sr").as_deref(), value("ss"), value("srt")) {
            (Some("c"), ..) => {}
            (None, Some(services), Some(kinds)) => {
                if !services.contains('b') || !kinds.contains('c') || !kinds.contains('o') {
                    return unfit("must be for the blob service (ss=b), containers and objects (srt=co)".into());
                }
            }
            (Some(_), ..) => return unfit("opens less than a container: make one with sr=c".into()),
            _ => return unfit("does not say what it opens: make one with sr=c".into()),
        }
        let has = value("sp");
        if let Some(has) = &has {
            let lacks: String = permissions(read_only).chars().filter(|letter| !has.contains(*letter)).collect();
            if !lacks.is_empty() {
                return unfit(format!(
                    "lacks permissions: it has sp={}, and {lacks} is missing; {} need {}",
                    quote(has),
                    if read_only { "read-only mounts" } else { "mounts" },
                    permissions(read_only)
                ));
            }
        } else if !by_policy {
            return unfit("has neither permissions (sp) nor a policy (si)".into());
        }
        if !container.endpoint.https && value("spr").is_some_and(|protocols| !protocols.split(',').any(|p| p == "http"))
        {
            return unfit("is for https only, and `endpoint` begins with http".into());
        }
        if let Some(start) = value("st").as_deref().and_then(time)
            && start > now
        {
            return unfit(format!("is not valid before {start}: check the broker's clock, or make one that is"));
        }
        let expires = match value("se") {
            None if by_policy => None,
            None => return unfit("never says when it ends: make one with se".into()),
            Some(text) => match time(&text) {
                Some(expires) if expires <= now => {
                    return unfit(format!("ended at {expires}: make a new one"));
                }
                Some(expires) => Some(expires),
                None => return unfit("has an end (se) that is no time".into()),
            },
        };
        Ok(Self { text: text.to_owned(), expires })
    }

    /// Tells this token from others without holding it: FNV-1a, which nobody
    /// has to resist.
    pub fn fingerprint(&self) -> u64 {
        fnv(&self.text)
    }
}

/// FNV-1a of 64 bits.
pub fn fnv(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Reads a time of a token: to the second, the minute or the day.
fn time(text: &str) -> Option<Timestamp> {
    let whole = match text.len() {
        10 => format!("{text}T00:00:00Z"),
        17 => format!("{}:00Z", text.strip_suffix('Z')?),
        _ => text.to_owned(),
    };
    whole.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{azure, emulator, now};

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    #[test]
    fn a_given_token_is_read_and_judged() {
        let read = |text: &str, read_only| Given::read(text, &azure(), read_only, now());
        let good = read("?sv=2022-11-02&spr=https&se=2027-01-01T00%3A00%3A00Z&sr=c&sp=racwdl&sig=a%2Bb\n", false)
            .expect("good");
        assert_eq!(good.expires, Some(at("2027-01-01T00:00:00Z")));
        assert!(good.text.starts_with("sv=") && good.text.ends_with("sig=a%2Bb"));
        let account = read("ss=bf&srt=sco&se=2027-01-01&sp=rwdlac&sig=x", false).expect("of the account");
        assert_eq!(account.expires, Some(at("2027-01-01T00:00:00Z")));
        assert_eq!(read("si=p&sr=c&sig=x", false).expect("by a policy").expires, None);
        assert!(read("sr=c&sp=rl&se=2026-12-01T10:00Z&sig=x", true).is_ok());

        for (text, expected) in [
            ("", "is no shared access signature"),
            ("DefaultEndpointsProtocol=https;AccountName=a b", "is no shared access signature"),
            ("sv=1&sr=c&sp=rcwdl&se=2027-01-01", "has no `sig`"),
            ("sr=c&sp=rl&se=2027-01-01&sig=x", "it has sp=rl, and cwd is missing; mounts need rcwdl"),
            ("sr=b&sp=rcwdl&se=2027-01-01&sig=x", "opens less than a container"),
            ("sp=rcwdl&se=2027-01-01&sig=x", "does not say what it opens"),
            ("ss=f&srt=co&sp=rcwdl&se=2027-01-01&sig=x", "must be for the blob service"),
            ("sr=c&se=2027-01-01&sig=x", "has neither permissions (sp) nor a policy (si)"),
            ("sr=c&sp=rcwdl&sig=x", "never says when it ends"),
            ("sr=c&sp=rcwdl&se=soon&sig=x", "has an end (se) that is no time"),
            ("sr=c&sp=rcwdl&se=2026-11-24T00:00:00Z&sig=x", "ended at 2026-11-24T00:00:00Z: make a new one"),
            ("sr=c&sp=rcwdl&st=2026-12-01&se=2027-01-01&sig=x", "is not valid before 2026-12-01T00:00:00Z"),
        ] {
            let e = read(text, false).expect_err(text);
            assert_eq!(e.code, Code::FailedPrecondition);
            assert!(e.message.starts_with("the secret sas ") && e.message.contains(expected), "{text}: {}", e.message);
        }
    }

    #[test]
    fn a_token_for_https_alone_is_refused_at_an_emulator_over_http() {
        let read = |spr: &str| {
            let text = format!("sr=c&sp=rcwdl&se=2027-01-01&spr={spr}&sig=secret");
            Given::read(&text, &emulator(), false, now())
        };
        assert!(read("https%2Chttp").is_ok());
        let e = read("https").expect_err("over http");
        assert_eq!(e.message, "the secret sas is for https only, and `endpoint` begins with http");
    }

    #[test]
    fn another_token_has_another_fingerprint() {
        let of = |text: &str| Given { text: text.into(), expires: None }.fingerprint();
        assert_ne!(of("sig=a"), of("sig=b"));
        assert_eq!(fnv(""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv("foobar"), 0x8594_4171_f739_67e8);
    }
}
