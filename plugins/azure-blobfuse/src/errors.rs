//! What the service's answers mean, in words: the codes of its errors, answers
//! that are none of its, and no answer at all. Pure.
//!
//! The same codes reach the sandbox, where blobfuse2 prints them; [`words`]
//! serves both.

use jiff::Timestamp;
use jiff::fmt::rfc2822;
use roxmltree::Document;
use sandbox_broker_sdk::mounter::Response;
use sandbox_broker_sdk::{Code, Error, quote};

use crate::config::Credential;
use crate::container::Container;
use crate::header::header;

/// Difference of clocks from which it is told, seconds. Signatures are refused
/// from fifteen minutes on, short tokens from their life on.
const SKEW_SECS: i64 = 60;

/// The service's name for what went wrong; empty when it gave none.
pub fn code(response: &Response) -> String {
    match header(response, "x-ms-error-code") {
        Some(code) => quote(code),
        None => element(response, "Code"),
    }
}

/// Status and code, for the log.
pub fn brief(response: &Response) -> String {
    format!("{} {}", response.status, code(response)).trim_end().to_owned()
}

/// The text of an element of an error's body.
fn element(response: &Response, name: &str) -> String {
    let text = String::from_utf8_lossy(&response.body);
    let Ok(document) = Document::parse(text.trim_start_matches('\u{feff}')) else { return String::new() };
    let found = document.descendants().find(|node| node.has_tag_name(name));
    quote(found.and_then(|node| node.text()).unwrap_or_default())
}

/// How far the broker's clock is ahead of the service's, in seconds.
fn ahead(response: &Response, now: Timestamp) -> Option<i64> {
    let date = rfc2822::DateTimeParser::new().parse_timestamp(header(response, "date")?).ok()?;
    Some(now.as_second() - date.as_second())
}

/// Says that the clocks differ, when they do enough to matter.
pub fn skew(response: &Response, now: Timestamp) -> Option<String> {
    let ahead = ahead(response, now).filter(|ahead| ahead.abs() > SKEW_SECS)?;
    let side = if ahead > 0 { "ahead of" } else { "behind" };
    Some(format!("the broker's clock is {} s {side} the service's", ahead.abs()))
}

/// A refusal of the service to the broker.
pub fn of_response(response: &Response, container: &Container, credential: Credential, now: Timestamp) -> Error {
    let code_name = code(response);
    let error = |code: Code, message: String| {
        let error = Error::new(code, message).with("status", response.status).with("error-code", &code_name);
        let error = match header(response, "x-ms-request-id") {
            Some(id) => error.with("request-id", quote(id)),
            None => error,
        };
        let wait = header(response, "retry-after").and_then(|secs| secs.trim().parse::<u64>().ok());
        error.retry_after_ms(wait.map(|secs| secs.saturating_mul(1000)))
    };
    let authority = &container.endpoint.authority;
    if (200..300).contains(&response.status) || (code_name.is_empty() && header(response, "x-ms-request-id").is_none())
    {
        return error(
            Code::Unimplemented,
            format!("{authority} does not answer as a blob service ({}): check `endpoint`", response.status),
        );
    }
    // Azure says which of the two it is, in the details of the same code.
    let detail = element(response, "AuthenticationErrorDetail");
    let late = detail.contains("time frame") || detail.contains("too old") || detail.contains("date header");
    if code_name == "AuthenticationFailed" && late {
        let skew = skew(response, now).unwrap_or_else(|| "the broker's clock and the service's differ".to_owned());
        return error(
            Code::FailedPrecondition,
            format!("{authority} refuses what the broker signed because {skew}: set the broker's clock right"),
        );
    }
    if let Some((code, message)) = words(&code_name, container, credential) {
        return error(code, message);
    }
    let said = element(response, "Message");
    let said = said.split("RequestId").next().unwrap_or_default().trim();
    let said = if said.is_empty() { "no reason was given" } else { said };
    error(Error::code_of_status(response.status), format!("{authority} failed ({}): {said}", brief(response)))
}

