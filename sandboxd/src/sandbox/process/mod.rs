//! The processes of one sandbox, as the server sees them: their table, their input, and who listens to them.
//!
//! Output flows from a process's descriptors through its [`pump`] to each listener's stream. Knows nothing of HTTP.

mod error;
mod event;
mod handle;
mod pump;
mod table;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

pub(crate) use self::error::{ProcessError, Selector};
pub(crate) use self::handle::Process;
use self::handle::{Description, ProcessInput};
use self::pump::Pump;
use self::table::{ProcessSlot, ProcessTable};
use crate::connect::stream::{self, EventStream, Producer};
use crate::descriptor::register;
use crate::link::{Link, Spawned};
use sandboxd_init::wire::{ProcessSignal, Spawn, SpawnIo};

/// Listeners that wait until a pump accepts them.
const JOINS: usize = 16;

/// The processes of a sandbox that were started through the API.
#[derive(Debug)]
pub(crate) struct Processes {
    link: Link,
    /// Cancelled when the sandbox is gone.
    gone: CancellationToken,
    table: Arc<ProcessTable>,
}

impl Processes {
    pub(crate) fn new(link: Link, gone: CancellationToken) -> Self {
        Self { link, gone, table: Arc::default() }
    }

    /// Starts a process and listens to it from its first byte. `own_envs` is what `List` shows. The process is killed
    /// after `kill_after`.
    ///
    /// This completes even if the caller goes away, as with E2B. The process is then in the list.
    pub(crate) async fn start(
        self: &Arc<Self>,
        spawn: Spawn,
        own_envs: Vec<(String, String)>,
        tag: Option<String>,
        kill_after: Option<Duration>,
    ) -> Result<EventStream, ProcessError> {
        let slot = ProcessSlot::take(&self.table)?;
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
            this.adopt(spawned, io, description, kill_after, slot)
        });
        task.await.expect("starting a process does not panic")
    }

    fn adopt(
        &self,
        spawned: Spawned,
        io: SpawnIo,
        description: Description,
        kill_after: Option<Duration>,
        slot: ProcessSlot,
    ) -> Result<EventStream, ProcessError> {
        let pid = spawned.pid;
        let descriptor_error = |source| ProcessError::Write { pid, source };
        let mut descriptors =
            spawned.descriptors.into_iter().map(|descriptor| register(descriptor).map_err(descriptor_error));
        let mut next =
            || descriptors.next().unwrap_or_else(|| Err(descriptor_error(io::ErrorKind::UnexpectedEof.into())));
        let (input, sources) = match io {
            SpawnIo::Pty { .. } => {
                let master = Arc::new(next()?);
                (
                    ProcessInput::Terminal(master.clone(), tokio::sync::Mutex::default()),
                    vec![(event::Channel::Pty, master)],
                )
            }
            SpawnIo::Pipes { stdin } => {
                let sources =
                    vec![(event::Channel::Stdout, Arc::new(next()?)), (event::Channel::Stderr, Arc::new(next()?))];
                let stdin = if stdin { Some(next()?) } else { None };
                (ProcessInput::Pipe(tokio::sync::Mutex::new(stdin)), sources)
            }
        };
        let (first, stream) = pair(pid);
        let (joins, waiting) = mpsc::channel(JOINS);
        let ended = CancellationToken::new();
        let process = Arc::new(Process { pid, description, input, joins, ended: ended.clone() });
        slot.fill(process);
        let pump = Pump::new(self.table.clone(), self.gone.clone(), pid, sources, waiting, first, ended.clone());
        tokio::spawn(pump.run(spawned.exit));
        if let Some(after) = kill_after {
            tokio::spawn(kill_later(self.link.clone(), pid, after, ended));
        }
        Ok(stream)
    }

    /// Listens to a process from now on. For a process that ended at most 30 s ago, the stream is its end.
    pub(crate) async fn connect(&self, selector: &Selector) -> Result<EventStream, ProcessError> {
        if let Ok(process) = self.find(selector) {
            let (producer, stream) = pair(process.pid);
            match process.joins.send_timeout(producer, pump::STALL).await {
                Ok(()) => return Ok(stream),
                Err(mpsc::error::SendTimeoutError::Timeout(_)) => {
                    return Err(ProcessError::TooManyListeners(process.pid));
                }
                // The process has just ended, and its end is already kept.
                Err(mpsc::error::SendTimeoutError::Closed(_)) => {}
            }
        }
        let (pid, end) = self.table.recent_end(selector).ok_or_else(|| ProcessError::NotFound(selector.clone()))?;
        let (producer, stream) = pair(pid);
        let _ = producer.queue.try_send(end);
        Ok(stream)
    }

    /// The live process that a request names.
    pub(crate) fn find(&self, selector: &Selector) -> Result<Arc<Process>, ProcessError> {
        self.table.find(selector)
    }

    /// The live processes in the order of their pids.
    pub(crate) fn list(&self) -> Vec<Arc<Process>> {
        self.table.list()
    }

    /// Sends a signal to the process itself, not to its children.
    pub(crate) async fn signal(&self, selector: &Selector, signal: ProcessSignal) -> Result<(), ProcessError> {
        let process = self.find(selector)?;
        Ok(self.link.signal(process.pid, signal).await?)
    }
}

/// Makes the stream of one listener. The `start` event is already in it.
fn pair(pid: u32) -> (Producer, EventStream) {
    stream::channel(event::start(pid), event::keepalive())
}

/// Enforces the time limit of a process. E2B's daemon also kills the process itself, not only the stream.
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
