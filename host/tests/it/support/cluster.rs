//! A real one-node Kubernetes, and namespaces of the tests' own in it, whose accounts have the rights that
//! `contrib/kubernetes/rbac.yaml` gives and no others.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::Method;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client, Error};
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use super::eventually;

const RIGHTS: &str = include_str!("../../../../contrib/kubernetes/rbac.yaml");

/// The image that every cluster has.
pub const IMAGE: &str = "local.invalid/shell:1";

/// A start on a machine that does other work as well.
const START: Duration = Duration::from_secs(200);

/// Lines of the cluster's program that nobody has read. It says one for each that it is told.
const LINES: usize = 4;

/// A running cluster. It ends with this value, or with the process of the tests.
pub struct Cluster {
    /// Address of the API server.
    pub address: String,
    /// Its folder, with `ca.crt`, `pki/` and `log/`.
    pub run: PathBuf,
    admin: String,
    child: Child,
    told: Mutex<(ChildStdin, Receiver<String>)>,
    client: Client<HttpsConnector<HttpConnector>, Full<bytes::Bytes>>,
}

impl Cluster {
    /// One for all tests that leave it as it is; none, with words, where the machine cannot have it.
    pub async fn shared() -> Option<Arc<Self>> {
        static SHARED: OnceCell<Option<Arc<Cluster>>> = OnceCell::const_new();
        SHARED.get_or_init(async || Self::start().await.map(Arc::new)).await.clone()
    }

    /// One of the test's own, whose parts it may stop.
    pub async fn start() -> Option<Self> {
        let (Some(program), Some(parts)) = (std::env::var_os("KUBERNETES"), std::env::var_os("KUBERNETES_PARTS"))
        else {
            assert!(std::env::var_os("CI").is_none(), "KUBERNETES is not set: run `cargo xtask test`");
            println!("SKIPPED: KUBERNETES is not set: run `cargo xtask test`, which builds it");
            return None;
        };
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("kube-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let run = std::env::temp_dir().join(name);
        let mut child = Command::new(program)
            .arg(parts)
            .arg(&run)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the cluster's program starts");
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let (tell, told) = sync_channel(LINES);
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if tell.send(line).is_err() {
                    return;
                }
            }
        });
        let (ready, told) = tokio::task::spawn_blocking(move || (told.recv_timeout(START), told)).await.unwrap();
        let ready = ready.expect("a cluster within the time; its words are above");
        let ready: Value = serde_json::from_str(ready.strip_prefix("ready ").expect("it is ready")).unwrap();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(run.join("ca.crt")).unwrap()).unwrap();
        let tls = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_only().enable_http1().build();
        Some(Cluster {
            address: ready["address"].as_str().unwrap().to_owned(),
            admin: ready["token"].as_str().unwrap().to_owned(),
            run,
            child,
            told: Mutex::new((input, told)),
            // No connection is kept: it would belong to the runtime of the test that opened it.
            client: Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector),
        })
    }

    fn tell(&self, verb: &str, part: &str, answer: &str) {
        let mut told = self.told.lock().unwrap();
        writeln!(told.0, "{verb} {part}").unwrap();
        assert_eq!(told.1.recv_timeout(Duration::from_secs(30)).unwrap(), format!("{answer} {part}"));
    }

    /// The administrator's token.
    pub fn admin(&self) -> &str {
        &self.admin
    }

    /// Kills a part: `apiserver`, `kubelet` and the like. Containers go on.
    pub fn stop(&self, part: &str) {
        self.tell("stop", part, "stopped");
    }

    /// Starts it again.
    pub fn resume(&self, part: &str) {
        self.tell("start", part, "started");
    }

    /// Kills all that runs on the node, containers included, and starts what belongs to it again.
    pub fn restart_node(&self) {
        self.tell("restart", "node", "restarted");
    }

    /// A request of the administrator's; a body that begins with no brace is YAML.
    pub async fn ask(&self, method: Method, path: &str, body: &str) -> (u16, Value) {
        self.ask_by(&self.admin, method, path, body).await
    }

    /// The same by another token.
    pub async fn ask_by(&self, token: &str, method: Method, path: &str, body: &str) -> (u16, Value) {
        let form = if method == Method::PATCH {
            "application/merge-patch+json"
        } else if body.is_empty() || body.starts_with('{') {
            "application/json"
        } else {
            "application/yaml"
        };
        let request = http::Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", form)
            .header("accept", "application/json");
        let answer = match self.send(token, request, body).await {
            Ok(answer) => answer,
            Err(error) => return (0, Value::String(format!("{error:?}"))),
        };
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        (status, serde_json::from_slice(&body).unwrap_or_default())
    }

    /// Sends a request whose URI is a path.
    pub async fn send(
        &self,
        token: &str,
        request: http::request::Builder,
        body: &str,
    ) -> Result<http::Response<Incoming>, Error> {
        let url = format!("{}{}", self.address, request.uri_ref().unwrap());
        let request = request
            .uri(url)
            .header("authorization", format!("Bearer {token}"))
            .body(Full::new(bytes::Bytes::copy_from_slice(body.as_bytes())))
            .unwrap();
        self.client.request(request).await
    }

    /// As [`ask`](Self::ask), of what must work.
    pub async fn must(&self, method: Method, path: &str, body: &str) -> Value {
        let (status, value) = self.ask(method.clone(), path, body).await;
        assert!((200..300).contains(&status), "{method} {path}: {status} {value}");
        value
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // It removes what it made, so it is asked to end and waited for.
        let pid = self.child.id().to_string();
        let _ = Command::new("kill").args(["-s", "TERM", &pid]).status();
        let _ = self.child.wait();
    }
}

