//! Why an operation on files failed.
//!
//! Owns which code an error of the system becomes. Knows no operation.

use std::io;
use std::path::Path;

use sandbox_recorder::wire::files::Why;

/// Why an operation failed.
pub(crate) enum Failed {
    /// Nobody takes the answer.
    Answer(io::Error),
    /// In these words.
    Operation(Why, String),
}

impl Failed {
    pub(crate) fn of(why: Why, message: impl Into<String>) -> Self {
        Failed::Operation(why, message.into())
    }
}

pub(crate) trait Context<T> {
    /// Says which path an error is about.
    fn about(self, path: &Path) -> Result<T, Failed>;
}

impl<T> Context<T> for io::Result<T> {
    fn about(self, path: &Path) -> Result<T, Failed> {
        self.map_err(|error| {
            let words = error.to_string();
            let words = words.split(" (os error").next().unwrap_or_default();
            Failed::of(why(&error), format!("{}: {words}", path.display()))
        })
    }
}

fn why(error: &io::Error) -> Why {
    match error.raw_os_error() {
        Some(libc::ENOENT) => Why::NotFound,
        Some(libc::EACCES | libc::EPERM | libc::EROFS) => Why::PermissionDenied,
        Some(libc::EEXIST | libc::ENOTEMPTY) => Why::AlreadyExists,
        Some(libc::ENOSPC | libc::EDQUOT | libc::EFBIG | libc::EMFILE | libc::ENFILE | libc::ENOMEM) => {
            Why::ResourceExhausted
        }
        Some(libc::ENOTDIR | libc::EISDIR | libc::ELOOP | libc::EXDEV | libc::EBUSY | libc::ETXTBSY) => {
            Why::FailedPrecondition
        }
        Some(libc::EINVAL | libc::ENAMETOOLONG) => Why::InvalidArgument,
        // A mount whose server is gone.
        Some(libc::ENOTCONN | libc::ETIMEDOUT | libc::ESTALE | libc::EHOSTDOWN) => Why::Unavailable,
        _ => Why::Internal,
    }
}
