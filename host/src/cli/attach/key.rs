//! The detach key, which leaves a session.
//!
//! Owns how a person writes it and the forms in which a terminal sends it.
//! Deliberately knows no session.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use bytes::BytesMut;

const ESC: u8 = 0x1b;

/// How long to wait for the rest of a sequence whose beginning is a key by
/// itself. Too short to be noticed.
const KEY_WITHIN: Duration = Duration::from_millis(30);

/// How long to wait otherwise. A network may lie in between.
const SEQUENCE_WITHIN: Duration = Duration::from_secs(1);

/// A key with Ctrl, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DetachKey(Option<u8>);

/// The text names no key.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected `ctrl-` or `^` with one of a-z \\ ] ^ _ @, such as ctrl-], or `none`")]
pub(super) struct NotAKey;

impl FromStr for DetachKey {
    type Err = NotAKey;

    fn from_str(text: &str) -> Result<Self, NotAKey> {
        let lower = text.to_ascii_lowercase();
        if lower == "none" {
            return Ok(DetachKey(None));
        }
        let key = lower.strip_prefix("ctrl-").or_else(|| lower.strip_prefix('^')).ok_or(NotAKey)?;
        match key.as_bytes() {
            [key @ (b'@' | b'\\' | b']' | b'^' | b'_' | b'a'..=b'z')] => Ok(DetachKey(Some(*key))),
            _ => Err(NotAKey),
        }
    }
}

/// The name of the key for a person.
impl fmt::Display for DetachKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(key) => write!(f, "Ctrl-{}", key.to_ascii_uppercase() as char),
            None => f.write_str("none"),
        }
    }
}

/// Bytes of an unfinished sequence that are held, at most. A key of kitty's
/// protocol with every optional field has about fifty.
const MAX_HELD: usize = 128;

/// Modifiers of kitty's protocol and of xterm, as bits. The locks do not matter.
const SHIFT: u32 = 1;
const CTRL: u32 = 4;
const LOCKS: u32 = 64 | 128;

/// The event of a released key in kitty's protocol.
const RELEASE: u32 = 3;

impl DetachKey {
    /// Whether there is one.
    pub(super) fn is_some(self) -> bool {
        self.0.is_some()
    }

    /// Whether this control sequence, after its introducer, is the key: in
    /// kitty's protocol
    /// `CODE[:SHIFTED[:BASE]];MODIFIERS[:EVENT][;TEXT]u`, or as xterm's
    /// modifyOtherKeys has it, `27;MODIFIERS;CODE~`.
    fn is_in(self, sequence: &[u8]) -> bool {
        let Some(key) = self.0 else { return false };
        let Some((last, params)) = sequence.split_last() else { return false };
        let fields: Vec<Vec<u32>> =
            params.split(|b| *b == b';').map(|field| field.split(|b| *b == b':').map(number).collect()).collect();
        let field = |n: usize, part: usize| fields.get(n).and_then(|field| field.get(part)).copied().unwrap_or(0);
        let (codes, modifiers, event) = match last {
            b'u' => ([field(0, 0), field(0, 1), field(0, 2)], field(1, 0), field(1, 1)),
            b'~' if field(0, 0) == 27 && fields.len() == 3 => ([field(2, 0), 0, 0], field(1, 0), 0),
            _ => return false,
        };
        if event == RELEASE {
            return false;
        }
        let key = u32::from(key);
        let [code, shifted, base] = codes;
        match modifiers.saturating_sub(1) & !LOCKS {
            // On a layout with other letters, the key at the same place counts.
            CTRL => code == key || (base == key && code > 0x7f),
            // Some layouts have signs with shift. A letter with shift is another key.
            pressed if pressed == CTRL | SHIFT => !(key as u8).is_ascii_lowercase() && (code == key || shifted == key),
            _ => false,
        }
    }
}

fn number(digits: &[u8]) -> u32 {
    digits
        .iter()
        .filter(|b| b.is_ascii_digit())
        .fold(0u32, |n, b| n.saturating_mul(10).saturating_add((b - b'0').into()))
}

