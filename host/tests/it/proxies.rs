//! The broker behind the proxies that people use, set up as `docs/proxies`
//! says: the tests take those files as they are, but for addresses and paths.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::future::{BoxFuture, join_all};
use futures_util::{FutureExt as _, SinkExt as _, StreamExt as _};
use http::header::{AUTHORIZATION, CONTENT_TYPE, COOKIE, LOCATION, ORIGIN, SET_COOKIE};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::rt::TokioExecutor;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{self, Message};

use crate::support::level1::{Visit, Window};
use crate::support::{Broker, eventually};

/// Requests through each proxy. `PROXY_REQUESTS` asks for more.
const REQUESTS: usize = 4_000;

/// Requests at a time: a few browsers. Of those for files, as many as one has
/// connections: the broker takes no more of one session.
const AT_ONCE: usize = 12;
const FILES_AT_ONCE: usize = 6;

const TOKEN: &str = "right";

/// The names in the files.
const OWN: &str = "term.example.com";
const SHARED: &str = "www.example.com";

#[derive(Clone, Copy, Debug)]
enum Kind {
    Nginx,
    Haproxy,
    Caddy,
}

/// A certificate of an authority of the test's own, for both names.
struct Certified {
    authority: CertificateDer<'static>,
    certificate: String,
    key: String,
}

fn certified() -> Certified {
    let pem = |label: &str, der: &[u8]| {
        let text = STANDARD.encode(der);
        let lines: Vec<&str> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
        format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
    };
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let authority = params.self_signed(&key).unwrap().der().clone();
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec![OWN.to_owned(), SHARED.to_owned()]).unwrap();
    let leaf = params.signed_by(&key, &issuer).unwrap();
    Certified { authority, certificate: pem("CERTIFICATE", leaf.der()), key: pem("PRIVATE KEY", &key.serialize_der()) }
}

/// A file of `docs/proxies`, with this in the place of that. What is replaced
/// has to be there.
fn document(name: &str, replaced: &[(&str, &str)]) -> String {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/proxies")).join(name);
    let text = fs::read_to_string(path).unwrap();
    replaced.iter().fold(text, |text, (from, to)| {
        assert!(text.contains(from), "no {from:?} in {name}");
        text.replace(from, to)
    })
}

fn program(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain(["/usr/sbin".into()]).map(|place| place.join(name));
    places.into_iter().find(|place| place.is_file()).unwrap_or_else(|| panic!("no {name}: run `cargo xtask setup`"))
}

/// An address that is free now.
async fn free() -> u16 {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port()
}

/// A proxy before a broker.
struct Front {
    child: Child,
    directory: TempDir,
    port: u16,
    authority: CertificateDer<'static>,
    /// One person's browser of each kind.
    asks: [Ask; 2],
    broker: Broker,
}

type Answered = (StatusCode, HeaderMap, Bytes);
type Ask = Arc<dyn Fn(Request<Full<Bytes>>) -> BoxFuture<'static, Result<Answered, String>> + Send + Sync>;

