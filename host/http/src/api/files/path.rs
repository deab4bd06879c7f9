//! Paths as a client writes them.
//!
//! Owns the rules that need no sandbox: a path is decoded exactly once, absolute,
//! clean and bounded. Deliberately knows no links; `resolve` asks the sandbox.

use percent_encoding::percent_decode;

/// Bytes of a path, at most: as many as Linux takes in one call.
pub(super) const MAX_PATH: usize = 4096;

/// Why a text is no path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotAPath {
    #[error("name the path in the query, as `path=/…`, percent-encoded")]
    Missing,
    #[error("`path` stands more than once in the query")]
    Several,
    #[error("the path is not UTF-8 after percent-decoding")]
    NotUtf8,
    #[error("a path begins with `/`")]
    Relative,
    #[error("a path has no NUL, no empty part and no part `.` or `..`")]
    NotClean,
    #[error("a path has at most {MAX_PATH} bytes")]
    TooLong,
}

/// An absolute path without empty parts, `.`, `..` and NUL. Any other byte
/// may be part of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CleanPath(String);

impl CleanPath {
    /// Reads a path that needs no decoding.
    pub(super) fn parse(text: &str) -> Result<Self, NotAPath> {
        if text.len() > MAX_PATH {
            return Err(NotAPath::TooLong);
        }
        let names = text.strip_prefix('/').ok_or(NotAPath::Relative)?;
        let dirty = |name: &str| matches!(name, "" | "." | "..") || name.contains('\0');
        if !names.is_empty() && names.split('/').any(dirty) {
            return Err(NotAPath::NotClean);
        }
        Ok(CleanPath(text.to_owned()))
    }

