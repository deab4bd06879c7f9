//! The processes of one sandbox, as seen from the server: their table, their input, and who listens to them.
//!
//! Output flows from a process's descriptors through its [`pump`] to each listener's stream. Knows nothing of HTTP.

mod event;
mod pump;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use rustix::termios::Winsize;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::pump::Pump;
use crate::connect::stream::{self, EventStream, Producer};
use crate::link::{Link, Spawned};
use crate::wire::{ProcessSignal, Spawn, SpawnIo};

/// Live processes of one sandbox that were started through the API.
const MAX_PROCESSES: usize = 1024;

/// How long the end of a process can still be asked for, as in E2B's daemon.
const END_KEPT: Duration = Duration::from_secs(30);

/// Ends kept at once; the oldest goes first.
const MAX_ENDS: usize = 1024;

/// Listeners that wait to be taken in by a pump.
const JOINS: usize = 16;

/// Why an operation on a process was refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProcessError {
    #[error("process with {0} not found")]
    NotFound(Selector),
    #[error("the sandbox runs {MAX_PROCESSES} processes already: end one first")]
    TooMany,
    #[error("process {0} is not on a terminal")]
    NoTerminal(u32),
    #[error("process {0} is on a terminal: send its input as 'pty'")]
    OnTerminal(u32),
    #[error("the standard input of process {0} is closed")]
    StdinClosed(u32),
    #[error("cannot write to process {pid}")]
    Write { pid: u32, source: io::Error },
    #[error("process {0} has too many listeners")]
    TooManyListeners(u32),
    #[error(transparent)]
    Refused(#[from] crate::wire::Failure),
}

/// How a request names a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Selector {
    Pid(u32),
    Tag(String),
}

impl std::fmt::Display for Selector {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Pid(pid) => write!(formatter, "pid {pid}"),
            Self::Tag(tag) => write!(formatter, "tag {tag}"),
        }
    }
}

/// What a process was started with, as `List` shows it.
#[derive(Debug, Clone)]
pub(crate) struct Description {
    pub(crate) cmd: String,
    pub(crate) args: Vec<String>,
    /// Those of its own request only.
    pub(crate) envs: Vec<(String, String)>,
    pub(crate) cwd: Option<String>,
    pub(crate) tag: Option<String>,
}

/// One live process.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    pub(crate) description: Description,
    input: Input,
    joins: mpsc::Sender<Producer>,
    /// Set when the process has been reaped, or the sandbox is gone.
    ended: CancellationToken,
}

#[derive(Debug)]
enum Input {
    /// The master of its terminal; the lock keeps the bytes of one request together.
    Terminal(Arc<AsyncFd<OwnedFd>>, tokio::sync::Mutex<()>),
    /// The write end of its standard input until that is closed.
    Pipe(tokio::sync::Mutex<Option<AsyncFd<OwnedFd>>>),
}

impl Process {
    /// Writes input for the process, in order and completely; waits while the process does not read.
    pub(crate) async fn write(&self, terminal: bool, bytes: &[u8]) -> Result<(), ProcessError> {
        let pid = self.pid;
        let work = async {
            match (&self.input, terminal) {
                (Input::Terminal(master, turn), true) => {
                    let _turn = turn.lock().await;
                    write_all(master, bytes).await.map_err(|source| ProcessError::Write { pid, source })
                }
                (Input::Pipe(stdin), false) => {
                    let stdin = stdin.lock().await;
                    let stdin = stdin.as_ref().ok_or(ProcessError::StdinClosed(pid))?;
                    write_all(stdin, bytes).await.map_err(|source| ProcessError::Write { pid, source })
                }
                (Input::Terminal(..), false) => Err(ProcessError::OnTerminal(pid)),
                (Input::Pipe(_), true) => Err(ProcessError::NoTerminal(pid)),
            }
        };
        tokio::select! {
            biased;
            result = work => result,
            () = self.ended.cancelled() => Err(ProcessError::NotFound(Selector::Pid(pid))),
        }
    }

    /// Closes the standard input of a process on pipes; once more is no error.
    pub(crate) async fn close_stdin(&self) -> Result<(), ProcessError> {
        match &self.input {
            Input::Pipe(stdin) => {
                stdin.lock().await.take();
                Ok(())
            }
            Input::Terminal(..) => Err(ProcessError::OnTerminal(self.pid)),
        }
    }

