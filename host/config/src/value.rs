//! What the text of a single value may be: durations, sizes, addresses, names. Owns the grammar of each and the words in
//! which a mistake says what is expected; deliberately knows no key.
//!
//! One [`Format`] serves the check of a file, the schema for editors and the reading of the value, so the three cannot
//! disagree.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;
use schemars::{Schema, SchemaGenerator};
use serde_json::json;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;
use url::{Host, Url};

use super::binding::{self, Algorithm};
use super::egress::EgressGrant;
use super::origin::Origin;

/// A kind of text.
pub(super) struct Format {
    /// Its name in schemas.
    pub(super) name: &'static str,
    /// What a mistake says is expected.
    pub(super) expected: &'static str,
    /// What editors can check; never stricter than `fits`.
    pub(super) pattern: Option<&'static str>,
    /// Whether a text is of this kind.
    pub(super) fits: fn(&str) -> bool,
}

impl Format {
    /// The format of this name.
    pub(super) fn named(name: &str) -> Option<&'static Format> {
        FORMATS.iter().find(|format| format.name == name).copied()
    }

    /// A schema for text of this kind.
    pub(super) fn schema(&self) -> Schema {
        let mut schema = schemars::json_schema!({ "type": "string", "format": self.name });
        if let Some(pattern) = self.pattern {
            schema.insert("pattern".into(), json!(pattern));
        }
        schema
    }
}

