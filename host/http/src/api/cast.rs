//! A recording, checked line by line on its way out.
//!
//! Owns what a line of an asciicast may be. The program that writes it belongs to
//! the sandbox, whose user may replace it. So what is passed on has the form of a
//! recording, but proves nothing about what happened. Deliberately knows neither
//! session nor connection.

use bytes::Bytes;
use serde::Deserialize;

use sandbox_broker_core::sandbox::Size;
use sandbox_broker_session::CAST_END;

/// Bytes of one line, at most: 64 KiB of output in which each byte became a six byte
/// JSON escape, and some more.
const MAX_LINE: usize = 512 * 1024;

/// The bytes are no recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("what it told is no recording: {0}")]
pub(super) struct NoCast(&'static str);

/// Checks a recording that comes in pieces of any size.
#[derive(Debug, Default)]
pub(super) struct Cast {
    /// The beginning of an unfinished line.
    line: Vec<u8>,
    begun: bool,
    whole: bool,
}

#[derive(Deserialize)]
struct Header {
    version: u64,
    term: Term,
}

#[derive(Deserialize)]
struct Term {
    cols: u64,
    rows: u64,
}

impl Cast {
    /// Takes more bytes and returns the lines that are now complete, if any.
    ///
    /// # Errors
    /// At the first line that does not belong into a recording. Nothing after it
    /// counts.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<Bytes, NoCast> {
        let Some(end) = bytes.iter().rposition(|byte| *byte == b'\n').map(|at| at + 1) else {
            return self.hold(bytes).map(|()| Bytes::new());
        };
        let mut lines = std::mem::take(&mut self.line);
        lines.extend_from_slice(&bytes[..end]);
        for line in lines.split_inclusive(|byte| *byte == b'\n') {
            self.check(line)?;
        }
        self.hold(&bytes[end..])?;
        Ok(lines.into())
    }

    /// Whether the last line of a recording has come, and nothing after it.
    pub(super) fn is_whole(&self) -> bool {
        self.whole && self.line.is_empty()
    }

    fn hold(&mut self, bytes: &[u8]) -> Result<(), NoCast> {
        if self.line.len() + bytes.len() > MAX_LINE {
            return Err(NoCast("a line is too long"));
        }
        self.line.extend_from_slice(bytes);
        Ok(())
    }

    fn check(&mut self, line: &[u8]) -> Result<(), NoCast> {
        if self.whole {
            return Err(NoCast("it goes on after its end"));
        }
        if line.len() > MAX_LINE {
            return Err(NoCast("a line is too long"));
        }
        if !std::mem::replace(&mut self.begun, true) {
            let header: Header = serde_json::from_slice(line).map_err(|_| NoCast("it has no header"))?;
            let known = header.version == 3 && Size::new(header.term.cols, header.term.rows).is_some();
            return known.then_some(()).ok_or(NoCast("its header is of no terminal"));
        }
        if line == CAST_END {
            self.whole = true;
            return Ok(());
        }
        match serde_json::from_slice::<(f64, &str, String)>(line) {
            Ok((interval, "o" | "r" | "m" | "x", _)) if interval >= 0.0 => Ok(()),
            _ => Err(NoCast("a line is no event")),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WHOLE: &str = concat!(
        r#"{"version":3,"term":{"cols":80,"rows":24,"type":"xterm-256color"},"timestamp":1}"#,
        "\n",
        r#"[0.0,"o","\u001b[1mhi\r\n"]"#,
        "\n",
        r#"[0.25,"r","100x30"]"#,
        "\n",
        r#"[1.0,"x","0"]"#,
        "\n# end of recording\n"
    );

    /// What is passed on of this, cut into pieces of a size, and whether it is
    /// whole.
    fn passed(bytes: &[u8], size: usize) -> (Vec<u8>, Result<bool, NoCast>) {
        let (mut cast, mut passed) = (Cast::default(), Vec::new());
        for piece in bytes.chunks(size) {
            match cast.take(piece) {
                Ok(lines) => passed.extend_from_slice(&lines),
                Err(error) => return (passed, Err(error)),
            }
        }
        (passed, Ok(cast.is_whole()))
    }

    #[test]
    fn a_recording_is_passed_on_as_it_is() {
        for size in 1..WHOLE.len() {
            assert_eq!(passed(WHOLE.as_bytes(), size), (WHOLE.into(), Ok(true)), "in pieces of {size}");
            assert_eq!(passed(&WHOLE.as_bytes()[..WHOLE.len() - 1], size).1, Ok(false), "in pieces of {size}");
        }
    }

    #[test]
    fn what_is_no_recording_is_not_passed_on() {
        let (header, rest) = WHOLE.split_once('\n').unwrap();
        for wrong in [
            "\n".to_owned(),
            format!("{rest}\n"),
            format!("{}\n", header.replace('3', "2")),
            format!("{}\n", header.replace("80", "0")),
            format!("{header}\n[0.0,\"o\"]\n"),
            format!("{header}\n[-1.0,\"o\",\"\"]\n"),
            format!("{header}\n[0.0,\"?\",\"\"]\n"),
            format!("{header}\n# another remark\n"),
            format!("{WHOLE}[0.0,\"o\",\"\"]\n"),
            format!("{header}\n[0.0,\"o\",\"{}\"]\n", "x".repeat(MAX_LINE)),
            "x".repeat(MAX_LINE + 1),
        ] {
            for size in [7, 64 * 1024, wrong.len()] {
                assert!(passed(wrong.as_bytes(), size).1.is_err(), "{:?}", &wrong[..wrong.len().min(100)]);
            }
        }
    }

    proptest! {
        #[test]
        fn no_bytes_do_harm(bytes in prop::collection::vec(any::<u8>(), 0..200), size in 1..50_usize) {
            let (passed, _) = passed(&bytes, size);
            prop_assert!(passed.is_empty(), "random bytes are no header");
        }
    }
}
