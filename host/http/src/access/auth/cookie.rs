//! The cookie of a sign-in: its name, how it is set, and how it is found.
//!
//! Browsers send a cookie to every port of a host, and pages of neighbouring
//! hosts and ports can set one of any name. So the name tells brokers apart,
//! and a request with two of it is refused: nobody knows which one is ours.
//! Deliberately knows no sign-in.

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::header::{COOKIE, SET_COOKIE};
use http::{HeaderMap, StatusCode};
use sha2::{Digest, Sha256};

use sandbox_stdx::hex::hex;

/// Bytes of the digest that tells brokers apart. Nobody gains by a collision, so it
/// only has to be unlikely.
const TOLD_APART: usize = 4;

/// The name of one broker's cookie.
pub(super) struct CookieName {
    plain: String,
    /// Of a page over TLS: the prefix makes browsers keep it only from there,
    /// for this host alone and all its paths (RFC 6265bis section 4.1.3.2).
    secure: String,
}

/// A request has several cookies of the broker's name.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "this browser sends several cookies named {0}, and only one can be from this broker: delete the cookies of this \
     address in the browser, then sign in again. A page of a neighbouring name or port has set the other one"
)]
pub(super) struct Several(String);

impl CookieName {
    /// The cookie's name for the broker that is called `broker`.
    pub(super) fn of(broker: &str) -> Self {
        let digest = Sha256::digest(format!("cookie of {broker}"));
        let apart = hex(&digest[..TOLD_APART]);
        let plain = format!("broker_session_{apart}");
        CookieName { secure: format!("__Host-{plain}"), plain }
    }

    fn text(&self, secure: bool) -> &str {
        if secure { &self.secure } else { &self.plain }
    }

    /// Finds the value of our cookie in a request. If pages come `only_tls`, a cookie
    /// that was set without TLS does not count.
    pub(super) fn find<'a>(&self, headers: &'a HeaderMap, only_tls: bool) -> Result<Option<&'a [u8]>, Several> {
        match Self::only(headers, &self.secure)? {
            None if !only_tls => Self::only(headers, &self.plain),
            found => Ok(found),
        }
    }

    fn only<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a [u8]>, Several> {
        let pairs = headers.get_all(COOKIE).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b';'));
        let mut ours = pairs.filter_map(|pair| pair.trim_ascii().strip_prefix(name.as_bytes())?.strip_prefix(b"="));
        let value = ours.next();
        if ours.next().is_some() { Err(Several(name.to_owned())) } else { Ok(value) }
    }

    /// Answers with the cookie set, or removed if `lasts` is zero.
    pub(super) fn set(&self, value: &str, lasts: Duration, secure: bool) -> Response {
        let (name, seconds) = (self.text(secure), lasts.as_secs());
        let tls = if secure { "; Secure" } else { "" };
        let cookie = format!("{name}={value}; HttpOnly; SameSite=Strict; Path=/; Max-Age={seconds}{tls}");
        (StatusCode::NO_CONTENT, [(SET_COOKIE, cookie)]).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(cookies: &[&str]) -> HeaderMap {
        cookies.iter().map(|value| (COOKIE, value.parse().unwrap())).collect()
    }

    #[test]
    fn brokers_have_different_names() {
        let (one, two) = (CookieName::of("one"), CookieName::of("two"));
        assert_ne!(one.plain, two.plain);
        let sent = headers(&[&format!("{}=1; {}=2; broker_session=3", two.plain, one.plain)]);
        assert_eq!(one.find(&sent, false), Ok(Some(&b"2"[..])));
        assert_eq!(two.find(&sent, false), Ok(Some(&b"1"[..])));
    }

    #[test]
    fn two_of_one_name_are_none_in_either_order_and_form() {
        let name = CookieName::of("one");
        for secure in [false, true] {
            let ours = name.text(secure);
            for sent in [
                &[&*format!("{ours}=1; {ours}=2")][..],
                &[&format!("{ours}=2; a=b; {ours}=1")],
                &[&format!("{ours}=1"), &format!("{ours}=2")],
                &[&format!("{ours}=1;{ours}=1")],
            ] {
                assert_eq!(name.find(&headers(sent), secure), Err(Several(ours.to_owned())), "{sent:?}");
            }
        }
        // Only a page over TLS can have set the one with the prefix.
        let both = headers(&[&format!("{}=1; {}=2", name.plain, name.secure)]);
        assert_eq!((name.find(&both, false), name.find(&both, true)), (Ok(Some(&b"2"[..])), Ok(Some(&b"2"[..]))));
        assert_eq!(name.find(&headers(&[&format!("{}=1", name.plain)]), true), Ok(None));
        assert_eq!(name.find(&headers(&["a=b"]), false), Ok(None));
    }
}
