//! Output without what a terminal would answer.
//!
//! Owns which control sequences are queries. A terminal types its answer as
//! input, so the answer to an old query would go to the shell once more when
//! output is replayed. Everything else passes byte for byte. Deliberately knows
//! no session and writes nowhere.
//!
//! The grammar is ECMA-48 as terminals read it. Bytes that begin with ESC, or
//! with a C1 control in UTF-8, are held until the sequence is whole or it is
//! clear that it asks nothing.

use super::modes::Modes;
use super::sequence::{Sequence, value};

/// Bytes of a sequence that are held, at most. A query takes some tens of bytes;
/// one for all colours of a palette takes less than two thousand. In replay the
/// rest of a longer sequence is dropped.
const MAX_HELD: usize = 4096;

const BEL: u8 = 0x07;
const ENQ: u8 = 0x05;
const SO: u8 = 0x0e;
const CAN: u8 = 0x18;
const SUB: u8 = 0x1a;
const ESC: u8 = 0x1b;

/// Puts the terminal's title on its stack (XTWINOPS).
const SAVE_TITLE: &[u8] = b"\x1b[22;0t";

/// First byte of every C1 control in UTF-8.
const C2: u8 = 0xc2;

/// The kinds of strings, by what may end them and what they ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Operating system command.
    Osc,
    /// Device control string.
    Dcs,
    /// Application program command.
    Apc,
    /// Start of string, privacy message. Nobody answers these.
    Other,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Ground,
    /// The first byte of a possible C1 control is held.
    C2,
    /// After ESC. If the string before it was `dropped`, so is the end of it.
    Escape {
        dropped: bool,
    },
    /// A control sequence is held.
    Csi,
    /// A string is held, and it is not clear yet whether it asks.
    String(Kind),
    /// The rest of a string passes or is dropped. `c2`: the last byte was C2.
    Rest {
        kind: Kind,
        passes: bool,
        c2: bool,
    },
    /// The rest of a control sequence that is too long; it is dropped.
    Overlong,
}

/// Takes queries out of a stream of output, whatever pieces it comes in.
#[derive(Debug)]
pub(super) struct Filter {
    state: State,
    /// The beginning of an unfinished sequence.
    held: Vec<u8>,
    /// Where the introducer ends in `held`.
    start: usize,
    /// What output has left switched on.
    modes: Modes,
    /// Whether the terminal's title is saved before output sets another.
    saves_title: bool,
}

impl Filter {
    pub(super) fn new() -> Self {
        Filter { state: State::Ground, held: Vec::new(), start: 0, modes: Modes::default(), saves_title: false }
    }

    /// For a terminal: its title is saved before output sets another.
    pub(super) fn for_terminal() -> Self {
        Filter { saves_title: true, ..Filter::new() }
    }

    /// Passes `bytes` on to `out`, without queries if `quiet`. An unfinished
    /// sequence waits for its rest.
    pub(super) fn push(&mut self, mut bytes: &[u8], quiet: bool, out: &mut Vec<u8>) {
        while let Some(&byte) = bytes.first() {
            match self.state {
                State::Ground => {
                    let plain = |b: &u8| !matches!(*b, ESC | C2 | ENQ | SO);
                    let end = bytes.iter().position(|b| !plain(b)).unwrap_or(bytes.len());
                    out.extend_from_slice(&bytes[..end]);
                    bytes = &bytes[end..];
                    let Some((&special, rest)) = bytes.split_first() else { return };
                    bytes = rest;
                    match special {
                        // ENQ asks for the answerback message.
                        ENQ if quiet => {}
                        ENQ => out.push(ENQ),
                        SO => {
                            self.modes.shift_out();
                            out.push(SO);
                        }
                        ESC => self.hold(State::Escape { dropped: false }, special),
                        _ => self.hold(State::C2, special),
                    }
                    continue;
                }
                State::Rest { kind, passes, c2 } => {
                    let taken = self.rest(bytes, kind, passes, c2, out);
                    bytes = &bytes[taken..];
                    continue;
                }
                _ => {}
            }
            if self.step(byte, quiet, out) {
                bytes = &bytes[1..];
            }
        }
    }

