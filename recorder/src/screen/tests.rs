//! That a drawn screen is the screen, over a corpus, at every offset of it.

use std::time::Duration;

use crate::marks::Marks;
use crate::ring::SIZES;

use super::*;

const SIZE: Size = Size { cols: 20, rows: 6 };

/// What programs write: shells, pagers, editors, installers, and what is rare.
const CORPUS: &[(&str, &str)] = &[
    ("plain lines that scroll", "one\r\ntwo\r\nthree\r\nfour\r\nfive\r\nsix\r\nseven\r\n$ "),
    ("a line that wraps", "0123456789012345678901234567890123456789012345"),
    ("a cursor that is about to wrap", "0123456789012345678\u{6f22}x\r\n01234567890123456789"),
    ("colours", "\x1b[1;31mred\x1b[0m \x1b[38;5;208morange\x1b[48;2;1;2;3mtrue\x1b[7;9minverse\x1b[0;2;3;4;5mfaint"),
    ("wide characters", "漢字かな\u{1f600}é\r\nabc漢\x1b[1;3Hx\x1b[2;19H漢漢"),
    ("a prompt that is drawn again", "$ ls\x1b[2K\r$ make\x1b[K\r\nbuilding\r\x1b[1A\x1b[5Cup\x1b[1B"),
    (
        "a pager, as less does",
        "$ less a\r\n\x1b[?1049h\x1b[22;0;0t\x1b[?1h\x1b=\rline 1\x1b[m\r\nline 2\r\n\x1b[7ma\x1b[27m\x1b[K\
         \r\x1b[K\x1b[?1l\x1b>\x1b[?1049l\x1b[23;0;0t$ ",
    ),
    (
        "an editor, as vi does",
        "$ vi\r\n\x1b[?1049h\x1b[22;0;0t\x1b[>4;2m\x1b[?1h\x1b=\x1b[?2004h\x1b[?1004h\x1b[1;6r\x1b[?12h\x1b[?12l\x1b[22;2t\
         \x1b[27m\x1b[23m\x1b[m\x1b[H\x1b[2J\x1b[?25l\x1b[6;1H\"a\" 3L, 12B\x1b[1;1Hone\r\ntwo\r\n~\x1b[94m~\x1b[m\
         \x1b[2 q\x1b]2;a (~) - VIM\x07\x1b[1;1H\x1b[?25h\x1b[1;4r\x1b[1;1H\x1b[L\x1b[1;6r\x1b[2;2H\
         \x1b[?2004l\x1b[?1004l\x1b[?1l\x1b>\x1b[6;1H\x1b[K\x1b[?1049l\x1b[23;2t\x1b[ q$ ",
    ),
    (
        "an agent with mouse and title",
        "\x1b]0;agent; really\x1b\\\x1b[?1000h\x1b[?1002h\x1b[?1006h\x1b[?2004h\x1b[?7l0123456789012345678901\x1b[?7h\r\n\
         \x1b[?1003h\x1b[?1003l\x1b[?1015h\x1b[?25lbusy",
    ),
    (
        "a scroll region and origin mode",
        "\x1b[2;4r\x1b[?6h\x1b[1;1Htop\r\n\r\n\r\n\r\nbottom\x1b[?6l\x1b[6;1Hstatus\x1b[s",
    ),
    ("line drawing and insertion", "\x1b(0lqqk\x1b(B\r\nabc\x1b[4h\x1b[2;1Hxy\x1b[4l\x0e\x1b)0q\x0f"),
    ("tab stops", "\x1b[3g\x1b[5G\x1bH\x1b[9G\x1bH\ra\tb\tc\td"),
    ("a saved cursor", "\x1b[3;5H\x1b[31m\x1b7\x1b[1;1H\x1b[32mgreen\x1b8red"),
    ("a reset", "\x1b]2;old\x07\x1b[?1000;1006;2004h\x1b=\x1b[4 q\x1b[31mx\x1bcy"),
    ("a soft reset", "\x1b[?25l\x1b=\x1b[2;4r\x1b[4h\x1b[!px"),
    ("bytes that are no text", "a\u{0}b\u{7f}c\u{8}\u{8}d"),
];

