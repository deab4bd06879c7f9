//! The `traceparent` of a call, by which an operator finds its requests in a provider's logs.
//!
//! Owns how it is made, and that an error of the call has it. Deliberately traces nothing: the broker has no spans.

use sha2::{Digest as _, Sha256};

use sandbox_broker_core::sandbox::{Call, Error};
use sandbox_stdx::hex::hex;

/// A `traceparent` with a new parent id. The trace id is a hash of the session's id, because that id opens the session where
/// nobody signs in, and this header goes to every place in `allow`. The flag `01` asks tracing systems to record the call.
pub(super) fn traceparent(session: Option<&str>) -> String {
    let random = || getrandom::u64().expect("the system has a source of random numbers");
    let trace = match session {
        Some(session) => hex(&Sha256::digest(session)[..16]),
        None => format!("{:016x}{:016x}", random(), random()),
    };
    // Zero alone is no id.
    format!("00-{trace}-{:016x}-01", random().max(1))
}

/// An error of this call, for the log.
pub(super) fn traced(call: &Call, mut error: Error) -> Error {
    error.attrs.extend(call.traceparent.iter().map(|value| ("traceparent".to_owned(), value.clone())));
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_of_a_session_share_a_trace_that_does_not_show_its_id() {
        let session = "0123456789abcdef0123456789abcdef";
        let (one, two) = (traceparent(Some(session)), traceparent(Some(session)));
        assert_eq!(one[..35], two[..35]);
        assert!(one != two && !one.contains(session), "{one} {two}");
        for of in [None, Some(session), Some("another")] {
            let made = traceparent(of);
            let parts: Vec<&str> = made.split('-').collect();
            assert_eq!(parts.iter().map(|part| part.len()).collect::<Vec<_>>(), [2, 32, 16, 2]);
            assert!(made.bytes().all(|b| b == b'-' || b.is_ascii_digit() || matches!(b, b'a'..=b'f')), "{made}");
            assert!(of == Some(session) || parts[1] != &one[3..35]);
        }
    }
}
