//! `cast`: a recording as asciicast v3, one JSON value per line.
//!
//! Owns the format. [`crate::history`] says what happened when. [`crate::sanitize`] removes what would make the terminal of
//! a player answer. The last line is a comment, so that a copy shows whether it is complete.

use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::atomic::Ordering;

use sandbox_recorder::text::LossyText;
use sandbox_recorder::wire::CAST_END;

use crate::history::{Event, replay};
use crate::pty::Exit;
use crate::ring::Ring;
use crate::sanitize::Sanitizer;

/// Writes everything that the recording in `dir` holds.
pub(crate) fn write(dir: &Path, out: impl Write) -> io::Result<()> {
    let ring = Ring::open(dir)?;
    // Read before the end of the output, so that an exit never comes with only a part of the output.
    let exit = Exit::unpack(ring.page().exit.load(Ordering::Acquire));
    let mut cast = Cast { out: BufWriter::new(out), last: None, began: ring.page().began.load(Ordering::Relaxed) };
    let mut text = LossyText::default();
    let mut sanitizer = Sanitizer::default();
    replay(dir, &ring, ring.end(), |ms, event| match event {
        Event::Size(size) if cast.last.is_none() => {
            cast.last = Some(ms);
            // The output that is still there begins at `ms`.
            let timestamp = (cast.began + ms) / 1000;
            let term = format!(r#"{{"cols":{},"rows":{},"type":"xterm-256color"}}"#, size.cols, size.rows);
            writeln!(cast.out, r#"{{"version":3,"term":{term},"timestamp":{timestamp}}}"#)
        }
        Event::Size(size) => cast.event(ms, "r", &format!("{}x{}", size.cols, size.rows)),
        Event::Output(bytes) => match sanitizer.pass(&text.push(bytes)) {
            text if text.is_empty() => Ok(()),
            text => cast.event(ms, "o", &text),
        },
        Event::Gap(from, to) => {
            let torn = text.finish();
            if !torn.is_empty() {
                cast.event(ms, "o", torn)?;
            }
            sanitizer = Sanitizer::default();
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
    /// The time of the last event, in milliseconds since the recording began.
    last: Option<u64>,
    /// When the recording began, in milliseconds since 1970.
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
