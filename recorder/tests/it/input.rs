//! Input arrives at most once, in order, and is counted.

use std::fs;

use sandbox_recorder::wire::{MAX_DATA, Size, ToRecorder};

use crate::client::{Frame, Random, Recording, flood, until};

#[test]
fn input_over_killed_attachments_arrives_once() {
    const TOTAL: usize = 300_000;
    let mut random = Random(0x5eed_0101);
    let recording = Recording::new();
    let bytes = random.bytes(TOTAL);
    let got = recording.path("got");
    let mut client =
        recording.run(&format!("stty raw -echo; echo ready; head -c {TOTAL} >'{}'; echo done", got.display()));
    assert_eq!(client.hello().input, 0);
    client.expect("ready");

    let (mut taken, mut kills) = (0, 0);
    loop {
        // As much as a broker may have on its way.
        let mut sent = taken;
        let stop = taken + random.below(60_000);
        while taken < stop.min(TOTAL as u64) {
            while sent < TOTAL as u64 && sent - taken < MAX_DATA as u64 {
                let length = (1 + random.below(5000)).min(TOTAL as u64 - sent).min(MAX_DATA as u64 - (sent - taken));
                client.send(ToRecorder::Input(&bytes[sent as usize..(sent + length) as usize]));
                sent += length;
            }
            match client.next().unwrap() {
                Frame::Taken(input) => {
                    assert!(input > taken && input <= sent, "the count rises and is no more than was sent");
                    taken = input;
                }
                Frame::Output(..) => {}
                other => panic!("{other:?}"),
            }
        }
        if taken == TOTAL as u64 {
            break;
        }
        client.kill();
        kills += 1;
        client = recording.attach(0);
        let input = client.hello().input;
        assert!(input >= taken && input <= sent, "{input} of {sent} sent were taken, {taken} for sure");
        taken = input;
    }
    assert!(kills >= 3, "{kills} kills");
    until("the end of the input", || fs::metadata(&got).is_ok_and(|file| file.len() == TOTAL as u64));
    assert!(fs::read(&got).unwrap() == bytes);
}

#[test]
fn input_that_nobody_reads_stops_no_output() {
    let recording = Recording::new();
    // More than the window: acknowledgements are stuck behind the input.
    let bytes = Random(0x5eed_0102).bytes(20_000_000);
    let go = recording.path("go");
    let mut client = recording.run(&format!(
        "stty raw -echo; mkfifo '{0}'; echo ready; read -r line <'{0}'; {1}",
        go.display(),
        flood(&recording.file("flood", &bytes), &recording.path("done"))
    ));
    client.hello();
    client.expect("ready\n");
    let paste = vec![b'x'; MAX_DATA];
    client.send(ToRecorder::Input(&paste));
    client.send(ToRecorder::Input(&paste));
    // The flood begins now, so that no byte of it comes with `ready`.
    fs::write(&go, b"go\n").unwrap();
    let (mut output, mut taken) = (Vec::new(), 0);
    loop {
        match client.next().unwrap() {
            Frame::Output(_, bytes) => output.extend_from_slice(&bytes),
            Frame::Taken(input) => taken = input,
            // Random bytes are some of them.
            Frame::Title(_) | Frame::Directory(_) => {}
            Frame::Exit { .. } => break,
            other => panic!("{other:?}"),
        }
    }
    assert!(output.ends_with(&bytes));
    assert!(taken < MAX_DATA as u64, "a terminal takes some KiB that nobody reads, not {taken}");
}

#[test]
fn a_resize_reaches_the_terminal_and_is_remembered() {
    let recording = Recording::new();
    let mut client = recording.run("exec sh -i");
    assert_eq!(client.hello().size, Size { cols: 80, rows: 24 });
    client.send(ToRecorder::Input(b"stty size\r"));
    client.expect("24 80");
    client.send(ToRecorder::Resize(Size { cols: 101, rows: 33 }));
    client.send(ToRecorder::Input(b"stty size\r"));
    client.expect("33 101");
    assert_eq!(client.leave(), Some(0));
    assert_eq!(recording.attach(0).hello().size, Size { cols: 101, rows: 33 });
}

#[test]
fn the_program_stands_where_run_stood_with_its_terminal_and_environment() {
    let recording = Recording::new();
    let mut client = recording.run("pwd; tty; ps -o tty= -p $$; kill -l >/dev/null; trap; ls -l /proc/self/fd | wc -l");
    client.hello();
    let (output, _) = client.until_exit();
    let text = String::from_utf8(output).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], fs::canonicalize(recording.path(".")).unwrap().to_str().unwrap());
    assert!(lines[1].starts_with("/dev/pts/"), "{text}");
    assert_eq!(lines[2].trim(), lines[1].trim_start_matches("/dev/"), "it is its controlling terminal");
    assert_eq!(lines[3].trim(), "5", "a total, the standard streams and the folder that ls reads: {text}");
}