/// What makes a terminal answer, and what it answers with.
const QUERIES: &[&str] = &[
    "\x1b[c",                 // DA1
    "\x1b[0c",                // DA1
    "\x1b[>c",                // DA2
    "\x1b[=c",                // DA3
    "\x1b[>q",                // XTVERSION
    "\x1b[5n",                // DSR
    "\x1b[6n",                // CPR
    "\x1b[?6n",               // DECXCPR
    "\x1b[?996n",             // colour scheme
    "\x1b[?2004$p",           // DECRQM, private
    "\x1b[4$p",               // DECRQM
    "\x1b]10;?\x07",          // colour of text
    "\x1b]11;?\x1b\\",        // colour behind it
    "\x1b]12;?\x07",          // colour of the cursor
    "\x1b]4;1;?\x07",         // colour 1
    "\x1b]52;c;?\x07",        // clipboard
    "\x1bP$qm\x1b\\",         // DECRQSS, attributes
    "\x1bP$q q\x1b\\",        // DECRQSS, cursor
    "\x1bP+q544e\x1b\\",      // XTGETTCAP
    "\x1b[14t",               // pixels of the window
    "\x1b[18t",               // characters of the window
    "\x1b[21t",               // its title
    "\x1b[?u",                // keyboard protocol
    "\x1b[x",                 // DECREQTPARM
    "\x1bZ",                  // DECID
    "\x05",                   // ENQ
    "\x1b_Gi=1,a=q;AA\x1b\\", // graphics
    "\x1b[?2048h",            // sizes are reported from now on
];

/// A recording of output with resizes at offsets.
struct Fixture {
    dir: tempfile::TempDir,
    ring: Ring,
    marks: Marks,
}

impl Fixture {
    fn new(size: Size) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let ring = Ring::create(dir.path(), *SIZES.start()).unwrap();
        let mut marks = Marks::create(dir.path()).unwrap();
        marks.resized(&ring, 0, size, Duration::ZERO);
        Self { dir, ring, marks }
    }

    fn of(output: &str) -> Self {
        let mut fixture = Self::new(SIZE);
        fixture.ring.append(output.as_bytes());
        fixture
    }

    fn draw(&self, at: u64) -> (Size, String) {
        draw(self.dir.path(), &self.ring, at).unwrap()
    }
}

/// A terminal that was fed this text: what the emulator holds, and our modes.
struct Fed {
    emulator: avt::Terminal,
    modes: Modes,
}

impl Fed {
    fn new(size: Size, text: &str) -> Self {
        let mut fed =
            Self { emulator: avt::Terminal::new(size.cols.into(), size.rows.into()).unwrap(), modes: Modes::default() };
        fed.feed(text);
        fed
    }

    fn feed(&mut self, text: &str) {
        self.emulator.feed(text);
        vte::Parser::<1024>::new().advance(&mut self.modes, text.as_bytes());
    }

    /// What is seen, line by line with its attributes, where the cursor is, and what
    /// would be drawn of it.
    fn state(&self) -> (Vec<String>, String, String) {
        let lines = self.emulator.screen().visible_lines().map(|line| format!("{line:?}")).collect();
        (lines, format!("{:?}", self.emulator.cursor()), self.emulator.dump())
    }
}

#[test]
fn what_is_drawn_is_what_was_there_at_every_offset() {
    for (name, output) in CORPUS {
        let fixture = Fixture::of(output);
        for at in (0..=output.len()).filter(|at| output.is_char_boundary(*at)) {
            let (size, text) = fixture.draw(at as u64);
            assert_eq!(size, SIZE);
            let (drawn, was) = (Fed::new(SIZE, &text), Fed::new(SIZE, &output[..at]));
            assert_eq!(drawn.state(), was.state(), "{name}, at {at}: {text:?}");
        }
    }
}

