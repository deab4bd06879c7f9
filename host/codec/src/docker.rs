//! Docker's multiplexed streams: frames with eight bytes of head.
//!
//! Owns the format (Docker Engine API, "Attach to a container", stream format): which stream, three zeros, the length in
//! network byte order. Deliberately knows no connection.

use bytes::{Buf as _, Bytes, BytesMut};

/// Bytes of a frame's head.
const HEAD: usize = 8;

/// Takes the heads off, across chunks.
#[derive(Debug, Default)]
pub struct Frames {
    /// A head of which not all has come.
    head: BytesMut,
    /// Bytes of the current frame that are still to come.
    left: usize,
    /// Whether the current frame is of standard error.
    second: bool,
}

impl Frames {
    /// The next piece of a frame in `chunk`, and whether it is of standard error. None when `chunk` is used up.
    pub fn next(&mut self, chunk: &mut Bytes) -> Result<Option<(bool, Bytes)>, &'static str> {
        while self.left == 0 && !chunk.is_empty() {
            let taken = (HEAD - self.head.len()).min(chunk.len());
            self.head.extend_from_slice(&chunk.split_to(taken));
            if self.head.len() < HEAD {
                return Ok(None);
            }
            let mut head = std::mem::take(&mut self.head);
            self.second = match (head[0], &head[1..4]) {
                // The engine sends its own errors as the fourth stream.
                (0 | 1, [0, 0, 0]) => false,
                (2 | 3, [0, 0, 0]) => true,
                _ => return Err("a stream of Docker's frames"),
            };
            head.advance(4);
            self.left = head.get_u32() as usize;
        }
        if chunk.is_empty() {
            return Ok(None);
        }
        let piece = chunk.split_to(self.left.min(chunk.len()));
        self.left -= piece.len();
        Ok(Some((self.second, piece)))
    }

    /// Whether the last frame is not whole.
    pub fn is_cut_off(&self) -> bool {
        self.left > 0 || !self.head.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(stream: u8, content: &[u8]) -> Vec<u8> {
        let mut frame = vec![stream, 0, 0, 0];
        frame.extend_from_slice(&u32::try_from(content.len()).unwrap().to_be_bytes());
        frame.extend_from_slice(content);
        frame
    }

    #[test]
    fn both_streams_come_whole_however_the_bytes_are_cut() {
        let wire = [frame(1, b"out"), frame(2, b""), frame(2, b"err"), frame(1, &[7; 100])].concat();
        for size in [1, 2, 3, 7, 8, 9, 64, wire.len()] {
            let (mut frames, mut first, mut second) = (Frames::default(), Vec::new(), Vec::new());
            for chunk in wire.chunks(size) {
                let mut chunk = Bytes::copy_from_slice(chunk);
                while let Some((of_second, piece)) = frames.next(&mut chunk).unwrap() {
                    if of_second { &mut second } else { &mut first }.extend_from_slice(&piece);
                }
            }
            assert_eq!((first, second), ([b"out".to_vec(), vec![7; 100]].concat(), b"err".to_vec()), "{size}");
            assert!(!frames.is_cut_off());
        }
    }

    #[test]
    fn a_frame_that_is_not_whole_and_one_of_no_stream_are_told() {
        let mut frames = Frames::default();
        let mut chunk = Bytes::from(frame(1, b"abc")[..10].to_vec());
        assert_eq!(frames.next(&mut chunk).unwrap().unwrap(), (false, Bytes::from_static(b"ab")));
        assert!(frames.next(&mut chunk).unwrap().is_none() && frames.is_cut_off());
        assert!(Frames::default().next(&mut Bytes::from_static(b"HTTP/1.1 400 Bad")).is_err());
    }
}
