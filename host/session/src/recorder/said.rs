//! What the recorder says, checked.
//!
//! Owns the way from its bytes to values that can be trusted. The recorder is a
//! program in the sandbox, and whoever owns the sandbox may replace it. After
//! the check, numbers are offsets that exist and never fall, sizes are those of
//! a terminal, and words are short and hold no control characters. Deliberately
//! knows no process and no session.

use std::fmt;

use bytes::{Buf, Bytes};
use sandbox_recorder::wire::{self, ToBroker};

use sandbox_broker_core::sandbox::{Code, Error, Exit, Fault, Result, Size};
use sandbox_broker_core::signal;
use sandbox_stdx::words::clean;

/// Bytes of the recorder's own words that are shown.
pub(super) const WORDS: usize = 1024;

/// One thing that the recorder says.
#[derive(Debug)]
pub(super) enum Said {
    Hello(wire::Hello),
    /// Never empty.
    Output(u64, Bytes),
    Gap(u64, u64),
    Taken(u64),
    Exit(Exit),
    /// A part of the screen at this offset and of this size.
    Screen(u64, Size, String),
    /// From this offset on.
    Size(u64, Size),
    /// In one line.
    Title(String),
    /// In one line.
    Directory(String),
    /// For a person, in one line.
    Refused(String),
}

impl Said {
    pub(super) fn unexpected(&self) -> Error {
        let what = match self {
            Said::Hello(_) => "hello",
            Said::Output(..) => "output",
            Said::Gap(..) => "a gap",
            Said::Taken(_) => "that it took input",
            Said::Exit(_) => "an exit",
            Said::Screen(..) => "a screen",
            Said::Size(..) => "a size",
            Said::Title(_) => "a title",
            Said::Directory(_) => "a directory",
            Said::Refused(reason) => {
                let message = format!("the recorder refused: {reason}");
                return Error::new(Fault::Broker, Code::OutOfRange, message);
            }
        };
        garbled(format_args!("{what} is out of place"))
    }
}

/// The recorder's output, cut into what it says.
#[derive(Debug, Default)]
pub(super) struct Frames {
    decoder: wire::Decoder,
    /// The part of the last chunk that is not read yet.
    rest: Bytes,
    /// Output below this offset was told, or was not asked for.
    next: u64,
    /// Output from here on was not asked for.
    end: Option<u64>,
}

impl Frames {
    /// For a process that tells the output between two offsets.
    pub(super) fn between(from: u64, to: u64) -> Self {
        Frames { next: from, end: Some(to), ..Frames::default() }
    }

    /// Output that was not told yet begins at this offset.
    pub(super) fn begin_at(&mut self, next: u64) {
        self.next = next;
    }

    /// Takes in the next chunk, once [`Frames::next`] has returned none.
    pub(super) fn push(&mut self, chunk: Bytes) {
        debug_assert!(self.rest.is_empty());
        self.rest = chunk;
    }

