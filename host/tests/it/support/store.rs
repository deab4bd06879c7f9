//! A container of a real service mounted in the sandboxes of a real server, and
//! the terminal of a session that has it.
//!
//! For Azure the program that mounts is blobfuse2 where it is installed, and
//! otherwise what stands in for it in `tests/standin`; the first line that is
//! printed says which.

use std::borrow::Borrow;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Once, Weak};
use std::time::Duration;

use tokio::sync::Mutex;

use super::azurite::{ACCOUNT, KEY};
use super::s3::{KEY_ID, REGION, SECRET_KEY};
use super::service::{Kind, Service};
use super::{Broker, Client, Closed, Frame, Sandboxd};

/// Where the storage is mounted.
pub const FILES: &str = "/workspace/files";

/// Where the host keeps what a mount needs, inside a sandbox.
const WORKSPACES: &str = "var/lib/sandbox-broker";

/// The program that mounts; none, with words, where it cannot run. Under CI
/// that fails.
fn mounter(kind: Kind) -> Option<String> {
    static SAID: [Once; 2] = [Once::new(), Once::new()];
    let (names, said): (&[(&str, &str)], _) = match kind {
        Kind::Azure => (&[("BLOBFUSE2", ""), ("BLOBFUSE2_STAND_IN", ", which stands in for blobfuse2")], &SAID[0]),
        Kind::S3 => (&[("RCLONE", "")], &SAID[1]),
    };
    let found = names.iter().find_map(|(name, what)| Some((std::env::var(name).ok()?, what)));
    let missing = match (std::path::Path::new("/dev/fuse").exists(), found) {
        (true, Some((program, what))) => {
            said.call_once(|| println!("{kind:?} storage is mounted by {program}{what}"));
            return Some(program);
        }
        (true, None) => names.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(" and "),
        (false, _) => "/dev/fuse".to_owned(),
    };
    assert!(std::env::var_os("CI").is_none(), "{missing} is missing: run `cargo xtask test`");
    println!("skipped: {missing} is missing: run `cargo xtask test`");
    None
}

/// A service of a kind for all tests that run at the moment; ends with the last
/// of them.
async fn shared(kind: Kind) -> Option<Arc<Service>> {
    static RUNNING: [Mutex<Weak<Service>>; 2] = [Mutex::const_new(Weak::new()), Mutex::const_new(Weak::new())];
    let mut running = RUNNING[kind as usize].lock().await;
    if let Some(service) = running.upgrade() {
        return Some(service);
    }
    let service = Arc::new(Service::start(kind).await?);
    *running = Arc::downgrade(&service);
    Some(service)
}

/// A container of a service, a server of sandboxes that can mount, and what
/// names both in `broker.toml`.
pub struct Store<A = Arc<Service>> {
    pub service: A,
    pub server: Sandboxd,
    pub container: String,
    pub program: String,
}

impl Store {
    pub async fn new(kind: Kind) -> Option<Self> {
        let program = mounter(kind)?;
        Some(Store::of(program, shared(kind).await?).await)
    }

    pub async fn azure() -> Option<Self> {
        Self::new(Kind::Azure).await
    }

    pub async fn s3() -> Option<Self> {
        Self::new(Kind::S3).await
    }
}

impl Store<Service> {
    /// With a service of its own, for a test that stops it.
    pub async fn alone(kind: Kind) -> Option<Self> {
        let program = mounter(kind)?;
        Some(Store::of(program, Service::start(kind).await?).await)
    }

    /// With a service of its own that the test has started.
    pub async fn alone_with(kind: Kind, service: impl AsyncFnOnce() -> Option<Service>) -> Option<Self> {
        let program = mounter(kind)?;
        Some(Store::of(program, service().await?).await)
    }
}

impl<A: Borrow<Service>> Store<A> {
    pub async fn of(program: String, service: A) -> Self {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let container = format!("container-{}", MADE.fetch_add(1, Ordering::Relaxed));
        service.borrow().make(&container).await;
        let port = service.borrow().port().to_string();
        let server = Sandboxd::start_with(&["--forward-port", &port]).await;
        Store { service, server, container, program }
    }

    pub fn service(&self) -> &Service {
        self.service.borrow()
    }

    pub fn kind(&self) -> Kind {
        match self.service() {
            Service::Azure(_) => Kind::Azure,
            Service::S3(_) => Kind::S3,
        }
    }

