//! Requests over `wasi:http/client`.
//!
//! Owns what is easy to get wrong there. A body must be written while the request is being sent. A body that was
//! dropped half-way must not look complete. And the end of a stream says nothing until the trailers are read. Knows no
//! provider; only the plugin decides whether to retry.

mod request;
mod response;

pub use crate::wasi::http::types::Method;
pub use request::{Body, Closed, Request};
pub use response::{BodyReader, Response};
