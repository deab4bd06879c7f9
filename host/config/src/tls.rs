//! Files in PEM: who is trusted, and what the broker shows. Owns their reading; deliberately knows no key of the file and
//! makes no connection.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use crate::interpolate::bounded;

/// Bytes of such a file, at most. All CAs that a system trusts have a quarter of it.
const MAX_BYTES: u64 = 1024 * 1024;

/// Whom TLS trusts at a provider's servers, and what the broker shows there. The default trusts whom the system trusts, and
/// shows nothing.
#[derive(Clone, Default)]
pub struct Tls {
    /// Who is trusted, instead of those whom the system trusts.
    pub roots: Option<Arc<RootCertStore>>,
    /// What the broker shows to a server that asks.
    pub identity: Option<Arc<CertifiedKey>>,
    /// Every file that was named, even one that is missing.
    pub(super) files: Vec<PathBuf>,
    /// The one with the private key.
    pub(super) key: Option<PathBuf>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (roots, identity) = (self.roots.as_ref().map(|roots| roots.len()), self.identity.is_some());
        f.debug_struct("Tls").field("roots", &roots).field("identity", &identity).finish()
    }
}

/// Why a file cannot be used: what is wrong with it, as a relative clause, and what is expected.
pub(super) type Wrong = (String, &'static str);

const CERTIFICATE: &str = "certificates in PEM, from -----BEGIN CERTIFICATE----- to -----END CERTIFICATE-----; `openssl x509 \
                           -inform der` converts one that is in DER";
const KEY: &str = "a private key in PEM without a passphrase, from -----BEGIN PRIVATE KEY----- to its end; `openssl pkey` \
                   converts one and removes its passphrase";
const PAIR: &str = "the private key of the certificate in `cert`: replace both files together, `cert` first in its file the \
                    certificate of the broker";

/// The certificates in a file.
pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Wrong> {
    let text = text(path, CERTIFICATE)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match found {
        Ok(found) if found.is_empty() => Err(("which has no certificate".to_owned(), CERTIFICATE)),
        Ok(found) => Ok(found),
        Err(_) => Err(("in which a certificate is cut off or garbled".to_owned(), CERTIFICATE)),
    }
}

/// The CAs in a file.
pub(super) fn roots(path: &Path) -> Result<RootCertStore, Wrong> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots
            .add(certificate)
            .map_err(|why| (format!("in which a certificate cannot be read ({why})"), CERTIFICATE))?;
    }
    Ok(roots)
}

/// The private key in a file, for the certificate before it in this chain.
pub(super) fn identity(chain: Vec<CertificateDer<'static>>, key: &Path) -> Result<CertifiedKey, Wrong> {
    // What a parser says of a private key is not repeated.
    let parsed = PrivateKeyDer::from_pem_slice(&text(key, KEY)?);
    let parsed = parsed.map_err(|_| ("which has no private key that can be used".to_owned(), KEY))?;
    CertifiedKey::from_der(chain, parsed, &ring::default_provider()).map_err(|why| match why {
        rustls::Error::InconsistentKeys(_) => ("which has the key of another certificate".to_owned(), PAIR),
        _ => ("which has a key of a kind that is not supported".to_owned(), KEY),
    })
}

fn text(path: &Path, expected: &'static str) -> Result<Vec<u8>, Wrong> {
    bounded(path, MAX_BYTES).map_err(|why| (format!("which cannot be read ({why})"), expected))
}
