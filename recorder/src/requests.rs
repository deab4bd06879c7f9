//! How `attach` and `screen` ask the daemon to serve them. A request is one message that carries two pipes. The answer is
//! one byte: the exit status of the process that asked. `run` does the same as the parent, before there is a socket.
//!
//! Owns the socket of a recording. A message is one packet, so it arrives as a whole or not at all. Does not know what the
//! daemon sends over the pipes.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};

/// The name of the socket in the folder of a recording.
pub(crate) const SOCKET: &str = "socket";

/// The number of connections that may wait to be accepted.
const BACKLOG: i32 = 16;

/// The bytes of a request: its version, what it asks for, a number, and the patience in milliseconds.
const LENGTH: usize = 1 + 1 + 8 + 4;

const VERSION: u8 = 1;

/// What a request asks for: where the attachment begins, or only the screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Begin {
    /// Output from this offset on.
    Since(u64),
    /// The last bytes of the output, this many if the ring holds as many.
    Tail(u64),
    /// Only the screen as it is now. The output must be a file in memory, so that writing does not block.
    Screen,
}

/// A request, with the pipes of the process that asked.
pub(crate) struct Request {
    pub(crate) begin: Begin,
    /// The attachment ends if the broker sends nothing for this long.
    pub(crate) patience: Duration,
    pub(crate) stdin: OwnedFd,
    pub(crate) stdout: OwnedFd,
}

/// Listens in `dir`.
///
/// The path of a folder may be longer than a socket's address, so this process changes to the folder for a moment.
pub(crate) fn listen(dir: &Path) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    let here = std::env::current_dir();
    rustix::process::chdir(dir)?;
    let bound = rustix::net::bind(&socket, &SocketAddrUnix::new(SOCKET)?);
    // The program is to start in this directory. If it is gone or forbidden, the program starts in the folder.
    let _ = here.and_then(std::env::set_current_dir);
    bound?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket)
}

/// Asks the daemon of `dir` to serve the standard input of this process and `stdout`. Waits until it has, and returns the
/// exit status. Changes the directory of this process to `dir`.
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

/// Connects this process to the daemon that it is about to fork.
pub(crate) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

/// Waits until the daemon has served this process, and returns the exit status.
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

/// Reads a request. Fails with [`io::ErrorKind::WouldBlock`] while there is none.
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
    let malformed = || io::Error::new(io::ErrorKind::InvalidData, "not a request of this version");
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

/// Sends the exit status to the process that asked. Does nothing if that process has ended.
pub(crate) fn answer(socket: &OwnedFd, status: u8) {
    let _ = rustix::net::send(socket.as_fd(), &[status], SendFlags::NOSIGNAL | SendFlags::DONTWAIT);
}
