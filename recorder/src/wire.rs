//! The frames between a recorder and the broker, in both directions, over the standard input and output of an ordinary
//! process.
//!
//! Owns their layout and their bounds. Does no I/O and does not know where bytes come from, so that both ends use the same
//! code.
//!
//! The frames of the command `files`, which needs no terminal, are in [`files`].
//!
//! A frame is `type: u8`, `length: u32`, then `length` bytes of payload. Integers are big-endian. Offsets count the bytes of
//! the terminal's output from its first one.

mod decode;
mod encode;
pub mod files;
mod kinds;

pub use decode::{Decoder, Frame, Malformed};
pub use encode::output_head;

/// The version of these frames, which [`ToBroker::Hello`] contains.
pub const VERSION: u8 = 2;

/// The last line of a complete `cast`.
pub const CAST_END: &[u8] = b"# end of recording\n";

/// The bytes of a type and a length.
pub const HEADER: usize = 5;

/// The most bytes of output or input in one frame: as much as a pipe holds.
pub const MAX_DATA: usize = 64 * 1024;

/// The most bytes of one payload: data and the integers before it.
pub const MAX_PAYLOAD: usize = MAX_DATA + 16;

/// The most columns or rows of a terminal, the same as for the broker's clients. Bounded because an emulator allocates
/// their product.
pub const MAX_SIDE: u16 = 1000;

/// The most bytes of text that draws a screen. A cell with two colours of its own takes 41 bytes, so that 640 by 300 such
/// cells fit, or half as many in both buffers.
pub const MAX_SCREEN: usize = 8 << 20;

/// The most bytes of a title. No window shows more.
pub const MAX_TITLE: usize = 1024;

/// The most bytes of a directory's path, which is the system's own bound.
pub const MAX_DIRECTORY: usize = 4096;

/// The highest offset. Larger numbers are not exact in JSON and JavaScript. At 1 GiB a second it is reached after three
/// months.
pub const MAX_OFFSET: u64 = 1 << 53;

/// The bytes before the data of a [`ToBroker::Output`] frame.
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
    /// Returns a size if both sides are within their bounds.
    pub fn new(cols: u16, rows: u16) -> Option<Self> {
        let side = 1..=MAX_SIDE;
        (side.contains(&cols) && side.contains(&rows)).then_some(Self { cols, rows })
    }
}

/// The state of a recorder when an attachment begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hello {
    /// The process id of the shell in the sandbox.
    pub pid: u32,
    /// The offset of the oldest output that the ring holds.
    pub start: u64,
    /// The offset of the first byte that is not there yet.
    pub end: u64,
    /// The number of bytes of input that the terminal took so far, from all attachments. What an earlier attachment sent
    /// beyond them was dropped and may be sent again.
    pub input: u64,
    /// The size of the terminal.
    pub size: Size,
}

/// A frame from the recorder to the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ToBroker<'a> {
    /// The first frame of an attachment.
    Hello(Hello),
    /// Output, at most [`MAX_DATA`] bytes.
    Output {
        /// The offset of the first byte.
        offset: u64,
        /// The bytes.
        bytes: &'a [u8],
    },
    /// Output that is gone. Comes in the place of its bytes.
    Gap {
        /// The offset of the first byte that is gone.
        from: u64,
        /// The offset of the first byte after the gap.
        to: u64,
    },
    /// How many bytes of input the terminal took so far, as in [`Hello::input`].
    Taken {
        /// The count.
        input: u64,
    },
    /// The shell has ended. Comes once, after the last output.
    Exit {
        /// The exit code, or -1 if a signal ended it.
        code: i32,
        /// The signal that ended it, or 0.
        signal: u32,
        /// The end of all output.
        end: u64,
    },
    /// A part of the text that draws a screen on a terminal that was reset. The text is all parts in order. A frame without
    /// text marks its end. All frames of a screen have the same offset and size.
    Screen {
        /// The screen shows all output before this offset. If an escape sequence or a code point is unfinished, this is
        /// where it begins, so that the output from there on completes it.
        offset: u64,
        /// The size that it is drawn for.
        size: Size,
        /// The part. Empty in the last frame.
        text: &'a str,
    },
    /// The terminal has this size from `offset` on. Comes in its place in the output. `read` begins with the size at its
    /// first offset.
    Size {
        /// The offset of the first byte that was written at this size.
        offset: u64,
        /// The size.
        size: Size,
    },
    /// The title of the terminal, without control characters and with at most [`MAX_TITLE`] bytes. Comes after
    /// [`ToBroker::Hello`] if there is one, and after changes. Changes in quick succession may be left out.
    Title {
        /// The title. May be empty.
        text: &'a str,
    },
    /// The directory of the shell, as OSC 7 reported it, without control characters and with at most [`MAX_DIRECTORY`]
    /// bytes. Comes when a title does.
    Directory {
        /// An absolute path.
        path: &'a str,
    },
    /// The request cannot be served. The process ends with status 2.
    Refused {
        /// The reason, for a person.
        reason: &'a str,
    },
}

/// A frame from the broker to the recorder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ToRecorder<'a> {
    /// Bytes for the terminal, at most [`MAX_DATA`]. A broker keeps at most [`MAX_DATA`] bytes that were not
    /// [taken](ToBroker::Taken). Beyond that, the recorder reads nothing until the terminal took some.
    Input(&'a [u8]),
    /// Sets the size of the terminal.
    Resize(Size),
    /// The broker has all output below `offset`. It also sends this to show that it is alive.
    Ack {
        /// The offset of the first byte that it does not have.
        offset: u64,
    },
    /// The colours of the driver's terminal as red, green and blue. The recorder uses them to answer programs that ask.
    Colors {
        /// The colour of text.
        foreground: [u8; 3],
        /// The colour behind text.
        background: [u8; 3],
        /// The colour of the cursor.
        cursor: [u8; 3],
    },
    /// A signal for the shell.
    Signal {
        /// Its number on Linux.
        number: u32,
    },
}

#[cfg(test)]
mod tests;
