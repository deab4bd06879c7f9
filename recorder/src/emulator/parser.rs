//! Parses bytes into text, controls and sequences, as the page's emulator does: with the state machine of the VT500, and
//! with 8-bit controls as code points.
//!
//! Does not know what sequences mean. Holds the unfinished sequence within a bound, and knows where it began. No parser
//! crate tells that, so this one is our own.

/// The most bytes of a sequence. A longer one is read to its end and ignored. So a reader that joins in the middle of it
/// does not need its beginning.
pub(super) const MAX_STRING: usize = 256 * 1024;

/// The most parameters of a sequence, and the most parts of them (`4:3`).
const MAX_PARAMS: usize = 32;

/// Carries out what the parser finds.
pub(crate) trait Perform {
    /// Text: a code point that is no control.
    fn print(&mut self, code: u32);
    /// The same for printable ASCII.
    fn print_ascii(&mut self, text: &[u8]);
    /// A control. An 8-bit one comes as its code point.
    fn execute(&mut self, code: u8);
    /// An escape sequence: ESC with intermediates and a final byte.
    fn esc(&mut self, name: u32);
    /// A control sequence: CSI with a prefix, intermediates and a final byte.
    fn csi(&mut self, name: u32, params: &Params);
    /// An operating system command: OSC with a number and text.
    fn osc(&mut self, number: u32, text: &str);
    /// A device control string: DCS with a name and text.
    fn dcs(&mut self, name: u32, text: &str);
}

/// The name of a sequence: its prefix, intermediates and final byte as one number.
pub(crate) const fn name(bytes: &[u8]) -> u32 {
    let (mut name, mut at) = (0, 0);
    while at < bytes.len() {
        name = name << 8 | bytes[at] as u32;
        at += 1;
    }
    name
}

/// The parameters of a sequence. There is always at least one. A parameter that is left out is 0, and a part is -1.
pub(crate) struct Params {
    values: [i32; MAX_PARAMS],
    length: usize,
    parts: [i32; MAX_PARAMS],
    parts_length: usize,
    /// Which parts belong to each value.
    ranges: [(u8, u8); MAX_PARAMS],
    full: bool,
    parts_full: bool,
    in_part: bool,
}

impl Params {
    fn new() -> Self {
        let mut params = Self {
            values: [0; MAX_PARAMS],
            length: 0,
            parts: [0; MAX_PARAMS],
            parts_length: 0,
            ranges: [(0, 0); MAX_PARAMS],
            full: false,
            parts_full: false,
            in_part: false,
        };
        params.clear();
        params
    }

    fn clear(&mut self) {
        (self.length, self.parts_length) = (0, 0);
        (self.full, self.parts_full) = (false, false);
        self.next();
    }

    fn next(&mut self) {
        self.in_part = false;
        if self.length == MAX_PARAMS {
            self.full = true;
            return;
        }
        self.values[self.length] = 0;
        self.ranges[self.length] = (self.parts_length as u8, self.parts_length as u8);
        self.length += 1;
    }

    fn next_part(&mut self) {
        self.in_part = true;
        if self.full || self.parts_length == MAX_PARAMS {
            self.parts_full = true;
            return;
        }
        self.parts[self.parts_length] = -1;
        self.parts_length += 1;
        self.ranges[self.length - 1].1 += 1;
    }

    fn digit(&mut self, digit: i32) {
        if self.full || (self.in_part && self.parts_full) {
            return;
        }
        let value =
            if self.in_part { &mut self.parts[self.parts_length - 1] } else { &mut self.values[self.length - 1] };
        *value = match *value {
            -1 => digit,
            before => before.saturating_mul(10).saturating_add(digit),
        };
    }

    /// The number of parameters.
    pub(crate) fn len(&self) -> usize {
        self.length
    }

    /// A parameter, or 0 beyond the last one.
    pub(crate) fn get(&self, at: usize) -> i32 {
        if at < self.length { self.values[at] } else { 0 }
    }

    /// A parameter as a count, which is at least 1.
    pub(crate) fn count(&self, at: usize) -> usize {
        self.get(at).max(1) as usize
    }

