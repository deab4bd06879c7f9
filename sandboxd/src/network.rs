//! What leads out of a sandbox: the choice for all of a server, and what carries one sandbox's connections.
//!
//! A sandbox with a network of its own has a namespace that [`crate::init`] makes, and one process of
//! [slirp4netns](https://github.com/rootless-containers/slirp4netns) that carries its connections as the server's machine
//! would make them. Owns that process, its arguments and its end. Knows nothing of walls, leases or the API.

use std::fs::{self, File};
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, Signal};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::net::{TcpListener, UnixStream};
use tokio::process::{Child, ChildStderr, Command};

use crate::forward::Forwards;
use crate::init;
use crate::link;
use crate::machine;
use crate::wire::{FromNetwork, Inbox, WireError};

/// How long a namespace and the way out of it may take to be there. Measured: 40 ms on an idle machine.
const DEADLINE: Duration = Duration::from_secs(20);

/// Files that the process of one sandbox may open; each connection is one. A flood ends there and hurts nobody else.
const MAX_FILES: u64 = 1024;

/// Bytes of a complaint that are kept for the error.
const MAX_COMPLAINT: u64 = 4096;

/// Bytes of a packet: the most that slirp4netns takes. Small ones cost a system call each.
const MTU: u16 = 65520;

/// The device inside that leads out.
const DEVICE: &str = "tap0";

/// The networks between a sandbox and what leads out of it. The first is for documentation, so nobody routes it (RFC 5737);
/// the second is slirp4netns's own.
pub(crate) const PREFIX_V4: (Ipv4Addr, u8) = (Ipv4Addr::new(203, 0, 113, 0), 24);
pub(crate) const PREFIX_V6: (Ipv6Addr, u8) = (Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0), 64);

/// The way to everywhere else. slirp4netns is the second address of a network.
pub(crate) const GATEWAY_V4: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 2);

/// Who answers questions for names inside: what is sent there goes to a resolver of the machine, also where that listens on
/// its loopback. slirp4netns gives it the third address of a network.
pub(crate) const RESOLVER_V4: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 3);
pub(crate) const RESOLVER_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 3);

/// What network sandboxes have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Network {
    /// One of their own, with a way out: they reach neither this machine's own addresses, nor its link, nor each other.
    Isolated,
    /// That of this machine, with its loopback, and each other.
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

/// The server's end of the socket over which a new namespace tells that it is there. An ordinary user's process
/// goes on when this is dropped.
#[derive(Debug)]
pub(crate) struct Announcement(UnixStream);

impl Networks {
    /// The network that is wanted; the best that this machine can give when none is named, with words in the log when
    /// that is not a network of their own. `init` is the program that makes namespaces.
    ///
    /// # Errors
    /// [`NetworkError`] when one of their own is wanted and cannot be given.
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

