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

/// Shortest and longest life of credentials: what AWS gives.
const TOKEN_LIVES: (Duration, Duration) = (Duration::from_secs(15 * 60), Duration::from_secs(12 * 60 * 60));
/// Longest time for which names are believed.
const MAX_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);
/// Shortest and longest time for an answer of the program's requests.
const REQUEST_TIMES: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(60 * 60));
/// Smallest and largest cache, bytes.
const CACHE_SIZES: (u64, u64) = (64 << 20, 1 << 40);
/// Longest prefix, bytes. A name has 1,024 at most, and a policy, in which it
/// stands three times, 2,048.
const MAX_PREFIX: usize = 256;
/// The beginning of a role's name.
const ARN: &str = "arn:";

/// What a sandbox gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Credential {
    /// Temporary credentials.
    Sts,
    /// The operator's key.
    Key,
}

/// The section, with the schema's defaults.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Name of the bucket.
    pub bucket: String,
    /// Folder of the bucket to mount, without slashes at its ends.
    pub prefix: String,
    /// Region of the bucket.
    pub region: String,
    endpoint: String,
    /// Whether the bucket is a part of the path.
    pub path_style: bool,
    /// What a sandbox gets.
    pub credential: Credential,
    sts_endpoint: String,
    /// The role of temporary credentials; none when empty.
    pub role_arn: String,
    token_life: String,
    /// Id of the operator's key.
    pub access_key_id: String,
    cache_size: String,
    attribute_timeout: String,
    /// Permission bits not shown, three octal digits.
    pub umask: String,
    request_timeout: String,
    /// How often a request is tried.
    pub retries: u32,
    /// The program, a name or a path.
    pub rclone: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            bucket: String::new(),
            prefix: String::new(),
            region: "us-east-1".into(),
            endpoint: String::new(),
            path_style: true,
            credential: Credential::Sts,
            sts_endpoint: String::new(),
            role_arn: String::new(),
            token_life: "1h".into(),
            access_key_id: String::new(),
            cache_size: "2GiB".into(),
            attribute_timeout: "1s".into(),
            umask: "022".into(),
            request_timeout: "1m".into(),
            retries: 3,
            rclone: "rclone".into(),
        }
    }
}

impl Config {
    /// Reads what the host has checked against [`SCHEMA`].
    pub fn parse(json: &str) -> Result<Self, Error> {
        let mut config: Self = serde_json::from_str(json)
            .map_err(|e| Error::new(Code::InvalidArgument, format!("the config of the s3 plugin is unfit: {e}")))?;
        config.prefix = config.prefix.trim_matches('/').to_owned();
        Ok(config)
    }

    /// Reads a section and refuses one with mistakes: what becomes part of a
    /// URL, a policy or a signature must be what it looks like.
    pub fn checked(json: &str) -> Result<Self, Error> {
        let config = Self::parse(json)?;
        match config.validate().into_iter().next() {
            None => Ok(config),
            Some(Diagnostic { pointer, message }) => Err(Error::new(
                Code::InvalidArgument,
                format!("{} of the s3 plugin's config: {message}", pointer.trim_start_matches('/')),
            )),
        }
    }

    /// Address of the service.
    pub fn endpoint(&self) -> String {
        if self.endpoint.is_empty() {
            format!("https://s3.{}.amazonaws.com", self.region)
        } else {
            self.endpoint.clone()
        }
    }

    /// Address of the token service.
    pub fn sts_endpoint(&self) -> String {
        match (&*self.sts_endpoint, &*self.endpoint) {
            ("", "") => format!("https://sts.{}.amazonaws.com", self.region),
            ("", endpoint) => endpoint.to_owned(),
            (sts, _) => sts.to_owned(),
        }
    }

    /// Whether the service is Amazon's.
    pub fn is_aws(&self) -> bool {
        let authority = Endpoint::read(&self.endpoint()).map(|endpoint| endpoint.authority).unwrap_or_default();
        authority.contains(".amazonaws.com")
    }

    /// Life that is asked for credentials, in seconds.
    pub fn token_secs(&self) -> u64 {
        duration(&self.token_life).unwrap_or(TOKEN_LIVES.0).as_secs()
    }

    /// Size of the cache in MiB.
    pub fn cache_mib(&self) -> u64 {
        size(&self.cache_size).unwrap_or(CACHE_SIZES.0) >> 20
    }

    /// How long attributes are believed.
    pub fn attribute_time(&self) -> Duration {
        duration(&self.attribute_timeout).unwrap_or_default()
    }