    /// The parts of a parameter.
    pub(crate) fn parts(&self, at: usize) -> &[i32] {
        let (from, to) = self.ranges[at];
        &self.parts[from.into()..to.into()]
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = i32> + '_ {
        self.values[..self.length].iter().copied()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Ground,
    Escape,
    EscapeIntermediate,
    CsiEntry,
    CsiParam,
    CsiIntermediate,
    CsiIgnore,
    OscString,
    /// These strings are ignored.
    SosPmApcString,
    DcsEntry,
    DcsParam,
    DcsIntermediate,
    DcsIgnore,
    DcsPassthrough,
}

/// Decodes UTF-8 byte by byte. Drops invalid bytes, as the page's emulator does.
#[derive(Default)]
struct Utf8 {
    code: u32,
    missing: u8,
    length: u8,
}

impl Utf8 {
    /// Returns the code point that a byte completes. Fails if the byte cannot continue the code point and must be pushed
    /// again.
    fn push(&mut self, byte: u8) -> Result<Option<u32>, ()> {
        if self.missing > 0 {
            if byte & 0xc0 != 0x80 {
                self.missing = 0;
                return Err(());
            }
            self.code = self.code << 6 | u32::from(byte & 0x3f);
            self.missing -= 1;
            if self.missing > 0 {
                return Ok(None);
            }
            let least = [0, 0, 0x80, 0x800, 0x1_0000][usize::from(self.length)];
            // A byte-order mark is no text.
            let good = self.code >= least && self.code != 0xfeff && char::from_u32(self.code).is_some();
            return Ok(good.then_some(self.code));
        }
        let (length, bits) = match byte {
            0..=0x7f => return Ok(Some(byte.into())),
            0xc0..=0xdf => (2, byte & 0x1f),
            0xe0..=0xef => (3, byte & 0x0f),
            0xf0..=0xf7 => (4, byte & 0x07),
            _ => return Ok(None),
        };
        *self = Self { code: bits.into(), missing: length - 1, length };
        Ok(None)
    }
}

/// Parses output, in pieces of any size.
pub(crate) struct Parser {
    state: State,
    utf8: Utf8,
    name: u32,
    params: Params,
    /// The text of an OSC or a DCS.
    text: String,
    /// The offset of the next byte.
    read: u64,
    /// Where the current code point began.
    point: u64,
    /// Where the current sequence began.
    began: u64,
}

impl Parser {
    /// A parser whose first byte has the offset `at`.
    pub(crate) fn new(at: u64) -> Self {
        Self {
            state: State::Ground,
            utf8: Utf8::default(),
            name: 0,
            params: Params::new(),
            text: String::new(),
            read: at,
            point: at,
            began: at,
        }
    }

    /// Continues at a later offset, because bytes are missing. Drops an unfinished sequence.
    pub(crate) fn skip_to(&mut self, at: u64) {
        *self = Self::new(at);
    }

    /// Returns the offset from which another parser can continue: where the unfinished sequence or code point began, or the
    /// end of what was read. If the sequence is too long, it is the end as well, and the text brings the other parser into
    /// the same state.
    pub(crate) fn resume_point(&self) -> (u64, &'static str) {
        use State::{CsiEntry, CsiIgnore, CsiIntermediate, CsiParam, Escape, EscapeIntermediate, Ground, OscString};
        let end = if self.utf8.missing > 0 { self.point } else { self.read };
        match self.state {
            Ground => (end, ""),
            _ if !self.is_too_long() => (self.began, ""),
            // Each text begins a sequence without meaning, which ends like the state that it stands for.
            Escape | EscapeIntermediate => (end, "\x1b     "),
            CsiEntry | CsiParam | CsiIntermediate | CsiIgnore => (end, "\x1b[0<"),
            OscString => (end, "\x1b]x"),
            _ => (end, "\x1bX"),
        }
    }

    fn is_too_long(&self) -> bool {
        self.read - self.began > MAX_STRING as u64
    }

    pub(crate) fn feed(&mut self, bytes: &[u8], perform: &mut impl Perform) {
        let mut at = 0;
        while at < bytes.len() {
            if self.state == State::Ground && self.utf8.missing == 0 {
                let rest = &bytes[at..];
                let run = rest.iter().position(|byte| !matches!(byte, 0x20..=0x7e)).unwrap_or(rest.len());
                if run > 0 {
                    perform.print_ascii(&rest[..run]);
                    at += run;
                    self.read += run as u64;
                    continue;
                }
            }
            if self.utf8.missing == 0 {
                self.point = self.read;
            }
            match self.utf8.push(bytes[at]) {
                Ok(Some(code)) => self.step(code, perform),
                Ok(None) => {}
                // The byte does not belong to that code point and is pushed again.
                Err(()) => continue,
            }
            at += 1;
            self.read += 1;
        }
    }

    fn enter(&mut self, state: State) {
        self.state = state;
        self.began = self.point;
        self.name = 0;
        self.params.clear();
        self.text.clear();
    }

    fn collect(&mut self, code: u32, state: State) {
        self.name = self.name << 8 | code;
        self.state = state;
    }

    fn param(&mut self, code: u32, state: State) {
        match code {
            0x3a => self.params.next_part(),
            0x3b => self.params.next(),
            _ => self.params.digit(code as i32 - 0x30),
        }
        self.state = state;
    }

    fn put(&mut self, code: u32) {
        if let Some(character) = char::from_u32(code).filter(|_| !self.is_too_long()) {
            self.text.push(character);
        }
    }

