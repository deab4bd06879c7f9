//! From a sandbox to a shell: a new one, or one of an earlier broker.
//!
//! Owns which terminal a shell gets. Deliberately decides nothing about the
//! session: the driver says what it needs and tells what came of it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::warn;

use super::directory::{Directory, Settled};
use super::driver::failed;
use super::patience::patiently;
use super::tape::{Recorded, Tape};
use super::{KEPT, Stage, Step};
use sandbox_broker_core::sandbox::{Call, Code, Command, PIPE_CHUNKS, Provider, Result, SandboxRef, Size, Terminal};

/// How long the start of the recorder is tried while the failure may pass. A
/// person waits for it; a provider's hiccup is over by then.
const START_PATIENCE: Duration = Duration::from_secs(20);

/// A shell that runs.
pub(super) enum Shell {
    /// With its size, unless another broker has started it.
    Plain(Terminal, Option<Size>),
    Recorded(Recorded, Tape),
}

/// A shell that runs, and where.
pub(super) struct Opened {
    pub(super) shell: Shell,
    /// Towards it.
    pub(super) input: mpsc::Sender<Bytes>,
    /// The directory that it started in, as far as that is known.
    pub(super) cwd: Option<String>,
    /// What clients should know of it.
    pub(super) note: Option<Stage>,
}

/// What it takes to start a shell, or to come back to it.
pub(super) struct Opening {
    pub(super) provider: Arc<dyn Provider>,
    pub(super) call: Call,
    pub(super) sandbox: SandboxRef,
    pub(super) command: Command,
    pub(super) size: Size,
    pub(super) lease: Duration,
}

impl Opening {
    fn tape(&self) -> Tape {
        Tape {
            provider: Arc::clone(&self.provider),
            call: self.call.clone(),
            sandbox: self.sandbox.clone(),
            user: self.command.user.clone(),
            screens: Arc::default(),
        }
    }

    /// Starts a shell: under the recorder, or where that cannot run, on the
    /// provider's own terminal. Its directory is made where it is missing;
    /// where that is not possible the shell starts in its user's home.
    pub(super) async fn start(mut self, recorder: Option<Bytes>) -> Result<Opened> {
        let mut error = match self.attempt(recorder.as_ref()).await {
            Err(error) if !error.code.is_transient() => error,
            done => return done,
        };
        let directory = Directory { provider: &*self.provider, call: &self.call, sandbox: &self.sandbox };
        let settled = match &self.command.cwd {
            Some(cwd) => directory.settle(cwd, self.command.user.as_deref()).await,
            None => None,
        };
        let mut note = None;
        if let Some(settled) = settled {
            if let Settled::Elsewhere(home) = settled {
                let wanted = self.command.cwd.replace(home.clone()).unwrap_or_default();
                let words =
                    format!("There is no {wanted} in this sandbox and none can be made; the shell starts in {home}");
                warn!(sandbox = self.sandbox.id, wanted, home, "the shell starts in another directory");
                note = Some(Stage::started(Step::Shell, words));
            }
            error = match self.attempt(recorder.as_ref()).await {
                Err(error) if !error.code.is_transient() => error,
                done => return done.map(|opened| Opened { note, ..opened }),
            };
        }
        if recorder.is_none() {
            return Err(error);
        }
        // Not for its whole life without it because of a bad minute.
        failed("the recorder cannot run in this sandbox; output that nobody reads is lost", &error);
        Ok(Opened { note, ..self.attempt(None).await? })
    }

    async fn attempt(&self, recorder: Option<&Bytes>) -> Result<Opened> {
        let (pipe, input) = mpsc::channel(PIPE_CHUNKS);
        let shell = match recorder {
            Some(recorder) => self.record(recorder, input).await?,
            None => {
                let Opening { provider, call, sandbox, command, size, .. } = self;
                Shell::Plain(provider.open(call, sandbox, command, *size, input).await?, Some(*size))
            }
        };
        Ok(self.opened(shell, pipe, self.command.cwd.clone()))
    }

    async fn record(&self, recorder: &Bytes, input: mpsc::Receiver<Bytes>) -> Result<Shell> {
        let tape = self.tape();
        let start = || async {
            match tape.start(recorder, &self.command, self.size).await {
                // By a try of which that was not told.
                Err(error) if error.code == Code::AlreadyExists => tape.resume(KEPT).await,
                started => started,
            }
        };
        let deadline = Instant::now() + START_PATIENCE;
        let started = patiently("could not start the recorder yet", deadline, start).await?;
        Ok(Shell::Recorded(tape.clone().keep(started, input, self.lease), tape))
    }

    /// Comes back to the recorder; tries again while that may help, for one
    /// lease.
    pub(super) async fn resume(&self) -> Result<Opened> {
        let tape = self.tape();
        let what = "could not come back to the recorder yet";
        let found = patiently(what, Instant::now() + self.lease, || tape.resume(KEPT)).await?;
        let (pipe, input) = mpsc::channel(PIPE_CHUNKS);
        let shell = Shell::Recorded(tape.clone().keep(found, input, self.lease), tape);
        Ok(self.opened(shell, pipe, self.found_cwd().await))
    }

    pub(super) async fn attach(&self, pty: &str) -> Result<Opened> {
        let (pipe, input) = mpsc::channel(PIPE_CHUNKS);
        let terminal = self.provider.attach(&self.call, &self.sandbox, pty, input).await?;
        Ok(self.opened(Shell::Plain(terminal, None), pipe, self.found_cwd().await))
    }

    fn opened(&self, shell: Shell, input: mpsc::Sender<Bytes>, cwd: Option<String>) -> Opened {
        Opened { shell, input, cwd, note: None }
    }

    /// Where an earlier broker has started the shell: where it was to start,
    /// unless that is not there.
    async fn found_cwd(&self) -> Option<String> {
        let cwd = self.command.cwd.clone()?;
        let directory = Directory { provider: &*self.provider, call: &self.call, sandbox: &self.sandbox };
        Some(directory.home_instead_of(&cwd, self.command.user.as_deref()).await.unwrap_or(cwd))
    }
}

/// Finds a sandbox of which only the id is known; tries again while that may
/// help and its lease may last.
pub(super) async fn find(provider: &dyn Provider, call: &Call, id: String, lease: Duration) -> Result<SandboxRef> {
    let sandbox = SandboxRef { id, state: Bytes::new() };
    let what = "could not find the sandbox again yet";
    patiently(what, Instant::now() + lease, || provider.connect(call, &sandbox, lease)).await
}
