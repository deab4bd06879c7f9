//! Words for what the scripts and blobfuse2 print when something fails in the
//! sandbox. Knows their texts, no step.

use sandbox_broker_sdk::mounter::Explanation;
use sandbox_broker_sdk::{Code, quote};

use crate::config::{Config, Credential};
use crate::container::Container;
use crate::errors::words;

/// Codes of the service that blobfuse2 may meet although the broker did not.
const CODES: [&str; 15] = [
    "ContainerNotFound",
    "ContainerBeingDeleted",
    "ContainerDisabled",
    "ResourceNotFound",
    "AccountIsDisabled",
    "AuthenticationFailed",
    "AuthorizationFailure",
    "AuthorizationPermissionMismatch",
    "AuthorizationProtocolMismatch",
    "AuthorizationSourceIPMismatch",
    "AuthorizationResourceTypeMismatch",
    "AuthorizationServiceMismatch",
    "InsufficientAccountPermissions",
    "AccountRequiresHttps",
    "ServerBusy",
];

/// Explains a failure of any step of the mount. The first pattern that occurs
/// counts, so the precise ones come first.
pub fn table(config: &Config, container: &Container) -> Vec<Explanation> {
    let mut table = Vec::new();
    let mut add = |pattern: String, code: Code, message: String| {
        table.push(Explanation { pattern, code, message });
    };
    let program = quote(&config.blobfuse2);
    let template = "take a template with FUSE and blobfuse2";
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
            "mount: no blobfuse2",
            Code::FailedPrecondition,
            format!("the sandbox has no program {program}: {template}, or correct `blobfuse2`"),
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
            "watch: not mounted",
            Code::Unavailable,
            format!(
                "nothing is mounted there: blobfuse2 gets no answer from {}, or somebody unmounted it",
                container.endpoint.authority
            ),
        ),
        ("watch: blobfuse2 is gone", Code::Unavailable, "blobfuse2 ended, and the mount with it".to_owned()),
        ("watch: blobfuse2 does not answer", Code::Unavailable, "blobfuse2 hangs: it does not answer".to_owned()),
        (
            "unmount: it stays busy",
            Code::FailedPrecondition,
            "the mount stays in use, although its users were ended: what they had open may not be stored".to_owned(),
        ),
        (
            "mount directory is not empty",
            Code::FailedPrecondition,
            "the mount point is not empty: choose another path for the storage".to_owned(),
        ),
        (
            "directory is already mounted",
            Code::FailedPrecondition,
            "something is mounted at the mount point already: choose another path for the storage".to_owned(),
        ),
        (
            "temp directory not empty",
            Code::FailedPrecondition,
            "the cache of an earlier mount is still there, and blobfuse2 does not take it over".to_owned(),
        ),
        (
            "fusermount3: mount failed: Operation not permitted",
            Code::FailedPrecondition,
            format!("the sandbox may not mount file systems: {template}"),
        ),
        (
            "failed to mount fuse",
            Code::FailedPrecondition,
            format!("the sandbox cannot mount file systems: {template}"),
        ),
        (
            "Detected FNS account being mounted as HNS",
            Code::Unimplemented,
            "blobfuse2 takes the account for one with a hierarchical namespace".to_owned(),
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
        add(pattern.to_owned(), code, message);
    }
    for code in CODES {
        let Some((kind, message)) = in_sandbox(code, container, config.credential) else { continue };
        // As blobfuse2 prints it at its start, and as the watch quotes its log.
        add(format!("[{code}]"), kind, message.clone());
        add(format!("the service says {code}"), kind, message);
    }
    let authority = &container.endpoint.authority;
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
        ("x509:", format!("the sandbox does not trust the certificate of {authority}: see to its roots")),
    ] {
        add(pattern.to_owned(), Code::Unavailable, message);
    }
    add(
        "probe: cannot".to_owned(),
        Code::PermissionDenied,
        "the storage is mounted, but files cannot be written, read and removed in it: check the permissions of the \
         token, immutability policies and locks of the container"
            .to_owned(),
    );
    add("mount: blobfuse2 ended".to_owned(), Code::Unavailable, "blobfuse2 ended, and the mount with it".to_owned());
    table
}

/// What a code means when a sandbox's token meets it. That of the broker was
/// accepted before, so it is not the key.
fn in_sandbox(code: &str, container: &Container, credential: Credential) -> Option<(Code, String)> {
    let account = &container.account;
    match (code, credential) {
        ("AuthenticationFailed", Credential::AccountKey) => {}
        ("AuthorizationFailure", Credential::AccountKey) if container.endpoint.emulator => {}
        _ => return words(code, container, credential),
    }
    Some((
        Code::Unauthenticated,
        format!(
            "account {account} does not accept the sandbox's token any more: it ended before it was renewed, its \
             access policy or the container was removed, or the account key was changed"
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{azure, section};

    /// What is said about an output.
    fn said(output: &str) -> String {
        let table = table(&section(""), &azure());
        table.into_iter().find(|one| output.contains(&one.pattern)).map(|one| one.message).unwrap_or_default()
    }

    #[test]
    fn what_blobfuse2_prints_is_explained() {
        for (output, expected) in [
            (
                "Error: failed to initialize new pipeline [failed to authenticate azstorage credentials with error \
                 [BlockBlob::TestPipeline : [ContainerNotFound]]]",
                "account mystore has no container files",
            ),
            ("... error [BlockBlob::TestPipeline : [AuthenticationFailed]]]", "does not accept the sandbox's token"),
            ("... error [BlockBlob::TestPipeline : [AuthorizationFailure]]]", "the network rules of account mystore"),
            ("dial tcp: lookup mystore.blob.core.windows.net: no such host", "the sandbox cannot resolve mystore"),
            ("dial tcp 127.0.0.1:1: connect: connection refused", "refuses connections from the sandbox"),
            ("fusermount3: mount failed: Operation not permitted", "may not mount file systems"),
            ("Error: unable to start pipeline [failed to mount fuse]", "cannot mount file systems"),
            ("Error: mount directory is not empty", "choose another path"),
            ("Error: config error in file_cache [temp directory not empty]", "the cache of an earlier mount"),
            ("blobfuse2: error while loading shared libraries: libfuse3.so.3", "a library is missing"),
        ] {
            assert!(said(output).contains(expected), "{output}: {}", said(output));
        }
        assert_eq!(said("something else"), "");
    }

    #[test]
    fn every_failure_of_a_script_is_explained_or_speaks_for_itself() {
        // These name files or quote a command, so they are shown as they are.
        let own_words = ["no workspace", "no cache", "no space for the cache", "the mount point cannot be read"];
        for (name, script) in crate::plan::SCRIPTS {
            for text in script.lines().filter_map(|line| line.split_once("fail ")).map(|(_, text)| text) {
                let quote = text.chars().next().expect("a text");
                let text = text[1..].split(quote).next().unwrap_or_default();
                if !text.starts_with('$') && !own_words.contains(&text) && name != "clear" {
                    let output = format!("{name}: {}", text.replace("$last", "ContainerNotFound"));
                    assert_ne!(said(&output), "", "{output}");
                }
            }
        }
    }

    #[test]
    fn messages_fit_the_contract() {
        let table = table(&section(r#","credential":"sas""#), &azure());
        assert!(table.len() <= 64, "the host takes no more: {}", table.len());
        for one in table {
            assert!(one.message.len() <= 1024 && !one.message.ends_with('.'), "{}", one.message);
            assert!(!one.message.contains('\n'), "{}", one.message);
        }
    }
}