macro_rules! formats {
    ($($(#[$doc:meta])* $id:ident, $schema:ident: $name:literal, $expected:literal, $pattern:expr, $fits:expr;)*) => {
        /// Every format.
        pub(super) static FORMATS: &[&Format] = &[$(&$id),*];
        $(
            $(#[$doc])*
            pub(super) static $id: Format = Format { name: $name, expected: $expected, pattern: $pattern, fits: $fits };
            #[allow(dead_code, reason = "names of keys take their schema from the format itself")]
            pub(super) fn $schema(_: &mut SchemaGenerator) -> Schema { $id.schema() }
        )*
    };
}

formats! {
    DURATION, duration_schema: "broker-duration", "a duration such as \"30s\", \"5m\" or \"1h30m\"",
        Some("^([0-9]+(ms|s|m|h))+$"), |t| duration(t).is_some();
    SIZE, size_schema: "broker-size", "a size such as \"64MiB\"",
        Some("^[0-9]+(KiB|MiB|GiB)$"), |t| size(t).is_some();
    LISTEN, listen_schema: "broker-listen", "an IP address and a port such as \"127.0.0.1:3000\" or \"[::1]:3000\"",
        None, |t| t.parse::<SocketAddr>().is_ok();
    ORIGIN, origin_schema: "broker-origin", "an origin such as \"https://example.com\": http or https, a host, perhaps a port, nothing else",
        Some("^https?://"), |t| Origin::parse(t).is_some();
    NETWORK, network_schema: "broker-network", "an IP address or a network such as \"192.0.2.7\" or \"10.0.0.0/8\"",
        Some("^[0-9A-Fa-f.:/]+$"), |t| network(t).is_some();
    GRANT, grant_schema: "broker-grant", "an origin such as \"https://api.e2b.app\" or \"https://*.e2b.app\", perhaps with a path under which requests may go, or \"unix:///run/docker.sock\"",
        Some("^(https?|wss?|tcp|tls|unix)://"), |t| EgressGrant::parse(t).is_some();
    DESTINATION, destination_schema: "broker-destination", "an origin without a wildcard such as \"https://api.e2b.app\", perhaps with a path below which the secret may go",
        Some("^(https?|wss?|unix)://"), |t| binding::exact(t).is_some();
    SECRET, secret_schema: "broker-secret", "a table such as { value = \"${API_KEY:-}\", to = [\"https://api.example.com\"], carry = { header = \"x-api-key\" } }",
        None, |_| true;
    CARRY, carry_schema: "broker-carry", "\"bearer\", { header = NAME }, { basic = USER }, { shared_key = ACCOUNT }, { sigv4 = { key_id = ID, region = REGION, service = SERVICE } } or { jwt = { algorithm = ALGORITHM, issuer = ISSUER } }",
        None, |_| true;
    HEADER, header_schema: "broker-header", "the name of a header such as \"x-api-key\", and none about the connection or the body",
        None, binding::is_header;
    USER, user_schema: "broker-user", "the name of a user, without a colon",
        None, binding::is_user;
    ACCOUNT, account_schema: "broker-account", "the name of a storage account: 3 to 24 lower case letters and digits",
        None, binding::is_account;
    KEY_ID, key_id_schema: "broker-key-id", "the id of a key",
        None, binding::is_key_id;
    SCOPE, scope_schema: "broker-scope", "a name: lower case letters, digits and -",
        None, binding::is_scope;
    CLAIM, claim_schema: "broker-claim", "1 to 256 bytes of printable text",
        None, binding::is_claim;
    ALGORITHM, algorithm_schema: "broker-algorithm", "RS256 or ES256",
        Some("^(RS256|ES256)$"), |t| Algorithm::named(t).is_some();
    CONTAINER, container_schema: "broker-container", "the name of a container: lower case letters, digits, - and perhaps {user}",
        None, binding::is_container;
    LOG, log_schema: "broker-log", "a level (error, warn, info, debug, trace) or directives such as \"info,sandbox_broker=debug\"",
        None, log;
    PLUGIN, plugin_schema: "broker-plugin", "the name of a built-in plugin such as \"e2b\", or a path to a .wasm file",
        None, |t| is_builtin(t) || is_wasm_path(t);
    SHA256, sha256_schema: "broker-sha256", "64 hexadecimal digits, as `broker token` prints them",
        Some("^[0-9A-Fa-f]{64}$"), |t| sha256(t).is_some();
    NAME, name_schema: "broker-name", "a name: lower case letters, digits, - and _, beginning with a letter or digit, at most 63",
        Some("^[a-z0-9][a-z0-9_-]{0,62}$"), is_name;
    SECRET_NAME, secret_name_schema: "broker-secret-name", "a name: letters, digits, - and _, at most 64",
        Some("^[A-Za-z0-9_-]{1,64}$"), is_secret_name;
    VARIABLE, variable_schema: "broker-variable", "the name of an environment variable: letters, digits and _, not beginning with a digit",
        Some("^[A-Za-z_][A-Za-z0-9_]*$"), is_variable;
    PATH, path_schema: "broker-path", "an absolute path such as \"/workspace\"",
        Some("^/"), |t| t.starts_with('/') && !t.contains('\0');
    FILE, file_schema: "broker-file", "the path of a file such as \"/etc/broker/ca.pem\"",
        Some("[\\s\\S]"), |t| !t.is_empty() && !t.contains('\0');
    MOUNT, mount_schema: "broker-mount", "an absolute path for the mount such as \"/workspace/files\", without . and .. and a / at its end, and in no system directory",
        Some("^/[^/]"), is_mount_path;
    SERVICE, service_schema: "broker-service", "a port, an address with a port such as \"127.0.0.1:10000\", or a URL",
        None, |t| service(t).is_some();
    IMAGE, image_schema: "broker-image", "an image or a template of the provider, 1 to 512 bytes",
        None, |t| is_line(t, 512);
    REGION, region_schema: "broker-region", "a region of the provider, 1 to 64 bytes",
        None, |t| is_line(t, 64);
    TEXT, text_schema: "broker-text", "text that is not empty",
        Some("[\\s\\S]"), |t| !t.is_empty() && !t.contains('\0');
}

pub(super) fn origins_schema(generator: &mut SchemaGenerator) -> Schema {
    list_of(&origin_schema(generator))
}

pub(super) fn networks_schema(generator: &mut SchemaGenerator) -> Schema {
    list_of(&network_schema(generator))
}

pub(super) fn grants_schema(generator: &mut SchemaGenerator) -> Schema {
    list_of(&grant_schema(generator))
}

pub(super) fn destinations_schema(generator: &mut SchemaGenerator) -> Schema {
    list_of(&destination_schema(generator))
}

pub(super) fn containers_schema(generator: &mut SchemaGenerator) -> Schema {
    list_of(&container_schema(generator))
}

pub(super) fn services_schema(generator: &mut SchemaGenerator) -> Schema {
    list_of(&service_schema(generator))
}

pub(super) fn secret_names_schema(generator: &mut SchemaGenerator) -> Schema {
    list_of(&secret_name_schema(generator))
}

fn list_of(items: &Schema) -> Schema {
    schemars::json_schema!({ "type": "array", "items": items })
}

/// Reads where a service is: `Some(Some(port))` on this machine's loopback, `Some(None)` elsewhere or when the text is
/// empty, `None` when it is not the address of a service.
pub(super) fn service(text: &str) -> Option<Option<u16>> {
    if text.is_empty() {
        return Some(None);
    }
    if text.bytes().all(|b| b.is_ascii_digit()) {
        return text.parse().ok().filter(|port| *port > 0).map(Some);
    }
    let url = if text.contains("://") { Url::parse(text) } else { Url::parse(&format!("tcp://{text}")) };
    let url = url.ok()?;
    let loopback = match url.host()? {
        // The parser takes an address for a name when it does not know the scheme.
        Host::Domain(name) => name == "localhost" || name.parse::<std::net::Ipv4Addr>().is_ok_and(|a| a.is_loopback()),
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => address.is_loopback(),
    };
    let port = url.port_or_known_default().filter(|port| *port > 0)?;
    Some(loopback.then_some(port))
}

/// Reads a duration in hours, minutes, seconds and milliseconds.
pub(super) fn duration(text: &str) -> Option<Duration> {
    // The crate also reads "1 hour ago" and "PT1H". One way to write a duration is enough.
    let plain = text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'h' | b'm' | b's'));
    let parsed = text.parse::<jiff::SignedDuration>().ok().filter(|_| plain)?;
    Duration::try_from(parsed).ok()
}

/// Reads a size in bytes.
pub(super) fn size(text: &str) -> Option<u64> {
    let units = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];
    let (digits, unit) = units.iter().find_map(|(name, unit)| Some((text.strip_suffix(name)?, *unit)))?;
    digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse::<u64>().ok()?.checked_mul(unit))?
}

