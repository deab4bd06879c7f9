//! What root inside a sandbox may do, and the device of FUSE.
//!
//! The server and the init must agree on it: the server gives these privileges to the init, and the init leaves them to
//! the sandbox (see `namespace`).

/// The device of file systems in user space.
pub const FUSE: &str = "/dev/fuse";

/// What root inside a sandbox may do, within a user namespace of the sandbox. Everything that needs a capability of the
/// host is refused. What the kernel allows by uid alone is not refused: if the server runs as root, root inside has the
/// host's uid 0.
pub const CAPABILITIES: &[&str] = &[
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
pub const FOR_THE_INIT: &[&str] = &["CAP_SETFCAP", "CAP_SETPCAP", "CAP_SYS_ADMIN"];
