//! Bytes from the host to a process, in order, each at most once.
//!
//! One `StreamInput` request carries all that is typed until a pause; a server
//! that lacks it is fed by `SendInput`, one call at a time. Knows nothing of
//! output.

use std::cell::Cell;
use std::future::pending;
use std::pin::pin;
use std::time::Duration;

use futures_util::future::{Either, select};
use sandbox_broker_sdk::http::{Body, Closed, Response};
use sandbox_broker_sdk::stream::{Chunks, StreamReader};
use sandbox_broker_sdk::time::{self, Elapsed, Idle, Instant};
use sandbox_broker_sdk::{Code, Error, log};

use crate::envd::{As, Envd};
use crate::envelope::{self, Frame};
use crate::errors::{self, Answer};
use crate::process::{About, Sink};
use crate::state::Version;

/// Most bytes per envelope to a terminal: what it takes at once.
const TYPED: usize = 16 << 10;

/// Most bytes per envelope to a standard input: what a pipe holds.
const PIPED: usize = 64 << 10;

/// Input that is kept until the server has shown that it takes the stream, in
/// bytes: what a person types, or pastes, before a refusal can have come back.
const KEEP: usize = 64 << 10;

/// Silence after which a request ends: an open one costs both ends a connection
/// of its own, a new one costs the next byte at most a connection's setup. Longer
/// than the ten seconds between two signs of life that the host writes to a
/// program of its own, which would else begin one each time.
const PAUSE: Duration = Duration::from_secs(15);

/// Longest answer to `StreamInput`, in bytes: an end frame with an error.
const MAX_ANSWER: usize = 64 << 10;

/// The first agent that can close a standard input.
const CLOSE_STDIN: Version = Version(0, 5, 2);

/// The way of input into one process.
pub struct Input {
    envd: Envd,
    pid: u32,
    sink: Sink,
    source: Source,
}

/// Where input comes from, and how much has come.
struct Source {
    chunks: Chunks,
    bytes: u64,
}

impl Source {
    /// As [`Chunks::next`].
    async fn next(&mut self) -> Option<Vec<u8>> {
        let data = self.chunks.next().await?;
        self.bytes += data.len() as u64;
        Some(data)
    }
}

fn chunk(sink: Sink) -> usize {
    match sink {
        Sink::Pty => TYPED,
        Sink::Stdin => PIPED,
    }
}

/// How a server took the stream.
#[derive(Debug)]
enum Verdict {
    /// All of it.
    Taken,
    /// It has no such call: nothing of it was taken.
    Lacking,
    /// The process takes no more, or is gone; its output will tell.
    Over,
    /// It cannot be known what was taken.
    Broken(Error),
}

/// Why a stream was finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    /// Nothing came for a while.
    Pause,
    /// Nothing will come.
    End,
}

impl Input {
    /// From `stream` to the process.
    pub fn new(envd: Envd, pid: u32, sink: Sink, stream: StreamReader<u8>) -> Self {
        let source = Source { chunks: Chunks::new(stream, chunk(sink)), bytes: 0 };
        Self { envd, pid, sink, source }
    }

    /// Carries input to the end of its source, and closes a standard input then,
    /// or until the process takes no more. An error means that bytes may be lost
    /// while the process lives.
    pub async fn run(mut self) -> Result<(), Error> {
        self.carry().await?;
        self.close().await
    }

    /// The same, but leaves a standard input open. Returns how many bytes have
    /// come; whether a process that takes no more had them all is for its end to
    /// tell.
    pub async fn carry(&mut self) -> Result<u64, Error> {
        while let Some(first) = self.source.next().await {
            let mut kept = Some(first);
            match self.stream(&mut kept).await {
                Verdict::Taken => {}
                Verdict::Over => break,
                Verdict::Broken(e) => return Err(e),
                Verdict::Lacking => {
                    let Some(kept) = kept else {
                        return Err(lost("the sandbox stopped taking input"));
                    };
                    log::debug("the server lacks StreamInput, SendInput is used", &[]);
                    self.singly(kept).await?;
                    break;
                }
            }
        }
        Ok(self.source.bytes)
    }

