//! The protocol between the server and the init of a sandbox: the messages and the frame around them.
//!
//! The process that makes a sandbox's network speaks it too, before it becomes the init.
//!
//! Knows nothing of HTTP, of Connect, or of what a message does. Both ends run the same binary (see [`crate::main`]),
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
pub const VERSION: u32 = 3;

/// The largest size of a frame's JSON in bytes: room for 65,536 directory entries.
pub const MAX_FRAME: usize = 32 * 1024 * 1024;

/// Descriptors of one frame: stdin, stdout and stderr.
const MAX_DESCRIPTORS: usize = 3;

const HEADER: usize = 5;

/// Server to init.
#[derive(Debug, Serialize, Deserialize)]
pub enum ToInit {
    /// Run a process; answered by [`Reply::Spawned`] with its descriptors, later by [`FromInit::Exit`].
    Spawn {
        /// Names the request in its answer.
        id: u64,
        /// What to run.
        spawn: Box<Spawn>,
    },
    /// Signal a direct child. Nothing happens if the child has exited.
    Signal {
        /// The child.
        pid: u32,
        /// The signal.
        signal: ProcessSignal,
    },
    /// Do one operation in the sandbox's file system.
    File {
        /// Names the request in its answer.
        id: u64,
        /// The user whose rights decide.
        user: String,
        /// What to do.
        op: FileOp,
    },
    /// End all programs, unmount file systems in user space, and wait for their daemons to end; answered by
    /// [`Reply::Done`] within `within_ms`.
    Close {
        /// Names the request in its answer.
        id: u64,
        /// The time for it in milliseconds.
        within_ms: u64,
    },
}

/// Init to server.
#[derive(Debug, Serialize, Deserialize)]
pub enum FromInit {
    /// First message; carries a pidfd of the init itself.
    Hello {
        /// The init's [`VERSION`].
        version: u32,
    },
    /// The answer to the request with the same id.
    Reply {
        /// The id of the request.
        id: u64,
        /// What became of it.
        result: Result<Reply, Failure>,
    },
    /// A spawned process ended.
    Exit {
        /// The process.
        pid: u32,
        /// How it ended.
        status: ExitStatus,
    },
}

/// A new network namespace to the server.
#[derive(Debug, Serialize, Deserialize)]
pub enum FromNetwork {
    /// Carries a socket that listens on this port of the namespace's loopback.
    Listens {
        /// The port.
        port: u16,
    },
    /// The last message: the namespace is ready. If the server is not root, the sender waits until the server closes
    /// the socket.
    Ready,
}

/// A process to run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Spawn {
    /// The user that it runs as.
    pub user: String,
    /// The program: a path, or a name to look up in `PATH`.
    pub cmd: String,
    /// The arguments after the program's own name.
    pub args: Vec<String>,
    /// In addition to `PATH`, `HOME`, `USER` and `LOGNAME`, which the init sets. The last of equal names wins.
    pub envs: Vec<(String, String)>,
    /// The working directory; without it, the default one.
    pub cwd: Option<String>,
    /// What it reads from and writes to.
    pub io: SpawnIo,
}

/// What a process reads from and writes to.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub enum SpawnIo {
    /// A controlling terminal. One descriptor comes back: the terminal's master.
    Pty {
        /// Its width in characters.
        cols: u16,
        /// Its height in characters.
        rows: u16,
    },
    /// Pipes; descriptors come back in the order stdout, stderr, and stdin if wanted.
    Pipes {
        /// Whether its standard input is a pipe. Without one, it reads nothing.
        stdin: bool,
    },
}

/// A signal that the server sends to a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProcessSignal {
    /// SIGKILL.
    Kill,
    /// SIGTERM.
    Terminate,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExitStatus {
    /// By itself, with this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

/// An operation in the sandbox's file system. A path may be relative to the acting user's home.
#[derive(Debug, Serialize, Deserialize)]
pub enum FileOp {
    /// Describe a file; answered by [`Reply::Entry`].
    Stat {
        /// The file.
        path: String,
    },
    /// Make a directory and its parents; answered by [`Reply::Entry`].
    MakeDir {
        /// The directory.
        path: String,
    },
    /// Give a file another path; answered by [`Reply::Entry`].
    Move {
        /// The path that it has.
        source: String,
        /// The path that it gets.
        destination: String,
    },
    /// List a directory; answered by [`Reply::Entries`].
    List {
        /// The directory.
        path: String,
        /// How many levels to list, at least one.
        depth: u32,
    },
    /// Remove a file, or a directory with all that is in it; answered by [`Reply::Done`].
    Remove {
        /// The file or directory.
        path: String,
    },
    /// A regular file for reading; answered by [`Reply::Entry`] with one descriptor.
    Read {
        /// The file.
        path: String,
    },
    /// A regular file for writing, created with its parent directories or truncated; answered by [`Reply::Entry`] with
    /// one descriptor.
    Write {
        /// The file.
        path: String,
        /// Replaces all metadata of the file.
        metadata: BTreeMap<String, String>,
    },
    /// A directory to watch; one descriptor comes back.
    OpenDir {
        /// The directory.
        path: String,
        /// Whether it may be on a network file system, where changes that are made elsewhere cause no events.
        allow_network_mounts: bool,
    },
    /// A directory below the one whose descriptor comes with the request. Follows no link. One descriptor comes back.
    OpenBelow {
        /// The path from that directory.
        path: String,
    },
}

/// What a request came to.
#[derive(Debug, Serialize, Deserialize)]
pub enum Reply {
    /// The process runs.
    Spawned {
        /// Its pid inside.
        pid: u32,
    },
    /// The file that the operation was about.
    Entry(Box<EntryInfo>),
    /// The files of a directory.
    Entries(Vec<EntryInfo>),
    /// It is done, and there is nothing to tell.
    Done,
}

/// Why the init refused a request. The message is for the caller of the API.
#[derive(Debug, Clone, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// What kind of failure it is.
    pub kind: FailureKind,
    /// What is wrong.
    pub message: String,
}