/// Reads a size in whole MiB.
pub(super) fn mebibytes(text: &str) -> Option<u32> {
    let bytes = size(text)?;
    bytes.is_multiple_of(1 << 20).then(|| u32::try_from(bytes >> 20).ok())?
}

/// Reads a network, or an address as the network of it alone.
pub(super) fn network(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| Some(IpNet::from(text.parse::<IpAddr>().ok()?.to_canonical())))
}

/// Reads the SHA-256 of a token.
pub(super) fn sha256(text: &str) -> Option<[u8; 32]> {
    let digit = |b: u8| char::from(b).to_digit(16);
    let mut hash = [0; 32];
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
    if pairs.len() != hash.len() {
        return None;
    }
    for (byte, [high, low]) in hash.iter_mut().zip(pairs) {
        *byte = u8::try_from(digit(*high)? << 4 | digit(*low)?).ok()?;
    }
    Some(hash)
}

/// Whether it names a plugin that is part of the broker.
pub(super) fn is_builtin(text: &str) -> bool {
    let rest = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    rest && (1..=64).contains(&text.len())
}

fn is_wasm_path(text: &str) -> bool {
    text.ends_with(".wasm") && !text.contains("://") && !text.contains('\0')
}

/// What the log may be told to show, besides directives.
pub(super) const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];

fn log(text: &str) -> bool {
    // The parser takes a lone word that is no level for the name of a target, of
    // which it shows everything, and of the rest nothing.
    let said = |directive: &str| directive.contains(['=', '[']) || directive.trim().parse::<LevelFilter>().is_ok();
    // An empty filter would silence everything, and so would commas alone.
    let empty = text.chars().all(|c| c == ',' || c.is_whitespace());
    !empty && text.split(',').all(said) && EnvFilter::builder().parse(text).is_ok()
}

/// Whether it is one line of at most so many bytes, and not empty.
fn is_line(text: &str, most: usize) -> bool {
    (1..=most).contains(&text.len()) && !text.contains(char::is_control)
}

fn is_name(text: &str) -> bool {
    let first = text.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    let rest = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_');
    first && rest && text.len() <= 63
}

fn is_secret_name(text: &str) -> bool {
    let letters = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    letters && (1..=64).contains(&text.len())
}