impl Drop for Front {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
            let from = log.floor_char_boundary(log.len().saturating_sub(4000));
            eprintln!("--- proxy log\n{}", &log[from..]);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Front {
    /// Starts a broker and this proxy before it, with a file of `docs/proxies`
    /// in which this is replaced, too.
    async fn start(kind: Kind, file: &str, replaced: &[(&str, &str)]) -> Self {
        let port = free().await;
        let hash: String = Sha256::digest(TOKEN).iter().map(|b| format!("{b:02x}")).collect();
        let config = format!(
            "[server]\nlisten = \"127.0.0.1:0\"\npublic_url = \"https://{OWN}:{port}\"\n\
             public_urls = [\"https://{SHARED}:{port}\"]\ntrusted_proxies = [\"127.0.0.1\"]\n\
             [[auth.tokens]]\nname = \"ada\"\nsha256 = \"{hash}\"\n\
             [sandbox]\nprovider = \"local\"\nworkdir = \"/workspace\"\n\
             [providers.local]\nplugin = \"e2b\"\nembedded = \"sandboxd\"\n"
        );
        let broker = Broker::start_quiet(&config).await;
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
        let Certified { authority, certificate, key } = certified();
        for name in [OWN, SHARED] {
            fs::write(at(&format!("{name}.crt")), &certificate).unwrap();
            fs::write(at(&format!("{name}.key")), &key).unwrap();
        }
        let behind = broker.url.trim_start_matches("http://");
        let mut places = replaced.to_vec();
        let (tls, listen, certs);
        let command = match kind {
            Kind::Nginx => {
                (tls, listen) =
                    (format!("{}/", directory.path().display()), format!("listen 127.0.0.1:{port} ssl http2"));
                places.extend([("127.0.0.1:3000", behind), ("/etc/ssl/", &tls), ("listen 443 ssl http2", &listen)]);
                fs::write(at("site.conf"), document(file, &places)).unwrap();
                // A goodbye of HTTP/2 after some requests is between the proxy and its client.
                let main = format!(
                    "daemon off; master_process off; pid {0}/pid; error_log stderr info;\n\
                     events {{ worker_connections 1024; }}\n\
                     http {{ access_log {0}/access; keepalive_requests 1000000; client_body_temp_path {0}/body; \
                     proxy_temp_path {0}/proxy; \
                     include {0}/site.conf; }}\n",
                    directory.path().display()
                );
                fs::write(at("nginx.conf"), main).unwrap();
                let mut nginx = Command::new(program("nginx"));
                nginx.args(["-e", "stderr", "-p", directory.path().to_str().unwrap(), "-c", &at("nginx.conf")]);
                nginx
            }
            Kind::Haproxy => {
                fs::create_dir(at("certs")).unwrap();
                fs::write(at("certs/both.pem"), format!("{certificate}{key}")).unwrap();
                (certs, listen) = (at("certs/"), format!("bind 127.0.0.1:{port} ssl"));
                places.extend([
                    ("127.0.0.1:3000", behind),
                    ("/etc/haproxy/certs/", &certs),
                    ("bind :443 ssl", &listen),
                ]);
                fs::write(at("haproxy.cfg"), document(file, &places)).unwrap();
                let mut haproxy = Command::new(program("haproxy"));
                haproxy.args(["-db", "-f", &at("haproxy.cfg")]);
                haproxy
            }
            Kind::Caddy => {
                tls = format!("{}/", directory.path().display());
                let (own, shared) = (format!("\n{OWN}:{port} {{"), format!("\n{SHARED}:{port} {{"));
                // Both names are in one certificate, which Caddy takes from one file only.
                places.push(("/etc/ssl/www.example.com", "/etc/ssl/term.example.com"));
                places.extend([("127.0.0.1:3000", behind), ("/etc/ssl/", &tls)]);
                places.extend([("\nterm.example.com {", own.as_str()), ("\nwww.example.com {", &shared)]);
                // Its other ports are those of the machine.
                let options = "{\n\tadmin off\n\tauto_https disable_redirects\n\tdefault_bind 127.0.0.1\n}\n";
                fs::write(at("Caddyfile"), format!("{options}{}", document(file, &places))).unwrap();
                let mut caddy = Command::new(program("caddy"));
                caddy.args(["run", "--adapter", "caddyfile", "--config", &at("Caddyfile")]);
                caddy
            }
        };
        let mut command = command;
        let log = fs::File::create(at("log")).unwrap();
        let child = command
            .env("HOME", directory.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let asks = [false, true].map(|http2| ask(&authority, http2));
        let mut front = Front { child, directory, port, authority, asks, broker };
        let up = async || front.get(OWN, "/").await.is_ok_and(|(status, ..)| status != 503).then_some(());
        eventually("an answer through the proxy", up).await;
        let running = front.child.try_wait().unwrap();
        assert!(running.is_none(), "the proxy ended: {running:?}");
        front
    }

    fn request(&self, name: &str, method: Method, path: &str, token: bool, body: &Bytes) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(body.clone()));
        *request.method_mut() = method;
        *request.uri_mut() = format!("https://{name}:{}{path}", self.port).parse().unwrap();
        if token {
            request.headers_mut().insert(AUTHORIZATION, HeaderValue::from_static("Bearer right"));
        }
        request
    }

