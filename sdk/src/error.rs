//! Errors in the words of the contract: who must act, and how.
//!
//! Owns the translation of transport failures and of HTTP statuses. Only the plugin knows what a provider means by an
//! answer.

use crate::wasi::http::types::ErrorCode;
use crate::{Code, Error};

/// Bytes of a peer's text that go into a message: enough for a sentence.
const MAX_QUOTE: usize = 300;

impl Error {
    /// An error without details. `message` is one sentence for a person: lower case, no full stop, never a secret.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), retry_after_ms: None, attrs: Vec::new() }
    }

    /// The answer of `exit_of` in a plugin whose processes all tell how they end.
    pub fn never_reported() -> Self {
        Self::new(Code::Internal, "this plugin tells how a process ends, and was asked all the same")
    }

    /// Adds a detail for the log.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl ToString) -> Self {
        self.attrs.push((name.to_owned(), value.to_string()));
        self
    }

    /// Says how long the provider asks to wait.
    #[must_use]
    pub fn retry_after_ms(mut self, wait: Option<u64>) -> Self {
        self.retry_after_ms = wait;
        self
    }

    /// The code that an HTTP status means when nothing better is known.
    pub fn code_of_status(status: u16) -> Code {
        match status {
            400 | 405 | 406 | 411 | 413 | 414 | 415 | 422 => Code::InvalidArgument,
            401 | 407 => Code::Unauthenticated,
            403 => Code::PermissionDenied,
            404 | 410 => Code::NotFound,
            408 | 504 => Code::DeadlineExceeded,
            409 => Code::Aborted,
            412 | 428 => Code::FailedPrecondition,
            416 => Code::OutOfRange,
            429 | 507 => Code::ResourceExhausted,
            499 => Code::Cancelled,
            501 => Code::Unimplemented,
            500 => Code::Internal,
            502 | 503 | 505..=599 => Code::Unavailable,
            _ => Code::Unknown,
        }
    }

    /// The error for a failed exchange with `host`.
    pub fn from_transport(failure: &ErrorCode, host: &str) -> Self {
        use ErrorCode as E;
        let (code, message) = match failure {
            E::HttpRequestDenied => {
                (Code::PermissionDenied, format!("the broker's operator has not allowed {host}: add it to `allow`"))
            }
            E::DestinationIpProhibited => (
                Code::PermissionDenied,
                format!(
                    "{host} has a private or reserved address, which the broker does not connect to: \
                     allow that address for this plugin if it is meant"
                ),
            ),
            E::ConfigurationError => (
                Code::FailedPrecondition,
                format!("a request to {host} cannot carry its secret: look at `secrets`; the broker's log says why"),
            ),
            E::DnsTimeout | E::DnsError(_) | E::DestinationNotFound => {
                (Code::Unavailable, format!("the name of {host} does not resolve: check its spelling and the network"))
            }
            E::ConnectionRefused => (Code::Unavailable, format!("{host} refuses connections: check that it runs")),
            E::TlsCertificateError => (
                Code::Unavailable,
                format!(
                    "the broker does not trust the certificate of {host}: its log says why; a CA of one's own is named by \
                     `ca` in the section's `tls`"
                ),
            ),
            E::TlsAlertReceived(_) => (
                Code::Unauthenticated,
                format!(
                    "{host} does not accept the broker's certificate, or asks for one: name it by `cert` and `key` in the \
                     section's `tls`"
                ),
            ),
            E::TlsProtocolError => (
                Code::Unavailable,
                format!("no secure connection to {host}: check its certificate and the url's scheme"),
            ),
            E::ConnectionTimeout | E::ConnectionReadTimeout | E::ConnectionWriteTimeout | E::HttpResponseTimeout => {
                (Code::DeadlineExceeded, format!("{host} did not answer in time"))
            }
            E::DestinationUnavailable | E::DestinationIpUnroutable => {
                (Code::Unavailable, format!("{host} cannot be reached from here"))
            }
            E::ConnectionTerminated | E::HttpResponseIncomplete => {
                (Code::Unavailable, format!("the connection to {host} broke"))
            }
            E::ConnectionLimitReached => (
                Code::ResourceExhausted,
                format!("the broker has too many connections to {host} open: try again later"),
            ),
            E::HttpRequestLengthRequired
            | E::HttpRequestBodySize(_)
            | E::HttpRequestMethodInvalid
            | E::HttpRequestUriInvalid
            | E::HttpRequestUriTooLong
            | E::HttpRequestHeaderSectionSize(_)
            | E::HttpRequestHeaderSize(_)
            | E::HttpRequestTrailerSectionSize(_)
            | E::HttpRequestTrailerSize(_) => {
                (Code::InvalidArgument, format!("the request to {host} is not one that may be sent"))
            }
            E::HttpResponseHeaderSectionSize(_)
            | E::HttpResponseHeaderSize(_)
            | E::HttpResponseBodySize(_)
            | E::HttpResponseTrailerSectionSize(_)
            | E::HttpResponseTrailerSize(_)
            | E::HttpResponseTransferCoding(_)
            | E::HttpResponseContentCoding(_)
            | E::HttpUpgradeFailed
            | E::HttpProtocolError
            | E::LoopDetected => (Code::Internal, format!("{host} gave an answer that breaks the rules of http")),
            E::InternalError(None) => (Code::Unavailable, format!("the request to {host} failed")),
            E::InternalError(Some(why)) => (Code::Unavailable, format!("the request to {host} failed: {}", quote(why))),
        };
        Self::new(code, message).with("transport", quote(&format!("{failure:?}")))
    }
}

/// A peer's text for use in a message: cut to 300 bytes, and without control characters.
pub fn quote(text: &str) -> String {
    let mut out = String::new();
    for c in text.trim().chars() {
        if out.len() + c.len_utf8() > MAX_QUOTE {
            out.push('…');
            break;
        }
        out.push(if c.is_control() { ' ' } else { c });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_denied_request_tells_the_operator_what_to_add() {
        let e = Error::from_transport(&ErrorCode::HttpRequestDenied, "api.example.com");
        assert_eq!(e.code, Code::PermissionDenied);
        assert_eq!(e.message, "the broker's operator has not allowed api.example.com: add it to `allow`");
    }

    #[test]
    fn a_secret_that_cannot_be_carried_is_the_operators_matter() {
        let e = Error::from_transport(&ErrorCode::ConfigurationError, "h");
        assert_eq!(e.code, Code::FailedPrecondition);
        assert!(e.message.contains("a request to h cannot carry its secret"), "{}", e.message);
    }

    #[test]
    fn what_may_pass_by_itself_is_unavailable() {
        for failure in [
            ErrorCode::ConnectionRefused,
            ErrorCode::DnsTimeout,
            ErrorCode::ConnectionTerminated,
            ErrorCode::InternalError(Some("x".into())),
        ] {
            assert_eq!(Error::from_transport(&failure, "h").code, Code::Unavailable);
        }
    }

    #[test]
    fn quotes_are_bounded_and_printable() {
        assert_eq!(quote(" a\nb "), "a b");
        let long = quote(&"é".repeat(1000));
        assert!(long.len() <= MAX_QUOTE + '…'.len_utf8() && long.ends_with('…'));
    }
}
