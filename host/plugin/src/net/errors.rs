//! A failed request as an error code of `wasi:http`. Owns that mapping; deliberately knows no request.

use std::error::Error as StdError;
use std::io::ErrorKind;

use hyper_util::client::legacy;
use wasmtime_wasi_http::Error;

use super::trust::refusal;

/// The address is not granted.
#[derive(Debug, thiserror::Error)]
#[error("the address is not allowed")]
pub(super) struct Prohibited;

/// The name has no address.
#[derive(Debug, thiserror::Error)]
#[error("the name cannot be resolved")]
pub(super) struct Unresolved;

/// Nobody serves a Unix socket, or the broker may not open it.
#[derive(Debug, thiserror::Error)]
#[error("the socket {0} cannot be opened: {1}")]
pub(super) struct NoSocket(pub(super) String, #[source] pub(super) std::io::Error);

/// No place became free in time.
#[derive(Debug, thiserror::Error)]
#[error("too much is open already")]
pub(super) struct Crowded;

/// The code for a failure, found in the chain of its causes.
pub(super) fn error_code(error: &(dyn StdError + 'static)) -> Error {
    let connecting = error.downcast_ref::<legacy::Error>().is_some_and(legacy::Error::is_connect);
    let mut cause = Some(error);
    while let Some(e) = cause {
        if e.is::<Prohibited>() {
            return Error::DestinationIpProhibited;
        }
        if e.is::<Crowded>() {
            return Error::ConnectionLimitReached;
        }
        if let Some(e) = e.downcast_ref::<NoSocket>() {
            return Error::InternalError(Some(e.to_string()));
        }
        if e.is::<Unresolved>() {
            return Error::DnsError { rcode: None, info_code: None };
        }
        if let Some(e) = e.downcast_ref::<Error>() {
            // The guest's own body failed.
            return match e {
                Error::ConnectionTerminated => Error::ConnectionTerminated,
                _ => Error::HttpProtocolError,
            };
        }
        if let Some(e) = e.downcast_ref::<rustls::Error>() {
            return match (e, refusal(e)) {
                (rustls::Error::InvalidCertificate(_), _) => Error::TlsCertificateError,
                (_, Some((id, name))) => Error::TlsAlertReceived { alert_id: Some(id), alert_message: Some(name) },
                (_, None) => Error::TlsProtocolError,
            };
        }
        if let Some(io) = e.downcast_ref::<std::io::Error>() {
            match io.kind() {
                ErrorKind::ConnectionRefused => return Error::ConnectionRefused,
                ErrorKind::TimedOut => return Error::ConnectionTimeout,
                ErrorKind::UnexpectedEof => return Error::HttpResponseIncomplete,
                ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::ConnectionAborted => {
                    return Error::ConnectionTerminated;
                }
                // The TLS library hides its errors inside io errors.
                _ => {
                    if let Some(inner) = io.get_ref() {
                        cause = Some(inner);
                        continue;
                    }
                }
            }
        }
        if e.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_incomplete_message) {
            return Error::HttpResponseIncomplete;
        }
        cause = e.source();
    }
    if connecting { Error::DestinationUnavailable } else { Error::HttpProtocolError }
}
