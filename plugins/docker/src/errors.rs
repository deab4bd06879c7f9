//! What the engine's failures mean: whose turn it is, and what to do. Pure.
//!
//! The engine answers with a status and a sentence. The status alone says little: many different failures are 500.

use sandbox_broker_sdk::{Code, Error, quote};
use serde::Deserialize;

/// What was asked for when the engine refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked<'a> {
    /// About a sandbox, by its id.
    Sandbox(&'a str),
    /// To make one from this image.
    Create(&'a str),
    /// To fetch this image.
    Pull(&'a str),
    /// Anything else.
    Engine,
}

/// The sentence in a failed answer.
pub fn words(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Body {
        message: String,
    }
    match serde_json::from_slice::<Body>(body) {
        Ok(body) => quote(&body.message),
        Err(_) => "no reason was given".to_owned(),
    }
}

/// The error for an answer with a status that means failure.
pub fn of_answer(status: u16, body: &[u8], asked: Asked<'_>) -> Error {
    let words = words(body);
    let (code, message) = match (status, asked) {
        _ if is_full(&words) => full(&words),
        (_, Asked::Pull(image)) => of_pull(image, &words),
        (404, Asked::Sandbox(id)) => (Code::NotFound, format!("sandbox {} is gone", short(id))),
        (409, Asked::Sandbox(id)) if words.contains("is not running") => {
            (Code::NotFound, format!("sandbox {} has ended", short(id)))
        }
        (409, Asked::Sandbox(id)) if words.contains("is paused") => {
            (Code::FailedPrecondition, format!("sandbox {} sleeps: connect to it first", short(id)))
        }
        (_, Asked::Create(image)) => of_create(status, image, &words),
        (403, _) => (
            Code::PermissionDenied,
            format!("a plugin of the engine denies this (403): {words}; its operator can allow it"),
        ),
        (409, _) => (Code::Aborted, format!("the engine has a conflict (409): {words}; try again")),
        (500, _) => (Code::Internal, format!("the Docker engine failed (500): {words}; its log may say more")),
        (400, _) if words.contains("is too old") || words.contains("is too new") => (
            Code::FailedPrecondition,
            format!("the engine speaks another version of its API: {words}; the broker needs 1.41 or later"),
        ),
        _ => (Error::code_of_status(status), format!("the Docker engine refuses ({status}): {words}")),
    };
    Error::new(code, message).with("status", status)
}

/// The engine could not make or start a container.
fn of_create(status: u16, image: &str, words: &str) -> (Code, String) {
    let image = quote(image);
    let first = words.contains("/bin/sh") || words.contains("\"/bin/sh\"");
    match status {
        404 if words.contains("No such image") => (
            Code::FailedPrecondition,
            format!("the engine does not have the image {image}, and `pull` is never: fetch it there by `docker pull`"),
        ),
        404 if words.contains("network") => {
            (Code::FailedPrecondition, format!("{words}: check `network`, or make it by `docker network create`"))
        }
        400 | 404 | 500 if words.contains("unable to find user") || words.contains("unable to find group") => {
            (Code::FailedPrecondition, format!("the image {image} does not have the user: {words}; check `user`"))
        }
        400 | 404 | 500 if first && (words.contains("no such file") || words.contains("not found")) => (
            Code::InvalidArgument,
            format!("the image {image} has no /bin/sh, which a sandbox needs: choose another image"),
        ),
        400 if words.contains("docker-init") => (
            Code::FailedPrecondition,
            "the engine's machine has no docker-init: its operator has to install Docker completely".to_owned(),
        ),
        400 if words.to_ascii_lowercase().contains("runtime specified") => {
            (Code::FailedPrecondition, format!("{words}: check `runtime`"))
        }
        400 => (Code::InvalidArgument, format!("the engine does not take the settings of the sandbox: {words}")),
        409 => (Code::Aborted, format!("the engine has a container of that name already: {words}; try again")),
        _ => (
            Error::code_of_status(status),
            format!("the engine could not make the sandbox ({status}): {words}; its log may say more"),
        ),
    }
}

/// The engine could not fetch an image. Its registry's own words are all there is to tell why.
pub fn of_pull(image: &str, words: &str) -> (Code, String) {
    let image = quote(image);
    let said = words.to_ascii_lowercase();
    let has = |parts: &[&str]| parts.iter().any(|part| said.contains(part));
    if is_full(words) {
        full(words)
    } else if has(&["toomanyrequests", "rate limit"]) {
        (
            Code::ResourceExhausted,
            format!("the registry of {image} answers no more requests for now: try again later, or sign the engine in"),
        )
    } else if has(&["denied", "unauthorized", "authentication required", "no basic auth"]) {
        (
            Code::PermissionDenied,
            format!(
                "the registry does not give {image}: check its name; if it is private, the engine's operator can fetch it by `docker pull`"
            ),
        )
    } else if has(&["invalid reference"]) {
        (Code::InvalidArgument, format!("{image} is no name of an image: {words}"))
    } else if has(&["manifest unknown", "not found", "no matching manifest"]) {
        (Code::InvalidArgument, format!("there is no image {image}: check its name and tag ({words})"))
    } else {
        (Code::Unavailable, format!("the engine could not fetch {image}: {words}; check its network and the registry"))
    }
}

fn is_full(words: &str) -> bool {
    words.contains("no space left on device")
}

fn full(words: &str) -> (Code, String) {
    (
        Code::ResourceExhausted,
        format!("the engine's disk is full: its operator can make room by `docker system prune` ({words})"),
    )
}

/// An error of the way to the engine, with what to do about it: on a socket the system's own words say which it is.
pub fn of_way(error: Error, local: bool) -> Error {
    let has = |part: &str| error.message.contains(part);
    let advice = if !local {
        "check that the Docker engine runs and listens there, and `tls` of this provider"
    } else if has("Permission denied") {
        "the broker's user may not open the engine's socket: its operator can add that user to the socket's group, \
         which makes it root on that machine"
    } else if has("No such file") {
        "start the Docker engine, or correct the path in `allow`"
    } else if has("Connection refused") || has("refuses connections") {
        "the socket is there and nobody serves it: start the Docker engine"
    } else {
        return error;
    };
    if !matches!(error.code, Code::Unavailable | Code::DeadlineExceeded) {
        return error;
    }
    // The engine that may not be asked is no outage: somebody has to act.
    let code = if has("Permission denied") { Code::PermissionDenied } else { error.code };
    let message = format!("{}; {advice}", error.message);
    Error { code, message, ..error }
}

/// The part of an id by which people know a container.
pub fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(status: u16, message: &str, asked: Asked<'_>) -> (Code, String) {
        let body = serde_json::json!({ "message": message }).to_string();
        let error = of_answer(status, body.as_bytes(), asked);
        (error.code, error.message)
    }

    // The sentences are those of engine 20.10.
    #[test]
    fn a_sandbox_that_is_gone_is_told_from_one_that_sleeps() {
        let id = "4ae79c5cef559bca84145777ce00f9760b75801a96bfb3ed8285fa7590a02231";
        let sandbox = Asked::Sandbox(id);
        assert_eq!(said(404, &format!("No such container: {id}"), sandbox).0, Code::NotFound);
        assert_eq!(said(409, &format!("Container {id} is not running"), sandbox).0, Code::NotFound);
        let paused = format!("Container {id} is paused, unpause the container before exec");
        assert_eq!(
            said(409, &paused, sandbox),
            (Code::FailedPrecondition, "sandbox 4ae79c5cef55 sleeps: connect to it first".into())
        );
    }

    #[test]
    fn a_failed_pull_says_who_has_to_act() {
        let pull = |status, message| said(status, message, Asked::Pull("i:1"));
        for (status, message, code, remedy) in [
            (
                404,
                "manifest for i:1 not found: manifest unknown: manifest unknown",
                Code::InvalidArgument,
                "check its name",
            ),
            (
                404,
                "pull access denied for i, repository does not exist or may require 'docker login': denied",
                Code::PermissionDenied,
                "docker pull",
            ),
            (500, "Get \"https://r.test/v2/\": dial tcp: lookup r.test: no such host", Code::Unavailable, "network"),
            (500, "toomanyrequests: You have reached your pull rate limit", Code::ResourceExhausted, "later"),
            (400, "invalid reference format: repository name must be lowercase", Code::InvalidArgument, "no name"),
            (500, "failed to register layer: write /x: no space left on device", Code::ResourceExhausted, "prune"),
        ] {
            let (found, words) = pull(status, message);
            assert_eq!(found, code, "{message}");
            assert!(words.contains(remedy), "{words}");
        }
    }

    #[test]
    fn a_sandbox_that_cannot_be_made_says_why() {
        let create = |status, message| said(status, message, Asked::Create("i:1"));
        for (status, message, code, remedy) in [
            (404, "No such image: i:1", Code::FailedPrecondition, "docker pull"),
            (404, "network nonet not found", Code::FailedPrecondition, "`network`"),
            (400, "Unknown runtime specified nort", Code::FailedPrecondition, "`runtime`"),
            (500, "unable to find user nouser: no matching entries in passwd file", Code::FailedPrecondition, "`user`"),
            (
                400,
                "failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: exec: \"/bin/sh\": stat /bin/sh: no such file or directory: unknown",
                Code::InvalidArgument,
                "/bin/sh",
            ),
            (
                400,
                "Range of CPUs is from 0.01 to 2.00, as there are only 2 CPUs available",
                Code::InvalidArgument,
                "only 2 CPUs",
            ),
            (409, "Conflict. The container name \"/x\" is already in use", Code::Aborted, "try again"),
            (500, "mkdir /var/lib/docker/x: no space left on device", Code::ResourceExhausted, "prune"),
        ] {
            let (found, words) = create(status, message);
            assert_eq!(found, code, "{message}");
            assert!(words.contains(remedy), "{words}");
        }
    }

    #[test]
    fn the_way_to_the_engine_has_remedies() {
        let way = |why: &str, local| {
            let why = format!("the request to localhost failed: the socket /run/docker.sock cannot be opened: {why}");
            let error = of_way(Error::new(Code::Unavailable, why), local);
            (error.code, error.message)
        };
        let (code, words) = way("Permission denied (os error 13)", true);
        assert!(code == Code::PermissionDenied && words.contains("the socket's group"), "{words}");
        let (code, words) = way("No such file or directory (os error 2)", true);
        assert!(code == Code::Unavailable && words.contains("`allow`"), "{words}");
        let (_, words) = way("Connection refused (os error 111)", true);
        assert!(words.contains("nobody serves it"), "{words}");
        assert!(way("Connection refused (os error 111)", false).1.contains("`tls`"));
        let other = of_way(Error::new(Code::Internal, "x"), false);
        assert_eq!((other.code, other.message.as_str()), (Code::Internal, "x"));
    }

    #[test]
    fn an_answer_without_a_sentence_is_one_all_the_same() {
        let error = of_answer(502, b"<html>", Asked::Engine);
        assert_eq!(error.code, Code::Unavailable);
        assert!(error.message.contains("no reason was given"), "{}", error.message);
    }
}