    /// Ends an OSC or a DCS. It is `good` unless it was cancelled.
    fn end(&mut self, good: bool, perform: &mut impl Perform) {
        let string = std::mem::replace(&mut self.state, State::Ground);
        if !good || self.is_too_long() {
            return;
        }
        if string == State::DcsPassthrough {
            perform.dcs(self.name, &self.text);
            return;
        }
        let (number, text) = self.text.split_once(';').unwrap_or((&self.text, ""));
        if let Ok(number) = number.parse() {
            perform.osc(number, text);
        }
    }

    fn step(&mut self, code: u32, perform: &mut impl Perform) {
        use State::{
            CsiEntry, CsiIgnore, CsiIntermediate, CsiParam, DcsEntry, DcsIgnore, DcsIntermediate, DcsParam,
            DcsPassthrough, Escape, EscapeIntermediate, Ground, OscString, SosPmApcString,
        };
        // These hold in every state.
        match code {
            0x18 | 0x1a | 0x1b | 0x9c if matches!(self.state, OscString | DcsPassthrough) => {
                self.end(code == 0x1b || code == 0x9c, perform);
                if code == 0x1b {
                    self.enter(Escape);
                }
                return;
            }
            0x07 if self.state == OscString => return self.end(true, perform),
            0x1b => return self.enter(Escape),
            0x18 | 0x1a | 0x80..=0x8f | 0x91..=0x97 | 0x99 | 0x9a => {
                self.state = Ground;
                return perform.execute(code as u8);
            }
            0x90 => return self.enter(DcsEntry),
            0x98 | 0x9e | 0x9f => return self.enter(SosPmApcString),
            0x9b => return self.enter(CsiEntry),
            0x9c => return self.state = Ground,
            0x9d => return self.enter(OscString),
            _ => {}
        }
        match (self.state, code) {
            (Ground, 0..=0x1f) => perform.execute(code as u8),
            (Ground, 0x7f) => {}
            (Ground, _) => perform.print(code),

            (OscString, 0x20..) | (DcsPassthrough, 0..=0x7e | 0xa0..) => self.put(code),
            (OscString, _) | (DcsPassthrough | DcsIgnore | SosPmApcString, 0..=0x9f) | (DcsIgnore, _) => {}

            (Escape | EscapeIntermediate | CsiEntry | CsiParam | CsiIntermediate | CsiIgnore, 0..=0x1f) => {
                perform.execute(code as u8);
            }
            (DcsEntry | DcsParam | DcsIntermediate, 0..=0x1f) => {}
            (_, 0x7f) => {}

            (Escape, 0x50) => self.enter_again(DcsEntry),
            (Escape, 0x58 | 0x5e | 0x5f) => self.enter_again(SosPmApcString),
            (Escape, 0x5b) => self.enter_again(CsiEntry),
            (Escape, 0x5d) => self.enter_again(OscString),
            (Escape | EscapeIntermediate, 0x20..=0x2f) => self.collect(code, EscapeIntermediate),
            (Escape | EscapeIntermediate, 0x30..=0x7e) => {
                self.state = Ground;
                perform.esc(self.name << 8 | code);
            }

            (CsiEntry | CsiParam, 0x30..=0x3b) => self.param(code, CsiParam),
            (CsiEntry, 0x3c..=0x3f) => self.collect(code, CsiParam),
            (CsiEntry | CsiParam | CsiIntermediate, 0x20..=0x2f) => self.collect(code, CsiIntermediate),
            (CsiParam, 0x3c..=0x3f) | (CsiIntermediate, 0x30..=0x3f) => self.state = CsiIgnore,
            (CsiEntry | CsiParam | CsiIntermediate, 0x40..=0x7e) => {
                self.state = Ground;
                if !self.is_too_long() {
                    perform.csi(self.name << 8 | code, &self.params);
                }
            }
            (CsiIgnore, 0x40..=0x7e) => self.state = Ground,
            (CsiIgnore, _) => {}

            (DcsEntry | DcsParam, 0x30..=0x3b) => self.param(code, DcsParam),
            (DcsEntry, 0x3c..=0x3f) => self.collect(code, DcsParam),
            (DcsEntry | DcsParam | DcsIntermediate, 0x20..=0x2f) => self.collect(code, DcsIntermediate),
            (DcsParam, 0x3c..=0x3f) | (DcsIntermediate, 0x30..=0x3f) => self.state = DcsIgnore,
            (DcsEntry | DcsParam | DcsIntermediate, 0x40..=0x7e) => self.collect(code, DcsPassthrough),

            // Text does not belong into a sequence.
            _ => self.state = Ground,
        }
    }

    /// Enters a state in the middle of a sequence.
    fn enter_again(&mut self, state: State) {
        let began = self.began;
        self.enter(state);
        self.began = began;
    }
}
