//! The configuration of blobfuse2 and where its files are. Owns which of its
//! settings are written and why; knows no step.

use serde_json::{Value, json};

use crate::config::Config;
use crate::container::Container;

/// Pause before the first repetition and the longest one, seconds.
const BACKOFF_SECS: (u64, u64) = (1, 2);

/// Size of a log file in MB, and how many are kept. Only failures are logged.
const LOG: (u64, u64) = (8, 3);

/// Where the configuration is. The ending tells blobfuse2 its language.
pub fn config_path(workspace: &str) -> String {
    format!("{workspace}/config.yaml")
}

/// The configuration as JSON, which is YAML in which nothing is mistaken for
/// something else, whatever a token contains.
///
/// Settings that look needless are not: without `type` blobfuse2 guesses the
/// kind of account and guesses wrong at emulators, without `mode: sas` in so
/// many letters it does not take a renewed token, and after such a change a
/// timeout that is absent becomes zero.
pub fn config(config: &Config, container: &Container, workspace: &str, read_only: bool, token: &str) -> Vec<u8> {
    let believed = config.attribute_secs();
    let umask: u32 = config.umask.parse().unwrap_or_default();
    let mut storage = json!({
        "type": "block",
        "mode": "sas",
        "account-name": container.account,
        "container": container.name,
        "endpoint": container.endpoint.url,
        "sas": token,
        "max-retries": config.retries,
        // For one try, whatever its name says.
        "max-retry-timeout-sec": config.request_secs(),
        "retry-backoff-sec": BACKOFF_SECS.0,
        "max-retry-delay-sec": BACKOFF_SECS.1,
    });
    if !config.subdirectory.is_empty() {
        storage["subdirectory"] = Value::from(&*config.subdirectory);
    }
    let value = json!({
        "allow-other": config.allow_other,
        "read-only": read_only,
        "components": ["libfuse", "file_cache", "attr_cache", "azstorage"],
        "logging": {
            "type": "base",
            "level": "log_err",
            "file-path": format!("{workspace}/blobfuse2.log"),
            "max-file-size-mb": LOG.0,
            "file-count": LOG.1,
        },
        "libfuse": {
            "attribute-expiration-sec": believed,
            "entry-expiration-sec": believed,
            "negative-entry-expiration-sec": believed,
            // It takes the decimal digits for octal ones.
            "umask": umask,
            // With it the kernel would not see the new size of a file that
            // another mount wrote, and would read it cut or torn.
            "disable-writeback-cache": true,
        },
        "file_cache": {
            "path": format!("{workspace}/cache"),
            "timeout-sec": config.cache_secs(),
            "max-size-mb": config.cache_mib(),
            // Without it fsync stores nothing.
            "sync-to-flush": true,
            "allow-non-empty-temp": false,
        },
        "attr_cache": { "timeout-sec": believed },
        "azstorage": storage,
    });
    value.to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{azure, section};

    fn written(members: &str, read_only: bool) -> Value {
        let bytes = config(&section(members), &azure(), "/run/w", read_only, "sv=1&sig=a%2Bb");
        serde_json::from_slice(&bytes).expect("json")
    }

    #[test]
    fn what_must_be_written_is() {
        let value = written("", false);
        assert_eq!(value["components"], json!(["libfuse", "file_cache", "attr_cache", "azstorage"]));
        assert_eq!(value["allow-other"], true);
        assert_eq!(value["read-only"], false);
        assert_eq!(value["libfuse"]["umask"], 22);
        assert_eq!(value["file_cache"]["path"], "/run/w/cache");
        assert_eq!(value["file_cache"]["timeout-sec"], 0);
        assert_eq!(value["file_cache"]["sync-to-flush"], true);
        assert_eq!(value["logging"]["file-path"], "/run/w/blobfuse2.log");
        let storage = &value["azstorage"];
        assert_eq!(storage["type"], "block");
        assert_eq!(storage["mode"], "sas");
        assert_eq!(storage["account-name"], "mystore");
        assert_eq!(storage["container"], "files");
        assert_eq!(storage["endpoint"], "https://mystore.blob.core.windows.net");
        assert_eq!(storage["sas"], "sv=1&sig=a%2Bb");
        assert_eq!(storage["max-retries"], 2);
        assert_eq!(storage["max-retry-timeout-sec"], 60);
        assert_eq!(storage.get("subdirectory"), None);
    }

    #[test]
    fn what_is_configured_reaches_the_program() {
        let value = written(
            r#","subdirectory":"/a/b","cache_size":"512MiB","cache_timeout":"2m","attribute_timeout":"1m",
            "allow_other":false,"umask":"077","retries":7,"request_timeout":"5m""#,
            true,
        );
        assert_eq!(value["azstorage"]["subdirectory"], "a/b");
        assert_eq!(value["file_cache"]["max-size-mb"], 512);
        assert_eq!(value["file_cache"]["timeout-sec"], 120);
        assert_eq!(value["attr_cache"]["timeout-sec"], 60);
        assert_eq!(value["libfuse"]["attribute-expiration-sec"], 60);
        assert_eq!(value["libfuse"]["umask"], 77);
        assert_eq!(value["allow-other"], false);
        assert_eq!(value["read-only"], true);
        assert_eq!(value["azstorage"]["max-retries"], 7);
        assert_eq!(value["azstorage"]["max-retry-timeout-sec"], 300);
    }
}