#[test]
fn output_goes_on_from_what_is_drawn_as_if_nothing_had_been() {
    for (name, output) in CORPUS {
        let fixture = Fixture::of(output);
        for at in (0..=output.len()).filter(|at| output.is_char_boundary(*at)) {
            let (_, text) = fixture.draw(at as u64);
            let mut joined = text;
            joined.push_str(&output[at..]);
            let (late, always) = (Fed::new(SIZE, &joined), Fed::new(SIZE, output));
            assert_eq!(late.state(), always.state(), "{name}, joined at {at}");
            assert_eq!(late.modes.draw(), always.modes.draw(), "{name}, joined at {at}");
        }
    }
}

#[test]
fn title_and_modes_are_drawn_as_they_were_left() {
    let modes = |output: &str| Fed::new(SIZE, output).modes.draw();
    assert_eq!(
        modes("\x1b]2;a b\x07\x1b[?1002h\x1b[?1006h\x1b[?2004;1004h"),
        "\x1b]2;a b\x1b\\\x1b[?1004h\x1b[?2004h\x1b[?1002h\x1b[?1006h"
    );
    assert_eq!(modes("\x1b[?1000h\x1b[?1003h"), "\x1b[?1003h", "the last mode of the mouse holds");
    assert_eq!(modes("\x1b[?1000h\x1b[?1006h\x1b[?1000l\x1b[?1006l"), "");
    assert_eq!(modes("\x1b=\x1b[5 q"), "\x1b=\x1b[5 q");
    assert_eq!(
        modes("\x1b]2;shell\x07\x1b[22;2t\x1b]2;vi\x07\x1b[23;2t"),
        "\x1b]2;shell\x1b\\",
        "a title that was put aside"
    );
    assert_eq!(
        modes("\x1b]2;shell\x07\x1b[22;2t\x1b]2;\x07"),
        "\x1b]2;shell\x1b\\\x1b[22;2t\x1b]2;\x1b\\",
        "one that may come back"
    );
    assert_eq!(modes("\x1b]2;a\u{1}\u{9b}b\x07"), "\x1b]2;ab\x1b\\", "a title holds no controls");
    for (name, output) in CORPUS {
        let (_, text) = Fixture::of(output).draw(output.len() as u64);
        assert_eq!(modes(&text), modes(output), "{name}");
    }
    let long = format!("\x1b]2;{}\x07", "é".repeat(5000));
    assert!(modes(&long).len() < 1100);
    let mut many = Fed::new(SIZE, "\x1b]2;x\x07");
    many.feed(&"\x1b[22t".repeat(1000));
    assert!(format!("{:?}", many.modes).len() < 1000, "titles that are put aside have a bound");
}

