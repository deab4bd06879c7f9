//! The messages of level 0: JSON text in both directions.
//!
//! Owns their members, the reading of a client's and the writing of ours.
//! Deliberately knows no socket and no session.

use std::fmt;

use bytes::Bytes;
use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::decode::{BadFrame, bad, members, size, unknown_type};
use sandbox_broker_core::sandbox::Size;

/// A client's message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientFrame {
    /// Text for the terminal, in WTF-8: it may begin or end with half a
    /// surrogate pair. May be empty.
    Input(Bytes),
    /// The terminal's new size; none if the client has no size yet.
    Resize(Option<Size>),
}

impl ClientFrame {
    /// Reads a message. Total: every text is a frame or a [`BadFrame`].
    /// Members that it does not know are ignored.
    pub fn decode(text: &str) -> Result<Self, BadFrame> {
        let mut members = match members(text) {
            Ok(members) => members,
            Err(bad) => return torn(text).ok_or(bad),
        };
        match members.get("type") {
            Some(Value::String(kind)) if kind == "input" => match members.remove("data") {
                Some(Value::String(data)) => Ok(ClientFrame::Input(data.into())),
                other => Err(bad("data", "a string", other.as_ref())),
            },
            Some(Value::String(kind)) if kind == "resize" => Ok(ClientFrame::Resize(size(&members)?)),
            other => Err(unknown_type("\"input\" or \"resize\"", other)),
        }
    }
}

/// Reads input with half a surrogate pair, which no Rust string can hold.
fn torn(text: &str) -> Option<ClientFrame> {
    #[derive(Deserialize)]
    struct Torn {
        r#type: String,
        data: Halves,
    }
    serde_json::from_str(text)
        .ok()
        .filter(|torn: &Torn| torn.r#type == "input")
        .map(|torn| ClientFrame::Input(torn.data.0))
}

/// Text in WTF-8: serde_json reads a string so when it is asked for bytes.
struct Halves(Bytes);

impl<'de> Deserialize<'de> for Halves {
    fn deserialize<D: Deserializer<'de>>(text: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Halves;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Halves, E> {
                Ok(Halves(Bytes::copy_from_slice(bytes)))
            }
        }
        text.deserialize_bytes(Text)
    }
}

/// What a `status` says. A client may ignore the members that the standard
/// protocol does not have. Those that are `None` are left out.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Status<'a> {
    /// For a person to read.
    pub message: &'a str,
    /// The step of provisioning that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stage: Option<&'a str>,
    /// How far that step is: `begin`, `done` or `failed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<&'a str>,
    /// How long that step took, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ms: Option<u64>,
}

/// A server's message.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum ServerFrame<'a> {
    /// Progress, or how the shell ended.
    Status(Status<'a>),
    /// The shell runs.
    Ready {
        /// The session's id.
        session: &'a str,
        /// Offset of the first byte of output that follows.
        offset: u64,
        /// The section of the configuration that made the sandbox.
        provider: &'a str,
        /// What a person should know about its isolation.
        #[serde(skip_serializing_if = "Option::is_none")]
        isolation: Option<&'a str>,
    },
    /// Output.
    Output {
        /// The text; never part of a code point.
        data: &'a str,
        /// Offset of its first byte in the session's output.
        offset: u64,
    },
    /// What failed and who can fix it.
    Error {
        /// For a person to read; never holds a secret.
        message: &'a str,
    },
}

