//! The frames of `files`, in both directions: what is in a directory, the bytes of a file, and how it ended.
//!
//! Owns their layout. Does no I/O.

use super::decode::{Fields, Frame, Malformed};
use super::encode::{data, frame};
use super::kinds::{CONTENT, DONE, ENTRY, FAILED, READY, WHOLE};

/// The most bytes of a name, which is the system's own bound.
pub const MAX_NAME: usize = 255;

/// The most bytes of a message.
pub const MAX_MESSAGE: usize = 1024;

/// The entries of one answer to `list`, at most.
pub const PAGE: usize = 1000;

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link that leads nowhere.
    Link,
    /// Anything else.
    Other,
}

impl Kind {
    const ALL: [Kind; 4] = [Kind::File, Kind::Directory, Kind::Link, Kind::Other];
}

/// Why something failed: those codes of gRPC that an error of a file system can mean, with their numbers there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "named and explained by gRPC")]
pub enum Why {
    InvalidArgument = 3,
    NotFound = 5,
    AlreadyExists = 6,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    FailedPrecondition = 9,
    Aborted = 10,
    OutOfRange = 11,
    Internal = 13,
    Unavailable = 14,
}

impl Why {
    const ALL: [Why; 10] = [
        Why::InvalidArgument,
        Why::NotFound,
        Why::AlreadyExists,
        Why::PermissionDenied,
        Why::ResourceExhausted,
        Why::FailedPrecondition,
        Why::Aborted,
        Why::OutOfRange,
        Why::Internal,
        Why::Unavailable,
    ];
}

/// A frame from `files` to the broker. [`Answer::Done`] or [`Answer::Failed`] is the last one, so that an answer that was cut
/// off never looks complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer<'a> {
    /// An entry of a directory, or the file that was asked for.
    Entry {
        /// What it is. A link counts as what it leads to.
        kind: Kind,
        /// Permission bits.
        mode: u32,
        /// Bytes of a file; 0 for what is none.
        size: u64,
        /// Last change of its content, in milliseconds since 1970.
        modified: i64,
        /// The last part of its path.
        name: &'a [u8],
    },
    /// Bytes of a file, at most [`MAX_DATA`](super::MAX_DATA).
    Content(&'a [u8]),
    /// The bytes of an upload may come.
    Ready,
    /// That was all.
    Done {
        /// Whether the directory has entries after these.
        more: bool,
    },
    /// It failed.
    Failed {
        /// What kind of failure it is.
        why: Why,
        /// What failed, for a person.
        message: &'a str,
    },
}

impl Answer<'_> {
    /// Appends this frame.
    ///
    /// # Panics
    ///
    /// If its data is longer than [`MAX_DATA`](super::MAX_DATA).
    pub fn encode(&self, out: &mut Vec<u8>) {
        match *self {
            Answer::Entry { kind, mode, size, modified, name } => {
                let mut entry = frame(out, ENTRY, 21 + data(name));
                let number = Kind::ALL.iter().position(|one| *one == kind).unwrap_or_default() as u8;
                entry.put(&[number]).put(&mode.to_be_bytes()).put(&size.to_be_bytes());
                entry.put(&modified.to_be_bytes()).put(name);
            }
            Answer::Content(bytes) => {
                frame(out, CONTENT, data(bytes)).put(bytes);
            }
            Answer::Ready => {
                frame(out, READY, 0);
            }
            Answer::Done { more } => {
                frame(out, DONE, 1).put(&[more.into()]);
            }
            Answer::Failed { why, message } => {
                let message = &message.as_bytes()[..message.floor_char_boundary(MAX_MESSAGE)];
                frame(out, FAILED, 1 + message.len()).put(&[why as u8]).put(message);
            }
        }
    }
}

impl<'a> Frame<'a> for Answer<'a> {
    fn parse(kind: u8, payload: &'a [u8]) -> Result<Self, Malformed> {
        let mut fields = Fields { kind, rest: payload };
        let wrong = Malformed::Payload { kind };
        let answer = match kind {
            ENTRY => {
                let [number] = fields.take()?;
                let entry = Answer::Entry {
                    kind: *Kind::ALL.get(usize::from(number)).ok_or(wrong)?,
                    mode: fields.u32()?,
                    size: u64::from_be_bytes(fields.take()?),
                    modified: i64::from_be_bytes(fields.take()?),
                    name: fields.data()?,
                };
                let fits = |name: &[u8]| name.len() <= MAX_NAME && !name.contains(&b'/') && !name.contains(&0);
                match entry {
                    Answer::Entry { size, name, .. } if i64::try_from(size).is_ok() && fits(name) => entry,
                    _ => return Err(wrong),
                }
            }
            CONTENT => Answer::Content(fields.data()?),
            READY => Answer::Ready,
            DONE => Answer::Done { more: fields.take::<1>()? == [1] },
            FAILED => {
                let [number] = fields.take()?;
                let why = Why::ALL.into_iter().find(|why| *why as u8 == number).ok_or(wrong)?;
                Answer::Failed { why, message: fields.text(MAX_MESSAGE)? }
            }
            _ => return Err(Malformed::Kind(kind)),
        };
        fields.end(answer)
    }
}

/// A frame of an upload, from the broker to `files`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Upload<'a> {
    /// Bytes of the file, at most [`MAX_DATA`](super::MAX_DATA).
    Content(&'a [u8]),
    /// The file has this many bytes, and these were all. Without it, nothing is written.
    Whole {
        /// How many.
        size: u64,
    },
}

impl Upload<'_> {
    /// Appends this frame.
    ///
    /// # Panics
    ///
    /// If its data is longer than [`MAX_DATA`](super::MAX_DATA).
    pub fn encode(&self, out: &mut Vec<u8>) {
        match *self {
            Upload::Content(bytes) => {
                frame(out, CONTENT, data(bytes)).put(bytes);
            }
            Upload::Whole { size } => {
                frame(out, WHOLE, 8).put(&size.to_be_bytes());
            }
        }
    }
}

impl<'a> Frame<'a> for Upload<'a> {
    fn parse(kind: u8, payload: &'a [u8]) -> Result<Self, Malformed> {
        let mut fields = Fields { kind, rest: payload };
        let upload = match kind {
            CONTENT => Upload::Content(fields.data()?),
            WHOLE => Upload::Whole { size: u64::from_be_bytes(fields.take()?) },
            _ => return Err(Malformed::Kind(kind)),
        };
        fields.end(upload)
    }
}
