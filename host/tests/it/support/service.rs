//! The service behind a storage, whichever it is, by what the tests of every
//! storage ask of it. Deliberately has nothing that only one of them can do.

use sha2::{Digest as _, Sha256};

use super::azurite::Azurite;
use super::s3::S3;

/// A kind of storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Azure,
    S3,
}

/// A running service.
pub enum Service {
    Azure(Azurite),
    S3(S3),
}

/// A file of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blob {
    pub name: String,
    pub size: u64,
    /// It stands for a directory, as mounts mark them.
    pub directory: bool,
}

impl Service {
    pub async fn start(kind: Kind) -> Option<Self> {
        Some(match kind {
            Kind::Azure => Service::Azure(Azurite::start().await?),
            Kind::S3 => Service::S3(S3::start().await?),
        })
    }

    /// For a test of one kind.
    pub fn azurite(&self) -> &Azurite {
        let Service::Azure(azurite) = self else { panic!("not Azure") };
        azurite
    }

    /// For a test of one kind.
    pub fn s3(&self) -> &S3 {
        let Service::S3(s3) = self else { panic!("not S3") };
        s3
    }

    pub async fn stop(&mut self) {
        match self {
            Service::Azure(azurite) => azurite.stop().await,
            Service::S3(s3) => s3.stop(),
        }
    }

    pub async fn resume(&mut self) {
        match self {
            Service::Azure(azurite) => azurite.resume().await,
            Service::S3(s3) => s3.resume().await,
        }
    }

    pub fn port(&self) -> u16 {
        match self {
            Service::Azure(azurite) => azurite.port(),
            Service::S3(s3) => s3.port(),
        }
    }

    pub fn endpoint(&self) -> String {
        match self {
            Service::Azure(azurite) => azurite.endpoint(),
            Service::S3(s3) => s3.endpoint(),
        }
    }

    /// Makes a container.
    pub async fn make(&self, container: &str) {
        match self {
            Service::Azure(azurite) => azurite.make_container(container).await,
            Service::S3(s3) => s3.make(container).await,
        }
    }

    pub async fn delete_container(&self, container: &str) {
        match self {
            Service::Azure(azurite) => azurite.delete_container(container).await,
            Service::S3(s3) => s3.delete_bucket(container).await,
        }
    }

    pub async fn delete(&self, container: &str, name: &str) {
        match self {
            Service::Azure(azurite) => azurite.delete(container, name).await,
            Service::S3(s3) => s3.delete(container, name).await,
        }
    }

    pub async fn list(&self, container: &str) -> Vec<Blob> {
        match self {
            Service::Azure(azurite) => azurite.list(container).await,
            Service::S3(s3) => s3.list(container).await,
        }
    }

    /// What a file holds; none if there is no such file.
    pub async fn read(&self, container: &str, name: &str) -> Option<Vec<u8>> {
        match self {
            Service::Azure(azurite) => azurite.read(container, name).await,
            Service::S3(s3) => s3.read(container, name).await,
        }
    }

    /// SHA-256 of what a file holds, in hexadecimal digits as `sha256sum` prints
    /// it; none if there is no such file.
    pub async fn sha256(&self, container: &str, name: &str) -> Option<String> {
        let content = self.read(container, name).await?;
        Some(Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect())
    }

    pub async fn upload(&self, container: &str, name: &str, content: impl Into<Vec<u8>>) {
        match self {
            Service::Azure(azurite) => azurite.upload(container, name, content).await,
            Service::S3(s3) => s3.upload(container, name, content).await,
        }
    }
}

/// What stands in each element of a name; enough for the flat answers here.
pub(super) fn between<'a>(xml: &'a str, name: &str) -> impl Iterator<Item = &'a str> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    let mut rest = xml;
    std::iter::from_fn(move || {
        let (_, inside) = rest.split_once(&open)?;
        let (inside, after) = inside.split_once(&close)?;
        rest = after;
        Some(inside)
    })
}

pub(super) fn unescaped(text: &str) -> String {
    [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&#34;", "\""),
        ("&apos;", "'"),
        ("&#39;", "'"),
        ("&#xD;", "\r"),
        ("&amp;", "&"),
    ]
    .iter()
    .fold(text.to_owned(), |text, (escape, character)| text.replace(escape, character))
}
