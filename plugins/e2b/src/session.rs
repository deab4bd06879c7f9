//! A live process: its output to the host, its input beside it, and how it
//! ended, also when the connection did first.

use std::pin::pin;
use std::time::Duration;

use futures_util::future::{Either, select};
use sandbox_broker_sdk::stream::StreamWriter;
use sandbox_broker_sdk::time::{self, Instant};
use sandbox_broker_sdk::{Code, Error, Exit, log};

use crate::envd::{Envd, Events, Live, broke};
use crate::errors;
use crate::input::Input;
use crate::process::{About, Pty};

/// How long a process's end may still come after its input has failed: both
/// fail together when a process dies, in either order.
pub const GRACE: Duration = Duration::from_secs(2);

/// Agents remember how a process ended for 30 s; asking stops before that.
const REMEMBERED: Duration = Duration::from_secs(25);

/// An ended process says so at once when it is asked; silence means that it
/// lives.
const LIVES: Duration = Duration::from_secs(1);

/// Where output goes. A stream that the host no longer reads is skipped, so
/// that the process's end is still seen.
pub struct Outputs {
    stdout: Option<StreamWriter<u8>>,
    stderr: Option<StreamWriter<u8>>,
}

/// How the stream of events ended.
enum Ended {
    /// With the process.
    Exit(Exit, Events),
    /// Before it.
    Broken(Error),
}

impl Outputs {
    /// Standard output, or a terminal's; standard error where it is apart.
    pub fn new(stdout: StreamWriter<u8>, stderr: Option<StreamWriter<u8>>) -> Self {
        Self { stdout: Some(stdout), stderr }
    }
}

/// Writes all of `bytes` and leaves the emptied buffer.
async fn flush(to: &mut Option<StreamWriter<u8>>, bytes: &mut Vec<u8>) {
    if let (Some(writer), false) = (to.as_mut(), bytes.is_empty()) {
        *bytes = writer.write_all(std::mem::take(bytes)).await;
        if !bytes.is_empty() {
            *to = None;
        }
    }
    bytes.clear();
}

/// Carries output to the end. All that came before a break is handed on.
async fn output(live: Live, mut to: Outputs) -> Ended {
    let Live { mut events, mut batch, .. } = live;
    let mut more = Ok(true);
    loop {
        flush(&mut to.stdout, &mut batch.stdout).await;
        flush(&mut to.stderr, &mut batch.stderr).await;
        if let Some(exit) = batch.exit.take() {
            return Ended::Exit(exit, events);
        }
        if let Some(end) = batch.end.take() {
            return Ended::Broken(end.unwrap_or_else(|| broke("its stream ended before it did")));
        }
        match more {
            Ok(true) => more = events.more(&mut batch).await,
            Ok(false) => return Ended::Broken(broke("its stream ended without an end frame")),
            Err(e) => return Ended::Broken(e),
        }
    }
}

/// Carries a process's output and input until it ends or the connection to it
/// does. The streams are closed when this returns.
pub async fn run(envd: &Envd, live: Live, to: Outputs, input: Input) -> Result<Exit, Error> {
    let pid = live.pid;
    let ended = {
        let output = pin!(output(live, to));
        match select(output, pin!(input.run())).await {
            Either::Left((ended, _)) => ended,
            Either::Right((Ok(()), output)) => output.await,
            Either::Right((Err(lost), output)) => match time::timeout(GRACE, output).await {
                Ok(ended) => ended,
                Err(_) => return Err(lost),
            },
        }
    };
    match ended {
        Ended::Exit(exit, events) => {
            // The host may stop us as soon as it knows.
            events.drain().await;
            Ok(exit)
        }
        Ended::Broken(cause) => Box::pin(after_break(envd, pid, &cause)).await,
    }
}

/// Finds out whether a process has ended whose stream broke. It has: how, as
/// far as the agent remembers. It lives, or nobody can say: an error.
async fn after_break(envd: &Envd, pid: u32, cause: &Error) -> Result<Exit, Error> {
    log::debug(
        "the stream of a process broke",
        &[("sandbox", &envd.id), ("pid", &pid.to_string()), ("cause", &cause.message)],
    );
    let begun = Instant::now();
    let mut pause = Duration::from_millis(500);
    loop {
        let asked = time::timeout(REMEMBERED.saturating_sub(begun.elapsed()), envd.reconnect(pid));
        let error = match asked.await {
            Ok(Ok(live)) => {
                return match end_of(live).await {
                    Some(exit) => Ok(exit),
                    None => Err(broken("the process still runs: attach to it again", cause)),
                };
            }
            Ok(Err(e)) => e,
            Err(_) => return Err(broken("its sandbox cannot be reached", cause)),
        };
        match error.code {
            // It ended, too long ago for the agent to remember how.
            Code::NotFound if errors::is_of_agent(&error) => {
                return Ok(Exit::Unknown);
            }
            Code::Unavailable | Code::DeadlineExceeded => {
                if begun.elapsed() + pause >= REMEMBERED {
                    return Err(broken(&error.message, cause));
                }
                time::sleep(pause).await;
                pause *= 2;
            }
            _ => return Err(error.with("broke", &cause.message)),
        }
    }
}

/// The end of a process that was come back to, if it has ended.
async fn end_of(live: Live) -> Option<Exit> {
    let Live { mut events, mut batch, .. } = live;
    let look = async {
        loop {
            if batch.exit.is_some() {
                return batch.exit.take();
            }
            let over = batch.alive || batch.end.is_some();
            if over || !matches!(events.more(&mut batch).await, Ok(true)) {
                return batch.exit.take();
            }
        }
    };
    let exit = time::timeout(LIVES, look).await.ok().flatten();
    events.drain().await;
    exit
}

fn broken(what: &str, cause: &Error) -> Error {
    Error::new(Code::Unavailable, format!("the connection to the process broke; {what}")).with("cause", &cause.message)
}

/// The agent's id of a process, from the one that the host keeps.
pub fn pid(id: &str) -> Result<u32, Error> {
    id.parse().map_err(|_| Error::new(Code::InvalidArgument, "the process's id is not one of E2B"))
}

/// Sets the size of a process's terminal.
pub async fn resize(envd: &Envd, pid: u32, cols: u16, rows: u16) -> Result<(), Error> {
    let about = About { pty: Some(Pty::new(cols, rows)), ..About::process(pid) };
    envd.command("process.Process/Update", &about).await
}

/// Sends a signal to a process itself, not to its group.
pub async fn signal(envd: &Envd, pid: u32, name: &str) -> Result<(), Error> {
    let signal = match name {
        "SIGTERM" => "SIGNAL_SIGTERM",
        "SIGKILL" => "SIGNAL_SIGKILL",
        _ => {
            return Err(Error::new(Code::Unimplemented, "E2B sends only SIGTERM and SIGKILL; type ctrl-c for SIGINT"));
        }
    };
    let about = About { signal: Some(signal), ..About::process(pid) };
    envd.command("process.Process/SendSignal", &about).await
}