    /// One request, until a pause or the end of the source. `kept` begins with
    /// what has to be sent first and collects what would have to be sent again;
    /// none when that is too much.
    async fn stream(&mut self, kept: &mut Option<Vec<u8>>) -> Verdict {
        let mut request = self.envd.upstream("process.Process/StreamInput");
        request.timeout = None;
        let (answer, body) = match request.open(None) {
            Ok(open) => open,
            Err(e) => return Verdict::Broken(e),
        };
        let begun = Instant::now();
        let stop = Cell::new(None);
        let mut answer = pin!(judged(&self.envd, self.sink, answer));
        let feed = feed(body, self.pid, self.sink, &mut self.source, kept, &stop);
        let verdict = match select(answer.as_mut(), pin!(feed)).await {
            Either::Left((verdict, _)) => verdict,
            // A program may read its input as late as it likes.
            Either::Right(((), _)) if stop.get() == Some(Stop::Pause) => answer.await,
            Either::Right(((), _)) => time::timeout(self.envd.timeout, answer)
                .await
                .unwrap_or_else(|_| Verdict::Broken(lost("the sandbox did not confirm its input"))),
        };
        // A server that lacks the call says so long before this.
        if begun.elapsed() > PAUSE {
            *kept = None;
        }
        match verdict {
            Verdict::Taken if stop.get().is_none() => Verdict::Broken(lost("the sandbox stopped taking input")),
            verdict => verdict,
        }
    }

    /// One call per chunk, each after the one before it.
    async fn singly(&mut self, first: Vec<u8>) -> Result<(), Error> {
        let mut next = Some(first);
        while let Some(data) = next {
            for chunk in data.chunks(chunk(self.sink)) {
                let body = self.sink.single(self.pid, chunk);
                let sent = self.envd.unary::<serde::de::IgnoredAny>("process.Process/SendInput", As::Any, body).await;
                match sent.map_err(|e| of_error(self.sink, e)) {
                    Ok(_) => {}
                    Err(Verdict::Broken(e)) => return Err(e),
                    Err(_) => return Ok(()),
                }
            }
            next = self.source.next().await;
        }
        Ok(())
    }

    /// The end of input: closes a standard input. A terminal stays open.
    pub async fn close(self) -> Result<(), Error> {
        if self.sink == Sink::Pty {
            return Ok(());
        }
        if self.envd.version < CLOSE_STDIN {
            log::warn("this sandbox's agent is too old to close a process's input", &[("sandbox", &self.envd.id)]);
            return Ok(());
        }
        match self.envd.command("process.Process/CloseStdin", &About::process(self.pid)).await {
            Ok(()) => Ok(()),
            Err(e) => match of_error(self.sink, e) {
                Verdict::Broken(e) => Err(e),
                _ => Ok(()),
            },
        }
    }
}

/// Writes the stream: the process, then data as it comes. Sets `stop` when it
/// has written the last.
async fn feed(
    mut body: Body,
    pid: u32,
    sink: Sink,
    source: &mut Source,
    kept: &mut Option<Vec<u8>>,
    stop: &Cell<Option<Stop>>,
) {
    let mut frame = Sink::stream_start(pid);
    if let Some(first) = kept {
        sink.stream_data(first, &mut frame);
    }
    let mut idle = Idle::new(PAUSE);
    let why = loop {
        match body.write(frame).await {
            Ok(empty) => frame = empty,
            // The answer says why.
            Err(Closed) => return pending().await,
        }
        match idle.guard(source.next()).await {
            Ok(Some(data)) => {
                keep(kept, &data);
                sink.stream_data(&data, &mut frame);
            }
            Ok(None) => break Stop::End,
            Err(Elapsed) => break Stop::Pause,
        }
    };
    stop.set(Some(why));
    body.finish().await;
}

/// Keeps `data` for sending it again, or gives up on that.
fn keep(kept: &mut Option<Vec<u8>>, data: &[u8]) {
    match kept {
        Some(all) if all.len() + data.len() <= KEEP => all.extend_from_slice(data),
        _ => *kept = None,
    }
}