fn is_variable(text: &str) -> bool {
    let first = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    first && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// Directories of the system. A sandbox could not work with a mount in one of them or over it.
const SYSTEM: &[&str] =
    &["bin", "boot", "dev", "etc", "lib", "lib32", "lib64", "libx32", "proc", "run", "sbin", "sys", "usr", "var"];

/// Directories in which a mount may be, but not over them.
const SHARED: &[&str] = &["home", "root", "tmp"];

/// Bytes of a mount's path. Far below what Linux takes, so that the paths of files in the mount still fit.
const MOUNT_PATH_BYTES: usize = 1024;

fn is_mount_path(text: &str) -> bool {
    let Some(parts) = text.strip_prefix('/').map(|rest| rest.split('/').collect::<Vec<_>>()) else { return false };
    let plain = parts.iter().all(|part| !matches!(*part, "" | "." | "..")) && !text.contains(char::is_control);
    let system = SYSTEM.contains(&parts[0]) || (SHARED.contains(&parts[0]) && parts.len() == 1);
    plain && !system && text.len() <= MOUNT_PATH_BYTES
}

/// Whether the paths are equal or one lies in the other.
pub(super) fn overlap(a: &str, b: &str) -> bool {
    let inside = |a: &str, b: &str| a.strip_prefix(b).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    inside(a, b) || inside(b, a)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units_and_no_sign() {
        assert_eq!(duration("3600s"), Some(Duration::from_secs(3600)));
        assert_eq!(duration("1h30m"), Some(Duration::from_secs(5400)));
        assert_eq!(duration("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(duration("0s"), Some(Duration::ZERO));
        for wrong in
            ["", "5", "-5s", "1 h", "1d", "PT1H", "1h ago", "1hs", "30m1h", "s", "1.5h", "99999999999999999999s", "²s"]
        {
            assert_eq!(duration(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn sizes_are_powers_of_1024() {
        assert_eq!(size("64MiB"), Some(64 << 20));
        assert_eq!(size("1GiB"), Some(1 << 30));
        for wrong in ["", "64", "64MB", "MiB", "-1KiB", "+1KiB", "1.5GiB", "99999999999999999GiB", "64 MiB"] {
            assert_eq!(size(wrong), None, "{wrong}");
        }
        assert_eq!((mebibytes("2GiB"), mebibytes("1024KiB"), mebibytes("1KiB")), (Some(2048), Some(1), None));
        assert_eq!(mebibytes("4194304GiB"), None, "more than the contract can say");
    }

    #[test]
    fn a_mount_has_a_path_of_its_own() {
        for good in ["/workspace", "/workspace/files", "/mnt", "/home/ada/files", "/tmp/x", "/etcetera", "/a b/é"] {
            assert!(is_mount_path(good), "{good}");
        }
        for wrong in [
            "",
            "/",
            "//",
            "files",
            "./files",
            "/a/",
            "/a//b",
            "/a/./b",
            "/a/../b",
            "/..",
            "/etc",
            "/etc/x",
            "/usr/local/x",
            "/proc",
            "/run/x",
            "/var/lib/x",
            "/home",
            "/tmp",
            "/a\nb",
            "/a\0",
        ] {
            assert!(!is_mount_path(wrong), "{wrong:?}");
        }
        assert!(!is_mount_path(&format!("/{}", "x".repeat(MOUNT_PATH_BYTES))));
    }

    #[test]
    fn paths_overlap_by_whole_parts() {
        for (a, b) in [("/a", "/a"), ("/a", "/a/b"), ("/a/b/c", "/a")] {
            assert!(overlap(a, b), "{a} {b}");
        }
        assert!(!overlap("/a", "/ab") && !overlap("/a/b", "/a/c"));
    }

    #[test]
    fn a_lone_word_of_the_log_is_a_level() {
        for good in ["info", "WARN", "off", "info,sandbox_broker=debug", "sandbox_broker[{id}]=trace"] {
            assert!(log(good), "{good}");
        }
        for wrong in ["", " ", "inof", "sandbox_broker", "info,debg", "a=inof", ","] {
            assert!(!log(wrong), "{wrong:?}");
        }
    }

    #[test]
    fn a_hash_has_64_digits() {
        let text = "00ff".repeat(16);
        assert_eq!(sha256(&text).map(|h| (h[0], h[1])), Some((0, 255)));
        assert_eq!(sha256(&text.to_uppercase()), sha256(&text));
        for wrong in ["", "00", &text[1..], &format!("{text}0"), &text.replace('f', "g"), &"é".repeat(32)] {
            assert_eq!(sha256(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_network_is_an_address_or_has_a_prefix() {
        for (text, reads) in [
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("192.0.2.7", "192.0.2.7/32"),
            ("::1", "::1/128"),
            ("fd00::/8", "fd00::/8"),
            ("::ffff:192.0.2.7", "192.0.2.7/32"),
        ] {
            assert_eq!(network(text).map(|n| n.to_string()).as_deref(), Some(reads));
        }
        for wrong in ["", "*", "proxy", "10.0.0.0/33", "10.0.0", "10.0.0.0/", "10.0.0.1:80", " 10.0.0.1"] {
            assert_eq!(network(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn a_pattern_for_editors_refuses_nothing_that_fits() {
        let samples = [
            "30s",
            "64MiB",
            "127.0.0.1:3000",
            "https://a.example",
            "https://*.a.example/v1",
            "10.0.0.0/8",
            "info",
            "e2b",
            "./a.wasm",
            "/a/b.wasm",
            "/workspace",
            "/workspace/files",
            "A_B",
            "api_key",
            "RS256",
            "x\ny",
        ];
        for format in FORMATS {
            let Some(pattern) = format.pattern else { continue };
            let schema = json!({ "type": "string", "pattern": pattern });
            let validator = jsonschema::validator_for(&schema).unwrap();
            let mut fitting = samples.iter().filter(|t| (format.fits)(t)).peekable();
            assert!(fitting.peek().is_some() || format.name == "broker-sha256", "no sample fits {}", format.name);
            for text in fitting {
                assert!(validator.is_valid(&json!(text)), "{} refuses {text}", format.name);
            }
        }
    }
}