#[test]
fn no_query_is_drawn() {
    /// Everything that makes a terminal answer, as its parser sees it.
    #[derive(Default)]
    struct Asks(Vec<String>);

    impl vte::Perform for Asks {
        fn csi_dispatch(&mut self, params: &vte::Params, intermediates: &[u8], _: bool, action: char) {
            let asks = matches!(
                (intermediates, action),
                (_, 'c' | 'n' | 'x') | ([b'>' | b'='], 'q') | ([b'$'] | [b'?', b'$'], 'p') | ([b'?'], 'u')
            ) || action == 't' && params.iter().next().is_some_and(|first| (11..=21).contains(&first[0]));
            let reports = action == 'h' && params.iter().any(|param| param == [2048]);
            if asks || reports {
                self.0.push(format!("CSI {intermediates:?} {params:?} {action}"));
            }
        }

        fn esc_dispatch(&mut self, _: &[u8], _: bool, byte: u8) {
            if byte == b'Z' {
                self.0.push("DECID".to_owned());
            }
        }

        fn execute(&mut self, byte: u8) {
            if byte == 5 {
                self.0.push("ENQ".to_owned());
            }
        }

        fn osc_dispatch(&mut self, params: &[&[u8]], _: bool) {
            if params.contains(&&b"?"[..]) {
                self.0.push(format!("OSC {params:?}"));
            }
        }

        fn hook(&mut self, _: &vte::Params, intermediates: &[u8], _: bool, action: char) {
            if let ([b'$' | b'+'], 'q') = (intermediates, action) {
                self.0.push(format!("DCS {intermediates:?} {action}"));
            }
        }
    }
    let asked = |text: &str| {
        let mut asks = Asks::default();
        vte::Parser::<1024>::new().advance(&mut asks, text.as_bytes());
        asks.0
    };

    for query in QUERIES.iter().filter(|query| !query.starts_with("\x1b_")) {
        assert_eq!(asked(query).len(), 1, "the test knows {query:?}");
    }
    for around in ["", "\x1b[?1049h\x1b]2;title\x07"] {
        for query in QUERIES {
            let output = format!("{around}before{query}after");
            let (_, text) = Fixture::of(&output).draw(output.len() as u64);
            assert_eq!(asked(&text), Vec::<String>::new(), "{query:?} in {text:?}");
            assert!(!text.contains(query), "{query:?} in {text:?}");
            // Also none that is only begun.
            for at in around.len() + 6..around.len() + 6 + query.len() {
                let (_, text) = Fixture::of(&output).draw(at as u64);
                assert_eq!(asked(&text), Vec::<String>::new(), "{query:?}, cut at {at}, in {text:?}");
            }
        }
    }
}

#[test]
fn controls_of_eight_bits_are_not_drawn() {
    for output in ["x\x1b[3", "x\x1b]2;ti", "x\x1bP1;2", "x\x1bX", "x\u{9b}3", "\u{9b}31mred"] {
        let (_, text) = Fixture::of(output).draw(output.len() as u64);
        assert!(!text.chars().any(|character| ('\u{80}'..='\u{9f}').contains(&character)), "{text:?}");
        assert_eq!(Fed::new(SIZE, &text).state(), Fed::new(SIZE, output).state(), "{output:?}");
    }
}

#[test]
fn sizes_are_applied_where_they_changed() {
    let mut fixture = Fixture::new(SIZE);
    let narrow = Size { cols: 10, rows: 4 };
    let (first, second) = ("0123456789012345\r\n$ ", "abcdefghijklmno");
    fixture.ring.append(first.as_bytes());
    fixture.marks.resized(&fixture.ring, first.len() as u64, narrow, Duration::ZERO);
    fixture.ring.append(second.as_bytes());
    let (size, text) = fixture.draw((first.len() + second.len()) as u64);
    assert_eq!(size, narrow);
    let mut was = Fed::new(SIZE, first);
    was.emulator.resize(10, 4);
    was.feed(second);
    assert_eq!(Fed::new(narrow, &text).state(), was.state());
    assert_eq!(fixture.draw(first.len() as u64 - 1).0, SIZE);
    assert_eq!(
        fixture.draw(first.len() as u64).0,
        narrow,
        "the byte at an offset meets the size that was set before it"
    );
}

#[test]
fn a_torn_beginning_leaves_no_rubbish() {
    let mut fixture = Fixture::new(SIZE);
    let filler = "y".repeat(*SIZES.start() as usize);
    fixture.ring.append(format!("\x1b]2;a title that{filler}").as_bytes());
    let ending = "\x07\x1b[2J\x1b[Hclean";
    fixture.ring.append(ending.as_bytes());
    let (_, text) = fixture.draw(fixture.ring.end());
    let lines = Fed::new(SIZE, &text).emulator.screen().text();
    assert_eq!(lines[0].trim_end(), "clean");
    assert!(lines[1..].iter().all(|line| line.trim().is_empty()), "{lines:?}");
}
