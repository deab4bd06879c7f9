//! What `read` and `cast` tell of what is held, beside a daemon that goes on.

use sandbox_recorder::wire::{Size, ToRecorder};
use serde_json::Value;

use crate::client::{Frame, Random, Recording, flood, until};

#[test]
fn a_part_is_read_and_no_attachment_disturbed() {
    let recording = Recording::with(&["--ring", "262144"]);
    let bytes = Random(0x5eed_0201).bytes(400_000);
    let mut client =
        recording.run(&format!("{}; read -r line", flood(&recording.file("flood", &bytes), &recording.path("done"))));
    client.hello();
    let mut end = 0;
    while end < bytes.len() as u64 {
        if let Some(Frame::Output(offset, bytes)) = client.next() {
            end = offset + bytes.len() as u64;
            client.send(ToRecorder::Ack { offset: end });
        }
    }
    let start = end - 262_144;
    let read = |from: u64, to: u64| {
        let (mut at, mut held, mut gone) = (from, Vec::new(), 0);
        for frame in recording.frames("read", &["--from", &from.to_string(), "--to", &to.to_string()]) {
            match frame {
                Frame::Gap(from, to) => {
                    assert_eq!(from, at);
                    gone += to - from;
                    at = to;
                }
                Frame::Output(offset, bytes) => {
                    assert_eq!(offset, at);
                    at += bytes.len() as u64;
                    held.extend_from_slice(&bytes);
                }
                Frame::Size(offset, size) => assert_eq!((offset, size), (from, Size { cols: 80, rows: 24 })),
                other => panic!("{other:?}"),
            }
        }
        (gone, held)
    };
    assert!(read(0, u64::MAX) == (start, bytes[start as usize..].to_vec()));
    assert!(read(start + 5, start + 70_000) == (0, bytes[start as usize + 5..start as usize + 70_000].to_vec()));
    assert!(read(10, 20) == (10, Vec::new()));
    assert!(read(end, u64::MAX) == (0, Vec::new()));
    client.send(ToRecorder::Input(b"\n"));
    client.until_exit();
}

#[test]
fn a_cast_joins_to_the_text_of_the_output() {
    let recording = Recording::new();
    // Code points in pieces, and bytes that are none.
    let mut client = recording.run(
        "stty raw -echo; printf 'a\\303'; read -r line; printf '\\251\\346\\274'; read -r line; \
         printf '\\242 \\377 \\033[31m\"q\"\\\\\\r\\n'; printf '\\360\\237'; exit 3",
    );
    client.hello();
    client.expect("a");
    client.send(ToRecorder::Resize(Size { cols: 100, rows: 30 }));
    client.send(ToRecorder::Input(b"\n"));
    until("the second part", || recording.end() == 5);
    client.send(ToRecorder::Input(b"\n"));
    let (_, exit) = client.until_exit();
    assert!(matches!(exit, Frame::Exit { code: 3, .. }));

    let output = recording.look("cast", &[]);
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    let text = text.strip_suffix("# end of recording\n").expect("it says that it is whole");
    let mut lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let header = lines.next().unwrap();
    assert_eq!(header["version"], 3);
    assert_eq!((&header["term"]["cols"], &header["term"]["rows"]), (&80.into(), &24.into()));
    assert!(header["timestamp"].as_u64().unwrap() > 1_700_000_000);
    let events: Vec<(f64, String, String)> =
        lines.map(|line| serde_json::from_value(line).expect("an event is a triple")).collect();
    assert!(events.iter().all(|(interval, ..)| *interval >= 0.0));
    let joined: String = events.iter().filter(|(_, code, _)| code == "o").map(|(.., text)| text.as_str()).collect();
    assert_eq!(joined, "aé漢 \u{fffd} \x1b[31m\"q\"\\\r\n\u{fffd}");
    let others: Vec<_> = events.iter().filter(|(_, code, _)| code != "o").map(|(_, c, d)| (&c[..], &d[..])).collect();
    assert_eq!(others, [("r", "100x30"), ("x", "3")]);
}

#[test]
fn a_cast_of_a_flood_holds_all_of_its_text() {
    let recording = Recording::new();
    let text: String = (0..60_000).map(|number| format!("{number} é漢😀\r\n")).collect();
    let done = recording.path("done");
    recording.run_alone(&flood(&recording.file("flood", text.as_bytes()), &done));
    until("the flood's end", || done.exists() && recording.end() == text.len() as u64);
    let output = recording.look("cast", &[]);
    let cast = String::from_utf8(output.stdout).unwrap();
    let cast = cast.strip_suffix("# end of recording\n").expect("it says that it is whole");
    let joined: String = cast
        .lines()
        .skip(1)
        .map(|line| serde_json::from_str::<(f64, String, String)>(line).unwrap())
        .filter(|(_, code, _)| code == "o")
        .map(|(.., text)| text)
        .collect();
    assert!(joined == text);
}
