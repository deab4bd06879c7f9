//! What leads out of a sandbox: the choice for all of a server, and the process that carries one sandbox's connections.
//!
//! A sandbox with a network of its own has a namespace that [`crate::init`] makes, and one process of
//! [pasta](https://passt.top) that carries its connections as the server's machine would make them. Owns that process,
//! its arguments and its end. Knows nothing of walls, leases or the API.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, Signal};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, ChildStderr, ChildStdout, Command};

use crate::init;

/// How long a namespace and the way out of it may take to be there. Measured: 40 ms on an idle machine.
const DEADLINE: Duration = Duration::from_secs(20);

/// Files that the process of one sandbox may open; each connection is one. A flood ends there and hurts nobody else.
const MAX_FILES: u64 = 4096;

/// Bytes of a complaint that are kept for the error.
const MAX_COMPLAINT: u64 = 4096;

/// Who answers questions for names inside. Nobody has these addresses: what is sent to them goes to the first resolver
/// of the machine, also where that listens on its loopback.
const RESOLVER_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 0, 53);
const RESOLVER_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x53);

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
    #[error("cannot run {program}: install passt (Debian package passt)")]
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
    Pasta {
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
    pasta: PathBuf,
    /// Ports of this machine's loopback that sandboxes find on theirs.
    ports: Mutex<Vec<u16>>,
}

impl Networks {
    /// The network that is wanted; the best that this machine can give when none is named, with words in the log when
    /// that is not a network of their own. `init` is the program that makes namespaces.
    ///
    /// # Errors
    /// [`NetworkError`] when one of their own is wanted and cannot be given.
    pub(crate) async fn choose(
        wanted: Option<Network>,
        pasta: PathBuf,
        ports: Vec<u16>,
        init: &Path,
    ) -> Result<Self, NetworkError> {
        let mut networks = Self { mode: wanted.unwrap_or(Network::Isolated), pasta, ports: Mutex::new(ports) };
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
        command.args([init::ARGUMENT, init::OWN_NETWORK]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let namespace = |error: io::Error| NetworkError::Namespace(error.to_string());
        let mut keeper = command.spawn().map_err(namespace)?;
        let (pid, stdout, stderr) = (keeper.id(), keeper.stdout.take(), keeper.stderr.take());
        let up = self.lead_out(pid, stdout).await;
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

    /// The way out of the namespace that process `pid` makes and announces on its standard output. On return programs in
    /// it have a network. Dropping the future leaves nothing.
    ///
    /// # Errors
    /// [`NetworkError`]; [`NetworkError::Namespace`] when the process ended before.
    pub(crate) async fn lead_out(
        &self,
        pid: Option<u32>,
        announcement: Option<ChildStdout>,
    ) -> Result<Uplink, NetworkError> {
        let ended = || NetworkError::Namespace("its process ended".to_owned());
        let (Some(pid), Some(announcement)) = (pid, announcement) else { return Err(ended()) };
        if tokio::time::timeout(DEADLINE, line(announcement)).await.ok().as_deref() != Some(init::READY) {
            return Err(ended());
        }
        let mut command = self.command(pid).map_err(|error| NetworkError::Namespace(error.to_string()))?;
        let mut child =
            command.spawn().map_err(|source| NetworkError::Program { program: self.pasta.clone(), source })?;
        let (stdout, mut stderr) = (child.stdout.take().expect("it is piped"), child.stderr.take());
        // It writes its pid once it serves.
        match tokio::time::timeout(DEADLINE, line(stdout)).await {
            Ok(text) if text.ends_with(b"\n") => {}
            Ok(_) => {
                let complaint = said(stderr.take()).await;
                return Err(NetworkError::Pasta { program: self.pasta.clone(), complaint });
            }
            Err(_) => {
                let complaint = format!("it was not ready within {} s", DEADLINE.as_secs());
                return Err(NetworkError::Pasta { program: self.pasta.clone(), complaint });
            }
        }
        // What it complains about later must not fill a pipe.
        tokio::spawn(async move { tokio::io::copy(&mut stderr.expect("not taken"), &mut tokio::io::sink()).await });
        Ok(Uplink { child })
    }

    fn command(&self, pid: u32) -> io::Result<Command> {
        let ports: Vec<String> =
            self.ports.lock().unwrap_or_else(PoisonError::into_inner).iter().map(u16::to_string).collect();
        let ports = if ports.is_empty() { "none".to_owned() } else { ports.join(",") };
        let mut command = Command::new(&self.pasta);
        command.args(["--foreground", "--quiet", "--config-net", "--pid", "/dev/stdout"]);
        // No address inside leads to this machine's loopback, and none outside to the sandbox, but the ports that are named.
        command.args(["--no-map-gw", "-t", "none", "-u", "none", "-U", "none", "-T", &ports]);
        command.args(["--dns-forward", &RESOLVER_V4.to_string(), "--dns-forward", &RESOLVER_V6.to_string()]);
        let namespace = format!("/proc/{pid}/ns/net");
        let path = std::env::var_os("PATH").map(|path| ("PATH", path));
        command.env_clear().envs(path).stdin(Stdio::null());
        if rustix::process::geteuid().is_root() {
            // As another user it could not enter the namespace. It drops all rights but that one, and its files, before
            // it carries the first byte; too early to open the namespace of a process with more rights by itself.
            command.args(["--runas", "0", "--netns", "/proc/self/fd/0"]).stdin(fs::File::open(namespace)?);
        } else {
            command.args(["--netns", &namespace, "--userns", &format!("/proc/{pid}/ns/user")]);
        }
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let prepare = || {
            // Killed with the thread that starts it, which is one of the runtime's workers and lives as long as the server.
            rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
            let files = Rlimit { current: Some(MAX_FILES), maximum: Some(MAX_FILES) };
            rustix::process::setrlimit(Resource::Nofile, files)?;
            Ok(())
        };
        // SAFETY: two system calls without memory of their own, between fork and exec.
        unsafe { command.as_std_mut().pre_exec(prepare) };
        Ok(command)
    }
}

/// The process that carries a sandbox's connections. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Uplink {
    child: Child,
}

impl Uplink {
    /// Waits until it ends by itself.
    pub(crate) async fn died(&mut self) {
        let _ = self.child.wait().await;
    }

