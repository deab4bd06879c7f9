//! What a client of level 1 says, read by the server and written by a client.
//!
//! Owns the members of each message. The reading is total and says what is
//! wrong; `binary` reads and writes input.

use bytes::Bytes;
use serde_json::{Value, json};

use super::binary::{decode_input, input};
use crate::frames::decode::{BadFrame, bad, members, size, unknown_type};
use sandbox_broker_core::sandbox::Size;
use sandbox_broker_session::Colors;

/// The types that a client's message may have.
const KINDS: &str = "\"ack\", \"resize\", \"detach\", \"kill\", \"take-control\", \"colors\" or \"ping\"";

/// How a color is written.
const COLOR: &str = "a color as \"#rrggbb\"";

/// A client's message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientFrame {
    /// Bytes for the terminal; never empty.
    Input {
        /// Counts this client's input from 1.
        seq: u64,
        /// What was typed.
        bytes: Bytes,
    },
    /// All output below this offset is consumed.
    Ack(u64),
    /// This client's size; none if it has none yet.
    Resize(Option<Size>),
    /// The client leaves; its session stays.
    Detach,
    /// The session is to end.
    Kill,
    /// The client wants to drive.
    TakeControl,
    /// The colors of the client's terminal.
    Colors(Colors),
    /// The client asks whether the server is there. The script of a page does
    /// not see the pings of WebSocket itself.
    Ping,
}

/// A message in the form in which a WebSocket carries it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Encoded {
    /// For a text message.
    Text(String),
    /// For a binary message.
    Binary(Bytes),
}

impl ClientFrame {
    /// Writes the message.
    pub fn encode(&self) -> Encoded {
        let json = match self {
            ClientFrame::Input { seq, bytes } => return Encoded::Binary(input(*seq, bytes)),
            ClientFrame::Ack(offset) => json!({ "type": "ack", "offset": offset }),
            ClientFrame::Resize(size) => {
                let (cols, rows) = size.map(|size| (size.cols, size.rows)).unzip();
                json!({ "type": "resize", "cols": cols, "rows": rows })
            }
            ClientFrame::Detach => json!({ "type": "detach" }),
            ClientFrame::Kill => json!({ "type": "kill" }),
            ClientFrame::TakeControl => json!({ "type": "take-control" }),
            ClientFrame::Colors(Colors { foreground, background, cursor }) => json!({
                "type": "colors",
                "foreground": hex(*foreground),
                "background": hex(*background),
                "cursor": hex(*cursor),
            }),
            ClientFrame::Ping => json!({ "type": "ping" }),
        };
        Encoded::Text(json.to_string())
    }

    /// Reads a text message. Total: every text is a message or a [`BadFrame`].
    /// Unknown members are ignored.
    pub fn decode_text(text: &str) -> Result<Self, BadFrame> {
        let members = members(text)?;
        let kind = members.get("type");
        match kind.and_then(Value::as_str) {
            Some("ack") => match members.get("offset") {
                Some(Value::Number(offset)) if offset.is_u64() => {
                    Ok(ClientFrame::Ack(offset.as_u64().unwrap_or_default()))
                }
                other => Err(bad("offset", "a whole number from 0", other)),
            },
            Some("resize") => Ok(ClientFrame::Resize(size(&members)?)),
            Some("detach") => Ok(ClientFrame::Detach),
            Some("kill") => Ok(ClientFrame::Kill),
            Some("take-control") => Ok(ClientFrame::TakeControl),
            Some("ping") => Ok(ClientFrame::Ping),
            Some("colors") => {
                let color = |name: &'static str| match members.get(name) {
                    Some(Value::String(text)) => color(text).ok_or_else(|| bad(name, COLOR, members.get(name))),
                    other => Err(bad(name, COLOR, other)),
                };
                let (foreground, background, cursor) = (color("foreground")?, color("background")?, color("cursor")?);
                Ok(ClientFrame::Colors(Colors { foreground, background, cursor }))
            }
            _ => Err(unknown_type(KINDS, kind)),
        }
    }

    /// Reads a binary message. Total.
    pub fn decode_binary(message: Bytes) -> Result<Self, BadFrame> {
        let (seq, bytes) = decode_input(message).ok_or(BadFrame::NotInput)?;
        Ok(ClientFrame::Input { seq, bytes })
    }
}

/// Red, green and blue of `#rrggbb`.
fn color(text: &str) -> Option<[u8; 3]> {
    let digits = text.strip_prefix('#').filter(|digits| digits.len() == 6)?;
    let number = digits.bytes().all(|b| b.is_ascii_hexdigit()).then(|| u32::from_str_radix(digits, 16).ok())??;
    let [_, rgb @ ..] = number.to_be_bytes();
    Some(rgb)
}

/// A color as `#rrggbb`.
fn hex([red, green, blue]: [u8; 3]) -> String {
    format!("#{red:02x}{green:02x}{blue:02x}")
}