    /// Returns what undoes colours and modes that are left on, for a terminal that
    /// goes back to its own shell.
    pub(super) fn leave(&mut self) -> Vec<u8> {
        self.cut();
        self.modes.undo().into_bytes()
    }

    /// Drops what is held: the rest of it will not come.
    pub(super) fn cut(&mut self) {
        self.held.clear();
        self.state = State::Ground;
    }

    fn hold(&mut self, state: State, byte: u8) {
        self.state = state;
        self.held.push(byte);
        self.start = self.held.len();
    }

    /// Returns what is held after the introducer.
    fn body(&self) -> &[u8] {
        &self.held[self.start..]
    }

    /// Passes on what is held and enters `state`.
    fn pass(&mut self, state: State, out: &mut Vec<u8>) {
        out.append(&mut self.held);
        self.state = state;
    }

    /// Decides on what is held, which is a whole sequence or the beginning of a
    /// string, and enters `state`.
    fn settle(&mut self, query: bool, quiet: bool, state: State, out: &mut Vec<u8>) {
        if query && quiet {
            self.held.clear();
        }
        self.pass(state, out);
    }

    /// Takes one byte of a held sequence. False: the byte has to be looked at again.
    fn step(&mut self, byte: u8, quiet: bool, out: &mut Vec<u8>) -> bool {
        match (self.state, byte) {
            // These break a sequence off, or act within it on their own.
            (State::Escape { .. } | State::Csi, ESC | 0x80..) => {
                self.pass(State::Ground, out);
                return false;
            }
            (State::Escape { .. } | State::Csi, CAN | SUB) => {
                self.held.push(byte);
                self.pass(State::Ground, out);
                return true;
            }
            (State::Escape { .. } | State::Csi, ENQ) if quiet => return true,
            _ => {}
        }
        match self.state {
            State::C2 => self.c1(byte, quiet, out),
            State::Escape { dropped } => {
                self.escape(byte, dropped, quiet, out);
                true
            }
            State::Csi => {
                self.csi(byte, quiet, out);
                true
            }
            State::String(kind) => self.string(byte, kind, quiet, out),
            State::Overlong => match byte {
                ESC => {
                    self.state = State::Ground;
                    false
                }
                CAN | SUB | 0x40..=0x7e => {
                    self.state = State::Ground;
                    true
                }
                _ => true,
            },
            State::Ground | State::Rest { .. } => false,
        }
    }

    fn c1(&mut self, byte: u8, quiet: bool, out: &mut Vec<u8>) -> bool {
        let state = match byte {
            0x9b => State::Csi,
            0x9d => State::String(Kind::Osc),
            0x90 => State::String(Kind::Dcs),
            0x9f => State::String(Kind::Apc),
            0x98 | 0x9e => State::Rest { kind: Kind::Other, passes: true, c2: false },
            // DECID.
            0x9a => {
                self.held.push(byte);
                self.settle(true, quiet, State::Ground, out);
                return true;
            }
            _ => {
                self.pass(State::Ground, out);
                return false;
            }
        };
        self.hold(state, byte);
        if let State::Rest { .. } = state {
            self.pass(state, out);
        }
        true
    }

    fn escape(&mut self, byte: u8, dropped: bool, quiet: bool, out: &mut Vec<u8>) {
        let first = !self.held.iter().any(|b| matches!(b, b' '..=b'/'));
        match byte {
            b'[' if first => self.hold(State::Csi, byte),
            b']' if first => self.hold(State::String(Kind::Osc), byte),
            b'P' if first => self.hold(State::String(Kind::Dcs), byte),
            b'_' if first => self.hold(State::String(Kind::Apc), byte),
            b'X' | b'^' if first => {
                self.held.push(byte);
                self.pass(State::Rest { kind: Kind::Other, passes: true, c2: false }, out);
            }
            b'\\' if first && dropped => self.cut(),
            0x30..=0x7e => {
                self.held.push(byte);
                self.modes.escape(&self.held[1..]);
                // ESC Z is DECID.
                self.settle(first && byte == b'Z', quiet, State::Ground, out);
            }
            _ if self.held.len() >= MAX_HELD && quiet => self.cut(),
            _ if self.held.len() >= MAX_HELD => {
                self.held.push(byte);
                self.pass(State::Ground, out);
            }
            _ => self.held.push(byte),
        }
    }

