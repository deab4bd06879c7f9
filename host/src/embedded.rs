//! The embedded sandbox server: `sandboxd`, from this very binary.
//!
//! Owns its start, its key and its heartbeat. The server is a process of its own, so that shells live through a crash or an
//! upgrade of the broker; a broker that comes back finds it by its announcement. It listens on a Unix socket in the state
//! directory, so the key never leaves that directory. When no broker is left, it ends its sandboxes by their leases and then
//! itself. Deliberately knows no more of the protocol than two cheap requests.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, PidfdFlags, Signal};
use sandboxd_gatekeeper::Gatekeeper;
use serde::Deserialize;
use tokio::io::unix::AsyncFd;
use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tokio_util::task::AbortOnDropHandle;

use sandbox_broker_core::disk;
use sandbox_broker_core::secret::Secret;

/// The hidden subcommand that runs the server.
pub const SUBCOMMAND: &str = "sandboxd";
/// This very program, even after an upgrade has replaced its file.
const PROGRAM: &str = "/proc/self/exe";
/// Bytes that are kept of what a server prints before it ends.
const LAST_WORDS: u64 = 4096;
/// The template whose sandboxes may mount file systems.
pub const FUSE_TEMPLATE: &str = "fuse";
/// The origin of its requests, and its only one. They go to the socket.
pub const ORIGIN: &str = "http://localhost";
/// What makes, lists and ends sandboxes there. Only requests to this have the key; those to the agents in sandboxes, which
/// have the same origin, do not.
pub const CONTROL_PLANE: [&str; 2] = ["http://localhost/sandboxes", "http://localhost/v2/sandboxes"];
/// Without requests and sandboxes the server ends after this time.
const IDLE_EXIT: Duration = Duration::from_secs(60);
/// A third of [`IDLE_EXIT`], so that two lost requests in a row do no harm.
const HEARTBEAT: Duration = Duration::from_secs(20);
/// Pause before a start that follows a failed one; doubled up to a heartbeat.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// Bound on the start; measured: 120 ms.
const START_DEADLINE: Duration = Duration::from_secs(30);
/// Bound on one request over the socket.
const REQUEST_DEADLINE: Duration = Duration::from_secs(5);
/// Pause between two looks for the announcement.
const LOOK: Duration = Duration::from_millis(5);
/// Bytes of its log. A longer log is moved aside; the log that was moved before is removed.
const MAX_LOG: u64 = 4 << 20;
/// Bytes of a socket's path that the kernel takes, with the zero at its end.
const MAX_SOCKET_PATH: usize = 108;

/// Why the embedded server does not run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EmbeddedError {
    /// The state directory cannot be used.
    #[error("cannot use the state directory {}: {}", path.display(), disk::explain(path, cause))]
    State {
        /// The directory or file.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// The program cannot be started.
    #[error("cannot start the embedded sandbox server: {0}")]
    Start(io::Error),
    /// It ended, or did not come up in time.
    #[error("the embedded sandbox server did not come up: {why}; its log is {}", log.display())]
    Silent {
        /// What was seen.
        why: String,
        /// Where it writes.
        log: PathBuf,
    },
}

/// A running embedded server. Dropping it stops the heartbeat, nothing else.
#[derive(Debug)]
pub struct Embedded {
    /// Its socket. It stays the same when the server has to be started again.
    pub socket: PathBuf,
    /// The key that it accepts.
    pub key: Secret,
    ports: watch::Sender<Vec<u16>>,
    other: watch::Receiver<Option<String>>,
    _heartbeat: AbortOnDropHandle<()>,
}

/// Where the server is, and how it is started and kept up.
#[derive(Debug, Clone)]
struct Supervisor {
    directory: PathBuf,
    sandboxes: usize,
    /// A name that is short enough for the kernel, however deep the directory is.
    socket: PathBuf,
    /// The open directory that makes that name valid.
    _held: Arc<OwnedFd>,
    /// It is told which server's sandboxes share this machine's network.
    gatekeeper: Gatekeeper,
}

/// What a server says of itself.
#[derive(Deserialize)]
struct Announcement {
    pid: u32,
    /// `None` for a server of an earlier version, which had no socket.
    socket: Option<PathBuf>,
    build: Option<String>,
    /// `None` for a server of an earlier version, which did not say it.
    shares_network: Option<bool>,
}

/// A server that answers.
struct Running {
    key: Secret,
    pid: Pid,
    /// Readable once the process has ended.
    process: AsyncFd<OwnedFd>,
    /// The build that serves, when it is not this one.
    other: Option<String>,
    /// Whether its sandboxes can connect to every port of this machine.
    shares_network: bool,
}

