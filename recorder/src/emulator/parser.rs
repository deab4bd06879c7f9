//! Bytes into text, controls and sequences, as the page's emulator takes them apart:
//! after the VT500 state machine, with the controls of 8 bits as code points.
//!
//! Knows no meaning. Holds what is unfinished, with bounds, and where it began; a parser
//! that tells both is why none of the crates for it is used.

/// Bytes of a sequence. One that is longer is read to its end and has no meaning, so that
/// whoever comes in the middle of it need not be told its beginning.
pub(super) const MAX_STRING: usize = 256 * 1024;

/// Parameters of a sequence that are kept, and as many parts of them (`4:3`).
const MAX_PARAMS: usize = 32;

/// What takes the parts.
pub(crate) trait Act {
    /// Text: only code points that are no control.
    fn print(&mut self, code: u32);
    /// The same, for text of printable ASCII.
    fn print_ascii(&mut self, text: &[u8]);
    /// A control of one byte, or of 8 bits as a code point.
    fn execute(&mut self, code: u8);
    /// ESC with intermediates and a final byte.
    fn escape(&mut self, name: u32);
    /// CSI with prefix, intermediates and a final byte.
    fn control(&mut self, name: u32, params: &Params);
    /// OSC with its number and the rest.
    fn command(&mut self, number: u32, text: &str);
    /// DCS with its name and the rest.
    fn device(&mut self, name: u32, text: &str);
}

/// The name of a sequence: its prefix, intermediates and final byte, one after another.
pub(crate) const fn name(bytes: &[u8]) -> u32 {
    let (mut name, mut at) = (0, 0);
    while at < bytes.len() {
        name = name << 8 | bytes[at] as u32;
        at += 1;
    }
    name
}

/// Parameters of a sequence. There is always one; what is left out is 0, and -1 among
/// the parts of one.
pub(crate) struct Params {
    values: [i32; MAX_PARAMS],
    length: usize,
    parts: [i32; MAX_PARAMS],
    parts_length: usize,
    /// Which parts belong to a value.
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

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.length
    }

    /// A parameter; 0 beyond the last.
    pub(crate) fn get(&self, at: usize) -> i32 {
        if at < self.length { self.values[at] } else { 0 }
    }

    /// A parameter that counts something: at least 1.
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
    ControlEntry,
    ControlParam,
    ControlIntermediate,
    ControlIgnore,
    Command,
    /// SOS, PM and APC, which have no meaning.
    Ignored,
    DeviceEntry,
    DeviceParam,
    DeviceIntermediate,
    DeviceIgnore,
    Device,
}

/// UTF-8 in pieces. What is none is left out, as the page's emulator does.
#[derive(Default)]
struct Utf8 {
    code: u32,
    missing: u8,
    length: u8,
}

impl Utf8 {
    /// The code point that a byte completes. `Err` where the byte is yet to be read.
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
            // Not a byte-order mark: it is no text.
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

/// Takes output apart, piece by piece.
pub(crate) struct Parser {
    state: State,
    utf8: Utf8,
    name: u32,
    params: Params,
    /// Of an OSC or DCS.
    text: String,
    /// Bytes read so far.
    read: u64,
    /// Where the code point began that is being read,
    point: u64,
    /// and where the sequence did.
    began: u64,
}

impl Parser {
    /// `at` is the offset of the first byte that it will read.
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

    /// Bytes are missing here: what is unfinished stays so.
    pub(crate) fn skip_to(&mut self, at: u64) {
        *self = Self::new(at);
    }

    /// Where what is unfinished began, or the end of what was read. Of a sequence that is
    /// too long this is its end so far, and the text brings another parser there.
    pub(crate) fn whole(&self) -> (u64, &'static str) {
        use State::{
            Command, ControlEntry, ControlIgnore, ControlIntermediate, ControlParam, Escape, EscapeIntermediate, Ground,
        };
        let end = if self.utf8.missing > 0 { self.point } else { self.read };
        match self.state {
            Ground => (end, ""),
            _ if !self.is_too_long() => (self.began, ""),
            // Each begins what has no meaning, and ends as the state does.
            Escape | EscapeIntermediate => (end, "\x1b     "),
            ControlEntry | ControlParam | ControlIntermediate | ControlIgnore => (end, "\x1b[0<"),
            Command => (end, "\x1b]x"),
            _ => (end, "\x1bX"),
        }
    }

    fn is_too_long(&self) -> bool {
        self.read - self.began > MAX_STRING as u64
    }

