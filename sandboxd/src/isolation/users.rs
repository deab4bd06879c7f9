//! The users inside a sandbox and their ids.
//!
//! Does not know who acts: the init reads the users from the sandbox itself.

/// The user that acts when a request names none. The uid is that of E2B's base template.
pub(crate) const DEFAULT_USER: &str = "user";
const DEFAULT_UID: u32 = 1000;

/// The uid and gid of the default user inside. If the server is root, its files on the host have the same ids.
///
/// Without root there is only one user, and programs that mount insist on being root.
pub(super) fn identity(fuse: bool) -> (u32, u32) {
    if fuse && !is_root() { (0, 0) } else { (DEFAULT_UID, DEFAULT_UID) }
}

pub(super) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
