//! One connection to the recorder.
//!
//! Owns how it is made: the recorder is installed and starts the shell, or it
//! is there and is attached to. What comes over the connection is not read
//! here, but for the greeting.

use std::time::Duration;

use bytes::Bytes;
use sandbox_broker_core::sandbox::{Code, Command, Error, Fault, PIPE_CHUNKS, Process, Result, Size};
use sandbox_broker_fallback::install::install;
use sandbox_broker_fallback::program::argv;
use sandbox_recorder::wire;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tracing::debug;

use super::ended::why_ended;
use super::said::{Frames, Said, garbled};
use super::tape::Tape;

/// Time for the recorder to say that the shell runs. It takes milliseconds;
/// the rest is for a provider that is busy.
const HELLO_DEADLINE: Duration = Duration::from_secs(20);

impl Tape {
    /// Puts the recorder into the sandbox and starts the shell under it. If it
    /// is `silent`, it answers no program: the client's terminal does.
    pub(crate) async fn start(&self, program: &Bytes, shell: &Command, size: Size, silent: bool) -> Result<Attachment> {
        let sandbox = self.sandbox.get();
        install(&*self.provider, &self.call, &sandbox, self.user.as_deref(), program).await?;
        let Size { cols, rows } = size;
        let mut argv = argv("run", ["--cols".to_owned(), cols.to_string(), "--rows".to_owned(), rows.to_string()]);
        argv.extend(silent.then(|| "--silent".to_owned()));
        argv.push("--".to_owned());
        argv.extend(shell.argv.iter().cloned());
        Attachment::open(self, Command { argv, ..shell.clone() }, |_| 0).await
    }

    /// Attaches again to a shell that runs under the recorder, and to the last
    /// `tail` bytes of its output.
    pub(crate) async fn resume(&self, tail: u64) -> Result<Attachment> {
        let command = self.attach(["--tail".to_owned(), tail.to_string()]);
        Attachment::open(self, command, |hello| hello.end.saturating_sub(tail).max(hello.start)).await
    }
}

/// One connection to the recorder.
pub(crate) struct Attachment {
    pub(super) process: Process,
    pub(super) stdin: mpsc::Sender<Bytes>,
    pub(super) frames: Frames,
    pub(super) hello: wire::Hello,
    /// Offset of the first byte that comes.
    pub(super) begins: u64,
}

impl Attachment {
    pub(super) async fn open(tape: &Tape, command: Command, begins: impl FnOnce(&wire::Hello) -> u64) -> Result<Self> {
        let began = Instant::now();
        let (stdin, input) = mpsc::channel(PIPE_CHUNKS);
        let mut process = tape.provider.run(&tape.call, &tape.sandbox.get(), &command, input).await?;
        let mut frames = Frames::default();
        let late = || Error::new(Fault::Provider, Code::DeadlineExceeded, "the recorder did not answer in time");
        let hello = timeout(HELLO_DEADLINE, greeted(&mut process, &mut frames)).await.map_err(|_| late())??;
        debug!(elapsed = ?began.elapsed(), ?hello, "recorder attached");
        let begins = begins(&hello);
        if begins > hello.end {
            return Err(garbled(format_args!("the output ends at {}, and {begins} was told before", hello.end)));
        }
        frames.begin_at(begins);
        Ok(Attachment { process, stdin, frames, begins, hello })
    }
}

async fn greeted(process: &mut Process, frames: &mut Frames) -> Result<wire::Hello> {
    loop {
        match frames.next()? {
            Some(Said::Hello(hello)) => return Ok(hello),
            Some(said) => return Err(said.unexpected()),
            None => {}
        }
        match process.stdout.recv().await {
            Some(chunk) => frames.push(chunk),
            None => return Err(why_ended(process).await),
        }
    }
}
