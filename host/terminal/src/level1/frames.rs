//! The frames of level 1: binary frames with terminal bytes and JSON control.
//!
//! Owns the wire's vocabulary beyond level 0. Deliberately knows no socket and
//! no session. `docs/terminal-protocol.md` describes this file and carries its
//! hash.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::frames::{BadFrame, CloseCode, bad, members, size, unknown_type};
use sandbox_broker_core::sandbox::Size;
use sandbox_broker_session::Colors;

/// Name of the subprotocol, as offered and chosen in `Sec-WebSocket-Protocol`.
pub const SUBPROTOCOL: &str = "sandbox-broker.v1";

/// Output that a client may have yet to acknowledge, in bytes. On a line of
/// 100 ms it is 40 Mbit/s; a browser draws it in some ten milliseconds.
pub const WINDOW: u64 = 512 * 1024;

/// Characters of a client's name, at most.
pub const MAX_NAME: usize = 64;

/// The highest offset: beyond it a number in JSON is not exact for everybody.
pub const MAX_OFFSET: u64 = 1 << 53;

/// First byte of a binary frame with output.
const OUTPUT: u8 = 0x01;

/// First byte of a binary frame with input.
const INPUT: u8 = 0x02;

/// Bytes before the terminal's own in a binary frame.
const HEADER: usize = 9;

/// What a message of a client may be.
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
    /// This client's size; none where it has none yet.
    Resize(Option<Size>),
    /// The client leaves; its session stays.
    Detach,
    /// The session is to end.
    Kill,
    /// The client wants to drive.
    TakeControl,
    /// How the client's terminal looks.
    Colors(Colors),
    /// The client asks whether somebody is there. A page sees no pings of
    /// WebSocket's own.
    Ping,
}

impl ClientFrame {
    /// Reads a text message. Total; members that it does not know are ignored.
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
    pub fn decode_binary(mut message: Bytes) -> Result<Self, BadFrame> {
        if message.first() != Some(&INPUT) || message.len() <= HEADER {
            return Err(BadFrame::NotInput);
        }
        message.advance(1);
        match message.get_u64() {
            0 => Err(BadFrame::NotInput),
            seq => Ok(ClientFrame::Input { seq, bytes: message }),
        }
    }
}

/// Red, green and blue of `#rrggbb`.
fn color(text: &str) -> Option<[u8; 3]> {
    let digits = text.strip_prefix('#').filter(|digits| digits.len() == 6)?;
    let number = digits.bytes().all(|b| b.is_ascii_hexdigit()).then(|| u32::from_str_radix(digits, 16).ok())??;
    let [_, rgb @ ..] = number.to_be_bytes();
    Some(rgb)
}

/// A binary frame of output that begins at `offset`.
pub fn output<'a>(offset: u64, parts: impl Iterator<Item = &'a Bytes> + Clone) -> Bytes {
    let mut frame = BytesMut::with_capacity(HEADER + parts.clone().map(Bytes::len).sum::<usize>());
    frame.put_u8(OUTPUT);
    frame.put_u64(offset);
    parts.for_each(|part| frame.extend_from_slice(part));
    frame.freeze()
}

