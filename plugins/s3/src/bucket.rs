//! Where the files are: the service, the bucket and the prefix of a section,
//! with their URLs and their names in a policy. Knows no request.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sandbox_broker_sdk::{Code, Error};

use crate::config::Config;
use crate::endpoint::Endpoint;

/// What stands for itself in a URL (RFC 3986 section 2.3).
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Text as part of a path or a query.
pub fn encode(text: &str) -> String {
    utf8_percent_encode(text, UNRESERVED).to_string()
}

/// The bucket of a section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// Its name.
    pub name: String,
    /// The folder in it, without slashes at its ends; all of it when empty.
    pub prefix: String,
    /// The region by which requests are signed.
    pub region: String,
    /// The service.
    pub service: Endpoint,
    /// The token service.
    pub sts: Endpoint,
    /// Whether the bucket is a part of the path, and not of the host's name.
    pub path_style: bool,
}

impl Bucket {
    /// That of a section. `invalid-argument` for a mistake in an address.
    pub fn of(config: &Config) -> Result<Self, Error> {
        let read = |name: &str, written: &str| {
            Endpoint::read(written)
                .map_err(|expected| Error::new(Code::InvalidArgument, format!("`{name}` must be {expected}")))
        };
        Ok(Self {
            name: config.bucket.clone(),
            prefix: config.prefix.clone(),
            region: config.region.clone(),
            service: read("endpoint", &config.endpoint())?,
            sts: read("sts_endpoint", &config.sts_endpoint())?,
            path_style: config.path_style,
        })
    }

    /// The beginning of all names of its files: empty, or ends in a slash.
    pub fn folder(&self) -> String {
        if self.prefix.is_empty() { String::new() } else { format!("{}/", self.prefix) }
    }

    /// The host that serves it, as a client names it.
    pub fn host(&self) -> String {
        if self.path_style { self.service.host().to_owned() } else { format!("{}.{}", self.name, self.service.host()) }
    }

    /// The path of the bucket itself.
    pub fn path(&self) -> String {
        if self.path_style { format!("/{}", self.name) } else { "/".to_owned() }
    }

    /// `https://` or `http://`.
    pub fn scheme(&self) -> &'static str {
        if self.service.url.starts_with("https") { "https://" } else { "http://" }
    }

    /// What people know it by.
    pub fn shown(&self) -> String {
        format!("{}/{}", self.name, self.prefix).trim_end_matches('/').to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::section;

    #[test]
    fn a_bucket_is_a_path_or_a_host() {
        let bucket = Bucket::of(&section(r#","prefix":"/a/b/""#)).expect("good");
        assert_eq!((bucket.host(), bucket.path()), ("s3.eu-west-1.amazonaws.com".into(), "/files".into()));
        assert_eq!((bucket.folder(), bucket.shown()), ("a/b/".into(), "files/a/b".into()));
        let bucket = Bucket::of(&section(r#","path_style":false"#)).expect("good");
        assert_eq!((bucket.host(), bucket.path()), ("files.s3.eu-west-1.amazonaws.com".into(), "/".into()));
        assert_eq!((bucket.folder(), bucket.shown()), (String::new(), "files".into()));
    }
}
