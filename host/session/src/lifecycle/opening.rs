//! From a sandbox to a shell: a new one, or one of an earlier broker.
//!
//! Owns which terminal a shell gets. Deliberately decides nothing about the
//! session: the task says what it needs and passes the result on.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::warn;

use super::directory::{Directory, Settled};
use crate::failure::log_failure;
use crate::live_sandbox::LiveSandbox;
use crate::output::contents::KEPT;
use crate::recorder::link::Recorded;
use crate::recorder::tape::Tape;
use crate::retry::retry_until;
use sandbox_broker_core::sandbox::{
    Call, Code, Command, Error, Fault, PIPE_CHUNKS, Provider, Result, SandboxRef, Size, Terminal,
};
use sandbox_broker_policy::stage::{Stage, Step};

/// How long the start of the recorder is tried while the failure may pass. A
/// person waits for it; a provider's hiccup is over by then.
const START_PATIENCE: Duration = Duration::from_secs(20);

/// The terminal of a shell that runs.
pub(crate) enum ShellTerminal {
    /// The provider's own, with its size unless another broker started it.
    Plain(Terminal, Option<Size>),
    Recorded(Recorded, Tape),
}

/// A shell that runs, and where.
pub(crate) struct Opened {
    pub(crate) shell: ShellTerminal,
    /// The pipe to it.
    pub(crate) input: mpsc::Sender<Bytes>,
    /// The directory that it started in, if that is known.
    pub(crate) cwd: Option<String>,
    /// What clients should know of it.
    pub(crate) note: Option<Stage>,
}

/// What it takes to start a shell, or to come back to it.
pub(crate) struct Opening {
    pub(crate) provider: Arc<dyn Provider>,
    pub(crate) call: Call,
    pub(crate) sandbox: LiveSandbox,
    pub(crate) command: Command,
    pub(crate) size: Size,
    pub(crate) lease: Duration,
    /// The recorder answers what programs ask of the terminal. Clients of level
    /// 0 answer by themselves.
    pub(crate) answers: bool,
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

    /// Starts a shell under the recorder, or on the provider's own terminal if
    /// the recorder cannot run and the provider has terminals. Makes the shell's directory if it is missing.
    /// If that is not possible, the shell starts in its user's home.
    pub(crate) async fn start(mut self, recorder: Option<Bytes>) -> Result<Opened> {
        let plain = self.provider.abilities().terminal;
        if recorder.is_none() && !plain {
            let message = "this broker has no sandbox-recorder: install it";
            return Err(self.no_terminal(Error::new(Fault::Operator, Code::Unimplemented, message)));
        }
        let mut error = match self.attempt(recorder.as_ref()).await {
            Err(error) if !error.code.is_transient() => error,
            done => return done,
        };
        let sandbox = self.sandbox.get();
        let directory = Directory { provider: &*self.provider, call: &self.call, sandbox: &sandbox };
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
                warn!(sandbox = sandbox.id, wanted, home, "the shell starts in another directory");
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
        if !plain {
            return Err(self.no_terminal(error));
        }
        // A transient failure has returned above: a bad minute must not leave a
        // session without a recorder for its whole life.
        log_failure("the recorder cannot run in this sandbox; output that nobody reads is lost", &error);
        Ok(Opened { note, ..self.attempt(None).await? })
    }

    /// The error of a shell for which there is neither a recorder nor another
    /// terminal.
    fn no_terminal(&self, error: Error) -> Error {
        let message = format!(
            "{error}. The provider `{}` needs the recorder for each shell, because its plugin does not export the \
             interface `terminal`",
            self.provider.name()
        );
        Error { message, ..error }
    }

    async fn attempt(&self, recorder: Option<&Bytes>) -> Result<Opened> {
        let (pipe, input) = mpsc::channel(PIPE_CHUNKS);
        let shell = match recorder {
            Some(recorder) => self.record(recorder, input).await?,
            None => {
                let Opening { provider, call, sandbox, command, size, .. } = self;
                ShellTerminal::Plain(provider.open(call, &sandbox.get(), command, *size, input).await?, Some(*size))
            }
        };
        Ok(self.opened(shell, pipe, self.command.cwd.clone()))
    }

    async fn record(&self, recorder: &Bytes, input: mpsc::Receiver<Bytes>) -> Result<ShellTerminal> {
        let tape = self.tape();
        let start = || async {
            match tape.start(recorder, &self.command, self.size, !self.answers).await {
                // An earlier try started it, but its answer was lost.
                Err(error) if error.code == Code::AlreadyExists => tape.resume(KEPT).await,
                started => started,
            }
        };
        let deadline = Instant::now() + START_PATIENCE;
        let started = retry_until("could not start the recorder yet", deadline, start).await?;
        Ok(ShellTerminal::Recorded(tape.clone().keep(started, input, self.lease), tape))
    }

    /// Attaches to the recorder again. Tries again while that may help, for one
    /// lease.
    pub(crate) async fn resume(&self) -> Result<Opened> {
        let tape = self.tape();
        let what = "could not come back to the recorder yet";
        let found = retry_until(what, Instant::now() + self.lease, || tape.resume(KEPT)).await?;
        let (pipe, input) = mpsc::channel(PIPE_CHUNKS);
        let shell = ShellTerminal::Recorded(tape.clone().keep(found, input, self.lease), tape);
        Ok(self.opened(shell, pipe, self.found_cwd().await))
    }

    pub(crate) async fn attach(&self, pty: &str) -> Result<Opened> {
        let (pipe, input) = mpsc::channel(PIPE_CHUNKS);
        let terminal = self.provider.attach(&self.call, &self.sandbox.get(), pty, input).await?;
        Ok(self.opened(ShellTerminal::Plain(terminal, None), pipe, self.found_cwd().await))
    }

    fn opened(&self, shell: ShellTerminal, input: mpsc::Sender<Bytes>, cwd: Option<String>) -> Opened {
        Opened { shell, input, cwd, note: None }
    }

    /// The directory in which an earlier broker started the shell: the
    /// configured one, or the user's home if that one is missing.
    async fn found_cwd(&self) -> Option<String> {
        let cwd = self.command.cwd.clone()?;
        let sandbox = self.sandbox.get();
        let directory = Directory { provider: &*self.provider, call: &self.call, sandbox: &sandbox };
        Some(directory.home_instead_of(&cwd, self.command.user.as_deref()).await.unwrap_or(cwd))
    }
}

/// Finds a sandbox by its id. Tries again while that may help and the lease may
/// last.
pub(crate) async fn find_sandbox(
    provider: &dyn Provider,
    call: &Call,
    id: String,
    lease: Duration,
) -> Result<SandboxRef> {
    let sandbox = SandboxRef { id, state: Bytes::new() };
    let what = "could not find the sandbox again yet";
    retry_until(what, Instant::now() + lease, || provider.connect(call, &sandbox, lease)).await
}
