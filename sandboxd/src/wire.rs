//! The protocol between the server and the init of a sandbox: the messages and the frame around them.
//!
//! The process that makes a sandbox's network speaks it too, before it becomes the init.
//!
//! Knows nothing of HTTP, of Connect, or of what a message does. Both ends run the same binary (see [`crate::init`]),
//! so only one version exists at a time. The first message checks it.
//!
//! A frame is `length: u32 LE`, `descriptors: u8`, then `length` bytes of JSON. Its descriptors travel as `SCM_RIGHTS`
//! beside its first byte, so they have arrived when the frame is complete.

use std::collections::{BTreeMap, VecDeque};
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};
use serde::{Deserialize, Serialize};

/// Version of the messages below. The two ends differ only if the binary was replaced under a running server.
pub(crate) const VERSION: u32 = 3;

/// The largest size of a frame's JSON in bytes: room for 65,536 directory entries.
pub(crate) const MAX_FRAME: usize = 32 * 1024 * 1024;

/// Descriptors of one frame: stdin, stdout and stderr.
const MAX_DESCRIPTORS: usize = 3;

const HEADER: usize = 5;

/// Server to init.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum ToInit {
    /// Run a process; answered by [`Reply::Spawned`] with its descriptors, later by [`FromInit::Exit`].
    Spawn { id: u64, spawn: Box<Spawn> },
    /// Signal a direct child. Nothing happens if the child has exited.
    Signal { pid: u32, signal: ProcessSignal },
    /// Do one operation in the sandbox's file system.
    File { id: u64, user: String, op: FileOp },
    /// End all programs, unmount file systems in user space, and wait for their daemons to end; answered by
    /// [`Reply::Done`] within `within_ms`.
    Close { id: u64, within_ms: u64 },
}

/// Init to server.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum FromInit {
    /// First message; carries a pidfd of the init itself.
    Hello { version: u32 },
    /// The answer to the request with the same id.
    Reply { id: u64, result: Result<Reply, Failure> },
    /// A spawned process ended.
    Exit { pid: u32, status: ExitStatus },
}

