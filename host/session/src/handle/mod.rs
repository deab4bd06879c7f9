//! What the rest of the broker holds of one session.
//!
//! There are two ways in: a bounded mailbox for input, and wishes, of which
//! only the latest counts. Deliberately decides nothing; the session's task does.
//!
//! | file | what it is |
//! |---|---|
//! | `shared` | what a session's handles and the session's task have in common |
//! | `wishes` | what clients wish of the session's task |
//! | `session` | a session, for whoever looks at it |
//! | `client` | one client of a session, which keeps it alive |
//! | `company` | what a client hears of the others |
//! | `join` | who comes to a session |
//! | `summary` | one line of a list of sessions |
//! | `workspace` | what it takes to work on a session's files |

pub(crate) mod client;
pub(crate) mod company;
pub(crate) mod join;
pub(crate) mod session;
pub(crate) mod shared;
pub(crate) mod summary;
pub(crate) mod wishes;
pub(crate) mod workspace;