/// The kinds of failures that the API tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FailureKind {
    /// The request cannot be carried out as it is.
    InvalidArgument,
    /// There is no such file.
    NotFound,
    /// There is such a directory already.
    AlreadyExists,
    /// The acting user has no right to do it.
    PermissionDenied,
    /// There is no such user, or nobody can act as this one.
    Unauthenticated,
    /// A limit of the sandbox is reached.
    ResourceExhausted,
    /// The disk is full.
    NoSpace,
    /// The init could not do it, whoever asks.
    Internal,
}

/// One file, directory or symbolic link, in the JSON form of `filesystem.EntryInfo`. In that form zero values are left
/// out, and `size` is a decimal string.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EntryInfo {
    /// The last part of its path.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// What it is; of a link, what the link leads to. `None` for devices, pipes and sockets.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<FileType>,
    /// Its absolute path in the sandbox.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// Its size in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<String>,
    /// The bits of its permissions.
    #[serde(skip_serializing_if = "is_zero")]
    pub mode: u32,
    /// Its permissions as Go writes them, such as `drwxr-xr-x`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub permissions: String,
    /// The name of its user, or the uid.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub owner: String,
    /// The name of its group, or the gid.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// When its content changed last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub modified_time: Option<jiff::Timestamp>,
    /// Where it leads, if it is a link.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub symlink_target: Option<String>,
    /// Its extended attributes that the API manages. Only regular files have them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
}

/// The kinds of files that the API tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FileType {
    /// A regular file.
    #[serde(rename = "FILE_TYPE_FILE")]
    File,
    /// A directory.
    #[serde(rename = "FILE_TYPE_DIRECTORY")]
    Directory,
    /// A symbolic link that leads nowhere, or to another kind of file.
    #[serde(rename = "FILE_TYPE_SYMLINK")]
    Symlink,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the shape that serde calls")]
fn is_zero(value: &u32) -> bool {
    *value == 0
}

/// What is wrong with the stream between server and init. The stream cannot be used any further.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// A system call failed.
    #[error("the stream to the sandbox's init failed")]
    Io(#[from] Errno),
    /// The stream ended.
    #[error("the other end closed the stream")]
    Closed,
    /// A frame has more bytes than [`MAX_FRAME`].
    #[error("a frame of {0} bytes exceeds the bound of {MAX_FRAME}")]
    TooLarge(usize),
    /// The JSON of a frame is no message.
    #[error("a frame could not be read as a message")]
    Malformed(#[from] serde_json::Error),
    /// A frame came without its descriptors.
    #[error("a frame came with fewer descriptors than it announced")]
    MissingDescriptors,
}

/// The number of a system call's error; `EIO` for an error that did not come from a system call.
pub fn into_errno(error: std::io::Error) -> Errno {
    Errno::from_io_error(&error).unwrap_or(Errno::IO)
}

/// Writes a message as one frame, without its descriptors.
pub fn encode(message: &impl Serialize, descriptors: usize) -> Result<Vec<u8>, WireError> {
    let mut frame = vec![0; HEADER];
    serde_json::to_writer(&mut frame, message)?;
    let length = frame.len() - HEADER;
    let header = u32::try_from(length).ok().filter(|_| length <= MAX_FRAME).ok_or(WireError::TooLarge(length))?;
    frame[..4].copy_from_slice(&header.to_le_bytes());
    frame[4] = u8::try_from(descriptors).expect("at most three descriptors");
    Ok(frame)
}

/// Sends the first part of `bytes` with `descriptors` beside the first byte. Returns how many bytes were sent.
pub fn send(socket: impl AsFd, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> Result<usize, Errno> {
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
pub struct Inbox {
    bytes: Vec<u8>,
    descriptors: VecDeque<OwnedFd>,
}

impl Inbox {
    /// Receives once.
    ///
    /// # Errors
    /// [`WireError::Closed`] at the end of the stream; `WOULDBLOCK` inside [`WireError::Io`] on a non-blocking socket.
    pub fn receive(&mut self, socket: impl AsFd) -> Result<(), WireError> {
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
    pub fn next_message<M: for<'de> Deserialize<'de>>(&mut self) -> Result<Option<(M, Vec<OwnedFd>)>, WireError> {
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