    /// A whole configuration: `sandbox` are lines of its section, `settings` of
    /// the storage's.
    pub fn config(&self, sandbox: &str, settings: &str) -> String {
        let boxes = self.server.section("box") + "template = \"fuse\"\n";
        let provider = match self.kind() {
            Kind::Azure => "azure",
            Kind::S3 => "s3",
        };
        format!(
            "[server]\nlisten = \"127.0.0.1:0\"\n\
             [sandbox]\nprovider = \"box\"\n{sandbox}\n{boxes}\
             [storage]\nenabled = true\nprovider = \"{provider}\"\npath = \"{FILES}\"\n{}{settings}\n",
            self.section()
        )
    }

    /// The section of the storage, to which settings can be added.
    pub fn section(&self) -> String {
        let (endpoint, container, program) = (self.service().endpoint(), &self.container, &self.program);
        match self.kind() {
            Kind::Azure => {
                let origin = endpoint.strip_suffix(&format!("/{ACCOUNT}")).unwrap();
                format!(
                    "[providers.azure]\nplugin = \"azure-blobfuse\"\nallow = [\"{origin}\"]\n\
                     secrets.account_key = {{ value = \"{KEY}\", to = [\"{endpoint}\"], \
                     carry = {{ shared_key = \"{ACCOUNT}\" }}, sas = {{ containers = [\"{container}\"] }} }}\n\
                     [providers.azure.config]\naccount = \"{ACCOUNT}\"\ncontainer = \"{container}\"\n\
                     endpoint = \"{endpoint}\"\nblobfuse2 = \"{program}\"\n"
                )
            }
            Kind::S3 => format!(
                "[providers.s3]\nplugin = \"s3\"\nallow = [\"{endpoint}\"]\n\
                 secrets.secret_key = {{ value = \"{SECRET_KEY}\", to = [\"{endpoint}\"], \
                 carry = {{ sigv4 = {{ key_id = \"{KEY_ID}\", region = \"{REGION}\", service = \"sts\" }} }} }}\n\
                 [providers.s3.config]\nbucket = \"{container}\"\nregion = \"{REGION}\"\n\
                 endpoint = \"{endpoint}\"\nrclone = \"{program}\"\n"
            ),
        }
    }

    pub async fn broker(&self) -> Broker {
        Broker::start(&self.config("", "")).await
    }

    /// What a blob holds, as text.
    pub async fn text(&self, blob: &str) -> Option<String> {
        Some(String::from_utf8(self.service().read(&self.container, blob).await?).unwrap())
    }

    /// The status with which Azure answers a list by `token`.
    pub async fn status_by(&self, token: &str) -> u16 {
        let url =
            format!("{}/{}?restype=container&comp=list&{token}", self.service().azurite().endpoint(), self.container);
        reqwest::get(url).await.unwrap().status().as_u16()
    }

    /// The mount in the only sandbox of the server.
    pub async fn mount(&self) -> Mount {
        let mut sandboxes = self.server.sandboxes().await;
        assert_eq!(sandboxes.len(), 1);
        let sandbox = self.server.root(&sandboxes.remove(0));
        let mut mounts: Vec<_> = std::fs::read_dir(sandbox.join(WORKSPACES)).unwrap().map(|e| e.unwrap()).collect();
        assert_eq!(mounts.len(), 1);
        let workspace = mounts.remove(0).path();
        let inside = format!("/{WORKSPACES}/{}", workspace.file_name().unwrap().to_str().unwrap());
        Mount { sandbox, workspace, inside }
    }
}

/// A mount, seen from the host.
pub struct Mount {
    /// The sandbox's root directory.
    pub sandbox: PathBuf,
    /// The mount's directory in it.
    pub workspace: PathBuf,
    /// The same as the sandbox names it.
    pub inside: String,
}

impl Mount {
    /// The token for Azure that the sandbox has at this moment.
    pub fn token(&self) -> String {
        let config: serde_json::Value =
            serde_json::from_slice(&std::fs::read(self.workspace.join("config.yaml")).unwrap()).unwrap();
        config["azstorage"]["sas"].as_str().unwrap().to_owned()
    }