/// Words for one of the service's codes; none for one that does not concern a
/// mount.
pub fn words(code: &str, container: &Container, credential: Credential) -> Option<(Code, String)> {
    let Container { account, name, endpoint } = container;
    let own = credential == Credential::Sas;
    let refused = || {
        let message = if own {
            format!(
                "account {account} does not accept the secret sas: it is of another account or container, was \
                 revoked or is incomplete; make a new one"
            )
        } else {
            format!(
                "account {account} does not accept the account key: set the secret account_key \
                 (AZURE_STORAGE_KEY) to one of the account's two keys"
            )
        };
        (Code::Unauthenticated, message)
    };
    Some(match code {
        "ContainerNotFound" | "ResourceNotFound" => (
            Code::NotFound,
            format!(
                "account {account} has no container {name}: create it, or correct `container` (AZURE_STORAGE_CONTAINER)"
            ),
        ),
        "ContainerBeingDeleted" => (
            Code::FailedPrecondition,
            format!("container {name} of account {account} is being deleted: use another one"),
        ),
        "ContainerDisabled" => (
            Code::FailedPrecondition,
            format!("container {name} of account {account} is disabled by its administrator"),
        ),
        "AccountIsDisabled" => (Code::FailedPrecondition, format!("account {account} is disabled: see to it in Azure")),
        // An emulator has one code for a wrong key and everything else.
        "AuthenticationFailed" => refused(),
        "AuthorizationFailure" if endpoint.emulator => refused(),
        "InvalidAuthenticationInfo" => refused(),
        "AuthorizationFailure" => (
            Code::PermissionDenied,
            format!(
                "the network rules of account {account} refuse this address, or its key may not do this: allow the \
                 address under Networking of the account, for the broker and for sandboxes"
            ),
        ),
        "KeyBasedAuthenticationNotPermitted" => (
            Code::FailedPrecondition,
            format!(
                "account {account} does not permit access by its key: allow it (allowSharedKeyAccess), or set \
                 `credential = \"sas\"` with a user delegation SAS"
            ),
        ),
        "AuthorizationPermissionMismatch" | "InsufficientAccountPermissions" => (
            Code::PermissionDenied,
            if own {
                format!(
                    "the secret sas does not permit what a mount of container {name} needs: make one with rcwdl, or rl for read-only mounts"
                )
            } else {
                format!("the access policy of container {name} does not permit what a mount needs: somebody changed it")
            },
        ),
        "AuthorizationProtocolMismatch" => {
            (Code::FailedPrecondition, "the token is for https only, and `endpoint` begins with http".to_owned())
        }
        "AuthorizationSourceIPMismatch" => (
            Code::PermissionDenied,
            "the secret sas is for other addresses (sip) than the one that asked: make one without, or with it"
                .to_owned(),
        ),
        "AuthorizationResourceTypeMismatch" | "AuthorizationServiceMismatch" => (
            Code::PermissionDenied,
            "the secret sas does not open containers: make one for the blob service, containers and objects".to_owned(),
        ),
        "AccountRequiresHttps" => {
            (Code::FailedPrecondition, format!("account {account} takes https only: write `endpoint` with https"))
        }
        "InvalidResourceName" | "OutOfRangeInput" => (
            Code::InvalidArgument,
            format!("the service does not take {name} as the name of a container: correct `container`"),
        ),
        "ServerBusy" | "OperationTimedOut" | "InternalError" => (
            Code::Unavailable,
            format!("the service of account {account} is busy or has trouble ({code}): try again later"),
        ),
        _ => return None,
    })
}

