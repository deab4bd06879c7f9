//! One event of a log is one line, whatever a stranger's text is in it.
//!
//! Owns the escapes that keep it so. Knows no event and no field.

use std::io::{self, Write};

use crate::words::misleads;

/// The colours of the format for people: reset, faint, italic, and one for each level. Any other escape sequence in a
/// value could change how the rest of a line looks.
const COLOURS: [&str; 8] = ["[0m", "[2m", "[3m", "[31m", "[32m", "[33m", "[34m", "[35m"];

/// Writes what it gets in one call as one line. The format for people writes some values unchanged. Such a value could
/// end the line and begin another one that looks like an event, or control the terminal. JSON has neither problem, and
/// the escapes here are those of JSON.
pub struct OneLine<W>(pub W);

impl<W: Write> Write for OneLine<W> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        let line = text.strip_suffix('\n').unwrap_or(&text);
        let bad = |at: usize, c: char| match c {
            '\t' => false,
            '\x1b' => !COLOURS.iter().any(|colour| line[at + 1..].starts_with(colour)),
            c => misleads(c),
        };
        if !line.char_indices().any(|(at, c)| bad(at, c)) {
            self.0.write_all(event)?;
            return Ok(event.len());
        }
        let mut safe = String::with_capacity(text.len());
        for (at, c) in line.char_indices() {
            match c {
                '\n' => safe.push_str("\\n"),
                '\r' => safe.push_str("\\r"),
                c if bad(at, c) => safe.push_str(&format!("\\u{:04x}", u32::from(c))),
                c => safe.push(c),
            }
        }
        safe.push('\n');
        self.0.write_all(safe.as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What is logged for words from outside, in both formats.
    fn logged(words: &str) -> [String; 2] {
        [false, true].map(|json| {
            let kept = Kept::default();
            let writer = kept.clone();
            let layer = tracing_subscriber::fmt::layer().with_writer(move || OneLine(writer.clone()));
            let registry = tracing_subscriber::registry();
            let log = || {
                tracing::info!(said = words, shown = %words, "{words}");
                tracing::info!("the next");
            };
            if json {
                tracing::subscriber::with_default(registry.with(layer.json()), log);
            } else {
                tracing::subscriber::with_default(registry.with(layer), log);
            }
            String::from_utf8(kept.0.lock().unwrap().clone()).unwrap()
        })
    }

    #[test]
    fn a_strangers_words_are_one_line_and_turn_nothing() {
        let words = "all well\r\n2026-01-01T00:00:00Z ERROR forged\u{2028}too\u{202e}txt.exe\u{85}\x1b[2J";
        for text in logged(words) {
            assert_eq!(text.lines().count(), 2, "{text}");
            assert!(text.ends_with('\n') && text.contains("the next"), "{text}");
            for bad in ['\r', '\u{2028}', '\u{202e}', '\u{85}'] {
                assert!(!text.contains(bad), "{bad:?} in {text}");
            }
            assert!(!text.contains("\x1b[2J"), "{text}");
        }
        let [_, json] = logged(words);
        let event: serde_json::Value = serde_json::from_str(json.lines().next().unwrap()).unwrap();
        assert_eq!(event["fields"]["message"], words, "nothing is lost in JSON");
    }
}