    /// How long an answer of a request of the program is waited for.
    pub fn request_time(&self) -> Duration {
        duration(&self.request_timeout).unwrap_or(REQUEST_TIMES.0)
    }

    /// Says what the schema cannot.
    pub fn validate(&self) -> Vec<Diagnostic> {
        let mut found = Vec::new();
        let mut say = |pointer: &str, found_there: &str, expected: &str| {
            let message = match found_there {
                "" => format!("found nothing, expected {expected}"),
                _ => format!("found {found_there:?}, expected {expected}"),
            };
            found.push(Diagnostic { pointer: pointer.to_owned(), message });
        };
        if !is_bucket(&self.bucket) {
            say(
                "/bucket",
                &self.bucket,
                "the name of a bucket: 3 to 63 lower case letters, digits, dots and hyphens between them",
            );
        }
        if !is_folder(&self.prefix) {
            say(
                "/prefix",
                &self.prefix,
                "a folder such as projects/one, without empty parts, \".\", \"..\", backslashes, * and ?",
            );
        }
        if !is_word(&self.region) {
            say("/region", &self.region, "a region such as eu-west-1");
        }
        for (pointer, text) in [("/endpoint", &self.endpoint), ("/sts_endpoint", &self.sts_endpoint)] {
            if !text.is_empty()
                && let Err(expected) = Endpoint::read(text)
            {
                say(pointer, text, expected);
            }
        }
        let role = &self.role_arn;
        if !(role.is_empty() || role.starts_with(ARN) && role.chars().all(|c| c.is_ascii_graphic())) {
            say("/role_arn", role, "the name of a role such as arn:aws:iam::123456789012:role/sandboxes");
        }
        if role.is_empty() && self.credential == Credential::Sts && self.sts_endpoint().contains(".amazonaws.com") {
            say("/role_arn", role, "the name of a role, without which AWS makes no limited credentials");
        }
        if self.credential == Credential::Key && !is_word(&self.access_key_id) {
            say("/access_key_id", &self.access_key_id, "the id of the key that `credential = \"key\"` gives away");
        }
        let within = |text: &str, (least, most): (Duration, Duration)| {
            duration(text).is_some_and(|time| (least..=most).contains(&time))
        };
        if !within(&self.token_life, TOKEN_LIVES) {
            say("/token_life", &self.token_life, "a duration from 15m to 12h");
        }
        if !within(&self.attribute_timeout, (Duration::ZERO, MAX_TIMEOUT)) {
            say("/attribute_timeout", &self.attribute_timeout, "a duration from 0s to 24h");
        }
        if !within(&self.request_timeout, REQUEST_TIMES) {
            say("/request_timeout", &self.request_timeout, "a duration from 5s to 1h");
        }
        if !size(&self.cache_size).is_some_and(|size| (CACHE_SIZES.0..=CACHE_SIZES.1).contains(&size)) {
            say("/cache_size", &self.cache_size, "a size from 64MiB to 1024GiB");
        }
        if !is_program(&self.rclone) {
            say("/rclone", &self.rclone, "the name of a program or its absolute path");
        }
        if self.umask.len() != 3 || !self.umask.bytes().all(|b| matches!(b, b'0'..=b'7')) {
            say("/umask", &self.umask, "three octal digits such as 022");
        }
        found
    }
}

fn is_bucket(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let ends = |b: Option<u8>| b.is_some_and(plain);
    (3..=63).contains(&name.len())
        && name.bytes().all(|b| plain(b) || matches!(b, b'-' | b'.'))
        && ends(name.bytes().next())
        && ends(name.bytes().last())
        && !name.contains("..")
}

/// A folder whose name is the same in a URL's path, in a policy and on a disk.
fn is_folder(path: &str) -> bool {
    // A policy takes `*`, `?` and `${` for patterns.
    let odd = |c: char| matches!(c, '\\' | '*' | '?' | '$' | '"') || c.is_control();
    let part = |part: &str| !matches!(part, "" | "." | "..") && !part.contains(odd);
    path.is_empty() || (path.len() <= MAX_PREFIX && path.split('/').all(part))
}

