//! A shell under the recorder without a session, to try a provider.
//!
//! Owns how its numbered output becomes a terminal of the port. Deliberately
//! keeps nothing.

use std::sync::Arc;

use bytes::Bytes;
use sandbox_broker_core::sandbox::{Call, Command, PIPE_CHUNKS, Provider, Result, SandboxRef, Size, Terminal};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use super::link::Recorded;
use super::piece::Piece;
use super::tape::Tape;
use crate::live_sandbox::LiveSandbox;
use crate::retry::PATIENCE;

/// Brings the recorder into a sandbox and starts a shell under it, as a session
/// of level 0 does where a provider has no terminals.
///
/// # Errors
/// Those of the provider, and those of a recorder that does not run there.
pub async fn try_shell(
    provider: Arc<dyn Provider>,
    sandbox: &SandboxRef,
    recorder: &Bytes,
    shell: &Command,
    input: mpsc::Receiver<Bytes>,
) -> Result<Terminal> {
    let (call, sandbox) = (Call::default(), LiveSandbox::new(sandbox.clone()));
    let tape = Tape { provider, call, sandbox, user: shell.user.clone(), screens: Arc::default() };
    let started = tape.start(recorder, shell, Size::DEFAULT, true).await?;
    let Recorded { output: mut pieces, done, control, lifetime, .. } = tape.keep(started, input, PATIENCE);
    let (to, output) = mpsc::channel(PIPE_CHUNKS);
    let pump = tokio::spawn(async move {
        let _lifetime = lifetime;
        while let Some(piece) = pieces.recv().await {
            if let Piece::Output(_, bytes) = piece
                && to.send(bytes).await.is_err()
            {
                return;
            }
        }
    });
    Ok(Terminal { pty: String::new(), output, done, control, lifetime: AbortOnDropHandle::new(pump) })
}