    /// Kills it and waits for its end.
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

/// Bytes up to the end of the first line, or of everything.
async fn line(mut from: impl AsyncRead + Unpin) -> Vec<u8> {
    let mut text = Vec::new();
    while !text.ends_with(b"\n") && text.len() < 64 {
        match from.read_u8().await {
            Ok(byte) => text.push(byte),
            Err(_) => break,
        }
    }
    text
}

/// What a program said before it gave up: the last line that is not about its own log.
async fn said(stderr: Option<ChildStderr>) -> String {
    let mut text = Vec::new();
    if let Some(stderr) = stderr {
        let mut stderr = stderr.take(MAX_COMPLAINT);
        let _ = tokio::time::timeout(Duration::from_secs(1), stderr.read_to_end(&mut text)).await;
    }
    let text = String::from_utf8_lossy(&text);
    let last = text.lines().map(str::trim).rfind(|line| !line.is_empty() && !line.contains("to syslog"));
    last.unwrap_or("it gave no reason").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise: whatever resolvers the machine has, a sandbox asks the one address that is carried to them.
    #[test]
    fn the_resolver_is_the_one_that_is_carried() {
        let v4 = "nameserver 192.0.0.53\n";
        assert_eq!(
            resolver("# x\nnameserver 127.0.0.53\noptions edns0 trust-ad\nsearch a.b\n"),
            format!("{v4}options edns0 trust-ad\nsearch a.b\n")
        );
        assert_eq!(resolver("nameserver ::1\nnameserver 10.0.0.1\n"), v4);
        assert_eq!(resolver("nameserver fe80::1%eth0\n"), "nameserver 2001:db8::53\n");
        assert_eq!(resolver(""), "");
    }
}
