//! Frames between a recorder and the broker, both ways, over the standard input and
//! output of an ordinary process.
//!
//! Owns their layout and their bounds. Knows nothing of where bytes come from and
//! does no IO, so that both ends use the same code.
//!
//! A frame is `type: u8`, `length: u32`, then `length` bytes of payload; integers
//! are big endian. Offsets count bytes of the terminal's output from its first one.

use std::fmt;

/// Version of the frames below, told in [`ToBroker::Hello`].
pub const VERSION: u8 = 2;

/// The last line of a whole `cast`.
pub const CAST_END: &[u8] = b"# end of recording\n";

/// Bytes of a type and a length.
pub const HEADER: usize = 5;

/// Bytes of output or input in one frame: what a pipe holds.
pub const MAX_DATA: usize = 64 * 1024;

/// Bytes of one payload: data and the integers before it.
pub const MAX_PAYLOAD: usize = MAX_DATA + 16;

/// Columns and rows of a terminal, at most: what the broker's own clients may have.
/// A bound, because an emulator allocates their product.
pub const MAX_SIDE: u16 = 1000;

/// Bytes of text that draws a screen, at most. A cell with two colours of its own takes
/// 41: it is 640 by 300 of them, or half of that on both buffers.
pub const MAX_SCREEN: usize = 8 << 20;

/// Bytes of a title, at most. More than any window shows.
pub const MAX_TITLE: usize = 1024;

/// Bytes of a directory's path, at most: the system's own bound.
pub const MAX_DIRECTORY: usize = 4096;

/// The highest offset: beyond it, numbers are no longer exact everywhere (JSON, JavaScript).
/// At a GiB a second it takes three months.
pub const MAX_OFFSET: u64 = 1 << 53;

/// Bytes before the data of an [`ToBroker::Output`] frame.
pub const OUTPUT_HEAD: usize = HEADER + 8;

/// A terminal's size, in characters. Each side is 1 to [`MAX_SIDE`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Columns.
    pub cols: u16,
    /// Rows.
    pub rows: u16,
}

impl Size {
    /// A size within its bounds, or nothing.
    pub fn new(cols: u16, rows: u16) -> Option<Self> {
        let side = 1..=MAX_SIDE;
        (side.contains(&cols) && side.contains(&rows)).then_some(Self { cols, rows })
    }
}

/// The state of a recorder when an attachment begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hello {
    /// Process id of the shell, within the sandbox.
    pub pid: u32,
    /// Offset of the oldest output that is held.
    pub start: u64,
    /// Offset of the first byte that is not there yet.
    pub end: u64,
    /// Bytes of input that were written to the terminal so far, by all attachments.
    /// What an earlier attachment sent beyond them is discarded and may be sent again.
    pub input: u64,
    /// The terminal's size.
    pub size: Size,
}

/// Recorder to broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ToBroker<'a> {
    /// First frame of an attachment.
    Hello(Hello),
    /// Output that begins at `offset`; at most [`MAX_DATA`] bytes.
    Output {
        /// Of the first byte.
        offset: u64,
        /// The bytes.
        bytes: &'a [u8],
    },
    /// Output that is gone, in the place of its bytes.
    Gap {
        /// Of the first byte that is gone.
        from: u64,
        /// Of the first byte after them.
        to: u64,
    },
    /// Bytes of input that were written to the terminal so far, as in [`Hello::input`].
    Taken {
        /// The count.
        input: u64,
    },
    /// The shell ended. Once, after the last output.
    Exit {
        /// Exit code, or -1 where a signal ended it.
        code: i32,
        /// The signal that ended it, or 0.
        signal: u32,
        /// The end of all output.
        end: u64,
    },
    /// What draws a screen on a terminal that was reset: frames that are joined in
    /// order, up to one without text, which says that it is whole. All have the same
    /// offset and size.
    Screen {
        /// The screen is what all output before this offset made. Where an escape
        /// sequence or a code point is unfinished, the offset is where it begins, so
        /// that the output from there on completes it.
        offset: u64,
        /// The size it is drawn for.
        size: Size,
        /// A part of the text, or nothing.
        text: &'a str,
    },
    /// The terminal has this size from `offset` on. In order among the output. What is
    /// read from an offset begins with the size there.
    Size {
        /// Of the first byte that was written at this size.
        offset: u64,
        /// The size.
        size: Size,
    },
    /// The terminal's title is this now, without control characters; at most
    /// [`MAX_TITLE`] bytes. After [`ToBroker::Hello`] where there is one, and after
    /// changes, some of which may be left out.
    Title {
        /// The title; may be empty.
        text: &'a str,
    },
    /// The shell's directory is this now, as it told with OSC 7; at most
    /// [`MAX_DIRECTORY`] bytes, without control characters. Told when a title is.
    Directory {
        /// An absolute path.
        path: &'a str,
    },
    /// The request cannot be served; the process ends with status 2.
    Refused {
        /// For a person.
        reason: &'a str,
    },
}