impl Embedded {
    /// Finds the server of an earlier broker under `state`, or starts one for at most `sandboxes` sandboxes. The sandboxes
    /// find `ports` of this machine's loopback on their own loopback. `gatekeeper` is told of the server while its
    /// sandboxes share this machine's network.
    ///
    /// # Errors
    /// See [`EmbeddedError`]; bubblewrap missing is the usual cause.
    pub async fn ensure(
        state: &Path,
        sandboxes: usize,
        ports: &[u16],
        gatekeeper: &Gatekeeper,
    ) -> Result<Self, EmbeddedError> {
        let supervisor = Supervisor::at(state, sandboxes, gatekeeper)?;
        let socket = supervisor.socket.clone();
        let server = supervisor.bring_up(ports).await?;
        let ports = watch::Sender::new(ports.to_vec());
        let key = server.key.clone();
        let (tell, other) = watch::channel(server.other.clone());
        let heartbeat = AbortOnDropHandle::new(tokio::spawn(supervisor.keep_up(server, ports.subscribe(), tell)));
        Ok(Embedded { socket, key, ports, other, _heartbeat: heartbeat })
    }

    /// Tells `gatekeeper` of a server that an earlier broker left under `state`. It is for a broker that needs no server,
    /// because sandboxes of the earlier one may live on.
    ///
    /// # Errors
    /// See [`EmbeddedError`].
    pub async fn beware(state: &Path, gatekeeper: &Gatekeeper) -> Result<(), EmbeddedError> {
        if !state.join("sandboxd").exists() {
            return Ok(());
        }
        let left = Supervisor::at(state, 0, gatekeeper)?.find().await.filter(|server| server.shares_network);
        let Some(server) = left else { return Ok(()) };
        gatekeeper.watch(Some(server.pid.as_raw_pid().unsigned_abs())).map_err(EmbeddedError::Start)
    }

    /// The build that serves, as long as it is not this one: after an upgrade,
    /// until the last sandbox of the earlier build has ended.
    pub fn other_build(&self) -> watch::Receiver<Option<String>> {
        self.other.clone()
    }

    /// Makes these ports of this machine's loopback available on the loopback of the sandboxes. It takes effect soon, not at
    /// once.
    pub fn forward(&self, ports: &[u16]) {
        self.ports.send_if_modified(|known| {
            let new = known != ports;
            ports.clone_into(known);
            new
        });
    }
}

impl Running {
    /// Waits for its end. It need not be a child of this process.
    async fn died(&self) {
        let _ = self.process.readable().await;
    }
}

impl Supervisor {
    fn at(state: &Path, sandboxes: usize, gatekeeper: &Gatekeeper) -> Result<Self, EmbeddedError> {
        let directory = state.join("sandboxd");
        let failed = |cause| EmbeddedError::State { path: directory.clone(), cause };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&directory).map_err(failed)?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let held = rustix::fs::open(&directory, flags, Mode::empty()).map_err(|e| failed(e.into()))?;
        let mut socket = directory.join("socket");
        if socket.as_os_str().len() >= MAX_SOCKET_PATH {
            socket = PathBuf::from(format!("/proc/self/fd/{}/socket", held.as_raw_fd()));
        }
        Ok(Supervisor { directory, sandboxes, socket, _held: Arc::new(held), gatekeeper: gatekeeper.clone() })
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn announcement(&self) -> Option<Announcement> {
        serde_json::from_slice(&fs::read(self.file("announce.json")).ok()?).ok()
    }