/// The beginning of a `screen` message at `offset`: as
/// [`ServerFrame::Screen`] is written, but a part at a time.
pub(super) fn screen_head(offset: u64) -> String {
    format!(r#"{{"type":"screen","offset":{offset},"data":""#)
}

/// Adds text to the `data` of a `screen` message.
pub(super) fn screen_text(text: &str, json: &mut String) {
    let quoted = serde_json::to_string(text).expect("a string always serializes into memory");
    json.push_str(&quoted[1..quoted.len() - 1]);
}

/// Adds the end of a `screen` message.
pub(super) fn screen_tail(size: Cells, json: &mut String) {
    let Cells { cols, rows } = size;
    json.push_str(&format!(r#"","size":{{"cols":{cols},"rows":{rows}}}}}"#));
}

/// A terminal's size on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cells {
    /// Columns.
    pub cols: u16,
    /// Rows.
    pub rows: u16,
}

impl From<Size> for Cells {
    fn from(size: Size) -> Self {
        Cells { cols: size.cols, rows: size.rows }
    }
}

/// One of those who are there.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Person<'a> {
    /// The client's name.
    pub client: &'a str,
    /// `driver` or `viewer`.
    pub role: &'a str,
    /// Its size, where it has told one.
    #[serde(flatten)]
    pub size: Option<Cells>,
    /// Its size is the terminal's, or a side of it is.
    #[serde(skip_serializing_if = "is_false")]
    pub sets_size: bool,
    /// Whose it is, where it is a guest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guest: Option<&'a str>,
}

fn is_false(value: &bool) -> bool {
    !value
}

/// A message of ours.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum ServerFrame<'a> {
    /// A step on the way to the shell, or news of the storage.
    Stage {
        /// Which step.
        name: &'a str,
        /// `begin`, `done` or `failed`.
        state: &'a str,
        /// For a person to read.
        message: &'a str,
        /// How long it took, in milliseconds.
        #[serde(skip_serializing_if = "Option::is_none")]
        ms: Option<u64>,
    },
    /// The shell runs.
    Ready {
        /// The session's id.
        session: &'a str,
        /// This client's name.
        client: &'a str,
        /// What it may do: `driver` or `viewer`.
        role: &'a str,
        /// The numbering that offsets belong to.
        epoch: u64,
        /// Offset of the first byte of output that follows.
        offset: u64,
        /// End of the output now: what comes before it is replay.
        live: u64,
        /// Highest number of this client's input that was handed on.
        input: u64,
        /// The section of the configuration that made the sandbox.
        provider: &'a str,
        /// What a person should know about its isolation.
        #[serde(skip_serializing_if = "Option::is_none")]
        isolation: Option<&'a str>,
        /// `durable` or `best-effort`.
        durability: &'a str,
        /// Who answers what programs ask of the terminal: `recorder` or `client`.
        answers: &'a str,
        /// How long the session lives on without a client, in milliseconds.
        keep_ms: u64,
        /// The terminal's size at `offset`.
        size: Cells,
        /// Lets others watch; not told to those who came by one.
        #[serde(skip_serializing_if = "Option::is_none")]
        invitation: Option<&'a str>,
    },
    /// What was on the screen at an offset.
    Screen {
        /// Output before it is not sent.
        offset: u64,
        /// Draws it on a terminal that was reset.
        data: &'a str,
        /// The terminal's size then.
        size: Cells,
    },
    /// Bytes that this client does not get.
    Gap {
        /// Of the first one.
        from: u64,
        /// Of the first one that it gets again.
        to: u64,
        /// Why, for a person to read.
        reason: &'a str,
    },
    /// Input up to this number was handed to the sandbox.
    InputAck {
        /// The number.
        seq: u64,
    },
    /// The terminal has this size from an offset on: in its place in the output.
    Size {
        /// Of the first byte that was written for it.
        offset: u64,
        /// The size.
        #[serde(flatten)]
        size: Cells,
    },
    /// Who is there.
    Clients {
        /// All of them, this client included.
        clients: Vec<Person<'a>>,
    },
    /// The session is over.
    Exit {
        /// The shell's exit status.
        #[serde(skip_serializing_if = "Option::is_none")]
        code: Option<i32>,
        /// The signal that ended it.
        #[serde(skip_serializing_if = "Option::is_none")]
        signal: Option<&'a str>,
        /// How it ended, for a person to read.
        reason: &'a str,
        /// End of all output.
        offset: u64,
    },
    /// Somebody is there.
    Pong {},
    /// What failed and who can mend it.
    Error {
        /// For a program.
        code: &'a str,
        /// For a person to read; never holds a secret.
        message: &'a str,
        /// When to connect again, in milliseconds.
        #[serde(skip_serializing_if = "Option::is_none")]
        retry_ms: Option<u64>,
    },
}

impl ServerFrame<'_> {
    /// Writes it as JSON text.
    pub fn encode(&self) -> String {
        serde_json::to_string(self).expect("strings and numbers always serialize into memory")
    }
}