    async fn get(&self, name: &str, path: &str) -> Result<Answered, String> {
        (self.asks[0])(self.request(name, Method::GET, path, true, &Bytes::new())).await
    }

    /// Asks for a terminal.
    async fn terminal(&self, address: &str, fields: &[(http::HeaderName, &str)]) -> tungstenite::Result<()> {
        let mut request = format!("wss://{address}").into_client_request()?;
        request.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static("sandbox-broker.v1"));
        for (name, value) in fields {
            request.headers_mut().insert(name, value.parse().unwrap());
        }
        let name = ServerName::try_from(request.uri().host().unwrap().to_owned()).unwrap();
        let stream = TcpStream::connect(("127.0.0.1", self.port)).await?;
        let tls = TlsConnector::from(Arc::new(trusting(&self.authority)));
        let (mut socket, _) = client_async(request, tls.connect(name, stream).await?).await?;
        let ready = async {
            loop {
                match socket.next().await {
                    Some(Ok(Message::Text(text))) if text.contains("\"ready\"") => return Ok(()),
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return Err(error),
                    None => return Err(tungstenite::Error::ConnectionClosed),
                }
            }
        };
        ready.await?;
        let _ = socket.send(Message::Close(None)).await;
        Ok(())
    }

    /// The answer to a terminal that is refused.
    async fn refused(&self, address: &str, fields: &[(http::HeaderName, &str)]) -> (u16, Value) {
        match self.terminal(address, fields).await {
            Err(tungstenite::Error::Http(answer)) => {
                let body = answer.body().clone().unwrap_or_default();
                (answer.status().as_u16(), serde_json::from_slice(&body).unwrap_or_default())
            }
            other => panic!("not refused: {other:?}"),
        }
    }
}

const BEARER: (http::HeaderName, &str) = (AUTHORIZATION, "Bearer right");

fn trusting(authority: &CertificateDer<'static>) -> rustls::ClientConfig {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(authority.clone()).unwrap();
    rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth()
}

/// What asks the proxy whatever the name, and keeps its connections.
fn ask(authority: &CertificateDer<'static>, http2: bool) -> Ask {
    let here = |_: Name| async { Ok::<_, Infallible>(std::iter::once(SocketAddr::from(([127, 0, 0, 1], 0)))) };
    let mut connector = HttpConnector::new_with_resolver(tower::service_fn(here));
    connector.enforce_http(false);
    let tls = HttpsConnectorBuilder::new().with_tls_config(trusting(authority)).https_only();
    let connector =
        if http2 { tls.enable_http2().wrap_connector(connector) } else { tls.enable_http1().wrap_connector(connector) };
    let client = Client::builder(TokioExecutor::new()).http2_only(http2).build::<_, Full<Bytes>>(connector);
    Arc::new(move |request| {
        let client = client.clone();
        async move {
            let answer = client.request(request).await.map_err(|error| format!("{error:?}"))?;
            let (head, body) = answer.into_parts();
            let body = body.collect().await.map_err(|error| format!("{error:?}"))?.to_bytes();
            Ok((head.status, head.headers, body))
        }
        .boxed()
    })
}

/// A session that watchers can come to.
async fn session(front: &Front) -> (Window, String) {
    let mut window = Window::open(&front.broker.url, Visit::default().token(TOKEN)).await;
    let session = window.ready().await.session;
    (window, session)
}

