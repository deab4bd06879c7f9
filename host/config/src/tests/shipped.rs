//! The shipped `broker.toml`: it runs on a fresh machine and understands the
//! environment of existing deployments.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use super::super::{Carry, Embedded, HostPattern, PluginSource, load};
use super::{mistakes, place, with};
use crate::document::AT_START;

const SHIPPED: &str = include_str!("../../../../broker.toml");

#[test]
fn it_loads_with_an_empty_environment_on_the_embedded_default() {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../broker.toml"));
    let config = load(path, &|_| None).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(config.server.listen, SocketAddr::from(([127, 0, 0, 1], 3000)));
    assert_eq!(config.server.frontend_url.as_ref().map(|o| o.as_str()), Some("http://localhost:5174"));
    assert!(config.auth.is_none());
    assert_eq!(config.sandbox.provider, "local");
    assert_eq!(config.sandbox.timeout, Duration::from_secs(3600));
    assert_eq!(config.sandbox.lease, Duration::from_secs(120));
    assert_eq!(config.sandbox.workdir.as_deref(), Some("/workspace"));
    assert!(config.sandbox.env.is_empty(), "an empty variable is left out");
    assert!(config.storage.is_empty());
    let local = &config.providers["local"];
    assert_eq!(local.plugin, PluginSource::Builtin("e2b".into()));
    assert_eq!(local.embedded, Some(Embedded::Sandboxd));
    assert_eq!(config.files(), [path]);
    assert!(config.warnings().is_empty());
}

#[test]
fn it_reads_the_variables_of_existing_deployments() {
    let config = with(
        SHIPPED,
        &[
            ("PORT", "8080"),
            ("FRONTEND_URL", "https://app.example"),
            ("SANDBOX_PROVIDER", "e2b"),
            ("SANDBOX_TIMEOUT", "600"),
            ("ANTHROPIC_API_KEY", "sk-ant-1"),
            ("E2B_API_KEY", "e2b_1"),
            ("AZURE_STORAGE_ENABLED", "false"),
        ],
    )
    .unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(config.server.listen.port(), 8080);
    assert_eq!(config.server.frontend_url.as_ref().map(|o| o.as_str()), Some("https://app.example"));
    assert_eq!(config.sandbox.provider, "e2b");
    assert_eq!(config.sandbox.timeout, Duration::from_secs(600));
    assert_eq!(config.sandbox.env["ANTHROPIC_API_KEY"].expose(), "sk-ant-1");
    let e2b = &config.providers["e2b"];
    assert_eq!(e2b.secrets["api_key"].value.expose(), "e2b_1");
    assert!(e2b.allow.iter().any(|grant| grant.covers("https", "49983-x.e2b.app", 443, "/")));
    let key = &e2b.secrets["api_key"].binding;
    assert!(!key.to.iter().any(|to| to.covers("https", "49983-x.e2b.app", 443, "/")), "a sandbox never gets it");
}

/// Where the value of a key stands that is aligned with spaces.
fn value_of(section: &str, key: &str, value: &str) -> String {
    let section = SHIPPED.find(&format!("\n{section}")).expect("the section is there");
    let line = SHIPPED[section..].find(&format!("\n{key} ")).expect("the key is there") + section + 1;
    let offset = line + SHIPPED[line..].find(value).expect("the value is there");
    format!("broker.toml:{}", place(SHIPPED, offset))
}

#[test]
fn the_chosen_provider_needs_its_key_and_only_that_one_does() {
    let at = value_of("[providers.e2b.secrets.api_key]", "value", "\"${E2B");
    assert_eq!(
        mistakes(SHIPPED, &[("SANDBOX_PROVIDER", "e2b")]),
        format!(
            "{at}: providers.e2b.secrets.api_key.value: Missing required environment variable: E2B_API_KEY{AT_START}"
        )
    );
    assert_eq!(mistakes(SHIPPED, &[("SANDBOX_PROVIDER", "local")]), "");
}

#[test]
fn storage_needs_its_key_once_it_is_enabled() {
    let at = value_of("[providers.azure.secrets.account_key]", "value", "\"${AZURE");
    assert_eq!(
        mistakes(SHIPPED, &[("AZURE_STORAGE_ENABLED", "true")]),
        format!(
            "{at}: providers.azure.secrets.account_key.value: Missing required environment variable: AZURE_STORAGE_KEY{AT_START}"
        )
    );
    let variables = [
        ("AZURE_STORAGE_ENABLED", "true"),
        ("AZURE_STORAGE_ACCOUNT", "acct"),
        ("AZURE_STORAGE_KEY", "a2V5"),
        ("AZURE_STORAGE_CONTAINER", "files"),
    ];
    let config = with(SHIPPED, &variables).unwrap_or_else(|e| panic!("{e}"));
    let [mount] = config.storage.as_slice() else { panic!("{:?}", config.storage) };
    assert_eq!((mount.provider.as_str(), mount.path.as_str(), mount.read_only), ("azure", "/workspace/files", false));
    let azure = &config.providers["azure"];
    assert_eq!(azure.plugin, PluginSource::Builtin("azure-blobfuse".into()));
    assert!(azure.allow.iter().any(|grant| grant.covers("https", "acct.blob.core.windows.net", 443, "/files")));
    assert!(azure.allow.iter().all(|grant| !matches!(grant.host, HostPattern::Under(_))), "{:?}", azure.allow);
    let key = &azure.secrets["account_key"].binding;
    assert_eq!(key.carry, Some(Carry::SharedKey("acct".into())));
    let signed = |path: &str| key.to.iter().any(|to| to.covers("https", "acct.blob.core.windows.net", 443, path));
    assert!(signed("/files") && signed("/files/a"));
    assert!(!signed("/") && !signed("/other") && !signed("/files2"), "the key is for this container alone");
    assert!(key.sas.as_ref().unwrap().admit("files", Duration::from_secs(3600), None));
    let settings = config.check_provider_config("azure", &serde_json::json!({ "type": "object" })).unwrap();
    assert_eq!(settings, serde_json::json!({ "account": "acct", "container": "files", "endpoint": "" }));
}

