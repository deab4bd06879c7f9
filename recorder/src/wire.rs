//! Frames between a recorder and the broker, both ways, over the standard input and
//! output of an ordinary process.
//!
//! Owns their layout and their bounds. Knows nothing of where bytes come from and
//! does no IO, so that both ends use the same code.
//!
//! A frame is `type: u8`, `length: u32`, then `length` bytes of payload; integers
//! are big endian. Offsets count bytes of the terminal's output from its first one.

mod decode;
mod encode;
mod kinds;

pub use decode::{Decoder, Frame, Malformed};
pub use encode::output_head;

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

#[cfg(test)]
mod tests;
