//! Writes lines into the broker's log. The host enforces the bounds: see `log` in `wit/`.

use crate::__bindings::host::sandbox_broker::plugin::log;

pub use log::Level;

/// Writes one line with fields. Never put a secret or a person's data in it.
pub fn write(level: Level, message: &str, fields: &[(&str, &str)]) {
    let fields: Vec<_> = fields.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
    log::log(level, message, &fields);
}

/// Writes a line that helps the author of the plugin.
pub fn debug(message: &str, fields: &[(&str, &str)]) {
    write(Level::Debug, message, fields);
}

/// Writes a line that an operator should look at.
pub fn warn(message: &str, fields: &[(&str, &str)]) {
    write(Level::Warn, message, fields);
}