    /// Reads the member `path` of a query; none if it is not there.
    pub(super) fn in_query(query: Option<&str>) -> Result<Option<Self>, NotAPath> {
        let pairs = query.unwrap_or_default().split('&');
        let mut paths = pairs.filter_map(|pair| pair.strip_prefix("path="));
        let Some(path) = paths.next() else { return Ok(None) };
        if paths.next().is_some() {
            return Err(NotAPath::Several);
        }
        // The form of HTML forms and `URLSearchParams`: a space may be a plus.
        let path = path.replace('+', " ");
        let decoded = percent_decode(path.as_bytes()).decode_utf8().map_err(|_| NotAPath::NotUtf8)?;
        Self::parse(&decoded).map(Some)
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// The last part; empty for `/`.
    pub(super) fn name(&self) -> &str {
        self.0.rsplit_once('/').map_or("", |(_, name)| name)
    }

    /// The path of an entry in this directory.
    pub(super) fn entry(&self, name: &str) -> String {
        format!("{}/{name}", self.0.trim_end_matches('/'))
    }
}

/// Whether `path` is `root` or below it, part by part. Both are absolute and
/// clean; `root` may end with a slash.
pub(super) fn is_within(path: &str, root: &str) -> bool {
    let below = path.strip_prefix(root.trim_end_matches('/'));
    below.is_some_and(|below| below.is_empty() || below.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn in_query(path: &str) -> Result<Option<CleanPath>, NotAPath> {
        CleanPath::in_query(Some(&format!("a=b&path={path}&c")))
    }

    #[test]
    fn odd_names_are_names() {
        for path in
            ["/", "/a", "/a b", "/%2e%2e", "/...", "/..a", "/a.", "/-rf", "/a\nb", "/'\"$(x)`", "/ü/語/😀", "/~"]
        {
            assert_eq!(CleanPath::parse(path).unwrap().as_str(), path);
        }
        assert_eq!(CleanPath::parse("/a/b c").unwrap().name(), "b c");
        assert_eq!(CleanPath::parse("/").unwrap().entry("a"), "/a");
        assert_eq!(CleanPath::parse("/a").unwrap().entry("b"), "/a/b");
    }

    #[test]
    fn what_is_not_a_clean_absolute_path_is_refused() {
        for (path, why) in [
            ("", NotAPath::Relative),
            ("a", NotAPath::Relative),
            ("./a", NotAPath::Relative),
            ("//", NotAPath::NotClean),
            ("//a", NotAPath::NotClean),
            ("/a/", NotAPath::NotClean),
            ("/a//b", NotAPath::NotClean),
            ("/.", NotAPath::NotClean),
            ("/..", NotAPath::NotClean),
            ("/a/../b", NotAPath::NotClean),
            ("/a/.", NotAPath::NotClean),
            ("/a\0", NotAPath::NotClean),
        ] {
            assert_eq!(CleanPath::parse(path), Err(why), "{path:?}");
        }
        let longest = format!("/{}", "a".repeat(MAX_PATH - 1));
        assert!(CleanPath::parse(&longest).is_ok());
        assert_eq!(CleanPath::parse(&format!("{longest}a")), Err(NotAPath::TooLong));
    }

    #[test]
    fn a_query_is_decoded_exactly_once() {
        let path = |query: &str| in_query(query).unwrap().unwrap().0;
        assert_eq!(path("/a%20b+c%2Bd"), "/a b c+d");
        assert_eq!(path("%2Fa%252e%252e"), "/a%2e%2e", "and not a second time");
        assert_eq!(path("/100%"), "/100%");
        for (query, why) in [
            ("/a%2f%2e%2e%2fb", NotAPath::NotClean),
            ("/a%00", NotAPath::NotClean),
            ("/a%2F%2Fb", NotAPath::NotClean),
            ("%2e%2e", NotAPath::Relative),
            ("/%ff", NotAPath::NotUtf8),
            ("/%c0%ae%c0%ae", NotAPath::NotUtf8),
            ("/a&path=/b", NotAPath::Several),
            ("", NotAPath::Relative),
        ] {
            assert_eq!(in_query(query), Err(why), "{query}");
        }
        assert_eq!(CleanPath::in_query(None), Ok(None));
        assert_eq!(CleanPath::in_query(Some("Path=/a&xpath=/b")), Ok(None));
    }

    #[test]
    fn within_is_by_parts() {
        for (path, root) in [("/a", "/a"), ("/a/b", "/a"), ("/a/b", "/"), ("/", "/"), ("/a/b/c", "/a/b/")] {
            assert!(is_within(path, root), "{path} in {root}");
        }
        for (path, root) in [("/ab", "/a"), ("/", "/a"), ("/b/a", "/a"), ("/a", "/a/b"), ("/a-b/c", "/a")] {
            assert!(!is_within(path, root), "{path} in {root}");
        }
    }

    /// Names with everything in them that paths are taken apart by.
    fn name() -> impl Strategy<Value = String> {
        prop_oneof![
            3 => "[a-z%+&=#? .]{1,6}",
            1 => any::<String>(),
            1 => prop_oneof![Just("."), Just(".."), Just(""), Just("\0"), Just("%2e%2e"), Just("%2f")].prop_map(str::to_owned),
        ]
    }

    proptest! {
        #[test]
        fn what_is_taken_cannot_leave_where_it_stands(names in vec(name(), 0..6), root in "/[a-z]{1,3}") {
            let text = format!("{root}/{}", names.join("/"));
            if let Ok(path) = CleanPath::parse(&text) {
                prop_assert_eq!(path.as_str(), &text);
                prop_assert!(is_within(&text, &root));
                // The standard library's own reading agrees: nothing but names.
                let parts: Vec<_> = std::path::Path::new(&text).components().collect();
                prop_assert!(parts[1..].iter().all(|part| matches!(part, std::path::Component::Normal(_))));
                prop_assert_eq!(parts.len() - 1, text.matches('/').count());
            }
        }

        #[test]
        fn encoding_and_decoding_give_the_path_back(text in any::<String>()) {
            let encoded = utf8_percent_encode(&text, NON_ALPHANUMERIC).to_string();
            prop_assert_eq!(in_query(&encoded), CleanPath::parse(&text).map(Some));
        }

        #[test]
        fn no_query_makes_it_panic(query in any::<String>()) {
            let _ = CleanPath::in_query(Some(&query));
        }
    }
}
