//! All sessions of this broker.
//!
//! | file | what it is |
//! |---|---|
//! | `sessions` | the table of live sessions: admits, lists, shuts down |
//! | `refused` | why nobody was admitted |
//! | `reaper` | ends the sandboxes that no session knows |

pub(crate) mod reaper;
pub(crate) mod refused;
pub(crate) mod sessions;