/// A Pod of somebody else's that the Pod Security Standard `restricted` admits, as the body of a request.
pub fn pod(name: &str, labels: &Value) -> String {
    let security = json!({
        "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] }, "runAsNonRoot": true, "runAsUser": 1,
        "seccompProfile": { "type": "RuntimeDefault" },
    });
    let container = json!({ "name": "c", "image": IMAGE, "imagePullPolicy": "Never", "securityContext": security });
    json!({ "metadata": { "name": name, "labels": labels }, "spec": { "containers": [container] } }).to_string()
}

/// A namespace of a test's own, with an account that has the shipped rights.
pub struct Namespace {
    pub cluster: Arc<Cluster>,
    pub name: String,
    /// Where the token is.
    pub directory: tempfile::TempDir,
}

impl Namespace {
    /// One in the shared cluster.
    pub async fn new() -> Option<Self> {
        Some(Self::within(Cluster::shared().await?).await)
    }

    /// One in this cluster. It admits what the Pod Security Standard `restricted` admits.
    pub async fn within(cluster: Arc<Cluster>) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("test-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let labels = json!({ "pod-security.kubernetes.io/enforce": "restricted" });
        let made = json!({ "metadata": { "name": name, "labels": labels } }).to_string();
        cluster.must(Method::POST, "/api/v1/namespaces", &made).await;
        let rights = RIGHTS.replace("namespace: sandboxes", &format!("namespace: {name}"));
        for document in rights.split("\n---\n") {
            let collection = match document.lines().find_map(|line| line.strip_prefix("kind: ")).unwrap() {
                "ServiceAccount" => format!("/api/v1/namespaces/{name}/serviceaccounts"),
                "Role" => format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{name}/roles"),
                "RoleBinding" => format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{name}/rolebindings"),
                other => panic!("{other} in the manifest"),
            };
            cluster.must(Method::POST, &collection, document).await;
        }
        let default = format!("/api/v1/namespaces/{name}/serviceaccounts/default");
        eventually("the namespace's own account", async || {
            (cluster.ask(Method::GET, &default, "").await.0 == 200).then_some(())
        })
        .await;
        let namespace = Namespace { cluster, name, directory: tempfile::tempdir().unwrap() };
        let token = namespace.token(3600).await;
        namespace.put_token(&token);
        namespace
    }

    /// A new token of the broker's account.
    pub async fn token(&self, seconds: u32) -> String {
        let path = format!("/api/v1/namespaces/{}/serviceaccounts/sandbox-broker/token", self.name);
        let wish = json!({ "spec": { "expirationSeconds": seconds } }).to_string();
        let made = self.cluster.must(Method::POST, &path, &wish).await;
        made["status"]["token"].as_str().unwrap().to_owned()
    }