/// Broker to recorder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ToRecorder<'a> {
    /// Bytes for the terminal; at most [`MAX_DATA`]. A broker keeps at most
    /// [`MAX_DATA`] bytes that were not [taken](ToBroker::Taken): with more, the
    /// recorder does not read on before the terminal took some.
    Input(&'a [u8]),
    /// The terminal gets this size.
    Resize(Size),
    /// The broker has all output below `offset`. Also the sign that it lives.
    Ack {
        /// First byte that it does not have.
        offset: u64,
    },
    /// How the terminal looks to whoever drives it, red, green and blue. The recorder
    /// answers programs that ask with it.
    Colors {
        /// Of text.
        foreground: [u8; 3],
        /// Behind it.
        background: [u8; 3],
        /// Of the cursor.
        cursor: [u8; 3],
    },
    /// A signal for the shell.
    Signal {
        /// Its number on Linux.
        number: u32,
    },
}

const HELLO: u8 = 0x01;
const OUTPUT: u8 = 0x02;
const GAP: u8 = 0x03;
const TAKEN: u8 = 0x04;
const EXIT: u8 = 0x05;
const SCREEN: u8 = 0x06;
const REFUSED: u8 = 0x07;
const SIZE: u8 = 0x08;
const TITLE: u8 = 0x09;
const DIRECTORY: u8 = 0x0a;
const INPUT: u8 = 0x11;
const RESIZE: u8 = 0x12;
const ACK: u8 = 0x13;
const SIGNAL: u8 = 0x14;
const COLORS: u8 = 0x15;

impl ToBroker<'_> {
    /// Appends this frame.
    ///
    /// # Panics
    ///
    /// When its data is longer than [`MAX_DATA`].
    pub fn encode(&self, out: &mut Vec<u8>) {
        match *self {
            ToBroker::Hello(Hello { pid, start, end, input, size }) => {
                let mut hello = frame(out, HELLO, 33);
                hello.put(&[VERSION]).put(&pid.to_be_bytes());
                hello.put(&start.to_be_bytes()).put(&end.to_be_bytes()).put(&input.to_be_bytes()).size(size);
            }
            ToBroker::Output { offset, bytes } => {
                out.extend_from_slice(&output_head(offset, bytes.len()));
                out.extend_from_slice(bytes);
            }
            ToBroker::Gap { from, to } => {
                frame(out, GAP, 16).put(&from.to_be_bytes()).put(&to.to_be_bytes());
            }
            ToBroker::Taken { input } => {
                frame(out, TAKEN, 8).put(&input.to_be_bytes());
            }
            ToBroker::Exit { code, signal, end } => {
                frame(out, EXIT, 16).put(&code.to_be_bytes()).put(&signal.to_be_bytes()).put(&end.to_be_bytes());
            }
            ToBroker::Screen { offset, size, text } => {
                let mut screen = frame(out, SCREEN, 12 + data(text.as_bytes()));
                screen.put(&offset.to_be_bytes()).size(size).put(text.as_bytes());
            }
            ToBroker::Size { offset, size } => {
                frame(out, SIZE, 12).put(&offset.to_be_bytes()).size(size);
            }
            ToBroker::Title { text } => {
                frame(out, TITLE, data(text.as_bytes())).put(text.as_bytes());
            }
            ToBroker::Directory { path } => {
                frame(out, DIRECTORY, data(path.as_bytes())).put(path.as_bytes());
            }
            ToBroker::Refused { reason } => {
                frame(out, REFUSED, data(reason.as_bytes())).put(reason.as_bytes());
            }
        }
    }
}

/// What comes before `length` bytes of output in their frame, for who has the bytes
/// in place.
///
/// # Panics
///
/// When `length` is above [`MAX_DATA`].
pub fn output_head(offset: u64, length: usize) -> [u8; OUTPUT_HEAD] {
    assert!(length <= MAX_DATA, "a frame holds at most {MAX_DATA} bytes of output, not {length}");
    let mut head = [0; OUTPUT_HEAD];
    head[0] = OUTPUT;
    head[1..HEADER].copy_from_slice(&((8 + length) as u32).to_be_bytes());
    head[HEADER..].copy_from_slice(&offset.to_be_bytes());
    head
}

impl ToRecorder<'_> {
    /// Appends this frame.
    ///
    /// # Panics
    ///
    /// When its data is longer than [`MAX_DATA`].
    pub fn encode(&self, out: &mut Vec<u8>) {
        match *self {
            ToRecorder::Input(bytes) => {
                frame(out, INPUT, data(bytes)).put(bytes);
            }
            ToRecorder::Resize(size) => {
                frame(out, RESIZE, 4).size(size);
            }
            ToRecorder::Ack { offset } => {
                frame(out, ACK, 8).put(&offset.to_be_bytes());
            }
            ToRecorder::Colors { foreground, background, cursor } => {
                frame(out, COLORS, 9).put(&foreground).put(&background).put(&cursor);
            }
            ToRecorder::Signal { number } => {
                frame(out, SIGNAL, 4).put(&number.to_be_bytes());
            }
        }
    }
}

