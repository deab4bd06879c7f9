//! What the service's failures mean: statuses of the control plane, answers
//! of its proxy, Connect codes of the agent. Pure.
//!
//! The same plugin drives servers of other operators, so messages name the
//! host that spoke.

use sandbox_broker_sdk::{Code, Error, quote};
use serde::Deserialize;
use serde_json::Value;

/// The error body of all of them: `code` is a number on REST and from the
/// proxy, a name on RPC.
#[derive(Debug, Default, Deserialize)]
pub struct Body {
    /// Status or name.
    #[serde(default)]
    pub code: Value,
    /// Words for people.
    #[serde(default)]
    pub message: String,
}

impl Body {
    /// Reads a body; none when it is not an object of the protocol, such as
    /// the page of some other web server.
    pub fn parse(body: &[u8]) -> Option<Self> {
        match serde_json::from_slice::<Value>(body) {
            Ok(value @ Value::Object(_)) => Some(serde_json::from_value(value).unwrap_or_default()),
            _ => None,
        }
    }
}

/// A failed answer, ready to be judged.
#[derive(Clone, Debug)]
pub struct Answer<'a> {
    /// Who answered.
    pub host: &'a str,
    /// The status.
    pub status: u16,
    /// The `Retry-After` header.
    pub retry_after: Option<&'a str>,
    /// The body.
    pub body: &'a [u8],
}

impl Answer<'_> {
    /// `Retry-After` in seconds; dates are not used by the service.
    pub fn retry_after_secs(&self) -> Option<u64> {
        self.retry_after?.trim().parse().ok()
    }

    fn error(&self, code: Code, message: String) -> Error {
        Error::new(code, message)
            .with("status", self.status)
            .retry_after_ms(self.retry_after_secs().map(|s| s.saturating_mul(1000)))
    }

    fn words(&self) -> String {
        let words = Body::parse(self.body).map(|b| b.message).unwrap_or_default();
        if words.is_empty() { "no reason was given".into() } else { quote(&words) }
    }
}

/// Words of the service's own router where it has no such route. They come in
/// the same object as those about a sandbox that is gone.
const NO_ROUTE: [&str; 2] = ["no matching operation was found", "method not allowed"];

/// Whether a 404 or 405 says that the server has no such route, rather than
/// no such sandbox: the protocol's own 404 is an object with words.
pub fn route_is_missing(status: u16, body: &[u8]) -> bool {
    match status {
        405 => true,
        404 => Body::parse(body).is_none_or(|b| {
            let nothing = b.code.is_null() && b.message.is_empty();
            nothing || NO_ROUTE.iter().any(|words| b.message.ends_with(words))
        }),
        _ => false,
    }
}

/// Whether a failed streaming call says that the server has no such call: the
/// protocol tells its own errors in frames of a 200, or by a code's name.
pub fn call_is_missing(status: u16, body: &[u8]) -> bool {
    matches!(status, 404 | 405 | 415 | 501)
        && Body::parse(body).is_none_or(|b| !b.code.is_string() || b.code == "unimplemented")
}

/// Whether an error came from the agent itself, rather than from the way to it.
pub fn is_of_agent(e: &Error) -> bool {
    e.attrs.iter().any(|(name, _)| name == CONNECT_CODE)
}

/// Detail of errors that the agent named itself.
const CONNECT_CODE: &str = "connect-code";

