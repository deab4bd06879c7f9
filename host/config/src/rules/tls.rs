//! `[providers.NAME.tls]`: whom TLS trusts at a provider's servers, and what the broker shows there. Owns the rules over its
//! three files; deliberately reads none of them itself.

use std::sync::Arc;

use super::findings::Rules;
use crate::raw;
use crate::tls::{self, Tls, Wrong};

impl Rules<'_> {
    pub(super) fn tls(&mut self, at: &str, written: &raw::Tls) -> Tls {
        let path = |file: &Option<String>| file.as_ref().map(|file| self.context.base.join(file));
        let (ca, cert, key) = (path(&written.ca), path(&written.cert), path(&written.key));
        let mut tls = Tls::default();
        tls.files.extend([&ca, &cert, &key].into_iter().flatten().cloned());
        tls.key.clone_from(&key);
        tls.roots = ca.and_then(|ca| self.read(at, "ca", &written.ca, tls::roots(&ca))).map(Arc::new);
        let chain = cert.and_then(|cert| self.read(at, "cert", &written.cert, tls::certificates(&cert)));
        match (chain, key) {
            (Some(chain), Some(key)) => {
                tls.identity = self.read(at, "key", &written.key, tls::identity(chain, &key)).map(Arc::new);
            }
            (Some(_), None) => self.lonely(at, "key", "the file with the private key of `cert`"),
            (None, Some(_)) if written.cert.is_none() => {
                self.lonely(at, "cert", "the file with the certificate that `key` belongs to");
            }
            (None, _) => {}
        }
        tls
    }

    /// What a file has, or the mistake at its key.
    fn read<T>(&mut self, at: &str, key: &str, written: &Option<String>, read: Result<T, Wrong>) -> Option<T> {
        let (why, expected) = match read {
            Ok(read) => return Some(read),
            Err(wrong) => wrong,
        };
        let pointer = format!("{at}/{key}");
        let file = self.text(&pointer, written.as_deref().unwrap_or_default());
        self.mistake(&pointer, format!("found {file}, {why}, expected {expected}"));
        None
    }

    /// One of `cert` and `key` stands alone.
    fn lonely(&mut self, at: &str, missing: &str, expected: &str) {
        let pointer = format!("{at}/{missing}");
        if !self.is_wrong(&pointer) {
            self.mistake(&pointer, format!("found nothing, expected {expected}"));
        }
    }
}