    /// Sets the size of its terminal; the kernel tells the foreground processes if it differs.
    pub(crate) fn resize(&self, cols: u16, rows: u16) -> Result<(), ProcessError> {
        let Input::Terminal(master, _) = &self.input else {
            return Err(ProcessError::NoTerminal(self.pid));
        };
        let size = Winsize { ws_col: cols, ws_row: rows, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(master.get_ref(), size)
            .map_err(|error| ProcessError::Write { pid: self.pid, source: error.into() })
    }
}

async fn write_all(descriptor: &AsyncFd<OwnedFd>, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let written =
            descriptor.async_io(Interest::WRITABLE, |descriptor| Ok(rustix::io::write(descriptor, bytes)?)).await?;
        bytes = &bytes[written..];
    }
    Ok(())
}

/// The processes of a sandbox that were started through the API.
#[derive(Debug)]
pub(crate) struct Processes {
    link: Link,
    /// Set when the sandbox is gone.
    gone: CancellationToken,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    live: HashMap<u32, Arc<Process>>,
    starting: usize,
    ended: VecDeque<Ended>,
}

#[derive(Debug)]
struct Ended {
    pid: u32,
    tag: Option<String>,
    at: Instant,
    event: Bytes,
}

impl Processes {
    pub(crate) fn new(link: Link, gone: CancellationToken) -> Self {
        Self { link, gone, table: Mutex::default() }
    }

    /// Starts a process and listens to it from its first byte. `own_envs` is what `List` shows; `kill_after` is the most it
    /// may live.
    ///
    /// Runs on if the caller goes away, as with E2B: the process then is in the list.
    pub(crate) async fn start(
        self: &Arc<Self>,
        spawn: Spawn,
        own_envs: Vec<(String, String)>,
        tag: Option<String>,
        kill_after: Option<Duration>,
    ) -> Result<EventStream, ProcessError> {
        let place = Place::take(self)?;
        let this = self.clone();
        let task = tokio::spawn(async move {
            let description = Description {
                cmd: spawn.cmd.clone(),
                args: spawn.args.clone(),
                envs: own_envs,
                cwd: spawn.cwd.clone(),
                tag,
            };
            let io = spawn.io;
            let spawned = this.link.spawn(spawn).await?;
            this.adopt(spawned, io, description, kill_after, place)
        });
        task.await.expect("starting a process does not panic")
    }

    fn adopt(
        self: &Arc<Self>,
        spawned: Spawned,
        io: SpawnIo,
        description: Description,
        kill_after: Option<Duration>,
        place: Place,
    ) -> Result<EventStream, ProcessError> {
        let pid = spawned.pid;
        let wrong = |source| ProcessError::Write { pid, source };
        let mut descriptors = spawned.descriptors.into_iter().map(|descriptor| register(descriptor).map_err(wrong));
        let mut next = || descriptors.next().unwrap_or_else(|| Err(wrong(io::ErrorKind::UnexpectedEof.into())));
        let (input, sources) = match io {
            SpawnIo::Pty { .. } => {
                let master = Arc::new(next()?);
                (Input::Terminal(master.clone(), tokio::sync::Mutex::default()), vec![(event::Channel::Pty, master)])
            }
            SpawnIo::Pipes { stdin } => {
                let sources =
                    vec![(event::Channel::Stdout, Arc::new(next()?)), (event::Channel::Stderr, Arc::new(next()?))];
                let stdin = if stdin { Some(next()?) } else { None };
                (Input::Pipe(tokio::sync::Mutex::new(stdin)), sources)
            }
        };
        let (first, stream) = pair(pid);
        let (joins, waiting) = mpsc::channel(JOINS);
        let ended = CancellationToken::new();
        let process = Arc::new(Process { pid, description, input, joins, ended: ended.clone() });
        place.fill(process);
        let pump = Pump::new(self.clone(), pid, sources, waiting, first, ended.clone());
        tokio::spawn(pump.run(spawned.exit));
        if let Some(after) = kill_after {
            tokio::spawn(kill_later(self.link.clone(), pid, after, ended));
        }
        Ok(stream)
    }

