//! How a client's message is read: the members of its JSON, and why it is
//! refused.
//!
//! Owns what the decoders of both levels share. Deliberately knows neither
//! level's messages.

use serde_json::{Map, Value};

use sandbox_broker_core::sandbox::Size;

/// Bytes of one message from a client, at most. 64 KiB of pasted text always
/// fit, even if JSON escapes each byte as six. Plain text may be almost half a
/// MiB. A longer message is answered by close code 1009.
pub const MAX_MESSAGE: usize = 512 * 1024;

/// Characters of a client's own value that an error repeats, at most.
const MAX_QUOTED: usize = 40;

/// Why a client's message is refused. Its `Display` is for the person who
/// writes the client. It may repeat what they sent, so it is not logged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadFrame {
    /// Not JSON at all.
    #[error("a message must be JSON: {0}")]
    NotJson(String),
    /// JSON, but not an object.
    #[error("a message must be a JSON object, found {0}")]
    NotObject(String),
    /// A member is missing or is not what it must be.
    #[error("`{member}` must be {expected}, found {found}")]
    Member {
        /// The member's name.
        member: &'static str,
        /// What it must be.
        expected: &'static str,
        /// What it is, shortened.
        found: String,
    },
    /// A type that this broker does not know. A newer client may send one, so it
    /// is no sign of a fault.
    #[error("`type` must be {expected}, found {found}")]
    UnknownType {
        /// The types that there are.
        expected: &'static str,
        /// What it is, shortened.
        found: String,
    },
    /// A binary message; level 0 has none.
    #[error("a message must be text, found a binary message")]
    Binary,
    /// A binary message that is no input of level 1.
    #[error("a binary message must be 0x02, a number from 1 in eight bytes, and input")]
    NotInput,
}

/// Refuses a `type` that is none of those `expected`.
pub(super) fn unknown_type(expected: &'static str, found: Option<&Value>) -> BadFrame {
    match found {
        Some(Value::String(_)) => BadFrame::UnknownType { expected, found: describe(found) },
        _ => bad("type", expected, found),
    }
}

/// Reads the members of a message.
pub(super) fn members(text: &str) -> Result<Map<String, Value>, BadFrame> {
    match serde_json::from_str(text) {
        Ok(Value::Object(members)) => Ok(members),
        Ok(other) => Err(BadFrame::NotObject(describe(Some(&other)))),
        Err(error) => Err(BadFrame::NotJson(error.to_string())),
    }
}

/// Reads the size in a message. None if a side is missing, null, zero or less:
/// a page that is not laid out yet sends that (JSON has no NaN and writes
/// null). A side that is too long counts as [`Size::MAX`].
pub(super) fn size(members: &Map<String, Value>) -> Result<Option<Size>, BadFrame> {
    let (cols, rows) = (side(members, "cols")?, side(members, "rows")?);
    Ok(cols.zip(rows).map(|(cols, rows)| Size { cols, rows }))
}

fn side(members: &Map<String, Value>, member: &'static str) -> Result<Option<u16>, BadFrame> {
    match members.get(member) {
        None | Some(Value::Null) => Ok(None),
        // A page divides its width by a cell's width and may send the fraction.
        Some(Value::Number(side)) => {
            let side = side.as_f64().unwrap_or_default();
            Ok((side >= 1.0).then(|| side.min(f64::from(Size::MAX)) as u16))
        }
        other => Err(bad(member, "a number", other)),
    }
}

/// Refuses a member that is not what it must be.
pub(super) fn bad(member: &'static str, expected: &'static str, found: Option<&Value>) -> BadFrame {
    BadFrame::Member { member, expected, found: describe(found) }
}

/// Describes a value in a few words.
fn describe(value: Option<&Value>) -> String {
    match value {
        None => "nothing".to_owned(),
        Some(Value::Array(_)) => "an array".to_owned(),
        Some(Value::Object(_)) => "an object".to_owned(),
        Some(Value::String(text)) if text.chars().count() > MAX_QUOTED => {
            format!("\"{}…\"", text.chars().take(MAX_QUOTED).collect::<String>())
        }
        Some(other) => other.to_string(),
    }
}