/// No answer at all. The host has said why; here is what it means for this
/// service.
pub fn of_failure(e: &Error, container: &Container) -> Error {
    let Container { account, endpoint, .. } = container;
    let transport = e.attrs.iter().find(|(name, _)| name == "transport").map_or("", |(_, value)| value);
    let is = |names: &[&str]| names.iter().any(|name| transport.starts_with(name));
    let origin = endpoint.url.strip_suffix(&format!("/{account}")).filter(|_| endpoint.emulator);
    let message = if is(&["Dns", "DestinationNotFound"]) {
        format!(
            "there is no storage account {account}, or its name is not known here: {} does not resolve; check \
             `account`, `endpoint` and the network",
            endpoint.authority
        )
    } else if is(&["HttpRequestDenied"]) {
        format!("the broker may not ask {}: add it to `allow` of the provider", origin.unwrap_or(&endpoint.url))
    } else if is(&["DestinationIpProhibited"]) {
        format!(
            "{} has a private address, which the broker does not connect to: set `allow_private = true` for the \
             provider if it is a private endpoint",
            endpoint.authority
        )
    } else if is(&["ConnectionRefused"]) {
        format!("nobody serves {}: start it, or correct `endpoint`", endpoint.url)
    } else {
        format!("account {account} cannot be asked: {}", e.message)
    };
    Error { message, ..e.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{azure, emulator, now, refusal};

    fn said(status: u16, code: &str, body: &str, container: &Container) -> (Code, String) {
        let mut response = refusal(status, code);
        response.body = body.as_bytes().to_vec();
        let e = of_response(&response, container, Credential::AccountKey, now());
        (e.code, e.message)
    }

    #[test]
    fn every_refusal_says_what_to_do() {
        for (status, name, code, expected) in [
            (404, "ContainerNotFound", Code::NotFound, "account mystore has no container files: create it"),
            (403, "AuthenticationFailed", Code::Unauthenticated, "does not accept the account key: set the secret"),
            (403, "AuthorizationFailure", Code::PermissionDenied, "the network rules of account mystore refuse"),
            (403, "KeyBasedAuthenticationNotPermitted", Code::FailedPrecondition, "allowSharedKeyAccess"),
            (403, "AccountIsDisabled", Code::FailedPrecondition, "account mystore is disabled"),
            (409, "ContainerBeingDeleted", Code::FailedPrecondition, "is being deleted: use another one"),
            (400, "AccountRequiresHttps", Code::FailedPrecondition, "write `endpoint` with https"),
            (503, "ServerBusy", Code::Unavailable, "try again later"),
        ] {
            let (found, message) = said(status, name, "", &azure());
            assert_eq!(found, code, "{name}");
            assert!(message.contains(expected), "{name}: {message}");
        }
    }

    #[test]
    fn an_emulator_says_wrong_key_by_another_code() {
        let (code, message) = said(403, "AuthorizationFailure", "", &emulator());
        assert_eq!(code, Code::Unauthenticated);
        assert!(message.contains("does not accept the account key"), "{message}");
    }

    #[test]
    fn a_wrong_clock_is_told_from_a_wrong_key() {
        let detail = |text: &str| {
            format!(
                "<?xml version=\"1.0\"?><Error><Code>AuthenticationFailed</Code><AuthenticationErrorDetail>{text}</AuthenticationErrorDetail></Error>"
            )
        };
        let mut response = refusal(403, "AuthenticationFailed");
        response.body =
            detail("Signature not valid in the specified time frame: Start [Wed, 25 Nov 2026 00:05:38 GMT]")
                .into_bytes();
        response.headers.push(("date".into(), "Tue, 24 Nov 2026 23:45:38 GMT".into()));
        let e = of_response(&response, &azure(), Credential::AccountKey, now());
        assert_eq!(e.code, Code::FailedPrecondition);
        assert!(e.message.contains("the broker's clock is 1200 s ahead of the service's"), "{}", e.message);

        response.body = detail("The MAC signature found in the HTTP request 'x' is not the same").into_bytes();
        let e = of_response(&response, &azure(), Credential::AccountKey, now());
        assert_eq!(e.code, Code::Unauthenticated);
    }

    #[test]
    fn small_differences_of_clocks_are_nobodys_business() {
        let mut response = refusal(200, "");
        response.headers.push(("date".into(), "Wed, 25 Nov 2026 00:05:00 GMT".into()));
        assert_eq!(skew(&response, now()), None);
        response.headers[1].1 = "Wed, 25 Nov 2026 01:05:38 GMT".into();
        assert_eq!(skew(&response, now()).as_deref(), Some("the broker's clock is 3600 s behind the service's"));
    }

    #[test]
    fn another_web_server_is_not_taken_for_the_service() {
        let page = Response { status: 404, headers: Vec::new(), body: b"<html>".to_vec() };
        let e = of_response(&page, &azure(), Credential::AccountKey, now());
        assert_eq!(e.code, Code::Unimplemented);
        assert_eq!(
            e.message,
            "mystore.blob.core.windows.net does not answer as a blob service (404): check `endpoint`"
        );
    }

    #[test]
    fn an_unknown_refusal_is_quoted_without_the_ids() {
        let body = "<Error><Code>Odd</Code><Message>The thing is odd.\nRequestId:1\nTime:2</Message></Error>";
        let (code, message) = said(409, "Odd", body, &azure());
        assert_eq!(code, Code::Aborted);
        assert_eq!(message, "mystore.blob.core.windows.net failed (409 Odd): The thing is odd.");
    }

    #[test]
    fn no_answer_is_told_by_its_cause() {
        let failed = |transport: &str| {
            let e = Error::new(Code::Unavailable, "the host's words").with("transport", transport);
            of_failure(&e, &azure()).message
        };
        assert!(failed("DnsError(DnsErrorPayload { .. })").starts_with("there is no storage account mystore, or"));
        assert_eq!(
            failed("HttpRequestDenied"),
            "the broker may not ask https://mystore.blob.core.windows.net: add it to `allow` of the provider"
        );
        assert!(failed("DestinationIpProhibited").contains("`allow_private = true`"));
        assert_eq!(
            failed("ConnectionRefused"),
            "nobody serves https://mystore.blob.core.windows.net: start it, or correct `endpoint`"
        );
        assert_eq!(failed("HttpResponseTimeout"), "account mystore cannot be asked: the host's words");
        let denied = Error::new(Code::PermissionDenied, "x").with("transport", "HttpRequestDenied");
        let message = of_failure(&denied, &emulator()).message;
        assert!(message.starts_with("the broker may not ask http://127.0.0.1:10000: add"), "{message}");
    }
}