    /// The credentials for S3 that the sandbox has at this moment.
    pub fn key(&self) -> super::s3::Key {
        let text = std::fs::read_to_string(self.workspace.join("credentials")).unwrap();
        let part = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix("='")?.strip_suffix('\''));
            line.unwrap().to_owned()
        };
        super::s3::Key { id: part("id"), secret: part("secret"), token: part("token") }
    }

    /// The program that serves it, by its number on the host.
    pub fn pid(&self) -> u32 {
        let marks = ["--config-file=", "--config="].map(|flag| format!("{flag}{}/", self.inside));
        let serves = |pid: &u32| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let mut words = line.split(|byte| *byte == 0);
            words.any(|word| marks.iter().any(|mark| word.starts_with(mark.as_bytes())))
        };
        let serving: Vec<u32> = processes().filter(serves).collect();
        assert_eq!(serving.len(), 1, "{marks:?}");
        serving[0]
    }

    /// Every process of the sandbox, by its number on the host.
    pub fn processes(&self) -> Vec<u32> {
        let namespace = |pid: &u32| Some(std::fs::metadata(format!("/proc/{pid}/ns/pid")).ok()?.ino());
        let ours = namespace(&self.pid());
        processes().filter(|pid| namespace(pid) == ours).collect()
    }

    /// Runs a program as the host's root where the sandbox's mounts are.
    pub fn enter(&self, arguments: &[&str]) {
        let pid = self.pid().to_string();
        let ran =
            std::process::Command::new("nsenter").args(["-t", &pid, "-m", "--"]).args(arguments).output().unwrap();
        assert!(ran.status.success(), "{arguments:?}: {ran:?}");
    }
}

/// All processes of the machine.
fn processes() -> impl Iterator<Item = u32> {
    std::fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

/// A terminal that runs one script after the other.
pub struct Shell {
    pub client: Client,
    scripts: u32,
}

impl Shell {
    /// A new session, its storage mounted.
    pub async fn open(broker: &Broker) -> Self {
        let mut client = broker.connect().await;
        client.ready().await;
        let mounted = format!(" mounted at {FILES}");
        let is = |frame: &Frame| matches!(frame, Frame::Status(told) if told.contains(&mounted));
        assert!(client.said.iter().any(is), "{:?}", client.said);
        // A shell that draws nothing, so that what it sends is what scripts print.
        client.input("stty -echo -onlcr; exec env PS1= PS2= bash --norc --noediting +m\n").await;
        let mut shell = Shell { client, scripts: 0 };
        shell.run("").await;
        shell
    }

    /// Runs a script; its status and what it printed.
    pub async fn run(&mut self, script: &str) -> (i32, String) {
        self.start(script).await;
        self.finish().await
    }

    /// Runs a script that must succeed.
    pub async fn ok(&mut self, script: &str) -> String {
        let (status, printed) = self.run(script).await;
        assert_eq!(status, 0, "{script}: {printed}");
        printed
    }

    /// Begins to run a script.
    pub async fn start(&mut self, script: &str) {
        self.scripts += 1;
        self.client.input(&format!("{{\n{script}\n}} 2>&1 </dev/null\n")).await;
        self.client.input(&format!("printf '\\036%d:%d\\036' {} $?\n", self.scripts)).await;
    }

    /// Waits for the end of what was begun last.
    pub async fn finish(&mut self) -> (i32, String) {
        let mark = format!("\u{1e}{}:", self.scripts);
        loop {
            let found = self.client.screen.split_once(&mark).and_then(|(printed, rest)| {
                let (status, rest) = rest.split_once('\u{1e}')?;
                Some((status.parse().unwrap(), printed.to_owned(), rest.to_owned()))
            });
            if let Some((status, printed, rest)) = found {
                self.client.screen = rest;
                return (status, printed);
            }
            if let Err(closed) = self.client.next().await {
                panic!("{closed:?}; said {:?}; screen {:?}", self.client.said, self.client.screen);
            }
        }
    }

    /// Prints something now and then, so that waiting for long is no silence.
    pub async fn ticks(&mut self) {
        self.ok("while sleep 5; do echo tick; done &").await;
    }

    /// Waits until a status that holds `text` was told; all of it.
    pub async fn told(&mut self, text: &str) -> String {
        let began = std::time::Instant::now();
        loop {
            let found = self.client.said.iter().find_map(|frame| match frame {
                Frame::Status(told) if told.contains(text) => Some(told.clone()),
                _ => None,
            });
            if let Some(told) = found {
                return told;
            }
            assert!(began.elapsed() < LONG, "{text:?} was not told; said {:?}", self.client.said);
            if let Err(closed) = self.client.next().await {
                panic!("{closed:?} before {text:?} was told; said {:?}", self.client.said);
            }
        }
    }

    /// Leaves by `exit`, and waits for all that follows.
    pub async fn exit(mut self) -> (Closed, Client) {
        self.client.input("exit\n").await;
        let closed = self.client.closed().await;
        (closed, self.client)
    }
}

/// For what takes a token's life or a few looks at a mount.
const LONG: Duration = Duration::from_secs(150);
