//! Tells the person who waits what a call is doing. The host enforces the bounds: see `progress` in `wit/`.

pub use crate::__bindings::host::sandbox_broker::plugin::progress::report;

/// Says what the call is doing now, such as "pulling the image".
pub fn say(message: &str) {
    report(message, None);
}
