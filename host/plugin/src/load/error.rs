//! Why a plugin cannot be used. Owns the words for operators; deliberately knows no plugin.

use std::path::PathBuf;

use sandbox_broker_config::Kind;

/// Why a plugin cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The file cannot be read.
    #[error("cannot read the plugin {}: {cause}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// It is larger than 64 MiB.
    #[error("the plugin has {0} bytes, more than the allowed 64 MiB")]
    TooLarge(u64),
    /// The directory of compiled plugins cannot be used.
    #[error(
        "cannot keep compiled plugins in {}: {why}: make it belong to the user who runs the broker, with mode 0700, \
         or give another --state-dir", directory.display()
    )]
    Compiled {
        /// The directory.
        directory: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// It is no component, or not one for this host.
    #[error("{0}")]
    Invalid(String),
    /// It is good, and of another kind than is needed.
    #[error("the plugin `{plugin}` is of kind `{}`, not `{}`", found.as_str(), wanted.as_str())]
    Kind {
        /// The plugin's id.
        plugin: String,
        /// What it is.
        found: Kind,
        /// What is needed.
        wanted: Kind,
    },
    /// It cannot start with the memory that its section allows.
    #[error(
        "the plugin `{plugin}` takes {} MiB before it does anything, more than `limits.memory`, {} MiB: raise it",
        least.div_ceil(1 << 20), memory >> 20
    )]
    Memory {
        /// The plugin's id.
        plugin: String,
        /// Bytes that it takes at least.
        least: u64,
        /// Bytes that it may take.
        memory: u64,
    },
    /// The system's root certificates cannot be read.
    #[error("cannot read the system's root certificates: {0}")]
    Certificates(std::io::Error),
    /// Its own description cannot be had.
    #[error("the plugin's {what} failed: {cause}")]
    Manifest {
        /// The function.
        what: &'static str,
        /// Why.
        cause: String,
    },
}
