//! One live sandbox: made, kept until its lease ends or it is killed, and taken down without a rest.
//!
//! Owns the `bwrap` process, the link to the init, and the directory. Does not know the API or who asks.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::Signal;
use tokio::io::AsyncReadExt;
use tokio::io::unix::AsyncFd;
use tokio::net::UnixStream;
use tokio::process::{Child, ChildStderr, Command};
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::cgroup::Cgroup;
use crate::chore::Chore;
use crate::disk::Excess;
use crate::envd::Watcher;
use crate::isolation::{self, FuseError, Walls};
use crate::limits::Limits;
use crate::link::{Link, LinkError};
use crate::network::{Network, NetworkError, Networks, Uplink};
use crate::process::{self, Processes};
use crate::trash::Trash;
use crate::wire::{Failure, FileOp, Reply};

/// File operations at once in one sandbox; each holds a thread of its init.
pub(crate) const MAX_FILE_OPERATIONS: usize = 32;

/// Bytes of `bwrap`'s complaint that are kept for the error.
const MAX_COMPLAINT: u64 = 4096;

/// How long the kernel may take to end all processes of a sandbox. Longer only when one hangs in a file system.
const DEATH_DEADLINE: Duration = Duration::from_secs(10);

/// How long a sandbox that may mount is given to end in order: what was written is on its way out of the machine then.
const CLOSE_DEADLINE: Duration = Duration::from_secs(10);

/// How much later than that its init may say how it went.
const CLOSE_SLACK: Duration = Duration::from_secs(1);

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
pub(crate) struct Plan {
    pub(crate) id: String,
    pub(crate) template: String,
    pub(crate) metadata: BTreeMap<String, String>,
    /// Environment of every process in it.
    pub(crate) envs: BTreeMap<String, String>,
    /// What a request to it must carry.
    pub(crate) token: String,
    pub(crate) network: bool,
    /// Whether it may mount file systems in user space.
    pub(crate) fuse: bool,
    pub(crate) lease: Duration,
}

/// Where sandboxes are made.
#[derive(Debug)]
pub(crate) struct Ground {
    pub(crate) bwrap: PathBuf,
    /// The program that becomes the init.
    pub(crate) init: PathBuf,
    pub(crate) networks: Networks,
    /// Holds one directory per sandbox.
    pub(crate) sandboxes: PathBuf,
    /// Takes what is to be removed.
    pub(crate) trash: Trash,
    pub(crate) limits: Limits,
}

/// The end of a sandbox's life, by the clock that only goes forward and by the calendar.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lease {
    pub(crate) until: Instant,
    pub(crate) until_date: jiff::Timestamp,
}

impl Lease {
    pub(crate) fn of(length: Duration) -> Self {
        let until_date = jiff::Timestamp::now().saturating_add(length).unwrap_or(jiff::Timestamp::MAX);
        Self { until: Instant::now() + length, until_date }
    }
}

/// A live sandbox. Its end is announced by [`Sandbox::gone`].
#[derive(Debug)]
pub(crate) struct Sandbox {
    pub(crate) id: String,
    pub(crate) template: String,
    pub(crate) metadata: BTreeMap<String, String>,
    pub(crate) envs: BTreeMap<String, String>,
    pub(crate) token: String,
    pub(crate) network: bool,
    pub(crate) fuse: bool,
    pub(crate) started: jiff::Timestamp,
    pub(crate) lease: watch::Sender<Lease>,
    pub(crate) link: Link,
    /// On the host.
    pub(crate) init_pid: u32,
    pub(crate) processes: Arc<Processes>,
    pub(crate) file_operations: Semaphore,
    /// Watchers that clients poll, by their id.
    pub(crate) watchers: Mutex<HashMap<String, Watcher>>,
    /// Asks the keeper to end it at once.
    pub(crate) stop: CancellationToken,
    /// Asks the keeper to end it as at the end of its lease.
    pub(crate) close: CancellationToken,
    /// Asks the keeper to end it because it takes too much of the disk.
    pub(crate) excess: watch::Sender<Option<Excess>>,
    /// Set once no process of it is left and its directory is out of the way.
    pub(crate) gone: CancellationToken,
}

/// What must be taken down when a sandbox ends.
#[derive(Debug)]
pub(crate) struct Remains {
    child: Child,
    init: AsyncFd<OwnedFd>,
    group: Cgroup,
    /// None where it has no network of its own.
    uplink: Option<Uplink>,
    directory: Directory,
}

