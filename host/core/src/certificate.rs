//! Why a server's certificate is not trusted, and how to correct that. Owns the words; deliberately does not know who
//! connects.

use std::error::Error as StdError;
use std::io;

use rustls::CertificateError;

/// The variable that names a file with more roots than the system's, for all
/// connections of the broker and of its commands.
const ROOTS: &str = "SSL_CERT_FILE";

/// The words for an error that was caused by a certificate; `None` for any other error.
pub fn distrust(error: &(dyn StdError + 'static)) -> Option<String> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(rustls::Error::InvalidCertificate(why)) = error.downcast_ref() {
            return Some(words(why));
        }
        // The library wraps its errors in IO errors, whose `source` skips the wrapped error itself.
        let hidden = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        cause = hidden.map(|hidden| hidden as &(dyn StdError + 'static)).or_else(|| error.source());
    }
    None
}

fn words(why: &CertificateError) -> String {
    match why {
        CertificateError::UnknownIssuer => format!(
            "the server's certificate was signed by nobody whom this machine trusts; if that is a CA of your own, put its \
             certificate into the system's store, or name its file in {ROOTS}, or, for a provider, by `ca` in its section's `tls`"
        ),
        // The library's type for this error is not public.
        CertificateError::Other(other) if format!("{other:?}").contains("CaUsedAsEndEntity") => format!(
            "the server's certificate is marked as that of a CA, as `openssl req -x509` does by itself, and such a one is \
             never a server's, whatever {ROOTS} says; give the server one with basicConstraints CA:FALSE, and name it, or \
             the CA that signed it, in {ROOTS}"
        ),
        other => format!("the server's certificate is not valid: {other}"),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
    use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
    use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};

    use super::*;

    /// How a client greets a server with a self-signed certificate of `localhost`, which the client may trust and which
    /// may be marked as a CA's.
    fn greeting(trusted: bool, ca: bool) -> Result<(), rustls::Error> {
        let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        params.is_ca = if ca { IsCa::Ca(BasicConstraints::Unconstrained) } else { IsCa::ExplicitNoCa };
        let key = KeyPair::generate().unwrap();
        let made = params.self_signed(&key).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let mut roots = RootCertStore::empty();
        if trusted {
            roots.add(made.der().clone()).unwrap();
        }
        let serves = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![made.der().clone()], key);
        let asks = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let mut server = ServerConnection::new(Arc::new(serves.unwrap())).unwrap();
        let mut client = ClientConnection::new(Arc::new(asks), "localhost".try_into().unwrap()).unwrap();
        while client.is_handshaking() {
            let mut sent = Vec::new();
            client.write_tls(&mut sent).unwrap();
            server.read_tls(&mut &*sent).unwrap();
            server.process_new_packets().unwrap();
            sent.clear();
            while server.wants_write() {
                server.write_tls(&mut sent).unwrap();
            }
            client.read_tls(&mut &*sent).unwrap();
            client.process_new_packets()?;
        }
        Ok(())
    }

    #[test]
    fn a_certificate_that_is_refused_is_told_with_what_mends_it() {
        for (trusted, ca, says) in
            [(false, false, "signed by nobody whom this machine trusts"), (true, true, "basicConstraints CA:FALSE")]
        {
            let refused = greeting(trusted, ca).unwrap_err();
            // As deep as libraries hide it.
            let told = distrust(&io::Error::other(io::Error::other(refused))).unwrap();
            assert!(told.contains(says) && told.contains("SSL_CERT_FILE"), "{told}");
        }
        assert_eq!(greeting(true, false), Ok(()), "as the words promise");
        assert_eq!(distrust(&io::Error::other(rustls::Error::DecryptError)), None);
        assert_eq!(distrust(&io::Error::from(io::ErrorKind::TimedOut)), None);
    }
}