/// Looks for the key in what is typed, whatever pieces it comes in.
#[derive(Debug)]
pub(super) struct Finder {
    key: DetachKey,
    /// The input is pasted text (xterm's bracketed paste). No key is looked for in
    /// it.
    pasted: bool,
    /// The beginning of an unfinished control sequence.
    held: Vec<u8>,
}

impl Finder {
    pub(super) fn new(key: DetachKey) -> Self {
        Finder { key, pasted: false, held: Vec::new() }
    }

    /// Moves what was typed to `out`. True if the key was typed; what came after it
    /// is thrown away.
    pub(super) fn take(&mut self, typed: &[u8], out: &mut BytesMut) -> bool {
        let mut bytes = std::mem::take(&mut self.held);
        bytes.extend_from_slice(typed);
        let control = self.key.0.map(|key| key & 0x1f);
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            if !self.pasted && Some(byte) == control {
                out.extend_from_slice(&bytes[..at]);
                return true;
            }
            if byte != ESC {
                at += 1;
                continue;
            }
            match length(&bytes[at..]) {
                Length::None => at += 1,
                Length::Unknown => {
                    self.held = bytes.split_off(at);
                    break;
                }
                Length::Of(length) => {
                    let sequence = &bytes[at + 2..at + length];
                    match sequence {
                        b"200~" => self.pasted = true,
                        b"201~" => self.pasted = false,
                        _ if !self.pasted && self.key.is_in(sequence) => {
                            out.extend_from_slice(&bytes[..at]);
                            return true;
                        }
                        _ => {}
                    }
                    at += length;
                }
            }
        }
        out.extend_from_slice(&bytes);
        false
    }

    /// How long to wait for the rest of what is held; none if nothing is.
    pub(super) fn waits(&self) -> Option<Duration> {
        match self.held.as_slice() {
            [] => None,
            // These are also keys: Escape, and Alt with a bracket.
            [ESC] | [ESC, b'['] => Some(KEY_WITHIN),
            _ => Some(SEQUENCE_WITHIN),
        }
    }

    /// Moves what is held to `out`: the rest did not come.
    pub(super) fn release(&mut self, out: &mut BytesMut) {
        out.extend_from_slice(&std::mem::take(&mut self.held));
    }
}

/// How long a control sequence is.
enum Length {
    /// It is no control sequence.
    None,
    /// Its end has not come.
    Unknown,
    Of(usize),
}

