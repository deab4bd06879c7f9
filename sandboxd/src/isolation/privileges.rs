//! What root inside a sandbox may do, and whether this server may give a sandbox the device of FUSE.
//!
//! The init takes these privileges for itself as well: see `init::namespace`.

use std::fs;
use std::io;

use super::users::is_root;

/// The device of file systems in user space.
pub(crate) const FUSE: &str = "/dev/fuse";

/// What root inside a sandbox may do, within a user namespace of the sandbox. Everything that needs a capability of the
/// host is refused. What the kernel allows by uid alone is not refused: if the server runs as root, root inside has the
/// host's uid 0.
pub(crate) const CAPABILITIES: &[&str] = &[
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_NET_BIND_SERVICE",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];

/// Further capabilities that the init needs to make the sandbox's user namespace and to limit its terminals. It keeps
/// none of them.
pub(super) const FOR_THE_INIT: &[&str] = &["CAP_SETFCAP", "CAP_SETPCAP", "CAP_SYS_ADMIN"];

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
