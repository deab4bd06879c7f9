//! The plugin's section of `broker.toml`: its shape, its schema, and what a
//! schema cannot say. Knows no request and no program.

use std::time::Duration;

use sandbox_broker_sdk::manifest::Diagnostic;
use sandbox_broker_sdk::setting::{duration, is_program, size};
use sandbox_broker_sdk::{Code, Error};
use serde::Deserialize;

use crate::endpoint::Endpoint;

/// The JSON Schema of [`Config`].
pub const SCHEMA: &str = include_str!("config.schema.json");

/// Shortest life of a token: renewal at its half leaves room for one failure.
const MIN_TOKEN_LIFE: Duration = Duration::from_secs(60);
/// Longest: what a leaked token may do at most where it cannot be revoked.
const MAX_TOKEN_LIFE: Duration = Duration::from_secs(60 * 60);
/// Longest time in caches; blobfuse2 counts seconds in 32 bits.
const MAX_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);
/// Shortest and longest time for one try of a request of the program.
const REQUEST_TIMES: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(60 * 60));
/// Smallest and largest cache, bytes: blobfuse2 counts whole MiB.
const CACHE_SIZES: (u64, u64) = (64 << 20, 1 << 40);
/// Longest subdirectory, bytes: a blob's name has 1,024 characters at most.
const MAX_SUBDIRECTORY: usize = 512;

/// Which secret opens the container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Credential {
    /// The account's key, with which the host signs and makes tokens.
    AccountKey,
    /// A token that the operator made.
    Sas,
}

/// How a token ends with its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Revoke {
    /// At once, by a stored access policy of the container.
    AccessPolicy,
    /// By itself.
    Expiry,
}

/// The section, with the schema's defaults.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Name of the storage account.
    pub account: String,
    /// Name of the container.
    pub container: String,
    /// Address of the account's blob service; its usual one when empty.
    pub endpoint: String,
    /// Which secret opens the container.
    pub credential: Credential,
    /// How a token ends with its session.
    pub revoke: Revoke,
    token_life: String,
    /// Folder of the container to mount, without slashes at its ends.
    pub subdirectory: String,
    cache_size: String,
    cache_timeout: String,
    attribute_timeout: String,
    /// Whether every user of the sandbox may use the mount.
    pub allow_other: bool,
    /// Permission bits not shown, three octal digits.
    pub umask: String,
    request_timeout: String,
    /// How often a failed request is repeated.
    pub retries: u32,
    /// The program, a name or a path.
    pub blobfuse2: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            account: String::new(),
            container: String::new(),
            endpoint: String::new(),
            credential: Credential::AccountKey,
            revoke: Revoke::AccessPolicy,
            token_life: "30m".into(),
            subdirectory: String::new(),
            cache_size: "2GiB".into(),
            cache_timeout: "0s".into(),
            attribute_timeout: "1s".into(),
            allow_other: true,
            umask: "022".into(),
            request_timeout: "1m".into(),
            retries: 2,
            blobfuse2: "blobfuse2".into(),
        }
    }
}

impl Config {
    /// Reads what the host has checked against [`SCHEMA`].
    pub fn parse(json: &str) -> Result<Self, Error> {
        let mut config: Self = serde_json::from_str(json).map_err(|e| {
            Error::new(Code::InvalidArgument, format!("the config of the azure-blobfuse plugin is unfit: {e}"))
        })?;
        config.subdirectory = config.subdirectory.trim_matches('/').to_owned();
        Ok(config)
    }

    /// Reads a section and refuses one with mistakes: what becomes part of a
    /// URL or a signature must be what it looks like.
    pub fn checked(json: &str) -> Result<Self, Error> {
        let config = Self::parse(json)?;
        match config.validate().into_iter().next() {
            None => Ok(config),
            Some(Diagnostic { pointer, message }) => Err(Error::new(
                Code::InvalidArgument,
                format!("{} of the azure-blobfuse plugin's config: {message}", pointer.trim_start_matches('/')),
            )),
        }
    }

    /// Life of a token.
    pub fn token_life(&self) -> Duration {
        duration(&self.token_life).unwrap_or(MIN_TOKEN_LIFE)
    }

    /// Size of the cache in MiB.
    pub fn cache_mib(&self) -> u64 {
        size(&self.cache_size).unwrap_or(CACHE_SIZES.0) >> 20
    }

    /// How long copies of closed files are kept, in seconds.
    pub fn cache_secs(&self) -> u64 {
        duration(&self.cache_timeout).unwrap_or_default().as_secs()
    }

    /// How long attributes are believed, in seconds.
    pub fn attribute_secs(&self) -> u64 {
        duration(&self.attribute_timeout).unwrap_or_default().as_secs()
    }

