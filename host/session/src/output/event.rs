//! What a reader of a session is told.
//!
//! Owns the vocabulary between a session and the clients that read it.
//! Deliberately knows neither how it is kept nor how it is sent.

use std::sync::Arc;

use bytes::Bytes;

use sandbox_broker_core::sandbox::Size;

use sandbox_broker_policy::outcome::Outcome;
use sandbox_broker_policy::stage::Stage;

/// What a reader is told. `Ready` comes before `Output`, that before `Ended`;
/// each of `Ready` and `Ended` at most once. `Stage` may come at any time
/// before `Ended`, after `Ready` at the place in the output at which it was
/// told.
#[derive(Clone, Debug)]
pub enum Event {
    /// News of a step on the way to the shell, or of a live session's storage.
    Stage(Stage),
    /// The shell runs.
    Ready {
        /// The session's id.
        session: Arc<str>,
        /// Offset of the first output byte that follows.
        offset: u64,
        /// The provider's name.
        provider: Arc<str>,
        /// What a person should know about its isolation.
        isolation: Option<Arc<str>>,
        /// The end of the output when this was told: what comes before it is
        /// old.
        live: u64,
        /// Whether the output outlives the broker.
        durability: Durability,
    },
    /// What the shell printed. Never empty; follows the last without a gap,
    /// but for [`Event::Gap`] and [`crate::Reader::go_to`].
    Output {
        /// Offset of the first byte, counted from the start of the shell.
        offset: u64,
        /// The bytes.
        bytes: Bytes,
    },
    /// The terminal has this size from the next byte on. At the reader's first
    /// byte it has the size that [`crate::Reader::size_at`] tells.
    Size(Size),
    /// These bytes never reached the broker and are gone.
    Gap {
        /// Offset of the first byte that is missing.
        from: u64,
        /// Offset of the first byte that is there.
        to: u64,
    },
    /// The reader has missed what comes before `to`, which the log no longer
    /// holds. It is told again until [`crate::Reader::go_to`] has moved the
    /// reader.
    Behind {
        /// The reader's offset.
        from: u64,
        /// Offset of the oldest byte that is held.
        to: u64,
        /// The end of the output now.
        end: u64,
    },
    /// The session is over, and all output was told.
    Ended(Outcome),
}

/// What `Ready` says of a session, the same for every reader.
#[derive(Clone, Debug)]
pub(crate) struct Readiness {
    pub(crate) session: Arc<str>,
    pub(crate) provider: Arc<str>,
    pub(crate) isolation: Option<Arc<str>>,
    /// The terminal's size at the start of the output.
    pub(crate) size: Size,
    pub(crate) durability: Durability,
}

/// What happens to output that neither a client nor a broker receives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// A recorder in the sandbox keeps its last part; no byte of it is lost.
    Durable,
    /// It is lost: the terminal is the provider's own.
    #[default]
    BestEffort,
}

impl Durability {
    /// Its name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Durability::Durable => "durable",
            Durability::BestEffort => "best-effort",
        }
    }
}
