//! How sandboxes reach the network: one choice for the whole server, and one process per sandbox that carries its
//! connections.
//!
//! A sandbox with a network of its own has a network namespace, which [`sandboxd_init`] makes. One process of
//! [slirp4netns](https://github.com/rootless-containers/slirp4netns) per sandbox makes its connections from the
//! server's machine. Owns that process, its arguments and its end. Knows nothing of isolation, leases or the API.

mod forward;
mod resolver;
mod uplink;

use std::fs::{self, File};
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Mutex;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, Signal};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::net::{TcpListener, UnixStream};
use tokio::process::{ChildStderr, Command};

use self::forward::Forwards;
pub(crate) use self::resolver::resolver;
pub(crate) use self::uplink::Uplink;
use crate::complaint;
use crate::link;
use sandbox_stdx::lock::lock;
use sandboxd_init::addresses::PREFIX_V4;
use sandboxd_init::invocation::{ARGUMENT, OOM_SCORE_ADJUSTMENT, OWN_NETWORK};
use sandboxd_init::wire::{FromNetwork, Inbox, WireError, into_errno};

/// How long it may take until a namespace and its way out are ready. Measured: 40 ms on an idle machine.
const DEADLINE: Duration = Duration::from_secs(20);

/// Files that the process of one sandbox may open. Each connection is one. A flood of connections ends at this bound
/// and harms nobody else.
const MAX_FILES: u64 = 1024;

/// Bytes of a packet: the most that slirp4netns takes. Every packet costs a system call.
const MTU: u16 = 65520;

/// The network device inside that leads out.
const DEVICE: &str = "tap0";

/// What network sandboxes have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Network {
    /// One of their own, with a way out. They reach neither this machine's own addresses, nor its link, nor each other.
    Isolated,
    /// The network of this machine, including its loopback. They reach each other.
    Shared,
    /// Their own loopback and nothing else.
    None,
}

/// Why a sandbox has no network.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// The program is not there.
    #[error("cannot run {program}: install slirp4netns (Debian package slirp4netns)")]
    Program {
        /// The program.
        program: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The kernel gave no namespace.
    #[error("cannot make a network namespace: {0}")]
    Namespace(String),
    /// The program ended, or was not ready in time.
    #[error("{program} gives no network: {complaint}")]
    NoWayOut {
        /// The program.
        program: PathBuf,
        /// What it said.
        complaint: String,
    },
}

/// How a server's sandboxes get their networks.
#[derive(Debug)]
pub(crate) struct Networks {
    pub(crate) mode: Network,
    slirp4netns: PathBuf,
    /// Ports of this machine's loopback that sandboxes find on theirs.
    ports: Mutex<Vec<u16>>,
}

/// The server's end of the socket over which a new namespace announces that it is ready. If the server is not root, the
/// process in the namespace waits until this is dropped.
#[derive(Debug)]
pub(crate) struct Announcement(UnixStream);