    /// Makes a network and takes it away again.
    async fn probe(&self, init: &Path) -> Result<(), NetworkError> {
        let mut command = Command::new(init);
        let announcement = self.prepare(&mut command)?;
        command.stdin(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let spawned = command.spawn();
        // It holds the other end of the announcement.
        drop(command);
        let mut keeper = spawned.map_err(namespace)?;
        let stderr = keeper.stderr.take();
        let up = self.lead_out(keeper.id(), announcement, Vec::new()).await;
        let _ = keeper.start_kill();
        let _ = keeper.wait().await;
        match up {
            Ok(uplink) => uplink.end().await,
            Err(NetworkError::Namespace(_)) => return Err(NetworkError::Namespace(said(stderr).await)),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// From now on new sandboxes find these ports of this machine's loopback on their own.
    pub(crate) fn forward(&self, ports: Vec<u16>) {
        *self.ports.lock().unwrap_or_else(PoisonError::into_inner) = ports;
    }

    /// Makes of a command for the init's program one for a process that first enters a network of its own. Whatever is added
    /// to its arguments is the program that it becomes then.
    ///
    /// # Errors
    /// [`NetworkError::Namespace`].
    pub(crate) fn prepare(&self, command: &mut Command) -> Result<Announcement, NetworkError> {
        let socket = || {
            let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
            ours.set_nonblocking(true)?;
            Ok((UnixStream::from_std(ours)?, theirs))
        };
        let (ours, theirs) = socket().map_err(namespace)?;
        let ports: Vec<String> =
            self.ports.lock().unwrap_or_else(PoisonError::into_inner).iter().map(u16::to_string).collect();
        command.args([init::ARGUMENT, init::OWN_NETWORK, &ports.join(",")]).stdout(OwnedFd::from(theirs));
        Ok(Announcement(ours))
    }

    /// The way out of the namespace that process `pid` makes and announces. On return programs in it have a
    /// network. `doors` lead into the control groups that hold what it takes. Dropping the future leaves nothing.
    ///
    /// # Errors
    /// [`NetworkError`]; [`NetworkError::Namespace`] when the process ended before.
    pub(crate) async fn lead_out(
        &self,
        pid: Option<u32>,
        mut announcement: Announcement,
        doors: Vec<File>,
    ) -> Result<Uplink, NetworkError> {
        let announced = tokio::time::timeout(DEADLINE, announcement.listeners()).await;
        let (Some(pid), Ok(Ok(listeners))) = (pid, announced) else {
            return Err(NetworkError::Namespace("its process ended".to_owned()));
        };
        let (theirs, mut ready) = pipe::pipe().map_err(namespace)?;
        let mut command = self.command(pid, doors);
        command.stdin(theirs.into_blocking_fd().map_err(namespace)?);
        let spawned = command.spawn();
        // It holds the other end of the pipe.
        drop(command);
        let program = || self.slirp4netns.clone();
        let mut child = spawned.map_err(|source| NetworkError::Program { program: program(), source })?;
        let mut stderr = child.stderr.take();
        // It writes a byte once it serves.
        match tokio::time::timeout(DEADLINE, ready.read_u8()).await {
            Ok(Ok(_)) => {}
            Ok(Err(_)) => {
                return Err(NetworkError::NoWayOut { program: program(), complaint: said(stderr.take()).await });
            }
            Err(_) => {
                let complaint = format!("it was not ready within {} s", DEADLINE.as_secs());
                return Err(NetworkError::NoWayOut { program: program(), complaint });
            }
        }
        // What it complains about later must not fill a pipe.
        tokio::spawn(async move { tokio::io::copy(&mut stderr.expect("not taken"), &mut tokio::io::sink()).await });
        Ok(Uplink { child, _forwards: Forwards::begin(listeners) })
    }

    fn command(&self, pid: u32, doors: Vec<File>) -> Command {
        let mut command = Command::new(&self.slirp4netns);
        // The byte that says that it serves goes to its standard input: the one descriptor that is known to be open.
        command.args(["--configure", "--ready-fd=0", &format!("--mtu={MTU}")]);
        command.arg(format!("--cidr={}/{}", PREFIX_V4.0, PREFIX_V4.1));
        // No address inside leads to this machine's loopback. It gives up its rights and its files before the first byte.
        command.args(["--disable-host-loopback", "--enable-sandbox", "--enable-seccomp"]);
        if speaks_ipv6() {
            command.arg("--enable-ipv6");
        }
        command.args([&pid.to_string(), DEVICE]);
        let path = std::env::var_os("PATH").map(|path| ("PATH", path));
        command.env_clear().envs(path);
        command.stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
        let prepare = move || {
            // What it takes is its sandbox's, and goes before the server.
            doors.iter().try_for_each(|mut door| door.write_all(b"0"))?;
            let _ = fs::write("/proc/self/oom_score_adj", init::OOM_SCORE_ADJUSTMENT);
            // Killed with the thread that starts it, which is one of the runtime's workers and lives as long as the server.
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
    /// The sockets that listen inside for the server, once the namespace is there.
    async fn listeners(&mut self) -> Result<Vec<(u16, TcpListener)>, WireError> {
        let (mut inbox, mut listeners) = (Inbox::default(), Vec::new());
        loop {
            match link::receive(&self.0, &mut inbox).await? {
                (FromNetwork::Ready, _) => return Ok(listeners),
                (FromNetwork::Listens { port }, mut descriptors) => {
                    let listener = descriptors.pop().ok_or(WireError::MissingDescriptors)?;
                    let listener = std::net::TcpListener::from(listener);
                    let listener = listener.set_nonblocking(true).and_then(|()| TcpListener::from_std(listener));
                    listeners.push((port, listener.map_err(init::into_errno)?));
                }
            }
        }
    }
}

fn namespace(error: io::Error) -> NetworkError {
    NetworkError::Namespace(error.to_string())
}

/// Whether this machine has an address of IPv6 that leads beyond its link.
fn speaks_ipv6() -> bool {
    machine::addresses().into_iter().flatten().any(|address| match address {
        IpAddr::V4(_) => false,
        IpAddr::V6(address) => !address.is_loopback() && !address.is_unicast_link_local(),
    })
}

/// What carries a sandbox's connections. Dropping it ends them.
#[derive(Debug)]
pub(crate) struct Uplink {
    child: Child,
    _forwards: Forwards,
}

impl Uplink {
    /// Waits until its process ends by itself.
    pub(crate) async fn died(&mut self) {
        let _ = self.child.wait().await;
    }

    /// Kills its process and waits for the end.
    pub(crate) async fn end(mut self) {
        let _ = self.child.start_kill();
        let _ = self.child.wait().await;
    }
}

/// What `/etc/resolv.conf` says inside a network of its own, made of that of the machine.
pub(crate) fn resolver(host: &str) -> String {
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let servers: Vec<IpAddr> = host
        .lines()
        .map(words)
        .filter(|words| words.first().is_some_and(|key| key == "nameserver"))
        .filter_map(|words| words.get(1)?.split('%').next()?.parse().ok())
        .collect();
    let server = match servers.iter().any(IpAddr::is_ipv4) {
        true => format!("nameserver {RESOLVER_V4}\n"),
        false if servers.is_empty() => String::new(),
        false => format!("nameserver {RESOLVER_V6}\n"),
    };
    let kept = |line: &&str| ["search ", "domain ", "options "].iter().any(|key| line.starts_with(key));
    host.lines().filter(kept).fold(server, |text, line| text + line + "\n")
}

/// What a program said before it gave up: the last line.
async fn said(stderr: Option<ChildStderr>) -> String {
    let mut text = Vec::new();
    if let Some(stderr) = stderr {
        let mut stderr = stderr.take(MAX_COMPLAINT);
        let _ = tokio::time::timeout(Duration::from_secs(1), stderr.read_to_end(&mut text)).await;
    }
    let text = String::from_utf8_lossy(&text);
    let last = text.lines().map(str::trim).rfind(|line| !line.is_empty());
    last.unwrap_or("it gave no reason").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise: whatever resolvers the machine has, a sandbox asks the one address that is carried to them.
    #[test]
    fn the_resolver_is_the_one_that_is_carried() {
        let v4 = "nameserver 203.0.113.3\n";
        assert_eq!(
            resolver("# x\nnameserver 127.0.0.53\noptions edns0 trust-ad\nsearch a.b\n"),
            format!("{v4}options edns0 trust-ad\nsearch a.b\n")
        );
        assert_eq!(resolver("nameserver ::1\nnameserver 10.0.0.1\n"), v4);
        assert_eq!(resolver("nameserver fe80::1%eth0\n"), "nameserver fd00::3\n");
        assert_eq!(resolver(""), "");
    }
}
