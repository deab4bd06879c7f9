//! Words for what the scripts and rclone print when something fails in the
//! sandbox. Knows their texts, no step.

use sandbox_broker_sdk::mounter::Explanation;
use sandbox_broker_sdk::{Code, quote};

use crate::bucket::Bucket;
use crate::config::Config;
use crate::errors::{Asked, words};

/// Codes of the service that rclone may meet although the broker did not.
const CODES: [&str; 8] = [
    "NoSuchBucket",
    "AccessDenied",
    "ExpiredToken",
    "InvalidAccessKeyId",
    "InvalidTokenId",
    "InvalidToken",
    "SignatureDoesNotMatch",
    "SlowDown",
];

/// Explains a failure of any step of the mount. The first pattern that occurs
/// counts, so the precise ones come first.
pub fn table(config: &Config, bucket: &Bucket) -> Vec<Explanation> {
    let mut table = Vec::new();
    let mut add = |pattern: &str, code: Code, message: String| {
        table.push(Explanation { pattern: pattern.to_owned(), code, message });
    };
    let program = quote(&config.rclone);
    let template = "take a template with FUSE and rclone";
    let authority = &bucket.service.authority;
    for (pattern, code, message) in [
        (
            "mount: no /dev/fuse",
            Code::FailedPrecondition,
            format!("the sandbox has no /dev/fuse, so nothing can be mounted in it: {template}"),
        ),
        (
            "mount: /dev/fuse cannot be opened",
            Code::FailedPrecondition,
            format!("/dev/fuse of the sandbox cannot be opened, so nothing can be mounted in it: {template}"),
        ),
        (
            "mount: no rclone",
            Code::FailedPrecondition,
            format!("the sandbox has no program {program}: {template}, or correct `rclone`"),
        ),
        (
            "mount: no fusermount3",
            Code::FailedPrecondition,
            format!("the sandbox has no fusermount3: install the package fuse3 in its template, or {template}"),
        ),
        (
            "mount: no such user",
            Code::FailedPrecondition,
            "the sandbox does not have the user who is to use the mount: correct `user` of the sandbox".to_owned(),
        ),
        (
            "unknown flag",
            Code::FailedPrecondition,
            format!("{program} of the sandbox is too old: install 1.69 or later in its template"),
        ),
        (
            "No space left on device",
            Code::ResourceExhausted,
            "the sandbox's disk is full: take a template with a larger one, or set a smaller `cache_size`".to_owned(),
        ),
        (
            "watch: something else is mounted",
            Code::FailedPrecondition,
            "something else is mounted where the storage belongs".to_owned(),
        ),
        (
            "unmount: it stays busy",
            Code::FailedPrecondition,
            "the mount stays in use, although its users were ended: what they had open may not be stored".to_owned(),
        ),
        (
            "directory already mounted",
            Code::FailedPrecondition,
            "something is mounted at the mount point already: choose another path for the storage".to_owned(),
        ),
        (
            "is not empty",
            Code::FailedPrecondition,
            "the mount point is not empty: choose another path for the storage".to_owned(),
        ),
        (
            "Operation not permitted",
            Code::FailedPrecondition,
            format!("the sandbox may not mount file systems: {template}"),
        ),
        (
            "error while loading shared libraries",
            Code::FailedPrecondition,
            format!("{program} does not run in the sandbox because a library is missing: {template}"),
        ),
        (
            "Exec format error",
            Code::FailedPrecondition,
            format!("{program} of the sandbox is for another processor: {template}"),
        ),
    ] {
        add(pattern, code, message);
    }
    for code in CODES {
        let Some((kind, message)) = words(code, Asked::Sandbox(config.credential), bucket) else { continue };
        // As rclone prints it, and as the watch quotes its log.
        add(&format!("api error {code}"), kind, message.clone());
        add(&format!("the service says {code}"), kind, message);
    }
    for (pattern, message) in [
        ("no such host", format!("the sandbox cannot resolve {authority}: check its network and name service")),
        ("connection refused", format!("{authority} refuses connections from the sandbox: check its network rules")),
        ("network is unreachable", format!("the sandbox has no network to {authority}: allow it to reach the service")),
        ("no route to host", format!("the sandbox has no route to {authority}: allow it to reach the service")),
        ("i/o timeout", format!("{authority} does not answer the sandbox: allow it to reach the service")),
        ("deadline exceeded", format!("{authority} does not answer the sandbox: allow it to reach the service")),
        (
            "tls: failed to verify",
            format!("the sandbox does not trust the certificate of {authority}: see to its roots"),
        ),
        ("watch: not mounted", "nothing is mounted there: rclone does not start, or somebody unmounted it".to_owned()),
        ("watch: rclone is gone", "rclone ended, and the mount with it".to_owned()),
        ("watch: rclone does not answer", "rclone hangs: it does not answer".to_owned()),
        ("mount: rclone ended", "rclone ended, and the mount with it".to_owned()),
        ("unmount: rclone does not end", "rclone does not end: what it had not stored is lost".to_owned()),
    ] {
        add(pattern, Code::Unavailable, message);
    }
    let refused = "the storage is mounted, but files cannot be written, read and removed in it: check what the role or \
                   the key may do, and the bucket's policy";
    add("probe: cannot", Code::PermissionDenied, refused.to_owned());
    add("proof: ", Code::Unavailable, "what is written to the mount does not reach the bucket".to_owned());
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{bucket, section};

    /// What is said about an output.
    fn said(output: &str) -> String {
        let table = table(&section(""), &bucket(""));
        table.into_iter().find(|one| output.contains(&one.pattern)).map(|one| one.message).unwrap_or_default()
    }

    #[test]
    fn what_rclone_prints_is_explained() {
        for (output, expected) in [
            ("StatusCode: 404, RequestID: 1, api error NoSuchBucket: The", "has no bucket files"),
            ("StatusCode: 403, api error AccessDenied: Access Denied.", "no permission for files"),
            ("api error ExpiredToken: gone", "ended before they were renewed"),
            ("dial tcp: lookup s3.eu-west-1.amazonaws.com: no such host", "the sandbox cannot resolve s3.eu"),
            ("dial tcp 127.0.0.1:1: connect: connection refused", "refuses connections from the sandbox"),
            ("fusermount3: mount failed: Operation not permitted", "may not mount file systems"),
            ("Fatal error: unknown flag: --vfs-links", "is too old: install 1.69 or later"),
        ] {
            assert!(said(output).contains(expected), "{output}: {}", said(output));
        }
        assert_eq!(said("something else"), "");
    }

    #[test]
    fn every_failure_of_a_script_is_explained_or_speaks_for_itself() {
        // These name files, so they are shown as they are.
        let own_words = ["no workspace", "no cache", "no space for the cache", "the mount point cannot be read"];
        for (name, script) in crate::plan::SCRIPTS {
            for text in script
                .lines()
                .filter_map(|line| line.split_once("fail "))
                .map(|(_, text)| text)
                .filter(|text| text.starts_with(['\'', '"']))
            {
                let quote = text.chars().next().expect("a text");
                let text = text[1..].split(quote).next().unwrap_or_default();
                if !text.starts_with('$') && !own_words.contains(&text) {
                    let output = format!("{name}: {}", text.replace("$last", "AccessDenied"));
                    assert_ne!(said(&output), "", "{output}");
                }
            }
        }
    }

    #[test]
    fn messages_fit_the_contract() {
        let table = table(&section(""), &bucket(""));
        assert!(table.len() <= 64, "the host takes no more: {}", table.len());
        for one in table {
            assert!(one.message.len() <= 1024 && !one.message.ends_with('.'), "{}", one.message);
            assert!(!one.message.contains('\n'), "{}", one.message);
        }
    }
}
