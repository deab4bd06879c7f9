//! The server's end of the socket to one sandbox's init: requests out, replies and exits in.
//!
//! Knows the messages of [`sandboxd_init::wire`] and nothing of what they are for. What init sends is not trusted: a malformed
//! message ends the link, and with it the sandbox.

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::io::Errno;
use serde::Deserialize;
use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot};

use sandbox_stdx::lock::lock;
use sandboxd_init::wire::{
    self, ExitStatus, Failure, FailureKind, FileOp, FromInit, Inbox, ProcessSignal, Reply, Spawn, ToInit, WireError,
};

/// Requests that wait to be written. The init reads at once, so a longer queue would only hide that it is stuck.
const QUEUE: usize = 64;

/// How long a new init may take for its first message. It takes a few milliseconds on an idle machine.
const HELLO_DEADLINE: Duration = Duration::from_secs(20);

/// Why there is no link.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
    #[error("the sandbox's init did not report within {} s", HELLO_DEADLINE.as_secs())]
    Silent,
    #[error("the sandbox's init has protocol version {0}, the server {version}: restart the server", version = wire::VERSION)]
    Version(u32),
    #[error("the sandbox's init did not introduce itself")]
    Unexpected,
    #[error(transparent)]
    Wire(#[from] WireError),
}

/// A frame and the descriptor that travels with it.
type Request = (Vec<u8>, Option<OwnedFd>);

/// A handle that is cheap to clone. The link ends when the init does, or when the last handle is dropped.
#[derive(Debug, Clone)]
pub(crate) struct Link {
    requests: mpsc::Sender<Request>,
    waiting: Arc<Mutex<Waiting>>,
    next: Arc<AtomicU64>,
}

/// A process that runs.
#[derive(Debug)]
pub(crate) struct Spawned {
    pub(crate) pid: u32,
    pub(crate) descriptors: Vec<OwnedFd>,
    /// Receiving fails if the sandbox ended before the process was reaped.
    pub(crate) exit: oneshot::Receiver<ExitStatus>,
}

type InitAnswer = Result<(Reply, Option<OwnedFd>), Failure>;

#[derive(Debug)]
enum Waiter {
    Spawn(oneshot::Sender<Result<Spawned, Failure>>),
    InitAnswer(oneshot::Sender<InitAnswer>),
}

#[derive(Debug, Default)]
struct Waiting {
    replies: HashMap<u64, Waiter>,
    exits: HashMap<u32, oneshot::Sender<ExitStatus>>,
    closed: bool,
}

impl Link {
    /// Waits for the first message of the init. The returned descriptor is a pidfd of the init.
    ///
    /// # Errors
    /// [`LinkError`]. The init is useless then and must be killed.
    pub(crate) async fn open(stream: UnixStream) -> Result<(Self, OwnedFd), LinkError> {
        let (read, write) = stream.into_split();
        let mut inbox = Inbox::default();
        let hello = tokio::time::timeout(HELLO_DEADLINE, receive(read.as_ref(), &mut inbox))
            .await
            .map_err(|_| LinkError::Silent)??;
        let pidfd = match hello {
            (FromInit::Hello { version: wire::VERSION }, mut descriptors) => {
                descriptors.pop().ok_or(LinkError::Unexpected)?
            }
            (FromInit::Hello { version }, _) => return Err(LinkError::Version(version)),
            _ => return Err(LinkError::Unexpected),
        };
        let waiting = Arc::new(Mutex::new(Waiting::default()));
        let (requests, queue) = mpsc::channel(QUEUE);
        tokio::spawn(write_requests(write, queue));
        tokio::spawn(read_messages(read, inbox, waiting.clone(), requests.downgrade()));
        Ok((Self { requests, waiting, next: Arc::default() }, pidfd))
    }

    /// Starts a process. Do not cancel this halfway: run it in a task of its own.
    pub(crate) async fn spawn(&self, spawn: Spawn) -> Result<Spawned, Failure> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (waiter, reply) = oneshot::channel();
        self.request(id, Waiter::Spawn(waiter), &ToInit::Spawn { id, spawn: Box::new(spawn) }, None).await?;
        reply.await.unwrap_or_else(|_| Err(gone()))
    }

    /// Does one operation in the sandbox's file system, relative to the directory `from` if there is one.
    pub(crate) async fn file(&self, user: &str, op: FileOp, from: Option<OwnedFd>) -> InitAnswer {
        self.ask(|id| ToInit::File { id, user: user.to_owned(), op }, from).await
    }

    /// Ends all programs, unmounts file systems in user space, and lets their daemons end.
    pub(crate) async fn close(&self, within: Duration) -> Result<(), Failure> {
        let within_ms = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
        self.ask(|id| ToInit::Close { id, within_ms }, None).await.map(drop)
    }

    async fn ask(&self, message: impl FnOnce(u64) -> ToInit, beside: Option<OwnedFd>) -> InitAnswer {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (waiter, reply) = oneshot::channel();
        self.request(id, Waiter::InitAnswer(waiter), &message(id), beside).await?;
        reply.await.unwrap_or_else(|_| Err(gone()))
    }

    /// Signals a process that [`Link::spawn`] started; nothing happens if it has ended.
    pub(crate) async fn signal(&self, pid: u32, signal: ProcessSignal) -> Result<(), Failure> {
        let frame = encode(&ToInit::Signal { pid, signal }, 0)?;
        self.requests.send((frame, None)).await.map_err(|_| gone())
    }

    async fn request(&self, id: u64, waiter: Waiter, message: &ToInit, beside: Option<OwnedFd>) -> Result<(), Failure> {
        let frame = encode(message, usize::from(beside.is_some()))?;
        {
            let mut waiting = lock(&self.waiting);
            if waiting.closed {
                return Err(gone());
            }
            waiting.replies.insert(id, waiter);
        }
        self.requests.send((frame, beside)).await.map_err(|_| gone())
    }
}

