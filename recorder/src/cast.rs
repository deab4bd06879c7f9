//! `cast`: a recording as an asciicast of version 3, one JSON value a line.
//!
//! Owns the format. What happened when is told by [`crate::history`]. The last line
//! is a comment, so that a copy tells whether it is whole. Output passes through
//! [`crate::plain`], so that a player's terminal is asked nothing.

use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::atomic::Ordering;

use sandbox_recorder::text::LossyText;
use sandbox_recorder::wire::CAST_END;

use crate::history::{Event, tell};
use crate::plain::Plain;
use crate::pty::Exit;
use crate::ring::Ring;

/// Writes all that is held of the recording in `dir`.
pub(crate) fn write(dir: &Path, out: impl Write) -> io::Result<()> {
    let ring = Ring::open(dir)?;
    // Before the end, so that it is told with all output or not at all.
    let exit = Exit::unpack(ring.page().exit.load(Ordering::Acquire));
    let mut cast = Cast { out: BufWriter::new(out), last: None, began: ring.page().began.load(Ordering::Relaxed) };
    let mut text = LossyText::default();
    let mut plain = Plain::default();
    tell(dir, &ring, ring.end(), |ms, event| match event {
        Event::Size(size) if cast.last.is_none() => {
            cast.last = Some(ms);
            // What is held begins at `ms`.
            let timestamp = (cast.began + ms) / 1000;
            let term = format!(r#"{{"cols":{},"rows":{},"type":"xterm-256color"}}"#, size.cols, size.rows);
            writeln!(cast.out, r#"{{"version":3,"term":{term},"timestamp":{timestamp}}}"#)
        }
        Event::Size(size) => cast.event(ms, "r", &format!("{}x{}", size.cols, size.rows)),
        Event::Output(bytes) => match plain.pass(&text.push(bytes)) {
            text if text.is_empty() => Ok(()),
            text => cast.event(ms, "o", &text),
        },
        Event::Gap(from, to) => {
            let torn = text.finish();
            if !torn.is_empty() {
                cast.event(ms, "o", torn)?;
            }
            plain = Plain::default();
            cast.event(ms, "m", &format!("{} bytes of output are gone here", to - from))
        }
    })?;
    let ms = cast.last.unwrap_or_default();
    let torn = text.finish();
    if !torn.is_empty() {
        cast.event(ms, "o", torn)?;
    }
    if let Some(exit) = exit {
        cast.event(ring.page().exited.load(Ordering::Relaxed), "x", &exit.status().to_string())?;
    }
    cast.out.write_all(CAST_END)?;
    cast.out.flush()
}

struct Cast<W: Write> {
    out: BufWriter<W>,
    /// When the last event was, in milliseconds since the recording began.
    last: Option<u64>,
    /// Milliseconds since 1970.
    began: u64,
}

impl<W: Write> Cast<W> {
    fn event(&mut self, ms: u64, code: &str, data: &str) -> io::Result<()> {
        let last = self.last.replace(ms.max(self.last.unwrap_or_default())).unwrap_or_default();
        let interval = ms.saturating_sub(last);
        serde_json::to_writer(&mut self.out, &(interval as f64 / 1000.0, code, data))?;
        self.out.write_all(b"\n")
    }
}