/// What an `error` before this close code says to a program.
pub fn error_code(close: CloseCode) -> &'static str {
    match close {
        CloseCode::Exited => "exited",
        CloseCode::Draining => "draining",
        CloseCode::Protocol | CloseCode::NotUtf8 | CloseCode::Policy | CloseCode::TooLarge => "malformed",
        CloseCode::Broker => "broker",
        CloseCode::TryLater => "full",
        CloseCode::TakenOver => "taken-over",
        CloseCode::SignedOut => "signed-out",
        CloseCode::NoSession => "no-session",
        CloseCode::Idle => "idle",
        CloseCode::Provider => "provider",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_messages_of_a_client() {
        let text = ClientFrame::decode_text;
        assert_eq!(text(r#"{"type":"ack","offset":18446744073709551615}"#), Ok(ClientFrame::Ack(u64::MAX)));
        assert_eq!(
            text(r#"{"type":"resize","cols":80,"rows":24,"new":1}"#),
            Ok(ClientFrame::Resize(Some(Size { cols: 80, rows: 24 })))
        );
        assert_eq!(text(r#"{"type":"detach"}"#), Ok(ClientFrame::Detach));
        assert_eq!(text(r#"{"type":"kill"}"#), Ok(ClientFrame::Kill));
        assert_eq!(text(r#"{"type":"take-control"}"#), Ok(ClientFrame::TakeControl));
        assert_eq!(text(r#"{"type":"ping"}"#), Ok(ClientFrame::Ping));
        assert_eq!(
            text(r##"{"type":"colors","foreground":"#ffffff","background":"#102030","cursor":"#0aF00f"}"##),
            Ok(ClientFrame::Colors(Colors {
                foreground: [255; 3],
                background: [0x10, 0x20, 0x30],
                cursor: [0x0a, 0xf0, 0x0f]
            }))
        );
        let input = Bytes::from_static(b"\x02\0\0\0\0\0\0\0\x07ls\n");
        let expected = ClientFrame::Input { seq: 7, bytes: Bytes::from_static(b"ls\n") };
        assert_eq!(ClientFrame::decode_binary(input), Ok(expected));
    }

    #[test]
    fn a_refusal_says_what_was_found_and_what_was_expected() {
        for (frame, words) in [
            (r#"{"type":"ack"}"#, "`offset` must be a whole number from 0, found nothing"),
            (r#"{"type":"ack","offset":-1}"#, "`offset` must be a whole number from 0, found -1"),
            (r#"{"type":"ack","offset":1.5}"#, "`offset` must be a whole number from 0, found 1.5"),
            (r#"{"type":"resize","cols":"0","rows":1}"#, "`cols` must be a number, found \"0\""),
            (
                r#"{"type":"input","data":"ls"}"#,
                "`type` must be \"ack\", \"resize\", \"detach\", \"kill\", \"take-control\", \"colors\" or \"ping\", found \"input\"",
            ),
            (r#"{"type":"colors","foreground":"red"}"#, "`foreground` must be a color as \"#rrggbb\", found \"red\""),
            ("[]", "a message must be a JSON object, found an array"),
        ] {
            assert_eq!(ClientFrame::decode_text(frame).unwrap_err().to_string(), words, "{frame}");
        }
        for message in
            [&b""[..], b"\x02", b"\x02\0\0\0\0\0\0\0\x01", b"\x02\0\0\0\0\0\0\0\0x", b"\x01\0\0\0\0\0\0\0\x01x"]
        {
            assert_eq!(ClientFrame::decode_binary(Bytes::from_static(message)), Err(BadFrame::NotInput));
        }
    }

    #[test]
    fn what_a_server_says() {
        let parts = [Bytes::from_static(b"ab"), Bytes::from_static(b"c")];
        assert_eq!(&output(258, parts.iter())[..], b"\x01\0\0\0\0\0\0\x01\x02abc");
        let size = Cells { cols: 80, rows: 24 };
        let person = Person { client: "w1", role: "driver", size: Some(size), sets_size: true, guest: None };
        let silent = Person { client: "w2", role: "viewer", size: None, sets_size: false, guest: Some("bob") };
        for (frame, json) in [
            (
                ServerFrame::Clients { clients: vec![person, silent] },
                r#"{"type":"clients","clients":[{"client":"w1","role":"driver","cols":80,"rows":24,"sets_size":true},{"client":"w2","role":"viewer","guest":"bob"}]}"#,
            ),
            (ServerFrame::Size { offset: 7, size }, r#"{"type":"size","offset":7,"cols":80,"rows":24}"#),
            (ServerFrame::Pong {}, r#"{"type":"pong"}"#),
            (ServerFrame::InputAck { seq: 3 }, r#"{"type":"input-ack","seq":3}"#),
            (
                ServerFrame::Exit { code: Some(0), signal: None, reason: "ended", offset: 9 },
                r#"{"type":"exit","code":0,"reason":"ended","offset":9}"#,
            ),
            (
                ServerFrame::Error { code: "draining", message: "m", retry_ms: Some(5) },
                r#"{"type":"error","code":"draining","message":"m","retry_ms":5}"#,
            ),
        ] {
            assert_eq!(frame.encode(), json);
        }
    }

    #[test]
    fn a_screen_in_parts_is_the_same_message() {
        let (data, size) = ("\u{1b}[1m\"\\é\u{7f}漢\n", Cells { cols: 80, rows: 24 });
        let mut json = screen_head(7);
        data.chars().for_each(|c| screen_text(c.encode_utf8(&mut [0; 4]), &mut json));
        screen_tail(size, &mut json);
        assert_eq!(json, ServerFrame::Screen { offset: 7, data, size }.encode());
    }

    proptest! {
        #[test]
        fn any_message_is_a_frame_or_a_refusal(message in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = ClientFrame::decode_text(&String::from_utf8_lossy(&message));
            if let Ok(ClientFrame::Input { seq, bytes }) = ClientFrame::decode_binary(message.clone().into()) {
                prop_assert!(seq > 0 && !bytes.is_empty() && bytes.len() + HEADER == message.len());
            }
        }
    }
}
