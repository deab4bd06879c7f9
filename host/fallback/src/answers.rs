//! What the command `files` answers, checked.
//!
//! Owns the way from its bytes to values of the port. The program is in the sandbox, and whoever owns that may replace it: a
//! lie ends one operation. Deliberately does not know what was asked.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::{Buf, Bytes};
use sandbox_broker_core::sandbox::{Code, Entry, EntryKind, Error, Exit, Fault, Process, Result};
use sandbox_recorder::wire::files::{Answer, Kind, Why};
use sandbox_recorder::wire::{Decoder, MAX_DATA};
use sandbox_stdx::words::clean;

use crate::process::ended;

/// How the shell ends that finds no program.
const GONE: Exit = Exit::Code(66);

/// The largest message that is shown, in bytes.
const WORDS: usize = 1024;

/// One part of an answer.
#[derive(Debug)]
pub(crate) enum Said {
    /// The name as the sandbox has it, and the entry without its path.
    Entry(Vec<u8>, Entry),
    Content(Bytes),
    Ready,
    Done {
        more: bool,
    },
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum Missing {
    /// There is no program in the sandbox.
    Program,
    Failed(Error),
}

impl From<Error> for Missing {
    fn from(error: Error) -> Self {
        Missing::Failed(error)
    }
}

/// The answer of one process.
#[derive(Debug)]
pub(crate) struct Answers {
    pub(crate) process: Process,
    decoder: Decoder,
    /// The part of the last chunk that is not read yet.
    rest: Bytes,
}

impl Answers {
    pub(crate) fn of(process: Process) -> Self {
        Answers { process, decoder: Decoder::default(), rest: Bytes::new() }
    }

    /// The next part.
    pub(crate) async fn next(&mut self) -> std::result::Result<Said, Missing> {
        loop {
            if let Some(said) = self.parse()? {
                return Ok(said);
            }
            match self.process.stdout.recv().await {
                Some(chunk) => self.rest = chunk,
                None => return Err(self.why_ended().await),
            }
        }
    }

    /// Waits for the end of an answer.
    pub(crate) async fn done(&mut self) -> Result<()> {
        match self.next().await {
            Ok(Said::Done { .. }) => Ok(()),
            Ok(_) | Err(Missing::Program) => Err(nonsense()),
            Err(Missing::Failed(error)) => Err(error),
        }
    }

    fn parse(&mut self) -> Result<Option<Said>> {
        let mut rest = &self.rest[..];
        let answer: Option<Answer<'_>> = self.decoder.next(&mut rest).map_err(|malformed| {
            let message = format!("the recorder in the sandbox says what it must not: {malformed}");
            Error::new(Fault::Provider, Code::DataLoss, message)
        })?;
        let said = match answer {
            None => None,
            Some(Answer::Entry { kind, mode, size, modified, name }) => {
                let entry = Entry {
                    name: String::from_utf8_lossy(name).into_owned(),
                    path: String::new(),
                    kind: match kind {
                        Kind::File => EntryKind::File,
                        Kind::Directory => EntryKind::Directory,
                        Kind::Link => EntryKind::Symlink,
                        Kind::Other => EntryKind::Other,
                    },
                    size,
                    mode: mode & 0o7777,
                    modified: time(modified),
                };
                Some(Said::Entry(name.to_vec(), entry))
            }
            Some(Answer::Content(bytes)) => {
                debug_assert!(bytes.len() <= MAX_DATA);
                let whole = self.rest.as_ptr_range();
                let within = whole.start <= bytes.as_ptr() && bytes.as_ptr_range().end <= whole.end;
                Some(Said::Content(if within { self.rest.slice_ref(bytes) } else { Bytes::copy_from_slice(bytes) }))
            }
            Some(Answer::Ready) => Some(Said::Ready),
            Some(Answer::Done { more }) => Some(Said::Done { more }),
            Some(Answer::Failed { why, message }) => {
                let (fault, code) = code(why);
                return Err(Error::new(fault, code, clean(message, WORDS)));
            }
        };
        let read = self.rest.len() - rest.len();
        self.rest.advance(read);
        Ok(said)
    }

    /// Why the answer ended before it was complete.
    async fn why_ended(&mut self) -> Missing {
        let (exit, words) = match ended(&mut self.process).await {
            Ok(ended) => ended,
            Err(error) => return error.into(),
        };
        let (fault, code, message) = match exit {
            GONE => return Missing::Program,
            Exit::Code(0) | Exit::Unknown => {
                (Fault::Provider, Code::Unavailable, "the connection broke before the answer was complete".to_owned())
            }
            Exit::Code(126 | 127) => {
                let message =
                    format!("the recorder cannot run in the sandbox, by which files are reached there: {words}");
                (Fault::Operator, Code::Unimplemented, message)
            }
            exit => {
                let message =
                    format!("the recorder in the sandbox, by which files are reached, ended ({exit}): {words}");
                (Fault::Provider, Code::Internal, message)
            }
        };
        Error::new(fault, code, message.trim_end_matches([':', ' '])).into()
    }
}

/// The error for an answer that does not fit what was asked.
pub(crate) fn nonsense() -> Error {
    Error::new(Fault::Provider, Code::DataLoss, "the recorder in the sandbox answers something else than it was asked")
}

fn code(why: Why) -> (Fault, Code) {
    match why {
        Why::InvalidArgument => (Fault::Caller, Code::InvalidArgument),
        Why::NotFound => (Fault::Caller, Code::NotFound),
        Why::AlreadyExists => (Fault::Caller, Code::AlreadyExists),
        Why::PermissionDenied => (Fault::Caller, Code::PermissionDenied),
        Why::ResourceExhausted => (Fault::Caller, Code::ResourceExhausted),
        Why::FailedPrecondition => (Fault::Caller, Code::FailedPrecondition),
        Why::OutOfRange => (Fault::Caller, Code::OutOfRange),
        Why::Aborted => (Fault::Provider, Code::Aborted),
        Why::Internal => (Fault::Provider, Code::Internal),
        Why::Unavailable => (Fault::Provider, Code::Unavailable),
    }
}

fn time(ms: i64) -> Option<SystemTime> {
    let distance = Duration::from_millis(ms.unsigned_abs());
    if ms < 0 { UNIX_EPOCH.checked_sub(distance) } else { UNIX_EPOCH.checked_add(distance) }
}
