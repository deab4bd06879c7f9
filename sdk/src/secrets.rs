//! Uses secrets that only the host holds.

pub use crate::__bindings::host::sandbox_broker::plugin::secrets::{KeyForm, hmac_sha256, reveal};

/// The text that stands for a secret in a request header. The host replaces it with the secret when the request leaves
/// for an allowed origin.
///
/// ```
/// let header = format!("Bearer {}", sandbox_broker_sdk::secrets::placeholder("api_key"));
/// assert_eq!(header, "Bearer {{secret:api_key}}");
/// ```
pub fn placeholder(name: &str) -> String {
    format!("{{{{secret:{name}}}}}")
}

/// The names of the secrets in a header value, for error messages.
pub(crate) fn names(value: &str) -> impl Iterator<Item = &str> {
    value.split("{{secret:").skip(1).filter_map(|rest| rest.split_once("}}").map(|(name, _)| name))
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_placeholder_of_a_header_is_named() {
        let names = |v| super::names(v).collect::<Vec<_>>();
        assert_eq!(names("{{secret:a}}:{{secret:b}}"), ["a", "b"]);
        assert!(names("plain {{secret:open").is_empty());
    }
}