    /// How long one try of a request of the program may take, in seconds.
    pub fn request_secs(&self) -> u64 {
        duration(&self.request_timeout).unwrap_or(REQUEST_TIMES.0).as_secs()
    }

    /// Says what the schema cannot.
    pub fn validate(&self) -> Vec<Diagnostic> {
        let mut found = Vec::new();
        let mut say = |pointer: &str, message: String| {
            found.push(Diagnostic { pointer: pointer.to_owned(), message });
        };
        if !is_account(&self.account) {
            let expected = "the name of a storage account: 3 to 24 lower case letters and digits";
            say("/account", expected_of(&self.account, expected));
        }
        if !is_container(&self.container) {
            let expected =
                "the name of a container: 3 to 63 lower case letters, digits and single hyphens between them";
            say("/container", expected_of(&self.container, expected));
        }
        if is_account(&self.account)
            && let Err(expected) = Endpoint::of(&self.account, &self.endpoint)
        {
            say("/endpoint", expected_of(&self.endpoint, expected));
        }
        let lives = MIN_TOKEN_LIFE..=MAX_TOKEN_LIFE;
        if !duration(&self.token_life).is_some_and(|life| lives.contains(&life)) {
            say("/token_life", expected_of(&self.token_life, "a duration from 1m to 1h"));
        }
        for (pointer, text) in
            [("/cache_timeout", &self.cache_timeout), ("/attribute_timeout", &self.attribute_timeout)]
        {
            if duration(text).is_none_or(|time| time > MAX_TIMEOUT) {
                say(pointer, expected_of(text, "a duration from 0s to 24h"));
            }
        }
        let times = REQUEST_TIMES.0..=REQUEST_TIMES.1;
        if !duration(&self.request_timeout).is_some_and(|time| times.contains(&time)) {
            say("/request_timeout", expected_of(&self.request_timeout, "a duration from 5s to 1h"));
        }
        if !size(&self.cache_size).is_some_and(|size| (CACHE_SIZES.0..=CACHE_SIZES.1).contains(&size)) {
            say("/cache_size", expected_of(&self.cache_size, "a size from 64MiB to 1024GiB"));
        }
        if !is_folder(&self.subdirectory) {
            let expected = "a folder such as projects/one, without empty parts, \".\", \"..\" and backslashes";
            say("/subdirectory", expected_of(&self.subdirectory, expected));
        }
        if !is_program(&self.blobfuse2) {
            say("/blobfuse2", expected_of(&self.blobfuse2, "the name of a program or its absolute path"));
        }
        if self.umask.len() != 3 || !self.umask.bytes().all(|b| matches!(b, b'0'..=b'7')) {
            say("/umask", expected_of(&self.umask, "three octal digits such as 022"));
        }
        found
    }
}

fn expected_of(found: &str, expected: &str) -> String {
    match found {
        "" => format!("found nothing, expected {expected}"),
        _ => format!("found {found:?}, expected {expected}"),
    }
}

fn is_account(name: &str) -> bool {
    (3..=24).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
}

fn is_container(name: &str) -> bool {
    let plain = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    let hyphens = name.split('-').all(|part| !part.is_empty());
    // Azure's own containers with a name that ordinary ones may not have.
    let special = matches!(name, "$root" | "$web");
    special || ((3..=63).contains(&name.len()) && plain && hyphens)
}

