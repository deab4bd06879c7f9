//! The journal in one SQLite file, for one broker on one machine.
//!
//! ```text
//! store ─ file ─┬ connection ─ schema
//!   │           └ lock
//!   ├ sessions ─ rows
//!   └ sign_ins
//! ```
//!
//! | file | what it owns |
//! |---|---|
//! | `store` | the handle: one call at a time, off the runtime's threads |
//! | `file` | the file that is written to, and that it is where the next process looks for it |
//! | `lock` | that one process serves from a state directory |
//! | `connection` | how SQLite is set up |
//! | `bounds` | the bounds on the file and on a wait for it |
//! | `schema` | the tables, and the steps from each version to the next |
//! | `sessions` | the statements for sessions |
//! | `sign_ins` | the statements for sign-ins |
//! | `rows` | rows as values |
//! | `problem` | what went wrong, in words that name the file |

pub(crate) mod bounds;
mod connection;
pub(crate) mod file;
mod lock;
mod problem;
mod rows;
mod schema;
mod sessions;
mod sign_ins;
pub(crate) mod store;
