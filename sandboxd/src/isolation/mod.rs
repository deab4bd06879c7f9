//! The isolation of a sandbox: its directory tree on the host, and the `bwrap` command line that turns the tree into a root.
//!
//! A sandbox has its own processes, mounts, users, host name, IPC and terminals. It sees the host's programs read-only and none
//! of the host's home directories, sockets or secrets. Of the kernel's own files it sees what programs need, and it changes none. What
//! the init gives up on its way in is in `sandboxd-init`. Knows nothing of leases or of the API.

mod bwrap;
mod fuse;
mod root;
mod shared;
mod users;

pub(crate) use self::bwrap::{Isolation, arguments};
pub(crate) use self::fuse::{FuseError, check_fuse};
pub(crate) use self::root::make_root;
pub(crate) use self::users::DEFAULT_USER;
