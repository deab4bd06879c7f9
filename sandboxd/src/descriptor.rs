//! Descriptors that the kernel or an init hands to the server, made ready for the async runtime.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use tokio::io::unix::AsyncFd;

/// Makes the server's end of a descriptor ready for the runtime.
pub(crate) fn register(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    rustix::io::ioctl_fionbio(descriptor.as_fd(), true)?;
    // SAFETY: an `OwnedFd` names the same open descriptor for as long as it lives, and nobody takes it out.
    Ok(unsafe { AsyncFd::register(descriptor) }?)
}