fn length(bytes: &[u8]) -> Length {
    match bytes {
        [_] => return Length::Unknown,
        [_, b'[', ..] => {}
        _ => return Length::None,
    }
    let body = bytes[2..].iter().position(|b| !matches!(b, b' '..=b'?'));
    match body {
        None if bytes.len() > MAX_HELD => Length::None,
        None => Length::Unknown,
        Some(body) if matches!(bytes[2 + body], 0x40..=0x7e) => Length::Of(body + 3),
        Some(_) => Length::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is sent of the pieces, and whether the key was in them.
    fn taken(key: &str, pieces: &[&[u8]]) -> (Vec<u8>, bool) {
        let (mut finder, mut out) = (Finder::new(key.parse().unwrap()), BytesMut::new());
        let found = pieces.iter().any(|piece| finder.take(piece, &mut out));
        if !found {
            finder.release(&mut out);
        }
        (out.to_vec(), found)
    }

    const KEYS: &[&[u8]] = &[
        b"\x1d",
        b"\x1b[93;5u",
        // Caps lock, num lock, both.
        b"\x1b[93;69u",
        b"\x1b[93;133u",
        b"\x1b[93;197u",
        // With the event's kind, the other keys, the text.
        b"\x1b[93;5:1u",
        b"\x1b[93;5:2u",
        b"\x1b[93;133:1u",
        b"\x1b[93:125;5u",
        b"\x1b[93::93;5u",
        b"\x1b[93:125:93;69:1;29u",
        // A Cyrillic layout: the key is another letter.
        b"\x1b[1098::93;5u",
        b"\x1b[27;5;93~",
        // Shifted on this layout.
        b"\x1b[57:93;6u",
        b"\x1b[27;6;93~",
    ];

    #[test]
    fn a_key_is_found_in_every_form_that_a_terminal_sends_however_it_is_cut() {
        for key in KEYS {
            assert_eq!(taken("ctrl-]", &[b"ls", key, b"rest"]), (b"ls".to_vec(), true), "{key:?}");
            for cut in 1..key.len() {
                let (one, other) = key.split_at(cut);
                assert_eq!(taken("ctrl-]", &[one, other]), (Vec::new(), true), "{key:?} at {cut}");
            }
            let single: Vec<&[u8]> = key.chunks(1).collect();
            assert!(taken("ctrl-]", &single).1, "{key:?}");
            assert!(!taken("none", &[key]).1, "{key:?}");
        }
    }

    #[test]
    fn other_keys_are_passed_on_whole() {
        for other in [
            &b"ls ]\n"[..],
            b"\x1b",
            b"\x1b\x1b",
            b"\x1b[",
            b"\x1b[A",
            b"\x1bO",
            // It is let go.
            b"\x1b[93;5:3u",
            // Other modifiers.
            b"\x1b[93;1u",
            b"\x1b[93;7u",
            b"\x1b[93;13u",
            b"\x1b[93u",
            // Dvorak: the sign of this layout counts, not the place of the key.
            b"\x1b[61::93;5u",
            b"\x1b[27;5;91~",
            b"\x1b[<0;93;5M",
            b"\x1b[93;5~",
            b"\x1b[200~a\x1d\x1b[93;5ub\x1b[201~",
            b"\x1b]52;c;AB==\x07",
        ] {
            assert_eq!(taken("ctrl-]", &[other]), (other.to_vec(), false), "{other:?}");
            let single: Vec<&[u8]> = other.chunks(1).collect();
            assert_eq!(taken("ctrl-]", &single), (other.to_vec(), false), "{other:?} in single bytes");
        }
        let endless = [&b"\x1b["[..], &[b'1'; 1000]].concat();
        assert_eq!(taken("ctrl-]", &[&endless]), (endless.clone(), false));
        // With shift, a letter is another key.
        assert!(taken("ctrl-a", &[b"\x1b[97;5u"]).1 && !taken("ctrl-a", &[b"\x1b[97:65;6u"]).1);
    }

    #[test]
    fn behind_a_paste_the_key_counts_again() {
        let (sent, found) = taken("ctrl-]", &[b"\x1b[200~a\x1d\x1b[20", b"1~b\x1d"]);
        assert_eq!((sent.as_slice(), found), (&b"\x1b[200~a\x1d\x1b[201~b"[..], true));
    }

    #[test]
    fn what_is_held_is_waited_for_no_longer_than_a_key_may_be_late() {
        let (mut finder, mut out) = (Finder::new("ctrl-]".parse().unwrap()), BytesMut::new());
        assert_eq!(finder.waits(), None);
        assert!(!finder.take(b"a\x1b", &mut out));
        assert_eq!((out.as_ref(), finder.waits()), (&b"a"[..], Some(KEY_WITHIN)));
        finder.release(&mut out);
        assert_eq!((out.as_ref(), finder.waits()), (&b"a\x1b"[..], None));
        assert!(!finder.take(b"\x1b[93;", &mut out));
        assert_eq!(finder.waits(), Some(SEQUENCE_WITHIN));
    }

    #[test]
    fn what_names_a_key() {
        assert_eq!("ctrl-]".parse::<DetachKey>().unwrap().to_string(), "Ctrl-]");
        for (text, control) in [("^]", 0x1d), ("Ctrl-A", 1), ("^q", 0x11), ("ctrl-\\", 0x1c), ("^^", 0x1e), ("^@", 0)] {
            assert!(taken(text, &[&[control]]).1, "{text}");
        }
        // Ctrl-[ is Escape, with which every other key begins.
        for text in ["", "]", "ctrl-", "ctrl-ab", "alt-a", "^1", "^["] {
            assert_eq!(text.parse::<DetachKey>(), Err(NotAKey), "{text}");
        }
    }
}