impl ServerFrame<'_> {
    /// Writes it as JSON text.
    pub fn encode(&self) -> String {
        let payload = match self {
            ServerFrame::Output { data, .. } => data.len() + data.len() / 8,
            _ => 0,
        };
        let mut json = Vec::with_capacity(payload + 128);
        serde_json::to_writer(&mut json, self).expect("strings and numbers always serialize into memory");
        String::from_utf8(json).expect("serde_json writes UTF-8")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn refused(text: &str) -> String {
        ClientFrame::decode(text).unwrap_err().to_string()
    }

    #[test]
    fn the_two_messages_of_a_client() {
        assert_eq!(
            ClientFrame::decode(r#"{"type":"input","data":"ls -la\n"}"#),
            Ok(ClientFrame::Input(Bytes::from("ls -la\n")))
        );
        let size = Ok(ClientFrame::Resize(Some(Size { cols: 80, rows: 24 })));
        assert_eq!(ClientFrame::decode(r#"{"type":"resize","cols":80,"rows":24}"#), size);
        assert_eq!(ClientFrame::decode(r#"{"rows":24.0,"cols":8e1,"type":"resize","new":[1]}"#), size);
    }

    #[test]
    fn a_refusal_says_what_was_found_and_what_was_expected() {
        for (frame, words) in [
            (r#"{"type":"resize","cols":"80"}"#, "`cols` must be a number, found \"80\""),
            (r#"{"type":"resize","cols":80,"rows":[24]}"#, "`rows` must be a number, found an array"),
            (r#"{"type":"input"}"#, "`data` must be a string, found nothing"),
            (r#"{"type":"input","data":["a"]}"#, "`data` must be a string, found an array"),
            (r#"{"type":"paste"}"#, "`type` must be \"input\" or \"resize\", found \"paste\""),
            (r#"{"type":null}"#, "`type` must be \"input\" or \"resize\", found null"),
            ("{}", "`type` must be \"input\" or \"resize\", found nothing"),
            ("[]", "a message must be a JSON object, found an array"),
            ("ls", "a message must be JSON: expected value at line 1 column 1"),
            ("", "a message must be JSON: EOF while parsing a value at line 1 column 0"),
        ] {
            assert_eq!(refused(frame), words, "{frame}");
        }
    }

    #[test]
    fn a_page_without_a_size_tells_none_and_a_huge_one_gets_the_largest() {
        for sides in [
            "",
            r#","cols":null,"rows":null"#,
            r#","cols":0,"rows":24"#,
            r#","cols":80,"rows":-1"#,
            r#","cols":0.5,"rows":24"#,
        ] {
            let told = format!(r#"{{"type":"resize"{sides}}}"#);
            assert_eq!(ClientFrame::decode(&told), Ok(ClientFrame::Resize(None)), "{told}");
        }
        assert_eq!(
            ClientFrame::decode(r#"{"type":"resize","cols":80.9,"rows":24.5}"#),
            Ok(ClientFrame::Resize(Some(Size { cols: 80, rows: 24 })))
        );
        for cols in ["1001", "70000", "1e308", "18446744073709551615"] {
            let told = format!(r#"{{"type":"resize","cols":{cols},"rows":24}}"#);
            let largest = Size { cols: Size::MAX, rows: 24 };
            assert_eq!(ClientFrame::decode(&told), Ok(ClientFrame::Resize(Some(largest))), "{told}");
        }
    }

    #[test]
    fn half_a_surrogate_pair_is_input() {
        for (text, bytes) in [
            (r#"{"type":"input","data":"\ud83d"}"#, &b"\xED\xA0\xBD"[..]),
            (r#"{"data":"a\ude00é","new":{"x":["\ud83d",1]},"type":"input"}"#, b"a\xED\xB8\x80\xC3\xA9"),
        ] {
            assert_eq!(ClientFrame::decode(text), Ok(ClientFrame::Input(Bytes::from_static(bytes))), "{text}");
        }
        assert!(refused(r#"{"type":"resize","data":"\ud83d"}"#).starts_with("a message must be JSON"));
    }

    #[test]
    fn a_refusal_is_short_whatever_was_sent() {
        let long = "é".repeat(100_000);
        assert!(refused(&format!(r#"{{"type":"{long}"}}"#)).len() < 250);
        assert!(refused(&"[".repeat(100_000)).len() < 250);
    }

    #[test]
    fn what_a_server_says() {
        let status = Status { message: "Initializing sandbox...", ..Status::default() };
        assert_eq!(ServerFrame::Status(status).encode(), r#"{"type":"status","message":"Initializing sandbox..."}"#);
        let status = Status { stage: Some("create"), state: Some("done"), ms: Some(7), ..status };
        assert_eq!(
            ServerFrame::Status(status).encode(),
            r#"{"type":"status","message":"Initializing sandbox...","stage":"create","state":"done","ms":7}"#
        );
        assert_eq!(
            ServerFrame::Ready { session: "s1", offset: 0, provider: "local", isolation: None }.encode(),
            r#"{"type":"ready","session":"s1","offset":0,"provider":"local"}"#
        );
        assert_eq!(
            ServerFrame::Output { data: "\u{1b}[1mé\"\\\n\u{0}", offset: 7 }.encode(),
            r#"{"type":"output","data":"\u001b[1mé\"\\\n\u0000","offset":7}"#
        );
        assert_eq!(ServerFrame::Error { message: "no" }.encode(), r#"{"type":"error","message":"no"}"#);
    }

    /// Frames that are almost right, from which `mutate` makes wrong ones.
    const SEEDS: [&str; 5] = [
        r#"{"type":"input","data":"echo \u0041\n"}"#,
        r#"{"type":"resize","cols":80,"rows":24}"#,
        r#"{"type":"resize","cols":1e308,"rows":-0.0}"#,
        r#"[[[{"type":{"type":"input"}}]]]"#,
        r#"{"type":"input","data":"\ud83d\ude00é"}"#,
    ];

    /// A small, fast generator (xorshift64*): a million frames take a moment,
    /// and a failure names the seed that repeats it.
    fn mutate(seed: u64, frame: &mut Vec<u8>) {
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let mut random = |below: usize| {
            state ^= state >> 12;
            state ^= state << 25;
            state ^= state >> 27;
            (state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % below
        };
        frame.clear();
        frame.extend_from_slice(SEEDS[random(SEEDS.len())].as_bytes());
        for _ in 0..=random(4) {
            let at = random(frame.len().max(1)).min(frame.len().saturating_sub(1));
            match random(4) {
                0 if !frame.is_empty() => frame[at] = random(256) as u8,
                1 if !frame.is_empty() => drop(frame.remove(at)),
                2 => frame.insert(at, b"{}[]\",:0e-.\\u"[random(13)]),
                _ => frame.truncate(at),
            }
        }
    }

    #[test]
    fn a_million_mutated_frames_are_each_a_frame_or_a_refusal() {
        let (mut good, mut bad, mut frame) = (0, 0, Vec::new());
        for seed in 0..1_000_000 {
            mutate(seed, &mut frame);
            match ClientFrame::decode(&String::from_utf8_lossy(&frame)) {
                Ok(ClientFrame::Resize(None)) => good += 1,
                Ok(ClientFrame::Resize(Some(size))) => {
                    assert!((1..=1000).contains(&size.cols) && (1..=1000).contains(&size.rows), "seed {seed}");
                    good += 1;
                }
                Ok(ClientFrame::Input(data)) => {
                    assert!(data.len() <= frame.len() * 3, "seed {seed}");
                    good += 1;
                }
                Err(refusal) => {
                    assert!(refusal.to_string().len() < 250, "seed {seed}");
                    bad += 1;
                }
            }
        }
        assert!(good > 10_000 && bad > 100_000, "{good} good, {bad} bad: the mutations no longer reach both");
    }

    proptest! {
        #[test]
        fn input_arrives_as_it_was_typed(data: String) {
            let frame = serde_json::json!({ "type": "input", "data": data }).to_string();
            prop_assert_eq!(ClientFrame::decode(&frame), Ok(ClientFrame::Input(data.into())));
        }

        #[test]
        fn output_is_json_that_reads_back(data: String, offset: u64) {
            let json = ServerFrame::Output { data: &data, offset }.encode();
            let back: Value = serde_json::from_str(&json).unwrap();
            prop_assert_eq!(back, serde_json::json!({ "type": "output", "data": data, "offset": offset }));
        }
    }
}