/// Everything that browsers and programs ask, through the proxy, over both
/// versions of HTTP.
async fn mixed(front: &Front) {
    let (_window, session) = session(front).await;
    let requests = std::env::var("PROXY_REQUESTS").map_or(REQUESTS, |n| n.parse().unwrap());
    let places = Semaphore::new(FILES_AT_ONCE);
    let (next, file, large) =
        (AtomicUsize::new(0), Bytes::from(vec![b'x'; 16 << 10]), Bytes::from(vec![b'y'; 1 << 20]));
    let content = |n: usize| format!("/api/sessions/{session}/files/content?path=%2Fworkspace%2Ff{}", n % 3);
    let put = front.request(OWN, Method::PUT, &content(0), true, &file);
    for n in 0..3 {
        let mut put = put.clone();
        *put.uri_mut() = format!("https://{OWN}:{}{}", front.port, content(n)).parse().unwrap();
        let (status, _, body) = (front.asks[0])(put).await.unwrap();
        assert!(status.is_success(), "{status} {body:?}");
    }
    let one = async |n: usize| {
        let empty = Bytes::new();
        let (what, good, request) = match n % 50 {
            0 => {
                let query = format!("session={session}&role=viewer&client=w{n}");
                let address = format!("{OWN}:{}/terminal?{query}", front.port);
                let opened = front.terminal(&address, &[BEARER]).await;
                return ("terminal", opened.is_ok(), format!("{opened:?}"));
            }
            1 => ("upload", 200..=201, front.request(OWN, Method::PUT, &content(n), true, &file)),
            2 | 3 => ("download", 200..=200, front.request(OWN, Method::GET, &content(n), true, &empty)),
            // Answered before it is read.
            4 => ("refused upload", 401..=401, front.request(OWN, Method::PUT, &content(n), false, &large)),
            5..15 => ("page", 200..=200, front.request(OWN, Method::GET, "/", false, &empty)),
            15..25 => ("status", 200..=200, front.request(OWN, Method::GET, "/api/status", true, &empty)),
            25..30 => ("who", 401..=401, front.request(OWN, Method::GET, "/api/session", false, &empty)),
            30..35 => ("sessions", 200..=200, front.request(OWN, Method::GET, "/api/sessions", true, &empty)),
            _ => ("health", 200..=200, front.request(OWN, Method::GET, "/health", false, &empty)),
        };
        let _place = if what.ends_with("load") { Some(places.acquire().await.unwrap()) } else { None };
        match (front.asks[n / 50 % 2])(request).await {
            Ok((status, _, body)) => {
                let text = String::from_utf8_lossy(&body[..body.len().min(200)]).into_owned();
                (what, good.contains(&status.as_u16()), format!("{status} {text}"))
            }
            Err(error) => (what, false, error),
        }
    };
    let workers = (0..AT_ONCE).map(async |_| {
        let mut wrong = Vec::new();
        loop {
            let n = next.fetch_add(1, Ordering::Relaxed);
            if n >= requests {
                return wrong;
            }
            let (what, good, told) = one(n).await;
            if !good {
                wrong.push((what, told));
            }
        }
    });
    let mut wrong = BTreeMap::<_, usize>::new();
    for failure in join_all(workers).await.into_iter().flatten() {
        *wrong.entry(failure).or_default() += 1;
    }
    assert!(wrong.is_empty(), "of {requests}: {wrong:#?}");
}

