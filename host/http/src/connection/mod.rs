//! A connection before and around its requests.
//!
//! Owns a connection's place, its time and its end. Deliberately knows no route.
//!
//! | file | what it is |
//! |---|---|
//! | `limits` | the bounds |
//! | `door` | the accept loop, and who gets a place |
//! | `strangers` | which connection gives way when places are short |
//! | `serve` | one connection's requests |
//! | `exchange` | what a request is told about its connection; long transfers |
//! | `turns` | whose turn it is, and for how long |
//! | `watched` | the socket, watched for its turns |
//! | `bodies` | bodies that say something about the connection |
//! | `linger` | the end of a connection, so that last words arrive |

mod bodies;
pub(crate) mod door;
pub(crate) mod exchange;
pub(crate) mod limits;
mod linger;
pub(crate) mod serve;
mod strangers;
mod turns;
mod watched;
