//! A `screen` message, written in parts.
//!
//! Owns the JSON around the parts. A screen has MiBs, and one client must not
//! cost a second copy of it. The parts together are what
//! [`ServerFrame::Screen`](super::ServerFrame::Screen) encodes to.

use super::server::Cells;

/// The beginning of the message, for the screen at `offset`.
pub(crate) fn screen_head(offset: u64) -> String {
    format!(r#"{{"type":"screen","offset":{offset},"data":""#)
}

/// Adds text to the message's `data`.
pub(crate) fn screen_text(text: &str, json: &mut String) {
    let quoted = serde_json::to_string(text).expect("a string always serializes into memory");
    json.push_str(&quoted[1..quoted.len() - 1]);
}

/// Adds the end of the message.
pub(crate) fn screen_tail(size: Cells, json: &mut String) {
    let Cells { cols, rows } = size;
    json.push_str(&format!(r#"","size":{{"cols":{cols},"rows":{rows}}}}}"#));
}
