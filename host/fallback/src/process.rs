//! A short process in a sandbox: what it said, and how it ended.
//!
//! Owns the bound of its words. Deliberately does not know what it does.

use bytes::Bytes;
use sandbox_broker_core::sandbox::{Exit, Process, Result, await_exit};
use sandbox_stdx::words::clean;
use tokio::sync::mpsc;

/// Bytes of each output that are kept, at most: a message and no more.
const WORDS: usize = 512;

/// Reads both outputs of a process and waits for its end. The words are those of its standard error.
pub(crate) async fn ended(process: &mut Process) -> Result<(Exit, String)> {
    let (_, words) = tokio::join!(start_of(&mut process.stdout), start_of(&mut process.stderr));
    let exit = await_exit(&mut process.done).await?;
    Ok((exit, clean(&String::from_utf8_lossy(&words), WORDS)))
}

async fn start_of(pipe: &mut mpsc::Receiver<Bytes>) -> Vec<u8> {
    let mut start = Vec::new();
    while let Some(chunk) = pipe.recv().await {
        start.extend_from_slice(&chunk[..chunk.len().min(WORDS - start.len())]);
    }
    start
}