fn is_word(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 128
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: &str = r#"{"bucket":"files","role_arn":"arn:aws:iam::1:role/r"}"#;

    fn mistakes(json: &str) -> Vec<String> {
        let config = Config::parse(json).expect("it fits the schema");
        config.validate().into_iter().map(|d| format!("{}: {}", d.pointer, d.message)).collect()
    }

    #[test]
    fn the_schema_takes_every_member_and_nothing_else() {
        let schema: serde_json::Value = serde_json::from_str(SCHEMA).expect("the schema is json");
        let schema = jsonschema::validator_for(&schema).expect("the schema is a schema");
        let full = r#"{"bucket":"files.of-all","prefix":"/a/b c/","region":"eu-west-1","endpoint":"http://127.0.0.1:9000",
            "path_style":false,"credential":"key","sts_endpoint":"http://127.0.0.1:9001",
            "role_arn":"arn:aws:iam::1:role/r","token_life":"90m","access_key_id":"AKIAX","cache_size":"512MiB",
            "attribute_timeout":"1m30s","umask":"077","request_timeout":"10s","retries":1,"rclone":"/opt/rclone"}"#;
        for good in [LEAST, full] {
            let value = serde_json::from_str(good).expect("json");
            assert!(schema.is_valid(&value), "{good}");
            assert_eq!(mistakes(good), Vec::<String>::new(), "{good}");
        }
        for bad in [
            "{}",
            r#"{"bucket":"files","secret_key":"x"}"#,
            r#"{"bucket":"files","credential":"sas"}"#,
            r#"{"bucket":"files","token_life":3600}"#,
            r#"{"bucket":"files","cache_size":"2GB"}"#,
            r#"{"bucket":"files","umask":"22"}"#,
            r#"{"bucket":"files","retries":0}"#,
            r#"{"bucket":"files","rclone":""}"#,
        ] {
            let value = serde_json::from_str(bad).expect("json");
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
        let wrong = r#"{"bucket":"My_Files","prefix":"a/../b","region":"eu west","endpoint":"s3.example.com",
            "sts_endpoint":"https://a/b","role_arn":"sandboxes","token_life":"10m","cache_size":"1MiB",
            "attribute_timeout":"25h","request_timeout":"1s","rclone":"bin/rclone"}"#;
        let found = mistakes(wrong);
        let pointers: Vec<&str> = found.iter().filter_map(|one| one.split(':').next()).collect();
        assert_eq!(
            pointers,
            [
                "/bucket",
                "/prefix",
                "/region",
                "/endpoint",
                "/sts_endpoint",
                "/role_arn",
                "/token_life",
                "/attribute_timeout",
                "/request_timeout",
                "/cache_size",
                "/rclone",
            ]
        );
        assert_eq!(found[6], "/token_life: found \"10m\", expected a duration from 15m to 12h");
    }

    #[test]
    fn what_a_credential_needs_is_asked_for() {
        let found = mistakes(r#"{"bucket":""}"#);
        assert!(found[0].starts_with("/bucket: found nothing, expected the name of a bucket"), "{found:?}");
        assert!(found[1].starts_with("/role_arn: found nothing, expected the name of a role, without"), "{found:?}");
        assert!(mistakes(r#"{"bucket":"files","endpoint":"http://127.0.0.1:9000"}"#).is_empty());
        let found = mistakes(r#"{"bucket":"files","credential":"key"}"#);
        assert!(found[0].starts_with("/access_key_id: found nothing, expected the id"), "{found:?}");
    }

    #[test]
    fn names_follow_the_services_rules() {
        for good in ["abc", "a-b", "0a1", "cloud-dev-workspace", "a.b.c", &"a".repeat(63)] {
            assert!(is_bucket(good), "{good}");
        }
        for bad in ["ab", "-ab", "ab-", "a..b", "a_b", "A-b", "a/b", ".ab", &"a".repeat(64)] {
            assert!(!is_bucket(bad), "{bad}");
        }
        for good in ["", "a", "a/b c/ü"] {
            assert!(is_folder(good), "{good}");
        }
        for bad in ["a//b", "a/./b", "a*", "${aws:username}", "a?b", "a\nb", &"a".repeat(257)] {
            assert!(!is_folder(bad), "{bad}");
        }
    }

    #[test]
    fn a_service_of_ones_own_makes_its_own_tokens() {
        let config = |json: &str| Config::parse(json).expect("good");
        let aws = config(r#"{"bucket":"files","region":"eu-west-1"}"#);
        assert_eq!(aws.endpoint(), "https://s3.eu-west-1.amazonaws.com");
        assert_eq!(aws.sts_endpoint(), "https://sts.eu-west-1.amazonaws.com");
        assert!(aws.is_aws());
        let own = config(r#"{"bucket":"files","endpoint":"http://127.0.0.1:9000"}"#);
        assert_eq!(own.sts_endpoint(), "http://127.0.0.1:9000");
        assert!(!own.is_aws());
    }
}
