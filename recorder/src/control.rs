//! What `attach` and `screen` ask of the daemon: one message with an input and an output,
//! and one byte back, its exit status. `run` asks before there is a socket, as a parent.
//!
//! Owns the socket of a recording. A message is a packet, so it is there as a whole or
//! not at all.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};

/// Its name in the folder of a recording.
pub(crate) const SOCKET: &str = "socket";

/// Attachments that wait to be accepted.
const BACKLOG: i32 = 16;

/// Bytes of a request: its version, what it asks for, a number, and the patience in ms.
const LENGTH: usize = 1 + 1 + 8 + 4;

const VERSION: u8 = 1;

/// Where an attachment begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Begin {
    /// At this offset.
    Since(u64),
    /// This many bytes before the end, or as many as are held.
    Tail(u64),
    /// The screen alone, as it is now, into a file that takes it at once.
    Screen,
}

/// An attachment as it is asked for.
pub(crate) struct Request {
    pub(crate) begin: Begin,
    /// It ends when nothing is heard of the broker for this long.
    pub(crate) patience: Duration,
    pub(crate) stdin: OwnedFd,
    pub(crate) stdout: OwnedFd,
}

/// Listens in `dir`.
///
/// A folder's path may be longer than an address, so this process stands in the folder
/// for a moment.
pub(crate) fn listen(dir: &Path) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    let here = std::env::current_dir();
    rustix::process::chdir(dir)?;
    let bound = rustix::net::bind(&socket, &SocketAddrUnix::new(SOCKET)?);
    // Back where the program is to start; gone or forbidden, it starts in the folder.
    let _ = here.and_then(std::env::set_current_dir);
    bound?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket)
}

/// Asks the daemon of `dir` to serve the standard input and an output of this process,
/// and waits until it has: the exit status. Moves this process to `dir`.
pub(crate) fn ask(dir: &Path, begin: Begin, patience: Duration, stdout: BorrowedFd<'_>) -> io::Result<u8> {
    rustix::process::chdir(dir)?;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(SOCKET)?)?;

    let (what, number) = match begin {
        Begin::Since(offset) => (0, offset),
        Begin::Tail(bytes) => (1, bytes),
        Begin::Screen => (2, 0),
    };
    let mut message = vec![VERSION, what];
    message.extend_from_slice(&number.to_be_bytes());
    message.extend_from_slice(&(u32::try_from(patience.as_millis()).unwrap_or(u32::MAX)).to_be_bytes());
    let descriptors = [rustix::stdio::stdin(), stdout];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !ancillary.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    rustix::net::sendmsg(&socket, &[IoSlice::new(&message)], &mut ancillary, SendFlags::NOSIGNAL)?;

    wait(&socket)
}

/// A control connection between a process and the daemon that it forks.
pub(crate) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

/// Waits until the daemon has served this process: the exit status.
pub(crate) fn wait(socket: &OwnedFd) -> io::Result<u8> {
    let mut status = [0];
    loop {
        match rustix::net::recv(socket, &mut status, RecvFlags::empty()) {
            Ok((1, _)) => return Ok(status[0]),
            Ok(_) => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the recorder ended")),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Reads a request. [`io::ErrorKind::WouldBlock`] while it is not there.
pub(crate) fn receive(socket: BorrowedFd<'_>) -> io::Result<Request> {
    let mut message = [0; LENGTH + 1];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    let received = rustix::net::recvmsg(socket, &mut [IoSliceMut::new(&mut message)], &mut ancillary, flags)?;
    let mut descriptors = ancillary
        .drain()
        .filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
            _ => None,
        })
        .flatten();
    let malformed = || io::Error::new(io::ErrorKind::InvalidData, "no request of this version");
    let (Some(stdin), Some(stdout), None) = (descriptors.next(), descriptors.next(), descriptors.next()) else {
        return Err(malformed());
    };
    let [VERSION, what, rest @ ..] = &message[..received.bytes.min(LENGTH)] else { return Err(malformed()) };
    let Some((number, patience)) = rest.split_first_chunk() else { return Err(malformed()) };
    let number = u64::from_be_bytes(*number);
    let begin = match what {
        0 => Begin::Since(number),
        1 => Begin::Tail(number),
        2 => Begin::Screen,
        _ => return Err(malformed()),
    };
    let patience = patience.try_into().map(u32::from_be_bytes).map_err(|_| malformed())?;
    Ok(Request { begin, patience: Duration::from_millis(patience.into()), stdin, stdout })
}

/// Tells a process that asked its exit status; silently nothing when it is gone.
pub(crate) fn answer(socket: &OwnedFd, status: u8) {
    let _ = rustix::net::send(socket.as_fd(), &[status], SendFlags::NOSIGNAL | SendFlags::DONTWAIT);
}
