//! Whether this server may give a sandbox the device of FUSE.

use std::fs;
use std::io;

use sandboxd_init::privileges::FUSE;

use super::users::is_root;

/// Why no sandbox of this server can mount.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FuseError {
    #[error(
        "{FUSE} is missing: load the kernel's module fuse, or give the device to the container that the server runs in"
    )]
    Missing,
    #[error(
        "this server does not run as root, and its user may not open {FUSE}: give it read and write access, or run the server as root"
    )]
    Forbidden,
    #[error("cannot open {FUSE}")]
    Open(#[source] io::Error),
}

/// Whether sandboxes made by this process can mount file systems in user space.
///
/// # Errors
/// [`FuseError`], with what to do.
pub(crate) fn check_fuse() -> Result<(), FuseError> {
    match fs::File::options().read(true).write(true).open(FUSE) {
        Ok(_) => Ok(()),
        Err(error) => Err(match error.kind() {
            io::ErrorKind::NotFound => FuseError::Missing,
            io::ErrorKind::PermissionDenied if !is_root() => FuseError::Forbidden,
            _ => FuseError::Open(error),
        }),
    }
}
