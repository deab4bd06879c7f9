//! From a sandbox to a shell: a new one, or one of an earlier broker.
//!
//! Owns which terminal a shell gets. Deliberately decides nothing about the
//! session: the driver says what it needs and tells what came of it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::KEPT;
use super::driver::failed;
use super::patience::patiently;
use super::tape::{Recorded, Tape};
use crate::sandbox::{Call, Code, Command, Provider, Result, SandboxRef, Size, Terminal};

/// How long the start of the recorder is tried while the failure may pass. A
/// person waits for it; a provider's hiccup is over by then.
const START_PATIENCE: Duration = Duration::from_secs(20);

/// A shell that runs.
pub(super) enum Shell {
    /// With its size, unless another broker has started it.
    Plain(Terminal, Option<Size>),
    Recorded(Recorded, Tape),
}

/// What it takes to start a shell, or to come back to it.
pub(super) struct Opening {
    pub(super) provider: Arc<dyn Provider>,
    pub(super) call: Call,
    pub(super) sandbox: SandboxRef,
    pub(super) command: Command,
    pub(super) size: Size,
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

    /// Under the recorder, or where that cannot run, on the provider's own
    /// terminal.
    pub(super) async fn record(&self, recorder: &Bytes, input: mpsc::Receiver<Bytes>) -> Result<Shell> {
        let tape = self.tape();
        let start = || async {
            match tape.start(recorder, &self.command, self.size).await {
                // By a try of which that was not told.
                Err(error) if error.code == Code::AlreadyExists => tape.resume(KEPT).await,
                started => started,
            }
        };
        let deadline = Instant::now() + START_PATIENCE;
        match patiently("could not start the recorder yet", deadline, start).await {
            Ok(started) => Ok(Shell::Recorded(tape.clone().keep(started, input), tape)),
            // Not for its whole life without it because of a bad minute.
            Err(error) if error.code.is_transient() => Err(error),
            Err(error) => {
                failed("the recorder cannot run in this sandbox; output that nobody reads is lost", &error);
                self.plain(input).await
            }
        }
    }

    pub(super) async fn plain(&self, input: mpsc::Receiver<Bytes>) -> Result<Shell> {
        let Opening { provider, call, sandbox, command, size } = self;
        let terminal = provider.open(call, sandbox, command, *size, input).await?;
        Ok(Shell::Plain(terminal, Some(*size)))
    }

    /// Comes back to the recorder; tries again while that may help, for one
    /// `lease`.
    pub(super) async fn resume(&self, input: mpsc::Receiver<Bytes>, lease: Duration) -> Result<Shell> {
        let tape = self.tape();
        let what = "could not come back to the recorder yet";
        let found = patiently(what, Instant::now() + lease, || tape.resume(KEPT)).await?;
        Ok(Shell::Recorded(tape.clone().keep(found, input), tape))
    }

    pub(super) async fn attach(&self, pty: &str, input: mpsc::Receiver<Bytes>) -> Result<Shell> {
        let terminal = self.provider.attach(&self.call, &self.sandbox, pty, input).await?;
        Ok(Shell::Plain(terminal, None))
    }
}

/// Finds a sandbox of which only the id is known; tries again while that may
/// help and its lease may last.
pub(super) async fn find(provider: &dyn Provider, call: &Call, id: String, lease: Duration) -> Result<SandboxRef> {
    let sandbox = SandboxRef { id, state: Bytes::new() };
    let what = "could not find the sandbox again yet";
    patiently(what, Instant::now() + lease, || provider.connect(call, &sandbox, lease)).await
}
