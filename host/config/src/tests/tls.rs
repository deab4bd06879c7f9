//! Files with certificates and keys: what is read, what is watched, and what a person is told about a wrong one.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::super::{Config, Mistakes, parse};

const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/tests/data");

/// The key of no certificate.
const OTHER: &str = "-----BEGIN PRIVATE KEY-----\n\
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgosxwoGBZmSueuLUG\n\
HLTOUE8NVBPjt7xALCEiQR9+vhOhRANCAATXofNt+roRSNkuyhvWZps8OqIXQEce\n\
cKi/1wETzrd1NlsXWwe0F9alfYZfq+Dll89J+X4p965Yesapvu7YCvU/\n\
-----END PRIVATE KEY-----\n";

fn with(directory: &Path, tls: &str) -> Result<Config, Mistakes> {
    let text = format!("[sandbox]\nprovider = \"p\"\n[providers.p]\nplugin = \"e2b\"\n[providers.p.tls]\n{tls}\n");
    parse(&directory.join("broker.toml"), &text, &|name| (name == "WHERE").then(|| "canary.pem".to_owned()))
}

/// A directory with `ca.pem` and its key.
fn directory() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for name in ["ca.pem", "key.pem"] {
        fs::copy(format!("{DATA}/{name}"), directory.path().join(name)).unwrap();
        fs::set_permissions(directory.path().join(name), Permissions::from_mode(0o600)).unwrap();
    }
    directory
}

#[test]
fn files_are_read_and_followed_from_the_directory_of_the_file() {
    let directory = directory();
    let config = with(directory.path(), "ca = \"ca.pem\"\ncert = \"./ca.pem\"\nkey = \"key.pem\"").unwrap();
    let tls = &config.providers["p"].tls;
    assert_eq!(tls.roots.as_ref().map(|roots| roots.len()), Some(1));
    assert!(tls.identity.is_some() && config.warnings().is_empty(), "{:?}", config.warnings());
    for name in ["ca.pem", "./ca.pem", "key.pem"] {
        assert!(config.files().contains(&directory.path().join(name)), "{name}");
    }
    assert!(!format!("{config:?}").contains("PRIVATE"));
    let none = with(directory.path(), "").unwrap();
    assert!(none.providers["p"].tls.roots.is_none() && none.providers["p"].tls.identity.is_none());
}

#[test]
fn a_key_that_others_can_read_is_warned_of() {
    let directory = directory();
    fs::set_permissions(directory.path().join("key.pem"), Permissions::from_mode(0o644)).unwrap();
    let config = with(directory.path(), "cert = \"ca.pem\"\nkey = \"key.pem\"").unwrap();
    let [told] = config.warnings() else { panic!("{:?}", config.warnings()) };
    assert!(told.to_string().contains("key.pem") && told.to_string().contains("mode 0644"), "{told}");
}

#[test]
fn a_wrong_file_is_told_by_name_with_what_mends_it_and_is_followed() {
    let directory = directory();
    let write = |name: &str, bytes: &[u8]| fs::write(directory.path().join(name), bytes).unwrap();
    write("empty.pem", b"");
    write("der.pem", &[0x30, 0x82, 1, 2]);
    write("cut.pem", b"-----BEGIN CERTIFICATE-----\nMIIB\n");
    write("garbled.pem", b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n");
    write("locked.pem", b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIB\n-----END ENCRYPTED PRIVATE KEY-----\n");
    write("large.pem", &vec![b'x'; (1 << 20) + 1]);
    let pair = |key: &str| format!("cert = \"ca.pem\"\nkey = {key:?}");
    for (tls, key, says) in [
        (
            "ca = \"gone.pem\"".to_owned(),
            "ca",
            "found \"gone.pem\", which cannot be read (entity not found), expected cert",
        ),
        ("ca = \"large.pem\"".to_owned(), "ca", "which cannot be read (too large)"),
        ("ca = \".\"".to_owned(), "ca", "which cannot be read (not a file)"),
        ("ca = \"${WHERE}\"".to_owned(), "ca", "found text (from $WHERE), which cannot be read"),
        ("ca = \"empty.pem\"".to_owned(), "ca", "which has no certificate"),
        ("ca = \"der.pem\"".to_owned(), "ca", "`openssl x509 -inform der`"),
        ("ca = \"cut.pem\"".to_owned(), "ca", "in which a certificate is cut off or garbled"),
        ("ca = \"garbled.pem\"".to_owned(), "ca", "in which a certificate cannot be read"),
        ("cert = \"key.pem\"\nkey = \"key.pem\"".to_owned(), "cert", "which has no certificate"),
        (pair("ca.pem"), "key", "which has no private key that can be used"),
        (pair("locked.pem"), "key", "without a passphrase"),
        ("cert = \"ca.pem\"".to_owned(), "key", "found nothing, expected the file with the private key of `cert`"),
        ("key = \"key.pem\"".to_owned(), "cert", "found nothing, expected the file with the certificate"),
    ] {
        let mistakes = with(directory.path(), &tls).expect_err(&tls);
        let [one] = mistakes.list() else { panic!("{mistakes}") };
        assert_eq!(one.key(), format!("providers.p.tls.{key}"), "{tls}");
        assert!(one.message().contains(says) && !format!("{mistakes:?}").contains("MIIB"), "{mistakes}");
        for name in tls.split('"').filter(|name| name.ends_with(".pem")) {
            assert!(mistakes.files().contains(&directory.path().join(name)), "{name} is followed");
        }
    }
}

#[test]
fn the_key_of_another_certificate_is_refused() {
    let directory = directory();
    fs::write(directory.path().join("key.pem"), OTHER).unwrap();
    let mistakes = with(directory.path(), "cert = \"ca.pem\"\nkey = \"key.pem\"").unwrap_err().to_string();
    assert!(
        mistakes.contains("providers.p.tls.key: found \"key.pem\", which has the key of another certificate"),
        "{mistakes}"
    );
}