struct Writer<'a>(&'a mut Vec<u8>);

impl Writer<'_> {
    fn put(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }

    fn size(&mut self, size: Size) -> &mut Self {
        self.put(&size.cols.to_be_bytes()).put(&size.rows.to_be_bytes())
    }
}

fn frame(out: &mut Vec<u8>, kind: u8, length: usize) -> Writer<'_> {
    out.reserve(HEADER + length);
    out.push(kind);
    out.extend_from_slice(&(length as u32).to_be_bytes());
    Writer(out)
}

fn data(bytes: &[u8]) -> usize {
    assert!(bytes.len() <= MAX_DATA, "a frame holds at most {MAX_DATA} bytes of data, not {}", bytes.len());
    bytes.len()
}

/// What the other end wrote is no frame. Nothing after it can be understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Malformed {
    /// No frame that goes this way has this type.
    Kind(u8),
    /// A payload is longer than [`MAX_PAYLOAD`].
    TooLong {
        /// The frame's type.
        kind: u8,
        /// The length it claims.
        length: u32,
    },
    /// A payload does not hold what its type says: too short, too long, a size of a
    /// terminal out of its bounds, an offset above [`MAX_OFFSET`], a gap or a ring that
    /// ends before it begins, no UTF-8.
    Payload {
        /// The frame's type.
        kind: u8,
    },
    /// [`ToBroker::Hello`] has another version than [`VERSION`].
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

/// Frames that go one way.
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
                let (start, end) = fields.stretch()?;
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
                let (from, to) = fields.stretch()?;
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

struct Fields<'a> {
    kind: u8,
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (field, rest) = self.rest.split_first_chunk().ok_or(Malformed::Payload { kind: self.kind })?;
        self.rest = rest;
        Ok(*field)
    }

    fn u32(&mut self) -> Result<u32, Malformed> {
        self.take().map(u32::from_be_bytes)
    }

    /// At most [`MAX_OFFSET`], so that sums and differences are exact everywhere.
    fn offset(&mut self) -> Result<u64, Malformed> {
        let offset = u64::from_be_bytes(self.take()?);
        if offset > MAX_OFFSET { Err(Malformed::Payload { kind: self.kind }) } else { Ok(offset) }
    }

    /// Two offsets, of which the second is not before the first.
    fn stretch(&mut self) -> Result<(u64, u64), Malformed> {
        let (from, to) = (self.offset()?, self.offset()?);
        if from > to { Err(Malformed::Payload { kind: self.kind }) } else { Ok((from, to)) }
    }

    fn size(&mut self) -> Result<Size, Malformed> {
        let (cols, rows) = (u16::from_be_bytes(self.take()?), u16::from_be_bytes(self.take()?));
        Size::new(cols, rows).ok_or(Malformed::Payload { kind: self.kind })
    }

    /// All that is left.
    fn data(&mut self) -> Result<&'a [u8], Malformed> {
        let data = std::mem::take(&mut self.rest);
        if data.len() > MAX_DATA { Err(Malformed::Payload { kind: self.kind }) } else { Ok(data) }
    }

    /// All that is left, as at most `most` bytes of text.
    fn text(&mut self, most: usize) -> Result<&'a str, Malformed> {
        let data = self.data()?;
        let text = std::str::from_utf8(data).ok().filter(|_| data.len() <= most);
        text.ok_or(Malformed::Payload { kind: self.kind })
    }

    fn end<T>(self, frame: T) -> Result<T, Malformed> {
        if self.rest.is_empty() { Ok(frame) } else { Err(Malformed::Payload { kind: self.kind }) }
    }
}

/// Reads frames from a stream in pieces of any size.
///
/// Holds at most one frame that came in pieces: [`HEADER`] + [`MAX_PAYLOAD`] bytes.
#[derive(Debug, Default)]
pub struct Decoder {
    /// The beginning of a frame, or all of the one that was returned last.
    held: Vec<u8>,
    /// What is held was returned.
    returned: bool,
}

impl Decoder {
    /// The next frame; nothing once `input` is used up. Moves `input` past what was
    /// read. A frame that lies in `input` as a whole is not copied.
    ///
    /// After an error the stream has no meaning any more and must be dropped.
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

    /// Holds up to `length` bytes.
    fn fill(&mut self, length: usize, input: &mut &[u8]) {
        let more = length.saturating_sub(self.held.len()).min(input.len());
        let (bytes, rest) = input.split_at(more);
        self.held.extend_from_slice(bytes);
        *input = rest;
    }
}

/// Type and length of a payload, once they are there.
fn header(bytes: &[u8]) -> Result<Option<(u8, usize)>, Malformed> {
    let Some(&[kind, a, b, c, d]) = bytes.first_chunk::<HEADER>() else { return Ok(None) };
    let length = u32::from_be_bytes([a, b, c, d]);
    if length as usize > MAX_PAYLOAD {
        return Err(Malformed::TooLong { kind, length });
    }
    Ok(Some((kind, length as usize)))
}

#[cfg(test)]
mod tests;
