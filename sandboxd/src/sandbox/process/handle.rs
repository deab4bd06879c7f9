//! One live process as the server holds it: its description, its input and its terminal's size.
//!
//! Does not know its output (see `pump`) or the other processes.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::termios::Winsize;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::error::{ProcessError, Selector};
use crate::connect::stream::Producer;

/// What a process was started with, as `List` shows it.
#[derive(Debug, Clone)]
pub(crate) struct Description {
    pub(crate) cmd: String,
    pub(crate) args: Vec<String>,
    /// Only those of its own request.
    pub(crate) envs: Vec<(String, String)>,
    pub(crate) cwd: Option<String>,
    pub(crate) tag: Option<String>,
}

/// One live process.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    pub(crate) description: Description,
    pub(super) input: ProcessInput,
    pub(super) joins: mpsc::Sender<Producer>,
    /// Cancelled when the process was reaped, or the sandbox is gone.
    pub(super) ended: CancellationToken,
}

#[derive(Debug)]
pub(super) enum ProcessInput {
    /// The master of its terminal. The lock keeps the bytes of one request together.
    Terminal(Arc<AsyncFd<OwnedFd>>, tokio::sync::Mutex<()>),
    /// The write end of its standard input, until that is closed.
    Pipe(tokio::sync::Mutex<Option<AsyncFd<OwnedFd>>>),
}

impl Process {
    /// Writes input to the process, completely and in order. Waits while the process does not read.
    pub(crate) async fn write(&self, terminal: bool, bytes: &[u8]) -> Result<(), ProcessError> {
        let pid = self.pid;
        let work = async {
            match (&self.input, terminal) {
                (ProcessInput::Terminal(master, turn), true) => {
                    let _turn = turn.lock().await;
                    write_all(master, bytes).await.map_err(|source| ProcessError::Write { pid, source })
                }
                (ProcessInput::Pipe(stdin), false) => {
                    let stdin = stdin.lock().await;
                    let stdin = stdin.as_ref().ok_or(ProcessError::StdinClosed(pid))?;
                    write_all(stdin, bytes).await.map_err(|source| ProcessError::Write { pid, source })
                }
                (ProcessInput::Terminal(..), false) => Err(ProcessError::OnTerminal(pid)),
                (ProcessInput::Pipe(_), true) => Err(ProcessError::NoTerminal(pid)),
            }
        };
        tokio::select! {
            biased;
            result = work => result,
            () = self.ended.cancelled() => Err(ProcessError::NotFound(Selector::Pid(pid))),
        }
    }

    /// Closes the standard input of a process on pipes. Closing it twice is no error.
    pub(crate) async fn close_stdin(&self) -> Result<(), ProcessError> {
        match &self.input {
            ProcessInput::Pipe(stdin) => {
                stdin.lock().await.take();
                Ok(())
            }
            ProcessInput::Terminal(..) => Err(ProcessError::OnTerminal(self.pid)),
        }
    }

    /// Sets the size of its terminal. If it differs, the kernel notifies the foreground processes.
    pub(crate) fn resize(&self, cols: u16, rows: u16) -> Result<(), ProcessError> {
        let ProcessInput::Terminal(master, _) = &self.input else {
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
