//! Runs a short process in the sandbox.
//!
//! Owns its bounds. Deliberately does not know what it does.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::path::MAX_PATH;
use sandbox_broker_core::sandbox::{self, Command, Exit, Process};
use sandbox_broker_session::Workspace;

/// Time for ending a process that did not answer.
const KILL_WITHIN: Duration = Duration::from_secs(2);

/// Bytes of each output, at most. A rename asks for two paths beside the roots, and
/// a link may lead to a path as long as the system allows.
pub(super) const MAX_OUTPUT: usize = 16 * MAX_PATH;

/// Both outputs of a process, each cut, and how it ended.
pub(super) type Ran = (Vec<u8>, Vec<u8>, sandbox::Result<Exit>);

/// Runs a process in the sandbox as the session's user. None if it did not end
/// within that time.
pub(super) async fn run(workspace: &Workspace, argv: Vec<String>, within: Duration) -> sandbox::Result<Option<Ran>> {
    let Workspace { provider, sandbox, call, user, .. } = workspace;
    let command = Command { argv, cwd: Some("/".to_owned()), env: BTreeMap::new(), user: user.clone() };
    // It has no input: the sender is dropped at once.
    let (_, stdin) = mpsc::channel(1);
    let mut process = provider.run(call, sandbox, &command, stdin).await?;
    match timeout(within, outcome(&mut process)).await {
        Ok(ran) => Ok(Some(ran)),
        Err(_) => {
            // The kernel may wait for a mount. This must not wait for the kernel.
            let _ = timeout(KILL_WITHIN, process.control.signal("SIGKILL")).await;
            Ok(None)
        }
    }
}

/// Reads both outputs and waits for the end.
async fn outcome(process: &mut Process) -> Ran {
    let (printed, said) = tokio::join!(collect(&mut process.stdout), collect(&mut process.stderr));
    (printed, said, sandbox::await_exit(&mut process.done).await)
}

/// Reads a short output to its end. What is above [`MAX_OUTPUT`] is thrown away.
async fn collect(from: &mut mpsc::Receiver<Bytes>) -> Vec<u8> {
    let mut all = Vec::new();
    while let Some(chunk) = from.recv().await {
        all.extend_from_slice(&chunk[..chunk.len().min(MAX_OUTPUT - all.len())]);
    }
    all
}