    fn csi(&mut self, byte: u8, quiet: bool, out: &mut Vec<u8>) {
        match byte {
            0x40..=0x7e => {
                self.held.push(byte);
                let sequence = Sequence::of(self.body());
                self.modes.sequence(&sequence);
                self.settle(sequence_asks(&sequence), quiet, State::Ground, out);
            }
            _ if self.held.len() >= MAX_HELD && quiet => {
                self.held.clear();
                self.state = State::Overlong;
            }
            _ if self.held.len() >= MAX_HELD => {
                self.held.push(byte);
                self.pass(State::Ground, out);
            }
            _ => self.held.push(byte),
        }
    }

    /// Takes one more byte of a string that may ask.
    fn string(&mut self, byte: u8, kind: Kind, quiet: bool, out: &mut Vec<u8>) -> bool {
        let c2 = self.body().last() == Some(&C2);
        match byte {
            // ESC ends every string. ST is an escape sequence of its own.
            ESC | CAN | SUB => {
                let query = string_asks(kind, self.body(), true);
                self.note_command(kind, query, out);
                self.settle(query, quiet, State::Ground, out);
                if byte != ESC {
                    return false;
                }
                self.hold(State::Escape { dropped: query && quiet }, ESC);
            }
            BEL if kind == Kind::Osc => {
                let query = string_asks(kind, self.body(), true);
                self.note_command(kind, query, out);
                self.held.push(byte);
                self.settle(query, quiet, State::Ground, out);
            }
            0x9c if c2 => {
                let body = self.body();
                let query = string_asks(kind, &body[..body.len() - 1], true);
                self.note_command(kind, query, out);
                self.held.push(byte);
                self.settle(query, quiet, State::Ground, out);
            }
            _ => {
                self.held.push(byte);
                let told = match (kind, byte) {
                    (Kind::Osc, b';') => !may_ask(number(self.body())),
                    (Kind::Dcs, 0x40..=0x7e) | (Kind::Apc, _) => true,
                    _ => false,
                };
                if told || self.held.len() >= MAX_HELD {
                    let query = string_asks(kind, self.body(), false);
                    self.note_command(kind, query, out);
                    let rest = State::Rest { kind, passes: !(query && quiet), c2: byte == C2 };
                    self.settle(query, quiet, rest, out);
                }
            }
        }
        true
    }

    /// Notes an operating system command. The title may have to be saved before it.
    fn note_command(&mut self, kind: Kind, query: bool, out: &mut Vec<u8>) {
        let number = number(self.body());
        if kind == Kind::Osc && !query && self.modes.command(number, self.saves_title) {
            out.extend_from_slice(SAVE_TITLE);
        }
    }

    /// Takes the rest of a string, as much of it as `bytes` has. Returns how much
    /// that is.
    fn rest(&mut self, bytes: &[u8], kind: Kind, passes: bool, c2: bool, out: &mut Vec<u8>) -> usize {
        if c2 && bytes[0] == 0x9c {
            if passes {
                out.push(0x9c);
            }
            self.state = State::Ground;
            return 1;
        }
        let special = |b: &u8| matches!(*b, ESC | CAN | SUB | C2) || (*b == BEL && kind == Kind::Osc);
        let end = bytes.iter().position(special).unwrap_or(bytes.len());
        if passes {
            out.extend_from_slice(&bytes[..end]);
        }
        self.state = State::Rest { kind, passes, c2: false };
        match bytes.get(end) {
            None => end,
            Some(&ESC) => {
                self.hold(State::Escape { dropped: !passes }, ESC);
                end + 1
            }
            Some(&C2) => {
                if passes {
                    out.push(C2);
                }
                self.state = State::Rest { kind, passes, c2: true };
                end + 1
            }
            Some(&byte) => {
                // A string that was dropped is dropped with its end.
                if passes || byte != BEL {
                    out.push(byte);
                }
                self.state = State::Ground;
                end + 1
            }
        }
    }
}