    /// Writes the key again if it was removed, because the requests of open sessions carry it.
    fn keep_key(&self, key: &Secret) -> io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.directory)?;
        match File::options().write(true).create_new(true).mode(0o600).open(self.file("api-key")) {
            Ok(mut file) => file.write_all(key.expose().as_bytes()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The server that answers on the socket to the key on disk.
    async fn find(&self) -> Option<Running> {
        let announced = self.announcement()?;
        announced.socket?;
        let key = Secret::new(fs::read_to_string(self.file("api-key")).ok()?.trim());
        // The kernel says who listens.
        let stream = UnixStream::connect(&self.socket).await.ok()?;
        let peer = stream.peer_cred().ok()?;
        let own = rustix::process::geteuid().as_raw();
        if peer.uid() != own && peer.uid() != 0 {
            return None;
        }
        let pid = Pid::from_raw(peer.pid()?)?;
        // Otherwise the announcement comes from an earlier server.
        if u32::try_from(pid.as_raw_pid()) != Ok(announced.pid) {
            return None;
        }
        let process = rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok()?;
        self.count_sandboxes(&key).await?;
        let build = announced.build.unwrap_or_default();
        let other = (build != sandboxd::build()).then_some(build);
        let shares_network = announced.shares_network.unwrap_or(true);
        Some(Running { key, pid, process: watched(process)?, other, shares_network })
    }

    /// Finds or starts the server, and tells it which ports to forward.
    async fn bring_up(&self, ports: &[u16]) -> Result<Running, EmbeddedError> {
        let server = match self.find().await {
            Some(found) if found.other.is_some() && self.count_sandboxes(&found.key).await == Some(0) => {
                tracing::info!("the embedded sandbox server is of another build and has no sandbox: it is replaced");
                self.end(found.pid, &found.process).await;
                self.start().await?
            }
            Some(found) => {
                let pid = found.pid.as_raw_pid();
                tracing::info!(pid, socket = %self.file("socket").display(), "embedded sandbox server found");
                if let Some(other) = &found.other {
                    tracing::warn!(
                        build = other,
                        "sandboxes are made by the embedded server of another build until none is left; then it is replaced"
                    );
                }
                found
            }
            None => {
                self.retire().await;
                self.start().await?
            }
        };
        let shared = server.shares_network.then(|| server.pid.as_raw_pid().unsigned_abs());
        if shared.is_some() {
            tracing::warn!(
                "sandboxes share this machine's network: the broker refuses their connections, other services on it do not"
            );
        }
        self.gatekeeper.watch(shared).map_err(EmbeddedError::Start)?;
        self.forward(&server.key, ports).await;
        Ok(server)
    }

    async fn start(&self) -> Result<Running, EmbeddedError> {
        let started = Instant::now();
        let unusable = |path: &Path| {
            let path = path.to_owned();
            move |cause| EmbeddedError::State { path, cause }
        };
        // The directory may have been removed while the broker ran.
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.directory);
        made.map_err(unusable(&self.directory))?;
        let log = self.file("sandboxd.log");
        self.bound_log();
        let errors = File::options().append(true).create(true).mode(0o600).open(&log).map_err(unusable(&log))?;
        let said_before = errors.metadata().map_or(0, |found| found.len());
        let mut child = Command::new(PROGRAM)
            .arg(SUBCOMMAND)
            .arg("--socket")
            .arg(self.file("socket"))
            .arg("--state-dir")
            .arg(&self.directory)
            .arg("--api-key-file")
            .arg(self.file("api-key"))
            .arg("--announce")
            .arg(self.file("announce.json"))
            .args(["--exit-when-idle", &IDLE_EXIT.as_secs().to_string()])
            .args(["--max-sandboxes", &self.sandboxes.to_string()])
            .args(["--fuse-template", FUSE_TEMPLATE])
            // The broker's environment holds its secrets, so the server gets only what finds programs and sets the log.
            .env_clear()
            .envs(["PATH", "HOME", "RUST_LOG"].into_iter().filter_map(|n| Some((n, std::env::var_os(n)?))))
            .stdin(Stdio::null())
            // The server prints here why it does not start, because its log may have no room for that.
            .stdout(Stdio::piped())
            .stderr(errors)
            // Ctrl-C at the broker's terminal is not meant for the server.
            .process_group(0)
            .spawn()
            .map_err(EmbeddedError::Start)?;
        loop {
            if let Some(found) = self.find().await {
                tracing::info!(
                    pid = child.id(),
                    ms = started.elapsed().as_millis() as u64,
                    "embedded sandbox server started"
                );
                reap(child);
                return Ok(found);
            }
            let ended = child.try_wait().map_err(EmbeddedError::Start)?;
            if ended.is_some() || started.elapsed() > START_DEADLINE {
                let said = ended.and_then(|_| last_words(&mut child));
                let logged = || {
                    let log = fs::read(&log).ok()?;
                    let new = log.get(usize::try_from(said_before).ok()?..)?;
                    Some(String::from_utf8_lossy(new).lines().last()?.to_owned())
                };
                let last = said.or_else(logged).unwrap_or_else(|| "it said nothing".to_owned());
                let why = match ended {
                    Some(status) => format!("it ended with {status}: {last}"),
                    None => format!("no answer within {} s: {last}", START_DEADLINE.as_secs()),
                };
                return Err(EmbeddedError::Silent { why, log });
            }
            sleep(LOOK).await;
        }
    }

    /// Ends a server of an earlier version, which listens on a port. If another program had that port by now, it would get
    /// the key with the first request.
    async fn retire(&self) {
        let Some(Announcement { pid, socket: None, .. }) = self.announcement() else { return };
        let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return };
        let Ok(process) = rustix::process::pidfd_open(pid, PidfdFlags::empty()) else { return };
        // Another process may have got its number since.
        let line = fs::read(format!("/proc/{}/cmdline", pid.as_raw_pid())).unwrap_or_default();
        let mut words = line.split(|byte| *byte == 0);
        if words.nth(1) != Some(SUBCOMMAND.as_bytes())
            || !words.any(|word| word == self.directory.as_os_str().as_encoded_bytes())
        {
            return;
        }
        tracing::warn!("the embedded sandbox server is of an earlier version, and is ended with its sandboxes");
        if let Some(process) = watched(process) {
            self.end(pid, &process).await;
        }
    }

    /// Asks a server to end, and waits for as long as a start may take.
    async fn end(&self, pid: Pid, process: &AsyncFd<OwnedFd>) {
        let _ = rustix::process::pidfd_send_signal(process.get_ref(), Signal::TERM);
        if tokio::time::timeout(START_DEADLINE, process.readable()).await.is_err() {
            tracing::error!(pid = pid.as_raw_pid(), "the embedded sandbox server does not end");
        }
    }

    /// Sends heartbeats, and starts the server again when it is gone. Its sandboxes are gone as well; their sessions notice
    /// that by themselves.
    async fn keep_up(
        self,
        mut server: Running,
        mut ports: watch::Receiver<Vec<u16>>,
        other: watch::Sender<Option<String>>,
    ) {
        loop {
            other.send_replace(server.other.clone());
            tokio::select! {
                () = server.died() => tracing::error!(
                    pid = server.pid.as_raw_pid(),
                    log = %self.file("sandboxd.log").display(),
                    "the broker's own sandbox server died, and its sandboxes with it; it is being started again"
                ),
                changed = ports.changed() => {
                    let now = ports.borrow_and_update().clone();
                    self.forward(&server.key, &now).await;
                    if changed.is_err() {
                        return;
                    }
                    continue;
                }
                () = sleep(HEARTBEAT) => {
                    self.bound_log();
                    match self.count_sandboxes(&server.key).await {
                        Some(0) if server.other.is_some() => {}
                        Some(_) => continue,
                        None => {
                            tracing::error!("the broker's own sandbox server runs but does not answer");
                            continue;
                        }
                    }
                }
            }
            if let Err(error) = self.keep_key(&server.key) {
                tracing::error!(%error, "cannot keep the key of the embedded sandbox server");
            }
            let mut pause = FIRST_PAUSE;
            server = loop {
                let now = ports.borrow_and_update().clone();
                match self.bring_up(&now).await {
                    Ok(server) => break server,
                    Err(error) => tracing::error!(%error, "trying again in {} ms", pause.as_millis()),
                }
                sleep(pause).await;
                pause = HEARTBEAT.min(pause * 2);
            };
        }
    }

    /// The number of living sandboxes, counted up to one. `None` when the server does not accept the key.
    async fn count_sandboxes(&self, key: &Secret) -> Option<usize> {
        let request = self.client()?.get(format!("{ORIGIN}/v2/sandboxes?limit=1"));
        let answer = request.header("x-api-key", key.expose()).send().await.ok()?;
        let list: Vec<serde_json::Value> = answer.error_for_status().ok()?.json().await.ok()?;
        Some(list.len())
    }

    async fn forward(&self, key: &Secret, ports: &[u16]) {
        let Some(client) = self.client() else { return };
        let request = client.put(format!("{ORIGIN}/host-ports")).header("x-api-key", key.expose()).json(ports);
        let answer = request.send().await.and_then(reqwest::Response::error_for_status);
        if let Err(error) = answer {
            tracing::error!(%error, "the embedded sandbox server does not take the services of this machine");
        }
    }

    fn client(&self) -> Option<reqwest::Client> {
        let client = reqwest::Client::builder().unix_socket(self.socket.clone()).no_proxy();
        client.timeout(REQUEST_DEADLINE).build().ok()
    }

    /// Moves a long log aside. The server appends, so it goes on at the new end.
    fn bound_log(&self) {
        let log = self.file("sandboxd.log");
        if fs::metadata(&log).is_ok_and(|found| found.len() > MAX_LOG) {
            let _ = fs::copy(&log, self.file("sandboxd.log.old"));
            let _ = File::options().write(true).open(&log).and_then(|log| log.set_len(0));
        }
    }
}

/// What a server that has ended printed on its standard output: why it did not start.
fn last_words(child: &mut Child) -> Option<String> {
    let mut said = String::new();
    child.stdout.take()?.take(LAST_WORDS).read_to_string(&mut said).ok()?;
    (!said.is_empty()).then_some(said)
}

fn watched(process: OwnedFd) -> Option<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` keeps its descriptor open for as long as it lives, and nobody takes it out of the `AsyncFd`.
    unsafe { AsyncFd::register(process) }.ok()
}

/// Waits for the server in a thread, so that it leaves no zombie when it ends before the broker.
fn reap(mut child: Child) {
    let name = "sandboxd-reaper".to_owned();
    // Without the thread, a zombie may stay. That is no reason to fail.
    let _ = std::thread::Builder::new().name(name).spawn(move || child.wait());
}
