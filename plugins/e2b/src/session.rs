//! How a process ended, also when the connection to it did first; its size and its signals. Knows no byte of it: the host
//! carries them.

use std::pin::pin;
use std::time::Duration;

use futures_util::future::{Either, select};
use sandbox_broker_sdk::stream::Chunks;
use sandbox_broker_sdk::time::{self, Instant};
use sandbox_broker_sdk::{Code, Error, Exit, log};

use crate::envd::{Envd, Live, broke};
use crate::errors;
use crate::process::{self, About, Pty};

/// Agents remember how a process ended for 30 s; asking stops before that.
const REMEMBERED: Duration = Duration::from_secs(25);

/// An ended process says so at once when it is asked; silence means that it
/// lives.
const LIVES: Duration = Duration::from_secs(1);

/// What the host's report about a connection says of the process.
pub fn exit(report: Result<String, Error>) -> Result<Exit, Error> {
    let report = report?;
    if report.is_empty() {
        return Err(broke("the stream of the process ended before it did"));
    }
    match process::ended(&report) {
        Ok(Some(exit)) => Ok(exit),
        Ok(None) => Err(errors::of_end_frame(report.as_bytes())
            .unwrap_or_else(|| broke("the stream of the process ended before it did"))),
        Err(_) => Err(Error::new(Code::Internal, "the sandbox's agent ended a stream with nonsense")),
    }
}

/// The same, and asks the agent where the connection broke.
pub async fn exit_of(envd: &Envd, pid: u32, report: Result<String, Error>) -> Result<Exit, Error> {
    match exit(report) {
        Err(cause) if !is_lost_input(&cause) => after_break(envd, pid, &cause).await,
        known => known,
    }
}

/// Whether the host says that input may be lost. The process lives then.
fn is_lost_input(error: &Error) -> bool {
    error.attrs.iter().any(|(name, what)| name == "input" && what == "lost")
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
    let mut output = Chunks::new(live.connection.first, 1);
    let ended = async { live.connection.ended.await };
    let look = async {
        match select(pin!(output.next()), pin!(ended)).await {
            // It prints, so it lives.
            Either::Left((Some(_), _)) => None,
            Either::Left((None, ended)) => exit(ended.await).ok(),
            Either::Right((report, _)) => exit(report).ok(),
        }
    };
    time::timeout(LIVES, look).await.ok().flatten()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_tells_an_end_or_why_there_is_none() {
        let said = |report: &str| exit(Ok(report.to_owned())).map_err(|e| e.code);
        let end = r#"{"event":{"end":{"exitCode":3,"exited":true,"status":"exit status 3"}}}"#;
        assert!(matches!(said(end), Ok(Exit::Code(3))));
        assert_eq!(said("").expect_err("no end"), Code::Unavailable);
        assert_eq!(said("{}").expect_err("no end"), Code::Unavailable);
        assert_eq!(said(r#"{"error":{"code":"canceled"}}"#).expect_err("a failure"), Code::Cancelled);
        assert_eq!(said("nonsense").expect_err("nonsense"), Code::Internal);
        assert!(is_lost_input(&Error::new(Code::Unavailable, "x").with("input", "lost")));
        assert!(!is_lost_input(&Error::new(Code::Unavailable, "x")));
    }
}