/// A new network namespace to the server.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum FromNetwork {
    /// Carries a socket that listens on this port of the namespace's loopback.
    Listens { port: u16 },
    /// The last message: the namespace is ready. If the server is not root, the sender waits until the server closes
    /// the socket.
    Ready,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Spawn {
    pub(crate) user: String,
    pub(crate) cmd: String,
    pub(crate) args: Vec<String>,
    /// In addition to `PATH`, `HOME`, `USER` and `LOGNAME`, which the init sets. The last of equal names wins.
    pub(crate) envs: Vec<(String, String)>,
    pub(crate) cwd: Option<String>,
    pub(crate) io: SpawnIo,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) enum SpawnIo {
    /// A controlling terminal. One descriptor comes back: the terminal's master.
    Pty { cols: u16, rows: u16 },
    /// Pipes; descriptors come back in the order stdout, stderr, and stdin if wanted.
    Pipes { stdin: bool },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ProcessSignal {
    Kill,
    Terminate,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ExitStatus {
    Code(i32),
    Signal(i32),
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum FileOp {
    Stat {
        path: String,
    },
    MakeDir {
        path: String,
    },
    Move {
        source: String,
        destination: String,
    },
    List {
        path: String,
        depth: u32,
    },
    Remove {
        path: String,
    },
    /// A regular file for reading; one descriptor comes back.
    Read {
        path: String,
    },
    /// A regular file for writing, created with its parent directories or truncated; one descriptor comes back.
    Write {
        path: String,
        metadata: BTreeMap<String, String>,
    },
    /// A directory to watch; one descriptor comes back.
    OpenDir {
        path: String,
        allow_network_mounts: bool,
    },
    /// A directory below the one whose descriptor comes with the request. Follows no link. One descriptor comes back.
    OpenBelow {
        path: String,
    },
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Reply {
    Spawned { pid: u32 },
    Entry(Box<EntryInfo>),
    Entries(Vec<EntryInfo>),
    Done,
}

/// Why the init refused a request. The message is for the caller of the API.
#[derive(Debug, Clone, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Failure {
    pub(crate) kind: FailureKind,
    pub(crate) message: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum FailureKind {
    InvalidArgument,
    NotFound,
    AlreadyExists,
    PermissionDenied,
    Unauthenticated,
    ResourceExhausted,
    NoSpace,
    Internal,
}

/// One file, directory or symbolic link, in the JSON form of `filesystem.EntryInfo`. In that form zero values are left
/// out, and `size` is a decimal string.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct EntryInfo {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) name: String,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub(crate) kind: Option<FileType>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) size: Option<String>,
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) mode: u32,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) permissions: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) owner: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) group: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) modified_time: Option<jiff::Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) symlink_target: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) metadata: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum FileType {
    #[serde(rename = "FILE_TYPE_FILE")]
    File,
    #[serde(rename = "FILE_TYPE_DIRECTORY")]
    Directory,
    #[serde(rename = "FILE_TYPE_SYMLINK")]
    Symlink,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the shape that serde calls")]
fn is_zero(value: &u32) -> bool {
    *value == 0
}

/// What is wrong with the stream between server and init. The stream cannot be used any further.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WireError {
    #[error("the stream to the sandbox's init failed")]
    Io(#[from] Errno),
    #[error("the other end closed the stream")]
    Closed,
    #[error("a frame of {0} bytes exceeds the bound of {MAX_FRAME}")]
    TooLarge(usize),
    #[error("a frame could not be read as a message")]
    Malformed(#[from] serde_json::Error),
    #[error("a frame came with fewer descriptors than it announced")]
    MissingDescriptors,
}

/// The number of a system call's error; `EIO` for an error that did not come from a system call.
pub(crate) fn into_errno(error: std::io::Error) -> Errno {
    Errno::from_io_error(&error).unwrap_or(Errno::IO)
}

/// Writes a message as one frame, without its descriptors.
pub(crate) fn encode(message: &impl Serialize, descriptors: usize) -> Result<Vec<u8>, WireError> {
    let mut frame = vec![0; HEADER];
    serde_json::to_writer(&mut frame, message)?;
    let length = frame.len() - HEADER;
    let header = u32::try_from(length).ok().filter(|_| length <= MAX_FRAME).ok_or(WireError::TooLarge(length))?;
    frame[..4].copy_from_slice(&header.to_le_bytes());
    frame[4] = u8::try_from(descriptors).expect("at most three descriptors");
    Ok(frame)
}

/// Sends the first part of `bytes` with `descriptors` beside the first byte. Returns how many bytes were sent.
pub(crate) fn send(socket: impl AsFd, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> Result<usize, Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() {
        let fits = control.push(SendAncillaryMessage::ScmRights(descriptors));
        debug_assert!(fits, "at most MAX_DESCRIPTORS descriptors");
    }
    sendmsg(socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)
}

/// The receiving end: collects bytes and descriptors until a frame is complete.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    bytes: Vec<u8>,
    descriptors: VecDeque<OwnedFd>,
}

impl Inbox {
    /// Receives once.
    ///
    /// # Errors
    /// [`WireError::Closed`] at the end of the stream; `WOULDBLOCK` inside [`WireError::Io`] on a non-blocking socket.
    pub(crate) fn receive(&mut self, socket: impl AsFd) -> Result<(), WireError> {
        let mut chunk = [0; 16 * 1024];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received = recvmsg(socket, &mut [IoSliceMut::new(&mut chunk)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                self.descriptors.extend(rights);
            }
        }
        if received.bytes == 0 {
            return Err(WireError::Closed);
        }
        self.bytes.extend_from_slice(&chunk[..received.bytes]);
        Ok(())
    }

    /// Takes the next complete frame, if there is one.
    pub(crate) fn next<M: for<'de> Deserialize<'de>>(&mut self) -> Result<Option<(M, Vec<OwnedFd>)>, WireError> {
        let Some((header, rest)) = self.bytes.split_at_checked(HEADER) else {
            return Ok(None);
        };
        let length = u32::from_le_bytes([header[0], header[1], header[2], header[3]]) as usize;
        let count = usize::from(header[4]);
        if length > MAX_FRAME {
            return Err(WireError::TooLarge(length));
        }
        let Some(payload) = rest.get(..length) else {
            return Ok(None);
        };
        let message = serde_json::from_slice(payload)?;
        if count > self.descriptors.len() {
            return Err(WireError::MissingDescriptors);
        }
        let descriptors = self.descriptors.drain(..count).collect();
        self.bytes.drain(..HEADER + length);
        if self.bytes.is_empty() {
            self.bytes.shrink_to(64 * 1024);
        }
        Ok(Some((message, descriptors)))
    }
}
