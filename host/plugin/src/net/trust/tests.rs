//! Files that an operator names, against a server that has a CA of its own and asks for a client's certificate.

use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use http_body_util::BodyExt as _;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use sandbox_broker_config::{self as config, EgressGrant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use wasmtime_wasi_http::Error;

use crate::net::sender::Sender;

/// A CA, from which an operator and a server get certificates.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        Authority(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// A certificate for this name, and its key.
    fn signs(&self, name: &str) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        (CertificateParams::new([name.to_owned()]).unwrap().signed_by(&key, &self.0).unwrap(), key)
    }
}

/// A server of `localhost` that answers `ok` to whom it knows. `clients` signs for them, if it asks.
async fn server(authority: &Authority, clients: Option<&Authority>) -> String {
    let (certificate, key) = authority.signs("localhost");
    let builder = ServerConfig::builder();
    let builder = match clients {
        Some(clients) => {
            let mut known = RootCertStore::empty();
            known.add(clients.0.der().clone()).unwrap();
            builder.with_client_cert_verifier(WebPkiClientVerifier::builder(known.into()).build().unwrap())
        }
        None => builder.with_no_client_auth(),
    };
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let tls = builder.with_single_cert(vec![certificate.der().clone()], key).unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(tls));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                stream.read_u8().await.unwrap();
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
                stream.shutdown().await.unwrap();
            });
        }
    });
    url
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
}

fn of(authority: &Authority) -> String {
    pem("CERTIFICATE", authority.0.der())
}

/// What a request gets under a configuration that names these files of `directory`.
async fn asks(url: &str, directory: &Path, tls: &str) -> Result<String, Error> {
    let text = format!(
        "[sandbox]\nprovider = \"p\"\n[providers.p]\nplugin = \"e2b\"\nallow = [{url:?}]\n[providers.p.tls]\n{tls}"
    );
    let config = config::parse(&directory.join("broker.toml"), &text, &|_| None).unwrap();
    let grant = EgressGrant::parse(url).unwrap();
    let sender = Sender::new(vec![grant], false, None, &config.providers["p"].tls, Arc::default()).unwrap();
    let body = http_body_util::Empty::new().map_err(|never| match never {}).boxed_unsync();
    let answer = sender.send(http::Request::get(url).body(body).unwrap(), None, Arc::default()).await?;
    Ok(String::from_utf8(answer.into_body().collect().await?.to_bytes().to_vec()).unwrap())
}

#[tokio::test]
async fn a_ca_of_ones_own_is_trusted_instead_of_the_systems() {
    let (own, other) = (Authority::new("own"), Authority::new("other"));
    let url = server(&own, None).await;
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("own.pem"), of(&own)).unwrap();
    std::fs::write(directory.path().join("other.pem"), of(&other)).unwrap();
    std::fs::write(directory.path().join("both.pem"), of(&other) + &of(&own)).unwrap();
    assert_eq!(asks(&url, directory.path(), "ca = \"own.pem\"").await.unwrap(), "ok");
    assert_eq!(asks(&url, directory.path(), "ca = \"both.pem\"").await.unwrap(), "ok");
    for stranger in ["", "ca = \"other.pem\""] {
        let refused = asks(&url, directory.path(), stranger).await;
        assert!(matches!(refused, Err(Error::TlsCertificateError)), "{stranger}: {refused:?}");
    }
}

#[tokio::test]
async fn the_certificate_of_the_broker_is_shown_and_a_refusal_of_it_is_told() {
    let (own, clients, namesake) = (Authority::new("own"), Authority::new("clients"), Authority::new("clients"));
    let url = server(&own, Some(&clients)).await;
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: String| std::fs::write(directory.path().join(name), text).unwrap();
    write("ca.pem", of(&own));
    for (name, from) in [("known", &clients), ("stranger", &own), ("namesake", &namesake)] {
        let (certificate, key) = from.signs("broker");
        write(&format!("{name}.pem"), pem("CERTIFICATE", certificate.der()));
        write(&format!("{name}.key"), pem("PRIVATE KEY", &key.serialize_der()));
    }
    let with = |name: &str| format!("ca = \"ca.pem\"\ncert = \"{name}.pem\"\nkey = \"{name}.key\"");
    assert_eq!(asks(&url, directory.path(), &with("known")).await.unwrap(), "ok");
    for without in ["ca = \"ca.pem\"".to_owned(), with("stranger"), with("namesake")] {
        let refused = asks(&url, directory.path(), &without).await;
        assert!(matches!(refused, Err(Error::TlsAlertReceived { .. })), "{without}: {refused:?}");
    }
}