impl Sandbox {
    /// Makes a sandbox; on return its init serves requests.
    ///
    /// # Errors
    /// [`MakeError`]; nothing of it is left then. Cancelling it has the same effect.
    pub(crate) async fn make(ground: &Ground, plan: Plan) -> Result<(Self, Remains), MakeError> {
        if plan.fuse {
            isolation::check_fuse()?;
        }
        let directory = Directory { path: ground.sandboxes.join(&plan.id), trash: ground.trash.clone() };
        let mode = if plan.network { ground.networks.mode } else { Network::None };
        let (path, fuse) = (directory.path.clone(), plan.fuse);
        tokio::task::spawn_blocking(move || isolation::make_root(&path, fuse, mode))
            .await
            .expect("making directories does not panic")
            .map_err(|source| MakeError::Directory { path: directory.path.clone(), source })?;

        // Declared before the child, so that it is dropped after its end.
        let group = ground.limits.group(&plan.id).map_err(MakeError::Group)?;
        let doors = group.doors().map_err(MakeError::Group)?;
        let uplinks = group.doors().map_err(MakeError::Group)?;
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().map_err(MakeError::Socket)?;
        ours.set_nonblocking(true).map_err(MakeError::Socket)?;
        let ours = UnixStream::from_std(ours).map_err(MakeError::Socket)?;
        let walls = Walls {
            root: &directory.path,
            init: &ground.init,
            network: mode,
            fuse: plan.fuse,
            setup: ground.limits.setup(),
        };
        let isolated = mode == Network::Isolated;
        let program = if isolated { &ground.init } else { &ground.bwrap };
        let mut command = Command::new(program);
        command.stdout(Stdio::null());
        let announcement = match isolated {
            true => Some(ground.networks.prepare(&mut command)?),
            false => None,
        };
        if isolated {
            command.arg(&ground.bwrap);
        }
        command.args(isolation::arguments(walls).map_err(MakeError::Proc)?);
        command.stdin(Stdio::from(OwnedFd::from(theirs)));
        command.stderr(Stdio::piped()).kill_on_drop(true);
        // SAFETY: the closure runs between fork and exec and makes system calls only.
        unsafe {
            command.pre_exec(move || doors.iter().try_for_each(|mut door| io::Write::write_all(&mut door, b"0")));
        }
        let spawned = command.spawn();
        // The command holds the init's end of the socket: while it lives, the death of the init would not show.
        drop(command);
        let mut child = spawned.map_err(|source| MakeError::Bwrap { program: program.clone(), source })?;
        let stderr = child.stderr.take();

        // At the same time: the walls are built while the way out is, if the server is root.
        let way_out = async {
            match announcement {
                Some(announcement) => ground.networks.lead_out(child.id(), announcement, uplinks).await.map(Some),
                None => Ok(None),
            }
        };
        let (opened, uplink) = tokio::join!(Link::open(ours), way_out);
        let (link, init) = match opened {
            Ok(opened) => opened,
            Err(source) => {
                let _ = child.start_kill();
                return Err(MakeError::Start { complaint: complaint(stderr).await, source });
            }
        };
        let uplink = uplink?;
        let init_pid = pid_of(&init).map_err(MakeError::Socket)?;
        let init = process::register(init).map_err(MakeError::Socket)?;
        limit_namespace(ground, init_pid).await;

        let gone = CancellationToken::new();
        let sandbox = Self {
            id: plan.id,
            template: plan.template,
            metadata: plan.metadata,
            envs: plan.envs,
            token: plan.token,
            network: plan.network,
            fuse: plan.fuse,
            started: jiff::Timestamp::now(),
            lease: watch::Sender::new(Lease::of(plan.lease)),
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
        Ok((sandbox, Remains { child, init, group, uplink, directory }))
    }
}

impl Sandbox {
    /// What every process of it has in its environment: what it was made with, and E2B's own marks.
    pub(crate) fn environment(&self) -> BTreeMap<String, String> {
        let mut envs = self.envs.clone();
        envs.insert("E2B_SANDBOX".to_owned(), "true".to_owned());
        envs.insert("E2B_SANDBOX_ID".to_owned(), self.id.clone());
        envs.insert("E2B_TEMPLATE_ID".to_owned(), self.template.clone());
        envs
    }

    /// Does one thing in its file system; waits while [`MAX_FILE_OPERATIONS`] are under way.
    pub(crate) async fn file(&self, user: &str, op: FileOp) -> Result<(Reply, Option<OwnedFd>), Failure> {
        let _turn = self.file_operations.acquire().await.expect("the semaphore is never closed");
        self.link.file(user, op, None).await
    }

