//! A chunk of input on its way to the session's task.
//!
//! Owns its form and how many of them may wait. Deliberately knows neither who
//! sends nor who receives.

use std::sync::Arc;

use bytes::Bytes;

use sandbox_broker_policy::progress::InputProgress;

/// Number of chunks of input that may wait for the session's task, each of at most
/// [`CHUNK_BYTES`](sandbox_broker_core::sandbox::CHUNK_BYTES). When it is
/// reached, [`Session::input`](crate::Session::input) waits. It is small
/// because the pipe to the shell queues too.
pub(crate) const MAILBOX: usize = 4;

/// Input on its way to the session's task.
#[derive(Debug)]
pub(crate) struct Input {
    pub(crate) bytes: Bytes,
    /// The sender's progress and the number of this input, if the sender wants
    /// to be told.
    pub(crate) from: Option<(Arc<InputProgress>, u64)>,
}