impl Networks {
    /// Takes the network that is wanted. If none is named, takes the best one that this machine offers, and logs a
    /// warning if it is not an isolated one. `init` is the program that makes namespaces.
    ///
    /// # Errors
    /// [`NetworkError`] if an isolated network is wanted and this machine cannot provide it.
    pub(crate) async fn choose(
        wanted: Option<Network>,
        slirp4netns: PathBuf,
        ports: Vec<u16>,
        init: &Path,
    ) -> Result<Self, NetworkError> {
        let mode = wanted.unwrap_or(Network::Isolated);
        let mut networks = Self { mode, slirp4netns, ports: Mutex::new(ports) };
        if networks.mode == Network::Isolated
            && let Err(error) = networks.probe(init).await
        {
            if wanted.is_some() {
                return Err(error);
            }
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "sandboxes share this machine's network: they reach its loopback and each other"
            );
            networks.mode = Network::Shared;
        }
        Ok(networks)
    }

    /// Makes a network and removes it again, to learn whether this machine can.
    async fn probe(&self, init: &Path) -> Result<(), NetworkError> {
        let mut command = Command::new(init);
        let announcement = self.prepare(&mut command)?;
        command.stdin(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let spawned = command.spawn();
        // The command holds the other end of the announcement.
        drop(command);
        let mut keeper = spawned.map_err(namespace_error)?;
        let stderr = keeper.stderr.take();
        let up = self.lead_out(keeper.id(), announcement, Vec::new()).await;
        let _ = keeper.start_kill();
        let _ = keeper.wait().await;
        match up {
            Ok(uplink) => uplink.end().await,
            Err(NetworkError::Namespace(_)) => return Err(NetworkError::Namespace(last_words(stderr).await)),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Sets the ports of this machine's loopback that new sandboxes find on their own loopback.
    pub(crate) fn forward(&self, ports: Vec<u16>) {
        *lock(&self.ports) = ports;
    }

    /// Changes a command of the init's program so that the process first enters a network of its own. Arguments that
    /// are added later name the program that the process then becomes.
    ///
    /// # Errors
    /// [`NetworkError::Namespace`].
    pub(crate) fn prepare(&self, command: &mut Command) -> Result<Announcement, NetworkError> {
        let socket = || {
            let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
            ours.set_nonblocking(true)?;
            Ok((UnixStream::from_std(ours)?, theirs))
        };
        let (ours, theirs) = socket().map_err(namespace_error)?;
        let ports: Vec<String> = lock(&self.ports).iter().map(u16::to_string).collect();
        command.args([ARGUMENT, OWN_NETWORK, &ports.join(",")]).stdout(OwnedFd::from(theirs));
        Ok(Announcement(ours))
    }

    /// Starts the way out of the namespace that process `pid` makes and announces. On return, programs in it have a
    /// network. `entrances` are those of the control groups that limit the process. Dropping the future leaves nothing.
    ///
    /// # Errors
    /// [`NetworkError`]; [`NetworkError::Namespace`] if the process ended before it announced anything.
    pub(crate) async fn lead_out(
        &self,
        pid: Option<u32>,
        mut announcement: Announcement,
        entrances: Vec<File>,
    ) -> Result<Uplink, NetworkError> {
        let announced = tokio::time::timeout(DEADLINE, announcement.listeners()).await;
        let (Some(pid), Ok(Ok(listeners))) = (pid, announced) else {
            return Err(NetworkError::Namespace("its process ended".to_owned()));
        };
        let (theirs, mut ready) = pipe::pipe().map_err(namespace_error)?;
        let mut command = self.command(pid, entrances);
        command.stdin(theirs.into_blocking_fd().map_err(namespace_error)?);
        let spawned = command.spawn();
        // The command holds the other end of the pipe.
        drop(command);
        let program = || self.slirp4netns.clone();
        let mut child = spawned.map_err(|source| NetworkError::Program { program: program(), source })?;
        let mut stderr = child.stderr.take();
        // slirp4netns writes a byte when it serves.
        match tokio::time::timeout(DEADLINE, ready.read_u8()).await {
            Ok(Ok(_)) => {}
            Ok(Err(_)) => {
                return Err(NetworkError::NoWayOut { program: program(), complaint: last_words(stderr.take()).await });
            }
            Err(_) => {
                let complaint = format!("it was not ready within {} s", DEADLINE.as_secs());
                return Err(NetworkError::NoWayOut { program: program(), complaint });
            }
        }
        // Later complaints must not fill the pipe.
        tokio::spawn(async move { tokio::io::copy(&mut stderr.expect("not taken"), &mut tokio::io::sink()).await });
        Ok(Uplink { child, _forwards: Forwards::begin(listeners) })
    }

    fn command(&self, pid: u32, entrances: Vec<File>) -> Command {
        let mut command = Command::new(&self.slirp4netns);
        // slirp4netns writes its ready byte to its standard input: the one descriptor that is known to be open.
        command.args(["--configure", "--ready-fd=0", &format!("--mtu={MTU}")]);
        command.arg(format!("--cidr={}/{}", PREFIX_V4.0, PREFIX_V4.1));
        // No address inside leads to this machine's loopback. slirp4netns gives up its rights and its files before it
        // carries the first byte.
        command.args(["--disable-host-loopback", "--enable-sandbox", "--enable-seccomp"]);
        if speaks_ipv6() {
            command.arg("--enable-ipv6");
        }
        command.args([&pid.to_string(), DEVICE]);
        let path = std::env::var_os("PATH").map(|path| ("PATH", path));
        command.env_clear().envs(path);
        command.stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
        let prepare = move || {
            // What it takes counts for its sandbox, and the kernel kills it before the server when memory runs out.
            entrances.iter().try_for_each(|mut entrance| entrance.write_all(b"0"))?;
            let _ = fs::write("/proc/self/oom_score_adj", OOM_SCORE_ADJUSTMENT);
            // The kernel kills it together with the thread that starts it. That thread is a worker of the runtime and
            // lives as long as the server.
            rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
            let files = Rlimit { current: Some(MAX_FILES), maximum: Some(MAX_FILES) };
            rustix::process::setrlimit(Resource::Nofile, files)?;
            Ok(())
        };
        // SAFETY: system calls without memory of their own, between fork and exec.
        unsafe { command.as_std_mut().pre_exec(prepare) };
        command
    }
}

impl Announcement {
    /// Waits for the namespace. Returns the sockets that listen inside for the server.
    async fn listeners(&mut self) -> Result<Vec<(u16, TcpListener)>, WireError> {
        let (mut inbox, mut listeners) = (Inbox::default(), Vec::new());
        loop {
            match link::receive(&self.0, &mut inbox).await? {
                (FromNetwork::Ready, _) => return Ok(listeners),
                (FromNetwork::Listens { port }, mut descriptors) => {
                    let listener = descriptors.pop().ok_or(WireError::MissingDescriptors)?;
                    let listener = std::net::TcpListener::from(listener);
                    let listener = listener.set_nonblocking(true).and_then(|()| TcpListener::from_std(listener));
                    listeners.push((port, listener.map_err(into_errno)?));
                }
            }
        }
    }
}

fn namespace_error(error: io::Error) -> NetworkError {
    NetworkError::Namespace(error.to_string())
}

/// Whether this machine has an IPv6 address that reaches beyond its link.
fn speaks_ipv6() -> bool {
    sandboxd_gatekeeper::addresses().into_iter().flatten().any(|address| match address {
        IpAddr::V4(_) => false,
        IpAddr::V6(address) => !address.is_loopback() && !address.is_unicast_link_local(),
    })
}

/// The last line that a program said before it gave up.
async fn last_words(stderr: Option<ChildStderr>) -> String {
    let text = complaint::read(stderr).await;
    let last = text.lines().map(str::trim).rfind(|line| !line.is_empty());
    last.unwrap_or("it gave no reason").to_owned()
}
