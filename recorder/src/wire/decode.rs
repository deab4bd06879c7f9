//! Decodes frames from bytes in pieces of any size. Trusts nothing that the other end sends.

use std::fmt;

use super::kinds::{
    ACK, COLORS, DIRECTORY, EXIT, GAP, HELLO, INPUT, OUTPUT, REFUSED, RESIZE, SCREEN, SIGNAL, SIZE, TAKEN, TITLE,
};
use super::{
    HEADER, Hello, MAX_DATA, MAX_DIRECTORY, MAX_OFFSET, MAX_PAYLOAD, MAX_TITLE, Size, ToBroker, ToRecorder, VERSION,
};

/// The other end sent something that is no frame. Nothing after it can be understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Malformed {
    /// No frame in this direction has this type.
    Kind(u8),
    /// A payload is longer than [`MAX_PAYLOAD`].
    TooLong {
        /// The frame's type.
        kind: u8,
        /// The length it claims.
        length: u32,
    },
    /// A payload does not fit its type. It is too short or too long, a terminal's size is out of bounds, an offset is above
    /// [`MAX_OFFSET`], a gap or a ring ends before it begins, or a text is not UTF-8.
    Payload {
        /// The frame's type.
        kind: u8,
    },
    /// [`ToBroker::Hello`] has a version other than [`VERSION`].
    Version(u8),
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Malformed::Kind(kind) => write!(f, "no frame has type {kind:#04x} this way"),
            Malformed::TooLong { kind, length } => {
                write!(f, "a frame of type {kind:#04x} claims {length} bytes and may have {MAX_PAYLOAD}")
            }
            Malformed::Payload { kind } => write!(f, "a frame of type {kind:#04x} does not hold what its type says"),
            Malformed::Version(version) => write!(f, "the recorder speaks version {version}, not {VERSION}"),
        }
    }
}

impl std::error::Error for Malformed {}

/// The frames of one direction.
pub trait Frame<'a>: Sized {
    /// Reads a payload of at most [`MAX_PAYLOAD`] bytes.
    fn parse(kind: u8, payload: &'a [u8]) -> Result<Self, Malformed>;
}

impl<'a> Frame<'a> for ToBroker<'a> {
    fn parse(kind: u8, payload: &'a [u8]) -> Result<Self, Malformed> {
        let mut fields = Fields { kind, rest: payload };
        let frame = match kind {
            HELLO => {
                let [version] = fields.take()?;
                if version != VERSION {
                    return Err(Malformed::Version(version));
                }
                let pid = fields.u32()?;
                let (start, end) = fields.range()?;
                ToBroker::Hello(Hello { pid, start, end, input: fields.offset()?, size: fields.size()? })
            }
            OUTPUT => {
                let (offset, bytes) = (fields.offset()?, fields.data()?);
                if offset + bytes.len() as u64 > MAX_OFFSET {
                    return Err(Malformed::Payload { kind });
                }
                ToBroker::Output { offset, bytes }
            }
            GAP => {
                let (from, to) = fields.range()?;
                ToBroker::Gap { from, to }
            }
            TAKEN => ToBroker::Taken { input: fields.offset()? },
            EXIT => {
                let code = i32::from_be_bytes(fields.take()?);
                ToBroker::Exit { code, signal: fields.u32()?, end: fields.offset()? }
            }
            SCREEN => ToBroker::Screen { offset: fields.offset()?, size: fields.size()?, text: fields.text(MAX_DATA)? },
            SIZE => ToBroker::Size { offset: fields.offset()?, size: fields.size()? },
            TITLE => ToBroker::Title { text: fields.text(MAX_TITLE)? },
            DIRECTORY => ToBroker::Directory { path: fields.text(MAX_DIRECTORY)? },
            REFUSED => ToBroker::Refused { reason: fields.text(MAX_DATA)? },
            _ => return Err(Malformed::Kind(kind)),
        };
        fields.end(frame)
    }
}

impl<'a> Frame<'a> for ToRecorder<'a> {
    fn parse(kind: u8, payload: &'a [u8]) -> Result<Self, Malformed> {
        let mut fields = Fields { kind, rest: payload };
        let frame = match kind {
            INPUT => ToRecorder::Input(fields.data()?),
            RESIZE => ToRecorder::Resize(fields.size()?),
            ACK => ToRecorder::Ack { offset: fields.offset()? },
            COLORS => {
                ToRecorder::Colors { foreground: fields.take()?, background: fields.take()?, cursor: fields.take()? }
            }
            SIGNAL => ToRecorder::Signal { number: fields.u32()? },
            _ => return Err(Malformed::Kind(kind)),
        };
        fields.end(frame)
    }
}

