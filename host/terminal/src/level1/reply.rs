//! What the reading half of a level 1 socket tells its writing half.

/// How a single message of the client is answered.
#[derive(Debug)]
pub(super) enum Reply {
    /// It is wrong, or not allowed.
    Complaint {
        /// The cause as a word for programs.
        code: &'static str,
        /// For a person to read.
        message: String,
    },
    /// It asked whether the server is there.
    Pong,
}
