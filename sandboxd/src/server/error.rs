//! Why a server could not start, for the person who started it.

use std::io;
use std::path::PathBuf;

use crate::network::NetworkError;

/// Why a server could not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no home directory to keep state in.
    #[error("no place for the state directory: give --state-dir, or set XDG_STATE_HOME or HOME")]
    NoStateDir,
    /// The state directory could not be prepared.
    #[error("cannot prepare the state directory: {path}")]
    StateDir {
        /// What could not be made or opened.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another server uses the state directory.
    #[error("another server uses the state directory {0}: end it, or give another --state-dir")]
    Locked(PathBuf),
    /// The API key could not be read or made.
    #[error("cannot read or make the API key file {path}")]
    ApiKey {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The program that becomes the init of a sandbox could not be set aside.
    #[error("cannot set aside the program for the init of sandboxes: {path}")]
    InitProgram {
        /// The program.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Sandboxes cannot have the network that was asked for.
    #[error("sandboxes cannot have a network of their own here")]
    Network(#[source] NetworkError),
    /// The address could not be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address asked for.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// The announcement could not be written.
    #[error("cannot announce the server in {path}")]
    Announce {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Sandboxes that share the machine's network cannot be told from its other programs.
    #[error("cannot tell the connections of sandboxes from others")]
    Gatekeeper(#[source] io::Error),
    /// The process's signals could not be watched.
    #[error("cannot watch for signals")]
    Signals(#[source] io::Error),
}