    /// # Errors
    /// If the bytes are no frame, or say something impossible. Nothing after that
    /// counts.
    pub(super) fn next(&mut self) -> Result<Option<Said>> {
        loop {
            let mut rest = &self.rest[..];
            let said = match self.decoder.next(&mut rest).map_err(misunderstood)? {
                None => None,
                Some(ToBroker::Hello(hello)) => Some(Said::Hello(hello)),
                Some(ToBroker::Output { offset, bytes }) => {
                    let whole = self.rest.as_ptr_range();
                    let within = whole.start <= bytes.as_ptr() && bytes.as_ptr_range().end <= whole.end;
                    let bytes = if within { self.rest.slice_ref(bytes) } else { Bytes::copy_from_slice(bytes) };
                    Some(Said::Output(offset, bytes))
                }
                Some(ToBroker::Gap { from, to }) => Some(Said::Gap(from, to)),
                Some(ToBroker::Taken { input }) => Some(Said::Taken(input)),
                Some(ToBroker::Exit { code, signal, .. }) => Some(Said::Exit(exit_of(code, signal))),
                Some(ToBroker::Screen { offset, size, text }) => {
                    Some(Said::Screen(offset, from_wire(size), text.to_owned()))
                }
                Some(ToBroker::Size { offset, size }) => Some(Said::Size(offset, from_wire(size))),
                Some(ToBroker::Title { text }) => Some(Said::Title(clean(text, wire::MAX_TITLE))),
                Some(ToBroker::Directory { path }) => Some(Said::Directory(clean(path, wire::MAX_DIRECTORY))),
                Some(ToBroker::Refused { reason }) => Some(Said::Refused(clean(reason, WORDS))),
            };
            let read = self.rest.len() - rest.len();
            self.rest.advance(read);
            match &said {
                Some(Said::Output(offset, bytes)) => {
                    self.goes_on(*offset, offset.saturating_add(bytes.len() as u64))?;
                    if bytes.is_empty() {
                        continue;
                    }
                }
                Some(Said::Gap(from, to)) => self.goes_on(*from, *to)?,
                Some(Said::Size(offset, _)) => self.goes_on(*offset, *offset)?,
                _ => {}
            }
            return Ok(said);
        }
    }

    /// Checks output, a gap or a size from one offset to another.
    fn goes_on(&mut self, from: u64, to: u64) -> Result<()> {
        if from < self.next {
            return Err(garbled(format_args!("output goes back from offset {} to {from}", self.next)));
        }
        if let Some(end) = self.end.filter(|end| to > *end) {
            return Err(garbled(format_args!("output goes on to offset {to}, asked for was that below {end}")));
        }
        self.next = to;
        Ok(())
    }
}

pub(super) fn from_wire(size: wire::Size) -> Size {
    Size { cols: size.cols, rows: size.rows }
}

fn exit_of(code: i32, signal: u32) -> Exit {
    match signal {
        0 => Exit::Code(code),
        number => Exit::Signal(signal::name(number)),
    }
}

/// The decoder's error. A recorder of another version is not at fault: another
/// broker installed it.
fn misunderstood(malformed: wire::Malformed) -> Error {
    let wire::Malformed::Version(version) = malformed else { return garbled(malformed) };
    let message = format!(
        "another version of the broker has begun this session: the recorder in its sandbox speaks version {version}, and \
         this broker version {}; run that broker to go on with it",
        wire::VERSION
    );
    Error::new(Fault::Operator, Code::FailedPrecondition, message)
}

