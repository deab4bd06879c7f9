//! Whom a section's TLS trusts, and what it shows. Owns the one form of that for all of its connections; deliberately reads
//! no file: the configuration did.

use std::io;

use hyper_rustls::ConfigBuilderExt as _;
use rustls::sign::SingleCertAndKey;
use rustls::{AlertDescription, ClientConfig, RootCertStore};
use sandbox_broker_config::Tls;

/// TLS of a section. Without CAs of its own it trusts those of the system, which are read only when they are `needed`,
/// because that takes longer than everything else at start.
///
/// # Errors
/// When the system's CAs cannot be read.
pub(super) fn client(tls: &Tls, needed: bool) -> io::Result<ClientConfig> {
    let client = ClientConfig::builder();
    let client = match &tls.roots {
        Some(roots) => client.with_root_certificates(roots.clone()),
        None if needed => client.with_native_roots()?,
        None => client.with_root_certificates(RootCertStore::empty()),
    };
    Ok(match &tls.identity {
        Some(identity) => {
            client.with_client_cert_resolver(std::sync::Arc::new(SingleCertAndKey::from(identity.clone())))
        }
        None => client.with_no_client_auth(),
    })
}

/// The number and the name of what a server says who does not accept the certificate that it was shown, or was shown none.
pub(super) fn refusal(error: &rustls::Error) -> Option<(u8, String)> {
    use AlertDescription as A;
    let rustls::Error::AlertReceived(alert) = error else { return None };
    let about = matches!(
        alert,
        A::NoCertificate
            | A::BadCertificate
            | A::UnsupportedCertificate
            | A::CertificateRevoked
            | A::CertificateExpired
            | A::CertificateUnknown
            | A::UnknownCA
            // Signed by another CA of the same name.
            | A::DecryptError
            | A::CertificateRequired
    );
    about.then(|| (u8::from(*alert), format!("{alert:?}")))
}

#[cfg(test)]
mod tests;