/// Waits for the answer to the stream and judges it.
async fn judged(envd: &Envd, sink: Sink, answer: impl Future<Output = Result<Response, Error>>) -> Verdict {
    let read = async {
        let answer = answer.await?;
        let (status, host) = (answer.status, answer.host.clone());
        Ok((status, host, answer.bytes(MAX_ANSWER).await?))
    };
    match read.await {
        Ok((200, _, body)) => of_stream(sink, &body),
        Ok((status, _, body)) if errors::call_is_missing(status, &body) => Verdict::Lacking,
        Ok((status, host, body)) => {
            let answer = Answer { host: &host, status, retry_after: None, body: &body };
            of_error(sink, errors::of_sandbox(&answer, &envd.id))
        }
        Err(e) => Verdict::Broken(e),
    }
}

/// The verdict in the frames of an answer.
fn of_stream(sink: Sink, mut body: &[u8]) -> Verdict {
    while let Ok(Some((frame, used))) = envelope::next(body) {
        if let Frame::End(payload) = frame {
            return errors::of_end_frame(payload).map_or(Verdict::Taken, |e| of_error(sink, e));
        }
        body = &body[used..];
    }
    Verdict::Broken(lost("the sandbox did not confirm its input"))
}

/// The verdict in a failure.
fn of_error(sink: Sink, e: Error) -> Verdict {
    match (e.code, sink) {
        (Code::Unimplemented, _) => Verdict::Lacking,
        (Code::NotFound, _) => Verdict::Over,
        // A program may close its standard input whenever it likes; agents
        // tell that as a failed write.
        (Code::Internal | Code::Unknown | Code::InvalidArgument | Code::FailedPrecondition, Sink::Stdin) => {
            Verdict::Over
        }
        _ => Verdict::Broken(e),
    }
}

fn lost(what: &str) -> Error {
    Error::new(Code::Unavailable, format!("{what}; some of it may be lost"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(payload: &str) -> Vec<u8> {
        let mut wire = b"\0\0\0\0\x02{}\x02".to_vec();
        wire.extend_from_slice(&(payload.len() as u32).to_be_bytes());
        wire.extend_from_slice(payload.as_bytes());
        wire
    }

    #[test]
    fn only_an_end_frame_confirms_input() {
        assert!(matches!(of_stream(Sink::Pty, &end("{}")), Verdict::Taken));
        assert!(matches!(of_stream(Sink::Pty, b"\0\0\0\0\x02{}"), Verdict::Broken(_)));
        assert!(matches!(of_stream(Sink::Pty, b""), Verdict::Broken(_)));
    }

    #[test]
    fn a_server_without_the_call_is_fed_by_the_other() {
        let payload = r#"{"error":{"code":"unimplemented","message":"no"}}"#;
        assert!(matches!(of_stream(Sink::Pty, &end(payload)), Verdict::Lacking));
    }

    #[test]
    fn the_end_of_a_process_is_for_its_output_to_tell() {
        let gone = r#"{"error":{"code":"not_found","message":"process with pid 4 not found"}}"#;
        assert!(matches!(of_stream(Sink::Pty, &end(gone)), Verdict::Over));
        let pipe = r#"{"error":{"code":"internal","message":"error writing to stdin: broken pipe"}}"#;
        assert!(matches!(of_stream(Sink::Stdin, &end(pipe)), Verdict::Over));
        assert!(matches!(of_stream(Sink::Pty, &end(pipe)), Verdict::Broken(_)));
    }

    #[test]
    fn what_is_kept_for_sending_again_is_bounded() {
        let mut kept = Some(Vec::new());
        keep(&mut kept, &vec![0; KEEP]);
        assert_eq!(kept.as_ref().map(Vec::len), Some(KEEP));
        keep(&mut kept, b"x");
        assert_eq!(kept, None);
        keep(&mut kept, b"x");
        assert_eq!(kept, None);
    }
}
