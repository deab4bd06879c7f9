//! An upload whose Store is dropped never looks complete, also over HTTP/2,
//! where the engine's own body would end as if it were whole.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::sync::{mpsc, oneshot};

use super::*;
use crate::Engine;
use crate::net::sender::Sender;
use sandbox_broker_config::{EgressGrant, PluginLimits};
use sandbox_broker_secrets::Secrets;

/// Uploads cut in the middle. Without the mark of a dead Store 32 to 39 of 40
/// looked complete.
const CUTS: usize = 40;
const DEADLINE: Duration = Duration::from_secs(30);

/// What the server saw of one upload: bytes and whether the body was whole.
type Seen = (usize, bool);

/// A server over TLS that speaks HTTP/2 only. Tells when the first byte of a
/// body is there, and how the body ended.
async fn server() -> (String, rustls::RootCertStore, mpsc::Receiver<()>, mpsc::Receiver<Seen>) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let mut tls = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    tls.alpn_protocols = vec![b"h2".to_vec()];
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(tls));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    let (begun, begins) = mpsc::channel(CUTS);
    let (ended, ends) = mpsc::channel(CUTS);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (acceptor, begun, ended) = (acceptor.clone(), begun.clone(), ended.clone());
            tokio::spawn(async move {
                let stream = acceptor.accept(stream).await.unwrap();
                let service = hyper::service::service_fn(move |request: http::Request<hyper::body::Incoming>| {
                    let (begun, ended) = (begun.clone(), ended.clone());
                    async move {
                        assert_eq!(request.version(), http::Version::HTTP_2);
                        // In a task of its own: the request's own is dropped
                        // when the peer resets the stream.
                        let body = request.into_body();
                        let read = tokio::spawn(receive(body, begun, ended));
                        let _ = read.await;
                        Ok::<_, std::convert::Infallible>(http::Response::new(Full::new(Bytes::from_static(b"[]"))))
                    }
                });
                let http = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                let _ = http.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    (url, roots, begins, ends)
}

async fn receive(mut body: hyper::body::Incoming, begun: mpsc::Sender<()>, ended: mpsc::Sender<Seen>) {
    let mut bytes = 0;
    let whole = loop {
        match body.frame().await {
            Some(Ok(frame)) => {
                let data = frame.into_data().unwrap_or_default();
                if bytes == 0 && !data.is_empty() {
                    begun.send(()).await.unwrap();
                }
                bytes += data.len();
            }
            Some(Err(_)) => break false,
            None => break true,
        }
    };
    ended.send((bytes, whole)).await.unwrap();
}

async fn provider(url: &str, roots: rustls::RootCertStore) -> (Engine, ComponentProvider) {
    let plugins = std::env::var_os("BROKER_PLUGINS_DIR")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/plugins")), PathBuf::from);
    let engine = Engine::new(None).unwrap();
    let plugin = engine.load(&plugins.join("e2b.wasm")).await.expect("`cargo xtask plugins` makes it");
    let section = Section {
        name: "test".into(),
        config: serde_json::json!({ "api_url": url, "sandbox_url": url }),
        allow: vec![EgressGrant::parse(url).unwrap()],
        allow_private: false,
        tls: Default::default(),
        secrets: Secrets::default(),
        reveal: Vec::new(),
        limits: PluginLimits {
            memory: 64 << 20,
            total_memory: 4 << 30,
            cpu: Duration::from_secs(1),
            call_timeout: DEADLINE,
        },
        isolation: None,
        per_user: false,
        socket: None,
    };
    let allow = section.allow.clone();
    let mut provider = ComponentProvider::new(plugin, section).unwrap();
    let tls = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let caller = Arc::get_mut(&mut provider.caller).unwrap();
    caller.sender = Arc::new(Sender::with_tls(allow, false, None, caller.permissions.clone(), tls));
    (engine, provider)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_cut_off_by_a_dropped_store_never_looks_complete_over_http2() {
    let (url, roots, mut begins, mut ends) = server().await;
    let (_engine, provider) = provider(&url, roots).await;
    let sandbox = SandboxRef { id: "iabc".into(), state: br#"{"v":1,"t":"token","e":"0.6.13","u":true}"#[..].into() };
    let at = Location { path: "/w/a".into(), user: None };
    for _ in 0..CUTS {
        let (tx, data) = mpsc::channel(4);
        let (_complete, rx) = oneshot::channel();
        let upload = Upload { size: None, data, complete: rx };
        let call = Call::default();
        let write = provider.write(&call, &sandbox, &at, upload);
        tx.send(Bytes::from(vec![7; 10_000])).await.unwrap();
        tokio::select! {
            written = write => panic!("the upload cannot be over: {written:?}"),
            begun = tokio::time::timeout(DEADLINE, begins.recv()) => begun.unwrap().unwrap(),
        }
        // The future, and with it the Store, is gone now.
        let (bytes, whole) = tokio::time::timeout(DEADLINE, ends.recv()).await.unwrap().unwrap();
        assert!(!whole, "a body of {bytes} bytes looked complete");
    }
}
