//! Conditional requests: what a client has already, and which range it wants.
//!
//! Owns the reading of `If-None-Match`, `Range` and `If-Range` (RFC 9110
//! sections 13 and 14). Deliberately knows no resource.

use http::HeaderMap;
use http::header::{IF_NONE_MATCH, IF_RANGE, RANGE};

/// Whether `If-None-Match` names this entity tag, or any.
pub(super) fn is_known(headers: &HeaderMap, etag: &str) -> bool {
    tags(headers).any(|tag| tag.trim_start_matches("W/") == etag || tag == "*")
}

/// Whether `If-None-Match: *` demands that nothing is there yet.
pub(super) fn only_if_new(headers: &HeaderMap) -> bool {
    tags(headers).any(|tag| tag == "*")
}

fn tags(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    headers
        .get_all(IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|tags| tags.split(','))
        .map(str::trim)
}

/// A range of a representation; never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ByteRange {
    pub(super) start: u64,
    pub(super) length: u64,
}

/// No byte of the representation is in the range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unsatisfiable;

/// Reads the range of `size` bytes that is asked for; none if all of them are.
/// Several ranges, other units and malformed fields are ignored, which the RFC
/// allows, and so is a range of another version than `etag`.
pub(super) fn byte_range(
    headers: &HeaderMap,
    size: u64,
    etag: Option<&str>,
) -> Result<Option<ByteRange>, Unsatisfiable> {
    let other_version =
        headers.get(IF_RANGE).is_some_and(|wanted| etag.is_none_or(|etag| wanted.as_bytes() != etag.as_bytes()));
    if other_version || headers.get_all(RANGE).iter().count() != 1 {
        return Ok(None);
    }
    let asked = headers.get(RANGE).and_then(|range| range.to_str().ok()).and_then(first_and_last);
    let (start, end) = match asked {
        None => return Ok(None),
        // The last so many bytes.
        Some((None, Some(last))) => (size.saturating_sub(last), if last == 0 { 0 } else { size }),
        Some((Some(first), last)) => (first, last.map_or(size, |last| size.min(last.saturating_add(1)))),
        Some((None, None)) => return Ok(None),
    };
    if start < end { Ok(Some(ByteRange { start, length: end - start })) } else { Err(Unsatisfiable) }
}

fn first_and_last(range: &str) -> Option<(Option<u64>, Option<u64>)> {
    let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    // `parse` would take a sign.
    let number = |text: &str| match text.trim() {
        "" => Some(None),
        digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits.parse().ok().map(Some),
        _ => None,
    };
    let (first, last) = (number(first)?, number(last)?);
    let backwards = matches!((first, last), (Some(first), Some(last)) if last < first);
    (!backwards).then_some((first, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(http::HeaderName, &'static str)]) -> HeaderMap {
        fields.iter().map(|(name, value)| (name.clone(), http::HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn a_range_is_cut_to_what_there_is() {
        let of = |range: &'static str, size| byte_range(&headers(&[(RANGE, range)]), size, None);
        let some = |start, length| Ok(Some(ByteRange { start, length }));
        assert_eq!(of("bytes=0-3", 10), some(0, 4));
        assert_eq!(of("bytes=7-", 10), some(7, 3));
        assert_eq!(of("bytes=-2", 10), some(8, 2));
        assert_eq!(of("bytes=-20", 10), some(0, 10));
        assert_eq!(of("bytes=5-99", 10), some(5, 5));
        assert_eq!(of("bytes=9-9", 10), some(9, 1));
        assert_eq!(of("bytes=1-18446744073709551615", 10), some(1, 9));
        for range in ["bytes=10-", "bytes=-0", "bytes=99-100"] {
            assert_eq!(of(range, 10), Err(Unsatisfiable), "{range}");
        }
        assert_eq!(of("bytes=0-", 0), Err(Unsatisfiable));
        for range in ["bytes=5-3", "lines=1-2", "bytes=", "bytes=-", "bytes=0-1,3-4", "bytes=+1-2", "bytes=a-b", "0-1"]
        {
            assert_eq!(of(range, 10), Ok(None), "{range}");
        }
    }

    #[test]
    fn a_range_of_another_version_is_ignored() {
        let of =
            |version: &'static str, etag| byte_range(&headers(&[(RANGE, "bytes=1-2"), (IF_RANGE, version)]), 10, etag);
        assert!(of("\"a\"", Some("\"a\"")).unwrap().is_some());
        assert_eq!(of("\"b\"", Some("\"a\"")), Ok(None));
        assert_eq!(of("\"a\"", None), Ok(None));
        assert_eq!(of("Wed, 21 Oct 2015 07:28:00 GMT", Some("\"a\"")), Ok(None));
    }

    #[test]
    fn a_client_names_what_it_has() {
        let known = |tags| is_known(&headers(&[(IF_NONE_MATCH, tags)]), "\"a\"");
        assert!(known("\"a\"") && known("\"b\", W/\"a\"") && known("*"));
        assert!(!known("\"b\"") && !known("a"));
        assert!(!is_known(&HeaderMap::new(), "\"a\""));
        assert!(only_if_new(&headers(&[(IF_NONE_MATCH, "*")])) && !only_if_new(&headers(&[(IF_NONE_MATCH, "\"a\"")])));
    }
}
