//! Why a session was not opened or joined.
//!
//! Owns the reasons and their words. Deliberately decides nothing.

/// Why a session was not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// There are as many sessions as allowed.
    #[error("the broker already serves its limit of {limit} sessions; try again when one has ended")]
    Full {
        /// How many are allowed.
        limit: usize,
    },
    /// The person has as many sessions as allowed.
    #[error("you have {limit} sessions already, as many as one person may; end one, or try again when one has ended")]
    FullForUser {
        /// How many are allowed.
        limit: usize,
    },
    /// The broker goes down.
    #[error("the broker is shutting down; connect again")]
    ShuttingDown,
    /// There is no such session, or it belongs to somebody else.
    #[error("there is no such session, or it has ended; start a new one")]
    NoSession,
    /// An earlier broker began to make it and did not finish.
    #[error(
        "the broker was restarted while it made this sandbox, and what there was of it is gone; start a new session"
    )]
    Interrupted,
    /// It is of an earlier broker, and this one could not claim it yet.
    #[error(
        "the broker cannot go on with this session right now, for it cannot write its journal; the session is not \
         lost: connect again in a moment, or ask the operator to look at the broker's log"
    )]
    Unclaimed,
    /// Another broker serves it.
    #[error("another broker serves this session now; connect again in a moment")]
    Elsewhere,
    /// It has as many clients as it may.
    #[error("this session has as many clients as it may; try again when one has left")]
    Crowded,
}