/// What is not read yet of a payload.
pub(super) struct Fields<'a> {
    pub(super) kind: u8,
    pub(super) rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(super) fn take<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (field, rest) = self.rest.split_first_chunk().ok_or(Malformed::Payload { kind: self.kind })?;
        self.rest = rest;
        Ok(*field)
    }

    pub(super) fn u32(&mut self) -> Result<u32, Malformed> {
        self.take().map(u32::from_be_bytes)
    }

    /// At most [`MAX_OFFSET`], so that sums and differences are exact everywhere.
    fn offset(&mut self) -> Result<u64, Malformed> {
        let offset = u64::from_be_bytes(self.take()?);
        if offset > MAX_OFFSET { Err(Malformed::Payload { kind: self.kind }) } else { Ok(offset) }
    }

    /// Two offsets. The second is not below the first.
    fn range(&mut self) -> Result<(u64, u64), Malformed> {
        let (from, to) = (self.offset()?, self.offset()?);
        if from > to { Err(Malformed::Payload { kind: self.kind }) } else { Ok((from, to)) }
    }

    fn size(&mut self) -> Result<Size, Malformed> {
        let (cols, rows) = (u16::from_be_bytes(self.take()?), u16::from_be_bytes(self.take()?));
        Size::new(cols, rows).ok_or(Malformed::Payload { kind: self.kind })
    }

    /// The rest of the payload.
    pub(super) fn data(&mut self) -> Result<&'a [u8], Malformed> {
        let data = std::mem::take(&mut self.rest);
        if data.len() > MAX_DATA { Err(Malformed::Payload { kind: self.kind }) } else { Ok(data) }
    }

    /// The rest of the payload as text of at most `most` bytes.
    pub(super) fn text(&mut self, most: usize) -> Result<&'a str, Malformed> {
        let data = self.data()?;
        let text = std::str::from_utf8(data).ok().filter(|_| data.len() <= most);
        text.ok_or(Malformed::Payload { kind: self.kind })
    }

    pub(super) fn end<T>(self, frame: T) -> Result<T, Malformed> {
        if self.rest.is_empty() { Ok(frame) } else { Err(Malformed::Payload { kind: self.kind }) }
    }
}

/// Reads frames from a stream in pieces of any size.
///
/// Holds at most one frame that came in pieces, which is [`HEADER`] + [`MAX_PAYLOAD`] bytes.
#[derive(Debug, Default)]
pub struct Decoder {
    /// The beginning of a frame, or the whole frame that was returned last.
    pub(super) held: Vec<u8>,
    /// Whether the held frame was returned.
    returned: bool,
}

impl Decoder {
    /// Returns the next frame, or `None` when `input` is used up. Moves `input` past what was read. Does not copy a frame
    /// that is complete in `input`.
    ///
    /// After an error, the rest of the stream has no meaning and must be dropped.
    pub fn next<'a, 'i: 'a, F: Frame<'a>>(&'a mut self, input: &mut &'i [u8]) -> Result<Option<F>, Malformed> {
        if self.returned {
            self.held.clear();
            self.returned = false;
        }
        if self.held.is_empty()
            && let Some((kind, length)) = header(input)?
            && let Some((frame, rest)) = input.split_at_checked(HEADER + length)
        {
            *input = rest;
            return F::parse(kind, &frame[HEADER..]).map(Some);
        }
        self.fill(HEADER, input);
        let Some((kind, length)) = header(&self.held)? else { return Ok(None) };
        self.fill(HEADER + length, input);
        if self.held.len() < HEADER + length {
            return Ok(None);
        }
        self.returned = true;
        F::parse(kind, &self.held[HEADER..]).map(Some)
    }

    /// Fills `held` up to `length` bytes.
    fn fill(&mut self, length: usize, input: &mut &[u8]) {
        let more = length.saturating_sub(self.held.len()).min(input.len());
        let (bytes, rest) = input.split_at(more);
        self.held.extend_from_slice(bytes);
        *input = rest;
    }
}

/// The type and the length of a payload, once both are there.
fn header(bytes: &[u8]) -> Result<Option<(u8, usize)>, Malformed> {
    let Some(&[kind, a, b, c, d]) = bytes.first_chunk::<HEADER>() else { return Ok(None) };
    let length = u32::from_be_bytes([a, b, c, d]);
    if length as usize > MAX_PAYLOAD {
        return Err(Malformed::TooLong { kind, length });
    }
    Ok(Some((kind, length as usize)))
}
