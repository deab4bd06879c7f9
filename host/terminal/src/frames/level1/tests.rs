//! Every message as it travels, in both directions.

use proptest::prelude::*;

use bytes::Bytes;
use sandbox_broker_core::sandbox::Size;
use sandbox_broker_session::Colors;

use super::binary::HEADER;
use super::*;
use crate::frames::BadFrame;

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
    for message in [&b""[..], b"\x02", b"\x02\0\0\0\0\0\0\0\x01", b"\x02\0\0\0\0\0\0\0\0x", b"\x01\0\0\0\0\0\0\0\x01x"]
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
    assert_eq!(json, ServerFrame::Screen { offset: 7, data, size: Some(size) }.encode());
}

#[test]
fn the_server_reads_what_a_client_writes() {
    let colors = Colors { foreground: [255; 3], background: [0x10, 0x20, 0x30], cursor: [0x0a, 0xf0, 0x0f] };
    for frame in [
        ClientFrame::Input { seq: 7, bytes: Bytes::from_static(b"ls\n") },
        ClientFrame::Ack(1 << 40),
        ClientFrame::Resize(Some(Size { cols: 80, rows: 24 })),
        ClientFrame::Resize(None),
        ClientFrame::Detach,
        ClientFrame::Kill,
        ClientFrame::TakeControl,
        ClientFrame::Colors(colors),
        ClientFrame::Ping,
    ] {
        let read = match frame.encode() {
            Encoded::Text(text) => ClientFrame::decode_text(&text),
            Encoded::Binary(bytes) => ClientFrame::decode_binary(bytes),
        };
        assert_eq!(read, Ok(frame));
    }
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
