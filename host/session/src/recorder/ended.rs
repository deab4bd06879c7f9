//! Why one of the recorder's processes ended.
//!
//! Owns the errors that an end becomes. Deliberately knows not what the
//! process was to do.

use bytes::Bytes;
use sandbox_broker_core::sandbox::{Code, Error, Exit, Fault, Process, Result, await_exit};
use sandbox_stdx::words::clean;
use tokio::sync::mpsc;

use super::said::WORDS;
use crate::replaced::replaced;

/// The recorder's own exit statuses: there is a recorder already, and a newer
/// attachment is served.
const IN_USE: Exit = Exit::Code(3);
const REPLACED: Exit = Exit::Code(4);

/// How a shell ends that could not run the program, and its words if somebody still had that open for writing (execve(2), ETXTBSY). A
/// server that has just written it may have started another process meanwhile, which holds the file until it runs its own program.
const NOT_RUN: Exit = Exit::Code(126);
const BUSY: &str = "Text file busy";

/// Why the output of a process ended too early.
pub(super) async fn why_ended(process: &mut Process) -> Error {
    let well = ended_well(process).await;
    well.err().unwrap_or_else(|| exit_error(&Exit::Code(0), &complaint(&mut process.stderr)))
}

/// The last words of a process on its standard error, as far as they have
/// arrived.
fn complaint(stderr: &mut mpsc::Receiver<Bytes>) -> String {
    let mut words = Vec::new();
    while let Ok(chunk) = stderr.try_recv() {
        words.extend_from_slice(&chunk);
    }
    let from = words.len().saturating_sub(WORDS);
    clean(&String::from_utf8_lossy(&words[from..]), WORDS)
}

/// Waits for the end of a process whose output has ended. Returns an error
/// unless it ended well.
pub(super) async fn ended_well(process: &mut Process) -> Result<()> {
    match await_exit(&mut process.done).await? {
        Exit::Code(0) => Ok(()),
        other => Err(exit_error(&other, &complaint(&mut process.stderr))),
    }
}

fn exit_error(exit: &Exit, words: &str) -> Error {
    if *exit == REPLACED {
        return replaced();
    }
    let message = format!("the recorder in the sandbox ended ({exit}): {words}");
    let code = match *exit {
        IN_USE => Code::AlreadyExists,
        NOT_RUN if words.contains(BUSY) => Code::Unavailable,
        _ => Code::FailedPrecondition,
    };
    Error::new(Fault::Provider, code, message.trim_end_matches([':', ' ']))
}

/// The error of a process that ended well, but part of whose output was lost.
/// If the connection to a process breaks, a provider may still report its end.
pub(super) fn torn() -> Error {
    Error::new(
        Fault::Provider,
        Code::Unavailable,
        "the connection to the recorder broke before its answer was complete",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_is_still_being_written_is_tried_again() {
        let words = "recorder: 9: exec: /var/lib/sandbox-recorder/program: Text file busy";
        assert!(exit_error(&NOT_RUN, words).code.is_transient());
        assert!(!exit_error(&NOT_RUN, "recorder: 9: exec: program: Exec format error").code.is_transient());
    }
}
