//! Attacks on the emulator. Whatever a program prints, the emulator survives, and the drawing for a window that comes late
//! is bounded and shows the present.

use proptest::prelude::*;
use sandbox_recorder::wire::{MAX_SCREEN, Size};

use super::Emulator;
use super::parser::MAX_STRING;

const SIZE: Size = Size { cols: 200, rows: 50 };

fn fed(size: Size, output: &str) -> Emulator {
    let mut emulator = Emulator::new(size, 0);
    emulator.feed(output.as_bytes());
    emulator
}

/// A window that comes late and gets this drawing has the emulator's text and colours.
fn assert_draws(emulator: &Emulator, drawn: &str) {
    assert_eq!(fed(emulator.size(), drawn).draw().1, drawn);
}

#[test]
fn a_screen_of_long_links_is_drawn_without_them_within_the_bound() {
    let link = |letter: &str| format!("\x1b]8;;http://{}\x1b\\{letter}", letter.repeat(4000));
    let mut emulator = fed(SIZE, "");
    let pair = link("a") + &link("b");
    for _ in 0..SIZE.cols * SIZE.rows / 2 {
        emulator.feed(pair.as_bytes());
    }
    emulator.feed(b"\x1b]8;;\x1b\\\r\nthe end");
    let (_, drawn) = emulator.draw();
    assert!(drawn.len() <= MAX_SCREEN, "{} bytes", drawn.len());
    assert!(drawn.contains("abab") && drawn.contains("the end"));
    assert_draws(&emulator, &drawn);
}

#[test]
fn a_screen_of_stacked_marks_is_drawn_with_fewer_within_the_bound() {
    // Also with characters that only their last mark makes wide.
    let stacked = format!("{}\u{fe0f}{}", "e", "\u{301}".repeat(100));
    let wide = format!("\u{2639}{}\u{fe0f}", "\u{301}".repeat(60));
    let mut emulator = fed(Size { cols: 500, rows: 200 }, "");
    for _ in 0..40_000 {
        emulator.feed(stacked.as_bytes());
        emulator.feed(wide.as_bytes());
    }
    emulator.feed(b"\r\nthe end");
    let (_, drawn) = emulator.draw();
    assert!(drawn.len() <= MAX_SCREEN, "{} bytes", drawn.len());
    assert!(drawn.contains("e\u{fe0f}\u{301}\u{301}") && drawn.contains("the end"));
    assert_draws(&emulator, &drawn);
}

#[test]
fn a_screen_for_which_there_is_no_room_costs_little_more_than_the_room() {
    let mut emulator = fed(Size { cols: 1000, rows: 1000 }, "");
    for n in 0..1_000_000 {
        emulator.feed(format!("\x1b[38;2;{};200;201;48;2;201;200;{}mx", 100 + n % 2, 100 + n % 3).as_bytes());
    }
    assert!(emulator.draw().1.len() < MAX_SCREEN + MAX_SCREEN / 8);
}

#[test]
fn a_sequence_without_end_keeps_nobody_in_the_past() {
    for (begin, filler, end) in [
        ("\x1bX", "noise ", "\x1b\\"),
        ("\x1b^", "noise ", "\x1b\\"),
        ("\x1b_", "noise ", "\x18"),
        ("\x1bP", "1;", "\x1b\\"),
        ("\x1bP$q", "noise ", "\x1b\\"),
        ("\x1bP1<q", "noise ", "\u{9c}"),
        ("\x1b]2;", "noise ", "\x07"),
        ("\x1b]2;", "\0", "\x07"),
        ("\x1b]", "noise ", "\x1b\\"),
        ("\x1b[", "1;", "m"),
        ("\x1b[?", "1", "h"),
        ("\x1b[1<", "0", "h"),
        ("\x1b", " ", "c"),
    ] {
        let mut emulator = fed(SIZE, &format!("before{begin}"));
        assert_eq!(emulator.draw().0, 6, "{begin:?} may still end");
        let more = filler.repeat(2 * MAX_STRING);
        emulator.feed(more.as_bytes());
        let (offset, drawn) = emulator.draw();
        assert_eq!(offset, (6 + begin.len() + more.len()) as u64, "{begin:?}");
        let mut late = fed(SIZE, &drawn);
        for output in [filler, end, "after \u{9b}31mit\r\n"] {
            emulator.feed(output.as_bytes());
            late.feed(output.as_bytes());
        }
        assert!(emulator.draw().1.contains("after"), "{begin:?}");
        assert_eq!(late.draw().1, emulator.draw().1, "{begin:?}");
    }
}

fn printed() -> impl Strategy<Value = Vec<u8>> {
    let text = |pattern| proptest::string::string_regex(pattern).unwrap().prop_map(String::into_bytes);
    prop_oneof![
        4 => text("\x1b\\[[?><=!]?([0-9]{0,3}[;:]){0,3}([0-9]{0,2}|65535|99999999999)[ '\"$!#]?[@-~]"),
        2 => text("\x1b\\[\\?(6|7|25|45|47|1047|1048|1049|2026)[hl]"),
        1 => text("\x1b[78DEHMcNOPX^_\\]\\\\]"),
        1 => text("\x1b\\]([0-9]{1,3};){1,2}[a-z?]{0,9}\x07"),
        2 => text("[a漢é👨👩\u{301}\u{200d}\u{fe0f}🇩🇪각\u{600}\u{1160}]{1,9}"),
        2 => text("[ -~]{0,90}"),
        2 => text("[\r\n\t\x08]{1,9}"),
        1 => proptest::collection::vec(any::<u8>(), 0..9),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn nothing_that_is_printed_ends_it(
        steps in proptest::collection::vec((printed(), proptest::option::weighted(0.05, (1_u16..99, 1_u16..40))), 1..300),
    ) {
        let mut emulator = fed(SIZE, "");
        for (output, size) in steps {
            emulator.feed(&output);
            if let Some((cols, rows)) = size {
                emulator.resize(Size { cols, rows });
                emulator.draw();
            }
        }
        emulator.draw();
    }
}