/// A failure of the control plane.
pub fn of_api(answer: &Answer<'_>) -> Error {
    let Answer { host, status, body, .. } = *answer;
    let words = answer.words();
    match status {
        401 => answer.error(
            Code::Unauthenticated,
            format!(
                "{host} did not accept the API key (401): look at the secret api_key of this provider in broker.toml"
            ),
        ),
        403 => {
            answer.error(Code::PermissionDenied, format!("{host} does not permit this to the API key (403): {words}"))
        }
        404 | 405 if route_is_missing(status, body) => answer.error(
            Code::Unimplemented,
            format!("{host} does not speak the E2B API ({status}): check api_url and domain"),
        ),
        404 => answer.error(Code::NotFound, format!("{host} does not know it (404): {words}")),
        429 => answer.error(
            Code::ResourceExhausted,
            format!("{host}: sandbox or request limit reached (429): {words}; end other sandboxes or try again later"),
        ),
        400 => answer.error(
            Code::InvalidArgument,
            format!("{host} rejects the request (400): {words}; check the provider's config"),
        ),
        503 => {
            answer.error(Code::Unavailable, format!("{host} has no room or is down (503): {words}; try again later"))
        }
        _ => answer.error(Error::code_of_status(status), format!("{host} failed ({status}): {words}")),
    }
}

/// A failure of the agent in `sandbox`, or of the proxy before it.
pub fn of_sandbox(answer: &Answer<'_>, sandbox: &str) -> Error {
    let Answer { host, status, .. } = *answer;
    let body = Body::parse(answer.body).unwrap_or_default();
    if let Value::String(name) = &body.code {
        return of_connect(name, &body.message);
    }
    let words = answer.words();
    match status {
        401 => answer.error(
            Code::Unauthenticated,
            format!("sandbox {sandbox} did not accept its access token (401): connect to it again"),
        ),
        404 => answer.error(Code::NotFound, words),
        400 => answer.error(Code::InvalidArgument, words),
        // The words are part of the protocol: clients tell the cases apart by them.
        502 if words.contains("was not found") => {
            answer.error(Code::NotFound, format!("sandbox {sandbox} is gone or asleep ({host} says it was not found)"))
        }
        502 if words.contains("port is not open") => answer.error(
            Code::Unavailable,
            format!("sandbox {sandbox} runs, but its agent does not answer: try again, or check its template"),
        ),
        409 => answer.error(Code::Unavailable, format!("sandbox {sandbox} is falling asleep or waking up: try again")),
        429 => answer
            .error(Code::ResourceExhausted, format!("{host} limits connections to sandbox {sandbox} (429): {words}")),
        507 => answer.error(Code::ResourceExhausted, format!("the disk of sandbox {sandbox} is full: remove files")),
        _ => answer.error(
            Error::code_of_status(status),
            format!("sandbox {sandbox} cannot be reached through {host} ({status}): {words}"),
        ),
    }
}

/// A failure by its Connect code name.
pub fn of_connect(name: &str, message: &str) -> Error {
    let code = match name {
        "invalid_argument" => Code::InvalidArgument,
        "unauthenticated" => Code::Unauthenticated,
        "permission_denied" => Code::PermissionDenied,
        "not_found" => Code::NotFound,
        "already_exists" => Code::AlreadyExists,
        "failed_precondition" => Code::FailedPrecondition,
        "resource_exhausted" => Code::ResourceExhausted,
        "aborted" => Code::Aborted,
        "out_of_range" => Code::OutOfRange,
        "unimplemented" => Code::Unimplemented,
        "unavailable" => Code::Unavailable,
        "deadline_exceeded" => Code::DeadlineExceeded,
        "canceled" => Code::Cancelled,
        "data_loss" => Code::DataLoss,
        "internal" => Code::Internal,
        _ => Code::Unknown,
    };
    let words = quote(message);
    let words = if words.is_empty() { format!("the sandbox's agent says {}", quote(name)) } else { words };
    Error::new(code, words).with(CONNECT_CODE, quote(name))
}