/// Below `/sandbox/` of another site: the page, what it loads and asks, the
/// sign-in, a terminal, files.
async fn below_a_path(front: &Front) {
    let (_window, session) = session(front).await;
    let empty = Bytes::new();
    let (status, fields, _) = front.get(SHARED, "/sandbox").await.unwrap();
    assert_eq!(status, 308);
    assert!(fields[LOCATION].to_str().unwrap().ends_with("/sandbox/"), "{fields:?}");
    let (status, _, page) = front.get(SHARED, "/sandbox/").await.unwrap();
    let page = String::from_utf8(page.to_vec()).unwrap();
    assert_eq!(status, 200, "{page}");
    let script = page.split("src=\"./").nth(1).and_then(|rest| rest.split('"').next()).expect("a script of its own");
    assert_eq!(front.get(SHARED, &format!("/sandbox/{script}")).await.unwrap().0, 200, "{script}");

    let mut sign_in =
        front.request(SHARED, Method::POST, "/sandbox/sign-in", false, &Bytes::from_static(b"token=right"));
    let origin: HeaderValue = format!("https://{SHARED}:{}", front.port).parse().unwrap();
    sign_in.headers_mut().insert(ORIGIN, origin.clone());
    sign_in.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
    let (status, fields, body) = (front.asks[1])(sign_in).await.unwrap();
    assert_eq!(status, 204, "{body:?}");
    let cookie = fields[SET_COOKIE].to_str().unwrap();
    assert!(cookie.contains("Path=/;") && cookie.contains("Secure"), "{cookie}");
    let cookie = cookie.split(';').next().unwrap();

    let mut files = front.request(SHARED, Method::GET, "", false, &empty);
    let path = format!("/sandbox/api/sessions/{session}/files?path=%2Fworkspace");
    *files.uri_mut() = format!("https://{SHARED}:{}{path}", front.port).parse().unwrap();
    files.headers_mut().insert(COOKIE, cookie.parse().unwrap());
    let (status, _, body) = (front.asks[0])(files).await.unwrap();
    assert_eq!(status, 200, "{body:?}");
    let address = format!("{SHARED}:{}/sandbox/terminal?session={session}&role=viewer", front.port);
    let fields = [(COOKIE, cookie), (ORIGIN, origin.to_str().unwrap())];
    front.terminal(&address, &fields).await.unwrap();
}

