//! Makes a sandbox: its directory, its control group, the `bwrap` process around its init, and its network.
//!
//! Leaves nothing behind on failure. Does not know the API or who asks.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::process::{ChildStderr, Command};
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

use super::lease::Lease;
use super::live::{MAX_FILE_OPERATIONS, Sandbox};
use super::process::Processes;
use super::teardown::{Directory, Teardown};
use super::trash::Trash;
use crate::complaint;
use crate::descriptor::register;
use crate::isolation::{self, FuseError, Isolation};
use crate::limits::Limits;
use crate::link::{Link, LinkError};
use crate::network::{Network, NetworkError, Networks};
use sandboxd_init::chore::Chore;

/// Why a sandbox could not be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MakeError {
    #[error("this server cannot make sandboxes that mount file systems")]
    Fuse(#[from] FuseError),
    #[error("cannot make the sandbox's directory {path}")]
    Directory { path: PathBuf, source: io::Error },
    #[error("cannot make the sandbox's control group")]
    Group(#[source] io::Error),
    #[error("cannot tell which of the kernel's files to hide")]
    Proc(#[source] io::Error),
    #[error("cannot make the socket to the sandbox's init")]
    Socket(#[source] io::Error),
    #[error("cannot run {program}: install bubblewrap (Debian package bubblewrap)")]
    Bwrap { program: PathBuf, source: io::Error },
    #[error("the sandbox did not start: {complaint}")]
    Start { complaint: String, source: LinkError },
    #[error("the sandbox has no network")]
    Network(#[from] NetworkError),
}

/// What a sandbox is made from.
#[derive(Debug)]
pub(crate) struct SandboxSpec {
    pub(crate) id: String,
    pub(crate) template: String,
    pub(crate) metadata: BTreeMap<String, String>,
    /// Environment variables of every process in it.
    pub(crate) envs: BTreeMap<String, String>,
    /// The token that a request to it must carry.
    pub(crate) token: String,
    pub(crate) network: bool,
    /// Whether it may mount file systems in user space.
    pub(crate) fuse: bool,
    pub(crate) lease: Duration,
}

/// What the server provides for all sandboxes that it makes.
#[derive(Debug)]
pub(crate) struct MakeContext {
    pub(crate) bwrap: PathBuf,
    /// The program that becomes the init.
    pub(crate) init: PathBuf,
    pub(crate) networks: Networks,
    /// Holds one directory per sandbox.
    pub(crate) sandboxes: PathBuf,
    /// Removes directories in the background.
    pub(crate) trash: Trash,
    pub(crate) limits: Limits,
}

/// Makes a sandbox. On return its init serves requests.
///
/// # Errors
/// [`MakeError`]. Nothing of it is left then. Cancelling has the same effect.
pub(super) async fn make(context: &MakeContext, spec: SandboxSpec) -> Result<(Sandbox, Teardown), MakeError> {
    if spec.fuse {
        isolation::check_fuse()?;
    }
    let directory = Directory { path: context.sandboxes.join(&spec.id), trash: context.trash.clone() };
    let mode = if spec.network { context.networks.mode } else { Network::None };
    let (path, fuse) = (directory.path.clone(), spec.fuse);
    tokio::task::spawn_blocking(move || isolation::make_root(&path, fuse, mode))
        .await
        .expect("making directories does not panic")
        .map_err(|source| MakeError::Directory { path: directory.path.clone(), source })?;

    // Declared before the child, so that it is dropped after the child has ended.
    let group = context.limits.group(&spec.id).map_err(MakeError::Group)?;
    let entrances = group.entrances().map_err(MakeError::Group)?;
    let uplinks = group.entrances().map_err(MakeError::Group)?;
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().map_err(MakeError::Socket)?;
    ours.set_nonblocking(true).map_err(MakeError::Socket)?;
    let ours = UnixStream::from_std(ours).map_err(MakeError::Socket)?;
    let isolation = Isolation {
        root: &directory.path,
        init: &context.init,
        network: mode,
        fuse: spec.fuse,
        setup: context.limits.setup(),
    };
    let isolated = mode == Network::Isolated;
    let program = if isolated { &context.init } else { &context.bwrap };
    let mut command = Command::new(program);
    command.stdout(Stdio::null());
    let announcement = match isolated {
        true => Some(context.networks.prepare(&mut command)?),
        false => None,
    };
    if isolated {
        command.arg(&context.bwrap);
    }
    command.args(isolation::arguments(isolation).map_err(MakeError::Proc)?);
    command.stdin(Stdio::from(OwnedFd::from(theirs)));
    command.stderr(Stdio::piped()).kill_on_drop(true);
    // SAFETY: the closure runs between fork and exec and makes system calls only.
    unsafe {
        command
            .pre_exec(move || entrances.iter().try_for_each(|mut entrance| io::Write::write_all(&mut entrance, b"0")));
    }
    let spawned = command.spawn();
    // The command holds the init's end of the socket. While it exists, the death of the init would not be visible.
    drop(command);
    let mut child = spawned.map_err(|source| MakeError::Bwrap { program: program.clone(), source })?;
    let stderr = child.stderr.take();

    // If the server is root, `bwrap` works while slirp4netns builds the way out.
    let way_out = async {
        match announcement {
            Some(announcement) => context.networks.lead_out(child.id(), announcement, uplinks).await.map(Some),
            None => Ok(None),
        }
    };
    let (opened, uplink) = tokio::join!(Link::open(ours), way_out);
    let (link, init) = match opened {
        Ok(opened) => opened,
        Err(source) => {
            let _ = child.start_kill();
            return Err(MakeError::Start { complaint: complaint_of_bwrap(stderr).await, source });
        }
    };
    let uplink = uplink?;
    let init_pid = pid_of(&init).map_err(MakeError::Socket)?;
    let init = register(init).map_err(MakeError::Socket)?;
    limit_namespace(context, init_pid).await;

    let gone = CancellationToken::new();
    let sandbox = Sandbox {
        id: spec.id,
        template: spec.template,
        metadata: spec.metadata,
        envs: spec.envs,
        token: spec.token,
        network: spec.network,
        fuse: spec.fuse,
        started: jiff::Timestamp::now(),
        lease: watch::Sender::new(Lease::of(spec.lease)),
        processes: Arc::new(Processes::new(link.clone(), gone.clone())),
        link,
        init_pid,
        file_operations: Semaphore::new(MAX_FILE_OPERATIONS),
        watchers: Mutex::default(),
        stop: CancellationToken::new(),
        close: CancellationToken::new(),
        excess: watch::Sender::new(None),
        gone,
    };
    Ok((sandbox, Teardown { child, init, group, uplink, directory }))
}

/// What `bwrap` said before it gave up.
async fn complaint_of_bwrap(stderr: Option<ChildStderr>) -> String {
    match complaint::read(stderr).await.trim() {
        "" => "bwrap gave no reason".to_owned(),
        text => text.to_owned(),
    }
}

/// The pid of a pidfd's process, as this process sees it.
fn pid_of(pidfd: &OwnedFd) -> io::Result<u32> {
    let information = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd()))?;
    let pid = information.lines().find_map(|line| line.strip_prefix("Pid:")?.trim().parse().ok());
    pid.ok_or_else(|| io::Error::other("the kernel does not tell the pid of the sandbox's init"))
}

/// Limits what the kernel counts for each user namespace. This is not always possible, for example in a container with
/// a read-only `/proc/sys`. The sandbox works without it.
async fn limit_namespace(context: &MakeContext, pid: u32) {
    let output = Chore::Limit { pid }.command(&context.init).kill_on_drop(true).output().await;
    let failure = match output {
        Ok(output) if output.status.success() => return,
        Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        Err(error) => error.to_string(),
    };
    tracing::warn!(failure, "the inotify instances of a sandbox are not limited");
}