    /// Opens what lies below an open directory of it, as a user may; `None` where it gives no descriptor.
    pub(crate) async fn open_below(
        &self,
        user: &str,
        directory: OwnedFd,
        path: String,
    ) -> Result<Option<OwnedFd>, Failure> {
        let _turn = self.file_operations.acquire().await.expect("the semaphore is never closed");
        let (_, opened) = self.link.file(user, FileOp::OpenBelow { path }, Some(directory)).await?;
        Ok(opened)
    }

    /// Ends the programs of a sandbox that may mount and then its mounts, so that what programs wrote is out of it before
    /// its last process is killed. Nothing waits in other sandboxes. Takes at most [`CLOSE_DEADLINE`] and a little more.
    pub(crate) async fn wind_down(&self) {
        if !self.fuse {
            return;
        }
        let begun = Instant::now();
        let failure = match tokio::time::timeout(CLOSE_DEADLINE + CLOSE_SLACK, self.link.close(CLOSE_DEADLINE)).await {
            Ok(Ok(())) => {
                let duration_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
                tracing::info!(sandbox = %self.id, duration_ms, "mounts of a sandbox unmounted");
                return;
            }
            Ok(Err(failure)) => failure.message,
            Err(_) => "its init did not answer in time".to_owned(),
        };
        tracing::warn!(sandbox = %self.id, failure, "a sandbox is killed before all that it wrote is known to be stored");
    }
}

/// What `bwrap` said before it gave up.
async fn complaint(stderr: Option<ChildStderr>) -> String {
    let mut text = Vec::new();
    if let Some(stderr) = stderr {
        let mut stderr = stderr.take(MAX_COMPLAINT);
        let _ = tokio::time::timeout(Duration::from_secs(1), stderr.read_to_end(&mut text)).await;
    }
    match String::from_utf8_lossy(&text).trim() {
        "" => "bwrap gave no reason".to_owned(),
        text => text.to_owned(),
    }
}

impl Remains {
    /// Waits until the init dies by itself. Says meanwhile when the way out of its network is gone.
    pub(crate) async fn died(&mut self) {
        // A pidfd becomes readable when its process has ended.
        while let Some(uplink) = &mut self.uplink {
            tokio::select! {
                _ = self.init.readable() => return,
                () = uplink.died() => {
                    let directory = self.directory.path.display();
                    tracing::error!(%directory, "the process that carries a sandbox's connections ended; it has no network");
                    self.uplink = None;
                }
            }
        }
        let _ = self.init.readable().await;
    }

    /// Kills every process of the sandbox, waits for their end, and moves its directory out of the way; the files are
    /// removed in the background.
    pub(crate) async fn take_down(mut self) {
        // The kernel kills a whole pid namespace with its first process, and reports that one's end last.
        let _ = rustix::process::pidfd_send_signal(self.init.get_ref(), Signal::KILL);
        if tokio::time::timeout(DEATH_DEADLINE, self.died()).await.is_err() {
            tracing::error!(directory = %self.directory.path.display(), "processes of a sandbox do not end");
        }
        let _ = self.child.start_kill();
        let _ = self.child.wait().await;
        if let Some(uplink) = self.uplink.take() {
            uplink.end().await;
        }
        drop(self.group);
        drop(self.directory);
    }
}

/// A sandbox's directory; dropping it throws it away.
#[derive(Debug)]
struct Directory {
    path: PathBuf,
    trash: Trash,
}

impl Drop for Directory {
    fn drop(&mut self) {
        self.trash.throw(&self.path);
    }
}

/// The pid that a pidfd stands for, as this process sees it.
fn pid_of(pidfd: &OwnedFd) -> io::Result<u32> {
    let information = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd()))?;
    let pid = information.lines().find_map(|line| line.strip_prefix("Pid:")?.trim().parse().ok());
    pid.ok_or_else(|| io::Error::other("the kernel does not tell the pid of the sandbox's init"))
}

/// Limits what the kernel counts for each user namespace. Where this cannot be, such as in a container whose `/proc/sys` is
/// read-only, the sandbox is as good otherwise.
async fn limit_namespace(ground: &Ground, pid: u32) {
    let output = Chore::Limit { pid }.command(&ground.init).kill_on_drop(true).output().await;
    let failure = match output {
        Ok(output) if output.status.success() => return,
        Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        Err(error) => error.to_string(),
    };
    tracing::warn!(failure, "the inotify instances of a sandbox are not limited");
}