    /// A new token that is good until [`revoke`](Self::revoke) of the same name.
    pub async fn revocable_token(&self, name: &str) -> String {
        let secrets = format!("/api/v1/namespaces/{}/secrets", self.name);
        self.cluster.must(Method::POST, &secrets, &json!({ "metadata": { "name": name } }).to_string()).await;
        let path = format!("/api/v1/namespaces/{}/serviceaccounts/sandbox-broker/token", self.name);
        let bound = json!({ "apiVersion": "v1", "kind": "Secret", "name": name });
        let wish = json!({ "spec": { "boundObjectRef": bound } }).to_string();
        let made = self.cluster.must(Method::POST, &path, &wish).await;
        made["status"]["token"].as_str().unwrap().to_owned()
    }

    /// Ends the life of a token.
    pub async fn revoke(&self, name: &str) {
        let secret = format!("/api/v1/namespaces/{}/secrets/{name}", self.name);
        self.cluster.must(Method::DELETE, &secret, "").await;
    }

    fn link(&self) -> PathBuf {
        self.directory.path().join("token")
    }

    /// Puts a token where the broker reads it, as a kubelet does: `token` leads to `..data/token`, and `..data` to a folder
    /// that is exchanged.
    pub fn put_token(&self, token: &str) {
        use std::os::unix::fs::{PermissionsExt as _, symlink};
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let at = |name: &str| self.directory.path().join(name);
        let folder = format!("..{}", NEXT.fetch_add(1, Ordering::Relaxed));
        std::fs::create_dir(at(&folder)).unwrap();
        std::fs::write(at(&folder).join("token"), token).unwrap();
        std::fs::set_permissions(at(&folder).join("token"), std::fs::Permissions::from_mode(0o600)).unwrap();
        symlink(&folder, at("..data_new")).unwrap();
        std::fs::rename(at("..data_new"), at("..data")).unwrap();
        if !self.link().exists() {
            symlink("..data/token", self.link()).unwrap();
        }
    }

    /// A section of `broker.toml` for this namespace; `settings` are more of the plugin's.
    pub fn section(&self, name: &str, settings: &str) -> String {
        self.section_by(&self.cluster.address, &self.cluster.run.join("ca.crt"), name, settings)
    }

    /// The same, by a proxy in front of the API server.
    pub fn section_by(&self, url: &str, ca: &Path, name: &str, settings: &str) -> String {
        let (token, namespace) = (self.link(), &self.name);
        format!(
            "[providers.{name}]\nplugin = \"kubernetes\"\nallow = [{url:?}]\n\
             [providers.{name}.tls]\nca = {ca:?}\n\
             [providers.{name}.secrets.token]\nvalue = \"${{file:{}}}\"\nto = [{url:?}]\ncarry = \"bearer\"\n\
             [providers.{name}.config]\napi_url = {url:?}\nnamespace = {namespace:?}\nimage = {IMAGE:?}\n\
             image_pull_policy = \"Never\"\n{settings}\n",
            token.display()
        )
    }

    /// The path of its Pods, or of one.
    pub fn path(&self, pod: &str) -> String {
        format!("/api/v1/namespaces/{}/pods{}{pod}", self.name, if pod.is_empty() { "" } else { "/" })
    }

    /// All Pods, as objects.
    pub async fn pods(&self) -> Vec<Value> {
        let (_, list) = self.cluster.ask(Method::GET, &self.path(""), "").await;
        list["items"].as_array().cloned().unwrap_or_default()
    }

    /// Waits until there are as many Pods as this.
    pub async fn has(&self, count: usize) {
        eventually(&format!("{count} Pods"), async || (self.pods().await.len() == count).then_some(())).await;
    }

    /// The name of its only Pod.
    pub async fn only(&self) -> String {
        let pods = self.pods().await;
        let [pod] = &pods[..] else { panic!("{} Pods", pods.len()) };
        pod["metadata"]["name"].as_str().unwrap().to_owned()
    }
}