    pub(crate) fn feed(&mut self, bytes: &[u8], act: &mut impl Act) {
        let mut at = 0;
        while at < bytes.len() {
            if self.state == State::Ground && self.utf8.missing == 0 {
                let rest = &bytes[at..];
                let run = rest.iter().position(|byte| !matches!(byte, 0x20..=0x7e)).unwrap_or(rest.len());
                if run > 0 {
                    act.print_ascii(&rest[..run]);
                    at += run;
                    self.read += run as u64;
                    continue;
                }
            }
            if self.utf8.missing == 0 {
                self.point = self.read;
            }
            match self.utf8.push(bytes[at]) {
                Ok(Some(code)) => self.step(code, act),
                Ok(None) => {}
                // It is none of that code point, and is read again.
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

    /// The end of an OSC or DCS; `good` unless it was cancelled.
    fn end(&mut self, good: bool, act: &mut impl Act) {
        let string = std::mem::replace(&mut self.state, State::Ground);
        if !good || self.is_too_long() {
            return;
        }
        if string == State::Device {
            act.device(self.name, &self.text);
            return;
        }
        let (number, text) = self.text.split_once(';').unwrap_or((&self.text, ""));
        if let Ok(number) = number.parse() {
            act.command(number, text);
        }
    }

    fn step(&mut self, code: u32, act: &mut impl Act) {
        use State::{
            Command, ControlEntry, ControlIgnore, ControlIntermediate, ControlParam, Device, DeviceEntry, DeviceIgnore,
            DeviceIntermediate, DeviceParam, Escape, EscapeIntermediate, Ground, Ignored,
        };
        // What holds in every state.
        match code {
            0x18 | 0x1a | 0x1b | 0x9c if matches!(self.state, Command | Device) => {
                self.end(code == 0x1b || code == 0x9c, act);
                if code == 0x1b {
                    self.enter(Escape);
                }
                return;
            }
            0x07 if self.state == Command => return self.end(true, act),
            0x1b => return self.enter(Escape),
            0x18 | 0x1a | 0x80..=0x8f | 0x91..=0x97 | 0x99 | 0x9a => {
                self.state = Ground;
                return act.execute(code as u8);
            }
            0x90 => return self.enter(DeviceEntry),
            0x98 | 0x9e | 0x9f => return self.enter(Ignored),
            0x9b => return self.enter(ControlEntry),
            0x9c => return self.state = Ground,
            0x9d => return self.enter(Command),
            _ => {}
        }
        match (self.state, code) {
            (Ground, 0..=0x1f) => act.execute(code as u8),
            (Ground, 0x7f) => {}
            (Ground, _) => act.print(code),

            (Command, 0x20..) | (Device, 0..=0x7e | 0xa0..) => self.put(code),
            (Command, _) | (Device | DeviceIgnore | Ignored, 0..=0x9f) | (DeviceIgnore, _) => {}

            (
                Escape | EscapeIntermediate | ControlEntry | ControlParam | ControlIntermediate | ControlIgnore,
                0..=0x1f,
            ) => {
                act.execute(code as u8);
            }
            (DeviceEntry | DeviceParam | DeviceIntermediate, 0..=0x1f) => {}
            (_, 0x7f) => {}

            (Escape, 0x50) => self.enter_again(DeviceEntry),
            (Escape, 0x58 | 0x5e | 0x5f) => self.enter_again(Ignored),
            (Escape, 0x5b) => self.enter_again(ControlEntry),
            (Escape, 0x5d) => self.enter_again(Command),
            (Escape | EscapeIntermediate, 0x20..=0x2f) => self.collect(code, EscapeIntermediate),
            (Escape | EscapeIntermediate, 0x30..=0x7e) => {
                self.state = Ground;
                act.escape(self.name << 8 | code);
            }

            (ControlEntry | ControlParam, 0x30..=0x3b) => self.param(code, ControlParam),
            (ControlEntry, 0x3c..=0x3f) => self.collect(code, ControlParam),
            (ControlEntry | ControlParam | ControlIntermediate, 0x20..=0x2f) => self.collect(code, ControlIntermediate),
            (ControlParam, 0x3c..=0x3f) | (ControlIntermediate, 0x30..=0x3f) => self.state = ControlIgnore,
            (ControlEntry | ControlParam | ControlIntermediate, 0x40..=0x7e) => {
                self.state = Ground;
                if !self.is_too_long() {
                    act.control(self.name << 8 | code, &self.params);
                }
            }
            (ControlIgnore, 0x40..=0x7e) => self.state = Ground,
            (ControlIgnore, _) => {}

            (DeviceEntry | DeviceParam, 0x30..=0x3b) => self.param(code, DeviceParam),
            (DeviceEntry, 0x3c..=0x3f) => self.collect(code, DeviceParam),
            (DeviceEntry | DeviceParam | DeviceIntermediate, 0x20..=0x2f) => self.collect(code, DeviceIntermediate),
            (DeviceParam, 0x3c..=0x3f) | (DeviceIntermediate, 0x30..=0x3f) => self.state = DeviceIgnore,
            (DeviceEntry | DeviceParam | DeviceIntermediate, 0x40..=0x7e) => self.collect(code, Device),

            // No text belongs there.
            _ => self.state = Ground,
        }
    }

    /// What its first byte began goes on.
    fn enter_again(&mut self, state: State) {
        let began = self.began;
        self.enter(state);
        self.began = began;
    }
}