/// Whether a terminal answers this control sequence.
fn sequence_asks(sequence: &Sequence) -> bool {
    let first = value(sequence.params.split(|b| *b == b';').next().unwrap_or_default());
    match (sequence.prefix, sequence.between.as_slice(), sequence.last) {
        // DA 1 to 3; DSR; the window's state, size, title; DECREQTPARM.
        (None | Some(b'>' | b'='), [], b'c') | (None | Some(b'?'), [], b'n') | (None, [], b'x') => true,
        (None, [], b't') => matches!(first, 11 | 13..=16 | 18..=21),
        // DECRQM.
        (None | Some(b'?'), b"$", b'p') => true,
        // XTVERSION, XTSMGRAPHICS, XTQMODKEYS, XTQFMTKEYS; kitty's keyboard.
        (Some(b'>'), [], b'q') | (Some(b'?'), [], b'S' | b'm' | b'g' | b'u') => true,
        // DECRQUPSS, DECRQTSR, DECRQPSR, DECRQCRA, DECRQDE, DECRQLP.
        (None, b"&" | b"$", b'u') | (None, b"$", b'w') => true,
        (None, b"*", b'y') | (None, b"\"", b'v') | (None, b"'", b'|') => true,
        // XTREPORTSGR, XTREPORTCOLORS, XTTITLEPOS.
        (None, b"#", b'|' | b'R' | b'S') => true,
        _ => false,
    }
}

/// Reads the number of an operating system command.
fn number(body: &[u8]) -> u16 {
    value(body.split(|b| *b == b';').next().unwrap_or_default())
}

/// Whether some commands of this number are queries.
fn may_ask(number: u16) -> bool {
    matches!(number, 4 | 5 | 10..=19 | 21 | 22 | 50 | 52 | 60 | 61 | 99 | 1337)
}

/// Whether a terminal answers this string. It is `whole`, or it is long, or its
/// beginning is enough to decide.
fn string_asks(kind: Kind, body: &[u8], whole: bool) -> bool {
    match kind {
        Kind::Osc => {
            let mut fields = body.split(|b| *b == b';');
            let number = number(fields.next().unwrap_or_default());
            match number {
                // Colours.
                4 | 5 | 10..=19 | 21 => !whole || fields.any(|field| field.ends_with(b"?")),
                // The pointer's shape, the font.
                22 | 50 => !whole || fields.any(|field| field.starts_with(b"?")),
                // The clipboard. Its content may be long.
                52 => whole && fields.next_back() == Some(b"?"),
                // Allowed and disallowed features.
                60 | 61 => true,
                // Notifications of kitty.
                99 => fields.next().is_some_and(|field| field.split(|b| *b == b':').any(|part| part == b"p=?")),
                // iTerm2. Its files may be long.
                1337 => {
                    let field = fields.next().unwrap_or_default();
                    [&b"Report"[..], b"Request", b"Capabilities"].iter().any(|asks| field.starts_with(asks))
                }
                _ => !whole && !body.contains(&b';'),
            }
        }
        Kind::Dcs => {
            let last = body.last().copied().unwrap_or_default();
            let between: Vec<u8> = body.iter().copied().filter(|b| matches!(b, b' '..=b'/')).collect();
            match last {
                // DECRQSS, XTGETTCAP; remote control of kitty.
                b'q' => between == b"$" || between == b"+",
                b'@' => true,
                b'A'..=b'~' => false,
                _ => !whole,
            }
        }
        // Graphics of kitty, which confirms that they arrived.
        Kind::Apc => body.first() == Some(&b'G'),
        Kind::Other => false,
    }
}

#[cfg(test)]
mod tests;
