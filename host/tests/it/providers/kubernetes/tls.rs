//! Certificates, and the older protocol of processes, by a proxy that takes the newer one away.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_util::task::AbortOnDropHandle;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_is_trusted_by_its_own_ca_alone() {
    let Some(namespace) = Namespace::new().await else { return };
    let (address, directory) = (&namespace.cluster.address, namespace.directory.path());
    let stranger = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    write_certificate(&directory.join("stranger.pem"), stranger.cert.der());
    let provider = provider_of(&namespace.section_by(address, &directory.join("stranger.pem"), "box", "")).await;
    let error = provider.create(&call(), &spec(&[])).await.unwrap_err();
    assert!(error.message.contains("does not trust the certificate") && error.message.contains("`ca`"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clients_certificate_does_instead_of_a_token() {
    let Some(namespace) = Namespace::new().await else { return };
    let pki = namespace.cluster.run.join("pki");
    let section = namespace.section("box", "");
    let (head, rest) = section.split_once("[providers.box.secrets.token]").unwrap();
    let (_, tail) = rest.split_once("[providers.box.config]").unwrap();
    let pair = format!("cert = {:?}\nkey = {:?}\n", pki.join("to-kubelet.crt"), pki.join("to-kubelet.key"));
    let provider = provider_of(&format!("{head}{pair}[providers.box.config]{tail}")).await;
    let sandbox = create(&provider).await;
    assert_eq!(shell(&provider, &sandbox, "echo here").await.0, "here\n");
    provider.kill(&call(), &sandbox).await.unwrap();
    let anonymous = provider_of(&format!("{head}[providers.box.config]{tail}")).await;
    let error = anonymous.create(&call(), &spec(&[])).await.unwrap_err();
    assert!(matches!(error.code, Code::Unauthenticated | Code::PermissionDenied), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_without_v5_gives_all_but_the_end_of_input() {
    let Some(namespace) = Namespace::new().await else { return };
    let proxy = Older::start(&namespace).await;
    let provider = provider_of(&namespace.section_by(&proxy.url, &proxy.ca, "box", "")).await;
    let sandbox = create(&provider).await;
    let (process, input) =
        run(&provider, &sandbox, &command(&["sh", "-c", "read a; echo \"got $a\"; echo bad >&2; exit 7"]))
            .await
            .unwrap();
    input.send(Bytes::from_static(b"line\n")).await.unwrap();
    let (out, err, done) = rest(process).await;
    assert_eq!((out.as_str(), err.as_str(), done.unwrap()), ("got line\n", "bad\n", Exit::Code(7)));
    // The process never learns that its input has ended. It lives until it is told to end.
    let (mut process, input) = run(&provider, &sandbox, &command(&["cat"])).await.unwrap();
    input.send(Bytes::from_static(b"more\n")).await.unwrap();
    assert_eq!(within("the echo", process.stdout.recv()).await.unwrap(), "more\n");
    drop(input);
    process.control.signal("SIGKILL").await.unwrap();
    assert_eq!(rest(process).await.2.unwrap(), Exit::Code(137));
    assert!(proxy.taken() > 0, "it was asked for v5");
    provider.kill(&call(), &sandbox).await.unwrap();
}

fn write_certificate(path: &Path, der: &[u8]) {
    let text = STANDARD.encode(der);
    std::fs::write(path, format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")).unwrap();
}

const NEWER: &str = "v5.channel.k8s.io";

/// Stands before an API server, and takes the newer protocol out of what is asked for.
struct Older {
    url: String,
    ca: std::path::PathBuf,
    taken: Arc<std::sync::atomic::AtomicUsize>,
    _task: AbortOnDropHandle<()>,
}

impl Older {
    async fn start(namespace: &Namespace) -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let ca = namespace.directory.path().join("proxy.pem");
        write_certificate(&ca, made.cert.der());
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let own = rustls::ServerConfig::builder().with_no_client_auth();
        let own = own.with_single_cert(vec![made.cert.der().clone()], key).unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(own));
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(namespace.cluster.run.join("ca.crt")).unwrap()).unwrap();
        let onward = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(onward));
        let server: std::net::SocketAddr = namespace.cluster.address.strip_prefix("https://").unwrap().parse().unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
        let taken = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let count = taken.clone();
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (acceptor, connector, count) = (acceptor.clone(), connector.clone(), count.clone());
                tokio::spawn(async move {
                    let mut near = acceptor.accept(stream).await.ok()?;
                    let far = tokio::net::TcpStream::connect(server).await.ok()?;
                    let mut far = connector.connect(server.ip().into(), far).await.ok()?;
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") {
                        head.push(near.read_u8().await.ok()?);
                    }
                    let mut head = String::from_utf8(head).ok()?;
                    if head.contains(NEWER) {
                        count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                        for form in
                            [format!("{NEWER}, "), format!("{NEWER},"), format!("sec-websocket-protocol: {NEWER}\r\n")]
                        {
                            head = head.replace(&form, "");
                        }
                        assert!(!head.contains(NEWER), "{head}");
                    }
                    far.write_all(head.as_bytes()).await.ok()?;
                    tokio::io::copy_bidirectional(&mut near, &mut far).await.ok()
                });
            }
        });
        Older { url, ca, taken, _task: AbortOnDropHandle::new(task) }
    }

    fn taken(&self) -> usize {
        self.taken.load(std::sync::atomic::Ordering::Relaxed)
    }
}