fn encode(message: &ToInit, descriptors: usize) -> Result<Vec<u8>, Failure> {
    wire::encode(message, descriptors)
        .map_err(|error| Failure { kind: FailureKind::InvalidArgument, message: error.to_string() })
}

/// The answer to a request when the sandbox ends before the init replied.
fn gone() -> Failure {
    Failure { kind: FailureKind::Internal, message: "the sandbox ended before it answered".to_owned() }
}

async fn write_requests(mut socket: OwnedWriteHalf, mut queue: mpsc::Receiver<Request>) {
    while let Some((frame, beside)) = queue.recv().await {
        let sent = match beside {
            Some(descriptor) => send_with(&socket, &frame, &descriptor).await,
            None => Ok(0),
        };
        let Ok(sent) = sent else { return };
        if socket.write_all(&frame[sent..]).await.is_err() {
            return;
        }
    }
}

/// Sends the first bytes of a frame together with its descriptor. Returns how many bytes were sent.
async fn send_with(socket: &OwnedWriteHalf, frame: &[u8], descriptor: &OwnedFd) -> std::io::Result<usize> {
    let socket = socket.as_ref();
    let send = || Ok(wire::send(socket, frame, &[descriptor.as_fd()])?);
    socket.async_io(Interest::WRITABLE, send).await
}

/// The next message and its descriptors.
pub(crate) async fn receive<M: for<'de> Deserialize<'de>>(
    socket: &UnixStream,
    inbox: &mut Inbox,
) -> Result<(M, Vec<OwnedFd>), WireError> {
    loop {
        if let Some(message) = inbox.next_message()? {
            return Ok(message);
        }
        socket.readable().await.map_err(|_| WireError::Closed)?;
        let mut outcome = Ok(());
        // `try_io` clears the readiness only if the closure says that the call would block.
        let _ = socket.try_io(Interest::READABLE, || match inbox.receive(socket) {
            Err(WireError::Io(Errno::WOULDBLOCK)) => Err(std::io::ErrorKind::WouldBlock.into()),
            other => {
                outcome = other;
                Ok(())
            }
        });
        outcome?;
    }
}

async fn read_messages(
    socket: OwnedReadHalf,
    mut inbox: Inbox,
    waiting: Arc<Mutex<Waiting>>,
    requests: mpsc::WeakSender<Request>,
) {
    loop {
        let (message, descriptors) = match receive(socket.as_ref(), &mut inbox).await {
            Ok(received) => received,
            Err(error) => {
                if !matches!(error, WireError::Closed | WireError::Io(Errno::CONNRESET)) {
                    tracing::warn!(%error, "the link to a sandbox's init ended");
                }
                break;
            }
        };
        let abandoned = lock(&waiting).settle(message, descriptors);
        // Nobody waits for this process any more, so nobody could see or end it.
        if let Some(pid) = abandoned
            && let Some(requests) = requests.upgrade()
            && let Ok(frame) = encode(&ToInit::Signal { pid, signal: ProcessSignal::Kill }, 0)
        {
            let _ = requests.send((frame, None)).await;
        }
    }
    let mut waiting = lock(&waiting);
    *waiting = Waiting { closed: true, ..Waiting::default() };
}

impl Waiting {
    /// Hands a message to the caller that waits for it. Returns the pid of a new process if its caller is gone.
    fn settle(&mut self, message: FromInit, mut descriptors: Vec<OwnedFd>) -> Option<u32> {
        match message {
            FromInit::Hello { .. } => {}
            FromInit::Exit { pid, status } => {
                if let Some(exit) = self.exits.remove(&pid) {
                    let _ = exit.send(status);
                }
            }
            FromInit::Reply { id, result } => match (self.replies.remove(&id), result) {
                (Some(Waiter::Spawn(waiter)), Ok(Reply::Spawned { pid })) => {
                    let (sender, exit) = oneshot::channel();
                    self.exits.insert(pid, sender);
                    if waiter.send(Ok(Spawned { pid, descriptors, exit })).is_err() {
                        return Some(pid);
                    }
                }
                (Some(Waiter::Spawn(waiter)), Err(failure)) => drop(waiter.send(Err(failure))),
                (Some(Waiter::InitAnswer(waiter)), result) => {
                    drop(waiter.send(result.map(|reply| (reply, descriptors.pop()))))
                }
                (Some(Waiter::Spawn(_)) | None, _) => {}
            },
        }
        None
    }
}
