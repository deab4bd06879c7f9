//! A container of a real blob service mounted in the sandboxes of a real
//! server, and the terminal of a session that has it.
//!
//! The program that mounts is blobfuse2 where it is installed, and otherwise
//! what stands in for it in `tests/standin`; the first line that is printed
//! says which.

use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Once, Weak};
use std::time::Duration;

use tokio::sync::Mutex;

use super::azurite::{ACCOUNT, Azurite, KEY};
use super::{Broker, Client, Closed, Frame, Sandboxd};

/// Where the storage is mounted.
pub const FILES: &str = "/workspace/files";

/// Where the host keeps what a mount needs, inside a sandbox.
const WORKSPACES: &str = "var/lib/sandbox-broker";

/// The program that mounts; none, with words, where it cannot run. Under CI
/// that fails.
fn blobfuse2() -> Option<String> {
    static SAID: Once = Once::new();
    let found = [("BLOBFUSE2", ""), ("BLOBFUSE2_STAND_IN", ", which stands in for blobfuse2")];
    let found = found.into_iter().find_map(|(name, what)| Some((std::env::var(name).ok()?, what)));
    let missing = if !std::path::Path::new("/dev/fuse").exists() {
        "/dev/fuse"
    } else if found.is_none() {
        "BLOBFUSE2 and BLOBFUSE2_STAND_IN"
    } else {
        let (program, what) = found?;
        SAID.call_once(|| println!("storage is mounted by {program}{what}"));
        return Some(program);
    };
    assert!(std::env::var_os("CI").is_none(), "{missing} is missing: run `cargo xtask test`");
    println!("skipped: {missing} is missing: run `cargo xtask test`");
    None
}

/// A service for all tests that run at the moment; ends with the last of them.
async fn service() -> Option<Arc<Azurite>> {
    static RUNNING: Mutex<Weak<Azurite>> = Mutex::const_new(Weak::new());
    let mut running = RUNNING.lock().await;
    if let Some(azurite) = running.upgrade() {
        return Some(azurite);
    }
    let azurite = Arc::new(Azurite::start().await?);
    *running = Arc::downgrade(&azurite);
    Some(azurite)
}

/// A container of a service, a server of sandboxes that can mount, and what
/// names both in `broker.toml`.
pub struct Store<A = Arc<Azurite>> {
    pub azurite: A,
    pub server: Sandboxd,
    pub container: String,
    pub program: String,
}

impl Store {
    pub async fn new() -> Option<Self> {
        let program = blobfuse2()?;
        Some(Store::of(program, service().await?).await)
    }
}

impl Store<Azurite> {
    /// With a service of its own, for a test that stops it.
    pub async fn alone() -> Option<Self> {
        let program = blobfuse2()?;
        Some(Store::of(program, Azurite::start().await?).await)
    }
}

impl<A: std::borrow::Borrow<Azurite>> Store<A> {
    pub async fn of(program: String, azurite: A) -> Self {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let container = format!("container-{}", MADE.fetch_add(1, Ordering::Relaxed));
        azurite.borrow().make_container(&container).await;
        let port = azurite.borrow().port().to_string();
        let server = Sandboxd::start_with(&["--forward-port", &port]).await;
        Store { azurite, server, container, program }
    }

    pub fn azurite(&self) -> &Azurite {
        self.azurite.borrow()
    }

    /// A whole configuration: `sandbox` are lines of its section, `settings` of
    /// the storage's.
    pub fn config(&self, sandbox: &str, settings: &str) -> String {
        let boxes = self.server.section("box") + "template = \"fuse\"\n";
        let (endpoint, container, program) = (self.azurite().endpoint(), &self.container, &self.program);
        let origin = endpoint.strip_suffix(&format!("/{ACCOUNT}")).unwrap();
        format!(
            "[server]\nlisten = \"127.0.0.1:0\"\n\
             [sandbox]\nprovider = \"box\"\n{sandbox}\n{boxes}\
             [storage]\nenabled = true\nprovider = \"azure\"\npath = \"{FILES}\"\n\
             [providers.azure]\nplugin = \"azure-blobfuse\"\nallow = [\"{origin}\"]\n\
             secrets.account_key = {{ value = \"{KEY}\", to = [\"{endpoint}\"], \
             carry = {{ shared_key = \"{ACCOUNT}\" }}, sas = {{ containers = [\"{container}\"] }} }}\n\
             [providers.azure.config]\naccount = \"{ACCOUNT}\"\ncontainer = \"{container}\"\n\
             endpoint = \"{endpoint}\"\nblobfuse2 = \"{program}\"\n{settings}\n"
        )
    }

    pub async fn broker(&self) -> Broker {
        Broker::start(&self.config("", "")).await
    }

    /// What a blob holds, as text.
    pub async fn text(&self, blob: &str) -> Option<String> {
        Some(String::from_utf8(self.azurite().read(&self.container, blob).await?).unwrap())
    }

    /// The status with which the service answers a list by `token`.
    pub async fn status_by(&self, token: &str) -> u16 {
        let url = format!("{}/{}?restype=container&comp=list&{token}", self.azurite().endpoint(), self.container);
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
    /// The token that the sandbox has at this moment.
    pub fn token(&self) -> String {
        let config: serde_json::Value =
            serde_json::from_slice(&std::fs::read(self.workspace.join("config.yaml")).unwrap()).unwrap();
        config["azstorage"]["sas"].as_str().unwrap().to_owned()
    }

    /// The program that serves it, by its number on the host.
    pub fn pid(&self) -> u32 {
        let mark = format!("--config-file={}/config.yaml", self.inside);
        let serves = |pid: &u32| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            line.split(|byte| *byte == 0).any(|word| word == mark.as_bytes())
        };
        let serving: Vec<u32> = processes().filter(serves).collect();
        assert_eq!(serving.len(), 1, "{mark}");
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
        let mounted = format!("Azure Blob Storage mounted at {FILES}");
        let is = |frame: &Frame| matches!(frame, Frame::Status(told) if told.starts_with(&mounted));
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