    /// Listens to a process from now on. One that ended at most 30 s ago answers with its end.
    pub(crate) async fn connect(&self, selector: &Selector) -> Result<EventStream, ProcessError> {
        if let Ok(process) = self.find(selector) {
            let (producer, stream) = pair(process.pid);
            match process.joins.send_timeout(producer, pump::STALL).await {
                Ok(()) => return Ok(stream),
                Err(mpsc::error::SendTimeoutError::Timeout(_)) => {
                    return Err(ProcessError::TooManyListeners(process.pid));
                }
                // It ended in between, and its end is kept by now.
                Err(mpsc::error::SendTimeoutError::Closed(_)) => {}
            }
        }
        let table = self.lock();
        let ended = table.ended.iter().rev().find(|ended| {
            ended.at.elapsed() < END_KEPT
                && match selector {
                    Selector::Pid(pid) => ended.pid == *pid,
                    Selector::Tag(tag) => ended.tag.as_ref() == Some(tag),
                }
        });
        let ended = ended.ok_or_else(|| ProcessError::NotFound(selector.clone()))?;
        let (producer, stream) = pair(ended.pid);
        let _ = producer.queue.try_send(ended.event.clone());
        Ok(stream)
    }

    /// The live process that a request names.
    pub(crate) fn find(&self, selector: &Selector) -> Result<Arc<Process>, ProcessError> {
        let table = self.lock();
        let found = match selector {
            Selector::Pid(pid) => table.live.get(pid),
            Selector::Tag(tag) => table.live.values().find(|process| process.description.tag.as_ref() == Some(tag)),
        };
        found.cloned().ok_or_else(|| ProcessError::NotFound(selector.clone()))
    }

    /// The live processes in the order of their pids.
    pub(crate) fn list(&self) -> Vec<Arc<Process>> {
        let mut live: Vec<_> = self.lock().live.values().cloned().collect();
        live.sort_by_key(|process| process.pid);
        live
    }

    /// Signals the process itself, not its children.
    pub(crate) async fn signal(&self, selector: &Selector, signal: ProcessSignal) -> Result<(), ProcessError> {
        let process = self.find(selector)?;
        Ok(self.link.signal(process.pid, signal).await?)
    }

    /// Moves a process from the live ones to those whose end is kept.
    fn end(&self, pid: u32, event: Bytes) {
        let mut table = self.lock();
        let process = table.live.remove(&pid);
        let tag = process.and_then(|process| process.description.tag.clone());
        while table.ended.len() >= MAX_ENDS || table.ended.front().is_some_and(|ended| ended.at.elapsed() >= END_KEPT) {
            table.ended.pop_front();
        }
        table.ended.push_back(Ended { pid, tag, at: Instant::now(), event });
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A listener of a process, told its `start` already.
fn pair(pid: u32) -> (Producer, EventStream) {
    stream::channel(event::start(pid), event::keepalive())
}

/// The time limit of a process: E2B's daemon kills the process itself, not only the stream.
async fn kill_later(link: Link, pid: u32, after: Duration, ended: CancellationToken) {
    tokio::select! {
        biased;
        () = ended.cancelled() => {}
        () = tokio::time::sleep(after) => {
            tracing::debug!(pid, "the time limit of a process has passed");
            let _ = link.signal(pid, ProcessSignal::Kill).await;
        }
    }
}

/// Makes the server's end of a descriptor ready for the runtime.
pub(crate) fn register(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    rustix::io::ioctl_fionbio(descriptor.as_fd(), true)?;
    // SAFETY: an `OwnedFd` names the same open descriptor for as long as it lives, and nobody takes it out.
    Ok(unsafe { AsyncFd::register(descriptor) }?)
}

/// A place among the [`MAX_PROCESSES`], given back unless filled.
struct Place(Option<Arc<Processes>>);

impl Place {
    fn take(processes: &Arc<Processes>) -> Result<Self, ProcessError> {
        let mut table = processes.lock();
        if table.live.len() + table.starting >= MAX_PROCESSES {
            return Err(ProcessError::TooMany);
        }
        table.starting += 1;
        Ok(Self(Some(processes.clone())))
    }

    fn fill(mut self, process: Arc<Process>) {
        if let Some(processes) = self.0.take() {
            let mut table = processes.lock();
            table.starting -= 1;
            table.live.insert(process.pid, process);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(processes) = &self.0 {
            processes.lock().starting -= 1;
        }
    }
}
