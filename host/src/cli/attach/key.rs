//! The key that leaves a session.
//!
//! Owns how it is written by a person and in which forms a terminal sends it.

use std::fmt;
use std::str::FromStr;

/// A key with Ctrl, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DetachKey(Option<u8>);

/// Text that names no key.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected `ctrl-` or `^` with one of a-z [ \\ ] ^ _ @, such as ctrl-], or `none`")]
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
            [key @ (b'@' | b'[' | b'\\' | b']' | b'^' | b'_' | b'a'..=b'z')] => Ok(DetachKey(Some(*key))),
            _ => Err(NotAKey),
        }
    }
}

/// As a person calls it.
impl fmt::Display for DetachKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(key) => write!(f, "Ctrl-{}", key.to_ascii_uppercase() as char),
            None => f.write_str("none"),
        }
    }
}

impl DetachKey {
    /// Whether there is one.
    pub(super) fn is_some(self) -> bool {
        self.0.is_some()
    }

    /// Where in what was typed it is.
    pub(super) fn find(self, typed: &[u8]) -> Option<usize> {
        let key = self.0?;
        // As a control, and as programs may ask for it: kitty's protocol, xterm's.
        let forms = [vec![key & 0x1f], format!("\x1b[{key};5u").into(), format!("\x1b[27;5;{key}~").into()];
        let at = |form: &Vec<u8>| typed.windows(form.len()).position(|window| window == form);
        forms.iter().filter_map(at).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_in_every_form_that_a_terminal_sends() {
        let key: DetachKey = "ctrl-]".parse().unwrap();
        assert_eq!(key.to_string(), "Ctrl-]");
        assert_eq!(key.find(b"ls\x1d"), Some(2));
        assert_eq!(key.find(b"\x1b[93;5u"), Some(0));
        assert_eq!(key.find(b"a\x1b[27;5;93~\x1d"), Some(1));
        assert_eq!(key.find(b"ls ]\n"), None);
        assert_eq!("none".parse::<DetachKey>().unwrap().find(b"\x1d"), None);
    }

    #[test]
    fn what_names_a_key() {
        for (text, control) in [("^]", 0x1d), ("Ctrl-A", 1), ("^q", 0x11), ("ctrl-\\", 0x1c), ("^^", 0x1e), ("^@", 0)] {
            assert_eq!(text.parse::<DetachKey>().unwrap().find(&[control]), Some(0), "{text}");
        }
        for text in ["", "]", "ctrl-", "ctrl-ab", "alt-a", "^1"] {
            assert_eq!(text.parse::<DetachKey>(), Err(NotAKey), "{text}");
        }
    }
}