/// The recorder said something impossible, so nothing else that it says counts.
pub(super) fn garbled(why: impl fmt::Display) -> Error {
    Error::new(Fault::Provider, Code::DataLoss, format!("the recorder in the sandbox says what it must not: {why}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sandbox_recorder::wire::MAX_OFFSET;

    use super::*;

    fn frame(frame: ToBroker<'_>) -> Bytes {
        let mut bytes = Vec::new();
        frame.encode(&mut bytes);
        bytes.into()
    }

    fn all(mut frames: Frames, said: &[Bytes]) -> Result<Vec<Said>> {
        let mut all = Vec::new();
        for chunk in said {
            frames.push(chunk.clone());
            while let Some(said) = frames.next()? {
                all.push(said);
            }
        }
        Ok(all)
    }

    /// Of a process that is to tell the output from here on.
    fn since(next: u64) -> Frames {
        let mut frames = Frames::default();
        frames.begin_at(next);
        frames
    }

    fn output(offset: u64, bytes: &[u8]) -> Bytes {
        frame(ToBroker::Output { offset, bytes })
    }

    #[test]
    fn output_never_goes_back_nor_beyond_what_was_asked_for() {
        let gap = |from, to| frame(ToBroker::Gap { from, to });
        for (frames, said, good) in [
            (since(10), vec![output(10, b"ab"), output(12, b"c"), gap(13, 20), output(20, b"d")], true),
            (since(10), vec![output(15, b"ab")], true),
            (since(10), vec![output(9, b"ab")], false),
            (since(10), vec![output(10, b"ab"), output(11, b"c")], false),
            (since(10), vec![output(10, b"ab"), gap(10, 20)], false),
            (since(10), vec![gap(10, 20), output(19, b"x")], false),
            (Frames::between(10, 12), vec![output(10, b"ab")], true),
            (Frames::between(10, 12), vec![output(10, b"abc")], false),
            (Frames::between(10, 12), vec![gap(10, 13)], false),
        ] {
            let text = format!("{said:?}");
            assert_eq!(all(frames, &said).is_ok(), good, "{text}");
        }
    }

    #[test]
    fn output_of_no_bytes_is_not_told() {
        let said = all(Frames::default(), &[output(0, b""), output(0, b"x"), output(1, b"")]).unwrap();
        assert!(matches!(&said[..], [Said::Output(0, bytes)] if bytes == "x"), "{said:?}");
    }

    #[test]
    fn words_are_one_short_line() {
        let reason = format!("no\n2026 ERROR \x1b[2J{}", "x".repeat(60_000));
        let said = all(Frames::default(), &[frame(ToBroker::Refused { reason: &reason })]).unwrap();
        let message = said[0].unexpected().message;
        assert!(message.len() < 2 * WORDS && !message.contains(char::is_control), "{message}");
    }

    /// Numbers at every edge that arithmetic has.
    fn number() -> impl Strategy<Value = u64> {
        let edges = [0, MAX_OFFSET, u64::from(u32::MAX), i64::MAX as u64, u64::MAX];
        prop_oneof![
            any::<u64>(),
            (prop::sample::select(edges.to_vec()), -3_i64..=3).prop_map(|(e, d)| e.wrapping_add_signed(d))
        ]
    }

    fn any_frame() -> impl Strategy<Value = Bytes> {
        let bytes = || prop::collection::vec(any::<u8>(), 0..20);
        prop_oneof![
            (number(), bytes()).prop_map(|(offset, bytes)| output(offset, &bytes)),
            (number(), number()).prop_map(|(from, to)| frame(ToBroker::Gap { from, to })),
            number().prop_map(|input| frame(ToBroker::Taken { input })),
            (any::<i32>(), any::<u32>(), number()).prop_map(|(code, signal, end)| frame(ToBroker::Exit {
                code,
                signal,
                end
            })),
            (number(), number(), number()).prop_map(|(start, end, input)| {
                let size = wire::Size { cols: 80, rows: 24 };
                frame(ToBroker::Hello(wire::Hello { pid: 1, start, end, input, size }))
            }),
            bytes().prop_map(Bytes::from),
        ]
    }

    proptest! {
        #[test]
        fn whatever_is_said_is_refused_or_true(said in prop::collection::vec(any_frame(), 0..20), begins in 0..=MAX_OFFSET) {
            let (mut frames, mut next) = (since(begins), begins);
            for chunk in said {
                frames.push(chunk);
                loop {
                    match frames.next() {
                        Ok(Some(Said::Output(offset, bytes))) => {
                            prop_assert!(offset >= next && !bytes.is_empty());
                            next = offset + bytes.len() as u64;
                        }
                        Ok(Some(Said::Gap(from, to))) => {
                            prop_assert!(next <= from && from <= to);
                            next = to;
                        }
                        Ok(Some(Said::Hello(hello))) => prop_assert!(hello.start <= hello.end && hello.end <= MAX_OFFSET && hello.input <= MAX_OFFSET),
                        Ok(Some(Said::Taken(input))) => prop_assert!(input <= MAX_OFFSET),
                        Ok(Some(_)) => {}
                        Ok(None) => break,
                        Err(_) => return Ok(()),
                    }
                    prop_assert!(next <= MAX_OFFSET);
                }
            }
        }
    }
}