#[test]
fn another_endpoint_is_granted_with_its_name() {
    let endpoint = "http://127.0.0.1:10000/devstoreaccount1";
    let config = with(SHIPPED, &[("AZURE_STORAGE_ENDPOINT", endpoint)]).unwrap_or_else(|e| panic!("{e}"));
    let azure = &config.providers["azure"];
    assert!(azure.allow.iter().any(|grant| grant.covers("http", "127.0.0.1", 10000, "/devstoreaccount1/files")));
    assert!(!azure.allow.iter().any(|grant| grant.covers("https", "acct.blob.core.windows.net", 443, "/files")));
    let settings = config.check_provider_config("azure", &serde_json::json!({ "type": "object" })).unwrap();
    assert_eq!(settings["endpoint"], endpoint);
}

/// Promise: the section of S3 needs nothing while it is not used, and its key goes to the token service alone.
#[test]
fn another_provider_of_storage_is_one_line_away() {
    let moved = SHIPPED.replacen("provider  = \"azure\"", "provider  = \"s3\"", 1);
    assert_ne!(moved, SHIPPED);
    let variables = [
        ("AZURE_STORAGE_ENABLED", "true"),
        ("S3_REGION", "eu-west-1"),
        ("S3_BUCKET", "files"),
        ("S3_ACCESS_KEY_ID", "AKIAX"),
        ("S3_SECRET_KEY", "key"),
        ("S3_ROLE_ARN", "arn:aws:iam::1:role/r"),
    ];
    let config = with(&moved, &variables).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(config.storage[0].provider, "s3");
    let s3 = &config.providers["s3"];
    assert!(s3.allow.iter().any(|grant| grant.covers("https", "s3.eu-west-1.amazonaws.com", 443, "/files")));
    let key = &s3.secrets["secret_key"].binding;
    let goes = |host: &str| key.to.iter().any(|to| to.covers("https", host, 443, "/"));
    assert!(goes("sts.eu-west-1.amazonaws.com") && !goes("s3.eu-west-1.amazonaws.com"));
    let Some(Carry::Sigv4(by)) = &key.carry else { panic!("{:?}", key.carry) };
    assert_eq!((&*by.key_id, &*by.region, &*by.service), ("AKIAX", "eu-west-1", "sts"));

    let own = [
        ("S3_ENDPOINT", "http://127.0.0.1:9000"),
        ("S3_STS_ENDPOINT", "http://127.0.0.1:9000"),
        ("S3_SECRET_KEY", "key"),
        ("AZURE_STORAGE_ENABLED", "true"),
    ];
    let config = with(&moved, &own).unwrap_or_else(|e| panic!("{e}"));
    assert!(config.providers["s3"].allow.iter().all(|grant| grant.covers("http", "127.0.0.1", 9000, "/files")));
}

#[test]
fn all_mistakes_in_the_environment_come_at_once() {
    let variables = [
        ("PORT", "http"),
        ("FRONTEND_URL", "*"),
        ("SANDBOX_PROVIDER", "e2"),
        ("SANDBOX_TIMEOUT", "1h"),
        ("AZURE_STORAGE_ENABLED", "yes"),
    ];
    let expected = [
        (
            value_of("[server]", "listen", "\"127"),
            "server.listen: found text (from $PORT, with what stands around it in this file), expected an IP address and a port such as \"127.0.0.1:3000\" or \"[::1]:3000\"",
        ),
        (
            value_of("[server]", "frontend_url", "\"$"),
            "server.frontend_url: found text (from $FRONTEND_URL), expected an origin such as \"https://example.com\": http or https, a host, perhaps a port, nothing else",
        ),
        (
            value_of("[sandbox]", "provider", "\"$"),
            "sandbox.provider: found text (from $SANDBOX_PROVIDER), expected the name of a [providers.NAME] section: azure, docker, e2b, local, s3; did you mean e2b?",
        ),
        (
            value_of("[sandbox]", "timeout", "\"$"),
            "sandbox.timeout: found text (from $SANDBOX_TIMEOUT, with what stands around it in this file), expected a duration such as \"30s\", \"5m\" or \"1h30m\"",
        ),
        (
            value_of("[storage]", "enabled", "\"$"),
            "storage.enabled: found text (from $AZURE_STORAGE_ENABLED), expected true or false",
        ),
    ];
    let expected: Vec<String> = expected.iter().map(|(at, message)| format!("{at}: {message}")).collect();
    assert_eq!(mistakes(SHIPPED, &variables), expected.join("\n"));
}