fn is_folder(path: &str) -> bool {
    let part = |part: &str| !matches!(part, "" | "." | "..") && !part.contains(|c: char| c == '\\' || c.is_control());
    path.is_empty() || (path.len() <= MAX_SUBDIRECTORY && path.split('/').all(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: &str = r#"{"account":"mystore","container":"files"}"#;

    fn mistakes(json: &str) -> Vec<String> {
        let config = Config::parse(json).expect("it fits the schema");
        config.validate().into_iter().map(|d| format!("{}: {}", d.pointer, d.message)).collect()
    }

    /// The least configuration with one more member.
    fn with(member: &str) -> String {
        format!(r#"{{"account":"mystore","container":"files",{member}}}"#)
    }

    #[test]
    fn the_schema_takes_every_member_and_nothing_else() {
        let schema: serde_json::Value = serde_json::from_str(SCHEMA).expect("the schema is json");
        let schema = jsonschema::validator_for(&schema).expect("the schema is a schema");
        let full = r#"{"account":"devstoreaccount1","container":"cloud-dev-workspace",
            "endpoint":"http://127.0.0.1:10000/devstoreaccount1","credential":"sas","revoke":"expiry",
            "token_life":"90s","subdirectory":"/a/b c/","cache_size":"512MiB","cache_timeout":"0s",
            "attribute_timeout":"1m30s","allow_other":false,"umask":"077","request_timeout":"10s","retries":1,
            "blobfuse2":"/opt/blobfuse2"}"#;
        for good in [LEAST, full] {
            let value = serde_json::from_str(good).expect("json");
            assert!(schema.is_valid(&value), "{good}");
            assert_eq!(mistakes(good), Vec::<String>::new(), "{good}");
        }
        for bad in [
            "{}".to_owned(),
            with(r#""account_key":"x""#),
            with(r#""credential":"key""#),
            with(r#""revoke":"never""#),
            with(r#""token_life":3600"#),
            with(r#""cache_size":"2GB""#),
            with(r#""umask":"22""#),
            with(r#""retries":0"#),
            with(r#""blobfuse2":"""#),
        ] {
            let value = serde_json::from_str(&bad).expect("json");
            assert!(!schema.is_valid(&value), "{bad}");
        }
    }

    #[test]
    fn the_schema_and_the_code_have_the_same_members_and_defaults() {
        let schema: serde_json::Value = serde_json::from_str(SCHEMA).expect("the schema is json");
        let properties = schema["properties"].as_object().expect("members");
        let defaults: serde_json::Map<_, _> = properties
            .iter()
            .filter_map(|(name, member)| Some((name.clone(), member.get("default")?.clone())))
            .collect();
        let written: Config = serde_json::from_value(defaults.into()).expect("the code knows every default");
        assert_eq!(format!("{written:?}"), format!("{:?}", Config::default()));
        for (name, member) in properties {
            assert!(member["description"].as_str().is_some_and(|text| text.ends_with('.')), "{name}");
        }
    }

    #[test]
    fn mistakes_are_pointed_at_all_at_once_and_say_what_is_expected() {
        let wrong = r#"{"account":"My-Store","container":"Files","token_life":"2h","cache_size":"1MiB",
            "cache_timeout":"25h","attribute_timeout":"30m1h","request_timeout":"1s","subdirectory":"a/../b","blobfuse2":"bin/blobfuse2"}"#;
        assert_eq!(
            mistakes(wrong),
            [
                "/account: found \"My-Store\", expected the name of a storage account: 3 to 24 lower case letters and \
                 digits",
                "/container: found \"Files\", expected the name of a container: 3 to 63 lower case letters, digits and \
                 single hyphens between them",
                "/token_life: found \"2h\", expected a duration from 1m to 1h",
                "/cache_timeout: found \"25h\", expected a duration from 0s to 24h",
                "/attribute_timeout: found \"30m1h\", expected a duration from 0s to 24h",
                "/request_timeout: found \"1s\", expected a duration from 5s to 1h",
                "/cache_size: found \"1MiB\", expected a size from 64MiB to 1024GiB",
                "/subdirectory: found \"a/../b\", expected a folder such as projects/one, without empty parts, \".\", \
                 \"..\" and backslashes",
                "/blobfuse2: found \"bin/blobfuse2\", expected the name of a program or its absolute path",
            ]
        );
    }

    #[test]
    fn an_unset_variable_is_named_as_nothing() {
        let found = mistakes(r#"{"account":"","container":""}"#);
        assert!(found[0].starts_with("/account: found nothing, expected the name of a storage account"), "{found:?}");
        assert!(found[1].starts_with("/container: found nothing, expected the name of a container"), "{found:?}");
        assert_eq!(found.len(), 2, "an endpoint cannot be judged without an account: {found:?}");
    }

    #[test]
    fn names_follow_the_services_rules() {
        for good in ["abc", "a-b", "0a1", "cloud-dev-workspace", "$root", "$web", &"a".repeat(63)] {
            assert!(is_container(good), "{good}");
        }
        for bad in ["ab", "-ab", "ab-", "a--b", "a_b", "A-b", "a.b", "$logs/x", &"a".repeat(64)] {
            assert!(!is_container(bad), "{bad}");
        }
        assert!(is_account("abc") && is_account(&"a".repeat(24)));
        for bad in ["ab", "a-b", "ABC", &"a".repeat(25)] {
            assert!(!is_account(bad), "{bad}");
        }
    }

    #[test]
    fn numbers_arrive_in_the_units_of_the_program() {
        let config = Config::parse(&with(
            r#""token_life":"1m30s","cache_size":"3GiB","cache_timeout":"1500ms","attribute_timeout":"2m""#,
        ))
        .expect("fits");
        assert_eq!(config.token_life(), Duration::from_secs(90));
        assert_eq!(config.cache_mib(), 3072);
        assert_eq!((config.cache_secs(), config.attribute_secs()), (1, 120));
    }

    #[test]
    fn a_section_with_mistakes_serves_no_call() {
        let e = Config::checked(r#"{"account":"a/b","container":"files"}"#).expect_err("a mistake");
        assert_eq!(e.code, Code::InvalidArgument);
        assert!(e.message.starts_with("account of the azure-blobfuse plugin's config: found \"a/b\""), "{}", e.message);
    }
}
