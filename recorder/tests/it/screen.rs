//! `screen` of real full-screen programs, drawn on an emulator and compared.

use sandbox_recorder::wire::{Size, ToRecorder};

use crate::client::{Client, Frame, Recording};

/// An emulator that was fed all output.
fn fed(size: Size, output: &str) -> avt::Terminal {
    let mut terminal = avt::Terminal::new(size.cols.into(), size.rows.into()).unwrap();
    terminal.feed(output);
    terminal
}

/// The offset and the size that a screen is of, and its text.
fn screen(recording: &Recording) -> (u64, Size, String) {
    let mut of = None;
    let mut text = String::new();
    for frame in recording.frames("screen", &[]) {
        let Frame::Screen(offset, size, part) = frame else { panic!("{frame:?}") };
        assert_eq!(*of.get_or_insert((offset, size)), (offset, size));
        text.push_str(&part);
    }
    let (offset, size) = of.unwrap();
    (offset, size, text)
}

/// Compares the screen with all output up to its offset. `output` is what was
/// read so far: the program may have written more since.
fn compare(recording: &Recording, client: &mut Client, output: &mut String) {
    let (offset, size, text) = screen(recording);
    while (output.len() as u64) < offset {
        output.push_str(&client.expect(""));
    }
    let before = &output[..offset as usize];
    assert_eq!(fed(size, &text).dump(), fed(size, before).dump(), "after {before:?}");
}

/// The first of these programs that is there. Under CI one must be.
fn found<'a>(programs: &[&'a str]) -> Option<&'a str> {
    let path = std::env::var_os("PATH").unwrap();
    let is_there = |program: &str| std::env::split_paths(&path).any(|dir| dir.join(program).is_file());
    let found = programs.iter().copied().find(|program| is_there(program));
    assert!(found.is_some() || std::env::var_os("CI").is_none(), "none of {programs:?} is there");
    found
}

#[test]
fn less_is_drawn_within_and_after_its_alternate_screen() {
    if found(&["less"]).is_none() {
        return;
    }
    let recording = Recording::new();
    let text: String = (0..100).map(|line| format!("\x1b[3{}mline {line} é漢\x1b[0m\n", line % 8)).collect();
    let file = recording.file("text", text.as_bytes());
    let mut client = recording.run(&format!(
        "echo before; TERM=xterm-256color LESS= LC_ALL=C.UTF-8 less -R -f '{}'; echo after; read -r line",
        file.display()
    ));
    client.hello();
    let mut output = client.expect("line 21");
    client.send(ToRecorder::Input(b" "));
    output += &client.expect("line 44");
    compare(&recording, &mut client, &mut output);
    assert!(screen(&recording).2.contains("\x1b[?1047h"), "it is on its alternate screen");
    client.send(ToRecorder::Input(b"q"));
    output += &client.expect("after\r\n");
    compare(&recording, &mut client, &mut output);
    assert!(!screen(&recording).2.contains("line 44"));
}

#[test]
fn an_editor_is_drawn_with_its_modes() {
    let Some(vi) = found(&["vim.tiny", "vim", "vi"]) else { return };
    let recording = Recording::new();
    let file = recording.file("text", "one\ntwo é漢\nthree\n".as_bytes());
    let mut client = recording.run(&format!("TERM=xterm-256color LC_ALL=C.UTF-8 {vi} -u NONE -N '{}'", file.display()));
    client.hello();
    let mut output = client.expect("three");
    client.send(ToRecorder::Input(b"ddihallo welt\x1b"));
    output += &client.expect("welt");
    compare(&recording, &mut client, &mut output);
}

#[test]
fn a_screen_has_the_size_that_it_had() {
    let recording = Recording::new();
    let mut client = recording.run("exec sh -i");
    client.hello();
    client.send(ToRecorder::Input(b"echo fi''rst\r"));
    client.expect("first\r\n");
    assert_eq!(screen(&recording).1, Size { cols: 80, rows: 24 });
    client.send(ToRecorder::Resize(Size { cols: 30, rows: 10 }));
    client.send(ToRecorder::Input(b"echo se''cond\r"));
    client.expect("second\r\n");
    assert_eq!(screen(&recording).1, Size { cols: 30, rows: 10 });
}

#[test]
fn output_that_costs_the_emulator_minutes_holds_up_no_key() {
    let recording = Recording::new();
    // The last character again, as often as there are cells: nine bytes that cost a fraction of a millisecond.
    let file = recording.file("costly", &b"x\x1b[99999b".repeat(110_000));
    let script =
        format!("stty -echo; cat '{}'; echo printed; read -r line; echo \"got $line\"; read -r line", file.display());
    let mut client = recording.run(&script);
    client.hello();
    client.send(ToRecorder::Resize(Size { cols: 200, rows: 50 }));
    client.expect("printed");
    let mut late = recording.begin("screen");
    client.send(ToRecorder::Resize(Size { cols: 201, rows: 50 }));
    client.send(ToRecorder::Input(b"key\n"));
    client.expect("got key");
    assert!(late.try_wait().unwrap().is_none(), "the emulator has come to its end already: the test proves nothing");
    late.kill().unwrap();
    late.wait().unwrap();
}
