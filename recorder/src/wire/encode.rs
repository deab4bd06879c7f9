//! Encodes frames into bytes. Does not know how they are read.

use super::kinds::{
    ACK, COLORS, DIRECTORY, EXIT, GAP, HELLO, INPUT, OUTPUT, REFUSED, RESIZE, SCREEN, SIGNAL, SIZE, TAKEN, TITLE,
};
use super::{HEADER, Hello, MAX_DATA, OUTPUT_HEAD, Size, ToBroker, ToRecorder, VERSION};

impl ToBroker<'_> {
    /// Appends this frame.
    ///
    /// # Panics
    ///
    /// If its data is longer than [`MAX_DATA`].
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

/// Returns the bytes that precede `length` bytes of output in a frame. For a caller that has the output in place already.
///
/// # Panics
///
/// If `length` is above [`MAX_DATA`].
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
    /// If its data is longer than [`MAX_DATA`].
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

/// The payload of a frame.
pub(super) struct Writer<'a>(&'a mut Vec<u8>);

impl Writer<'_> {
    pub(super) fn put(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }

    fn size(&mut self, size: Size) -> &mut Self {
        self.put(&size.cols.to_be_bytes()).put(&size.rows.to_be_bytes())
    }
}

/// Begins a frame.
pub(super) fn frame(out: &mut Vec<u8>, kind: u8, length: usize) -> Writer<'_> {
    out.reserve(HEADER + length);
    out.push(kind);
    out.extend_from_slice(&(length as u32).to_be_bytes());
    Writer(out)
}

/// The length of data.
pub(super) fn data(bytes: &[u8]) -> usize {
    assert!(bytes.len() <= MAX_DATA, "a frame holds at most {MAX_DATA} bytes of data, not {}", bytes.len());
    bytes.len()
}
