//! The broker's HTTP server: everything that is asked over HTTP, and the door to
//! the terminal.
//!
//! Owns the order in which a request is judged. Deliberately knows no message of
//! the terminal, no plugin and no file of the configuration.
//!
//! ```text
//!  TCP ─▶ door ─▶ serve ─▶ router ─▶ guard ─▶ authenticate ─▶ handler
//!          │        │                  │          │             ├─ page
//!   places, strangers  turns: time     page       person        ├─ api
//!                                                               └─ terminal
//! ```
//!
//! | folder or file | what it owns | what it does not know |
//! |---|---|---|
//! | `connection/` | a connection's place, its time and its end | routes |
//! | `access/` | which pages and which people may ask | what they ask |
//! | `api/` | the answers for programs, and the door to the terminal | credentials |
//! | `page/` | the page, and refusals as a page | what the page does |
//! | `router` | the table of routes and the layers before them | decisions |
//! | `paths` | paths that several files must know | handlers |
//! | `answer` | the form of a refusal | reasons |
//! | `conditions` | conditional requests and ranges | resources |
//! | `app` | what the server is built on | requests |
//! | `state` | what every handler can reach | routes |

mod access;
mod answer;
mod api;
mod app;
mod conditions;
mod connection;
mod page;
mod paths;
mod router;
mod state;

pub use access::auth::{Digested, SignIn, SignInStore, Token};
pub use access::origin::{NotAnOrigin, Origin};
pub use app::{App, ConfigStatus, Settings};
pub use connection::door::Door;
pub use connection::exchange::Connection;
pub use connection::limits::Limits;
pub use connection::serve::serve_connection;
pub use router::router;

#[cfg(test)]
mod tests;