/// The error in an end frame, if there is one. A frame that is no object
/// counts as a broken rule.
pub fn of_end_frame(payload: &[u8]) -> Option<Error> {
    #[derive(Deserialize)]
    struct End {
        #[serde(default)]
        error: Option<ConnectError>,
    }
    #[derive(Deserialize)]
    struct ConnectError {
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
    }
    match serde_json::from_slice::<End>(payload) {
        Ok(End { error: None }) => None,
        Ok(End { error: Some(e) }) => Some(of_connect(&e.code, &e.message)),
        Err(_) => Some(Error::new(Code::Internal, "the sandbox's agent ended a stream with nonsense")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Answer<'_> {
        Answer { host: "api.test", status, retry_after: None, body: body.as_bytes() }
    }

    #[test]
    fn people_are_told_what_to_do_about_the_api() {
        let said = |status, body| {
            let e = of_api(&answer(status, body));
            (e.code, e.message)
        };
        assert_eq!(
            said(401, ""),
            (
                Code::Unauthenticated,
                "api.test did not accept the API key (401): look at the secret api_key of this provider in broker.toml"
                    .into()
            )
        );
        let (code, message) = said(429, r#"{"code":429,"message":"max 20 sandboxes"}"#);
        assert_eq!(code, Code::ResourceExhausted);
        assert!(message.contains("max 20 sandboxes"), "{message}");
        assert_eq!(said(404, r#"{"code":404,"message":"no"}"#).0, Code::NotFound);
        assert_eq!(said(404, "<html>").0, Code::Unimplemented);
        assert_eq!(said(503, "{}").0, Code::Unavailable);
        assert_eq!(said(500, "").0, Code::Internal);
    }

    #[test]
    fn retry_after_reaches_the_host() {
        let mut limited = answer(429, "{}");
        limited.retry_after = Some("7");
        assert_eq!(of_api(&limited).retry_after_ms, Some(7000));
        limited.retry_after = Some("Wed, 21 Oct 2026 07:28:00 GMT");
        assert_eq!(of_api(&limited).retry_after_ms, None);
    }

    #[test]
    fn the_proxys_two_502_are_told_apart_by_their_words() {
        let code = |body| of_sandbox(&answer(502, body), "iabc").code;
        assert_eq!(code(r#"{"sandboxId":"iabc","message":"The sandbox was not found","code":502}"#), Code::NotFound);
        let closed =
            r#"{"sandboxId":"iabc","message":"The sandbox is running but port is not open","port":49983,"code":502}"#;
        assert_eq!(code(closed), Code::Unavailable);
        assert_eq!(code("bad gateway"), Code::Unavailable);
    }

    #[test]
    fn an_rpc_error_is_judged_by_its_name_not_by_its_status() {
        let e = of_sandbox(&answer(404, r#"{"code":"not_found","message":"path '/x' does not exist"}"#), "i");
        assert_eq!((e.code, e.message.as_str()), (Code::NotFound, "path '/x' does not exist"));
        // The agent's own 401 on RPC paths has a number there.
        let e = of_sandbox(&answer(401, r#"{"code":401,"message":"unauthorized"}"#), "i");
        assert_eq!(e.code, Code::Unauthenticated);
    }

    #[test]
    fn a_missing_call_is_not_a_missing_process() {
        assert!(call_is_missing(404, b"404 page not found"));
        assert!(call_is_missing(404, br#"{"code":404,"message":"no route"}"#));
        assert!(call_is_missing(501, br#"{"code":"unimplemented"}"#));
        assert!(!call_is_missing(404, br#"{"code":"not_found","message":"process with pid 1 not found"}"#));
        assert!(!call_is_missing(502, b""));
        assert!(is_of_agent(&of_connect("not_found", "process with pid 1 not found")));
        assert!(!is_of_agent(&of_sandbox(&answer(502, "{}"), "i")));
    }

    #[test]
    fn an_end_frame_tells_success_and_failure() {
        assert!(of_end_frame(b"{}").is_none());
        assert!(of_end_frame(br#"{"metadata":{"a":["b"]}}"#).is_none());
        let e = of_end_frame(br#"{"error":{"code":"canceled","message":"m","details":[]}}"#);
        assert_eq!(e.expect("a failure").code, Code::Cancelled);
        assert_eq!(of_end_frame(b"").expect("a failure").code, Code::Internal);
    }
}