/// 20 kB of cookies and 70 fields, as a company's domain has them.
async fn large_heads(front: &Front) {
    let mut request = front.request(OWN, Method::GET, "/api/status", true, &Bytes::new());
    for n in 0..3 {
        request.headers_mut().append(COOKIE, format!("a{n}={}", "c".repeat(6500)).parse().unwrap());
    }
    for n in 0..70 {
        let name: http::HeaderName = format!("x-{n}").parse().unwrap();
        request.headers_mut().insert(name, HeaderValue::from_static("1"));
    }
    let (status, _, body) = (front.asks[0])(request).await.unwrap();
    assert_eq!(status, 200, "{body:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nginx_hands_everything_on() {
    let front = Front::start(Kind::Nginx, "nginx.conf", &[]).await;
    large_heads(&front).await;
    mixed(&front).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn haproxy_hands_everything_on() {
    let front = Front::start(Kind::Haproxy, "haproxy.cfg", &[]).await;
    large_heads(&front).await;
    below_a_path(&front).await;
    mixed(&front).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn caddy_hands_everything_on() {
    let front = Front::start(Kind::Caddy, "Caddyfile", &[]).await;
    large_heads(&front).await;
    below_a_path(&front).await;
    mixed(&front).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn below_a_path_of_another_site_everything_works() {
    let front = Front::start(Kind::Nginx, "nginx-path.conf", &[]).await;
    below_a_path(&front).await;
}

/// The login's service: who has its cookie is signed in.
async fn login() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let auth = async |headers: HeaderMap| match headers.get(COOKIE).and_then(|cookie| cookie.to_str().ok()) {
        Some(cookie) if cookie.contains("login=yes") => StatusCode::ACCEPTED,
        _ => StatusCode::UNAUTHORIZED,
    };
    let app = axum::Router::new().route("/oauth2/auth", axum::routing::any(auth));
    tokio::spawn(async move {
        loop {
            let Ok((stream, _)) = listener.accept().await else { return };
            let service = hyper_util::service::TowerToHyperService::new(app.clone());
            let serve = hyper::server::conn::http1::Builder::new();
            tokio::spawn(serve.serve_connection(hyper_util::rt::TokioIo::new(stream), service));
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_login_the_page_leads_to_it_and_programs_hear_401() {
    let login = login().await.to_string();
    let directory = tempfile::tempdir().unwrap();
    let fields = directory.path().join("broker-proxy.inc");
    fs::write(&fields, document("broker-proxy.inc", &[])).unwrap();
    let replaced = [("127.0.0.1:4180", login.as_str()), ("/etc/nginx/broker-proxy.inc", fields.to_str().unwrap())];
    let front = Front::start(Kind::Nginx, "nginx-login.conf", &replaced).await;
    let (_window, session) = session(&front).await;
    let (status, fields, _) = front.get(OWN, "/").await.unwrap();
    assert_eq!(
        (status, fields[LOCATION].to_str().unwrap()),
        (StatusCode::FOUND, &*format!("https://{OWN}:{}/oauth2/start?rd=/", front.port))
    );
    assert_eq!(front.get(OWN, "/api/status").await.unwrap().0, 401);
    let address = format!("{OWN}:{}/terminal?session={session}&role=viewer", front.port);
    assert_eq!(front.refused(&address, &[BEARER]).await.0, 401);
    let signed_in = [BEARER, (COOKIE, "login=yes")];
    front.terminal(&address, &signed_in).await.unwrap();
    for path in ["/", "/api/status"] {
        let mut request = front.request(OWN, Method::GET, path, true, &Bytes::new());
        request.headers_mut().insert(COOKIE, HeaderValue::from_static("login=yes"));
        assert_eq!((front.asks[1])(request).await.unwrap().0, 200, "{path}");
    }
}

/// What people leave out of their file, and what they are told.
#[tokio::test(flavor = "multi_thread")]
async fn each_wrong_set_up_is_told_with_its_cause() {
    const UPGRADE: (&str, &str) = ("proxy_set_header Upgrade $http_upgrade;", "");
    const CONNECTION: (&str, &str) = ("proxy_set_header Connection $broker_connection;", "");
    const VERSION: (&str, &str) = ("proxy_http_version 1.1;", "");
    const NAME: (&str, &str) = ("proxy_set_header Host $http_host;", "");
    const NO_NAME: (&str, &str) = ("proxy_set_header Host $http_host;", "proxy_set_header Host \"\";");
    for (replaced, terminal, status, code, words) in [
        (&[UPGRADE, CONNECTION][..], true, 426, "upgrade_taken_away", "hand on `Upgrade` and `Connection`"),
        (&[UPGRADE], true, 426, "upgrade_taken_away", "hand on `Upgrade` and `Connection`"),
        (&[VERSION], true, 426, "upgrade_taken_away", "speak HTTP/1.1 to the broker"),
        (&[NAME], false, 403, "foreign_host", "set `server.public_url`"),
        (&[NO_NAME], false, 400, "missing_host", "proxy_set_header Host $http_host"),
    ] {
        let front = Front::start(Kind::Nginx, "nginx.conf", replaced).await;
        let (found, told) = if terminal {
            front.refused(&format!("{OWN}:{}/terminal", front.port), &[BEARER]).await
        } else {
            let (status, _, body) = front.get(OWN, "/api/status").await.unwrap();
            (status.as_u16(), serde_json::from_slice(&body).unwrap())
        };
        assert_eq!((found, told["code"].as_str()), (status, Some(code)), "{replaced:?}: {told}");
        assert!(told["error"].as_str().unwrap().contains(words), "{replaced:?}: {told}");
        if !terminal {
            front.broker.logs("refused a request").await;
        } else {
            front.broker.logs("a proxy on the way took away").await;
        }
    }
    // The path is not taken away.
    let wrong = [("proxy_pass http://broker/;", "proxy_pass http://broker;")];
    let front = Front::start(Kind::Nginx, "nginx-path.conf", &wrong).await;
    let (status, _, body) = front.get(SHARED, "/sandbox/").await.unwrap();
    let told: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((status.as_u16(), told["code"].as_str()), (404, Some("unknown_path")), "{told}");
    assert!(told["error"].as_str().unwrap().contains("has to take that path away"), "{told}");
}
