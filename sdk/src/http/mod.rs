//! Requests over `wasi:http/client`.
//!
//! Owns what is easy to get wrong there: a body must be written while the
//! request is being sent, a body that was dropped half-way must not look
//! complete, and an end of stream says nothing until its trailers were read.
//! Knows no provider; retrying is the plugin's decision.

mod request;
mod response;

pub use crate::wasi::http::types::Method;
pub use request::{Body, Closed, Request};
pub use response::{BodyReader, Response};
