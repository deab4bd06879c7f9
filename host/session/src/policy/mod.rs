//! Decisions, without doing anything about them: no IO, no task, no lock.
//!
//! | file | what it decides |
//! |---|---|
//! | `machine` | what happens next in a session's life, with the drawing of its states |
//! | `roster` | who is there, who drives, whose size counts |
//! | `answers` | which client's terminal answers what programs ask |
//! | `age` | when a session ends however much it is used |

pub(crate) mod age;
pub(crate) mod answers;
pub(crate) mod machine;
pub(crate) mod roster;
