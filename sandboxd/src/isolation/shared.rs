//! Paths of the host that sandboxes see. The directory tree and the `bwrap` command line must agree on them.

/// Top-level directories that hold programs and libraries: read-only, or the same symbolic link as on the host.
pub(super) const SYSTEM: &[&str] =
    &["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/opt", "/nix/store"];

/// The resolver's configuration, in `/etc`.
pub(super) const RESOLVER: &str = "resolv.conf";

/// The directory that becomes `/dev/shm`. It is on disk, so that no sandbox fills the host's memory with files.
pub(super) const SHARED_MEMORY: &str = "var/shm";
