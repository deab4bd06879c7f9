//! Headers of an answer. Knows no request.

use sandbox_broker_sdk::mounter::Response;

/// A header of an answer by its name in lower case.
pub fn header<'a>(response: &'a Response, name: &str) -> Option<&'a str> {
    response.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
}
