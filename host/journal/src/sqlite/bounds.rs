//! The bounds on the file and on a wait for it.

use std::time::Duration;

/// Bound on the file, and so on a listing: 1,000 sessions with the largest entries, or a hundred times as many with usual
/// ones.
pub(crate) const FILE_BYTES: u32 = 64 * 1024 * 1024;

/// Bytes of a page of the file.
pub(crate) const PAGE_BYTES: u32 = 4096;

/// How long a change waits while another process has the file locked, such as a tool that copies it.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
